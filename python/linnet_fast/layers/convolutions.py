"""Convolutions, on lines, on images and on finite groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import Shape
from linnet_fast.layers.pattern import MAX_SIZE, Layer, Pattern

Padding = Literal["circular", "zero", "valid"]


@dataclass(frozen=True, init=False, repr=False)
class Convolution(Layer):
    """Convolution over one or two axes, in the form of deep learning (a correlation).

    A layer of a `linnet_fast.Chain`; the network of convolutions is `linnet_fast.Convolution`.

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
            offsets = validate.integers("taps", taps, low=0, high=MAX_SIZE)
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
            put(self, name, validate.integer(name, value, low=1, high=MAX_SIZE))
        put(self, "padding", validate.choice("padding", padding, ("circular", "zero", "valid")))
        reach = [1 + self.dilation * max(axis) for axis in self.offsets]
        if padding == "valid" and any(r > n for r, n in zip(reach, extents, strict=True)):
            msg = f"kernel_size must fit into width {extents} if padding is valid, got {reach} taps"
            raise ValueError(msg)
        if max(self.n_inputs, self.n_outputs, self.n_weights) > MAX_SIZE:
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
        listed = validate.sequence("table", table, of="rows of integers")
        rows = tuple(
            validate.integers(f"table[{i}]", row, low=0, high=len(listed) - 1)
            for i, row in enumerate(listed)
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


def _extents(name: str, value: object) -> tuple[int, ...]:
    """Return one or two sizes from a number or a pair."""
    if isinstance(value, (tuple, list)):
        sizes = validate.integers(name, value, low=1, high=MAX_SIZE)
        if len(sizes) not in (1, 2):
            msg = f"{name} must be an integer or a pair of them, got {value}"
            raise ValueError(msg)
        return sizes
    return (validate.integer(name, value, low=1, high=MAX_SIZE),)
