"""Closed forms of modes over the range of doubles, against mpmath: other formulas, many digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.rank_dynamics import (
    descent_bounds,
    escape_time,
    factor_descent,
    factor_flow,
    factor_time,
    learning_steps,
    learning_time,
    limit_time,
    mode_descent,
    mode_flow,
)
from linnet_fast.rank_dynamics._wide import Wide, hypot, less_product


def powers(low, high):
    return st.floats(low, high).map(lambda x: 10.0**x)


def close(found, exact, tolerance):
    """Whether a double is as near to an exact number as it can be, at the ends of the range too."""
    if abs(exact) < mpf(10) ** -300:
        return abs(found) <= 1e-299
    if abs(exact) > mpf("1.7e308"):
        return np.isinf(found) or found > 1e308
    return abs(mpf(float(found)) / exact - 1) <= tolerance


# --- one and two layers, by their formulas


@settings(max_examples=80, deadline=None)
@given(
    n_layers=st.sampled_from([1, 2]),
    sigma=powers(-300, 300) | st.just(0.0),
    lam=powers(-300, 300) | st.just(0.0),
    start=powers(-300, 300) | st.just(0.0),
    moment=st.floats(-3, 3),
)
def test_one_and_two_layers_of_any_size(n_layers, sigma, lam, start, moment):
    rate = max(lam if n_layers == 1 else sigma, min(1e300, lam * start))
    time = min(10.0**moment / rate if rate > 1e-300 else 1.0, 1e300)
    path = mode_flow(sigma, lam, time=time, strength=start, n_layers=n_layers)
    with mp.workdps(2000):
        s, m, w, t = map(mpf, (sigma, lam, start, time))
        rate = m if n_layers == 1 else 2 * s
        q = mpmath.exp(-rate * t)
        share = -mpmath.expm1(-rate * t) / rate if rate else t
        below = mpf(1) if n_layers == 1 else q + 2 * m * w * share
        end = w * q + s * share if n_layers == 1 else w / below
        tolerance = 1e-14 + 1e-15 * min(float(rate * t), 1e4)
        assert close(path.strength, end, tolerance)
        if end > 0:
            assert_allclose(path.log_strength, float(mpmath.log(end)), rtol=1e-14, atol=tolerance)
        if s:
            left = (1 - m * w / s) * q / below
            assert close(abs(path.remaining), abs(left), 2 * tolerance)


# --- three layers and more: the time that it takes to what was found, by hypergeometric functions


def implicit_time(x, gap, n_layers):
    """L tau up to a constant, from 1 - x too, with the digits at hand."""
    a = mpf(2) / n_layers
    if x < 1:
        with mp.workdps(80 + int(max(0, -mpmath.log10(gap)))):
            return mpmath.hyp2f1(a, 1, a + 1, x) * x**a / a - x ** (a - 1) / (1 - a)
    with mp.workdps(80 + int(max(0, -mpmath.log10(-gap)))):
        return mpmath.hyp2f1(2 - a, 1, 3 - a, 1 / x) * x ** (a - 2) / (2 - a)


@settings(max_examples=80, deadline=None)
@given(
    n_layers=st.sampled_from([3, 4, 5, 8, 10, 30, 100]),
    sigma=powers(-300, 300),
    lam=powers(-300, 300),
    start=powers(-300, 300) | st.floats(-12, -1).flatmap(lambda x: st.just(-x)),
    moment=st.floats(-4, 3),
    at_rest=st.booleans(),
)
def test_more_layers_of_any_size(n_layers, sigma, lam, start, moment, at_rest):
    a = 2 / n_layers
    log_s, log_l, log_w = np.log(sigma), np.log(lam), np.log(start)
    if log_l + log_w < log_s:
        log_rate = log_s + (1 - a) * (log_s - log_l if at_rest else log_w)
    else:
        log_rate = log_s + (1 - a) * (log_s - log_l) if at_rest else log_l + (2 - a) * log_w
    time = float(np.exp(np.clip(moment - log_rate - np.log(n_layers), -690, 690)))
    path = mode_flow(sigma, lam, time=time, strength=start, n_layers=n_layers)
    with mp.workdps(700):
        s, m, w, t = map(mpf, (sigma, lam, start, time))
        x0 = m * w / s
        if x0 == 1:
            assert path.remaining == 0
            return
        lag = n_layers * s * (s / m) ** (1 - mpf(2) / n_layers) * t
        begun = implicit_time(x0, 1 - x0, n_layers)
        # By the strength while far from rest, by what remains near it.
        left = mpf(float(path.remaining))
        if abs(left) < 0.5:
            gap, x = left, 1 - left
        else:
            x = m * mpf(float(path.strength)) / s
            gap = 1 - x
        if gap == 0 or not 1e-300 < path.strength < 1e300:
            return
        slope = x ** (mpf(2) / n_layers - (1 if x0 < 1 else 2))
        miss = abs(implicit_time(x, gap, n_layers) - begun - lag) / slope
        size = abs(gap) if abs(left) >= 0.5 else x
        condition = (lag + abs(begun)) / slope * size
        assert miss * size <= 2e-14 + 2e-15 * condition
        assert_allclose(path.log_strength, np.log(path.strength), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 8, 100, 1000])
def test_at_time_zero_is_the_start(n_layers):
    starts = np.array([1e-300, 1e-5, 0.7, 1.0, 1.3, 1e100, 1e200, 1e300])
    path = mode_flow([[1.0], [1e300], [1e-300]], time=0.0, strength=starts, n_layers=n_layers)
    assert_array_equal(path.strength, np.broadcast_to(starts, (3, 8)))
    assert_array_equal(path.remaining[0], 1 - starts)
    logs = np.array([-1e6, -800.0, 0.3, 1e5])
    path = mode_flow(1.0, time=0.0, log_strength=logs, n_layers=n_layers)
    assert_array_equal(path.log_strength, logs)


@pytest.mark.parametrize("n_layers", [3, 4, 100])
def test_vanishing_sigma_and_lam_are_limits(n_layers):
    # dw/dt = -L lam w^(3 - 2/L), and dw/dt = L sigma w^(2 - 2/L).
    power = 2 - 2 / n_layers
    decayed = (1 + (2 * n_layers - 2) * 1e3) ** (-1 / power)
    found = mode_flow([0.0, 1e-300, 1e-70, 1e-30], time=1e3, strength=1.0, n_layers=n_layers)
    assert_allclose(found.strength, decayed, rtol=1e-13)
    grown = (1 - (n_layers - 2) * 1e-3) ** (-n_layers / (n_layers - 2))
    found = mode_flow(1e-3, [0.0, 1e-300, 1e-30], time=1.0, strength=1.0, n_layers=n_layers)
    assert_allclose(found.strength, grown, rtol=1e-13)


@settings(max_examples=80, deadline=None)
@given(
    n_layers=st.sampled_from([1, 2, 3, 4, 10, 100]),
    sigma=powers(-200, 200),
    lam=powers(-200, 200),
    part=powers(-60, 0),
    fraction=st.floats(1e-9, 1 - 1e-9),
)
def test_learning_times_of_any_size(n_layers, sigma, lam, part, fraction):
    log_start = float(np.log(part) + np.log(sigma) - np.log(lam))
    found = learning_time(sigma, lam, log_strength=log_start, fraction=fraction, n_layers=n_layers)
    with mp.workdps(200):
        s, m, q = mpf(sigma), mpf(lam), mpf(fraction)
        x0 = m * mpmath.exp(mpf(log_start)) / s
        if x0 >= q:
            assert found == 0
            return
        if n_layers == 1:
            exact = mpmath.log((1 - x0) / (1 - q)) / m
        elif n_layers == 2:
            exact = mpmath.log(q / (1 - q) * (1 / x0 - 1)) / (2 * s)
        else:
            lag = implicit_time(q, 1 - q, n_layers) - implicit_time(x0, 1 - x0, n_layers)
            exact = lag / (n_layers * s * (s / m) ** (1 - mpf(2) / n_layers))
        # A start near the fraction is known to 1e-16 of its logarithm.
        condition = 1 + (abs(log_start) + 1) / float(mpmath.log(q / x0))
        assert close(found, exact, 2e-15 * condition * (1 + abs(log_start) / 100))


def test_times_at_the_ends():
    assert_allclose(limit_time(1e300, step_size=1e300), 1 / (600 * np.log(10)), rtol=1e-15)
    assert limit_time(5e-324) == np.inf
    assert_allclose(escape_time(1e300, layer_scale=1e-3, n_layers=200), 1e294 / 198, rtol=1e-13)
    assert_allclose(escape_time(1.0, layer_scale=1e-3, n_layers=100), 1e294 / 98, rtol=1e-13)


# --- two factors


def exact_factors(time, sigma, lam, first, second, log_scale):
    unit = mpmath.exp(mpf(log_scale))
    t, s, m, a, b = map(mpf, (time, sigma, lam, first, second))
    a, b = a * unit, b * unit
    c = m * (a * a - b * b) / 2
    rho = mpmath.sqrt(s * s + c * c)
    tanh = mpmath.tanh(rho * t) / rho if rho else t
    g = (1 - s * tanh + m * (a + b) ** 2 * tanh / 2) * (1 + s * tanh + m * (a - b) ** 2 * tanh / 2)
    root = mpmath.sqrt(g)
    return (a + (c * a + s * b) * tanh) / root, (b + (s * a - c * b) * tanh) / root


sizes = powers(-300, 300) | powers(-3, 3) | st.just(0.0)
signed = st.tuples(sizes, st.sampled_from([-1.0, 1.0])).map(lambda x: x[0] * x[1])


@settings(max_examples=60, deadline=None)
@given(
    sigma=sizes,
    lam=sizes,
    first=signed,
    second=signed,
    log_scale=st.sampled_from([0.0, -700.0, -30.0, 2.0, 500.0]),
    moment=st.floats(-3, 2),
    fraction=st.floats(1e-9, 0.999),
)
def test_factors_of_any_size(sigma, lam, first, second, log_scale, moment, fraction):
    mp.dps = 2500
    try:
        unit = mpmath.exp(mpf(log_scale))
        a, b = mpf(first) * unit, mpf(second) * unit
        rho = mpmath.sqrt(mpf(sigma) ** 2 + (mpf(lam) * (a * a - b * b) / 2) ** 2)
        time = float(min(mpf(10) ** moment / rho if rho else mpf(1), mpf(10) ** 300))
        found = factor_flow(sigma, lam, first, second, time=time, log_scale=log_scale)
        tolerance = 3e-14 + 2e-15 * min(float(rho * time), 1e3)
        exact = exact_factors(time, sigma, lam, first, second, log_scale)
        small = abs(mpf(float(rho * time))) * min(abs(a), abs(b))
        for one, expected in zip(found, exact, strict=True):
            # Where a factor passes through 0, up to rounding of what it began with.
            passing = abs(mpf(float(one)) - expected) <= 1e-14 * small
            assert passing or close(abs(one), abs(expected), tolerance)
            assert one * mpmath.sign(expected) >= 0 or passing
        if not sigma or not lam or a + b == 0:
            never = factor_time(sigma, lam, first, second, log_scale=log_scale)
            assert np.isinf(never)
            return
        took = float(factor_time(sigma, lam, first, second, log_scale=log_scale, fraction=fraction))
        if 1e-300 < took < 1e300 and float(rho * took) < 1e4:
            at, other = exact_factors(took, sigma, lam, first, second, log_scale)
            miss = at * other * mpf(lam) / mpf(sigma) - mpf(fraction)
            slope = (at * at + other * other) * mpf(lam) * (1 - mpf(fraction)) * mpf(took)
            assert abs(miss) <= 1e-13 * (slope + mpf(fraction))
        elif took == 0 and first and second and rho < 1e200:
            assert a * b * mpf(lam) >= mpf(fraction) * mpf(sigma) * (1 - mpf(10) ** -13)
    finally:
        mp.dps = 60


def test_one_factor_far_larger():
    # b tends to sigma / (lam a) while a stays.
    for first in (1e8, 1e200, -1e300):
        a, b = factor_flow(1.0, 1.0, first, 0.0, time=50.0)
        assert_allclose(a, first, rtol=1e-15)
        assert_allclose(a * b, 1.0, rtol=1e-15)
    b, a = factor_flow(1.0, 1.0, 1.0, 1e200, time=1.0)
    assert_allclose([a, b], [1e200, 1e-200], rtol=1e-15)
    # It takes -ln(1 - fraction) / (lam a^2).
    times = factor_time(1.0, 1.0, 1e8, 0.0, fraction=[1e-10, 0.5])
    assert_allclose(times, -np.log1p([-1e-10, -0.5]) / 1e16, rtol=1e-14)


def test_nearly_opposite_factors_leave_the_saddle():
    first, second = 1.0, -(1 - 1e-12)
    with mp.workdps(200):
        exact = exact_factors(20.0, 1.0, 1.0, first, second, 0.0)
    found = factor_flow(1.0, 1.0, first, second, time=20.0)
    assert_allclose(found, [float(x) for x in exact], rtol=1e-13)


# --- descent, by loops of many digits


@settings(max_examples=60, deadline=None)
@given(
    n_layers=st.sampled_from([1, 2, 3, 4, 5, 8]),
    sigma=powers(-100, 100),
    lam=powers(-100, 100),
    part=powers(-9, 1) | st.floats(0.9, 1.1),
    rate=st.floats(1e-3, 2.2),  # of two layers, twice step_size * sigma
    n_steps=st.integers(1, 60),
)
def test_descent_and_what_remains_of_it(n_layers, sigma, lam, part, rate, n_steps):
    with mp.workdps(300):
        s, m = mpf(sigma), mpf(lam)
        start = float(mpf(part) * s / m)
        scale = n_layers * s * (s / m) ** (1 - mpf(2) / n_layers) if n_layers > 1 else m
        if part > 1:
            scale *= mpf(part) ** 2
        eta = float(mpf(rate) / scale)
        if not 1e-290 < eta < 1e290 or not 1e-290 < start < 1e290:
            return
        path = mode_descent(
            sigma,
            lam,
            step_size=eta,
            steps=np.arange(n_steps + 1),
            strength=start,
            n_layers=n_layers,
        )
        # What a relative change of the start or of the step size does.
        tiny = mpf(10) ** -60
        layer, rate, more = mpf(start) ** (mpf(1) / n_layers), mpf(eta), 1 + tiny
        paths = [(layer, rate), (layer * more, rate), (layer, rate * more)]
        for k in range(n_steps + 1):
            w, *others = (a**n_layers for a, _ in paths)
            left, *near = (1 - m * v / s for v in (w, *others))
            for found, value, moved in (
                (path.strength[k], w, others), (path.remaining[k], left, near)
            ):  # fmt: skip
                condition = sum(abs(v / value - 1) for v in moved) / tiny if value else mpf("inf")
                if condition > 1e10:
                    return
                error = abs(mpf(float(found)) / value - 1)
                assert error <= 2e-14 + 1e-15 * k + 2e-15 * condition
            assert_allclose(path.log_strength[k], float(mpmath.log(abs(w))), rtol=1e-9, atol=1e-9)
            paths = [(a + e * a ** (n_layers - 1) * (s - m * a**n_layers), e) for a, e in paths]


def test_modes_that_turn_negative_have_values():
    path = mode_descent(1.0, step_size=1.5, steps=[0, 1, 2, 3], strength=10.0, n_layers=1)
    assert_allclose(path.strength, [10, -3.5, 3.25, -0.125], rtol=4e-15)
    assert_allclose(path.remaining, [-9, 4.5, -2.25, 1.125], rtol=4e-15)
    assert_allclose(path.log_strength, np.log([10, 3.5, 3.25, 0.125]), rtol=4e-15)
    # Three layers: 1 - 1.9 (8 - ...) by hand: a = 1.5, a + 0.4 a^2 (1 - a^3) = -0.6375.
    path = mode_descent(1.0, step_size=0.4, steps=1, strength=1.5**3, n_layers=3)
    assert_allclose(path.strength, (1.5 + 0.4 * 2.25 * (1 - 1.5**3)) ** 3, rtol=1e-14)
    assert path.strength < 0


def test_two_layers_from_far_below_with_large_steps():
    # (1 + x)^2 a step, until it is 1: as from a start that doubles hold.
    x, skipped = 0.9, 5000
    start = -2 * skipped * np.log1p(x) + np.log(1e-16)
    far = mode_descent(1.0, step_size=x, steps=[skipped, skipped + 30], log_strength=start)
    near = mode_descent(1.0, step_size=x, steps=[0, 30], strength=1e-16)
    assert_allclose(far.strength, near.strength, rtol=1e-10)


def test_tiny_steps_of_one_layer_move():
    path = mode_descent(1.0, step_size=1e-20, steps=[1, 10], strength=0.0, n_layers=1)
    assert_allclose(path.strength, [1e-20, 1e-19], rtol=1e-15)


def test_factors_under_descent_of_any_size():
    a, b = factor_descent(1.0, 1e150, 1e200, 1e-200, step_size=1e-300, steps=1)
    assert_allclose(a, 1e200, rtol=1e-15)
    assert_allclose(b, 1e-200 - 1e50, rtol=1e-15)
    a, b = factor_descent(1e-100, 0.0, 0.0, 1e300, step_size=1e-300, steps=1)
    assert_allclose([a, b], [1e-100, 1e300], rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(1e-6, 0.5), scale=powers(-150, 150), lam=powers(-100, 100),
    part=powers(-100, -0.001), steps=st.integers(0, 5000),
)  # fmt: skip
def test_bounds_of_any_size(rate, scale, lam, part, steps):
    eta, start = rate / scale, part * (scale / lam)
    if eta * scale > 0.5 or not 1e-300 < start < 1e300 or start * lam > scale:
        return
    found = descent_bounds(scale, lam, step_size=eta, steps=steps, strength=start)
    with mp.workdps(400):
        s, m, w = mpf(scale), mpf(lam), mpf(start)
        x, r = mpf(eta) * s, (s - m * w) / w
        for one, power in zip(found, ((1 + x) ** -2, 1 - 2 * x), strict=True):
            exact = s / (m + r * power**steps)
            condition = steps * float(abs(mpmath.log(power))) if power > 0 else 0.0
            slope = steps * 4 * rate / max(float(power), 1e-12)
            assert close(one, exact, 1e-14 + 2e-16 * (condition + slope))


def test_step_counts_at_the_ends():
    for scale in (1e-150, 1.0, 1e150):
        found = learning_steps(scale, 1e-100, step_size=0.05 / scale, strength=1e92 * scale)
        assert_allclose(found, 188.19, atol=0.6)
    assert learning_steps(1.0, 1e-5, step_size=0.1, strength=1e-300) < 7500
    with pytest.raises(ValueError, match="step_size \\* sigma must be < 1/2"):
        learning_steps(1e300, step_size=1e300, strength=1.0)


# --- numbers of any size


def exact(x):
    return mpf(float(x.mantissa)) * mpf(2) ** int(x.exponent) if x.mantissa else mpf(0)


@settings(max_examples=100, deadline=None)
@given(signed, signed, signed, st.integers(-900, 900))
def test_wide_numbers(x, y, z, power):
    with np.errstate(all="ignore"):
        one, other, third = Wide(x) * Wide(x), Wide(y), Wide(z)
        with mp.workdps(1500):
            square, b, c = exact(one), mpf(y), mpf(z)
            assert abs(square - mpf(x) ** 2) <= square * mpf(2) ** -52
            for found, value in (
                (one * other, square * b), (hypot(one, other), mpmath.hypot(square, b)),
                (less_product(one, other, third), square - b * c),
            ):  # fmt: skip
                assert abs(exact(found) - value) <= abs(value) * mpf(2) ** -50
            assert abs(exact(one + other) - square - b) <= (square + abs(b)) * mpf(2) ** -52
            if x:
                root = exact(one.power(power, 700)) if power else mpf(1)
                assert abs(root / square ** (mpf(power) / 700) - 1) < 1e-15
                assert abs(exact(Wide.exp(one.log())) / square - 1) < 1e-12
