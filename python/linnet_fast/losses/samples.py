"""Losses of samples with labels 1 and -1."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.laws.draws import chosen
from linnet_fast.losses.base import Words
from linnet_fast.losses.binary import BinaryLoss

if TYPE_CHECKING:
    from linnet_fast.datasets import Dataset

_BLOCK = 16
"""The core takes samples in blocks of so many; the last one is filled up with zeros."""


class SampleLoss(BinaryLoss):
    """The mean over samples of a function of the margin y x . w."""

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"inputs": 2, "labels": 1, "label_noise": 0}
    )
    supports: ClassVar[frozenset[str]] = frozenset({"margin", "draws"})
    dataset_options: ClassVar[tuple[str, ...]] = ("label_noise",)

    inputs: FloatArray
    labels: FloatArray

    def __init__(
        self, inputs: npt.ArrayLike, labels: npt.ArrayLike, label_noise: npt.ArrayLike = 0.0
    ) -> None:
        x, y = validate.labelled(inputs, labels)
        object.__setattr__(self, "inputs", x)
        object.__setattr__(self, "labels", y)
        self._set_noise(label_noise)
        _ = self.run_shape  # refuses run axes that do not broadcast

    @classmethod
    def from_data(
        cls, X: npt.ArrayLike, y: npt.ArrayLike, *, label_noise: npt.ArrayLike = 0.0
    ) -> Self:
        """Return the loss of data.

        Parameters
        ----------
        X : array_like, shape (*run, n, in)
            Samples, one per row.
        y : array_like, shape (*run, n)
            Labels, 1 or -1.
        label_noise : array_like, shape (*run), default 0
            How likely a label is the other one.

        Returns
        -------
        LogisticLoss or ExponentialLoss
        """
        return cls(X, y, label_noise)

    @classmethod
    def from_dataset(cls, data: Dataset, **options: Any) -> tuple[Self, str]:
        """Return the loss of a data set of two classes, or of labels 1 and -1.

        Parameters
        ----------
        data : Dataset
            Of two classes, the second is 1; or with one column of targets.
        **options
            ``label_noise``.

        Returns
        -------
        loss, str

        Raises
        ------
        ValueError
            If there are more classes, or targets are neither 1 nor -1.
        """
        labels = data.Y
        if labels.shape[1] == 2 and (labels.sum(axis=1) == 1).all():
            labels = labels[:, 1:] - labels[:, :1]
        if labels.shape[1] != 1:
            expected = "two classes or labels 1 and -1"
            msg = f"loss.data must have {expected} for {cls.__name__}, got {data.description}"
            raise ValueError(msg)
        made = cls.from_data(data.X, labels[:, 0], **options)
        return made, f"{data.description}, labels 1 and -1"

    def _sizes(self) -> str:
        return f"n_samples={self.n_samples}, n_inputs={self.n_inputs}"

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.inputs.shape[-1])

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.inputs.shape[-2])

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the samples as the core takes them, in single precision besides where it is used."""
        single = None
        if dtype == np.float32:
            stored = validate.unbroadcast(self._columns, keep=2)
            single = np.broadcast_to(stored.astype(np.float32), self._columns.shape)
            single = validate.over_runs(single, runs, 2)
        return {
            "n_samples": self.n_samples,
            "inputs": validate.over_runs(self._columns, runs, 2),
            "single_inputs": single,
            "label_noise": self._core_noise(runs),
        }

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the samples themselves."""
        return 0, [1.0], [1.0]

    def drawn(self, n: int, words: Words) -> Self:
        """Return the loss on `n` of the samples, drawn with replacement."""
        index = chosen(words, n, self.n_samples)
        return type(self)(self.inputs[index], self.labels[index], self.label_noise)

    @cached_property
    def _columns(self) -> FloatArray:
        """Inputs times labels as the core takes them: (*run, in, n) with n filled up by zeros."""
        y = self.labels[..., None]
        x = validate.unbroadcast(self.inputs, keep=2)
        signed = validate.unbroadcast(y, keep=2) * x
        stride = -(-self.n_samples // _BLOCK) * _BLOCK
        columns = np.zeros((*signed.shape[:-2], self.n_inputs, stride))
        columns[..., : self.n_samples] = signed.mT
        runs = np.broadcast_shapes(self.inputs.shape[:-2], self.labels.shape[:-1])
        return np.broadcast_to(columns, (*runs, *columns.shape[-2:]))

    def margins(self, product: npt.ArrayLike) -> FloatArray:
        """Return the margins y x . w of all samples, not divided by the norm of w.

        Parameters
        ----------
        product : array_like, shape (*batch, 1, in)
            End-to-end matrices w^T; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, n)
        """
        w = self._rows(product)
        margins: FloatArray = (self.inputs @ w[..., None])[..., 0] * self.labels
        return margins

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, 1, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(1, in)`` or the others do not broadcast.
        """
        m, p = self.margins(product), self.label_noise[..., None]
        with np.errstate(over="ignore", invalid="ignore"):
            one = self._of_margin(m)
            kept = np.where(p < 1, (1 - p) * one, 0.0)  # infinite values have no part of 0
            values = np.where(p > 0, kept + p * self._of_margin(-m), one)
        return np.asarray(values.mean(axis=-1))

    def gradient(self, product: npt.ArrayLike) -> FloatArray:
        """Return the gradient of the loss by the end-to-end matrix.

        Parameters
        ----------
        product : array_like, shape (*batch, 1, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, 1, in)
        """
        m, p = self.margins(product), self.label_noise[..., None]
        with np.errstate(over="ignore", invalid="ignore"):
            one = self._slope(m)
            kept = np.where(p < 1, (1 - p) * one, 0.0)
            slopes = np.where(p > 0, kept - p * self._slope(-m), one)
        mean = ((slopes * self.labels)[..., None, :] @ self.inputs) / self.n_samples
        return np.asarray(mean)

    @abstractmethod
    def _of_margin(self, margin: FloatArray) -> FloatArray:
        """Return the loss of margins."""

    @abstractmethod
    def _slope(self, margin: FloatArray) -> FloatArray:
        """Return its derivative."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LogisticLoss(SampleLoss):
    """Mean logistic loss log(1 + e^(-y x . w)) of samples with labels 1 and -1: cross-entropy.

    w is the end-to-end vector of a network with one output and no bias. The data are shared by all
    runs that see the same, and never copied per run.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    labels : array_like, shape (*run, n)
        1 or -1.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1: the loss is its mean over such flips.

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
        return np.asarray(-expit(-margin))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ExponentialLoss(SampleLoss):
    """Mean exponential loss e^(-y x . w) of samples with labels 1 and -1.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    labels : array_like, shape (*run, n)
        1 or -1.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1: the loss is its mean over such flips.

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
