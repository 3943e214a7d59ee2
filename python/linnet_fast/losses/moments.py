"""What second moments have to be."""

from __future__ import annotations

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray

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


def _is_diagonal(matrices: FloatArray) -> bool:
    """Return whether all entries off the diagonals are 0."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    return int(np.count_nonzero(matrices)) == int(np.count_nonzero(diagonal))
