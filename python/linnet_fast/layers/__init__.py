"""Linear layers: which entries of a matrix are which weights, and which are fixed."""

from __future__ import annotations

from linnet_fast.layers.elements import (
    BlockDiagonal,
    Convolution,
    Custom,
    Dense,
    Diagonal,
    Fixed,
    GroupConvolution,
    Layer,
    Masked,
    Pattern,
    Residual,
    Stack,
    Sum,
)

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
