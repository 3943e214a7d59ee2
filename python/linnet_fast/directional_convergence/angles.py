"""What angles are given as and what they tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar

_FAR = 1e300  # as good as infinite, and twice it is a number


def cosine(
    *, angle: npt.ArrayLike | None = None, log_tan_half_angle: npt.ArrayLike | None = None
) -> FloatArray:
    """Return cos(theta) of an angle, or of s = ln tan(theta / 2).

    Parameters
    ----------
    angle, log_tan_half_angle : array_like
        theta in [0, pi], or s, which may be infinite: give one. NaN, as records are after the end
        of a run, stays.

    Returns
    -------
    ndarray of float64
        ``-tanh(s)``.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers, or not one form of the angle is given.
    ValueError
        If an angle is out of range.

    Examples
    --------
    >>> float(cosine(log_tan_half_angle=1.0).round(4)), float(cosine(angle=0.0))
    (-0.7616, 1.0)
    """
    return np.asarray(-np.tanh(_recorded(angle, log_tan_half_angle)))


def one_minus_cosine(
    *, angle: npt.ArrayLike | None = None, log_tan_half_angle: npt.ArrayLike | None = None
) -> FloatArray:
    """Return 1 - cos(theta) of an angle, or of s = ln tan(theta / 2), without cancellation.

    Parameters
    ----------
    angle, log_tan_half_angle : array_like
        theta in [0, pi], or s, which may be infinite: give one. NaN, as records are after the end
        of a run, stays.

    Returns
    -------
    ndarray of float64
        0 where it underflows.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers, or not one form of the angle is given.
    ValueError
        If an angle is out of range.

    Examples
    --------
    >>> float(one_minus_cosine(log_tan_half_angle=0.0)), f"{one_minus_cosine(angle=1e-9):.4g}"
    (1.0, '5e-19')
    """
    s = _recorded(angle, log_tan_half_angle)
    return np.asarray(_polar.one_minus_cos(np.clip(s, -_FAR, _FAR)))


def _recorded(angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None) -> FloatArray:
    """Return s of an angle in either form, NaN where it is NaN."""
    if (angle is None) == (log_tan_half_angle is None):
        return _polar.half_angle(angle, log_tan_half_angle)  # says so
    name = "log_tan_half_angle" if angle is None else "angle"
    given = validate.numbers(name, log_tan_half_angle if angle is None else angle)
    missing = np.isnan(given)
    known = np.where(missing, 0.0, given) if missing.any() else given
    s = _polar.half_angle(*((None, known) if angle is None else (known, None)))
    return np.where(missing, np.nan, s)
