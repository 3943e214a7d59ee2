"""Limits of representation costs as networks grow deep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import blocks, convolutions, matrices, residual, structure
from linnet_fast.costs.solvers.solution import norms, svd
from linnet_fast.networks.chain import Chain

_GRID = 4096  # frequencies on which a polynomial is looked at for negative values
_ROUNDS = 60


def limit(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    """Return the limits for predictors (n, out, in); None if none is known for the network."""
    for family in (_dense, _grouped, _circular, _group, _patches, _residual):
        found = family(network, p, rtol)
        if found is not None:
            return found
    return None


def _large(values: FloatArray, rtol: float) -> npt.NDArray[np.bool_]:
    """Return which values are not 0 beside the largest of their predictor."""
    size = np.abs(values).reshape(len(values), -1)
    largest = size.max(axis=-1, keepdims=True)
    return np.asarray((size > rtol * largest).reshape(values.shape))


def _dense(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    chain = structure.simplified(network)
    if chain.is_shared or not all(map(structure.is_dense, chain.layers)):
        return None
    rank = np.count_nonzero(svd(p, rtol)[1], axis=-1).astype(float)
    return np.where(rank > min(network.widths[1:-1], default=network.max_rank), np.inf, rank)


def _grouped(network: Chain, p: FloatArray, _rtol: float) -> FloatArray | None:
    form = matrices.grouped_form(network)
    if form is None or network.n_outputs != 1:
        return None
    used = [p[:, 0, list(group)].any(axis=-1) for group in form[0]]
    return np.asarray(np.sum(used, axis=0, dtype=float))


def _circular(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    found = convolutions.circular(network)
    if found is None:
        return None
    first = found[0]
    images = p[:, 0].reshape(len(p), first.in_channels, *first.extents)
    modes = np.fft.fftn(images, axes=tuple(range(2, images.ndim)))
    support = _large(np.sqrt(np.sum(np.abs(modes) ** 2, axis=1)), rtol)
    if all(map(convolutions.is_full, found)):
        return np.asarray(support.reshape(len(p), -1).mean(axis=-1))
    if convolutions.one_tap(network, p, rtol) is not None:
        return p.any(axis=(1, 2)).astype(float)
    if convolutions.taps_of_a_subgroup(network, p, rtol) is not None:
        count = len(first.offsets[0])
        table = np.fft.fft(p[:, 0].reshape(len(p), count, -1), axis=1)
        return np.asarray(_large(norms(np.abs(table)), rtol).mean(axis=-1))
    kinds = {(x.offsets, x.dilation) for x in found}
    taps = sorted(first.offsets[0])
    is_line = len(first.extents) == 1 and first.in_channels == 1
    if len(kinds) > 1 or not is_line or taps[-1] - taps[0] >= len(taps):
        return None
    cache: dict[bytes, float] = {}
    result = np.zeros(len(p))
    for i, some in enumerate(support):
        if some.any():
            key = some.tobytes()
            if key not in cache:
                turns = np.flatnonzero(some) * first.dilation % len(some)
                cache[key] = 1 / _least_power(2 * np.pi * turns / len(some), len(taps))
            result[i] = cache[key]
    return result


def _least_power(frequencies: FloatArray, n_taps: int) -> float:
    """Return the largest t with p >= t at the frequencies, p >= 0 everywhere and of mean 1.

    A linear program, whose constraints p >= 0 are put in where they are violated.
    """
    if n_taps == 1:
        return 1.0
    k = np.arange(1, n_taps)

    def row(w: FloatArray) -> FloatArray:
        return np.asarray(2 * np.cos(np.multiply.outer(w, k)))

    grid = np.linspace(0, np.pi, _GRID)
    points = np.linspace(0, np.pi, 4 * n_taps)
    least = 1.0
    for _ in range(_ROUNDS):
        upper = np.vstack(
            [
                np.column_stack([-row(frequencies), np.ones(len(frequencies))]),
                np.column_stack([-row(points), np.zeros(len(points))]),
            ]
        )
        found = scipy.optimize.linprog(
            np.append(np.zeros(n_taps - 1), -1.0),
            A_ub=upper,
            b_ub=np.ones(len(upper)),
            bounds=(None, None),
            method="highs",
        )
        r = found.x[:-1]
        places = _minima(r, grid)
        low = float((1 + row(places) @ r).min())
        # Raised until it is nowhere negative, and scaled back to mean 1.
        least = (float((1 + row(frequencies) @ r).min()) + max(-low, 0)) / (1 + max(-low, 0))
        if low > -1e-12:
            break
        points = np.concatenate([points, places])
    return least


def _minima(r: FloatArray, grid: FloatArray) -> FloatArray:
    """Return where the polynomial has its minima: on the grid, then by Newton's method."""
    k = np.arange(1, len(r) + 1)
    p = 1 + 2 * np.cos(np.multiply.outer(grid, k)) @ r
    inner = np.flatnonzero((p[1:-1] <= p[:-2]) & (p[1:-1] <= p[2:])) + 1
    w = grid[inner]
    for _ in range(8):
        slope = -2 * np.sin(np.multiply.outer(w, k)) @ (k * r)
        bend = -2 * np.cos(np.multiply.outer(w, k)) @ (k**2 * r)
        step = np.divide(slope, bend, out=np.zeros_like(w), where=bend > 0)
        w = w - np.clip(step, -grid[1], grid[1])
    return np.concatenate([[0.0, np.pi], w])


def _group(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    if convolutions.groups(network, p, rtol) is None:
        return None
    layer = next(x for x in network.layers if isinstance(x, layers.GroupConvolution))
    s = svd(layer.pattern.matrix(p[:, 0]), rtol)[1]
    return np.asarray(np.count_nonzero(s, axis=-1) / s.shape[-1])


def _patches(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    table = convolutions.patch_table(network, p)
    if table is None:
        return None
    channels = [x.out_channels for x in network.layers if isinstance(x, layers.Convolution)]
    rank = np.count_nonzero(svd(table, rtol)[1], axis=-1).astype(float)
    return np.where(rank > min(channels), np.inf, rank)


def _residual(network: Chain, p: FloatArray, rtol: float) -> FloatArray | None:
    chain = structure.simplified(network)
    scales = [x.scale for x in chain.layers if isinstance(x, layers.Residual)]
    embedded = structure.is_dense(chain.layers[0])
    if blocks.two_layer_blocks(network, p, rtol) is not None:
        s = svd(p, rtol)[1]
        above = 1 + 2 * np.log(np.maximum(s, 1.0))
        return np.asarray(np.where(s > 1, above, s**2).sum(axis=-1))
    if not scales:
        return None
    strength = abs(scales[0]) * np.sqrt(len(scales))
    if blocks.residual_blocks(network, p, rtol) is not None:
        s = svd(p, rtol)[1]
        if embedded:
            return np.asarray(residual.embedded_limit(s, strength).sum(axis=-1))
        return np.asarray(residual.depth_limit(s, strength).sum(axis=-1))
    if blocks.residual_diagonal(network, p, rtol) is not None:
        return np.asarray(residual.depth_limit(np.abs(p[:, 0]), strength).sum(axis=-1))
    if convolutions.residual_full_width(network, p, rtol) is not None:
        first = next(x.layer for x in chain.layers if isinstance(x, layers.Residual))
        assert isinstance(first, layers.Convolution)
        if not convolutions.is_full(first):
            return residual.depth_limit(norms(p[:, 0]), strength)
        images = p[:, 0].reshape(len(p), *first.extents)
        modes = np.abs(np.fft.fftn(images, axes=tuple(range(1, images.ndim))))
        return np.asarray(residual.depth_limit(modes.reshape(len(p), -1), strength).mean(axis=-1))
    return None
