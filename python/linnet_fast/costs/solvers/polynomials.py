"""Costs of convolutions that multiply polynomials, by the roots of the predictor."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import structure
from linnet_fast.costs.solvers.solution import COMPLEX, Solution, divided, norms, without
from linnet_fast.networks.chain import Chain

_MOST_EXACT = 48  # coefficients


def products(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Convolutions without padding down to one output: products of polynomials.

    All kernels have two taps (the predictor's roots must be real), or all have three (pairs of
    real roots are matched).
    """
    chain = structure.simplified(network)
    parts = [x for x in chain.layers if isinstance(x, layers.Convolution)]
    if chain.is_shared or len(parts) != len(chain.layers) or network.n_outputs != 1:
        return None
    if any(x.padding != "valid" or x.stride * x.dilation > 1 for x in parts):
        return None
    if any(len(x.extents) > 1 or x.in_channels * x.out_channels > 1 for x in parts):
        return None
    sizes = {len(x.offsets[0]) for x in parts}
    if sizes not in ({2}, {3}) or any(
        x.offsets[0] != tuple(range(len(x.offsets[0]))) for x in parts
    ):
        return None
    n_layers, degree = len(parts), sizes.pop() - 1
    factors = np.zeros((len(p), n_layers, degree + 1))
    complex_ = np.zeros(len(p), bool)
    for i, b in enumerate(p[:, 0]):
        factors[i] = _factored(b, n_layers, degree)
        missing = degree == 1 and bool(np.isnan(factors[i]).any())
        complex_[i] = missing and not _is_real_rooted(b)
    size = norms(factors).prod(axis=-1) ** (1 / n_layers)
    unit = divided(factors, norms(factors)[..., None]) * size[:, None, None]
    weights = tuple(unit[:, k].reshape(len(p), *x.weight_shape) for k, x in enumerate(parts))
    open_ = np.isnan(size) & ~complex_
    found = Solution.closed_form(
        n_layers * size**2,
        without(weights, open_),
        "matched roots of the predictor's polynomial",
        complex_,
        COMPLEX,
    )
    return found.open_where(open_)


def _is_real_rooted(b: FloatArray) -> bool:
    """Return whether all roots are real, by a Sturm chain of exact fractions; True if too large."""
    if len(b) > _MOST_EXACT:
        return True
    chain = [[Fraction(x) for x in np.trim_zeros(b, "b").tolist()]]
    chain.append([k * x for k, x in enumerate(chain[0])][1:])
    while chain[-1]:
        rest, by = list(chain[-2]), chain[-1]
        while len(rest) >= len(by):
            factor = rest[-1] / by[-1]
            for k, x in enumerate(by):
                rest[len(rest) - len(by) + k] -= factor * x
            rest.pop()
        while rest and not rest[-1]:
            rest.pop()
        chain.append([-x / abs(rest[-1]) for x in rest])
    chain.pop()
    ends = [[side ** (len(q) - 1) * (1 if q[-1] > 0 else -1) for q in chain] for side in (-1, 1)]
    low, high = (sum(x != y for x, y in pairwise(signs)) for signs in ends)
    # Roots that are different: all of them, if no complex ones are left out.
    return bool(low - high == len(chain[0]) - len(chain[-1]))


def _factored(b: FloatArray, n_layers: int, degree: int) -> FloatArray:
    """Return the real factors, of degree 1 or 2, with least product of norms; NaN if not found."""
    none = np.full((n_layers, degree + 1), np.nan)
    if not b.any():
        return np.zeros((n_layers, degree + 1))
    scale = np.abs(b).max()
    low_first = b / scale
    # Leading coefficients that vanish are roots at infinity, with the factor 1.
    top = int(np.flatnonzero(np.abs(low_first) > 1e-300)[-1])
    roots = np.roots(low_first[top::-1])
    at_infinity: list[FloatArray] = [np.array([1.0, 0.0])] * (n_layers * degree - top)
    # Rounding moves a root of multiplicity m off the real line by the m-th root of itself.
    for near in (1e-9, 1e-6, 1e-4, 1e-2):
        real = np.abs(roots.imag) <= near * np.abs(roots)
        pairs = [r for r in roots[~real] if r.imag > 0]
        linear = at_infinity + [np.array([-r.real, 1.0]) for r in roots[real]]
        if degree == 1 and pairs:
            continue
        factors = linear
        if degree == 2:
            factors = [np.array([abs(r) ** 2, -2 * r.real, 1.0]) for r in pairs]
            factors += _matched(linear)
        if len(factors) != n_layers:
            continue
        result = np.array(factors)
        result[0] *= low_first[top]
        result = _refined(result, low_first)
        if np.abs(_multiplied(result) - low_first).max() <= 1e-13:
            result[0] *= scale
            return result
    return none


def _refined(factors: FloatArray, b: FloatArray) -> FloatArray:
    """Return factors moved by least-norm Newton steps until their product is b."""
    n_layers, size = factors.shape
    for _ in range(40):
        gap = b - _multiplied(factors)
        if not gap.any():
            break
        columns = []
        for k in range(n_layers):
            others = _multiplied(np.delete(factors, k, axis=0))
            columns += [np.convolve(others, unit) for unit in np.eye(size)]
        move = np.linalg.lstsq(np.array(columns).T, gap, rcond=1e-12)[0].reshape(factors.shape)
        new = factors + move
        if np.abs(_multiplied(new) - b).max() >= np.abs(gap).max():
            break
        factors = new
    return factors


def _multiplied(factors: FloatArray) -> FloatArray:
    product = np.ones(1)
    for factor in factors:
        product = np.convolve(product, factor)
    return product


def _matched(linear: list[FloatArray]) -> list[FloatArray]:
    """Return products of pairs whose norms have the least product, over all perfect matchings."""
    n = len(linear)
    if n == 0:
        return []
    weights = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            weights[i, j] = math.log(np.linalg.norm(np.convolve(linear[i], linear[j])))
    best: dict[int, tuple[float, int]] = {0: (0.0, -1)}
    # Over subsets, the first free root is matched with every other one.
    for chosen in range(1, 1 << n):
        if chosen.bit_count() % 2:
            continue
        first = (chosen & -chosen).bit_length() - 1
        options = []
        for other in range(first + 1, n):
            if chosen >> other & 1:
                rest = chosen & ~(1 << first) & ~(1 << other)
                options.append((best[rest][0] + weights[first, other], other))
        best[chosen] = min(options)
    chosen, pairs = (1 << n) - 1, []
    while chosen:
        first, other = (chosen & -chosen).bit_length() - 1, best[chosen][1]
        pairs.append(np.convolve(linear[first], linear[other]))
        chosen &= ~(1 << first) & ~(1 << other)
    return pairs
