"""The squared loss of a linear teacher under a law of the inputs: online regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.losses.base import Loss, SeenInputs, Words
from linnet_fast.losses.sampled import SampledSquaredLoss
from linnet_fast.losses.squared import SquaredLoss


@dataclass(frozen=True, eq=False, init=False, repr=False)
class TeacherLoss(SquaredLoss):
    """Squared loss of a linear teacher with noise, over a spherically symmetric law of the inputs.

    Targets are y = P_0 x + noise_std * xi, xi standard normal. The loss of the end-to-end matrix P is
    the mean over x and xi, without sampling error, and batches are fresh samples of both::

        1/2 E |y - P x|^2 = noise_std^2 out / 2 + m2/2 |P - P_0|^2,   m2 = E x_1^2

    Parameters
    ----------
    law : SphericalLaw
        Law of the inputs: one of `linnet_fast.laws`.
    teacher : array_like, shape (*run, out, in)
        P_0, with as many inputs as the law has dimensions.
    noise_std : array_like, shape (*run), default 0
        Standard deviation of the noise on each target, >= 0.

    Attributes
    ----------
    input_cov, cross_cov, output_power, residual_power : ndarray of float64
        Of the population, as of `SquaredLoss`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, a number is not finite or out of range, moments overflow, or run axes
        do not broadcast.

    See Also
    --------
    SquaredLoss.from_law : the same.
    SphericalLogisticLoss : labels in place of targets.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = TeacherLoss(lf.laws.Gaussian(3), [[1.0, -1.0, 0.0]], noise_std=0.1)
    >>> loss
    TeacherLoss(Gaussian(dim=3, scale=1.0), n_outputs=1, run_shape=())
    >>> loss.value(np.zeros((1, 3))).round(6).item(), loss.least_loss.round(6).item()
    (1.005, 0.005)
    >>> method = lf.GradientDescent(0.05, batches=lf.Batches(16))
    >>> run = lf.train(lf.Dense((3, 1)), loss, [np.zeros((1, 3))], method=method, n_steps=500)
    >>> bool(run.loss[-1] < 0.006)
    True
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"teacher": 2, "noise_std": 0})
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"noise_std": 0.0})
    follows: ClassVar[frozenset[str]] = frozenset()
    core: ClassVar[str] = "teacher"
    supports: ClassVar[frozenset[str]] = frozenset({"stacking", "draws", "curvature"})
    data_kind: ClassVar[str | None] = None
    dataset_options: ClassVar[tuple[str, ...]] = ()

    law: SphericalLaw
    teacher: FloatArray
    noise_std: FloatArray

    def __init__(
        self, law: SphericalLaw, teacher: npt.ArrayLike, noise_std: npt.ArrayLike = 0.0
    ) -> None:
        given: object = law
        if not isinstance(given, SphericalLaw):
            msg = f"law must be one of linnet_fast.laws, got {type(given).__name__}"
            raise TypeError(msg)
        matrix = validate.real_array("teacher", teacher)
        if matrix.ndim < 2 or matrix.shape[-1] != law.dim:
            msg = f"teacher must have shape (*run, out, {law.dim}), as the law has, got {matrix.shape}"
            raise ValueError(msg)
        std = validate.real_array("noise_std", noise_std, at_least=0)
        self.__dict__.update(law=law, teacher=matrix, noise_std=std)
        _ = self.run_shape  # refuses run axes that do not broadcast
        for name, moment in (
            ("law", np.float64(law.m2)),
            ("noise_std", self.least_loss),
            ("teacher", self.output_power),
        ):
            if not np.isfinite(moment).all():
                msg = f"{name} must have moments within float64, got an overflow"
                raise ValueError(msg)

    def __repr__(self) -> str:
        """Show the law and sizes."""
        return f"TeacherLoss({self.law}, n_outputs={self.n_outputs}, run_shape={self.run_shape})"

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.law.dim

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.teacher.shape[-2])

    @cached_property  # type: ignore[misc]
    def input_cov(self) -> FloatArray:
        """Second moment E x x^T of the inputs, (in, in)."""
        return self.law.m2 * np.eye(self.law.dim)

    @cached_property  # type: ignore[misc]
    def cross_cov(self) -> FloatArray:
        """Cross moment E y x^T, (*run, out, in)."""
        return self.law.m2 * self.teacher

    @cached_property  # type: ignore[misc]
    def output_power(self) -> FloatArray:
        """Mean square of the targets, shape (*run)."""
        with np.errstate(over="ignore"):
            squares = np.sum(self.teacher * self.teacher, axis=(-2, -1))
            return np.asarray(self.law.m2 * squares + self.residual_power)

    @property  # type: ignore[misc]
    def residual_power(self) -> FloatArray:
        """Mean square of the noise, shape (*run)."""
        with np.errstate(over="ignore"):
            return np.asarray(self.n_outputs * self.noise_std * self.noise_std)

    @property
    def minimizer(self) -> FloatArray:
        """The teacher, (*run, out, in)."""
        return self.teacher

    @cached_property
    def least_loss(self) -> FloatArray:
        """Half the mean square of the noise, shape (*run)."""
        return np.asarray(0.5 * self.residual_power)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices, of the population.

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
            apart = matrix - self.teacher
            return np.asarray(
                self.least_loss + 0.5 * self.law.m2 * np.sum(apart * apart, axis=(-2, -1))
            )

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the end-to-end matrix, m2 (P - P_0).

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
        with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32, too
            gradient: WeightArray = (matrix - self.teacher.astype(dtype)) * dtype.type(self.law.m2)
        return gradient

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        return np.asarray(self.law.m2 * along)

    def kinds_of_runs(self) -> npt.NDArray[np.int64]:
        """Return one for all."""
        return Loss.kinds_of_runs(self)

    @property
    def population(self) -> Loss:
        """The loss itself."""
        return self

    def seen_inputs(self) -> SeenInputs | None:
        """Return None: a law has all directions of the inputs, and each like the others."""
        return None

    def spread(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the loss of runs, each of which has the data of one row."""
        return Loss.spread(self, which, runs)

    def padded(self, n_more: int) -> Loss | None:  # noqa: ARG002
        """Return None: inputs that are not seen have no law."""
        return None

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the teacher and numbers of law and noise as the core takes them."""
        numbers = {
            "noise_std": self.noise_std,
            "second_moment": np.array(self.law.m2),
            "least_loss": self.least_loss,
        }
        return {
            "teacher": validate.over_runs(self.teacher, runs, 2),
            **{name: validate.over_runs(array, runs, 0) for name, array in numbers.items()},
        }

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return self.law.core_draws()

    @property
    def fresh_noise_std(self) -> FloatArray:
        """Standard deviation of the noise on targets."""
        return self.noise_std

    def drawn(self, n: int, words: Words) -> SampledSquaredLoss:
        """Return the squared loss on `n` fresh samples of the law, their targets without noise."""
        x = self.law.drawn(n, words)
        return SampledSquaredLoss(x, x @ self.teacher.T)
