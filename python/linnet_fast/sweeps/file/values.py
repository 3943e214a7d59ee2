"""Values of a parameter as a file has them: lists, spaced numbers, distributions to draw from."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from linnet_fast._base import spacing, validate
from linnet_fast.sweeps.file.toml import shown

_SPACED = ("geomspace", "linspace", "arange")
_DRAWN = ("uniform", "loguniform", "normal", "integers", "choice")

WAYS = (*_SPACED, *_DRAWN)
"""Keys of tables that stand for values."""

_MOST_VALUES = 10**6


def spaced(where: str, entry: Any) -> list[Any]:
    """Return values: a list, or numbers from {geomspace = [low, high, n]} and such."""
    if isinstance(entry, list):
        if not entry:
            msg = f"{where} must have at least one value, got none"
            raise ValueError(msg)
        return entry
    example = "{geomspace = [1e-6, 1.0, 13]}"
    how, numbers = _only(where, entry, example)
    if how in _DRAWN:
        msg = f"{where} must be a list or a table such as {example}, got {how}, for [sampled]"
        raise ValueError(msg)
    validate.choice(f"key of {where}", how, _SPACED)
    name = f"{where}.{how}"
    if how == "arange":
        if isinstance(numbers, list) and len(numbers) == 2:
            numbers = [*numbers, 1]
        begin, end, step = _numbers(name, numbers, "[first, end, step]", 3)
        n = math.ceil((end - begin) / step) if step else 0
        validate.integer(f"number of values of {name}", n, low=1, high=_MOST_VALUES)
        return [begin + i * step for i in range(n)]
    low, high, count = _numbers(name, numbers, "[low, high, n]", 3)
    n = validate.integer(f"n of {name}", count, low=1, high=_MOST_VALUES)
    if how == "geomspace":
        _positive(name, low, high)
        return spacing.geomspace(low, high, n)
    return [float(x) for x in np.linspace(low, high, n)]


def drawn(where: str, entry: Any) -> Any:
    """Return values to choose from, or a distribution."""
    if isinstance(entry, list):
        return spaced(where, entry)
    how, numbers = _only(where, entry, "{loguniform = [1e-6, 1.0]}")
    if how in _SPACED:
        return spaced(where, entry)
    validate.choice(f"key of {where}", how, (*_DRAWN, *_SPACED))
    if how == "choice":
        return spaced(f"{where}.choice", numbers)
    return _distribution(f"{where}.{how}", how, numbers)


def _only(where: str, entry: Any, example: str) -> tuple[str, Any]:
    """Return the key and the value of a table of one."""
    if not isinstance(entry, dict) or len(entry) != 1:
        msg = f"{where} must be a list or a table such as {example}, got {shown(entry)}"
        raise TypeError(msg)
    ((how, numbers),) = entry.items()
    return how, numbers


def first(values: Any) -> Any:
    """Return the first of values, or the median of a distribution."""
    if isinstance(values, list):
        return values[0]
    median = float(values.median())
    return int(median) if hasattr(values.dist, "pmf") else median


def _numbers(name: str, value: Any, form: str, n: int) -> list[Any]:
    """Return n finite numbers."""
    if not isinstance(value, list):
        _refuse_form(name, form, shown(value))
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    if len(value) != n or not numbers:
        _refuse_form(name, form, repr(value))
    if not all(math.isfinite(x) for x in value):
        _refuse_form(name, f"{form}, all finite", repr(value))
    return value


def _refuse_form(name: str, form: str, got: str) -> NoReturn:
    msg = f"{name} must be {form}, got {got}"
    raise ValueError(msg)


def _positive(name: str, *values: float) -> None:
    if min(values) <= 0:
        msg = f"{name} must be between positive numbers, got {min(values)}"
        raise ValueError(msg)


def _distribution(name: str, how: str, numbers: Any) -> Any:
    """Return a distribution of SciPy."""
    from scipy import stats  # noqa: PLC0415  (takes a while, and few need it)

    form = "[mean, deviation]" if how == "normal" else "[low, high]"
    low, high = _numbers(name, numbers, form, 2)
    if how == "normal":
        if high <= 0:
            _refuse_form(name, "[mean, deviation] with a positive deviation", repr(numbers))
        return stats.norm(low, high)
    if low >= high:
        _refuse_form(name, "[low, high] with low < high", repr(numbers))
    if how == "integers":
        for number in (low, high):
            validate.integer(name, number, low=-(2**53), high=2**53)
        return stats.randint(low, high + 1)
    if how == "loguniform":
        _positive(name, low, high)
        return stats.loguniform(low, high)
    return stats.uniform(low, high - low)
