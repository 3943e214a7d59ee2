"""Closed forms of modes under the flow, against mpmath with 60 digits and SciPy's integrator."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from support import crossed

from linnet_fast.rank_dynamics.factors import factor_flow, factor_time
from linnet_fast.rank_dynamics.modes import (
    escape_time,
    learning_time,
    limit_time,
    mode_flow,
)

mp.dps = 60


def exact_two_layers(t, sigma, lam, log_w):
    """Return w, ln w and 1 - lam w / sigma, with 60 digits."""
    t, sigma, lam = mpf(t), mpf(sigma), mpf(lam)
    w0 = mpmath.exp(mpf(log_w))
    q = mpmath.exp(-2 * sigma * t)
    w = w0 / (q + lam * w0 * (1 - q) / sigma)
    x0 = lam * w0 / sigma
    return w, mpmath.log(w), (1 - x0) * q / (q + x0 * (1 - q))


@pytest.mark.parametrize("log_w", [-1e6, -1e4, -50.0, -1.0, 0.5, 30.0])
@pytest.mark.parametrize(("sigma", "lam"), [(1.0, 1.0), (0.3, 2.0), (7.0, 1e-3)])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.999, 1.0, 1.001, 3.0])
def test_two_layers_at_any_scale_and_time(log_w, sigma, lam, where):
    # Times are shares of the learning time. Near it, of 1e6 units of growth, the time itself is only
    # known to 1e-16: w is as good as exp(1e-16 * 2e6).
    t = where * max(abs(log_w), 1.0) / (2 * sigma)
    w, log, left = exact_two_layers(t, sigma, lam, log_w)
    path = mode_flow(sigma, lam, time=t, log_strength=log_w)
    tolerance = 1e-13 + 4e-16 * abs(log_w)
    assert_allclose(path.log_strength, float(log), rtol=4e-15, atol=tolerance)
    if log > -700:
        assert_allclose(path.strength, float(w), rtol=tolerance)
    if float(abs(left)) > 1e-300:
        assert_allclose(path.remaining, float(left), rtol=tolerance)


def test_what_remains_is_accurate_when_hardly_anything_remains():
    path = mode_flow(1.0, 1.0, time=250.0, strength=1e-3)
    left = exact_two_layers(250.0, 1.0, 1.0, float(np.log(1e-3)))[2]
    assert_allclose(path.remaining, float(left), rtol=1e-12)
    assert path.remaining < 1e-200
    assert path.strength == 1.0


def exact_tau(y0, y, n_layers):
    """Return the integral of 1 / (x^(L-1) (1 - x^L)), with 60 digits, piecewise."""
    points = [y0]
    while abs(mpmath.log(points[-1] / y)) > 1:
        points.append(points[-1] * mpmath.exp(mpmath.sign(mpmath.log(y / points[-1]))))
    return mpmath.quad(lambda x: 1 / (x ** (n_layers - 1) * (1 - x**n_layers)), [*points, y])


@crossed(("n_layers", [3, 4, 5, 7]), ("w0", [1e-6, 0.01, 0.6, 1.5, 40.0]), n=10)
def test_more_layers_invert_the_implicit_time(n_layers, w0):
    sigma, lam = 1.3, 0.7
    rest = mpf(sigma) / mpf(lam)
    y0 = (mpf(w0) / rest) ** (mpf(1) / n_layers)
    # Targets between the start and rest, and times to them by quadrature.
    for part in (0.02, 0.5, 0.9, 0.9999):
        y = y0 + (1 - y0) * mpf(part)
        tau = exact_tau(y0, y, n_layers)
        t = tau / (mpf(sigma) * rest ** (1 - mpf(2) / n_layers))
        expected = 1 - y**n_layers
        path = mode_flow(sigma, lam, time=float(t), strength=w0, n_layers=n_layers)
        # How the result answers to the rounding of t.
        answer = float(n_layers * y ** (2 * n_layers - 2) * tau) * 4e-15
        tolerance = 1e-13 + answer * float((1 - y**n_layers) / abs(expected))
        assert_allclose(path.remaining, float(expected), rtol=tolerance, atol=0)
        answer = float(n_layers * y ** (n_layers - 2) * abs(1 - y**n_layers) * tau) * 4e-15
        assert_allclose(path.strength, float(rest * y**n_layers), rtol=1e-13 + answer)
        if y < 1 and part < 0.99:
            fraction = float(y**n_layers)
            again = learning_time(sigma, lam, strength=w0, fraction=fraction, n_layers=n_layers)
            assert_allclose(again, float(t), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    n_layers=st.integers(1, 6),
    sigma=st.floats(0.1, 3),
    lam=st.floats(0.1, 3),
    w0=st.floats(1e-3, 5),
    t=st.floats(0.01, 3),
)
def test_modes_solve_their_equation(n_layers, sigma, lam, w0, t):
    power = 2 - 2 / n_layers
    solution = solve_ivp(
        lambda _, w: n_layers * w**power * (sigma - lam * w),
        (0, t),
        [w0],
        "LSODA" if w0 > 4 else "DOP853",
        rtol=1e-12,
        atol=1e-14,
    )
    path = mode_flow(sigma, lam, time=t, strength=w0, n_layers=n_layers)
    assert_allclose(path.strength, solution.y[0, -1], rtol=1e-9)
    assert_allclose(path.remaining, 1 - lam * path.strength / sigma, atol=1e-12)
    assert_allclose(path.log_strength, np.log(path.strength), atol=1e-12)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 5])
def test_edges(n_layers):
    options = {"n_layers": n_layers}
    # t = 0
    path = mode_flow(2.0, 0.5, time=0.0, strength=[1e-3, 4.0, 7.0], **options)
    assert_allclose(path.strength, [1e-3, 4.0, 7.0], rtol=1e-14)
    assert_allclose(path.remaining, [1 - 1e-3 / 4, 0, -0.75], atol=1e-15)
    # nothing to grow from
    path = mode_flow(2.0, 0.5, time=[0.0, 5.0], strength=0.0, **options)
    if n_layers > 1:
        assert_array_equal(path.strength, 0)
        assert_array_equal(path.log_strength, -np.inf)
        assert_array_equal(path.remaining, 1)
    else:
        assert_allclose(path.strength, [0, 4 * -np.expm1(-2.5)])
    # sigma = 0: decays like a power; nothing is left to be told
    path = mode_flow(0.0, 0.5, time=[0.0, 3.0], strength=2.0, **options)
    power = 2 - 2 / n_layers
    if n_layers == 1:
        expected = 2 * np.exp(-1.5)
    else:
        expected = (2**-power + (2 * n_layers - 2) * 0.5 * 3) ** (-1 / power)
    assert_allclose(path.strength, [2, expected], rtol=1e-14)
    assert np.isnan(path.remaining).all()
    # lam = 0: grows for ever
    path = mode_flow(0.5, 0.0, time=[0.0, 0.1], strength=0.3, **options)
    layer = 0.3 ** (1 / n_layers)
    grown = {
        1: 0.3 + 0.05,
        2: 0.3 * np.exp(0.1),
        3: (1 / layer - 0.05) ** -3.0,
        5: (layer**-3 - 3 * 0.05) ** (-5 / 3),
    }[n_layers]
    assert_allclose(path.strength, [0.3, grown], rtol=1e-13)
    assert_array_equal(path.remaining, 1)
    # both
    path = mode_flow(0.0, 0.0, time=5.0, strength=0.3, **options)
    assert_allclose(path.strength, 0.3)
    # any time
    path = mode_flow(2.0, 0.5, time=1e300, strength=1e-3, **options)
    assert path.strength == 4.0
    assert path.remaining == 0
    # learning times
    assert learning_time(2.0, 0.5, strength=3.0, **options) == 0
    assert np.isinf(learning_time(0.0, 0.5, strength=3.0, **options))
    assert np.isinf(learning_time(2.0, 0.0, strength=3.0, **options))


def test_growth_without_bound_ends_in_infinity():
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        path = mode_flow(1.0, 0.0, time=[1.0, 1e3, 1e9], strength=1.0, n_layers=4)
    assert np.isinf(path.strength).tolist() == [True, True, True]


def test_everything_broadcasts_and_is_quiet():
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        path = mode_flow(
            np.array([0.0, 0.5, 2.0])[:, None],
            [0.0, 0.3, 1.0, 5.0],
            time=np.array([0.0, 1.0, 1e4])[:, None, None],
            log_strength=[-1e6, -800.0, -3.0, 2.0],
            n_layers=3,
        )
        times = learning_time([0.0, 0.5, 2.0], log_strength=[[-1e6], [-3.0]], n_layers=3)
    assert path.strength.shape == path.remaining.shape == (3, 3, 4)
    assert times.shape == (2, 3)
    assert np.isinf(times[0]).all()
    two = mode_flow(0.5, 0.3, time=[0.0, 1.0, 1e4], log_strength=-3.0, n_layers=3)
    assert_array_equal(
        two.strength, mode_flow(0.5, 0.3, time=[0.0, 1.0, 1e4], log_strength=-3.0, n_layers=3)[0]
    )


@pytest.mark.parametrize("log_w", [-1e6, -300.0, -5.0])
def test_learning_times_of_two_layers(log_w):
    sigma, lam, q = 0.7, 1.9, 0.2
    x0 = mpf(lam) * mpmath.exp(mpf(log_w)) / mpf(sigma)
    exact = (mpmath.log(mpf(q) / (1 - mpf(q))) + mpmath.log(1 / x0 - 1)) / (2 * mpf(sigma))
    assert_allclose(
        learning_time(sigma, lam, log_strength=log_w, fraction=q), float(exact), rtol=1e-14
    )
    back = mode_flow(sigma, lam, time=float(exact), log_strength=log_w)
    assert_allclose(1 - back.remaining, q, rtol=1e-13 + 1e-15 * abs(log_w))


def test_learning_times_of_one_layer_do_not_know_the_scale():
    small = learning_time(1.0, 0.5, strength=[1e-3, 1e-9], n_layers=1)
    assert_allclose(small, np.log(2) / 0.5, rtol=1e-2)


def test_escapes_of_deep_modes():
    exact = learning_time(1.5, 0.3, log_strength=3 * np.log(1e-4), n_layers=3)
    assert_allclose(escape_time(1.5, layer_scale=1e-4, n_layers=3), exact, rtol=1e-3)
    exact = learning_time(1.5, 0.3, log_strength=4 * np.log(1e-2), n_layers=4)
    assert_allclose(escape_time(1.5, layer_scale=1e-2, n_layers=4), exact, rtol=1e-3)


def test_limits_of_learning_times():
    # At delta = 1e5 the mode is at half its strength at delta / sigma, to 1e-4.
    sigma, delta = np.array([2.0, 0.7]), 1e5
    times = learning_time(sigma, 0.4, log_strength=-2 * delta)
    assert_allclose(times / delta, limit_time(sigma), rtol=1e-4)
    assert_allclose(limit_time(sigma, step_size=1e-7) * 1e-7, limit_time(sigma), rtol=1e-6)
    assert np.isinf(limit_time(0.0))


# --- two factors


@settings(max_examples=40, deadline=None)
@given(
    sigma=st.just(0.0) | st.floats(1e-3, 2),
    lam=st.just(0.0) | st.floats(1e-3, 2),
    first=st.floats(-2, 2),
    second=st.floats(-2, 2),
    t=st.floats(0, 2.5),
)
def test_factors_solve_their_equation(sigma, lam, first, second, t):
    def slope(_, y):
        return [y[1] * (sigma - lam * y[0] * y[1]), y[0] * (sigma - lam * y[0] * y[1])]

    exact = solve_ivp(slope, (0, t), [first, second], "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    a, b = factor_flow(sigma, lam, first, second, time=t)
    assert_allclose([a, b], exact, rtol=1e-10, atol=1e-10)
    size = a * a + b * b
    assert_allclose(a * a - b * b, first**2 - second**2, atol=4e-15 * max(size, 1e-300) + 1e-15)


def exact_factors(t, sigma, lam, a0, b0):
    """Return both factors from the Riccati equation, with 60 digits; a_0 + b_0 and lam not 0."""
    t, sigma, lam, a0, b0 = map(mpf, (t, sigma, lam, a0, b0))
    m = lam * (a0**2 - b0**2) / 2
    rho = mpmath.sqrt(sigma**2 + m**2)
    tanh = mpmath.tanh(rho * t) / rho
    s, d = a0 + b0, a0 - b0
    g = (1 - sigma * tanh + lam * s**2 * tanh / 2) * (1 + sigma * tanh + lam * d**2 * tanh / 2)
    root = mpmath.sqrt(g)
    return (a0 + (m * a0 + sigma * b0) * tanh) / root, (b0 + (sigma * a0 - m * b0) * tanh) / root


@pytest.mark.parametrize(
    ("first", "second"),
    [(1.0, 1.0), (2.0, 0.1), (0.1, -2.0), (-1.0, -3.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.999999)],
)
@pytest.mark.parametrize("log_scale", [-600.0, -300.0, -20.0, 0.0, 2.0])
def test_factors_from_any_scale(first, second, log_scale):
    sigma, lam = 1.2, 0.8
    scale = mpmath.exp(mpf(log_scale))
    for t in (0.0, 1.0, abs(log_scale) / sigma, 2 * abs(log_scale) / sigma + 40):
        mp.dps = 60 + int(abs(log_scale))  # 1 - sigma tanh cancels
        exact = exact_factors(t, sigma, lam, mpf(first) * scale, mpf(second) * scale)
        mp.dps = 60
        a, b = factor_flow(sigma, lam, first, second, time=t, log_scale=log_scale)
        tolerance = 2e-14 + 1e-15 * abs(log_scale)
        assert_allclose([a, b], [float(x) for x in exact], rtol=tolerance, atol=1e-290)


def test_factors_on_the_stable_manifold_go_to_the_saddle():
    a, b = factor_flow(1.0, 1.0, 2.0, -2.0, time=[0.0, 5.0, 500.0])
    assert_allclose(a, -b)
    assert_allclose(a[:2], [2.0, 2 / np.sqrt(np.exp(10) + 4 * np.expm1(10))], rtol=1e-13)
    assert a[2] < 1e-200
    assert np.isinf(factor_time(1.0, 1.0, 2.0, -2.0))


def test_equal_factors_are_the_balanced_mode():
    t = np.linspace(0, 30, 50)
    for log_w in (-900.0, -20.0, 1.0):
        a, b = factor_flow(1.3, 0.4, 1.0, 1.0, time=t, log_scale=log_w / 2)
        w = mode_flow(1.3, 0.4, time=t, log_strength=log_w)
        assert_array_equal(a, b)
        assert_allclose(a * a, w.strength, rtol=1e-12, atol=1e-300)


def test_times_of_factors():
    assert_allclose(
        factor_time(1.3, 0.4, 1.0, 1.0, log_scale=[-50.0, -2.0], fraction=0.3),
        learning_time(1.3, 0.4, log_strength=[-100.0, -4.0], fraction=0.3),
        rtol=1e-13,
    )
    # A small unbalanced start is as good as the balanced one along a + b.
    assert_allclose(
        factor_time(1.0, 1.0, 3e-5, -1e-5), learning_time(1.0, strength=1e-10), rtol=1e-6
    )
    t = factor_time(1.1, 0.6, -0.01, -2.0, fraction=0.7)
    a, b = factor_flow(1.1, 0.6, -0.01, -2.0, time=t)
    assert_allclose(0.6 * a * b / 1.1, 0.7, rtol=1e-13)
    assert factor_time(1.0, 1.0, 1.0, 0.9) == 0
    assert np.isinf(factor_time([0.0, 1.0], [1.0, 0.0], 1.0, 0.9 * 1e-3)).all()


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: mode_flow(-1, time=1, strength=1), ValueError, "sigma must be >= 0, got -1"),
        (lambda: mode_flow(1, -1, time=1, strength=1), ValueError, "lam must be >= 0, got -1"),
        (lambda: mode_flow(1, time=-1, strength=1), ValueError, "time must be >= 0, got -1"),
        (lambda: mode_flow(1, time=1, strength=-1), ValueError, "any sign use factor_flow"),
        (
            lambda: mode_flow(1, time=1),
            TypeError,
            "must be given, one of them, got neither",
        ),
        (lambda: mode_flow(1, time=1, strength=1, log_strength=0), TypeError, "got both"),
        (lambda: mode_flow(1, time=1, strength=1, n_layers=0), ValueError, "n_layers must be >= 1"),
        (
            lambda: mode_flow(1, time=1, strength=1, n_layers=2.0),
            TypeError,
            "n_layers must be an int",
        ),
        (lambda: mode_flow(1, time=1, strength=np.nan), ValueError, "strength must be finite"),
        (lambda: mode_flow("1", time=1, strength=1), TypeError, "sigma must be a real number"),
        (
            lambda: learning_time(1, strength=1, fraction=1),
            ValueError,
            r"fraction must be in \(0, 1",
        ),
        (lambda: factor_time(1, 1, 1, 1, fraction=0), ValueError, r"fraction must be in \(0, 1"),
        (
            lambda: escape_time(1, layer_scale=0.1, n_layers=2),
            ValueError,
            "fewer layers escape by learning_time",
        ),
        (lambda: escape_time(1, layer_scale=0, n_layers=3), ValueError, "layer_scale must be > 0"),
        (lambda: limit_time(1, step_size=0), ValueError, "step_size must be > 0"),
    ],
)
def test_bad_arguments(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
