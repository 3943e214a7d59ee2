"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.report import Experiment
from linnet_fast.figures.soudry2018.margins import several, two, unseen

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {"two_classes": two, "several_classes": several, "unseen": unseen}
)
"""Name of each experiment -> its function."""
