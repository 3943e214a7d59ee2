"""The squared loss on some entries of the end-to-end matrix: matrix completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import KernelMoments, Loss

if TYPE_CHECKING:
    from linnet_fast.datasets.kinds import Entries


@dataclass(frozen=True, eq=False, init=False, repr=False)
class EntriesLoss(Loss):
    """The mean over entries (i, j) with values y of 1/2 (P_ij - y)^2; entries may come twice."""

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"rows": 1, "cols": 1, "values": 1})

    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]
    values: FloatArray
    shape: tuple[int, int]

    def __init__(
        self,
        rows: npt.ArrayLike,
        cols: npt.ArrayLike,
        values: npt.ArrayLike,
        shape: tuple[int, int],
    ) -> None:
        sizes = validate.matrix_shape("shape", shape)
        y = validate.real_array("values", values)
        if y.ndim < 1:
            msg = "values must have shape (*run, n), got a single number"
            raise ValueError(msg)
        for name, places, extent in (("rows", rows, sizes[0]), ("cols", cols, sizes[1])):
            own = _indices(name, places, extent)
            if own.ndim < 1 or own.shape[-1] != y.shape[-1]:
                msg = (
                    f"{name} must have shape (*run, {y.shape[-1]}), as values have, got {own.shape}"
                )
                raise ValueError(msg)
            object.__setattr__(self, name, own)
        object.__setattr__(self, "values", y)
        object.__setattr__(self, "shape", sizes)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show sizes; the entries themselves are too long to show."""
        return (
            f"{type(self).__name__}(n_entries={self.n_entries}, shape={self.shape}, "
            f"run_shape={self.run_shape})"
        )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.shape[0]

    @property
    def n_entries(self) -> int:
        """Number of entries, of each run."""
        return int(self.values.shape[-1])

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """Places of the entries in a matrix whose rows stand one after the other, (*run, n)."""
        rows, cols = (validate.unbroadcast(a, keep=1) for a in (self.rows, self.cols))
        lead = np.broadcast_shapes(self.rows.shape, self.cols.shape)
        return np.broadcast_to(rows * self.shape[1] + cols, lead)

    def _errors(self, matrix: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return what entries of matrices are beyond their values, (*batch, n)."""
        flat = matrix.reshape(*matrix.shape[:-2], -1)
        seen = _taken(flat, self._places)
        errors: npt.NDArray[Any] = seen.astype(dtype) - self.values.astype(dtype)
        return errors

    def padded(self, n_more: int) -> Loss | None:
        """Return the loss of matrices with so many more columns, of which no entry is known."""
        values = self.arguments()
        values["shape"] = (self.n_outputs, self.n_inputs + n_more)
        return type(self)(**values)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
            Means of squares: never negative, as exact near 0 as the entries themselves, and inf
            beyond float64.

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(out, in)`` or the others do not broadcast.
        """
        matrix = validate.products(product, self.shape, self.run_shape)
        with np.errstate(over="ignore", invalid="ignore"):
            errors = self._errors(matrix, np.float64)
            return np.asarray(np.sum(errors * errors, axis=-1) / (2 * self.n_entries))

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the end-to-end matrix: 0 but at the entries.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
            In the precision of `product`, if that is a floating-point one.
        """
        matrix = validate.products(product, self.shape, self.run_shape)
        dtype = np.result_type(matrix, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32, too
            errors = self._errors(matrix, dtype) / dtype.type(self.n_entries)
        return self._spread(errors)

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        flat = along.reshape(*along.shape[:-2], -1)
        seen = _taken(flat, self._places)
        return self._spread(np.asarray(seen) / self.n_entries)

    def kernel_moments(self) -> KernelMoments:
        """Return the moments of what tells the entries, and of their values."""
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.asarray(np.square(self.values).mean(axis=-1))
        return KernelMoments(None, self._spread(self.values / self.n_entries), power)

    def _spread(self, errors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return matrices with numbers (*batch, n) at the entries, summed where one comes twice."""
        runs, dtype = errors.shape[:-1], errors.dtype
        flat = np.zeros((*runs, self.shape[0] * self.shape[1]), dtype)
        places = np.broadcast_to(self._places, errors.shape).reshape(-1, self.n_entries)
        of_run = np.arange(len(places))[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(flat.reshape(len(places), -1), (of_run, places), errors.reshape(places.shape))
        return flat.reshape(*runs, *self.shape)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class MatrixCompletionLoss(EntriesLoss):
    """Squared loss on some entries of the end-to-end matrix P: matrix completion.

    For n entries (i, j), with values y, the loss is ::

        1/(2n) sum (P_ij - y)^2

    with n the number of observed entries, as the squared loss has the number of samples: flows and
    step sizes of papers that take 1/2 of the sum are those of n times this loss. Its gradient is 0 but
    at these entries, so a step costs O(n) beside the chain.

    Parameters
    ----------
    rows, cols : array_like of int, shape (*run, n)
        Where the entries are, from 0 on; no entry twice. They are copied.
    values : array_like, shape (*run, n)
        What is observed there.
    shape : tuple of int
        (out, in): that of the matrix.

    Attributes
    ----------
    rows, cols : ndarray of int64
    values : ndarray of float64
        Read-only.
    shape : tuple of int

    Raises
    ------
    TypeError
        If rows, cols or shape are not integers, or values not real numbers.
    ValueError
        If shapes do not match, a place is out of range, an entry is given twice, a value is not
        finite, or run axes do not broadcast.

    See Also
    --------
    MatrixCompletionLoss.from_matrix : the same from a matrix and a mask.
    MatrixSensingLoss : inner products with matrices in place of entries.

    Notes
    -----
    `StochasticGradientDescent` draws entries, with replacement.

    References
    ----------
    S. Arora, N. Cohen, W. Hu, Y. Luo, "Implicit Regularization in Deep Matrix Factorization",
    NeurIPS 2019.

    Examples
    --------
    >>> loss = MatrixCompletionLoss([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], shape=(2, 2))
    >>> loss
    MatrixCompletionLoss(n_entries=3, shape=(2, 2), run_shape=())
    >>> loss.value([[5.0, 1.0], [1.0, 3.0]]).item()
    1.5
    >>> loss.gradient([[5.0, 1.0], [1.0, 3.0]]).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """

    core: ClassVar[str] = "completion"
    supports: ClassVar[frozenset[str]] = frozenset({"draws", "stacking", "curvature"})
    data_kind: ClassVar[str | None] = "entries"

    def __init__(
        self,
        rows: npt.ArrayLike,
        cols: npt.ArrayLike,
        values: npt.ArrayLike,
        shape: tuple[int, int],
    ) -> None:
        super().__init__(rows, cols, values, shape)
        stored = validate.unbroadcast(self._places, keep=1)
        ordered = np.sort(stored, axis=-1)
        twice = ordered[..., 1:] == ordered[..., :-1]
        if twice.any():
            entry = divmod(int(ordered[..., 1:][twice][0]), self.shape[1])
            msg = f"rows and cols must give every entry once, got entry {entry} twice"
            raise ValueError(msg)

    @classmethod
    def from_matrix(cls, matrix: npt.ArrayLike, observed: npt.ArrayLike) -> MatrixCompletionLoss:
        """Return the loss on the observed entries of a matrix.

        Parameters
        ----------
        matrix : array_like, shape (*run, out, in)
            Whatever stands where nothing is observed, NaN included, is not looked at.
        observed : array_like of bool, shape (*run, out, in)
            Which entries are observed: at least one, and as many in every run.

        Returns
        -------
        MatrixCompletionLoss
            Its entries go row by row.

        Raises
        ------
        TypeError
            If `matrix` is not made of real numbers, or `observed` not of bools.
        ValueError
            If shapes do not match, nothing is observed or not equally much in all runs, or what is
            observed is not finite.

        Examples
        --------
        >>> import numpy as np
        >>> matrix = np.array([[1.0, np.nan], [2.0, 3.0]])
        >>> loss = MatrixCompletionLoss.from_matrix(matrix, ~np.isnan(matrix))
        >>> loss.rows.tolist(), loss.cols.tolist(), loss.values.tolist()
        ([0, 1, 1], [0, 0, 1], [1.0, 2.0, 3.0])
        """
        mask = validate.bools("observed", observed)
        if mask.ndim < 2 or mask.size == 0:
            msg = f"observed must have shape (*run, out, in), got {mask.shape}"
            raise ValueError(msg)
        known = _known_part(matrix, mask)
        shape = mask.shape[-2:]
        stored = validate.unbroadcast(mask, keep=2)
        counts = stored.sum(axis=(-2, -1))
        n = int(counts.flat[0])
        if n == 0 or (counts != n).any():
            got = "none" if not counts.all() else f"{counts.min()} to {counts.max()}"
            msg = f"observed must have at least one entry, and as many in every run, got {got}"
            raise ValueError(msg)
        places = np.nonzero(stored.reshape(-1, shape[0] * shape[1]))[1]
        places = places.reshape(*stored.shape[:-2], n)
        runs = mask.shape[:-2]
        rows, cols = (np.broadcast_to(a, (*runs, n)) for a in divmod(places, shape[1]))
        flat = known.reshape(*known.shape[:-2], -1)
        values = _taken(flat, np.broadcast_to(places, (*runs, n)))
        return cls(rows, cols, values, (shape[0], shape[1]))

    @classmethod
    def from_dataset(cls, data: Entries, **options: Any) -> tuple[MatrixCompletionLoss, str]:
        """Return the loss of some entries of a matrix; there are no options."""
        return cls(*data[:4], **options), data.description

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the entries as the core takes them."""
        return {
            name: validate.over_runs(getattr(self, name), runs, n_inner)
            for name, n_inner in self.inner_axes.items()
        }

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the entries themselves."""
        return 0, [1.0], [1.0]

    @property
    def n_choices(self) -> int:
        """How many entries there are to choose from."""
        return self.n_entries

    def chosen(self, index: npt.NDArray[np.int64]) -> EntriesLoss:
        """Return the loss on the entries at some places."""
        return EntriesLoss(self.rows[index], self.cols[index], self.values[index], self.shape)

    @property
    def least_loss(self) -> FloatArray:
        """The least loss of any matrix, whatever its rank, shape (*run): 0."""
        return np.zeros(self.run_shape)


def _indices(name: str, value: npt.ArrayLike, extent: int) -> npt.NDArray[np.int64]:
    """Return indices below `extent`, in memory of their own: the core is led by them."""
    array = validate.integer_array(name, value, low=0, high=extent - 1)
    own = validate.unbroadcast(array, keep=min(array.ndim, 1)).copy()
    return np.broadcast_to(own, array.shape)


def _known_part(matrix: npt.ArrayLike, observed: npt.NDArray[np.bool_]) -> FloatArray:
    """Return a matrix with 0 where nothing is observed, checked where something is."""
    given = validate.numbers("matrix", matrix)
    if given.shape[-2:] != observed.shape[-2:]:
        expected = ", ".join(map(str, observed.shape[-2:]))
        msg = f"matrix must have shape (*run, {expected}), as observed has, got {given.shape}"
        raise ValueError(msg)
    runs = validate.broadcast_runs(matrix=given.shape[:-2], observed=observed.shape[:-2])
    stored, mask = (validate.unbroadcast(array, keep=2) for array in (given, observed))
    known = validate.real_array("matrix", np.where(mask, stored, 0))
    return np.broadcast_to(known, (*runs, *given.shape[-2:]))


def _taken(flat: npt.NDArray[Any], places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the numbers at places (*run, n) of vectors (*batch, size), repeated axes by strides."""
    runs = np.broadcast_shapes(flat.shape[:-1], places.shape[:-1])
    flat, places = (validate.unbroadcast(array, keep=1) for array in (flat, places))
    own = np.broadcast_shapes(flat.shape[:-1], places.shape[:-1])
    taken = np.take_along_axis(
        np.broadcast_to(flat, (*own, flat.shape[-1])),
        np.broadcast_to(places, (*own, places.shape[-1])),
        axis=-1,
    )
    return np.broadcast_to(taken, (*runs, places.shape[-1]))
