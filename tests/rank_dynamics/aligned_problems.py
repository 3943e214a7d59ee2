"""Data with known modes, and flows on them from aligned starts."""

from __future__ import annotations

import numpy as np
from scipy.stats import ortho_group

import linnet_fast as lf

EVERYTHING = ("loss", "singular_values", "product", "weights")


def commuting(sigma, lam, n_out=None, n_in=None, seed=3):
    n_out, n_in = n_out or len(sigma), n_in or len(lam)
    u = ortho_group.rvs(n_out, random_state=seed) if n_out > 1 else np.eye(1)
    v = ortho_group.rvs(n_in, random_state=seed + 1) if n_in > 1 else np.eye(1)
    cross = np.zeros((n_out, n_in))
    np.fill_diagonal(cross, sigma)
    cov = (v * lam) @ v.T
    return lf.SquaredLoss((cov + cov.T) / 2, u @ cross @ v.T, 50.0)


def flow(loss, strengths, times, widths=None, rtol=1e-11, observables=EVERYTHING):
    widths = widths or (loss.n_inputs, 4, loss.n_outputs)
    network = lf.Dense(widths)
    start = lf.initialization.aligned(network, loss, strengths, rng=0)
    return lf.train(
        network,
        loss,
        start,
        method=lf.GradientFlow(rtol),
        until=times[-1],
        record=lf.Record.at_times(times, observables=observables),
    )


SIGMA, LAM = np.array([2.0, 1.2, 0.6]), np.array([1.0, 0.5, 2.0, 0.7])
LOSS = commuting(SIGMA, LAM, 3, 4)
