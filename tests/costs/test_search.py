"""The search for costs: brute force on networks of any kind, bounds, proofs, derivatives."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from brute_force import brute_force
from cost_networks import EXACT, STACK, predictors, random_network, squared_norm, tied
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS, THOROUGH

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.costs.solvers import bounds, impossible, search
from linnet_fast.costs.solvers.function import Function

BETA = np.array([1.0, 2.0, 3.0, 4.0])


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
    n_cases = int(os.environ.get("LINNET_FAST_CASES", "60" if THOROUGH else "30"))
    per_network, n_exact, n_open, n_missed = 2, 0, 0, 0
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


@pytest.mark.parametrize("name", [*EXACT, "one shared weight"])
def test_bounds_of_any_chain_are_below_costs_that_are_exact(name):
    # Of dense layers and of one shared weight they are the cost.
    network = EXACT.get(name, tied(1, 3))
    p = predictors(network, 3)
    cost = lf.representation_cost(network, p)
    flat = p.reshape(3, -1)
    found = np.maximum(bounds.lower_bound(network, flat), bounds.unfolding_bound(network, flat))
    assert (found <= cost.value * (1 + 1e-9)).all()
    if name in {"dense, deep matrices", "one shared weight"}:
        assert_allclose(found, cost.value, rtol=1e-9)


def test_nothing_proves_what_a_network_reaches_impossible():
    rng = np.random.default_rng(0)
    # The first ones have relations of degree 2 and 3.
    some = [
        lf.Convolution(6, 3, 2, stride=2),
        lf.Convolution(4, 2, 2, stride=2),
        lf.Dense((3, 1, 3)),
    ]
    for network in [*some, *(random_network(rng) for _ in range(30))]:
        function = Function(network)
        reached = function.value(rng.standard_normal((3, function.n_weights)))
        if bounds.homogeneous_degree(network) is not None:
            reached /= np.linalg.norm(reached, axis=-1, keepdims=True)
        assert not impossible.linear(function, reached).any()
        assert not impossible.polynomial(function, reached).any()


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

    def test_more_starts_are_for_predictors_whose_bounds_do_not_meet(self, monkeypatch):
        counts = []

        def counted(function, unit, n_starts, *others, **options):
            counts.append((len(unit), n_starts))
            return from_starts(function, unit, n_starts, *others, **options)

        from_starts = search._from_starts
        monkeypatch.setattr(search, "_from_starts", counted)
        # With one channel the first costs more than its dual bound, and copies are needed, too.
        beta = [[1.0, 0.2, -0.7, 0.5, 1.1, -0.4, 0.3], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        one = lf.representation_cost(lf.Convolution(7, taps=(0, 1, 3)), beta, n_starts=32)
        assert counts == [(2, 3), (1, 29), (1, 3)]
        assert_array_equal(one.exact, [False, True])
        assert_allclose(one.value, [3.04519, 2], rtol=1e-5)
        counts.clear()
        network = lf.Convolution(7, taps=(0, 1, 3), channels=3)
        assert lf.representation_cost(network, beta, n_starts=32).exact.all()
        assert counts == [(2, 3)]

    def test_some_predictors_are_exact_and_others_are_searched(self):
        spd = np.array([[3.0, 1.0], [1.0, 2.0]])
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        cost = lf.representation_cost(STACK, np.stack([spd, turn, spd]))
        assert_array_equal(cost.exact[[0, 2]], True)
        assert "search" in cost.method
        assert cost.violation.max() < 1e-13
        assert_array_equal(cost.value[0], lf.representation_cost(STACK, spd).value)

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
