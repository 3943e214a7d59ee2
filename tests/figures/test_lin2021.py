"""The experiments on directions: claims can fail, numbers agree with theory, pictures have no empty panel."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.figures import Settings
from linnet_fast.figures.lin2021 import (
    bounds,
    digits,
    experiments,
    figure1,
    floors,
    margins,
    portraits,
    rates,
    setting,
)
from linnet_fast.laws import Gaussian, Sphere

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def quick():
    """Return a function that runs an experiment once, in small."""
    figures = []

    @cache
    def run(name):
        figures.append(experiments.EXPERIMENTS[name](QUICK))
        return figures[-1]

    yield run
    for figure in figures:
        plt.close(figure.picture)


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return sum(not claim.holds for claim in figure.claims)


# --- claims can fail


@pytest.mark.parametrize(
    ("name", "module", "n_failures"),
    [
        ("figure_1a", figure1, 8),
        ("figure_1b", figure1, 8),
        ("depths", figure1, 30),
    ],
)
def test_another_law_fails_claims(name, module, n_failures, monkeypatch):
    # One per cent off, in the scale of the inputs.
    monkeypatch.setattr(module, "LAW", Sphere(2, 1.01))
    right = setting.flow
    monkeypatch.setattr(module, "flow", lambda *args: right(*args, law=Sphere(2, 1.01)))
    assert failures(name) >= n_failures


def test_wrong_depth_fails_rates(monkeypatch):
    right = rates.flow
    monkeypatch.setattr(rates, "flow", lambda n, times: right(n + 1, times))
    assert failures("rates") >= 15


def test_another_law_fails_step_rules(monkeypatch):
    right = rates.descent_law
    monkeypatch.setattr(rates, "descent_law", lambda _law, rule: right(Gaussian(2, 1.1), rule))
    assert failures("step_rules") >= 5


def test_a_longer_step_fails_the_core_against_the_recursion(monkeypatch):
    right = rates.train

    def shifted(*args, **options):
        run = right(*args, **options)
        norm = run.observables.get("norm")
        if norm is None:
            return run
        return replace(run, observables={**run.observables, "norm": norm * 1.001})

    monkeypatch.setattr(rates, "train", shifted)
    assert failures("step_rules") == 1


def test_a_wrong_nullcline_fails_portraits(monkeypatch):
    right = portraits.nullcline
    monkeypatch.setattr(portraits, "nullcline", lambda law, *, norm: 1.2 - right(law, norm=norm))
    assert failures("portraits") >= 3


def test_wrong_margins_fail_claims(monkeypatch):
    right = margins.max_margin

    def wrong(x, y):
        best = right(x, y)
        return replace(best, margin=0.9 * best.margin)

    monkeypatch.setattr(margins, "max_margin", wrong)
    assert failures("margins") >= 3


def test_wrong_floors_fail_claims(monkeypatch):
    for name in ("sampling_floor", "sgd_floor"):
        right = getattr(floors, name)
        monkeypatch.setattr(
            floors,
            name,
            lambda *args, right=right, **options: 1.3 * right(*args, **options),
        )
    assert failures("floors") >= 3


def test_bounds_of_another_flow_fail(monkeypatch):
    right = bounds.reduced_flow

    def faster(law, n_layers, **options):
        options["time"] = 0.9 * options["time"]
        run = right(law, n_layers, **options)
        return replace(run, time=run.time / 0.9)

    monkeypatch.setattr(bounds, "reduced_flow", faster)
    assert failures("bounds") >= 4


def test_steps_that_are_too_short_fail_on_digits(monkeypatch):
    monkeypatch.setattr(digits, "_STEP_SIZES", np.array([1e-4, 1e-5, 5e-6]))
    assert failures("digits") >= 2


# --- pictures and data


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_no_panel_is_empty_or_without_labels(quick, name):
    for ax in quick(name).picture.axes:
        assert len(ax.lines) >= 2
        seen = 0
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        for line in ax.lines:
            x, y = (np.asarray(part, float) for part in line.get_data())
            seen += bool(((x >= left) & (x <= right) & (y >= low) & (y <= high)).any())
        assert seen >= 2
        last = ax.get_subplotspec().is_last_row()
        assert ax.get_xlabel() or not last
        shared = ax.get_shared_y_axes().get_siblings(ax)
        assert any(other.get_ylabel() for other in shared)


def test_names_of_experiments_are_those_of_the_figures(quick):
    for name in experiments.EXPERIMENTS:
        assert quick(name).name == name


def test_the_paper_s_setting():
    assert_allclose(np.linalg.norm(setting.START), 1)
    assert_allclose(setting.START @ np.array(setting.DIRECTION), [-0.8])
    assert_allclose(-np.tanh(setting.LOG_TAN), -0.8)
    for n_layers in (1, 2, 4, 6):
        weights = setting.start(n_layers)
        network = setting.network(n_layers)
        assert len(weights) == n_layers
        assert_allclose(network.product(weights), setting.START, atol=1e-12)
        for layer in weights:
            assert_allclose(np.linalg.norm(layer), 1)  # balanced, of norm 1^(1 / N)


def test_sgd_is_the_paper_s(quick):
    data = quick("figure_1b").data
    assert data["time"][-1] == 40
    assert_allclose(data["sgd_norm"][0], 1)
    # The plateau: the loss hardly moves from time 5 to 10, near ln 2.
    part = (data["time"] >= 5) & (data["time"] <= 10)
    assert_allclose(data["sgd_loss"][part], np.log(2), rtol=0.03)


def test_the_table_of_three_is_in_the_report(quick):
    lines = quick("floors").caption.splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 2 + 4
    cells = [float(cell) for cell in rows[-1].strip("| ").split("|")]
    assert cells[0] == 1000
    assert cells[1] < 1e-15 < cells[4] < cells[2]
    assert_allclose(cells[2], cells[3], rtol=0.25)


def test_samples_have_the_labels_of_the_direction():
    x, y = margins.samples(3, 20, 0)
    assert x.shape == (3, 20, 2)
    assert_allclose(np.linalg.norm(x, axis=-1), 1)
    assert_array_equal(y, np.sign(x[..., 1]))


def test_sets_of_wide_margin():
    x, y = margins._wide(2, 50, Gaussian(2))
    assert x.shape == (2, 50, 2)
    assert (margins.max_margin(x, y).margin > 2 / 50).all()


def test_angles_between_vectors():
    a = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    b = np.array([[1.0, 1e-12], [3.0, 0.0], [-2.0, 0.0]])
    assert_allclose(margins.angle_between(a, b), [1e-12, np.pi / 2, np.pi])


def test_starts_of_the_digits_point_the_wrong_way(quick):
    error = quick("digits").data["test_error"]
    assert (error[..., 0] > 0.4).all()
