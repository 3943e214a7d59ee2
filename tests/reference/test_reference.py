"""The reference against mathematics: exact arithmetic, closed forms, symmetries, resuming."""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast import reference
from linnet_fast.initialization import balanced, gaussian, orthogonal
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.state import State, Status

WIDTHS = [(3, 2), (2, 2, 2), (4, 1, 3), (1, 5, 1), (3, 4, 2, 5), (2, 3, 1, 2, 4)]
EVERYTHING = tuple(name for name, row in OBSERVABLES.items() if not row.needs)


def random_loss(network, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((20, network.n_inputs))
    return SquaredLoss.from_data(x, rng.standard_normal((20, network.n_outputs)))


def objective(weights, loss, decay):
    squares = sum(np.square(w).sum() for w in weights)
    return loss.value(reference.end_to_end(weights)) + decay / 2 * squares


def run(widths, **options):
    """Train a Gaussian start on random data."""
    network = Dense(widths)
    options.setdefault("method", GradientDescent(0.1))
    options.setdefault("record", Record.every(1, observables=EVERYTHING))
    start = options.pop("start", None)
    if start is None:
        start = gaussian(network, rng=1, batch_shape=options.pop("runs", ()))
    loss = options.pop("loss", None) or random_loss(network)
    return reference.train(network, loss, start, **options)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("widths", WIDTHS)
def test_gradients_equal_finite_differences(widths, decay):
    network = Dense(widths)
    loss = random_loss(network)
    weights = gaussian(network, rng=3)
    gradients = reference.gradients(weights, loss, decay)
    assert [g.shape for g in gradients] == list(network.shapes)
    h = 1e-5
    for layer, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [w.copy() for w in weights]
                moved[layer][index] += sign * h
                values.append(objective(moved, loss, decay))
            assert_allclose(gradient[index], (values[0] - values[1]) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("widths", WIDTHS)
def test_observables_equal_their_definitions(widths):
    network = Dense(widths)
    loss = random_loss(network)
    weights = gaussian(network, rng=3)
    product = np.linalg.multi_dot(weights[::-1]) if len(weights) > 1 else weights[0]
    flat = np.concatenate([g.ravel() for g in reference.gradients(weights, loss, 0.3)])
    expected = {
        "loss": loss.value(product),
        "singular_values": np.sqrt(np.linalg.eigvalsh(product @ product.T)[::-1].clip(0)),
        "product": product,
        "layer_norms": [np.linalg.norm(w) for w in weights],
        "imbalance": [np.linalg.norm(b.T @ b - a @ a.T) for a, b in itertools.pairwise(weights)],
        "gradient_norm": np.linalg.norm(flat),
    }
    expected["singular_values"] = expected["singular_values"][: min(product.shape)]
    for name, value in expected.items():
        got = reference.observe(name, weights, loss, 0.3)
        assert got.shape == OBSERVABLES[name].record_shape(network)
        assert_allclose(got, value, rtol=1e-6, atol=1e-7)
    for got, value in zip(reference.observe("weights", weights, loss), weights, strict=True):
        assert_array_equal(got, value)


def test_every_observable_can_be_observed():
    weights = gaussian(Dense((3, 2, 4)), rng=0, batch_shape=(2, 5))
    for name in EVERYTHING:
        value = reference.observe(name, weights, random_loss(Dense((3, 2, 4))))
        parts, shapes = (value, OBSERVABLES[name].record_shape(Dense((3, 2, 4))))
        if name != "weights":
            parts, shapes = (parts,), (shapes,)
        assert [part.shape for part in parts] == [(2, 5, *inner) for inner in shapes]
    with pytest.raises(ValueError, match=r"must be one of .* did you mean 'imbalance'"):
        reference.observe("inbalance", weights, random_loss(Dense((3, 2, 4))))


def fractions(array):
    return np.vectorize(Fraction, otypes=[object])(array)


def multiplied(layers):
    """Return W_L ... W_1 of exact numbers."""
    return reduce(lambda product, layer: layer @ product, layers)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("widths", [(2, 3), (2, 2, 2), (3, 1, 2), (2, 1, 2, 2)])
def test_first_steps_are_exact_on_dyadic_numbers(widths, decay):
    network = Dense(widths)
    rng = np.random.default_rng(4)
    half = rng.integers(-1, 2, (widths[0], widths[0]))
    cov, cross = half @ half.T, rng.integers(-3, 4, (widths[-1], widths[0]))
    start = [rng.choice([-1.0, 1.0], shape) for shape in network.shapes]
    n_steps, step_size = 2, 0.25
    result = reference.train(
        network,
        SquaredLoss(cov, cross, 8.0),
        start,
        method=GradientDescent(step_size, weight_decay=decay),
        n_steps=n_steps,
        record=Record.every(1, observables=("weights", "product", "loss")),
    )
    exact = [fractions(w) for w in start]
    for step in range(n_steps + 1):
        product = multiplied(exact)
        value = (product @ cov * product).sum() / 2 - (product * cross).sum() + 4
        if step < 2:  # by then the products have too many bits, the weights not yet
            assert_array_equal(fractions(result.product[step]), product)
            # A loss goes through a Cholesky factor, which has more bits.
            assert abs(Fraction(float(result.loss[step])) - value) <= 1e-13 * max(abs(value), 4)
        for got, expected in zip(result.weights, exact, strict=True):
            assert_array_equal(fractions(got[step]), expected)
        residual = product @ cov - cross
        moves = []
        for i, w in enumerate(exact):
            after = multiplied([fractions(np.eye(widths[i + 1], dtype=int)), *exact[i + 1 :]])
            before = multiplied([fractions(np.eye(widths[0], dtype=int)), *exact[:i]])
            moves.append(after.T @ residual @ before.T + Fraction(decay) * w)
        exact = [w - Fraction(step_size) * g for w, g in zip(exact, moves, strict=True)]


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_one_layer_follows_its_closed_form(decay):
    network = Dense((4, 3))
    loss = random_loss(network)
    start = gaussian(network, rng=1)
    result = run((4, 3), start=start, loss=loss, n_steps=50,
                 method=GradientDescent(0.1, weight_decay=decay))  # fmt: skip
    curvature = loss.input_cov + decay * np.eye(4)
    fixed = loss.cross_cov @ np.linalg.inv(curvature)
    for step, product in enumerate(result.product):
        power = np.linalg.matrix_power(np.eye(4) - 0.1 * curvature, step)
        assert_allclose(product, fixed + (start[0] - fixed) @ power, rtol=1e-11, atol=1e-13)


def test_scalar_two_layers_follow_the_recursion():
    loss = SquaredLoss([[1.0]], [[2.0]], 4.0)
    result = run((1, 1, 1), start=([[0.5]], [[0.25]]), loss=loss, n_steps=20)
    a, b = 0.5, 0.25
    for step in range(21):
        assert_allclose(result.product[step, 0, 0], a * b, rtol=1e-13)
        residual = a * b - 2
        a, b = a - 0.1 * b * residual, b - 0.1 * a * residual


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 3, 4)])
def test_imbalance_drifts_in_proportion_to_the_step_size(widths):
    network = Dense(widths)
    start = balanced(network, rng=2)
    drifts = []
    for halvings in range(3):
        method = GradientDescent(0.02 / 2**halvings)
        result = run(widths, start=start, method=method, n_steps=100 * 2**halvings)
        assert result.imbalance[0].max() < 1e-12
        drifts.append(result.imbalance[-1])
    ratios = np.array(drifts[:-1]) / drifts[1:]
    assert (ratios > 1.8).all()
    assert (ratios < 2.2).all()


@pytest.mark.parametrize("widths", [(3, 3), (3, 4, 2), (2, 3, 4, 3)])
def test_training_is_equivariant_under_rotations(widths):
    network = Dense(widths)
    loss = random_loss(network)
    start = gaussian(network, rng=1)
    turns = [orthogonal(Dense((n, n)), rng=n + i)[0] for i, n in enumerate(widths)]
    turned_start = [turns[i + 1] @ w @ turns[i].T for i, w in enumerate(start)]
    turned_loss = SquaredLoss(
        turns[0] @ loss.input_cov @ turns[0].T,
        turns[-1] @ loss.cross_cov @ turns[0].T,
        loss.output_power,
    )
    plain = run(widths, start=start, loss=loss, n_steps=30)
    turned = run(widths, start=turned_start, loss=turned_loss, n_steps=30)
    assert_allclose(turned.product, turns[-1] @ plain.product @ turns[0].T, atol=1e-12)
    for name in ("loss", "singular_values", "layer_norms", "imbalance", "gradient_norm"):
        assert_allclose(getattr(turned, name), getattr(plain, name), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=9), st.integers(1, 30), st.data())
def test_a_continued_run_equals_one_long_run(widths, n_steps, data):
    cut = data.draw(st.integers(0, n_steps))
    network = Dense(widths)
    loss = random_loss(network)
    start = gaussian(network, rng=0, batch_shape=3)
    # One run is ordinary, one diverges, one converges when its gradient is small.
    options = {
        "method": GradientDescent([0.05, 1e60, 0.3], weight_decay=0.01),
        "stop": Stop(gradient_norm=[0.0, 0.0, 0.5], check_every=3),
    }
    every = Record.every(1, observables=EVERYTHING)
    whole = reference.train(network, loss, start, n_steps=n_steps, record=every, **options)
    first = reference.train(network, loss, start, n_steps=cut, record=every, **options)
    rest = reference.train(
        network, loss, first.final, n_steps=n_steps - cut, record=every, **options
    )
    assert rest.final.step == whole.final.step == n_steps
    assert_array_equal(rest.status, whole.status)
    assert_array_equal(rest.stopped_at, whole.stopped_at)
    assert rest.steps.tolist() == list(range(cut, n_steps + 1))
    assert_array_equal(rest.time, whole.time[:, cut:])
    for a, b in zip(rest.final.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b)
    going = first.status == Status.COMPLETED
    for name in EVERYTHING:
        pairs = [(rest.observables[name], whole.observables[name], first.observables[name])]
        if name == "weights":
            pairs = zip(rest.weights, whole.weights, first.weights, strict=True)
        for after, all_of_it, before in pairs:
            assert_array_equal(after[going], all_of_it[going, cut:])
            assert np.isnan(after[~going]).all()  # they had ended before
            assert_array_equal(before, all_of_it[:, : cut + 1])


@pytest.mark.parametrize("neighbour", [1e300, 0.1])
def test_runs_do_not_disturb_each_other(neighbour):
    network = Dense((3, 4, 2))
    start = gaussian(network, rng=0, batch_shape=2)
    method = GradientDescent([0.1, neighbour])
    both = run((3, 4, 2), start=start, method=method, n_steps=20)
    alone = run((3, 4, 2), start=[w[0] for w in start], n_steps=20)
    assert both.status.tolist() == [0, 2 if neighbour > 1 else 0]
    for name in EVERYTHING:
        pairs = [(both.observables[name], alone.observables[name])]
        if name == "weights":
            pairs = zip(both.weights, alone.weights, strict=True)
        for a, b in pairs:
            assert_array_equal(a[0], b)


def test_divergence_is_told_at_the_first_step_with_infinite_weights():
    # w -> w - 4 w = -3 w, so |w| = 2 * 3**n: beyond the largest float64, 1.8e308, at n = 646.
    loss = SquaredLoss([[1.0]], [[0.0]], 0.0)
    result = run((1, 1), start=([[2.0]],), loss=loss, method=GradientDescent(4.0), n_steps=700)
    assert result.status == Status.DIVERGED
    assert result.stopped_at == 646
    assert not np.isfinite(result.final.weights[0]).all()
    for name in set(EVERYTHING) - {"weights"}:
        assert np.isnan(result.observables[name][646:]).all()
    assert np.isnan(result.weights[0][646:]).all()
    assert np.isfinite(result.product[:646]).all()
    assert np.isfinite(result.singular_values[:646]).all()


def test_stop_checks_absolute_steps_and_thresholds_per_run():
    # w -> 1 + (w - 1) / 2, loss 1/2 (w - 1)^2 = 2^-(2 n + 1), gradient 2^-n.
    loss = SquaredLoss([[1.0]], [[1.0]], 1.0)
    start = (np.zeros((1, 1)),)
    method = GradientDescent(0.5)

    def stopped(stop, start=start, n_steps=20):
        result = run((1, 1), start=start, loss=loss, method=method, n_steps=n_steps, stop=stop)
        return result.status.tolist(), result.stopped_at.tolist(), result

    assert stopped(Stop(loss=2.0**-7, check_every=1))[:2] == (1, 3)
    assert stopped(Stop(loss=2.0**-7, check_every=5))[:2] == (1, 5)
    assert stopped(Stop(gradient_norm=2.0**-7, check_every=1))[:2] == (1, 7)
    assert stopped(Stop(loss=2.0**-7, gradient_norm=2.0**-2, check_every=1))[:2] == (1, 2)
    assert stopped(Stop(loss=10.0, check_every=7))[:2] == (1, 0)
    assert stopped(Stop(loss=0.0, check_every=7))[:2] == (0, 20)
    status, at, result = stopped(Stop(loss=[0.0, 2.0**-7], gradient_norm=0.0, check_every=2))
    assert (status, at) == ([0, 1], [20, 4])
    assert np.isfinite(result.loss[1, :5]).all()
    assert np.isnan(result.loss[1, 5:]).all()
    assert result.final.weights[0][1] == 1 - 2.0**-4
    # In a continued training steps are absolute, and runs that have ended stay ended.
    half = stopped(Stop(loss=0.0), n_steps=3)[2].final
    assert stopped(Stop(loss=2.0**-5, check_every=5), half)[:2] == (1, 5)
    ended = stopped(Stop(loss=2.0**-7, check_every=1))[2].final
    assert stopped(Stop(loss=0.0), ended)[:2] == (1, 3)


def test_run_axes_of_all_arguments_broadcast():
    network = Dense((3, 2, 2))
    start = [w[:, None, None] for w in gaussian(network, rng=0, batch_shape=2)]
    x = np.random.default_rng(1).standard_normal((3, 1, 9, 3))
    y = np.random.default_rng(2).standard_normal((9, 2))
    loss = SquaredLoss.from_data(x, y)
    method = GradientDescent(
        [[[0.1]], [[0.05]]],
        weight_decay=[0.0, 0.1],
        layer_multipliers=[[[1.0, 0.5]], [[1.0, 2.0]], [[0.0, 1.0]]],
    )
    record = Record.every(1, observables=("loss",))
    result = run((3, 2, 2), start=start, loss=loss, method=method, n_steps=5, record=record)
    assert result.run_shape == (2, 3, 2)
    assert result.time.shape == (2, 1, 1, 6)
    for i, j, k in np.ndindex(2, 3, 2):
        alone = run(
            (3, 2, 2),
            start=[w[i, 0, 0] for w in start],
            loss=SquaredLoss.from_data(x[j, 0], y),
            method=GradientDescent(
                method.step_size[i, 0, 0], method.weight_decay[k], method.layer_multipliers[j, 0]
            ),
            n_steps=5,
            record=record,
        )
        assert_allclose(result.loss[i, j, k], alone.loss, rtol=1e-13)


def test_a_layer_with_multiplier_zero_stays():
    method = GradientDescent(0.1, layer_multipliers=[1.0, 0.0])
    result = run((3, 4, 2), method=method, n_steps=5)
    assert_array_equal(result.weights[1][-1], result.weights[1][0])
    assert (result.weights[0][-1] != result.weights[0][0]).any()


def test_float32_stays_float32_and_agrees_roughly():
    network = Dense((3, 4, 2))
    single = run((3, 4, 2), start=gaussian(network, rng=1, dtype=np.float32), n_steps=30)
    double = run((3, 4, 2), start=gaussian(network, rng=1), n_steps=30)
    assert {w.dtype for w in (*single.weights, *single.final.weights)} == {np.dtype(np.float32)}
    assert single.loss.dtype == np.float64
    assert_allclose(single.loss, double.loss, rtol=1e-5)
    assert (single.loss[-1] != double.loss[-1]).all()


def test_zero_steps_record_the_start():
    start = gaussian(Dense((3, 2)), rng=1)
    result = run((3, 2), start=start, n_steps=0)
    assert result.steps.tolist() == [0]
    assert_array_equal(result.final.weights[0], start[0])


def test_the_start_is_left_alone():
    start = [np.ones((2, 3))]
    result = run((3, 2), start=start, n_steps=3)
    assert_array_equal(start[0], 1.0)
    assert not np.shares_memory(result.final.weights[0], start[0])


NETWORK = Dense((3, 2, 4))
START = gaussian(NETWORK, rng=0)
STATE = State(START, 5, np.zeros((), np.int8), np.full((), 5))
BAD = [
    ("network", (3, 2, 4), TypeError, "network must be a Chain, got tuple"),
    ("loss", None, TypeError, "loss must be one of SquaredLoss, .*, got NoneType"),
    (
        "loss",
        random_loss(Dense((3, 5))),
        ValueError,
        r"loss must match .* \(3, 2, 4\), got 3 inputs and 5",
    ),
    (
        "method",
        0.1,
        TypeError,
        "method must be one of GradientDescent, StochasticGradientDescent, .*, got float",
    ),
    (
        "method",
        GradientDescent(0.1, layer_multipliers=[1, 1, 1]),
        ValueError,
        "layer_multipliers must have shape",
    ),
    ("record", "loss", TypeError, "record must be a Record, got str"),
    (
        "record",
        Record.at([7]),
        ValueError,
        r"steps must lie within this training, 0 \.\.\. 3, got 7",
    ),
    ("stop", 1e-3, TypeError, "stop must be a Stop, got float"),
    ("n_steps", -1, ValueError, "n_steps must be >= 0, got -1"),
    ("n_steps", 1.0, TypeError, "n_steps must be an integer, got float"),
    ("n_steps", 2**63, ValueError, "n_steps must be <= 4611686018427387904"),
    ("start", np.zeros((2, 3)), TypeError, "start must be a tuple of 2 arrays, got ndarray"),
    ("start", START[:1], ValueError, "start must have 2 arrays, one per layer, got 1"),
    (
        "start",
        (START[0], START[1].T),
        ValueError,
        r"start\[1\] must have shape \(4, 2\), got \(2, 4\)",
    ),
    (
        "start",
        (START[0], np.ones((5, 2, 4))),
        ValueError,
        r"start\[1\] must have shape \(\*run, 4, 2\), got \(5, 2, 4\)",
    ),
    ("start", (START[0], 1.0), ValueError, r"start\[1\] must have shape \(4, 2\), got \(\)"),
    (
        "start",
        (START[0], np.full((4, 2), np.nan)),
        ValueError,
        r"start\[1\] must be finite, got nan at index \(0, 0\)",
    ),
    ("start", (START[0], START[1] > 0), TypeError, r"start\[1\] must be a real number"),
    (
        "start",
        (np.ones((2, 2, 3)), np.ones((3, 4, 2))),
        ValueError,
        r"got start\[0\] \(2,\), start\[1\] \(3,\)",
    ),
    (
        "start",
        (np.ones((2, 2, 3)), np.ones((4, 2))),
        ValueError,
        r"got start \(2,\), method \(3,\)",
    ),
    (
        "start",
        STATE,
        ValueError,
        r"method must have run axes that broadcast to .* \(\), got \(3,\)",
    ),
    (
        "start",
        State((START[0],), 5, STATE.status, STATE.stopped_at),
        ValueError,
        "state must have layers",
    ),
]


@pytest.mark.parametrize(("argument", "value", "exception", "message"), BAD)
def test_train_refuses(argument, value, exception, message):
    arguments = {
        "network": NETWORK,
        "loss": random_loss(NETWORK),
        "start": START,
        "method": GradientDescent([0.1, 0.2, 0.3]),
        "n_steps": 3,
        "record": Record.every(1),
        argument: value,
    }
    nouns = [arguments.pop(name) for name in ("network", "loss", "start")]
    with pytest.raises(exception, match=message):
        reference.train(*nouns, **arguments)
