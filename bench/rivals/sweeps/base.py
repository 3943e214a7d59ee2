"""What a way to write a sweep is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Weights

    Sweep: TypeAlias = Callable[[int, Weights | None], Array]
    """Trains the first so many runs, from these starts or its own; returns their last losses."""


@dataclass(frozen=True)
class Way:
    """One way to write a sweep."""

    sweep: Sweep
    unit: int
    """Runs that it trains at a time; other numbers of runs waste some of it."""
