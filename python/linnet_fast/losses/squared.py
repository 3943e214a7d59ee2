"""The squared loss, from the second moments of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import KernelMoments, Loss, SeenInputs
from linnet_fast.losses.given import inputs_of, outputs_of
from linnet_fast.losses.moments import check_input_cov, seen_directions

if TYPE_CHECKING:
    from linnet_fast.datasets.kinds import Dataset
    from linnet_fast.laws.base import SphericalLaw

_EPS = float(np.finfo(np.float64).eps)
_AT_ONCE = 4
"""The core takes so many rows of a factor at once."""

Form = Literal["auto", "moments", "samples"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SquaredLoss(Loss):
    """Squared loss of a linear map, from the second moments of the data.

    For n pairs of rows (x, y) the loss of the end-to-end matrix P is ::

        1/(2n) sum |y - P x|^2 = least_loss + 1/2 |(P - minimizer) F^T|^2,  F^T F = input_cov

    so a training step never costs O(n), the loss is never negative, and near its minimum it is right
    to the last digits: on data that a matrix explains it falls to 1e-28 of their size and below.
    Leading run axes give each run its own data; they broadcast.

    Parameters
    ----------
    input_cov : array_like, shape (*run, in, in)
        Second moment X^T X / n of the inputs: symmetric and positive semi-definite, both to 1e-9 of
        its largest entry, which is left to rounding; diagonal >= 0.
    cross_cov : array_like, shape (*run, out, in)
        Cross moment Y^T X / n; 0 where `input_cov` vanishes, as that of data is.
    output_power : array_like, shape (*run)
        Mean square of the outputs, tr(Y^T Y) / n, >= 0. Only shifts the loss.
    residual_power : array_like, shape (*run), optional
        Mean square of what no matrix explains, where it is known from the data, >= 0. By default it
        follows from the moments, with an error of about 1e-16 times `output_power`.

    Attributes
    ----------
    input_cov, cross_cov, output_power, residual_power : ndarray of float64, or None
        Read-only views of the arguments (not copies where these are float64 in C order already).

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, `input_cov` is not symmetric or not positive
        semi-definite, `cross_cov` acts where `input_cov` vanishes (the loss would have no minimum),
        `residual_power` is not that of the moments, a power is negative, or run axes do not
        broadcast.

    Notes
    -----
    Making a loss costs two Cholesky decompositions of each `input_cov` that is in memory, about in^3
    operations; none of those that are exactly diagonal. Moments that no data have may have a negative
    least loss: that of ``output_power=0`` is.

    See Also
    --------
    SquaredLoss.from_data : the same from the data themselves.
    SampledSquaredLoss : the same loss from samples, which are kept.

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
        {"input_cov": 2, "cross_cov": 2, "output_power": 0, "residual_power": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"residual_power": None})
    follows: ClassVar[frozenset[str]] = frozenset({"residual_power"})
    """Arguments that follow from the others: where a sweep changes those, they do not stay."""
    core: ClassVar[str] = "squared"
    supports: ClassVar[frozenset[str]] = frozenset({"modes", "stacking", "curvature"})
    data_kind: ClassVar[str | None] = "samples"
    dataset_options: ClassVar[tuple[str, ...]] = ("center", "form")

    input_cov: FloatArray
    cross_cov: FloatArray
    output_power: FloatArray
    residual_power: FloatArray | None

    def __init__(
        self,
        input_cov: npt.ArrayLike,
        cross_cov: npt.ArrayLike,
        output_power: npt.ArrayLike,
        residual_power: npt.ArrayLike | None = None,
    ) -> None:
        inputs = validate.real_array("input_cov", input_cov)
        cross = validate.real_array("cross_cov", cross_cov)
        power = validate.real_array("output_power", output_power, at_least=0)
        rest = None
        if residual_power is not None:
            rest = validate.real_array("residual_power", residual_power, at_least=0)
        if inputs.ndim < 2 or inputs.shape[-1] != inputs.shape[-2]:
            msg = f"input_cov must have shape (*run, in, in), got {inputs.shape}"
            raise ValueError(msg)
        if cross.ndim < 2 or cross.shape[-1] != inputs.shape[-1]:
            msg = f"cross_cov must have shape (*run, out, {inputs.shape[-1]}), got {cross.shape}"
            raise ValueError(msg)
        check_input_cov(inputs)
        self._keep(inputs, cross, power, rest)
        _ = self.run_shape  # refuses run axes that do not broadcast
        self._check_bounded()
        if rest is not None:
            self._check_residual_power(rest)

    def _keep(
        self,
        input_cov: FloatArray,
        cross_cov: FloatArray,
        output_power: FloatArray,
        residual_power: FloatArray | None,
    ) -> None:
        self.__dict__.update(
            input_cov=input_cov,
            cross_cov=cross_cov,
            output_power=output_power,
            residual_power=residual_power,
        )

    @classmethod
    def from_data(
        cls, X: npt.ArrayLike, Y: npt.ArrayLike, *, center: bool = False, form: Form = "auto"
    ) -> SquaredLoss:
        """Return the loss 1/(2n) ||Y - X P^T||_F^2 of the data.

        Parameters
        ----------
        X : array_like, shape (*run, n, in)
            Inputs, one sample per row.
        Y : array_like, shape (*run, n, out), or (n,) of one output
            Outputs, one sample per row.
        center : bool, default False
            Subtract the mean over the samples from X and from Y first, as a network with a bias
            would.
        form : {"auto", "moments", "samples"}, default "auto"
            What a step of training goes through: second moments, at out * in^2 multiply-adds, or the
            samples themselves, at 2 * n * out * in. ``"auto"`` takes what is less, samples if
            ``2 n < in``; and it keeps X and Y at hand for methods that draw batches of them.

        Returns
        -------
        SquaredLoss
            Of moments, which cost O(n in (in + out)), once; or a `SampledSquaredLoss`. Both have the
            same values and gradients, to rounding.

        Raises
        ------
        TypeError
            If X or Y is not made of real numbers, or `center` is not a bool.
        ValueError
            If shapes do not match, a number is not finite, `form` is none of these, or the moments
            overflow.

        Examples
        --------
        >>> X = [[1.0, 0.0], [0.0, 2.0]]
        >>> Y = [[2.0], [2.0]]
        >>> loss = SquaredLoss.from_data(X, Y)
        >>> loss.input_cov.tolist(), loss.cross_cov.tolist(), float(loss.output_power)
        ([[0.5, 0.0], [0.0, 2.0]], [[1.0, 2.0]], 4.0)
        >>> loss.minimizer.round(12).tolist(), bool(loss.least_loss < 1e-30)
        ([[2.0, 1.0]], True)

        Fewer samples than inputs, which are kept as they are:

        >>> SquaredLoss.from_data([[1.0, 0.0, 2.0]], [[3.0]])
        SampledSquaredLoss(n_samples=1, n_inputs=3, n_outputs=1, run_shape=())
        """
        center = validate.flag("center", center)
        x, y = inputs_of("X", X), outputs_of("Y", Y)
        n_samples = x.shape[-2]
        if y.shape[-2] != n_samples:
            msg = f"X and Y must have equally many rows, got {n_samples} and {y.shape[-2]}"
            raise ValueError(msg)
        validate.broadcast_runs(X=x.shape[:-2], Y=y.shape[:-2])
        validate.choice("form", form, get_args(Form))
        if center:
            x, y = _centered(x), _centered(y)
        sampled: SquaredLoss = _sampled()(x, y)
        if form == "samples" or (form == "auto" and 2 * n_samples < x.shape[-1]):
            return sampled
        loss = SquaredLoss.__new__(SquaredLoss)
        loss._keep(
            sampled.input_cov, sampled.cross_cov, sampled.output_power, sampled.residual_power
        )
        if form == "auto":
            loss.__dict__["_samples"] = sampled
        return loss

    @classmethod
    def from_law(
        cls, law: SphericalLaw, teacher: npt.ArrayLike, *, noise_std: npt.ArrayLike = 0.0
    ) -> SquaredLoss:
        """Return the loss of a linear teacher with noise, over a law of the inputs: online regression.

        Parameters
        ----------
        law : SphericalLaw
            Law of the inputs: one of `linnet_fast.laws`.
        teacher : array_like, shape (*run, out, in)
            P_0: targets are y = P_0 x + noise_std * xi, xi standard normal.
        noise_std : array_like, shape (*run), default 0
            Standard deviation of the noise on each target, >= 0.

        Returns
        -------
        TeacherLoss
            Its value and gradient are exact means; `Batches` and `StochasticGradientDescent` draw
            fresh samples for every step.

        Raises
        ------
        TypeError, ValueError
            As of `TeacherLoss`.

        Examples
        --------
        >>> from linnet_fast import laws
        >>> loss = SquaredLoss.from_law(laws.Gaussian(2), [[3.0, 4.0]], noise_std=0.5)
        >>> loss.value([[[0.0, 0.0]], [[3.0, 4.0]]]).tolist()
        [12.625, 0.125]
        """
        made: SquaredLoss = _of_teacher()(law, teacher, noise_std)
        return made

    @classmethod
    def from_dataset(cls, data: Dataset, **options: Any) -> tuple[SquaredLoss, str]:
        """Return the loss of a data set.

        Parameters
        ----------
        data : Dataset
            Its targets are the outputs; classes are one-hot.
        **options
            ``center`` and ``form``, as of `from_data`.

        Returns
        -------
        loss, str
        """
        center = validate.flag("loss.center", options.get("center", False))
        form = options.get("form", "auto")
        validate.choice("loss.form", form, get_args(Form))
        made = cls.from_data(data.X, data.Y, center=center, form=form)
        return made, f"{data.description}, {'centred' if center else 'not centred'}"

    @classmethod
    def held_out(cls, training: Dataset, held_out: Dataset, **options: Any) -> SquaredLoss:
        """Return the loss on other samples, centred by what is known of the training."""
        x, y = held_out.X, held_out.Y
        if options.get("center", False):
            x, y = x - training.X.mean(axis=0), y - training.Y.mean(axis=0)
        return cls.from_data(x, y, form=options.get("form", "auto"))

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(along @ self.input_cov)

    def kernel_moments(self) -> KernelMoments:
        """Return the moments."""
        return KernelMoments(self.input_cov, self.cross_cov, self.output_power)

    @property
    def target_matrix(self) -> FloatArray:
        """The end-to-end matrix of least loss."""
        return self.minimizer

    def for_batches(self) -> Loss:
        """Return the loss of the samples, if they are at hand."""
        sampled: Loss | None = self.__dict__.get("_samples")
        return self if sampled is None else sampled

    def drawing(self, of: Loss) -> SquaredLoss:
        """Return the same loss, of which batches are those of another.

        Parameters
        ----------
        of : Loss
            With the same values and gradients.
        """
        loss = self._with(self.input_cov, self.cross_cov, self.residual_power)
        loss.__dict__.update(_solved=self._solved, _samples=of)
        return loss

    def spread(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the loss of runs, each of which has the data of one row; nothing is solved again."""
        loss = type(self).__new__(type(self))
        loss._keep(**self._with_rows(which, runs))
        solved = self._solved
        inner = {"factor": 1 if solved.is_diagonal else 2, "solution": 2, "explained": 0, "left": 1}
        arrays = {name: getattr(solved, name) for name in inner}
        loss.__dict__["_solved"] = solved._replace(
            **{
                name: array[which].reshape((*runs, *array.shape[1:]))
                for name, array in arrays.items()
                if array.ndim > inner[name]
            }
        )
        if (sampled := self.__dict__.get("_samples")) is not None:
            loss.__dict__["_samples"] = sampled.spread(which, runs)
        return loss

    def kinds_of_runs(self) -> npt.NDArray[np.int64]:
        """Return how many directions of the inputs each run sees; below 0 where none are turned."""
        return self._turned[0]

    @cached_property
    def _turned(self) -> tuple[npt.NDArray[np.int64], FloatArray]:
        return seen_directions(self.input_cov, self.cross_cov)

    def seen_inputs(self) -> SeenInputs | None:
        """Return the eigenvectors of `input_cov`, those of no variance last; None if there is nothing to gain."""
        kinds, columns = self._turned
        kind = int(kinds.flat[0])
        if kind < 0:
            return None
        return SeenInputs(columns, kind - self.n_inputs - 1 if kind > self.n_inputs else kind)

    def on_seen(self, seen: SeenInputs, *, draws: bool) -> Loss:  # noqa: ARG002
        """Return the loss in the directions that are seen, in which `input_cov` is diagonal."""
        columns = seen.columns[..., : seen.n_seen]
        variances = (algebra.product(self.input_cov, columns) * columns).sum(axis=-2)
        return self._diagonal(variances, algebra.product(self.cross_cov, columns))

    def _diagonal(self, variances: FloatArray, cross: FloatArray) -> SquaredLoss:
        """Return the loss of moments that are diagonal, of as little least loss."""
        cov = variances[..., None] * np.eye(variances.shape[-1])
        return self._with(cov, cross, 2 * self.least_loss)

    def _with(self, cov: FloatArray, cross: FloatArray, rest: FloatArray | None) -> SquaredLoss:
        """Return the loss of moments that follow from these, unchecked."""
        loss = SquaredLoss.__new__(SquaredLoss)
        loss._keep(cov, cross, self.output_power, rest)
        return loss

    def padded(self, n_more: int) -> Loss | None:
        """Return the loss with so many more inputs that it does not see."""
        more = (0, n_more)
        cov = np.pad(self.input_cov, [(0, 0)] * (self.input_cov.ndim - 2) + [more, more])
        cross = np.pad(self.cross_cov, [(0, 0)] * (self.cross_cov.ndim - 1) + [more])
        return self._with(cov, cross, 2 * self.least_loss)

    def along(self, basis: FloatArray) -> Loss | None:
        """Return the loss of P', where P = P' basis^T."""
        inside = algebra.cross_products(basis, algebra.product(self.input_cov, basis))
        rest = 2 * self.least_loss if basis.shape[-1] == self.n_inputs else None
        return self._with((inside + inside.mT) / 2, algebra.product(self.cross_cov, basis), rest)

    def work(self, n_inputs: int) -> float:
        """Return about how many multiply-adds a gradient takes on so many inputs."""
        each = 1 if self._solved.is_diagonal else n_inputs
        return float(n_inputs * each * self.n_outputs)

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the moments as the core takes them, and what makes the loss of a product exact."""
        name = "scales" if self._solved.is_diagonal else "factor"
        parts = {
            "input_cov": (self.input_cov, 2),
            "cross_cov": (self.cross_cov, 2),
            "minimizer": (self.minimizer, 2),
            name: (self._core_factor, 1 if self._solved.is_diagonal else 2),
            "least_loss": (self.least_loss, 0),
        }
        return {
            key: validate.over_runs(array, runs, n_inner) for key, (array, n_inner) in parts.items()
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
            The losses, least_loss + 1/2 |(P - minimizer) F^T|^2; inf beyond float64.

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
            apart = matrix - self.minimizer
            seen = (
                apart * self._solved.factor[..., None, :]
                if self._solved.is_diagonal
                else apart @ self._solved.factor.mT
            )
            value = np.asarray(self.least_loss + 0.5 * np.sum(seen * seen, axis=(-2, -1)))
        return infinite_beyond_range(value, matrix)

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

    @property
    def minimizer(self) -> FloatArray:
        """The end-to-end matrix of least loss; of several that of least norm, (*run, out, in)."""
        return self._solved.solution

    @cached_property
    def least_loss(self) -> FloatArray:
        """The loss of `minimizer`, the least that any matrix has, whatever its rank, shape (*run).

        Examples
        --------
        >>> loss = SquaredLoss.from_data([[1.0], [1.0]], [[0.0], [2.0]])
        >>> round(float(loss.least_loss), 12)
        0.5
        """
        if self.residual_power is not None:
            return 0.5 * self.residual_power
        return 0.5 * self._unexplained

    @property
    def _unexplained(self) -> FloatArray:
        """What the moments leave of `output_power`, 0 where that is rounding."""
        rest = self.output_power - self._solved.explained
        return np.where(np.abs(rest) <= 4 * _EPS * self.n_inputs * self.output_power, 0.0, rest)

    @cached_property
    def _solved(self) -> algebra.LeastSquares:
        return algebra.least_squares(self.input_cov, self.cross_cov)

    @cached_property
    def _core_factor(self) -> FloatArray:
        """The factor with rows of zeros, so many that the core can take several at once."""
        factor = self._solved.factor
        if self._solved.is_diagonal:
            return factor
        n_rows = max(_AT_ONCE, -(-factor.shape[-2] // _AT_ONCE) * _AT_ONCE)
        padded = np.zeros((*factor.shape[:-2], n_rows, self.n_inputs))
        padded[..., : factor.shape[-2], :] = factor
        return padded

    def _check_bounded(self) -> None:
        """Refuse moments of which the loss is unbounded below, which those of data never are."""
        solved = self._solved
        if not solved.left.any():
            return
        cross = validate.unbroadcast(self.cross_cov, keep=2)
        columns = np.abs(cross).max(axis=-2)
        diagonal = np.diagonal(self.input_cov, axis1=-2, axis2=-1)
        # Data have |cross v|^2 <= (v^T input_cov v) output_power for every v, and their rounding.
        power = np.maximum(validate.unbroadcast(self.output_power), solved.explained)[..., None]
        rounding = 4 * _EPS * self.n_inputs
        shown = np.sqrt(diagonal) * np.sqrt(power) + np.where(diagonal > 0, columns, 0.0)
        room = np.sqrt(rounding) * shown + rounding * columns.max(axis=-1, keepdims=True)
        if (solved.left > room).any():
            worst = float(np.where(solved.left > room, solved.left, 0.0).max())
            msg = (
                "cross_cov must be 0 where input_cov vanishes, as of data, "
                f"got {worst:.3g} there: the loss has no minimum"
            )
            raise ValueError(msg)

    def _check_residual_power(self, given: FloatArray) -> None:
        """Refuse a residual power that is not that of the moments."""
        follows = self.output_power - self._solved.explained
        size = np.maximum(self.output_power, self._solved.explained)
        if (np.abs(given - follows) > 1e-6 * size).any():
            where = int(np.argmax(np.abs(given - follows) - 1e-6 * size))
            one, other = (
                np.broadcast_to(a, np.broadcast_shapes(given.shape, follows.shape)).flat[where]
                for a in (follows, given)
            )
            msg = f"residual_power must be that of the moments, about {one:.6g}, got {other:.6g}"
            raise ValueError(msg)


def infinite_beyond_range(value: FloatArray, matrix: WeightArray) -> FloatArray:
    """Return losses with inf for a NaN that comes of infinities, of matrices that hold no NaN.

    Parameters
    ----------
    value : ndarray, shape (*run)
        The losses.
    matrix : ndarray, shape (*run, out, in)
        Whose they are.
    """
    if np.isnan(value).any():
        known = ~np.isnan(matrix).any(axis=(-2, -1))
        value = np.where(np.isnan(value) & known, np.inf, value)
    return value


def _sampled() -> Any:
    from linnet_fast.losses.sampled import SampledSquaredLoss  # noqa: PLC0415  (it is one of these)

    return SampledSquaredLoss


def _of_teacher() -> Any:
    from linnet_fast.losses.teacher import TeacherLoss  # noqa: PLC0415  (it is one of these)

    return TeacherLoss


def _centered(samples: FloatArray) -> FloatArray:
    total = algebra.cross_products(np.ones((samples.shape[-2], 1)), samples)
    return np.asarray(samples - total / samples.shape[-2])
