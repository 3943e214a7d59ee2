"""What methods around another method have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import taken
from linnet_fast._base.validate import Shape, WeightArray
from linnet_fast.methods.base import Memory
from linnet_fast.methods.stepping import AtStep, SteppingMethod
from linnet_fast.networks.chain import Chain


@dataclass(frozen=True, eq=False, init=False, repr=False)
class MethodAround(SteppingMethod):
    """The steps of a method, from gradients that are not those at the weights.

    Parameters
    ----------
    method : SteppingMethod
        Whose steps are taken, with its step size, decay, batches, noise and memory; not one around
        another itself.
    """

    method: SteppingMethod

    def __init__(self, method: SteppingMethod) -> None:
        inner = validate.instance("method", method, SteppingMethod)  # type: ignore[type-abstract]
        if inner.radius is not None or inner.feeds_back:
            msg = f"method must not be around another method itself, got {validate.brief(method)}"
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

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        own = {name: getattr(self, name) for name in self.inner_axes}
        shapes = {name: part.shape for name, part in own.items() if part is not None}
        return validate.broadcast_runs(method=self.method.run_shape, **shapes)

    @property
    def of_core(self) -> bool:  # type: ignore[override]
        """Whether the core knows the method inside."""
        return self.method.of_core

    @property
    def remembers(self) -> str:
        """What the method inside does."""
        return self.method.remembers

    def _remembered(self) -> int:
        """Return how many arrays the method inside keeps."""
        return self.method.n_memories

    def remembering(self, n: int) -> Self:
        """Return the method as one of runs that keep so many arrays, where others have momentum.

        Parameters
        ----------
        n : int
            Arrays that are kept for each array of weights.
        """
        n = validate.integer("n", n, low=0, high=2**31)
        inner = self.method.remembering(max(0, n - self.n_memories + self.method.n_memories))
        return self._with({"method": inner})

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the method with random streams of these numbers, where it has any.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        return self._with({"method": self.method.with_streams(streams)})

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it; they remember what all do.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Their numbers, in C order.
        runs : tuple of int
            Shape of all run axes.
        """
        parts = {
            name: taken(getattr(self, name), n_inner, which, runs)
            for name, n_inner in self.inner_axes.items()
            if getattr(self, name) is not None
        }
        return self._with(parts | {"method": self.method.of_runs(which, runs)})

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
            As of `SteppingMethod.update`; the gradient is the one that the method inside is to see.
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
