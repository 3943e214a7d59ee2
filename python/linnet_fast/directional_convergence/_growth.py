"""What grows as r^p + c t, from the smallest to the largest numbers and without cancellation.

Logarithms leave the range of numbers last, so that sums, products and powers are taken of them. To
be used where overflow and underflow are ignored.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray


def log(x: npt.ArrayLike) -> FloatArray:
    """Return the logarithm, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))


def scaled(r: FloatArray, log_factor: FloatArray) -> FloatArray:
    """Return r e^log_factor, also where the factor alone is beyond all numbers."""
    third = np.exp(log_factor / 3)
    return np.asarray(r * third * third * third)


def log_ratio(growth: float, t: FloatArray, r: FloatArray, power: float) -> FloatArray:
    """Return the logarithm of growth t / r^power."""
    return np.asarray(log(growth) + log(t) - power * log(r))


def power_gain(r: FloatArray, power: float, ratio: FloatArray, exponent: float) -> FloatArray:
    """Return r^power ((1 + x)^exponent - 1) of the logarithm `ratio` of x."""
    grown = exponent * np.logaddexp(0, ratio)
    small = log(np.expm1(np.minimum(grown, 100)))
    gained = np.where(ratio < -40, log(exponent) + ratio, np.where(grown < 100, small, grown))
    return np.asarray(np.exp(power * log(r) + gained))


def root_gain(growth: float, t: FloatArray, r: FloatArray) -> FloatArray:
    """Return sqrt(r^2 + growth t) - r."""
    root = np.sqrt(growth) * np.sqrt(t)
    total = np.hypot(root, r) + r
    return np.asarray(root * np.divide(root, total, where=total > 0, out=np.zeros(total.shape)))
