"""Bounds on angle and norm along gradient flow.

Angles theta to the direction of the data are given as s = ln tan(theta / 2), which keeps its digits
however small they are; a bound above on s is one below on cos(theta). Bounds beyond the largest
number are infinite.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _growth
from linnet_fast.directional_convergence.descent_bounds import PAPER
from linnet_fast.directional_convergence.phases import PhaseSwitch, checked_start, phase_switch
from linnet_fast.laws.base import SphericalLaw

_W = 0.2784645427610738  # max of z / (1 + e^z), so r h(r) <= W for every law


def flow_angle_bound(
    law: SphericalLaw,
    *,
    time: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    switch: PhaseSwitch | None = None,
) -> FloatArray:
    """Return the bound above on s along gradient flow of one layer, phase by phase (Theorem 1).

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    time : array_like
        Time since the start, >= 0.
    norm : array_like
        At the start, any state of the flow, > 0.
    angle, log_tan_half_angle : array_like
        At the start, in (0, pi), or ln tan of its half: give one.
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
    >>> bound = flow_angle_bound(Sphere(2), time=[1.0, 20.0], norm=1.0, angle=2.498)
    >>> bound.round(3).tolist()
    [0.78, -3.174]
    """
    _, r, s = checked_start(law, 1, norm, angle, log_tan_half_angle)
    t = validate.real_array("time", time, at_least=0)
    turn = _switch(law, 1, r, s, switch)
    validate.broadcast_runs(time=t.shape, start=np.broadcast_shapes(r.shape, s.shape))
    with np.errstate(over="ignore", under="ignore"):
        gain = _growth.root_gain(PAPER, np.maximum(t - turn.time, 0), turn.norm)
        late = turn.log_tan_half_angle - 2 * law.kappa / PAPER * gain
        return np.asarray(np.where(t <= turn.time, s - law.kappa * (t / r), late))


def deep_flow_angle_bounds(
    law: SphericalLaw,
    n_layers: int,
    *,
    time: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
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
    time, norm, angle, log_tan_half_angle, switch
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
    >>> lower, upper = deep_flow_angle_bounds(Sphere(2), 4, time=[1.0, 20.0], norm=1.0, angle=2.498)
    >>> lower.round(3).tolist(), upper.round(3).tolist()
    ([0.685, -43.465], [0.924, -1.072])
    """
    n, r, s = checked_start(law, n_layers, norm, angle, log_tan_half_angle)
    if n < 3:
        msg = f"n_layers must be >= 3, got {n}"
        raise ValueError(msg)
    validate.flag("printed", printed)
    if validate.flag("sharp", sharp) and printed:
        msg = "printed and sharp must not both be set, got True and True"
        raise ValueError(msg)
    t = validate.real_array("time", time, at_least=0)
    turn = _switch(law, n, r, s, switch)
    validate.broadcast_runs(time=t.shape, start=np.broadcast_shapes(r.shape, s.shape))
    kappa = law.kappa
    fall = 2 * kappa if sharp else np.pi * kappa
    alpha = 2 * kappa if printed else 2 * kappa / (fall * (n - 2))
    growth = 2 * law.max_rh if sharp else PAPER
    with np.errstate(over="ignore", under="ignore"):
        grown = np.logaddexp(
            0, _growth.log((n - 2) * fall) + _growth.log(t) + (1 - 2 / n) * np.log(r)
        )
        early = s - alpha / 2 * grown
        rate = kappa * turn.norm ** (2 - 2 / n if printed else 1 - 2 / n)
        late = turn.log_tan_half_angle - rate * np.maximum(t - turn.time, 0)
        gain = _growth.power_gain(r, 1, _growth.log_ratio(growth, t, r, 2 / n), n / 2)
        lower = s - 2 * kappa / (growth * n) * gain
    return np.asarray(lower), np.asarray(np.where(t <= turn.time, early, late))


def norm_bounds(
    law: SphericalLaw,
    n_layers: int,
    *,
    time: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    sharp: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds on the norm along balanced gradient flow.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N, >= 1.
    time, norm, angle, log_tan_half_angle
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
    >>> import numpy as np
    >>> from linnet_fast.laws import Gaussian
    >>> for sharp in (False, True):
    ...     bounds = norm_bounds(Gaussian(3), 3, time=9, norm=2, angle=np.pi / 2, sharp=sharp)
    ...     print([float(bound.round(3)) for bound in bounds])
    [0.001, 18.47]
    [0.25, 8.105]
    """
    n, r, s = checked_start(law, n_layers, norm, angle, log_tan_half_angle)
    t = validate.real_array("time", time, at_least=0)
    validate.flag("sharp", sharp)
    fall = 2 * law.kappa if sharp else np.pi * law.kappa
    shape = validate.broadcast_runs(time=t.shape, start=np.broadcast_shapes(r.shape, s.shape))
    lower = np.zeros(shape)
    with np.errstate(over="ignore", under="ignore"):
        if n > 2:
            less = np.logaddexp(
                0, _growth.log((n - 2) * fall) + _growth.log(t) + (1 - 2 / n) * np.log(r)
            )
            lower += _growth.scaled(r, -n / (n - 2) * less)
        ratio = _growth.log_ratio(2 * law.max_rh if sharp else PAPER, t, r, 2 / n)
        upper = _growth.scaled(r, n / 2 * np.logaddexp(0, ratio))
        if sharp:
            lower = np.maximum(lower, _growth.scaled(r, n * scipy.special.log_expit(-2 * s)))
            grown = np.logaddexp(0, _norm_ratio(law, n, t, r)) * n / (n + 2)
            upper = np.minimum(upper, _growth.scaled(r, grown))
        return lower, np.asarray(upper + np.zeros(lower.shape))


def global_bounds(
    law: SphericalLaw,
    n_layers: int,
    *,
    time: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    any_law: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds on s along balanced gradient flow that hold at all times, without phases.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N, >= 1.
    time, norm, angle, log_tan_half_angle
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
    ...     bounds = global_bounds(Gaussian(3), n_layers, time=50, norm=2, angle=2.5)
    ...     print([float(bound.round(2)) for bound in bounds])
    [-99.21, -4.67]
    [-18.85, -18.85]
    [-87.3, 0.82]
    """
    n, r, s = checked_start(law, n_layers, norm, angle, log_tan_half_angle)
    t = validate.real_array("time", time, at_least=0)
    validate.broadcast_runs(time=t.shape, start=np.broadcast_shapes(r.shape, s.shape))
    validate.flag("any_law", any_law)
    kappa, top = law.kappa, law.sup_r2h()
    with np.errstate(over="ignore", under="ignore"):
        slow = s - kappa * t + np.zeros(r.shape)
        if n != 2:
            log_least = np.log(r) + n * scipy.special.log_expit(-2 * s)
            rate = _growth.log(kappa) + (1 - 2 / n) * log_least
            slow = s - np.where(t > 0, np.exp(rate + np.log(np.where(t > 0, t, 1.0))), 0.0)
        gain = _growth.power_gain(r, 2, _norm_ratio(law, n, t, r), 2 * n / (n + 2))
        fast = s - kappa / (2 * n * top) * gain
        if n > 1:
            return np.asarray(fast), np.asarray(slow)
        w = _W if any_law else law.max_rh
        by_any = s - kappa / w * _growth.root_gain(2 * w, t, r)
        return np.asarray(slow), np.asarray(by_any if any_law else np.minimum(fast, by_any))


def _switch(
    law: SphericalLaw, n: int, r: FloatArray, s: FloatArray, switch: PhaseSwitch | None
) -> PhaseSwitch:
    """Return the switch of a start, if it is not given."""
    if switch is None:
        return phase_switch(law, n, norm=r, log_tan_half_angle=s)
    return validate.instance("switch", switch, PhaseSwitch)


def _norm_ratio(law: SphericalLaw, n: int, t: FloatArray, r: FloatArray) -> FloatArray:
    """Return by how much r^((N + 2) / N) grows at most: logarithm of the part of itself."""
    return _growth.log_ratio((n + 2) * law.sup_r2h(), t, r, (n + 2) / n)
