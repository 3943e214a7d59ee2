"""Late laws, fitted exponents, times and step sizes against integrated flows and exact descent."""

from __future__ import annotations

from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
from balanced_flow import flow
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from support import crossed

from linnet_fast.directional_convergence import (
    classify_rate,
    descent_law,
    late_time_law,
    reduced_descent,
    step_size_advice,
    time_to_angle,
)
from linnet_fast.laws import Ball, Gaussian, RadialMixture, Sphere
from linnet_fast.methods.step_rule import StepRule

LAWS = [Gaussian(3), Sphere(2), Ball(3, 2.0), RadialMixture(2, [0.5, 2.0], [0.3, 0.7])]
S0 = 1.10179710305  # ln tan of half the angle 2.5


def next_step(law, rule, n, norm, gap, h):
    """Return the step size of step n; gap is the norm less the part along v."""
    c, a = float(rule.scale), float(rule.exponent)
    q = law.kappa - h
    if rule.kind == "power":
        return c * (n + 1) ** a
    if rule.kind == "geometric":
        return c * a**n
    if rule.kind == "norm_proportional":
        return c * norm
    if rule.kind == "loss_normalized":
        return c / (law.kappa * gap + float(law.radial_loss(norm)))
    if rule.kind == "gradient_normalized":  # |kappa v - q w / |w||^2
        return c / np.sqrt(h**2 + 2 * law.kappa * q * gap / norm)
    return norm / q


def descent(law, rule, n_steps, *, along=20.0, across=4.0):
    """Descent of one layer by its parts along v and across; the latter times a power of e."""
    shift, path = 0.0, []
    for n in range(n_steps + 1):
        true = across * np.exp(shift)
        r = np.hypot(along, true)
        gap = r - along if along < 0 else true**2 / (r + along)
        with np.errstate(divide="ignore"):
            half = np.log(abs(across)) + shift - np.log(r + abs(along))
        path.append((r, half if along > 0 else -half))
        h = float(law.h(r))
        eta = next_step(law, rule, n, r, gap, h)
        kept = 1 - eta * (law.kappa - h) / r
        along, across = eta * law.kappa + kept * along, kept * across
        if 0 < abs(across) < 1e-100:
            across, shift = across * 1e100, shift - 100 * np.log(10)
    norm, s = np.array(path).T
    return SimpleNamespace(time=np.arange(n_steps + 1.0), log_tan_half_angle=s, norm=norm)


# Late laws


@pytest.mark.parametrize("n_layers", [1, 2, 3, 6])
def test_late_law_is_the_table(n_layers):
    law, n = Gaussian(5), n_layers
    late = late_time_law(law, n)
    a2, kappa, t = law.a2, law.kappa, 7.0
    assert_allclose(law.a2, 0.656233747738434, rtol=1e-14)
    powers = (n / (n + 2), -n / (n + 2), 2 * n / (n + 2))
    assert_allclose((late.norm_exponent, late.loss_exponent, late.angle_exponent), powers)
    r = ((n + 2) * a2 * t) ** powers[0]
    s = -kappa * ((n + 2) * a2) ** ((n - 2) / (n + 2)) * (n + 2) / (2 * n) * t ** powers[2]
    assert_allclose(late.norm(time=t), r)
    assert_allclose(late.norm_factor * t**late.norm_exponent, r)
    assert_allclose(late.loss(time=t), a2 / r)
    assert_allclose(late.loss_factor * t**late.loss_exponent, a2 / r)
    assert_allclose(late.log_tan_half_angle(time=t), s)
    assert_allclose(-late.angle_factor * t**late.angle_exponent, s)
    assert_allclose(late.time_to(to_log_tan_half_angle=s), t)
    inverse = (-s * 2 * n / ((n + 2) * kappa)) ** ((n + 2) / (2 * n))
    assert_allclose(
        late.time_to(to_log_tan_half_angle=s), inverse * ((n + 2) * a2) ** (-(n - 2) / (2 * n))
    )


def test_factors_of_the_table():
    law = Sphere(2)
    a2 = np.pi / 6
    first, second, third = (late_time_law(law, n) for n in (1, 2, 3))
    assert_allclose(first.norm_factor, (3 * a2) ** (1 / 3))
    assert_allclose(first.angle_factor, 1.5 / np.pi * (3 * a2) ** (-1 / 3))
    assert_allclose(second.norm_factor, (4 * a2) ** 0.5)
    assert_allclose(second.angle_factor, 1 / np.pi)
    assert_allclose(third.norm_factor, (5 * a2) ** 0.6)
    assert_allclose(third.angle_factor, 5 / 6 / np.pi * (5 * a2) ** 0.2)


@crossed(("law", LAWS), ("n_layers", [1, 2, 3, 6]), n=6)
def test_flows_approach_the_late_law(law, n_layers):
    run = flow(law, n_layers, -1.0, 3.0, np.array([0, 1e3, 1e4, 1e5]))
    bare = late_time_law(law, n_layers)
    offs = np.abs(run.norm / bare.norm(time=run.time + 1e-9) - 1)[1:]
    assert offs[2] < 0.01
    assert (np.diff(offs) < 0).all()
    since = {"time": 1e4, "norm": run.norm[2], "log_tan_half_angle": run.log_tan_half_angle[2]}
    late = late_time_law(law, n_layers, **since)
    assert_allclose(late.norm(time=1e5), run.norm[3], rtol=3e-3)
    moved = run.log_tan_half_angle[3] - run.log_tan_half_angle[2]
    assert_allclose(late.log_tan_half_angle(time=1e5) - run.log_tan_half_angle[2], moved, rtol=5e-3)
    loss = law.radial_loss(run.norm[3])
    assert_allclose(late.loss(time=1e5), loss, rtol=5e-3)
    assert_allclose(late.time_to(to_log_tan_half_angle=late.log_tan_half_angle(time=3e4)), 3e4)
    assert_allclose(late.time_to(to_log_tan_half_angle=run.log_tan_half_angle[2] + 1), 1e4)


def test_late_laws_broadcast():
    late = late_time_law(Gaussian(2), 1, norm=[[1.0], [2.0]], log_tan_half_angle=[0.0, 1.0, 2.0])
    assert late.log_tan_half_angle(time=5.0).shape == (2, 3)
    assert late.norm(time=np.ones((4, 1, 1))).shape == (4, 2, 1)
    with pytest.raises(ValueError, match="time must be not before since, got 1"):
        late_time_law(Gaussian(2), 1, time=2.0).norm(time=1.0)
    with pytest.raises(ValueError, match="norm must be >= 0"):
        late_time_law(Gaussian(2), 1, norm=-1.0)


# Rates


@crossed(("law", [Gaussian(3), Sphere(2)]), ("n_layers", range(1, 7)))
def test_exponents_of_flows(law, n_layers):
    n = n_layers
    run = flow(law, n, S0, 2.0, np.geomspace(10, 1e4, 150))
    fit = classify_rate(run)
    assert fit.expected == (n - 2) / (n + 2)
    assert abs(fit.exponent - fit.expected) < (0.01 if n == 2 else 0.01 * abs(fit.expected))
    assert abs(fit.exponent - fit.expected) < 2 * fit.uncertainty + 1e-8
    assert fit.uncertainty < 0.02
    kind = {1: "stretched exponential", 2: "linear"}.get(n, "superlinear")
    assert fit.kind == kind
    assert_allclose(fit.rate, law.kappa * run.norm[-1] ** (1 - 2 / n), rtol=2e-3)
    assert fit.end == 1e4
    assert_allclose(fit.decay_exponent, 1 + fit.exponent)
    # Any spacing and origin of s, any scale of time.
    if n in (1, 5):
        even = flow(law, n, S0, 2.0, np.linspace(20, 1e4, 500))
        assert_allclose(classify_rate(even).exponent, fit.exponent, atol=0.004)
    moved = classify_rate((1e-6 * run.time, run.log_tan_half_angle + 5.0))
    assert_allclose(moved.exponent, fit.exponent, atol=1e-6)
    assert np.isnan(moved.expected)


@pytest.mark.parametrize("n_layers", [3, 4, 5])
def test_exponents_of_deeper_flows_come_early(n_layers):
    run = flow(Gaussian(3), n_layers, S0, 2.0, np.geomspace(5, 1e3, 150))
    fit = classify_rate(run)
    assert_allclose(fit.exponent, fit.expected, rtol=0.01)


def test_regression_on_the_logarithm_would_be_biased():
    run = flow(Gaussian(3), 1, S0, 2.0, np.geomspace(10, 1e4, 150))
    late = run.time > 1e4 / 16
    slope = np.polyfit(np.log(run.time[late]), np.log(-run.log_tan_half_angle[late]), 1)[0]
    assert abs(slope - 2 / 3) > 10 * abs(classify_rate(run).decay_exponent - 2 / 3)


@crossed(("exponent", [-1.0, -0.8, -1 / 3, 0.0, 0.2, 1.0]), ("noise", [1e-3, 0.05]))
def test_exponents_from_noise_have_honest_errors(exponent, noise):
    rng = np.random.default_rng(4)
    t = np.linspace(1, 400, 400)
    power = 1 + exponent
    fall = 3 * (np.log(t) if power == 0 else (t**power - 1) / power)
    fall *= 4 / (fall[-1] - fall[25])
    s = 1 - fall + noise * rng.standard_normal((200, len(t)))
    fit = classify_rate((t, s))
    z = (fit.exponent - exponent) / fit.uncertainty
    assert abs(z.mean()) < 0.5
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.3
    assert (np.abs(z) > 3).mean() < 0.03
    assert fit.kind.shape == (200,)
    expected = {-1.0: "power", 0.0: "linear", 0.2: "superlinear", 1.0: "superlinear"}
    right = fit.kind == expected.get(exponent, "stretched exponential")
    assert right.mean() > (0.9 if noise < 0.01 else 0.6)


def test_correlated_noise_widens_the_error():
    rng = np.random.default_rng(5)
    t = np.linspace(1, 400, 400)
    noise = np.zeros((200, len(t)))
    for i in range(1, len(t)):
        noise[:, i] = 0.9 * noise[:, i - 1] + 0.02 * rng.standard_normal(200)
    fit = classify_rate((t, -2 * np.log(t) + noise))
    z = (fit.exponent + 1) / fit.uncertainty
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.8


def test_powers_and_stagnation():
    t = np.geomspace(1, 1e6, 300)
    power = classify_rate((t, 0.3 - np.log(t) / 3))
    assert power.kind == "power"
    assert_allclose(power.rate * power.end, 1 / 3, rtol=1e-6)
    slow = classify_rate((t, -np.log(np.log(t + 2))))
    assert slow.kind == "stagnation"
    assert_allclose(slow.exponent, -1 - 1 / np.log(1e6), atol=0.02)
    rng = np.random.default_rng(0)
    for s in (np.full(300, -5.0), -5 + 0.1 * rng.standard_normal(300), -5 - np.exp(-t), 0.1 * t):
        assert classify_rate((t, s)).kind == "stagnation"
    # Falling to a floor of noise, as in stochastic descent.
    s = np.maximum(-t, -40.0) + 0.2 * rng.standard_normal(300)
    fit = classify_rate((t, s))
    assert fit.kind == "stagnation"
    assert fit.exponent == -np.inf
    assert np.isnan(fit.uncertainty)


def test_runs_of_rates_broadcast_and_end():
    t = np.geomspace(1, 100, 80) * np.array([[1.0], [10.0]])
    s = -(np.geomspace(1, 100, 80) ** np.array([[[0.5]], [[1.0]], [[1.5]]]))
    fit = classify_rate((t, s), n_layers=4)
    assert fit.exponent.shape == fit.kind.shape == fit.rate.shape == (3, 2)
    assert_allclose(fit.exponent, np.array([[-0.5], [0], [0.5]]) + np.zeros(2), atol=1e-6)
    assert_allclose(fit.rate[:, 0], 10 * fit.rate[:, 1])
    assert fit.expected == pytest.approx(1 / 3)
    s = np.broadcast_to(s, (3, 2, 80)).copy()
    s[0, 0, 60:] = np.nan
    s[1, 0, 4:] = np.nan
    s[2, 0] = np.nan
    fit = classify_rate((t, s))
    assert_allclose(fit.exponent[0, 0], -0.5, atol=1e-6)
    assert fit.end[0, 0] == t[0, 59]
    assert_array_equal(fit.kind[1:, 0], "undetermined")
    assert np.isnan(fit.exponent[1:, 0]).all()
    assert "undetermined: 2" in repr(fit)
    network = SimpleNamespace(time=t, log_tan_half_angle=s, network=SimpleNamespace(n_layers=1))
    assert classify_rate(network).expected == pytest.approx(-1 / 3)


def test_messages_of_rates():
    t = np.arange(1.0, 5)
    with pytest.raises(ValueError, match="must have 5 finite records in each half"):
        classify_rate((t, -t))
    with pytest.raises(ValueError, match="trajectory must have times that rise"):
        classify_rate((np.ones(4), -t))
    with pytest.raises(
        ValueError,
        match=r"trajectory\[0\] must have shape \(\*run, n_rec\) and not be empty, got \(\)",
    ):
        classify_rate((1.0, t))
    with pytest.raises(TypeError, match="trajectory must have log_tan_half_angle"):
        classify_rate(SimpleNamespace(time=t))
    with pytest.raises(TypeError, match=r"trajectory\[1\] must be an array of real numbers"):
        classify_rate((t, ["a"] * 4))
    with pytest.raises(ValueError, match="window must be > 1"):
        classify_rate((t, -t), window=1.0)


# Times


@crossed(("law", [Gaussian(2), Sphere(5, 2.0)]), ("n_layers", [1, 2, 3, 5]))
def test_time_to_angle_is_that_of_the_flow(law, n_layers):
    start = np.array([[1.4], [-0.5]])
    norm = np.array([0.5, 3.0])
    target = np.array([[[1e-2]]])
    times = time_to_angle(
        law, n_layers, norm=norm, log_tan_half_angle=start, to_angle=target
    )  # fmt: skip
    assert times.shape == (1, 2, 2)
    for i, j, k in np.ndindex(1, 2, 2):
        run = flow(law, n_layers, start[j, 0], norm[k], np.array([0, times[i, j, k]]))
        reached = np.log(np.tan(target[i, 0, 0] / 2))
        assert_allclose(run.log_tan_half_angle[1], reached, atol=1e-8)


def test_times_of_the_recorded_flows():
    # (s, r) at time 50 of four flows, to 12 digits.
    for n, s in enumerate([-8.62725610033, -18.845316917, -35.9819700464, -55.4095123147], 1):
        got = time_to_angle(
            Gaussian(2), n, norm=2.0, angle=2.5, to_log_tan_half_angle=s
        )  # fmt: skip
        assert_allclose(got, 50, rtol=1e-9)


def test_times_at_the_edges():
    law = Gaussian(3)
    assert time_to_angle(law, 3, norm=1.0, angle=0.0, to_angle=0.1) == 0
    assert time_to_angle(law, 3, norm=1.0, angle=0.05, to_angle=0.1) == 0
    for n in (2, 3):
        assert time_to_angle(law, n, norm=1.0, angle=np.pi, to_angle=0.1) == np.inf
    # One layer passes through 0, and comes out aligned.
    expected = quad(lambda r: 1 / (law.kappa + law.q(r)), 0, 2.0)[0]
    assert_allclose(time_to_angle(law, 1, norm=2.0, angle=np.pi, to_angle=1e-9), expected)
    near = time_to_angle(law, 1, norm=2.0, log_tan_half_angle=25.0, to_angle=1.0)
    assert_allclose(near, expected, rtol=1e-8)
    # Two layers: closed form, as near the saddle as one likes.
    got = time_to_angle(law, 2, norm=1.0, log_tan_half_angle=500.0, to_log_tan_half_angle=-800.0)
    assert_allclose(got, 1300 / law.kappa)
    # Near the saddle r sin(theta)^3 is constant and r falls to e^(-3 s0); time goes as r^(-1/3).
    saddle = [
        float(time_to_angle(law, 3, norm=1.0, log_tan_half_angle=s, to_angle=1.0))
        for s in (5.0, 6.0, 7.0)
    ]
    assert_allclose(np.diff(np.log(saddle)), 1, rtol=0.01)
    # Late: the formula agrees.
    late = late_time_law(law, 1)
    got = time_to_angle(law, 1, norm=1.0, angle=1.0, to_log_tan_half_angle=-3000.0)
    assert_allclose(got, late.time_to(to_log_tan_half_angle=-3000.0), rtol=0.01)


def test_parabola_of_large_norms():
    # With h negligible: t = C / kappa ((s0 - s) + (e^(2 s0) - e^(2 s)) / 2), C = r0 cos^2(theta0/2).
    law, r, s0, s = Gaussian(2), 1e6, 0.7, -4.0
    c = r / (1 + np.exp(2 * s0))
    expected = c / law.kappa * ((s0 - s) + (np.exp(2 * s0) - np.exp(2 * s)) / 2)
    got = time_to_angle(law, 1, norm=r, log_tan_half_angle=s0, to_log_tan_half_angle=s)
    assert_allclose(got, expected, rtol=1e-7)


def test_messages_of_times():
    law = Gaussian(2)
    with pytest.raises(TypeError, match="to_angle or to_log_tan_half_angle must be given"):
        time_to_angle(law, 1, norm=1.0, angle=1.0)
    with pytest.raises(TypeError, match=r"angle or .* must be given, one of them, got both"):
        time_to_angle(law, 1, norm=1.0, angle=1.0, log_tan_half_angle=0.0, to_angle=0.1)
    with pytest.raises(ValueError, match="angle must be <= pi, got 4"):
        time_to_angle(law, 1, norm=1.0, angle=4.0, to_angle=0.1)
    with pytest.raises(ValueError, match=r"to_angle must be in \(0, pi\)"):
        time_to_angle(law, 1, norm=1.0, angle=1.0, to_angle=0.0)
    with pytest.raises(TypeError, match="law must be a SphericalLaw, got float"):
        time_to_angle(1.0, 1, norm=1.0, angle=1.0, to_angle=0.1)


# Step sizes


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_advice_on_step_sizes(law):
    norm = np.array([0.3, 2.0, 40.0])
    advice = step_size_advice(law, norm=norm)
    for i, r in enumerate(norm):
        # One step aligns; slightly more turns to the other side, slightly less does not.
        for part, sign in ((1.0, 0), (0.99, 1), (1.01, -1)):
            kept = r - part * advice.one_step[i] * law.q(r)
            assert abs(kept) < 1e-12 * r if sign == 0 else np.sign(kept) == sign
    # The aligned direction is stable just below the eventual limit at large norms.
    r = 1e6
    for part, stable in ((0.999, True), (1.001, False)):
        eta = part * float(step_size_advice(law, norm=r).eventual)
        factor = (r - eta * law.q(r)) / (r + eta * law.h(r))
        assert (abs(factor) < 1) == stable
    # No step up to the monotone limit overshoots, from any norm, and a larger one does from some.
    norms = np.geomspace(1e-4, 1e4, 400)
    assert (advice.monotone * law.q(norms) <= norms * (1 + 1e-12)).all()
    assert (1.001 * advice.monotone * law.q(norms) > norms).any()


@pytest.mark.parametrize("law", [Gaussian(2), Sphere(3)], ids=repr)
def test_limits_of_linear_rates(law):
    advice = step_size_advice(law, norm=1.0)
    for make, limit, best in (
        (lambda c: StepRule.power(c, 0.5), advice.sqrt_limit, advice.sqrt_best),
        (StepRule.norm_proportional, advice.norm_limit, advice.norm_best),
        (StepRule.loss_normalized, advice.loss_limit, advice.loss_best),
    ):
        below, above = descent_law(law, make(0.99 * limit)), descent_law(law, make(1.01 * limit))
        assert below.status == "linear"
        assert 0 < below.rate < 0.1
        assert above.status != "linear"
        assert descent_law(law, make(best)).rate > 30
        half = descent_law(law, make(best / 2)).rate
        assert half > below.rate


@pytest.mark.parametrize("exponent", [0.0, 0.25, -0.25])
def test_descent_is_a_stretched_exponential(exponent):
    law, n = Gaussian(2), 2000
    rule = StepRule.power(1.0, exponent)
    run = descent(law, rule, n, along=0.5, across=1.0)
    late = descent_law(law, rule)
    assert late.status == "stretched exponential"
    assert_allclose(late.exponent, 2 * (exponent + 1) / 3)
    assert_allclose(late.norm_exponent, (exponent + 1) / 3)
    # Counted in the time of the flow it is the late law of one layer.
    time = n ** (exponent + 1) / (exponent + 1)
    assert_allclose(late.norm(steps=n), late_time_law(law, 1).norm(time=time))
    assert_allclose(
        late.log_tan_half_angle(steps=n), late_time_law(law, 1).log_tan_half_angle(time=time)
    )
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=0.1)
    gain = run.log_tan_half_angle[-1] - run.log_tan_half_angle[n // 4]
    expected = late.log_tan_half_angle(steps=n) - late.log_tan_half_angle(steps=n // 4)
    assert_allclose(gain, expected, rtol=0.11)
    fit = classify_rate(run)
    assert fit.kind == "stretched exponential"
    assert_allclose(fit.decay_exponent, late.exponent, atol=0.025)


@pytest.mark.parametrize(
    ("rule", "rtol"),
    [
        (StepRule.power(0.5, 0.5), 5e-3),
        (StepRule.norm_proportional(0.6), 8e-3),
        (StepRule.norm_proportional(3.2), 2e-2),
        (StepRule.loss_normalized(0.4), 2e-3),
    ],
    ids=repr,
)
def test_descent_is_linear(rule, rtol):
    law, n = Gaussian(2), 2000
    run = descent(law, rule, n, along=0.5, across=1.0)
    late = descent_law(law, rule)
    assert late.status == "linear"
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=0.02)
    slope = (run.log_tan_half_angle[n // 2] - run.log_tan_half_angle[n]) / (n - n // 2)
    assert_allclose(slope, late.rate, rtol=rtol)
    fit = classify_rate(run)
    assert fit.kind == "linear"
    assert_allclose(fit.rate, late.rate, rtol=rtol)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_normalised_gradients_give_only_a_power(scale):
    law, n = Gaussian(2), 2000
    rule = StepRule.gradient_normalized(scale)
    run = descent(law, rule, n, along=0.3, across=2.0)
    late = descent_law(law, rule)
    assert late.status == "polynomial only"
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=5e-3)
    assert_allclose(run.log_tan_half_angle[-1], late.log_tan_half_angle(steps=n), atol=0.12)
    assert_allclose(late.norm(steps=n), np.sqrt((4 * law.a2 / law.kappa + scale**2 / 2) * n))
    # Every other step is on the other side.
    fit = classify_rate(run)
    assert fit.kind == "power"
    assert_allclose(fit.rate * fit.end, 0.5, rtol=0.1)


def test_too_large_linear_rules():
    law, n = Gaussian(2), 2000
    rule = StepRule.loss_normalized(3 * law.a2 / law.kappa)
    run, late = descent(law, rule, n), descent_law(law, rule)
    assert late.status == "polynomial only"
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=0.02)
    assert_allclose(run.log_tan_half_angle[-1], late.log_tan_half_angle(steps=n), atol=0.02)
    rule = StepRule.norm_proportional(3 / law.kappa)
    run, late = descent(law, rule, 200), descent_law(law, rule)
    assert late.status == "does not converge"
    assert_allclose(run.log_tan_half_angle[-1], late.log_tan_half_angle(steps=200), rtol=1e-4)
    assert_allclose(run.norm[-1] / run.norm[-2], late.norm_ratio, rtol=1e-4)


@pytest.mark.parametrize("ratio", [1.02, 1.1, 1.5])
def test_geometric_steps_do_not_converge(ratio):
    law = Gaussian(2)
    rule = StepRule.geometric(1.0, ratio)
    n = int(25 / np.log(ratio))
    run, late = descent(law, rule, n, along=0.3, across=2.0), descent_law(law, rule)
    assert late.status == "does not converge"
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=0.02)
    assert_allclose(run.log_tan_half_angle[-1], late.log_tan_half_angle(steps=n), atol=0.05)
    assert_allclose(np.log(np.sqrt((ratio - 1) / (3 * ratio + 1))), late.offset)


def test_rising_steps_swing():
    law, n = Gaussian(2), 2000
    rule = StepRule.power(20.0, 1.0)
    run, late = descent(law, rule, n), descent_law(law, rule)
    assert late.status == "polynomial only"
    assert_allclose(run.norm[-1], late.norm(steps=n), rtol=0.05)
    tail = slice(n // 8, None)
    assert (
        abs(np.mean(run.log_tan_half_angle[tail] - late.log_tan_half_angle(steps=run.time[tail])))
        < 1
    )


def test_other_rules():
    law = Gaussian(2)
    rule = StepRule.alignment()
    run, late = descent(law, rule, 2000), descent_law(law, rule)
    assert late.status == "one step"
    assert run.log_tan_half_angle[1] < -30
    assert late.log_tan_half_angle(steps=10) == -np.inf
    assert_allclose(run.norm[-1], late.norm(steps=2000), rtol=0.1)
    assert descent_law(law, StepRule.power(1.0, -1.5)).status == "does not converge"
    assert descent_law(law, StepRule.geometric(1.0, 0.9)).status == "does not converge"
    constant = descent_law(law, StepRule.geometric(0.7, 1.0))
    assert constant.log_tan_half_angle(steps=9) == descent_law(
        law, StepRule.power(0.7, 0.0)
    ).log_tan_half_angle(steps=9)
    harmonic = descent_law(law, StepRule.power(2.0, -1.0))
    assert harmonic.status == "slow"
    time = 2 * np.log(1e6)
    assert_allclose(harmonic.norm(steps=1e6), late_time_law(law, 1).norm(time=time))
    assert_allclose(
        harmonic.log_tan_half_angle(steps=1e6), late_time_law(law, 1).log_tan_half_angle(time=time)
    )


def test_runs_of_rules():
    rule = StepRule.power(np.array([[0.5], [2.0]]), np.array([0.0, 0.5, 1.0]))
    late = descent_law(Sphere(2), rule)
    assert late.status.shape == late.rate.shape == (2, 3)
    assert late.norm(steps=100).shape == (2, 3)
    one = descent_law(Sphere(2), StepRule.power(2.0, 0.5))
    assert_allclose(late.rate[1, 1], one.rate)
    with pytest.raises(TypeError, match="rule must be a StepRule, got float"):
        descent_law(Sphere(2), 0.1)


def test_constants_against_mpmath():
    # kappa and a2 by their integrals, with 30 digits.
    with mp.workdps(30):
        top = mp.sqrt(2 / mp.pi)
        kappa = top * mp.quad(lambda u: u * mp.exp(-(u**2) / 2), [0, 3, 30]) / 2
        a2 = top * mp.quad(lambda z: z / (1 + mp.exp(z)), [0, 5, 80])
    advice = step_size_advice(Gaussian(2), norm=1.0)
    assert_allclose(advice.norm_limit, float(2 / kappa), rtol=1e-13)
    assert_allclose(advice.loss_best, float(a2 / kappa), rtol=1e-13)
    assert_allclose(advice.sqrt_limit, float(mp.sqrt(16 * a2 / kappa**3)), rtol=1e-13)


# Ends of ranges


def test_late_laws_from_the_smallest_to_the_largest_numbers():
    for law, n in ((Gaussian(2), 1), (Sphere(2), 3), (Gaussian(3), 8)):
        for time, r, s in ((1e300, 1e-300, 0.5), (1e-300, 1e100, -3.0), (1e12, 1e90, 40.0)):
            late = late_time_law(law, n, norm=r, log_tan_half_angle=s)
            with mp.workdps(400):
                a2, kappa, start = mp.mpf(float(law.a2)), mp.mpf(float(law.kappa)), mp.mpf(r)
                power = mp.mpf(n + 2) / n
                norm = (start**power + (n + 2) * a2 * mp.mpf(time)) ** (1 / power)
                fall = kappa / (2 * n * a2) * (norm**2 - start**2)
            assert_allclose(late.norm(time=time), float(norm), rtol=1e-12)
            assert_allclose(late.log_tan_half_angle(time=time), float(s - fall), rtol=1e-12)
            # The inverse goes back as well as a change of s is known.
            if fall > 1e-3 and fall < 1e300:
                at = late.log_tan_half_angle(time=time)
                assert_allclose(late.time_to(to_log_tan_half_angle=at), time, rtol=1e-11)
    assert late_time_law(Gaussian(2), 1, norm=2.0).time_to(to_log_tan_half_angle=0.0) == 0
    assert late_time_law(Gaussian(2), 1).norm(time=0.0) == 0


@pytest.mark.parametrize(("scale", "exponent"), [(20.0, 0.6), (5.0, 0.7)])
def test_where_the_law_of_steps_that_overshoot_begins(scale, exponent):
    law, rule = Gaussian(3), StepRule.power(scale, exponent)
    late = descent_law(law, rule)
    since = float(late.since)

    def mean_square(n):
        """Mean square of the angle by that of the law, over the steps n to 2 n."""
        steps = np.unique(np.geomspace(n, 2 * n, 4000).astype(int))
        run = reduced_descent(law, 1, angle=2.5, norm=2.0, step_size=rule, steps=steps)
        off = run.log_tan_half_angle - late.log_tan_half_angle(steps=steps)
        return float(np.mean(np.exp(2 * off)))

    assert abs(mean_square(since) - 1) < 0.13
    assert 0.94 < mean_square(20 * since) < 1.02
    assert mean_square(since / 20) < 0.8
    slow = descent_law(law, StepRule.power(1.0, [0.6, 0.8, 0.50001, 0.25, -1.0])).since
    assert (slow[:2] > 1e5).all()
    assert np.isposinf(slow[2])
    assert np.isnan(slow[3:]).all()


def test_advice_from_the_smallest_to_the_largest_norms():
    law = Gaussian(3)
    advice = step_size_advice(law, norm=[5e-324, 1e-12, 1.0, 1e200])
    with mp.workdps(30):
        # q = r m2 / 4 - r^3 m4 / 48 at small norms, m4 = 3; kappa at large ones
        small = mp.mpf(1e-12) / (mp.mpf(1e-12) / 4 - mp.mpf(1e-12) ** 3 / 16)
    expected = [4.0, float(small), 1 / float(law.q(1.0)), 1e200 / float(law.kappa)]
    assert_allclose(advice.one_step, expected, rtol=1e-12)
    assert np.isposinf(step_size_advice(law, norm=1.7e308).eventual)
