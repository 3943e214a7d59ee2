"""Single modes under gradient descent: exact recursions, bounds, step counts, step-size regimes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics.modes import ModePath, _rates, _start, learning_time

_MOST_STEPS = 2**53


def mode_descent(
    steps: npt.ArrayLike,
    step_size: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    n_layers: int = 2,
) -> ModePath:
    """Return a balanced mode under gradient descent, by its exact recursion.

    Each layer's singular value a = w^(1/L) goes to a + step_size a^(L - 1) (sigma - lam a^L).

    Parameters
    ----------
    steps : array_like of int, shape (n_steps,) or ()
        Steps >= 0, in any order.
    step_size : array_like
        Positive. It, `sigma`, `lam` and the start broadcast to shape (*modes).
    sigma, lam, strength, log_strength, n_layers
        As for `mode_flow`.

    Returns
    -------
    ModePath
        Arrays of shape (*modes, n_steps), or (*modes) for a single step. inf or NaN where the step
        size is so large that the mode diverges.

    Raises
    ------
    TypeError, ValueError
        As `mode_flow`.

    Notes
    -----
    It costs some 30 ns a step and mode, in compiled code. Two layers below rest are iterated in
    logit(1 - lam w / sigma), which keeps relative accuracy at both ends, from any scale of the start.
    Deeper modes start from where e^(log_strength / L) can be represented.

    Examples
    --------
    >>> path = mode_descent([0, 200, 400], 0.05, sigma=1.0, strength=1e-8)
    >>> path.strength.round(4).tolist()
    [0.0, 0.7687, 1.0]
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    at, scalar = _steps(steps)
    eta = validate.real_array("step_size", step_size, above=0)
    s, lm = _rates(sigma, lam)
    log_start, gap = _start(s, lm, strength, log_strength)
    arrays = np.broadcast_arrays(eta, s, lm, log_start, gap)
    modes = arrays[0].shape
    eta, s, lm, log_start, gap = (x.ravel() for x in arrays)
    unique, where = np.unique(at, return_inverse=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if depth == 1:
            log_w, left = _one_layer(unique, eta, s, lm, log_start, gap)
        elif depth == 2:
            log_w, left = _two_layers(unique, eta, s, lm, log_start, gap)
        else:
            layer = _core.layer_descent(
                layer=np.exp(log_start / depth),
                step_size=eta,
                sigma=s,
                lam=lm,
                n_layers=depth,
                steps=unique.tolist(),
            )
            # With large steps a layer may change its sign, and of an odd number the mode does too.
            log_w = np.where(layer**depth < 0, np.nan, depth * np.log(np.abs(layer)))
            left = 1 - (lm / s)[:, None] * layer**depth
        left = np.where((s > 0)[:, None], left, np.nan)
        learned = (np.abs(left) < 0.5) & (s > 0)[:, None] & (lm > 0)[:, None]
        rest = (s / np.where(lm > 0, lm, 1.0))[:, None]
        part = np.where(learned, left, 0.0)
        w = np.where(learned, rest * (1 - part), np.exp(log_w))
        log_w = np.where(learned, np.log(rest) + np.log1p(-part), log_w)
    shape = modes if scalar else (*modes, at.size)
    w, log_w, left = (x[:, where].reshape(shape) for x in (w, log_w, left))
    return ModePath(w, log_w, left)


def factor_descent(
    steps: npt.ArrayLike,
    step_size: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return the two factors of a mode of two layers under gradient descent, by its recursion.

    Parameters
    ----------
    steps : array_like of int, shape (n_steps,) or ()
        Steps >= 0, in any order.
    step_size, sigma, lam
        As for `mode_descent`.
    first, second : array_like
        Factors of the first and of the second layer at step 0, of any sign. All but `steps`
        broadcast to shape (*modes).

    Returns
    -------
    a, b : ndarray of float64, shape (*modes, n_steps), or (*modes) for a single step
        inf or NaN where they diverge.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> a, b = factor_descent([0, 1, 100], 0.1, 1.0, 1.0, first=2.0, second=0.1)
    >>> (a * b).round(4).tolist()
    [0.2, 0.5221, 1.0]
    """
    at, scalar = _steps(steps)
    eta = validate.real_array("step_size", step_size, above=0)
    s, lm = _rates(sigma, lam)
    a = validate.real_array("first", first)
    b = validate.real_array("second", second)
    arrays = np.broadcast_arrays(eta, s, lm, a, b)
    modes = arrays[0].shape
    eta, s, lm, a, b = (x.ravel() for x in arrays)
    unique, where = np.unique(at, return_inverse=True)
    both = _core.factor_descent(
        first=a, second=b, step_size=eta, sigma=s, lam=lm, steps=unique.tolist()
    )
    shape = modes if scalar else (*modes, at.size)
    return both[0][:, where].reshape(shape), both[1][:, where].reshape(shape)


def descent_bounds(
    steps: npt.ArrayLike,
    step_size: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds below and above on a balanced mode of two layers under gradient descent.

    Parameters
    ----------
    steps : array_like
        Steps >= 0. All arrays broadcast.
    step_size, sigma, lam, strength, log_strength
        As for `mode_descent`, with 0 < step_size * sigma <= 1/2 and a start not above rest.

    Returns
    -------
    lower, upper : ndarray of float64

    Raises
    ------
    TypeError
        As `mode_flow`.
    ValueError
        If a number is out of range; outside the range of the bounds use `mode_descent`.

    Notes
    -----
    With r = (sigma - lam w) / w, each step multiplies r by a factor between 1 - 2 step_size sigma,
    which is attained near rest, and (1 + step_size sigma)^-2, attained near zero.

    Examples
    --------
    >>> lower, upper = descent_bounds(200, 0.05, 1.0, strength=1e-8)
    >>> bool(lower < mode_descent(200, 0.05, 1.0, strength=1e-8).strength < upper)
    True
    """
    at = validate.real_array("steps", steps, at_least=0)
    eta = validate.real_array("step_size", step_size, above=0)
    s, lm = _rates(sigma, lam)
    x = np.asarray(eta * s)
    instead = "use mode_descent, which is exact for any step size"
    validate.refuse("step_size * sigma", f"in (0, 1/2] ({instead})", x, ~((x > 0) & (x <= 0.5)))
    log_start, gap = _start(s, lm, strength, log_strength)
    low = np.asarray(gap)
    validate.refuse("1 - lam strength / sigma", ">= 0 (above rest use mode_descent)", low, low < 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_r = np.log(gap) + np.log(s) - log_start
        bounds = []
        for log_rate in (-2 * np.log1p(x), np.log1p(-2 * x)):
            moved = np.where(at == 0, log_r, log_r + at * log_rate)
            # sigma / (lam + r)
            bounds.append(np.exp(np.log(s) - np.logaddexp(np.log(lm), moved)))
    lower, upper = np.broadcast_arrays(*bounds)
    return lower, upper


def learning_steps(
    step_size: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    fraction: npt.ArrayLike = 0.5,
    n_layers: int = 2,
) -> FloatArray:
    """Predict the number of steps in which a balanced mode reaches a fraction of its rest.

    Parameters
    ----------
    step_size, sigma, lam, strength, log_strength, n_layers
        As for `mode_descent`.
    fraction : array_like, default 0.5
        In (0, 1).

    Returns
    -------
    ndarray of float64
        A real number of steps. Two layers: within 0.6 of the exact count for step_size * sigma <=
        0.3. Other depths: up to terms of order step_size times the sharpness. 0 and inf as in
        `learning_time`.

    Raises
    ------
    TypeError, ValueError
        As `learning_time`.

    Notes
    -----
    Backward error analysis: descent follows a flow with a force that is changed by terms of order
    step_size. Two layers have the exact rates at both ends, 2 ln(1 + x) and -ln(1 - 2 x) with x =
    step_size sigma < 1/2; a larger x overshoots, and has no such count (nor has one layer from
    step_size lam = 1 on): use `mode_descent`.

    Examples
    --------
    >>> float(learning_steps(0.05, 1.0, strength=1e-8).round(1))
    188.2
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    eta = validate.real_array("step_size", step_size, above=0)
    time = learning_time(
        sigma,
        lam,
        strength=strength,
        log_strength=log_strength,
        fraction=fraction,
        n_layers=depth,
    )
    s, lm = _rates(sigma, lam)
    q = np.asarray(fraction, dtype=np.float64)
    log_start, gap = _start(s, lm, strength, log_strength)
    x = np.asarray(eta * s)
    instead = "use mode_descent, which is exact for any step size"
    if depth == 1:
        rate = np.asarray(eta * lm)
        validate.refuse("step_size * lam", f"< 1 ({instead})", rate, rate >= 1)
    elif depth == 2:
        validate.refuse("step_size * sigma", f"< 1/2 ({instead})", x, x >= 0.5)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_w = np.log(q) + np.log(s) - np.log(lm)
        log_left = np.log(gap) - np.log1p(-q)  # (sigma - lam w_0) / (sigma - lam w)
        if depth == 1:
            count = log_left / -np.log1p(-eta * lm)
        elif depth == 2:
            c, k = 1 - x / 2, 1.5 * eta * lm
            change = np.log((c + k * np.exp(log_w)) / (c + k * np.exp(log_start)))
            count = (log_w - log_start) / (2 * np.log1p(x)) + log_left / -np.log1p(-2 * x)
            count = count - 0.75 / (c * (1 + x)) * change
        else:
            force = (1 - 1 / depth) * (log_w - log_start) - log_left
            count = time / eta + 0.5 * force
        return np.where((time == 0) | np.isinf(time), time, count)


class StepSizeRegime(IntEnum):
    """What a balanced mode of two layers does under gradient descent, by step_size * sigma.

    Examples
    --------
    >>> StepSizeRegime(1).name
    'DAMPED'
    """

    MONOTONE = 0
    """Up to 1/2: rises to rest without overshooting."""
    DAMPED = 1
    """Below 1: oscillates about rest and settles."""
    PERIOD_TWO = 2
    """Below sqrt(5) - 1: goes between two values for ever."""
    CHAOTIC = 3
    """Up to 2: period doubling and chaos, but bounded."""
    DIVERGENT = 4
    """Above 2: goes to infinity from almost every start."""


def step_size_regime(step_size: npt.ArrayLike, sigma: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Return the regime of a balanced mode of two layers.

    Parameters
    ----------
    step_size : array_like
        Positive.
    sigma : array_like
        Singular values >= 0 of ``cross_cov``; broadcast with `step_size`.

    Returns
    -------
    ndarray of int8
        A `StepSizeRegime` each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Notes
    -----
    With b = a sqrt(lam / sigma) and x = step_size sigma, a step is b <- b (1 + x (1 - b^2)).

    Examples
    --------
    >>> step_size_regime(0.1, [3.0, 7.0, 11.0, 15.0, 25.0]).tolist()
    [0, 1, 2, 3, 4]
    """
    eta = validate.real_array("step_size", step_size, above=0)
    s = validate.real_array("sigma", sigma, at_least=0)
    x = np.asarray(eta * s)
    regime = (x > 0.5).astype(np.int8) + (x >= 1) + (x >= np.sqrt(5) - 1) + (x > 2)
    return np.asarray(regime, dtype=np.int8)


def _steps(steps: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], bool]:
    """Return steps as a vector, and whether a single one was given."""
    array = np.asarray(steps)
    if array.dtype.kind not in "iu" or array.size == 0:
        msg = f"steps must be integers, got dtype {array.dtype} of shape {array.shape}"
        raise TypeError(msg)
    if array.ndim > 1:
        msg = f"steps must have shape (n_steps,), got {array.shape}"
        raise ValueError(msg)
    validate.refuse("steps", ">= 0", array, array < 0)
    validate.refuse("steps", f"<= {_MOST_STEPS}", array, array > _MOST_STEPS)
    return np.atleast_1d(array).astype(np.int64), array.ndim == 0


def _one_layer(
    steps: npt.NDArray[np.int64],
    eta: FloatArray,
    s: FloatArray,
    lm: FloatArray,
    log_start: FloatArray,
    gap: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    x = (eta * lm)[:, None]
    kept = np.where(steps == 0, 1.0, _power(1 - x, np.log1p(-x), steps))
    left = kept * gap[:, None]
    grown = np.where(x > 0, (1 - kept) / np.where(x > 0, x, 1.0), steps) * eta[:, None] * s[:, None]
    w = np.exp(log_start)[:, None] * kept + grown
    return np.log(w), np.where(s[:, None] > 0, left, np.nan)


def _power(base: FloatArray, log_base: FloatArray, steps: npt.NDArray[np.int64]) -> FloatArray:
    """Return base^steps, by the logarithm where the base is positive."""
    sign = np.where(steps % 2 == 0, 1.0, np.sign(base))
    log_size = np.where(base > 0, log_base, np.log(np.abs(base)))
    return sign * np.exp(steps * log_size)


def _two_layers(
    steps: npt.NDArray[np.int64],
    eta: FloatArray,
    s: FloatArray,
    lm: FloatArray,
    log_start: FloatArray,
    gap: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    shape = (len(eta), len(steps))
    log_w, left = np.empty(shape), np.empty(shape)
    x = eta * s
    by_logit = (s > 0) & (lm > 0) & (gap > 0) & np.isfinite(log_start) & (x < 0.5)
    grows = (lm == 0) & ~by_logit
    rest = ~by_logit & ~grows
    if by_logit.any():
        logit = (np.log(gap) + np.log(s) - np.log(lm) - log_start)[by_logit]
        z = _core.logit_descent(logit=logit, rate=x[by_logit], steps=steps.tolist())
        log_x = -np.logaddexp(0.0, z)
        log_w[by_logit] = log_x + (np.log(s) - np.log(lm))[by_logit][:, None]
        left[by_logit] = expit(z)
    if grows.any():
        log_w[grows] = log_start[grows][:, None] + 2 * steps * np.log1p(x[grows])[:, None]
        left[grows] = np.where(s[grows] > 0, 1.0, np.nan)[:, None]
    if rest.any():
        factor = np.exp(0.5 * log_start[rest])
        a = _core.factor_descent(
            first=factor,
            second=factor,
            step_size=eta[rest],
            sigma=s[rest],
            lam=lm[rest],
            steps=steps.tolist(),
        )[0]
        log_w[rest] = 2 * np.log(np.abs(a))
        left[rest] = (s[rest][:, None] - lm[rest][:, None] * a * a) / s[rest][:, None]
    return log_w, left
