"""Closed forms of the reduced gradient flow: two layers, large and small norms, the angle pi.

Angles are to the direction v of the labels, by s = ln tan(angle / 2); see `reduced_flow`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law


class Orbit(NamedTuple):
    """When, and with what norm, a flow is at given angles.

    Attributes
    ----------
    time : ndarray of float64
        Time since the start; negative at angles that lie behind.
    log_norm : ndarray of float64
        Natural logarithm of the norm of the end-to-end vector.
    """

    time: FloatArray
    log_norm: FloatArray


def two_layer_direction(
    law: SphericalLaw,
    times: npt.ArrayLike,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    label_noise: npt.ArrayLike = 0.0,
) -> FloatArray:
    """Return the angle of two balanced layers under gradient flow, which does not depend on their norm.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    times : array_like
        Times >= 0. All arrays broadcast.
    angle, log_tan_half_angle : array_like
        The angle at time 0 in [0, pi], or ln tan of its half: give one.
    label_noise : array_like, default 0
        Probability in [0, 1/2) that a label is flipped.

    Returns
    -------
    ndarray of float64
        s = ln tan(angle / 2) at the times: tan(angle / 2) decays like exp(-(1 - 2 label_noise) kappa t).

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> two_layer_direction(Gaussian(3), [0.0, 50.0], angle=2.5).round(6).tolist()
    [1.101797, -18.845317]
    """
    checked_law(law)
    t = validate.real_array("times", times, at_least=0)
    s = _polar.half_angle(angle, log_tan_half_angle)
    p = _polar.noise(label_noise)
    return np.asarray(s - (1 - 2 * p) * law.kappa * t)[()]


def large_norm_orbit(
    law: SphericalLaw,
    n_layers: int,
    at: npt.ArrayLike,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
) -> Orbit:
    """Return the orbit of gradient flow where the norm is large: r cos(angle / 2)^(2 L) is constant.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number L of balanced layers, >= 1.
    at : array_like
        s = ln tan(angle / 2) along the orbit. All arrays broadcast.
    angle, log_tan_half_angle : array_like
        The start: an angle in (0, pi), or ln tan of its half: give one.
    norm : array_like
        Norm at the start, > 0.

    Returns
    -------
    Orbit
        Relative errors are of the order of h(r) / kappa, that is of 1 / norm^2, as long as the angle is
        well above 1 / norm. With a single layer the orbit is a parabola with its focus at 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    Leaving out h: dt = -ds (1 + e^(2 s))^(2 - L) / (kappa C^(1 - 2 / L)), with C the constant, which
    has an elementary integral for every L.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> time, log_norm = large_norm_orbit(Gaussian(2), 1, -1.0, angle=2.0, norm=1e4)
    >>> round(float(time)), round(float(np.exp(log_norm)))
    (18939, 3314)
    """
    s, start, log_start, depth = _orbit(law, n_layers, at, angle, log_tan_half_angle, norm)
    log_constant = log_start + depth * log_expit(-2 * start)
    log_norm = log_constant - depth * log_expit(-2 * s)
    pace = law.kappa * np.exp((1 - 2 / depth) * log_constant)
    time = (_large_clock(start, depth) - _large_clock(s, depth)) / pace
    return Orbit(np.asarray(time)[()], np.asarray(log_norm)[()])


def small_norm_orbit(
    law: SphericalLaw,
    n_layers: int,
    at: npt.ArrayLike,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
) -> Orbit:
    """Return the orbit of gradient flow where the norm is small: r sin(angle)^L is constant.

    Parameters
    ----------
    law, n_layers, at, angle, log_tan_half_angle, norm
        As for `large_norm_orbit`.

    Returns
    -------
    Orbit
        Relative errors are of the order of q(r) / kappa, that is of the norm. With a single layer the
        orbit is a straight line along v, run through at the speed kappa.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    Leaving out q: dt = -ds cosh(s)^(2 - L) / (kappa c^(1 - 2 / L)), with c the constant.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> time, log_norm = small_norm_orbit(Gaussian(2), 1, 0.0, angle=2.0, norm=1e-3)
    >>> bool(np.isclose(np.exp(log_norm), 1e-3 * np.sin(2.0)))
    True
    """
    s, start, log_start, depth = _orbit(law, n_layers, at, angle, log_tan_half_angle, norm)
    log_constant = log_start - depth * _log_cosh(start)
    log_norm = log_constant + depth * _log_cosh(s)
    pace = law.kappa * np.exp((1 - 2 / depth) * log_constant)
    time = (_small_clock(start, depth - 2) - _small_clock(s, depth - 2)) / pace
    return Orbit(np.asarray(time)[()], np.asarray(log_norm)[()])


def passage_time(law: SphericalLaw, norm: npt.ArrayLike) -> FloatArray:
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
        To a relative accuracy of some 1e-14.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> passage_time(Gaussian(2), [0.0, 1.0]).round(6).tolist()
    [0.0, 1.982198]
    """
    checked_law(law)
    r = _polar.norms(norm, 1)
    # Panels up to 0.25 in units of the inputs, then twice as long each: q is smooth on that scale.
    largest = max(float(r.max()), 1e-300)
    unit = 0.25 / np.sqrt(law.m2)
    n_panels = max(0, int(np.ceil(np.log2(max(largest / unit, 1.0))))) + 1
    edges = np.append(0.0, unit * 2.0 ** np.arange(n_panels))
    points, weights = np.polynomial.legendre.leggauss(20)
    ends = np.minimum(r[..., None], edges)
    half = np.diff(ends)[..., None] / 2
    places = ends[..., :-1, None] + half * (1 + points)
    return np.asarray((half * weights / (law.kappa + law.q(places))).sum(axis=(-2, -1)))[()]


def opposed_norm(
    law: SphericalLaw, n_layers: int, times: npt.ArrayLike, *, norm: npt.ArrayLike
) -> FloatArray:
    """Bound the norm under gradient flow from angle pi, where balanced layers stay for ever.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number L of balanced layers, >= 1.
    times : array_like
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
    >>> float(opposed_norm(Gaussian(2), 3, 100.0, norm=0.1).round(9))
    1.3451e-05
    """
    checked_law(law)
    depth = _polar.depth(n_layers)
    t = validate.real_array("times", times, at_least=0)
    r = validate.real_array("norm", norm, above=0)
    if depth == 1:
        return np.asarray(np.maximum(r - law.kappa * t, 0.0))[()]
    if depth == 2:
        return np.asarray(r * np.exp(-2 * law.kappa * t))[()]
    slower = r ** (1 - 2 / depth) * (depth - 2) * law.kappa * t
    return np.asarray(r * np.exp(-depth / (depth - 2) * np.log1p(slower)))[()]


def misclassification(
    angle: npt.ArrayLike | None = None, *, log_tan_half_angle: npt.ArrayLike | None = None
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
    >>> misclassification([0.0, np.pi / 2, np.pi]).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.asarray(_polar.angle(_polar.half_angle(angle, log_tan_half_angle)) / np.pi)[()]


def _orbit(
    law: SphericalLaw,
    n_layers: int,
    at: npt.ArrayLike,
    angle: npt.ArrayLike | None,
    log_tan_half_angle: npt.ArrayLike | None,
    norm: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return s along the orbit, s and ln r at its start, and the number of layers."""
    checked_law(law)
    depth = _polar.depth(n_layers)
    s = validate.real_array("at", at)
    start = _polar.half_angle(angle, log_tan_half_angle)
    validate.refuse("angle", "in (0, pi)", start, np.isinf(start))
    r = validate.real_array("norm", norm, above=0)
    validate.broadcast_runs(at=s.shape, angle=start.shape, norm=r.shape)
    return s, start, np.log(r), depth


def _large_clock(s: FloatArray, depth: int) -> FloatArray:
    """Return the integral of (1 + e^(2 s))^(2 - depth)."""
    if depth == 1:
        return s + np.exp(2 * s) / 2
    if depth == 2:
        return s
    rest = sum(np.exp(k * log_expit(-2 * s)) / k for k in range(1, depth - 2))
    return np.asarray((log_expit(2 * s) + rest) / 2)


def _small_clock(s: FloatArray, power: int) -> FloatArray:
    """Return the integral of cosh(s)^-power from 0."""
    if power == -1:
        return np.sinh(s)
    value = s if power % 2 == 0 else 2 * np.arctan(np.tanh(s / 2))
    sech = np.exp(-_log_cosh(s))
    for k in range(2 + power % 2, power + 1, 2):
        value = (sech ** (k - 1) * np.sinh(s) + (k - 2) * value) / (k - 1)
    return value


def _log_cosh(s: FloatArray) -> FloatArray:
    value: FloatArray = np.logaddexp(s, -s) - np.log(2)
    return value
