"""What a loss can be made of, and its parts."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray


class Dataset(NamedTuple):
    """Inputs and targets, one sample per row, and one line on what they are."""

    X: FloatArray
    """Inputs, shape (n, in)."""
    Y: FloatArray
    """Targets, shape (n, out)."""
    description: str
    """One line on size and preparation."""

    @property
    def n_samples(self) -> int:
        """How many there are."""
        return len(self.X)

    def part(self, which: npt.NDArray[np.bool_], description: str) -> Dataset:
        """Return some of the samples."""
        return Dataset(self.X[which], self.Y[which], description)


class Entries(NamedTuple):
    """Some entries of a matrix, and one line on what they are."""

    rows: npt.NDArray[np.int64]
    """Where they are, from 0 on, shape (n,)."""
    cols: npt.NDArray[np.int64]
    values: FloatArray
    """What they are, shape (n,)."""
    shape: tuple[int, int]
    """(out, in): that of the matrix."""
    description: str
    """One line on sizes."""

    @property
    def n_samples(self) -> int:
        """How many there are."""
        return len(self.values)

    def part(self, which: npt.NDArray[np.bool_], description: str) -> Entries:
        """Return some of the entries."""
        rows, cols = self.rows[which], self.cols[which]
        return Entries(rows, cols, self.values[which], self.shape, description)


class Measurements(NamedTuple):
    """Inner products with matrices M, or numbers a^T P b, and one line on what they are."""

    matrices: tuple[FloatArray, ...]
    """The matrices M, shape (n, out, in); or vectors a and b, shapes (n, out) and (n, in)."""
    targets: FloatArray
    """The numbers, shape (n,)."""
    description: str
    """One line on sizes."""

    @property
    def n_samples(self) -> int:
        """How many there are."""
        return len(self.targets)

    def part(self, which: npt.NDArray[np.bool_], description: str) -> Measurements:
        """Return some of the measurements."""
        matrices = tuple(array[which] for array in self.matrices)
        return Measurements(matrices, self.targets[which], description)


Data: TypeAlias = Dataset | Entries | Measurements
"""What a loss can be made of."""

AnyData = TypeVar("AnyData", bound=Data)


def split(data: AnyData, fraction: float, *, rng: int = 0) -> tuple[AnyData, AnyData]:
    """Split data into those to train on and those that are held out.

    Parameters
    ----------
    data : Dataset, Entries or Measurements
        As `load`, `load_entries` or `load_measurements` gives them. What samples were standardised by
        is that of all of them.
    fraction : float
        Of the samples that are held out, between 0 and 1; rounded to whole samples, at least one on
        either side.
    rng : int, default 0
        Which samples are chosen, from 0 to 2**128 - 1: the same ones on every machine.

    Returns
    -------
    training, held_out : Dataset, Entries or Measurements
        Samples are in the order they had.

    Raises
    ------
    TypeError
        If `data` is no data set, `fraction` no number or `rng` no integer.
    ValueError
        If `fraction` or `rng` is out of range, or there are fewer than two samples.

    Examples
    --------
    >>> data = Dataset(np.eye(10), np.ones((10, 1)), "ten samples")
    >>> training, held_out = split(data, 0.2)
    >>> training.X.shape, held_out.X.shape, held_out.description
    ((8, 10), (2, 10), '2 samples held out of ten samples')
    """
    given: object = data
    if not isinstance(given, Dataset | Entries | Measurements):
        msg = f"data must be a Dataset, Entries or Measurements, got {type(given).__name__}"
        raise TypeError(msg)
    share = validate.fraction("fraction", fraction)
    key = validate.integer("rng", rng, low=0, high=2**128 - 1)
    n = data.n_samples
    if n < 2:
        msg = f"data must have at least two samples to be split, got {n}"
        raise ValueError(msg)
    n_out = min(max(round(share * n), 1), n - 1)
    # Words of the generator itself: permutations may be others in a later version of NumPy.
    order = np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")
    is_out = np.zeros(n, bool)
    is_out[order[:n_out]] = True
    what = {Dataset: "samples", Entries: "entries", Measurements: "measurements"}[type(data)]
    training: Any = data.part(~is_out, f"{data.description}, {n_out:,} of them held out")
    held_out: Any = data.part(is_out, f"{n_out:,} {what} held out of {data.description}")
    return training, held_out
