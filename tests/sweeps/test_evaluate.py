"""Sweeps and their files evaluate losses beside that of the training, stop by them, vary them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sweep_files import MOMENTS, refused
from sweep_problems import LOSS

import linnet_fast as lf
from linnet_fast.sweeps import spec as spec_module

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = X[:, :2] + RNG.standard_normal((60, 2))


def loss_of(begin, end):
    return lf.SquaredLoss.from_data(X[begin:end], Y[begin:end])


TEST = loss_of(30, 60)


def training(**options):
    options = {
        "method": lf.GradientDescent(0.05),
        "n_steps": 60,
        "record": lf.Record.every(20, ("loss", "product"), evaluate={"test": TEST}),
    } | options
    return lf.Training(lf.Dense((4, 3, 2)), loss_of(0, 30), lf.Start("gaussian"), **options)


def assert_each_run_alone(spec, data, names=("loss", "loss_test", "status", "stopped_at")):
    """Compare every run with itself alone; return their trajectories."""
    runs = [spec.run(number) for number in range(spec.n_runs)]
    for number, run in enumerate(runs):
        for name in names:
            assert_array_equal(data[name].values[spec.index(number)], getattr(run, name))
    return runs


def test_records_and_ends():
    spec = lf.grid(
        training(),
        {"start.scale": [0.1, 0.5]},
        replicates=3,
        derived=("final_loss_test", "final_loss"),
    )
    data = lf.sweep(spec, progress=False)
    assert data["loss_test"].dims == ("scale", "seed", "step")
    assert_array_equal(data["final_loss_test"], data["loss_test"][..., -1])
    for run in assert_each_run_alone(spec, data):
        assert_allclose(run.loss_test, TEST.value(run.product), rtol=1e-12)
        assert run.evaluated["test"] is TEST


def test_ends_without_records():
    """Runs that end early, or that diverge, have an end, too."""
    stop = lf.Stop(evaluate={"test": 1.47}, check_every=7)
    base = training(stop=stop, record=lf.Record.at([40], ("loss",), evaluate={"test": TEST}))
    spec = lf.grid(
        base, {"method.step_size": [0.05, 0.1, 500.0]}, replicates=4, derived="final_loss_test",
        keep_records=False,
    )  # fmt: skip
    data = lf.sweep(spec, progress=False)
    assert set(data) == {"final_loss_test", "status", "stopped_at"}
    runs = [spec.run(number) for number in range(spec.n_runs)]
    for number, run in enumerate(runs):
        value = TEST.value(run.network.product(run.final.weights)) if run.ok else np.nan
        assert_allclose(data["final_loss_test"].values[spec.index(number)], value, rtol=1e-12)
    assert {int(run.status) for run in runs} >= {lf.Status.CONVERGED, lf.Status.DIVERGED}


def test_thresholds_vary_within_a_batch():
    base = training(stop=lf.Stop(evaluate={"test": 1.5}, check_every=5))
    spec = lf.grid(base, {"stop.evaluate.test": [0.5, 1.47, 1.52, 5.0]}, replicates=5)
    assert len(spec.groups) == 1
    assert spec.dims == ("test", "seed")
    data = lf.sweep(spec, progress=False)
    assert_each_run_alone(spec, data)
    assert len(np.unique(data["stopped_at"])) > 3


@pytest.mark.parametrize("is_large", [False, True])
def test_splits_of_data(is_large, monkeypatch):
    """The loss and the evaluated loss vary together, in one batch where they are small."""
    if is_large:
        monkeypatch.setattr("linnet_fast.sweeps.axes._MOST_STACKED", 0)
    parts = [(0, 20), (20, 40), (40, 60)]
    axis = lf.Axis(
        ["a", "b", "c"],
        {
            "loss": [loss_of(*part) for part in parts],
            "record.evaluate.test": [loss_of(*part) for part in parts[1:] + parts[:1]],
        },
    )
    stop = lf.Stop(evaluate={"test": 1.5}, check_every=5)
    spec = lf.grid(training(stop=stop), {"split": axis}, replicates=2, derived="final_loss_test")
    assert len(spec.groups) == (3 if is_large else 1)
    data = lf.sweep(spec, progress=False)
    for number, run in enumerate(assert_each_run_alone(spec, data)):
        split, seed = spec.index(number)
        other = loss_of(*(parts[1:] + parts[:1])[split])
        assert_allclose(run.loss_test, other.value(run.product), rtol=1e-12)
        end = other.value(run.network.product(run.final.weights))
        assert_allclose(data["final_loss_test"].values[split, seed], end, rtol=1e-12)
    again = spec_module.decode(spec.encode(arrays := {}), spec.derived, arrays)
    assert again.id == spec.id
    assert [again.run_id(n) for n in range(6)] == [spec.run_id(n) for n in range(6)]
    assert len({spec.run_id(n) for n in range(6)}) == 6


def test_stores_are_opened_and_extended(tmp_path):
    base = training(stop=lf.Stop(evaluate={"test": 1.5}, check_every=5))
    spec = lf.grid(
        base, {"stop.evaluate.test": [0.5, 1.5]}, replicates=2, derived="final_loss_test"
    )
    lf.sweep(spec, store=tmp_path / "a.zarr", progress=False)
    data = lf.open_sweep(tmp_path / "a.zarr")
    assert_each_run_alone(spec, data)
    wide = lf.grid(
        base, {"stop.evaluate.test": [0.5, 1.5]}, replicates=4, derived="final_loss_test"
    )
    more = lf.sweep(wide, store=tmp_path / "a.zarr", extend=True, progress=False)
    assert_each_run_alone(wide, more)
    whole = lf.sweep(wide, progress=False)
    assert_array_equal(more["final_loss_test"], whole["final_loss_test"])
    assert pickle.loads(pickle.dumps(spec)).id == spec.id
    assert lf.estimate_sweep(spec).n_runs == 4


def test_what_is_evaluated_is_part_of_the_identity():
    ids = {
        lf.grid(training(record=record), {"start.scale": [0.1]}).id
        for record in (
            lf.Record.every(20),
            lf.Record.every(20, evaluate={"test": TEST}),
            lf.Record.every(20, evaluate={"risk": TEST}),
            lf.Record.every(20, evaluate={"test": loss_of(20, 60)}),
        )
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"derived": "final_loss_tset"}, "record must evaluate a loss for final_loss_tset to be that of loss_tset, got loss_test, margin_test"),
        ({"derived": "final_lossy"}, "must be one of .*got 'final_lossy'"),
        ({"derived": {"loss_test": "final_loss"}}, "names of their own, got 'loss_test', which is recorded"),
        ({"derived": "final_margin_test"}, "margin is of samples with labels"),
        ({"training": training(record=None), "derived": "final_loss_test"}, "record must evaluate a loss for final_loss_test .*got none of them"),
        ({"parameters": {"stop.evaluate.tset": [0.1]}}, "stop must be an object that has 'evaluate', got None"),
        ({"training": training(stop=lf.Stop(evaluate={"test": 0.5})), "parameters": {"stop.evaluate.tset": [0.1]}}, "parameter of stop.evaluate must be one of test; got 'tset'"),
        ({"parameters": {"record.evaluate.tset": [TEST]}}, "parameter of record.evaluate must be one of test; got 'tset'"),
        ({"parameters": {"split": lf.Axis([0, 1], {"record.evaluate.test": [TEST, 0.5]})}}, r"evaluate\['test'\] must be a Loss, a Teacher or 'population', got float"),
    ],
)  # fmt: skip
def test_what_is_refused(options, message):
    parameters = options.get("parameters", {"start.scale": [0.1]})
    base, derived = options.get("training", training()), options.get("derived", ())
    with pytest.raises((ValueError, TypeError), match=message):
        lf.sweep(lf.grid(base, parameters, derived=derived), progress=False)


def test_trainings_refuse():
    with pytest.raises(ValueError, match="thresholds on losses that the record evaluates, got 'a'"):
        training(stop=lf.Stop(evaluate={"a": 0.5}))
    with pytest.raises(ValueError, match=r"evaluate\['test'\] must match the network's widths"):
        training(
            record=lf.Record.every(1, evaluate={"test": lf.SquaredLoss(np.eye(2), np.eye(2), 2.0)})
        )
    stacked = lf.SquaredLoss(TEST.input_cov, TEST.cross_cov, np.full(3, 9.0))
    with pytest.raises(ValueError, match=r"evaluate\['test'\] must have no run axes, got \(3,\)"):
        training(record=lf.Record.every(1, evaluate={"test": stacked}))


OTHER = {"input_cov": [[2, 0], [0, 1]], "cross_cov": [[1, 0], [0, 1]], "output_power": 4}


class TestFiles:
    def test_tables_of_losses(self, make):
        record = {
            "every": 10,
            "observables": ["loss"],
            "evaluate": {"test": OTHER, "risk": MOMENTS},
        }
        file = make(record=record, stop={"evaluate": {"test": 0.5}}, derived=["final_loss_risk"])
        given = file.spec.training
        assert list(given.record.evaluate) == ["test", "risk"]
        assert_array_equal(given.record.evaluate["test"].input_cov, OTHER["input_cov"])
        assert_array_equal(given.record.evaluate["risk"].cross_cov, LOSS.cross_cov)
        assert repr(given.stop) == "Stop(evaluate={'test': 0.5}, check_every=100)"
        assert len(file.data) == 3
        assert file.data[1].startswith("test: SquaredLoss(")
        assert "final_loss_risk" in lf.sweep(file.spec, progress=False)

    def test_data(self, make, tmp_path):
        for name, rows in (("a", slice(0, 30)), ("b", slice(30, 60))):
            np.savez(tmp_path / f"{name}.npz", X=X[rows], Y=Y[rows])
        file = make(
            loss={"data": "a.npz"},
            record={"every": 10, "observables": ["loss"], "evaluate": {"test": {"data": "b.npz"}}},
        )
        other = file.spec.training.record.evaluate["test"]
        assert_array_equal(other.cross_cov, TEST.cross_cov)
        assert file.data[1].startswith("test: b.npz: 30 samples")
        data = lf.sweep(file.spec, progress=False)
        assert data["loss_test"].dims == ("scale", "step")

    def test_the_kind_is_that_of_the_training(self, make, tmp_path):
        labels = np.where(Y[:, 0] < 0, -1.0, 1.0)
        np.savez(tmp_path / "a.npz", X=X, Y=labels)
        file = make(
            loss={"kind": "LogisticLoss", "data": "a.npz"},
            network={"hidden": 3, "n_layers": 2},
            start={"kind": "gaussian"},
            record={
                "every": 10,
                "observables": ["loss", "margin"],
                "evaluate": {
                    "test": {"data": "a.npz"},
                    "square": {"kind": "SquaredLoss", "data": "a.npz", "targets": "values"},
                },
            },
        )
        test, square = file.spec.training.record.evaluate.values()
        assert isinstance(test, lf.LogisticLoss)
        assert isinstance(square, lf.SquaredLoss)
        data = lf.sweep(file.spec, progress=False)
        assert_array_equal(data["margin"], data["margin_test"])
        assert "margin_square" not in data

    def test_thresholds_and_losses_vary(self, make):
        evaluate = {"test": MOMENTS}
        grid = {"stop.evaluate.test": [0.5, 1.0, 2.0]}
        file = make(record={"every": 10, "evaluate": evaluate}, grid=grid)
        assert file.spec.dims == ("test",)
        assert [float(file.spec.training_at([i]).stop.evaluate["test"]) for i in range(3)] == [
            0.5,
            1,
            2,
        ]
        nested = make(
            record={"every": 10, "evaluate": evaluate},
            stop={"evaluate": {"test": 0.5}},
            grid={"stop": {"evaluate": {"test": [0.5, 1.0, 2.0]}}},
        )
        assert nested.spec.id == file.spec.id
        axis = {
            "labels": ["a", "b"],
            "record.evaluate.test": [MOMENTS, OTHER],
            "loss": [OTHER, MOMENTS],
        }
        file = make(record={"every": 10}, grid={"split": axis})
        assert len(file.spec.groups) == 1
        second = file.spec.training_at([1])
        assert_array_equal(second.record.evaluate["test"].input_cov, OTHER["input_cov"])
        assert "loss_test" in lf.sweep(file.spec, progress=False)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"record": {"every": 1, "evaluate": 3}}, "record.evaluate must be a table, got 3"),
            ({"record": {"every": 1, "evaluate": {"test": 3}}}, "record.evaluate.test must be a table, got 3"),
            ({"record": {"every": 1, "evaluate": {"test": {}}}}, r"record.evaluate.test must have data \(or input_cov"),
            ({"record": {"every": 1, "evaluate": {"test": {"dta": "iris"}}}}, "key of record.evaluate.test must be one of .*'dta'"),
            ({"record": {"every": 1, "evaluate": {"test": {"kind": "Squared"}}}}, "record.evaluate.test.kind must be one of"),
            ({"record": {"every": 1, "evaluate": {"test": {"data": 3}}}}, "record.evaluate.test.data must be a text"),
            ({"record": {"every": 1, "evaluate": {"test": {"data": "iris"}}}}, r"evaluate\['test'\] must match the network's widths"),
            ({"record": {"every": 1, "evaluate": {"test": MOMENTS | {"data": "iris"}}}}, "record.evaluate.test must have either data or input_cov"),
            ({"record": {"every": 1, "evaluate": {"a b": MOMENTS}}}, "evaluate must have identifiers"),
            ({"record": {"every": 1, "evaluate": {"function": MOMENTS}}}, "must not make that of another result"),
            ({"stop": {"evaluate": {"test": 0.5}}}, "losses that the record evaluates, got 'test', and it evaluates none"),
            ({"stop": {"evaluate": 0.5}}, "evaluate must be a mapping"),
            ({"stop": {"evaluate": {"test": "x"}}}, r"evaluate\['test'\] must be a real number"),
            ({"record": {"every": 1, "evaluate": {"test": MOMENTS}}, "grid": {"record.evalute.test": [1]}}, "key of grid.record must be one of .*'evalute'"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, make, changes, message):
        refused(make, message, **changes)
