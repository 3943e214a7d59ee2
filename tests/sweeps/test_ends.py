"""How runs of sweeps end: final values, learned ranks and learning times."""

from __future__ import annotations

import numpy as np
import pytest
from binary_problems import direction, make_binary, observed
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, cover
from sweep_plans import (
    BINARY,
    SMALL,
    alone,
    assert_run,
    at_end,
    axes_of,
    ended,
    recorded,
    runs_of,
    training_of,
)
from sweep_problems import sweep

import linnet_fast as lf
from linnet_fast import rank_dynamics, reference

DIAGONAL = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)


# -- how runs end ----------------------------------------------------------------------------------

LATE = lf.Record.at([1, 3], ("loss",))
NOT_LAST = lf.Record.every(5, EVERYTHING)
LAST = lf.Record.every(6, EVERYTHING)


@pytest.mark.parametrize(
    ("name", "record", "keep"),
    cover(
        ["squared", "logistic", "exponential", "gaussian"],
        [None, LATE, NOT_LAST, LAST],
        [True, False],
        n=8,
    ),
)
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


@pytest.mark.parametrize(
    ("kept", "at_the_end"), cover([("loss",), ("norm",), EVERYTHING], [True, False])
)
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


# -- ranks and times -------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("modes", "record"), cover(MODES, [None, lf.Record.every(7, ("loss", "singular_values"))])
)
def test_learned_rank_is_counted(modes, record):
    sigma, lam = MODES[modes]
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
