// What policies have in common.
#pragma once

#include <array>

namespace linnet {

/// What a policy says of itself beside its name and its memories, where nothing else is said.
struct Policy {
    /// Numbers that every run has of its own, and those that are the same for all.
    static constexpr std::array<const char*, 0> parameters{};
    static constexpr std::array<const char*, 0> choices{};
    static constexpr bool stores_gradients = true;
    /// Of how many of the first parameters p the power p^n is wanted in step n = 1, 2, ...
    static constexpr int n_powers = 0;
    /// How many numbers follow from the parameters in every step:
    /// `find_factors(parameters, powers, n, factors)`, all in double. They stand behind the
    /// parameters.
    static constexpr int n_factors = 0;
    /// Whether the mean square of the entries of the gradient stands last.
    static constexpr bool sees_mean_square = false;
    /// Whether steps are gradients, or means of them, over numbers that it remembers:
    /// `find_scales(parameters, n, memory, size, scales)` after n steps, in double.
    static constexpr bool divides = false;
    /// How many arrays of the size of the gradient a policy of whole arrays works in.
    static constexpr int n_scratch = 0;
};

}  // namespace linnet
