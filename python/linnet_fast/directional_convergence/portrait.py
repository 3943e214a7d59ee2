"""The phase portrait of norm and angle under gradient flow of balanced layers.

Angles are to the direction v of the labels; arrays broadcast, so a grid is ``norm[:, None]`` and ``angle[None]``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law


def phase_velocity(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    label_noise: npt.ArrayLike = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return how fast norm and angle change.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number L of balanced layers, >= 1.
    norm : array_like
        Norm r of the end-to-end vector, > 0. All arrays broadcast.
    angle, log_tan_half_angle : array_like
        The angle in [0, pi], or ln tan of its half: give one.
    label_noise : array_like, default 0
        Probability in [0, 1/2) that a label is flipped.

    Returns
    -------
    norm_velocity, angle_velocity : ndarray of float64
        dr/dt = L r^(2 - 2/L) (h(r) - kappa (1 - cos angle)) and -kappa r^(1 - 2/L) sin angle, without noise.
        Infinite or 0 where that is beyond the range of floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> radial, angular = phase_velocity(Sphere(2), 1, norm=[[0.5], [2.0]], angle=[0.1, 1.5])
    >>> np.sign(radial).tolist(), bool((angular < 0).all())
    ([[1.0, -1.0], [1.0, -1.0]], True)
    """
    checked_law(law)
    depth = _polar.depth(n_layers)
    r = validate.real_array("norm", norm, above=0)
    s = _polar.half_angle(angle, log_tan_half_angle)
    p = _polar.noise(label_noise)
    shape = _polar.result_shape(norm=r.shape, angle=s.shape, label_noise=p.shape)
    with np.errstate(over="ignore", under="ignore"):
        log_sine = np.log(2) - np.logaddexp(s, -s)  # sin(angle) = 1 / cosh(s)
        pull = depth * _polar.radial_pull(law, s, r, p)
        radial = pull * r ** (1 - 1 / depth) * r ** (1 - 1 / depth)
        angular = -(1 - 2 * p) * law.kappa * np.exp(log_sine + (1 - 2 / depth) * np.log(r))
    return np.broadcast_to(radial, shape)[()], np.broadcast_to(angular, shape)[()]


def nullcline(
    law: SphericalLaw, *, norm: npt.ArrayLike, label_noise: npt.ArrayLike = 0.0
) -> FloatArray:
    """Return the angle at which the norm stands still: above it the norm shrinks, below it grows.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    norm : array_like
        Norm of the end-to-end vector, >= 0.
    label_noise : array_like, default 0
        Probability in [0, 1/2) that a label is flipped. It broadcasts with `norm`.

    Returns
    -------
    ndarray of float64
        2 arcsin sqrt(h / (2 kappa)) without noise: from pi / 2 at norm 0 down, like sqrt(2 a2 / kappa) / norm, for
        any number of layers. With noise it comes down to 0 at the norm of the minimiser, and is NaN beyond.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    The flow never leaves the region below, so the norm shrinks at most once and then grows for ever.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> nullcline(Gaussian(2), norm=[0.0, 1.0, 100.0]).round(4).tolist()
    [1.5708, 1.0264, 0.0181]
    """
    checked_law(law)
    r = _polar.norms(norm, 1)
    p = _polar.noise(label_noise)
    _polar.result_shape(norm=r.shape, label_noise=p.shape)
    share = law.h(r) / law.kappa - 2 * p
    square = np.where(share >= 0, share, np.nan) / (2 * (1 - 2 * p))
    angle = 2 * np.arcsin(np.sqrt(np.minimum(square, 0.5)))
    # Where h is denormal or less, by its limit; with noise there is nothing.
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        far = np.sqrt(2 * law.a2) / np.sqrt(law.kappa) / r
    return np.asarray(np.where((share < 1e-290) & (p == 0), far, angle))[()]


def log_lyapunov(
    n_layers: int,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
) -> FloatArray:
    """Return ln(r cos(angle / 2)^(2 L)), which never falls along the flow, and is constant at large norms.

    Parameters
    ----------
    n_layers : int
        Number L of balanced layers, >= 1.
    angle, log_tan_half_angle : array_like
        The angle in [0, pi], or ln tan of its half: give one.
    norm : array_like
        Norm r of the end-to-end vector, > 0. It broadcasts with the angle.

    Returns
    -------
    ndarray of float64
        A lower bound of ln r at all later times; -inf at angle pi. It rises at the rate L r^(1 - 2/L) h(r).

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> float(log_lyapunov(1, angle=np.pi / 2, norm=2.0).round(12))
    0.0
    """
    depth = _polar.depth(n_layers)
    s = _polar.half_angle(angle, log_tan_half_angle)
    r = validate.real_array("norm", norm, above=0)
    _polar.result_shape(norm=r.shape, angle=s.shape)
    # cos^2(angle / 2) = 1 / (1 + e^(2 s))
    with np.errstate(over="ignore"):
        return np.asarray(np.log(r) + depth * scipy.special.log_expit(-2 * s))[()]


def log_small_norm_invariant(
    n_layers: int,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
) -> FloatArray:
    """Return ln(r sin(angle)^L), which never rises along the flow, and is constant at small norms.

    Parameters
    ----------
    n_layers, angle, log_tan_half_angle, norm
        As for `log_lyapunov`.

    Returns
    -------
    ndarray of float64
        -inf at the angles 0 and pi. It falls at the rate L r^(1 - 2/L) q(r).

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> float(log_small_norm_invariant(2, angle=np.pi / 2, norm=1.0).round(12))
    0.0
    """
    depth = _polar.depth(n_layers)
    s = _polar.half_angle(angle, log_tan_half_angle)
    r = validate.real_array("norm", norm, above=0)
    _polar.result_shape(norm=r.shape, angle=s.shape)
    # sin(angle) = 1 / cosh(s)
    with np.errstate(over="ignore"):
        return np.asarray(np.log(r) - depth * (np.logaddexp(s, -s) - np.log(2)))[()]
