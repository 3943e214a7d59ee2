"""What a training may be given as its loss: a loss, or a recipe by which each run draws its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import seeds, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import Shape
from linnet_fast._base.value import Value

if TYPE_CHECKING:
    from linnet_fast.losses.base import Loss

MOST_DATA_SEEDS = 2**53
"""So many are integers of float64."""
_OF_STARTS = 2  # words of a seed that starts are drawn from
_PURPOSES = 8


class Seeding:
    """From which random numbers the data of runs are drawn.

    Parameters
    ----------
    rng : seed or Generator
        As NumPy has them: of all runs.
    numbers : array_like of int, shape (*run)
        The data seed of each run.
    """

    def __init__(self, rng: Seed, numbers: npt.ArrayLike) -> None:
        self._rng = rng
        self.numbers = validate.integer_array("seed", numbers, low=0, high=MOST_DATA_SEEDS - 1)

    @cached_property
    def _words(self) -> npt.NDArray[np.uint64]:
        """Those behind the ones that starts with this seed are drawn from."""
        words = seeds.generator(self._rng).integers(
            0, 2**64, size=_OF_STARTS + 2 * _PURPOSES, dtype=np.uint64
        )
        return words[_OF_STARTS:]

    def key(self, purpose: int, task: int = 0, variant: int = 0) -> npt.NDArray[np.uint64]:
        """Return the key of what is drawn for one purpose; each task and variant has other numbers.

        Parameters
        ----------
        purpose : int
            0 to 7.
        task : int
            From 0 up.
        variant : int
            From 0 up, such as a number of samples.
        """
        key = self._words[2 * purpose : 2 * purpose + 2].copy()
        key ^= np.array([task, variant], np.uint64)
        return key


class Problem(Value, ABC):
    """What a training may be given as its loss."""

    supports: ClassVar[frozenset[str]] = frozenset()
    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({})
    hint: ClassVar[str] = ""
    """How to come from it to a loss, where one is needed."""
    is_drawn: ClassVar[bool] = False
    """Whether each data seed has another loss."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number of outputs."""

    @property
    @abstractmethod
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the arguments."""

    @property
    @abstractmethod
    def example(self) -> Loss:
        """A loss of this kind, without run axes, by which to check what goes with it."""

    @property
    @abstractmethod
    def population(self) -> Problem:
        """The same with infinitely many samples; ValueError where there is no such thing."""

    @abstractmethod
    def for_runs(self, seeding: Seeding, training: Problem) -> Loss:
        """Return the loss of runs.

        Parameters
        ----------
        seeding : Seeding
            Whose numbers have the run axes.
        training : Problem
            What is trained on, where this is evaluated besides.
        """


class Population(Problem):
    """Of what is trained on, with infinitely many samples: the risk of each run."""

    hint: ClassVar[str] = (
        "which only a Training on a Teacher knows: evaluate teacher.population.loss(seed=...)"
    )
    text: ClassVar[str] = "population"
    """What it is written as."""

    def __repr__(self) -> str:
        """Show the text."""
        return repr(self.text)

    @property
    def n_inputs(self) -> int:
        """Number of inputs, which only what is trained on knows."""
        raise self._alone()

    @property
    def n_outputs(self) -> int:
        """Number of outputs, which only what is trained on knows."""
        raise self._alone()

    @property
    def run_shape(self) -> Shape:
        """No run axes of its own."""
        return ()

    @property
    def example(self) -> Loss:
        """None without what is trained on."""
        raise self._alone()

    @property
    def population(self) -> Problem:
        """It is one."""
        return self

    def for_runs(self, seeding: Seeding, training: Problem) -> Loss:
        """Return the loss of what is trained on, by the same seeds."""
        return training.population.for_runs(seeding, training)

    def _alone(self) -> TypeError:
        return TypeError("loss must be a loss or a Teacher, got 'population', which is evaluated")
