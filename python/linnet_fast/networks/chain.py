"""Architectures: chains of linear layers, dense ones and those of any pattern."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast._base import notebook, validate
from linnet_fast._base.validate import Shape, WeightArray
from linnet_fast.layers.pattern import Layer

MAX_WEIGHTS = 2**62
MAX_LAYERS = 10_000
_Network = TypeVar("_Network", bound="Chain")

_LONG = 300  # texts beyond this many characters are abridged by repr


class Chain:
    """A chain of layers of your own, x -> M_L ... M_1 x.

    Parameters
    ----------
    layers : sequence of Layer or Chain
        First to last, see `linnet_fast.layers`; chains are put in with their layers.
    share : sequence of int or None, optional
        One entry per layer: layers with the same number share their weights, and so have weights of
        the same shape; None for fixed layers. By default each has weights of its own.

    Raises
    ------
    TypeError
        If something is not a layer.
    ValueError
        If a layer has not as many inputs as the one before it has outputs, nothing can be trained,
        or layers share what they cannot share.

    See Also
    --------
    Dense, Diagonal, Convolution, Residual, Grouped, parallel

    Notes
    -----
    Weights are a tuple of `n_arrays` arrays, one per layer that has weights of its own; records,
    step sizes and norms of layers have an entry for each of these. A training step costs as many operations as there are entries
    in the layers, three times, for each input or each output, whichever are fewer; dense layers
    cost what matrix products cost.

    Examples
    --------
    >>> from linnet_fast import layers
    >>> network = Chain([layers.Convolution(8, kernel_size=3), layers.Dense(8, 1)])
    >>> network.shapes, network.widths
    (((1, 1, 3), (1, 8)), (8, 8, 1))

    A predictor whose entries are cubes of the weights:

    >>> cubes = Chain([layers.Diagonal(4)] * 3 + [layers.Fixed([[1.0] * 4])], share=[0, 0, 0, None])
    >>> cubes.n_layers, cubes.n_arrays, cubes.n_weights
    (4, 1, 4)
    """

    def __init__(
        self, layers: Sequence[Layer | Chain], share: Sequence[int | None] | None = None
    ) -> None:
        self._set_layers(_flat(layers), share)

    def _set_layers(
        self, chain: tuple[Layer, ...], share: Sequence[int | None] | None = None
    ) -> None:
        if len(chain) > MAX_LAYERS:
            msg = f"layers must be at most {MAX_LAYERS:,}, got {len(chain):,}"
            raise ValueError(msg)
        for i, (before, after) in enumerate(pairwise(chain)):
            if before.n_outputs != after.n_inputs:
                got = f"{after.n_inputs} after {before.n_outputs}"
                msg = f"layers[{i + 1}] must have as many inputs as layers[{i}] outputs, got {got}"
                raise ValueError(msg)
        numbers = _shared(chain, share)
        object.__setattr__(self, "_layers", chain)
        object.__setattr__(self, "_share", numbers)
        if not any(number is not None for number in numbers):
            msg = "layers must have weights, got only fixed ones"
            raise ValueError(msg)
        if self.n_weights >= MAX_WEIGHTS:
            msg = f"layers must have fewer than 2**62 weights, got {self.n_weights}"
            raise ValueError(msg)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, first to last, fixed ones included."""
        return self._layers  # type: ignore[attr-defined, no-any-return]

    @property
    def share(self) -> tuple[int | None, ...]:
        """For each of `layers`, the number of its array of weights; None if it has none."""
        return self._share  # type: ignore[attr-defined, no-any-return]

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each array of weights."""
        shapes: dict[int, Shape] = {}
        for layer, number in zip(self.layers, self.share, strict=True):
            if number is not None and layer.weight_shape is not None:
                shapes[number] = layer.weight_shape
        return tuple(shapes[number] for number in range(len(shapes)))

    @property
    def n_layers(self) -> int:
        """Number of `layers`, fixed ones and those that share weights included."""
        return len(self.layers)

    @property
    def n_arrays(self) -> int:
        """Number of arrays of weights: of layers that are neither fixed nor share another's."""
        return len(self.shapes)

    @property
    def is_dense(self) -> bool:
        """Whether all layers are dense, with weights of their own."""
        all_dense = all(isinstance(layer, layers.Dense) for layer in self.layers)
        return all_dense and self.share == tuple(range(self.n_layers))

    @property
    def widths(self) -> tuple[int, ...]:
        """(inputs, outputs of each of `layers`)."""
        return (self.layers[0].n_inputs, *(layer.n_outputs for layer in self.layers))

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.layers[0].n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.layers[-1].n_outputs

    @property
    def n_weights(self) -> int:
        """Number of weights of all layers together."""
        return sum(map(math.prod, self.shapes))

    @property
    def max_rank(self) -> int:
        """The least width, which the rank of the end-to-end matrix cannot exceed."""
        return min(self.widths)

    def matrices(self, weights: Sequence[npt.ArrayLike]) -> tuple[WeightArray, ...]:
        """Return the matrix M_l of every layer.

        Parameters
        ----------
        weights : sequence of array_like, shapes (*batch, *shapes[l])
            As `shapes` says; finite or not.

        Returns
        -------
        tuple of ndarray, shapes (*batch, widths[l + 1], widths[l])
            Of fixed layers without the batch.

        Examples
        --------
        >>> import numpy as np
        >>> from linnet_fast import Diagonal
        >>> network = Diagonal(width=2, n_layers=2)
        >>> [m.tolist() for m in network.matrices([np.array([1.0, 2.0]), np.array([[3.0, 4.0]])])]
        [[[1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0]]]
        """
        return self._matrices(validate.layer_arrays("weights", weights, self.shapes))

    def _matrices(self, weights: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
        """Return the matrices of weights that were checked, of any dtype."""
        result = []
        for layer, number in zip(self.layers, self.share, strict=True):
            if number is None:
                result.append(layer.pattern._matrix(np.zeros(0, weights[0].dtype)))
            elif isinstance(layer, layers.Dense):
                result.append(weights[number])
            else:
                array = weights[number]
                flat = array.reshape(*array.shape[: array.ndim - len(self.shapes[number])], -1)
                result.append(layer.pattern._matrix(flat))
        return tuple(result)

    def product(self, weights: Sequence[npt.ArrayLike]) -> WeightArray:
        """Return the end-to-end matrix M_L ... M_1.

        Parameters
        ----------
        weights : sequence of array_like, shapes (*batch, *shapes[l])
            As `shapes` says; finite or not.

        Returns
        -------
        ndarray, shape (*batch, n_outputs, n_inputs)

        Examples
        --------
        >>> import numpy as np
        >>> from linnet_fast import Diagonal
        >>> Diagonal(2, 2).product([np.array([1.0, 2.0]), np.array([[3.0, 4.0]])]).tolist()
        [[3.0, 8.0]]
        """
        arrays = validate.layer_arrays("weights", weights, self.shapes)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._product(arrays)

    def _product(self, weights: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the product of weights that were checked, of any dtype."""
        matrices = self._matrices(weights)
        if self.n_outputs <= self.n_inputs:
            return reduce(lambda done, m: done @ m, matrices[::-1])
        return reduce(lambda done, m: m @ done, matrices)

    def gradients(
        self, weights: Sequence[npt.ArrayLike], by_product: npt.ArrayLike
    ) -> tuple[WeightArray, ...]:
        """Return the gradient of a function of the end-to-end matrix by each array of weights.

        Parameters
        ----------
        weights : sequence of array_like, shapes (*batch, *shapes[l])
            As `shapes` says; finite or not.
        by_product : array_like, shape (*batch, n_outputs, n_inputs)
            Its gradient by the end-to-end matrix.

        Returns
        -------
        tuple of ndarray, shapes (*batch, *shapes[l])
            By the matrix of a layer, (M_L ... M_{l+1})^T by_product (M_{l-1} ... M_1)^T; gathered by
            weight.

        Examples
        --------
        >>> import numpy as np
        >>> network = Chain([layers.Dense(1, 1), layers.Dense(1, 1)])
        >>> weights = [np.array([[2.0]]), np.array([[3.0]])]
        >>> [g.tolist() for g in network.gradients(weights, np.array([[1.0]]))]
        [[[3.0]], [[2.0]]]
        """
        arrays = validate.layer_arrays("weights", weights, self.shapes)
        ends = validate.floating("by_product", by_product, (self.n_outputs, self.n_inputs))
        validate.broadcast_runs(
            weights=np.broadcast_shapes(
                *(w.shape[: w.ndim - len(s)] for w, s in zip(arrays, self.shapes, strict=True))
            ),
            by_product=ends.shape[:-2],
        )
        with np.errstate(over="ignore", invalid="ignore"):
            return self._gradients(arrays, ends)

    def _gradients(
        self, weights: Sequence[WeightArray], by_product: WeightArray
    ) -> tuple[WeightArray, ...]:
        matrices = self._matrices(weights)
        result: list[Any] = [0.0] * self.n_arrays
        for place, (layer, number) in enumerate(zip(self.layers, self.share, strict=True)):
            if number is None:
                continue
            gradient = by_product
            if place < len(matrices) - 1:
                gradient = _multiplied(matrices[place + 1 :]).mT @ gradient
            if place > 0:
                gradient = gradient @ _multiplied(matrices[:place]).mT
            if not isinstance(layer, layers.Dense):
                flat = layer.pattern._pull_back(gradient)
                gradient = flat.reshape(*flat.shape[:-1], *self.shapes[number])
            result[number] = result[number] + gradient
        return tuple(result)

    @property
    def spec(self) -> str:
        """The network as text that `parse` reads: how files and the command line name it."""
        parts = ", ".join(layer.spec for layer in self.layers)
        share = "" if self.share == _shared(self.layers, None) else f", share={list(self.share)}"
        return f"Chain([{parts}]{share})"

    def __repr__(self) -> str:
        """Show the text of the network, abridged where it is long."""
        text = self.spec
        if len(text) <= _LONG:
            return text
        return f"<Chain of {len(self.layers)} layers, {self.n_inputs} -> {self.n_outputs}>"

    def _repr_html_(self) -> str:
        rows = (
            (
                i,
                layer.spec,
                " x ".join(map(str, self.shapes[number])) if number is not None else "none",
            )
            for i, (layer, number) in enumerate(zip(self.layers, self.share, strict=True))
        )
        title = f"{self.n_inputs} inputs -> {self.n_outputs} outputs, {self.n_weights:,} weights"
        return notebook.table(title, ("", "layer", "weights"), rows)

    def __eq__(self, other: object) -> bool:
        """Networks are equal if their layers are, whatever built them."""
        if not isinstance(other, Chain):
            return NotImplemented
        return (self.layers, self.share) == (other.layers, other.share)

    def __hash__(self) -> int:
        """Hash of the layers."""
        return hash((self.layers, self.share))


def checked_network(network: object, kind: type[_Network], name: str = "network") -> _Network:
    """Return a network, which must be of a kind; a layer alone, whose name may be the same, is none."""
    if not isinstance(network, Layer):
        return validate.instance(name, network, kind)
    example = f"Dense(({network.n_inputs}, {network.n_outputs}))"
    way = "; put it into Chain([...])" if issubclass(Chain, kind) else ""
    msg = f"{name} must be a {kind.__name__} such as {example}, got the layer {network!r}{way}"
    raise TypeError(msg)


def parallel(networks: Sequence[Chain]) -> Chain:
    """Return the chain that computes the sum of networks side by side.

    Parameters
    ----------
    networks : sequence of Chain
        With equal inputs and equal outputs, and no shared weights. Shorter ones are made longer by
        fixed identities.

    Returns
    -------
    Chain
        Weights of layers side by side follow each other in one flat array.

    Raises
    ------
    TypeError
        If something is not a network.
    ValueError
        If inputs or outputs differ, or a network shares weights.

    Examples
    --------
    A linear skip beside a product of two layers:

    >>> from linnet_fast import Diagonal, layers
    >>> network = parallel([Chain([layers.Dense(3, 1)]), Diagonal(3, 2)])
    >>> network.widths, network.n_weights
    ((3, 6, 1), 9)
    """
    if not isinstance(networks, list | tuple) or not networks:
        got = validate.brief(networks)
        msg = f"networks must be a sequence of at least one network, got {got}"
        raise TypeError(msg)
    for i, network in enumerate(networks):
        checked_network(network, Chain, f"networks[{i}]")
        if network.share != _shared(network.layers, None):
            msg = f"networks[{i}] must not share weights between layers, got {network}"
            raise ValueError(msg)
    depth = max(len(network.layers) for network in networks)
    # What is missing is put in front: a path begins with copies of the input.
    paths = [
        [layers.Fixed(np.eye(n.n_inputs))] * (depth - len(n.layers)) + list(n.layers)
        for n in networks
    ]
    if depth == 1:
        # Sums of single layers need their inputs twice.
        copies = layers.Stack([layers.Fixed(np.eye(n.n_inputs)) for n in networks])
        return Chain([copies, layers.Sum([path[0] for path in paths])])
    return Chain(
        [
            layers.Stack([path[0] for path in paths]),
            *(layers.BlockDiagonal([path[k] for path in paths]) for k in range(1, depth - 1)),
            layers.Sum([path[-1] for path in paths]),
        ]
    )


def core_factors(network: Chain) -> list[tuple[Any, ...]]:
    """Return the layers as the core takes them: dense ones as such, others by their entries."""
    result: list[tuple[Any, ...]] = []
    for layer, number in zip(network.layers, network.share, strict=True):
        array = -1 if number is None else number
        inner = layer.layer if isinstance(layer, layers.Residual) else layer
        if isinstance(inner, layers.Dense):
            scale = layer.scale if isinstance(layer, layers.Residual) else 1.0
            result.append((layer.n_outputs, layer.n_inputs, array, inner is not layer, scale))
        else:
            p = layer.pattern
            entries = (p.row, p.column, p.weight, p.coefficient)
            result.append((layer.n_outputs, layer.n_inputs, array, entries))
    return result


def _multiplied(matrices: Sequence[WeightArray]) -> WeightArray:
    return reduce(lambda product, matrix: matrix @ product, matrices)


def _flat(parts: object) -> tuple[Layer, ...]:
    if not isinstance(parts, (tuple, list)) or not parts:
        msg = f"layers must be a sequence of at least one layer, got {validate.brief(parts)}"
        raise TypeError(msg)
    chain: list[Layer] = []
    for i, part in enumerate(parts):
        if isinstance(part, Chain):
            if part.share != _shared(part.layers, None):
                msg = f"layers[{i}] must not share weights inside; say so by `share` of the whole"
                raise ValueError(msg)
            chain += part.layers
        else:
            chain.append(validate.instance(f"layers[{i}]", part, Layer))  # type: ignore[type-abstract]
    return tuple(chain)


def _shared(chain: Sequence[Layer], share: Sequence[int | None] | None) -> tuple[int | None, ...]:
    """Return the number of the array of weights of each layer, checked."""
    if share is None:
        count = iter(range(len(chain)))
        return tuple(None if layer.weight_shape is None else next(count) for layer in chain)
    numbers: list[int | None] = []
    shapes: dict[int, Shape] = {}
    given = validate.sequence("share", share, of="integers or None")
    if len(given) != len(chain):
        msg = f"share must have {len(chain)} entries, one per layer, got {len(given)}"
        raise ValueError(msg)
    for i, (layer, number) in enumerate(zip(chain, given, strict=True)):
        if (number is None) != (layer.weight_shape is None):
            expected = "None" if layer.weight_shape is None else "a number"
            msg = f"share[{i}] must be {expected} for {layer}, got {validate.brief(number)}"
            raise ValueError(msg)
        if number is not None and layer.weight_shape is not None:
            value = validate.integer(f"share[{i}]", number, low=0, high=len(shapes))
            if shapes.setdefault(value, layer.weight_shape) != layer.weight_shape:
                got = f"{layer.weight_shape} and {shapes[value]}"
                msg = f"share[{i}] must name weights of the same shape, got {got}"
                raise ValueError(msg)
            numbers.append(value)
        else:
            numbers.append(None)
    return tuple(numbers)
