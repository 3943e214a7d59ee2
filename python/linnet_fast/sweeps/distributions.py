"""Values that distributions of SciPy have at given probabilities, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from linnet_fast._base import elementary
from linnet_fast._base.validate import FloatArray


def _log_uniform(u: FloatArray, low: float, high: float) -> FloatArray:
    first, last = elementary.log([low, high])
    return np.clip(elementary.exp(first + u * (last - first)), low, high)


_OWN: Mapping[str, Callable[..., FloatArray]] = MappingProxyType(
    {
        "norm": elementary.normal_quantile,
        "loguniform": _log_uniform,
        "reciprocal": _log_uniform,
        "lognorm": lambda u, s: elementary.exp(s * elementary.normal_quantile(u)),
        "expon": lambda u: -elementary.log1p(-u),
    }
)
"""Names in SciPy -> standard quantiles by the core's functions; a shift and a factor change no bit.

SciPy's own have other last bits on other processors. Those of uniform numbers and of integers do
not; those of all other distributions are left as SciPy has them.
"""


def quantiles(of: Any, u: FloatArray) -> FloatArray:
    """Return the values of a frozen distribution at probabilities.

    Parameters
    ----------
    of : frozen distribution of SciPy
    u : ndarray of float64
        In (0, 1).

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import scipy.stats
    >>> quantiles(scipy.stats.loguniform(0.01, 1.0), np.array([0.5])).round(12).tolist()
    [0.1]
    """
    dist = getattr(of, "dist", None)
    form = _OWN.get(getattr(dist, "name", ""))
    if form is None or dist is None:
        return np.asarray(of.ppf(u))
    shapes, shift, factor = dist._parse_args(*of.args, **of.kwds)
    numbers = [float(number) for number in (*shapes, shift, factor)]
    *parameters, shift, factor = numbers
    return np.asarray(form(u, *parameters) * factor + shift)
