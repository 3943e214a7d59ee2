"""Layers of a `linnet_fast.Chain`: each is a matrix whose entries are weights, by a pattern.

A layer maps its inputs x to M x. Every entry of M is fixed, or a coefficient times one of the
layer's weights; a weight may stand in several places. Layers are frozen values.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray

__all__ = [
    "BlockDiagonal",
    "Convolution",
    "Custom",
    "Dense",
    "Diagonal",
    "Fixed",
    "GroupConvolution",
    "Layer",
    "Masked",
    "Pattern",
    "Residual",
    "Stack",
    "Sum",
]

_MOST = 2**31 - 1
_SHORT = 160  # longer texts are abridged by repr
Padding = Literal["circular", "zero", "valid"]


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
        """Return a pattern from arrays that broadcast against each other."""
        parts = np.broadcast_arrays(row, column, weight, coefficient)
        kinds = (np.int32, np.int32, np.int32, np.float64)
        flat = [np.array(p, k).ravel() for p, k in zip(parts, kinds, strict=True)]
        for part in flat:
            part.setflags(write=False)
        return cls(shape[0], shape[1], n_weights, flat[0], flat[1], flat[2], flat[3])

    def matrix(self, weights: WeightArray) -> WeightArray:
        """Return M, (*batch, n_outputs, n_inputs), for weights (*batch, n_weights)."""
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

    def pull_back(self, gradient: WeightArray) -> WeightArray:
        """Return the gradient by the weights, (*batch, n_weights), from that by M."""
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
        """The layer as text that `linnet_fast.networks.chain.parse` reads."""
        own = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        shown = ", ".join(f"{name}={_text(value)}" for name, value in own)
        return f"layers.{type(self).__name__}({shown})"

    def __repr__(self) -> str:
        """Show the text of the layer, abridged where it is long."""
        text = self.spec
        if len(text) <= _SHORT:
            return text
        return f"<layers.{type(self).__name__}, {self.n_inputs} -> {self.n_outputs}>"


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Every output sees every input by a weight of its own; weights (n_outputs, n_inputs).

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
        _check_sizes(self, "n_inputs", "n_outputs")

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

    Parameters
    ----------
    width : int
        From 1 up.
    """

    width: int

    def __post_init__(self) -> None:
        """Check the size."""
        _check_sizes(self, "width")

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
class Convolution(Layer):
    """Convolution over one or two axes, in the form of deep learning (a correlation).

    ``y[o, i] = sum over channels c and taps t of w[o, c, t] x[c, stride i + dilation offset_t]``.
    Inputs and outputs are flattened, channels first.

    Parameters
    ----------
    width : int or (int, int)
        Positions of the input: of a line, or of the rows and columns of an image.
    kernel_size : int or (int, int), optional
        Taps at 0 ... kernel_size - 1 along each axis.
    taps : sequence of int, optional
        In place of `kernel_size`, on a line: offsets of the taps, all different, such as
        ``(0, 1, 3)``.
    in_channels, out_channels : int, default 1
        Channels.
    stride, dilation : int, default 1
        Steps between outputs, and between taps.
    padding : {"circular", "zero", "valid"}
        What lies beyond the ends: the other end, zeros (centred: an output for every `stride`
        inputs), or nothing (only outputs whose taps are all inside).

    Examples
    --------
    >>> layer = Convolution(5, kernel_size=2)
    >>> layer.pattern.matrix(np.array([1.0, 2.0])).tolist()[0], layer.weight_shape
    ([1.0, 2.0, 0.0, 0.0, 0.0], (1, 1, 2))
    >>> Convolution((8, 8), kernel_size=3, padding="valid", out_channels=4).n_outputs
    144
    """

    width: int | tuple[int, int]
    kernel_size: int | tuple[int, int] | None
    taps: tuple[int, ...] | None
    in_channels: int
    out_channels: int
    stride: int
    dilation: int
    padding: Padding

    def __init__(
        self,
        width: int | Sequence[int],
        kernel_size: int | Sequence[int] | None = None,
        *,
        taps: Sequence[int] | None = None,
        in_channels: int = 1,
        out_channels: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: Padding = "circular",
    ) -> None:
        put = object.__setattr__
        extents = _extents("width", width)
        if (kernel_size is None) == (taps is None):
            msg = "exactly one of kernel_size and taps must be given, got "
            msg += "neither" if taps is None else f"kernel_size={kernel_size} and taps={taps}"
            raise TypeError(msg)
        put(self, "width", extents[0] if len(extents) == 1 else extents)
        put(self, "kernel_size", None)
        put(self, "taps", None)
        if taps is not None:
            offsets = validate.integers("taps", taps, low=0, high=_MOST)
            if len(extents) != 1:
                msg = f"taps must be given for a line only, got width {width}; use kernel_size"
                raise ValueError(msg)
            if not offsets or len(set(offsets)) != len(offsets):
                msg = f"taps must be different offsets, at least one, got {offsets}"
                raise ValueError(msg)
            put(self, "taps", offsets)
        else:
            sizes = _extents("kernel_size", kernel_size)
            sizes = sizes * len(extents) if len(sizes) == 1 else sizes
            if len(sizes) != len(extents):
                msg = f"kernel_size must have {len(extents)} entries, as width, got {sizes}"
                raise ValueError(msg)
            put(self, "kernel_size", sizes[0] if len(sizes) == 1 else sizes)
        for name, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("stride", stride),
            ("dilation", dilation),
        ):
            put(self, name, validate.integer(name, value, low=1, high=_MOST))
        put(self, "padding", validate.choice("padding", padding, ("circular", "zero", "valid")))
        reach = [1 + self.dilation * max(axis) for axis in self.offsets]
        if padding == "valid" and any(r > n for r, n in zip(reach, extents, strict=True)):
            msg = f"kernel_size must fit into width {extents} if padding is valid, got {reach} taps"
            raise ValueError(msg)
        if max(self.n_inputs, self.n_outputs, self.n_weights) > _MOST:
            msg = f"width, channels and kernel must be below 2**31 in all, got {self.spec}"
            raise ValueError(msg)

    @property
    def extents(self) -> tuple[int, ...]:
        """Positions of the input along each axis."""
        return self.width if isinstance(self.width, tuple) else (self.width,)

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Offsets of the taps along each axis, before dilation."""
        if self.taps is not None:
            return (self.taps,)
        sizes = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,)
        return tuple(tuple(range(size or 1)) for size in sizes)

    @property
    def out_extents(self) -> tuple[int, ...]:
        """Positions of the output along each axis."""
        if self.padding != "valid":
            return tuple(-(-n // self.stride) for n in self.extents)
        return tuple(
            (n - 1 - self.dilation * max(axis)) // self.stride + 1
            for n, axis in zip(self.extents, self.offsets, strict=True)
        )

    @property
    def n_inputs(self) -> int:
        """Input channels times positions."""
        return self.in_channels * math.prod(self.extents)

    @property
    def n_outputs(self) -> int:
        """Output channels times positions."""
        return self.out_channels * math.prod(self.out_extents)

    @property
    def weight_shape(self) -> Shape:
        """(out_channels, in_channels, taps along each axis)."""
        return (self.out_channels, self.in_channels, *map(len, self.offsets))

    @property
    def fan_in(self) -> float:
        """Input channels times taps."""
        return float(self.in_channels * math.prod(map(len, self.offsets)))

    def _pattern(self) -> Pattern:
        # Per axis: which (output, tap) reads which input; then all axes, then channels.
        axes = []
        for n, n_out, offsets in zip(self.extents, self.out_extents, self.offsets, strict=True):
            centre = self.dilation * max(offsets) // 2 if self.padding == "zero" else 0
            out, tap = np.meshgrid(np.arange(n_out), np.arange(len(offsets)), indexing="ij")
            read = out * self.stride + self.dilation * np.asarray(offsets)[tap] - centre
            if self.padding == "circular":
                read %= n
            inside = (read >= 0) & (read < n)
            axes.append((out[inside], tap[inside], read[inside]))
        out, tap, read = axes[0]
        if len(axes) == 2:
            (_, n_out), (_, n_in) = self.out_extents, self.extents
            n_taps = len(self.offsets[1])
            out = np.add.outer(out * n_out, axes[1][0]).ravel()
            tap = np.add.outer(tap * n_taps, axes[1][1]).ravel()
            read = np.add.outer(read * n_in, axes[1][2]).ravel()
        size = math.prod(map(len, self.offsets))
        channels_out = np.arange(self.out_channels)[:, None, None]
        channels_in = np.arange(self.in_channels)[:, None]
        return Pattern.of(
            (self.n_outputs, self.n_inputs),
            self.n_weights,
            channels_out * math.prod(self.out_extents) + out,
            channels_in * math.prod(self.extents) + read,
            (channels_out * self.in_channels + channels_in) * size + tap,
        )


@dataclass(frozen=True, init=False, repr=False)
class GroupConvolution(Layer):
    """Convolution over a finite group, ``y[g] = sum_t w[t] x[g t]``; weights (group order,).

    Parameters
    ----------
    table : sequence of sequence of int
        Multiplication table: ``table[g][t]`` is the number of the product g t.
    """

    table: tuple[tuple[int, ...], ...]

    def __init__(self, table: Sequence[Sequence[int]]) -> None:
        rows = tuple(
            validate.integers(f"table[{i}]", row, low=0, high=len(table) - 1)
            for i, row in enumerate(table)
        )
        array = np.array(rows) if len({len(row) for row in rows}) == 1 else np.empty((0, 0))
        order = len(rows)
        if array.shape != (order, order) or order == 0:
            msg = f"table must be square, got rows of lengths {[len(row) for row in rows]}"
            raise ValueError(msg)
        latin = all((np.sort(a, axis=1) == np.arange(order)).all() for a in (array, array.T))
        associative = latin and all(
            (array[array[g]] == array[g][array]).all() for g in range(order)
        )
        if not associative:
            msg = "table must be the multiplication table of a group, got one that is not "
            msg += "associative" if latin else "a Latin square"
            raise ValueError(msg)
        object.__setattr__(self, "table", rows)

    @property
    def n_inputs(self) -> int:
        """Order of the group."""
        return len(self.table)

    @property
    def n_outputs(self) -> int:
        """Order of the group."""
        return len(self.table)

    @property
    def weight_shape(self) -> Shape:
        """(group order,)."""
        return (len(self.table),)

    def _pattern(self) -> Pattern:
        order = len(self.table)
        taps = np.arange(order)
        return Pattern.of((order, order), order, taps[:, None], np.array(self.table), taps)


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
        numbers = np.asarray(index)
        if numbers.ndim != 2 or numbers.size == 0 or numbers.dtype.kind not in "iu":
            got = f"shape {numbers.shape} and dtype {numbers.dtype}"
            msg = f"index must be an integer array of shape (n_outputs, n_inputs), got {got}"
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
        array = np.asarray(mask)
        if array.ndim != 2 or array.dtype != np.bool_ or not array.any():
            got = f"shape {array.shape} and dtype {array.dtype}"
            msg = f"mask must be a bool array (n_outputs, n_inputs), not all False, got {got}"
            raise ValueError(msg)
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
        size = validate.integer("n_inputs", n_inputs, low=1, high=_MOST)
        lists = [
            validate.integers(f"groups[{j}]", group, low=0, high=size - 1)
            for j, group in enumerate(groups)
        ]
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
        if array.ndim != 2:
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


@dataclass(frozen=True, init=False, repr=False)
class Residual(Layer):
    """The identity plus a layer: ``I + scale * M``; weights as those of the layer.

    Parameters
    ----------
    layer : Layer
        Has as many outputs as inputs.
    scale : float, default 1
        Factor on the layer, not 0; ``1 / sqrt(number of blocks)`` gives the depth limit.

    Examples
    --------
    >>> Residual(Diagonal(2)).pattern.matrix(np.array([0.5, 1.0])).tolist()
    [[1.5, 0.0], [0.0, 2.0]]
    """

    layer: Layer
    scale: float

    def __init__(self, layer: Layer, scale: float = 1.0) -> None:
        validate.instance("layer", layer, Layer)  # type: ignore[type-abstract]
        if layer.n_inputs != layer.n_outputs:
            got = f"{layer.n_inputs} and {layer.n_outputs}"
            msg = f"layer must have as many outputs as inputs, got {got}"
            raise ValueError(msg)
        factor = validate.real("scale", scale)
        if factor == 0:
            msg = "scale must not be 0, got 0"
            raise ValueError(msg)
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "scale", factor)

    @property
    def n_inputs(self) -> int:
        """As the layer's."""
        return self.layer.n_inputs

    @property
    def n_outputs(self) -> int:
        """As the layer's."""
        return self.layer.n_outputs

    @property
    def weight_shape(self) -> Shape | None:
        """As the layer's."""
        return self.layer.weight_shape

    @property
    def fan_in(self) -> float:
        """As the layer's."""
        return self.layer.fan_in

    def _pattern(self) -> Pattern:
        inner, identity = self.layer.pattern, np.arange(self.n_inputs)
        return Pattern.of(
            (self.n_inputs, self.n_inputs),
            inner.n_weights,
            np.concatenate([identity, inner.row]),
            np.concatenate([identity, inner.column]),
            np.concatenate([np.full(self.n_inputs, -1), inner.weight]),
            np.concatenate([np.ones(self.n_inputs), self.scale * inner.coefficient]),
        )


@dataclass(frozen=True, init=False, repr=False)
class _Composite(Layer):
    """Layers side by side; weights (all of them,), those of the first layer first."""

    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        if isinstance(layers, Layer) or not layers:
            msg = f"layers must be a sequence of at least one layer, got {layers!r}"
            raise TypeError(msg)
        for i, layer in enumerate(layers):
            validate.instance(f"layers[{i}]", layer, Layer)  # type: ignore[type-abstract]
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def weight_shape(self) -> Shape | None:
        """(weights of all layers,), or None if there are none."""
        n = sum(layer.n_weights for layer in self.layers)
        return (n,) if n else None

    def _pattern(self) -> Pattern:
        parts = [layer.pattern for layer in self.layers]
        rows, columns, weights = (
            list(itertools.accumulate((getattr(p, name) for p in parts), initial=0))
            for name in ("n_outputs", "n_inputs", "n_weights")
        )
        if not self._moves_rows:
            rows = [0] * len(rows)
        if not self._moves_columns:
            columns = [0] * len(columns)
        return Pattern.of(
            (self.n_outputs, self.n_inputs),
            weights[-1],
            np.concatenate([p.row + at for p, at in zip(parts, rows, strict=False)]),
            np.concatenate([p.column + at for p, at in zip(parts, columns, strict=False)]),
            np.concatenate(
                [
                    np.where(p.weight < 0, -1, p.weight + at)
                    for p, at in zip(parts, weights, strict=False)
                ]
            ),
            np.concatenate([p.coefficient for p in parts]),
        )

    _moves_rows = True
    _moves_columns = True

    def _common(self, name: str) -> int:
        sizes = {getattr(layer, name) for layer in self.layers}
        if len(sizes) > 1:
            msg = f"layers must have equally many {name[2:]}, got {sorted(sizes)}"
            raise ValueError(msg)
        return int(sizes.pop())


@dataclass(frozen=True, init=False, repr=False)
class Stack(_Composite):
    """Layers that see the same input; their outputs follow each other, ``[M_1; M_2; ...]``.

    Parameters
    ----------
    layers : sequence of Layer
        All with the same number of inputs.

    Examples
    --------
    >>> Stack([Diagonal(2), Dense(2, 1)]).n_outputs
    3
    """

    _moves_columns = False

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        self._common("n_inputs")

    @property
    def n_inputs(self) -> int:
        """As each layer's."""
        return self.layers[0].n_inputs

    @property
    def n_outputs(self) -> int:
        """Outputs of all layers."""
        return sum(layer.n_outputs for layer in self.layers)


@dataclass(frozen=True, init=False, repr=False)
class BlockDiagonal(_Composite):
    """Layers that each see their own part of the input; outputs follow each other.

    Parameters
    ----------
    layers : sequence of Layer

    Examples
    --------
    >>> block = BlockDiagonal([Dense(2, 1), Diagonal(3)])
    >>> block.n_inputs, block.n_outputs
    (5, 4)
    """

    @property
    def n_inputs(self) -> int:
        """Inputs of all layers."""
        return sum(layer.n_inputs for layer in self.layers)

    @property
    def n_outputs(self) -> int:
        """Outputs of all layers."""
        return sum(layer.n_outputs for layer in self.layers)


@dataclass(frozen=True, init=False, repr=False)
class Sum(_Composite):
    """Layers that each see their own part of the input; outputs are added, ``[M_1, M_2, ...]``.

    Parameters
    ----------
    layers : sequence of Layer
        All with the same number of outputs.

    Examples
    --------
    >>> total = Sum([Dense(2, 1), Dense(3, 1)])
    >>> total.n_inputs, total.n_outputs
    (5, 1)
    """

    _moves_rows = False

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        self._common("n_outputs")

    @property
    def n_inputs(self) -> int:
        """Inputs of all layers."""
        return sum(layer.n_inputs for layer in self.layers)

    @property
    def n_outputs(self) -> int:
        """As each layer's."""
        return self.layers[0].n_outputs


def _text(value: object) -> str:
    if isinstance(value, Layer):
        return value.spec
    if isinstance(value, tuple):
        inner = ", ".join(map(_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _nested(array: FloatArray, shape: Shape) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.broadcast_to(array, shape).tolist())


def _extents(name: str, value: object) -> tuple[int, ...]:
    """Return one or two sizes from a number or a pair."""
    if isinstance(value, (tuple, list)):
        sizes = validate.integers(name, value, low=1, high=_MOST)
        if len(sizes) not in (1, 2):
            msg = f"{name} must be an integer or a pair of them, got {value}"
            raise ValueError(msg)
        return sizes
    return (validate.integer(name, value, low=1, high=_MOST),)


def _check_sizes(layer: Layer, *names: str) -> None:
    for name in names:
        value = validate.integer(name, getattr(layer, name), low=1, high=_MOST)
        object.__setattr__(layer, name, value)
