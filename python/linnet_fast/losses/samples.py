"""Losses of samples with labels 1 and -1, one for each output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import foreign, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.base import KernelMoments
from linnet_fast.losses.binary import BinaryLoss
from linnet_fast.losses.columns import columns, core_samples
from linnet_fast.losses.given import signs_of

if TYPE_CHECKING:
    from linnet_fast.datasets.kinds import Dataset


class SampleLoss(BinaryLoss):
    """The mean over samples of a function of the margins y z of outputs z, summed over outputs."""

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"inputs": 2, "labels": 1, "label_noise": 0}
    )
    of_inputs: ClassVar[str | None] = "inputs"
    supports: ClassVar[frozenset[str]] = frozenset({"margin", "draws", "curvature"})
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"n_outputs": 1})
    data_kind: ClassVar[str | None] = "samples"
    dataset_options: ClassVar[tuple[str, ...]] = ("label_noise",)

    inputs: FloatArray
    labels: FloatArray

    def __init__(
        self,
        inputs: npt.ArrayLike,
        labels: npt.ArrayLike,
        label_noise: npt.ArrayLike = 0.0,
        n_outputs: int = 1,
    ) -> None:
        n = validate.integer("n_outputs", n_outputs, low=1, high=2**31 - 1)
        x, y = foreign.data("inputs", inputs), signs_of("labels", labels)
        x, y = validate.labelled(x, y, n, names=("inputs", "labels"))
        self.__dict__.update(inputs=x, labels=y, _n_outputs=n)
        if n > 1:
            self.__dict__["inner_axes"] = MappingProxyType({**self.inner_axes, "labels": 2})
        self._set_noise(label_noise)
        _ = self.run_shape  # refuses run axes that do not broadcast

    @classmethod
    def from_data(
        cls,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        labels: Sequence[Any] | None = None,
        label_noise: npt.ArrayLike = 0.0,
    ) -> Self:
        """Return the loss of data.

        Parameters
        ----------
        X : array_like, shape (*run, n, in)
            Samples, one per row.
        y : array_like, shape (*run, n), or (n, out) with X of shape (n, in)
            Labels, 1 or -1; or truth values, of which True is 1.
        labels : sequence of two, optional
            What `y` has in place of -1 and 1, in this order: ``(0, 1)``, ``("no", "yes")``.
        label_noise : array_like, shape (*run), default 0
            How likely a label is the other one.

        Returns
        -------
        LogisticLoss or ExponentialLoss
            Of one output, or of as many as `y` has columns.

        Raises
        ------
        TypeError, ValueError
            If an argument is of a wrong type or shape, or a label is none of the two.

        Examples
        --------
        >>> LogisticLoss.from_data([[1.0, 0.0], [0.0, 2.0]], [1, 0], labels=(0, 1)).labels.tolist()
        [1.0, -1.0]
        """
        x, signs = foreign.data("X", X), signs_of("y", y, labels)
        several = x.ndim == signs.ndim == 2 and len(x) == len(signs)
        if several and signs.shape[1] == 1:
            signs = signs[:, 0]
        n_outputs = signs.shape[1] if several and signs.ndim == 2 else 1
        samples = validate.labelled(x, signs, n_outputs, remedy="labels=(0, 1)")
        return cls(*samples, label_noise, n_outputs)

    @classmethod
    def from_dataset(cls, data: Dataset, **options: Any) -> tuple[Self, str]:
        """Return the loss of a data set: of two classes, or of labels 1 and -1, one output.

        Parameters
        ----------
        data : Dataset
            Of classes: of two, the second is 1; of more, each has an output of its own, 1 for its
            samples and -1 for all others. Or with targets of 1 and -1.
        **options
            ``label_noise``.

        Returns
        -------
        loss, str

        Raises
        ------
        ValueError
            If targets are neither classes nor 1 and -1.
        """
        labels = data.Y
        text = "labels 1 and -1"
        if np.isin(labels, (0.0, 1.0)).all() and (labels.sum(axis=1) == 1).all():
            if labels.shape[1] == 2:
                labels = labels[:, 1:] - labels[:, :1]
            else:
                labels = 2 * labels - 1
                text = "a label of 1 and -1 for each class"
        if not (np.abs(labels) == 1).all():
            expected = "classes or labels 1 and -1"
            msg = f"loss.data must have {expected} for {cls.__name__}, got {data.description}"
            raise ValueError(msg)
        made = cls.from_data(data.X, labels, **options)
        return made, f"{data.description}, {text}"

    @classmethod
    def held_out(cls, training: Dataset, held_out: Dataset, **options: Any) -> Self:  # noqa: ARG003
        """Return the loss on other samples, whose labels are those given."""
        return cls.from_dataset(held_out)[0]

    def _sizes(self) -> str:
        outputs = "" if self.n_outputs == 1 else f", n_outputs={self.n_outputs}"
        return f"n_samples={self.n_samples}, n_inputs={self.n_inputs}{outputs}"

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.inputs.shape[-1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        n: int = self.__dict__["_n_outputs"]
        return n

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.inputs.shape[-2])

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the samples as the core takes them, and label noise."""
        inputs, labels = self._columns
        return {
            **core_samples(inputs, labels, self.n_samples, runs, dtype),
            "label_noise": self._core_noise(runs),
        }

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the samples themselves."""
        return 0, [1.0], [1.0]

    @property
    def n_choices(self) -> int:
        """How many samples there are to choose from."""
        return self.n_samples

    def chosen(self, index: npt.NDArray[np.int64]) -> Self:
        """Return the loss on the samples at some places."""
        return type(self)(self.inputs[index], self.labels[index], self.label_noise, self.n_outputs)

    @property
    def _table(self) -> FloatArray:
        """Labels with an axis of outputs, (*run, n, out)."""
        return self.labels[..., None] if self.n_outputs == 1 else self.labels

    @cached_property
    def _columns(self) -> tuple[FloatArray, FloatArray]:
        return columns(self.inputs), columns(self._table)

    def margins(self, product: npt.ArrayLike) -> FloatArray:
        """Return the margins y z of all samples.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, n) of one output, else (*batch, n * out)

        Examples
        --------
        >>> LogisticLoss.from_data([[1.0, 0.0], [0.0, 2.0]], [1, -1]).margins([[3.0, 1.0]]).tolist()
        [3.0, -2.0]
        """
        margins = self._margins(product)
        return margins.reshape(*margins.shape[:-2], -1)

    def _margins(self, product: npt.ArrayLike) -> FloatArray:
        """Return the margins, (*batch, n, out)."""
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.inputs @ np.asarray(matrix, np.float64).mT
            return np.asarray(outputs * self._table)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(out, in)`` or the others do not broadcast.
        """
        m, p = self._margins(product), self.label_noise[..., None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            one = self._of_margin(m)
            kept = np.where(p < 1, (1 - p) * one, 0.0)  # infinite values have no part of 0
            values = np.where(p > 0, kept + p * self._of_margin(-m), one)
        return np.asarray(values.sum(axis=-1).mean(axis=-1))

    def gradient(self, product: npt.ArrayLike) -> FloatArray:
        """Return the gradient of the loss by the end-to-end matrix.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, out, in)
        """
        m, p = self._margins(product), self.label_noise[..., None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            one = self._slope(m)
            kept = np.where(p < 1, (1 - p) * one, 0.0)
            slopes = np.where(p > 0, kept - p * self._slope(-m), one)
        mean = ((slopes * self._table).mT @ self.inputs) / self.n_samples
        return np.asarray(mean)

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:
        m, p = self._margins(product), self.label_noise[..., None, None]
        moved = self._margins(along)  # labels are 1 or -1
        with np.errstate(over="ignore", invalid="ignore"):
            one = self._bend(m)
            kept = np.where(p < 1, (1 - p) * one, 0.0)
            bent = np.where(p > 0, kept + p * self._bend(-m), one) * moved
        return np.asarray((bent * self._table).mT @ self.inputs / self.n_samples)

    def kernel_moments(self) -> KernelMoments:
        """Return second moments of inputs and labels."""
        y, n = self._table, self.n_samples
        power = np.sum(np.square(y), axis=(-2, -1)) / n
        return KernelMoments(self.inputs.mT @ self.inputs / n, y.mT @ self.inputs / n, power)

    @abstractmethod
    def _of_margin(self, margin: FloatArray) -> FloatArray:
        """Return the loss of margins."""

    @abstractmethod
    def _slope(self, margin: FloatArray) -> FloatArray:
        """Return its derivative."""

    @abstractmethod
    def _bend(self, margin: FloatArray) -> FloatArray:
        """Return its second derivative."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LogisticLoss(SampleLoss):
    """Mean logistic loss log(1 + e^(-y x . w)) of samples with labels 1 and -1: cross-entropy.

    w is the end-to-end vector of a network with one output and no bias; of several outputs the loss
    is the sum of theirs, each with labels of its own. The data are shared by all runs that see the
    same, and never copied per run.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    labels : array_like, shape (*run, n), or (*run, n, n_outputs) where that is not 1
        1 or -1.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1: the loss is its mean over such flips.
    n_outputs : int, default 1
        Number of outputs.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, a label is neither 1 nor -1, or run axes do
        not broadcast.

    See Also
    --------
    SphericalLogisticLoss : the mean over a spherically symmetric law of the inputs.

    Examples
    --------
    >>> loss = LogisticLoss.from_data([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], [1, 1, -1])
    >>> loss
    LogisticLoss(n_samples=3, n_inputs=2, run_shape=())
    >>> loss.value([[[0.0, 0.0]], [[3.0, 1.0]]]).round(4).tolist()
    [0.6931, 0.1008]
    """

    inputs: FloatArray
    labels: FloatArray
    label_noise: FloatArray
    core: ClassVar[str] = "logistic"

    def _of_margin(self, margin: FloatArray) -> FloatArray:
        return np.logaddexp(0, -margin)

    def _slope(self, margin: FloatArray) -> FloatArray:
        return np.asarray(-scipy.special.expit(-margin))

    def _bend(self, margin: FloatArray) -> FloatArray:
        return np.asarray(scipy.special.expit(margin) * scipy.special.expit(-margin))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ExponentialLoss(SampleLoss):
    """Mean exponential loss e^(-y x . w) of samples with labels 1 and -1, summed over outputs.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    labels : array_like, shape (*run, n), or (*run, n, n_outputs) where that is not 1
        1 or -1.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1: the loss is its mean over such flips.
    n_outputs : int, default 1
        Number of outputs.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite, a label is neither 1 nor -1, or run axes do
        not broadcast.

    Examples
    --------
    >>> loss = ExponentialLoss.from_data([[1.0, 0.0], [0.0, 2.0]], [1, -1])
    >>> loss.value([[0.0, -1.0]]).round(4).item()
    0.5677
    """

    inputs: FloatArray
    labels: FloatArray
    label_noise: FloatArray
    core: ClassVar[str] = "exponential"

    def _of_margin(self, margin: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-margin))

    def _slope(self, margin: FloatArray) -> FloatArray:
        return np.asarray(-np.exp(-margin))

    def _bend(self, margin: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-margin))
