"""Regularizers of groups of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import (
    Groups,
    Regularizer,
    check_size,
    checked_groups,
    positive_numbers,
)
from linnet_fast.regularizers._proximal import prox_by_square, shrink


@dataclass(frozen=True)
class GroupLasso(Regularizer):
    """``sum_g weights_g ||x_g||_2``; twice it is the cost of one hidden unit per group.

    Parameters
    ----------
    groups : sequence of sequence of int
        Disjoint, together all coordinates.
    weights : sequence of float, optional
        Positive, one per group; by default 1.

    References
    ----------
    M. Yuan, Y. Lin, "Model selection and estimation in regression with grouped variables", Journal
    of the Royal Statistical Society B 68, 2006.

    Examples
    --------
    >>> float(GroupLasso([(0, 1), (2,)]).value([3.0, 4.0, -1.0]))
    6.0
    """

    groups: Groups
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check groups and weights."""
        object.__setattr__(self, "groups", checked_groups(self.groups, disjoint=True))
        if self.weights is not None:
            numbers = positive_numbers("weights", self.weights)
            if len(numbers) != len(self.groups):
                msg = f"weights must be one per group, {len(self.groups)}, got {len(numbers)}"
                raise ValueError(msg)
            object.__setattr__(self, "weights", numbers)

    def _factors(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * len(self.groups)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, sum(map(len, self.groups)))

    def _norms(self, x: FloatArray) -> Any:
        return np.stack([np.linalg.norm(x[..., list(g)], axis=-1) for g in self.groups], axis=-1)

    def _value(self, x: FloatArray) -> Any:
        return np.sum(self._norms(x) * self._factors(), axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.max(self._norms(z) / self._factors(), axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        result = np.empty_like(x)
        for group, factor in zip(self.groups, self._factors(), strict=True):
            own = list(group)
            result[:, own] = shrink(x[:, own], step * factor)
        return result


@dataclass(frozen=True)
class LatentGroupLasso(Regularizer):
    """``min sum_j ||u_j||_2`` over sums of vectors u_j that live on overlapping groups.

    Twice it is the cost of one hidden layer whose units see the groups. A predictor with an entry
    outside all groups has the value inf. Value and prox are found by iteration, relative to the
    largest entry to about 1e-11.

    Parameters
    ----------
    groups : sequence of sequence of int
        Coordinates of each group; they may overlap.

    References
    ----------
    G. Obozinski, L. Jacob, J.-P. Vert, "Group lasso with overlaps: the latent group lasso
    approach", arXiv:1110.0413, 2011.

    Examples
    --------
    >>> round(float(LatentGroupLasso([(0, 1), (1, 2)]).value([1.0, 0.0, 1.0])), 9)
    2.0
    """

    groups: Groups

    def __post_init__(self) -> None:
        """Check the groups."""
        object.__setattr__(self, "groups", checked_groups(self.groups, disjoint=False))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        least = 1 + max(map(max, self.groups))
        if shape[-1] < least:
            msg = f"{name} must have at least {least} coordinates, got shape {shape}"
            raise ValueError(msg)

    def _value(self, x: FloatArray) -> Any:
        return latent_groups(x, self.groups).upper

    def _dual(self, z: FloatArray) -> Any:
        # Coordinates outside all groups are 0 in every predictor of finite value.
        return np.max([np.linalg.norm(z[..., list(g)], axis=-1) for g in self.groups], axis=0)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        # y_i = x_i m_i / (m_i + step), where m solves the problem of the value with m + step.
        member = _incidence(self.groups, x.shape[-1])
        covered = x * member.any(axis=0)
        scale = np.abs(covered).max(axis=-1, keepdims=True)
        scale = np.where(scale > 0, scale, 1.0)
        shift = np.minimum(step[:, None] / scale, 1e150)
        m = group_shares(covered / scale, member, shift) @ member
        # The barrier of the solver leaves a little where there is nothing.
        m = np.where(m > 1e-11, m, 0.0)
        y = covered * (m / (m + shift))
        return np.where((self._dual(covered) <= step)[:, None], 0.0, y)

    def _span(self, size: int) -> FloatArray:
        return np.eye(size)[:, _incidence(self.groups, size).any(axis=0)]


@dataclass(frozen=True)
class LatentGroups:
    """A latent group norm with its certificate: parts u_j, bounds, dual vector."""

    lower: FloatArray
    upper: FloatArray
    parts: FloatArray
    """(*batch, groups, D)."""


def _incidence(groups: Sequence[Sequence[int]], size: int) -> FloatArray:
    result = np.zeros((len(groups), size))
    for row, group in zip(result, groups, strict=True):
        row[list(group)] = 1
    return result


def latent_groups(x: FloatArray, groups: Sequence[Sequence[int]]) -> LatentGroups:
    """Return the latent group norm of vectors (*batch, D), with bounds and parts."""
    batch, size = x.shape[:-1], x.shape[-1]
    member = _incidence(groups, size)
    flat = x.reshape(-1, size)
    uncovered = (flat[:, ~member.any(axis=0)] != 0).any(axis=-1)
    scale = np.abs(flat).max(axis=-1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    unit = np.where(member.any(axis=0), flat / scale, 0.0)
    eta = group_shares(unit, member, np.zeros((len(flat), 1)))
    m = eta @ member
    z = np.divide(unit, m, out=np.zeros_like(unit), where=(m > 0) & (unit != 0))
    parts = eta[:, :, None] * member * z[:, None]
    upper = np.linalg.norm(parts, axis=-1).sum(axis=-1)
    largest = np.sqrt((z**2) @ member.T).max(axis=-1)
    lower = np.sum(z * unit, axis=-1) / np.maximum(largest, 1e-300)
    lower = np.where(largest > 0, np.minimum(lower, upper), 0.0)
    upper = np.where(uncovered, np.inf, upper * scale[:, 0])
    lower = np.where(uncovered, np.inf, lower * scale[:, 0])
    parts = np.where(uncovered[:, None, None], np.nan, parts * scale[:, :, None])
    return LatentGroups(
        lower.reshape(batch), upper.reshape(batch), parts.reshape(*batch, len(groups), size)
    )


def group_shares(x: FloatArray, member: FloatArray, shift: FloatArray) -> FloatArray:
    """Return the eta >= 0 that minimise ``sum eta + sum_i x_i^2 / (m_i + shift)``, m = eta member.

    A convex problem, by Newton's method with a logarithmic barrier, all vectors at once.
    """
    n, n_groups = len(x), len(member)
    square = x**2
    used = square > 0
    eta = np.full((n, n_groups), np.abs(x).max(axis=-1, initial=0.0)[:, None] + 1e-3)
    barrier = 0.1

    def objective(eta: FloatArray, barrier: float) -> FloatArray:
        total = eta @ member + shift
        terms = np.divide(square, total, out=np.zeros_like(square), where=used)
        return np.asarray(
            eta.sum(axis=-1) + terms.sum(axis=-1) - barrier * np.log(eta).sum(axis=-1)
        )

    while True:
        for _ in range(60):
            total = eta @ member + shift
            safe = np.where(used, total, 1.0)
            first = np.where(used, square / safe**2, 0.0)
            second = np.where(used, 2 * square / safe**3, 0.0)
            gradient = 1 - first @ member.T - barrier / eta
            # In units of eta the Hessian is well scaled.
            scaled = np.einsum("gi,ni,hi->ngh", member, second, member)
            scaled = eta[:, :, None] * scaled * eta[:, None] + barrier * np.eye(n_groups)
            move = -np.linalg.solve(scaled, (eta * gradient)[..., None])[..., 0]
            decrement = -np.sum(move * eta * gradient, axis=-1)
            if not (decrement > 1e-6 * barrier).any():
                break
            length = np.minimum(1.0, 0.9 / np.maximum(-move.min(axis=-1), 1e-300))
            value = objective(eta, barrier)
            for _ in range(40):
                trial = eta * (1 + length[:, None] * move)
                worse = objective(trial, barrier) > value - 1e-4 * length * decrement + 1e-15
                if not worse.any():
                    break
                length = np.where(worse, length / 2, length)
            eta = eta * (1 + length[:, None] * move)
        if barrier < 1e-14:
            return eta
        barrier /= 20


@dataclass(frozen=True)
class ExclusiveLasso(Regularizer):
    """``(sum_g ||x_g||_1^2)^(1/2)``: sparse within groups.

    Parameters
    ----------
    groups : sequence of sequence of int
        Disjoint, together all coordinates.

    References
    ----------
    Y. Zhou, R. Jin, S. C. H. Hoi, "Exclusive lasso for multi-task feature selection", AISTATS 2010.

    Examples
    --------
    >>> float(ExclusiveLasso([(0, 1), (2,)]).value([1.0, -2.0, 4.0]))
    5.0
    """

    groups: Groups

    def __post_init__(self) -> None:
        """Check the groups."""
        object.__setattr__(self, "groups", checked_groups(self.groups, disjoint=True))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, sum(map(len, self.groups)))

    def _value(self, x: FloatArray) -> Any:
        sums = [np.abs(x[..., list(group)]).sum(axis=-1) for group in self.groups]
        return np.linalg.norm(sums, axis=0)

    def _dual(self, z: FloatArray) -> Any:
        tops = [np.abs(z[..., list(group)]).max(axis=-1) for group in self.groups]
        return np.linalg.norm(tops, axis=0)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return prox_by_square(x, step, self._value, self._dual, self._rest)

    def _rest(self, x: FloatArray, step: FloatArray, r: FloatArray) -> FloatArray:
        """Return x less the prox of (t / 2) times the squared norm, t = step / r."""
        result = np.empty_like(x)
        for group in self.groups:
            own = x[:, list(group)]
            # Entries fall by t times the l1 norm of what remains, which counts the largest ones.
            sums = np.cumsum(-np.sort(-np.abs(own), axis=-1), axis=-1)
            count = np.arange(1, own.shape[-1] + 1)
            level = (sums / ((r / step)[:, None] + count)).max(axis=-1)[:, None]
            result[:, list(group)] = np.clip(own, -level, level)
        return result
