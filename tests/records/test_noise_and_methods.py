"""Observables of samples, of methods with memory, and of losses that are only evaluated.

What is right is known from the dense forms in NumPy, and from gradients of single samples, closed forms
and where trainings come to rest.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import layers, reference
from linnet_fast.reference.observables import observe as looked_at

RNG = np.random.default_rng(11)
X, Y = RNG.standard_normal((9, 3)), RNG.standard_normal((9, 2))
LABELS = np.sign(RNG.standard_normal((9, 2)))
NOISE = ("gradient_noise", "gradient_noise_curvature")
LOSSES = {
    "squared": lf.SquaredLoss.from_data(X, Y, form="samples"),
    "logistic": lf.LogisticLoss(X, LABELS, 0.2, n_outputs=2),
    "exponential": lf.ExponentialLoss(X, LABELS, n_outputs=2),
    "cross-entropy": lf.CrossEntropyLoss.from_data(X, RNG.integers(0, 2, 9)),
    "sensing": lf.MatrixSensingLoss(RNG.standard_normal((7, 2, 3)), RNG.standard_normal(7)),
    "rank-one sensing": lf.RankOneSensingLoss(Y[:5], X[:5], RNG.standard_normal(5)),
    "completion": lf.MatrixCompletionLoss([0, 1, 1], [1, 1, 2], [1.0, 2.0, -1.0], (2, 3)),
}
NETWORKS = {
    "dense": lf.Dense((3, 4, 2)),
    "one layer": lf.Dense((3, 2)),
    "masked": lf.Chain([layers.Masked(np.eye(4, 3) + np.eye(4, 3, 1) > 0), layers.Dense(4, 2)]),
    "shared": lf.Chain([layers.Dense(3, 3)] * 2 + [layers.Dense(3, 2)], share=[0, 0, 1]),
}


def drawn(network, runs, seed=0, scale=0.6):
    rng = np.random.default_rng(seed)
    return [scale * rng.standard_normal((*runs, *shape)) for shape in network.shapes]


def assert_like_numpy(names, network, loss, weights, rtol=1e-10, **more):
    seen = lf.observe(network, loss, weights, names, weight_decay=0.1, n_threads=1, **more)
    for name in names:
        expected = looked_at(name, weights, loss, 0.1, network, start=more.get("start"))
        assert_allclose(seen[name.replace("(", "_").replace(")", "")], expected, rtol=rtol,
                        atol=1e-12, err_msg=name)  # fmt: skip
    return seen


@pytest.mark.parametrize("runs", [(), (9,)], ids=["alone", "in lanes"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_noise_is_that_of_single_samples_of_every_loss(loss, runs):
    assert_like_numpy(NOISE, NETWORKS["dense"], loss, drawn(NETWORKS["dense"], runs))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_noise_of_every_network(network):
    loss, weights = LOSSES["squared"], drawn(network, (3,), seed=2)
    seen = assert_like_numpy(NOISE, network, loss, weights)
    # Once more by samples that are losses of their own.
    flat = []
    for i in range(len(X)):
        one = lf.SquaredLoss.from_data(X[i : i + 1], Y[i : i + 1], form="moments")
        slopes = network.gradients(weights, one.gradient(network.product(weights)))
        flat.append(np.concatenate([g.reshape(3, -1) for g in slopes], axis=1))
    assert_allclose(seen["gradient_noise"], np.var(flat, axis=0).sum(axis=-1), rtol=1e-12)


def test_noise_vanishes_where_all_samples_are_fit_and_needs_samples():
    teacher = RNG.standard_normal((2, 3))
    loss = lf.SquaredLoss.from_data(X, X @ teacher.T, form="samples")
    seen = lf.observe(lf.Dense((3, 2)), loss, [teacher], NOISE)
    assert seen["gradient_noise"] < 1e-28
    moments = lf.SquaredLoss(np.eye(3), np.ones((2, 3)), 3.0)
    with pytest.raises(
        ValueError, match="gradient_noise is of losses on samples, and this Squared"
    ):
        lf.observe(lf.Dense((3, 2)), moments, [teacher], NOISE)
    zero = lf.observe(lf.Dense((3, 4, 2)), loss, drawn(lf.Dense((3, 4, 2)), (), scale=0.0), NOISE)
    assert zero["gradient_noise"] == 0
    assert np.isnan(zero["gradient_noise_curvature"])


def test_noise_of_one_sample_of_two_is_known():
    # Gradients of 1/2 (w x - y)^2 at w = 0: -2 and 0, so the covariance is 1; the Hessian is 5 / 2.
    loss = lf.SquaredLoss.from_data([[1.0], [2.0]], [[2.0], [0.0]], form="samples")
    seen = lf.observe(lf.Dense((1, 1)), loss, [np.zeros((1, 1))], NOISE)
    assert [float(seen[name]) for name in NOISE] == [1.0, 2.5]


METHODS = {
    "adam": lf.Adam(0.01, [0.0, 0.1, 0.0]),
    "amsgrad": lf.Adam(0.01, amsgrad=True, eps=1e-3, beta1=0.5),
    "decoupled": lf.Adam(0.01, 0.2, layer_decays=[1.0, 0.5], decoupled=True),
    "rmsprop": lf.RMSProp(0.01, 0.1),
    "by layer": lf.RMSProp(0.01, per="layer", momentum=0.5),
    "centered": lf.RMSProp(0.01, centered=True, eps=1e-2),
    "adagrad": lf.Adagrad(0.05, step_decay=0.1, initial=0.2),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_preconditioned_sharpness_agrees_with_the_reference(method):
    network, loss = NETWORKS["dense"], LOSSES["squared"]
    start = drawn(network, (3,))
    arguments = {"method": method, "record": lf.Record.every(5, ("preconditioned_sharpness",))}
    run = lf.train(network, loss, start, n_steps=20, **arguments)
    expected = reference.train(network, loss, start, n_steps=20, **arguments)
    assert np.isnan(run.preconditioned_sharpness[:, 0]).all()
    assert_allclose(
        run.preconditioned_sharpness, expected.preconditioned_sharpness, rtol=1e-8, atol=1e-9
    )
    # The same bits alone, and after a continuation.
    alone = lf.train(network, loss, [w[2] for w in start], n_steps=20,
                     **{**arguments, "method": method if method.run_shape == () else lf.Adam(0.01)})  # fmt: skip
    assert_array_equal(alone.preconditioned_sharpness, run.preconditioned_sharpness[2])
    first = lf.train(network, loss, start, n_steps=10, **arguments)
    rest = lf.train(network, loss, first.final, n_steps=10, **arguments)
    assert_array_equal(rest.preconditioned_sharpness, run.preconditioned_sharpness[:, 2:])


def test_preconditioned_sharpness_by_hand_and_what_has_none():
    # One weight, l = 1/2 h (w - 1)^2: h over the root of the mean square of the gradients.
    h, network = 3.0, lf.Dense((1, 1))
    loss = lf.SquaredLoss([[h]], [[h]], h)
    arguments = {"n_steps": 1, "record": lf.Record.at([1], ("preconditioned_sharpness",))}
    run = lf.train(network, loss, [np.zeros((1, 1))], method=lf.Adam(0.1, eps=0.0), **arguments)
    assert_allclose(run.preconditioned_sharpness, [(1 / (1 - 0.9)) * h / h], rtol=1e-12)
    run = lf.train(network, loss, [np.zeros((1, 1))], method=lf.RMSProp(0.1, alpha=0.75, eps=0.5),
                   **arguments)  # fmt: skip
    assert_allclose(run.preconditioned_sharpness, [h / (h / 2 + 0.5)], rtol=1e-12)
    for method in (lf.GradientDescent(0.1, momentum=0.5), lf.SignDescent(0.1)):
        with pytest.raises(ValueError, match="preconditioned_sharpness is of methods that divide"):
            lf.train(network, loss, [np.zeros((1, 1))], method=method, **arguments)
    with pytest.raises(ValueError, match="observables must not need a method with memory"):
        lf.observe(network, loss, [np.zeros((1, 1))], ("preconditioned_sharpness",))
    stop = lf.Stop(above={"preconditioned_sharpness": 5.0}, check_every=1)
    run = lf.train(network, loss, [np.zeros((1, 1))], method=lf.Adam(0.1), n_steps=9, stop=stop)
    assert run.stopped_at == 1


@pytest.mark.parametrize(("method", "edge"), [
    (lf.RMSProp(0.005, alpha=0.999), 2.0),
    (lf.RMSProp(0.005, alpha=0.999, momentum=0.5), 3.0),
    (lf.Adam(0.005), 38.0),
])  # fmt: skip
def test_methods_with_memory_hover_at_their_edge(method, edge):
    """As 2 (1 + mu) / eta, of Adam 2 (1 + beta1) / ((1 - beta1) eta)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4))
    loss = lf.SquaredLoss.from_data(x, x @ rng.standard_normal((4, 3)))
    network = lf.Dense((4, 6, 3))
    record = lf.Record.every(97, ("preconditioned_sharpness",))
    run = lf.train(network, loss, drawn(network, (4,), scale=0.4), method=method, n_steps=15_000,
                   record=record)  # fmt: skip
    ratio = run.preconditioned_sharpness[:, -75:] * 0.005 / edge
    assert_allclose(np.median(ratio, axis=1), 1, rtol=0.05)


def test_measured_losses_have_kernels():
    names = ("ntk_eigenvalues(4)", "kernel_distance", "kernel_alignment")
    for name in ("sensing", "rank-one sensing", "completion"):
        loss = LOSSES[name]
        for network in NETWORKS.values():
            start = drawn(network, (), seed=5)
            weights = drawn(network, (9,))
            assert_like_numpy(names, network, loss, weights, rtol=1e-8, start=start)
    # All entries: the kernel of whitened inputs, over as many measurements as there are entries.
    rows, cols = (part.ravel() for part in np.indices((2, 3)))
    target = RNG.standard_normal((2, 3))
    entries = lf.MatrixCompletionLoss(rows, cols, target.ravel(), (2, 3))
    white = lf.SquaredLoss(np.eye(3), target, float(np.sum(target**2)))
    weights, start = drawn(NETWORKS["dense"], ()), drawn(NETWORKS["dense"], (), seed=5)
    one, other = (
        lf.observe(NETWORKS["dense"], loss, weights, names, start=start)
        for loss in (entries, white)
    )
    assert_allclose(6 * one["ntk_eigenvalues_4"], other["ntk_eigenvalues_4"], rtol=1e-9)
    assert_allclose(one["kernel_distance"], other["kernel_distance"], rtol=1e-9)
    assert_allclose(one["kernel_alignment"], other["kernel_alignment"], rtol=1e-9)
    # By features: gradients of what is measured.
    loss, flat = LOSSES["sensing"], []
    for matrix in loss.measurements:
        slopes = NETWORKS["dense"].gradients(weights, matrix)
        flat.append(np.concatenate([g.ravel() for g in slopes]))
    kernel = np.array(flat) @ np.array(flat).T / len(flat)
    seen = lf.observe(NETWORKS["dense"], loss, weights, ("ntk_eigenvalues(3)", "kernel_alignment"))
    assert_allclose(seen["ntk_eigenvalues_3"], np.linalg.eigvalsh(kernel)[::-1][:3], rtol=1e-9)
    y = loss.targets
    expected = y @ kernel @ y / (np.linalg.norm(kernel) * (y @ y))
    assert_allclose(seen["kernel_alignment"], expected, rtol=1e-12)


OF_TEST = (
    "sharpness_test", "hessian_trace_test", "hessian_eigenvalues(2, both)_test",
    "ntk_eigenvalues_2_test", "kernel_distance_test", "kernel_alignment_test",
)  # fmt: skip


@pytest.mark.parametrize("trained", ["squared", "moments", "logistic"])
@pytest.mark.parametrize("other", [*LOSSES, "moments"])
def test_curvature_and_kernels_of_evaluated_losses(trained, other):
    moments = lf.SquaredLoss.from_data(X[::-1], Y, form="moments")
    loss, test = ({**LOSSES, "moments": moments}[name] for name in (trained, other))
    network = NETWORKS["dense"]
    weights, start = drawn(network, (9,)), drawn(network, (), seed=5)
    names = [name.replace("(2, both)", "_2_both") for name in OF_TEST]
    more = {"start": start, "weight_decay": 0.1, "n_threads": 1}
    seen = lf.observe(
        network, loss, weights, (*OF_TEST, "sharpness"), evaluate={"test": test}, **more
    )
    plain = [name.removesuffix("_test") for name in names]
    itself = lf.observe(network, test, weights, plain, **more)
    for name, bare in zip(names, plain, strict=True):
        assert_allclose(seen[name], itself[bare], rtol=1e-8, atol=1e-9, err_msg=name)
    alone = lf.observe(network, loss, weights, ("sharpness",), weight_decay=0.1)
    assert_array_equal(seen["sharpness"], alone["sharpness"])  # nothing was left behind


def test_curvature_of_evaluated_losses_in_trainings_files_and_sweeps(tmp_path):
    network, loss, test = NETWORKS["dense"], LOSSES["squared"], LOSSES["logistic"]
    names = ("loss", "sharpness_test", "hessian_eigenvalues(2)_test", "gradient_noise_test")
    record = lf.Record.every(5, names, evaluate={"test": test})
    arguments = {"method": lf.GradientDescent(0.05), "n_steps": 10, "record": record}
    start = drawn(network, (5,))
    run = lf.train(network, loss, start, **arguments)
    expected = reference.train(network, loss, start, **arguments)
    assert list(run.observables) == ["loss", *(
        f"{name}_test" for name in ("sharpness", "hessian_eigenvalues_2", "gradient_noise", "loss")
    )]  # fmt: skip
    for name, values in expected.observables.items():
        assert_allclose(run.observables[name], values, rtol=1e-8, err_msg=name)
    dims = run.to_xarray()["hessian_eigenvalues_2_test"].dims
    assert dims == ("run_0", "step", "eigenvalue")
    run.save(tmp_path / "run.npz")
    again = lf.Trajectory.load(tmp_path / "run.npz")
    assert_array_equal(again.sharpness_test, run.sharpness_test)
    training = lf.Training(network, loss, lf.Start("gaussian"), **arguments)
    swept = lf.sweep(lf.grid(training, {"method.step_size": [0.01, 0.05]},
                             derived=("final_sharpness_test", "max(sharpness_test)")))  # fmt: skip
    assert_array_equal(swept["final_sharpness_test"] <= swept["max_sharpness_test"], True)
    custom = lf.CustomLoss(lambda products, _: (0 * products[:, 0, 0], products), (2, 3))
    with pytest.raises(ValueError, match="sharpness_bad is of losses with a second derivative"):
        lf.observe(network, loss, start, ("sharpness_bad",), evaluate={"bad": custom})
