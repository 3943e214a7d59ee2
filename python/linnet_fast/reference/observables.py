"""Products, gradients and observables of networks in readable NumPy, all runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.records.observables import Observable, checked, rows
from linnet_fast.records.point import Point


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
    network = network or _dense_like(weights)
    return Point(network, tuple(weights), loss, weight_decay).gradients


def _dense_like(weights: Sequence[WeightArray]) -> Chain:
    return Dense([weights[0].shape[-1], *(w.shape[-2] for w in weights)])


def observe(
    name: str | Observable,
    weights: Sequence[WeightArray],
    loss: Loss,
    weight_decay: npt.ArrayLike = 0.0,
    network: Chain | None = None,
    direction: FloatArray | None = None,
) -> Any:
    """Return an observable of the weights, computed in float64.

    Parameters
    ----------
    name : str or Observable
        A name out of `linnet_fast.OBSERVABLES`, or an observable of your own.
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
    (row,) = rows(checked((name,))).values()
    own = tuple(np.asarray(layer, np.float64) for layer in weights)
    return row.value(Point(network or _dense_like(own), own, loss, weight_decay, direction))
