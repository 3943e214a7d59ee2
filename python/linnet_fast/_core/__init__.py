"""The compiled core: functions of the module that `levels.choose` picks for this processor."""

from __future__ import annotations

import importlib

from linnet_fast._core import levels

_module = importlib.import_module(f"linnet_fast._core._core_{levels.choose()}")
train = _module.train
train_flow = _module.train_flow
logit_descent = _module.logit_descent
factor_descent = _module.factor_descent
layer_descent = _module.layer_descent
radial_functions = _module.radial_functions
reduced_flow = _module.reduced_flow
reduced_flow_turn = _module.reduced_flow_turn
reduced_descent = _module.reduced_descent
kernel_cost = _module.kernel_cost
build_info = _module.build_info
default_threads = _module.default_threads
fma_peak = _module.fma_peak
status_messages = _module.status_messages


def observe(**arguments: object) -> dict[str, object]:
    """Return what a training would record at the given weights."""
    import numpy as np

    n_arrays = len(arguments["shapes"])  # type: ignore[arg-type]
    runs = arguments["run_shape"]
    found = train(
        **arguments,
        step_size=np.broadcast_to(np.ones(n_arrays), (*runs, n_arrays)),  # type: ignore[misc]
        stop_loss=None,
        stop_gradient_norm=None,
        check_every=1,
        first_step=0,
        n_steps=0,
        ended=None,
        record_steps=[0],
        progress=None,
    )["observables"]
    axis = len(runs)  # type: ignore[arg-type]
    return {name: np.take(array, 0, axis=axis) for name, array in found.items()}


__all__ = [
    "build_info",
    "default_threads",
    "factor_descent",
    "fma_peak",
    "kernel_cost",
    "layer_descent",
    "logit_descent",
    "radial_functions",
    "reduced_descent",
    "reduced_flow",
    "reduced_flow_turn",
    "status_messages",
    "train",
    "train_flow",
]
