"""Runs of sweeps said in flat words, and trained alone: what sweeps are checked against."""

from __future__ import annotations

import numpy as np
from binary_problems import direction, make_binary, observed
from numpy.testing import assert_array_equal
from support import EVERYTHING, make_loss

import linnet_fast as lf
from linnet_fast.records.observables import OBSERVABLES

FINALS = tuple(f"final_{name}" for name in EVERYTHING if name != "weights")

# A plan says in flat words what a run is. What is swept of it goes to the library by the names of
# parameters, and is put together here without them: nothing of SweepSpec is used to check it.

PATHS = {
    "widths": ("network", lf.Dense),
    "loss": ("loss", None),
    "noise": ("loss.label_noise", None),
    "kind": ("start", None),
    "scale": ("start.scale", None),
    "step": ("method.step_size", None),
    "rate": ("method.step_size.scale", None),
    "power": ("method.step_size.exponent", None),
    "decay": ("method.weight_decay", None),
    "rtol": ("method.rtol", None),
    "atol": ("method.atol", None),
    "batch": ("method.batch_size", None),
    "n_steps": ("n_steps", None),
    "until": ("until", None),
    "stop": ("stop.loss", None),
    "flat": ("stop.gradient_norm", None),
    "record": ("record", None),
    "dtype": ("dtype", None),
}


def network_of(plan):
    return plan["chain"] if "chain" in plan else lf.Dense(plan["widths"])


def loss_of(plan):
    loss = plan["loss"]
    if "noise" not in plan:
        return loss
    if isinstance(loss, lf.SphericalLogisticLoss):
        return lf.SphericalLogisticLoss(loss.direction, loss.law, plan["noise"])
    return type(loss)(loss.inputs, loss.labels, plan["noise"])


def method_of(plan, **options):
    decay = plan.get("decay", 0.0)
    if "until" in plan:
        return lf.GradientFlow(
            plan.get("rtol", 1e-8), plan.get("atol"), plan.get("max_steps", 100_000), decay
        )
    step = plan.get("step")
    if "rate" in plan:
        step = lf.StepRule(plan["rule"], plan["rate"], plan.get("power", 0.0))
    multipliers = plan.get("multipliers")
    if "batch" in plan:
        return lf.StochasticGradientDescent(
            step, plan["batch"], 3, options.get("stream"), decay, multipliers
        )
    return lf.GradientDescent(step, decay, multipliers)


def stop_of(plan):
    if "stop" not in plan and "flat" not in plan:
        return None
    return lf.Stop(plan.get("stop"), plan.get("flat"), plan.get("check", 3))


def start_of(plan, rng, stream):
    network, options = network_of(plan), {"rng": rng, "streams": stream}
    options["dtype"] = plan.get("dtype", "float64")
    if plan["kind"] == "aligned":
        return lf.initialization.aligned(network, plan["loss"], plan["scale"], **options)
    draw = getattr(lf.initialization, plan["kind"])
    return draw(network, scale=plan["scale"], **options)


def length_of(plan):
    return {name: plan[name] for name in ("n_steps", "until") if name in plan}


def alone(plan, rng=0, stream=0, **changes):
    """Train one run of a plan alone."""
    options = {"record": plan.get("record"), "stop": stop_of(plan), **length_of(plan)} | changes
    method = method_of(plan, stream=stream)
    return lf.train(
        network_of(plan), loss_of(plan), start_of(plan, rng, stream), method=method, **options
    )


def training_of(plan):
    return lf.Training(
        network_of(plan),
        loss_of(plan),
        lf.Start(plan["kind"], plan["scale"]),
        method=method_of(plan),
        record=plan.get("record"),
        stop=stop_of(plan),
        dtype=plan.get("dtype", "float64"),
        **length_of(plan),
    )


def axes_of(swept):
    """Return the swept words of plans as axes of those names: objects are numbered."""
    axes = {}
    for word, values in swept.items():
        path, make = PATHS[word]
        listed = [lf.Start(v) for v in values] if word == "kind" else list(values)
        if make is not None:
            listed = [make(value) for value in listed]
        axes[f"of_{word}"] = lf.Axis(range(len(values)), {path: listed})
    return axes


def runs_of(spec, plan, swept, common_seeds=True):
    """Yield the index along every dimension, the plan and the stream of each run."""
    for number, index in enumerate(np.ndindex(*spec.shape)):
        place = dict(zip(spec.dims, index, strict=True))
        own = plan | {word: values[place[f"of_{word}"]] for word, values in swept.items()}
        stream = place.get("seed", 0) if common_seeds else number
        yield index, own, stream


def padded(array, value, shape, fill):
    """Return `value` at the beginning of an array of that shape, filled up."""
    whole = np.full(shape, fill, dtype=array.dtype)
    whole[tuple(map(slice, np.shape(value)))] = value
    return whole


def assert_run(data, index, expected):
    """Assert that a run has these variables, no others, in every bit, filled up with NaN and -1."""
    for name, variable in data.data_vars.items():
        got = variable.values[index]
        fill = np.nan if got.dtype.kind == "f" else -1
        value = expected.get(name)
        if value is None:
            assert_array_equal(got, np.full(got.shape, fill), err_msg=name)
        else:
            assert_array_equal(got, padded(got, value, got.shape, fill), err_msg=name)
    assert set(expected) <= set(data.data_vars)


def ended(run):
    return {"status": run.status, "stopped_at": run.stopped_at}


def recorded(run):
    parts = {}
    for name, value in run.observables.items():
        if name == "weights":
            parts |= {f"weights_{i}": w for i, w in enumerate(value)}
        else:
            parts[name] = value
    return parts


def at_end(plan, names, rng=0, stream=0, direction=None):
    """Return observables at the end of a run of gradient descent: of one of exactly that length."""
    run = alone(plan, rng, stream)
    if run.status == lf.Status.DIVERGED:
        shapes = {name: OBSERVABLES[name].record_shape(run.network) for name in names}
        return run, {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    step = int(run.stopped_at)
    record = lf.Record.at([step], names, direction=direction)
    short = alone(plan, rng, stream, n_steps=step, stop=None, record=record)
    assert short.status == lf.Status.COMPLETED
    return run, {name: short.observables[name][0] for name in names}


def squared(widths, seed=0, *, diagonal=False):
    return make_loss(widths, seed=seed, diagonal=diagonal)


SMALL = {"kind": "gaussian", "scale": 0.5, "widths": (3, 4, 2), "n_steps": 12, "step": 0.05}
SMALL |= {"loss": squared((3, 2)), "record": lf.Record.every(5, EVERYTHING)}
BINARY = SMALL | {"widths": (3, 4, 1), "loss": make_binary("logistic", 3), "noise": 0.0}
BINARY["record"] = lf.Record.every(
    5, observed(lf.Dense((3, 4, 1)), BINARY["loss"]), direction=direction(3)
)
