"""One axis of time: a descent that goes on with another step size goes on in time."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast import rank_dynamics, reference
from linnet_fast.rank_dynamics.learned import learned_at

NETWORK, LOSS = lf.Dense((3, 4, 2)), make_loss((3, 4, 2))
RECORD = lf.Record.every(50)


def go_on(start, step_size, n_steps, engine=lf.train, **options):
    method = lf.GradientDescent(step_size, **options)
    return engine(NETWORK, LOSS, start, method=method, n_steps=n_steps, record=RECORD)


@pytest.mark.parametrize("engine", [lf.train, reference.train])
def test_time_goes_on_with_another_step_size(engine):
    begin = make_start((3, 4, 2))
    first = go_on(begin, 0.05, 200, engine)
    second = go_on(first.final, 0.01, 100, engine)
    assert_allclose(first.time[[0, -1]], [0, 10], rtol=1e-14)
    assert_allclose(second.time, [10, 10.5, 11], rtol=1e-14)
    third = go_on(second.final, lf.StepRule.power(0.02, 0.0), 50, engine)
    assert_allclose(third.time, [11, 12], rtol=1e-13)
    last = go_on(third.final, 0.1, 50, engine)
    assert_allclose(last.time, [12, 17], rtol=1e-13)


def test_the_time_of_a_run_is_that_of_its_steps_alone():
    """400 and 600 steps of a size are 1000, bit for bit, also beside runs whose size changes."""
    begin = make_start((3, 4, 2), (3,))
    sizes = [
        np.array([0.05, 0.03, 0.07]),
        np.array([0.05, 0.01, 0.07]),
        np.array([0.02, 0.01, 0.07]),
    ]
    state, runs = begin, []
    for size in sizes:
        runs.append(go_on(state, size, 150))
        state = runs[-1].final
    whole = go_on(begin, 0.07, 450)
    assert_array_equal(
        np.concatenate([run.time[2] for run in runs[1:]]), whole.time[[3, 4, 5, 6, 6, 7, 8, 9]]
    )
    for i in range(3):
        alone = tuple(w[i] for w in begin)
        for size, run in zip(sizes, runs, strict=True):
            one = go_on(alone, size[i], 150)
            alone = one.final
            assert_array_equal(run.time[i], one.time)
    assert_allclose(runs[-1].time[:, -1], [0.05 * 300 + 3, 4.5 + 3, 31.5], rtol=1e-14)


@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_the_time_is_in_files_and_copies(tmp_path, suffix):
    first = go_on(make_start((3, 4, 2)), [0.05, 0.03], 100)
    second = go_on(first.final, 0.01, 100)
    second.save(tmp_path / f"run.{suffix}")
    loaded = lf.Trajectory.load(tmp_path / f"run.{suffix}")
    for one in (loaded, copy.deepcopy(second), pickle.loads(pickle.dumps(second))):
        assert_array_equal(one.time, second.time)
        assert_array_equal(go_on(one.final, 0.01, 50).time, go_on(second.final, 0.01, 50).time)
        assert_array_equal(go_on(one.final, 0.04, 50).time[:, -1], [6 + 2, 4 + 2])
    first.save(tmp_path / "first.npz")
    again = lf.Trajectory.load(tmp_path / "first.npz")
    assert_array_equal(go_on(again.final, 0.01, 100).time, second.time)


def test_reduced_parts_of_a_training_go_on_in_time():
    """Some runs decay, and are reduced by themselves."""
    loss = make_loss((40, 30, 2))
    network, begin = lf.Dense((40, 30, 2)), make_start((40, 30, 2), (2,), scale=0.1)
    state = begin
    for size in (0.002, 0.001):
        method = lf.GradientDescent(size, weight_decay=[0.0, 0.1])
        run = lf.train(network, loss, state, method=method, n_steps=10)
        state = run.final
    assert run.reduction is not None
    assert_allclose(np.broadcast_to(run.time, (2, 11))[:, [0, -1]], [[0.02, 0.03]] * 2, rtol=1e-13)


def test_what_is_learned_is_found_on_the_axis_of_steps():
    loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    network = lf.Dense((2, 2, 2))
    start = lf.initialization.aligned(network, loss, 1e-4, rng=0)
    every = lf.Record.every(1)
    first = lf.train(
        network, loss, start, method=lf.GradientDescent(0.02), n_steps=100, record=every
    )
    run = lf.train(
        network, loss, first.final, method=lf.GradientDescent(0.01), n_steps=900, record=every
    )
    at = learned_at(run)
    assert_allclose(np.interp(at, run.steps, run.singular_values[:, 0])[0], 1.0, rtol=1e-3)
    assert_allclose(at, 100 + (rank_dynamics.learning_times(run) - 2) / 0.01, rtol=1e-12)
    predicted = rank_dynamics.summary(run).predicted  # from where it begins
    assert_allclose(predicted, rank_dynamics.learning_times(run), rtol=0.02)
    rule = lf.GradientDescent(lf.StepRule.power(0.02, 0.0))
    by_rule = lf.train(network, loss, start, method=rule, n_steps=900, record=every)
    by_number = lf.train(
        network, loss, start, method=lf.GradientDescent(0.02), n_steps=900, record=every
    )
    assert_allclose(by_rule.step_at([1.0, 7.5]), by_number.step_at([1.0, 7.5]), rtol=1e-12)
    assert np.isnan(by_rule.step_at([1e3])).all()
