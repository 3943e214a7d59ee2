"""Limits of small starts, greedy paths and perturbed data, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from mode_data import crossing, flow, modes_loss, symmetric
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from support import make_loss

import linnet_fast as lf
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import NonCommutingError, joint_decomposition
from linnet_fast.rank_dynamics.limits import greedy_path, sequential_limit, stage_resolvability
from linnet_fast.rank_dynamics.modes import mode_flow
from linnet_fast.rank_dynamics.perturbation import perturbation_bound, perturbed_limit
from linnet_fast.rank_dynamics.predictions import effective_strengths, predicted_times
from linnet_fast.rank_dynamics.regression import reduced_rank_regression, sigma_ordered_path

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
    limit = sequential_limit(loss, tau=tau)
    assert limit.shape == (2, 4, 3, 4)
    for index in np.ndindex(2, 4):
        w = balanced_mode(1e4 * tau[index], sigma, lam[:3], 1e4)
        assert_allclose(limit[index], (modes.left * w) @ modes.right[:, :3].T, atol=1e-12)
    assert_allclose(limit[[0, 0, 1, 1], [1, 2, 1, 2]], sigma_ordered_path(loss), atol=1e-13)
    at = sequential_limit(loss, tau=1 / modes.sigma)
    for i in range(3):
        w = modes.left[:, i] @ at[i] @ modes.right[:, i]
        assert_allclose(w, balanced_mode(1e4 / sigma[i], sigma[i], lam[i], 1e4), rtol=1e-8)
        assert_allclose(w, sigma[i] / (sigma[i] + lam[i]), rtol=1e-12)


def test_sequential_limit_counts_the_exponent_of_the_start():
    loss = modes_loss([2.0, 1.0], np.ones(2), 2)
    tau = np.linspace(0, 3, 50)
    assert_array_equal(
        sequential_limit(loss, tau=tau / 2, exponent=1.0), sequential_limit(loss, tau=tau)
    )
    assert_array_equal(
        sequential_limit(loss, tau=2 * tau, exponent=4), sequential_limit(loss, tau=tau)
    )


def test_sequential_limit_of_descent_is_that_of_the_recursion():
    sigma, eta, delta = np.array([2.0, 1.0]), 0.3, 300
    loss = modes_loss(sigma, np.ones(2), 2)
    modes = joint_decomposition(loss)
    moment = 1 / np.log1p(eta * sigma)
    tau = np.array([0.9 * moment[0], 1.1 * moment[0], 0.95 * moment[1], 1.05 * moment[1]])
    limit = sequential_limit(loss, tau=tau, step_size=eta)
    for time, expected in zip(tau, limit, strict=True):
        layer = np.full(2, np.exp(-delta))
        for _ in range(int(delta * time)):
            layer *= 1 + eta * (sigma - layer**2)
        assert_allclose((modes.left * layer**2) @ modes.right.T, expected, atol=1e-6)
    assert np.isnan(
        sequential_limit(loss, tau=1 / np.log1p(eta * modes.sigma), step_size=eta)
    ).all()
    small = sequential_limit(loss, tau=tau * eta / 1e-9, step_size=1e-9)
    assert_array_equal(small, sequential_limit(loss, tau=tau * eta))


def test_sequential_limit_over_runs_and_without_a_mode():
    loss = SquaredLoss(np.eye(2), np.array([np.diag([2.0, 1.0]), np.diag([1.0, 0.0])]), 5.0)
    limit = sequential_limit(loss, tau=[0.7, 1e300])
    assert limit.shape == (2, 2, 2, 2)
    assert_allclose(limit[0], [np.diag([2, 0]), np.diag([2, 1])], atol=1e-15)
    assert_allclose(limit[1], [np.zeros((2, 2)), np.diag([1, 0])], atol=1e-15)
    assert sequential_limit(loss, tau=0.7, step_size=[[0.1], [0.2], [0.3]]).shape == (3, 2, 2, 2)
    equal = SquaredLoss(np.eye(2), 2 * np.eye(2), 8.0)
    assert_allclose(sequential_limit(equal, tau=[0.49, 0.51]), [np.zeros((2, 2)), 2 * np.eye(2)])


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.7])
def test_sequential_limit_at_exactly_the_time_of_a_mode(exponent):
    # sigma / (sigma + lam), in whatever basis the singular values are found.
    for seed in range(5):
        sigma, lam = np.array([3.0, 0.7, 0.1]), np.array([1.0, 2.0, 0.5])
        loss = modes_loss(sigma, lam, 3, seed)
        modes = joint_decomposition(loss)
        at = sequential_limit(loss, tau=exponent / (2 * sigma), exponent=exponent)
        inner = np.diagonal(modes.left.T @ at @ modes.right, axis1=-2, axis2=-1)
        before = np.tril(np.ones((3, 3)), -1) * sigma / lam
        assert_allclose(inner, before + np.diag(sigma / (sigma + lam)), atol=1e-12)
        # The closed form at delta = 1e5, whose rounding of the time counts 2 sigma delta times.
        for i in range(3):
            start = {"log_strength": -exponent * 1e5}
            time = 1e5 * exponent / (2 * sigma[i])
            w = mode_flow(sigma[i], lam[i], time=time, **start).strength
            assert_allclose(w, sigma[i] / (sigma[i] + lam[i]), rtol=1e-9)
        around = np.array([1 - 1e-9, 1 + 1e-9]) * exponent / (2 * sigma[1])
        below, above = sequential_limit(loss, tau=around, exponent=exponent)
        assert np.linalg.matrix_rank(below, 1e-9) == 1
        assert np.linalg.matrix_rank(above, 1e-9) == 2
        steps = sequential_limit(loss, tau=exponent / (2 * np.log1p(0.1 * sigma)),
                                 exponent=exponent, step_size=0.1)  # fmt: skip
        assert np.isnan(steps).all()


def test_sequential_limit_refuses_more_than_memory_holds():
    with pytest.raises(ValueError, match="tau must be repeated at most"):
        sequential_limit(modes_loss([1.0], [1.0], 1), tau=np.broadcast_to(1.0, (2**40,)))


def test_limits_of_data_of_any_size():
    for scale in (1e-150, 1e150):
        loss = SquaredLoss(scale * np.eye(2), scale * np.diag([3.0, 1.0]), 9.9 * scale)
        assert_allclose(stage_resolvability(loss, delta=7.0), 7 / np.log(9), rtol=1e-14)
        limit = sequential_limit(loss, tau=[0.2 / scale, 0.5 / scale, 2 / scale])
        assert_allclose(limit, [np.zeros((2, 2)), np.diag([3, 0]), np.diag([3, 1])], atol=1e-14)
        assert_allclose(greedy_path(loss).time * scale, [1 / 3, 1], rtol=1e-13)
        start = (1e-3 * np.eye(2), 1e-3 * np.eye(2))
        times = predicted_times(loss, start) * scale
        assert_allclose(times, np.log([3e6 - 1, 1e6 - 1]) / [6, 2], rtol=1e-13)
    high = SquaredLoss(np.eye(2), np.diag([1.5e308, 1e308]), 1.0)
    assert_allclose(stage_resolvability(high, delta=1.0), 0.4 / np.log(9), rtol=1e-14)


def test_effective_strengths_at_the_ends():
    loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    for scale, expected in ((1e-150, 1e-300), (1e150, 1e300), (1.7e308, np.inf), (1e-200, 0.0)):
        strengths = effective_strengths(loss, (scale * np.eye(2), scale * np.eye(2)))
        assert_allclose(strengths, expected, rtol=1e-14)
    times = predicted_times(loss, (1e-300 * np.eye(2), 1e-300 * np.eye(2)))
    assert_allclose(times, 300 * np.log(10) / loss.cross_cov.diagonal(), rtol=1e-3)


def test_sequential_limit_needs_commuting_data():
    with pytest.raises(NonCommutingError, match=r"sequential_limit needs .* use greedy_path"):
        sequential_limit(make_loss((4, 3)), tau=1.0)


def test_stage_resolvability_compares_gaps_with_widths():
    sigma = np.array([3.0, 1.0, 0.9])
    values = stage_resolvability(modes_loss(sigma, np.ones(4), 3), delta=7.0)

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
    assert_allclose(stage_resolvability(loss, delta=3.0), [0, 3 / (np.log(9) / 2), 0], rtol=1e-14)
    assert stage_resolvability(loss, delta=[[1.0], [2.0]]).shape == (2, 1, 3)
    assert stage_resolvability(SquaredLoss([[1.0]], [[1.0]], 1.0), delta=2.0).shape == (0,)


# Greedy path


def test_greedy_path_of_agreeing_orders_is_one_over_sigma():
    loss = modes_loss([3.0, 1.5, 1.2], np.ones(5), 3)
    path = greedy_path(loss)
    assert_allclose(path.time, [1 / 3, 1 / 1.5, 1 / 1.2], rtol=1e-12)
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
        until = 1.3 * delta * path.time[-1] + 5
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
    assert_allclose(slopes, path.time, rtol=3e-3)
    naive = 1 / joint_decomposition(loss).sigma
    assert np.abs(slopes / naive - 1).max() > 2 * np.abs(slopes / path.time - 1).max()


def test_greedy_path_follows_reduced_rank_regression_where_the_orders_differ():
    loss = SquaredLoss([[4.0, 0.2], [0.2, 1.0]], np.diag([2.0, 1.5]), 4.0)
    path = greedy_path(loss)
    assert np.argmax(np.abs(np.diag(path.products[1]))) == 1
    residual = np.linalg.svd(loss.cross_cov - path.products[1] @ loss.input_cov)[1]
    assert_allclose(path.time, [0.5, 0.5 + (1 - 1.5 * 0.5) / residual[0]], rtol=1e-12)
    assert path.time[1] < 1 / 1.5 - 0.03  # sooner than if modes were independent


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
    assert path.time.shape == path.rates.shape == path.merged.shape == (2, 5, 3)
    assert path.products.shape == (2, 5, 4, 3, 4)
    for i, one in enumerate(losses):
        assert_allclose(path.time[0, i], recursion(one), rtol=1e-10)
        assert_array_equal(path.time[0, i], path.time[1, i])
    part = greedy_path(loss, n_stages=2)
    assert_array_equal(part.time, path.time[..., :2])
    assert repr(part) == "GreedyPath(n_inputs=4, n_outputs=3, n_stages=2, run_shape=(2, 5))"


def test_stages_of_equal_sigma_merge_and_missing_ones_never_come():
    loss = SquaredLoss(np.eye(4), np.diag([2.0, 2.0, 1.0, 0.0]), 9.0)
    path = greedy_path(loss)
    assert_allclose(path.time, [0.5, 0.5, 1, np.inf], rtol=1e-12)
    assert_array_equal(path.merged, [False, True, False, False])
    assert path.rates[3] == 0
    nothing = greedy_path(SquaredLoss(np.eye(2), np.zeros((2, 2)), 1.0))
    assert np.isinf(nothing.time).all()
    assert not nothing.merged.any()
    single = greedy_path(SquaredLoss([[2.0]], [[4.0]], 9.0))
    assert_allclose(single.time, [0.25])
    few = np.random.default_rng(0)
    few = SquaredLoss.from_data(few.standard_normal((2, 5)), few.standard_normal((2, 4)))
    assert_array_equal(np.isfinite(greedy_path(few).time), [True, True, False, False])


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
    bound = perturbation_bound(loss, strength=strengths, time=time)
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
    assert_array_equal(perturbation_bound(exact, strength=[0.1], time=[0.0, 1.0, 1e6]), 0)


def test_the_perturbation_bound_is_that_of_its_formula():
    off = 1e-5 * np.array([[0.0, 1.0], [1.0, 0.0]])
    loss = modes_loss([2.0, 1.0], [1.0, 2.0], 2, off=off)
    w, norm = 2.0, np.hypot(2, 0.5)
    mu = 2.0 + 1.5 * np.linalg.norm(loss.input_cov, 2) * w
    times = np.array([0.1, 0.5, 1.0])
    expected = 1e-5 * np.sqrt(2 * w) * norm * np.expm1(mu * times) / mu
    assert_allclose(perturbation_bound(loss, strength=[0.1, 0.2], time=times), expected, rtol=1e-8)
    assert_allclose(perturbation_bound(loss, strength=[0.1], time=times), expected, rtol=1e-8)
    last = np.log1p((np.sqrt(1.5) - 1) * np.sqrt(w) * mu / (1e-5 * np.sqrt(2 * w) * norm)) / mu
    before, after = perturbation_bound(
        loss, strength=[0.1], time=[last * (1 - 1e-6), last * (1 + 1e-6)]
    )
    assert np.isfinite(before)
    assert np.isinf(after)
    runs = perturbation_bound(loss, strength=np.full((4, 1, 2), 0.1), time=[[0.1, 0.2]])
    assert runs.shape == (4, 1, 1, 2)
    assert perturbation_bound(loss, strength=[0.1], time=1e300) == np.inf


def test_moments_that_are_equal_have_a_bound():
    # Equal modes; outputs that are the inputs. Diagonal: no coupling. Else that of the formula, where
    # the largest mode is min(lam) / min(lam) = 1 and the coupling is rounding, or nothing proved.
    times = [0.0, 1e-320, 1.0, 10.0, 1e300]
    for scale in (1e-200, 1.0, 1e200):
        loss = SquaredLoss(scale * np.eye(3), scale * np.eye(3), 5.0)
        for strength in ([1e-3], [1.0, 1.0], [0.0], [1e-300], [1e300]):
            assert_array_equal(perturbation_bound(loss, strength=strength, time=times), 0)
    cov = np.array([[2.0, 1.0], [1.0, 2.0]])
    for loss in (SquaredLoss(cov, cov, 5.0), SquaredLoss(np.ones((2, 2)), np.ones((2, 2)), 5.0)):
        bound = perturbation_bound(loss, strength=[1e-3], time=times)
        assert bound[0] == bound[1] == 0
        assert bound[2] < 1e-11


def test_nothing_to_learn_is_bounded_by_nothing():
    loss = SquaredLoss(np.zeros((2, 2)), np.zeros((2, 2)), 1.0)
    assert_array_equal(perturbation_bound(loss, strength=[0.0, 0.0], time=[0.0, 1.0]), 0)
    assert_array_equal(perturbation_bound(loss, strength=[1.0, 0.0], time=[0.0, 1.0]), 0)


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


def test_the_perturbation_bound_beyond_the_range_of_numbers():
    huge = SquaredLoss(1e300 * np.array([[1.0, 0.1], [0.1, 1.0]]), 1e300 * np.eye(2), 1.0)
    bound = perturbation_bound(huge, strength=[0.1, 0.1], time=[0.0, 1e-310, 1.0, 1e308])
    assert_array_equal(np.isfinite(bound), [True, True, False, False])
