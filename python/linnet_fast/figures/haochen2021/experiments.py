"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.haochen2021.noises import noises, starts
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({"noises": noises, "starts": starts})
"""Name of each experiment -> its function."""
