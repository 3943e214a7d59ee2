"""Step sizes of every entry, or layer, of their own, by the gradients that were: Adam, RMSProp, Adagrad."""

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
from linnet_fast.methods.descent import below_one
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stepping import AtStep, SteppingMethod


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Adam(SteppingMethod):
    """Adam: steps along means of gradients, over roots of means of their squares; AdamW and AMSGrad.

    Of every entry ``m <- beta1 * m + (1 - beta1) * g`` and ``a <- beta2 * a + (1 - beta2) * g^2``; in
    step n ``W_l -= step_size * m / (1 - beta1^n) / (sqrt(a / (1 - beta2^n)) + eps)``. 0 over 0 is 0.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; or a rule.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0.
    layer_multipliers, layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size and on the weight decay of each array of weights.
    beta1, beta2 : array_like, shape (*run), default 0.9 and 0.999
        0 <= beta < 1: what stays of the mean of gradients, and of squares.
    eps : array_like, shape (*run), default 1e-8
        At least 0.
    decoupled : bool, default False
        Whether weights shrink by ``step_size * c`` of themselves in every step, apart from what the
        gradient does: AdamW; by default ``c * W_l`` is part of the gradient.
    amsgrad : bool, default False
        Whether the largest mean of squares so far is used: AMSGrad.
    batches : Batches, optional
        Which samples a step sees; by default all of the loss.
    noise : GaussianNoise, optional
        What is added to the weights after every step; by default nothing.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015; I. Loshchilov,
    F. Hutter, "Decoupled weight decay regularization", ICLR 2019; S. J. Reddi, S. Kale, S. Kumar, "On
    the convergence of Adam and beyond", ICLR 2018.

    Examples
    --------
    >>> Adam(0.001)
    Adam(step_size=0.001, weight_decay=0, beta1=0.9, beta2=0.999, eps=1e-08)
    >>> Adam(0.001, 0.01, beta2=[0.9, 0.99], decoupled=True).run_shape
    (2,)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "beta1": 0, "beta2": 0, "eps": 0}
    )
    of_core: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    usual_step_size: ClassVar[float | None] = 1e-3

    beta1: FloatArray
    beta2: FloatArray
    eps: FloatArray
    decoupled: bool
    amsgrad: bool

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        beta1: npt.ArrayLike = 0.9,
        beta2: npt.ArrayLike = 0.999,
        eps: npt.ArrayLike = 1e-8,
        decoupled: bool = False,
        amsgrad: bool = False,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        object.__setattr__(self, "beta1", below_one("beta1", beta1))
        object.__setattr__(self, "beta2", below_one("beta2", beta2))
        object.__setattr__(self, "eps", validate.real_array("eps", eps, at_least=0))
        object.__setattr__(self, "decoupled", validate.flag("decoupled", decoupled))
        object.__setattr__(self, "amsgrad", validate.flag("amsgrad", amsgrad))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = {**super()._shown(), "beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}
        flags = {"decoupled": self.decoupled, "amsgrad": self.amsgrad}
        return parts | {name: True for name, flag in flags.items() if flag}

    def _remembered(self) -> int:
        """Return 3 of AMSGrad, else 2."""
        return 3 if self.amsgrad else 2

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and means of gradients and squares.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        mean = memory[0] + at.spread(1 - self.beta1) * (gradient - memory[0])
        square = at.spread(self.beta2) * memory[1] + at.spread(1 - self.beta2) * gradient**2
        kept: Memory = (mean, square)
        if self.amsgrad:
            square = np.maximum(memory[2], square)
            kept = (*kept, square)
        unbiased = mean * at.spread(1 / (1 - self.beta1**at.number))
        root = np.sqrt(square) * at.spread(1 / np.sqrt(1 - self.beta2**at.number))
        return weights - at.rate * over(unbiased, root + at.spread(self.eps)), kept

    def divisors(self, weights: WeightArray, memory: Memory, at: AtStep) -> WeightArray:
        """Return ``(1 - beta1^n) * (sqrt(a / (1 - beta2^n)) + eps)`` after n steps.

        Parameters
        ----------
        weights : ndarray, shape (*run, ...)
            An array of them.
        memory : tuple of ndarray, shape (*run, ...)
            What is remembered.
        at : AtStep
            The last step.
        """
        if at.number < 1:
            return super().divisors(weights, memory, at)
        of_mean, of_squares = (at.spread(1 - part**at.number) for part in (self.beta1, self.beta2))
        return np.asarray(of_mean * (np.sqrt(memory[-1] / of_squares) + at.spread(self.eps)))

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it."""
        numbers = {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}
        return {"name": "amsgrad" if self.amsgrad else "adam", **over_all(numbers, runs)}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class RMSProp(SteppingMethod):
    """RMSProp: steps along gradients over roots of means of their squares, by entries or by layers.

    ``a <- alpha * a + (1 - alpha) * g^2`` and ``W_l -= step_size * u`` with ``u = g / (sqrt(a) + eps)``, or,
    with momentum, ``W_l -= step_size * b`` with ``b <- momentum * b + u``. 0 over 0 is 0. Centered, `a` is
    less the square of ``m <- alpha * m + (1 - alpha) * g``: the variance of gradients, which is kept as such,
    ``a <- alpha * a + alpha * (1 - alpha) * (g - m)^2`` with the m before, and is never below 0.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; or a rule.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0; c W_l is part of the gradient.
    layer_multipliers, layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size and on the weight decay of each array of weights.
    alpha : array_like, shape (*run), default 0.99
        0 <= alpha < 1: what stays of the mean of squares.
    eps : array_like, shape (*run), default 1e-8
        At least 0.
    momentum : array_like, shape (*run), default 0
        0 <= momentum < 1.
    per : {"entry", "layer"}, default "entry"
        Whether every entry has an ``a`` of its own, or every layer one: of the mean of ``g^2`` over its
        entries.
    centered : bool, default False
        Whether `a` is the variance of gradients, in place of the mean of squares; by entries only.
    batches : Batches, optional
        Which samples a step sees; by default all of the loss.
    noise : GaussianNoise, optional
        What is added to the weights after every step; by default nothing.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, run axes do not broadcast, or variances are asked for
        by layers.

    References
    ----------
    T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", 2012; A. Graves, "Generating sequences with
    recurrent neural networks", 2013.

    Examples
    --------
    >>> RMSProp(0.001, per="layer")
    RMSProp(step_size=0.001, weight_decay=0, alpha=0.99, eps=1e-08, per=layer)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "alpha": 0, "eps": 0, "momentum": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {**SteppingMethod.unsaid, "centered": False}
    )
    of_core: ClassVar[bool] = True
    may_move: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    usual_step_size: ClassVar[float | None] = 1e-3

    alpha: FloatArray
    eps: FloatArray
    momentum: FloatArray
    per: str
    centered: bool

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        alpha: npt.ArrayLike = 0.99,
        eps: npt.ArrayLike = 1e-8,
        momentum: npt.ArrayLike = 0.0,
        per: str = "entry",
        centered: bool = False,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        object.__setattr__(self, "alpha", below_one("alpha", alpha))
        object.__setattr__(self, "eps", validate.real_array("eps", eps, at_least=0))
        object.__setattr__(self, "momentum", below_one("momentum", momentum))
        object.__setattr__(self, "per", validate.choice("per", per, ("entry", "layer")))
        object.__setattr__(self, "centered", validate.flag("centered", centered))
        if self.centered and self.per != "entry":
            msg = f"centered must be False with per={self.per!r}, got True"
            raise ValueError(msg)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = {**super()._shown(), "alpha": self.alpha, "eps": self.eps}
        if self.momentum.any():
            parts["momentum"] = self.momentum
        if self.centered:
            parts["centered"] = True
        return parts if self.per == "entry" else {**parts, "per": self.per}

    @property
    def remembers(self) -> str:
        """Means of squares, or variances."""
        return f"{type(self).__name__}{' (centered)' if self.centered else ''}"

    def _remembered(self) -> int:
        """Return 1, one more with momentum, and one more with means of gradients."""
        return 1 + int(self.centered) + int(self.momentum.any())

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and the mean of squares, or variance and mean.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        part, fresh = at.spread(self.alpha), at.spread(1 - self.alpha)
        square = gradient**2
        if self.per == "layer":
            inner = tuple(range(gradient.ndim - at.n_inner, gradient.ndim))
            square = square.mean(axis=inner, keepdims=True)
        kept: Memory = (part * memory[0] + fresh * square,)
        if self.centered:
            apart = gradient - memory[1]
            variance = part * memory[0] + at.spread(self.alpha * (1 - self.alpha)) * apart**2
            kept = (variance, memory[1] + fresh * apart)
        move = over(gradient, np.sqrt(kept[0]) + at.spread(self.eps))
        if self.n_memories > len(kept):
            move = at.spread(self.momentum) * memory[len(kept)] + move
            kept = (*kept, move)
        return weights - at.rate * move, kept

    def divisors(self, weights: WeightArray, memory: Memory, at: AtStep) -> WeightArray:
        """Return ``sqrt(a) + eps``.

        Parameters
        ----------
        weights : ndarray, shape (*run, ...)
            An array of them.
        memory : tuple of ndarray, shape (*run, ...)
            What is remembered.
        at : AtStep
            The last step.
        """
        if at.number < 1:
            return super().divisors(weights, memory, at)
        return np.asarray(np.sqrt(memory[0]) + at.spread(self.eps) + np.zeros_like(weights))

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it."""
        name = "rmsprop" if self.per == "entry" else "rmsprop_by_layer"
        if self.centered:
            name = "rmsprop_centered"
        numbers = {"alpha": self.alpha, "eps": self.eps, "momentum": self.momentum}
        suffix = "_with_momentum" if self.n_memories > 1 + int(self.centered) else ""
        return {"name": name + suffix, **over_all(numbers, runs)}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Adagrad(SteppingMethod):
    """Adagrad: steps along gradients over roots of sums of their squares.

    Of every entry ``a <- a + g^2``; in step n ``W_l -= step_size / (1 + (n - 1) * step_decay) * g /
    (sqrt(initial + a) + eps)``. 0 over 0 is 0.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; or a rule.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0; c W_l is part of the gradient.
    layer_multipliers, layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size and on the weight decay of each array of weights.
    step_decay : array_like, shape (*run), default 0
        At least 0: how fast step sizes fall.
    initial : array_like, shape (*run), default 0
        At least 0: what is added to each sum of squares.
    eps : array_like, shape (*run), default 1e-10
        At least 0.
    batches : Batches, optional
        Which samples a step sees; by default all of the loss.
    noise : GaussianNoise, optional
        What is added to the weights after every step; by default nothing.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", Journal of Machine Learning Research 12, 2011.

    Examples
    --------
    >>> Adagrad(0.01, initial=0.1)
    Adagrad(step_size=0.01, weight_decay=0, step_decay=0, initial=0.1, eps=1e-10)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "step_decay": 0, "initial": 0, "eps": 0}
    )
    of_core: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    usual_step_size: ClassVar[float | None] = 1e-2

    step_decay: FloatArray
    initial: FloatArray
    eps: FloatArray

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        step_decay: npt.ArrayLike = 0.0,
        initial: npt.ArrayLike = 0.0,
        eps: npt.ArrayLike = 1e-10,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        for name, value in (("step_decay", step_decay), ("initial", initial), ("eps", eps)):
            object.__setattr__(self, name, validate.real_array(name, value, at_least=0))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        own = {name: getattr(self, name) for name in ("step_decay", "initial", "eps")}
        return {**super()._shown(), **own}

    def _remembered(self) -> int:
        """Return 1."""
        return 1

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and the sum of squares.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        total = memory[0] + gradient**2
        root = np.sqrt(at.spread(self.initial) + total) + at.spread(self.eps)
        rate = at.rate * at.spread(1 / (1 + (at.number - 1) * self.step_decay))
        return weights - rate * over(gradient, root), (total,)

    def divisors(self, weights: WeightArray, memory: Memory, at: AtStep) -> WeightArray:
        """Return ``(1 + (n - 1) * step_decay) * (sqrt(initial + a) + eps)`` after n steps.

        Parameters
        ----------
        weights : ndarray, shape (*run, ...)
            An array of them.
        memory : tuple of ndarray, shape (*run, ...)
            What is remembered.
        at : AtStep
            The last step.
        """
        if at.number < 1:
            return super().divisors(weights, memory, at)
        root = np.sqrt(at.spread(self.initial) + memory[0]) + at.spread(self.eps)
        return np.asarray(at.spread(1 + (at.number - 1) * self.step_decay) * root)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it."""
        numbers = {"initial": self.initial, "eps": self.eps, "step_decay": self.step_decay}
        return {"name": "adagrad", **over_all(numbers, runs)}


def over(part: WeightArray, whole: WeightArray) -> WeightArray:
    """Return part / whole; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=~(whole <= 0))


def over_all(numbers: Mapping[str, FloatArray], runs: Shape) -> dict[str, FloatArray]:
    """Return parameters with all run axes."""
    return {name: validate.over_runs(array, runs, 0) for name, array in numbers.items()}
