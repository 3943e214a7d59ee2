"""Elementary functions whose bits are a function of the numbers that go in alone.

Those of NumPy, of SciPy and of the system's library have other last bits with other instruction sets.
What makes starts, axes of sweeps, places of records or results that a store keeps goes through here.
Beyond their domain they are NaN or infinite without a warning.
"""

from __future__ import annotations

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


def _of(
    name: Literal["log", "log1p", "exp", "expm1", "normal_quantile"], values: npt.ArrayLike
) -> FloatArray:
    stored = np.require(values, np.float64, ["C", "A"])
    found = _core.elementary(name, stored.reshape(-1), n_threads=machine.n_threads())
    return found.reshape(stored.shape)
