"""Lower bounds of representation costs that hold for any chain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import layers
from linnet_fast._base.patience import awaited
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import blocks, convolutions, structure
from linnet_fast.costs.solvers.solution import Solution, svd
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Convolution

AnyArray = npt.NDArray[np.inexact]

_MOST_UNFOLDED = 40_000  # entries of the matrices whose norm is a bound
_ROUNDING = 1e-12
_RTOL = 1e-12  # smaller singular values and modes may be rounding, which roots would enlarge


def homogeneous_degree(network: Chain) -> int | None:
    """Return the degree of the predictor in the weights; None if it is not homogeneous."""
    degree = 0
    for layer in network.layers:
        free = layer.pattern.weight >= 0
        if free.all() and len(free):
            degree += 1
        elif free.any():
            return None
    return degree


def lower_bound(network: Chain, targets: FloatArray) -> FloatArray:
    """Return the best of the bounds that hold for any chain, for predictors (n, out * in)."""
    p = targets.reshape(len(targets), network.n_outputs, network.n_inputs)
    values = svd(p, _RTOL)[1]
    found = [
        _operator_bound(network, values[:, 0]),
        _schatten_bound(network, values),
        *(wider.lower for wider in _wider_kernels(network, p)),
        *(wider.lower for wider in _wider_blocks(network, p)),
    ]
    return reduce(np.maximum, found)


def _wider_kernels(network: Chain, p: FloatArray) -> Iterator[Solution]:
    """Yield costs of circular convolutions with more taps, which can do all that these can."""
    circular = convolutions.circular(network)
    if circular is None:
        return
    first, n_layers = circular[0], network.n_arrays
    full = Convolution(first.width, first.width, n_layers, in_channels=first.in_channels)
    yield _solved(convolutions.full_width(full, p, _RTOL))
    if len(first.extents) == 1 and first.in_channels == 1:
        spans = [max(x.offsets[0]) - min(x.offsets[0]) + 1 for x in circular]
        without_gaps = [
            layers.Convolution(x.width, span, dilation=x.dilation)
            for x, span in zip(circular, spans, strict=True)
        ]
        chain = Chain([*without_gaps, layers.Dense(first.extents[0], 1)])
        yield _solved(convolutions.kernels(chain, p, _RTOL, 1))


def _wider_blocks(network: Chain, p: FloatArray) -> Iterator[Solution]:
    """Yield costs of residual networks whose blocks can do all that these can."""
    parts = structure.simplified(network).layers
    has_top = structure.is_dense(parts[-1])
    body = parts[:-1] if has_top else parts
    residuals = [x for x in body if isinstance(x, layers.Residual)]
    if not residuals or len(residuals) < len(body) or network.n_arrays != len(parts):
        return
    # ||M||_F <= f |w|: a dense layer of that size can do the same.
    scale = max(abs(x.scale) * _reach(x.layer)[2] for x in residuals)
    if not has_top:
        values = svd(p, _RTOL)[1]
        roots = np.maximum(values ** (1 / len(body)) - 1, 0.0) / scale
        bound = len(body) * np.sum(roots**2, axis=-1)
        yield Solution(bound, bound, (), "roots of singular values")
        return
    dense = layers.Residual(layers.Dense(network.n_inputs, network.n_inputs), scale)
    yield _solved(blocks.residual_blocks(Chain([*[dense] * len(body), parts[-1]]), p, _RTOL))
    kernels = [x.layer for x in residuals if isinstance(x.layer, layers.Convolution)]
    if len(kernels) == len(body) and kernels[0].in_channels == network.n_outputs == 1:
        full = [
            layers.Residual(layers.Convolution(x.width, x.width, padding=x.padding), block.scale)
            for x, block in zip(kernels, residuals, strict=True)
        ]
        found = convolutions.residual_full_width(Chain([*full, parts[-1]]), p, _RTOL)
        if found is not None:  # circular, all of one scale
            yield found


def _solved(found: Solution | None) -> Solution:
    assert found is not None
    return found


def _reach(layer: layers.Layer) -> tuple[float, float, float]:
    """Return bounds of a layer: ||M||_op <= o + k |w| and, without fixed part, ||M||_F <= f |w|."""
    p = layer.pattern
    fixed = p.weight < 0
    offset = np.zeros((p.n_outputs, p.n_inputs))
    np.add.at(offset, (p.row[fixed], p.column[fixed]), p.coefficient[fixed])
    constant = float(np.linalg.norm(offset, 2)) if fixed.any() else 0.0
    if fixed.all():
        return constant, 0.0, constant
    row, column, weight = p.row[~fixed], p.column[~fixed], p.weight[~fixed]
    size = np.abs(p.coefficient[~fixed])

    def most(lines: npt.NDArray[np.int32], count: int) -> float:
        # The largest sum of |entries| along a line is at most this times |w|.
        sums = np.zeros((count, p.n_weights))
        np.add.at(sums, (lines, weight), size)
        return float(np.sqrt(np.sum(sums**2, axis=1)).max())

    # Entries that fall on each other add up: Frobenius norms are bounded place by place.
    places = np.unique(row.astype(np.int64) * p.n_inputs + column, return_counts=True)[1]
    squares = np.zeros(p.n_weights)
    np.add.at(squares, weight, size**2)
    frobenius = float(np.sqrt(squares.max() * places.max()))
    lines = math.sqrt(most(row, p.n_outputs) * most(column, p.n_inputs))
    return constant, min(lines, frobenius), frobenius


def _operator_bound(network: Chain, norm: AnyArray) -> FloatArray:
    """Return the least sum of squares for which the layers' norms can multiply to `norm`.

    With ||M_l|| <= o_l + k_l a_l this is convex in the a_l: one multiplier, found by bisection.
    """
    offsets, factors, uses = [], [], []
    counts = {n: network.share.count(n) for n in network.share if n is not None}
    for layer, number in zip(network.layers, network.share, strict=True):
        offset, factor, _ = _reach(layer)
        offsets.append(offset)
        factors.append(factor)
        uses.append(0 if number is None else counts[number])
    o, k, use = (np.array(x, dtype=float) for x in (offsets, factors, uses))
    fixed = k == 0
    with np.errstate(divide="ignore"):
        goal = np.log(norm) - np.sum(np.log(o[fixed]))
    o, k, use = o[~fixed], k[~fixed], use[~fixed]

    def sizes(mu: FloatArray) -> FloatArray:
        # Shared arrays are paid once: each use pays its part.
        return np.asarray((-o + np.sqrt(o**2 + 2 * mu[:, None] * k**2 * use)) / (2 * k))

    def reached(mu: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.asarray(np.sum(np.log(o + k * sizes(mu)), axis=-1))

    low, high = np.full(len(norm), -700.0), np.full(len(norm), 700.0)
    for _ in range(200):
        middle = (low + high) / 2
        enough = reached(np.exp(middle)) >= goal
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    a = sizes(np.exp(low))
    result = np.sum(a**2 / use, axis=-1) * (1 - 1e-12)
    return np.where(np.isfinite(goal) & (reached(np.exp(np.full(1, -700.0))) < goal), result, 0.0)


def _schatten_bound(network: Chain, values: AnyArray) -> FloatArray:
    """Return n (||P||_S / factors)^(2/n), by Hoelder's inequality for Schatten norms."""
    factor, n_uses = 1.0, 0
    counts: dict[int, int] = {}
    for layer, number in zip(network.layers, network.share, strict=True):
        constant, _, frobenius = _reach(layer)
        if number is None:
            factor *= constant
            continue
        if constant > 0:
            return np.zeros(len(values))
        factor *= frobenius
        n_uses += 1
        counts[number] = counts.get(number, 0) + 1
    for count in counts.values():
        factor *= count ** (count / 2)
    power = 2 / n_uses
    total = np.sum(values**power, axis=-1)  # (||P||_S)^(2/n)
    result: FloatArray = n_uses * total / factor**power
    return result * (1 - 1e-14)


def unfolding_bound(network: Chain, targets: FloatArray) -> FloatArray:
    """Return L (max <z, b> / ||T(z)||)^(2/L) over ways to part the layers in two.

    With each layer's weights as one factor, <z, f(w)> is a form T(z) of the products of weights
    on either side, so it is at most its operator norm times the product of all norms. 0 where
    the network is not a form, or too large to be written out.
    """
    degree, sizes = homogeneous_degree(network), [math.prod(shape) for shape in network.shapes]
    count = math.prod(sizes)
    n_entries = network.n_outputs * network.n_inputs
    if degree != network.n_arrays or count * n_entries > _MOST_UNFOLDED:
        return np.zeros(len(targets))
    units = np.meshgrid(*(np.arange(n) for n in sizes), indexing="ij")
    weights = [
        np.eye(n)[unit.ravel()].reshape(-1, *shape)
        for n, unit, shape in zip(sizes, units, network.shapes, strict=True)
    ]
    tensor: FloatArray = np.asarray(network.product(weights), np.float64)
    tensor = tensor.reshape(*sizes, n_entries)
    best = np.zeros(len(targets))
    splits = {(k,) for k in range(degree)} | {tuple(range(k)) for k in range(1, degree)}
    for split in sorted(splits):
        others = tuple(k for k in range(degree) if k not in split)
        rows = math.prod(sizes[k] for k in split)
        forms = tensor.transpose(*split, *others, degree).reshape(rows, -1, n_entries)
        if min(forms.shape[:2]) == 1 and degree > 2:
            continue
        for i, b in enumerate(targets):
            best[i] = max(best[i], _largest_form(forms, b))
    return np.asarray(degree * best ** (2 / degree) * (1 - _ROUNDING))


def _largest_form(forms: FloatArray, b: FloatArray) -> float:
    """Return the largest <z, b> / ||forms z||_op that descent finds; every z gives a bound."""
    if not b.any():
        return 0.0
    best, z = 0.0, b / np.linalg.norm(b)
    for power in (4.0, 16.0, 64.0, 256.0):

        def objective(z: FloatArray, power: float = power) -> tuple[float, FloatArray]:
            # log of the Schatten norm of that power, less log <z, b>.
            u, s, vt = awaited(np.linalg.svd, forms @ z, full_matrices=False)
            inner = float(z @ b)
            if not (inner > 0 and s[0] > 0):
                return math.inf, np.zeros_like(z)
            share = (s / s[0]) ** (power - 1)
            total = float(np.sum(share * s / s[0]))
            matrix = (u * (share / (s[0] * total))) @ vt
            slope = np.einsum("ij,ijk->k", matrix, forms) - b / inner
            return math.log(s[0]) + math.log(total) / power - math.log(inner), slope

        found = scipy.optimize.minimize(
            objective, z, jac=True, method="L-BFGS-B", options={"maxiter": 60}
        )
        if np.isfinite(found.fun):
            z = found.x / np.linalg.norm(found.x)
        norm = float(awaited(np.linalg.svd, forms @ z, compute_uv=False)[0])
        best = max(best, float(z @ b) / norm if norm > 0 else 0.0)
    return best
