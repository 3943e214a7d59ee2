"""Recursions of modes under gradient descent, against plain loops in floating point and mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.rank_dynamics.descent import (
    StepSizeRegime,
    descent_bounds,
    mode_descent,
    step_size_regime,
)
from linnet_fast.rank_dynamics.factors import factor_descent
from linnet_fast.rank_dynamics.modes import learning_time, limit_time
from linnet_fast.rank_dynamics.step_counts import learning_steps


def loop(layer, n_layers, eta, sigma, lam, n_steps):
    """Return the strengths after each step, in the arithmetic of `layer`."""
    strengths = [layer**n_layers]
    for _ in range(n_steps):
        layer = layer + eta * layer ** (n_layers - 1) * (sigma - lam * layer**n_layers)
        strengths.append(layer**n_layers)
    return strengths


@settings(max_examples=40, deadline=None)
@given(
    n_layers=st.integers(1, 6),
    sigma=st.floats(0.0, 2),
    lam=st.floats(0.3, 2),
    w0=st.floats(1e-6, 2),
    eta=st.floats(1e-3, 0.03),
)
def test_recursions_equal_the_loop(n_layers, sigma, lam, w0, eta):
    exact = np.array(loop(w0 ** (1 / n_layers), n_layers, eta, sigma, lam, 60))
    path = mode_descent(
        sigma, lam, steps=np.arange(61), step_size=eta, strength=w0, n_layers=n_layers
    )
    # Tolerance 1e-10, as the conditioning of 60 steps allows.
    assert_allclose(path.strength, exact, rtol=1e-10)
    if sigma > 1e-3:
        assert_allclose(path.remaining, 1 - lam * exact / sigma, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("x", [0.01, 0.3, 0.49])
def test_both_ends_are_relatively_accurate(x):
    with mpmath.workdps(400):
        layer, lam, eta = mpf("1e-20"), mpf("0.7"), mpf(x) / mpf("1.3")
        n_steps = 4000 if x < 0.1 else 250 if x < 0.4 else 160
        for _ in range(n_steps):
            layer = layer * (1 + eta * (mpf("1.3") - lam * layer**2))
        left = float(1 - lam * layer**2 / mpf("1.3"))
        strength = float(layer**2)
    path = mode_descent(1.3, 0.7, steps=n_steps, step_size=x / 1.3, log_strength=-40 * np.log(10))
    assert_allclose(path.strength, strength, rtol=1e-13)
    assert_allclose(path.remaining, left, rtol=1e-9)
    assert left < 1e-15 or x < 0.1


def test_a_mode_escapes_from_e_to_the_minus_million():
    # The growth is exactly (1 + x)^2 a step: half is reached after about 1e6 / (2 ln(1 + x)) steps.
    x = 0.3
    predicted = float(learning_steps(1.0, step_size=x, log_strength=-1e6))
    assert_allclose(predicted, 1e6 / (2 * np.log1p(x)), rtol=1e-4)
    around = np.round(predicted).astype(int) + np.array([-1, 1])
    below, above = mode_descent(1.0, steps=around, step_size=x, log_strength=-1e6).strength
    assert below < 0.5 < above


def test_steps_in_any_order_and_broadcasting():
    steps = [5, 0, 5, 2]
    path = mode_descent(
        [1.0, 0.0, 2.0], [1.0, 0.5, 0.0], steps=steps, step_size=[[0.1], [0.2]], strength=0.1
    )
    assert path.strength.shape == (2, 3, 4)
    assert_array_equal(path.strength[..., 0], path.strength[..., 2])
    assert_allclose(path.strength[..., 1], 0.1, rtol=1e-14)
    one = mode_descent(2.0, 0.0, steps=2, step_size=0.2, strength=0.1)
    assert one.strength.shape == ()
    assert_allclose(path.strength[1, 2, 3], one.strength)
    assert np.isnan(path.remaining[:, 1]).all()


def test_zero_stays_and_large_steps_diverge():
    assert_array_equal(mode_descent(1.0, steps=[0, 10], step_size=0.1, strength=0.0).strength, 0)
    assert_array_equal(
        mode_descent(1.0, steps=[0, 10], step_size=0.1, strength=0.0).log_strength, -np.inf
    )
    with np.errstate(all="raise", under="ignore"):
        path = mode_descent(1.0, steps=10_000, step_size=2.1, strength=0.3)
    assert not np.isfinite(path.strength)


def test_one_layer_is_a_geometric_sequence():
    # step_size * lam below, at and above 1, and lam = 0
    path = mode_descent(
        1.0, [1.0, 2.0, 3.0, 0.0], steps=[0, 1, 7], step_size=0.5, strength=0.2, n_layers=1
    )
    for lam, row in zip([1.0, 2.0, 3.0, 0.0], path.strength, strict=True):
        assert_allclose(row, np.array(loop(0.2, 1, 0.5, 1.0, lam, 7))[[0, 1, 7]], rtol=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    first=st.floats(-2, 2),
    second=st.floats(-2, 2),
    sigma=st.floats(0, 2),
    lam=st.floats(0, 2),
    eta=st.floats(1e-3, 0.2),
)
def test_factors_equal_the_loop(first, second, sigma, lam, eta):
    a, b = factor_descent(sigma, lam, first, second, steps=np.arange(21), step_size=eta)
    x, y, gap = first, second, first**2 - second**2
    for k in range(20):
        assert_allclose([a[k], b[k]], [x, y], rtol=1e-12, atol=1e-14)
        e = sigma - lam * x * y
        x, y = x + eta * y * e, y + eta * x * e
        gap *= 1 - (eta * e) ** 2
        assert_allclose(x * x - y * y, gap, atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(
    x=st.floats(1e-3, 0.5),
    sigma=st.floats(0.1, 3),
    lam=st.floats(0.1, 3),
    part=st.floats(1e-9, 1),
    steps=st.integers(0, 500),
)
def test_bounds_hold(x, sigma, lam, part, steps):
    start = part * sigma / lam
    eta = x / sigma
    if eta * sigma > 0.5:
        return
    lower, upper = descent_bounds(sigma, lam, steps=steps, step_size=eta, strength=start)
    w = mode_descent(sigma, lam, steps=steps, step_size=eta, strength=start).strength
    assert lower * (1 - 1e-12) <= w <= upper * (1 + 1e-12)


def test_bounds_are_attained_at_both_ends():
    lower, upper = descent_bounds(1.0, steps=10, step_size=0.3, log_strength=-500.0)
    w = mode_descent(1.0, steps=10, step_size=0.3, log_strength=-500.0).strength
    assert_allclose(w, lower, rtol=1e-12)
    assert upper > 1.5 * w
    path = mode_descent(1.0, steps=[40, 41], step_size=0.3, strength=0.5)
    assert_allclose(path.remaining[1] / path.remaining[0], 1 - 2 * 0.3, rtol=1e-6)


@pytest.mark.parametrize("x", [0.01, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("log_start", [-60.0, -10.0, -2.0])
@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.999])
def test_step_counts_of_two_layers(x, log_start, fraction):
    predicted = float(
        learning_steps(2.0, 0.5, step_size=x / 2, log_strength=log_start, fraction=fraction)
    )
    learned = (
        1
        - mode_descent(
            2.0, 0.5, steps=np.arange(5000), step_size=x / 2, log_strength=log_start
        ).remaining
    )
    after = int(np.argmax(learned >= fraction))
    with np.errstate(divide="ignore"):
        logit = np.log(learned / (1 - learned))
    wanted = np.log(fraction / (1 - fraction))
    exact = after - (logit[after] - wanted) / (logit[after] - logit[after - 1])
    assert abs(predicted - exact) < 0.6


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 5])
def test_step_counts_of_all_depths_at_small_steps(n_layers):
    eta, sigma, lam, w0, fraction = 0.002, 1.2, 0.8, 0.05, 0.7
    options = {"strength": w0, "fraction": fraction, "n_layers": n_layers}
    predicted = float(learning_steps(sigma, lam, step_size=eta, **options))
    learned = lam / sigma * np.array(loop(w0 ** (1 / n_layers), n_layers, eta, sigma, lam, 5000))
    after = int(np.argmax(learned >= fraction))
    exact = after - (learned[after] - fraction) / (learned[after] - learned[after - 1])
    assert abs(predicted - exact) < 0.02
    assert (
        abs(float(learning_time(sigma, lam, **options)) / eta - exact) > 0.1
    )  # correction matters


def test_step_counts_at_the_edges():
    assert learning_steps(1.0, step_size=0.1, strength=0.7) == 0
    assert np.isinf(learning_steps([0.0, 1.0], [1.0, 0.0], step_size=0.1, strength=0.3)).all()
    assert np.isinf(learning_steps(1.0, step_size=0.1, strength=0.0))


def test_the_limit_of_vanishing_starts():
    delta = 600.0
    for x in (0.3, 0.9):
        limit = float(limit_time(1.0, step_size=x))
        for tau, expected in ((0.9 * limit, 0.0), (1.1 * limit, 1.0)):
            steps = int(delta * tau)
            if x < 0.5:
                w = mode_descent(1.0, steps=steps, step_size=x, log_strength=-2 * delta).strength
            else:
                # from where it can be represented, after the exact growth up to there
                grown = int(np.floor((delta - 300) / np.log1p(x)))
                log_left = -2 * (delta - grown * np.log1p(x))
                w = mode_descent(
                    1.0, steps=max(steps - grown, 0), step_size=x, log_strength=log_left
                ).strength
            assert_allclose(w, expected, atol=1e-9)


def test_regimes_are_what_the_recursion_does():
    x = np.array([0.3, 0.7, 1.1, 1.8, 2.2])
    assert step_size_regime(1.0, step_size=x).tolist() == list(StepSizeRegime)[:5]
    assert step_size_regime([0.5, 1.0, 2.0, 0.0], step_size=1.0).tolist() == [0, 2, 3, 0]
    late = mode_descent(1.0, steps=np.arange(5000, 5400), step_size=x, strength=0.1).strength
    rising = mode_descent(1.0, steps=np.arange(200), step_size=0.3, strength=0.1).strength
    assert (np.diff(rising) >= 0).all()
    damped = mode_descent(1.0, steps=np.arange(200), step_size=0.7, strength=0.1).strength
    assert damped.max() > 1.004
    assert_allclose(late[:2], 1, rtol=1e-12)
    assert_allclose(late[2, ::2], late[2, 0], rtol=1e-9)
    assert abs(late[2, 1] - late[2, 0]) > 0.1
    assert len(set(late[3].round(6))) > 50
    assert late[3].max() <= 3.8 / 1.8
    assert not np.isfinite(late[4]).any()


def test_training_follows_the_recursion():
    # Aligned starts of two and of three layers, on data that are not white, to 1e-10.
    sigma, lam, eta = np.array([1.5, 0.8, 0.3]), np.array([1.0, 2.0, 0.5]), 0.05
    loss = lf.SquaredLoss(np.diag(lam), np.diag(sigma), 10.0)
    for n_layers in (2, 3):
        network = lf.Dense((3,) * (n_layers + 1))
        start = lf.initialization.aligned(network, loss, [1e-3, 1e-4, 1e-2], rng=0)
        run = lf.train(
            network,
            loss,
            start,
            method=lf.GradientDescent(eta),
            n_steps=400,
            record=lf.Record.every(20, observables=("product",)),
        )
        path = mode_descent(
            sigma,
            lam,
            steps=run.steps,
            step_size=eta,
            strength=[1e-3, 1e-4, 1e-2],
            n_layers=n_layers,
        )
        assert_allclose(np.einsum("tii->it", run.product), path.strength, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (
            lambda: mode_descent(1, steps=1.0, step_size=0.1, strength=1),
            TypeError,
            "steps must be integers",
        ),
        (
            lambda: mode_descent(1, steps=np.zeros(0, int), step_size=0.1, strength=1),
            ValueError,
            "steps must not be empty",
        ),
        (
            lambda: mode_descent(1, steps=-1, step_size=0.1, strength=1),
            ValueError,
            "steps must be >= 0, got -1",
        ),
        (
            lambda: mode_descent(1, steps=[[1]], step_size=0.1, strength=1),
            ValueError,
            "steps must have shape",
        ),
        (
            lambda: mode_descent(1, steps=1, step_size=0, strength=1),
            ValueError,
            "step_size must be > 0, got 0",
        ),
        (
            lambda: mode_descent(-1, steps=1, step_size=0.1, strength=1),
            ValueError,
            "sigma must be >= 0",
        ),
        (
            lambda: mode_descent(1, steps=1, step_size=0.1),
            TypeError,
            "strength or log_strength must be given",
        ),
        (
            lambda: descent_bounds(1, steps=1, step_size=0.6, strength=0.1),
            ValueError,
            r"1/2\] \(use mode_descent",
        ),
        (
            lambda: descent_bounds(0, steps=1, step_size=0.1, strength=0.1),
            ValueError,
            r"in \(0, 1/2\]",
        ),
        (
            lambda: descent_bounds(1, steps=1, step_size=0.1, strength=2),
            ValueError,
            "above rest use mode_descent",
        ),
        (
            lambda: learning_steps(1, step_size=0.6, strength=0.1),
            ValueError,
            r"< 1/2 \(use mode_descent",
        ),
        (
            lambda: learning_steps(1, 2, step_size=0.6, strength=0.1, n_layers=1),
            ValueError,
            r"step_size \* lam must be < 1 \(use mode_descent",
        ),
        (lambda: step_size_regime(-1, step_size=0.1), ValueError, "sigma must be >= 0"),
        (
            lambda: factor_descent(1, 1, np.inf, 1, steps=1, step_size=0.1),
            ValueError,
            "first must be finite",
        ),
    ],
)
def test_bad_arguments(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
