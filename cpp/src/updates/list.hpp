// Every update policy there is.
//
// A policy is a struct: its name, how many matrices it keeps for every array of weights, the names
// of its parameters and choices, and, if it is handed stored gradients,
//
//     apply(weight, gradient, memory, step, parameter, choice)     the weight after a step
//
// of one entry, or of one entry of each run of a pack V; memory[k] is changed in place, and the
// gradient is that of the objective, weight decay included.
#pragma once

#include <tuple>

#include "updates/momentum.hpp"
#include "updates/plain.hpp"

namespace linnet {

using UpdateList = std::tuple<Plain,  // first: the default
                              Momentum>;

}  // namespace linnet
