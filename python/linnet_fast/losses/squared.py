"""The squared loss, from the second moments of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss

if TYPE_CHECKING:
    from linnet_fast.datasets import Dataset

_TOLERANCE = 1e-9  # of the largest entry of input_cov: what counts as rounding


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SquaredLoss(Loss):
    """Squared loss of a linear map, from the second moments of the data.

    For n pairs of rows (x, y) the loss of the end-to-end matrix P is ::

        1/(2n) sum |y - P x|^2 = 1/2 tr(P input_cov P^T) - <P, cross_cov> + 1/2 output_power

    so a training step never costs O(n). Leading run axes give each run its own data; they
    broadcast.

    Parameters
    ----------
    input_cov : array_like, shape (*run, in, in)
        Second moment X^T X / n of the inputs: symmetric and positive semi-definite, both to 1e-9 of
        its largest entry, which is left to rounding; diagonal >= 0.
    cross_cov : array_like, shape (*run, out, in)
        Cross moment Y^T X / n.
    output_power : array_like, shape (*run)
        Mean square of the outputs, tr(Y^T Y) / n, >= 0. Only shifts the loss.

    Attributes
    ----------
    input_cov, cross_cov, output_power : ndarray of float64
        Read-only views of the arguments (not copies where these are float64 in C order already).

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, `input_cov` is not symmetric or not positive
        semi-definite, `output_power` is negative, or run axes do not broadcast.

    Notes
    -----
    The check of `input_cov` is a Cholesky decomposition of each that is in memory, about in^3 / 3
    operations; none of those that are exactly diagonal.

    See Also
    --------
    SquaredLoss.from_data : the same from the data themselves.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(input_cov=np.eye(2), cross_cov=np.diag([3.0, 1.0]), output_power=10.0)
    >>> loss
    SquaredLoss(n_inputs=2, n_outputs=2, run_shape=())
    >>> float(loss.value(np.zeros((2, 2)))), float(loss.value([[3.0, 0.0], [0.0, 1.0]]))
    (5.0, 0.0)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"input_cov": 2, "cross_cov": 2, "output_power": 0}
    )
    core: ClassVar[str] = "squared"
    supports: ClassVar[frozenset[str]] = frozenset({"stacking"})
    dataset_options: ClassVar[tuple[str, ...]] = ("center",)

    input_cov: FloatArray
    cross_cov: FloatArray
    output_power: FloatArray

    def __init__(
        self,
        input_cov: npt.ArrayLike,
        cross_cov: npt.ArrayLike,
        output_power: npt.ArrayLike,
    ) -> None:
        inputs = validate.real_array("input_cov", input_cov)
        cross = validate.real_array("cross_cov", cross_cov)
        power = validate.real_array("output_power", output_power, at_least=0)
        if inputs.ndim < 2 or inputs.shape[-1] != inputs.shape[-2]:
            msg = f"input_cov must have shape (*run, in, in), got {inputs.shape}"
            raise ValueError(msg)
        if cross.ndim < 2 or cross.shape[-1] != inputs.shape[-1]:
            msg = f"cross_cov must have shape (*run, out, {inputs.shape[-1]}), got {cross.shape}"
            raise ValueError(msg)
        _check_input_cov(inputs)
        object.__setattr__(self, "input_cov", inputs)
        object.__setattr__(self, "cross_cov", cross)
        object.__setattr__(self, "output_power", power)
        _ = self.run_shape  # refuses run axes that do not broadcast

    @classmethod
    def from_data(cls, X: npt.ArrayLike, Y: npt.ArrayLike, *, center: bool = False) -> SquaredLoss:
        """Return the loss 1/(2n) ||Y - X P^T||_F^2 of the data.

        Parameters
        ----------
        X : array_like, shape (*run, n, in)
            Inputs, one sample per row.
        Y : array_like, shape (*run, n, out)
            Outputs, one sample per row. A single output is a column, ``y[:, None]``.
        center : bool, default False
            Subtract the mean over the samples from X and from Y first, as a network with a bias
            would.

        Returns
        -------
        SquaredLoss
            Its moments cost O(n in (in + out)), once.

        Raises
        ------
        TypeError
            If X or Y is not made of real numbers.
        ValueError
            If shapes do not match, a number is not finite, or the moments overflow.

        Examples
        --------
        >>> X = [[1.0, 0.0], [0.0, 2.0]]
        >>> Y = [[2.0], [2.0]]
        >>> loss = SquaredLoss.from_data(X, Y)
        >>> loss.input_cov.tolist(), loss.cross_cov.tolist(), float(loss.output_power)
        ([[0.5, 0.0], [0.0, 2.0]], [[1.0, 2.0]], 4.0)
        """
        x = _samples("X", X)
        y = _samples("Y", Y)
        n_samples = x.shape[-2]
        if y.shape[-2] != n_samples:
            msg = f"X and Y must have equally many rows, got {n_samples} and {y.shape[-2]}"
            raise ValueError(msg)
        validate.broadcast_runs(X=x.shape[:-2], Y=y.shape[:-2])
        with np.errstate(over="ignore", invalid="ignore"):
            if center:
                x, y = _centered(x), _centered(y)
            input_cov = algebra.cross_products(x, x) / n_samples
            cross_cov = algebra.cross_products(y, x) / n_samples
            squares = y.reshape(*y.shape[:-2], -1, 1)
            output_power = algebra.cross_products(squares, squares)[..., 0, 0] / n_samples
        if not all(np.isfinite(m).all() for m in (input_cov, cross_cov, output_power)):
            msg = "X and Y must have moments within float64, got an overflow; rescale the data"
            raise ValueError(msg)
        return cls(input_cov, cross_cov, output_power)

    @classmethod
    def from_dataset(cls, data: Dataset, **options: Any) -> tuple[SquaredLoss, str]:
        """Return the loss of a data set.

        Parameters
        ----------
        data : Dataset
            Its targets are the outputs; classes are one-hot.
        **options
            ``center``, as of `from_data`.

        Returns
        -------
        loss, str
        """
        center = validate.instance("loss.center", options.get("center", False), bool)
        made = cls.from_data(data.X, data.Y, center=center)
        return made, f"{data.description}, {'centred' if center else 'not centred'}"

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the moments as the core takes them."""
        return {
            name: validate.over_runs(getattr(self, name), runs, n_inner)
            for name, n_inner in self.inner_axes.items()
        }

    def __repr__(self) -> str:
        """Show sizes; the moments themselves are too long to show."""
        return (
            f"SquaredLoss(n_inputs={self.n_inputs}, n_outputs={self.n_outputs}, "
            f"run_shape={self.run_shape})"
        )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.cross_cov.shape[-1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.cross_cov.shape[-2])

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes of the moments.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
            The losses; inf beyond float64. Being a difference of moments, they carry a rounding error
            of about 1e-16 times `output_power`.

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(out, in)`` or the others do not broadcast.

        Examples
        --------
        >>> loss = SquaredLoss([[1.0]], [[2.0]], 4.0)
        >>> loss.value([[[0.0]], [[1.0]], [[2.0]]]).tolist()
        [2.0, 0.5, 0.0]
        """
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        with np.errstate(over="ignore", invalid="ignore"):
            quadratic = np.sum((matrix @ self.input_cov) * matrix, axis=(-2, -1))
            linear = np.sum(matrix * self.cross_cov, axis=(-2, -1))
            value = np.asarray(0.5 * quadratic - linear + 0.5 * self.output_power, np.float64)
        if np.isnan(value).any():  # a difference of infinities, if the matrix is finite
            finite = np.isfinite(matrix).all(axis=(-2, -1))
            value = np.where(np.isnan(value) & finite, np.inf, value)
        return value

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the end-to-end matrix, P input_cov - cross_cov.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
            In the precision of `product`, if that is a floating-point one.

        Examples
        --------
        >>> SquaredLoss([[2.0]], [[3.0]], 5.0).gradient([[1.0]]).tolist()
        [[-1.0]]
        """
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        dtype = np.result_type(matrix, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # moments beyond float32, too
            cov, cross = self.input_cov.astype(dtype), self.cross_cov.astype(dtype)
            gradient: WeightArray = matrix @ cov - cross
        return gradient

    def minimum(self) -> FloatArray:
        """Return the least loss of any matrix, whatever its rank.

        Returns
        -------
        ndarray of float64, shape (*run)
            The loss of the least-squares solution cross_cov pinv(input_cov); eigenvalues of
            `input_cov` below eps * in times the largest count as zero, as in
            ``numpy.linalg.lstsq``.

        Raises
        ------
        ValueError
            If `cross_cov` acts where `input_cov` vanishes: the loss is unbounded below.

        Notes
        -----
        Moments made by hand, not of data, may have no minimum: see `Raises`.

        Examples
        --------
        >>> loss = SquaredLoss.from_data([[1.0], [1.0]], [[0.0], [2.0]])
        >>> round(float(loss.minimum()), 12)
        0.5
        """
        self.check_bounded("minimum")
        rtol = np.finfo(np.float64).eps * self.n_inputs
        # A power of two, so that nothing is rounded, and no reciprocal overflows.
        _, power = np.frexp(np.abs(self.input_cov).max(axis=(-2, -1)))
        power = power[..., None, None]
        inverse = np.linalg.pinv(np.ldexp(self.input_cov, -power), rtol=rtol, hermitian=True)
        return self.value(np.ldexp(self.cross_cov, -power) @ inverse)

    def check_bounded(self, function: str) -> None:
        """Refuse moments of which the loss is unbounded below, which those of data never are.

        Parameters
        ----------
        function : str
            What needs a minimum: the last word of the error.

        Raises
        ------
        ValueError
            If `cross_cov` acts along an eigenvector v of `input_cov` whose eigenvalue is rounding, by
            more than rounding: data have ``|cross_cov v|^2 <= (v^T input_cov v) output_power``.

        Examples
        --------
        >>> SquaredLoss([[0.0]], [[1.0]], 1.0).check_bounded("minimum")
        Traceback (most recent call last):
            ...
        ValueError: cross_cov must be 0 where input_cov vanishes, as of data, got 1 there: no minimum
        """
        cov = validate.unbroadcast(self.input_cov, keep=2)
        cross = validate.unbroadcast(self.cross_cov, keep=2)
        power = validate.unbroadcast(self.output_power)
        if _is_diagonal(cov) and (np.diagonal(cov, axis1=-2, axis2=-1) > 0).all():
            return
        size = np.abs(cov).max(axis=(-2, -1))
        strength = np.abs(cross).max(axis=(-2, -1))
        lam, vectors = np.linalg.eigh(cov / np.where(size > 0, size, 1.0)[..., None, None])
        least = np.finfo(np.float64).eps * self.n_inputs * lam[..., -1]
        turned = (cross / np.where(strength > 0, strength, 1.0)[..., None, None]) @ vectors
        along = np.sqrt(np.sum(turned * turned, axis=-2))
        # What data may have there: sqrt(least output_power), and its own rounding.
        shown = np.sqrt(power) * np.sqrt(size) / np.where(strength > 0, strength, 1.0)
        room = np.sqrt(least) * np.maximum(1.0, shown)
        bad = (lam <= least[..., None]) & (along > room[..., None])
        if bad.any():
            worst = float((np.where(bad, along, 0.0).max(axis=-1) * strength).max())
            msg = (
                "cross_cov must be 0 where input_cov vanishes, as of data, "
                f"got {worst:.3g} there: no {function}"
            )
            raise ValueError(msg)


def _samples(name: str, value: npt.ArrayLike) -> FloatArray:
    array = validate.real_array(name, value)
    if array.ndim < 2:
        msg = (
            f"{name} must have shape (*run, n, {'in' if name == 'X' else 'out'}), got {array.shape}"
        )
        if array.ndim == 1:
            msg += f"; make a single column of it with {name}[:, None]"
        raise ValueError(msg)
    return array


def _centered(samples: FloatArray) -> FloatArray:
    total = algebra.cross_products(np.ones((samples.shape[-2], 1)), samples)
    return np.asarray(samples - total / samples.shape[-2])


def _check_input_cov(input_cov: FloatArray) -> None:
    stored = validate.unbroadcast(input_cov, keep=2)
    with np.errstate(over="ignore"):
        skew = np.abs(stored - stored.mT).max(axis=(-2, -1))
    largest = np.abs(stored).max(axis=(-2, -1))
    if (skew > _TOLERANCE * largest).any():
        msg = f"input_cov must be symmetric, got entries that differ by {skew.max():g}"
        raise ValueError(msg)
    diagonal = np.diagonal(stored, axis1=-2, axis2=-1)
    if (diagonal < 0).any():
        msg = f"input_cov must have a non-negative diagonal, got {diagonal.min():g}"
        raise ValueError(msg)
    if _is_diagonal(stored):
        return
    size = np.where(largest > 0, largest, 1.0)
    unit = stored / size[..., None, None]
    index = np.arange(stored.shape[-1])
    unit[..., index, index] += _TOLERANCE
    try:
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(unit)[..., 0] - _TOLERANCE
        if (least < -_TOLERANCE).any():
            msg = (
                "input_cov must be positive semi-definite, got smallest eigenvalue "
                f"{(least * size).min():.6g}"
            )
            raise ValueError(msg) from None


def _is_diagonal(matrices: FloatArray) -> bool:
    """Return whether all entries off the diagonals are 0."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    return int(np.count_nonzero(matrices)) == int(np.count_nonzero(diagonal))
