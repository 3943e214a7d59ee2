"""Closed forms of single modes under gradient flow.

Where the data commute (see `joint_decomposition`) and the start is along their singular vectors, each
mode of strength w = u^T P v moves by itself. With sigma its singular value of ``cross_cov`` and lam
its eigenvalue of ``input_cov``, the product of L balanced layers follows dw/dt = L w^(2 - 2/L) (sigma -
lam w), and comes to rest at sigma / lam.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics import _deep
from linnet_fast.rank_dynamics._wide import Wide, less_product

MOST_NUMBERS = 2**24  # numbers in a result: what a few gigabytes hold


class ModePath(NamedTuple):
    """A mode at given times or steps.

    Attributes
    ----------
    strength : ndarray of float64
        w, the mode of the end-to-end matrix; 0 where it underflows, inf where it overflows.
    log_strength : ndarray of float64
        ln |w|, which does neither; -inf for a mode that is zero.
    remaining : ndarray of float64
        1 - lam w / sigma, what is left to learn, followed by itself so that it stays accurate however
        little it is. Negative above the resting strength; NaN where sigma is 0.
    """

    strength: FloatArray
    log_strength: FloatArray
    remaining: FloatArray


class Start(NamedTuple):
    """Where modes begin: w_0, its logarithm, 1 - lam w_0 / sigma."""

    strength: Wide
    log_strength: FloatArray
    gap: Wide


def mode_flow(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    time: npt.ArrayLike,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    n_layers: int = 2,
) -> ModePath:
    """Return a balanced mode along the gradient flow, for any depth.

    Parameters
    ----------
    sigma : array_like
        Singular value >= 0 of ``cross_cov``. All arrays broadcast.
    lam : array_like, default 1
        Eigenvalue >= 0 of ``input_cov``.
    time : array_like
        Times >= 0.
    strength : array_like, optional
        The mode of the end-to-end matrix at time 0, >= 0. Either this or `log_strength`.
    log_strength : array_like, optional
        Its logarithm, which may be far beyond the range of floating point, -1e6 say.
    n_layers : int, default 2
        Number of layers L, at most 1000; each has the singular value w^(1/L).

    Returns
    -------
    ModePath

    Raises
    ------
    TypeError
        If neither or both of `strength` and `log_strength` are given, or a type is wrong.
    ValueError
        If a number is out of range or shapes do not broadcast.

    Notes
    -----
    Two layers: w = w_0 / (q + lam w_0 (1 - q) / sigma) with q = exp(-2 sigma t). Three and more: the
    time is an integral of a rational function of w^(1/L), inverted by Newton's method. Numbers may be
    of any size: the relative error is about 1e-13, times the condition of the problem (near an escape
    from a small start, and where what remains decays by many powers of e, time itself is only known
    to 1e-16).

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014. G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit
    regularization of discrete gradient dynamics in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> path = mode_flow(2.0, time=[0.0, 5.0, 10.0], strength=1e-8)
    >>> path.strength.round(4).tolist()
    [0.0, 1.4162, 2.0]
    >>> float(mode_flow(0.5, time=1e6, log_strength=-1e6).log_strength.round(6))
    -1.098612
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    s, lm = rates(sigma, lam)
    t = validate.real_array("time", time, at_least=0)
    name, number = named_start(strength, log_strength)
    s, lm, t, number = broadcast(sigma=s, lam=lm, time=t, **{name: number})
    with np.errstate(all="ignore"):
        start = start_of(name, number, s, lm)
        moment, force, brake = Wide(t), Wide(s), Wide(lm)
        if depth == 1:
            w, remaining = _one_layer(moment, force, brake, start)
        elif depth == 2:
            w, remaining = _two_layers(moment, force, brake, start)
        else:
            w, remaining = _more_layers(moment, force, brake, start, depth)
        zero = start.strength.mantissa == 0
        begins = t == 0
        if depth > 1:
            w = Wide.where(zero, Wide(0.0), w)
            remaining = np.where(zero | (lm == 0), 1.0, remaining)
        w = Wide.where(begins, start.strength, w)
        remaining = np.where(begins, start.gap.double(), remaining)
        log_w = np.where(begins, start.log_strength, w.log())
        return ModePath(w.double(), log_w, np.where(s > 0, remaining, np.nan))


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
        start is 0) or the time exceeds the largest number.

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
    s, lm = rates(sigma, lam)
    q = checked_fraction(fraction)
    name, number = named_start(strength, log_strength)
    s, lm, q, number = broadcast(sigma=s, lam=lm, fraction=q, **{name: number})
    with np.errstate(all="ignore"):
        start = start_of(name, number, s, lm)
        return learning_times_of(s, lm, q, start, depth).double()


def learning_times_of(
    s: FloatArray, lm: FloatArray, q: FloatArray, start: Start, n_layers: int
) -> Wide:
    """Return learning times from a checked start; numpy's warnings are to be off."""
    force, brake = Wide(s), Wide(lm)
    x = start.strength * brake / force
    # By how much it has to grow, and what then remains.
    growth, left = less_product(Wide(q) * force, brake, start.strength) / force, Wide(1.0) - q
    if n_layers == 1:
        time = (growth / left).log1p() / brake
    elif n_layers == 2:
        time = (growth / (left * x)).log1p() / (force * 2.0)
    else:
        lag = _deep.tau_of(Wide(q), left, n_layers) - _deep.tau_of(x, start.gap, n_layers)
        time = lag / (force * (force / brake).power(n_layers - 2, n_layers) * n_layers)
    never = (s == 0) | (lm == 0)
    if n_layers > 1:
        never = never | (start.strength.mantissa == 0)
    time = Wide.where(growth.mantissa <= 0, Wide(0.0), time)
    return Wide.where(never, Wide(np.inf), time)


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
    if step_size is None:
        with np.errstate(all="ignore"):
            return np.asarray(1 / s)
    eta = validate.real_array("step_size", step_size, above=0)
    s, eta = broadcast(sigma=s, step_size=eta)
    with np.errstate(all="ignore"):
        return (Wide(1.0) / (Wide(eta) * s).log1p()).double()


def escape_time(sigma: npt.ArrayLike, *, layer_scale: npt.ArrayLike, n_layers: int) -> FloatArray:
    """Return when a mode of three or more balanced layers escapes from a small start.

    Parameters
    ----------
    sigma : array_like
        Singular values > 0 of ``cross_cov``.
    layer_scale : array_like
        Strength > 0 of the mode in each layer at time 0.
    n_layers : int
        L, from 3 to 1000; for two layers use `learning_time`.

    Returns
    -------
    ndarray of float64
        layer_scale^(2 - L) / ((L - 2) sigma), whatever lam is: what is left out is of the order of the
        width of the transition, which does not depend on the start. inf where it exceeds the largest
        number.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Examples
    --------
    >>> float(escape_time(1.0, layer_scale=1e-3, n_layers=3).round(6))
    1000.0
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    if depth < 3:
        msg = f"n_layers must be >= 3, got {depth}: fewer layers escape by learning_time"
        raise ValueError(msg)
    s = validate.real_array("sigma", sigma, above=0)
    scale = validate.real_array("layer_scale", layer_scale, above=0)
    s, scale = broadcast(sigma=s, layer_scale=scale)
    with np.errstate(all="ignore"):
        return (Wide(scale).power(2 - depth) / (Wide(s) * (depth - 2))).double()


def rates(sigma: npt.ArrayLike, lam: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return sigma and lam, checked."""
    s = validate.real_array("sigma", sigma, at_least=0)
    return s, validate.real_array("lam", lam, at_least=0)


def checked_fraction(fraction: npt.ArrayLike) -> FloatArray:
    """Return fractions, checked."""
    q = validate.real_array("fraction", fraction)
    stored = validate.unbroadcast(q)
    validate.refuse("fraction", "in (0, 1)", stored, ~((stored > 0) & (stored < 1)))
    return q


def broadcast(**arrays: FloatArray) -> tuple[FloatArray, ...]:
    """Return arrays of one common shape, which has to be of a size that can be computed."""
    first = next(iter(arrays))
    listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        msg = f"{first} must broadcast with the other arguments, got shapes {listed}"
        raise ValueError(msg) from None
    size = 1
    for extent in shape:
        size *= extent
    if size > MOST_NUMBERS:
        msg = f"{first} must broadcast with the others to at most {MOST_NUMBERS} numbers, got {listed}"
        raise ValueError(msg)
    return tuple(np.broadcast_to(array, shape) for array in arrays.values())


def named_start(
    strength: npt.ArrayLike | None, log_strength: npt.ArrayLike | None
) -> tuple[str, FloatArray]:
    """Return whichever of the two was given, by its name, checked."""
    if (strength is None) == (log_strength is None):
        got = "neither" if strength is None else "both"
        msg = f"strength or log_strength must be given, one of them, got {got}"
        raise TypeError(msg)
    if strength is None:
        return "log_strength", validate.real_array("log_strength", log_strength)
    w = validate.real_array("strength", strength)
    any_sign = ">= 0 (for factors of any sign use factor_flow)"
    stored = validate.unbroadcast(w)
    validate.refuse("strength", any_sign, stored, stored < 0)
    return "strength", w


def start_of(name: str, number: FloatArray, sigma: FloatArray, lam: FloatArray) -> Start:
    """Return the start of modes; numpy's warnings are to be off."""
    w = Wide(number) if name == "strength" else Wide.exp(number)
    log_w = np.log(number) if name == "strength" else number
    force = Wide(sigma)
    return Start(w, log_w, less_product(force, Wide(lam), w) / force)


def _relaxed(rate: Wide, time: Wide) -> tuple[Wide, Wide]:
    """Return q = exp(-rate time) and (1 - q) / rate."""
    y = (rate * time).double()
    part = np.where(y > 0, -np.expm1(-y) / y, 1.0)
    share = Wide.where(y < 1, time * part, Wide(-np.expm1(-y)) / rate)
    return Wide.exp(-y), share


def _one_layer(t: Wide, s: Wide, lm: Wide, start: Start) -> tuple[Wide, FloatArray]:
    decay, share = _relaxed(lm, t)
    return start.strength * decay + s * share, (decay * start.gap).double()


def _two_layers(t: Wide, s: Wide, lm: Wide, start: Start) -> tuple[Wide, FloatArray]:
    decay, share = _relaxed(s * 2.0, t)
    below = decay + lm * start.strength * share * 2.0
    return start.strength / below, (start.gap * decay / below).double()


def _more_layers(t: Wide, s: Wide, lm: Wide, start: Start, depth: int) -> tuple[Wide, FloatArray]:
    w, gap = start.strength, start.gap
    force, brake, zero = s.mantissa > 0, lm.mantissa > 0, w.mantissa == 0
    x = w * lm / s
    lag = t * s * (s / lm).power(depth - 2, depth) * depth
    regular = force & brake & ~zero
    below, above = regular & (gap.mantissa > 0), regular & (gap.mantissa < 0)
    rest = s / lm
    # At rest from the start, or with neither force nor brake, nothing moves.
    result, remaining = w, np.zeros(w.mantissa.shape)
    for here, advance in ((below, _deep.advance_below), (above, _deep.advance_above)):
        if here.any():
            one, part, time = (Wide(n.mantissa[here], n.exponent[here]) for n in (x, gap, lag))
            end, left = advance(one, part, time, depth)
            remaining[here] = left
            whole = np.ones(here.shape), np.zeros(here.shape)
            whole[0][here], whole[1][here] = end.mantissa, end.exponent
            result = Wide.where(here, rest * Wide(*whole), result)
    decayed = w.power(2 - 2 * depth, depth) + lm * t * (2 * depth - 2)
    result = Wide.where(~force & brake, decayed.power(-depth, 2 * depth - 2), result)
    left_to_go = w.power(2 - depth, depth) - s * t * (depth - 2)
    escaped = left_to_go.mantissa <= 0
    grown = Wide.where(escaped, Wide(1.0), left_to_go).power(-depth, depth - 2)
    grown = Wide.where(escaped, Wide(np.inf), grown)
    return Wide.where(force & ~brake, grown, result), remaining
