"""The training problem that every competitor solves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
Weights: TypeAlias = tuple[Array, ...]
Run: TypeAlias = Callable[[int], Weights]
"""Trains for so many steps from the problem's own weights; returns one (batch, m, m) per layer."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of square linear networks that share the moments of one data set.

    The gradient of layer l is ``(W_L ... W_{l+1})^T (P input_cov - cross_cov) (W_{l-1} ... W_1)^T``
    with ``P = W_L ... W_1``. Competitors must not modify the arrays.
    """

    weights: Weights
    """One array (batch, m, m) per layer, first layer first."""
    input_cov: Array
    """(m, m)."""
    cross_cov: Array
    """(m, m)."""
    output_power: float
    step_size: float
    n_threads: int

    @property
    def width(self) -> int:
        """The width m of every layer."""
        return int(self.input_cov.shape[0])

    @property
    def batch(self) -> int:
        """The number of runs."""
        return int(self.weights[0].shape[0])

    @property
    def n_layers(self) -> int:
        """The number of layers."""
        return len(self.weights)

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products in one step of one run.

        There are L - 1 products for the prefixes ``W_l ... W_1``, one with ``input_cov``, L - 1 to
        carry the gradient back and L - 1 to form the gradients: 3 L - 2 of 2 m^3 operations.
        """
        return (3 * self.n_layers - 2) * 2 * self.width**3


def make_problem(
    width: int,
    batch: int,
    *,
    n_layers: int = 2,
    dtype: str = "float64",
    n_threads: int,
) -> Problem:
    """Draw a problem on which gradient descent converges, the same on every call."""
    rng = np.random.default_rng([width, batch, n_layers])
    inputs = rng.standard_normal((4 * width, width))
    teacher = rng.standard_normal((width, width)) / np.sqrt(width)
    input_cov = inputs.T @ inputs / (4 * width)
    cross_cov = teacher @ input_cov
    shape = (batch, width, width)
    return Problem(
        weights=tuple(
            (0.5 * rng.standard_normal(shape) / np.sqrt(width)).astype(dtype)
            for _ in range(n_layers)
        ),
        input_cov=input_cov.astype(dtype),
        cross_cov=cross_cov.astype(dtype),
        output_power=float(np.sum(cross_cov * teacher)),
        step_size=0.01,
        n_threads=n_threads,
    )
