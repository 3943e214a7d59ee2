"""The whole training again in slow, readable NumPy: what the fast core is tested against.

It shares no code with the compiled core. One statement does all runs at once: leading run axes
broadcast through ``numpy.matmul``, and runs that have ended are masked.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast._base.value import made_with
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Memory, Method
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.registry import checked_method, fitting_loss
from linnet_fast.methods.stepping import AtStep, SteppingMethod
from linnet_fast.networks.chain import Chain
from linnet_fast.records.arrays import empty_records
from linnet_fast.records.forms import norm_of
from linnet_fast.records.measures import Measure
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.records.point import Point
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.rows import AnyObservable
from linnet_fast.records.stop import Stop
from linnet_fast.reference.draws import draw, noise_on
from linnet_fast.reference.observables import end_to_end, gradients, observe
from linnet_fast.training.begin import begin_state
from linnet_fast.training.clock import clock_of, time_of
from linnet_fast.training.compatible import check_training
from linnet_fast.training.phase import Phase
from linnet_fast.training.phases import in_phases
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
    method: Method | None = None,
    n_steps: int | None = None,
    until: float | None = None,
    phases: Iterable[Phase] | None = None,
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
        How. A flow is integrated by SciPy's DOP853 (by its Radau, if it may be stiff), one run after
        the other, in as many steps as it takes.
    n_steps : int
        With gradient descent: number of further steps, >= 0.
    until : float
        With gradient flow: time at which to end.
    phases : sequence of Phase, optional
        In place of these: trainings one after the other.
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
    if phases is not None:
        for name, value in (("n_steps", n_steps), ("until", until)):
            if value is not None:
                msg = f"{name} must be None with phases, which have their own, got {value!r}"
                raise ValueError(msg)
        return in_phases(
            train, network, loss, start, phases, method=method, record=record, stop=stop
        )
    method = checked_method(method, n_steps, until)
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
    decay = np.broadcast_to(method.array_decays(network.n_arrays), (*runs, network.n_arrays))
    layer_steps = stepping.layer_step_sizes(network.n_arrays).astype(dtype)
    clock = clock_of(state, method)
    elapsed = np.array(np.broadcast_to(time_of(state, method), runs))
    times = np.full((*runs, len(steps)), np.nan)
    inner = [len(shape) for shape in network.shapes]
    weights, status, stopped_at = state.weights, state.status.copy(), state.stopped_at.copy()
    memory = state.memory or ((),) * network.n_arrays

    def divisors(step: int) -> tuple[WeightArray, ...] | None:
        """Return what the method has divided gradients by."""
        if not method.divides:
            return None
        number = step - state.memory_from
        at_step = (AtStep(_spread(np.ones(runs), n), number, n) for n in inner)
        known = zip(_doubles(weights), map(_doubles, memory), at_step, strict=True)
        return tuple(stepping.divisors(*one) for one in known)

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
                    divisors=divisors(step),
                    decoupled=method.decoupled,
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
                            network,
                            _doubles(weights),
                            loss,
                            decay,
                            begin=_doubles(state.weights),
                            divisors=divisors(step),
                            decoupled=method.decoupled,
                        ),
                        record.evaluate,
                    )
                ] = Status.CONVERGED
                active &= status == Status.COMPLETED
            if step == last or not active.any():
                continue
            own = loss if method.batches is None else _drawn(loss, method, step, runs)
            here = Point(network, weights, own, 0.0 if method.decoupled else decay)
            slopes = _slopes(here, method, memory)
            size = _step_sizes(stepping, loss, here, step)
            if method.rule is not None:
                elapsed = np.where(active, elapsed + size, elapsed)
            rates = np.asarray(size)[..., None].astype(dtype) * layer_steps
            moved = []
            for i, (w, gradient, known, n) in enumerate(
                zip(weights, slopes, memory, inner, strict=True)
            ):
                rate = rates[..., i]
                at_step = AtStep(_spread(rate, n), step - state.memory_from + 1, n)
                shrunk = w
                if method.decoupled:
                    shrunk = w * _spread(1 - rate * decay[..., i].astype(dtype), n)
                new, kept_now = stepping.update(shrunk, gradient, known, at_step)
                if method.noise is not None:
                    new = new + noise_on(method.noise, network, i, step, rate, runs)
                moved.append((new, kept_now))
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

    final = State(
        weights,
        last,
        status,
        stopped_at,
        None,
        elapsed if clock is None else None,
        memory if state.memory else (),
        clock=clock,
        memory_from=state.memory_from,
        memory_of=state.memory_of,
    )
    going = state.going
    return Trajectory(
        network,
        loss,
        method,
        state,
        steps,
        times if clock is None else clock.at(steps),
        kept,
        final,
        _provenance(method, n_steps=n_steps),
        np.where(going, stopped_at - first, 0),
        record.evaluate,
    )


def _slopes(here: Point, method: Method, memory: Sequence[Memory]) -> tuple[WeightArray, ...]:
    """Return what a method gets as gradients."""
    if method.feeds_back:
        return _fed_back(here, [kept[-1] for kept in memory])
    if method.radius is not None:
        return _from_higher_up(here, method.radius)
    return here.gradients


def _fed_back(here: Point, matrices: Sequence[WeightArray]) -> tuple[WeightArray, ...]:
    """Return the gradients of a dense chain if errors passed back through these matrices."""
    bare = replace(here, weight_decay=0.0).gradients
    before = [np.eye(here.network.n_inputs, dtype=bare[0].dtype)]
    for w in here.weights[:-1]:
        before.append(w @ before[-1])
    back = here.loss.gradient(here.product).astype(bare[0].dtype)
    fed = []
    for matrix, inputs in zip(reversed(matrices), reversed(before), strict=True):
        fed.append(back @ inputs.mT)
        back = matrix.mT @ back
    return tuple(
        new + (old - own) for new, old, own in zip(reversed(fed), here.gradients, bare, strict=True)
    )


def _from_higher_up(here: Point, radius: FloatArray) -> tuple[WeightArray, ...]:
    """Return gradients at weights moved that far up the gradient of the loss; decays are those here."""
    bare = replace(here, weight_decay=0.0)
    inner = [len(shape) for shape in here.network.shapes]
    size = np.sqrt(
        sum(
            np.square(g).sum(axis=tuple(range(g.ndim - n, g.ndim)))
            for g, n in zip(bare.gradients, inner, strict=True)
        )
    )
    factor = np.where(size > 0, radius / np.where(size > 0, size, 1), 0).astype(size.dtype)
    climbed = tuple(
        w + _spread(np.broadcast_to(factor, size.shape), n) * g
        for w, g, n in zip(here.weights, bare.gradients, inner, strict=True)
    )
    there = replace(bare, weights=climbed)
    return tuple(
        new + (old - own)
        for new, old, own in zip(there.gradients, here.gradients, bare.gradients, strict=True)
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
        "loss_normalized": lambda: 1 / here.loss.value(here.product),
        "norm_proportional": lambda: norm_of(here.product),
        "gradient_normalized": lambda: (
            1 / norm_of(here.loss.gradient(here.product).astype(here.product.dtype))
        ),
        "alignment": lambda: whole.alignment_step(norm_of(here.product)),
    }
    looked_at = factors[rule.kind]() if rule.kind in factors else 1.0
    return np.asarray(rule.scheduled(step) * looked_at)


def _provenance(method: Method, **length: float) -> dict[str, Any]:
    parameters = made_with(method)
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
    decay = np.broadcast_to(method.array_decays(network.n_arrays), (*runs, network.n_arrays))
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
        if not state.going[run]:
            continue
        since = float(stopped_at[run]) if status[run] == Status.EXHAUSTED else begin
        own = loss.of_run(run, runs)
        evaluated = {name: other.of_run(run, runs) for name, other in record.evaluate.items()}
        which = np.array([np.ravel_multi_index(run, runs) if runs else 0])
        rows = {name: _of_run(row, which, runs) for name, row in record.rows.items()}

        def slope(time: float, flat: FloatArray, own: Loss = own, run: Any = run) -> Any:
            moves = gradients(layers_of(flat), own, decay[run][0], network)
            speed = math.exp(time) if method.log_time else 1.0
            return -speed * np.concatenate([move.ravel() for move in moves])

        flat = np.concatenate([w[run].ravel() for w in weights])
        with np.errstate(over="ignore", invalid="ignore"):
            solution = scipy.integrate.solve_ivp(
                slope,
                (since, end),
                flat,
                method="DOP853" if method.method == "explicit" else "Radau",
                t_eval=np.union1d(times, [end]),
                rtol=float(rtol[run]),
                atol=float(atol[run]),
            )
        status[run] = Status.COMPLETED if solution.success else Status.DIVERGED
        stopped_at[run] = end if solution.success else solution.t[-1] if len(solution.t) else since
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
