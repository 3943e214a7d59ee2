"""Losses of networks with one output for labels 1 and -1: on samples, or under a law of the inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.laws.spherical import SphericalLaw
from linnet_fast.losses.squared import SquaredLoss

_BLOCK = 16
"""The core takes samples in blocks of so many; the last one is filled up with zeros."""


class _BinaryLoss(ABC):
    """What losses of one output have in common."""

    label_noise: FloatArray

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs, 1."""
        return 1

    @property
    @abstractmethod
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the arguments."""

    def _set_noise(self, label_noise: npt.ArrayLike) -> None:
        noise = validate.real_array("label_noise", label_noise, at_least=0)
        validate.refuse("label_noise", "<= 1", noise, noise > 1)
        object.__setattr__(self, "label_noise", noise)

    def _rows(self, product: npt.ArrayLike) -> FloatArray:
        """Return products (*batch, 1, in) as their rows (*batch, in)."""
        matrix = validate.products(product, (1, self.n_inputs), self.run_shape)
        return np.asarray(matrix[..., 0, :], np.float64)

    def __repr__(self) -> str:
        """Show sizes; the data themselves are too long to show."""
        noise = f", label_noise={self.label_noise:g}" if self.label_noise.ndim == 0 else ""
        return (
            f"{type(self).__name__}({self._sizes()}{'' if noise.endswith('=0') else noise}, "
            f"run_shape={self.run_shape})"
        )

    @abstractmethod
    def _sizes(self) -> str:
        """Return what tells the data apart, as text."""


class _SampleLoss(_BinaryLoss):
    """The mean over samples of a function of the margin y x . w."""

    inputs: FloatArray
    labels: FloatArray
    kind: ClassVar[str]

    def __init__(
        self, inputs: npt.ArrayLike, labels: npt.ArrayLike, label_noise: npt.ArrayLike = 0.0
    ) -> None:
        x = validate.real_array("X", inputs)
        y = validate.real_array("y", labels)
        if x.ndim < 2:
            msg = f"X must have shape (*run, n, in), got {x.shape}"
            raise ValueError(msg)
        if y.ndim < 1 or y.shape[-1] != x.shape[-2]:
            msg = f"y must have shape (*run, {x.shape[-2]}), one label per row of X, got {y.shape}"
            raise ValueError(msg)
        validate.refuse("y", "made of labels 1 and -1", y, np.abs(y) != 1)
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

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of inputs, labels and label noise."""
        return validate.broadcast_runs(
            X=self.inputs.shape[:-2], y=self.labels.shape[:-1], label_noise=self.label_noise.shape
        )

    @cached_property
    def columns(self) -> FloatArray:
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
class LogisticLoss(_SampleLoss):
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
    kind: ClassVar[str] = "logistic"

    def _of_margin(self, margin: FloatArray) -> FloatArray:
        return np.logaddexp(0, -margin)

    def _slope(self, margin: FloatArray) -> FloatArray:
        return np.asarray(-expit(-margin))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ExponentialLoss(_SampleLoss):
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
    kind: ClassVar[str] = "exponential"

    def _of_margin(self, margin: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-margin))

    def _slope(self, margin: FloatArray) -> FloatArray:
        return np.asarray(-np.exp(-margin))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SphericalLogisticLoss(_BinaryLoss):
    """Mean logistic loss over a spherically symmetric law of x, with labels sgn(v . x).

    It is known in closed form but for functions of the norm of w, so that a training step costs
    O(in) and has no sampling error::

        loss(w) = kappa (|w| - v . w) + H(|w|),   -dloss/dw = kappa v - q(|w|) w / |w|

    Parameters
    ----------
    direction : array_like, shape (*run, in)
        v, of any length but 0: it is divided by its norm.
    law : SphericalLaw
        Law of the inputs: one of `linnet_fast.laws`, with as many dimensions as v.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1.

    Attributes
    ----------
    direction : ndarray of float64, shape (*run, in)
        v, of norm 1.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, a direction is zero, a number is not finite or out of range, or run
        axes do not broadcast.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> from linnet_fast import laws
    >>> loss = SphericalLogisticLoss([0.0, 2.0], laws.Gaussian(2))
    >>> loss
    SphericalLogisticLoss(Gaussian(dim=2, scale=1.0), run_shape=())
    >>> loss.value([[0.0, 1.0]]).round(6).item()
    0.407117
    """

    direction: FloatArray
    law: SphericalLaw
    label_noise: FloatArray

    def __init__(
        self, direction: npt.ArrayLike, law: SphericalLaw, label_noise: npt.ArrayLike = 0.0
    ) -> None:
        v = validate.real_array("direction", direction)
        given: object = law
        if not isinstance(given, SphericalLaw):
            msg = f"law must be one of linnet_fast.laws, got {type(given).__name__}"
            raise TypeError(msg)
        if v.ndim < 1 or v.shape[-1] != law.dim:
            msg = f"direction must have shape (*run, {law.dim}), as the law has, got {v.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "direction", unit_vectors("direction", v))
        object.__setattr__(self, "law", law)
        self._set_noise(label_noise)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _sizes(self) -> str:
        return repr(self.law)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.law.dim

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of direction and label noise."""
        return validate.broadcast_runs(
            direction=self.direction.shape[:-1], label_noise=self.label_noise.shape
        )

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
        w = self._rows(product)
        r = np.linalg.norm(w, axis=-1)
        # r - v . w would cancel where w is nearly aligned.
        apart = np.sum(np.square(w - r[..., None] * self.direction), axis=-1)
        short_of = apart / (2 * np.where(r > 0, r, 1.0))
        p = self.label_noise
        total = (1 - 2 * p) * short_of + 2 * p * r
        return np.asarray(self.law.kappa * total + self.law._radial.loss(r))

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
        w = self._rows(product)
        r = np.linalg.norm(w, axis=-1)[..., None]
        unit = w / np.where(r > 0, r, 1.0)
        target = (1 - 2 * self.label_noise)[..., None] * self.direction
        q, h, kappa = self.law._radial.q(r), self.law._radial.h(r), self.law.kappa
        small, large = q * unit - kappa * target, kappa * (unit - target) - h * unit
        return np.where(q < h, small, large)[..., None, :]


Loss: TypeAlias = SquaredLoss | LogisticLoss | ExponentialLoss | SphericalLogisticLoss
"""A loss that `linnet_fast.train` takes."""

LOSSES: tuple[type[Any], ...] = (
    SquaredLoss,
    LogisticLoss,
    ExponentialLoss,
    SphericalLogisticLoss,
)


def checked_loss(loss: object) -> Loss:
    """Return `loss`, which must be one of the losses that can be trained on."""
    if not isinstance(loss, SquaredLoss | LogisticLoss | ExponentialLoss | SphericalLogisticLoss):
        names = ", ".join(kind.__name__ for kind in LOSSES)
        msg = f"loss must be one of {names}, got {type(loss).__name__}"
        raise TypeError(msg)
    return loss


def unit_vectors(name: str, vectors: FloatArray) -> FloatArray:
    """Return vectors divided by their norms, which must not be 0."""
    size = np.abs(vectors).max(axis=-1, keepdims=True)
    validate.refuse(f"largest entry of {name}", "> 0", size[..., 0], size[..., 0] == 0)
    scaled = vectors / size
    scale = np.linalg.norm(scaled, axis=-1, keepdims=True)
    # Once of norm 1 to rounding they stay as they are, also when a file is read.
    is_unit = np.abs(size * scale - 1) <= 4 * np.finfo(np.float64).eps
    unit: FloatArray = np.where(is_unit, vectors, scaled / scale)
    unit.flags.writeable = False
    return unit
