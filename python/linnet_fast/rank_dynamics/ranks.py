"""Measures of rank, from singular values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape

_MOST = 2**26


def numerical_rank(
    singular_values: npt.ArrayLike, *, rtol: float = 1e-3, atol: float = 0.0
) -> FloatArray:
    """Return how many singular values are above a part of the largest, and above a number.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        Finite, in any order; rows with NaN, as records have after the end of a run, give NaN.
    rtol, atol : float
        Counted are those > rtol * max and > atol.

    Returns
    -------
    ndarray of float64, shape (...)
        Whole numbers; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, is negative, infinite or empty.

    Examples
    --------
    >>> numerical_rank([[2.0, 1.0, 1e-5], [0.0, 0.0, 0.0]]).tolist()
    [2.0, 0.0]
    """
    part = validate.real("rtol", rtol, at_least=0)
    least = validate.real("atol", atol, at_least=0)
    s, shape = _values(singular_values)
    with np.errstate(over="ignore", under="ignore"):
        bound = np.maximum(part * s.max(axis=-1, keepdims=True), least)
    count = np.sum(s > bound, axis=-1)
    return np.broadcast_to(np.where(np.isnan(s).any(axis=-1), np.nan, count), shape)


def stable_rank(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the squared Frobenius norm over the squared spectral norm.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        As for `numerical_rank`.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of finite numbers >= 0 and NaN, or empty.

    Examples
    --------
    >>> stable_rank([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).tolist()
    [2.0, 1.0, 0.0]
    """
    s, shape = _relative(singular_values)
    return np.broadcast_to(np.sum(s * s, axis=-1), shape)


def effective_rank(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the exponential of the entropy of the singular values' shares in their sum.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        As for `numerical_rank`.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of finite numbers >= 0 and NaN, or empty.

    References
    ----------
    O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    >>> effective_rank([[3.0, 3.0, 3.0], [1.0, 0.0, 0.0]]).round(12).tolist()
    [3.0, 1.0]
    """
    s, shape = _relative(singular_values)
    total = s.sum(axis=-1, keepdims=True)
    p = s / np.where(total == 0, 1.0, total)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    return np.broadcast_to(np.where(total[..., 0] == 0, 0.0, np.exp(entropy)), shape)


def participation_ratio(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the squared sum over the sum of squares.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        As for `numerical_rank`.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of finite numbers >= 0 and NaN, or empty.

    Examples
    --------
    >>> participation_ratio([[3.0, 3.0, 3.0], [1.0, 0.0, 0.0]]).round(12).tolist()
    [3.0, 1.0]
    """
    s, shape = _relative(singular_values)
    squares = np.sum(s * s, axis=-1)
    ratio = s.sum(axis=-1) ** 2 / np.where(squares == 0, 1.0, squares)
    return np.broadcast_to(ratio, shape)


def nuclear_norm(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the sum of the singular values.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        As for `numerical_rank`.

    Returns
    -------
    ndarray of float64, shape (...)
        inf if it exceeds the largest number.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of finite numbers >= 0 and NaN, or empty.

    Examples
    --------
    >>> float(nuclear_norm([2.0, 1.0]))
    3.0
    """
    s, shape = _values(singular_values)
    with np.errstate(over="ignore"):
        return np.broadcast_to(s.sum(axis=-1), shape)


def _values(singular_values: npt.ArrayLike) -> tuple[FloatArray, Shape]:
    """Return the rows that are really in memory, and the shape of a number for each row."""
    # What is repeated is neither stored nor gone through.
    s = validate.numbers("singular_values", singular_values, repeats=2**62)
    if s.ndim == 0:
        msg = "singular_values must be numbers of shape (..., k), got a single one"
        raise TypeError(msg)
    shape, s = s.shape[:-1], validate.unbroadcast(s, keep=1)
    if s.size > _MOST:
        msg = f"singular_values must be at most {_MOST} numbers, got shape {s.shape}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):  # of longer floats; refused below
        s = s.astype(np.float64, copy=False)
    validate.refuse("singular_values", "finite or NaN", s, np.isinf(s))
    validate.refuse("singular_values", ">= 0", s, s < 0)
    return s, shape


def _relative(singular_values: npt.ArrayLike) -> tuple[FloatArray, Shape]:
    """Return each value over the largest, so that no sum or square overflows."""
    s, shape = _values(singular_values)
    top = s.max(axis=-1, keepdims=True)
    relative: FloatArray = s / np.where(top == 0, 1.0, top)
    return relative, shape
