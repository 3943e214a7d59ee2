"""Finite samples: margins against cvxpy, floors and crossovers against training and Monte Carlo."""

from __future__ import annotations

import tracemalloc

import cvxpy as cp
import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.special import expit, logsumexp

from linnet_fast.directional_convergence import (
    convergence_table,
    crossover,
    expected_max_margin,
    expected_max_margin_angle,
    margin_law,
    max_margin,
    normalized_margin,
    sampling_floor,
    sgd_floor,
)
from linnet_fast.laws import Ball, Gaussian, Sphere


def labelled(law, n, rng):
    """Samples labelled by the first coordinate."""
    x = law.sample(n, rng)
    return x, np.sign(x[:, 0])


def by_cvxpy(x, y):
    """Direction and margin of the least norm with all margins at least 1."""
    w = cp.Variable(x.shape[1])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(w)), [cp.multiply(y, x @ w) >= 1])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    size = np.linalg.norm(w.value)
    return w.value / size, 1 / size


# Max margin


@pytest.mark.parametrize(("dim", "n"), [(2, 30), (3, 100), (10, 40), (30, 20), (5, 1500)])
def test_max_margin_is_that_of_a_convex_solver(dim, n):
    x, y = labelled(Gaussian(dim), n, dim)
    best = max_margin(x, y)
    direction, margin = by_cvxpy(x, y)
    assert_allclose(best.direction, direction, atol=2e-6)
    assert_allclose(best.margin, margin, rtol=1e-6)
    assert best.margin >= margin * (1 - 1e-9)


@pytest.mark.parametrize(("dim", "n"), [(2, 7), (4, 50), (20, 500), (3, 30_000)])
def test_max_margin_meets_its_conditions(dim, n):
    x, y = labelled(Gaussian(dim), n, 5)
    best = max_margin(x, y)
    margins = (y[:, None] * x) @ best.direction
    assert_allclose(np.linalg.norm(best.direction), 1)
    assert best.margin > 0
    assert_allclose(margins.min(), best.margin, rtol=1e-12)
    assert best.coefficients.min() >= 0
    assert_allclose(best.coefficients.sum(), 1)
    # What proves that no direction does better: a mean of samples of length margin.
    mean = best.coefficients @ (y[:, None] * x)
    assert_allclose(mean, best.margin * best.direction, atol=1e-9)
    assert_allclose(margins[best.support], best.margin, rtol=2e-7)
    assert set(np.flatnonzero(best.coefficients)) <= set(best.support)
    assert_allclose(best.margin, normalized_margin(best.direction, x, y), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_max_margin_does_not_depend_on_scale(scale):
    x, y = labelled(Sphere(3), 60, 1)
    one, other = max_margin(x, y), max_margin(scale * x, y)
    assert_allclose(other.direction, one.direction, atol=1e-12)
    assert_allclose(other.margin, scale * one.margin, rtol=1e-10)
    assert_array_equal(other.support, one.support)


def test_small_margins_keep_their_digits():
    for gap in (1e-3, 1e-6, 1e-9):
        # Between two samples on either side of the first axis the best direction is that axis.
        best = max_margin([[gap, 1.0], [gap, -1.0], [5.0, 0.3]], [1, 1, 1])
        assert_allclose(best.margin, gap, rtol=1e-6)
        assert_allclose(best.direction, [1, 0], atol=1e-12)


def test_batches_of_max_margins():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 25, 4))
    y = np.sign(x[..., 0])
    many = max_margin(x, y)
    assert many.direction.shape == (2, 3, 4)
    assert many.margin.shape == (2, 3)
    for run in np.ndindex(2, 3):
        one = max_margin(x[run], y[run])
        assert_array_equal(many.direction[run], one.direction)
        assert_array_equal(many.support[run][many.support[run] >= 0], one.support)
    shared = max_margin(x[0, 0], np.stack([y[0, 0], -y[0, 0]]))
    assert_allclose(shared.direction[1], -shared.direction[0])
    assert repr(many) == "MaxMargin(n_inputs=4, n_samples=25, run_shape=(2, 3))"


@pytest.mark.parametrize("n", [50, 3000])
def test_samples_that_are_not_separable_are_refused(n):
    rng = np.random.default_rng(2)
    x, y = labelled(Gaussian(3), n, rng)
    y[n // 2 :] *= rng.choice([-1, 1], n - n // 2)
    with pytest.raises(ValueError, match="must be separable by a direction, got a largest margin"):
        max_margin(x, y)
    clean = np.sign(x[:, 0])
    with pytest.raises(ValueError, match=r"X and y of run \(1,\) must be separable"):
        max_margin(x, np.stack([clean, y]))
    with pytest.raises(ValueError, match="got a largest margin of 0"):
        max_margin([[1.0, 0.0], [0.0, 0.0]], [1, 1])


def test_normalized_margins():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((7, 3)), rng.standard_normal((4, 5, 3))
    y = np.sign(x[:, 1])
    expected = [[min(y * (x @ v)) / np.linalg.norm(v) for v in row] for row in w]
    assert_allclose(normalized_margin(w, x, y), expected)
    assert_allclose(normalized_margin(1e3 * w, x, y), expected)
    assert_allclose(normalized_margin(-w, x, -y), expected)


def test_messages():
    x, y = np.ones((3, 2)), np.ones(3)
    with pytest.raises(
        ValueError,
        match=r"y must be made of labels 1 and -1 \(2 \* y - 1 of labels 0 and 1\), got 0",
    ):
        max_margin(x, [1, 0, 1])
    with pytest.raises(
        ValueError, match=r"y must have shape \(\*run, 3\), one label per row of X, got \(4,\)"
    ):
        max_margin(x, np.ones(4))
    with pytest.raises(ValueError, match=r"X must have shape \(\*run, n, in\), got \(3,\)"):
        max_margin(y, y)
    with pytest.raises(ValueError, match="weights must be vectors other than 0"):
        normalized_margin([0.0, 0.0], x, y)
    with pytest.raises(ValueError, match=r"weights must have shape \(\*run, 2\), got \(3,\)"):
        normalized_margin([0.0, 0.0, 1.0], x, y)
    with pytest.raises(TypeError, match="n_samples or margin must be given, got both"):
        crossover(Sphere(2), n_samples=10, margin=0.1)
    with pytest.raises(TypeError, match="n_samples or margin must be given, got neither"):
        crossover(Sphere(2))
    with pytest.raises(TypeError, match="law must be a SphericalLaw, got str"):
        sampling_floor("circle", n_samples=10, norm=1.0)


# Margins of random samples


def test_margin_and_angle_on_the_circle():
    n, reps = 100, 1500
    x = Sphere(2).sample(n * reps, 7).reshape(reps, n, 2)
    best = max_margin(x, np.sign(x[..., 0]))
    angle = np.abs(np.arctan2(best.direction[:, 1], best.direction[:, 0]))
    for values, expected in (
        (best.margin, expected_max_margin(Sphere(2), n_samples=n)),
        (angle, expected_max_margin_angle(n_samples=n)),
    ):
        error = values.std() / np.sqrt(reps)
        assert abs(values.mean() - expected) < 4 * error + expected / n
    assert expected_max_margin(Sphere(2), n_samples=n) == pytest.approx(np.pi / n)
    assert expected_max_margin_angle(n_samples=n) == pytest.approx(np.pi / (2 * n))


@pytest.mark.parametrize("law", [Gaussian(2), Gaussian(5), Gaussian(10), Sphere(4, 3.0), Ball(3)])
def test_margins_elsewhere_are_within_thirty_percent(law):
    n, reps = 400, 60
    x = law.sample(n * reps, 11).reshape(reps, n, law.dim)
    margin = max_margin(x, np.sign(x[..., 0])).margin.mean()
    assert 0.7 < margin / expected_max_margin(law, n_samples=n) < 1.3


# Floors


@pytest.mark.parametrize("law", [Sphere(2), Gaussian(2), Gaussian(4, 0.5), Ball(3, 2.0)], ids=repr)
def test_sampling_floor_is_the_spread_of_the_gradient(law):
    # Across w = r v the mean over n samples of the gradient, over kappa, is the angle where the
    # pull of the population balances it.
    r = 60 / np.sqrt(law.m2)
    x = law.sample(400_000, 3)
    across = x[:, 1:] * expit(-r * np.abs(x[:, :1]))
    square = np.sum(across**2, axis=-1)
    n = 1000
    measured = square.mean() / (n * law.kappa**2)
    error = square.std() / np.sqrt(len(x)) / (n * law.kappa**2)
    expected = sampling_floor(law, n_samples=n, norm=r) ** 2
    assert abs(measured - expected) < 4 * error + 0.01 * expected
    assert error < 0.03 * expected


def test_sampling_floor_of_trained_weights():
    n, runs, angles = 400, 120, []
    rng = np.random.default_rng(5)
    r = 25.0
    for _ in range(runs):
        x, y = labelled(Sphere(2), n, rng)
        z = y[:, None] * x
        # The stationary direction at this norm: the gradient has no part across w.
        turn = np.linspace(-0.15, 0.15, 1201)
        w = r * np.stack([np.cos(turn), np.sin(turn)])
        side = np.stack([-np.sin(turn), np.cos(turn)])
        pull = np.einsum("ni,ik,nk->k", z, side, expit(-z @ w))
        crossing = np.flatnonzero((pull[:-1] > 0) & (pull[1:] <= 0))
        angles.append(turn[crossing[0]])
    ratio = np.mean(np.square(angles)) / sampling_floor(Sphere(2), n_samples=n, norm=r) ** 2
    assert abs(ratio - 1) < 4 * np.sqrt(2 / runs)  # a square of a Gaussian varies by sqrt(2)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_sgd_floor_of_noisy_steps(n_layers):
    # Many runs of one noisy step after another, in the plane, at a norm held fixed: balanced
    # layers move the direction by step_size r^(1 - 2 / N) times the gradient across, of n samples.
    law, batch, r, runs = Sphere(2), 4, 8.0, 4000
    eta = 0.2 if n_layers == 1 else 0.05  # slow enough for one step, quick enough to settle
    rng = np.random.default_rng(9)
    theta = np.zeros(runs)
    pace = eta * r ** (1 - 2 / n_layers)
    kept = []
    for step in range(1000):
        u = rng.uniform(0, 2 * np.pi, (batch, runs))
        y = np.sign(np.cos(u))
        z = y * r * np.cos(u - theta)
        theta = theta + pace * np.mean(y * np.sin(u - theta) * expit(-z), axis=0)
        if step % 100 == 99 and step > 400:
            kept.append(np.mean(theta**2))
    expected = sgd_floor(law, n_layers, step_size=eta, batch_size=batch, norm=r) ** 2
    error = np.sqrt(2 / (runs * len(kept)))
    assert 1 - 4 * error < np.mean(kept) / expected < 1.08 + 4 * error


def test_floors_broadcast_and_scale():
    law = Gaussian(3)
    assert sampling_floor(law, n_samples=[[10], [1000]], norm=np.ones(3)).shape == (2, 3)
    assert_allclose(
        sampling_floor(law, n_samples=100, norm=1.0)
        / sampling_floor(law, n_samples=100, norm=[4.0, 16.0]),
        [2, 4],
    )
    floor = sgd_floor(law, 2, step_size=[0.1, 0.4], batch_size=[[1.0], [4.0]], norm=1.0)
    assert_allclose(floor / floor[0, 0], [[1, 2], [0.5, 1]])
    # In the paper's figure it cannot be seen.
    assert_allclose(
        sgd_floor(Sphere(2), 1, step_size=1e-3, batch_size=1000, norm=2.0), 4.4e-4 / 2, rtol=5e-3
    )


# Late


def trained(z, until):
    """Gradient flow on samples in log time: rows ln t, ln loss, w at equal steps of its clock."""
    n, d = z.shape

    def terms(w):
        m = z @ w
        return np.where(m > 30, -m, np.log(np.log1p(np.exp(-np.maximum(m, -700))) + 1e-300)), m

    def velocity(_, state):
        logs, m = terms(state[:d])
        log_loss = logsumexp(logs) - np.log(n)
        p = np.exp(-np.logaddexp(0, m) - np.log(n) - log_loss)
        return np.append(z.T @ p, np.exp(-log_loss - state[d]))

    begin = np.append(np.full(d, 1e-3), -10.0)
    done = solve_ivp(
        velocity, (0, until), begin, "LSODA", rtol=1e-8, atol=1e-10,
        t_eval=np.linspace(0, until, 400),
    )  # fmt: skip
    assert done.success
    loss = np.array([logsumexp(terms(w)[0]) - np.log(n) for w in done.y[:d].T])
    return done.y[d], loss, done.y[:d].T


def test_late_norm_loss_and_angle_on_samples():
    x, y = labelled(Gaussian(2), 40, 4)
    z = y[:, None] * x
    best = max_margin(x, y)
    gamma = float(best.margin)
    log_t, log_loss, w = trained(z, 900 / gamma**2)
    assert log_t[-1] > 500
    late = margin_law(gamma)
    norm = np.linalg.norm(w, axis=-1)
    assert_allclose(norm[-1], late.norm(log_time=log_t[-1]), rtol=0.02)
    assert_allclose(log_loss[-1], late.log_loss(log_time=log_t[-1]), atol=2.0)  # constants of O(1)
    w = w / norm[:, None]
    u = best.direction
    angle = np.abs(w[:, 0] * u[1] - w[:, 1] * u[0])
    half = np.searchsorted(log_t, log_t[-1] / 2)
    # 1 / ln t: twice the logarithm of time, half the angle.
    assert_allclose(angle[half] / angle[-1], log_t[-1] / log_t[half], rtol=0.05)


def test_crossover_of_trained_samples():
    law = Sphere(2)
    for seed in range(4):
        x, y = labelled(law, 150, seed)
        gamma = float(max_margin(x, y).margin)
        log_t, _, w = trained(y[:, None] * x, 60 / gamma**2)
        norm = np.linalg.norm(w, axis=-1)
        with np.errstate(over="ignore"):
            below = norm < 0.8 * (3 * law.a2 * np.exp(log_t)) ** (1 / 3)
        late = (log_t > 5) & below
        where = crossover(law, margin=gamma)
        at = norm[np.argmax(late)]
        assert 0.75 < at / where.norm < 2  # more where the margin happens to be small
        assert -1 < log_t[np.argmax(late)] - np.log(where.time) < 2.5
        assert_allclose(where.norm * gamma, 4)
        assert_allclose(crossover(law, margin=gamma, level=2.0).norm * gamma, 2)
    assert_allclose(crossover(law, n_samples=150).norm, 4 * 150 / np.pi)


def test_late_loss_of_deeper_networks():
    # r' = N r^(2 - 2/N) gamma e^(-gamma r), the flow of a single sample; ln t as a function of r.
    gamma, n = 0.7, 3
    law = margin_law(gamma, n)

    def velocity(r, log_t):
        return np.exp(gamma * r - log_t) / (n * r ** (2 - 2 / n) * gamma)

    r = 850.0
    done = solve_ivp(velocity, (1, r), [0.0], "LSODA", rtol=1e-10, atol=1e-10)
    log_t = done.y[0, -1]
    assert log_t > 500
    assert_allclose(law.norm(log_time=log_t), r, rtol=0.04)
    assert_allclose(law.log_loss(log_time=log_t), -gamma * r, atol=0.1)
    assert_allclose(margin_law(gamma).log_loss(log_time=100.0), -100 - 2 * np.log(gamma))
    assert repr(law) == "MarginLaw(n_layers=3, run_shape=())"


# Ends of ranges, and of memory


def test_margins_of_any_size_are_those_of_many_digits():
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((7, 4)), rng.standard_normal(4)
    y = np.sign(x @ w)
    plain = normalized_margin(w, x, y)
    best = max_margin(x, y)
    for size in (1e-300, 1e-160, 1e160, 1e300):
        assert_allclose(normalized_margin(size * w, x, y), plain, rtol=1e-13)
        assert_allclose(normalized_margin(w, size * x, y), size * plain, rtol=1e-13)
        other = max_margin(size * x, y)
        assert_allclose(other.margin, size * best.margin, rtol=1e-11)
        assert_allclose(other.direction, best.direction, atol=1e-11)


def test_floors_and_laws_from_the_smallest_to_the_largest_numbers():
    law = Gaussian(3)
    for n in (1e-300, 1e300):
        with mp.workdps(30):
            variance = (
                mp.mpf(float(law.m_perp)) * mp.mpf(float(law.f0)) * (mp.log(2) - mp.mpf(1) / 2)
            )
            kappa, big = mp.mpf(float(law.kappa)), mp.mpf(n)
            floor = mp.sqrt(variance / (big * big)) / kappa
            noise = mp.sqrt(big * variance / (2 * kappa * big)) / big
        assert_allclose(sampling_floor(law, n_samples=n, norm=n), float(floor), rtol=1e-13)
        got = sgd_floor(law, 1, step_size=n, batch_size=n, norm=n)
        assert_allclose(got, float(noise), rtol=1e-13)
        assert_allclose(expected_max_margin_angle(n_samples=n), float(mp.pi / 2 / big), rtol=1e-14)
        late = margin_law(n, 3)
        log_loss = -2 - 2 * np.log(n) - 4 / 3 * (np.log(2) - np.log(n)) - np.log(3)
        assert_allclose(late.log_loss(log_time=2.0), log_loss, rtol=1e-13)
    assert_allclose(expected_max_margin_angle(n_samples=1.5e308), np.pi / 2 / 1.5e308)
    assert crossover(law, margin=1e-310).norm == np.inf
    assert crossover(law, margin=1e-200).time == np.inf
    with pytest.raises(TypeError, match=r"^level must be"):
        crossover(law, margin=1.0, level=[1.0, 2.0])


def test_memory_is_in_proportion_to_the_dimension():
    d = 3000
    law = Gaussian(d)
    x = np.random.default_rng(0).standard_normal((3, d))
    table = {"angle": 2.5, "norm": 1.0, "n_samples": 3, "batch_size": 2, "step_size": 0.1}
    for work in (
        lambda: max_margin(x, [1, 1, 1]),
        lambda: convergence_table(law, **table, time=[0.0, 1.0], n_sets=1, rng=0, n_threads=1),
    ):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200 * 8 * d  # an array of d times d has 3000 times 8 d
