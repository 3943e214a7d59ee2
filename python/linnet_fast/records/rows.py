"""Rows of what can be recorded: what an observable says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.point import Point

ShapeOf: TypeAlias = Callable[[Chain], Any]


class AnyObservable(ABC):
    """What an observable says of itself."""

    name: str
    dims: tuple[str, ...] | None
    """Names of the axes of one record; None: they have none of their own."""
    of_core: bool
    """Whether the compiled core computes it; else it is a function of what the core records."""
    needs: tuple[str, ...] = ()
    """What not every training has: ``"one_output"``, ``"direction"``, ``"margin"``, ``"dense_layers"``."""
    is_measure = False
    """Whether the core takes parameters with it, see `measures`."""
    needs_start: bool = False
    """Whether it compares with the weights at the start."""
    run_shape: tuple[int, ...] = ()
    """Shape of the run axes of what it compares with."""
    of: str | None = None
    """Name of the evaluated loss that it is of; None: of the training itself."""

    @abstractmethod
    def record_shape(self, network: Chain) -> Any:
        """Return the shape of one record; of ``weights`` a tuple of them."""

    @abstractmethod
    def value(self, point: Point) -> Any:
        """Return the observable, in NumPy, shape (*run, *record_shape)."""

    def check(self, network: Chain, loss: Loss) -> None:  # noqa: B027  (most need nothing)
        """Raise ValueError unless a network and a loss have what it needs."""


@dataclass(frozen=True, eq=False)
class CoreObservable(AnyObservable):
    """A row of the registry: the compiled core computes it, by its name.

    Parameters
    ----------
    name : str
        Of the row, of the attribute of a trajectory, and in the core.
    doc : str
        What it is, for users.
    function : callable
        Its form in NumPy, of a `Point`.
    shape : callable
        Function from the network to the shape of one record.
    dims : tuple of str, optional
        Names of its axes.
    needs : tuple of str
        As of `AnyObservable`.
    of_loss : bool
        Whether it asks for no more than the loss and the end-to-end matrix: losses that are only
        evaluated have it then, too.
    """

    name: str
    doc: str
    function: Callable[[Point], Any]
    shape: ShapeOf = lambda _network: ()
    dims: tuple[str, ...] | None = ()
    needs: tuple[str, ...] = ()
    of_loss: bool = False
    of_core = True

    def record_shape(self, network: Chain) -> Any:
        """Return the shape of one record."""
        return self.shape(network)

    def is_had_by(self, loss: Loss) -> bool:
        """Return whether a loss has what it needs of losses."""
        return set(self.needs) - _NOT_OF_LOSSES <= loss.supports

    def value(self, point: Point) -> Any:
        """Return the observable in NumPy."""
        return self.function(point)

    def check(self, network: Chain, loss: Loss) -> None:
        """Raise ValueError unless a network and a loss have what it needs."""
        if "dense_layers" in self.needs and not network.is_dense:
            msg = f"{self.name} is of networks of dense layers, got {network!r}"
            raise ValueError(msg)
        if "margin" in self.needs and "margin" not in loss.supports:
            msg = f"{self.name} is of samples with labels, and a {type(loss).__name__} has none"
            raise ValueError(msg)
        if "one_output" in self.needs and network.n_outputs != 1:
            msg = f"{self.name} is of networks with one output, got {network.n_outputs}"
            raise ValueError(msg)


_NOT_OF_LOSSES = {"one_output", "direction", "dense_layers"}


@dataclass(frozen=True, eq=False)
class EvaluatedObservable(AnyObservable):
    """A row of the registry, of a loss that is evaluated beside that of the training.

    Parameters
    ----------
    row : CoreObservable
        One that is of a loss.
    of : str
        The name of the loss.
    """

    row: CoreObservable
    of: str
    of_core = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """By which the trajectory has it."""
        return f"{self.row.name}_{self.of}"

    @property
    def dims(self) -> tuple[str, ...] | None:  # type: ignore[override]
        """Names of the axes of one record."""
        return self.row.dims

    def record_shape(self, network: Chain) -> Any:
        """Return the shape of one record."""
        return self.row.record_shape(network)

    def value(self, point: Point) -> Any:
        """Return the observable in NumPy."""
        return self.row.value(replace(point, loss=point.evaluated[self.of]))

    def check(self, network: Chain, loss: Loss) -> None:
        """Raise ValueError unless a network and the evaluated loss have what it needs."""
        try:
            self.row.check(network, loss)
        except ValueError as error:
            msg = f"{self.name}: {error}"
            raise ValueError(msg) from None
