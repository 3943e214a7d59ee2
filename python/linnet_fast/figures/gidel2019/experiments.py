"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.gidel2019.data import assumption, classification
from linnet_fast.figures.gidel2019.paths import autoencoder, staircase, step_sizes
from linnet_fast.figures.gidel2019.sweeps import depth, init_scale, order_mismatch, perturbation
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "staircase": staircase,
        "assumption": assumption,
        "autoencoder": autoencoder,
        "classification": classification,
        "init_scale": init_scale,
        "step_sizes": step_sizes,
        "depth": depth,
        "perturbation": perturbation,
        "order_mismatch": order_mismatch,
    }
)
"""Name of each experiment -> the function that runs it."""
