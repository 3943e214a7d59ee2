// Linear algebra that makes data and starts, outside the training loop.
//
// Its bits are a function of the numbers that go in alone: every sum has a fixed order, nothing is
// fused, so they do not depend on the instruction set, on threads or on a BLAS. Matrices are in C
// order.
#pragma once

#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// Run by run out <- a^T b, for a of shape (n, n_rows) and b of shape (n, n_columns); out has shape
/// (*run_shape, n_rows, n_columns).
void cross_products(const RunArray<double>& a, const RunArray<double>& b,
                    const std::vector<Index>& run_shape, Index n, Index n_rows, Index n_columns,
                    double* out, const Control& control);

/// Run by run the Q of Q R = a, for a of shape (n_rows, n_columns), n_rows >= n_columns, with a
/// diagonal of R that is not negative, by Householder's reflections.
void orthonormal_columns(const RunArray<double>& a, const std::vector<Index>& run_shape,
                         Index n_rows, Index n_columns, double* out, const Control& control);

/// Run by run a = left diag(values) right^T, for a of shape (n_rows, n_columns), n_rows >=
/// n_columns; left as a, values (n_columns) descending, right (n_columns, n_columns). By one-sided
/// Jacobi rotations; of each right vector the largest entry is positive, and what is below 1e-140 of
/// the largest value is 0.
void singular_vectors(const RunArray<double>& a, const std::vector<Index>& run_shape, Index n_rows,
                      Index n_columns, double* left, double* values, double* right,
                      const Control& control);

}  // namespace linnet
