"""Losses that are evaluated beside that of the training: values, bits, stop rules, files."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from binary_problems import LOSSES, SAMPLE_LOSSES, direction, make_binary, make_data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS, assert_same, make_loss, make_start, parts

import linnet_fast as lf
from linnet_fast import _core, reference
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.training import plain
from linnet_fast.training.call import core_problem

METHODS = {
    "descent": (lf.GradientDescent(0.03), {"n_steps": 20}, lf.Record.every),
    "flow": (
        lf.GradientFlow(),
        {"until": 1.5},
        lambda _k, *a, **o: lf.Record.geomspace(4, *a, **o),
    ),
}


def start_of(network, runs=(), *, scale=0.5, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple((scale * rng.normal(size=(*runs, *s))).astype(dtype) for s in network.shapes)


def without(run, *labels):
    """Return the parts of a result but for what was evaluated."""
    names = [f"{row}_{label}" for row in OBSERVABLES for label in labels]
    return {name: array for name, array in parts(run).items() if name not in names}


def assert_of(run, name, loss, rtol=1e-12):
    """Assert that a recorded loss is that of the recorded products."""
    product = run.product
    lead = (*run.run_shape, product.shape[len(run.run_shape)])
    shown = getattr(run, f"loss_{name}")
    assert shown.shape == lead
    # Records stand between run axes and those of a product.
    expected = np.stack(
        [loss.value(np.take(product, r, axis=len(lead) - 1)) for r in range(lead[-1])], axis=-1
    )
    assert_allclose(shown, np.broadcast_to(expected, lead), rtol=rtol, equal_nan=True)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("trained", ["squared", *LOSSES])
def test_every_loss_beside_every_other(trained, how):
    network, runs = lf.Dense((5, 4, 1)), (11,)
    method, length, record = METHODS[how]
    made = {kind: make_binary(kind, 5, seed=3, label_noise=0.1) for kind in LOSSES}
    made["squared"] = make_loss((5, 1), seed=3)
    made["own_squared"] = make_loss((5, 1), runs, seed=4)
    made |= {f"own_{kind}": make_binary(kind, 5, runs, seed=5) for kind in LOSSES}
    loss = make_loss((5, 1)) if trained == "squared" else make_binary(trained, 5)
    start = start_of(network, runs)
    names = ("loss", "product")
    options = {"method": method, **length, "n_threads": 2}
    run = lf.train(network, loss, start, record=record(5, names, evaluate=made), **options)
    for name, other in made.items():
        assert_of(run, name, other)
    plain_run = lf.train(network, loss, start, record=record(5, names), **options)
    expected = parts(plain_run)
    for name, array in without(run, *made).items():
        assert_array_equal(array, expected[name], err_msg=name, strict=True)


@pytest.mark.parametrize("network", CHAINS, ids=str)
def test_chains_of_all_kinds(network):
    ends = (network.n_inputs, network.n_outputs)
    other = make_loss(ends, seed=1)
    for dtype in (np.float64, np.float32):
        run = lf.train(
            network, make_loss(ends), start_of(network, (9,), dtype=dtype),
            method=lf.GradientDescent(1e-3), n_steps=6,
            record=lf.Record.every(3, ("product",), evaluate={"test": other}),
        )  # fmt: skip
        assert_of(run, "test", other)


@st.composite
def problems(draw):
    widths = draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    runs = draw(st.sampled_from([(), (1,), (3,), (17,), (2, 5)]))
    own = draw(st.sampled_from([(), runs, runs[-1:], (1,) * len(runs)]))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    n_threads = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 99))
    return widths, runs, own, dtype, n_threads, seed


@given(problems())
@settings(max_examples=60)
def test_all_shapes_and_run_axes(problem):
    widths, runs, own, dtype, n_threads, seed = problem
    network, other = lf.Dense(widths), make_loss(widths, own, seed=seed)
    record = lf.Record.every(3, ("loss", "product"), evaluate={"test": other, "again": other})
    start = start_of(network, runs, seed=seed, dtype=dtype)
    options = {"method": lf.GradientDescent(1e-3), "n_steps": 6, "record": record}
    run = lf.train(network, make_loss(widths), start, n_threads=n_threads, **options)
    assert_of(run, "test", other)
    assert_array_equal(run.loss_test, run.loss_again)
    slow = reference.train(network, make_loss(widths), start, **options)
    assert_allclose(run.loss_test, slow.loss_test, rtol=1e-12 if dtype == np.float64 else 1e-4)
    whole = lf.train(network, make_loss(widths), start, **options)
    assert_same(run, whole)
    if runs:
        which = tuple(n - 1 for n in runs)
        mine = other.of_run(which, runs)
        record = lf.Record.every(3, ("loss", "product"), evaluate={"test": mine, "again": mine})
        alone = lf.train(
            network, make_loss(widths), [w[which] for w in start], **options | {"record": record}
        )
        assert_same(alone, run, which)


def test_the_run_axes_of_evaluated_losses_are_those_of_the_result():
    network, other = lf.Dense((3, 2)), make_loss((3, 2), (4,))
    start = make_start((3, 2))
    record = lf.Record.every(2, ("product",), evaluate={"test": other})
    options = {"method": lf.GradientDescent(0.1), "n_steps": 4, "record": record}
    run = lf.train(network, make_loss((3, 2)), start, **options)
    assert run.run_shape == (4,)
    assert_of(run, "test", other)
    with pytest.raises(ValueError, match=r"run axes must broadcast .*evaluate\['test'\] \(4,\)"):
        lf.train(network, make_loss((3, 2)), make_start((3, 2), (5,)), **options)


@pytest.mark.parametrize("how", METHODS)
def test_what_else_losses_have_is_recorded_of_those_that_have_it(how):
    method, length, record = METHODS[how]
    network = lf.Dense((5, 1))
    loss, other = make_binary("logistic", 5), make_binary("exponential", 5, seed=2)
    losses = {"test": other, "power": make_loss((5, 1))}
    options = {"method": method, **length}
    names = ("margin", "product")
    run = lf.train(
        network, loss, start_of(network, (9,)), record=record(5, names, evaluate=losses), **options
    )
    assert list(run.observables) == ["margin", "product", "loss_test", "margin_test", "loss_power"]
    norms = np.linalg.norm(run.product, axis=(-2, -1))
    expected = other.margins(run.product).min(axis=-1) / norms
    assert_allclose(run.margin_test, expected, rtol=1e-12)
    # Of the evaluated loss alone, where that of the training has none.
    only = record(5, ("margin_test", "product"), evaluate=losses)
    squared = lf.train(network, losses["power"], start_of(network), record=only, **options)
    assert list(squared.observables) == ["margin_test", "product", "loss_test", "loss_power"]
    slow = reference.train(network, losses["power"], start_of(network), record=only, **options)
    assert_allclose(squared.margin_test, slow.margin_test, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_stop_at_the_first_check_at_or_below_the_threshold(dtype):
    network, loss = lf.Dense((4, 6, 3)), make_loss((4, 3))
    other = make_loss((4, 3), seed=7)
    start = start_of(network, (40,), dtype=dtype)
    method = lf.GradientDescent(0.02)
    record = lf.Record.every(3, ("loss", "product"), evaluate={"risk": loss, "test": other})
    free = lf.train(network, loss, start, method=method, n_steps=60, record=record)
    limits = np.linspace(free.loss_test.min(), free.loss_test.max(), 40)
    stop = lf.Stop(evaluate={"test": limits}, check_every=3)
    run = lf.train(network, loss, start, method=method, n_steps=60, record=record, stop=stop)
    met = free.loss_test <= limits[:, None]
    assert met.any(axis=-1).any()
    assert not met.any(axis=-1).all()
    expected = np.where(met.any(axis=-1), 3 * met.argmax(axis=-1), 60)
    assert_array_equal(run.stopped_at, expected)
    assert_array_equal(run.status == lf.Status.CONVERGED, met.any(axis=-1))
    if dtype == np.float64:
        slow = reference.train(
            network, loss, start, method=method, n_steps=60, record=record, stop=stop
        )
        assert_array_equal(slow.stopped_at, run.stopped_at)
        assert_array_equal(np.isnan(slow.loss_test), np.isnan(run.loss_test))


def test_checks_between_records_and_several_rules():
    network, loss = lf.Dense((4, 3)), make_loss((4, 3))
    start = start_of(network, (20,))
    options = {"method": lf.GradientDescent(0.05), "n_steps": 50}
    whole = lf.Record.every(
        1, ("loss", "gradient_norm"), evaluate={"a": loss, "b": make_loss((4, 3), seed=1)}
    )
    free = lf.train(network, loss, start, record=whole, **options)
    first, a, b = (
        np.median(free.loss),
        np.quantile(free.loss_a, 0.4),
        np.quantile(free.loss_b, 0.05),
    )
    stop = lf.Stop(loss=0.8 * first, evaluate={"b": b, "a": a}, check_every=4)
    rarely = lf.Record.at([0, 50], ("loss",), evaluate=whole.evaluate)
    run = lf.train(network, loss, start, record=rarely, stop=stop, **options)
    met = (free.loss <= 0.8 * first) | (free.loss_a <= a) | (free.loss_b <= b)
    met[:, np.arange(51) % 4 != 0] = False
    assert_array_equal(run.stopped_at, np.where(met.any(axis=-1), met.argmax(axis=-1), 50))
    assert len(set(run.stopped_at)) > 2


def test_flows_stop():
    network, loss, other = lf.Dense((4, 3)), make_loss((4, 3)), make_loss((4, 3), seed=7)
    start = start_of(network, (9,))
    record = lf.Record.geomspace(60, ("product",), evaluate={"test": other})
    options = {"method": lf.GradientFlow(), "until": 5.0, "record": record}
    free = lf.train(network, loss, start, **options)
    limit = float(np.quantile(free.loss_test, 0.3))
    run = lf.train(network, loss, start, stop=lf.Stop(evaluate={"test": limit}), **options)
    ended = run.status == lf.Status.CONVERGED
    assert ended.any()
    product = run.final.weights[0]
    assert (other.value(product)[ended] <= limit).all()
    assert (np.nanmin(free.loss_test, axis=-1)[~ended] > limit * (1 - 1e-9)).all()


def test_a_training_goes_on():
    network, loss, other = lf.Dense((4, 5, 3)), make_loss((4, 3)), make_loss((4, 3), seed=7)
    start = start_of(network, (9,))
    options = {
        "method": lf.GradientDescent(0.02, momentum=0.5),
        "record": lf.Record.every(5, ("loss",), evaluate={"test": other}),
        "stop": lf.Stop(evaluate={"test": 1.0}, check_every=5),
    }
    whole = lf.train(network, loss, start, n_steps=50, **options)
    half = lf.train(network, loss, start, n_steps=20, **options)
    rest = lf.train(network, loss, half.final, n_steps=30, **options)
    joined = np.concatenate([half.loss_test, rest.loss_test[:, 1:]], axis=-1)
    going = half.status == lf.Status.COMPLETED
    assert_array_equal(joined[going], whole.loss_test[going])
    assert_array_equal(rest.stopped_at, whole.stopped_at)
    assert np.isnan(rest.loss_test[~going]).all()


def test_runs_that_diverge():
    network, loss = lf.Dense((3, 4, 2)), make_loss((3, 2))
    run = lf.train(
        network, loss, start_of(network, (3,)), method=lf.GradientDescent([0.01, 1e3, 0.01]), n_steps=40,
        record=lf.Record.every(10, ("loss",), evaluate={"test": loss}),
    )  # fmt: skip
    assert_array_equal(run.ok, [True, False, True])
    assert np.isfinite(run.loss_test[[0, 2]]).all()
    assert np.isnan(run.loss_test[1, -1])


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_stochastic_descent_is_evaluated_on_all_samples(kind):
    network, loss = lf.Dense((5, 1)), make_binary(kind, 5)
    other = make_binary(kind, 5, seed=2)
    run = lf.train(
        network, loss, start_of(network, (9,)), n_steps=20,
        method=lf.StochasticGradientDescent(0.05, 4),
        record=lf.Record.every(5, ("loss", "product"), evaluate={"test": other, "same": loss}),
    )  # fmt: skip
    assert_of(run, "test", other)
    assert_array_equal(run.loss_same, run.loss)


def test_flows_in_other_coordinates():
    """Where angles are resolved beyond the weights, evaluated losses see what they would without."""
    dim, runs = 5, (9,)
    network = lf.Dense((dim, 4, 1))
    v = np.random.default_rng(0).standard_normal((9, dim))
    v[3] = np.eye(dim)[1]  # not turned
    loss = lf.SphericalLogisticLoss(v, lf.laws.Gaussian(dim))
    x, y = make_data(30, dim)
    others = {
        "samples": lf.LogisticLoss.from_data(x, y),
        "squared": lf.SquaredLoss.from_data(x, y[:, None]),
        "own": make_loss((dim, 1), runs),
        "law": make_binary("ball", dim),
        "same": loss,
    }
    record = lf.Record.geomspace(8, ("loss", "angle", "product", "margin_samples"), evaluate=others)
    options = {"method": lf.GradientFlow(log_time=True), "until": 6.0, "record": record}
    for run in (
        lf.train(network, loss, start_of(network, runs), n_threads=1, **options),
        lf.train(network, loss.of_run((0,), runs), [w[0] for w in start_of(network, runs)], **options | {
            "record": lf.Record.geomspace(8, ("loss", "angle", "product"), evaluate={
                name: other for name, other in others.items() if not other.run_shape})}),
    ):  # fmt: skip
        for name, other in run.evaluated.items():
            assert_of(run, name, other, rtol=1e-11)
    whole = lf.train(network, loss, start_of(network, runs), **options)
    expected = others["samples"].margins(whole.product).min(axis=-1) / np.linalg.norm(
        whole.product, axis=(-2, -1)
    )
    assert_allclose(whole.margin_samples, expected, rtol=1e-9)
    # A rule that is met in those coordinates, too.
    limit = float(np.median(whole.loss_samples))
    stop = lf.Stop(evaluate={"samples": limit})
    run = lf.train(network, loss, start_of(network, runs), stop=stop, **options)
    ended = run.status == lf.Status.CONVERGED
    assert ended.any()
    product = run.final.weights[1] @ run.final.weights[0]
    assert (others["samples"].value(product)[ended] <= limit * (1 + 1e-12)).all()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_observe_says_what_a_training_would(n_threads):
    network, runs = lf.Dense((5, 6, 1)), (3, 7)
    loss, start = make_binary("logistic", 5), start_of(network, runs)
    others = {"test": make_binary("logistic", 5, (7,), seed=1), "squared": make_loss((5, 1))}
    names = ("margin", "angle", "loss")
    run = lf.train(
        network, loss, start, method=lf.GradientDescent(0.1), n_steps=1,
        record=lf.Record.at([0], names, direction(5), evaluate=others),
    )  # fmt: skip
    seen = lf.observe(
        network, loss, start, names, direction=direction(5), evaluate=others, n_threads=n_threads
    )
    assert list(seen) == [*names, "loss_test", "margin_test", "loss_squared"]
    for name, value in seen.items():
        assert_array_equal(value, getattr(run, name)[..., 0], err_msg=name)
    (value,) = lf.observe(network, loss, start, ["loss_test"], evaluate={"test": loss}).values()
    assert_array_equal(value, seen["loss"])
    wide = lf.observe(network, loss, [w[0, 0] for w in start], ["loss"], evaluate=others)
    assert wide["loss_test"].shape == (7,)


def trained(**options):
    network, other = lf.Dense((4, 5, 3)), make_loss((4, 3), seed=7)
    record = lf.Record.every(5, ("loss",), evaluate={"test": other, "risk": make_loss((4, 3))})
    options = {"method": lf.GradientDescent(0.02), "n_steps": 20, "record": record} | options
    return lf.train(network, make_loss((4, 3)), start_of(network, (6,)), **options)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_files_keep_what_was_evaluated(tmp_path, suffix):
    run = trained()
    run.save(tmp_path / f"run{suffix}")
    again = lf.Trajectory.load(tmp_path / f"run{suffix}")
    assert_same(again, run)
    assert list(again.evaluated) == ["test", "risk"]
    for name, loss in run.evaluated.items():
        for field in loss.inner_axes:
            assert_array_equal(getattr(again.evaluated[name], field), getattr(loss, field))
    product = again.final.weights[1] @ again.final.weights[0]
    assert_allclose(again.loss_test[:, -1], again.evaluated["test"].value(product), rtol=1e-12)


def test_files_keep_large_arrays_of_what_was_evaluated(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    other = lf.SquaredLoss.from_data(x, y, form="samples")
    record = lf.Record.every(5, ("loss",), evaluate={"test": other})
    run = trained(record=record)
    run.save(tmp_path / "run.npz")
    again = lf.Trajectory.load(tmp_path / "run.npz").evaluated["test"]
    assert_array_equal(again.inputs, other.inputs)
    assert_array_equal(again.outputs, other.outputs)


def test_labelled_results_have_it():
    data = trained().to_xarray(("seed",))
    assert data["loss_test"].dims == data["loss_risk"].dims == ("seed", "step")


def test_copies_and_plain_data():
    run = trained()
    for other in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert_same(other, run)
        assert list(other.evaluated) == ["test", "risk"]
    record = lf.Record.every(5, ("loss",), evaluate={"test": make_loss((4, 3))})
    stop = lf.Stop(evaluate={"test": [0.5, 0.25]})
    arrays: plain.Arrays = {}
    for name, noun in (("record", record), ("stop", stop)):
        again = plain.decode(name, plain.encode(noun, arrays), arrays)
        assert plain.text(plain.encode(again)) == plain.text(plain.encode(noun))
        assert repr(again) == repr(noun)
        assert repr(pickle.loads(pickle.dumps(noun))) == repr(noun)
    assert record == copy.copy(record)
    assert hash(record) == hash(copy.copy(record))
    # Nothing is said where nothing is evaluated: identities of before stay what they were.
    assert "evaluate" not in plain.encode(lf.Record.every(5))
    assert "evaluate" not in plain.encode(lf.Stop(loss=0.1))
    odd = lf.Stop(evaluate={"array": 0.5, "float": 0.25, "loss": 0.125})
    assert repr(plain.decode("stop", plain.encode(odd))) == repr(odd)


LOSS = make_loss((4, 3))
LABELS = [
    (3, TypeError, "evaluate must be a mapping from names, got dict"),
    ("a b", ValueError, "evaluate must have identifiers such as 'test' as names, got 'a b'"),
    ("", ValueError, "evaluate must have identifiers"),
    ("_x", ValueError, "evaluate must have identifiers"),
    ("1", ValueError, "evaluate must have identifiers"),
    ("function", ValueError, "must not make that of another result, got 'function': loss_function"),
]


@pytest.mark.parametrize(("name", "exception", "message"), LABELS)
def test_names_that_are_none(name, exception, message):
    with pytest.raises(exception, match=message):
        lf.Record.every(1, evaluate={name: LOSS})
    with pytest.raises(exception, match=message):
        lf.Stop(evaluate={name: 0.5})
    with pytest.raises(exception, match=message):
        lf.observe(lf.Dense((4, 3)), LOSS, [np.ones((3, 4))], ("loss",), evaluate={name: LOSS})


@pytest.mark.parametrize(
    ("value", "exception", "message"),
    [
        (None, TypeError, "evaluate must be a mapping from names, got NoneType"),
        (3, TypeError, "evaluate must be a mapping"),
        ("test", TypeError, "evaluate must be a mapping"),
        ([("test", LOSS)], TypeError, "evaluate must be a mapping"),
        (LOSS, TypeError, "evaluate must be a mapping"),
        (
            {"test": None},
            TypeError,
            r"evaluate\['test'\] must be a Loss,.* got NoneType",
        ),
        (
            {"test": 0.5},
            TypeError,
            r"evaluate\['test'\] must be a Loss,.* got float",
        ),
        ({"test": lf.SquaredLoss}, TypeError, r"evaluate\['test'\] must be a Loss"),
    ],
)
def test_losses_that_are_none(value, exception, message):
    with pytest.raises(exception, match=message):
        lf.Record.every(1, evaluate=value)
    for make in (lf.Record.geomspace, lf.Record.every):
        with pytest.raises(exception, match=message):
            make(2, evaluate=value)
    for make in (lf.Record.at, lf.Record.at_times):
        with pytest.raises(exception, match=message):
            make([2], evaluate=value)
    with pytest.raises(exception, match=message):
        lf.observe(lf.Dense((4, 3)), LOSS, [np.ones((3, 4))], ("loss",), evaluate=value)


@pytest.mark.parametrize(
    ("value", "exception", "message"),
    [
        (None, TypeError, "evaluate must be a mapping from names, got NoneType"),
        (0.5, TypeError, "evaluate must be a mapping"),
        (
            {},
            ValueError,
            "loss, gradient_norm, evaluate, below or above must be given, got none of them",
        ),
        ({"test": -1.0}, ValueError, r"evaluate\['test'\] must be >= 0"),
        ({"test": np.nan}, ValueError, r"evaluate\['test'\] must be finite"),
        ({"test": "a"}, TypeError, r"evaluate\['test'\] must be a real number"),
        ({"test": None}, TypeError, r"evaluate\['test'\] must be a real number"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, ValueError, r"evaluate\['b'\] \(3,\)"),
    ],
)
def test_thresholds_that_are_none(value, exception, message):
    with pytest.raises(exception, match=message):
        lf.Stop(evaluate=value)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        (
            {"record": lf.Record.every(1, evaluate={"test": make_loss((4, 2))})},
            ValueError,
            r"evaluate\['test'\] must match the network's widths \(4, 5, 3\), got 4 inputs and 2 out",
        ),
        (
            {"record": lf.Record.every(1, evaluate={"test": make_binary("logistic", 4)})},
            ValueError,
            r"evaluate\['test'\] must match the network's widths",
        ),
        (
            {"record": lf.Record.every(1, ("margin_test",), evaluate={"test": LOSS})},
            ValueError,
            "margin_test: margin is of samples with labels, and a SquaredLoss has none",
        ),
        (
            {"record": lf.Record.every(1, evaluate={"test": make_loss((4, 3), (5,))})},
            ValueError,
            r"run axes must broadcast .*evaluate\['test'\] \(5,\)",
        ),
        (
            {"stop": lf.Stop(evaluate={"tset": 0.5})},
            ValueError,
            "thresholds on losses that the record evaluates, got 'tset', and it evaluates test, risk",
        ),
        (
            {"stop": lf.Stop(evaluate={"test": 0.5}), "record": None},
            ValueError,
            "got 'test', and it evaluates none",
        ),
        (
            {"stop": lf.Stop(evaluate={"test": np.ones(5)})},
            ValueError,
            r"run axes must broadcast .*stop \(5,\)",
        ),
    ],
)
def test_what_does_not_go_together(options, exception, message):
    with pytest.raises(exception, match=message):
        trained(**options)


def test_names_of_observables():
    other = {"test": LOSS}
    mine = lf.Observable("loss_test", lambda _w, p: p[:, 0, 0])
    with pytest.raises(
        ValueError, match="must not have names of what is evaluated, got 'loss_test'"
    ):
        lf.Record.every(1, (mine,), evaluate=other)
    assert lf.Record.every(1, (mine,)).rows.keys() == {"loss_test"}
    with pytest.raises(ValueError, match=r"observables\[0\] must be one of .*'loss_tset'"):
        lf.Record.every(1, ("loss_tset",), evaluate=other)
    with pytest.raises(ValueError, match=r"observables\[0\] must be one of .*'gradient_norm_test'"):
        lf.Record.every(1, ("gradient_norm_test",), evaluate=other)
    with pytest.raises(ValueError, match=r"observables\[0\] must be one of .*'loss_test'"):
        lf.Record.every(1, ("loss_test",))


def test_a_loss_that_the_core_does_not_know():
    class Mine(type(LOSS)):
        core = None

    other = Mine(LOSS.input_cov, LOSS.cross_cov, LOSS.output_power)
    record = lf.Record.every(5, ("product",), evaluate={"test": other})
    with pytest.raises(
        TypeError, match=r"Mine is for linnet_fast\.reference\.train, the core does"
    ):
        trained(record=record)
    with pytest.raises(
        TypeError, match=r"Mine is for linnet_fast\.reference\.train, the core does"
    ):
        lf.observe(lf.Dense((4, 3)), LOSS, [np.ones((3, 4))], ("loss",), evaluate={"test": other})
    network = lf.Dense((4, 5, 3))
    slow = reference.train(
        network,
        LOSS,
        start_of(network, (2,)),
        method=lf.GradientDescent(0.02),
        n_steps=5,
        record=record,
    )
    assert_of(slow, "test", LOSS)


def by_core(evaluate, **changes):
    network = lf.Dense((4, 1))
    arguments = {
        **core_problem(network, make_loss((4, 1)), start_of(network, (2,)), (2,)),
        "weight_decay": np.zeros((2, 1)),
        "observables": set(),
        "n_threads": 1,
    } | changes
    return _core.observe(**arguments, evaluate=evaluate)


def core_loss(loss=None):
    loss = loss or make_loss((4, 1))
    return {"name": loss.core, **loss.core_fields((2,), np.dtype(np.float64))}


def test_the_core_evaluates_what_registry_says():
    samples = make_binary("logistic", 4)
    of_loss = {name for name, row in OBSERVABLES.items() if row.of_loss}
    seen = by_core({"test": {"loss": core_loss(samples), "observables": of_loss, "stop": None}})
    assert set(seen["evaluated"]["test"]) == of_loss
    for name in set(OBSERVABLES) - of_loss:
        with pytest.raises(ValueError, match=f"{name} is not of a loss alone|observable '{name}'"):
            by_core({"test": {"loss": core_loss(samples), "observables": {name}}})


@pytest.mark.parametrize(
    ("evaluate", "exception", "message"),
    [
        (None, TypeError, "incompatible function arguments"),
        ({"test": 3}, TypeError, "evaluate must be a dict of dicts, got int"),
        ({"test": {}}, ValueError, "evaluate needs loss and observables"),
        ({"test": {"loss": core_loss()}}, ValueError, "evaluate needs loss and observables"),
        ({"test": {"loss": core_loss(), "observables": set(), "x": 1}}, ValueError, "no field 'x'"),
        ({"test": {"loss": 3, "observables": set()}}, TypeError, "loss of evaluate must be a dict"),
        ({"test": {"loss": {}, "observables": set()}}, ValueError, "loss must have a name"),
        ({"test": {"loss": core_loss(), "observables": {"los"}}}, ValueError, "unknown observable"),
        (
            {"test": {"loss": core_loss(), "observables": {"margin"}}},
            ValueError,
            "needs samples with",
        ),
        (
            {"test": {"loss": core_loss(), "observables": set(), "stop": 1.0}},
            TypeError,
            "stop of evaluate must be an array, got float",
        ),
        (
            {"test": {"loss": core_loss(), "observables": set(), "stop": np.zeros(3)}},
            ValueError,
            r"stop of evaluate must have shape \(2,\), got \(3,\)",
        ),
        (
            {"test": {"loss": core_loss() | {"input_cov": np.eye(3)}, "observables": set()}},
            ValueError,
            "input_cov must have shape",
        ),
    ],
)
def test_what_the_core_refuses(evaluate, exception, message):
    with pytest.raises(exception, match=message):
        by_core(evaluate)


@pytest.mark.parametrize(
    ("evaluated", "message"),
    [
        (3, "evaluated must be a table in its description, got an integer"),
        ({"test": 3}, r"evaluated\['test'\] must be a Loss, got int"),
        ({"a b": None}, "evaluated must have identifiers"),
        ({"test": {"kind": "Nothing"}}, "evaluate.test.kind must be one of"),
    ],
)
def test_descriptions_that_are_none(tmp_path, evaluated, message):
    trained().save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as file:
        arrays = dict(file)
    header = json.loads(arrays["linnet_fast"].tobytes()) | {"evaluated": evaluated}
    arrays["linnet_fast"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "run.npz", **arrays)
    with pytest.raises(ValueError, match=f"is not a readable linnet_fast result: {message}"):
        lf.Trajectory.load(tmp_path / "run.npz")
