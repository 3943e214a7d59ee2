"""The matrix of least nuclear norm through some entries, with a certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.completion import MatrixCompletionLoss
from linnet_fast.regularizers import NuclearNorm

_EVERY = 20  # turns between looks at the gap
_RELAXED = 1.8  # steps are longer than those of the plain method; below 2 they converge


@dataclass(frozen=True)
class LeastNuclearNorm:
    """A matrix through the entries, and how far its norm may be above the least one.

    Attributes
    ----------
    matrix : ndarray of float64, shape (out, in)
        It has the entries exactly.
    norm : float
        Its nuclear norm.
    gap : float
        Norm less the bound of a feasible point of the dual problem, over the norm: a proof.
    """

    matrix: FloatArray
    norm: float
    gap: float


def least_nuclear_norm(
    loss: MatrixCompletionLoss, *, tolerance: float = 1e-6, n_turns: int = 10_000
) -> LeastNuclearNorm:
    """Return the matrix of least nuclear norm among those that have the entries of a loss.

    By the method of Douglas and Rachford: proximal steps of the norm and projections on the entries in
    turns. What a proximal step leaves is a point of the dual problem, to maximise <Y, P> over Y that are
    0 but at the entries and of spectral norm 1 at most.

    Parameters
    ----------
    loss : MatrixCompletionLoss
        Without run axes.
    tolerance : float
        Of the gap.
    n_turns : int
        At most so many; the gap says what came of it.
    """
    place = (loss.rows, loss.cols)
    first = np.zeros(loss.shape)
    first[place] = loss.values
    # A step as long as a usual singular value of what is sought.
    step = float(np.linalg.norm(first, 2))
    regularizer = NuclearNorm()
    state, best = first.copy(), LeastNuclearNorm(first, np.inf, np.inf)
    for turn in range(n_turns):
        fitted = state.copy()
        fitted[place] = loss.values
        reflected = 2 * fitted - state
        near = regularizer.prox(reflected, step)
        if turn % _EVERY == 0:
            norm = float(np.linalg.svd(fitted, compute_uv=False).sum())
            dual = np.zeros(loss.shape)
            dual[place] = ((reflected - near) / step)[place]
            size = max(float(np.linalg.norm(dual, 2)), 1e-300)
            bound = float(dual[place] @ loss.values) / size
            gap = (norm - bound) / norm
            if gap < best.gap:
                best = LeastNuclearNorm(fitted, norm, gap)
            if gap <= tolerance:
                break
        state += _RELAXED * (near - fitted)
    return best
