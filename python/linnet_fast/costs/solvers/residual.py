"""Costs of residual networks: one equation per singular value, solved in logarithms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base.validate import FloatArray

_LOG_2 = float(np.log(2))


def _log(t: FloatArray) -> FloatArray:
    """Return log t, -inf at 0, quietly."""
    return np.log(t, out=np.full(t.shape, -np.inf), where=t > 0)


def growth(log_target: FloatArray, power: float) -> FloatArray:
    """Return the a >= 0 with ``log a + power log(1 + a) = log_target``.

    The left side is convex and increasing in log a, so Newton's method from the right, where
    log a is the target itself, falls to the root without a safeguard.
    """
    finite = np.isfinite(log_target)
    goal = np.where(finite, log_target, 0.0)
    y = goal.copy()
    for _ in range(500):
        soft = np.logaddexp(0.0, y)
        step = (y + power * soft - goal) / (1 + power * np.exp(y - soft))
        y = y - step
        if not (np.abs(step) > 4e-16 * (1 + np.abs(y))).any():
            break
    return np.where(finite, np.exp(y), 0.0)


def trainable_top(
    t: npt.ArrayLike, n_blocks: int, scale: float = 1.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``rho_N(t) = min_a N a^2 + t^2 / (1 + scale a)^(2 N)``, the block's a and the top.

    After Dai, Karzand, Srebro 2021. With b = scale a the minimum is where
    ``b (1 + b)^(2 N + 1) = scale^2 t^2``, and is ``(b + (N + 1) b^2) / scale^2``.
    """
    size = np.asarray(t, np.float64)
    b = growth(2 * (_log(size) + np.log(abs(scale))), 2 * n_blocks + 1)
    value = b * (1 + (n_blocks + 1) * b) / scale**2
    top = size * np.exp(-n_blocks * np.log1p(b))
    return value, b / scale, top


def embedded(
    t: npt.ArrayLike, n_blocks: int, scale: float = 1.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``min_a N a^2 + 2 t / (1 + scale a)^N``, the block's a, and the two ends' size."""
    size = np.asarray(t, np.float64)
    b = growth(_log(size) + 2 * np.log(abs(scale)), n_blocks + 1)
    value = b * (2 + (n_blocks + 2) * b) / scale**2
    end = np.sqrt(size) * np.exp(-0.5 * n_blocks * np.log1p(b))
    return value, b / scale, end


def two_layer_blocks(t: npt.ArrayLike, n_blocks: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the cost of blocks ``I + W2 W1``, the block's ``x`` in 1 + x, and the top."""
    size = np.asarray(t, np.float64)
    log_t = np.maximum(_log(size), 0.0)
    small = size <= 1
    x = np.expm1(2 * log_t / (2 * n_blocks + 1))
    value = np.where(
        small,
        np.square(np.minimum(size, 1.0)),
        2 * n_blocks * x + np.exp(2 * log_t / (2 * n_blocks + 1)),
    )
    top = np.where(small, size, np.exp(log_t / (2 * n_blocks + 1)))
    return value, x, top


def _root(log_target: FloatArray) -> FloatArray:
    """Return the x with x exp(x) = exp(log_target): Lambert's W, which does not overflow."""
    finite = np.isfinite(log_target)
    return np.where(
        finite, np.real(scipy.special.wrightomega(np.where(finite, log_target, 0.0))), 0.0
    )


def depth_limit(t: npt.ArrayLike, strength: float = 1.0) -> FloatArray:
    """Return the limit of `trainable_top` for scale = strength / sqrt(N).

    ``min_x x^2 + t^2 exp(-2 strength x)``; with strength 1 it is s^2 + s, s = W_0(2 t^2) / 2.
    """
    log_t = _log(np.asarray(t, np.float64))
    x = _root(_LOG_2 + 2 * (log_t + np.log(strength))) / (2 * strength)
    return np.asarray(x * x + x / strength)


def embedded_limit(t: npt.ArrayLike, strength: float = 1.0) -> FloatArray:
    """Return the limit of `embedded` for scale = strength / sqrt(N)."""
    x = _root(_log(np.asarray(t, np.float64)) + 2 * np.log(strength)) / strength
    return np.asarray(x * x + 2 * x / strength)
