"""Representation costs: printed values, brute force over raw weights, certificates, edges."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
from brute_force import brute_force
from cost_networks import (
    EXACT,
    FIXED_START,
    FIXED_TOP,
    STACK,
    START,
    blocks,
    embedded,
    group_net,
    product_of,
    random_network,
    residual,
    tied,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.costs.solvers import bounds, impossible, search
from linnet_fast.costs.solvers.function import Function

BETA = np.array([1.0, 2.0, 3.0, 4.0])
EYE = np.eye(4)
ROOT_2 = math.sqrt(2)


def predictors(network, n, seed=0):
    """Return predictors that are within reach and within what is known to be exact."""
    rng = np.random.default_rng(seed)
    shape = (n, network.n_outputs, network.n_inputs)
    p = rng.standard_normal(shape)
    if network is STACK:
        roots = np.eye(2) + 0.5 * p
        p = roots @ roots.swapaxes(1, 2) + np.eye(2)
    elif network in (FIXED_START, FIXED_TOP):
        p = (START.ravel() + 0.5 * rng.standard_normal((n, 3))).reshape(shape)
    elif network == EXACT["one layer among fixed ones"] or network == product_of(2, 3, 3):
        # Reached by some weights, as not every predictor is.
        sizes = [(n, *shape) for shape in network.shapes]
        p = network.product([rng.standard_normal(size) for size in sizes])
    elif network == EXACT["dense, one output"]:
        p[0] *= 1e-3
    return p[:, 0] if network.n_outputs == 1 else p


def squared_norm(weights, n_batch):
    return sum(np.sum(w**2, axis=tuple(range(n_batch, w.ndim))) for w in weights)


class TestPrintedValues:
    """Values to all digits that were printed elsewhere."""

    @pytest.mark.parametrize(
        ("network", "predictor", "expected"),
        [
            (lf.Dense((4, 1, 1, 1)), BETA, "9.321698"),
            (lf.Diagonal(4, 2), BETA, "20.000000000"),
            (lf.Diagonal(4, 3), BETA, "21.561980924"),
            (lf.Convolution(4, 4, 2), BETA, "8.828427125"),
            (lf.Convolution(4, 4, 3), BETA, "7.671742414"),
            (lf.Convolution(4, 2, 2), BETA, "9.380831520"),
            (lf.Convolution(4, 2, 3), BETA, "8.019983498"),
            (lf.Convolution(4, 3, 3), BETA, "7.671742414"),
            (lf.Residual(1, 1), [2.0], "1.868616627"),
            (lf.Residual(1, 3), [2.0], "1.010808134"),
            (embedded(1, 1, 2, 1), [2.0], "2.269768995"),
            (blocks(1, 2, 1), [2.0], "2.597539554"),
            (lf.Convolution(4, 2, 2, stride=2, channels=2), BETA, "11.661903790"),
        ],
    )
    def test_value(self, network, predictor, expected):
        cost = lf.representation_cost(network, predictor)
        digits = len(expected.split(".")[1])
        assert f"{cost.value:.{digits}f}" == expected
        assert cost.exact

    def test_k_support(self):
        network = lf.parameterize(lf.regularizers.KSupport(2), 4)
        assert f"{lf.representation_cost(network, BETA).value / 2:.9f}" == "7.071067812"

    def test_residual_depth_limit(self):
        network = lf.Residual(1, n_blocks=4, scale=0.5)
        assert f"{lf.depth_limit(network, [2.0]):.9f}" == "1.447564040"

    def test_channels_of_taps_with_a_gap(self):
        b = [1, 0.2, -0.7, 0.5, 1.1, -0.4, 0.3]
        costs = [
            lf.representation_cost(lf.Convolution(7, taps=(0, 1, 3), n_layers=2, channels=c), b)
            for c in (1, 3)
        ]
        assert [f"{c.value:.4f}" for c in costs] == ["3.0452", "3.0136"]
        assert [bool(c.exact) for c in costs] == [False, True]
        assert f"{costs[0].lower:.4f}" == "3.0136"

    def test_too_few_channels_of_strides(self):
        b = np.random.default_rng(0).standard_normal(6)
        one = lf.Convolution(6, 3, 2, stride=2, channels=1)
        assert lf.representation_cost(one, b).value == np.inf


@pytest.mark.parametrize("name", EXACT)
class TestExact:
    def test_agrees_with_brute_force(self, name):
        network = EXACT[name]
        p = predictors(network, 4)
        cost = lf.representation_cost(network, p)
        assert cost.exact.all()
        for at in range(4):
            expected = brute_force(network, p[at], n_starts=12, rng=at)
            if math.isinf(expected):
                assert np.isinf(cost.value[at])
            else:
                assert_allclose(cost.value[at], expected, rtol=1e-8)

    def test_weights_give_the_predictor_and_cost_the_value(self, name):
        network = EXACT[name]
        p = predictors(network, 5, seed=1)
        for size in (1.0, 1e-8, 1e5):
            # Those that are not homogeneous reach other predictors, and know other costs, far away.
            if size != 1 and name in {
                "one residual block", "residual, a fixed start", "residual, a fixed top",
                "residual, nothing else",
            }:  # fmt: skip
                continue
            cost = lf.representation_cost(network, size * p)
            known = np.isfinite(cost.value)
            assert_allclose(squared_norm(cost.weights, 1)[known], cost.value[known], rtol=1e-12)
            assert (cost.violation[known] < 1e-12).all()
            for w in cost.weights:
                assert np.isnan(w[~known]).all()

    def test_a_batch_equals_one_by_one(self, name):
        network = EXACT[name]
        p = predictors(network, 6, seed=2)
        batch = lf.representation_cost(network, p.reshape(2, 3, *p.shape[1:]))
        assert batch.value.shape == batch.exact.shape == (2, 3)
        for k, w in enumerate(batch.weights):
            assert w.shape == (2, 3, *network.shapes[k])
        for i, at in enumerate(np.ndindex(2, 3)):
            alone = lf.representation_cost(network, p[i])
            assert_allclose(alone.value, batch.value[at], rtol=1e-13)
            assert_allclose(alone.lower, batch.lower[at], rtol=1e-10)

    def test_zero(self, name):
        network = EXACT[name]
        p = np.zeros_like(predictors(network, 1))
        cost = lf.representation_cost(network, p)
        at_rest = network.product([np.zeros(s) for s in network.shapes])
        if at_rest.any():
            assert cost.value[0] > 0
        else:
            assert cost.value[0] == 0
            assert cost.exact[0]
            assert all(not w.any() for w in cost.weights)


class TestOutOfReach:
    @pytest.mark.parametrize(
        ("network", "predictor"),
        [
            (lf.Dense((3, 1, 3)), np.diag([1.0, 1.0, 0.0])),
            (lf.Dense((3, 1, 3, 3)), np.eye(3)),
            (embedded(2, 1, 2, 2), np.eye(2)),
            (lf.Convolution(4, 2, 2, stride=2), [1.0, 0, 0, 1]),
            (tied(2, 2), [1.0, -1.0]),
            (lf.Chain([layers.Masked.of_groups([(0,)], 2), layers.Dense(1, 1)]), [1.0, 1.0]),
            (product_of(2, 2, 2), [1.0, 0.0, 1.0]),
            (lf.Chain([layers.Fixed([[1.0, 1.0]]), layers.Dense(1, 1)]), [1.0, 2.0]),
            (
                lf.Chain([layers.Fixed([[1.0, 1.0]]), layers.Diagonal(1), layers.Dense(1, 1)]),
                [1.0, 2.0],
            ),
        ],
    )
    def test_costs_infinity_quietly(self, network, predictor):
        p = np.array([predictor, 0 * np.array(predictor)])
        cost = lf.representation_cost(network, p)
        assert_array_equal(cost.value, [np.inf, 0])
        assert_array_equal(cost.lower, [np.inf, 0])
        assert cost.exact.all()
        assert str(cost.why[0]).startswith("impossible: ")
        assert cost.why[1] == ""
        assert all(np.isnan(w[0]).all() and not w[1].any() for w in cost.weights)

    def test_of_strides_with_one_channel_by_a_relation_of_degree_3(self):
        # b_2i and (b_2i+1, b_2i-1) are rows of rank 2: their determinant is 0 for every weight.
        network = lf.Convolution(6, 3, 2, stride=2)
        rng = np.random.default_rng(0)
        within = network.product([rng.standard_normal((3, *s)) for s in network.shapes])[:, 0]
        cost = lf.representation_cost(network, np.concatenate([within, within + 1e-2]))
        p = cost.predictor.reshape(6, 3, 2)
        minors = np.linalg.det(np.concatenate([p, np.roll(p[..., 1:], 1, axis=1)], axis=-1))
        assert_array_equal(np.isinf(cost.lower), np.abs(minors) > 1e-9)
        assert_array_equal(np.isinf(cost.value), [False] * 3 + [True] * 3)
        assert "degree 3" in cost.why[-1]

    def test_nothing_proves_what_a_network_reaches_impossible(self):
        rng = np.random.default_rng(0)
        for _ in range(40):
            function = Function(random_network(rng))
            reached = function.value(rng.standard_normal((3, function.n_weights)))
            if bounds.homogeneous_degree(function.network) is not None:
                reached /= np.linalg.norm(reached, axis=-1, keepdims=True)
            assert not impossible.linear(function, reached).any()
            assert not impossible.polynomial(function, reached).any()

    @pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
    def test_roots_that_are_not_real_by_exact_fractions(self, size):
        # x^2 + c x + 1 has real roots from c = 2 on.
        b = [[1, c, 1] for c in (1.0, 2 - 1e-9, 2.0, 2 + 1e-9, -3.0)]
        cost = lf.representation_cost(product_of(2, 2, 2), size * np.array(b))
        assert_array_equal(np.isinf(cost.value), [True, True, False, False, False])
        assert "not real" in cost.why[0]
        assert cost.exact.all()

    def test_fixed_layers_with_entries_of_very_different_size_are_in_reach(self):
        scale = layers.Fixed(np.diag([1.0, 1e-20]))
        one = lf.representation_cost(lf.Chain([scale, layers.Dense(2, 1)]), [3.0, 1.0])
        assert one.value == pytest.approx(1e40)
        two = lf.representation_cost(
            lf.Chain([scale, layers.Diagonal(2), layers.Dense(2, 1)]), [3.0, 1.0]
        )
        assert two.value == pytest.approx(2e20)
        assert one.exact
        assert two.exact

    def test_what_is_not_found_is_nan_and_has_a_lower_bound(self, monkeypatch):
        monkeypatch.setattr(search, "_from_starts", lambda f, unit, *_, **__: (
            np.full(len(unit), np.inf), np.full((len(unit), f.n_weights), np.nan),
            np.zeros(len(unit)),
        ))  # fmt: skip
        network = lf.Convolution(4, 3, 3, padding="zero")
        cost = lf.representation_cost(network, [BETA, 0 * BETA])
        assert_array_equal(cost.value, [np.nan, 0])
        assert_array_equal(cost.upper, [np.inf, 0])
        assert 0 < cost.lower[0] < np.inf
        assert_array_equal(cost.exact, [False, True])
        assert str(cost.why[0]).startswith("not found: ")
        assert np.isnan(cost.violation[0])

    def test_rank_that_is_rounding_does_not_count(self):
        rng = np.random.default_rng(0)
        p = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 5))
        cost = lf.representation_cost(lf.Dense((5, *(2,) * 5, 5)), p)
        s = np.linalg.svd(p, compute_uv=False)
        assert_allclose(cost.value, 6 * np.sum(s[:2] ** (1 / 3)), rtol=1e-13)
        strict = lf.representation_cost(lf.Dense((5, *(2,) * 5, 5)), p, rtol=0)
        assert strict.value == np.inf


class TestFourier:
    def test_modes_that_are_zero(self):
        n = np.arange(8)
        waves = np.stack([np.cos(2 * np.pi * n / 8), (-1.0) ** n, np.ones(8), np.eye(8)[0]])
        for n_layers in (2, 3, 40):
            cost = lf.representation_cost(lf.Convolution(8, 8, n_layers), waves)
            # Two modes of 4, one of 8 (the highest), one of 8 (the mean), eight of 1.
            sums = [2 * 4 ** (2 / n_layers), 8 ** (2 / n_layers), 8 ** (2 / n_layers), 8.0]
            assert_allclose(cost.value, n_layers / 8 * np.array(sums), rtol=1e-13)
            assert (cost.violation < 1e-14).all()

    def test_kernels_may_vanish_where_the_predictor_does(self):
        # Even widths: with taps (1, 1) the highest mode is lost, with (1, -1) the mean.
        n = np.arange(6)
        waves = np.stack([np.ones(6), (-1.0) ** n, 1 + np.cos(2 * np.pi * n / 6)])
        cost = lf.representation_cost(lf.Convolution(6, 2, 2), waves)
        assert cost.exact.all()
        assert (cost.violation < 1e-13).all()
        # p = 1 +- cos w is 2 at the only mode: 2 sqrt(36 / 6 / 2).
        assert_allclose(cost.value[:2], 2 * math.sqrt(3), rtol=1e-9)

    @pytest.mark.parametrize("n_layers", [2, 3, 7, 200])
    def test_between_full_width_and_one_tap_and_falling(self, n_layers):
        p = np.random.default_rng(0).standard_normal((5, 12))
        costs = [
            lf.representation_cost(lf.Convolution(12, k, n_layers), p).value
            for k in (1, 2, 3, 5, 8, 12)
        ]
        assert_allclose(
            costs[0], n_layers * np.linalg.norm(p, axis=-1) ** (2 / n_layers), rtol=1e-12
        )
        for wide, narrow in itertools.pairwise(costs[::-1]):
            assert (wide <= narrow * (1 + 1e-9)).all()


class TestSizes:
    """Very large, very small, very deep: right, and quiet (warnings are errors)."""

    @pytest.mark.parametrize(
        "network",
        [
            lf.Dense((4, 3, 1)), lf.Dense((4, *(2,) * 199, 1)), lf.Diagonal(4, 2),
            lf.Diagonal(4, 200), lf.Convolution(4, 4, 2), lf.Convolution(4, 4, 200),
            lf.Convolution(4, 2, 2), lf.Convolution(4, 2, 200), lf.Grouped([(0, 1), (2, 3)], 2, 2),
            lf.Convolution(4, 2, 2, stride=2, channels=2),
            lf.Chain([layers.Masked.of_groups([(0, 1, 2), (2, 3)], 4), layers.Dense(2, 1)]),
            lf.Chain([layers.Masked.of_groups([(0, 1, 2), (2, 3)], 4), layers.Diagonal(2), layers.Dense(2, 1)]),
        ],
        ids=repr,
    )  # fmt: skip
    def test_homogeneous(self, network):
        n_layers = network.n_layers
        one = lf.representation_cost(network, BETA)
        for size in (1e-300, 1e-30, 1e30, 1e300):
            cost = lf.representation_cost(network, size * BETA)
            log = math.log(cost.value) - 2 / n_layers * math.log(size)
            assert log == pytest.approx(math.log(one.value), abs=1e-9 if one.exact else 1e-6)
            assert cost.exact == one.exact

    @pytest.mark.parametrize("size", [1e-300, 1e-100, 1e-5, 1e5, 1e100, 1e150])
    def test_residual(self, size):
        one = lf.representation_cost(lf.Residual(1, 1), [size])
        # a (1 + a)^3 = t^2
        if size < 1:
            assert one.value == pytest.approx(size**2, rel=2 * size**2 + 1e-12, abs=0)
        else:
            assert one.value == pytest.approx(2 * size, rel=1.1 / math.sqrt(size) + 1e-12)
        for network in (lf.Residual(2, 3), residual(layers.Diagonal(2), 5), blocks(2, 3, 2)):
            cost = lf.representation_cost(network, [size, -size / 2])
            assert np.isfinite(cost.value)
            assert cost.exact

    def test_squares_beyond_float64_are_not_taken_for_impossible(self):
        for network in (
            lf.Dense((2, 1)),
            lf.Chain([layers.Fixed(2 * np.eye(2)), layers.Dense(2, 1)]),
        ):
            cost = lf.representation_cost(network, [1e200, 1.0])
            assert np.isnan(cost.value)
            assert (cost.lower, cost.upper) == (np.finfo(float).max, np.inf)
            assert str(cost.why).startswith("beyond float64")
            assert cost.violation == 0
            assert not cost.exact
            assert lf.representation_cost(network, [1e-200, 0.0]).value == 0

    @pytest.mark.parametrize(
        "network",
        [
            lf.Diagonal(200_000, 3),
            lf.Convolution((256, 256), (256, 256), 3),  # its matrices would take 32 GiB
            lf.Convolution(4096, 9, 3),
            lf.Residual(800, 3),
        ],
        ids=repr,
    )
    def test_large_networks_are_not_written_out(self, network):
        p = np.random.default_rng(0).standard_normal(network.n_inputs)
        cost = lf.representation_cost(network, p)
        assert cost.exact
        assert squared_norm(cost.weights, 0) == pytest.approx(float(cost.value))
        assert lf.what_is(network) is not None

    def test_entries_of_very_different_size(self):
        b = np.array([1e-300, 1e-150, 1.0, 1e150])
        cost = lf.representation_cost(lf.Diagonal(4, 3), b)
        assert cost.value == pytest.approx(3 * np.sum(b ** (2 / 3)), rel=1e-14)
        assert_allclose(lf.Diagonal(4, 3).product(cost.weights)[0], b, rtol=1e-13)


class TestDepthLimit:
    rng = np.random.default_rng(0)

    @pytest.mark.parametrize(
        ("make", "predictor"),
        [
            (lambda n: lf.Dense((4, *(4,) * (n - 1), 4)), rng.standard_normal((4, 4))),
            (lambda n: lf.Dense((4, *(2,) * (n - 1), 3)), np.outer([1, 2.0, 0], BETA)),
            (lambda n: lf.Diagonal(4, n), [1.0, 0, -2, 0.5]),
            (lambda n: lf.Grouped([(0, 1), (2, 3), (4,)], 2, n - 2), [1.0, 2, 0, 0, 5]),
            (lambda n: lf.Convolution(6, 6, n), 1 + np.cos(np.pi * np.arange(6) / 3)),
            (lambda n: lf.Convolution(8, 3, n), rng.standard_normal(8)),
            (lambda n: lf.Convolution(8, 3, n), 1 + np.cos(np.pi * np.arange(8) / 4)),
            (lambda n: lf.Convolution(9, 2, n, dilation=2), np.cos(2 * np.pi * np.arange(9) / 9)),
            (lambda n: lf.Convolution(6, 1, n), rng.standard_normal(6)),
            (lambda n: lf.Convolution(6, taps=(0, 2, 4), n_layers=n), rng.standard_normal(6)),
            (group_net, rng.standard_normal(6)),
        ],
    )
    def test_is_the_cost_per_layer_of_deep_networks(self, make, predictor):
        limit = lf.depth_limit(make(5), predictor)
        # R / L = limit + O(1 / L): extrapolated from two depths.
        one, two = (lf.representation_cost(make(n), predictor).value / n for n in (100, 200))
        assert 2 * two - one == pytest.approx(float(limit), rel=2e-3)

    @pytest.mark.parametrize(
        ("make", "predictor"),
        [
            (lambda n: lf.Residual(4, n, scale=n**-0.5), BETA),
            (lambda n: lf.Residual(4, n, scale=2 * n**-0.5), BETA),
            (lambda n: lf.Residual(3, n, n_outputs=3, scale=n**-0.5), rng.standard_normal((3, 3))),
            (lambda n: embedded(3, 3, n, 3, scale=0.5 * n**-0.5), rng.standard_normal((3, 3))),
            (lambda n: residual(layers.Diagonal(4), n, n**-0.5), BETA),
            (lambda n: residual(layers.Convolution(4, 4), n, n**-0.5), BETA),
            (lambda n: residual(layers.Convolution(4, 1), n, n**-0.5), BETA),
            (lambda n: blocks(4, n, 2), BETA),
        ],
    )
    def test_of_residual_networks(self, make, predictor):
        limit = float(lf.depth_limit(make(4), predictor))
        one, two = (lf.representation_cost(make(n), predictor).value for n in (50, 100))
        assert 2 * two - one == pytest.approx(limit, rel=2e-3)
        assert abs(two - limit) < 0.6 * abs(one - limit) + 1e-12

    def test_only_where_it_is_known(self):
        with pytest.raises(ValueError, match="whose limit is known, got Convolution"):
            lf.depth_limit(lf.Convolution(6, 3, 3, padding="zero"), np.ones(6))
        assert lf.depth_limit(lf.Dense((3, 1, 3)), np.eye(3)) == np.inf
        assert lf.depth_limit(lf.Convolution(6, 2, 3), np.zeros((2, 6))).tolist() == [0, 0]


def random_predictors(network, n, rng):
    shape = (n, network.n_outputs, network.n_inputs)
    p = rng.standard_normal(shape)
    kind = rng.integers(4)
    if kind == 1:
        p *= rng.random(shape) < 0.5
    elif kind == 2:  # surely within reach
        p = network.product([rng.standard_normal((n, *s)) for s in network.shapes]).reshape(shape)
    elif kind == 3:
        p = np.sign(p)
    p *= np.exp(rng.uniform(-1.5, 1.5, n))[:, None, None]
    return p[:, 0] if network.n_outputs == 1 else p


def test_no_certified_interval_excludes_what_brute_force_finds():
    # LINNET_FAST_CASES=10000 for the whole; the seed is that of the case.
    n_cases = int(os.environ.get("LINNET_FAST_CASES", "120"))
    per_network, n_exact, n_open, n_missed = 4, 0, 0, 0
    for seed in range(-(-n_cases // per_network)):
        rng = np.random.default_rng(seed)
        network = random_network(rng)
        p = random_predictors(network, per_network, rng)
        cost = lf.representation_cost(network, p, rng=seed)
        known = np.isfinite(cost.upper)
        assert (cost.lower <= cost.upper).all()
        assert_allclose(squared_norm(cost.weights, 1)[known], cost.upper[known], rtol=1e-11)
        assert (cost.violation[known] <= 1e-12).all(), (seed, network)
        for at in range(per_network):
            best = brute_force(network, p[at], n_starts=3, rng=seed)
            if math.isfinite(best):
                assert cost.lower[at] <= best * (1 + 1e-8) + 1e-13, (seed, at, network)
                n_missed += int(cost.upper[at] > best * (1 + 1e-8) + 1e-12)
                assert not (cost.exact[at] and cost.upper[at] > best * (1 + 2e-8) + 1e-12)
        n_exact += int(cost.exact.sum())
        n_open += int((~cost.exact).sum())
    assert n_exact > n_open > 0
    assert n_missed <= n_cases / 200  # starts that all end in other minima


@settings(max_examples=40)
@given(st.data())
def test_convolutions_of_any_width_and_kernel(data):
    width = data.draw(st.integers(1, 13))
    taps = data.draw(st.integers(1, width))
    n_layers = data.draw(st.integers(2, 8))
    seed = data.draw(st.integers(0, 2**32 - 1))
    p = np.random.default_rng(seed).standard_normal(width)
    cost = lf.representation_cost(lf.Convolution(width, taps, n_layers), p)
    modes = np.abs(np.fft.fft(p))
    low = n_layers * np.mean(modes ** (2 / n_layers))
    high = n_layers * np.linalg.norm(p) ** (2 / n_layers)
    assert cost.exact
    assert low * (1 - 1e-9) <= cost.value <= high * (1 + 1e-9)
    assert cost.violation < 1e-11


PADDED = lf.Chain(  # whose first and last taps read nothing
    [layers.Convolution(2, 3, dilation=2, padding="zero", out_channels=2), layers.Dense(4, 1)]
)


@pytest.mark.parametrize("network", [*CHAINS, PADDED], ids=repr)
def test_derivatives_of_the_predictor(network):
    function = Function(network)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((2, function.n_weights))
    z = rng.standard_normal((2, function.n_entries))
    eye, tiny = np.eye(function.n_weights), 1e-100
    moved = function.value(w[:, None] + 1j * tiny * eye).imag / tiny  # exact for polynomials
    assert_allclose(function.jacobian(w), moved.swapaxes(-1, -2), rtol=1e-11, atol=1e-12)
    bent = [
        np.stack(
            [(function.jacobian(at + h) - function.jacobian(at - h)) / 2e-3 for h in 1e-3 * eye]
        )
        for at in w
    ]
    # Central differences; the error is that of third derivatives.
    curvature = np.einsum("npek,ne->npk", np.stack(bent), z)
    assert_allclose(function.curvature(w, z), curvature, rtol=1e-4, atol=3e-4)


class TestSearch:
    network = lf.Convolution(6, 3, 3, padding="zero")
    p = np.random.default_rng(3).standard_normal((3, 6))

    def test_same_result_from_the_same_seed_and_any_number_of_threads(self):
        one = lf.representation_cost(self.network, self.p, rng=5, n_threads=1)
        two = lf.representation_cost(self.network, self.p, rng=5, n_threads=2)
        assert_array_equal(one.upper, two.upper)
        assert_array_equal(one.lower, two.lower)
        for a, b in zip(one.weights, two.weights, strict=True):
            assert_array_equal(a, b)
        generator = np.random.default_rng(5)
        assert_array_equal(
            lf.representation_cost(self.network, self.p, rng=generator).upper, one.upper
        )

    def test_predictors_that_need_large_weights_are_found(self):
        # The third position reads one tap of each channel: its row of the matrix (positions, taps)
        # is the only one that completes rank 2, whose cost is twice the nuclear norm.
        layer = layers.Convolution(5, 2, in_channels=2, out_channels=2, stride=2, padding="zero")
        p = np.random.default_rng(1).standard_normal((300, 10))[[263, 157, 238, 1]]
        rows = (
            p.reshape(4, 2, 5)[..., :4].reshape(4, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 2, 4)
        )
        known = p.reshape(4, 2, 5)[..., 4]
        last = np.linalg.solve(rows[..., [0, 2]].mT, known[..., None]).mT @ rows
        expected = 2 * np.linalg.norm(np.concatenate([rows, last], axis=1), "nuc", axis=(1, 2))
        assert (expected[:3] > 100).all()
        cost = lf.representation_cost(lf.Chain([layer, layers.Dense(6, 1)]), p)
        assert_allclose(cost.value, expected, rtol=1e-9)
        assert (cost.violation < 1e-12).all()

    def test_weights_that_nothing_reads_are_zero(self):
        # Of an input of two positions, taps that are two apart read at most one each.
        network = lf.Chain(
            [
                layers.Convolution(4, 3, out_channels=3, padding="zero"),
                layers.Convolution(4, 3, in_channels=3, stride=2, dilation=2, padding="zero"),
                layers.Convolution(2, 2, out_channels=2, stride=2, dilation=2, padding="zero"),
                layers.Dense(2, 1),
            ]
        )
        cost = lf.representation_cost(network, [1.0, -0.5, 0.3, 0.2])
        best = brute_force(network, [1.0, -0.5, 0.3, 0.2], n_starts=4)
        assert cost.value == pytest.approx(best, rel=1e-8)
        assert_allclose(cost.weights[2][..., 0], 0, atol=1e-20)

    def test_bounds_and_feasibility(self):
        cost = lf.representation_cost(self.network, self.p)
        assert (cost.lower > 0.5 * cost.upper).all()
        assert (cost.violation < 1e-13).all()
        assert not cost.exact.any()
        assert_array_equal(cost.value, cost.upper)

    def test_more_starts_are_no_worse(self):
        few = lf.representation_cost(self.network, self.p, n_starts=1, rng=0)
        many = lf.representation_cost(self.network, self.p, n_starts=32, rng=0)
        assert (many.upper <= few.upper * (1 + 1e-9)).all()

    def test_some_predictors_are_exact_and_others_are_searched(self):
        spd = np.array([[3.0, 1.0], [1.0, 2.0]])
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        cost = lf.representation_cost(STACK, np.stack([spd, turn, spd]))
        assert_array_equal(cost.exact[[0, 2]], True)
        assert "search" in cost.method
        assert cost.violation.max() < 1e-13
        assert_array_equal(cost.value[0], lf.representation_cost(STACK, spd).value)


class TestBadInput:
    network = lf.Diagonal(3, 2)

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda _: lf.representation_cost(3, BETA), TypeError, "network must be a Chain"),
            (lambda n: lf.representation_cost(n, BETA), ValueError, r"\(\*batch, 3\), got \(4,\)"),
            (lambda n: lf.representation_cost(n, 1.0), ValueError, r"got \(\)"),
            (lambda n: lf.representation_cost(n, [1, np.nan, 1]), ValueError, "must be finite"),
            (lambda n: lf.representation_cost(n, np.ones((0, 3))), ValueError, "must not be empty"),
            (lambda n: lf.representation_cost(n, "abc"), TypeError, "predictor"),
            (lambda _: lf.representation_cost(lf.Dense((3, 2, 2)), np.ones((3, 2))), ValueError,
             r"\(\*batch, 2, 3\), got \(3, 2\)"),
            (lambda n: lf.representation_cost(n, np.ones(3), rtol=1), ValueError, "rtol must be < 1"),
            (lambda n: lf.representation_cost(n, np.ones(3), rtol=-1), ValueError, "rtol must be"),
            (lambda n: lf.representation_cost(n, np.ones(3), n_starts=0), ValueError, "n_starts"),
            (lambda n: lf.representation_cost(n, np.ones(3), n_threads=0), ValueError, "n_threads"),
            (lambda n: lf.representation_cost(n, np.ones(3), n_starts=2.5), TypeError, "n_starts"),
            (lambda n: lf.depth_limit(n, np.ones(2)), ValueError, r"\(\*batch, 3\), got \(2,\)"),
            (lambda n: lf.depth_limit(n, np.ones(3), rtol=2), ValueError, "rtol must be < 1"),
        ],
    )  # fmt: skip
    def test_is_refused(self, call, error, message):
        with pytest.raises(error, match=message):
            call(self.network)
