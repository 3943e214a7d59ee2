"""The whole training again in slow, readable NumPy: what the fast core is tested against.

It shares no code with the compiled core. One statement does all runs at once: leading run axes
broadcast through ``numpy.matmul``, and runs that have ended are masked.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.binary import (
    Loss,
    SphericalLogisticLoss,
    checked_loss,
)
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import (
    GradientDescent,
    GradientFlow,
    Method,
    StochasticGradientDescent,
    check_length,
)
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import MAX_STEP, OBSERVABLES, Record, Stop
from linnet_fast.reference.draws import draw
from linnet_fast.reference.observables import (
    Layers,
    end_to_end,
    gradient_by_product,
    gradients,
    norm_of,
    observe,
    spread,
)
from linnet_fast.training.compatible import check_method, check_observables
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import Trajectory

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
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        On what.
    start : tuple of array_like, shapes (*run, *network.shapes[l]), or State
        Start weights, or the final state of a training to continue. float32 if all arrays are.
    method : GradientDescent or GradientFlow
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
    >>> from linnet_fast import Dense
    >>> loss = SquaredLoss([[1.0]], [[1.0]], 1.0)
    >>> run = train(Dense((1, 1)), loss, (np.zeros((1, 1)),), method=GradientDescent([0.5, 4.0]),
    ...             n_steps=3, record=Record.every(1), stop=Stop(loss=0.1, check_every=1))
    >>> run.loss.tolist()
    [[0.5, 0.125, 0.03125, nan], [0.5, 4.5, 40.5, 364.5]]
    >>> run.status.tolist(), run.stopped_at.tolist()
    ([1, 0], [2, 3])
    """
    check_length(method, n_steps, until)
    state = _initial_state(network, loss, start, method, stop)
    validate.instance("record", record, Record)
    if isinstance(method, GradientFlow):
        if stop is not None:
            msg = "stop must be None: the reference of gradient flow knows no stop rules"
            raise ValueError(msg)
        return _flow(network, loss, state, method, until, record)
    runs, dtype = state.status.shape, state.weights[0].dtype
    first = state.step or 0
    n_steps = validate.integer("n_steps", n_steps, low=0, high=MAX_STEP - first)
    last = first + n_steps
    steps = record.steps(first, last)
    at = {int(step): index for index, step in enumerate(steps)}
    kept = _empty_records(network, record, runs, len(steps), dtype)
    decay = np.broadcast_to(method.weight_decay, runs)
    layer_steps = method.layer_step_sizes(network.n_layers).astype(dtype)
    direction = check_observables(network, loss, record)
    elapsed = np.zeros(runs) if state.elapsed is None else state.elapsed.copy()
    times = np.full((*runs, len(steps)), np.nan)
    inner = [len(shape) for shape in network.shapes]
    weights, status, stopped_at = state.weights, state.status.copy(), state.stopped_at.copy()
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
                for name, array in kept.items():
                    value = observe(name, weights, loss, decay, network, direction)
                    parts = (
                        zip(array, value, strict=True) if name == "weights" else [(array, value)]
                    )
                    for target, part in parts:
                        target[active, at[step]] = part[active]
            if stop is not None and step % stop.check_every == 0:
                status[active & _meets(stop, weights, loss, decay, network)] = Status.CONVERGED
                active &= status == Status.COMPLETED
            if step == last or not active.any():
                continue
            own: Loss = loss
            if isinstance(method, StochasticGradientDescent):
                own = _drawn(loss, method, step, runs)
            moves = gradients(weights, own, decay, network)
            size = _step_sizes(method, loss, own, network.product(weights), step)
            if method.rule is not None:
                elapsed = np.where(active, elapsed + size, elapsed)
            rates = np.asarray(size)[..., None].astype(dtype) * layer_steps
            weights = tuple(
                np.where(spread(active, n), w - spread(rates[..., i], n) * move, w)
                for i, (w, move, n) in enumerate(zip(weights, moves, inner, strict=True))
            )

    has_rule = method.rule is not None
    final = State(weights, last, status, stopped_at, None, elapsed if has_rule else None)
    going = state.status == Status.COMPLETED
    return Trajectory(
        network,
        loss,
        method,
        state,
        steps,
        times if has_rule else method.constant_step_size[..., None] * steps,
        kept,
        final,
        _provenance(method, n_steps=n_steps),
        np.where(going, stopped_at - first, 0),
    )


def _drawn(loss: Loss, method: StochasticGradientDescent, step: int, runs: Shape) -> Loss:
    """Return the loss of every run on its samples of a step."""
    streams = method.streams_of(runs)
    batches: Any = [
        draw(_of_run(loss, run, runs), method, step, int(streams[run])) for run in np.ndindex(runs)
    ]
    inputs = np.stack([batch.inputs for batch in batches])
    labels = np.stack([batch.labels for batch in batches])
    drawn: Loss = type(batches[0])(
        inputs.reshape(*runs, *inputs.shape[1:]),
        labels.reshape(*runs, labels.shape[-1]),
        np.stack([batch.label_noise for batch in batches]).reshape(runs),
    )
    return drawn


def _step_sizes(
    method: GradientDescent, whole: Loss, loss: Loss, product: WeightArray, step: int
) -> FloatArray | float:
    """Return the step sizes of a rule; 1 where there is none. `loss` is that of the step's samples."""
    rule = method.rule
    if rule is None:
        return 1.0
    factor: Any = 1.0
    if rule.kind == "power":
        factor = (step + 1.0) ** rule.exponent
    elif rule.kind == "geometric":
        factor = rule.exponent**step
    elif rule.kind == "loss_normalized":
        factor = 1 / loss.value(product)
    elif rule.kind == "norm_proportional":
        factor = norm_of(product)
    elif rule.kind == "gradient_normalized":
        factor = 1 / norm_of(gradient_by_product(loss, product))
    elif rule.kind == "alignment" and isinstance(whole, SphericalLogisticLoss):
        norm = norm_of(product)
        factor = np.where(norm > 0, norm / np.where(norm > 0, whole.law.q(norm), 1.0), 1.0)
    sizes: FloatArray = rule.scale * factor
    return sizes


def _empty_records(
    network: Chain, record: Record, runs: Shape, n_records: int, dtype: np.dtype[Any]
) -> dict[str, Any]:
    kept: dict[str, Any] = dict.fromkeys(record.observables)
    for name in record.observables:
        shape = OBSERVABLES[name](network)
        if name == "weights":
            layers = network.shapes
            kept[name] = tuple(np.full((*runs, n_records, *s), np.nan, dtype) for s in layers)
        else:
            kept[name] = np.full((*runs, n_records, *shape), np.nan)
    return kept


def _provenance(method: Method, **length: float) -> dict[str, Any]:
    parameters = {field.name: getattr(method, field.name) for field in fields(method)}
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
) -> Trajectory:
    """Integrate the gradient flow of one run after the other."""
    runs, begin = state.status.shape, state.time or 0.0
    end = validate.real("until", until, at_least=begin)
    times = record.times(begin, end)
    kept = _empty_records(network, record, runs, len(times), np.dtype(np.float64))
    rtol = np.broadcast_to(method.rtol, runs)
    atol = np.broadcast_to(method.absolute_tolerance(state.weights, len(runs)), runs)
    decay = np.broadcast_to(method.weight_decay, runs)
    direction = check_observables(network, loss, record)
    weights = tuple(np.array(w) for w in state.weights)
    status, stopped_at = state.status.copy(), np.array(state.stopped_at)
    n_steps = np.zeros(runs, np.int64)
    ends = np.cumsum([math.prod(shape) for shape in network.shapes])[:-1]

    def layers_of(flat: FloatArray) -> Layers:
        return tuple(
            part.reshape(shape)
            for part, shape in zip(np.split(flat, ends), network.shapes, strict=True)
        )

    for run in np.ndindex(runs):
        if status[run] != Status.COMPLETED:
            continue
        own = _of_run(loss, run, runs)

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
            for name, array in kept.items():
                there = (
                    None
                    if direction is None
                    else np.broadcast_to(direction, (*runs, direction.shape[-1]))[run]
                )
                value = observe(name, at, own, decay[run], network, there)
                if name == "weights":
                    for target, part in zip(array, value, strict=True):
                        target[(*run, index)] = part
                else:
                    array[(*run, index)] = value
        if len(solution.t):
            for target, part in zip(weights, layers_of(solution.y[:, -1]), strict=True):
                target[run] = part
    final = State(weights, None, status, stopped_at, end)
    provenance = _provenance(method, begin=begin, until=end)
    return Trajectory(network, loss, method, state, None, times, kept, final, provenance, n_steps)


def _of_run(loss: Loss, run: tuple[int, ...], runs: Shape) -> Loss:
    """Return the loss that a single run sees."""

    def own(array: FloatArray, n_inner: int = 0) -> FloatArray:
        inner = array.shape[array.ndim - n_inner :]
        part: FloatArray = np.broadcast_to(array, (*runs, *inner))[run]
        return part

    if isinstance(loss, SquaredLoss):
        return SquaredLoss(own(loss.input_cov, 2), own(loss.cross_cov, 2), own(loss.output_power))
    noise = own(loss.label_noise)
    if isinstance(loss, SphericalLogisticLoss):
        return SphericalLogisticLoss(own(loss.direction, 1), loss.law, noise)
    return type(loss)(own(loss.inputs, 2), own(loss.labels, 1), noise)


def _meets(stop: Stop, weights: Layers, loss: Loss, decay: FloatArray, network: Chain) -> Any:
    """Return which runs are at or below a threshold."""
    met: Any = False
    if stop.loss is not None:
        met = met | (observe("loss", weights, loss, decay, network) <= stop.loss)
    if stop.gradient_norm is not None:
        met = met | (observe("gradient_norm", weights, loss, decay, network) <= stop.gradient_norm)
    return met


def _initial_state(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    method: Method,
    stop: Stop | None,
) -> State:
    """Check the arguments together and return the state to begin from, with all run axes."""
    validate.instance("network", network, Chain)
    checked_loss(loss)
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        got = f"{loss.n_inputs} inputs and {loss.n_outputs} outputs"
        msg = f"loss must match the network's widths {network.widths}, got {got}"
        raise ValueError(msg)
    is_flow = isinstance(method, GradientFlow)
    if isinstance(method, GradientDescent):
        method.check_layers(network.n_layers)
    check_method(network, loss, method)
    shapes = {"loss": loss.run_shape, "method": method.run_shape}
    if stop is not None:
        shapes["stop"] = validate.instance("stop", stop, Stop).run_shape
    if isinstance(start, State):
        start.check_network(network)
        if (start.time is None) == is_flow:
            msg = "start must be weights, or a state of the same method"
            raise ValueError(msg)
        runs = start.status.shape
        for name, shape in shapes.items():
            validate.fits_batch(name, shape, runs)
        return start
    weights = validate.weights("start", start, network.shapes)
    runs = validate.broadcast_runs(
        start=np.broadcast_shapes(
            *(w.shape[: w.ndim - len(s)] for w, s in zip(weights, network.shapes, strict=True))
        ),
        **shapes,
    )
    full = tuple(
        np.broadcast_to(array, (*runs, *shape))
        for array, shape in zip(weights, network.shapes, strict=True)
    )
    status = np.zeros(runs, np.int8)
    if is_flow:
        return State(full, None, status, np.zeros(runs), 0.0)
    return State(full, 0, status, np.zeros(runs, np.int64))
