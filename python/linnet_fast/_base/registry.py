"""Classes by name: what there is of a kind, and what joins it from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

_Kind = TypeVar("_Kind")


class Registry(Mapping[str, _Kind]):
    """Name of each class -> the class. `register` is the only way in.

    Examples
    --------
    >>> registry = Registry([int])
    >>> registry.register(float), list(registry)
    (<class 'float'>, ['int', 'float'])
    """

    def __init__(self, kinds: list[_Kind]) -> None:
        self._kinds: dict[str, _Kind] = {}
        for kind in kinds:
            self.register(kind)

    def __getitem__(self, name: str) -> _Kind:
        """Return the class of a name."""
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kinds)

    def register(self, kind: _Kind) -> _Kind:
        """Make a class known by its name: to files, configurations and tests. May decorate it.

        Parameters
        ----------
        kind : type
            With a name of its own.

        Returns
        -------
        type
            `kind`.

        Raises
        ------
        ValueError
            If another class has the name.
        """
        name: str = kind.__name__  # type: ignore[attr-defined]
        if self._kinds.setdefault(name, kind) is not kind:
            msg = f"kind must have a name of its own, got a second {name}"
            raise ValueError(msg)
        return kind

    def forget(self, name: str) -> None:
        """Take a class out again, as tests do with theirs."""
        del self._kinds[name]
