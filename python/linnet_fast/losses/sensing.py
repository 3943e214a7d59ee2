"""The squared loss on inner products of the end-to-end matrix with given ones: matrix sensing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import KernelMoments, Loss

if TYPE_CHECKING:
    from linnet_fast.datasets.kinds import Measurements

_BLOCK = 16
"""The core takes measurements in blocks of so many; the last one is filled up with zeros."""


class SensingLoss(Loss):
    """The mean over measurements M_k with targets y_k of 1/2 (<M_k, P> - y_k)^2."""

    supports: ClassVar[frozenset[str]] = frozenset({"draws", "stacking", "curvature"})

    targets: FloatArray

    def _set(self, n_inner: Mapping[str, str], **arrays: npt.ArrayLike) -> None:
        """Check and set the arrays; `n_inner`: what axes each has behind those of runs and samples."""
        checked = {name: validate.real_array(name, array) for name, array in arrays.items()}
        n = checked["targets"].shape[-1] if checked["targets"].ndim else None
        if n is None:
            msg = "targets must have shape (*run, n), got a single number"
            raise ValueError(msg)
        for name, array in checked.items():
            axes = n_inner.get(name, "")
            place = -1 - axes.count(",")
            if array.ndim < -place or array.shape[place] != n:
                msg = (
                    f"{name} must have shape (*run, {n}{axes}), as targets have, got {array.shape}"
                )
                raise ValueError(msg)
            object.__setattr__(self, name, array)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show sizes; the measurements themselves are too long to show."""
        return (
            f"{type(self).__name__}(n_samples={self.n_samples}, n_inputs={self.n_inputs}, "
            f"n_outputs={self.n_outputs}, run_shape={self.run_shape})"
        )

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return int(self.targets.shape[-1])

    @abstractmethod
    def _measured(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the inner products of matrices (*batch, out, in) with all measurements, (*batch, n)."""

    @abstractmethod
    def _combined(self, factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sums of measurements times factors (*batch, n), (*batch, out, in)."""

    def _matrix(self, product: npt.ArrayLike) -> npt.NDArray[Any]:
        return validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
            Means of squares: never negative.

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(out, in)`` or the others do not broadcast.
        """
        matrix = self._matrix(product)
        with np.errstate(over="ignore", invalid="ignore"):
            errors = self._measured(np.asarray(matrix, np.float64)) - self.targets
            return np.asarray(np.sum(errors * errors, axis=-1) / (2 * self.n_samples))

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the end-to-end matrix, the mean of (<M_k, P> - y_k) M_k.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
            In the precision of `product`, if that is a floating-point one.
        """
        matrix = self._matrix(product)
        dtype = np.result_type(matrix, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32, too
            errors = self._measured(matrix.astype(dtype, copy=False)) - self.targets.astype(dtype)
            gradient: WeightArray = self._combined(errors / dtype.type(self.n_samples))
        return gradient

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        moved = self._matrix(along)
        with np.errstate(over="ignore", invalid="ignore"):
            measured = self._measured(np.asarray(moved, np.float64))
            return np.asarray(self._combined(measured / self.n_samples))

    def kernel_moments(self) -> KernelMoments:
        """Return the moments of measurements and targets."""
        with np.errstate(over="ignore", invalid="ignore"):
            cross = np.asarray(self._combined(self.targets / self.n_samples))
            power = np.asarray(np.square(self.targets).mean(axis=-1))
        return KernelMoments(None, cross, power)

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the measurements as the core takes them, in single precision besides where it is used."""
        fields: dict[str, Any] = {"n_samples": self.n_samples}
        for name, columns in self._columns.items():
            n_inner = self.inner_axes[name]
            single = None
            if dtype == np.float32:
                with np.errstate(over="ignore"):
                    stored = validate.unbroadcast(columns, keep=n_inner).astype(np.float32)
                single = validate.over_runs(np.broadcast_to(stored, columns.shape), runs, n_inner)
            fields[name] = validate.over_runs(columns, runs, n_inner)
            fields[f"single_{name}"] = single
        return fields

    @cached_property
    def _columns(self) -> dict[str, FloatArray]:
        """All arrays with measurements along the last axis, filled up by zeros."""
        n, columns = self.n_samples, {}
        for name, n_inner in self.inner_axes.items():
            array = getattr(self, name)
            stored = np.moveaxis(validate.unbroadcast(array, keep=n_inner), -n_inner, -1)
            filled = np.zeros((*stored.shape[:-1], -(-n // _BLOCK) * _BLOCK))
            filled[..., :n] = stored
            runs = array.shape[: array.ndim - n_inner]
            columns[name] = np.broadcast_to(filled, (*runs, *filled.shape[len(runs) :]))
        return columns

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the measurements themselves."""
        return 0, [1.0], [1.0]

    @property
    def n_choices(self) -> int:
        """How many measurements there are to choose from."""
        return self.n_samples

    def chosen(self, index: npt.NDArray[np.int64]) -> Self:
        """Return the loss on the measurements at some places."""
        return type(self)(**{name: getattr(self, name)[index] for name in self.inner_axes})


@dataclass(frozen=True, eq=False, init=False, repr=False)
class MatrixSensingLoss(SensingLoss):
    """Squared loss on inner products of the end-to-end matrix P: matrix sensing.

    For n matrices M_k, with targets y_k, the loss is ::

        1/(2n) sum (<M_k, P> - y_k)^2,   <M, P> = sum M_ij P_ij

    Symmetric sensing, P = U U^T, is that of a network with tied layers: see the page on losses.

    Parameters
    ----------
    measurements : array_like, shape (*run, n, out, in)
        The matrices M_k.
    targets : array_like, shape (*run, n)
        The numbers y_k.

    Attributes
    ----------
    measurements, targets : ndarray of float64
        Read-only views of the arguments (not copies where these are float64 already).

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, or run axes do not broadcast.

    See Also
    --------
    MatrixSensingLoss.rank_one : measurements a b^T, which are never formed.
    MatrixCompletionLoss : single entries.

    Notes
    -----
    A step costs 2 n out in multiply-adds beside the chain. `StochasticGradientDescent` draws
    measurements, with replacement.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MatrixSensingLoss([np.eye(2), np.ones((2, 2))], [2.0, 4.0])
    >>> loss
    MatrixSensingLoss(n_samples=2, n_inputs=2, n_outputs=2, run_shape=())
    >>> loss.value([np.eye(2), np.ones((2, 2))]).tolist()
    [1.0, 0.0]
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"measurements": 3, "targets": 1})
    of_inputs: ClassVar[str | None] = "measurements"
    core: ClassVar[str] = "sensing"
    data_kind: ClassVar[str | None] = "measurements"

    measurements: FloatArray
    targets: FloatArray

    def __init__(self, measurements: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        self._set({"measurements": ", out, in"}, targets=targets, measurements=measurements)

    @classmethod
    def from_dataset(cls, data: Measurements, **options: Any) -> tuple[SensingLoss, str]:
        """Return the loss of measurements by matrices, or by pairs of vectors; there are no options."""
        first, *rest = data.matrices
        if rest:
            return RankOneSensingLoss(first, rest[0], data.targets, **options), data.description
        return cls(first, data.targets, **options), data.description

    @classmethod
    def rank_one(
        cls, left: npt.ArrayLike, right: npt.ArrayLike, targets: npt.ArrayLike
    ) -> RankOneSensingLoss:
        """Return the loss of measurements a_k^T P b_k, those by matrices a_k b_k^T of rank one.

        Parameters
        ----------
        left : array_like, shape (*run, n, out)
            The vectors a_k.
        right : array_like, shape (*run, n, in)
            The vectors b_k.
        targets : array_like, shape (*run, n)
            The numbers y_k.

        Returns
        -------
        RankOneSensingLoss
            It takes memory O(n (out + in)): the matrices are never formed.

        Raises
        ------
        TypeError
            If an argument is not made of real numbers.
        ValueError
            If shapes do not match, a number is not finite, or run axes do not broadcast.

        Examples
        --------
        >>> loss = MatrixSensingLoss.rank_one([[1.0, 0.0]], [[0.0, 2.0]], [6.0])
        >>> loss.value([[0.0, 3.0], [0.0, 0.0]]).item()
        0.0
        """
        return RankOneSensingLoss(left, right, targets)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.measurements.shape[-1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.measurements.shape[-2])

    def _measured(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        m = self.measurements.astype(matrix.dtype, copy=False)
        m = m.reshape(*m.shape[:-2], -1)
        flat = matrix.reshape(*matrix.shape[:-2], -1)
        return np.asarray((m @ flat[..., None])[..., 0])

    def _combined(self, factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        m = self.measurements.astype(factors.dtype, copy=False)
        sums = (factors[..., None, :] @ m.reshape(*m.shape[:-2], -1))[..., 0, :]
        return np.asarray(sums.reshape(*sums.shape[:-1], *m.shape[-2:]))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class RankOneSensingLoss(SensingLoss):
    """Squared loss on numbers a_k^T P b_k of the end-to-end matrix P.

    It is `MatrixSensingLoss` for matrices a_k b_k^T of rank one, which are never formed::

        1/(2n) sum (a_k^T P b_k - y_k)^2

    Parameters
    ----------
    left : array_like, shape (*run, n, out)
        The vectors a_k.
    right : array_like, shape (*run, n, in)
        The vectors b_k.
    targets : array_like, shape (*run, n)
        The numbers y_k.

    Attributes
    ----------
    left, right, targets : ndarray of float64
        Read-only views of the arguments (not copies where these are float64 already).

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, or run axes do not broadcast.

    Examples
    --------
    >>> loss = RankOneSensingLoss([[1.0, 1.0]], [[1.0, 0.0, 0.0]], [2.0])
    >>> loss
    RankOneSensingLoss(n_samples=1, n_inputs=3, n_outputs=2, run_shape=())
    >>> loss.gradient([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).tolist()
    [[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    """

    of_inputs: ClassVar[str | None] = "right"
    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"left": 2, "right": 2, "targets": 1}
    )
    core: ClassVar[str] = "rank_one_sensing"

    left: FloatArray
    right: FloatArray
    targets: FloatArray

    def __init__(self, left: npt.ArrayLike, right: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        self._set({"left": ", out", "right": ", in"}, targets=targets, left=left, right=right)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.right.shape[-1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.left.shape[-1])

    def _measured(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        a = self.left.astype(matrix.dtype, copy=False)
        b = self.right.astype(matrix.dtype, copy=False)
        return np.asarray(np.sum(a * (b @ matrix.mT), axis=-1))

    def _combined(self, factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        a = self.left.astype(factors.dtype, copy=False)
        b = self.right.astype(factors.dtype, copy=False)
        return np.asarray((factors[..., None] * a).mT @ b)
