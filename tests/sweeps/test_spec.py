"""Designs of sweeps: names, labels and order of dimensions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support import make_loss
from sweep_specs import FLOW, LOSS, SPHERICAL, TRAINING, grid, labels_of, training_at

import linnet_fast as lf


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
        ([np.nan], {"start.scale": [1]}, ValueError, "labels must be numbers that float64 has"),
        ([np.longdouble("1e400")], {"start.scale": [1]}, ValueError, "labels must be numbers that float64 has"),
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
    ("scale", "parameter must be one of loss, network, start, method, n_steps, until, record, stop, dtype, phases, data_seed, batch_seed; got 'scale'"),
    ("method.stepsize", "parameter of method must be one of step_size, .* did you mean 'step_size'"),
    ("network.hiddn", "parameter of network must be one of widths, hidden, n_layers; got 'hiddn'; did you mean 'hidden'"),
    ("network.n_layer", "did you mean 'n_layers'"),
    ("start.scal", "parameter of start must be one of kind, scale, fan, width, .*; .* did you mean 'scale'"),
    ("stop.gradientnorm", "did you mean 'gradient_norm'"),
    ("loss.label_noise", "parameter of loss must be one of input_cov, cross_cov, output_power, residual_power; got 'label_noise'"),
    ("method.rtol", "parameter of method must be one of step_size, weight_decay, layer_multipliers, momentum, nesterov, batches, .*; got 'rtol'"),
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
        ("method.step_size.exponnt", "parameter of method.step_size must be one of kind, scale, exponent, .*;.* did you mean 'exponent'"),
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
        ({"method.step_size": [0.1, np.nan]}, ValueError, "labels must be numbers that float64 has"),
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
        (SPHERICAL, {"loss": [SPHERICAL.loss, lf.SquaredLoss(np.eye(3), np.ones((1, 3)), 3.0)]}, "loss must have samples or a law to draw from"),
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
