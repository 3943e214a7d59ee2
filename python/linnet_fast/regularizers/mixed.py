"""Quasi-norms of groups of coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Groups, Regularizer, check_size, checked_groups
from linnet_fast.regularizers._proximal import (
    IntArray,
    falling_root,
    larger_root,
    most_strength,
    power_prox,
    power_strength,
    shrink,
    soft,
)
from linnet_fast.regularizers.coordinates import lp_norm, lp_prox, power_shrink

_N_CELLS = 256


@dataclass(frozen=True)
class MixedGroup(Regularizer):
    """``sum_g ||x_g||_p ** power``: scalars of groups times elementwise layers; a norm for power 1.

    With n elementwise layers and L layers in all, L times it is the cost, p = 2/n, power = 2/L.

    Parameters
    ----------
    groups : sequence of sequence of int
        Disjoint, together all coordinates.
    p, power : float
        0 < power <= 1 and power <= p <= 2.

    References
    ----------
    Y. Hu, C. Li, K. Meng, J. Qin, X. Yang, "Group sparse optimization via l_{p,q} regularization",
    Journal of Machine Learning Research 18, 2017.

    Examples
    --------
    >>> penalty = MixedGroup([(0, 1), (2,)], p=1.0, power=0.5)
    >>> float(penalty.value([1.0, 3.0, 9.0]))
    5.0
    """

    groups: Groups
    p: float
    power: float
    is_norm: ClassVar[bool] = False
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check groups and exponents."""
        object.__setattr__(self, "groups", checked_groups(self.groups, disjoint=True))
        p, power = validate.real("p", self.p), validate.real("power", self.power)
        if not 0 < power <= min(p, 1) or p > 2:
            msg = f"p and power must obey 0 < power <= 1, power <= p <= 2, got {p:g} and {power:g}"
            raise ValueError(msg)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "power", power)
        # With power 1, and so p from 1 up, a sum of norms.
        object.__setattr__(self, "is_norm", power == 1)
        object.__setattr__(self, "is_convex", power == 1)
        object.__setattr__(self, "_degree", power)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, sum(map(len, self.groups)))

    def _sum(self, x: FloatArray) -> Any:
        """Return ||x||_p ** power of one group."""
        scale = np.abs(x).max(axis=-1)
        safe = np.where(scale > 0, scale, 1.0)
        total = np.sum((np.abs(x) / safe[..., None]) ** self.p, axis=-1)
        return np.asarray(total ** (self.power / self.p) * scale**self.power)

    def _value(self, x: FloatArray) -> Any:
        return np.asarray(sum(self._sum(x[..., list(group)]) for group in self.groups))

    def _dual(self, z: FloatArray) -> Any:
        if self.p == 1:
            return np.abs(z).max(axis=-1)
        dual = self.p / (self.p - 1)
        return np.max([lp_norm(z[..., list(group)], dual) for group in self.groups], axis=0)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        result = np.empty_like(x)
        for group in self.groups:
            own = list(group)
            result[:, own] = self._prox_of_group(x[:, own], step)
        return result

    def _prox_of_group(self, x: FloatArray, step: FloatArray) -> Any:
        """Return the prox of step ||x||_p ** power.

        The power is a concave function of S = ||x||_p^p. So a minimiser y is one of
        |y - x|^2 / 2 + mu S(y) too, at the slope mu = step (power / p) S(y)^(power / p - 1): the
        best of 0 and all such points is taken.
        """
        if self.p == 2 or x.shape[-1] == 1:
            return shrink(x, step, self.power)
        if self.power == self.p:
            return power_prox(x, step[:, None], self.p)
        scale = np.abs(x).max(axis=-1)
        scale = np.where(scale > 0, scale, 1.0)
        unit = x / scale[:, None]
        step = np.minimum(power_strength(scale, step, self.power), 1e300)
        if self.power == 1:
            return scale[:, None] * lp_prox(unit, step, self.p)
        points = self._points_by_support if self.p <= 1 else self._points_by_slope
        best, result = 0.5 * np.sum(unit**2, axis=-1), np.zeros_like(x)
        for rows, y in points(np.abs(unit), step):
            signed = np.sign(unit[rows]) * y
            value = 0.5 * np.sum((signed - unit[rows]) ** 2, axis=-1) + step[rows] * self._sum(y)
            better = value < best[rows]
            best[rows[better]], result[rows[better]] = value[better], signed[better]
        return scale[:, None] * result

    def _log_slope(self, y: FloatArray, step: FloatArray) -> FloatArray:
        """Return log(step (power / p) S(y)^(power / p - 1))."""
        ratio = self.power / self.p
        total = np.sum(y**self.p, axis=-1)
        return np.asarray(
            np.log(step) + np.log(ratio) + (ratio - 1) * np.log(np.maximum(total, 1e-300))
        )

    def _points_by_support(self, size: FloatArray, step: FloatArray) -> Any:
        """Yield rows and points y for p <= 1, where y has the m largest entries, for every m.

        On one support the logarithm of the slope less log mu is convex in log mu, and only its
        first zero is a minimum. Newton's method reaches it from the left.
        """
        order = np.argsort(-size, axis=-1)
        ordered = np.take_along_axis(size, order, -1)
        least = most_strength(self.p) if self.p < 1 else 1.0
        for m in range(1, size.shape[-1] + 1):
            rows = np.flatnonzero(ordered[:, m - 1] > 0)
            a = ordered[rows, :m]
            # From this mu on, it is no worse without entry m.
            last = np.log(least) + (2 - self.p) * np.log(a[:, -1])
            log_mu = self._log_slope(a, step[rows])
            for _ in range(100):
                y, slopes = _on_support(a, np.minimum(log_mu, last), self.p)
                total = np.maximum(np.sum(y**self.p, axis=-1), 1e-300)
                miss = self._log_slope(y, step[rows]) - log_mu
                fall = 1 - (1 - self.power / self.p) * np.sum(slopes, axis=-1) / total
                inside = (log_mu < last) & (fall > 0)
                going = inside & (miss > 4e-16 * (1 + np.abs(log_mu)))
                move = np.divide(miss, fall, out=np.zeros_like(miss), where=inside)
                log_mu = np.where(inside, log_mu + move, np.inf)
                if not going.any():
                    break
            found = log_mu < last
            y, _ = _on_support(a[found], log_mu[found], self.p)
            rows = rows[found]
            points = np.zeros((len(rows), size.shape[-1]))
            np.put_along_axis(points, order[rows, :m], y, -1)
            yield rows, points

    def _points_by_slope(self, size: FloatArray, step: FloatArray) -> Any:
        """Yield rows and points y for p > 1, from all mu that are their own slope.

        They are looked for on a grid of log mu. No slope is less than that at S(x); a point with
        mu p above power / (2 (1 - power)) is no better than 0.
        """
        low = self._log_slope(size, step) - 1e-9
        high = np.log(self.power / (2 * (1 - self.power) * self.p))
        rows = np.flatnonzero(low < high)
        grid = np.linspace(low[rows], np.full(len(rows), high), _N_CELLS + 1)

        def point(log_mu: FloatArray, at: IntArray) -> FloatArray:
            return power_shrink(size[at], (log_mu + np.log(self.p))[:, None], self.p)

        def miss(log_mu: FloatArray, at: IntArray) -> FloatArray:
            return self._log_slope(point(log_mu, at), step[at]) - log_mu

        excess = np.stack([miss(line, rows) for line in grid])
        # Falling zeros are the minima.
        cell, column = np.nonzero((excess[:-1] > 0) & (excess[1:] <= 0))
        at = rows[column]
        root = falling_root(
            lambda log_mu, some: miss(log_mu, at[some]), grid[cell, column], grid[cell + 1, column]
        )
        for one in np.unique(cell):
            some = cell == one
            yield at[some], point(root[some], at[some])


def _on_support(a: FloatArray, log_mu: FloatArray, p: float) -> tuple[FloatArray, FloatArray]:
    """Return the larger roots y of ``y + mu p y^(p-1) = a``, and -d y^p / d log mu."""
    if p == 1:
        mu = np.exp(log_mu)[:, None]
        return soft(a, mu), np.broadcast_to(mu, a.shape)
    strength = np.exp(log_mu[:, None] + (p - 2) * np.log(a))
    y = a * larger_root(np.minimum(strength, most_strength(p)), p)
    v = (a - y) / y
    return y, y**p * p * v / (1 + (p - 1) * v)
