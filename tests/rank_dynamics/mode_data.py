"""Data with chosen modes, and when modes are learned, by SciPy."""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import joint_decomposition


def orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def modes_loss(sigma, lam, n_out, seed=0, off=0.0):
    """Moments with these numbers in random bases; `off` is added to the inner input_cov."""
    rng = np.random.default_rng(seed)
    left, right = orthogonal(n_out, rng), orthogonal(len(lam), rng)
    middle = np.zeros((n_out, len(lam)))
    np.fill_diagonal(middle, sigma)
    cov = right @ (np.diag(np.asarray(lam, float)) + off) @ right.T
    return SquaredLoss((cov + cov.T) / 2, left @ middle @ right.T, 60.0)


def symmetric(n, rng):
    noise = rng.standard_normal((n, n))
    return noise + noise.T


def flow(loss, start, until, *, tol=1e-9):
    """Layers along gradient flow, a function of time; by an integrator that knows no mode."""
    shapes = [w.shape for w in start]
    ends = np.cumsum([w.size for w in start])[:-1]

    def layers(flat):
        return [p.reshape(s) for p, s in zip(np.split(flat, ends), shapes, strict=True)]

    def velocity(_, flat):
        weights = layers(flat)
        residual = loss.cross_cov - reduce(lambda p, w: w @ p, weights) @ loss.input_cov
        result = []
        for i in range(len(weights)):
            part = reduce(lambda r, w: w.T @ r, weights[:i:-1], residual)
            result.append(reduce(lambda r, w: r @ w.T, weights[:i], part).ravel())
        return np.concatenate(result)

    begin = np.concatenate([np.ravel(w) for w in start])
    scale = np.abs(begin).max()
    done = solve_ivp(
        velocity, (0, until), begin, "DOP853", rtol=tol, atol=tol * scale, dense_output=True
    )
    assert done.success
    return lambda time: layers(done.sol(time))


def crossing(strength, level, until):
    return brentq(lambda time: strength(time) - level, 0, until, xtol=1e-12)


def measured_times(loss, start, until, *, fraction=0.5, tol=1e-9):
    """When each mode of the data reaches a fraction of its target along the simulated flow."""
    path = flow(loss, start, until, tol=tol)
    modes = joint_decomposition(loss)

    def strength(i):
        return lambda t: modes.left[:, i] @ reduce(lambda p, w: w @ p, path(t)) @ modes.right[:, i]

    return np.array(
        [crossing(strength(i), fraction * w, until) for i, w in enumerate(modes.targets)]
    )
