"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.report import Experiment
from linnet_fast.figures.woodworth2020.regimes import regimes

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({"regimes": regimes})
"""Name of each experiment -> its function."""
