// Gradient descent as it is.
#pragma once

#include "updates/policy.hpp"

namespace linnet {

/// Weights move as their gradients are found (`descend`), in the operations of a plan itself.
struct Plain : Policy {
    static constexpr const char* name = "plain";
    static constexpr int n_memories = 0;
    static constexpr bool stores_gradients = false;
};

}  // namespace linnet
