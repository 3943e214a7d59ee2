"""What a norm and an angle tell, and the checks of these arguments.

The angle theta between the end-to-end vector w and the direction v of the labels is kept as s = ln
tan(theta / 2), which is accurate at both ends: -inf at angle 0, +inf at pi.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import memory, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.laws.base import SphericalLaw

STARTS = -1e15, 1e6
"""Finite ln tan of half the angle at a start."""


def half_angle(
    angle: npt.ArrayLike | None,
    log_tan_half_angle: npt.ArrayLike | None,
    prefix: str = "",
    *,
    between: bool = False,
) -> FloatArray:
    """Return s from one of an angle in [0, pi] and s itself; `between`: the ends are refused.

    The prefix is that of the names of the arguments.
    """
    names = f"{prefix}angle", f"{prefix}log_tan_half_angle"
    if (angle is None) == (log_tan_half_angle is None):
        got = "neither" if angle is None else "both"
        msg = f"{names[0]} or {names[1]} must be given, one of them, got {got}"
        raise TypeError(msg)
    if angle is not None:
        given = validate.real_array(names[0], angle, at_least=0)
        theta = validate.unbroadcast(given)
        validate.refuse(names[0], "<= pi", theta, theta > np.pi)
        if between:
            ends = (theta == 0) | (theta == np.pi)
            validate.refuse(names[0], "in (0, pi)", theta, ends)
        with np.errstate(divide="ignore", under="ignore"):
            # Half of the least angle would be 0.
            tiny = theta < 1e-8
            s = np.where(tiny, np.log(theta) - np.log(2), np.log(np.tan(theta / 2)))
            s = np.where(theta < np.pi, s, np.inf)
        return np.broadcast_to(s, given.shape)
    if between:
        return validate.real_array(names[1], log_tan_half_angle)
    given = validate.numbers(names[1], log_tan_half_angle)
    s = validate.unbroadcast(given)
    validate.refuse(names[1], "a number", s, np.isnan(s))
    with np.errstate(over="ignore"):
        return np.broadcast_to(s.astype(np.float64), given.shape)


def start(angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None) -> FloatArray:
    """Return s where a flow or a descent starts; neither s nor what it does to norms may lose all digits."""
    s = half_angle(angle, log_tan_half_angle)
    stored = validate.unbroadcast(s)
    low, high = STARTS
    beyond = np.isfinite(stored) & ((stored < low) | (stored > high))
    validate.refuse("log_tan_half_angle", f"infinite or from {low:g} to {high:g}", stored, beyond)
    return s


def norms(norm: npt.ArrayLike, n_layers: int) -> FloatArray:
    """Return norms, which are zero with a single layer only."""
    r: FloatArray = validate.real_array("norm", norm, at_least=0)
    if n_layers > 1:
        expected = "> 0 with two and more layers, which rest at 0"
        stored = validate.unbroadcast(r)
        validate.refuse("norm", expected, stored, stored == 0)
    return r


def depth(n_layers: int) -> int:
    """Return a number of layers."""
    return validate.integer("n_layers", n_layers, low=1, high=1000)


def noise(label_noise: npt.ArrayLike) -> FloatArray:
    """Return probabilities that a label is flipped."""
    p: FloatArray = validate.real_array("label_noise", label_noise, at_least=0)
    stored = validate.unbroadcast(p)
    validate.refuse("label_noise", "< 1/2", stored, stored >= 0.5)
    return p


def result_shape(*, per_entry: int = 64, **shapes: Shape) -> Shape:
    """Return the shape to which arguments broadcast; MemoryError if what is made of it would not fit.

    `per_entry` are the bytes that an entry takes while it is worked on.
    """
    shape = validate.broadcast_runs(**shapes)
    needed = math.prod(shape) * per_entry
    if (limit := memory.exceeded(needed)) is not None:
        msg = (
            f"{', '.join(shapes)} must broadcast to what fits into memory, got the shape {shape}, "
            f"which takes {needed:,} bytes of {limit:,}"
        )
        raise MemoryError(msg)
    return shape


def angle(s: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", under="ignore"):
        return 2 * np.arctan(np.exp(s))


def one_minus_cos(s: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", under="ignore"):
        value: FloatArray = 2 * scipy.special.expit(2 * s)
        return value


def radial_pull(law: SphericalLaw, s: FloatArray, r: FloatArray, flipped: FloatArray) -> FloatArray:
    """Return -gradient of the loss along w."""
    kept: FloatArray = law.h(r) - 2 * flipped * law.kappa
    return kept - (1 - 2 * flipped) * law.kappa * one_minus_cos(s)


def loss(law: SphericalLaw, s: FloatArray, r: FloatArray, flipped: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        turned = (1 - 2 * flipped) * law.kappa * r * one_minus_cos(s)
        return law.radial_loss(r) + 2 * flipped * law.kappa * r + turned
