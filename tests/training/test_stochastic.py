"""Stochastic descent: the generator, the samples drawn in the core, their statistics, seeds and streams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from binary_problems import LAWS, LOSSES, RULES, direction, make_binary, make_law, observed
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from support import assert_same, crossed, few, make_loss, make_start, parts

import linnet_fast as lf
from linnet_fast import laws, reference
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.reference.draws import draw, philox

KNOWN = [
    # counter, key, answer: Random123's kat_vectors, philox4x32 with 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_numbers(counter, key, answer):
    words = philox(
        key[0] | key[1] << 32, counter[1] | counter[2] << 32, counter[3], np.array([counter[0]])
    )
    assert tuple(int(word) for word in words[:, 0]) == answer


def drawn(loss, n_runs, *, seed=0, step=0, streams=None, batch_size=1):
    """Return what one step from zero weights sees: samples times labels, their mean over the batch.

    At zero a logistic loss has the slope -1/2 at every margin.
    """
    method = StochasticGradientDescent(2.0, batch_size, seed, streams)
    dim = loss.n_inputs
    zeros = (np.zeros((n_runs, 1, dim)),)
    state = lf.State(zeros, step, np.zeros(n_runs, np.int8), np.full(n_runs, step))
    run = lf.train(
        lf.Dense((dim, 1)), loss, state, method=method, n_steps=1,
        record=lf.Record.at([step], ("loss",)),
    )  # fmt: skip
    return run.final.weights[0][:, 0]


def by_reference(loss, n_runs, *, seed=0, step=0, streams=None, batch_size=1):
    method = StochasticGradientDescent(2.0, batch_size, seed, streams)
    means = []
    for stream in method.batches.streams_of((n_runs,)):
        batch = draw(loss, method, step, int(stream))
        means.append((batch.labels[:, None] * batch.inputs).mean(axis=0))
    return np.array(means)


@crossed(("dim", [2, 3, 4, 17, 70]), ("name", LAWS))
def test_the_core_draws_the_samples_of_the_reference(name, dim):
    """Sample by sample: the first of many runs; then means over batches of any size."""
    loss = lf.SphericalLogisticLoss(direction(dim), make_law(name, dim))
    for seed, step in [(0, 0), (2**64 - 1, 0), (12345678901234567, 2**40 + 5), (7, 2**62 - 1)]:
        ours = drawn(loss, 60, seed=seed, step=step)
        theirs = by_reference(loss, 60, seed=seed, step=step)
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    for batch_size in (2, 7, 8, 9, 63, 64, 65, 255, 256, 257, 1000):
        ours = drawn(loss, 3, seed=9, step=3, batch_size=batch_size)
        theirs = by_reference(loss, 3, seed=9, step=3, batch_size=batch_size)
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@crossed(("kind", ["logistic", "exponential"]), ("n", [1, 2, 15, 16, 17, 300]))
def test_the_core_draws_the_rows_of_the_reference(kind, n):
    """One-hot samples: the step counts how often each was drawn."""
    cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
    loss = cls(np.eye(n), np.ones(n))
    slope = 1.0 if kind == "logistic" else 2.0
    for batch_size in (1, 5, 64, 300):
        ours = drawn(loss, 5, seed=4, step=6, batch_size=batch_size) * batch_size / slope
        theirs = by_reference(loss, 5, seed=4, step=6, batch_size=batch_size) * batch_size
        assert_allclose(ours, theirs, atol=1e-11)
        assert_allclose(ours.sum(axis=-1), batch_size, rtol=1e-12)


# --- training


@crossed(("batch_size", [1, 16, 100, 300]), ("rule", ["constant", *RULES]), ("kind", LOSSES), n=24)
def test_training_equals_the_reference(kind, rule, batch_size):
    """1e-12, with noise in the labels, weight decay and streams that some runs share."""
    loss = make_binary(kind, 5, n=30, label_noise=[0.0, 0.1, 0.3])
    network, start = lf.Dense((5, 3, 1)), make_start((5, 3, 1), (2, 3), scale=0.5)
    step = 0.05 if rule == "constant" else RULES[rule](np.array([[0.02], [0.05]]))
    method = StochasticGradientDescent(step, batch_size, 17, [4, 0, 2**32 - 1], 0.01, [1.0, 0.5])
    arguments = {
        "method": method,
        "n_steps": 6,
        "record": lf.Record.every(2, observed(network, loss), direction(5)),
    }
    run = lf.train(network, loss, start, **arguments)
    expected = reference.train(network, loss, start, **arguments)
    assert_array_equal(run.status, expected.status)
    for name, array in parts(run).items():
        theirs = parts(expected)[name]
        tolerance = 1e-12 if name != "layer_alignment" else 1e-9
        assert_allclose(array, theirs, rtol=tolerance, atol=10 * tolerance, err_msg=name)


def test_the_recorded_loss_is_that_of_all_samples():
    for kind in ("logistic", "sphere"):
        loss = make_binary(kind, 4)
        run = lf.train(
            lf.Dense((4, 1)), loss, make_start((4, 1)), method=StochasticGradientDescent(0.1, 2),
            n_steps=5, record=lf.Record.every(1, ("loss", "product", "gradient_norm")),
        )  # fmt: skip
        assert_allclose(run.loss, loss.value(run.product), rtol=1e-13)
        slope = np.linalg.norm(loss.gradient(run.product)[:, 0], axis=-1)
        assert_allclose(run.gradient_norm, slope, rtol=1e-12)


@pytest.mark.parametrize("kind", ["logistic", "ball"])
def test_many_samples_are_as_good_as_the_loss(kind):
    """The mean step is the step on the loss itself: to six standard errors."""
    loss = make_binary(kind, 3, n=50)
    start = (np.broadcast_to([[0.3, -0.5, 0.8]], (400, 1, 3)),)
    arguments = {"n_steps": 1, "record": lf.Record.every(1, ("product",))}
    one = lf.train(
        lf.Dense((3, 1)), loss, start, method=StochasticGradientDescent(1.0, 100), **arguments
    )
    exact = lf.train(lf.Dense((3, 1)), loss, start, method=lf.GradientDescent(1.0), **arguments)
    steps = one.product[:, 1, 0] - exact.product[:, 1, 0]
    assert (np.abs(steps.mean(axis=0)) < 6 * steps.std(axis=0) / 20).all()
    assert (steps.std(axis=0) > 1e-3).all()


# --- statistics: fixed seeds, so that a probability of 1e-3 is one of the code, not of the day

ENOUGH = 1e-3


def enough_samples(name, dim, seed):
    """20000 samples times labels: half along the streams, half along the steps."""
    loss = lf.SphericalLogisticLoss(np.eye(dim)[0], make_law(name, dim))
    parts_of = [drawn(loss, 10_000, seed=seed)]
    parts_of += [drawn(loss, 100, seed=seed, step=1000 + k) for k in range(100)]
    return np.concatenate(parts_of), loss.law


@pytest.mark.parametrize(("name", "dim"), few(itertools.product(LAWS, [2, 3, 8]), 7))
def test_samples_have_their_law(name, dim):
    z, law = enough_samples(name, dim, seed=dim)
    assert (z[:, 0] > 0).all()  # labels are those of the direction
    norm = np.linalg.norm(z, axis=-1)
    if name == "gaussian":
        assert stats.kstest(norm, stats.chi(dim, scale=law.scale).cdf).pvalue > ENOUGH
    elif name == "sphere":
        assert_allclose(norm, law.radius, rtol=1e-14)
    elif name == "ball":
        assert stats.kstest((norm / law.radius) ** dim, "uniform").pvalue > ENOUGH
    else:
        which = np.abs(norm[:, None] - law.radii).argmin(axis=1)
        assert_allclose(norm, np.asarray(law.radii)[which], rtol=1e-14)
        counts = np.bincount(which, minlength=3)
        expected = 20_000 * np.asarray(law.probabilities)
        assert stats.chisquare(counts, expected).pvalue > ENOUGH
    # Directions are uniform on the half of the sphere before v, coordinate by coordinate.
    unit = z / norm[:, None]
    square = stats.beta(0.5, (dim - 1) / 2)
    for j in range(dim):
        assert stats.kstest(unit[:, j] ** 2, square.cdf).pvalue > ENOUGH
        positive = np.count_nonzero(unit[:, j] > 0)
        assert j == 0 or stats.binomtest(positive, 20_000).pvalue > ENOUGH
    # Norm and direction do not know of each other, nor neighbouring runs and steps.
    if name != "sphere":
        assert stats.spearmanr(norm, unit[:, 0]).pvalue > ENOUGH
    assert stats.spearmanr(z[:-1, 0], z[1:, 0]).pvalue > ENOUGH
    if name == "gaussian":
        assert stats.spearmanr(z[:, 0], np.abs(z[:, 1])).pvalue > ENOUGH


def test_angles_on_a_circle_are_uniform():
    z, _ = enough_samples("sphere", 2, seed=5)
    turn = np.arctan2(z[:, 1], z[:, 0]) / np.pi + 0.5
    assert stats.kstest(turn, "uniform").pvalue > ENOUGH


def test_rows_are_drawn_with_equal_probability():
    loss = lf.LogisticLoss(np.eye(13), np.ones(13))
    counts = np.round(drawn(loss, 50, seed=1, batch_size=1000) * 1000).astype(int)
    assert (counts.sum(axis=-1) == 1000).all()
    assert stats.chisquare(counts.sum(axis=0)).pvalue > ENOUGH
    spread = stats.chisquare(counts, axis=-1).statistic
    assert stats.kstest(spread, stats.chi2(12).cdf).pvalue > ENOUGH


# --- seeds and streams


@pytest.mark.parametrize("kind", ["logistic", "ball"])
def test_runs_with_the_same_stream_see_the_same_samples(kind):
    loss = make_binary(kind, 4)
    z = drawn(loss, 4, streams=[3, 8, 3, 0], batch_size=5)
    assert_array_equal(z[0], z[2])
    assert (z[0] != z[1]).any()
    assert (z[0] != z[3]).any()
    assert_array_equal(z, drawn(loss, 4, streams=[3, 8, 3, 0], batch_size=5))
    # By default runs are numbered.
    plain = drawn(loss, 9, batch_size=5)
    assert_array_equal(z, plain[[3, 8, 3, 0]])
    # Seeds, and each of their halves, and steps make others.
    for other in ({"seed": 1}, {"seed": 2**32}, {"step": 1}, {"step": 2**32}):
        assert (drawn(loss, 9, batch_size=5, **other) != plain).any(axis=-1).all()


def test_streams_are_numbered_in_c_order_and_broadcast():
    loss = make_binary("ball", 3)
    start = make_start((3, 1))
    shapes = {"n_steps": 3, "record": lf.Record.every(1, ("product",))}

    def train(runs, streams=None):
        method = StochasticGradientDescent(np.full(runs, 0.1), 5, 3, streams)
        return lf.train(lf.Dense((3, 1)), loss, start, method=method, **shapes)

    flat, square = train((6,)), train((2, 3))
    assert_array_equal(square.product.reshape(flat.product.shape), flat.product)
    shared = train((2, 3), [[7], [1]])
    assert_array_equal(shared.product[:, 0], shared.product[:, 2])
    assert (shared.product[0] != shared.product[1]).any()
    assert StochasticGradientDescent(0.1, 5, streams=[[7], [1]]).run_shape == (2, 1)
    assert train((), [[7], [1]]).run_shape == (2, 1)


def test_a_continued_run_goes_on_with_its_samples():
    loss = make_binary("mixture", 3)
    network, start = lf.Dense((3, 2, 1)), make_start((3, 2, 1), (4,))
    method = StochasticGradientDescent(0.1, 10, seed=5)
    whole = lf.train(network, loss, start, method=method, n_steps=12)
    half = lf.train(network, loss, start, method=method, n_steps=5)
    rest = lf.train(network, loss, half.final, method=method, n_steps=7)
    for a, b in zip(rest.final.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b)
    again = lf.train(network, loss, half.final.weights, method=method, n_steps=7)
    assert (again.final.weights[0] != whole.final.weights[0]).any()  # from step 0: other samples


def test_part_of_the_runs_keep_their_samples_by_their_streams():
    loss = make_binary("gaussian", 3)
    network, start = lf.Dense((3, 1)), make_start((3, 1), (20,))
    record = lf.Record.every(1, ("product", "loss"))
    whole = lf.train(
        network, loss, start, method=StochasticGradientDescent(0.1, 9), n_steps=4, record=record
    )
    part = StochasticGradientDescent(0.1, 9, streams=np.arange(7, 12))
    run = lf.train(network, loss, (start[0][7:12],), method=part, n_steps=4, record=record)
    assert_same(run, whole, slice(7, 12))


def test_float32_runs_see_rounded_samples():
    loss = make_binary("ball", 3)
    method = StochasticGradientDescent(0.1, 50)
    start = make_start((3, 2, 1))
    one = lf.train(lf.Dense((3, 2, 1)), loss, start, method=method, n_steps=10)
    two = lf.train(lf.Dense((3, 2, 1)), loss, start, method=method, n_steps=10, dtype=np.float32)
    for a, b in zip(one.final.weights, two.final.weights, strict=True):
        assert b.dtype == np.float32
        assert_allclose(b, a, atol=1e-5)


# --- what it is, and what is refused


def test_repr_shows_the_size_and_the_seed():
    method = StochasticGradientDescent(lf.StepRule.power(0.1, -0.5), 32, streams=[1, 2])
    assert repr(method) == (
        "StochasticGradientDescent(step_size=StepRule.power(0.1, -0.5), weight_decay=0, batch_size=32, seed=0)"
    )
    assert isinstance(method, lf.GradientDescent)


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"batch_size": -5}, ValueError, "batch_size must be >= 1, got -5"),
        ({"batch_size": 2**31 + 1}, ValueError, "batch_size must be <= 2147483648"),
        ({"batch_size": 1.0}, TypeError, "batch_size must be an integer, got float"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got bool"),
        ({"batch_size": None}, TypeError, "batch_size must be an integer"),
        ({"batch_size": [4]}, TypeError, "batch_size must be an integer"),
        ({"seed": -1}, ValueError, "seed must be >= 0, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be <= 18446744073709551615"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"streams": -1}, ValueError, "streams must be >= 0, got -1"),
        ({"streams": [0, 2**32]}, ValueError, r"streams must be < 2\*\*32, got 4294967296 at index \(1,\)"),
        ({"streams": 0.0}, TypeError, "streams must be integers, got dtype float64"),
        ({"streams": [True]}, TypeError, "streams must be integers, got dtype bool"),
        ({"streams": [0, 1], "step_size": [0.1] * 3}, ValueError, r"step_size \(3,\), streams \(2,\)"),
        ({"step_size": 0.0}, ValueError, "step_size must be > 0"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be >= 0"),
    ],
)  # fmt: skip
def test_refused(changes, exception, message):
    with pytest.raises(exception, match=message):
        StochasticGradientDescent(**{"step_size": 0.1, "batch_size": 5} | changes)


@pytest.mark.parametrize("engine", [lf.train, reference.train])
def test_moments_have_no_samples(engine):
    data = make_loss((3, 1))
    moments = lf.SquaredLoss(data.input_cov, data.cross_cov, data.output_power)
    with pytest.raises(ValueError, match=r"loss must have samples or a law to draw .*SquaredLoss"):
        engine(
            lf.Dense((3, 1)), moments, make_start((3, 1)), n_steps=1,
            method=StochasticGradientDescent(0.1, 5), record=lf.Record.every(1),
        )  # fmt: skip


def test_more_samples_than_the_generator_counts_are_refused():
    """A step has 2**32 blocks of random numbers."""
    loss = lf.SphericalLogisticLoss(np.ones(4), laws.Sphere(4))
    for size in (2**31, 2**30 + 1):
        with pytest.raises(ValueError, match="batch_size is out of range"):
            lf.train(
                lf.Dense((4, 1)), loss, make_start((4, 1)), n_steps=0,
                method=StochasticGradientDescent(0.1, size),
            )  # fmt: skip
    lf.train(
        lf.Dense((4, 1)), loss, make_start((4, 1)), n_steps=0,
        method=StochasticGradientDescent(0.1, 2**30 - 33),
    )  # fmt: skip


def test_one_sample_a_step_is_enough():
    loss = make_binary("gaussian", 2)
    run = lf.train(
        lf.Dense((2, 1)), loss, (np.zeros((1, 2)),), method=StochasticGradientDescent(0.05, 1, 3),
        n_steps=3000, record=lf.Record.at([3000], ("angle",)),
    )  # fmt: skip
    assert run.angle[0] < 0.3
