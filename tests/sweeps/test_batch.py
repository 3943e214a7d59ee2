"""Runs that are trained together, with one run axis or with one for each dimension of the sweep."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support import make_loss
from sweep_specs import TRAINING, grid

import linnet_fast as lf
from linnet_fast.sweeps.batch import Batch

RECORD = lf.Record.every(5)
AXES = {"start.scale": [0.1, 0.3, 0.7], "method.step_size": [0.05, 0.02]}
LOSSES = lf.Axis(["a", "b"], {"loss": [make_loss((3, 2)), make_loss((3, 2), seed=1)]})


@pytest.mark.parametrize("replicates", [None, 2])
@pytest.mark.parametrize("common_seeds", [True, False])
@pytest.mark.parametrize("more", [{}, {"data": LOSSES}])
@pytest.mark.parametrize("kind", ["gaussian", "aligned"])
def test_whole_has_the_dimensions_and_the_bits_of_the_runs(replicates, common_seeds, more, kind):
    training = lf.Training(
        TRAINING.network, TRAINING.loss, lf.Start(kind), method=TRAINING.method, n_steps=20
    )
    spec = grid(AXES | more, training, replicates=replicates, common_seeds=common_seeds)
    whole = Batch.of_all(spec).train(spec, RECORD)
    assert whole.run_shape == spec.shape
    flat = Batch.of(spec, list(np.indices(spec.shape).reshape(len(spec.shape), -1)))
    expected = flat.train(spec, RECORD)
    for name in ("loss", "singular_values"):
        got = getattr(whole, name)
        assert_array_equal(got.reshape(-1, *got.shape[len(spec.shape) :]), getattr(expected, name))
    for got, layer in zip(whole.final.weights, expected.final.weights, strict=True):
        assert_array_equal(got.reshape(layer.shape), layer)


def test_nothing_is_repeated():
    spec = grid(AXES, replicates=4)
    whole = Batch.of_all(spec).train(spec, RECORD)
    assert whole.method.step_size.shape == (2, 1)
    assert whole.time.shape == (2, 1, whole.steps.size)
    assert whole.start.weights[0].strides[1] == 0, "the start is the same at all step sizes"


def test_whole_is_of_one_group():
    with pytest.raises(ValueError, match="one group of runs, got 2"):
        Batch.of_all(grid({"network.hidden": [2, 3]}))
