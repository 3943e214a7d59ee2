"""Proxes over the range of doubles: from points whose prox is known, and by Moreau's identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from support import crossed, few

from linnet_fast import regularizers as r

POWERS = [
    1.0,
    1 + 1e-15,
    1 + 1e-7,
    1.001,
    1.3,
    1.9,
    2.0,
    2.1,
    5.0,
    100.0,
    200.0,
    1e3,
    1e6,
    1e12,
    1e308,
]


@crossed(("p", POWERS), ("size", [1, 3, 40]))
def test_proxes_of_lp_from_their_results(p, size):
    # x = y + step (y / |y|_p)^(p - 1) has the prox y. Its rounding moves the prox by no more.
    rng = np.random.default_rng(size)
    steps = (-12, -6, -2, 0, 2, 12)
    for k, log_step in enumerate(steps if p * size < 1e13 else few(steps, 2)):
        y = np.abs(rng.standard_normal(size)) + 1e-3
        if k % 2 and size > 2:
            y[1:3] = y.max()
        with mp.workdps(40 + int(np.log10(p))):
            exact = [mpf(v) for v in y.tolist()]
            top = max(exact)
            norm = top * mp.fsum((v / top) ** mpf(p) for v in exact) ** (1 / mpf(p))
            step = mpf(10) ** log_step
            x = np.array([float(v + step * (v / norm) ** (mpf(p) - 1)) for v in exact])
        for scale in (2.0**-330, 1.0, 2.0**330):
            found = r.Lp(p).prox(scale * x, scale * 10.0**log_step) / scale
            assert np.linalg.norm(found - y) <= 2e-15 * np.linalg.norm(x)


def test_lp_is_l1_and_linf_at_its_ends():
    x = np.random.default_rng(0).standard_normal((3, 50))
    for step in (1e-9, 0.01, 1.0):
        assert_allclose(r.Lp(1 + 1e-15).prox(x, step), r.L1().prox(x, step), atol=1e-12)
        assert_allclose(r.Lp(1e16).prox(x, step), r.LInf().prox(x, step), atol=1e-14)


def size_of(x, p):
    """Return the l_p norm by its logarithms."""
    top = np.abs(x).max()
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x) / top)
    return top * np.exp(logsumexp(p * logs) / p) if top > 0 and p < np.inf else top


@settings(max_examples=60, deadline=None)
@given(
    p=st.floats(-15.5, 308).map(lambda e: 1 + 10.0**e) | st.floats(1, 400) | st.just(np.inf),
    size=st.integers(1, 1000),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(-9, -1e-6).map(lambda e: 10.0**e),
)
def test_proxes_of_lp_are_optimal(p, size, seed, share):
    # Of x - prox = step s: s is in the dual ball, and <s, prox> = |prox|_p. Nothing else is.
    x = np.random.default_rng(seed).standard_normal(size)
    dual = np.inf if p == 1 else 1.0 if np.isinf(p) else p / (p - 1)
    whole = size_of(x, dual)
    step = share * whole
    y = (r.LInf() if np.isinf(p) else r.Lp(p)).prox(x, step)
    assert size_of(x - y, dual) <= step + 4e-14 * whole
    assert abs(np.dot(x - y, y) - step * size_of(y, p)) <= 4e-14 * np.dot(x, x)
    if p >= 1e18:
        assert_allclose(y, r.LInf().prox(x, step), atol=1e-14)


def groups_of(owner):
    return [np.flatnonzero(owner == g).tolist() for g in np.unique(owner)]


@settings(max_examples=80, deadline=None)
@given(
    size=st.sampled_from([1, 2, 5, 30, 1000]),
    seed=st.integers(0, 2**32 - 1),
    kind=st.integers(0, 17),
    shape=st.sampled_from(["plain", "ties", "zeros", "far apart"]),
    log_scale=st.floats(-100, 100),
    share=st.floats(-12, 0).map(lambda e: 10.0**e) | st.just(1e12),
)
def test_proxes_and_projections_add_up_at_any_scale(size, seed, kind, shape, log_scale, share):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(size)
    if shape == "ties":
        x = np.round(2 * x) + 0.5
    elif shape == "zeros":
        x[rng.random(size) < 0.5] = 0
    elif shape == "far apart":
        x = x * 10.0 ** rng.uniform(-14, 0, size)
    x = x * 10.0**log_scale
    groups = groups_of(rng.integers(0, max(1, size // 3), size))
    if kind >= 15 and size > 5:
        return
    norm = [
        r.L1(), r.L2(), r.LInf(), r.Lp(float(1 + 10 ** rng.uniform(-10, 0))),
        r.Lp(float(10 ** rng.uniform(0.4, 8))), r.WeightedL1(10.0 ** rng.uniform(-90, 90, size)),
        r.GroupLasso(groups, 10.0 ** rng.uniform(-3, 3, len(groups))), r.ExclusiveLasso(groups),
        r.KSupport(1 + size // 3), r.OWL(-np.sort(-(10.0 ** rng.uniform(-5, 5, size)))),
        r.TotalVariation(), r.FourierL1(), r.MixedGroup(groups, 1.0, 1.0),
        r.MixedGroup(groups, float(rng.uniform(1.0001, 2)), 1.0), r.MixedGroup(groups, 2.0, 1.0),
        r.LatentGroupLasso([*groups, [0, size - 1][: min(size, 2)]]),
        r.Atomic(rng.standard_normal((size, 2 * size))),
        r.InfimalConvolution(r.LInf(), r.L2()),
    ][kind]  # fmt: skip
    whole = float(norm.dual(x))
    step = share * whole
    if not 1e-290 < step < 1e290:
        return
    y = norm.prox(x, step)
    if share > 1:
        assert not y.any()
        return
    slack = 1e-11 if kind >= 15 else 4e-14
    assert float(norm.dual(x - y)) <= step + slack * whole
    top = np.abs(x).max()
    aligned = np.dot((x - y) / top, y / top) - step / top * (float(norm.value(y)) / top)
    assert abs(aligned) <= slack * np.sum((x / top) ** 2)


@pytest.mark.parametrize("p", [1.0, 1.3, 2.0])
def test_mixed_groups_of_power_one_are_norms(p):
    groups = [(0, 3), (1, 2, 4)]
    norm = r.MixedGroup(groups, p, 1.0)
    assert norm.is_norm
    assert norm.is_convex
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 200, 5))
    assert (norm.value(x + z) <= (norm.value(x) + norm.value(z)) * (1 + 1e-14)).all()
    assert_allclose(norm.value(-3 * x), 3 * norm.value(x), rtol=1e-14)
    # The dual norm by its definition: a part of z per group, of which the largest is attained.
    assert (np.sum(x * z, axis=-1) <= norm.value(x) * norm.dual(z) * (1 + 1e-14)).all()
    y = norm.prox(z, 0.999 * norm.dual(z))
    assert (np.sum(y * z, axis=-1) >= 0.999 * norm.value(y) * norm.dual(z)).all()


BORDERS = [
    r.Lp(1.0), r.Lp(np.nextafter(1, 0)), r.Lp(np.nextafter(1, 2)), r.Lp(0.5), r.SchattenP(1.0),
    r.SchattenP(np.nextafter(1, 0)), r.FourierLp(0.999), r.MixedGroup([(0, 1), (2,)], 1.0, 1.0),
    r.MixedGroup([(0, 1), (2,)], 2.0, np.nextafter(1, 0)), r.MixedGroup([(0, 1), (2,)], 1.0, 0.5),
    r.KSupport(1), r.KSupport(3), r.OWL([1.0, 0.0, 0.0]), r.OWL([1.0, 1.0, 1.0]), r.Huber(),
    r.ElasticNet(1.0, 1e-3), r.SquaredL2(), r.GroupLasso([(0,), (1,), (2,)]),
    r.ExclusiveLasso([(0, 1, 2)]), r.LatentGroupLasso([(0, 1), (1, 2)]), r.TotalVariation(),
    r.InfimalConvolution(r.L1(), r.MixedGroup([(0, 1), (2,)], 1.5, 1.0)),
    r.InfimalConvolution(r.L1(), r.Huber()),
]  # fmt: skip


@pytest.mark.parametrize("penalty", BORDERS, ids=lambda x: f"{x!r:.50}")
def test_is_norm_says_whether_it_is_one(penalty):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 20, *((3, 3) if penalty._n_axes == 2 else (3,))))
    if penalty._n_axes == 2:
        # What breaks the triangle inequality of quasi-norms: parts in different directions.
        x[0], y[0] = np.diag([1.0, 0, 0]), np.diag([0, 1.0, 0])
    else:
        x[0], y[0] = [1, 0, 0], [0, 0, 1]
    near = isinstance(getattr(penalty, "p", None), float) and 0.99 < penalty.p < 1
    near = near or 0.99 < getattr(penalty, "power", 0) < 1
    small = 1e-3 * x  # of what is not homogeneous
    homogeneous = np.allclose(penalty.value(3 * small), 3 * penalty.value(small), rtol=1e-9)
    triangle = (penalty.value(x + y) <= (penalty.value(x) + penalty.value(y)) * (1 + 1e-9)).all()
    if not near:
        assert penalty.is_norm == (homogeneous and triangle)
    elif penalty.is_norm:
        pytest.fail("powers below 1 are no norms")


@settings(max_examples=60)
@given(
    st.floats(1e-3, 0.9999), st.floats(-100, 100), st.floats(-12, 12), st.booleans()
)  # fmt: skip
def test_power_prox_is_global_at_any_scale(power, log_size, log_step, negative):
    # In units of x: |v - 1|^2 / 2 + t |v|^p.
    size = 10.0**log_size * (-1 if negative else 1)
    t = 10.0**log_step
    log_unit = (2 - power) * log_size + log_step
    if abs(log_unit) > 290:
        return
    v = float(r.Lp(power).prox([size], 10.0**log_unit)[0]) / size
    grid = np.concatenate([[0.0, 1.0], np.linspace(0, 1, 4001), v * np.linspace(0.9, 1.1, 101)])
    best = 0.5 * (v - 1) ** 2 + t * abs(v) ** power
    values = 0.5 * (grid - 1) ** 2 + t * np.abs(grid) ** power
    assert best <= values.min() * (1 + 1e-11) + 1e-15


def test_steps_near_the_largest_number():
    x = np.array([1e300, -2e300])
    assert_allclose(r.SquaredL2().prox(x, 1e308), [5e-9, -1e-8], rtol=1e-15)
    assert_allclose(r.Huber().prox(x, 1e308), [5e-9, -1e-8], rtol=1e-15)
    assert_array_equal(r.L1().prox(x, 1e308), 0 * x)
