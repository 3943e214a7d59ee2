"""Trainings on entries and measurements: the core against the reference, bits, flows, files, sweeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matrix_problems import MATRIX_LOSSES, make_matrix_loss
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, assert_same, crossed, make_start, parts

import linnet_fast as lf
from linnet_fast import layers, reference

RULES = {
    "constant": lambda scale: scale,
    "loss_normalized": lf.StepRule.loss_normalized,
    "gradient_normalized": lf.StepRule.gradient_normalized,
}
CHAINS = (
    lf.Residual(5, 2),
    lf.Residual(4, 2, n_outputs=3, scale=0.5),
    lf.Convolution((3, 4), 3, 3, channels=2, in_channels=2, padding="zero"),
    lf.Convolution(9, 3, 2, stride=2, padding="valid"),
    lf.Diagonal(6, 3),
    lf.Chain([layers.Diagonal(4)] * 3, [0, 1, 0]),
    lf.Chain([layers.Dense(3, 6), layers.Residual(layers.Diagonal(6), 2.0), layers.Dense(6, 7)]),
    lf.Chain([layers.Dense(1, 5), layers.Convolution(5, 3), layers.Diagonal(5)]),
)


def assert_close(run, expected, tolerance):
    assert_array_equal(run.status, expected.status)
    assert_array_equal(run.stopped_at, expected.stopped_at)
    arrays = parts(expected)
    for name, array in parts(run).items():
        assert array.shape == arrays[name].shape
        scale = np.nanmax(np.abs(arrays[name]), initial=1.0)
        assert_allclose(array, arrays[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@st.composite
def trainings(draw):
    """A network, loss, start, method; run axes on any of them."""
    widths = tuple(
        draw(st.lists(st.sampled_from([1, 2, 3, 5, 8, 9, 17, 40]), min_size=2, max_size=4))
    )
    runs = draw(st.sampled_from([(), (1,), (3,), (2, 3), (9,), (4, 5)]))
    some = st.sampled_from([(), runs])
    seed = draw(st.integers(0, 2**16))
    loss = make_matrix_loss(
        draw(st.sampled_from(MATRIX_LOSSES)),
        (widths[-1], widths[0]),
        draw(some),
        n=draw(st.sampled_from([1, 2, 7, 16, 33, 300])),
        own=draw(st.booleans()),
        seed=seed,
    )
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    start = make_start(widths, runs, scale=0.5, dtype=dtype, seed=seed)
    rule = draw(st.sampled_from(sorted(RULES)))
    slope = np.max(reference.observe("gradient_norm", start, loss)) / np.min(
        reference.observe("layer_norms", start, loss)
    )
    # So small that nothing is blown up in a few steps; rules for what is small are not.
    scale = 0.01 / max(1.0, float(slope)) if rule == "constant" else 1e-3
    if dtype == np.float32 or draw(st.booleans()):
        rule = "constant"
        scale = 0.01 / max(1.0, float(slope))
    step = RULES[rule](scale)
    if draw(st.booleans()):
        return widths, loss, start, lf.GradientDescent(step, 0.01)
    batch = draw(st.sampled_from([1, 3, 8, 70]))
    return widths, loss, start, lf.StochasticGradientDescent(step, batch, seed, weight_decay=0.01)


@settings(max_examples=120)
@given(trainings(), st.integers(1, 3))
def test_core_equals_reference(training, n_threads):
    widths, loss, start, method = training
    single = start[0].dtype == np.float32
    arguments = {"method": method, "n_steps": 8, "record": lf.Record.every(1, EVERYTHING)}
    run = lf.train(lf.Dense(widths), loss, start, n_threads=n_threads, **arguments)
    expected = reference.train(lf.Dense(widths), loss, start, **arguments)
    assert_close(run, expected, 1e-3 if single else 1e-9)


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_every_network_can_be_trained(chain, kind):
    loss = make_matrix_loss(kind, (chain.n_outputs, chain.n_inputs), (4,), n=11)
    start = lf.initialization.gaussian(chain, scale=0.4, rng=0, batch_shape=(4,))
    names = ("loss", "singular_values", "gradient_norm", "product")
    arguments = {"method": lf.GradientDescent(0.01), "n_steps": 6,
                 "record": lf.Record.every(2, names)}  # fmt: skip
    expected = reference.train(chain, loss, start, **arguments)
    assert_close(lf.train(chain, loss, start, **arguments), expected, 1e-12)


class Batch:
    """Runs that differ in everything: start, step size, decay, stop rule, data; some diverge."""

    def __init__(self, kind, widths, *, own, drawn=None, rule="constant", dtype=np.float64, n=23):
        self.network, self.n_runs = lf.Dense(widths), 40
        number = np.arange(self.n_runs)
        self.runs = (self.n_runs,)
        self.kind, self.drawn, self.rule = kind, drawn, rule
        self.loss = make_matrix_loss(
            kind, (widths[-1], widths[0]), self.runs if own is not None else (), n=n, own=bool(own)
        )
        self.start = [np.array(w) for w in make_start(widths, self.runs, scale=0.6, dtype=dtype)]
        self.start[0][number % 16 == 5] *= dtype(1e18 if dtype == np.float32 else 1e160)
        self.scale = 0.002 + 0.0005 * (number % 5)
        self.decay = np.where(number % 3 == 0, 0.0, 0.1)
        self.limit = np.where(number % 7 == 2, 0.999 * self.loss.value(self.product()), 0.0)
        self.limit = np.where(np.isfinite(self.limit), self.limit, 0.0)

    def product(self):
        with np.errstate(all="ignore"):
            product = self.start[0].astype(float)
            for w in self.start[1:]:
                product = w @ product
        return product

    def train(self, which=slice(None), **options):
        step = RULES[self.rule](self.scale[which])
        method = lf.GradientDescent(step, self.decay[which])
        if self.drawn is not None:
            streams = (7 * np.arange(self.n_runs)) % 11
            method = lf.StochasticGradientDescent(
                step, self.drawn, 11, streams[which], self.decay[which]
            )
        loss = self.loss
        if loss.run_shape:
            values = {
                name: np.broadcast_to(
                    getattr(loss, name),
                    (*self.runs, *getattr(loss, name).shape[-n_inner:]),
                )[which]
                for name, n_inner in loss.inner_axes.items()
            }
            more = {"shape": loss.shape} if self.kind == "completion" else {}
            loss = type(loss)(**values, **more)
        options = {
            "method": method, "n_steps": 24, "record": lf.Record.every(6, EVERYTHING),
            "stop": lf.Stop(loss=self.limit[which], check_every=4), "n_threads": 2,
            "start": [w[which] for w in self.start],
        } | options  # fmt: skip
        return lf.train(self.network, loss, **options)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("drawn", [None, 20]),
    ("own", [None, False, True]),
    ("kind", MATRIX_LOSSES),
    n=12,
)
def test_bits_of_a_run_depend_on_that_run_alone(kind, own, drawn, dtype):
    """Not on its neighbours, on threads, on whether lanes or the direct machine trained it."""
    batch = Batch(kind, (5, 4, 3), own=own, drawn=drawn, dtype=dtype)
    whole = batch.train()
    assert set(whole.status.tolist()) >= {int(lf.Status.COMPLETED), int(lf.Status.DIVERGED)}
    assert lf.Status.CONVERGED in whole.status or drawn or dtype == np.float32
    for i in (0, 2, 5, 9, 39):
        assert_same(batch.train(i), whole, i)
    assert_same(batch.train(slice(4, 15), n_threads=1), whole, slice(4, 15))
    order = np.random.default_rng(0).permutation(40)
    assert_same(batch.train(order, n_threads=3), whole, order)


@crossed(
    ("rule", sorted(RULES)),
    ("widths", [(1, 1), (20, 33, 17), (9, 1, 9)]),
    ("kind", MATRIX_LOSSES),
    n=9,
)
def test_bits_at_other_sizes(kind, widths, rule):
    for own, n in [(None, 300), (True, 65)]:
        batch = Batch(kind, widths, own=own, n=n, rule=rule)
        whole = batch.train(n_steps=5)
        for which in (3, slice(1, 18)):
            assert_same(batch.train(which, n_steps=5), whole, which)


@pytest.mark.parametrize("drawn", [None, 6])
@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_24_steps_equal_10_and_14(kind, drawn):
    batch = Batch(kind, (5, 4, 3), own=True, drawn=drawn)
    record = lf.Record.every(2, ("loss", "singular_values"))
    whole = batch.train(stop=None, record=record)
    half = batch.train(stop=None, record=record, n_steps=10)
    rest = batch.train(stop=None, record=record, n_steps=14, start=half.final)
    assert_array_equal(np.concatenate([half.loss, rest.loss[:, 1:]], 1), whole.loss)
    for a, b in zip(whole.final.weights, rest.final.weights, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_zero_weights_and_the_loss_of_them(kind):
    """At weights of zero the loss is that of the targets, and a deep network stays where it is."""
    loss = make_matrix_loss(kind, (3, 5))
    run = lf.train(
        lf.Dense((5, 4, 3)), loss, [np.zeros((4, 5)), np.zeros((3, 4))],
        method=lf.GradientDescent(0.1), n_steps=3, record=lf.Record.every(1, ("loss",)),
    )  # fmt: skip
    assert_allclose(run.loss, loss.value(np.zeros((3, 5))), rtol=1e-14)
    assert not any(w.any() for w in run.final.weights)


def test_recorded_losses_are_exact_near_zero():
    """Long trainings on what can be had: never negative, and small to the last."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))
    loss = lf.MatrixCompletionLoss.from_matrix(truth, rng.random((6, 6)) < 0.5)
    start = make_start((6, 6, 6), (5,), scale=0.5)
    run = lf.train(
        lf.Dense((6, 6, 6)), loss, start, method=lf.GradientDescent(0.5), n_steps=20_000,
        record=lf.Record.every(1000, ("loss", "product")),
    )  # fmt: skip
    assert (run.loss >= 0).all()
    assert (run.loss[:, -1] < 1e-26).all()
    assert_allclose(run.loss, loss.value(run.product), rtol=1e-12, atol=1e-300)


# -- flows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_time", [False, True])
@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_flow_equals_the_reference(kind, log_time):
    loss = make_matrix_loss(kind, (3, 4), (3,), n=7)
    start = make_start((4, 3, 3), (3,), scale=0.5)
    arguments = {
        "method": lf.GradientFlow(rtol=1e-11, log_time=log_time), "until": 1.5,
        "record": lf.Record.at_times([0.5, 1.5], ("loss", "product")),
    }  # fmt: skip
    run = lf.train(lf.Dense((4, 3, 3)), loss, start, **arguments)
    expected = reference.train(lf.Dense((4, 3, 3)), loss, start, **arguments)
    assert_allclose(run.loss, expected.loss, rtol=1e-8)
    assert_allclose(run.product, expected.product, rtol=1e-7, atol=1e-9)


def test_flow_to_a_matrix_of_rank_one_at_infinity():
    """Razin and Cohen's problem: norms go to infinity while the rank goes to one.

    The numbers are of the flow of 1/2 of the sum, 3 times this loss: its time is a third.
    """
    loss = lf.MatrixCompletionLoss([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], shape=(2, 2))
    network = lf.Dense((2, 2, 2, 2))
    run = lf.train(
        network, loss, [1e-2 ** (1 / 3) * np.eye(2)] * 3, method=lf.GradientFlow(rtol=1e-10),
        until=900.0, record=lf.Record.at_times([900.0], ("loss", "product", "singular_values")),
    )  # fmt: skip
    assert_allclose(run.product[0, 0, 0], 17.985, rtol=5e-5)
    assert_allclose(run.singular_values[0, 1] / run.singular_values[0, 0], 1.18e-6, rtol=5e-3)
    assert_allclose(3 * run.loss[0], 1.54e-3, rtol=3e-3)


def diagonal_completed(depth, start):
    loss = lf.MatrixCompletionLoss.from_matrix(np.eye(2), np.eye(2, dtype=bool))
    run = lf.train(
        lf.Dense((2,) * (depth + 1)), loss, start, method=lf.GradientFlow(rtol=1e-9),
        until=3000.0, record=lf.Record.at_times([3000.0], ("loss", "product", "singular_values")),
    )  # fmt: skip
    assert run.loss[0] < 1e-18
    return run.product[0], run.singular_values[0]


def balanced_start(depth, matrix):
    """Return a balanced start with this product: W_1 = s^(1/L) V^T, ..., W_L = U s^(1/L)."""
    u, s, vt = np.linalg.svd(matrix)
    root = np.diag(s ** (1 / depth))
    return [root @ vt, *[root] * (depth - 2), u @ root]


SMALL = np.array([[0.9, 0.7], [-0.4, 1.1]])


def test_an_observed_diagonal_is_completed_to_rank_one_by_three_layers():
    """From any small balanced start: then P_01 P_10 = P_00 P_11 = 1."""
    product, singular_values = diagonal_completed(3, balanced_start(3, 1e-8 * SMALL))
    assert singular_values[1] < 1e-4 * singular_values[0]
    assert_allclose(product[0, 1] * product[1, 0], 1, rtol=1e-4)


def test_an_observed_diagonal_completed_by_two_layers():
    """Both modes grow alike, so that the nuclear norm is least, 2, and the rank is that of the start."""
    product, singular_values = diagonal_completed(2, balanced_start(2, 1e-8 * SMALL))
    assert_allclose(singular_values.sum(), 2, rtol=1e-6)
    assert singular_values[1] > 0.5
    u, s, vt = np.linalg.svd(SMALL)
    one = 1e-5 * s[0] * np.outer(u[:, 0], vt[0])
    product, singular_values = diagonal_completed(2, balanced_start(2, one))
    assert singular_values[1] < 1e-6 * singular_values[0]
    assert_allclose(product[0, 1] * product[1, 0], 1, rtol=1e-6)


# -- symmetric sensing -----------------------------------------------------------------------------


def test_symmetric_sensing_by_tied_layers():
    """W_2 = W_1^T: places of shared weights, one of them read across. By hand: U <- U - eta (G + G^T) U."""
    d, r, n = 4, 2, 30
    rng = np.random.default_rng(0)
    place = np.arange(r * d).reshape(r, d)
    tied = lf.Chain([layers.Custom(place), layers.Custom(place.T)], share=[0, 0])
    assert tied.n_arrays == 1
    u = rng.standard_normal((d, r))
    a = rng.standard_normal((n, d, d))
    a = (a + a.mT) / 2
    loss = lf.MatrixSensingLoss(a, np.einsum("kij,ij->k", a, u @ u.T))
    start = 0.3 * rng.standard_normal((r, d))
    run = lf.train(
        tied, loss, [start.ravel()], method=lf.GradientDescent(0.02), n_steps=5000,
        record=lf.Record.at([10, 5000], ("loss", "product")),
    )  # fmt: skip
    w = start.T.copy()
    for _ in range(10):
        g = np.einsum("k,kij->ij", np.einsum("kij,ij->k", a, w @ w.T) - loss.targets, a) / n
        w = w - 0.02 * (g + g.T) @ w
    assert_allclose(run.product[0], w @ w.T, rtol=1e-11)
    assert run.loss[1] < 1e-24
    assert_allclose(run.product[1], u @ u.T, atol=1e-11)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("n", [3, 70])
@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_files(kind, n, suffix, tmp_path):
    """Small arrays are written among the text, large ones as arrays; it goes on as it was."""
    loss = make_matrix_loss(kind, (10, 9), (3,), n=n)
    network = lf.Dense((9, 2, 10))
    start = make_start((9, 2, 10), (3,))
    method = lf.StochasticGradientDescent(0.01, 4, seed=3)
    record = lf.Record.every(2, ("loss",))
    run = lf.train(network, loss, start, method=method, n_steps=4, record=record)
    run.save(tmp_path / f"run{suffix}")
    again = lf.Trajectory.load(tmp_path / f"run{suffix}")
    assert_same(again, run)
    assert type(again.loss_function) is type(loss)
    assert repr(again.loss_function) == repr(loss)
    for name in loss.inner_axes:
        assert_array_equal(getattr(again.loss_function, name), getattr(loss, name), strict=True)
    ends = [
        lf.train(network, r.loss_function, r.final, method=method, n_steps=4, record=record)
        for r in (run, again)
    ]
    assert_same(*ends)
