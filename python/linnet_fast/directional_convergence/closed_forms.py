"""Closed forms of the reduced gradient flow: two layers, large and small norms, the angle pi.

Angles are to the direction v of the labels, by s = ln tan(angle / 2); see `reduced_flow`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _clocks, _polar
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law

_N_PANELS = 100
_MOST_S = 1e100  # in size, of s along orbits


class Orbit(NamedTuple):
    """When, and with what norm, a flow is at given angles.

    Attributes
    ----------
    time : ndarray of float64
        Time since the start; negative at angles that lie behind. Infinite or 0 where it is beyond the
        range of floating point.
    log_norm : ndarray of float64
        Natural logarithm of the norm of the end-to-end vector.
    """

    time: FloatArray
    log_norm: FloatArray


def two_layer_direction(
    law: SphericalLaw,
    *,
    time: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    label_noise: npt.ArrayLike = 0.0,
) -> FloatArray:
    """Return the angle of two balanced layers under gradient flow, which does not depend on their norm.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    time : array_like
        Times >= 0. All arrays broadcast.
    angle, log_tan_half_angle : array_like
        The angle at time 0 in [0, pi], or ln tan of its half: give one.
    label_noise : array_like, default 0
        Probability in [0, 1/2) that a label is flipped.

    Returns
    -------
    ndarray of float64
        s = ln tan(angle / 2) at the times: tan(angle / 2) decays like exp(-(1 - 2 label_noise) kappa t).
        -inf where that is beyond the range of floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> two_layer_direction(Gaussian(3), time=[0.0, 50.0], angle=2.5).round(6).tolist()
    [1.101797, -18.845317]
    """
    checked_law(law)
    t = validate.real_array("time", time, at_least=0)
    s = _polar.half_angle(angle, log_tan_half_angle)
    p = _polar.noise(label_noise)
    _polar.result_shape(time=t.shape, angle=s.shape, label_noise=p.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        turned = (1 - 2 * p) * law.kappa * t
        # From angle pi it stays there.
        return np.asarray(np.where(np.isinf(s), s, s - turned))[()]


def large_norm_orbit(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    to_angle: npt.ArrayLike | None = None,
    to_log_tan_half_angle: npt.ArrayLike | None = None,
) -> Orbit:
    """Return the orbit of gradient flow where the norm is large: r cos(angle / 2)^(2 L) is constant.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number L of balanced layers, >= 1.
    norm : array_like
        Norm at the start, > 0. All arrays broadcast.
    angle, log_tan_half_angle : array_like
        The start: an angle in (0, pi), or ln tan of its half, at most 1e100 in size: give one.
    to_angle, to_log_tan_half_angle : array_like
        Where to, along the orbit or back: in (0, pi), or ln tan of its half: give one.

    Returns
    -------
    Orbit
        Relative errors are of the order of h(r) / kappa, that is of 1 / norm^2, as long as the angle is
        well above 1 / norm. With a single layer the orbit is a parabola with its focus at 0. The formulas
        themselves are evaluated to a relative accuracy of 1e-12, for any depth and any angles.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    Leaving out h: dt = -ds (1 + e^(2 s))^(2 - L) / (kappa C^(1 - 2 / L)), with C the constant. This is
    integrated by Gauss-Legendre points where it is not negligible.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> time, log_norm = large_norm_orbit(
    ...     Gaussian(2), 1, norm=1e4, angle=2.0, to_log_tan_half_angle=-1.0
    ... )
    >>> round(float(time)), round(float(np.exp(log_norm)))
    (18939, 3314)
    """
    start, end, log_start, depth = _orbit(
        law, n_layers, norm, angle, log_tan_half_angle, to_angle, to_log_tan_half_angle
    )
    grown = _clocks.log_grown(np.minimum(start, end), np.abs(end - start))
    time = _time(law, log_start, depth, start, end, _clocks.large_norm(start, end, depth - 2))
    return Orbit(time, np.asarray(log_start + depth * np.sign(end - start) * grown)[()])


def small_norm_orbit(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    to_angle: npt.ArrayLike | None = None,
    to_log_tan_half_angle: npt.ArrayLike | None = None,
) -> Orbit:
    """Return the orbit of gradient flow where the norm is small: r sin(angle)^L is constant.

    Parameters
    ----------
    law, n_layers, norm, angle, log_tan_half_angle, to_angle, to_log_tan_half_angle
        As for `large_norm_orbit`.

    Returns
    -------
    Orbit
        Relative errors are of the order of q(r) / kappa, that is of the norm. With a single layer the
        orbit is a straight line along v, run through at the speed kappa. The formulas themselves are
        evaluated to a relative accuracy of 1e-12, for any depth and any angles.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    Leaving out q: dt = -ds cosh(s)^(2 - L) / (kappa c^(1 - 2 / L)), with c the constant. This is
    integrated by Gauss-Legendre points where it is not negligible.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> time, log_norm = small_norm_orbit(
    ...     Gaussian(2), 1, norm=1e-3, angle=2.0, to_angle=np.pi / 2
    ... )
    >>> bool(np.isclose(np.exp(log_norm), 1e-3 * np.sin(2.0)))
    True
    """
    start, end, log_start, depth = _orbit(
        law, n_layers, norm, angle, log_tan_half_angle, to_angle, to_log_tan_half_angle
    )
    size, end_size = np.abs(start), np.abs(end)
    grown = _clocks.log_cosh_grown(np.minimum(size, end_size), np.abs(end_size - size))
    time = _time(law, log_start, depth, start, end, _clocks.small_norm(start, end, depth - 2))
    return Orbit(time, np.asarray(log_start + depth * np.sign(end_size - size) * grown)[()])


def passage_time(law: SphericalLaw, *, norm: npt.ArrayLike) -> FloatArray:
    """Return when a single layer that starts at angle pi passes through zero, under gradient flow.

    From there on it is aligned with the labels. It takes the integral of 1 / (kappa + q(r)) over the
    norms, between norm / (2 kappa) and norm / kappa.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    norm : array_like
        Norm at the start, >= 0.

    Returns
    -------
    ndarray of float64, shape of norm
        To a relative accuracy of some 1e-14; infinite where it is beyond the range of floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> passage_time(Gaussian(2), norm=[0.0, 1.0]).round(6).tolist()
    [0.0, 1.982198]
    """
    checked_law(law)
    r = _polar.norms(norm, 1)
    _polar.result_shape(per_entry=1000, norm=r.shape)
    # Panels up to 0.25 in units of the inputs, then twice as long each: q is smooth on that scale.
    unit = 0.25 / law._radial.table.scale
    points, weights = np.polynomial.legendre.leggauss(20)
    total, end = np.zeros(r.shape), np.zeros(r.shape)
    for k in range(_N_PANELS):
        begin, end = end, np.minimum(r, unit * 2.0**k) if k < _N_PANELS - 1 else r
        width = end - begin
        if not width.any():
            continue
        places = begin[..., None] + width[..., None] * ((1 + points) / 2)
        slow = 1 / (1 + law.q(places) / law.kappa)  # from 1/2 to 1
        with np.errstate(over="ignore"):
            total += width / law.kappa * (slow @ (weights / 2))
    return np.asarray(total)[()]


def opposed_norm(
    law: SphericalLaw, n_layers: int, *, time: npt.ArrayLike, norm: npt.ArrayLike
) -> FloatArray:
    """Bound the norm under gradient flow from angle pi, where balanced layers stay for ever.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number L of balanced layers, >= 1.
    time : array_like
        Times >= 0. All arrays broadcast.
    norm : array_like
        Norm at the start, > 0.

    Returns
    -------
    ndarray of float64
        An upper bound, which holds to a relative accuracy of the order of the norm if that is small: with a
        single layer norm - kappa t, until it passes through 0; with two norm exp(-2 kappa t); with
        more (norm^(2 / L - 1) + (L - 2) kappa t)^(-L / (L - 2)).

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> float(opposed_norm(Gaussian(2), 3, time=100.0, norm=0.1).round(9))
    1.3451e-05
    """
    checked_law(law)
    depth = _polar.depth(n_layers)
    t = validate.real_array("time", time, at_least=0)
    r = validate.real_array("norm", norm, above=0)
    _polar.result_shape(time=t.shape, norm=r.shape)
    with np.errstate(over="ignore", under="ignore"):
        if depth == 1:
            return np.asarray(np.maximum(r - law.kappa * t, 0.0))[()]
        if depth == 2:
            return np.asarray(np.exp(np.log(r) - 2 * (law.kappa * t)))[()]
        log_slower = (1 - 2 / depth) * np.log(r) + np.log((depth - 2) * law.kappa) + _log(t)
        log_norm = np.log(r) - depth / (depth - 2) * np.logaddexp(0.0, log_slower)
        return np.asarray(np.exp(log_norm))[()]


def misclassification(
    *, angle: npt.ArrayLike | None = None, log_tan_half_angle: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the probability that sgn(w.x) is not sgn(v.x): angle / pi, for every spherical law.

    Parameters
    ----------
    angle, log_tan_half_angle : array_like
        The angle of w and v in [0, pi], or ln tan of its half: give one.

    Returns
    -------
    ndarray of float64
        In [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> misclassification(angle=[0.0, np.pi / 2, np.pi]).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.asarray(_polar.angle(_polar.half_angle(angle, log_tan_half_angle)) / np.pi)[()]


def _orbit(
    law: SphericalLaw,
    n_layers: int,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None,
    log_tan_half_angle: npt.ArrayLike | None,
    to_angle: npt.ArrayLike | None,
    to_log_tan_half_angle: npt.ArrayLike | None,
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return s at the start and at the end, ln r at the start, and the number of layers."""
    checked_law(law)
    depth = _polar.depth(n_layers)
    r = validate.real_array("norm", norm, above=0)
    start = _polar.half_angle(angle, log_tan_half_angle, between=True)
    end = _polar.half_angle(to_angle, to_log_tan_half_angle, "to_", between=True)
    for name, given in (("log_tan_half_angle", start), ("to_log_tan_half_angle", end)):
        stored = validate.unbroadcast(given)
        expected = f"at most {_MOST_S:g} in size"
        validate.refuse(name, expected, stored, np.abs(stored) > _MOST_S)
    _polar.result_shape(norm=r.shape, angle=start.shape, to_angle=end.shape)
    return start, end, np.log(r), depth


def _time(
    law: SphericalLaw,
    log_norm: FloatArray,
    depth: int,
    start: FloatArray,
    end: FloatArray,
    log_clock: FloatArray,
) -> FloatArray:
    """Return the time between angles, from ln of the integral of the pace over that at the start."""
    log_time = log_clock + (2 / depth - 1) * log_norm - np.log(law.kappa)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.sign(start - end) * np.exp(log_time))[()]


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))
