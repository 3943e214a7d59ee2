"""What flows keep and steps change: u^2 - v^2 of diagonal networks, the balance of layers of dense ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import reference

DIM = 5
NETWORK = lf.Diagonal(DIM, 2)  # x -> sum of v * u * x
RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((7, DIM)), RNG.standard_normal((7, 1))
START = [RNG.uniform(0.3, 1.5, shape) for shape in NETWORK.shapes]
LOSS = lf.SampledSquaredLoss(X, Y)
train = partial(lf.train, NETWORK, LOSS, START)


def squares_apart(weights):
    u, v = (
        w.reshape(*w.shape[: w.ndim - len(s)], DIM)
        for w, s in zip(weights, NETWORK.shapes, strict=True)
    )
    return u**2 - v**2


@pytest.mark.parametrize("batch_size", [1, "all"])
def test_each_step_multiplies_the_difference_of_squares(batch_size):
    """(u - eta g v)^2 - (v - eta g u)^2 = (1 - eta^2 g^2) (u^2 - v^2), g by a sample or by all."""
    step_size = 0.05
    method = lf.GradientDescent(step_size, batches=lf.Batches(batch_size, seed=1))
    run = train(method=method, n_steps=40, record=lf.Record.every(1, ("weights",)))
    apart = squares_apart(run.weights)
    u, v = (w.reshape(-1, DIM) for w in run.weights)
    errors = (u * v)[:-1] @ X.T - Y[:, 0]
    slopes = errors[..., None] * X  # by every sample, (steps, samples, DIM)
    if batch_size == "all":
        slopes = slopes.mean(axis=1, keepdims=True)
    expected = (1 - step_size**2 * slopes**2) * apart[:-1, None]
    error = np.abs(apart[1:, None] - expected).max(axis=-1)
    assert error.min(axis=-1).max() < 1e-14
    if batch_size == 1:
        assert len(np.unique(error.argmin(axis=-1))) > 4
        assert np.sort(error, axis=-1)[:, 1].min() > 1e-6  # no other sample fits
    assert (np.abs(apart[-1]) < np.abs(apart[0])).all()


def test_flows_keep_the_difference_and_steps_change_it_by_their_size():
    apart = squares_apart(START)
    flow = train(method=lf.GradientFlow(rtol=1e-11), until=4.0)
    assert_allclose(squares_apart(flow.final.weights), apart, rtol=0, atol=1e-9)
    drift = [
        squares_apart(train(method=lf.GradientDescent(size), n_steps=n).final.weights) - apart
        for size, n in ((0.01, 400), (0.005, 800))
    ]
    assert np.abs(drift[1]).max() > 1e-3
    assert_allclose(drift[0] / drift[1], 2, rtol=0.02)


def layers_apart(weights):
    """Return W_2' W_2 - W_1 W_1', ... of dense layers."""
    return [upper.T @ upper - lower @ lower.T for lower, upper in pairwise(weights)]


@pytest.mark.parametrize("method", ["explicit", "stiff"])
def test_flows_keep_how_far_layers_are_from_balance_and_adam_does_not(method):
    network, rng = lf.Dense((3, 4, 5, 2)), np.random.default_rng(4)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((9, 3)), rng.standard_normal((9, 2)))
    start = [0.5 * rng.standard_normal(shape) for shape in network.shapes]
    flow = lf.train(
        network, loss, start, method=lf.GradientFlow(rtol=1e-9, method=method), until=3.0
    )
    adam = lf.train(network, loss, start, method=lf.Adam(1e-3), n_steps=500)
    for before, kept, changed in zip(
        *(layers_apart(w) for w in (start, flow.final.weights, adam.final.weights)), strict=True
    ):
        assert_allclose(kept, before, rtol=0, atol=1e-6)
        assert np.abs(changed - before).max() > 0.05


# --- memory is of a method


@pytest.mark.parametrize("suffix", [None, ".npz", ".nc"])
def test_memory_of_another_method_is_refused(suffix, tmp_path):
    """Velocities, means of squares and sums of squares are one array each."""
    run = train(method=lf.RMSProp(0.01), n_steps=3)
    if suffix is not None:
        run.save(tmp_path / f"run{suffix}")
        run = lf.Trajectory.load(tmp_path / f"run{suffix}")
    state = run.final
    assert state.memory_of == "RMSProp"
    for other in (lf.Adagrad(0.01), lf.GradientDescent(0.01, momentum=0.9)):
        own = type(other).__name__
        message = f"start must be weights, or a state whose memory is of {own}, got one of RMSProp"
        for engine in (lf.train, reference.train):
            with pytest.raises(ValueError, match=message):
                engine(NETWORK, LOSS, state, method=other, n_steps=1, record=lf.Record.every(1))
        # A phase that resets forgets it; and who knows better says so.
        lf.train(NETWORK, LOSS, state, phases=[lf.Phase(other, 1, reset=True)])
        lf.train(NETWORK, LOSS, replace(state, memory_of=None), method=other, n_steps=1)
    for same in (lf.RMSProp(0.02, alpha=0.5), lf.SharpnessAware(lf.RMSProp(0.01), 0.1)):
        more = lf.train(NETWORK, LOSS, state, method=same, n_steps=1)
        assert more.final.memory_of == "RMSProp"
    with pytest.raises(TypeError, match="memory_of must be"):
        replace(state, memory_of=3)


def test_velocities_are_of_descent_on_samples_too():
    state = train(method=lf.GradientDescent(0.01, momentum=0.5), n_steps=3).final
    drawn = lf.StochasticGradientDescent(0.01, 2, momentum=0.5)
    lf.train(NETWORK, LOSS, state, method=drawn, n_steps=1)


def test_what_remembers_nothing_has_memory_of_none():
    assert train(method=lf.GradientDescent(0.01), n_steps=1).final.memory_of is None
    slow = reference.train(
        NETWORK, LOSS, START, method=lf.Adam(0.01), n_steps=1, record=lf.Record.every(1)
    )
    assert slow.final.memory_of == "Adam"
    assert_array_equal(slow.final.status, 0)
