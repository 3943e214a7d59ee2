"""Nouns of several kinds, each with options of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Kind(Protocol):
    """What a kind takes."""

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of its options."""

    @property
    def needs(self) -> str | None:
        """The one without which it cannot be."""


def check_options(
    noun: str, kind: str, given: Mapping[str, object], kinds: Mapping[str, Kind]
) -> None:
    """Refuse an option of other kinds, and the lack of one that is needed.

    Parameters
    ----------
    noun : str
        For messages: "start".
    kind : str
        One of `kinds`.
    given : mapping of str to object
        All options, by name; None where left out.
    kinds : mapping of str to Kind
    """
    for name, value in given.items():
        if value is not None and name not in kinds[kind].takes:
            others = ", ".join(other for other, of in kinds.items() if name in of.takes)
            msg = f"{name} must be left out of a {noun} that is {kind}, it is for {others} ones"
            raise ValueError(msg)
        if value is None and kinds[kind].needs == name:
            msg = f"{name} must be given for a {noun} that is {kind}"
            raise ValueError(msg)
