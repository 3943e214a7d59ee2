"""What becomes of an observable over the records of a run: extremes, and when it passes a threshold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast.records.observables import known
from linnet_fast.training.trajectory import Trajectory


class OverRecords(NamedTuple):
    """A function of the records of one observable."""

    name: str
    """An identifier."""
    function: Callable[[Trajectory], Any]
    text: str
    """How it is written, always in one way."""
    observable: str


def _values(trajectory: Trajectory, observable: str) -> npt.NDArray[Any]:
    return np.asarray(trajectory.observables[observable])


def _extreme(observable: str, sign: float, trajectory: Trajectory) -> npt.NDArray[Any]:
    """Return the largest value (sign 1) or the least (-1) of each run; NaN if there is none."""
    values = sign * _values(trajectory, observable)
    top = np.max(np.where(np.isnan(values), -np.inf, values), axis=1)
    return np.where(np.isnan(values).all(axis=1), np.nan, sign * top)


def _first(
    observable: str, limits: tuple[tuple[str, float], ...], at: str, trajectory: Trajectory
) -> npt.NDArray[Any]:
    """Return the time, or step, of the first record within the limits; NaN if there is none."""
    values = _values(trajectory, observable)
    met = np.ones(values.shape, bool)
    with np.errstate(invalid="ignore"):
        for side, limit in limits:
            met &= values <= limit if side == "below" else values >= limit
    first = met.argmax(axis=1)
    axis = trajectory.time if at == "time" else trajectory.steps
    if axis is None:
        msg = f"first_step of {observable} is for methods that take steps, got a flow"
        raise TypeError(msg)
    axis = np.broadcast_to(axis, (len(values), axis.shape[-1])).astype(np.float64)
    shape = (*axis.shape, *(1,) * (values.ndim - 2))
    found = np.take_along_axis(
        np.broadcast_to(axis.reshape(shape), values.shape), first[:, None], axis=1
    )[:, 0]
    return np.where(met.any(axis=1), found, np.nan)


_TEXT = re.compile(r"(?P<kind>max|min|first_time|first_step)\((?P<arguments>.*)\)")
_LIMIT = re.compile(r"\s*(?P<side>below|above)\s*=\s*(?P<value>[^,=]+?)\s*")
EXAMPLES = ("max(sharpness)", "first_time(loss_test, below=1e-3)")


def parse(argument: str, text: str) -> OverRecords | None:
    """Return what a text such as ``first_time(loss, below=1e-3)`` means; None if it is of another form.

    Parameters
    ----------
    argument : str
        How the caller calls it, for errors.
    text : str
        What may be it.

    Examples
    --------
    >>> parse("derived", "max('sharpness')").name
    'max_sharpness'
    >>> parse("derived", "first_step(hessian_eigenvalues(2), above = 3)").text
    'first_step(hessian_eigenvalues_2, above=3.0)'
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        return None
    kind = match["kind"]
    parts = re.split(r",(?![^(]*\))", match["arguments"])
    asked = parts[0].strip().strip("'\"")
    row = known(asked)
    observable = asked if row is None else row.name
    if not observable.isidentifier() or observable == "weights":
        msg = f"{argument} must be of an observable, such as {EXAMPLES[0]!r}, got {text!r}"
        raise ValueError(msg)
    limits = _limits(argument, text, parts[1:])
    if bool(limits) != kind.startswith("first"):
        expected = "below=, above= or both" if kind.startswith("first") else "no limits"
        msg = f"{argument} must have {expected} in {kind}(...), got {text!r}"
        raise ValueError(msg)
    shown = ", ".join([observable, *(f"{side}={value!r}" for side, value in limits)])
    functions: Mapping[str, Callable[[Trajectory], Any]] = {
        "max": partial(_extreme, observable, 1.0),
        "min": partial(_extreme, observable, -1.0),
        "first_time": partial(_first, observable, limits, "time"),
        "first_step": partial(_first, observable, limits, "step"),
    }
    return OverRecords(f"{kind}_{observable}", functions[kind], f"{kind}({shown})", observable)


def _limits(argument: str, text: str, parts: list[str]) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for part in parts:
        match = _LIMIT.fullmatch(part)
        try:
            value = float(match["value"]) if match else None
        except ValueError:
            value = None
        if match is None or value is None or match["side"] in found:
            msg = f"{argument} must be such as {EXAMPLES[1]!r}, got {text!r}"
            raise ValueError(msg)
        found[match["side"]] = validate.real(f"{match['side']} of {argument}", value)
    return tuple(sorted(found.items()))
