"""What a sweep says of a run is what the run says that is trained alone, whatever else is swept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from binary_problems import direction, make_binary, make_data, observed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, make_loss

import linnet_fast as lf
from linnet_fast import rank_dynamics, reference
from linnet_fast.record import OBSERVABLES

DIAGONAL = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
FINALS = tuple(f"final_{name}" for name in EVERYTHING if name != "weights")
IN_ORDER = {"completed": 0, "converged": 1, "diverged": 2, "exhausted": 3}


def sweep(spec, **options):
    return lf.sweep(spec, progress=False, **options)


# -- runs by hand ----------------------------------------------------------------------------------
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
        shapes = {name: OBSERVABLES[name](run.network) for name in names}
        return run, {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    step = int(run.stopped_at)
    record = lf.Record.at([step], names, direction=direction)
    short = alone(plan, rng, stream, n_steps=step, stop=None, record=record)
    assert short.status == lf.Status.COMPLETED
    return run, {name: short.observables[name][0] for name in names}


# -- designs of all sorts --------------------------------------------------------------------------

CYCLE = tuple(OBSERVABLES)[:7]  # those that every training has


def squared(widths, seed=0, *, diagonal=False):
    return make_loss(widths, seed=seed, diagonal=diagonal)


widths = st.lists(st.sampled_from([1, 2, 3, 5, 7]), min_size=2, max_size=5).map(tuple)
scales = st.sampled_from([0.0, 1e-8, 1e-3, 0.1, 0.5, 1.0, 1.7])
steps = st.sampled_from([1e-3, 0.01, 0.05, 0.1, 0.3, 1e3, 1e30])
rates = st.sampled_from([1e-3, 0.01, 0.05, 0.2])
thresholds = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 1e3])
records = st.builds(
    lambda n, names: lf.Record.every(n, tuple(names)),
    st.integers(1, 9),
    st.lists(st.sampled_from(CYCLE), min_size=1, max_size=7, unique=True),
)


def some(values, least=1, most=3):
    return st.lists(values, min_size=least, max_size=most)


@st.composite
def problems(draw):
    """Return a plan of gradient descent and what is swept of it."""
    plan = {"kind": draw(st.sampled_from(["gaussian", "orthogonal", "balanced"]))}
    plan |= {"scale": draw(scales), "n_steps": draw(st.integers(0, 20)), "record": draw(records)}
    plan["widths"] = draw(widths)
    swept = {"scale": draw(some(scales))}
    family = draw(st.sampled_from(["squared", "logistic", "exponential", "gaussian", "ball"]))
    if family == "squared":
        plan["loss"] = squared(plan["widths"])
        plan["kind"] = draw(st.sampled_from([plan["kind"], "aligned"]))
        swept["loss"] = [
            squared(plan["widths"], seed, diagonal=seed % 2 == 1)
            for seed in range(draw(st.integers(1, 3)))
        ]
    else:
        n_inputs = max(2, plan["widths"][0])  # laws have no fewer
        plan["widths"] = (n_inputs, *plan["widths"][1:-1], 1)
        plan |= {"loss": make_binary(family, n_inputs, n=5), "noise": 0.0}
        swept["noise"] = draw(some(st.sampled_from([0.0, 0.1, 1.0])))
        swept["loss"] = [make_binary(family, n_inputs, n=5 + i, seed=i) for i in range(2)]
        if draw(st.booleans()):
            plan["batch"] = draw(st.integers(1, 5))
            swept["batch"] = [1, 3]
    if draw(st.booleans()):
        plan["rule"] = draw(
            st.sampled_from(
                [
                    "power",
                    "geometric",
                    "loss_normalized",
                    "norm_proportional",
                    "gradient_normalized",
                ]
            )
        )
        plan |= {"rate": 0.05, "power": 1.0}
        swept |= {"rate": draw(some(rates)), "power": [0.5, 1.05]}
    else:
        plan["step"] = 0.05
        swept["step"] = draw(some(steps))
    if draw(st.booleans()):
        plan |= {"stop": 0.0, "check": draw(st.integers(1, 5))}
        swept["stop"] = draw(some(thresholds))
        if draw(st.booleans()):
            plan["flat"] = 0.0
            swept["flat"] = draw(some(thresholds))
    if draw(st.booleans()):
        plan["decay"] = 0.1
        swept["decay"] = draw(some(st.sampled_from([0.0, 0.1, 2.0])))
    if plan["kind"] != "aligned":
        inner = draw(some(some(st.sampled_from([1, 2, 3, 5]), 0, 3), 1, 2))
        ends = plan["widths"][0], plan["widths"][-1]
        swept["widths"] = [(ends[0], *middle, ends[1]) for middle in inner]
        if draw(st.booleans()):
            swept["kind"] = draw(
                some(st.sampled_from(["gaussian", "orthogonal", "balanced"]), 1, 2)
            )
            swept.pop("scale")
            plan["scale"] = 1.0
    swept["n_steps"] = draw(some(st.integers(0, 25), 1, 2))
    swept["dtype"] = draw(some(st.sampled_from(["float64", "float32"]), 1, 2))
    swept["record"] = draw(some(records, 1, 2))
    keep = draw(st.lists(st.sampled_from(sorted(swept)), min_size=0, max_size=3, unique=True))
    return plan, {word: swept[word] for word in keep}


@settings(max_examples=120)
@given(
    problems(),
    st.none() | st.integers(1, 3),
    st.booleans(),
    st.integers(0, 2**63 - 1) | st.integers(0, 3),
    st.integers(1, 30),
    st.integers(1, 2),
)
def test_every_run_of_descent_is_the_run_trained_alone(
    problem, replicates, common, rng, chunk, threads
):
    plan, swept = problem
    spec = lf.grid(
        training_of(plan), axes_of(swept), replicates=replicates, common_seeds=common, rng=rng
    )
    data = sweep(spec, chunk_runs=chunk, n_threads=threads)
    assert spec.keep_records
    for index, own, stream in runs_of(spec, plan, swept, common):
        run = alone(own, rng, stream)
        assert_run(data, index, recorded(run) | ended(run))


@settings(max_examples=60)
@given(
    problems(),
    st.none() | st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(1, 30),
)
def test_every_end_is_that_of_a_run_of_this_length(problem, replicates, common, keep, chunk):
    plan, swept = problem
    names = tuple(f"final_{name}" for name in CYCLE if name != "weights")
    spec = lf.grid(
        training_of(plan),
        axes_of(swept),
        replicates=replicates,
        common_seeds=common,
        derived=names,
        keep_records=keep,
    )
    data = sweep(spec, chunk_runs=chunk)
    for index, own, stream in runs_of(spec, plan, swept, common):
        run, end = at_end(own, [name.removeprefix("final_") for name in names], 0, stream)
        expected = {f"final_{name}": value for name, value in end.items()}
        assert_run(data, index, expected | ended(run) | (recorded(run) if keep else {}))


@st.composite
def flows(draw):
    plan = {"kind": draw(st.sampled_from(["gaussian", "orthogonal", "balanced", "aligned"]))}
    plan |= {"scale": 0.5, "until": draw(st.sampled_from([0.0, 0.5, 2.0])), "widths": draw(widths)}
    plan["loss"] = squared(plan["widths"])
    plan["max_steps"] = draw(st.sampled_from([3, 100_000]))
    names = tuple(draw(st.lists(st.sampled_from(CYCLE), min_size=1, max_size=4, unique=True)))
    plan["record"] = lf.Record.geomspace(draw(st.integers(2, 6)), names)
    swept = {
        "scale": draw(some(st.sampled_from([1e-6, 0.1, 1.0, 1.5]))),
        "rtol": draw(some(st.sampled_from([1e-4, 1e-8, 1e-11]))),
        "atol": draw(some(st.sampled_from([1e-6, 1e-12]))),
        "decay": draw(some(st.sampled_from([0.0, 0.3]))),
        "until": draw(some(st.sampled_from([0.0, 0.3, 1.0, 4.0]))),
        "loss": [squared(plan["widths"], seed) for seed in range(2)],
        "record": [plan["record"], lf.Record.at_times([0.0], ("loss",))],
    }
    if draw(st.booleans()):
        plan["flat"] = 0.0
        swept["flat"] = draw(some(thresholds))
    keep = draw(st.lists(st.sampled_from(sorted(swept)), min_size=0, max_size=3, unique=True))
    return plan, {word: swept[word] for word in keep}


@settings(max_examples=60)
@given(flows(), st.none() | st.integers(1, 3), st.booleans(), st.integers(1, 30))
def test_every_run_of_a_flow_is_the_run_trained_alone(problem, replicates, common, chunk):
    plan, swept = problem
    names = ("final_loss", "final_singular_values", "final_gradient_norm", "final_product")
    spec = lf.grid(
        training_of(plan),
        axes_of(swept),
        replicates=replicates,
        common_seeds=common,
        derived=names,
        keep_records=True,
    )
    data = sweep(spec, chunk_runs=chunk)
    for index, own, stream in runs_of(spec, plan, swept, common):
        run = alone(own, 0, stream)
        expected = recorded(run) | ended(run)
        for name in names:
            short = name.removeprefix("final_")
            got = data[name].values[index]
            value = reference.observe(short, run.final.weights, own["loss"], own.get("decay", 0.0))
            # The least singular values and gradients are noise: they are measured by the largest.
            size = max(1.0, np.abs(value).max(initial=0.0))
            assert_allclose(got, value, rtol=1e-12, atol=1e-12 * size, err_msg=name)
            expected[name] = got
        assert_run(data, index, expected)


# -- each by itself --------------------------------------------------------------------------------

SMALL = {"kind": "gaussian", "scale": 0.5, "widths": (3, 4, 2), "n_steps": 12, "step": 0.05}
SMALL |= {"loss": squared((3, 2)), "record": lf.Record.every(5, EVERYTHING)}
BINARY = SMALL | {"widths": (3, 4, 1), "loss": make_binary("logistic", 3), "noise": 0.0}
BINARY["record"] = lf.Record.every(
    5, observed(lf.Dense((3, 4, 1)), BINARY["loss"]), direction=direction(3)
)
CASES = {
    "nothing": (SMALL, {}),
    "width 1": (SMALL | {"widths": (1, 1, 1), "loss": squared((1, 1))}, {"scale": [0.5, 1.0]}),
    "one layer": (SMALL | {"widths": (3, 2)}, {"scale": [0.5, 1.0], "step": [0.01, 0.1]}),
    "prime": (SMALL | {"widths": (7, 13, 11), "loss": squared((7, 11))}, {"step": [0.01, 0.02]}),
    "rectangular": (SMALL | {"widths": (2, 9, 8), "loss": squared((2, 8))}, {"step": [0.01, 0.02]}),
    "bottleneck": (SMALL | {"widths": (6, 1, 5), "loss": squared((6, 5))}, {"scale": [0.1, 0.7]}),
    "deep": (SMALL | {"widths": (3,) * 9 + (2,)}, {"scale": [0.8, 1.1]}),
    "shapes": (SMALL, {"widths": [(3, 2), (3, 7, 2), (3, 1, 5, 2)], "scale": [0.1, 0.6, 0.2]}),
    "one diverges": (SMALL, {"step": [0.01, 0.1, 1e3, 0.02, 1e30]}),
    "zero": (SMALL, {"scale": [0.0, 0.5, 0.0]}),
    "float32": (SMALL | {"dtype": "float32"}, {"scale": [0.1, 0.5]}),
    "dtypes": (SMALL, {"dtype": ["float32", "float64"], "scale": [0.1, 0.5]}),
    "lengths": (SMALL, {"n_steps": [0, 7, 12], "scale": [0.1, 0.5]}),
    "starts": (SMALL | {"scale": 1.0}, {"kind": ["gaussian", "orthogonal", "balanced", "aligned"]}),
    "aligned": (SMALL | {"kind": "aligned"}, {"scale": [1e-9, 0.3], "loss": [squared((3, 2), 4), squared((3, 2), 5)]}),
    "losses": (SMALL, {"loss": [squared((3, 2), i, diagonal=i == 2) for i in range(5)]}),
    "large losses": (
        SMALL | {"widths": (130, 2, 1), "loss": squared((130, 1))},
        {"loss": [squared((130, 1), i) for i in range(3)], "scale": [0.1, 0.5]},
    ),
    "multipliers": (SMALL | {"multipliers": [1.0, 0.0]}, {"step": [0.1, 0.2]}),
    "decay": (SMALL, {"decay": [0.0, 0.5], "step": [0.1, 0.2]}),
    "stops": (SMALL | {"stop": 0.0, "flat": 0.0}, {"stop": [0.0, 0.8, 9.0], "flat": [0.0, 1.0, 1e9]}),
    "records": (
        SMALL,
        {"record": [lf.Record.at([12], ("loss",)), lf.Record.geomspace(9, ("norm", "weights"))]},
    ),
    "logistic": (BINARY, {"noise": [0.0, 0.2, 1.0], "scale": [0.1, 0.5]}),
    "exponential": (
        BINARY | {"loss": make_binary("exponential", 3)},
        {"noise": [0.0, 0.3], "step": [0.01, 0.1, 1e30]},
    ),
    "data": (BINARY, {"loss": [make_binary("logistic", 3, n=n, seed=n) for n in (1, 5, 40)]}),
    "stochastic": (BINARY | {"batch": 4}, {"noise": [0.0, 0.2], "scale": [0.1, 0.5], "step": [0.1, 0.3]}),
    "batches": (BINARY | {"batch": 4}, {"batch": [1, 7], "scale": [0.1, 0.5]}),
    "stochastic float32": (BINARY | {"batch": 4, "dtype": "float32"}, {"scale": [0.1, 0.5]}),
}  # fmt: skip
_ANGLES = lf.Record.every(5, ("loss", "angle", "log_tan_half_angle", "layer_alignment"))
for law in ("gaussian", "sphere", "ball", "mixture"):
    own = BINARY | {"loss": make_binary(law, 3), "record": _ANGLES}
    CASES[law] = (own, {"noise": [0.0, 0.2], "scale": [0.1, 0.5]})
    CASES[f"fresh of {law}"] = (own | {"batch": 3}, {"noise": [0.0, 0.2], "step": [0.1, 0.2]})
for rule in ("power", "geometric", "loss_normalized", "norm_proportional", "gradient_normalized"):
    own = SMALL | {"rule": rule, "rate": 0.05, "power": 1.0}
    CASES[rule] = (own, {"rate": [0.01, 0.1, 1e25], "power": [0.5, 1.1], "scale": [0.1, 0.6]})
EVERY_CASE = pytest.mark.parametrize(("plan", "swept"), CASES.values(), ids=CASES)


@EVERY_CASE
@pytest.mark.parametrize("replicates", [None, 1, 3])
@pytest.mark.parametrize("common", [True, False])
def test_records_are_those_of_the_run_trained_alone(plan, swept, replicates, common):
    spec = lf.grid(
        training_of(plan), axes_of(swept), replicates=replicates, common_seeds=common, rng=8
    )
    data = sweep(spec, chunk_runs=5)
    assert data.sizes.get("seed") == replicates
    for index, own, stream in runs_of(spec, plan, swept, common):
        run = alone(own, 8, stream)
        assert_run(data, index, recorded(run) | ended(run))


@EVERY_CASE
def test_a_single_run_of_a_spec_is_the_run_trained_alone(plan, swept):
    spec = lf.grid(training_of(plan), axes_of(swept), replicates=2, common_seeds=False, rng=8)
    for number, (index, own, stream) in enumerate(runs_of(spec, plan, swept, common_seeds=False)):
        assert spec.index(number) == index
        run, expected = spec.run(number), alone(own, 8, stream)
        assert run.run_shape == ()
        for name, value in (recorded(expected) | ended(expected)).items():
            assert_array_equal((recorded(run) | ended(run))[name], value, err_msg=name)


@pytest.mark.parametrize(
    "name", [name for name in CASES if "float32" not in name and name != "dtypes"]
)
def test_records_are_those_of_the_reference(name):
    plan, swept = CASES[name]
    spec = lf.grid(training_of(plan), axes_of(swept), replicates=2, rng=8)
    data = sweep(spec, chunk_runs=5)
    for index, own, stream in runs_of(spec, plan, swept):
        run = reference.train(
            network_of(own),
            loss_of(own),
            start_of(own, 8, stream),
            method=method_of(own, stream=stream),
            record=own["record"],
            stop=stop_of(own),
            **length_of(own),
        )
        assert data["status"].values[index] == run.status
        assert data["stopped_at"].values[index] == run.stopped_at
        if not np.isfinite(run.observables.get("loss", 0.0)).all():
            continue  # of what overflows rounding decides whether it is infinite or NaN
        for part in ("loss", "norm", "product", "singular_values"):
            if part in run.observables:
                value = run.observables[part]
                got = data[part].values[index][tuple(map(slice, value.shape))]
                size = np.nanmax(np.abs(value), initial=1.0)
                assert_allclose(got, value, rtol=1e-12, atol=1e-12 * size, err_msg=part)


# -- how runs end ----------------------------------------------------------------------------------

LATE = lf.Record.at([1, 3], ("loss",))
NOT_LAST = lf.Record.every(5, EVERYTHING)
LAST = lf.Record.every(6, EVERYTHING)


@pytest.mark.parametrize(
    "record", [None, LATE, NOT_LAST, LAST], ids=["none", "few", "not last", "last"]
)
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", ["squared", "logistic", "exponential", "gaussian"])
def test_final_values_are_those_of_a_run_of_this_length(name, record, keep):
    """All observables; runs that complete, converge and diverge; recorded at the end or not."""
    plan = SMALL | {"stop": 0.0, "check": 2, "decay": 0.05}
    names = [*EVERYTHING, "layer_singular_ratio", "layer_alignment"]
    toward = None
    if name != "squared":
        loss = make_binary(name, 3, separable=True)
        plan |= {"widths": (3, 4, 1), "loss": loss}
        names = list(observed(lf.Dense((3, 4, 1)), loss))
        if name != "gaussian":
            toward = direction(3)
            record = record or lf.Record.at([0], ("loss",))
            record = type(record)(
                record.schedule, record.numbers, record.observables, tuple(toward)
            )
    names.remove("weights")
    plan["record"] = record
    midway = alone(plan | {"step": 0.1, "record": lf.Record.at([5], ("loss",))}).loss[0]
    swept = {
        "stop": [0.0, midway, 1e4],
        "step": [0.1, 1e30],
        "widths": [plan["widths"], (3, plan["widths"][-1])],
    }
    spec = lf.grid(
        training_of(plan),
        axes_of(swept),
        replicates=2,
        derived=[f"final_{name}" for name in names],
        keep_records=keep and record is not None,
    )
    data = sweep(spec, chunk_runs=7)
    seen = set()
    for index, own, stream in runs_of(spec, plan, swept):
        run, end = at_end(own, names, 0, stream, toward)
        seen.add((int(run.status), int(run.stopped_at) > 0))
        kept = recorded(run) if spec.keep_records else {}
        assert_run(data, index, {f"final_{n}": v for n, v in end.items()} | ended(run) | kept)
    assert {(0, True), (1, True), (1, False), (2, True)} <= seen


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_final_values_of_one_layer_and_width_one(dtype):
    plan = SMALL | {"dtype": dtype, "record": None}
    names = [*EVERYTHING, "layer_singular_ratio", "layer_alignment"]
    names.remove("weights")
    swept = {"widths": [(3, 2), (3, 1, 2), (3, 1, 1, 4, 2)], "scale": [0.0, 0.3]}
    spec = lf.grid(training_of(plan), axes_of(swept), derived=[f"final_{name}" for name in names])
    data = sweep(spec, chunk_runs=100)
    for index, own, stream in runs_of(spec, plan, swept):
        run, end = at_end(own, names, 0, stream)
        assert_run(data, index, {f"final_{n}": v for n, v in end.items()} | ended(run))


def test_final_values_of_stochastic_descent():
    plan = BINARY | {"batch": 3, "record": None, "stop": 0.0, "check": 2}
    swept = {"stop": [0.0, 0.7], "scale": [0.1, 0.5], "step": [0.2, 1e30]}
    names = ("loss", "gradient_norm", "norm", "margin")
    spec = lf.grid(
        training_of(plan),
        axes_of(swept),
        replicates=4,
        common_seeds=False,
        derived=[f"final_{name}" for name in names],
    )
    data = sweep(spec, chunk_runs=6)
    assert {0, 1, 2} == set(data["status"].values.ravel().tolist())
    for index, own, stream in runs_of(spec, plan, swept, common_seeds=False):
        run, end = at_end(own, names, 0, stream)
        assert_run(data, index, {f"final_{n}": v for n, v in end.items()} | ended(run))


@pytest.mark.parametrize("at_the_end", [True, False])
@pytest.mark.parametrize("kept", [("loss",), ("norm",), EVERYTHING], ids=["loss", "norm", "all"])
def test_final_values_of_flows_however_they_end(at_the_end, kept):
    plan = SMALL | {"until": 3.0, "flat": 0.0, "max_steps": 25}
    del plan["n_steps"], plan["step"]
    plan["record"] = lf.Record.at_times([0.5, 3.0] if at_the_end else [0.5], kept)
    swept = {"flat": [0.0, 0.3], "rtol": [1e-6, 1e-13], "scale": [0.1, 0.6]}
    names = [name for name in EVERYTHING if name != "weights"]
    spec = lf.grid(training_of(plan), axes_of(swept), derived=[f"final_{name}" for name in names])
    data = sweep(spec, chunk_runs=3)
    assert {0, 1, 3} == set(data["status"].values.ravel().tolist())
    seen = set()
    for index, own, stream in runs_of(spec, plan, swept):
        run = alone(own, 0, stream)
        others = data.drop_vars([f"final_{name}" for name in names])
        assert_run(others, index, ended(run) | recorded(run))
        for name in names:
            value = reference.observe(name, run.final.weights, own["loss"])
            got = data[f"final_{name}"].values[index]
            assert_allclose(got, value, rtol=1e-11, atol=1e-12, err_msg=name)
        if run.status == lf.Status.COMPLETED:
            whole = alone(own, 0, stream, record=lf.Record.at_times([3.0], names))
            for name in names:
                got = data[f"final_{name}"].values[index]
                assert_array_equal(got, whole.observables[name][0], err_msg=name)
        else:
            assert run.stopped_at < 3
            seen.add((int(run.status), bool(run.stopped_at > 0)))
    assert {(1, True), (3, True)} <= seen


def test_flows_in_logarithmic_time_end_where_they_end():
    loss = make_binary("logistic", 3, separable=True)
    training = lf.Training(
        lf.Dense((3, 2, 1)),
        loss,
        lf.Start("balanced", 0.1),
        method=lf.GradientFlow(log_time=True),
        until=8.0,
    )
    data = sweep(lf.grid(training, {"until": [0.0, 3.0, 8.0]}, replicates=2, rng=1))
    for i, until in enumerate([0.0, 3.0, 8.0]):
        for seed in range(2):
            run = lf.train(
                lf.Dense((3, 2, 1)),
                loss,
                lf.initialization.balanced(lf.Dense((3, 2, 1)), scale=0.1, rng=1, streams=seed),
                method=lf.GradientFlow(log_time=True),
                until=until,
                record=lf.Record.at_times([until], ("loss",)),
            )
            assert data["final_loss"].values[i, seed] == run.loss[0]
            assert data["stopped_at"].values[i, seed] == until


def test_a_run_that_diverges_at_its_last_step_has_no_end():
    plan = SMALL | {"record": None, "step": 1e60, "n_steps": 1}
    diverging = next(n for n in range(1, 9) if alone(plan | {"n_steps": n}).status == 2)
    plan["n_steps"] = diverging
    data = sweep(lf.grid(training_of(plan), {}, derived=("final_loss", "learned_rank")))
    assert data["status"] == lf.Status.DIVERGED
    assert data["stopped_at"] == diverging
    assert np.isnan(data["final_loss"])
    assert data["learned_rank"] == -1
    before = sweep(lf.grid(training_of(plan | {"n_steps": diverging - 1}), {}))
    assert before["status"] == lf.Status.COMPLETED
    assert_array_equal(
        before["final_loss"], at_end(plan | {"n_steps": diverging - 1}, ["loss"])[1]["loss"]
    )


# -- what is derived -------------------------------------------------------------------------------


def data_of_modes(sigma, lam, seed=0):
    """Return a loss whose modes have these strengths: sigma / lam where they rest."""
    rng = np.random.default_rng(seed)
    k = len(sigma)
    left, right = (np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in range(2))
    cov = right @ np.diag(lam) @ right.T
    return lf.SquaredLoss((cov + cov.T) / 2, left @ np.diag(sigma) @ right.T, 20.0)


MODES = {
    "whitened": ([3.0, 2.0, 1.0], [1.0, 1.0, 1.0]),
    "not in order": ([3.0, 2.0, 1.0], [6.0, 1.0, 0.25]),
    "of rank 2": ([3.0, 1.0, 0.0], [1.0, 2.0, 1.0]),
}


def learned_by_hand(values, sigma, lam):
    """Count ranks: the i-th is learned where s_i is above half the least of the first i at rest."""
    count, least = 0, np.inf
    for value, s, power in zip(values, sigma, lam, strict=True):
        if s > 0:
            least = min(least, s / power)
            count += value > 0.5 * least
    return count


@pytest.mark.parametrize("record", [None, lf.Record.every(7, ("loss", "singular_values"))])
@pytest.mark.parametrize(("sigma", "lam"), MODES.values(), ids=MODES)
def test_learned_rank_is_counted(sigma, lam, record):
    loss = data_of_modes(sigma, lam)
    plan = SMALL | {
        "widths": (3, 3, 3),
        "loss": loss,
        "scale": 1e-3,
        "step": 0.05,
        "record": record,
    }
    swept = {"n_steps": [0, 40, 60, 80, 150, 400], "scale": [1e-6, 1e-2, 1.0], "step": [0.05, 90.0]}
    training = training_of(plan)
    names = ("final_singular_values", "learned_rank")
    data = sweep(lf.grid(training, axes_of(swept), derived=names, replicates=2), chunk_runs=50)
    assert data["learned_rank"].dims == data["status"].dims
    assert data["learned_rank"].dtype == np.int64
    n_modes = sum(s > 0 for s in sigma)
    ranks = set()
    for index in np.ndindex(data["status"].shape):
        values, got = (
            data["final_singular_values"].values[index],
            data["learned_rank"].values[index],
        )
        if data["status"].values[index] == lf.Status.DIVERGED:
            assert got == -1
        else:
            assert got == learned_by_hand(values, sigma, lam)
            ranks.add(int(got))
    assert ranks == set(range(n_modes + 1))
    assert (data["status"] == lf.Status.DIVERGED).any()


def test_learned_rank_and_times_of_stacked_losses_are_of_the_own_data():
    losses = [data_of_modes(*modes) for modes in MODES.values()]
    plan = SMALL | {"widths": (3, 3, 3), "loss": losses[0], "scale": 1e-2, "n_steps": 90}
    plan["record"] = None
    swept = {"loss": losses, "scale": [1e-3, 1e-1]}
    names = ("final_singular_values", "learned_rank", "learning_times", "learning_steps")
    spec = lf.grid(training_of(plan), axes_of(swept), derived=names)
    assert len(spec.groups) == 1
    data = sweep(spec, chunk_runs=100)
    for index, own, _ in runs_of(spec, plan, swept):
        which = losses.index(own["loss"])
        values = data["final_singular_values"].values[index]
        sigma, lam = list(MODES.values())[which]
        assert data["learned_rank"].values[index] == learned_by_hand(values, sigma, lam)
        run = alone(own, record=lf.Record.geomspace(100, ("singular_values",)))
        times = rank_dynamics.learning_times(run)
        assert_array_equal(data["learning_times"].values[index], times)
        assert_array_equal(data["learning_steps"].values[index], times / 0.05)
    assert np.isfinite(data["learning_times"].values).any()


def test_learning_times_come_from_a_hundred_records_unless_there_are_others():
    plan = SMALL | {"widths": (2, 3, 2), "loss": DIAGONAL, "scale": 1e-3, "n_steps": 300}
    swept = {"scale": [1e-4, 1e-2], "step": [0.02, 0.1], "widths": [(2, 3, 2), (2, 1, 2)]}
    names = ("learning_times", "learning_steps", "learned_rank")
    own_record = lf.Record.every(10, ("loss", "singular_values"))
    of_modes = lf.Record.every(10, ("product", "singular_values"))
    for record in (None, own_record, of_modes):
        plan["record"] = record
        spec = lf.grid(
            training_of(plan), axes_of(swept), derived=names, replicates=2, keep_records=False
        )
        data = sweep(spec, chunk_runs=9)
        assert data["learning_times"].dims == (*spec.dims, "mode")
        assert set(data.data_vars) == {*names, "status", "stopped_at"}
        for index, own, stream in runs_of(spec, plan, swept):
            used = record or lf.Record.geomspace(100, ("singular_values",))
            run = alone(own, 0, stream, record=used)
            times = rank_dynamics.learning_times(run)
            assert_array_equal(data["learning_times"].values[index], times)
            assert_array_equal(data["learning_steps"].values[index], times / own["step"])
        assert np.isfinite(data["learning_times"].values).sum() > 8


def test_learning_times_of_flows():
    plan = SMALL | {"widths": (2, 3, 2), "loss": DIAGONAL, "until": 12.0, "record": None}
    del plan["n_steps"], plan["step"]
    swept = {"scale": [1e-4, 1e-2]}
    spec = lf.grid(training_of(plan), axes_of(swept), derived=("learning_times", "learned_rank"))
    data = sweep(spec)
    for index, own, stream in runs_of(spec, plan, swept):
        run = alone(own, 0, stream, record=lf.Record.geomspace(100, ("singular_values",)))
        assert_array_equal(data["learning_times"].values[index], rank_dynamics.learning_times(run))
    assert data["learned_rank"].values.tolist() == [2, 2]
    with pytest.raises(TypeError, match="learning_steps is for gradient descent, got a flow"):
        sweep(lf.grid(training_of(plan), {}, derived="learning_steps"))


def largest(trajectory):
    return trajectory.singular_values[..., 0]


def test_functions_of_trajectories():
    plan = SMALL | {"record": lf.Record.every(4, ("loss", "singular_values")), "stop": 0.0}
    swept = {"scale": [0.1, 0.5], "stop": [0.0, 0.9], "step": [0.05, 1e30]}
    derived = {
        "top": largest,
        "named": (largest, ("when",)),
        "fell": lambda t: t.loss[:, 1] < t.loss[:, 0],
        "count": lambda t: np.isfinite(t.loss).sum(axis=-1),
        "small": lambda t: np.isfinite(t.loss).sum(axis=-1).astype(np.uint8),
        "single": lambda t: t.loss[:, 0].astype(np.float32),
        "pairs": (lambda t: np.stack([t.loss[:, :2], t.loss[:, 1:3]], axis=1), ["a", "b"]),
        "listed": lambda t: [0.5] * t.run_shape[0],
        "end": "final_singular_values",
        "again": ("final_singular_values", ("value",)),
    }
    spec = lf.grid(training_of(plan), axes_of(swept), derived=derived, keep_records=False)
    data = sweep(spec, chunk_runs=3)
    inner = {name: data[name].dims[len(spec.dims) :] for name in derived}
    assert inner == {
        "top": ("top_0",),
        "named": ("when",),
        "fell": (),
        "count": (),
        "small": (),
        "single": (),
        "pairs": ("a", "b"),
        "listed": (),
        "end": ("mode",),
        "again": ("value",),
    }
    kinds = {name: str(data[name].dtype) for name in derived}
    assert kinds == dict.fromkeys(derived, "float64") | {
        "fell": "int8",
        "count": "int64",
        "small": "int64",
    }
    for index, own, stream in runs_of(spec, plan, swept):
        run, end = at_end(own, ["singular_values"], 0, stream)
        loss = run.loss
        with np.errstate(invalid="ignore"):
            fell = loss[1] < loss[0]
        expected = {
            "top": run.singular_values[:, 0],
            "named": run.singular_values[:, 0],
            "fell": fell,
            "count": np.isfinite(loss).sum(),
            "small": np.isfinite(loss).sum(),
            "single": np.float32(loss[0]),
            "pairs": [loss[:2], loss[1:3]],
            "listed": 0.5,
            "end": end["singular_values"],
            "again": end["singular_values"],
        }
        assert_run(data, index, expected | ended(run))


def test_functions_see_batches_with_one_run_axis():
    seen = []

    def spy(trajectory):
        seen.append(trajectory.run_shape)
        assert trajectory.observables.keys() == {"loss", "singular_values"}
        return trajectory.stopped_at

    data = sweep(
        lf.grid(
            training_of(SMALL | {"record": None}),
            {"network.hidden": [2, 5]},
            replicates=6,
            derived={"f": spy},
        ),
        chunk_runs=12,
    )
    assert seen == [(1,), (1,), (6,), (6,)]  # a run of each group for the form of the result
    assert data["f"].values.tolist() == [[12] * 6] * 2


def test_functions_by_import_path():
    spec = lf.grid(
        training_of(SMALL),
        {"start.scale": [0.1, 0.5]},
        derived={"least": "linnet_fast.rank_dynamics:learning_times"},
        keep_records=False,
    )
    data = sweep(spec)
    for i, scale in enumerate([0.1, 0.5]):
        times = rank_dynamics.learning_times(alone(SMALL | {"scale": scale}))
        assert_array_equal(data["least"].values[i], times)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _t: 1.0, r"derived\['f'\] must return numbers of shape \(n_runs, \.\.\.\), n_runs = 1, got float64 of shape \(\)"),
        (lambda t: t.loss[:, :, None].swapaxes(0, 1), r"derived\['f'\] must return .* got float64 of shape \(3, 1, 1\)"),
        (lambda t: np.zeros(t.run_shape[0] + 1), r"derived\['f'\] must return .* got float64 of shape \(2,\)"),
        (lambda t: ["a"] * t.run_shape[0], r"derived\['f'\] must return numbers .* got <U1"),
        (lambda _t: None, r"derived\['f'\] must return numbers .* got object of shape \(\)"),
        (lambda t: t.loss[:, 0] + 1j, r"derived\['f'\] must return numbers .* got complex128"),
    ],
)  # fmt: skip
def test_results_of_other_shapes_are_refused_by_name(function, message):
    with pytest.raises(ValueError, match=message):
        sweep(lf.grid(training_of(SMALL), {}, derived={"f": function}))


def test_a_result_with_other_axes_in_other_groups_is_refused():
    def f(trajectory):
        n_runs = trajectory.run_shape[0]
        return np.zeros((n_runs, 2) if trajectory.network.n_layers == 2 else (n_runs, 2, 2))

    spec = lf.grid(training_of(SMALL), {"network.n_layers": [2, 3]}, derived={"f": f})
    with pytest.raises(ValueError, match="f must have equally many axes for all runs"):
        sweep(spec)
    names = lf.grid(training_of(SMALL), {}, derived={"f": (largest, ("a", "b"))})
    with pytest.raises(
        ValueError, match=r"derived\['f'\] must have 1 names of axes, got \('a', 'b'\)"
    ):
        sweep(names)


def later(first, then):
    """Return a function whose result differs where the first record alone is not NaN."""

    def f(trajectory):
        return (first if np.isnan(trajectory.loss[:, -1]).any() else then)(trajectory.run_shape[0])

    return f


@pytest.mark.parametrize(
    "function",
    [
        later(lambda n: np.zeros(n, np.int64), lambda n: np.full(n, 0.5)),
        later(lambda n: np.zeros(n, np.bool_), lambda n: np.full(n, 300)),
        later(lambda n: np.zeros((n, 2)), lambda n: np.zeros((n, 3))),
        later(lambda n: np.zeros((n, 2)), np.zeros),
    ],
    ids=["integers, then floats", "bools, then integers", "longer", "fewer axes"],
)
def test_a_result_that_does_not_fit_its_form_is_refused_by_name(function):
    with pytest.raises(ValueError, match=r"\bf\b.*must"):
        sweep(lf.grid(training_of(SMALL | {"n_steps": 10}), {}, derived={"f": function}))


def test_a_function_that_fails_says_which_and_why_it_might():
    def f(trajectory):
        if np.isnan(trajectory.loss).any():
            msg = "nothing but numbers, please"
            raise FloatingPointError(msg)
        return trajectory.loss[:, -1]

    with pytest.raises(FloatingPointError, match="nothing but numbers, please") as caught:
        sweep(lf.grid(training_of(SMALL), {}, derived={"odd": f}))
    assert any("derived['odd']" in note and "NaN" in note for note in caught.value.__notes__)


def test_interrupts_in_functions_get_through():
    def f(_trajectory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(lf.grid(training_of(SMALL), {}, derived={"f": f}))


# -- the form of the result ------------------------------------------------------------------------


def test_nothing_swept():
    training = training_of(SMALL)
    data = sweep(lf.grid(training, {}, rng=4))
    assert data.sizes == {"step": 3, "mode": 2, "out": 2, "in": 3, "layer": 2, "layer_pair": 1} | {
        name: size for name, size in data.sizes.items() if name.startswith("weights_")
    }
    assert_run(data, (), recorded(alone(SMALL, 4)) | ended(alone(SMALL, 4)))
    bare = sweep(lf.grid(training_of(SMALL | {"record": None}), {}, rng=4))
    assert dict(bare.sizes) == {}
    assert set(bare.data_vars) == {"final_loss", "status", "stopped_at"}
    assert bare["final_loss"].item() == at_end(SMALL, ["loss"], 4)[1]["loss"]


@pytest.mark.parametrize("replicates", [1, 4])
def test_nothing_but_replicates(replicates):
    data = sweep(lf.grid(training_of(SMALL | {"record": None}), {}, replicates=replicates, rng=4))
    assert dict(data.sizes) == {"seed": replicates}
    assert data["seed"].values.tolist() == list(range(replicates))
    for seed in range(replicates):
        assert data["final_loss"].values[seed] == at_end(SMALL, ["loss"], 4, seed)[1]["loss"]


def test_replicates_of_smaller_sweeps_are_those_of_larger_ones():
    training = training_of(SMALL | {"record": None})
    few = sweep(lf.grid(training, {"start.scale": [0.1, 0.5]}, replicates=2))
    many = sweep(lf.grid(training, {"start.scale": [0.1, 0.3, 0.5]}, replicates=5))
    assert_array_equal(few["final_loss"], many["final_loss"].sel(scale=[0.1, 0.5], seed=[0, 1]))


def test_common_seeds_are_the_same_start_at_all_combinations():
    training = training_of(SMALL | {"record": lf.Record.at([0], ("weights",))})
    for common in (True, False):
        data = sweep(
            lf.grid(training, {"method.step_size": [0.1, 0.2]}, replicates=3, common_seeds=common)
        )
        weights = data["weights_0"].values[:, :, 0]
        assert (weights[0] == weights[1]).all() == common
        assert len(np.unique(weights.reshape(6, -1), axis=0)) == (3 if common else 6)


def test_results_do_not_depend_on_chunks_or_threads_or_the_rest_of_the_grid():
    plan = SMALL | {"loss": squared((3, 2))}
    swept = {"widths": [(3, 4, 2), (3, 5, 2)], "scale": [0.1, 0.4, 0.5], "step": [0.05, 1e30]}
    spec = lf.grid(training_of(plan), axes_of(swept), replicates=3)
    whole = sweep(spec)
    for chunk, threads in ((1, 1), (2, 2), (5, 1), (7, 3), (100, 2)):
        assert whole.identical(
            sweep(spec, chunk_runs=chunk, n_threads=threads).assign_attrs(whole.attrs)
        )
    part = sweep(lf.grid(training_of(plan), axes_of(swept | {"scale": [0.4]}), replicates=2))
    picked = whole.isel(of_scale=[1], seed=[0, 1])
    for name in part.data_vars:
        assert_array_equal(part[name].values, picked[name].values, err_msg=name)


def test_mixed_shapes_are_filled_up():
    plan = SMALL | {
        "record": lf.Record.every(6, ("singular_values", "layer_norms", "imbalance", "weights"))
    }
    swept = {"widths": [(3, 2), (3, 1, 2), (3, 4, 5, 2)]}
    data = sweep(
        lf.grid(training_of(plan), axes_of(swept), derived=("final_layer_norms", "learned_rank"))
    )
    assert data["layer_norms"].shape == (3, 3, 3)
    assert data["imbalance"].shape == (3, 3, 2)
    assert data["singular_values"].shape == (3, 3, 2)
    assert data["weights_0"].shape == (3, 3, 4, 3)
    assert data["weights_2"].shape == (3, 3, 2, 5)
    assert np.isnan(data["layer_norms"].values[0, :, 1:]).all()
    assert not np.isnan(data["layer_norms"].values[0, :, 0]).any()
    assert np.isnan(data["imbalance"].values[0]).all()
    assert np.isnan(data["weights_2"].values[:2]).all()
    assert np.isnan(data["final_layer_norms"].values[1]).tolist() == [False, False, True]


def test_data_of_other_sizes_are_filled_up():
    """The ends of a dense network follow its data; results are as large as the largest."""
    losses = [squared((3, 2)), squared((2, 4)), squared((5, 1))]
    record = lf.Record.every(6, ("singular_values", "product"))
    training = training_of(SMALL | {"record": record})
    data = sweep(lf.grid(training, {"loss": losses}, derived=("final_product",), replicates=2))
    assert data["product"].shape == (3, 2, 3, 4, 5)
    assert data["final_product"].shape == (3, 2, 4, 5)
    for i, loss in enumerate(losses):
        own = SMALL | {"loss": loss, "widths": (loss.n_inputs, 4, loss.n_outputs), "record": record}
        for seed in range(2):
            run, end = at_end(own, ["product"], 0, seed)
            expected = {"final_product": end["product"]} | recorded(run) | ended(run)
            assert_run(data, (i, seed), expected)


def test_records_at_the_same_steps_share_an_axis():
    training = training_of(SMALL | {"record": lf.Record.at([0, 4, 12], ("loss",))})
    data = sweep(lf.grid(training, {"start.scale": [0.1, 0.2], "network.hidden": [2, 3]}))
    assert data["loss"].dims == ("hidden", "scale", "step")
    assert data["step"].values.tolist() == [0, 4, 12]
    longer = sweep(lf.grid(training, {"n_steps": [12, 30]}))
    assert longer["loss"].dims == ("n_steps", "step")


def test_records_at_other_steps_have_their_own():
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    lengths = [3, 12, 9]
    data = sweep(lf.grid(training, {"n_steps": lengths, "start.scale": [0.1, 0.2]}, replicates=2))
    assert data["loss"].dims == ("n_steps", "scale", "seed", "record")
    assert data["step"].dims == ("n_steps", "record")
    assert data["step"].dtype == np.int64
    assert data["step"].values.tolist() == [[0, -1, -1, -1], [0, 4, 8, 12], [0, 4, 8, -1]]
    assert "time" not in data.coords
    assert_array_equal(np.isnan(data["loss"].values[:, 0, 0]), data["step"].values < 0)


def test_the_axis_of_records_varies_with_what_changes_it_only():
    """Not with other dimensions, even those that change the shape of networks."""
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    data = sweep(lf.grid(training, {"network.hidden": [2, 3], "n_steps": [4, 8]}))
    assert data["step"].dims == ("n_steps", "record")
    assert data["step"].values.tolist() == [[0, 4, -1], [0, 4, 8]]


def test_the_axis_of_records_of_pairs():
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    data = sweep(lf.paired(training, {"n_steps": [4, 8, 4], "start.scale": [0.1, 0.2, 0.3]}))
    assert data["step"].dims == ("run", "record")
    assert data["step"].values.tolist() == [[0, 4, -1], [0, 4, 8], [0, 4, -1]]


def test_the_axis_of_records_of_flows():
    plan = {
        "kind": "gaussian",
        "scale": 0.5,
        "widths": (3, 4, 2),
        "loss": squared((3, 2)),
        "until": 2.0,
    }
    training = training_of(plan | {"record": lf.Record.at_times([0.0, 0.5], ("loss",))})
    data = sweep(lf.grid(training, {"until": [1.0, 2.0]}))
    assert data["loss"].dims == ("until", "time")
    assert data["time"].values.tolist() == [0.0, 0.5]
    records = [lf.Record.at_times([0.5], ("loss",)), training.record]
    data = sweep(lf.grid(training, {"when": lf.Axis(["late", "both"], {"record": records})}))
    assert data["loss"].dims == ("when", "record")
    assert_array_equal(data["time"].values, [[0.5, np.nan], [0.0, 0.5]])
    assert_array_equal(np.isnan(data["loss"].values), [[False, True], [False, False]])


def test_flows_and_descents_in_one_sweep():
    """Steps and times stand side by side: each is missing where the other is."""
    training = training_of(SMALL | {"record": lf.Record.geomspace(4, ("loss",))})
    flow = {"method": lf.GradientFlow(), "n_steps": None, "until": 1.0}
    descent = {"method": lf.GradientDescent(0.05), "n_steps": 12, "until": None}
    how = lf.Axis(["descent", "flow"], {key: [descent[key], flow[key]] for key in flow})
    data = sweep(
        lf.grid(
            training,
            {"how": how, "start.scale": [0.1, 0.5]},
            derived="final_loss",
            keep_records=True,
        )
    )
    assert data["loss"].dims == ("how", "scale", "record")
    assert data["step"].values.tolist() == [lf.Record.geomspace(4).steps(0, 12).tolist(), [-1] * 4]
    times = lf.Record.geomspace(4).times(0.0, 1.0)
    assert_array_equal(data["time"].values, [[np.nan] * 4, times])
    assert data["stopped_at"].values.tolist() == [[12.0, 12.0], [1.0, 1.0]]
    for i, scale in enumerate([0.1, 0.5]):
        plan = SMALL | {"scale": scale, "record": training.record}
        assert_array_equal(data["loss"].values[0, i], alone(plan).loss)
        del plan["n_steps"], plan["step"]
        assert_array_equal(data["loss"].values[1, i], alone(plan | {"until": 1.0}).loss)


def test_records_are_left_out_on_demand():
    training = training_of(SMALL)
    data = sweep(lf.grid(training, {"start.scale": [0.1]}, keep_records=False))
    assert set(data.data_vars) == {"final_loss", "status", "stopped_at"}
    assert "step" not in data.coords
    both = sweep(lf.grid(training, {"start.scale": [0.1]}, keep_records=True, derived="final_loss"))
    assert set(both.data_vars) == {*data.data_vars, *recorded(alone(SMALL))}
    assert_array_equal(both["final_loss"], data["final_loss"])


def test_coordinates_are_all_that_varies():
    training = training_of(SMALL | {"record": None})
    data = sweep(
        lf.grid(
            training,
            {
                "start.scale": [0.1, 0.5],
                "network.hidden": np.array([3, 2]),
                "depth": lf.Axis(
                    ["shallow", "deep"],
                    {
                        "network.n_layers": [2, 3],
                        "n_steps": [9, 5],
                        "method.step_size": np.array([0.1, 0.2]),
                    },
                ),
            },
            replicates=2,
        )
    )
    assert data["scale"].values.tolist() == [0.1, 0.5]
    assert data["hidden"].values.tolist() == [3, 2]
    assert data["depth"].values.tolist() == ["shallow", "deep"]
    assert data["seed"].values.tolist() == [0, 1]
    for name, values in (("n_layers", [2, 3]), ("n_steps", [9, 5]), ("step_size", [0.1, 0.2])):
        assert data[name].dims == ("depth",)
        assert data[name].values.tolist() == values


@pytest.mark.parametrize("make", [list, np.array])
def test_parameters_of_pairs_are_coordinates(make):
    training = training_of(SMALL | {"record": None, "stop": 0.1, "scale": 1.0})
    parameters = {
        "start.scale": make([0.1, 0.2]),
        "n_steps": make([3, 4]),
        "network.hidden": make([5, 6]),
        "stop.loss": make([1e-3, 1e-4]),
        "dtype": ["float32", "float64"],
    }
    data = sweep(lf.paired(training, parameters))
    for name, values in parameters.items():
        assert data[name.split(".")[-1]].dims == ("run",)
        assert data[name.split(".")[-1]].values.tolist() == list(values)


def test_parameters_with_the_same_last_name_are_both_coordinates():
    loss = make_binary("gaussian", 3)
    training = lf.Training(lf.Dense((3, 1)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), 3)
    pairs = {"start.scale": [0.1, 0.2], "loss.law.scale": [1.0, 2.0]}
    for spec in (
        lf.paired(training, pairs),
        lf.grid(training, {"both": lf.Axis(["a", "b"], pairs)}),
    ):
        data = sweep(spec)
        found = [c.values.tolist() for name, c in data.coords.items() if name not in spec.dims]
        assert sorted(found) == [[0.1, 0.2], [1.0, 2.0]]


def test_labels_of_mappings_are_coordinates_whatever_they_stand_for():
    training = training_of(SMALL | {"record": None})
    networks = {"narrow": lf.Dense((3, 1, 2)), "wide": lf.Dense((3, 6, 2))}
    parameters = {
        "network": networks,
        "n_steps": {"short": 3, "long": 9},
        "start.scale": {"a": 0.5},
    }
    data = sweep(lf.grid(training, parameters))
    assert data["final_loss"].dims == ("network", "n_steps", "scale")
    for name, values in zip(data["final_loss"].dims, parameters.values(), strict=True):
        assert data[name].values.tolist() == list(values)
    for (i, network), (j, n_steps) in itertools.product(
        enumerate(networks.values()), enumerate([3, 9])
    ):
        own = SMALL | {"widths": network.widths, "n_steps": n_steps}
        assert data["final_loss"].values[i, j, 0] == at_end(own, ["loss"])[1]["loss"]


def test_dimensions_named_in_full_have_their_labels_only():
    loss = make_binary("gaussian", 3)
    training = lf.Training(lf.Dense((3, 1)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), 3)
    data = sweep(lf.grid(training, {"start.scale": [0.1, 0.2], "loss.law.scale": [1.0, 2.0]}))
    assert set(data.coords) == {"start_scale", "loss_law_scale"}
    assert data["start_scale"].values.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("how", ["paired", "axis"])
def test_coordinates_and_results_of_one_name_do_not_meet(how):
    plan = SMALL | {"record": lf.Record.at([12], ("loss",)), "stop": 0.0}
    limits = [1e-3, 0.9]
    if how == "paired":
        spec = lf.paired(training_of(plan), {"stop.loss": limits}, common_seeds=True)
    else:
        spec = lf.grid(
            training_of(plan), {"limit": lf.Axis(["low", "high"], {"stop.loss": limits})}
        )
    data = sweep(spec)
    for i, limit in enumerate(limits):
        assert_run(
            data,
            (i,),
            recorded(alone(plan | {"stop": limit})) | ended(alone(plan | {"stop": limit})),
        )


def test_dimensions_and_results_of_one_name_are_refused():
    plan = SMALL | {"record": lf.Record.at([12], ("loss",)), "stop": 0.0}
    with pytest.raises(ValueError, match="loss"):
        sweep(lf.grid(training_of(plan), {"stop.loss": [1e-3, 0.9]}))
    with pytest.raises(ValueError, match="scale"):
        sweep(lf.grid(training_of(SMALL), {"start.scale": [0.1, 0.2]}, derived={"scale": largest}))


# -- designs other than grids ----------------------------------------------------------------------


@pytest.mark.parametrize("common", [True, False])
def test_pairs_are_trained_as_listed(common):
    scales, lengths = [0.1, 0.7, 0.3, 0.3, 0.5], [12, 3, 12, 0, 7]
    shapes = [(3, 4, 2), (3, 2), (3, 2), (3, 4, 2), (3, 1, 1, 2)]
    parameters = {
        "start.scale": scales,
        "n_steps": lengths,
        "network": [lf.Dense(w) for w in shapes],
    }
    spec = lf.paired(training_of(SMALL), parameters, replicates=2, common_seeds=common, rng=3)
    data = sweep(spec, chunk_runs=3)
    assert data["status"].dims == ("run", "seed")
    for i, seed in itertools.product(range(5), range(2)):
        plan = SMALL | {"scale": scales[i], "n_steps": lengths[i], "widths": shapes[i]}
        run = alone(plan, 3, seed if common else 2 * i + seed)
        assert_run(data, (i, seed), recorded(run) | ended(run))


def test_samples_are_trained_at_their_values():
    import scipy.stats

    parameters = {"start.scale": scipy.stats.loguniform(1e-3, 1), "network.hidden": [1, 4, 6]}
    spec = lf.sampled(training_of(SMALL), parameters, 12, rng=3, method="sobol")
    data = sweep(spec, chunk_runs=5)
    assert len(set(data["scale"].values.tolist())) == 12
    assert set(data["hidden"].values.tolist()) == {1, 4, 6}
    for run in range(12):
        plan = SMALL | {
            "scale": data["scale"].values[run],
            "widths": (3, int(data["hidden"][run]), 2),
        }
        own = alone(plan, 3, run)
        assert_run(data, (run,), recorded(own) | ended(own))


def test_parts_of_starts_and_methods():
    """Parameters that are neither numbers of a batch nor whole objects."""
    loss = make_binary("logistic", 3)
    method = lf.StochasticGradientDescent(0.1, 3, seed=1)
    training = lf.Training(
        lf.Dense((3, 2, 1)),
        loss,
        lf.Start("gaussian", 0.4),
        method,
        6,
        record=lf.Record.at([6], ("weights",)),
    )
    parameters = {
        "start.fan": ["in", "none"],
        "number": lf.Axis([1, 2**64 - 1 - 2**63], {"method.seed": [1, 2**64 - 1]}),
        "method.layer_multipliers": [[1.0, 1.0], [0.0, 2.0]],
    }
    data = sweep(lf.grid(training, parameters, replicates=2))
    assert data["weights_0"].dims[:4] == ("fan", "number", "layer_multipliers", "seed")
    for index in np.ndindex(2, 2, 2, 2):
        i, j, k, seed = index
        weights = lf.initialization.gaussian(
            lf.Dense((3, 2, 1)), scale=0.4, fan=["in", "none"][i], rng=0, streams=seed
        )
        own = lf.StochasticGradientDescent(
            0.1, 3, [1, 2**64 - 1][j], seed, 0.0, [[1.0, 1.0], [0.0, 2.0]][k]
        )
        run = lf.train(
            lf.Dense((3, 2, 1)), loss, weights, method=own, n_steps=6, record=training.record
        )
        assert_run(data, index, recorded(run) | ended(run))


def test_laws_and_directions():
    laws = [
        lf.laws.Gaussian(2, 1.5),
        lf.laws.Ball(2),
        lf.laws.RadialMixture(2, [1.0, 2.0], [0.5, 0.5]),
    ]
    directions = [[1.0, 0.0], [0.6, -0.8]]
    base = lf.SphericalLogisticLoss([1.0, 1.0], laws[0], 0.1)
    record = lf.Record.every(2, ("loss", "angle"))
    training = lf.Training(
        lf.Dense((2, 2, 1)),
        base,
        lf.Start("balanced", 0.3),
        lf.GradientDescent(0.3),
        4,
        record=record,
    )
    data = sweep(lf.grid(training, {"loss.law": laws, "loss.direction": directions}))
    assert data["angle"].dims == ("law", "direction", "step")
    for i, j in np.ndindex(3, 2):
        loss = lf.SphericalLogisticLoss(directions[j], laws[i], 0.1)
        weights = lf.initialization.balanced(lf.Dense((2, 2, 1)), scale=0.3, rng=0, streams=0)
        run = lf.train(
            lf.Dense((2, 2, 1)),
            loss,
            weights,
            method=lf.GradientDescent(0.3),
            n_steps=4,
            record=record,
        )
        assert_run(data, (i, j), recorded(run) | ended(run))
    scaled = sweep(
        lf.grid(training, {"loss.law.scale": [0.5, 2.0], "loss.label_noise": [0.0, 0.4]})
    )
    for i, j in np.ndindex(2, 2):
        loss = lf.SphericalLogisticLoss(
            [1.0, 1.0], lf.laws.Gaussian(2, [0.5, 2.0][i]), [0.0, 0.4][j]
        )
        run = lf.train(
            lf.Dense((2, 2, 1)),
            loss,
            weights,
            method=lf.GradientDescent(0.3),
            n_steps=4,
            record=record,
        )
        assert_run(scaled, (i, j), recorded(run) | ended(run))


def test_networks_of_all_kinds_in_one_sweep():
    networks = {
        "dense": lf.Dense((4, 3, 1)),
        "diagonal": lf.Diagonal(4, 3),
        "convolution": lf.Convolution(4, 2, 2),
        "own": lf.Chain([lf.layers.Diagonal(4), lf.layers.Fixed([[1.0, 2.0, 3.0, 4.0]])]),
    }
    names = tuple(name for name in EVERYTHING if name != "weights")  # whose axes differ
    plan = SMALL | {"loss": squared((4, 1)), "chain": networks["dense"]}
    plan["record"] = lf.Record.every(5, names)
    spec = lf.grid(
        training_of(plan),
        {"network": networks, "start.scale": [0.1, 0.5]},
        replicates=2,
        derived=FINALS,
        keep_records=True,
    )
    data = sweep(spec, chunk_runs=5)
    assert data["network"].values.tolist() == list(networks)
    for (i, chain), (j, scale), seed in itertools.product(
        enumerate(networks.values()), enumerate([0.1, 0.5]), range(2)
    ):
        own = plan | {"chain": chain, "scale": scale}
        run, end = at_end(own, [name.removeprefix("final_") for name in FINALS], 0, seed)
        expected = {f"final_{n}": v for n, v in end.items()} | recorded(run) | ended(run)
        if run.network.n_layers == 1:
            del expected["imbalance"]
        assert_run(data, (i, j, seed), expected)


# -- what it takes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("replicates", [2**36, 2**47])
def test_results_that_do_not_fit_are_refused_before_any_work(replicates):
    """Also before the labels of their runs are made."""
    spec = lf.grid(training_of(SMALL), {"start.scale": [0.1]}, replicates=replicates)
    with pytest.raises(
        MemoryError, match=r"the result needs [\d,]+ bytes but [\d,]+ are available; give a store"
    ):
        sweep(spec)


def test_progress_is_told():
    seen = []
    spec = lf.grid(training_of(SMALL), {"method.step_size": [0.05, 1e30]}, replicates=8)
    data = lf.sweep(spec, progress=seen.append, chunk_runs=4)
    assert seen[-1].n_runs == seen[-1].n_done == 16
    assert seen[-1].n_diverged == (data["status"] == lf.Status.DIVERGED).sum() == 8
    assert all(a.n_done <= b.n_done for a, b in itertools.pairwise(seen))
    assert all(0 <= p.n_done <= 16 and p.seconds >= 0 and p.seconds_left >= 0 for p in seen)
    assert seen[-1].seconds_left == 0
    assert seen[-1].runs_per_second > 0
    with pytest.raises(TypeError, match="progress must be a bool or a callable, got int"):
        lf.sweep(spec, progress=1)


def test_a_progress_that_fails_ends_the_sweep():
    def stop(_state):
        raise LookupError

    with pytest.raises(LookupError):
        lf.sweep(lf.grid(training_of(SMALL), {}, replicates=8), progress=stop, chunk_runs=2)


@pytest.mark.parametrize(
    ("swept", "options"),
    [
        ({"scale": [0.1, 0.5]}, {}),
        ({"widths": [(3, 2), (3, 5, 2)], "scale": [0.1, 0.5]}, {"derived": FINALS, "keep_records": True}),
        ({"widths": [(3, 2), (3, 5, 2)]}, {"derived": ("learned_rank", "learning_times"), "keep_records": False}),
        ({"n_steps": [0, 7, 12], "dtype": ["float32", "float64"]}, {}),
    ],
)  # fmt: skip
def test_estimates_count_runs_groups_and_bytes(swept, options):
    spec = lf.grid(training_of(SMALL), axes_of(swept), replicates=5, **options)
    estimate = lf.estimate_sweep(spec, n_threads=1)
    data = sweep(spec)
    assert estimate.n_runs == spec.n_runs == data["status"].size
    assert estimate.n_bytes == sum(variable.nbytes for variable in data.data_vars.values())
    assert estimate.n_threads == 1
    assert estimate.seconds > 0
    assert sum(group.n_runs for group in estimate.groups) == spec.n_runs
    assert_allclose(sum(group.seconds for group in estimate.groups), estimate.seconds, rtol=1e-12)
    assert estimate.chunk_runs >= 1
    shapes = {(w["widths"] if isinstance(w, dict) else w) for w in swept.get("widths", [(3, 4, 2)])}
    names = {group.network for group in estimate.groups}
    assert names == {lf.Dense(shape).spec for shape in shapes}
    choices = [
        len(set(map(str, v))) for word, v in swept.items() if word in ("widths", "n_steps", "dtype")
    ]
    assert len(estimate.groups) == np.prod(choices, dtype=int)


def test_estimates_of_flows_and_of_long_trainings():
    plan = {
        "kind": "gaussian",
        "scale": 0.5,
        "widths": (3, 4, 2),
        "loss": squared((3, 2)),
        "until": 1.0,
    }
    flow = lf.estimate_sweep(lf.grid(training_of(plan), {}, replicates=3), n_threads=1)
    assert (flow.n_runs, flow.n_bytes) == (3, 3 * (8 + 8 + 1))
    long = training_of(SMALL | {"record": None, "n_steps": 10**12})
    estimate = lf.estimate_sweep(lf.grid(long, {}, replicates=10**6), n_threads=1)
    assert estimate.n_bytes == 17 * 10**6
    assert estimate.seconds > 10**9
    assert estimate.chunk_runs == 1
    with pytest.raises(TypeError, match="spec must be a SweepSpec, got Training"):
        lf.estimate_sweep(long)
    with pytest.raises(ValueError, match="n_threads must be >= 1, got 0"):
        lf.estimate_sweep(lf.grid(long, {}), n_threads=0)


def test_samples_may_be_none_of_the_library():
    """Data given as arrays are swept as any other part of a loss."""
    x, y = make_data(6, 3)
    training = lf.Training(
        lf.Dense((3, 2, 1)), lf.LogisticLoss(x, y), lf.Start("gaussian"), lf.GradientDescent(0.1), 5
    )
    data = sweep(lf.grid(training, {"loss.labels": [y, -y]}, replicates=2, derived="final_loss"))
    for i, labels in enumerate([y, -y]):
        for seed in range(2):
            plan = {
                "kind": "gaussian",
                "scale": 1.0,
                "widths": (3, 2, 1),
                "n_steps": 5,
                "step": 0.1,
            }
            plan["loss"] = lf.LogisticLoss(x, labels)
            assert data["final_loss"].values[i, seed] == at_end(plan, ["loss"], 0, seed)[1]["loss"]
