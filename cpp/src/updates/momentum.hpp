// Gradient descent with momentum.
#pragma once

#include <array>

#include "base/simd.hpp"

namespace linnet {

/// v = momentum v + g, w -= step v; by Nesterov w -= step (g + momentum v). Without momentum the
/// bits are those of plain descent, whatever v is.
struct Momentum {
    static constexpr const char* name = "momentum";
    static constexpr int n_memories = 1;
    static constexpr bool stores_gradients = true;
    static constexpr std::array<const char*, 1> parameters{"momentum"};
    static constexpr std::array<const char*, 1> choices{"nesterov"};

    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* parameter,
                   const bool* choice) {
        V& velocity = memory[0];
        const auto carried_on = [&] {
            return select(less(V{}, parameter[0]), fma(parameter[0], velocity, gradient), gradient);
        };
        velocity = carried_on();
        const V move = choice[0] ? carried_on() : velocity;
        return fma(-step, move, weight);
    }
};

}  // namespace linnet
