// Gradient descent with momentum.
#pragma once

#include "base/simd.hpp"
#include "updates/policy.hpp"

namespace linnet {

/// v = momentum v + g, w -= step v; by Nesterov w -= step (g + momentum v). Without momentum the
/// bits are those of plain descent, whatever v is.
struct Momentum : Policy {
    static constexpr const char* name = "momentum";
    static constexpr int n_memories = 1;
    static constexpr std::array<const char*, 1> parameters{"momentum"};
    static constexpr std::array<const char*, 1> choices{"nesterov"};

    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number, const int* choice) {
        V& velocity = memory[0];
        const auto carried_on = [&] {
            return select(less(V{}, number[0]), fma(number[0], velocity, gradient), gradient);
        };
        velocity = carried_on();
        const V move = choice[0] != 0 ? carried_on() : velocity;
        return fma(-step, move, weight);
    }
};

/// v = momentum v + (1 - dampening) g, but v = g in the first step; w -= step v.
struct DampedMomentum : Policy {
    static constexpr const char* name = "damped_momentum";
    static constexpr int n_memories = 1;
    static constexpr std::array<const char*, 2> parameters{"momentum", "dampening"};
    static constexpr int n_factors = 1;

    static void find_factors(const double* parameter, const double* /*power*/, double n,
                             double* factor) {
        factor[0] = n == 1 || parameter[0] == 0 ? 1 : 1 - parameter[1];
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        const V fresh = number[2] * gradient;
        memory[0] = select(less(V{}, number[0]), fma(number[0], memory[0], fresh), fresh);
        return fma(-step, memory[0], weight);
    }
};

}  // namespace linnet
