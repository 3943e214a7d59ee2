"""Architectures: the shapes of the layers of a deep linear network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linnet_fast import _validate

_MAX_WIDTH = 2**31 - 1
_MAX_WEIGHTS = 2**62


@dataclass(frozen=True, init=False)
class Dense:
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

    widths: tuple[int, ...]

    def __init__(self, widths: Sequence[int]) -> None:
        checked = _validate.integers("widths", widths, low=1, high=_MAX_WIDTH)
        if len(checked) < 2:
            msg = f"widths must have at least 2 entries (inputs, ..., outputs), got {checked}"
            raise ValueError(msg)
        object.__setattr__(self, "widths", checked)
        # The product of any two widths is below 2**62 already, each being below 2**31.
        if self.n_weights >= _MAX_WEIGHTS:
            msg = f"widths must give fewer than 2**62 weights, got {self.n_weights} from {checked}"
            raise ValueError(msg)

    @property
    def n_layers(self) -> int:
        """Number of layers, ``len(widths) - 1``."""
        return len(self.widths) - 1

    @property
    def n_inputs(self) -> int:
        """Number of inputs, ``widths[0]``."""
        return self.widths[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs, ``widths[-1]``."""
        return self.widths[-1]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape ``(widths[l + 1], widths[l])`` of the weights of each layer."""
        return tuple(zip(self.widths[1:], self.widths[:-1], strict=True))

    @property
    def n_weights(self) -> int:
        """Number of weights of all layers together."""
        return sum(rows * columns for rows, columns in self.shapes)

    @property
    def max_rank(self) -> int:
        """Largest rank the end-to-end matrix can have, ``min(widths)``."""
        return min(self.widths)
