"""The edge of stability: data and sharpness are right, claims can fail."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.cohen2021 import catapults, edge, experiments, setting, sharpening

QUICK = Settings(quick=True)


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


def test_data():
    loss = setting.badly_conditioned(3, 2.0, size=0.5)
    assert_allclose(loss.input_cov, np.diag(np.arange(1, 11.0) ** -2), atol=1e-15)
    assert_allclose(loss.value(np.asarray(loss.minimizer)), 0, atol=1e-25)


def test_sharpness_of_a_training_is_that_of_the_dense_hessian():
    loss = setting.badly_conditioned(1, 3.0)
    network = lf.Dense((10, 4, 1))
    start = lf.initialization.gaussian(network, rng=0)
    steps = np.array([0, 7, 300])
    sharpness, losses = setting.follow(network, loss, start, lf.GradientDescent(0.05), steps, None)
    assert losses.shape == (301,)
    for n, value in zip(steps, sharpness, strict=True):
        run = lf.train(network, loss, start, method=lf.GradientDescent(0.05), n_steps=int(n))
        weights = run.final.weights
        units = np.eye(44)
        split = [units[:, :40].reshape(44, 4, 10), units[:, 40:].reshape(44, 1, 4)]
        columns = lf.rank_dynamics.hessian_vector_product(
            loss, [np.broadcast_to(w, (44, *w.shape)) for w in weights], split
        )
        hessian = np.concatenate([c.reshape(44, -1) for c in columns], axis=1)
        assert_allclose(value, np.linalg.eigvalsh(hessian)[-1], rtol=1e-8)


def test_where_sharpness_arrives():
    assert edge.first_above(np.array([0.5, 0.9, 1.1, 0.9])) == 2
    assert edge.first_above(np.array([0.5, 0.9])) == 1


def test_another_sharpness_is_told_apart(monkeypatch):
    true = edge.follow

    def other(*arguments):
        sharpness, losses = true(*arguments)
        return 1.1 * sharpness, losses

    monkeypatch.setattr(edge, "follow", other)
    failed = failures("steps")
    assert sum("median" in text for text in failed) == 3


def test_shorter_steps_go_on_where_these_hover(monkeypatch):
    true = edge.follow
    monkeypatch.setattr(
        edge,
        "follow",
        lambda network, loss, start, method, *rest: true(
            network, loss, start, lf.GradientDescent(0.3 * method.step_size), *rest
        ),
    )
    failed = failures("steps")
    assert sum("median" in text for text in failed) == 3
    assert sum("rises afterwards" in text for text in failed) == 3


def test_the_edge_of_plain_descent_is_not_that_of_momentum(monkeypatch):
    monkeypatch.setattr(edge, "_METHODS", ((0.3, False), (0.5, True)))
    true = edge.follow
    monkeypatch.setattr(
        edge,
        "follow",
        lambda network, loss, start, method, *rest: true(
            network, loss, start, lf.GradientDescent(method.step_size), *rest
        ),
    )
    failed = failures("momentum")
    assert sum(text.endswith("mean") for text in failed) == 2


def test_starts_below_the_edge_are_no_catapults(monkeypatch):
    monkeypatch.setattr(catapults, "_ABOVE", (0.5, 0.6, 0.7, 0.8, 0.9, 0.95))
    failed = failures("catapults")
    assert any("rises at first" in text for text in failed)
    assert any("diverges" in text for text in failed)


def test_rises_in_another_order_are_told_apart(monkeypatch):
    rises = iter(np.geomspace(100, 1, 9))

    def fake(_kind, times, n_seeds, _settings):
        flow = next(rises) ** np.linspace(0, 1, len(times)) * np.ones((n_seeds, 1))
        return flow, np.full(n_seeds, 1.2)

    monkeypatch.setattr(sharpening, "_sharpness", fake)
    failed = failures("networks")
    assert len(failed) >= 4
    assert any("each layer more" in text for text in failed)
    assert any("at or below" in text for text in failed)
