// Chains of few inputs or outputs and wide layers: errors are passed back through a layer while it is
// updated by them, so that its weights are read once. The bits are those of the two products.
#pragma once

#include "engines/lane_algebra.hpp"

namespace linnet {

/// back: errors that come out of a layer; update: the layer, by what goes into it.
template <class V>
using LanePass = void (*)(const LaneOperands<V>& back, const LaneOperands<V>& update);

/// The sweep that does two products one after the other; null unless they are those of a layer that does
/// not stay in the first-level cache, by few errors. Defined for packs of native_lanes.
template <class V>
LanePass<V> lane_pass(Product back_kind, const LaneOperands<V>& back, Product update_kind,
                      const LaneOperands<V>& update);

}  // namespace linnet
