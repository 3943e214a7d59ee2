"""Chains of any layers: the core against the reference, bits, statuses, flow, files."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS, EVERYTHING, assert_same, crossed, make_loss

import linnet_fast as lf
from linnet_fast import reference

N_STEPS = 40


def problem(network, n_runs, *, dtype=np.float64, runs=(), diagonal=False):
    loss = make_loss((network.n_inputs, network.n_outputs), runs, diagonal=diagonal)
    start = lf.initialization.gaussian(
        network, scale=0.6, rng=1, batch_shape=(n_runs,), dtype=dtype
    )
    decay = np.where(np.arange(n_runs) % 2 == 0, 0.03, 0.0)
    multipliers = 1.0 + np.arange(network.n_arrays) % 2
    return loss, start, lf.GradientDescent(np.linspace(0.005, 0.02, n_runs), decay, multipliers)


EVERY = pytest.mark.parametrize("network", CHAINS, ids=repr)


class TestEveryChain:
    @crossed(
        ("network", CHAINS), ("n_runs", [1, 3, 20]), ("moments", ["shared", "diagonal", "own"]),
        n=2 * len(CHAINS),
    )  # fmt: skip
    def test_core_agrees_with_the_reference(self, network, n_runs, moments):
        runs = (n_runs,) if moments == "own" else ()
        loss, start, method = problem(network, n_runs, runs=runs, diagonal=moments == "diagonal")
        options = {
            "method": method,
            "n_steps": N_STEPS,
            "record": lf.Record.every(8, EVERYTHING),
            "stop": lf.Stop(gradient_norm=1e-3, check_every=3),
        }
        fast = lf.train(network, loss, start, **options)
        slow = reference.train(network, loss, start, **options)
        assert_array_equal(fast.status, slow.status)
        for name in EVERYTHING:
            own, expected = getattr(fast, name), getattr(slow, name)
            pairs = zip(own, expected, strict=True) if name == "weights" else [(own, expected)]
            for a, b in pairs:
                scale = max(np.nanmax(np.abs(b), initial=0.0), 1e-3)
                assert_allclose(a, b, rtol=1e-12, atol=1e-12 * scale, err_msg=name)

    @crossed(("network", CHAINS), ("diagonal", [False, True]))
    def test_a_run_has_the_same_bits_alone(self, network, diagonal):
        loss, start, method = problem(network, 19, diagonal=diagonal)
        record = lf.Record.every(10, EVERYTHING)

        def train(which, n_threads=1):
            own = lf.GradientDescent(
                method.step_size[which], method.weight_decay[which], method.layer_multipliers
            )
            return lf.train(
                network, loss, [w[which] for w in start], method=own, n_steps=N_STEPS,
                record=record, n_threads=n_threads,
            )  # fmt: skip

        together = train(slice(None))
        assert_same(train(slice(None), 2), together)
        for which in (0, 7, 18):
            assert_same(train(which), together, which)

    @EVERY
    def test_continued_equals_one_longer(self, network):
        loss, start, method = problem(network, 3)
        options = {"method": method, "record": lf.Record.every(5, ("loss",))}
        whole = lf.train(network, loss, start, n_steps=30, **options)
        half = lf.train(network, loss, start, n_steps=10, **options)
        rest = lf.train(network, loss, half.final, n_steps=20, **options)
        for a, b in zip(rest.final.weights, whole.final.weights, strict=True):
            assert_array_equal(a, b)

    @EVERY
    def test_flow_agrees_with_the_reference(self, network):
        loss, start, _ = problem(network, 3)
        method = lf.GradientFlow(rtol=1e-10, weight_decay=0.02)
        record = lf.Record.at_times([0.0, 0.4, 1.0], ("product", "loss", "layer_norms"))
        fast = lf.train(network, loss, start, method=method, until=1.0, record=record)
        slow = reference.train(network, loss, start, method=method, until=1.0, record=record)
        for name in ("product", "loss", "layer_norms"):
            scale = np.max(np.abs(getattr(slow, name)))
            assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-8 * scale)

    @EVERY
    def test_float32(self, network):
        loss, start, method = problem(network, 17, dtype=np.float32)
        record = lf.Record.at([N_STEPS], ("product",))
        single = lf.train(network, loss, start, method=method, n_steps=N_STEPS, record=record)
        double = lf.train(
            network, loss, start, method=method, n_steps=N_STEPS, record=record, dtype=np.float64
        )
        assert single.final.weights[0].dtype == np.float32
        scale = np.abs(double.product).max()
        assert_allclose(single.product, double.product, atol=1e-4 * scale)

    @EVERY
    def test_files(self, network, tmp_path):
        loss, start, method = problem(network, 2)
        run = lf.train(network, loss, start, method=method, n_steps=3)
        for suffix in (".npz", ".nc"):
            path = tmp_path / f"run{suffix}"
            run.save(path)
            again = lf.Trajectory.load(path)
            assert again.network == network
            assert_same(again, run)


# Layers with fixed parts, and layers that share weights, conserve nothing.
HOMOGENEOUS = [
    network
    for network in CHAINS
    if not any(name in network.spec for name in ("Residual", "Fixed", "Custom", "share"))
]


@pytest.mark.parametrize("network", HOMOGENEOUS, ids=repr)
def test_flow_conserves_the_difference_of_squared_norms(network):
    assert len(HOMOGENEOUS) > 10
    loss, start, _ = problem(network, 4)
    run = lf.train(
        network, loss, start, method=lf.GradientFlow(rtol=1e-11), until=3.0,
        record=lf.Record.at_times([0.0, 1.0, 3.0], ("layer_norms",)),
    )  # fmt: skip
    gaps = np.diff(run.layer_norms**2, axis=-1)
    assert_allclose(gaps, gaps[:, :1].repeat(3, axis=1), atol=1e-8)


@crossed(("n_layers", range(2, 9)), ("width", [1, 2, 3, 4, 7, 16]))
def test_steps_that_are_taken_together_have_the_bits_of_single_ones(n_layers, width):
    # Inputs with a diagonal second moment do not see each other in diagonal networks: the core then
    # takes many steps of one input before it turns to the next. One run alone goes step by step.
    network = lf.Diagonal(width, n_layers)
    for decay in (0.0, 0.05):
        loss, start, _ = problem(network, 24, diagonal=True)
        method = lf.GradientDescent(np.linspace(0.01, 0.1, 24), decay, 1.0 + np.arange(n_layers))
        options = {"n_steps": 123, "record": lf.Record.every(50, EVERYTHING)}
        together = lf.train(network, loss, start, method=method, **options)
        for which in (0, 23):
            own = lf.GradientDescent(method.step_size[which], decay, method.layer_multipliers)
            alone = lf.train(network, loss, [w[which] for w in start], method=own, **options)
            assert_same(alone, together, which)


@pytest.mark.parametrize(
    ("network", "diagonal"), [(lf.Convolution(6, 3, 3), False), (lf.Diagonal(6, 3), True)]
)
def test_divergence_is_found_at_its_step(network, diagonal):
    loss, start, _ = problem(network, 20, diagonal=diagonal)
    steps = np.full(20, 0.01)
    steps[[3, 11]] = 50.0
    options = {"method": lf.GradientDescent(steps), "n_steps": 60}
    fast = lf.train(network, loss, start, **options)
    slow = reference.train(network, loss, start, record=lf.Record.geomspace(5), **options)
    assert_array_equal(fast.status, slow.status)
    assert_array_equal(fast.stopped_at, slow.stopped_at)
    assert fast.status[3] == lf.Status.DIVERGED


def test_wrong_weights_are_refused_by_name():
    network = lf.Convolution(6, 3, 2)
    loss = make_loss((6, 1))
    with pytest.raises(ValueError, match=r"start\[0\] must have shape \(1, 1, 3\), got \(3,\)"):
        lf.train(
            network, loss, [np.ones(3), np.ones((1, 6))], method=lf.GradientDescent(0.1), n_steps=1
        )
    with pytest.raises(ValueError, match="loss must match the network's widths"):
        lf.train(
            network, make_loss((5, 1)), [np.ones((1, 1, 3)), np.ones((1, 6))],
            method=lf.GradientDescent(0.1), n_steps=1,
        )  # fmt: skip


def test_a_layer_is_no_network():
    layer, loss, start = lf.layers.Dense(3, 2), make_loss((3, 2)), [np.ones((2, 3))]
    method = lf.GradientDescent(0.1)
    match = (
        r"network must be a Chain such as Dense\(\(3, 2\)\), got the layer "
        r"layers\.Dense\(n_inputs=3, n_outputs=2\); put it into Chain\(\[\.\.\.\]\)"
    )
    for call in (
        lambda: lf.train(layer, loss, start, method=method, n_steps=1),
        lambda: reference.train(
            layer, loss, start, method=method, n_steps=1, record=lf.Record.every(1)
        ),
        lambda: lf.observe(layer, loss, start, ("loss",)),
        lambda: lf.Training(layer, loss, lf.Start("gaussian"), method, n_steps=1),
        lambda: lf.initialization.gaussian(layer, rng=0),
        lambda: lf.representation_cost(layer, np.ones((2, 3))),
        lambda: lf.what_is(layer),
        lambda: lf.verify(layer, lf.regularizers.L1()),
    ):
        with pytest.raises(TypeError, match=match):
            call()
    with pytest.raises(TypeError, match=r"networks\[1\] must be a Chain such as .* got the layer"):
        lf.parallel([lf.Dense((3, 2)), layer])
    # Of the same name as what is expected, but no network; and a chain of it would not do.
    match = r"network must be a Dense such as Dense\(\(3, 2\)\), got the layer .*\)$"
    with pytest.raises(TypeError, match=match):
        lf.initialization.orthogonal(layer, rng=0)
    with pytest.raises(TypeError, match="network must be a Chain, got int"):
        lf.initialization.gaussian(3, rng=0)


def test_layers_are_counted_and_so_are_arrays_of_weights():
    diagonal, fixed = lf.layers.Diagonal(3), lf.layers.Fixed(np.ones((1, 3)))
    for share, n_arrays in ((None, 2), ([0, 0, None], 1)):
        network = lf.Chain([diagonal, diagonal, fixed], share)
        assert (network.n_layers, network.n_arrays) == (3, n_arrays)
        start = lf.initialization.gaussian(network, rng=0)
        assert len(start) == len(network.shapes) == n_arrays
        norms = lf.observe(network, make_loss((3, 1)), start, ("layer_norms",))["layer_norms"]
        assert norms.shape == (n_arrays,)


def test_initialisation_scales_by_what_an_output_sees():
    network = lf.Convolution(64, 9, 2)
    kernel, top = lf.initialization.gaussian(network, rng=0, batch_shape=4000)
    assert np.std(kernel) == pytest.approx(1 / 3, rel=0.02)
    assert np.std(top) == pytest.approx(1 / 8, rel=0.02)
    diagonal, _ = lf.initialization.gaussian(lf.Diagonal(16), rng=0, batch_shape=1000)
    assert np.std(diagonal) == pytest.approx(1.0, rel=0.02)
