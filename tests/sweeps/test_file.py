"""Sweeps described by TOML files: every key, every way to vary, every error."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import ROOT
from sweep_files import BASE, MOMENTS, of_base, refused, toml

import linnet_fast as lf
from linnet_fast import datasets, laws
from linnet_fast.sweeps.file import reader


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
        pieces = {"kind": "piecewise", "values": [0.1, 0.01], "boundaries": [9], "warmup_steps": 2}
        warm = make(
            method={"step_size": pieces}, grid={"method.step_size.warmup_steps": [1, 2]}
        ).spec
        assert warm.training_at([1]).method.step_size.scheduled([0, 1, 9]).tolist() == [
            0.05,
            0.1,
            0.01,
        ]

    def test_phases(self, make):
        phases = [
            {"n_steps": 20, "method": {"step_size": 0.1}},
            {"n_steps": 30, "loss": MOMENTS | {"output_power": 6.0}, "stop": {"loss": 0.5}},
        ]
        grid = {"phases.0.n_steps": [10, 20], "phases.0.method.step_size": [0.1, 0.2]}
        spec = make(phases=phases, without=["n_steps"], grid=grid).spec
        assert spec.dims == ("n_steps", "step_size")
        training = spec.training_at([0, 1])
        assert [phase.n_steps for phase in training.phases] == [10, 30]
        assert float(training.phases[0].method.step_size) == 0.2
        assert float(training.phases[1].loss.output_power) == 6.0
        assert float(training.phases[1].stop.loss) == 0.5
        nested = {"phases": {"1": {"n_steps": [5, 6]}}}
        assert make(phases=phases, without=["n_steps"], grid=nested).spec.dims == ("n_steps",)
        with pytest.raises(reader.SweepFileError, match=r"phases\[1\] must have a method"):
            make(phases=phases, without=["n_steps", "method"], grid={"start.scale": [0.1]})

    @pytest.mark.parametrize(
        ("tables", "wrong"),
        [
            ({"phases": 3}, r"phases must be tables \[\[phases\]\], got 3"),
            ({"phases": [{"steps": 3}]}, r"key of phases\[0\] must be one of .*n_steps"),
            ({"phases": [{"n_steps": 3}]}, "n_steps must be None with phases"),
        ],
    )
    def test_phases_that_are_wrong(self, make, tables, wrong):
        with pytest.raises(reader.SweepFileError, match=wrong):
            make(**tables)

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

    def test_losses_of_every_kind_of_data(self, make, tmp_path):
        rng = np.random.default_rng(0)
        (tmp_path / "gaps.csv").write_text("1,,3\n4,5,nan\n")
        loss = make(loss={"kind": "MatrixCompletionLoss", "data": "gaps.csv"}).spec.training.loss
        assert loss.values.tolist() == [1, 3, 4, 5]
        assert (loss.cols.tolist(), loss.shape) == ([0, 2, 0, 1], (2, 3))
        measured = {"measurements": rng.normal(size=(9, 2, 3)), "targets": rng.normal(size=9)}
        np.savez(tmp_path / "m.npz", **measured)
        table = {"kind": "MatrixSensingLoss", "data": "m.npz"}
        file = make(loss=table, record={"every": 1, "evaluate": {"again": {"data": "m.npz"}}})
        assert_array_equal(file.spec.training.loss.measurements, measured["measurements"])
        again = file.spec.training.record.evaluate["again"]
        assert_array_equal(again.targets, measured["targets"])
        assert file.data[0] == "m.npz: 9 measurements of a 2 x 3 matrix"
        (tmp_path / "f.csv").write_text("a,b,kind\n1,2,x\n3,4,y\n5,7,x\n")
        of_names = {"kind": "CrossEntropyLoss", "data": "f.csv", "label_smoothing": 0.5}
        loss = make(loss={**of_names, "labels_from": "kind"}).spec.training.loss
        assert loss.targets.tolist() == [[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]]
        for table, message in (
            (
                {"kind": "MatrixCompletionLoss", "data": "gaps.csv", "labels_from": "a"},
                "labels_from",
            ),
            ({"kind": "MatrixCompletionLoss", "data": "digits"}, "which is a set of samples"),
            ({"kind": "MatrixSensingLoss", "data": "gaps.csv"}, "source must be a file of measure"),
            ({"kind": "RankOneSensingLoss", "data": "m.npz"}, "data"),
        ):
            with pytest.raises((TypeError, ValueError), match=message):
                make(loss=table)

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

    def test_functions_of_a_module_beside_the_file(self, make, tmp_path):
        (tmp_path / "sweep_file_gap.py").write_text(
            "def gap(t):\n    return t.singular_values[:, -1, :1]\n"
        )
        file = make(
            derived={
                "gap": "sweep_file_gap:gap",
                "named": {"function": "sweep_file_gap:gap", "dims": ["pair"]},
            }
        )
        assert [f.module for f in file.functions] == ["sweep_file_gap"] * 2
        assert [d.identity for d in file.spec.derived] == ["sweep_file_gap:gap"] * 2
        data = lf.sweep(file.spec, progress=False)
        assert data["gap"].dims == ("scale", "gap_0")
        assert data["named"].dims == ("scale", "pair")

    def test_modules_that_fail(self, make, tmp_path):
        for name, text in {"broken": "1 / 0", "exits": "raise SystemExit(3)", "empty": ""}.items():
            (tmp_path / f"sweep_file_{name}.py").write_text(text)
        for name in ("no_such_module", "json", "numpy.linalg", "../x", ""):
            refused(make, f"derived.a must be of a module in .*, there is no '{name}'",
                    derived={"a": f"{name}:f"})  # fmt: skip
        for name, error, message in (
            ("broken", ValueError, "derived.a cannot import .*ZeroDivision"),
            ("exits", ValueError, "derived.a cannot import .*SystemExit"),
            ("empty", TypeError, "derived.a must name a function of sweep_file_empty, got 'f'"),
        ):
            (function,) = make(derived={"a": f"sweep_file_{name}:f"}).functions
            with pytest.raises(error, match=message):
                function.load()

    def test_nothing_is_imported_before_something_is_trained(self, make, tmp_path):
        """And then nothing of the folder is found afterwards, or instead of what is installed."""
        (tmp_path / "payload.py").write_text(
            "from pathlib import Path\nimport colorsys, sweep_file_helper\n"
            "Path(__file__).with_name('ran').touch()\n"
            "def f(t):\n    return t.loss[:, -1] + sweep_file_helper.one\n"
        )
        (tmp_path / "sweep_file_helper.py").write_text("one = 1.0\n")
        (tmp_path / "colorsys.py").write_text("1 / 0\n")
        before = list(sys.path)
        file = make(derived={"a": "payload:f", "final_loss": "final_loss"})
        assert not (tmp_path / "ran").exists()
        data = lf.sweep(file.spec, progress=False)
        assert (tmp_path / "ran").exists()
        assert sys.path == before
        np.testing.assert_array_equal(data["a"], data["final_loss"] + 1.0)
        assert "payload" not in sys.modules

    def test_modules_of_the_same_name_in_two_folders(self, make, tmp_path):
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "sweep_file_twice.py").write_text(
            "def f(t): return t.loss[:, 0] * 0 + 1"
        )
        (tmp_path / "sweep_file_twice.py").write_text("def f(t): return t.loss[:, 0] * 0 + 2")
        file = make(derived={"a": "sweep_file_twice:f"})
        other = tmp_path / "one" / "sweep.toml"
        other.write_bytes(file.path.read_bytes())
        for read, value in ((reader.read(other), 1), (file, 2)):
            assert (lf.sweep(read.spec, progress=False)["a"] == value).all()

    def test_packages_beside_the_file(self, make, tmp_path):
        (tmp_path / "sweep_file_pack").mkdir()
        (tmp_path / "sweep_file_pack" / "__init__.py").write_text("two = 2.0")
        (tmp_path / "sweep_file_pack" / "inner.py").write_text(
            "from . import two\nclass C:\n    @staticmethod\n"
            "    def f(t): return t.loss[:, 0] * 0 + two\n"
        )
        file = make(derived={"a": "sweep_file_pack.inner:C.f"})
        assert (lf.sweep(file.spec, progress=False)["a"] == 2.0).all()

    def test_nothing_is_imported_where_nothing_is_trained(self, make, tmp_path):
        (tmp_path / "payload.py").write_text("1 / 0\n")
        path = make(derived={"a": "payload:f", "b": {"function": "payload:f", "dims": ["x"]}}).path
        spec = reader.read(path, to_train=False).spec
        assert lf.estimate_sweep(spec).n_runs == spec.n_runs
        assert spec.id == reader.read(path).spec.id

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

    def test_theory_does_not_change_what_is_swept(self, make):
        theory = [{"label": "a", "y": "log(1 / scale)"}, {"label": "b", "x": 1, "of": "final_loss"}]
        file = make(plot={"theory": theory})
        assert file.plot["theory"] == theory
        assert file.spec.id == make().spec.id

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"off": "a"}, "key of plot must be one of .*did you mean 'of'"),
            ({"kind": "heat"}, "plot.kind must be one of heatmap, curves; got 'heat'"),
            ({"x": 3}, "plot.x must be a text, got 3"),
            ({"of": []}, "plot.of must be a text or a list of texts, got an empty list"),
            ({"select": "a"}, "plot.select must be a table, got 'a'"),
            ({"theory": "a"}, r"plot.theory must be a list of tables \[\[plot.theory\]\], got 'a'"),
            ({"theory": [1]}, r"plot.theory\[0\] must be a table, got 1"),
            ({"theory": [{"y": 1}]}, r"plot.theory\[0\].label must be a text, got None"),
            ({"theory": [{"label": "", "y": 1}]}, "label must be a text that is not empty"),
            ({"theory": [{"label": "a"}]}, r"plot.theory\[0\] must have one of x and y, got none"),
            ({"theory": [{"label": "a", "x": 1, "y": 1}]}, "one of x and y, got x and y"),
            ({"theory": [{"label": "a", "z": 1}]}, r"key of plot.theory\[0\] must be one of"),
            ({"theory": [{"label": "a", "x": True}]}, r"theory\[0\].x must be a text, got true"),
            ({"theory": [{"label": "a", "x": "a()"}]}, r"theory\[0\].x must be a formula of"),
        ],
    )
    def test_errors(self, make, table, message):
        refused(make, message, plot=table)


@pytest.mark.parametrize(
    "name", ["scale_step_digits", "depth_scale", "edge_of_stability", "sparse_teacher"]
)
def test_examples(name):
    file = reader.read(ROOT / "examples" / f"{name}.toml")
    assert file.spec.n_runs > 400
