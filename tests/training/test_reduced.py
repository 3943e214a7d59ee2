"""Dense networks trained as the small ones that they are: the same results, from less work."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reduced_problems import (
    ALL,
    LOSSES,
    METHODS,
    STARTS,
    TIGHT,
    both,
    close,
    make_loss,
    make_start,
    small_ones_too,  # noqa: F401  (a fixture of every test here)
)
from support import crossed

import linnet_fast as lf
from linnet_fast import reference


class TestEqualsTheWhole:
    """What is reduced, against what is not and against the reference."""

    @settings(max_examples=60)
    @given(
        seed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(LOSSES),
        method=st.sampled_from(sorted(METHODS)),
        start=st.sampled_from(STARTS),
        widths=st.lists(st.sampled_from([1, 2, 3, 5, 8, 17]), min_size=3, max_size=5),
        n=st.sampled_from([1, 3, 7, 30]),
        rank=st.sampled_from([None, 1, 2]),
    )
    def test_everything(self, seed, kind, method, start, widths, n, rank):
        rng = np.random.default_rng(seed)
        if kind == "softmax":
            widths[-1] = max(widths[-1], 2)
        network = lf.Dense(widths)
        loss = make_loss(kind, rng, n, widths[0], widths[-1], rank)
        weights = make_start(start, network, rng)
        options = {
            "method": METHODS[method](network.n_layers),
            "n_steps": 40,
            "record": lf.Record.at([0, 1, 7, 40], ALL),
        }
        ours = lf.train(network, loss, weights, **options)
        whole = lf.train(network, loss, weights, **options, reduce=False)
        # Of what blows up the last digits do, too.
        assume(np.nanmax(whole.layer_norms) < 1e6)
        # What divides small numbers by small ones is as right as these are.
        ill = (
            {"layer_singular_ratio"}
            if start in ("low_rank", "scales", "zero", "balanced")
            else set()
        )
        names = set(ALL) - ill
        close(ours, whole, 1e-11 if method in ("gradient", "norm") else TIGHT, names)
        # Steps over the size of the gradient do not end where it does, and make much of a last digit.
        loose = 1e-6 if method == "gradient" else 1e-10
        close(ours, reference.train(network, loss, weights, **options), loose, names)

    @crossed(("kind", LOSSES), ("method", sorted(METHODS)))
    def test_a_thousand_tame_steps(self, kind, method):
        rng = np.random.default_rng(5)
        network = lf.Dense((12, 30, 3))
        loss = make_loss(kind, rng, 6, 12, 3, None)
        start = make_start("gaussian", network, rng)
        options = {
            "method": METHODS[method](2),
            "n_steps": 100 if method == "gradient" else 1000,  # it goes on where nothing is left
            "record": lf.Record.geomspace(6, ALL),
        }
        small, whole = both(network, loss, start, **options)
        close(small, whole, 1e-10 if method in ("gradient", "norm") else TIGHT)
        if kind in ("moments", "samples", "logistic", "exponential", "rank_one"):
            assert small.reduction == "widths 12-30-3 trained as 12-9-3"

    @crossed(
        ("replace", [True, False]),
        ("kind", ["samples", "logistic", "softmax", "sensing", "completion"]),
    )
    def test_batches(self, kind, replace):
        rng = np.random.default_rng(6)
        network = lf.Dense((12, 20, 3))
        loss = make_loss(kind, rng, 6, 12, 3, None)
        batches = lf.Batches(2, seed=3, replace=replace)
        method = lf.GradientDescent(0.05, momentum=0.3, batches=batches)
        start = make_start("gaussian", network, rng)
        record = lf.Record.at([0, 50, 200], ALL)
        close(*both(network, loss, start, method=method, n_steps=200, record=record))

    def test_label_noise_of_batches(self):
        rng = np.random.default_rng(7)
        network = lf.Dense((12, 20, 2))
        loss = make_loss("samples", rng, 6, 12, 2, None)
        batches = lf.Batches("all", seed=3, label_noise_std=0.3)
        method = lf.GradientDescent(0.05, batches=batches)
        start = make_start("gaussian", network, rng)
        close(*both(network, loss, start, method=method, n_steps=100))

    @crossed(
        ("log_time", [False, True]),
        ("decay", [0.0, 0.2]),
        ("kind", ["moments", "samples", "logistic"]),
    )
    def test_flows(self, kind, decay, log_time):
        rng = np.random.default_rng(8)
        network = lf.Dense((12, 20, 2))
        loss = make_loss(kind, rng, 6, 12, 2, None)
        method = lf.GradientFlow(rtol=1e-10, weight_decay=decay, log_time=log_time)
        record = lf.Record.at_times([0.0, 0.5, 2.0], ALL)
        start = make_start("gaussian", network, rng)
        options = {"method": method, "until": 2.0, "record": record}
        close(*both(network, loss, start, **options), 1e-7)

    def test_the_population_loss(self):
        network = lf.Dense((5, 30, 30, 1))
        loss = lf.SphericalLogisticLoss(np.arange(1.0, 6.0), lf.laws.Gaussian(5))
        start = lf.initialization.orthogonal(network, scale=0.5, rng=1, batch_shape=(3,))
        names = ("loss", "angle", "log_tan_half_angle", "norm", "weights", "layer_alignment")
        record = lf.Record.at([0, 10, 300], names)
        small, whole = both(
            network, loss, start, method=lf.GradientDescent(0.1), n_steps=300, record=record
        )
        assert small.reduction == "widths 5-30-30-1 trained as 5-6-6-1"
        close(small, whole, 1e-10)  # of the logarithm of small angles
        flow = {"method": lf.GradientFlow(rtol=1e-10), "until": 20.0}
        record = lf.Record.at_times([1.0, 20.0], names)
        close(*both(network, loss, start, record=record, **flow), 1e-6)

    def test_data_of_each_run(self):
        rng = np.random.default_rng(9)
        x, y = rng.standard_normal((3, 1, 20, 8)), rng.standard_normal((3, 1, 20, 2))
        x[1, 0, :, 2] = x[1, 0, :, 1]
        network = lf.Dense((8, 25, 2))
        start = lf.initialization.gaussian(network, scale=0.2, rng=1, batch_shape=(3, 4))
        options = {"method": lf.GradientDescent(0.05), "n_steps": 200}
        record = lf.Record.at([0, 200], ALL)
        for used in ([0, 2], [0, 1, 2]):  # of one rank, and of several
            loss = lf.SquaredLoss.from_data(x[used], y[used])
            begin = [w[used] for w in start]
            close(*both(network, loss, begin, record=record, **options))


class TestObservables:
    """What else is recorded, evaluated and looked at."""

    def test_other_losses(self):
        rng = np.random.default_rng(1)
        network = lf.Dense((10, 30, 3))
        loss = make_loss("moments", rng, 5, 10, 3, None)
        evaluate = {
            name: make_loss(name, rng, 9, 10, 3, None)
            for name in ("moments", "samples", "softmax", "sensing", "rank_one")
        }
        evaluate["itself"] = loss
        record = lf.Record.at([0, 5, 60], ("loss",), evaluate=evaluate)
        start = make_start("gaussian", network, rng)
        stop = lf.Stop(evaluate={"moments": 1.0})
        options = {"method": lf.GradientDescent(0.1), "n_steps": 60, "stop": stop}
        small, whole = both(network, loss, start, record=record, **options)
        close(small, whole)
        assert set(small.observables) == {"loss", *(f"loss_{name}" for name in evaluate)}

    def test_margins_and_accuracies(self):
        rng = np.random.default_rng(2)
        network = lf.Dense((10, 30, 3))
        loss = make_loss("softmax", rng, 7, 10, 3, None)
        record = lf.Record.at(
            [0, 5, 60],
            ("margin", "accuracy"),
            evaluate={"test": make_loss("softmax", rng, 9, 10, 3, None)},
        )
        start = make_start("gaussian", network, rng)
        close(
            *both(network, loss, start, method=lf.GradientDescent(1.0), n_steps=60, record=record)
        )

    def test_an_evaluated_loss_of_another_form_trains_the_whole(self):
        rng = np.random.default_rng(3)
        network = lf.Dense((10, 30, 3))
        record = lf.Record.at(
            [0, 5], ("loss",), evaluate={"test": make_loss("completion", rng, 0, 10, 3, None)}
        )
        start = make_start("gaussian", network, rng)
        options = {"method": lf.GradientDescent(0.1), "n_steps": 5, "record": record}
        assert (
            lf.train(network, make_loss("moments", rng, 5, 10, 3, None), start, **options).reduction
            is None
        )
        loss = make_loss("completion", rng, 5, 10, 3, None)
        assert lf.train(network, loss, start, **options).reduction is not None

    def test_functions_of_the_user(self):
        rng = np.random.default_rng(4)
        network = lf.Dense((10, 30, 3))
        loss = make_loss("moments", rng, 5, 10, 3, None)
        first = lf.Observable("first", lambda weights, _: weights[0][:, :2, 0], shape=(2,))
        trace = lf.Observable("trace", lambda _, product: product[:, 0, 0] + product[:, 1, 1])
        record = lf.Record.at([0, 5, 60], ("loss", first, trace))
        start = make_start("gaussian", network, rng)
        close(
            *both(network, loss, start, method=lf.GradientDescent(0.1), n_steps=60, record=record)
        )

    def test_angles_to_any_direction(self):
        rng = np.random.default_rng(5)
        network = lf.Dense((10, 30, 1))
        loss = make_loss("logistic", rng, 4, 10, 1, None)
        record = lf.Record.at([0, 5, 60], ("angle", "log_tan_half_angle"), np.arange(1.0, 11.0))
        start = make_start("gaussian", network, rng)
        close(
            *both(network, loss, start, method=lf.GradientDescent(0.5), n_steps=60, record=record)
        )

    def test_recording_does_not_change_a_bit(self):
        rng = np.random.default_rng(6)
        network = lf.Dense((10, 30, 1))
        loss = make_loss("logistic", rng, 4, 10, 1, None)
        start = make_start("gaussian", network, rng)
        options = {"method": lf.GradientDescent(0.5, 0.1), "n_steps": 60}
        plain = lf.train(network, loss, start, record=lf.Record.at([60], ("loss",)), **options)
        record = lf.Record.every(7, (*ALL, "angle", "margin"), np.ones(10), {"test": loss})
        full = lf.train(network, loss, start, record=record, **options)
        for one, other in zip(plain.final.weights, full.final.weights, strict=True):
            assert_array_equal(one, other)

    def test_it_says_what_was_done(self):
        rng = np.random.default_rng(7)
        network = lf.Dense((10, 30, 3))
        loss = make_loss("moments", rng, 5, 10, 3, None)
        start = make_start("gaussian", network, rng)
        small, whole = both(network, loss, start, method=lf.GradientDescent(0.1), n_steps=1)
        assert (
            small.reduction == small.provenance["reduction"] == "widths 10-30-3 trained as 10-8-3"
        )
        assert "reduction" not in whole.provenance


class TestEnds:
    """Runs that stop, diverge, have ended, or go on."""

    @pytest.fixture
    def problem(self):
        rng = np.random.default_rng(1)
        network = lf.Dense((10, 30, 3))
        loss = make_loss("moments", rng, 5, 10, 3, None)
        return network, loss, make_start("gaussian", network, rng)

    @pytest.mark.parametrize("threshold", [{"loss": 0.9}, {"gradient_norm": 0.3}])
    def test_stopping(self, problem, threshold):
        options = {"method": lf.GradientDescent(0.2), "n_steps": 400, "stop": lf.Stop(**threshold)}
        small, whole = both(*problem, record=lf.Record.every(50, ALL), **options)
        assert (small.stopped_at < 400).all()
        close(small, whole)

    def test_diverging(self, problem):
        method = lf.GradientDescent([[0.1], [50.0]])
        small, whole = both(*problem, method=method, n_steps=100, record=lf.Record.every(25, ALL))
        assert_array_equal(small.status, whole.status)
        assert_array_equal(small.status[1], lf.Status.DIVERGED)
        for name in ("loss", "singular_values", "product", "layer_norms", "imbalance", "norm"):
            mine, other = getattr(small, name), getattr(whole, name)
            assert_array_equal(np.isnan(mine), np.isnan(other), err_msg=name)
            assert_allclose(mine[0], other[0], rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("momentum", [0.0, 0.6])
    @pytest.mark.parametrize("decay", [0.0, 0.1])
    def test_going_on_keeps_every_bit(self, problem, momentum, decay):
        method = lf.GradientDescent(0.05, weight_decay=decay, momentum=momentum)
        options = {"method": method, "record": lf.Record.at([100], ALL)}
        network, loss, start = problem
        whole = lf.train(network, loss, start, n_steps=100, **options)
        part = lf.train(network, loss, start, n_steps=40, method=method)
        for state in (
            part.final,
            copy.deepcopy(part.final),
            pickle.loads(pickle.dumps(part.final)),
        ):
            mid = lf.train(network, loss, state, n_steps=25, method=method)
            rest = lf.train(network, loss, mid.final, n_steps=35, **options)
            assert rest.reduction == whole.reduction
            pairs = [*zip(rest.final.weights, whole.final.weights, strict=True)]
            for mine, other in zip(rest.final.memory, whole.final.memory, strict=True):
                pairs += zip(mine, other, strict=True)
            for name in ALL:
                mine, other = getattr(rest, name), getattr(whole, name)
                pairs += zip(mine, other, strict=True) if name == "weights" else [(mine, other)]
            for mine, other in pairs:
                assert_array_equal(mine, other)

    def test_changed_weights_are_not_overlooked(self, problem):
        network, loss, start = problem
        method = lf.GradientDescent(0.05)
        final = lf.train(network, loss, start, n_steps=40, method=method).final
        first, *others = final.weights
        final = dataclasses.replace(final, weights=(2 * first, *others))
        ours, whole = both(network, loss, final, method=method, n_steps=10)
        close(ours, whole)
        anew = lf.train(network, loss, final.weights, method=method, n_steps=10)
        for one, other in zip(ours.final.weights, anew.final.weights, strict=True):
            assert_array_equal(one, other)

    def test_another_loss_goes_on_from_there(self, problem):
        network, loss, start = problem
        other = make_loss("moments", np.random.default_rng(9), 6, 10, 3, None)
        method = lf.GradientDescent(0.05, momentum=0.5)
        final = lf.train(network, loss, start, n_steps=40, method=method).final
        ours = lf.train(network, other, final, n_steps=40, method=method)
        whole = lf.train(network, loss, start, n_steps=40, method=method, reduce=False).final
        close(ours, lf.train(network, other, whole, n_steps=40, method=method, reduce=False))

    def test_runs_that_had_ended_stay(self, problem):
        network, loss, start = problem
        method = lf.GradientDescent(0.2)
        stop = lf.Stop(loss=[[1.2], [0.0]])
        first = lf.train(network, loss, start, method=method, n_steps=100, stop=stop)
        assert set(first.status.ravel()) == {0, 1}
        rest = lf.train(network, loss, first.final, method=method, n_steps=100)
        for one, other in zip(rest.final.weights, first.final.weights, strict=True):
            assert_array_equal(one[0], other[0])
            assert (one[1] != other[1]).any()
        assert np.isnan(rest.loss[0]).all()

    @pytest.mark.parametrize("suffix", ["npz", "nc"])
    def test_files_go_on_to_the_last_bit(self, problem, tmp_path, suffix):
        network, loss, start = problem
        options = {"method": lf.GradientDescent(0.05, momentum=0.5), "n_steps": 40}
        run = lf.train(network, loss, start, record=lf.Record.every(10, ALL), **options)
        run.save(tmp_path / f"run.{suffix}")
        read = lf.Trajectory.load(tmp_path / f"run.{suffix}")
        assert read.reduction == run.reduction
        close(read, run, 0.0)
        one, other = (
            lf.train(network, loss, state, **options) for state in (run.final, read.final)
        )
        for mine, theirs in zip(one.final.weights, other.final.weights, strict=True):
            assert_array_equal(mine, theirs)

    def test_single_precision(self, problem):
        network, loss, start = problem
        options = {"method": lf.GradientDescent(0.05, 0.1), "n_steps": 200, "dtype": np.float32}
        small, whole = both(network, loss, start, record=lf.Record.at([0, 200], ALL), **options)
        assert small.final.weights[0].dtype == small.weights[0].dtype == np.float32
        close(small, whole, 1e-4)
        rest = lf.train(network, loss, small.final, method=options["method"], n_steps=1)
        assert rest.final.weights[0].dtype == np.float32

    def test_bits_of_a_run_depend_on_that_run_alone(self, problem):
        network, loss, start = problem
        options = {"method": lf.GradientDescent(0.05, 0.1), "n_steps": 50}
        record = lf.Record.at([0, 50], ("loss", "singular_values", "weights", "gradient_norm"))
        every = lf.train(network, loss, start, record=record, n_threads=2, **options)
        alone = lf.train(
            network, loss, [w[1, 0] for w in start], record=record, n_threads=1, **options
        )
        for name in ("loss", "singular_values"):
            assert_array_equal(getattr(every, name)[1, 0], getattr(alone, name))
        for one, other in zip(every.final.weights, alone.final.weights, strict=True):
            assert_array_equal(one[1, 0], other)
