"""Which samples a step sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import Value

MOST_STREAMS = 2**32
"""Runs that can have random numbers of their own."""
_MOST_STEP = 2**62

Size: TypeAlias = int | str | tuple[tuple[int, int], ...]
_MOST_SIZE = 2**31


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Batches(Value):
    """Which samples a step of training sees: a batch of them, drawn anew for every step.

    Give it to a method that takes steps, as ``batches``. Samples are those of the loss, or, of the
    loss of a law, fresh ones. What is recorded is the loss itself, not that of a batch.

    Parameters
    ----------
    size : int, "all", or sequence of pairs of int
        Samples per step, at least 1. ``"all"``: every step sees all samples, which is of use with
        `label_noise_std`. Pairs give the size from a step on, such as ``[(0, 32), (5000, 256)]``; their
        steps increase from 0.
    seed : int, default 0
        0 to 2**64 - 1. With the stream of a run and the number of a step it decides the samples and
        their noise: they depend on nothing else, and a continued training goes on with those it
        would have had.
    streams : array_like of int, shape (*run), optional
        A number from 0 to 2**32 - 1 for each run; runs with the same one see the same samples. By
        default runs are numbered in C order.
    replace : bool, default True
        Whether samples are drawn with replacement, all with the same probability. If False, steps go
        through the data in epochs: every sample once, in an order that is drawn anew for every epoch.
        A batch may hold the end of one and the beginning of the next.
    label_noise_std : array_like, shape (*run), default 0
        Of a loss of real targets: standard deviation of normal noise that is added to each target,
        anew for every step.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    See Also
    --------
    StochasticGradientDescent : a short form of ``GradientDescent(..., batches=Batches(...))``.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
    (Philox4x32-10, the generator).

    Examples
    --------
    >>> from linnet_fast import GradientDescent
    >>> GradientDescent(0.1, batches=Batches(32, seed=7, replace=False))
    GradientDescent(step_size=0.1, weight_decay=0, batches=Batches(32, seed=7, replace=False))
    >>> Batches([(0, 32), (5000, 256)]).size_at(4999)
    32
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"streams": 0, "label_noise_std": 0})

    size: Size
    seed: int
    streams: npt.NDArray[np.int64] | None
    replace: bool
    label_noise_std: FloatArray

    def __init__(
        self,
        size: int | str | Sequence[Sequence[int]],
        seed: int = 0,
        streams: npt.ArrayLike | None = None,
        replace: bool = True,
        label_noise_std: npt.ArrayLike = 0.0,
    ) -> None:
        object.__setattr__(self, "size", _sizes(size))
        object.__setattr__(self, "seed", validate.integer("seed", seed, low=0, high=2**64 - 1))
        object.__setattr__(self, "streams", checked_streams(streams))
        object.__setattr__(self, "replace", validate.flag("replace", replace))
        noise = validate.real_array("label_noise_std", label_noise_std, at_least=0)
        object.__setattr__(self, "label_noise_std", noise)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts = [repr(self.size), f"seed={self.seed}"]
        if self.streams is not None:
            parts.append(f"streams=<array {self.streams.shape}>")
        if not self.replace:
            parts.append("replace=False")
        if self.label_noise_std.ndim:
            parts.append(f"label_noise_std=<array {self.label_noise_std.shape}>")
        elif self.has_noise:
            parts.append(f"label_noise_std={self.label_noise_std:g}")
        return f"Batches({', '.join(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the arguments."""
        streams = () if self.streams is None else self.streams.shape
        return validate.broadcast_runs(streams=streams, label_noise_std=self.label_noise_std.shape)

    @property
    def has_noise(self) -> bool:
        """Whether noise is added to targets."""
        return bool(self.label_noise_std.any())

    @property
    def sees_all(self) -> bool:
        """Whether every step sees all samples."""
        return self.size == "all"

    @property
    def schedule(self) -> tuple[tuple[int, int], ...]:
        """From which step on a batch has which size; empty where every step sees all samples."""
        if isinstance(self.size, str):
            return ()
        return self.size if isinstance(self.size, tuple) else ((0, self.size),)

    def size_at(self, step: int) -> int:
        """Return the size of the batch of a step; not of one that sees all samples.

        Parameters
        ----------
        step : int
            Steps taken before.

        Returns
        -------
        int
        """
        number = validate.integer("step", step, low=0, high=_MOST_STEP)
        return [size for first, size in self.schedule if first <= number][-1]

    def samples_before(self, step: int) -> int:
        """Return how many samples the steps before this one saw.

        Parameters
        ----------
        step : int
            Steps taken before.

        Returns
        -------
        int

        Examples
        --------
        >>> Batches([(0, 10), (100, 20)]).samples_before(103)
        1060
        """
        number = validate.integer("step", step, low=0, high=_MOST_STEP)
        firsts = [min(first, number) for first, _ in self.schedule] + [number]
        lengths = np.diff(firsts)
        return sum(int(n) * size for n, (_, size) in zip(lengths, self.schedule, strict=True))

    def streams_of(self, runs: Shape) -> npt.NDArray[np.int64]:
        """Return the stream of each run.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes.

        Returns
        -------
        ndarray of int64, shape (*runs)

        Raises
        ------
        ValueError
            If there are more than 2**32 runs.

        Examples
        --------
        >>> Batches(10).streams_of((2, 2)).tolist()
        [[0, 1], [2, 3]]
        """
        return numbered(runs) if self.streams is None else np.broadcast_to(self.streams, runs)

    def with_streams(self, streams: npt.ArrayLike) -> Self:
        """Return the same with other streams.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        return type(self)(self.size, self.seed, streams, self.replace, self.label_noise_std)

    def core_fields(
        self, runs: Shape, drawn: tuple[int, list[float], list[float]]
    ) -> dict[str, Any]:
        """Return what the compiled core takes of it, by name.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes; arrays are views that have all of them.
        drawn : tuple
            What samples are drawn from, as the loss says.
        """
        law, radii, cumulative = drawn
        noise = validate.over_runs(self.label_noise_std, runs, 0) if self.has_noise else None
        return {
            "schedule": list(self.schedule),
            "replace": self.replace,
            "seed": self.seed,
            "streams": validate.over_runs(self.streams_of(runs), runs, 0),
            "label_noise_std": noise,
            "law": law,
            "radii": radii,
            "cumulative": cumulative,
        }


def checked_streams(streams: npt.ArrayLike | None) -> npt.NDArray[np.int64] | None:
    """Return the numbers of random streams, checked; None, of runs in C order, as it is.

    Parameters
    ----------
    streams : array_like of int, shape (*run), optional
        0 to 2**32 - 1.
    """
    if streams is None:
        return None
    return validate.integer_array("streams", streams, low=0, high=MOST_STREAMS - 1)


def numbered(runs: Shape) -> npt.NDArray[np.int64]:
    """Return numbers of streams of their own for runs: those in C order.

    Parameters
    ----------
    runs : tuple of int
        Shape of the run axes.

    Returns
    -------
    ndarray of int64, shape (*runs)

    Raises
    ------
    ValueError
        If there are more than 2**32 runs.
    """
    validate.integer("number of runs", math.prod(runs), low=0, high=MOST_STREAMS)
    return np.arange(math.prod(runs), dtype=np.int64).reshape(runs)


def _sizes(size: object) -> Size:
    if isinstance(size, str):
        if size != "all":
            msg = f"size must be an integer, 'all' or pairs of a step and a size, got {size!r}"
            raise ValueError(msg)
        return size
    if not isinstance(size, list | tuple):
        return validate.integer("size", size, low=1, high=_MOST_SIZE)
    pairs = []
    for i, pair in enumerate(size):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            msg = f"size[{i}] must be a pair of a step and a size, got {validate.brief(pair)}"
            raise TypeError(msg)
        step = validate.integer(f"size[{i}][0]", pair[0], low=0, high=_MOST_STEP)
        pairs.append((step, validate.integer(f"size[{i}][1]", pair[1], low=1, high=_MOST_SIZE)))
    if not pairs or pairs[0][0] != 0 or any(a[0] >= b[0] for a, b in pairwise(pairs)):
        msg = f"size must have steps that increase from 0, got {validate.brief(size)}"
        raise ValueError(msg)
    return tuple(pairs)
