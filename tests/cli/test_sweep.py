"""The commands `linnet-fast sweep` and `linnet-fast show`: what they do, print, and how they fail."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from support import ROOT, command, few, on_terminal, seconds_until_gone

import linnet_fast as lf
from linnet_fast.cli import main, outputs, signals, sweep_workers
from linnet_fast.sweeps.file import reader

SWEEP = """
n_steps = 400
replicates = 5
derived = ["final_loss", "learned_rank"]

[loss]
input_cov = [[1.0, 0.0], [0.0, 1.0]]
cross_cov = [[2.0, 0.0], [0.0, 1.0]]
output_power = 5.0

[network]
hidden = 4

[start]
kind = "gaussian"

[method]

[grid]
start.scale = {geomspace = [1e-3, 1e-1, 3]}
method.step_size = [0.05, 0.1, 5.0]
network.n_layers = [2, 3]
"""
MODULE = """
import multiprocessing
import os
import time
from pathlib import Path

HERE = Path(__file__).parent

def nap(trajectory):
    time.sleep(float(os.environ.get("NAP", "0")))
    return trajectory.loss[:, -1]

def dies(trajectory):
    n = len(list((HERE / "deaths").iterdir()))
    if multiprocessing.parent_process() is not None and n < int((HERE / "most").read_text()):
        (HERE / "deaths" / str(n)).touch()
        os._exit(1)
    return trajectory.loss[:, -1]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in a folder with a sweep in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "s.toml").write_text(SWEEP)
    return tmp_path


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the sweep gives in one go."""
    path = tmp_path_factory.mktemp("expected") / "s.toml"
    path.write_text(SWEEP)
    return lf.sweep(reader.read(path).spec, progress=False)


def sweep(*arguments):
    return main.main(["sweep", "s.toml", "--plot", "none", *map(str, arguments)])


def show(*arguments):
    return main.main(["show", *map(str, arguments)])


def make(path, parts=1, of=6, **options):
    """Make a store of small chunks, a part of them done."""
    spec = reader.read(path).spec
    name = f"{path.stem}.zarr"
    return lf.sweep(spec, name, progress=False, chunk_runs=5, shard=(parts, of), **options)


def kept(name="s.zarr"):
    return lf.open_sweep(name).load()


def names(folder):
    return {path.name for path in folder.iterdir()}


class TestSweep:
    def test_store_picture_and_tables(self, capsys, folder, expected):
        assert main.main(["sweep", "s.toml"]) == 0
        done = capsys.readouterr()
        assert done.err == ""
        xr.testing.assert_identical(kept().drop_attrs(), expected.drop_attrs())
        assert names(folder) == {"s.toml", "s.zarr", "s.png"}
        assert (folder / "s.png").stat().st_size > 10_000
        output = done.out
        assert "network    2 -> 4 -> 2, with n_layers swept" in output
        assert "start      gaussian(scale=swept)" in output
        assert "method     GradientDescent(step_size=swept)" in output
        assert "90 = 2 n_layers x 3 scale x 3 step_size x 5 seed, 400 steps each" in output
        assert "scale      1e-3, 0.01, 0.1" in output
        assert "store      s.zarr, new" in output
        assert re.search(
            r"90 runs: 60 completed, 30 diverged; [\d,.]+ runs per second, (under )?[\d.]+ s",
            output,
        )
        assert "final_loss, median over 5 seeds\n\nn_layers 2\n\nscale \\ step_size" in output
        assert output.count("diverged\n") >= 6
        assert "wrote s.zarr (" in output
        assert "wrote s.png (" in output

    def test_in_memory(self, capsys, folder):
        assert sweep("--out", "none") == 0
        assert names(folder) == {"s.toml"}
        output = capsys.readouterr().out
        assert "store      none, results are kept in memory" in output
        assert "wrote" not in output

    def test_phases(self, capsys, folder):
        text = (
            SWEEP.replace("n_steps = 400\n", "")
            .replace(
                "[grid]",
                """
[[phases]]
n_steps = 300
[[phases]]
n_steps = 100
loss = {input_cov = [[1.0, 0.0], [0.0, 1.0]], cross_cov = [[1.0, 0.0], [0.0, 2.0]], output_power = 5.0}
[grid]
""",
            )
            .replace("network.n_layers = [2, 3]", "network.n_layers = [2]")
        )
        (folder / "phases.toml").write_text(text)
        assert main.main(["sweep", "phases.toml", "--out", "none", "--plot", "none"]) == 0
        assert "400 steps each, in 2 phases" in capsys.readouterr().out
        with (folder / "phases.toml").open("a") as file:
            file.write('"phases.0.n_steps" = [100, 200]\n')
        assert main.main(["sweep", "phases.toml", "--out", "none", "--plot", "none"]) == 0
        assert "of swept length" in capsys.readouterr().out

    def test_quiet(self, capsys, folder):
        assert sweep("--quiet", "--out", "other.zarr") == 0
        assert capsys.readouterr() == ("", "")
        assert names(folder) == {"s.toml", "other.zarr"}

    def test_settings(self, capsys):
        arguments = ["--set", "network.n_layers=3", "--set", "start.kind=orthogonal"]
        assert sweep("--out", "none", *arguments, "--set", "grid.start.scale=[0.5]") == 0
        assert "orthogonal(scale=swept)" in capsys.readouterr().out
        assert sweep("--dry-run", "--set", "grid.start.kind=['gaussian', 'orthogonal']") == 0
        output = capsys.readouterr().out
        assert "start      start(kind=swept, scale=swept)" in output
        assert "kind       gaussian, orthogonal" in output

    def test_random_design(self, capsys, folder):
        text = SWEEP.split("[grid]", maxsplit=1)[0].replace("replicates = 5", "replicates = 2")
        sampled = """
[sampled]
n = 20
"start.scale" = {loguniform = [1e-3, 1e-1]}
"method.step_size" = {uniform = [0.01, 0.1]}
"network.n_layers" = {integers = [2, 3]}
"""
        (folder / "s.toml").write_text(text + sampled)
        assert main.main(["sweep", "s.toml"]) == 0
        output = capsys.readouterr().out
        assert re.search(r"scale +[\d.e-]+ to [\d.e-]+\n", output)
        assert "the 10 least of 20 runs" in output
        assert "run " in output
        assert (folder / "s.png").stat().st_size > 10_000

    def test_dry_run_writes_nothing(self, capsys, folder):
        assert main.main(["sweep", "s.toml", "--dry-run", "--plot", "no-such-folder/a.png"]) == 0
        output = capsys.readouterr().out
        assert re.search(r"2 -> 4 -> 2 +45  ", output)
        assert re.search(r"2 -> 4 -> 4 -> 2 +45  ", output)
        assert re.search(r"time +[\d.]+ s to [\d.]+ s with \d+ thread|under 0.1 s", output)
        assert re.search(r"result +2,250 bytes, in chunks of about 90 runs", output)
        assert "nothing is written" in output
        assert names(folder) == {"s.toml"}

    def test_goes_on(self, capsys, folder, expected):
        make(folder / "s.toml")
        assert np.count_nonzero(kept()["status"] >= 0) == 15
        assert sweep() == 0
        output = capsys.readouterr().out
        assert "store      s.zarr, 15 of 90 runs are there already" in output
        xr.testing.assert_identical(kept().drop_attrs(), expected.drop_attrs())
        assert sweep() == 0
        output = capsys.readouterr().out
        assert "90 of 90 runs are there already" in output
        assert "all runs were there already" in output

    def test_fresh(self, capsys, folder):
        assert sweep("--fresh", "--quiet") == 0
        before = (folder / "s.zarr" / "zarr.json").stat()
        assert sweep("--fresh", "--quiet") == 1
        assert "s.zarr is there already: move it away" in capsys.readouterr().err
        assert (folder / "s.zarr" / "zarr.json").stat() == before

    def test_extend(self, capsys):
        assert sweep("--quiet") == 0
        longer = ["--set", "grid.method.step_size=[0.05, 0.1, 5.0, 0.2]", "--quiet"]
        assert sweep(*longer) == 1
        assert "holds another sweep" in capsys.readouterr().err
        assert sweep(*longer, "--extend") == 0
        assert kept()["step_size"].values.tolist() == [0.05, 0.1, 5.0, 0.2]
        assert (kept()["status"] >= 0).all()

    def test_shards(self, capsys, folder, expected):
        make(folder / "s.toml", 1, 18)
        assert main.main(["sweep", "s.toml", "--shard", "1/2"]) == 0
        output = capsys.readouterr().out
        assert re.search(r"90 runs: .*45 pending", output)
        assert names(folder) == {"s.toml", "s.zarr"}, "no picture of a part"
        assert main.main(["sweep", "s.toml", "--shard", "2/2", "--plot", "a.png"]) == 0
        assert "a.png" in names(folder)
        xr.testing.assert_identical(kept().drop_attrs(), expected.drop_attrs())

    def test_workers(self, folder, expected):
        make(folder / "s.toml")
        assert sweep("--workers", 2, "--quiet", "--threads", 1) == 0
        xr.testing.assert_identical(kept().drop_attrs(), expected.drop_attrs())

    def test_plot_table(self, capsys, folder):
        table = '[plot]\nof = ["learned_rank", "final_loss"]\nx = "scale"\nby = "n_layers"\n'
        (folder / "s.toml").write_text(SWEEP + table)
        assert main.main(["sweep", "s.toml", "--out", "none", "--plot", "a.pdf"]) == 0
        assert "learned_rank, median over 5 seeds" in capsys.readouterr().out
        assert (folder / "a.pdf").read_bytes()[:4] == b"%PDF"

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ('of = "learned_rnk"', "plot.of must be one of .*did you mean 'learned_rank'"),
            ('x = "scal"', "plot.x must be one of .*did you mean 'scale'"),
            ("select = {n_layer = 2}", "key of plot.select must be one of .*'n_layers'"),
            (
                'x = "scale"\ntheory = [{label = "a", y = "n_layers"}]',
                r"plot.theory\[0\].y must be of what is named in .* \(scale\), got 'n_layers'",
            ),
            (
                'x = "scale"\ntheory = [{label = "a", x = "2 * scale"}]',
                r"plot.theory\[0\].x must be a place on the axis of 'scale', got a formula of it",
            ),
            (
                'theory = [{label = "a", x = 1, of = "final_los"}]',
                r"plot.theory\[0\].of must be one of .*did you mean 'final_loss'",
            ),
            (
                'select = {scale = "a"}\ntheory = [{label = "a", x = "scale"}]',
                r"plot.theory\[0\].x must be of numbers, got 'scale'",
            ),
        ],
    )
    def test_plot_table_is_checked_before_any_work(self, capsys, folder, table, message):
        (folder / "s.toml").write_text(SWEEP + f"[plot]\n{table}\n")
        assert sweep() == 2
        assert re.search(message, capsys.readouterr().err)
        assert names(folder) == {"s.toml"}


class TestFunctionsOfTheUser:
    @pytest.fixture(autouse=True)
    def module(self, folder, monkeypatch):
        monkeypatch.delitem(sys.modules, "cli_sweep_module", raising=False)
        (folder / "cli_sweep_module.py").write_text(MODULE)
        table = '\n[derived]\nnap = "cli_sweep_module:nap"\n'
        text = SWEEP.replace('derived = ["final_loss", "learned_rank"]', "") + table
        (folder / "s.toml").write_text(text)
        (folder / "dies.toml").write_text(text.replace(":nap", ":dies"))
        (folder / "deaths").mkdir()

    def test_a_dry_run_runs_nothing_of_the_module(self, folder, capsys):
        (folder / "cli_sweep_module.py").write_text("from pathlib import Path; Path('ran').touch()")
        assert sweep("--dry-run") == 0
        assert "nothing of cli_sweep_module is run now" in capsys.readouterr().out
        assert not (folder / "ran").exists()

    def test_a_module_that_cannot_be_imported(self, folder, capsys):
        (folder / "cli_sweep_module.py").write_text("1 / 0")
        before = list(sys.path)
        assert sweep("--quiet") == 2
        assert "derived.nap cannot import 'cli_sweep_module': Zero" in capsys.readouterr().err
        assert not (folder / "s.zarr").exists()
        assert sys.path == before

    def test_workers_find_the_module(self, folder, monkeypatch):
        (folder / "elsewhere").mkdir()
        monkeypatch.chdir(folder / "elsewhere")
        arguments = ["sweep", "../s.toml", "--workers", "2", "--plot", "none", "--quiet"]
        assert main.main(arguments) == 0
        assert kept()["nap"].notnull().any()

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a single process")
    @pytest.mark.parametrize(
        ("name", "workers"),
        few(itertools.product(["SIGHUP", "SIGINT", "SIGTERM"], [(), ("--workers", "2")]), 2),
    )
    def test_interrupt_and_go_on(self, folder, name, workers):
        number = getattr(signal, name)
        make(folder / "s.toml", 1, 18)
        running = subprocess.Popen(
            [sys.executable, "-m", "linnet_fast", "sweep", "s.toml", "--plot", "none", *workers],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NAP": "0.3"},
            start_new_session=True,
        )
        try:
            until = time.monotonic() + 60
            while np.count_nonzero(kept()["status"] >= 0) <= 5 and time.monotonic() < until:
                time.sleep(0.1)
            running.send_signal(number)
            _, error = running.communicate(timeout=30)
            if sys.platform == "linux":
                seconds_until_gone(running.pid)  # no worker is left behind
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        assert running.returncode == 128 + number
        assert outputs.INTERRUPTED == 128 + signal.SIGINT
        said = re.fullmatch(
            r"linnet-fast: interrupted; (\d+) of 90 runs are kept in s.zarr: the same command goes on "
            r"from there",
            error.splitlines()[-1],  # on a slow machine after lines of progress
        )
        assert said, error
        there = kept()["status"] >= 0
        assert 5 < int(said[1]) == int(there.sum()) < 90
        assert sweep("--quiet") == 0
        whole = lf.sweep(reader.read(folder / "s.toml").spec, progress=False)
        xr.testing.assert_identical(kept().drop_attrs(), whole.drop_attrs())

    @pytest.mark.parametrize(("deaths", "code"), [(2, 0), (99, 1)])
    def test_workers_that_die(self, folder, capsys, deaths, code):
        make(folder / "dies.toml", 1, 18)
        (folder / "most").write_text(str(deaths))
        arguments = ["sweep", "dies.toml", "--workers", "1", "--plot", "none", "--quiet"]
        assert main.main(arguments) == code
        error = capsys.readouterr().err
        assert (error == "") if code == 0 else ("a worker has died" in error)
        assert ("the same command goes on" in error) == (code == 1)
        assert (kept("dies.zarr")["status"] >= 0).all() == (code == 0)
        assert len(list((folder / "deaths").iterdir())) == (2 if code == 0 else 4)

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_workers_of_a_command_that_is_killed(self, folder):
        make(folder / "s.toml", 1, 18)
        arguments = ["sweep", "s.toml", "--plot", "none", "--quiet"]
        running = subprocess.Popen(
            [sys.executable, "-m", "linnet_fast", *arguments, "--workers", "2"],
            env=os.environ | {"NAP": "0.3"},
            start_new_session=True,
        )
        try:
            until = time.monotonic() + 60
            while np.count_nonzero(kept()["status"] >= 0) <= 5 and time.monotonic() < until:
                time.sleep(0.1)
            before = kept()["status"].values >= 0
            running.kill()
            running.wait(timeout=10)
            seconds_until_gone(running.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        assert 5 < before.sum() < 90
        assert (kept()["status"].values >= 0)[before].all()
        assert main.main(arguments) == 0
        assert (kept()["status"] >= 0).all()

    @pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows")
    def test_signals_that_are_ignored_stay_so(self):
        """As of `nohup linnet-fast sweep`; and what was there before is there afterwards."""
        for ignored in (signal.SIG_IGN, signal.SIG_DFL):
            before = signal.signal(signal.SIGHUP, ignored)
            try:
                with signals.interrupting():
                    assert (signal.getsignal(signal.SIGHUP) == signal.SIG_IGN) == (
                        ignored == signal.SIG_IGN
                    )
                assert signal.getsignal(signal.SIGHUP) == ignored
            finally:
                signal.signal(signal.SIGHUP, before)

    @pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows")
    def test_two_signals_at_once_interrupt_once(self):
        with signals.interrupting() as interruption:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
        assert interruption.code == 128 + signal.SIGTERM

    def test_errors_of_functions_say_where(self, folder):
        (folder / "cli_sweep_module.py").write_text("def nap(t):\n    return {}['x']\n")
        done = command("sweep", "s.toml", "--quiet")
        assert done.returncode == 1
        assert "in nap" in done.stderr
        assert "raised by derived['nap']" in done.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.toml"], "cannot read none.toml: No such file"),
            (["d.toml"], "cannot read d.toml: Is a directory"),
            (["s.toml", "--set", "n_step=3"], "s.toml: key must be .*did you mean 'n_steps'"),
            (["s.toml", "--set", "n_steps"], "--set n_steps: it must be key=value"),
            (["s.toml", "--set", "loss={data='a.npz'}"], "cannot read .*a.npz: No such file"),
            (["s.toml", "--out", "none", "--shard", "1/2"], "--shard must have a store"),
            (["s.toml", "--out", "none", "--extend"], "--extend must have a store"),
            (["s.toml", "--out", "none", "--fresh"], "--fresh must have a store"),
            (["s.toml", "--plot", "a.jpg"], "--plot must end in .png or .pdf or .svg"),
            (["s.toml", "--shard", "3/2"], "must be a part from 1/2 to 2/2, got 3/2"),
            (["s.toml", "--shard", "3"], "'3' is no part such as 3/16"),
            (["s.toml", "--workers", "0"], "must be at least 1"),
            (["s.toml", "--workers", "2", "--mpi"], "not allowed with"),
            (["s.toml", "--fresh", "--extend"], "not allowed with"),
            (["s.toml", "--plo", "none"], "unrecognized arguments"),
            ([], "required: FILE"),
        ],
        ids=" ".join,
    )
    def test_bad_usage(self, capsys, folder, arguments, message):
        (folder / "d.toml").mkdir()
        assert main.main(["sweep", *arguments]) == 2
        assert re.search(message, capsys.readouterr().err)
        assert names(folder) == {"s.toml", "d.toml"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--out", "nowhere/a.zarr"], "cannot write nowhere/a.zarr: there is no directory"),
            (["--out", "s.toml"], "s.toml must be a sweep's store"),
            (["--plot", "nowhere/a.png"], "cannot write nowhere/a.png"),
        ],
        ids=" ".join,
    )
    def test_failures(self, capsys, folder, arguments, message):
        assert main.main(["sweep", "s.toml", *arguments]) == 1
        assert re.search(message, capsys.readouterr().err)
        assert names(folder) == {"s.toml"}

    def test_no_dask(self, capsys, monkeypatch):
        monkeypatch.setattr("distributed.Client", _refuses)
        assert sweep("--dask", "tcp://127.0.0.1:1") == 1
        assert "linnet-fast: cannot connect" in capsys.readouterr().err

    def test_interrupted_before_anything(self, capsys, monkeypatch):
        monkeypatch.setattr(sweep_workers, "sweep", _interrupts)
        assert sweep("--quiet") == 130
        assert capsys.readouterr().err == "linnet-fast: interrupted before anything was kept\n"
        assert sweep("--quiet", "--out", "none") == 130
        assert "nothing is kept, for there is no store" in capsys.readouterr().err


def _refuses(*_arguments, **_options):
    msg = "cannot connect"
    raise OSError(msg)


def _interrupts(*_arguments, **_options):
    raise KeyboardInterrupt


class TestLive:
    STATE = lf.SweepProgress(100, 50, 3, 10.0, 5.0, 10.0)

    def test_lines_at_most_every_ten_seconds(self, capsys, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        live = sweep_workers.Live(100)
        for clock[0] in np.arange(0, 31, 1.0):
            live(self.STATE)
        live.close()
        line = "50 of 100 runs, 5.0 runs/s, 10 s left, 3 diverged\n"
        assert capsys.readouterr().err == 3 * line

    @pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
    def test_bar_on_a_terminal(self):
        shown = on_terminal("sweep", "s.toml", "--plot", "none", columns=100)
        assert re.search(r"\d+%\|.*\| \d+/90 runs, .*\d+ diverged", shown)


def test_another_store_has_another_picture(folder):
    def sweep(*arguments):
        return main.main(["sweep", "s.toml", "--quiet", *arguments])

    assert sweep() == 0
    before = (folder / "s.png").read_bytes()
    assert sweep("--set", "n_steps=200", "--out", "other.zarr") == 0
    assert (folder / "s.png").read_bytes() == before
    assert {"other.zarr", "other.png"} <= names(folder)


class TestShow:
    def test_a_part(self, capsys, folder):
        make(folder / "s.toml", 1, 2)
        assert show("s.zarr") == 0
        output = capsys.readouterr().out
        assert re.search(r"store      s.zarr, begun \S+ by linnet-fast [\d.]+, instr", output)
        assert "loss       SquaredLoss" in output
        assert "90 = 2 n_layers x 3 scale x 3 step_size x 5 seed, 400 steps each" in output
        assert "keeps      final_loss, learned_rank, stopped_at, status" in output
        assert "done       45 of 90 runs (50 %)" in output
        assert "pending" in output
        assert names(folder) == {"s.toml", "s.zarr"}

    @pytest.mark.usefixtures("folder")
    def test_the_data_are_named(self, capsys):
        assert sweep("--quiet") == 0
        assert show("s.zarr") == 0
        assert re.search(r"^loss       SquaredLoss of \S.*$", capsys.readouterr().out, re.MULTILINE)

    def test_choices(self, capsys, folder):
        assert sweep("--quiet") == 0
        arguments = ["--of", "learned_rank", "--x", "n_layers", "--select", "step_size=0.05"]
        assert show("s.zarr", *arguments, "--kind", "curves", "--plot", "a.svg") == 0
        output = capsys.readouterr().out
        assert "\nlearned_rank for step_size 0.05, median over 5 seeds\n" in output
        assert re.search(r"n_layers \\ scale +1e-3 +0.01 +0.1\n-+\n +2 +2 +2 +2\n", output)
        assert "wrote a.svg" in output
        # Text of an svg is paths, with the text itself in a comment beside.
        assert (
            "GradientDescent(step_size=swept); step_size = 0.05 -->"
            in (folder / "a.svg").read_text()
        )

    def test_errors(self, capsys):
        assert sweep("--quiet") == 0
        for arguments, code, message in [
            (["s.zarr", "--of", "final_los"], 2, "did you mean 'final_loss'"),
            (["s.zarr", "--x", "scal"], 2, "did you mean 'scale'"),
            (["s.zarr", "--select", "scal=1"], 2, "did you mean 'scale'"),
            (["s.zarr", "--select", "scale=0.7"], 2, "select scale must be one of 1e-3, 0.01, 0.1"),
            (["s.zarr", "--select", "scale"], 2, "must be key=value"),
            (["s.zarr", "--plot", "a.gif"], 2, "--plot must end in"),
            (["s.zarr", "--plot", "nowhere/a.png"], 1, "cannot write nowhere/a.png"),
            (["none.zarr"], 1, "none.zarr must be a sweep's store"),
            (["s.toml"], 1, "s.toml must be a sweep's store"),
        ]:
            assert show(*arguments) == code
            assert message in capsys.readouterr().err


def test_examples_of_the_help_parse():
    import shlex

    from linnet_fast.cli import show, sweep

    text = sweep._EPILOG + show._EPILOG
    lines = re.findall(r"^  linnet-fast ([^|\n]*)", text, re.MULTILINE)
    assert len(lines) == 9
    for line in lines:
        assert main.parser().parse_args(shlex.split(line)).command in ("sweep", "show")


def test_the_file_of_the_help_is_a_sweep(folder):
    from linnet_fast.cli import sweep

    text = sweep._EPILOG.split("a file:\n")[1].split("\n\nexamples:")[0]
    (folder / "help.toml").write_text(text)
    assert reader.read(folder / "help.toml").spec.n_runs == 13 * 2 * 8


@pytest.mark.parametrize("name", ["scale_step_digits", "depth_scale", "edge_of_stability"])
def test_examples_run(name, folder, capsys):
    arguments = ["--set", "n_steps=20", "--set", "replicates=2", "--out", "none"]
    arguments += ["--set", "grid.start.scale=[0.1, 0.2]"]
    path = ROOT / "examples" / f"{name}.toml"
    assert main.main(["sweep", str(path), *arguments]) == 0
    assert (folder / f"{name}.png").stat().st_size > 10_000
    assert "median over 2 seeds" in capsys.readouterr().out
