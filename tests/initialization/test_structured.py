"""Balanced and orthogonal starts of convolutional, grouped and residual networks."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast._base import elementary
from linnet_fast.initialization import balanced, orthogonal

CIRCLE = lf.Convolution(6, 6, 3)
IMAGE = lf.Convolution((3, 4), (3, 4), 3)
GROUPED = lf.Grouped([(2, 0), (1, 3, 4)], n_diagonal=2, n_scalar=3)


@pytest.mark.parametrize("n", [1, 2, 12, 777])
def test_points_of_the_circle(n):
    with mpmath.workprec(100):
        exact = [mpmath.expjpi(mpmath.mpf(2 * j) / n) for j in range(n)]
        cosines, sines = elementary.circle(n)
        for part, found in ((mpmath.re, cosines), (mpmath.im, sines)):
            off = [abs(part(z) - mpmath.mpf(x)) for z, x in zip(exact, found, strict=True)]
            assert max(off) < 2.3e-16


# -- balanced ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        CIRCLE,
        IMAGE,
        GROUPED,
        lf.Convolution(5, taps=(3, 0, 4, 1, 2), n_layers=2),
        lf.Convolution(5, 5, 4, dilation=(2, 1, 3)),
        lf.Convolution(1, 1, 2),
        lf.Grouped([(0,), (1, 2)]),
    ],
)
def test_balanced_layers_have_the_product(network):
    product = np.random.default_rng(1).standard_normal((1, network.n_inputs))
    weights = balanced(network, product=product, scale=[1.0, 1e-9], batch_shape=2)
    made = network.product(weights)
    assert_allclose(made[0], product, rtol=0, atol=2e-14)
    assert_allclose(made[1], 1e-9 * product, rtol=0, atol=2e-23)
    norms = [np.linalg.norm(w.reshape(2, -1), axis=-1) for w in weights]
    for norm in norms[1:]:
        assert_allclose(norm, norms[0], rtol=1e-13)  # Euler: of every homogeneous loss
    random = balanced(network, rng=0, batch_shape=3000)
    of_runs = network.product(random)
    assert abs(of_runs.std() * np.sqrt(network.n_inputs) - 1) < 0.05
    (alone,) = (w for w in balanced(network, rng=0, streams=7)[:1])
    assert_array_equal(alone, random[0][7])


@pytest.mark.parametrize("network", [CIRCLE, IMAGE])
def test_balanced_convolutions_are_equal_frequency_by_frequency_and_stay_so(network):
    axes = (-1,) if network is CIRCLE else (-2, -1)
    shape = (6,) if network is CIRCLE else (3, 4)
    start = balanced(network, rng=3)

    def strengths(weights):
        return [np.abs(np.fft.fftn(w.reshape(shape), axes=axes)) for w in weights]

    first, *others = strengths(start)
    for other in others:
        assert_allclose(other, first, rtol=1e-12)
    n = network.n_inputs
    loss = lf.SquaredLoss(np.eye(n), np.ones((1, n)) + np.arange(n), 100.0)
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-11), until=0.3)
    first, *others = strengths(run.final.weights)
    assert abs(first - strengths(start)[0]).max() > 0.1
    for other in others:
        assert_allclose(other, first, rtol=1e-7, atol=1e-8)


def test_balanced_groups_are_equal_and_stay_so():
    start = balanced(GROUPED, rng=3)
    loss = lf.SquaredLoss(np.eye(5), np.array([[1.0, -2.0, 0.5, 2.0, 1.0]]), 10.0)
    run = lf.train(GROUPED, loss, start, method=lf.GradientFlow(1e-11), until=2.0)
    assert np.abs(run.final.weights[0] - start[0]).max() > 0.1
    for weights in (start, run.final.weights):
        lower, masked, *scalars = weights
        order = [0, 2, 1, 3, 4]  # a mask has its entries row by row
        assert_allclose(np.abs(masked), np.abs(lower)[order], rtol=1e-8)
        lengths = [np.linalg.norm(masked[:2]), np.linalg.norm(masked[2:])]
        for scalar in scalars:
            assert_allclose(np.abs(scalar.ravel()), lengths, rtol=1e-8)


def test_balanced_groups_of_nothing_and_of_very_little():
    product = np.array([[0.0, 1e-300, 0.0, -1e300, 1e300]])
    weights = balanced(GROUPED, product=product)
    assert_allclose(GROUPED.product(weights), product, rtol=1e-13)
    assert weights[-1][0, 0] == 0


# -- orthogonal --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        CIRCLE,
        IMAGE,
        lf.Convolution(4, 4, 3, channels=3, in_channels=2),
        lf.Convolution(4, 4, 2, channels=2, in_channels=3, dilation=3),
        lf.Convolution(8, 3, 3, channels=3),
        lf.Convolution((5, 4), 3, 2, channels=2, in_channels=4, padding="zero"),
        lf.Residual(4, 2, n_outputs=2),
    ],
)
def test_orthogonal_layers_are_isometries(network):
    weights = orthogonal(network, scale=2.0, rng=0, batch_shape=2)
    for layer, matrix in zip(network.layers, network.matrices(weights), strict=True):
        own = matrix - np.eye(matrix.shape[-1]) if isinstance(layer, lf.layers.Residual) else matrix
        assert_allclose(np.linalg.svd(own)[1], 2.0, rtol=1e-13)
    again = orthogonal(network, scale=2.0, rng=0, streams=[1], batch_shape=1)
    for one, other in zip(weights, again, strict=True):
        assert_array_equal(one[1], other[0])


def test_phases_of_orthogonal_convolutions_are_uniform():
    kernel, _ = orthogonal(lf.Convolution(4, 4, 2), rng=0, batch_shape=4000)
    values = np.fft.fft(kernel[:, 0, 0], axis=-1)
    for k in (0, 2):
        assert_allclose(np.abs(values[:, k].real), 1.0, rtol=1e-13)
        assert abs(values[:, k].real.mean()) < 0.06
    for power in (1, 2, 3):
        assert abs((values[:, 1] ** power).mean()) < 0.06
    # Neighbouring frequencies, and layers, know nothing of each other.
    assert abs((values[:, 1] * values[:, 0]).mean()) < 0.06


def test_orthogonal_weights_of_groups_are_signs():
    for array in orthogonal(GROUPED, scale=0.3, layer_scales=[1, 1, 1, 2, 0], rng=0)[:3]:
        assert_array_equal(np.abs(array), 0.3)
    assert orthogonal(GROUPED, layer_scales=[1, 1, 1, 2, 0], rng=0)[-1].tolist() == [[0.0, 0.0]]


# -- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "network", "message"),
    [
        ("balanced", lf.Convolution(6, 3, 2), "one channel and circular kernels as long as"),
        ("balanced", lf.Convolution(6, 6, 2, padding="zero"), "one channel and circular kernels"),
        ("balanced", lf.Convolution(6, 6, 2, dilation=2), "one channel and circular kernels"),
        ("balanced", lf.Convolution(6, 6, 2, channels=2), "one channel and circular kernels"),
        ("balanced", lf.Residual(3, 2), "without skips"),
        ("orthogonal", lf.Convolution(6, 3, 2, stride=2), "a tap that moves nothing and stride 1"),
        ("orthogonal", lf.Convolution(6, taps=(1, 2)), "a tap that moves nothing"),
        ("orthogonal", lf.Convolution(6, 3, padding="valid"), "a tap that moves nothing"),
    ],
)
def test_networks_without_such_a_start_are_refused(kind, network, message):
    with pytest.raises((TypeError, ValueError), match=f"network must .*{message}"):
        lf.Start(kind).draw(network, rng=0)
    loss = lf.SquaredLoss(np.eye(network.n_inputs), np.ones((1, network.n_inputs)), 9.0)
    with pytest.raises((TypeError, ValueError), match=f"network must .*{message}"):
        lf.Training(network, loss, lf.Start(kind), lf.GradientDescent(0.1), n_steps=1)


def test_widths_are_for_dense_networks():
    with pytest.raises(ValueError, match=r"^width must be left out of starts of networks that are"):
        orthogonal(GROUPED, width=10, rng=0)
