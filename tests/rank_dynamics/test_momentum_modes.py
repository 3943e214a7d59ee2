"""Modes with momentum: trainings, mpmath, eigenvalues of the linear recursion, counts of steps."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import rank_dynamics
from linnet_fast.rank_dynamics import (
    StepSizeRegime,
    largest_step_size,
    learning_steps,
    learning_time,
    mode_descent,
    predicted_times,
    step_size_regime,
)

LOSS = lf.SquaredLoss(np.diag([1.0, 0.5]), np.diag([2.0, 1.0]), 6.0)
BOTH = pytest.mark.parametrize("nesterov", [False, True])


@BOTH
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_modes_are_those_of_a_training(n_layers, nesterov):
    network = lf.Dense((2,) * (n_layers + 1))
    strength = 0.05
    start = lf.initialization.aligned(network, LOSS, strength ** (1 / n_layers), rng=0)
    if n_layers == 1:
        start = (strength * np.eye(2),)
    method = lf.GradientDescent(0.01, momentum=0.8, nesterov=nesterov)
    run = lf.train(
        network, LOSS, start, method=method, n_steps=300,
        record=lf.Record.every(10, ("singular_values", "product")),
    )  # fmt: skip
    begin = rank_dynamics.mode_strengths(run)[0]
    for mode, (sigma, lam) in enumerate([(2.0, 1.0), (1.0, 0.5)]):
        path = mode_descent(
            sigma, lam, step_size=0.01, steps=run.steps, strength=begin[mode], n_layers=n_layers,
            momentum=0.8, nesterov=nesterov,
        )  # fmt: skip
        assert_allclose(path.strength, rank_dynamics.mode_strengths(run)[:, mode], rtol=1e-10)
        assert_allclose(path.log_strength, np.log(path.strength), atol=1e-12)


def by_mpmath(eta, mu, log_w, depth, steps, nesterov):
    """Return strengths and what remains of sigma = 3, lam = 2, with 400 digits."""
    with mpmath.workdps(400):
        eta, mu, sigma, lam = mpmath.mpf(eta), mpmath.mpf(mu), mpmath.mpf(3), mpmath.mpf(2)
        a, v = mpmath.exp(mpmath.mpf(log_w) / depth), mpmath.mpf(0)
        found = {}
        for n in range(max(steps) + 1):
            if n in steps:
                w = a**depth
                found[n] = float(mpmath.log(w)), float(1 - lam * w / sigma)
            force = a ** (depth - 1) * (sigma - lam * a**depth)
            v = mu * v + force
            a += eta * (force + mu * v if nesterov else v)
    return np.array([found[n] for n in steps])


@BOTH
@pytest.mark.parametrize(
    ("eta", "mu", "log_w", "depth"),
    [(0.005, 0.9, -1000.0, 2), (0.01, 0.5, -2.0, 3), (0.005, 0.95, 0.4, 2), (0.01, 0.1, -1.0, 1),
     (0.004, 0.9, -1.0, 5)],
)  # fmt: skip
def test_small_starts_and_what_remains_are_relatively_accurate(eta, mu, log_w, depth, nesterov):
    steps = [0, 1, 50, 400, 900, 1500]
    exact = by_mpmath(eta, mu, log_w, depth, steps, nesterov)
    path = mode_descent(
        3.0, 2.0, step_size=eta, momentum=mu, nesterov=nesterov, log_strength=log_w, n_layers=depth,
        steps=steps,
    )  # fmt: skip
    assert_allclose(path.log_strength, exact[:, 0], rtol=1e-11, atol=1e-12)
    assert_allclose(path.remaining, exact[:, 1], rtol=1e-9, atol=1e-300)


@BOTH
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.98])
def test_learning_steps_count_what_the_recursion_takes(momentum, depth, nesterov):
    """The expansion where steps are short, the recursion where they are not, from tiny starts, too."""
    log_w = {1: -30.0, 2: -12.0, 3: -6.0}[depth]
    options = {"log_strength": log_w, "n_layers": depth, "momentum": momentum, "nesterov": nesterov}
    for reach in (0.3, 5e-3, 2e-3 * (1 - momentum)):
        eta = reach * (1 - momentum) / 3
        count = learning_steps(3.0, 2.0, step_size=eta, **options)
        steps = np.arange(int(2 * count) + 5)
        w = mode_descent(3.0, 2.0, step_size=eta, steps=steps, **options).strength
        after = int(np.argmax(w >= 0.75))
        exact = after - 1 + (0.75 - w[after - 1]) / (w[after] - w[after - 1])
        assert abs(count - exact) < 3e-3 + 1e-6 * exact
    flow = learning_time(3.0, 2.0, log_strength=log_w, n_layers=depth)
    tiny = learning_steps(3.0, 2.0, step_size=1e-9, **options)
    assert_allclose(tiny * 1e-9 / (1 - momentum), flow, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_edge_of_stability(momentum, nesterov):
    """By the eigenvalues of the linear recursion, and by modes at both sides of it."""
    for sharpness in (0.1, 4.0, 1e3):
        edge = largest_step_size(sharpness, momentum=momentum, nesterov=nesterov)
        for part, is_stable in ((0.999, True), (1.001, False)):
            x = part * edge * sharpness
            ahead = momentum if nesterov else 0.0
            step = np.array([[1 - x * (1 + ahead), -(momentum if not nesterov else momentum**2)],
                             [x, momentum]])  # fmt: skip
            assert (np.abs(np.linalg.eigvals(step)).max() < 1) == is_stable
    if not nesterov:
        assert_allclose(largest_step_size(4.0, momentum=momentum), 2 * (1 + momentum) / 4)
    # A mode of two layers has sharpness 2 sigma at rest, and 3 sigma^(4/3) of three.
    for depth, sharpness in ((2, 4.0), (3, 3 * 2 ** (4 / 3))):
        edge = largest_step_size(sharpness, momentum=momentum, nesterov=nesterov)
        settled = [
            mode_descent(
                2.0, step_size=part * edge, momentum=momentum, nesterov=nesterov, strength=2.002,
                n_layers=depth, steps=4000,
            ).remaining
            for part in (0.98, 1.02)
        ]  # fmt: skip
        assert abs(settled[0]) < 1e-6
        assert not abs(settled[1]) < 1e-2


@BOTH
def test_regimes(nesterov):
    edge = largest_step_size(2.0, momentum=0.9, nesterov=nesterov)
    eta = np.array([1e-4, 0.5 * edge, 1.01 * edge])
    found = step_size_regime(1.0, step_size=eta, momentum=0.9, nesterov=nesterov)
    assert found.tolist() == [
        StepSizeRegime.MONOTONE,
        StepSizeRegime.DAMPED,
        StepSizeRegime.UNSTABLE,
    ]
    # From where what remains has complex eigenvalues, it changes its sign.
    x = (1 - 0.9**0.5) ** 2 if not nesterov else (0.1 / 1.9) ** 2
    for part, regime in ((0.95, 0), (1.05, 1)):
        options = {"step_size": part * x / 2, "momentum": 0.9, "nesterov": nesterov}
        assert step_size_regime(1.0, **options) == regime
        remains = mode_descent(1.0, strength=0.9999, steps=range(2500), **options).remaining
        assert (remains < 0).any() == bool(regime)
    assert_array_equal(
        step_size_regime([3.0, 7.0, 25.0], step_size=0.1, momentum=[0.0, 0.0, 0.0]), [0, 1, 4]
    )


def test_no_momentum_is_plain_descent_bit_for_bit():
    options = {"step_size": 0.05, "steps": [0, 7, 300], "strength": [1e-9, 0.3, 5.0]}
    for depth in (1, 2, 3):
        plain = mode_descent(1.0, n_layers=depth, **options)
        for nesterov in (False, True):
            with_none = mode_descent(
                1.0, n_layers=depth, momentum=0.0, nesterov=nesterov, **options
            )
            for one, two in zip(plain, with_none, strict=True):
                assert_array_equal(one, two)


@BOTH
def test_summaries_predict_runs_with_momentum(nesterov):
    network = lf.Dense((2, 3, 2))
    start = lf.initialization.gaussian(network, scale=1e-5, rng=0)
    loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    method = lf.GradientDescent([0.002, 0.004], momentum=[0.9, 0.8], nesterov=nesterov)
    run = lf.train(network, loss, start, method=method, n_steps=2000, record=lf.Record.every(2))
    table = rank_dynamics.summary(run, run=0)
    assert_allclose(table.predicted, table.measured, rtol=2e-3)
    times = predicted_times(
        loss, start, step_size=[0.002, 0.004], momentum=[0.9, 0.8], nesterov=nesterov
    )
    assert_allclose(times[0], table.predicted)
    plain = predicted_times(loss, start, step_size=0.02)
    assert_allclose(times[0] / 0.1, plain, rtol=0.3)
    with pytest.raises(ValueError, match="momentum must be 0 of gradient flow"):
        predicted_times(loss, start, momentum=0.9)


def test_what_has_no_theory_says_so():
    network = lf.Dense((2, 3, 2))
    start = lf.initialization.gaussian(network, scale=1e-3, rng=0)
    X = np.random.default_rng(0).standard_normal((20, 2))
    loss = lf.SquaredLoss.from_data(X, X)
    record = lf.Record.every(5, ("singular_values", "weights"))
    runs = [
        {"method": lf.GradientDescent(0.05, weight_decay=0.1), "n_steps": 20},
        {"method": lf.GradientDescent(0.05, layer_multipliers=[1.0, 2.0]), "n_steps": 20},
        {"method": lf.StochasticGradientDescent(0.05, 4), "n_steps": 20},
        {"method": lf.GradientDescent(0.05), "phases": [lf.Phase(n_steps=20)]},
    ]
    for options in runs:
        run = lf.train(network, loss, start, record=record, **options)
        notes = rank_dynamics.summary(run).notes
        assert any(
            "No prediction: summary predicts the flow, or descent on all" in n for n in notes
        )
    heavy = lf.GradientDescent(0.05, momentum=0.9)
    run = lf.train(network, loss, start, record=record, method=heavy, n_steps=20)
    with pytest.raises(ValueError, match="imbalance_drift is for plain gradient descent or flow"):
        rank_dynamics.imbalance_drift(run)


def test_bounds_on_angles_are_of_plain_descent():
    loss = lf.SphericalLogisticLoss([1.0, 0.0, 0.0], lf.laws.Gaussian(3))
    network, record = lf.Dense((3, 1)), lf.Record.every(5, ("norm", "log_tan_half_angle"))
    start = (np.array([[-0.5, 0.5, 0.5]]),)
    for method in (lf.GradientDescent(0.1, momentum=0.5), lf.StochasticGradientDescent(0.1, 5)):
        run = lf.train(network, loss, start, method=method, n_steps=20, record=record)
        with pytest.raises(
            ValueError, match="trajectory must be one of plain gradient descent, or"
        ):
            lf.directional_convergence.check_bounds(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mode_descent(1.0, step_size=0.1, steps=3, strength=0.1, momentum=1.0), "momentum must be < 1"),
        (lambda: mode_descent(1.0, 0.0, step_size=0.1, steps=3, strength=0.1, momentum=0.5, n_layers=1),
         "lam must be > 0 of one layer with momentum"),
        (lambda: mode_descent(1.0, step_size=0.1, steps=3, log_strength=-2000.0, momentum=0.5),
         r"log_strength must be at least exp\(-1418\) of rest with momentum"),
        (lambda: largest_step_size(0.0), "sharpness must be > 0"),
        (lambda: largest_step_size(1.0, momentum=-0.1), "momentum must be >= 0"),
    ],
)  # fmt: skip
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
