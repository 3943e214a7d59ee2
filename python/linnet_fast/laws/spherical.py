"""Spherically symmetric laws of the inputs, and their radial functions.

With labels y = sgn(v.x) for a unit vector v, the logistic loss of a linear predictor w and its gradient are ::

    E ln(1 + exp(-y w.x)) = kappa (|w| - v.w) + H(|w|),    -gradient = kappa v - q(|w|) w / |w|

so a law enters through one number kappa and functions of the norm alone. With ``u = |x_1|``, of any coordinate:
kappa = E u / 2, h(r) = E u / (1 + e^(r u)), q = kappa - h, and H(r) = E ln(1 + e^(-r u)), whose slope is -h.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws import _radial
from linnet_fast.laws._radial import RadialTable
from linnet_fast.laws.draws import normal, uniform

Seed: TypeAlias = int | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None

_MOST_DIM = 10**9


class _Facts(NamedTuple):
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
    1e-14 or better, for h where it decays as well as for q where it starts.

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
        """
        if validate.integer("order", order, low=0, high=100) % 2:
            msg = f"order must be even, got {order}"
            raise ValueError(msg)
        return self._even_moment(order)

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
        """
        size = validate.integer("n", n, low=0, high=2**62)
        return self._sample(size, np.random.default_rng(rng))

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
    def _facts(self) -> _Facts: ...

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
        """The table that evaluates q, h and H, as plain numbers and arrays."""
        return self._radial.table

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
        r = self._stationary(lambda x: self.h(x) - x * self.q_slope(x))
        return float((r * self.h(r)).max())

    def sup_r2h(self) -> float:
        """Return the least upper bound of r^2 h(r).

        Returns
        -------
        float
            `a2` if the density of ``|x_1|`` never rises.

        Examples
        --------
        >>> circle = Sphere(2)
        >>> round(circle.a2, 4), round(circle.sup_r2h(), 4)
        (0.5236, 0.6213)
        """
        if self.is_density_nonincreasing:
            return self.a2
        r = self._stationary(lambda x: 2 * self.h(x) - x * self.q_slope(x))
        return max(self.a2, float((r * r * self.h(r)).max(initial=0.0)))

    def _stationary(self, slope: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Return the places where a slope changes from + to -."""
        table = self.table
        n = 16 * round(math.log2(table.high / table.low)) + 1
        r = np.geomspace(table.low, table.high, n) / table.scale
        value = slope(r)
        tops = np.flatnonzero((value[:-1] > 0) & (value[1:] <= 0))
        found = [brentq(lambda x: float(slope(x)), r[k], r[k + 1], rtol=1e-14) for k in tops]
        return np.array(found, dtype=np.float64)

    @staticmethod
    def _at(function: Callable[[FloatArray], FloatArray], r: npt.ArrayLike) -> FloatArray:
        value: FloatArray = function(validate.real_array("r", r, at_least=0))[()]
        return value


@dataclass(frozen=True)
class Gaussian(SphericalLaw):
    """The normal law N(0, scale^2 I).

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 2.
    scale : float, default 1
        Standard deviation of each coordinate, > 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has a wrong type or is out of range.

    Examples
    --------
    >>> law = Gaussian(5)
    >>> round(law.kappa, 6), law.h([0.0, 1.0, 10.0]).round(6).tolist()
    (0.398942, [0.398942, 0.192321, 0.006347])
    """

    dim: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check(self, "scale")

    @property
    def _facts(self) -> _Facts:
        kappa = self.scale / math.sqrt(2 * math.pi)
        density = math.sqrt(2 / math.pi) / self.scale
        return _Facts(kappa, density, (self.dim - 1) * self.scale**2, True)

    def _even_moment(self, order: int) -> float:
        return math.prod(float(k) for k in range(1, order, 2)) * self.scale**order

    def _sample(self, n: int, generator: np.random.Generator) -> FloatArray:
        return self.scale * generator.standard_normal((n, self.dim))

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return 0, [self.scale], [1.0]

    def _of_normal(self, x: FloatArray, u: FloatArray | None) -> FloatArray:  # noqa: ARG002
        return self.scale * x

    @cached_property
    def _radial(self) -> _radial.Radial:
        return _radial.gaussian().scaled(self.scale, self.kappa, self.m2)


@dataclass(frozen=True)
class Sphere(SphericalLaw):
    """The uniform law on a sphere about the origin.

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 2; 2 is the circle.
    radius : float, default 1
        > 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has a wrong type or is out of range.

    Examples
    --------
    >>> law = Sphere(2)
    >>> round(law.kappa, 6), law.radial_loss([0.0, 1.0, 10.0]).round(6).tolist()
    (0.31831, [0.693147, 0.435486, 0.053042])
    """

    dim: int
    radius: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check(self, "radius")

    @property
    def _facts(self) -> _Facts:
        density = _radial.sphere_density(self.dim)
        kappa = self.radius * density / (2 * (self.dim - 1))
        return _Facts(kappa, density / self.radius, self.radius**2, self.dim > 2)

    def _even_moment(self, order: int) -> float:
        pairs = ((k + 1.0) / (self.dim + k) for k in range(0, order, 2))
        return math.prod(pairs) * self.radius**order

    def _sample(self, n: int, generator: np.random.Generator) -> FloatArray:
        return self.radius * _directions(generator, n, self.dim)

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return 1, [self.radius], [1.0]

    def _of_normal(self, x: FloatArray, u: FloatArray | None) -> FloatArray:  # noqa: ARG002
        return self.radius * _units(x)

    @cached_property
    def _radial(self) -> _radial.Radial:
        return _radial.sphere(self.dim).scaled(self.radius, self.kappa, self.m2)


@dataclass(frozen=True)
class Ball(SphericalLaw):
    """The uniform law in a ball about the origin.

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 2; 2 is the disc.
    radius : float, default 1
        > 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has a wrong type or is out of range.

    Notes
    -----
    A coordinate has the law of one of the sphere of the same radius in two more dimensions.

    Examples
    --------
    >>> round(float(Ball(3).h(1.0)), 6)
    0.139192
    """

    dim: int
    radius: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check(self, "radius")

    @property
    def _facts(self) -> _Facts:
        m_perp = self.radius**2 * (self.dim - 1) / (self.dim + 1)
        return self._outer._facts._replace(m_perp=m_perp)

    def _even_moment(self, order: int) -> float:
        return self._outer._even_moment(order)

    def _sample(self, n: int, generator: np.random.Generator) -> FloatArray:
        directions = _directions(generator, n, self.dim)
        return self.radius * generator.random((n, 1)) ** (1 / self.dim) * directions

    @property
    def _outer(self) -> Sphere:
        return Sphere(self.dim + 2, self.radius)

    _has_length: ClassVar[bool] = True

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return 2, [self.radius], [1.0]

    def _of_normal(self, x: FloatArray, u: FloatArray | None) -> FloatArray:
        return self.radius * np.asarray(u)[:, None] ** (1 / self.dim) * _units(x)

    @cached_property
    def _radial(self) -> _radial.Radial:
        return self._outer._radial


@dataclass(frozen=True, init=False)
class RadialMixture(SphericalLaw):
    """A mixture of uniform laws on spheres about the origin: x = rho u, with finitely many radii rho.

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 2.
    radii : array_like, shape (n,)
        Radii > 0, kept in increasing order. (An atom at 0 would have no label; it would add a constant to the loss
        and nothing to the gradient.)
    probabilities : array_like, shape (n,), optional
        Positive, adding up to 1 to within 1e-9; kept divided by their sum. Default: all equal.

    Raises
    ------
    TypeError, ValueError
        If a parameter has a wrong type or is out of range.

    Notes
    -----
    For a continuous radial law take the nodes of a quadrature as radii and its weights, times the density,
    as probabilities. At norms r well above 1 / rho of the least node the mixture is no longer like the
    law that it stands for unless E[1 / rho] is finite and well approximated. The
    time that the table takes grows with the number of radii.

    Examples
    --------
    >>> import numpy as np
    >>> round(RadialMixture(3, [1.0, 2.0], [0.25, 0.75]).kappa, 6)
    0.4375
    >>> nodes, weights = np.polynomial.legendre.leggauss(20)  # a ball: density 3 rho^2
    >>> rho = (1 + nodes) / 2
    >>> ball = RadialMixture(3, rho, 3 * rho**2 * weights / 2)
    >>> round(float(ball.h(1.0)), 6)
    0.139192
    """

    dim: int
    radii: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __init__(
        self, dim: int, radii: npt.ArrayLike, probabilities: npt.ArrayLike | None = None
    ) -> None:
        object.__setattr__(self, "dim", _dim(dim))
        rho = _vector("radii", radii)
        if probabilities is None:
            p = np.full(rho.shape, 1 / rho.size)
        else:
            p = _vector("probabilities", probabilities)
            if p.shape != rho.shape:
                msg = f"probabilities must have shape {rho.shape} as radii, got {p.shape}"
                raise ValueError(msg)
            if abs(math.fsum(p) - 1) > 1e-9:
                msg = f"probabilities must add up to 1, got a sum of {math.fsum(p):.12g}"
                raise ValueError(msg)
            p = p / math.fsum(p)
        order = np.argsort(rho, kind="stable")
        object.__setattr__(self, "radii", tuple(rho[order].tolist()))
        object.__setattr__(self, "probabilities", tuple(p[order].tolist()))

    @property
    def _facts(self) -> _Facts:
        mean, inverse = self._mean(1), self._mean(-1)
        unit = Sphere(self.dim)._facts
        return _Facts(mean * unit.kappa, inverse * unit.f0, mean / inverse, self.dim > 2)

    def _even_moment(self, order: int) -> float:
        return self._mean(order) * Sphere(self.dim)._even_moment(order)

    def _sample(self, n: int, generator: np.random.Generator) -> FloatArray:
        directions = _directions(generator, n, self.dim)
        radii: FloatArray = generator.choice(np.array(self.radii), (n, 1), p=self.probabilities)
        return radii * directions

    def _mean(self, power: int) -> float:
        pairs = zip(self.probabilities, self.radii, strict=True)
        return math.fsum(p * rho**power for p, rho in pairs)

    _has_length: ClassVar[bool] = True

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return 3, list(self.radii), list(itertools.accumulate(self.probabilities))

    def _of_normal(self, x: FloatArray, u: FloatArray | None) -> FloatArray:
        which = np.searchsorted(np.cumsum(self.probabilities)[:-1], np.asarray(u))
        return np.asarray(self.radii)[which, None] * _units(x)

    @cached_property
    def _radial(self) -> _radial.Radial:
        return _radial.mixture(self.dim, np.array(self.radii), np.array(self.probabilities))


LAWS: tuple[type[SphericalLaw], ...] = (Gaussian, Sphere, Ball, RadialMixture)
"""Every law there is."""


def checked_law(law: object) -> SphericalLaw:
    """Return `law`, which must be one of inputs; otherwise a TypeError."""
    return validate.instance("law", law, SphericalLaw)  # type: ignore[type-abstract]


def _check(law: Any, name: str) -> None:
    """Check the parameters of a law with one length, and keep them as plain numbers."""
    object.__setattr__(law, "dim", _dim(law.dim))
    value = validate.real(name, getattr(law, name))
    validate.refuse(name, "> 0", np.asarray(value), np.asarray(value <= 0))
    object.__setattr__(law, name, value)


def _dim(dim: int) -> int:
    if dim == 1 and not isinstance(dim, bool):
        msg = "dim must be >= 2, got 1: there is no angle in one dimension"
        raise ValueError(msg)
    return validate.integer("dim", dim, low=2, high=_MOST_DIM)


def _vector(name: str, values: npt.ArrayLike) -> FloatArray:
    array = validate.real_array(name, values, above=0)
    if array.ndim != 1:
        msg = f"{name} must have shape (n,), got {array.shape}"
        raise ValueError(msg)
    return array


def _units(x: FloatArray) -> FloatArray:
    unit: FloatArray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return unit


def _directions(generator: np.random.Generator, n: int, dim: int) -> FloatArray:
    normal = generator.standard_normal((n, dim))
    length: FloatArray = np.linalg.norm(normal, axis=1, keepdims=True)
    return normal / length
