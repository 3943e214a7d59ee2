"""Elementary functions of the core: right to their last bit or so, and silent beyond their domain."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from linnet_fast._base import elementary
from linnet_fast.sweeps.distributions import quantiles

EXACT = {"log": mpmath.log, "log1p": mpmath.log1p, "exp": mpmath.exp, "expm1": mpmath.expm1}


def near(name, x, units):
    found = float(getattr(elementary, name)(x))
    with mpmath.workprec(1200):  # 1 + x is exact for all but the smallest x
        exact = EXACT[name](mpmath.mpf(x))
        expected = float(exact)
        if not np.isfinite(expected) or not np.isfinite(found) or abs(expected) < 1e-307:
            assert found == pytest.approx(expected, abs=5e-324)
            return
        assert abs(mpmath.mpf(found) - exact) <= units * float(np.spacing(abs(expected)))


@given(st.floats(5e-324, 1.7e308))
def test_logarithms_are_those_of_mpmath(x):
    near("log", x, 0.501)
    near("log1p", x, 0.6)


@given(st.one_of(st.floats(-1, 1, exclude_min=True), st.floats(0.999, 1.001)))
def test_logarithms_near_one(x):
    near("log1p", x, 0.6)
    near("log", abs(x) or 1.0, 0.501)


@given(st.one_of(st.floats(-745, 709), st.floats(-1, 1), st.floats(-1e-9, 1e-9)))
def test_exponentials_are_those_of_mpmath(x):
    near("exp", x, 0.8)
    near("expm1", x, 0.9)


@given(st.one_of(st.floats(5e-324, 1, exclude_max=True), st.floats(0.13, 0.14)))
def test_quantiles_are_those_of_scipy(p):
    """By the same rational functions; the logarithm in the tails may differ in its last bit."""
    found = float(elementary.normal_quantile(p))
    assert found == pytest.approx(scipy.special.ndtri(p), rel=1e-15)
    assert scipy.special.ndtr(found) == pytest.approx(p, rel=1e-12)


EDGES = [0.0, 1.0, np.nan, -1.0, 2.0, 0.5, 1e-300, 5e-324, 1 - 2.0**-53, 1e-14, 1 - 1e-14]
EDGES += [f(x) for x in (np.exp(-2), 1 - np.exp(-2)) for f in (float, np.spacing(1).__add__)]


@pytest.mark.parametrize("n", [1, 7, 16, 513, 5000])
def test_quantiles_do_not_depend_on_what_is_beside_them(n):
    """Many are found in packs, and those in the tails in packs of their own."""
    drawn = np.random.default_rng(n).random(n)
    for p in (drawn, drawn**9, 1 - drawn**9, np.resize(EDGES, n)):
        alone = np.array([elementary.normal_quantile([x])[0] for x in p])
        np.testing.assert_array_equal(elementary.normal_quantile(p), alone)


def test_the_ends_are_those_of_numpy_without_a_warning():
    x = [0.0, -0.0, 1.0, -1.0, -2.0, np.inf, -np.inf, np.nan, 1e308, 5e-324, 709.9, -746.0, -800.0]
    with np.errstate(all="ignore"):
        for name in EXACT:
            expected = getattr(np, name)(np.array(x))
            np.testing.assert_array_equal(getattr(elementary, name)(x), expected, err_msg=name)
    ends = elementary.normal_quantile([0.0, 0.5, 1.0, -1.0, 2.0, np.nan])
    np.testing.assert_array_equal(ends, [-np.inf, 0.0, np.inf, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3), (10_000,)])
def test_shapes_and_orders(shape):
    x = np.random.default_rng(0).random(shape)
    for other in (x, np.array(x, order="F"), x.astype(">f8")):
        assert elementary.exp(other).shape == shape
        np.testing.assert_array_equal(elementary.exp(other), elementary.exp(x))


@pytest.mark.parametrize(
    "of",
    [
        scipy.stats.norm(2, 3),
        scipy.stats.norm(loc=1),
        scipy.stats.loguniform(1e-6, 1),
        scipy.stats.loguniform(1e-3, 10, loc=2, scale=3),
        scipy.stats.lognorm(s=0.5, scale=2),
        scipy.stats.expon(1, 4),
        scipy.stats.uniform(1, 2),
        scipy.stats.randint(0, 9),
        scipy.stats.gamma(2),
    ],
    ids=lambda of: of.dist.name,
)
def test_values_of_distributions_are_those_of_scipy(of):
    u = np.random.default_rng(1).random(1000)
    np.testing.assert_allclose(quantiles(of, u), of.ppf(u), rtol=1e-14)
    assert of.support()[0] <= quantiles(of, np.array([2.0**-53]))[0]
    assert quantiles(of, np.array([1 - 2.0**-53]))[0] <= of.support()[1]
