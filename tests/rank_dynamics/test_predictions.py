"""Predictions against simulated flows and descents, limits, bounds and brute force."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from mode_data import measured_times, modes_loss, orthogonal
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import joint_decomposition
from linnet_fast.rank_dynamics.limits import greedy_path, sequential_limit, stage_resolvability
from linnet_fast.rank_dynamics.perturbation import perturbation_bound
from linnet_fast.rank_dynamics.predictions import effective_strengths, predicted_times
from linnet_fast.reference import gradients

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


# Refused arguments

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
        (lambda: sequential_limit(LOSS, tau=-1.0), ValueError, "tau must be >= 0"),
        (lambda: sequential_limit(LOSS, tau=1.0, exponent=0), ValueError, "exponent must be > 0"),
        (
            lambda: sequential_limit(LOSS, tau=1.0, step_size=0.6),
            ValueError,
            r"step_size must be below 1 / sigma_1, .*, got step_size \* sigma_1 = 1.2",
        ),
        (lambda: stage_resolvability(LOSS, delta=0.0), ValueError, "delta must be > 0"),
        (lambda: greedy_path(LOSS, n_stages=3), ValueError, "n_stages must be <= 2, got 3"),
        (lambda: greedy_path(LOSS, n_stages=0), ValueError, "n_stages must be >= 1, got 0"),
        (
            lambda: perturbation_bound(LOSS, strength=[0.1] * 3, time=1.0),
            ValueError,
            r"strength must have shape \(\*run, at most 2\), got \(3,\)",
        ),
        (
            lambda: perturbation_bound(LOSS, strength=[-0.1], time=1.0),
            ValueError,
            "strength must be >= 0",
        ),
        (
            lambda: perturbation_bound(LOSS, strength=[0.1], time=-1.0),
            ValueError,
            "time must be >= 0",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
