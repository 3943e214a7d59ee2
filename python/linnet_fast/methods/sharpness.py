"""Sharpness-aware minimisation, around any method that takes steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import taken
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.base import AtStep, Memory, SteppingMethod
from linnet_fast.networks.chain import Chain


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SharpnessAware(SteppingMethod):
    """Sharpness-aware minimisation: the steps of a method, by gradients from higher up.

    With g the gradient of the loss by all weights w together, the method gets the gradient at ``w + rho *
    g / |g|``, on the same samples, in place of that at w; its weight decay is that of w. A step takes
    two gradients.

    Parameters
    ----------
    method : SteppingMethod
        Whose steps are taken, with its step size, decay, batches, noise and memory.
    rho : array_like, shape (*run), default 0.05
        At least 0: how far up.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `rho` is out of range or not finite, `method` is sharpness-aware itself, or run axes do not
        broadcast.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, "Sharpness-aware minimization for efficiently improving
    generalization", ICLR 2021.

    Examples
    --------
    >>> from linnet_fast import GradientDescent
    >>> SharpnessAware(GradientDescent(0.05, momentum=0.9), rho=0.1)
    SharpnessAware(method=GradientDescent(step_size=0.05, weight_decay=0, momentum=0.9), rho=0.1)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"rho": 0})

    method: SteppingMethod
    rho: FloatArray

    def __init__(self, method: SteppingMethod, rho: npt.ArrayLike = 0.05) -> None:
        inner = validate.instance("method", method, SteppingMethod)  # type: ignore[type-abstract]
        if inner.radius is not None:
            msg = f"method must not be sharpness-aware itself, got {validate.brief(method)}"
            raise ValueError(msg)
        super().__init__(
            inner.step_size,
            inner.weight_decay,
            inner.layer_multipliers,
            inner.batches,
            inner.layer_decays,
            inner.noise,
        )
        object.__setattr__(self, "method", inner)
        object.__setattr__(self, "decoupled", inner.decoupled)
        object.__setattr__(self, "rho", validate.real_array("rho", rho, at_least=0))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        return {"method": self.method, "rho": self.rho}

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        return validate.broadcast_runs(method=self.method.run_shape, rho=self.rho.shape)

    @property
    def of_core(self) -> bool:  # type: ignore[override]
        """Whether the core knows the method inside."""
        return self.method.of_core

    @property
    def radius(self) -> FloatArray:
        """How far up the gradient gradients are taken, shape (*run)."""
        return self.rho

    @property
    def is_equivariant(self) -> bool:
        """Whether the method inside is."""
        return self.method.is_equivariant

    @property
    def remembers(self) -> str:
        """What the method inside does."""
        return self.method.remembers

    def _remembered(self) -> int:
        """Return how many arrays the method inside keeps."""
        return self.method.n_memories

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the method with random streams of these numbers, where it has any.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        return type(self)(self.method.with_streams(streams), self.rho)

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it; they remember what all do.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Their numbers, in C order.
        runs : tuple of int
            Shape of all run axes.
        """
        return type(self)(self.method.of_runs(which, runs), taken(self.rho, 0, which, runs))

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless the method inside can train a network.

        Parameters
        ----------
        network : Chain
            What is to be trained.
        """
        self.method.check_network(network)

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and what the method inside remembers.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`; the gradient is that from higher up.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        return self.method.update(weights, gradient, memory, at)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return the update as the core takes it, from stored gradients."""
        fields = self.method.core_fields(runs)
        return {"name": "plain_stored"} if fields["name"] == "plain" else fields
