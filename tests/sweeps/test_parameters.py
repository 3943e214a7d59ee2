"""What parameters of sweeps replace in a training: on grids, in lists, in samples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from support import make_loss
from sweep_specs import FLOW, LOSS, SPHERICAL, TRAINING, grid, labels_of, training_at, values_of

import linnet_fast as lf

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
