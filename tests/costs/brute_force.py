"""Representation costs by brute force: constrained minimisation over raw weights, by SciPy."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits


def brute_force(network, predictor, *, n_starts=6, rng=0, scale=0.8):
    """Return the least ||w||^2 that was found with network(w) = predictor; inf if none was."""
    generator = np.random.default_rng(rng)
    sizes = [math.prod(shape) for shape in network.shapes]
    n, ends = sum(sizes), np.cumsum(sizes)[:-1]
    b = np.ravel(predictor).astype(float)

    def f(w):
        parts = np.split(w, ends, axis=-1)
        shaped = [x.reshape(*w.shape[:-1], *s) for x, s in zip(parts, network.shapes, strict=True)]
        return network._product(shaped).reshape(*w.shape[:-1], -1)

    def jacobian(w):  # exact: f is a polynomial
        return f(w + 1e-100j * np.eye(n)).imag.T / 1e-100

    with threadpool_limits(1):  # the matrices are small: threads would only wait for each other
        return min(_ends(f, jacobian, b, generator, n_starts, n, scale), default=math.inf)


def _ends(f, jacobian, b, generator, n_starts, n, scale):
    """Yield the squared norms of the feasible weights that starts end at."""
    constraint = {"type": "eq", "fun": lambda w: f(w) - b, "jac": jacobian}
    for _ in range(n_starts):
        found = minimize(
            lambda w: w @ w,
            scale * generator.standard_normal(n),
            jac=lambda w: 2 * w,
            constraints=constraint,
            method="SLSQP",
            options={"maxiter": 300, "ftol": 1e-15},
        )
        w = found.x
        for _ in range(6):
            if not (np.isfinite(w).all() and np.abs(w).max() < 1e6):
                break
            w = w - np.linalg.lstsq(jacobian(w), f(w) - b, rcond=1e-10)[0]
        else:
            if np.abs(f(w) - b).max() <= 1e-11 * (1 + np.abs(b).max()):
                yield float(w @ w)
