"""Files of sweeps as the tests write them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast.sweeps.file import reader

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


SMALL_SWEEP = """
n_steps = 20

[loss]
input_cov = [[1.0]]
cross_cov = [[2.0]]
output_power = 5.0

[network]
widths = [1, 1, 1]

[start]
kind = "gaussian"

[method]

[grid]
method.step_size = [0.05, 0.1]
"""
