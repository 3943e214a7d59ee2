// What a convolutional network pays for a predictor: a convex problem in trigonometric polynomials
// that are squares.
#pragma once

#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// For kernels u_g of taps[g] weights at distances dilations[g], with p_g(w) = |sum_t u_gt exp(-i w
/// t dilation)|^2, the minimum of
///
///     F = log sum_f c_f prod_g p_g(2 pi f / extent)^{-m_g} + sum_g m_g log |u_g|^2,
///
/// where m_g = multiplicities[g] layers share a kernel. It is convex in the p_g, and is solved in
/// the u_g.
struct KernelProblem {
    Index extent = 0;         ///< positions of the input
    Index n_frequencies = 0;  ///< f = 0 ... n_frequencies - 1
    Index n_problems = 0;
    std::vector<Index> taps, dilations;
    std::vector<double> multiplicities;
    const double* spectra = nullptr;  ///< c: (n_problems, n_frequencies), >= 0 and not all 0
};

/// Per problem; arrays of the caller's.
struct KernelResults {
    double* upper = nullptr;    ///< F at the kernels
    double* lower = nullptr;    ///< a certified lower bound of the minimum
    double* kernels = nullptr;  ///< unit vectors, those of all groups side by side
};

/// Solve all problems; false if asked to stop. Results do not depend on the number of threads.
bool kernel_cost(const KernelProblem& problem, const KernelResults& results,
                 const Control& control);

}  // namespace linnet
