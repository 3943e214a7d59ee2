"""SquaredLoss against its definition on data, and every refused argument."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.losses.squared import SquaredLoss

EYE = np.eye(2)


def direct(product, x, y):
    """The loss of one matrix, sample by sample."""
    return sum(np.sum((b - product @ a) ** 2) for a, b in zip(x, y, strict=True)) / (2 * len(x))


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 4)) + 2
    return x, x @ rng.standard_normal((4, 3)) + rng.standard_normal((30, 3))


def test_value_is_the_mean_square_on_the_data(data):
    product = np.random.default_rng(2).standard_normal((3, 4))
    assert_allclose(SquaredLoss.from_data(*data).value(product), direct(product, *data), rtol=1e-12)


def test_value_is_vectorised_over_batch_and_run_axes(data):
    x, y = data
    loss = SquaredLoss.from_data(np.stack([x, 2 * x]), y)
    assert loss.run_shape == (2,)
    assert loss.cross_cov.shape == (2, 3, 4)
    assert loss.output_power.shape == ()
    products = np.random.default_rng(2).standard_normal((5, 1, 3, 4))
    values = loss.value(products)
    assert values.shape == (5, 2)
    for i, run in np.ndindex(5, 2):
        assert_allclose(values[i, run], direct(products[i, 0], (1 + run) * x, y), rtol=1e-12)


def test_from_data_center_equals_centred_data(data):
    x, y = data
    centred = SquaredLoss.from_data(x - x.mean(axis=0), y - y.mean(axis=0))
    loss = SquaredLoss.from_data(x, y, center=True)
    for name in ("input_cov", "cross_cov", "output_power"):
        assert_allclose(getattr(loss, name), getattr(centred, name), rtol=1e-13)
    assert abs(loss.input_cov - SquaredLoss.from_data(x, y).input_cov).max() > 1


def test_from_data_takes_integers_and_leaves_the_data_alone():
    x, y = np.arange(6).reshape(3, 2), np.arange(3, dtype=np.int32)[:, None]
    before = x.copy(), y.copy()
    loss = SquaredLoss.from_data(x, y, center=True)
    assert (loss.n_inputs, loss.n_outputs) == (2, 1)
    assert_array_equal(x, before[0])
    assert_array_equal(y, before[1])


@pytest.mark.parametrize("duplicate", [False, True], ids=["full rank", "rank deficient"])
def test_minimum_is_the_least_squares_residual(data, duplicate):
    x, y = data
    if duplicate:
        x = np.concatenate([x, x[:, :2]], axis=1)
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    loss = SquaredLoss.from_data(x, y)
    assert_allclose(loss.least_loss, direct(solution.T, x, y), rtol=1e-10)
    stacked = SquaredLoss(loss.input_cov, np.stack([loss.cross_cov] * 2), loss.output_power)
    assert_allclose(stacked.least_loss, [loss.least_loss] * 2, rtol=1e-12)


def test_minimum_counts_weak_directions_and_not_rounding_noise():
    loss = SquaredLoss(np.diag([1.0, 1e-12]), [[0.0, 1e-6]], 1.0)
    assert_allclose(loss.least_loss, 0, atol=1e-12)
    # Of moments in units of their own the weakest direction counts.
    loss = SquaredLoss(np.diag([1.0, 1e-40]), [[0.0, 1e-20]], 1.0)
    assert_allclose(loss.least_loss, 0, atol=1e-12)
    both = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-16]])
    assert_allclose(SquaredLoss(both, [[0.6, 0.6]], 1.0).least_loss, 0.32)


def test_minimum_is_below_every_value(data):
    loss = SquaredLoss.from_data(*data)
    products = np.random.default_rng(3).standard_normal((200, 3, 4))
    assert (loss.least_loss <= loss.value(products)).all()


def test_moments_are_read_only_views_not_copies():
    cov = np.broadcast_to(EYE, (1000, 2, 2))
    cross = np.zeros((3, 2))
    loss = SquaredLoss(cov, cross, 1.0)
    assert np.shares_memory(loss.input_cov, EYE)
    assert np.shares_memory(loss.cross_cov, cross)
    assert loss.input_cov.strides[0] == 0
    for moment in (loss.input_cov, loss.cross_cov, loss.output_power):
        assert moment.dtype == np.float64
        assert not moment.flags.writeable
    assert cross.flags.writeable  # the caller's own array stays writeable


def test_broadcast_axes_stay_unrepeated_when_the_dtype_changes():
    loss = SquaredLoss(np.broadcast_to(EYE.astype(np.float32), (1000, 2, 2)), EYE, 1)
    assert loss.input_cov.shape == (1000, 2, 2)
    assert loss.input_cov.dtype == np.float64
    assert loss.input_cov.strides[0] == 0


def test_constant_matrix_made_by_broadcasting_is_a_matrix():
    loss = SquaredLoss(np.broadcast_to(2.0, (3, 3)), np.broadcast_to(1.0, (2, 3)), 5.0)
    assert (loss.n_inputs, loss.n_outputs) == (3, 2)
    assert_allclose(loss.value(np.ones((2, 3))), 0.5 * 2 * 18 - 6 + 2.5)


def test_slightly_asymmetric_input_cov_is_accepted():
    assert SquaredLoss([[1.0, 1e-10], [0.0, 1.0]], EYE, 1.0).n_inputs == 2


def test_copies_and_prints():
    loss = SquaredLoss(np.stack([EYE] * 5), EYE, 1.0)
    assert repr(loss) == "SquaredLoss(n_inputs=2, n_outputs=2, run_shape=(5,))"
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert_array_equal(twin.input_cov, loss.input_cov)


BAD = [
    ("input_cov", "x", TypeError, "input_cov must be a real number or an array of them, got dtype"),
    ("input_cov", None, TypeError, "input_cov must be .* got NoneType"),
    ("input_cov", EYE * 1j, TypeError, "input_cov must be .* got dtype complex128"),
    ("input_cov", EYE > 0, TypeError, "input_cov must be .* got dtype bool"),
    ("input_cov", EYE.astype(object), TypeError, "input_cov must be .* got ndarray"),
    ("input_cov", np.ma.masked_equal(EYE, 0), TypeError, "input_cov must be .* masked"),
    ("input_cov", [[1.0], [1.0, 2.0]], ValueError, "input_cov must be .* regular array"),
    ("input_cov", 1.0, ValueError, r"input_cov must have shape \(\*run, in, in\), got \(\)"),
    ("input_cov", np.ones(2), ValueError, r"input_cov must have shape .* got \(2,\)"),
    ("input_cov", np.ones((2, 3)), ValueError, r"input_cov must have shape .* got \(2, 3\)"),
    ("input_cov", np.ones((0, 0)), ValueError, r"input_cov must not be empty, got shape \(0, 0\)"),
    ("input_cov", np.ones((0, 2, 2)), ValueError, r"input_cov must not be empty"),
    ("input_cov", [[1, np.nan], [np.nan, 1]], ValueError, r"finite, got nan at index \(0, 1\)"),
    (
        "input_cov",
        [[np.inf, 0], [0, 1]],
        ValueError,
        r"input_cov must be finite, got inf at index \(0, 0\)",
    ),
    ("input_cov", [[1, 0.5], [0, 1]], ValueError, "input_cov must be symmetric, .* differ by 0.5"),
    (
        "input_cov",
        [[1, 0], [0, -2]],
        ValueError,
        "input_cov must have a non-negative diagonal, got -2",
    ),
    (
        "cross_cov",
        np.ones((2, 3)),
        ValueError,
        r"cross_cov must have shape \(\*run, out, 2\), got \(2, 3\)",
    ),
    ("cross_cov", np.ones(2), ValueError, r"cross_cov must have shape .* got \(2,\)"),
    ("cross_cov", [["a", "b"]], TypeError, "cross_cov must be .* got dtype"),
    ("cross_cov", [[np.nan, 0]], ValueError, "cross_cov must be finite"),
    ("cross_cov", [[10**400, 0]], TypeError, "cross_cov must be"),
    ("output_power", -1.0, ValueError, "output_power must be >= 0, got -1.0"),
    (
        "output_power",
        [1.0, -0.5],
        ValueError,
        r"output_power must be >= 0, got -0.5 at index \(1,\)",
    ),
    ("output_power", np.nan, ValueError, "output_power must be finite, got nan"),
    ("output_power", True, TypeError, "output_power must be .* got dtype bool"),
]


@pytest.mark.parametrize(("argument", "value", "exception", "message"), BAD)
def test_squared_loss_refuses(argument, value, exception, message):
    arguments = {"input_cov": EYE, "cross_cov": EYE, "output_power": 1.0, argument: value}
    with pytest.raises(exception, match=message):
        SquaredLoss(**arguments)


def test_squared_loss_refuses_asymmetry_of_one_small_run():
    small = np.stack([1e6 * EYE, [[1.0, 1e-5], [0.0, 1.0]]])
    with pytest.raises(ValueError, match="symmetric"):
        SquaredLoss(small, EYE, 1.0)


def test_squared_loss_refuses_run_axes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"got input_cov \(3,\), output_power \(4,\)"):
        SquaredLoss(np.stack([EYE] * 3), EYE, np.ones(4))


@pytest.mark.parametrize(
    ("x", "y", "exception", "message"),
    [
        (
            np.ones(3),
            np.ones((3, 2)),
            ValueError,
            r"X must have shape \(\*run, n, in\), got \(3,\).*X\[:, None\]",
        ),
        (
            np.ones(3),
            np.ones((3, 1)),
            ValueError,
            r"X must have shape \(\*run, n, in\), got \(3,\).*X\[:, None\]",
        ),
        (1.0, np.ones((3, 1)), ValueError, r"X must have shape .* got \(\)$"),
        (
            np.ones((3, 2)),
            np.ones((4, 1)),
            ValueError,
            "X and Y must have equally many rows, got 3 and 4",
        ),
        (np.ones((0, 2)), np.ones((0, 1)), ValueError, "X must not be empty"),
        (np.full((3, 2), np.nan), np.ones((3, 1)), ValueError, "X must be finite"),
        (np.full((3, 2), 1e200), np.ones((3, 1)), ValueError, "moments within float64"),
        (np.ones((2, 3, 2)), np.ones((5, 3, 1)), ValueError, r"got X \(2,\), Y \(5,\)"),
        ([["a"]], [[1.0]], TypeError, "X must be a real number"),
    ],
)
def test_from_data_refuses(x, y, exception, message):
    with pytest.raises(exception, match=message):
        SquaredLoss.from_data(x, y)


@pytest.mark.parametrize(
    ("product", "exception", "message"),
    [
        (np.ones((2, 3)), ValueError, r"product must have shape \(\*batch, 2, 2\), got \(2, 3\)"),
        (1.0, ValueError, "product must have shape"),
        (EYE * 1j, TypeError, "product must be a real number or an array of them"),
        (np.ones((4, 2, 2)), ValueError, r"got product \(4,\), loss \(3,\)"),
    ],
)
def test_value_refuses(product, exception, message):
    with pytest.raises(exception, match=message):
        SquaredLoss(np.stack([EYE] * 3), EYE, 1.0).value(product)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_an_indefinite_input_cov_is_refused(scale):
    # Eigenvalues of [[1, b], [b, 1]] are 1 +- b.
    for b in (0.0, 1.0, -1.0, 1 + 5e-10):
        SquaredLoss(scale * np.array([[1, b], [b, 1]]), np.zeros((1, 2)), 1.0)
    with pytest.raises(ValueError, match="input_cov must be positive semi-definite, got smallest"):
        SquaredLoss(scale * np.array([[1, 1.1], [1.1, 1]]), np.zeros((1, 2)), 1.0)


def test_the_smallest_eigenvalue_of_all_runs_is_named():
    cov = np.array([np.eye(2), [[1.0, 1.5], [1.5, 1.0]], [[1.0, 3.0], [3.0, 1.0]]])
    with pytest.raises(ValueError, match=r"got smallest eigenvalue -2$"):
        SquaredLoss(cov, np.zeros((1, 2)), 1.0)


def test_moments_of_data_are_never_refused():
    rng = np.random.default_rng(0)
    for n in (1, 3, 20):
        for scale in (1e-150, 1.0, 1e150):
            for spread in (0, 8):
                x = scale * rng.standard_normal((30, n, 7)) * 10.0 ** rng.uniform(-spread, 0, 7)
                loss = SquaredLoss.from_data(x, scale * rng.standard_normal((30, n, 2)))
                assert np.isfinite(loss.least_loss).all()


def test_moments_without_a_minimum_are_refused():
    for cov in (np.diag([1.0, 0.0]), np.array([[1.0, 1.0], [1.0, 1.0]]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="cross_cov must be 0 where input_cov vanishes"):
            SquaredLoss(cov, [[1.0, 0.5]], 2.0)


def test_values_and_gradients_beyond_the_range_of_floats():
    loss = SquaredLoss(1e50 * EYE, 1e50 * EYE, 1e50)
    assert loss.value(1e300 * EYE) == np.inf
    assert not np.isfinite(loss.gradient(EYE.astype(np.float32))).any()  # and no warning
