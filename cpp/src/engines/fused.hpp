// Steps of two dense layers of equal, small width: a row of the output at a time goes from the
// product to its part of both gradients without leaving the registers. The operations are those of
// the plan, with the same bits.
#pragma once

#include "engines/lane_algebra.hpp"

namespace linnet {

/// The width of such a network, 2 ... lane_tile; 0 for all others, and for those with a rule for
/// the step size.
int fused_width(const Plan& plan);

template <class V>
struct FusedOperands {
    V* lower;
    V* upper;
    const V* lower_step;
    const V* upper_step;
    const V* lower_decay;  ///< null without weight decay
    const V* upper_decay;
    const void* cov;    ///< packs; scalars where the moments are shared by all lanes
    const void* cross;  ///< likewise
};

template <class V>
using FusedStep = void (*)(const FusedOperands<V>&);

/// The step for a width that `fused_width` gives; null for 0. Defined for packs of native_lanes.
template <class V>
FusedStep<V> fused_step_of(int width, bool shared);

}  // namespace linnet
