"""The rivals of sweeps, each in the ways that a good user of that library would write them.

All draw starts of their own, with their fastest generator, unless they are given some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.rivals.sweeps.jax import jax_ways
from bench.rivals.sweeps.numba import numba_ways
from bench.rivals.sweeps.numpy import joblib_ways, numpy_ways

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rivals.sweeps.base import Way
    from bench.sections.sweep_problem import SweepProblem

SWEEP_RIVALS: dict[str, Callable[[SweepProblem], dict[str, Way]]] = {
    "numpy": numpy_ways,
    "joblib": joblib_ways,
    "jax": jax_ways,
    "numba": numba_ways,
}
