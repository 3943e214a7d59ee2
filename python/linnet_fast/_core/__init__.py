"""The compiled core: functions of the module that `levels.choose` picks for this processor."""

from __future__ import annotations

import importlib

from linnet_fast._core import levels

_module = importlib.import_module(f"linnet_fast._core._core_{levels.choose()}")
train = _module.train
train_flow = _module.train_flow
observe = _module.observe
known = _module.known
logit_descent = _module.logit_descent
balanced_descent = _module.balanced_descent
momentum_descent = _module.momentum_descent
factor_descent = _module.factor_descent
radial_functions = _module.radial_functions
reduced_flow = _module.reduced_flow
reduced_flow_time = _module.reduced_flow_time
reduced_flow_turn = _module.reduced_flow_turn
reduced_descent = _module.reduced_descent
kernel_cost = _module.kernel_cost
rounds_to_nearest = _module.rounds_to_nearest
cross_products = _module.cross_products
orthonormal_columns = _module.orthonormal_columns
singular_vectors = _module.singular_vectors
pivoted_factor = _module.pivoted_factor
factored_least_squares = _module.factored_least_squares
elementary = _module.elementary
subspaces = _module.subspaces
symmetric_eigenvectors = _module.symmetric_eigenvectors
build_info = _module.build_info
default_threads = _module.default_threads
fma_peak = _module.fma_peak
status_messages = _module.status_messages

__all__ = [
    "balanced_descent",
    "build_info",
    "cross_products",
    "default_threads",
    "elementary",
    "factor_descent",
    "factored_least_squares",
    "fma_peak",
    "kernel_cost",
    "known",
    "logit_descent",
    "momentum_descent",
    "observe",
    "orthonormal_columns",
    "pivoted_factor",
    "radial_functions",
    "reduced_descent",
    "reduced_flow",
    "reduced_flow_time",
    "reduced_flow_turn",
    "rounds_to_nearest",
    "singular_vectors",
    "status_messages",
    "subspaces",
    "symmetric_eigenvectors",
    "train",
    "train_flow",
]
