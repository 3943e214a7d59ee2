"""Products, gradients and observables of networks in readable NumPy, all runs at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.binary import ExponentialLoss, LogisticLoss, Loss, SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import OBSERVABLES, OF_DIRECTION

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
    by_product = gradient_by_product(loss, end_to_end(matrices))
    result = [
        spread(np.asarray(weight_decay, dtype), len(shape)) * own
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


def spread(array: npt.NDArray[Any], n_inner: int) -> npt.NDArray[Any]:
    """Return an array of runs that broadcasts against weights."""
    return array.reshape(*array.shape, *(1,) * n_inner)


def gradient_by_product(loss: Loss, product: WeightArray) -> WeightArray:
    """Return dloss/dP at end-to-end matrices P, in their precision."""
    dtype = product.dtype
    if not isinstance(loss, SquaredLoss):
        return loss.gradient(product).astype(dtype)
    return product @ loss.input_cov.astype(dtype) - loss.cross_cov.astype(dtype)


def _dense_like(weights: Sequence[WeightArray]) -> Chain:
    return Dense([weights[0].shape[-1], *(w.shape[-2] for w in weights)])


def norm_of(array: WeightArray, n_inner: int = 2) -> FloatArray:
    """Return the root of the sum of squares over the last axes."""
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
    return np.stack([norm_of(layer, n) for layer, n in zip(weights, inner, strict=True)], axis=-1)


def _imbalance(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    if not isinstance(network, Dense):
        return np.abs(np.diff(np.square(_layer_norms(weights, None, None, network))))
    runs = weights[0].shape[:-2]
    norms = np.empty((*runs, len(weights) - 1))
    for i, (before, after) in enumerate(pairwise(weights)):
        norms[..., i] = norm_of(after.mT @ after - before @ before.mT)
    return norms


def _gradient_norm(
    weights: Layers, loss: Loss, weight_decay: npt.ArrayLike, network: Chain
) -> FloatArray:
    moves = gradients(weights, loss, weight_decay, network)
    squares = [
        np.square(norm_of(g, len(shape))) for g, shape in zip(moves, network.shapes, strict=True)
    ]
    norm: FloatArray = np.sqrt(np.sum(squares, axis=0))
    return norm


def _product_norm(weights: Layers, _loss: object, _decay: object, network: Chain) -> FloatArray:
    return norm_of(network.product(weights))


def _direction(
    weights: Layers, loss: Loss, network: Chain, direction: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return the parts of the end-to-end vector along and across a direction, the latter >= 0."""
    if direction is None and isinstance(loss, SphericalLogisticLoss):
        direction = loss.direction
    if direction is None:
        msg = "angles need a direction, got none"
        raise TypeError(msg)
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
        margin: FloatArray = loss.margins(product).min(axis=-1) / norm_of(product)
    return margin


def _singular_vectors(weights: Layers) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Return the first left singular vector, the singular values and the first right one, by layer."""
    triples = []
    for layer in weights:
        finite = np.asarray(np.isfinite(layer).all(axis=(-2, -1), keepdims=True))
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
    validate.choice("name", name, OBSERVABLES)
    own = tuple(np.asarray(layer, np.float64) for layer in weights)
    network = network or _dense_like(own)
    if name in OF_DIRECTION:
        parts = _direction(own, loss, network, direction)
        return _angle(*parts) if name == "angle" else _log_tan_half_angle(*parts)
    return _OBSERVERS[name](own, loss, weight_decay, network)
