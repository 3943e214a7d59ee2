"""Steps whose size has nothing to do with that of the gradient: of signs, and of polar factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.adaptive import over_all
from linnet_fast.methods.base import Memory
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import below_one
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stepping import AtStep, SteppingMethod
from linnet_fast.networks.chain import Chain

_POLAR_TOLERANCE = 1024
"""Singular values below this times the rounding unit times the largest one count as 0."""
_MUON = (3.4445, -4.7750, 2.0315)
_MOST_ITERATIONS = 100


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SignDescent(SteppingMethod):
    """Sign descent: every entry moves by the step size; with momentum signum, with two of them Lion.

    ``W_l -= step_size * sign(momentum * m + (1 - momentum) * g)``, and then ``m <- memory_momentum * m + (1 -
    memory_momentum) * g``. The sign of 0 is 0.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; or a rule.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0.
    layer_multipliers, layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size and on the weight decay of each array of weights.
    momentum : array_like, shape (*run), default 0
        0 <= momentum < 1.
    memory_momentum : array_like, shape (*run), optional
        0 <= memory_momentum < 1: what stays of the memory. By default `momentum`: signum. Lion has 0.9
        and 0.99.
    decoupled : bool, default False
        Whether weights shrink by ``step_size * c`` of themselves in every step, apart from what the
        gradient does, as Lion has it; by default ``c * W_l`` is part of the gradient.
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
    J. Bernstein, Y.-X. Wang, K. Azizzadenesheli, A. Anandkumar, "signSGD: compressed optimisation for
    non-convex problems", ICML 2018; X. Chen et al., "Symbolic discovery of optimization algorithms",
    NeurIPS 2023 (Lion).

    Examples
    --------
    >>> SignDescent(0.001)
    SignDescent(step_size=0.001, weight_decay=0)
    >>> SignDescent(1e-4, 0.1, momentum=0.9, memory_momentum=0.99, decoupled=True).n_memories
    1
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "momentum": 0, "memory_momentum": 0}
    )
    of_core: ClassVar[bool] = True
    usual_step_size: ClassVar[float | None] = 1e-3

    momentum: FloatArray
    memory_momentum: FloatArray | None
    decoupled: bool

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        momentum: npt.ArrayLike = 0.0,
        memory_momentum: npt.ArrayLike | None = None,
        decoupled: bool = False,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        object.__setattr__(self, "momentum", below_one("momentum", momentum))
        slower = None
        if memory_momentum is not None:
            slower = below_one("memory_momentum", memory_momentum)
        object.__setattr__(self, "memory_momentum", slower)
        object.__setattr__(self, "decoupled", validate.flag("decoupled", decoupled))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = super()._shown()
        if self.n_memories:
            parts["momentum"] = self.momentum
        if self.memory_momentum is not None:
            parts["memory_momentum"] = self.memory_momentum
        return {**parts, "decoupled": True} if self.decoupled else parts

    @property
    def _slower(self) -> FloatArray:
        return self.momentum if self.memory_momentum is None else self.memory_momentum

    def _remembered(self) -> int:
        """Return 1 with momentum, else 0."""
        return int(self.momentum.any())

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and the mean of gradients.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        if not self.n_memories:
            return weights - at.rate * np.sign(gradient), ()
        fast, slow = (
            at.spread(part) * memory[0] + at.spread(1 - part) * gradient
            for part in (self.momentum, self._slower)
        )
        return weights - at.rate * np.sign(fast), (slow,)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it."""
        name = "sign_with_momentum" if self.n_memories else "sign"
        return {
            "name": name,
            **over_all({"momentum": self.momentum, "slower": self._slower}, runs),
        }


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SpectralDescent(SteppingMethod):
    """Spectral descent: every layer moves along the polar factor of its velocity; Muon by iterations.

    ``v <- momentum * v + g`` from ``v = 0``, and ``W_l -= step_size * U V^T`` with ``v = U s V^T``, over the
    singular values that are not 0; by Nesterov with ``g + momentum * v = U s V^T``. All singular values
    of a step are the step size: it is the steepest descent in the spectral norm.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; or a rule.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: weights shrink by ``step_size * c`` of themselves, apart from
        what the gradient does.
    layer_multipliers, layer_decays : array_like, shape (*run, n_arrays), optional
        Factors >= 0 on the step size and on the weight decay of each array of weights.
    momentum : array_like, shape (*run), default 0
        0 <= momentum < 1.
    nesterov : bool, default False
        Whether to look ahead.
    iterations : int, optional
        1 to 100: in place of the polar factor, what so many of Muon's Newton-Schulz steps ``X <- 3.4445 X
        - 4.775 (X X^T) X + 2.0315 (X X^T)^2 X`` make of the velocity over its Frobenius norm. Muon takes 5,
        which bring singular values to between 0.7 and 1.2, but for small ones.
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

    Notes
    -----
    Layers must be dense, with weights of their own. Singular values below 1024 rounding units of the
    largest one count as 0: gradients of less than full rank have such. Muon multiplies step sizes by
    ``sqrt(max(1, rows / columns))`` of a layer, which `layer_multipliers` can do.

    References
    ----------
    D. E. Carlson, V. Cevher, L. Carin, "Stochastic spectral descent for restricted Boltzmann machines",
    AISTATS 2015; K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

    Examples
    --------
    >>> SpectralDescent(0.01, momentum=0.9)
    SpectralDescent(step_size=0.01, weight_decay=0, momentum=0.9)
    >>> SpectralDescent(0.01, momentum=0.95, nesterov=True, iterations=5)
    SpectralDescent(step_size=0.01, weight_decay=0, momentum=0.95, nesterov=True, iterations=5)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**SteppingMethod.inner_axes, "momentum": 0}
    )
    decoupled = True
    of_core: ClassVar[bool] = True
    usual_step_size: ClassVar[float | None] = 1e-3

    momentum: FloatArray
    nesterov: bool
    iterations: int | None

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        momentum: npt.ArrayLike = 0.0,
        nesterov: bool = False,
        iterations: int | None = None,
        batches: Batches | None = None,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        super().__init__(step_size, weight_decay, layer_multipliers, batches, layer_decays, noise)
        object.__setattr__(self, "momentum", below_one("momentum", momentum))
        object.__setattr__(self, "nesterov", validate.flag("nesterov", nesterov))
        if iterations is not None:
            iterations = validate.integer("iterations", iterations, low=1, high=_MOST_ITERATIONS)
        object.__setattr__(self, "iterations", iterations)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts = super()._shown()
        if self.n_memories:
            parts["momentum"] = self.momentum
        if self.nesterov:
            parts["nesterov"] = True
        return parts if self.iterations is None else {**parts, "iterations": self.iterations}

    @property
    def is_equivariant(self) -> bool:
        """Whether there is no noise."""
        return self.noise is None

    def _remembered(self) -> int:
        """Return 1 with momentum, else 0."""
        return int(self.momentum.any())

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless every layer is dense, with weights of its own.

        Parameters
        ----------
        network : Chain
            What is to be trained.

        Raises
        ------
        ValueError
            Else: what has no matrix of weights has no singular values.

        Examples
        --------
        >>> from linnet_fast import Diagonal
        >>> SpectralDescent(0.1).check_network(Diagonal(3))
        Traceback (most recent call last):
            ...
        ValueError: network must have dense layers with weights of their own for SpectralDescent, got Diagonal(width=3, n_layers=2)
        """
        super().check_network(network)
        if not network.is_dense:
            expected = "dense layers with weights of their own for SpectralDescent"
            msg = f"network must have {expected}, got {network.spec}"
            raise ValueError(msg)

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and the velocity.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        velocity = gradient
        kept: Memory = ()
        if self.n_memories:
            part = at.spread(self.momentum)
            velocity = part * memory[0] + gradient
            kept = (velocity,)
            if self.nesterov:
                velocity = gradient + part * velocity
        there = np.isfinite(velocity).all(axis=(-2, -1), keepdims=True)
        clean = np.where(there, velocity, 0)
        move = polar_factor(clean) if self.iterations is None else _muon(clean, self.iterations)
        return weights - at.rate * np.where(there, move, np.nan), kept

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it."""
        name = "spectral" if self.iterations is None else "newton_schulz"
        return {
            "name": f"{name}_with_momentum" if self.n_memories else name,
            "momentum": validate.over_runs(self.momentum, runs, 0),
            "nesterov": self.nesterov,
            "iterations": self.iterations or 0,
        }


def polar_factor(matrices: WeightArray) -> WeightArray:
    """Return U V^T of matrices U s V^T, (*run, rows, columns), over the singular values that are not 0."""
    left, sizes, right = np.linalg.svd(matrices, full_matrices=False)
    least = _POLAR_TOLERANCE * np.finfo(matrices.dtype).eps * sizes.max(axis=-1, keepdims=True)
    found: WeightArray = np.where((sizes > least)[..., None, :], left, 0) @ right
    return found


def _muon(matrices: WeightArray, iterations: int) -> WeightArray:
    """Return what steps of Newton and Schulz make of matrices (*run, rows, columns)."""
    size = np.linalg.norm(matrices, axis=(-2, -1), keepdims=True)
    found = matrices / np.where(size > 0, size, 1)
    turned = found.shape[-2] > found.shape[-1]
    found = found.mT if turned else found
    a, b, c = (np.asarray(number, matrices.dtype) for number in _MUON)
    for _ in range(iterations):
        gram = found @ found.mT
        found = a * found + (b * gram + c * (gram @ gram)) @ found
    return found.mT if turned else found
