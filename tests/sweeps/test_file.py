"""Sweeps described by TOML files: every key, every way to vary, every error."""

from __future__ import annotations

import copy
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import ROOT

import linnet_fast as lf
from linnet_fast import datasets, laws
from linnet_fast.sweeps.file import reader
from linnet_fast.sweeps.file.toml import setting

MOMENTS = {
    "input_cov": [[1.0, 0.0], [0.0, 1.0]],
    "cross_cov": [[2.0, 0.0], [0.0, 1.0]],
    "output_power": 5.0,
}
BASE = {
    "n_steps": 20,
    "loss": MOMENTS,
    "network": {"hidden": 4, "n_layers": 2},
    "start": {"kind": "gaussian", "scale": 0.1},
    "method": {"kind": "GradientDescent", "step_size": 0.05},
    "grid": {"start.scale": [0.1, 0.2]},
}


def toml(value):
    """Return a value in TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_of(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return str(value)


def key_of(key):
    return json.dumps(key)


@pytest.fixture
def make(tmp_path):
    """Write a file of tables, those of BASE replaced, and read it."""

    def made(*settings, without=(), text=None, **tables):
        path = tmp_path / "sweep.toml"
        if text is None:
            tree = {k: v for k, v in (copy.deepcopy(BASE) | tables).items() if k not in without}
            text = "\n".join(f"{key_of(k)} = {toml(v)}" for k, v in tree.items())
        path.write_text(text, encoding="utf-8")
        return reader.read(path, settings)

    return made


def refused(make, message, *settings, **tables):
    with pytest.raises(reader.SweepFileError, match=message) as caught:
        make(*settings, **tables)
    if not settings:
        assert "sweep.toml" in str(caught.value)


def of_base(parameters, **options):
    loss = lf.SquaredLoss(**{k: np.array(v) for k, v in MOMENTS.items()})
    training = lf.Training(
        lf.Dense((2, 4, 2)),
        loss,
        lf.Start("gaussian", 0.1),
        method=lf.GradientDescent(0.05),
        n_steps=20,
    )
    return lf.grid(training, parameters, **options)


class TestWhatFilesSay:
    def test_is_what_the_library_makes(self, make):
        spec = make().spec
        assert spec.id == of_base({"start.scale": [0.1, 0.2]}).id
        assert spec.dims == ("scale",)

    def test_options_of_the_sweep(self, make):
        spec = make(
            replicates=3,
            rng=7,
            common_seeds=False,
            derived=["final_loss", "learned_rank"],
            record={"geomspace": 5, "observables": ["loss"]},
            keep_records=True,
            stop={"loss": 1e-3, "check_every": 5},
            dtype="float32",
        ).spec
        assert (spec.replicates, spec.rng, spec.common_seeds) == (3, 7, False)
        assert [d.name for d in spec.derived] == ["final_loss", "learned_rank"]
        assert spec.keep_records
        training = spec.training
        assert training.record == lf.Record.geomspace(5, ("loss",))
        assert (float(training.stop.loss), training.stop.check_every) == (1e-3, 5)
        assert training.dtype == "float32"

    @pytest.mark.parametrize(
        ("given", "record"),
        [
            ({"every": 10}, lf.Record.every(10)),
            ({"at": [0, 20]}, lf.Record.at([0, 20])),
            ({"geomspace": 4, "direction": [1.0, 0.0]}, lf.Record.geomspace(4, direction=[1, 0])),
        ],
    )
    def test_records(self, make, given, record):
        assert make(record=given).spec.training.record == record

    def test_flow(self, make):
        spec = make(
            without=["n_steps"],
            until=2.0,
            method={"kind": "GradientFlow", "rtol": 1e-6},
            record={"at_times": [0.0, 1.0, 2.0]},
        ).spec
        assert spec.training.until == 2.0
        assert spec.training.record == lf.Record.at_times([0, 1, 2])

    def test_rules_for_steps(self, make):
        rule = {"kind": "power", "scale": 0.1, "exponent": -0.5}
        spec = make(method={"step_size": rule}, grid={"method.step_size.scale": [0.1, 0.2]}).spec
        assert spec.training.method.step_size.kind == "power"
        both = make(grid={"method.step_size": [0.1, rule]}).spec
        assert isinstance(both.training_at([1]).method.step_size, lf.StepRule)

    def test_the_squared_loss_of_data(self, make):
        file = make(
            loss={"data": "iris", "center": True}, start={"kind": "orthogonal"}, network={
                "hidden": 5, "n_layers": 3}
        )  # fmt: skip
        X, Y, description = datasets.load("iris")
        expected = lf.SquaredLoss.from_data(X, Y, center=True)
        assert_array_equal(file.spec.training.loss.cross_cov, expected.cross_cov)
        assert file.spec.training.network.widths == (4, 5, 5, 3)
        assert file.data == (f"{description}, centred",)

    def test_files_of_data_are_beside_the_file(self, make, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        rng = np.random.default_rng(0)
        np.savez(tmp_path / "d.npz", X=rng.normal(size=(9, 3)), Y=rng.normal(size=(9, 2)))
        np.save(tmp_path / "x.npy", rng.normal(size=(9, 3)))
        (tmp_path / "y.csv").write_text("\n".join("abc" * 3))
        assert make(loss={"data": "d.npz"}).spec.training.network.widths == (3, 4, 2)
        file = make(
            loss={
                "data": "x.npy",
                "targets_file": "y.csv",
                "targets": "classes",
                "standardize": True,
            }
        )
        assert file.spec.training.network.widths == (3, 4, 3)
        assert "inputs standardised, not centred" in file.data[0]

    def test_binary_losses(self, make, tmp_path):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(8, 2)), np.array([1.0, -1.0] * 4)
        np.savez(tmp_path / "signs.npz", X=x, Y=y)
        np.savez(tmp_path / "words.npz", X=x, Y=np.array(["b", "a"] * 4))
        for name in ("signs", "words"):
            loss = make(
                loss={"kind": "LogisticLoss", "data": f"{name}.npz", "label_noise": 0.1}
            ).spec.training.loss
            assert isinstance(loss, lf.LogisticLoss)
            assert_array_equal(loss.labels, y)
            assert float(loss.label_noise) == 0.1
        inline = make(
            loss={"kind": "ExponentialLoss", "inputs": x.tolist(), "labels": y.tolist()}
        ).spec.training.loss
        assert isinstance(inline, lf.ExponentialLoss)

    def test_population_loss(self, make):
        loss = make(
            loss={
                "kind": "SphericalLogisticLoss",
                "direction": [0.0, 2.0],
                "law": {"kind": "Gaussian", "dim": 2},
            }
        ).spec.training.loss
        assert isinstance(loss.law, laws.Gaussian)
        assert_allclose(loss.direction, [0, 1])

    @pytest.mark.parametrize(
        ("given", "spec"),
        [
            ("Dense((2, 3, 2))", "Dense(widths=(2, 3, 2))"),
            ({"widths": [2, 3, 2]}, "Dense(widths=(2, 3, 2))"),
            ({"kind": "Dense", "hidden": 3, "n_layers": 3}, "Dense(widths=(2, 3, 3, 2))"),
            ({"n_layers": 1}, "Dense(widths=(2, 2))"),
        ],
    )
    def test_networks(self, make, given, spec):
        assert make(network=given).spec.training.network.spec == spec

    def test_networks_of_other_layers(self, make):
        loss = {"kind": "LogisticLoss", "data": "breast_cancer"}
        network = {"kind": "Convolution", "kernel_size": 3, "n_layers": 2}
        spec = make(loss=loss, network=network, grid={"network.kernel_size": [2, 3]}).spec
        assert [spec.training_at([i]).network.n_weights for i in (0, 1)] == [32, 33]
        spec = make(loss=loss, network="Convolution(width=30, kernel_size=3, n_layers=2)").spec
        assert spec.training.network.n_weights == 33


class TestWhatVaries:
    @pytest.mark.parametrize(
        ("given", "values"),
        [
            ([0.1, 0.3], [0.1, 0.3]),
            ({"geomspace": [0.01, 1, 3]}, [0.01, 0.1, 1.0]),
            ({"linspace": [0, 1, 3]}, [0.0, 0.5, 1.0]),
            ({"arange": [0.5, 2, 0.5]}, [0.5, 1.0, 1.5]),
        ],
    )
    def test_values(self, make, given, values):
        spec = make(grid={"start.scale": given}).spec
        assert_allclose(spec.axes["scale"].labels, values)
        if isinstance(given, dict) and "geomspace" in given:
            assert spec.axes["scale"].labels[0] == 0.01  # ends are exact

    def test_whole_numbers(self, make):
        labels = make(grid={"network.n_layers": {"arange": [2, 5]}}).spec.axes["n_layers"].labels
        assert labels.tolist() == [2, 3, 4]

    def test_both_spellings(self, make):
        head = "\n".join(f"{k} = {toml(v)}" for k, v in BASE.items() if k != "grid")
        ids = {
            make(text=f"{head}\n{grid}").spec.id
            for grid in (
                '[grid]\n"start.scale" = [0.1, 0.2]\n"method.step_size" = [0.05, 0.1]',
                "[grid]\nstart.scale = [0.1, 0.2]\nmethod.step_size = [0.05, 0.1]",
                "[grid.start]\nscale = [0.1, 0.2]\n[grid.method]\nstep_size = [0.05, 0.1]",
                "grid = {start = {scale = [0.1, 0.2]}, method.step_size = [0.05, 0.1]}",
            )
        }
        assert len(ids) == 1

    def test_rules_as_nested_tables(self, make):
        grid = {"method": {"step_size": {"exponent": [-0.5, 0.0]}}}
        spec = make(method={"step_size": {"kind": "power", "scale": 0.1}}, grid=grid).spec
        assert spec.dims == ("exponent",)

    def test_several_parameters_move_together(self, make):
        grid = {
            "depth": {"labels": [2, 3], "network.n_layers": [2, 3], "start": {"scale": [0.1, 0.5]}}
        }
        spec = make(grid=grid).spec
        assert spec.dims == ("depth",)
        training = spec.training_at([1])
        assert (training.network.n_layers, float(training.start.scale)) == (3, 0.5)

    def test_data_sets(self, make):
        spec = make(
            loss={"center": True}, grid={"loss.data": ["iris", "wine"], "start.scale": [0.1, 0.2]}
        ).spec
        assert spec.dims == ("data", "scale")
        assert spec.axes["data"].labels.tolist() == ["iris", "wine"]
        assert [spec.training_at([i, 0]).network.n_inputs for i in (0, 1)] == [4, 13]

    def test_preparations_of_data(self, make):
        spec = make(loss={"data": "iris"}, grid={"loss.center": [False, True]}).spec
        assert spec.axes["center"].labels.tolist() == ["false", "true"]
        apart = {
            "set": {"labels": ["raw", "new"], "loss.data": ["iris", "digits"], "loss.standardize":
                    [False, True]}
        }  # fmt: skip
        file = make(loss={}, grid=apart)
        assert "inputs standardised" in file.data[-1]

    def test_objects(self, make):
        spec = make(
            grid={
                "start": [{"kind": "gaussian"}, {"kind": "balanced", "scale": 0.1}],
                "network": ["Dense((2, 3, 2))", {"hidden": 4, "n_layers": 3}],
            }
        ).spec
        assert spec.training_at([1, 1]).start.kind == "balanced"
        assert spec.axes["network"].labels[0] == "Dense(widths=(2, 3, 2))"
        assert spec.training_at([0, 1]).network.widths == (2, 4, 4, 2)
        losses = make(grid={"loss": [MOMENTS, {"data": "iris"}], "network.hidden": [3, 4]}).spec
        assert losses.training_at([1, 0]).network.widths == (4, 3, 3)

    def test_what_varies_need_not_be_given_besides(self, make):
        spec = make(
            method={},
            start={},
            network={"hidden": 4},
            grid={
                "method.step_size": [0.05, 0.1],
                "start.kind": ["gaussian", "orthogonal"],
                "network.n_layers": [1, 2, 3],
                "n_steps": [10, 20],
            },
            without=["n_steps"],
        ).spec
        assert spec.n_runs == 24
        where = [spec.dims.index("n_layers") == i for i in range(4)]
        widths = {spec.training_at([n * w for w in where]).network.widths for n in range(3)}
        assert widths == {(2, 2), (2, 4, 2), (2, 4, 4, 2)}
        assert make(grid={"stop.loss": [0.1, 0.2]}).spec.n_runs == 2
        assert make(without=["loss"], grid={"loss.data": ["iris", "wine"]}).spec.n_runs == 2

    def test_lists(self, make):
        spec = make(
            without=["grid"],
            paired={"start.scale": [0.1, 0.2, 0.3], "n_steps": {"arange": [10, 13]}},
        ).spec
        assert spec.dims == ("run",)
        assert spec.training_at([2]).n_steps == 12
        data = {"loss.data": ["iris", "wine"], "loss.center": [True, False]}
        spec = make(without=["grid"], loss={}, paired=data).spec
        assert [spec.training_at([i]).network.n_inputs for i in (0, 1)] == [4, 13]

    def test_random_designs(self, make):
        parameters = {
            "start.scale": {"loguniform": [1e-6, 1.0]},
            "method.step_size": {"uniform": [0.01, 0.1]},
            "method.weight_decay": {"choice": [0.0, 0.1]},
            "network.n_layers": {"integers": [2, 4]},
            "network.hidden": [3, 4, 5],
            "stop.loss": {"geomspace": [1e-3, 1e-1, 3]},
        }
        sampled = {"n": 64, "method": "sobol", **parameters}
        spec = make(without=["grid"], network={}, stop={}, sampled=sampled).spec
        assert spec.n_runs == 64
        columns = {c.path: np.array(c.values) for c in spec.axes["run"].columns}
        assert set(columns["network.n_layers"]) == {2, 3, 4}
        assert set(columns["network.hidden"]) == {3, 4, 5}
        assert set(columns["method.weight_decay"]) == {0.0, 0.1}
        assert columns["start.scale"].min() > 1e-6
        assert 0.01 < columns["method.step_size"].min() < columns["method.step_size"].max() < 0.1
        more = make(without=["grid"], network={}, stop={}, sampled=sampled | {"n": 128}).spec
        assert_array_equal(more.axes["run"].columns[0].values[:64], columns["start.scale"])

    def test_random_designs_with_a_table_of_the_method(self, make):
        sampled = {"n": 4, "method": {"step_size": {"normal": [0.1, 0.001]}}}
        assert make(without=["grid"], sampled=sampled).spec.n_runs == 4
        data = {"n": 4, "loss.data": ["iris", "wine"]}
        assert make(without=["grid"], loss={}, sampled=data).spec.n_runs == 4


class TestDerived:
    def test_names(self, make):
        assert [d.name for d in make(derived="learned_rank").spec.derived] == ["learned_rank"]
        renamed = make(derived={"rank": "learned_rank"}).spec.derived
        assert [(d.name, d.identity) for d in renamed] == [("rank", "learned_rank")]

    def test_functions_of_a_module_beside_the_file(self, make, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        (tmp_path / "sweep_file_gap.py").write_text(
            "def gap(t):\n    return t.singular_values[:, -1, :1]\n"
        )
        file = make(
            derived={
                "gap": "sweep_file_gap:gap",
                "named": {"function": "sweep_file_gap:gap", "dims": ["pair"]},
            }
        )
        assert file.module_folder == tmp_path
        data = lf.sweep(file.spec, progress=False)
        assert data["gap"].dims == ("scale", "gap_0")
        assert data["named"].dims == ("scale", "pair")

    def test_modules_that_fail(self, make, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        (tmp_path / "sweep_file_broken.py").write_text("1 / 0\n")
        (tmp_path / "sweep_file_exits.py").write_text("raise SystemExit(3)\n")
        (tmp_path / "sweep_file_empty.py").write_text("")
        refused(make, "derived.a cannot import 'no_such_module': ModuleNotFoundError",
                derived={"a": "no_such_module:f"})  # fmt: skip
        refused(
            make, "derived.a cannot import .*ZeroDivision", derived={"a": "sweep_file_broken:f"}
        )
        refused(make, "derived.a cannot import .*SystemExit", derived={"a": "sweep_file_exits:f"})
        refused(make, r"import path 'module:function'", derived={"a": "sweep_file_empty:f"})

    def test_nothing_is_imported_unasked(self, make):
        before = list(sys.path)
        make()
        assert sys.path == before


class TestPlot:
    def test_options(self, make):
        table = {"kind": "curves", "of": ["final_loss"], "x": "scale", "by": "seed", "title": "t",
                 "select": {"scale": 0.1}, "y": "seed"}  # fmt: skip
        assert make(plot=table).plot == table
        assert make().plot == {}

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"off": "a"}, "key of plot must be one of .*did you mean 'of'"),
            ({"kind": "heat"}, "plot.kind must be one of heatmap, curves; got 'heat'"),
            ({"x": 3}, "plot.x must be a text, got 3"),
            ({"of": []}, "plot.of must be a text or a list of texts, got an empty list"),
            ({"select": "a"}, "plot.select must be a table, got 'a'"),
        ],
    )
    def test_errors(self, make, table, message):
        refused(make, message, plot=table)


class TestErrors:
    @pytest.mark.parametrize(
        ("tables", "message"),
        [
            ({"n_step": 3}, "key must be one of .*did you mean 'n_steps'"),
            ({"loss": {"dat": "iris"}}, "key of loss must be one of .*did you mean 'data'"),
            ({"loss": {"kind": "SquareLoss"}}, "loss.kind must be .*did you mean 'SquaredLoss'"),
            ({"loss": {"data": "irs"}}, "data must be one of .*did you mean 'iris'"),
            ({"loss": {"data": 3}}, "loss.data must be a text, got 3"),
            ({"loss": {"data": "iris", "targets": "class"}}, "did you mean 'classes'"),
            ({"loss": {"data": "iris", "center": 1}}, "loss.center must be a bool, got int"),
            ({"loss": {"data": "iris", **MOMENTS}}, "either data or input_cov, .*got both"),
            ({"loss": {}}, r"loss must have data \(or input_cov, .*got nothing"),
            ({"loss": {"center": True}}, "loss must have data for center, got center"),
            ({"loss": {"input_cov": [[1.0]]}}, "loss must have cross_cov and output_power"),
            ({"loss": 3}, "loss must be a table, got 3"),
            (
                {"loss": {"kind": "LogisticLoss", "data": "iris"}},
                "two classes or labels 1 and -1 for LogisticLoss, got iris: 150 samples",
            ),
            (
                {"loss": {"kind": "LogisticLoss", "data": "breast_cancer", "center": True}},
                "key of loss must be one of kind, data, .*got 'center'",
            ),
            (
                {"loss": {"kind": "SphericalLogisticLoss", "direction": [1.0, 0.0],
                          "law": {"kind": "Gauss"}}},
                "loss.law.kind must be one of .*did you mean 'Gaussian'",
            ),
            ({"network": {"hidde": 3}}, "key of network must be .*did you mean 'hidden'"),
            ({"network": {"kind": "Dens"}}, "network.kind must be .*did you mean 'Dense'"),
            ({"network": {"hidden": 3}}, "network must have n_layers, or widths; got hidden"),
            ({"network": {}}, "network must have hidden and n_layers, or widths; got nothing"),
            ({"network": {"widths": [2, 2], "hidden": 3}}, "either widths or hidden and n_layers"),
            ({"network": {"widths": [3, 2]}}, r"loss must match the network's widths \(3, 2\)"),
            ({"network": "Dens((2, 2))"}, "architecture must be one of .*did you mean 'Dense'"),
            ({"network": "import os"}, "architecture must be a text such as"),
            ({"network": 3}, "network must be a table, got 3"),
            ({"start": {"kind": "gaussia"}}, "kind must be one of .*did you mean 'gaussian'"),
            ({"start": {"scale": 1.0}}, "start must have kind, got scale"),
            ({"start": {"kind": "gaussian", "scal": 1}}, "key of start .*did you mean 'scale'"),
            ({"start": "gaussian"}, "start must be a table, got 'gaussian'"),
            ({"start": {"kind": "balanced", "product": {"array": "x"}}}, "start.product must be"),
            ({"method": {}}, "method must have step_size, got nothing"),
            ({"method": {"kind": "Adam"}}, "method.kind must be one of GradientDescent"),
            ({"method": {"step_size": {"kind": "powr"}}}, "kind must be one of .*'power'"),
            ({"method": {"step_size": -1.0}}, "step_size must be > 0, got -1"),
            ({"record": {"geomspac": 3}}, "key of record must be .*did you mean 'geomspace'"),
            ({"record": {"every": 3, "at": [1]}}, "record must have one of .*got every and at"),
            ({"record": {"observables": ["loss"]}}, "record must have one of .*got none"),
            ({"record": {"every": 3, "observables": ["los"]}}, "did you mean 'loss'"),
            ({"stop": {"los": 3}}, "key of stop must be one of .*did you mean 'loss'"),
            ({"stop": {}}, "Stop must have a threshold"),
            ({"dtype": "float16"}, "dtype must be float64 or float32"),
            ({"n_steps": 2.5}, "n_steps must be an integer, got float 2.5"),
            ({"until": 1.0}, "until"),
            ({"replicates": 0}, "replicates must be >= 1, got 0"),
            ({"rng": -1}, "rng must be >= 0, got -1"),
            ({"common_seeds": 1}, "common_seeds must be a bool"),
            ({"keep_records": True}, "training must have a record"),
            ({"derived": ["final_los"]}, "did you mean 'final_loss'"),
            ({"derived": [3]}, r"derived\[0\] must be a name, got 3"),
            ({"derived": 3}, "derived must be a list of names or a table, got 3"),
            ({"derived": ["m:f"]}, "derived must be a table to name functions"),
            ({"derived": {"a": 3}}, "derived.a must be a name or 'module:function', got 3"),
            ({"derived": {"a": {"dims": ["b"]}}}, "derived.a must have function, got dims"),
            ({"derived": {"a": {"func": "b"}}}, "key of derived.a must be one of function, dims"),
            ({"paired": {"n_steps": [1]}}, r"\[grid\], \[paired\].*got \[grid\] and \[paired\]"),
            ({"plot": 3}, "plot must be a table, got 3"),
        ],
        ids=str,
    )  # fmt: skip
    def test_tables(self, make, tables, message):
        refused(make, message, **tables)

    @pytest.mark.parametrize(
        ("grid", "message"),
        [
            ({"strt.scale": [1]}, "key of grid must be one of .*did you mean 'start'"),
            ({"start.scal": [1]}, "key of grid.start must be one of .*did you mean 'scale'"),
            ({"start": {"scal": [1]}}, "key of grid.start must be .*did you mean 'scale'"),
            ({"start.scale": 3}, r"grid.start.scale must be a list or a table such as .*got 3"),
            ({"start.scale": []}, "grid.start.scale must have at least one value, got none"),
            ({"start.scale": [1, 1]}, "labels must be different, got 1 twice"),
            ({"start.scale": [-1.0]}, "scale must be >= 0, got -1"),
            ({"start.scale": {"geomspac": [1, 2, 3]}}, "did you mean 'geomspace'"),
            ({"start.scale": {"geomspace": [0, 2, 3]}}, "between positive numbers, got 0"),
            ({"start.scale": {"geomspace": [1, 2]}}, r"must be \[low, high, n\], got \[1, 2\]"),
            ({"start.scale": {"geomspace": 3}}, r"must be \[low, high, n\], got 3"),
            ({"start.scale": {"linspace": [1, 2, 0]}}, "n of grid.start.scale.linspace must be"),
            ({"start.scale": {"linspace": [1, 2, 2.5]}}, "linspace must be an integer, got float"),
            ({"start.scale": {"linspace": [1, math.inf, 3]}}, "all finite"),
            ({"start.scale": {"linspace": [1, True, 3]}}, r"must be \[low, high, n\]"),
            ({"start.scale": {"arange": [2, 1]}}, "number of values of .*must be >= 1"),
            ({"start.scale": {"arange": [0, 1, 0]}}, "number of values of .*must be >= 1"),
            ({"start.scale": {"uniform": [0, 1]}}, r"got uniform, for \[sampled\]"),
            (
                {"start.scale": [1], "start": {"scale": [2]}},
                "given once, got grid.start.scale twice",
            ),
            ({"depth": {"n_steps": [3]}}, "grid.depth must have labels, got n_steps"),
            ({"depth": {"a": 3}}, "key of grid must be one of .*got 'depth'"),
            ({"depth": {"labels": [1]}}, "grid.depth must have a parameter besides labels"),
            ({"depth": {"labels": 1, "n_steps": [3]}}, "grid.depth.labels must be a list, got 1"),
            (
                {"depth": {"labels": [1], "n_step": [3]}},
                "key of grid.depth .*did you mean 'n_steps'",
            ),
            (
                {"depth": {"labels": [1, 2], "n_steps": [3]}},
                "grid.depth.n_steps must have 2 values, one per label, got 1",
            ),
            ({"seed": {"labels": [1], "n_steps": [3]}}, "names of dimensions"),
            ({"loss.dta": ["iris"]}, "key of grid.loss must be .*did you mean 'data'"),
            ({"loss.data": ["iris", "irs"]}, "did you mean 'iris'"),
            ({"loss.data": ["iris"], "loss.center": [True]}, r"must vary together, in a table"),
            ({"n_steps": [1.5]}, "n_steps must be an integer"),
            ({"loss": [0]}, "values of loss must be tables, got 0"),
            ({"start": ["gaussian"]}, "values of start must be tables, got 'gaussian'"),
        ],
        ids=str,
    )
    def test_grids(self, make, grid, message):
        loss = {} if any("loss.data" in key for key in grid) else MOMENTS
        refused(make, message, grid=grid, loss=loss)

    @pytest.mark.parametrize(
        ("sampled", "message"),
        [
            ({"start.scale": [1]}, "sampled must have n, got start.scale"),
            ({"n": 0, "start.scale": [1]}, "n must be >= 1, got 0"),
            ({"n": 3, "method": "sbol", "start.scale": [1]}, "did you mean 'sobol'"),
            ({"n": 3}, "parameters must name at least one, got none"),
            ({"n": 3, "start.scale": 3}, r"such as \{loguniform = \[1e-6, 1.0\]\}, got 3"),
            ({"n": 3, "start.scale": {"logunifrm": [1, 2]}}, "did you mean 'loguniform'"),
            ({"n": 3, "start.scale": {"loguniform": [0, 2]}}, "between positive numbers, got 0"),
            ({"n": 3, "start.scale": {"uniform": [2, 1]}}, r"\[low, high\] with low < high"),
            ({"n": 3, "start.scale": {"normal": [2, 0]}}, "with a positive deviation"),
            (
                {"n": 3, "start.scale": {"choice": 3}},
                "choice must be a list or a table such as .*got 3",
            ),
            ({"n": 3, "start.scale": {"integers": [1.5, 3]}}, "must be an integer"),
            ({"n": 3, "a": {"labels": [1], "n_steps": [1]}}, "got a table with labels"),
            ({"n": 3, "loss.data": {"uniform": [0, 1]}}, "sampled.loss.data must be a list|text"),
            ({"n": 3, "loss.data": ["iris"], "loss.center": [True]}, "one of what makes the loss"),
        ],
        ids=str,
    )
    def test_random_designs(self, make, sampled, message):
        loss = {} if any("loss.data" in key for key in sampled) else MOMENTS
        refused(make, message, without=["grid"], sampled=sampled, loss=loss)

    def test_lists(self, make):
        paired = {"n_steps": [1, 2], "start.scale": [1.0]}
        refused(make, "must be 2, one per label, got 1", without=["grid"], paired=paired)
        data = {"loss.data": ["iris"], "loss.center": [True, False]}
        refused(make, "equally many values", without=["grid"], loss={"data": "iris"}, paired=data)

    def test_what_is_missing(self, make):
        refused(make, "it must have loss, start; got n_steps", without=["loss", "start"])
        refused(make, r"it must have n_steps \(or until, for a flow\)", without=["n_steps"])
        refused(make, r"\[grid\], \[paired\] and \[sampled\].*got none", without=["grid"])

    def test_the_text(self, make, tmp_path):
        refused(make, r"sweep.toml: Invalid value \(at line 2, column 5\)", text="a = 1\nb = =")
        (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
        with pytest.raises(reader.SweepFileError, match="UTF-8 text, got byte 0xff at 5"):
            reader.read(tmp_path / "bytes.toml")
        refused(make, "nested too deeply|line", text="a = " + "[" * 10_000)
        with pytest.raises(FileNotFoundError):
            reader.read(tmp_path / "none.toml")

    def test_missing_data(self, make, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none.npz"):
            make(loss={"data": "none.npz"})
        (tmp_path / "broken.npz").write_bytes(b"PK nothing")
        refused(make, "broken.npz cannot be read", loss={"data": "broken.npz"})


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "names", "value"),
        [
            ("n_steps=3", ["n_steps"], 3),
            ("a.b = [1, 2]", ["a", "b"], [1, 2]),
            ('grid."start.scale"={geomspace=[1,2,3]}', ["grid", "start", "scale"],
             {"geomspace": [1, 2, 3]}),
            ('"a=b".c=true', ["a=b", "c"], True),
            ("start.kind=orthogonal", ["start", "kind"], "orthogonal"),
            ("network=Dense((2, 3))", ["network"], "Dense((2, 3))"),
            ("loss.data=../d.npz", ["loss", "data"], "../d.npz"),
            ("a='b=c'", ["a"], "b=c"),
        ],
    )  # fmt: skip
    def test_form(self, text, names, value):
        assert setting(text) == (names, value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("n_steps", "--set n_steps: it must be key=value"),
            ("=3", "it must be key=value"),
            ("a b=3", "it must be key=value"),
            ("n_steps=", "'' is no value of TOML"),
            ("n_steps=3x", "'3x' is no value of TOML"),
            ("n_steps=[1", "is no value of TOML"),
            ("n_steps=1\nb=2", "one value"),
            ("n_steps.a=3", "n_steps must be a table, got 20"),
            ("grid.start.scale.x.y=3", "grid.start.scale must be a table, got a list"),
        ],
    )
    def test_errors(self, make, text, message):
        refused(make, message, text)

    def test_what_they_change(self, make):
        spec = make("n_steps=30", "method.step_size=0.1", "stop.loss=0.5", "replicates=2").spec
        assert spec.training.n_steps == 30
        assert float(spec.training.method.step_size) == 0.1
        assert float(spec.training.stop.loss) == 0.5
        assert spec.replicates == 2

    @pytest.mark.parametrize("key", ["grid.start.scale", 'grid."start.scale"'])
    def test_quoted_keys(self, make, key):
        for grid in ({"start.scale": [1.0]}, {"start": {"scale": [1.0]}}):
            spec = make(f"{key}=[0.3, 0.4]", grid=grid).spec
            assert spec.axes["scale"].labels.tolist() == [0.3, 0.4]

    def test_new_parameters_and_parts_of_values(self, make):
        assert make("grid.method.step_size=[0.1, 0.2]").spec.dims == ("scale", "step_size")
        grid = {"start.scale": {"geomspace": [0.01, 1.0, 3]}}
        assert make("grid.start.scale.geomspace=[0.1, 1, 5]", grid=grid).spec.n_runs == 5
        grid = {"d": {"labels": [1, 2], "start.scale": [0.1, 0.2]}}
        spec = make("grid.d.labels=['a', 'b']", "grid.d.start.scale=[1, 2]", grid=grid).spec
        assert spec.axes["d"].labels.tolist() == ["a", "b"]
        assert make("sampled.n=9", without=["grid"], sampled={"start.scale": [1]}).spec.n_runs == 9


def _tables():
    scalars = st.one_of(
        st.integers(-3, 10**6),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.sampled_from(
            ["gaussian", "digits", "x.npz", "iris", "a:b", "power", "Dense((2, 2))", ""]
        ),
        st.text(max_size=5),
    )
    keys = st.sampled_from(
        [
            *("kind", "data", "labels", "scale", "step_size", "n", "geomspace", "array", "float"),
            *("start", "start.scale", "network.n_layers", "loss", "loss.data", "method", "n_steps"),
            *("law", "widths", "hidden", "n_layers", "of", "select", "every", "", ".", "a.b"),
            *("uniform", "choice", "arange", "exponent", "input_cov", "record", "stop", "network"),
        ]
    )
    inner = st.recursive(
        scalars,
        lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4),
        max_leaves=8,
    )
    top = st.sampled_from(
        [
            *("n_steps", "until", "replicates", "rng", "derived", "loss", "network", "start"),
            *("method", "record", "stop", "grid", "paired", "sampled", "plot", "dtype", "other"),
        ]
    )
    return st.dictionaries(top, inner, min_size=1, max_size=3), keys, inner


_TOPS, _KEYS, _INNER = _tables()


class TestNothingBreaks:
    """Whatever a file says, it is a sweep or an error that begins with the file's name."""

    @staticmethod
    def check(folder, tree):
        path = folder / "sweep.toml"
        text = "\n".join(f"{key_of(k)} = {toml(v)}" for k, v in tree.items())
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            file = reader.read(path)
        except (reader.SweepFileError, OSError, MemoryError) as error:
            assert str(error)  # noqa: PT017
        else:
            assert file.spec.n_runs >= 1

    @settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(tables=_TOPS)
    def test_any_tables(self, tables, tmp_path):
        self.check(tmp_path, copy.deepcopy(BASE) | tables)

    @settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        table=st.sampled_from(["loss", "network", "start", "method", "grid", "plot"]),
        key=_KEYS,
        value=_INNER,
    )
    def test_any_value(self, table, key, value, tmp_path):
        tree = copy.deepcopy(BASE) | {"plot": {}}
        tree[table][key] = value
        self.check(tmp_path, tree)

    @settings(max_examples=150)
    @given(text=st.text(max_size=20))
    def test_any_setting(self, text):
        try:
            names, _ = setting(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017
        else:
            assert names


@pytest.mark.parametrize("name", ["scale_step_digits", "depth_scale", "edge_of_stability"])
def test_examples(name):
    file = reader.read(ROOT / "examples" / f"{name}.toml")
    assert file.spec.n_runs > 400
