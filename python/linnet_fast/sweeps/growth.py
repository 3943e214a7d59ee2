"""How a store takes in a sweep that has grown: values behind those that are there, more derived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from linnet_fast._base.validate import Shape
from linnet_fast.sweeps.form import SweepError
from linnet_fast.sweeps.layout import Layout, Variable, coordinates
from linnet_fast.sweeps.spec import SweepSpec
from linnet_fast.training import plain


def check(path: object, shape: Shape, known: Mapping[str, Any], spec: SweepSpec) -> None:
    """Refuse a spec that is no larger form of the one a store was begun with.

    Parameters
    ----------
    path : path
        Of the store, for the message.
    shape, known : tuple of int, mapping
        Lengths of the dimensions there, and the spec as plain data.
    spec : SweepSpec
        The one that is asked for.

    Raises
    ------
    SweepError
        If it is neither the store's, nor has dimensions grown at their ends or more derived.
    """
    longer = len(spec.shape) == len(shape) and all(
        n <= m for n, m in zip(shape, spec.shape, strict=True)
    )
    before = _with_derived(spec.cut(shape) if longer else spec, known)
    if not longer or before is None or plain.digest(before.encode()) != plain.digest(known):
        lines = plain.differences(known, (before or spec).encode())
        msg = (
            f"{path} can only be extended by values at the ends of its dimensions {shape} and by "
            f"more derived, got {'; '.join(lines[:5]) or f'dimensions {spec.shape}'}"
        )
        raise SweepError(msg + why_not(known, spec.encode()))
    if not spec.common_seeds and spec.shape[1:] != shape[1:]:
        msg = (
            f"{path} can only be extended by values at the end of its first dimension, "
            f"since runs without common_seeds are numbered by its shape {shape}, got {spec.shape}"
        )
        raise SweepError(msg)


def added(
    path: object, there: Sequence[Variable], coords: Sequence[str], spec: SweepSpec, layout: Layout
) -> tuple[Variable, ...]:
    """Return the variables that a store of `there` must have besides; refuse others in their form."""
    now = {variable.name: variable for variable in layout.variables}
    if any(now.get(variable.name) != variable for variable in there):
        msg = f"{path} cannot be extended: results would have other shapes"
        raise SweepError(msg)
    if set(coordinates(spec, layout)) != set(coords):
        msg = (
            f"{path} cannot be extended: parameters beside its dimensions would change their names"
        )
        raise SweepError(msg)
    return tuple(variable for variable in layout.variables if variable not in there)


def why_not(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return what of another sweep no store can take in, as sentences behind a message."""
    reasons = []
    gone = [one["name"] for one in known.get("derived", ()) if one not in asked["derived"]]
    if gone:
        reasons.append(f"derived can be added, but {', '.join(gone)} must stay as it is")
    old, new = (
        {axis["name"]: axis["labels"] for axis in own.get("axes", ())} for own in (known, asked)
    )
    if list(old) != list(new):
        names = ", ".join(old) or "none but seeds"
        reasons.append(f"a store keeps the dimensions that it was begun with ({names})")
    else:
        inserted = [name for name in old if new[name][: len(old[name])] != old[name]]
        if inserted:
            where = f"those of {', '.join(inserted)} that are there, not before or between them"
            reasons.append(f"values go behind {where}, and none is taken out")
    return "".join(f"; {reason}" for reason in reasons)


def _with_derived(spec: SweepSpec, known: Mapping[str, Any]) -> SweepSpec | None:
    """Return a spec that derives what is known, in that order; None if it does not derive all of it."""
    asked = spec.encode()["derived"]
    if any(one not in asked for one in known["derived"]):
        return None
    return replace(spec, derived=tuple(spec.derived[asked.index(one)] for one in known["derived"]))
