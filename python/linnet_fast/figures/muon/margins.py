"""The largest margins that matrices of norm 1 have, by several norms, with certificates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray

_BOTH = (-2, -1)
_EVERY = 100  # steps between looks at the gap
_PAUSE = 3  # averages begin anew after this part of all steps


@dataclass(frozen=True)
class Ball:
    """A norm of matrices (..., K, d), and what the search needs of it.

    Attributes
    ----------
    norm, dual : callable
        Of matrices, to (...).
    project : callable
        To the nearest matrix of norm at most 1.
    """

    norm: Callable[[FloatArray], FloatArray]
    dual: Callable[[FloatArray], FloatArray]
    project: Callable[[FloatArray], FloatArray]


def _clipped(matrices: FloatArray) -> FloatArray:
    u, s, v = np.linalg.svd(matrices, full_matrices=False)
    return np.asarray((u * np.minimum(s, 1)[..., None, :]) @ v)


def _singular_values(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.svd(matrices, compute_uv=False))


def _frobenius(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(matrices, axis=_BOTH))


BALLS: Mapping[str, Ball] = MappingProxyType(
    {
        "Frobenius": Ball(
            _frobenius, _frobenius, lambda w: w / np.maximum(1, _frobenius(w))[..., None, None]
        ),
        "entries": Ball(
            lambda w: np.asarray(np.abs(w).max(axis=_BOTH)),
            lambda g: np.asarray(np.abs(g).sum(axis=_BOTH)),
            lambda w: np.clip(w, -1, 1),
        ),
        "spectral": Ball(
            lambda w: _singular_values(w)[..., 0],
            lambda g: np.asarray(_singular_values(g).sum(axis=-1)),
            _clipped,
        ),
    }
)
"""Name of each norm -> the norm: of all entries, of the largest entry, of the largest singular value."""


@dataclass(frozen=True)
class Largest:
    """What is known of the largest margin of matrices of norm 1.

    Attributes
    ----------
    matrix : ndarray of float64, shape (n_sets, K, d)
        Of norm 1, with the margin `least`.
    least, most : ndarray of float64, shape (n_sets,)
        The largest margin lies between them.
    """

    matrix: FloatArray
    least: FloatArray
    most: FloatArray


def differences(x: FloatArray, classes: npt.NDArray[np.int_], n_classes: int) -> FloatArray:
    """Return the matrices D with <W, D> the output of a sample's class less that of another.

    Parameters
    ----------
    x : ndarray, shape (n_sets, n, d)
        Samples.
    classes : ndarray of int, shape (n,)
        Of them.
    n_classes : int
        K.

    Returns
    -------
    ndarray, shape (n_sets, n (K - 1), K, d)
    """
    apart = np.eye(n_classes)[classes][:, None] - np.eye(n_classes)
    others = np.arange(n_classes) != classes[:, None]
    whole = np.einsum("nkc,snd->snkcd", apart, x)
    return np.asarray(whole[:, others])


def margins_of(differing: FloatArray, matrices: FloatArray) -> FloatArray:
    """Return the least of <W, D>: of matrices (n_sets, ..., K, d), to (n_sets, ...)."""
    return np.asarray(np.einsum("smkd,s...kd->s...m", differing, matrices).min(axis=-1))


def largest_margin(
    differing: FloatArray, ball: Ball, *, tolerance: float = 1e-4, n_steps: int = 40_000
) -> Largest:
    """Find max of min <W, D> over the ball, which is min of |sum of p D| over shares p by the dual norm.

    By steps of the primal-dual method of Chambolle and Pock, which begins anew from its averages. Every
    W it meets bounds the margin from below, and every p from above.

    Parameters
    ----------
    differing : ndarray, shape (n_sets, m, K, d)
        The matrices D.
    ball : Ball
        The norm.
    tolerance : float
        Relative gap between the bounds at which to stop.
    n_steps : int
        Steps at most.
    """
    n_sets, m = differing.shape[:2]
    shape = differing.shape[2:]
    rows = differing.reshape(n_sets, m, -1)
    size = np.linalg.norm(rows, 2, axis=_BOTH)[:, None]
    ratio = np.sqrt(rows.shape[-1])
    matrix, shares = np.zeros((n_sets, *shape)), np.full((n_sets, m), 1 / m)
    sums, n_summed = (np.zeros_like(matrix), np.zeros_like(shares)), 0
    best, least, most = matrix, np.zeros(n_sets), np.full(n_sets, np.inf)
    for step in range(1, n_steps + 1):
        slope = np.einsum("sm,smw->sw", shares, rows)
        moved = ball.project(matrix + (0.9 * ratio / size * slope).reshape(matrix.shape))
        ahead = (2 * moved - matrix).reshape(n_sets, -1)
        shares = _to_simplex(shares - 0.9 / ratio / size * np.einsum("smw,sw->sm", rows, ahead))
        matrix = moved
        sums, n_summed = (sums[0] + matrix, sums[1] + shares), n_summed + 1
        if step % _EVERY:
            continue
        mean = sums[0] / n_summed, sums[1] / n_summed
        for w, p in (mean, (matrix, shares)):
            norm = ball.norm(w)
            margin = margins_of(differing, w) / np.where(norm > 0, norm, 1)
            better = margin > least
            unit = w / np.where(norm > 0, norm, 1)[:, None, None]
            best = np.where(better[:, None, None], unit, best)
            least = np.maximum(least, margin)
            above = ball.dual(np.einsum("sm,smw->sw", p, rows).reshape(matrix.shape))
            most = np.minimum(most, above)
        if (most - least <= tolerance * most).all():
            break
        if n_summed * _PAUSE >= step:
            matrix, shares = mean
            sums, n_summed = (np.zeros_like(matrix), np.zeros_like(shares)), 0
    return Largest(best, least, most)


def _to_simplex(values: FloatArray) -> FloatArray:
    """Return the nearest shares: at least 0, their sum 1."""
    falling = -np.sort(-values, axis=-1)
    level = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, values.shape[-1] + 1)
    last = (falling > level).sum(axis=-1, keepdims=True) - 1
    return np.maximum(values - np.take_along_axis(level, last, axis=-1), 0)
