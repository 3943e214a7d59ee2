"""Trainings of several phases: one training after another, joined to one trajectory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import checked_loss
from linnet_fast.methods.base import Method
from linnet_fast.methods.registry import fitting_loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.stop import Stop
from linnet_fast.training import plain
from linnet_fast.training.begin import begin_state, first_memory
from linnet_fast.training.compatible import check_training
from linnet_fast.training.phase import Phase
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import Observable, Trajectory

Check: TypeAlias = Callable[[Chain, State, Method, Record, int], None]


@dataclass(frozen=True)
class Planned:
    """A phase with all that it does not say itself."""

    method: Method
    loss: Loss
    stop: Stop | None
    n_steps: int | None
    until: float | None
    reset: bool
    wakes: bool

    def as_phase(self) -> Phase:
        """Return the phase that says all."""
        return Phase(self.method, self.n_steps, self.until, self.loss, None, self.stop, self.reset)


def planned(
    network: Chain,
    loss: Loss,
    phases: Iterable[Phase],
    *,
    method: Method | None,
    record: Record | None,
    stop: Stop | None,
) -> tuple[Planned, ...]:
    """Return phases with what they do not say themselves; raise unless all goes together.

    Parameters
    ----------
    network, loss, method, record, stop
        Of the training.
    phases : iterable of Phase
        At least one.
    """
    given = validate.sequence("phases", phases, of="phases")
    if not given:
        msg = "phases must be at least one, got none"
        raise ValueError(msg)
    plan = []
    for i, phase in enumerate(given):
        validate.instance(f"phases[{i}]", phase, Phase)
        own = method if phase.method is None else phase.method
        if own is None:
            msg = f"phases[{i}] must have a method, or the training one for all"
            raise ValueError(msg)
        if phase.batches is not None:
            own = plain.replaced(f"phases[{i}].method", own, ["batches"], phase.batches)
        plan.append(
            Planned(
                own,
                checked_loss(fitting_loss(loss if phase.loss is None else phase.loss, own)),
                stop if phase.stop is None else phase.stop,
                phase.n_steps,
                phase.until,
                phase.reset,
                phase.wakes,
            )
        )
    for i, part in enumerate(plan):
        try:
            check_training(
                network, part.loss, part.method, part.n_steps, part.until, record, part.stop
            )
        except (TypeError, ValueError) as error:
            msg = f"phases[{i}] must be a training: {error}"
            raise type(error)(msg) from error
    kinds = {(part.method.counts_steps, part.method.log_time) for part in plan}
    if len(kinds) > 1:
        expected = "all take steps, or all be flows in the same kind of time"
        msg = f"phases must {expected}, got {', '.join(repr(part.method) for part in plan)}"
        raise ValueError(msg)
    before = 0.0
    for i, part in enumerate(plan):
        if part.until is not None:
            before = validate.real(f"phases[{i}].until", part.until, at_least=before)
    return tuple(plan)


def in_phases(
    train: Callable[..., Trajectory],
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    phases: Iterable[Phase],
    *,
    method: Method | None,
    record: Record,
    stop: Stop | None,
    dtype: npt.DTypeLike | None = None,
    check: Check = lambda *_: None,
) -> Trajectory:
    """Train phase by phase.

    Parameters
    ----------
    train : callable
        Trains one, as `linnet_fast.train` does.
    network, loss, start, phases, method, record, stop, dtype
        As of `linnet_fast.train`.
    check : callable
        Called with the network, the state at the start, the method, the record and how many records
        there will be at once, parts and whole: raises if they do not fit into memory.
    """
    plan = planned(network, loss, phases, method=method, record=record, stop=stop)
    begin = _begin(network, start, plan, record, dtype)
    ends = _ends(begin, plan)
    axis: npt.NDArray[Any]
    if begin.step is not None:
        n_records = record.n_records(begin.step, ends[-1])
        check(network, begin, plan[0].method, record, 2 * n_records)
        axis = record.steps(begin.step, ends[-1])
    else:
        axis = record.times(begin.time or 0.0, ends[-1])
        check(network, begin, plan[0].method, record, 2 * len(axis))
    state, done, parts = begin, 0, []
    for i, (part, end) in enumerate(zip(plan, ends, strict=True)):
        if i > 0 or isinstance(start, State):
            state = _entered(state, part)
        # What is recorded where a phase ends is of that phase.
        last = len(axis) if i == len(plan) - 1 else int(np.searchsorted(axis, end, side="right"))
        own, done = axis[done:last], last
        run = train(
            network,
            part.loss,
            state,
            method=part.method,
            n_steps=part.n_steps,
            until=part.until,
            record=_at(record, own if len(own) else np.array([end])),
            stop=part.stop,
        )
        parts.append(_Part(run, len(own)))
        state = run.final
    return _joined(begin, plan, axis, parts)


@dataclass(frozen=True)
class _Part:
    run: Trajectory
    n_records: int
    """How many of its records are asked for."""


def _begin(
    network: Chain,
    start: Sequence[npt.ArrayLike] | State,
    plan: Sequence[Planned],
    record: Record,
    dtype: npt.DTypeLike | None,
) -> State:
    first = plan[0]
    shapes: dict[str, Shape] = {}
    for i, part in enumerate(plan):
        shapes[f"phases[{i}].method"] = part.method.run_shape
        shapes[f"phases[{i}].loss"] = part.loss.run_shape
        if part.stop is not None:
            shapes[f"phases[{i}].stop"] = part.stop.run_shape
    if isinstance(start, State) and first.reset:
        start.check_network(network)
        start = _with_first_memory(start, first.method)
    return begin_state(
        network, first.loss, start, first.method, first.stop, dtype, record.evaluate, shapes
    )


def _ends(begin: State, plan: Sequence[Planned]) -> list[Any]:
    """Return the steps, or times, at which phases end."""
    if begin.step is None:
        return [
            validate.real(f"phases[{i}].until", part.until, at_least=begin.time or 0.0)
            for i, part in enumerate(plan)
        ]
    ends = np.cumsum([begin.step, *(part.n_steps or 0 for part in plan)], dtype=object)[1:]
    validate.integer("n_steps of phases", ends[-1] - begin.step, low=0, high=MAX_STEP - begin.step)
    return [int(end) for end in ends]


def _entered(state: State, part: Planned) -> State:
    """Return the state that a phase begins with."""
    if part.wakes:
        status = np.where(state.status == Status.CONVERGED, np.int8(0), state.status)
        state = replace(state, status=status.astype(np.int8))
    had = len(state.memory[0]) if state.memory else 0
    is_same = state.memory_of in (None, part.method.remembers) and part.method.n_memories == had
    return state if is_same and not part.reset else _with_first_memory(state, part.method)


def _with_first_memory(state: State, method: Method) -> State:
    if not (method.n_memories or state.memory):
        return state
    memory = first_memory(state.weights, method)
    return replace(state, memory=memory, memory_from=state.step or 0, memory_of=None, inside=())


def _at(record: Record, axis: npt.NDArray[Any]) -> Record:
    """Return a record with the schedule of one phase."""
    schedule = "at" if axis.dtype.kind == "i" else "at_times"
    return replace(record, schedule=schedule, numbers=tuple(axis.tolist()))


def _joined(
    begin: State, plan: Sequence[Planned], axis: npt.NDArray[Any], parts: Sequence[_Part]
) -> Trajectory:
    last = parts[-1].run
    runs = last.run_shape
    inside = (slice(None),) * len(runs)

    def whole(arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        pieces = zip(arrays, parts, strict=True)
        return np.concatenate(
            [array[(*inside, slice(part.n_records))] for array, part in pieces], axis=len(runs)
        )

    observables: dict[str, Observable] = {}
    for name, value in last.observables.items():
        every = [part.run.observables[name] for part in parts]
        if isinstance(value, tuple):
            observables[name] = tuple(map(whole, zip(*every, strict=True)))
        else:
            observables[name] = whole(np.asarray(array) for array in every)
    counts_steps = last.steps is not None
    provenance = dict(last.provenance)
    named = [repr(part.as_phase()) for part in plan]
    provenance["parameters"] = {**_parameters(provenance), "phases": named}
    texts = [part.run.reduction for part in parts if part.run.reduction]
    if texts:
        provenance["reduction"] = "; ".join(dict.fromkeys(texts))
    return Trajectory(
        last.network,
        last.loss_function,
        last.method,
        begin,
        axis.astype(np.int64) if counts_steps else None,
        whole(_times(part.run) for part in parts) if counts_steps else axis,
        observables,
        last.final,
        provenance,
        np.asarray(sum(part.run.n_steps for part in parts), np.int64),
        last.evaluated,
        tuple(part.as_phase() for part in plan),
    )


def _parameters(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = provenance.get("parameters", {})
    return found


def _times(run: Trajectory) -> FloatArray:
    """Return the times of the records of each run; they stand still where it has ended."""
    time = np.broadcast_to(run.time, (*run.run_shape, run.time.shape[-1]))
    if run.final.elapsed is None:
        return time
    return np.where(np.isnan(time), run.final.elapsed[..., None], time)
