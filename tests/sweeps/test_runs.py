"""Which run of a sweep is which: groups, streams, numbers, identities, and specs from plain data."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from binary_problems import make_binary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support import assert_same, make_loss
from sweep_specs import FLOW, LOSS, SPHERICAL, TRAINING, grid, training_at, values_of

import linnet_fast as lf
from linnet_fast.sweeps import spec as specs

# -- which run is which ----------------------------------------------------------------------------

# Parameter -> values, and whether they keep runs apart: written down here rather than asked.
MENU = {
    "start.scale": ([0.1, 0.2, 1], False),
    "method.step_size": ([0.01, 0.02, 0.05], False),
    "method.weight_decay": ([0.0, 0.1], False),
    "stop.loss": ([1e-3, 2.0], False),
    "loss": ([make_loss((3, 2), seed=s) for s in range(3)], False),
    "n_steps": ([3, 4, 5], True),
    "network.hidden": ([1, 2, 3], True),
    "dtype": (["float32", "float64"], True),
    "start": ([lf.Start("gaussian"), lf.Start("gaussian", 0.5, fan="none"), lf.Start("balanced")], True),
    "record": ([None, lf.Record.every(2), lf.Record.at([0, 1])], True),
    "stop.check_every": ([1, 2], True),
    "method.layer_multipliers": ([[1.0, 1.0], [0.0, 1.0]], True),
    "network": ([lf.Dense((3, 2, 2)), lf.Dense((3, 5, 2))], True),
}  # fmt: skip


@st.composite
def designs(draw):
    """Return a spec, and for each of its dimensions the choices of each label."""
    paths = draw(st.lists(st.sampled_from(sorted(MENU)), max_size=5, unique=True))
    parameters, choices = {}, {}
    number = 0
    while paths:
        here = [paths.pop() for _ in range(draw(st.integers(1, min(2, len(paths)))))]
        length = draw(st.integers(1, 4))
        columns = {}
        for path in here:
            places = st.integers(0, len(MENU[path][0]) - 1)
            columns[path] = draw(st.lists(places, min_size=length, max_size=length))
        values = {path: [MENU[path][0][i] for i in column] for path, column in columns.items()}
        labels = draw(st.permutations(range(length)))
        parameters[f"axis_{number}"] = lf.Axis(labels, values)
        apart = [columns[path] for path in here if MENU[path][1]]
        choices[f"axis_{number}"] = (bool(apart), list(zip(*apart, strict=True)) or [()] * length)
        number += 1
    spec = grid(
        parameters,
        replicates=draw(st.none() | st.integers(1, 4)),
        rng=draw(st.integers(0, 5)),
        common_seeds=draw(st.booleans()),
        derived=draw(st.sampled_from(["final_loss", ("learned_rank", "final_norm")])),
        keep_records=False,
    )
    return spec, choices


@settings(max_examples=80)
@given(designs())
def test_groups_are_runs_that_differ_in_numbers_only(design):
    spec, choices = design
    in_order = sorted(choices, key=lambda name: not choices[name][0])
    own = list(spec.axes)
    assert own == in_order
    indices = [np.array(i) for i in zip(*np.ndindex(spec.shape), strict=True)]
    groups = spec.groups_of(indices) if indices else spec.groups_of([])
    assert len(groups) == spec.n_runs
    keys = [
        tuple(choices[name][1][i] for name, i in zip(own, index, strict=False))
        for index in np.ndindex(spec.shape)
    ]
    assert len(set(keys)) == len(spec.groups)
    assert len(set(zip(keys, groups.tolist(), strict=True))) == len(spec.groups)
    assert_array_equal(spec.group_sizes(), np.bincount(groups, minlength=len(spec.groups)))
    for group in spec.groups:
        first = spec.first_of(group)
        number = int(np.argmax(groups == group))
        assert spec.index(number)[: len(own)] == first
        assert_array_equal(spec.groups_of([np.array([i]) for i in first]), [group])


@settings(max_examples=60)
@given(designs())
def test_streams_and_numbers_of_runs(design):
    spec, _ = design
    indices = [np.array(i) for i in zip(*np.ndindex(spec.shape), strict=True)]
    streams = spec.streams_of(indices).tolist()
    for number, index in enumerate(np.ndindex(spec.shape)):
        assert spec.index(number) == index
        seed = index[-1] if spec.replicates is not None else 0
        assert streams[number] == (seed if spec.common_seeds else number)
    for bad in (-1, spec.n_runs):
        with pytest.raises(ValueError, match="number must be"):
            spec.index(bad)


def run_ids(spec):
    return [spec.run_id(number) for number in range(spec.n_runs)]


@settings(max_examples=60)
@given(designs())
def test_specs_come_back_from_plain_data(design):
    spec, _ = design
    arrays = {}
    text = json.dumps(spec.encode(arrays))
    again = specs.decode(json.loads(text), spec.derived, arrays)
    assert again.id == spec.id
    assert again.encode() == spec.encode()
    assert (again.dims, again.shape) == (spec.dims, spec.shape)
    for name, axis in spec.axes.items():
        assert_array_equal(again.axes[name].labels, axis.labels, strict=True)
    assert again.group_shape == spec.group_shape
    if spec.n_runs <= 64:
        assert run_ids(again) == run_ids(spec)
    copy = pickle.loads(pickle.dumps(spec))
    assert copy.id == spec.id


@settings(max_examples=60)
@given(designs(), st.data())
def test_the_beginning_of_a_spec(design, data):
    spec, _ = design
    shape = tuple(data.draw(st.integers(1, n)) for n in spec.shape)
    part = spec.cut(shape)
    assert (part.dims, part.shape) == (spec.dims, shape)
    for name, axis in part.axes.items():
        assert_array_equal(axis.labels, spec.axes[name].labels[: len(axis)], strict=True)
    whole = np.array(run_ids(spec)).reshape(spec.shape)
    if spec.common_seeds or shape[1:] == spec.shape[1:]:
        assert run_ids(part) == whole[tuple(map(slice, shape))].ravel().tolist()
    assert spec.cut(spec.shape).id == spec.id


def test_the_beginning_keeps_the_order_of_dimensions():
    """Also where what is left can be trained in one batch, which would put it last."""
    losses = [LOSS, make_loss((3, 2), seed=4), make_loss((5, 2))]
    spec = grid({"start.scale": [0.1, 0.2], "loss": losses}, replicates=3)
    assert spec.dims == ("loss", "scale", "seed")
    part = spec.cut((2, 1, 3))
    assert (part.dims, part.shape) == (spec.dims, (2, 1, 3))
    assert run_ids(part) == [spec.run_id(n) for n in (0, 1, 2, 6, 7, 8)]


SORTED = {
    "gaussian": SPHERICAL,
    "descent": TRAINING,
    "flow": FLOW,
}


@pytest.mark.parametrize("training", SORTED.values(), ids=SORTED)
def test_every_part_comes_back_from_plain_data(training):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    losses = {
        "logistic": lf.LogisticLoss(x, np.sign(x[:, 0]), 0.1),
        "exponential": lf.ExponentialLoss(x, np.sign(x[:, 1])),
        "ball": lf.SphericalLogisticLoss([1.0, 2.0, 2.0], lf.laws.Ball(3, 2.0)),
        "mixture": lf.SphericalLogisticLoss(
            [1.0, 0.1, 0.3], lf.laws.RadialMixture(3, [1.0, 2.0], [0.5, 0.5])
        ),
    }
    one = lf.Training(
        lf.Dense((3, 1)),
        losses["ball"],
        training.start,
        training.method,
        training.n_steps,
        training.until,
    )
    starts = [
        lf.Start("gaussian", fan="none"),
        lf.Start("balanced", 0.1, product=x[:1]),
        lf.Start("orthogonal"),
    ]
    records = [None, lf.Record.geomspace(5, ("norm", "angle"), direction=[1.0, 0.0, 3.0])]
    parameters = {"loss": losses, "start": starts, "when": lf.Axis(["a", "b"], {"record": records})}
    if training is not FLOW:
        parameters["method"] = [
            lf.GradientDescent(lf.StepRule.geometric(0.1, 1.1), 0.1, [2.0]),
            lf.StochasticGradientDescent(0.1, 3, 2**63, weight_decay=0.5),
        ]
    spec = lf.grid(one, parameters, keep_records=False)
    arrays = {}
    data = json.loads(json.dumps(spec.encode(arrays)))
    assert arrays  # samples are kept apart
    again = specs.decode(data, spec.derived, arrays)
    assert again.id == spec.id
    for number in range(0, spec.n_runs, 5):
        assert again.run_id(number) == spec.run_id(number)
        assert_same(again.run(number), spec.run(number))


def test_many_values_come_back():
    values = {"start.scale": np.linspace(0, 1, 200).tolist(), "n_steps": list(range(200))}
    spec = lf.paired(TRAINING, values)
    arrays = {}
    again = specs.decode(json.loads(json.dumps(spec.encode(arrays))), spec.derived, arrays)
    assert again.id == spec.id
    assert values_of(again) == values_of(spec)
    assert [training_at(again, i).n_steps for i in (0, 199)] == [0, 199]
    seeds = lf.Axis(["a", "b"], {"method.seed": [1, 2**64 - 1]})
    large = lf.grid(SPHERICAL, {"number": seeds})
    again = specs.decode(json.loads(json.dumps(large.encode({}))), large.derived, {})
    assert training_at(again, 1).method.seed == 2**64 - 1
    assert again.id == large.id


# -- identities ------------------------------------------------------------------------------------


def test_runs_are_the_same_in_whatever_design():
    values = {"start.scale": [0.1, 0.2], "n_steps": [3, 4]}
    one = lf.paired(TRAINING, values, common_seeds=True)
    two = grid(values)
    assert two.dims == ("n_steps", "scale")
    assert [one.run_id(0), one.run_id(1)] == [two.run_id(0), two.run_id(3)]
    whole = lf.Training(
        TRAINING.network, LOSS, lf.Start("gaussian", 0.1), TRAINING.method, 3, stop=TRAINING.stop
    )
    assert lf.grid(whole, {}).run_id(0) == one.run_id(0)
    names = grid({"start.scale": {"a": 0.1}, "n_steps": {"b": 3}})
    assert names.run_id(0) == one.run_id(0)
    assert grid({"start.scale": [1]}).run_id(0) == grid({"start.scale": [1.0]}).run_id(0)


def test_runs_that_differ_have_other_identities():
    variants = {
        "plain": grid({}),
        "rng": grid({}, rng=1),
        "derived": grid({}, derived="final_norm"),
        "named": grid({}, derived={"other": "final_loss"}),
        "function": grid({}, derived={"final_loss": lambda t: t.loss[:, -1]}),
        "steps": grid({"n_steps": [21]}),
        "scale": grid({"start.scale": [0.5 + 2**-53]}),
        "kind": grid({"start.kind": ["orthogonal"]}),
        "widths": grid({"network.hidden": [5]}),
        "loss": grid({"loss": [make_loss((3, 2), seed=3)]}),
        "stop": grid({"stop.check_every": [6]}),
        "dtype": grid({"dtype": ["float32"]}),
        "decay": grid({"method.weight_decay": [1e-300]}),
    }
    ids = {name: spec.run_id(0) for name, spec in variants.items()}
    assert len(set(ids.values())) == len(ids)
    assert all(len(i) == 64 and set(i) <= set("0123456789abcdef") for i in ids.values())
    assert len({spec.id for spec in variants.values()}) == len(variants)
    seeds = run_ids(grid({}, replicates=5))
    assert len(set(seeds)) == 5
    assert seeds[0] == ids["plain"]


def test_specs_that_differ_in_names_only_are_other_specs_of_the_same_runs():
    a, b = grid({"start.scale": {"a": 0.1}}), grid({"start.scale": {"b": 0.1}})
    assert a.id != b.id
    assert a.run_id(0) == b.run_id(0)


@pytest.mark.parametrize("common", [True, False])
def test_identities_of_sweeps_whose_runs_keep_theirs(common):
    """Replicates are numbered by the shape where every run has its own numbers."""
    few, many = (
        grid({"start.scale": [0.1, 0.2]}, replicates=n, common_seeds=common) for n in (2, 3)
    )
    same = [few.run_id(n) for n in range(4)] == [many.run_id(n) for n in (0, 1, 3, 4)]
    assert same == common
    longer = grid({"start.scale": [0.1, 0.2, 0.3]}, replicates=2, common_seeds=common)
    assert run_ids(longer)[:4] == run_ids(few)


def test_runs_are_trained_from_their_streams():
    spec = grid({"start.scale": [0.1, 0.2]}, replicates=3, common_seeds=False, rng=4)
    for number, (i, seed) in enumerate(itertools.product(range(2), range(3))):
        assert spec.index(number) == (i, seed)
        training = training_at(spec, i)
        assert_same(spec.run(number), training.train(rng=4, stream=number))
    with pytest.raises(ValueError, match="number must be <= 5, got 6"):
        spec.run(6)
    with pytest.raises(TypeError, match="number must be an integer, got float"):
        spec.run_id(0.0)


def test_losses_are_stacked_where_that_is_worth_it():
    small = [make_loss((3, 2), seed=s) for s in range(3)]
    assert len(grid({"loss": small}).groups) == 1
    assert len(grid({"loss": [*small, make_loss((4, 2))]}).groups) == 4
    assert len(grid({"loss": [small[0], small[0], make_loss((4, 2))][::2]}).groups) == 2
    large = [make_loss((130, 1), seed=s) for s in range(2)]
    wide = lf.Training(
        lf.Dense((130, 1)), large[0], lf.Start("gaussian"), lf.GradientDescent(1e-3), 2
    )
    assert len(lf.grid(wide, {"loss": large}).groups) == 2
    one = lf.Training(
        lf.Dense((3, 1)),
        make_binary("logistic", 3),
        lf.Start("gaussian"),
        lf.GradientDescent(0.1),
        3,
    )
    assert (
        len(lf.grid(one, {"loss": [make_binary("logistic", 3, seed=s) for s in range(2)]}).groups)
        == 2
    )
    assert len(lf.grid(one, {"loss.label_noise": [0.0, 0.1, 0.2]}).groups) == 1


def test_more_runs_than_streams_of_stochastic_descent_are_refused():
    training = lf.Training(
        lf.Dense((2, 2, 1)),
        lf.SphericalLogisticLoss([0.0, 1.0], lf.laws.Gaussian(2)),
        lf.Start("gaussian"),
        method=lf.StochasticGradientDescent(0.1, 10),
        n_steps=3,
    )
    lf.grid(training, {}, replicates=2**32)
    with pytest.raises(ValueError, match=r"2\*\*32 random streams"):
        lf.grid(training, {}, replicates=2**32 + 1)
