"""Sweeps over every kind of data, start and axis, for tests that compare machines: prints digests."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import scipy.stats as st

import linnet_fast as lf
from linnet_fast import datasets

FLOW = lf.GradientFlow(1e-6)
DESCENT = lf.GradientDescent(0.05)


def write_files(folder):
    """Write a .csv and a .npz file of data."""
    rng = np.random.default_rng(11)
    x = rng.normal(2, 3, size=(150, 7))
    y = x @ rng.normal(size=(7, 3)) + rng.normal(size=(150, 3))
    for name, array in (("x", x), ("y", y), ("labels", np.where(x[:, :1] > 2, 1, -1))):
        kind = "%d" if name == "labels" else "%.17g"
        np.savetxt(folder / f"{name}.csv", array, delimiter=",", fmt=kind)
    np.savez(folder / "both.npz", X=np.asfortranarray(x), Y=y)


def losses(folder):
    """Return a squared loss of every kind of data, by name."""
    files = folder / "x.csv", folder / "y.csv"
    sets = {
        "digits": datasets.load("digits"),
        "diabetes": datasets.load("diabetes"),
        "wine": datasets.load("wine", standardize=True),
        "breast_cancer": datasets.load("breast_cancer"),
        "csv": datasets.load(*files),
        "npz": datasets.load(folder / "both.npz", standardize=True),
    }
    made = {}
    for number, (name, data) in enumerate(sets.items()):
        made[name] = lf.SquaredLoss.from_dataset(data, center=number % 2 == 0)[0]
    x, y = sets["csv"][:2]
    weights = np.linspace(0.5, 1.5, len(x))[:, None] ** 0.5  # as of classes
    made["weighted"] = lf.SquaredLoss.from_data(x * weights, y * weights)
    return made


def specs(folder):
    """Return the sweeps, by name."""
    made = losses(folder)
    records = [
        lf.Record.geomspace(9, ("loss", "singular_values", *more)) for more in ((), ("product",))
    ]
    starts = {
        "gaussian": lf.Start("gaussian", 0.1),
        "orthogonal": lf.Start("orthogonal", 0.2),
        "balanced": lf.Start("balanced", 0.1),
        "aligned": lf.Start("aligned", 0.1),
    }
    result = {}
    for number, (name, loss) in enumerate(made.items()):
        record = records[number % 2]
        hidden = min(5, loss.n_outputs + 1)
        network = lf.Dense((loss.n_inputs, hidden, loss.n_outputs))
        training = lf.Training(
            network, loss, starts["orthogonal"], method=DESCENT, n_steps=60, record=record
        )
        result[name] = lf.grid(
            training,
            {"start": starts, "method.step_size": [0.01, 0.03]},
            derived=("final_loss", "learned_rank", "learning_times", "final_imbalance"),
            replicates=2,
        )
    loss = made["csv"]
    network = lf.Dense((7, 4, 3))
    flow = lf.Training(network, loss, starts["gaussian"], method=FLOW, until=1.5)
    result["flow"] = lf.grid(
        flow,
        {"start.scale": [0.1, 0.3], "method.log_time": [False, True]},
        derived=("final_loss", "learning_times", "final_singular_values"),
        replicates=3,
    )
    axes = {
        "start.scale": st.loguniform(1e-3, 1),
        "method.weight_decay": st.lognorm(0.5, scale=0.01),
        "method.momentum": [0.0, 0.5],
    }
    descent = lf.Training(network, loss, starts["gaussian"], method=DESCENT, n_steps=30)
    result["random"] = lf.sampled(descent, axes, 40)
    result["sobol"] = lf.sampled(
        descent,
        {"method.step_size": st.expon(0.001, 0.02), "start.scale": st.norm(1, 0.1)},
        32,
        method="sobol",
    )
    data = datasets.load(folder / "x.csv", folder / "labels.csv", standardize=True)
    binary = {
        "logistic": lf.LogisticLoss.from_dataset(data, label_noise=0.1)[0],
        "exponential": lf.ExponentialLoss.from_dataset(data)[0],
    }
    methods = {"plain": DESCENT, "stochastic": lf.StochasticGradientDescent(0.05, 8)}
    angles = lf.Record.geomspace(5, ("loss", "angle", "log_tan_half_angle"), np.arange(1.0, 8.0))
    for name, loss in binary.items():
        training = lf.Training(
            lf.Dense((7, 1)), loss, starts["gaussian"], method=DESCENT, n_steps=40, record=angles
        )
        result[name] = lf.grid(
            training, {"method": methods, "start.scale": [0.1, 1.0]}, replicates=4
        )
        flow = lf.Training(
            lf.Dense((7, 3, 1)), loss, starts["balanced"], method=FLOW, until=3.0, record=angles
        )
        result[f"{name} flow"] = lf.grid(flow, {"start.scale": [0.1, 1.0]}, replicates=2)
    return result


def digests(folder):
    """Return the identity of every sweep and a digest of every variable and coordinate."""
    found = {}
    for name, spec in specs(folder).items():
        data = lf.sweep(spec, progress=False)
        found[name] = spec.id
        for part, array in data.variables.items():
            values = np.ascontiguousarray(array.to_numpy())
            text = (
                repr(values.tolist()).encode() if values.dtype.kind in "UTO" else values.tobytes()
            )
            found[f"{name}/{part}"] = hashlib.sha256(text).hexdigest()[:12]
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(Path(sys.argv[1]))))
