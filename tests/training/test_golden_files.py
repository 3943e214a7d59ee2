"""Files of every schema ever written stay readable: what these hold is trained anew and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import laws, layers, reference
from linnet_fast.sweeps.spec import NUMERICS
from linnet_fast.sweeps.store import Store

GOLDEN = Path(__file__).parents[1] / "golden"


def again(run, n_steps=None, until=None):
    """Train anew, by the reference, what a file says was trained."""
    record = (
        lf.Record.at(run.steps.tolist(), tuple(run.observables))
        if until is None
        else lf.Record.at_times(run.time, tuple(run.observables))
    )
    return reference.train(
        run.network, run.loss_function, run.start.weights, method=run.method, n_steps=n_steps,
        until=until, record=record,
        stop=lf.Stop(loss=0.3, check_every=5) if isinstance(run.loss_function, lf.LogisticLoss) else None,
    )  # fmt: skip


def assert_agrees(run, fresh, rtol):
    assert_array_equal(run.status, fresh.status)
    for name, value in fresh.observables.items():
        parts = zip(run.observables[name], value, strict=True) if name == "weights" else ()
        for a, b in parts or [(run.observables[name], value)]:
            assert_allclose(a, b, rtol=rtol, atol=rtol)
    for a, b in zip(run.final.weights, fresh.final.weights, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol)


def test_a_stochastic_descent_with_a_rule_of_schema_4():
    run = lf.Trajectory.load(GOLDEN / "logistic_schema4.npz")
    assert run.network == lf.Dense((3, 2, 1))
    loss, method = run.loss_function, run.method
    assert type(loss) is lf.LogisticLoss
    assert loss.n_samples == 12
    assert_array_equal(loss.label_noise, [[0.0], [0.1]])
    assert (method.batch_size, method.seed, method.n_memories) == (4, 7, 0)
    assert method.rule.kind == "power"
    assert_array_equal(method.rule.scale, [0.5, 0.1])
    assert run.run_shape == (2, 2)
    assert run.final.memory == ()
    assert_agrees(run, again(run, n_steps=50), 1e-12)


def test_a_flow_of_schema_4_in_netcdf():
    run = lf.Trajectory.load(GOLDEN / "flow_schema4.nc")
    chain = [layers.Diagonal(3), layers.Residual(layers.Dense(3, 3), 0.5), layers.Dense(3, 2)]
    assert run.network == lf.Chain(chain)
    assert_array_equal(run.method.rtol, [1e-6, 1e-7, 1e-8])
    assert_agrees(run, again(run, until=3.0), 1e-5)


def test_a_spherical_loss_in_single_precision_of_schema_4():
    run = lf.Trajectory.load(GOLDEN / "spherical_schema4.npz")
    assert run.loss_function.law == laws.RadialMixture(4, (1.0, 2.0), (0.25, 0.75))
    assert run.method.weight_decay == 0.01
    assert_array_equal(run.method.layer_multipliers, [0.5])
    assert run.final.weights[0].dtype == np.float32
    assert_agrees(run, again(run, n_steps=20), 1e-5)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize(
    "file", ["logistic_schema4.npz", "flow_schema4.nc", "spherical_schema4.npz"]
)
def test_what_is_read_is_written_in_today_s_schema(tmp_path, file, suffix):
    run = lf.Trajectory.load(GOLDEN / file)
    run.save(tmp_path / f"again{suffix}")
    copy = lf.Trajectory.load(tmp_path / f"again{suffix}")
    assert repr(copy.loss_function) == repr(run.loss_function)
    assert repr(copy.method) == repr(run.method)
    for name in run.observables:
        parts = (run.observables, copy.observables)
        for a, b in zip(
            *(p[name] if name == "weights" else (p[name],) for p in parts), strict=True
        ):
            assert_array_equal(a, b)


def test_a_store_of_schema_1():
    store = GOLDEN / "store_schema1.zarr"
    data = lf.open_sweep(store)
    training = lf.Training(
        lf.Dense((2, 2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0),
        lf.Start("gaussian", scale=1e-2), method=lf.GradientDescent(0.05), n_steps=200,
        record=lf.Record.geomspace(4, ("loss", "singular_values")),
    )  # fmt: skip
    spec = lf.grid(
        training, {"start.scale": [1e-2, 1e-1], "method.step_size": [0.05, 5.0]}, replicates=3,
        derived=("final_loss", "learned_rank"), rng=1,
    )  # fmt: skip
    fresh = lf.sweep(spec)
    assert set(data.variables) == set(fresh.variables)
    for name in fresh.variables:
        assert data[name].dims == fresh[name].dims
        assert_allclose(data[name], fresh[name], rtol=1e-9, atol=1e-12)


def test_only_the_number_of_the_numerics_has_changed_the_identity_of_a_sweep(monkeypatch):
    """So a store that was begun before opens, and is gone on with by what made it."""
    training = lf.Training(
        lf.Dense((2, 2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0),
        lf.Start("gaussian", scale=1e-2), method=lf.GradientDescent(0.05), n_steps=200,
        record=lf.Record.geomspace(4, ("loss", "singular_values")),
    )  # fmt: skip
    spec = lf.grid(
        training, {"start.scale": [1e-2, 1e-1], "method.step_size": [0.05, 5.0]}, replicates=3,
        derived=("final_loss", "learned_rank"), rng=1,
    )  # fmt: skip
    note = (GOLDEN / "store_schema1.zarr" / "zarr.json").read_text()
    assert spec.id not in note
    refused = rf"begun with numerics 1 of the library.* {NUMERICS}: it opens"
    with pytest.raises(lf.SweepError, match=refused):
        Store.open(GOLDEN / "store_schema1.zarr").check(spec)
    monkeypatch.setattr("linnet_fast.sweeps.spec.NUMERICS", 1)
    assert replace(spec).id in note
