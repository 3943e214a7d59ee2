"""Directional convergence: how fast deep linear networks find the direction of their labels.

The exact dynamics of norm and angle under spherically symmetric inputs, closed forms, rates, bounds,
and what changes with finitely many samples or fresh batches, after D. Lin, R. Sun, Z. Zhang, "Faster
Directional Convergence of Linear Neural Networks under Spherically Symmetric Data", NeurIPS 2021, and
the works each function names. Arrays broadcast over run axes.
"""

from __future__ import annotations

from linnet_fast.directional_convergence.angles import cosine, one_minus_cosine
from linnet_fast.directional_convergence.bound_checks import BoundCheck, BoundTable, check_bounds
from linnet_fast.directional_convergence.bounds import (
    deep_flow_angle_bounds,
    flow_angle_bound,
    global_bounds,
    norm_bounds,
)
from linnet_fast.directional_convergence.closed_forms import (
    Orbit,
    large_norm_orbit,
    misclassification,
    opposed_norm,
    passage_time,
    small_norm_orbit,
    two_layer_direction,
)
from linnet_fast.directional_convergence.comparison import ConvergenceTable, convergence_table
from linnet_fast.directional_convergence.descent_bounds import (
    descent_angle_bound,
    descent_angle_bound_behind,
)
from linnet_fast.directional_convergence.dynamics import (
    ReducedTrajectory,
    TurningPoint,
    reduced_descent,
    reduced_flow,
    time_to_angle,
)
from linnet_fast.directional_convergence.late_time import LateTimeLaw, late_time_law
from linnet_fast.directional_convergence.max_margins import (
    MaxMargin,
    max_margin,
    normalized_margin,
)
from linnet_fast.directional_convergence.phases import (
    PhaseSwitch,
    falling_time_bound,
    phase_switch,
)
from linnet_fast.directional_convergence.portrait import (
    log_lyapunov,
    log_small_norm_invariant,
    nullcline,
    phase_velocity,
)
from linnet_fast.directional_convergence.rates import (
    DirectionTrajectory,
    RateFit,
    classify_rate,
)
from linnet_fast.directional_convergence.samples import (
    Crossover,
    MarginLaw,
    crossover,
    expected_max_margin,
    expected_max_margin_angle,
    margin_law,
    sampling_floor,
    sgd_floor,
)
from linnet_fast.directional_convergence.step_sizes import (
    DescentLaw,
    StepSizeAdvice,
    descent_law,
    step_size_advice,
)
from linnet_fast.directional_convergence.two_neurons import OppositePair

__all__ = [
    "BoundCheck",
    "BoundTable",
    "ConvergenceTable",
    "Crossover",
    "DescentLaw",
    "DirectionTrajectory",
    "LateTimeLaw",
    "MarginLaw",
    "MaxMargin",
    "OppositePair",
    "Orbit",
    "PhaseSwitch",
    "RateFit",
    "ReducedTrajectory",
    "StepSizeAdvice",
    "TurningPoint",
    "check_bounds",
    "classify_rate",
    "convergence_table",
    "cosine",
    "crossover",
    "deep_flow_angle_bounds",
    "descent_angle_bound",
    "descent_angle_bound_behind",
    "descent_law",
    "expected_max_margin",
    "expected_max_margin_angle",
    "falling_time_bound",
    "flow_angle_bound",
    "global_bounds",
    "large_norm_orbit",
    "late_time_law",
    "log_lyapunov",
    "log_small_norm_invariant",
    "margin_law",
    "max_margin",
    "misclassification",
    "norm_bounds",
    "normalized_margin",
    "nullcline",
    "one_minus_cosine",
    "opposed_norm",
    "passage_time",
    "phase_switch",
    "phase_velocity",
    "reduced_descent",
    "reduced_flow",
    "sampling_floor",
    "sgd_floor",
    "small_norm_orbit",
    "step_size_advice",
    "time_to_angle",
    "two_layer_direction",
]
