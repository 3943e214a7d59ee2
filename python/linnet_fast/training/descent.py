"""Trainings that take steps."""

from __future__ import annotations

import numpy as np

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast.methods.step_rule import KINDS
from linnet_fast.methods.stepping import SteppingMethod
from linnet_fast.training.call import CoreCall, Outcome, Report
from linnet_fast.training.clock import clock_of, time_of
from linnet_fast.training.state import State


def descend(call: CoreCall, method: SteppingMethod, n_steps: int, report: Report) -> Outcome:
    """Take steps.

    Parameters
    ----------
    call : CoreCall
        What to train.
    method : SteppingMethod
        How.
    n_steps : int
        How many steps.
    report : callable, optional
        Called with the steps of all runs so far.

    Returns
    -------
    Outcome
    """
    begin, runs, going = call.begin, call.runs, call.going
    first = begin.step or 0
    last = first + n_steps
    arguments = call.arguments()
    steps = call.record.steps(first, last)
    rule, draws, clock = method.rule, method.batches, clock_of(begin, method)
    if rule is not None:
        before = np.broadcast_to(time_of(begin, method), runs)
        arguments["rule"] = (
            KINDS.index(rule.kind),
            validate.over_runs(rule.scale, runs, 0),
            validate.over_runs(rule.core_parameters(), runs, 1),
            validate.over_runs(before, runs, 0),
        )
    if draws is not None:
        arguments["draws"] = draws.core_fields(runs, call.loss.core_draws())
    if method.noise is not None:
        arguments["noise"] = method.noise.core_fields(runs)
    if method.radius is not None:
        arguments["radius"] = validate.over_runs(method.radius, runs, 0)
    step_sizes = method.layer_step_sizes(call.network.n_arrays)
    memory = [
        [validate.over_runs(part, runs, part.ndim - len(runs)) for part in kept]
        for kept in begin.memory
    ]
    result = _core.train(
        **arguments,
        step_size=validate.over_runs(step_sizes, runs, 1),
        check_every=1 if call.stop is None else call.stop.check_every,
        first_step=first,
        n_steps=n_steps,
        update={
            **method.core_fields(runs),
            "decoupled": method.decoupled,
            "feeds_back": method.feeds_back,
            "remembers_from": begin.memory_from,
        },
        memory=memory,
        record_steps=steps.tolist(),
        progress=report,
    )
    elapsed = None
    if clock is not None:
        time = clock.at(steps)
    else:
        time = result["time"]
        elapsed = np.where(going, result["elapsed"], before)
    stopped_at = np.where(going, result["stopped_at"], begin.stopped_at)
    status = np.where(going, result["status"], begin.status)
    kept = result.get("memory", ())
    final = State(
        result["weights"],
        last,
        status,
        stopped_at,
        None,
        elapsed,
        kept,
        clock=clock,
        memory_from=begin.memory_from,
        memory_of=begin.memory_of,
    )
    return Outcome(result, steps, time, final, np.where(going, stopped_at - first, 0))
