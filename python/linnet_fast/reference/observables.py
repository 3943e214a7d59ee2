"""Products, gradients and observables of networks in readable NumPy, all runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.records.measures import measure_named
from linnet_fast.records.observables import (
    OBSERVABLES,
    Asked,
    checked,
    direction_of,
    rows,
)
from linnet_fast.records.point import Point
from linnet_fast.training.compatible import check_problem


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
    arrays = _matrices(weights)
    for i, (before, after) in enumerate(pairwise(arrays)):
        if before.shape[-2] != after.shape[-1]:
            msg = f"weights[{i + 1}] must have {before.shape[-2]} columns, got shape {after.shape}"
            raise ValueError(msg)
    validate.broadcast_runs(**{f"weights[{i}]": w.shape[:-2] for i, w in enumerate(arrays)})
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(lambda product, layer: layer @ product, arrays)


def _matrices(weights: object) -> tuple[WeightArray, ...]:
    """Return arrays of at least two axes, at least one."""
    arrays = tuple(
        validate.floating(f"weights[{i}]", one, ())
        for i, one in enumerate(validate.sequence("weights", weights, of="matrices"))
    )
    for i, array in enumerate(arrays):
        if array.ndim < 2:
            msg = f"weights[{i}] must have shape (*run, out, in), got {array.shape}"
            raise ValueError(msg)
    if not arrays:
        msg = "weights must have at least one matrix, got none"
        raise ValueError(msg)
    return arrays


def gradients(
    weights: Sequence[WeightArray],
    loss: Loss,
    weight_decay: npt.ArrayLike = 0.0,
    network: Chain | None = None,
) -> tuple[WeightArray, ...]:
    """Return the gradient of loss + weight_decay/2 times the sum of squares of the weights.

    Parameters
    ----------
    weights : sequence of ndarray, shapes (*run, *network.shapes[l])
        First to last; their dtype is that of the arithmetic.
    loss : Loss
        The loss of the end-to-end matrix P; of the squared one dloss/dP = P input_cov - cross_cov.
    weight_decay : array_like, shape (*run), default 0
        Coefficient of the weight decay.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.

    Returns
    -------
    tuple of ndarray
        As `Chain.gradients`, plus weight_decay times the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss([[1.0]], [[5.0]], 25.0)
    >>> [g.tolist() for g in gradients([np.array([[2.0]]), np.array([[3.0]])], loss)]
    [[[3.0]], [[2.0]]]
    """
    network, arrays = _checked(network, weights, loss)
    decay = validate.real_array("weight_decay", weight_decay, at_least=0)
    with np.errstate(over="ignore", invalid="ignore"):
        return Point(network, arrays, loss, decay[..., None]).gradients


def _checked(
    network: Chain | None, weights: object, loss: Loss
) -> tuple[Chain, tuple[WeightArray, ...]]:
    """Return network and weights that go with the loss; by default the network is made of matrices."""
    if network is None:
        matrices = _matrices(weights)
        network = Dense([matrices[0].shape[-1], *(w.shape[-2] for w in matrices)])
    check_problem(network, loss)
    arrays = validate.layer_arrays("weights", weights, network.shapes)
    dtype = np.result_type(*arrays)
    return network, tuple(w.astype(dtype, copy=False) for w in arrays)


def observe(
    name: Asked,
    weights: Sequence[WeightArray],
    loss: Loss,
    weight_decay: npt.ArrayLike = 0.0,
    network: Chain | None = None,
    direction: FloatArray | None = None,
    start: Sequence[WeightArray] | None = None,
) -> Any:
    """Return an observable of the weights, computed in float64.

    Parameters
    ----------
    name : str, Observable or Measure
        A name out of `linnet_fast.OBSERVABLES`, an observable with parameters or of your own.
    weights : sequence of ndarray, shapes (*run, *network.shapes[l])
        First to last.
    loss : Loss
        Used by ``loss``, ``gradient_norm`` and ``margin``.
    weight_decay : array_like, shape (*run), default 0
        Used by ``gradient_norm``.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.
    direction : ndarray, shape (*run, in), optional
        Of norm 1: what angles are measured to, if not to the direction of the loss.
    start : sequence of ndarray, shapes (*run, *network.shapes[l]), optional
        What distances are measured from.

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
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss([[1.0]], [[5.0]], 25.0)
    >>> observe("layer_norms", [np.array([[2.0]]), np.array([[3.0]])], loss).tolist()
    [2.0, 3.0]
    """
    if not hasattr(name, "record_shape") and measure_named(name, "name") is None:
        validate.choice("name", name, OBSERVABLES)
    network, arrays = _checked(network, weights, loss)
    wanted = rows(checked((name,)))
    (row,) = wanted.values()
    to = direction_of(network, loss, wanted, direction)
    decay = validate.real_array("weight_decay", weight_decay, at_least=0)
    own = tuple(np.asarray(layer, np.float64) for layer in arrays)
    with np.errstate(over="ignore", invalid="ignore"):
        begin = None if start is None else validate.layer_arrays("start", start, network.shapes)
        if row.needs_start and begin is None:
            msg = f"start must be given for {row.name}: what it is measured from"
            raise ValueError(msg)
        return row.value(Point(network, own, loss, decay[..., None], to, begin=begin))
