// Products of vectors with samples, and sums over samples, for several runs at once.
//
// Samples lie side by side: feature j of samples k, k + 1, ... at z + j * ld + k, in whole vectors.
// Every product is accumulated over the features in order, every sum over the vectors of samples in
// order, so that bits do not depend on how many runs are done at once.
#pragma once

#include <algorithm>
#include <cstring>

#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// Samples that go through the caches together, in all features.
inline constexpr Index sample_chunk = 256;

/// Vectors over features, of outputs and, within an output, of runs: feature j of output k of run r
/// at data[k * output_stride + j * stride + r], and the vector has the number k * n_runs + r.
template <class T>
struct Vectors {
    T* data;
    Index stride;
    int n_runs;
    Index output_stride;
    T* at(int vector) const { return data + vector / n_runs * output_stride + vector % n_runs; }
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

/// Products of `packs` packs of samples from z on with `runs` vectors; those of vector r at out + r *
/// sample_chunk.
template <int runs, int packs, class T>
inline void products_tile(const T* z, Index ld, Index n_features, const Vectors<const T>& w,
                          int first_run, T* out) {
    using V = Pack<T, native_lanes<T>>;
    V acc[runs][packs];
    const T* weights[runs];
#pragma GCC unroll 8
    for (int r = 0; r < runs; ++r) {
        weights[r] = w.at(first_run + r);
#pragma GCC unroll 8
        for (int b = 0; b < packs; ++b) acc[r][b] = V{};
    }
    for (Index j = 0; j < n_features; ++j) {
        V x[packs];
#pragma GCC unroll 8
        for (int b = 0; b < packs; ++b) x[b] = load<V>(z + j * ld + b * native_lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) {
            const V weight = broadcast<V>(weights[r][j * w.stride]);
#pragma GCC unroll 8
            for (int b = 0; b < packs; ++b) acc[r][b] = fma(x[b], weight, acc[r][b]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < runs; ++r) {
#pragma GCC unroll 8
        for (int b = 0; b < packs; ++b)
            store(out + (first_run + r) * sample_chunk + b * native_lanes<T>, acc[r][b]);
    }
}

/// Those of a single vector with n_packs packs, at most `most`, all at once: none waits for its own sums.
template <int most, class T>
inline void products_rest(Index n_packs, const T* z, Index ld, Index n_features,
                          const Vectors<const T>& w, int run, T* out) {
    if constexpr (most > 0) {
        if (n_packs == most) {
            products_tile<1, most>(z, ld, n_features, w, run, out);
        } else {
            products_rest<most - 1>(n_packs, z, ld, n_features, w, run, out);
        }
    }
}

/// sums (j, r) += sum over n_vectors vectors of samples of feature first + j times the factor of
/// run r; fresh: in place of what is in them.
template <int runs, int features, class T>
inline void sums_tile(const T* z, Index ld, Index n_vectors, const T* factors, int first_run,
                      Pack<T, native_lanes<T>>* sums, Index sums_ld, bool fresh) {
    using V = Pack<T, native_lanes<T>>;
    V acc[features][runs];
#pragma GCC unroll 8
    for (int j = 0; j < features; ++j) {
#pragma GCC unroll 8
        for (int r = 0; r < runs; ++r) acc[j][r] = fresh ? V{} : sums[j * sums_ld + first_run + r];
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

/// The products w . z of n_packs packs of samples with all vectors: of vector r from out + r *
/// sample_chunk.
template <class T>
void products(const T* z, Index ld, Index n_features, Index n_packs, const Vectors<const T>& w,
              int n_vectors, T* out) {
    constexpr int lanes = native_lanes<T>;
    constexpr int at_once = detail::runs_of_tile;
    int r = 0;
    for (; r + at_once <= n_vectors; r += at_once) {
        Index b = 0;
        // A pack on its own waits for its own sums: it goes with four others.
        for (; b + 4 <= n_packs && b + 5 != n_packs; b += 4)
            detail::products_tile<at_once, 4>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        for (; b + 5 <= n_packs; b += 5)
            detail::products_tile<at_once, 5>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        for (; b + 2 <= n_packs; b += 2)
            detail::products_tile<at_once, 2>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        for (; b < n_packs; ++b)
            detail::products_tile<at_once, 1>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
    }
    for (; r < n_vectors; ++r) {
        Index b = 0;
        for (; b + 8 <= n_packs; b += 8)
            detail::products_tile<1, 8>(z + b * lanes, ld, n_features, w, r, out + b * lanes);
        detail::products_rest<7>(n_packs - b, z + b * lanes, ld, n_features, w, r, out + b * lanes);
    }
}

/// sums (feature, run) += the samples times their factors, that of run r from factors + r *
/// sample_chunk; a vector each, still to be summed up. fresh: sums are set, not added to.
template <class T>
void add_weighted(const T* z, Index ld, Index n_features, Index n_vectors, const T* factors,
                  int n_runs, Pack<T, native_lanes<T>>* sums, bool fresh = false) {
    constexpr int at_once = detail::runs_of_tile;
    int r = 0;
    for (; r + at_once <= n_runs; r += at_once) {
        Index j = 0;
        for (; j + 4 <= n_features; j += 4)
            detail::sums_tile<at_once, 4>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                          n_runs, fresh);
        for (; j < n_features; ++j)
            detail::sums_tile<at_once, 1>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                          n_runs, fresh);
    }
    for (; r < n_runs; ++r) {
        Index j = 0;
        for (; j + 8 <= n_features; j += 8)
            detail::sums_tile<1, 8>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                    n_runs, fresh);
        for (; j < n_features; ++j)
            detail::sums_tile<1, 1>(z + j * ld, ld, n_vectors, factors, r, sums + j * n_runs,
                                    n_runs, fresh);
    }
}

// The same for as many runs as there are lanes, one in each, that see the same samples: numbers of samples
// are spread over the lanes, and nothing is summed across these. Every number is the result of the same
// operations as above, in the same order.

namespace detail {

/// How many packs of samples, or features, have a register for each of their lanes.
template <class T>
inline constexpr int packs_in_registers = std::max(1, (vector_registers - 4) / native_lanes<T>);

template <int n_samples, class V>
inline void products_by_lane_tile(const ScalarOf<V>* z, Index ld, Index n_features, const V* w,
                                  V* out) {
    V acc[n_samples];
#pragma GCC unroll 32
    for (int k = 0; k < n_samples; ++k) acc[k] = V{};
    for (Index j = 0; j < n_features; ++j) {
        V weight = w[j];
        keep_in_register(weight);
        const ScalarOf<V>* const x = z + j * ld;
#pragma GCC unroll 32
        for (int k = 0; k < n_samples; ++k) acc[k] = fma(broadcast<V>(x[k]), weight, acc[k]);
    }
#pragma GCC unroll 32
    for (int k = 0; k < n_samples; ++k) out[k] = acc[k];
}

/// The sum of `count` packs, pair by pair, in registers.
template <int count, class V>
inline V sum_of_pairs(const V* packs) {
    if constexpr (count == 1) {
        return packs[0];
    } else {
        return sum_of_pairs<count / 2>(packs) + sum_of_pairs<count / 2>(packs + count / 2);
    }
}

template <int features, class V>
inline void sums_by_lane_tile(const ScalarOf<V>* z, Index ld, Index n_packs, const V* factors,
                              V scale, V* to) {
    constexpr int lanes = PackTraits<V>::lanes;
    V acc[features][lanes];
#pragma GCC unroll 8
    for (int j = 0; j < features; ++j) {
#pragma GCC unroll 16
        for (int k = 0; k < lanes; ++k) acc[j][k] = V{};
    }
    for (Index b = 0; b < n_packs; ++b) {
#pragma GCC unroll 16
        for (int k = 0; k < lanes; ++k) {
            V factor = factors[b * lanes + k];
            keep_in_register(factor);
#pragma GCC unroll 8
            for (int j = 0; j < features; ++j)
                acc[j][k] = fma(broadcast<V>(z[j * ld + b * lanes + k]), factor, acc[j][k]);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < features; ++j) to[j] = -(sum_of_pairs<lanes>(acc[j]) * scale);
}

}  // namespace detail

/// The products of n_packs packs of samples with vectors w, of a run in each lane: of sample k at out[k].
template <class V, int packs = detail::packs_in_registers<ScalarOf<V>>>
void products_by_lane(const ScalarOf<V>* z, Index ld, Index n_features, Index n_packs, const V* w,
                      V* out) {
    constexpr int n = packs * PackTraits<V>::lanes;
    for (; n_packs >= packs; n_packs -= packs, z += n, out += n)
        detail::products_by_lane_tile<n>(z, ld, n_features, w, out);
    if constexpr (packs > 1) products_by_lane<V, packs - 1>(z, ld, n_features, n_packs, w, out);
}

/// to[j] <- minus the sum over samples of feature j times their factors, times the scale, of a run in each
/// lane.
template <class V>
void sums_by_lane(const ScalarOf<V>* z, Index ld, Index n_features, Index n_packs, const V* factors,
                  V scale, V* to) {
    constexpr int at_once = std::min(3, detail::packs_in_registers<ScalarOf<V>>);
    Index j = 0;
    for (; j + at_once <= n_features; j += at_once)
        detail::sums_by_lane_tile<at_once>(z + j * ld, ld, n_packs, factors, scale, to + j);
    for (; j < n_features; ++j)
        detail::sums_by_lane_tile<1>(z + j * ld, ld, n_packs, factors, scale, to + j);
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
    return detail::sum_of_pairs<lanes>(row);
}

}  // namespace linnet
