"""Layers of a `linnet_fast.Chain`: each is a matrix whose entries are weights, by a pattern.

A layer maps its inputs x to M x. Every entry of M is fixed, or a coefficient times one of the
layer's weights; a weight may stand in several places. Layers are frozen values.
"""

from __future__ import annotations

from linnet_fast.layers.compositions import BlockDiagonal, Residual, Stack, Sum
from linnet_fast.layers.convolutions import Convolution, GroupConvolution
from linnet_fast.layers.elements import Custom, Dense, Diagonal, Fixed, Masked
from linnet_fast.layers.pattern import Layer, Pattern

__all__ = [
    "BlockDiagonal",
    "Convolution",
    "Custom",
    "Dense",
    "Diagonal",
    "Fixed",
    "GroupConvolution",
    "Layer",
    "Masked",
    "Pattern",
    "Residual",
    "Stack",
    "Sum",
]
