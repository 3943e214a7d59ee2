// Steps along the polar factor of a layer's velocity.
#pragma once

#include "algebra/polar.hpp"
#include "updates/policy.hpp"

namespace linnet {

/// v = momentum v + g; w -= step U V^T, of v, or by Nesterov of g + momentum v, = U s V^T. by_steps:
/// of as many steps of Newton and Schulz as the second choice says, as Muon takes them.
template <bool by_steps, bool remembers>
struct SpectralOf : Policy {
    static constexpr const char* name =
        by_steps    ? remembers ? "newton_schulz_with_momentum" : "newton_schulz"
        : remembers ? "spectral_with_momentum"
                    : "spectral";
    static constexpr int n_memories = remembers ? 1 : 0;
    static constexpr std::array<const char*, 1> parameters{"momentum"};
    static constexpr std::array<const char*, 2> choices{"nesterov", "iterations"};
    static constexpr int n_scratch = 4;

    /// The gradient is overwritten.
    template <class V>
    static void apply_to_array(const Places<V>& weight, const Places<V>& gradient,
                               const Places<V>* memory, V step, const V* number, const int* choice,
                               V* scratch) {
        if constexpr (remembers) {
            for (Index i = 0; i < weight.rows; ++i) {
                for (Index j = 0; j < weight.cols; ++j) {
                    V& velocity = memory[0](i, j);
                    V& g = gradient(i, j);
                    velocity = fma(number[0], velocity, g);
                    g = choice[0] != 0 ? fma(number[0], velocity, g) : velocity;
                }
            }
        }
        if constexpr (by_steps) {
            newton_schulz(gradient, choice[1], scratch);
        } else {
            polar_factor(gradient, scratch);
        }
        for (Index i = 0; i < weight.rows; ++i) {
            for (Index j = 0; j < weight.cols; ++j)
                weight(i, j) = fma(-step, gradient(i, j), weight(i, j));
        }
    }
    /// Vector multiply-adds, about, the same for one run as for a pack of them.
    static double work(double rows, double cols) {
        const double small = rows < cols ? rows : cols;
        const double large = rows < cols ? cols : rows;
        return by_steps ? 15 * small * small * large : 18 * small * small * (large + small);
    }
};

}  // namespace linnet
