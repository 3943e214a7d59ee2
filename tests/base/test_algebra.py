"""Linear algebra of the core: right, and the same bits whatever the BLAS, the threads and the strides."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import few

from linnet_fast import _core
from linnet_fast._base import algebra, spacing

sizes = st.integers(1, 40)
kinds = st.sampled_from(["full", "low rank", "graded", "zero", "huge", "tiny"])


def matrix(rng, runs, rows, columns, kind):
    full = rng.normal(size=(*runs, rows, columns))
    if kind == "low rank":
        rank = max(1, min(rows, columns) // 2)
        return rng.normal(size=(*runs, rows, rank)) @ rng.normal(size=(*runs, rank, columns))
    if kind == "graded":
        return full * np.logspace(0, -200, columns)
    return full * {"full": 1.0, "zero": 0.0, "huge": 1e300, "tiny": 1e-300}[kind]


@given(st.integers(1, 400), sizes, sizes, st.integers(0, 2**32))
def test_cross_products_agree_with_numpy(n, rows, columns, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(3, n, rows)), rng.normal(size=(1, n, columns))
    found = algebra.cross_products(first, second)
    bound = np.abs(first).mT @ np.abs(second)
    assert (np.abs(found - first.mT @ second) <= 1e-14 * n * bound).all()
    square = algebra.cross_products(first, first)
    assert np.array_equal(square, square.mT)


def test_sums_have_their_order():
    """Blocks of 128 terms from left to right, and then these from left to right."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(300, 3)), rng.normal(size=(300, 5))
    total = np.zeros((3, 5))
    for block in range(0, 300, 128):
        part = np.zeros((3, 5))
        for n in range(block, min(block + 128, 300)):
            part = part + first[n][:, None] * second[n]
        total = total + part
    assert np.array_equal(algebra.cross_products(first, second), total)


def test_many_samples_lose_little():
    x = np.full((2**20, 1), 0.1)
    exact = float(mpmath.mpf(0.1) ** 2 * 2**20)
    assert algebra.cross_products(x, x)[0, 0] == pytest.approx(exact, rel=2e-13)


@given(sizes, sizes, kinds, st.integers(0, 2**32))
def test_svd(rows, columns, kind, seed):
    a = matrix(np.random.default_rng(seed), (2,), rows, columns, kind)
    u, s, vt = algebra.svd(a)
    k = min(rows, columns)
    assert u.shape == (2, rows, k)
    assert vt.shape == (2, k, columns)
    top = np.abs(a).max(axis=(-2, -1), keepdims=True)
    scaled = a / np.where(top > 0, top, 1.0)
    largest = s / np.where(top[..., 0] > 0, top[..., 0], 1.0)
    assert np.allclose(u.mT @ u, np.eye(k), rtol=0, atol=1e-13)
    assert np.allclose(vt @ vt.mT, np.eye(k), rtol=0, atol=1e-13)
    assert np.allclose((u * largest[..., None, :]) @ vt, scaled, rtol=0, atol=1e-13)
    assert np.allclose(largest, np.linalg.svd(scaled, compute_uv=False), rtol=0, atol=1e-13)
    assert (np.diff(s) <= 0).all()
    right = vt if rows >= columns else u.mT
    at = np.abs(right).argmax(axis=-1)[..., None]
    assert (np.take_along_axis(right, at, axis=-1) > 0).all()


@given(
    sizes,
    sizes,
    st.sampled_from(["full", "low rank", "huge", "tiny", "zero"]),
    st.integers(0, 2**32),
)
def test_orthonormal_columns(rows, columns, kind, seed):
    rows, columns = max(rows, columns), min(rows, columns)
    a = matrix(np.random.default_rng(seed), (2,), rows, columns, kind)
    q = algebra.orthonormal_columns(a)
    top = np.abs(a).max()
    r = q.mT @ (a / (top or 1.0))
    assert np.allclose(q.mT @ q, np.eye(columns), rtol=0, atol=1e-13)
    assert np.allclose(np.tril(r, -1), 0, rtol=0, atol=1e-13)
    assert np.allclose(q @ r, a / (top or 1.0), rtol=0, atol=1e-13)
    assert (np.diagonal(r, axis1=-2, axis2=-1) >= -1e-13).all()


@given(st.floats(0, 1e308), st.integers(1, 300))
def test_roots_are_those_of_mpmath(value, degree):
    with mpmath.workdps(40):
        exact = mpmath.root(mpmath.mpf(value), degree)
    assert algebra.roots(np.array([value]), degree)[0] == pytest.approx(float(exact), rel=6e-16)


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.integers(1, 40))
def test_spaced_numbers_are_correctly_rounded(low, high, n):
    found = spacing.geomspace(low, high, n)
    with mpmath.workdps(60):
        ratio = mpmath.mpf(high) / mpmath.mpf(low)
        exact = [float(low * ratio ** (mpmath.mpf(i) / max(n - 1, 1))) for i in range(n)]
    assert found == exact
    assert found == pytest.approx(np.geomspace(low, high, n).tolist(), rel=1e-12)


@given(sizes, st.integers(0, 2**32), st.sampled_from(["any", "equal", "zero"]))
def test_eigenvectors(n, seed, kind):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(3, n, n))
    a = {"any": a + a.mT, "equal": -np.eye(n) + 0 * a, "zero": 0 * a}[kind]
    v = algebra.eigenvectors(a)
    size = np.abs(a).max() or 1.0
    assert np.allclose(v.mT @ v, np.eye(n), rtol=0, atol=1e-13)
    turned = v.mT @ a @ v / size
    expected = np.linalg.eigvalsh(a)[..., None] / size * np.eye(n)
    assert np.allclose(turned, expected, rtol=0, atol=1e-13 * n)


def test_bits_do_not_depend_on_threads_or_strides():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(5, 200, 150))
    for name in ("orthonormal_columns", "singular_vectors"):
        one, two = (getattr(_core, name)(a, n_threads=n) for n in (1, 2))
        assert all(np.array_equal(x, y) for x, y in zip(one, two, strict=True))
    assert np.array_equal(
        _core.cross_products(a, a, n_threads=1), _core.cross_products(a, a, n_threads=2)
    )
    by_columns = np.asfortranarray(a)
    assert np.array_equal(
        algebra.cross_products(a, a), algebra.cross_products(by_columns, by_columns)
    )
    assert all(
        np.array_equal(x, y) for x, y in zip(algebra.svd(a), algebra.svd(by_columns), strict=True)
    )


DIGEST = """
import hashlib, numpy as np, linnet_fast as lf
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(500, 40)), rng.normal(size=(500, 17))
loss = lf.SquaredLoss.from_data(X, Y, center=True)
network = lf.Dense((40, 30, 17))
make = lf.initialization
arrays = [loss.input_cov, loss.cross_cov, loss.output_power]
for start in (make.orthogonal(network, rng=0, batch_shape=9), make.balanced(network, rng=0, batch_shape=9),
              make.aligned(network, loss, 0.3, rng=0, batch_shape=9), make.gaussian(network, rng=0)):
    arrays += start
print(hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest())
"""


@functools.cache
def digest(**more):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIGEST],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


@pytest.mark.parametrize(
    "environment",
    few(
        [
            {"OPENBLAS_NUM_THREADS": "1"},
            {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
            {"OPENBLAS_CORETYPE": "Nehalem"},
            {
                "OMP_NUM_THREADS": "1",
                "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512F AVX512_SKX",
            },
        ],
        2,
    ),
    ids=str,
)
def test_data_and_starts_are_the_same_with_any_blas(environment):
    """Seen to fail with moments and factors from numpy.linalg: other kernels, other last bits."""
    assert digest(**environment) == digest()
