// Products of medium matrices, one run at a time: row-major, padded with zeros to whole vectors
// both ways.
//
// Every entry is accumulated over the inner index in order with one fma per term, as in the lane
// kernels: same bits.
#pragma once

#include "engines/lane_algebra.hpp"

namespace linnet {

/// Operands of C (rows, cols) = f(A B); leading dimensions are whole vectors.
template <class T>
struct DirectOperands {
    T* c;
    const T* a;
    const T* b;
    const T* subtract;
    const T* step;   ///< update
    const T* decay;  ///< update; null without weight decay
    T factor;        ///< combine, copy
    Index ldc, lda, ldb;
    Index rows, cols, inner;
};

inline constexpr int direct_tile_rows = vector_registers >= 32 ? 8 : 6;
inline constexpr int direct_tile_vectors = vector_registers >= 32 ? 3 : 2;

template <class T>
using DirectKernel = void (*)(const DirectOperands<T>&, Index row, Index col);

/// The kernel of an operation for blocks of n_rows x n_vectors, 1 ... direct_tile_rows and 1 ...
/// direct_tile_vectors; null if it is not done by blocks. This and what follows is defined for double
/// and float.
template <class T>
DirectKernel<T> direct_kernel(Product kind, Index n_rows, Index n_vectors);

/// Few errors are passed back through a layer while it is updated by them: its weights are read once.
inline constexpr int most_errors = 8;

/// back.c = back.a C^T with C before, then C -= step (A^T B + decay C), of update: what the kernels of
/// store_nt and update_tn make, the same bits. back.a is B, of 1 ... most_errors rows.
template <class T>
using PassBack = void (*)(const DirectOperands<T>& back, const DirectOperands<T>& update);
template <class T>
PassBack<T> pass_back(Index n_errors);

/// C -= step (A + decay C)
template <class T>
void direct_update_by(const DirectOperands<T>& o);

/// C = A + factor C, or C = factor A
template <class T>
void direct_combine(const DirectOperands<T>& o, bool copy);

/// C = A input_cov - cross_cov with a diagonal input_cov, given by its diagonal in b. As in the
/// full product, an infinite entry of A makes its whole row NaN; fused: as the small kernels round,
/// else as Eigen's do.
template <class T>
void direct_residual_diagonal(const DirectOperands<T>& o, bool fused);

/// to (cols, rows) = from (rows, cols)^T, both padded to whole vectors both ways.
template <class T>
void transpose(const T* from, Index ld_from, Index rows, Index cols, T* to, Index ld_to);

}  // namespace linnet
