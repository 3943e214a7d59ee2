"""Directional convergence of linear networks on spherically symmetric data."""

from __future__ import annotations

from linnet_fast.directional_convergence.closed_forms import (
    Orbit,
    large_norm_orbit,
    misclassification,
    opposed_norm,
    passage_time,
    small_norm_orbit,
    two_layer_direction,
)
from linnet_fast.directional_convergence.dynamics import (
    ReducedTrajectory,
    TurningPoint,
    reduced_descent,
    reduced_flow,
)
from linnet_fast.directional_convergence.portrait import (
    log_lyapunov,
    log_small_norm_invariant,
    nullcline,
    phase_velocity,
)

__all__ = [
    "Orbit",
    "ReducedTrajectory",
    "TurningPoint",
    "large_norm_orbit",
    "log_lyapunov",
    "log_small_norm_invariant",
    "misclassification",
    "nullcline",
    "opposed_norm",
    "passage_time",
    "phase_velocity",
    "reduced_descent",
    "reduced_flow",
    "small_norm_orbit",
    "two_layer_direction",
]
