"""What a competitor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.problem import Problem, Run


class Competitor(ABC):
    """A library that trains the networks of a problem, in one or more ways."""

    name: ClassVar[str]
    """The name in the tables, and of the package that must be installed."""

    @classmethod
    def available(cls) -> bool:
        """Whether the package is installed."""
        return find_spec(cls.name) is not None

    @abstractmethod
    def prepare(self, problem: Problem) -> Mapping[str, Run]:
        """Return the ways that suit the problem, by name; the fastest enters the race.

        The first call of each may compile; its time is kept apart.
        """
