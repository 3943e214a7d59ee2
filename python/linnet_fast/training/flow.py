"""Trainings along the gradient flow."""

from __future__ import annotations

import numpy as np

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.training.call import CoreCall, Outcome, Progress, reporter
from linnet_fast.training.state import State


def integrate(
    call: CoreCall, method: GradientFlow, until: float | None, progress: Progress
) -> Outcome:
    """Integrate the flow.

    Parameters
    ----------
    call : CoreCall
        What to train.
    method : GradientFlow
        To which tolerance.
    until : float
        The time at which to end.
    progress : bool or callable
        As of `train`.

    Returns
    -------
    Outcome
    """
    begin, runs, going = call.begin, call.runs, call.going
    first = begin.time or 0.0
    end = validate.real("until", until, at_least=first)
    time = call.record.times(first, end)
    arguments = call.arguments(len(time))
    atol = method.absolute_tolerance(begin.weights, len(runs))
    with reporter(progress, 1000 * int(np.count_nonzero(going))) as report:
        result = _core.train_flow(
            **arguments,
            **method.core_fields(runs),
            atol=validate.over_runs(atol, runs, 0),
            begin=first,
            until=end,
            record_times=time.tolist(),
            progress=report,
        )
    stopped_at = np.where(going, result["stopped_at"], begin.stopped_at)
    status = np.where(going, result["status"], begin.status)
    final = State(result["weights"], None, status, stopped_at, end)
    return Outcome(result, None, time, final, np.where(going, result["n_steps"], 0))
