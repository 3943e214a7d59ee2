"""Descriptions are values: equal if they were made with the same."""

from __future__ import annotations

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast import laws

EYE = np.eye(2)
MADE = {
    "stop": lambda x: lf.Stop(loss=x),
    "evaluated": lambda x: lf.Stop(evaluate={"test": x}),
    "runs": lambda x: lf.GradientDescent([0.1, x]),
    "adam": lambda x: lf.Adam(0.1, beta2=x),
    "sgd": lambda x: lf.StochasticGradientDescent(x, 3),
    "nested": lambda x: lf.SharpnessAware(lf.GradientDescent(0.1), x),
    "feedback": lambda x: lf.FeedbackAlignment(lf.GradientDescent(0.1), x),
    "flow": lambda x: lf.GradientFlow(weight_decay=x),
    "noise": lf.GaussianNoise,
    "rule": lambda x: lf.GradientDescent(lf.StepRule.power(x, -0.5)),
    "batches": lambda x: lf.Batches(3, label_noise_std=x),
    "phase": lambda x: lf.Phase(n_steps=3, method=lf.GradientDescent(x)),
    "start": lambda x: lf.Start("gaussian", scale=[x, 1.0]),
    "squared": lambda x: lf.SquaredLoss(EYE, x * EYE, 2.0),
    "logistic": lambda x: lf.LogisticLoss.from_data([[x, 1.0], [0.0, 1.0]], [1, -1]),
    "law": lambda x: lf.SphericalLogisticLoss([0.0, 1.0], laws.Gaussian(2, x)),
    "entries": lambda x: lf.MatrixCompletionLoss([0], [1], [x], shape=(2, 2)),
    "training": lambda x: lf.Training(
        lf.Dense((2, 2)), lf.SquaredLoss(EYE, x * EYE, 2.0), lf.Start("gaussian"),
        method=lf.GradientDescent(0.1), n_steps=3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_equal_if_made_with_the_same(kind):
    one, same, other = (MADE[kind](x) for x in (0.25, 0.25, 0.5))
    assert one == same
    assert hash(one) == hash(same)
    assert (one != same) is False
    assert one != other
    assert {one: 1, other: 2}[same] == 1
    assert one != 3


def test_neither_another_class_nor_another_shape_is_equal():
    assert lf.GradientDescent(0.1) != lf.Adagrad(0.1)
    assert lf.GradientDescent(0.1) != lf.GradientDescent([0.1])
    assert lf.GradientDescent(0.1) != lf.StochasticGradientDescent(0.1, 3)
    assert lf.Stop(loss=0.1) != lf.Stop(loss=0.1, gradient_norm=0.1)


def test_a_state_is_shown_in_a_line():
    network = lf.Dense((2, 30, 2))
    start = lf.initialization.gaussian(network, rng=0, batch_shape=3)
    loss = lf.SquaredLoss(EYE, EYE, 2.0)
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.1), n_steps=10)
    shapes = "(3, 30, 2), (3, 2, 30)"
    assert repr(run.final) == f"<State of 3 runs at step 10: weights of shape {shapes}, float64>"
