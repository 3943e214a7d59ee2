"""Spherically symmetric laws of the inputs, and their radial functions."""

from __future__ import annotations

from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import (
    Ball,
    Gaussian,
    RadialMixture,
    Sphere,
)

__all__ = [
    "Ball",
    "Gaussian",
    "RadialMixture",
    "Sphere",
    "SphericalLaw",
]
