"""What the solvers of representation costs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray

EXACT_GAP = 1e-8
"""Relative gap of bounds up to which a cost counts as exact."""


@dataclass(frozen=True)
class Solution:
    """Costs of n predictors.

    Parameters
    ----------
    lower, upper : ndarray, shape (n,)
        Bounds; inf where no weights give the predictor. Both NaN: left to the search.
    weights : tuple of ndarray, shapes (n, *network.shapes[l])
        Weights whose squared norm is `upper`; NaN where there are none.
    method : str
        How, in words.
    """

    lower: FloatArray
    upper: FloatArray
    weights: tuple[FloatArray, ...]
    method: str

    @classmethod
    def closed_form(
        cls, value: FloatArray, weights: tuple[FloatArray, ...], method: str
    ) -> Solution:
        """Return a solution whose bounds coincide."""
        return cls(value, value, without(weights, ~np.isfinite(value)), method)

    def open_where(self, is_open: npt.NDArray[np.bool_]) -> Solution:
        """Return the solution with some predictors left to the search."""
        return Solution(
            np.where(is_open, np.nan, self.lower),
            np.where(is_open, np.nan, self.upper),
            without(self.weights, is_open),
            self.method,
        )

    @property
    def is_open(self) -> npt.NDArray[np.bool_]:
        """Which predictors are left to the search."""
        return np.isnan(self.upper)

    def filled(self, other: Solution) -> Solution:
        """Return the solution with what `other` says of the predictors that were open."""
        where = self.is_open

        def put(values: FloatArray, others: FloatArray) -> FloatArray:
            result = values.copy()
            result[where] = others
            return result

        return Solution(
            put(self.lower, other.lower),
            put(self.upper, other.upper),
            tuple(map(put, self.weights, other.weights)),
            self.method if not where.any() else f"{self.method}; {other.method}",
        )


def power(n_layers: int) -> str:
    """Return the exponent 2 / L as it follows a formula, nothing if it is 1."""
    return "" if n_layers == 2 else f"^(2/{n_layers})"


def without(weights: tuple[FloatArray, ...], bad: npt.NDArray[np.bool_]) -> tuple[FloatArray, ...]:
    """Return weights with NaN for the predictors that have none."""
    if not bad.any():
        return weights
    return tuple(np.where(bad.reshape(-1, *(1,) * (w.ndim - 1)), np.nan, w) for w in weights)


def norms(vectors: FloatArray, axis: int = -1) -> FloatArray:
    """Return l2 norms without underflow or overflow of the squares."""
    largest = np.abs(vectors).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0)
    result: FloatArray = np.linalg.norm(vectors / scale, axis=axis) * scale.squeeze(axis)
    return result


def divided(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Any:
    """Return a / b, and 0 where b is 0."""
    return np.divide(
        a,
        b,
        out=np.zeros(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b)),
        where=b != 0,
    )


def svd(matrices: npt.NDArray[Any], rtol: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return U, singular values and V^T; values below `rtol` times the largest are 0."""
    scale = np.abs(matrices).max(axis=(-2, -1), keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    u, s, vt = np.linalg.svd(matrices / scale, full_matrices=False)
    s = np.where(s > rtol * s[..., :1], s, 0.0) * scale[..., 0]
    return u, s, vt
