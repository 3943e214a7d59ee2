"""The rivals, each written as a good user of that library would write it.

All compute the gradient by hand with the same matrix products, in place where the library can.
"""

from __future__ import annotations

from bench.rivals.base import Competitor
from bench.rivals.jax import Jax
from bench.rivals.numba import Numba
from bench.rivals.numpy import Numpy
from bench.rivals.torch import Torch

RIVALS: dict[str, type[Competitor]] = {rival.name: rival for rival in (Jax, Torch, Numpy, Numba)}

NAMES = (*RIVALS, "joblib", "scipy", "diffrax", "cvxpy", "reference")
"""Of all rivals of all sections; `reference` is the library's own in NumPy."""
