"""Feedback alignment, around any method that takes steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.streams import Draw
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.around import MethodAround
from linnet_fast.methods.base import Memory
from linnet_fast.methods.batches import checked_streams, numbered
from linnet_fast.methods.stepping import AtStep, SteppingMethod
from linnet_fast.networks.chain import Chain, checked_network


@dataclass(frozen=True, eq=False, init=False, repr=False)
class FeedbackAlignment(MethodAround):
    """Feedback alignment: errors pass back through fixed random matrices, not through the weights.

    With the slope E of the loss by the end-to-end matrix, layer l of L has the gradient
    ``W_{l+1}^T ... W_L^T E (W_{l-1} ... W_1)^T``. Here the method gets ``B_{l+1}^T ... B_L^T E (W_{l-1}
    ... W_1)^T`` in place of it, and the weights come to agree with B. Entries of B_l, of the shape of
    W_l, are normal with standard deviation ``scale / sqrt(columns)``, as in a Gaussian start.

    Parameters
    ----------
    method : SteppingMethod
        Whose steps are taken, with its step size, decay, batches, noise and memory.
    scale : array_like, shape (*run), default 1
        At least 0.
    seed : int, default 0
        0 to 2**64 - 1. With the stream of a run it decides the matrices.
    streams : array_like of int, shape (*run), optional
        A number from 0 to 2**32 - 1 for each run; runs with the same one have the same matrices but
        for the scale. By default runs are numbered in C order.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, `method` is around another method itself, or run axes do
        not broadcast.

    Notes
    -----
    The matrices are part of the state: ``State.memory[l][-1]`` for layer l, behind what the method inside
    remembers, zero for the first layer, which needs none. A continued training goes on with them; a state
    with others trains by those. For `Dense` networks.

    References
    ----------
    T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, "Random synaptic feedback weights support error
    backpropagation for deep learning", Nature Communications 7 (2016).

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import Dense, GradientDescent, SquaredLoss, train
    >>> method = FeedbackAlignment(GradientDescent(0.05), scale=[0.5, 2.0], seed=7)
    >>> method
    FeedbackAlignment(method=GradientDescent(step_size=0.05, weight_decay=0), scale=<array (2,)>, seed=7)
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = (np.zeros((3, 2)), np.zeros((2, 3)))
    >>> run = train(Dense((2, 3, 2)), loss, start, method=method, n_steps=2000)
    >>> bool((run.loss[:, -1] < 1e-6).all())
    True
    >>> run.final.memory[1][-1].shape
    (2, 2, 3)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"scale": 0, "streams": 0})
    feeds_back: ClassVar[bool] = True

    scale: FloatArray
    seed: int
    streams: npt.NDArray[np.int64] | None

    def __init__(
        self,
        method: SteppingMethod,
        scale: npt.ArrayLike = 1.0,
        seed: int = 0,
        streams: npt.ArrayLike | None = None,
    ) -> None:
        super().__init__(method)
        object.__setattr__(self, "scale", validate.real_array("scale", scale, at_least=0))
        object.__setattr__(self, "seed", validate.integer("seed", seed, low=0, high=2**64 - 1))
        object.__setattr__(self, "streams", checked_streams(streams))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        shown: dict[str, object] = {"method": self.method, "scale": self.scale, "seed": self.seed}
        return shown if self.streams is None else shown | {"streams": self.streams}

    @property
    def remembers(self) -> str:
        """Matrices, and what the method inside does."""
        return f"FeedbackAlignment around {self.method.remembers}"

    def _remembered(self) -> int:
        """Return how many arrays the method inside keeps, and one more."""
        return self.method.n_memories + 1

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the method with random streams of these numbers.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        return super().with_streams(streams)._with({"streams": streams})

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it, with the matrices that they have.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Their numbers, in C order.
        runs : tuple of int
            Shape of all run axes.
        """
        if self.streams is None:
            return self._with({"streams": numbered(runs)}).of_runs(which, runs)
        return super().of_runs(which, runs)

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless a network is `Dense` and the method inside can train it.

        Parameters
        ----------
        network : Chain
            What is to be trained.
        """
        super().check_network(network)
        if not checked_network(network, Chain).is_dense:
            msg = "network must be a chain of dense layers with weights of their own: errors pass back "
            msg += f"through a matrix per layer, got {network!r}"
            raise ValueError(msg)

    def first_memory(self, weights: tuple[WeightArray, ...]) -> tuple[Memory, ...]:
        """Return what is remembered at first: the matrices, behind what the method inside does.

        Parameters
        ----------
        weights : tuple of ndarray, shapes (*run, out, in)
            With all run axes.
        """
        runs = weights[0].shape[:-2]
        later = weights[1:]
        streams = numbered(runs) if self.streams is None else self.streams
        draw = Draw(self.seed, runs, streams, [w.shape[-2:] for w in later])
        size = np.broadcast_to(self.scale, runs)[..., None, None]
        matrices = [np.zeros_like(weights[0])]
        for w, block in zip(later, draw.blocks, strict=True):
            matrices.append((draw.of_runs(block) * (size / np.sqrt(w.shape[-1]))).astype(w.dtype))
        known = self.method.first_memory(weights)
        return tuple((*kept, new) for kept, new in zip(known, matrices, strict=True))

    def update(
        self, weights: WeightArray, gradient: WeightArray, memory: Memory, at: AtStep
    ) -> tuple[WeightArray, Memory]:
        """Return an array of weights after a step, and what is remembered: the matrix stays.

        Parameters
        ----------
        weights, gradient : ndarray, shape (*run, ...)
            As of `SteppingMethod.update`; the gradient is that of errors passed back through the matrices.
        memory : tuple of ndarray, shape (*run, ...)
            What was remembered.
        at : AtStep
            The step.
        """
        moved, known = super().update(weights, gradient, memory[:-1], at)
        return moved, (*known, memory[-1])
