// Linear algebra that makes data and starts, outside the training loop.
//
// Its bits are a function of the numbers that go in alone: every sum has a fixed order, nothing is
// fused, so they do not depend on the instruction set, on threads or on a BLAS; eigenvectors, which are
// Eigen's, on the instruction set too. Matrices are in C order.
#pragma once

#include <cstdint>
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

/// Run by run F^T F = a, for a positive semi-definite a of shape (n, n): factor (n, n), whose rows from
/// the rank on are 0, and which is upper triangular in the columns of the pivots, an order of all
/// columns; ranks (one per run). Diagonally pivoted and scaled, so that units of measurement do not
/// count: what is left of a diagonal entry counts as 0 below 2 n eps of what it was.
void pivoted_factor(const RunArray<double>& a, const std::vector<Index>& run_shape, Index n,
                    double* factor, std::int64_t* pivots, std::int64_t* ranks,
                    const Control& control);

/// Run by run, of such factors, P with P F^T F = cross on the pivots' columns and 0 elsewhere, for
/// cross of shape (n_rows, n); explained (n_rows, n): P F^T, its columns in the places of their
/// pivots; left (n): the largest
/// |cross - P F^T F| in each column, that no P can explain.
void factored_least_squares(const RunArray<double>& factor, const RunArray<std::int64_t>& pivots,
                            const RunArray<std::int64_t>& ranks, const RunArray<double>& cross,
                            const std::vector<Index>& run_shape, Index n, Index n_rows,
                            double* solution, double* explained, double* left,
                            const Control& control);

/// Run by run: eigenvalues (n), ascending, and eigenvectors (n, n), as columns, of a symmetric matrix,
/// good to rounding of the largest eigenvalue.
void symmetric_eigenvectors(const RunArray<double>& matrix, const std::vector<Index>& run_shape,
                            Index n, double* values, double* vectors, const Control& control);

}  // namespace linnet
