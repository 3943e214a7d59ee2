"""The estimator by scikit-learn's own checks, against its linear models, and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from support import python

from linnet_fast.sklearn import ReducedRankRegression


def make_data(n=60, n_in=5, n_out=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_in)) * np.linspace(0.5, 2, n_in) + 3
    y = x @ rng.standard_normal((n_in, n_out)) + rng.standard_normal((n, n_out)) - 1
    return x, y


def alternating(x, y, rank, ridge, n_steps=3000):
    """Ridge regression of limited rank by least squares for each factor in turn."""
    n, n_in = x.shape
    cov, cross = x.T @ x / n + ridge * np.eye(n_in), y.T @ x / n
    full = np.linalg.solve(cov, cross.T).T
    a = np.random.default_rng(0).standard_normal((y.shape[1], rank))
    for _ in range(n_steps):
        b = np.linalg.solve(a.T @ a, a.T @ full)
        a = np.linalg.solve(b @ cov @ b.T, b @ cross.T).T
        product = a @ b
        a = np.linalg.qr(a)[0]
    return product


@parametrize_with_checks(
    [
        ReducedRankRegression(),
        ReducedRankRegression(rank=1),
        ReducedRankRegression(ridge=0.1, fit_intercept=False),
    ]
)
def test_is_a_scikit_learn_estimator(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without it one check skips itself
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 5, 4), (60, 3, 6), (4, 6, 3), (60, 1, 1)], ids=str)
def test_full_rank_equals_linear_regression(shape, fit_intercept):
    x, y = make_data(*shape)
    model = ReducedRankRegression(fit_intercept=fit_intercept).fit(x, y)
    other = LinearRegression(fit_intercept=fit_intercept).fit(x, y)
    assert_allclose(model.coef_, other.coef_, rtol=1e-10, atol=1e-12)
    assert_allclose(model.intercept_, np.broadcast_to(other.intercept_, shape[2]), atol=1e-11)
    assert_allclose(model.predict(x), other.predict(x), rtol=1e-10, atol=1e-11)
    assert_allclose(model.score(x, y), other.score(x, y), rtol=1e-12)
    assert model.coef_.shape == (shape[2], shape[1])
    assert model.intercept_.shape == (shape[2],)
    assert model.n_features_in_ == shape[1]
    assert model.singular_values_.shape == (min(shape[1:]),)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 5, 4), (4, 6, 3)], ids=str)
@pytest.mark.parametrize("ridge", [1e-3, 0.7, 50.0])
def test_full_rank_with_ridge_equals_ridge(shape, ridge, fit_intercept):
    x, y = make_data(*shape)
    model = ReducedRankRegression(ridge=ridge, fit_intercept=fit_intercept).fit(x, y)
    other = Ridge(alpha=len(x) * ridge, fit_intercept=fit_intercept, solver="svd").fit(x, y)
    assert_allclose(model.coef_, other.coef_, rtol=1e-10, atol=1e-13)
    assert_allclose(model.predict(x), other.predict(x), rtol=1e-10)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_limited_rank_equals_alternating_least_squares(rank, ridge):
    x, y = make_data()
    model = ReducedRankRegression(rank, ridge=ridge).fit(x, y)
    expected = alternating(x - x.mean(axis=0), y - y.mean(axis=0), rank, ridge)
    assert np.linalg.matrix_rank(model.coef_) == model.rank_ == rank
    assert_allclose(model.coef_, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert_allclose(model.predict(x).mean(axis=0), y.mean(axis=0), rtol=1e-12)

    def objective(coef):
        residual = (y - y.mean(axis=0)) - (x - x.mean(axis=0)) @ coef.T
        return np.sum(residual**2) / (2 * len(x)) + ridge / 2 * np.sum(coef**2)

    gained = objective(np.zeros((4, 5))) - objective(model.coef_)
    assert_allclose(gained, np.sum(model.singular_values_[:rank] ** 2) / 2, rtol=1e-11)


def test_a_single_target_keeps_its_shape():
    x, y = make_data(n_out=1)
    wide = ReducedRankRegression().fit(x, y)
    flat = ReducedRankRegression().fit(x, y[:, 0])
    assert flat.coef_.shape == (5,)
    assert isinstance(flat.intercept_, float)
    assert flat.predict(x).shape == (60,)
    assert_array_equal(wide.coef_[0], flat.coef_)
    assert_array_equal(wide.predict(x)[:, 0], flat.predict(x))
    assert flat.singular_values_.shape == (1,)


def test_rank_zero_predicts_the_mean():
    x, y = make_data()
    model = ReducedRankRegression(0).fit(x, y)
    assert model.rank_ == 0
    assert_allclose(model.predict(x), np.broadcast_to(y.mean(axis=0), y.shape))


def test_rank_found_is_that_of_the_data():
    x, _ = make_data()
    y = np.outer(x[:, 0], [1.0, 2.0, 3.0])
    model = ReducedRankRegression().fit(x, y)
    assert model.rank_ == 1
    assert_allclose(model.predict(x), y, rtol=1e-12)
    assert (model.singular_values_[1:] < 1e-12 * model.singular_values_[0]).all()


def test_dependent_features_give_the_least_norm():
    x, y = make_data()
    twice = np.concatenate([x, x], axis=1)
    half = ReducedRankRegression(2).fit(x, y)
    model = ReducedRankRegression(2).fit(twice, y)
    assert_allclose(model.coef_, np.concatenate([half.coef_, half.coef_], axis=1) / 2, atol=1e-12)


def test_the_rank_can_be_chosen_by_cross_validation():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 8))
    truth = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 8))
    y = x @ truth.T + 2 * rng.standard_normal((200, 6))
    search = GridSearchCV(ReducedRankRegression(), {"rank": range(1, 7)}).fit(x, y)
    assert search.best_params_ == {"rank": 2}


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"rank": 5},
            ValueError,
            r"rank must be at most 4, min\(n_targets, n_features\) of 4 and 5",
        ),
        ({"rank": -1}, ValueError, "rank must be >= 0, got -1"),
        ({"rank": 1.5}, TypeError, "rank must be an integer, got float"),
        ({"ridge": -0.1}, ValueError, "ridge must be >= 0, got -0.1"),
        ({"ridge": np.nan}, ValueError, "ridge must be finite"),
    ],
)
def test_bad_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        ReducedRankRegression(**parameters).fit(*make_data())


def test_predict_needs_fit():
    with pytest.raises(NotFittedError):
        ReducedRankRegression().predict(np.eye(2))


def test_without_scikit_learn_the_error_names_the_extra():
    code = """
import sys
sys.modules["sklearn"] = None
import linnet_fast
try:
    import linnet_fast.sklearn
except ImportError as error:
    print(error)
"""
    said = 'this needs sklearn (extra data): pip install "scikit-learn>=1.6"'
    assert python(code).stdout.strip() == said
