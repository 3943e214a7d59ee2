"""What train() promises its users: axes, records, observables, stop rules, continuing, progress."""

from __future__ import annotations

import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, assert_same, make_loss, make_start, parts, python

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.records.observables import OBSERVABLES

WIDTHS = (4, 3, 5)
NETWORK = lf.Dense(WIDTHS)
GENTLE = lf.GradientDescent(0.05)


def train(start=None, *, loss=None, method=GENTLE, n_steps=20, widths=WIDTHS, **options):
    loss = make_loss(widths) if loss is None else loss
    start = make_start(widths) if start is None else start
    return lf.train(lf.Dense(widths), loss, start, method=method, n_steps=n_steps, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("runs", [(), (1,), (5,), (2, 3), (3, 1, 4)])
def test_results_have_run_axes_then_records(runs, dtype):
    record = lf.Record.every(5, observables=EVERYTHING)
    run = train(make_start(WIDTHS, runs, dtype=dtype), record=record)
    assert run.run_shape == runs
    assert_array_equal(run.steps, [0, 5, 10, 15, 20])
    for name in EVERYTHING:
        shape = OBSERVABLES[name].record_shape
        if name == "weights":
            assert [w.shape for w in run.weights] == [(*runs, 5, *s) for s in NETWORK.shapes]
            assert {w.dtype for w in run.weights} == {np.dtype(dtype)}
        else:
            assert getattr(run, name).shape == (*runs, 5, *shape(NETWORK))
            assert getattr(run, name).dtype == np.float64
    assert [w.shape for w in run.final.weights] == [(*runs, *s) for s in NETWORK.shapes]
    assert {w.dtype for w in run.final.weights} == {np.dtype(dtype)}
    assert run.status.dtype == np.int8
    assert run.stopped_at.dtype == np.int64
    assert (run.status == lf.Status.COMPLETED).all()
    assert (run.stopped_at == 20).all()
    assert run.final.step == 20


def test_dtype_converts_the_start():
    start = make_start(WIDTHS)
    single = [w.astype(np.float32) for w in start]
    assert_same(train(start, dtype=np.float32), train(single))
    assert train(single, dtype=np.float64).final.weights[0].dtype == np.float64
    mixed = (start[0], single[1])
    assert train(mixed).final.weights[0].dtype == np.float64


def test_start_may_be_lists_and_integers_and_is_not_changed():
    start = ([[1, 0], [0, 1]],)
    loss = lf.SquaredLoss(np.eye(2), np.zeros((2, 2)), 0)
    run = train(start, loss=loss, widths=(2, 2), method=lf.GradientDescent(0.5), n_steps=1)
    assert_array_equal(run.final.weights[0], np.eye(2) / 2)
    weights = make_start(WIDTHS, (3,))
    before = [w.copy() for w in weights]
    train(weights)
    for w, old in zip(weights, before, strict=True):
        assert_array_equal(w, old)


def test_run_axes_of_all_arguments_broadcast():
    """Axes of length 1, absent axes and full axes mix; each run equals that run alone."""
    runs = (2, 3, 2)
    start = (make_start(WIDTHS, (3, 1))[0], make_start(WIDTHS, (2, 1, 1))[1])
    data = make_loss(WIDTHS, (2,))
    loss = lf.SquaredLoss(
        data.input_cov, make_loss(WIDTHS).cross_cov, data.output_power[:, None, None]
    )
    method = lf.GradientDescent(
        np.array([[0.02], [0.03], [0.04]]),
        weight_decay=np.array([0.0, 0.1]),
        layer_multipliers=np.ones((2, 1, 1, 2)) * [[[[1.0, 0.5]]], [[[0.0, 2.0]]]],
    )
    stop = lf.Stop(loss=np.array([0.0, 1e9])[:, None, None], check_every=10)
    record = lf.Record.every(5, observables=EVERYTHING)
    together = train(start, loss=loss, method=method, stop=stop, record=record)
    assert together.run_shape == runs
    full = {
        name: np.broadcast_to(array, (*runs, *array.shape[array.ndim - inner :]))
        for name, array, inner in [
            ("w0", start[0], 2),
            ("w1", start[1], 2),
            ("input_cov", loss.input_cov, 2),
            ("cross_cov", loss.cross_cov, 2),
            ("output_power", loss.output_power, 0),
            ("step_size", method.step_size, 0),
            ("weight_decay", method.weight_decay, 0),
            ("layer_multipliers", method.layer_multipliers, 1),
            ("limit", stop.loss, 0),
        ]
    }
    for i in np.ndindex(runs):
        own = {name: array[i] for name, array in full.items()}
        alone = train(
            (own["w0"], own["w1"]),
            loss=lf.SquaredLoss(own["input_cov"], own["cross_cov"], own["output_power"]),
            method=lf.GradientDescent(
                own["step_size"], own["weight_decay"], own["layer_multipliers"]
            ),
            stop=lf.Stop(loss=own["limit"], check_every=10),
            record=record,
        )
        assert_same(alone, together, i)


def test_shared_arguments_are_not_copied_per_run():
    """10^5 runs of one moment matrix of 32 kB would be 3 GB if they were."""
    done = python(
        """
import resource, sys
import numpy as np, linnet_fast as lf
network = lf.Dense((64, 1))
loss = lf.SquaredLoss(np.eye(64) + 0.01, np.ones((1, 64)), 64.0)
runs = 100_000
method = lf.GradientDescent(np.broadcast_to(0.01, (runs,)), np.broadcast_to(0.0, (runs,)))
stop = lf.Stop(loss=np.broadcast_to(0.0, (runs,)))
start = (np.broadcast_to(np.zeros((1, 64)), (runs, 1, 64)),)
wide = lf.SquaredLoss(
    np.broadcast_to(loss.input_cov, (runs, 64, 64)), np.broadcast_to(loss.cross_cov, (runs, 1, 64)), 64.0
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for each in (loss, wide):
    run = lf.train(network, each, start, method=method, n_steps=2, stop=stop,
                   record=lf.Record.at([2], observables=("loss",)))
    assert run.run_shape == (runs,) and (run.loss == run.loss[0]).all()
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""
    )
    # The final weights take 51 MB, and there are two results at a time.
    assert int(done.stdout) < 300e6


def test_python_side_allocates_little_beside_the_result():
    loss = make_loss((64, 1))
    start = (np.broadcast_to(np.zeros((1, 64)), (20_000, 1, 64)),)
    tracemalloc.start()
    try:
        run = train(
            start, loss=loss, widths=(64, 1), n_steps=1, record=lf.Record.at([1], ("loss",))
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * run.final.weights[0].nbytes + 1e7


def test_layer_multipliers_scale_the_step_of_each_layer():
    start = make_start(WIDTHS, (2,))
    method = lf.GradientDescent(0.1, 0.2, layer_multipliers=[[1.0, 0.0], [0.5, 3.0]])
    run = train(start, method=method, n_steps=1)
    gradients = reference.gradients(start, make_loss(WIDTHS), 0.2)
    for layer, (w, g) in enumerate(zip(start, gradients, strict=True)):
        moved = w - 0.1 * method.layer_multipliers[:, layer, None, None] * g
        assert_allclose(run.final.weights[layer], moved, rtol=1e-13, atol=1e-15)
    assert_array_equal(run.final.weights[1][0], start[1][0])


@pytest.mark.parametrize(
    ("record", "steps"),
    [
        (lf.Record.every(7), [0, 7, 14]),
        (lf.Record.every(100), [0]),
        (lf.Record.at([0, 1, 19, 20]), [0, 1, 19, 20]),
        (lf.Record.at([13]), [13]),
        (lf.Record.geomspace(5), [0, 1, 3, 7, 20]),
        (None, range(21)),
    ],
)
def test_records_are_taken_at_their_steps(record, steps):
    every = train(record=lf.Record.every(1))
    run = train(record=record)
    assert_array_equal(run.steps, steps)
    assert_array_equal(run.time, 0.05 * np.array(steps))
    assert_array_equal(run.loss, every.loss[list(steps)])
    assert_array_equal(run.singular_values, every.singular_values[list(steps)])


def test_default_record_is_loss_and_singular_values_at_100_steps():
    run = train(n_steps=1000)
    assert set(run.observables) == {"loss", "singular_values"}
    assert len(run.steps) == 100


@pytest.mark.parametrize("name", EVERYTHING)
def test_one_observable_alone_is_the_same_as_with_all(name):
    start = make_start(WIDTHS, (3,))
    method = lf.GradientDescent(0.05, 0.1)
    both = [
        train(start, method=method, record=lf.Record.every(4, observables=names)).observables[name]
        for names in (EVERYTHING, (name,))
    ]
    if name == "weights":
        for a, b in zip(*both, strict=True):
            assert_array_equal(a, b)
    else:
        assert_array_equal(*both)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_observables_equal_their_definitions(dtype):
    """From the recorded weights, in float64 whatever the dtype of the run."""
    widths = (4, 6, 3, 5)
    loss = make_loss(widths, (3,))
    decay = np.array([0.0, 0.1, 1.0])
    run = train(
        make_start(widths, (3,), dtype=dtype),
        widths=widths,
        loss=loss,
        method=lf.GradientDescent(0.02, decay),
        record=lf.Record.every(10, observables=EVERYTHING),
    )
    w = [layer.astype(np.float64) for layer in run.weights]
    product = w[2] @ w[1] @ w[0]
    residual = product @ loss.input_cov[:, None] - loss.cross_cov[:, None]
    c = decay[:, None, None, None]
    gradient = [
        (w[2] @ w[1]).mT @ residual + c * w[0],
        w[2].mT @ residual @ w[0].mT + c * w[1],
        residual @ (w[1] @ w[0]).mT + c * w[2],
    ]

    def norm(a):
        return np.sqrt((a * a).sum((-2, -1)))

    close = {"rtol": 1e-12, "atol": 1e-13}
    assert_allclose(run.product, product, **close)
    quadratic = np.einsum("rnij,rjk,rnik->rn", product, loss.input_cov, product)
    linear = np.einsum("rnij,rij->rn", product, loss.cross_cov)
    power = loss.output_power[:, None]
    assert_allclose(run.loss, quadratic / 2 - linear + power / 2, **close)
    assert_allclose(run.singular_values, np.linalg.svd(product, compute_uv=False), **close)
    assert_allclose(run.layer_norms, np.stack([norm(a) for a in w], -1), **close)
    difference = [w[i + 1].mT @ w[i + 1] - w[i] @ w[i].mT for i in range(2)]
    assert_allclose(run.imbalance, np.stack([norm(a) for a in difference], -1), **close)
    assert_allclose(run.gradient_norm, np.sqrt(sum(norm(g) ** 2 for g in gradient)), **close)


def test_stop_rules_end_each_run_by_its_own_threshold():
    start = make_start(WIDTHS, (4,))
    free = train(start, n_steps=400, record=lf.Record.every(10, ("loss", "gradient_norm")))
    limits = np.array([free.loss[0, 7], 0.0, 0.0, 0.0])
    gradients = np.array([0.0, free.gradient_norm[1, 12], 0.0, free.gradient_norm[3, 0] * 2])
    stop = lf.Stop(loss=limits, gradient_norm=gradients, check_every=10)
    record = lf.Record.every(10, ("loss", "gradient_norm"))
    run = train(start, n_steps=400, stop=stop, record=record)
    met = (free.loss <= limits[:, None]) | (free.gradient_norm <= gradients[:, None])
    ends = np.where(met.any(1), 10 * met.argmax(1), 400)
    assert min(ends) == 0
    assert (ends[[0, 1]] > 0).all()
    assert (ends[[0, 1]] < 400).all()
    assert_array_equal(run.stopped_at, ends)
    assert_array_equal(run.status == lf.Status.CONVERGED, met.any(1))
    seen = run.steps <= ends[:, None]
    assert_array_equal(run.loss, np.where(seen, free.loss, np.nan))
    for i, end in enumerate(ends):
        part = train([w[i] for w in start], n_steps=int(end))
        for a, b in zip(run.final.weights, part.final.weights, strict=True):
            assert_array_equal(a[i], b)


def test_stop_rules_are_looked_at_on_multiples_of_check_every_only():
    stop = lf.Stop(loss=1e9, check_every=7)
    assert train(stop=stop).stopped_at == 0
    run = train(train(n_steps=3).final, n_steps=17, stop=stop)
    assert run.stopped_at == 7


def test_divergence_is_a_status_with_its_step():
    loss = lf.SquaredLoss([[1.0]], [[0.0]], 0.0)
    start = ([[1.0]],)
    # w <- w (1 - step_size), so |w| = 2^(20 t) and 2^(40 t): both pass 2^1024.
    method = lf.GradientDescent([1 + 2.0**20, 0.5, 1 + 2.0**40])
    run = train(
        start, loss=loss, widths=(1, 1), method=method, n_steps=100, record=lf.Record.every(1)
    )
    assert_array_equal(run.status, [2, 0, 2])
    assert_array_equal(run.stopped_at, [52, 100, 26])
    assert_array_equal(run.ok, [False, True, False])
    alive = run.steps < run.stopped_at[:, None]
    alive[1] = True
    assert_array_equal(np.isnan(run.loss), ~alive)
    assert_array_equal(np.isfinite(run.singular_values[..., 0]), alive)
    assert_array_equal(np.isfinite(run.final.weights[0][:, 0, 0]), run.ok)
    assert run.message == "3 runs: 1 completed, 2 diverged (first: run (0,) at step 52)"
    with pytest.raises(lf.DivergenceError, match="2 diverged"):
        run.raise_for_status()


@pytest.mark.parametrize("runs", [(), (1,), (6,)])
def test_continuing_equals_one_long_run(runs):
    start = make_start(WIDTHS, runs)
    record = lf.Record.every(10, EVERYTHING)
    whole = train(start, n_steps=100, record=record)
    half = train(start, n_steps=40, record=record)
    rest = train(half.final, n_steps=60, record=record)
    assert_array_equal(rest.steps, whole.steps[4:])
    recorded = parts(rest)
    for name, array in parts(whole).items():
        if name in rest.observables or name.startswith("weights"):
            assert_array_equal(recorded[name], np.take(array, range(4, 11), len(runs)))
    for a, b in zip(rest.final.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b)
    assert rest.final.step == 100


def test_ended_runs_stay_ended_when_continued():
    method = lf.GradientDescent([0.05, 0.05, 50.0])
    stop = lf.Stop(loss=[1e9, 0.0, 0.0], check_every=10)
    half = train(method=method, stop=stop)
    rest = train(half.final, method=method, record=lf.Record.every(1, EVERYTHING))
    assert_array_equal(rest.status, [1, 0, 2])
    assert_array_equal(rest.stopped_at, [0, 40, half.stopped_at[2]])
    assert np.isnan(rest.loss[[0, 2]]).all()
    assert np.isfinite(rest.loss[1]).all()
    for a, b in zip(rest.final.weights, half.final.weights, strict=True):
        assert_array_equal(a[[0, 2]], b[[0, 2]])
        assert not np.array_equal(a[1], b[1])


def test_progress_is_called_from_the_calling_thread_up_to_the_total():
    calls = []

    def progress(done, total):
        calls.append((done, total, threading.get_ident()))

    runs, n_steps = 64, 1_000_000
    method = lf.GradientDescent(np.where(np.arange(runs) % 8 == 3, 50.0, 1e-3))
    train(method=method, n_steps=n_steps, progress=progress, n_threads=2)
    done = [call[0] for call in calls]
    assert len(calls) > 2
    assert done == sorted(done)
    assert done[-1] == runs * n_steps
    assert {call[1] for call in calls} == {runs * n_steps}
    assert {call[2] for call in calls} == {threading.get_ident()}


def test_progress_of_a_continued_training_counts_only_what_is_left():
    half = train(stop=lf.Stop(loss=[1e9, 0.0]))
    calls = []
    train(half.final, n_steps=50, progress=lambda *call: calls.append(call))
    assert calls[-1] == (50, 50)


def test_progress_keeps_no_reference_to_what_the_callback_returns():
    kept = []

    def progress(*_):
        result = set()
        kept.append(weakref.ref(result))
        return result

    train(make_start(WIDTHS, (64,)), n_steps=1_000_000, progress=progress, n_threads=1)
    assert len(kept) > 2
    assert [ref for ref in kept if ref() is not None] == []


def test_progress_bar_shows_the_total(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train(n_steps=10, progress=True)
    assert "10.0/10.0" in capsys.readouterr().err


def test_provenance_tells_what_ran():
    run = train(n_steps=3)
    assert run.provenance["version"] == lf.__version__
    assert run.provenance["isa"] in {"v2", "v3", "v4", "generic"}
    assert run.provenance["parameters"]["n_steps"] == 3
    assert run.provenance["parameters"]["dtype"] == "float64"
