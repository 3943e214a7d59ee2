"""Dense networks trained as the small ones that they are: the same results, from less work."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.training import reduced as reduced_module
from linnet_fast.training import reduction

ALL = (
    "loss",
    "singular_values",
    "product",
    "weights",
    "layer_norms",
    "imbalance",
    "gradient_norm",
    "norm",
    "layer_singular_ratio",
)
TIGHT = 1e-12


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """Reduce whatever can be, also where it does not pay."""
    monkeypatch.setattr(reduction, "LEAST_WORK", 0.0)
    monkeypatch.setattr(reduced_module, "_GAIN", np.inf)


def close(ours, theirs, tolerance=TIGHT, names=None):
    """Compare all of two trajectories, relative to the largest entry of each thing."""
    for name in names or ours.observables:
        mine, other = getattr(ours, name), getattr(theirs, name)
        pairs = zip(mine, other, strict=True) if isinstance(mine, tuple) else [(mine, other)]
        for one, two in pairs:
            scale = np.nanmax(np.abs(two), initial=0.0)
            if name == "imbalance":  # of large matrices that are nearly equal
                scale = max(np.nanmax(np.abs(w)) ** 2 for w in theirs.start.weights)
            assert_allclose(one, two, rtol=0, atol=tolerance * max(scale, 1e-300), err_msg=name)
    for one, two in zip(ours.final.weights, theirs.final.weights, strict=True):
        mine, other = one[ours.ok], two[theirs.ok]  # of the others some entries are no numbers
        scale = np.abs(other).max(initial=1e-300)
        assert_allclose(mine, other, rtol=0, atol=tolerance * scale)
    assert_array_equal(ours.status, theirs.status)
    assert_array_equal(ours.stopped_at, theirs.stopped_at)


def both(network, loss, start, **options):
    """Return a training that is reduced and one that is not."""
    small = lf.train(network, loss, start, **options)
    assert small.reduction is not None
    whole = lf.train(network, loss, start, **options, reduce=False)
    assert whole.reduction is None
    return small, whole


def data(rng, n, n_inputs, n_outputs, rank=None):
    """Return inputs, of a rank, and outputs."""
    x = rng.standard_normal((n, n_inputs)) / np.sqrt(n_inputs)
    if rank is not None and rank < n_inputs:
        x = x[:, :rank] @ rng.standard_normal((rank, n_inputs)) / np.sqrt(rank)
    return x, rng.standard_normal((n, n_outputs))


def labels(rng, n, n_outputs):
    shape = n if n_outputs == 1 else (n, n_outputs)
    return rng.choice([-1.0, 1.0], shape)


def make_loss(kind, rng, n, n_inputs, n_outputs, rank):
    x, y = data(rng, n, n_inputs, n_outputs, rank)
    if kind == "moments":
        return lf.SquaredLoss.from_data(x, y, form="moments")
    if kind == "diagonal":
        variances = rng.uniform(0.5, 1.0, n_inputs) * (np.arange(n_inputs) % 3 > 0)
        cross = rng.standard_normal((n_outputs, n_inputs)) * (variances > 0)
        return lf.SquaredLoss(np.diag(variances), cross, 40.0 * n_inputs)
    if kind == "samples":
        return lf.SquaredLoss.from_data(x, y, form="samples")
    if kind == "logistic":
        return lf.LogisticLoss.from_data(x, labels(rng, n, n_outputs))
    if kind == "exponential":
        return lf.ExponentialLoss.from_data(x, labels(rng, n, n_outputs), label_noise=0.1)
    if kind == "softmax":
        return lf.CrossEntropyLoss(x, np.eye(n_outputs)[np.arange(n) % n_outputs])
    if kind == "sensing":
        return lf.MatrixSensingLoss(rng.standard_normal((n, n_outputs, n_inputs)), y[:, 0])
    if kind == "rank_one":
        return lf.MatrixSensingLoss.rank_one(rng.standard_normal((n, n_outputs)), x, y[:, 0])
    places = rng.permutation(n_outputs * n_inputs)[: max(1, n_outputs * n_inputs // 2)]
    rows, cols = np.divmod(places, n_inputs)
    values = rng.standard_normal(len(places))
    return lf.MatrixCompletionLoss(rows, cols, values, shape=(n_outputs, n_inputs))


LOSSES = (
    "moments",
    "diagonal",
    "samples",
    "logistic",
    "exponential",
    "softmax",
    "sensing",
    "rank_one",
    "completion",
)
METHODS = {
    "plain": lambda _: lf.GradientDescent(0.03),
    "decay": lambda _: lf.GradientDescent(0.03, weight_decay=[[0.4], [0.0]]),
    "momentum": lambda _: lf.GradientDescent(0.02, weight_decay=0.2, momentum=0.7),
    "nesterov": lambda n: lf.GradientDescent(
        0.02, 0.3, [1.0, 0.5, *[1.0] * n][:n], momentum=[[0.5], [0.0]], nesterov=True
    ),
    "frozen": lambda n: lf.GradientDescent(0.03, layer_multipliers=[1.0] * (n - 1) + [0.0]),
    "power": lambda _: lf.GradientDescent(lf.StepRule.power(0.05, -0.3)),
    "gradient": lambda _: lf.GradientDescent(lf.StepRule.gradient_normalized(0.01)),
    "norm": lambda _: lf.GradientDescent(lf.StepRule.norm_proportional(0.01)),
}
STARTS = ("gaussian", "orthogonal", "balanced", "low_rank", "zero", "scales")


def make_start(kind, network, rng):
    shape = (2, 2)
    seed = int(rng.integers(2**32))
    if kind in ("gaussian", "orthogonal", "balanced"):
        draw = getattr(lf.initialization, kind)
        return draw(network, scale=0.4, rng=seed, batch_shape=shape)
    if kind == "zero":
        start = list(lf.initialization.gaussian(network, scale=0.3, rng=seed, batch_shape=shape))
        start[int(rng.integers(len(start)))] *= 0.0
        return start
    weights = []
    for rows, columns in network.shapes:
        left, right = rng.standard_normal((*shape, rows, 2)), rng.standard_normal((2, columns))
        if kind == "scales":  # of modes that differ by many orders
            left = left * [0.5, 1e-9]
        weights.append(left @ right / np.sqrt(rows + columns))
    return weights


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
        # What divides small numbers by small ones is as right as these are.
        ill = (
            {"layer_singular_ratio"}
            if start in ("low_rank", "scales", "zero", "balanced")
            else set()
        )
        names = set(ALL) - ill
        close(ours, whole, 1e-11 if method in ("gradient", "norm") else TIGHT, names)
        close(ours, reference.train(network, loss, weights, **options), 1e-10, names)

    @pytest.mark.parametrize("kind", LOSSES)
    @pytest.mark.parametrize("method", sorted(METHODS))
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

    @pytest.mark.parametrize("replace", [True, False])
    @pytest.mark.parametrize("kind", ["samples", "logistic", "softmax", "sensing", "completion"])
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

    @pytest.mark.parametrize("log_time", [False, True])
    @pytest.mark.parametrize("decay", [0.0, 0.2])
    @pytest.mark.parametrize("kind", ["moments", "samples", "logistic"])
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
        final.weights[0][...] *= 2
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


class TestSubspaces:
    """How small the small ones are, and that no direction is lost."""

    @pytest.mark.parametrize(
        ("kind", "widths", "expected"),
        [
            ("gaussian", (6, 50, 3), (6, 9, 3)),
            ("orthogonal", (6, 40, 40, 40, 3), (6, 9, 9, 9, 3)),
            ("orthogonal", (6, 40, 50, 60, 3), (6, 9, 12, 15, 3)),
            ("balanced", (6, 40, 50, 3), (6, 3, 3, 3)),
            ("gaussian", (6, 50, 50, 3), (6, 50, 50, 3)),
            ("gaussian", (50, 6, 50), (50, 6, 50)),
        ],
    )
    def test_sizes(self, kind, widths, expected):
        network = lf.Dense(widths)
        eye = np.eye(widths[0])
        loss = lf.SquaredLoss(eye, np.eye(widths[-1], widths[0]), widths[0])
        start = getattr(lf.initialization, kind)(network, scale=0.1, rng=0)
        small = lf.reduced(network, loss, start)
        assert all(a <= b + 1 for a, b in zip(small.network.widths, expected, strict=True))
        assert small.network.widths[0] == expected[0]
        if kind == "gaussian":
            assert small.network.widths == expected

    def test_what_never_moves(self):
        network = lf.Dense((4, 60, 2))
        loss = lf.SquaredLoss(np.diag([2.0, 1.0, 0.5, 0.0]), np.eye(2, 4), 4.0)
        start = lf.initialization.gaussian(network, scale=0.2, rng=3)
        small = lf.reduced(network, loss, start)
        assert small.network.widths == (4, 5, 2)
        assert repr(small) == "<Reduced: widths 4-60-2 trained as 4-5-2>"
        one = lf.train(
            network, loss, start, method=lf.GradientDescent(0.1), n_steps=300, reduce=False
        )
        two = lf.train(
            small.network, small.loss, small.start, method=lf.GradientDescent(0.1), n_steps=300
        )
        for mine, other in zip(small.expand(two.final.weights), one.final.weights, strict=True):
            assert_allclose(mine, other, rtol=0, atol=1e-13)
        assert_array_equal(small.expand(two.final.weights)[0][:, 3], start[0][:, 3])
        for mine, other in zip(small.expand(small.start), start, strict=True):
            assert_array_equal(mine, other)

    @pytest.mark.parametrize("least", [1e-8, 1e-12, 1e-20, 1e-100])
    @pytest.mark.parametrize("n_layers", [2, 3])
    def test_a_mode_that_starts_far_below_the_others_is_learned_in_its_time(self, least, n_layers):
        widths = (3, *(20,) * (n_layers - 1), 3)
        network = lf.Dense(widths)
        strengths = np.array([3.0, 2.0, 1.0])
        loss = lf.SquaredLoss(np.eye(3), np.diag(strengths), 14.0)
        shape = np.ones(3)
        shape[0] = least if n_layers == 2 else max(least, 1e-8)
        start = [np.zeros(s) for s in network.shapes]
        for w in start:
            np.fill_diagonal(w, 1e-2 * shape)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 40_000 if n_layers == 3 else 6000}
        record = lf.Record.every(100, ("product", "loss"))
        small, whole = both(network, loss, start, record=record, **options)
        diagonal = np.diagonal(small.product, axis1=-2, axis2=-1)
        late = np.argmax(diagonal > strengths / 2, axis=0)
        if n_layers == 2:
            assert (late > 0).all()
            assert late[0] >= late[2]
        close(small, whole)

    def test_a_mode_that_is_mixed_with_larger_ones(self):
        rng = np.random.default_rng(2)
        u, v = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
        network = lf.Dense((4, 30, 4))
        loss = lf.SquaredLoss(np.eye(4), u @ np.diag([4.0, 3.0, 2.0, 1.0]) @ v.T, 30.0)
        q = np.linalg.qr(rng.standard_normal((30, 4)))[0]
        sizes = 1e-12 * np.array([1e-8, 1.0, 1.0, 1.0])
        start = [q @ np.diag(sizes) @ v.T, u @ np.diag(sizes) @ q.T]
        options = {"method": lf.GradientDescent(0.05), "n_steps": 2000}
        small, whole = both(
            network, loss, start, record=lf.Record.every(20, ("singular_values",)), **options
        )
        learned = np.argmax(small.singular_values > 3.5, axis=0)[0]
        assert 0 < learned == np.argmax(whole.singular_values > 3.5, axis=0)[0]

    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**32 - 1), decades=st.integers(0, 16))
    def test_spectra_of_many_decades(self, seed, decades):
        rng = np.random.default_rng(seed)
        network = lf.Dense((5, 30, 4))
        loss = make_loss("moments", rng, 30, 5, 4, None)
        q = np.linalg.qr(rng.standard_normal((30, 5)))[0]
        start = [
            (q * np.logspace(0, -decades, 5)) @ np.linalg.qr(rng.standard_normal((5, 5)))[0],
            0.3 * rng.standard_normal((4, 30)),
        ]
        options = {"method": lf.GradientDescent(0.02), "n_steps": 300}
        close(*both(network, loss, start, record=lf.Record.at([0, 300], ALL[:-1]), **options))

    def test_small_networks_and_others_train_as_they_stand(self, monkeypatch):
        monkeypatch.undo()
        rng = np.random.default_rng(3)
        loss = make_loss("moments", rng, 30, 6, 6, None)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 3}
        for network in (
            lf.Dense((6, 6, 6)),
            lf.Residual(6, 3, n_outputs=6),
            lf.Chain([lf.layers.Dense(6, 6), lf.layers.Fixed(np.eye(6)), lf.layers.Dense(6, 6)]),
            lf.Chain([lf.layers.Dense(6, 6)] * 2, share=[0, 0]),
        ):
            start = lf.initialization.gaussian(network, scale=0.1, rng=0)
            assert lf.train(network, loss, start, **options).reduction is None

    def test_it_pays(self, monkeypatch):
        monkeypatch.undo()
        network = lf.Dense((64, 300, 10))
        loss = make_loss("moments", np.random.default_rng(4), 200, 64, 10, 61)
        start = lf.initialization.gaussian(network, scale=0.1, rng=0)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 3}
        run = lf.train(network, loss, start, **options)
        assert run.reduction == "widths 64-300-10 trained as 64-71-10"
        with pytest.raises(TypeError, match="reduce must be a bool"):
            lf.train(network, loss, start, **options, reduce=1)

    @pytest.mark.parametrize("rule", ["power", "gradient_normalized"])
    @pytest.mark.parametrize("kind", ["moments", "logistic", "completion"])
    def test_decay_that_rules_and_thresholds_look_at(self, kind, rule):
        rng = np.random.default_rng(5)
        network = lf.Dense((10, 30, 30, 3))
        loss = make_loss(kind, rng, 5, 10, 3, None)
        start = make_start("orthogonal", network, rng)
        arguments = (0.05, -0.3) if rule == "power" else (0.01,)
        step_size = getattr(lf.StepRule, rule)(*arguments)
        method = lf.GradientDescent(step_size, weight_decay=[[0.1], [0.2]], momentum=0.3)
        stop = lf.Stop(gradient_norm=[[0.5], [1e-9]], check_every=1)
        record = lf.Record.at([0, 10, 80], ALL)
        close(
            *both(network, loss, start, method=method, n_steps=80, stop=stop, record=record), 1e-11
        )


class TestKinds:
    """Runs of several kinds in one batch, which have the bits of the runs alone."""

    def problems(self):
        rng = np.random.default_rng(3)
        x = rng.standard_normal((6, 40, 8))
        x[1, :, 3] = x[1, :, 2]  # of less rank
        losses = [lf.SquaredLoss.from_data(one, one @ rng.standard_normal((8, 2))) for one in x]
        losses[2] = lf.SquaredLoss(np.diag(np.arange(1.0, 9.0)), rng.standard_normal((2, 8)), 99.0)
        losses[3] = lf.SquaredLoss(
            np.diag([2.0, 0, 1, 1, 0, 1, 1, 1]), np.eye(2, 8)[::-1, ::-1], 9.0
        )
        loss = lf.SquaredLoss.stacked(losses, np.arange(6))
        network = lf.Dense((8, 30, 30, 2))
        weights = [
            np.concatenate([one, other])
            for one, other in zip(
                lf.initialization.orthogonal(network, scale=0.3, rng=0, batch_shape=4),
                lf.initialization.gaussian(network, scale=0.3, rng=1, batch_shape=2),
                strict=True,
            )
        ]
        method = lf.GradientDescent(
            0.01, weight_decay=[0, 0.2, 0, 0.1, 0.3, 0], momentum=[0.5, 0] * 3
        )
        return network, loss, weights, method

    def test_all_of_them(self):
        network, loss, start, method = self.problems()
        record = lf.Record.at([0, 5, 60], ALL)
        options = {"n_steps": 60, "record": record}
        whole = lf.train(network, loss, start, method=method, **options)
        close(whole, lf.train(network, loss, start, method=method, reduce=False, **options))
        for i in range(6):
            own = loss.of_run((i,), (6,))
            alone = lf.train(
                network,
                own,
                [w[i] for w in start],
                method=method.of_runs(np.array([i]), (6,)),
                **options,
            )
            for name in ALL:
                mine, other = getattr(whole, name), getattr(alone, name)
                if name == "weights":
                    for one, two in zip(mine, other, strict=True):
                        assert_array_equal(one[i], two[0])
                else:
                    assert_array_equal(mine[i], other[0], err_msg=name)

    def test_progress_counts_all_of_them(self):
        network, loss, start, method = self.problems()
        calls = []
        lf.train(
            network, loss, start, method=method, n_steps=60, progress=lambda *now: calls.append(now)
        )
        done, totals = zip(*calls, strict=True)
        assert set(totals) == {360}
        assert done[-1] == 360
        assert list(done) == sorted(done)

    @pytest.mark.parametrize("through", ["state", "npz", "nc"])
    def test_they_go_on(self, through, tmp_path):
        network, loss, start, method = self.problems()
        whole = lf.train(network, loss, start, method=method, n_steps=60)
        part = lf.train(network, loss, start, method=method, n_steps=25)
        if through != "state":
            part.save(tmp_path / f"run.{through}")
            part = lf.Trajectory.load(tmp_path / f"run.{through}")
        rest = lf.train(network, loss, part.final, method=method, n_steps=35)
        for one, other in zip(rest.final.weights, whole.final.weights, strict=True):
            assert_array_equal(one, other)


def test_sweeps_are_reduced_as_their_runs_are():
    rng = np.random.default_rng(6)
    loss = make_loss("moments", rng, 40, 8, 3, None)
    training = lf.Training(
        lf.Dense((8, 20, 3)),
        loss,
        lf.Start("gaussian"),
        method=lf.GradientDescent(0.05),
        n_steps=50,
        record=lf.Record.at([0, 50], ("loss", "singular_values")),
    )
    axes = {"start.scale": [0.1, 0.3], "network.hidden": [20, 30]}
    sweep = lf.sweep(lf.grid(training, axes, replicates=2))
    whole = lf.sweep(lf.grid(dataclasses.replace(training, reduce=False), axes, replicates=2))
    for name in ("loss", "singular_values"):
        assert_allclose(sweep[name], whole[name], rtol=0, atol=1e-12)
        assert (sweep[name].values != whole[name].values).any()
