"""The geometry of optimisers: largest margins against cvxpy, the training by hand, claims can fail."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.muon import experiments, geometry, margins

QUICK = Settings(quick=True)
NORMS = {
    "Frobenius": lambda w: cp.norm(cp.vec(w, order="F")),
    "entries": lambda w: cp.max(cp.abs(w)),
    "spectral": cp.sigma_max,
}


@pytest.mark.parametrize("norm", margins.BALLS)
def test_largest_margins_are_those_of_cvxpy(norm):
    x = np.random.default_rng(1).standard_normal((1, 9, 5))
    classes = np.arange(9) % 3
    differing = margins.differences(x, classes, 3)
    found = margins.largest_margin(differing, margins.BALLS[norm], tolerance=1e-6)
    w, margin = cp.Variable((3, 5)), cp.Variable()
    outputs = x[0] @ w.T
    problem = cp.Problem(
        cp.Maximize(margin),
        [
            NORMS[norm](w) <= 1,
            *(
                outputs[i, c] - outputs[i, k] >= margin
                for i, c in enumerate(classes)
                for k in range(3)
                if k != c
            ),
        ],
    )
    problem.solve(solver=cp.CLARABEL)
    assert_allclose(found.least, problem.value, rtol=3e-6)
    assert_allclose(found.most, problem.value, rtol=3e-6)
    assert (found.least <= found.most).all()
    assert_allclose(margins.BALLS[norm].norm(found.matrix), 1, rtol=1e-12)
    assert_allclose(margins.margins_of(differing, found.matrix), found.least, rtol=1e-12)


def test_frobenius_margins_are_those_of_the_library_too():
    task = geometry.make_task(2)
    x = task.loss.inputs
    best = lf.directional_convergence.max_margin(
        x, np.broadcast_to(np.arange(24) % 4, (2, 24)), n_classes=4
    )
    assert_allclose(task.best["Frobenius"].least, best.margin, rtol=1e-4)


def test_shares_are_the_nearest():
    values = np.random.default_rng(0).standard_normal((4, 6))
    shares = margins._to_simplex(values)
    assert_allclose(shares.sum(axis=-1), 1, rtol=1e-14)
    assert shares.min() >= 0
    # By the conditions of optimality: what is positive is moved by the same, what is 0 by no more.
    moved = values - shares
    level = np.where(shares > 0, moved, -np.inf).max(axis=-1, keepdims=True)
    assert_allclose(np.where(shares > 0, moved, level), np.broadcast_to(level, moved.shape))
    assert (moved <= level + 1e-12).all()


def test_training_is_that_of_softmax():
    task = geometry.make_task(1)
    run = geometry.follow(task, lf.SignDescent(0.01), 30, None)
    x, classes, w = task.loss.inputs[0], np.arange(24) % 4, np.zeros((4, 6))
    for _ in range(30):
        shares = np.exp(x @ w.T)
        shares /= shares.sum(axis=1, keepdims=True)
        w -= 0.01 * np.sign((shares - np.eye(4)[classes]).T @ x)
    outputs = x @ w.T
    others = np.where(np.eye(4, dtype=bool)[classes], -np.inf, outputs).max(axis=1)
    margin = (outputs[np.arange(24), classes] - others).min() / np.abs(w).max()
    assert_allclose(run.ratio["entries"][0, -1], margin / task.best["entries"].most[0], rtol=1e-9)
    best = task.best["spectral"].matrix[0]
    cosine = (w * best).sum() / np.linalg.norm(w) / np.linalg.norm(best)
    assert_allclose(run.cosine["spectral"][0], cosine, rtol=1e-9)
    assert_array_equal(run.steps[[0, -1]], [1, 30])


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


def test_short_ways_and_other_norms_are_told_apart(monkeypatch):
    monkeypatch.setattr(geometry, "_LENGTH", 1.0)
    failed = failures("norms")
    assert sum("over the largest, least at the end" in text for text in failed) == 3
    assert len(failures("memories")) >= 3
    monkeypatch.undo()
    monkeypatch.setattr(geometry, "SignDescent", lf.SpectralDescent)
    failed = failures("norms")
    assert sum(text.startswith("sign descent") for text in failed) == 3
    assert any(text.startswith("by the entries norm") for text in failed)
