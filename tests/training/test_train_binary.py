"""Training on losses of one output: the core against the NumPy reference, late times, and the reduced dynamics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from binary_problems import (
    LAWS,
    LOSSES,
    RULES,
    SAMPLE_LOSSES,
    direction,
    make_binary,
    make_law,
    observed,
)
from drawn import draw_factors, draw_stop
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import crossed, make_start, parts, python

import linnet_fast as lf
from linnet_fast import laws, layers, reference
from linnet_fast.directional_convergence import margin_law, max_margin
from linnet_fast.directional_convergence.dynamics import reduced_descent, reduced_flow

N_SAMPLES = (1, 15, 16, 17, 255, 256, 257, 1000)
DIMS = (1, 3, 17, 70)


def assert_close(run, expected, tolerance=1e-12, decades=0):
    """Every array of two trainings, to a tolerance relative to its largest entry.

    Singular vectors, and the margins and angles of what is nearly zero, are known less well.
    """
    arrays = parts(expected)
    assert_array_equal(run.status, expected.status)
    assert_array_equal(run.stopped_at, expected.stopped_at)
    assert_allclose(run.time, expected.time, rtol=tolerance)
    for name, array in parts(run).items():
        assert array.shape == arrays[name].shape, name
        assert array.dtype == arrays[name].dtype, name
        with np.errstate(over="ignore"):
            own = tolerance * (1e4 if name == "layer_alignment" else 1)
        # Differences of products of weights, which are of size 1.
        scale = np.nanmax(np.abs(arrays[name]), initial=0.0)
        scale += 10.0 if name in ("imbalance", "gradient_norm", "margin") else 0.0
        assert_allclose(array, arrays[name], rtol=own, atol=own * scale * 10**decades, err_msg=name)


def both(network, loss, start, method, n_steps=8, stop=None, every=1):
    """Train by the core and by the reference, and record everything there is."""
    record = lf.Record.every(every, observed(network, loss), direction=direction(network.n_inputs))
    arguments = {"method": method, "n_steps": n_steps, "record": record, "stop": stop}
    return (
        lf.train(network, loss, start, **arguments),
        reference.train(network, loss, start, **arguments),
    )


# --- core against reference


@crossed(("n", N_SAMPLES), ("dim", DIMS), ("kind", SAMPLE_LOSSES), n=16)
def test_every_number_of_samples_and_inputs(kind, dim, n):
    """One run, and so many that they share lanes."""
    loss = make_binary(kind, dim, n=n)
    for widths in ((dim, 1), (dim, 3, 1)):
        for runs in ((), (11,)):
            start = make_start(widths, runs, scale=0.5)
            assert_close(*both(lf.Dense(widths), loss, start, lf.GradientDescent(0.2), 4))


@crossed(("dim", [2, 3, 17, 70]), ("kind", LAWS))
def test_every_law_and_number_of_inputs(kind, dim):
    for noise in (0.0, [0.0, 0.2, 0.5] * 4):
        loss = make_binary(kind, dim, label_noise=noise)
        for widths in ((dim, 1), (dim, 3, 1)):
            start = make_start(widths, (12,), scale=0.5)
            assert_close(*both(lf.Dense(widths), loss, start, lf.GradientDescent(0.2), 4))


WIDTHS = [
    (5, 1),
    (5, 1, 1),
    (7, 13, 1),
    (6, 2, 5, 1),
    (3, 11, 7, 1),
    (1, 4, 1),
    (17, 16, 1),
    (40, 40, 1),
    (33, 5, 2, 7, 1),
    (4, 8, 8, 8, 1),
    (2, 31, 1, 3, 1),
]


@crossed(("kind", LOSSES), ("widths", WIDTHS), n=22)
def test_every_depth_and_width(widths, kind):
    if kind in LAWS and widths[0] == 1:
        widths = (2, *widths[1:])
    loss = make_binary(kind, widths[0], n=23)
    method = lf.GradientDescent(0.1, 0.05, 1.0 + np.arange(len(widths) - 1) / 2)
    assert_close(*both(lf.Dense(widths), loss, make_start(widths, (9,), scale=0.6), method))


@st.composite
def trainings(draw):
    """Network, loss, start, method and stop rule, with run axes on any of them."""
    kind = draw(st.sampled_from(LOSSES))
    hidden = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 33])
    dim = draw(
        st.sampled_from([1, 2, 3, 5, 17, 40] if kind in SAMPLE_LOSSES else [2, 3, 5, 17, 40])
    )
    widths = (dim, *draw(st.lists(hidden, max_size=3)), 1)
    runs = draw(st.sampled_from([(), (1,), (3,), (2, 3), (9,), (4, 5)]))
    some = st.sampled_from([(), runs])
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    noise = draw(st.sampled_from([0.0, 0.1, "own"]))
    loss = make_binary(
        kind,
        dim,
        draw(some),
        n=draw(st.sampled_from([1, 2, 7, 16, 33, 260])),
        seed=seed,
        label_noise=rng.choice([0.0, 0.1, 0.5], runs) if noise == "own" else noise,
    )
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    start = make_start(
        widths, runs, scale=draw(st.sampled_from([0.3, 0.8])), dtype=dtype, seed=seed
    )
    scale = 0.05 * rng.uniform(0.5, 1, draw(some))
    rule = draw(st.sampled_from(["constant", *RULES]))
    method = lf.GradientDescent(
        scale if rule == "constant" else RULES[rule](scale),
        *draw_factors(draw, rng, runs, len(widths) - 1),
    )
    return lf.Dense(widths), loss, start, method, draw_stop(draw, rng, start, loss)


@settings(max_examples=150, deadline=None)
@given(trainings(), st.integers(1, 2))
def test_core_equals_reference(training, n_threads):
    network, loss, start, method, stop = training
    record = lf.Record.every(2, observed(network, loss), direction=direction(network.n_inputs))
    arguments = {"method": method, "n_steps": 8, "record": record, "stop": stop}
    run = lf.train(network, loss, start, n_threads=n_threads, **arguments)
    expected = reference.train(network, loss, start, **arguments)
    # Where the gradient nearly vanishes, what is divided by its norm is known the less.
    if method.rule is not None and method.rule.kind == "gradient_normalized":
        assume((expected.final.elapsed < 10).all())
    if start[0].dtype == np.float64:
        # 1e-11: eight steps of chains of up to four layers of entries that are added up in another order.
        assert_close(run, expected, 1e-11, decades=1)
        return
    assert_array_equal(run.status, expected.status)
    assert_allclose(run.time, expected.time, rtol=1e-4)
    for name in ("loss", "norm", "product"):
        ours, theirs = run.observables[name], expected.observables[name]
        assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * max(1, np.nanmax(np.abs(theirs))))
    assert run.final.weights[0].dtype == np.float32


CHAINS = [
    lf.Diagonal(5, 3),
    lf.Convolution(6, 3, 2),
    lf.Residual(5, 2),
    lf.Grouped([(0, 1), (2, 3, 4)], 2, 2),
]


def with_one_output(network):
    """Put a dense layer of one output on top."""
    top = layers.Dense(network.n_outputs, 1)
    return lf.Chain([*network.layers, top], [*network.share, len(network.shapes)])


@crossed(
    ("kind", ["logistic", "exponential", "gaussian"]), ("network", CHAINS), ("drawn", [None, 9])
)
def test_other_layers_learn_with_one_output(network, kind, drawn):
    network = with_one_output(network) if network.n_outputs > 1 else network
    loss = make_binary(kind, network.n_inputs, n=23)
    start = lf.initialization.gaussian(network, scale=0.5, rng=0, batch_shape=(9,))
    step = lf.StepRule.norm_proportional(0.1)
    method = lf.GradientDescent(step, 0.02)
    if drawn is not None:
        method = lf.StochasticGradientDescent(step, drawn, seed=3, weight_decay=0.02)
    assert_close(*both(network, loss, start, method))


def test_layers_with_a_multiplier_of_zero_stay():
    loss = make_binary("logistic", 4)
    start = make_start((4, 3, 1), (3,))
    method = lf.GradientDescent(0.3, 0.1, [0.0, 1.0])
    run, expected = both(lf.Dense((4, 3, 1)), loss, start, method)
    assert_close(run, expected)
    assert_array_equal(run.final.weights[0], start[0])
    assert (run.final.weights[1] != start[1]).any()


@pytest.mark.parametrize("kind", LOSSES)
def test_stop_rules_stop_where_the_reference_stops(kind):
    """By the loss and by the norm of the gradient, on multiples of check_every."""
    loss = make_binary(kind, 4)
    network, start = lf.Dense((4, 3, 1)), make_start((4, 3, 1), (12,), scale=0.5)
    first = reference.observe("loss", start, loss)
    slope = reference.observe("gradient_norm", start, loss)
    number = np.arange(12)
    stop = lf.Stop(
        loss=np.where(number % 3 == 0, 0.9 * first, 0.0),
        gradient_norm=np.where(number % 3 == 1, 0.8 * slope, 0.0),
        check_every=5,
    )
    run, expected = both(network, loss, start, lf.GradientDescent(0.3), 200, stop, every=25)
    assert_array_equal(run.status, expected.status)
    assert_array_equal(run.stopped_at, expected.stopped_at)
    assert (run.status == lf.Status.CONVERGED).sum() >= 4
    assert (run.stopped_at[run.status == lf.Status.CONVERGED] % 5 == 0).all()
    assert (run.status[2::3] == lf.Status.COMPLETED).all()


@crossed(("drawn", [None, 20]), ("kind", ["logistic", "exponential", "gaussian", "mixture"]))
def test_divergence_is_that_of_the_reference(kind, drawn):
    """Statuses and steps of runs that leave, by steps that are too long or grow too fast."""
    network, start = lf.Dense((3, 2, 1)), make_start((3, 2, 1), (6,))
    loss = make_binary(kind, 3)
    for step in (
        [0.05, 2.0, 1e40, 1e3, 0.05, 1e5],
        lf.StepRule.geometric(0.05, [1.0, 2.0, 4.0, 1e9, 1.0, 1e3]),
    ):
        method = lf.GradientDescent(step, 0.1)
        if drawn is not None:
            method = lf.StochasticGradientDescent(step, drawn, weight_decay=0.1)
        run, expected = both(network, loss, start, method, 30)
        assert set(run.status.tolist()) == {0, 2}
        assert_array_equal(run.status, expected.status)
        assert_array_equal(run.stopped_at, expected.stopped_at)
        # The core squares norms, which the loss itself does not.
        held = ~(expected.loss > 1e150)
        assert_array_equal(np.isnan(run.loss)[held], np.isnan(expected.loss)[held])
        calm = [0, 4]
        assert_allclose(run.loss[calm], expected.loss[calm], rtol=1e-10)
        time, own = (np.broadcast_to(x.time, run.loss.shape)[calm] for x in (expected, run))
        assert_allclose(own, time, rtol=1e-12)
        if run.final.elapsed is not None:
            assert_allclose(run.final.elapsed[calm], expected.final.elapsed[calm], rtol=1e-12)


# --- flow


@crossed(("kind", LOSSES), ("widths", [(5, 1), (3, 5, 2, 1)]))
def test_flow_equals_the_reference(widths, kind):
    """Both integrate at 1e-11; times and log(1 + times) are compared, and with each other."""
    network = lf.Dense(widths)
    loss = make_binary(kind, widths[0], n=19, label_noise=[0.0, 0.2])
    start = make_start(widths, (2,), scale=0.6)
    times = np.array([0.0, 0.3, 1.5, 4.0])
    runs = {}
    for log_time in (False, True):
        at = np.log1p(times) if log_time else times
        arguments = {
            "method": lf.GradientFlow(1e-11, log_time=log_time, weight_decay=[0.0, 0.1]),
            "until": at[-1],
            "record": lf.Record.at_times(at, observed(network, loss), direction(widths[0])),
        }
        run = lf.train(network, loss, start, **arguments)
        assert_close(run, reference.train(network, loss, start, **arguments), 1e-9)
        runs[log_time] = run
    for name in ("loss", "product", "angle", "norm", "gradient_norm"):
        one, two = runs[False].observables[name], runs[True].observables[name]
        assert_allclose(two, one, rtol=1e-9, atol=1e-9 * np.abs(one).max(), err_msg=name)


@pytest.mark.parametrize("kind", LOSSES)
def test_flow_of_one_run_is_that_in_a_batch(kind):
    loss = make_binary(kind, 4, n=19)
    start = make_start((4, 3, 1), (20,), scale=0.6)
    network = lf.Dense((4, 3, 1))
    for log_time in (False, True):
        arguments = {
            "method": lf.GradientFlow(1e-9, log_time=log_time),
            "until": 3.0,
            "record": lf.Record.geomspace(5, observed(network, loss), direction(4)),
        }
        whole = lf.train(network, loss, start, n_threads=2, **arguments)
        for i in (0, 7, 19):
            alone = lf.train(network, loss, [w[i] for w in start], **arguments)
            for name, array in parts(alone).items():
                assert_array_equal(array, parts(whole)[name][i], err_msg=name)


@pytest.mark.parametrize("log_time", [False, True])
def test_stop_rules_end_a_flow(log_time):
    """At the step of the integrator that meets them: not before, and as the bits of a run alone."""
    loss = make_binary("logistic", 4, n=19, separable=True)
    network, start = lf.Dense((4, 3, 1)), make_start((4, 3, 1), (9,), scale=0.6)
    limits = np.where(np.arange(9) % 3 == 0, 0.4, 0.0)
    arguments = {
        "method": lf.GradientFlow(1e-9, log_time=log_time),
        "until": np.log1p(20.0) if log_time else 20.0,
        "record": lf.Record.geomspace(3, ("loss",)),
    }
    run = lf.train(network, loss, start, stop=lf.Stop(loss=limits), **arguments)
    free = lf.train(network, loss, start, **arguments)
    assert_array_equal(run.status, limits > 0)
    assert (run.stopped_at[limits > 0] < arguments["until"]).all()
    final = loss.value(network.product(run.final.weights))
    assert ((final <= 0.4) == ((limits > 0) | (free.loss[:, -1] <= 0.4))).all()
    assert_array_equal(run.loss[limits == 0], free.loss[limits == 0])
    alone = lf.train(network, loss, [w[3] for w in start], stop=lf.Stop(loss=0.4), **arguments)
    assert_array_equal(alone.stopped_at, run.stopped_at[3])
    for a, b in zip(alone.final.weights, run.final.weights, strict=True):
        assert_array_equal(a, b[3])


def test_a_continued_flow_in_logarithmic_time_goes_on():
    loss = make_binary("logistic", 4, n=19)
    network, start = lf.Dense((4, 3, 1)), make_start((4, 3, 1), (3,))
    method = lf.GradientFlow(1e-11, log_time=True)
    record = lf.Record.at_times([4.0], ("product",))
    whole = lf.train(network, loss, start, method=method, until=4.0, record=record)
    half = lf.train(network, loss, start, method=method, until=1.7)
    rest = lf.train(network, loss, half.final, method=method, until=4.0, record=record)
    assert_allclose(rest.product, whole.product, rtol=1e-9, atol=1e-10)
    assert rest.final.time == 4.0


SEPARABLE_KINDS = [("logistic", 1), ("exponential", 1), ("logistic", 2), ("exponential", 3)]


@pytest.mark.parametrize(("kind", "n_layers"), SEPARABLE_KINDS)
def test_the_late_flow_goes_to_the_maximum_margin(kind, n_layers):
    """At ln t = 1000: |w| ~ ln t / gamma, and the direction approaches the best one as (ln t)^(-1 / N).

    With the gradient's part across the best direction -angle times that along it, as a single layer has it,
    d angle / d ln |w| = -angle / N for N balanced layers.
    """
    rng = np.random.default_rng(0)
    y = rng.choice([-1.0, 1.0], 12)
    x = y[:, None] * ([1.0, 0.5, -1.0] + 0.4 * rng.standard_normal((12, 3)))
    loss = lf.LogisticLoss(x, y) if kind == "logistic" else lf.ExponentialLoss(x, y)
    best = max_margin(x, y)
    widths = (3, *(2,) * (n_layers - 1), 1)
    network = lf.Dense(widths)
    times = np.array([250.0, 500.0, 1000.0])
    run = lf.train(
        network, loss, make_start(widths, scale=0.5, seed=1),
        method=lf.GradientFlow(1e-9, log_time=True), until=1000.0,
        record=lf.Record.at_times(times, ("norm", "angle", "margin", "loss"), best.direction),
    )  # fmt: skip
    assert run.status == lf.Status.COMPLETED
    law = margin_law(best.margin, n_layers)
    assert_allclose(run.norm, law.norm(log_time=times), rtol=0.05)
    assert_allclose(run.norm[-1] / law.norm(log_time=1000.0), 1, rtol=0.02)
    assert run.angle[-1] < 0.02 * 4 ** (n_layers - 1)
    assert_allclose(run.angle[1:] / run.angle[:-1], 0.5 ** (1 / n_layers), atol=0.04)
    assert (np.diff(run.margin) > 0).all()
    assert_allclose(run.margin[-1], best.margin, rtol=2e-3 * 4 ** (n_layers - 1))
    assert (run.margin <= best.margin * (1 + 1e-12)).all()
    if kind == "exponential" and n_layers == 1:
        # ln of the loss at ln t = 250 and 500, which floating-point numbers can still hold.
        assert_allclose(np.log(run.loss[:2]), law.log_loss(log_time=times[:2]), atol=1.0)


# --- reduced dynamics


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize(
    "widths", [(3, 1), (4, 3, 1), (3, 5, 2, 1), (2, 1, 7, 3, 1), (5, 2, 2, 2, 3, 1), (3,) * 6 + (1,)], ids=str
)  # fmt: skip
class TestReduced:
    """Balanced layers of rank one follow two numbers, whatever the widths."""

    def start(self, widths, norms, seed=0):
        """Layers W_1 = a u_2 w^T, W_j = a u_(j + 1) u_j^T of unit vectors, with |product| = norm."""
        rng = np.random.default_rng(seed)
        units = [x / np.linalg.norm(x) for x in map(rng.standard_normal, widths)]
        units[-1][:] = 1.0
        size = norms[:, None, None] ** (1 / (len(widths) - 1))
        weights = tuple(size * np.outer(a, b) for b, a in pairwise(units))
        return weights, units[0]

    def test_flow(self, widths, kind):
        n_layers = len(widths) - 1
        norms = np.array([0.3, 1.0, 2.5])
        start, w = self.start(widths, norms)
        v = np.cos(np.arange(widths[0]) * 1.3)
        loss = lf.SphericalLogisticLoss(v, make_law(kind, widths[0]), [0.0, 0.1, 0.2])
        times = np.array([0.0, 0.5, 2.0, 4.0])
        record = lf.Record.at_times(times, ("norm", "log_tan_half_angle", "loss"))
        run = lf.train(
            lf.Dense(widths), loss, start, method=lf.GradientFlow(1e-11), until=4.0, record=record
        )
        angle = np.arccos(loss.direction @ w)
        reduced = reduced_flow(
            loss.law, n_layers, angle=angle, norm=norms, time=times, label_noise=loss.label_noise
        )
        assert_allclose(run.norm, reduced.norm, rtol=1e-8)
        # Angles are known to some 1e-13 of a right one.
        error = 1e-8 + 1e-13 / np.sin(np.minimum(reduced.angle, np.pi / 2))
        assert (np.abs(run.log_tan_half_angle - reduced.log_tan_half_angle) < error).all()
        assert_allclose(run.loss, reduced.loss, rtol=1e-8)

    def test_descent(self, widths, kind):
        n_layers = len(widths) - 1
        norms = np.array([0.3, 1.0, 2.5])
        start, w = self.start(widths, norms, seed=1)
        v = np.sin(np.arange(widths[0]) * 1.3 + 1)
        loss = lf.SphericalLogisticLoss(v, make_law(kind, widths[0]), [0.0, 0.1, 0.2])
        angle = np.arccos(loss.direction @ w)
        record = lf.Record.every(5, ("norm", "angle", "loss"))
        for rule in (
            0.1,
            lf.StepRule.power(0.1, 0.25),
            lf.StepRule.norm_proportional([0.2, 0.1, 0.1]),
        ):
            run = lf.train(
                lf.Dense(widths), loss, start, method=lf.GradientDescent(rule), n_steps=20,
                record=record,
            )  # fmt: skip
            reduced = reduced_descent(
                loss.law, n_layers, angle=angle, norm=norms, step_size=rule, steps=run.steps,
                label_noise=loss.label_noise,
            )  # fmt: skip
            assert_allclose(run.norm, reduced.norm, rtol=1e-12)
            assert_allclose(run.angle, reduced.angle, atol=1e-12)
            assert_allclose(run.loss, reduced.loss, rtol=1e-12)
            assert_allclose(np.broadcast_to(run.time, (3, 5)), reduced.time, rtol=1e-12, atol=1e-15)


# --- what does not go together


def test_observables_need_what_they_are_of():
    loss = make_binary("logistic", 3)
    by_law = lf.SphericalLogisticLoss(np.ones(3), laws.Sphere(3))
    network = lf.Dense((3, 1))
    start = make_start((3, 1))

    def train(loss=loss, network=network, start=start, names=("loss",), towards=None):
        record = lf.Record.every(1, names, towards)
        return lf.train(
            network, loss, start, method=lf.GradientDescent(0.1), n_steps=1, record=record
        )

    with pytest.raises(ValueError, match="angles need a direction, and a LogisticLoss has none"):
        train(names=("angle",))
    with pytest.raises(ValueError, match="direction must have 3 entries, got 2"):
        train(names=("angle",), towards=[1.0, 0.0])
    with pytest.raises(
        ValueError, match=r"margin is of samples .* a SphericalLogisticLoss has none"
    ):
        train(by_law, names=("margin",))
    wide = lf.Dense((3, 2))
    squared = lf.SquaredLoss(np.eye(3), np.zeros((2, 3)), 1.0)
    with pytest.raises(ValueError, match="angle is of networks with one output, got 2"):
        train(squared, wide, make_start((3, 2)), ("angle",), [1.0, 0, 0])
    with pytest.raises(ValueError, match=r"margin is of samples .* a SquaredLoss has none"):
        train(squared, wide, make_start((3, 2)), ("margin",))
    diagonal = with_one_output(lf.Diagonal(3, 2))
    with pytest.raises(ValueError, match="layer_alignment is of networks of dense layers"):
        train(loss, diagonal, lf.initialization.gaussian(diagonal, rng=0), ("layer_alignment",))
    for name in ("layer_singular_ratio", "norm", "margin"):
        assert np.isfinite(getattr(train(names=(name,)), name)).all()


def test_one_layer_under_a_law_takes_memory_in_proportion_to_its_inputs():
    """6,000 inputs are 48 kB of weights; an array of inputs by inputs would be 288 MB."""
    done = python(
        """
import resource, sys
import numpy as np, linnet_fast as lf
names = ("loss", "norm", "log_tan_half_angle", "singular_values", "layer_norms", "gradient_norm")
def run(inputs):
    loss = lf.SphericalLogisticLoss(np.ones(inputs), lf.laws.Sphere(inputs))
    network = lf.Dense((inputs, 1))
    start = lf.initialization.balanced(network, scale=0.1, rng=0)
    for method, length in (
        (lf.GradientDescent(0.1), {"n_steps": 20}),
        (lf.StochasticGradientDescent(0.1, batch_size=4), {"n_steps": 20}),
        (lf.GradientFlow(), {"until": 2.0}),
    ):
        last = [2.0] if "until" in length else [20]
        at = lf.Record.at_times if "until" in length else lf.Record.at
        lf.train(network, loss, start, method=method, record=at(last, names), n_threads=1, **length)
    loss.value(start[0]), loss.gradient(start[0])
run(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(6000)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""
    )
    assert int(done.stdout) < 60e6
