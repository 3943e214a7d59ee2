// Loops along rows whose sums have a fixed order, however wide the vectors are.
#pragma once

#include "linnet/index.hpp"

namespace linnet {

/// <x, y>: eight partial sums, then a tree of them.
inline double ordered_dot(const double* x, const double* y, Index n) {
    constexpr Index width = 8;
    double part[width] = {};
    Index i = 0;
    for (; i + width <= n; i += width) {
        for (Index k = 0; k < width; ++k) part[k] += x[i + k] * y[i + k];
    }
    for (Index k = 0; i + k < n; ++k) part[k] += x[i + k] * y[i + k];
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

/// y <- y + factor x.
inline void add_multiple(double factor, const double* x, double* y, Index n) {
    for (Index i = 0; i < n; ++i) y[i] += factor * x[i];
}

}  // namespace linnet
