// Steps of the same size in every entry.
#pragma once

#include "base/simd.hpp"
#include "updates/policy.hpp"

namespace linnet {

/// -1, 0 or 1. NaN stays NaN.
template <class V>
inline V sign(V x) {
    const V one = broadcast<V>(1);
    return select(less(V{}, x), one, select(less(x, V{}), -one, x));
}

/// w -= step sign(momentum m + (1 - momentum) g), then m = slower m + (1 - slower) g.
template <bool remembers>
struct SignOf : Policy {
    static constexpr const char* name = remembers ? "sign_with_momentum" : "sign";
    static constexpr int n_memories = remembers ? 1 : 0;
    static constexpr std::array<const char*, 2> parameters{"momentum", "slower"};
    static constexpr int n_factors = 2;

    static void find_factors(const double* parameter, const double* /*power*/, double /*n*/,
                             double* factor) {
        factor[0] = 1 - parameter[0];
        factor[1] = 1 - parameter[1];
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        V direction = gradient;
        if constexpr (remembers) {
            direction = fma(number[0], memory[0], number[2] * gradient);
            memory[0] = fma(number[1], memory[0], number[3] * gradient);
        }
        return fma(-step, sign(direction), weight);
    }
};

}  // namespace linnet
