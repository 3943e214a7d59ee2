"""The laws there are: Gaussian, on a sphere, in a ball, and mixtures of spheres."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws import _radial
from linnet_fast.laws.base import Facts, SphericalLaw

_MOST_DIM = 10**9
_LENGTHS = 1e-300, 1e300
_MOST_RATIO = 1e30  # of radii: the table of a mixture has some 32 rows for each factor of 2


@dataclass(frozen=True)
class Gaussian(SphericalLaw):
    """The normal law N(0, scale^2 I).

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 2.
    scale : float, default 1
        Standard deviation of each coordinate, from 1e-300 to 1e300.

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
    def _facts(self) -> Facts:
        kappa = self.scale / math.sqrt(2 * math.pi)
        density = math.sqrt(2 / math.pi) / self.scale
        return Facts(kappa, density, (self.dim - 1) * self.scale * self.scale, True)

    def _even_moment(self, order: int) -> float:
        return _even_moment([float(k) for k in range(1, order, 2)], self.scale)

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
        From 1e-300 to 1e300.

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
    def _facts(self) -> Facts:
        density = _radial.sphere_density(self.dim)
        kappa = self.radius * density / (2 * (self.dim - 1))
        return Facts(kappa, density / self.radius, self.radius * self.radius, self.dim > 2)

    def _even_moment(self, order: int) -> float:
        pairs = [(k + 1.0) / (self.dim + k) for k in range(0, order, 2)]
        return _even_moment(pairs, self.radius)

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
        From 1e-300 to 1e300.

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
    def _facts(self) -> Facts:
        m_perp = self.radius * (self.dim - 1) / (self.dim + 1) * self.radius
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
        Radii > 0, kept in increasing order, the largest at most 1e30 times the least. (An atom at 0 would have no label; it would add a constant to the loss
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
        _check_lengths("radii", rho)
        validate.refuse(
            "radii", f">= {_MOST_RATIO:g}^-1 of the largest", rho, rho < rho.max() / _MOST_RATIO
        )
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
    def _facts(self) -> Facts:
        mean, inverse = self._mean(1), self._mean(-1)
        unit = Sphere(self.dim)._facts
        return Facts(mean * unit.kappa, inverse * unit.f0, mean / inverse, self.dim > 2)

    def _even_moment(self, order: int) -> float:
        largest = self.radii[-1]
        pairs = zip(self.probabilities, self.radii, strict=True)
        part = math.fsum(p * (rho / largest) ** order for p, rho in pairs)
        return part * Sphere(self.dim, largest)._even_moment(order)

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


def _even_moment(factors: list[float], scale: float) -> float:
    """Return the product of the factors and of as many squares of the scale."""
    with contextlib.suppress(OverflowError):
        moment = math.prod(factors) * scale ** (2 * len(factors))
        if 1e-300 < moment < math.inf:
            return moment
    moment = 1.0
    for factor in factors:
        # In this order it leaves the doubles only if the moment does.
        moment = moment * scale * factor * scale
    return moment


LAWS: tuple[type[SphericalLaw], ...] = (Gaussian, Sphere, Ball, RadialMixture)
"""Every law there is."""


def checked_law(law: object) -> SphericalLaw:
    """Return `law`, which must be one of inputs; otherwise a TypeError."""
    return validate.instance("law", law, SphericalLaw)  # type: ignore[type-abstract]


def _check(law: Any, name: str) -> None:
    """Check the parameters of a law with one length, and keep them as plain numbers."""
    object.__setattr__(law, "dim", _dim(law.dim))
    value = validate.real(name, getattr(law, name), above=0)
    _check_lengths(name, np.asarray(value))
    object.__setattr__(law, name, value)


def _check_lengths(name: str, lengths: FloatArray) -> None:
    beyond = (lengths < _LENGTHS[0]) | (lengths > _LENGTHS[1])
    validate.refuse(name, f"from {_LENGTHS[0]:g} to {_LENGTHS[1]:g}", lengths, beyond)


def _dim(dim: object) -> int:
    if isinstance(dim, int) and dim == 1 and not isinstance(dim, bool):
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
