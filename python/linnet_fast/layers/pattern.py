"""What a layer is: a matrix whose entries are weights, by a pattern."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray

MAX_SIZE = 2**31 - 1


_SHORT = 160  # longer texts are abridged by repr


@dataclass(frozen=True, eq=False, repr=False)
class Pattern:
    """The entries of a layer's matrix M: each adds to ``M[row, column]``.

    Parameters
    ----------
    n_outputs, n_inputs : int
        Rows and columns of M.
    n_weights : int
        Number of weights.
    row, column : ndarray of int32, shape (n_entries,)
        Where an entry stands.
    weight : ndarray of int32, shape (n_entries,)
        Its weight, or -1: the entry is its coefficient alone.
    coefficient : ndarray of float64, shape (n_entries,)
        Factor on the weight.
    """

    n_outputs: int
    n_inputs: int
    n_weights: int
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    weight: npt.NDArray[np.int32]
    coefficient: FloatArray

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        n_weights: int,
        row: npt.ArrayLike,
        column: npt.ArrayLike,
        weight: npt.ArrayLike,
        coefficient: npt.ArrayLike = 1.0,
    ) -> Pattern:
        """Return a pattern from arrays that broadcast against each other.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of M.
        n_weights : int
            Number of weights.
        row, column, weight, coefficient : array_like
            As of the class.

        Raises
        ------
        TypeError, ValueError
            If something is no integer, or out of range, or arrays do not broadcast.

        Examples
        --------
        >>> Pattern.of((2, 2), 1, [0, 1], [0, 1], 0).matrix(np.array([3.0])).tolist()
        [[3.0, 0.0], [0.0, 3.0]]
        """
        if len(sizes := validate.integers("shape", shape, low=1, high=MAX_SIZE)) != 2:
            msg = f"shape must be (n_outputs, n_inputs), got {sizes}"
            raise ValueError(msg)
        given = {
            name: validate.numbers(name, value, of="integers", empty=True)
            for name, value in (("row", row), ("column", column), ("weight", weight))
        }
        given["coefficient"] = validate.floating("coefficient", coefficient, ())
        try:
            common = np.broadcast_shapes(*(array.shape for array in given.values()))
        except ValueError:
            got = ", ".join(f"{name} {array.shape}" for name, array in given.items())
            msg = f"row, column, weight and coefficient must broadcast with each other, got {got}"
            raise ValueError(msg) from None
        if math.prod(common) > MAX_SIZE:
            msg = f"row must have at most {MAX_SIZE} entries, with the others, got {common}"
            raise ValueError(msg)
        flat: dict[str, Any] = {}
        for name, array in given.items():
            low, high = (-1, MAX_SIZE) if name == "weight" else (0, MAX_SIZE)
            if name != "coefficient":
                stored = validate.unbroadcast(array)
                validate.refuse(name, f"from {low} up", stored, (stored < low) | (stored > high))
            kind = np.float64 if name == "coefficient" else np.int32
            flat[name] = np.array(np.broadcast_to(array, common), kind).ravel()
            flat[name].setflags(write=False)
        return cls(sizes[0], sizes[1], n_weights, **flat)

    def __post_init__(self) -> None:
        """Check that entries are where there are rows, columns and weights."""
        for name, low in (("n_outputs", 1), ("n_inputs", 1), ("n_weights", 0)):
            value = validate.integer(name, getattr(self, name), low=low, high=MAX_SIZE)
            object.__setattr__(self, name, value)
        validate.plain_array("row", self.row)
        for name, low, size in (
            ("row", 0, self.n_outputs),
            ("column", 0, self.n_inputs),
            ("weight", -1, self.n_weights),
        ):
            part = getattr(self, name)
            validate.exact(name, part, (self.row.size,), np.int32)
            outside = (part < low) | (part >= size)
            validate.refuse(name, f"from {low} to {size - 1}", part, outside)
        validate.exact("coefficient", self.coefficient, (self.row.size,), np.float64)
        validate.refuse("coefficient", "finite", self.coefficient, ~np.isfinite(self.coefficient))

    def matrix(self, weights: npt.ArrayLike) -> WeightArray:
        """Return M.

        Parameters
        ----------
        weights : array_like, shape (*batch, n_weights)
            Finite or not.

        Returns
        -------
        ndarray, shape (*batch, n_outputs, n_inputs)
            Of float32 if the weights are, else of float64.
        """
        array = validate.floating("weights", weights, (self.n_weights,))
        with np.errstate(over="ignore", invalid="ignore"):
            return self._matrix(array)

    def _matrix(self, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return M of weights that were checked, of any dtype."""
        free = self.weight >= 0
        row, column = self.row[free], self.column[free]
        values = self.coefficient[free].astype(weights.dtype) * weights.take(
            self.weight[free], axis=-1
        )
        fixed = self._offset.astype(weights.dtype)
        result = np.broadcast_to(fixed, (*weights.shape[:-1], *fixed.shape)).copy()
        if self._is_apart:
            result[..., row, column] += values
        else:  # slower by far, but it adds what falls on one place
            np.add.at(result, (..., row, column), values)  # type: ignore[arg-type]
        return result

    @cached_property
    def _offset(self) -> FloatArray:
        """The fixed part of M."""
        fixed = self.weight < 0
        result = np.zeros((self.n_outputs, self.n_inputs))
        np.add.at(result, (self.row[fixed], self.column[fixed]), self.coefficient[fixed])
        return result

    @cached_property
    def _is_apart(self) -> bool:
        """Whether no two weights add to the same entry of M."""
        free = self.weight >= 0
        places = self.row[free].astype(np.int64) * self.n_inputs + self.column[free]
        return len(np.unique(places)) == len(places)

    def pull_back(self, gradient: npt.ArrayLike) -> WeightArray:
        """Return the gradient by the weights from that by M.

        Parameters
        ----------
        gradient : array_like, shape (*batch, n_outputs, n_inputs)
            Finite or not.

        Returns
        -------
        ndarray, shape (*batch, n_weights)
            Of float32 if the gradient is, else of float64.
        """
        array = validate.floating("gradient", gradient, (self.n_outputs, self.n_inputs))
        with np.errstate(over="ignore", invalid="ignore"):
            return self._pull_back(array)

    def _pull_back(self, gradient: WeightArray) -> WeightArray:
        free = self.weight >= 0
        values = (
            self.coefficient[free].astype(gradient.dtype)
            * (gradient[..., self.row[free], self.column[free]])
        )
        result = np.zeros((*gradient.shape[:-2], self.n_weights), gradient.dtype)
        np.add.at(result, (..., self.weight[free]), values)  # type: ignore[arg-type]
        return result


class Layer(ABC):
    """A layer: how many inputs and outputs, the shape of its weights, and its pattern."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number of outputs, the rows of M."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs, the columns of M."""

    @property
    @abstractmethod
    def weight_shape(self) -> Shape | None:
        """Shape of the weights; None if there are none."""

    @abstractmethod
    def _pattern(self) -> Pattern:
        """Return the entries of M; weights are counted in C order."""

    @cached_property
    def pattern(self) -> Pattern:
        """The entries of M, made when first asked for."""
        return self._pattern()

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return 0 if self.weight_shape is None else math.prod(self.weight_shape)

    @property
    def fan_in(self) -> float:
        """Weights that an output sees, on average: what initialisations are scaled by."""
        if self.weight_shape is None:
            return 1.0
        return max(1.0, float(np.count_nonzero(self.pattern.weight >= 0)) / self.n_outputs)

    @property
    def spec(self) -> str:
        """The layer as text that `linnet_fast.networks.text.parse` reads."""
        arguments = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        shown = ", ".join(f"{name}={as_text(value)}" for name, value in arguments)
        return f"layers.{type(self).__name__}({shown})"

    def __repr__(self) -> str:
        """Show the text of the layer, abridged where it is long."""
        text = self.spec
        if len(text) <= _SHORT:
            return text
        return f"<layers.{type(self).__name__}, {self.n_inputs} -> {self.n_outputs}>"


def as_text(value: object) -> str:
    """Return an argument of a layer or a network as text that `parse` reads."""
    if isinstance(value, Layer):
        return value.spec
    if isinstance(value, tuple):
        inner = ", ".join(map(as_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def set_sizes(layer: Layer, *names: str) -> None:
    """Check sizes of a layer that is being made, and make them plain integers."""
    for name in names:
        value = validate.integer(name, getattr(layer, name), low=1, high=MAX_SIZE)
        object.__setattr__(layer, name, value)
