// The architecture of a network: a chain of factors made of arrays of weights.
#pragma once

#include <cstdint>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// A factor M of the chain M_L ... M_1 that is not plainly dense: M = sum of its entries, each at
/// (row, col) with the value coefficient * weight, or coefficient alone; or, of a dense one, M =
/// scale * W, perhaps plus the identity.
struct Factor {
    struct Entry {
        std::int32_t row, col;
        std::int32_t weight;  ///< place in the factor's array of weights; -1: fixed
        double coefficient;
    };
    Index rows = 0, cols = 0;
    /// Which array of weights it takes, several factors may share one; -1: all entries are fixed.
    int array = -1;
    bool dense = false;  ///< weights are (rows, cols), there are no entries
    bool plus_identity = false;
    double scale = 1;
    std::vector<Entry> entries;
};

/// The architecture: which factors, and how long their arrays of weights are.
struct Chain {
    std::vector<Factor> factors;  ///< the first sees the input
    std::vector<Index> sizes;     ///< of the arrays of weights, each used by some factor

    Index n_inputs() const { return factors.front().cols; }
    Index n_outputs() const { return factors.back().rows; }
    /// Layers of these widths, all of them dense.
    static Chain dense(const std::vector<Index>& widths);
    /// Is it a chain of plain dense layers with an array each, in order?
    bool is_dense() const;
};

}  // namespace linnet
