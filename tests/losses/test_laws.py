"""Spherically symmetric laws: radial functions against mpmath, moments and samples against formulas."""

from __future__ import annotations

import hashlib
import pickle

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import dblquad
from support import crossed, few, python

from linnet_fast import _core
from linnet_fast.laws import (
    Ball,
    Gaussian,
    RadialMixture,
    Sphere,
    SphericalLaw,
    _elementary,
    _radial,
)

FUNCTIONS = {"h": "h", "q": "q", "H": "radial_loss", "slope": "q_slope"}
LAWS = [
    Gaussian(3),
    Sphere(2),
    Sphere(3),
    Ball(3),
    Sphere(7, 2.5),
    Gaussian(2, 1e-6),
    Sphere(1000, 1e6),
    RadialMixture(2, [1e-3, 1.0, 50.0], [0.2, 0.5, 0.3]),
]


def quadrature(law, r, name):
    """Return a radial function by its integral, at 30 digits."""
    if isinstance(law, RadialMixture):
        power = {"h": 1, "q": 1, "H": 0, "slope": 2}[name]
        return mpmath.fsum(
            mpf(p) * mpf(rho) ** power * quadrature(Sphere(law.dim), mpf(rho) * r, name)
            for p, rho in zip(law.probabilities, law.radii, strict=True)
        )
    if isinstance(law, Gaussian):
        scale, end, place = mpf(law.scale), mpf(13), lambda u: u
        coordinate, width = (lambda x: x), mpf(1)

        def density(x):
            return mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-x * x / 2)
    else:
        dim = law.dim + 2 * isinstance(law, Ball)
        scale, end, width = mpf(law.radius), mpmath.pi / 2, 1 / mpmath.sqrt(dim)
        at_zero = mpmath.gammaprod([mpf(dim) / 2], [mpf(1) / 2, mpf(dim - 1) / 2]) * 2
        coordinate = mpmath.sin

        def place(u):
            return mpmath.asin(u) if u < 1 else end

        def density(x):
            return at_zero * mpmath.cos(x) ** (dim - 2)

    z = scale * mpf(r)
    integrand = {
        "h": lambda u: u / (1 + mpmath.exp(z * u)),
        "q": lambda u: u * mpmath.tanh(z * u / 2) / 2,
        "H": lambda u: mpmath.log1p(mpmath.exp(-z * u)),
        "slope": lambda u: u * u / (1 + mpmath.exp(z * u)) / (1 + mpmath.exp(-z * u)),
    }[name]
    points = [k * width for k in range(14)] + [place(2 ** mpf(k) / z) for k in range(-1, 8)]
    points = sorted({x for x in points if x < end} | {end})
    # mpmath's tolerance is absolute: values must not be small
    size = max(z, 1) ** {"h": 2, "q": 0, "H": 1, "slope": 3}[name] / min(z, 1) ** (name == "q")
    value = mpmath.quad(lambda x: size * integrand(coordinate(x)) * density(x), points) / size
    return value * scale ** {"h": 1, "q": 1, "H": 0, "slope": 2}[name]


def norms(law):
    """Return norms in and beyond all ranges of the table."""
    table = law.table
    z = np.geomspace(table.low / 3, table.high * 3, 7)
    split = table.low * 2.0 ** (table.split / 2**_radial.PIECE_BITS)
    return np.concatenate([[1e-8], z, [split * 1.01, 1e9]]) / table.scale


@pytest.mark.parametrize("law", few(LAWS, 4), ids=repr)
def test_radial_functions_equal_their_integrals(law):
    with mpmath.workdps(30):
        for r in few(norms(law), 3):
            for name, method in FUNCTIONS.items():
                exact = quadrature(law, r, name)
                error = abs(mpf(float(getattr(law, method)(r))) / exact - 1)
                assert error < 2e-15, (name, r, float(error))


def test_printed_values():
    # To all digits printed, from a quadrature of 40 digits
    gauss, circle, sphere = Gaussian(2), Sphere(2), Sphere(3)
    found = [
        *(gauss.h(1.0), gauss.q(1.0), gauss.radial_loss(1.0), gauss.h(10.0)),
        *(gauss.radial_loss(10.0), circle.h(1.0), circle.radial_loss(1.0), circle.h(10.0)),
        *(circle.radial_loss(10.0), sphere.h(1.0), sphere.h(10.0), Ball(3).h(1.0)),
    ]
    expected = [
        *(0.1923213162595257, 0.206620964141907, 0.4071169029460071, 0.006346679307791915),
        *(0.06489022715682183, 0.2005241792217803, 0.4354859587126261, 0.005460493264588067),
        *(0.05304238130704547, 0.1705573495024383, 0.008219676450174612, 0.1391924790785621),
    ]
    assert_allclose(found, expected, rtol=4e-15)
    constants = [gauss.kappa, gauss.a2, circle.kappa, circle.f0, circle.a2, sphere.kappa, sphere.f0]
    exact = [0.398942280401433, 0.656233747738434, 1 / np.pi, 2 / np.pi, np.pi / 6, 0.25, 1]
    assert_allclose(constants, exact, rtol=1e-15)
    assert_allclose(
        [law.max_rh for law in (gauss, circle, sphere)], [0.2010, 0.2328, 0.2197], atol=5e-5
    )
    assert_allclose(circle.sup_r2h(), 0.6213, atol=5e-5)
    assert gauss.sup_r2h() == gauss.a2


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_core_evaluates_the_same_functions(law):
    z = np.concatenate(
        [np.geomspace(law.table.low / 1e6, law.table.high * 1e6, 4000), [1e-300, 1e200]]
    )
    r = z / law.table.scale
    for found, expected in zip(
        _core.radial_functions(law.table, r), (law.h(r), law.q(r), law.radial_loss(r)), strict=True
    ):
        assert_allclose(found, expected, rtol=5e-16, atol=1e-307)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_radial_functions_fit_together(law):
    unit = 1 / np.sqrt(law.m2)
    r = unit * np.geomspace(1e-4, 1e4, 3001)
    h, q, slope = law.h(r), law.q(r), law.q_slope(r)
    assert_allclose(h + q, law.kappa, rtol=1e-14)
    assert np.all(np.diff(h) < 0)
    assert np.all(np.diff(law.radial_loss(r)) < 0)
    assert np.all((slope > 0) & (q <= law.m2 / 4 * r * (1 + 1e-14)))
    assert np.all(r * h <= law.max_rh * (1 + 1e-14))
    assert law.max_rh <= 0.2784645427610738
    assert np.all(r * r * h <= law.sup_r2h() * (1 + 1e-13))
    if law.is_density_nonincreasing:
        assert law.sup_r2h() == law.a2
    # The slopes are derivatives: central differences of order 4, of H and of q
    d = 1e-3 * r

    def difference(f):
        return (8 * (f(r + d) - f(r - d)) - f(r + 2 * d) + f(r - 2 * d)) / (12 * d)

    assert_allclose(difference(law.q), slope, rtol=1e-8, atol=1e-12 * law.kappa / r[0])
    assert_allclose(difference(law.radial_loss)[1000:], -h[1000:], rtol=1e-8)
    # Both ends
    far = 1e9 / law.table.scale if not isinstance(law, RadialMixture) else 1e12
    assert_allclose([far**2 * law.h(far), far * law.radial_loss(far)], law.a2, rtol=1e-12)
    assert_allclose(law.q(1e-9 * unit) / (1e-9 * unit), law.m2 / 4, rtol=1e-14)


@pytest.mark.parametrize("law", [Gaussian(2), Sphere(2), RadialMixture(3, [0.1, 2.0])], ids=repr)
def test_zero_and_the_whole_range(law):
    assert_array_equal(law.h(0.0), law.kappa)
    assert_array_equal([law.q(0.0), law.h(1e300), law.radial_loss(1e308) > 1e-300], 0)
    assert_allclose([law.radial_loss(0.0), law.q_slope(0.0)], [np.log(2), law.m2 / 4], rtol=1e-15)
    assert_allclose(law.q(1e-300), law.m2 / 4 * 1e-300, rtol=1e-14)
    assert_allclose(law.q(1e300), law.kappa, rtol=1e-15)
    assert law.h([[1.0, 2.0]]).shape == (1, 2)
    assert isinstance(law.h(1), float)


def test_uniform_coordinates_have_a_dilogarithm():
    # x_1 is uniform on [-1, 1] on the sphere in three dimensions
    for r in [0.01, 0.3, 2.0, 20.0]:
        with mpmath.workdps(30):
            z = mpf(r)
            area = mpmath.pi**2 / 12 + mpmath.polylog(2, -mpmath.exp(-z))
            exact = area / z**2 - mpmath.log1p(mpmath.exp(-z)) / z
            assert abs(mpf(float(Sphere(3).h(r))) / exact - 1) < 3e-15
            assert abs(mpf(float(Sphere(3).radial_loss(r))) / (area / z) - 1) < 3e-15


@pytest.mark.parametrize("x", [0.5, 1.0, 3.5, 31.75, 32.0, 499.5, 1e5, 1e9])
def test_gamma_ratio(x):
    with mpmath.workdps(30):
        exact = mpmath.gammaprod([mpf(x) + mpf(1) / 2], [mpf(x)])
        assert abs(mpf(_radial.gamma_ratio(x)) / exact - 1) < 3e-15


SAMPLED = [Gaussian(2, 3.0), Sphere(4, 2.0), Ball(3), RadialMixture(2, [0.5, 2.0], [0.75, 0.25])]


@pytest.mark.parametrize("law", SAMPLED, ids=repr)
def test_samples_have_the_law(law):
    n = 400_000
    x = law.sample(n, rng=7)
    assert x.shape == (n, law.dim)
    assert_array_equal(x[:5], law.sample(n, rng=np.random.default_rng(7))[:5])

    def agrees(values, mean):
        z = (values.mean() - mean) / (values.std() / np.sqrt(n))
        assert abs(z) < 4.5, z

    first = np.abs(x[:, 0])
    agrees(first / 2, law.kappa)
    agrees(np.hypot(x[:, 0], x[:, 1]), law.c0)
    for order in (2, 4, 6):
        agrees(first**order, law.even_moment(order))
    for r in (0.3, 4.0):
        agrees(first / (1 + np.exp(r * first)), float(law.h(r)))
        agrees(np.log1p(np.exp(-r * first)), float(law.radial_loss(r)))
    near = 0.02 * np.sqrt(law.m2)
    agrees((first < near) / near, law.f0)
    beside = (x[first < near, 1:] ** 2).sum(axis=1)
    assert (
        abs(beside.mean() - law.m_perp)
        < 5 * beside.std() / np.sqrt(len(beside)) + 1e-3 * law.m_perp
    )
    # and every direction is as likely: the mean vanishes, the second moment is a multiple of 1
    assert_allclose(x.mean(axis=0), 0, atol=5 * np.sqrt(law.m2 / n))
    assert_allclose(x.T @ x / n, law.m2 * np.eye(law.dim), atol=6 * law.m2 * 2 / np.sqrt(n))


@pytest.mark.parametrize(("r", "theta"), [(0.5, 2.8), (3.0, 1e-3), (1.5, 1.2)])
def test_the_gradient_is_that_of_the_loss(r, theta):
    # -gradient = kappa v - q w / r, by an integral over the plane, of the Gaussian law
    law = Gaussian(2)
    w = r * np.array([np.cos(theta), np.sin(theta)])

    def integral(component):
        def f(phi, rho):
            x = rho * np.array([np.cos(phi), np.sin(phi)])
            y = np.sign(x[0])
            density = rho * np.exp(-rho * rho / 2) / (2 * np.pi)
            return y * x[component] / (1 + np.exp(y * (w @ x))) * density

        half = [(-np.pi / 2, np.pi / 2), (np.pi / 2, 1.5 * np.pi)]
        return sum(dblquad(f, 0, 9, a, b, epsabs=1e-10)[0] for a, b in half)

    pull = law.kappa * np.array([1.0, 0.0]) - law.q(r) * w / r
    assert_allclose([integral(0), integral(1)], pull, atol=2e-9)


def test_mixtures():
    assert_allclose(
        RadialMixture(5, 2.5 * np.ones(1)).h([0.1, 3]), Sphere(5, 2.5).h([0.1, 3]), rtol=1e-14
    )
    nodes, weights = np.polynomial.legendre.leggauss(40)
    rho = (1 + nodes) / 2
    ball = RadialMixture(3, rho, 3 * rho**2 * weights / 2)
    r = np.geomspace(1e-3, 30, 50)
    assert_allclose(ball.h(r), Ball(3).h(r), rtol=1e-12)
    assert_allclose(
        [ball.f0, ball.m_perp, ball.m2], [Ball(3).f0, Ball(3).m_perp, Ball(3).m2], rtol=1e-12
    )
    wide = RadialMixture(3, [1e-6, 1e6])
    each = np.array([Sphere(3, 1e-6).h(r), Sphere(3, 1e6).h(r)])
    assert_allclose(wide.h(r), each.mean(axis=0), rtol=1e-14)


def test_laws_are_values():
    assert Gaussian(3) == Gaussian(3, 1) != Gaussian(4)
    assert Sphere(3) != Ball(3)
    assert RadialMixture(2, [2, 1], [0.25, 0.75]) == RadialMixture(2, [1.0, 2.0], [0.75, 0.25])
    assert len({Sphere(2), Sphere(2, 1.0), Sphere(np.int64(2)), Sphere(2, 2)}) == 2
    law = RadialMixture(2, [1, 2])
    assert repr(law) == "RadialMixture(dim=2, radii=(1.0, 2.0), probabilities=(0.5, 0.5))"
    law.h(1.0)
    again = pickle.loads(pickle.dumps(law))
    assert again == law
    assert again.h(1.0) == law.h(1.0)
    with pytest.raises(AttributeError):
        law.dim = 3


def test_laws_that_differ_in_scale_share_a_table():
    _radial.sphere.cache_clear()
    for radius in (1.0, 2.0, 5.0):
        _ = Sphere(30, radius).table
    assert _radial.sphere.cache_info().misses == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Gaussian(1), ValueError, "dim must be >= 2, got 1: there is no angle"),
        (lambda: Sphere(2.0), TypeError, "dim must be an integer"),
        (lambda: Sphere(0), ValueError, "dim must be >= 2, got 0"),
        (lambda: Ball(2, 0), ValueError, "radius must be > 0, got 0"),
        (lambda: Gaussian(2, np.nan), ValueError, "scale must be finite"),
        (lambda: Gaussian(2, [1.0]), TypeError, "scale must be a single number"),
        (lambda: RadialMixture(2, [0.0, 1.0]), ValueError, "radii must be > 0"),
        (lambda: RadialMixture(2, 1.0), ValueError, r"radii must have shape \(n,\)"),
        (lambda: RadialMixture(2, [1, 2], [1.0]), ValueError, "probabilities must have shape"),
        (lambda: RadialMixture(2, [1, 2], [0.5, 0.6]), ValueError, "add up to 1, got a sum of 1.1"),
        (lambda: Gaussian(2).h(-1.0), ValueError, "r must be >= 0"),
        (lambda: Gaussian(2).even_moment(3), ValueError, "order must be even"),
        (lambda: Gaussian(2).sample(-1), ValueError, "n must be >= 0"),
        (SphericalLaw, TypeError, "abstract"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bad_tables_are_refused_by_the_core():
    table, r = Gaussian(2).table, np.ones(1)
    for changed in (
        {"scale": 0.0},
        {"low": 0.3},
        {"high": table.low},
        {"split": 10**6},
        {"loss": table.loss[1:]},
        {"small": np.full(6, np.nan)},
    ):
        with pytest.raises(ValueError, match="table"):
            _core.radial_functions(tuple(table._replace(**changed)), r)
    with pytest.raises(ValueError, match="10 fields"):
        _core.radial_functions(table[:9], r)


def scaled(kind, dim, scale):
    """Return a law of some scale."""
    if kind is RadialMixture:
        return kind(dim, [0.5 * scale, scale], [0.3, 0.7])
    return kind(dim, scale)


def near(found, expected, rtol=1e-12):
    """Check a number against one of mpmath, which may be beyond the doubles."""
    if abs(expected) > mpf("1.79e308"):
        assert found == np.inf
    else:
        assert abs(mpf(float(found)) - expected) <= rtol * abs(expected) + mpf("1e-306")


@crossed(
    ("kind", [Gaussian, Sphere, Ball, RadialMixture]),
    ("dim", [2, 3, 10**6]),
    ("scale", [4e-300, 1e-170, 1e-4, 1e4, 1e155, 1e300]),
    n=12,
)
def test_laws_of_any_scale(kind, dim, scale):
    # h and q of c x are c h(c r), c q(c r); those of scale 1 are tested above against their integrals.
    law, one, c = scaled(kind, dim, scale), scaled(kind, dim, 1.0), mpf(scale)
    for name, power in (("kappa", 1), ("c0", 1), ("f0", -1), ("a2", -1), ("m_perp", 2), ("m2", 2)):
        near(getattr(law, name), getattr(one, name) * c**power)
    near(law.max_rh, one.max_rh)
    near(law.sup_r2h(), one.sup_r2h() / c)
    for order in (0, 2, 6, 100):
        unit = one.even_moment(order)
        if unit > 1e-290:
            near(law.even_moment(order), unit * c**order)
    for z in (1e-200, 1e-5, 0.3, 3.0, 1e3, 1e100, 1e200):
        if not 1e-305 < mpf(z) / c < 1e305:
            continue
        r = float(mpf(z) / c)
        h, slope = mpf(float(one.h(z))), mpf(float(one.q_slope(z)))
        if z >= 1e100:  # their limits, where the ones of scale 1 underflow
            h, slope = one.a2 / mpf(z) ** 2, 2 * one.a2 / mpf(z) ** 3
        near(law.h(r), h * c)
        near(law.q(r), float(one.q(z)) * c)
        near(law.radial_loss(r), float(one.radial_loss(z)))
        near(law.q_slope(r), slope * c**2)


def test_mixtures_of_far_radii():
    law, unit, r = (
        RadialMixture(3, [1e-15, 1, 1e15], [0.2, 0.3, 0.5]),
        Sphere(3),
        np.geomspace(1e-25, 1e25, 99),
    )
    for name, power in (("h", 1), ("q", 1), ("radial_loss", 0), ("q_slope", 2)):
        parts = [
            p * rho**power * getattr(unit, name)(rho * r)
            for p, rho in zip(law.probabilities, law.radii, strict=True)
        ]
        assert_allclose(getattr(law, name)(r), sum(parts), rtol=1e-13)


def test_ranges_of_laws():
    for make in (lambda: Gaussian(2, 1e-301), lambda: Sphere(2, 1e301), lambda: Ball(2, 1e308)):
        with pytest.raises(ValueError, match=r"^(scale|radius) must be from 1e-300 to"):
            make()
    with pytest.raises(ValueError, match=r"^radii must be"):
        RadialMixture(2, [1.0, 1e31])
    with pytest.raises(ValueError, match=r"^law must have lengths from 1e-150"):
        _ = Gaussian(2, 1e170).table
    with pytest.raises(ValueError, match=r"^n must fit into memory"):
        Gaussian(2).sample(2**60)
    loop = []
    loop.append(loop)
    for rng in (loop, np.ones((1, 2)), "1", 1.5, True, -1):
        with pytest.raises((TypeError, ValueError), match=r"^rng"):
            Gaussian(2).sample(1, rng)


TABLES = """
import hashlib
from linnet_fast.laws import *
laws = [Gaussian(2), Sphere(2), Sphere(3), Sphere(1000), Ball(10**8, 2.0)]
laws += [RadialMixture(d, [1e-3, 1.0, 50.0, 7.0, 0.3], [0.2, 0.3, 0.3, 0.1, 0.1]) for d in (2, 5)]
digest = hashlib.sha256()
for law in laws:
    table = law.table
    for array in (table.gradient, table.loss, table.small, table.large, law._radial._slope):
        digest.update(array.tobytes())
    digest.update(repr((law.kappa, law.m2, law.a2, *table[:6])).encode())
print(digest.hexdigest())
"""


def test_tables_have_the_same_bits_on_every_processor():
    settings = [
        {},
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        {
            "NPY_DISABLE_CPU_FEATURES": " ".join(np._core._multiarray_umath.__cpu_dispatch__),
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
        },
    ]
    found = {python(TABLES, **setting).stdout for setting in settings}
    assert len(found) == 1
    assert len(found.pop().strip()) == hashlib.sha256().digest_size * 2


def test_elementary_functions():
    rng = np.random.default_rng(3)
    tiny = 10.0 ** rng.uniform(-12, -1, 50)
    x = np.concatenate([[0.0, 0.5, 1.0], tiny, rng.uniform(0, 1, 100)])
    long = np.concatenate([x, rng.uniform(0, 700, 100)])
    angle = x * (np.pi / 2)
    sin, cos = _elementary.sin_cos(angle)
    inner = angle < 1.57
    with mpmath.workdps(40):
        for got, function, places, ulps in (
            (_elementary.exp_and_rest(long)[0], lambda v: mpmath.exp(-v), long, 2),
            (_elementary.exp_and_rest(long)[1], lambda v: -mpmath.expm1(-v), long, 2),
            (_elementary.log1p(x), mpmath.log1p, x, 2),
            (sin, mpmath.sin, angle, 2),
            # It goes with the square of a sine that is an ulp or two off.
            (
                _elementary.minus_log(cos, sin)[inner],
                lambda v: -mpmath.log(mpmath.cos(v)),
                angle[inner],
                6,
            ),
        ):
            for value, place in zip(got, places, strict=True):
                expected = function(mpf(float(place)))
                assert abs(mpf(float(value)) - expected) <= ulps * 2.3e-16 * abs(expected)
        assert_allclose(cos, [float(mpmath.cos(mpf(float(a)))) for a in angle], rtol=0, atol=3e-16)
    assert_allclose(_elementary.powers(3.0, 4), [3.0, 9.0, 27.0, 81.0])


def test_constants_of_the_tables():
    points, weights = np.polynomial.legendre.leggauss(16)
    assert_allclose(_radial._POINTS, points, rtol=1e-14)
    assert_allclose(_radial._WEIGHTS, weights, rtol=1e-13)
    bernoulli = [float(mpmath.bernoulli(2 * k)) for k in range(1, _radial.N_SERIES + 2)]
    assert_array_equal(_radial._BERNOULLI, bernoulli)
    chebyshev = np.cos(np.pi * (np.arange(8)[::-1] + 0.5) / 8) / 2
    assert_allclose(_radial._NODES, chebyshev, rtol=1e-15)
    fit = _radial._interpolation(_radial._NODES)
    assert_allclose(
        fit, np.linalg.inv(np.vander(_radial._NODES, increasing=True)), rtol=1e-12, atol=1e-12
    )
