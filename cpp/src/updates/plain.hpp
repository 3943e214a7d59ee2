// Gradient descent as it is.
#pragma once

#include "base/simd.hpp"
#include "updates/policy.hpp"

namespace linnet {

/// Weights move as their gradients are found (`descend`), in the operations of a plan itself.
struct Plain : Policy {
    static constexpr const char* name = "plain";
    static constexpr int n_memories = 0;
    static constexpr bool stores_gradients = false;
};

/// The same from stored gradients, for what takes them elsewhere.
struct PlainStored : Policy {
    static constexpr const char* name = "plain_stored";
    static constexpr int n_memories = 0;

    template <class V>
    static V apply(V weight, V gradient, V* /*memory*/, V step, const V* /*number*/,
                   const int* /*choice*/) {
        return fma(-step, gradient, weight);
    }
};

}  // namespace linnet
