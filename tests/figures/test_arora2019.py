"""Deep matrix factorisation: the rivals are right, claims can fail."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.arora2019 import completion, experiments, speeds
from linnet_fast.figures.arora2019.nuclear_norm import least_nuclear_norm

QUICK = Settings(quick=True)


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


class TestLeastNuclearNorm:
    @pytest.mark.parametrize(("shape", "n", "seed"), [((8, 8), 40, 0), ((6, 10), 35, 1)])
    def test_is_that_of_a_convex_solver(self, shape, n, seed):
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
        seen = np.zeros(matrix.size, bool)
        seen[rng.permutation(matrix.size)[:n]] = True
        seen = seen.reshape(shape)
        found = least_nuclear_norm(lf.MatrixCompletionLoss.from_matrix(matrix, seen))
        variable = cp.Variable(shape)
        problem = cp.Problem(cp.Minimize(cp.normNuc(variable)), [variable[seen] == matrix[seen]])
        problem.solve(solver=cp.SCS, eps=1e-7)
        assert_allclose(found.norm, problem.value, rtol=1e-4)
        assert_allclose(found.matrix, variable.value, atol=0.02)
        assert_array_equal(found.matrix[seen], matrix[seen])
        assert 0 <= found.gap <= 1e-6

    def test_two_by_two(self):
        # Of ((x, 1), (1, 0)) the norm is least at x = 0, where both singular values are 1.
        loss = lf.MatrixCompletionLoss([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], shape=(2, 2))
        found = least_nuclear_norm(loss)
        assert_allclose(found.norm, 2, rtol=1e-6)
        assert_allclose(found.matrix[0, 0], 0, atol=1e-3)

    def test_the_gap_says_where_it_was_stopped(self):
        rng = np.random.default_rng(0)
        matrix = rng.standard_normal((8, 8))
        loss = lf.MatrixCompletionLoss.from_matrix(matrix, rng.random((8, 8)) < 0.6)
        early, late = (least_nuclear_norm(loss, n_turns=n) for n in (1, 2000))
        assert early.gap > 1e-2
        assert late.gap <= 1e-6
        assert early.norm >= late.norm * (1 - 1e-6)


def test_task():
    task = completion.make_task(9, 2, 40, 3)
    assert_allclose(np.linalg.norm(task.matrices, axis=(-2, -1)), 9)
    assert_array_equal(np.linalg.matrix_rank(task.matrices), 2)
    assert_array_equal(task.seen.sum(axis=(-2, -1)), 40)
    assert task.loss.run_shape == (3, 1)


def test_large_starts_find_nothing(monkeypatch):
    true = completion._trained
    monkeypatch.setattr(
        completion, "_trained", lambda task, n, scales, *rest: true(task, n, 0 * scales + 1, *rest)
    )
    failed = failures("completion")
    assert len(failed) >= 5
    assert any("three layers from the smallest start" in text for text in failed)


def test_other_speeds_are_told_apart(monkeypatch):
    # The loss of entries whose values are others has another gradient.
    true = lf.MatrixCompletionLoss.gradient
    monkeypatch.setattr(
        speeds.MatrixCompletionLoss, "gradient", lambda self, p: 1.01 * true(self, p)
    )
    assert len(failures("speeds")) == 4
