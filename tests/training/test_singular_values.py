"""Recorded singular values: as accurate as promised, alone and in a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf


def recorded_singular_values(matrix, n_runs):
    runs = () if n_runs is None else (n_runs,)
    n_out, n_in = matrix.shape
    loss = lf.SquaredLoss(np.eye(n_in), np.zeros((n_out, n_in)), 0.0)
    run = lf.train(
        lf.Dense((n_in, n_out)), loss, (np.broadcast_to(matrix, (*runs, n_out, n_in)),),
        method=lf.GradientDescent(0.1), n_steps=0, record=lf.Record.at([0], ("singular_values",)),
    )  # fmt: skip
    values = run.singular_values[..., 0, :]
    assert (values == values[(0,) * len(runs)]).all()
    return values[(0,) * len(runs)]


SPECTRA = {
    "graded": lambda n: 10.0 ** -np.linspace(0, 14, n),
    "clustered": lambda n: 1 + 1e-9 * np.arange(n)[::-1] / n,
    "equal": np.ones,
    "two clusters": lambda n: np.where(np.arange(n) < n / 2, 1.0, 1e-7),
    "rank one": lambda n: (np.arange(n) == 0) * 1.0,
    "rank deficient": lambda n: np.where(
        np.arange(n) < (n + 1) // 2, 1.0 + np.arange(n)[::-1], 0.0
    ),
    "one large": lambda n: np.where(np.arange(n) == 0, 1.0, 1e-12),
    "zero": np.zeros,
}


@pytest.mark.parametrize("n_runs", [None, 33])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (2, 2),
        (3, 3),
        (8, 8),
        (1, 7),
        (7, 1),
        (5, 13),
        (13, 5),
        (33, 33),
        (64, 10),
        (100, 90),
    ],
)
def test_singular_values_are_accurate(shape, spectrum, n_runs):
    """Matrices of known singular values: 1e-12 relative to the largest."""
    n = min(shape)
    values = SPECTRA[spectrum](n)
    rng = np.random.default_rng(n)
    u, v = (np.linalg.qr(rng.standard_normal((m, n)))[0] for m in shape)
    found = recorded_singular_values(u * values @ v.T, n_runs)
    assert_array_equal(found, np.sort(found)[::-1])
    assert (found >= 0).all()
    assert_allclose(found, values, rtol=0, atol=1e-12 * max(values[0], 1e-300))


@settings(max_examples=150)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32), st.sampled_from([1, 1e-290, 1e-160, 1e150]),
    st.sampled_from(["normal", "integer", "sparse", "triangular"]), st.sampled_from([None, 20]),
)  # fmt: skip
@example(6, 6, 0, 5e-324, "integer", None)
def test_singular_values_equal_numpys(n_out, n_in, seed, scale, kind, n_runs):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n_out, n_in))
    if kind == "integer":
        matrix = rng.integers(-2, 3, (n_out, n_in)).astype(float)
    elif kind == "sparse":
        matrix *= rng.random((n_out, n_in)) < 0.3
    elif kind == "triangular":
        matrix = np.triu(matrix) * 10.0 ** rng.integers(-8, 1, n_in)
    values = np.linalg.svd(matrix, compute_uv=False)
    found = recorded_singular_values(matrix * scale, n_runs)
    # Subnormal numbers have an absolute rounding error.
    assert_allclose(found, values * scale, rtol=0, atol=1e-12 * values[0] * scale + 1e-322 * n_in)


@settings(max_examples=100)
@given(
    st.integers(3, 12),
    st.integers(0, 2),
    st.integers(2, 12),
    st.floats(-16, -2),
    st.integers(0, 2**32),
)
def test_values_that_nearly_coincide(n, more, n_close, log_gap, seed):
    """As exact as others, at any distance of each other: 1e-13 of the largest."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((200, m, m)))[0] for m in (n + more, n))
    values = rng.uniform(0.01, 2, (200, n))
    values[:, :n_close] = values[:, :1] * (
        1 + 10.0**log_gap * rng.standard_normal(values[:, :n_close].shape)
    )
    matrices = np.einsum("rij,rj,rkj->rik", u[..., :n], values, v)
    loss = lf.SquaredLoss(np.eye(n), np.zeros((n + more, n)), 0.0)
    found = lf.observe(lf.Dense((n, n + more)), loss, [matrices], ("singular_values",))
    exact = np.linalg.svd(matrices, compute_uv=False)
    error = np.abs(found["singular_values"] - exact).max(axis=-1) / exact[:, 0]
    assert error.max() < 1e-13


@pytest.mark.parametrize("n_runs", [None, 33])
def test_two_that_coincide_next_to_a_third(n_runs):
    """Their error had been 2e-12 of the largest, with others 1e-8: half of a coupling was left out."""
    diagonal = [1.0861810266685377, 1.5199421744444792, 1.0534309378828484]
    diagonal += [1.137546411839385, 1.1375464118427112]
    above = [0.4910367857827079, 0.6931548527314025, 9.633570752759306e-12, 2.983724378680108e-14]
    matrix = np.diag(diagonal) + np.diag(above, 1)
    expected = np.linalg.svd(matrix, compute_uv=False)
    assert_allclose(recorded_singular_values(matrix, n_runs), expected, rtol=1e-14)
