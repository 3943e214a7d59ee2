"""Noise on the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import Value
from linnet_fast.methods.batches import checked_streams, numbered


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GaussianNoise(Value):
    """Normal noise on all weights after every step: Langevin dynamics.

    Give it to a method that takes steps, as ``noise``. A step of size eta then ends with
    ``W_l += sqrt(2 * eta * layer_multipliers[l] * temperature) * xi``, with normal xi for every entry.
    Of gradient descent with small steps the weights come to be distributed as
    ``exp(-objective / temperature)``.

    Parameters
    ----------
    temperature : array_like, shape (*run)
        At least 0.
    seed : int, default 0
        0 to 2**64 - 1. With the stream of a run, the number of a step, the array of weights and the
        entry it decides a number: they depend on nothing else, and a continued training goes on with
        those it would have had.
    streams : array_like of int, shape (*run), optional
        A number from 0 to 2**32 - 1 for each run; runs with the same one have the same noise. By
        default runs are numbered in C order.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    M. Welling, Y. W. Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011;
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
    (Philox4x32-10, the generator).

    Examples
    --------
    >>> from linnet_fast import GradientDescent
    >>> GradientDescent(0.1, noise=GaussianNoise(1e-3, seed=7))
    GradientDescent(step_size=0.1, weight_decay=0, noise=GaussianNoise(0.001, seed=7))
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"temperature": 0, "streams": 0})

    temperature: FloatArray
    seed: int
    streams: npt.NDArray[np.int64] | None

    def __init__(
        self, temperature: npt.ArrayLike, seed: int = 0, streams: npt.ArrayLike | None = None
    ) -> None:
        heat = validate.real_array("temperature", temperature, at_least=0)
        object.__setattr__(self, "temperature", heat)
        object.__setattr__(self, "seed", validate.integer("seed", seed, low=0, high=2**64 - 1))
        object.__setattr__(self, "streams", checked_streams(streams))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        heat = self.temperature
        parts = [f"<array {heat.shape}>" if heat.ndim else f"{heat:g}", f"seed={self.seed}"]
        if self.streams is not None:
            parts.append(f"streams=<array {self.streams.shape}>")
        return f"GaussianNoise({', '.join(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the arguments."""
        streams = () if self.streams is None else self.streams.shape
        return validate.broadcast_runs(temperature=self.temperature.shape, streams=streams)

    def streams_of(self, runs: Shape) -> npt.NDArray[np.int64]:
        """Return the stream of each run.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes.

        Returns
        -------
        ndarray of int64, shape (*runs)
        """
        return numbered(runs) if self.streams is None else np.broadcast_to(self.streams, runs)

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the same with other streams.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        return type(self)(self.temperature, self.seed, streams)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return what the compiled core takes of it, by name.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes; arrays are views that have all of them.
        """
        return {
            "temperature": validate.over_runs(self.temperature, runs, 0),
            "seed": self.seed,
            "streams": validate.over_runs(self.streams_of(runs), runs, 0),
        }
