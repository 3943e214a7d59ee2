"""Feedback alignment: what follows from its definition, and where its matrices come from and go to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss

import linnet_fast as lf
from linnet_fast.training import plain

DEEP = lf.Dense((4, 3, 6, 2))
INNER = lf.GradientDescent(0.02, 0.1)


def matrices_of(state):
    return [kept[-1] for kept in state.memory]


def test_matrices_of_the_weights_make_the_first_step_that_of_descent():
    """One step at a time, with the weights that are as matrices, all steps are descent's."""
    loss, start = make_loss((4, 2)), lf.initialization.gaussian(DEEP, rng=0, batch_shape=5)
    method = lf.FeedbackAlignment(INNER)
    state = lf.train(DEEP, loss, start, method=method, n_steps=0).final
    for _ in range(7):
        state = replace(state, memory=tuple((w,) for w in state.weights))
        state = lf.train(DEEP, loss, state, method=method, n_steps=1).final
    plainly = lf.train(DEEP, loss, start, method=INNER, n_steps=7, reduce=False).final
    for found, wanted in zip(state.weights, plainly.weights, strict=True):
        assert_allclose(found, wanted, rtol=1e-13)


def test_without_feedback_only_the_last_layer_moves():
    start = lf.initialization.gaussian(DEEP, rng=0)
    method = lf.FeedbackAlignment(lf.GradientDescent(0.02), scale=0.0)
    end = lf.train(DEEP, make_loss((4, 2)), start, method=method, n_steps=50).final.weights
    for layer in range(2):
        assert_array_equal(end[layer], start[layer])
    assert (end[2] != start[2]).all()


def test_what_two_layers_keep():
    """From W_1 = 0 it is B^T A, and dW_2 = dA A^T B: the symmetric part of W_2 B^+ is half of A A^T."""
    network, loss = lf.Dense((3, 5, 3)), make_loss((3, 3))
    start = (np.zeros((5, 3)), np.zeros((3, 5)))
    method = lf.FeedbackAlignment(lf.GradientDescent(1e-5), seed=4)
    run = lf.train(network, loss, start, method=method, n_steps=100_000)
    (first, last), (_, b) = run.final.weights, matrices_of(run.final)
    a = np.linalg.pinv(b.T) @ first
    assert_allclose(b.T @ a, first, atol=1e-13)
    half = last @ np.linalg.pinv(b)
    assert np.linalg.norm(a @ a.T) > 0.3
    assert_allclose(half + half.T, a @ a.T, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_matrices_are_of_the_run_alone(dtype):
    scale = np.array([0.5, 1.0, 2.0])
    method = lf.FeedbackAlignment(lf.Adam(0.01), scale, seed=9)
    start = lf.initialization.gaussian(DEEP, rng=0, batch_shape=(2, 3), dtype=dtype)
    options = {"method": method, "n_steps": 0}
    first, second, third = matrices_of(lf.train(DEEP, make_loss((4, 2)), start, **options).final)
    assert first.dtype == dtype
    assert not first.any()
    assert second.shape == (2, 3, 6, 3)
    streams = np.arange(6).reshape(2, 3)
    own = lf.FeedbackAlignment(lf.Adam(0.01), 2.0, seed=9, streams=streams[1, 2])
    alone = lf.train(DEEP, make_loss((4, 2)), [w[1, 2] for w in start], method=own, n_steps=0)
    assert_array_equal(matrices_of(alone.final)[2], third[1, 2])
    assert_array_equal(method.of_runs(np.array([5]), (2, 3)).streams, [5])
    assert_array_equal(second[:, 2] != 0, True)


def test_entries_are_normal():
    from scipy.stats import kstest

    network = lf.Dense((2, 25, 8))
    start = (np.zeros((40, 25, 2)), np.zeros((40, 8, 25)))
    method = lf.FeedbackAlignment(INNER, scale=3.0, seed=1)
    made = lf.train(network, make_loss((2, 8)), start, method=method, n_steps=0)
    drawn = matrices_of(made.final)[1]
    assert kstest(drawn.ravel(), "norm", (0, 3 / 5)).pvalue > 1e-3
    assert len(np.unique(drawn)) == drawn.size


def test_weights_come_to_agree_with_the_matrices():
    """From zero weights: the loss ends at its least, W_2 turned towards B."""
    network = lf.Dense((4, 20, 3))
    loss = make_loss((4, 3))
    start = (np.zeros((10, 20, 4)), np.zeros((10, 3, 20)))
    method = lf.FeedbackAlignment(lf.GradientDescent(0.01), seed=2)
    run = lf.train(network, loss, start, method=method, n_steps=20_000)
    assert_allclose(run.loss[:, -1], loss.least_loss, atol=1e-9)
    w, b = run.final.weights[1], matrices_of(run.final)[1]
    cosine = (
        np.sum(w * b, axis=(1, 2)) / np.linalg.norm(w, axis=(1, 2)) / np.linalg.norm(b, axis=(1, 2))
    )
    assert (cosine > 0.3).all()


def test_matrices_go_with_the_state_and_are_drawn_anew_where_it_is_reset():
    loss, start = make_loss((4, 2)), lf.initialization.gaussian(DEEP, rng=0)
    method = lf.FeedbackAlignment(INNER, seed=1)
    again = lf.FeedbackAlignment(INNER, seed=2)
    begun = lf.train(DEEP, loss, start, method=method, n_steps=3).final
    gone_on = lf.train(DEEP, loss, begun, method=again, n_steps=1).final
    assert_array_equal(matrices_of(gone_on)[2], matrices_of(begun)[2])
    phase = lf.Phase(method=again, n_steps=1, reset=True)
    anew = lf.train(DEEP, loss, begun, method=method, phases=[phase], n_steps=None).final
    fresh = lf.train(DEEP, loss, start, method=again, n_steps=0).final
    assert_array_equal(matrices_of(anew)[2], matrices_of(fresh)[2])
    with pytest.raises(ValueError, match="whose memory is of FeedbackAlignment around"):
        lf.train(DEEP, loss, replace(begun, memory_of="GradientDescent"), method=method, n_steps=1)


def test_sweeps_and_text():
    training = lf.Training(
        DEEP, make_loss((4, 2)), lf.Start("gaussian"), n_steps=3, method=lf.FeedbackAlignment(INNER)
    )
    axes = {"method.scale": [0.0, 1.0], "method.method.step_size": [0.01, 0.02]}
    found = lf.sweep(lf.grid(training, axes, replicates=2), progress=False).final_loss
    assert len(np.unique(found)) == 8
    table = {"kind": "FeedbackAlignment", "method": {"kind": "Adam", "step_size": 0.1}, "seed": 5}
    made = plain.decode("method", table)
    assert made == lf.FeedbackAlignment(lf.Adam(0.1), seed=5)
    assert plain.decode("method", plain.encode(made)) == made
    for outer in (lf.SharpnessAware, lf.FeedbackAlignment):
        with pytest.raises(ValueError, match="method must not be around another method itself"):
            outer(made)
