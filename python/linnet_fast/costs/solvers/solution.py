"""What the solvers of representation costs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray

RANK = "impossible: its rank is above a hidden width"
ZEROS = "impossible: it is not 0 where the network is"
SIGNS = "impossible: an entry has a sign that no weights give"
COMPLEX = "impossible: a root of the predictor's polynomial is not real"
OUTSIDE = "impossible: it is outside the range of the fixed layers"
NOT_FOUND = "not found: no start of the search reached it, and nothing proves it impossible"
BEYOND = "beyond float64: its cost is above 1.8e308"
"""Why there are no weights, or no cost."""

_MOST = float(np.finfo(np.float64).max)

EXACT_GAP = 1e-8
"""Relative gap of bounds up to which a cost counts as exact."""


@dataclass(frozen=True)
class Solution:
    """Costs of n predictors.

    Parameters
    ----------
    lower, upper : ndarray, shape (n,)
        Bounds; both inf where no weights give the predictor. Both NaN: left to the search.
    weights : tuple of ndarray, shapes (n, *network.shapes[l])
        Weights whose squared norm is `upper`; NaN where there are none.
    method : str
        How, in words.
    why : ndarray of str, shape (n,), optional
        Where there are no weights, why; "" elsewhere.
    """

    lower: FloatArray
    upper: FloatArray
    weights: tuple[FloatArray, ...]
    method: str
    why: npt.NDArray[np.object_] | None = None

    @classmethod
    def closed_form(
        cls,
        value: FloatArray,
        weights: tuple[FloatArray, ...],
        method: str,
        impossible: npt.NDArray[np.bool_] | None = None,
        why: str = "",
    ) -> Solution:
        """Return a solution whose bounds coincide, and of which some are impossible."""
        if impossible is None or not impossible.any():
            return cls(value, value, weights, method)
        value = np.where(impossible, np.inf, value)
        reasons = np.where(impossible, why, "").astype(object)
        return cls(value, value, without(weights, impossible), method, reasons)

    @property
    def reasons(self) -> npt.NDArray[np.object_]:
        """Why there are no weights, "" where there are."""
        return np.full(self.upper.shape, "", object) if self.why is None else self.why

    def open_where(self, is_open: npt.NDArray[np.bool_]) -> Solution:
        """Return the solution with some predictors left to the search."""
        return Solution(
            np.where(is_open, np.nan, self.lower),
            np.where(is_open, np.nan, self.upper),
            without(self.weights, is_open),
            self.method,
            np.where(is_open, "", self.reasons),
        )

    @property
    def is_open(self) -> npt.NDArray[np.bool_]:
        """Which predictors are left to the search."""
        return np.isnan(self.upper)

    def filled(self, other: Solution) -> Solution:
        """Return the solution with what `other` says of the predictors that were open."""
        where = self.is_open

        def put(values: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
            result = values.copy()
            result[where] = others
            return result

        return Solution(
            put(self.lower, other.lower),
            put(self.upper, other.upper),
            tuple(map(put, self.weights, other.weights)),
            self.method if not where.any() else f"{self.method}; {other.method}",
            put(self.reasons, other.reasons),
        )

    def settled(self) -> Solution:
        """Return the solution with inf told apart: impossible, or only more than float64 holds."""
        why = self.reasons
        beyond = np.isinf(self.upper) & (why == "")
        lacking = np.zeros(len(why), bool)
        for w in self.weights:
            lacking |= ~np.isfinite(w.reshape(len(w), -1)).all(axis=-1)
        return Solution(
            np.where(np.isin(why, ("", NOT_FOUND)), np.minimum(self.lower, _MOST), self.lower),
            self.upper,
            without(self.weights, lacking),
            self.method,
            np.where(beyond, BEYOND, why),
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
