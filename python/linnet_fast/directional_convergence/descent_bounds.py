"""Bounds on the angle along gradient descent on one layer.

Angles theta to the direction of the data are given as s = ln tan(theta / 2); a bound above on s is
one below on cos(theta).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence.phases import checked_start
from linnet_fast.laws.base import SphericalLaw

PAPER = 0.6
"""What the theorems have in place of 2 max r h(r)."""


def descent_angle_bound_behind(
    law: SphericalLaw,
    *,
    step_size: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return the bound above on s of gradient descent on one layer from behind (Theorem 2).

    It holds up to and with the first step that reaches an angle below pi / 2.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    step_size : array_like, shape (*run, n_steps)
        Positive.
    norm : array_like, shape (*run)
        At the start, > 0.
    angle, log_tan_half_angle : array_like, shape (*run)
        At the start, in (pi / 2, pi), or ln tan of its half, > 0: give one. Run axes broadcast.

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
    >>> descent_angle_bound_behind(Sphere(2), step_size=[1.0, 1.0], norm=1.0, log_tan_half_angle=1.0).round(4).tolist()
    [1.0, 0.8099, 0.69]
    """
    _, r, s = checked_start(law, 1, norm, angle, log_tan_half_angle)
    if angle is None:
        validate.refuse("log_tan_half_angle", "> 0", s, s <= 0)
    else:
        validate.refuse("angle", "> pi / 2", np.asarray(angle, dtype=np.float64), s <= 0)
    return _descended(law, checked_step_sizes(step_size), r, s, 1.0, 0.0)


def descent_angle_bound(
    law: SphericalLaw,
    *,
    step_size: npt.ArrayLike,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    delta: npt.ArrayLike = 1.0,
) -> FloatArray:
    """Return the bound above on s of gradient descent on one layer, from any angle (Theorem 3).

    It holds if at each step ``|w_{n+1}| + w_n.w_{n+1} / |w_n| >= (1 + delta) kappa eta_n
    cos(theta_n)``; with delta = 1 that is so if no step overshoots, ``eta_n q(|w_n|) <= |w_n|``,
    as with ``eta_n <= 4 / m2`` from any start.

    Parameters
    ----------
    law, step_size, norm, angle, log_tan_half_angle
        As for `descent_angle_bound_behind`, with any angle in (0, pi).
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
    >>> descent_angle_bound(Sphere(2), step_size=[1.0, 1.0], norm=1.0, log_tan_half_angle=1.0).round(4).tolist()
    [1.0, 0.9089, 0.8462]
    """
    _, r, s = checked_start(law, 1, norm, angle, log_tan_half_angle)
    eta = checked_step_sizes(step_size)
    over = validate.real_array("delta", delta, above=0)
    c0 = np.pi * law.kappa
    part = np.where(over < 1, over / (1 + over), 1 / (1 + 1 / np.maximum(over, 1)))
    return _descended(law, eta, r, s, part, PAPER / c0**2)


def _descended(
    law: SphericalLaw,
    eta: FloatArray,
    r: FloatArray,
    s: FloatArray,
    part: npt.ArrayLike,
    drift: float,
) -> FloatArray:
    """Return s after 1 - cos has shrunk by exp(-x), x = part (1 + cos(theta_0)) / pi * sum."""
    validate.broadcast_runs(
        step_size=eta.shape[:-1], start=np.broadcast_shapes(r.shape, s.shape), delta=np.shape(part)
    )
    r, s, part = (np.asarray(x)[..., None] for x in (r, s, part))
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        # Squares alone would leave the range of numbers long before their roots.
        sizes = np.hypot(np.hypot.accumulate(eta, axis=-1), r / (np.pi * law.kappa))
        if drift > 0:
            sizes = np.hypot(sizes, np.sqrt(drift) * np.sqrt(np.cumsum(eta, axis=-1)))
        total = np.cumsum(eta / sizes, axis=-1)
        total = np.concatenate([np.zeros((*total.shape[:-1], 1)), total], axis=-1)
        factor = part * 2 / np.pi * total
        x = factor * scipy.special.expit(-2 * s)
        # tan^2 goes to tan^2 e^-x / (1 + tan^2 (1 - e^-x)), whose tan^2 x is factor (1 - cos) / 2.
        shrunk = np.where(x > 1e-8, -np.expm1(-x) / np.where(x > 0, x, 1), 1 - x / 2)
        grown = np.logaddexp(0, np.log(factor) + scipy.special.log_expit(2 * s) + np.log(shrunk))
        return np.asarray(s - (x + grown) / 2)


def checked_step_sizes(step_size: npt.ArrayLike) -> FloatArray:
    """Return step sizes of shape (*run, n_steps), positive."""
    eta = validate.real_array("step_size", step_size, above=0)
    if not eta.ndim:
        msg = "step_size must have shape (*run, n_steps), got ()"
        raise ValueError(msg)
    return eta
