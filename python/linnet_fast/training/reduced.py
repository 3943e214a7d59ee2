"""Dense networks as the small ones that they are.

The loss sees the first layer on the inputs that occur alone, and a step moves weights inside small
subspaces of the hidden spaces only: those spanned by what comes from the inputs and what comes back from
the outputs. Turned into them, the chain is a small one and trains as the large one does, exactly; what
lies outside stays as it is, or decays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, memory, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss, SeenInputs
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.training.compatible import check_problem

LEAST_WORK = 8000.0
"""Multiply-adds of a step, below which there is nothing to gain."""
_GAIN = 0.8  # of the work, what is left of it at most


class Bases(NamedTuple):
    """Orthonormal columns that a chain is turned into; None: it stands as it is there."""

    inputs: FloatArray | None
    """(*run, in, k), or the same for all runs."""
    hidden: tuple[FloatArray | None, ...]
    """(*run, widths[l + 1], k) of each hidden space."""

    def of_layer(self, layer: int) -> tuple[FloatArray | None, FloatArray | None]:
        """Return the bases of the outputs and of the inputs of a layer."""
        sides = (self.inputs, *self.hidden, None)
        return sides[layer + 1], sides[layer]

    def into(self, weights: tuple[WeightArray, ...]) -> tuple[FloatArray, ...]:
        """Return weights (*run, ...) in these bases."""
        return tuple(self._turned(w, i, back=False) for i, w in enumerate(weights))

    def back(self, weights: tuple[WeightArray, ...]) -> tuple[FloatArray, ...]:
        """Return weights in these bases, (*run, ...) or (*run, n_rec, ...), where they come from."""
        return tuple(self._turned(w, i, back=True) for i, w in enumerate(weights))

    def _turned(self, matrix: WeightArray, layer: int, *, back: bool) -> FloatArray:
        left, right = self.of_layer(layer)
        result = np.asarray(matrix, np.float64)
        if left is not None:
            basis = beside(left, result)
            result = algebra.product(basis if back else basis.mT, result)
        if right is not None:
            basis = beside(right, result)
            result = algebra.product(result, basis.mT if back else basis)
        return result


def beside(basis: FloatArray, matrix: WeightArray) -> FloatArray:
    """Return a basis (*run, n, k) with axes of records, if a matrix has them."""
    between = matrix.ndim - basis.ndim
    if basis.ndim == 2 or between <= 0:
        return basis
    return basis.reshape(*basis.shape[:-2], *(1,) * between, *basis.shape[-2:])


@dataclass(frozen=True, eq=False, repr=False)
class Reduced:
    """A problem, and the small one that trains as it does. Made by `reduced`.

    Parameters
    ----------
    network : Dense
        The small network.
    loss : Loss
        The loss of its end-to-end matrix.
    start : tuple of ndarray, shapes (*run, *network.shapes[l])
        Its start weights, in the dtype of the large ones.
    bases : Bases
        Orthonormal columns that its inputs and hidden spaces stand for.
    origin : tuple of ndarray
        The large start weights, with all run axes.
    has_rest : bool
        Whether one more input, and one more unit of each hidden space, are there that nothing sees:
        weights between them are the norms of what lies outside, and decay as that does.
    """

    network: Chain
    loss: Loss
    start: tuple[WeightArray, ...]
    bases: Bases
    origin: tuple[WeightArray, ...]
    has_rest: bool = False

    def __repr__(self) -> str:
        """Show the widths."""
        return f"<Reduced: {self.text}>"

    @property
    def text(self) -> str:
        """What was done, in a line."""
        before = (self.origin[0].shape[-1], *(w.shape[-2] for w in self.origin))
        *inner, n_outputs = self.network.widths
        after = (*(width - self.has_rest for width in inner), n_outputs)
        one, other = ("-".join(map(str, widths)) for widths in (before, after))
        return f"widths {one} trained as {other}"

    def expand(
        self, weights: Sequence[npt.ArrayLike], *, remembered: bool = False
    ) -> tuple[WeightArray, ...]:
        """Return the weights of the large network that small ones stand for.

        Parameters
        ----------
        weights : sequence of array_like, shapes (*run, ..., *network.shapes[l])
            Of the small network, at any point of its training; with axes of records, or without.
        remembered : bool, default False
            Whether these are no weights, but what a method remembers of them, which is 0 at the start.

        Returns
        -------
        tuple of ndarray, shapes (*run, ..., *shapes[l])
            The start, but for what has moved inside the subspaces.

        Raises
        ------
        TypeError, ValueError
            If `weights` are not made of numbers, or have other shapes.
        """
        small = validate.layer_arrays("weights", weights, self.network.shapes)
        n_runs = self.origin[0].ndim - 2
        moved, rest = [], []
        with np.errstate(over="ignore", invalid="ignore"):
            for layer, array in enumerate(small):
                between = (1,) * (array.ndim - 2 - n_runs)
                inside, whole = (
                    w.reshape(*w.shape[:n_runs], *between, *w.shape[n_runs:])
                    for w in (self.start[layer], self.origin[layer])
                )
                share = self._share(layer, array, inside, remembered=remembered)
                change = np.asarray(array, np.float64) - share * inside
                moved.append(self._without_rest(layer, change))
                rest.append(share * whole)
            back = self.bases.back(tuple(moved))
            return tuple(
                np.asarray(one + move, self.start[0].dtype)
                for one, move in zip(rest, back, strict=True)
            )

    def _share(
        self, layer: int, array: WeightArray, start: WeightArray, *, remembered: bool
    ) -> FloatArray:
        """Return what is left of what lies outside, as a share of the start."""
        untouched = 0.0 if remembered else 1.0
        if not self.has_rest or layer == self.network.n_layers - 1:
            return np.full((1, 1), untouched)
        size = np.asarray(start[..., -1:, -1:], np.float64)
        is_there = size > 0
        share = array[..., -1:, -1:] / np.where(is_there, size, 1.0)
        return np.where(is_there, share, untouched)

    def _without_rest(self, layer: int, matrix: FloatArray) -> FloatArray:
        if not self.has_rest:
            return matrix
        is_last = layer == self.network.n_layers - 1
        return matrix[..., :-1] if is_last else matrix[..., :-1, :-1]


def reduced(network: Chain, loss: Loss, start: Sequence[npt.ArrayLike]) -> Reduced:
    """Return the small network, loss and start that train as the given ones do.

    Parameters
    ----------
    network : Chain
        Of dense layers with weights of their own; others are left as they are.
    loss : Loss
        Its run axes broadcast against those of `start`.
    start : sequence of array_like, shapes (*run, *network.shapes[l])
        Start weights.

    Returns
    -------
    Reduced
        With ``network``, ``loss`` and ``start``, and ``expand(weights)``, which gives the large weights
        that small ones stand for. Where nothing can be made smaller these are the given ones.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or value.

    See Also
    --------
    train : does this by itself, where it saves work.

    Notes
    -----
    Let V be the directions of the inputs that the loss sees. The hidden spaces are cut to the smallest
    subspaces S_l that hold W_1 V, W_l S_{l-1} and W_{l+1}^T S_{l+1}, S_L being all outputs. Gradient
    descent, with momentum, batches and weight decay, and gradient flow move weights inside these alone.
    Wide networks of two layers have subspaces of at most inputs + outputs dimensions; deeper ones from
    orthogonal or balanced starts, too. Deep networks from Gaussian starts have none that are smaller
    than the network.

    References
    ----------
    After C. Yaras, P. Wang, W. Hu, Z. Zhu, L. Balzano, Q. Qu, "The law of parsimony in gradient descent
    for learning deep linear networks", 2023, where starts are orthogonal.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> network = lf.Dense((4, 1000, 2))
    >>> loss = lf.SquaredLoss(np.eye(4), np.eye(2, 4), 2.0)
    >>> start = lf.initialization.gaussian(network, scale=0.01, rng=0)
    >>> small = lf.reduced(network, loss, start)
    >>> small
    <Reduced: widths 4-1000-2 trained as 4-6-2>
    >>> run = lf.train(small.network, small.loss, small.start, method=lf.GradientDescent(0.1), n_steps=100)
    >>> weights = small.expand(run.final.weights)
    >>> [w.shape for w in weights], float(run.loss[-1].round(4)) == float(loss.value(network.product(weights)).round(4))
    ([(1000, 4), (2, 1000)], True)
    """
    check_problem(network, loss)
    arrays = validate.weights("start", start, network.shapes)
    lead = (w.shape[: w.ndim - len(s)] for w, s in zip(arrays, network.shapes, strict=True))
    runs = validate.broadcast_runs(start=np.broadcast_shapes(*lead), loss=loss.run_shape)
    whole = tuple(
        validate.over_runs(w, runs, len(s)) for w, s in zip(arrays, network.shapes, strict=True)
    )
    found = find(network, loss, whole, runs, draws=False, decays=False)
    if isinstance(found, Reduced):
        return found
    bases = Bases(None, (None,) * (network.n_layers - 1))
    return Reduced(network, loss, whole, bases, whole)


def find(
    network: Chain,
    loss: Loss,
    weights: tuple[WeightArray, ...],
    runs: Shape,
    *,
    draws: bool,
    decays: bool,
) -> Reduced | npt.NDArray[np.int64] | None:
    """Return the small problem of weights with all run axes.

    Parameters
    ----------
    network, loss, weights, runs
        Checked.
    draws : bool
        Whether samples of the loss will be drawn.
    decays : bool
        Whether weights without a gradient decay.

    Returns
    -------
    Reduced, ndarray or None
        None if nothing gets smaller. If runs have small problems of several sizes a number for each
        run, (*run): those of one number go together.
    """
    if not network.is_dense or network.n_layers < 2:
        return None
    # The bases of a run are no larger than its weights, nor is what is made of these on the way.
    if memory.exceeded(4 * 8 * network.n_weights * math.prod(runs)) is not None:
        return None
    kinds = np.broadcast_to(loss.kinds_of_runs(), runs)
    if (kinds != kinds.flat[0]).any():
        return kinds
    known = _bases(network, loss, weights, runs)
    if known is None or isinstance(known, np.ndarray):
        return known
    bases, seen = known
    if bases.inputs is None and all(basis is None for basis in bases.hidden):
        return None
    small = bases.into(weights)
    inner: Loss | None = loss
    if seen is not None:
        inner = loss.on_seen(seen, draws=draws)
        n_more = small[0].shape[-1] - seen.n_seen + decays
        inner = inner.padded(n_more) if n_more else inner
    elif decays:
        inner = loss.padded(1)
    if inner is None:
        return None
    if decays:
        outside = _outside(weights, bases.back(small))
        small = tuple(_with_rest(w, outside, layer) for layer, w in enumerate(small))
    start = tuple(w.astype(weights[0].dtype) for w in small)
    chain = Dense((start[0].shape[-1], *(w.shape[-2] for w in start)))
    return Reduced(chain, inner, start, bases, weights, decays)


def _outside(
    weights: tuple[WeightArray, ...], inside: tuple[FloatArray, ...]
) -> tuple[FloatArray, ...]:
    """Return the norms of what of the weights lies outside, (*run), of each layer."""
    return tuple(norms(np.asarray(w, np.float64) - i) for w, i in zip(weights, inside, strict=True))


def _with_rest(small: FloatArray, outside: tuple[FloatArray, ...], layer: int) -> FloatArray:
    """Return small weights with one more unit on each side, but for the outputs."""
    is_last = layer == len(outside) - 1
    edges = [(0, 0)] * (small.ndim - 2) + [(0, 0 if is_last else 1), (0, 1)]
    padded = np.pad(small, edges)
    if not is_last:
        padded[..., -1, -1] = outside[layer]
    return padded


def norms(matrices: FloatArray) -> FloatArray:
    """Return Frobenius norms of (*run, rows, columns)."""
    flat = matrices.reshape(*matrices.shape[:-2], -1)
    scale = np.abs(flat).max(axis=-1, keepdims=True)
    unit = flat / np.where(scale > 0, scale, 1.0)
    squares = algebra.cross_products(unit[..., None], unit[..., None])[..., 0, 0]
    return np.asarray(scale[..., 0] * np.sqrt(squares))


def work(network: Chain, loss: Loss) -> float:
    """Return about how many multiply-adds a step takes."""
    widths = network.widths
    rows = min(widths[0], widths[-1])
    pairs = list(pairwise(widths))
    inner = pairs[:-1] if widths[-1] <= widths[0] else pairs[1:]
    return 3.0 * rows * sum(a * b for a, b in inner) + loss.work(network.n_inputs)


def pays(network: Chain, loss: Loss, small: Reduced) -> bool:
    """Return whether a small problem is worth its while."""
    return work(small.network, small.loss) <= _GAIN * work(network, loss)


def _bases(
    network: Chain, loss: Loss, weights: tuple[WeightArray, ...], runs: Shape
) -> tuple[Bases, SeenInputs | None] | npt.NDArray[np.int64] | None:
    """Return the bases of a chain and what the loss sees of the inputs; None where all is needed.

    Or numbers of runs that go together, if they do not all do.
    """
    widths = network.widths
    seen = loss.seen_inputs()
    n_seen = network.n_inputs if seen is None else seen.n_seen
    whole = n_seen + network.n_outputs  # what two layers need; narrower spaces are left as they are
    hidden: tuple[FloatArray | None, ...] = (None,) * (network.n_layers - 1)
    columns = None if seen is None else seen.columns[..., :n_seen]
    if seen is not None and columns is not None:
        # The complement, if small, is as good as what a run needs of it, and the same for all.
        is_small = network.n_inputs - n_seen <= min(widths[1], whole)
        seen = SeenInputs(_completed(seen) if is_small else columns, n_seen)
    needs_unseen = seen is not None and seen.columns.shape[-1] < network.n_inputs
    if needs_unseen or any(width > whole for width in widths[1:-1]):
        # Layers of unequal widths may add the outputs once more each.
        most = n_seen + (network.n_layers - 1) * network.n_outputs
        found, ranks = algebra.subspaces(weights, columns, most=most, runs=runs)
        rows = ranks.reshape(-1, network.n_layers)
        if (rows != rows[0]).any():
            return np.unique(rows, axis=0, return_inverse=True)[1].reshape(runs).astype(np.int64)
        has_none = bool((rows < 0).any())
        if has_none and (seen is None or needs_unseen):
            return None
        if not has_none:
            sizes = [max(int(n), 1) for n in rows[0]]
            hidden = tuple(
                None if width <= whole else basis[..., :size]
                for width, basis, size in zip(widths[1:-1], found[1:], sizes[1:], strict=True)
            )
            if needs_unseen and columns is not None:
                shared = np.broadcast_to(columns, (*runs, *columns.shape[-2:]))
                unseen = found[0][..., : sizes[0]]
                return Bases(np.concatenate([shared, unseen], axis=-1), hidden), seen
    return Bases(None if seen is None else seen.columns, hidden), seen


def _completed(seen: SeenInputs) -> FloatArray:
    """Return all columns of a basis of the inputs, those that are seen first."""
    columns = seen.columns
    n_inputs = columns.shape[-2]
    if columns.shape[-1] == n_inputs:
        return columns
    square = np.zeros((*columns.shape[:-1], n_inputs))
    square[..., : seen.n_seen] = columns
    # Reflections of orthonormal columns leave them as they are, and fill up the others.
    filled = algebra.orthonormal_columns(square)
    return np.concatenate([columns, filled[..., seen.n_seen :]], axis=-1)
