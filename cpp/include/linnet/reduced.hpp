// A linear network of one output on spherically symmetric data, reduced to two numbers: the norm r
// of its end-to-end vector and the angle theta to the direction of the labels, kept as s = ln
// tan(theta / 2).
#pragma once

#include <cstdint>
#include <vector>

#include "linnet/index.hpp"
#include "linnet/spherical.hpp"
#include "linnet/step_rule.hpp"

namespace linnet {

/// Runs that start from balanced layers. Arrays have n_runs entries.
struct ReducedRuns {
    const SphericalTable* table = nullptr;
    Index n_layers = 1;
    Index n_runs = 0;
    const double* s = nullptr;            ///< infinite at the angles 0 and pi
    const double* norm = nullptr;         ///< zero with a single layer only
    const double* label_noise = nullptr;  ///< probability in [0, 1/2) that a label is flipped
};

/// Where to write, each (run, record) in C order; what cannot be computed is NaN.
struct ReducedResults {
    double* s = nullptr;
    double* log_norm = nullptr;
    double* time = nullptr;  ///< of descent: the sum of the step sizes
};

/// Where the norm of each run is the least.
struct ReducedTurns {
    double* time = nullptr;  ///< infinite if it never does
    double* s = nullptr;
    double* log_norm = nullptr;
    std::int64_t* step = nullptr;  ///< of descent; -1 if it does not happen within the steps taken
};

/// Gradient flow at increasing times >= 0. False if asked to stop.
bool reduced_flow(const ReducedRuns& runs, double rtol, const std::vector<double>& times,
                  const ReducedResults& results, const Control& control);

/// Where the norm is the least along the flow. False if asked to stop.
bool reduced_flow_turn(const ReducedRuns& runs, double rtol, const ReducedTurns& turns,
                       const Control& control);

/// Times until s is `to_s` of each run, which starts from a finite s. False if asked to stop.
bool reduced_flow_time(const ReducedRuns& runs, double rtol, const double* to_s, double* time,
                       const Control& control);

/// Step sizes by a rule; `scale` is (run), `parameters` (run, n), as
/// StepParameters.
struct ReducedRule {
    StepKind kind = StepKind::constant;
    const double* scale = nullptr;
    const double* parameters = nullptr;
    Index n_parameters = 0;
};

/// Gradient descent on the layers, at increasing steps >= 0, and where the norm first is less than
/// after the next step. False if asked to stop.
bool reduced_descent(const ReducedRuns& runs, const ReducedRule& rule,
                     const std::vector<std::int64_t>& steps, const ReducedResults& results,
                     const ReducedTurns& turns, const Control& control);

}  // namespace linnet
