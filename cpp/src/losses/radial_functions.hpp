// h, q and H of a spherically symmetric law, at a norm.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/simd.hpp"
#include "linnet/spherical.hpp"

namespace linnet {

/// Evaluates a table, which must outlive it. Relative accuracy is some 1e-15 for any norm, of h
/// where it decays as well as of q where it starts. NaN gives NaN.
class RadialFunctions {
public:
    struct HQ {
        double h, q;  ///< they add up to kappa
    };

    explicit RadialFunctions(const SphericalTable& table)
        : gradient_(table.gradient.data()),
          loss_(table.loss.data()),
          scale_(table.scale),
          kappa_(table.kappa),
          m2_(table.m2),
          first_(bits_of(table.low) >> shift),
          n_pieces_(table.gradient.size() / SphericalTable::n_coefficients),
          split_(static_cast<std::uint64_t>(table.split)),
          table_(&table) {}

    HQ hq(double r) const {
        const double z = scale_ * r;
        const std::uint64_t bits = bits_of(z);
        const std::uint64_t piece = (bits >> shift) - first_;
        if (piece >= n_pieces_) return hq_outside(z);
        const double one = scale_ * polynomial(gradient_, piece, bits);
        const double other = kappa_ - one;
        return piece < split_ ? HQ{other, one} : HQ{one, other};
    }
    /// The derivative of q at r.
    double slope(double r) const {
        const double z = scale_ * r;
        const std::uint64_t bits = bits_of(z);
        const std::uint64_t piece = (bits >> shift) - first_;
        if (piece >= n_pieces_) return slope_outside(z);
        // Of the polynomial by t, and of t by z: pieces are parts of the octaves of z.
        const double* const c = gradient_ + piece * SphericalTable::n_coefficients;
        const double t = place_of_bits(bits);
        double sum = 0;
        for (int k = SphericalTable::n_coefficients - 1; k > 0; --k) sum = fma(sum, t, k * c[k]);
        const int octave = static_cast<int>(bits >> 52) - 1023;
        sum = std::ldexp(sum, SphericalTable::piece_bits - octave);
        return scale_ * scale_ * (piece < split_ ? sum : -sum);
    }
    /// q(r) / r, at 0 its limit.
    double mean_slope(double r) const {
        return r > 0 ? hq(r).q / r : scale_ * scale_ * table_->small[0];
    }
    /// H, the loss at r v.
    double loss(double r) const {
        const double z = scale_ * r;
        const std::uint64_t bits = bits_of(z);
        const std::uint64_t piece = (bits >> shift) - first_;
        return piece < n_pieces_ ? polynomial(loss_, piece, bits) : loss_outside(z);
    }
    /// r / q(r), after a step of which nothing is left of w; at 0 its limit.
    double alignment_step(double r) const {
        const double q = hq(r).q;
        return q > 0 ? r / q : 4 / m2_;
    }
    double kappa() const { return kappa_; }
    double m2() const { return m2_; }
    /// The limit of r^2 h(r).
    double tail() const { return table_->high * table_->high * table_->large[0] / scale_; }
    /// From this norm on h is taken from its series in 1 / r^2.
    double reach() const { return table_->high / scale_; }

private:
    static constexpr int shift = 52 - SphericalTable::piece_bits;

    static std::uint64_t bits_of(double x) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &x, sizeof bits);
        return bits;
    }
    /// The polynomial of a piece, at what the bits say after those that tell the piece.
    static double polynomial(const double* rows, std::uint64_t piece, std::uint64_t bits) {
        static_assert(SphericalTable::n_coefficients == 8);
        const double t = place_of_bits(bits);
        const double* const c = rows + piece * SphericalTable::n_coefficients;
        // By halves, which is sooner done than one term after the other.
        const double t2 = t * t;
        const double low = fma(fma(c[3], t, c[2]), t2, fma(c[1], t, c[0]));
        const double high = fma(fma(c[7], t, c[6]), t2, fma(c[5], t, c[4]));
        return fma(high, t2 * t2, low);
    }
    /// What the bits say after those that tell the piece, in [-1/2, 1/2).
    static double place_of_bits(std::uint64_t bits) {
        constexpr std::uint64_t one = std::uint64_t{1023} << 52;
        constexpr std::uint64_t mantissa = (std::uint64_t{1} << 52) - 1;
        const std::uint64_t rest = ((bits << SphericalTable::piece_bits) & mantissa) | one;
        double from_one = 0;
        std::memcpy(&from_one, &rest, sizeof rest);
        return from_one - 1.5;
    }
    double slope_outside(double z) const {
        const bool is_small = z < table_->low;
        const double part = is_small ? z / table_->low : table_->high / z;
        SphericalTable::Series terms{};
        for (int k = 0; k < SphericalTable::n_series; ++k) {
            const auto at = static_cast<std::size_t>(k);
            terms[at] =
                is_small ? (2 * k + 1) * table_->small[at] : (2 * k + 2) * table_->large[at];
        }
        const double sum = series(terms, part * part);
        return scale_ * scale_ * (is_small ? sum : part * part * sum / z);
    }
    HQ hq_outside(double z) const {
        if (z < table_->low) {
            const double part = z / table_->low;
            const double q = scale_ * (z * series(table_->small, part * part));
            return {kappa_ - q, q};
        }
        const double part = table_->high / z;
        const double h = scale_ * (part * part * series(table_->large, part * part));
        return {h, kappa_ - h};
    }
    double loss_outside(double z) const {
        constexpr double ln_2 = 0.693147180559945309;
        SphericalTable::Series terms{};
        if (z < table_->low) {
            for (int k = 0; k < SphericalTable::n_series; ++k)
                terms[static_cast<std::size_t>(k)] =
                    table_->small[static_cast<std::size_t>(k)] / (2 * k + 2);
            const double part = z / table_->low;
            return fma(z * z, series(terms, part * part), ln_2 - kappa_ / scale_ * z);
        }
        for (int k = 0; k < SphericalTable::n_series; ++k)
            terms[static_cast<std::size_t>(k)] =
                table_->large[static_cast<std::size_t>(k)] / (2 * k + 1);
        const double part = table_->high / z;
        return table_->high * part * series(terms, part * part);
    }
    static double series(const SphericalTable::Series& terms, double x) {
        double value = 0;
        for (std::size_t k = terms.size(); k-- > 0;) value = fma(value, x, terms[k]);
        return value;
    }

    const double* gradient_;
    const double* loss_;
    double scale_, kappa_, m2_;
    std::uint64_t first_, n_pieces_, split_;
    const SphericalTable* table_;
};

}  // namespace linnet
