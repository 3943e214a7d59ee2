"""What a norm and an angle tell, and the checks of these arguments.

The angle theta between the end-to-end vector w and the direction v of the labels is kept as s = ln
tan(theta / 2), which is accurate at both ends: -inf at angle 0, +inf at pi.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws.base import SphericalLaw


def half_angle(
    angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None, prefix: str = ""
) -> FloatArray:
    """Return s from one of an angle in [0, pi] and s itself; prefix: of the names of arguments."""
    if (angle is None) == (log_tan_half_angle is None):
        got = "neither" if angle is None else "both"
        msg = f"one of {prefix}angle and {prefix}log_tan_half_angle must be given, got {got}"
        raise TypeError(msg)
    if angle is not None:
        theta = validate.real_array(f"{prefix}angle", angle, at_least=0)
        validate.refuse(f"{prefix}angle", "<= pi", theta, theta > np.pi)
        with np.errstate(divide="ignore"):
            return np.where(theta < np.pi, np.log(np.tan(theta / 2)), np.inf)
    s = np.asarray(log_tan_half_angle)
    infinite = np.isinf(s) if s.dtype.kind == "f" else np.zeros(s.shape, dtype=bool)
    finite = validate.real_array(f"{prefix}log_tan_half_angle", np.where(infinite, 0, s))
    return np.where(infinite, s, finite).astype(np.float64)


def norms(norm: npt.ArrayLike, n_layers: int) -> FloatArray:
    """Return norms, which are zero with a single layer only."""
    r = validate.real_array("norm", norm, at_least=0)
    if n_layers > 1:
        expected = "> 0 with two and more layers, which rest at 0"
        validate.refuse("norm", expected, r, r == 0)
    return r


def depth(n_layers: int) -> int:
    """Return a number of layers."""
    return validate.integer("n_layers", n_layers, low=1, high=1000)


def noise(label_noise: npt.ArrayLike) -> FloatArray:
    """Return probabilities that a label is flipped."""
    p = validate.real_array("label_noise", label_noise, at_least=0)
    validate.refuse("label_noise", "< 1/2", p, p >= 0.5)
    return p


def angle(s: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", under="ignore"):
        return 2 * np.arctan(np.exp(s))


def one_minus_cos(s: FloatArray) -> FloatArray:
    with np.errstate(under="ignore"):
        value: FloatArray = 2 * expit(2 * s)
        return value


def radial_pull(law: SphericalLaw, s: FloatArray, r: FloatArray, flipped: FloatArray) -> FloatArray:
    """Return -gradient of the loss along w."""
    kept: FloatArray = law.h(r) - 2 * flipped * law.kappa
    return kept - (1 - 2 * flipped) * law.kappa * one_minus_cos(s)


def loss(law: SphericalLaw, s: FloatArray, r: FloatArray, flipped: FloatArray) -> FloatArray:
    turned = (1 - 2 * flipped) * law.kappa * r * one_minus_cos(s)
    return law.radial_loss(r) + 2 * flipped * law.kappa * r + turned
