// The angle between two vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "linnet/index.hpp"

namespace linnet {

struct Direction {
    double norm = 0;
    double angle = 0;
    double log_tan_half_angle = 0;
};

/// The norm of w, whatever the size of its entries; NaN if one of them is NaN.
inline double norm_of(const double* w, Index n) {
    double largest = 0;
    for (Index j = 0; j < n; ++j) largest = std::max(largest, std::fabs(w[j]));
    double square = 0;
    for (Index j = 0; j < n; ++j) {
        const double part = largest > 0 ? w[j] / largest : w[j];
        square += part * part;
    }
    return largest * std::sqrt(square);
}

/// Norm of w, and its angle to a vector v of norm 1 from the part of w that is perpendicular to it:
/// accurate at both ends, and relative to itself where v is an axis. The angle of 0 is NaN.
inline Direction direction_of(const double* w, const double* v, Index n) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const double norm = norm_of(w, n);
    double largest = 0;
    for (Index j = 0; j < n; ++j) largest = std::max(largest, std::fabs(w[j]));
    if (!(largest > 0 && std::isfinite(norm))) return {norm, nan, nan};
    double along = 0;
    for (Index j = 0; j < n; ++j) along += w[j] / largest * v[j];
    double widest = 0;
    for (Index j = 0; j < n; ++j)
        widest = std::max(widest, std::fabs(w[j] / largest - along * v[j]));
    double square = 0;
    for (Index j = 0; j < n && widest > 0; ++j) {
        const double part = (w[j] / largest - along * v[j]) / widest;
        square += part * part;
    }
    const double across = widest * std::sqrt(square);
    const double length = std::hypot(across, along);
    const double log_tan = along >= 0 ? std::log(across) - std::log(length + along)
                                      : std::log(length - along) - std::log(across);
    return {norm, std::atan2(across, along), log_tan};
}

}  // namespace linnet
