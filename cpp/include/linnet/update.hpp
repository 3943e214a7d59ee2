// How gradients move the weights of a descent.
#pragma once

#include <string>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// An update policy, as callers see it.
struct UpdatePolicy {
    std::string name;
    int n_memories;         ///< matrices it keeps for every array of weights, zero at the start
    bool stores_gradients;  ///< false: the weights move as their gradients are found
    bool of_arrays;         ///< moves whole arrays, not entry by entry
    std::vector<std::string> parameters;  ///< numbers that every run has of its own
    std::vector<std::string> choices;     ///< whole numbers, the same for all runs
    /// Of one that moves whole arrays: multiply-adds, about, by rows and columns; else null.
    double (*work)(double, double);
};

/// Normal noise that is added to all weights after every step, of variance 2 * step size *
/// temperature.
struct WeightNoise {
    RunArray<double> temperature;  ///< scalar
    std::uint64_t seed = 0;
    RunArray<std::int64_t> stream;  ///< scalar, 32 bits
};

/// All there are.
const std::vector<UpdatePolicy>& update_policies();

/// One of them, with what it takes.
struct Update {
    int policy = 0;                            ///< its place among all; the first is plain descent
    std::vector<RunArray<double>> parameters;  ///< scalars, as the policy lists them
    std::vector<int> choices;                  ///< likewise
    /// Do weights shrink by step size * decay, in place of a decay that is part of the gradient?
    bool decoupled = false;
    /// Do errors pass back through a matrix per layer, kept behind what the policy keeps, in place of the
    /// weights?
    bool feeds_back = false;
    Index remembers_from = 0;  ///< the step at which all memories were zero

    const UpdatePolicy& by() const { return update_policies()[static_cast<std::size_t>(policy)]; }
    /// Matrices that are kept for every array of weights.
    int n_memories() const { return by().n_memories + (feeds_back ? 1 : 0); }
};

}  // namespace linnet
