// The radial functions of a spherically symmetric law, as a table.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace linnet {

/// What evaluates h, q and H at a norm r; made by Python's linnet_fast.laws. With z = scale r: h
/// and q are scale times their values at z, H is that at z. Each octave of z is cut into
/// 2^piece_bits pieces.
struct SphericalTable {
    static constexpr int piece_bits = 5;
    static constexpr int n_coefficients = 8;
    static constexpr int n_series = 6;
    using Series = std::array<double, n_series>;

    double scale = 1;
    double kappa = 0;  ///< E |x_1| / 2
    double m2 = 0;     ///< E x_1^2
    double low = 1;    ///< powers of two: the pieces cover low <= z < high
    double high = 1;
    std::ptrdiff_t split = 0;  ///< the first piece in which h is tabulated, and no longer q
    /// (piece, coefficient) of q or h, polynomials in t from -1/2 to 1/2.
    std::vector<double> gradient;
    std::vector<double> loss;  ///< the same of H
    Series small{};            ///< below: q = z sum_k small[k] (z / low)^(2 k)
    Series large{};            ///< above: h = sum_k large[k] (high / z)^(2 k + 2)
};

}  // namespace linnet
