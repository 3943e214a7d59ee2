"""What gradient flow conserves between layers, of every kind of chain, and how descent moves it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from mode_data import modes_loss
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from support import make_loss

import linnet_fast as lf
from linnet_fast import rank_dynamics as rd
from linnet_fast.networks.conserved import balances
from linnet_fast.rank_dynamics import imbalance

L = lf.layers
LOSS = modes_loss([2.0, 1.2, 0.6], [1.0, 0.5, 2.0, 0.7], 3)
FIXED = L.Fixed(np.random.default_rng(0).standard_normal((4, 4)))
OFFSET = np.random.default_rng(1).standard_normal((3, 3))
CHAINS = {
    "dense": lf.Dense((4, 5, 3)),
    "deep": lf.Dense((3, 4, 2, 3)),
    "diagonal": lf.Diagonal(4, 3),
    "convolution": lf.Convolution(5, 2, 3, padding="zero"),
    "channels": lf.Convolution(6, 2, 3, channels=2),
    "strided": lf.Convolution(8, 2, 3, channels=2, stride=2, padding="valid"),
    "wrapped": lf.Chain([L.Convolution(3, taps=(0, 3, 4)), L.Dense(3, 2)]),
    "group": lf.Chain([L.GroupConvolution([[0, 1, 2], [1, 2, 0], [2, 0, 1]]), L.Dense(3, 1)]),
    "residual": lf.Residual(4, 2, 3, scale=0.5),
    "residual diagonal": lf.Chain(
        [L.Residual(L.Diagonal(3), 2.0), L.Residual(L.Diagonal(3), -0.5), L.Dense(3, 2)]
    ),
    "residual convolution": lf.Chain(
        [
            L.Residual(L.Convolution(5, 3, padding="zero"), 0.7),
            L.Residual(L.Convolution(5, 3, padding="zero"), 0.3),
            L.Dense(5, 2),
        ]
    ),
    "residual mask": lf.Chain(
        [L.Dense(2, 3), L.Residual(L.Masked(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1]]) > 0), 0.7)]
    ),
    "shared": lf.Chain([L.Dense(4, 4)] * 3 + [L.Dense(4, 2)], share=[0, 0, 0, 1]),
    "shared between": lf.Chain(
        [L.Dense(3, 4), L.Dense(4, 4), L.Dense(4, 4), L.Dense(4, 2)], share=[0, 1, 1, 2]
    ),
    "fixed": lf.Chain([L.Dense(4, 4), FIXED, L.Dense(4, 3)]),
    "grouped": lf.Grouped([(0, 1), (2, 3)], 2, 2),
    "parallel": lf.parallel([lf.Dense((4, 3, 2)), lf.Dense((4, 2))]),
    "parallel deep": lf.parallel([lf.Dense((4, 3, 2, 2)), lf.Dense((4, 2, 3, 2))]),
    "custom": lf.Chain(
        [
            L.Dense(3, 3),
            L.Custom(np.arange(9).reshape(3, 3), coefficient=2.0, offset=OFFSET),
            L.Custom([[0, 1, -1], [2, 3, -1]], coefficient=[[1, 1, 0], [3.0, 3.0, 0]]),
        ]
    ),
}


def problem(network, scale=0.6, seed=0):
    rng = np.random.default_rng(seed)
    start = [scale * rng.standard_normal(shape) for shape in network.shapes]
    return make_loss((network.n_inputs, network.n_outputs), seed=seed), start


def descended(network, loss, start, step_size, n_steps, every):
    record = lf.Record.every(every, observables=("weights",))
    method = lf.GradientDescent(step_size)
    return lf.train(network, loss, start, method=method, n_steps=n_steps, record=record)


def by_scipy(network, loss, start, until):
    """Weights at the start and at the end of the flow, flat: by an integrator that knows no layer."""
    ends = np.cumsum([w.size for w in start])[:-1]

    def slope(_, flat):
        parts = zip(np.split(flat, ends), network.shapes, strict=True)
        weights = [part.reshape(shape) for part, shape in parts]
        moves = network.gradients(weights, loss.gradient(network.product(weights)))
        return -np.concatenate([move.ravel() for move in moves])

    begin = np.concatenate([w.ravel() for w in start])
    path = solve_ivp(slope, (0, until), begin, "DOP853", rtol=1e-11, atol=1e-12).y
    return np.split(path[:, [0, -1]].T, ends, axis=1)


@pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)
def test_what_the_flow_conserves(network):
    """By SciPy's integrator and by that of the core; what is conserved is no constant of descent."""
    loss, start = problem(network)
    flat = by_scipy(network, loss, start, 6.0)
    for pair, parts in enumerate(balances(network, "test")):
        assert sum(imbalance._moved(part, *flat[pair : pair + 2])[1] for part in parts) < 1e-9
        one = np.abs(np.diff(np.sum(flat[pair] ** 2, axis=-1)))  # of one layer alone it is not
        assert one > 1e-3
    record = lf.Record.geomspace(10, observables=("weights",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-12), until=6.0, record=record)
    drift, bound = rd.imbalance_drift(run)
    assert drift.shape == (10, network.n_arrays - 1)
    assert drift.max() < 1e-9
    assert_array_equal(bound, 0)
    run = lf.train(
        network, loss, start, method=lf.GradientDescent(0.01), n_steps=300, record=record
    )
    assert rd.imbalance_drift(run)[0][-1].min() > 1e-8


@given(
    name=st.sampled_from(sorted(CHAINS)),
    seed=st.integers(0, 2**31),
    scale=st.floats(0.05, 1.0),
    log_step=st.floats(-7, -2),
)
@example(name="shared between", seed=1, scale=1.0, log_step=-3.0)
@example(name="shared", seed=1, scale=1.0, log_step=-2.0)
@budget(max_examples=60, deadline=None)
def test_descent_moves_it_by_no_more_than_the_bound(name, seed, scale, log_step):
    network = CHAINS[name]
    loss, start = problem(network, scale, seed % 1000)
    run = descended(network, loss, start, float(np.exp(log_step)), n_steps=40, every=1)
    drift, bound = rd.imbalance_drift(run)
    proved = np.isfinite(bound)  # not where it diverges
    size = max(np.nanmax(np.abs(w[proved]), initial=1.0) for w in run.weights)
    assert (drift[proved] <= bound[proved, None] + 1e-12 * size**2).all()


@pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)
def test_the_bound_on_the_sharpness_holds_at_every_record(network):
    """Against the Hessian by central differences of the gradient."""
    loss, start = problem(network)
    run = descended(network, loss, start, 0.01, n_steps=20, every=10)
    weights = list(run.weights)
    bound = imbalance._sharpness(network, loss, weights, network.product(weights))
    shapes, ends = network.shapes, np.cumsum([w.size for w in start])[:-1]

    def gradient(flat):
        at = [p.reshape(s) for p, s in zip(np.split(flat, ends), shapes, strict=True)]
        moves = network.gradients(at, loss.gradient(network.product(at)))
        return np.concatenate([move.ravel() for move in moves])

    for record in range(3):
        flat = np.concatenate([w[record].ravel() for w in weights])
        eye = 1e-5 * np.eye(len(flat))
        hessian = np.array([gradient(flat + e) - gradient(flat - e) for e in eye]) / 2e-5
        assert np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1] <= bound[record] * (1 + 1e-6)


def test_residual_layers_count_their_identity():
    """W_2^T W_2 - W_1 W_1^T of the whole matrices I + s W, over s^2; that of W alone is not kept."""
    network = lf.Residual(4, 2, 3, scale=0.5)
    loss, start = problem(network)
    run = descended(network, loss, start, 0.01, n_steps=100, every=50)
    m = [np.eye(4) / 0.5 + w for w in run.weights[:2]] + [run.weights[2]]
    gaps = [b.mT @ b - a @ a.mT for a, b in pairwise(m)]
    nuclear = [np.linalg.norm(gap - gap[:1], "nuc", axis=(-2, -1)) for gap in gaps]
    assert_allclose(rd.imbalance_drift(run)[0], np.stack(nuclear, axis=-1), rtol=1e-9, atol=1e-14)


def test_shared_weights_count_each_use_once():
    network = CHAINS["shared"]
    loss, start = problem(network)
    run = descended(network, loss, start, 0.01, n_steps=100, every=50)
    a, b = (np.sum(w**2, axis=(-2, -1)) for w in run.weights)
    expected = np.abs(b - a / 3 - (b - a / 3)[0])  # the first array is used three times
    assert_allclose(rd.imbalance_drift(run)[0][:, 0], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    "network",
    [
        lf.Chain([L.Residual(L.Dense(3, 3)), L.Fixed(np.ones((3, 3))), L.Dense(3, 2)]),
        lf.Chain([L.Residual(L.Dense(3, 3))] * 2 + [L.Dense(3, 2)], share=[0, 0, 1]),
        lf.Chain([L.Dense(2, 2), L.Custom([[0, -1], [-1, 1]], offset=[[0, 1], [1, 0]])]),
    ],
    ids=["a fixed layer between", "a shared residual", "every unit fixed"],
)
def test_nothing_is_conserved(network):
    loss, start = problem(network)
    record = lf.Record.geomspace(3, observables=("weights",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=1.0, record=record)
    with pytest.raises(ValueError, match="imbalance_drift needs neighbouring layers between which"):
        rd.imbalance_drift(run)


def test_imbalance_is_kept_by_the_flow_and_bounded_in_descent():
    network = lf.Dense((4, 5, 3))
    start = lf.initialization.gaussian(network, rng=1, batch_shape=6)
    record = lf.Record.geomspace(30, observables=("weights",))
    run = lf.train(network, LOSS, start, method=lf.GradientFlow(1e-12), until=20.0, record=record)
    drift, bound = rd.imbalance_drift(run)
    assert drift.shape == (6, 30, 1)
    assert drift.max() < 1e-9
    assert_array_equal(bound, 0)
    eta = np.geomspace(0.01, 0.1, 6)
    run = lf.train(
        network, LOSS, start, method=lf.GradientDescent(eta), n_steps=2000, record=record
    )
    drift, bound = rd.imbalance_drift(run)
    assert (drift[..., 0] <= bound + 1e-13).all()
    assert drift[:, -1].min() > 1e-4
    assert np.isfinite(bound[0]).all()
    gap = [
        np.linalg.norm(b.T @ b - a @ a.T) for a, b in zip(*(w[0] for w in run.weights), strict=True)
    ]
    assert abs(gap[-1] - gap[0]) <= drift[0, -1, 0]
