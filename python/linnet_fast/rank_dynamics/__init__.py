"""Rank dynamics: how and when a linear network trained from a small start gains its ranks.

Closed forms, predictions from the data, and analysis of runs, after G. Gidel, F. Bach, S.
Lacoste-Julien, "Implicit regularization of discrete gradient dynamics in linear neural networks",
NeurIPS 2019, and the works each function names. Arrays broadcast over run axes.
"""

from __future__ import annotations

from linnet_fast.rank_dynamics.analysis import (
    closed_form_deviation,
    learning_times,
    mode_alignment,
    mode_strengths,
    off_diagonal_energy,
)
from linnet_fast.rank_dynamics.curvature import (
    aligned_hessian_eigenvalues,
    hessian_vector_product,
    minimum_sharpness,
    sharpness,
)
from linnet_fast.rank_dynamics.data import (
    JointDecomposition,
    NonCommutingError,
    joint_decomposition,
)
from linnet_fast.rank_dynamics.descent import (
    StepSizeRegime,
    descent_bounds,
    mode_descent,
    step_size_regime,
)
from linnet_fast.rank_dynamics.factors import factor_descent, factor_flow, factor_time
from linnet_fast.rank_dynamics.imbalance import imbalance_drift
from linnet_fast.rank_dynamics.limits import (
    GreedyPath,
    greedy_path,
    sequential_limit,
    stage_resolvability,
)
from linnet_fast.rank_dynamics.matrix import (
    IsotropicFlow,
    aligned_flow,
    isotropic_flow,
    one_layer_descent,
    one_layer_flow,
    one_layer_limit,
)
from linnet_fast.rank_dynamics.modes import (
    ModePath,
    escape_time,
    learning_time,
    limit_time,
    mode_flow,
)
from linnet_fast.rank_dynamics.momentum import largest_step_size
from linnet_fast.rank_dynamics.paths import PathDistances, path_distances, stages
from linnet_fast.rank_dynamics.perturbation import perturbation_bound, perturbed_limit
from linnet_fast.rank_dynamics.predictions import effective_strengths, predicted_times
from linnet_fast.rank_dynamics.ranks import (
    effective_rank,
    nuclear_norm,
    numerical_rank,
    participation_ratio,
    stable_rank,
)
from linnet_fast.rank_dynamics.regression import (
    ReducedRankPath,
    reduced_rank_regression,
    sigma_ordered_path,
)
from linnet_fast.rank_dynamics.step_counts import learning_steps
from linnet_fast.rank_dynamics.summary import Summary, summary

__all__ = [
    "GreedyPath",
    "IsotropicFlow",
    "JointDecomposition",
    "ModePath",
    "NonCommutingError",
    "PathDistances",
    "ReducedRankPath",
    "StepSizeRegime",
    "Summary",
    "aligned_flow",
    "aligned_hessian_eigenvalues",
    "closed_form_deviation",
    "descent_bounds",
    "effective_rank",
    "effective_strengths",
    "escape_time",
    "factor_descent",
    "factor_flow",
    "factor_time",
    "greedy_path",
    "hessian_vector_product",
    "imbalance_drift",
    "isotropic_flow",
    "joint_decomposition",
    "largest_step_size",
    "learning_steps",
    "learning_time",
    "learning_times",
    "limit_time",
    "minimum_sharpness",
    "mode_alignment",
    "mode_descent",
    "mode_flow",
    "mode_strengths",
    "nuclear_norm",
    "numerical_rank",
    "off_diagonal_energy",
    "one_layer_descent",
    "one_layer_flow",
    "one_layer_limit",
    "participation_ratio",
    "path_distances",
    "perturbation_bound",
    "perturbed_limit",
    "predicted_times",
    "reduced_rank_regression",
    "sequential_limit",
    "sharpness",
    "sigma_ordered_path",
    "stable_rank",
    "stage_resolvability",
    "stages",
    "step_size_regime",
    "summary",
]
