"""What a training would record at given weights, without training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import machine, memory, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.arrays import record_bytes
from linnet_fast.records.observables import (
    NO_LOSSES,
    OBSERVABLES,
    Asked,
    checked,
    checked_losses,
    direction_of,
    rows,
)
from linnet_fast.records.point import Point
from linnet_fast.training.call import (
    core_evaluate,
    core_measures,
    core_names,
    core_problem,
    of_core,
)
from linnet_fast.training.compatible import check_core, check_evaluated, check_problem


def observe(
    network: Chain,
    loss: Loss,
    weights: Sequence[npt.ArrayLike],
    observables: Iterable[Asked],
    *,
    weight_decay: npt.ArrayLike = 0.0,
    layer_decays: npt.ArrayLike | None = None,
    direction: npt.ArrayLike | None = None,
    evaluate: Mapping[str, Loss] = NO_LOSSES,
    start: Sequence[npt.ArrayLike] | None = None,
    n_threads: int | None = None,
) -> dict[str, Any]:
    """Return what a training would record at these weights, of as many runs as there are.

    To the last bit, of a training that is not reduced; see `train`.

    Parameters
    ----------
    network : Chain
        The architecture.
    loss : Loss
        The loss; its run axes broadcast against those of the weights.
    weights : sequence of array_like, shapes (*run, *network.shapes[l])
        Finite, float64 or float32.
    observables : iterable of str, Observable or Measure
        What to look at, as in `Record`.
    weight_decay : array_like, shape (*run), default 0
        Coefficient, for ``gradient_norm``.
    direction : array_like, shape (in,), optional
        What angles are measured to, if not to the direction of the loss.
    evaluate : mapping of str to Loss, optional
        Losses to evaluate besides, see `Record`.
    start : sequence of array_like, shapes (*run, *network.shapes[l]), optional
        What ``weight_distance`` and ``kernel_distance`` are measured from.
    n_threads : int, optional
        As of `train`.

    Returns
    -------
    dict of str to ndarray, shape (*run, ...)
        By name; ``weights`` are a tuple.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or value, an observable does not exist here, or what
        is asked for does not fit into memory.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> seen = lf.observe(lf.Dense((1, 1)), loss, [[[[0.0]], [[3.0]]]], ("loss", "norm"))
    >>> seen["loss"].tolist(), seen["norm"].tolist()
    ([2.0, 0.5], [0.0, 3.0])
    """
    check_problem(network, loss)
    others = checked_losses(evaluate)
    check_evaluated(network, others)
    found = rows(checked(observables, others), others)
    to = direction_of(network, loss, found, direction, others)
    decay = validate.real_array("weight_decay", weight_decay, at_least=0)
    decays = decay[..., None].repeat(network.n_arrays, axis=-1)
    if layer_decays is not None:
        factors = validate.real_array("layer_decays", layer_decays, at_least=0)
        if factors.ndim == 0 or factors.shape[-1] != network.n_arrays:
            wanted = f"(*run, {network.n_arrays}), one per layer"
            msg = f"layer_decays must have shape {wanted}, got {factors.shape}"
            raise ValueError(msg)
        validate.broadcast_runs(weight_decay=decay.shape, layer_decays=factors.shape[:-1])
        decays = decays * factors
    arrays = validate.weights("weights", weights, network.shapes)
    begin = None if start is None else validate.weights("start", start, network.shapes)
    for row in found.values():
        if row.needs_start and begin is None:
            msg = f"start must be given for {row.name}: what it is measured from"
            raise ValueError(msg)
        if "divisors" in row.needs:
            msg = f"observables must not need a method with memory here, got {row.name!r}"
            raise ValueError(msg)
    runs = validate.broadcast_runs(
        weights=_run_shape(arrays, network),
        loss=loss.run_shape,
        weight_decay=decays.shape[:-1],
        start=() if begin is None else _run_shape(begin, network),
        **{f"evaluate[{name!r}]": other.run_shape for name, other in others.items()},
        **{f"observables[{name!r}]": row.run_shape for name, row in found.items()},
    )
    full = tuple(
        np.broadcast_to(w, (*runs, *s)) for w, s in zip(arrays, network.shapes, strict=True)
    )
    threads = machine.checked_threads(n_threads)
    made = {name: row for name, row in found.items() if name != "weights"}
    own = core_names(found) - {"weights"}
    copies = 0
    if not all(row.of_core for row in found.values()):
        own.add("product")
        made.setdefault("product", OBSERVABLES["product"])
        copies = network.n_weights
    memory.check_room("weights", math.prod(runs) * (8 * copies + record_bytes(made, network)))
    known: Any = {}
    measures = core_measures(found, network, loss, begin, runs, others)
    if own or others or measures:
        check_core((loss, *others.values()))
        known = _core.observe(
            **core_problem(network, loss, full, runs),
            direction=None if to is None else validate.over_runs(to, runs, 1),
            weight_decay=validate.over_runs(decays, runs, 1),
            observables=own,
            evaluate=core_evaluate(found, others, runs),
            measures=measures,
            n_threads=threads,
        )
    result: dict[str, Any] = {}
    for name, row in found.items():
        if name == "weights":
            result[name] = full
        elif row.of_core:
            result[name] = of_core(row, known)
        else:
            doubles = tuple(np.asarray(w, np.float64) for w in full)
            product = known["observables"]["product"]
            result[name] = row.value(Point(network, doubles, loss, known_product=product))
    return result


def hessian_product(
    network: Chain,
    loss: Loss,
    weights: Sequence[npt.NDArray[Any]],
    directions: Sequence[npt.NDArray[Any]],
) -> tuple[FloatArray, ...]:
    """Return the Hessian of the loss, as a function of all weights, times directions.

    Parameters
    ----------
    network, loss
        That fit each other; the loss has a second derivative.
    weights, directions : sequence of ndarray of float64, shapes (*run, *network.shapes[l])
        Checked already; all run axes broadcast.
    """
    shapes, n = network.shapes, network.n_weights
    runs = np.broadcast_shapes(
        loss.run_shape, _run_shape(weights, network), _run_shape(directions, network)
    )
    memory.check_room("directions", 8 * 4 * math.prod(runs) * n)

    def full(arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        return [np.broadcast_to(a, (*runs, *s)) for a, s in zip(arrays, shapes, strict=True)]

    flat = np.concatenate([part.reshape(*runs, -1) for part in full(directions)], axis=-1)
    flat = validate.over_runs(flat, runs, 1)
    found = _core.observe(
        **core_problem(network, loss, tuple(full(weights)), runs),
        direction=None,
        weight_decay=validate.over_runs(np.zeros(network.n_arrays), runs, 1),
        observables=set(),
        measures={"product": {"kind": "hessian_product", "count": n, "arrays": [flat]}},
        n_threads=machine.checked_threads(None),
    )
    result: FloatArray = found["observables"]["product"]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return tuple(
        part.reshape(*runs, *shape)
        for part, shape in zip(np.split(result, ends, axis=-1), shapes, strict=True)
    )


def _run_shape(arrays: Sequence[npt.NDArray[Any]], network: Chain) -> Shape:
    """Return the common shape of the run axes of weights."""
    return np.broadcast_shapes(
        *(w.shape[: w.ndim - len(s)] for w, s in zip(arrays, network.shapes, strict=True))
    )
