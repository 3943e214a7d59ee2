// Elementary functions of what makes data, starts and axes of sweeps, outside the training loop.
//
// As in linnet/algebra.hpp nothing is fused and no library is asked, so the bits are a function of
// the numbers that go in alone: those of libm and of NumPy differ between processors.
#pragma once

#include "linnet/index.hpp"

namespace linnet {

/// log and log1p are correctly rounded but in about one case of 1000, exp and expm1 to 0.7 units in
/// the last place; what is beyond float64 is infinite or 0.
enum class Elementary { log, log1p, exp, expm1, normal_quantile };

/// out <- function(x), for n numbers each.
void elementary(Elementary function, const double* x, Index n, double* out, const Control& control);

}  // namespace linnet
