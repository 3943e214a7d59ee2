"""The bits of a run depend on that run alone: not on threads, batch, place or neighbours."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, Batch, assert_same, crossed, few, make_loss, parts, python

import linnet_fast as lf
from linnet_fast import _core

# Widths of every engine: lanes, one group and several; the direct kernels, at all widths where a
# batch is small; both at once where the last lanes are handed over.
WIDTHS = [
    (2, 2),
    (3, 2, 3),
    (2, 2, 2),
    (3, 3, 3),
    (4, 4, 4),
    (8, 8, 8),
    (13, 5, 13),
    (13, 13, 13, 13),
    (2, 3, 8, 13, 2),
    (16, 16, 16),
    (16, 8, 40, 16),
    (40, 40, 40),
    (40, 16, 13, 8, 40),
    (5, 70, 1),
]
MOMENTS = ["shared", "diagonal", "own", "own diagonal", "mixed"]
EACH = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def digest(run):
    """Return a number that changes with any bit of a result."""
    state = hashlib.sha256()
    for name, array in sorted(parts(run).items()):
        state.update(name.encode() + array.tobytes())
    return state.hexdigest()


TABLE = [
    (widths, moments, (np.float64, np.float32)[(i + j) % 2])
    for i, widths in enumerate(WIDTHS)
    for j, moments in enumerate(MOMENTS)
]


@pytest.mark.parametrize(("widths", "moments", "dtype"), few(TABLE, 19))
def test_batches_threads_and_places_do_not_matter(widths, moments, dtype):
    batch = Batch(widths, dtype=dtype, moments=moments)
    whole = batch.train(n_threads=1)
    assert set(whole.status.tolist()) == {0, 1, 2}
    for n_threads in (2, 3):
        assert_same(batch.train(n_threads=n_threads), whole)
    for size in (7, 8, 9):
        for first in (0, 5):
            part = slice(first, first + size)
            assert_same(batch.train(part), whole, part)
    for order in (np.arange(64)[::-3], np.random.default_rng(0).permutation(64)[:20], [5] * 9):
        assert_same(batch.train(order), whole, order)
    for i in range(0, 64, 7 if max(widths) < 20 else 13):  # every place in a group of 8
        assert_same(batch.train(i), whole, i)


@pytest.mark.parametrize(
    ("widths", "moments", "dtype"),
    few(
        [
            ((450, 450, 450), "own diagonal", np.float32),
            ((460, 440, 460), "mixed", np.float64),
            ((450, 450, 450), "shared", np.float64),
        ],
        1,
    ),
)
def test_large_products_too(widths, moments, dtype):
    """Products that go to Eigen, and a network with some that do and some that do not."""
    batch = Batch(widths, dtype=dtype, moments=moments, n_runs=2, n_steps=2)
    record = lf.Record.at([2], ("loss", "layer_norms", "gradient_norm", "product"))
    whole = batch.train(n_threads=1, record=record)
    assert_same(batch.train(n_threads=2, record=record), whole)
    assert_same(batch.train([1, 0, 1], record=record), whole, [1, 0, 1])
    assert_same(batch.train(1, record=record), whole, 1)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("moments", MOMENTS),
    ("widths", [(3, 3), (3, 3, 3), (8, 8, 8), (20, 20, 20), (4, 5, 6, 4)]),
    n=10,
)
def test_overflow_does_not_depend_on_the_batch(widths, moments, dtype):
    """Finite weights whose products overflow: records, stops and final weights, NaN and inf alike."""
    batch = Batch(widths, dtype=dtype, moments=moments)
    huge = np.finfo(dtype).max ** min(1 / len(batch.start) + 0.1, 0.999)
    start = [w * dtype(huge) for w in batch.start]
    record = lf.Record.every(1, EVERYTHING)
    whole = batch.train(start=start, record=record, n_steps=6)
    assert (whole.status == lf.Status.DIVERGED).any()
    for i in range(0, 64, 9):
        alone = batch.train(i, start=[w[i] for w in start], record=record, n_steps=6)
        assert_same(alone, whole, i)


@pytest.mark.parametrize("widths", [(3, 3, 3), (8, 8, 8), (13, 16, 13), (40, 40, 40)])
def test_a_diverging_neighbour_changes_nothing(widths):
    batch = Batch(widths)
    steps = np.full(64, 0.003)
    calm = batch.train(method=lf.GradientDescent(steps), stop=None)
    assert calm.ok.all()
    for bad in (0, 6, 63, slice(1, 64, 2), slice(1, 64)):
        wild = steps.copy()
        wild[bad] = [1e3, 1e300][isinstance(bad, int)]
        run = batch.train(method=lf.GradientDescent(wild), stop=None)
        assert_array_equal(run.ok, wild == 0.003)
        for name, array in parts(run).items():
            assert_array_equal(array[run.ok], parts(calm)[name][run.ok], err_msg=name)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("widths", [(2, 2), (3, 2, 3), (8, 8, 8), (13, 5, 13), (16, 16, 16, 16), (40, 40, 40)]),
    ("n_runs", [1, 3, 20]),
    n=12,
)
def test_1000_steps_equal_400_and_600(widths, n_runs, dtype):
    """With runs that converge and diverge in either part."""
    batch = Batch(widths, dtype=dtype, n_runs=n_runs)
    which = 0 if n_runs == 1 else slice(None)
    steps = 0.003 * 2.0 ** (np.arange(n_runs) % 10)
    record = lf.Record.every(50, EVERYTHING)
    free = batch.train(method=lf.GradientDescent(steps), n_steps=1000, record=record, stop=None)
    # Thresholds that the runs meet at different times, in the first part, the second, or never.
    at = (3 + 3 * np.arange(n_runs)) % 20
    limits = np.nan_to_num(free.loss[np.arange(n_runs), at])
    stop = lf.Stop(loss=np.where(np.arange(n_runs) % 4 == 3, 0.0, limits)[which], check_every=25)
    options = {"method": lf.GradientDescent(steps[which]), "record": record, "stop": stop}
    whole = batch.train(which, n_steps=1000, **options)
    half = batch.train(which, n_steps=400, **options)
    rest = batch.train(which, start=half.final, n_steps=600, **options)
    if n_runs == 20:
        assert len(set(half.status.tolist())) > 1
        assert (whole.status != half.status).any()
    assert rest.final.step == 1000
    arrays = parts(half), parts(rest)
    for name, array in parts(whole).items():
        if name.startswith("final") or name in ("status", "stopped_at"):
            assert_array_equal(arrays[1][name], array, err_msg=name)
        else:
            axis = half.status.ndim
            joined = [arrays[0][name], np.take(arrays[1][name], range(1, 13), axis)]
            assert_array_equal(np.concatenate(joined, axis), array, err_msg=name)


def test_records_and_stop_rules_do_not_touch_the_path():
    batch = Batch((8, 8, 8))
    plain = batch.train(stop=None, record=lf.Record.at([24], ("loss",)))
    for record in (lf.Record.every(1, EVERYTHING), lf.Record.geomspace(7, ("imbalance",))):
        for stop in (None, lf.Stop(gradient_norm=0.0, check_every=1)):
            run = batch.train(stop=stop, record=record)
            for a, b in zip(run.final.weights, plain.final.weights, strict=True):
                assert_array_equal(a, b)


def test_how_an_argument_lies_in_memory_does_not_matter():
    """Copies, broadcast views, transposes, reversed axes, and columns of a table."""
    widths = (8, 8, 8)
    batch = Batch(widths)
    whole = batch.train()
    loss = batch.loss
    cov = np.broadcast_to(loss.input_cov, (64, 8, 8))
    table = np.zeros(64, [("flag", "i1"), ("decay", "f8")])
    table["decay"] = batch.method.weight_decay
    method = lf.GradientDescent(
        batch.method.step_size[::-1].copy()[::-1],
        table["decay"],
        np.asfortranarray(batch.method.layer_multipliers),
    )
    start = [w.astype(">f8") if i else np.asfortranarray(w) for i, w in enumerate(batch.start)]
    for inputs in (cov, cov.copy(), np.asfortranarray(cov), cov.copy()[::-1]):
        for cross in (loss.cross_cov, loss.cross_cov.T.copy().T):
            batch.loss = lf.SquaredLoss(
                inputs, cross, np.full(64, loss.output_power)[:, None][:, 0]
            )
            run = lf.train(batch.network, batch.loss, start, method=method, stop=batch.stop,
                           n_steps=batch.n_steps, record=batch.record)  # fmt: skip
            assert_same(run, whole)


CHECK_LEVEL = """
import json, sys
import numpy as np
from support import THOROUGH, Batch, assert_same
from test_train_bits import MOMENTS, WIDTHS, digest
digests, losses = {}, {}
for n, widths in enumerate([*WIDTHS, (450, 450, 450)]):
    for dtype in ("float64", "float32"):
        large = max(widths) > 100
        if large and dtype == "float32" and not THOROUGH:
            continue
        of_large = "mixed" if THOROUGH else "shared"
        moments = of_large if large else MOMENTS[n % len(MOMENTS)]
        batch = Batch(widths, dtype=np.dtype(dtype).type, moments=moments,
                      n_runs=2 if large else 64, n_steps=1 if large else 24)
        whole = batch.train()
        assert set(whole.status.tolist()) >= ({0} if large else {0, 1, 2})
        for i in range(0, batch.n_runs, 1 if large else 9):
            assert_same(batch.train(i), whole, i)
        assert_same(batch.train(n_threads=1), whole)
        key = f"{widths} {dtype}"
        digests[key] = digest(whole)
        losses[key] = np.where(whole.ok, whole.loss[:, -1], np.nan).tolist()
import linnet_fast as lf
print(json.dumps([lf._core.build_info()["isa"], digests, losses]))
"""


@pytest.fixture(scope="module")
def levels():
    """Results of a fresh process per instruction set that this machine runs."""
    results = {}
    for level in _core.levels.built():
        if level in _core.levels.supported():
            done = python(CHECK_LEVEL, LINNET_FAST_ISA=level)
            results[level] = json.loads(done.stdout)
    return results


def test_every_instruction_set_keeps_the_contract(levels):
    """Each asserts in its process that runs alone equal runs in a batch; here: it really was used."""
    assert {level: result[0] for level, result in levels.items()} == {k: k for k in levels}
    assert _core.build_info()["isa"] in levels


def test_a_fresh_process_gives_the_same_bits(levels):
    _, digests, _ = levels[_core.build_info()["isa"]]
    for n, widths in enumerate(WIDTHS):
        for dtype in (np.float64, np.float32):
            batch = Batch(widths, dtype=dtype, moments=MOMENTS[n % len(MOMENTS)])
            assert digests[f"{widths} {dtype.__name__}"] == digest(batch.train()), widths


def test_instruction_sets_agree_closely(levels):
    """Over short horizons: they round differently, and only that."""
    first, *others = levels.values()
    for _, _, losses in others:
        for key, values in losses.items():
            tolerance = 1e-11 if "float64" in key else 1e-4
            mine = np.array(values, float)
            assert_allclose(mine, np.array(first[2][key], float), rtol=tolerance, err_msg=key)


def test_results_have_memory_of_their_own():
    loss, network = make_loss((3, 3)), lf.Dense((3, 3))
    start = (np.ones((3, 3)),)
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.1), n_steps=0)
    assert not np.shares_memory(run.final.weights[0], start[0])
    again = lf.train(network, loss, run.final, method=lf.GradientDescent(0.1), n_steps=5)
    assert_array_equal(run.final.weights[0], start[0])
    assert not np.shares_memory(again.final.weights[0], run.final.weights[0])


@crossed(
    ("dtype", ["float64", "float32"]),
    ("decay", [0.0, 0.02]),
    ("own_moments", [False, True]),
    ("width", [2, 3, 4, 5]),
    n=8,
)
def test_small_square_networks_are_those_trained_alone(width, own_moments, decay, dtype):
    """Two layers of equal, small width take a step of their own; it has the bits of all others."""
    rng = np.random.default_rng(width)
    n_runs, n_steps = 37, 53
    inputs = rng.normal(size=(*((n_runs,) if own_moments else ()), 20, width))
    loss = lf.SquaredLoss.from_data(inputs, inputs @ rng.normal(size=(width, width)))
    network = lf.Dense((width,) * 3)
    start = lf.initialization.gaussian(
        network, scale=0.7, rng=1, batch_shape=n_runs, dtype=np.dtype(dtype)
    )
    steps = np.geomspace(0.001, 0.1, n_runs)

    def train(which):
        own = loss
        if own_moments:
            moments = (loss.input_cov[which], loss.cross_cov[which], loss.output_power[which])
            own = lf.SquaredLoss(*moments)
        return lf.train(
            network,
            own,
            [w[which] for w in start],
            method=lf.GradientDescent(steps[which], decay, layer_multipliers=[1.0, 0.5]),
            n_steps=n_steps,
            record=lf.Record.at([7, n_steps], observables=("loss", "weights")),
        )

    batch = train(slice(None))
    for run in (0, 8, 36):
        alone = train(run)
        for layer in range(2):
            np.testing.assert_array_equal(batch.weights[layer][run], alone.weights[layer])
        np.testing.assert_array_equal(batch.loss[run], alone.loss)
