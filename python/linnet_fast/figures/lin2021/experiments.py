"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.lin2021.bounds import bounds
from linnet_fast.figures.lin2021.digits import digits
from linnet_fast.figures.lin2021.figure1 import depths, figure_1a, figure_1b
from linnet_fast.figures.lin2021.floors import floors
from linnet_fast.figures.lin2021.margins import margins
from linnet_fast.figures.lin2021.portraits import portraits
from linnet_fast.figures.lin2021.rates import rates, step_rules
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "figure_1a": figure_1a,
        "figure_1b": figure_1b,
        "depths": depths,
        "bounds": bounds,
        "rates": rates,
        "step_rules": step_rules,
        "portraits": portraits,
        "margins": margins,
        "floors": floors,
        "digits": digits,
    }
)
"""Name of each experiment -> its function."""
