"""Reduced-rank regression against alternating least squares and truncated fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss

from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.regression import (
    factors_of_data,
    reduced_rank_regression,
    sigma_ordered_path,
)


def make_data(n, n_in, n_out, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_in)) * np.linspace(0.5, 2, n_in)
    return x, x @ rng.standard_normal((n_in, n_out)) + 0.3 * rng.standard_normal((n, n_out))


def alternating(cov, cross, rank, *, n_steps=3000):
    """The best A B of a rank by least squares for A and B in turn; knows no eigenvalue."""
    a = np.random.default_rng(0).standard_normal((len(cross), rank))
    full = np.linalg.solve(cov, cross.T).T
    product = np.zeros_like(cross)
    for _ in range(n_steps):
        b = np.linalg.solve(a.T @ a, a.T @ full)
        a = np.linalg.solve(b @ cov @ b.T, b @ cross.T).T
        before, product = product, a @ b
        if np.abs(product - before).max() < 1e-16 * np.abs(product).max():
            break
        a = np.linalg.qr(a)[0]
    return product


@pytest.mark.parametrize("sizes", [(30, 4, 3), (30, 3, 5), (40, 5, 5)])
def test_every_rank_equals_alternating_least_squares(sizes):
    x, y = make_data(*sizes)
    loss = SquaredLoss.from_data(x, y)
    best = {k: alternating(loss.input_cov, loss.cross_cov, k) for k in range(1, min(sizes[1:]) + 1)}
    for data in (loss, (x, y)):
        path = reduced_rank_regression(data)
        assert path.n_ranks == path.ranks == min(sizes[1:])
        assert not path.products[0].any()
        for k, expected in best.items():
            assert np.linalg.matrix_rank(path.products[k]) == k
            assert_allclose(path.products[k], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        assert_allclose(path.losses, loss.value(path.products), rtol=1e-12)
        assert_allclose(-np.diff(path.losses), path.strengths**2 / 2, rtol=1e-10)
        assert (np.diff(path.strengths) < 0).all()


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
@budget(max_examples=60)
def test_any_number_of_samples(n, n_in, n_out, seed):
    """Fits are truncated singular value decompositions of the full fit, the rest is least norm."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, n_in)), rng.standard_normal((n, n_out))
    x[:, -1] = x[:, 0]  # dependent inputs
    path = reduced_rank_regression((x, y))
    u, s, vt = np.linalg.svd(x @ np.linalg.lstsq(x, y, rcond=None)[0], full_matrices=False)
    for k in range(min(n_in, n_out) + 1):
        fit = (u[:, :k] * s[:k]) @ vt[:k]
        assert_allclose(x @ path.products[k].T, fit, atol=1e-11 * np.abs(y).max())
        residual = np.sum((y - fit) ** 2) / (2 * n)
        assert_allclose(path.losses[k], residual, atol=1e-12 * np.abs(y).max() ** 2)
        least = path.products[k] @ np.linalg.pinv(x) @ x
        assert_allclose(least, path.products[k], atol=1e-11 * max(np.abs(least).max(), 1))
    moments = reduced_rank_regression(SquaredLoss.from_data(x, y))
    scale = np.abs(path.products).max() * np.linalg.cond(x[:, : max(n_in - 1, 1)]) ** 2
    gaps = -np.diff([*path.strengths, 0]) / path.strengths[0]
    if gaps[: path.ranks].min() > 1e-2:
        assert_allclose(moments.products, path.products, atol=1e-11 * scale)
    assert_allclose(moments.losses, path.losses, atol=1e-9 * np.abs(y).max() ** 2)
    assert_array_equal(moments.ranks, path.ranks)


def test_data_do_not_square_the_condition_number():
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((40, 5)))[0]
    v = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    truth = rng.standard_normal((3, 5))
    x = (u * np.geomspace(1, 1e-9, 5)) @ v
    y = x @ truth.T
    path = reduced_rank_regression((x, y))
    assert_allclose(path.products[3], truth, atol=1e-5)
    assert path.losses[3] < 1e-30
    assert (
        np.abs(reduced_rank_regression(SquaredLoss.from_data(x, y)).products[3] - truth).max() > 0.1
    )


def test_losses_from_data_are_accurate_when_tiny():
    x, _ = make_data(30, 4, 3)
    rng = np.random.default_rng(1)
    y = x @ rng.standard_normal((4, 3))
    left = np.eye(30) - x @ np.linalg.pinv(x)
    noise = 1e-9 * left @ rng.standard_normal((30, 3))
    path = reduced_rank_regression((x, y + noise))
    assert_allclose(path.losses[-1], np.sum(noise**2) / 60, rtol=1e-5)


def test_saddles_are_worse_than_the_path():
    """Of all critical points of a rank (subsets of the modes of M) the path has the least loss."""
    x, y = make_data(30, 4, 3)
    loss = SquaredLoss.from_data(x, y)
    path = reduced_rank_regression(loss)
    terms = np.diff(path.products, axis=0)
    for subset in [(1,), (2,), (0, 2), (1, 2)]:
        point = terms[list(subset)].sum(axis=0)
        residual = loss.cross_cov - point @ loss.input_cov
        # Critical for two layers: the residual is orthogonal to the point's row and column spaces.
        assert np.abs(point.T @ residual).max() < 1e-12
        assert np.abs(residual @ point.T).max() < 1e-12
        assert loss.value(point) > path.losses[len(subset)] + 1e-3


def test_the_path_may_end_early():
    x, y = make_data(30, 4, 3)
    for data in ((x, y), SquaredLoss.from_data(x, y)):
        whole = reduced_rank_regression(data)
        for rank in range(4):
            part = reduced_rank_regression(data, rank=rank)
            assert part.n_ranks == rank
            assert_array_equal(part.products, whole.products[: rank + 1])
            assert_array_equal(part.losses, whole.losses[: rank + 1])
            assert_array_equal(part.strengths, whole.strengths[:rank])
        with pytest.raises(ValueError, match=r"rank must be at most 3, min\(out, in\) of 3 and 4"):
            reduced_rank_regression(data, rank=4)
        with pytest.raises(ValueError, match="rank must be >= 0"):
            reduced_rank_regression(data, rank=-1)


def test_repeated_strengths_end_at_the_same_full_solution():
    loss = SquaredLoss(np.eye(3), 2 * np.eye(3), 12.0)
    path = reduced_rank_regression(loss)
    assert_allclose(path.strengths, [2, 2, 2], rtol=1e-15)
    assert_allclose(path.losses, [6, 4, 2, 0], atol=1e-14)
    assert_allclose(path.products[3], 2 * np.eye(3), atol=1e-15)
    assert_allclose(loss.value(path.products), path.losses, atol=1e-14)


def test_no_relation_and_no_inputs_leave_zero():
    for loss in (
        SquaredLoss(np.eye(2), np.zeros((3, 2)), 4.0),
        SquaredLoss(np.zeros((2, 2)), np.zeros((3, 2)), 4.0),
    ):
        path = reduced_rank_regression(loss)
        assert_array_equal(path.ranks, 0)
        assert not path.products.any()
        assert_array_equal(path.losses, [2, 2, 2])
    path = reduced_rank_regression((np.zeros((4, 2)), np.ones((4, 3))))
    assert not path.products.any()
    assert_allclose(path.losses, 1.5)


def test_units_do_not_matter_until_losses_overflow():
    x, y = make_data(30, 4, 3)
    path = reduced_rank_regression((x, y))
    scaled = reduced_rank_regression((1e-140 * x, 1e140 * y))
    assert_allclose(scaled.products / 1e280, path.products, rtol=1e-9, atol=1e-13)
    assert_allclose(scaled.losses / 1e280, path.losses, rtol=1e-12)
    with pytest.raises(ValueError, match="data must have losses within float64"):
        reduced_rank_regression((x, 1e160 * y))
    with pytest.raises(ValueError, match="data must have losses within float64"):
        reduced_rank_regression(SquaredLoss(np.eye(2), 1e200 * np.eye(2), 1.0))


def test_run_axes_broadcast():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 1, 9, 4)), rng.standard_normal((2, 9, 3))
    for data in ((x, y), SquaredLoss.from_data(x, y)):
        path = reduced_rank_regression(data, rank=2)
        assert path.products.shape == (3, 2, 3, 3, 4)
        assert path.losses.shape == (3, 2, 3)
        assert path.strengths.shape == (3, 2, 2)
        for i, j in np.ndindex(3, 2):
            pair = (x[i, 0], y[j])
            one = pair if isinstance(data, tuple) else SquaredLoss.from_data(*pair)
            alone = reduced_rank_regression(one, rank=2)
            for name in ("products", "losses", "strengths"):
                assert_allclose(
                    getattr(path, name)[i, j], getattr(alone, name), rtol=1e-10, atol=1e-13
                )
    loss = SquaredLoss(np.eye(2), np.eye(2), [2.0, 4.0])
    assert_allclose(reduced_rank_regression(loss).losses, [[1, 0.5, 0], [2, 1.5, 1]])
    assert reduced_rank_regression(loss).products.shape == (2, 3, 2, 2)


@pytest.mark.parametrize("shape", [(10, 4, 3), (3, 4, 3), (5, 5, 2)])
def test_ridge_is_the_regression_of_data_with_added_rows(shape):
    x, y = make_data(*shape)
    n, n_in, n_out = shape
    ridge = 0.3
    factors, rest = factors_of_data(x, y, ridge)
    more = np.concatenate([x, np.sqrt(n * ridge) * np.eye(n_in)])
    path = reduced_rank_regression((more, np.concatenate([y, np.zeros((n_in, n_out))])))
    scale = (n + n_in) / n  # the mean is over more rows
    assert_allclose(factors.strengths, path.strengths * np.sqrt(scale), rtol=1e-12)
    assert_allclose(rest, path.losses[-1] * scale, rtol=1e-12)
    for k in range(min(n_in, n_out) + 1):
        product = (factors.left * factors.strengths)[:, :k] @ factors.right[:k]
        assert_allclose(product, path.products[k], atol=1e-13)


def test_sigma_ordered_path_is_the_reduced_rank_path_where_the_orders_agree():
    x, y = make_data(30, 4, 3)
    white = np.linalg.qr(x)[0] * np.sqrt(30)
    for inputs, outputs in [(white, y), (x, x)]:
        loss = SquaredLoss.from_data(inputs, outputs)
        expected = reduced_rank_regression(loss).products
        assert_allclose(sigma_ordered_path(loss), expected, atol=1e-12)


def test_sigma_ordered_path_goes_by_sigma_where_the_orders_differ():
    loss = SquaredLoss(np.diag([4.0, 1.0]), np.diag([2.0, 1.5]), 4.0)
    path = sigma_ordered_path(loss)
    assert_allclose(path[1], np.diag([0.5, 0]), atol=1e-15)
    assert_allclose(path[2], np.diag([0.5, 1.5]), atol=1e-15)
    assert_allclose(reduced_rank_regression(loss).products[1], np.diag([0, 1.5]), atol=1e-15)


def test_sigma_ordered_path_of_any_data_is_the_sum_of_its_definition():
    loss = make_loss((4, 3), (2,))
    paths = sigma_ordered_path(loss)
    assert paths.shape == (2, 4, 3, 4)
    for run in range(2):
        u, s, vt = np.linalg.svd(loss.cross_cov[run])
        total = np.zeros((3, 4))
        for k in range(3):
            assert_allclose(paths[run, k], total, atol=1e-13)
            power = vt[k] @ loss.input_cov[run] @ vt[k]
            total = total + s[k] / power * np.outer(u[:, k], vt[k])
        assert_allclose(paths[run, 3], total, atol=1e-13)


def test_sigma_ordered_path_skips_inputs_that_do_not_occur():
    rng = np.random.default_rng(1)
    loss = SquaredLoss.from_data(rng.standard_normal((2, 5)), rng.standard_normal((2, 4)))
    path = sigma_ordered_path(loss)
    assert np.isfinite(path).all()
    assert_array_equal(path[2], path[3])
    assert_array_equal(path[2], path[4])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.eye(2), TypeError, "data must be a SquaredLoss, got ndarray"),
        ((np.eye(2),) * 3, TypeError, "data must be a SquaredLoss or a tuple"),
        ((np.ones(2), np.eye(2)), ValueError, r"^data\[0\] must have shape \(\*run, n, in\), got"),
        (
            (np.eye(2), np.eye(3)),
            ValueError,
            r"^data must have equally many rows of both, got 2 and 3",
        ),
        ((np.eye(2), np.full((2, 1), np.nan)), ValueError, r"^data\[1\] must be finite"),
        ((np.ones((2, 3, 1)), np.ones((3, 3, 1))), ValueError, "run axes must broadcast"),
        ((["a"], ["b"]), TypeError, r"^data\[0\] must be a real number or an array"),
    ],
)
def test_bad_data_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        reduced_rank_regression(data)


def test_rank_must_be_an_integer():
    with pytest.raises(TypeError, match="rank must be an integer"):
        reduced_rank_regression(make_loss((2, 2)), rank=1.0)


def test_repr_shows_sizes():
    path = reduced_rank_regression(make_loss((4, 3), (2,)), rank=2)
    assert repr(path) == "ReducedRankPath(n_inputs=4, n_outputs=3, n_ranks=2, run_shape=(2,))"


def test_one_output_may_have_one_axis():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    one, other = reduced_rank_regression((x, y)), reduced_rank_regression((x, y[:, None]))
    assert one.products.shape == (2, 1, 3)
    assert np.array_equal(one.products, other.products)
    assert np.array_equal(one.losses, other.losses)
