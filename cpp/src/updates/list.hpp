// Every update policy there is.
//
// A policy is a struct over Policy: its name, how many matrices it keeps for every array of weights,
// the names of its parameters and choices, and
//
//     apply(weight, gradient, memory, step, numbers, choices)     the weight after a step
//
// of one entry, or of one entry of each run of a pack V; memory[k] is changed in place, the gradient
// is that of the objective, weight decay included, and the numbers are the parameters and whatever
// else it asks for (see Policy). What has to see whole arrays has apply_to_array in its place.
#pragma once

#include <tuple>

#include "updates/adaptive.hpp"
#include "updates/momentum.hpp"
#include "updates/plain.hpp"
#include "updates/signs.hpp"
#include "updates/spectral.hpp"

namespace linnet {

using UpdateList =
    std::tuple<Plain,  // first: the default
               PlainStored, Momentum, DampedMomentum, Adam, AmsGrad, RmsPropOf<false, false>,
               RmsPropOf<false, true>, RmsPropOf<true, false>, RmsPropOf<true, true>,
               CenteredRmsPropOf<false>, CenteredRmsPropOf<true>, Adagrad, SignOf<false>,
               SignOf<true>, SpectralOf<false, false>, SpectralOf<false, true>,
               SpectralOf<true, false>, SpectralOf<true, true>>;

}  // namespace linnet
