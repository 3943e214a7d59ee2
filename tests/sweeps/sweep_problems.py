"""Sweeps that are small but have everything, and what tells two results or stores apart.

Workers import this module: what they are sent must not live in a test.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.stats
import xarray as xr

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast._base import machine
from linnet_fast.sweeps import batch

HERE = Path(__file__).parent
LOSS = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
CORES = 8
"""What `pretend` says the machine has."""


def largest(trajectory):
    """Return the largest singular value at each record: what a user might derive."""
    return np.asarray(trajectory.singular_values)[..., 0]


def fast_at_first(trajectory):
    """Return whether the loss fell by half between the first two records."""
    return trajectory.loss[:, 1] < 0.5 * trajectory.loss[:, 0]


def slow(trajectory):
    """Return a zero, after a moment: so that a signal finds a sweep at work."""
    time.sleep(0.02)
    return np.zeros(trajectory.run_shape[0])


class Failing:
    """A function that fails while a file is there."""

    def __init__(self, flag):
        self.flag = flag

    def __call__(self, trajectory):
        """Return zeros, or fail."""
        if Path(self.flag).exists():
            msg = "asked to fail"
            raise LookupError(msg)
        return np.zeros(trajectory.run_shape[0])


def training(**changes):
    """Return a training of a small network for which 5 is too large a step size."""
    parts = {
        "network": lf.Dense((2, 4, 2)),
        "loss": LOSS,
        "start": lf.Start("gaussian", scale=0.1),
        "method": lf.GradientDescent(0.05),
        "n_steps": 60,
    }
    return lf.Training(**parts | changes)


def _grid():
    return lf.grid(
        training(),
        {
            "start.scale": [1e-3, 0.3],
            "method.step_size": [0.05, 0.1, 5.0],
            "network.hidden": [2, 5],
            "network.n_layers": [2, 3],
        },
        replicates=3,
        derived=("final_loss", "learned_rank", "final_singular_values"),
    )


def _records():
    record = lf.Record.every(20, ("loss", "singular_values", "weights"))
    return lf.grid(
        training(record=record),
        {"method.step_size": [0.02, 0.1, 5.0], "network.hidden": [3, 2]},
        replicates=4,
        derived={
            "final_loss": "final_loss",
            "largest": (largest, ("when",)),
            "by_path": ("sweep_problems:largest", ["when"]),
            "fast": fast_at_first,
            "learning_times": "learning_times",
        },
        keep_records=True,
        rng=3,
    )


def _stopped():
    stop = lf.Stop(loss=0.0, gradient_norm=0.0, check_every=7)
    return lf.grid(
        training(stop=stop, start=lf.Start("balanced", scale=0.5), n_steps=150),
        {"stop.loss": [0.0, 0.01, 0.3], "method.step_size": [0.03, 0.1, 5.0]},
        replicates=3,
        derived=("final_loss", "final_product"),
        common_seeds=False,
    )


def _sgd():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 3))
    loss = lf.LogisticLoss(x, np.where(x @ [1.0, -2.0, 0.5] > 0, 1.0, -1.0))
    return lf.grid(
        training(
            network=lf.Dense((3, 4, 1)),
            loss=loss,
            method=lf.StochasticGradientDescent(0.1, 4, seed=9),
            record=lf.Record.at([0, 30, 60], ("loss",)),
        ),
        {"method.step_size": [0.05, 0.2], "method.batch_size": [2, 5]},
        replicates=5,
        derived="final_loss",
    )


def _flow():
    return lf.grid(
        training(
            method=lf.GradientFlow(1e-6),
            n_steps=None,
            until=3.0,
            record=lf.Record.at_times([0.0, 0.5, 2.0], ("loss",)),
            stop=lf.Stop(loss=0.0),
        ),
        {
            "start.scale": [0.01, 0.5],
            "threshold": lf.Axis([0.0, 0.2], {"stop.loss": [0.0, 0.2]}),
            "network.hidden": [2, 4],
        },
        replicates=3,
        derived=("final_loss", "learned_rank"),
    )


def _paired():
    record = lf.Record.every(10, ("loss",))
    return lf.paired(
        training(record=record),
        {"n_steps": [20, 60, 5, 40, 20], "start.scale": [0.1, 0.2, 0.3, 0.4, 0.5]},
        replicates=3,
        derived="final_loss",
    )


def _sampled():
    return lf.sampled(
        training(dtype="float32"),
        {"start.scale": scipy.stats.loguniform(1e-4, 1), "network.n_layers": [2, 3, 4]},
        40,
        method="sobol",
        rng=7,
    )


def _losses():
    rng = np.random.default_rng(1)
    losses = {
        name: lf.SquaredLoss.from_data(rng.standard_normal((9, 9)), rng.standard_normal((9, 2)))
        for name in ("even", "größer", "odd one out")
    }
    return lf.grid(
        training(network=lf.Dense((9, 3, 2)), loss=losses["even"], start=lf.Start("orthogonal")),
        {"loss": losses, "method.step_size": [0.01, 0.03]},
        replicates=3,
    )


def _single():
    return lf.grid(training(), {}, derived=("final_loss", "final_singular_values"))


def _all_diverge():
    return lf.grid(
        training(method=lf.GradientDescent(5.0)),
        {"start.scale": [1.0, 2.0]},
        replicates=6,
        derived=("final_loss", "learned_rank"),
    )


_SPECS = {
    "grid": _grid,
    "records": _records,
    "stopped": _stopped,
    "sgd": _sgd,
    "flow": _flow,
    "paired": _paired,
    "sampled": _sampled,
    "losses": _losses,
    "single": _single,
    "all diverge": _all_diverge,
}
DESIGNS = tuple(_SPECS)


@functools.cache
def spec_of(design):
    """Return the sweep of a name in `DESIGNS`."""
    return _SPECS[design]()


def sweep(spec, *args, **options):
    """Sweep without progress."""
    return lf.sweep(spec, *args, **{"progress": False} | options)


@functools.cache
def in_memory(spec):
    """Return the result of a sweep that lives as long as this module."""
    return sweep(spec, n_threads=1)


@functools.cache
def expected(design):
    """Return the result: in memory, by one thread, in one chunk."""
    return lf.sweep(spec_of(design), progress=False, n_threads=1, chunk_runs=10**6)


def plain(steps=(0.05, 0.1, 5.0), replicates=8, **changes):
    """Return a sweep over step sizes, the last of which diverges."""
    options = {"derived": ("final_loss", "final_singular_values")} | {
        key: changes.pop(key) for key in ("derived", "rng", "common_seeds") if key in changes
    }
    return lf.grid(
        training(**changes), {"method.step_size": list(steps)}, replicates=replicates, **options
    )


def slow_spec(replicates=60):
    """Return a sweep of some seconds in small chunks."""
    return plain(replicates=replicates, derived={"zero": slow, "final_loss": "final_loss"})


def assert_equal(actual, wanted):
    """Assert that two results agree in every bit, in their labels and in what they are of."""
    xr.testing.assert_equal(actual, wanted)
    assert list(actual.sizes.items()) == list(wanted.sizes.items())
    for name, variable in wanted.variables.items():
        assert actual[name].dtype.kind == variable.dtype.kind, name
        if variable.dtype.kind in "iuf":
            assert actual[name].dtype == variable.dtype, name
            assert actual[name].values.tobytes() == variable.values.tobytes(), name
    assert actual.attrs["spec_id"] == wanted.attrs["spec_id"]
    assert actual.attrs["spec"] == wanted.attrs["spec"]


def assert_consistent(data, wanted):
    """Assert that runs which are there are right, and return how many these are."""
    data = data.load()
    there = data.status != -1
    for name in wanted.data_vars:
        ours = data[name].transpose(*wanted[name].dims).values
        which = there.values
        np.testing.assert_array_equal(ours[which], wanted[name].values[which], err_msg=name)
    return int(there.sum())


def chunk_files(store):
    """Return name -> bytes of every file of every chunk."""
    store = Path(store)
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in sorted(store.rglob("*"))
        if file.is_file() and (file.name == "c" or file.name.startswith("c."))
        if file.suffix != ".partial"
    }


def assert_same_chunks(actual, wanted):
    """Assert that the chunk files of two stores are equal byte for byte."""
    actual, wanted = chunk_files(actual), chunk_files(wanted)
    assert actual.keys() == wanted.keys()
    assert not [name for name in wanted if actual[name] != wanted[name]]


def snapshot(path):
    """Return all there is at a path: name -> bytes (None of directories) and time of change."""
    path = Path(path)
    return {
        str(entry.relative_to(path.parent)): (
            entry.read_bytes() if entry.is_file() else None,
            entry.stat().st_mtime_ns,
        )
        for entry in [path, *sorted(path.rglob("*"))]
    }


class Listener:
    """A progress callback that remembers."""

    def __init__(self):
        self.told = []

    def __call__(self, progress):
        self.told.append(progress)

    def check(self, n_runs, n_diverged):
        """Assert that all was told, in order."""
        done = [progress.n_done for progress in self.told]
        assert done, "nothing was told"
        assert done == sorted(done)
        assert done[-1] == n_runs
        assert {progress.n_runs for progress in self.told} == {n_runs}
        diverged = [progress.n_diverged for progress in self.told]
        assert diverged == sorted(diverged)
        assert diverged[-1] == n_diverged
        assert all(p.seconds >= 0 and p.seconds_left >= 0 for p in self.told)


_HONEST = machine.n_threads, batch.train


def pretend(log):
    """Make this process believe in `CORES` cores, and note the threads that trainings are told."""

    def train(*args, **options):
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} {options['n_threads']}\n")
        return _HONEST[1](*args, **options | {"n_threads": 1})

    machine.n_threads, batch.train = lambda: CORES, train


def stop_pretending():
    """Undo `pretend`."""
    machine.n_threads, batch.train = _HONEST


def pretend_isa(isa):
    """Make this process believe in another instruction set."""
    info = _core.build_info()
    _core.build_info = lambda: info | {"isa": isa}


def told_threads(log):
    """Return the processes that trained, and the numbers of threads they were told."""
    lines = [line.split() for line in Path(log).read_text().splitlines()]
    return {int(pid) for pid, _ in lines}, {int(n) for _, n in lines}


def sweep_when_told(folder, options):
    """Sweep into a store of a folder once a file says so; return of what the result is."""
    spec = spec_of("grid")
    (folder / f"waits {os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.002)
    return sweep(spec, folder / "s.zarr", chunk_runs=7, **options).attrs["spec_id"]


PREAMBLE = """
import os, sys
from pathlib import Path
import linnet_fast as lf
from sweep_problems import *
"""


@contextlib.contextmanager
def running(code, **options):
    """Run code in a fresh interpreter and session; at the end nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


def run(code, *, timeout=120, **options):
    """Run code as `running` does and return what it prints; it must end well."""
    with running(code, **options) as process:
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    return out
