"""Measures of rank, from singular values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray


def numerical_rank(
    singular_values: npt.ArrayLike, *, rtol: float = 1e-3, atol: float = 0.0
) -> FloatArray:
    """Return how many singular values are above a part of the largest, and above a number.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        In any order. NaN, as after the end of a run, gives NaN.
    rtol, atol : float
        Counted are those > rtol * max and > atol.

    Returns
    -------
    ndarray of float64, shape (...)
        Whole numbers; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is negative.

    Examples
    --------
    >>> numerical_rank([[2.0, 1.0, 1e-5], [0.0, 0.0, 0.0]]).tolist()
    [2.0, 0.0]
    """
    part = validate.real("rtol", rtol, at_least=0)
    least = validate.real("atol", atol, at_least=0)
    s = _values(singular_values)
    count = np.sum((s > part * s.max(axis=-1, keepdims=True)) & (s > least), axis=-1)
    return _with_nan(s, count.astype(np.float64))


def stable_rank(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the squared Frobenius norm over the squared spectral norm.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        In any order; NaN gives NaN.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of numbers >= 0.

    Examples
    --------
    >>> stable_rank([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).tolist()
    [2.0, 1.0, 0.0]
    """
    s = _shares(singular_values, np.max)
    return np.asarray(np.sum(s * s, axis=-1))


def effective_rank(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the exponential of the entropy of the singular values' shares in their sum.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        In any order; NaN gives NaN.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of numbers >= 0.

    References
    ----------
    O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    >>> effective_rank([[3.0, 3.0, 3.0], [1.0, 0.0, 0.0]]).round(12).tolist()
    [3.0, 1.0]
    """
    p = _shares(singular_values, np.sum)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    return np.asarray(np.where(p.sum(axis=-1) == 0, 0.0, np.exp(entropy)))


def participation_ratio(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the squared sum over the sum of squares.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        In any order; NaN gives NaN.

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to k; 0 if all are 0.

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of numbers >= 0.

    Examples
    --------
    >>> participation_ratio([[3.0, 3.0, 3.0], [1.0, 0.0, 0.0]]).round(12).tolist()
    [3.0, 1.0]
    """
    p = _shares(singular_values, np.sum)
    squares = np.sum(p * p, axis=-1)
    return np.asarray(np.where(squares == 0, 0.0, 1 / np.where(squares == 0, 1.0, squares)))


def nuclear_norm(singular_values: npt.ArrayLike) -> FloatArray:
    """Return the sum of the singular values.

    Parameters
    ----------
    singular_values : array_like, shape (..., k)
        In any order; NaN gives NaN.

    Returns
    -------
    ndarray of float64, shape (...)

    Raises
    ------
    TypeError, ValueError
        If the argument is not made of numbers >= 0.

    Examples
    --------
    >>> float(nuclear_norm([2.0, 1.0]))
    3.0
    """
    return np.asarray(_values(singular_values).sum(axis=-1))


def _values(singular_values: npt.ArrayLike) -> FloatArray:
    s = np.asarray(singular_values)
    if s.dtype.kind not in "fiu" or s.ndim == 0:
        msg = f"singular_values must be numbers of shape (..., k), got {s.dtype} of shape {s.shape}"
        raise TypeError(msg)
    validate.refuse("singular_values", ">= 0", s, s < 0)
    return s.astype(np.float64, copy=False)


def _shares(singular_values: npt.ArrayLike, by: Callable[..., FloatArray]) -> FloatArray:
    """Return each value over the sum or the largest of all."""
    s = _values(singular_values)
    unit = by(s, axis=-1, keepdims=True)
    shares: FloatArray = s / np.where(unit == 0, 1.0, unit)
    return shares


def _with_nan(s: FloatArray, value: FloatArray) -> FloatArray:
    return np.where(np.isnan(s).any(axis=-1), np.nan, value)
