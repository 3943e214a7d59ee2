"""Cross-entropy of classes by softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import foreign, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.base import KernelMoments, Loss
from linnet_fast.losses.columns import columns, core_samples
from linnet_fast.losses.given import inputs_of

if TYPE_CHECKING:
    from linnet_fast.datasets.kinds import Dataset


@dataclass(frozen=True, eq=False, init=False, repr=False)
class CrossEntropyLoss(Loss):
    """Mean cross-entropy of samples in K classes, of the softmax of K outputs.

    For outputs z = P x and the probabilities q of a sample's classes ::

        log sum_k e^(z_k) - sum_k q_k z_k

    which is log K at P = 0, and right to the last digits at outputs of any size. Of two classes it is
    the `LogisticLoss` of the difference of the outputs.

    Parameters
    ----------
    inputs : array_like, shape (*run, n, in)
        Samples, one per row.
    targets : array_like, shape (*run, n, K)
        Probability of each class, K at least 2: 1 for one class and 0 for the others, or any
        distribution (they add up to 1, to 1e-6).

    Attributes
    ----------
    inputs, targets : ndarray of float64
        Read-only views of the arguments.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a number is not finite or no probability, or run axes do not
        broadcast.

    Notes
    -----
    The margin of a sample is the output of its class, the most likely one, less the largest of the
    others; the sample is right where it is positive.

    See Also
    --------
    CrossEntropyLoss.from_data : the same from labels.

    Examples
    --------
    >>> loss = CrossEntropyLoss.from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], ["a", "b", "c"])
    >>> loss
    CrossEntropyLoss(n_samples=3, n_inputs=2, n_outputs=3, run_shape=())
    >>> round(float(loss.value([[0.0, 0.0]] * 3)), 4)
    1.0986
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"inputs": 2, "targets": 2})
    core: ClassVar[str] = "cross_entropy"
    of_inputs: ClassVar[str | None] = "inputs"
    supports: ClassVar[frozenset[str]] = frozenset({"margin", "draws", "stacking", "curvature"})
    data_kind: ClassVar[str | None] = "samples"
    dataset_options: ClassVar[tuple[str, ...]] = ("label_smoothing",)

    inputs: FloatArray
    targets: FloatArray

    def __init__(self, inputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        x = inputs_of("inputs", inputs)
        self.__dict__.update(inputs=x, targets=_probabilities("targets", targets, x.shape[-2]))
        _ = self.run_shape  # refuses run axes that do not broadcast

    @classmethod
    def from_data(
        cls,
        X: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        classes: Sequence[Any] | None = None,
        label_smoothing: float = 0.0,
    ) -> Self:
        """Return the loss of data.

        Parameters
        ----------
        X : array_like, shape (*run, n, in)
            Samples, one per row.
        labels : array_like, shape (*run, n), or (*run, n, K) of floating-point numbers
            The class of each sample, as an integer or text; or the probability of each.
        classes : sequence, optional
            The classes in the order of the outputs. By default all labels there are, sorted.
        label_smoothing : float, default 0
            0 to below 1: the share of each target that is spread over all K classes.

        Returns
        -------
        CrossEntropyLoss

        Raises
        ------
        TypeError
            If labels are neither integers, truth values, text nor real numbers.
        ValueError
            If shapes do not match, there is only one class, or a label is none of `classes`.

        Examples
        --------
        >>> X = [[1.0, 0.0], [0.0, 1.0]]
        >>> CrossEntropyLoss.from_data(X, [1, 0], label_smoothing=0.5).targets.tolist()
        [[0.25, 0.75], [0.75, 0.25]]
        >>> CrossEntropyLoss.from_data(X, ["cat", "dog"], classes=["dog", "cat", "owl"]).n_outputs
        3
        """
        smooth = validate.real("label_smoothing", label_smoothing, at_least=0)
        if smooth >= 1:
            msg = f"label_smoothing must be below 1, got {smooth:g}"
            raise ValueError(msg)
        x = inputs_of("X", X)
        given = _plain("labels", labels)
        if given.dtype.kind == "f":
            targets = _probabilities("labels", given, x.shape[-2])
        else:
            known = (
                None
                if classes is None
                else _plain("classes", validate.parts("classes", classes, of="classes"))
            )
            targets = _one_hot(given, x.shape[-2], known)
        if smooth > 0:
            targets = (1 - smooth) * targets + smooth / targets.shape[-1]
        return cls(x, targets)

    @classmethod
    def from_dataset(cls, data: Dataset, **options: Any) -> tuple[Self, str]:
        """Return the loss of a data set of classes.

        Parameters
        ----------
        data : Dataset
            With a column for each class, or one column of labels 1 and -1.
        **options
            ``label_smoothing``.

        Returns
        -------
        loss, str

        Raises
        ------
        ValueError
            If its targets are no classes.
        """
        targets = data.Y
        if targets.shape[1] == 1 and (np.abs(targets) == 1).all():
            targets = np.hstack([targets < 0, targets > 0]).astype(np.float64)
        if not (np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=1) == 1).all()):
            msg = f"loss.data must have classes for {cls.__name__}, got {data.description}"
            raise ValueError(msg)
        made = cls.from_data(data.X, targets, **options)
        return made, f"{data.description}, {targets.shape[1]} classes"

    @classmethod
    def held_out(cls, training: Dataset, held_out: Dataset, **options: Any) -> Self:  # noqa: ARG003
        """Return the loss on other samples, whose labels are not smoothed."""
        return cls.from_dataset(held_out)[0]

    def __repr__(self) -> str:
        """Show sizes; the data themselves are too long to show."""
        return (
            f"CrossEntropyLoss(n_samples={self.n_samples}, n_inputs={self.n_inputs}, "
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
        """Number of outputs: one per class."""
        return int(self.targets.shape[-1])

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the samples as the core takes them."""
        inputs, targets = self._columns
        fields = core_samples(inputs, targets, self.n_samples, runs, dtype)
        n_soft = int(np.count_nonzero(validate.unbroadcast(self.targets, keep=2).max(axis=-1) < 1))
        return {**fields, "n_soft": n_soft or None}

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: no law, but the samples themselves."""
        return 0, [1.0], [1.0]

    @property
    def n_choices(self) -> int:
        """How many samples there are to choose from."""
        return self.n_samples

    def chosen(self, index: npt.NDArray[np.int64]) -> Self:
        """Return the loss on the samples at some places."""
        return type(self)(self.inputs[index], self.targets[index])

    @cached_property
    def _columns(self) -> tuple[FloatArray, FloatArray]:
        return columns(self.inputs), columns(self.targets)

    def _outputs(self, product: npt.ArrayLike) -> FloatArray:
        matrix = validate.products(product, (self.n_outputs, self.n_inputs), self.run_shape)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.inputs @ np.asarray(matrix, np.float64).mT)

    def margins(self, product: npt.ArrayLike) -> FloatArray:
        """Return the margins of all samples: the output of its class less the largest other one.

        Parameters
        ----------
        product : array_like, shape (*batch, K, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, n)

        Examples
        --------
        >>> loss = CrossEntropyLoss.from_data([[1.0, 0.0], [0.0, 2.0]], [0, 1])
        >>> loss.margins([[3.0, 1.0], [1.0, 0.0]]).tolist()
        [2.0, -2.0]
        """
        z = self._outputs(product)
        own = self.targets.argmax(axis=-1)[..., None]
        own = np.broadcast_to(own, (*z.shape[:-1], 1))
        with np.errstate(invalid="ignore"):
            of_class = np.take_along_axis(z, own, axis=-1)[..., 0]
            is_own = np.arange(self.n_outputs) == own
            return np.asarray(of_class - np.where(is_own, -np.inf, z).max(axis=-1))

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, K, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
        """
        z = self._outputs(product)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            apart = z.max(axis=-1, keepdims=True) - z
            # The sum of all e^-apart but one, which is 1: nothing is lost beside it.
            rest = np.where(apart > 0, np.exp(-apart), 0.0).sum(axis=-1)
            rest += np.count_nonzero(apart == 0, axis=-1) - 1
            values = np.sum(self.targets * apart, axis=-1) + np.log1p(rest)
        return np.asarray(values.mean(axis=-1))

    def gradient(self, product: npt.ArrayLike) -> FloatArray:
        """Return the gradient of the loss by the end-to-end matrix.

        Parameters
        ----------
        product : array_like, shape (*batch, K, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, K, in)
        """
        z = self._outputs(product)
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(z - z.max(axis=-1, keepdims=True))
            total = e.sum(axis=-1, keepdims=True)
            # Where a class is certain, its slope is minus the sum of the other probabilities.
            others = np.where(self.targets < 1, e, 0.0).sum(axis=-1, keepdims=True)
            slopes = np.where(self.targets < 1, e / total - self.targets, -others / total)
        return np.asarray(slopes.mT @ self.inputs / self.n_samples)

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:
        z, moved = self._outputs(product), self._outputs(along)
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(z - z.max(axis=-1, keepdims=True))
            p = e / e.sum(axis=-1, keepdims=True)
            bent = p * (moved - np.sum(p * moved, axis=-1, keepdims=True))
        return np.asarray(bent.mT @ self.inputs / self.n_samples)

    def kernel_moments(self) -> KernelMoments:
        """Return second moments of inputs and probabilities of classes."""
        x, y, n = self.inputs, self.targets, self.n_samples
        return KernelMoments(x.mT @ x / n, y.mT @ x / n, np.sum(np.square(y), axis=(-2, -1)) / n)


def _plain(name: str, value: object) -> npt.NDArray[Any]:
    """Return an array of numbers, truth values or texts."""
    array = foreign.regular(name, value)
    if array.dtype.kind not in "iubfU":
        msg = f"{name} must be integers, text or probabilities, got dtype {array.dtype}"
        raise TypeError(msg)
    return array if array.dtype.kind in ("b", "U") else validate.numbers(name, array)


def _probabilities(name: str, value: npt.ArrayLike, n_samples: int) -> FloatArray:
    """Return probabilities of classes, (*run, n, K)."""
    q = validate.real_array(name, value, at_least=0)
    if q.ndim < 2 or q.shape[-2] != n_samples or q.shape[-1] < 2:
        expected = f"(*run, {n_samples}, K) with K at least 2"
        msg = f"{name} must have shape {expected}, got {q.shape}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        total = validate.unbroadcast(q, keep=2).sum(axis=-1)
    validate.refuse(name, "of sum 1", total, np.abs(total - 1) > 1e-6)
    return q


def _one_hot(
    labels: npt.NDArray[Any], n_samples: int, classes: npt.NDArray[Any] | None
) -> FloatArray:
    if labels.ndim < 1 or labels.shape[-1] != n_samples:
        msg = f"labels must have shape (*run, {n_samples}), one per row of X, got {labels.shape}"
        raise ValueError(msg)
    stored = validate.unbroadcast(labels, keep=1)
    known = np.unique(stored) if classes is None else classes
    if known.ndim != 1 or len(known) < 2 or len(np.unique(known)) < len(known):
        name = "labels must be of" if classes is None else "classes must be"
        msg = f"{name} at least 2 classes, each of them once, got {known.tolist()}"
        raise ValueError(msg)
    table: npt.NDArray[np.bool_] = stored[..., None] == known
    missing = ~table.any(axis=-1)
    if missing.any():
        got = stored[missing].flat[0]
        msg = f"labels must be out of {known.tolist()}, got {got!r}"
        raise ValueError(msg)
    return np.broadcast_to(table.astype(np.float64), (*labels.shape, len(known)))
