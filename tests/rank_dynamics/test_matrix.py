"""Closed forms of end-to-end matrices, against SciPy's integrator, matrix exponentials and loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.stats import ortho_group

import linnet_fast as lf
from linnet_fast.rank_dynamics.data import NonCommutingError
from linnet_fast.rank_dynamics.matrix import (
    aligned_flow,
    isotropic_flow,
    one_layer_descent,
    one_layer_flow,
    one_layer_limit,
)


def data(n, n_in, n_out, seed=0):
    rng = np.random.default_rng([seed, n, n_in, n_out])
    x = rng.standard_normal((n, n_in)) * np.geomspace(1, 0.1, n_in)
    return x, rng.standard_normal((n, n_out))


def gradient_flow(loss, start, t, tolerance=1e-13):
    """Return the weights at time t, by SciPy."""
    shapes = [w.shape for w in start]
    cuts = np.cumsum([w.size for w in start])[:-1]

    def slope(_, flat):
        layers = [p.reshape(s) for p, s in zip(np.split(flat, cuts), shapes, strict=True)]
        product = np.linalg.multi_dot(layers[::-1]) if len(layers) > 1 else layers[0]
        r = product @ loss.input_cov - loss.cross_cov
        if len(layers) == 1:
            return -r.ravel()
        return -np.concatenate([(layers[1].T @ r).ravel(), (r @ layers[0].T).ravel()])

    flat = np.concatenate([w.ravel() for w in start])
    end = solve_ivp(slope, (0, t), flat, "DOP853", rtol=tolerance, atol=tolerance).y[:, -1]
    return [p.reshape(s) for p, s in zip(np.split(end, cuts), shapes, strict=True)]


@pytest.mark.parametrize(("n", "n_in", "n_out"), [(30, 4, 3), (3, 5, 2), (20, 1, 1), (20, 6, 1)])
def test_one_layer_flow(n, n_in, n_out):
    # n < n_in leaves directions that the data do not show.
    loss = lf.SquaredLoss.from_data(*data(n, n_in, n_out))
    start = np.random.default_rng(1).standard_normal((n_out, n_in))
    times = np.array([0.0, 0.3, 2.0, 40.0])
    path = one_layer_flow(loss, start, time=times)
    for t, product in zip(times, path, strict=True):
        expected = gradient_flow(loss, [start], t)[0] if t > 0 else start
        assert_allclose(product, expected, atol=5e-12)
    assert_array_equal(one_layer_flow(loss, start, time=2.0), path[2])


@pytest.mark.parametrize("top", [0.3, 1.0, 1.7, 2.0])
def test_one_layer_descent(top):
    # The largest eigenvalue times the step size below, at and above 1.
    x, y = data(4, 5, 3)
    loss = lf.SquaredLoss.from_data(x, y)
    eta = top / np.linalg.eigvalsh(loss.input_cov)[-1]
    start = np.random.default_rng(1).standard_normal((3, 5))
    path = one_layer_descent(loss, start, step_size=eta, steps=[0, 1, 2, 57])
    product = start
    for step in range(58):
        if step in (0, 1, 2, 57):
            expected = path[[0, 1, 2, 57].index(step)]
            assert_allclose(expected, product, atol=1e-13 * max(step, 1))
        product = product - eta * (product @ loss.input_cov - loss.cross_cov)


def test_one_layer_descent_of_exact_eigenvalues():
    loss = lf.SquaredLoss(np.diag([1.0, 2.0, 3.0, 0.0]), [[1.0, 1.0, 1.0, 0.0]], 3.0)
    path = one_layer_descent(loss, [[2.0, 2.0, 2.0, 2.0]], step_size=0.5, steps=[0, 1, 3])
    assert_array_equal(path[1], [[1.5, 0.5, -0.5, 2.0]])
    assert_allclose(path[2], [[1.125, 0.5, 1 / 3 - 5 / 24, 2.0]], rtol=1e-15)
    late = one_layer_descent(loss, np.zeros((1, 4)), step_size=1e-9, steps=3)
    assert_allclose(late, 3e-9 * loss.cross_cov, rtol=1e-8)


@pytest.mark.parametrize(("n", "n_in"), [(30, 4), (3, 5)])
def test_one_layer_limit_is_the_nearest_solution(n, n_in):
    x, y = data(n, n_in, 2)
    loss = lf.SquaredLoss.from_data(x, y)
    start = np.random.default_rng(1).standard_normal((2, n_in))
    expected = start + np.linalg.lstsq(x, y - x @ start.T)[0].T
    assert_allclose(one_layer_limit(loss, start), expected, atol=1e-11)
    assert_allclose(one_layer_flow(loss, start, time=1e9), expected, atol=1e-10)
    eta = 1.0 / np.linalg.eigvalsh(loss.input_cov)[-1]
    assert_allclose(
        one_layer_descent(loss, start, step_size=eta, steps=10**9), expected, atol=1e-10
    )


def test_one_layer_broadcasts_over_runs():
    x, y = data(30, 4, 3)
    cross = np.stack([y.T @ x / 30, 2 * y.T @ x / 30])
    loss = lf.SquaredLoss(x.T @ x / 30, cross, 1.0)
    start = np.random.default_rng(1).standard_normal((5, 1, 3, 4))
    eta = np.array([0.1, 0.2])
    flow = one_layer_flow(loss, start, time=[0.5, 1.0])
    descent = one_layer_descent(loss, start, step_size=eta, steps=[3, 4])
    assert flow.shape == descent.shape == (5, 2, 2, 3, 4)
    one = lf.SquaredLoss(x.T @ x / 30, cross[1], 1.0)
    assert_allclose(flow[3, 1], one_layer_flow(one, start[3, 0], time=[0.5, 1.0]), atol=1e-15)
    assert_allclose(
        descent[3, 1], one_layer_descent(one, start[3, 0], step_size=0.2, steps=[3, 4]), atol=1e-15
    )
    assert one_layer_limit(loss, start).shape == (5, 2, 3, 4)


def commuting(sigma, lam, n_out, n_in, seed=0):
    u = ortho_group.rvs(n_out, random_state=seed) if n_out > 1 else np.eye(1)
    v = ortho_group.rvs(n_in, random_state=seed + 1) if n_in > 1 else np.eye(1)
    cross = np.zeros((n_out, n_in))
    np.fill_diagonal(cross, sigma)
    cov = (v * lam) @ v.T
    return lf.SquaredLoss((cov + cov.T) / 2, u @ cross @ v.T, 100.0), u, v


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize(("n_out", "n_in"), [(3, 4), (4, 3), (1, 3), (3, 1)])
def test_aligned_flow_is_what_training_does(n_layers, n_out, n_in):
    k = min(n_out, n_in)
    loss, _, _ = commuting([2.0, 1.2, 0.7][:k], np.array([1.0, 0.5, 2.0, 0.3])[:n_in], n_out, n_in)
    network = lf.Dense((n_in, *(5,) * (n_layers - 1), n_out))
    start = lf.initialization.aligned(network, loss, [0.01, 0.02, 0.05][:k], rng=0)
    times = [0.0, 0.7, 2.0, 6.0]
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientFlow(1e-12),
        until=6.0,
        record=lf.Record.at_times(times, observables=("product",)),
    )
    expected = aligned_flow(loss, strength=[0.01, 0.02, 0.05][:k], time=times, n_layers=n_layers)
    assert_allclose(run.product, expected, atol=1e-9)
    assert_array_equal(aligned_flow(loss, strength=0.01, time=0.7).shape, (n_out, n_in))


def test_aligned_flow_refuses_what_does_not_commute():
    loss = lf.SquaredLoss.from_data(*data(30, 4, 3))
    with pytest.raises(NonCommutingError, match=r"aligned_flow.*GradientFlow"):
        aligned_flow(loss, strength=0.1, time=1.0)


@pytest.mark.parametrize("kappa", [0.0, 0.3, -0.2])
@pytest.mark.parametrize(("n_in", "h", "n_out"), [(3, 3, 3), (4, 2, 3), (3, 2, 5)])
def test_isotropic_flow(kappa, n_in, h, n_out):
    rng = np.random.default_rng([n_in, h, n_out])
    cross = rng.standard_normal((n_out, n_in))
    loss = lf.SquaredLoss(1.7 * np.eye(n_in), cross, 10.0)
    # W_1 W_1^T = A + kappa I and W_2^T W_2 = A
    grams = rng.standard_normal((h, h))
    low = 0.1 * grams @ grams.T + max(-kappa, 0) * np.eye(h)
    q1 = np.linalg.qr(rng.standard_normal((n_in, h)))[0]
    q2 = np.linalg.qr(rng.standard_normal((n_out, h)))[0]
    w1 = np.linalg.cholesky(low + kappa * np.eye(h)) @ q1.T if kappa >= 0 else None
    if w1 is None:
        w1 = np.linalg.cholesky(low + kappa * np.eye(h) + 1e-15 * np.eye(h)) @ q1.T
    w2 = q2 @ np.linalg.cholesky(low).T
    times = [0.0, 0.2, 1.0, 5.0]
    flow = isotropic_flow(loss, (w1, w2), time=times)
    for index, t in enumerate(times):
        a, b = gradient_flow(loss, [w1, w2], t) if t > 0 else (w1, w2)
        assert_allclose(flow.product[index], b @ a, atol=5e-11)
        hidden = np.concatenate([a.T, b])
        assert_allclose(flow.gram[index], hidden @ hidden.T, atol=5e-11)
    single = isotropic_flow(loss, (w1, w2), time=1.0)
    assert_array_equal(single.product, flow.product[2])
    best = np.linalg.svd(cross / 1.7)
    truncated = (best[0][:, :h] * best[1][:h]) @ best[2][:h]
    assert_allclose(isotropic_flow(loss, (w1, w2), time=1e4).product, truncated, atol=1e-9)


def test_isotropic_flow_from_a_tiny_start_at_any_time():
    loss, u, v = commuting([1.0, 0.6, 0.3], [1.0] * 3, 3, 3)
    w1, w2 = 1e-7 * v.T, 1e-7 * u
    times = np.array([0.0, 5.0, 16.0, 20.0, 27.0, 60.0, 1e5])
    flow = isotropic_flow(loss, (w1, w2), time=times)
    assert_allclose(flow.product, aligned_flow(loss, strength=1e-14, time=times), atol=1e-11)


def test_isotropic_flow_broadcasts():
    loss = lf.SquaredLoss(np.eye(2), np.array([[[2.0, 1.0], [0.0, 1.0]], np.eye(2)]), 10.0)
    w = np.stack([s * np.eye(2) for s in (1e-3, 1e-2, 1e-1)])[:, None]
    flow = isotropic_flow(loss, (w, w), time=[1.0, 2.0])
    assert flow.product.shape == (3, 2, 2, 2, 2)
    one = isotropic_flow(lf.SquaredLoss(np.eye(2), np.eye(2), 10.0), (w[2, 0], w[2, 0]), time=2.0)
    assert_allclose(flow.product[2, 1, 1], one.product, atol=1e-14)


W = np.eye(2)
ISOTROPIC = lf.SquaredLoss(np.eye(2), np.eye(2), 2.0)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (
            lambda: isotropic_flow(lf.SquaredLoss(np.diag([1.0, 2.0]), W, 3.0), (W, W), time=1.0),
            ValueError,
            r"multiple of the identity.*aligned_flow .* GradientFlow",
        ),
        (
            lambda: isotropic_flow(ISOTROPIC, (np.diag([1.0, 2.0]), W), time=1.0),
            ValueError,
            "W_1 W_1.T - W_2.T W_2 = kappa I.* use GradientFlow",
        ),
        (
            lambda: isotropic_flow(ISOTROPIC, (W, W, W), time=1.0),
            ValueError,
            "must have two layers",
        ),
        (lambda: one_layer_flow(ISOTROPIC, W, time=-1.0), ValueError, "time must be >= 0"),
        (lambda: one_layer_flow(ISOTROPIC, W, time=[[1.0]]), ValueError, "time must be one number"),
        (lambda: one_layer_flow(ISOTROPIC, np.eye(3), time=1.0), ValueError, r"shape \(2, 2\)"),
        (
            lambda: one_layer_descent(ISOTROPIC, W, step_size=0.1, steps=1.5),
            TypeError,
            "steps must be integers",
        ),
        (
            lambda: one_layer_descent(ISOTROPIC, W, step_size=0.0, steps=1),
            ValueError,
            "step_size must be > 0",
        ),
        (
            lambda: aligned_flow(ISOTROPIC, strength=[1.0] * 3, time=1.0),
            ValueError,
            "at most 2 modes",
        ),
        (
            lambda: aligned_flow(ISOTROPIC, strength=-1.0, time=1.0),
            ValueError,
            "strength must be >= 0",
        ),
        (lambda: one_layer_limit(W, W), TypeError, "loss must be a SquaredLoss"),
    ],
)
def test_bad_arguments(call, exception, message):
    with pytest.raises(exception, match=message):
        call()


def test_what_rounding_leaves_where_moments_vanish_is_nothing():
    rng = np.random.default_rng(0)
    for scale in (1e-100, 1.0, 1e100):
        for _ in range(50):
            x = rng.standard_normal((5, 8)) * 10.0 ** rng.uniform(-10, 0, 8)
            of_data = lf.SquaredLoss.from_data(scale * x, scale * rng.standard_normal((5, 2)))
            assert np.isfinite(one_layer_limit(of_data, np.zeros((2, 8)))).all()


def test_ends_of_the_range_of_times_and_steps():
    whole = lf.SquaredLoss(np.ones((2, 2)), np.ones((2, 2)), 2.0)
    assert_allclose(one_layer_flow(whole, W, time=1e308), one_layer_limit(whole, W), atol=1e-15)
    assert_array_equal(isotropic_flow(ISOTROPIC, (W, W), time=1e308).product, W)
    steep = lf.SquaredLoss(np.diag([1e50, 0.0]), [[0.0, 0.0]], 2.0)
    product = one_layer_descent(steep, [[0.0, 1.0]], step_size=1.0, steps=[3, 2**53])
    assert_array_equal(product, [[[0.0, 1.0]]] * 2)  # nothing is kept of nothing
    with pytest.raises(ValueError, match="steps must be <= 9007199254740992"):
        one_layer_descent(steep, [[0.0, 1.0]], step_size=1.0, steps=2**60)
