"""Costs from theory, written a second time and in other ways, so that claims can fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base.validate import FloatArray

_GOLDEN = (np.sqrt(5) - 1) / 2


def least(f: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the least values of convex functions of one number, all of an array at once."""
    low, high = low.astype(float), high.astype(float)
    best = np.minimum(f(low), f(high))
    for _ in range(90):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        at_left, at_right = f(left), f(right)
        best = np.minimum(best, np.minimum(at_left, at_right))
        lower_left = at_left < at_right
        low, high = np.where(lower_left, low, left), np.where(lower_left, right, high)
    return best


def rho(t: FloatArray, n_blocks: int, scale: float = 1.0) -> FloatArray:
    """Return the cost of a number t by N residual blocks, ``min_a N a^2 + t^2 / (1 + s a)^(2 N)``.

    By search over a, without the equation for the minimum.
    """
    t = np.abs(np.asarray(t, float))
    # N a^2 <= t^2 at the minimum, and a grows far slower than t.
    most = np.minimum(t, 2 * t ** (1 / (n_blocks + 1)) / scale + 1) / np.sqrt(n_blocks)
    top = np.maximum(most, np.minimum(t, 1 / scale))
    return least(
        lambda a: n_blocks * a**2 + np.exp(2 * _log(t) - 2 * n_blocks * np.log1p(scale * a)),
        np.zeros_like(t),
        2 * top,
    )


def _log(t: FloatArray) -> FloatArray:
    return np.log(t, out=np.full(t.shape, -np.inf), where=t > 0)


def rho_limit(t: FloatArray) -> FloatArray:
    """Return the cost by very many blocks I + W / sqrt(N): s^2 + s with 2 s = lambertw(2 t^2)."""
    s = scipy.special.lambertw(2 * np.asarray(t, float) ** 2).real / 2
    result: FloatArray = s**2 + s
    return result


def full_width(beta: FloatArray, n_layers: int) -> FloatArray:
    """Return the cost by circular convolutions of full width: (L / D) sum |bhat|^(2 / L)."""
    modes = np.abs(np.fft.fft(beta, axis=-1))
    modes[modes < 1e-12 * modes.max(axis=-1, keepdims=True)] = 0
    result: FloatArray = n_layers * np.mean(modes ** (2 / n_layers), axis=-1)
    return result


def two_taps(beta: FloatArray, n_layers: int) -> FloatArray:
    """Return the cost by kernels of width 2, a convex problem in one number."""
    extent = beta.shape[-1]
    power = np.abs(np.fft.fft(beta, axis=-1)) ** 2
    power[power < 1e-24 * power.max(axis=-1, keepdims=True)] = 0
    cosine = np.cos(2 * np.pi * np.arange(extent) / extent)

    def objective(r: FloatArray) -> FloatArray:
        p = np.maximum(1 + r[..., None] * cosine, 0.0)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            terms = np.where(power > 0, power * p ** -float(n_layers - 1), 0.0)
        return np.asarray(np.mean(terms, axis=-1))

    one = np.ones(beta.shape[:-1])
    return np.asarray(n_layers * least(objective, -one, one) ** (1 / n_layers))


def depth_limit_of_kernels(modes: npt.NDArray[np.intp], extent: int, width: int) -> float:
    """Return the limit of R / L for kernels of a width: 1 / max_p min p over some frequencies.

    A linear program: p has mean 1, degree below the width, and is not negative, here on a grid.
    """
    grid = np.linspace(0, np.pi, 40 * width + 1)
    order = np.arange(1, width)
    size = width - 1
    # Variables: coefficients 2 r_k, and the least value z.
    at_modes = np.cos(2 * np.pi * np.asarray(modes)[:, None] * order / extent)
    rows = np.vstack(
        [
            np.hstack([-at_modes, np.ones((len(modes), 1))]),
            np.hstack([-np.cos(grid[:, None] * order), np.zeros((len(grid), 1))]),
        ]
    )
    cost = np.zeros(size + 1)
    cost[-1] = -1
    found = scipy.optimize.linprog(
        cost, A_ub=rows, b_ub=np.ones(len(rows)), bounds=(None, None), method="highs"
    )
    return float(1 / -found.fun)


def certificate(beta: FloatArray, kernel: FloatArray, n_layers: int) -> float:
    """Return how far a kernel is from optimal: the largest eigenvalue of a Toeplitz matrix, less 1.

    With p the kernel's power and t the shares of |bhat|^2 / p^(L-1), the matrix has the Fourier
    coefficients of t / p; 0 means that no kernel of this width is better.
    """
    extent, width = len(beta), len(kernel)
    power = np.abs(np.fft.fft(beta)) ** 2
    p = np.abs(np.fft.fft(kernel / np.linalg.norm(kernel), extent)) ** 2
    logs = np.log(np.maximum(power, 1e-300)) - (n_layers - 1) * np.log(np.maximum(p, 1e-300))
    logs[power < 1e-24 * power.max()] = -np.inf
    share = np.exp(logs - logs.max())
    share /= share.sum()
    ratio = np.where(share > 0, share / np.maximum(p, 1e-300), 0.0)
    tau = np.fft.fft(ratio).real
    lag = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
    return float(np.linalg.eigvalsh(tau[lag])[-1] - 1)
