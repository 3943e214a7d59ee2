"""Bad arguments: one table for train() and what it takes, one for the compiled core itself."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from support import make_loss, make_start, python

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast._base import memory

INF, NAN = np.inf, np.nan
RUN = lf.train(
    lf.Dense((3, 2)),
    make_loss((3, 2)),
    make_start((3, 2), (2,)),
    method=lf.GradientDescent(0.1),
    n_steps=4,
)


def train(**changes):
    """Train a (3, 2) network of two runs, with the named arguments of any of its parts changed."""
    a = {
        "widths": (3, 2),
        "input_cov": np.eye(3),
        "cross_cov": np.zeros((2, 3)),
        "output_power": 1.0,
        "start": (np.ones((2, 2, 3)),),
        "step_size": 0.1,
        "weight_decay": 0.0,
        "layer_multipliers": None,
        "n_steps": 4,
        "every": 1,
        "observables": ("loss",),
        "stop_loss": 0.0,
        "stop_gradient_norm": None,
        "check_every": 1,
        "n_threads": 1,
        "progress": False,
        "dtype": None,
    } | changes
    whole = changes.get
    return lf.train(
        whole("network") or lf.Dense(a["widths"]),
        whole("loss") or lf.SquaredLoss(a["input_cov"], a["cross_cov"], a["output_power"]),
        a["start"],
        method=whole("method")
        or lf.GradientDescent(a["step_size"], a["weight_decay"], a["layer_multipliers"]),
        n_steps=a["n_steps"],
        record=whole("record") or lf.Record.every(a["every"], a["observables"]),
        stop=whole("stop") or lf.Stop(a["stop_loss"], a["stop_gradient_norm"], a["check_every"]),
        n_threads=a["n_threads"],
        progress=a["progress"],
        dtype=a["dtype"],
    )


def ones(*shape):
    return np.ones(shape)


def bad_entry(shape, value):
    array = np.ones(shape)
    array.flat[-1] = value
    return array


TABLE = [
    # argument, bad value, exception, message
    ("widths", (3,), ValueError, r"widths must have at least 2 entries .*, got \(3,\)"),
    ("widths", (), ValueError, "at least 2 entries"),
    ("widths", (3, 0), ValueError, r"widths\[1\] must be >= 1, got 0"),
    ("widths", (-3, 2), ValueError, r"widths\[0\] must be >= 1, got -3"),
    ("widths", (3.0, 2), TypeError, r"widths\[0\] must be an integer, got float 3.0"),
    ("widths", (True, 2), TypeError, r"widths\[0\] must be an integer, got bool"),
    ("widths", 3, TypeError, "widths must be a sequence of integers, got int 3"),
    ("widths", "32", TypeError, "widths must be a sequence"),
    ("widths", (2**31, 2), ValueError, r"widths\[0\] must be <= 2147483647"),
    ("widths", (2**64, 2), ValueError, r"widths\[0\] must be <= 2147483647"),
    ("widths", (2**31 - 1, 2**31 - 1, 3), ValueError, r"fewer than 2\*\*62 weights, got 4611686"),
    ("widths", (3, 5), ValueError, r"loss must match .* \(3, 5\), got 3 inputs and 2 outputs"),
    ("widths", (3, 4, 2), ValueError, "start must have 2 arrays, one per layer, got 1"),
    ("network", (3, 2), TypeError, "network must be a Chain, got tuple"),
    ("loss", 0.5, TypeError, "loss must be one of SquaredLoss, SampledSquaredLoss, .*, got float"),
    ("input_cov", ones(3), ValueError, r"input_cov must have shape \(\*run, in, in\), got \(3,\)"),
    ("input_cov", ones(3, 2), ValueError, r"input_cov must have shape .*, got \(3, 2\)"),
    ("input_cov", np.eye(4), ValueError, r"cross_cov must have shape \(\*run, out, 4\), got \(2, 3\)"),
    ("input_cov", -np.eye(3), ValueError, "input_cov must have a non-negative diagonal, got -1"),
    ("input_cov", np.triu(ones(3, 3)), ValueError, "input_cov must be symmetric"),
    ("input_cov", bad_entry((3, 3), NAN), ValueError, r"input_cov must be finite, got nan at index \(2, 2\)"),
    ("input_cov", np.eye(3) * 1j, TypeError, "input_cov must be a real number or .*complex128"),
    ("input_cov", np.eye(3, dtype=bool), TypeError, "input_cov must be .*, got dtype bool"),
    ("input_cov", np.eye(3, dtype=object), TypeError, "input_cov must be a real number"),
    ("input_cov", "abc", TypeError, "input_cov must be a real number"),
    ("input_cov", [[1.0, 2.0], [1.0]], ValueError, "input_cov must be .*regular array"),
    ("input_cov", np.ma.masked_array(np.eye(3)), TypeError, "input_cov must be a plain array"),
    ("input_cov", np.zeros((0, 3, 3)), ValueError, "input_cov must not be empty"),
    ("input_cov", ones(3, 3, 3), ValueError, r"run axes must broadcast with each other, got .*\(3,\)"),
    ("cross_cov", ones(2, 4), ValueError, r"cross_cov must have shape \(\*run, out, 3\), got \(2, 4\)"),
    ("cross_cov", bad_entry((2, 3), INF), ValueError, r"cross_cov must be finite, got inf at"),
    ("cross_cov", ones(5, 3), ValueError, "loss must match .*3 inputs and 5 outputs"),
    ("output_power", -1.0, ValueError, "output_power must be >= 0, got -1"),
    ("output_power", NAN, ValueError, "output_power must be finite, got nan"),
    ("output_power", ones(3), ValueError, "run axes must broadcast with each other"),
    ("start", ones(2, 3), TypeError, "start must be a tuple of 1 arrays, got ndarray"),
    ("start", (), ValueError, "start must have 1 arrays, one per layer, got 0"),
    ("start", (ones(3, 2),), ValueError, r"start\[0\] must have shape \(2, 3\), got \(3, 2\)"),
    ("start", (ones(4, 3, 2),), ValueError, r"start\[0\] must have shape \(\*run, 2, 3\), got \(4, 3, 2\)"),
    ("start", (ones(3),), ValueError, r"start\[0\] must have shape \(2, 3\), got \(3,\)"),
    ("start", (bad_entry((2, 3), NAN),), ValueError, r"start\[0\] must be finite, got nan at index \(1, 2\)"),
    ("start", (bad_entry((2, 3), -INF),), ValueError, r"start\[0\] must be finite, got -inf"),
    ("start", (ones(2, 3) * 1j,), TypeError, r"start\[0\] must be a real number"),
    ("start", (None,), TypeError, r"start\[0\] must be a real number .*NoneType"),
    ("start", None, TypeError, "start must be a tuple of 1 arrays, got NoneType"),
    ("start", (np.zeros((0, 2, 3)),), ValueError, r"start\[0\] must not be empty"),
    ("start", lf.train(lf.Dense((2, 3)), make_loss((2, 3)), make_start((2, 3)),
                       method=lf.GradientDescent(0.1), n_steps=0).final,
     ValueError, r"state must have layers of shapes \(\(2, 3\),\), got \(\(3, 2\),\)"),
    ("step_size", 0.0, ValueError, "step_size must be > 0, got 0"),
    ("step_size", -0.1, ValueError, "step_size must be > 0, got -0.1"),
    ("step_size", [0.1, 0.0], ValueError, r"step_size must be > 0, got 0.0 at index \(1,\)"),
    ("step_size", NAN, ValueError, "step_size must be finite, got nan"),
    ("step_size", INF, ValueError, "step_size must be finite, got inf"),
    ("step_size", "0.1", TypeError, "step_size must be a real number"),
    ("step_size", None, TypeError, "step_size must be a real number"),
    ("step_size", True, TypeError, "step_size must be a real number"),
    ("step_size", [0.1, 0.1, 0.1], ValueError, r"run axes must broadcast .* start \(2,\), method \(3,\)"),
    ("weight_decay", -1e-300, ValueError, "weight_decay must be >= 0, got -1e-300"),
    ("weight_decay", NAN, ValueError, "weight_decay must be finite"),
    ("weight_decay", ones(3), ValueError, "run axes must broadcast"),
    ("layer_multipliers", ones(2), ValueError, r"layer_multipliers must have shape \(\*run, 1\), one per layer, got \(2,\)"),
    ("layer_multipliers", 1.0, ValueError, r"layer_multipliers must have shape \(\*run, n_arrays\), got \(\)"),
    ("layer_multipliers", [-1.0], ValueError, "layer_multipliers must be >= 0"),
    ("layer_multipliers", [INF], ValueError, "layer_multipliers must be finite"),
    ("method", 0.1, TypeError, "method must be one of GradientDescent, StochasticGradientDescent, GradientFlow, Adam, .*, got float"),
    ("n_steps", -1, ValueError, "n_steps must be >= 0, got -1"),
    ("n_steps", 2**63, ValueError, "n_steps must be <= 4611686018427387904, got 9223372036854775808"),
    ("n_steps", 10**30, ValueError, "n_steps must be <= 4611686018427387904"),
    ("n_steps", 1.0, TypeError, "n_steps must be an integer, got float 1.0"),
    ("n_steps", True, TypeError, "n_steps must be an integer, got bool True"),
    ("n_steps", None, TypeError, "n_steps must be given with GradientDescent"),
    ("n_steps", "10", TypeError, "n_steps must be an integer, got str '10'"),
    ("record", 10, TypeError, "record must be a Record, got int"),
    ("every", 0, ValueError, "k must be >= 1, got 0"),
    ("every", 0.5, TypeError, "k must be an integer"),
    ("record", lambda: lf.Record.at([0, 5]), ValueError, r"steps must lie within this training, 0 ... 4, got 5"),
    ("record", lambda: lf.Record.at([-1]), ValueError, r"steps\[0\] must be >= 0"),
    ("record", lambda: lf.Record.at([2, 2]), ValueError, "strictly increasing, got 2 before 2"),
    ("record", lambda: lf.Record.at([]), ValueError, "at least one step"),
    ("record", lambda: lf.Record.geomspace(1), ValueError, "n must be >= 2, got 1"),
    ("observables", ("los",), ValueError, r"observables\[0\] must be one of loss, .*; got 'los'; did you mean 'loss'"),
    ("observables", ("loss", "loss"), ValueError, "observables must name each observable once"),
    ("observables", "loss", TypeError, r"observables must be a tuple of names such as \('loss',\)"),
    ("observables", (), ValueError, "observables must name at least one"),
    ("observables", (1,), TypeError, r"observables\[0\] must be a string"),
    ("stop", 0.1, TypeError, "stop must be a Stop, got float"),
    ("stop", lf.Stop, ValueError, "loss, gradient_norm, evaluate, below or above must be given"),
    ("stop_loss", -1.0, ValueError, "loss must be >= 0"),
    ("stop_loss", NAN, ValueError, "loss must be finite"),
    ("stop_loss", ones(3), ValueError, r"run axes must broadcast .* stop \(3,\)"),
    ("stop_gradient_norm", -1.0, ValueError, "gradient_norm must be >= 0"),
    ("check_every", 0, ValueError, "check_every must be >= 1, got 0"),
    ("check_every", 1.5, TypeError, "check_every must be an integer"),
    ("n_threads", 0, ValueError, "n_threads must be >= 1, got 0"),
    ("n_threads", -2, ValueError, "n_threads must be >= 1, got -2"),
    ("n_threads", 2**40, ValueError, "n_threads must be <= 32768"),
    ("n_threads", 1.0, TypeError, "n_threads must be an integer"),
    ("n_threads", True, TypeError, "n_threads must be an integer, got bool"),
    ("progress", "yes", TypeError, "progress must be a bool or a callable, got str"),
    ("progress", None, TypeError, "progress must be a bool or a callable, got NoneType"),
    ("dtype", np.float16, ValueError, "dtype must be float64 or float32, got"),
    ("dtype", "complex128", ValueError, "dtype must be float64 or float32"),
    ("dtype", int, ValueError, "dtype must be float64 or float32"),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "value", "exception", "message"), TABLE)
def test_bad_argument(argument, value, exception, message):
    with pytest.raises(exception, match=message) as info:
        train(
            **{argument: value() if callable(value) and argument in ("record", "stop") else value}
        )
    assert type(info.value) is exception
    train()  # as good as ever


CONTINUED = [
    ({"step_size": [0.1, 0.1, 0.1]}, r"method must have run axes that broadcast to .*\(2,\), got \(3,\)"),
    ({"step_size": np.ones((2, 1))}, r"method must have run axes that broadcast to .*\(2,\), got \(2, 1\)"),
    ({"stop_loss": np.zeros(5)}, r"stop must have run axes that broadcast to .*\(2,\), got \(5,\)"),
    ({"output_power": np.ones(3)}, r"loss must have run axes that broadcast to .*\(2,\), got \(3,\)"),
    ({"dtype": np.float32}, "dtype must be float64 to continue a training in float64, got float32"),
    ({"n_steps": 2**62}, "n_steps must be <= 4611686018427387900, got 4611686018427387904"),
    ({"record": lf.Record.at([3])}, r"steps must lie within this training, 4 ... 8, got 3"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CONTINUED)
def test_bad_argument_of_a_continued_training(changes, message):
    with pytest.raises(ValueError, match=message):
        train(start=RUN.final, **changes)


def test_a_continued_state_must_be_finite_where_it_goes_on():
    weights = (np.full((2, 3), NAN),)
    with pytest.raises(ValueError, match="finite"):
        lf.State(weights, 5, np.array(0, np.int8), np.array(5))
    lf.State(weights, 5, np.array(lf.Status.DIVERGED, np.int8), np.array(5))


def test_progress_without_tqdm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="extra progress"):
        train(progress=True)


# --- the compiled core, called past the front door -------------------------------------------------


ABSENT = object()


SQUARED = {
    "name": "squared",
    "input_cov": np.ones((2, 3, 3)),
    "cross_cov": np.ones((2, 2, 3)),
    "minimizer": np.ones((2, 2, 3)),
    "factor": np.ones((2, 4, 3)),
    "scales": None,
    "least_loss": np.ones(2),
}
LOGISTIC = {
    "name": "logistic",
    "label_noise": None,
    "n_samples": 5,
    "inputs": np.ones((2, 3, 16)),
    "single_inputs": None,
    "targets": np.ones((2, 1, 16)),
    "single_targets": None,
    "n_soft": None,
}
SPHERICAL = {
    "name": "spherical",
    "label_noise": None,
    "law": tuple(lf.laws.Sphere(3).table),
    "direction": np.full((2, 3), 3**-0.5),
}


def given(arguments):
    return {name: value for name, value in arguments.items() if value is not ABSENT}


def call_core(**changes):
    """Call the core; changes of the fields of the squared loss, and of the other arguments."""
    of_loss = {name: changes.pop(name) for name in list(changes) if name in SQUARED}
    arguments = {
        "factors": [(4, 3, 0, False, 1.0), (2, 4, 1, False, 1.0)],
        "shapes": [(4, 3), (2, 4)],
        "run_shape": [2],
        "weights": [np.ones((2, 4, 3)), np.ones((2, 2, 4))],
        "loss": given(SQUARED | of_loss),
        "step_size": np.full((2, 2), 0.1),
        "weight_decay": np.zeros((2, 2)),
        "stop_loss": None,
        "stop_gradient_norm": None,
        "check_every": 1,
        "first_step": 0,
        "n_steps": 2,
        "ended": None,
        "record_steps": [0, 2],
        "observables": {"loss"},
        "n_threads": 1,
        "progress": None,
    } | changes
    return _core.train(**given(arguments))


def strided(*shape):
    return np.ones((*shape[:-1], 2 * shape[-1]))[..., ::2]


def entries(rows, columns, array, *, row=0, column=0, weight=0, coefficient=1.0):
    """Return a factor with one entry, as the core takes it."""
    lists = [np.array([x], np.int32) for x in (row, column, weight)]
    return (rows, columns, array, (*lists, np.array([coefficient])))


CORE_TABLE = [
    ("factors", [], ValueError, "at least one factor"),
    ("factors", [(4, 3, 0, False, 1.0)], ValueError, "every array must belong to a factor"),
    ("factors", [(0, 3, 0, False, 1.0), (2, 0, 1, False, 1.0)], ValueError, "widths must be positive, got 0"),
    ("factors", [(4, 3, 0, False, 1.0), (2, 5, 1, False, 1.0)], ValueError, "as many columns as"),
    ("factors", [(4, 3, 0, False, 1.0), (2, 4, 2, False, 1.0)], ValueError, "array does not exist"),
    ("factors", [(4, 3, 0, True, 1.0), (2, 4, 1, False, 1.0)], ValueError, "must be square"),
    ("factors", [(3, 4, 0, False, 1.0), (2, 3, 1, False, 1.0)], ValueError, "an array of its shape"),
    ("factors", [entries(4, 3, 0, row=4), (2, 4, 1, False, 1.0)], ValueError, "out of range"),
    ("factors", [entries(4, 3, 0, column=-1), (2, 4, 1, False, 1.0)], ValueError, "out of range"),
    ("factors", [entries(4, 3, 0, weight=12), (2, 4, 1, False, 1.0)], ValueError, "out of range"),
    ("factors", [entries(4, 3, 0, coefficient=np.nan), (2, 4, 1, False, 1.0)], ValueError, "out of range"),
    ("factors", [(2**31, 3, 0, ((0,), (0,), (0,), (1.0,))), (2, 2**31, 1, False, 1.0)], ValueError, "an array of its shape"),
    ("factors", [(2**70, 3, 0, False, 1.0)], RuntimeError, "Unable to cast"),
    ("factors", None, TypeError, "incompatible function arguments"),
    ("shapes", [(4, 3), (2, 0)], ValueError, "extents of weights must be positive"),
    ("shapes", [(2**40, 2**40), (2, 4)], ValueError, "weights are too many"),
    ("shapes", [(12,), (2, 4)], ValueError, r"weights\[0\] must have shape \(2, 12\), got \(2, 4, 3\)"),
    ("shapes", [(4, 3)], ValueError, "array does not exist"),
    ("run_shape", [3], ValueError, r"must have shape \(3, 4, 3\), got \(2, 4, 3\)"),
    ("run_shape", [-2], ValueError, "run_shape must not be negative"),
    ("run_shape", [], ValueError, r"must have shape \(4, 3\), got \(2, 4, 3\)"),
    ("run_shape", [2**40, 2**40], ValueError, "must have shape"),
    ("weights", [], ValueError, "weights must have one array per shape"),
    ("weights", [np.ones((2, 4, 3)), np.ones((2, 2, 4), np.float32)], TypeError, r"weights\[1\] must have dtype float64, got float32"),
    ("weights", [np.ones((2, 4, 3), np.float32), np.ones((2, 2, 4))], TypeError, r"weights\[1\] must have dtype float32, got float64"),
    ("weights", [np.ones((2, 4, 3), int), np.ones((2, 2, 4), int)], TypeError, r"weights\[0\] must have dtype float64, got int"),
    ("weights", [np.ones((2, 4, 3), ">f8"), np.ones((2, 2, 4))], TypeError, r"weights\[0\] must have dtype float64, got >f8"),
    ("weights", [strided(2, 4, 3), np.ones((2, 2, 4))], ValueError, r"weights\[0\] must be contiguous within a run"),
    ("weights", [np.ones((2, 3, 4)).mT, np.ones((2, 2, 4))], ValueError, r"weights\[0\] must be contiguous within a run"),
    ("weights", [[[1.0]], [[1.0]]], TypeError, "incompatible function arguments"),
    ("input_cov", np.ones((2, 3, 3), np.float32), TypeError, "input_cov must have dtype float64, got float32"),
    ("input_cov", np.ones((3, 3)), ValueError, r"input_cov must have shape \(2, 3, 3\), got \(3, 3\)"),
    ("input_cov", np.broadcast_to(1.0, (2, 3, 3)), ValueError, "input_cov must be contiguous within a run"),
    ("input_cov", None, ValueError, "a squared loss needs input_cov"),
    ("cross_cov", ABSENT, ValueError, "a squared loss needs cross_cov"),
    ("cross_cov", np.ones((2, 3, 2)), ValueError, r"cross_cov must have shape \(2, 2, 3\), got \(2, 3, 2\)"),
    ("least_loss", np.ones(3), ValueError, r"least_loss must have shape \(2,\), got \(3,\)"),
    ("least_loss", 1.0, TypeError, "least_loss must be an array, got float"),
    ("minimizer", None, ValueError, "a squared loss needs minimizer"),
    ("factor", np.ones((2, 3, 3)), ValueError, "factor must be padded to a multiple of 4 rows"),
    ("factor", np.ones((2, 4, 2)), ValueError, "factor must have shape"),
    ("factor", None, ValueError, "a squared loss needs either factor or scales"),
    ("scales", np.ones((2, 3)), ValueError, "a squared loss needs either factor or scales"),
    ("loss", None, TypeError, "incompatible function arguments"),
    ("loss", ABSENT, TypeError, "incompatible function arguments"),
    ("loss", {}, ValueError, "loss must have a name"),
    ("loss", SQUARED | {"name": 3}, TypeError, "name must be a str, got int"),
    ("loss", SQUARED | {"name": "cubic"}, ValueError, "loss must be one of squared, .*, got 'cubic'"),
    ("loss", SQUARED | {"inputs": None}, ValueError, "a squared loss has no field 'inputs'"),
    ("loss", SQUARED | {3: None}, ValueError, "a squared loss has no field '3'"),
    ("loss", LOGISTIC, ValueError, r"targets must have shape \(2, 2, 16\), got \(2, 1, 16\)"),
    ("loss", SPHERICAL, ValueError, "a spherical loss needs one output, got 2"),
    ("step_size", np.ones(2), ValueError, r"step_size must have shape \(2, 2\), got \(2,\)"),
    ("weight_decay", np.zeros((2, 2), np.float32), TypeError, "weight_decay must have dtype float64"),
    ("weight_decay", np.frombuffer(bytes(33), np.float64, 4, 1).reshape(2, 2), ValueError, "weight_decay is not aligned"),
    ("stop_loss", np.zeros(3), ValueError, r"stop_loss must have shape \(2,\), got \(3,\)"),
    ("stop_gradient_norm", np.zeros(2, int), TypeError, "stop_gradient_norm must have dtype float64"),
    ("check_every", 0, ValueError, "check_every must be at least 1, got 0"),
    ("check_every", -5, ValueError, "check_every must be at least 1, got -5"),
    ("first_step", -1, ValueError, "first_step and n_steps must not be negative"),
    ("n_steps", -1, ValueError, "first_step and n_steps must not be negative"),
    ("n_steps", 2**63 - 1, ValueError, "n_steps is too large"),
    ("n_steps", 2**63, TypeError, "incompatible function arguments"),
    ("n_steps", 1.5, TypeError, "incompatible function arguments"),
    ("ended", np.zeros(3, np.int8), ValueError, r"ended must be a contiguous array of shape \(2,\)"),
    ("ended", np.zeros(2, np.int64), TypeError, "incompatible function arguments"),
    ("ended", np.zeros(4, np.int8)[::2], ValueError, "ended must be a contiguous array"),
    ("record_steps", [2, 1], ValueError, "record_steps must increase"),
    ("record_steps", [1, 1], ValueError, "record_steps must increase"),
    ("record_steps", [3], ValueError, "record_steps must increase and lie within"),
    ("record_steps", [-1], ValueError, "record_steps must increase and lie within"),
    ("record_steps", [2**63 - 1], ValueError, "record_steps must increase and lie within"),
    ("observables", {"los"}, ValueError, "unknown observable 'los'"),
    ("observables", {1}, TypeError, "incompatible function arguments"),
    ("n_threads", 0, ValueError, "n_threads must be at least 1, got 0"),
    ("n_threads", -1, ValueError, "n_threads must be at least 1, got -1"),
    ("n_threads", 2**40, TypeError, "incompatible function arguments"),
    ("n_steps", ABSENT, TypeError, "incompatible function arguments"),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "value", "exception", "message"), CORE_TABLE)
def test_core_refuses(argument, value, exception, message):
    with pytest.raises(exception, match=message):
        call_core(**{argument: value})
    assert np.isfinite(call_core()["observables"]["loss"]).all()


DRAWN = {
    "schedule": [(0, 4)],
    "replace": True,
    "seed": 0,
    "streams": np.zeros(2, np.int64),
    "label_noise_std": None,
    "law": 0,
    "radii": [1.0],
    "cumulative": [1.0],
}


def call_core_binary(loss=None, draws=(), rule=(), **changes):
    """Call the core with a loss of one output, and changes of the other arguments."""
    drawn = DRAWN | dict(draws)
    stepped = [1, np.ones(2), np.zeros((2, 5)), np.zeros(2)]
    for place, value in dict(rule).items():
        stepped[place] = value
    defaults = {
        "factors": [(1, 3, 0, False, 1.0)],
        "shapes": [(1, 3)],
        "weights": [np.ones((2, 1, 3))],
        "loss": LOGISTIC if loss is None else given(loss),
        "step_size": np.full((2, 1), 0.1),
        "weight_decay": np.zeros((2, 1)),
        "draws": drawn,
        "rule": tuple(stepped),
        "direction": np.full((2, 3), 3**-0.5),
        "observables": {"loss", "angle", "margin"},
    }
    return call_core(**defaults | changes)


TABLE_10 = list(lf.laws.Sphere(3).table)
CORE_BINARY_TABLE = [
    ({"loss": LOGISTIC | {"name": "logistics"}}, ValueError, "loss must be one of .*, got 'logistics'"),
    ({"loss": LOGISTIC | {"inputs": np.ones((2, 3, 15)), "targets": np.ones((2, 1, 15))}}, ValueError, "padded to a multiple of 16"),
    ({"loss": LOGISTIC | {"targets": np.ones((2, 1, 32))}}, ValueError, r"targets must have shape \(2, 1, 16\)"),
    ({"loss": LOGISTIC | {"n_samples": 17}}, ValueError, "padded to a multiple of 16"),
    ({"loss": LOGISTIC | {"n_samples": 0}}, ValueError, "n_samples must be at least 1, got 0"),
    ({"loss": LOGISTIC | {"n_samples": 5.0}}, TypeError, "n_samples must be an integer, got float"),
    ({"loss": LOGISTIC | {"n_samples": 2**70}}, RuntimeError, "Unable to cast"),
    ({"loss": LOGISTIC | {"n_samples": ABSENT}}, ValueError, "a logistic loss needs n_samples"),
    ({"loss": LOGISTIC | {"law": TABLE_10}}, ValueError, "a logistic loss has no field 'law'"),
    ({"loss": LOGISTIC | {"inputs": [[1.0]]}}, TypeError, "inputs must be an array, got list"),
    ({"loss": LOGISTIC | {"inputs": np.ones((2, 4, 16))}}, ValueError, "inputs must have shape"),
    ({"loss": LOGISTIC | {"inputs": np.ones((3, 16))}}, ValueError, "inputs must have 3 axes"),
    ({"loss": LOGISTIC | {"inputs": np.array(1.0)}}, ValueError, r"inputs must have 3 axes, got shape \(\)"),
    ({"loss": LOGISTIC | {"inputs": np.ones((2, 3, 16), np.float32)}}, TypeError, "inputs must have dtype float64"),
    ({"loss": LOGISTIC | {"label_noise": np.ones(3)}}, ValueError, "label_noise must have shape"),
    ({"loss": SPHERICAL | {"law": None}}, ValueError, "a spherical loss needs law"),
    ({"loss": SPHERICAL | {"law": (*TABLE_10[:9],)}}, ValueError, "10 fields"),
    ({"loss": SPHERICAL | {"law": (*TABLE_10[:3], 0.3, *TABLE_10[4:])}}, ValueError, "powers of two"),
    ({"loss": SPHERICAL | {"law": TABLE_10}}, TypeError, "law must be a tuple, got list"),
    ({"loss": SPHERICAL | {"direction": np.ones((2, 2))}}, ValueError, "direction must have shape"),
    ({"weights": [np.ones((2, 1, 3), np.float32)]}, ValueError, "needs single_inputs for runs in single precision"),
    ({"loss": LOGISTIC | {"single_inputs": np.ones((2, 3, 16))}}, TypeError, "single_inputs must have dtype float32"),
    ({"draws": {"schedule": [(0, 0)]}}, ValueError, "batch_size is out of range"),
    ({"draws": {"schedule": [(0, -1)]}}, ValueError, "batch_size is out of range"),
    ({"draws": {"schedule": [(0, 2**32)]}}, ValueError, "batch_size is out of range"),
    ({"draws": {"schedule": [(1, 4)]}}, ValueError, "a size must be given from step 0 on"),
    ({"draws": {"schedule": [(0, 4), (0, 5)]}}, ValueError, "steps of sizes must increase"),
    ({"draws": {"schedule": 4}}, RuntimeError, "Unable to cast"),
    ({"draws": {"replace": "no"}}, RuntimeError, "Unable to cast"),
    ({"draws": {"seed": -1}}, RuntimeError, "Unable to cast"),
    ({"draws": {"streams": np.zeros(3, np.int64)}}, ValueError, "streams must have shape"),
    ({"draws": {"streams": np.zeros(2)}}, TypeError, "streams must have dtype int64"),
    ({"draws": {"label_noise_std": np.zeros(3)}}, ValueError, "label_noise_std must have shape"),
    ({"draws": {"law": 4}}, ValueError, "unknown law"),
    ({"draws": {"law": -1}}, ValueError, "unknown law"),
    ({"draws": {"radii": []}}, ValueError, "a law needs radii and their probabilities"),
    ({"draws": {"cumulative": [0.5, 1.0]}}, ValueError, "a law needs radii and their probabilities"),
    ({"draws": {"replace": False}, "loss": SPHERICAL, "observables": {"loss"}}, ValueError, "drawn with replacement"),
    ({"draws": {"schedule": []}, "loss": SPHERICAL, "observables": {"loss"}}, ValueError, "drawn with replacement"),
    ({"rule": {0: 0}}, ValueError, "unknown step rule"),
    ({"rule": {0: 10}}, ValueError, "unknown step rule"),
    ({"rule": {0: 6}}, ValueError, "alignment|law"),
    ({"rule": {1: np.ones(3)}}, ValueError, "must have shape"),
    ({"rule": {2: np.ones((2, 3))}}, ValueError, "too few parameters"),
    ({"rule": {3: np.ones(2, int)}}, TypeError, "elapsed must have dtype float64"),
    ({"direction": None}, ValueError, "needs a direction"),
    ({"direction": np.ones((2, 4))}, ValueError, "direction must have shape"),
    ({"observables": {"margins"}}, ValueError, "unknown observable 'margins'"),
    ({"loss": SPHERICAL}, ValueError, "margin needs samples with labels, and a spherical loss has none"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "exception", "message"), CORE_BINARY_TABLE)
def test_core_refuses_of_one_output(changes, exception, message):
    with pytest.raises(exception, match=message):
        call_core_binary(**changes)
    result = call_core_binary()
    assert np.isfinite(result["observables"]["margin"]).all()
    assert result["elapsed"].shape == (2,)


ENTRIES = {
    "name": "completion",
    "rows": np.array([[0, 1]] * 2),
    "cols": np.array([[0, 2]] * 2),
    "values": np.ones((2, 2)),
}
SENSING = {
    "name": "rank_one_sensing",
    "n_samples": 5,
    "targets": np.ones((2, 16)),
    "single_targets": None,
    "left": np.ones((2, 2, 16)),
    "single_left": None,
    "right": np.ones((2, 3, 16)),
    "single_right": None,
}
NONE = np.zeros((2, 0), np.int64)


@pytest.mark.parametrize(
    ("loss", "exception", "message"),
    [
        (ENTRIES | {"rows": np.array([[0, 2]] * 2)}, ValueError, "rows is out of range"),
        (ENTRIES | {"rows": np.array([[0, 0], [0, -1]])}, ValueError, "rows is out of range"),
        (ENTRIES | {"cols": np.array([[0, 3]] * 2)}, ValueError, "cols is out of range"),
        (ENTRIES | {"cols": np.array([[0, 2**62]] * 2)}, ValueError, "cols is out of range"),
        (
            ENTRIES | {"rows": np.zeros((2, 2))},
            TypeError,
            "rows must have dtype int64, got float64",
        ),
        (ENTRIES | {"rows": np.zeros((2, 2), np.int32)}, TypeError, "rows must have dtype int64"),
        (ENTRIES | {"rows": np.zeros((2, 1), np.int64)}, ValueError, "cols must have shape"),
        (ENTRIES | {"rows": np.zeros(2, np.int64)}, ValueError, "rows must have 2 axes"),
        (ENTRIES | {"values": np.ones((2, 3))}, ValueError, r"values must have shape \(2, 2\)"),
        (
            ENTRIES | {"rows": NONE, "cols": NONE, "values": np.ones((2, 0))},
            ValueError,
            "rows must not be empty",
        ),
        (SENSING | {"n_samples": 17}, ValueError, "padded to a multiple of 16"),
        (SENSING | {"left": np.ones((2, 3, 16))}, ValueError, "left must have shape"),
        (SENSING | {"right": np.ones((2, 3, 32))}, ValueError, "right must have shape"),
        (
            SENSING | {"name": "sensing"},
            ValueError,
            "a sensing loss needs measurements|has no field 'left'",
        ),
    ],
)
def test_core_refuses_of_entries_and_measurements(loss, exception, message):
    with pytest.raises(exception, match=message):
        call_core(loss=loss)
    for good in (ENTRIES, SENSING):
        assert np.isfinite(call_core(loss=good)["observables"]["loss"]).all()


def test_core_refuses_what_needs_one_output_or_another_loss():
    with pytest.raises(ValueError, match="margin needs samples with labels"):
        call_core(observables={"margin"})
    with pytest.raises(ValueError, match="a direction needs one output"):
        call_core(observables={"angle"}, direction=np.ones((2, 3)))
    with pytest.raises(ValueError, match="samples cannot be drawn of a squared loss"):
        call_core(draws=DRAWN)
    factors = [entries(1, 3, 0)]
    with pytest.raises(ValueError, match="layer_singular_ratio needs dense layers"):
        call_core_binary(factors=factors, observables={"layer_singular_ratio"})


def test_core_takes_no_records_and_no_observables():
    assert call_core(record_steps=[])["observables"]["loss"].shape == (2, 0)
    assert call_core(observables=set())["observables"] == {}


def test_core_takes_numbers_that_are_not_finite():
    for bad in (NAN, INF):
        result = call_core(
            weights=[np.full((2, 4, 3), bad), np.ones((2, 2, 4))], observables={"singular_values"}
        )
        assert result["status"].tolist() == [2, 2]
        result = call_core(input_cov=np.full((2, 3, 3), bad), n_threads=2)
        assert result["status"].tolist() == [2, 2]


# --- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "n_steps", "observables"),
    [
        (1, 10**12, ("loss",)),
        (1, 2**62, ("weights",)),
        (1, 3 * 10**9, ("loss",)),
        (10**6, 10**18, ("product", "loss")),
    ],
)
def test_a_result_larger_than_memory_is_refused_before_any_work(every, n_steps, observables):
    n_records = n_steps // every + 1
    per_record = {"loss": 8, "weights": 48, "product": 48}
    least = 2 * n_records * sum(per_record[name] for name in observables)
    available = memory.available()
    if available is not None and least < available:
        least = 2**62  # a machine of hundreds of GB: ask for more
        n_steps, every = 2**62, 1
    with pytest.raises(MemoryError, match="the result needs") as info:
        train(every=every, n_steps=n_steps, observables=observables)
    needed = int(re.search(r"needs ([\d,]+) bytes", str(info.value))[1].replace(",", ""))
    assert needed >= least
    train()


def test_more_weights_than_memory_are_refused():
    """40 TB of final weights, from a start that takes no memory."""
    n = 2**18
    loss = lf.SquaredLoss(np.eye(1), np.zeros((1, 1)), 1.0)
    start = (np.broadcast_to(0.0, (10**7, n, 1)), np.broadcast_to(0.0, (10**7, 1, n)))
    with pytest.raises(MemoryError, match=r"the result needs .* bytes"):
        lf.train(lf.Dense((1, n, 1)), loss, start, method=lf.GradientDescent(0.1), n_steps=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space and shows it")
def test_out_of_memory_leaves_the_process_alive():
    """Under a limit the front door cannot know: MemoryError at each size, and then a normal call."""
    done = python(
        """
import resource
import numpy as np, linnet_fast as lf
def train(width, runs, n_records):
    network = lf.Dense((width, width, width))
    loss = lf.SquaredLoss(np.eye(width), np.zeros((width, width)), 1.0)
    start = (np.broadcast_to(np.eye(width), (runs, width, width)),) * 2
    return lf.train(network, loss, start, method=lf.GradientDescent(0.1), n_steps=n_records,
                    record=lf.Record.every(1, ("loss", "product")), n_threads=2)
train(2, 16, 1)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)
refused = 0
for width, runs, n_records in [(100, 2, 100_000), (2, 10_000_000, 1), (1600, 2, 1), (1200, 8, 1), (2, 1, 50_000_000)]:
    try:
        train(width, runs, n_records)
    except MemoryError:
        refused += 1
    assert train(2, 16, 1).ok.all()
print(refused)
"""
    )
    assert int(done.stdout) >= 4
