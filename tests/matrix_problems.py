"""Losses of several outputs on entries and measurements, for the tests that go over them."""

from __future__ import annotations

import numpy as np

import linnet_fast as lf

MATRIX_LOSSES = ("completion", "sensing", "rank_one")


def make_entries(shape, n, runs=(), *, seed=0):
    """Return rows and columns (*runs, n) of distinct entries, in no order."""
    rng = np.random.default_rng([seed, *shape])
    size = shape[0] * shape[1]
    places = [rng.permutation(size)[:n] for _ in range(int(np.prod(runs)))]
    return np.divmod(np.reshape(places, (*runs, n)), shape[1])


def make_matrix_loss(kind, shape, runs=(), *, n=9, own=True, seed=0):
    """Return a loss with values per run; `own`: entries and measurements as well."""
    rng = np.random.default_rng([seed, *shape, n])
    where = runs if own else ()
    if kind == "completion":
        n = min(n, shape[0] * shape[1])
        rows, cols = make_entries(shape, n, where, seed=seed)
        return lf.MatrixCompletionLoss(rows, cols, rng.standard_normal((*runs, n)), shape)
    y = rng.standard_normal((*runs, n))
    if kind == "sensing":
        return lf.MatrixSensingLoss(rng.standard_normal((*where, n, *shape)), y)
    a, b = (rng.standard_normal((*where, n, extent)) for extent in shape)
    return lf.MatrixSensingLoss.rank_one(a, b, y)


def measurements_of(loss):
    """Return the matrices M_k of a loss without run axes, (n, out, in), and its targets."""
    if isinstance(loss, lf.MatrixSensingLoss):
        return loss.measurements, loss.targets
    if isinstance(loss, lf.RankOneSensingLoss):
        return loss.left[:, :, None] * loss.right[:, None, :], loss.targets
    m = np.zeros((loss.n_entries, *loss.shape))
    m[np.arange(loss.n_entries), loss.rows, loss.cols] = 1
    return m, loss.values
