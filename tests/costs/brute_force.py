"""Representation costs by brute force: constrained minimisation over raw weights, by SciPy."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

LEAST = 3


def brute_force(network, predictor, *, n_starts=6, rng=0, scale=0.8, until=0.0):
    """Return the least ||w||^2 that was found with network(w) = predictor; inf if none was.

    After a few starts the first that ends at `until`, or below, is the last.
    """
    generator = np.random.default_rng(rng)
    b = np.ravel(predictor).astype(float)
    polynomial = _polynomial(network)
    with threadpool_limits(1):  # the matrices are small: threads would only wait for each other
        least = math.inf
        for start in range(n_starts):
            if start >= LEAST and least <= until * (1 + 1e-8):
                break
            least = min(least, _end(polynomial, b, scale * generator.standard_normal(polynomial.n)))
        return least


class Polynomial:
    """The predictor as a sum of monomials of the weights, from the layers' patterns alone."""

    def __init__(self, network):
        ends = np.cumsum([0, *(math.prod(shape) for shape in network.shapes)])
        self.n = int(ends[-1])
        entries = {(i, i): {(): 1.0} for i in range(network.n_inputs)}
        for layer, number in zip(network.layers, network.share, strict=True):
            p, after = layer.pattern, {}
            columns = {}
            for (middle, column), terms in entries.items():
                columns.setdefault(middle, []).append((column, terms))
            for place in range(len(p.row)):
                weight = int(p.weight[place])
                own = () if weight < 0 else (int(ends[number]) + weight,)
                for column, terms in columns.get(int(p.column[place]), ()):
                    total = after.setdefault((int(p.row[place]), column), {})
                    for monomial, factor in terms.items():
                        key = tuple(sorted(monomial + own))
                        total[key] = total.get(key, 0.0) + factor * p.coefficient[place]
            entries = after
        every = [(place, *term) for place, terms in entries.items() for term in terms.items()]
        degree = max(1, max((len(monomial) for _, monomial, _ in every), default=1))
        # One more weight, which is 1, fills monomials of lower degree.
        self.factors = np.array(
            [[*m, *[self.n] * (degree - len(m))] for _, m, _ in every], int
        ).reshape(-1, degree)
        self.coefficients = np.array([factor for *_, factor in every])
        self.rows = np.array([i * network.n_inputs + j for (i, j), *_ in every], int)
        self.n_entries = network.n_outputs * network.n_inputs
        self.places = self.rows[:, None] * (self.n + 1) + self.factors

    def value(self, w):
        terms = self.coefficients * np.append(w, 1.0)[self.factors].prod(axis=1)
        return np.bincount(self.rows, terms, self.n_entries)

    def jacobian(self, w):
        powers = np.append(w, 1.0)[self.factors]
        degree = powers.shape[1]
        below, above = np.ones_like(powers), np.ones_like(powers)
        for k in range(1, degree):
            below[:, k] = below[:, k - 1] * powers[:, k - 1]
            above[:, -k - 1] = above[:, -k] * powers[:, -k]
        slopes = self.coefficients[:, None] * below * above
        size = self.n_entries * (self.n + 1)
        table = np.bincount(self.places.ravel(), slopes.ravel(), size)
        return table.reshape(self.n_entries, self.n + 1)[:, :-1]


_polynomial = lru_cache(maxsize=None)(Polynomial)


def _end(f, b, start):
    """Return the squared norm of the feasible weights that a start ends at, inf if it fails."""
    found = minimize(
        lambda w: (w @ w, 2 * w),
        start,
        jac=True,
        constraints={"type": "eq", "fun": lambda w: f.value(w) - b, "jac": f.jacobian},
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-13},
    )
    w = found.x
    for _ in range(6):
        if not (np.isfinite(w).all() and np.abs(w).max() < 1e6):
            return math.inf
        w = w - np.linalg.lstsq(f.jacobian(w), f.value(w) - b, rcond=1e-10)[0]
    return (
        float(w @ w) if np.abs(f.value(w) - b).max() <= 1e-11 * (1 + np.abs(b).max()) else math.inf
    )
