"""Arguments that are right, by the name of the parameter: where a hostile one then takes a place."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import linnet_fast as lf
from linnet_fast import layers, regularizers

CYCLE = [[(i + j) % 3 for j in range(3)] for i in range(3)]
"""The group of three rotations."""


@cache
def network():
    return lf.Dense((3, 4, 2))


@cache
def loss():
    rng = np.random.default_rng(0)
    return lf.SquaredLoss.from_data(rng.standard_normal((8, 3)), rng.standard_normal((8, 2)))


@cache
def commuting():
    """A loss whose moments have common singular vectors and equal input variances."""
    return lf.SquaredLoss(np.eye(3), np.array([[2.0, 0, 0], [0, 1.0, 0]]), 5.0)


@cache
def start():
    return lf.initialization.gaussian(network(), scale=0.5, rng=0)


@cache
def method():
    return lf.GradientDescent(0.05)


@cache
def trajectory():
    observed = ("sharpness", "overlap(2)", "layer_singular_values")
    record = lf.Record.every(5, ("loss", "singular_values", "weights", "product", *observed))
    return lf.train(network(), commuting(), aligned(), method=method(), n_steps=40, record=record)


@cache
def trajectories():
    """Two runs."""
    begin = tuple(np.stack([w, 2 * w]) for w in aligned())
    record = lf.Record.every(5, ("loss", "singular_values"))
    return lf.train(network(), commuting(), begin, method=method(), n_steps=40, record=record)


@cache
def aligned():
    return lf.initialization.aligned(network(), commuting(), [0.05, 0.02], rng=0)


@cache
def law():
    return lf.laws.Gaussian(3)


def half_square(products, _parameters=None):
    """Return values and gradients as `CustomLoss` asks for them."""
    return 0.5 * (products**2).sum(axis=(1, 2)), products


@cache
def direction_loss():
    return lf.SphericalLogisticLoss([1.0, 0.0, 0.0], law())


@cache
def direction_trajectory():
    network = lf.Dense((3, 1))
    record = lf.Record.geomspace(60, ("loss", "norm", "angle", "log_tan_half_angle"))
    begin = (np.array([[0.3, 0.4, 0.2]]),)
    flow = lf.GradientFlow()
    return lf.train(network, direction_loss(), begin, method=flow, until=50.0, record=record)


@cache
def training():
    return lf.Training(network(), loss(), lf.Start("gaussian"), method=method(), n_steps=5)


@cache
def spec():
    return lf.grid(training(), {"start.scale": [0.1, 1.0]}, replicates=2)


@cache
def swept():
    return lf.sweep(spec(), progress=False)


@cache
def phase_switch():
    return lf.directional_convergence.phase_switch(law(), 2, norm=0.1, log_tan_half_angle=1.0)


@cache
def own_data():
    """A data set of three classes."""
    return lf.datasets.Dataset(SAMPLES, np.eye(3)[[0, 1, 2, 1]], "four samples")


def axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


@cache
def predictor():
    return np.array([1.0, -0.5, 0.25, 0.75])


@cache
def pattern():
    return layers.Diagonal(3).pattern


@cache
def folder():
    """Return a folder that is there until the process ends."""
    return tempfile.TemporaryDirectory(prefix="linnet-fast-")


def place(name):
    """Return a name in that folder."""
    return str(Path(folder().name) / name)


@cache
def saved():
    """Return the name of a file that holds a trajectory."""
    trajectory().save(place("trajectory.npz"))
    return place("trajectory.npz")


@cache
def stored():
    """Return the name of the store of a sweep."""
    lf.sweep(spec(), place("sweep.zarr"), progress=False)
    return place("sweep.zarr")


@cache
def array_file():
    """Return the name of a file that holds an array."""
    np.save(place("array.npy"), SAMPLES)
    return place("array.npy")


@cache
def measurements_file():
    """Return the name of a file of measurements."""
    np.savez(place("measured.npz"), measurements=np.ones((3, 2, 2)), targets=np.ones(3))
    return place("measured.npz")


@cache
def mnist():
    """Return the name of a folder with two small images."""
    sizes = {"train-images-idx3-ubyte": (2, 3, 3), "train-labels-idx1-ubyte": (2,)}
    made = Path(place("mnist"))
    made.mkdir()
    for name, shape in sizes.items():
        head = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        (made / name).write_bytes(head + bytes(i % 2 for i in range(int(np.prod(shape)))))
    return str(made)


@cache
def cifar10():
    """Return the name of a folder with a batch of two images."""
    made = Path(place("cifar10"))
    made.mkdir()
    (made / "data_batch_1.bin").write_bytes(bytes(3073) + b"\1" + bytes(3072))
    return str(made)


SAMPLES = np.array([[1.0, 0.5, 0.25], [-1.0, 0.25, 0.5], [0.5, -0.75, 1.0], [-0.25, 1.5, -0.5]])
LABELS = np.array([1.0, -1.0, 1.0, -1.0])

COMMON = {
    "X": lambda: SAMPLES,
    "Y": lambda: SAMPLES[:, :2] + 0.5,
    "angle": lambda: 1.0,
    "atol": lambda: 1e-12,
    "begin": lambda: np.array([0.25, 0.5]),
    "end": lambda: np.array([0.75, 2.0]),
    "ax": axes,
    "batch_shape": lambda: (2,),
    "batch_size": lambda: 4,
    "batches": lambda: lf.Batches(2),
    "by_product": lambda: np.array([[1.0, 0.5, 0.25], [0.5, 2.0, 1.0]]),
    "channels": lambda: 1,
    "check_every": lambda: 10,
    "coefficient": lambda: 1.0,
    "common_seeds": lambda: True,
    "cross_cov": lambda: np.array([[2.0, 0, 0], [0, 1.0, 0]]),
    "data": swept,
    "delta": lambda: 4.0,
    "deltas": lambda: np.array([2.0, 5.0]),
    "derived": lambda: ("final_loss",),
    "dilation": lambda: 1,
    "dim": lambda: 3,
    "direction": lambda: np.array([1.0, 0.0, 0.0]),
    "directions": lambda: tuple(np.ones_like(w) for w in aligned()),
    "dtype": lambda: "float64",
    "evaluate": lambda: {"test": loss()},
    "exponent": lambda: 0.5,
    "final": lambda: trajectory().final,
    "first": lambda: np.array([0.5, 0.25]),
    "fraction": lambda: 0.5,
    "function": lambda: lambda _weights, product: product[..., 0, 0],
    "gradient": lambda: np.array([[1.0, 0.5], [0.25, 2.0]]),
    "gradient_norm": lambda: 1e-6,
    "group": lambda: 0,
    "groups": lambda: [(0, 1), (2, 3)],
    "in_channels": lambda: 1,
    "index": lambda: [[0, -1], [1, 0]],
    "input_cov": lambda: np.eye(3),
    "inputs": lambda: SAMPLES,
    "k": lambda: 2,
    "keep_records": lambda: False,
    "kernel_size": lambda: 2,
    "l1": lambda: 1.0,
    "l2": lambda: 0.5,
    "label_noise": lambda: 0.125,
    "labels": lambda: LABELS,
    "lam": lambda: np.array([1.0, 0.5]),
    "law": law,
    "layer": lambda: layers.Dense(3, 3),
    "layer_multipliers": lambda: np.array([1.0, 0.5]),
    "layer_scale": lambda: 0.25,
    "layers": lambda: [layers.Dense(3, 3), layers.Diagonal(3)],
    "level": lambda: 1.0,
    "linear_time": lambda: 2.0,
    "log_norm": lambda: -1.0,
    "log_scale": lambda: 0.5,
    "log_strength": lambda: np.array([-3.0, -4.0]),
    "log_tan_half_angle": lambda: -0.5,
    "log_time": lambda: np.array([2.0, 3.0]),
    "loss": loss,
    "loss_function": lambda: trajectory().loss_function,
    "margin": lambda: 0.5,
    "mask": lambda: [[True, False], [True, True]],
    "matrix": lambda: np.array([[1.0, 0.5, 2.0]]),
    "max_steps": lambda: 1000,
    "method": method,
    "momentum": lambda: 0.5,
    "memory_momentum": lambda: 0.75,
    "dampening": lambda: 0.0,
    "layer_decays": lambda: [1.0, 0.5],
    "noise": lambda: lf.GaussianNoise(1e-3),
    "beta1": lambda: 0.5,
    "beta2": lambda: 0.75,
    "eps": lambda: 1e-6,
    "alpha": lambda: 0.9,
    "per": lambda: "layer",
    "decoupled": lambda: True,
    "amsgrad": lambda: True,
    "step_decay": lambda: 0.1,
    "initial": lambda: 0.1,
    "iterations": lambda: 5,
    "temperature": lambda: 0.5,
    "n": lambda: 4,
    "n_arrays": lambda: 2,
    "n_features": lambda: 4,
    "n_inputs": lambda: 3,
    "n_layers": lambda: 2,
    "n_outputs": lambda: 2,
    "n_samples": lambda: 50,
    "n_stages": lambda: 2,
    "n_starts": lambda: 2,
    "n_steps": lambda: 10,
    "n_threads": lambda: 1,
    "n_weights": lambda: 3,
    "nesterov": lambda: True,
    "network": network,
    "networks": lambda: [lf.Dense((3, 1)), lf.Diagonal(3, 2)],
    "norm": lambda: 0.75,
    "number": lambda: 1,
    "observables": lambda: ("loss", "norm"),
    "offset": lambda: 0.0,
    "order": lambda: 2,
    "output_power": lambda: 5.0,
    "p": lambda: 1.5,
    "padding": lambda: "circular",
    "parameters": lambda: {"start.scale": [0.1, 1.0]},
    "predictor": predictor,
    "probabilities": lambda: np.array([0.25, 0.75]),
    "product": lambda: np.array([[1.0, 0.5, 0.25], [0.5, 2.0, 1.0]]),
    "along": lambda: np.array([[1.0, 0.5, 0.25], [0.5, 2.0, 1.0]]),
    "progress": lambda: False,
    "r": lambda: np.array([0.5, 2.0]),
    "radii": lambda: np.array([0.5, 1.5]),
    "radius": lambda: 1.5,
    "rank": lambda: 1,
    "record": lambda: lf.Record.every(2, ("loss",)),
    "regularizer": regularizers.L1,
    "replicates": lambda: 2,
    "rng": lambda: 0,
    "rtol": lambda: 1e-3,
    "rule": lambda: lf.StepRule.power(0.5, 0.5),
    "scale": lambda: 0.5,
    "scales": lambda: 0.5,
    "second": lambda: np.array([0.25, 0.5]),
    "sigma": lambda: np.array([2.0, 1.0]),
    "singular_values": lambda: np.array([2.0, 1.0, 0.125]),
    "spec": spec,
    "start": start,
    "step": lambda: 0.5,
    "step_size": lambda: 0.05,
    "step_sizes": lambda: np.full(6, 0.05),
    "steps": lambda: [0, 2, 5],
    "stop": lambda: lf.Stop(loss=1e-3),
    "stream": lambda: 1,
    "streams": lambda: 1,
    "strength": lambda: np.array([0.125, 0.0625]),
    "strengths": lambda: np.array([0.125, 0.0625]),
    "stride": lambda: 1,
    "switch": phase_switch,
    "table": lambda: CYCLE,
    "taps": lambda: (0, 1),
    "tau": lambda: np.array([0.25, 2.0]),
    "time": lambda: np.array([0.5, 2.0]),
    "times": lambda: np.array([0.5, 2.0]),
    "to_angle": lambda: 0.25,
    "to_log_tan_half_angle": lambda: -3.0,
    "tolerance": lambda: 1e-6,
    "training": training,
    "trajectory": trajectory,
    "until": lambda: 2.0,
    "weight": lambda: [0, 1, 2],
    "weight_decay": lambda: 0.125,
    "weights": aligned,
    "width": lambda: 6,
    "widths": lambda: (3, 4, 2),
    "x": predictor,
    "y": lambda: LABELS,
    "z": lambda: predictor() / 4,
}
"""Name of the parameter -> function that makes a right argument."""

_DIRECTIONAL = {
    "trajectory": direction_trajectory,
    "start": lambda: 0,
    "step_size": lambda: 0.25,
    "steps": lambda: 6,
    "n_samples": lambda: 40,
    "n_sets": lambda: 2,
    "weights": lambda: np.array([1.0, 0.5, 0.25]),
    "X": lambda: np.array([[1.0, 0.5, 0.25], [-1.0, 0.25, 0.5]]),
    "y": lambda: np.array([1.0, -1.0]),
    "to_log_tan_half_angle": lambda: -2.0,
    "any_law": lambda: True,
    "printed": lambda: True,
    "sharp": lambda: False,
    "window": lambda: (1.0, 20.0),
}
_RANKS = {
    "loss": commuting,
    "n_outputs": lambda: 2,
    "n_hidden": lambda: 3,
    "steps": lambda: [0, 2, 5],
    "exponent": lambda: 2.0,
    "start": aligned,
    "run": lambda: (),
    "data": commuting,
    "step_size": lambda: 0.05,
    "deflate": lambda: False,
}
_PIECES = {"weights": lambda: np.array([1.0, 0.5, 0.25, 0.125])}

SPECIAL = {
    "linnet_fast.Trajectory.load": {"path": saved},
    "linnet_fast.Trajectory.save": {"path": lambda: place("written.npz")},
    "linnet_fast.directional_convergence.descent_angle_bound": {
        **_DIRECTIONAL,
        "step_size": lambda: np.array([1.0, 0.5]),
    },
    "linnet_fast.directional_convergence.descent_angle_bound_behind": {
        **_DIRECTIONAL,
        "step_size": lambda: np.array([1.0, 0.5]),
        "angle": lambda: 2.0,
        "log_tan_half_angle": lambda: 1.0,
    },
    "linnet_fast.open_sweep": {"store": stored},
    "linnet_fast.open_spec": {"store": stored, "derived": dict},
    "linnet_fast.datasets.read_array": {"file": array_file, "name": lambda: "X"},
    "linnet_fast.datasets.split": {"data": own_data},
    "linnet_fast.datasets.load_entries": {"source": array_file},
    "linnet_fast.datasets.load_measurements": {"source": measurements_file},
    "linnet_fast.datasets.load_mnist": {"folder": mnist},
    "linnet_fast.datasets.load_cifar10": {"folder": cifar10},
    "linnet_fast.directional_convergence": _DIRECTIONAL,
    "linnet_fast.rank_dynamics": _RANKS,
    "linnet_fast.regularizers": _PIECES,
    "linnet_fast.Axis": {
        "labels": lambda: [0.1, 1.0],
        "values": lambda: {"start.scale": [0.1, 1.0]},
    },
    "linnet_fast.Axis.cut": {"length": lambda: 1},
    "linnet_fast.Chain": {
        "layers": lambda: [layers.Dense(3, 4), layers.Dense(4, 2)],
        "share": lambda: [0, 1],
    },
    "linnet_fast.Convolution": {
        "weights": lambda: (np.ones((1, 1, 2)), np.ones((1, 6))),
        "by_product": lambda: np.ones((1, 6)),
    },
    "linnet_fast.Diagonal": {
        "weights": lambda: (np.ones(6), np.ones((1, 6))),
        "by_product": lambda: np.ones((1, 6)),
    },
    "linnet_fast.Residual": {
        "n_blocks": lambda: 1,
        "n_outputs": lambda: 1,
        "weights": lambda: (np.ones((6, 6)), np.ones((1, 6))),
        "by_product": lambda: np.ones((1, 6)),
    },
    "linnet_fast.Grouped": {
        "n_diagonal": lambda: 1,
        "n_scalar": lambda: 1,
        "weights": lambda: (np.ones(4), np.ones((1, 2))),
        "by_product": lambda: np.ones((1, 4)),
    },
    "linnet_fast.Observable": {"name": lambda: "own", "shape": lambda: (), "dims": lambda: ()},
    "linnet_fast.Record": {
        "schedule": lambda: "every",
        "numbers": lambda: (2,),
        "first": lambda: 0,
        "last": lambda: 10,
        "begin": lambda: 0.0,
        "until": lambda: 2.0,
        "time": lambda: [0.5, 2.0],
        "times": lambda: [0.5, 2.0],
    },
    "linnet_fast.Training": {"start": lambda: lf.Start("gaussian")},
    "linnet_fast.Teacher": {
        "kind": lambda: "gaussian",
        "n_inputs": lambda: 3,
        "n_outputs": lambda: 2,
        "noise": lambda: 0.5,
        "n_samples": lambda: 4,
        "input_cov": lambda: ("power_law", 1.0),
        "target": lambda: "values",
        "task": lambda: 1,
        **dict.fromkeys(
            ("rank", "strengths", "exponent", "n_nonzero", "positive", "matrix"), lambda: None
        ),
        "seed": lambda: [0, 5],
        "batch_shape": lambda: 2,
    },
    "linnet_fast.Stop": {
        "loss": lambda: 1e-3,
        "evaluate": lambda: {"test": 0.5},
        "below": lambda: {"sharpness": 0.5},
        "above": lambda: {"sharpness": 2.0},
    },
    "linnet_fast.observables": {
        "which": lambda: "both",
        "p": lambda: 0.5,
        "target": lambda: SAMPLES[:2],
        "name": lambda: "own",
        "state": lambda: trajectory().final,
    },
    "linnet_fast.Start": {"kind": lambda: "gaussian", "fan": lambda: "in"},
    "linnet_fast.Phase": {"until": lambda: None, "streams": lambda: 1},
    "linnet_fast.StepRule": {
        "kind": lambda: "power",
        "ratio": lambda: 1.25,
        "n_steps": lambda: 8.0,
        "begin": lambda: 2.0,
        "floor": lambda: 0.25,
        "values": lambda: [0.5, 0.25],
        "boundaries": lambda: [4.0],
        "then": lambda: 0.5,
        "step": lambda: [0, 3],
        "warmup_steps": lambda: 2.0,
    },
    "linnet_fast.GradientFlow": {
        "n_run_axes": lambda: 0,
        "rtol": lambda: 1e-6,
        "method": lambda: "auto",
    },
    "linnet_fast.StochasticGradientDescent": {"seed": lambda: 1},
    "linnet_fast.LogisticLoss": {
        "product": lambda: np.array([[1.0, 0.5, 0.25]]),
        "along": lambda: np.array([[1.0, 0.5, 0.25]]),
        "norm": lambda: np.array([0.5, 2.0]),
    },
    "linnet_fast.ExponentialLoss": {
        "product": lambda: np.array([[1.0, 0.5, 0.25]]),
        "along": lambda: np.array([[1.0, 0.5, 0.25]]),
        "norm": lambda: np.array([0.5, 2.0]),
    },
    "linnet_fast.SphericalLogisticLoss": {
        "product": lambda: np.array([[1.0, 0.5, 0.25]]),
        "along": lambda: np.array([[1.0, 0.5, 0.25]]),
        "norm": lambda: np.array([0.5, 2.0]),
    },
    "linnet_fast.LogisticLoss.from_data": {"labels": lambda: (-1, 1)},
    "linnet_fast.ExponentialLoss.from_data": {"labels": lambda: (-1, 1)},
    "linnet_fast.SharpnessAware": {"rho": lambda: 0.1},
    "linnet_fast.FeedbackAlignment": {
        "scale": lambda: 0.5,
        "seed": lambda: 1,
        "streams": lambda: 1,
    },
    "linnet_fast.GaussianNoise": {"seed": lambda: 1, "streams": lambda: 1},
    "linnet_fast.Batches": {
        "size": lambda: [(0, 2), (5, 4)],
        "seed": lambda: 1,
        "streams": lambda: 1,
        "replace": lambda: False,
        "label_noise_std": lambda: 0.5,
        "step": lambda: 7,
    },
    "linnet_fast.CrossEntropyLoss": {
        "targets": lambda: np.array([[1.0, 0, 0], [0, 1.0, 0], [0.5, 0.25, 0.25], [0, 0, 1.0]]),
        "labels": lambda: [2, 0, 1, 1],
        "classes": lambda: [0, 1, 2],
        "label_smoothing": lambda: 0.125,
        "product": lambda: SAMPLES[:3],
        "along": lambda: SAMPLES[:3],
    },
    "linnet_fast.CustomLoss": {
        "function": lambda: half_square,
        "shape": lambda: (2, 3),
        "parameters": lambda: np.array([0.5, 1.0]),
        "product": lambda: SAMPLES[:2],
        "along": lambda: SAMPLES[:2],
    },
    "linnet_fast.TeacherLoss": {
        "teacher": lambda: SAMPLES[:2],
        "noise_std": lambda: 0.5,
        "product": lambda: SAMPLES[1:3],
        "along": lambda: SAMPLES[1:3],
    },
    "linnet_fast.MatrixCompletionLoss": {
        "rows": lambda: [0, 1, 1],
        "cols": lambda: [1, 0, 2],
        "values": lambda: np.array([0.5, 1.0, -2.0]),
        "shape": lambda: (2, 3),
        "matrix": lambda: SAMPLES[:2],
        "observed": lambda: np.array([[True, False, True], [False, True, True]]),
    },
    "linnet_fast.MatrixSensingLoss": {
        "measurements": lambda: np.stack([SAMPLES[:2], SAMPLES[1:3], SAMPLES[2:]]),
        "left": lambda: SAMPLES[:3, :2],
        "right": lambda: SAMPLES[:3],
        "targets": lambda: np.array([0.5, 1.0, -2.0]),
    },
    "linnet_fast.RankOneSensingLoss": {
        "left": lambda: SAMPLES[:3, :2],
        "right": lambda: SAMPLES[:3],
        "targets": lambda: np.array([0.5, 1.0, -2.0]),
    },
    "linnet_fast.SampledSquaredLoss": {
        "teacher": lambda: SAMPLES[:2],
        "noise_std": lambda: 0.5,
        "outputs": lambda: SAMPLES[:, :2] + 0.5,
        "center": lambda: True,
        "form": lambda: "samples",
    },
    "linnet_fast.SquaredLoss": {
        "teacher": lambda: SAMPLES[:2],
        "noise_std": lambda: 0.5,
        "center": lambda: True,
        "form": lambda: "samples",
        "residual_power": lambda: 0.0,
    },
    "linnet_fast.State": {
        "weights": lambda: trajectory().final.weights,
        "step": lambda: 40,
        "status": lambda: trajectory().final.status,
        "stopped_at": lambda: trajectory().final.stopped_at,
        "memory": lambda: (),
    },
    "linnet_fast.SweepSpec": {
        "axes": lambda: spec().axes,
        "derived": lambda: spec().derived,
        "keep_records": lambda: False,
        "shape": lambda: (1, 1),
        "replicates": lambda: 2,
        "index": lambda: (0,),
        "indices": lambda: (0,),
    },
    "linnet_fast.Trajectory": {
        "start": lambda: trajectory().start,
        "steps": lambda: trajectory().steps,
        "time": lambda: trajectory().time,
        "observables": lambda: dict(trajectory().observables),
        "evaluated": lambda: {"test": commuting()},
        "provenance": dict,
        "n_steps": lambda: trajectory().n_steps,
        "which": lambda: np.array(0),
        "axes": dict,
        "labels": dict,
        "dims": lambda: (),
        "coords": dict,
    },
    "linnet_fast.parameterize": {},
    "linnet_fast.verify": {"network": lambda: lf.Diagonal(4, 2), "n_samples": lambda: 3},
    "linnet_fast.what_is": {"network": lambda: lf.Diagonal(4, 2)},
    "linnet_fast.representation_cost": {"network": lambda: lf.Diagonal(4, 2)},
    "linnet_fast.depth_limit": {"network": lambda: lf.Diagonal(4, 2)},
    "linnet_fast.sweep": {
        "executor": lambda: None,
        "shard": lambda: None,
        "extend": lambda: False,
        "chunk_runs": lambda: 2,
        "note": lambda: "text",
    },
    "linnet_fast.layers.Custom": {
        "coefficient": lambda: [[1.0, 2.0], [0.5, 1.0]],
        "offset": lambda: [[0.0, 2.0], [0.5, 0.0]],
    },
    "linnet_fast.layers.Masked": {"groups": lambda: [(0, 1), (1, 2)]},
    "linnet_fast.layers.Pattern": {
        "shape": lambda: (3, 3),
        "n_outputs": lambda: 3,
        "row": lambda: np.arange(3, dtype=np.int32),
        "column": lambda: np.arange(3, dtype=np.int32),
        "weight": lambda: np.arange(3, dtype=np.int32),
        "coefficient": lambda: np.ones(3),
        "weights": lambda: np.array([1.0, 0.5, 2.0]),
        "gradient": lambda: np.eye(3),
    },
    "linnet_fast.layers.Convolution": {"out_channels": lambda: 2},
    "linnet_fast.layers.Sum": {"layers": lambda: [layers.Dense(3, 3), layers.Diagonal(3)]},
    "linnet_fast.initialization.aligned": {"loss": commuting, "scale_of": lambda: "product"},
    "linnet_fast.initialization.custom": {
        "function": lambda: lambda network, _: [np.ones(shape) for shape in network.shapes],
    },
    "linnet_fast.initialization.gaussian": {"fan": lambda: "in"},
    "linnet_fast.initialization.lambda_balanced": {"imbalance": lambda: 0.0},
    "linnet_fast.initialization.spectral": {"singular_values": lambda: [1.0]},
    "linnet_fast.regularizers.InfimalConvolution": {
        "first": regularizers.L1,
        "second": regularizers.SquaredL2,
    },
    "linnet_fast.regularizers.Atomic": {
        "atoms": lambda: np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    },
    "linnet_fast.regularizers.NuclearNorm": {
        "x": lambda: np.array([[1.0, 0.5], [0.25, -1.0]]),
        "z": lambda: np.array([[0.25, 0.125], [0.0, 0.25]]),
    },
    "linnet_fast.regularizers.SchattenP": {
        "p": lambda: 0.5,
        "x": lambda: np.array([[1.0, 0.5], [0.25, -1.0]]),
        "z": lambda: np.array([[0.25, 0.125], [0.0, 0.25]]),
    },
    "linnet_fast.regularizers.GroupLasso": {"weights": lambda: np.array([1.0, 2.0])},
    "linnet_fast.regularizers.ElasticNet": {
        "X": lambda: np.ones((3, 4)),
        "y": lambda: np.array([[1.0], [0.5], [2.0]]),
        "weights": lambda: predictor() / 2,
    },
    "linnet_fast.regularizers.FourierLp": {"p": lambda: 0.5},
    "linnet_fast.regularizers.MixedGroup": {"power": lambda: 1.0, "p": lambda: 2.0},
    "linnet_fast.rank_dynamics.summary": {"fraction": lambda: 0.5},
    "linnet_fast.rank_dynamics.stages": {"flatness": lambda: 0.25},
    "linnet_fast.rank_dynamics.minimum_sharpness": {"rcond": lambda: 1e-10},
    "linnet_fast.rank_dynamics.aligned_hessian_eigenvalues": {
        "first": lambda: np.array([0.5, 0.25]),
        "second": lambda: np.array([0.5, 0.25]),
    },
    "linnet_fast.rank_dynamics.sharpness": {"weights": aligned},
    "linnet_fast.rank_dynamics.descent_bounds": {"steps": lambda: [[0], [2], [5]]},
    "linnet_fast.rank_dynamics.escape_time": {"n_layers": lambda: 3},
    "linnet_fast.directional_convergence.deep_flow_angle_bounds": {"n_layers": lambda: 3},
    "linnet_fast.rank_dynamics.learning_steps": {
        "step_size": lambda: 0.05,
        "momentum": lambda: 0.5,
    },
    "linnet_fast.rank_dynamics.largest_step_size": {
        "sharpness": lambda: 4.0,
        "momentum": lambda: 0.5,
    },
    "linnet_fast.rank_dynamics.one_layer_descent": {"start": lambda: np.zeros((2, 3))},
    "linnet_fast.rank_dynamics.one_layer_flow": {"start": lambda: np.zeros((2, 3))},
    "linnet_fast.rank_dynamics.one_layer_limit": {"start": lambda: np.zeros((2, 3))},
    "linnet_fast.directional_convergence.crossover": {"margin": lambda: 0.25},
    "linnet_fast.directional_convergence.max_margin": {
        "X": lambda: np.array([[1.0, 0.5, 0.25], [-1.0, 0.25, 0.5]]),
        "y": lambda: [1, 0],
        "n_classes": lambda: 3,
    },
    "linnet_fast.directional_convergence.OppositePair": {
        "slope": lambda: 0.25,
        "time": lambda: np.array([0.5, 2.0]),
        "predictor": lambda: np.array([1.0, 0.5, 0.25]),
        "weights": lambda: lf.directional_convergence.OppositePair(0.25).start(
            np.array([1.0, 0.5, 0.25])
        ),
        "X": lambda: np.array([[1.0, 0.5, 0.25], [-1.0, 0.25, 0.5]]),
    },
    "linnet_fast.directional_convergence.small_norm_orbit": {"at": lambda: -1.0},
    "linnet_fast.directional_convergence.large_norm_orbit": {
        "at": lambda: -1.0,
        "norm": lambda: 100.0,
    },
    "linnet_fast.directional_convergence.time_to_angle": {
        "start_angle": lambda: 1.0,
        "start_log_tan_half_angle": lambda: 0.5,
        "angle": lambda: 0.25,
        "log_tan_half_angle": lambda: -2.0,
    },
    "linnet_fast.directional_convergence.descent_law": {},
    "linnet_fast.directional_convergence.falling_time_bound": {"log_tan_half_angle": lambda: 1.0},
    "linnet_fast.plot": {
        "run": lambda: (),
        "trajectory": trajectory,
        "loss": commuting,
        "n_modes": lambda: 1,
        "relative": lambda: True,
        "rescaled": lambda: True,
        "theory": lambda: False,
        "of": lambda: "final_loss",
        "select": lambda: {"seed": 0},
        "exponent": lambda: 2.0,
    },
    "linnet_fast.plot.curves": {"x": lambda: "scale", "by": lambda: "seed"},
    "linnet_fast.plot.grid": {
        "columns": lambda: "seed",
        "rows": lambda: None,
        "x": lambda: "scale",
        "by": lambda: None,
        "select": dict,
    },
    "linnet_fast.plot.heatmap": {"x": lambda: "scale", "y": lambda: "seed", "select": dict},
    "linnet_fast.plot.direction": {"trajectory": direction_trajectory},
    "linnet_fast.plot.page": {"file": lambda: place("page.html"), "title": lambda: "runs"},
    "linnet_fast.plot.overlaps": {"name": lambda: "overlap_2"},
    "linnet_fast.plot.loss": {"levels": lambda: np.array([0.5])},
    "linnet_fast.plot.stages": {"trajectory": trajectories, "scales": lambda: np.array([0.1, 0.2])},
    "linnet_fast.plot.path_distance": {
        "norm": lambda: "prediction",
        "path": lambda: "reduced_rank",
    },
    "linnet_fast.plot.phase_portrait": {
        "largest_norm": lambda: 2.0,
        "runs": direction_trajectory,
    },
    "linnet_fast.plot.step_size_regimes": {
        "marks": lambda: np.array([0.5]),
        "n_points": lambda: 50,
    },
    "linnet_fast.reference.observe": {"name": lambda: "loss"},
    "linnet_fast.datasets.load": {"source": lambda: "iris", "targets": lambda: "auto"},
    "linnet_fast.sklearn.ReducedRankRegression": {
        "X": lambda: SAMPLES,
        "y": lambda: SAMPLES[:, :2],
        "ridge": lambda: 0.5,
    },
}
"""Beginning of a callable's name -> what is right there, in place of what is right elsewhere."""


def _fitted():
    from linnet_fast.sklearn import ReducedRankRegression

    return ReducedRankRegression(1).fit(SAMPLES, SAMPLES[:, :2])


INSTANCES = {
    "linnet_fast.InducedRegularizer": lambda: lf.what_is(lf.Diagonal(4, 2)),
    "linnet_fast.Trajectory": trajectory,
    "linnet_fast.State": lambda: trajectory().final,
    "linnet_fast.SweepSpec": spec,
    "linnet_fast.layers.Pattern": pattern,
    "linnet_fast.directional_convergence.LateTimeLaw": lambda: (
        lf.directional_convergence.late_time_law(law(), 2)
    ),
    "linnet_fast.directional_convergence.DescentLaw": lambda: (
        lf.directional_convergence.descent_law(law(), lf.StepRule.power(0.5, 0.25))
    ),
    "linnet_fast.directional_convergence.MarginLaw": lambda: lf.directional_convergence.margin_law(
        np.array([0.5, 0.25]), 2
    ),
    "linnet_fast.sklearn.ReducedRankRegression": _fitted,
    "linnet_fast.Record": lambda: lf.Record.geomspace(3),
}
"""Class -> function that makes an instance, where the constructor is not the way."""

PARTNERS = (
    {"angle", "log_tan_half_angle"},
    {"to_angle", "to_log_tan_half_angle"},
    {"start_angle", "start_log_tan_half_angle"},
    {"strength", "log_strength"},
    {"kernel_size", "taps"},
    {"n_steps", "until"},
)
"""Of which at most one may be given."""
