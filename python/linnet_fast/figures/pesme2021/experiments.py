"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.pesme2021.effective import batches
from linnet_fast.figures.pesme2021.sizes import step_sizes
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {"step_sizes": step_sizes, "batches": batches}
)
"""Name of each experiment -> its function."""
