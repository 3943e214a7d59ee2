"""Things by name, of losses that are evaluated beside that of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

_T = TypeVar("_T")


class Named(Mapping[str, _T]):
    """Names and what they stand for: a mapping that stays as it is, can be hashed, copied and pickled.

    Parameters
    ----------
    items : mapping

    Examples
    --------
    >>> Named({"test": 0.5})
    {'test': 0.5}
    """

    def __init__(self, items: Mapping[str, _T] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, name: str) -> _T:
        """Return what a name stands for."""
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._items)

    def __hash__(self) -> int:
        """Return a hash of the names."""
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        """Show it as a dict."""
        return repr(self._items)
