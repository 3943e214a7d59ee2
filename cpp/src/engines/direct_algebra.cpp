#include "engines/direct_algebra.hpp"

#include <array>
#include <utility>

namespace linnet {

namespace {

/// One block of C, n_rows by n_vectors, at (row, col).
template <class T, Product kind, int n_rows, int n_vectors>
void direct_block(const DirectOperands<T>& o, Index row, Index col) {
    constexpr int lanes = native_lanes<T>;
    using V = Pack<T, lanes>;
    constexpr bool a_transposed = kind == Product::store_tn || kind == Product::update_tn;
    constexpr bool update = kind == Product::update_tn || kind == Product::update_nt;
    V acc[n_rows][n_vectors];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vectors; ++j) {
            if constexpr (kind == Product::residual) {
                acc[i][j] =
                    -*reinterpret_cast<const V*>(o.subtract + (row + i) * o.ldc + col + j * lanes);
            } else {
                acc[i][j] = V{};
            }
        }
    }
    const T* a = a_transposed ? o.a + row : o.a + row * o.lda;
    const T* b = o.b + col;
    const Index lda = o.lda;
    const Index ldb = o.ldb;
    const Index inner = o.inner;
    for (Index k = 0; k < inner; ++k) {
        V b_k[n_vectors];
#pragma GCC unroll 8
        for (int j = 0; j < n_vectors; ++j) b_k[j] = *reinterpret_cast<const V*>(b + j * lanes);
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; ++i) {
            const V a_ik = broadcast<V>(a_transposed ? a[i] : a[i * lda]);
#pragma GCC unroll 8
            for (int j = 0; j < n_vectors; ++j) acc[i][j] = fma(a_ik, b_k[j], acc[i][j]);
        }
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    V decay{};
    const V* const decay_pointer = o.decay == nullptr ? nullptr : &decay;
    V step{};
    if constexpr (update) {
        step = broadcast<V>(*o.step);
        if (o.decay != nullptr) decay = broadcast<V>(*o.decay);
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vectors; ++j) {
            V& out = *reinterpret_cast<V*>(o.c + (row + i) * o.ldc + col + j * lanes);
            out = update ? descend(out, acc[i][j], step, decay_pointer) : acc[i][j];
        }
    }
}

template <class T, Product kind, int... blocks>
constexpr auto direct_blocks(std::integer_sequence<int, blocks...>) {
    return std::array<DirectKernel<T>, sizeof...(blocks)>{
        direct_block<T, kind, blocks / direct_tile_vectors + 1,
                     blocks % direct_tile_vectors + 1>...};
}

template <class T, Product kind>
DirectKernel<T> direct_block_kernel(Index n_rows, Index n_vectors) {
    static constexpr auto table = direct_blocks<T, kind>(
        std::make_integer_sequence<int, direct_tile_rows * direct_tile_vectors>{});
    return table[static_cast<std::size_t>((n_rows - 1) * direct_tile_vectors + n_vectors - 1)];
}

}  // namespace

template <class T>
DirectKernel<T> direct_kernel(Product kind, Index n_rows, Index n_vectors) {
    switch (kind) {
        case Product::store:
        case Product::store_nt:
            return direct_block_kernel<T, Product::store>(n_rows, n_vectors);
        case Product::store_tn:
            return direct_block_kernel<T, Product::store_tn>(n_rows, n_vectors);
        case Product::update_nt:
            return direct_block_kernel<T, Product::update_nt>(n_rows, n_vectors);
        case Product::update_tn:
            return direct_block_kernel<T, Product::update_tn>(n_rows, n_vectors);
        case Product::residual:
            return direct_block_kernel<T, Product::residual>(n_rows, n_vectors);
        default:  // not by blocks
            return nullptr;
    }
}

template DirectKernel<double> direct_kernel(Product, Index, Index);
template DirectKernel<float> direct_kernel(Product, Index, Index);

}  // namespace linnet
