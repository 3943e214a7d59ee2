"""Gradient descent on all of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.base import Memory, SteppingMethod
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.step_rule import StepRule


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientDescent(SteppingMethod):
    """Gradient descent, every layer at once; with momentum, heavy-ball or Nesterov's; or on batches.

    One step takes ``g = dloss/dW_l + weight_decay * W_l`` of all layers at the old weights, then
    moves ``W_l -= step_size * layer_multipliers[l] * g``. Time is ``step_size * step``. With momentum
    the step is along ``v``, where ``v <- momentum * v + g`` from ``v = 0``, or, by Nesterov, along
    ``g + momentum * v``.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; one number or one per run. Or a rule by which it changes from step to step.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: the objective is loss + c/2 times the sum of squares of all weights.
    layer_multipliers : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size of each layer. A layer with factor 0 stays as it is.
    momentum : array_like, shape (*run), default 0
        0 <= momentum < 1. What is remembered is part of the final state, so that a training that is
        continued goes on with it.
    nesterov : bool, default False
        Whether to look ahead.
    batches : Batches, optional
        Which samples a step sees; by default all of the loss. A rule for the step size that looks at
        the loss or its gradient sees those of the batch.

    Attributes
    ----------
    step_size : ndarray of float64, shape (*run), or StepRule
    weight_decay : ndarray of float64, shape (*run)
    layer_multipliers : ndarray of float64, shape (*run, n_arrays), or None
    momentum : ndarray of float64, shape (*run)
        Read-only views of the arguments.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
    Computational Mathematics and Mathematical Physics 4(5), 1964; I. Sutskever, J. Martens, G. Dahl,
    G. Hinton, "On the importance of initialization and momentum in deep learning", ICML 2013 (the
    form of Nesterov's).

    Examples
    --------
    >>> GradientDescent(step_size=0.05)
    GradientDescent(step_size=0.05, weight_decay=0)
    >>> GradientDescent(0.05, momentum=0.9)
    GradientDescent(step_size=0.05, weight_decay=0, momentum=0.9)
    >>> GradientDescent(step_size=[0.1, 0.01], layer_multipliers=[1.0, 0.5]).run_shape
    (2,)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "momentum": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"momentum": 0.0, "nesterov": False, "batches": None}
    )

    of_core: ClassVar[bool] = True
    is_equivariant: ClassVar[bool] = True

    momentum: FloatArray
    nesterov: bool

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        momentum: npt.ArrayLike = 0.0,
        nesterov: bool = False,
        batches: Batches | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches)
        part = validate.real_array("momentum", momentum, at_least=0)
        validate.refuse("momentum", "< 1", part, part >= 1)
        object.__setattr__(self, "momentum", part)
        object.__setattr__(self, "nesterov", validate.flag("nesterov", nesterov))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = super()._shown()
        if self.n_memories:
            parts["momentum"] = self.momentum
        if self.nesterov:
            parts["nesterov"] = True
        return parts

    @property
    def is_plain(self) -> bool:
        """Whether there is no momentum, and every step sees all samples."""
        return not self.n_memories and self.batches is None

    @property
    def mode_momentum(self) -> tuple[FloatArray, bool] | None:
        """Momentum, and whether it is Nesterov's; None where steps see samples."""
        return (self.momentum, self.nesterov) if self.batches is None else None

    @property
    def n_memories(self) -> int:
        """1 with momentum, else 0."""
        known: int | None = self.__dict__.get("_n_memories")
        return int(self.momentum.any()) if known is None else known

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it; they remember what all do."""
        method = super().of_runs(which, runs)
        method.__dict__["_n_memories"] = self.n_memories
        return method

    def update(
        self,
        weights: WeightArray,
        gradient: WeightArray,
        memory: Memory,
        rate: WeightArray,
        n_inner: int,
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and its velocity.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            The gradient is that of the objective.
        memory : tuple of ndarray, shape (*run, ...)
            The velocity before, if there is momentum.
        rate : ndarray
            The step size.
        n_inner : int
            How many of the axes are no run axes.
        """
        if not self.n_memories:
            return weights - rate * gradient, ()
        part = self.momentum.astype(gradient.dtype)
        part = part.reshape(*part.shape, *(1,) * n_inner)
        velocity = part * memory[0] + gradient
        move = gradient + part * velocity if self.nesterov else velocity
        return weights - rate * move, (velocity,)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it: plain, or with momentum."""
        if not self.n_memories:
            return {"name": "plain"}
        return {
            "name": "momentum",
            "momentum": validate.over_runs(self.momentum, runs, 0),
            "nesterov": self.nesterov,
        }
