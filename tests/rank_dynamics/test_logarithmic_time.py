"""Analyses of flows in logarithmic time tell time itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aligned_problems import LAM, LOSS, SIGMA, commuting, flow
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import rank_dynamics as rd


def in_log_time(loss, start, until, times, **options):
    network = lf.Dense((4, *(w.shape[-2] for w in start)))
    return lf.train(
        network,
        loss,
        start,
        method=lf.GradientFlow(1e-11, log_time=True),
        until=np.log1p(until),
        record=lf.Record.at_times(np.log1p(times), observables=("product",)),
        **options,
    )


@pytest.mark.parametrize("widths", [(4, 3), (4, 4, 3), (4, 3, 5, 3)])
def test_flows_in_logarithmic_time_are_told_in_time(widths):
    """Against the closed form, and against the same flow in time itself."""
    times = np.linspace(0, 40, 200)
    network = lf.Dense(widths)
    start = lf.initialization.aligned(network, LOSS, [1e-3, 1e-2, 1e-3], rng=0)
    run = in_log_time(LOSS, start, 40.0, times)
    plain = flow(LOSS, [1e-3, 1e-2, 1e-3], times, widths=widths)
    assert_allclose(run.linear_time, times, rtol=1e-14, atol=1e-15)
    assert_array_equal(plain.linear_time, plain.time)
    assert rd.closed_form_deviation(run).max() < 1e-7
    exact = rd.learning_time(SIGMA, LAM[:3], strength=[1e-3, 1e-2, 1e-3], n_layers=len(widths) - 1)
    # A logit is not linear in time with one layer, nearly so with three.
    assert_allclose(rd.learning_times(run), exact, rtol=0.03 if len(widths) == 2 else 2e-3)
    assert_allclose(rd.learning_times(run), rd.learning_times(plain), rtol=1e-5)
    assert_allclose(rd.stages(run), rd.stages(plain), rtol=1e-12, atol=1e-14)
    one, other = rd.summary(run), rd.summary(plain)
    assert_allclose(one.predicted, other.predicted, rtol=1e-12)
    assert_allclose(one.measured, other.measured, rtol=1e-5)
    assert_allclose(one.sigma_ordered, other.sigma_ordered, atol=1e-6)


def test_a_flow_in_logarithmic_time_that_goes_on():
    times = np.linspace(0, 40, 200)
    start = lf.initialization.aligned(lf.Dense((4, 4, 3)), LOSS, 1e-3, rng=0)
    first = in_log_time(LOSS, start, 3.0, times[times <= 3])
    rest = lf.train(
        first.network,
        LOSS,
        first.final,
        method=first.method,
        until=np.log1p(40.0),
        record=lf.Record.at_times(np.log1p(times[times >= 3.1]), observables=("product",)),
    )
    assert rd.closed_form_deviation(rest).max() < 1e-7
    assert_allclose(rd.summary(rest).relative_error[1:], 0, atol=1e-4)


def test_times_beyond_floats_in_logarithmic_time():
    start = lf.initialization.aligned(lf.Dense((4, 4, 3)), LOSS, 1e-3, rng=0)
    run = in_log_time(LOSS, start, 3.0, np.array([0.0, 3.0]))
    when = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 700.0, 1000.0])
    product = rd.aligned_flow(LOSS, strength=1e-3, time=np.expm1(np.minimum(when, 700.0)))
    far = replace(run, time=when, observables={"product": product})
    assert_array_equal(np.isfinite(far.linear_time), when < 709)
    assert rd.closed_form_deviation(far).max() < 1e-12
    expected = rd.learning_time(SIGMA, LAM[:3], strength=1e-3)
    assert_allclose(rd.learning_times(far), expected, rtol=1e-9)
    assert rd.stages(far)[3, 1] == np.inf
    # Learned at a time between the last that is a number and infinity.
    product[-2] = product[0]
    last = replace(run, time=when[-2:], observables={"product": product[-2:]})
    assert_array_equal(rd.learning_times(last), np.inf)


def test_sweeps_tell_learning_times_in_time():
    loss = commuting([2.0, 1.0], np.ones(2))
    found = []
    for log_time in (False, True):
        training = lf.Training(
            lf.Dense((2, 3, 2)),
            loss,
            lf.Start("gaussian", 1e-4),
            method=lf.GradientFlow(1e-10, log_time=log_time),
            until=np.log1p(40.0) if log_time else 40.0,
            record=lf.Record.at_times(
                np.linspace(0, np.log1p(40.0), 100) if log_time else np.linspace(0, 40, 400),
                observables=("singular_values",),
            ),
        )
        spec = lf.grid(training, {"start.scale": [1e-4, 1e-2]}, derived="learning_times")
        found.append(lf.sweep(spec, progress=False).learning_times.to_numpy())
    assert_allclose(found[1], found[0], rtol=2e-3)
