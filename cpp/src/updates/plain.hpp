// Gradient descent as it is.
#pragma once

#include <array>

namespace linnet {

/// Weights move as their gradients are found (`descend`), in the operations of a plan itself.
struct Plain {
    static constexpr const char* name = "plain";
    static constexpr int n_memories = 0;
    static constexpr bool stores_gradients = false;
    static constexpr std::array<const char*, 0> parameters{};
    static constexpr std::array<const char*, 0> choices{};
};

}  // namespace linnet
