"""The two factors of a mode of two layers, which need not be balanced, under flow and descent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics._wide import Wide, hypot
from linnet_fast.rank_dynamics.descent import can_be_done, checked_steps
from linnet_fast.rank_dynamics.modes import broadcast, checked_fraction, rates


def factor_flow(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    time: npt.ArrayLike,
    log_scale: npt.ArrayLike = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return the two factors of a mode of two layers along the gradient flow.

    The factors need be neither balanced nor positive: da/dt = b (sigma - lam a b) and db/dt = a (sigma
    - lam a b) from a = first e^log_scale, b = second e^log_scale.

    Parameters
    ----------
    sigma, lam : array_like
        As for `mode_flow`. All arrays broadcast.
    first, second : array_like
        Factors of the first and of the second layer at time 0, in units of e^log_scale; any signs.
    time : array_like
        Times >= 0.
    log_scale : array_like, default 0
        For starts beyond the range of floating point, at either end.

    Returns
    -------
    a, b : ndarray of float64
        The factors; their product is the strength of the mode. 0 or infinite where they leave the
        range of floating point.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If a number is out of range or shapes do not broadcast.

    Notes
    -----
    b / a obeys a Riccati equation with constant coefficients, for a^2 - b^2 is conserved. The form
    used has no cancellation but where a factor changes its sign, and holds for numbers of any size and
    sign, sigma = 0 and lam = 0 included: the relative error is about 1e-14, times the condition of
    the problem (while a small start grows, or a factor decays, by many powers of e). It is that of
    Saxe et al. (2014) in other variables.

    Examples
    --------
    >>> a, b = factor_flow(1.0, 1.0, 2.0, 0.1, time=[0.0, 50.0])
    >>> (a * b).round(6).tolist(), (a**2 - b**2).round(6).tolist()
    ([0.2, 1.0], [3.99, 3.99])
    """
    s, lm = rates(sigma, lam)
    t = validate.real_array("time", time, at_least=0)
    a0, b0, scale = _factors(first, second, log_scale)
    s, lm, a0, b0, scale, t = broadcast(
        sigma=s, lam=lm, first=a0, second=b0, log_scale=scale, time=t
    )
    with np.errstate(all="ignore"):
        start = _start(s, lm, a0, b0, scale)
        large, small, total, m, rho = start.large, start.small, start.total, start.m, start.rho
        force, brake = Wide(s), Wide(lm)
        angle = (rho * t).double()
        still = angle < 1e-9
        tanh, decay = np.tanh(angle), Wide.exp(-2 * angle)
        part = Wide.where(still, Wide(t), Wide(tanh) / rho)  # T = tanh(rho t) / rho
        lost = decay * 2.0 / (decay + 1.0)  # 1 - tanh(rho t)
        # 1 - sigma T and 1 - m T, of which one is small where nearly all is sigma, or m.
        left = lost + (m / rho) * (m / (rho + force)) * tanh
        kept = lost + (force / rho) * (force / (rho + m)) * tanh
        left = Wide.where(still, Wide(1.0) - force * part, left)
        kept = Wide.where(still, Wide(1.0) - m * part, kept)
        rise, turn, half = force * part, m * part, brake * part * 0.5
        size = (left + half * total.power(2)).power(1, 2)
        size = size * (rise + 1.0 + half * start.difference.power(2)).power(1, 2)
        ahead = Wide.where(
            small.mantissa < 0,
            total - small * left + large * turn,
            large * (turn + 1.0) + small * rise,
        )
        slow = (small.mantissa < 0) & ((force - m).mantissa > 0)
        behind = Wide.where(
            slow, small * left - small * turn + total * rise, small * kept + large * rise
        )
        # Factors of one size stay so, and two that cancel end in the saddle.
        behind = Wide.where(start.difference.mantissa == 0, ahead, behind)
        behind = Wide.where(total.mantissa == 0, -ahead, behind)
        ends = [
            Wide.where(n.mantissa == 0, Wide(0.0), n / size).double() * start.sign
            for n in (ahead, behind)
        ]
        begins = t == 0
        scales = Wide.exp(scale)
        return tuple(  # type: ignore[return-value]
            np.where(begins, (scales * n).double(), np.where(start.swap, other, one))
            for n, one, other in ((a0, *ends), (b0, *reversed(ends)))
        )


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
        0 where it is above from the start, inf where it never gets there (sigma = 0, lam = 0, or
        first = -second, which leads to the saddle) or the time exceeds the largest number.

    Raises
    ------
    TypeError, ValueError
        As `factor_flow`.

    Notes
    -----
    In closed form, from the two rests of the Riccati equation of `factor_flow`, and as accurate.

    Examples
    --------
    >>> float(factor_time(1.0, 1.0, 1e-4, 1e-4).round(6)), float(factor_time(1.0, 1.0, 2e-4, 0.0).round(6))
    (9.21034, 9.21034)
    """
    s, lm = rates(sigma, lam)
    q = checked_fraction(fraction)
    a0, b0, scale = _factors(first, second, log_scale)
    s, lm, a0, b0, scale, q = broadcast(
        sigma=s, lam=lm, first=a0, second=b0, log_scale=scale, fraction=q
    )
    with np.errstate(all="ignore"):
        start = _start(s, lm, a0, b0, scale)
        m, rho, force = start.m, start.rho, Wide(s)
        target = force * q
        reach = hypot(m, target)
        pull = Wide(lm) * start.total * 0.5
        # With p = b / a, its rests p+ > 0 > p- and its end p: (p - p_0) (p+ - p-) over (p+ - p)
        # (p_0 - p-), without a - b, by which all but one of these differences are divisible.
        way = target - pull * start.small * (m / (reach + target) + 1.0)
        left = force * (Wide(1.0) - q) * pull * (m * (1 + q) / (reach + rho * q) + 1.0)
        above = force * start.total + m * (m / (rho + force) + 1.0) * start.large
        time = (way * rho * (rho + m) * 2.0 / (left * above)).log1p() / (rho * 2.0)
        time = Wide.where(way.mantissa <= 0, Wide(0.0), time)
        never = (s == 0) | (lm == 0) | (start.total.mantissa == 0)
        return Wide.where(never, Wide(np.inf), time).double()


def factor_descent(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    step_size: npt.ArrayLike,
    steps: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return the two factors of a mode of two layers under gradient descent, by its recursion.

    Parameters
    ----------
    sigma, lam
        As for `mode_descent`.
    first, second : array_like
        Factors of the first and of the second layer at step 0, of any sign and size. All but `steps`
        broadcast to shape (*modes).
    step_size, steps
        As for `mode_descent`.

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
    >>> a, b = factor_descent(1.0, 1.0, 2.0, 0.1, step_size=0.1, steps=[0, 1, 100])
    >>> (a * b).round(4).tolist()
    [0.2, 0.5221, 1.0]
    """
    s, lm = rates(sigma, lam)
    a = validate.real_array("first", first)
    b = validate.real_array("second", second)
    eta = validate.real_array("step_size", step_size, above=0)
    at, scalar = checked_steps(steps)
    s, lm, a, b, eta = broadcast(sigma=s, lam=lm, first=a, second=b, step_size=eta)
    modes = s.shape
    can_be_done(modes, at)
    s, lm, a, b, eta = (x.ravel() for x in (s, lm, a, b, eta))
    unique, where = np.unique(at, return_inverse=True)
    both = _core.factor_descent(
        first=a, second=b, step_size=eta, sigma=s, lam=lm, steps=unique.tolist()
    )
    shape = modes if scalar else (*modes, at.size)
    return both[0][:, where].reshape(shape), both[1][:, where].reshape(shape)


class _Start(NamedTuple):
    """The larger factor, made positive, and the other; what the flow keeps; rates."""

    large: Wide
    small: Wide
    total: Wide
    difference: Wide
    m: Wide  # lam (large^2 - small^2) / 2
    rho: Wide  # sqrt(sigma^2 + m^2)
    swap: npt.NDArray[np.bool_]
    sign: FloatArray


def _factors(
    first: npt.ArrayLike, second: npt.ArrayLike, log_scale: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    return (
        validate.real_array("first", first),
        validate.real_array("second", second),
        validate.real_array("log_scale", log_scale),
    )


def _start(
    s: FloatArray, lm: FloatArray, a0: FloatArray, b0: FloatArray, scale: FloatArray
) -> _Start:
    swap = np.abs(b0) > np.abs(a0)
    large, small = np.where(swap, b0, a0), np.where(swap, a0, b0)
    sign = np.where(large < 0, -1.0, 1.0)
    unit = Wide.exp(scale)
    one, other = Wide(np.abs(large)), Wide(sign * small)
    total, difference = unit * (one + other), unit * (one - other)
    one, other = unit * one, unit * other
    m = Wide(lm) * difference * total * 0.5
    return _Start(one, other, total, difference, m, hypot(Wide(s), m), swap, sign)
