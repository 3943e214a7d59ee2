"""Tables of the radial functions of spherically symmetric laws.

With u = |x_1| and expectations over it, at a norm r: q = E u tanh(r u / 2) / 2, h = E u / (1 + e^(r u)),
which add up to kappa = E u / 2, H = E ln(1 + e^(-r u)), and the slope q' = -h'. Each octave of r is cut into
pieces with a polynomial each; below the octaves are power series, above them asymptotic ones.

The bits of a table are the same everywhere: it is made without NumPy's transcendental functions, whose last
bits depend on the processor, and without linear algebra, whose last bits depend on the BLAS at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.laws import _elementary

PIECE_BITS = 5
"""The pieces of an octave are told apart by this many leading bits of the mantissa."""
N_COEFFICIENTS = 8
N_SERIES = 6

Function: TypeAlias = Callable[[FloatArray], FloatArray]
Values: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray]

_NEGLIGIBLE = 1e-17
_FAR = 45.0  # e^-45 is negligible
_ONE = np.float64(1.0).view(np.int64)
_SHIFT = 52 - PIECE_BITS
_BERNOULLI = np.array(
    [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6]
)  # B_2, B_4, ...


def _both_signs(half: list[float], sign: int) -> FloatArray:
    return np.array([sign * x for x in half[::-1]] + half)


# Gauss and Legendre's points and weights on [-1, 1], and Chebyshev's on [-1/2, 1/2]
_POINTS = _both_signs(
    [
        0.09501250983763744,
        0.2816035507792589,
        0.45801677765722737,
        0.6178762444026438,
        0.755404408355003,
        0.8656312023878318,
        0.9445750230732326,
        0.9894009349916499,
    ],
    -1,
)
_WEIGHTS = _both_signs(
    [
        0.1894506104550685,
        0.18260341504492358,
        0.16915651939500254,
        0.14959598881657674,
        0.12462897125553388,
        0.09515851168249279,
        0.062253523938647894,
        0.027152459411754096,
    ],
    1,
)
_NODES = _both_signs(
    [0.09754516100806414, 0.2777851165098011, 0.4157348061512726, 0.4903926402016152], -1
)


class RadialTable(NamedTuple):
    """What evaluates h, q and H at a norm r, in terms of z = scale r.

    Attributes
    ----------
    scale : float
        z = scale r; h and q are scale times their values at z, H is that at z.
    kappa, m2 : float
        E |x_1| / 2 and E x_1^2, of the law itself.
    low, high : float
        Powers of two: the table is for low <= z < high.
    split : int
        Number of the first piece in which h is tabulated, and no longer q.
    gradient, loss : ndarray of float64, shape (n_pieces, N_COEFFICIENTS)
        Polynomials of q or h, and of H, in t from -1/2 to 1/2 across a piece; lowest power first.
    small : ndarray of float64, shape (N_SERIES,)
        Below: q = z sum_k small[k] (z / low)^(2 k).
    large : ndarray of float64, shape (N_SERIES,)
        Above: h = sum_k large[k] (high / z)^(2 k + 2), H = z sum_k large[k] (high / z)^(2 k + 2) / (2 k + 1).
    """

    scale: float
    kappa: float
    m2: float
    low: float
    high: float
    split: int
    gradient: FloatArray
    loss: FloatArray
    small: FloatArray
    large: FloatArray


class Radial:
    """The radial functions of a law, evaluated by a table.

    Parameters
    ----------
    table : RadialTable
    slope : ndarray of float64, shape (n_pieces, N_COEFFICIENTS)
        Polynomials of q'.
    """

    def __init__(self, table: RadialTable, slope: FloatArray) -> None:
        self.table = table
        self._slope = slope
        self._kappa = table.kappa / table.scale

    def scaled(self, scale: float, kappa: float, m2: float) -> Radial:
        """Return the functions of the law of scale x, for a law of scale 1."""
        return Radial(self.table._replace(scale=scale, kappa=kappa, m2=m2), self._slope)

    def h(self, r: FloatArray) -> FloatArray:
        scale, kappa = self.table.scale, self._kappa

        def within(z: FloatArray) -> FloatArray:
            value = _polynomial(self.table.gradient, self.table.low, z)
            return scale * np.where(z < self._z_split, kappa - value, value)

        return self._by_range(
            r, lambda z: scale * (kappa - self._small_q(z)), within, self._large_h
        )

    def q(self, r: FloatArray) -> FloatArray:
        scale, kappa = self.table.scale, self._kappa

        def within(z: FloatArray) -> FloatArray:
            value = _polynomial(self.table.gradient, self.table.low, z)
            return scale * np.where(z < self._z_split, value, kappa - value)

        def above(z: FloatArray) -> FloatArray:
            return scale * kappa - self._large_h(z)

        return self._by_range(r, lambda z: scale * self._small_q(z), within, above)

    def loss(self, r: FloatArray) -> FloatArray:
        table, k = self.table, np.arange(N_SERIES)

        def below(z: FloatArray) -> FloatArray:
            rest = z * (z * _series(table.small / (2 * k + 2), z / table.low))
            return (math.log(2) - self._kappa * z) + rest

        def above(z: FloatArray) -> FloatArray:
            x = table.high / z
            return table.high * x * _series(table.large / (2 * k + 1), x)

        return self._by_range(r, below, lambda z: _polynomial(table.loss, table.low, z), above)

    def q_slope(self, r: FloatArray) -> FloatArray:
        table, k = self.table, np.arange(N_SERIES)
        scale = table.scale

        def below(z: FloatArray) -> FloatArray:
            return scale * (scale * _series(table.small * (2 * k + 1), z / table.low))

        def above(z: FloatArray) -> FloatArray:
            # In an order in which nothing leaves the doubles that comes back.
            x = table.high / z
            last = x * _series(table.large * (2 * k + 2) / table.high, x)
            return scale * x * last * (scale * x)

        def within(z: FloatArray) -> FloatArray:
            return scale * (scale * _polynomial(self._slope, table.low, z))

        return self._by_range(r, below, within, above)

    def unscaled(self) -> Radial:
        """Return the functions of the law of scale 1."""
        return self.scaled(1.0, self._kappa, math.nan)

    @property
    def _z_split(self) -> float:
        octave, part = divmod(self.table.split, 2**PIECE_BITS)
        return float(self.table.low * 2.0**octave * (1 + part / 2**PIECE_BITS))

    def _small_q(self, z: FloatArray) -> FloatArray:
        return z * _series(self.table.small, z / self.table.low)

    def _large_h(self, z: FloatArray) -> FloatArray:
        x = self.table.high / z
        return self.table.scale * x * (x * _series(self.table.large, x))

    def _by_range(
        self, r: FloatArray, below: Function, within: Function, above: Function
    ) -> FloatArray:
        """Evaluate at z = scale r what is for z below, within and above the table."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            z = np.atleast_1d(np.asarray(self.table.scale * r))
            value = within(z)
            for part, function in ((z < self.table.low, below), (~(z < self.table.high), above)):
                if part.any():
                    value[part] = function(z[part])
        return value.reshape(np.shape(r))


def gamma_ratio(x: float) -> float:
    """Return Gamma(x + 1/2) / Gamma(x) for x >= 1/2, to a few ulp.

    Its asymptotic series in 1 / (x - 1/4)^2, after steps up by Gamma(x + 1) = x Gamma(x).
    """
    factor = 1.0
    while x < 32:
        factor *= x / (x + 0.5)
        x += 1
    y = (x - 0.25) ** -2
    series = 1 + y * (1 / 64 + y * (-19 / 8192 + y * (631 / 524288 + y * (-174317 / 134217728))))
    return factor * math.sqrt(x - 0.25) * series


def sphere_density(dim: int) -> float:
    """Return the density of |x_1| at 0 on the unit sphere."""
    return 2 / math.sqrt(math.pi) * gamma_ratio((dim - 1) / 2)


@lru_cache(maxsize=64)
def gaussian() -> Radial:
    """Return the radial functions of the standard Gaussian law."""
    k = np.arange(N_SERIES + 1)
    moments: FloatArray = np.cumprod(2.0 * k + 1)  # E x^2, E x^4, ...
    density = math.sqrt(2 / math.pi) * np.cumprod(np.append(1.0, -1 / (2.0 * k[1:])))
    kappa = 1 / math.sqrt(2 * math.pi)

    def quadrature(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        return u, math.sqrt(2 / math.pi) * _elementary.exp_and_rest(u * u / 2)[0]

    def values(z: FloatArray) -> Values:
        return _integrals(z, 9.5, quadrature)

    return _build(1.0, kappa, 1.0, moments, density, math.inf, values)


@lru_cache(maxsize=64)
def sphere(dim: int) -> Radial:
    """Return the radial functions of the uniform law on the unit sphere."""
    k = np.arange(N_SERIES + 1)
    at_zero = sphere_density(dim)
    moments = np.asarray(np.cumprod((2.0 * k + 1) / (dim + 2.0 * k)), dtype=np.float64)
    # (1 - u^2)^((dim - 3) / 2), by powers of u^2
    density = at_zero * np.cumprod(np.append(1.0, (k[:-1] - (dim - 3) / 2) / (k[:-1] + 1)))
    # u = sin(psi) with the weight cos(psi)^(dim - 2), below e^(-psi^2 (dim - 2) / 2)
    last = min(math.pi / 2, math.sqrt(2 * _FAR / (dim - 2))) if dim > 2 else math.pi / 2

    def quadrature(psi: FloatArray) -> tuple[FloatArray, FloatArray]:
        u, cos = _elementary.sin_cos(psi)
        fall = np.minimum((dim - 2) * _elementary.minus_log(cos, u), 750.0)
        return u, at_zero * _elementary.exp_and_rest(fall)[0]

    def values(z: FloatArray) -> Values:
        return _integrals(z, last, quadrature)

    kappa = at_zero / (2 * (dim - 1))
    return _build(1.0, kappa, 1 / dim, moments, density, 1.0, values)


def mixture(dim: int, radii: FloatArray, probabilities: FloatArray) -> Radial:
    """Return the radial functions of a mixture of spheres, from those of the unit sphere."""
    base = sphere(dim)
    largest = float(radii.max())
    part = radii / largest
    k = np.arange(N_SERIES + 1)
    shift = part.min()
    unit_moments = np.cumprod((2.0 * k + 1) / (dim + 2.0 * k))
    even = _elementary.powers(part * part, N_SERIES + 1)
    moments = unit_moments * (probabilities * even).sum(axis=1)
    # Of density[j], which goes with u^(2 j): times shift^(2 j + 1), lest it overflow.
    falling = np.cumprod(np.append(1.0, (k[:-1] - (dim - 3) / 2) / (k[:-1] + 1)))
    odd = _elementary.powers((shift / part) ** 2, N_SERIES + 1) * (part / shift)
    weights = (probabilities * odd).sum(axis=1)
    density = sphere_density(dim) * falling * weights

    def values(z: FloatArray) -> Values:
        total = np.zeros((4, z.size))
        for first in range(0, len(part), 1000):
            rho = part[first : first + 1000, None]
            p = probabilities[first : first + 1000, None]
            at = rho * z
            for k, (weight, function) in enumerate(
                (
                    (p * rho, base.q),
                    (p * rho, base.h),
                    (p, base.loss),
                    (p * rho * rho, base.q_slope),
                )
            ):
                total[k] += (weight * function(at)).sum(axis=0)
        return total[0], total[1], total[2], total[3]

    mean = math.fsum(probabilities * radii)
    unit_kappa = base.table.kappa
    with np.errstate(over="ignore", under="ignore"):
        m2 = float((probabilities * radii * radii).sum()) / dim
    return _build(largest, mean * unit_kappa, m2, moments, density, shift, values)


def _build(
    scale: float,
    kappa: float,
    m2: float,
    moments: FloatArray,
    density: FloatArray,
    shift: float,
    values: Callable[[FloatArray], Values],
) -> Radial:
    """Tabulate `values` of z = scale r, a law with the given even moments in units of the scale.

    `density` has the coefficients of that of |x_1| in powers of (u / shift)^2, over shift, if shift
    is finite, which is then the smallest support; otherwise in powers of u^2.
    """
    k = np.arange(N_SERIES + 1)
    factorial = np.cumprod((2.0 * k + 1) * (2 * k + 2))
    small = (np.ldexp(1.0, 2 * k + 2) - 1) * _BERNOULLI / factorial * moments
    unit = shift if math.isfinite(shift) else 1.0
    # eta(2 n) = (2^(2 n - 1) - 1) |B_2n| pi^(2 n) / (2 n)!
    even_pi = _elementary.powers(math.pi * math.pi, N_SERIES + 1)
    eta = (np.ldexp(1.0, 2 * k + 1) - 1) * np.abs(_BERNOULLI) * even_pi
    # h = sum of large[j] unit (z unit)^-(2 j + 2)
    large = density / (2 * k + 2) * eta
    low, high = 2.0**64, 1.0
    while _last_of(small, low) > _NEGLIGIBLE:
        low /= 2
    nearest = _FAR / shift
    while high <= max(2 * low, nearest) or _last_of(large, 1 / (high * unit)) > _NEGLIGIBLE:
        high *= 2
    return _tabulate(
        RadialTable(
            scale,
            kappa,
            m2,
            low,
            high,
            0,
            np.empty((0, N_COEFFICIENTS)),
            np.empty((0, N_COEFFICIENTS)),
            small[:-1] * _elementary.powers(low * low, N_SERIES) / (low * low),
            large[:-1] * unit * _elementary.powers((1 / (high * unit)) ** 2, N_SERIES),
        ),
        values,
    )


def _series(coefficients: FloatArray, x: FloatArray) -> FloatArray:
    """Return the sum of coefficients[k] x^(2 k)."""
    square = x * x
    value = np.zeros_like(square)
    for c in coefficients[::-1]:
        value = value * square + c
    return value


def _last_of(series: FloatArray, x: float) -> float:
    """Return the first term left out over the first term, in powers of x^2."""
    return float(abs(series[-1] / series[0]) * x ** (2 * N_SERIES))


def _tabulate(empty: RadialTable, values: Callable[[FloatArray], Values]) -> Radial:
    n_octaves = round(math.log2(empty.high / empty.low))
    n_parts = 2**PIECE_BITS
    fit = _interpolation(_NODES)
    places = 1 + (np.arange(n_parts)[:, None] + 0.5 + _NODES) / n_parts
    found: list[list[FloatArray]] = [[], [], [], []]
    for octave in range(n_octaves):
        z = empty.low * 2.0**octave * places
        for store, value in zip(found, values(z.ravel()), strict=True):
            store.append(value.reshape(places.shape))
    q, h, loss, slope = (np.concatenate(parts) for parts in found)
    # From the piece on in which h is the smaller one.
    split = int(np.argmax((h < q).all(axis=1)))
    gradient = np.concatenate([q[:split], h[split:]])

    def coefficients(at_nodes: FloatArray) -> FloatArray:
        # The fit is not of the values but of what they differ by, which keeps its rounding errors small.
        first = at_nodes[:, :1]
        fitted: FloatArray = ((at_nodes - first)[:, None, :] * fit).sum(axis=2)
        fitted[:, :1] += first
        fitted.setflags(write=False)
        return fitted

    table = empty._replace(split=split, gradient=coefficients(gradient), loss=coefficients(loss))
    table.small.setflags(write=False)
    table.large.setflags(write=False)
    return Radial(table, coefficients(slope))


def _interpolation(nodes: FloatArray) -> FloatArray:
    """Return the coefficients that values at nodes have in the polynomial through them, by rationals.

    Row k is of t^k.
    """
    exact = [Fraction(x) for x in nodes.tolist()]
    columns = []
    for j, own in enumerate(exact):
        basis = [Fraction(1)]  # 1 at its own node and 0 at the others
        for other in exact[:j] + exact[j + 1 :]:
            shifted, scaled = [Fraction(0), *basis], [*(other * c for c in basis), Fraction(0)]
            basis = [(a - b) / (own - other) for a, b in zip(shifted, scaled, strict=True)]
        columns.append([float(c) for c in basis])
    return np.array(columns).T


def _integrals(
    z: FloatArray, last: float, quadrature: Callable[[FloatArray], tuple[FloatArray, FloatArray]]
) -> Values:
    """Integrate over |x_1| for all z of an octave, by Gauss-Legendre points on panels.

    Ten panels from 0 to `last`, cut where z times the place is 3, 6, 12, ...: the scale of the sigmoid.
    """
    middle = math.sqrt(z.min() * z.max())
    inner = np.ldexp(3 / middle, np.arange(9))
    edges = np.unique(np.append(np.linspace(0, last, 11), inner[inner < last]))
    half = np.diff(edges)[:, None] / 2
    u, density = quadrature(((edges[:-1, None] + half) + half * _POINTS).ravel())
    weight = density * (half * _WEIGHTS).ravel()
    near = z.min() * u < 60  # beyond, e^(-z u) is nothing
    beyond = (weight * u / 2)[~near].sum()
    u, weight = u[near], weight[near]
    with np.errstate(under="ignore"):
        zu = np.multiply.outer(z, u)
        e, rest = _elementary.exp_and_rest(zu)
        loss = (_elementary.log1p(e) * weight).sum(axis=1)
        expit = e / (1 + e)
        h = (expit * (weight * u)).sum(axis=1)
        slope = (expit / (1 + e) * (weight * u * u)).sum(axis=1)
        q = (rest / (1 + e) * (weight * u / 2)).sum(axis=1) + beyond
    return q, h, loss, slope


def _polynomial(rows: FloatArray, low: float, z: FloatArray) -> FloatArray:
    """Return the polynomials of the pieces in which z lie; of no meaning outside the table."""
    first = np.float64(low).view(np.int64) >> _SHIFT
    bits = np.where(np.isnan(z), low, z).view(np.int64)
    piece = np.clip((bits >> _SHIFT) - first, 0, len(rows) - 1)
    # The other bits of the mantissa, as a number from -1/2 to 1/2
    rest: npt.NDArray[np.int64] = ((bits << PIECE_BITS) & ((1 << 52) - 1)) | _ONE
    t = rest.view(np.float64) - 1.5
    value: FloatArray = rows[:, -1].take(piece)
    for k in range(N_COEFFICIENTS - 2, -1, -1):
        value = value * t + rows[:, k].take(piece)
    return value
