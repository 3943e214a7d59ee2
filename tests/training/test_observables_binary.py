"""Norms, angles, margins and singular vectors that are recorded: against mpmath and NumPy, to their last digits."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from binary_problems import make_binary, make_data
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast import laws, reference
from linnet_fast.records.record import Record

ANGLES = ("angle", "log_tan_half_angle", "norm")


def observe(w, v, names=ANGLES, *, dtype=np.float64, engine=lf.train):
    """Record vectors w (*run, dim) of one layer as they are."""
    w = np.asarray(w, dtype)[..., None, :]
    dim = w.shape[-1]
    loss = lf.SquaredLoss(np.eye(dim), np.zeros((1, dim)), 1.0)
    return engine(
        lf.Dense((dim, 1)), loss, (w,), method=lf.GradientDescent(0.1), n_steps=0,
        record=Record.at([0], names, v),
    )  # fmt: skip


def exact(along, across):
    """Angle and ln tan(angle / 2) of a vector with these parts along and across a direction."""
    with mpmath.workdps(700):
        along, across = mpmath.mpf(float(along)), mpmath.mpf(float(across))
        angle = mpmath.atan2(across, along)
        return float(angle), float(mpmath.log(mpmath.tan(angle / 2)))


SMALL = np.array([1.0, 0.3, 1e-3, 1e-8, 1e-17, 1e-100, 1e-160, 1e-250, 1e-300])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e3, 1e150])
def test_angles_to_an_axis_are_accurate_relative_to_themselves(sign, place, scale):
    """1e-10 is asked for down to 1e-300; the errors are of single roundings."""
    small = SMALL[SMALL * scale > 1e-305]
    w = np.zeros((len(small), 4))
    w[:, place] = sign * scale
    w[:, 3] = 0.6 * small * scale
    w[:, 1] = -0.8 * small * scale
    v = np.zeros(4)
    v[place] = 2.5
    run = observe(w, v)
    expected = np.array([exact(sign, s) for s in small])
    assert_allclose(run.log_tan_half_angle[:, 0], expected[:, 1], rtol=1e-14, atol=1e-15)
    assert_allclose(run.norm[:, 0], scale * np.hypot(1, small), rtol=1e-15)
    assert_allclose(run.angle[:, 0], expected[:, 0], rtol=1e-14)
    if sign < 0:  # nearly pi: what is left of it is in log_tan_half_angle
        left = 2 * np.exp(-run.log_tan_half_angle[2:, 0])
        assert_allclose(left, small[2:], rtol=1e-5)


def test_angles_at_the_ends():
    w = [
        [1.0, 0, 0],
        [-1, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
        [-0.0, 0, 0],
        [5e-324, 0, 0],
        [0, -3e-310, 0],
    ]
    run = observe(w, [1.0, 0.0, 0.0])
    nan = np.nan
    assert_allclose(run.angle[:, 0], [0, np.pi, np.pi / 2, nan, nan, 0, np.pi / 2], rtol=1e-16)
    inf = np.inf
    assert_array_equal(run.log_tan_half_angle[:, 0], [-inf, inf, 0.0, nan, nan, -inf, 0.0])
    assert_allclose(run.norm[:, 0], [1, 1, 1, 0, 0, 5e-324, 3e-310], rtol=1e-16)


@pytest.mark.parametrize("dim", [1, 2, 3, 17, 100])
def test_angles_to_any_direction(dim):
    """Of vectors at any angle: to 1e-14 of a right angle; and the reference says the same."""
    rng = np.random.default_rng(dim)
    v = rng.standard_normal(dim)
    unit = v / np.linalg.norm(v)
    across = rng.standard_normal((8, dim))
    across -= (across @ unit)[:, None] * unit
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-300)
    angle = np.array([0.0, 1e-6, 0.1, 1.0, np.pi / 2, 2.0, 3.0, np.pi - 1e-6])
    if dim == 1:
        angle = np.where(angle > 1.6, np.pi, 0.0)
        across = 0 * across
    size = 10.0 ** rng.uniform(-20, 20, 8)
    w = size[:, None] * (np.cos(angle)[:, None] * unit + np.sin(angle)[:, None] * across)
    run, slow = observe(w, v), observe(w, v, engine=reference.train)
    assert_allclose(run.angle[:, 0], angle, atol=1e-14)
    assert_allclose(run.norm[:, 0], size, rtol=1e-14)
    assert_allclose(run.angle, slow.angle, atol=1e-14)
    middle = (angle > 1e-3) & (angle < 3.1)
    assert_allclose(
        run.log_tan_half_angle[middle, 0], np.log(np.tan(angle[middle] / 2)), rtol=1e-12, atol=1e-14
    )
    # Angles and directions of any length are the same.
    again = observe(w, 1e-200 * v)
    assert_allclose(again.angle, run.angle, rtol=1e-7, atol=1e-14)


def test_the_direction_of_the_record_comes_before_that_of_the_loss():
    loss = lf.SphericalLogisticLoss([0.0, 1.0], laws.Sphere(2))
    start = (np.array([[1.0, 1e-5]]),)
    options = {"method": lf.GradientDescent(0.1), "n_steps": 0}
    network = lf.Dense((2, 1))
    for v, expected in [
        (None, np.pi / 2 - 1e-5),
        ([0.0, 7.0], np.pi / 2 - 1e-5),
        ([1.0, 0.0], 1e-5),
        ((-2.0, 0.0), np.pi - 1e-5),
    ]:
        for engine in (lf.train, reference.train):
            run = engine(network, loss, start, record=Record.every(1, ("angle",), v), **options)
            assert_allclose(run.angle, [expected], atol=1e-14)


def test_directions_per_run_are_those_of_the_loss():
    v = np.random.default_rng(0).standard_normal((4, 1, 3))
    loss = lf.SphericalLogisticLoss(v, laws.Gaussian(3))
    w = np.random.default_rng(1).standard_normal((4, 2, 1, 3))
    run = lf.train(
        lf.Dense((3, 1)), loss, (w,), method=lf.GradientDescent(0.1), n_steps=0,
        record=Record.at([0], ("angle",)),
    )  # fmt: skip
    cosine = np.sum(w[..., 0, :] * v, axis=-1) / np.linalg.norm(w[..., 0, :], axis=-1)
    assert_allclose(run.angle[..., 0], np.arccos(cosine / np.linalg.norm(v, axis=-1)), rtol=1e-12)


def test_angles_of_float32_runs_are_computed_in_float64():
    w = np.array([[1.0, 1e-30, 0.0]], np.float32)
    run = observe(w, [1.0, 0.0, 0.0], dtype=np.float32)
    assert run.angle.dtype == np.float64
    assert_allclose(run.angle[0], float(w[0, 1]), rtol=1e-14)


@pytest.mark.parametrize("widths", [(3, 1), (4, 3), (5, 4, 3), (2, 9, 9, 7), (1, 1)])
def test_norms_of_any_network(widths):
    """Of all entries of the end-to-end matrix, in lanes and alone."""
    start = make_start(widths, (13,))
    for which in (slice(None), 4):
        run = lf.train(
            lf.Dense(widths), make_loss(widths), [w[which] for w in start], n_steps=3,
            method=lf.GradientDescent(0.01), record=Record.every(1, ("norm", "product")),
        )  # fmt: skip
        assert_allclose(run.norm, np.linalg.norm(run.product, axis=(-2, -1)), rtol=1e-13)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 256, 257, 700])
@pytest.mark.parametrize("kind", ["logistic", "exponential"])
def test_margins(n, kind):
    """The least of all, none of them from what fills up the last block; of any length of w."""
    loss = make_binary(kind, 4, n=n)
    rng = np.random.default_rng(n)
    w = rng.standard_normal((11, 1, 4)) * 10.0 ** rng.uniform(-8, 2, (11, 1, 1))
    # One whose margins are all positive, and must not meet a zero of the filling.
    good = np.linalg.lstsq(loss.labels[:, None] * loss.inputs, np.ones(n), rcond=None)[0]
    w[0, 0] = good
    run = lf.train(
        lf.Dense((4, 1)), loss, (w,), method=lf.GradientDescent(1e-3), n_steps=0,
        record=Record.at([0], ("margin",)),
    )  # fmt: skip
    z = loss.labels[:, None] * loss.inputs
    expected = (z @ w[:, 0].T).min(axis=0) / np.linalg.norm(w[:, 0], axis=-1)
    assert_allclose(run.margin[:, 0], expected, rtol=1e-12, atol=1e-15)
    if n == 1:
        assert run.margin[0, 0] > 0
    alone = lf.train(
        lf.Dense((4, 1)), loss, (w[0],), method=lf.GradientDescent(1e-3), n_steps=0,
        record=Record.at([0], ("margin",)),
    )  # fmt: skip
    assert_array_equal(alone.margin, run.margin[0])


def test_label_noise_does_not_change_margins_and_zero_has_none():
    x, y = make_data(9, 3)
    w = np.array([[[0.3, 0.1, -1.0]], [[0.0, 0.0, 0.0]]])
    margins = []
    for noise in (0.0, 0.4):
        run = lf.train(
            lf.Dense((3, 1)), lf.LogisticLoss(x, y, noise), (w,), method=lf.GradientDescent(0.1),
            n_steps=0, record=Record.at([0], ("margin",)),
        )  # fmt: skip
        margins.append(run.margin[:, 0])
    assert_array_equal(margins[0], margins[1])
    assert np.isfinite(margins[0][0])
    assert np.isnan(margins[0][1])


@pytest.mark.parametrize(
    "widths", [(3, 2), (5, 4, 3), (1, 4, 1), (7, 1, 7, 2), (6, 6, 6, 6), (2, 9, 40, 3, 1)], ids=str
)
def test_singular_vectors_of_layers_against_numpy(widths):
    start = make_start(widths, (10,))
    names = ("layer_singular_ratio", "layer_alignment", "weights")
    for which in (slice(None), 3):
        run = lf.train(
            lf.Dense(widths), make_loss(widths), [w[which] for w in start], n_steps=2,
            method=lf.GradientDescent(0.01), record=Record.every(1, names),
        )  # fmt: skip
        triples = [np.linalg.svd(w, full_matrices=False) for w in run.weights]
        for layer, (_, s, _) in enumerate(triples):
            second = s[..., 1] if s.shape[-1] > 1 else 0 * s[..., 0]
            ratio = run.layer_singular_ratio[..., layer]
            assert_allclose(ratio, second / s[..., 0], rtol=1e-12, atol=1e-14)
        for pair in range(len(widths) - 2):
            (below, s, _), (_, t, above) = triples[pair : pair + 2]
            cosine = np.abs(np.sum(below[..., :, 0] * above[..., 0, :], axis=-1))
            # First vectors are known as well as the first two values are apart.
            gap = np.ones_like(cosine)
            for values in (s, t):
                if values.shape[-1] > 1:
                    gap = np.minimum(gap, 1 - values[..., 1] / values[..., 0])
            error = np.abs(run.layer_alignment[..., pair] - cosine)
            assert (error < 1e-13 / gap).all()


def test_balanced_layers_of_rank_one_are_aligned():
    rng = np.random.default_rng(0)
    units = [x / np.linalg.norm(x) for x in map(rng.standard_normal, (4, 3, 5, 1))]
    weights = [0.7 * np.outer(a, b) for b, a in pairwise(units)]
    loss = make_binary("gaussian", 4)
    run = lf.train(
        lf.Dense((4, 3, 5, 1)), loss, weights, method=lf.GradientDescent(0.1), n_steps=20,
        record=Record.every(10, ("layer_singular_ratio", "layer_alignment")),
    )  # fmt: skip
    assert_allclose(run.layer_alignment, 1, rtol=1e-14)
    assert_allclose(run.layer_singular_ratio, 0, atol=1e-14)


def test_layers_without_first_singular_vectors_give_nan():
    start = [np.zeros((3, 4)), np.ones((2, 3)), np.ones((1, 2))]
    loss = make_binary("logistic", 4)
    for engine in (lf.train, reference.train):
        run = engine(
            lf.Dense((4, 3, 2, 1)), loss, start, method=lf.GradientDescent(0.1), n_steps=0,
            record=Record.at([0], ("layer_singular_ratio", "layer_alignment")),
        )  # fmt: skip
        assert_allclose(run.layer_singular_ratio[0], [np.nan, 0.0, 0.0], atol=1e-15)
        assert_allclose(run.layer_alignment[0], [np.nan, 1.0], rtol=1e-14)


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1e100, 1e200])
def test_singular_ratios_of_layers_of_any_size(size):
    start = [size * w for w in make_start((4, 3, 1))]
    plain = make_start((4, 3, 1))
    loss = make_binary("logistic", 4)
    names = ("layer_singular_ratio", "layer_alignment")
    run = lf.train(
        lf.Dense((4, 3, 1)), loss, start, method=lf.GradientDescent(0.1), n_steps=0,
        record=Record.at([0], names),
    )  # fmt: skip
    for name in names:
        expected = reference.observe(name, plain, loss)
        assert_allclose(run.observables[name][0], expected, rtol=1e-12)


# --- the direction of a record


def test_direction_is_a_value_of_the_record():
    one = Record.every(2, ("angle",), direction=np.array([1, 2]))
    assert one.direction == (1.0, 2.0)
    assert one == Record.every(2, ("angle",), (1.0, 2.0))
    assert one != Record.every(2, ("angle",))
    assert hash(one) == hash(Record.every(2, ("angle",), [1.0, 2.0]))
    assert Record.at([1], ("angle",), 3.0).direction == (3.0,)
    for make in (
        lambda v: Record.geomspace(3, ("angle",), v),
        lambda v: Record.every(3, ("angle",), v),
        lambda v: Record.at([3], ("angle",), v),
        lambda v: Record.at_times([3.0], ("angle",), v),
    ):
        assert make([0.0, 1.0]).direction == (0.0, 1.0)
        assert make(None).direction is None
        assert eval(repr(make([0.5, 1.0])), {"Record": Record}) == make([0.5, 1.0])


@pytest.mark.parametrize(
    ("direction", "exception", "message"),
    [
        ([0.0, 0.0], ValueError, "direction must be a vector that is not zero"),
        (0.0, ValueError, "direction must be a vector that is not zero"),
        ([np.nan, 1.0], ValueError, "direction must be finite"),
        ([np.inf, 1.0], ValueError, "direction must be finite"),
        ([[1.0, 0.0]], ValueError, "direction must be a vector that is not zero"),
        ([], ValueError, "direction must not be empty"),
        ("x", TypeError, "direction must be"),
        ([1j], TypeError, "direction must be"),
    ],
)
def test_bad_directions_are_refused(direction, exception, message):
    for make in (Record.geomspace, Record.every):
        with pytest.raises(exception, match=message):
            make(3, ("angle",), direction)
    with pytest.raises(exception, match=message):
        Record.at_times([3.0], ("angle",), direction)
