"""What gradient flow conserves between neighbouring layers, and how far descent moves it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.layers.pattern import Layer, Pattern
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain
from linnet_fast.rank_dynamics.analysis import plain_method, products, quiet
from linnet_fast.training.trajectory import Trajectory

_Index = npt.NDArray[np.intp]


def imbalance_drift(trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Return how far what gradient flow conserves between layers has moved, and a bound on it.

    Parameters
    ----------
    trajectory : Trajectory
        With ``weights`` recorded; without weight decay.

    Returns
    -------
    drift : ndarray of float64, shape (*run, n_rec, n_arrays - 1)
        Of neighbouring arrays of weights: nuclear norm of the change of what the flow conserves, see
        the notes, since the first record.
    bound : ndarray of float64, shape (*run, n_rec)
        Of gradient descent, for each pair and up to rounding: step_size (f_0 - f) / (1 - step_size S /
        2), with S a bound on the sharpness on the straight lines between the records up to there. A
        theorem where every step is recorded; else if no step between two records goes where it is
        sharper. inf if step_size S >= 2. Of gradient flow: 0.

    Raises
    ------
    ValueError
        If weights were not recorded, the method has weight decay or multipliers of layers, or nothing
        is conserved between two neighbours.

    Notes
    -----
    Of neighbouring layers with weights of their own it is, in matrices M of the layers:

    - dense ones: ``M_{l+1}^T M_{l+1} - M_l M_l^T``; the same of residual ones, ``M = I + s W`` with W
      dense, but each M over its s.
    - other patterns: of each hidden unit, or set of units that weights tie together as a convolution
      does those of a channel, the difference of the sums of the squares of the weights above and below;
      and inner products of such weights of two that have the same pattern. So the diagonal, blocks, or
      the Gram matrices of channels. A weight that stands beside a fixed number is counted with it, ``w +
      offset / coefficient``. Units that fixed entries belong to conserve nothing.

    With fixed layers between them, or with weights that are used n times, it is ``|w_{k+1}|^2 / n_{k+1} -
    |w_k|^2 / n_k``, if neither is in a layer with fixed entries.

    All of it follows from changes of the weights that leave the product as it is: if these are
    symmetric linear maps S, ``w^T S w`` is conserved. A step of descent changes it by step_size^2 ``g^T S
    g``, g the gradient.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, "On the optimization of deep networks: implicit acceleration by
    overparameterization", ICML 2018. S. S. Du, W. Hu, J. D. Lee, "Algorithmic regularization in learning
    deep homogeneous models: layers are automatically balanced", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(lf.Dense((2, 4, 2)), rng=0)
    >>> run = lf.train(lf.Dense((2, 4, 2)), loss, start, method=lf.GradientDescent(0.02), n_steps=500,
    ...                record=lf.Record.geomspace(20, observables=("weights",)))
    >>> drift, bound = imbalance_drift(run)
    >>> bool((drift[:, 0] <= bound).all())
    True
    """
    plain_method(trajectory, "imbalance_drift")
    if "weights" not in trajectory.observables:
        msg = "trajectory must have weights recorded, got " + ", ".join(trajectory.observables)
        raise ValueError(msg)
    network = trajectory.network
    runs, n_records = trajectory.run_shape, trajectory.time.shape[-1]
    conserved = [_conserved(network, pair) for pair in range(network.n_arrays - 1)]
    eta = trajectory.method.constant_step_size
    loss = None if eta is None else trajectory.squared_loss
    weights = [np.asarray(w, np.float64) for w in trajectory.weights]
    flat = [w.reshape(*runs, n_records, -1) for w in weights]
    drift = np.zeros((*runs, n_records, network.n_arrays - 1))
    for pair, quantities in enumerate(conserved):
        for part in quantities:
            drift[..., pair] += _moved(part, flat[pair], flat[pair + 1])
    if eta is None or loss is None:
        return drift, np.zeros((*runs, n_records))
    product = products(trajectory)
    with quiet():
        value = np.stack([loss.value(product[..., i, :, :]) for i in range(n_records)], axis=-1)
        rate = eta[..., None]
        room = 1 - rate * _sharpness(network, loss, weights, product) / 2
        bound = rate * (value[..., :1] - value) / np.where(room > 0, room, 1.0)
        # A loss that rises, or is beyond float64, has taken steps that the sharpness did not allow.
        falls = value <= value[..., :1] * (1 + 1e-12)
        known = np.where((room > 0) & falls, np.maximum(bound, 0.0), np.inf)
        return drift, np.where(np.isnan(value), np.nan, known)


class _Conserved(NamedTuple):
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


def _moved(part: _Conserved, below: FloatArray, above: FloatArray) -> FloatArray:
    """Return the nuclear norm of the change since the first record, (*run, n_rec)."""
    with quiet():
        v = below[..., part.below] + part.below_shift
        w = above[..., part.above] + part.above_shift
        gap = part.above_factor * (w @ w.mT) - part.below_factor * (v @ v.mT)
        change = gap - gap[..., :1, :, :, :]
    finite = np.asarray(np.isfinite(change).all(axis=(-3, -2, -1)))
    values = np.linalg.eigvalsh(np.where(finite[..., None, None, None], change, 0.0))
    return np.where(finite, np.abs(values).sum(axis=(-2, -1)), np.nan)


def _conserved(network: Chain, pair: int) -> list[_Conserved]:
    """Return what the flow conserves between two neighbouring arrays of weights; refuse nothing."""
    places = [
        [i for i, number in enumerate(network.share) if number == array]
        for array in (pair, pair + 1)
    ]
    below, above = ([network.layers[i] for i in at] for at in places)
    found: list[_Conserved] = []
    if len(below) == len(above) == 1 and places[1][0] == places[0][0] + 1:
        found = _between(below[0], above[0])
    elif not any(_fixed_part(layer).any() for layer in (*below, *above)):
        ids = [np.arange(layer[0].n_weights)[None, None] for layer in (below, above)]
        zero = np.zeros(1)
        found = [_Conserved(ids[0], ids[1], zero, zero, 1 / len(below), 1 / len(above))]
    if not found:
        msg = (
            "imbalance_drift needs neighbouring layers between which something is conserved, got "
            f"{below[0]!r} and {above[0]!r}, with shared weights or fixed layers between them beside "
            "fixed entries, or with fixed entries for every unit"
        )
        raise ValueError(msg)
    return found


def _between(below: Layer, above: Layer) -> list[_Conserved]:
    """Return what is conserved between two layers that follow each other."""
    width = below.n_outputs
    shifts = _shift_of_dense(below), _shift_of_dense(above)
    if shifts[0] is not None and shifts[1] is not None:
        rows = np.arange(below.n_weights).reshape(1, width, -1)
        columns = np.arange(above.n_weights).reshape(-1, width).T[None]
        return [_Conserved(rows, columns, shifts[0][None], shifts[1].T[None])]
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
        result.append(_Conserved(picked[0], picked[1], shift[0], shift[1]))
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


def _sharpness(
    network: Chain, loss: SquaredLoss, weights: Sequence[WeightArray], product: FloatArray
) -> FloatArray:
    """Return a bound on the sharpness on the lines between the records up to each, (*run, n_rec)."""
    cov, cross = loss.input_cov[..., None, :, :], loss.cross_cov[..., None, :, :]
    top = np.linalg.norm(loss.input_cov, 2, axis=(-2, -1))[..., None]
    residual = _spectral(product @ cov - cross)
    lead = product.shape[:-2]
    norms, steps = [], []
    for matrix in network.matrices(weights):
        full = np.broadcast_to(np.asarray(matrix, np.float64), (*lead, *matrix.shape[-2:]))
        norms.append(_over_segments(_spectral(full)))
        step = np.zeros(lead)
        step[..., 1:] = _spectral(np.diff(full, axis=-3))
        steps.append(step)
    gain = [
        0.0 if number is None else _gain(layer)
        for layer, number in zip(network.layers, network.share, strict=True)
    ]
    n_layers = network.n_layers
    ones = np.ones(lead)
    above = [ones]
    for norm in norms[:0:-1]:
        above.append(above[-1] * norm)
    above.reverse()  # of the layers above each
    first = np.zeros((network.n_arrays, *lead))
    second = np.zeros((network.n_arrays, *lead))
    bend = np.zeros(lead)
    below = ones
    for i in range(n_layers):
        low = network.share[i]
        if low is not None:
            first[low] += gain[i] * below * above[i]
        between = below
        for j in range(i + 1, n_layers):
            others = between * above[j]
            high = network.share[j]
            if low is not None and high is not None:
                for array in (low, high):
                    second[array] += gain[i] * gain[j] * others
            bend = bend + 2 * steps[i] * steps[j] * others
            between = between * norms[j]
        below = below * norms[i]
    # The residual is within bend / 8 of the straight line between its ends.
    residual = _over_segments(residual) + top * bend / 8
    sharp = top * np.sum(first**2, axis=0) + residual * second.max(axis=0)
    return np.asarray(np.maximum.accumulate(sharp, axis=-1))


def _gain(layer: Layer) -> float:
    """Return a bound on the Frobenius norm of a change of the matrix, over that of the weights."""
    if isinstance(layer, layers.Dense):
        return 1.0
    pattern = layer.pattern
    free = pattern.weight >= 0
    size = np.abs(pattern.coefficient[free])
    by_weight, by_square = np.zeros(pattern.n_weights), np.zeros(pattern.n_weights)
    np.add.at(by_weight, pattern.weight[free], size)
    np.add.at(by_square, pattern.weight[free], size**2)
    place = pattern.row[free].astype(np.int64) * pattern.n_inputs + pattern.column[free]
    at, where = np.unique(place, return_inverse=True)
    if len(at) == len(place):
        return float(np.sqrt(by_square.max()))
    by_place = np.zeros(len(at))
    np.add.at(by_place, where, size)
    return float(np.sqrt(by_weight.max() * by_place.max()))


def _over_segments(values: FloatArray) -> FloatArray:
    """Return the larger of the values at both ends of each segment, which ends at its record."""
    result = values.copy()
    result[..., 1:] = np.maximum(values[..., 1:], values[..., :-1])
    return result


def _spectral(matrices: FloatArray) -> FloatArray:
    finite = np.asarray(np.isfinite(matrices).all(axis=(-2, -1)))
    norms = np.linalg.norm(np.where(finite[..., None, None], matrices, 0.0), 2, axis=(-2, -1))
    return np.where(finite, norms, np.nan)
