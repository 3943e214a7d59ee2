#include "engines/lane_passes.hpp"

#include <algorithm>

namespace linnet {

namespace {

constexpr Index least_bytes = 1 << 15;

/// n_rows rows of weights from some on, (rows, cols), by n rows of errors (n, cols):
/// back.c (n, rows) = errors weights^T.
template <class V, int n, int n_rows>
void pass_rows(const LaneOperands<V>& back, const LaneOperands<V>& update, Index row) {
    const V step = *update.step;
    const V shrink = update.decay == nullptr ? V{} : *update.decay;
    const V* const decay = update.decay == nullptr ? nullptr : &shrink;
    const Index cols = update.cols;
    V* const weights = update.c + row * cols;
    V passed[n][n_rows] = {};
    V inputs[n][n_rows];
#pragma GCC unroll 4
    for (int k = 0; k < n; ++k) {
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; ++r) inputs[k][r] = update.a[k * update.rows + row + r];
    }
    for (Index j = 0; j < cols; ++j) {
        V errors[n];
#pragma GCC unroll 4
        for (int k = 0; k < n; ++k) errors[k] = back.a[k * cols + j];
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; ++r) {
            V& weight = weights[r * cols + j];
            V gradient{};
#pragma GCC unroll 4
            for (int k = 0; k < n; ++k) {
                passed[k][r] = fma(errors[k], weight, passed[k][r]);
                gradient = fma(inputs[k][r], errors[k], gradient);
            }
            weight = descend(weight, gradient, step, decay);
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < n; ++k) {
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; ++r) back.c[k * update.rows + row + r] = passed[k][r];
    }
}

/// n_cols columns of weights from some on, by n columns of errors (rows, n): back.c (cols, n) =
/// weights^T errors.
template <class V, int n, int n_cols>
void pass_columns(const LaneOperands<V>& back, const LaneOperands<V>& update, Index col) {
    const V step = *update.step;
    const V shrink = update.decay == nullptr ? V{} : *update.decay;
    const V* const decay = update.decay == nullptr ? nullptr : &shrink;
    V passed[n][n_cols] = {};
    V inputs[n][n_cols];
    const V* const from = static_cast<const V*>(update.b) + col * n;
#pragma GCC unroll 4
    for (int k = 0; k < n; ++k) {
#pragma GCC unroll 8
        for (int c = 0; c < n_cols; ++c) inputs[k][c] = from[c * n + k];
    }
    V* weights = update.c + col;
    const V* own = update.a;
    for (Index i = 0; i < update.rows; ++i) {
        V errors[n];
#pragma GCC unroll 4
        for (int k = 0; k < n; ++k) errors[k] = own[k];
#pragma GCC unroll 8
        for (int c = 0; c < n_cols; ++c) {
            V& weight = weights[c];
            V gradient{};
#pragma GCC unroll 4
            for (int k = 0; k < n; ++k) {
                passed[k][c] = fma(weight, errors[k], passed[k][c]);
                gradient = fma(errors[k], inputs[k][c], gradient);
            }
            weight = descend(weight, gradient, step, decay);
        }
        weights += update.cols;
        own += n;
    }
#pragma GCC unroll 4
    for (int k = 0; k < n; ++k) {
#pragma GCC unroll 8
        for (int c = 0; c < n_cols; ++c) back.c[(col + c) * n + k] = passed[k][c];
    }
}

/// So many sums of independent terms hide each other's latency, and stay in registers.
template <int n>
constexpr int at_once = std::max(1, (vector_registers >= 32 ? 8 : 4) / n);

template <class V, int n, bool by_rows>
void pass(const LaneOperands<V>& back, const LaneOperands<V>& update) {
    constexpr int width = at_once<n>;
    const Index extent = by_rows ? update.rows : update.cols;
    Index at = 0;
    for (; at + width <= extent; at += width) {
        if constexpr (by_rows) {
            pass_rows<V, n, width>(back, update, at);
        } else {
            pass_columns<V, n, width>(back, update, at);
        }
    }
    for (; at < extent; ++at) {
        if constexpr (by_rows) {
            pass_rows<V, n, 1>(back, update, at);
        } else {
            pass_columns<V, n, 1>(back, update, at);
        }
    }
}

template <class V, bool by_rows>
LanePass<V> pass_of(Index n) {
    switch (n) {
        case 1:
            return pass<V, 1, by_rows>;
        case 2:
            return pass<V, 2, by_rows>;
        case 3:
            return pass<V, 3, by_rows>;
        case 4:
            return pass<V, 4, by_rows>;
        default:
            return nullptr;
    }
}

}  // namespace

template <class V>
LanePass<V> lane_pass(Product back_kind, const LaneOperands<V>& back, Product update_kind,
                      const LaneOperands<V>& update) {
    if (update.rows * update.cols * static_cast<Index>(sizeof(V)) < least_bytes) return nullptr;
    if (back_kind == Product::store_nt && update_kind == Product::update_tn && back.b == update.c &&
        back.a == update.b)
        return pass_of<V, true>(back.rows);
    if (back_kind == Product::store_tn && update_kind == Product::update_nt && back.a == update.c &&
        back.b == update.a)
        return pass_of<V, false>(back.cols);
    return nullptr;
}

template LanePass<Pack<double, native_lanes<double>>>
lane_pass(Product, const LaneOperands<Pack<double, native_lanes<double>>>&, Product,
          const LaneOperands<Pack<double, native_lanes<double>>>&);
template LanePass<Pack<float, native_lanes<float>>>
lane_pass(Product, const LaneOperands<Pack<float, native_lanes<float>>>&, Product,
          const LaneOperands<Pack<float, native_lanes<float>>>&);

}  // namespace linnet
