"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.cohen2021.catapults import catapults
from linnet_fast.figures.cohen2021.edge import momentum, steps
from linnet_fast.figures.cohen2021.sharpening import networks
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {"steps": steps, "momentum": momentum, "networks": networks, "catapults": catapults}
)
"""Name of each experiment -> its function."""
