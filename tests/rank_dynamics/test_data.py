"""The joint decomposition against its definition, planted bases, and the errors of other data."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss

from linnet_fast._base import algebra
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import (
    NonCommutingError,
    checked_layers,
    joint_decomposition,
    require_commuting,
)

ARRAYS = ("left", "right", "sigma", "lam", "offdiagonal")
FIGURES = ("defect_spectral", "defect_frobenius", "commutator")


def orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def planted(sigma, lam, n_out, seed=0, off=None):
    """Moments of given modes in random bases, and these bases."""
    rng = np.random.default_rng(seed)
    left, right = orthogonal(n_out, rng), orthogonal(len(lam), rng)
    middle = np.zeros((n_out, len(lam)))
    np.fill_diagonal(middle, sigma)
    inner = np.diag(np.asarray(lam, float)) + (0 if off is None else off)
    cov = right @ inner @ right.T
    return SquaredLoss((cov + cov.T) / 2, left @ middle @ right.T, 100.0), left, right


def assert_decomposes(modes, loss, tol=1e-13):
    """Check every promise of the class that holds for any data; `modes` of a single run."""
    n_out, n_in = loss.cross_cov.shape
    for basis in (modes.left, modes.right):
        assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=tol)
    k = min(n_out, n_in)
    cross = (modes.left[:, :k] * modes.sigma) @ modes.right[:, :k].T
    assert_allclose(cross, loss.cross_cov, atol=tol * max(np.abs(loss.cross_cov).max(), 1e-300))
    inner = np.diag(modes.lam) + modes.offdiagonal
    size = max(np.linalg.norm(loss.input_cov, 2), 1e-300)
    assert_allclose(modes.right @ inner @ modes.right.T, loss.input_cov, atol=tol * size)
    assert_array_equal(modes.offdiagonal, modes.offdiagonal.T)
    assert not np.diag(modes.offdiagonal).any()
    assert (np.diff(modes.sigma) <= 0).all()
    assert_allclose(modes.defect_spectral, np.linalg.norm(modes.offdiagonal, 2) / size, rtol=1e-9)
    assert_allclose(
        modes.defect_frobenius,
        np.linalg.norm(modes.offdiagonal) / max(np.linalg.norm(loss.input_cov), 1e-300),
        rtol=1e-9,
    )


@pytest.mark.parametrize("widths", [(4, 3), (3, 4), (5, 5), (1, 1), (1, 4), (4, 1)])
def test_the_decomposition_rebuilds_the_moments_of_any_data(widths):
    loss = make_loss(widths)
    modes = joint_decomposition(loss)
    assert_decomposes(modes, loss)
    a, b = loss.input_cov, loss.cross_cov.T @ loss.cross_cov
    bracket = np.linalg.norm(a @ b - b @ a) / (2 * np.linalg.norm(a) * np.linalg.norm(b))
    assert_allclose(modes.commutator, bracket, rtol=1e-11, atol=1e-16)
    if widths[0] > 1:
        assert modes.defect_spectral > 1e-3
    assert_allclose(modes.targets, modes.sigma / modes.lam[: min(widths)])


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0 + 1e-9, 2.0]), min_size=5, max_size=5),
    st.lists(st.sampled_from([0.5, 1.0, 1.0, 1.0 - 1e-9, 3.0]), min_size=5, max_size=5),
)
@budget(max_examples=60)
def test_commuting_data_are_recognised_whatever_is_repeated(n_in, n_out, seed, sigma, lam):
    sigma = np.sort(sigma[: min(n_in, n_out)])[::-1]
    loss, _, _ = planted(sigma, lam[:n_in], n_out, seed)
    modes = joint_decomposition(loss)
    assert_decomposes(modes, loss, tol=2e-13)
    assert_allclose(modes.sigma, sigma, atol=1e-14)
    assert modes.defect_spectral < 3e-14
    assert modes.commutator < 1e-14
    # The pairs (sigma, lam) are those planted.
    padded = np.zeros(n_in)
    padded[: len(sigma)] = sigma
    found = np.zeros(n_in)
    found[: len(sigma)] = modes.sigma
    for value in np.unique(padded):
        mine = np.abs(found - value) < 1e-8
        theirs = np.abs(padded - value) < 1e-8
        assert_allclose(
            np.sort(modes.lam[mine]), np.sort(np.asarray(lam[:n_in])[theirs]), atol=1e-12
        )


def test_modes_of_equal_sigma_are_ordered_by_strength_and_the_rest_by_power():
    loss, left, right = planted([2.0, 2.0, 2.0, 0.0], [3.0, 1.0, 2.0, 0.5, 4.0, 1.5], 4)
    modes = joint_decomposition(loss)
    assert_allclose(modes.lam, [1, 2, 3, 4, 1.5, 0.5], rtol=1e-13)
    assert_allclose(modes.targets, [2, 1, 2 / 3, 0], rtol=1e-13)
    assert len(np.unique(modes.sigma[:3])) == 1
    order = [1, 2, 0, 4, 5, 3]
    assert_allclose(np.abs(right.T @ modes.right)[order], np.eye(6), atol=1e-13)
    assert_allclose(np.abs(left.T @ modes.left)[[1, 2, 0, 3]], np.eye(4), atol=1e-13)


def test_a_basis_is_left_alone_where_there_is_nothing_to_gain():
    rng = np.random.default_rng(5)
    cross = 3 * orthogonal(4, rng)
    modes = joint_decomposition(SquaredLoss(np.eye(4), cross, 40.0))
    left, _, right_t = algebra.svd(cross)
    assert_array_equal(modes.left, left)
    assert_array_equal(modes.right, right_t.T)


def test_nearly_equal_sigma_of_data_that_do_not_commute_are_told_apart():
    off = np.zeros((3, 3))
    off[0, 1] = off[1, 0] = 0.3
    loss, _, _ = planted([1.0 + 1e-9, 1.0, 0.5], [1.0, 1.0, 1.0], 3, off=off)
    modes = joint_decomposition(loss)
    assert_decomposes(modes, loss)
    assert_allclose(modes.defect_spectral, 0.3 / 1.3, rtol=1e-6)
    # Of equal ones the basis is free, so the same coupling is none.
    loss, _, _ = planted([1.0, 1.0, 0.5], [1.0, 1.0, 1.0], 3, off=off)
    modes = joint_decomposition(loss)
    assert_decomposes(modes, loss)
    assert modes.defect_spectral < 1e-14
    assert_allclose(modes.lam, [0.7, 1.3, 1.0], rtol=1e-13)


def test_whitened_autoencoding_and_one_hot_data_commute():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4))
    labels = np.eye(3)[rng.integers(0, 3, 50)]
    white = np.linalg.qr(x)[0] * np.sqrt(50)
    even = np.tile(np.eye(3), (4, 1))
    for inputs, outputs in [(white, labels), (x, x), (even, rng.standard_normal((12, 2)))]:
        loss = SquaredLoss.from_data(inputs, outputs)
        modes = require_commuting(loss, "a formula", "something else")
        assert_decomposes(modes, loss)
        assert modes.defect_spectral < 1e-12
    loss = SquaredLoss.from_data(x, x)
    assert_allclose(joint_decomposition(loss).targets, np.ones(4), rtol=1e-12)


def test_rank_deficient_inputs_have_modes_of_no_power():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 6))
    loss = SquaredLoss.from_data(x, rng.standard_normal((3, 4)))
    modes = joint_decomposition(loss)
    assert_decomposes(modes, loss)
    assert_array_equal(modes.sigma > 0, [True, True, True, False])
    assert_array_equal(modes.lam > 0, [True, True, True, False, False, False])
    assert np.isfinite(modes.targets).all()
    assert modes.targets[3] == 0
    assert np.abs(modes.offdiagonal[3:]).max() < 1e-14


def test_data_without_any_relation_are_diagonalised_in_the_inputs_alone():
    loss = make_loss((4, 2))
    modes = joint_decomposition(SquaredLoss(loss.input_cov, np.zeros((2, 4)), 1.0))
    assert_allclose(modes.lam, np.linalg.eigvalsh(loss.input_cov)[::-1], rtol=1e-12)
    assert modes.defect_spectral < 1e-14
    assert_array_equal(modes.targets, [0, 0])
    nothing = joint_decomposition(SquaredLoss(np.zeros((2, 2)), np.zeros((3, 2)), 0.0))
    for name in FIGURES:
        assert getattr(nothing, name) == 0


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_figures_do_not_depend_on_units(factor):
    loss = make_loss((4, 3))
    scaled = SquaredLoss(loss.input_cov * factor, loss.cross_cov / factor, 1.0)
    expected, modes = joint_decomposition(loss), joint_decomposition(scaled)
    for name in FIGURES:
        assert_allclose(getattr(modes, name), getattr(expected, name), rtol=1e-10)
    assert_allclose(modes.lam, expected.lam * factor, rtol=1e-12)


def test_run_axes_broadcast_and_each_run_is_its_own():
    one = make_loss((4, 3), (2, 1))
    other = make_loss((4, 3), (5,), seed=3)
    cross = other.cross_cov.copy()
    cross[1] = planted([2.0, 2.0, 1.0], np.ones(4), 3)[0].cross_cov
    cross[2] = 0
    loss = SquaredLoss(one.input_cov, cross, np.ones((7, 1, 1)))
    modes = joint_decomposition(loss)
    assert modes.sigma.shape == (7, 2, 5, 3)
    for run in np.ndindex(2, 5):
        alone = joint_decomposition(SquaredLoss(one.input_cov[run[0], 0], cross[run[1]], 1.0))
        for name in (*ARRAYS, *FIGURES):
            for copy in (0, 6):
                assert_array_equal(getattr(modes, name)[(copy, *run)], getattr(alone, name))
    shared = SquaredLoss(np.broadcast_to(np.eye(3), (9, 3, 3)), np.eye(3), np.ones(9))
    assert joint_decomposition(shared).left.shape == (9, 3, 3)


def test_the_error_says_what_was_asked_what_was_found_and_what_to_use():
    loss = make_loss((4, 3))
    modes = joint_decomposition(loss)
    with pytest.raises(NonCommutingError) as caught:
        require_commuting(loss, "aligned_flow", "GradientFlow or greedy_path")
    text = str(caught.value)
    assert text.startswith("aligned_flow needs commuting data")
    assert text.endswith("use GradientFlow or greedy_path instead")
    for name in FIGURES:
        assert f"{name} {getattr(modes, name):.2g}" in text
    assert caught.value.defect == modes.defect_spectral
    assert isinstance(caught.value, ValueError)
    several = SquaredLoss(
        np.stack([np.eye(4), loss.input_cov, np.eye(4)]), loss.cross_cov, loss.output_power
    )
    with pytest.raises(NonCommutingError, match="in 1 of 3 runs"):
        require_commuting(several, "it", "that")
    assert require_commuting(loss, "it", "that", tol=1.0).sigma.shape == (3,)


def test_the_tolerance_is_on_the_spectral_defect():
    off = np.zeros((3, 3))
    off[0, 1] = off[1, 0] = 1e-6
    loss, _, _ = planted([3.0, 2.0, 1.0], [1.0, 1.0, 1.0], 3, off=off)
    assert_allclose(joint_decomposition(loss).defect_spectral, 1e-6, rtol=1e-4)
    require_commuting(loss, "it", "that", tol=1.1e-6)
    with pytest.raises(NonCommutingError):
        require_commuting(loss, "it", "that", tol=0.9e-6)


def test_layers_must_fit_each_other_and_the_loss():
    loss = make_loss((4, 3))
    good = (np.zeros((5, 2, 4)), np.zeros((3, 2)))
    layers = checked_layers("start", good, loss)
    assert [w.dtype for w in layers] == [np.float64] * 2
    assert len(checked_layers("start", [np.zeros((3, 4), np.float32)], loss)) == 1
    for bad, message in [
        ((), "start must have at least one layer"),
        ((np.zeros((2, 4)), np.zeros((3, 3))), "start[1] must have shape (3, 2), got (3, 3)"),
        ((np.zeros((2, 5)), np.zeros((3, 2))), "start[0] must have shape (2, 4), got (2, 5)"),
        ((np.zeros((2, 4)), np.zeros((4, 2))), "start[1] must have shape (3, 2), got (4, 2)"),
        ((np.zeros(4), np.zeros((3, 2))), "start[0] must have shape"),
        ((np.full((2, 4), np.nan), np.zeros((3, 2))), "start[0] must be finite"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            checked_layers("start", bad, loss)
    with pytest.raises(TypeError, match="start must be a tuple"):
        checked_layers("start", np.zeros((3, 4)), loss)
    with pytest.raises(ValueError, match="run axes must broadcast"):
        checked_layers("start", good, make_loss((4, 3), (4,)))


def test_only_losses_are_taken():
    with pytest.raises(TypeError, match="loss must be a SquaredLoss"):
        joint_decomposition(np.eye(2))


def test_repr_shows_sizes_and_the_defect():
    shown = repr(joint_decomposition(make_loss((4, 3), (2,))))
    assert shown.startswith("JointDecomposition(n_inputs=4, n_outputs=3, run_shape=(2,), ")
