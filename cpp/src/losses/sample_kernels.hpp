// Margins of samples, and sums over samples, for several runs at once.
//
// Samples lie side by side: feature j of samples k, k + 1, ... at z + j * ld + k, in whole vectors.
// Every margin is accumulated over the features in order, every sum over the vectors of samples in
// order, so that bits do not depend on how many runs are done at once.
#pragma once

#include <cstring>

#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// Samples that go through the caches together, in all features.
inline constexpr Index sample_chunk = 256;

/// A number per run and feature: run r, feature j at data[j * stride + r].
template <class T>
struct RunVectors {
    T* data;
    Index stride;
    T& operator()(Index j, int r) const { return data[j * stride + r]; }
};

template <class V>
inline V load(const ScalarOf<V>* from) {
    V x;
    std::memcpy(&x, from, sizeof(V));
    return x;
}
template <class V>
inline void store(ScalarOf<V>* to, V x) {
    std::memcpy(to, &x, sizeof(V));
}

namespace detail {

/// Margins of `vectors` vectors of samples from z on, of `runs` runs; those of run r at out + r *
/// sample_chunk.
template <int runs, int vectors, class T>
inline void margins_tile(const T* z, Index ld, Index n_features, RunVectors<const T> w,
                         int first_run, T* out) {
    using V = Pack<T, native_lanes<T>>;
    V acc[runs][vectors];
#pragma GCC unroll 8
    for (int r = 0; r < runs; ++r) {
#pragma GCC unroll 8
        for (int b = 0; b < vectors; ++b) acc[r][b] = V{};
    }
    for (Index j = 0; j < n_features; ++j) {
        V x[vectors];
#pragma GCC unroll 8
        for (int b = 0; b < vectors; ++b) x[b] = load<V>(z + j * ld + b * native_lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) {
            const V weight = broadcast<V>(w(j, first_run + r));
#pragma GCC unroll 8
            for (int b = 0; b < vectors; ++b) acc[r][b] = fma(x[b], weight, acc[r][b]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < runs; ++r) {
#pragma GCC unroll 8
        for (int b = 0; b < vectors; ++b)
            store(out + (first_run + r) * sample_chunk + b * native_lanes<T>, acc[r][b]);
    }
}

/// sums (j, r) += sum over n_vectors vectors of samples of feature first + j times the factor of
/// run r.
template <int runs, int features, class T>
inline void sums_tile(const T* z, Index ld, Index n_vectors, const T* factors, int first_run,
                      Pack<T, native_lanes<T>>* sums, Index sums_ld) {
    using V = Pack<T, native_lanes<T>>;
    V acc[features][runs];
#pragma GCC unroll 8
    for (int j = 0; j < features; ++j) {
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) acc[j][r] = sums[j * sums_ld + first_run + r];
    }
    for (Index b = 0; b < n_vectors; ++b) {
        V x[features];
#pragma GCC unroll 8
        for (int j = 0; j < features; ++j) x[j] = load<V>(z + j * ld + b * native_lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) {
            const V factor =
                load<V>(factors + (first_run + r) * sample_chunk + b * native_lanes<T>);
#pragma GCC unroll 8
            for (int j = 0; j < features; ++j) acc[j][r] = fma(x[j], factor, acc[j][r]);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < features; ++j) {
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) sums[j * sums_ld + first_run + r] = acc[j][r];
    }
}

/// How many runs share a tile: as many as leave registers for two or four vectors each.
inline constexpr int runs_of_tile = vector_registers >= 32 ? 4 : 2;

}  // namespace detail

/// The margins w . z of n_vectors vectors of samples, for n_runs runs: of run r from out + r *
/// sample_chunk.
template <class T>
void margins(const T* z, Index ld, Index n_features, Index n_vectors, RunVectors<const T> w,
             int n_runs, T* out) {
    constexpr int lanes = native_lanes<T>;
    constexpr int at_once = detail::runs_of_tile;
    int r = 0;
    for (; r + at_once <= n_runs; r += at_once) {
        Index b = 0;
        for (; b + 4 <= n_vectors; b += 4)
            detail::margins_tile<at_once, 4>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        for (; b < n_vectors; ++b)
            detail::margins_tile<at_once, 1>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
    }
    for (; r < n_runs; ++r) {
        Index b = 0;
        for (; b + 8 <= n_vectors; b += 8)
            detail::margins_tile<1, 8>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        for (; b < n_vectors; ++b)
            detail::margins_tile<1, 1>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
    }
}

/// sums (feature, run) += the samples times their factors, that of run r from factors + r *
/// sample_chunk; a vector each, still to be summed up.
template <class T>
void add_weighted(const T* z, Index ld, Index n_features, Index n_vectors, const T* factors,
                  int n_runs, Pack<T, native_lanes<T>>* sums) {
    constexpr int at_once = detail::runs_of_tile;
    int r = 0;
    for (; r + at_once <= n_runs; r += at_once) {
        Index j = 0;
        for (; j + 4 <= n_features; j += 4)
            detail::sums_tile<at_once, 4>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                          n_runs);
        for (; j < n_features; ++j)
            detail::sums_tile<at_once, 1>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                          n_runs);
    }
    for (; r < n_runs; ++r) {
        Index j = 0;
        for (; j + 8 <= n_features; j += 8)
            detail::sums_tile<1, 8>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                    n_runs);
        for (; j < n_features; ++j)
            detail::sums_tile<1, 1>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                    n_runs);
    }
}

/// The sum of the lanes, pair by pair.
template <class V>
inline ScalarOf<V> sum_of_lanes(V x) {
    using T = ScalarOf<V>;
    constexpr int lanes = PackTraits<V>::lanes;
    T part[lanes];
    store(part, x);
    for (int width = 1; width < lanes; width *= 2) {
        for (int k = 0; k + width < lanes; k += 2 * width) part[k] += part[k + width];
    }
    return part[0];
}

/// The sums of the lanes of as many packs as there are lanes, in the same order.
template <class V>
inline V sums_of_lanes(const V* packs) {
    constexpr int lanes = PackTraits<V>::lanes;
    V row[lanes];
    for (int r = 0; r < lanes; ++r) row[r] = packs[r];
    transpose_square(row);
#pragma GCC unroll 8
    for (int width = 1; width < lanes; width *= 2) {
#pragma GCC unroll 8
        for (int k = 0; k < lanes; k += 2 * width) row[k] = row[k] + row[k + width];
    }
    return row[0];
}

}  // namespace linnet
