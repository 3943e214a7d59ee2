"""Infimal convolution, the sum of networks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Regularizer
from linnet_fast.regularizers._proximal import IntArray, accelerated
from linnet_fast.regularizers.coordinates import SquaredL2

_TOLERANCE = 1e-13
_MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class InfimalConvolution(Regularizer):
    """``min first(a) + second(x - a)`` over a: the cost of networks side by side.

    Parameters
    ----------
    first, second : Regularizer
        Convex, both of vectors or both of matrices.

    Notes
    -----
    If a part is `SquaredL2`, value and prox are one prox of the other. Else they are found by
    iteration, relative to x to about 1e-12. A call costs tens to hundreds of proxes of the parts;
    with hundreds of coordinates it may be thousands, and the accuracy 1e-8.

    References
    ----------
    P. L. Combettes, J.-C. Pesquet, "Proximal splitting methods in signal processing", in
    Fixed-Point Algorithms for Inverse Problems in Science and Engineering, Springer, 2011.

    Examples
    --------
    >>> from linnet_fast.regularizers import L1, SquaredL2
    >>> mixed = InfimalConvolution(SquaredL2(), L1())
    >>> round(float(mixed.value([0.25, 2.0])), 6)
    1.8125
    """

    first: Regularizer
    second: Regularizer

    def __post_init__(self) -> None:
        """Check that both are convex regularizers of the same kind of predictor."""
        for name in ("first", "second"):
            part = validate.instance(name, getattr(self, name), Regularizer)  # type: ignore[type-abstract]
            if not part.is_convex:
                msg = f"{name} must be convex, got {part!r}"
                raise ValueError(msg)
        if self.first._n_axes != self.second._n_axes:
            msg = "first and second must both be of vectors or both of matrices"
            raise ValueError(msg)
        is_norm = self.first.is_norm and self.second.is_norm
        object.__setattr__(self, "is_norm", is_norm)
        object.__setattr__(self, "_degree", 1.0 if is_norm else None)
        object.__setattr__(self, "_n_axes", self.first._n_axes)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        self.first._check(name, shape)
        self.second._check(name, shape)

    def _span(self, size: int) -> FloatArray | None:
        spans = self.first._span(size), self.second._span(size)
        return None if spans[0] is None or spans[1] is None else np.hstack(spans)  # type: ignore[arg-type]

    def _other(self) -> Regularizer | None:
        """Return the part beside a squared l2 norm, if one is."""
        if isinstance(self.second, SquaredL2):
            return self.first
        return self.second if isinstance(self.first, SquaredL2) else None

    def _dual(self, z: FloatArray) -> Any:
        return np.maximum(self.first.dual(z), self.second.dual(z))

    def _value(self, x: FloatArray) -> Any:
        rows = x.reshape(-1, *x.shape[x.ndim - self._n_axes :])
        other = self._other()
        if other is not None:
            a = other.prox(rows, 0.5)
            found = other.value(a) + np.sum((rows - a) ** 2, axis=tuple(range(1, rows.ndim)))
        else:
            far = self._unreached(rows)
            rows = np.where(far.reshape(-1, *(1,) * (rows.ndim - 1)), 0.0, rows)
            a, b = self._split(rows, np.zeros(len(rows)))
            # What misses in one part is put into the other if that has no infinite values.
            if self.second._span(x.shape[-1]) is None:
                b = rows - a
            elif self.first._span(x.shape[-1]) is None:
                a = rows - b
            found = np.minimum(self.first.value(a) + self.second.value(b), self._alone(rows))
            found = np.where(far, np.inf, found)
        return found.reshape(x.shape[: x.ndim - self._n_axes])

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        other = self._other()
        if other is not None:
            a = other.prox(x, 0.5 + step)
            return a + (x - a) / (1 + 2 * step).reshape(-1, *(1,) * (x.ndim - 1))
        a, b = self._split(x, step)
        return a + b

    def _unreached(self, x: FloatArray) -> Any:
        """Return whether predictors (n, ...) are no sum of two of finite values."""
        span = self._span(x.shape[-1])
        if span is None:
            return np.zeros(len(x), dtype=bool)
        outside = x.T - span @ np.linalg.lstsq(span, x.T)[0]
        return np.abs(outside).max(axis=0) > 1e-10 * np.abs(x).max(axis=-1)

    def _alone(self, x: FloatArray) -> Any:
        return np.minimum(self.first.value(x), self.second.value(x))

    def _split(self, x: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the parts a and b of ``|x - a - b|^2 / 2 + step (first(a) + second(b))``.

        For the step 0, those of the value: a + b = x. By Douglas-Rachford splitting of first(a)
        and of the rest, which is the least over b.
        """
        shape, flat = x.shape[1:], x.reshape(len(x), -1)
        # In units of the largest entry, that no square overflows.
        top = np.abs(flat).max(axis=-1)
        top = np.where(top > 0, top, 1.0)
        flat = flat / top[:, None]
        # Any own step will do. A multiplier z has <z, x> near the value: with this one, the parts
        # and own z are of one size.
        alone = self._alone(x)
        size = top * np.linalg.norm(flat, axis=-1)
        usable = np.isfinite(alone) & (alone > 0)
        own = size * np.divide(size, 2 * alone, out=np.full(len(x), 0.5), where=usable)
        own = np.clip(own, 1e-300, 1e300)

        def prox(part: Regularizer, u: FloatArray, rows: IntArray, steps: FloatArray) -> FloatArray:
            scale = top[rows, None]
            found = part.prox((u * scale).reshape(-1, *shape), steps[rows])
            return found.reshape(u.shape) / scale

        def parts(state: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            a = prox(self.first, state, rows, own)
            rest = flat[rows] - (2 * a - state)
            b = prox(self.second, rest, rows, own + step)
            share = (own / (own + step))[rows, None]
            return a, b, rest + share * (b - rest)

        def move(state: FloatArray, rows: IntArray) -> FloatArray:
            a, _, left = parts(state, rows)
            return state + (flat[rows] - left) - a

        state = accelerated(move, 0.5 * flat, tolerance=_TOLERANCE, most_rounds=_MOST_ROUNDS)
        a, b, _ = parts(state, np.arange(len(x)))
        return (a * top[:, None]).reshape(x.shape), (b * top[:, None]).reshape(x.shape)
