"""Two opposite neurons against Monte Carlo and against their own training."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from linnet_fast.directional_convergence.two_neurons import OppositePair
from linnet_fast.laws import Gaussian, Sphere

SLOPES = [0.0, 0.2, 1.0, -0.3]


def gradients(w, x, y, slope):
    """Gradients of the mean logistic loss by both neurons, and of each sample by the first."""
    z = x @ w.T
    f = np.where(z > 0, z, slope * z) @ [1, -1]
    pull = -y * expit(-y * f)
    slopes = np.where(z > 0, 1.0, slope)
    first = (pull * slopes[:, 0])[:, None] * x
    second = -(pull * slopes[:, 1])[:, None] * x
    return first.mean(axis=0), second.mean(axis=0), first


def linear_gradient(law, u):
    """Of a linear predictor on the population, for v along the first axis."""
    r = np.linalg.norm(u)
    return law.q(r) * u / r - law.kappa * np.eye(len(u))[0]


def test_output_is_linear_from_an_opposite_start():
    rng = np.random.default_rng(0)
    u, x = rng.standard_normal((5, 3)), rng.standard_normal((5, 20, 3))
    for slope in SLOPES:
        pair = OppositePair(slope)
        w = pair.start(u)
        assert w.shape == (5, 2, 3)
        assert_allclose(pair.output(w, x), (x @ u[..., None])[..., 0], atol=1e-12)
        assert_allclose(pair.predictor(w), u)
        assert_allclose(pair.predictor(w[0, 0]), u[0])
        assert_allclose(pair.output(w, -x), -pair.output(w, x), atol=1e-12)
    # Of any other pair it is not.
    w = rng.standard_normal((2, 3))
    z = x[0] @ w.T
    expected = np.maximum(z[:, 0], 0) - np.maximum(z[:, 1], 0)
    assert_allclose(OppositePair().output(w, x[0]), expected)
    with pytest.raises(ValueError, match="must be 0, got"):
        OppositePair().predictor(w)


@pytest.mark.parametrize("law", [Gaussian(2), Sphere(3)], ids=repr)
@pytest.mark.parametrize("slope", SLOPES)
def test_gradients_are_those_of_a_linear_predictor(law, slope):
    n = 200_000
    x = law.sample(n, 1)
    y = np.sign(x[:, 0])
    pair = OppositePair(slope)
    u = np.array([-0.8, 1.1, 0.4][: law.dim])
    first, second, each = gradients(pair.start(u), x, y, slope)
    expected = (1 + slope) / 2 * linear_gradient(law, u)
    error = each.std(axis=0) / np.sqrt(n)
    assert (np.abs(first - expected) < 4 * error).all()
    assert (np.abs(second + expected) < 4 * error).all()
    assert (error < 0.02 * np.abs(expected).max()).all()
    # u' = (1 + slope) w1' has the factor of time, once more a factor 1 + slope.
    assert_allclose((1 + slope) * expected, pair.time_factor * linear_gradient(law, u))


@pytest.mark.parametrize("dim", [2, 3])
def test_trained_pairs_follow_the_flow_of_one_layer(dim):
    # Antithetic samples, x and -x, keep the pair opposite, up to rounding, whatever their number.
    law, slope = Gaussian(dim), 0.1
    pair = OppositePair(slope)
    half = law.sample(20_000, 6)
    x = np.concatenate([half, -half])
    y = np.sign(x[:, 0])
    u = np.array([-1.2, 0.9, 0.5][:dim])
    w, step, n_steps = pair.start(u), 0.1, 200
    linear, expected = u.copy(), u.copy()
    for _ in range(n_steps):
        first, second, _ = gradients(w, x, y, slope)
        w = w - step * np.stack([first, second])
        # On the same samples exactly; on the population up to their noise.
        pull = -y * expit(-y * (x @ linear))
        linear = linear - pair.linear_time(time=step) * (pull @ x) / len(x)
        expected = expected - pair.linear_time(time=step) * linear_gradient(law, expected)
    assert_allclose(w[0], -w[1], atol=1e-12)
    assert_allclose(pair.predictor(w), linear, atol=1e-10)
    assert_allclose(pair.predictor(w), expected, atol=0.05)
    moved = np.linalg.norm(expected - u)
    assert moved > 1.5
    # A wrong factor of time would be seen.
    other = u.copy()
    for _ in range(n_steps):
        other = other - step * linear_gradient(law, other)
    assert np.linalg.norm(other - expected) > 0.3


def test_pairs_that_are_not_opposite_are_not_reduced():
    law = Gaussian(2)
    x = law.sample(100_000, 2)
    w = np.array([[0.5, 1.0], [0.5, -1.0]])
    first, second, _ = gradients(w, x, np.sign(x[:, 0]), 0.0)
    assert np.abs(first + second).max() > 0.03  # standard errors are some 1e-3


def test_times_and_messages():
    pair = OppositePair(0.5)
    assert pair.time_factor == 1.125
    assert_allclose(pair.time(linear_time=pair.linear_time(time=[1.0, 2.0])), [1, 2])
    assert OppositePair().time_factor == 0.5
    assert OppositePair(1).time_factor == 2
    with pytest.raises(ValueError, match="slope must be > -1, got -1"):
        OppositePair(-1.0)
    with pytest.raises(TypeError, match="slope"):
        OppositePair("relu")
    with pytest.raises(ValueError, match=r"weights must have shape \(\*run, 2, d\), got \(3, 2\)"):
        pair.output(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"X must have shape \(\*run, n, 2\), got \(4, 3\)"):
        pair.output(np.ones((2, 2)), np.ones((4, 3)))
