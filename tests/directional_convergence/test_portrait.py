"""Closed forms and the phase portrait, against integration of the flow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.optimize import brentq

from linnet_fast import directional_convergence as dc
from linnet_fast.laws import Ball, Gaussian, RadialMixture, Sphere

GAUSS, CIRCLE = Gaussian(3), Sphere(2)
LAWS = [GAUSS, CIRCLE, Ball(3, 2.0), RadialMixture(4, [0.5, 3.0])]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_two_layers_turn_at_a_constant_rate(law):
    times = np.array([0.0, 0.3, 7.0, 900.0])
    for noise in (0.0, 0.2):
        s = dc.two_layer_direction(law, time=times, angle=2.9, label_noise=noise)
        for norm in (1e-3, 40.0):
            run = dc.reduced_flow(law, 2, angle=2.9, norm=norm, time=times, label_noise=noise)
            assert_allclose(run.log_tan_half_angle, s, rtol=1e-12)
    exact = np.tan(1.45) * np.exp(-law.kappa * times)
    assert_allclose(np.exp(dc.two_layer_direction(law, time=times, angle=2.9)), exact, rtol=1e-10)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 7])
def test_orbits_at_large_norms(n_layers):
    start, norm = 0.8, 1e14
    s = np.array([0.8, 0.0, -1.0, -2.5])
    time, log_norm = dc.large_norm_orbit(
        GAUSS, n_layers, norm=norm, log_tan_half_angle=start, to_log_tan_half_angle=s
    )
    assert time[0] == 0
    run = dc.reduced_flow(GAUSS, n_layers, log_tan_half_angle=start, norm=norm, time=time)
    assert_allclose(run.log_tan_half_angle, s, atol=1e-8)
    assert_allclose(run.log_norm, log_norm, rtol=1e-9)
    # The clock by quadrature: dt = -ds / (kappa r^(1 - 2/L))
    constant = np.log(norm) - n_layers * np.log1p(np.exp(2 * start))

    def pace(x):
        log_r = constant + n_layers * np.log1p(np.exp(2 * x))
        return np.exp(-(1 - 2 / n_layers) * log_r) / GAUSS.kappa

    assert_allclose(time[1:], [quad(pace, x, start, epsrel=1e-12)[0] for x in s[1:]], rtol=1e-10)


def test_a_single_layer_runs_on_a_parabola():
    s = np.linspace(1.0, -3, 9)
    _, log_norm = dc.large_norm_orbit(CIRCLE, 1, norm=50.0, angle=2.0, to_log_tan_half_angle=s)
    x = np.exp(log_norm) * -np.tanh(s)
    assert_allclose(np.exp(log_norm) + x, 50 * (1 + np.cos(2.0)), rtol=1e-12)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 5, 8])
def test_orbits_at_small_norms(n_layers):
    start, norm = 1.7, 1e-9
    s = np.array([1.7, 0.4, -0.6, -1.5])
    time, log_norm = dc.small_norm_orbit(
        GAUSS, n_layers, norm=norm, log_tan_half_angle=start, to_log_tan_half_angle=s
    )
    assert time[0] == 0
    run = dc.reduced_flow(GAUSS, n_layers, log_tan_half_angle=start, norm=norm, time=time)
    assert_allclose(run.log_tan_half_angle, s, atol=2e-7)
    assert_allclose(run.norm, np.exp(log_norm), rtol=1e-6)
    constant = np.log(norm) - n_layers * np.log(np.cosh(start))

    def pace(x):
        log_r = constant + n_layers * np.log(np.cosh(x))
        return np.exp(-(1 - 2 / n_layers) * log_r) / GAUSS.kappa

    assert_allclose(time[1:], [quad(pace, x, start, epsrel=1e-12)[0] for x in s[1:]], rtol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_passage_time(law):
    norms = np.array([0.0, 1e-6, 0.4, 3.0, 200.0])
    time = dc.passage_time(law, norm=norms)
    exact = [quad(lambda r: 1 / (law.kappa + law.q(r)), 0, r, epsrel=1e-13)[0] for r in norms[:4]]
    assert_allclose(time[:4], exact, rtol=1e-11)
    assert np.all((time >= norms / (2 * law.kappa)) & (time <= norms / law.kappa))
    for r in norms[2:]:
        turn = dc.reduced_flow(law, 1, angle=np.pi, norm=r, time=1.0).turning_point()
        assert_allclose(turn.time, dc.passage_time(law, norm=r), rtol=3e-12)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 6])
def test_norms_at_angle_pi(n_layers):
    times = np.array([0.0, 0.5, 2.0])
    for norm in (1e-8, 1.0):
        scale = norm if n_layers == 1 else 1.0  # of time
        bound = dc.opposed_norm(GAUSS, n_layers, time=scale * times, norm=norm)
        run = dc.reduced_flow(GAUSS, n_layers, angle=np.pi, norm=norm, time=scale * times)
        before = np.isposinf(run.log_tan_half_angle)
        assert np.all(run.norm[before] <= bound[before] * (1 + 1e-10))
        if norm < 1e-6:
            assert_allclose(run.norm[before], bound[before], rtol=2e-7)


@pytest.mark.parametrize("n_layers", [1, 2, 5])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_velocities_are_those_of_the_flow(n_layers, noise):
    norm, angle = np.array([[0.1], [1.0], [6.0]]), np.array([0.01, 1.0, 3.0])
    radial, angular = dc.phase_velocity(GAUSS, n_layers, norm=norm, angle=angle, label_noise=noise)
    assert radial.shape == angular.shape == (3, 3)
    dt = 1e-3
    run = dc.reduced_flow(
        GAUSS, n_layers, angle=angle, norm=norm, time=[0, dt, 2 * dt], label_noise=noise
    )
    # Differences of order 2
    assert_allclose(run.norm @ [-1.5, 2, -0.5] / dt, radial, atol=2e-4 * n_layers**3)
    turned = run.angle @ [-1.5, 2, -0.5] / dt
    assert_allclose(turned, angular, rtol=2e-3, atol=1e-7)
    at_start = dc.reduced_flow(GAUSS, n_layers, angle=angle, norm=norm, time=0, label_noise=noise)
    assert_allclose(at_start.radial_speed, radial, rtol=1e-9, atol=1e-12)


def test_velocities_on_the_axis():
    radial, angular = dc.phase_velocity(GAUSS, 2, norm=2.0, angle=[0.0, np.pi])
    assert_array_equal(angular, 0)
    assert_allclose(radial, [4 * GAUSS.h(2.0), -4 * (GAUSS.kappa + GAUSS.q(2.0))], rtol=1e-14)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_nullcline(law):
    norm = np.geomspace(1e-3, 1e4, 200)
    angle = dc.nullcline(law, norm=norm)
    assert_allclose(np.cos(angle), law.q(norm) / law.kappa, rtol=1e-12)
    assert np.all(np.diff(angle) < 0)
    assert dc.nullcline(law, norm=0.0) == pytest.approx(np.pi / 2, rel=1e-15)
    far = 1e8 / np.sqrt(law.m2)
    assert_allclose(dc.nullcline(law, norm=far) * far, np.sqrt(2 * law.a2 / law.kappa), rtol=1e-6)
    for n_layers in (1, 3):
        above, _ = dc.phase_velocity(law, n_layers, norm=norm, angle=angle * (1 + 1e-6))
        below, _ = dc.phase_velocity(law, n_layers, norm=norm, angle=angle * (1 - 1e-6))
        assert np.all((above < 0) & (below > 0))


def test_nullcline_with_noise_ends_at_the_minimiser():
    rest = brentq(lambda r: GAUSS.q(r) - 0.7 * GAUSS.kappa, 0.1, 100)
    angle = dc.nullcline(
        GAUSS, norm=[0.5 * rest, rest * (1 - 1e-9), rest * (1 + 1e-9)], label_noise=0.15
    )
    assert_allclose(np.cos(angle[0]), GAUSS.q(0.5 * rest) / (0.7 * GAUSS.kappa), rtol=1e-12)
    assert angle[1] < 1e-3
    assert np.isnan(angle[2])


def test_invariants():
    norm, angle = np.array([0.2, 3.0]), np.array([0.5, 2.0])
    log_a = dc.log_lyapunov(3, angle=angle, norm=norm)
    assert_allclose(np.exp(log_a), norm * np.cos(angle / 2) ** 6, rtol=1e-13)
    log_b = dc.log_small_norm_invariant(3, angle=angle, norm=norm)
    assert_allclose(np.exp(log_b), norm * np.sin(angle) ** 3, rtol=1e-13)
    assert dc.log_lyapunov(2, angle=np.pi, norm=1.0) == -np.inf
    assert_array_equal(dc.log_small_norm_invariant(2, angle=[0, np.pi], norm=1.0), -np.inf)
    # Their rates: ln A grows with h, the other falls with q
    times = np.array([0.0, 1e-3, 2e-3])
    run = dc.reduced_flow(GAUSS, 3, angle=2.0, norm=3.0, time=times)
    at = {"log_tan_half_angle": run.log_tan_half_angle, "norm": run.norm}
    rate = 3 * 3 ** (1 / 3)
    difference = np.array([-1.5, 2, -0.5]) / 1e-3
    assert_allclose(dc.log_lyapunov(3, **at) @ difference, rate * GAUSS.h(3.0), rtol=1e-4)
    falls = dc.log_small_norm_invariant(3, **at) @ difference
    assert_allclose(falls, -rate * GAUSS.q(3.0), rtol=1e-4)


def test_misclassification_is_an_area():
    rng = np.random.default_rng(3)
    x = CIRCLE.sample(400_000, rng)
    w = np.array([np.cos(0.7), np.sin(0.7)])
    wrong = np.mean((x @ w > 0) != (x[:, 0] > 0))
    expected = dc.misclassification(angle=0.7)
    assert abs(wrong - expected) < 5 * np.sqrt(expected / len(x))
    s = np.log(np.tan(0.35))
    assert_allclose(
        dc.misclassification(log_tan_half_angle=[s, -700.0]),
        [0.7 / np.pi, 2 * np.exp(-700) / np.pi],
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: dc.two_layer_direction(GAUSS, time=-1.0, angle=1.0),
            ValueError,
            "time must be >= 0",
        ),
        (lambda: dc.two_layer_direction(GAUSS, time=1.0), TypeError, "angle or log_tan"),
        (
            lambda: dc.large_norm_orbit(GAUSS, 1, to_angle=1.0, angle=0.0, norm=1.0),
            ValueError,
            "angle must be in",
        ),
        (
            lambda: dc.small_norm_orbit(GAUSS, 1, to_angle=1.0, angle=1.0, norm=0.0),
            ValueError,
            "norm must be > 0",
        ),
        (lambda: dc.passage_time(GAUSS, norm=-1.0), ValueError, "norm must be >= 0"),
        (lambda: dc.passage_time("gauss", norm=1.0), TypeError, "law must be a SphericalLaw"),
        (
            lambda: dc.opposed_norm(GAUSS, 0, time=1.0, norm=1.0),
            ValueError,
            "n_layers must be >= 1",
        ),
        (
            lambda: dc.phase_velocity(GAUSS, 1, norm=1.0, angle=4.0),
            ValueError,
            "angle must be <= pi",
        ),
        (
            lambda: dc.phase_velocity(GAUSS, 1, norm=[1, 2], angle=[1, 2, 3]),
            ValueError,
            "broadcast",
        ),
        (
            lambda: dc.nullcline(GAUSS, norm=1.0, label_noise=0.5),
            ValueError,
            "label_noise must be < 1/2",
        ),
        (lambda: dc.log_lyapunov(1, angle=1.0, norm=0.0), ValueError, "norm must be > 0"),
        (lambda: dc.misclassification(angle=-1.0), ValueError, "angle must be >= 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
