"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.arora2019.completion import completion
from linnet_fast.figures.arora2019.speeds import speeds
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {"completion": completion, "speeds": speeds}
)
"""Name of each experiment -> its function."""
