"""What a sweep says of itself: labels as they were meant, names, lines for other programs, other stores."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import linnet_fast as lf
from linnet_fast._base import machine
from linnet_fast.cli.main import main
from linnet_fast.sweeps.layout import _named

for package in ("xarray", "zarr", "sklearn"):
    pytest.importorskip(package)

FILE = """
n_steps = 20
replicates = 2
derived = ["final_loss", "learning_times"]
[loss]
data = "iris"
[network]
hidden = 2
n_layers = 2
[start]
kind = "gaussian"
[method]
step_size = 0.05
[grid]
"start.scale" = [1e-5, 0.5]
"""


def training():
    loss = lf.SquaredLoss(np.eye(3), np.diag([3.0, 2.0, 1.0]), 14.0)
    start = lf.Start("gaussian", 0.1)
    return lf.Training(lf.Dense((3, 3, 3)), loss, start, lf.GradientDescent(0.05), n_steps=5)


def test_labels_are_selected_by_the_number_that_was_meant(tmp_path):
    scales = np.geomspace(1e-6, 1, 7)
    assert scales[1] != 1e-5  # NumPy's powers
    spec = lf.grid(training(), {"start.scale": scales})
    for data in (
        lf.sweep(spec),
        lf.sweep(spec, tmp_path / "s.zarr"),
        lf.open_sweep(tmp_path / "s.zarr"),
    ):
        assert data.final_loss.sel(scale=1e-5).size == 1
        assert_array_equal(data.scale, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    # What is trained on is what was given.
    alone = lf.sweep(lf.grid(training(), {"start.scale": [float(scales[1])]}))
    assert alone.final_loss.item() == data.final_loss.sel(scale=1e-5).item()


def test_numbers_of_all_digits_keep_them():
    values = np.array([1 / 3, np.pi, 2**0.5, 1.0, np.inf, 0.1 + 0.2, 123456.7891234567])
    expected = [1 / 3, np.pi, 2**0.5, 1.0, np.inf, 0.3, 123456.7891234567]
    assert _named(values).tolist() == expected
    near = np.array([0.3, 0.1 + 0.2])
    assert_array_equal(_named(near), near)  # both would be 0.3


def test_everything_has_a_name(tmp_path):
    spec = lf.grid(training(), {"start.scale": [0.1, 0.2], "n_steps": [3, 4]}, replicates=2)
    for data in (lf.sweep(spec), lf.sweep(spec, tmp_path / "s.zarr")):
        assert data.n_steps.attrs["long_name"] == "number of steps"
        assert data.final_loss.attrs["long_name"] == "final loss"
        assert all("long_name" in array.attrs for array in data.variables.values())


@pytest.fixture
def store(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "a.toml", "--quiet", "--plot", "none"]) == 0
    return tmp_path / "a.zarr"


def test_a_line_per_run(store, capsys):
    assert main(["show", str(store), "--csv", "runs.csv"]) == 0
    assert "wrote runs.csv" in capsys.readouterr().out
    rows = [line.split(",") for line in (store.parent / "runs.csv").read_text().splitlines()]
    data = lf.open_sweep(store)
    assert rows[0][:3] == ["scale", "seed", "final_loss"]
    assert "learning_times_0" in rows[0]
    assert rows[0][-1] == "status"
    assert len(rows) == 1 + data.status.size
    for row in rows[1:]:
        expected = data.final_loss.sel(scale=float(row[0]), seed=int(row[1]))
        assert float(row[2]) == expected.item()
        assert row[-1] == "completed"
    assert main(["show", str(store), "--csv", "some.csv", "--select", "scale=0.5"]) == 0
    assert len((store.parent / "some.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("runs.txt", 2, "--csv must end in .csv or .parquet"), ("no/folder/runs.csv", 1, "no/folder")],
)
def test_files_that_cannot_be_are_refused(name, code, message, store, capsys):
    assert main(["show", str(store), "--csv", name]) == code
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_a_dry_run_says_that_a_store_is_of_another_sweep(capsys):
    assert main(["sweep", "a.toml", "--dry-run"]) == 0
    assert "4 of 4 runs are there already" in capsys.readouterr().out
    assert main(["sweep", "a.toml", "--dry-run", "--set", "method.step_size=0.03"]) == 1
    error = capsys.readouterr().err
    assert "holds another sweep: training.method.step_size: 0.05, now 0.03" in error


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("mode", [(), ("--extend",), ("--extend", "--dry-run")])
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("method.step_size=0.03", "training.method.step_size: 0.05, now 0.03"),
        ('derived=["final_loss"]', "can be added, but learning_times must stay as it is"),
        ('grid={"start.scale"=[1e-5, 0.1, 0.5]}', "values go behind those of scale that are there"),
        (
            'grid={"start.scale"=[1e-5, 0.5], n_steps=[20]}',
            "keeps the dimensions that it was begun",
        ),
    ],
)
def test_what_a_store_cannot_take_in_is_said_before_anything_else(setting, reason, mode, capsys):
    assert main(["sweep", "a.toml", "--plot", "none", "--set", setting, *mode]) == 1
    told = capsys.readouterr()
    assert reason in told.err
    if mode != ("--extend",):
        assert "are there already" not in told.out


@pytest.mark.usefixtures("store")
def test_a_dry_run_of_a_grown_sweep_is_one(capsys):
    assert main(["sweep", "a.toml", "--set", "replicates=3", "--dry-run", "--extend"]) == 0
    assert "4 of 6 runs are there already" in capsys.readouterr().out


def test_shards_say_how_they_are_counted(tmp_path):
    (tmp_path / "a.toml").write_text(FILE)
    done = subprocess.run(
        [sys.executable, "-m", "linnet_fast", "sweep", "a.toml", "--shard", "0/4"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--shard $((SLURM_ARRAY_TASK_ID + 1))/4" in done.stderr


def test_threads_are_those_of_the_task(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert machine.n_threads() == 1
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    usual = machine.n_threads()
    for nothing in ("", "0", "many", "1000000"):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", nothing)
        assert machine.n_threads() == usual


def gap(trajectory):
    return trajectory.loss[..., -1]


@pytest.mark.parametrize(
    "derived",
    [("final_loss", "learning_times"), {"worst": "max(loss)"}, {"gap": gap, "last": "final_loss"}],
)
def test_the_spec_of_a_store_is_that_of_the_sweep(derived, tmp_path):
    axis = lf.Axis(
        ["a", "b"], {"n_steps": [3, 4], "method": [lf.GradientDescent(0.1), lf.Adam(0.1)]}
    )
    spec = lf.grid(
        training(),
        {"start.scale": np.geomspace(0.1, 1, 100), "how": axis},
        derived=derived,
        replicates=2,
    )
    data = lf.sweep(spec, tmp_path / "s.zarr")
    own = {"gap": gap} if "gap" in derived else None
    again = lf.open_spec(tmp_path / "s.zarr", derived=own)
    assert again.id == spec.id
    assert repr(again) == repr(spec)
    assert_array_equal(lf.sweep(again, tmp_path / "s.zarr").status, data.status)  # nothing is left
    for name in spec.axes:
        assert list(again.axes[name].labels) == list(spec.axes[name].labels)


def test_functions_of_a_store_are_given_again_and_never_imported(tmp_path):
    lf.sweep(lf.grid(training(), {"n_steps": [2, 3]}, derived={"gap": gap}), tmp_path / "s.zarr")
    with pytest.raises(ValueError, match=r"^derived must have 'gap' given: the store keeps it by"):
        lf.open_spec(tmp_path / "s.zarr")
    with pytest.raises(ValueError, match="name in derived must be one of gap"):
        lf.open_spec(tmp_path / "s.zarr", derived={"gap": gap, "gop": gap})
    with pytest.raises(lf.SweepError, match="must be a sweep's store"):
        lf.open_spec(tmp_path)
    lf.sweep(lf.grid(training(), {"n_steps": [2, 3]}), tmp_path / "t.zarr")
    with pytest.raises(ValueError, match=r"^derived must have 'final_loss' left out"):
        lf.open_spec(tmp_path / "t.zarr", derived={"final_loss": gap})
