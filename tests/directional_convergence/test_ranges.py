"""Closed forms and the reduced flow at the ends of their ranges, against mpmath and other methods."""

from __future__ import annotations

import _thread
import itertools
import threading
import time as clock

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad, solve_ivp

import linnet_fast as lf
from linnet_fast import directional_convergence as dc
from linnet_fast.laws import Ball, Gaussian, RadialMixture, Sphere

GAUSS, SPHERE = Gaussian(2), Sphere(3)


def antiderivative(large, n_layers, s):
    """Return the integral of the pace of an orbit, elementary, at the working precision."""
    if large:
        if n_layers == 1:
            return s + mpmath.exp(2 * s) / 2
        x = 1 / (1 + mpmath.exp(2 * s))
        powers = mpmath.fsum(x**k / (2 * k) for k in range(1, n_layers - 2))
        return s if n_layers == 2 else s - mpmath.log1p(mpmath.exp(2 * s)) / 2 + powers
    if n_layers == 1:
        return mpmath.sinh(s)
    power, value = n_layers - 2, s
    if power % 2:
        value = 2 * mpmath.atan(mpmath.tanh(s / 2))
    for k in range(2 + power % 2, power + 1, 2):
        sech = mpmath.sech(s)
        value = (sech ** (k - 1) * mpmath.sinh(s) + (k - 2) * value) / (k - 1)
    return value


def exact_orbit(large, n_layers, s0, s1, log_norm):
    """Return ln of the time of an orbit of the Gaussian law, and ln of the norm at the end."""
    digits = 60 + int(abs(n_layers - 2) * max(abs(s0), abs(s1)))
    with mpmath.workdps(max(digits, 700 if n_layers < 3 else 0)):
        start, end = mpf(s0), mpf(s1)
        change = antiderivative(large, n_layers, start) - antiderivative(large, n_layers, end)
        if large:
            shape = [mpmath.log1p(mpmath.exp(2 * s)) for s in (start, end)]
        else:
            shape = [mpmath.log(mpmath.cosh(s)) for s in (start, end)]
        pace = (1 - mpf(2) / n_layers) * log_norm - (n_layers - 2) * shape[0]
        log_time = mpmath.log(abs(change) * mpmath.sqrt(2 * mpmath.pi)) - pace
        return float(log_time), float(log_norm + n_layers * (shape[1] - shape[0]))


@pytest.mark.parametrize(
    ("large", "n_layers", "s0", "s1"),
    [
        (True, 5, 8.0, 7.0),
        (True, 8, 5.0, 4.0),
        (True, 30, 2.0, 1.0),
        (True, 100, 0.1, 0.0),
        (True, 3, 300.0, -650.0),
        (True, 4, -400.0, -401.0),
        (True, 1, 350.0, -700.0),
        (True, 7, 3.0, 3.0 - 1e-11),
        (True, 6, -1.0, 2.0),
        (False, 10, -5.0, -6.0),
        (False, 1, 700.0, 699.0),
        (False, 1, 700.0, -700.0),
        (False, 3, 300.0, -300.0),
        (False, 40, 0.3, 0.3 + 1e-10),
        (False, 100, 0.5, -0.1),
        (False, 7, 2.0, -9.0),
    ],
)
def test_orbits_take_their_integral_of_the_difference(large, n_layers, s0, s1):
    orbit = dc.large_norm_orbit if large else dc.small_norm_orbit
    for norm in (1e-12, 1.0, 1e12):
        time, log_norm = orbit(
            GAUSS, n_layers, norm=norm, log_tan_half_angle=s0, to_log_tan_half_angle=s1
        )
        log_time, log_end = exact_orbit(large, n_layers, s0, s1, mpmath.log(norm))
        assert np.sign(time) == np.sign(s0 - s1)
        if abs(log_time) < 700:
            assert_allclose(abs(time), np.exp(log_time), rtol=2e-12)
        else:
            assert abs(time) in (0, np.inf) or abs(np.log(abs(time)) - log_time) < 1e-11
        assert_allclose(log_norm, log_end, rtol=1e-14, atol=1e-13)


@pytest.mark.parametrize(
    ("large", "n_layers", "norm", "s0", "s1", "printed"),
    [
        (True, 8, 1e60, 5.0, 4.0, 3.4e-41),
        (True, 5, 1e60, 8.0, 7.0, None),
        (True, 30, 1e60, 5.0, 4.0, None),
        (True, 100, 1e60, 0.1, 0.0, 1.2e-56),
        (False, 10, 1e-9, -5.0, -6.0, 4.96e6),
        (False, 30, 1e-9, -5.0, -6.0, 2.2e7),
        (False, 1, 1.0, 700.0, 699.0, None),
    ],
)
def test_times_on_orbits_are_quadratures(large, n_layers, norm, s0, s1, printed):
    orbit = dc.large_norm_orbit if large else dc.small_norm_orbit
    where = {"norm": norm, "log_tan_half_angle": s0, "to_log_tan_half_angle": s1}
    time = float(orbit(GAUSS, n_layers, **where).time)
    with mpmath.workdps(40):

        def grown(s):
            turned = [
                mpmath.log1p(mpmath.exp(2 * x)) if large else -mpmath.log(mpmath.sech(x))
                for x in (s, mpf(s0))
            ]
            return n_layers * (turned[0] - turned[1])

        # ds/dt = -kappa r^(1 - 2/L); mpmath's tolerance is absolute, so values are of order 1.
        slower = 1 - mpf(2) / n_layers
        places = mpmath.linspace(s1, s0, 9)
        unit = slower * grown(s1)
        pace = mpmath.quad(lambda s: mpmath.exp(unit - slower * grown(s)), places)
        unit += slower * mpmath.log(norm)
        expected = pace * mpmath.exp(-unit) * mpmath.sqrt(2 * mpmath.pi)
        assert_allclose(time, float(expected), rtol=1e-12)
    if printed is not None:
        assert_allclose(time, printed, rtol=0.03)


def test_orbits_leave_the_doubles_quietly():
    for orbit in (dc.large_norm_orbit, dc.small_norm_orbit):
        for n_layers in (1, 2, 3, 100, 1000):
            time, log_norm = orbit(
                GAUSS,
                n_layers,
                norm=[[1e-300], [1.0], [1e300]],
                log_tan_half_angle=1.0,
                to_log_tan_half_angle=[-1e100, -700.0, 700.0, 1e100],
            )
            assert not np.isnan(time).any()
            assert np.isfinite(log_norm).all()
        with pytest.raises(ValueError, match=r"^to_log_tan_half_angle must be at most 1e\+100"):
            orbit(GAUSS, 2, norm=1.0, angle=1.0, to_log_tan_half_angle=1e101)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 8, 20, 100])
def test_times_at_extreme_norms_are_those_of_orbits(n_layers):
    s0 = np.array([1.0, 2.0, 0.5, 3.0, 3.0])
    s1 = np.array([-1.0, -0.3, 0.1, 3.0 - 1e-12, 3.0 - 1e-6])
    for norm, orbit in (
        (1e-200, dc.small_norm_orbit),
        (1e-44, dc.small_norm_orbit),
        (1e-30, dc.small_norm_orbit),
        (1e30, dc.large_norm_orbit),
        (1e200, dc.large_norm_orbit),
    ):
        where = {"norm": norm, "log_tan_half_angle": s0, "to_log_tan_half_angle": s1}
        time, log_norm = orbit(GAUSS, n_layers, **where)
        close = log_norm * np.log(norm) > 30 * abs(np.log(norm))  # the orbit is exact
        found = dc.time_to_angle(GAUSS, n_layers, **where)
        assert_allclose(found[close], time[close], rtol=1e-10)
        for k in np.flatnonzero(close & (time > 0) & np.isfinite(time)):
            run = dc.reduced_flow(
                GAUSS, n_layers, norm=norm, log_tan_half_angle=s0[k], time=time[k]
            )
            # So long a wait is known to its last digits only, and what follows is fast.
            log_pace = np.log(GAUSS.kappa) + (1 - 2 / n_layers) * run.log_norm
            error = 1e-9 + 1e-11 * np.exp(min(log_pace + np.log(time[k]), 50.0))
            if error < 1e-3:
                assert abs(run.log_tan_half_angle - s1[k]) < error
                assert_allclose(run.log_norm, log_norm[k], atol=1e-9 + 2 * n_layers * error)


def independent_log_time(law, n_layers, norm, s0, s1):
    """Return ln of the time between angles, by SciPy's integrator and quadrature about its peak."""

    def turned(x):
        return n_layers * np.logaddexp(0, 2 * (s0 - x))

    def grow(x, y):
        return [n_layers / law.kappa * law.h(np.exp(np.clip(y[0] + turned(x), -700, 700)))]

    span = s0 - s1
    path = solve_ivp(
        grow,
        (0, span),
        [np.log(norm) - turned(0)],
        "DOP853",
        rtol=1e-13,
        atol=1e-13,
        dense_output=True,
        max_step=max(1.0, span / 50),
    ).sol

    def pace(x):
        return (2 / n_layers - 1) * (path(x)[0] + turned(x))

    places = np.linspace(0, span, 4001)
    paces = pace(places)
    kept = places[paces > paces.max() - 45]
    ends = np.linspace(max(kept[0] - places[1], 0), min(kept[-1] + places[1], span), 21)
    total = sum(
        quad(lambda x: np.exp(pace(x) - paces.max()), a, b, epsabs=0, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(ends)
    )
    return paces.max() + np.log(total / law.kappa)


@pytest.mark.parametrize(
    ("law", "n_layers", "norm", "s0", "s1"),
    [
        (GAUSS, 3, 1.0, 2.0, -30.0),
        (GAUSS, 5, 1.0, 36.0, -100.0),
        (GAUSS, 10, 1.0, 36.0, -100.0),
        (GAUSS, 1, 1.0, 100.0, -1000.0),
        (SPHERE, 4, 1e-30, 0.5, -40.0),
        (Ball(4, 3.0), 100, 2.0, 1.0, -3.0),
        (GAUSS, 20, 1e-20, 0.1, -30.0),
    ],
    ids=str,
)
def test_times_are_those_of_another_integration(law, n_layers, norm, s0, s1):
    time = dc.time_to_angle(
        law, n_layers, norm=norm, log_tan_half_angle=s0, to_log_tan_half_angle=s1
    )
    expected = independent_log_time(law, n_layers, norm, s0, s1)
    if expected > 709.7:
        assert time == np.inf
        return
    assert abs(np.log(time) - expected) < 1e-9
    run = dc.reduced_flow(law, n_layers, norm=norm, log_tan_half_angle=s0, time=[time, 2 * time])
    # So long a wait is known to its last digits only, and what follows is fast.
    pace = law.kappa * np.exp((1 - 2 / n_layers) * run.log_norm[0])
    error = 1e-9 + 1e-11 * pace * time
    assert error > 1e-3 or abs(run.log_tan_half_angle[0] - s1) < error


@pytest.mark.parametrize(("n_layers", "norm"), [(3, 1e-44), (4, 1e-30), (10, 1e-20), (20, 1e-20)])
def test_the_flow_survives_tiny_norms(n_layers, norm):
    times = np.geomspace(1e-3, 1e300, 60)
    run = dc.reduced_flow(GAUSS, n_layers, angle=1.0, norm=norm, time=times)
    assert np.isfinite(run.log_norm).all()
    assert not np.isnan(run.log_tan_half_angle).any()
    assert np.all(np.diff(run.log_tan_half_angle[np.isfinite(run.log_tan_half_angle)]) <= 0)
    # At angle 0 of the start and late the norm alone matters, a quadrature.
    late = dc.late_time_law(GAUSS, n_layers)
    exponent = n_layers / (n_layers + 2)
    assert_allclose(run.norm[-1], late.norm_factor * times[-1] ** exponent, rtol=1e-6)


@pytest.mark.parametrize("s0", [30.0, 500.0, np.inf])
def test_one_layer_passes_zero_faster_than_its_time_can_tell(s0):
    norm = 1e30
    through = float(dc.passage_time(GAUSS, norm=norm))
    times = through * np.array([0.5, 1 - 1e-9, 1 + 1e-9, 2.0, 1e30])
    run = dc.reduced_flow(GAUSS, 1, log_tan_half_angle=s0, norm=norm, time=times)
    # Straight through zero at the speed 2 kappa while it falls; then dr/dt = h = a2 / r^2.
    assert_allclose(run.norm[:2], norm * np.array([0.5, 1e-9]), rtol=1e-6)
    assert_allclose(run.norm[2:], (3 * GAUSS.a2 * (times[2:] - through)) ** (1 / 3), rtol=1e-6)
    assert np.all(run.log_tan_half_angle[2:] < -1e10)
    turn = run.turning_point()
    assert_allclose(turn.time, through, rtol=1e-12)
    assert turn.norm < 1e18


def test_late_times_are_a_closed_form():
    # Where h = a2 / r^2 the powers of time are exact.
    for n_layers in (2, 3, 8):
        run = dc.reduced_flow(
            GAUSS, n_layers, log_tan_half_angle=-800.0, norm=1e12, time=[1e10, 1e40, 1e120]
        )
        with mpmath.workdps(40):
            power = mpf(n_layers + 2) / n_layers
            for t, s, log_norm in zip(run.time, run.log_tan_half_angle, run.log_norm, strict=True):
                a2 = mpmath.pi**2 / 12 * mpmath.sqrt(2 / mpmath.pi)
                r = (mpf(10) ** (12 * power) + (n_layers + 2) * a2 * mpf(t)) ** (1 / power)
                kappa = 1 / mpmath.sqrt(2 * mpmath.pi)
                fallen = kappa / (2 * n_layers * a2) * (r**2 - mpf(10) ** 24)
                assert_allclose(log_norm, float(mpmath.log(r)), rtol=1e-13)
                assert_allclose(s, float(-800 - fallen), rtol=1e-9)


def test_alignment_from_zero_is_the_limit_of_its_definition():
    # q(r) = r m2 / 4 for small r, so that r / q(r) is 4 / m2.
    rule = lf.StepRule.alignment()
    for law in (GAUSS, Sphere(3, 2.0), RadialMixture(2, [0.5, 3.0])):
        reduced = dc.reduced_descent(
            law, 1, angle=1.0, norm=[0.0, 1e-200], step_size=rule, steps=range(4)
        )
        expected = [0.0, 4 / law.m2 * law.kappa]
        for _ in range(2):
            expected.append(expected[-1] / law.q(expected[-1]) * law.kappa)
        assert_allclose(reduced.norm, [expected, expected], rtol=1e-13, atol=1e-199)
        loss = lf.SphericalLogisticLoss(np.eye(law.dim)[0], law)
        run = lf.train(
            lf.Dense((law.dim, 1)),
            loss,
            (np.zeros((1, law.dim)),),
            method=lf.GradientDescent(rule),
            n_steps=3,
            record=lf.Record.every(1, ("norm",)),
        )
        assert_allclose(run.norm, expected, rtol=1e-12)
        assert_allclose(loss.alignment_step(np.zeros(1)), 4 / law.m2, rtol=1e-15)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_closed_forms_at_extreme_scales(scale):
    law, one = Gaussian(3, scale), Gaussian(3)
    norm = np.array([1e-300, 1e-5, 1.0, 1e5, 1e300])
    with np.errstate(over="ignore", under="ignore"):
        z = scale * norm  # of the law of scale 1
        time = dc.passage_time(law, norm=norm)
        # Between r / (2 kappa) and r / kappa, and by scaling.
        assert np.all(time >= norm / (2 * law.kappa) * (1 - 1e-14))
        assert np.all(time <= norm / law.kappa * (1 + 1e-14))
        assert_allclose(
            dc.nullcline(law, norm=norm)[z > 1e10],
            np.sqrt(2 * one.a2 / one.kappa) / z[z > 1e10],
            rtol=1e-12,
        )
        assert_allclose(dc.nullcline(law, norm=norm)[z < 1e-10], np.pi / 2, rtol=1e-10)
        bound = dc.opposed_norm(law, 3, time=1e-2 / law.kappa, norm=norm)
        assert_allclose(bound, norm * (1 + 1e-2 * norm ** (1 / 3)) ** -3.0, rtol=1e-12)
    for n_layers in (1, 2, 3, 1000):
        radial, angular = dc.phase_velocity(
            law, n_layers, norm=norm[:, None], angle=[0.0, 1e-300, 1.0, np.pi]
        )
        assert not np.isnan(radial).any()
        assert not np.isnan(angular).any()
    s = dc.two_layer_direction(law, time=[0.0, 1e308], log_tan_half_angle=[[1.0], [np.inf]])
    assert_array_equal(s[1], np.inf)
    assert s[0, 0] == 1


def test_the_norm_turns_also_from_the_edge_of_angle_pi():
    start = {"norm": 1.0, "log_tan_half_angle": 700.0}
    with mpmath.workdps(25):
        kappa = 1 / mpmath.sqrt(2 * mpmath.pi)

        def q(r):
            return mpmath.quad(
                lambda u: u * mpmath.tanh(r * u / 2) * mpmath.exp(-u * u / 2), [0, 2, 5, 12]
            ) / mpmath.sqrt(2 * mpmath.pi)

        # One layer goes straight at 0, and the part across v falls at the rate q(r) / r.
        with mpmath.workdps(15):
            time = mpmath.quad(lambda r: 1 / (kappa + q(r)), [0, 1])
            lost = mpmath.quad(lambda r: q(r) / r / (kappa + q(r)), [0, 1])
        least = float(mpmath.exp(-lost) / mpmath.cosh(700))
    turn = dc.phase_switch(GAUSS, 1, **start)
    assert_allclose(turn.time, float(time), rtol=1e-9)
    assert_allclose(turn.norm, least, rtol=1e-9)
    assert abs(turn.log_tan_half_angle) < 1e-9
    for n_layers in (1, 2, 3):
        one = dc.phase_switch(GAUSS, n_layers, **start)
        other = dc.reduced_flow(GAUSS, n_layers, **start, time=0.0).turning_point()
        assert_allclose(one.time, other.time, rtol=1e-8)
        assert_allclose(one.norm, other.norm, rtol=1e-8)
    # The norm is so small when two layers turn that s is 0 there.
    two = dc.phase_switch(GAUSS, 2, **start)
    assert_allclose(two.time, 700 / GAUSS.kappa, rtol=1e-9)


def test_deep_bounds_from_as_near_to_pi_as_numbers_go():
    # The norm falls for ever, and s by logarithms of it, which are nothing beside s.
    lower, upper = dc.deep_flow_angle_bounds(
        GAUSS, 3, time=[0.0, 1.0, 1e300], norm=1.0, log_tan_half_angle=1e308
    )
    assert_array_equal(upper, 1e308)
    assert np.all(lower <= upper)
    assert not np.isnan(lower).any()


def test_a_long_descent_can_be_interrupted():
    timer = threading.Timer(0.3, _thread.interrupt_main)
    begin = clock.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        dc.reduced_descent(GAUSS, 1, angle=1.0, norm=1.0, step_size=0.1, steps=2**31 - 1)
    assert clock.perf_counter() - begin < 10


def test_huge_batches_are_refused_before_they_are_made():
    norm = np.broadcast_to(1.0, (2**20, 1, 1))
    angle = np.broadcast_to(1.0, (2**20, 1))
    noise = np.broadcast_to(0.1, (2**20,))
    at = {"norm": norm, "angle": angle}
    calls = [
        lambda: dc.reduced_flow(GAUSS, 2, **at, label_noise=noise, time=1.0),
        lambda: dc.reduced_descent(GAUSS, 2, **at, label_noise=noise, step_size=0.1, steps=[1]),
        lambda: dc.time_to_angle(GAUSS, 2, **at, to_angle=noise),
        lambda: dc.large_norm_orbit(GAUSS, 2, **at, to_angle=noise),
        lambda: dc.phase_velocity(GAUSS, 2, **at, label_noise=noise),
        lambda: dc.two_layer_direction(GAUSS, time=norm, angle=angle, label_noise=noise),
    ]
    for call in calls:
        with pytest.raises(MemoryError, match="bytes"):
            call()
