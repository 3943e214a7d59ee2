"""The noise of batches on diagonal networks: the training is right, its law holds, claims can fail."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.figures import Settings
from linnet_fast.figures.haochen2021.sparse import make_task
from linnet_fast.figures.pesme2021 import courses, effective, experiments, sizes

QUICK = Settings(quick=True)


@pytest.fixture
def brief(monkeypatch):
    """Take few steps on fewer inputs: what is told apart is so at once."""
    task = make_task(1, 20, 40, 2)
    for module in (effective, sizes):
        monkeypatch.setattr(module, "task_of", lambda _settings: (task, 3_000))


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


def test_training_is_that_of_u_and_v_and_the_effective_start_follows_from_slopes():
    task = make_task(1, 6, 8, 2)
    course = courses.follow(task, courses.drawn([0.05], None), 50, None)
    x = np.random.default_rng(0).choice([-1.0, 1.0], (1, 1, 6, 8))[0, 0]
    u = v = np.full(8, courses.SCALE)
    product = u * v
    for _ in range(50):
        slope = x.T @ (x @ (u * u - v * v - task.target)) / 6
        u, v = u - 0.05 * 2 * u * slope, v + 0.05 * 2 * v * slope
        product = product * (1 - 4 * 0.05**2 * slope**2)
    assert_allclose(course.effective[0, 0], np.sqrt(product), rtol=1e-10)
    predictor = u * u - v * v
    assert_allclose(course.predictor[0, 0], predictor, rtol=1e-10, atol=1e-14)
    assert_allclose(course.weights[0, 0], np.concatenate([u, v]), rtol=1e-10)
    assert_allclose(course.error[0, 0, -1], ((predictor - task.target) ** 2).sum(), rtol=1e-10)
    assert_allclose(course.magnitudes[0, 0, -1], np.abs(predictor).sum(), rtol=1e-10)
    assert_array_equal(course.steps[[0, -1]], [0, 50])


def test_where_noise_leads_has_the_least_hyperbolic_entropy():
    """By the conditions of optimality: arcsinh(beta / 2 u v) is a combination of samples.

    Exactly so of inputs of +-1 and one sample a step: slopes are all of one size, and so are u v.
    """
    task = make_task(1, 20, 40, 2)
    course = courses.follow(task, courses.drawn([0.04], 1), 10_000, None)
    assert course.loss[..., -1].max() < 1e-9
    root = course.effective[0, 0]
    dual = np.arcsinh(course.predictor[0, 0] / (2 * root**2))
    x = np.random.default_rng(0).choice([-1.0, 1.0], (1, 1, 20, 40))[0, 0]
    left_over = dual - x.T @ np.linalg.lstsq(x.T, dual, rcond=None)[0]
    assert np.linalg.norm(left_over) < 1e-12 * np.linalg.norm(dual)
    assert_allclose(root, root[0], rtol=1e-12)
    assert root[0] < 0.9 * courses.SCALE
    # Of the start itself it would not be.
    other = np.arcsinh(course.predictor[0, 0] / (2 * courses.SCALE**2))
    missed = other - x.T @ np.linalg.lstsq(x.T, other, rcond=None)[0]
    assert np.linalg.norm(missed) > 0.05 * np.linalg.norm(other)


@pytest.mark.usefixtures("brief")
def test_no_noise_finds_nothing(monkeypatch):
    monkeypatch.setattr(sizes, "_BATCH", None)
    failed = failures("step_sizes")
    assert sum(text.startswith("one sample a step") for text in failed) >= 3
    monkeypatch.setattr(effective, "_STEP_SIZE", 0.002)
    failed = failures("batches")
    assert any("the smaller the test error" in text for text in failed)
    assert any("the smaller the effective start" in text for text in failed)
    assert "one sample: effective start over the start, most" in failed
