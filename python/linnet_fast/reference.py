"""The whole training again in slow, readable NumPy: what the fast core is tested against.

It shares no code with the compiled core. One statement does all runs at once: leading run axes
broadcast through ``numpy.matmul``, and runs that have ended are masked.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from itertools import pairwise
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from linnet_fast import _validate, layers
from linnet_fast._compatible import check_method, check_observables
from linnet_fast._reference_draws import draw
from linnet_fast._validate import FloatArray, Shape, WeightArray
from linnet_fast.architecture import Chain, Dense
from linnet_fast.binary_loss import (
    ExponentialLoss,
    LogisticLoss,
    Loss,
    SphericalLogisticLoss,
    checked_loss,
)
from linnet_fast.loss import SquaredLoss
from linnet_fast.method import (
    GradientDescent,
    GradientFlow,
    Method,
    StochasticGradientDescent,
    check_length,
)
from linnet_fast.record import MAX_STEP, OBSERVABLES, OF_DIRECTION, Record, Stop
from linnet_fast.state import State, Status
from linnet_fast.trajectory import Trajectory

Layers: TypeAlias = tuple[WeightArray, ...]


def end_to_end(weights: Sequence[WeightArray]) -> WeightArray:
    """Return the end-to-end matrix W_L ... W_1.

    Parameters
    ----------
    weights : sequence of ndarray, shapes (*run, widths[l + 1], widths[l])
        The layers, first to last.

    Returns
    -------
    ndarray, shape (*run, out, in)

    Examples
    --------
    >>> import numpy as np
    >>> end_to_end([np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """
    return reduce(lambda product, layer: layer @ product, weights)


def gradients(
    weights: Sequence[WeightArray],
    loss: Loss,
    weight_decay: npt.ArrayLike = 0.0,
    network: Chain | None = None,
) -> Layers:
    """Return the gradient of loss + weight_decay/2 times the sum of squares of the weights.

    Parameters
    ----------
    weights : sequence of ndarray, shapes (*run, *network.shapes[l])
        First to last; their dtype is that of the arithmetic.
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        The loss of the end-to-end matrix P; of the squared one dloss/dP = P input_cov - cross_cov.
    weight_decay : array_like, shape (*run), default 0
        Coefficient of the weight decay.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.

    Returns
    -------
    tuple of ndarray
        By the matrix of a layer, (M_L ... M_{l+1})^T dloss/dP (M_{l-1} ... M_1)^T; gathered by
        weight; plus weight_decay times the weights.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss([[1.0]], [[5.0]], 25.0)
    >>> [g.tolist() for g in gradients([np.array([[2.0]]), np.array([[3.0]])], loss)]
    [[[3.0]], [[2.0]]]
    """
    dtype = weights[0].dtype
    network = network or _dense_like(weights)
    matrices = network.matrices(weights)
    by_product = _by_product(loss, end_to_end(matrices))
    result = [
        _spread(np.asarray(weight_decay, dtype), len(shape)) * own
        for own, shape in zip(weights, network.shapes, strict=True)
    ]
    for place, (layer, number) in enumerate(zip(network.layers, network.share, strict=True)):
        if number is None:
            continue
        gradient = by_product
        if place < len(matrices) - 1:
            gradient = end_to_end(matrices[place + 1 :]).mT @ gradient
        if place > 0:
            gradient = gradient @ end_to_end(matrices[:place]).mT
        if not isinstance(layer, layers.Dense):
            flat = layer.pattern.pull_back(gradient)
            gradient = flat.reshape(*flat.shape[:-1], *network.shapes[number])
        result[number] = result[number] + gradient
    return tuple(result)


def _by_product(loss: Loss, product: WeightArray) -> WeightArray:
    dtype = product.dtype
    if not isinstance(loss, SquaredLoss):
        return loss.gradient(product).astype(dtype)
    return product @ loss.input_cov.astype(dtype) - loss.cross_cov.astype(dtype)


def _dense_like(weights: Sequence[WeightArray]) -> Chain:
    return Dense([weights[0].shape[-1], *(w.shape[-2] for w in weights)])


def _norm(array: WeightArray, n_inner: int = 2) -> FloatArray:
    norm: FloatArray = np.sqrt(np.sum(np.square(array), axis=tuple(range(-n_inner, 0))))
    return norm


def _loss(weights: Layers, loss: Loss, _weight_decay: npt.ArrayLike, network: Chain) -> FloatArray:
    return loss.value(network.product(weights))


def _product(weights: Layers, _loss: object, _decay: object, network: Chain) -> WeightArray:
    return network.product(weights)


def _singular_values(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    product = network.product(weights)
    finite = np.asarray(np.isfinite(product).all(axis=(-2, -1), keepdims=True))
    values = np.linalg.svd(np.where(finite, product, 0.0), compute_uv=False)
    return np.where(finite[..., 0], values, np.nan)


def _layer_norms(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    inner = map(len, network.shapes)
    return np.stack([_norm(layer, n) for layer, n in zip(weights, inner, strict=True)], axis=-1)


def _imbalance(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    if not isinstance(network, Dense):
        return np.abs(np.diff(np.square(_layer_norms(weights, None, None, network))))
    runs = weights[0].shape[:-2]
    norms = np.empty((*runs, len(weights) - 1))
    for i, (before, after) in enumerate(pairwise(weights)):
        norms[..., i] = _norm(after.mT @ after - before @ before.mT)
    return norms


def _gradient_norm(
    weights: Layers, loss: Loss, weight_decay: npt.ArrayLike, network: Chain
) -> FloatArray:
    moves = gradients(weights, loss, weight_decay, network)
    squares = [
        np.square(_norm(g, len(shape))) for g, shape in zip(moves, network.shapes, strict=True)
    ]
    norm: FloatArray = np.sqrt(np.sum(squares, axis=0))
    return norm


def _product_norm(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    return _norm(network.product(weights))


def _direction(
    weights: Layers, loss: Loss, network: Chain, direction: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return the parts of the end-to-end vector along and across a direction, the latter >= 0."""
    if direction is None and isinstance(loss, SphericalLogisticLoss):
        direction = loss.direction
    w = network.product(weights)[..., 0, :]
    along = np.sum(w * direction, axis=-1)
    across = np.linalg.norm(w - along[..., None] * direction, axis=-1)
    return along, across


def _angle(along: FloatArray, across: FloatArray) -> FloatArray:
    angle: FloatArray = np.arctan2(across, along)
    return np.where((along == 0) & (across == 0), np.nan, angle)


def _log_tan_half_angle(along: FloatArray, across: FloatArray) -> FloatArray:
    length = np.hypot(along, across)
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.log(across) - np.log(length + along)
        behind = np.log(length - along) - np.log(across)
    return np.where(along >= 0, ahead, behind)


def _margin(weights: Layers, loss: Loss, _decay: object, network: Chain) -> FloatArray:
    if not isinstance(loss, LogisticLoss | ExponentialLoss):
        msg = f"loss must have samples, got a {type(loss).__name__}"
        raise TypeError(msg)
    product = network.product(weights)
    with np.errstate(invalid="ignore"):
        margin: FloatArray = loss.margins(product).min(axis=-1) / _norm(product)
    return margin


def _singular_vectors(weights: Layers) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Return the first left singular vector, the singular values and the first right one, by layer."""
    triples = []
    for layer in weights:
        finite = np.isfinite(layer).all(axis=(-2, -1), keepdims=True)
        u, s, vt = np.linalg.svd(np.where(finite, layer, np.nan_to_num(layer)), full_matrices=False)
        s = np.where(finite[..., 0] & (s[..., :1] > 0), s, np.nan)
        triples.append((u[..., 0], s, vt[..., 0, :]))
    return triples


def _layer_singular_ratio(
    weights: Layers, _loss: object, _decay: object, _network: Chain
) -> FloatArray:
    ratios = [
        s[..., 1] / s[..., 0] if s.shape[-1] > 1 else 0 * s[..., 0]
        for _, s, _ in _singular_vectors(weights)
    ]
    return np.stack(ratios, axis=-1)


def _layer_alignment(weights: Layers, _loss: object, _decay: object, _network: Chain) -> FloatArray:
    runs = weights[0].shape[:-2]
    cosines = np.empty((*runs, len(weights) - 1))
    for i, (below, above) in enumerate(pairwise(_singular_vectors(weights))):
        known = 0 * (below[1][..., 0] + above[1][..., 0])  # NaN where there is no first vector
        cosines[..., i] = np.abs(np.sum(below[0] * above[2], axis=-1)) + known
    return cosines


_OBSERVERS: Mapping[str, Callable[[Layers, Loss, npt.ArrayLike, Chain], Any]] = MappingProxyType(
    {
        "loss": _loss,
        "singular_values": _singular_values,
        "product": _product,
        "weights": lambda weights, *_unused: weights,
        "layer_norms": _layer_norms,
        "imbalance": _imbalance,
        "gradient_norm": _gradient_norm,
        "norm": _product_norm,
        "margin": _margin,
        "layer_singular_ratio": _layer_singular_ratio,
        "layer_alignment": _layer_alignment,
    }
)


def observe(
    name: str,
    weights: Sequence[WeightArray],
    loss: Loss,
    weight_decay: npt.ArrayLike = 0.0,
    network: Chain | None = None,
    direction: FloatArray | None = None,
) -> Any:
    """Return an observable of the weights, computed in float64.

    Parameters
    ----------
    name : str
        A name out of `linnet_fast.record.OBSERVABLES`.
    weights : sequence of ndarray, shapes (*run, *network.shapes[l])
        First to last.
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        Used by ``loss``, ``gradient_norm`` and ``margin``.
    weight_decay : array_like, shape (*run), default 0
        Used by ``gradient_norm``.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.
    direction : ndarray, shape (*run, in), optional
        Of norm 1: what angles are measured to, if not to the direction of the loss.

    Returns
    -------
    ndarray of float64, shape (*run, ...), or a tuple of them for ``weights``

    Raises
    ------
    ValueError
        If `name` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss([[1.0]], [[5.0]], 25.0)
    >>> observe("layer_norms", [np.array([[2.0]]), np.array([[3.0]])], loss).tolist()
    [2.0, 3.0]
    """
    _validate.choice("name", name, OBSERVABLES)
    own = tuple(np.asarray(layer, np.float64) for layer in weights)
    network = network or _dense_like(own)
    if name in OF_DIRECTION:
        parts = _direction(own, loss, network, direction)
        return _angle(*parts) if name == "angle" else _log_tan_half_angle(*parts)
    return _OBSERVERS[name](own, loss, weight_decay, network)


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
    _validate.instance("record", record, Record)
    if isinstance(method, GradientFlow):
        if stop is not None:
            msg = "stop must be None: the reference of gradient flow knows no stop rules"
            raise ValueError(msg)
        return _flow(network, loss, state, method, until, record)
    runs, dtype = state.status.shape, state.weights[0].dtype
    first = state.step or 0
    n_steps = _validate.integer("n_steps", n_steps, low=0, high=MAX_STEP - first)
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
    with np.errstate(over="ignore", invalid="ignore"):
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
            size = _step_sizes(method, own, network.product(weights), step)
            if method.rule is not None:
                elapsed = np.where(active, elapsed + size, elapsed)
            rates = np.asarray(size)[..., None].astype(dtype) * layer_steps
            weights = tuple(
                np.where(_spread(active, n), w - _spread(rates[..., i], n) * move, w)
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
        draw(_of_run(loss, run, runs), method, step, (int(streams[run]),))
        for run in np.ndindex(runs)
    ]
    inputs = np.stack([batch.inputs for batch in batches])
    labels = np.stack([batch.labels for batch in batches])
    return type(
        batches[0]
    )(  # type: ignore[no-any-return]
        inputs.reshape(*runs, *inputs.shape[1:]),
        labels.reshape(*runs, labels.shape[-1]),
        np.stack([batch.label_noise for batch in batches]).reshape(runs),
    )


def _step_sizes(
    method: GradientDescent, loss: Loss, product: WeightArray, step: int
) -> FloatArray | float:
    """Return the step sizes of a rule; 1 where there is none."""
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
        factor = _norm(product)
    elif rule.kind == "gradient_normalized":
        factor = 1 / _norm(_by_product(loss, product))
    elif rule.kind == "alignment" and isinstance(loss, SphericalLogisticLoss):
        norm = _norm(product)
        factor = np.where(norm > 0, norm / np.where(norm > 0, loss.law.q(norm), 1.0), 1.0)
    sizes: FloatArray = rule.scale * factor
    return sizes


def _spread(array: npt.NDArray[Any], n_inner: int) -> npt.NDArray[Any]:
    """Return an array of runs that broadcasts against weights."""
    return array.reshape(*array.shape, *(1,) * n_inner)


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
    end = _validate.real("until", until, at_least=begin)
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
        return np.broadcast_to(array, (*runs, *inner))[run]

    if isinstance(loss, SquaredLoss):
        return SquaredLoss(own(loss.input_cov, 2), own(loss.cross_cov, 2), own(loss.output_power))
    noise = own(loss.label_noise)
    if isinstance(loss, SphericalLogisticLoss):
        return SphericalLogisticLoss(own(loss.direction, 1), loss.law, noise)
    return type(loss)(own(loss.inputs, 2), own(loss.labels, 1), noise)


def _meets(
    stop: Stop, weights: Layers, loss: SquaredLoss, decay: FloatArray, network: Chain
) -> Any:
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
    _validate.instance("network", network, Chain)
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
        shapes["stop"] = _validate.instance("stop", stop, Stop).run_shape
    if isinstance(start, State):
        start.check_network(network)
        if (start.time is None) == is_flow:
            msg = "start must be weights, or a state of the same method"
            raise ValueError(msg)
        runs = start.status.shape
        for name, shape in shapes.items():
            _validate.fits_batch(name, shape, runs)
        return start
    weights = _validate.weights("start", start, network.shapes)
    runs = _validate.broadcast_runs(
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
