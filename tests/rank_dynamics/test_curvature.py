"""Hessians against finite differences and each other, closed forms against dense spectra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.curvature import (
    aligned_hessian_eigenvalues,
    hessian_vector_product,
    minimum_sharpness,
    sharpness,
)
from linnet_fast.rank_dynamics.regression import reduced_rank_regression
from linnet_fast.reference import gradients

WIDTHS = [(4, 3), (4, 2, 3), (3, 5, 2), (3, 2, 4, 2), (2, 3, 3, 3, 2)]


def dense_hessian(loss, weights):
    """The Hessian by complex steps through the gradient: no subtraction, no product rule."""
    shapes = [w.shape for w in weights]
    sizes = [w.size for w in weights]
    rows = []
    for unit in np.eye(sum(sizes)):
        moves = np.split(unit, np.cumsum(sizes)[:-1])
        moved = [w + 1e-150j * m.reshape(s) for w, m, s in zip(weights, moves, shapes, strict=True)]
        product = np.linalg.multi_dot(moved[::-1]) if len(moved) > 1 else moved[0]
        slope = product @ loss.input_cov - loss.cross_cov
        row = []
        for i in range(len(moved)):
            part = slope
            for above in moved[:i:-1]:
                part = above.T @ part
            for below in moved[:i]:
                part = part @ below.T
            row.append(part.imag.ravel() / 1e-150)
        rows.append(np.concatenate(row))
    return np.array(rows)


def balanced_minimum(loss, n_layers, width):
    solution = reduced_rank_regression(loss).products[-1]
    network = lf.Dense((loss.n_inputs, *[width] * (n_layers - 1), loss.n_outputs))
    return lf.initialization.balanced(network, product=solution, rng=0)


def commuting(sigma, lam, n_out, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((n_out, n_out)))[0]
    right = np.linalg.qr(rng.standard_normal((len(lam), len(lam))))[0]
    middle = np.zeros((n_out, len(lam)))
    np.fill_diagonal(middle, sigma)
    cov = (right * lam) @ right.T
    return SquaredLoss((cov + cov.T) / 2, left @ middle @ right.T, 50.0)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_products_equal_the_dense_hessian(widths):
    loss, weights = make_loss(widths), make_start(widths)
    matrix = dense_hessian(loss, weights)
    assert_allclose(matrix, matrix.T, atol=1e-13)
    units = np.eye(len(matrix))
    ends = np.cumsum([w.size for w in weights])[:-1]
    moves = [
        m.reshape(-1, *w.shape) for m, w in zip(np.split(units, ends, axis=1), weights, strict=True)
    ]
    parts = hessian_vector_product(loss, weights, moves)
    assert [part.shape for part in parts] == [move.shape for move in moves]
    rows = np.concatenate([part.reshape(len(matrix), -1) for part in parts], axis=1)
    assert_allclose(rows, matrix, atol=1e-12)
    assert_allclose(sharpness(loss, weights), np.linalg.eigvalsh(matrix)[-1], rtol=1e-12)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_products_equal_differences_of_gradients(widths):
    loss, weights, moves = make_loss(widths), make_start(widths), make_start(widths, seed=1)
    step = 1e-5
    after, before = (
        gradients([w + sign * step * m for w, m in zip(weights, moves, strict=True)], loss)
        for sign in (1, -1)
    )
    parts = hessian_vector_product(loss, weights, moves)
    for part, high, low in zip(parts, after, before, strict=True):
        assert_allclose(part, (high - low) / (2 * step), atol=2e-8)


def test_run_axes_broadcast():
    widths = (4, 3, 2)
    loss, weights = make_loss(widths, (3,)), make_start(widths, (2, 1))
    moves = make_start(widths, (5, 1, 1), seed=2)
    parts = hessian_vector_product(loss, weights, moves)
    values = sharpness(loss, weights)
    assert [part.shape for part in parts] == [(5, 2, 3, 3, 4), (5, 2, 3, 2, 3)]
    assert values.shape == (2, 3)
    for m, w, r in np.ndindex(5, 2, 3):
        one = SquaredLoss(loss.input_cov[r], loss.cross_cov[r], 1.0)
        point = [layer[w, 0] for layer in weights]
        alone = hessian_vector_product(one, point, [move[m, 0, 0] for move in moves])
        for part, expected in zip(parts, alone, strict=True):
            assert_allclose(part[m, w, r], expected, rtol=1e-13, atol=1e-14)
        assert_allclose(values[w, r], sharpness(one, point), rtol=1e-12)
    linear = hessian_vector_product(make_loss((4, 3)), [np.zeros((6, 3, 4))], [np.ones((3, 4))])
    assert linear[0].shape == (6, 3, 4)


@pytest.mark.parametrize("widths", [(12, 7, 8), (6, 5, 5, 6)], ids=str)
def test_lanczos_equals_the_dense_spectrum(widths):
    loss, weights = make_loss(widths), make_start(widths)
    values = np.linalg.eigvalsh(dense_hessian(loss, weights))
    assert len(values) > 64
    assert_allclose(sharpness(loss, weights), values[-1], rtol=1e-8)


@pytest.mark.parametrize("factor", [1e-120, 1e120])
def test_lanczos_does_not_depend_on_units(factor):
    widths = (12, 7, 8)
    loss, weights = make_loss(widths), make_start(widths)
    scaled = SquaredLoss(loss.input_cov * factor, loss.cross_cov * factor, loss.output_power)
    assert_allclose(sharpness(scaled, weights) / factor, sharpness(loss, weights), rtol=1e-9)


def test_sharpness_where_the_hessian_vanishes_or_is_indefinite():
    widths = (9, 4, 4, 8)
    nothing = [np.zeros_like(w) for w in make_start(widths)]
    assert sharpness(make_loss(widths), nothing) == 0
    # (1 - a b c)^2 / 2 near 0 curves down in one direction.
    point = [np.array([[0.3]])] * 3
    loss = SquaredLoss([[1.0]], [[1.0]], 1.0)
    values = np.linalg.eigvalsh(dense_hessian(loss, point))
    assert values[0] < 0
    assert_allclose(sharpness(loss, point), values[-1], rtol=1e-12)
    assert sharpness(SquaredLoss([[0.0]], [[0.0]], 1.0), point[:2]) == 0


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("sizes", [(4, 3), (3, 4), (4, 4), (5, 1), (1, 3), (1, 1)])
def test_minimum_sharpness_is_that_of_the_dense_hessian(n_layers, sizes):
    n_in, n_out = sizes
    k = min(sizes)
    losses = [
        make_loss((n_in, n_out)),
        commuting(np.linspace(2, 0.5, k), np.linspace(3, 0.7, n_in), n_out),
        commuting(np.ones(k), np.ones(n_in), n_out),
        commuting(np.zeros(k), np.linspace(3, 0.7, n_in), n_out),
    ]
    for loss in losses:
        point = balanced_minimum(loss, n_layers, max(sizes))
        expected = np.linalg.eigvalsh(dense_hessian(loss, point))[-1]
        assert_allclose(minimum_sharpness(loss, n_layers), expected, rtol=1e-9, atol=1e-9)
        assert_allclose(sharpness(loss, point), expected, rtol=1e-9, atol=1e-9)


def test_closed_form_and_operator_agree_and_runs_choose_for_themselves():
    rng = np.random.default_rng(0)
    plain = commuting([2.0, 1.5, 0.4], [4.0, 1.0, 0.5, 2.5], 3)
    nudge = 1e-7 * rng.standard_normal((4, 4))  # enough to take the operator
    nudged = SquaredLoss(plain.input_cov + nudge + nudge.T, plain.cross_cov, 50.0)
    other = make_loss((4, 3))
    for n_layers in (1, 2, 3, 5):
        exact = minimum_sharpness(plain, n_layers)
        assert_allclose(minimum_sharpness(nudged, n_layers), exact, rtol=1e-5)
        both = SquaredLoss(
            np.stack([plain.input_cov, other.input_cov, nudged.input_cov]),
            np.stack([plain.cross_cov, other.cross_cov, nudged.cross_cov]),
            np.full((2, 1), 50.0),
        )
        values = minimum_sharpness(both, n_layers)
        assert values.shape == (2, 3)
        alone = [minimum_sharpness(loss, n_layers) for loss in (plain, other, nudged)]
        assert_array_equal(values, [alone, alone])


def test_minimum_sharpness_of_two_layers_by_hand():
    sigma, lam = np.array([2.0, 1.5]), np.array([4.0, 1.0, 3.0])
    strengths = sigma / lam[:2]
    expected = max(
        *(2 * sigma),
        sigma[0] + lam[0] * strengths[1],
        sigma[1] + lam[1] * strengths[0],
        lam[2] * strengths.max(),
    )
    assert_allclose(minimum_sharpness(commuting(sigma, lam, 2)), expected, rtol=1e-12)
    white = commuting(sigma, np.ones(3), 2)
    for n_layers in range(1, 6):
        value = minimum_sharpness(white, n_layers)
        assert_allclose(value, n_layers * 2.0 ** (2 - 2 / n_layers), rtol=1e-12)


def test_a_large_coupled_problem_takes_lanczos():
    loss = make_loss((12, 9))
    point = balanced_minimum(loss, 3, 12)
    expected = sharpness(loss, point)
    assert_allclose(minimum_sharpness(loss, 3), expected, rtol=1e-7)


def test_inputs_of_little_power_are_left_out_on_request():
    lam = np.array([2.0, 1.0, 1e-8])
    loss = commuting([1.0, 0.5, 1e-5], lam, 3)
    assert_allclose(minimum_sharpness(loss), 2001, rtol=1e-6)  # lam_1 (w_1 + w_3)
    assert_allclose(minimum_sharpness(loss, rcond=1e-6), 2, rtol=1e-6)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, 5)) * [1, 1, 1, 1, 1e-5]
    loss = SquaredLoss.from_data(x, x @ rng.standard_normal((5, 2)) + rng.standard_normal((40, 2)))
    values, vectors = np.linalg.eigh(loss.input_cov)
    cut = vectors[:, 1:] / values[1:] @ vectors[:, 1:].T
    network = lf.Dense((5, 5, 2))
    point = lf.initialization.balanced(network, product=loss.cross_cov @ cut, rng=0)
    layer = [np.asarray(w) for w in point]
    gauss_newton = np.kron(layer[1] @ layer[1].T, loss.input_cov)
    root = (vectors * np.sqrt(values)) @ vectors.T
    gauss_newton += np.kron(np.eye(2), root @ layer[0].T @ layer[0] @ root)
    expected = np.linalg.eigvalsh(gauss_newton)[-1]
    assert_allclose(minimum_sharpness(loss, rcond=1e-6), expected, rtol=1e-8)
    assert minimum_sharpness(loss) > 100 * expected


def test_rank_deficient_inputs_have_a_finite_minimum():
    rng = np.random.default_rng(1)
    loss = SquaredLoss.from_data(rng.standard_normal((3, 5)), rng.standard_normal((3, 2)))
    point = balanced_minimum(loss, 2, 5)
    expected = np.linalg.eigvalsh(dense_hessian(loss, point))[-1]
    assert_allclose(minimum_sharpness(loss), expected, rtol=1e-9)


def test_whitened_minima_that_are_not_balanced_are_sharper():
    sigma, c = 1.5, 2.0
    square = (np.sqrt(c**2 + 4 * sigma**2) + c) / 2
    point = [np.array([[np.sqrt(square)]]), np.array([[sigma / np.sqrt(square)]])]
    value = sharpness(SquaredLoss([[1.0]], [[sigma]], 4.0), point)
    assert_allclose(value, np.sqrt(c**2 + 4 * sigma**2), rtol=1e-14)
    assert value > minimum_sharpness(SquaredLoss([[1.0]], [[sigma]], 4.0))


def aligned_point(sigma, lam, a, b, sizes, seed=0):
    """Moments and layers in random bases that have these numbers in the modes of the data."""
    n_in, n_hid, n_out = sizes
    rng = np.random.default_rng(seed)
    left, hidden, right = (
        np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (n_out, n_hid, n_in)
    )
    middle, first, second = (
        np.zeros((n_out, n_in)),
        np.zeros((n_hid, n_in)),
        np.zeros((n_out, n_hid)),
    )
    for matrix, values in ((middle, sigma), (first, a), (second, b)):
        np.fill_diagonal(matrix[: len(values), : len(values)], values)
    cov = (right * lam) @ right.T
    loss = SquaredLoss((cov + cov.T) / 2, left @ middle @ right.T, 50.0)
    return loss, (hidden @ first @ right.T, left @ second @ hidden.T)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), st.integers(0, 2**32 - 1)
)
@budget(max_examples=60)
def test_the_spectrum_of_any_aligned_point_equals_the_dense_one(sizes, seed):
    n_in, n_hid, n_out = sizes
    rng = np.random.default_rng(seed)
    sigma, lam = rng.uniform(0, 3, min(n_in, n_out)), rng.uniform(0, 3, n_in)
    a, b = rng.normal(size=min(n_in, n_hid)), rng.normal(size=min(n_hid, n_out))
    loss, point = aligned_point(sigma, lam, a, b, sizes, seed)
    values = aligned_hessian_eigenvalues(sigma, lam, a, b, n_hidden=n_hid, n_outputs=n_out)
    expected = np.linalg.eigvalsh(dense_hessian(loss, point))
    assert values.shape == (n_hid * (n_in + n_out),)
    assert_allclose(values, expected, atol=1e-12 * max(1, np.abs(expected).max()))


def test_spectra_of_a_whole_batch():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 1, 3)), rng.normal(size=(2, 2))
    lam = rng.uniform(0.5, 2, (5, 1, 4))
    values = aligned_hessian_eigenvalues([2.0, 1.0], lam, a, b)
    assert values.shape == (5, 2, 18)
    for i, j in np.ndindex(5, 2):
        alone = aligned_hessian_eigenvalues(
            [2.0, 1.0], lam[i, 0], a[i, 0], b[j], n_hidden=3, n_outputs=2
        )
        assert_allclose(values[i, j], alone, atol=1e-14)


def test_known_spectra_at_saddles_plateaus_and_minima():
    sigma, lam = np.array([3.0, 2.0, 0.5]), np.array([1.5, 1.0, 0.8, 0.3])
    zero = aligned_hessian_eigenvalues(sigma, lam, [0.0], [0.0], n_hidden=5)
    expected = np.sort([*np.repeat(sigma, 5), *-np.repeat(sigma, 5), *np.zeros(5)])
    assert_allclose(zero, expected, atol=1e-15)
    strengths = sigma / lam[:3]
    for k in range(1, 4):
        root = np.sqrt(strengths[:k])
        values = aligned_hessian_eigenvalues(sigma, lam, root, root, n_hidden=5)
        assert_allclose(values[0], -sigma[k] if k < 3 else 0, atol=1e-14)
    loss, _ = aligned_point(sigma, lam, root, root, (4, 5, 3))
    assert_allclose(values[-1], minimum_sharpness(loss), rtol=1e-13)
    w, power = 0.4, 1.5
    single = aligned_hessian_eigenvalues([2.0], [power], [np.sqrt(w)], [np.sqrt(w)])
    assert_allclose(single, np.sort([3 * power * w - 2, 2 - power * w]), rtol=1e-14)


def test_curvature_is_no_lower_than_minus_the_residual():
    for seed in range(5):
        loss, weights = make_loss((4, 3), seed=seed), make_start((4, 5, 3), seed=seed)
        residual = loss.cross_cov - weights[1] @ weights[0] @ loss.input_cov
        lowest = np.linalg.eigvalsh(dense_hessian(loss, weights))[0]
        assert lowest >= -np.linalg.norm(residual, 2) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sigma": [1.0]}, ValueError, r"sigma must have min\(in, out\) = 2 entries for 2 inputs"),
        ({"sigma": 1.0}, ValueError, "sigma must have shape"),
        ({"sigma": [-1.0, 1.0]}, ValueError, "sigma must be >= 0"),
        ({"lam": [-1.0, 1.0]}, ValueError, "lam must be >= 0"),
        ({"first": [1.0] * 3}, ValueError, "first must have at most 2 entries, got 3"),
        ({"second": [1.0] * 4}, ValueError, "second must have at most 3 entries, got 4"),
        ({"second": ["1"]}, TypeError, "second must be a real number"),
        ({"n_hidden": 0}, ValueError, "n_hidden must be >= 1"),
        ({"n_outputs": 2.0}, TypeError, "n_outputs must be an integer"),
        ({"first": np.ones((2, 1)), "second": np.ones((3, 1))}, ValueError, "run axes"),
    ],
)
def test_bad_modes_are_refused(change, error, message):
    arguments = {
        "sigma": [2.0, 1.0],
        "lam": [1.0, 1.0],
        "first": [1.0],
        "second": [1.0],
        "n_outputs": 3,
        "n_hidden": 4,
    }
    with pytest.raises(error, match=message):
        aligned_hessian_eigenvalues(**(arguments | change))


def test_bad_arguments_are_refused():
    loss, weights = make_loss((3, 2)), make_start((3, 4, 2))
    with pytest.raises(ValueError, match=r"directions\[0\] must have shape"):
        hessian_vector_product(loss, weights, weights[::-1])
    with pytest.raises(ValueError, match="directions must have 2 arrays"):
        hessian_vector_product(loss, weights, weights[:1])
    with pytest.raises(ValueError, match="weights must have 2 arrays"):
        sharpness(loss, weights[:1], network=lf.Dense((3, 4, 2)))
    with pytest.raises(ValueError, match="n_layers must be >= 1"):
        minimum_sharpness(loss, 0)
    with pytest.raises(ValueError, match="rcond must be >= 0"):
        minimum_sharpness(loss, rcond=-1)
    with pytest.raises(TypeError, match="loss must be a SquaredLoss"):
        minimum_sharpness(weights)


WHITE = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: minimum_sharpness(WHITE, rcond=[0.1, 0.1]), TypeError, "rcond must be a single"),
        (lambda: minimum_sharpness(WHITE, rtol=0.0), ValueError, "rtol must be > 0, got 0"),
        (lambda: sharpness(WHITE, ([[1.0], [1.0, 2.0]],)), ValueError, r"weights\[0\] must be"),
        (
            lambda: minimum_sharpness(SquaredLoss(np.diag([1.0, 0.0]), [[1.0, 0.5]], 2.0)),
            ValueError,
            "cross_cov must be 0 where input_cov vanishes, .* no minimum",
        ),
        (
            lambda: aligned_hessian_eigenvalues([1.0], [1.0], [0.0], [1e200]),
            ValueError,
            "second must give a Hessian within float64",
        ),
    ],
)
def test_hostile_arguments_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
