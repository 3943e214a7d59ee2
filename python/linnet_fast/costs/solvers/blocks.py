"""Costs of residual networks: from their blocks to one equation per singular value."""

from __future__ import annotations

import numpy as np

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import residual, structure
from linnet_fast.costs.solvers.solution import RANK, Solution, divided, norms, svd
from linnet_fast.networks.chain import Chain


def residual_blocks(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Residual dense blocks before a dense top, perhaps after a dense embedding."""
    chain = structure.simplified(network)
    parts = chain.layers
    if chain.is_shared or network.n_arrays != len(parts):
        return None
    embedded = structure.is_dense(parts[0]) and len(parts) > 2
    blocks = parts[1 if embedded else 0 : -1]
    scale = _scale_of_dense(blocks)
    if scale is None or not structure.is_dense(parts[-1]):
        return None
    n_blocks, width = len(blocks), blocks[0].n_inputs
    u, s, vt = svd(p, rtol)
    size = len(p)
    if embedded:
        terms, a, end = residual.embedded(s, n_blocks, scale)
        kept = min(s.shape[-1], width)
        first = np.zeros((size, width, network.n_inputs))
        first[:, :kept] = end[:, :kept, None] * vt[:, :kept]
        block = np.zeros((size, width, width))
        block[:, range(kept), range(kept)] = a[:, :kept]
        last = np.zeros((size, network.n_outputs, width))
        last[:, :, :kept] = u[..., :kept] * end[:, None, :kept]
        weights: tuple[FloatArray, ...] = (first, *[block] * n_blocks, last)
        return Solution.closed_form(
            terms.sum(axis=-1),
            weights,
            "residual, embedded, by singular values",
            np.count_nonzero(s, axis=-1) > width,
            RANK,
        )
    terms, a, end = residual.trainable_top(s, n_blocks, scale)
    block = np.einsum("nki,nk,nkj->nij", vt, a, vt)
    last = np.einsum("nok,nk,nkj->noj", u, end, vt)
    return Solution.closed_form(
        terms.sum(axis=-1), (*[block] * n_blocks, last), "residual, by singular values"
    )


def residual_diagonal(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Residual diagonal blocks before a dense top with one output."""
    chain = structure.simplified(network)
    parts = chain.layers
    if chain.is_shared or network.n_arrays != len(parts) or network.n_outputs != 1:
        return None
    inside = structure.inside_residuals(parts[:-1])
    if inside is None or not structure.is_dense(parts[-1], 1):
        return None
    diagonals, scale = inside
    if not structure.all_diagonal(diagonals):
        return None
    terms, a, end = residual.trainable_top(np.abs(p[:, 0]), len(diagonals), scale)
    weights = (*[a] * len(diagonals), (np.sign(p[:, 0]) * end)[:, None])
    return Solution.closed_form(terms.sum(axis=-1), weights, "residual, by coordinates")


def two_layer_blocks(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Blocks I + W2 W1 before a dense top: stacks of an identity and a dense layer."""
    chain = structure.simplified(network)
    parts = chain.layers
    if chain.is_shared or len(parts) % 2 == 0 or len(parts) < 3:
        return None
    if network.n_arrays != len(parts) or not structure.is_dense(parts[-1]):
        return None
    width = network.n_inputs
    inner = []
    for first, second in zip(parts[:-1:2], parts[1:-1:2], strict=True):
        if not (isinstance(first, layers.Stack) and isinstance(second, layers.Sum)):
            return None
        if len(first.layers) != 2 or len(second.layers) != 2:
            return None
        skips = [structure.fixed_matrix(x.layers[0]) for x in (first, second)]
        if any(skip is None or not np.array_equal(skip, np.eye(width)) for skip in skips):
            return None
        down, up = first.layers[1], second.layers[1]
        if not (structure.is_dense(down) and structure.is_dense(up)):
            return None
        inner.append(down.n_outputs)
    n_blocks = len(inner)
    u, s, vt = svd(p, rtol)
    fits = np.count_nonzero(s > 1, axis=-1) <= min(inner)
    terms, x, end = residual.two_layer_blocks(s, n_blocks)
    weights: list[FloatArray] = []
    for count in inner:
        kept = min(count, s.shape[-1])
        down_weights = np.zeros((len(p), count, width))
        down_weights[:, :kept] = np.sqrt(x[:, :kept])[..., None] * vt[:, :kept]
        weights += [
            down_weights.reshape(len(p), -1),
            np.swapaxes(down_weights, 1, 2).reshape(len(p), -1),
        ]
    weights.append(np.einsum("nok,nk,nkj->noj", u, end, vt))
    found = Solution.closed_form(
        terms.sum(axis=-1), tuple(weights), "residual of two-layer blocks, by singular values"
    )
    return found.open_where(~fits)


def _scale_of_dense(parts: tuple[layers.Layer, ...]) -> float | None:
    """Return the common scale of residual dense blocks; None if they are something else."""
    inside = structure.inside_residuals(parts)
    if inside is None or not all(map(structure.is_dense, inside[0])):
        return None
    return inside[1]


def from_fixed_vector(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Solve residual dense blocks that move one fixed vector, before them or, as a row, after them.

    All blocks turn and stretch the vector alike, in the plane of its start and its end:
    L |z^(1/L) - 1|^2 with the complex number z of the whole move. That is the least where the cost
    is convex, Re z^(1/L) >= 1/2; elsewhere the search takes over.
    """
    chain = structure.simplified(network)
    if chain.is_shared or len(chain.layers) < 3:
        return None
    column = structure.fixed_matrix(chain.layers[0])
    row = structure.fixed_matrix(chain.layers[-1])
    is_row = row is not None and row.shape[0] == 1
    blocks = chain.layers[:-1] if is_row else chain.layers[1:]
    vector = row if is_row else column
    scale = _scale_of_dense(blocks)
    if vector is None or scale is None or 1 not in vector.shape or not vector.any():
        return None
    start = vector.ravel()
    ends = p.reshape(len(p), -1)
    if ends.shape[1] != len(start):
        return None
    n_layers, size, reach = len(blocks), norms(start), norms(ends)
    e, unit = start / size, divided(ends, reach[:, None])
    angle = 2 * np.arctan2(norms(unit - e), norms(unit + e))
    side = unit - (unit @ e)[:, None] * e
    # A vector that is turned round needs some direction to turn by.
    other = np.eye(len(e))[np.argmin(np.abs(e))]
    other = other - (other @ e) * e
    flat = norms(side) < 1e-14
    side = np.where(flat[:, None], other, side)
    side = divided(side, norms(side)[:, None])
    ratio = reach / size
    step = ratio ** (1 / n_layers) * np.exp(1j * angle / n_layers)
    value = n_layers * np.abs(step - 1) ** 2 / scale**2
    weights = []
    for k in range(n_layers):
        now, then = (
            np.cos(j * angle / n_layers)[:, None] * e + np.sin(j * angle / n_layers)[:, None] * side
            for j in (k, k + 1)
        )
        move = (np.abs(step)[:, None] * then - now) / scale
        weights.append(move[:, :, None] * now[:, None])
    if is_row:
        weights = [w.swapaxes(1, 2) for w in reversed(weights)]
    found = Solution.closed_form(value, tuple(weights), "residual, moves of a fixed vector")
    turned = flat & (angle > 1) & (len(e) == 1)
    return found.open_where((step.real < 0.5) | turned)


def product_of_blocks(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Solve residual dense blocks and nothing else, for symmetric matrices that only stretch."""
    chain = structure.simplified(network)
    scale = _scale_of_dense(chain.layers)
    if chain.is_shared or scale is None:
        return None
    n_layers = len(chain.layers)
    size = np.abs(p).max(axis=(1, 2), keepdims=True)
    symmetric = (np.abs(p - p.swapaxes(1, 2)) <= 1e-13 * size).all(axis=(1, 2))
    values, vectors = np.linalg.eigh((p + p.swapaxes(1, 2)) / 2)
    fits = symmetric & (values >= 1 - 1e-13).all(axis=-1)
    step = np.expm1(np.log(np.maximum(values, 1.0)) / n_layers) / scale
    block = np.einsum("nik,nk,njk->nij", vectors, step, vectors)
    found = Solution.closed_form(
        n_layers * np.sum(step**2, axis=-1), (block,) * n_layers, "residual, roots of the matrix"
    )
    return found.open_where(~fits)
