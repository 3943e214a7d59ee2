"""What several test files share: problems to train on, comparisons, fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

import linnet_fast as lf
from linnet_fast.record import OBSERVABLES

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = tuple(OBSERVABLES)


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
    return arrays


def assert_same(actual, expected, which=...):
    """Assert that two trainings agree in every bit; `which` picks runs of `expected`."""
    expected = parts(expected)
    for name, array in parts(actual).items():
        assert_array_equal(array, expected[name][which], err_msg=name, strict=True)


def python(code, *, timeout=120, check=True, **environment):
    """Run code in a fresh interpreter that finds this module; return the completed process."""
    env = {**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parent)}
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
