// Step sizes of gradient descent that change from step to step.
#pragma once

#include <cmath>

#include "linnet/index.hpp"

namespace linnet {

/// What the step size is, of a run with the parameters below after n steps. Numbers as in Python's
/// linnet_fast.step_rule.
enum class StepKind : int {
    constant = 0,             ///< scale
    power = 1,                ///< scale (n + 1)^exponent
    geometric = 2,            ///< scale exponent^n
    loss_normalized = 3,      ///< scale / loss
    norm_proportional = 4,    ///< scale |P|, the Frobenius norm of the end-to-end matrix
    gradient_normalized = 5,  ///< scale / |dloss/dP|
    /// scale r / q(r) with r = |P|, of a spherically symmetric law: aligned in one step.
    alignment = 6,
    piecewise = 7,     ///< scale values[k] after k of the boundaries
    cosine = 8,        ///< from scale to scale floor, in n_steps steps from `begin` on
    inverse_sqrt = 9,  ///< scale, and from n_steps on scale sqrt(n_steps / (n + 1))
};
inline constexpr StepKind last_step_kind = StepKind::inverse_sqrt;

/// What a rule has besides its scale, of one run.
struct StepParameters {
    /// Where in `data` what stands; behind them the boundaries and one more values.
    enum Place { exponent, begin, n_steps, floor, warmup_steps, n_numbers };

    const double* data = nullptr;
    Index n_boundaries = 0;

    double operator[](Place place) const { return data[place]; }

    /// How many boundaries there are among so many numbers.
    static Index boundaries_of(Index size) { return size > n_numbers ? (size - n_numbers) / 2 : 0; }
};

/// The part of a step size that depends on the step alone, over the scale.
inline double scheduled(StepKind kind, const StepParameters& of, double n) {
    using P = StepParameters;
    switch (kind) {
        case StepKind::power:
            return std::pow(n + 1, of[P::exponent]);
        case StepKind::geometric:
            return std::pow(of[P::exponent], n);
        case StepKind::piecewise: {
            const double* const boundaries = of.data + P::n_numbers;
            Index piece = 0;
            while (piece < of.n_boundaries && boundaries[piece] <= n) ++piece;
            return boundaries[of.n_boundaries + piece];
        }
        case StepKind::cosine: {
            const double left = (n - of[P::begin]) / of[P::n_steps];
            const double part = left < 0 ? 0 : left < 1 ? left : 1;
            const double floor = of[P::floor];
            return floor + (1 - floor) * (0.5 * (1 + std::cos(3.14159265358979323846 * part)));
        }
        case StepKind::inverse_sqrt:
            return n + 1 > of[P::n_steps] ? std::sqrt(of[P::n_steps] / (n + 1)) : 1;
        default:
            return 1;
    }
}
/// What steps are multiplied by while a run warms up.
inline double warmup(const StepParameters& of, double n) {
    const double steps = of[StepParameters::warmup_steps];
    return n + 1 < steps ? (n + 1) / steps : 1;
}

}  // namespace linnet
