"""Regularizers of matrices, of differences and of atoms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Regularizer, check_size, positive
from linnet_fast.regularizers._proximal import power_prox

_ROUNDING = 1e-12
_EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True)
class NuclearNorm(Regularizer):
    """The sum of singular values; twice it is the cost of two dense layers.

    References
    ----------
    N. Srebro, J. D. M. Rennie, T. S. Jaakkola, "Maximum-margin matrix factorization", NeurIPS 2004.

    J.-F. Cai, E. J. Candes, Z. Shen, "A singular value thresholding algorithm for matrix
    completion", SIAM Journal on Optimization 20, 2010.

    Examples
    --------
    >>> float(NuclearNorm().value([[3.0, 0.0], [0.0, -1.0]]))
    4.0
    """

    _n_axes: ClassVar[int] = 2

    def _value(self, x: FloatArray) -> Any:
        return np.asarray(np.linalg.svd(x, compute_uv=False).sum(axis=-1))

    def _dual(self, z: FloatArray) -> Any:
        return np.asarray(np.linalg.svd(z, compute_uv=False)[..., 0])

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return _by_singular_values(x, step, 1.0)


@dataclass(frozen=True)
class SchattenP(Regularizer):
    """``sum_i sigma_i**p`` of the singular values, 0 < p <= 1; L times it for L dense layers.

    Singular values below 1e-12 of the largest count as 0.

    Parameters
    ----------
    p : float
        Between 0 and 1; p = 2 / L is that of L layers, p = 1 the nuclear norm.

    References
    ----------
    F. Nie, H. Huang, C. Ding, "Low-rank matrix recovery via efficient Schatten p-norm
    minimization", AAAI 2012.

    Examples
    --------
    >>> round(float(SchattenP(0.5).value([[4.0, 0.0], [0.0, 9.0]])), 9)
    5.0
    """

    p: float
    _n_axes: ClassVar[int] = 2
    is_norm: ClassVar[bool] = False
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the power."""
        power = positive("p", self.p)
        if power > 1:
            msg = f"p must be between 0 and 1, got {power:g}"
            raise ValueError(msg)
        object.__setattr__(self, "p", power)
        object.__setattr__(self, "_degree", power)
        object.__setattr__(self, "is_norm", power == 1)
        object.__setattr__(self, "is_convex", power == 1)

    def _value(self, x: FloatArray) -> Any:
        sizes = np.linalg.svd(x, compute_uv=False)
        # Small powers would make much of rounding.
        real = sizes > _ROUNDING * sizes[..., :1]
        return np.sum(np.where(real, sizes, 0.0) ** self.p, axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.asarray(np.linalg.svd(z, compute_uv=False)[..., 0])

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return _by_singular_values(x, step, self.p)


def _by_singular_values(x: FloatArray, step: FloatArray, power: float) -> FloatArray:
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    less = power_prox(s, step[:, None], power)
    return np.asarray((u * less[:, None]) @ vt)


@dataclass(frozen=True)
class TotalVariation(Regularizer):
    """``|x_1| + sum |x_{i+1} - x_i|``, the l1 norm of the steps whose running sums are x.

    References
    ----------
    R. Tibshirani, M. Saunders, S. Rosset, J. Zhu, K. Knight, "Sparsity and smoothness via the fused
    lasso", Journal of the Royal Statistical Society B 67, 2005.

    Examples
    --------
    >>> float(TotalVariation().value([1.0, 1.0, 3.0]))
    3.0
    """

    def _value(self, x: FloatArray) -> Any:
        return np.abs(np.diff(x, axis=-1, prepend=0.0)).sum(axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(np.cumsum(z[..., ::-1], axis=-1)).max(axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        result = np.zeros_like(x)
        for i in np.flatnonzero(self._dual(x) > step):
            result[i] = _fused(x[i].tolist(), float(step[i]))
        return result


def _fused(x: list[float], step: float) -> list[float]:
    """Return the prox of total variation from 0 of one vector, by dynamic programming.

    From the last entry to the first, the least cost of all later ones has a derivative that is
    piecewise linear and lies between -step and step.

    N. A. Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation",
    Journal of Computational and Graphical Statistics 22, 2013.
    """
    # Knots with the changes of slope and intercept there; the outermost pieces' intercepts.
    knots: deque[tuple[float, float, float]] = deque()
    left = right = 0.0
    bounds = []
    for entry in reversed(x):
        slope, intercept = 1.0, left - entry
        while knots and slope * knots[0][0] + intercept < -step:
            _, more, rise = knots.popleft()
            slope, intercept = slope + more, intercept + rise
        low = (-step - intercept) / slope
        first = (low, slope, intercept + step)
        slope, intercept = 1.0, right - entry
        while knots and slope * knots[-1][0] + intercept > step:
            _, more, rise = knots.pop()
            slope, intercept = slope - more, intercept - rise
        high = (step - intercept) / slope
        knots.appendleft(first)
        knots.append((high, -slope, step - intercept))
        left, right = -step, step
        bounds.append((low, high))
    result, last = [], 0.0
    for low, high in reversed(bounds):
        last = min(max(last, low), high)
        result.append(last)
    return result


@dataclass(frozen=True)
class Atomic(Regularizer):
    """``min ||c||_1`` over ways to write x as a combination A c of atoms; inf if there is none.

    Parameters
    ----------
    atoms : array_like, shape (D, m)
        One atom per column, none of them 0.

    References
    ----------
    V. Chandrasekaran, B. Recht, P. A. Parrilo, A. S. Willsky, "The convex geometry of linear
    inverse problems", Foundations of Computational Mathematics 12, 2012.

    Examples
    --------
    >>> float(Atomic([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).value([2.0, 2.0]))
    2.0
    """

    atoms: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Check the atoms."""
        array = validate.real_array("atoms", self.atoms)
        if array.ndim != 2 or not array.any(axis=0).all():
            msg = f"atoms must have shape (D, m), every column with an entry, got {array.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "atoms", tuple(tuple(row) for row in array.tolist()))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        check_size(name, shape, len(self.atoms))

    def _value(self, x: FloatArray) -> Any:
        atoms = np.array(self.atoms)
        both = np.hstack([atoms, -atoms])
        flat = x.reshape(-1, x.shape[-1])
        values = np.zeros(len(flat))
        for i in np.flatnonzero(flat.any(axis=-1)):
            found = scipy.optimize.linprog(
                np.ones(both.shape[1]), A_eq=both, b_eq=flat[i], options=_EXACT
            )
            if found.status not in (0, 2):
                raise RuntimeError(found.message)
            values[i] = found.fun if found.status == 0 else np.inf
        return values.reshape(x.shape[:-1])

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(z @ np.array(self.atoms)).max(axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        result = np.zeros_like(x)
        for i in np.flatnonzero(self._dual(x) > step):
            result[i] = _shortest(np.array(self.atoms), x[i], float(step[i]))
        return result

    def _span(self, size: int) -> FloatArray:  # noqa: ARG002
        return np.array(self.atoms)


def _shortest(atoms: FloatArray, x: FloatArray, step: float) -> FloatArray:
    """Return the shortest y with |atoms^T (x - y)| <= step, by nonnegative least squares.

    C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    size = np.linalg.norm(atoms, axis=0)
    both = np.hstack([atoms, -atoms]) / np.hstack([size, size])
    # both^T y >= bound; none below -|x| can be active.
    bound = np.maximum(both.T @ x - step / np.hstack([size, size]), -2 * np.linalg.norm(x))
    system = np.vstack([both, bound])
    target = np.append(np.zeros(len(x)), 1.0)
    weights, _ = scipy.optimize.nnls(system, target, maxiter=100 * system.shape[1])
    # The active bounds are known now: y meets them exactly.
    active = weights > 0
    return np.asarray(np.linalg.lstsq(both[:, active].T, bound[active])[0])
