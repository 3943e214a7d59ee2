// Sums over the entries of a matrix of packs (or scalars): row by row, each row in order.
#pragma once

#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// A matrix of packs (or scalars) in row-major order.
template <class V>
struct Entries {
    const V* data;
    Index ld;
    Index rows, cols;
    V operator()(Index i, Index j) const { return data[i * ld + j]; }
};

/// The same, to be written.
template <class V>
struct Places {
    V* data;
    Index ld;
    Index rows, cols;
    V& operator()(Index i, Index j) const { return data[i * ld + j]; }
};

template <class V>
V sum_of_squares(const Entries<V>& m) {
    V total{};
    for (Index i = 0; i < m.rows; ++i) {
        V row{};  // a sum per row: their chains overlap
        for (Index j = 0; j < m.cols; ++j) row = fma(m(i, j), m(i, j), row);
        total = total + row;
    }
    return total;
}

/// || a - b ||_F^2
template <class V>
V squared_distance(const Entries<V>& a, const Entries<V>& b) {
    V total{};
    for (Index i = 0; i < a.rows; ++i) {
        V row{};
        for (Index j = 0; j < a.cols; ++j) {
            const V difference = a(i, j) - b(i, j);
            row = fma(difference, difference, row);
        }
        total = total + row;
    }
    return total;
}

}  // namespace linnet
