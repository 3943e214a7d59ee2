#include "engines/lane_algebra.hpp"

#include <array>
#include <utility>

namespace linnet {

namespace {

/// One block of C, n_rows by n_cols, at (row, col). A cube: that block is all of C and there are
/// n_rows terms, so that nothing is left to compute but the product.
template <class V, Product kind, bool shared, int n_rows, int n_cols, bool cube = false>
void lane_block(const LaneOperands<V>& o, Index row, Index col) {
    static_assert(!cube || n_rows == n_cols);
    using T = ScalarOf<V>;
    using B = std::conditional_t<shared, T, V>;
    constexpr bool a_transposed = kind == Product::store_tn || kind == Product::update_tn;
    constexpr bool b_transposed = kind == Product::store_nt || kind == Product::update_nt;
    constexpr bool update = kind == Product::update_tn || kind == Product::update_nt;
    const auto pack = [](B x) {
        if constexpr (shared) {
            return broadcast<V>(x);
        } else {
            return x;
        }
    };
    const Index inner = cube ? n_rows : o.inner;
    const Index rows = cube ? n_rows : o.rows;
    const Index cols = cube ? n_cols : o.cols;
    if constexpr (cube) row = col = 0;

    V acc[n_rows][n_cols];
#pragma GCC unroll 12
    for (int i = 0; i < n_rows; ++i) {
#pragma GCC unroll 12
        for (int j = 0; j < n_cols; ++j) {
            if constexpr (kind == Product::residual) {
                acc[i][j] = -pack(static_cast<const B*>(o.subtract)[(row + i) * cols + col + j]);
            } else {
                acc[i][j] = V{};
            }
        }
    }
    const Index a_row = a_transposed ? 1 : inner;
    const Index a_inner = a_transposed ? rows : 1;
    const Index b_col = b_transposed ? inner : 1;
    const Index b_inner = b_transposed ? 1 : cols;
    const V* a = o.a + row * a_row;
    const B* b = static_cast<const B*>(o.b) + col * b_col;
    const auto term = [&](const V* a_k, const B* b_at_k) __attribute__((always_inline)) {
        V b_k[n_cols];
#pragma GCC unroll 12
        for (int j = 0; j < n_cols; ++j) b_k[j] = pack(b_at_k[j * b_col]);
#pragma GCC unroll 12
        for (int i = 0; i < n_rows; ++i) {
            const V a_ik = a_k[i * a_row];
#pragma GCC unroll 12
            for (int j = 0; j < n_cols; ++j) acc[i][j] = fma(a_ik, b_k[j], acc[i][j]);
        }
    };
    if constexpr (cube) {
#pragma GCC unroll 12
        for (int k = 0; k < n_rows; ++k) term(a + k * a_inner, b + k * b_inner);
    } else {
        for (Index k = 0; k < inner; ++k) {
            term(a, b);
            a += a_inner;
            b += b_inner;
        }
    }
    V* const c = o.c + row * cols + col;
#pragma GCC unroll 12
    for (int i = 0; i < n_rows; ++i) {
#pragma GCC unroll 12
        for (int j = 0; j < n_cols; ++j) {
            V& out = c[i * cols + j];
            out = update ? descend(out, acc[i][j], *o.step, o.decay) : acc[i][j];
        }
    }
}

/// C -= step (A + decay C)
template <class V>
void lane_update_by(const LaneOperands<V>& o, Index /*row*/, Index /*col*/) {
    const V step = *o.step;
    const Index size = o.rows * o.cols;
    V* __restrict const c = o.c;
    if (o.decay == nullptr) {
#pragma GCC unroll 4
        for (Index i = 0; i < size; ++i) c[i] = descend<V>(c[i], o.a[i], step, nullptr);
    } else {
        const V decay = *o.decay;
#pragma GCC unroll 4
        for (Index i = 0; i < size; ++i) c[i] = descend(c[i], o.a[i], step, &decay);
    }
}

/// n_cols columns of C -= step (a b^T + decay C), of vectors a and b: an update with one term per
/// entry.
template <class V, int n_cols>
void lane_outer_update(const LaneOperands<V>& o, Index /*row*/, Index col) {
    const V step = *o.step;
    const V shrink = o.decay == nullptr ? V{} : *o.decay;
    const V* const decay = o.decay == nullptr ? nullptr : &shrink;
    V b[n_cols];
#pragma GCC unroll 12
    for (int j = 0; j < n_cols; ++j) b[j] = static_cast<const V*>(o.b)[col + j];
    V* c = o.c + col;
    for (Index i = 0; i < o.rows; ++i) {
        const V a = o.a[i];
#pragma GCC unroll 12
        for (int j = 0; j < n_cols; ++j) c[j] = descend(c[j], fma(a, b[j], V{}), step, decay);
        c += o.cols;
    }
}

/// C = A + factor C
template <class V>
void lane_combine(const LaneOperands<V>& o, Index /*row*/, Index /*col*/) {
    const V factor = broadcast<V>(o.factor);
    const Index size = o.rows * o.cols;
    for (Index i = 0; i < size; ++i) o.c[i] = fma(factor, o.c[i], o.a[i]);
}

/// C = factor A
template <class V>
void lane_copy(const LaneOperands<V>& o, Index /*row*/, Index /*col*/) {
    const V factor = broadcast<V>(o.factor);
    const Index size = o.rows * o.cols;
    for (Index i = 0; i < size; ++i) o.c[i] = factor * o.a[i];
}

/// C = A input_cov - cross_cov with a diagonal input_cov that all lanes share. The terms left out
/// are zeros, but an infinite entry of A would make them NaN, and so it does here.
template <class V>
void lane_residual_diagonal(const LaneOperands<V>& o, Index /*row*/, Index /*col*/) {
    using T = ScalarOf<V>;
    const T* const cov = static_cast<const T*>(o.b);
    const T* const cross = static_cast<const T*>(o.subtract);
    for (Index i = 0; i < o.rows; ++i) {
        // Sums of zeros, or NaN; two of them, so that they need not wait for each other.
        V check{};
        V other{};
        const V* const a = o.a + i * o.cols;
        for (Index j = 0; j + 1 < o.cols; j += 2) {
            check = fma(a[j], V{}, check);
            other = fma(a[j + 1], V{}, other);
        }
        if (o.cols % 2 == 1 && o.cols > 1) check = fma(a[o.cols - 1], V{}, check);
        check = check + other;
        for (Index j = 0; j < o.cols; ++j) {
            const Index at = i * o.cols + j;
            o.c[at] =
                fma(o.a[at], broadcast<V>(cov[j * o.cols + j]), broadcast<V>(-cross[at])) + check;
        }
    }
}

template <class V, Product kind, bool shared, int... blocks>
constexpr auto lane_blocks(std::integer_sequence<int, blocks...>) {
    return std::array<LaneKernel<V>, sizeof...(blocks)>{
        lane_block<V, kind, shared, blocks / lane_tile + 1, blocks % lane_tile + 1>...};
}

template <class V, Product kind, bool shared, int... blocks>
constexpr auto lane_row_blocks(std::integer_sequence<int, blocks...>) {
    return std::array<LaneKernel<V>, sizeof...(blocks)>{
        lane_block<V, kind, shared, 1, blocks + 1>...};
}

template <class V, int... blocks>
constexpr auto lane_outer_updates(std::integer_sequence<int, blocks...>) {
    return std::array<LaneKernel<V>, sizeof...(blocks)>{lane_outer_update<V, blocks + 1>...};
}

/// The kernel for blocks of n_rows x n_cols, both 1 ... lane_tile, or one row of 1 ...
/// lane_row_tile; `inner` terms if the block is all of C, else 0.
template <class V, Product kind, bool shared = false>
LaneKernel<V> lane_block_kernel(Index n_rows, Index n_cols, Index inner) {
    if (inner == n_rows && inner == n_cols) {
        if (inner == 2) return lane_block<V, kind, shared, 2, 2, true>;
        if (inner == 3) return lane_block<V, kind, shared, 3, 3, true>;
        if (inner == 4 && lane_tile >= 4)
            return lane_block<V, kind, shared, lane_tile, lane_tile, true>;
    }
    if (n_rows == 1) {
        static constexpr auto row_table =
            lane_row_blocks<V, kind, shared>(std::make_integer_sequence<int, lane_row_tile>{});
        return row_table[static_cast<std::size_t>(n_cols - 1)];
    }
    static constexpr auto table =
        lane_blocks<V, kind, shared>(std::make_integer_sequence<int, lane_tile * lane_tile>{});
    return table[static_cast<std::size_t>((n_rows - 1) * lane_tile + n_cols - 1)];
}

}  // namespace

template <class V>
LaneKernel<V> lane_kernel(Product kind, bool shared, Index n_rows, Index n_cols, Index inner) {
    switch (kind) {
        case Product::store:
            return lane_block_kernel<V, Product::store>(n_rows, n_cols, inner);
        case Product::store_tn:
            return lane_block_kernel<V, Product::store_tn>(n_rows, n_cols, inner);
        case Product::store_nt:
            return lane_block_kernel<V, Product::store_nt>(n_rows, n_cols, inner);
        case Product::update_tn:
            return lane_block_kernel<V, Product::update_tn>(n_rows, n_cols, inner);
        case Product::update_nt:
            return lane_block_kernel<V, Product::update_nt>(n_rows, n_cols, inner);
        case Product::residual:
            return shared ? lane_block_kernel<V, Product::residual, true>(n_rows, n_cols, inner)
                          : lane_block_kernel<V, Product::residual, false>(n_rows, n_cols, inner);
        case Product::update_by:
            return lane_update_by<V>;
        case Product::residual_diagonal:
            return lane_residual_diagonal<V>;
        case Product::combine:
            return lane_combine<V>;
        case Product::copy:
            return lane_copy<V>;
        case Product::pattern:
        case Product::pattern_gradient:
        case Product::pattern_update:
        case Product::residual_by_loss:
        case Product::curvature_by_loss:
        case Product::set_steps:
        case Product::update_stored:
        case Product::add_noise:
        case Product::add_square:
        case Product::climb:
        case Product::go_back:
            break;  // not by blocks
    }
    return nullptr;
}

template <class V>
LaneKernel<V> lane_outer_kernel(Index n_cols) {
    static constexpr auto table =
        lane_outer_updates<V>(std::make_integer_sequence<int, lane_row_tile>{});
    return table[static_cast<std::size_t>(n_cols - 1)];
}

template LaneKernel<Pack<double, native_lanes<double>>> lane_kernel(Product, bool, Index, Index,
                                                                    Index);
template LaneKernel<Pack<double, native_lanes<double>>> lane_outer_kernel(Index);
template LaneKernel<Pack<float, native_lanes<float>>> lane_kernel(Product, bool, Index, Index,
                                                                  Index);
template LaneKernel<Pack<float, native_lanes<float>>> lane_outer_kernel(Index);

}  // namespace linnet
