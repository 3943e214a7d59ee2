"""What gradient flow conserves between neighbouring arrays of weights, of chains of any layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.layers.pattern import Layer, Pattern
from linnet_fast.networks.chain import Chain

_Index = npt.NDArray[np.intp]


class Balance(NamedTuple):
    """Matrices V V^T of the array above less those of the one below, for n classes of m units.

    Rows of V are the weights (shifted) of a unit; they are picked from flat arrays of weights.
    """

    below: _Index
    """Shape (n, m, p)."""
    above: _Index
    """Shape (n, m, q)."""
    below_shift: FloatArray
    above_shift: FloatArray
    below_factor: float = 1.0
    above_factor: float = 1.0

    def gaps(self, below: npt.NDArray[Any], above: npt.NDArray[Any]) -> FloatArray:
        """Return the matrices, (*run, n, m, m).

        Parameters
        ----------
        below, above : ndarray, shapes (*run, n_weights)
            The two arrays of weights, flat.
        """
        v = below[..., self.below] + self.below_shift
        w = above[..., self.above] + self.above_shift
        return np.asarray(self.above_factor * (w @ w.mT) - self.below_factor * (v @ v.mT))

    def core_fields(self, pair: int) -> dict[str, Any]:
        """Return what the core takes of it, between array number `pair` and the next one.

        Parameters
        ----------
        pair : int
            From 0 up.
        """
        fields: dict[str, Any] = {"pair": pair}
        for side in ("below", "above"):
            picked = getattr(self, side)
            shift = np.broadcast_to(getattr(self, f"{side}_shift"), picked.shape)
            fields[side] = np.ascontiguousarray(picked, np.int64)
            fields[f"{side}_shift"] = np.ascontiguousarray(shift, np.float64)
            fields[f"{side}_factor"] = getattr(self, f"{side}_factor")
        return fields


def balances(network: Chain, name: str) -> list[list[Balance]]:
    """Return what the flow of a loss conserves between each array of weights and the next one.

    Parameters
    ----------
    network : Chain
        Of which.
    name : str
        Who asks.

    Raises
    ------
    ValueError
        If nothing is conserved between two neighbours.

    Notes
    -----
    What it is, layer by layer, stands in the notes of `rank_dynamics.imbalance_drift`.

    All of it follows from changes of the weights that leave the product as it is: if these are
    symmetric linear maps S, ``w^T S w`` is conserved.

    Examples
    --------
    >>> from linnet_fast.networks.named import Dense
    >>> ((part,),) = balances(Dense((1, 2, 1)), "who asks")
    >>> part.gaps(np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist()
    [[[8.0, 10.0], [10.0, 12.0]]]
    """
    return [_between_arrays(network, pair, name) for pair in range(network.n_arrays - 1)]


def _between_arrays(network: Chain, pair: int, name: str) -> list[Balance]:
    """Return what is conserved between an array of weights and the next; refuse it where nothing is."""
    places = [
        [i for i, number in enumerate(network.share) if number == array]
        for array in (pair, pair + 1)
    ]
    below, above = ([network.layers[i] for i in at] for at in places)
    found: list[Balance] = []
    if len(below) == len(above) == 1 and places[1][0] == places[0][0] + 1:
        found = _between(below[0], above[0])
    elif not any(_fixed_part(layer).any() for layer in (*below, *above)):
        ids = [np.arange(layer[0].n_weights)[None, None] for layer in (below, above)]
        zero = np.zeros(1)
        found = [Balance(ids[0], ids[1], zero, zero, 1 / len(below), 1 / len(above))]
    if not found:
        msg = (
            f"{name} needs neighbouring layers between which something is conserved, got "
            f"{below[0]!r} and {above[0]!r}, with shared weights or fixed layers between them beside "
            "fixed entries, or with fixed entries for every unit"
        )
        raise ValueError(msg)
    return found


def _between(below: Layer, above: Layer) -> list[Balance]:
    """Return what is conserved between two layers that follow each other."""
    width = below.n_outputs
    shifts = _shift_of_dense(below), _shift_of_dense(above)
    if shifts[0] is not None and shifts[1] is not None:
        rows = np.arange(below.n_weights).reshape(1, width, -1)
        columns = np.arange(above.n_weights).reshape(-1, width).T[None]
        return [Balance(rows, columns, shifts[0][None], shifts[1].T[None])]
    sides = (_Side(below.pattern, "row"), _Side(above.pattern, "column"))
    n_nodes = width + sides[0].n_weights + sides[1].n_weights
    starts = (width, width + sides[0].n_weights)
    ends = [
        np.concatenate([side.unit for side in sides]),
        np.concatenate([side.weight + at for side, at in zip(sides, starts, strict=True)]),
    ]
    graph = scipy.sparse.coo_array(
        (np.ones(len(ends[0])), (ends[0], ends[1])), shape=(n_nodes, n_nodes)
    )
    n_sets, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    alive = np.ones(n_sets, bool)
    for side, at in zip(sides, starts, strict=True):
        alive[label[np.flatnonzero(side.dead_units)]] = False
        alive[label[at + np.flatnonzero(side.dead_weights)]] = False
    units = _by_label(label[:width], n_sets)
    local = _rank(label[:width], units)
    ids = [
        _by_label(label[at : at + side.n_weights], n_sets)
        for side, at in zip(sides, starts, strict=True)
    ]
    described = [
        side.described(label[at + side.weight], n_sets, local, _rank(label[at:], own))
        for side, at, own in zip(sides, starts, ids, strict=True)
    ]
    classes: dict[tuple[bytes, bytes], list[int]] = {}
    for number in np.flatnonzero(alive).tolist():
        if len(ids[0][number]) or len(ids[1][number]):
            classes.setdefault((described[0][number], described[1][number]), []).append(number)
    by_shape: dict[tuple[int, int, int], list[list[int]]] = {}
    for members in classes.values():
        first = members[0]
        shape = (len(members), len(ids[0][first]), len(ids[1][first]))
        by_shape.setdefault(shape, []).append(members)
    result = []
    for groups in by_shape.values():
        picked = [
            np.array([[own[i] for i in members] for members in groups], np.intp) for own in ids
        ]
        shift = [side.shift[index] for side, index in zip(sides, picked, strict=True)]
        result.append(Balance(picked[0], picked[1], shift[0], shift[1]))
    return result


class _Side:
    """The free entries of a layer, as seen from the hidden units on one side of it."""

    def __init__(self, pattern: Pattern, unit_of: str) -> None:
        free = (pattern.weight >= 0) & (pattern.coefficient != 0)
        self.n_weights = pattern.n_weights
        self.weight = pattern.weight[free].astype(np.intp)
        self.coefficient = pattern.coefficient[free]
        row, column = (getattr(pattern, name)[free].astype(np.intp) for name in ("row", "column"))
        self.unit, self.other = (row, column) if unit_of == "row" else (column, row)
        fixed = pattern.matrix(np.zeros(pattern.n_weights))
        n_free = np.zeros(fixed.shape, np.intp)
        np.add.at(n_free, (row, column), 1)
        # A fixed number moves with its unit only if it moves with one weight beside it.
        stuck = (fixed != 0) & (n_free != 1)
        self.dead_units = stuck.any(axis=1 if unit_of == "row" else 0)
        beside = fixed[row, column] / self.coefficient
        self.shift = np.zeros(self.n_weights)
        self.shift[self.weight] = beside
        self.dead_weights = np.zeros(self.n_weights, bool)
        self.dead_weights[self.weight[beside != self.shift[self.weight]]] = True

    def described(
        self, label: _Index, n_sets: int, local_unit: _Index, local_weight: _Index
    ) -> list[bytes]:
        """Return the pattern of each set of units, with units and weights counted within it."""
        columns = (self.other, local_unit[self.unit], local_weight[self.weight])
        order = np.lexsort((*columns, label))
        table = np.empty((len(order), 4))
        for i, column in enumerate((*columns, self.coefficient)):
            table[:, i] = column[order]
        ends = np.searchsorted(label[order], np.arange(n_sets + 1))
        return [table[begin:end].tobytes() for begin, end in pairwise(ends)]


def _by_label(label: _Index, n_sets: int) -> list[_Index]:
    """Return which entries have each label."""
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(n_sets + 1))
    return [order[begin:end] for begin, end in pairwise(ends)]


def _rank(label: _Index, sets: Sequence[_Index]) -> _Index:
    """Return the place of each entry within its set."""
    rank = np.zeros(len(label), np.intp)
    for members in sets:
        rank[members] = np.arange(len(members))
    return rank


def _shift_of_dense(layer: Layer) -> FloatArray | None:
    """Return what is added to the weights of a dense or residual dense layer; None of others."""
    if isinstance(layer, layers.Dense):
        return np.zeros(layer.weight_shape)
    if isinstance(layer, layers.Residual) and isinstance(layer.layer, layers.Dense):
        return np.eye(layer.n_inputs) / layer.scale
    return None


def _fixed_part(layer: Layer) -> FloatArray:
    if isinstance(layer, layers.Dense):
        return np.zeros((1, 1))
    return np.asarray(layer.pattern.matrix(np.zeros(layer.pattern.n_weights)))
