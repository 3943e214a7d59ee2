"""Chains, losses, methods and starts to reduce, and how trainings of them are compared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.training import reduced as reduced_module
from linnet_fast.training import reduction

ALL = (
    "loss",
    "singular_values",
    "product",
    "weights",
    "layer_norms",
    "imbalance",
    "gradient_norm",
    "norm",
    "layer_singular_ratio",
)
TIGHT = 1e-12


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """Reduce whatever can be, also where it does not pay."""
    monkeypatch.setattr(reduction, "LEAST_WORK", 0.0)
    monkeypatch.setattr(reduced_module, "_GAIN", np.inf)


def close(ours, theirs, tolerance=TIGHT, names=None):
    """Compare all of two trajectories, relative to the largest entry of each thing."""
    for name in names or ours.observables:
        mine, other = getattr(ours, name), getattr(theirs, name)
        pairs = zip(mine, other, strict=True) if isinstance(mine, tuple) else [(mine, other)]
        for one, two in pairs:
            scale = np.nanmax(np.abs(two), initial=0.0)
            if name == "imbalance":  # of large matrices that are nearly equal
                scale = max(np.nanmax(np.abs(w)) ** 2 for w in theirs.start.weights)
            assert_allclose(one, two, rtol=0, atol=tolerance * max(scale, 1e-300), err_msg=name)
    for one, two in zip(ours.final.weights, theirs.final.weights, strict=True):
        mine, other = one[ours.ok], two[theirs.ok]  # of the others some entries are no numbers
        scale = np.abs(other).max(initial=1e-300)
        assert_allclose(mine, other, rtol=0, atol=tolerance * scale)
    assert_array_equal(ours.status, theirs.status)
    assert_array_equal(ours.stopped_at, theirs.stopped_at)


def both(network, loss, start, **options):
    """Return a training that is reduced and one that is not."""
    small = lf.train(network, loss, start, **options)
    assert small.reduction is not None
    whole = lf.train(network, loss, start, **options, reduce=False)
    assert whole.reduction is None
    return small, whole


def data(rng, n, n_inputs, n_outputs, rank=None):
    """Return inputs, of a rank, and outputs."""
    x = rng.standard_normal((n, n_inputs)) / np.sqrt(n_inputs)
    if rank is not None and rank < n_inputs:
        x = x[:, :rank] @ rng.standard_normal((rank, n_inputs)) / np.sqrt(rank)
    return x, rng.standard_normal((n, n_outputs))


def labels(rng, n, n_outputs):
    shape = n if n_outputs == 1 else (n, n_outputs)
    return rng.choice([-1.0, 1.0], shape)


def make_loss(kind, rng, n, n_inputs, n_outputs, rank):
    x, y = data(rng, n, n_inputs, n_outputs, rank)
    if kind == "moments":
        return lf.SquaredLoss.from_data(x, y, form="moments")
    if kind == "diagonal":
        variances = rng.uniform(0.5, 1.0, n_inputs) * (np.arange(n_inputs) % 3 > 0)
        cross = rng.standard_normal((n_outputs, n_inputs)) * (variances > 0)
        return lf.SquaredLoss(np.diag(variances), cross, 40.0 * n_inputs)
    if kind == "samples":
        return lf.SquaredLoss.from_data(x, y, form="samples")
    if kind == "logistic":
        return lf.LogisticLoss.from_data(x, labels(rng, n, n_outputs))
    if kind == "exponential":
        return lf.ExponentialLoss.from_data(x, labels(rng, n, n_outputs), label_noise=0.1)
    if kind == "softmax":
        return lf.CrossEntropyLoss(x, np.eye(n_outputs)[np.arange(n) % n_outputs])
    if kind == "sensing":
        return lf.MatrixSensingLoss(rng.standard_normal((n, n_outputs, n_inputs)), y[:, 0])
    if kind == "rank_one":
        return lf.MatrixSensingLoss.rank_one(rng.standard_normal((n, n_outputs)), x, y[:, 0])
    places = rng.permutation(n_outputs * n_inputs)[: max(1, n_outputs * n_inputs // 2)]
    rows, cols = np.divmod(places, n_inputs)
    values = rng.standard_normal(len(places))
    return lf.MatrixCompletionLoss(rows, cols, values, shape=(n_outputs, n_inputs))


LOSSES = (
    "moments",
    "diagonal",
    "samples",
    "logistic",
    "exponential",
    "softmax",
    "sensing",
    "rank_one",
    "completion",
)
METHODS = {
    "plain": lambda _: lf.GradientDescent(0.03),
    "decay": lambda _: lf.GradientDescent(0.03, weight_decay=[[0.4], [0.0]]),
    "momentum": lambda _: lf.GradientDescent(0.02, weight_decay=0.2, momentum=0.7),
    "nesterov": lambda n: lf.GradientDescent(
        0.02, 0.3, [1.0, 0.5, *[1.0] * n][:n], momentum=[[0.5], [0.0]], nesterov=True
    ),
    "frozen": lambda n: lf.GradientDescent(0.03, layer_multipliers=[1.0] * (n - 1) + [0.0]),
    "power": lambda _: lf.GradientDescent(lf.StepRule.power(0.05, -0.3)),
    "gradient": lambda _: lf.GradientDescent(lf.StepRule.gradient_normalized(0.01)),
    "norm": lambda _: lf.GradientDescent(lf.StepRule.norm_proportional(0.01)),
}
STARTS = ("gaussian", "orthogonal", "balanced", "low_rank", "zero", "scales")


def make_start(kind, network, rng):
    shape = (2, 2)
    seed = int(rng.integers(2**32))
    if kind in ("gaussian", "orthogonal", "balanced"):
        draw = getattr(lf.initialization, kind)
        return draw(network, scale=0.4, rng=seed, batch_shape=shape)
    if kind == "zero":
        start = list(lf.initialization.gaussian(network, scale=0.3, rng=seed, batch_shape=shape))
        start[int(rng.integers(len(start)))] *= 0.0
        return start
    weights = []
    for rows, columns in network.shapes:
        left, right = rng.standard_normal((*shape, rows, 2)), rng.standard_normal((2, columns))
        if kind == "scales":  # of modes that differ by many orders
            left = left * [0.5, 1e-9]
        weights.append(left @ right / np.sqrt(rows + columns))
    return weights
