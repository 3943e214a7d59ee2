// Quotients by roots, which adaptive methods take of every entry in every step.
#pragma once

#include "base/simd.hpp"

namespace linnet {

/// a / b; 0 where b is 0. NaN stays NaN.
template <class V>
inline V quotient(V a, V b) {
    return select(less_equal(b, V{}), V{}, a / b);
}

/// part / (factor * sqrt(square) + eps); 0 where that is 0. NaN stays NaN.
template <class V>
inline V root_quotient(V part, V square, V factor, V eps) {
    return quotient(part, fma(square_root(square), factor, eps));
}

#if defined(__AVX512F__)

namespace detail {

// To 14 bits.
inline Pack<double, 8> rough_inverse_root(Pack<double, 8> x) { return _mm512_rsqrt14_pd(x); }
inline Pack<float, 16> rough_inverse_root(Pack<float, 16> x) { return _mm512_rsqrt14_ps(x); }
inline Pack<double, 8> rough_inverse(Pack<double, 8> x) { return _mm512_rcp14_pd(x); }
inline Pack<float, 16> rough_inverse(Pack<float, 16> x) { return _mm512_rcp14_ps(x); }

/// The same by Newton's iteration from rough values, to two units in the last place: in a third of
/// the time that a root and a division take. What is near the ends of the range is left to these; a
/// lane does not see what way its neighbours go.
template <class V>
inline V newton_root_quotient(V part, V square, V factor, V eps) {
    using T = ScalarOf<V>;
    constexpr bool is_double = sizeof(T) == sizeof(double);
    constexpr int n_steps = is_double ? 2 : 1;
    const V least = broadcast<V>(static_cast<T>(is_double ? 1e-290 : 1e-30));
    const V most = broadcast<V>(static_cast<T>(is_double ? 1e290 : 1e30));
    const V one = broadcast<V>(1);
    const V half = broadcast<V>(static_cast<T>(0.5));
    const V half_square = half * square;
    V inverse_root = rough_inverse_root(square);
    for (int k = 0; k < n_steps; ++k) {
        const V rest = fma(-(half_square * inverse_root), inverse_root, half);
        inverse_root = fma(inverse_root, rest, inverse_root);
    }
    const V size = fma(square * inverse_root, factor, eps);
    V inverse = rough_inverse(size);
    for (int k = 0; k < n_steps; ++k) inverse = fma(inverse, fma(-size, inverse, one), inverse);
    const V found = part * inverse;
    // Of NaN none of this is true.
    const V inside =
        select(less(least, square),
               select(less(square, most), select(less(size, most), one, V{}), V{}), V{});
    const auto is_inside = less(V{}, inside);
    if (!any(less_equal(inside, V{}))) return found;
    return select(is_inside, found, quotient(part, fma(square_root(square), factor, eps)));
}

}  // namespace detail

inline Pack<double, 8> root_quotient(Pack<double, 8> part, Pack<double, 8> square,
                                     Pack<double, 8> factor, Pack<double, 8> eps) {
    return detail::newton_root_quotient(part, square, factor, eps);
}
inline Pack<float, 16> root_quotient(Pack<float, 16> part, Pack<float, 16> square,
                                     Pack<float, 16> factor, Pack<float, 16> eps) {
    return detail::newton_root_quotient(part, square, factor, eps);
}

#endif

}  // namespace linnet
