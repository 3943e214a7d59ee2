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


def any_angle(angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None) -> FloatArray:
    """Return s of an angle in either form, of which s may be infinite."""
    for name, value in (("angle", angle), ("log_tan_half_angle", log_tan_half_angle)):
        if value is not None and not _is_plain(value):
            validate.real_array(name, value)  # says what it is
    return _polar.half_angle(angle, log_tan_half_angle)


def _recorded(angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None) -> FloatArray:
    """Return s of an angle in either form, NaN where it is NaN."""
    given = log_tan_half_angle if angle is None else angle
    if given is None or not _is_plain(given) or not np.isnan(given).any():
        return any_angle(angle, log_tan_half_angle)
    missing = np.isnan(given)
    known = np.where(missing, 0.0, given)
    both = (None, known) if angle is None else (known, log_tan_half_angle)
    return np.where(missing, np.nan, any_angle(*both))


def _is_plain(value: npt.ArrayLike) -> bool:
    """Return whether something is an array of real numbers, finite or not."""
    if isinstance(value, np.ma.MaskedArray):
        return False
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    return array.dtype.kind in "fiu" and array.size > 0


def inner_angle(
    angle: npt.ArrayLike | None, log_tan_half_angle: npt.ArrayLike | None
) -> FloatArray:
    """Return s of an angle in either form that is neither 0 nor pi."""
    if angle is None and log_tan_half_angle is not None:
        return validate.real_array("log_tan_half_angle", log_tan_half_angle)
    s = any_angle(angle, log_tan_half_angle)
    validate.refuse("angle", "in (0, pi)", np.asarray(angle, dtype=np.float64), np.isinf(s))
    return s
