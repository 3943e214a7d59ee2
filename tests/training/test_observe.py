"""What `observe` says of weights is what a training records of them before its first step, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from binary_problems import LOSSES, direction, make_binary, observed
from numpy.testing import assert_array_equal
from support import CHAINS, EVERYTHING, make_loss

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast.records.measures import MAKERS, measure_named
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.training.call import core_problem

RUNS = ((), (1,), (5,), (3, 9))


def weights_of(network, runs, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return tuple((0.7 * rng.normal(size=(*runs, *s))).astype(dtype) for s in network.shapes)


def squared(network, runs=(), **options):
    return make_loss((network.n_inputs, network.n_outputs), runs, **options)


def assert_observed(network, loss, weights, names, *, decay=0.0, to=None, n_threads=2):
    """Compare every observable with the first record of a training, and of a flow."""
    seen = lf.observe(
        network, loss, weights, names, weight_decay=decay, direction=to, n_threads=n_threads
    )
    options = {"n_threads": n_threads, "reduce": False}
    method = lf.GradientDescent(1e-3, weight_decay=decay)
    record = lf.Record.at([0], names, to)
    runs = [lf.train(network, loss, weights, method=method, n_steps=1, record=record, **options)]
    if weights[0].dtype == np.float64:
        flow = lf.GradientFlow(weight_decay=decay)
        record = lf.Record.at_times([0.0], names, to)
        runs.append(
            lf.train(network, loss, weights, method=flow, until=1e-3, record=record, **options)
        )
    assert set(seen) == set(names)
    for run in runs:
        axis = run.final.status.ndim
        for name in names:
            value = getattr(run, name)
            if name == "weights":
                for own, recorded in zip(seen[name], value, strict=True):
                    assert_array_equal(own, recorded.take(0, axis))
                    assert own.dtype == recorded.dtype
            else:
                assert_array_equal(seen[name], value.take(0, axis), err_msg=name)
                assert seen[name].dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize(
    "widths", [(1, 1), (3, 2), (4, 4, 4), (5, 3, 7, 2), (2, 9, 1, 9, 3), (40, 30, 20)]
)
def test_dense_networks(widths, runs, dtype):
    network = lf.Dense(widths)
    names = (*EVERYTHING, "layer_singular_ratio", "layer_alignment")
    for loss in (squared(network), squared(network, diagonal=True), squared(network, runs)):
        assert_observed(network, loss, weights_of(network, runs, dtype), names, decay=0.1)


@pytest.mark.parametrize("network", CHAINS, ids=str)
def test_chains_of_all_kinds(network):
    for runs, dtype in (((), np.float64), ((11,), np.float64), ((11,), np.float32)):
        weights = weights_of(network, runs, dtype)
        assert_observed(network, squared(network), weights, EVERYTHING, decay=0.01)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    "network", [lf.Dense((5, 1)), lf.Dense((5, 4, 1)), lf.Diagonal(5, 3)], ids=str
)
def test_losses_of_one_output(network, kind):
    for runs in ((), (13,)):
        for loss in (make_binary(kind, 5), make_binary(kind, 5, runs, label_noise=0.1)):
            for dtype in (np.float64, np.float32):
                weights = weights_of(network, runs, dtype)
                names = observed(network, loss)
                assert_observed(network, loss, weights, names, to=direction(5))


def test_the_squared_loss_has_angles_too():
    network = lf.Dense((5, 3, 1))
    names = (*EVERYTHING, "angle", "log_tan_half_angle")
    assert_observed(network, squared(network), weights_of(network, (9,)), names, to=direction(5))


def test_decay_and_data_vary_by_run():
    network = lf.Dense((4, 6, 3))
    decay = np.linspace(0.0, 1.0, 21).reshape(3, 7)
    weights = weights_of(network, (3, 7))
    for loss in (squared(network, (7,)), squared(network, (3, 1))):
        assert_observed(network, loss, weights, EVERYTHING, decay=decay)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_run_alone_is_the_run_in_a_batch(n_threads):
    network = lf.Dense((6, 5, 4))
    loss = squared(network)
    weights = weights_of(network, (37,))
    batch = lf.observe(network, loss, weights, EVERYTHING, n_threads=n_threads)
    for run in (0, 20, 36):
        alone = lf.observe(network, loss, [w[run] for w in weights], EVERYTHING)
        for name in set(EVERYTHING) - {"weights"}:
            assert_array_equal(alone[name], batch[name][run])


def test_large_products_are_those_of_a_training():
    network = lf.Dense((450, 450))
    weights = weights_of(network, (2,))
    assert_observed(network, squared(network), weights, ("loss", "gradient_norm", "imbalance"))


# --- the compiled core, called past the front door -------------------------------------------------


def by_core(runs=(2,), **changes):
    network = lf.Dense((3, 4, 2))
    weights = weights_of(network, runs)
    arguments = {
        **core_problem(network, squared(network), weights, runs),
        "direction": None,
        "weight_decay": np.zeros((*runs, 2)),
        "observables": {"loss"},
        "n_threads": 1,
    } | changes
    return _core.observe(**arguments)["observables"], weights


def test_core_gives_the_weights_as_they_are():
    for dtype in (np.float64, np.float32):
        given = tuple(w.astype(dtype) for w in weights_of(lf.Dense((3, 4, 2)), (5,)))
        for observables in ({"weights"}, {"weights", "loss"}):
            seen, _ = by_core((5,), weights=given, observables=observables)
            assert set(seen) == observables
            for own, weight in zip(seen["weights"], given, strict=True):
                assert_array_equal(own, weight)
                assert own.dtype == dtype


def test_core_knows_its_observables():
    core = _core.known()
    plain = {name for name, row in OBSERVABLES.items() if not row.is_measure}
    assert set(core["observables"]) == plain
    kinds = {row.kind for row in OBSERVABLES.values() if row.is_measure}
    made = {measure_named(f"{name}(2)").kind for name in MAKERS}
    assert set(core["measures"]) == kinds | made | {"hessian_product"}
    seen, _ = by_core(observables=set())
    assert seen == {}


def test_core_looks_at_numbers_that_are_not_finite():
    bad = [np.full((2, 4, 3), np.nan), np.ones((2, 2, 4))]
    names = {name for name in EVERYTHING if not OBSERVABLES[name].is_measure}
    names -= {"weights", "layer_norms", "imbalance"}
    seen, _ = by_core(weights=bad, observables=names)
    for name in names:
        assert np.isnan(seen[name]).any(), name


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"observables": {"los"}}, ValueError, "unknown observable 'los'"),
        ({"observables": {"angle"}}, ValueError, "angle needs one output"),
        ({"observables": {"margin"}}, ValueError, "margin needs samples with labels"),
        ({"loss": {"name": "squared"}}, ValueError, "a squared loss needs input_cov"),
        ({"loss": None}, TypeError, "incompatible function arguments"),
        ({"weights": [np.ones((2, 4, 3))]}, ValueError, "weights must have one array per shape"),
        ({"weights": []}, ValueError, "weights must have one array per shape"),
        ({"run_shape": (3,)}, ValueError, r"must have shape \(3, 4, 3\), got \(2, 4, 3\)"),
        ({"weight_decay": np.zeros(3)}, ValueError, r"weight_decay must have shape \(2, 2\)"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1, got 0"),
    ],
)
def test_core_refuses_to_look(changes, exception, message):
    with pytest.raises(exception, match=message):
        by_core(**changes)
