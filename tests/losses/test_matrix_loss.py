"""Completion and sensing: values and gradients against exact and independent forms; what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from matrix_problems import MATRIX_LOSSES, make_entries, make_matrix_loss, measurements_of
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.losses.completion import EntriesLoss


def complex_value(loss, product):
    """Return the loss of a complex matrix, whose imaginary part over 1e-200 is a derivative."""
    m, y = measurements_of(loss)
    errors = np.einsum("kij,ij->k", m, product) - y
    return np.sum(errors**2) / (2 * len(y))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 2), (4, 4)])
@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_value_and_gradient_are_exact(kind, shape):
    """By rational arithmetic, on numbers that are floats."""
    loss = make_matrix_loss(kind, shape, n=7)
    product = np.random.default_rng(1).standard_normal(shape)
    m, y = measurements_of(loss)
    if kind == "rank_one":  # what is rounded in the matrices is not in the vectors
        m = [
            [[Fraction(a) * Fraction(b) for b in right] for a in left]
            for left, right in zip(loss.left.tolist(), loss.right.tolist(), strict=True)
        ]
    else:
        m = [[[Fraction(x) for x in row] for row in one] for one in m.tolist()]
    p = [[Fraction(x) for x in row] for row in product.tolist()]
    places = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    errors = [
        sum((one[i][j] * p[i][j] for i, j in places), -Fraction(t))
        for one, t in zip(m, y.tolist(), strict=True)
    ]
    value = sum(e * e for e in errors) / (2 * len(errors))
    assert_allclose(float(loss.value(product)), float(value), rtol=1e-14)
    expected = np.zeros(shape)
    for i, j in places:
        terms = [e * one[i][j] for e, one in zip(errors, m, strict=True)]
        expected[i, j] = float(sum(terms) / len(errors))
    assert_allclose(loss.gradient(product), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_gradient_is_the_derivative(kind):
    """By the derivative along an imaginary step, which has no difference, and by differences."""
    loss = make_matrix_loss(kind, (3, 4), n=8)
    product = np.random.default_rng(2).standard_normal((3, 4))
    gradient = loss.gradient(product)
    for i in range(3):
        for j in range(4):
            step = np.zeros((3, 4))
            step[i, j] = 1
            slope = complex_value(loss, product + 1e-200j * step).imag / 1e-200
            assert_allclose(gradient[i, j], slope, rtol=1e-13, atol=1e-15)
            ends = [loss.value(product + h * step) for h in (1e-4, -1e-4)]
            assert_allclose(gradient[i, j], (ends[0] - ends[1]) / 2e-4, rtol=1e-9, atol=1e-9)


def test_completion_is_sensing_by_single_entries():
    loss = make_matrix_loss("completion", (4, 3), n=6)
    product = np.random.default_rng(3).standard_normal((5, 4, 3))
    m, y = measurements_of(loss)
    others = [
        lf.MatrixSensingLoss(m, y),
        lf.MatrixSensingLoss.rank_one(np.eye(4)[loss.rows], np.eye(3)[loss.cols], y),
    ]
    for other in others:
        assert_allclose(other.value(product), loss.value(product), rtol=1e-14)
        assert_allclose(other.gradient(product), loss.gradient(product), rtol=1e-14, atol=1e-16)


def test_all_entries_are_the_squared_loss_of_white_inputs():
    """Up to the number of entries."""
    target = np.random.default_rng(4).standard_normal((3, 5))
    loss = lf.MatrixCompletionLoss.from_matrix(target, np.ones((3, 5), bool))
    squared = lf.SquaredLoss(np.eye(5), target, np.sum(target**2))
    product = np.random.default_rng(5).standard_normal((4, 3, 5))
    assert_allclose(15 * loss.value(product), squared.value(product), rtol=1e-13)
    assert_allclose(15 * loss.gradient(product), squared.gradient(product), rtol=1e-13)
    assert loss.value(target) == 0


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_the_loss_is_exact_near_zero(kind):
    """A sum of squares: of the size of the squares of the errors, however small, and never negative."""
    loss = make_matrix_loss(kind, (3, 3), n=4)
    if kind != "completion":
        solution = np.diag([1.0, 2.0, 3.0])
        m, _ = measurements_of(loss)
        arrays = {name: np.round(4 * getattr(loss, name)) for name in loss.inner_axes}
        arrays["targets"] = np.zeros(4)
        loss = type(loss)(**arrays)
        m, _ = measurements_of(loss)
        arrays["targets"] = np.einsum("kij,ij->k", m, solution)
        loss = type(loss)(**arrays)
    else:
        solution = np.zeros((3, 3))
        solution[loss.rows, loss.cols] = loss.values
    assert loss.value(solution) == 0
    tiny = solution.copy()
    tiny[0, 0] += 2.0**-40
    m, y = measurements_of(loss)
    expected = np.sum((m[:, 0, 0] * (tiny - solution)[0, 0]) ** 2) / (2 * len(y))
    assert_allclose(loss.value(tiny), expected, rtol=1e-12)


def test_one_entry():
    loss = lf.MatrixCompletionLoss([1], [2], [3.0], shape=(2, 4))
    assert loss.value(np.zeros((2, 4))) == 4.5
    expected = np.zeros((2, 4))
    expected[1, 2] = -3
    assert_array_equal(loss.gradient(np.zeros((2, 4))), expected)
    assert_array_equal(loss.least_loss, 0.0)
    assert repr(loss) == "MatrixCompletionLoss(n_entries=1, shape=(2, 4), run_shape=())"


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_run_axes(kind, own):
    """Of what is measured as well as of what came out; batches of matrices broadcast with them."""
    loss = make_matrix_loss(kind, (2, 3), (4, 1), own=own, n=5)
    assert loss.run_shape == (4, 1)
    product = np.random.default_rng(6).standard_normal((7, 1, 6, 2, 3))
    value, gradient = loss.value(product), loss.gradient(product)
    assert value.shape == (7, 4, 6)
    assert gradient.shape == (7, 4, 6, 2, 3)
    for i in range(4):
        one = loss.of_run((i, 0), (4, 1))
        assert one.run_shape == ()
        assert_allclose(value[:, i], one.value(product[:, 0]), rtol=1e-14)
        assert_allclose(gradient[:, i], one.gradient(product[:, 0]), rtol=1e-13, atol=1e-15)
    together = type(loss).stacked([loss.of_run((i, 0), (4, 1)) for i in range(4)], np.arange(4))
    assert_allclose(
        together.value(product[0, 0, 0]), loss.value(product[0, 0, 0])[:, 0], rtol=1e-14
    )


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_precision_of_the_gradient(kind):
    loss = make_matrix_loss(kind, (2, 3))
    product = np.random.default_rng(7).standard_normal((2, 3))
    assert loss.gradient(product.astype(np.float32)).dtype == np.float32
    assert loss.gradient(np.ones((2, 3), int)).dtype == np.float64
    assert_allclose(loss.gradient(product.astype(np.float32)), loss.gradient(product), rtol=1e-5)


def test_repeated_runs_take_no_memory():
    rows, cols = make_entries((30, 30), 400)
    runs = (10**4,)
    loss = lf.MatrixCompletionLoss(
        np.broadcast_to(rows, (*runs, 400)), cols, np.broadcast_to(1.5, (*runs, 400)), (30, 30)
    )
    assert loss.run_shape == runs
    fields = loss.core_fields(runs, np.dtype(np.float64))
    assert all(field.strides[0] == 0 for field in fields.values())
    matrix, mask = np.ones((30, 30)), np.eye(30, dtype=bool)
    for m, o in [(np.broadcast_to(matrix, (*runs, 30, 30)), mask),
                 (matrix, np.broadcast_to(mask, (*runs, 30, 30)))]:  # fmt: skip
        loss = lf.MatrixCompletionLoss.from_matrix(m, o)
        assert loss.run_shape == runs
        assert loss.values.strides[0] == 0
    sensing = lf.MatrixSensingLoss(np.broadcast_to(1.0, (*runs, 20, 30, 30)), np.ones(20))
    assert all(
        field.strides[0] == 0
        for field in sensing.core_fields(runs, np.dtype(np.float32)).values()
        if isinstance(field, np.ndarray)
    )


def test_places_are_copied():
    """The core goes where they lead: nobody can change them afterwards."""
    rows, cols = np.array([0, 1]), np.array([0, 1])
    loss = lf.MatrixCompletionLoss(rows, cols, [1.0, 2.0], (2, 2))
    rows[:], cols[:] = 10**9, -5
    assert_array_equal(loss.rows, [0, 1])
    assert_array_equal(loss.cols, [0, 1])
    assert not loss.rows.flags.writeable


def test_from_matrix_with_masks_of_runs():
    rng = np.random.default_rng(8)
    matrix = rng.standard_normal((3, 1, 4, 5))
    mask = np.zeros((2, 20), bool)
    for own in mask:
        own[rng.permutation(20)[:6]] = True
    mask = mask.reshape(2, 4, 5)
    loss = lf.MatrixCompletionLoss.from_matrix(matrix, mask)
    assert loss.run_shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        one = loss.of_run((i, j), (3, 2))
        assert_array_equal(np.sort(one.rows * 5 + one.cols), np.flatnonzero(mask[j]))
        assert_array_equal(one.values, matrix[i, 0][one.rows, one.cols])


def test_draws_of_entries_may_come_twice():
    """What is drawn is the mean over the draws."""
    loss = make_matrix_loss("completion", (2, 2), n=3)
    for k in (0, 2):
        drawn = loss.chosen(np.full(5, k))
        assert type(drawn) is EntriesLoss
        assert drawn.n_entries == 5
        one = lf.MatrixCompletionLoss(
            loss.rows[k : k + 1], loss.cols[k : k + 1], loss.values[k : k + 1], (2, 2)
        )
        product = np.array([[1.0, 2.0], [3.0, 4.0]])
        assert_allclose(drawn.value(product), one.value(product), rtol=1e-15)
        assert_allclose(drawn.gradient(product), one.gradient(product), rtol=1e-15)


R, C, Y = [0, 1], [0, 1], [1.0, 2.0]
BAD_COMPLETION = [
    (([0, 0], [1, 1], Y, (2, 2)), ValueError, r"rows and cols must give every entry once, got entry \(0, 1\) twice"),
    (([0, 2], C, Y, (2, 2)), ValueError, r"rows must be <= 1, got 2 at index \(1,\)"),
    (([0, -1], C, Y, (2, 2)), ValueError, "rows must be >= 0, got -1"),
    ((R, [0, 5], Y, (2, 2)), ValueError, r"cols must be <= 1, got 5"),
    (([0.0, 1.0], C, Y, (2, 2)), TypeError, "rows must be integers, got dtype float64"),
    (([True, False], C, Y, (2, 2)), TypeError, "rows must be integers, got dtype bool"),
    ((R, ["a", "b"], Y, (2, 2)), TypeError, "cols must be integers"),
    (([0], C, Y, (2, 2)), ValueError, r"rows must have shape \(\*run, 2\), as values have, got \(1,\)"),
    ((0, C, Y, (2, 2)), ValueError, r"rows must have shape \(\*run, 2\), as values have, got \(\)"),
    ((R, C, 1.0, (2, 2)), ValueError, r"values must have shape \(\*run, n\), got a single number"),
    ((R, C, [1.0, np.nan], (2, 2)), ValueError, r"values must be finite, got nan at index \(1,\)"),
    ((R, C, [1.0, 1j], (2, 2)), TypeError, "values must be a real number or an array of them"),
    (([], [], [], (2, 2)), ValueError, "values must not be empty"),
    ((R, C, Y, (2,)), ValueError, r"shape must be two integers, \(out, in\), got \(2,\)"),
    ((R, C, Y, 2), TypeError, "shape must be a sequence of integers, got int 2"),
    ((R, C, Y, (2, 0)), ValueError, r"shape\[1\] must be >= 1, got 0"),
    ((R, C, Y, (2, 2.0)), TypeError, r"shape\[1\] must be an integer, got float 2.0"),
    (([R] * 3, [C] * 2, Y, (2, 2)), ValueError, "run axes must broadcast"),
    ((np.ma.masked_array(R, [0, 1]), C, Y, (2, 2)), TypeError, "rows must be a plain array"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "match"), BAD_COMPLETION)
def test_bad_entries_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        lf.MatrixCompletionLoss(*arguments)


EYE = np.eye(2, dtype=bool)


@pytest.mark.parametrize(
    ("matrix", "observed", "error", "match"),
    [
        (np.eye(2), np.eye(2), TypeError, "observed must be an array of bools, got dtype float64"),
        (np.eye(2), [True], ValueError, r"observed must have shape \(\*run, out, in\), got \(1,\)"),
        (
            np.eye(3),
            EYE,
            ValueError,
            r"matrix must have shape \(\*run, 2, 2\), as observed has, got",
        ),
        (np.eye(2), ~EYE & EYE, ValueError, "observed must have at least one entry, .* got none"),
        (np.eye(2), [EYE, EYE | ~EYE], ValueError, "as many in every run, got 2 to 4"),
        (
            [[np.inf, 1], [1, 1]],
            EYE,
            ValueError,
            r"matrix must be finite, got inf at index \(0, 0\)",
        ),
        ([["a", "b"]] * 2, EYE, TypeError, "matrix must be a real number or an array of them"),
        (np.ma.masked_array(np.eye(2), EYE), EYE, TypeError, "matrix must be a plain array"),
        (
            np.ones((3, 2, 2)),
            np.broadcast_to(EYE, (4, 2, 2)),
            ValueError,
            "run axes must broadcast",
        ),
    ],
)
def test_bad_masks_are_refused(matrix, observed, error, match):
    with pytest.raises(error, match=match):
        lf.MatrixCompletionLoss.from_matrix(matrix, observed)


M = np.ones((3, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((M, [1.0, 2.0]), ValueError, r"measurements must have shape \(\*run, 2, out, in\), as targets have, got \(3, 2, 2\)"),
        ((np.eye(2), [1.0, 2.0]), ValueError, r"measurements must have shape \(\*run, 2, out, in\)"),
        ((M, 1.0), ValueError, r"targets must have shape \(\*run, n\), got a single number"),
        ((M, [1.0, 2.0, np.inf]), ValueError, "targets must be finite"),
        ((M * np.nan, [1.0] * 3), ValueError, "measurements must be finite"),
        ((np.ones((4, 3, 2, 2)), np.ones((5, 3))), ValueError, "run axes must broadcast"),
        (("abc", [1.0]), TypeError, "measurements must be a real number or an array of them"),
        ((np.ones((0, 2, 2)), []), ValueError, "targets must not be empty"),
    ],
)  # fmt: skip
def test_bad_measurements_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        lf.MatrixSensingLoss(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((np.ones((2, 2)), np.ones((3, 2)), np.ones(3)), ValueError, r"left must have shape \(\*run, 3, out\), as targets have, got \(2, 2\)"),
        ((np.ones((3, 2)), np.ones(3), np.ones(3)), ValueError, r"right must have shape \(\*run, 3, in\), as targets have, got \(3,\)"),
        ((np.ones((3, 2)), np.full((3, 2), np.inf), np.ones(3)), ValueError, "right must be finite"),
    ],
)  # fmt: skip
def test_bad_vectors_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        lf.MatrixSensingLoss.rank_one(*arguments)


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_bad_products_are_refused(kind):
    loss = make_matrix_loss(kind, (2, 3), (4,))
    for function in (loss.value, loss.gradient):
        with pytest.raises(ValueError, match=r"product must have shape \(\*batch, 2, 3\)"):
            function(np.zeros((3, 2)))
        with pytest.raises(ValueError, match="run axes must broadcast"):
            function(np.zeros((5, 2, 3)))
        with pytest.raises(TypeError, match="product must be a real number or an array of them"):
            function([["a", "b", "c"]] * 2)
