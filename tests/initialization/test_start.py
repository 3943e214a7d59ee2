"""Starts as values, and the random streams that they and `initialization` draw from."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import linnet_fast as lf
from linnet_fast import initialization
from linnet_fast.initialization import aligned, balanced, gaussian, orthogonal

networks = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(lf.Dense)
seeds = st.integers(0, 2**64)
streams = st.integers(0, 2**60 - 1) | st.integers(0, 6)
WIDE = lf.Dense((3, 5, 4))  # at most three modes


def loss_of(network, runs=()):
    rng = np.random.default_rng(5)
    cross = rng.standard_normal((*runs, network.n_outputs, network.n_inputs))
    return lf.SquaredLoss(np.eye(network.n_inputs), cross, 1.0)


def align(network, **options):
    return aligned(network, loss_of(network), 0.5, **options)


EVERY = pytest.mark.parametrize("make", [gaussian, orthogonal, balanced, align])


def assert_equal(actual, expected, which=...):
    """Assert that all layers agree in every bit; `which` picks runs of `expected`."""
    for a, b in zip(actual, expected, strict=True):
        assert_array_equal(a, b[which], strict=True)


# -- streams ---------------------------------------------------------------------------------------


@EVERY
@settings(max_examples=40)
@given(network=networks, seed=seeds, numbers=st.lists(streams, min_size=1, max_size=8))
def test_a_run_depends_on_its_stream_only(make, network, seed, numbers):
    many = make(network, rng=seed, batch_shape=len(numbers), streams=numbers)
    for place, number in enumerate(numbers):
        alone = make(network, rng=seed, streams=number)
        assert_equal(alone, many, place)
        single = make(network, rng=seed, batch_shape=(1, 1), streams=[[number]])
        assert_equal(alone, single, (0, 0))


@EVERY
@settings(max_examples=30)
@given(network=networks, seed=seeds, data=st.data())
def test_streams_pick_runs_of_a_large_batch(make, network, seed, data):
    whole = make(network, rng=seed, batch_shape=20)
    some = st.lists(st.integers(0, 19), min_size=6, max_size=6)
    numbers = np.array(data.draw(some)).reshape(2, 3)
    picked = make(network, rng=seed, batch_shape=(2, 3), streams=numbers)
    assert_equal(picked, whole, numbers)
    begin = data.draw(st.integers(0, 15))
    stretch = make(network, rng=seed, batch_shape=5, streams=np.arange(begin, begin + 5))
    assert_equal(stretch, whole, slice(begin, begin + 5))


@EVERY
def test_streams_are_numbered_in_c_order_by_default(make):
    network = lf.Dense((3, 4, 2))
    default = make(network, rng=7, batch_shape=(3, 4))
    assert_equal(
        make(network, rng=7, batch_shape=(3, 4), streams=np.arange(12).reshape(3, 4)), default
    )
    assert_equal(make(network, rng=7, streams=0), make(network, rng=7))


@EVERY
def test_streams_broadcast_to_the_batch(make):
    network = lf.Dense((3, 4, 2))
    column = make(network, rng=7, batch_shape=(2, 3), streams=[[5], [1]])
    for place, number in enumerate([5, 1]):
        alone = make(network, rng=7, streams=number)
        for run in range(3):
            assert_equal(alone, column, (place, run))
    same = make(network, rng=7, batch_shape=4, streams=5)
    assert all((w == w[0]).all() for w in same)
    assert all(w.flags.c_contiguous and w.flags.owndata and w.flags.writeable for w in same)


@EVERY
def test_other_streams_and_other_seeds_give_other_numbers(make):
    network = lf.Dense((3, 4, 4, 2))
    numbers = [0, 1, 2, 3, 2**31, 2**32, 2**32 + 1, 2**60 - 1]
    layer = make(network, rng=7, batch_shape=8, streams=numbers)[1]
    assert len(np.unique(layer, axis=0)) == 8
    assert (make(network, rng=8, streams=0)[1] != layer[0]).any()


@EVERY
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_streams_may_be_integers_of_any_kind(make, dtype):
    numbers = np.array([3, 0, 3, 120], dtype=dtype)
    got = make(WIDE, rng=1, batch_shape=4, streams=numbers)
    assert_equal(got, make(WIDE, rng=1, batch_shape=4, streams=[3, 0, 3, 120]))


@EVERY
def test_a_generator_moves_on_by_the_same_however_many_streams(make):
    one, many = np.random.default_rng(3), np.random.default_rng(3)
    first = make(WIDE, rng=one, streams=4)
    assert_equal(first, make(WIDE, rng=many, batch_shape=3, streams=[9, 4, 2]), 1)
    assert_equal(make(WIDE, rng=one), make(WIDE, rng=many))


@EVERY
def test_scales_stay_with_their_runs_in_any_order(make):
    network, numbers = lf.Dense((2, 3, 2)), np.array([6, 1, 6, 0, 3])
    if make is align:
        values = np.linspace(0.1, 0.9, 5)
        both = aligned(
            network, loss_of(network), values[:, None], rng=2, batch_shape=5, streams=numbers
        )
        alone = [
            aligned(network, loss_of(network), [v], rng=2, streams=n)
            for v, n in zip(values, numbers, strict=True)
        ]
    else:
        values = np.linspace(0.1, 0.9, 5)
        both = make(network, scale=values, rng=2, batch_shape=5, streams=numbers)
        alone = [
            make(network, scale=v, rng=2, streams=n) for v, n in zip(values, numbers, strict=True)
        ]
    for place, weights in enumerate(alone):
        assert_equal(weights, both, place)


def test_products_and_losses_stay_with_their_runs():
    network, numbers = lf.Dense((2, 3, 2)), [4, 0, 4]
    product = np.random.default_rng(0).standard_normal((3, 2, 2))
    loss = loss_of(network, (3,))
    whole = balanced(network, product=product, rng=2, batch_shape=3, streams=numbers)
    along = aligned(network, loss, [0.5, 0.2], rng=2, batch_shape=3, streams=numbers)
    for place, number in enumerate(numbers):
        alone = balanced(network, product=product[place], rng=2, streams=number)
        assert_equal(alone, whole, place)
        own = lf.SquaredLoss(loss.input_cov, loss.cross_cov[place], loss.output_power)
        assert_equal(aligned(network, own, [0.5, 0.2], rng=2, streams=number), along, place)


@EVERY
@pytest.mark.parametrize(
    ("given_streams", "exception", "message"),
    [
        ([0, -1, 2], ValueError, r"streams must be >= 0, got -1 at index \(1,\)"),
        (-1, ValueError, "streams must be >= 0, got -1"),
        (2**60, ValueError, r"streams must be < 2\*\*60, got 1152921504606846976"),
        (2**64 - 1, ValueError, "streams must be"),
        (2**70, ValueError, r"streams must be < 2\*\*60"),
        ([0.0, 1.0, 2.0], TypeError, "streams must be integers, got dtype float64"),
        (True, TypeError, "streams must be integers, got dtype bool"),
        ("0", TypeError, "streams must be integers, got dtype <U1"),
        ([], TypeError, "streams must be integers, got dtype float64"),
        (np.zeros(0, int), ValueError, "streams must not be empty"),
        ([0, 1], ValueError, r"streams must have run axes that broadcast to .*\(3,\), got \(2,\)"),
        ([[0, 1, 2]], ValueError, r"streams must have run axes .* got \(1, 3\)"),
    ],
)  # fmt: skip
def test_bad_streams_are_refused(make, given_streams, exception, message):
    with pytest.raises(exception, match=message):
        make(lf.Dense((3, 2, 2)), batch_shape=3, rng=0, streams=given_streams)


# -- starts ----------------------------------------------------------------------------------------

PRODUCT = np.random.default_rng(1).standard_normal((4, 3))
STARTS = {
    "gaussian": (lf.Start("gaussian", 0.3), lambda **o: gaussian(WIDE, scale=0.3, **o)),
    "gaussian of no fan": (
        lf.Start("gaussian", 0.3, fan="none"),
        lambda **o: gaussian(WIDE, scale=0.3, fan="none", **o),
    ),
    "gaussian of fan": (lf.Start("gaussian", fan="in"), lambda **o: gaussian(WIDE, **o)),
    "orthogonal": (lf.Start("orthogonal", 2), lambda **o: orthogonal(WIDE, scale=2, **o)),
    "balanced": (lf.Start("balanced", 1e-3), lambda **o: balanced(WIDE, scale=1e-3, **o)),
    "balanced of a product": (
        lf.Start("balanced", 0.7, product=PRODUCT),
        lambda **o: balanced(WIDE, product=PRODUCT, scale=0.7, **o),
    ),
    "aligned": (lf.Start("aligned", 0.1), lambda **o: aligned(WIDE, loss_of(WIDE), 0.1, **o)),
    "aligned by default": (lf.Start("aligned"), lambda **o: aligned(WIDE, loss_of(WIDE), 1.0, **o)),
    "aligned of a strength": (
        lf.Start("aligned", 0.5, strengths=0.25),
        lambda **o: aligned(WIDE, loss_of(WIDE), 0.125, **o),
    ),
    "aligned of strengths": (
        lf.Start("aligned", 0.1, strengths=[3.0, 2.0]),
        lambda **o: aligned(WIDE, loss_of(WIDE), 0.1 * np.array([3.0, 2.0]), **o),
    ),
    "aligned of factors": (
        lf.Start("aligned", 0.1, scale_of="factor"),
        lambda **o: aligned(WIDE, loss_of(WIDE), 0.1, scale_of="factor", **o),
    ),
    "aligned of products": (
        lf.Start("aligned", 0.1, scale_of="product"),
        lambda **o: aligned(WIDE, loss_of(WIDE), 0.1, **o),
    ),
}
EVERY_START = pytest.mark.parametrize(("start", "by_hand"), STARTS.values(), ids=STARTS)


@EVERY_START
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rng": 3, "batch_shape": 4},
        {"rng": 3, "batch_shape": (2, 1)},
        {"rng": 3, "batch_shape": 3, "streams": [5, 5, 0], "dtype": np.float32},
        {"rng": np.random.SeedSequence(4), "streams": 9, "dtype": "float64"},
    ],
)
def test_a_start_draws_what_the_function_draws(start, by_hand, options):
    options = {"rng": 0} | options
    assert_equal(start.draw(WIDE, loss_of(WIDE), **options), by_hand(**options))


@EVERY_START
def test_only_aligned_starts_look_at_the_loss(start, by_hand):
    if start.kind == "aligned":
        with pytest.raises(TypeError, match="loss must be a SquaredLoss, got NoneType"):
            start.draw(WIDE, rng=0)
        other = lf.LogisticLoss([[1.0, 2.0, 0.0]], [1.0])
        with pytest.raises(TypeError, match="loss must be a SquaredLoss, got LogisticLoss"):
            start.draw(WIDE, other, rng=0)
    else:
        assert_equal(start.draw(WIDE, rng=0), by_hand(rng=0))
        assert_equal(start.draw(WIDE, loss_of(lf.Dense((1, 1))), rng=0), by_hand(rng=0))


@EVERY_START
def test_starts_travel(start, by_hand):
    for again in (pickle.loads(pickle.dumps(start)), copy.deepcopy(start)):
        assert repr(again) == repr(start)
        assert_equal(again.draw(WIDE, loss_of(WIDE), rng=0), by_hand(rng=0))


KINDS = st.sampled_from(
    [
        ("gaussian", {}),
        ("gaussian", {"fan": "none"}),
        ("orthogonal", {}),
        ("balanced", {}),
        ("aligned", {}),
        ("aligned", {"scale_of": "factor"}),
        ("aligned", {"strengths": 0.3}),
        ("aligned", {"strengths": [2.0]}),
        ("aligned", {"strengths": [0.7], "scale_of": "factor"}),
    ]
)
scales = st.floats(0, 1e3) | st.sampled_from([0.0, 1e-300, 1e-12, 1.0, 0.1])


@settings(max_examples=150)
@given(KINDS, networks, seeds, st.lists(st.tuples(scales, streams), min_size=1, max_size=7))
def test_runs_of_many_scales_are_those_of_one(kind, network, seed, runs):
    name, options = kind
    loss = loss_of(network)
    values, numbers = map(list, zip(*runs, strict=True))
    start = lf.Start(name, values, **options)
    assert start.run_shape == (len(runs),)
    many = start.draw(network, loss, rng=seed, batch_shape=len(runs), streams=numbers)
    for place, (value, number) in enumerate(runs):
        alone = lf.Start(name, value, **options).draw(network, loss, rng=seed, streams=number)
        assert_equal(alone, many, place)


def test_run_axes_of_the_scale_broadcast():
    scale = np.array([[0.1], [0.2]])
    for name in ("gaussian", "orthogonal", "balanced", "aligned"):
        start = lf.Start(name, scale)
        assert start.run_shape == (2, 1)
        many = start.draw(WIDE, loss_of(WIDE), rng=0, batch_shape=(2, 3))
        for i, j in np.ndindex(2, 3):
            one = lf.Start(name, scale[i, 0]).draw(WIDE, loss_of(WIDE), rng=0, streams=3 * i + j)
            assert_equal(one, many, (i, j))
        with pytest.raises(ValueError, match=r"must have run axes that broadcast to .*\(3,\)"):
            start.draw(WIDE, loss_of(WIDE), batch_shape=3)


def test_losses_with_run_axes_align_each_run():
    network = lf.Dense((3, 4, 2))
    loss = loss_of(network, (4,))
    many = lf.Start("aligned", [1.0, 2.0, 3.0, 4.0]).draw(network, loss, rng=0, batch_shape=4)
    for run in range(4):
        own = lf.SquaredLoss(loss.input_cov, loss.cross_cov[run], 1.0)
        assert_equal(
            lf.Start("aligned", run + 1.0).draw(network, own, rng=0, streams=run), many, run
        )


def test_defaults_and_representation():
    start = lf.Start("gaussian")
    assert start.scale == 1.0
    assert (start.fan, start.product, start.strengths, start.scale_of) == (None,) * 4
    assert start.run_shape == ()
    assert repr(start) == "Start('gaussian', scale=1)"
    assert repr(lf.Start("gaussian", [0.1, 0.2], fan="none")) == (
        "Start('gaussian', scale=<array (2,)>, fan='none')"
    )
    assert repr(lf.Start("balanced", 1e-3, product=np.eye(2))) == (
        "Start('balanced', scale=0.001, product=<array (2, 2)>)"
    )
    assert repr(lf.Start("aligned", strengths=2, scale_of="factor")) == (
        "Start('aligned', scale=1, strengths=2, scale_of='factor')"
    )


def test_starts_are_frozen():
    start = lf.Start("gaussian", np.array([0.1, 0.2]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        start.scale = 1.0
    with pytest.raises(ValueError, match="read-only"):
        start.scale[0] = 1.0


def test_gaussian_starts_are_for_all_networks():
    for network in (lf.Diagonal(4, 3), lf.Convolution(6, 3, 2), lf.Residual(5, 3)):
        got = lf.Start("gaussian", 0.2).draw(network, rng=0, batch_shape=2, streams=[3, 1])
        assert_equal(got, gaussian(network, scale=0.2, rng=0, batch_shape=2, streams=[3, 1]))
        with pytest.raises(
            TypeError, match=f"network must be a Dense, got {type(network).__name__}"
        ):
            lf.Start("aligned").draw(network, loss_of(network), rng=0)


@pytest.mark.parametrize(
    ("arguments", "options", "exception", "message"),
    [
        (
            ("gaussan",),
            {},
            ValueError,
            "kind must be one of gaussian, orthogonal, balanced, .*; got 'gaussan'; did you mean 'gaussian'",
        ),
        ((0.1,), {}, TypeError, "kind must be a string, one of gaussian, .* got float"),
        ((None,), {}, TypeError, "kind must be a string, .* got NoneType"),
        (("gaussian", -0.1), {}, ValueError, "scale must be >= 0, got -0.1"),
        (("gaussian", [0.1, -1]), {}, ValueError, r"scale must be >= 0, got -1.0 at index \(1,\)"),
        (("gaussian", np.nan), {}, ValueError, "scale must be finite, got nan"),
        (("gaussian", np.inf), {}, ValueError, "scale must be finite, got inf"),
        (("gaussian", []), {}, ValueError, "scale must not be empty"),
        (("gaussian", "1"), {}, TypeError, "scale must be a real number .* got dtype <U1"),
        (("gaussian", True), {}, TypeError, "scale must be a real number .* got dtype bool"),
        (("gaussian", None), {}, TypeError, "scale must be a real number .* got NoneType"),
        (("gaussian", [[1], [1, 2]]), {}, ValueError, "scale must be a real number or a regular array"),
        (("gaussian",), {"fan": "out"}, ValueError, "fan must be one of in, none; got 'out'"),
        (("gaussian",), {"fan": 1}, TypeError, "fan must be a string, one of in, none; got int"),
        (
            ("orthogonal",),
            {"fan": "in"},
            ValueError,
            "fan must be left out of a start that is orthogonal, it is for gaussian ones",
        ),
        (
            ("gaussian",),
            {"product": np.eye(2)},
            ValueError,
            "product must be left out of a start that is gaussian, it is for balanced, lambda_balanced ones",
        ),
        (
            ("balanced",),
            {"strengths": 1.0},
            ValueError,
            "strengths must be left out of a start that is balanced, it is for aligned ones",
        ),
        (
            ("gaussian",),
            {"scale_of": "product"},
            ValueError,
            "scale_of must be left out of a start that is gaussian, it is for aligned ones",
        ),
        (
            ("aligned",),
            {"scale_of": "layer"},
            ValueError,
            "scale_of must be one of product, factor; got 'layer'",
        ),
        (("aligned",), {"scale_of": 2}, TypeError, "scale_of must be a string, .* got int"),
        (("aligned",), {"strengths": [1.0, -2.0]}, ValueError, "strengths must be >= 0, got -2.0"),
        (("aligned",), {"strengths": []}, ValueError, "strengths must not be empty"),
        (("aligned",), {"strengths": "a"}, TypeError, "strengths must be a real number"),
        (
            ("aligned",),
            {"strengths": np.ones((2, 2))},
            ValueError,
            r"strengths must have shape \(k,\) or \(\), got \(2, 2\)",
        ),
        (("balanced",), {"product": 1.0}, ValueError, r"product must have shape \(out, in\), got \(\)"),
        (
            ("balanced",),
            {"product": np.ones((2, 2, 2))},
            ValueError,
            r"product must have shape \(out, in\), got \(2, 2, 2\)",
        ),
        (("balanced",), {"product": [[np.nan]]}, ValueError, "product must be finite, got nan"),
        (("balanced",), {"product": [["a"]]}, TypeError, "product must be a real number"),
    ],
)  # fmt: skip
def test_bad_starts_are_refused(arguments, options, exception, message):
    with pytest.raises(exception, match=message):
        lf.Start(*arguments, **options)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lf.Start("balanced", product=np.eye(3)), r"product must have shape \(\*run, 4, 3\), got"),
        (
            lf.Start("aligned", strengths=np.ones(4)),
            r"strengths must have at most 3 modes, min\(widths\), got 4",
        ),
    ],
)
def test_starts_that_do_not_fit_the_network_are_refused(start, message):
    with pytest.raises(ValueError, match=message):
        start.draw(WIDE, loss_of(WIDE), rng=0)
    with pytest.raises(ValueError, match="loss must match the network's widths"):
        lf.Start("aligned").draw(WIDE, loss_of(lf.Dense((3, 3))), rng=0)


def test_every_kind_is_a_function_of_initialization():
    from linnet_fast.initialization.start import KINDS as known

    assert set(known) == set(initialization.__all__)
    assert all(callable(getattr(initialization, kind)) for kind in known)
