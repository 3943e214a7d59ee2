"""Initial weights: exact properties of each kind, streams per run, and every refused argument."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import ndtri

from linnet_fast._base import streams
from linnet_fast.initialization import aligned, balanced, gaussian, orthogonal
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.named import Dense

networks = st.lists(st.integers(1, 7), min_size=2, max_size=6).map(Dense)
seeds = st.integers(0, 2**64)


def random_loss(network, runs=()):
    rng = np.random.default_rng(5)
    cross = rng.standard_normal((*runs, network.n_outputs, network.n_inputs))
    return SquaredLoss(np.eye(network.n_inputs), cross, 1.0)


def align(network, **options):
    return aligned(network, random_loss(network), 0.5, **options)


EVERY = pytest.mark.parametrize("make", [gaussian, orthogonal, balanced, align])


def end_to_end(weights):
    return functools.reduce(lambda product, layer: layer @ product, weights)


def imbalances(weights):
    return [np.abs(b.mT @ b - a @ a.mT).max() for a, b in itertools.pairwise(weights)]


@EVERY
@pytest.mark.parametrize("dtype", [np.float64, "float32"])
@pytest.mark.parametrize("batch_shape", [(), 3, (2, 1, 3)])
@pytest.mark.parametrize("widths", [(3, 2), (4, 1, 5), (2, 6, 6, 3)])
def test_shapes_dtypes_and_memory(make, widths, batch_shape, dtype):
    network = Dense(widths)
    weights = make(network, rng=0, batch_shape=batch_shape, dtype=dtype)
    runs = (3,) if batch_shape == 3 else batch_shape
    assert isinstance(weights, tuple)
    assert [w.shape for w in weights] == [(*runs, *shape) for shape in network.shapes]
    for w in weights:
        assert w.dtype == dtype
        assert w.flags.c_contiguous
        assert w.flags.writeable
        assert np.isfinite(w).all()
        assert w.any()


@EVERY
@settings(deadline=None, max_examples=30)
@given(network=networks, seed=seeds, n_runs=st.integers(1, 9), data=st.data())
def test_a_run_does_not_depend_on_the_batch(make, network, seed, n_runs, data):
    run = data.draw(st.integers(0, n_runs - 1))
    small = make(network, rng=seed, batch_shape=run + 1)
    large = make(network, rng=seed, batch_shape=(n_runs, 2))
    for a, b in zip(small, large, strict=True):
        assert_array_equal(a[run], b[np.unravel_index(run, (n_runs, 2))])
    alone = make(network, rng=seed)
    for a, b in zip(alone, small, strict=True):
        assert_array_equal(a, b[0])


@EVERY
def test_seeds_decide(make):
    network = Dense((3, 4, 4, 2))
    first = make(network, rng=1, batch_shape=2)[1]
    assert_array_equal(first, make(network, rng=1, batch_shape=2)[1])
    assert_array_equal(first, make(network, rng=np.random.SeedSequence(1), batch_shape=2)[1])
    assert (first != make(network, rng=2, batch_shape=2)[1]).any()
    assert (first[0] != first[1]).any()
    assert (make(network)[1] != make(network)[1]).any()  # from the system
    generator = np.random.default_rng(1)
    assert_array_equal(first, make(network, rng=generator, batch_shape=2)[1])
    assert (first != make(network, rng=generator, batch_shape=2)[1]).any()  # it has moved on


@EVERY
def test_float32_is_the_rounded_float64(make):
    network = Dense((3, 4, 2))
    double = make(network, rng=1, batch_shape=5)
    single = make(network, rng=1, batch_shape=5, dtype=np.float32)
    for a, b in zip(double, single, strict=True):
        assert_array_equal(a.astype(np.float32), b)


@pytest.mark.parametrize("make", [gaussian, orthogonal])
def test_scale_multiplies_each_layer(make):
    network = Dense((3, 4, 2))
    unit = make(network, rng=1, batch_shape=(2, 3))
    scaled = make(network, rng=1, batch_shape=(2, 3), scale=[[0.5], [4.0]])
    for a, b in zip(unit, scaled, strict=True):
        assert_array_equal(a * np.array([0.5, 4.0])[:, None, None, None], b)


@settings(deadline=None)
@given(seeds, st.integers(0, 2**70), st.integers(1, 8), st.integers(0, 30), st.data())
def test_normal_streams_may_be_drawn_in_chunks(seed, first, n_runs, n, data):
    key = np.random.default_rng(seed).integers(0, 2**64, size=2, dtype=np.uint64)
    whole = streams._standard_normal(key, first, n_runs, n)
    assert whole.shape == (n_runs, n)
    cut = data.draw(st.integers(0, n_runs))
    head = streams._standard_normal(key, first, cut, n)
    tail = streams._standard_normal(key, first + cut, n_runs - cut, n)
    assert_array_equal(np.concatenate([head, tail]), whole)


def test_normal_streams_do_not_overlap():
    key = np.array([1, 2], dtype=np.uint64)
    numbers = streams._standard_normal(key, 0, 50, 7)
    assert len(np.unique(numbers)) == numbers.size


def test_normal_numbers_are_standard_normal_and_independent():
    key = np.array([3, 4], dtype=np.uint64)
    numbers = streams._standard_normal(key, 0, 2000, 50)
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 1e-3
    covariance = numbers.T @ numbers / 2000
    assert abs(covariance - np.eye(50)).max() < 5.5 / np.sqrt(2000)


@pytest.mark.parametrize("extreme", [0.0, 1 - 2.0**-53])
def test_extreme_uniform_numbers_give_finite_normals(monkeypatch, extreme):
    class Constant:
        def __init__(self, _bit_generator):
            pass

        def random(self, shape):
            return np.full(shape, extreme)

    monkeypatch.setattr(np.random, "Generator", Constant)
    numbers = streams._standard_normal(np.zeros(2, np.uint64), 0, 1, 4)
    assert_allclose(np.abs(numbers), -ndtri(2.0**-54), atol=0.1)


@pytest.mark.parametrize(("fan", "deviations"), [("in", (0.5, 0.25)), ("none", (1.0, 1.0))])
def test_gaussian_has_the_variance_of_its_fan(fan, deviations):
    weights = gaussian(Dense((4, 16, 3)), fan=fan, rng=0, batch_shape=4000)
    for w, deviation in zip(weights, deviations, strict=True):
        assert_allclose(w.std(), deviation, rtol=0.02)
        assert abs(w.mean()) < 0.02 * deviation


@settings(deadline=None)
@given(networks, seeds, st.one_of(st.just(0.0), st.floats(1e-6, 100)))
def test_orthogonal_layers_have_equal_singular_values(network, seed, scale):
    for w in orthogonal(network, scale=scale, rng=seed, batch_shape=2):
        assert_allclose(np.linalg.svd(w, compute_uv=False), scale, atol=1e-12 * scale)


def test_orthogonal_is_haar_distributed():
    (w,) = orthogonal(Dense((2, 2)), rng=0, batch_shape=4000)
    angles = np.arctan2(w[:, 1, 0], w[:, 0, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    # Reflections are as frequent as rotations.
    assert abs(np.linalg.det(w).mean()) < 0.06


@settings(deadline=None)
@given(networks, seeds, st.floats(1e-3, 1e3))
def test_balanced_random_product_is_balanced(network, seed, scale):
    weights = balanced(network, scale=scale, rng=seed, batch_shape=3)
    size = max(np.square(w).sum(axis=(-2, -1)).max() for w in weights)
    assert max(imbalances(weights), default=0) <= 1e-12 * size
    unit = end_to_end(balanced(network, rng=seed, batch_shape=3))
    assert_allclose(end_to_end(weights), scale * unit, rtol=0, atol=1e-12 * scale * abs(unit).max())


@settings(deadline=None)
@given(networks, seeds, st.data())
def test_balanced_factors_a_given_product(network, seed, data):
    rank = data.draw(st.integers(0, network.max_rank))
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((2, network.n_outputs, rank))
    product = left @ rng.standard_normal((2, rank, network.n_inputs))
    weights = balanced(network, product=product, scale=0.5, rng=seed, batch_shape=(3, 2))
    size = max(np.square(w).sum(axis=(-2, -1)).max() for w in weights)
    assert max(imbalances(weights), default=0) <= 1e-12 * size
    expected = np.broadcast_to(0.5 * product, (3, *product.shape))
    assert_allclose(end_to_end(weights), expected, rtol=0, atol=1e-12 * abs(product).max(initial=0))
    # Rounding noise below the rank is not blown up by the L-th root.
    assert all((np.linalg.matrix_rank(w) <= rank).all() for w in weights)


def test_balanced_random_product_has_the_variance_of_a_gaussian_layer():
    weights = balanced(Dense((4, 5, 3)), rng=0, batch_shape=4000)
    assert_allclose(end_to_end(weights).std(), 0.5, rtol=0.02)


def test_balanced_hidden_bases_differ_between_runs():
    first, _ = balanced(Dense((3, 4, 3)), product=np.eye(3), rng=0, batch_shape=2)
    assert abs(first[0] - first[1]).max() > 0.1


def test_balanced_one_layer_is_the_product():
    product = np.arange(6.0).reshape(2, 3)
    (w,) = balanced(Dense((3, 2)), product=product, scale=[1.0, 2.0], batch_shape=2)
    assert_allclose(w, [product, 2 * product], atol=1e-13)


@settings(deadline=None)
@given(networks, seeds, st.sampled_from(["product", "factor"]), st.data())
def test_aligned_puts_strengths_on_the_modes(network, seed, scale_of, data):
    n_modes = data.draw(st.integers(1, network.max_rank))
    loss = random_loss(network, runs=(2,))
    strengths = np.linspace(1.5, 0.5, n_modes)
    weights = aligned(network, loss, strengths, scale_of=scale_of, rng=seed, batch_shape=(3, 2))
    u, _, vt = np.linalg.svd(loss.cross_cov, full_matrices=False)
    of_product = strengths if scale_of == "product" else strengths**network.n_layers
    expected = (u[..., :n_modes] * of_product) @ vt[..., :n_modes, :]
    assert_allclose(
        end_to_end(weights), np.broadcast_to(expected, (3, *expected.shape)), atol=1e-11
    )
    of_factor = strengths if scale_of == "factor" else strengths ** (1 / network.n_layers)
    for w in weights:
        values = np.linalg.svd(w, compute_uv=False)
        assert_allclose(values[..., :n_modes], np.broadcast_to(of_factor, (3, 2, n_modes)))
        assert_allclose(values[..., n_modes:], 0, atol=1e-12)
    assert max(imbalances(weights), default=0) <= 1e-11


def test_aligned_scalar_strength_goes_on_all_possible_modes():
    network = Dense((5, 3, 4))
    weights = aligned(network, random_loss(network), 0.25, rng=0)
    assert_allclose(
        np.linalg.svd(end_to_end(weights), compute_uv=False), [0.25] * 3 + [0], atol=1e-14
    )


def test_aligned_strengths_per_run():
    network = Dense((2, 3, 2))
    strengths = [[[1.0, 0.5]], [[0.25, 0.0]]]
    weights = aligned(network, random_loss(network), strengths, rng=0, batch_shape=(2, 3))
    values = np.linalg.svd(end_to_end(weights), compute_uv=False)
    assert_allclose(values, np.broadcast_to(strengths, (2, 3, 2)), atol=1e-14)


NETWORK = Dense((3, 2, 4))
COMMON = [
    ({"network": (3, 4)}, TypeError, "network must be a (Dense|Chain), got tuple"),
    ({"batch_shape": 0}, ValueError, r"batch_shape\[0\] must be >= 1, got 0"),
    ({"batch_shape": (2, -1)}, ValueError, r"batch_shape\[1\] must be >= 1, got -1"),
    ({"batch_shape": 2.0}, TypeError, r"batch_shape\[0\] must be an integer, got float"),
    ({"batch_shape": "2"}, TypeError, "batch_shape must be a sequence of integers, got str"),
    ({"dtype": np.int64}, ValueError, "dtype must be float64 or float32"),
    ({"dtype": None}, ValueError, "dtype must be float64 or float32, got None"),
    ({"dtype": "half"}, ValueError, "dtype must be float64 or float32, got 'half'"),
]
SCALES = [
    ({"scale": -1.0}, ValueError, "scale must be >= 0, got -1.0"),
    ({"scale": np.nan}, ValueError, "scale must be finite, got nan"),
    ({"scale": "1"}, TypeError, "scale must be a real number"),
    (
        {"scale": [1.0, 2.0], "batch_shape": ()},
        ValueError,
        r"scale must have run axes .* batch_shape \(\), got \(2,\)",
    ),
    (
        {"scale": [1.0, 2.0], "batch_shape": 3},
        ValueError,
        r"scale must have run axes that broadcast to batch_shape \(3,\), got \(2,\)",
    ),
]


@EVERY
@pytest.mark.parametrize(("options", "exception", "message"), COMMON)
def test_every_initialization_refuses(make, options, exception, message):
    options = {"network": NETWORK, **options}
    network = options.pop("network")
    if make is align:
        make = functools.partial(aligned, loss=random_loss(NETWORK), strengths=1.0)
    with pytest.raises(exception, match=message):
        make(network, **options)


@pytest.mark.parametrize("make", [gaussian, orthogonal, balanced])
@pytest.mark.parametrize(("options", "exception", "message"), SCALES)
def test_scaled_initializations_refuse(make, options, exception, message):
    with pytest.raises(exception, match=message):
        make(NETWORK, **options)


def test_gaussian_refuses_unknown_fans():
    with pytest.raises(ValueError, match="fan must be one of in, none; got 'out'"):
        gaussian(NETWORK, fan="out")


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        (
            {"product": np.eye(3)},
            ValueError,
            r"product must have shape \(\*run, 4, 3\), got \(3, 3\)",
        ),
        ({"product": 1.0}, ValueError, r"product must have shape .* got \(\)"),
        ({"product": np.eye(4, 3)}, ValueError, "product must have rank <= 2, .* got rank 3"),
        ({"product": np.full((4, 3), np.inf)}, ValueError, "product must be finite"),
        ({"product": np.ones((2, 4, 3))}, ValueError, r"product must have run axes .* got \(2,\)"),
        ({"product": [["a"]]}, TypeError, "product must be a real number"),
    ],
)
def test_balanced_refuses(options, exception, message):
    with pytest.raises(exception, match=message):
        balanced(NETWORK, **options)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"loss": 1.0}, TypeError, "loss must be a SquaredLoss, got float"),
        (
            {"loss": random_loss(Dense((3, 3)))},
            ValueError,
            "loss must match .* 3 inputs and 3 outputs",
        ),
        (
            {"loss": random_loss(NETWORK, (2,))},
            ValueError,
            r"loss must have run axes .* got \(2,\)",
        ),
        ({"strengths": -1.0}, ValueError, "strengths must be >= 0, got -1.0"),
        ({"strengths": [np.nan]}, ValueError, "strengths must be finite"),
        (
            {"strengths": [1.0, 1.0, 1.0]},
            ValueError,
            "strengths must have at most 2 modes, .* got 3",
        ),
        ({"strengths": []}, ValueError, "strengths must not be empty"),
        ({"strengths": np.ones((5, 2))}, ValueError, r"strengths must have run axes .* got \(5,\)"),
        ({"scale_of": "layer"}, ValueError, "scale_of must be one of product, factor; got 'layer'"),
    ],
)
def test_aligned_refuses(options, exception, message):
    arguments = {"loss": random_loss(NETWORK), "strengths": 1.0, **options}
    with pytest.raises(exception, match=message):
        aligned(NETWORK, **arguments)
