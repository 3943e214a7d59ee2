"""Teachers, inputs and targets of runs, of each run's own data seed: the same in any batch.

What is drawn has a row per different seed, or none where there is no chance in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, machine, memory
from linnet_fast._base.streams import of_streams
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.problem import Seeding

TEACHER, INPUT_COV, INPUTS, NOISE, SECOND = range(5)
"""What random numbers are for."""


class Numbers:
    """Random numbers of different data seeds.

    Parameters
    ----------
    seeding : Seeding
        For its key.
    seeds : ndarray of int64, shape (n_seeds,)
        Different ones, ascending.
    task : int
        Each has numbers of its own.
    """

    def __init__(self, seeding: Seeding, seeds: npt.NDArray[np.int64], task: int) -> None:
        machine.check_rounding()
        self._seeding = seeding
        self._task = task
        self.seeds = seeds

    def normal(self, purpose: int, shape: Shape, variant: int = 0) -> FloatArray:
        """Return standard normal numbers, (n_seeds, *shape)."""
        return self._drawn(purpose, shape, variant, normal=True)

    def uniform(self, purpose: int, shape: Shape, variant: int = 0) -> FloatArray:
        """Return uniform numbers within (0, 1), (n_seeds, *shape)."""
        return self._drawn(purpose, shape, variant, normal=False)

    def _drawn(self, purpose: int, shape: Shape, variant: int, *, normal: bool) -> FloatArray:
        n = math.prod(shape)
        # What is drawn, its quantiles, and what is made of them.
        memory.check_room("n_samples", 3 * 8 * len(self.seeds) * n)
        key = self._seeding.key(purpose, self._task, variant)
        return of_streams(key, self.seeds, n, normal=normal).reshape(len(self.seeds), *shape)


def gaussian(numbers: Numbers, shape: Shape) -> FloatArray:
    """Return matrices of independent normal entries of variance 1 / in."""
    return numbers.normal(TEACHER, shape) / math.sqrt(shape[1])


def low_rank(numbers: Numbers, shape: Shape, rank: int) -> FloatArray:
    """Return products of a Gaussian (out, rank) and a Gaussian (rank, in) matrix, of entries of variance 1 / in."""
    left = numbers.normal(TEACHER, (shape[0], rank))
    right = numbers.normal(SECOND, (rank, shape[1]))
    return algebra.product(left, right) / math.sqrt(rank * shape[1])


def diagonal(entries: FloatArray, shape: Shape) -> FloatArray:
    """Return matrices (*row, out, in) with entries (*row, min(out, in)) on their diagonals, 0 elsewhere."""
    result = np.zeros((*entries.shape[:-1], *shape))
    place = np.arange(entries.shape[-1])
    result[..., place, place] = entries
    return result


def vectors(numbers: Numbers, shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return orthonormal columns, uniform at random: (n_seeds, out, k) and (n_seeds, in, k), k = min(out, in)."""
    k = min(shape)
    left = algebra.orthonormal_columns(numbers.normal(TEACHER, (shape[0], k)))
    right = algebra.orthonormal_columns(numbers.normal(SECOND, (shape[1], k)))
    return left, right


def power_law(left: FloatArray, right: FloatArray, exponent: FloatArray) -> FloatArray:
    """Return matrices with singular values k^-exponent, (row) of exponents, along given vectors."""
    return algebra.product(left * powers(left.shape[-1], exponent)[..., None, :], right.mT)


def powers(n: int, exponent: npt.ArrayLike) -> FloatArray:
    """Return k^-exponent for k = 1 ... n, (*row, n); inf and 0 beyond float64."""
    rate = np.asarray(exponent, np.float64)[..., None]
    return elementary.exp(-rate * elementary.log(np.arange(1.0, n + 1)))


def sparse(numbers: Numbers, shape: Shape, n_nonzero: int, *, positive: bool) -> FloatArray:
    """Return matrices with so many entries that are not 0, of one size, anywhere: their squares sum to `out`."""
    n = math.prod(shape)
    uniform = numbers.uniform(TEACHER, (n,))
    # The upper half says the sign, what is left the order: these are independent.
    is_upper = uniform >= 0.5
    order = np.argsort(2 * uniform - is_upper, axis=-1, kind="stable")
    chosen = order[:, :n_nonzero]
    size = math.sqrt(shape[0] / n_nonzero)
    result = np.zeros((len(uniform), n))
    sign = np.where(np.take_along_axis(is_upper, chosen, axis=-1) | positive, 1.0, -1.0)
    np.put_along_axis(result, chosen, sign * size, axis=-1)
    return result.reshape(-1, *shape)


class InputLaw(NamedTuple):
    """Of normal inputs x = root^T z, z standard normal."""

    cov: FloatArray
    """(*row, in, in)."""
    root: FloatArray | None
    """(*row, k, in) or, of a diagonal one, (in,); None for independent standard normal inputs."""

    def drawn(self, numbers: Numbers, n_samples: int) -> FloatArray:
        """Return inputs (n_seeds, n_samples, in)."""
        n_inputs = self.cov.shape[-1]
        k = n_inputs if self.root is None or self.root.ndim == 1 else self.root.shape[-2]
        z = numbers.normal(INPUTS, (n_samples, k), n_samples)
        if self.root is None:
            return z
        return z * self.root if self.root.ndim == 1 else algebra.product(z, self.root)


def isotropic(n_inputs: int) -> InputLaw:
    """Return the law of independent standard normal inputs."""
    return InputLaw(np.eye(n_inputs), None)


def independent(variances: FloatArray) -> InputLaw:
    """Return the law of independent inputs of given variances."""
    return InputLaw(np.diag(variances), np.sqrt(variances))


def wishart(numbers: Numbers, n_inputs: int, dof: int) -> InputLaw:
    """Return laws whose covariance is that of `dof` standard normal samples, drawn for each seed."""
    samples = numbers.normal(INPUT_COV, (dof, n_inputs), dof)
    cov = algebra.cross_products(samples, samples) / dof
    return InputLaw((cov + cov.mT) / 2, samples / math.sqrt(dof))


def of_cov(cov: FloatArray) -> InputLaw:
    """Return the law of a given covariance."""
    solved = algebra.least_squares(cov, np.zeros((1, cov.shape[-1])))
    return InputLaw(cov, solved.factor)
