// Elementary functions of packs, to three units in the last place; the same operations on every
// lane, whatever the others hold.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "base/simd.hpp"

namespace linnet {

namespace detail {

template <class T>
struct FloatFormat;
template <>
struct FloatFormat<double> {
    using Int = std::int64_t;
    static constexpr int mantissa_bits = 52;
    static constexpr double round = 6755399441055744.0;  ///< 1.5 2^52: adding it rounds to integers
    static constexpr double ln2_high = 0.693147180369123816490;  ///< few bits: multiples are exact
    static constexpr double ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_least = -708, exp_most = 709;
    static constexpr int exp_terms = 14;
    static constexpr Int root_of_half = 0x3fe6a09e667f3bcd;  ///< bits of the square root of 1/2
};
template <>
struct FloatFormat<float> {
    using Int = std::int32_t;
    static constexpr int mantissa_bits = 23;
    static constexpr float round = 12582912.0F;
    static constexpr float ln2_high = 0.693359375F;
    static constexpr float ln2_low = -2.12194440e-4F;
    static constexpr float exp_least = -87, exp_most = 88;
    static constexpr int exp_terms = 8;
    static constexpr Int root_of_half = 0x3f3504f3;
};
template <class V>
using FormatOf = FloatFormat<ScalarOf<V>>;

template <class V>
struct BitsOf {
    using Int = typename FormatOf<V>::Int;
    typedef Int type __attribute__((vector_size(sizeof(V))));
};

template <class To, class From>
inline To bit_cast(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

constexpr double inverse_factorial(int n) { return n < 2 ? 1.0 : inverse_factorial(n - 1) / n; }

/// sum_{k < n} coefficient(k) x^k, with coefficients that the compiler computes.
template <int n, int k = 0, class V, class Coefficient>
inline V series(V x, Coefficient coefficient) {
    constexpr auto value = static_cast<ScalarOf<V>>(coefficient(k));
    if constexpr (k == n - 1) {
        return broadcast<V>(value);
    } else {
        return fma(series<n, k + 1>(x, coefficient), x, broadcast<V>(value));
    }
}

// Taylor coefficients.
constexpr double of_cosh(int k) { return inverse_factorial(2 * k); }
constexpr double of_sinh(int k) { return inverse_factorial(2 * k + 1); }
constexpr double of_cos(int k) { return k % 2 == 0 ? of_cosh(k) : -of_cosh(k); }
constexpr double of_sin(int k) { return k % 2 == 0 ? of_sinh(k) : -of_sinh(k); }
constexpr double of_artanh(int k) { return 1.0 / (2 * k + 1); }

/// Powers of two by sixteenths of an octave, in registers: shorter series for exponentials.
inline constexpr double power_steps = 16;
template <class V>
inline constexpr bool has_power_table = false;
#if defined(__AVX512F__)
template <>
inline constexpr bool has_power_table<Pack<double, 8>> = true;

/// Bits of 2^(j / 16) less j in the place to which power_of_two() moves it.
struct PowerTable {
    alignas(64) double entries[16];
    PowerTable() {
        for (int j = 0; j < 16; ++j) {
            const auto bits =
                bit_cast<std::int64_t>(std::exp2(j / power_steps)) - (std::int64_t{j} << 48);
            entries[j] = bit_cast<double>(bits);
        }
    }
};
inline const PowerTable power_table;

/// 2^(k / 16), of the whole number k that was added to `round`.
inline Pack<double, 8> power_of_two(Pack<double, 8> shifted) {
    using Bits = BitsOf<Pack<double, 8>>::type;
    const Bits bits = bit_cast<Bits>(shifted);
    const __m512d low = _mm512_load_pd(power_table.entries);
    const __m512d high = _mm512_load_pd(power_table.entries + 8);
    const __m512d entry = _mm512_permutex2var_pd(low, bit_cast<__m512i>(bits), high);
    return bit_cast<Pack<double, 8>>(bit_cast<Bits>(entry) + (bits << 48));
}
/// (e^r - 1 - r) / r^2 for |r| <= a = log(2) / 32: Taylor's series with its term of order 5
/// replaced by the best that lower ones do for it.
template <class V>
inline V quadratic_rest(V r, V square) {
    constexpr double a = 0.693147180559945309417 / 32;
    constexpr double c1 = 1.0 / 6 - a * a * a * a * 5 / 16 / 5040;
    constexpr double c3 = 1.0 / 120 + a * a * 20 / 16 / 5040;
    const V low = fma(r, broadcast<V>(c1), broadcast<V>(0.5));
    V high = fma(r, broadcast<V>(c3), broadcast<V>(1.0 / 24));
    high = fma(square, broadcast<V>(1.0 / 720), high);
    return fma(square, high, low);
}
#endif

}  // namespace detail

/// e^x for x from exp_least to exp_most, to which x is cut; NaN for NaN.
template <class V>
inline V exponential(V x) {
    using T = ScalarOf<V>;
    using Format = detail::FormatOf<V>;
    using Bits = typename detail::BitsOf<V>::type;
    x = smaller(larger(x, broadcast<V>(Format::exp_least)), broadcast<V>(Format::exp_most));
    const V round = broadcast<V>(Format::round);
    constexpr double steps = detail::has_power_table<V> ? detail::power_steps : 1;  // to an octave
    const V shifted = fma(x, broadcast<V>(static_cast<T>(steps * 1.4426950408889634074)), round);
    const V k = shifted - round;
    V r = fma(-k, broadcast<V>(static_cast<T>(Format::ln2_high / steps)), x);
    r = fma(-k, broadcast<V>(static_cast<T>(Format::ln2_low / steps)), r);
    const V square = r * r;
    // scale = 2^(k / steps), and e^r - 1, which is NaN for NaN.
    V scale;
    V rest;
#if defined(__AVX512F__)
    if constexpr (detail::has_power_table<V>) {
        scale = detail::power_of_two(shifted);
        rest = fma(square, detail::quadratic_rest(r, square), r);
    } else
#endif
    {
        const Bits one = detail::bit_cast<Bits>(broadcast<V>(1));
        scale =
            detail::bit_cast<V>(one + (detail::bit_cast<Bits>(shifted) << Format::mantissa_bits));
        // Even and odd terms are two chains that need not wait for each other.
        constexpr int half = Format::exp_terms / 2;
        const V even = detail::series<half>(square, [](int i) { return detail::of_cosh(i + 1); });
        const V odd =
            detail::series<half - 1>(square, [](int i) { return detail::of_sinh(i + 1); });
        rest = fma(square, fma(r, odd, even), r);
    }
    return fma(scale, rest, scale);
}

/// 1 / (1 + e^x): what a logistic loss weighs a margin x by. Beyond the range of the exponential it
/// stays at about the smallest normal number.
template <class V>
inline V falling_logistic(V x) {
    const V one = broadcast<V>(1);
    return one / (one + exponential(x));
}

/// log(1 + x) for x in [0, 1], relative to itself: 2 artanh(x / (2 + x)).
template <class V>
inline V log1p_unit(V x) {
    const V s = x / (broadcast<V>(2) + x);
    constexpr int n_terms = sizeof(ScalarOf<V>) == 8 ? 17 : 8;
    const V sum = detail::series<n_terms>(s * s, [](int i) { return detail::of_artanh(i); });
    return (s + s) * sum;
}

/// log(1 + e^-x), the logistic loss of a margin x. 0 where it is below the smallest normal number.
template <class V>
inline V logistic_loss(V x) {
    const V size = absolute(x);
    V small = log1p_unit(exponential(-size));
    small = select(less(broadcast<V>(-detail::FormatOf<V>::exp_least), size), V{}, small);
    return larger(-x, V{}) + small;
}

/// e^-x, the exponential loss of a margin x: 0 and infinite beyond the range of normal numbers.
template <class V>
inline V exponential_loss(V x) {
    using Format = detail::FormatOf<V>;
    const V infinite = broadcast<V>(std::numeric_limits<ScalarOf<V>>::infinity());
    V value = exponential(-x);
    value = select(less(broadcast<V>(-Format::exp_least), x), V{}, value);
    return select(less(x, broadcast<V>(-Format::exp_most)), infinite, value);
}

/// log(x) of normal positive numbers.
template <class V>
inline V logarithm(V x) {
    using Format = detail::FormatOf<V>;
    using Bits = typename detail::BitsOf<V>::type;
    constexpr auto mantissa_bits = Format::mantissa_bits;
    const Bits bits = detail::bit_cast<Bits>(x) - Format::root_of_half;
    const Bits exponent = bits >> mantissa_bits;  // arithmetic: rounds down
    const V m = detail::bit_cast<V>(detail::bit_cast<Bits>(x) - (exponent << mantissa_bits));
    const V round = broadcast<V>(Format::round);
    const V k = detail::bit_cast<V>(exponent + detail::bit_cast<Bits>(round)) - round;
    const V one = broadcast<V>(1);
    const V s = (m - one) / (m + one);
    const V sum = detail::series<12>(s * s, [](int i) { return detail::of_artanh(i); });
    const V ln2 = broadcast<V>(static_cast<ScalarOf<V>>(0.693147180559945309417));
    return fma(k, ln2, (s + s) * sum);
}

/// The point on the unit circle at the angle 2 pi turn, for turn in [0, 1].
template <class V>
inline void unit_circle(V turn, V& cosine, V& sine) {
    static_assert(sizeof(ScalarOf<V>) == 8);
    using Bits = typename detail::BitsOf<V>::type;
    const V round = broadcast<V>(detail::FormatOf<V>::round);
    const V shifted = fma(turn, broadcast<V>(4), round);
    const V quarter = shifted - round;
    const V angle = fma(quarter, broadcast<V>(-0.25), turn) * broadcast<V>(6.283185307179586476925);
    const V square = angle * angle;
    const V s = angle * detail::series<8>(square, [](int i) { return detail::of_sin(i); });
    const V c = detail::series<9>(square, [](int i) { return detail::of_cos(i); });
    // A quarter turn takes (c, s) to (-s, c).
    const Bits number = detail::bit_cast<Bits>(shifted);
    const Bits swap = (number & 1) == 1;
    const Bits negate_cosine = ((number + 1) & 2) == 2;
    const Bits negate_sine = (number & 2) == 2;
    const V x = swap ? s : c;
    const V y = swap ? c : s;
    cosine = negate_cosine ? -x : x;
    sine = negate_sine ? -y : y;
}

}  // namespace linnet
