"""Batches: what each step sees, by the reference and by hand; bits; bad arguments."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import assert_same, crossed, make_start

import linnet_fast as lf
from linnet_fast import laws, reference

RNG = np.random.default_rng(0)
X = RNG.standard_normal((11, 5))
LOSSES = {
    "squared": lf.SquaredLoss.from_data(X, RNG.standard_normal((11, 3)), form="samples"),
    "logistic": lf.LogisticLoss.from_data(X, RNG.choice([-1.0, 1.0], (11, 3))),
    "classes": lf.CrossEntropyLoss.from_data(X, RNG.integers(0, 3, 11), classes=range(3)),
    "completion": lf.MatrixCompletionLoss(
        [0, 1, 2, 0, 1], [0, 1, 2, 3, 4], RNG.standard_normal(5), shape=(3, 5)
    ),
    "sensing": lf.MatrixSensingLoss(RNG.standard_normal((9, 3, 5)), RNG.standard_normal(9)),
    "rank one": lf.MatrixSensingLoss.rank_one(
        RNG.standard_normal((40, 3)), RNG.standard_normal((40, 5)), RNG.standard_normal(40)
    ),
}
BATCHES = {
    "replaced": lf.Batches(4, seed=1),
    "epochs": lf.Batches(4, seed=2**63 + 5, replace=False),
    "larger than the data": lf.Batches(25, replace=False),
    "growing": lf.Batches([(0, 2), (7, 5), (20, 1)], replace=False),
    "growing, replaced": lf.Batches([(0, 2), (7, 300)]),
    "all": lf.Batches("all"),
}
NETWORK = lf.Dense((5, 4, 3))


def train(loss, batches, by=lf.train, *, n_steps=30, start=None, **settings):
    start = make_start(NETWORK.widths, (13,), seed=1) if start is None else start
    method = lf.GradientDescent(0.05, momentum=0.3, batches=batches)
    record = lf.Record.every(10, ("loss", "product"))
    return by(NETWORK, loss, start, method=method, n_steps=n_steps, record=record, **settings)


@crossed(("batches", BATCHES.values()), ("loss", LOSSES.values()), n=12)
def test_trainings_equal_the_reference(loss, batches):
    ours, theirs = (train(loss, batches, by) for by in (lf.train, reference.train))
    for name, expected in theirs.observables.items():
        assert_allclose(ours.observables[name], expected, rtol=1e-12, atol=1e-13, err_msg=name)


def test_noise_on_targets_equals_the_reference():
    std = np.linspace(0, 1, 13)
    for n_out in (1, 2, 3):
        loss = lf.SquaredLoss.from_data(X, np.ones((11, n_out)), form="samples")
        network = lf.Dense((5, 4, n_out))
        for size in ("all", 4):
            method = lf.GradientDescent(0.05, batches=lf.Batches(size, label_noise_std=std))
            start = make_start(network.widths, (13,), seed=1)
            settings = {"method": method, "n_steps": 20, "record": lf.Record.at([20], ("product",))}
            ours = lf.train(network, loss, start, **settings)
            theirs = reference.train(network, loss, start, **settings)
            assert_allclose(ours.product, theirs.product, rtol=1e-12, atol=1e-13)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("batches", BATCHES.values()),
    ("loss", LOSSES.values()),
    n=12,
)
def test_bits_do_not_depend_on_threads_on_the_batch_or_on_pauses(loss, batches, dtype):
    start = make_start(NETWORK.widths, (19,), seed=1, dtype=dtype)
    whole = train(loss, batches, start=start, n_threads=1)
    assert_same(train(loss, batches, start=start, n_threads=2), whole)
    some = slice(7, 9)
    own = batches.with_streams(np.arange(19)[some])
    assert_same(train(loss, own, start=tuple(w[some] for w in start)), whole, some)
    half = train(loss, batches, start=start, n_steps=17)
    rest = train(loss, batches, start=half.final, n_steps=13)
    for ours, expected in zip(rest.final.weights, whole.final.weights, strict=True):
        assert_array_equal(ours, expected)


def seen(batches, n_samples, n_steps):
    """Return how often each step saw each sample: the gradient at zero of unit inputs says so."""
    loss = lf.SampledSquaredLoss(np.eye(n_samples), np.ones((n_samples, 1)))
    run = lf.train(
        lf.Dense((n_samples, 1)), loss, (np.zeros((1, n_samples)),), n_steps=n_steps,
        method=lf.GradientDescent(1e-9, batches=batches), record=lf.Record.every(1, ("product",)),
    )  # fmt: skip
    sizes = [n_samples if batches.sees_all else batches.size_at(k) for k in range(n_steps)]
    moves = np.diff(run.product[..., 0, :], axis=-2) / 1e-9
    return np.rint(moves * np.array(sizes)[:, None]).astype(int)


def test_an_epoch_sees_every_sample_once_in_an_order_of_its_own():
    counts = seen(lf.Batches(5, seed=3, replace=False), 15, 12)
    assert (counts.sum(axis=1) == 5).all()
    epochs = counts.reshape(4, 3, 15).sum(axis=1)
    assert_array_equal(epochs, 1)
    assert len(np.unique(counts.reshape(4, 45), axis=0)) == 4
    # A batch goes over the end of an epoch where sizes do not divide.
    counts = seen(lf.Batches(4, seed=3, replace=False), 15, 15)
    assert_array_equal(counts.sum(axis=0), 4)
    # A batch larger than the data sees all of it, and some twice.
    assert set(seen(lf.Batches(20, replace=False), 15, 1).flat) == {1, 2}


def test_orders_are_uniform():
    """Chi square of the place of each sample in 400 epochs; 5 standard deviations."""
    places = np.zeros((6, 6))
    counts = seen(lf.Batches(1, seed=9, streams=np.arange(40), replace=False), 6, 60)
    for epoch in counts.reshape(400, 6, 6):
        places += epoch
    chi_square = np.sum((places - 400 / 6) ** 2) / (400 / 6)
    assert abs(chi_square - 25) < 5 * np.sqrt(50)


def test_noise_has_the_deviation_that_is_asked_for():
    n = 400
    loss = lf.SampledSquaredLoss(np.eye(n), np.zeros((n, 1)))
    method = lf.GradientDescent(float(n), batches=lf.Batches("all", label_noise_std=[0.5, 2.0]))
    start = (np.zeros((2, 1, n)),)
    moves = [
        lf.train(lf.Dense((n, 1)), loss, start, method=method, n_steps=k).final.weights[0]
        for k in (1, 2)
    ]
    assert_allclose(moves[0].std(axis=-1)[:, 0], [0.5, 2.0], rtol=0.15)
    # From the first step on weights are the noise; the second step sees another one.
    assert abs(np.corrcoef(moves[0][0, 0], moves[1][0, 0])[0, 1]) < 0.2


def test_u_v_imbalance_shrinks_by_the_gradient_exactly():
    """Of w = u * v and any batch gradient g, |u^2 - v^2| is multiplied by |1 - eta^2 g^2|."""
    network = lf.Diagonal(5, n_layers=2)
    loss = lf.SampledSquaredLoss(X, np.ones((11, 1)))
    start = tuple(np.abs(RNG.standard_normal(shape)) + 0.3 for shape in network.shapes)
    method = lf.GradientDescent(0.1, batches=lf.Batches(1, seed=4))
    run = lf.train(network, loss, start, method=method, n_steps=1)
    (u, v), (after_u, after_v) = (
        tuple(w.ravel() for w in pair) for pair in (start, run.final.weights)
    )
    g = (u - after_u) / (0.1 * v)
    assert_allclose(after_u**2 - after_v**2, (u**2 - v**2) * (1 - 0.01 * g**2), rtol=1e-12)


def test_the_short_form_is_the_long_one():
    loss = LOSSES["squared"]
    start = make_start(NETWORK.widths, (3,), seed=1)
    runs = [
        lf.train(NETWORK, loss, start, method=method, n_steps=9)
        for method in (
            lf.StochasticGradientDescent(0.1, batch_size=3, seed=5),
            lf.GradientDescent(0.1, batches=lf.Batches(3, seed=5)),
        )
    ]
    assert_same(*runs)


def test_batches_go_through_files_and_sweeps(tmp_path):
    batches = lf.Batches([(0, 2), (3, 4)], seed=2, replace=False, label_noise_std=0.1)
    run = train(LOSSES["squared"], batches, n_steps=4)
    run.save(tmp_path / "run.npz")
    read = lf.Trajectory.load(tmp_path / "run.npz").method.batches
    assert read.schedule == ((0, 2), (3, 4))
    assert not read.replace
    assert read.label_noise_std == 0.1
    training = lf.Training(
        NETWORK, LOSSES["squared"], lf.Start("gaussian", scale=0.5),
        lf.GradientDescent(0.05, batches=lf.Batches(2, replace=False)), n_steps=5,
    )  # fmt: skip
    spec = lf.grid(training, {"method.batches.size": [1, 3]}, replicates=2)
    found = lf.sweep(spec)
    assert found.final_loss.shape == (2, 2)
    assert len(np.unique(found.final_loss)) == 4


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"size": 0}, ValueError, "size must be"),
        ({"size": 1.5}, TypeError, "size must be an integer"),
        ({"size": "some"}, ValueError, "size must be an integer, 'all' or pairs"),
        ({"size": []}, ValueError, "size must have steps that increase from 0"),
        ({"size": [(1, 4)]}, ValueError, "size must have steps that increase from 0"),
        ({"size": [(0, 4), (0, 5)]}, ValueError, "size must have steps that increase from 0"),
        ({"size": [(0, 4), 5]}, TypeError, r"size\[1\] must be a pair"),
        ({"size": [(0, 0)]}, ValueError, r"size\[0\]\[1\] must be"),
        ({"size": 2, "seed": -1}, ValueError, "seed must be"),
        ({"size": 2, "replace": "no"}, TypeError, "replace must be"),
        ({"size": 2, "streams": [0.5]}, TypeError, "streams must be integers"),
        ({"size": 2, "streams": [2**32]}, ValueError, r"streams must be < 2\*\*32"),
        ({"size": 2, "label_noise_std": -1.0}, ValueError, "label_noise_std must be >= 0"),
        ({"size": 2, "streams": [0, 1], "label_noise_std": [1.0] * 3}, ValueError, "run axes"),
    ],
)
def test_bad_arguments(arguments, exception, message):
    with pytest.raises(exception, match=message):
        lf.Batches(**arguments)


def test_what_does_not_go_together_is_refused():
    by_law = lf.SphericalLogisticLoss([1.0, 0.0], laws.Sphere(2))
    start, network = (np.ones((1, 2)),), lf.Dense((2, 1))
    for batches in (lf.Batches("all"), lf.Batches(3, replace=False)):
        with pytest.raises(ValueError, match="batches must be drawn with replacement for fresh"):
            lf.train(
                network, by_law, start, method=lf.GradientDescent(0.1, batches=batches), n_steps=1
            )
    noisy = lf.Batches(3, label_noise_std=0.1)
    with pytest.raises(ValueError, match="label_noise_std must be 0 for a loss without real"):
        train(LOSSES["classes"], noisy)
    with pytest.raises(TypeError, match="batches must be"):
        lf.GradientDescent(0.1, batches=3)
