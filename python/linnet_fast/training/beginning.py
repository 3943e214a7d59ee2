"""A training that ends where it begins: to learn the form of a result without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method
from linnet_fast.methods.stepping import SteppingMethod
from linnet_fast.networks.chain import Chain
from linnet_fast.records.arrays import empty_records
from linnet_fast.records.record import Record
from linnet_fast.training.begin import begin_state
from linnet_fast.training.clock import clock_of
from linnet_fast.training.compatible import check_training
from linnet_fast.training.observe import observe
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import Trajectory


def beginning(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike],
    *,
    method: Method,
    n_steps: int | None = None,
    until: float | None = None,
    record: Record,
) -> Trajectory:
    """Return the trajectory of runs that end, as converged, before their first step.

    Parameters
    ----------
    network, loss, start, method, n_steps, until, record
        As of `train`.

    Returns
    -------
    Trajectory
        With what is recorded at the start, if anything is; the later records are NaN.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> run = beginning(lf.Dense((1, 1)), lf.SquaredLoss([[1.0]], [[2.0]], 4.0), [[[0.0]]],
    ...                 method=lf.GradientDescent(0.5), n_steps=4, record=lf.Record.every(2))
    >>> run.loss.tolist(), run.steps.tolist()
    ([2.0, nan, nan], [0, 2, 4])
    """
    check_training(network, loss, method, n_steps, until, record, None)
    begin = begin_state(network, loss, start, method, None, evaluate=record.evaluate)
    runs = begin.status.shape
    if method.counts_steps:
        steps = record.steps(0, n_steps or 0)
        axis: npt.NDArray[Any] = steps
        time = _times(cast("SteppingMethod", method), steps, runs)
    else:
        steps = None
        axis = time = record.times(0.0, until or 0.0)
    kept = empty_records(record.rows, network, (*runs, len(axis)), begin.weights[0].dtype)
    if len(axis) and axis[0] == 0:
        seen = observe(
            network,
            loss,
            begin.weights,
            record.observables,
            weight_decay=method.weight_decay,
            layer_decays=method.layer_decays,
            direction=record.direction,
            evaluate=record.evaluate,
            start=begin.weights,
            n_threads=1,
        )
        inside = (slice(None),) * len(runs)
        for name, array in kept.items():
            together = isinstance(array, tuple)
            parts = zip(array, seen[name], strict=True) if together else [(array, seen[name])]
            for target, value in parts:
                target[(*inside, 0)] = value
    final = State(
        tuple(np.ascontiguousarray(w) for w in begin.weights),
        n_steps if method.counts_steps else None,
        np.full(runs, Status.CONVERGED, np.int8),
        np.zeros(runs, np.int64 if method.counts_steps else np.float64),
        None if method.counts_steps else until,
        None if method.rule is None else np.zeros(runs),
        begin.memory,
        clock=clock_of(begin, method),
        memory_of=begin.memory_of,
    )
    n_taken = np.zeros(runs, np.int64)
    return Trajectory(
        network, loss, method, begin, steps, time, kept, final, {}, n_taken, record.evaluate
    )


def _times(
    method: SteppingMethod, steps: npt.NDArray[np.int64], runs: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    if method.rule is None:
        return np.asarray(method.constant_step_size[..., None] * steps)
    return np.where(steps == 0, np.zeros((*runs, 1)), np.nan)
