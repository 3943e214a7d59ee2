"""What sweeps derive from records of observables: extremes, first times, ends; in files, too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sweep_files import refused
from sweep_problems import sweep

import linnet_fast as lf

NETWORK = lf.Dense((3, 4, 2))
_RNG = np.random.default_rng(0)
LOSS = lf.SquaredLoss.from_data(_RNG.standard_normal((9, 3)), _RNG.standard_normal((9, 2)))
DERIVED = (
    "max(sharpness)",
    "min('hessian_eigenvalues(2, both)')",
    "first_time(loss, below=0.6)",
    "first_step(loss_test, below=0.6, above = 0.2)",
    "final_weight_distance",
    "final_hessian_eigenvalues(2)",
)


def spec_of(observables, derived, **options):
    training = lf.Training(
        NETWORK,
        LOSS,
        lf.Start("gaussian", 0.4),
        method=lf.GradientDescent(0.1),
        n_steps=60,
        record=lf.Record.every(5, observables, evaluate={"test": LOSS}),
        **options,
    )
    return lf.grid(training, {"method.step_size": [0.05, 0.1, 5.0]}, derived=derived)


@pytest.mark.parametrize("stop", [None, lf.Stop(above={"sharpness": 4.5}, check_every=5)])
def test_values_are_those_of_the_records(stop):
    spec = spec_of(("loss", "sharpness", "hessian_eigenvalues(2, both)"), DERIVED, stop=stop)
    data = sweep(spec, chunk_runs=2)
    sharpness = data["sharpness"].to_numpy()
    assert_array_equal(data["max_sharpness"], np.fmax.reduce(sharpness, axis=-1))
    both = data["hessian_eigenvalues_2_both"]
    least = data["min_hessian_eigenvalues_2_both"]
    assert least.dims == ("step_size", "end", "eigenvalue")
    assert_array_equal(least, np.fmin.reduce(both.to_numpy(), axis=1))
    loss, steps = data["loss"].to_numpy(), data["step"].to_numpy()
    for i, size in enumerate([0.05, 0.1, 5.0]):
        met = np.flatnonzero(loss[i] <= 0.6)
        expected = size * steps[met[0]] if met.size else np.nan
        assert_array_equal(data["first_time_loss"][i], expected)
        met = np.flatnonzero((loss[i] <= 0.6) & (loss[i] >= 0.2))
        assert_array_equal(data["first_step_loss_test"][i], steps[met[0]] if met.size else np.nan)
    assert data["final_hessian_eigenvalues_2"].dims == ("step_size", "eigenvalue")
    ended = data["status"].to_numpy() == 0
    top = both.to_numpy()[:, -1, 0]
    assert_allclose(data["final_hessian_eigenvalues_2"].to_numpy()[ended], top[ended], rtol=1e-9)
    assert np.isfinite(data["final_weight_distance"].to_numpy()[ended]).all()


def test_files_say_it_and_vary_it(make):
    spec = make(
        record={"every": 10, "observables": ["loss", "sharpness", "overlap(2)"]},
        derived=["max(sharpness)", "first_step(loss, below=1e-3)"],
        stop={"above": {"sharpness": 50.0}},
        grid={"stop.above.sharpness": [20.0, 30.0]},
    ).spec
    assert [one.name for one in spec.derived] == ["max_sharpness", "first_step_loss"]
    assert spec.training.record.observables == ("loss", "sharpness", "overlap(2)")
    assert spec.dims == ("sharpness",)
    assert len(spec.groups) == 1


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ("first_time(loss)", "must have below=, above= or both"),
        ("max(loss, below=1)", "must have no limits in max"),
        ("first_time(loss, under=1)", "must be such as 'first_time"),
        ("max(no such)", "must be of an observable"),
        ("max(norm)", "record must have norm for max_norm"),
        ("final_sharpnes", "final_sharpness"),
    ],
)
def test_what_is_none_is_refused(derived, message):
    with pytest.raises(ValueError, match=message):
        spec_of(("loss",), [derived])


def test_a_file_with_what_is_none_is_refused(make):
    refused(make, "max", derived=["max(no such)"])
