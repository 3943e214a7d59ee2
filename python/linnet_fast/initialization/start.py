"""Start weights as a value: which initialisation, at which scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base import validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.initialization import nominal
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Dense

KINDS = ("gaussian", "orthogonal", "balanced", "aligned")
"""Functions of `linnet_fast.initialization`."""

_OPTIONS = {
    "fan": ("gaussian",),
    "width": ("gaussian", "orthogonal"),
    "width_exponent": ("gaussian",),
    "product": ("balanced",),
    "strengths": ("aligned",),
    "scale_of": ("aligned",),
}
"""Argument -> the kinds that take it."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Start:
    """How weights start: described rather than drawn, so that a sweep can vary it.

    Parameters
    ----------
    kind : {"gaussian", "orthogonal", "balanced", "aligned"}
        The function of `linnet_fast.initialization`.
    scale : array_like, shape (*run), default 1
        Factor >= 0: of gaussian and orthogonal starts on every layer, of balanced and aligned ones
        on the end-to-end matrix (with ``scale_of="factor"`` on the strength in each layer).
    fan : {"in", "none"}, optional
        Of gaussian starts, "in" by default.
    width : array_like, shape (*run), optional
        Of gaussian and orthogonal starts: the hidden width that those of the network stand for, up to
        1e12, or inf; see `initialization.gaussian`.
    width_exponent : array_like, shape (*run), optional
        Of gaussian starts, 0 by default: entries are multiplied by the hidden width to the power of
        minus this.
    product : array_like, shape (out, in), optional
        Of balanced starts; by default random.
    strengths : array_like, shape (k,) or (), optional
        Of aligned starts, 1 by default.
    scale_of : {"product", "factor"}, optional
        Of aligned starts, "product" by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, a name is unknown, or an option belongs to another kind.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> start = lf.Start("gaussian", scale=0.01)
    >>> start
    Start('gaussian', scale=0.01)
    >>> [w.shape for w in start.draw(lf.Dense((3, 5, 2)), rng=0, batch_shape=4)]
    [(4, 5, 3), (4, 2, 5)]
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"scale": 0, "width": 0, "width_exponent": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"width": None, "width_exponent": None}
    )

    kind: str
    scale: FloatArray
    fan: str | None
    width: FloatArray | None
    width_exponent: FloatArray | None
    product: FloatArray | None
    strengths: FloatArray | None
    scale_of: str | None

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
    ) -> None:
        object.__setattr__(self, "kind", validate.choice("kind", kind, KINDS))
        object.__setattr__(self, "scale", validate.real_array("scale", scale, at_least=0))
        options = {
            "fan": fan,
            "width": width,
            "width_exponent": width_exponent,
            "product": product,
            "strengths": strengths,
            "scale_of": scale_of,
        }
        for name, value in options.items():
            if value is not None and kind not in _OPTIONS[name]:
                kinds = " and ".join(_OPTIONS[name])
                msg = f"{name} must be left out of a start that is {kind}, it is for {kinds} ones"
                raise ValueError(msg)
        if fan is not None:
            validate.choice("fan", fan, ("in", "none"))
        if scale_of is not None:
            validate.choice("scale_of", scale_of, ("product", "factor"))
        object.__setattr__(self, "fan", fan)
        object.__setattr__(self, "scale_of", scale_of)
        widths = None if width is None else nominal.checked_widths(width, at_least=1)
        object.__setattr__(self, "width", widths)
        exponent = None
        if width_exponent is not None:
            exponent = validate.real_array("width_exponent", width_exponent)
        object.__setattr__(self, "width_exponent", exponent)
        matrix = None if product is None else validate.real_array("product", product)
        if matrix is not None and matrix.ndim != 2:
            msg = f"product must have shape (out, in), got {matrix.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "product", matrix)
        values = (
            None if strengths is None else validate.real_array("strengths", strengths, at_least=0)
        )
        if values is not None and values.ndim > 1:
            msg = f"strengths must have shape (k,) or (), got {values.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "strengths", values)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts = [repr(self.kind)]
        for name in ("scale", *_OPTIONS):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                shown = f"{value:g}" if value.ndim == 0 else f"<array {value.shape}>"
                parts.append(f"{name}={shown}")
            elif value is not None:
                parts.append(f"{name}={value!r}")
        return f"Start({', '.join(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of scale, width and its exponent."""
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
        if self.width is not None or self.width_exponent is not None:
            self.draw(network, loss, rng=0, batch_shape=self.run_shape)
        if self.kind == "gaussian":
            return
        dense = checked_network(network, Dense)
        if self.kind == "aligned":
            validate.instance("loss", loss, SquaredLoss)
            n_modes = 1 if self.strengths is None else self.strengths.size
            if n_modes > dense.max_rank:
                msg = f"strengths must have at most {dense.max_rank} modes, min(widths), got {n_modes}"
                raise ValueError(msg)
        if self.product is not None:
            initialization.balanced(dense, product=self.product, rng=0)

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
            Gives the shapes; for all kinds but gaussian a `Dense`.
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
        options: dict[str, Any] = {
            "rng": rng,
            "batch_shape": batch_shape,
            "streams": streams,
            "dtype": dtype,
        }
        if self.kind == "aligned":
            strengths = np.ones(()) if self.strengths is None else self.strengths
            scale = self.scale if strengths.ndim == 0 else self.scale[..., None]
            values = scale * strengths
            # Of a single number it would be taken as a number of modes.
            if strengths.ndim == 0 and values.ndim:
                values = np.repeat(values[..., None], network.max_rank, axis=-1)
            of: Any = {} if self.scale_of is None else {"scale_of": self.scale_of}
            return initialization.aligned(network, loss, values, **of, **options)  # type: ignore[arg-type]
        options["scale"] = self.scale
        if self.kind == "balanced":
            options["product"] = self.product
        named = ("fan", "width", "width_exponent")
        options |= {name: getattr(self, name) for name in named if getattr(self, name) is not None}
        function: Any = getattr(initialization, self.kind)
        weights: tuple[WeightArray, ...] = function(network, **options)
        return weights
