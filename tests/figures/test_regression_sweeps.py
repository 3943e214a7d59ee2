"""woodworth2020, double_descent and saxe2014: closed forms are right, claims can fail."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.double_descent import samples, theory
from linnet_fast.figures.saxe2014 import curves, depth
from linnet_fast.figures.woodworth2020 import regimes, setting

QUICK = Settings(quick=True)


def failures(experiment):
    figure = experiment(QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


# -- kernel and rich regimes -------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [2, 3, 4])
def test_training_is_that_of_u_and_v_and_its_dual_follows(n_layers):
    task = setting.Task(6, 2, 4, 1, 2, (0.3, 0.3, 0.3), 40)
    ends = setting.follow(task, n_layers, None)
    spec = setting.spec_of(task, n_layers)
    step = float(spec.training_at([0, 0]).method.step_size)
    loss, teacher = task.teacher.loss(0), task.teacher.draw(0)[0]
    u = v = np.full(6, task.scales(n_layers)[0])
    for _ in range(40):
        slope = loss.gradient((u**n_layers - v**n_layers)[None, :])[0]
        u = u - step * n_layers * u ** (n_layers - 1) * slope
        v = v + step * n_layers * v ** (n_layers - 1) * slope
    predictor = u**n_layers - v**n_layers
    assert_allclose(ends.predictor[0, 0], predictor, rtol=1e-10, atol=1e-13)
    assert_allclose(ends.error[0, 0], ((predictor - teacher) ** 2).sum(), rtol=1e-10)
    # Where a flow would lead, of what it has been moved by.
    s = np.array([0.3, -0.02, 0.0, 0.5])
    power = None if n_layers == 2 else n_layers / (n_layers - 2)
    moved = 2 * np.sinh(s) if power is None else (1 - s) ** -power - (1 + s) ** -power
    assert_allclose(setting.dual(0.2**n_layers * moved, 0.2, n_layers), s, atol=1e-13)


def test_ends_of_both_regimes():
    task = setting.Task(12, 2, 8, 1, 2, (0.1, 0.1, 0.1), 10)
    x, y = task.samples(0)
    loss, teacher = task.teacher.loss(0), task.teacher.draw(0)[0]
    least = setting.least_norm(x, y)
    assert_allclose(loss.value(least[None, :]), 0.0, atol=1e-25)
    assert_allclose(setting.off_samples(x, least), 0.0, atol=1e-12)
    sparse = setting.least_magnitudes(x, y)
    assert_allclose(loss.value(sparse[None, :]), 0.0, atol=1e-15)
    assert np.linalg.norm(least) < np.linalg.norm(sparse)
    assert np.abs(sparse).sum() <= np.abs(teacher).sum() + 1e-9


def test_starts_of_one_size_have_no_regimes(monkeypatch):
    task = setting.Task(20, 2, 10, 1, 2, (3.0, 3.0, 3.0), 300)
    monkeypatch.setattr(regimes, "_task", lambda _settings: task)
    failed = failures(regimes.regimes)
    assert sum(text.startswith("smallest start") for text in failed) == 2
    assert any(text.startswith("each layer more") for text in failed)


# -- double descent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 8, 25])
def test_closed_forms_are_means_over_samples(n):
    d, noise, n_draws = 12, 0.5, 4000
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_draws, n, d))
    teacher = rng.standard_normal((n_draws, d)) / np.sqrt(d)
    y = np.einsum("rnd,rd->rn", x, teacher) + noise * rng.standard_normal((n_draws, n))
    found = np.einsum("rdn,rn->rd", np.linalg.pinv(x), y)
    error = ((found - teacher) ** 2).sum(axis=-1)
    spread = error.std() / np.sqrt(n_draws)
    assert abs(error.mean() - theory.least_norm_error(n, d, noise)) < 4 * spread
    # Along descent, and of ridge regression.
    cov, cross = x.mT @ x / n, np.einsum("rnd,rn->rd", x, y) / n
    weights = np.zeros((n_draws, d))
    for _ in range(7):
        weights = weights - 0.05 * (np.einsum("rde,re->rd", cov, weights) - cross)
    values = np.linalg.eigvalsh(cov)
    course = theory.course_error(values, n, noise, np.array([0, 7]), 0.05).mean(axis=0)
    error = ((weights - teacher) ** 2).sum(axis=-1)
    assert abs(error.mean() - course[1]) < 4 * error.std() / np.sqrt(n_draws)
    assert_allclose(course[0], 1.0)
    penalty = noise**2 * d / n
    ridge = np.linalg.solve(cov + penalty * np.eye(d), cross[..., None])[..., 0]
    error = ((ridge - teacher) ** 2).sum(axis=-1)
    expected = theory.ridge_error(values, n, noise).mean()
    assert abs(error.mean() - expected) < 4 * error.std() / np.sqrt(n_draws)


def test_without_noise_there_is_no_peak(monkeypatch):
    monkeypatch.setattr(samples, "_NOISE", 1e-3)
    monkeypatch.setattr(samples, "_task", lambda _settings: samples.Task(6, (3, 6), 5, 100))
    failed = failures(samples.samples)
    assert any("where samples are as many" in text for text in failed)
    assert any("that of the fewest samples" in text for text in failed)


# -- learning curves ---------------------------------------------------------------------------------


def test_other_curves_are_told_apart(monkeypatch):
    flow = lf.rank_dynamics.mode_flow
    monkeypatch.setattr(
        curves.rd, "mode_flow", lambda *a, **o: flow(*a, **o | {"strength": 2 * curves._START})
    )
    failed = failures(curves.curves)
    assert sum("closed form" in text or "losses from" in text for text in failed) == 2


def test_gaussian_starts_are_told_apart(monkeypatch):
    small = ([2, 4, 8], 3, 200, np.array([0.02, 0.1]))
    monkeypatch.setattr(depth, "_sizes", lambda _settings: small)
    monkeypatch.setattr(depth, "_STARTS", ("gaussian", "orthogonal"))
    failed = failures(depth.depth)
    assert any(text.startswith("orthogonal") for text in failed)
    assert any(text.startswith("Gaussian starts: steps") for text in failed)
