"""Elementary functions whose bits are a function of the numbers that go in alone.

Those of NumPy, of SciPy and of the system's library have other last bits with other instruction sets.
What makes starts, axes of sweeps, places of records or results that a store keeps goes through here.
Beyond their domain they are NaN or infinite without a warning.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import machine
from linnet_fast._base.validate import FloatArray


def log(values: npt.ArrayLike) -> FloatArray:
    """Return the natural logarithm."""
    return _of("log", values)


def log1p(values: npt.ArrayLike) -> FloatArray:
    """Return log(1 + x)."""
    return _of("log1p", values)


def exp(values: npt.ArrayLike) -> FloatArray:
    """Return e^x."""
    return _of("exp", values)


def expm1(values: npt.ArrayLike) -> FloatArray:
    """Return e^x - 1."""
    return _of("expm1", values)


def normal_quantile(values: npt.ArrayLike) -> FloatArray:
    """Return what a standard normal number is below with these probabilities."""
    return _of("normal_quantile", values)


def circle(n: int) -> tuple[FloatArray, FloatArray]:
    """Return cosines and sines of 2 pi j / n for j = 0 ... n - 1, to an error of an ulp or so."""
    octant, rest = np.divmod(8 * np.arange(n), n)
    angle = np.where(octant % 2 == 1, n - rest, rest) / n * (math.pi / 4)
    square = angle * angle
    # Their series, which end below rounding at pi / 4; exact where they are 0 and 1.
    cosine, sine = np.ones(n), np.ones(n)
    for k in range(20, 0, -2):
        cosine = 1 - square * cosine / (k * (k - 1))
        sine = 1 - square * sine / (k * (k + 1))
    sine = angle * sine
    is_turned = (octant + 1) // 2 % 2 == 1  # nearer to the other axis
    x, y = np.where(is_turned, sine, cosine), np.where(is_turned, cosine, sine)
    return np.where((octant >= 2) & (octant < 6), -x, x), np.where(octant >= 4, -y, y)


def _of(
    name: Literal["log", "log1p", "exp", "expm1", "normal_quantile"], values: npt.ArrayLike
) -> FloatArray:
    stored = np.require(values, np.float64, ["C", "A"])
    found = _core.elementary(name, stored.reshape(-1), n_threads=machine.n_threads())
    return found.reshape(stored.shape)
