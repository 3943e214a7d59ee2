// Steps of diagonal networks with one output on inputs with a diagonal second moment: no input sees
// another, so that many steps are taken without leaving the registers. The operations are those of
// the plan, with the same bits.
#pragma once

#include <vector>

#include "engines/lane_algebra.hpp"

namespace linnet {

inline constexpr int most_separable_layers = 6;

/// The weights of such a network in the order of its products, the dense top first; empty for all
/// others.
std::vector<int> separable_order(const Plan& plan);

template <class V>
struct SeparableOperands {
    V* weights[most_separable_layers];  ///< in the order of products
    const V* steps[most_separable_layers];
    const V* decays[most_separable_layers];  ///< null without weight decay
    const ScalarOf<V>* cov;                  ///< all of the matrix
    const ScalarOf<V>* cross;
    Index n_inputs;
};

/// Defined for packs of native_lanes.
template <class V>
void separable_steps(const SeparableOperands<V>& o, std::size_t n_layers, Index n_steps);

}  // namespace linnet
