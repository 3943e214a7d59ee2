"""The observables in NumPy: what the core is tested against. Shapes are (*run, *shape of a record)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from linnet_fast._base.validate import FloatArray, WeightArray
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
    finite = np.asarray(np.isfinite(at.product).all(axis=(-2, -1), keepdims=True))
    values = np.linalg.svd(np.where(finite, at.product, 0.0), compute_uv=False)
    return np.where(finite[..., 0], values, np.nan)


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
