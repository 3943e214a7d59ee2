"""Start weights as a value: which initialisation, at which scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base import functions, validate
from linnet_fast._base.kinds import check_options
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast._base.value import Value
from linnet_fast.initialization import nominal, structured
from linnet_fast.initialization.own import Drawing
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Dense


class _Kind(NamedTuple):
    """What a kind of start takes besides the scale."""

    takes: tuple[str, ...]
    needs: str | None = None
    draws: bool = True
    """Whether there is chance in it."""
    check: Callable[[Chain], object] = lambda network: checked_network(network, Chain)
    """Refuses networks that it is not for."""


KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "gaussian": _Kind(("layer_scales", "fan", "width", "width_exponent")),
        "orthogonal": _Kind(("layer_scales", "width"), check=structured.check_orthogonal),
        "balanced": _Kind(("product",), check=structured.check_balanced),
        "lambda_balanced": _Kind(("imbalance", "product"), "imbalance"),
        "aligned": _Kind(
            ("strengths", "scale_of"), check=lambda network: checked_network(network, Dense)
        ),
        "spectral": _Kind(("singular_values", "layer_scales"), "singular_values"),
        "constant": _Kind(("layer_scales",), draws=False),
        "identity": _Kind(("layer_scales",), draws=False),
        "given": _Kind(("weights", "layer_scales"), "weights", draws=False),
        "custom": _Kind(("function", "layer_scales"), "function"),
    }
)
"""Functions of `linnet_fast.initialization`, and arrays or a function of your own."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Start(Value):
    """How weights start: described rather than drawn, so that a sweep can vary it.

    Parameters
    ----------
    kind : str
        A function of `linnet_fast.initialization`: "gaussian", "orthogonal", "balanced",
        "lambda_balanced", "aligned", "spectral", "constant", "identity"; or "given", for arrays, or
        "custom", for a function of your own.
    scale : array_like, shape (*run), default 1
        Factor >= 0: on every layer; of balanced, lambda-balanced and aligned starts on the end-to-end
        matrix (with ``scale_of="factor"`` on the strength in each layer).
    fan : {"in", "none"}, optional
        Of gaussian starts, "in" by default.
    width : array_like, shape (*run), optional
        Of gaussian and orthogonal starts: the hidden width that those of the network stand for, up to
        1e12, or inf; see `initialization.gaussian`.
    width_exponent : array_like, shape (*run), optional
        Of gaussian starts, 0 by default: entries are multiplied by the hidden width to the power of
        minus this.
    product : array_like, shape (out, in), optional
        Of balanced and lambda-balanced starts; by default random.
    strengths : array_like, shape (k,) or (), optional
        Of aligned starts, 1 by default.
    scale_of : {"product", "factor"}, optional
        Of aligned starts, "product" by default.
    layer_scales : array_like, shape (n_arrays,), optional
        Factors on each array of weights, of any sign, 0 for those that start from zero: of all kinds
        whose scale is one on every layer.
    imbalance : array_like, shape (*run), optional
        Of lambda-balanced starts, which need it: lambda.
    singular_values : array_like, shape (k,), optional
        Of spectral starts, which need them: those of each layer.
    weights : sequence of array_like, shapes (*network.shapes[l]), optional
        Of given starts, which need them.
    function : callable or str, optional
        Of custom starts, which need it: ``function(network, rng)`` returns weights of one run, rng being
        a `numpy.random.Generator` of that run's own; or where it is, "module:function", so that files can
        say it.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, a name is unknown, an option belongs to another kind or is missing.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> start = lf.Start("gaussian", scale=0.01)
    >>> start
    Start('gaussian', scale=0.01)
    >>> [w.shape for w in start.draw(lf.Dense((3, 5, 2)), rng=0, batch_shape=4)]
    [(4, 5, 3), (4, 2, 5)]
    >>> lf.Start("constant", 0.1, layer_scales=(1, 0)).draw(lf.Dense((1, 2, 1)))[1].tolist()
    [[0.0, 0.0]]
    >>> def first_row(network, rng):
    ...     arrays = [rng.standard_normal(shape) for shape in network.shapes]
    ...     arrays[0][1:] = 0
    ...     return arrays
    >>> lf.Start("custom", function=first_row).draw(lf.Dense((2, 2, 1)), rng=0)[0].round(1).tolist()[1]
    [0.0, 0.0]
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"scale": 0, "width": 0, "width_exponent": 0, "imbalance": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        dict.fromkeys(
            (
                "width",
                "width_exponent",
                "layer_scales",
                "imbalance",
                "singular_values",
                "weights",
                "function",
            )
        )
    )

    kind: str
    scale: FloatArray
    fan: str | None
    width: FloatArray | None
    width_exponent: FloatArray | None
    product: FloatArray | None
    strengths: FloatArray | None
    scale_of: str | None
    layer_scales: FloatArray | None
    imbalance: FloatArray | None
    singular_values: FloatArray | None
    weights: tuple[FloatArray, ...] | None
    function: Drawing | str | None

    def __init__(
        self,
        kind: str,
        scale: npt.ArrayLike = 1.0,
        *,
        fan: str | None = None,
        width: npt.ArrayLike | None = None,
        width_exponent: npt.ArrayLike | None = None,
        product: npt.ArrayLike | None = None,
        strengths: npt.ArrayLike | None = None,
        scale_of: str | None = None,
        layer_scales: npt.ArrayLike | None = None,
        imbalance: npt.ArrayLike | None = None,
        singular_values: npt.ArrayLike | None = None,
        weights: Sequence[npt.ArrayLike] | None = None,
        function: Drawing | str | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "kind", validate.choice("kind", kind, KINDS))
        put(self, "scale", validate.real_array("scale", scale, at_least=0))
        given: dict[str, object] = {
            "fan": fan,
            "width": width,
            "width_exponent": width_exponent,
            "product": product,
            "strengths": strengths,
            "scale_of": scale_of,
            "layer_scales": layer_scales,
            "imbalance": imbalance,
            "singular_values": singular_values,
            "weights": weights,
            "function": function,
        }
        check_options("start", kind, given, KINDS)
        for name, value in given.items():
            put(self, name, None if value is None else _CHECKS[name](name, value))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts = [repr(self.kind)]
        for name in ("scale", *_CHECKS):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                shown = f"{value:g}" if value.ndim == 0 else f"<array {value.shape}>"
                parts.append(f"{name}={shown}")
            elif isinstance(value, tuple):
                parts.append(f"{name}=<arrays {', '.join(str(part.shape) for part in value)}>")
            elif value is not None:
                parts.append(f"{name}={value!r}")
        return f"Start({', '.join(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters that have some."""
        arrays = {name: getattr(self, name) for name in self.inner_axes}
        shapes = {name: array.shape for name, array in arrays.items() if array is not None}
        return validate.broadcast_runs(**shapes)

    def check(self, network: Chain, loss: Loss) -> None:
        """Refuse a network or a loss that this start is not for.

        Parameters
        ----------
        network : Chain
        loss : SquaredLoss, LogisticLoss, MatrixCompletionLoss, ...

        Raises
        ------
        TypeError, ValueError
            As `draw` would.
        """
        kind = KINDS[self.kind]
        kind.check(network)
        if self.function is not None:
            return  # it is called where weights are needed, and no sooner
        if self.kind == "aligned":
            validate.instance("loss", loss, SquaredLoss)
            n_modes = 1 if self.strengths is None else self.strengths.size
            if n_modes > network.max_rank:
                msg = f"strengths must have at most {network.max_rank} modes, min(widths), got {n_modes}"
                raise ValueError(msg)
            return
        if kind.draws and all(getattr(self, name) is None for name in kind.takes):
            return  # nothing that could not suit, and what is drawn may be large
        self.draw(network, loss, rng=0, batch_shape=self.run_shape)

    def draw(
        self,
        network: Chain,
        loss: Loss | None = None,
        *,
        rng: Seed = None,
        batch_shape: int | tuple[int, ...] = (),
        streams: npt.ArrayLike | None = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> tuple[WeightArray, ...]:
        """Return start weights.

        Parameters
        ----------
        network : Chain
            Gives the shapes; for kinds that have modes a `Dense`.
        loss : SquaredLoss, optional
            Of aligned starts: what they are aligned with.
        rng, batch_shape, streams, dtype
            As of the functions of `linnet_fast.initialization`.

        Returns
        -------
        tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

        Raises
        ------
        TypeError, ValueError
            If the network or the loss does not suit the kind, or an argument is wrong.
        """
        known: dict[str, Any] = {"batch_shape": batch_shape, "dtype": dtype}
        if KINDS[self.kind].draws:
            known |= {"rng": rng, "streams": streams}
        if self.kind == "aligned":
            strengths = np.ones(()) if self.strengths is None else self.strengths
            scale = self.scale if strengths.ndim == 0 else self.scale[..., None]
            values = scale * strengths
            # Of a single number it would be taken as a number of modes.
            if strengths.ndim == 0 and values.ndim:
                values = np.repeat(values[..., None], network.max_rank, axis=-1)
            of: Any = {} if self.scale_of is None else {"scale_of": self.scale_of}
            return initialization.aligned(network, loss, values, **of, **known)  # type: ignore[arg-type]
        needed = KINDS[self.kind].needs
        first = () if needed is None else (getattr(self, needed),)
        known["scale"] = self.scale
        for name in KINDS[self.kind].takes:
            if name != needed and getattr(self, name) is not None:
                known[name] = getattr(self, name)
        made: Any = getattr(initialization, self.kind)
        weights: tuple[WeightArray, ...] = made(network, *first, **known)
        return weights


def _one_of(*names: str) -> Callable[[str, Any], str]:
    return lambda name, value: validate.choice(name, value, names)


def _matrix(name: str, value: Any) -> FloatArray:
    matrix = validate.real_array(name, value)
    if matrix.ndim != 2:
        msg = f"{name} must have shape (out, in), got {matrix.shape}"
        raise ValueError(msg)
    return matrix


def _few(name: str, value: Any) -> FloatArray:
    values = validate.real_array(name, value, at_least=0)
    if values.ndim > 1:
        msg = f"{name} must have shape (k,) or (), got {values.shape}"
        raise ValueError(msg)
    return values


def _list(name: str, value: Any, *, at_least: float | None = None) -> FloatArray:
    values = validate.real_array(name, value, at_least=at_least)
    if values.ndim != 1:
        msg = f"{name} must be a list of numbers, got shape {values.shape}"
        raise ValueError(msg)
    return values


def _arrays(name: str, value: Any) -> tuple[FloatArray, ...]:
    known = getattr(value, "weights", value)  # a state has them
    parts = validate.sequence(name, known, of="one array per array of weights")
    return tuple(validate.real_array(f"{name}[{i}]", part) for i, part in enumerate(parts))


def _function(name: str, value: Any) -> Drawing | str:
    if isinstance(value, str):
        functions.check_path(name, value)
        return value
    validate.function(name, value)
    known: Drawing = value
    return known


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "fan": _one_of("in", "none"),
    "width": lambda _, value: nominal.checked_widths(value, at_least=1),
    "width_exponent": validate.real_array,
    "product": _matrix,
    "strengths": _few,
    "scale_of": _one_of("product", "factor"),
    "layer_scales": _list,
    "imbalance": validate.real_array,
    "singular_values": lambda name, value: _list(name, value, at_least=0),
    "weights": _arrays,
    "function": _function,
}
"""What each option has to be."""
