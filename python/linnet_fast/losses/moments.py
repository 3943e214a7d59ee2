"""What second moments have to be, and in which directions they say something."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray

_EPS = float(np.finfo(np.float64).eps)
_TOLERANCE = 1e-9  # of the largest entry of input_cov: what counts as rounding


def check_input_cov(input_cov: FloatArray) -> None:
    """Refuse what is no second moment: symmetric and positive semi-definite, but for rounding."""
    stored = validate.unbroadcast(input_cov, keep=2)
    with np.errstate(over="ignore"):
        skew = np.abs(stored - stored.mT).max(axis=(-2, -1))
    largest = np.abs(stored).max(axis=(-2, -1))
    if (skew > _TOLERANCE * largest).any():
        msg = f"input_cov must be symmetric, got entries that differ by {skew.max():g}"
        raise ValueError(msg)
    diagonal = np.diagonal(stored, axis1=-2, axis2=-1)
    if (diagonal < 0).any():
        msg = f"input_cov must have a non-negative diagonal, got {diagonal.min():g}"
        raise ValueError(msg)
    if _is_diagonal(stored):
        return
    size = np.where(largest > 0, largest, 1.0)
    unit = stored / size[..., None, None]
    index = np.arange(stored.shape[-1])
    unit[..., index, index] += _TOLERANCE
    try:
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(unit)[..., 0] - _TOLERANCE
        if (least < -_TOLERANCE).any():
            msg = (
                "input_cov must be positive semi-definite, got smallest eigenvalue "
                f"{(least * size).min():.6g}"
            )
            raise ValueError(msg) from None


def seen_directions(
    input_cov: FloatArray, cross_cov: FloatArray
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return directions in which moments are diagonal, those without variance last.

    Parameters
    ----------
    input_cov, cross_cov : ndarray of float64, shapes (*run, in, in) and (*run, out, in)

    Returns
    -------
    kinds : ndarray of int, shape (*run) or one that broadcasts to it
        -1 where axes are as good; else how many directions have variance, of eigenvectors and ``in + 1``
        more. Runs of one kind have the same form.
    columns : ndarray of float64, shape (*run of input_cov, in, in)
        Orthonormal: axes where `input_cov` is diagonal, else its eigenvectors.
    """
    stored = validate.unbroadcast(input_cov, keep=2)
    n = stored.shape[-1]
    variances = np.diagonal(stored, axis1=-2, axis2=-1)
    entries = np.count_nonzero(stored, axis=(-2, -1))
    n_known = np.count_nonzero(variances, axis=-1)
    is_diagonal = entries == n_known
    columns = np.eye(n)[np.argsort(variances == 0, axis=-1, kind="stable")].mT
    kinds = np.where((n_known == n) | (n_known == 0), -1, n_known)
    if not is_diagonal.all():
        values, vectors = algebra.symmetric_eigenvectors(stored)
        values, vectors = values[..., ::-1], vectors[..., ::-1]
        is_seen = values > 4 * n * _EPS * values[..., :1]
        # Small ones are rounding only if the outputs have nothing there, either.
        along = np.abs(algebra.product(validate.unbroadcast(cross_cov, keep=2), vectors))
        outputs = along.max(axis=-2)
        rounding = 64 * n * _EPS * outputs.max(axis=-1, keepdims=True)
        is_clear = ~(~is_seen & (outputs > rounding)).any(axis=-1)
        counts = np.where(is_clear, n + 1 + np.count_nonzero(is_seen, axis=-1), -1)
        kinds = np.where(is_diagonal, kinds, counts)
        columns = np.where(is_diagonal[..., None, None], columns, vectors)
    return kinds, np.broadcast_to(columns, (*input_cov.shape[:-2], n, n))


def _is_diagonal(matrices: FloatArray) -> bool:
    """Return whether all entries off the diagonals are 0."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    return int(np.count_nonzero(matrices)) == int(np.count_nonzero(diagonal))
