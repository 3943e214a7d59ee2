"""What several test files share: problems to train on, comparisons, fresh processes."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.records.observables import OBSERVABLES

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = tuple(name for name, row in OBSERVABLES.items() if not row.needs)
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
_CYCLE = [[(i + j) % 5 for j in range(5)] for i in range(5)]
CHAINS = (
    lf.Diagonal(5, 1),
    lf.Diagonal(6, 2),
    lf.Diagonal(7, 4),
    lf.Convolution(6, 3, 2),
    lf.Convolution(9, 9, 3),
    lf.Convolution(7, 2, 4, dilation=(1, 2, 4)),
    lf.Convolution(8, 4, 2, dilation=5),
    lf.Convolution(7, taps=(0, 1, 3), n_layers=3),
    lf.Convolution((4, 5), 3, 3, channels=2, in_channels=2, padding="zero"),
    lf.Convolution(9, 3, 3, stride=2, padding="valid"),
    lf.Residual(5, 3),
    lf.Residual(5, 2, n_outputs=3, scale=0.5),
    lf.Grouped([(0, 1), (2, 3, 4)], 2, 2),
    lf.Chain([layers.Diagonal(4)] * 3 + [layers.Fixed([[1.0, 2.0, 3.0, 4.0]])], [0, 0, 0, None]),
    lf.parallel([lf.Dense((4, 1)), lf.Diagonal(4, 3)]),
    lf.Chain([layers.GroupConvolution(_CYCLE), layers.Dense(5, 2)]),
    lf.Chain([layers.Dense(3, 6), layers.Residual(layers.Diagonal(6), 2.0), layers.Dense(6, 7)]),
    lf.Chain([layers.Dense(3, 3), layers.Residual(layers.Dense(3, 3), 0.3)], [0, 0]),
    lf.Chain(
        [
            layers.Stack([layers.Fixed(np.eye(4)), layers.Dense(4, 2)]),
            layers.Sum([layers.Fixed(np.eye(4)), layers.Dense(2, 4)]),
            layers.Dense(4, 2),
        ]
    ),
    lf.Chain([layers.Diagonal(4), layers.Convolution(4, 2)]),
    lf.Chain([layers.Dense(1, 5), layers.Convolution(5, 3), layers.Diagonal(5)]),
    lf.Chain(
        [
            layers.Custom([[0, -1, 1], [1, 0, -1]], 2.0, [[0, 3, 0], [1, 0, 0]]),
            layers.Fixed([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]]),
        ]
    ),
)
"""One network of every kind of layer, from both sides."""


def few(cases, n):
    """Return n of the cases, evenly spread and the last among them; all of them for the thorough profile."""
    cases = list(cases)
    if THOROUGH or n >= len(cases):
        return cases
    return [cases[(i + 1) * len(cases) // n - 1] for i in range(n)]


def cover(*axes, n=0):
    """Return combinations that have every value of every axis; all of them for the thorough profile.

    As many as the longest axis has values, or n: a value of another axis is among them as often as
    any of its own, beside values that are drawn at random.
    """
    axes = [list(axis) for axis in axes]
    n = max(n, *map(len, axes))
    if THOROUGH or n >= math.prod(map(len, axes)):
        return list(itertools.product(*axes))
    rng = random.Random(0)
    columns = [[v for _ in range(0, n, len(x)) for v in rng.sample(x, len(x))] for x in axes]
    return list(zip(*(column[:n] for column in columns), strict=True))


def crossed(*axes, n=0):
    """Parametrize a test with what `cover` has of axes, each of which is its names and its values."""
    names = [[names] if isinstance(names, str) else list(names) for names, _ in axes]
    rows = [
        [v for own, x in zip(names, row, strict=True) for v in (x if len(own) > 1 else [x])]
        for row in cover(*(values for _, values in axes), n=n)
    ]
    return pytest.mark.parametrize(", ".join(itertools.chain(*names)), rows, ids=_id)


def _id(value):
    """Return how a value is named in that of a test; None for what pytest names well."""
    own = type(value).__module__.startswith("linnet_fast")
    return f"{value!r:.60}" if own else None


def make_loss(widths, runs=(), *, diagonal=False, seed=0):
    """Return the squared loss of random data with the given run axes."""
    rng = np.random.default_rng(seed)
    n_in, n_out = widths[0], widths[-1]
    x = rng.standard_normal((*runs, 2 * n_in + 3, n_in)) + 0.1
    y = rng.standard_normal((*runs, 2 * n_in + 3, n_out))
    loss = lf.SquaredLoss.from_data(x, y)
    if not diagonal:
        return loss
    return lf.SquaredLoss(loss.input_cov * np.eye(n_in), loss.cross_cov, loss.output_power)


def make_start(widths, runs=(), *, scale=0.7, dtype=np.float64, seed=0):
    """Return a Gaussian start with the given run axes."""
    return lf.initialization.gaussian(
        lf.Dense(widths), scale=scale, rng=seed, batch_shape=runs, dtype=dtype
    )


def parts(trajectory):
    """Return every array of a result, by name: run axes first, then records."""
    arrays = {"status": trajectory.status, "stopped_at": trajectory.stopped_at}
    for name, value in trajectory.observables.items():
        if name == "weights":
            arrays.update({f"weights[{layer}]": w for layer, w in enumerate(value)})
        else:
            arrays[name] = value
    arrays.update({f"final[{layer}]": w for layer, w in enumerate(trajectory.final.weights)})
    for layer, kept in enumerate(trajectory.final.memory):
        arrays |= {f"memory[{layer}][{k}]": array for k, array in enumerate(kept)}
    if trajectory.final.elapsed is not None:
        arrays |= {"elapsed": trajectory.final.elapsed, "time": trajectory.time}
    return arrays


def assert_same(actual, expected, which=...):
    """Assert that two trainings agree in every bit; `which` picks runs of `expected`."""
    expected = parts(expected)
    for name, array in parts(actual).items():
        assert_array_equal(array, expected[name][which], err_msg=name, strict=True)


def python(code, *, timeout=120, check=True, **environment):
    """Run code in a fresh interpreter that finds this module and the tests of training; return how it ended."""
    here = Path(__file__).parent
    folders = (here, here / "training")  # whose modules the code may import
    env = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def command(*arguments, **options):
    """Run the command in a process of its own; return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "linnet_fast", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def on_terminal(*arguments, columns):
    """Run the command with its errors on a pseudo-terminal; return what this shows."""
    import termios

    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    subprocess.run(
        [sys.executable, "-m", "linnet_fast", *arguments],
        stdout=subprocess.PIPE,
        stderr=follower,
        timeout=60,
        check=True,
    )
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    return shown


class Batch:
    """Runs that differ in everything: start, step size, decay, stop rule, moments; one diverges.

    `moments`: "shared", "diagonal" (shared), "own", "own diagonal", or "mixed" (every other run's
    are diagonal).
    """

    def __init__(self, widths, *, dtype=np.float64, moments="shared", n_runs=64, n_steps=24):
        self.network = lf.Dense(widths)
        self.n_runs, self.n_steps = n_runs, n_steps
        number = np.arange(n_runs)
        own = (n_runs,) if moments in ("own", "own diagonal", "mixed") else ()
        loss = make_loss(widths, own, diagonal="diagonal" in moments)
        if moments == "mixed":
            odd = (number % 2 == 1)[:, None, None]
            diagonal = loss.input_cov * np.eye(widths[0])
            cov = np.where(odd, diagonal, loss.input_cov)
            loss = lf.SquaredLoss(cov, loss.cross_cov, loss.output_power)
        self.loss = loss
        self.start = make_start(widths, (n_runs,), scale=0.6, dtype=dtype)
        steps = 0.002 + 0.0005 * (number % 5)
        steps[number % 16 == 5] = 1e3 if len(widths) > 2 else 1e20
        self.method = lf.GradientDescent(
            steps,
            np.where(number % 3 == 0, 0.0, 0.1),
            1.0 + (number[:, None] + np.arange(len(widths) - 1)) % 2,
        )
        first = lf.train(
            self.network, loss, self.start, method=lf.GradientDescent(1e-3), n_steps=0,
            record=lf.Record.at([0], ("loss",)),
        ).loss[:, 0]  # fmt: skip
        self.stop = lf.Stop(loss=np.where(number % 7 == 2, 0.995 * first, 0.0), check_every=4)
        self.record = lf.Record.every(6, EVERYTHING)

    def train(self, which=slice(None), **options):
        """Train some of the runs; an integer picks a single run, without run axes."""
        loss = self.loss
        if loss.run_shape:
            loss = lf.SquaredLoss(
                loss.input_cov[which], loss.cross_cov[which], loss.output_power[which]
            )
        method = lf.GradientDescent(
            self.method.step_size[which],
            self.method.weight_decay[which],
            self.method.layer_multipliers[which],
        )
        stop = lf.Stop(loss=self.stop.loss[which], check_every=self.stop.check_every)
        defaults = {"n_steps": self.n_steps, "record": self.record, "stop": stop, "n_threads": 2}
        start = [w[which] for w in self.start]
        options = defaults | {"start": start, "method": method} | options
        return lf.train(self.network, loss, **options)


def of_session(number):
    """Return the processes of a session."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == number and fields[0] not in "ZX":
                found.add(int(folder.name))
    return found


def seconds_until_gone(session, most=30.0):
    """Return how long processes of a session stay."""
    begin = time.perf_counter()
    while of_session(session):
        assert time.perf_counter() - begin < most, of_session(session)
        time.sleep(0.02)
    return time.perf_counter() - begin
