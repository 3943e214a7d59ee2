"""Every method that takes steps: the core against NumPy, bits, cuts, files, and what is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import assert_same, crossed, few, make_loss, parts

import linnet_fast as lf
from linnet_fast import layers, reference
from linnet_fast import rank_dynamics as rd
from linnet_fast.training import plain

RUNS = 3
STEP = np.array([0.01, 0.02, 0.005])
DECAY = np.array([0.0, 0.1, 0.02])
METHODS = {
    "damped": lambda **o: lf.GradientDescent(
        STEP, DECAY, momentum=[0.0, 0.5, 0.9], dampening=[0.3, 0.5, 1.0], **o
    ),
    "adam": lambda **o: lf.Adam(STEP, DECAY, beta1=[0.0, 0.9, 0.5], beta2=[0.9, 0.99, 0.5], **o),
    "adamw": lambda **o: lf.Adam(STEP, DECAY, eps=[1e-8, 1e-3, 0.1], decoupled=True, **o),
    "amsgrad": lambda **o: lf.Adam(STEP, DECAY, beta2=0.8, amsgrad=True, **o),
    "rmsprop": lambda **o: lf.RMSProp(STEP / 4, DECAY, alpha=[0.9, 0.99, 0.5], **o),
    "rmsprop momentum": lambda **o: lf.RMSProp(STEP / 4, DECAY, momentum=[0.0, 0.5, 0.9], **o),
    "centered": lambda **o: lf.RMSProp(
        STEP / 4, DECAY, alpha=[0.9, 0.99, 0.5], eps=0.01, centered=True, **o
    ),
    "centered momentum": lambda **o: lf.RMSProp(
        STEP / 4, DECAY, momentum=[0.0, 0.5, 0.9], eps=0.01, centered=True, **o
    ),
    "layers": lambda **o: lf.RMSProp(STEP / 4, DECAY, per="layer", **o),
    "layers momentum": lambda **o: lf.RMSProp(STEP / 4, DECAY, momentum=0.5, per="layer", **o),
    "adagrad": lambda **o: lf.Adagrad(
        STEP, DECAY, step_decay=[0.0, 0.1, 0.01], initial=[0.0, 0.1, 1.0], **o
    ),
    "sign": lambda **o: lf.SignDescent(STEP, DECAY, **o),
    "signum": lambda **o: lf.SignDescent(STEP, DECAY, momentum=[0.0, 0.5, 0.9], **o),
    "lion": lambda **o: lf.SignDescent(
        STEP, DECAY, momentum=0.9, memory_momentum=0.99, decoupled=True, **o
    ),
    "spectral": lambda **o: lf.SpectralDescent(STEP, DECAY, **o),
    "spectral momentum": lambda **o: lf.SpectralDescent(
        STEP, DECAY, momentum=[0.0, 0.5, 0.9], nesterov=True, **o
    ),
    "muon": lambda **o: lf.SpectralDescent(STEP, DECAY, momentum=0.9, iterations=5, **o),
    "sharpness": lambda **o: lf.SharpnessAware(
        lf.GradientDescent(STEP, DECAY, momentum=[0.0, 0.5, 0.9], **o), [0.0, 0.05, 0.2]
    ),
    "sharpness adam": lambda **o: lf.SharpnessAware(
        lf.Adam(STEP, DECAY, decoupled=True, **o), [[0.1], [0.2]]
    ).of_runs(np.arange(RUNS), (2, RUNS)),
    "feedback": lambda **o: lf.FeedbackAlignment(
        lf.GradientDescent(STEP, DECAY, **o), [0.0, 1.0, 2.0], seed=3, streams=[2, 0, 2]
    ),
    "feedback adam": lambda **o: lf.FeedbackAlignment(lf.Adam(STEP, DECAY, **o)),
    "schulz": lambda **o: lf.SpectralDescent(STEP, DECAY, iterations=3, **o),
}
EACH = pytest.mark.parametrize("name", METHODS)
NETWORKS = {
    "dense": lf.Dense((4, 5, 3)),
    "deep": lf.Dense((3, 6, 2, 9, 4)),
    "diagonal": lf.Diagonal(5, 3),
    "shared": lf.Chain([layers.Dense(3, 3), layers.Residual(layers.Dense(3, 3), 0.3)], [0, 0]),
}


def start_of(network, runs=(RUNS,), dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [(0.4 * rng.standard_normal((*runs, *s))).astype(dtype) for s in network.shapes]


def loss_of(network):
    return make_loss((network.n_inputs, network.n_outputs), ())


def equal_reference(network, loss, start, method, tolerance):
    record = lf.Record.every(10, ("loss", "product", "gradient_norm"))
    options = {"method": method, "n_steps": 30, "record": record}
    run, slow = (train(network, loss, start, **options) for train in (lf.train, reference.train))
    assert run.ok.all()
    found, wanted = parts(run), parts(slow)
    assert found.keys() == wanted.keys()
    for key, array in found.items():
        size = np.nanmax(np.abs(wanted[key]), initial=0.0)
        assert array.dtype == wanted[key].dtype
        assert_allclose(array, wanted[key], 0, tolerance * (size + 1e-300), err_msg=key)


@crossed(("name", METHODS), ("which", NETWORKS), n=2 * len(METHODS))
def test_core_equals_reference(which, name):
    network = NETWORKS[which]
    rng = np.random.default_rng(1)
    factors = {
        "layer_multipliers": rng.uniform(0.5, 1.5, (RUNS, network.n_arrays)),
        "layer_decays": rng.uniform(0.0, 2.0, (RUNS, network.n_arrays)),
    }
    method = METHODS[name](**factors)
    start = start_of(network)
    if isinstance(method, lf.SpectralDescent) and not network.is_dense:
        with pytest.raises(ValueError, match="network must have dense layers with weights of"):
            lf.train(network, loss_of(network), start, method=method, n_steps=1)
        return
    if method.feeds_back and not network.is_dense:
        with pytest.raises(ValueError, match="network must be a chain of dense layers"):
            lf.train(network, loss_of(network), start, method=method, n_steps=1)
        return
    equal_reference(network, loss_of(network), start, method, 1e-10)


@pytest.mark.parametrize("name", few(METHODS, 11))
def test_core_equals_reference_with_all_that_there_is(name):
    """Batches, noise, a rule, and single precision."""
    network = NETWORKS["dense"]
    rng = np.random.default_rng(2)
    data = rng.standard_normal((9, 4)), rng.standard_normal((9, 3))
    loss = lf.SampledSquaredLoss(*data)
    given = METHODS[name](
        batches=lf.Batches(4, seed=3), noise=lf.GaussianNoise([0.0, 1e-3, 0.1], seed=5)
    )
    equal_reference(network, loss, start_of(network), given, 1e-9)
    method = METHODS[name](noise=lf.GaussianNoise(1e-3, streams=[7, 7, 1]))
    path = ["method"] * hasattr(method, "method") + ["step_size"]
    ruled = plain.replaced("method", method, path, lf.StepRule.power(STEP, -0.5))
    single = start_of(network, dtype=np.float32)
    equal_reference(network, loss_of(network), single, ruled, 2e-3)


@pytest.mark.parametrize("name", few(METHODS, 11))
def test_bits_depend_on_the_run_alone(name):
    """Not on threads, neighbours, place or cuts; 4 + 9 steps are 13, also by way of a file."""
    network, loss = NETWORKS["deep"], loss_of(NETWORKS["deep"])
    n_runs = 21
    rng = np.random.default_rng(4)
    start = start_of(network, (n_runs,))
    method = METHODS[name](noise=lf.GaussianNoise(1e-3, seed=1))
    many = method.of_runs(rng.integers(0, RUNS, n_runs), (RUNS,)).with_streams(np.arange(n_runs))
    options = {"record": lf.Record.at([13], ("loss", "weights"))}
    whole = lf.train(network, loss, start, method=many, n_steps=13, n_threads=2, **options)
    for run in (0, 20):
        own = many.of_runs(np.array([run]), (n_runs,))
        begin = [w[[run]] for w in start]
        alone = lf.train(network, loss, begin, method=own, n_steps=13, n_threads=1, **options)
        assert_same(alone, whole, [run])
    half = lf.train(network, loss, start, method=many, n_steps=4, n_threads=1)
    rest = lf.train(network, loss, half.final, method=many, n_steps=9, **options)
    assert_same(rest, whole)


@crossed(("suffix", [".npz", ".nc"]), ("name", METHODS))
def test_files_carry_the_memory(name, suffix, tmp_path):
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    method, start = METHODS[name](), start_of(network)
    half = lf.train(network, loss, start, method=method, n_steps=5)
    half.save(tmp_path / f"half{suffix}")
    loaded = lf.Trajectory.load(tmp_path / f"half{suffix}")
    assert repr(loaded.method) == repr(method)
    assert len(loaded.final.memory[0] if loaded.final.memory else ()) == method.n_memories
    rest = lf.train(network, loss, loaded.final, method=loaded.method, n_steps=3)
    whole = lf.train(network, loss, start, method=method, n_steps=8)
    for a, b in zip(rest.final.weights, whole.final.weights, strict=True):
        assert_array_equal(a, b)


# --- what is known exactly


def drawn(network, loss, method, n_steps=1, start=None):
    start = start_of(network) if start is None else start
    return start, lf.train(network, loss, start, method=method, n_steps=n_steps).final.weights


@pytest.mark.parametrize("widths", [(4, 5, 3), (6, 2, 6), (3, 3, 3, 3)])
def test_all_singular_values_of_the_first_spectral_step_are_the_step_size(widths):
    """But for those of gradients of less than full rank, which has three of hidden width two."""
    network = lf.Dense(widths)
    start, end = drawn(network, loss_of(network), lf.SpectralDescent(STEP, momentum=0.9))
    rank = min(widths)
    for before, after in zip(start, end, strict=True):
        sizes = np.linalg.svd(after - before, compute_uv=False) / STEP[:, None]
        assert_allclose(sizes[:, :rank], 1, rtol=1e-13)
        assert_allclose(sizes[:, rank:], 0, atol=1e-13)


def test_sign_steps_move_by_the_step_size():
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    for method in (lf.SignDescent(2.0**-6), lf.Adam(2.0**-6, beta1=0, beta2=0, eps=0)):
        start, end = drawn(network, loss, method)
        for before, after in zip(start, end, strict=True):
            assert_allclose(np.abs(after - before), 2.0**-6, rtol=1e-14)
    still = [np.zeros((3, 5, 4)), np.zeros((3, 3, 5))]  # a saddle: no gradient, no step
    for method in (*(lf.SignDescent(0.1), lf.Adam(0.1, eps=0.0)), lf.SpectralDescent(0.1)):
        for after in drawn(network, loss, method, 5, still)[1]:
            assert_array_equal(after, 0)


def test_dampening_begins_with_the_second_step():
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    damped = lf.GradientDescent(0.01, momentum=0.5, dampening=0.5)
    plain = lf.GradientDescent(0.01, momentum=0.5)
    for one, other in zip(*(drawn(network, loss, m)[1] for m in (damped, plain)), strict=True):
        assert_array_equal(one, other)
    for one, other in zip(*(drawn(network, loss, m, 2)[1] for m in (damped, plain)), strict=True):
        assert np.abs(one - other).max() > 1e-4


def test_decays_of_layers_are_their_own():
    network = NETWORKS["dense"]
    loss = lf.SquaredLoss(np.zeros((4, 4)), np.zeros((3, 4)), 1.0)  # sees nothing
    for method in (
        lf.GradientDescent(0.1, 0.5, layer_decays=[1.0, 0.0]),
        lf.SpectralDescent(0.1, 0.5, layer_decays=[1.0, 0.0]),
        lf.Adam(0.1, 0.5, layer_decays=[1.0, 0.0], decoupled=True),
    ):
        start, end = drawn(network, loss, method, 10)
        assert_allclose(end[0], start[0] * 0.95**10, rtol=1e-13)
        assert_array_equal(end[1], start[1])
        run = lf.train(
            network,
            loss,
            start,
            method=method,
            n_steps=0,
            record=lf.Record.every(1, ("gradient_norm",)),
        )
        assert_allclose(run.gradient_norm[:, 0], 0.5 * np.linalg.norm(start[0], axis=(1, 2)))


@EACH
def test_turned_weights_take_turned_steps_by_those_that_say_so(name):
    """And by layers, which counts entries: it is the same in other coordinates, but not in a part."""
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    method = METHODS[name]()
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((5, 5)))[0]
    start = start_of(network)
    turned = [turn @ start[0], start[1] @ turn.T]
    one, other = (drawn(network, loss, method, 5, w)[1] for w in (start, turned))
    gap = max(np.abs(turn @ one[0] - other[0]).max(), np.abs(one[1] @ turn.T - other[1]).max())
    if method.is_equivariant or "layers" in name:
        assert gap < 1e-11
    else:
        assert gap > 1e-4


@pytest.mark.parametrize("name", ["spectral", "spectral momentum", "muon", "damped"])
def test_reduced_trainings_are_the_same(name):
    network = lf.Dense((4, 60, 60, 3))
    loss = loss_of(network)
    start = lf.initialization.orthogonal(network, scale=0.4, rng=0, batch_shape=RUNS)
    rate = METHODS[name]()
    options = {"method": rate, "n_steps": 12, "record": lf.Record.every(4, ("loss", "layer_norms"))}
    small, whole = (lf.train(network, loss, start, reduce=r, **options) for r in (True, False))
    assert small.final.inside
    assert not whole.final.inside
    for key in ("loss", "layer_norms"):
        assert_allclose(small.observables[key], whole.observables[key], rtol=1e-7)
    for a, b in zip(small.final.weights, whole.final.weights, strict=True):
        assert_allclose(a, b, atol=1e-7)


def imbalance_drift(method, n_steps):
    network = lf.Dense((3, 3, 3))
    loss = make_loss((3, 3), ())
    start = lf.initialization.balanced(network, scale=0.5, rng=0)
    record = lf.Record.at([n_steps], ("imbalance",))
    return lf.train(network, loss, start, method=method, n_steps=n_steps, record=record).imbalance[
        -1, 0
    ]


def test_adam_and_signs_break_the_balance_that_descent_keeps():
    assert imbalance_drift(lf.GradientDescent(1e-4), 5000) < 1e-3
    for method in (lf.Adam(1e-3), lf.SignDescent(1e-3), lf.RMSProp(1e-3), lf.Adagrad(1e-2)):
        assert imbalance_drift(method, 300) > 1e-2


def test_langevin_dynamics_come_to_their_temperature():
    """One weight, curvature a: var = T / (a (1 - eta a / 2)) of the chain of steps, exactly."""
    network = lf.Dense((1, 1))
    loss = lf.SquaredLoss([[2.0]], [[1.0]], 1.0)
    n_runs, step, heat = 6000, 0.2, np.array([[0.5], [2.0]])
    method = lf.GradientDescent(step, noise=lf.GaussianNoise(heat, seed=3))
    start = [np.zeros((2, n_runs, 1, 1))]
    end = lf.train(network, loss, start, method=method, n_steps=60).final.weights[0][..., 0, 0]
    expected = heat / (2.0 * (1 - step * 2.0 / 2))
    assert_allclose(end.mean(axis=1), 0.5, atol=0.1)
    assert_allclose(end.var(axis=1), expected[:, 0], rtol=0.08)
    assert abs(np.corrcoef(end[0, 1:], end[0, :-1])[0, 1]) < 0.05


def test_streams_are_of_runs_and_noise_is_of_entries():
    network = lf.Dense((3, 4, 2))
    loss = lf.SquaredLoss(np.zeros((3, 3)), np.zeros((2, 3)), 1.0)
    noise = lf.GaussianNoise(1.0, streams=[4, 4, 5])
    start = [np.zeros((3, *s)) for s in network.shapes]
    _, end = drawn(network, loss, lf.GradientDescent(0.5, noise=noise), 1, start)
    flat = np.concatenate([w.reshape(3, -1) for w in end], axis=1)
    assert_array_equal(flat[0], flat[1])
    assert len(np.unique(flat)) == 2 * 20


def test_sharpness_aware_steps_of_one_weight():
    """g = s w at w + rho sign(w): the weight comes to rest no nearer than it is thrown."""
    network, s, rho = lf.Dense((1, 1)), 2.0, 0.25
    loss = lf.SquaredLoss([[s]], [[0.0]], 1.0)
    inner = lf.GradientDescent(0.125, 0.5)
    start = [np.array([1.0, -2.0, 0.0]).reshape(3, 1, 1)]
    run = lf.train(network, loss, start, method=lf.SharpnessAware(inner, rho), n_steps=3)
    w = np.array([1.0, -2.0, 0.0])
    for _ in range(3):
        w = w - 0.125 * (s * (w + rho * np.sign(w)) + 0.5 * w)
    assert_allclose(run.final.weights[0][:, 0, 0], w, rtol=1e-14)
    with pytest.raises(ValueError, match="method must not be around another method itself"):
        lf.SharpnessAware(lf.SharpnessAware(inner))


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_the_step_from_which_memory_counts_is_carried(suffix, tmp_path):
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    start, method = start_of(network), lf.Adam(0.01)
    fresh = lf.train(network, loss, start, method=method, n_steps=6)
    moved = replace(
        lf.train(network, loss, start, method=method, n_steps=0).final,
        step=10, stopped_at=np.full(RUNS, 10), memory_from=10,
    )  # fmt: skip
    late = lf.train(network, loss, moved, method=method, n_steps=4)
    late.save(tmp_path / f"late{suffix}")
    loaded = lf.Trajectory.load(tmp_path / f"late{suffix}").final
    assert loaded.memory_from == 10
    last = lf.train(network, loss, loaded, method=method, n_steps=2)
    assert_array_equal(last.final.weights[0], fresh.final.weights[0])
    with pytest.raises(ValueError, match="memory_from must be"):
        replace(moved, memory_from=11)


def test_sweeps_vary_what_methods_are_made_with():
    network, loss = NETWORKS["dense"], loss_of(NETWORKS["dense"])
    method = lf.Adam(0.01, noise=lf.GaussianNoise(0.0))
    training = lf.Training(network, loss, lf.Start("gaussian"), method=method, n_steps=5)
    axes = {"method.beta2": [0.9, 0.99], "method.noise.temperature": [0.0, 0.1]}
    found = lf.sweep(lf.grid(training, axes, replicates=2), progress=False).final_loss
    assert found.shape == (2, 2, 2)
    assert len(np.unique(found)) == 8
    table = {"kind": "Adam", "step_size": 0.01, "noise": {"temperature": 0.5, "seed": 3}}
    made = plain.decode("method", table)
    assert repr(made.noise) == "GaussianNoise(0.5, seed=3)"
    nested = {"kind": "SharpnessAware", "method": table, "rho": 0.1}
    again = plain.decode("method", plain.encode(plain.decode("method", nested)))
    assert repr(again) == repr(lf.SharpnessAware(made, 0.1))


@pytest.mark.parametrize(
    "method",
    [
        lf.Adam(0.01),
        lf.SharpnessAware(lf.GradientDescent(0.01)),
        lf.FeedbackAlignment(lf.GradientDescent(0.01)),
        lf.GradientDescent(0.01, momentum=0.5),
        lf.GradientDescent(0.01, noise=lf.GaussianNoise(1e-6)),
        lf.GradientDescent(0.01, batches=lf.Batches("all")),
    ],
    ids=lambda method: type(method).__name__,
)
def test_closed_forms_and_predictions_refuse_other_methods(method):
    network, loss = lf.Dense((2, 2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    if method.batches is not None:
        loss = lf.SampledSquaredLoss(np.eye(2) * 2**0.5, np.diag([2.0, 1.0]) * 2**0.5)
    start = lf.initialization.aligned(
        network, lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0), 1e-3, rng=0
    )
    record = lf.Record.geomspace(50, ("loss", "product", "singular_values", "weights"))
    run = lf.train(network, loss, start, method=method, n_steps=1500, record=record)
    for function in (rd.closed_form_deviation, rd.imbalance_drift):
        with pytest.raises(ValueError, match="is for plain gradient descent or flow, without"):
            function(run)
    if method.batches is None:
        told = str(rd.summary(run))
        has_modes = method.mode_momentum is not None
        assert ("No prediction: summary predicts the flow, or descent" in told) != has_modes
    direction = lf.SphericalLogisticLoss([1.0, 0.0], lf.laws.Gaussian(2))
    angles = lf.Record.geomspace(5, ("norm", "log_tan_half_angle"))
    if method.batches is None:
        turned = lf.train(
            lf.Dense((2, 1)), direction, [np.ones((1, 2))], method=method, n_steps=5, record=angles
        )
        with pytest.raises(ValueError, match="trajectory must be one of plain gradient descent"):
            lf.directional_convergence.check_bounds(turned, lf.laws.Gaussian(2), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lf.Adam(0.1, beta1=1.0), "beta1 must be < 1, got 1.0"),
        (lambda: lf.Adam(0.1, eps=-1.0), "eps must be >= 0"),
        (lambda: lf.RMSProp(0.1, per="row"), "per must be one of entry, layer"),
        (lambda: lf.RMSProp(0.1, per="layer", centered=True), "centered must be False with per="),
        (lambda: lf.Adagrad(0.1, step_decay=-1.0), "step_decay must be >= 0"),
        (lambda: lf.SignDescent(0.1, memory_momentum=1.0), "memory_momentum must be < 1"),
        (lambda: lf.SpectralDescent(0.1, iterations=0), "iterations must be"),
        (lambda: lf.GradientDescent(0.1, momentum=0.5, dampening=2.0), "dampening must be <= 1"),
        (
            lambda: lf.GradientDescent(0.1, momentum=0.5, nesterov=True, dampening=0.1),
            "dampening must be 0 with nesterov, got 0.1",
        ),
        (lambda: lf.GaussianNoise(-1.0), "temperature must be >= 0"),
        (lambda: lf.Adam([0.1, 0.2], noise=lf.GaussianNoise([1.0, 2.0, 3.0])), "must broadcast"),
        (
            lambda: lf.GradientDescent(0.1, layer_decays=[1.0]).check_network(NETWORKS["dense"]),
            r"layer_decays must have shape \(\*run, 2\), one per layer, got \(1,\)",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
