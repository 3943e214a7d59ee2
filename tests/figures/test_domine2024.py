"""From lazy to rich: starts and kernels are those meant, claims can fail."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.domine2024 import experiments, kernels, modes, setting

QUICK = Settings(quick=True)


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


@pytest.mark.parametrize("lam", [-2.0, 0.0, 5.0])
def test_factors_at_the_start_are_those_of_the_layers(lam):
    first, second = (part[0, 0] for part in setting.exact(np.array([lam]), np.zeros(1)))
    assert_allclose(second**2 - first**2, lam, atol=1e-15)
    assert_allclose(first * second, setting.SMALL, rtol=1e-12)


def test_kernels_of_factors_are_those_of_layers():
    data, rng = setting.whitened(), np.random.default_rng(0)
    factors = rng.standard_normal((2, 1, 2, setting.WIDTH))
    now, start = (
        [(turn * a) @ data.right.T, (data.left * b) @ turn.T]
        for a, b in ((factors[0, 0, i], factors[1, 0, i]) for i in (1, 0))
        for turn in (np.linalg.qr(rng.standard_normal((setting.WIDTH, setting.WIDTH)))[0],)
    )
    names = ("kernel_distance", "kernel_alignment")
    seen = lf.observe(lf.Dense((4, 4, 4)), data.loss, now, names, start=start)
    known = setting.kernels_of(*factors)
    for name, values in zip(names, known, strict=True):
        assert_allclose(seen[name], values[0, 1], rtol=1e-12)


def test_half_times():
    strengths = np.array([[[0.0], [0.25], [0.75]]]) * setting.SIGMA
    assert_allclose(modes.half_times(np.array([0.0, 1.0, 2.0]), strengths), 1.5)
    assert np.isnan(modes.half_times(np.arange(3.0), 0 * strengths)).all()


def test_other_solutions_are_told_apart(monkeypatch):
    true = setting.exact
    for module, name in ((modes, "modes"), (kernels, "courses")):
        monkeypatch.setattr(module, "exact", lambda lam, time: true(1.01 * lam, time))
        failed = failures(name)
        assert any("exact solution" in text for text in failed)


def test_other_starts_are_not_lazy(monkeypatch):
    true = kernels.follow

    def balanced(data, imbalance, *rest):
        return true(data, 0.1 * imbalance, *rest)

    monkeypatch.setattr(kernels, "follow", balanced)
    assert any("lambda^-4" in text for text in failures("ends"))
