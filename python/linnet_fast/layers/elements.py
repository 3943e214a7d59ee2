"""Single layers: dense, diagonal, masked, fixed, of any pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import memory, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.layers.pattern import MAX_SIZE, Layer, Pattern, set_sizes


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Every output sees every input by a weight of its own; weights (n_outputs, n_inputs).

    A layer of a `linnet_fast.Chain`; the network of dense layers is `linnet_fast.Dense`.

    Parameters
    ----------
    n_inputs, n_outputs : int
        From 1 up.

    Examples
    --------
    >>> Dense(3, 2).weight_shape
    (2, 3)
    """

    # Defaults only take the place of the abstract properties; 0 is refused.
    n_inputs: int = 0
    n_outputs: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        set_sizes(self, "n_inputs", "n_outputs")

    @property
    def weight_shape(self) -> Shape:
        """(n_outputs, n_inputs)."""
        return self.n_outputs, self.n_inputs

    @property
    def fan_in(self) -> float:
        """Number of inputs."""
        return float(self.n_inputs)

    def _pattern(self) -> Pattern:
        rows, columns = self.weight_shape
        number = np.arange(rows * columns)
        return Pattern.of((rows, columns), len(number), number // columns, number % columns, number)


@dataclass(frozen=True, repr=False)
class Diagonal(Layer):
    """Output i is input i times weight i; weights (width,).

    A layer of a `linnet_fast.Chain`; the network of diagonal layers is `linnet_fast.Diagonal`.

    Parameters
    ----------
    width : int
        From 1 up.
    """

    width: int

    def __post_init__(self) -> None:
        """Check the size."""
        set_sizes(self, "width")

    @property
    def n_inputs(self) -> int:
        """The width."""
        return self.width

    @property
    def n_outputs(self) -> int:
        """The width."""
        return self.width

    @property
    def weight_shape(self) -> Shape:
        """(width,)."""
        return (self.width,)

    def _pattern(self) -> Pattern:
        number = np.arange(self.width)
        return Pattern.of((self.width, self.width), self.width, number, number, number)


@dataclass(frozen=True, init=False, repr=False)
class Custom(Layer):
    """Any pattern: ``M[i, j] = offset[i, j] + coefficient[i, j] * weights[index[i, j]]``.

    Parameters
    ----------
    index : array_like of int, shape (n_outputs, n_inputs)
        Which weight; -1: none, the entry is its offset. Weights that are used are numbered 0, 1,
        ... without gaps; using one twice shares it.
    coefficient, offset : array_like, shape (n_outputs, n_inputs), default 1 and 0
        Broadcast to the shape of `index`.

    Examples
    --------
    >>> Custom([[0, -1], [1, 0]], offset=[[0, 5], [0, 0]]).pattern.matrix(np.array([2.0, 3.0]))
    array([[2., 5.],
           [3., 2.]])
    """

    index: tuple[tuple[int, ...], ...]
    coefficient: tuple[tuple[float, ...], ...] | float
    offset: tuple[tuple[float, ...], ...] | float

    def __init__(
        self,
        index: npt.ArrayLike,
        coefficient: npt.ArrayLike = 1.0,
        offset: npt.ArrayLike = 0.0,
    ) -> None:
        numbers = validate.numbers("index", index, of="integers")
        if numbers.ndim != 2 or numbers.size > MAX_SIZE:
            msg = f"index must have shape (n_outputs, n_inputs), got {numbers.shape}"
            raise ValueError(msg)
        used = np.unique(numbers[numbers >= 0])
        if numbers.min() < -1 or not np.array_equal(used, np.arange(len(used))):
            msg = f"index must be -1 or number the weights 0, 1, ... without gaps, got {used}"
            raise ValueError(msg)
        parts: dict[str, Any] = {}
        for name, value in (("coefficient", coefficient), ("offset", offset)):
            array = validate.real_array(name, value)
            validate.fits_batch(name, array.shape, numbers.shape)
            parts[name] = float(array) if array.ndim == 0 else _nested(array, numbers.shape)
        object.__setattr__(self, "index", tuple(tuple(row) for row in numbers.tolist()))
        object.__setattr__(self, "coefficient", parts["coefficient"])
        object.__setattr__(self, "offset", parts["offset"])

    @property
    def n_inputs(self) -> int:
        """Columns of `index`."""
        return len(self.index[0])

    @property
    def n_outputs(self) -> int:
        """Rows of `index`."""
        return len(self.index)

    @property
    def weight_shape(self) -> Shape | None:
        """(number of weights,), or None if there are none."""
        n = 1 + max(map(max, self.index))
        return (n,) if n else None

    def _pattern(self) -> Pattern:
        index = np.array(self.index)
        coefficient, offset = (
            np.broadcast_to(x, index.shape) for x in (self.coefficient, self.offset)
        )
        free = np.argwhere(index >= 0).T
        fixed = np.argwhere(offset != 0).T
        where = np.concatenate([fixed, free], axis=1)
        weight = np.concatenate([np.full(fixed.shape[1], -1), index[tuple(free)]])
        values = np.concatenate([offset[tuple(fixed)], coefficient[tuple(free)]])
        return Pattern.of(index.shape, self.n_weights, where[0], where[1], weight, values)


@dataclass(frozen=True, init=False, repr=False)
class Masked(Layer):
    """A weight of its own for each entry of a mask; weights (entries of the mask,), in C order.

    Parameters
    ----------
    mask : array_like of bool, shape (n_outputs, n_inputs)
        Where weights are; every other entry of the matrix is 0.

    See Also
    --------
    Masked.of_groups : one output for each group of inputs.

    Examples
    --------
    >>> Masked([[True, False], [True, True]]).pattern.matrix(np.array([1.0, 2.0, 3.0])).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """

    mask: tuple[tuple[bool, ...], ...]

    def __init__(self, mask: npt.ArrayLike) -> None:
        array = validate.bools("mask", mask)
        if array.ndim != 2 or array.size > MAX_SIZE or not array.any():
            msg = "mask must have shape (n_outputs, n_inputs) and not be all False, got shape "
            raise ValueError(msg + str(array.shape))
        object.__setattr__(self, "mask", tuple(tuple(row) for row in array.tolist()))

    @classmethod
    def of_groups(cls, groups: Iterable[Sequence[int]], n_inputs: int) -> Masked:
        """Return the layer whose output j sees the inputs in group j.

        Parameters
        ----------
        groups : iterable of sequence of int
            Numbers of inputs, from 0 on; groups may overlap.
        n_inputs : int
            Number of inputs.

        Examples
        --------
        >>> Masked.of_groups([(0, 1), (1, 2)], 3).mask
        ((True, True, False), (False, True, True))
        """
        size = validate.integer("n_inputs", n_inputs, low=1, high=MAX_SIZE)
        lists = [
            validate.integers(f"groups[{j}]", group, low=0, high=size - 1)
            for j, group in enumerate(validate.parts("groups", groups, of="groups of inputs"))
        ]
        if not any(lists):
            msg = f"groups must have at least one input, got {lists}"
            raise ValueError(msg)
        memory.check_room(
            "n_inputs", 9 * len(lists) * size
        )  # of a bool each, and then of a pointer
        mask = np.zeros((len(lists), size), dtype=bool)
        for row, group in zip(mask, lists, strict=True):
            row[list(group)] = True
        return cls(mask)

    @property
    def n_inputs(self) -> int:
        """Columns of the mask."""
        return len(self.mask[0])

    @property
    def n_outputs(self) -> int:
        """Rows of the mask."""
        return len(self.mask)

    @property
    def weight_shape(self) -> Shape:
        """(entries of the mask,)."""
        return (sum(map(sum, self.mask)),)

    def _pattern(self) -> Pattern:
        row, column = np.nonzero(np.array(self.mask))
        return Pattern.of((self.n_outputs, self.n_inputs), len(row), row, column, range(len(row)))


@dataclass(frozen=True, init=False, repr=False)
class Fixed(Layer):
    """A matrix that is not trained.

    Parameters
    ----------
    matrix : array_like, shape (n_outputs, n_inputs)
        Finite.

    Examples
    --------
    >>> Fixed([[1.0, 0.0, 2.0]]).n_inputs
    3
    """

    matrix: tuple[tuple[float, ...], ...]

    def __init__(self, matrix: npt.ArrayLike) -> None:
        array = validate.real_array("matrix", matrix)
        if array.ndim != 2 or array.size > MAX_SIZE:
            msg = f"matrix must have shape (n_outputs, n_inputs), got {array.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "matrix", _nested(array, array.shape))

    @property
    def n_inputs(self) -> int:
        """Columns of the matrix."""
        return len(self.matrix[0])

    @property
    def n_outputs(self) -> int:
        """Rows of the matrix."""
        return len(self.matrix)

    @property
    def weight_shape(self) -> None:
        """None: nothing is trained."""
        return None

    def _pattern(self) -> Pattern:
        matrix = np.array(self.matrix)
        row, column = np.nonzero(matrix)
        return Pattern.of(matrix.shape, 0, row, column, -1, matrix[row, column])


def _nested(array: FloatArray, shape: Shape) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.broadcast_to(array, shape).tolist())
