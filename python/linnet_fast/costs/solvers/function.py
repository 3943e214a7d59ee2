"""The predictor of a chain as a function of its flat weights, with derivatives."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.networks.chain import Chain

AnyArray = npt.NDArray[np.inexact]


class _Places:
    """The weights of a layer in its matrix, ordered by weight, so that sums are over slices."""

    def __init__(self, network: Chain, layer: int) -> None:
        pattern = network.layers[layer].pattern
        free = np.flatnonzero(pattern.weight >= 0)
        order = free[np.argsort(pattern.weight[free], kind="stable")]
        self.row, self.column = pattern.row[order], pattern.column[order]
        self.coefficient = pattern.coefficient[order]
        self.n_weights = pattern.n_weights
        self.used, self.first = np.unique(pattern.weight[order], return_index=True)

    def sums(self, values: AnyArray, axis: int) -> AnyArray:
        """Return sums over the places of each weight; 0 of weights without any, in a padding."""
        some = np.asarray(np.add.reduceat(values, self.first, axis=axis))
        if len(self.used) == self.n_weights:
            return some
        shape = list(some.shape)
        shape[axis] = self.n_weights
        every = np.zeros(shape, some.dtype)
        np.moveaxis(every, axis, -1)[..., self.used] = np.moveaxis(some, axis, -1)
        return every


class Function:
    """The map f from flat weights, all arrays side by side, to flat predictors.

    Weights and predictors have any leading axes.
    """

    def __init__(self, network: Chain) -> None:
        self.network = network
        self.sizes = [math.prod(shape) for shape in network.shapes]
        self.n_weights = sum(self.sizes)
        self.n_entries = network.n_outputs * network.n_inputs
        self._ends = np.cumsum(self.sizes)[:-1]
        starts = np.cumsum([0, *self.sizes])
        # Of the layers with weights: number in the chain, where their weights are, their places.
        self._trained = [
            (k, slice(starts[number], starts[number + 1]), _Places(network, k))
            for k, number in enumerate(network.share)
            if number is not None
        ]

    @property
    def n_numbers(self) -> int:
        """How many numbers the largest intermediate result of a derivative has."""
        most = sorted((len(places.row) for _, _, places in self._trained), reverse=True)[:2]
        return max((self.n_weights + self.n_entries) ** 2, most[0] * max(most[-1], self.n_entries))

    def arrays(self, flat: FloatArray) -> list[FloatArray]:
        """Return the weights by layer."""
        parts = np.split(flat, self._ends, axis=-1)
        return [
            part.reshape(*flat.shape[:-1], *shape)
            for part, shape in zip(parts, self.network.shapes, strict=True)
        ]

    def value(self, flat: FloatArray) -> FloatArray:
        """Return the predictor, (*batch, n_outputs * n_inputs)."""
        product = self.network.product(self.arrays(flat))
        return np.asarray(product.reshape(*flat.shape[:-1], -1))

    def jacobian(self, flat: FloatArray) -> FloatArray:
        """Return df / dw, (*batch, n_entries, n_weights)."""
        matrices = self.network.matrices(self.arrays(flat))
        shape = (self.network.n_outputs, self.network.n_inputs)
        result = np.zeros((*flat.shape[:-1], *shape, self.n_weights))
        for k, where, places in self._trained:
            above = self._between(matrices, k + 1, len(matrices))[..., places.row]
            below = self._between(matrices, 0, k)[..., places.column, :].mT
            values = above[..., :, None, :] * below[..., None, :, :] * places.coefficient
            result[..., where] += places.sums(values, -1)
        return result.reshape(*flat.shape[:-1], self.n_entries, self.n_weights)

    def curvature(self, flat: FloatArray, z: FloatArray) -> FloatArray:
        """Return the second derivatives of <z, f(w)>, (*batch, n_weights, n_weights)."""
        matrices = self.network.matrices(self.arrays(flat))
        z = z.reshape(*z.shape[:-1], self.network.n_outputs, self.network.n_inputs)
        result = np.zeros((*flat.shape[:-1], self.n_weights, self.n_weights))
        for k, upper, high in self._trained:
            back = self._between(matrices, k + 1, len(matrices)).mT @ z
            for l, lower, low in self._trained:
                if l >= k:
                    break
                ends = (back @ self._between(matrices, 0, l).mT)[..., high.row, :][..., low.column]
                middle = self._between(matrices, l + 1, k)[..., high.column, :][..., low.row]
                values = ends * middle * high.coefficient[:, None] * low.coefficient
                block = low.sums(high.sums(values, -2), -1)
                result[..., upper, lower] += block
                result[..., lower, upper] += block.mT
        return result

    def _between(self, matrices: tuple[AnyArray, ...], first: int, end: int) -> AnyArray:
        """Return the product of the layers first ... end - 1, the identity if there are none."""
        if first == end:
            size = self.network.widths[first]
            return np.eye(size)
        return reduce(lambda done, m: m @ done, matrices[first:end])
