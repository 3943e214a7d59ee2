"""What kind of network a chain is: layers told apart, equal up to what makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.layers.pattern import Layer
from linnet_fast.networks.chain import Chain


@dataclass(frozen=True)
class Trained:
    """A chain without fixed identities, and where its arrays of weights went."""

    layers: tuple[Layer, ...]
    arrays: tuple[int | None, ...]

    @property
    def is_shared(self) -> bool:
        """Whether layers share weights."""
        used = [number for number in self.arrays if number is not None]
        return len(set(used)) < len(used)


def simplified(network: Chain) -> Trained:
    """Return the chain without fixed identities."""
    kept = [
        (layer, number)
        for layer, number in zip(network.layers, network.share, strict=True)
        if not _is_identity(layer)
    ]
    return Trained(tuple(layer for layer, _ in kept), tuple(number for _, number in kept))


def _is_identity(layer: Layer) -> bool:
    if layer.weight_shape is not None or layer.n_inputs != layer.n_outputs:
        return False
    pattern = layer.pattern
    return bool(
        len(pattern.row) == layer.n_inputs
        and (pattern.row == pattern.column).all()
        and (pattern.coefficient == 1).all()
    )


def is_dense(layer: Layer, n_outputs: int | None = None) -> bool:
    """Whether a layer is plainly dense, with so many outputs if that is given."""
    return isinstance(layer, layers.Dense) and n_outputs in (None, layer.n_outputs)


def all_diagonal(parts: Sequence[Layer]) -> bool:
    """Whether all layers are diagonal and trained."""
    return all(isinstance(layer, layers.Diagonal) for layer in parts)


def inside_residuals(parts: Sequence[Layer]) -> tuple[list[Layer], float] | None:
    """Return the layers inside residual layers and their common scale; None for anything else."""
    residuals = [x for x in parts if isinstance(x, layers.Residual)]
    scales = {x.scale for x in residuals}
    if len(residuals) != len(parts) or len(scales) != 1:
        return None
    return [x.layer for x in residuals], scales.pop()


def fixed_matrix(layer: Layer) -> FloatArray | None:
    """Return the matrix of a layer without weights, else None."""
    if layer.weight_shape is not None:
        return None
    return np.asarray(layer.pattern.matrix(np.zeros(0)))


def applied(layer: Layer, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
    """Return M matrix, or M^T matrix, for a layer without weights."""
    p = layer.pattern
    rows, columns = (p.column, p.row) if transposed else (p.row, p.column)
    result = np.zeros((p.n_inputs if transposed else p.n_outputs, matrix.shape[1]))
    np.add.at(result, rows, p.coefficient[:, None] * matrix[columns])
    return result


def sum_of_inputs(layer: Layer) -> list[tuple[int, ...]] | None:
    """Return the inputs of each output if every entry has a weight of its own and factor 1."""
    if isinstance(layer, layers.Dense):
        return [tuple(range(layer.n_inputs))] * layer.n_outputs
    if isinstance(layer, (layers.Convolution, layers.GroupConvolution, layers.Residual)):
        return None  # without a look at patterns that may be large
    p = layer.pattern
    each_weight_once = np.array_equal(np.sort(p.weight), np.arange(p.n_weights)) and p.n_weights > 0
    if not each_weight_once or (p.coefficient != 1).any():
        return None
    order = np.lexsort((p.column, p.row))
    ends = np.searchsorted(p.row[order], np.arange(1, layer.n_outputs))
    return [tuple(part.tolist()) for part in np.split(p.column[order], ends)]


def paths(network: Chain) -> list[tuple[Layer, ...]] | None:
    """Return the layers of each path of a network that is a sum of networks side by side."""
    first, last = network.layers[0], network.layers[-1]
    between = network.layers[1:-1]
    if not isinstance(first, layers.Stack) or not isinstance(last, layers.Sum):
        return None
    columns = [first.layers, *(x.layers for x in between if isinstance(x, layers.BlockDiagonal))]
    columns.append(last.layers)
    if len(columns) != len(network.layers) or len({len(column) for column in columns}) != 1:
        return None
    if Trained(network.layers, network.share).is_shared:
        return None
    return list(zip(*columns, strict=True))
