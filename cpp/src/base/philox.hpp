// Random numbers by counter: the generator Philox4x32 with 10 rounds of J. Salmon, M. Moraes, R.
// Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011). Every number is a function
// of a key and of its place.
#pragma once

#include "base/vector_math.hpp"

namespace linnet {

inline constexpr int philox_lanes = native_lanes<double>;
/// 32-bit words in 64-bit lanes.
typedef std::uint64_t PhiloxWords __attribute__((vector_size(vector_bytes)));

namespace detail {

/// Products of the lower halves of the lanes.
inline PhiloxWords low_product(PhiloxWords a, PhiloxWords b) {
#if defined(__AVX512F__)
    return (PhiloxWords)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (PhiloxWords)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (PhiloxWords)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffU) * (b & 0xffffffffU);
#endif
}

}  // namespace detail

/// Which numbers: blocks of a step of a stream of a seed.
struct PhiloxKey {
    std::uint64_t seed = 0;
    std::uint64_t step = 0;
    std::uint32_t stream = 0;
};

/// The four words of blocks first, first + stride, ...: one block per lane.
inline void philox(const PhiloxKey& key, std::uint32_t first, std::uint32_t stride,
                   PhiloxWords (&words)[4]) {
    const auto all = [](std::uint64_t x) { return x - PhiloxWords{}; };
    constexpr std::uint64_t low = 0xffffffffU;
    PhiloxWords place;
    for (int r = 0; r < philox_lanes; ++r) place[r] = static_cast<std::uint64_t>(r);  // a constant
    words[0] = (all(first) + detail::low_product(place, all(stride))) & low;
    words[1] = all(key.step & low);
    words[2] = all(key.step >> 32);
    words[3] = all(key.stream);
    auto key_0 = static_cast<std::uint32_t>(key.seed);
    auto key_1 = static_cast<std::uint32_t>(key.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        const PhiloxWords a = detail::low_product(words[0], all(0xD2511F53U));
        const PhiloxWords b = detail::low_product(words[2], all(0xCD9E8D57U));
        words[0] = (b >> 32) ^ words[1] ^ all(key_0);
        words[2] = (a >> 32) ^ words[3] ^ all(key_1);
        words[1] = b & low;
        words[3] = a & low;
        key_0 += 0x9E3779B9U;
        key_1 += 0xBB67AE85U;
    }
}

/// Numbers in (0, 1) from two words each: odd multiples of 2^-53.
inline Pack<double, philox_lanes> philox_uniform(PhiloxWords high, PhiloxWords low) {
    using V = Pack<double, philox_lanes>;
    const PhiloxWords mantissa = ((high << 20) | (low >> 12)) | 0x3ff0000000000000U;  // in [1, 2)
    return (detail::bit_cast<V>(mantissa) - broadcast<V>(1)) + broadcast<V>(0x1p-53);
}

/// Two normal variates for each of the blocks first, first + stride, ...: the length that is
/// returned times cosine and sine, by Box and Muller; 1 where the length is of no interest.
inline Pack<double, philox_lanes> normal_pair(const PhiloxKey& key, std::uint32_t first,
                                              std::uint32_t stride,
                                              Pack<double, philox_lanes>& cosine,
                                              Pack<double, philox_lanes>& sine,
                                              bool with_length = true) {
    using V = Pack<double, philox_lanes>;
    PhiloxWords words[4];
    philox(key, first, stride, words);
    unit_circle(philox_uniform(words[2], words[3]), cosine, sine);
    if (!with_length) return broadcast<V>(1);
    return square_root(broadcast<V>(-2) * logarithm(philox_uniform(words[0], words[1])));
}

}  // namespace linnet
