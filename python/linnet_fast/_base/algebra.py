"""Linear algebra whose bits are a function of the numbers that go in alone.

What makes data and starts goes through here and not through NumPy's, whose last bits change with
the BLAS at hand, its threads and the processor: the same sweep has to be the same on every node of a
cluster. Matrices are stacked over leading run axes, as in ``numpy.linalg``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import machine, validate
from linnet_fast._base.validate import FloatArray, Shape


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


def symmetric_eigenvectors(symmetric: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues, ascending, and eigenvectors as columns, as `numpy.linalg.eigh` does.

    Faster than `eigenvectors`, and with bits that may differ between instruction sets: for what is a
    choice of coordinates and no data.
    """
    runs = symmetric.shape[:-2]
    return _core.symmetric_eigenvectors(
        validate.over_runs(symmetric, runs, 2), n_threads=machine.n_threads()
    )


def subspaces(
    weights: Sequence[npt.NDArray[Any]], seen: FloatArray | None, *, most: int, runs: Shape
) -> tuple[list[FloatArray], npt.NDArray[np.int64]]:
    """Return bases of what of its inputs and hidden spaces a chain of dense layers ever moves.

    Parameters
    ----------
    weights : sequence of ndarray, shapes (*runs, rows, columns)
        First layer first.
    seen : ndarray, shape (*run, in, k), optional
        Orthonormal columns that span what the loss sees of the inputs; by default all.
    most : int
        Dimensions of hidden subspaces, beyond which there are none.
    runs : tuple of int
        Run axes of all of them.

    Returns
    -------
    list of ndarray, ndarray of int
        Of the inputs what the layers above see besides, then of each hidden space: orthonormal columns,
        with zeros behind them; and how many there are, (*runs, n_layers), -1 of runs without.
    """
    return _core.subspaces(
        [validate.over_runs(np.asarray(w, np.float64), runs, 2) for w in weights],
        None if seen is None else validate.over_runs(seen, runs, 2),
        most=most,
        run_shape=runs,
        n_threads=machine.n_threads(),
    )


class LeastSquares(NamedTuple):
    """What second moments say of the maps P with P cov = cross, run axes broadcast."""

    factor: FloatArray
    """F with F^T F = cov, (*run of cov, rows, in); rows behind the rank are 0. Or its diagonal, (*run, in)."""
    is_diagonal: bool
    solution: FloatArray
    """The P of least norm, (*run, out, in)."""
    explained: FloatArray
    """The square of the norm of P F^T, (*run)."""
    left: FloatArray
    """Largest entry in each column of cross that no P explains, (*run, in)."""

    @property
    def has_full_rank(self) -> bool:
        """Whether every cov has an inverse."""
        if self.is_diagonal:
            return bool((self.factor > 0).all())
        rows, columns = self.factor.shape[-2:]
        return rows == columns and bool(self.factor[..., -1, :].any(axis=-1).all())


def least_squares(cov: FloatArray, cross: FloatArray) -> LeastSquares:
    """Solve P cov = cross for positive semi-definite cov (*run, in, in) and cross (*run, out, in).

    Columns count as they are measured: none is negligible because its unit is small. What is left of
    a diagonal entry of `cov` when the others are known is 0 if below about 2 in eps of it.
    """
    cov = validate.unbroadcast(cov, keep=2)
    cross = validate.unbroadcast(cross, keep=2)
    diagonal = np.diagonal(cov, axis1=-2, axis2=-1)
    if np.count_nonzero(cov) == np.count_nonzero(diagonal):
        scales = np.sqrt(diagonal)
        known = scales > 0
        with np.errstate(over="ignore"):
            root = cross / np.where(known, scales, 1.0)[..., None, :]
            explained = np.where(known[..., None, :], root, 0.0)
            solution = explained / np.where(known, scales, 1.0)[..., None, :]
        left = np.where(known, 0.0, np.abs(cross).max(axis=-2))
        return LeastSquares(scales, True, solution, _squares(explained), left)
    runs = np.broadcast_shapes(cov.shape[:-2], cross.shape[:-2])
    threads = machine.n_threads()
    own = validate.over_runs(cov, cov.shape[:-2], 2)
    factor, pivots, ranks = _core.pivoted_factor(own, n_threads=threads)
    solution, explained, left = _core.factored_least_squares(
        validate.over_runs(factor, runs, 2),
        validate.over_runs(pivots, runs, 1),
        validate.over_runs(ranks, runs, 0),
        validate.over_runs(cross, runs, 2),
        n_threads=threads,
    )
    n_inputs = cov.shape[-1]
    for rank in np.unique(ranks[ranks < n_inputs]):
        basis = np.zeros((*factor.shape[:-2], n_inputs, max(int(rank), 1)))
        same = ranks == rank
        if rank:
            basis[same] = orthonormal_columns(np.ascontiguousarray(factor[same][:, :rank].mT))
        inside = product(product(solution, basis), basis.mT)
        solution = np.where(same[..., None, None], inside, solution)
    # In the order of the inputs, so that a matrix that is diagonal has the bits of the above.
    place = np.arange(n_inputs)
    order = np.argsort(np.where(place < ranks[..., None], pivots, n_inputs + place), axis=-1)
    rows = np.take_along_axis(factor, order[..., None], axis=-2)[..., : int(ranks.max()), :]
    return LeastSquares(rows, False, solution, _squares(explained), left)


def _squares(matrices: FloatArray) -> FloatArray:
    flat = matrices.reshape(*matrices.shape[:-2], -1, 1)
    return cross_products(flat, flat)[..., 0, 0]


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
            lower = root - (root - part / power(root, degree - 1)) / degree
        if not (lower < root).any():
            return np.where(values > 0, np.ldexp(root, quotient), 0.0)
        root = np.minimum(lower, root)


def power(base: FloatArray, exponent: int) -> FloatArray:
    """Return base**exponent by multiplications alone."""
    result = np.ones_like(base)
    while exponent:
        if exponent % 2:
            result = result * base
        base = base * base
        exponent //= 2
    return result
