"""The observables in NumPy: what the core is tested against. Shapes are (*run, *shape of a record)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy

from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.conserved import balances
from linnet_fast.records.point import Point


def norm_of(array: WeightArray, n_inner: int = 2) -> FloatArray:
    """Return the root of the sum of squares over the last axes.

    Parameters
    ----------
    array : ndarray
        Of floating-point numbers.
    n_inner : int
        How many axes.
    """
    norm: FloatArray = np.sqrt(np.sum(np.square(array), axis=tuple(range(-n_inner, 0))))
    return norm


def singular_values(at: Point) -> FloatArray:
    """Return the singular values of the end-to-end matrix, NaN where it is not finite."""
    return _svd_values(at.product)


def layer_singular_shape(network: Chain) -> tuple[int, int]:
    """Return (arrays of weights, the most singular values of the matrix of one)."""
    return network.n_arrays, max(min(*sizes) for sizes in _matrix_shapes(network))


def _matrix_shapes(network: Chain) -> list[tuple[int, int]]:
    """Return the shape of the matrix of each array of weights, that of the first layer that has it."""
    layers = [network.layers[network.share.index(number)] for number in range(network.n_arrays)]
    return [(layer.n_outputs, layer.n_inputs) for layer in layers]


def layer_singular_values(at: Point) -> FloatArray:
    """Return the singular values of the matrix of each array of weights."""
    network = at.network
    matrices = network._matrices(at.weights)
    values = np.full((*at.product.shape[:-2], *layer_singular_shape(network)), np.nan)
    for number in range(network.n_arrays):
        found = _svd_values(matrices[network.share.index(number)])
        values[..., number, : found.shape[-1]] = found
    return values


def _svd_values(matrix: WeightArray) -> FloatArray:
    finite = np.asarray(np.isfinite(matrix).all(axis=(-2, -1), keepdims=True))
    values = np.linalg.svd(np.where(finite, matrix, 0.0), compute_uv=False)
    return np.asarray(np.where(finite[..., 0], values, np.nan), np.float64)


def _parts(at: Point) -> FloatArray:
    """Return the singular values over the largest one; NaN at zero."""
    values = singular_values(at)
    top = values[..., :1]
    return values / np.where(top > 0, top, np.nan)


def effective_rank(at: Point) -> FloatArray:
    """Return e^entropy of the singular values over their sum."""
    parts = _parts(at)
    p = parts / parts.sum(axis=-1, keepdims=True)
    return np.asarray(np.exp(-np.sum(scipy.special.xlogy(p, p), axis=-1)))


def stable_rank(at: Point) -> FloatArray:
    """Return the squared Frobenius norm over the squared spectral one."""
    return np.asarray(np.sum(np.square(_parts(at)), axis=-1))


def schatten_norm(at: Point, power: float) -> FloatArray:
    """Return (sum of s^power)^(1 / power) over the singular values."""
    values = singular_values(at)
    top = values[..., 0]
    if np.isinf(power):
        return top
    parts = values / np.where(top > 0, top, 1.0)[..., None]
    return np.asarray(top * np.sum(parts**power, axis=-1) ** (1 / power) + 0 * top)


def layer_norms(at: Point) -> FloatArray:
    """Return the Frobenius norm of each array of weights."""
    inner = map(len, at.network.shapes)
    return np.stack([norm_of(w, n) for w, n in zip(at.weights, inner, strict=True)], axis=-1)


def imbalance(at: Point) -> FloatArray:
    """Return the norms of the differences of neighbouring Gram matrices; see the registry."""
    if not at.network.is_dense:
        return np.abs(np.diff(np.square(layer_norms(at))))
    norms = np.empty((*at.weights[0].shape[:-2], len(at.weights) - 1))
    for i, (before, after) in enumerate(pairwise(at.weights)):
        norms[..., i] = norm_of(after.mT @ after - before @ before.mT)
    return norms


def conserved(at: Point) -> FloatArray:
    """Return the norms of what the flow conserves between neighbouring arrays of weights."""
    network = at.network
    lead = at.weights[0].shape[: at.weights[0].ndim - len(network.shapes[0])]
    flat = [np.asarray(w, np.float64).reshape(*lead, -1) for w in at.weights]
    norms = np.zeros((*lead, network.n_arrays - 1))
    for pair, parts in enumerate(balances(network, "conserved")):
        gaps = (part.gaps(flat[pair], flat[pair + 1]) for part in parts)
        norms[..., pair] = np.sqrt(sum(np.square(norm_of(gap, 3)) for gap in gaps))
    return norms


def gradient_norm(at: Point) -> FloatArray:
    """Return the norm of the gradient of the objective."""
    squares = [
        np.square(norm_of(g, len(shape)))
        for g, shape in zip(at.gradients, at.network.shapes, strict=True)
    ]
    norm: FloatArray = np.sqrt(np.sum(squares, axis=0))
    return norm


def angle(at: Point) -> FloatArray:
    """Return the angle to the direction, NaN at zero."""
    along, across = at.parts
    angle: FloatArray = np.arctan2(across, along)
    return np.where((along == 0) & (across == 0), np.nan, angle)


def log_tan_half_angle(at: Point) -> FloatArray:
    """Return ln tan(angle / 2) without loss near 0 and pi."""
    along, across = at.parts
    length = np.hypot(along, across)
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.log(across) - np.log(length + along)
        behind = np.log(length - along) - np.log(across)
    return np.where(along >= 0, ahead, behind)


def margin(at: Point) -> FloatArray:
    """Return the least margin over the norm."""
    with np.errstate(invalid="ignore"):
        margin: FloatArray = at.loss.margins(at.product).min(axis=-1) / norm_of(at.product)
    return margin


def accuracy(at: Point) -> FloatArray:
    """Return the share of margins that are positive."""
    return np.asarray((at.loss.margins(at.product) > 0).mean(axis=-1))


def _singular_vectors(at: Point) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Return the first left singular vector, the singular values and the first right one, by layer."""
    triples = []
    for layer in at.weights:
        finite = np.asarray(np.isfinite(layer).all(axis=(-2, -1), keepdims=True))
        u, s, vt = np.linalg.svd(np.where(finite, layer, np.nan_to_num(layer)), full_matrices=False)
        s = np.where(finite[..., 0] & (s[..., :1] > 0), s, np.nan)
        triples.append((u[..., 0], s, vt[..., 0, :]))
    return triples


def layer_singular_ratio(at: Point) -> FloatArray:
    """Return the second over the first singular value of each layer."""
    ratios = [
        s[..., 1] / s[..., 0] if s.shape[-1] > 1 else 0 * s[..., 0]
        for _, s, _ in _singular_vectors(at)
    ]
    return np.stack(ratios, axis=-1)


def layer_alignment(at: Point) -> FloatArray:
    """Return the cosines between first singular vectors of neighbours."""
    cosines = np.empty((*at.weights[0].shape[:-2], len(at.weights) - 1))
    for i, (below, above) in enumerate(pairwise(_singular_vectors(at))):
        known = 0 * (below[1][..., 0] + above[1][..., 0])  # NaN where there is no first vector
        cosines[..., i] = np.abs(np.sum(below[0] * above[2], axis=-1)) + known
    return cosines
