"""What a training would record at given weights, without training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import machine, memory, validate
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.observables import (
    NO_LOSSES,
    OBSERVABLES,
    Observable,
    checked,
    checked_losses,
    direction_of,
    record_bytes,
    rows,
)
from linnet_fast.records.point import Point
from linnet_fast.training.call import core_evaluate, core_names, core_problem, of_core
from linnet_fast.training.compatible import check_core, check_evaluated, check_problem


def observe(
    network: Chain,
    loss: Loss,
    weights: Sequence[npt.ArrayLike],
    observables: Iterable[str | Observable],
    *,
    weight_decay: npt.ArrayLike = 0.0,
    layer_decays: npt.ArrayLike | None = None,
    direction: npt.ArrayLike | None = None,
    evaluate: Mapping[str, Loss] = NO_LOSSES,
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
    observables : iterable of str or Observable
        Names out of `linnet_fast.OBSERVABLES`, or observables of your own.
    weight_decay : array_like, shape (*run), default 0
        Coefficient, for ``gradient_norm``.
    direction : array_like, shape (in,), optional
        What angles are measured to, if not to the direction of the loss.
    evaluate : mapping of str to Loss, optional
        Losses to evaluate besides, see `Record`.
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
    lead = (w.shape[: w.ndim - len(s)] for w, s in zip(arrays, network.shapes, strict=True))
    runs = validate.broadcast_runs(
        weights=np.broadcast_shapes(*lead),
        loss=loss.run_shape,
        weight_decay=decays.shape[:-1],
        **{f"evaluate[{name!r}]": other.run_shape for name, other in others.items()},
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
    if own or others:
        check_core((loss, *others.values()))
        known = _core.observe(
            **core_problem(network, loss, full, runs),
            direction=None if to is None else validate.over_runs(to, runs, 1),
            weight_decay=validate.over_runs(decays, runs, 1),
            observables=own,
            evaluate=core_evaluate(found, others, runs),
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
