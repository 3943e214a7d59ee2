"""Designs of sweeps: names, labels and order of dimensions, what is refused, and which run is which."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
import scipy.stats
from binary_problems import make_binary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support import assert_same, make_loss

import linnet_fast as lf
from linnet_fast._sweep import spec as specs

LOSS = make_loss((3, 2))
TRAINING = lf.Training(
    lf.Dense((3, 4, 2)),
    LOSS,
    lf.Start("gaussian", 0.5),
    method=lf.GradientDescent(0.05),
    n_steps=20,
    stop=lf.Stop(1e-6, check_every=5),
)
SPHERICAL = lf.Training(
    lf.Dense((3, 4, 1)),
    lf.SphericalLogisticLoss([1.0, 0.0, 0.0], lf.laws.Gaussian(3)),
    lf.Start("gaussian", 0.5),
    method=lf.StochasticGradientDescent(lf.StepRule.power(0.1, -0.5), 4),
    n_steps=5,
)
FLOW = lf.Training(
    lf.Dense((3, 4, 2)), LOSS, lf.Start("balanced"), method=lf.GradientFlow(), until=2.0
)


def grid(parameters, training=TRAINING, **options):
    return lf.grid(training, parameters, **options)


def labels_of(spec, name):
    return spec.axes[name].labels.tolist()


def training_at(spec, *indices):
    return spec.training_at(indices)


# -- grids -----------------------------------------------------------------------------------------


def test_dimensions_are_named_by_the_last_part():
    spec = grid({"start.scale": [0.1, 0.2], "method.step_size": [0.1], "n_steps": [3, 4, 5]})
    assert spec.dims == ("n_steps", "scale", "step_size")
    assert spec.shape == (3, 2, 1)
    assert spec.n_runs == 6
    assert repr(spec) == "<SweepSpec of 6 runs: 3 n_steps x 2 scale x 1 step_size>"
    assert repr(grid({}, replicates=10**6)) == "<SweepSpec of 1,000,000 runs: 1000000 seed>"
    assert repr(grid({})) == "<SweepSpec of 1 runs>"


def test_dimensions_with_the_same_last_part_are_named_in_full():
    spec = lf.grid(
        SPHERICAL,
        {"start.scale": [0.1], "loss.law.scale": [1.0], "method.step_size.exponent": [0.0]},
    )
    assert set(spec.dims) == {"start_scale", "loss_law_scale", "exponent"}
    both = grid({"scale": lf.Axis(["a"], {"method.step_size": [0.1]}), "start.scale": [2.0]})
    assert set(both.dims) == {"scale", "start_scale"}


def test_no_dimension_is_lost_where_names_meet():
    axis = lf.Axis(["a"], {"method.step_size": [lf.StepRule.power(0.1, 0.0)]})
    parameters = {"start_scale": axis, "start.scale": [2.0, 3.0], "loss.law.scale": [1.0]}
    with pytest.raises(ValueError, match="start_scale"):
        lf.grid(SPHERICAL, parameters)


@pytest.mark.parametrize(
    ("values", "labels", "scales"),
    [
        ([0.1, 0.2], [0.1, 0.2], [0.1, 0.2]),
        ((1, 2), [1, 2], [1, 2]),
        (range(1, 4), [1, 2, 3], [1, 2, 3]),
        (np.array([0.5, 0.25]), [0.5, 0.25], [0.5, 0.25]),
        (np.array([1, 2], np.int32), [1, 2], [1, 2]),
        ([np.float32(0.5), 2], [0.5, 2.0], [0.5, 2.0]),
        ((v for v in (0.1, 0.2)), [0.1, 0.2], [0.1, 0.2]),
        ({"small": 0.1, "large": 2.0}, ["small", "large"], [0.1, 2.0]),
        ({1: 0.1, 3: 0.2}, [1, 3], [0.1, 0.2]),
    ],
)
def test_labels_of_numbers(values, labels, scales):
    spec = grid({"start.scale": values})
    assert labels_of(spec, "scale") == labels
    assert spec.axes["scale"].labels.dtype.kind == np.array(labels).dtype.kind
    assert [float(training_at(spec, i).start.scale) for i in range(len(labels))] == scales


def test_labels_of_objects():
    networks = [lf.Dense((3, 2)), lf.Dense((3, 5, 2))]
    spec = grid({"network": networks})
    assert labels_of(spec, "network") == [network.spec for network in networks]
    assert labels_of(grid({"network.widths": [(3, 2), [3, 5, 5, 2]]}), "widths") == [
        "3-2",
        "3-5-5-2",
    ]
    assert labels_of(grid({"start": [lf.Start("balanced"), lf.Start("orthogonal")]}), "start") == [
        0,
        1,
    ]
    assert labels_of(grid({"stop": [None, lf.Stop(0.1)]}), "stop") == [0, 1]
    assert labels_of(grid({"dtype": ["float32", "float64"]}), "dtype") == ["float32", "float64"]
    rules = [1.0, lf.StepRule.power(0.1, 0.5)]
    assert len(set(labels_of(grid({"method.step_size": rules}), "step_size"))) == 2
    flags = lf.grid(FLOW, {"method.log_time": [False, True]})
    assert labels_of(flags, "log_time") == [0, 1]
    assert [training_at(flags, i).method.log_time for i in range(2)] == [False, True]


def test_mappings_name_objects():
    starts = {"small": lf.Start("gaussian", 1e-3), "whole": lf.Start("orthogonal")}
    spec = grid({"start": starts, "method.step_size": [0.1, 0.2]})
    assert spec.dims == ("start", "step_size")
    assert labels_of(spec, "start") == ["small", "whole"]
    for i, start in enumerate(starts.values()):
        assert training_at(spec, i, 0).start is start


def test_structural_dimensions_come_first_in_the_given_order():
    parameters = {
        "start.scale": [0.1, 0.2],
        "network.hidden": [2, 3],
        "method.step_size": [0.1],
        "loss": [make_loss((3, 2), seed=s) for s in range(2)],
        "dtype": ["float32"],
        "stop.loss": [0.1],
        "method.weight_decay": [0.0],
        "n_steps": [5],
    }
    spec = grid(parameters, replicates=2)
    structural = ("hidden", "dtype", "n_steps")
    numbers = ("scale", "step_size", "loss", "stop_loss", "weight_decay")
    assert spec.dims == (*structural, *numbers, "seed")
    assert len(spec.groups) == 2
    mixed = lf.Axis(["a", "b"], {"start.scale": [0.1, 0.2], "n_steps": [3, 4]})
    assert grid({"method.step_size": [0.1], "both": mixed}).dims == ("both", "step_size")


def test_several_parameters_move_along_one_axis():
    axis = lf.Axis(
        ["a", "b"], {"network.hidden": [2, 5], "start.scale": [0.1, 0.2], "n_steps": [3, 9]}
    )
    assert len(axis) == 2
    assert repr(axis) == "Axis of 2: network.hidden, start.scale, n_steps"
    spec = grid({"both": axis, "method.step_size": [0.1, 0.2, 0.3]})
    assert spec.dims == ("both", "step_size")
    for i, (hidden, scale, n_steps) in enumerate([(2, 0.1, 3), (5, 0.2, 9)]):
        made = training_at(spec, i, 2)
        assert made.network.widths == (3, hidden, 2)
        assert (made.start.scale, made.n_steps, made.method.step_size) == (scale, n_steps, 0.3)


@pytest.mark.parametrize(
    ("labels", "values", "exception", "message"),
    [
        ([1, 2], {"start.scale": [0.1]}, ValueError, "values of start.scale must be 2, one per label, got 1"),
        ([1, 1], {"start.scale": [0.1, 0.2]}, ValueError, "labels must be different, got 1 twice"),
        (["a", "a"], {"start.scale": [0.1, 0.2]}, ValueError, "labels must be different, got a twice"),
        ([], {"start.scale": []}, ValueError, "labels must not be empty"),
        ([1], {}, ValueError, "values of an Axis must name at least one parameter, got none"),
        ([None], {"start.scale": [1]}, TypeError, "labels must be numbers or texts, got None"),
        ([True, False], {"start.scale": [1, 2]}, TypeError, "labels must be numbers or texts, got True"),
        ([[1, 2], [3]], {"start.scale": [1, 2]}, TypeError, "labels must be numbers or texts, got"),
        ([[1, 2], [3, 4]], {"start.scale": [1, 2]}, TypeError, "labels must be numbers or texts, got"),
        ([1j], {"start.scale": [1]}, TypeError, "labels must be numbers or texts, got 1j"),
        ([np.nan], {"start.scale": [1]}, ValueError, "labels must be finite"),
        ([1.0, np.inf], {"start.scale": [1, 2]}, ValueError, "labels must be finite"),
        ([2**63], {"start.scale": [1]}, ValueError, "labels must be .*, got 9223372036854775808"),
        ([2**63 + 1, 1], {"start.scale": [1, 2]}, ValueError, "labels must be .*, got 9223372036854775809"),
        ([10**30], {"start.scale": [1]}, (TypeError, ValueError), "labels must be"),
    ],
)  # fmt: skip
def test_bad_axes_are_refused(labels, values, exception, message):
    with pytest.raises(exception, match=message):
        lf.Axis(labels, values)


NEAR = [
    ("metthod.step_size", "parameter must be one of .*; got 'metthod'; did you mean 'method'"),
    ("nsteps", "got 'nsteps'; did you mean 'n_steps'"),
    ("scale", "parameter must be one of loss, network, start, method, n_steps, until, record, stop, dtype; got 'scale'"),
    ("method.stepsize", "parameter of method must be one of step_size, .* did you mean 'step_size'"),
    ("network.hiddn", "parameter of network must be one of widths, hidden, n_layers; got 'hiddn'; did you mean 'hidden'"),
    ("network.n_layer", "did you mean 'n_layers'"),
    ("start.scal", "parameter of start must be one of kind, scale, fan, product, strengths, scale_of; .* did you mean 'scale'"),
    ("stop.gradientnorm", "did you mean 'gradient_norm'"),
    ("loss.label_noise", "parameter of loss must be one of input_cov, cross_cov, output_power; got 'label_noise'"),
    ("method.rtol", "parameter of method must be one of step_size, weight_decay, layer_multipliers; got 'rtol'"),
    ("method.step_size.scale", "method.step_size must be an object that has 'scale', got"),
    ("n_steps.x", "n_steps must be an object that has 'x', got a int"),
    ("until.x", "until must be an object that has 'x', got None"),
    ("record.numbers", "record must be an object that has 'numbers', got None"),
    ("start.scale.x", "start.scale must be an object that has 'x', got a ndarray"),
    ("", "parameter must be one of"),
    ("method.", "parameter of method must be one of"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "message"), NEAR)
def test_unknown_parameters_are_refused_with_near_matches(path, message):
    designs = (
        lambda: grid({"axis": lf.Axis([1], {path: [1]})}),
        lambda: lf.paired(TRAINING, {path: [1]}),
        lambda: lf.sampled(TRAINING, {path: [1]}, 3),
    )
    for design in designs:
        with pytest.raises(ValueError, match=message):
            design()
    with pytest.raises(ValueError, match=message if path.rpartition(".")[2] else "."):
        grid({path: [1]})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("loss.lw", "parameter of loss must be one of direction, law, label_noise; got 'lw'; did you mean 'law'"),
        ("loss.law.scael", "parameter of loss.law must be one of dim, scale; got 'scael'; did you mean 'scale'"),
        ("loss.law.radius", "parameter of loss.law must be one of dim, scale; got 'radius'"),
        ("method.step_size.exponnt", "parameter of method.step_size must be one of kind, scale, exponent; .* did you mean 'exponent'"),
        ("method.batchsize", "did you mean 'batch_size'"),
    ],
)  # fmt: skip
def test_unknown_parameters_deep_inside_are_refused(path, message):
    with pytest.raises(ValueError, match=message):
        lf.grid(SPHERICAL, {path: [1.0]})


@pytest.mark.parametrize(
    ("parameters", "exception", "message"),
    [
        ({"method.step_size": [0.1, -0.1, 0.2]}, ValueError, r"step_size must be > 0, got -0.1 at index \(1,\)"),
        ({"method.step_size": [0.1, 0.0]}, ValueError, "step_size must be > 0, got 0.0"),
        ({"method.step_size": [0.1, "0.2"]}, TypeError, "step_size must be a real number"),
        ({"method.step_size": [0.1, None]}, TypeError, "step_size must be a real number"),
        ({"method.step_size": [True]}, TypeError, "step_size must be a real number .* bool"),
        ({"start.scale": [0.1, True]}, TypeError, "scale must be a real number .* bool"),
        ({"start.scale": [0.1, [0.1, 0.2]]}, ValueError, r"start must have no run axes, got \(2,\)"),
        ({"start.scale": [1.0, -2.0]}, ValueError, "scale must be >= 0, got -2.0"),
        ({"start.scale": lf.Axis([0, 1], {"start.scale": [1, np.nan]})}, ValueError, "scale must be finite, got nan"),
        ({"a": lf.Axis([0, 1], {"start.scale": [1, np.inf]})}, ValueError, "scale must be finite, got inf"),
        ({"method.weight_decay": [0.0, 0.1, -1.0]}, ValueError, "weight_decay must be >= 0, got -1.0"),
        ({"stop.loss": [0.1, -0.1]}, ValueError, "loss must be >= 0, got -0.1"),
        ({"stop.gradient_norm": [-1]}, ValueError, "gradient_norm must be >= 0"),
        ({"stop.check_every": [1, 0]}, ValueError, "check_every must be >= 1, got 0"),
        ({"n_steps": [3, 2.5]}, TypeError, "n_steps must be an integer, got float 2.5"),
        ({"n_steps": [3, -1]}, ValueError, "n_steps must be >= 0, got -1"),
        ({"until": [1.0]}, TypeError, "GradientDescent must be given n_steps"),
        ({"network.hidden": [3, 0]}, ValueError, "network.hidden must be >= 1, got 0"),
        ({"network.hidden": [3, 2.0]}, TypeError, "network.hidden must be an integer, got float 2.0"),
        ({"network.n_layers": [2, 0]}, ValueError, "network.n_layers must be >= 1, got 0"),
        ({"network.widths": [(3, 4, 2), (3, 4, 1)]}, ValueError, "loss must match the network's widths"),
        ({"network": [lf.Dense((3, 2)), lf.Dense((4, 2))]}, ValueError, "loss must match the network's widths"),
        ({"network": [(3, 2)]}, TypeError, "network must be a Chain, got tuple"),
        ({"loss": [LOSS, 3.0]}, TypeError, "loss must be one of SquaredLoss"),
        ({"start": ["gaussian"]}, TypeError, "start must be a Start, got str"),
        ({"start.kind": ["gaussian", "gaussan"]}, ValueError, "kind must be one of .* did you mean 'gaussian'"),
        ({"start": [lf.Start("gaussian", [0.1, 0.2])]}, ValueError, r"start must have no run axes, got \(2,\)"),
        ({"method": [lf.GradientDescent([0.1, 0.2])]}, ValueError, r"method must have no run axes, got \(2,\)"),
        ({"loss": [LOSS, make_loss((3, 2), (4,))]}, ValueError, r"loss must have no run axes, got \(4,\)"),
        ({"dtype": ["float64", "float16"]}, ValueError, "dtype must be float64 or float32, got 'float16'"),
        ({"method.step_size": []}, ValueError, "labels must not be empty"),
        ({"method.step_size": [0.1, 0.1]}, ValueError, "labels must be different, got 0.1 twice"),
        ({"method.step_size": [0.1, np.nan]}, ValueError, "labels must be finite"),
        ({"method.step_size": 0.1}, TypeError, "values of method.step_size must be a sequence, got float 0.1"),
        ({"dtype": "float32"}, TypeError, "values of dtype must be a sequence, got str 'float32'"),
        ({"start": lf.Start("gaussian")}, TypeError, "values of start must be a sequence, got Start"),
        ({"start": [object()]}, TypeError, "a parameter must be a number, a text or an object of linnet_fast"),
        ({"a": lf.Axis([1], {"start.scale": [1]}), "start.scale": [2]}, ValueError, "each parameter must be varied once, got start.scale twice"),
        ({"a b": lf.Axis([1], {"start.scale": [1]})}, ValueError, "names of dimensions must be identifiers"),
        ({"seed": lf.Axis([1], {"start.scale": [1]})}, ValueError, "names of dimensions must be identifiers other than seed, .* got 'seed'"),
        ({"record": [lf.Record.every(1)]}, ValueError, "got 'record': give an Axis under another name"),
    ],
)  # fmt: skip
def test_values_are_refused_by_what_takes_them(parameters, exception, message):
    with pytest.raises(exception, match=message):
        grid(parameters)


@pytest.mark.parametrize(
    ("training", "parameters", "message"),
    [
        (FLOW, {"method.rtol": [1e-3, 0.5]}, "rtol must be <= 0.1, got 0.5"),
        (FLOW, {"method.rtol": [1e-3, 1e-15]}, "rtol must be >= 1e-13, got 1e-15"),
        (FLOW, {"method.atol": [1e-3, 0.0]}, "atol must be > 0, got 0.0"),
        (FLOW, {"until": [1.0, -1.0]}, "until must be >= 0, got -1.0"),
        (FLOW, {"dtype": ["float64", "float32"]}, "dtype must be float64 for gradient flow"),
        (SPHERICAL, {"loss.label_noise": [0.0, 0.5, 1.5]}, "label_noise must be <= 1, got 1.5"),
        (SPHERICAL, {"loss.law.scale": [1.0, -1.0]}, "scale must be > 0"),
        (SPHERICAL, {"loss.law": [lf.laws.Gaussian(3), lf.laws.Ball(2)]}, r"direction must have shape \(\*run, 2\)"),
        (SPHERICAL, {"method.step_size.scale": [0.1, -1.0]}, "scale must be > 0, got -1.0"),
        (SPHERICAL, {"method.step_size.exponent": lf.Axis([0, 1], {"method.step_size.exponent": [0, np.inf]})}, "exponent must be finite"),
        (SPHERICAL, {"method.batch_size": [3, 0]}, "batch_size must be >= 1, got 0"),
        (SPHERICAL, {"method.layer_multipliers": [[1.0, 1.0], [1.0]]}, "one per layer, got"),
        (SPHERICAL, {"loss": [SPHERICAL.loss, make_loss((3, 1))]}, "loss must have samples or a law to draw from"),
    ],
)  # fmt: skip
def test_values_are_refused_by_other_methods_and_losses(training, parameters, message):
    with pytest.raises(ValueError, match=message):
        lf.grid(training, parameters)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"replicates": 0}, ValueError, "replicates must be >= 1, got 0"),
        ({"replicates": 2.0}, TypeError, "replicates must be an integer, got float 2.0"),
        ({"replicates": True}, TypeError, "replicates must be an integer, got bool"),
        ({"replicates": 2**48 + 1}, ValueError, "replicates must be <= 281474976710656"),
        ({"rng": -1}, ValueError, "rng must be >= 0, got -1"),
        ({"rng": 2**63}, ValueError, "rng must be <= 9223372036854775807"),
        ({"rng": None}, TypeError, "rng must be an integer, got NoneType"),
        ({"rng": np.random.default_rng(0)}, TypeError, "rng must be an integer, got Generator"),
        ({"common_seeds": 1}, TypeError, "common_seeds must be a bool, got int"),
        ({"keep_records": "yes"}, TypeError, "keep_records must be a bool, got str"),
        ({"keep_records": True}, ValueError, "training must have a record for records to be kept, got none"),
        ({"derived": "final_los"}, ValueError, "final_los.*did you mean 'final_loss'"),
        ({"derived": ("learnd_rank",)}, ValueError, "did you mean 'learned_rank'"),
        ({"derived": "final_weights"}, ValueError, "got 'final_weights'"),
        ({"derived": ("final_loss", "final_loss")}, ValueError, "names of their own, got 'final_loss'"),
        ({"derived": {"loss": "final_loss"}}, ValueError, "names of their own, got 'loss'"),
        ({"derived": {"status": "final_loss"}}, ValueError, "names of their own, got 'status'"),
        ({"derived": {"a b": "final_loss"}}, ValueError, "names such as 'gap', got 'a b'"),
        ({"derived": {"f": 3}}, TypeError, r"derived\['f'\] must be a function or a name, got int"),
        ({"derived": {"f": (max,)}}, TypeError, r"derived\['f'\] must be \(function, names of axes\)"),
        ({"derived": {"f": "no_such_module:f"}}, ValueError, r"derived\['f'\] must be an import path"),
        ({"derived": {"f": "linnet_fast:no_such"}}, ValueError, r"derived\['f'\] must be an import path"),
        ({"derived": {"f": "linnet_fast:__version__"}}, TypeError, r"derived\['f'\] must name a function"),
        ({"derived": 3}, TypeError, "derived must be names or a mapping of functions, got int"),
    ],
)  # fmt: skip
def test_options_are_checked(options, exception, message):
    with pytest.raises(exception, match=message):
        grid({"start.scale": [0.1]}, **options)


def test_designs_check_their_arguments():
    for design in (lf.grid, lf.paired, lambda *a: lf.sampled(*a, 3)):
        with pytest.raises(TypeError, match="training must be a Training, got tuple"):
            design((), {"start.scale": [0.1]})
        with pytest.raises(
            TypeError, match="parameters must be a mapping from names to values, got"
        ):
            design(TRAINING, [("start.scale", [0.1])])
        with pytest.raises(
            TypeError, match="parameters must be a mapping from names to values, got"
        ):
            design(TRAINING, {3: [0.1]})
    for design in (lf.paired, lambda *a: lf.sampled(*a, 3)):
        with pytest.raises(ValueError, match="parameters must name at least one, got none"):
            design(TRAINING, {})


def test_a_sweep_of_too_many_runs_is_refused():
    many = {"start.scale": np.linspace(0.1, 1, 1000)}
    with pytest.raises(ValueError, match=r"a sweep must have at most 2\*\*48 runs, got 281,"):
        grid(many, replicates=281_474_976_711)
    assert grid(many, replicates=281_474_976_710).n_runs == 281_474_976_710_000


def test_what_derived_needs_must_be_recorded():
    record = lf.Record.every(5, ("loss",))
    recorded = lf.Training(
        lf.Dense((3, 2)), LOSS, lf.Start("gaussian"), lf.GradientDescent(0.1), 10, record=record
    )
    with pytest.raises(
        ValueError, match="record must have singular_values for learning_times, got loss"
    ):
        lf.grid(recorded, {}, derived="learning_times")
    assert lf.grid(recorded, {}, derived=("learned_rank", "final_norm")).n_runs == 1
    swept = lf.Axis(["full", "bare"], {"record": [lf.Record.every(5), record]})
    with pytest.raises(ValueError, match="record must have singular_values for learning_steps"):
        lf.grid(recorded, {"how": swept}, derived="learning_steps")


def test_what_is_kept_by_default():
    names = [d.name for d in grid({}).derived]
    assert names == ["final_loss"]
    assert not grid({}).keep_records
    record = lf.Axis(["a"], {"record": [lf.Record.every(5)]})
    assert grid({"how": record}).keep_records
    assert grid({"how": record}).derived == ()
    assert [d.name for d in grid({"how": record}, keep_records=False).derived] == ["final_loss"]
    assert [d.name for d in grid({}, derived=["learned_rank", "final_norm"]).derived] == [
        "learned_rank",
        "final_norm",
    ]
    assert [d.name for d in grid({}, derived="final_norm").derived] == ["final_norm"]


# -- what parameters do ----------------------------------------------------------------------------


def test_hidden_widths_and_numbers_of_layers():
    spec = grid({"network.hidden": [1, 7], "network.n_layers": [1, 2, 4]})
    for i, hidden in enumerate([1, 7]):
        for j, n_layers in enumerate([1, 2, 4]):
            widths = (3, *[hidden] * (n_layers - 1), 2)
            assert training_at(spec, i, j).network == lf.Dense(widths)
    swapped = grid({"network.n_layers": [1, 4], "network.hidden": [1, 7]})
    assert training_at(swapped, 1, 1).network == lf.Dense((3, 7, 7, 7, 2))
    assert training_at(swapped, 0, 1).network == lf.Dense((3, 2))


def test_numbers_of_layers_need_a_hidden_width():
    def base(*widths):
        return lf.Training(lf.Dense(widths), LOSS, lf.Start("gaussian"), lf.GradientDescent(0.1), 3)

    for widths in ((3, 2), (3, 4, 5, 2)):
        with pytest.raises(
            ValueError,
            match=r"network must have hidden layers of one width to vary network.n_layers, got 3 -> ",
        ):
            lf.grid(base(*widths), {"network.n_layers": [2]})
    even = lf.grid(base(3, 4, 5, 2), {"network.hidden": [6]})
    assert training_at(even, 0).network == lf.Dense((3, 6, 6, 2))
    diagonal = lf.Training(
        lf.Diagonal(3, 2), make_loss((3, 1)), lf.Start("gaussian"), lf.GradientDescent(0.1), 3
    )
    deep = lf.grid(diagonal, {"network.n_layers": [2, 5]})
    assert training_at(deep, 1).network == lf.Diagonal(3, 5)
    with pytest.raises(
        ValueError, match="parameter of network must be one of width, n_layers; got 'hidden'"
    ):
        lf.grid(diagonal, {"network.hidden": [2]})


def test_the_ends_of_dense_networks_follow_the_data():
    losses = [LOSS, make_loss((5, 2)), make_loss((2, 7))]
    spec = grid({"loss": losses, "network.hidden": [6, 8], "network.n_layers": [2, 3]})
    for i, j, k in np.ndindex(spec.shape):
        hidden = [[6, 8][j]] * (k + 1)
        place = dict(zip(spec.dims, (i, j, k), strict=True))
        assert place == {"loss": i, "hidden": j, "n_layers": k}
        assert training_at(spec, i, j, k).network == lf.Dense(
            (losses[i].n_inputs, *hidden, losses[i].n_outputs)
        )
    with pytest.raises(ValueError, match="loss must match the network's widths"):
        grid({"loss": losses, "network": [lf.Dense((3, 2))]})
    paired = lf.paired(
        TRAINING, {"loss": losses[1:], "network": [lf.Dense((5, 2)), lf.Dense((2, 1, 7))]}
    )
    assert training_at(paired, 1).network == lf.Dense((2, 1, 7))


def test_moments_of_other_sizes_change_the_ends():
    whole = {
        "loss.input_cov": [np.eye(4)],
        "loss.cross_cov": [np.ones((1, 4))],
        "loss.output_power": [4.0],
    }
    spec = grid({"data": lf.Axis(["new"], whole)})
    assert training_at(spec, 0).network == lf.Dense((4, 4, 1))


def test_outer_parameters_are_replaced_before_those_inside():
    methods = {"plain": lf.GradientDescent(9.0, 0.1), "decay": lf.GradientDescent(8.0, 0.2)}
    for parameters in (
        {"method": methods, "method.step_size": [0.1, 0.2]},
        {"method.step_size": [0.1, 0.2], "method": methods},
    ):
        spec = grid(parameters)
        assert spec.dims == ("method", "step_size")
        for i, j in np.ndindex(2, 2):
            method = training_at(spec, i, j).method
            assert (method.step_size, method.weight_decay) == ([0.1, 0.2][j], [0.1, 0.2][i])
    rules = lf.grid(
        SPHERICAL,
        {
            "method.step_size": {"power": lf.StepRule.power(9.0, 0.5), "ratio": lf.StepRule.geometric(9.0, 1.5)},
            "method.step_size.scale": [0.1, 0.3],
        },
    )  # fmt: skip
    rule = training_at(rules, 1, 1).method.rule
    assert (rule.kind, rule.scale, rule.exponent) == ("geometric", 0.3, 1.5)
    with pytest.raises(
        ValueError, match=r"parameter of method must be one of rtol, .*; got 'step_size'"
    ):
        grid(
            {
                "both": lf.Axis(
                    [0, 1],
                    {
                        "method": [lf.GradientDescent(0.1), lf.GradientFlow()],
                        "n_steps": [3, None],
                        "until": [None, 2.0],
                    },
                ),
                "method.step_size": [0.1],
            }
        )
    with pytest.raises(ValueError, match="stop must be an object that has 'loss', got None"):
        grid({"stop": [lf.Stop(0.1), None], "stop.loss": [0.1]})


def test_parameters_deep_inside():
    spec = lf.grid(
        SPHERICAL,
        {
            "loss.law.scale": [1.0, 2.0],
            "loss.label_noise": [0.0, 0.25],
            "method.step_size.exponent": [-0.5, 1.0],
            "method.batch_size": [2, 3],
            "start.fan": ["in", "none"],
        },
    )
    assert spec.dims == ("scale", "batch_size", "fan", "label_noise", "exponent")
    made = training_at(spec, 1, 1, 1, 1, 1)
    assert made.loss.law == lf.laws.Gaussian(3, 2.0)
    assert made.loss.label_noise == 0.25
    assert (made.method.rule.exponent, made.method.rule.scale) == (1.0, 0.1)
    assert (made.method.batch_size, made.start.fan, made.start.scale) == (3, "none", 0.5)


def test_whole_parameters():
    records = [lf.Record.every(2), lf.Record.at([0])]
    spec = grid(
        {
            "when": lf.Axis(["a", "b"], {"record": records}),
            "stop": [None, lf.Stop(1.0)],
            "dtype": ["float32", "float64"],
            "n_steps": [5, 6],
        }
    )
    made = training_at(spec, 1, 1, 0, 1)
    assert made.record is records[1]
    assert (made.stop.loss, made.dtype, made.n_steps) == (1.0, "float32", 6)
    assert training_at(spec, 0, 0, 1, 0).stop is None
    lengths = lf.grid(FLOW, {"until": [0.5, 3], "method.rtol": [1e-5]})
    assert [training_at(lengths, i, 0).until for i in range(2)] == [0.5, 3.0]


def test_a_record_that_does_not_reach_is_refused():
    record = lf.Record.at([0, 20])
    training = lf.Training(
        lf.Dense((3, 2)), LOSS, lf.Start("gaussian"), lf.GradientDescent(0.1), 20, record=record
    )
    with pytest.raises(
        ValueError, match=r"steps must lie within this training, 0 \.\.\. 10, got 20"
    ):
        lf.grid(training, {"n_steps": [20, 10]})


# -- lists and samples -----------------------------------------------------------------------------


def test_pairs_are_a_list_of_runs():
    parameters = {
        "start.scale": [0.1, 0.2, 0.2],
        "n_steps": (3, 4, 3),
        "network.hidden": np.array([5, 5, 6]),
    }
    spec = lf.paired(TRAINING, parameters)
    assert (spec.dims, spec.shape) == (("run",), (3,))
    assert labels_of(spec, "run") == [0, 1, 2]
    assert not spec.common_seeds
    for i in range(3):
        made = training_at(spec, i)
        got = (float(made.start.scale), made.n_steps, made.network.widths[1])
        assert got == tuple(values[i] for values in parameters.values())
    twice = lf.paired(TRAINING, parameters, replicates=2)
    assert (twice.dims, twice.shape) == (("run", "seed"), (3, 2))


@pytest.mark.parametrize(
    ("parameters", "exception", "message"),
    [
        ({"start.scale": [0.1, 0.2], "n_steps": [3]}, ValueError, "values of n_steps must be 2, one per label, got 1"),
        ({"start.scale": []}, ValueError, "parameters must have at least one value each, got none"),
        ({"start.scale": 0.1}, TypeError, "values of start.scale must be a sequence, got float 0.1"),
        ({"dtype": "float32"}, TypeError, "values of dtype must be a sequence, got str 'float32'"),
        ({"start": {"a": lf.Start("gaussian")}}, TypeError, "values of start must be a sequence, got dict"),
        ({"a": lf.Axis([1], {"start.scale": [1]})}, TypeError, "values of a must be a sequence, got Axis"),
        ({"start.scale": [0.1, -0.2, 0.3]}, ValueError, r"scale must be >= 0, got -0.2 at index \(1,\)"),
    ],
)  # fmt: skip
def test_bad_lists_are_refused(parameters, exception, message):
    with pytest.raises(exception, match=message):
        lf.paired(TRAINING, parameters)


SPACE = {
    "start.scale": scipy.stats.loguniform(1e-3, 1),
    "network.hidden": scipy.stats.randint(2, 6),
    "method.weight_decay": [0.0, 0.1],
    "n_steps": range(3, 9),
    "start.fan": np.array(["in", "none"]),
}


def values_of(spec):
    return {column.path: list(column.values) for column in spec.axes["run"].columns}


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_samples_are_of_their_laws(method):
    spec = lf.sampled(TRAINING, SPACE, 256, method=method)
    assert (spec.dims, spec.shape, spec.common_seeds) == (("run",), (256,), False)
    values = values_of(spec)
    assert list(values) == list(SPACE)
    scale = np.array(values["start.scale"])
    assert ((scale >= 1e-3) & (scale <= 1)).all()
    assert scipy.stats.kstest(scale, SPACE["start.scale"].cdf).pvalue > 1e-3
    for path, expected in (
        ("network.hidden", range(2, 6)),
        ("method.weight_decay", [0.0, 0.1]),
        ("n_steps", range(3, 9)),
        ("start.fan", ["in", "none"]),
    ):
        found, counts = np.unique(values[path], return_counts=True)
        assert found.tolist() == list(expected)
        # Six standard deviations of a binomial; points of Sobol' are evener than that.
        p = 1 / len(found)
        slack = 6 * np.sqrt(256 * p * (1 - p)) if method == "random" else 3
        assert abs(counts - 256 * p).max() <= slack
    assert all(type(h) is int for h in values["network.hidden"])
    assert training_at(spec, 3).network.widths[1] == values["network.hidden"][3]


def test_sobol_points_fill_each_cell_once():
    spec = lf.sampled(
        TRAINING,
        {
            "start.scale": scipy.stats.uniform(0, 1),
            "method.weight_decay": scipy.stats.uniform(0, 1),
        },
        64,
        method="sobol",
        rng=5,
    )
    x, y = (np.array(v) for v in values_of(spec).values())
    assert len(np.unique((64 * x).astype(int))) == 64
    assert len(np.unique(8 * (8 * x).astype(int) + (8 * y).astype(int))) == 64


@settings(max_examples=25)
@given(
    st.sampled_from(["random", "sobol"]), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63 - 1)
)  # fmt: skip
def test_more_samples_begin_with_those_of_fewer(method, n, more, rng):
    few = values_of(lf.sampled(TRAINING, SPACE, n, method=method, rng=rng))
    many = values_of(lf.sampled(TRAINING, SPACE, n + more, method=method, rng=rng))
    assert all(many[path][:n] == values for path, values in few.items())


def test_samples_depend_on_their_seed():
    first, again, other = (values_of(lf.sampled(TRAINING, SPACE, 9, rng=r)) for r in (1, 1, 2))
    assert first == again
    assert first != other
    both = [lf.sampled(TRAINING, SPACE, 9, rng=1, method=m) for m in ("random", "sobol")]
    assert values_of(both[0]) != values_of(both[1])
    columns = np.array([first["start.scale"], first["method.weight_decay"]])
    assert len(np.unique(columns[0])) == 9


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"n": 0}, ValueError, "n must be >= 1, got 0"),
        ({"n": 3.0}, TypeError, "n must be an integer, got float"),
        ({"method": "halton"}, ValueError, "method must be one of random, sobol; got 'halton'"),
        ({"rng": None}, TypeError, "rng must be an integer"),
        ({"rng": -1}, ValueError, "rng must be >= 0, got -1"),
        ({"parameters": {"start.scale": 0.1}}, TypeError, "start.scale must be a frozen distribution of SciPy or values to choose from, got 0.1"),
        ({"parameters": {"dtype": "float32"}}, TypeError, "dtype must be a frozen distribution"),
        ({"parameters": {"start.scale": []}}, TypeError, "start.scale must be a frozen distribution"),
        ({"parameters": {"start.scale": {"a": 1.0}}}, TypeError, "start.scale must be a frozen distribution"),
        ({"parameters": {"start.scale": scipy.stats.norm(-5, 0.1)}}, ValueError, "scale must be >= 0"),
    ],
)  # fmt: skip
def test_bad_samples_are_refused(options, exception, message):
    with pytest.raises(exception, match=message):
        lf.sampled(TRAINING, **{"parameters": SPACE, "n": 4} | options)


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
        with pytest.raises(ValueError, match="run must be"):
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
    with pytest.raises(ValueError, match="run must be <= 5, got 6"):
        spec.run(6)
    with pytest.raises(TypeError, match="run must be an integer, got float"):
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
