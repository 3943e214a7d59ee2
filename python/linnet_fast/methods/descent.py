"""Gradient descent on all of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.base import Memory
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stepping import AtStep, SteppingMethod


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientDescent(SteppingMethod):
    """Gradient descent, every layer at once; with momentum, heavy-ball or Nesterov's; or on batches.

    One step takes ``g = dloss/dW_l + weight_decay * W_l`` of all layers at the old weights, then
    moves ``W_l -= step_size * layer_multipliers[l] * g``. Time is ``step_size * step``. With momentum
    the step is along ``v``, where ``v <- momentum * v + (1 - dampening) * g`` and ``v = g`` in the first
    step, or, by Nesterov, along ``g + momentum * v``.

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
    dampening : array_like, shape (*run), default 0
        0 <= dampening <= 1, of momentum that is not Nesterov's.
    layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the weight decay of each layer. A layer with factor 0 has none.
    noise : GaussianNoise, optional
        What is added to the weights after every step; by default nothing.
    batches : Batches, optional
        Which samples a step sees; by default all of the loss. A rule for the step size that looks at
        the loss or its gradient sees those of the batch.

    Attributes
    ----------
    step_size : ndarray of float64, shape (*run), or StepRule
    weight_decay : ndarray of float64, shape (*run)
    layer_multipliers : ndarray of float64, shape (*run, n_arrays), or None
    layer_decays : ndarray of float64, shape (*run, n_arrays), or None
    momentum, dampening : ndarray of float64, shape (*run)
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
        {**SteppingMethod.inner_axes, "momentum": 0, "dampening": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**SteppingMethod.unsaid, "momentum": 0.0, "nesterov": False, "dampening": 0.0}
    )

    of_core: ClassVar[bool] = True
    may_move: ClassVar[bool] = True

    momentum: FloatArray
    nesterov: bool
    dampening: FloatArray

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        momentum: npt.ArrayLike = 0.0,
        nesterov: bool = False,
        batches: Batches | None = None,
        dampening: npt.ArrayLike = 0.0,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        object.__setattr__(self, "momentum", below_one("momentum", momentum))
        object.__setattr__(self, "nesterov", validate.flag("nesterov", nesterov))
        damped = validate.real_array("dampening", dampening, at_least=0)
        validate.refuse("dampening", "<= 1", damped, damped > 1)
        if self.nesterov and damped.any():
            msg = f"dampening must be 0 with nesterov, got {validate.brief(dampening)}"
            raise ValueError(msg)
        object.__setattr__(self, "dampening", damped)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = super()._shown()
        if self.n_memories:
            parts["momentum"] = self.momentum
        if self.nesterov:
            parts["nesterov"] = True
        if self.dampening.any():
            parts["dampening"] = self.dampening
        return parts

    @property
    def is_plain(self) -> bool:
        """Whether there is no momentum and no noise, and every step sees all samples."""
        return not self.n_memories and self.batches is None and self.noise is None

    @property
    def mode_momentum(self) -> tuple[FloatArray, bool] | None:
        """Momentum, and whether it is Nesterov's; None where steps see samples, noise, or are damped."""
        is_other = self.batches is not None or self.noise is not None or self.dampening.any()
        return None if is_other else (self.momentum, self.nesterov)

    @property
    def is_equivariant(self) -> bool:
        """Whether there is no noise."""
        return self.noise is None

    @property
    def remembers(self) -> str:
        """Velocities, which those who draw samples go on with, too."""
        return GradientDescent.__name__

    def _remembered(self) -> int:
        """Return 1 with momentum, else 0."""
        return int(self.momentum.any())

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and its velocity.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            The gradient is that of the objective.
        memory : tuple of ndarray, shape (*run, ...)
            The velocity before, if there is momentum.
        at : AtStep
            The step.
        """
        if not self.n_memories:
            return weights - at.rate * gradient, ()
        part = at.spread(self.momentum)
        fresh = gradient
        if at.number > 1:
            fresh = at.spread(np.where(self.momentum > 0, 1 - self.dampening, 1.0)) * gradient
        velocity = part * memory[0] + fresh
        move = gradient + part * velocity if self.nesterov else velocity
        return weights - at.rate * move, (velocity,)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it: plain, or with momentum."""
        if not self.n_memories:
            return {"name": "plain"}
        momentum = {"momentum": validate.over_runs(self.momentum, runs, 0)}
        if self.dampening.any():
            damped = validate.over_runs(self.dampening, runs, 0)
            return {"name": "damped_momentum", **momentum, "dampening": damped}
        return {"name": "momentum", **momentum, "nesterov": self.nesterov}


def below_one(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return what of a memory stays, shape (*run): 0 <= value < 1, else a ValueError.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : array_like, shape (*run)
        Real numbers.
    """
    part = validate.real_array(name, value, at_least=0)
    validate.refuse(name, "< 1", part, part >= 1)
    return part
