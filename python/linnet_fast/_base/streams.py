"""Random numbers of runs: of each run's own stream, the same in any batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from linnet_fast._base import elementary, machine, memory, seeds, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray, Shape

_WORDS_PER_COUNTER = 4  # 64-bit words that Philox makes from one value of its counter


class Draw:
    """Normal numbers from the runs' streams, in blocks of given shapes, once per different stream.

    Runs with the same stream share its numbers, so work on the `blocks` is not repeated; `of_runs`
    then hands each run its own.

    Parameters
    ----------
    rng : seed or Generator
        As NumPy has them.
    runs : tuple of int
        Shape of the run axes.
    streams : array_like of int, optional
        Number of the stream of each run.
    shapes : sequence of tuple of int
        Of the blocks, without run axes.
    """

    def __init__(
        self, rng: Seed, runs: Shape, streams: npt.ArrayLike | None, shapes: Sequence[Shape]
    ) -> None:
        machine.check_rounding()
        self._runs = runs
        sizes = [math.prod(shape) for shape in shapes]
        # What is drawn, what is made of it, and what that is made from.
        memory.check_room("batch_shape", 3 * 8 * math.prod(runs) * (1 + sum(sizes)))
        numbers, self._which = numbered(streams, runs)
        key = seeds.generator(rng).integers(0, 2**64, size=2, dtype=np.uint64)
        drawn = of_streams(key, numbers, sum(sizes))
        parts = np.split(drawn, np.cumsum(sizes)[:-1], axis=-1) if sizes else []
        self.blocks = [
            part.reshape(len(numbers), *shape) for part, shape in zip(parts, shapes, strict=True)
        ]

    def of_runs(self, array: FloatArray) -> FloatArray:
        """Return an array with a row per stream as one with all run axes."""
        rows: FloatArray = array if self._which is None else array[self._which]
        return rows.reshape(*self._runs, *array.shape[1:])


def normal_numbers(rng: Seed, runs: Shape, streams: npt.ArrayLike | None, n: int) -> FloatArray:
    """Return n normal numbers of each run, (*run, n).

    Parameters
    ----------
    rng, runs, streams
        As of `Draw`.
    n : int
        How many.
    """
    draw = Draw(rng, runs, streams, [(n,)])
    return draw.of_runs(draw.blocks[0])


def numbered(
    streams: npt.ArrayLike | None, runs: Shape
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp] | None]:
    """Return the different streams, ascending, and which of them each run has; None if in order.

    Parameters
    ----------
    streams : array_like of int, optional
        Numbers of streams; by default runs are numbered in C order.
    runs : tuple of int
        Shape of the run axes.
    """
    n_runs = math.prod(runs)
    if streams is None:
        return np.arange(n_runs), None
    numbers = validate.integer_array("streams", streams, low=0, high=2**60 - 1)
    validate.fits_batch("streams", numbers.shape, runs)
    flat = np.broadcast_to(numbers, runs).reshape(n_runs)
    different, which = np.unique(flat, return_inverse=True)
    return different, None if len(different) == n_runs and (which[1:] > which[:-1]).all() else which


def of_streams(
    key: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64], n: int, *, normal: bool = True
) -> FloatArray:
    """Return n numbers of each stream, (n_streams, n): standard normal, or uniform within (0, 1).

    Parameters
    ----------
    key : ndarray of uint64, shape (2,)
        Of Philox.
    numbers : ndarray of int64, shape (n_streams,)
        Different streams, ascending, at least one.
    n : int
        How many.
    normal : bool
        Else uniform.
    """
    make = _standard_normal if normal else _uniform
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    flat = [make(key, int(part[0]), len(part), n) for part in np.split(numbers, ends)]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def _standard_normal(
    key: npt.NDArray[np.uint64], first_run: int, n_runs: int, n: int
) -> FloatArray:
    """Return n standard normal numbers for each of the runs first_run ... first_run + n_runs - 1."""
    return elementary.normal_quantile(_uniform(key, first_run, n_runs, n))


def _uniform(key: npt.NDArray[np.uint64], first_run: int, n_runs: int, n: int) -> FloatArray:
    """Return n uniform numbers for each of the runs first_run ... first_run + n_runs - 1.

    Run i owns the ceil(n / 4) counters of Philox from i * ceil(n / 4) on. So any stretch of runs is
    one vectorised draw, and a run's numbers are the same in every stretch.
    """
    counters = -(-n // _WORDS_PER_COUNTER)
    source = np.random.Generator(np.random.Philox(key=key, counter=first_run * counters))
    uniform = source.random((n_runs, counters * _WORDS_PER_COUNTER))[:, :n]
    # The middle of each of the 2**53 cells of [0, 1); above 1/2 it rounds to an end, which must not
    # be 1.
    return np.minimum(uniform + 2.0**-54, 1 - 2.0**-53)
