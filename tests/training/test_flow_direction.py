"""Angles along flows: known to their own size, or NaN and said so."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.directional_convergence import check_bounds, classify_rate, reduced_flow

ANGLES = ("log_tan_half_angle", "angle", "norm")
S0 = np.log(np.tan(1.25))  # of the angle 2.5


def make_start(v, n_layers, angle=2.5, norm=2.0, seed=0):
    """Return a balanced start of hidden width 3, and the unit vector v."""
    rng = np.random.default_rng(seed)
    v = np.asarray(v) / np.linalg.norm(v)
    across = rng.normal(size=v.size)
    across -= across @ v * v
    across /= np.linalg.norm(across)
    w = norm * (np.cos(angle) * v + np.sin(angle) * across)
    units = [u / np.linalg.norm(u) for u in rng.normal(size=(n_layers - 1, 3))]
    ends = [w / norm, *units, np.ones(1)]
    return tuple(norm ** (1 / n_layers) * np.outer(b, a) for a, b in pairwise(ends))


def flow(
    v, n_layers, times, law=None, rtol=1e-8, network=None, start=None, observables=ANGLES, **k
):
    loss = lf.SphericalLogisticLoss(v, law or lf.laws.Gaussian(len(v)))
    return lf.train(
        network or lf.Dense((len(v), *[3] * (n_layers - 1), 1)),
        loss,
        make_start(v, n_layers) if start is None else start,
        method=lf.GradientFlow(rtol, **k),
        until=times[-1],
        record=lf.Record.at_times(times, observables),
    )  # fmt: skip


VECTORS = [[0.0, 1.0], [0.6, 0.8], [1.0, 2.0, 3.0, -1.0]]


@pytest.mark.parametrize("v", VECTORS, ids=str)
@pytest.mark.parametrize(("n_layers", "until"), [(1, 1e3), (2, 80.0), (3, 35.0)])
def test_small_angles_are_known_to_their_own_size(v, n_layers, until):
    times = np.geomspace(0.1, until, 30)
    exact = reduced_flow(lf.laws.Gaussian(len(v)), n_layers, angle=2.5, norm=2.0, time=times)
    assert exact.log_tan_half_angle[-1] < np.log(1e-9)
    for rtol, error in ((1e-8, 1e-6), (1e-11, 1e-9)):
        run = flow(v, n_layers, times, rtol=rtol)
        assert_allclose(run.log_tan_half_angle, exact.log_tan_half_angle, rtol=0, atol=error)
        assert_allclose(run.angle, exact.angle, rtol=error)
        assert_allclose(run.norm, exact.norm, rtol=30 * rtol)
    if n_layers == 2:
        closed = S0 - lf.laws.Gaussian(2).kappa * times
        assert_allclose(run.log_tan_half_angle, closed, rtol=0, atol=1e-9)


def test_angles_of_many_runs_at_once():
    v = np.array([[0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [1.0, 1.0, 1.0]])
    loss = lf.SphericalLogisticLoss(v, lf.laws.Sphere(3))
    starts = [make_start(one, 2, norm=r) for one, r in zip(v, (0.5, 1.0, 2.0), strict=True)]
    start = tuple(np.stack(parts) for parts in zip(*starts, strict=True))
    times = np.array([0.0, 10.0, 90.0])
    record = lf.Record.at_times(times, (*ANGLES, "weights", "product", "loss"))
    run = lf.train(
        lf.Dense((3, 3, 1)), loss, start, method=lf.GradientFlow(), until=90.0, record=record
    )
    closed = S0 - lf.laws.Sphere(3).kappa * times
    assert_allclose(run.log_tan_half_angle, np.tile(closed, (3, 1)), rtol=0, atol=1e-6)
    # Weights, products and ends are in the coordinates of the start.
    first, second = run.weights
    assert_allclose(second @ first, run.product, atol=1e-12)
    assert_allclose(first[:, 0], start[0], atol=1e-15)
    for final, recorded in zip(run.final.weights, run.weights, strict=True):
        assert_allclose(final, recorded[:, -1], rtol=1e-13, atol=1e-14)
    w = run.product[:, -1, 0]
    assert_allclose(w, run.norm[:, -1:] * loss.direction, atol=1e-7)
    assert_allclose(loss.value(run.product[:, -1]), run.loss[:, -1], rtol=1e-12)


def test_flows_that_record_no_angle_stay_as_they_are():
    v, times = [0.6, 0.8], [0.0, 5.0, 50.0]
    plain = flow(v, 2, times, observables=("norm",))
    also = flow(v, 2, times)
    assert plain.n_steps < also.n_steps  # angles have their price
    assert_allclose(plain.norm, also.norm, rtol=1e-6)


def test_what_is_rounding_is_nan_and_said_to_be():
    v, times = [0.6, 0.8], np.geomspace(1.0, 1e3, 20)
    loss = lf.SphericalLogisticLoss(v, lf.laws.Gaussian(2))
    # A layer that is fixed keeps its coordinates, in which parts across v cancel.
    network = lf.Chain([layers.Fixed(np.eye(2)), layers.Dense(2, 1)])
    start = (np.array([[0.5, -1.0]]),)
    record = lf.Record.at_times(times, ANGLES)
    with pytest.warns(UserWarning, match=r"angle is NaN in \d+ of 20 records"):
        run = lf.train(network, loss, start, method=lf.GradientFlow(), until=1e3, record=record)
    unknown = np.isnan(run.log_tan_half_angle)
    assert_array_equal(unknown, np.isnan(run.angle))
    assert unknown.any()
    assert not unknown[0]
    assert not np.isnan(run.norm).any()
    assert run.angle[~unknown].min() > 1e-10
    exact = reduced_flow(
        loss.law,
        1,
        angle=np.arctan2(1.0, 0.5) + np.arctan2(0.8, 0.6),
        norm=np.sqrt(1.25),
        time=times,
    )
    assert_allclose(run.angle[~unknown], exact.angle[~unknown], rtol=2e-6)


def test_angles_below_all_numbers_are_nan():
    with pytest.warns(UserWarning, match="or below 1e-280"):
        run = flow([0.0, 1.0], 1, [10.0, 1e4, 1e6])
    exact = reduced_flow(lf.laws.Gaussian(2), 1, angle=2.5, norm=2.0, time=[10.0, 1e4])
    assert_allclose(run.log_tan_half_angle[:2], exact.log_tan_half_angle, rtol=0, atol=1e-6)
    assert np.isnan(run.log_tan_half_angle[2])


def test_an_aligned_start_stays_aligned():
    start = (np.array([[0.0, 2.0]]),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = flow([0.0, 1.0], 1, [0.0, 10.0, 1e4], start=start)
    assert_array_equal(run.log_tan_half_angle, -np.inf)
    assert_array_equal(run.angle, 0)
    # Of other directions a start is aligned to its rounding only.
    with pytest.warns(UserWarning, match="is rounding there"):
        run = flow([0.6, 0.8], 1, [1.0, 10.0], start=(np.array([[1.2, 1.6]]),))
    assert np.isnan(run.angle).all()


@pytest.mark.parametrize("n_layers", [1, 2])
def test_flows_in_logarithmic_time_are_analysed_in_time(n_layers):
    until = 60.0
    flat = flow([0.6, 0.8], n_layers, np.linspace(0, until, 200))
    u = np.log1p(np.linspace(0, until, 200))
    run = flow([0.6, 0.8], n_layers, u, log_time=True)
    assert_allclose(run.log_tan_half_angle, flat.log_tan_half_angle, rtol=0, atol=2e-6)
    table = check_bounds(run)
    assert table.n_violations == 0, str(table)
    assert {row.n_checked for row in table if "global" in row.name} == {199}
    one, other = classify_rate(run), classify_rate(flat)
    assert one.kind == other.kind
    assert one.kind == ("linear" if n_layers == 2 else "stretched exponential")
    assert_allclose(one.exponent, other.exponent, atol=1e-4)
    assert_allclose(one.end, until, rtol=1e-12)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_default_flows_and_tolerances_do_not_violate_bounds(n_layers):
    run = flow([0.6, 0.8], n_layers, np.linspace(0, 30, 60))
    table = check_bounds(run)
    assert table.n_violations == 0, str(table)
    if n_layers == 2:  # whose bounds are exact
        assert check_bounds(run, tolerance=1e-12).n_violations > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_descents_do_not_violate_bounds_by_rounding(dtype):
    v = np.array([0.6, 0.8])
    run = lf.train(
        lf.Dense((2, 1)),
        lf.SphericalLogisticLoss(v, lf.laws.Gaussian(2)),
        (make_start(v, 1)[0].astype(dtype),),
        method=lf.GradientDescent(0.5),
        n_steps=2000,
        record=lf.Record.every(10, ("norm", "log_tan_half_angle")),
    )
    table = check_bounds(run, step_size=[0.5])
    assert table.n_violations == 0, str(table)
    assert len(table) == 3
