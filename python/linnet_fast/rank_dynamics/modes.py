"""Closed forms of single modes under gradient flow.

Where the data commute (see `joint_decomposition`) and the start is along their singular vectors, each
mode of strength w = u^T P v moves by itself. With sigma its singular value of ``cross_cov`` and lam
its eigenvalue of ``input_cov``, the product of L balanced layers follows dw/dt = L w^(2 - 2/L) (sigma -
lam w), and comes to rest at sigma / lam.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics import _deep


class ModePath(NamedTuple):
    """A mode at given times or steps.

    Attributes
    ----------
    strength : ndarray of float64
        w, the mode of the end-to-end matrix; 0 where it underflows.
    log_strength : ndarray of float64
        ln w, which does not underflow; -inf for a mode that is zero.
    remaining : ndarray of float64
        1 - lam w / sigma with full relative accuracy: what is left to learn. Negative above the
        resting strength; NaN where sigma is 0.
    """

    strength: FloatArray
    log_strength: FloatArray
    remaining: FloatArray


def mode_flow(
    time: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    n_layers: int = 2,
) -> ModePath:
    """Return a balanced mode along the gradient flow, for any depth.

    Parameters
    ----------
    time : array_like
        Times >= 0. All arrays broadcast.
    sigma : array_like
        Singular value >= 0 of ``cross_cov``.
    lam : array_like, default 1
        Eigenvalue >= 0 of ``input_cov``.
    strength : array_like, optional
        The mode of the end-to-end matrix at time 0, >= 0. Either this or `log_strength`.
    log_strength : array_like, optional
        Its logarithm, which may be far below the range of floating point, -1e6 say.
    n_layers : int, default 2
        Number of layers L; each has the singular value w^(1/L).

    Returns
    -------
    ModePath

    Raises
    ------
    TypeError
        If neither or both of `strength` and `log_strength` are given, or a type is wrong.
    ValueError
        If a number is out of range.

    Notes
    -----
    Two layers: w = w_0 / (q + lam w_0 (1 - q) / sigma) with q = exp(-2 sigma t). Three and more: the
    time is an integral of a rational function of w^(1/L), inverted by Newton's method. Relative
    accuracy is about 1e-13 (times the condition of the problem near an escape).

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014. G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit
    regularization of discrete gradient dynamics in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> path = mode_flow([0.0, 5.0, 10.0], sigma=2.0, strength=1e-8)
    >>> path.strength.round(4).tolist()
    [0.0, 1.4162, 2.0]
    >>> float(mode_flow(1e6, 0.5, log_strength=-1e6).log_strength.round(6))
    -1.098612
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    t = validate.real_array("time", time, at_least=0)
    s, lm = _rates(sigma, lam)
    log_start, gap = _start(s, lm, strength, log_strength)
    t, s, lm, log_start, gap = np.broadcast_arrays(t, s, lm, log_start, gap)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if depth == 1:
            log_w, remaining = _one_layer(t, s, lm, log_start, gap)
        elif depth == 2:
            log_w, remaining = _two_layers(t, s, lm, log_start, gap)
        else:
            log_w, remaining = _more_layers(t, s, lm, log_start, gap, depth)
        learned = (np.abs(remaining) < 0.5) & (s > 0) & (lm > 0)
        log_rest = np.log(s) - np.log(lm)
        # Near rest the resting strength is the better reference.
        log_w = np.where(learned, log_rest + np.log1p(-np.where(learned, remaining, 0)), log_w)
        w = np.where(learned, (s / lm) * (1 - np.where(learned, remaining, 0)), np.exp(log_w))
    return ModePath(w, log_w, remaining)


def learning_time(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    fraction: npt.ArrayLike = 0.5,
    n_layers: int = 2,
) -> FloatArray:
    """Return the time at which a balanced mode reaches a fraction of its resting strength.

    Parameters
    ----------
    sigma, lam, strength, log_strength, n_layers
        As for `mode_flow`.
    fraction : array_like, default 0.5
        In (0, 1).

    Returns
    -------
    ndarray of float64
        0 where the mode is above from the start, inf where it never gets there (sigma, lam or the
        start is 0).

    Raises
    ------
    TypeError, ValueError
        As `mode_flow`.

    Notes
    -----
    Two layers: [logit(fraction) + ln(sigma / (lam w_0) - 1)] / (2 sigma). From a tenth to nine tenths
    it takes ln(9) / sigma, whatever the start was.

    Examples
    --------
    >>> learning_time([3.0, 2.0, 1.0], strength=1e-8).round(3).tolist()
    [3.253, 4.778, 9.21]
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    q = validate.real_array("fraction", fraction)
    validate.refuse("fraction", "in (0, 1)", q, ~((q > 0) & (q < 1)))
    s, lm = _rates(sigma, lam)
    log_start, gap = _start(s, lm, strength, log_strength)
    s, lm, log_start, gap, q = np.broadcast_arrays(s, lm, log_start, gap, q)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_x = np.log(lm) - np.log(s) + log_start
        if depth == 1:
            time = (np.log(gap) - np.log1p(-q)) / lm
        else:
            begin = log_x - np.log(gap)
            end = np.log(q) - np.log1p(-q)
            if depth == 2:
                time = (end - begin) / (2 * s)
            else:
                tau = _deep.tau_below(end, depth) - _deep.tau_below(begin, depth)
                time = tau / s * np.exp((1 - 2 / depth) * (np.log(lm) - np.log(s)))
        never = (s == 0) | (lm == 0) | (np.isneginf(log_start) & (depth > 1))
        return np.where(never, np.inf, np.where(log_x >= np.log(q), 0.0, time))


def factor_flow(
    time: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    log_scale: npt.ArrayLike = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return the two factors of a mode of two layers along the gradient flow.

    The factors need be neither balanced nor positive: da/dt = b (sigma - lam a b) and db/dt = a (sigma
    - lam a b) from a = first e^log_scale, b = second e^log_scale.

    Parameters
    ----------
    time : array_like
        Times >= 0. All arrays broadcast.
    sigma, lam : array_like
        As for `mode_flow`.
    first, second : array_like
        Factors of the first and of the second layer at time 0, in units of e^log_scale; any signs.
    log_scale : array_like, default 0
        For starts below the range of floating point; at most 300.

    Returns
    -------
    a, b : ndarray of float64
        The factors; their product is the strength of the mode.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If a number is out of range.

    Notes
    -----
    b / a obeys a Riccati equation with constant coefficients, for a^2 - b^2 is conserved. The form
    used has no cancellation and holds for all signs, sigma = 0 and lam = 0 included. It is that of
    Saxe et al. (2014) in other variables.

    Examples
    --------
    >>> a, b = factor_flow([0.0, 50.0], 1.0, 1.0, first=2.0, second=0.1)
    >>> (a * b).round(6).tolist(), (a**2 - b**2).round(6).tolist()
    ([0.2, 1.0], [3.99, 3.99])
    """
    t = validate.real_array("time", time, at_least=0)
    s, lm = _rates(sigma, lam)
    a0 = validate.real_array("first", first)
    b0 = validate.real_array("second", second)
    scale = validate.real_array("log_scale", log_scale)
    validate.refuse("log_scale", "<= 300", scale, scale > 300)
    t, s, lm, a0, b0, scale = np.broadcast_arrays(t, s, lm, a0, b0, scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        total, gap = a0 + b0, a0 - b0
        m = 0.5 * lm * gap * total * np.exp(2 * scale)
        rho = np.hypot(s, m)
        q = np.exp(-2 * rho * t)
        still = rho < 1e-300  # in all times that there are, nothing happens
        tanh = np.where(still, t, -np.expm1(-2 * rho * t) / (np.where(still, 1, rho) * (1 + q)))
        kappa = np.where(
            still, 0.0, (m / np.where(still, 1, rho)) * (m / np.where(still, 1, rho + s))
        )
        # P = 1 - sigma tanh, by logarithms for it may underflow.
        log_p = np.logaddexp(np.log(kappa), -2 * rho * t + np.log(2 - kappa)) - np.log1p(q)
        log_p = np.where(still, 0.0, log_p)
        p = np.exp(log_p)
        grow = np.log(0.5 * lm * tanh) + 2 * scale
        log_g = np.logaddexp(log_p, grow + 2 * np.log(np.abs(total)))
        log_g = log_g + np.log1p(s * tanh + np.exp(grow + 2 * np.log(np.abs(gap))))
        size = np.exp(scale - 0.5 * log_g)
        one = 1 + s * tanh
        # A factor that only decays is kept apart, so that it does not vanish beside a zero.
        a = 0.5 * (
            total * (one + m * tanh) * size
            + gap * _times(p + m * tanh, log_p, m, size, scale, log_g)
        )
        b = 0.5 * (
            total * (one - m * tanh) * size
            - gap * _times(p - m * tanh, log_p, m, size, scale, log_g)
        )
    return a, b


def _times(
    value: FloatArray,
    log_p: FloatArray,
    m: FloatArray,
    size: FloatArray,
    scale: FloatArray,
    log_g: FloatArray,
) -> FloatArray:
    """Return value * size; where value is P alone, from the logarithms."""
    return np.where(m == 0, np.exp(log_p + scale - 0.5 * log_g), value * size)


def factor_time(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    log_scale: npt.ArrayLike = 0.0,
    fraction: npt.ArrayLike = 0.5,
) -> FloatArray:
    """Return the time at which the product of two factors reaches a fraction of its resting strength.

    Parameters
    ----------
    sigma, lam, first, second, log_scale
        As for `factor_flow`.
    fraction : array_like, default 0.5
        In (0, 1).

    Returns
    -------
    ndarray of float64
        By bisection of `factor_flow`, to rounding. 0 where it is above from the start, inf where it
        never gets there (sigma = 0, lam = 0, or first = -second, which leads to the saddle).

    Raises
    ------
    TypeError, ValueError
        As `factor_flow`.

    Examples
    --------
    >>> float(factor_time(1.0, 1.0, 1e-4, 1e-4).round(6)), float(factor_time(1.0, 1.0, 2e-4, 0.0).round(6))
    (9.21034, 9.21034)
    """
    q = validate.real_array("fraction", fraction)
    validate.refuse("fraction", "in (0, 1)", q, ~((q > 0) & (q < 1)))
    s, lm = _rates(sigma, lam)
    a0 = validate.real_array("first", first)
    b0 = validate.real_array("second", second)
    scale = validate.real_array("log_scale", log_scale)
    s, lm, a0, b0, scale, q = np.broadcast_arrays(s, lm, a0, b0, scale, q)
    never = (s == 0) | (lm == 0) | (a0 + b0 == 0)
    target = np.where(never, np.inf, q * s / np.where(lm > 0, lm, 1.0))

    def reached(t: FloatArray) -> npt.NDArray[np.bool_]:
        a, b = factor_flow(t, s, lm, a0, b0, log_scale=scale)
        return np.asarray(a * b >= target)

    low = np.zeros(s.shape)
    high = np.where(never, 0.0, (1 + np.abs(scale)) / np.where(s > 0, s, 1.0))
    at_once = reached(low)
    for _ in range(100):
        short = ~reached(high) & ~never
        if not short.any():
            break
        high = np.where(short, 2 * high, high)
    for _ in range(110):
        middle = 0.5 * (low + high)
        above = reached(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(never, np.where(at_once, 0.0, np.inf), np.where(at_once, 0.0, high))


def limit_time(sigma: npt.ArrayLike, *, step_size: npt.ArrayLike | None = None) -> FloatArray:
    """Return the learning time of a mode in the limit of a vanishing start, per unit of delta.

    From balanced layers of scale e^-delta, mode i of two layers is learned at time delta times this as
    delta goes to infinity.

    Parameters
    ----------
    sigma : array_like
        Singular values >= 0 of ``cross_cov``.
    step_size : array_like, optional
        For gradient descent: the result is in steps then.

    Returns
    -------
    ndarray of float64
        1 / sigma, or 1 / ln(1 + step_size sigma) steps; inf for sigma = 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Notes
    -----
    The flow after Gidel, Bach, Lacoste-Julien 2019. For descent the growth (1 + step_size sigma)^2 a
    step of a small mode is exact; the limit holds for step_size sigma <= 1/2.

    Examples
    --------
    >>> limit_time([2.0, 1.0]).tolist(), limit_time([2.0, 1.0], step_size=0.1).round(2).tolist()
    ([0.5, 1.0], [5.48, 10.49])
    """
    s = validate.real_array("sigma", sigma, at_least=0)
    with np.errstate(divide="ignore"):
        if step_size is None:
            return np.asarray(1 / s)
        eta = validate.real_array("step_size", step_size, above=0)
        return np.asarray(1 / np.log1p(eta * s))


def escape_time(sigma: npt.ArrayLike, layer_scale: npt.ArrayLike, n_layers: int) -> FloatArray:
    """Return when a mode of three or more balanced layers escapes from a small start.

    Parameters
    ----------
    sigma : array_like
        Singular values > 0 of ``cross_cov``.
    layer_scale : array_like
        Strength > 0 of the mode in each layer at time 0.
    n_layers : int
        L, at least 3; for two layers use `learning_time`.

    Returns
    -------
    ndarray of float64
        layer_scale^(2 - L) / ((L - 2) sigma), whatever lam is: what is left out is of the order of the
        width of the transition, which does not depend on the start.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Examples
    --------
    >>> float(escape_time(1.0, 1e-3, 3).round(6))
    1000.0
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    if depth < 3:
        msg = f"n_layers must be >= 3, got {depth}: fewer layers escape by learning_time"
        raise ValueError(msg)
    s = validate.real_array("sigma", sigma, above=0)
    scale = validate.real_array("layer_scale", layer_scale, above=0)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp((2 - depth) * np.log(scale)) / ((depth - 2) * s))


def _rates(sigma: npt.ArrayLike, lam: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return sigma and lam, checked."""
    s = validate.real_array("sigma", sigma, at_least=0)
    return s, validate.real_array("lam", lam, at_least=0)


def _start(
    sigma: FloatArray,
    lam: FloatArray,
    strength: npt.ArrayLike | None,
    log_strength: npt.ArrayLike | None,
) -> tuple[FloatArray, FloatArray]:
    """Return ln w_0 and 1 - lam w_0 / sigma from whichever of the two was given."""
    if (strength is None) == (log_strength is None):
        got = "neither" if strength is None else "both"
        msg = f"either strength or log_strength must be given, got {got}"
        raise TypeError(msg)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if log_strength is not None:
            log_w: Any = validate.real_array("log_strength", log_strength)
            log_x = log_w + np.log(lam) - np.log(sigma)
            return log_w, -np.expm1(log_x)
        w = validate.real_array("strength", strength if strength is not None else 0.0)
        if (w < 0).any():
            msg = f"strength must be >= 0, got {w.min():g}; for factors of any sign use factor_flow"
            raise ValueError(msg)
        return np.log(w), (sigma - lam * w) / sigma


def _one_layer(
    t: FloatArray, s: FloatArray, lm: FloatArray, log_start: FloatArray, gap: FloatArray
) -> tuple[FloatArray, FloatArray]:
    decay = np.exp(-lm * t)
    grown = np.where(lm > 0, -np.expm1(-lm * t) / np.where(lm > 0, lm, 1), t)
    log_w = np.logaddexp(log_start - lm * t, np.log(s) + np.log(grown))
    return log_w, np.where(s > 0, decay * gap, np.nan)


def _two_layers(
    t: FloatArray, s: FloatArray, lm: FloatArray, log_start: FloatArray, gap: FloatArray
) -> tuple[FloatArray, FloatArray]:
    log_q = -2 * s * t
    # lam w_0 (1 - q) / sigma, where sigma may be 0
    share = np.where(s > 0, -np.expm1(log_q) / np.where(s > 0, s, 1), 2 * t)
    log_below = np.logaddexp(log_q, log_start + np.log(lm) + np.log(share))
    remaining = np.sign(gap) * np.exp(np.log(np.abs(gap)) + log_q - log_below)
    # Nothing to reach without lam.
    remaining = np.where(lm > 0, np.where(gap == 0, 0.0, remaining), 1.0)
    log_w = np.where(np.isneginf(log_start), -np.inf, log_start - log_below)
    return log_w, np.where(s > 0, np.where(np.isneginf(log_start), 1.0, remaining), np.nan)


def _more_layers(
    t: FloatArray, s: FloatArray, lm: FloatArray, log_start: FloatArray, gap: FloatArray, depth: int
) -> tuple[FloatArray, FloatArray]:
    zero = np.isneginf(log_start)
    log_x = log_start + np.log(lm) - np.log(s)
    regular = (s > 0) & (lm > 0) & ~zero & (gap != 0)
    above = regular & (gap < 0)
    tau = np.where(regular, t * s * np.exp((1 - 2 / depth) * (np.log(s) - np.log(lm))), 0.0)
    # expit(z) is x below and 1/x above: 1/expit(z) - 1 is 1/x - 1, or x - 1.
    z = np.where(above, -np.log(np.abs(gap)), log_x - np.log(np.abs(gap)))
    z = np.where(regular, z, 0.0)
    below = regular & ~above
    end = np.zeros_like(z)
    if below.any():
        end[below] = _deep.advance_below(z[below], tau[below], depth)
    if above.any():
        end[above] = _deep.advance_above(z[above], tau[above], depth)
    log_end, remaining = _deep.strength_of(end, above)
    log_w = log_end + np.log(s) - np.log(lm)
    remaining = np.where(gap == 0, 0.0, np.where(zero | (lm == 0), 1.0, remaining))
    # At rest from the start; nothing to grow from; without sigma; without lam.
    log_w = np.where(gap == 0, log_start, log_w)
    power = 2 - 2 / depth
    decayed = -np.logaddexp(-power * log_start, np.log((2 * depth - 2) * lm * t)) / power
    log_w = np.where(s == 0, decayed, log_w)
    ratio = (depth - 2) * s * t * np.exp((depth - 2) / depth * log_start)
    escaped = np.where(ratio < 1, -np.log1p(-np.minimum(ratio, 1)) * depth / (depth - 2), np.inf)
    log_w = np.where((lm == 0) & (s > 0), log_start + escaped, log_w)
    log_w = np.where((s == 0) & (lm == 0), log_start, log_w)
    return np.where(zero, -np.inf, log_w), np.where(s > 0, remaining, np.nan)
