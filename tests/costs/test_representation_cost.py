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
    blocks,
    embedded,
    group_net,
    predictors,
    product_of,
    residual,
    squared_norm,
    tied,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import layers

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
BETA = np.array([1.0, 2.0, 3.0, 4.0])
EYE = np.eye(4)
ROOT_2 = math.sqrt(2)


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
            known = 0.0 if THOROUGH else float(cost.value[at])
            expected = brute_force(network, p[at], n_starts=12, rng=at, until=known)
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
