"""Times between angles on the orbits that a flow follows at large and at small norms.

The pace is a power of 1 + e^(2 s) or of cosh(s), which spans thousands of powers of e. Its integral is taken of
the difference of angles itself, never as a difference of antiderivatives, in units of its largest value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from linnet_fast._base.validate import FloatArray

_NEGLIGIBLE = 50.0  # e^-50 is
_N_PANELS = 32
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_FAR = 300.0  # from here on e^-x is nothing beside e^x, which is not far from overflow


def log_grown(low: FloatArray, gap: FloatArray) -> FloatArray:
    """Return ln((1 + e^(2 s)) / (1 + e^(2 low))) at s = low + gap, with gap >= 0."""
    near = np.log1p(scipy.special.expit(2 * low) * np.expm1(2 * np.minimum(gap, _FAR)))
    far = np.logaddexp(
        scipy.special.log_expit(-2 * low), scipy.special.log_expit(2 * low) + 2 * gap
    )
    return np.asarray(np.where(gap < _FAR, near, far))


def log_cosh_grown(low: FloatArray, gap: FloatArray) -> FloatArray:
    """Return ln(cosh(s) / cosh(low)) at s = low + gap, with low and gap >= 0."""
    x, tanh = np.minimum(gap, _FAR), np.tanh(low)
    near = np.log1p(2 * np.sinh(x / 2) ** 2 + tanh * np.sinh(x))
    return np.asarray(np.where(gap < _FAR, near, gap + np.log1p(tanh) - np.log(2)))


def large_norm(start: FloatArray, end: FloatArray, power: int) -> FloatArray:
    """Return ln of the integral of ((1 + e^(2 s)) / (1 + e^(2 start)))^-power between two s; power >= -1."""
    low, gap = np.minimum(start, end), np.abs(start - end)
    if power < 0:
        grown = 2 * low + _log_expm1(2 * gap) - np.log(2)
        return np.asarray(np.logaddexp(_log(gap), grown) + scipy.special.log_expit(-2 * start))
    if power == 0:
        return _log(gap)
    # Below, the integrand is constant to rounding.
    flat_end = -np.log(power) / 2 - 20
    flat = np.clip(flat_end - low, 0, gap)
    first = np.maximum(low, flat_end)
    last = np.log1p(np.expm1(_NEGLIGIBLE / power) / scipy.special.expit(2 * first)) / 2
    rest = _integral(power, np.minimum(gap - flat, last), lambda x: log_grown(first, x))
    return np.asarray(_log(flat + rest) + power * np.where(start > low, log_grown(low, gap), 0.0))


def small_norm(start: FloatArray, end: FloatArray, power: int) -> FloatArray:
    """Return ln of the integral of (cosh(s) / cosh(start))^-power between two s; power >= -1."""
    gap = np.abs(start - end)
    if power < 0:
        middle = np.abs(start / 2 + end / 2)
        both = log_cosh_grown(np.zeros(()), middle) + np.log(2)
        return np.asarray(both + _log_sinh(gap / 2) - log_cosh_grown(np.zeros(()), np.abs(start)))
    if power == 0:
        return _log(gap)
    # The integrand is even: both sides of 0 start from there.
    across = np.sign(start) * np.sign(end) < 0
    near = np.where(across, 0.0, np.minimum(np.abs(start), np.abs(end)))
    tanh, edge = np.tanh(near), np.exp(_NEGLIGIBLE / power)
    root = np.sqrt(np.expm1(2 * _NEGLIGIBLE / power) + tanh**2)
    last = np.log((edge + root) / (1 + tanh))
    total = np.zeros(())
    for length in (np.where(across, np.abs(start), gap), np.where(across, np.abs(end), 0.0)):
        within = np.minimum(length, last)
        total = total + _integral(power, within, lambda x: log_cosh_grown(near, x))
    behind = np.where(across, np.abs(start), np.where(np.abs(start) > near, gap, 0.0))
    return _log(total) + power * log_cosh_grown(near, behind)


def _integral(power: int, end: FloatArray, grown: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return the integral of e^(-power grown(x)) from 0 to end, over which it falls by e^-50 at most."""
    width = end / _N_PANELS
    total = np.zeros(())
    for panel in range(_N_PANELS):
        for point, weight in zip(_POINTS, _WEIGHTS, strict=True):
            x = width * (panel + (1 + point) / 2)
            total = total + weight * np.exp(-power * grown(x))
    return np.asarray(total * width / 2)


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))


def _log_expm1(x: FloatArray) -> FloatArray:
    return np.asarray(x + _log(-np.expm1(-x)))


def _log_sinh(x: FloatArray) -> FloatArray:
    return np.asarray(x + _log(-np.expm1(-2 * x)) - np.log(2))
