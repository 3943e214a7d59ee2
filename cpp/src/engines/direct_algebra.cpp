#include "engines/direct_algebra.hpp"

#include <algorithm>
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

/// By squares of weights, which are turned in registers.
template <class T, int n>
void pass_errors_back(const DirectOperands<T>& back, const DirectOperands<T>& update) {
    constexpr int lanes = native_lanes<T>;
    using V = Pack<T, lanes>;
    const V step = broadcast<V>(*update.step);
    V decay{};
    if (update.decay != nullptr) decay = broadcast<V>(*update.decay);
    const V* const decay_pointer = update.decay == nullptr ? nullptr : &decay;
    for (Index i = 0; i < update.rows; i += lanes) {
        const Index n_rows = std::min<Index>(lanes, update.rows - i);
        V passed[n] = {};
        for (Index j = 0; j < update.cols; j += lanes) {
            T* const weights = update.c + i * update.ldc + j;
            V rows[lanes];
#pragma GCC unroll 16
            for (int r = 0; r < lanes; ++r)
                rows[r] = *reinterpret_cast<const V*>(weights + r * update.ldc);
            V turned[lanes];
#pragma GCC unroll 16
            for (int r = 0; r < lanes; ++r) turned[r] = rows[r];
            transpose_square(turned);
            const auto add = [&](int r) {
#pragma GCC unroll 8
                for (int k = 0; k < n; ++k)
                    passed[k] =
                        fma(broadcast<V>(back.a[k * back.lda + j + r]), turned[r], passed[k]);
            };
            const auto move = [&](int r) {
                V gradient{};
#pragma GCC unroll 8
                for (int k = 0; k < n; ++k)
                    gradient =
                        fma(broadcast<V>(update.a[k * update.lda + i + r]),
                            *reinterpret_cast<const V*>(back.a + k * back.lda + j), gradient);
                *reinterpret_cast<V*>(weights + r * update.ldc) =
                    descend(rows[r], gradient, step, decay_pointer);
            };
            if (update.cols - j >= lanes && n_rows == lanes) {
#pragma GCC unroll 16
                for (int r = 0; r < lanes; ++r) add(r);
#pragma GCC unroll 16
                for (int r = 0; r < lanes; ++r) move(r);
            } else {
                const Index n_cols = std::min<Index>(lanes, update.cols - j);
                for (int r = 0; r < n_cols; ++r) add(r);
                for (int r = 0; r < n_rows; ++r) move(r);
            }
        }
#pragma GCC unroll 8
        for (int k = 0; k < n; ++k) *reinterpret_cast<V*>(back.c + k * back.ldc + i) = passed[k];
    }
}

template <class T, int... sizes>
constexpr auto passes(std::integer_sequence<int, sizes...>) {
    return std::array<PassBack<T>, sizeof...(sizes)>{pass_errors_back<T, sizes + 1>...};
}

}  // namespace

template <class T>
PassBack<T> pass_back(Index n_errors) {
    static constexpr auto table = passes<T>(std::make_integer_sequence<int, most_errors>{});
    return table[static_cast<std::size_t>(n_errors - 1)];
}

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

template <class T>
void direct_update_by(const DirectOperands<T>& o) {
    for (Index i = 0; i < o.rows; ++i) {
        for (Index j = 0; j < o.ldc; ++j) {
            T& out = o.c[i * o.ldc + j];
            out = descend(out, o.a[i * o.lda + j], *o.step, o.decay);
        }
    }
}

template <class T>
void direct_combine(const DirectOperands<T>& o, bool copy) {
    for (Index i = 0; i < o.rows; ++i) {
        for (Index j = 0; j < o.ldc; ++j) {
            const T a = o.a[i * o.lda + j];
            T& out = o.c[i * o.ldc + j];
            out = copy ? o.factor * a : fma(o.factor, out, a);
        }
    }
}

template <class T>
void direct_residual_diagonal(const DirectOperands<T>& o, bool fused) {
    for (Index i = 0; i < o.rows; ++i) {
        const T* const a = o.a + i * o.lda;
        T check{};
        for (Index j = 0; j < o.cols && o.cols > 1; ++j) check = fma(a[j], T{0}, check);
        for (Index j = 0; j < o.cols; ++j) {
            const T subtract = o.subtract[i * o.ldc + j];
            o.c[i * o.ldc + j] =
                (fused ? fma(a[j], o.b[j], -subtract) : a[j] * o.b[j] - subtract) + check;
        }
    }
}

template <class T>
void transpose(const T* from, Index ld_from, Index rows, Index cols, T* to, Index ld_to) {
    constexpr int lanes = native_lanes<T>;
    using V = Pack<T, lanes>;
    for (Index i = 0; i < rows; i += lanes) {
        for (Index j = 0; j < cols; j += lanes) {
            const T* const block = from + i * ld_from + j;
            T* const image = to + j * ld_to + i;
            V row[lanes];
            for (int r = 0; r < lanes; ++r)
                row[r] = *reinterpret_cast<const V*>(block + r * ld_from);
            transpose_square(row);
            for (int r = 0; r < lanes; ++r) *reinterpret_cast<V*>(image + r * ld_to) = row[r];
        }
    }
}

template DirectKernel<double> direct_kernel(Product, Index, Index);
template PassBack<double> pass_back(Index);
template void direct_update_by(const DirectOperands<double>&);
template void direct_combine(const DirectOperands<double>&, bool);
template void direct_residual_diagonal(const DirectOperands<double>&, bool);
template void transpose(const double*, Index, Index, Index, double*, Index);
template DirectKernel<float> direct_kernel(Product, Index, Index);
template PassBack<float> pass_back(Index);
template void direct_update_by(const DirectOperands<float>&);
template void direct_combine(const DirectOperands<float>&, bool);
template void direct_residual_diagonal(const DirectOperands<float>&, bool);
template void transpose(const float*, Index, Index, Index, float*, Index);

}  // namespace linnet
