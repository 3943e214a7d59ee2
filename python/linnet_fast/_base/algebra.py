"""Linear algebra whose bits are a function of the numbers that go in alone.

What makes data and starts goes through here and not through NumPy's, whose last bits change with
the BLAS at hand, its threads and the processor: the same sweep has to be the same on every node of a
cluster. Matrices are stacked over leading run axes, as in ``numpy.linalg``.
"""

from __future__ import annotations

import numpy as np

from linnet_fast import _core
from linnet_fast._base import machine, validate
from linnet_fast._base.validate import FloatArray


def cross_products(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return first^T second, for (*run, n, rows) and (*run, n, columns); run axes broadcast."""
    runs = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    return _core.cross_products(
        validate.over_runs(first, runs, 2),
        validate.over_runs(second, runs, 2),
        n_threads=machine.n_threads(),
    )


def product(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return first second, for (*run, rows, n) and (*run, n, columns); run axes broadcast."""
    return cross_products(first.mT, second)


def orthonormal_columns(matrix: FloatArray) -> FloatArray:
    """Return Q of Q R = matrix, for (*run, rows, columns) with rows >= columns; R_jj >= 0."""
    runs = matrix.shape[:-2]
    return _core.orthonormal_columns(
        validate.over_runs(matrix, runs, 2), n_threads=machine.n_threads()
    )


def svd(matrix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return u, s, vt as ``numpy.linalg.svd(matrix, full_matrices=False)`` does.

    Of each right vector (left one, if there are more columns than rows) the largest entry is
    positive; vectors of singular values of 0 are an orthonormal completion.
    """
    rows, columns = matrix.shape[-2:]
    tall = matrix if rows >= columns else matrix.mT
    stacked = validate.over_runs(tall, matrix.shape[:-2], 2)
    left, values, right = _core.singular_vectors(stacked, n_threads=machine.n_threads())
    return (left, values, right.mT) if rows >= columns else (right, values, left.mT)


def eigenvectors(symmetric: FloatArray) -> FloatArray:
    """Return eigenvectors as columns, by ascending eigenvalues: the last of `numpy.linalg.eigh`.

    They are good to rounding of the largest eigenvalue.
    """
    bound = np.abs(symmetric).sum(axis=-1).max(axis=-1)
    # Where no eigenvalue is negative, singular vectors are eigenvectors.
    shifted = symmetric + bound[..., None, None] * np.eye(symmetric.shape[-1])
    return svd(shifted)[2].mT[..., ::-1]


def roots(values: FloatArray, degree: int) -> FloatArray:
    """Return the non-negative roots of non-negative numbers, to an error of an ulp or so."""
    positive = np.where(values > 0, values, 1.0)
    fraction, exponent = np.frexp(positive)
    quotient, rest = np.divmod(exponent, degree)
    part = np.ldexp(fraction, rest)  # below 2**degree
    # From above Newton's method goes down until rounding stops it.
    root = np.minimum(2.0, 1 + np.maximum(part - 1, 0) / degree)
    while True:
        with np.errstate(over="ignore"):
            lower = root - (root - part / _power(root, degree - 1)) / degree
        if not (lower < root).any():
            return np.where(values > 0, np.ldexp(root, quotient), 0.0)
        root = np.minimum(lower, root)


def _power(base: FloatArray, exponent: int) -> FloatArray:
    """Return base**exponent by multiplications alone."""
    result = np.ones_like(base)
    while exponent:
        if exponent % 2:
            result = result * base
        base = base * base
        exponent //= 2
    return result
