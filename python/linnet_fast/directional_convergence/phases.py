"""The two phases of gradient flow: the norm of the weights falls at most once, and then rises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar
from linnet_fast.directional_convergence.dynamics import reduced_flow
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law

_IN_TIME = 300.0  # logarithms of times that a flow is followed by its time for
_NOTHING = 1e-18  # q / kappa where a norm no longer matters
_TINY_PULL = 1e-200  # h / kappa whose square root, an angle, is still a number
_LONGEST = 2000.0  # of s, in which every norm falls below that


@dataclass(frozen=True, eq=False)
class PhaseSwitch:
    """Where the norm of the weights stops falling, for good.

    Attributes
    ----------
    time : ndarray of float64
        Time since the start; 0 if the norm rises from there, inf if it has not risen yet, or later
        than the largest number.
    norm : ndarray of float64
        The smallest norm; 0 where it underflows.
    log_tan_half_angle : ndarray of float64
        s then.
    """

    time: FloatArray
    norm: FloatArray
    log_tan_half_angle: FloatArray


def phase_switch(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
) -> PhaseSwitch:
    """Find where gradient flow goes over from a falling to a rising norm.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers of the balanced network, >= 1.
    norm : array_like, shape (*run)
        At the start, > 0.
    angle, log_tan_half_angle : array_like, shape (*run)
        At the start, in (0, pi), or ln tan of its half, of any size: give one. They broadcast with
        `norm`.

    Returns
    -------
    PhaseSwitch
        Arrays of shape (*run), to a relative accuracy of about 1e-9.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Notes
    -----
    Where angles or times are beyond what a flow can be followed by, s serves as the clock; once the
    norm is so small that ``q(r)`` is nothing beside kappa, ``r sin^N(theta)`` stays.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> switch = phase_switch(Sphere(2), 1, norm=1.0, log_tan_half_angle=1.0986123)
    >>> float(switch.time.round(3)), float(switch.norm.round(5))
    (2.449, 0.45247)
    """
    n, r, s = checked_start(law, n_layers, norm, angle, log_tan_half_angle)
    r, s = np.broadcast_arrays(r, s)
    rises = s <= _turning(law, r)
    far = ~rises & ((s > _IN_TIME / max(n - 2, 1)) | (law.h(r) < _TINY_PULL * law.kappa))
    other = rises | far
    near, size = np.where(other, -1.0, s), np.where(other, 1.0, r)
    turn = reduced_flow(law, n, log_tan_half_angle=near, norm=size, time=0.0).turning_point()
    time, least = np.where(rises, 0.0, turn.time), np.where(rises, r, turn.norm)
    # Times tell angles only to their rounding, which is far from enough beside tiny norms.
    at = np.where(time > 0, _turning(law, np.maximum(least, np.finfo(np.float64).tiny)), s)
    for run in zip(*np.nonzero(far), strict=True) if far.ndim else [()] * int(far):
        time[run], least[run], at[run] = _turn_by_angle(law, n, float(r[run]), float(s[run]))
    return PhaseSwitch(time, least, at)


def falling_time_bound(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return a bound on how long the norm falls along balanced gradient flow.

    Parameters
    ----------
    law, n_layers, norm, angle, log_tan_half_angle
        As for `phase_switch`.

    Returns
    -------
    ndarray of float64, shape (*run)
        At least the time of `phase_switch`; 0 if the norm rises from the start, inf where it is
        beyond the largest number.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> float(falling_time_bound(Sphere(2), 1, norm=1.0, log_tan_half_angle=1.0986123).round(3))
    4.672
    """
    n, r, s = checked_start(law, n_layers, norm, angle, log_tan_half_angle)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        fall = np.log(np.maximum(s - _turning(law, r), 0.0)) - np.log(law.kappa)
        log_least = np.log(r) + (0.0 if n == 1 else n * scipy.special.log_expit(-2 * s))
        # One factor of the product may be beyond the range where the other is 0 or tiny.
        slow = (2 / n - 1) * log_least if n != 2 else np.zeros(r.shape)
        return np.asarray(np.exp(np.where(np.isneginf(fall), fall, fall + slow)))


def checked_start(
    law: SphericalLaw,
    n_layers: int,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None,
    log_tan_half_angle: npt.ArrayLike | None,
) -> tuple[int, FloatArray, FloatArray]:
    """Return number of layers, norm and s of a start, which have to broadcast."""
    checked_law(law)
    n = validate.integer("n_layers", n_layers, low=1, high=1000)
    r = validate.real_array("norm", norm, above=0)
    s = _polar.half_angle(angle, log_tan_half_angle, between=True)
    validate.broadcast_runs(norm=r.shape, log_tan_half_angle=s.shape)
    return n, r, s


def _turning(law: SphericalLaw, norm: FloatArray) -> FloatArray:
    """Return the s above which the norm falls."""
    part = law.h(norm) / (2 * law.kappa)
    late = (np.log(law.a2) - np.log(2 * law.kappa)) / 2 - np.log(norm)  # h is a2 / norm^2 there
    return np.asarray(
        np.where(part > _TINY_PULL, scipy.special.logit(np.maximum(part, _TINY_PULL)) / 2, late)
    )


def _turn_by_angle(
    law: SphericalLaw, n: int, norm: float, start: float
) -> tuple[float, float, float]:
    """Return time, norm and s of the smallest norm, with s as the clock.

    With x = start - s: ``d ln r / dx = -N (1 + tanh s - h / kappa)``, ``dt / dx = r^(2/N - 1) /
    kappa``. Of three and more layers, whose times grow without bound, ``a = kappa t r^(1 - 2/N)`` is
    followed in place of t.
    """
    kappa = float(law.kappa)
    bend = 1 - 2 / n

    def pull(log_norm: float, s: float) -> float:
        return float(
            2 * scipy.special.expit(2 * min(s, 400.0))
            - law.h(np.exp(max(log_norm, -700.0))) / kappa
        )

    def velocity(x: float, state: FloatArray) -> list[float]:
        fall = -n * pull(state[0], start - x)
        if n > 2:
            return [fall, 1 + bend * fall * state[1]]
        return [fall, float(np.exp(-bend * (state[0] - log_start)))]

    def turns(x: float, state: FloatArray) -> float:
        size = np.exp(np.maximum(state[0], -700.0))
        return float(start - x - _turning(law, size))

    def vanishes(x: float, state: FloatArray) -> float:  # noqa: ARG001
        return float(state[0]) - log_nothing

    turns.terminal = vanishes.terminal = True  # type: ignore[attr-defined]
    log_start = float(np.log(norm))
    # q is norm m2 / 4 there.
    log_nothing = float(np.log(_NOTHING) + np.log(4 * kappa) - np.log(law.m2))
    x, log_r, spent, has_turned = 0.0, log_start, 0.0, turns(0.0, np.array([log_start])) <= 0
    if not has_turned and log_start > log_nothing:
        done = scipy.integrate.solve_ivp(
            velocity, (0, min(start + 800, _LONGEST)), [log_start, 0.0], "DOP853",
            events=[turns, vanishes], rtol=1e-12, atol=1e-13,
        )  # fmt: skip
        x, (log_r, spent) = float(done.t[-1]), done.y[:, -1]
        has_turned = bool(done.t_events[0].size)
    s = start - x
    with np.errstate(over="ignore", under="ignore"):
        pace = -bend * (log_r if n > 2 else log_start) - np.log(kappa)
        time = spent * np.exp(pace) if spent > 0 else np.float64(0)
        if has_turned:
            return float(time), float(np.exp(log_r)), s
        log_cosh = s + np.log1p(np.exp(-2 * s)) - np.log(2)
        rest = np.exp(-bend * log_r - np.log(kappa) + _log_rest(n, s, log_cosh))
        log_r -= n * log_cosh
        least = float(np.exp(log_r))
        return float(time + rest), least, -float(law.q(least)) / kappa


def _log_rest(n: int, s: float, log_cosh: float) -> float:
    """Return the logarithm of the integral of (cosh x / cosh s)^(2 - N) over 0 <= x <= s."""
    if n == 1:
        return float(np.log(np.tanh(s)))
    if n == 2:
        return float(np.log(s))
    part = scipy.special.betainc(0.5, n / 2 - 1, np.tanh(s) ** 2)
    return float(
        (n - 2) * log_cosh + scipy.special.betaln(0.5, n / 2 - 1) - np.log(2) + np.log(part)
    )
