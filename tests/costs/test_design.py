"""From regularizers to networks and back: every claim checked by costs on random predictors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from brute_force import brute_force
from numpy.testing import assert_allclose

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast import regularizers as r
from linnet_fast.costs.design import _MAKERS

GROUPS = [(0, 1), (2, 3), (4,)]
ATOMS = np.random.default_rng(0).standard_normal((4, 6))
DESIGNS = [
    (r.L1(), 5),
    (r.WeightedL1([1.0, 2.0, 0.5]), 3),
    (r.L2(), 5),
    (r.SquaredL2(), 4),
    (r.LInf(), 4),
    (r.Lp(1.0), 4),
    (r.Lp(2.0), 4),
    (r.Lp(2 / 3), 4),
    (r.Lp(0.25), 3),
    (r.GroupLasso(GROUPS), 5),
    (r.GroupLasso(GROUPS, [1.0, 3.0, 0.5]), 5),
    (r.MixedGroup(GROUPS, 2.0, 2 / 3), 5),
    (r.MixedGroup(GROUPS, 1.0, 2 / 3), 5),
    (r.MixedGroup(GROUPS, 2 / 3, 2 / 3), 5),
    (r.MixedGroup(GROUPS, 1.0, 0.5), 5),
    (r.LatentGroupLasso([(0, 1), (1, 2), (2, 3, 0)]), 4),
    (r.ExclusiveLasso(GROUPS), 5),
    (r.KSupport(1), 4),
    (r.KSupport(2), 4),
    (r.KSupport(3), 5),
    (r.KSupport(7), 4),
    (r.OWL([3.0, 2.0, 0.5]), 3),
    (r.OWL([1.0, 0.0, 0.0]), 3),
    (r.SLOPE([1.0, 1.0]), 2),
    (r.TotalVariation(), 5),
    (r.Huber(), 3),
    (r.NuclearNorm(), (3, 2)),
    (r.SchattenP(2 / 3), (2, 3)),
    (r.SchattenP(0.4), (2, 2)),
    (r.FourierL1(), 5),
    (r.FourierLp(0.5), 4),
    (r.Atomic(ATOMS), 4),
    (r.InfimalConvolution(r.L1(), r.LInf()), 3),
    (r.InfimalConvolution(r.SquaredL2(), r.WeightedL1([2.0] * 3)), 3),
]
IDS = [f"{penalty!r:.40}" for penalty, _ in DESIGNS]
# Networks of several paths have no closed form: their costs are found by search, so 1e-6.
SEARCHED = (r.InfimalConvolution,)


@pytest.mark.parametrize(("penalty", "size"), DESIGNS, ids=IDS)
class TestParameterize:
    def test_costs_are_a_multiple_of_the_regularizer(self, penalty, size):
        network = lf.parameterize(penalty, size)
        if isinstance(penalty, SEARCHED):
            check = lf.verify(network, penalty, n_samples=6, tolerance=1e-6)
        else:
            check = lf.verify(network, penalty, n_samples=24)
        assert check, check
        assert check.n_exact == check.n_samples
        assert check.constant > 0

    def test_other_regularizers_are_told_apart(self, penalty, size):
        network = lf.parameterize(penalty, size)
        if isinstance(penalty, SEARCHED):
            return
        for other in (r.L1(), r.L2(), r.LInf(), r.Huber(), r.NuclearNorm(), r.SchattenP(0.1)):
            if other._n_axes == penalty._n_axes:
                values = (penalty.value, other.value)
                p = np.random.default_rng(5).standard_normal((9, *np.atleast_1d(size)))
                one, two = (f(p) / f(p[:1]) for f in values)
                same = np.allclose(one, two, rtol=1e-6)
                power = math.log(one[1]) / math.log(two[1])
                if not (same or np.allclose(one, two**power, rtol=1e-6)):
                    assert not lf.verify(network, other, n_samples=8)

    def test_brute_force_over_weights(self, penalty, size):
        network = lf.parameterize(penalty, size)
        if network.n_weights > 30 or network.n_layers > 4:
            return
        shape = (network.n_outputs, network.n_inputs) if penalty._n_axes == 2 else network.n_inputs
        p = np.random.default_rng(1).standard_normal(shape)
        constant = lf.verify(network, penalty, n_samples=2, tolerance=1e-6).constant
        power = lf.verify(network, penalty, n_samples=2, tolerance=1e-6).power
        expected = constant * float(penalty.value(p)) ** power
        assert brute_force(network, p, n_starts=10) == pytest.approx(expected, rel=1e-7)

    def test_what_is_names_it(self, penalty, size):
        network = lf.parameterize(penalty, size)
        found = lf.what_is(network)
        assert found is not None
        rng = np.random.default_rng(2)
        shape = (network.n_outputs, network.n_inputs) if penalty._n_axes == 2 else network.n_inputs
        p = rng.standard_normal((4, *np.atleast_1d(shape)))
        if found.regularizer is None:
            return
        cost = lf.representation_cost(network, p)
        assert cost.exact.all()
        assert_allclose(found.value(p), cost.value, rtol=1e-7)
        assert type(found.regularizer).__name__ in str(found)
        same = {"Lp": ("L1", "L2", "Lp"), "KSupport": ("L1", "L2", "KSupport"), "SLOPE": ("OWL",)}
        name = type(penalty).__name__
        if name not in (
            "MixedGroup",
            "SchattenP",
            "InfimalConvolution",
        ):  # which others are at some powers
            assert type(found.regularizer).__name__ in same.get(name, (name,))


def test_every_regularizer_has_a_design_or_a_reason():
    designed = {type(penalty).__name__ for penalty, _ in DESIGNS}
    assert designed | {"ElasticNet"} == set(r.__all__) - {"Regularizer", "SLOPE"}
    makers = {kind.__name__ for kind in _MAKERS}
    assert makers | {"NuclearNorm", "SchattenP"} == designed | {"ElasticNet"}


class TestWhatIs:
    @pytest.mark.parametrize(
        ("network", "expected"),
        [
            (lf.Dense((4, 1)), "SquaredL2()"),
            (lf.Dense((4, 3, 2, 1)), "3 * L2() ** 0.666667"),
            (lf.Dense((4, 2, 4)), "2 * NuclearNorm()"),
            (lf.Dense((4, 4, 4, 4)), "3 * SchattenP(p=0.6666666666666666)"),
            (lf.Diagonal(3, 1), "SquaredL2()"),
            (lf.Diagonal(3, 2), "2 * L1()"),
            (lf.Convolution(5, 5, 2), "2 * FourierL1()"),
            (lf.Convolution(5, 5, 4), "4 * FourierLp(p=0.5)"),
            (lf.Convolution(5, 1, 3), "3 * L2() ** 0.666667"),
            (lf.Grouped([(0, 1), (2,)]), "2 * GroupLasso(groups=((0, 1), (2,)), weights=None)"),
            (lf.parallel([lf.Dense((3, 1)), lf.Diagonal(3, 2)]), "Huber()"),
            (
                lf.parallel([lf.Diagonal(3, 2), lf.Dense((3, 1, 1))]),
                "2 * InfimalConvolution(first=L1(), second=L2())",
            ),
            (
                lf.Chain([layers.Fixed(4 * np.eye(3)), lf.Dense((3, 1, 1))]),
                "0.5 * L2()",
            ),
        ],
    )
    def test_names(self, network, expected):
        assert str(lf.what_is(network)) == expected

    @pytest.mark.parametrize(
        ("network", "words"),
        [
            (lf.Dense((3, 2)), "squared Frobenius norm"),
            (lf.Convolution(6, 3, 3), "kernels of width 3"),
            (lf.Convolution((2, 3), (2, 3), 2), "mean of Fourier modes"),
            (lf.Residual(4, 2, n_outputs=3), "singular values"),
            (
                lf.Chain([layers.Residual(layers.Diagonal(3))] * 2 + [layers.Dense(3, 1)]),
                "coordinates",
            ),
        ],
    )
    def test_in_words(self, network, words):
        found = lf.what_is(network)
        assert words in str(found)
        with pytest.raises(TypeError, match="use representation_cost"):
            found.value(np.ones((network.n_outputs, network.n_inputs)))

    def test_rank_that_fits_is_said(self):
        assert "rank up to 2" in lf.what_is(lf.Dense((4, 2, 4))).name

    def test_some_transversals_are_not_all(self):
        # Of 40 pairs: enough units that every two entries meet; to list all would take 2**40.
        rng = np.random.default_rng(0)
        units = 2 * np.arange(40) + rng.integers(2, size=(90, 40))
        network = lf.Chain([layers.Masked.of_groups(units.tolist(), 80), layers.Dense(90, 1)])
        assert isinstance(lf.what_is(network).regularizer, r.LatentGroupLasso)

    def test_unknown(self):
        assert lf.what_is(lf.Convolution(6, 3, 3, padding="zero")) is None
        with pytest.raises(TypeError, match="network must be a Chain"):
            lf.what_is("Dense")


class TestNone:
    """Regularizers that no network induces: the message says why, and what comes nearest."""

    @pytest.mark.parametrize(
        ("penalty", "words"),
        [
            (r.Lp(1.5), ["spectrahedron", "p = 1, 2 and infinity", "Atomic"]),
            (r.Lp(3.0), ["spectrahedron"]),
            (r.Lp(0.7), ["2 / L", "1 (2 layers) or 0.666667 (3 layers)", "no polynomial"]),
            (r.FourierLp(0.7), ["2 / L"]),
            (r.MixedGroup([(0, 1), (2,), (3,)], 1.3, 0.5), ["2 / L"]),
            (r.ElasticNet(1.0, 1.0), ["polynomial", "weights_to_predictor", "augment"]),
            (r.InfimalConvolution(r.L1(), r.Lp(1.5)), ["spectrahedron"]),
        ],
        ids=repr,
    )
    def test_vectors(self, penalty, words):
        with pytest.raises(lf.NoParameterizationError) as error:
            lf.parameterize(penalty, 4)
        for word in words:
            assert word in str(error.value)

    def test_matrices(self):
        with pytest.raises(lf.NoParameterizationError, match="2 / L") as error:
            lf.parameterize(r.SchattenP(0.7), (3, 3))
        assert "single weights" not in str(error.value)  # a way out for sums over entries only

    @pytest.mark.parametrize(
        ("penalty", "n"),
        [
            (r.LInf(), 40),
            (r.KSupport(20), 40),
            (r.ExclusiveLasso([tuple(range(k, k + 10)) for k in range(0, 60, 10)]), 60),
            (r.OWL(np.linspace(1, 0, 30)), 30),
        ],
    )
    def test_more_units_than_anyone_has(self, penalty, n):
        with pytest.raises(lf.NoParameterizationError, match=r"needs \d+ hidden units|signed"):
            lf.parameterize(penalty, n)

    def test_a_regularizer_of_the_users(self):
        class Own(r.Regularizer):
            def _value(self, x):
                return np.abs(x).sum(axis=-1)

            def _prox(self, x, step):
                return r.L1().prox(x, step)

        with pytest.raises(lf.NoParameterizationError, match="no network is known"):
            lf.parameterize(Own(), 3)

    def test_the_neighbours_named_do_exist(self):
        assert lf.verify(lf.parameterize(r.Lp(2 / 3), 3), r.Lp(2 / 3))


class TestVerify:
    def test_a_wrong_claim_fails(self):
        for network, penalty in (
            (lf.Diagonal(4, 2), r.L2()),
            (lf.Diagonal(4, 3), r.L1()),
            (lf.Dense((4, 1, 1)), r.KSupport(2)),
            (lf.Convolution(6, 3, 2), r.FourierL1()),
            (lf.Dense((3, 1, 3)), r.NuclearNorm()),  # not all matrices are within reach
        ):
            check = lf.verify(network, penalty)
            assert not check
            assert not check.passed

    def test_bounds_that_do_not_meet_do_not_pass(self):
        network = lf.Convolution(5, 2, 3, padding="zero")
        check = lf.verify(network, r.L2(), n_samples=4, tolerance=10.0)
        assert check.n_exact < check.n_samples
        assert not check

    def test_power_of_homogeneous_networks(self):
        check = lf.verify(lf.Dense((4, 2, 2, 1)), r.L2())
        assert check
        assert check.power == pytest.approx(2 / 3, rel=1e-12)
        assert check.constant == pytest.approx(3, rel=1e-9)

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: lf.verify(3, r.L1()), TypeError, "network must be a Chain"),
            (lambda: lf.verify(lf.Diagonal(3), 3), TypeError, "regularizer must be a Regularizer"),
            (lambda: lf.verify(lf.Dense((3, 2)), r.L1()), ValueError, "must have one output"),
            (lambda: lf.verify(lf.Diagonal(3), r.WeightedL1([1.0])), ValueError, "1 coordinates"),
            (lambda: lf.verify(lf.Diagonal(3), r.L1(), n_samples=0), ValueError, "n_samples"),
            (lambda: lf.verify(lf.Diagonal(3), r.L1(), tolerance=-1), ValueError, "tolerance"),
            (lambda: lf.parameterize(3, 3), TypeError, "regularizer must be a Regularizer"),
            (lambda: lf.parameterize(r.L1(), 0), ValueError, "n_features must be >= 1"),
            (lambda: lf.parameterize(r.L1(), 2.5), TypeError, "n_features must be an integer"),
            (lambda: lf.parameterize(r.L1(), (2, 3)), TypeError, "n_features must be an integer"),
            (lambda: lf.parameterize(r.NuclearNorm(), 3), ValueError, r"\(outputs, inputs\)"),
            (lambda: lf.parameterize(r.WeightedL1([1.0]), 3), ValueError, "1 coordinates"),
            (lambda: lf.parameterize(r.LatentGroupLasso([(0, 5)]), 3), ValueError, "at least 6"),
        ],
    )
    def test_bad_input(self, call, error, message):
        with pytest.raises(error, match=message):
            call()
