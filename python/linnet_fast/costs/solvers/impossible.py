"""Proofs that no weights of a network give a predictor.

A search that finds nothing proves nothing. What does: polynomials that vanish on every predictor
of the network and not on this one. Those of degree 1 are the sums that predictors must obey, zeros
of the architecture among them; those of degree 2 and 3 are, for instance, the minors of matrices
whose rank the channels or a hidden width bound. They are found as null vectors of the values that
monomials have at predictors of random weights, where almost surely all of them show.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from linnet_fast._base.patience import awaited
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers.function import Function
from linnet_fast.costs.solvers.solution import RANK, divided, svd

_MOST_MONOMIALS = 800
_MOST_ENTRIES = 2000
_DEGREES = (2, 3, 4)
_SEED = 20210501
_NULL = 1e-11
_CLEAR = 1e-7  # singular values between the two leave it open what is a null vector
_VIOLATED = 1e-6
_OFF = 1e-9

SPAN = "impossible: it breaks a linear relation of the network's predictors"
POLYNOMIAL = "impossible: it breaks a polynomial relation (degree {}) of the network's predictors"


def linear(function: Function, targets: FloatArray) -> npt.NDArray[np.object_]:
    """Return which predictors break a linear relation or a bound of the rank: why, or ``""``."""
    why = np.full(len(targets), "", dtype=object)
    network = function.network
    matrices = targets.reshape(len(targets), network.n_outputs, network.n_inputs)
    rank = np.count_nonzero(svd(matrices, _OFF)[1], axis=-1)
    why[rank > network.max_rank] = RANK
    if function.n_entries > _MOST_ENTRIES:
        return why
    samples, offset = _samples(function, function.n_entries + 10)
    samples = samples - offset
    # Entries of different sizes are compared each with its own.
    size = np.abs(samples).max(axis=0)
    moved = targets - offset
    scaled = divided(samples, size)
    _, s, vt = awaited(np.linalg.svd, scaled)
    rank_of_all = int(np.count_nonzero(s > _NULL * s[0]))
    if (s[:rank_of_all] < _CLEAR * s[0]).any():
        return why
    normals = vt[rank_of_all:]
    goal = divided(moved, size)
    off = np.linalg.norm(goal @ normals.T, axis=-1)
    zero = (moved[:, size == 0] != 0).any(axis=-1)
    why[(off > _OFF * np.linalg.norm(goal, axis=-1)) | zero] = SPAN
    return why


def polynomial(function: Function, targets: FloatArray) -> npt.NDArray[np.object_]:
    """Return which predictors break a polynomial relation of low degree: why, or ``""``."""
    why = np.full(len(targets), "", dtype=object)
    if function.n_entries > _MOST_ENTRIES:
        return why
    samples, offset = _samples(function, 2 * _MOST_MONOMIALS)
    is_cone = not offset.any() and _is_homogeneous(function)
    samples, targets = samples - offset, targets - offset
    size = np.abs(samples).max(axis=0)
    samples, targets = divided(samples, size), divided(targets, size)
    if not is_cone:
        samples = np.concatenate([samples, np.ones((len(samples), 1))], axis=1)
        targets = np.concatenate([targets, np.ones((len(targets), 1))], axis=1)
    # In the coordinates of their span there are fewer monomials.
    _, s, vt = awaited(np.linalg.svd, samples, full_matrices=False)
    axes = vt[s > _NULL * s[0]]
    x, y = samples @ axes.T, targets @ axes.T
    x, y = x / np.linalg.norm(x, axis=-1)[:, None], divided(y, np.linalg.norm(y, axis=-1)[:, None])
    for degree in _DEGREES:
        count = math.comb(x.shape[1] + degree - 1, degree)
        if count > _MOST_MONOMIALS:
            break
        powers, factors = _monomials(x.shape[1], degree)
        values = factors * np.prod(x[: 2 * count, powers], axis=-1)
        _, s, vt = awaited(np.linalg.svd, values, full_matrices=False)
        kept = s > _NULL * s[0]
        if kept.all() or (s[kept] < _CLEAR * s[0]).any():
            continue
        broken = np.linalg.norm((factors * np.prod(y[:, powers], axis=-1)) @ vt[~kept].T, axis=-1)
        why[(broken > _VIOLATED) & (why == "")] = POLYNOMIAL.format(degree)
    return why


def _samples(function: Function, count: int) -> tuple[FloatArray, FloatArray]:
    """Return predictors of random weights, and that of weights 0."""
    rng = np.random.default_rng(_SEED)
    weights = rng.uniform(-1.5, 1.5, (count, function.n_weights))
    return function.value(weights), function.value(np.zeros(function.n_weights))


def _is_homogeneous(function: Function) -> bool:
    weights = np.random.default_rng(_SEED).uniform(-1.5, 1.5, function.n_weights)
    one, two, four = (function.value(k * weights) for k in (1.0, 2.0, 4.0))
    # Powers of two scale exactly.
    return bool((two * two == one * four).all())


def _monomials(n: int, degree: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return the factors of each monomial, and weights that make unit vectors of unit vectors."""
    powers = np.array(list(itertools.combinations_with_replacement(range(n), degree)))
    counts = (powers[:, :, None] == np.arange(n)).sum(axis=1)
    ways = [math.factorial(degree) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return powers, np.sqrt(np.array(ways))
