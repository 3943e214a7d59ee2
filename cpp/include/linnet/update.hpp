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
    std::vector<std::string> parameters;  ///< numbers that every run has of its own
    std::vector<std::string> choices;     ///< yes or no, the same for all runs
};

/// All there are.
const std::vector<UpdatePolicy>& update_policies();

/// One of them, with what it takes.
struct Update {
    int policy = 0;                            ///< its place among all; the first is plain descent
    std::vector<RunArray<double>> parameters;  ///< scalars, as the policy lists them
    std::vector<char> choices;                 ///< likewise
};

}  // namespace linnet
