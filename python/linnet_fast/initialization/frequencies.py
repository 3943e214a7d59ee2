"""Circular convolutions frequency by frequency, where they are products of small matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, memory
from linnet_fast._base.validate import FloatArray
from linnet_fast.layers import Convolution


@dataclass(frozen=True)
class Frequencies:
    """The discrete Fourier transform over all positions of a circular convolution.

    Attributes
    ----------
    shift_of_tap : ndarray of int64, shape (n,)
        By how many positions, counted over all axes, each tap of a kernel reads ahead.
    cosines, sines : ndarray of float64, shape (n, n)
        Real and imaginary parts of exp(2 pi i k . x), over frequencies and positions.
    """

    shift_of_tap: npt.NDArray[np.int64]
    cosines: FloatArray
    sines: FloatArray

    @classmethod
    def of(cls, layer: Convolution) -> Frequencies:
        """Return those of a layer that `has_all_shifts`."""
        n = math.prod(layer.extents)
        memory.check_room("network", 4 * 8 * n * n)
        cosines, sines = np.ones((1, 1)), np.zeros((1, 1))
        for extent in layer.extents:
            places = np.arange(extent)
            c, s = (table[np.outer(places, places) % extent] for table in elementary.circle(extent))
            cosines, sines = (
                np.kron(cosines, c) - np.kron(sines, s),
                np.kron(cosines, s) + np.kron(sines, c),
            )
        return cls(_shifts(layer), cosines, sines)

    def transformed(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return real and imaginary part (..., n), by frequency, of values (..., n) by position."""
        rows = values.reshape(-1, values.shape[-1])
        real, imaginary = (algebra.product(rows, part) for part in (self.cosines, self.sines))
        return real.reshape(values.shape), imaginary.reshape(values.shape)

    def of_parts(self, real: FloatArray, imaginary: FloatArray) -> FloatArray:
        """Return the real values (..., n) by position of which these are the parts by frequency."""
        n = real.shape[-1]
        found = algebra.product(real.reshape(-1, n), self.cosines)
        found += algebra.product(imaginary.reshape(-1, n), self.sines)
        return np.asarray(found.reshape(real.shape) / n)

    def isometries(self, normals: FloatArray) -> FloatArray:
        """Return kernels (*run, out, in, n) of convolutions that are uniform (Haar) isometries at each frequency.

        Parameters
        ----------
        normals : ndarray, shape (*run, out, in, n)
            Standard normal numbers.
        """
        if normals.shape[-3] < normals.shape[-2]:
            return self.isometries(normals.swapaxes(-3, -2)).swapaxes(-3, -2)
        real, imaginary = (np.moveaxis(part, -1, -3) for part in self.transformed(normals))
        # A complex number as a matrix of two rows: triangles stay triangles.
        stacked = np.empty((*real.shape[:-2], 2 * real.shape[-2], 2 * real.shape[-1]))
        stacked[..., ::2, ::2] = stacked[..., 1::2, 1::2] = real
        stacked[..., 1::2, ::2], stacked[..., ::2, 1::2] = imaginary, -imaginary
        frames = algebra.orthonormal_columns(stacked)
        parts = (np.moveaxis(frames[..., first::2, ::2], -3, -1) for first in (0, 1))
        return self.of_parts(*parts)[..., self.shift_of_tap]


def has_all_shifts(layer: Convolution) -> bool:
    """Whether each frequency trains by itself: kernels reach every position of a circle once."""
    n = math.prod(layer.extents)
    return (
        layer.padding == "circular"
        and layer.stride == 1
        and math.prod(map(len, layer.offsets)) == n
        and np.unique(_shifts(layer)).size == n
    )


def tap_in_place(layer: Convolution) -> int | None:
    """Return the tap that moves nothing, of a layer that has as many positions behind as before it."""
    if layer.stride != 1 or layer.out_extents != layer.extents:
        return None
    found = np.flatnonzero(_shifts(layer) == 0)
    return int(found[0]) if found.size else None


def _shifts(layer: Convolution) -> npt.NDArray[np.int64]:
    """Return by how many positions each tap reads ahead, over all axes of a circle."""
    total = np.zeros(1, np.int64)
    for extent, offsets in zip(layer.extents, layer.offsets, strict=True):
        centre = layer.dilation * max(offsets) // 2 if layer.padding == "zero" else 0
        ahead = layer.dilation * np.asarray(offsets, np.int64) - centre
        total = np.add.outer(total * extent, ahead % extent).ravel()
    return total
