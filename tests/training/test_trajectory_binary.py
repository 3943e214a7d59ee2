"""Files and datasets of trainings on losses of one output, with step rules, laws and samples that are drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from binary_problems import LAWS, LOSSES, RULES, direction, make_binary, observed
from numpy.testing import assert_array_equal
from support import assert_same, crossed, make_start, parts

import linnet_fast as lf
from linnet_fast import Trajectory, laws
from linnet_fast.methods.step_rule import StepRule

NETWORK = lf.Dense((3, 2, 1))
METHODS = {
    "number": lf.GradientDescent([[0.1], [0.2]], 0.01, [1.0, 0.5]),
    **{name: lf.GradientDescent(rule(np.array([0.1, 0.2, 0.05]))) for name, rule in RULES.items()},
    "drawn": lf.StochasticGradientDescent(0.1, 7, 2**64 - 1, [[5], [2**32 - 1]]),
    "drawn by default": lf.StochasticGradientDescent(StepRule.geometric(0.1, [[0.9], [1.1]]), 7),
    "flow": lf.GradientFlow(1e-7),
    "late flow": lf.GradientFlow([[1e-7], [1e-8]], 1e-9, 500, 0.01, log_time=True),
}


def make(kind, method, runs=(2, 3), noise=0.0):
    loss = make_binary(
        kind, 3, runs if kind in ("exponential", "sphere") else (), label_noise=noise
    )
    names = observed(NETWORK, loss)
    start = make_start((3, 2, 1), runs, scale=0.5)
    if isinstance(method, lf.GradientFlow):
        record = lf.Record.at_times([0.0, 0.5, 2.0], names, direction(3))
        return lf.train(NETWORK, loss, start, method=method, until=2.0, record=record)
    record = lf.Record.every(3, names, direction(3))
    return lf.train(NETWORK, loss, start, method=method, n_steps=6, record=record)


def assert_equal_values(one, two):
    """Compare what dataclasses hold, however deep."""
    assert type(one) is type(two)
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if dataclasses.is_dataclass(a):
            assert_equal_values(a, b)
        elif isinstance(a, np.ndarray):
            assert_array_equal(a, b, strict=True)
            assert isinstance(b, np.ndarray)
        else:
            assert a == b
            assert type(a) is type(b)


def saved(run, path):
    run.save(path)
    return Trajectory.load(path)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_comes_back(name, suffix, tmp_path):
    run = make("logistic", METHODS[name])
    again = saved(run, tmp_path / f"run{suffix}")
    assert_same(again, run)
    assert_equal_values(again.method, run.method)
    assert_equal_values(again.loss_function, run.loss_function)
    assert_array_equal(again.time, run.time, strict=True)
    assert again.provenance == run.provenance
    assert repr(again.method) == repr(run.method)


@crossed(("suffix", [".npz", ".nc"]), ("noise", [0.0, 0.2]), ("kind", LOSSES), n=8)
def test_every_loss_and_law_comes_back(kind, noise, suffix, tmp_path):
    run = make(kind, METHODS["drawn"], noise=noise)
    again = saved(run, tmp_path / f"run{suffix}")
    assert_same(again, run)
    assert_equal_values(again.loss_function, run.loss_function)
    assert repr(again.loss_function) == repr(run.loss_function)
    product = np.random.default_rng(0).standard_normal((2, 3, 1, 3))
    assert_array_equal(again.loss_function.value(product), run.loss_function.value(product))
    if kind in LAWS:
        assert again.loss_function.law == run.loss_function.law
        assert isinstance(again.loss_function.law, laws.SphericalLaw)


@crossed(("suffix", [".npz", ".nc"]), ("name", METHODS), ("kind", ["logistic", "mixture"]))
def test_what_is_loaded_goes_on_as_what_was_saved(kind, name, suffix, tmp_path):
    """Bit for bit, elapsed times included; also when what goes on is itself saved."""
    run = make(kind, METHODS[name])
    again = saved(run, tmp_path / f"run{suffix}")
    length = {"until": 3.0} if isinstance(run.method, lf.GradientFlow) else {"n_steps": 5}
    record = lf.Record.geomspace(3, ("loss", "angle"), direction(3))
    ends = [
        lf.train(r.network, r.loss_function, r.final, method=r.method, record=record, **length)
        for r in (run, again)
    ]
    assert_same(ends[1], ends[0])
    assert_array_equal(ends[1].time, ends[0].time)
    last = saved(ends[0], tmp_path / f"last{suffix}")
    assert_same(last, ends[0])
    for state in ("start", "final"):
        one, two = getattr(last, state).elapsed, getattr(ends[0], state).elapsed
        assert (one is None) == (two is None)
        if one is not None:
            assert_array_equal(one, two)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("rule", RULES)
def test_elapsed_times_are_saved(rule, suffix, tmp_path):
    run = make("logistic", METHODS[rule])
    again = saved(run, tmp_path / f"run{suffix}")
    assert again.final.elapsed is not None
    assert_array_equal(again.final.elapsed, run.final.elapsed)


def test_shared_samples_are_saved_once(tmp_path):
    x = np.ones((50, 3))
    loss = lf.LogisticLoss(np.broadcast_to(x, (400, 50, 3)), np.broadcast_to(1.0, (400, 50)))
    run = lf.train(
        lf.Dense((3, 1)), loss, (np.zeros((1, 3)),), method=lf.GradientDescent(0.1), n_steps=1,
        record=lf.Record.at([1], ("loss",)),
    )  # fmt: skip
    run.save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as archive:
        shapes = {name: archive[name].shape for name in archive.files}
    assert (1, 50, 3) in shapes.values()
    assert not any(shape[:1] == (400,) for name, shape in shapes.items() if "array" in name)
    again = Trajectory.load(tmp_path / "run.npz")
    assert again.run_shape == (400,)
    assert_array_equal(again.loss, run.loss)


# --- datasets


@pytest.mark.parametrize("name", METHODS)
def test_to_xarray_of_every_method(name):
    run = make("logistic", METHODS[name])
    data = run.to_xarray(dims=("a", "b"))
    along = "time" if run.steps is None else "step"
    assert data.sizes == {**data.sizes, "a": 2, "b": 3, along: 3}
    for variable in ("loss", "angle", "log_tan_half_angle", "norm", "margin"):
        assert data[variable].dims == ("a", "b", along)
        assert_array_equal(data[variable], run.observables[variable])
    assert data["layer_singular_ratio"].dims == ("a", "b", along, "layer")
    assert data["layer_alignment"].dims == ("a", "b", along, "layer_pair")
    assert_array_equal(data["layer_alignment"], run.layer_alignment)


def test_times_of_a_rule_are_coordinates_of_runs_and_steps():
    run = make("logistic", METHODS["loss_normalized"])
    data = run.to_xarray(dims=("a", "b"))
    assert data["time"].dims == ("a", "b", "step")
    assert_array_equal(data["time"], run.time)
    assert (data["time"].isel(step=-1) > 0).all()
    one = make("logistic", lf.GradientDescent(StepRule.power(0.1, 0.5)), runs=())
    assert one.to_xarray()["time"].dims == ("step",)
    assert_array_equal(one.to_xarray()["time"], one.time)


def test_times_after_the_end_of_a_run_are_nan():
    loss = make_binary("exponential", 3)
    method = lf.GradientDescent(StepRule.geometric([0.01, 1e100], 1.1))
    run = lf.train(
        NETWORK, loss, make_start((3, 2, 1), (2,)), method=method, n_steps=6,
        record=lf.Record.every(2, ("loss",)),
    )  # fmt: skip
    assert run.status.tolist() == [0, 2]
    assert np.isfinite(run.time[0]).all()
    assert_array_equal(np.isnan(run.time[1]), np.isnan(run.loss[1]))
    assert np.isnan(run.time[1, -1])


# --- states


def test_states_check_their_elapsed_times():
    weights = (np.ones((2, 1, 3)),)
    rest = (5, np.zeros(2, np.int8), np.full(2, 5), None)
    lf.State(weights, *rest, np.zeros(2))
    for bad in (np.zeros(3), np.zeros(2, np.float32), np.zeros(()), np.zeros(2, int)):
        with pytest.raises(ValueError, match="elapsed must be float64 of shape"):
            lf.State(weights, *rest, bad)


def test_a_run_prints_and_copies():
    run = make("gaussian", METHODS["drawn by default"])
    assert "6 runs" in repr(run)
    assert "SphericalLogisticLoss" in repr(run.loss_function)
    for name, array in parts(run).items():
        assert array.shape[:2] == (2, 3), name
