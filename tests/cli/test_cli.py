"""The command line: what it writes and prints, and how it fails."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal
from support import command, on_terminal

import linnet_fast as lf
from linnet_fast import datasets
from linnet_fast.cli import info, main, outputs

NO_PLOT = ["--plot", "none"]
NO_FILES = ["--out", "none", *NO_PLOT]
SMALL = ["--seeds", "2", "--steps", "50", "--records", "10"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in an empty folder, with some data in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments):
    return main.main(["train", *map(str, arguments)])


def rows(output):
    """Return the cells of the table."""
    lines = output.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    end = lines.index("", rule)
    return [line.split() for line in lines[rule + 1 : end]]


class TestTrain:
    def test_main_job_in_small(self, capsys, folder):
        assert train("digits", "--scales", "1e-6:1:3", "--seeds", 2, "--steps", 3000) == 0
        output = capsys.readouterr().out
        assert "1,797 samples, 64 inputs -> 10 classes (one-hot), pixels divided by 16" in output
        assert "64 -> 32 -> 10, orthogonal start" in output
        assert "6 = 3 scales x 1 step size x 2 seeds, 3,000 steps each" in output
        assert "step size  0.12 (1 / sharpness, from the moments of the data)" in output
        assert re.search(r"[\d.]+ runs per second, [\d,]+ run-steps per second", output)
        assert "6 runs: 6 completed" in output
        table = rows(output)
        assert [row[0] for row in table] == ["1e-6", "1e-3", "1"]
        for row in table[:2]:
            learned = list(map(int, row[1:10]))
            assert learned == sorted(set(learned)), "the ranks are learned one by one"
        assert table[2][1:10] == ["0"] * 9
        assert int(table[0][1]) > int(table[1][1])
        assert {path.name for path in folder.iterdir()} == {
            "linnet_fast_digits.npz",
            "linnet_fast_digits.png",
        }

    def test_result_file(self, folder):
        assert train("iris", "--scales", "0.1,1", "--step-sizes", "0.01,0.02,0.03", *SMALL,
                     "--also", "layer_norms,hessian_eigenvalues(1, both)", "--out", "a.npz") == 0  # fmt: skip
        run = lf.Trajectory.load(folder / "a.npz")
        assert run.run_shape == (2, 3, 2)
        assert run.network == lf.Dense((4, 32, 3))
        asked = {"layer_norms", "hessian_eigenvalues_1_both"}
        assert set(run.observables) == {"loss", "singular_values", *asked}
        assert run.steps.size == 10
        job = run.provenance["job"]
        assert job["run_axes"] == {
            "scale": [0.1, 1.0],
            "step_size": [0.01, 0.02, 0.03],
            "seed": [0, 1],
        }
        assert "iris" in job["data"]

    def test_result_for_xarray(self, folder):
        assert train("iris", "--scales", "0.1,1", *SMALL, "--out", "a.nc") == 0
        with xr.open_dataset(folder / "a.nc") as data:
            assert data["singular_values"].dims == ("scale", "step_size", "seed", "step", "mode")
            assert data["scale"].values.tolist() == [0.1, 1.0]
            assert data["seed"].values.tolist() == [0, 1]
            assert data["step_size"].shape == (1,)
        assert lf.Trajectory.load(folder / "a.nc").run_shape == (2, 1, 2)

    def test_it_is_what_the_library_does(self, folder):
        arguments = ["--init", "gaussian", "--scales", "0.5,0.25", "--step-sizes", "0.1"]
        arguments += ["--weight-decay", "0.01", "--rng", "7", "--widths", "4,6,5,3", *SMALL]
        assert train("iris", *arguments, "--out", "a.npz", "--plot", "none") == 0
        X, Y, _ = datasets.load("iris")
        network = lf.Dense((4, 6, 5, 3))
        start = lf.initialization.gaussian(network, rng=7, batch_shape=(1, 1, 2))
        scales = np.array([0.5, 0.25])[:, None, None, None, None]
        expected = lf.train(
            network,
            lf.SquaredLoss.from_data(X, Y, center=True),
            tuple(scales * w for w in start),
            method=lf.GradientDescent(0.1, weight_decay=0.01),
            n_steps=50,
            record=lf.Record.geomspace(10),
        )
        run = lf.Trajectory.load(folder / "a.npz")
        assert_array_equal(run.loss, expected.loss)
        assert_array_equal(run.singular_values, expected.singular_values)

    def test_it_is_a_sweep(self, folder):
        arguments = ["--scales", "0.1,1", "--step-sizes", "0.01,0.02", *SMALL, "--rng", "3"]
        assert train("iris", *arguments, "--hidden", 5, "--out", "a.npz", "--plot", "none") == 0
        X, Y, _ = datasets.load("iris")
        training = lf.Training(
            lf.Dense((4, 5, 3)),
            lf.SquaredLoss.from_data(X, Y, center=True),
            lf.Start("orthogonal"),
            method=lf.GradientDescent(1.0),
            n_steps=50,
            record=lf.Record.geomspace(10),
        )
        axes = {"start.scale": [0.1, 1.0], "method.step_size": [0.01, 0.02]}
        data = lf.sweep(lf.grid(training, axes, replicates=2, rng=3), progress=False)
        run = lf.Trajectory.load(folder / "a.npz")
        assert data["loss"].dims == ("scale", "step_size", "seed", "step")
        assert_array_equal(run.loss, data["loss"])
        assert_array_equal(run.singular_values, data["singular_values"])

    def test_values_that_are_there_twice(self, capsys):
        assert train("iris", "--scales", "0.5,0.5", "--rng", 2**70, *SMALL, *NO_FILES) == 0
        first, second = rows(capsys.readouterr().out)
        assert first == second

    @pytest.mark.parametrize("init", ["orthogonal", "gaussian", "balanced", "aligned"])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_scale_is_that_of_each_layer(self, init, dtype, folder):
        arguments = ["--init", init, "--scales", "0.125,1", "--dtype", dtype, "--depth", "3"]
        assert train("wine", *arguments, "--hidden", 5, *SMALL, *NO_PLOT, "--out", "a.npz") == 0
        run = lf.Trajectory.load(folder / "a.npz")
        assert run.final.weights[0].dtype == dtype
        assert run.network.widths == (13, 5, 5, 3)
        at_start = run.singular_values[:, 0, :, 0]
        assert_allclose(at_start[0], at_start[1] / 8**3, rtol=1e-4, atol=1e-8)

    def test_stop_and_centring(self, capsys, folder):
        arguments = ["iris", "--scales", "0.1", *SMALL, "--steps", 5000, "--plot", "none"]
        assert train(*arguments, "--stop-loss", "0.2", "--out", "a.npz") == 0
        run = lf.Trajectory.load(folder / "a.npz")
        assert (run.status == lf.Status.CONVERGED).all()
        final = float(rows(capsys.readouterr().out)[0][-2])
        assert 0.13 < final <= 0.2
        assert train(*arguments, "--no-center", "--out", "a.npz", "--force") == 0
        assert "not centred" in capsys.readouterr().out
        assert_allclose(lf.Trajectory.load(folder / "a.npz").loss[..., 0], 0.5, atol=0.05)

    def test_own_data(self, capsys, folder):
        rng = np.random.default_rng(0)
        X, Y = rng.standard_normal((30, 3)), rng.standard_normal((30, 2))
        np.savez(folder / "mine.npz", X=X, Y=Y)
        np.save(folder / "x.npy", X)
        np.savetxt(folder / "y.csv", Y, delimiter=",", header="a,b", comments="")
        assert train("mine.npz", *SMALL, *NO_PLOT, "--scales", "1") == 0
        assert train("--x", "x.npy", "--y", "y.csv", *SMALL, *NO_PLOT, "--scales", "1") == 0
        one, other = (lf.Trajectory.load(f"linnet_fast_{name}.npz") for name in ("mine", "x"))
        assert_allclose(one.loss, other.loss, rtol=1e-12)
        assert "30 samples, 3 inputs -> 2 targets" in capsys.readouterr().out

    def test_samples_held_out(self, capsys):
        arguments = [
            "iris",
            "--scales",
            "0.5,0.1",
            "--step-sizes",
            "0.1,500",
            *SMALL,
            "--hidden",
            5,
        ]
        assert train(*arguments, "--test", 0.2, "--out", "a.npz") == 0
        output = capsys.readouterr().out
        assert (
            "150 samples, 4 inputs -> 3 classes (one-hot), features standardised, 30 of them"
            in output
        )
        assert re.search(r"rank 2  final loss  test loss  diverged\n", output)
        run = lf.Trajectory.load("a.npz")
        assert "30 of them held out, centred" in run.provenance["job"]["data"]
        training, held_out = datasets.split(datasets.load("iris"), 0.2)
        assert_array_equal(
            run.loss_function.input_cov,
            lf.SquaredLoss.from_data(*training[:2], center=True).input_cov,
        )
        product = run.final.weights[1][0, 0] @ run.final.weights[0][0, 0]
        # By hand: the mean over held-out samples, centred by the means of the others.
        x, y = (h - t.mean(axis=0) for h, t in zip(held_out[:2], training[:2], strict=True))
        by_hand = 0.5 * np.sum((x @ product.mT - y) ** 2, axis=(-2, -1)) / len(x)
        assert_allclose(run.loss_test[0, 0, :, -1], by_hand, rtol=1e-12)
        table = rows(output)
        assert_allclose(float(table[0][-2]), np.median(by_hand), rtol=1e-5)
        assert table[1][-3:] == ["-", "-", "2"]
        assert plt.get_fignums() == []
        assert train(*arguments, "--test", 0.2, *NO_PLOT, "--no-center", "--out", "b.npz") == 0
        other = lf.Trajectory.load("b.npz").evaluated["test"]
        assert_array_equal(other.cross_cov, lf.SquaredLoss.from_data(*held_out[:2]).cross_cov)
        assert train(*arguments, "--test", 0.2, "--test-seed", 1, "--out", "c.npz") == 0
        assert (lf.Trajectory.load("c.npz").loss_test[0, 0] != run.loss_test[0, 0]).all()
        assert train(*arguments, "--test", 0.2, "--out", "d.nc", "--plot", "none") == 0
        with xr.open_dataset("d.nc") as data:
            assert data["loss_test"].dims == ("scale", "step_size", "seed", "step")
            assert_array_equal(data["loss_test"], run.loss_test)

    def test_some_runs_diverge(self, capsys):
        assert train("iris", "--scales", "0.1", "--step-sizes", "0.05,500", *SMALL, *NO_FILES) == 0
        table = rows(capsys.readouterr().out)
        assert [row[-1] for row in table] == ["0", "2"]
        assert table[1][-2] == "-"

    def test_quiet(self, capfd):
        assert train("iris", "--scales", "1", *SMALL, *NO_FILES, "--quiet") == 0
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")

    @pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
    def test_pictures(self, suffix, folder):
        assert train("iris", "--scales", "1", *SMALL, "--out", "none", "--plot", f"p.{suffix}") == 0
        begin = (folder / f"p.{suffix}").read_bytes()[:5]
        assert begin == {"png": b"\x89PNG\r", "pdf": b"%PDF-", "svg": b"<?xml"}[suffix]
        assert [path.name for path in folder.iterdir()] == [f"p.{suffix}"]
        assert plt.get_fignums() == []


USAGE = {
    "nothing": ([], "the following arguments are required: COMMAND"),
    "command": (["tran"], "invalid choice: 'tran'"),
    "no data": (["train"], "give DATA (a name or a .npz file), or both --x FILE and --y FILE"),
    "half the data": (["train", "--x", "x.npy"], "give DATA"),
    "too much data": (["train", "iris", "--x", "x.npy"], "not both"),
    "no share": (["train", "iris", "--test", "1.5"], "--test: must be between 0 and 1, got 1.5"),
    "no number": (["train", "iris", "--test", "half"], "--test: 'half' is not a number"),
    "nan": (["train", "iris", "--test", "nan"], "--test: must be between 0 and 1, got nan"),
    "seed of nothing": (["train", "iris", "--test-seed", "3"], "give --test FRACTION, of which"),
    "huge seed": (["train", "iris", "--test", "0.5", "--test-seed", str(2**128)], "rng must be <="),
    "unknown data": (["train", "digit"], "got 'digit'; did you mean 'digits'?"),
    "missing file": (["train", "no.npz"], "cannot read no.npz: No such file or directory"),
    "broken file": (["train", "broken.npz"], "broken.npz cannot be read"),
    "pickled file": (["train", "objects.npz"], "X holds Python objects, which are never unpickled"),
    "rows": (["train", "rows.npz"], "equally many rows, got 6 and 5"),
    "not finite": (["train", "nan.npz"], "X must be finite, got nan at index (0, 0)"),
    "no relation": (["train", "constant.npz"], "no linear relation"),
    "number": (["train", "iris", "--scales", "1,x"], "--scales: 'x' is not a number"),
    "zero": (["train", "iris", "--scales", "0"], "must be finite and positive, got 0"),
    "infinite": (["train", "iris", "--step-sizes", "inf"], "finite and positive, got inf"),
    "range": (["train", "iris", "--scales", "1:2"], "neither A,B,C nor LOW:HIGH:N"),
    "huge": (
        ["train", "iris", "--scales", "1,1e200"],
        "no step size is safe from a start of scale",
    ),
    "seeds": (["train", "iris", "--seeds", "0"], "must be at least 1"),
    "steps": (["train", "iris", "--steps", "1.5"], "'1.5' is not a whole number"),
    "many steps": (["train", "iris", "--steps", str(2**62)], "below 2**62"),
    "records": (["train", "iris", "--records", "1"], "must be at least 2"),
    "weight decay": (["train", "iris", "--weight-decay", "-1"], "not negative"),
    "widths": (["train", "iris", "--widths", "5,3"], "begin with 4 and end with 3"),
    "one width": (["train", "iris", "--widths", "5"], "at least 2 entries"),
    "widths and depth": (["train", "iris", "--widths", "4,3", "--depth", "2"], "not both"),
    "init": (["train", "iris", "--init", "xavier"], "invalid choice: 'xavier'"),
    "observables": (["train", "iris", "--also", "norms"], "layer_norms"),
    "suffix": (["train", "iris", "--out", "a.csv"], "--out must end in .npz or .nc, got 'a.csv'"),
    "picture": (["train", "iris", "--plot", "a.gif"], "--plot must end in .png or .pdf or .svg"),
    "option": (["train", "iris", "--step", "3"], "unrecognized arguments: --step"),
}


class TestFailures:
    @pytest.mark.parametrize("case", USAGE)
    def test_usage_and_data(self, case, capsys, folder):
        x = np.arange(12.0).reshape(6, 2)
        np.savez(folder / "objects.npz", X=np.array([{}], dtype=object), Y=x)
        np.savez(folder / "rows.npz", X=x, Y=x[:5])
        np.savez(folder / "nan.npz", X=x * np.nan, Y=x)
        np.savez(folder / "constant.npz", X=x, Y=np.ones((6, 1)))
        (folder / "broken.npz").write_text("PK no")
        before = sorted(folder.iterdir())
        arguments, message = USAGE[case]
        assert main.main(arguments) == outputs.BAD_INPUT == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.splitlines()[-1].startswith(("linnet-fast: ", "linnet-fast train: "))
        assert captured.out == ""
        assert sorted(folder.iterdir()) == before

    def test_all_runs_diverge(self, capsys, folder):
        assert train("iris", "--step-sizes", "1e6", *SMALL) == outputs.FAILED == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert re.fullmatch(
            r"linnet-fast: all 26 runs diverged, the first at step \d+; take smaller --step-sizes",
            error,
        )
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("flag", ["--out", "--plot"])
    @pytest.mark.parametrize("place", ["nowhere/a", "folder"])
    def test_files_that_cannot_be_written(self, flag, place, capsys, folder):
        suffix = ".npz" if flag == "--out" else ".png"
        (folder / f"folder{suffix}").mkdir()
        assert train("iris", *SMALL, flag, place + suffix) == 1
        error = capsys.readouterr().err
        assert error.startswith("linnet-fast: cannot write ")
        assert error.count("\n") == 1

    def test_a_write_that_fails_at_the_end(self, capsys, folder, monkeypatch):
        def full(*_arguments, **_options):
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(lf.Trajectory, "save", full)
        assert train("iris", *SMALL, "--scales", "1") == 1
        assert "cannot write linnet_fast_iris.npz: No space left" in capsys.readouterr().err
        assert list(folder.iterdir()) == []

    def test_memory(self, capsys):
        arguments = ["--steps", 10**13, "--records", 10**12, *NO_FILES]
        assert train("iris", *arguments) == 1
        assert re.search(r"the result needs [\d,]+ bytes", capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("module", "command", "arguments"),
        [
            ("sklearn.datasets", '"scikit-learn>=1.6"', []),
            ("matplotlib", '"matplotlib>=3.9"', []),
            ("tqdm", '"tqdm>=4.65"', NO_FILES),
            ("xarray", '"xarray>=2024.7" "netCDF4>=1.7.1"', ["--out", "a.nc"]),
        ],
    )
    def test_missing_packages(self, module, command, arguments, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        assert train("iris", *SMALL, *arguments) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.endswith(f"): pip install {command}")


class TestParser:
    def test_each_command_is_in_a_file_of_its_name(self):
        (commands,) = (
            action.choices for action in main.parser()._actions if isinstance(action.choices, dict)
        )
        assert set(commands) == {
            "train",
            "sweep",
            "show",
            "reproduce",
            "cost",
            "info",
            "completion",
        }
        for name, parser in commands.items():
            module = importlib.import_module(f"linnet_fast.cli.{name}")
            assert parser.get_default("run") is module.run

    @pytest.mark.parametrize(
        "command", ["train", "sweep", "show", "reproduce", "cost", "info", "completion"]
    )
    def test_help(self, command, capsys):
        assert main.main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: {main.parser().prog} {command} ")

    def test_what_a_command_returns_is_the_exit_code(self, monkeypatch):
        for given, expected in ((None, 0), (1, 1)):
            monkeypatch.setattr(info, "run", lambda _options, given=given: given)
            assert main.main(["info"]) == expected


class TestProcess:
    def test_info(self):
        done = command("info")
        assert done.returncode == 0
        assert done.stderr == ""
        shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
        assert shown["version"] == lf.__version__
        assert {"instruction_set", "threads", "compiler"} <= set(shown)

    def test_version_and_help(self, capsys):
        assert main.main(["--version"]) == 0
        assert capsys.readouterr().out == f"linnet-fast {lf.__version__}\n"
        assert main.main(["train", "--help"]) == 0
        text = capsys.readouterr().out
        assert "examples:" in text
        assert "exit codes: 0 done" in text

    def test_exit_codes(self):
        done = command("train", "iris", *SMALL, *NO_FILES)
        assert done.returncode == 0
        assert done.stderr == ""  # a progress bar is for terminals only
        failed = command("train", "iris", *SMALL, "--out", "nowhere/a.npz")
        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1
        assert command("train", "iris", "--seeds", "-1").returncode == 2

    @pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
    def test_progress_bar(self):
        shown = on_terminal("train", "iris", *SMALL, *NO_FILES, columns=80)
        assert "training" in shown
        assert "100%" in shown

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a single process")
    def test_interrupt(self, folder):
        running = subprocess.Popen(
            [sys.executable, "-m", "linnet_fast", "train", "digits", "--steps", "1000000000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for line in running.stdout:
                if line.startswith("machine"):
                    break
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            _, error = running.communicate(timeout=10)
        finally:
            running.kill()
        assert running.returncode == outputs.INTERRUPTED == 130
        assert error == "linnet-fast: interrupted\n"
        assert list(folder.iterdir()) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="no shell pipes")
    def test_reader_that_goes(self):
        done = subprocess.run(
            f"{sys.executable} -m linnet_fast info | true",
            shell=True,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
