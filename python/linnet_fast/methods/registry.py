"""Every method there is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from linnet_fast.methods.base import Method
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.stochastic import StochasticGradientDescent

_Kind = TypeVar("_Kind", bound=type[Method])

_KINDS: dict[str, type[Method]] = {}

METHODS: Mapping[str, type[Method]] = MappingProxyType(_KINDS)
"""Name of each method -> its class."""


def register(kind: _Kind) -> _Kind:
    """Make a method known by its name: to files, configurations and tests. May decorate the class.

    Parameters
    ----------
    kind : subclass of Method
        With a name of its own.

    Returns
    -------
    type
        `kind`.

    Raises
    ------
    ValueError
        If another method has the name.
    """
    if _KINDS.setdefault(kind.__name__, kind) is not kind:
        msg = f"kind must have a name of its own, got a second {kind.__name__}"
        raise ValueError(msg)
    return kind


for _kind in (GradientDescent, StochasticGradientDescent, GradientFlow):
    register(_kind)


def checked_method(method: object, n_steps: object, until: object) -> Method:
    """Return `method`; raise TypeError unless it is one and has its own measure of length, and only that.

    Parameters
    ----------
    method : Method
        Measured in steps, or in time.
    n_steps, until : object
        What was given, None if nothing.

    Raises
    ------
    TypeError
        If `method` is none, its measure is missing, or the other one is given.
    """
    if not isinstance(method, Method):
        msg = f"method must be one of {', '.join(METHODS)}, got {type(method).__name__}"
        raise TypeError(msg)
    measures = {"n_steps": n_steps, "until": until}
    wanted, other = ("n_steps", "until") if method.counts_steps else ("until", "n_steps")
    if measures[other] is not None:
        length = {"n_steps": "n_steps, the number of steps", "until": "until, a time"}[wanted]
        msg = f"{type(method).__name__} must be given {length}, and not {other}"
        raise TypeError(msg)
    if measures[wanted] is None:
        msg = f"{wanted} must be given with {type(method).__name__}"
        raise TypeError(msg)
    return method
