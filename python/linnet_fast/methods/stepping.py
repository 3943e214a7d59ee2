"""What methods that take steps have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import noun_of
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast._base.value import made_with
from linnet_fast.methods.base import Memory, Method
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.chain import Chain, checked_network


@dataclass(frozen=True)
class AtStep:
    """What a method has to know of the step that it takes, besides weights and gradients.

    Parameters
    ----------
    rate : ndarray
        The step size, multipliers included; it broadcasts against the weights.
    number : int
        1 of the first step since the memory was zero, then 2, ...
    n_inner : int
        How many axes of the weights are no run axes.
    """

    rate: WeightArray
    number: int
    n_inner: int

    def spread(self, parameter: npt.ArrayLike) -> WeightArray:
        """Return a parameter, shape (*run), so that it broadcasts, in the precision of the weights.

        Parameters
        ----------
        parameter : array_like, shape (*run)
            Of a method.
        """
        array = np.asarray(parameter, self.rate.dtype)
        return array.reshape(*array.shape, *(1,) * self.n_inner)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SteppingMethod(Method):
    """A method that takes steps: step sizes, one per run, or by a rule; weight decay.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite.
    weight_decay : array_like, shape (*run), default 0
        Coefficient >= 0.
    layer_multipliers : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size of each array of weights.
    batches : Batches, optional
        Which samples a step sees; by default all.
    layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the weight decay of each array of weights.
    noise : GaussianNoise, optional
        What is added to the weights after every step; by default nothing.
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"step_size": 0, "weight_decay": 0, "layer_multipliers": 1, "layer_decays": 1}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"batches": None, "layer_decays": None, "noise": None}
    )
    counts_steps: ClassVar[bool] = True
    may_move: ClassVar[bool] = False
    """Whether runs without momentum keep one more array where others have some."""

    step_size: FloatArray | StepRule
    weight_decay: FloatArray
    layer_multipliers: FloatArray | None
    layer_decays: FloatArray | None

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        step = step_size
        if not isinstance(step, StepRule):
            step = validate.real_array("step_size", step, above=0)
        decay = validate.real_array("weight_decay", weight_decay, at_least=0)
        object.__setattr__(self, "step_size", step)
        object.__setattr__(self, "weight_decay", decay)
        multipliers = _per_array("layer_multipliers", layer_multipliers)
        object.__setattr__(self, "layer_multipliers", multipliers)
        object.__setattr__(self, "layer_decays", _per_array("layer_decays", layer_decays))
        if batches is not None:
            validate.instance("batches", batches, Batches)
        if noise is not None:
            validate.instance("noise", noise, GaussianNoise)
        self.__dict__["_batches"], self.__dict__["_noise"] = batches, noise

    @property
    def batches(self) -> Batches | None:
        """Which samples a step sees; None: all."""
        known: Batches | None = self.__dict__["_batches"]
        return known

    @property
    def noise(self) -> GaussianNoise | None:
        """What is added to the weights after every step; None: nothing."""
        known: GaussianNoise | None = self.__dict__["_noise"]
        return known

    @property
    def n_memories(self) -> int:
        """How many arrays are kept for each array of weights."""
        known: int | None = self.__dict__.get("_n_memories")
        return self._remembered() if known is None else known

    def _remembered(self) -> int:
        """Return how many arrays are kept; some of the runs keep what all do."""
        return 0

    def remembering(self, n: int) -> Self:
        """Return the method as one of runs that keep so many arrays, where others have momentum.

        Parameters
        ----------
        n : int
            Arrays that are kept for each array of weights.
        """
        n = validate.integer("n", n, low=0, high=2**31)
        if not self.may_move or n != self._remembered() + 1:
            return self
        method = self._with({})
        method.__dict__["_n_memories"] = n
        return method

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        drawn = {name: part.run_shape for name, part in self._drawn().items()}
        return validate.broadcast_runs(parameters=super().run_shape, **drawn)

    def _drawn(self) -> dict[str, Batches | GaussianNoise]:
        """Return what has random numbers, by name."""
        parts = {"batches": self.batches, "noise": self.noise}
        return {name: part for name, part in parts.items() if part is not None}

    def _with(self, changed: Mapping[str, object]) -> Self:
        return type(self)(**made_with(self) | dict(changed))

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the method with random streams of these numbers, where it has any.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        drawn = self._drawn()
        if not drawn:
            return self
        return self._with({name: part.with_streams(streams) for name, part in drawn.items()})

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it; they remember what all do.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Their numbers, in C order.
        runs : tuple of int
            Shape of all run axes.
        """
        own = {
            name: part.with_streams(part.streams_of(runs)) for name, part in self._drawn().items()
        }
        known = self._with(own) if own else self
        method = noun_of(known, which, runs)
        method.__dict__["_n_memories"] = self.n_memories
        return method

    @abstractmethod
    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and what is remembered: the method, in NumPy.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            The gradient is that of the objective, weight decay included, unless that is `decoupled`:
            then the weights have shrunk before.
        memory : tuple of ndarray, shape (*run, ...)
            Of `n_memories` arrays, zero at the start.
        at : AtStep
            The step.
        """

    def divisors(self, weights: WeightArray, memory: Memory, at: AtStep) -> WeightArray:  # noqa: ARG002
        """Return what gradients of an array of weights were divided by in the last step.

        Step sizes are no part of it: 1 where it `divides` nothing.

        Parameters
        ----------
        weights : ndarray, shape (*run, ...)
            The array.
        memory : tuple of ndarray, shape (*run, ...)
            What is remembered of it.
        at : AtStep
            That step; NaN is returned before the first one, number 0.
        """
        return np.full_like(weights, 1.0 if at.number else np.nan)

    def _shown(self) -> dict[str, object]:
        parts: dict[str, object] = {
            "step_size": self.step_size,
            "weight_decay": self.weight_decay,
        }
        for name in ("layer_multipliers", "layer_decays", "batches", "noise"):
            if (part := getattr(self, name)) is not None:
                parts[name] = part
        return parts

    @property
    def rule(self) -> StepRule | None:
        """The rule for the step size; None where it is constant."""
        return self.step_size if isinstance(self.step_size, StepRule) else None

    @property
    def follows_loss(self) -> bool:
        """Whether all weights go along the gradient of the loss alone: what closed forms are of."""
        factors = self.layer_multipliers
        return super().follows_loss and (factors is None or bool((factors == 1).all()))

    @property
    def constant_step_size(self) -> FloatArray:
        """The step size, where it is constant, shape (*run); else a ValueError."""
        if isinstance(self.step_size, StepRule):
            msg = f"step_size must be constant for this, got {self.step_size}"
            raise ValueError(msg)  # noqa: TRY004  (a rule is a valid type, not a valid choice here)
        return self.step_size

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless the method can train a network.

        Parameters
        ----------
        network : Chain
            What is to be trained.
        """
        self.check_arrays(checked_network(network, Chain).n_arrays)

    def check_arrays(self, n_arrays: int) -> None:
        """Raise ValueError unless what is given per array of weights is absent or one per array.

        Parameters
        ----------
        n_arrays : int
            Number of arrays of weights of the network to train.

        Raises
        ------
        ValueError
            If there are more or fewer.

        Examples
        --------
        >>> from linnet_fast import GradientDescent
        >>> GradientDescent(0.1, layer_multipliers=[1.0, 2.0]).check_arrays(3)
        Traceback (most recent call last):
            ...
        ValueError: layer_multipliers must have shape (*run, 3), one per layer, got (2,)
        """
        for name in ("layer_multipliers", "layer_decays"):
            factors = getattr(self, name)
            if factors is not None and factors.shape[-1] != n_arrays:
                got = factors.shape
                msg = f"{name} must have shape (*run, {n_arrays}), one per layer, got {got}"
                raise ValueError(msg)

    def array_decays(self, n_arrays: int) -> FloatArray:
        """Return ``weight_decay * layer_decays``, the weight decay of each array of weights.

        Parameters
        ----------
        n_arrays : int
            Number of arrays of weights of the network.

        Returns
        -------
        ndarray of float64, shape (*run, n_arrays)

        Raises
        ------
        ValueError
            If `layer_decays` are not one per array.

        Examples
        --------
        >>> from linnet_fast import GradientDescent
        >>> GradientDescent(0.1, 0.5, layer_decays=[1.0, 0.0]).array_decays(2).tolist()
        [0.5, 0.0]
        """
        every = super().array_decays(n_arrays)
        self.check_arrays(n_arrays)
        return every if self.layer_decays is None else every * self.layer_decays

    def layer_step_sizes(self, n_arrays: int) -> FloatArray:
        """Return ``step_size * layer_multipliers``, the step size of each array of weights.

        Parameters
        ----------
        n_arrays : int
            Number of arrays of weights of the network.

        Returns
        -------
        ndarray of float64, shape (*run, n_arrays)
            With a rule, what its step sizes are multiplied by.

        Raises
        ------
        ValueError
            If `layer_multipliers` are not one per array.

        Examples
        --------
        >>> from linnet_fast import GradientDescent
        >>> GradientDescent([0.5, 0.25], layer_multipliers=[1.0, 2.0]).layer_step_sizes(2).tolist()
        [[0.5, 1.0], [0.25, 0.5]]
        """
        self.check_arrays(n_arrays)
        step = np.ones(()) if isinstance(self.step_size, StepRule) else self.step_size
        if self.layer_multipliers is None:
            return step[..., None].repeat(n_arrays, axis=-1)
        return step[..., None] * self.layer_multipliers


def _per_array(name: str, factors: npt.ArrayLike | None) -> FloatArray | None:
    """Return factors of arrays of weights, checked."""
    if factors is None:
        return None
    array = validate.real_array(name, factors, at_least=0)
    if array.ndim == 0:
        msg = f"{name} must have shape (*run, n_arrays), got ()"
        raise ValueError(msg)
    return array
