"""Spherically symmetric laws of the inputs, and their radial functions.

With labels y = sgn(v.x) for a unit vector v, the logistic loss of a linear predictor w and its gradient are ::

    E ln(1 + exp(-y w.x)) = kappa (|w| - v.w) + H(|w|),    -gradient = kappa v - q(|w|) w / |w|

so a law enters through one number kappa and functions of the norm alone. With ``u = |x_1|``, of any coordinate:
kappa = E u / 2, h(r) = E u / (1 + e^(r u)), q = kappa - h, and H(r) = E ln(1 + e^(-r u)), whose slope is -h.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import memory, validate
from linnet_fast._base.seeds import Seed, generator
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws import _radial
from linnet_fast.laws._radial import RadialTable
from linnet_fast.laws.draws import normal, uniform


class Facts(NamedTuple):
    """Numbers that tell laws apart."""

    kappa: float
    f0: float
    m_perp: float
    is_density_nonincreasing: bool


class SphericalLaw(ABC):
    """A law that every rotation about the origin leaves as it is, of vectors in `dim` dimensions.

    Use one of `Gaussian`, `Sphere`, `Ball` and `RadialMixture`. Laws are equal if their parameters are, and
    cheap to make; the first value of a radial function makes a table, which laws that differ in scale share.

    Notes
    -----
    The functions of the norm r take arrays of any shape, with entries >= 0. Their relative accuracy is
    1e-14 or better, for h where it decays as well as for q where it starts. Lengths (a scale, a radius) are
    from 1e-300 to 1e300; what is beyond the range of floating point is infinite or 0, as is the second
    moment of a scale of 1e170. What is trained or followed by the compiled core needs lengths from 1e-150
    to 1e150.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under Spherically
    Symmetric Data", NeurIPS 2021.
    """

    dim: int

    @property
    def kappa(self) -> float:
        """``E |x_1| / 2``: the norm of the gradient of the loss at 0, and of its part across w anywhere."""
        return self._facts.kappa

    @property
    def f0(self) -> float:
        """Density of ``|x_1|`` at 0."""
        return self._facts.f0

    @property
    def m_perp(self) -> float:
        """E of the square of the other coordinates, given that x_1 = 0."""
        return self._facts.m_perp

    @property
    def is_density_nonincreasing(self) -> bool:
        """Whether the density of ``|x_1|`` never rises, so that r^2 h(r) is at most `a2`."""
        return self._facts.is_density_nonincreasing

    def even_moment(self, order: int) -> float:
        """Return E x_1^order.

        Parameters
        ----------
        order : int
            Even, from 0 to 100.

        Returns
        -------
        float
            Infinite or 0 where it is beyond the range of floating point.

        Raises
        ------
        TypeError, ValueError
            If `order` is not such an integer.
        """
        number = validate.integer("order", order, low=0, high=100)
        if number % 2:
            msg = f"order must be even, got {number}"
            raise ValueError(msg)
        return self._even_moment(number)

    def sample(self, n: int, rng: Seed = None) -> FloatArray:
        """Draw from the law.

        Parameters
        ----------
        n : int
            Number of vectors, >= 0.
        rng : seed or Generator, optional
            Anything ``numpy.random.default_rng`` takes.

        Returns
        -------
        ndarray of float64, shape (n, dim)

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or is out of range, or the samples would not fit into memory.
        """
        size = validate.integer("n", n, low=0, high=2**62)
        draws = generator(rng)
        memory.check_room("n", 24 * size * self.dim)  # with what they are made of
        return self._sample(size, draws)

    def drawn(
        self, n: int, words: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint64]]
    ) -> FloatArray:
        """Draw from the law as the compiled core does, by random words.

        Parameters
        ----------
        n : int
            Number of vectors.
        words : callable
            Numbers of blocks, (m,) -> four random words of 32 bits for each, (4, m).

        Returns
        -------
        ndarray of float64, shape (n, dim)
        """
        n_pairs = (self.dim + 1) // 2
        first = np.arange(n) * (n_pairs + self._has_length)
        x = normal(words, first, self.dim)
        return self._of_normal(x, uniform(words(first + n_pairs), 0) if self._has_length else None)

    @abstractmethod
    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it: its number, radii, cumulative probabilities."""

    _has_length: ClassVar[bool] = False
    """Whether a sample takes a uniform number besides its normal ones."""

    @abstractmethod
    def _of_normal(self, x: FloatArray, u: FloatArray | None) -> FloatArray:
        """Return samples made of standard normal vectors (n, dim) and uniform numbers (n,)."""

    @property
    @abstractmethod
    def _facts(self) -> Facts: ...

    @abstractmethod
    def _even_moment(self, order: int) -> float: ...

    @abstractmethod
    def _sample(self, n: int, generator: np.random.Generator) -> FloatArray: ...

    @property
    @abstractmethod
    def _radial(self) -> _radial.Radial: ...

    @property
    def c0(self) -> float:
        """``E |(x_1, x_2)|``, which is pi kappa."""
        return math.pi * self.kappa

    @property
    def a2(self) -> float:
        """Limit of r^2 h(r), and of r H(r), for large r: pi^2 f0 / 12."""
        return math.pi**2 / 12 * self.f0

    @property
    def m2(self) -> float:
        """E x_1^2; a quarter of it bounds the curvature of the loss."""
        return self.even_moment(2)

    @property
    def table(self) -> RadialTable:
        """The table that evaluates q, h and H, as plain numbers and arrays.

        Raises
        ------
        ValueError
            If a length of the law is not from 1e-150 to 1e150.
        """
        table = self._radial.table
        if not 1e-150 <= table.scale <= 1e150:
            msg = f"law must have lengths from 1e-150 to 1e150 here, got {self}"
            raise ValueError(msg)
        return table

    def h(self, r: npt.ArrayLike) -> FloatArray:
        """Return ``h(r) = E |x_1| / (1 + exp(r |x_1|))``: the pull outwards along v at w = r v.

        Parameters
        ----------
        r : array_like
            Norms >= 0.

        Returns
        -------
        ndarray of float64, shape of r
            From kappa at 0 down to 0, like a2 / r^2.
        """
        return self._at(self._radial.h, r)

    def q(self, r: npt.ArrayLike) -> FloatArray:
        """Return ``q(r) = E |x_1| tanh(r |x_1| / 2) / 2``: the pull inwards along w.

        Parameters
        ----------
        r : array_like
            Norms >= 0.

        Returns
        -------
        ndarray of float64, shape of r
            From 0 at 0, like r m2 / 4, up to kappa.
        """
        return self._at(self._radial.q, r)

    def q_slope(self, r: npt.ArrayLike) -> FloatArray:
        """Return q'(r) = -h'(r): the curvature of the loss along w; across w it is q(r) / r.

        Parameters
        ----------
        r : array_like
            Norms >= 0.

        Returns
        -------
        ndarray of float64, shape of r
            From m2 / 4 at 0 down to 0, like 2 a2 / r^3.
        """
        return self._at(self._radial.q_slope, r)

    def radial_loss(self, r: npt.ArrayLike) -> FloatArray:
        """Return ``H(r) = E ln(1 + exp(-r |x_1|))``: the loss at w = r v.

        Parameters
        ----------
        r : array_like
            Norms >= 0.

        Returns
        -------
        ndarray of float64, shape of r
            From ln 2 at 0 down to 0, like a2 / r.
        """
        return self._at(self._radial.loss, r)

    @cached_property
    def max_rh(self) -> float:
        """Largest r h(r), at most W(1 / e) = 0.27846...: half the fastest growth of ``|w|^2`` in flow time."""
        unit = self._radial.unscaled()
        z = self._stationary(lambda x: unit.h(x) - x * unit.q_slope(x))
        return float((z * unit.h(z)).max())

    def sup_r2h(self) -> float:
        """Return the least upper bound of r^2 h(r).

        Returns
        -------
        float
            `a2` if the density of ``|x_1|`` never rises.

        Examples
        --------
        >>> from linnet_fast.laws import Sphere
        >>> circle = Sphere(2)
        >>> round(circle.a2, 4), round(circle.sup_r2h(), 4)
        (0.5236, 0.6213)
        """
        if self.is_density_nonincreasing:
            return self.a2
        unit = self._radial.unscaled()
        z = self._stationary(lambda x: 2 * unit.h(x) - x * unit.q_slope(x))
        return max(self.a2, float((z * z * unit.h(z)).max(initial=0.0)) / self._radial.table.scale)

    def _stationary(self, slope: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Return the places, in units of one over the scale, where a slope changes from + to -."""
        table = self._radial.table
        n = 16 * round(math.log2(table.high / table.low)) + 1
        z = np.geomspace(table.low, table.high, n)
        value = slope(z)
        tops = np.flatnonzero((value[:-1] > 0) & (value[1:] <= 0))
        found = [
            scipy.optimize.brentq(lambda x: float(slope(np.asarray(x))), z[k], z[k + 1], rtol=1e-14)
            for k in tops
        ]
        return np.array(found, dtype=np.float64)

    @staticmethod
    def _at(function: Callable[[FloatArray], FloatArray], r: npt.ArrayLike) -> FloatArray:
        value: FloatArray = function(validate.real_array("r", r, at_least=0))[()]
        return value
