// Products of small matrices, one run per lane: entry (i, j) of every matrix is a pack, lane r
// belongs to run r.
#pragma once

#include <algorithm>

#include "base/simd.hpp"
#include "plan/plan.hpp"

namespace linnet {

/// Operands of one product: C is (rows, cols), with `inner` terms per entry.
template <class V>
struct LaneOperands {
    V* c;
    const V* a;
    const void* b;         ///< packs; scalars where the moments are shared by all lanes
    const void* subtract;  ///< residual: cross_cov, likewise
    const V* step;         ///< update
    const V* decay;        ///< update; null without weight decay
    ScalarOf<V> factor;    ///< combine, copy
    Index rows, cols, inner;
};

// Register tiles: the accumulators, a row of B and an entry of A must fit the register file.
inline constexpr int lane_tile = vector_registers >= 32 ? 4 : 3;
/// Of a product with a single row, whose only parallelism is along it.
inline constexpr int lane_row_tile = vector_registers >= 32 ? 12 : 8;

/// The updates of all machines: gradient descent with weight decay.
template <class V>
inline V descend(V weight, V gradient, V step, const V* decay) {
    if (decay != nullptr) gradient = fma(*decay, weight, gradient);
    return fma(-step, gradient, weight);
}

template <class V>
using LaneKernel = void (*)(const LaneOperands<V>&, Index row, Index col);

/// The kernel of an operation for blocks of n_rows x n_cols, both 1 ... lane_tile, or one row of 1
/// ... lane_row_tile; `inner` terms if the block is all of C, else 0. shared: all lanes have the
/// same moments. Null if the operation is not done by blocks. Defined for packs of native_lanes.
template <class V>
LaneKernel<V> lane_kernel(Product kind, bool shared, Index n_rows, Index n_cols, Index inner);

/// The kernel for n_cols columns, 1 ... lane_row_tile, of an update with one term per entry.
template <class V>
LaneKernel<V> lane_outer_kernel(Index n_cols);

/// Of the calls of a machine: how many do the next one, too?
template <class Calls>
int passes_among(const Calls& calls) {
    return static_cast<int>(std::count_if(calls.begin(), calls.end(),
                                          [](const auto& call) { return call.pass != nullptr; }));
}

/// `extent` in as few blocks of at most `most` as possible, as even as possible: the sizes are
/// small and small + 1.
struct Blocks {
    Index count, small, n_large;
    Blocks(Index extent, Index most)
        : count((extent + most - 1) / most),
          small(extent / count),
          n_large(extent % count) {}
    Index size(Index block) const { return block < n_large ? small + 1 : small; }
};

}  // namespace linnet
