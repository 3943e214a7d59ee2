"""Predictions against simulated flows and descents, limits, bounds and brute force."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import NonCommutingError, joint_decomposition
from linnet_fast.rank_dynamics.perturbation import perturbation_bound, perturbed_limit
from linnet_fast.rank_dynamics.predictions import (
    effective_strengths,
    greedy_path,
    predicted_times,
    sequential_limit,
    stage_resolvability,
)
from linnet_fast.rank_dynamics.regression import reduced_rank_regression, sigma_ordered_path
from linnet_fast.reference import gradients


def orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def modes_loss(sigma, lam, n_out, seed=0, off=0.0):
    """Moments with these numbers in random bases; `off` is added to the inner input_cov."""
    rng = np.random.default_rng(seed)
    left, right = orthogonal(n_out, rng), orthogonal(len(lam), rng)
    middle = np.zeros((n_out, len(lam)))
    np.fill_diagonal(middle, sigma)
    cov = right @ (np.diag(np.asarray(lam, float)) + off) @ right.T
    return SquaredLoss((cov + cov.T) / 2, left @ middle @ right.T, 60.0)


def symmetric(n, rng):
    noise = rng.standard_normal((n, n))
    return noise + noise.T


def flow(loss, start, until, *, tol=1e-9):
    """Layers along gradient flow, a function of time; by an integrator that knows no mode."""
    shapes = [w.shape for w in start]
    ends = np.cumsum([w.size for w in start])[:-1]

    def layers(flat):
        return [p.reshape(s) for p, s in zip(np.split(flat, ends), shapes, strict=True)]

    def velocity(_, flat):
        weights = layers(flat)
        residual = loss.cross_cov - reduce(lambda p, w: w @ p, weights) @ loss.input_cov
        result = []
        for i in range(len(weights)):
            part = reduce(lambda r, w: w.T @ r, weights[:i:-1], residual)
            result.append(reduce(lambda r, w: r @ w.T, weights[:i], part).ravel())
        return np.concatenate(result)

    begin = np.concatenate([np.ravel(w) for w in start])
    scale = np.abs(begin).max()
    done = solve_ivp(
        velocity, (0, until), begin, "DOP853", rtol=tol, atol=tol * scale, dense_output=True
    )
    assert done.success
    return lambda time: layers(done.sol(time))


def crossing(strength, level, until):
    return brentq(lambda time: strength(time) - level, 0, until, xtol=1e-12)


def measured_times(loss, start, until, *, fraction=0.5, tol=1e-9):
    """When each mode of the data reaches a fraction of its target along the simulated flow."""
    path = flow(loss, start, until, tol=tol)
    modes = joint_decomposition(loss)

    def strength(i):
        return lambda t: modes.left[:, i] @ reduce(lambda p, w: w @ p, path(t)) @ modes.right[:, i]

    return np.array(
        [crossing(strength(i), fraction * w, until) for i, w in enumerate(modes.targets)]
    )


# What a start acts like


@pytest.mark.parametrize("seed", range(4))
def test_times_of_random_starts_follow_from_effective_strengths(seed):
    loss = modes_loss([3.0, 2.2, 1.5, 1.0], np.ones(4), 4, seed)
    start = lf.initialization.gaussian(lf.Dense((4, 10, 4)), scale=1e-4, fan="none", rng=seed)
    times = predicted_times(loss, start)
    measured = measured_times(loss, start, 1.5 * times.max())
    assert_allclose(measured, times, rtol=1e-3)
    # Without deflation the prediction is rougher: the difference is what deflation is for.
    whole = effective_strengths(loss, start, deflate=False)
    sigma = joint_decomposition(loss).sigma
    rough = np.log(sigma / whole - 1) / (2 * sigma)
    assert np.abs(measured / rough - 1).max() > 10 * np.abs(measured / times - 1).max()


def test_times_of_random_starts_of_other_commuting_data():
    loss = modes_loss([3.0, 2.0, 1.0], [1.5, 0.5, 1.0, 0.8, 0.3], 3)
    start = lf.initialization.gaussian(lf.Dense((5, 8, 3)), scale=1e-4, rng=1)
    times = predicted_times(loss, start)
    assert_allclose(measured_times(loss, start, 1.5 * times.max()), times, rtol=1e-2)
    later = predicted_times(loss, start, fraction=0.9)
    measured = measured_times(loss, start, 1.5 * later.max(), fraction=0.9)
    assert_allclose(measured, later, rtol=1e-2)


def gram_schmidt(vectors):
    """Squares of what each vector adds to the span of those before, by projection."""
    result = []
    for i, vector in enumerate(vectors):
        before = np.array(vectors[:i]).T
        rest = vector
        if i:
            rest = vector - before @ np.linalg.lstsq(before, vector, rcond=None)[0]
        result.append(rest @ rest)
    return result


@pytest.mark.parametrize("widths", [(4, 6, 3), (3, 5, 5), (1, 2, 1), (4, 3, 4)])
def test_effective_strengths_are_those_of_the_definition(widths):
    loss, start = make_loss(widths), make_start(widths)
    modes = joint_decomposition(loss)
    vectors = [
        (start[0] @ modes.right[:, i] + start[1].T @ modes.left[:, i]) / 2
        for i in range(min(widths[0], widths[2]))
    ]
    plain = effective_strengths(loss, start, deflate=False)
    assert_allclose(plain, [v @ v for v in vectors], rtol=1e-12)
    expected = gram_schmidt(vectors)
    expected[widths[1] :] = [0.0] * len(expected[widths[1] :])
    assert_allclose(effective_strengths(loss, start), expected, rtol=1e-11)


def test_effective_strengths_of_aligned_starts():
    loss = modes_loss([3.0, 2.0, 1.0], [1.0, 2.0, 0.5, 1.0], 3)
    modes = joint_decomposition(loss)
    hidden = orthogonal(5, np.random.default_rng(0))[:, :3]
    a, b = np.array([0.1, 0.3, -0.2]), np.array([0.2, 0.1, -0.1])
    start = (hidden * a) @ modes.right[:, :3].T, (modes.left * b) @ hidden.T
    assert_allclose(effective_strengths(loss, start), (a + b) ** 2 / 4, rtol=1e-13)


def test_effective_strengths_of_degenerate_starts():
    loss = modes_loss([3.0, 2.0, 1.0], np.ones(3), 3)
    modes = joint_decomposition(loss)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6, 3))
    vectors[:, 0] = 0  # the first mode is absent: nothing is held back by it
    vectors[:, 2] = -2 * vectors[:, 1]  # the last has nothing of its own

    def start_of(columns):
        return columns @ modes.right.T, modes.left @ columns.T

    values = effective_strengths(loss, start_of(vectors))
    assert_allclose(values, [0, vectors[:, 1] @ vectors[:, 1], 0], rtol=1e-13)
    assert_array_equal(
        np.isinf(predicted_times(loss, start_of(1e-3 * vectors))), [True, False, True]
    )
    assert_array_equal(effective_strengths(loss, start_of(0 * vectors)), 0)
    assert np.isinf(predicted_times(loss, start_of(0 * vectors))).all()
    # On the stable manifold of the saddle, a = -b, nothing grows.
    first, second = start_of(rng.standard_normal((6, 3)))
    assert np.isinf(predicted_times(loss, (first, -second))).all()


def test_tiny_starts_do_not_underflow():
    loss = modes_loss([3.0, 2.0, 1.0], np.ones(3), 3)
    start = make_start((3, 5, 3))
    one, other = (predicted_times(loss, [f * w for w in start]) for f in (1e-100, 1e-250))
    sigma = joint_decomposition(loss).sigma
    assert_allclose(other - one, 150 * np.log(10) / sigma, rtol=1e-12)


def test_modes_that_are_never_learned():
    rng = np.random.default_rng(0)
    # Fewer samples than inputs and outputs: sigma is 0 beyond rank 2.
    loss = SquaredLoss.from_data(rng.standard_normal((2, 4)), rng.standard_normal((2, 3)))
    start = make_start((4, 6, 3), scale=1e-3)
    assert_array_equal(np.isfinite(predicted_times(loss, start)), [True, True, False])
    assert effective_strengths(loss, start)[2] == 0
    fast = 0.4 / joint_decomposition(loss).sigma[0]
    assert_array_equal(np.isfinite(predicted_times(loss, start, step_size=fast)), [1, 1, 0])
    small = SquaredLoss(loss.input_cov / 1e3, loss.cross_cov / 1e3, 1.0)
    slow = predicted_times(small, start, step_size=1e3 * fast)
    assert_allclose(slow, 1e3 * predicted_times(loss, start, step_size=fast), rtol=1e-9)
    # Fewer hidden units than modes.
    narrow = predicted_times(make_loss((4, 3)), make_start((4, 2, 3), scale=1e-3))
    assert_array_equal(np.isfinite(narrow), [True, True, False])


# Predicted times


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_times_of_aligned_starts_are_exact(n_layers):
    loss = modes_loss([2.0, 1.2, 0.7], [1.5, 0.8, 1.0, 0.4], 3)
    network = lf.Dense((4, *[5] * (n_layers - 1), 3))
    start = lf.initialization.aligned(network, loss, [0.02, 0.03, 0.05], rng=0)
    times = predicted_times(loss, start, fraction=0.6)
    measured = measured_times(loss, start, 1.2 * times.max(), fraction=0.6, tol=1e-12)
    assert_allclose(measured, times, rtol=1e-9)


@pytest.mark.parametrize(("n_layers", "scale"), [(2, 1e-4), (3, 0.1), (1, 1e-3)])
def test_steps_of_descent(n_layers, scale):
    loss = modes_loss([2.0, 1.2, 0.7], np.ones(3), 3)
    network = lf.Dense((3, *[6] * (n_layers - 1), 3))
    if n_layers == 2:
        start = lf.initialization.gaussian(network, scale=scale, rng=0)
    else:
        start = lf.initialization.aligned(network, loss, scale, scale_of="factor", rng=0)
    modes = joint_decomposition(loss)
    eta = 0.05
    times = predicted_times(loss, start, step_size=eta)
    weights, strengths = [np.array(w) for w in start], []
    for _ in range(int(1.3 * times.max() / eta)):
        product = reduce(lambda p, w: w @ p, weights)
        strengths.append(np.diag(modes.left.T @ product @ modes.right))
        slopes = gradients(weights, loss)
        weights = [w - eta * g for w, g in zip(weights, slopes, strict=True)]
    for i, column in enumerate(np.array(strengths).T):
        half = modes.targets[i] / 2
        after = int(np.argmax(column >= half))
        part = (half - column[after - 1]) / (column[after] - column[after - 1])
        assert abs(after - 1 + part - times[i] / eta) < 1
    flow_times = predicted_times(loss, start)
    assert (np.abs(times / flow_times - 1) < 0.1).all()
    assert (times != flow_times).all()


def test_learned_from_the_start_takes_no_time():
    loss = modes_loss([2.0, 1.0], np.ones(2), 2)
    start = lf.initialization.aligned(lf.Dense((2, 2, 2)), loss, [1.5, 1e-3], rng=0)
    times = predicted_times(loss, start)
    assert times[0] == 0
    assert times[1] > 1


def test_aligned_starts_of_depth_may_use_modes_that_data_lack():
    rng = np.random.default_rng(0)
    loss = SquaredLoss.from_data(rng.standard_normal((2, 4)), rng.standard_normal((2, 3)))
    start = lf.initialization.aligned(lf.Dense((4, 3, 3, 3)), loss, 1e-3, rng=0)
    assert_array_equal(np.isfinite(predicted_times(loss, start)), [True, True, False])


def test_starts_of_depth_must_be_aligned_and_balanced():
    loss = modes_loss([2.0, 1.0], np.ones(2), 2)
    network = lf.Dense((2, 3, 3, 2))
    good = lf.initialization.aligned(network, loss, 1e-3, rng=0)
    assert np.isfinite(predicted_times(loss, good)).all()
    flipped = (-good[0], *good[1:])
    louder = (good[0], 2 * good[1], good[2])
    crooked = lf.initialization.balanced(network, scale=1e-3, rng=0)
    for start in (flipped, louder, crooked):
        with pytest.raises(ValueError, match="start of 3 layers must be balanced and aligned"):
            predicted_times(loss, start)


def test_run_axes_of_predictions_broadcast():
    loss = make_loss((4, 3), (3,))
    start = make_start((4, 5, 3), (2, 1), scale=1e-3)
    step = np.array([0.01, 0.02])[:, None, None]
    strengths, times = effective_strengths(loss, start), predicted_times(loss, start)
    stepped = predicted_times(loss, start, step_size=step)
    assert strengths.shape == times.shape == (2, 3, 3)
    assert stepped.shape == (2, 2, 3, 3)
    for i, j in np.ndindex(2, 3):
        one = SquaredLoss(loss.input_cov[j], loss.cross_cov[j], 1.0)
        point = [w[i, 0] for w in start]
        assert_allclose(strengths[i, j], effective_strengths(one, point), rtol=1e-12)
        assert_allclose(times[i, j], predicted_times(one, point), rtol=1e-12)
        for k in range(2):
            alone = predicted_times(one, point, step_size=step[k, 0, 0])
            assert_allclose(stepped[k, i, j], alone, rtol=1e-12)


# Limits


def balanced_mode(time, sigma, lam, delta):
    """The balanced mode from strength exp(-2 delta), in logarithms."""
    decay = -2 * sigma * time
    rest = np.log(lam / sigma) + np.log(-np.expm1(decay)) - 2 * delta
    return np.exp(-2 * delta - np.logaddexp(decay, rest))


def test_sequential_limit_is_the_limit_of_the_closed_form():
    sigma, lam = np.array([2.0, 1.5, 0.5]), np.array([1.0, 2.0, 0.7, 0.4])
    loss = modes_loss(sigma, lam, 3)
    modes = joint_decomposition(loss)
    tau = np.array([[0.1, 0.49, 0.51, 0.66], [0.67, 1.99, 2.01, 9.0]])
    limit = sequential_limit(loss, tau)
    assert limit.shape == (2, 4, 3, 4)
    for index in np.ndindex(2, 4):
        w = balanced_mode(1e4 * tau[index], sigma, lam[:3], 1e4)
        assert_allclose(limit[index], (modes.left * w) @ modes.right[:, :3].T, atol=1e-12)
    assert_allclose(limit[[0, 0, 1, 1], [1, 2, 1, 2]], sigma_ordered_path(loss), atol=1e-13)
    at = sequential_limit(loss, 1 / modes.sigma)
    for i in range(3):
        w = modes.left[:, i] @ at[i] @ modes.right[:, i]
        assert_allclose(w, balanced_mode(1e4 / sigma[i], sigma[i], lam[i], 1e4), rtol=1e-8)
        assert_allclose(w, sigma[i] / (sigma[i] + lam[i]), rtol=1e-12)


def test_sequential_limit_counts_the_exponent_of_the_start():
    loss = modes_loss([2.0, 1.0], np.ones(2), 2)
    tau = np.linspace(0, 3, 50)
    assert_array_equal(sequential_limit(loss, tau / 2, exponent=1.0), sequential_limit(loss, tau))
    assert_array_equal(sequential_limit(loss, 2 * tau, exponent=4), sequential_limit(loss, tau))


def test_sequential_limit_of_descent_is_that_of_the_recursion():
    sigma, eta, delta = np.array([2.0, 1.0]), 0.3, 300
    loss = modes_loss(sigma, np.ones(2), 2)
    modes = joint_decomposition(loss)
    moment = 1 / np.log1p(eta * sigma)
    tau = np.array([0.9 * moment[0], 1.1 * moment[0], 0.95 * moment[1], 1.05 * moment[1]])
    limit = sequential_limit(loss, tau, step_size=eta)
    for time, expected in zip(tau, limit, strict=True):
        layer = np.full(2, np.exp(-delta))
        for _ in range(int(delta * time)):
            layer *= 1 + eta * (sigma - layer**2)
        assert_allclose((modes.left * layer**2) @ modes.right.T, expected, atol=1e-6)
    assert np.isnan(sequential_limit(loss, 1 / np.log1p(eta * modes.sigma), step_size=eta)).all()
    small = sequential_limit(loss, tau * eta / 1e-9, step_size=1e-9)
    assert_array_equal(small, sequential_limit(loss, tau * eta))


def test_sequential_limit_over_runs_and_without_a_mode():
    loss = SquaredLoss(np.eye(2), np.array([np.diag([2.0, 1.0]), np.diag([1.0, 0.0])]), 5.0)
    limit = sequential_limit(loss, [0.7, 1e300])
    assert limit.shape == (2, 2, 2, 2)
    assert_allclose(limit[0], [np.diag([2, 0]), np.diag([2, 1])], atol=1e-15)
    assert_allclose(limit[1], [np.zeros((2, 2)), np.diag([1, 0])], atol=1e-15)
    assert sequential_limit(loss, 0.7, step_size=[[0.1], [0.2], [0.3]]).shape == (3, 2, 2, 2)
    equal = SquaredLoss(np.eye(2), 2 * np.eye(2), 8.0)
    assert_allclose(sequential_limit(equal, [0.49, 0.51]), [np.zeros((2, 2)), 2 * np.eye(2)])


def test_sequential_limit_needs_commuting_data():
    with pytest.raises(NonCommutingError, match=r"sequential_limit needs .* use greedy_path"):
        sequential_limit(make_loss((4, 3)), 1.0)


def test_stage_resolvability_compares_gaps_with_widths():
    sigma = np.array([3.0, 1.0, 0.9])
    values = stage_resolvability(modes_loss(sigma, np.ones(4), 3), 7.0)

    def time_to(fraction, s):
        level = fraction * s
        return brentq(lambda t: balanced_mode(t, s, 1.0, 7.0) - level, 1e-6, 50 / s, xtol=1e-13)

    for k in range(2):
        one, other = sigma[k : k + 2]
        gap = 7 / other - 7 / one
        width = np.mean([time_to(0.9, s) - time_to(0.1, s) for s in (one, other)])
        assert_allclose(values[k], gap / width, rtol=1e-5)


def test_stage_resolvability_of_missing_and_equal_modes():
    loss = SquaredLoss(np.eye(4), np.diag([2.0, 2.0, 0.0, 0.0]), 8.0)
    assert_allclose(stage_resolvability(loss, 3.0), [0, 3 / (np.log(9) / 2), 0], rtol=1e-14)
    assert stage_resolvability(loss, [[1.0], [2.0]]).shape == (2, 1, 3)
    assert stage_resolvability(SquaredLoss([[1.0]], [[1.0]], 1.0), 2.0).shape == (0,)


# Greedy path


def test_greedy_path_of_agreeing_orders_is_one_over_sigma():
    loss = modes_loss([3.0, 1.5, 1.2], np.ones(5), 3)
    path = greedy_path(loss)
    assert_allclose(path.times, [1 / 3, 1 / 1.5, 1 / 1.2], rtol=1e-12)
    assert_allclose(path.rates, [3, 1.5, 1.2], rtol=1e-12)
    assert not path.merged.any()
    best = reduced_rank_regression(loss)
    assert_array_equal(path.products, best.products)
    assert_array_equal(path.losses, best.losses)


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_greedy_times_are_the_slopes_of_simulated_times(seed):
    rng = np.random.default_rng(seed)
    loss = modes_loss([2.0, 1.3, 0.8], np.ones(4), 3, seed, off=0.07 * symmetric(4, rng))
    path = greedy_path(loss)
    shape = rng.standard_normal((6, 4)), rng.standard_normal((3, 6))
    found = []
    for delta in (9.0, 18.0):
        until = 1.3 * delta * path.times[-1] + 5
        layers = flow(loss, [np.exp(-delta) * w for w in shape], until)

        def product(time, layers=layers):
            first, second = layers(time)
            return second @ first

        def singular(k, product=product):
            return lambda time: np.linalg.svd(product(time))[1][k]

        best = np.linalg.svd(path.products)[1]
        found.append([crossing(singular(k), best[k + 1, k] / 2, until) for k in range(3)])
    for k in (1, 2):  # the plateaus of the later start
        gaps = [
            np.linalg.norm(product(time) - path.products[k])
            for time in np.linspace(*found[1][k - 1 : k + 1], 50)
        ]
        other = np.linalg.norm(sigma_ordered_path(loss)[k] - path.products[k])
        assert min(gaps) < 0.1 * other
    slopes = np.diff(found, axis=0)[0] / 9
    assert_allclose(slopes, path.times, rtol=3e-3)
    naive = 1 / joint_decomposition(loss).sigma
    assert np.abs(slopes / naive - 1).max() > 2 * np.abs(slopes / path.times - 1).max()


def test_greedy_path_follows_reduced_rank_regression_where_the_orders_differ():
    loss = SquaredLoss([[4.0, 0.2], [0.2, 1.0]], np.diag([2.0, 1.5]), 4.0)
    path = greedy_path(loss)
    assert np.argmax(np.abs(np.diag(path.products[1]))) == 1
    residual = np.linalg.svd(loss.cross_cov - path.products[1] @ loss.input_cov)[1]
    assert_allclose(path.times, [0.5, 0.5 + (1 - 1.5 * 0.5) / residual[0]], rtol=1e-12)
    assert path.times[1] < 1 / 1.5 - 0.03  # sooner than if modes were independent


def recursion(loss):
    """The same stages by the recursion as it is written, for one run."""
    best = reduced_rank_regression(loss).products
    singular = [np.linalg.svd(loss.cross_cov - w @ loss.input_cov)[1] for w in best]
    times = [0.0]
    for k in range(min(loss.n_inputs, loss.n_outputs)):
        sums = sum(singular[j][k - j] * (times[j + 1] - times[j]) for j in range(k))
        times.append(times[-1] + max(1 - sums, 0) / singular[k][0])
    return times[1:]


def test_greedy_path_of_many_runs():
    rng = np.random.default_rng(0)
    off = np.array([0.1 * symmetric(4, rng) for _ in range(5)])
    losses = [modes_loss([2.0, 1.3, 0.8], np.ones(4), 3, i, off=o) for i, o in enumerate(off)]
    loss = SquaredLoss(
        np.array([one.input_cov for one in losses]),
        np.array([one.cross_cov for one in losses]),
        np.full((2, 1), 60.0),
    )
    path = greedy_path(loss)
    assert path.times.shape == path.rates.shape == path.merged.shape == (2, 5, 3)
    assert path.products.shape == (2, 5, 4, 3, 4)
    for i, one in enumerate(losses):
        assert_allclose(path.times[0, i], recursion(one), rtol=1e-10)
        assert_array_equal(path.times[0, i], path.times[1, i])
    part = greedy_path(loss, 2)
    assert_array_equal(part.times, path.times[..., :2])
    assert repr(part) == "GreedyPath(n_inputs=4, n_outputs=3, n_stages=2, run_shape=(2, 5))"


def test_stages_of_equal_sigma_merge_and_missing_ones_never_come():
    loss = SquaredLoss(np.eye(4), np.diag([2.0, 2.0, 1.0, 0.0]), 9.0)
    path = greedy_path(loss)
    assert_allclose(path.times, [0.5, 0.5, 1, np.inf], rtol=1e-12)
    assert_array_equal(path.merged, [False, True, False, False])
    assert path.rates[3] == 0
    nothing = greedy_path(SquaredLoss(np.eye(2), np.zeros((2, 2)), 1.0))
    assert np.isinf(nothing.times).all()
    assert not nothing.merged.any()
    single = greedy_path(SquaredLoss([[2.0]], [[4.0]], 9.0))
    assert_allclose(single.times, [0.25])
    few = np.random.default_rng(0)
    few = SquaredLoss.from_data(few.standard_normal((2, 5)), few.standard_normal((2, 4)))
    assert_array_equal(np.isfinite(greedy_path(few).times), [True, True, False, False])


# Data that nearly commute


@pytest.mark.parametrize("size", [1e-6, 1e-4])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_perturbation_bound_holds_while_it_says_anything(size, seed):
    rng = np.random.default_rng(seed)
    off = symmetric(4, rng) * (1 - np.eye(4))
    off *= size / np.linalg.norm(off, 2)
    sigma, lam = [1.2, 0.9, 0.5], np.array([1.0, 0.8, 1.2, 0.5])
    loss = modes_loss(sigma, lam, 3, seed, off=off)
    modes = joint_decomposition(loss)
    plain = (modes.right * modes.lam) @ modes.right.T
    plain = SquaredLoss((plain + plain.T) / 2, loss.cross_cov, 60.0)
    strengths = [0.05, 0.02, 2.0]  # the last one shrinks
    start = lf.initialization.aligned(lf.Dense((4, 4, 3)), plain, strengths, rng=0)
    time = np.linspace(0, 6, 40)
    bound = perturbation_bound(loss, strengths, time)
    assert bound.shape == (40,)
    assert bound[0] == 0
    assert np.isinf(bound[-1])
    proved = np.isfinite(bound)
    assert proved.sum() > 5
    assert (np.diff(bound[proved]) > 0).all()
    one, other = flow(loss, start, 6.0, tol=1e-11), flow(plain, start, 6.0, tol=1e-11)
    for t, most in zip(time[proved], bound[proved], strict=True):
        gap = [np.linalg.norm(a - b) for a, b in zip(one(t), other(t), strict=True)]
        assert np.hypot(*gap) <= most + 1e-9
        assert (np.linalg.norm(one(t)[0], 2) * np.linalg.norm(one(t)[1], 2)) < 1.5 * 2.0
    exact = SquaredLoss(np.eye(3), np.diag([2.0, 1.0, 0.5]), 6.0)
    assert_array_equal(perturbation_bound(exact, [0.1], [0.0, 1.0, 1e6]), 0)


def test_the_perturbation_bound_is_that_of_its_formula():
    off = 1e-5 * np.array([[0.0, 1.0], [1.0, 0.0]])
    loss = modes_loss([2.0, 1.0], [1.0, 2.0], 2, off=off)
    w, norm = 2.0, np.hypot(2, 0.5)
    mu = 2.0 + 1.5 * np.linalg.norm(loss.input_cov, 2) * w
    times = np.array([0.1, 0.5, 1.0])
    expected = 1e-5 * np.sqrt(2 * w) * norm * np.expm1(mu * times) / mu
    assert_allclose(perturbation_bound(loss, [0.1, 0.2], times), expected, rtol=1e-8)
    assert_allclose(perturbation_bound(loss, [0.1], times), expected, rtol=1e-8)
    last = np.log1p((np.sqrt(1.5) - 1) * np.sqrt(w) * mu / (1e-5 * np.sqrt(2 * w) * norm)) / mu
    before, after = perturbation_bound(loss, [0.1], [last * (1 - 1e-6), last * (1 + 1e-6)])
    assert np.isfinite(before)
    assert np.isinf(after)
    runs = perturbation_bound(loss, np.full((4, 1, 2), 0.1), [[0.1, 0.2]])
    assert runs.shape == (4, 1, 1, 2)
    assert perturbation_bound(loss, [0.1], 1e300) == np.inf


def test_nothing_to_learn_is_bounded_by_nothing():
    loss = SquaredLoss(np.zeros((2, 2)), np.zeros((2, 2)), 1.0)
    assert_array_equal(perturbation_bound(loss, [0.0, 0.0], [0.0, 1.0]), 0)
    assert_array_equal(perturbation_bound(loss, [1.0, 0.0], [0.0, 1.0]), 0)


def test_the_perturbed_limit_is_of_second_order():
    rng = np.random.default_rng(0)
    pattern = symmetric(4, rng) * (1 - np.eye(4))
    errors = []
    for size in (1e-2, 1e-3):
        loss = modes_loss([2.0, 1.5, 0.8], [1.0, 1.5, 2.0, 0.7], 3, off=size * pattern)
        exact = reduced_rank_regression(loss).products[-1]
        errors.append(np.abs(perturbed_limit(loss) - exact).max())
    assert errors[0] < 100 * 1e-4
    assert_allclose(errors[0] / errors[1], 100, rtol=0.3)
    plain = modes_loss([2.0, 1.5, 0.8], [1.0, 1.5, 2.0, 0.7], 3)
    exact = reduced_rank_regression(plain).products[-1]
    assert_allclose(perturbed_limit(plain), exact, rtol=1e-12)
    tall = modes_loss([2.0, 1.5], [1.0, 1.5], 4)
    both = SquaredLoss(np.stack([tall.input_cov] * 2), tall.cross_cov, 1.0)
    exact = reduced_rank_regression(tall).products[-1]
    assert_allclose(perturbed_limit(both), np.stack([exact] * 2), rtol=1e-12, atol=1e-14)


# Refused arguments


def test_the_perturbed_limit_needs_independent_inputs():
    with pytest.raises(ValueError, match="loss must have an input_cov of full rank"):
        perturbed_limit(SquaredLoss(np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), 1.0))


LOSS = modes_loss([2.0, 1.0], np.ones(2), 2)
START = make_start((2, 3, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_strengths(LOSS, START[:1]), ValueError, r"start\[0\] must have shape"),
        (
            lambda: effective_strengths(LOSS, make_start((2, 2, 2, 2))),
            ValueError,
            "start must have two layers, got 3",
        ),
        (lambda: effective_strengths(None, START), TypeError, "loss must be a SquaredLoss"),
        (lambda: predicted_times(LOSS, START, fraction=1.0), ValueError, "fraction must be < 1"),
        (lambda: predicted_times(LOSS, START, fraction=0.0), ValueError, "fraction must be > 0"),
        (lambda: predicted_times(LOSS, START, step_size=0), ValueError, "step_size must be > 0"),
        (
            lambda: predicted_times(LOSS, START, step_size=0.3),
            ValueError,
            r"step_size \* sigma must be < 1/2",
        ),
        (
            lambda: predicted_times(make_loss((2, 2), (3,)), START, step_size=np.ones(2)),
            ValueError,
            "run axes must broadcast",
        ),
        (lambda: sequential_limit(LOSS, -1.0), ValueError, "tau must be >= 0"),
        (lambda: sequential_limit(LOSS, 1.0, exponent=0), ValueError, "exponent must be > 0"),
        (
            lambda: sequential_limit(LOSS, 1.0, step_size=0.6),
            ValueError,
            r"step_size must be below 1 / sigma_1, .*, got step_size \* sigma_1 = 1.2",
        ),
        (lambda: stage_resolvability(LOSS, 0.0), ValueError, "delta must be > 0"),
        (lambda: greedy_path(LOSS, 3), ValueError, "n_stages must be <= 2, got 3"),
        (lambda: greedy_path(LOSS, 0), ValueError, "n_stages must be >= 1, got 0"),
        (
            lambda: perturbation_bound(LOSS, [0.1] * 3, 1.0),
            ValueError,
            r"strengths must have shape \(\*run, at most 2\), got \(3,\)",
        ),
        (lambda: perturbation_bound(LOSS, [-0.1], 1.0), ValueError, "strengths must be >= 0"),
        (lambda: perturbation_bound(LOSS, [0.1], -1.0), ValueError, "time must be >= 0"),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
