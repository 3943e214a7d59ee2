"""The squared loss, from samples that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss, SeenInputs
from linnet_fast.losses.columns import columns, core_samples
from linnet_fast.losses.given import inputs_of, outputs_of
from linnet_fast.losses.squared import SquaredLoss, infinite_beyond_range

_MOST_SAMPLES = 256  # whose singular vectors are worth their while
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SampledSquaredLoss(SquaredLoss):
    """Squared loss 1/(2n) sum |y - P x|^2 of a linear map, from samples that are kept.

    A step costs O(n in out): less than by second moments where ``2 n < in``. Batches of the samples
    can be drawn. Its second moments are worked out when they are asked for.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    outputs : array_like, shape (*run, n, out), or (n,) of one output
        What the network is to make of them.

    Attributes
    ----------
    inputs, outputs : ndarray of float64
        Read-only views of the arguments.
    input_cov, cross_cov, output_power, residual_power : ndarray of float64
        As of `SquaredLoss`.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, or run axes do not broadcast.

    See Also
    --------
    SquaredLoss.from_data : it chooses by the sizes, and centres the data.

    Examples
    --------
    >>> loss = SampledSquaredLoss([[1.0, 0.0, 2.0]], [[3.0]])
    >>> loss.value([[[0.0, 0.0, 0.0]], [[1.0, 5.0, 1.0]]]).tolist()
    [4.5, 0.0]
    >>> loss.input_cov.tolist()
    [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 4.0]]
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"inputs": 2, "outputs": 2})
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({})
    core: ClassVar[str] = "squared_samples"
    of_inputs: ClassVar[str | None] = "inputs"
    supports: ClassVar[frozenset[str]] = frozenset(
        {"modes", "stacking", "draws", "target_noise", "curvature"}
    )
    data_kind: ClassVar[str | None] = None

    inputs: FloatArray
    outputs: FloatArray

    def __init__(self, inputs: npt.ArrayLike, outputs: npt.ArrayLike) -> None:
        x, y = inputs_of("inputs", inputs), outputs_of("outputs", outputs)
        if y.shape[-2] != x.shape[-2]:
            got = f"{x.shape[-2]} and {y.shape[-2]}"
            msg = f"inputs and outputs must have equally many rows, got {got}"
            raise ValueError(msg)
        object.__setattr__(self, "inputs", x)
        object.__setattr__(self, "outputs", y)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show sizes; the data themselves are too long to show."""
        return (
            f"SampledSquaredLoss(n_samples={self.n_samples}, n_inputs={self.n_inputs}, "
            f"n_outputs={self.n_outputs}, run_shape={self.run_shape})"
        )

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.inputs.shape[-2])

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.inputs.shape[-1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.outputs.shape[-1])

    @cached_property  # type: ignore[misc]
    def input_cov(self) -> FloatArray:
        """Second moment X^T X / n of the inputs, (*run, in, in)."""
        return _moment(self.inputs, self.inputs)

    @cached_property  # type: ignore[misc]
    def cross_cov(self) -> FloatArray:
        """Cross moment Y^T X / n, (*run, out, in)."""
        return _moment(self.outputs, self.inputs)

    @cached_property  # type: ignore[misc]
    def output_power(self) -> FloatArray:
        """Mean square of the outputs, shape (*run)."""
        return _power(self.outputs)

    @cached_property  # type: ignore[misc]
    def residual_power(self) -> FloatArray:
        """Mean square of what no matrix explains, shape (*run)."""
        runs = self.run_shape
        predicted = algebra.product(
            np.broadcast_to(self.inputs, (*runs, *self.inputs.shape[-2:])), self.minimizer.mT
        )
        return _power(self.outputs - predicted)

    def seen_inputs(self) -> SeenInputs | None:
        """Return the principal directions of the inputs, if there are fewer samples than inputs."""
        known: SeenInputs | None = self._seen
        return known

    @cached_property
    def _seen(self) -> SeenInputs | None:
        seen = Loss.seen_inputs(self)
        if seen is None or seen.n_seen > _MOST_SAMPLES:
            return seen
        # The inputs are small^T columns^T: turned by their left vectors, they are orthogonal.
        small = algebra.product(validate.unbroadcast(self.inputs, keep=2), seen.columns)
        _, _, right = algebra.svd(small)
        return SeenInputs(algebra.product(seen.columns, right.mT), seen.n_seen)

    def kinds_of_runs(self) -> npt.NDArray[np.int64]:
        """Return one for all."""
        return Loss.kinds_of_runs(self)

    def spread(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the loss of runs, each of which has the data of one row."""
        return Loss.spread(self, which, runs)

    def padded(self, n_more: int) -> Loss | None:
        """Return the loss with so many more inputs, which are 0."""
        return Loss.padded(self, n_more)

    def on_seen(self, seen: SeenInputs, *, draws: bool) -> Loss:
        """Return the loss of so many samples, of which moments do where none are drawn."""
        if draws or seen.n_seen > _MOST_SAMPLES:
            return Loss.on_seen(self, seen, draws=draws)
        inputs = algebra.product(self.inputs, seen.columns[..., : seen.n_seen])
        cross = _moment(self.outputs, inputs)
        variances = np.sum(inputs * inputs, axis=-2) / self.n_samples
        # Of samples that depend on each other some directions are rounding, and nothing is learned there.
        is_rounding = np.sqrt(variances) <= 4 * self.n_samples * _EPS * np.sqrt(
            variances.max(axis=-1, keepdims=True)
        )
        variances = np.where(is_rounding, 0.0, variances)
        cross = np.where(is_rounding[..., None, :], 0.0, cross)
        return self._diagonal(variances, cross)

    def along(self, basis: FloatArray) -> Loss | None:
        """Return the loss of P', where P = P' basis^T."""
        return Loss.along(self, basis)

    def work(self, n_inputs: int) -> float:
        """Return about how many multiply-adds a gradient takes on so many inputs."""
        return Loss.work(self, n_inputs)

    def for_batches(self) -> SampledSquaredLoss:
        """Return the loss itself."""
        return self

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the samples as the core takes them."""
        inputs, outputs = self._columns
        return core_samples(inputs, outputs, self.n_samples, runs, dtype)

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the samples themselves."""
        return 0, [1.0], [1.0]

    @property
    def n_choices(self) -> int:
        """How many samples there are to choose from."""
        return self.n_samples

    def chosen(self, index: npt.NDArray[np.int64]) -> SampledSquaredLoss:
        """Return the loss on the samples at some places."""
        return SampledSquaredLoss(self.inputs[index], self.outputs[index])

    def with_noise(self, noise: FloatArray) -> SampledSquaredLoss:
        """Return the loss with noise, shape (n, out), on the outputs of a single run."""
        return SampledSquaredLoss(self.inputs, self.outputs + noise)

    @cached_property
    def _columns(self) -> tuple[FloatArray, FloatArray]:
        return columns(self.inputs), columns(self.outputs)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
            The losses; inf beyond float64.
        """
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = self.inputs @ matrix.mT - self.outputs
            value = np.asarray(0.5 * np.sum(apart * apart, axis=(-2, -1)) / self.n_samples)
        return infinite_beyond_range(value, matrix)

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the end-to-end matrix, (X P^T - Y)^T X / n.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
            In the precision of `product`, if that is a floating-point one.
        """
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        dtype = np.result_type(matrix, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            x, y = self.inputs.astype(dtype), self.outputs.astype(dtype)
            gradient: WeightArray = ((x @ matrix.mT - y).mT @ x) / dtype.type(self.n_samples)
        return gradient

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        with np.errstate(over="ignore", invalid="ignore"):
            seen = self.inputs @ along.mT
            return np.asarray(seen.mT @ self.inputs / self.n_samples)

    @property
    def minimizer(self) -> FloatArray:
        """The end-to-end matrix of least loss; of several that of least norm, (*run, out, in)."""
        return self._minimizer

    @cached_property
    def _minimizer(self) -> FloatArray:
        if self.n_samples < self.n_inputs:
            # Independent samples are met exactly, by P = A X with A X X^T = Y^T.
            runs = self.run_shape
            inputs = np.broadcast_to(self.inputs, (*runs, *self.inputs.shape[-2:]))
            gram = algebra.product(inputs, inputs.mT)
            known = algebra.least_squares(gram, self.outputs.mT)
            if known.has_full_rank:
                return algebra.product(known.solution, inputs)
        return self._solved.solution


def _moment(first: FloatArray, second: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        moment = algebra.cross_products(first, second) / first.shape[-2]
    return _finite(moment)


def _finite(moment: FloatArray) -> FloatArray:
    if not np.isfinite(moment).all():
        msg = "X and Y must have moments within float64, got an overflow; rescale the data"
        raise ValueError(msg)
    return moment


def _power(outputs: FloatArray) -> FloatArray:
    flat = outputs.reshape(*outputs.shape[:-2], -1, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        power = algebra.cross_products(flat, flat)[..., 0, 0] / outputs.shape[-2]
    return _finite(power)
