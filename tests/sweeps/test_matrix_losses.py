"""Sweeps on entries, measurements and teachers: of objects, and of files."""

from __future__ import annotations

import pytest
from matrix_problems import MATRIX_LOSSES, make_matrix_loss
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.sweeps.batch import Batch
from linnet_fast.sweeps.spec import decode


@pytest.mark.parametrize("kind", MATRIX_LOSSES)
def test_losses_of_equal_sizes_are_trained_together(kind):
    """Each run as if alone; and the sweep comes back from plain data."""
    losses = [make_matrix_loss(kind, (3, 4), n=5, seed=seed) for seed in range(3)]
    training = lf.Training(
        lf.Dense((4, 2, 3)), losses[0], lf.Start("gaussian", 0.5),
        method=lf.StochasticGradientDescent(0.01, 3), n_steps=20,
    )  # fmt: skip
    data = lf.Axis(["a", "b", "c"], {"loss": losses})
    parameters = {"data": data, "method.step_size": [0.01, 0.02]}
    spec = lf.grid(training, parameters, derived="final_loss")
    assert len(spec.groups) == 1
    whole = Batch.of_all(spec).train(spec, lf.Record.at([20], ("loss", "product")))
    assert whole.run_shape == (3, 2)
    for i, loss in enumerate(losses):
        assert_allclose(whole.loss[i, :, 0], loss.value(whole.product[i, :, 0]), rtol=1e-12)
    found = lf.sweep(spec, progress=False)
    assert_array_equal(found.final_loss, whole.loss[..., 0])
    arrays = {}
    assert decode(spec.encode(arrays), spec.derived, arrays).id == spec.id


def test_a_file(make):
    tables = {
        "kind": "MatrixCompletionLoss", "rows": [0, 1, 1], "cols": [1, 0, 1],
        "values": [1.0, 1.0, 0.0], "shape": [2, 2],
    }  # fmt: skip
    loss = make(loss=tables).spec.training.loss
    assert repr(loss) == "MatrixCompletionLoss(n_entries=3, shape=(2, 2), run_shape=())"
    tables = {
        "kind": "RankOneSensingLoss",
        "left": [[1.0, 0.0]],
        "right": [[0.0, 1.0]],
        "targets": [2.0],
    }
    assert isinstance(make(loss=tables).spec.training.loss, lf.RankOneSensingLoss)
    tables = {"kind": "TeacherLoss", "teacher": [[1.0, 2.0]], "noise_std": 0.5,
              "law": {"kind": "Sphere", "dim": 2}}  # fmt: skip
    loss = make(loss=tables).spec.training.loss
    assert repr(loss) == "TeacherLoss(Sphere(dim=2, radius=1.0), n_outputs=1, run_shape=())"
