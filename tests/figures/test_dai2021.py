"""The experiments on representation costs: claims hold, can fail, and rest on right formulas."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

from linnet_fast import Convolution, Diagonal, datasets
from linnet_fast.figures import Settings
from linnet_fast.figures.dai2021 import (
    balls,
    experiments,
    formulas,
    kernels,
    mesh,
    scalars,
    training,
)

VECTOR = np.array([1.0, 2.0, 3.0, 4.0])
QUICK = Settings(quick=True)


# --- claims can fail


@pytest.mark.parametrize(
    ("module", "name", "n_failures"),
    [
        (balls, "balls_2d", 2),
        (kernels, "kernel_width", 3),
        (kernels, "depth_limit", 2),
        (kernels, "channels", 3),
        (scalars, "residual", 3),
        (training, "lasso_path", 1),
        (training, "training", 3),
    ],
)
def test_wrong_costs_fail_claims(module, name, n_failures, monkeypatch):
    right = module.representation_cost

    def wrong(network, predictor, **options):
        found = right(network, predictor, **options)
        # Wrong by up to 5 %, in a way that depends on the predictor.
        size = np.abs(np.asarray(predictor)).reshape(*found.value.shape, -1)
        return replace(found, value=found.value * (1 + 0.05 * size.max(-1) / size.sum(-1)))

    monkeypatch.setattr(module, "representation_cost", wrong)
    figure = experiments.EXPERIMENTS[name](QUICK)
    assert sum(not claim.holds for claim in figure.claims) >= n_failures
    plt.close(figure.picture)


@pytest.mark.parametrize("name", ["lasso_path", "training", "minima"])
def test_training_that_is_too_short_fails_claims(name, monkeypatch):
    right = training.train

    def short(*args, record, **options):
        if record.schedule == "at":
            record = type(record).at([500], observables=record.observables)
        return right(*args, **options | {"n_steps": 500, "record": record})

    monkeypatch.setattr(training, "train", short)
    figure = experiments.EXPERIMENTS[name](QUICK)
    assert sum(not claim.holds for claim in figure.claims) >= 2
    plt.close(figure.picture)


# --- formulas and tools


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (formulas.full_width(VECTOR, 2), 8.828427125),
        (formulas.full_width(VECTOR, 3), 7.671742414),
        (formulas.two_taps(VECTOR, 2), 9.380831520),
        (formulas.two_taps(VECTOR, 3), 8.019983498),
        (formulas.rho(np.array(2.0), 1), 1.868616627),
        (formulas.rho(np.array(2.0), 3), 1.010808134),
        (formulas.rho(np.array(0.0), 3), 0.0),
        (formulas.rho_limit(np.array(2.0)), 1.447564040),
    ],
)
def test_formulas_on_numbers_worked_out_by_hand(value, expected):
    assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_the_depth_limit_of_two_taps_is_that_of_their_frequency():
    # p = 1 + cos(w) is the best at low frequencies.
    for k in (1, 2, 3):
        limit = formulas.depth_limit_of_kernels(np.array([k, 16 - k]), 16, 2)
        assert_allclose(limit, 1 / (1 + np.cos(2 * np.pi * k / 16)), rtol=1e-9)


def test_a_kernel_that_is_not_the_best_has_no_certificate():
    network = Convolution(4, 2, 3)
    kernel = balls.representation_cost(network, VECTOR).weights[0][0, 0]
    assert abs(formulas.certificate(VECTOR, kernel, 3)) < 1e-7
    assert formulas.certificate(VECTOR, kernel + np.array([0.1, 0.0]), 3) > 1e-3


def test_the_nuclear_bound_is_below_the_cost():
    bound = kernels.nuclear_bound(kernels._EXAMPLE, (0, 1, 3))
    assert 3.0135 < bound < 3.01359
    beta = np.random.default_rng(0).standard_normal((20, 7)) * np.geomspace(1e-3, 1e3, 20)[:, None]
    cost = balls.representation_cost(Convolution(7, taps=(0, 1, 3), channels=3), beta).value
    gap = 1 - kernels.nuclear_bound(beta, (0, 1, 3)) / cost
    assert gap.min() > -1e-12
    assert gap.max() < 2e-8


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_mesh_is_a_closed_surface(n):
    vertices, triangles = mesh.cube_mesh(n)
    assert_allclose(np.linalg.norm(vertices, axis=1), 1)
    assert triangles.shape == (48 * n**2, 3)
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert set(Counter(map(tuple, edges)).values()) == {2}
    assert len(vertices) == 2 + len(triangles) // 2  # Euler: V - E + F = 2


def test_about_half_of_a_sphere_is_turned_away():
    vertices, triangles = mesh.cube_mesh(6)
    away = mesh.turned_away(vertices, triangles, (22.0, 30.0))
    assert 0.4 < away.mean() < 0.5


def test_the_turn_to_the_diagonal_is_orthogonal():
    turn = mesh.along_diagonal()
    assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)
    assert_allclose(turn[2], np.ones(3) / np.sqrt(3))


def test_radii_of_functions_homogeneous_and_not():
    directions = np.array([[1.0, 0.0], [0.6, 0.8]])

    def square(x):
        return np.sum(x**2, axis=-1)

    assert_allclose(balls.radii(square, directions), 1)
    mixed = balls.radii(lambda x: square(x) + np.abs(x).sum(axis=-1), directions)
    assert_allclose(mixed, [1, (np.sqrt(1.4**2 + 8) - 1.4) / 2], rtol=1e-12)


def test_random_weights_stay_within_the_ball_and_reach_its_rim():
    ball = balls.Ball("", Diagonal(2, 2), lambda x: np.abs(x).sum(axis=-1))
    found = balls.images(ball, 2, 3000, np.random.default_rng(0))
    reach = np.abs(found).sum(axis=-1)
    assert reach.max() <= 1 + 1e-12
    assert reach.max() > 0.99


def test_the_convex_programs_are_solved():
    # Far along, a proximal step moves nothing: the condition of the optimum.
    program = training._kernel_program(quick=True)
    predictor, value = program.solve(20_000)
    again, more = program.solve(40_000)
    assert_allclose(predictor, again, atol=1e-9)
    assert_allclose(value, more, rtol=1e-12)


def test_data_sets_of_the_experiments_are_there():
    assert datasets.load("diabetes").X.shape == (442, 10)
    assert datasets.load("digits").X.shape == (1797, 64)


def test_networks_of_the_whole_experiment_are_not_too_deep():
    # Only the quick forms are run elsewhere; this one asked for more layers than there may be.
    figure = scalars.residual(Settings())
    assert all(claim.holds for claim in figure.claims)
    plt.close(figure.picture)
