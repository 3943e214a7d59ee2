"""Norm and angle under gradient flow and descent, against SciPy, mpmath and plain vectors."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.special import expit
from support import crossed

from linnet_fast import directional_convergence as dc
from linnet_fast.laws import Ball, Gaussian, RadialMixture, Sphere
from linnet_fast.methods.step_rule import StepRule

GAUSS, CIRCLE = Gaussian(3), Sphere(2)
FIGURE = {"log_tan_half_angle": np.log(3.0), "norm": 1.0}  # of figure 1: w = (0.6, -0.8)
LN_2 = np.log(2)


def integrate(law, n_layers, s, r, times, noise=0.0):
    """Return s and r at the times, by SciPy in (s, r^(2 / L))."""
    along = (1 - 2 * noise) * law.kappa

    def velocity(_, y):
        r = y[1] ** (n_layers / 2)
        pull = float(law.h(r)) - 2 * noise * law.kappa - along * 2 * expit(2 * y[0])
        return [-along * y[1] ** (n_layers / 2 - 1), 2 * r * pull]

    start = [s, r ** (2 / n_layers)]
    found = solve_ivp(
        velocity, (0, times[-1]), start, "DOP853", t_eval=times, rtol=1e-13, atol=1e-14
    )
    return found.y[0], found.y[1] ** (n_layers / 2)


def descend(law, w, eta, n_steps, noise=0.0):
    """Return vectors of a single layer after each step."""
    v = np.array([1.0, 0.0])
    path = [w]
    for n in range(n_steps):
        r = np.linalg.norm(w)
        w = w + eta(n, w) * ((1 - 2 * noise) * law.kappa * v - law.q(r) * w / r)
        path.append(w)
    return np.array(path)


def vector(s, r):
    return r * np.array([-np.tanh(s), 1 / np.cosh(s)])


def half_angle(w):
    """Return ln tan of half the angle of vectors of the plane to (1, 0)."""
    unit = w / np.linalg.norm(w, axis=-1, keepdims=True)
    v = np.array([1.0, 0.0])
    return np.log(np.linalg.norm(unit - v, axis=-1) / np.linalg.norm(unit + v, axis=-1))


def test_regression_values_of_the_flow():
    expected = {
        1: (-8.62725610033, 3.93546219636),
        2: (-18.845316917, 9.94832484166),
        3: (-35.9819700464, 17.9134685641),
        4: (-55.4095123147, 26.213522739),
    }
    for n_layers, (s, r) in expected.items():
        run = dc.reduced_flow(GAUSS, n_layers, angle=2.5, norm=2.0, time=50.0)
        assert_allclose([run.log_tan_half_angle, run.norm], [s, r], rtol=4e-12)


def test_regression_values_of_descent():
    run = dc.reduced_descent(GAUSS, 1, angle=2.5, norm=2.0, step_size=1.0, steps=[1, 5, 10])
    s = [0.842575816599631, -1.42192487043974, -3.21102805934681]
    assert_allclose(run.log_tan_half_angle, s, rtol=2e-14)
    assert_allclose(run.norm, [1.39807476414443, 0.858865526400741, 1.64991084084669], rtol=1e-14)


FIGURE_1 = {  # T*, r_min, theta(T*), 1 - cos at 10, 20, 30, 40, r at 20, 40, loss at 0, T*, 10, 20, 40
    1: "2.449 .45247 1.3944 6.22e-3 3.36e-4 4.08e-5 6.88e-6 2.685 3.815 1.0084 .6806 .3275 .2156 .1495",
    2: "3.752 .24422 1.4751 3.05e-2 5.32e-5 9.14e-8 1.57e-10 5.010 8.449 1.0084 .6894 .3555 .1109 .0632",
    3: "5.703 .14037 1.5157 3.20e-1 8.42e-5 2.20e-10 1.1e-16 6.064 13.36 1.0084 .6919 .6339 .0901 .0395",
    4: "8.663 .08294 1.5382 8.46e-1 3.83e-2 1.88e-9 8.2e-20 2.314 16.85 1.0084 .6927 .6894 .2758 .0312",
}


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_figure_1_of_the_paper(n_layers):
    run = dc.reduced_flow(CIRCLE, n_layers, **FIGURE, time=[0, 10, 20, 30, 40])
    turn = run.turning_point()
    there = dc.reduced_flow(CIRCLE, n_layers, **FIGURE, time=turn.time)
    loss = run.loss
    found = [turn.time, turn.norm, there.angle, *run.one_minus_cos[1:], *run.norm[[2, 4]]]
    found += [loss[0], there.loss, loss[1], loss[2], loss[4]]
    printed = FIGURE_1[n_layers].split()
    for value, text in zip(found, printed, strict=True):
        digits = text.split("e")[0].replace(".", "").lstrip("0")
        last = 10.0 ** (np.floor(np.log10(float(text))) - len(digits) + 1)
        assert abs(value - float(text)) < 0.51 * last, (value, text)
    assert_allclose(
        [there.norm, there.log_tan_half_angle], [turn.norm, turn.log_tan_half_angle], rtol=1e-10
    )
    assert abs(there.radial_speed) < 1e-11


@crossed(("n_layers", [1, 2, 3, 5]), ("law", [GAUSS, CIRCLE, Ball(4, 3.0)]), n=6)
def test_the_flow_equals_scipy(law, n_layers):
    times = np.array([0.1, 1.0, 3.0, 12.0, 50.0])
    s, r = integrate(law, n_layers, 1.3, 1.4, times)
    run = dc.reduced_flow(law, n_layers, log_tan_half_angle=1.3, norm=1.4, time=times)
    assert_allclose(run.log_tan_half_angle, s, rtol=3e-10, atol=3e-10)
    assert_allclose(run.norm, r, rtol=1e-9)
    noisy = dc.reduced_flow(
        law, n_layers, log_tan_half_angle=1.3, norm=1.4, time=times, label_noise=0.1
    )
    s, r = integrate(law, n_layers, 1.3, 1.4, times, 0.1)
    assert_allclose(noisy.log_tan_half_angle, s, rtol=3e-10, atol=3e-10)
    assert_allclose(noisy.norm, r, rtol=1e-9)


def test_the_flow_equals_that_of_vectors():
    # Three layers: w' = -r^(2 - 2/L) (g + (L - 1) (w.g) w / r^2), in four dimensions
    law, n_layers = Gaussian(4), 3
    v = np.array([0.5, 0.5, -0.5, 0.5])
    w = np.array([-0.4, 0.3, 0.9, 0.2])

    def velocity(_, w):
        r = np.linalg.norm(w)
        g = law.q(r) * w / r - law.kappa * v
        return -(r ** (2 - 2 / n_layers)) * (g + (n_layers - 1) * (w @ g) * w / r**2)

    times = [0.5, 3.0, 8.0]
    path = solve_ivp(velocity, (0, 8), w, "DOP853", t_eval=times, rtol=1e-12, atol=1e-13).y.T
    angle = np.arccos(v @ w / np.linalg.norm(w))
    run = dc.reduced_flow(law, n_layers, angle=angle, norm=np.linalg.norm(w), time=times)
    assert_allclose(run.norm, np.linalg.norm(path, axis=1), rtol=1e-9)
    assert_allclose(np.cos(run.angle), path @ v / run.norm, rtol=1e-9)


def test_accuracy_over_the_whole_range():
    # The tightest tolerance with a step that ends at each time, against dense output of the default
    times = np.geomspace(0.3, 1e8, 25)
    for n_layers in (1, 2, 3, 6):
        run = dc.reduced_flow(CIRCLE, n_layers, **FIGURE, time=times)
        each = [dc.reduced_flow(CIRCLE, n_layers, **FIGURE, time=t, rtol=1e-13) for t in times]
        s = np.array([x.log_tan_half_angle for x in each])
        assert_allclose(run.log_tan_half_angle, s, rtol=5e-12, atol=1e-11)
        assert_allclose(run.log_norm, [x.log_norm for x in each], rtol=0, atol=2e-11)


def test_times_of_any_order_and_scale():
    times = [7.0, 0.0, 1e-300, 7.0, 1e200]
    run = dc.reduced_flow(GAUSS, 2, angle=[[1.0], [2.0]], norm=[0.5, 1.0, 2.0], time=times)
    assert run.log_norm.shape == run.time.shape == run.loss.shape == (2, 3, 5)
    assert_array_equal(run.norm[..., 0], run.norm[..., 3])
    assert_allclose(run.norm[..., 1], [[0.5, 1.0, 2.0]] * 2, rtol=1e-15)
    assert_allclose(run.norm[..., 2], run.norm[..., 1], rtol=1e-15)
    assert_allclose(run.log_norm[..., 4], 0.5 * np.log(4 * GAUSS.a2 * 1e200), rtol=1e-10)
    one = dc.reduced_flow(GAUSS, 2, angle=2.0, norm=2.0, time=7.0)
    assert one.norm.shape == ()
    assert_allclose(one.norm, run.norm[1, 2, 0], rtol=1e-11)


def test_results_do_not_depend_on_threads_or_neighbours():
    s, norm = np.linspace(-2, 3, 17), np.geomspace(0.1, 3, 17)
    for n_layers in (1, 3):
        flows = [
            dc.reduced_flow(
                GAUSS, n_layers, log_tan_half_angle=s, norm=norm, time=[1.0, 9.0], n_threads=n
            )
            for n in (1, 4)
        ]
        alone = dc.reduced_flow(
            GAUSS, n_layers, log_tan_half_angle=s[5], norm=norm[5], time=[1.0, 9.0]
        )
        assert_array_equal(flows[0].log_norm, flows[1].log_norm)
        assert_array_equal(flows[0].log_norm[5], alone.log_norm)
        assert_array_equal(flows[0].turning_point().time[5], alone.turning_point().time)


def test_angle_zero():
    for n_layers in (1, 2, 4):
        run = dc.reduced_flow(GAUSS, n_layers, angle=0.0, norm=0.5, time=[0.0, 3.0, 40.0])

        def velocity(_, r, n=n_layers):
            return n * r ** (2 - 2 / n) * GAUSS.h(r)

        r = solve_ivp(
            velocity, (0, 40), [0.5], "DOP853", t_eval=[0, 3, 40], rtol=1e-12, atol=1e-13
        ).y[0]
        assert_allclose(run.norm, r, rtol=1e-9)
        assert_array_equal(run.log_tan_half_angle, -np.inf)
        assert_array_equal(run.angle, 0)
        assert run.turning_point().time == 0


def test_angle_pi():
    times = [0.0, 0.7, 40.0, 1e4]
    one = dc.reduced_flow(GAUSS, 1, angle=np.pi, norm=0.9, time=times)
    assert_array_equal(one.log_tan_half_angle, [np.inf, np.inf, -np.inf, -np.inf])
    passage = dc.passage_time(GAUSS, norm=0.9)
    turn = one.turning_point()
    assert_allclose(turn.time, passage, rtol=1e-13)
    assert turn.norm == 0
    # From there on as from zero
    later = dc.reduced_flow(GAUSS, 1, angle=1.0, norm=0.0, time=np.array([40.0, 1e4]) - passage)
    assert_allclose(one.norm[2:], later.norm, rtol=1e-11)
    assert_array_equal(later.angle, 0)
    for n_layers in (2, 3, 5):
        run = dc.reduced_flow(GAUSS, n_layers, angle=np.pi, norm=0.9, time=times)
        assert_array_equal(run.log_tan_half_angle, np.inf)
        assert_array_equal(run.test_error, 1)
        assert run.turning_point().time == np.inf
        assert run.turning_point().norm == 0
        assert run.log_norm[-1] < -10


def test_a_single_layer_passes_close_to_zero():
    # It misses zero by e^-60 and is then almost aligned; continuous in the start
    run = dc.reduced_flow(GAUSS, 1, log_tan_half_angle=60.0, norm=0.9, time=[1.0, 30.0])
    through = dc.reduced_flow(GAUSS, 1, angle=np.pi, norm=0.9, time=[1.0, 30.0])
    assert_allclose(run.norm, through.norm, rtol=1e-11)
    # ln |w_perp| changes by minus the integral of q / r
    assert_allclose(run.log_tan_half_angle[0], 60, atol=1)
    assert_allclose(run.log_tan_half_angle[1], -65, atol=3)
    turn = run.turning_point()
    assert_allclose(turn.norm, 2 * 0.9 * np.exp(-60.0), rtol=0.5)
    assert abs(turn.log_tan_half_angle) < 1e-10


def test_far_below_the_range_of_floating_point():
    # At tiny angles s is a quadrature over the aligned norm, which does not see s
    for n_layers in (1, 3):
        near = dc.reduced_flow(GAUSS, n_layers, log_tan_half_angle=-30.0, norm=1.0, time=100.0)
        far = dc.reduced_flow(GAUSS, n_layers, log_tan_half_angle=-1e6, norm=1.0, time=100.0)
        change = near.log_tan_half_angle + 30
        assert_allclose(far.log_tan_half_angle + 1e6, change, rtol=2e-10)
        assert_allclose(far.norm, near.norm, rtol=1e-11)
        assert_array_equal([far.angle, far.one_minus_cos, far.test_error], 0)
        assert_allclose(far.loss, GAUSS.radial_loss(far.norm), rtol=1e-13)


def test_label_noise_leads_to_a_minimiser():
    times = [100.0, 1e12]
    for n_layers in (1, 2, 3):
        run = dc.reduced_flow(
            GAUSS, n_layers, angle=[2.0, 0.0], norm=[0.7, 30.0], time=times, label_noise=0.2
        )
        rest = run.norm[:, 1]
        assert_allclose(GAUSS.q(rest), 0.6 * GAUSS.kappa, rtol=1e-11)
        rate = 0.6 * GAUSS.kappa * rest[0] ** (1 - 2 / n_layers)
        assert_allclose(run.alignment_rate[0, 1], rate, rtol=1e-12)
        slope = np.diff(run.log_tan_half_angle[0]) / np.diff(times)
        assert_allclose(-slope, rate, rtol=1e-9)
        turn = run.turning_point()
        assert np.isfinite(turn.time[0])
        assert turn.time[1] == np.inf  # from above, for ever
        assert_allclose(turn.norm[1], rest[1], rtol=1e-9)


@settings(max_examples=30)
@given(
    n_layers=st.integers(1, 6),
    s=st.floats(-3, 4),
    r=st.floats(0.05, 5),
    law=st.sampled_from([GAUSS, CIRCLE, RadialMixture(2, [0.3, 2.0])]),
)
def test_monotone_quantities(n_layers, s, r, law):
    run = dc.reduced_flow(law, n_layers, log_tan_half_angle=s, norm=r, time=np.linspace(0, 30, 301))
    at = {"log_tan_half_angle": run.log_tan_half_angle, "norm": run.norm}
    assert np.all(np.diff(run.log_tan_half_angle) < 0)
    assert np.all(np.diff(run.loss) < 1e-12)
    assert np.all(np.diff(dc.log_lyapunov(n_layers, **at)) > -1e-10)
    assert np.all(np.diff(dc.log_small_norm_invariant(n_layers, **at)) < 1e-10)
    # Descent, then ascent; and never below the bound that the start gives
    growing = np.diff(run.log_norm) > 1e-11
    shrinking = np.diff(run.log_norm) < -1e-11
    assert not np.any(np.maximum.accumulate(growing) & shrinking)
    assert np.all(run.log_norm > dc.log_lyapunov(n_layers, log_tan_half_angle=s, norm=r) - 1e-10)
    turn = run.turning_point()
    assert np.all(run.norm >= turn.norm * (1 - 1e-10))
    assert_array_equal(run.is_shrinking[run.time < turn.time - 1e-6], True)
    assert_array_equal(run.is_shrinking[run.time > turn.time + 1e-6], False)
    # Velocities are differences
    assert_allclose(run.alignment_rate[0], law.kappa * r ** (1 - 2 / n_layers), rtol=1e-12)
    below = run.angle < dc.nullcline(law, norm=run.norm)
    assert_array_equal(below, ~run.is_shrinking)


@settings(max_examples=30)
@given(
    s=st.floats(-4, 4),
    r=st.floats(0.05, 5),
    eta=st.floats(0.05, 12),
    noise=st.sampled_from([0.0, 0.15]),
    law=st.sampled_from([GAUSS, CIRCLE, Sphere(5, 3.0)]),
)
def test_descent_of_one_layer_equals_that_of_vectors(s, r, eta, noise, law):
    # Large steps overshoot: the vector goes to the other side of the axis, and the angle is its size
    path = descend(law, vector(s, r), lambda *_: eta, 8, noise)
    run = dc.reduced_descent(
        law,
        1,
        log_tan_half_angle=s,
        norm=r,
        step_size=eta,
        steps=np.arange(9),
        label_noise=noise,
    )
    found = run.norm[:, None] * np.stack([np.cos(run.angle), np.sin(run.angle)], -1)
    expected = np.stack([path[:, 0], np.abs(path[:, 1])], -1)
    assert_allclose(found, expected, atol=1e-9 * (1 + eta) * (1 + r))
    assert_allclose(run.time, eta * np.arange(9), rtol=1e-14)


def rule_step(rule, law, n, r, one_minus_cos):
    """Return a step size by its definition."""
    if not isinstance(rule, StepRule):
        return rule
    a, q = float(rule.scale), float(law.q(r))
    return {
        "power": lambda: a * (n + 1) ** float(rule.exponent),
        "geometric": lambda: a * float(rule.exponent) ** n,
        "loss_normalized": lambda: a / (law.radial_loss(r) + law.kappa * r * one_minus_cos),
        "norm_proportional": lambda: a * r,
        "gradient_normalized": lambda: (
            a / np.sqrt((law.kappa - q) ** 2 + 2 * law.kappa * q * one_minus_cos)
        ),
    }[rule.kind]()


RULES = [
    0.3,
    StepRule.power(0.3, 0.5),
    StepRule.geometric(0.2, 1.1),
    StepRule.loss_normalized(0.1),
    StepRule.norm_proportional(0.2),
    StepRule.gradient_normalized(0.05),
]


@crossed(("rule", RULES), ("n_layers", [1, 2, 3, 4]), n=10)
def test_step_rules_and_deep_descent_equal_matrices(rule, n_layers):
    # Whole matrices: widths 3, 2, 4, ..., balanced of rank one
    law = Gaussian(3)
    v = np.array([0.0, 0.6, 0.8])
    w = np.array([0.9, -0.5, -0.3])
    rng = np.random.default_rng(n_layers)
    widths = [3, *rng.integers(2, 5, n_layers - 1), 1]
    units = [w / np.linalg.norm(w)]
    units += [(x := rng.standard_normal(k)) / np.linalg.norm(x) for k in widths[1:-1]] + [
        np.ones(1)
    ]
    r = np.linalg.norm(w)
    weights = [r ** (1 / n_layers) * np.outer(units[j + 1], units[j]) for j in range(n_layers)]
    n_steps, time, norms, angles, times = 25, 0.0, [], [], []
    for n in range(n_steps + 1):
        end = np.linalg.multi_dot([*weights[::-1], np.eye(3), np.eye(3)])[0]
        r = np.linalg.norm(end)
        unit = end / r
        norms.append(r)
        times.append(time)
        angles.append(2 * np.arctan2(np.linalg.norm(unit - v), np.linalg.norm(unit + v)))
        eta = rule_step(rule, law, n, r, np.linalg.norm(unit - v) ** 2 / 2)
        g = (law.q(r) * unit - law.kappa * v)[None]
        after = [
            np.linalg.multi_dot([*weights[:j:-1], np.eye(widths[j + 1]), np.eye(widths[j + 1])])
            if j + 1 < n_layers
            else np.eye(1)
            for j in range(n_layers)
        ]
        before = [
            np.linalg.multi_dot([*weights[:j][::-1], np.eye(3), np.eye(3)]) if j else np.eye(3)
            for j in range(n_layers)
        ]
        weights = [m - eta * a.T @ g @ b.T for m, a, b in zip(weights, after, before, strict=True)]
        time += eta
    run = dc.reduced_descent(
        law, n_layers, angle=angles[0], norm=norms[0], step_size=rule, steps=np.arange(n_steps + 1)
    )
    assert_allclose(run.norm, norms, rtol=1e-10)
    assert_allclose(run.angle, angles, rtol=1e-9, atol=1e-14)
    assert_allclose(run.time, times, rtol=1e-10)
    turn = run.turning_point()
    grows = np.diff(norms) >= 0
    if not grows.any():
        assert turn.step == -1
        return
    first = int(np.argmax(grows))
    assert turn.step == first
    assert_allclose([turn.time, turn.norm], [times[first], norms[first]], rtol=1e-10, atol=1e-14)
    assert_allclose(turn.log_tan_half_angle, np.log(np.tan(angles[first] / 2)), atol=1e-9)


def exact_q(r):
    """Return q of the sphere in three dimensions, where x_1 is uniform, at the working precision."""
    area = mpmath.pi**2 / 12 + mpmath.polylog(2, -mpmath.exp(-r))
    return mpf(1) / 4 - area / r**2 + mpmath.log1p(mpmath.exp(-r)) / r


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("s", [1.0, -800.0])
def test_descent_far_below_the_range_of_floating_point(n_layers, s):
    law, n_steps, step = Sphere(3), 120, {1: 8.0, 2: 2.0, 3: 0.7}[n_layers]
    with mpmath.workdps(30):
        cosh = mpmath.cosh(mpf(s))
        a = mpf(2) ** (mpf(1) / n_layers)
        x, y, eta, quarter = -a * mpmath.tanh(mpf(s)), a / cosh, mpf(step), mpf(1) / 4
        for _ in range(n_steps):
            length = mpmath.sqrt(x * x + y * y)
            others = a ** (n_layers - 1) if n_layers > 1 else mpf(1)
            q = exact_q(others * length)
            inner = quarter * x - q * length
            keep = 1 - eta * others * q / length
            x, y = keep * x + eta * others * quarter, abs(keep * y)
            if n_layers > 1:
                a += eta * a ** (n_layers - 2) * inner
        length = mpmath.sqrt(x * x + y * y)
        exact_s = mpmath.log(y / (length + x)) if x > 0 else mpmath.log((length - x) / y)
        exact_r = length * (a ** (n_layers - 1) if n_layers > 1 else 1)
        exact_s, exact_r = float(exact_s), float(exact_r)
    run = dc.reduced_descent(
        law, n_layers, log_tan_half_angle=s, norm=2.0, step_size=step, steps=n_steps
    )
    assert_allclose(run.norm, exact_r, rtol=1e-12)
    assert abs(run.log_tan_half_angle - exact_s) < 1e-10
    assert exact_s < s - 20


def test_long_descent_stays_relatively_accurate():
    # The angle is a product of factors; its logarithm here is a compensated sum of theirs
    law, eta, n = GAUSS, 2.0, 20_000
    run = dc.reduced_descent(law, 1, angle=1.5, norm=1.0, step_size=eta, steps=[n])
    x, y, log_y, lost = np.cos(1.5), np.sin(1.5), np.log(np.sin(1.5)), 0.0
    for _ in range(n):
        r = np.hypot(x, y)
        keep = 1 - eta * float(law.q(r)) / r
        x = x * keep + eta * law.kappa
        change = np.log(keep) - lost
        lost = (log_y + change - log_y) - change
        log_y, y = log_y + change, np.exp(log_y + change)
    assert log_y < -500
    assert_allclose(run.log_tan_half_angle[0], log_y - np.log(2 * x), rtol=0, atol=1e-10)
    assert_allclose(run.norm[0], x, rtol=1e-12)


def test_alignment_in_one_step():
    run = dc.reduced_descent(
        GAUSS, 1, angle=[2.0, 3.0], norm=[0.5, 4.0], step_size=StepRule.alignment(), steps=[0, 1]
    )
    assert_array_equal(run.log_tan_half_angle[:, 1], -np.inf)
    eta = run.norm[:, 0] / GAUSS.q(run.norm[:, 0])
    assert_allclose(run.time[:, 1], eta, rtol=1e-14)
    assert_allclose(run.norm[:, 1], eta * GAUSS.kappa, rtol=1e-14)
    with pytest.raises(ValueError, match="another rule with more than one layer"):
        dc.reduced_descent(GAUSS, 2, angle=2.0, norm=1.0, step_size=StepRule.alignment(), steps=[0])


def test_descent_from_the_ends_and_from_zero():
    steps = [0, 1, 2, 50]
    aligned = dc.reduced_descent(GAUSS, 3, angle=0.0, norm=1.0, step_size=0.1, steps=steps)
    assert_array_equal(aligned.log_tan_half_angle, -np.inf)
    assert np.all(np.diff(aligned.norm) > 0)
    opposed = dc.reduced_descent(GAUSS, 1, angle=np.pi, norm=1.0, step_size=1.0, steps=steps)
    assert_array_equal(opposed.log_tan_half_angle, [np.inf, np.inf, -np.inf, -np.inf])
    assert opposed.turning_point().step in (1, 2)
    stays = dc.reduced_descent(GAUSS, 3, angle=np.pi, norm=1.0, step_size=0.1, steps=[50, 5000])
    assert_array_equal(stays.log_tan_half_angle, np.inf)
    assert stays.norm[1] < 1e-4
    assert stays.turning_point().step == -1
    zero = dc.reduced_descent(GAUSS, 1, angle=1.0, norm=0.0, step_size=1.0, steps=steps)
    assert_allclose(zero.norm[:2], [0, GAUSS.kappa], rtol=1e-15)
    assert_array_equal(zero.angle, 0)


def test_small_steps_follow_the_flow():
    for n_layers in (1, 2, 4):
        flow = dc.reduced_flow(CIRCLE, n_layers, **FIGURE, time=10.0)
        errors = []
        for n in (2000, 4000):
            run = dc.reduced_descent(CIRCLE, n_layers, **FIGURE, step_size=10 / n, steps=n)
            errors.append(run.log_tan_half_angle - flow.log_tan_half_angle)
            assert_allclose(run.norm, flow.norm, rtol=0.02)
        assert_allclose(errors[0] / errors[1], 2, rtol=0.05)  # first order


def test_broadcasting_of_descent():
    run = dc.reduced_descent(
        GAUSS,
        2,
        angle=[[1.0], [2.0]],
        norm=1.0,
        step_size=StepRule.power([0.1, 0.2, 0.3], 0.25),
        steps=[3, 0, 9, 3],
        label_noise=[0.0, 0.1, 0.2],
    )
    assert run.norm.shape == run.time.shape == run.loss.shape == (2, 3, 4)
    assert_array_equal(run.norm[..., 0], run.norm[..., 3])
    assert run.turning_point().step.shape == (2, 3)
    one = dc.reduced_descent(
        GAUSS,
        2,
        angle=2.0,
        norm=1.0,
        step_size=StepRule.power(0.3, 0.25),
        steps=9,
        label_noise=0.2,
    )
    assert_array_equal(one.norm, run.norm[1, 2, 2])
    assert repr(one) == (
        "<ReducedTrajectory of descent: Gaussian(dim=3, scale=1.0), n_layers=2, shape=()>"
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"angle": None},
            TypeError,
            "angle or log_tan_half_angle must be given, one of them, got neither",
        ),
        ({"log_tan_half_angle": 1.0}, TypeError, "must be given, one of them, got both"),
        ({"angle": 3.2}, ValueError, "angle must be <= pi"),
        ({"angle": -0.1}, ValueError, "angle must be >= 0"),
        (
            {"angle": None, "log_tan_half_angle": np.nan},
            ValueError,
            "log_tan_half_angle must be a number",
        ),
        ({"norm": 0.0}, ValueError, "norm must be > 0 with two and more layers, which rest at 0"),
        ({"norm": -1.0}, ValueError, "norm must be >= 0"),
        ({"time": [[1.0]]}, ValueError, r"time must have shape \(n_times,\)"),
        ({"time": -1.0}, ValueError, "time must be >= 0"),
        ({"rtol": 1e-14}, ValueError, "rtol must be >= 1e-13"),
        ({"rtol": 0.1}, ValueError, "rtol must be <= 0.01"),
        ({"label_noise": 0.5}, ValueError, "label_noise must be < 1/2"),
        ({"norm": [1.0, 2.0], "angle": [1.0, 2.0, 3.0]}, ValueError, "run axes must broadcast"),
        ({"n_layers": 0}, ValueError, "n_layers must be >= 1"),
        ({"law": "gauss"}, TypeError, "law must be a SphericalLaw"),
        ({"n_threads": 0}, ValueError, "n_threads must be >= 1"),
    ],
)
def test_bad_arguments(changes, error, message):
    arguments = {"law": GAUSS, "n_layers": 2, "angle": 1.0, "norm": 1.0, "time": 1.0, **changes}
    with pytest.raises(error, match=message):
        dc.reduced_flow(**arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 1.0}, TypeError, "steps must be integers"),
        ({"steps": [-1]}, ValueError, "steps must be >= 0"),
        ({"steps": [[1]]}, ValueError, r"steps must have shape \(n_steps,\)"),
        ({"step_size": 0.0}, ValueError, "step_size must be > 0"),
        ({"step_size": [1.0, 2.0], "norm": [1.0, 2.0, 3.0]}, ValueError, "run axes must broadcast"),
    ],
)
def test_bad_arguments_of_descent(changes, error, message):
    arguments = {"angle": 1.0, "norm": 1.0, "steps": 1, "step_size": 0.1, **changes}
    with pytest.raises(error, match=message):
        dc.reduced_descent(GAUSS, 1, **arguments)
