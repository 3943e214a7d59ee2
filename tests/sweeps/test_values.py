"""What a sweep says of a run is what the run says that is trained alone, whatever else is swept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from binary_problems import make_binary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, cover, few
from sweep_plans import (
    BINARY,
    FINALS,
    SMALL,
    alone,
    assert_run,
    at_end,
    axes_of,
    ended,
    length_of,
    loss_of,
    method_of,
    network_of,
    recorded,
    runs_of,
    squared,
    start_of,
    stop_of,
    training_of,
)
from sweep_problems import sweep

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.records.observables import OBSERVABLES

# -- designs of all sorts --------------------------------------------------------------------------

CYCLE = tuple(OBSERVABLES)[:7]  # those that every training has


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


def swept_runs(plan, swept, common_seeds, chunk_runs, **options):
    """Return a sweep of a plan, and the index, the plan and the stream of each of its runs."""
    spec = lf.grid(training_of(plan), axes_of(swept), common_seeds=common_seeds, **options)
    return sweep(spec, chunk_runs=chunk_runs), runs_of(spec, plan, swept, common_seeds)


@settings(max_examples=60)
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
    options = {"replicates": replicates, "derived": names, "keep_records": keep}
    data, runs = swept_runs(plan, swept, common, chunk, **options)
    for index, own, stream in runs:
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


@settings(max_examples=40)
@given(flows(), st.none() | st.integers(1, 3), st.booleans(), st.integers(1, 30))
def test_every_run_of_a_flow_is_the_run_trained_alone(problem, replicates, common, chunk):
    plan, swept = problem
    names = ("final_loss", "final_singular_values", "final_gradient_norm", "final_product")
    options = {"replicates": replicates, "derived": names, "keep_records": True}
    data, runs = swept_runs(plan, swept, common, chunk, **options)
    for index, own, stream in runs:
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


@pytest.mark.parametrize(
    ("case", "replicates", "common"), cover(CASES, [None, 1, 3], [True, False])
)
def test_records_are_those_of_the_run_trained_alone(case, replicates, common):
    plan, swept = CASES[case]
    spec = lf.grid(
        training_of(plan), axes_of(swept), replicates=replicates, common_seeds=common, rng=8
    )
    data = sweep(spec, chunk_runs=5)
    assert data.sizes.get("seed") == replicates
    for index, own, stream in runs_of(spec, plan, swept, common):
        run = alone(own, 8, stream)
        assert_run(data, index, recorded(run) | ended(run))


@pytest.mark.parametrize("case", few(CASES, 14))
def test_a_single_run_of_a_spec_is_the_run_trained_alone(case):
    plan, swept = CASES[case]
    spec = lf.grid(training_of(plan), axes_of(swept), replicates=2, common_seeds=False, rng=8)
    for number, (index, own, stream) in enumerate(runs_of(spec, plan, swept, common_seeds=False)):
        assert spec.index(number) == index
        run, expected = spec.run(number), alone(own, 8, stream)
        assert run.run_shape == ()
        for name, value in (recorded(expected) | ended(expected)).items():
            assert_array_equal((recorded(run) | ended(run))[name], value, err_msg=name)


@pytest.mark.parametrize(
    "name", few([name for name in CASES if "float32" not in name and name != "dtypes"], 14)
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
