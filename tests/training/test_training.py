"""Trainings as values: every check of how the parts go together, and the run that they describe."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from binary_problems import make_binary
from numpy.testing import assert_array_equal
from support import assert_same, make_loss

import linnet_fast as lf

NETWORK = lf.Dense((3, 4, 2))
LOSS = make_loss((3, 2))
MOMENTS = lf.SquaredLoss(LOSS.input_cov, LOSS.cross_cov, LOSS.output_power)
START = lf.Start("gaussian", 0.5)
DEFAULTS = {
    "network": NETWORK,
    "loss": LOSS,
    "start": START,
    "method": lf.GradientDescent(0.05),
    "n_steps": 30,
}
FLOW = {"method": lf.GradientFlow(), "n_steps": None, "until": 2.0}
ONE = {"network": lf.Dense((3, 4, 1)), "loss": make_binary("logistic", 3)}
SPHERICAL = {"network": lf.Dense((3, 1)), "loss": make_binary("gaussian", 3)}
SGD = {"method": lf.StochasticGradientDescent(0.05, 4, seed=2)}


def training(**changes):
    return lf.Training(**DEFAULTS | changes)


def test_arguments_are_kept():
    record, stop = lf.Record.at([0, 30]), lf.Stop(1e-3)
    made = training(record=record, stop=stop, dtype="float32")
    assert (made.network, made.loss, made.start) == (NETWORK, LOSS, START)
    assert (made.method, made.n_steps, made.until) == (DEFAULTS["method"], 30, None)
    assert (made.record, made.stop, made.dtype) == (record, stop, "float32")
    names = [field.name for field in dataclasses.fields(made)]
    assert names == [
        *DEFAULTS,
        "until",
        "record",
        "stop",
        "dtype",
        "reduce",
        "phases",
        "data_seed",
        "batch_seed",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.n_steps = 3


def test_defaults():
    made = training()
    assert (made.record, made.stop, made.until, made.dtype) == (None, None, None, "float64")


def test_numbers_are_python_numbers():
    made = training(n_steps=np.int32(7))
    assert type(made.n_steps) is int
    flow = training(**FLOW | {"until": np.float32(2)})
    assert type(flow.until) is float
    assert type(training(**FLOW | {"until": 3}).until) is float
    for given in (np.float32, np.dtype("float32"), "f4", "float32"):
        assert training(dtype=given).dtype == "float32"


def test_arguments_may_be_given_in_order():
    made = lf.Training(NETWORK, LOSS, START, DEFAULTS["method"], 30, record=lf.Record.every(7))
    assert made.n_steps == 30
    assert made.record.numbers == (7,)


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"network": (3, 4, 2)}, TypeError, "network must be a Chain, got tuple"),
        (
            {"loss": 1.0},
            TypeError,
            "loss must be one of SquaredLoss, SampledSquaredLoss, .*, got float",
        ),
        ({"start": "gaussian"}, TypeError, "start must be a Start, got str"),
        (
            {"start": lf.initialization.gaussian(NETWORK)},
            TypeError,
            "start must be a Start, got tuple",
        ),
        (
            {"method": "gd"},
            TypeError,
            "method must be one of GradientDescent, StochasticGradientDescent, .*, got str",
        ),
        ({"record": ["loss"]}, TypeError, "record must be a Record, got list"),
        ({"stop": 1e-3}, TypeError, "stop must be a Stop, got float"),
        # run axes
        (
            {"loss": make_loss((3, 2), (4,))},
            ValueError,
            r"loss must have no run axes, got \(4,\); give what varies to the sweep",
        ),
        (
            {"start": lf.Start("gaussian", [0.1, 0.2])},
            ValueError,
            r"start must have no run axes, got \(2,\)",
        ),
        (
            {"method": lf.GradientDescent([[0.1, 0.2]])},
            ValueError,
            r"method must have no run axes, got \(1, 2\)",
        ),
        (
            {"method": lf.GradientDescent(0.1, [0.0])},
            ValueError,
            r"method must have no run axes, got \(1,\)",
        ),
        (
            {"method": lf.GradientDescent(0.1, 0.0, np.ones((3, 2)))},
            ValueError,
            r"method must have no run axes, got \(3,\)",
        ),
        (
            {"method": lf.GradientDescent(lf.StepRule.power([0.1, 0.2], 0.5))},
            ValueError,
            r"method must have no run axes, got \(2,\)",
        ),
        (
            FLOW | {"method": lf.GradientFlow([1e-8, 1e-9])},
            ValueError,
            r"method must have no run axes, got \(2,\)",
        ),
        (
            ONE | {"method": lf.StochasticGradientDescent(0.1, 3, streams=[1, 2])},
            ValueError,
            r"method must have no run axes, got \(2,\)",
        ),
        (
            {"stop": lf.Stop(gradient_norm=[1.0, 2.0])},
            ValueError,
            r"stop must have no run axes, got \(2,\)",
        ),
        # shapes
        (
            {"network": lf.Dense((2, 4, 2))},
            ValueError,
            r"loss must match the network's widths \(2, 4, 2\), got 3 inputs and 2 outputs",
        ),
        (
            {"network": lf.Dense((3, 4, 1))},
            ValueError,
            r"loss must match the network's widths \(3, 4, 1\), got 3 inputs and 2 outputs",
        ),
        (
            {"loss": make_binary("logistic", 3)},
            ValueError,
            r"loss must match the network's widths \(3, 4, 2\), got 3 inputs and 1 outputs",
        ),
        (
            {"method": lf.GradientDescent(0.1, layer_multipliers=[1.0, 1.0, 1.0])},
            ValueError,
            r"layer_multipliers must have shape \(\*run, 2\), one per layer, got \(3,\)",
        ),
        # lengths
        ({"n_steps": None}, TypeError, "n_steps must be given with GradientDescent"),
        ({"until": 1.0}, TypeError, "GradientDescent must be given n_steps, .* not until"),
        (FLOW | {"until": None}, TypeError, "until must be given with GradientFlow"),
        (FLOW | {"n_steps": 3}, TypeError, "GradientFlow must be given until, .* not n_steps"),
        ({"n_steps": -1}, ValueError, "n_steps must be >= 0, got -1"),
        ({"n_steps": 2**62 + 1}, ValueError, "n_steps must be <= 4611686018427387904, got"),
        ({"n_steps": 3.0}, TypeError, "n_steps must be an integer, got float 3.0"),
        ({"n_steps": True}, TypeError, "n_steps must be an integer, got bool True"),
        ({"n_steps": "3"}, TypeError, "n_steps must be an integer, got str '3'"),
        (FLOW | {"until": -1}, ValueError, "until must be >= 0, got -1.0"),
        (FLOW | {"until": np.inf}, ValueError, "until must be finite, got inf"),
        (FLOW | {"until": np.nan}, ValueError, "until must be finite, got nan"),
        (FLOW | {"until": "1"}, TypeError, "until must be a real number"),
        (FLOW | {"until": [1.0]}, TypeError, r"until must be a single number, .* shape \(1,\)"),
        # records
        (
            {"record": lf.Record.at([0, 31])},
            ValueError,
            r"steps must lie within this training, 0 \.\.\. 30, got 31",
        ),
        (
            {"record": lf.Record.at_times([0.0])},
            ValueError,
            "record must be by steps for gradient descent: use Record.at, not Record.at_times",
        ),
        (
            FLOW | {"record": lf.Record.at_times([0.0, 2.5])},
            ValueError,
            r"times must lie within this training, 0.0 \.\.\. 2.0, got 2.5",
        ),
        (
            FLOW | {"record": lf.Record.every(1)},
            ValueError,
            "record must be by times for gradient flow: .* not Record.every",
        ),
        (
            {"record": lf.Record.at([0], ("angle",))},
            ValueError,
            "angle is of networks with one output, got 2",
        ),
        (
            {"record": lf.Record.at([0], ("margin",))},
            ValueError,
            "margin is of samples with labels, and a SquaredLoss has none",
        ),
        (
            ONE | {"record": lf.Record.at([0], ("angle",))},
            ValueError,
            "angles need a direction, and a LogisticLoss has none: pass Record a direction",
        ),
        (
            ONE | {"record": lf.Record.at([0], ("angle",), direction=[1.0, 0.0])},
            ValueError,
            "direction must have 3 entries, got 2",
        ),
        (
            {
                "network": lf.Diagonal(3, 2),
                "loss": make_loss((3, 1)),
                "record": lf.Record.at([0], ("layer_alignment",)),
            },
            ValueError,
            "layer_alignment is of networks of dense layers",
        ),
        # methods
        (
            SGD | {"loss": MOMENTS},
            ValueError,
            "loss must have samples or a law to draw from for StochasticGradientDescent, got a SquaredLoss",
        ),
        (
            {"method": lf.GradientDescent(lf.StepRule.alignment())},
            ValueError,
            r"StepRule.alignment\(\) needs one layer and a SphericalLogisticLoss, got 2 layers and a SquaredLoss",
        ),
        # dtypes
        ({"dtype": "float16"}, ValueError, "dtype must be float64 or float32, got 'float16'"),
        ({"dtype": np.int64}, ValueError, "dtype must be float64 or float32, got"),
        ({"dtype": None}, ValueError, "dtype must be float64 or float32, got None"),
        (
            FLOW | {"dtype": "float32"},
            ValueError,
            "dtype must be float64 for gradient flow, got float32",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(changes, exception, message):
    with pytest.raises(exception, match=message):
        training(**changes)


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        (
            {
                "network": lf.Convolution(6, 2, stride=2, padding="valid"),
                "loss": make_loss((6, 1)),
                "start": lf.Start("orthogonal"),
            },
            ValueError,
            "network must have convolutions with a tap that moves nothing and stride 1",
        ),
        (ONE | {"start": lf.Start("aligned")}, TypeError, "loss must be a SquaredLoss"),
        (
            {"start": lf.Start("balanced", product=np.eye(2))},
            ValueError,
            r"product must have shape \(\*run, 2, 3\), got \(2, 2\)",
        ),
        (
            {"start": lf.Start("balanced", product=np.eye(2, 3)), "network": lf.Dense((3, 1, 2))},
            ValueError,
            "product must have rank <= 1, the smallest width, got rank 2",
        ),
        (
            {"start": lf.Start("aligned", strengths=[3.0, 2.0, 1.0])},
            ValueError,
            "strengths must have at most 2 modes",
        ),
    ],
)
def test_a_start_that_does_not_suit_the_network_is_refused(changes, exception, message):
    """As the docstring says: of what does not go with the others the training is not even made."""
    with pytest.raises(exception, match=message):
        training(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"record": lf.Record.at([30])},
        {"n_steps": 0, "record": lf.Record.at([0])},
        FLOW | {"until": 0, "record": lf.Record.geomspace(5)},
        FLOW | {"record": lf.Record.at_times([2.0])},
        ONE | SGD,
        SPHERICAL | {"method": lf.GradientDescent(lf.StepRule.alignment()), "n_steps": 1},
        SPHERICAL | {"record": lf.Record.at([3], ("angle",))},
        {"method": lf.GradientDescent(0.1, layer_multipliers=[1.0, 0.0]), "dtype": np.float32},
        {"network": lf.Diagonal(3, 2), "loss": make_loss((3, 1))},
    ],
)
def test_what_goes_together_is_trained(changes):
    made = training(**changes)
    assert made.train(rng=0).run_shape == ()


# -- the run ---------------------------------------------------------------------------------------

RECORD = lf.Record.every(7, ("loss", "singular_values", "weights", "gradient_norm"))
RUNS = {
    "descent": {"record": RECORD},
    "default record": {},
    "stopped": {"record": RECORD, "stop": lf.Stop(0.6, check_every=3), "n_steps": 60},
    "decay": {"method": lf.GradientDescent(0.05, 0.1, [1.0, 0.5]), "record": RECORD},
    "diverged": {"method": lf.GradientDescent(50.0), "record": RECORD},
    "rule": {"method": lf.GradientDescent(lf.StepRule.power(0.1, -0.5)), "record": RECORD},
    "float32": {"dtype": "float32", "record": RECORD},
    "aligned": {"start": lf.Start("aligned", 1e-2, strengths=[2.0, 1.0]), "record": RECORD},
    "balanced": {"start": lf.Start("balanced", 1e-2), "record": RECORD},
    "orthogonal": {"start": lf.Start("orthogonal", 0.3), "record": RECORD},
    "flow": FLOW | {"record": lf.Record.geomspace(9, ("loss", "weights"))},
    "stopped flow": FLOW | {"stop": lf.Stop(gradient_norm=0.5)},
    "exhausted flow": FLOW | {"method": lf.GradientFlow(1e-12, max_steps=9)},
    "logistic": ONE | {"record": RECORD},
    "stochastic": ONE | SGD | {"record": RECORD},
    "stochastic float32": ONE | SGD | {"dtype": "float32"},
    "fresh samples": SPHERICAL | SGD | {"record": RECORD},
    "diagonal": {"network": lf.Diagonal(3, 3), "loss": make_loss((3, 1)), "record": RECORD},
}


def by_hand(made, rng, stream):
    """Return the run of a training, put together from its parts."""
    start, kind = made.start, made.dtype
    options = {"rng": rng, "streams": stream, "dtype": kind}
    if start.kind == "aligned":
        strengths = start.scale * start.strengths
        weights = lf.initialization.aligned(made.network, made.loss, strengths, **options)
    else:
        function = getattr(lf.initialization, start.kind)
        weights = function(made.network, scale=start.scale, **options)
    assert all(w.dtype == kind for w in weights)
    method = made.method
    if isinstance(method, lf.StochasticGradientDescent):
        method = lf.StochasticGradientDescent(
            method.step_size, method.batch_size, method.seed, stream
        )
    length = {"n_steps": made.n_steps} if made.until is None else {"until": made.until}
    record, stop = made.record, made.stop
    return lf.train(
        made.network, made.loss, weights, method=method, record=record, stop=stop, **length
    )


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_training_is_the_run_put_together_by_hand(changes):
    made = training(**changes)
    for rng, stream in ((0, 0), (0, 5), (123, 2), (np.random.SeedSequence(9), 1)):
        got = made.train(rng=rng, stream=stream)
        assert got.run_shape == ()
        assert_same(got, by_hand(made, rng, stream))


def test_runs_are_what_their_names_say():
    """Else the comparison above would compare less than it seems to."""
    status = {name: int(training(**changes).train(rng=0).status) for name, changes in RUNS.items()}
    ended = {name: lf.Status(number).name for name, number in status.items() if number}
    assert ended == {
        "stopped": "CONVERGED",
        "diverged": "DIVERGED",
        "stopped flow": "CONVERGED",
        "exhausted flow": "EXHAUSTED",
    }
    assert 0 < training(**RUNS["stopped"]).train(rng=0).stopped_at < 60


@pytest.mark.parametrize("name", ["descent", "stochastic", "flow", "float32", "fresh samples"])
def test_a_stream_is_a_run_of_a_batch(name):
    made = training(**RUNS[name])
    weights = made.start.draw(made.network, rng=4, batch_shape=6, dtype=made.dtype)
    length = {"n_steps": made.n_steps} if made.until is None else {"until": made.until}
    batch = lf.train(
        made.network, made.loss, weights, method=made.method, record=made.record, **length
    )
    for stream in (0, 3, 5):
        assert_same(made.train(rng=4, stream=stream), batch, stream)


@pytest.mark.parametrize("name", ["descent", "flow", "stochastic"])
def test_seeds_and_streams_decide(name):
    made = training(**RUNS[name])
    final = made.train(rng=0, stream=0).final.weights[0]
    assert_array_equal(final, made.train(rng=0).final.weights[0])
    assert (final != made.train(rng=1).final.weights[0]).any()
    assert (final != made.train(rng=0, stream=1).final.weights[0]).any()
    assert (made.train().final.weights[0] != made.train().final.weights[0]).any()


def test_threads_do_not_matter():
    made = training(record=RECORD)
    assert_same(made.train(rng=0, n_threads=1), made.train(rng=0, n_threads=3))
    with pytest.raises(ValueError, match="n_threads must be >= 1, got 0"):
        made.train(rng=0, n_threads=0)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"stream": -1}, ValueError, "stream must be >= 0, got -1"),
        ({"stream": 0.0}, TypeError, "stream must be an integer, got float 0.0"),
        ({"stream": 2**60}, ValueError, "stream must be <= "),
        ({"stream": [0, 1]}, TypeError, "stream must be an integer"),
        ({"rng": -1}, ValueError, "rng must be >= 0"),
    ],
)
def test_bad_seeds_and_streams_are_refused(options, exception, message):
    with pytest.raises(exception, match=message):
        training().train(**options)


def test_streams_of_stochastic_descent_are_fewer():
    made = training(**ONE | SGD)
    assert made.train(rng=0, stream=2**32 - 1).run_shape == ()
    with pytest.raises(ValueError, match=r"streams must be < 2\*\*32, got 4294967296"):
        made.train(rng=0, stream=2**32)


@pytest.mark.parametrize("name", ["aligned", "stochastic", "flow", "fresh samples"])
def test_trainings_travel(name):
    made = training(**RUNS[name])
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert_same(again.train(rng=0, stream=2), made.train(rng=0, stream=2))
