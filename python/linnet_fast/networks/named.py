"""Networks that a few parameters name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from linnet_fast import layers
from linnet_fast._base import validate
from linnet_fast.layers.convolutions import Padding
from linnet_fast.layers.pattern import MAX_SIZE, Layer, as_text
from linnet_fast.networks.chain import MAX_LAYERS, MAX_WEIGHTS, Chain


class _Named(Chain):
    """A chain that is named by a few parameters, the fields of a frozen dataclass."""

    @property
    def spec(self) -> str:
        """The network as text that `parse` reads: how files and the command line name it."""
        parameters = (f for f in fields(self) if f.repr)  # type: ignore[arg-type]
        shown = ", ".join(f"{f.name}={as_text(getattr(self, f.name))}" for f in parameters)
        return f"{type(self).__name__}({shown})"

    def __repr__(self) -> str:
        """Show the parameters."""
        return self.spec


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dense(_Named):
    """A chain of dense layers, x -> W_L ... W_1 x.

    A network; a single layer of a `Chain` is `linnet_fast.layers.Dense`.

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
        checked = validate.integers("widths", widths, low=1, high=MAX_SIZE, most=MAX_LAYERS + 1)
        if len(checked) < 2:
            msg = f"widths must have at least 2 entries (inputs, ..., outputs), got {checked}"
            raise ValueError(msg)
        object.__setattr__(self, "widths", checked)
        # The product of any two widths is below 2**62 already, each being below 2**31.
        n_weights = sum(before * after for before, after in pairwise(checked))
        if n_weights >= MAX_WEIGHTS:
            msg = f"widths must give fewer than 2**62 weights, got {n_weights} from {checked}"
            raise ValueError(msg)
        self._set_layers(tuple(layers.Dense(*pair) for pair in pairwise(checked)))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Diagonal(_Named):
    """Diagonal layers and a dense top with one output: the predictor is w_1 o ... o w_L.

    A network; a single layer of a `Chain` is `linnet_fast.layers.Diagonal`.

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
        object.__setattr__(self, "width", validate.integer("width", width, low=1, high=MAX_SIZE))
        n = validate.integer("n_layers", n_layers, low=1, high=MAX_LAYERS)
        object.__setattr__(self, "n_layers", n)
        self._set_layers((layers.Diagonal(self.width),) * (n - 1) + (layers.Dense(self.width, 1),))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Convolution(_Named):
    """Convolutions and a dense top with one output.

    A network; a single layer of a `Chain` is `linnet_fast.layers.Convolution`.

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
        n = validate.integer("n_layers", n_layers, low=2, high=MAX_LAYERS)
        if isinstance(dilation, Iterable):
            dilations = validate.integers(
                "dilation", dilation, low=1, high=MAX_SIZE, most=MAX_LAYERS
            )
            if len(dilations) != n - 1:
                msg = f"dilation must have {n - 1} entries, one per convolution, got {dilations}"
                raise ValueError(msg)
        else:
            dilations = (validate.integer("dilation", dilation, low=1, high=MAX_SIZE),) * (n - 1)
        validate.integer("channels", channels, low=1, high=MAX_SIZE)
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
            is_shown = field.name in ("width", "n_layers") or value != usual.get(field.name, 1)
            if is_shown:
                shown.append(f"{field.name}={as_text(value)}")
        return f"Convolution({', '.join(shown)})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Residual(_Named):
    """Residual blocks and a dense top, x -> V (I + s W_N) ... (I + s W_1) x.

    A network; a single block, a layer of a `Chain`, is `linnet_fast.layers.Residual`.

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
        size = validate.integer("width", width, low=1, high=MAX_SIZE)
        n = validate.integer("n_blocks", n_blocks, low=1, high=MAX_LAYERS)
        outputs = validate.integer("n_outputs", n_outputs, low=1, high=MAX_SIZE)
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
            validate.integers(f"groups[{i}]", group, low=0, high=MAX_SIZE)
            for i, group in enumerate(validate.sequence("groups", groups, of="groups of inputs"))
        )
        members = sorted(i for group in lists for i in group)
        if not members or members != list(range(len(members))) or not all(lists):
            msg = f"groups must be disjoint and together all inputs 0, 1, ..., got {lists}"
            raise ValueError(msg)
        n = validate.integer("n_diagonal", n_diagonal, low=1, high=MAX_LAYERS)
        m = validate.integer("n_scalar", n_scalar, low=1, high=MAX_LAYERS)
        for name, value in (("groups", lists), ("n_diagonal", n), ("n_scalar", m)):
            object.__setattr__(self, name, value)
        width, count = len(members), len(lists)
        self._set_layers(
            (layers.Diagonal(width),) * (n - 1)
            + (layers.Masked.of_groups(lists, width),)
            + (layers.Diagonal(count),) * (m - 1)
            + (layers.Dense(count, 1),)
        )
