// The vector type of the core: a plain compiler vector, and the few operations that have no
// operator.
//
// Every multiply-add is written fma(a, b, c) and the core is compiled with -ffp-contract=off, so
// which operations are fused is decided by this source and not by the optimiser. That is what makes
// the lane engine, the direct engine and the observables agree to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/// Before a loop whose turns do not depend on each other: the compiler may take several at once.
#if defined(__clang__)
#define LINNET_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LINNET_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace linnet {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
inline constexpr int vector_registers = 32;
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int vector_bytes = 32;
inline constexpr int vector_registers = 16;
#elif defined(__aarch64__)
inline constexpr int vector_bytes = 16;
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_bytes = 16;
inline constexpr int vector_registers = 16;
#endif

template <class T>
inline constexpr int native_lanes = vector_bytes / static_cast<int>(sizeof(T));

template <class T, int N>
struct PackOf {
    typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T>
struct PackOf<T, 1> {
    using type = T;
};
/// N values of type T that move together; Pack<T, 1> is T itself.
template <class T, int N>
using Pack = typename PackOf<T, N>::type;

/// What a scalar or a pack is made of.
template <class V>
struct PackTraits {
    using Scalar = std::remove_cv_t<std::remove_reference_t<decltype(V{}[0])>>;
    static constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(Scalar));
};
template <>
struct PackTraits<double> {
    using Scalar = double;
    static constexpr int lanes = 1;
};
template <>
struct PackTraits<float> {
    using Scalar = float;
    static constexpr int lanes = 1;
};
template <class V>
using ScalarOf = typename PackTraits<V>::Scalar;

template <class V>
struct Twin;
template <class V>
inline constexpr bool is_twin = false;
template <class V>
inline constexpr bool is_twin<Twin<V>> = true;

template <class V>
inline V broadcast(ScalarOf<V> x) {
    if constexpr (PackTraits<V>::lanes == 1) {
        return x;
    } else if constexpr (is_twin<V>) {
        return {broadcast<decltype(V::a)>(x), broadcast<decltype(V::b)>(x)};
    } else {
        return x - V{};  // x - 0 is x for every x, -0 and NaN included, so no subtraction is left
    }
}

#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
// Two roundings, in every engine alike.
inline double fma(double a, double b, double c) { return a * b + c; }
inline float fma(float a, float b, float c) { return a * b + c; }
#endif

inline double square_root(double x) { return __builtin_sqrt(x); }
inline float square_root(float x) { return __builtin_sqrtf(x); }

// Comparisons give a mask: bool for a scalar, a vector of all-ones and zeros for a pack, a mask
// register on AVX-512. Masks combine with & and |.
template <class V>
inline auto less(V a, V b) {
    return a < b;
}
template <class V>
inline auto less_equal(V a, V b) {
    return a <= b;
}
template <class M, class V>
inline V select(M mask, V yes, V no) {
    return mask ? yes : no;
}
inline bool any(bool mask) { return mask; }
template <class M>
inline bool any(M mask) {
    auto seen = mask[0];
    for (std::size_t r = 1; r < sizeof(M) / sizeof(mask[0]); ++r) seen |= mask[r];
    return seen != 0;
}

// The widths that exist on this instruction set; anything else has no pack.
#if defined(__AVX512F__)
inline Pack<double, 8> fma(Pack<double, 8> a, Pack<double, 8> b, Pack<double, 8> c) {
    return _mm512_fmadd_pd(a, b, c);
}
inline Pack<float, 16> fma(Pack<float, 16> a, Pack<float, 16> b, Pack<float, 16> c) {
    return _mm512_fmadd_ps(a, b, c);
}
inline Pack<double, 8> square_root(Pack<double, 8> x) { return _mm512_sqrt_pd(x); }
inline Pack<float, 16> square_root(Pack<float, 16> x) { return _mm512_sqrt_ps(x); }
/// A mask register; a type of its own, because & of two __mmask8 is an int and would pick the
/// scalar select.
struct Mask8 {
    __mmask8 bits;
};
inline Mask8 operator&(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.bits & b.bits)}; }
inline Mask8 operator|(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.bits | b.bits)}; }
inline Mask8 less(Pack<double, 8> a, Pack<double, 8> b) {
    return {_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)};
}
inline Mask8 less_equal(Pack<double, 8> a, Pack<double, 8> b) {
    return {_mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)};
}
inline Pack<double, 8> select(Mask8 mask, Pack<double, 8> yes, Pack<double, 8> no) {
    return _mm512_mask_blend_pd(mask.bits, no, yes);
}
inline bool any(Mask8 mask) { return mask.bits != 0; }
struct Mask16 {
    __mmask16 bits;
};
inline bool any(Mask16 mask) { return mask.bits != 0; }
inline Mask16 less(Pack<float, 16> a, Pack<float, 16> b) {
    return {_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)};
}
inline Mask16 less_equal(Pack<float, 16> a, Pack<float, 16> b) {
    return {_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)};
}
inline Pack<float, 16> select(Mask16 mask, Pack<float, 16> yes, Pack<float, 16> no) {
    return _mm512_mask_blend_ps(mask.bits, no, yes);
}
#elif defined(__AVX2__) && defined(__FMA__)
inline Pack<double, 4> fma(Pack<double, 4> a, Pack<double, 4> b, Pack<double, 4> c) {
    return _mm256_fmadd_pd(a, b, c);
}
inline Pack<float, 8> fma(Pack<float, 8> a, Pack<float, 8> b, Pack<float, 8> c) {
    return _mm256_fmadd_ps(a, b, c);
}
inline Pack<double, 4> square_root(Pack<double, 4> x) { return _mm256_sqrt_pd(x); }
inline Pack<float, 8> square_root(Pack<float, 8> x) { return _mm256_sqrt_ps(x); }
#elif defined(__aarch64__)
inline Pack<double, 2> fma(Pack<double, 2> a, Pack<double, 2> b, Pack<double, 2> c) {
    return (Pack<double, 2>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
inline Pack<float, 4> fma(Pack<float, 4> a, Pack<float, 4> b, Pack<float, 4> c) {
    return (Pack<float, 4>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
inline Pack<double, 2> square_root(Pack<double, 2> x) {
    return (Pack<double, 2>)vsqrtq_f64((float64x2_t)x);
}
inline Pack<float, 4> square_root(Pack<float, 4> x) {
    return (Pack<float, 4>)vsqrtq_f32((float32x4_t)x);
}
#else
inline Pack<double, 2> fma(Pack<double, 2> a, Pack<double, 2> b, Pack<double, 2> c) {
    return a * b + c;
}
inline Pack<float, 4> fma(Pack<float, 4> a, Pack<float, 4> b, Pack<float, 4> c) {
    return a * b + c;
}
inline Pack<double, 2> square_root(Pack<double, 2> x) {
    return Pack<double, 2>{__builtin_sqrt(x[0]), __builtin_sqrt(x[1])};
}
inline Pack<float, 4> square_root(Pack<float, 4> x) {
    return Pack<float, 4>{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]),
                          __builtin_sqrtf(x[3])};
}
#endif

namespace detail {

/// Indices that interleave blocks of `width` entries from two packs: the lower (or upper) halves of
/// each pair.
template <int n, int width, bool upper, class I, I... k>
constexpr auto interleave_indices(std::integer_sequence<I, k...>) {
    return std::integer_sequence<I, (((k / width) % 2) * n + (k / (2 * width)) * (2 * width) +
                                     (upper ? width : 0) + k % width)...>{};
}
template <class V, class I, I... k>
inline V shuffle(V a, V b, std::integer_sequence<I, k...>) {
    return __builtin_shufflevector(a, b, k...);
}
template <int width, class V, int n>
__attribute__((always_inline)) inline void transpose_stage(V (&row)[n]) {
    using All = std::make_integer_sequence<int, n>;
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
        if ((i / width) % 2 != 0) continue;
        const V a = row[i];
        const V b = row[i + width];
        row[i] = shuffle(a, b, interleave_indices<n, width, false>(All{}));
        row[i + width] = shuffle(a, b, interleave_indices<n, width, true>(All{}));
    }
    if constexpr (2 * width < n) transpose_stage<2 * width>(row);
}

}  // namespace detail

/// The n x n matrix whose rows are the packs, transposed in registers.
template <class V, int n>
inline void transpose_square(V (&row)[n]) {
    static_assert(PackTraits<V>::lanes == n);
    detail::transpose_stage<1>(row);
}

template <class V>
using MaskOf = decltype(less(V{}, V{}));

/// Two packs that go through a computation together: where one operation must wait for another, one
/// half hides the latency of the other.
template <class V>
struct Twin {
    V a, b;

    friend Twin operator+(Twin x, Twin y) { return {x.a + y.a, x.b + y.b}; }
    friend Twin operator-(Twin x, Twin y) { return {x.a - y.a, x.b - y.b}; }
    friend Twin operator*(Twin x, Twin y) { return {x.a * y.a, x.b * y.b}; }
    friend Twin operator/(Twin x, Twin y) { return {x.a / y.a, x.b / y.b}; }
    friend Twin operator-(Twin x) { return {-x.a, -x.b}; }
    friend Twin fma(Twin x, Twin y, Twin z) { return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)}; }
    friend Twin square_root(Twin x) { return {square_root(x.a), square_root(x.b)}; }

    struct Mask {
        MaskOf<V> a, b;
        friend Mask operator&(Mask x, Mask y) { return {x.a & y.a, x.b & y.b}; }
        friend Mask operator|(Mask x, Mask y) { return {x.a | y.a, x.b | y.b}; }
        friend bool any(Mask x) { return any(x.a | x.b); }
    };
    friend Mask less(Twin x, Twin y) { return {less(x.a, y.a), less(x.b, y.b)}; }
    friend Mask less_equal(Twin x, Twin y) { return {less_equal(x.a, y.a), less_equal(x.b, y.b)}; }
    friend Twin select(Mask mask, Twin yes, Twin no) {
        return {select(mask.a, yes.a, no.a), select(mask.b, yes.b, no.b)};
    }
};
template <class V>
struct PackTraits<Twin<V>> {
    using Scalar = ScalarOf<V>;
    static constexpr int lanes = 2 * PackTraits<V>::lanes;
};

/// GCC would rather load a vector again than broadcast the other factor of a product from memory.
template <class V>
inline void keep_in_register([[maybe_unused]] V& x) {
#if defined(__x86_64__) && defined(__GNUC__)
    asm("" : "+v"(x));
#endif
}

/// A lane of a pack; of a plain number, the number.
template <class V>
inline ScalarOf<V> get_lane(const V& x, int lane) {
    if constexpr (PackTraits<V>::lanes == 1) {
        return x;
    } else {
        return x[lane];
    }
}
template <class V>
inline void set_lane(V& x, int lane, ScalarOf<V> value) {
    if constexpr (PackTraits<V>::lanes == 1) {
        x = value;
    } else {
        x[lane] = value;
    }
}

template <class V>
inline V larger(V a, V b) {
    return select(less(a, b), b, a);
}
template <class V>
inline V smaller(V a, V b) {
    return select(less(b, a), b, a);
}
#if defined(__AVX512F__)
// The same, NaN included, in one instruction.
inline Pack<double, 8> larger(Pack<double, 8> a, Pack<double, 8> b) { return _mm512_max_pd(b, a); }
inline Pack<double, 8> smaller(Pack<double, 8> a, Pack<double, 8> b) { return _mm512_min_pd(b, a); }
inline Pack<float, 16> larger(Pack<float, 16> a, Pack<float, 16> b) { return _mm512_max_ps(b, a); }
inline Pack<float, 16> smaller(Pack<float, 16> a, Pack<float, 16> b) { return _mm512_min_ps(b, a); }
#elif defined(__AVX2__)
inline Pack<double, 4> larger(Pack<double, 4> a, Pack<double, 4> b) { return _mm256_max_pd(b, a); }
inline Pack<double, 4> smaller(Pack<double, 4> a, Pack<double, 4> b) { return _mm256_min_pd(b, a); }
inline Pack<float, 8> larger(Pack<float, 8> a, Pack<float, 8> b) { return _mm256_max_ps(b, a); }
inline Pack<float, 8> smaller(Pack<float, 8> a, Pack<float, 8> b) { return _mm256_min_ps(b, a); }
#endif
template <class V>
inline V absolute(V x) {
    return select(less(x, V{}), -x, x);
}

}  // namespace linnet
