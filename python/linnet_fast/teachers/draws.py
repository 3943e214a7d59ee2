"""Teachers, inputs and targets of runs, of each run's own data seed: the same in any batch.

What is drawn has a row per different seed, or none where there is no chance in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        name = "n_samples" if purpose in (INPUTS, NOISE) else "n_inputs"
        memory.check_room(name, 3 * 8 * len(self.seeds) * n)
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


@dataclass(frozen=True)
class InputLaw:
    """Of normal inputs x = root^T z, z standard normal: here independent and standard, too.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    """

    n_inputs: int

    @property
    def cov(self) -> FloatArray:
        """Covariance of the inputs, (*row, in, in)."""
        memory.check_room("n_inputs", 2 * 8 * self.n_inputs**2)
        return np.eye(self.n_inputs)

    @property
    def n_sources(self) -> int:
        """How many numbers z an input is made of."""
        return self.n_inputs

    def mixed(self, z: FloatArray) -> FloatArray:
        """Return inputs (n_seeds, n, in) made of numbers (n_seeds, n, n_sources)."""
        return z

    def drawn(self, numbers: Numbers, n_samples: int) -> FloatArray:
        """Return inputs (n_seeds, n_samples, in)."""
        return self.mixed(numbers.normal(INPUTS, (n_samples, self.n_sources), n_samples))


@dataclass(frozen=True)
class Independent(InputLaw):
    """Of independent inputs.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    variances : ndarray, shape (in,)
    """

    variances: FloatArray

    @property
    def cov(self) -> FloatArray:
        """Variances on the diagonal."""
        return InputLaw(self.n_inputs).cov * self.variances

    def mixed(self, z: FloatArray) -> FloatArray:
        """Return numbers times standard deviations."""
        return z * np.sqrt(self.variances)


@dataclass(frozen=True)
class Correlated(InputLaw):
    """Of a given covariance.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    given : ndarray, shape (in, in)
    """

    given: FloatArray

    @property
    def cov(self) -> FloatArray:
        """The covariance."""
        return self.given

    def mixed(self, z: FloatArray) -> FloatArray:
        """Return numbers times a root of the covariance, some of them unused where it is singular."""
        solved = algebra.least_squares(self.given, np.zeros((1, self.n_inputs)))
        if solved.is_diagonal:
            return z * solved.factor
        return algebra.product(z[..., : solved.factor.shape[-2]], solved.factor)


@dataclass(frozen=True)
class Wishart(InputLaw):
    """Of covariances that are those of some standard normal samples.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    samples : ndarray, shape (n_seeds, dof, in)
    """

    samples: FloatArray

    @property
    def cov(self) -> FloatArray:
        """The covariance of each seed's samples."""
        cov = algebra.cross_products(self.samples, self.samples) / self.n_sources
        return np.asarray((cov + cov.mT) / 2)

    @property
    def n_sources(self) -> int:
        """As many as samples."""
        return int(self.samples.shape[-2])

    def mixed(self, z: FloatArray) -> FloatArray:
        """Return mixtures of the samples."""
        return algebra.product(z, self.samples) / math.sqrt(self.n_sources)


def wishart(numbers: Numbers, n_inputs: int, dof: int) -> Wishart:
    """Return the law of covariances of `dof` standard normal samples, which are drawn for each seed."""
    return Wishart(n_inputs, numbers.normal(INPUT_COV, (dof, n_inputs), dof))
