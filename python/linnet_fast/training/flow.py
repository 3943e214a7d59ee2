"""Trainings along the gradient flow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.training._turned import ANGLES, turned
from linnet_fast.training.call import CoreCall, Outcome, Report
from linnet_fast.training.state import State, Status


def integrate(call: CoreCall, method: GradientFlow, until: float, report: Report) -> Outcome:
    """Integrate the flow.

    Parameters
    ----------
    call : CoreCall
        What to train.
    method : GradientFlow
        To which tolerance.
    until : float
        The time at which to end.
    report : callable, optional
        Called with the thousandths of all runs so far.

    Returns
    -------
    Outcome
    """
    begin, runs, going = call.begin, call.runs, call.going
    first = begin.time or 0.0
    time = call.record.times(first, until)
    fields = method.core_fields(runs)
    if call.direction is not None and any(name in call.record.rows for name in ANGLES):
        if method.method == "stiff":
            msg = "method must be 'explicit' or 'auto' where angles are recorded, got 'stiff'"
            raise ValueError(msg)
        fields["kind"] = 0
    asked, (call, turn) = call, turned(call)
    arguments = call.arguments()
    mirror = None if call.mirror is None else validate.over_runs(call.mirror, runs, 1)
    exhausted = begin.status == Status.EXHAUSTED
    since = np.where(exhausted, begin.stopped_at, first) if exhausted.any() else None
    atol = method.absolute_tolerance(begin.weights, len(runs))
    result = _core.train_flow(
        **arguments,
        **fields,
        atol=validate.over_runs(atol, runs, 0),
        begin=first,
        since=since,
        until=until,
        record_times=time.tolist(),
        mirror=mirror,
        progress=report,
    )
    if turn is not None:
        turn.back(result, asked)
    stopped_at = np.where(going, result["stopped_at"], begin.stopped_at)
    status = np.where(going, result["status"], begin.status)
    final = State(result["weights"], None, status, stopped_at, until)
    _tell_of_unknown_angles(
        result["observables"], going, (time > first) & (time <= stopped_at[..., None])
    )
    return Outcome(result, None, time, final, np.where(going, result["n_steps"], 0))


def _tell_of_unknown_angles(
    known: dict[str, Any], going: npt.NDArray[np.bool_], reached: npt.NDArray[np.bool_]
) -> None:
    """Warn where an angle was too small to be known, and so is NaN."""
    for name in ANGLES:
        if name in known:
            unknown = np.isnan(known[name]) & reached & going[..., None]
            if unknown.any():
                msg = (
                    f"{name} is NaN in {np.count_nonzero(unknown)} of {unknown.size} records: what "
                    "the weights have across the direction is rounding there, or below 1e-280"
                )
                warnings.warn(msg, UserWarning, stacklevel=4)
                return
