"""Constants, identities, lambda-balanced and spectral starts, given weights, functions of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.initialization import (
    balanced,
    constant,
    custom,
    gaussian,
    given,
    identity,
    lambda_balanced,
    orthogonal,
    spectral,
)

CHAIN = lf.Chain(
    [
        lf.layers.Convolution(4, 3),
        lf.layers.Residual(lf.layers.Dense(4, 4)),
        lf.layers.Masked([[True, False, True, True], [False, True, False, True]]),
        lf.layers.Fixed([[1.0, 2.0]]),
    ]
)


def uneven(network, rng):
    return [rng.standard_normal(shape) ** 3 for shape in network.shapes]


# -- without chance ----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [lf.Dense((3, 2, 4)), lf.Diagonal(3, 3), CHAIN])
def test_constants_fill_every_array_of_any_network(network):
    factors = np.array([2.0, -0.5, 0.0])[: network.n_arrays]
    weights = constant(
        network, scale=[0.1, 0.3], layer_scales=factors, batch_shape=2, dtype="float32"
    )
    for array, factor, shape in zip(weights, factors, network.shapes, strict=True):
        assert array.shape == (2, *shape)
        assert array.dtype == np.float32
        for run, scale in enumerate([0.1, 0.3]):
            assert_array_equal(array[run], np.full(shape, scale * factor, np.float32))


@pytest.mark.parametrize(
    "network",
    [
        lf.Dense((3, 3, 3)),
        lf.Dense((2, 4, 3)),
        lf.Chain([lf.layers.Convolution(5, 3)]),
        lf.Chain([lf.layers.Convolution((3, 4), 2, in_channels=2, out_channels=2)]),
        lf.Chain([lf.layers.Diagonal(4), lf.layers.Masked(np.tri(4, dtype=bool))]),
        lf.Chain([lf.layers.Dense(3, 3)] * 2, share=[0, 0]),
    ],
)
def test_identities_have_the_matrix_of_the_identity(network):
    for matrix in network.matrices(identity(network, scale=0.5)):
        assert_array_equal(matrix, 0.5 * np.eye(*matrix.shape))


@pytest.mark.parametrize(
    "layer",
    [
        lf.layers.Convolution(4, taps=(1, 2)),
        lf.layers.Masked([[False, True], [True, True]]),
    ],
)
def test_layers_without_an_identity_are_refused(layer):
    with pytest.raises(ValueError, match=r"^network must have layers that can be the identity"):
        identity(lf.Chain([layer]))


def test_given_weights_are_copied_and_scaled():
    network = lf.Diagonal(3, 2)
    arrays = (np.arange(3.0), np.ones((2, 1, 3)))
    weights = given(network, arrays, scale=2.0, layer_scales=[1, -1], batch_shape=(4, 2))
    assert_array_equal(weights[0], np.broadcast_to(2 * arrays[0], (4, 2, 3)))
    assert_array_equal(weights[1], np.full((4, 2, 1, 3), -2.0))
    loss = lf.SquaredLoss(np.eye(3), np.ones((1, 3)), 3.0)
    run = lf.train(
        network, loss, (*arrays[0:1], np.ones((1, 3))), method=lf.GradientDescent(0.1), n_steps=3
    )
    again = lf.Start("given", weights=run.final).draw(network)
    for one, other in zip(again, run.final.weights, strict=True):
        assert_array_equal(one, other)


# -- modes -------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@drawn(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32),
    st.floats(-4, 4), st.floats(0, 3),
)  # fmt: skip
def test_layers_differ_by_lambda(n_inputs, width, n_outputs, seed, imbalance, scale):
    if imbalance > 0:
        width = min(width, n_outputs)
    if imbalance < 0:
        width = min(width, n_inputs)
    network = lf.Dense((n_inputs, width, n_outputs))
    first, second = lambda_balanced(network, imbalance, scale=scale, rng=seed, batch_shape=2)
    size = 1 + abs(imbalance) + np.abs(second @ first).max()
    apart = second.mT @ second - first @ first.mT - imbalance * np.eye(width)
    assert np.abs(apart).max() < 1e-12 * size


@pytest.mark.parametrize("imbalance", [0.0, 3.0, -3.0, 1e-9, 1e12])
def test_lambda_balanced_layers_have_the_given_product(imbalance):
    rng = np.random.default_rng(0)
    product = rng.standard_normal((4, 1)) @ rng.standard_normal((1, 4)) + np.eye(4)
    network = lf.Dense((4, 4, 4))
    first, second = lambda_balanced(network, imbalance, product=product, rng=1)
    assert_allclose(second @ first, product, rtol=0, atol=1e-14 * max(1, np.abs(product).max()) * 4)
    apart = second.T @ second - first @ first.T
    assert_allclose(apart, imbalance * np.eye(4), rtol=0, atol=1e-14 * max(10, abs(imbalance)))


def test_flows_conserve_lambda():
    network = lf.Dense((3, 2, 2))
    start = lambda_balanced(network, [-1.0, 0.5], rng=0, batch_shape=2)
    loss = lf.SquaredLoss(np.eye(3), np.eye(2, 3), 2.0)
    run = lf.train(network, loss, start, method=lf.GradientFlow(rtol=1e-11), until=5.0)
    first, second = run.final.weights
    apart = second.mT @ second - first @ first.mT
    assert_allclose(apart, np.array([-1.0, 0.5])[:, None, None] * np.eye(2), atol=1e-9)


def test_spectral_layers_have_the_singular_values():
    values = [3.0, 1.0, 1e-3]
    network = lf.Dense((4, 3, 6))
    weights = spectral(network, values, layer_scales=[1, 2], rng=0, batch_shape=5)
    for array, factor in zip(weights, (1, 2), strict=True):
        found = np.linalg.svd(array)[1]
        assert_allclose(found, np.broadcast_to(factor * np.array(values), (5, 3)), rtol=1e-11)
    # Vectors of neighbours are independent: for random ones the mean cosine squared is 1 / 3.
    first, second = spectral(lf.Dense((4, 3, 6)), [1.0], rng=0, batch_shape=2000)
    cosine = np.linalg.svd(second)[2][:, :1] @ np.linalg.svd(first)[0][:, :, :1]
    assert abs((cosine**2).mean() - 1 / 3) < 0.03


def test_diagonal_networks_have_balanced_and_orthogonal_starts():
    network = lf.Diagonal(5, 3)
    product = np.array([[1.0, -8.0, 0.0, 1e-30, -27.0]])
    weights = balanced(network, product=product, scale=[1.0, 8.0], batch_shape=2)
    assert_allclose(
        network.product(weights), product * np.array([1.0, 8.0])[:, None, None], rtol=1e-14
    )
    for array in weights:
        assert_allclose(np.abs(array.reshape(2, 5)), np.abs(weights[0]), rtol=0)
    random = balanced(network, rng=0, batch_shape=4000)
    spread = network.product(random)
    assert abs(spread.std() - 1 / np.sqrt(5)) < 0.01
    signs = orthogonal(network, scale=0.3, rng=0, batch_shape=1000)
    for array in signs:
        assert_array_equal(np.abs(array), 0.3)
        assert abs(np.sign(array).mean()) < 0.06
    assert lf.Start("balanced", product=product).draw(network)[0].shape == (5,)


# -- a function of one's own -------------------------------------------------------------------------


def test_a_function_is_called_for_each_stream_with_numbers_of_its_own():
    network = lf.Dense((2, 3, 1))
    many = custom(network, uneven, scale=0.5, rng=3, batch_shape=(2, 3))
    alone = custom(network, uneven, scale=0.5, rng=3, streams=4)
    for one, other in zip(many, alone, strict=True):
        assert_array_equal(one[1, 1], other)
    assert len(np.unique(many[0])) == many[0].size
    by_name = custom(network, f"{__name__}:uneven", scale=0.5, rng=3, batch_shape=(2, 3))
    assert_array_equal(by_name[0], many[0])


@pytest.mark.parametrize(
    ("function", "exception", "message"),
    [
        (lambda _network, _rng: [np.ones((3, 2))], ValueError, "^function's weights must have 2 arrays"),
        (lambda _network, _rng: [np.ones((3, 2)), np.ones((3, 1))], ValueError, "^function's weights"),
        (lambda _network, _rng: [np.ones((3, 2)), np.full((1, 3), np.nan)], ValueError, "^function's weights"),
        (lambda _network, _rng: None, TypeError, "^function's weights must be"),
        (lambda _network, _rng: 1 / 0, ZeroDivisionError, "division by zero"),
        (3, TypeError, "^function must be"),
        ("nowhere_at_all:f", ValueError, "^function must be an import path"),
    ],
)  # fmt: skip
def test_what_functions_make_is_checked(function, exception, message):
    with pytest.raises(exception, match=message):
        custom(lf.Dense((2, 3, 1)), function, rng=0)


# -- as values ---------------------------------------------------------------------------------------

NEW = {
    "constant": (
        lf.Start("constant", 0.3, layer_scales=[1, 0]),
        constant,
        (),
        {"layer_scales": [1, 0]},
    ),
    "identity": (lf.Start("identity", 0.3), identity, (), {}),
    "spectral": (lf.Start("spectral", 0.3, singular_values=[2, 1]), spectral, ([2, 1],), {}),
    "lambda": (lf.Start("lambda_balanced", 0.3, imbalance=-0.5), lambda_balanced, (-0.5,), {}),
    "custom": (lf.Start("custom", 0.3, function=f"{__name__}:uneven"), custom, (uneven,), {}),
    "gaussian": (
        lf.Start("gaussian", 0.3, layer_scales=[0, 2]),
        gaussian,
        (),
        {"layer_scales": [0, 2]},
    ),
}


@pytest.mark.parametrize("name", NEW)
def test_starts_are_values_and_go_through_files(name, tmp_path):
    network = lf.Dense((3, 2, 3))
    start, function, needed, options = NEW[name]
    if function not in (constant, identity):
        options = {**options, "rng": 7}
    expected = function(network, *needed, scale=0.3, batch_shape=4, **options)
    for one, other in zip(start.draw(network, rng=7, batch_shape=4), expected, strict=True):
        assert_array_equal(one, other)
    loss = lf.SquaredLoss(np.eye(3), np.eye(3), 3.0)
    training = lf.Training(network, loss, start, lf.GradientDescent(0.05), n_steps=5)
    data = lf.sweep(
        lf.grid(training, {"start.scale": [0.3, 0.6]}, replicates=2), tmp_path / "r.zarr"
    )
    again = lf.open_sweep(tmp_path / "r.zarr")
    assert_array_equal(again.final_loss, data.final_loss)
    assert len(np.unique(data.final_loss)) > 1


def test_imbalance_is_an_axis_of_one_batch():
    loss = lf.SquaredLoss(np.eye(3), np.eye(3), 3.0)
    start = lf.Start("lambda_balanced", 0.1, imbalance=0.0)
    training = lf.Training(lf.Dense((3, 3, 3)), loss, start, lf.GradientDescent(0.05), n_steps=20)
    data = lf.sweep(lf.grid(training, {"start.imbalance": [-4.0, 0.0, 4.0]}))
    losses = data.final_loss.to_numpy().ravel()
    assert losses[1] > 10 * max(losses[0], losses[2])  # large differences are fast


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lambda_balanced(lf.Dense((3, 4, 2)), 1.0), "^imbalance must be <= 0 for a hidden layer wider"),
        (lambda: lambda_balanced(lf.Dense((2, 4, 5)), -1.0), "^imbalance must be >= 0 for a hidden layer wider"),
        (lambda: lambda_balanced(lf.Dense((2, 2, 2, 2)), 0.0), "^network must have two layers, got 3"),
        (lambda: lambda_balanced(lf.Dense((2, 1, 2)), 0.0, product=np.eye(2)), "^product must have rank <= 1"),
        (lambda: spectral(lf.Dense((3, 2)), [1.0, 1.0, 1.0]), "^singular_values must have shape"),
        (lambda: spectral(lf.Dense((3, 2)), 1.0), "^singular_values must have shape"),
        (lambda: spectral(lf.Dense((3, 2)), [-1.0]), "^singular_values must be >= 0"),
        (lambda: constant(lf.Dense((3, 2)), layer_scales=[1.0, 2.0]), "^layer_scales must have shape"),
        (lambda: constant(lf.Dense((3, 2)), scale=-1.0), "^scale must be >= 0"),
        (lambda: given(lf.Dense((3, 2)), [np.ones((3, 2))]), "^weights"),
        (lambda: given(lf.Dense((3, 2)), [np.ones((4, 2, 3))]), "^weights must have run axes"),
        (lambda: balanced(lf.Diagonal(3), product=np.ones((3, 3))), "^product must have shape"),
        (lambda: orthogonal(lf.Diagonal(3), width=5), "^width must be left out"),
        (lambda: lf.Start("custom"), "^function must be given for a start that is custom"),
        (lambda: lf.Start("lambda_balanced"), "^imbalance must be given"),
        (lambda: lf.Start("constant", product=np.eye(2)), "^product must be left out of a start that is constant"),
        (lambda: lf.Start("custom", function="nothing"), "^function must be"),
        (lambda: lf.Start("given", weights=[[np.nan]]), r"^weights\[0\] must be finite"),
        (lambda: lf.Start("constant", layer_scales=1.0), "^layer_scales must be a list"),
    ],
)  # fmt: skip
def test_what_fits_no_start_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
