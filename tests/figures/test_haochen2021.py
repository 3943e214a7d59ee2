"""Label noise and sparse vectors: the network and its training are right, claims can fail."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.haochen2021 import experiments, noises, sparse

QUICK = Settings(quick=True)


@pytest.fixture
def brief(monkeypatch):
    """Take few steps: what is told apart is so at once."""
    monkeypatch.setattr(noises, "_lengths", lambda _settings: (0.02, 10_000))


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


def test_task():
    task = sparse.make_task(2, 7, 11, 3)
    assert task.loss.run_shape == (2, 1)
    assert (task.n_ones, task.n_samples) == (3, 7)
    assert_allclose(task.loss.value(np.broadcast_to(task.target, (2, 1, 1, 11))), 0)
    # Of +-1, so that the predictor 0 has a whole number of errors' squares.
    assert_allclose(task.loss.value(np.zeros((2, 1, 1, 11))) * 14 % 1, 0, atol=1e-12)


def test_training_is_that_of_u_and_v():
    task = sparse.make_task(1, 6, 8, 2)
    phases = [lf.Phase(lf.GradientDescent(0.01), n_steps=50)]
    course = sparse.follow(task, [0.5], phases, None)
    x = np.random.default_rng(0).choice([-1.0, 1.0], (1, 1, 6, 8))[0, 0]
    u = v = np.full(8, 0.5)
    for _ in range(50):
        slope = x.T @ (x @ (u * u - v * v - task.target)) / 6
        u, v = u - 0.01 * 2 * u * slope, v + 0.01 * 2 * v * slope
    apart = u * u - v * v - task.target
    assert_allclose(course.error[0, 0, -1], apart @ apart, rtol=1e-10)
    assert_allclose(course.loss[0, 0, -1], ((x @ apart) ** 2).sum() / 12, rtol=1e-10)
    assert_allclose(course.squares[0, 0, -1], u @ u + v @ v, rtol=1e-10)
    assert_array_equal(course.steps[[0, -1]], [0, 50])


def test_label_noise_is_quieter_in_the_end():
    first, last = sparse.label_noise(0.1, 2.0, 1000)
    assert (first.n_steps, last.n_steps) == (850, 150)
    std = [float(part.method.batches.label_noise_std) for part in (first, last)]
    assert std == [2.0, 2.0 / sparse.QUIETER]


@pytest.mark.usefixtures("brief")
def test_too_little_label_noise_finds_nothing(monkeypatch):
    monkeypatch.setattr(noises, "_STD", 0.0)
    failed = failures("noises")
    assert sum("label noise" in text for text in failed) == 3
    assert sum("label noise" in text for text in failures("starts")) == 2


@pytest.mark.usefixtures("brief")
def test_small_starts_and_cold_weights_are_told_apart(monkeypatch):
    monkeypatch.setattr(noises, "_SCALE", 0.01)
    monkeypatch.setattr(noises, "_TEMPERATURES", (0.0, 0.0))
    failed = failures("noises")
    assert "full batch: least test error at the end" in failed
    assert "full batch: that ratio at the end, least" in failed
    assert any("the hotter" in text for text in failed)
