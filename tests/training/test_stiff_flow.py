"""Flows that are stiff: another method, the same answers as SciPy's, far fewer steps, the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from binary_problems import make_binary
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast import reference

# Of a 2 x 2 matrix all but one entry is known: the loss falls for ever, ever more slowly.
GAP = lf.MatrixCompletionLoss([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
DEEP = lf.Dense((2, 2, 2, 2))
SMALL = tuple(1e-2 ** (1 / 3) * np.eye(2) for _ in range(3))
TIMES = np.array([9.0, 900.0, 3e4, 3e5])  # the loss is a mean of three: 3 times the time of a sum
NAMES = ("loss", "product", "singular_values")


# Entries (0, 0), (0, 1) and (1, 1) then: SciPy's Radau at rtol 1e-10, atol 1e-13 from the slope written
# by hand; the first three also by 307,422 steps of the explicit method at rtol 1e-12.
EXACT = np.array(
    [
        [0.09658404769, 0.09221076881, 0.09241376579],
        [17.9854996657, 0.9969540430, 0.0552834225],
        [68.8268537820, 0.9997891234, 0.0145231550],
        [163.492493322, 0.9999625956, 0.0061160322],
    ]
)


@pytest.mark.parametrize("log_time", [False, True])
def test_a_completion_that_never_ends(log_time):
    method = lf.GradientFlow(log_time=log_time)
    at = method.own_time(TIMES)
    for kind in ("auto", "stiff"):
        run = lf.train(
            DEEP, GAP, SMALL, method=lf.GradientFlow(method=kind, log_time=log_time), until=at[-1],
            record=lf.Record.at_times(at, NAMES),
        )  # fmt: skip
        assert run.n_steps < 6000
        assert run.status == lf.Status.COMPLETED
        assert_allclose(run.product[:, [0, 0, 1], [0, 1, 1]], EXACT, rtol=5e-5)
        assert_allclose(run.product[1:, [0, 0, 1], [0, 1, 1]], EXACT[1:], rtol=3e-6)
        # As is known of the loss that is a sum, at a third of the time.
        assert_allclose(run.product[1, 0, 0], 17.985, rtol=1e-4)
        assert_allclose(run.singular_values[1, 1] / run.singular_values[1, 0], 1.18e-6, rtol=5e-3)
        assert_allclose(3 * run.loss[1], 1.54e-3, rtol=5e-3)


def runs_of_all_kinds():
    """Eleven runs: of scales at which they are stiff, and of such at which they are not."""
    scales = np.geomspace(0.3, 2.0, 11)
    start = tuple(scales[:, None, None] * w for w in make_start((2, 2, 2, 2), seed=3))
    decays = np.where(np.arange(11) % 3 == 0, 0.01, 0.0)
    return start, decays


@pytest.mark.parametrize("kind", ["auto", "stiff"])
@pytest.mark.parametrize("loss", [GAP, make_binary("logistic", 2, n=12)])
def test_bits_are_those_of_the_run_alone(kind, loss):
    start, decays = runs_of_all_kinds()
    network = lf.Dense((2, 2, 2, loss.n_outputs))
    start = (*start[:2], start[2][:, : loss.n_outputs])
    rtol = np.where(np.arange(11) % 2 == 0, 1e-5, 1e-7)
    record = lf.Record.at_times([0.0, 10.0, 1e3, 3e3], ("loss", "product"))

    def train(which=slice(None), n_threads=1):
        method = lf.GradientFlow(rtol[which], method=kind, weight_decay=decays[which])
        weights = tuple(w[which] for w in start)
        return lf.train(
            network, loss, weights, method=method, until=3e3, record=record, n_threads=n_threads
        )

    run, two = train(), train(n_threads=2)
    for name in ("loss", "product", "n_steps", "stopped_at"):
        assert_array_equal(getattr(run, name), getattr(two, name))
    for i in range(11):
        alone = train(i)
        assert_array_equal(run.product[i], alone.product)
        assert run.n_steps[i] == alone.n_steps
    exact = lf.train(
        network, loss, start, method=lf.GradientFlow(1e-10, weight_decay=decays, max_steps=10**6),
        until=3e3, record=record,
    )  # fmt: skip
    assert_allclose(run.product, exact.product, rtol=2e-3, atol=2e-3)
    assert_allclose(run.product[1::2], exact.product[1::2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["auto", "stiff"])
def test_a_run_that_begins_later_changes_no_other(kind):
    """More runs than are trained at once: the next begins where another ended, amid its neighbours."""
    start = tuple(np.geomspace(0.1, 0.4, 24)[:, None, None] * np.eye(2) for _ in range(3))

    def train(which, n_threads=1):
        method = lf.GradientFlow(method=kind)
        return lf.train(
            DEEP, GAP, [w[which] for w in start], method=method, until=3e4, n_threads=n_threads
        )

    alone = [train(i) for i in range(24)]
    for n_threads in (1, 2):
        run = train(slice(None), n_threads)
        assert_array_equal(run.n_steps, [one.n_steps for one in alone])
        for layer in range(3):
            ends = [one.final.weights[layer] for one in alone]
            assert_array_equal(run.final.weights[layer], ends)


def test_auto_has_the_bits_of_explicit_where_nothing_is_stiff():
    network, loss = lf.Dense((3, 4, 2)), make_loss((3, 4, 2))
    start = make_start((3, 4, 2), (9,))
    record = lf.Record.at_times([0.0, 1.0, 5.0], ("loss", "weights"))
    runs = [
        lf.train(
            network, loss, start, method=lf.GradientFlow(method=kind), until=5.0, record=record
        )
        for kind in ("explicit", "auto")
    ]
    assert_array_equal(runs[0].loss, runs[1].loss)
    assert_array_equal(runs[0].n_steps, runs[1].n_steps)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8, 1e-10])
def test_errors_are_those_asked_for(rtol):
    """On the way and between steps, which the records fall into."""
    network, loss = lf.Dense((3, 4, 2)), make_loss((3, 4, 2))
    start = make_start((3, 4, 2), (3,))
    record = lf.Record.at_times(np.linspace(0.1, 6.0, 40), ("product",))
    run, exact = (
        lf.train(network, loss, start, method=method, until=6.0, record=record)
        for method in (lf.GradientFlow(rtol, method="stiff"), lf.GradientFlow(1e-13))
    )
    error = np.abs(run.product - exact.product).max()
    assert error < 60 * rtol ** (2 / 3)  # of order 2, controlled by the step
    assert error > 0


@pytest.mark.parametrize("seed", [0, 121, 153])
def test_a_mode_that_escapes_late_from_a_small_start(seed):
    """Stiff all the while, by the modes before: growth is that of the method of high order.

    With the two later seeds the fast direction lies across what stiffness had been measured with.
    """
    loss = lf.SquaredLoss(np.eye(2), np.diag([400.0, 0.1]), 160000.01)
    network = lf.Dense((2, 2, 2))
    start = lf.initialization.aligned(network, loss, 1e-7, rng=seed)
    record = lf.Record.at_times(np.linspace(0, 160, 81), ("singular_values",))
    explicit, auto = (
        lf.train(
            network, loss, start, method=lf.GradientFlow(method=kind), until=160.0, record=record
        )
        for kind in ("explicit", "auto")
    )
    assert auto.n_steps < 0.4 * explicit.n_steps
    small = explicit.singular_values[:, 1]
    assert small[10] < 1e-5
    assert small[-1] > 0.09
    assert_allclose(auto.singular_values[:, 1], small, rtol=1e-2)


def test_stop_rules_and_steps_that_run_out():
    method = lf.GradientFlow(method="auto", max_steps=1200)
    stop = lf.Stop(loss=1e-5)
    first = lf.train(DEEP, GAP, SMALL, method=method, until=1e9, stop=stop)
    assert first.status == lf.Status.EXHAUSTED
    assert first.n_steps == 1200
    method = lf.GradientFlow(method="auto")
    later = lf.train(DEEP, GAP, first.final, method=method, until=1e9, stop=stop)
    assert later.status == lf.Status.CONVERGED
    assert first.stopped_at < later.stopped_at < 1e9
    at_end = lf.observe(DEEP, GAP, later.final.weights, ("loss",))["loss"]
    assert 9e-6 < at_end <= 1e-5


def test_the_reference_takes_an_implicit_method():
    record = lf.Record.at_times([2.0, 6.0], NAMES)
    for kind in ("auto", "stiff"):
        arguments = {"method": lf.GradientFlow(1e-7, method=kind), "until": 6.0, "record": record}
        ours = lf.train(DEEP, GAP, SMALL, **arguments)
        theirs = reference.train(DEEP, GAP, SMALL, **arguments)
        assert_allclose(ours.loss, theirs.loss, rtol=1e-4)


def test_angles_go_by_the_other_method_or_not_at_all():
    loss = make_binary("gaussian", 3)
    network, start = lf.Dense((3, 2, 1)), make_start((3, 2, 1))
    record = lf.Record.at_times([0.0, 5.0], ("angle",))
    arguments = {"until": 5.0, "record": record}
    auto = lf.train(network, loss, start, method=lf.GradientFlow(method="auto"), **arguments)
    explicit = lf.train(network, loss, start, method=lf.GradientFlow(), **arguments)
    assert_array_equal(auto.angle, explicit.angle)
    with pytest.raises(ValueError, match="method must be 'explicit' or 'auto' where angles are"):
        lf.train(network, loss, start, method=lf.GradientFlow(method="stiff"), **arguments)
    with pytest.raises(
        ValueError, match="method must be one of explicit, auto, stiff; got 'implicit'"
    ):
        lf.GradientFlow(method="implicit")
    assert (
        repr(lf.GradientFlow(method="auto"))
        == "GradientFlow(rtol=1e-08, weight_decay=0, method=auto)"
    )
