// Gradient descent of single modes: the recursions that have no closed form.
//
// Arrays of n modes; steps increase; results are (mode, step) in C order.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// Asked now and then: is it time to stop?
using StopAsking = std::function<bool()>;

/// The balanced mode of two layers by z = logit(1 - lam w / sigma), which is accurate at both ends;
/// rate is step_size times sigma. False if asked to stop.
bool logit_descent(Index n, const double* logit, const double* rate,
                   const std::vector<std::int64_t>& steps, double* out, const StopAsking& stop);

/// The two factors of a mode, of any signs and sizes; out: first factors of all modes, then the
/// second ones.
bool factor_descent(Index n, const double* first, const double* second, const double* step_size,
                    const double* sigma, const double* lam, const std::vector<std::int64_t>& steps,
                    double* out, const StopAsking& stop);

/// The factor y that all layers of a balanced mode have in common, in units of its start, by
/// y <- y + y^(L - 1) (drive - brake y^L), L >= 2. `rest` is where it comes to rest, `gap` is 1 -
/// rest^-L. out: y of all modes, then 1 - (y / rest)^L where that is between -1 and 1/2, else NaN.
bool balanced_descent(Index n, const double* drive, const double* brake, const double* rest,
                      const double* gap, Index n_layers, const std::vector<std::int64_t>& steps,
                      double* out, const StopAsking& stop);

/// The same with a velocity u <- momentum u + y^(L - 1) (drive - brake y^L) from 0, by which y moves, or, if
/// nesterov, by that force plus momentum u. Of one layer `gap` is all there is, and `drive` its rate.
bool momentum_descent(Index n, const double* drive, const double* brake, const double* rest,
                      const double* gap, const double* momentum, bool nesterov, Index n_layers,
                      const std::vector<std::int64_t>& steps, double* out, const StopAsking& stop);

}  // namespace linnet
