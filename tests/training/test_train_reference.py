"""The core against the NumPy reference, and against mathematics that needs no reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from drawn import draw_factors, draw_stop
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, crossed, few, make_loss, make_start, parts

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.records.observables import OBSERVABLES

ALL = lf.Record.every(1, observables=EVERYTHING)

WIDTHS = st.one_of(
    st.lists(st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64]), min_size=2, max_size=4),
    st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 11]), min_size=2, max_size=9),
).map(tuple)
RUNS = st.sampled_from([(), (1,), (3,), (2, 3), (9,), (4, 5)])


def natural_scale(name, expected, widths, loss):
    """Return the size of what is summed up in an observable: what its rounding is relative to."""
    scale = np.nanmax(np.abs(expected), initial=0.0)
    if name == "loss":
        return scale + loss.output_power.max()
    if name in ("imbalance", "gradient_norm"):  # differences of products of weights
        return scale + max(widths)
    return scale


def assert_close(run, expected, widths, loss, tolerance):
    assert_array_equal(run.status, expected.status)
    assert_array_equal(run.stopped_at, expected.stopped_at)
    assert_array_equal(run.steps, expected.steps)
    assert_array_equal(run.time, expected.time)
    arrays = parts(expected)
    for name, array in parts(run).items():
        assert array.shape == arrays[name].shape
        assert array.dtype == arrays[name].dtype
        atol = tolerance / 100 * natural_scale(name, arrays[name], widths, loss)
        assert_allclose(array, arrays[name], rtol=tolerance, atol=atol, err_msg=name)


@st.composite
def trainings(draw):
    """Widths, loss, start, method and stop rule, with run axes on any of them."""
    widths = draw(WIDTHS)
    runs = draw(RUNS)
    some = st.sampled_from([(), runs])
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    loss = make_loss(widths, draw(some), diagonal=draw(st.booleans()), seed=seed)
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    scale = draw(st.sampled_from([0.1, 0.5, 1.0]))
    start = make_start(widths, runs, scale=scale, dtype=dtype, seed=seed)
    # So small that no run leaves in ten steps, which would blow rounding errors up.
    slope = np.max(reference.observe("gradient_norm", start, loss)) / np.min(
        reference.observe("layer_norms", start, loss)
    )
    method = lf.GradientDescent(
        0.02 / max(1, slope) * rng.uniform(0.5, 1, draw(some)),
        *draw_factors(draw, rng, runs, len(widths) - 1),
    )
    return widths, loss, start, method, draw_stop(draw, rng, start, loss)


@settings(max_examples=250)
@given(trainings(), st.integers(1, 3))
def test_core_equals_reference(training, n_threads):
    widths, loss, start, method, stop = training
    arguments = {"method": method, "n_steps": 10, "record": ALL, "stop": stop}
    run = lf.train(lf.Dense(widths), loss, start, n_threads=n_threads, **arguments)
    expected = reference.train(lf.Dense(widths), loss, start, **arguments)
    # float32: a step makes rounding errors of 6e-8 times the number of terms that meet in an entry,
    # at most the sum of the widths, and later steps carry them on. The two sum in different orders.
    single = 10 * sum(widths) * np.finfo(np.float32).eps
    tolerance = 1e-10 if start[0].dtype == np.float64 else max(single, 1e-4)
    assert_close(run, expected, widths, loss, tolerance)


LARGE = [
    *((96, 96, 96), (128, 1, 128), (200, 30, 4), (4, 200, 200, 3)),
    *((450, 450, 450), (500, 450, 400)),
]


@crossed(("widths", few(LARGE, 5)), ("dtype", [np.float64, np.float32]))
def test_core_equals_reference_at_large_widths(widths, dtype):
    kinds = [((2,), True), ((), False)]
    for runs, diagonal in few(kinds, 1) if max(widths) > 400 else kinds:
        loss = make_loss(widths, runs, diagonal=diagonal)
        start = make_start(widths, (2,), scale=0.5, dtype=dtype)
        arguments = {
            "method": lf.GradientDescent([0.01, 0.02], [0.0, 0.1]),
            "n_steps": 2,
            "record": lf.Record.at([2], EVERYTHING),
        }
        run = lf.train(lf.Dense(widths), loss, start, **arguments)
        expected = reference.train(lf.Dense(widths), loss, start, **arguments)
        assert_close(run, expected, widths, loss, 1e-10 if dtype == np.float64 else 1e-3)


def test_divergence_and_resuming_equal_the_reference():
    """Statuses and steps of ended runs, records after them, and what a continued run records."""
    widths = (3, 4, 2)
    loss = make_loss(widths)
    start = make_start(widths, (6,))
    method = lf.GradientDescent([0.05, 2.0, 5.0, 100.0, 0.05, 0.05])
    first = reference.observe("loss", start, loss)
    stop = lf.Stop(loss=np.where(np.arange(6) == 4, 0.99 * first, 0.0), check_every=1)
    results = []
    for train in (lf.train, reference.train):
        half = train(
            lf.Dense(widths), loss, start, method=method, stop=stop, n_steps=30, record=ALL
        )
        assert set(half.status.tolist()) == {0, 1, 2}
        again = train(lf.Dense(widths), loss, half.final, method=method, n_steps=5, record=ALL)
        results.append((half, again))
    for run, expected in zip(*results, strict=True):
        assert_array_equal(run.status, expected.status)
        assert_array_equal(run.stopped_at, expected.stopped_at)
        quiet = expected.ok
        for name in EVERYTHING:
            ours, theirs = run.observables[name], expected.observables[name]
            for a, b in zip(ours, theirs, strict=True) if name == "weights" else [(ours, theirs)]:
                assert_array_equal(np.isnan(a[quiet]), np.isnan(b[quiet]))
                assert_allclose(a[quiet], b[quiet], rtol=1e-9, atol=1e-11)
        after = run.steps >= run.stopped_at[:, None]
        assert np.isnan(run.loss[~run.ok][after[~run.ok]]).all()


@pytest.mark.parametrize("at_end", [True, False])
def test_a_run_that_converged_on_the_last_step_is_continued_alike(at_end):
    widths = (3, 3)
    loss, start = make_loss(widths), make_start(widths, (2,))
    stop = lf.Stop(loss=[1e9, 0.0], check_every=10)
    record = lf.Record.every(5)
    results = []
    for train in (lf.train, reference.train):
        half = train(lf.Dense(widths), loss, start, method=lf.GradientDescent(0.1), n_steps=10,
                     record=record, stop=None if at_end else stop)  # fmt: skip
        if at_end:
            half = lf.State(half.final.weights, 10, np.array([1, 0], np.int8), np.array([10, 10]))
        else:
            half = half.final
        results.append(
            train(
                lf.Dense(widths),
                loss,
                half,
                method=lf.GradientDescent(0.1),
                n_steps=10,
                record=record,
            )
        )
    assert_close(*results, widths, loss, 1e-10)


# --- exact arithmetic ------------------------------------------------------------------------------


def exact_step(weights, cov, cross, step, decay):
    """One step of gradient descent on matrices of Fractions."""
    after = [np.eye(weights[-1].shape[0], dtype=int)]
    for w in weights[:0:-1]:
        after.append(after[-1] @ w)
    before = [np.eye(weights[0].shape[1], dtype=int)]
    for w in weights[:-1]:
        before.append(w @ before[-1])
    residual = after[-1] @ weights[0] @ cov - cross
    return [
        w - step * (a.T @ residual @ b.T + decay * w)
        for w, a, b in zip(weights, after[::-1], before, strict=True)
    ]


def fractions(array):
    return np.vectorize(Fraction, otypes=[object])(array)


@crossed(
    ("n_runs", [None, 3, 9, 40]),
    ("diagonal", [False, True]),
    ("decay", [0.0, 0.5]),
    (
        ("widths", "n_steps", "dtype"),
        [
            ((2, 3), 5, np.float64),
            ((5, 1), 2, np.float32),
            ((3, 2, 4), 2, np.float64),
            ((1, 9, 1), 2, np.float64),
            ((13, 5, 17), 1, np.float64),
            ((3, 2, 2), 1, np.float32),
            ((2, 3, 2, 3), 1, np.float64),
            ((2, 2, 2, 2, 2, 2), 1, np.float64),
        ],
    ),
    n=32,
)
def test_dyadic_steps_are_exact(widths, n_steps, dtype, decay, diagonal, n_runs):
    """With few bits to begin with nothing rounds, fused or not, in whatever order."""
    rng = np.random.default_rng(0)
    n_in, n_out = widths[0], widths[-1]
    half = rng.integers(-1, 2, (n_in, n_in)) * (0 if diagonal else 1)
    # Rows of `half` sum to at most n_in, so by Gershgorin's discs it is positive semi-definite.
    cov = half + half.T + 2 * np.diag(rng.integers(n_in, n_in + 2, n_in))
    cross = rng.integers(-3, 4, (n_out, n_in))
    runs = () if n_runs is None else (n_runs,)
    start = [rng.integers(-2, 3, (*runs, *s)).astype(dtype) for s in lf.Dense(widths).shapes]
    loss = lf.SquaredLoss(cov, cross, 8)
    record = lf.Record.every(1, ("weights", "product", "loss"))
    method = lf.GradientDescent(2.0**-3, decay)
    run = lf.train(lf.Dense(widths), loss, start, method=method, n_steps=n_steps, record=record)
    cov, cross = fractions(cov), fractions(cross)
    for i in [()] if n_runs is None else [(k,) for k in {0, 1, n_runs - 1}]:
        weights = [fractions(w[i]) for w in start]
        for step in range(n_steps + 1):
            for ours, exact in zip(run.weights, weights, strict=True):
                assert_array_equal(fractions(ours[(*i, step)]), exact)
            if step == n_steps:  # products of these weights need more bits
                break
            product = weights[0]
            for w in weights[1:]:
                product = w @ product
            assert_array_equal(fractions(run.product[(*i, step)]), product)
            value = ((product @ cov - 2 * cross) * product).sum() / 2 + 4
            # A loss goes through a Cholesky factor, which has more bits.
            size = max(abs(float(value)), 4.0)
            assert_allclose(float(run.loss[(*i, step)]), float(value), atol=1e-13 * size)
            weights = exact_step(weights, cov, cross, Fraction(1, 8), Fraction(decay))


# --- calculus --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("widths", [(3, 2), (2, 4, 3), (4, 1, 3), (3, 4, 2, 5), (2, 3, 1, 2, 4)])
def test_a_step_follows_the_finite_difference_gradient(widths, decay):
    """A batch of moved starts gives the loss around a point; one step gives the gradient there."""
    network, loss = lf.Dense(widths), make_loss(widths)
    start = make_start(widths)
    method = lf.GradientDescent(1.0, decay)
    moved = lf.train(network, loss, start, method=method, n_steps=1).final.weights
    flat = np.concatenate([w.ravel() for w in start])
    h = 1e-5
    near = flat + h * np.stack([np.eye(flat.size), -np.eye(flat.size)])
    cuts = np.cumsum([w.size for w in start])[:-1]
    layers = [
        part.reshape(2, flat.size, *w.shape)
        for part, w in zip(np.split(near, cuts, axis=-1), start, strict=True)
    ]
    record = lf.Record.at([0], ("loss",))
    values = lf.train(network, loss, layers, method=method, n_steps=0, record=record).loss[..., 0]
    values = values + decay / 2 * np.square(near).sum(-1)
    gradient = (values[0] - values[1]) / (2 * h)
    step = flat - np.concatenate([w.ravel() for w in moved])
    assert_allclose(step, gradient, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("widths", [(4, 3), (4, 5, 3), (7, 3, 8, 2)])
def test_rotations_of_inputs_outputs_and_hidden_layers(widths):
    """Rotated data and weights give rotated networks: losses and spectra do not notice."""
    rng = np.random.default_rng(5)
    q = [np.linalg.qr(rng.standard_normal((w, w)))[0] for w in widths]
    loss, start = make_loss(widths), make_start(widths)
    turned = lf.SquaredLoss(
        q[0] @ loss.input_cov @ q[0].T, q[-1] @ loss.cross_cov @ q[0].T, loss.output_power
    )
    weights = [q[i + 1] @ w @ q[i].T for i, w in enumerate(start)]
    options = {"method": lf.GradientDescent(0.05, 0.01), "n_steps": 100, "record": ALL}
    run = lf.train(lf.Dense(widths), loss, start, **options)
    other = lf.train(lf.Dense(widths), turned, weights, **options)
    for name in ("loss", "singular_values", "layer_norms", "imbalance", "gradient_norm"):
        a, b = run.observables[name], other.observables[name]
        assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=name)
    assert_allclose(other.product, q[-1] @ run.product @ q[0].T, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("widths", [(4, 5, 3), (3, 4, 2, 5)])
def test_imbalance_drifts_in_proportion_to_the_step_size(widths):
    """Gradient flow conserves it; over a given time gradient descent errs by O(step_size)."""
    steps = 0.02 / 2.0 ** np.arange(5)
    start, loss = make_start(widths), make_loss(widths)
    drift = []
    for step in steps:
        run = lf.train(
            lf.Dense(widths), loss, start, method=lf.GradientDescent(step), n_steps=round(1 / step),
            record=lf.Record.at([0, round(1 / step)], ("weights",)),
        )  # fmt: skip
        w = run.weights
        imbalance = [w[i + 1].mT @ w[i + 1] - w[i] @ w[i].mT for i in range(len(w) - 1)]
        drift.append([np.linalg.norm(m[1] - m[0]) for m in imbalance])
    order = np.diff(np.log2(drift), axis=0)
    assert_allclose(order[-1], -1, atol=0.05)


def test_one_step_changes_the_imbalance_in_second_order_only():
    widths = (4, 5, 3)
    w = make_start(widths)
    gradient = reference.gradients(w, make_loss(widths))
    step = 0.25
    run = lf.train(
        lf.Dense(widths), make_loss(widths), w, method=lf.GradientDescent(step), n_steps=1
    )
    v = run.final.weights
    change = (v[1].T @ v[1] - v[0] @ v[0].T) - (w[1].T @ w[1] - w[0] @ w[0].T)
    exact = step**2 * (gradient[1].T @ gradient[1] - gradient[0] @ gradient[0].T)
    assert_allclose(change, exact, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("widths", [(1, 1), (3, 2), (8, 8), (20, 5)])
def test_one_layer_equals_its_closed_form(widths):
    """P_t = P* + (P_0 - P*) (I - step_size (input_cov + decay))^t."""
    loss = make_loss(widths)
    (start,) = make_start(widths, (3,))
    decay = np.array([0.0, 0.1, 1.0])
    values, vectors = np.linalg.eigh(loss.input_cov)
    step = 0.5 / (values[-1] + 1)
    method = lf.GradientDescent(step, decay)
    record = lf.Record.geomspace(20, ("product",))
    run = lf.train(lf.Dense(widths), loss, (start,), method=method, n_steps=2000, record=record)
    rate = values + decay[:, None, None]
    goal = loss.cross_cov @ vectors / rate
    shrink = (1 - step * rate[:, None]) ** run.steps[:, None, None]
    exact = (goal[:, None] + (start @ vectors - goal)[:, None] * shrink) @ vectors.T
    assert_allclose(run.product, exact, rtol=1e-10, atol=1e-12)


def test_every_observable_was_compared():
    """Those that not every training has are compared in test_train_binary.py."""
    assert set(EVERYTHING) < set(OBSERVABLES)
