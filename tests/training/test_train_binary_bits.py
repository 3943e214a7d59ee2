"""The bits of runs on losses of one output: not of threads, batch, place, neighbours, or where it was cut in two."""

from __future__ import annotations

import json

import numpy as np
import pytest
from binary_problems import LOSSES, RULES, SAMPLE_LOSSES, BinaryBatch, make_binary
from numpy.testing import assert_allclose, assert_array_equal
from support import assert_same, crossed, make_start, parts, python

import linnet_fast as lf
from linnet_fast import _core, reference

WIDTHS = [(3, 1), (5, 4, 1), (17, 13, 8, 1), (70, 40, 1)]
METHODS = [
    ("constant", None),
    ("constant", 20),
    *((rule, None) for rule in RULES),
    ("loss_normalized", 300),
    ("geometric", 1),
]
DIVERGING = ("constant", "power", "geometric", "norm_proportional")


def check(batch, *, n_alone=7):
    """Whole, cut, permuted, repeated, and on other numbers of threads."""
    whole = batch.train(n_threads=1)
    n = batch.n_runs
    for n_threads in (2, 3):
        assert_same(batch.train(n_threads=n_threads), whole)
    for part in (slice(5, 6), slice(0, 7), slice(3, 11), slice(2, 19)):
        assert_same(batch.train(part), whole, part)
    for order in (np.arange(n)[::-1], np.random.default_rng(0).permutation(n), [5] * 20):
        assert_same(batch.train(order), whole, order)
    for i in [*range(0, n, n_alone), 5, 9]:
        assert_same(batch.train(i), whole, i)
    return whole


@crossed(
    ("own", [False, True]),
    ("kind", ["logistic", "exponential", "mixture"]),
    ("widths", WIDTHS),
    n=8,
)
def test_batches_threads_and_places_do_not_matter(widths, kind, own):
    whole = check(BinaryBatch(widths, kind, own=own))
    assert lf.Status.DIVERGED in whole.status


@crossed(
    (("rule", "drawn"), METHODS), ("kind", ["logistic", "exponential", "gaussian", "ball"]), n=12
)
def test_every_rule_and_every_draw(kind, rule, drawn):
    whole = check(BinaryBatch((5, 4, 1), kind, rule, drawn=drawn, own=rule == "power"), n_alone=13)
    if rule in DIVERGING:
        assert lf.Status.DIVERGED in whole.status
        # Some did not at once, nor at the end of what is done in one go: their way was gone again.
        ended = whole.stopped_at[whole.status == lf.Status.DIVERGED]
        assert ((ended > 0) & (ended % 4 != 0)).any()


@crossed(("drawn", [None, 20]), ("kind", LOSSES))
def test_float32_too(kind, drawn):
    whole = check(BinaryBatch((5, 4, 1), kind, "power", drawn=drawn, dtype=np.float32), n_alone=13)
    assert whole.final.weights[0].dtype == np.float32
    assert lf.Status.DIVERGED in whole.status


@crossed(("rule", ["constant", *RULES]), ("drawn", [None, 12]), ("n_runs", [1, 3, 40]), n=12)
def test_divergence_in_the_middle_is_replayed(rule, drawn, n_runs):
    """One record at the end, so that all steps are one block; the run alone, cut before and at its end, says where."""
    batch = BinaryBatch((3, 2, 1), "logistic", rule, drawn=drawn, n_runs=n_runs, n_steps=61)
    batch.start = [np.array(w) for w in make_start((3, 2, 1), (n_runs,), scale=0.5)]
    batch.scale = np.full(n_runs, 0.01)
    # A decay so strong that the weights of one run grow by that times the step size in every step.
    bad = n_runs // 2
    batch.decay = np.zeros(n_runs)
    batch.decay[bad] = {"norm_proportional": 1e6, "loss_normalized": 1e300}.get(rule, 1e18)
    options = {"stop": None, "record": lf.Record.at([61], ("loss",)), "n_threads": 1}
    whole = batch.train(**options)
    assert whole.status[bad] == lf.Status.DIVERGED
    at = int(whole.stopped_at[bad])
    assert 1 < at < 60
    # One step less is finite, and one step more goes on where it stopped.
    before = batch.train(bad, n_steps=at - 1, stop=None, record=lf.Record.at([at - 1], ("loss",)))
    assert before.status == lf.Status.COMPLETED
    assert all(np.isfinite(w).all() for w in before.final.weights)
    there = batch.train(bad, n_steps=at, stop=None, record=lf.Record.at([at - 1], ("loss",)))
    assert there.status == lf.Status.DIVERGED
    assert there.stopped_at == at
    for a, b in zip(there.final.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b[bad])
    if whole.final.elapsed is not None:
        assert_array_equal(there.final.elapsed, whole.final.elapsed[bad])
    # The neighbours are as they are without it.
    others = np.flatnonzero(np.arange(n_runs) != bad)
    if len(others):
        assert whole.ok[others].all()
        assert_same(batch.train(others, **options), whole, others)


@crossed(
    (("rule", "drawn"), METHODS),
    ("kind", ["logistic", "sphere"]),
    ("which", [slice(None), 3, slice(4, 7)]),
    n=18,
)
def test_60_steps_equal_25_and_35(kind, rule, drawn, which):
    """With runs that converge and diverge in either part; elapsed times go on."""
    batch = BinaryBatch((5, 4, 1), kind, rule, drawn=drawn)
    batch.limit = np.where(np.arange(40) % 7 < 2, 0.995 - 0.02 * (np.arange(40) % 5), 0.0)
    batch.limit *= 0.7 if kind == "logistic" else 0.6
    batch.record = lf.Record.every(5, batch.record.observables, batch.record.direction)
    whole = batch.train(which, n_steps=60)
    half = batch.train(which, n_steps=25)
    rest = batch.train(which, start=half.final, n_steps=35)
    assert rest.final.step == 60
    ends = ("status", "stopped_at", "elapsed")
    axis = half.status.ndim
    one, two = parts(half), parts(rest)
    assert ("elapsed" in one) == (rule != "constant")
    for name, array in parts(whole).items():
        if name.startswith("final") or name in ends:
            assert_array_equal(two[name], array, err_msg=name)
        else:
            joined = [one[name], np.take(two[name], range(1, 8), axis)]
            assert_array_equal(np.concatenate(joined, axis), array, err_msg=name)
    if whole.status.ndim and rule in DIVERGING:
        assert set(whole.status.tolist()) >= {0, 2}


@pytest.mark.parametrize("rule", ["power", "geometric", "norm_proportional"])
def test_three_pieces_equal_one(rule):
    batch = BinaryBatch((3, 2, 1), "logistic", rule, drawn=7)
    whole = batch.train(n_steps=30, stop=None)
    state = [np.array(w) for w in batch.start]
    for n in (1, 16, 13):
        piece = batch.train(start=state, n_steps=n, stop=None, record=lf.Record.geomspace(2))
        state = piece.final
    assert_array_equal(state.elapsed, whole.final.elapsed)
    for a, b in zip(state.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("drawn", [None, 20])
def test_records_and_stop_rules_do_not_touch_the_path(drawn):
    batch = BinaryBatch((5, 4, 1), "logistic", "loss_normalized", drawn=drawn)
    plain = batch.train(stop=None, record=lf.Record.at([24], ("loss",)))
    for record in (
        lf.Record.every(1, batch.record.observables, batch.record.direction),
        lf.Record.geomspace(7, ("norm",)),
    ):
        for stop in (None, lf.Stop(gradient_norm=0.0, check_every=1)):
            run = batch.train(stop=stop, record=record)
            assert_array_equal(run.final.elapsed, plain.final.elapsed)
            for a, b in zip(run.final.weights, plain.final.weights, strict=True):
                assert_array_equal(a, b)


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_how_samples_lie_in_memory_does_not_matter(kind):
    batch = BinaryBatch((5, 4, 1), kind, own=True)
    whole = batch.train()
    loss = batch.loss
    for inputs in (
        np.asfortranarray(loss.inputs),
        loss.inputs[..., ::-1].copy()[..., ::-1],
        loss.inputs.astype(">f8"),
    ):
        batch.loss = type(loss)(inputs, loss.labels[:, ::-1].copy()[:, ::-1], loss.label_noise)
        assert_same(batch.train(), whole)


def test_runs_that_share_samples_equal_runs_with_their_own_copies():
    batch = BinaryBatch((5, 4, 1), "logistic")
    whole = batch.train()
    loss = batch.loss
    copies = np.repeat(loss.inputs[None], 40, axis=0)
    batch.loss = lf.LogisticLoss(copies, np.repeat(loss.labels[None], 40, axis=0), np.zeros(40))
    assert_same(batch.train(), whole)


# --- runs that have ended, progress, interrupts


def test_runs_that_ended_stay_as_they_are():
    batch = BinaryBatch((5, 4, 1), "logistic", "geometric", drawn=9)
    half = batch.train(n_steps=20)
    ended = ~np.equal(half.status, 0)
    assert set(half.status.tolist()) >= {0, 2}
    rest = batch.train(start=half.final, n_steps=20)
    assert_array_equal(rest.final.elapsed[ended], half.final.elapsed[ended])
    assert_array_equal(rest.stopped_at[ended], half.stopped_at[ended])
    assert np.isnan(rest.loss[ended]).all()
    assert np.isnan(rest.time[ended]).all()
    assert (rest.n_steps[ended] == 0).all()
    for a, b in zip(rest.final.weights, half.final.weights, strict=True):
        assert_array_equal(a[ended], b[ended])
    going = ended == rest.ok  # those that have ended are never both
    assert not going.all()
    assert (rest.final.elapsed[rest.ok & ~ended] > half.final.elapsed[rest.ok & ~ended]).all()


@pytest.mark.parametrize("drawn", [None, 50])
def test_progress_counts_all_steps(drawn):
    batch = BinaryBatch((5, 4, 1), "logistic", "power", drawn=drawn)
    seen = []
    batch.train(progress=lambda done, total: seen.append((done, total)), n_steps=2000)
    assert seen[-1] == (40 * 2000, 40 * 2000)
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert all(0 <= d <= 80_000 for d in done)


def test_what_progress_raises_ends_the_training():
    loss = make_binary("logistic", 5, n=2000)

    def fail(_done, _total):
        raise LookupError

    for method in (lf.GradientDescent(1e-3), lf.StochasticGradientDescent(1e-3, 1000)):
        with pytest.raises(LookupError):
            lf.train(
                lf.Dense((5, 1)), loss, make_start((5, 1)), method=method, n_steps=10**12,
                record=lf.Record.at([0], ("loss",)), progress=fail,
            )  # fmt: skip


def test_ctrl_c_ends_the_training():
    done = python(
        """
import signal, threading, numpy as np, linnet_fast as lf
from support import make_start
from binary_problems import make_binary
once = lf.Record.at([0], ("loss",))
def press():
    going.wait()
    signal.raise_signal(signal.SIGINT)
caught = 0
for kind, method in [
    ("logistic", lf.GradientDescent(lf.StepRule.loss_normalized(1e-9))),
    ("gaussian", lf.StochasticGradientDescent(1e-9, 10**6)),
    ("exponential", lf.StochasticGradientDescent(1e-9, 10)),
    ("ball", lf.GradientDescent(1e-9)),
]:
    going = threading.Event()
    threading.Thread(target=press).start()
    try:
        lf.train(lf.Dense((5, 3, 1)), make_binary(kind, 5, n=10**5), make_start((5, 3, 1), (3,)),
                 method=method, n_steps=10**12, record=once, n_threads=2,
                 progress=lambda *_: going.set())
    except KeyboardInterrupt:
        caught += 1
print(caught)
"""
    )
    assert int(done.stdout) == 4


# --- instruction sets

CHECK_LEVEL = """
import json
import numpy as np
import linnet_fast as lf
from support import assert_same
from binary_problems import BinaryBatch
losses = {}
for kind, rule, drawn, dtype in [
    ("logistic", "constant", None, "float64"), ("exponential", "power", 20, "float64"),
    ("gaussian", "norm_proportional", None, "float64"), ("mixture", "constant", 37, "float64"),
    ("logistic", "geometric", 20, "float32"),
]:
    batch = BinaryBatch((5, 4, 1), kind, rule, drawn=drawn, dtype=np.dtype(dtype).type)
    whole = batch.train()
    for i in (0, 5, 9, 20):
        assert_same(batch.train(i), whole, i)
    assert_same(batch.train(slice(3, 17), n_threads=1), whole, slice(3, 17))
    losses[f"{kind} {rule} {drawn} {dtype}"] = np.where(whole.ok, whole.loss[:, 2], 0.0).tolist()
print(json.dumps([lf._core.build_info()["isa"], losses]))
"""


def test_every_instruction_set_keeps_the_contract_and_agrees():
    results = {}
    for level in _core.levels.built():
        if level in _core.levels.supported():
            done = python(CHECK_LEVEL, LINNET_FAST_ISA=level)
            isa, results[level] = json.loads(done.stdout)
            assert isa == level
    first, *others = results.values()
    for other in others:
        for key, values in other.items():
            mine, theirs = np.nan_to_num(np.array(values)), np.nan_to_num(np.array(first[key]))
            ordinary = np.abs(theirs) < 1e3  # the wild ones blow rounding errors up
            tolerance = 1e-11 if "float64" in key else 1e-4
            assert_allclose(mine[ordinary], theirs[ordinary], rtol=tolerance, err_msg=key)


def test_bits_in_batches_are_right_too():
    """A batch in lanes, against the reference: equal bits alone could be equally wrong."""
    batch = BinaryBatch((5, 4, 1), "logistic", "power", drawn=20, own=True)
    run = batch.train(stop=None)
    expected = reference.train(
        batch.network, batch.loss, batch.start, method=batch.method(), n_steps=24,
        record=batch.record,
    )  # fmt: skip
    calm = expected.ok & (batch.scale < 1) & (np.arange(40) % 16 != 5)
    assert calm.sum() > 20
    assert_array_equal(run.ok[calm], expected.ok[calm])
    for name, array in parts(run).items():
        theirs = parts(expected)[name][calm]
        if np.issubdtype(array.dtype, np.floating) and name != "layer_alignment":
            assert_allclose(array[calm], theirs, rtol=1e-10, atol=1e-11, err_msg=name)
