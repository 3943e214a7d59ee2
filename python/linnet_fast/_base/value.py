"""Descriptions that are values: equal if what they are made with is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np


@cache
def arguments(kind: Any) -> tuple[str, ...]:
    """Return the names of the arguments a class is made with; each is an attribute, too."""
    return tuple(inspect.signature(kind).parameters)


def made_with(value: object) -> dict[str, Any]:
    """Return what something was made with, by the names of its arguments."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in arguments(kind)}


class Value:
    """What does not change, and has its arguments as attributes of the same names."""

    def __eq__(self, other: object) -> bool:
        """Whether another of the same class was made with the same: arrays have the same dtype, shape and numbers."""
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        return _same(made_with(self), made_with(other))

    def __hash__(self) -> int:
        """Hash of the class and of what is not an array; of arrays their shapes."""
        return hash((type(self), *map(_key, made_with(self).values())))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _key(part: Any) -> object:
    if isinstance(part, np.ndarray):
        return part.shape
    if isinstance(part, Mapping):
        return tuple(part)
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        return tuple(map(_key, part))
    try:
        return hash(part)
    except TypeError:
        return type(part)
