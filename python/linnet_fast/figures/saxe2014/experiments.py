"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.report import Experiment
from linnet_fast.figures.saxe2014.curves import curves
from linnet_fast.figures.saxe2014.depth import depth

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({"curves": curves, "depth": depth})
"""Name of each experiment -> its function."""
