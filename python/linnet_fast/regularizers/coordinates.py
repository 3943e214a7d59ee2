"""Regularizers of single coordinates and of order statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Regularizer, check_size, positive, positive_numbers
from linnet_fast.regularizers._proximal import (
    falling_root,
    power_prox,
    prox_by_square,
    shrink,
    soft,
)


@dataclass(frozen=True)
class L1(Regularizer):
    """The l1 norm, ``sum |x_i|``; twice it is the cost of a diagonal network of two layers.

    References
    ----------
    P. D. Hoff, "Lasso, fractional norm and structured sparse estimation using a Hadamard product
    parametrization", Computational Statistics and Data Analysis 115, 2017.

    Examples
    --------
    >>> L1().prox([3.0, -0.5], step=1.0).tolist()
    [2.0, 0.0]
    """

    _degree: ClassVar[float | None] = None

    def _value(self, x: FloatArray) -> Any:
        return np.abs(x).sum(axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(z).max(axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return soft(x, step[:, None])


@dataclass(frozen=True)
class WeightedL1(Regularizer):
    """``sum weights_i |x_i|``; twice it is the cost of a diagonal network with scaled inputs.

    Parameters
    ----------
    weights : sequence of float
        Positive, one per coordinate.

    References
    ----------
    H. Zou, "The adaptive lasso and its oracle properties", Journal of the American Statistical
    Association 101, 2006.

    Examples
    --------
    >>> float(WeightedL1([1.0, 2.0]).value([1.0, -1.0]))
    3.0
    """

    weights: tuple[float, ...]
    _degree: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        """Check the weights."""
        object.__setattr__(self, "weights", positive_numbers("weights", self.weights))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, len(self.weights))

    def _value(self, x: FloatArray) -> Any:
        return np.sum(np.abs(x) * self.weights, axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.max(np.abs(z) / self.weights, axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return soft(x, step[:, None] * np.array(self.weights))


@dataclass(frozen=True)
class L2(Regularizer):
    """The l2 norm; twice it is the cost of two dense layers with one output.

    Examples
    --------
    >>> L2().prox([3.0, 4.0], step=1.0).tolist()
    [2.4000000000000004, 3.2]
    """

    def _value(self, x: FloatArray) -> Any:
        return np.linalg.norm(x, axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return self._value(z)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return shrink(x, step)


@dataclass(frozen=True)
class SquaredL2(Regularizer):
    """The squared l2 norm: what weight decay is to a linear model without layers.

    Examples
    --------
    >>> SquaredL2().prox([3.0], step=1.0).tolist()
    [1.0]
    """

    is_norm: ClassVar[bool] = False
    _degree: ClassVar[float | None] = None

    def _value(self, x: FloatArray) -> Any:
        return np.sum(x**2, axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return 0.5 * x / (0.5 + step[:, None])  # the step may be near the largest number


@dataclass(frozen=True)
class LInf(Regularizer):
    """The largest entry in absolute value; twice it is the cost of units that sum signed inputs.

    References
    ----------
    J. Duchi, S. Shalev-Shwartz, Y. Singer, T. Chandra, "Efficient projections onto the l1-ball for
    learning in high dimensions", ICML 2008.

    Examples
    --------
    >>> LInf().prox([3.0, 2.5, 0.0], step=1.5).tolist()
    [2.0, 2.0, 0.0]
    """

    def _value(self, x: FloatArray) -> Any:
        return np.abs(x).max(axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(z).sum(axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        # x less its projection on the l1 ball of radius step: entries are cut at a common level,
        # at which what is cut sums to the step.
        ordered = -np.sort(-np.abs(x), axis=-1)
        count = np.arange(1, x.shape[-1] + 1)
        levels = (np.cumsum(ordered, axis=-1) - step[:, None]) / count
        level = np.maximum(levels.max(axis=-1), 0.0)[:, None]
        return np.clip(x, -level, level)


@dataclass(frozen=True)
class Lp(Regularizer):
    """The l_p norm for p >= 1; for 0 < p < 1 its p-th power, ``sum |x_i|**p``.

    ``L`` times the latter, with p = 2 / L, is the cost of a diagonal network of L layers.

    Parameters
    ----------
    p : float
        Positive, finite.

    References
    ----------
    P. D. Hoff, "Lasso, fractional norm and structured sparse estimation using a Hadamard product
    parametrization", Computational Statistics and Data Analysis 115, 2017.

    Examples
    --------
    >>> float(Lp(0.5).value([4.0, 9.0])), round(float(Lp(3).value([1.0, 2.0])), 6)
    (5.0, 2.080084)
    """

    p: float

    def __post_init__(self) -> None:
        """Check the power."""
        power = positive("p", self.p)
        object.__setattr__(self, "p", power)
        # What it is depends on p: the class says what most are.
        object.__setattr__(self, "is_norm", power >= 1)
        object.__setattr__(self, "is_convex", power >= 1)
        object.__setattr__(self, "_degree", 1.0 if power > 1 else None)

    def _value(self, x: FloatArray) -> Any:
        return lp_norm(x, self.p) if self.p > 1 else np.sum(np.abs(x) ** self.p, axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(z).max(axis=-1) if self.p == 1 else lp_norm(z, self.p / (self.p - 1))

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        if self.p <= 1:
            return power_prox(x, step[:, None], self.p)
        return lp_prox(x, step, self.p)


def lp_norm(x: FloatArray, p: float) -> FloatArray:
    """Return the l_p norm of vectors (..., D), p >= 1."""
    # In units of the largest entry, as high powers overflow.
    size = np.abs(x)
    top = size.max(axis=-1, keepdims=True)
    powers = (size / np.where(top > 0, top, 1.0)) ** p
    return np.asarray(top[..., 0] * powers.sum(axis=-1) ** (1 / p))


def lp_prox(x: FloatArray, step: FloatArray, p: float) -> FloatArray:
    """Return the prox of ``step ||x||_p``, p > 1, of vectors (n, D) with entries up to 2.

    With r the norm of the prox y, ``y + step (y / r)^(p - 1) = |x|``: a root in r of ||y|| = r, or,
    which comes to the same and does not go blind as p grows, of ||x - y|| = step in the dual norm.
    """
    p = min(p, 1e17)  # beyond, it is the largest entry to rounding
    size = np.abs(x)
    result = np.zeros_like(x)
    dual = p / (p - 1)
    rows = np.flatnonzero(lp_norm(x, dual) > step)
    size, log_step = size[rows], np.log(step[rows])

    def share(log_r: FloatArray, some: Any) -> FloatArray:
        """Return ln(y / r)."""
        return _log_share(size[some], log_r[:, None], log_step[some, None], p)

    def excess(log_r: FloatArray, some: Any) -> FloatArray:
        log_y = share(log_r, some)
        if p < 2:
            return _log_norm(log_y, p)
        return _log_norm((p - 1) * log_y, dual)

    top = np.log(lp_norm(size, p))
    # Below e^-45 of the norm of x, the prox does not count.
    found = falling_root(excess, top - 45, top)
    result[rows] = np.exp(found[:, None] + share(found, slice(None)))
    return np.copysign(np.minimum(result, np.abs(x)), x)


def _log_norm(log_size: FloatArray, p: float) -> FloatArray:
    """Return the logarithm of the l_p norm of vectors (n, D) of e^log_size."""
    top = log_size.max(axis=-1)
    with np.errstate(under="ignore"):
        powers = np.exp(p * (log_size - top[:, None]))
    return np.asarray(top + np.log(powers.sum(axis=-1)) / p)


def power_shrink(size: FloatArray, log_weight: FloatArray, p: float) -> FloatArray:
    """Return the root y of ``y + weight y**(p - 1) = size``, p > 1."""
    return np.exp(_log_share(size, np.zeros_like(log_weight), log_weight, p))


def _log_share(size: FloatArray, log_r: FloatArray, log_step: FloatArray, p: float) -> FloatArray:
    """Return the root v of ``r e^v + step e^((p - 1) v) = size``, p > 1; -inf for sizes 0.

    The logarithm of the left side is convex and its slope between 1 and p - 1: Newton's method
    reaches the root from the right, from the lesser of the roots of each term alone.
    """
    some = size > 0
    log_size = np.log(np.where(some, size, 1.0))
    v = np.minimum(log_size - log_r, (log_size - log_step) / (p - 1))
    with np.errstate(under="ignore"):
        for _ in range(100):
            one, other = v + log_r - log_size, (p - 1) * v + log_step - log_size
            first, second = np.exp(one), np.exp(other)
            total = first + second
            move = np.log(total) * total / (first + (p - 1) * second)
            v = v - move
            if not (np.abs(move) > 1e-16 * np.abs(v) + 1e-300).any():
                break
    return np.where(some, v, -np.inf)


@dataclass(frozen=True)
class OWL(Regularizer):
    """Ordered weighted l1 norm (SLOPE): ``sum weights_i |x|_(i)``, largest entries first.

    Parameters
    ----------
    weights : sequence of float
        One per coordinate, not increasing, >= 0, the first positive.

    References
    ----------
    M. Bogdan, E. van den Berg, C. Sabatti, W. Su, E. J. Candes, "SLOPE - adaptive variable
    selection via convex optimization", Annals of Applied Statistics 9, 2015.

    Examples
    --------
    >>> float(OWL([2.0, 1.0]).value([1.0, -3.0]))
    7.0
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the weights."""
        array = validate.real_array("weights", self.weights, at_least=0)
        if array.ndim != 1 or array[0] <= 0 or (np.diff(array) > 0).any():
            msg = f"weights must not increase, and begin with a positive one, got {array}"
            raise ValueError(msg)
        object.__setattr__(self, "weights", tuple(array.tolist()))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, len(self.weights))

    def _value(self, x: FloatArray) -> Any:
        return np.sum(-np.sort(-np.abs(x), axis=-1) * self.weights, axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        sums = np.cumsum(-np.sort(-np.abs(z), axis=-1), axis=-1)
        return np.max(sums / np.cumsum(self.weights), axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        order = np.argsort(-np.abs(x), axis=-1)
        moved = np.take_along_axis(np.abs(x), order, -1) - step[:, None] * np.array(self.weights)
        level = np.array(
            [scipy.optimize.isotonic_regression(row, increasing=False).x for row in moved]
        )
        result = np.empty_like(x)
        np.put_along_axis(result, order, np.maximum(level, 0.0), -1)
        return np.sign(x) * result


@dataclass(frozen=True)
class KSupport(Regularizer):
    """The k-support norm: the tightest norm below l2 on vectors with k entries.

    Parameters
    ----------
    k : int
        From 1 (the l1 norm) up; at the number of coordinates and beyond it is the l2 norm.

    References
    ----------
    A. Argyriou, R. Foygel, N. Srebro, "Sparse prediction with the k-support norm", NeurIPS 2012.

    Examples
    --------
    >>> round(float(KSupport(2).value([1.0, 2.0, 3.0, 4.0])), 9)
    7.071067812
    """

    k: int

    def __post_init__(self) -> None:
        """Check k."""
        object.__setattr__(self, "k", validate.integer("k", self.k, low=1, high=2**31 - 1))

    def _value(self, x: FloatArray) -> Any:
        # The largest j entries count by squares, the others by their sum: the least such value
        # over all j for which the largest of the others is at most their sum / (k - j).
        size = -np.sort(-np.abs(x), axis=-1)
        k = min(self.k, size.shape[-1])
        squares = np.cumsum(size**2, axis=-1)[..., : k - 1]
        heads = np.concatenate([np.zeros_like(size[..., :1]), squares], axis=-1)
        tails = np.cumsum(size[..., ::-1], axis=-1)[..., ::-1][..., :k]
        others = k - np.arange(k)
        fits = tails >= others * size[..., :k]
        return np.sqrt(np.where(fits, heads + tails**2 / others, np.inf).min(axis=-1))

    def _dual(self, z: FloatArray) -> Any:
        top = -np.sort(-np.abs(z), axis=-1)[..., : self.k]
        return np.linalg.norm(top, axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        if self.k >= x.shape[-1]:
            return shrink(x, step)
        return prox_by_square(x, step, self._value, self._dual, self._rest)

    def _rest(self, x: FloatArray, step: FloatArray, r: FloatArray) -> FloatArray:
        """Return x less the prox of (t / 2) times the squared norm, t = step / r.

        Of sizes a the prox is a eta / (eta + t), eta = clip(alpha a - t, 0, 1) with the sum k. So
        the rest is a t / (1 + t), but at least c = t / alpha, but at most a.
        """
        size = np.abs(x)
        t = (step / r)[:, None]
        least = size * (t / (1 + t))
        # The sum of eta falls with c; where it passes k is found among the c at which terms break.
        breaks = -np.sort(-np.concatenate([size, least], axis=-1), axis=-1)
        row = np.arange(len(x))
        first, last = np.zeros(len(x), dtype=int), np.full(len(x), breaks.shape[-1] - 1)
        while (last - first > 1).any():
            middle = (first + last) // 2
            c = breaks[row, middle][:, None]
            safe = np.where(c > 0, c, 1.0)
            eta = np.where(least >= c, 1.0, t * np.maximum(size / safe - 1, 0.0))
            short = np.where(size > 0, eta, 0.0).sum(axis=-1) < self.k
            first, last = np.where(short, middle, first), np.where(short, last, middle)
        # Between two breaks it is (those of eta 1) + t (sum of a / c - 1 over those in between).
        c = breaks[row, first][:, None]
        whole, between = least >= c, (size >= c) & (least < c)
        missing = (self.k - whole.sum(axis=-1)) / t[:, 0] + between.sum(axis=-1)
        total = np.sum(size * between, axis=-1)
        c = np.divide(total, missing, out=c[:, 0].copy(), where=missing > 0)
        # Too few entries to sum to k: all eta are 1.
        c = np.where(np.count_nonzero(size, axis=-1) > self.k, c, 0.0)[:, None]
        return np.sign(x) * np.minimum(np.maximum(c, least), size)


@dataclass(frozen=True)
class Huber(Regularizer):
    """``sum h(x_i)`` with h = x^2 up to 1 and ``2 |x| - 1`` beyond.

    It is the cost of a linear skip connection beside a diagonal network of two layers.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35,
    1964.

    Examples
    --------
    >>> float(Huber().value([0.5, -2.0]))
    3.25
    """

    is_norm: ClassVar[bool] = False
    _degree: ClassVar[float | None] = None

    def _value(self, x: FloatArray) -> Any:
        size = np.abs(x)
        inside = np.minimum(size, 1.0)
        return np.sum(inside**2 + 2 * (size - inside), axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        s = step[:, None]
        inside = np.abs(x) <= 1 + 2 * s
        return np.where(inside, 0.5 * x / (0.5 + s), soft(x, 2 * s))
