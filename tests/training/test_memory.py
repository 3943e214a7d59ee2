"""Methods that remember: the core against the reference, bits, cuts, divergence, and what is known of momentum."""

from __future__ import annotations

import numpy as np
import pytest
from binary_problems import RULES, BinaryBatch, make_binary
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, Batch, assert_same, crossed, few, make_loss, parts

import linnet_fast as lf
from linnet_fast import _core, layers, reference
from linnet_fast.training.call import core_problem

FORMS = pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "nesterov"])
EACH = pytest.mark.parametrize("dtype", [np.float64, np.float32])
NETWORKS = {
    "one layer": lf.Dense((5, 3)),
    "dense": lf.Dense((4, 5, 3)),
    "squares": lf.Dense((3, 3, 3)),
    "deep": lf.Dense((3, 7, 2, 9, 4)),
    "wide": lf.Dense((20, 33, 18)),
    "one output": lf.Dense((5, 4, 1)),
    "diagonal": lf.Diagonal(6, 3),
    "convolution": lf.Convolution(7, 3, 2),
    "channels": lf.Convolution((4, 5), 3, 3, channels=2, in_channels=2, padding="zero"),
    "residual": lf.Residual(5, 3, n_outputs=2, scale=0.5),
    "shared": lf.Chain([layers.Dense(3, 3), layers.Residual(layers.Dense(3, 3), 0.3)], [0, 0]),
    "shared with one output": lf.Chain(
        [layers.Diagonal(4)] * 3 + [layers.Dense(4, 1)], [0, 1, 0, 2]
    ),
}
CASES = [
    *((name, "squared") for name in NETWORKS),
    *((name, kind) for name, n in NETWORKS.items() if n.n_outputs == 1 for kind in ("logistic",)),
]


def start_of(network, runs, *, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    scale = 0.8 / np.sqrt(max(5, *network.widths))
    return [(scale * rng.standard_normal((*runs, *s))).astype(dtype) for s in network.shapes]


def loss_of(network, kind, runs=(), **options):
    if kind == "squared":
        return make_loss((network.n_inputs, network.n_outputs), runs, **options)
    return make_binary(kind, network.n_inputs, runs)


def assert_close(run, expected, tolerance):
    """Everything, what is remembered included, relative to the largest number of its kind."""
    assert run.final.memory
    found, wanted = parts(run), parts(expected)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        size = np.nanmax(np.abs(wanted[name]), initial=0.0)
        assert array.dtype == wanted[name].dtype
        assert_allclose(array, wanted[name], 0, tolerance * (size + 1e-300), err_msg=name)


@crossed(
    ("dtype", [np.float64, np.float32]), ("nesterov", [False, True]), (("name", "kind"), CASES)
)
def test_core_equals_reference(name, kind, nesterov, dtype):
    network = NETWORKS[name]
    rng = np.random.default_rng(1)
    method = lf.GradientDescent(
        rng.uniform(0.01, 0.05, 5),
        [0.0, 0.1, 0.0, 0.3, 0.02],
        rng.uniform(0.5, 1.5, (5, network.n_arrays)),
        momentum=[0.0, 0.3, 0.6, 0.9, 0.99],
        nesterov=nesterov,
    )
    start = start_of(network, (2, 5), dtype=dtype)
    options = {
        "method": method,
        "n_steps": 40,
        "record": lf.Record.every(8, ("loss", "product", "weights", "gradient_norm")),
    }
    for loss in (loss_of(network, kind), loss_of(network, kind, (5,))):
        run = lf.train(network, loss, start, **options)
        assert run.ok.all()
        slow = reference.train(network, loss, start, **options)
        assert_close(run, slow, 1e-12 if dtype == np.float64 else 2e-5)


@crossed(("nesterov", [False, True]), ("drawn", [None, 12]), ("rule", ["constant", *RULES]))
def test_rules_and_draws_equal_the_reference(rule, drawn, nesterov):
    network, loss = lf.Dense((5, 4, 1)), make_binary("logistic", 5)
    step = np.linspace(0.01, 0.03, 3)
    step = step if rule == "constant" else RULES[rule](step)
    options = {"momentum": [0.0, 0.5, 0.9], "nesterov": nesterov}
    if drawn is None:
        method = lf.GradientDescent(step, 0.1, [1.0, 0.5], **options)
    else:
        method = lf.StochasticGradientDescent(
            step, drawn, seed=3, weight_decay=0.1, layer_multipliers=[1.0, 0.5], **options
        )
    options = {"method": method, "n_steps": 30, "record": lf.Record.every(10, ("loss",))}
    start = start_of(network, (3,))
    run = lf.train(network, loss, start, **options)
    assert_close(run, reference.train(network, loss, start, **options), 1e-12)


@FORMS
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch(decay, nesterov):
    """The recursion of torch.optim.SGD, written out; its first velocity is the gradient."""
    cov, target, mu, rate = np.diag([2.0, 0.5]), np.array([[1.0, -2.0]]), 0.8, 0.1
    loss = lf.SquaredLoss(cov, target, 4.0)
    method = lf.GradientDescent(rate, decay, momentum=mu, nesterov=nesterov)
    record = lf.Record.every(1, ("weights",))
    run = lf.train(
        lf.Dense((2, 1)), loss, ([[0.3, 0.7]],), method=method, n_steps=20, record=record
    )
    w, v = np.array([[0.3, 0.7]]), None
    for seen in run.weights[0]:
        assert_allclose(seen, w, rtol=1e-13)
        g = w @ cov - target + decay * w
        v = g if v is None else mu * v + g
        w = w - rate * (g + mu * v if nesterov else v)


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_heavy_ball_is_stable_up_to_its_edge(mu):
    """At a minimum of sharpness s: step sizes below 2 (1 + momentum) / s."""
    s = 3.0
    edge = 2 * (1 + mu) / s
    loss = lf.SquaredLoss([[s]], [[0.0]], 0.0)
    method = lf.GradientDescent(edge * np.array([0.98, 1.02]), momentum=mu)
    run = lf.train(
        lf.Dense((1, 1)), loss, (np.ones((1, 1)),), method=method, n_steps=4000,
        record=lf.Record.at([4000], ("loss",)),
    )  # fmt: skip
    assert run.loss[0, 0] < 1e-20
    assert not run.loss[1, 0] < 1e20  # or it has overflowed


class Remembering(Batch):
    """Runs that differ in everything, their momentum too, which a few have not."""

    def __init__(self, widths, *, nesterov=False, **options):
        super().__init__(widths, **options)
        number = np.arange(self.n_runs)
        self.momentum = np.where(number % 5 == 0, 0.0, 0.1 * (number % 10))
        self.nesterov = nesterov

    def of(self, which, step=None):
        method = self.method
        return lf.GradientDescent(
            (method.step_size if step is None else step)[which],
            method.weight_decay[which],
            method.layer_multipliers[which],
            momentum=self.momentum[which],
            nesterov=self.nesterov,
        )

    def train(self, which=slice(None), **options):
        return super().train(which, **{"method": self.of(which)} | options)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("moments", ["shared", "diagonal", "mixed"]),
    ("widths", [(2, 2), (2, 2, 2), (4, 4, 4), (8, 8, 8), (13, 5, 13), (5, 70, 1), (40, 16, 8, 40)]),
)
def test_batches_threads_and_places_do_not_matter(widths, moments, dtype):
    batch = Remembering(widths, dtype=dtype, moments=moments, nesterov=widths[0] == 8)
    whole = batch.train(n_threads=1)
    assert whole.final.memory
    assert set(whole.status.tolist()) == {0, 1, 2}
    for n_threads in (2, 3):
        assert_same(batch.train(n_threads=n_threads), whole)
    for part in (slice(0, 7), slice(5, 14)):
        assert_same(batch.train(part), whole, part)
    for order in (np.arange(64)[::-3], np.random.default_rng(0).permutation(64)[:20], [6] * 9):
        assert_same(batch.train(order), whole, order)
    for i in range(0, 64, 7 if max(widths) < 10 else 13):  # some have no momentum
        assert_same(batch.train(i), whole, i)


@pytest.mark.parametrize("widths", few([(450, 450, 450), (460, 440, 460)], 1))
def test_large_products_too(widths):
    batch = Remembering(widths, n_runs=2, n_steps=3)
    record = lf.Record.at([3], ("loss",))
    whole = batch.train(n_threads=1, record=record, stop=None)
    assert batch.momentum[0] == 0
    assert_same(batch.train([1, 0, 1], record=record, stop=None), whole, [1, 0, 1])
    assert_same(batch.train(1, record=record, stop=None), whole, 1)


@crossed(
    ("dtype", [np.float64, np.float32]), ("nesterov", [False, True]), (("name", "kind"), CASES)
)
def test_no_momentum_among_others_is_plain_descent(name, kind, nesterov, dtype):
    network, loss = NETWORKS[name], loss_of(NETWORKS[name], kind)
    momentum = np.where(np.arange(21) % 3 == 1, 0.7, 0.0)
    start = start_of(network, (21,), dtype=dtype)
    options = {"n_steps": 50, "record": lf.Record.every(10, EVERYTHING)}
    method = lf.GradientDescent(0.03, 0.1, momentum=momentum, nesterov=nesterov)
    run = lf.train(network, loss, start, method=method, **options)
    plain = lf.train(network, loss, start, method=lf.GradientDescent(0.03, 0.1), **options)
    arrays = parts(run)
    for key, array in parts(plain).items():
        assert_array_equal(arrays[key][momentum == 0], array[momentum == 0], err_msg=key)
    assert (run.final.weights[0] != plain.final.weights[0])[momentum > 0].any()


@crossed(("drawn", [None, 20]), ("rule", ["constant", "geometric", "loss_normalized"]))
def test_rules_draws_and_places_do_not_matter(rule, drawn):
    batch = BinaryBatch((5, 4, 1), "logistic", rule, drawn=drawn)
    momentum = 0.1 * (np.arange(40) % 10)

    def train(which=slice(None), **options):
        method = batch.method(which)
        arguments = {"weight_decay": method.weight_decay, "momentum": momentum[which]}
        arguments |= {"layer_multipliers": method.layer_multipliers}
        if drawn is None:
            method = lf.GradientDescent(method.step_size, **arguments)
        else:
            method = lf.StochasticGradientDescent(
                method.step_size, drawn, 11, method.streams, **arguments
            )
        return batch.train(which, method=method, **options)

    whole = train(n_threads=1)
    assert (lf.Status.DIVERGED in whole.status) == (rule != "loss_normalized")
    assert_same(train(n_threads=3), whole)
    for which in (slice(3, 11), np.arange(40)[::-1], *range(0, 40, 7)):
        assert_same(train(which), whole, which)
    half = train(n_steps=13)
    rest = train(start=half.final, n_steps=11)
    for name in ("final[0]", "memory[0][0]", "memory[1][0]", "status", "stopped_at"):
        assert_array_equal(parts(rest)[name], parts(whole)[name], err_msg=name)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("suffix", [None, ".npz", ".nc"]),
    ("n_runs", [1, 3, 20]),
    n=6,
)
def test_1000_steps_equal_400_and_600(n_runs, suffix, dtype, tmp_path):
    """With runs that converge and diverge in either part; through a file as well."""
    if suffix == ".nc":
        pytest.importorskip("netCDF4")  # which the sanitizers' environment does without
    batch = Remembering((8, 5, 3), dtype=dtype, n_runs=n_runs)
    which = 0 if n_runs == 1 else slice(None)
    batch.momentum[:] = np.linspace(0.5, 0.95, n_runs)
    step = 0.003 * 2.0 ** (np.arange(n_runs) % 10)
    record = lf.Record.every(50, EVERYTHING)
    free = batch.train(method=batch.of(slice(None), step), n_steps=1000, record=record, stop=None)
    at = (3 + 3 * np.arange(n_runs)) % 20
    limits = np.nan_to_num(free.loss[np.arange(n_runs), at])
    stop = lf.Stop(loss=np.where(np.arange(n_runs) % 4 == 3, 0.0, limits)[which], check_every=25)
    options = {"method": batch.of(which, step), "record": record, "stop": stop}
    whole = batch.train(which, n_steps=1000, **options)
    half = batch.train(which, n_steps=400, **options)
    if suffix is not None:
        half.save(tmp_path / f"half{suffix}")
        half = lf.Trajectory.load(tmp_path / f"half{suffix}")
    rest = batch.train(which, start=half.final, n_steps=600, **options)
    if n_runs == 20:
        assert len(set(half.status.tolist())) > 1
        assert (whole.status != half.status).any()
    first, second = parts(half), parts(rest)
    assert sum(name.startswith("memory") for name in second) == 2
    for name, array in parts(whole).items():
        if name.startswith(("final", "memory")) or name in ("status", "stopped_at"):
            assert_array_equal(second[name], array, err_msg=name)
        else:
            axis = half.status.ndim
            joined = [first[name], np.take(second[name], range(1, 13), axis)]
            assert_array_equal(np.concatenate(joined, axis), array, err_msg=name)


@pytest.mark.parametrize("n_runs", [1, 3, 40])
def test_the_memory_of_a_diverged_run_is_that_of_its_last_step(n_runs):
    """One record at the end, so that all steps are one block, whose last ones are taken again."""
    network, loss = lf.Dense((3, 3, 3)), make_loss((3, 3))
    start, bad = start_of(network, (n_runs,)), n_runs // 2
    step = np.full(n_runs, 0.01)
    step[bad] = 3.0

    def train(which, n_steps):
        method = lf.GradientDescent(step[which], momentum=0.9)
        own = [w[which] for w in start]
        record = lf.Record.at([n_steps], ("loss",))
        return lf.train(network, loss, own, method=method, n_steps=n_steps, record=record)

    whole = train(slice(None), 200)
    assert whole.status[bad] == lf.Status.DIVERGED
    at = int(whole.stopped_at[bad])
    assert 2 < at < 100
    before, there = train(bad, at - 1), train(bad, at)
    assert before.ok
    assert there.status == lf.Status.DIVERGED
    assert there.stopped_at == at
    slow = reference.train(
        network, loss, [w[bad] for w in start], method=lf.GradientDescent(3.0, momentum=0.9),
        n_steps=at, record=lf.Record.at([at], ("loss",)),
    )  # fmt: skip
    assert slow.status == lf.Status.DIVERGED
    assert slow.stopped_at == at
    for a, (b,), (c,) in zip(
        there.final.memory, whole.final.memory, before.final.memory, strict=True
    ):
        assert_array_equal(a[0], b[bad])
        assert np.isfinite(c).all()
    others = np.flatnonzero(np.arange(n_runs) != bad)
    if len(others):
        assert_same(train(others, 200), whole, others)


def test_ended_runs_keep_their_memory():
    network, loss = lf.Dense((3, 2)), make_loss((3, 2))
    method = lf.GradientDescent(0.05, momentum=[0.5, 0.9, 0.7])
    first = lf.train(
        network, loss, start_of(network, ()), method=method, n_steps=30,
        stop=lf.Stop(loss=[0.0, 1e3, 0.0]),
    )  # fmt: skip
    assert first.status.tolist() == [0, 1, 0]
    rest = lf.train(network, loss, first.final, method=method, n_steps=10)
    same = first.final.memory[0][0] == rest.final.memory[0][0]
    assert same.all(axis=(1, 2)).tolist() == [False, True, False]


def test_a_memory_may_broadcast_over_runs():
    """One velocity for all, as it begins with zeros of no size."""
    network, loss = lf.Dense((3, 2)), make_loss((3, 2))
    weights = start_of(network, (4,))
    velocity = np.full((2, 3), 0.25)
    method = lf.GradientDescent(0.05, momentum=0.9)

    def begin(kept):
        return lf.training.state.State(
            tuple(weights), 0, np.zeros(4, np.int8), np.zeros(4, np.int64), memory=((kept,),)
        )

    runs = [
        lf.train(network, loss, begin(kept), method=method, n_steps=7)
        for kept in (np.broadcast_to(velocity, (4, 2, 3)), np.repeat(velocity[None], 4, axis=0))
    ]
    assert_same(runs[0], runs[1])
    slow = reference.train(
        network, loss, begin(np.repeat(velocity[None], 4, axis=0)), method=method, n_steps=7,
        record=lf.Record.geomspace(100),
    )  # fmt: skip
    assert_close(runs[0], slow, 1e-12)


REST = {"decoupled": False, "feeds_back": False, "remembers_from": 0}
"""What every update has besides its own."""


def core_arguments(**changes):
    network, loss = lf.Dense((3, 2)), make_loss((3, 2))
    weights = tuple(start_of(network, (4,)))
    return {
        **core_problem(network, loss, weights, (4,)),
        "step_size": np.full((4, 1), 0.1),
        "weight_decay": np.zeros((4, 1)),
        "stop_loss": None,
        "stop_gradient_norm": None,
        "check_every": 1,
        "first_step": 0,
        "n_steps": 3,
        "ended": None,
        "record_steps": [],
        "observables": set(),
        "n_threads": 1,
        "progress": None,
        "update": {**REST, "name": "momentum", "momentum": np.full(4, 0.5), "nesterov": False},
        "memory": [[np.zeros((4, 2, 3))]],
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"update": {**REST, "name": "none"}}, ValueError, "unknown update 'none'"),
        ({"update": {**REST, "name": "plain"}}, ValueError, "memory must be of 0 arrays"),
        ({"update": {**REST, "name": "plain", "x": 1}, "memory": []}, ValueError, "other fields"),
        (
            {"update": {**REST, "name": "momentum", "momentum": np.full(4, 0.5)}},
            ValueError,
            "fields",
        ),
        (
            {"update": {**REST, "name": "plain", "remembers_from": 1}, "memory": []},
            ValueError,
            "remembers_from must lie",
        ),
        ({"memory": []}, ValueError, "memory must be of 1 arrays"),
        ({"memory": [[]]}, ValueError, "1 arrays for every"),
        ({"memory": [[np.zeros((4, 3, 2))]]}, ValueError, r"memory\[0\]\[0\] must have shape"),
        ({"memory": [[np.zeros((4, 2, 3), np.float32)]]}, TypeError, r"memory\[0\]\[0\] must have"),
        (
            {
                "update": {
                    **REST,
                    "name": "momentum",
                    "momentum": np.full(3, 0.5),
                    "nesterov": False,
                }
            },
            ValueError,
            "momentum must have shape",
        ),
    ],
)
def test_what_the_core_refuses(changes, error, message):
    with pytest.raises(error, match=message):
        _core.train(**core_arguments(**changes))


def test_the_core_gives_a_memory_only_where_there_is_one():
    assert [len(kept) for kept in _core.train(**core_arguments())["memory"]] == [1]
    arguments = core_arguments()
    del arguments["update"], arguments["memory"]
    assert "memory" not in _core.train(**arguments)
