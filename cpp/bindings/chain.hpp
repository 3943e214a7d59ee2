// Chains of factors, as Python describes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/chain.hpp"

namespace linnet::bindings {

/// A factor as Python describes it: a tuple (rows, cols, array, plus_identity, scale) of a dense
/// one, else (rows, cols, array, (row, col, weight, coefficient)) with an array each.
inline Factor factor_of(const py::tuple& t) {
    Factor factor;
    factor.rows = t[0].cast<Index>();
    factor.cols = t[1].cast<Index>();
    factor.array = t[2].cast<int>();
    factor.dense = t.size() == 5;
    if (factor.dense) {
        factor.plus_identity = t[3].cast<bool>();
        factor.scale = t[4].cast<double>();
        return factor;
    }
    const auto lists = t[3].cast<py::tuple>();
    const auto integers = [&](int k) {
        return lists[static_cast<std::size_t>(k)].cast<Packed<std::int32_t>>();
    };
    const auto rows = integers(0);
    const auto cols = integers(1);
    const auto weights = integers(2);
    const auto coefficients = lists[3].cast<Numbers>();
    const Index n = rows.size();
    require(cols.size() == n && weights.size() == n && coefficients.size() == n,
            "the entries of a factor must have a row, a column, a weight and a coefficient each");
    for (Index e = 0; e < n; ++e) {
        factor.entries.push_back(
            {rows.data()[e], cols.data()[e], weights.data()[e], coefficients.data()[e]});
    }
    return factor;
}

inline Chain chain_of(const py::list& factors, const std::vector<std::vector<Index>>& shapes) {
    constexpr Index most = std::numeric_limits<std::int32_t>::max();
    Chain chain;
    for (const auto& shape : shapes) {
        Index size = 1;
        for (const Index extent : shape) {
            require(extent >= 1, "extents of weights must be positive");
            require(size <= (Index{1} << 62) / extent, "weights are too many");
            size *= extent;
        }
        chain.sizes.push_back(size);
    }
    std::vector<char> is_used(shapes.size(), 0);
    for (const py::handle item : factors) {
        Factor factor = factor_of(py::reinterpret_borrow<py::tuple>(item));
        require(factor.rows >= 1 && factor.cols >= 1, "widths must be positive, got " +
                                                          std::to_string(factor.rows) + " and " +
                                                          std::to_string(factor.cols));
        require(chain.factors.empty() || chain.factors.back().rows == factor.cols,
                "a factor must have as many columns as the one before it has rows");
        require(factor.array < static_cast<int>(shapes.size()), "a factor's array does not exist");
        const Index size =
            factor.array < 0 ? 0 : chain.sizes[static_cast<std::size_t>(factor.array)];
        if (factor.array >= 0) is_used[static_cast<std::size_t>(factor.array)] = 1;
        if (factor.dense) {
            require(factor.array >= 0 && factor.rows <= most && factor.cols <= most &&
                        size == factor.rows * factor.cols,
                    "a dense factor must have an array of its shape");
            require(!factor.plus_identity || factor.rows == factor.cols,
                    "a factor with an identity must be square");
        }
        for (const Factor::Entry& entry : factor.entries) {
            require(entry.row >= 0 && entry.row < factor.rows && entry.col >= 0 &&
                        entry.col < factor.cols && entry.weight >= -1 && entry.weight < size &&
                        std::isfinite(entry.coefficient),
                    "an entry of a factor is out of range");
        }
        chain.factors.push_back(std::move(factor));
    }
    require(!chain.factors.empty(), "there must be at least one factor");
    for (const char used : is_used) require(used != 0, "every array must belong to a factor");
    const Index n_vectors = std::min(chain.n_inputs(), chain.n_outputs());
    for (const Factor& factor : chain.factors) {
        // Places within a matrix, padded to whole vectors, are kept in 32 bits.
        const Index wide = std::max(factor.rows, factor.cols) + 64;
        require(factor.dense || (wide <= most / (n_vectors + 64) && factor.entries.size() <= most),
                "a factor given by entries is too large");
    }
    return chain;
}

}  // namespace linnet::bindings
