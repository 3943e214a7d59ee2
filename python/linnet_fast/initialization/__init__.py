"""Start weights: drawn at random, orthogonal, balanced, or aligned with the data."""

from __future__ import annotations

from linnet_fast.initialization.draws import gaussian, orthogonal
from linnet_fast.initialization.modes import aligned, balanced, lambda_balanced, spectral
from linnet_fast.initialization.own import custom, given
from linnet_fast.initialization.plain import constant, identity

__all__ = [
    "aligned",
    "balanced",
    "constant",
    "custom",
    "gaussian",
    "given",
    "identity",
    "lambda_balanced",
    "orthogonal",
    "spectral",
]
