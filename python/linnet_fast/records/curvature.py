"""Hessians and tangent kernels in NumPy: what the core is tested against, by exact formulas, small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import KernelMoments, Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.point import Point


class _Moving:
    """A chain and how it moves along directions of its weights."""

    def __init__(
        self, network: Chain, weights: Sequence[WeightArray], directions: Sequence[WeightArray]
    ) -> None:
        matrices = network._matrices(weights)
        still = network._matrices([np.zeros_like(w) for w in directions])
        moves = [m - s for m, s in zip(network._matrices(directions), still, strict=True)]
        below, dbelow = [np.eye(network.n_inputs)], [np.zeros(2 * (network.n_inputs,))]
        for m, dm in zip(matrices, moves, strict=True):
            dbelow.append(dm @ below[-1] + m @ dbelow[-1])
            below.append(m @ below[-1])
        above, dabove = [np.eye(network.n_outputs)], [np.zeros(2 * (network.n_outputs,))]
        for m, dm in zip(matrices[::-1], moves[::-1], strict=True):
            dabove.append(above[-1] @ dm + dabove[-1] @ m)
            above.append(above[-1] @ m)
        self.network = network
        self.below, self.dbelow = below, dbelow
        self.above, self.dabove = above[::-1][1:], dabove[::-1][1:]

    @property
    def product(self) -> FloatArray:
        return self.below[-1]

    @property
    def moved(self) -> FloatArray:
        """How the end-to-end matrix moves."""
        return self.dbelow[-1]

    def gradients_of(self, slope: WeightArray, bend: FloatArray) -> list[FloatArray]:
        """Return how gradients by the weights move where that by the end-to-end matrix does so."""
        network = self.network
        result: list[Any] = [0.0] * network.n_arrays
        for place, (layer, number) in enumerate(zip(network.layers, network.share, strict=True)):
            if number is None:
                continue
            a, da = self.below[place], self.dbelow[place]
            b, db = self.above[place], self.dabove[place]
            moved = b.mT @ bend @ a.mT + db.mT @ slope @ a.mT + b.mT @ slope @ da.mT
            if isinstance(layer, layers.Dense):
                result[number] = result[number] + moved
                continue
            flat = layer.pattern._pull_back(moved)
            shape = network.shapes[number]
            result[number] = result[number] + flat.reshape(*flat.shape[:-1], *shape)
        return result


def hessian_product(
    network: Chain,
    loss: Loss,
    weights: Sequence[WeightArray],
    directions: Sequence[WeightArray],
) -> tuple[FloatArray, ...]:
    """Return the Hessian of the loss, as a function of all weights, times directions.

    Parameters
    ----------
    network, loss
        Of which.
    weights, directions : sequence of ndarray, shapes (*run, *network.shapes[l])
        All run axes broadcast.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        moving = _Moving(network, weights, directions)
        slope = loss.gradient(moving.product)
        bend = loss.curvature(moving.product, moving.moved)
        return tuple(moving.gradients_of(slope, bend))


def _units(network: Chain, n_runs: int) -> tuple[FloatArray, ...]:
    """Return all unit vectors of weights, (n_weights, *1, *shapes[l]) with so many axes of runs."""
    n = network.n_weights
    ends = np.cumsum([math.prod(shape) for shape in network.shapes])[:-1]
    return tuple(
        part.reshape(n, *(1,) * n_runs, *shape)
        for part, shape in zip(np.split(np.eye(n), ends, axis=1), network.shapes, strict=True)
    )


def _flat(parts: Sequence[WeightArray], network: Chain) -> FloatArray:
    lead = np.broadcast_shapes(
        *(p.shape[: p.ndim - len(s)] for p, s in zip(parts, network.shapes, strict=True))
    )
    flat = [
        np.broadcast_to(p, (*lead, *s)).reshape(*lead, -1)
        for p, s in zip(parts, network.shapes, strict=True)
    ]
    return np.asarray(np.concatenate(flat, axis=-1), np.float64)


def _run_axes(at: Point) -> int:
    return at.product.ndim - 2


def hessian(at: Point) -> FloatArray:
    """Return the Hessian of the objective, (*run, n_weights, n_weights)."""
    units = _units(at.network, _run_axes(at))
    columns = _flat(hessian_product(at.network, at.loss, at.weights, units), at.network)
    # Of quadratic functions it is the same everywhere.
    columns = np.broadcast_to(columns, (len(columns), *at.product.shape[:-2], len(columns)))
    matrix = np.moveaxis(columns, 0, -1)
    given = np.asarray(at.weight_decay, np.float64)
    decays = np.broadcast_to(given, (*given.shape[:-1], at.network.n_arrays))
    sizes = [math.prod(shape) for shape in at.network.shapes]
    decay = np.repeat(decays, sizes, axis=-1)[..., None] * np.eye(at.network.n_weights)
    return np.asarray((matrix + matrix.mT) / 2 + decay)


def _eigenvalues(matrix: FloatArray) -> FloatArray:
    """Return eigenvalues, descending, NaN where the matrix is not finite."""
    finite = np.asarray(np.isfinite(matrix).all(axis=(-2, -1), keepdims=True))
    values = np.linalg.eigvalsh(np.where(finite, matrix, 0.0))[..., ::-1]
    return np.where(finite[..., 0], values, np.nan)


def hessian_eigenvalues(at: Point, count: int, *, both: bool) -> FloatArray:
    """Return the largest eigenvalues, descending, and the least ones, ascending, if both are asked for."""
    values = _eigenvalues(hessian(at))
    top = values[..., :count]
    if not both:
        return top
    return np.stack([top, values[..., ::-1][..., :count]], axis=-2)


def preconditioned_sharpness(at: Point) -> FloatArray:
    """Return the largest eigenvalue of D^-1/2 H D^-1/2, D what the method divides gradients by."""
    assert at.divisors is not None
    whole = hessian(at)
    apart = np.zeros_like(whole)
    if at.decoupled:
        bare = hessian(replace(at, weight_decay=0.0))
        whole, apart = bare, whole - bare
    divisors = _flat(at.divisors, at.network)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(divisors <= 0, 0.0, 1 / np.sqrt(divisors))
    return _eigenvalues(factors[..., :, None] * whole * factors[..., None, :] + apart)[..., 0]


def _noise(at: Point) -> list[tuple[WeightArray, ...]]:
    """Return by run gradients of single samples less their mean, (n, *network.shapes[l])."""
    loss, runs = at.loss.for_batches(), at.product.shape[:-2]
    found = []
    for run in np.ndindex(runs):
        own = loss.of_run(run, runs)
        n_samples = own.n_choices
        assert n_samples is not None
        product = at.product[run]
        samples = (own.chosen(np.array([i])) for i in range(n_samples))
        slopes = np.stack([np.asarray(one.gradient(product)) for one in samples])
        weights = [
            np.broadcast_to(w, (*runs, *shape))[run]
            for w, shape in zip(at.weights, at.network.shapes, strict=True)
        ]
        several = [np.broadcast_to(w, (n_samples, *w.shape)) for w in weights]
        found.append(at.network.gradients(several, slopes - slopes.mean(axis=0)))
    return found


def gradient_noise(at: Point) -> FloatArray:
    """Return the trace of the covariance of the gradients of single samples."""
    means = [np.square(_flat(one, at.network)).sum(axis=-1).mean() for one in _noise(at)]
    return np.array(means).reshape(at.product.shape[:-2])


def gradient_noise_curvature(at: Point) -> FloatArray:
    """Return the trace of the Hessian times that covariance, over the trace of the latter."""
    runs = at.product.shape[:-2]
    flat = [_flat(one, at.network) for one in _noise(at)]
    curved = np.broadcast_to(hessian(at), (*runs, *2 * (at.network.n_weights,)))
    with np.errstate(invalid="ignore"):
        means = [
            np.sum((one @ curved[run]) * one) / np.sum(one * one)
            for one, run in zip(flat, np.ndindex(runs), strict=True)
        ]
    return np.array(means).reshape(runs)


def hessian_trace(at: Point) -> FloatArray:
    """Return the trace of the Hessian of the objective."""
    return np.asarray(np.trace(hessian(at), axis1=-2, axis2=-1))


def kernel(network: Chain, weights: Sequence[WeightArray], loss: Loss) -> FloatArray:
    """Return J C J^T, (*run, n, n) with n = out * in: the tangent kernel over the number of samples."""
    moments = _moments(loss)
    n_runs = weights[0].ndim - len(network.shapes[0])
    moved = _Moving(network, weights, _units(network, n_runs)).moved
    if moments.input_cov is None:
        units = np.eye(math.prod(moved.shape[-2:])).reshape(-1, *(1,) * n_runs, *moved.shape[-2:])
        measured = loss.curvature(np.zeros_like(units), units)
        cov = np.moveaxis(measured.reshape(*measured.shape[:-2], -1), 0, -1)
        flat = moved.reshape(*moved.shape[:-2], 1, -1) @ _root((cov + cov.mT) / 2)
        seen = flat.reshape(*flat.shape[:-2], *moved.shape[-2:])
    else:
        seen = moved @ _root(moments.input_cov)  # (n_weights, *run, out, in)
    runs = np.broadcast_shapes(
        seen.shape[1:-2],
        *(w.shape[: w.ndim - len(s)] for w, s in zip(weights, network.shapes, strict=True)),
    )
    seen = np.broadcast_to(seen, (len(seen), *runs, *seen.shape[-2:]))
    seen = seen.reshape(len(seen), *runs, -1)
    return np.asarray(np.einsum("w...i,w...j->...ij", seen, seen))


def _root(cov: FloatArray) -> FloatArray:
    """Return a matrix R with R R^T = cov."""
    values, vectors = np.linalg.eigh(cov)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0))[..., None, :])


def _moments(loss: Loss) -> KernelMoments:
    moments = loss.kernel_moments()
    assert moments is not None
    return moments


def ntk_eigenvalues(at: Point, count: int) -> FloatArray:
    """Return the largest eigenvalues of the tangent kernel over n, 0 beyond those it has."""
    values = _eigenvalues(kernel(at.network, at.weights, at.loss))
    missing = max(0, count - values.shape[-1])
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])[..., :count]


def _inner(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.sum(one * other, axis=(-2, -1)))


def kernel_distance(at: Point, begin: Sequence[WeightArray]) -> FloatArray:
    """Return 1 - <K, K'> / (|K| |K'|) with the kernel at other weights."""
    now, then = (kernel(at.network, w, at.loss) for w in (at.weights, tuple(begin)))
    with np.errstate(invalid="ignore"):
        distance = 1 - _inner(now, then) / np.sqrt(_inner(now, now) * _inner(then, then))
    return np.where(distance < 0, 0.0, distance)  # which is rounding


def kernel_alignment(at: Point) -> FloatArray:
    """Return <K, Y Y^T> / (|K| |Y|^2)."""
    moments = _moments(at.loss)
    now = kernel(at.network, at.weights, at.loss)
    shape = (*at.product.shape[:-2], *moments.cross_cov.shape[-2:])
    slopes = at.network.gradients(at.weights, np.broadcast_to(moments.cross_cov, shape))
    along = np.sum(np.square(_flat(slopes, at.network)), axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(along / (np.sqrt(_inner(now, now)) * moments.output_power))


def weight_distance(at: Point, begin: Sequence[npt.ArrayLike]) -> FloatArray:
    """Return the norm of the difference of the weights to others."""
    moved = [w - np.asarray(b, np.float64) for w, b in zip(at.weights, begin, strict=True)]
    flat = _flat(moved, at.network)
    most = np.abs(flat).max(axis=-1)
    scale = np.where(most > 0, most, 1.0)
    return np.asarray(scale * np.linalg.norm(flat / scale[..., None], axis=-1))


def overlap(at: Point, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return u_i^T P v_i of rows u_i and v_i."""
    return np.asarray(np.sum((left @ at.product) * right, axis=-1))
