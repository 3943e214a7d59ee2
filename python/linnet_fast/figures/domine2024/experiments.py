"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.domine2024.kernels import courses, ends
from linnet_fast.figures.domine2024.modes import modes
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {"modes": modes, "courses": courses, "ends": ends}
)
"""Name of each experiment -> its function."""
