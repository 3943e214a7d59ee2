"""Bounds on angle and norm along gradient flow and descent, and their check on trajectories.

Angles theta to the direction of the data are given as s = ln tan(theta / 2), which keeps its digits
however small they are; a bound above on s is one below on cos(theta).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, logit

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar
from linnet_fast.directional_convergence.dynamics import reduced_flow
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law

_W = 0.2784645427610738  # max of z / (1 + e^z), so r h(r) <= W for every law
_PAPER = 0.6  # what the theorems have in place of 2 W


def cosine(log_tan_half_angle: npt.ArrayLike) -> FloatArray:
    """Return cos(theta) of s = ln tan(theta / 2).

    Parameters
    ----------
    log_tan_half_angle : array_like
        s; may be infinite.

    Returns
    -------
    ndarray of float64
        ``-tanh(s)``.

    Examples
    --------
    >>> float(cosine(0.0)), float(cosine(-100.0))
    (-0.0, 1.0)
    """
    return np.asarray(-np.tanh(np.asarray(log_tan_half_angle, dtype=np.float64)))


def one_minus_cosine(log_tan_half_angle: npt.ArrayLike) -> FloatArray:
    """Return 1 - cos(theta) of s = ln tan(theta / 2), to full relative accuracy.

    Parameters
    ----------
    log_tan_half_angle : array_like
        s; may be infinite.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> float(one_minus_cosine(0.0)), f"{one_minus_cosine(-100.0):.4g}"
    (1.0, '2.768e-87')
    """
    return _polar.one_minus_cos(np.asarray(log_tan_half_angle, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class PhaseSwitch:
    """Where the norm of the weights stops falling, for good.

    Attributes
    ----------
    time : ndarray of float64
        Time since the start; 0 if the norm rises from there, inf if it has not risen yet.
    norm : ndarray of float64
        The smallest norm.
    log_tan_half_angle : ndarray of float64
        s then.
    """

    time: FloatArray
    norm: FloatArray
    log_tan_half_angle: FloatArray


def phase_switch(
    law: SphericalLaw, n_layers: int, *, norm: npt.ArrayLike, log_tan_half_angle: npt.ArrayLike
) -> PhaseSwitch:
    """Find where gradient flow goes over from a falling to a rising norm.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers of the balanced network, >= 1.
    norm, log_tan_half_angle : array_like, shape (*run)
        The start: norm > 0 and s. They broadcast.

    Returns
    -------
    PhaseSwitch
        Arrays of shape (*run), to a relative accuracy of about 1e-9.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> switch = phase_switch(Sphere(2), 1, norm=1.0, log_tan_half_angle=1.0986123)
    >>> float(switch.time.round(3)), float(switch.norm.round(5))
    (2.449, 0.45247)
    """
    n, r, s = _start(law, n_layers, norm, log_tan_half_angle)
    turn = reduced_flow(law, n, log_tan_half_angle=s, norm=r, time=0.0).turning_point()
    return PhaseSwitch(turn.time, turn.norm, turn.log_tan_half_angle)


def flow_angle_bound(
    law: SphericalLaw,
    time: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
    switch: PhaseSwitch | None = None,
) -> FloatArray:
    """Return the bound above on s along gradient flow of one layer, phase by phase (Theorem 1).

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    time : array_like
        Time since the start, >= 0.
    norm, log_tan_half_angle : array_like
        The start: any state of the flow, with norm > 0.
    switch : PhaseSwitch, optional
        Of this start; by default `phase_switch`. All arrays broadcast.

    Returns
    -------
    ndarray of float64
        ``s <= s0 - kappa t / r0`` while the norm falls, then ``s <= s_T - 2 kappa / sqrt(0.6)
        (sqrt(t - T + C) - sqrt(C))`` with ``C = r_T^2 / 0.6``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    References
    ----------
    After D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021, Theorem 1.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> bound = flow_angle_bound(Sphere(2), [1.0, 20.0], norm=1.0, log_tan_half_angle=1.0986)
    >>> bound.round(3).tolist()
    [0.78, -3.174]
    """
    t = validate.real_array("time", time, at_least=0)
    _, r, s = _start(law, 1, norm, log_tan_half_angle)
    turn = phase_switch(law, 1, norm=r, log_tan_half_angle=s) if switch is None else switch
    after = np.maximum(t - turn.time, 0)
    gain = np.sqrt(_PAPER * after + turn.norm**2) - turn.norm
    late = turn.log_tan_half_angle - 2 * law.kappa / _PAPER * gain
    return np.asarray(np.where(t <= turn.time, s - law.kappa * t / r, late))


def deep_flow_angle_bounds(
    law: SphericalLaw,
    n_layers: int,
    time: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
    switch: PhaseSwitch | None = None,
    printed: bool = False,
    sharp: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds on s along gradient flow of three or more layers, by phases (Theorem 5).

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N of the balanced network, >= 3.
    time, norm, log_tan_half_angle, switch
        As for `flow_angle_bound`.
    printed : bool, default False
        Take the constants printed in the submission, alpha = 2 c0 / pi and A2 = 2 kappa r_T^(2 -
        2/N), which do not always hold; by default those that its proof gives, alpha = 2 / (pi (N -
        2)) and A2 = 2 kappa r_T^(1 - 2/N).
    sharp : bool, default False
        Take 2 kappa for c0 in the fall of the norm, and 2 max r h(r) for 0.6.

    Returns
    -------
    lower, upper : ndarray of float64
        Bounds on s. The upper one goes as a logarithm of time while the norm falls, then linearly.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or both flags are set.

    References
    ----------
    After D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021, Theorem 5.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> lower, upper = deep_flow_angle_bounds(Sphere(2), 4, [1.0, 20.0], norm=1.0, log_tan_half_angle=1.0986)
    >>> lower.round(3).tolist(), upper.round(3).tolist()
    ([0.685, -43.465], [0.924, -1.072])
    """
    n, r, s = _start(law, n_layers, norm, log_tan_half_angle)
    if n < 3:
        msg = f"n_layers must be >= 3, got {n}"
        raise ValueError(msg)
    if printed and sharp:
        msg = "printed and sharp must not both be set, got True and True"
        raise ValueError(msg)
    t = validate.real_array("time", time, at_least=0)
    turn = phase_switch(law, n, norm=r, log_tan_half_angle=s) if switch is None else switch
    kappa = law.kappa
    fall = 2 * kappa if sharp else np.pi * kappa
    alpha = 2 * np.pi * kappa / np.pi if printed else 2 * kappa / (fall * (n - 2))
    early = s - alpha / 2 * np.log1p((n - 2) * fall * t / r ** (2 / n - 1))
    rate = kappa * turn.norm ** (2 - 2 / n if printed else 1 - 2 / n)
    late = turn.log_tan_half_angle - rate * np.maximum(t - turn.time, 0)
    growth = 2 * law.max_rh if sharp else _PAPER
    gain = (growth * t + r ** (2 / n)) ** (n / 2) - r
    lower = s - 2 * kappa / (growth * n) * gain
    return np.asarray(lower), np.asarray(np.where(t <= turn.time, early, late))


def descent_angle_bound_behind(
    law: SphericalLaw,
    step_sizes: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
) -> FloatArray:
    """Return the bound above on s of gradient descent on one layer from behind (Theorem 2).

    It holds up to and with the first step that reaches an angle below pi / 2.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    step_sizes : array_like, shape (*run, n_steps)
        Positive.
    norm, log_tan_half_angle : array_like, shape (*run)
        The start: norm > 0, and s > 0. Run axes broadcast.

    Returns
    -------
    ndarray of float64, shape (*run, n_steps + 1)
        At steps 0, 1, ..., n_steps: ``1 - cos(theta_n) <= (1 - cos(theta_0)) e^(-B S_n)``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    References
    ----------
    After D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021, Theorem 2.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> descent_angle_bound_behind(Sphere(2), [1.0, 1.0], norm=1.0, log_tan_half_angle=1.0).round(4).tolist()
    [1.0, 0.8099, 0.69]
    """
    _, r, s = _start(law, 1, norm, log_tan_half_angle)
    validate.refuse("log_tan_half_angle", "> 0", s, s <= 0)
    eta = checked_step_sizes(step_sizes)
    paces = np.cumsum(eta**2, axis=-1)
    return _descended(law, eta, paces, r, s, 1.0)


def descent_angle_bound(
    law: SphericalLaw,
    step_sizes: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
    delta: npt.ArrayLike = 1.0,
) -> FloatArray:
    """Return the bound above on s of gradient descent on one layer, from any angle (Theorem 3).

    It holds if at each step ``|w_{n+1}| + w_n.w_{n+1} / |w_n| >= (1 + delta) kappa eta_n
    cos(theta_n)``; with delta = 1 that is so if no step overshoots, ``eta_n q(|w_n|) <= |w_n|``,
    as with ``eta_n <= 4 / m2`` from any start.

    Parameters
    ----------
    law, step_sizes, norm, log_tan_half_angle
        As for `descent_angle_bound_behind`, with any s.
    delta : array_like, shape (*run), default 1
        Positive.

    Returns
    -------
    ndarray of float64, shape (*run, n_steps + 1)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    References
    ----------
    After D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021, Theorem 3.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> descent_angle_bound(Sphere(2), [1.0, 1.0], norm=1.0, log_tan_half_angle=1.0).round(4).tolist()
    [1.0, 0.9089, 0.8462]
    """
    _, r, s = _start(law, 1, norm, log_tan_half_angle)
    eta = checked_step_sizes(step_sizes)
    over = validate.real_array("delta", delta, above=0)
    c0 = np.pi * law.kappa
    paces = np.cumsum(eta**2 + _PAPER / c0**2 * eta, axis=-1)
    return _descended(law, eta, paces, r, s, over / (1 + over))


def norm_bounds(
    law: SphericalLaw,
    n_layers: int,
    time: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
    sharp: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds on the norm along balanced gradient flow.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N, >= 1.
    time, norm, log_tan_half_angle
        As for `flow_angle_bound`.
    sharp : bool, default False
        By default the bounds of the paper: below ``(r0^(2/N - 1) + (N - 2) c0 t)^(-N / (N - 2))``
        (0 for N < 3), above ``(r0^(2/N) + 0.6 t)^(N/2)``. Sharp ones have better constants,
        or are ``r0 cos^(2 N)(theta_0 / 2)`` and, with a = max r^2 h(r), ``(r0^((N + 2)/N) + (N + 2)
        a t)^(N / (N + 2))``, where these are better.

    Returns
    -------
    lower, upper : ndarray of float64

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> for sharp in (False, True):
    ...     bounds = norm_bounds(Gaussian(3), 3, 9, norm=2, log_tan_half_angle=0, sharp=sharp)
    ...     print([float(bound.round(3)) for bound in bounds])
    [0.001, 18.47]
    [0.25, 8.105]
    """
    n, r, s = _start(law, n_layers, norm, log_tan_half_angle)
    t = validate.real_array("time", time, at_least=0)
    fall = 2 * law.kappa if sharp else np.pi * law.kappa
    lower = np.zeros(np.broadcast_shapes(t.shape, r.shape, s.shape))
    if n > 2:
        lower += (r ** (2 / n - 1) + (n - 2) * fall * t) ** (-n / (n - 2))
    upper = (r ** (2 / n) + (2 * law.max_rh if sharp else _PAPER) * t) ** (n / 2)
    if sharp:
        lower = np.maximum(lower, r * np.exp(n * log_expit(-2 * s)))
        upper = np.minimum(upper, _norm_above(law, n, t, r))
    return lower, np.asarray(upper + np.zeros(lower.shape))


def global_bounds(
    law: SphericalLaw,
    n_layers: int,
    time: npt.ArrayLike,
    *,
    norm: npt.ArrayLike,
    log_tan_half_angle: npt.ArrayLike,
    any_law: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds on s along balanced gradient flow that hold at all times, without phases.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N, >= 1.
    time, norm, log_tan_half_angle
        As for `flow_angle_bound`.
    any_law : bool, default False
        For one layer, take the weaker bound above that needs only kappa of the law: it falls as
        the square root of time.

    Returns
    -------
    lower, upper : ndarray of float64
        Of one layer the upper, of more the lower has the order and the constant of the true late
        law, if the density of the inputs falls with their size. With R(t) the sharp upper and A the
        constant lower of `norm_bounds`: one layer ``s0 - kappa t / A`` and ``s0 - kappa / (2 a)
        (R^2 - r0^2)``; more layers ``s0 - kappa / (2 N a) (R^2 - r0^2)`` and ``s0 - kappa A^(1 -
        2/N) t``. Both are exact for two.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> for n_layers in (1, 2, 4):
    ...     bounds = global_bounds(Gaussian(3), n_layers, 50, norm=2, log_tan_half_angle=1.1017971)
    ...     print([float(bound.round(2)) for bound in bounds])
    [-99.21, -4.67]
    [-18.85, -18.85]
    [-87.3, 0.82]
    """
    n, r, s = _start(law, n_layers, norm, log_tan_half_angle)
    t = validate.real_array("time", time, at_least=0)
    kappa, top = law.kappa, law.sup_r2h()
    least = np.exp((1 - 2 / n) * (np.log(r) + n * log_expit(-2 * s)))
    slow = s - kappa * least * t
    fast = s - kappa / (2 * n * top) * (_norm_above(law, n, t, r) ** 2 - r**2)
    if n > 1:
        lower, upper = fast, slow
    else:
        w = _W if any_law else law.max_rh
        by_any = s - kappa / w * (np.sqrt(r**2 + 2 * w * t) - r)
        lower, upper = slow, by_any if any_law else np.minimum(fast, by_any)
    return np.asarray(lower), np.asarray(upper)


def falling_time_bound(
    law: SphericalLaw, n_layers: int, *, norm: npt.ArrayLike, log_tan_half_angle: npt.ArrayLike
) -> FloatArray:
    """Return a bound on how long the norm falls along balanced gradient flow.

    Parameters
    ----------
    law, n_layers, norm, log_tan_half_angle
        As for `phase_switch`.

    Returns
    -------
    ndarray of float64, shape (*run)
        At least the time of `phase_switch`; 0 if the norm rises from the start.

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
    n, r, s = _start(law, n_layers, norm, log_tan_half_angle)
    log_least = np.log(r) + (0 if n == 1 else n * log_expit(-2 * s))
    rate = law.kappa * np.exp((1 - 2 / n) * log_least)
    return np.asarray(np.maximum(s - _turning(law, r), 0) / rate)


def _turning(law: SphericalLaw, norm: FloatArray) -> FloatArray:
    """Return the s above which the norm falls."""
    return np.asarray(logit(law.h(norm) / (2 * law.kappa)) / 2)


def _norm_above(law: SphericalLaw, n: int, t: FloatArray, r: FloatArray) -> FloatArray:
    power = (n + 2) / n
    return np.asarray((r**power + (n + 2) * law.sup_r2h() * t) ** (1 / power))


def _descended(
    law: SphericalLaw, eta: FloatArray, paces: FloatArray, r: FloatArray, s: FloatArray, part: Any
) -> FloatArray:
    """Return s after 1 - cos has shrunk by exp(-part (1 + cos(theta_0)) / pi * sum)."""
    r, s, part = (np.asarray(x)[..., None] for x in (r, s, part))
    total = np.cumsum(eta / np.sqrt((r / (np.pi * law.kappa)) ** 2 + paces), axis=-1)
    total = np.concatenate([np.zeros((*total.shape[:-1], 1)), total], axis=-1)
    # With y = -ln((1 - cos) / 2): s = -ln(e^y - 1) / 2.
    y = part * 2 * expit(-2 * s) / np.pi * total - log_expit(2 * s)
    return np.asarray(-(y + np.log(-np.expm1(-y))) / 2)


def checked_step_sizes(step_sizes: npt.ArrayLike) -> FloatArray:
    """Return step sizes of shape (*run, n_steps), positive."""
    eta = validate.real_array("step_sizes", step_sizes, above=0)
    if not eta.ndim:
        msg = "step_sizes must have shape (*run, n_steps), got ()"
        raise ValueError(msg)
    return eta


def _start(
    law: SphericalLaw, n_layers: int, norm: npt.ArrayLike, log_tan_half_angle: npt.ArrayLike
) -> tuple[int, FloatArray, FloatArray]:
    """Return number of layers, norm and s of a start, which have to broadcast."""
    checked_law(law)
    n = validate.integer("n_layers", n_layers, low=1, high=1000)
    r = validate.real_array("norm", norm, above=0)
    s = validate.real_array("log_tan_half_angle", log_tan_half_angle)
    validate.broadcast_runs(norm=r.shape, log_tan_half_angle=s.shape)
    return n, r, s
