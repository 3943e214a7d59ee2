"""The whole training again in slow, readable NumPy: what the fast core is tested against.

It shares no code with the compiled core. One statement does all runs at once: leading run axes
broadcast through ``numpy.matmul``, and runs that have ended are masked.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method, SteppingMethod
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.registry import fitting_loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.forms import norm_of
from linnet_fast.records.measures import Measure
from linnet_fast.records.observables import OBSERVABLES, empty_records
from linnet_fast.records.point import Point
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.rows import AnyObservable
from linnet_fast.records.stop import Stop
from linnet_fast.reference.draws import draw
from linnet_fast.reference.observables import end_to_end, gradients, observe
from linnet_fast.training import plain
from linnet_fast.training.begin import begin_state
from linnet_fast.training.compatible import check_training
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import Trajectory

if TYPE_CHECKING:
    from linnet_fast.methods.flow import GradientFlow

__all__ = ["end_to_end", "gradients", "observe", "train"]


def train(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    *,
    method: Method,
    n_steps: int | None = None,
    until: float | None = None,
    record: Record,
    stop: Stop | None = None,
) -> Trajectory:
    """Train as `linnet_fast.train` does, slowly.

    Parameters
    ----------
    network : Chain
        What to train.
    loss : Loss
        On what.
    start : tuple of array_like, shapes (*run, *network.shapes[l]), or State
        Start weights, or the final state of a training to continue. float32 if all arrays are.
    method : Method
        How. A flow is integrated by SciPy's DOP853, one run after the other, in as many steps as it
        takes.
    n_steps : int
        With gradient descent: number of further steps, >= 0.
    until : float
        With gradient flow: time at which to end.
    record : Record
        What to record, and when.
    stop : Stop, optional
        When a run of gradient descent ends before its last step.

    Returns
    -------
    Trajectory

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, run axes do not broadcast, or a number is out of range.

    Notes
    -----
    At each step, from the first to the last: a run with a weight that is not finite has diverged;
    the others are recorded; those that meet the stop rule have converged; the rest move on.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import Dense, GradientDescent, SquaredLoss
    >>> loss = SquaredLoss([[1.0]], [[1.0]], 1.0)
    >>> run = train(Dense((1, 1)), loss, (np.zeros((1, 1)),), method=GradientDescent([0.5, 4.0]),
    ...             n_steps=3, record=Record.every(1), stop=Stop(loss=0.1, check_every=1))
    >>> run.loss.tolist()
    [[0.5, 0.125, 0.03125, nan], [0.5, 4.5, 40.5, 364.5]]
    >>> run.status.tolist(), run.stopped_at.tolist()
    ([1, 0], [2, 3])
    """
    validate.instance("record", record, Record)
    loss = fitting_loss(loss, method)
    direction = check_training(network, loss, method, n_steps, until, record, stop)
    state = begin_state(network, loss, start, method, stop, evaluate=record.evaluate)
    if not method.counts_steps:
        if stop is not None:
            msg = "stop must be None: the reference of gradient flow knows no stop rules"
            raise ValueError(msg)
        return _flow(network, loss, state, cast("GradientFlow", method), until, record, direction)
    stepping = cast("SteppingMethod", method)
    runs, dtype = state.status.shape, state.weights[0].dtype
    first = state.step or 0
    n_steps = validate.integer("n_steps", n_steps, low=0, high=MAX_STEP - first)
    last = first + n_steps
    steps = record.steps(first, last)
    at = {int(step): index for index, step in enumerate(steps)}
    kept = empty_records(record.rows, network, (*runs, len(steps)), dtype)
    decay = np.broadcast_to(method.weight_decay, runs)
    layer_steps = stepping.layer_step_sizes(network.n_arrays).astype(dtype)
    elapsed = np.zeros(runs) if state.elapsed is None else state.elapsed.copy()
    times = np.full((*runs, len(steps)), np.nan)
    inner = [len(shape) for shape in network.shapes]
    weights, status, stopped_at = state.weights, state.status.copy(), state.stopped_at.copy()
    memory = state.memory or ((),) * network.n_arrays
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in range(first, last + 1):
            active = status == Status.COMPLETED
            stopped_at[active] = step
            finite = np.all(
                [np.isfinite(w).all(axis=tuple(range(len(runs), w.ndim))) for w in weights], axis=0
            )
            status[active & ~finite] = Status.DIVERGED
            active &= finite
            if step in at:
                times[active, at[step]] = elapsed[active]
                # Functions need not know what to do with what has diverged.
                there = [
                    np.where(_spread(active, n), w, 0) for w, n in zip(weights, inner, strict=True)
                ]
                seen = Point(
                    network,
                    _doubles(there),
                    loss,
                    decay,
                    direction,
                    record.evaluate,
                    begin=_doubles(state.weights),
                )
                for name, row in record.rows.items():
                    value, array = row.value(seen), kept[name]
                    tuples = isinstance(array, tuple)
                    parts = zip(array, value, strict=True) if tuples else [(array, value)]
                    for target, part in parts:
                        target[active, at[step]] = part[active]
            if stop is not None and step % stop.check_every == 0:
                status[
                    active
                    & _meets(
                        stop,
                        Point(
                            network, _doubles(weights), loss, decay, begin=_doubles(state.weights)
                        ),
                        record.evaluate,
                    )
                ] = Status.CONVERGED
                active &= status == Status.COMPLETED
            if step == last or not active.any():
                continue
            own = loss if method.batches is None else _drawn(loss, method, step, runs)
            here = Point(network, weights, own, decay)
            size = _step_sizes(stepping, loss, here, step)
            if method.rule is not None:
                elapsed = np.where(active, elapsed + size, elapsed)
            rates = np.asarray(size)[..., None].astype(dtype) * layer_steps
            moved = [
                stepping.update(w, move, known, _spread(rates[..., i], n), n)
                for i, (w, move, known, n) in enumerate(
                    zip(weights, here.gradients, memory, inner, strict=True)
                )
            ]
            memory = tuple(
                tuple(
                    np.where(_spread(active, n), new, old)
                    for new, old in zip(m, known, strict=True)
                )
                for (_, m), known, n in zip(moved, memory, inner, strict=True)
            )
            weights = tuple(
                np.where(_spread(active, n), new, w)
                for (new, _), w, n in zip(moved, weights, inner, strict=True)
            )

    has_rule = method.rule is not None
    final = State(
        weights,
        last,
        status,
        stopped_at,
        None,
        elapsed if has_rule else None,
        memory if state.memory else (),
    )
    going = state.status == Status.COMPLETED
    return Trajectory(
        network,
        loss,
        method,
        state,
        steps,
        times if has_rule else stepping.constant_step_size[..., None] * steps,
        kept,
        final,
        _provenance(method, n_steps=n_steps),
        np.where(going, stopped_at - first, 0),
        record.evaluate,
    )


def _doubles(weights: Sequence[WeightArray]) -> tuple[WeightArray, ...]:
    return tuple(np.asarray(w, np.float64) for w in weights)


def _spread(array: npt.NDArray[Any], n_inner: int) -> npt.NDArray[Any]:
    """Return an array of runs that broadcasts against weights."""
    return array.reshape(*array.shape, *(1,) * n_inner)


def _drawn(loss: Loss, method: Method, step: int, runs: Shape) -> Loss:
    """Return the loss of every run on its samples of a step."""
    streams = cast("Batches", method.batches).streams_of(runs)
    drawn = [
        draw(loss.of_run(run, runs), method, step, int(streams[run]), run, runs)
        for run in np.ndindex(runs)
    ]
    together = type(drawn[0]).stacked(drawn, np.arange(len(drawn)))
    values = together.arguments()
    for name in together.inner_axes:
        if values[name] is not None:
            values[name] = values[name].reshape((*runs, *values[name].shape[1:]))
    return type(together)(**values)


def _step_sizes(method: SteppingMethod, whole: Loss, here: Point, step: int) -> FloatArray | float:
    """Return the step sizes of a rule, 1 without; the loss at `here` is that of the step's samples."""
    rule = method.rule
    if rule is None:
        return 1.0
    factors: dict[str, Callable[[], Any]] = {
        "constant": lambda: 1.0,
        "power": lambda: (step + 1.0) ** rule.exponent,
        "geometric": lambda: rule.exponent**step,
        "loss_normalized": lambda: 1 / here.loss.value(here.product),
        "norm_proportional": lambda: norm_of(here.product),
        "gradient_normalized": lambda: (
            1 / norm_of(here.loss.gradient(here.product).astype(here.product.dtype))
        ),
        "alignment": lambda: whole.alignment_step(norm_of(here.product)),
    }
    sizes: FloatArray = rule.scale * factors[rule.kind]()
    return sizes


def _provenance(method: Method, **length: float) -> dict[str, Any]:
    parameters = {name: getattr(method, name) for name in plain.arguments(type(method))}
    return {
        "engine": "linnet_fast.reference",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "parameters": {"method": type(method).__name__, **parameters, **length},
    }


def _flow(
    network: Chain,
    loss: Loss,
    state: State,
    method: GradientFlow,
    until: float | None,
    record: Record,
    direction: FloatArray | None,
) -> Trajectory:
    """Integrate the gradient flow of one run after the other."""
    runs, begin = state.status.shape, state.time or 0.0
    end = validate.real("until", until, at_least=begin)
    times = record.times(begin, end)
    kept = empty_records(record.rows, network, (*runs, len(times)), np.dtype(np.float64))
    rtol = np.broadcast_to(method.rtol, runs)
    atol = np.broadcast_to(method.absolute_tolerance(state.weights, len(runs)), runs)
    decay = np.broadcast_to(method.weight_decay, runs)
    weights = tuple(np.array(w) for w in state.weights)
    status, stopped_at = state.status.copy(), np.array(state.stopped_at)
    n_steps = np.zeros(runs, np.int64)
    ends = np.cumsum([math.prod(shape) for shape in network.shapes])[:-1]

    def layers_of(flat: FloatArray) -> tuple[WeightArray, ...]:
        return tuple(
            part.reshape(shape)
            for part, shape in zip(np.split(flat, ends), network.shapes, strict=True)
        )

    for run in np.ndindex(runs):
        if status[run] != Status.COMPLETED:
            continue
        own = loss.of_run(run, runs)
        evaluated = {name: other.of_run(run, runs) for name, other in record.evaluate.items()}
        which = np.array([np.ravel_multi_index(run, runs) if runs else 0])
        rows = {name: _of_run(row, which, runs) for name, row in record.rows.items()}

        def slope(time: float, flat: FloatArray, own: Loss = own, run: Any = run) -> Any:
            moves = gradients(layers_of(flat), own, decay[run], network)
            speed = math.exp(time) if method.log_time else 1.0
            return -speed * np.concatenate([move.ravel() for move in moves])

        flat = np.concatenate([w[run].ravel() for w in weights])
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(
                slope,
                (begin, end),
                flat,
                method="DOP853",
                t_eval=np.union1d(times, [end]),
                rtol=float(rtol[run]),
                atol=float(atol[run]),
            )
        status[run] = Status.COMPLETED if solution.success else Status.DIVERGED
        stopped_at[run] = end if solution.success else solution.t[-1] if len(solution.t) else begin
        n_steps[run] = solution.nfev // 12
        for index, time in enumerate(times):
            where = np.flatnonzero(solution.t == time)
            if len(where) == 0:
                continue
            at = layers_of(solution.y[:, where[0]])
            there = None
            if direction is not None:
                there = np.broadcast_to(direction, (*runs, direction.shape[-1]))[run]
            start = tuple(w[run] for w in state.weights)
            seen = Point(network, at, own, decay[run], there, evaluated, begin=start)
            for name, row in rows.items():
                value, array = row.value(seen), kept[name]
                tuples = isinstance(array, tuple)
                for target, part in zip(array, value, strict=True) if tuples else [(array, value)]:
                    target[(*run, index)] = part
        if len(solution.t):
            for target, part in zip(weights, layers_of(solution.y[:, -1]), strict=True):
                target[run] = part
    final = State(weights, None, status, stopped_at, end)
    provenance = _provenance(method, begin=begin, until=end)
    return Trajectory(
        network,
        loss,
        method,
        state,
        None,
        times,
        kept,
        final,
        provenance,
        n_steps,
        record.evaluate,
    )


def _meets(stop: Stop, at: Point, evaluate: Mapping[str, Loss]) -> Any:
    """Return which runs are at or below a threshold."""
    met: Any = False
    if stop.loss is not None:
        met = met | (OBSERVABLES["loss"].value(at) <= stop.loss)
    if stop.gradient_norm is not None:
        met = met | (OBSERVABLES["gradient_norm"].value(at) <= stop.gradient_norm)
    for name, threshold in stop.evaluate.items():
        met = met | (evaluate[name].value(at.product) <= threshold)
    for row, limits in stop.measures.values():
        value = row.value(at)
        met = met | (value <= limits["below"] if "below" in limits else False)
        met = met | (value >= limits["above"] if "above" in limits else False)
    return met


def _of_run(row: AnyObservable, which: npt.NDArray[np.intp], runs: Shape) -> AnyObservable:
    """Return an observable as one run sees it."""
    if not isinstance(row, Measure) or not row.run_shape:
        return row
    own = row.of_runs(which, runs)
    return replace(own, given=tuple(array[0] for array in own.given))
