"""Layers made of layers: skips around them, blocks, sums."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import Shape
from linnet_fast.layers.pattern import Layer, Pattern


@dataclass(frozen=True, init=False, repr=False)
class Residual(Layer):
    """The identity plus a layer: ``I + scale * M``; weights as those of the layer.

    A layer of a `linnet_fast.Chain`; the network of such blocks is `linnet_fast.Residual`.

    Parameters
    ----------
    layer : Layer
        Has as many outputs as inputs.
    scale : float, default 1
        Factor on the layer, not 0; ``1 / sqrt(number of blocks)`` gives the depth limit.

    Examples
    --------
    >>> from linnet_fast.layers import Diagonal
    >>> Residual(Diagonal(2)).pattern.matrix(np.array([0.5, 1.0])).tolist()
    [[1.5, 0.0], [0.0, 2.0]]
    """

    layer: Layer
    scale: float

    def __init__(self, layer: Layer, scale: float = 1.0) -> None:
        validate.instance("layer", layer, Layer)  # type: ignore[type-abstract]
        if layer.n_inputs != layer.n_outputs:
            got = f"{layer.n_inputs} and {layer.n_outputs}"
            msg = f"layer must have as many outputs as inputs, got {got}"
            raise ValueError(msg)
        factor = validate.real("scale", scale)
        if factor == 0:
            msg = "scale must not be 0, got 0"
            raise ValueError(msg)
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "scale", factor)

    @property
    def n_inputs(self) -> int:
        """As the layer's."""
        return self.layer.n_inputs

    @property
    def n_outputs(self) -> int:
        """As the layer's."""
        return self.layer.n_outputs

    @property
    def weight_shape(self) -> Shape | None:
        """As the layer's."""
        return self.layer.weight_shape

    @property
    def fan_in(self) -> float:
        """As the layer's."""
        return self.layer.fan_in

    def _pattern(self) -> Pattern:
        inner, identity = self.layer.pattern, np.arange(self.n_inputs)
        return Pattern.of(
            (self.n_inputs, self.n_inputs),
            inner.n_weights,
            np.concatenate([identity, inner.row]),
            np.concatenate([identity, inner.column]),
            np.concatenate([np.full(self.n_inputs, -1), inner.weight]),
            np.concatenate([np.ones(self.n_inputs), self.scale * inner.coefficient]),
        )


@dataclass(frozen=True, init=False, repr=False)
class _Composite(Layer):
    """Layers side by side; weights (all of them,), those of the first layer first."""

    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        parts = validate.sequence("layers", layers, of="at least one layer")
        if not parts:
            msg = f"layers must be a sequence of at least one layer, got {layers!r}"
            raise TypeError(msg)
        for i, layer in enumerate(parts):
            validate.instance(f"layers[{i}]", layer, Layer)  # type: ignore[type-abstract]
        object.__setattr__(self, "layers", parts)

    @property
    def weight_shape(self) -> Shape | None:
        """(weights of all layers,), or None if there are none."""
        n = sum(layer.n_weights for layer in self.layers)
        return (n,) if n else None

    def _pattern(self) -> Pattern:
        parts = [layer.pattern for layer in self.layers]
        rows, columns, weights = (
            list(itertools.accumulate((getattr(p, name) for p in parts), initial=0))
            for name in ("n_outputs", "n_inputs", "n_weights")
        )
        if not self._moves_rows:
            rows = [0] * len(rows)
        if not self._moves_columns:
            columns = [0] * len(columns)
        return Pattern.of(
            (self.n_outputs, self.n_inputs),
            weights[-1],
            np.concatenate([p.row + at for p, at in zip(parts, rows, strict=False)]),
            np.concatenate([p.column + at for p, at in zip(parts, columns, strict=False)]),
            np.concatenate(
                [
                    np.where(p.weight < 0, -1, p.weight + at)
                    for p, at in zip(parts, weights, strict=False)
                ]
            ),
            np.concatenate([p.coefficient for p in parts]),
        )

    _moves_rows = True
    _moves_columns = True

    def _common(self, name: str) -> int:
        sizes = {getattr(layer, name) for layer in self.layers}
        if len(sizes) > 1:
            msg = f"layers must have equally many {name[2:]}, got {sorted(sizes)}"
            raise ValueError(msg)
        return int(sizes.pop())


@dataclass(frozen=True, init=False, repr=False)
class Stack(_Composite):
    """Layers that see the same input; their outputs follow each other, ``[M_1; M_2; ...]``.

    Parameters
    ----------
    layers : sequence of Layer
        All with the same number of inputs.

    Examples
    --------
    >>> from linnet_fast.layers import Dense, Diagonal
    >>> Stack([Diagonal(2), Dense(2, 1)]).n_outputs
    3
    """

    _moves_columns = False

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        self._common("n_inputs")

    @property
    def n_inputs(self) -> int:
        """As each layer's."""
        return self.layers[0].n_inputs

    @property
    def n_outputs(self) -> int:
        """Outputs of all layers."""
        return sum(layer.n_outputs for layer in self.layers)


@dataclass(frozen=True, init=False, repr=False)
class BlockDiagonal(_Composite):
    """Layers that each see their own part of the input; outputs follow each other.

    Parameters
    ----------
    layers : sequence of Layer

    Examples
    --------
    >>> from linnet_fast.layers import Dense, Diagonal
    >>> block = BlockDiagonal([Dense(2, 1), Diagonal(3)])
    >>> block.n_inputs, block.n_outputs
    (5, 4)
    """

    @property
    def n_inputs(self) -> int:
        """Inputs of all layers."""
        return sum(layer.n_inputs for layer in self.layers)

    @property
    def n_outputs(self) -> int:
        """Outputs of all layers."""
        return sum(layer.n_outputs for layer in self.layers)


@dataclass(frozen=True, init=False, repr=False)
class Sum(_Composite):
    """Layers that each see their own part of the input; outputs are added, ``[M_1, M_2, ...]``.

    Parameters
    ----------
    layers : sequence of Layer
        All with the same number of outputs.

    Examples
    --------
    >>> from linnet_fast.layers import Dense
    >>> total = Sum([Dense(2, 1), Dense(3, 1)])
    >>> total.n_inputs, total.n_outputs
    (5, 1)
    """

    _moves_rows = False

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        self._common("n_outputs")

    @property
    def n_inputs(self) -> int:
        """Inputs of all layers."""
        return sum(layer.n_inputs for layer in self.layers)

    @property
    def n_outputs(self) -> int:
        """As each layer's."""
        return self.layers[0].n_outputs
