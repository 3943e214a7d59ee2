"""Balanced modes of three and more layers: the implicit time and its inverse.

With x = lam w / sigma = y^L and tau = sigma (sigma / lam)^(1 - 2/L) t, the flow of a mode is dy/dtau =
y^(L-1) (1 - y^L), so tau is an integral of a rational function. The unknown is z, with expit(z) = y^L
below the resting strength and y^-L above: there dtau/dz is y^(2-L) / L, or y^(2-2L) / L.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linnet_fast._base.validate import FloatArray

_SERIES_BELOW = 0.75
_POWERS = 130  # 0.75^130 is below rounding


def _log_y(z: FloatArray, n_layers: int) -> FloatArray:
    """Return ln(expit(z)) / L."""
    return -np.logaddexp(0.0, -z) / n_layers


def _power_integral(z: FloatArray, power: int, n_layers: int) -> FloatArray:
    """Return the integral of x^(power - 1) / (1 - x^L) from 0 to y = expit(z)^(1/L)."""
    log_y = _log_y(z, n_layers)
    y = np.exp(log_y)
    series = np.zeros_like(y)
    small = np.minimum(y, _SERIES_BELOW)
    for k in range(_POWERS // n_layers, -1, -1):
        series = series * small**n_layers + 1 / (k * n_layers + power)
    series *= small**power
    # Partial fractions over the roots of unity; 1 - y keeps its accuracy near 1.
    roots = np.exp(2j * np.pi * np.arange(1, n_layers) / n_layers)
    with np.errstate(divide="ignore"):
        total = np.log(-np.expm1(np.minimum(log_y, -1e-320)))
    for root in roots:
        total = total + (root**power * np.log(1 - y / root)).real
    return np.where(y < _SERIES_BELOW, series, -total / n_layers)


def tau_below(z: FloatArray, n_layers: int) -> FloatArray:
    """Return tau up to a constant at x = expit(z) < 1; -inf where it overflows."""
    with np.errstate(over="ignore"):
        head = np.exp((2 - n_layers) * _log_y(z, n_layers)) / (n_layers - 2)
    return _power_integral(z, 2, n_layers) - head


def tau_above(z: FloatArray, n_layers: int) -> FloatArray:
    """Return tau up to a constant at x = 1 / expit(z) > 1."""
    head = np.exp((n_layers - 2) * _log_y(z, n_layers)) / (n_layers - 2)
    integral = _power_integral(z, n_layers - 2, n_layers) - head
    # Far above, the two nearly cancel: there the integral is its leading term.
    power = 2 * n_layers - 2
    log_y = _log_y(z, n_layers)
    small = np.minimum(np.exp(log_y), _SERIES_BELOW)
    series = np.zeros_like(small)
    for k in range(_POWERS // n_layers, -1, -1):
        series = series * small**n_layers + 1 / (k * n_layers + power)
    return np.where(np.exp(log_y) < _SERIES_BELOW, series * small**power, integral)


def advance_below(z: FloatArray, tau: FloatArray, n_layers: int) -> FloatArray:
    """Return z after a time tau, from below the resting strength."""
    start = tau_below(z, n_layers)
    target = start + tau
    low, high = z.copy(), z + n_layers * tau  # dtau/dz is at least 1/L
    # First guess: while it escapes, y^(2-L) falls linearly; then z grows linearly.
    left = -(n_layers - 2) * target
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_y = -np.log(np.maximum(left, 1e-300)) / (n_layers - 2)
        early = n_layers * log_y - np.log(-np.expm1(n_layers * np.minimum(log_y, -1e-3)))
    guess = np.where(left > 1.5, early, n_layers * np.maximum(target, 0.0))
    return _solve(tau_below, 2 - n_layers, target, guess, low, high, n_layers, np.isinf(start))


def advance_above(z: FloatArray, tau: FloatArray, n_layers: int) -> FloatArray:
    """Return z after a time tau, from above the resting strength."""
    target = tau_above(z, n_layers) + tau
    low, high = z.copy(), np.maximum(z, 0.0) + 4 * n_layers * tau
    guess = np.clip(n_layers * target, low, high)
    return _solve(
        tau_above, 2 * n_layers - 2, target, guess, low, high, n_layers, np.zeros(z.shape, bool)
    )


def _solve(
    function: object,
    exponent: int,
    target: FloatArray,
    guess: FloatArray,
    low: FloatArray,
    high: FloatArray,
    n_layers: int,
    stuck: npt.NDArray[np.bool_],
) -> FloatArray:
    """Solve function(z) = target by Newton's method, kept within brackets by bisection."""
    z = np.where((guess > low) & (guess < high), guess, 0.5 * (low + high))
    for _ in range(200):
        value = function(z, n_layers) - target  # type: ignore[operator]
        low = np.where(value <= 0, z, low)
        high = np.where(value >= 0, z, high)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = np.exp(exponent * _log_y(z, n_layers)) / n_layers
            step = z - value / slope
        middle = 0.5 * (low + high)
        following = np.where((step > low) & (step < high), step, middle)
        done = (np.abs(following - z) <= 1e-15 * (1 + np.abs(z))) | (low >= high) | stuck
        z = np.where(stuck | (low >= high), z, following)
        if done.all():
            break
    return np.where(stuck, low, z)


def strength_of(z: FloatArray, above: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return ln x and 1 - x."""
    with np.errstate(over="ignore"):
        log_x = np.where(above, np.logaddexp(0.0, -z), -np.logaddexp(0.0, -z))
        gap = np.where(above, -np.exp(-z), expit(-z))
    return log_x, gap
