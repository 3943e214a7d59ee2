"""Flows of balanced weights that tests compare with, integrated by SciPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from scipy.integrate import solve_ivp


def flow(law, n_layers, s, r, times, *, rtol=1e-12):
    """Balanced gradient flow in s and p = r^(2/N), from time 0; the norm must stay away from 0."""
    n = n_layers

    def velocity(_, state):
        p = max(state[1], 1e-300)
        pull = law.h(p ** (n / 2)) - law.kappa * (1 + np.tanh(state[0]))
        return [-law.kappa * p ** (n / 2 - 1), 2 * p ** (n / 2) * pull]

    begin = [s, r ** (2 / n)]
    done = solve_ivp(velocity, (0, times[-1]), begin, "DOP853", rtol=rtol, atol=1e-13, t_eval=times)
    assert done.success
    return SimpleNamespace(
        time=times, log_tan_half_angle=done.y[0], norm=done.y[1] ** (n / 2), law=law, n_layers=n
    )
