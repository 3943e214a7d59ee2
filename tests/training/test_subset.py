"""Some runs of a training: what they tell, and that they go on as they would among the others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import linnet_fast as lf

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 3)), RNG.standard_normal((12, 2))
NETWORK = lf.Dense((3, 4, 2))
RECORD = lf.Record.every(2, observables=("loss", "weights", "singular_values"))
PLAIN = lf.SquaredLoss.from_data(X, Y)
SAMPLED = lf.SquaredLoss.from_data(np.stack([X, 2 * X]), Y, form="samples")
STEP = np.array([[0.01], [0.02], [0.05]])  # with the two data sets: run axes (3, 2)
METHODS = {
    "plain": lambda: lf.GradientDescent(STEP),
    "momentum": lambda: lf.GradientDescent(STEP, momentum=[[0.0], [0.5], [0.9]]),
    "rms": lambda: lf.RMSProp(STEP, momentum=[[0.0], [0.5], [0.9]], centered=True),
    "batches": lambda: lf.Adam(STEP, batches=lf.Batches(4, seed=3)),
    "stochastic": lambda: lf.StochasticGradientDescent(STEP, 4, seed=3),
    "stochastic with streams": lambda: lf.StochasticGradientDescent(STEP, 4, streams=[7, 5]),
    "noise": lambda: lf.GradientDescent(STEP, noise=lf.GaussianNoise(0.1, seed=3)),
    "rule": lambda: lf.GradientDescent(lf.StepRule.cosine(STEP, 40)),
    "feedback": lambda: lf.FeedbackAlignment(
        lf.GradientDescent(STEP, momentum=[[0.0], [0.5], [0.9]]), seed=5
    ),
    "sharp": lambda: lf.SharpnessAware(lf.SignDescent(STEP), [0.1, 0.2]),
}


def trained(method, loss=SAMPLED, **options):
    start = lf.initialization.gaussian(NETWORK, scale=0.3, rng=1, batch_shape=(3, 2))
    return lf.train(NETWORK, loss, start, method=method, n_steps=6, record=RECORD, **options)


def assert_is(part, whole, key):
    for name, array in whole.observables.items():
        pairs = zip(part.observables[name], array, strict=True) if name == "weights" else None
        for one, every in pairs or [(part.observables[name], array)]:
            assert_array_equal(one, every[key])
    for one, every in zip(part.final.weights, whole.final.weights, strict=True):
        assert_array_equal(one, every[key])
    assert_array_equal(part.status, whole.status[key])
    assert part.run_shape == whole.status[key].shape
    time = np.broadcast_to(whole.time, (*whole.run_shape, whole.time.shape[-1]))[key]
    assert_array_equal(np.broadcast_to(part.time, time.shape), time)


KEYS = [
    0,
    (1, 0),
    slice(1, 3),
    (slice(None), 1),
    [2, 0],
    np.eye(3, 2, dtype=bool),
    (slice(None), [1]),
]


@pytest.mark.parametrize("name", METHODS)
def test_some_runs_go_on_as_among_the_others(name, tmp_path):
    run = trained(METHODS[name]())
    more = lf.train(
        NETWORK, run.loss_function, run.final, method=run.method, n_steps=6, record=RECORD
    )
    for i, key in enumerate(KEYS):
        part = run[key]
        assert_is(part, run, key)
        if i % 2:
            part.save(tmp_path / "part.npz")
            part = lf.Trajectory.load(tmp_path / "part.npz")
            assert_is(part, run, key)
        on = lf.train(
            NETWORK, part.loss_function, part.final, method=part.method, n_steps=6, record=RECORD
        )
        assert_is(on, more, key)


@pytest.mark.parametrize("flow", [False, True])
def test_some_runs_of_reduced_and_continuous_trainings_go_on(flow, tmp_path):
    network = lf.Dense((3, 600, 2))
    start = lf.initialization.gaussian(network, scale=0.1, rng=1, batch_shape=(3, 2))
    method = lf.GradientFlow() if flow else lf.GradientDescent(STEP, weight_decay=[0.0, 0.1])
    length = {"until": 2.0} if flow else {"n_steps": 9}
    run = lf.train(network, PLAIN, start, method=method, **length)
    assert run.reduction
    length = {"until": 3.0} if flow else {"n_steps": 5}
    more = lf.train(network, PLAIN, run.final, method=run.method, **length)
    for i, key in enumerate(KEYS):
        part = run[key]
        if i % 2:
            part.save(tmp_path / "part.npz")
            part = lf.Trajectory.load(tmp_path / "part.npz")
        on = lf.train(network, PLAIN, part.final, method=part.method, **length)
        assert_is(on, more, key)


def test_some_runs_of_phases_go_on(tmp_path):
    batches = lf.Batches(4, seed=3)
    phases = [
        lf.Phase(n_steps=4),
        lf.Phase(n_steps=4, method=lf.GradientDescent(0.01), batches=batches),
    ]
    start = lf.initialization.gaussian(NETWORK, scale=0.3, rng=1, batch_shape=(3, 2))
    run = lf.train(NETWORK, SAMPLED, start, method=lf.Adam(STEP), phases=phases, record=RECORD)
    part = run[1:, 1]
    assert_is(part, run, (slice(1, None), 1))
    again = lf.train(
        NETWORK, part.loss_function, [w[1:, 1] for w in start], phases=part.phases, record=RECORD
    )
    assert_is(again, run, (slice(1, None), 1))
    part.save(tmp_path / "part.npz")
    assert lf.Trajectory.load(tmp_path / "part.npz").phases == part.phases


def test_what_is_the_same_for_runs_is_not_repeated():
    part = trained(METHODS["plain"]())[1:]
    assert part.loss_function.inputs.shape == (1, 2, 12, 3)
    assert part.method.step_size.shape == (2, 1)
    assert part.provenance["parameters"]["run_shape"] == [2, 2]


def test_selection_by_name_and_by_label():
    run = trained(lf.GradientDescent(STEP, weight_decay=[0.0, 0.1]), PLAIN)
    assert_is(run.isel(run_1=1), run, (slice(None), 1))
    assert_is(run.isel(run_0=[2, 0], run_1=0), run, ([2, 0], 0))
    assert_is(run.isel(run_0=[True, False, True], run_1=[1, 0]), run, np.ix_([0, 2], [1, 0]))
    assert_is(run.sel(step_size=0.05, weight_decay=0.1), run, (2, 1))
    assert_is(run.sel(step_size=[0.05 * (1 + 1e-12), 0.01]), run, [2, 0])
    assert_is(run.sel(step_size=slice(0.02, None), weight_decay=0), run, (slice(1, None), 0))
    assert [one.run_shape for one in run] == [(2,)] * 3
    alone = run[0, 0]
    assert_is(alone[()], alone, ())


@pytest.mark.parametrize(
    ("do", "error", "text"),
    [
        (lambda r: r[3], IndexError, "^run must be an index"),
        (lambda r: r[0, 0, 0], IndexError, "^run must be an index"),
        (lambda r: r[3:], IndexError, "^run must choose at least one"),
        (lambda r: r[0.5], TypeError, "^run must be"),
        (lambda r: r["loss"], TypeError, "^run must be"),
        (lambda r: r[None], TypeError, "^run must be"),
        (lambda r: r.isel(run_2=0), ValueError, "^axes must be one of run_0, run_1"),
        (lambda r: r.isel(run_0=7), IndexError, "^run_0 must be an index"),
        (lambda r: r.isel(run_0=[[0]]), ValueError, "^run_0 must be an index of one axis"),
        (lambda r: r.sel(momenta=1), ValueError, "^labels must be one of .*momentum"),
        (lambda r: r.sel(step_size=0.3), ValueError, r"^step_size must be one of \[0.01"),
        (lambda r: r.sel(step_size="all"), TypeError, "^step_size must be"),
        (lambda r: r.sel(step_size=slice(1, 2)), ValueError, "^step_size must be a range"),
        (lambda r: r.sel(weight_decay=0), ValueError, "^weight_decay must vary along one"),
    ],
)  # fmt: skip
def test_runs_that_are_not_there_are_refused(do, error, text):
    run = trained(lf.GradientDescent(STEP, weight_decay=np.arange(6.0).reshape(3, 2) / 10), PLAIN)
    with pytest.raises(error, match=text):
        do(run)


def test_weights_of_states_are_read_only_and_arrays_given_are_not():
    start = [np.ones((4, 3)), np.ones((2, 4))]
    run = lf.train(NETWORK, PLAIN, start, method=lf.GradientDescent(0.01, momentum=0.5), n_steps=2)
    for array in (*run.final.weights, *run.start.weights, run.final.memory[0][0], run.final.status):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    start[0][...] = 0
