"""Architectures: chains of linear layers, dense ones and those of any pattern."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np

from linnet_fast import layers
from linnet_fast._base import validate
from linnet_fast._base.validate import Shape, WeightArray
from linnet_fast.layers.convolutions import Padding
from linnet_fast.layers.pattern import Layer

_MAX_WIDTH = 2**31 - 1
_MAX_WEIGHTS = 2**62
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
    Weights are a tuple of one array per layer that has weights of its own; "layers" of records,
    step sizes and norms are those. A training step costs as many operations as there are entries
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
    >>> cubes.n_layers, cubes.n_weights
    (1, 4)
    """

    def __init__(
        self, layers: Sequence[Layer | Chain], share: Sequence[int | None] | None = None
    ) -> None:
        self._set_layers(_flat(layers), share)

    def _set_layers(
        self, chain: tuple[Layer, ...], share: Sequence[int | None] | None = None
    ) -> None:
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
        if self.n_weights >= _MAX_WEIGHTS:
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
        """Number of arrays of weights: layers that are neither fixed nor share another's."""
        return len(self.shapes)

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

    def matrices(self, weights: Sequence[WeightArray]) -> tuple[WeightArray, ...]:
        """Return the matrix M_l of every layer.

        Parameters
        ----------
        weights : sequence of ndarray, shapes (*batch, *shapes[l])
            As `shapes` says.

        Returns
        -------
        tuple of ndarray, shapes (*batch, widths[l + 1], widths[l])
            Of fixed layers without the batch.

        Examples
        --------
        >>> import numpy as np
        >>> network = Diagonal(width=2, n_layers=2)
        >>> [m.tolist() for m in network.matrices([np.array([1.0, 2.0]), np.array([[3.0, 4.0]])])]
        [[[1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0]]]
        """
        result = []
        for layer, number in zip(self.layers, self.share, strict=True):
            if number is None:
                result.append(layer.pattern.matrix(np.zeros(0, weights[0].dtype)))
            elif isinstance(layer, layers.Dense):
                result.append(weights[number])
            else:
                own = weights[number]
                flat = own.reshape(*own.shape[: own.ndim - len(self.shapes[number])], -1)
                result.append(layer.pattern.matrix(flat))
        return tuple(result)

    def product(self, weights: Sequence[WeightArray]) -> WeightArray:
        """Return the end-to-end matrix M_L ... M_1.

        Parameters
        ----------
        weights : sequence of ndarray, shapes (*batch, *shapes[l])
            As `shapes` says.

        Returns
        -------
        ndarray, shape (*batch, n_outputs, n_inputs)

        Examples
        --------
        >>> import numpy as np
        >>> Diagonal(2, 2).product([np.array([1.0, 2.0]), np.array([[3.0, 4.0]])]).tolist()
        [[3.0, 8.0]]
        """
        matrices = self.matrices(weights)
        if self.n_outputs <= self.n_inputs:
            return reduce(lambda done, m: done @ m, matrices[::-1])
        return reduce(lambda done, m: m @ done, matrices)

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

    def __eq__(self, other: object) -> bool:
        """Networks are equal if their layers are, whatever built them."""
        if not isinstance(other, Chain):
            return NotImplemented
        return (self.layers, self.share) == (other.layers, other.share)

    def __hash__(self) -> int:
        """Hash of the layers."""
        return hash((self.layers, self.share))


class _Named(Chain):
    """A chain that is named by a few parameters, the fields of a frozen dataclass."""

    @property
    def spec(self) -> str:
        """The network as text that `parse` reads: how files and the command line name it."""
        own = (f for f in fields(self) if f.repr)  # type: ignore[arg-type]
        shown = ", ".join(f"{f.name}={layers.pattern.as_text(getattr(self, f.name))}" for f in own)
        return f"{type(self).__name__}({shown})"

    def __repr__(self) -> str:
        """Show the parameters."""
        return self.spec


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dense(_Named):
    """A chain of dense layers, x -> W_L ... W_1 x.

    Parameters
    ----------
    widths : sequence of int
        (inputs, hidden 1, ..., outputs): at least two widths, each from 1 to 2**31 - 1. Layer ``l``
        (counted from 0) has weights of shape ``(widths[l + 1], widths[l])``.

    Raises
    ------
    TypeError
        If `widths` is not a sequence of integers (bools and floats are not integers).
    ValueError
        If there are fewer than two widths, one is out of range, or there are 2**62 weights or more.

    Notes
    -----
    Papers that write a network as X W_1 W_2 ... with data in rows have the transposes of these
    matrices.

    Examples
    --------
    >>> network = Dense(widths=(64, 32, 10))
    >>> network.n_layers, network.shapes
    (2, ((32, 64), (10, 32)))
    >>> network.n_weights, network.max_rank
    (2368, 10)
    """

    widths: tuple[int, ...] = ()

    def __init__(self, widths: Sequence[int]) -> None:
        checked = validate.integers("widths", widths, low=1, high=_MAX_WIDTH)
        if len(checked) < 2:
            msg = f"widths must have at least 2 entries (inputs, ..., outputs), got {checked}"
            raise ValueError(msg)
        object.__setattr__(self, "widths", checked)
        # The product of any two widths is below 2**62 already, each being below 2**31.
        n_weights = sum(before * after for before, after in pairwise(checked))
        if n_weights >= _MAX_WEIGHTS:
            msg = f"widths must give fewer than 2**62 weights, got {n_weights} from {checked}"
            raise ValueError(msg)
        self._set_layers(tuple(layers.Dense(*pair) for pair in pairwise(checked)))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Diagonal(_Named):
    """Diagonal layers and a dense top with one output: the predictor is w_1 o ... o w_L.

    Parameters
    ----------
    width : int
        Number of inputs.
    n_layers : int
        Layers L >= 1, the top included.

    Examples
    --------
    >>> Diagonal(width=5, n_layers=3).shapes
    ((5,), (5,), (1, 5))
    """

    width: int
    n_layers: int = 2

    def __init__(self, width: int, n_layers: int = 2) -> None:
        object.__setattr__(self, "width", validate.integer("width", width, low=1, high=_MAX_WIDTH))
        n = validate.integer("n_layers", n_layers, low=1, high=10**6)
        object.__setattr__(self, "n_layers", n)
        self._set_layers((layers.Diagonal(self.width),) * (n - 1) + (layers.Dense(self.width, 1),))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Convolution(_Named):
    """Convolutions and a dense top with one output.

    Parameters
    ----------
    width : int or (int, int)
        Positions of the input, on a line or of an image.
    kernel_size : int or (int, int), optional
        Taps 0 ... kernel_size - 1 along each axis; or give `taps`.
    n_layers : int, default 2
        Layers L >= 2, the dense top included: there are L - 1 convolutions.
    taps : sequence of int, optional
        On a line, in place of `kernel_size`: offsets of the taps.
    channels : int, default 1
        Channels between the layers.
    in_channels : int, default 1
        Channels of the input.
    stride : int, default 1
        Of every convolution.
    dilation : int or sequence of int, default 1
        Steps between taps, of all convolutions or of each.
    padding : {"circular", "zero", "valid"}
        See `linnet_fast.layers.Convolution`.

    Examples
    --------
    >>> Convolution(width=64, kernel_size=3, n_layers=3).shapes
    ((1, 1, 3), (1, 1, 3), (1, 64))
    """

    width: int | tuple[int, int]
    kernel_size: int | tuple[int, int] | None
    n_layers: int = 2
    taps: tuple[int, ...] | None = None
    channels: int = 1
    in_channels: int = 1
    stride: int = 1
    dilation: int | tuple[int, ...] = 1
    padding: Padding = "circular"

    def __init__(
        self,
        width: int | Sequence[int],
        kernel_size: int | Sequence[int] | None = None,
        n_layers: int = 2,
        *,
        taps: Sequence[int] | None = None,
        channels: int = 1,
        in_channels: int = 1,
        stride: int = 1,
        dilation: int | Sequence[int] = 1,
        padding: Padding = "circular",
    ) -> None:
        n = validate.integer("n_layers", n_layers, low=2, high=10**6)
        if isinstance(dilation, Iterable):
            dilations = validate.integers("dilation", dilation, low=1, high=_MAX_WIDTH)
            if len(dilations) != n - 1:
                msg = f"dilation must have {n - 1} entries, one per convolution, got {dilations}"
                raise ValueError(msg)
        else:
            dilations = (validate.integer("dilation", dilation, low=1, high=_MAX_WIDTH),) * (n - 1)
        chain: list[Layer] = []
        extents: int | Sequence[int] = width
        for k, step in enumerate(dilations):
            layer = layers.Convolution(
                extents,
                kernel_size,
                taps=taps,
                in_channels=in_channels if k == 0 else channels,
                out_channels=channels,
                stride=stride,
                dilation=step,
                padding=padding,
            )
            chain.append(layer)
            extents = layer.out_extents
        first = chain[0]
        assert isinstance(first, layers.Convolution)
        values = {
            "width": first.width,
            "kernel_size": first.kernel_size,
            "n_layers": n,
            "taps": first.taps,
            "channels": first.out_channels,
            "in_channels": first.in_channels,
            "stride": first.stride,
            "dilation": dilations[0] if len(set(dilations)) == 1 else dilations,
            "padding": first.padding,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._set_layers((*chain, layers.Dense(chain[-1].n_outputs, 1)))

    @property
    def spec(self) -> str:
        """The network as text that `parse` reads: how files and the command line name it."""
        shown = []
        usual = {"taps": None, "kernel_size": None, "padding": "circular"}
        for field in fields(self):
            value = getattr(self, field.name)
            given = field.name in ("width", "n_layers") or value != usual.get(field.name, 1)
            if given:
                shown.append(f"{field.name}={layers.pattern.as_text(value)}")
        return f"Convolution({', '.join(shown)})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Residual(_Named):
    """Residual blocks and a dense top, x -> V (I + s W_N) ... (I + s W_1) x.

    Parameters
    ----------
    width : int
        Number of inputs, and width of all blocks.
    n_blocks : int
        Blocks N >= 1.
    n_outputs : int, default 1
        Outputs of the top V.
    scale : float, default 1
        The factor s; ``1 / sqrt(n_blocks)`` gives the depth limit.

    Examples
    --------
    >>> Residual(width=4, n_blocks=2).shapes
    ((4, 4), (4, 4), (1, 4))
    """

    width: int
    n_blocks: int
    n_outputs: int = 1
    scale: float = 1.0

    def __init__(self, width: int, n_blocks: int, n_outputs: int = 1, scale: float = 1.0) -> None:
        size = validate.integer("width", width, low=1, high=_MAX_WIDTH)
        n = validate.integer("n_blocks", n_blocks, low=1, high=10**6)
        outputs = validate.integer("n_outputs", n_outputs, low=1, high=_MAX_WIDTH)
        block = layers.Residual(layers.Dense(size, size), scale)
        values = {"width": size, "n_blocks": n, "n_outputs": outputs, "scale": block.scale}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._set_layers((block,) * n + (layers.Dense(size, outputs),))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Grouped(_Named):
    """Groups of inputs with scalars of their own: beta_g = s_1g ... s_mg (w_1 o ... o w_n)_g.

    Parameters
    ----------
    groups : sequence of sequence of int
        Disjoint groups of inputs that together are all inputs.
    n_diagonal : int, default 1
        Layers n >= 1 with a weight per input.
    n_scalar : int, default 1
        Layers m >= 1 with a weight per group, the dense top included.

    Examples
    --------
    >>> Grouped([(0, 1), (2, 3, 4)]).shapes
    ((5,), (1, 2))
    """

    groups: tuple[tuple[int, ...], ...]
    n_diagonal: int = 1
    n_scalar: int = 1

    def __init__(
        self, groups: Sequence[Sequence[int]], n_diagonal: int = 1, n_scalar: int = 1
    ) -> None:
        lists = tuple(
            validate.integers(f"groups[{i}]", group, low=0, high=_MAX_WIDTH)
            for i, group in enumerate(groups)
        )
        members = sorted(i for group in lists for i in group)
        if not members or members != list(range(len(members))) or not all(lists):
            msg = f"groups must be disjoint and together all inputs 0, 1, ..., got {lists}"
            raise ValueError(msg)
        n = validate.integer("n_diagonal", n_diagonal, low=1, high=10**6)
        m = validate.integer("n_scalar", n_scalar, low=1, high=10**6)
        for name, value in (("groups", lists), ("n_diagonal", n), ("n_scalar", m)):
            object.__setattr__(self, name, value)
        width, count = len(members), len(lists)
        self._set_layers(
            (layers.Diagonal(width),) * (n - 1)
            + (layers.Masked.of_groups(lists, width),)
            + (layers.Diagonal(count),) * (m - 1)
            + (layers.Dense(count, 1),)
        )


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

    >>> from linnet_fast import layers
    >>> network = parallel([Chain([layers.Dense(3, 1)]), Diagonal(3, 2)])
    >>> network.widths, network.n_weights
    ((3, 6, 1), 9)
    """
    if isinstance(networks, Chain) or not networks:
        msg = f"networks must be a sequence of at least one network, got {networks!r}"
        raise TypeError(msg)
    for i, network in enumerate(networks):
        validate.instance(f"networks[{i}]", network, Chain)
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


_NETWORKS: dict[str, Any] = {
    kind.__name__: kind for kind in (Chain, Dense, Diagonal, Convolution, Residual, Grouped)
} | {"parallel": parallel}
_LAYERS: dict[str, Any] = {
    name: getattr(layers, name) for name in layers.__all__ if name not in ("Layer", "Pattern")
}


def parse(text: str) -> Chain:
    """Return the network that a text such as ``Diagonal(width=5, n_layers=2)`` describes.

    Parameters
    ----------
    text : str
        A network's `spec`: calls of networks, and of layers as ``layers.Dense(5, 1)``, with
        literal numbers. Nothing else is understood and nothing is executed.

    Returns
    -------
    Chain

    Raises
    ------
    ValueError
        If the text is something else.

    Examples
    --------
    >>> parse("Convolution(width=8, kernel_size=3, n_layers=2)").n_weights
    11
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        msg = f"architecture must be a text such as 'Diagonal(width=5, n_layers=2)', got {text!r}"
        raise ValueError(msg) from error
    network = _evaluated(tree)
    if not isinstance(network, Chain):  # a wrong text, so not a TypeError
        msg = f"architecture must be a network, got {text!r}"
        raise ValueError(msg)  # noqa: TRY004
    return network


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            validate.choice("architecture", function.id, _NETWORKS)
            made = _NETWORKS[function.id]
        elif (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id == "layers"
        ):
            validate.choice("layer", function.attr, _LAYERS)
            made = _LAYERS[function.attr]
        else:
            msg = f"architecture must consist of networks and layers, got {ast.unparse(function)}"
            raise ValueError(msg)
        if any(keyword.arg is None for keyword in node.keywords):
            msg = f"architecture must not contain **, got {ast.unparse(node)}"
            raise ValueError(msg)
        named = {str(keyword.arg): _evaluated(keyword.value) for keyword in node.keywords}
        try:
            return made(*map(_evaluated, node.args), **named)
        except TypeError as error:
            msg = f"architecture {ast.unparse(node)}: {error}"
            raise ValueError(msg) from error
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(map(_evaluated, node.elts))
    try:
        return ast.literal_eval(node)
    except ValueError:
        msg = f"architecture must consist of calls and numbers, got {ast.unparse(node)}"
        raise ValueError(msg) from None


def _flat(parts: object) -> tuple[Layer, ...]:
    if not isinstance(parts, (tuple, list)) or not parts:
        msg = f"layers must be a sequence of at least one layer, got {parts!r}"
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
    if len(share) != len(chain):
        msg = f"share must have {len(chain)} entries, one per layer, got {len(share)}"
        raise ValueError(msg)
    for i, (layer, number) in enumerate(zip(chain, share, strict=True)):
        if (number is None) != (layer.weight_shape is None):
            expected = "None" if layer.weight_shape is None else "a number"
            msg = f"share[{i}] must be {expected} for {layer}, got {number}"
            raise ValueError(msg)
        if number is not None and layer.weight_shape is not None:
            value = validate.integer(f"share[{i}]", number, low=0, high=len(shapes))
            if shapes.setdefault(value, layer.weight_shape) != layer.weight_shape:
                got = f"{layer.weight_shape} and {shapes[value]}"
                msg = f"share[{i}] must name weights of the same shape, got {got}"
                raise ValueError(msg)
        numbers.append(number)
    return tuple(numbers)
