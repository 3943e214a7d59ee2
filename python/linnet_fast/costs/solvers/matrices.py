"""Costs of dense, diagonal, grouped and dictionary networks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import structure
from linnet_fast.costs.solvers.solution import (
    OUTSIDE,
    RANK,
    SIGNS,
    ZEROS,
    Solution,
    divided,
    norms,
    power,
    svd,
    without,
)
from linnet_fast.networks.chain import Chain

_MOST_BASES = 20_000


def affine(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Chains with one trained layer, however many fixed ones: w is a least-norm solution."""
    trained = [k for k, number in enumerate(network.share) if number is not None]
    if len(trained) != 1:
        return None
    k = trained[0]
    before, after = np.eye(network.n_inputs), np.eye(network.n_outputs)
    for layer in network.layers[:k]:
        before = structure.applied(layer, before)
    for layer in reversed(network.layers[k + 1 :]):
        after = structure.applied(layer, after.T, transposed=True).T
    pattern = network.layers[k].pattern
    constant = after @ pattern.matrix(np.zeros(pattern.n_weights)) @ before
    # Entry (i, j) of the predictor changes with weight t by the sum over its places.
    free = pattern.weight >= 0
    map_ = np.zeros((pattern.n_weights, *constant.shape))
    places = zip(
        pattern.row[free],
        pattern.column[free],
        pattern.weight[free],
        pattern.coefficient[free],
        strict=True,
    )
    for row, column, weight, coefficient in places:
        map_[weight] += coefficient * np.outer(after[:, row], before[column])
    atoms = map_.reshape(len(map_), -1).T
    targets = (p - constant).reshape(len(p), -1)
    scale = np.abs(targets).max(axis=-1, keepdims=True)
    w = np.stack([_only(atoms, b, rtol) for b in divided(targets, scale)]) if len(p) else p
    w = w.reshape(len(p), pattern.n_weights) * scale
    bad = np.isnan(w).any(axis=-1)
    return Solution.closed_form(
        norms(np.nan_to_num(w)) ** 2,
        (w.reshape(len(p), *network.shapes[0]),),
        "least-norm weights of one layer",
        bad,
        OUTSIDE,
    )


def dense(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Chains of dense layers: L sum sigma_i^(2/L), by the singular values of the predictor."""
    chain = structure.simplified(network)
    if chain.is_shared or not all(map(structure.is_dense, chain.layers)):
        return None
    widths, n_layers = network.widths, len(chain.layers)
    if n_layers == 1:
        value = norms(p.reshape(len(p), -1)) ** 2
        return Solution.closed_form(value, (p,), "squared l2 norm")
    if network.n_outputs == 1:
        s = norms(p[:, 0])[:, None]
        u, vt = np.ones((len(p), 1, 1)), divided(p, s[..., None])
    else:
        u, s, vt = svd(p, rtol)
    rank = np.count_nonzero(s, axis=-1)
    roots = s ** (1 / n_layers)
    value = n_layers * np.sum(roots**2, axis=-1)
    kept = min(s.shape[-1], *widths[1:-1])
    weights = []
    for l, (rows, columns) in enumerate(network.shapes):
        w = np.zeros((len(p), rows, columns))
        if l == 0:
            w[:, :kept] = roots[:, :kept, None] * vt[:, :kept]
        elif l == n_layers - 1:
            w[:, :, :kept] = u[..., :kept] * roots[:, None, :kept]
        else:
            w[:, range(kept), range(kept)] = roots[:, :kept]
        weights.append(w)
    return Solution.closed_form(
        value,
        tuple(weights),
        f"{n_layers} sum of singular values{power(n_layers)}",
        rank > min(widths[1:-1]),
        RANK,
    )


def grouped_form(network: Chain) -> tuple[list[tuple[int, ...]], int, int, bool] | None:
    """Return groups, layers with a weight per input, layers per group, and if there is a sum."""
    chain = structure.simplified(network)
    parts = chain.layers
    if chain.is_shared or network.n_arrays != len(parts):
        return None
    width = network.n_inputs
    n = next((k for k, x in enumerate(parts) if not isinstance(x, layers.Diagonal)), len(parts))
    if n == len(parts):
        return [(i,) for i in range(width)], n, 0, False
    if n == len(parts) - 1 and structure.is_dense(parts[n], 1):
        return [(i,) for i in range(width)], n + 1, 0, True
    groups = structure.sum_of_inputs(parts[n])
    if (
        groups is None
        or not all(groups)
        or sorted(i for g in groups for i in g) != list(range(width))
    ):
        return None
    rest = parts[n + 1 :]
    has_sum = bool(rest) and structure.is_dense(rest[-1], 1)
    if not structure.all_diagonal(rest[:-1] if has_sum else rest):
        return None
    return groups, n + 1, len(rest), has_sum


def grouped(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Diagonal layers, then one output per disjoint group, then scalars of the groups.

    The cost is L sum_g ||b_g||_{2/n}^{2/L}, with n layers that have a weight per input. Groups of
    one input each are a diagonal network, without scalars.
    """
    form = grouped_form(network)
    if form is None:
        return None
    groups, n, m, has_sum = form
    parts = structure.simplified(network).layers
    width, n_layers = network.n_inputs, len(parts)
    if has_sum or network.n_outputs == 1:
        b, bad = p[:, 0], np.zeros(len(p), dtype=bool)
    else:
        # Every group has an output of its own: entries elsewhere cannot be reached.
        place = np.empty(width, dtype=int)
        for g, group in enumerate(groups):
            place[list(group)] = g
        b = p[:, place, range(width)]
        elsewhere = p.copy()
        elsewhere[:, place, range(width)] = 0
        bad = np.asarray(elsewhere.any(axis=(1, 2)))
    elementwise = [np.zeros((len(p), width)) for _ in range(n)]
    scalars = np.zeros((len(p), len(groups)))
    value = np.zeros(len(p))
    # Groups of one size at once.
    by_size: dict[int, list[int]] = {}
    for g, group in enumerate(groups):
        by_size.setdefault(len(group), []).append(g)
    for numbers in by_size.values():
        members = np.array([groups[g] for g in numbers])
        entries = b[:, members]
        size = np.abs(entries).max(axis=-1, keepdims=True)
        relative = np.abs(divided(entries, size))
        total = np.sum(relative ** (2 / n), axis=-1, keepdims=True)
        # S = sum |b|^(2/n) = size^(2/n) total; every layer's square is S^(n/L).
        terms = total ** (n / n_layers) * size ** (2 / n_layers)
        value += n_layers * terms.sum(axis=(1, 2))
        shared = np.where(size > 0, total, 1.0) ** (-m / (2 * n_layers)) * size ** (1 / n_layers)
        for k in range(n):
            sign = np.sign(entries) if k == n - 1 else 1.0
            elementwise[k][:, members] = sign * relative ** (1 / n) * shared
        scalars[:, numbers] = np.sqrt(terms)[..., 0]
    weights = []
    for k, shape in enumerate(network.shapes):
        if k >= n:
            w = scalars
        elif isinstance(parts[k], layers.Diagonal) or structure.is_dense(parts[k], 1):
            w = elementwise[k]
        else:
            pattern = parts[k].pattern
            w = np.empty((len(p), pattern.n_weights))
            w[:, pattern.weight] = elementwise[k][:, pattern.column]
        weights.append(w.reshape(len(p), *shape))
    what = "|b_i|" if len(groups) == width else "norms of groups"
    name = f"{n_layers} sum of {what}{power(n_layers)}"
    return Solution.closed_form(value, tuple(weights), name, bad, ZEROS)


def tied(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Solve diagonal layers that share their weights: b_i = sum of g_j w_j^L over units of input i.

    Each unit sees one input; an input may have several, one for each sign, say. Powers below 1 are
    concave, so the unit with the largest factor of the right sign carries all.
    """
    chain = structure.simplified(network)
    n_layers = sum(isinstance(x, layers.Diagonal) for x in chain.layers)
    if network.n_arrays != 1 or n_layers < 2 or network.n_outputs != 1:
        return None
    fixed = [x for x in chain.layers if not isinstance(x, layers.Diagonal)]
    ends = [x for x in (chain.layers[0], chain.layers[-1]) if not isinstance(x, layers.Diagonal)]
    if len(fixed) > 2 or fixed != ends or isinstance(chain.layers[-1], layers.Diagonal):
        return None
    *before, top = fixed
    factors = structure.fixed_matrix(top)
    spread = structure.fixed_matrix(before[0]) if before else np.eye(network.n_inputs)
    if factors is None or spread is None or (np.count_nonzero(spread, axis=1) != 1).any():
        return None
    gain = spread.T * factors  # (inputs, units)
    b = p[:, 0]
    fits = gain if n_layers % 2 else gain * (b[..., None] * gain > 0)
    unit = np.argmax(np.abs(fits), axis=-1)
    unit = np.broadcast_to(unit, b.shape)
    best = gain[np.arange(len(gain)), unit]
    usable = (best != 0) & ((n_layers % 2 == 1) | (b * best > 0))
    target = divided(b, best)
    w = np.zeros((len(p), gain.shape[1]))
    # Added, as inputs without a unit point at some other's with 0.
    np.add.at(
        w, (np.arange(len(p))[:, None], unit), np.sign(target) * np.abs(target) ** (1 / n_layers)
    )
    bad = ((b != 0) & ~usable).any(axis=-1)
    name = f"sum of |b_i|{power(n_layers)}, shared weights"
    return Solution.closed_form(np.sum(w**2, axis=-1), (w,), name, bad, SIGNS)


def dictionary(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Solve a fixed dictionary before a diagonal network: min L ||c||_{2/L}^{2/L} with A c = b."""
    chain = structure.simplified(network)
    matrix = structure.fixed_matrix(chain.layers[0]) if len(chain.layers) > 1 else None
    if matrix is None or chain.is_shared or network.n_outputs != 1:
        return None
    inner = Chain(chain.layers[1:])
    if not (structure.all_diagonal(inner.layers[:-1]) and structure.is_dense(inner.layers[-1], 1)):
        return None
    atoms, n_layers = matrix.T, network.n_arrays
    scale = np.abs(p[:, 0]).max(axis=-1, keepdims=True)
    targets = divided(p[:, 0], scale)
    unique = np.linalg.matrix_rank(atoms / _sizes(atoms)) == atoms.shape[1]
    coefficients = np.empty((len(p), atoms.shape[1]))
    lower = np.empty(len(p))
    done = np.zeros(len(p), bool)
    for i, b in enumerate(targets):
        if done[i]:
            continue
        if unique or n_layers == 1:
            coefficients[i], lower[i] = _only(atoms, b, rtol), np.nan
            continue
        coefficients[i], lower[i] = _sparsest(atoms, b, n_layers)
        if n_layers == 2:
            same, parts, bound = _of_the_same_cone(atoms, coefficients[i], targets)
            same &= ~done
            coefficients[same], lower[same] = parts[same], bound[same]
            done |= same
    coefficients = coefficients * scale
    bad = np.isnan(coefficients).any(axis=-1)
    found = grouped(inner, np.where(bad[:, None], 0.0, coefficients)[:, None], rtol)
    if n_layers == 1:
        found = dense(inner, np.where(bad[:, None], 0.0, coefficients)[:, None], rtol)
    assert found is not None
    why = np.where(bad, OUTSIDE, "").astype(object)
    upper = np.where(bad, np.inf, found.upper)
    least = lower * scale[:, 0] ** (2 / n_layers)
    least = np.where(np.isnan(lower) | bad, upper, np.minimum(least, upper))
    # The order of arrays is that of layers; fixed ones have none.
    return Solution(least, upper, without(found.weights, bad), "dictionary", why)


def _sizes(atoms: FloatArray) -> FloatArray:
    """Return the size of each equation, as a column: those of different sizes count alike."""
    size = np.abs(atoms).max(axis=1, keepdims=True, initial=0.0)
    return np.where(size > 0, size, 1.0)


def _only(atoms: FloatArray, b: FloatArray, rtol: float) -> FloatArray:
    """Return the least-norm coefficients; NaN if there are none."""
    each = _sizes(atoms)
    atoms, b = atoms / each, b / each[:, 0]
    c = np.linalg.lstsq(atoms, b, rcond=None)[0]
    c = c + np.linalg.lstsq(atoms, b - atoms @ c, rcond=None)[0]
    size = np.linalg.norm(atoms) * np.linalg.norm(c) + np.linalg.norm(b)
    reached = np.linalg.norm(atoms @ c - b) <= max(rtol, 1e-12) * size
    return np.asarray(c) if reached else np.full(atoms.shape[1], np.nan)


def _sparsest(atoms: FloatArray, b: FloatArray, n_layers: int) -> tuple[FloatArray, float]:
    """Return coefficients of least sum |c|^(2/L), and a lower bound of L times that.

    The objective is concave between zeros, so a vertex of the polyhedron {c : A c = b} attains it,
    that is a basis of the range. All are tried if they are few; else the convex problem gives
    bounds.
    """
    m = atoms.shape[1]
    some = _only(atoms, b, 0.0)
    if np.isnan(some).any():
        return some, math.nan
    split = np.hstack([atoms, -atoms])
    result = scipy.optimize.linprog(
        np.ones(2 * m), A_eq=split, b_eq=b, bounds=(0, None), method="highs"
    )
    if not result.success:  # of rounding, as there are coefficients
        return some, 0.0
    c = result.x[:m] - result.x[m:]
    support = np.flatnonzero(c)
    if len(support):
        c = np.zeros(m)
        c[support] = np.linalg.lstsq(atoms[:, support], b, rcond=None)[0]
    if np.abs(atoms @ c - b).max() > 1e-12 * np.abs(b).max(initial=0.0):
        return some, 0.0
    z = result.eqlin.marginals
    certified = float(z @ b) / max(float(np.abs(z @ atoms).max()), 1e-300)
    if n_layers == 2:
        return c, 2 * max(certified, 0.0)
    best, exponent = c, 2 / n_layers
    rank = int(np.linalg.matrix_rank(atoms))
    if math.comb(m, rank) > _MOST_BASES:
        return best, n_layers * max(certified, 0.0) ** exponent
    for chosen in itertools.combinations(range(m), rank):
        part, *_ = np.linalg.lstsq(atoms[:, chosen], b, rcond=1e-10)
        if np.abs(atoms[:, chosen] @ part - b).max() > 1e-12:
            continue
        part[np.abs(part) < 1e-13] = 0
        if np.sum(np.abs(part) ** exponent) < np.sum(np.abs(best) ** exponent):
            best = np.zeros(m)
            best[list(chosen)] = part
    return best, math.nan  # a vertex: exact


def _of_the_same_cone(
    atoms: FloatArray, c: FloatArray, targets: FloatArray
) -> tuple[npt.NDArray[np.bool_], FloatArray, FloatArray]:
    """Return which targets are made of the atoms and signs of one, coefficients, lower bounds.

    One linear program is solved for all that lie in a cone together.
    """
    none = np.zeros(len(targets), bool), np.zeros((len(targets), len(c))), np.zeros(len(targets))
    support = np.flatnonzero(c)
    if len(support) != len(atoms):
        return none
    signs = np.sign(c[support])
    try:
        found = np.linalg.solve(atoms[:, support], targets.T).T
        z = np.linalg.solve(atoms[:, support].T, signs)
    except np.linalg.LinAlgError:
        return none
    parts = np.zeros((len(targets), len(c)))
    parts[:, support] = found
    miss = np.abs(parts @ atoms.T - targets).max(axis=-1)
    most = float(np.abs(z @ atoms).max())
    same = (found * signs >= 0).all(axis=-1) & (miss <= 1e-14) & (most <= 1 + 1e-12)
    return same, parts, 2 * (targets @ z) / max(most, 1.0)


def skip_form(network: Chain) -> tuple[FloatArray, FloatArray, list[int]] | None:
    """Return the factors of a linear skip and of a product of two layers beside it.

    Two paths, b = skip o w + factor o u o v, and the order in which they stand.
    """
    paths = structure.paths(network)
    if paths is None or len(paths) != 2:
        return None
    forms = [_path_form(path, network.n_inputs) for path in paths]
    kinds = [None if form is None else form[0] for form in forms]
    if sorted(kinds, key=str) != [1, 2]:
        return None
    skip, product = kinds.index(1), kinds.index(2)
    chosen = [forms[skip], forms[product]]
    scales = [form[1] for form in chosen if form is not None]
    return scales[0], scales[1], [skip, product]


def _path_form(path: tuple[layers.Layer, ...], width: int) -> tuple[int, FloatArray] | None:
    """Return the trained layers of a path that is diagonal, and its fixed positive factors."""
    scale, trained = np.ones(width), 0
    for layer in path[:-1]:
        matrix = structure.fixed_matrix(layer)
        if isinstance(layer, layers.Diagonal):
            trained += 1
        elif matrix is not None and matrix.shape == (width, width):
            if (matrix != np.diag(np.diag(matrix))).any() or not (np.diag(matrix) > 0).all():
                return None
            scale = scale * np.diag(matrix)
        else:
            return None
    if not structure.is_dense(path[-1], 1) or path[-1].n_inputs != width:
        return None
    return trained + 1, scale


def skip_beside_product(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Solve a linear layer beside a diagonal network of two layers: Huber's function, per coordinate."""
    form = skip_form(network)
    if form is None:
        return None
    s, a, order = form
    b = p[:, 0]
    linear = np.clip(b, -(s**2) / a, s**2 / a)
    rest = b - linear
    value = np.sum((linear / s) ** 2 + 2 * np.abs(rest) / a, axis=-1)
    root = np.sqrt(np.abs(rest) / a)
    tops = {order[0]: linear / s, order[1]: np.sign(rest) * root}
    # Weights of layers side by side follow each other; the skip has its weights on top only.
    weights = [
        np.concatenate([tops[0], tops[1]], axis=-1) if k == network.n_arrays - 1 else root
        for k in range(network.n_arrays)
    ]
    if network.n_arrays != 2 or weights[0].shape[1:] != network.shapes[0]:
        return None
    return Solution.closed_form(value, tuple(weights), "Huber's function")
