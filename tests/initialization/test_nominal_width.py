"""Starts of layers as wide as a number says: their law, along training too, limits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import linnet_fast as lf
from linnet_fast.initialization import gaussian, nominal, orthogonal

SMALL = lf.Dense((4, 7, 3))  # inputs + outputs units
DEEP = lf.Dense((4, 7, 8, 3))
LIKELY = 1e-4  # no p-value of a fixed seed may be below


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 50, 1000])
def test_lengths_of_columns_are_chi_distributed(freedom):
    normals = np.random.default_rng(freedom).standard_normal((20_000, nominal.n_normals(1)))
    lengths = nominal.triangle(normals, np.full(20_000, float(freedom)), 1)[:, 0, 0]
    assert stats.kstest(lengths * np.sqrt(freedom), stats.chi(freedom).cdf).pvalue > LIKELY


@pytest.mark.parametrize("freedom", [1e6, 1e12])
def test_lengths_of_huge_columns_are_normal(freedom):
    normals = np.random.default_rng(1).standard_normal((20_000, nominal.n_normals(1)))
    lengths = nominal.triangle(normals, np.full(20_000, freedom), 1)[:, 0, 0]
    # chi - sqrt(k - 1/2) tends to N(0, 1/2); for 10^12 it has 10 digits left.
    rest = (lengths - np.sqrt(1 - 0.5 / freedom)) * np.sqrt(2 * freedom)
    assert stats.kstest(rest, "norm").pvalue > LIKELY


def grams(weights):
    """Numbers that turning hidden spaces does not change."""
    first, *_, last = weights
    product = first
    for layer in weights[1:]:
        product = layer @ product
    one, two = first.mT @ first, last @ last.mT
    numbers = [product[:, 0, 0], product[:, 2, 3], *np.linalg.svd(product)[1].T]
    return [*numbers, one[:, 0, 0], one[:, 0, 1], one[:, 3, 3], two[:, 0, 0], two[:, 0, 2]]


@pytest.mark.parametrize("width", [1, 2, 5, 7, 50])
def test_gaussian_starts_have_the_law_of_wide_ones(width):
    wide = gaussian(lf.Dense((4, width, 3)), rng=1, batch_shape=2000)
    small = gaussian(SMALL, width=width, rng=2, batch_shape=2000)
    for number, other in zip(grams(small), grams(wide), strict=True):
        if np.abs(other).max() > 1e-12:  # singular values beyond the rank
            assert stats.ks_2samp(number, other).pvalue > LIKELY


@pytest.mark.parametrize("width", [7, 12, 40])
def test_orthogonal_starts_have_the_law_of_wide_ones(width):
    wide = orthogonal(lf.Dense((4, width, width, 3)), scale=0.5, rng=1, batch_shape=1000)
    small = orthogonal(DEEP, scale=0.5, width=width, rng=2, batch_shape=1000)
    for number, other in zip(grams(small)[:5], grams(wide)[:5], strict=True):
        assert stats.ks_2samp(number, other).pvalue > LIKELY


@pytest.mark.parametrize(
    ("make", "network"), [(gaussian, lf.Dense((4, 50, 3))), (orthogonal, lf.Dense((4, 50, 50, 3)))]
)
def test_losses_along_training_have_the_law_of_wide_ones(make, network):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 4))
    loss = lf.SquaredLoss.from_data(X, X @ rng.standard_normal((4, 3)))
    small = DEEP if network.n_layers == 3 else SMALL
    runs = []
    for chain, options in ((network, {}), (small, {"width": 50})):
        start = make(chain, scale=0.7, rng=len(runs), batch_shape=1000, **options)
        method = lf.GradientDescent(0.05)
        runs.append(
            lf.train(chain, loss, start, method=method, n_steps=20, record=lf.Record.every(5))
        )
    for record in range(1, 5):
        one, two = (run.loss[:, record] for run in runs)
        assert stats.ks_2samp(one, two).pvalue > LIKELY


def test_width_is_a_number_for_each_run_of_one_stream():
    widths = [10.0, 1e3, 1e6, 1e9, 1e12, np.inf]
    start = gaussian(
        SMALL, fan="none", width_exponent=0.5, width=widths, rng=0, batch_shape=6, streams=0
    )
    for number, width in enumerate(widths):
        alone = gaussian(SMALL, fan="none", width_exponent=0.5, width=width, rng=0)
        for layer, of_all in zip(alone, start, strict=True):
            assert_array_equal(layer, of_all[number])
    # The limit: columns of both layers are orthonormal together.
    stacked = np.concatenate([start[0], start[1].mT], axis=-1)
    assert_array_equal(stacked[-1], np.eye(7))
    apart = np.abs(stacked - np.eye(7)).max(axis=(1, 2))
    assert (apart[1:5] < 5 / np.sqrt(widths[1:5])).all()


def test_scales_fans_and_exponents_are_those_of_wide_layers():
    plain = gaussian(SMALL, fan="none", width=100, rng=0)
    for options, first, second in (
        ({"scale": 0.3}, 0.3 / 2, 0.3 / 10),
        ({"fan": "none", "scale": 0.3}, 0.3, 0.3),
        ({"fan": "none", "width_exponent": 0.75}, 100**-0.75, 100**-0.75),
        ({"width_exponent": 1.0}, 0.01 / 2, 0.01 / 10),
    ):
        one, two = gaussian(SMALL, width=100, rng=0, **options)
        assert_allclose(one, first * plain[0], rtol=1e-14)
        assert_allclose(two, second * plain[1], rtol=1e-14)
        wide = lf.Dense((4, 100, 3))
        here, without = (gaussian(wide, rng=0, **o) for o in (options, {"fan": "none"}))
        assert_allclose(here[0], first * without[0], rtol=1e-14)
        assert_allclose(here[1], second * without[1], rtol=1e-14)


def test_infinitely_wide_orthogonal_layers_meet_at_right_angles():
    first, inner, last = orthogonal(DEEP, scale=2.0, width=np.inf, rng=0)
    assert_array_equal(first, 2 * np.eye(7, 4))
    assert_array_equal(inner, 2 * np.eye(8, 7))
    assert_array_equal(last @ inner @ first, np.zeros((3, 4)))
    assert_allclose(last @ last.T, 4 * np.eye(3), rtol=1e-15)


def test_units_beyond_a_small_width_are_not_there():
    first, second = gaussian(SMALL, width=2, rng=0)
    assert not first[2:].any()
    assert not second[:, 2:].any()
    narrow = gaussian(lf.Dense((4, 2, 3)), width=2, rng=0)
    assert_array_equal(first[:2], narrow[0])
    first, inner, last = orthogonal(DEEP, width=5, rng=0)
    assert_array_equal(inner, np.diag([1.0] * 5 + [0.0] * 2 + [0.0])[:, :7])
    assert_allclose(last @ last.T, np.eye(3), atol=1e-15)
    assert not last[:, 5:].any()


def test_sweeps_take_widths_to_infinity(tmp_path):
    X = np.random.default_rng(0).standard_normal((20, 4))
    loss = lf.SquaredLoss.from_data(X, X[:, :3])
    start = lf.Start("gaussian", 0.5, fan="none", width_exponent=0.5)
    training = lf.Training(SMALL, loss, start, lf.GradientDescent(0.05), n_steps=50)
    spec = lf.grid(training, {"start.width": [5, 1e9, np.inf], "start.width_exponent": [0.5, 1.0]})
    data = lf.sweep(spec, tmp_path / "runs.zarr")
    again = lf.open_sweep(tmp_path / "runs.zarr")
    assert_array_equal(again.width, [5, 1e9, np.inf])
    assert_array_equal(again.final_loss, data.final_loss)
    found = data.final_loss.sel(width_exponent=0.5).to_numpy().ravel()
    assert_allclose(found[1], found[2], rtol=1e-3)
    assert abs(found[0] / found[2] - 1) > 1e-2
    weights = start.draw(SMALL, rng=0, batch_shape=())
    plain = gaussian(SMALL, scale=0.5 / np.sqrt(7), fan="none", rng=0)
    assert_allclose(weights[0], plain[0], rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "network", "options", "message"),
    [
        (
            gaussian,
            SMALL,
            {"width": 0},
            "^width must be whole numbers from 1 to 1e[+]12, or inf, got 0",
        ),
        (gaussian, SMALL, {"width": 1.5}, "^width must be whole numbers"),
        (gaussian, SMALL, {"width": 2e12}, "^width must be whole numbers"),
        (gaussian, SMALL, {"width": np.nan}, "^width must be whole numbers"),
        (gaussian, SMALL, {"width": [3, 4]}, "^width must have run axes that broadcast"),
        (gaussian, SMALL, {"width": np.inf}, "^width must be finite where weights grow"),
        (gaussian, SMALL, {"width_exponent": [1, 2]}, "^width_exponent must have run axes"),
        (
            gaussian,
            lf.Dense((4, 6, 3)),
            {"width": 10},
            "^network must have hidden layers of at least 7",
        ),
        (gaussian, DEEP, {"width": 10}, "^width must be left out of Gaussian starts of more"),
        (gaussian, DEEP, {"width_exponent": 0.5}, "^width_exponent must be 0 but for hidden"),
        (gaussian, lf.Dense((4, 3)), {"width": 10}, "^network must have hidden layers"),
        (orthogonal, SMALL, {"width": 3}, "^width must be whole numbers from 4"),
        (orthogonal, lf.Dense((4, 6, 7, 3)), {"width": 10}, "^network must have hidden layers"),
    ],
)
def test_what_has_no_width_is_refused(make, network, options, message):
    with pytest.raises(ValueError, match=message):
        make(network, rng=0, **options)


def test_starts_refuse_what_their_network_has_not():
    loss = lf.SquaredLoss(np.eye(4), np.zeros((3, 4)), 1.0)
    with pytest.raises(ValueError, match=r"^network must have hidden layers of at least 7"):
        lf.Start("gaussian", width=100).check(lf.Dense((4, 6, 3)), loss)
    with pytest.raises(TypeError, match=r"^network must be a Dense"):
        lf.Start("gaussian", width=100).check(lf.Diagonal(4, 2), loss)
    with pytest.raises(ValueError, match=r"^width must be left out of a start that is balanced"):
        lf.Start("balanced", width=100)
    with pytest.raises(ValueError, match=r"^run axes must broadcast"):
        lf.Start("gaussian", [1.0, 2.0], width=[3, 4, 5])
