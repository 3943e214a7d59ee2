"""Sweeps on losses that users write: batches, stores, processes, files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import custom_functions as own
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.sweeps.batch import Batch
from linnet_fast.sweeps.spec import decode

TARGETS = np.random.default_rng(0).standard_normal((3, 6))


def training_of(function="custom_functions:to_target", parameters=TARGETS[0]):
    return lf.Training(
        lf.Dense((3, 4, 2)), lf.CustomLoss(function, (2, 3), parameters), lf.Start("gaussian", 0.5),
        method=lf.GradientDescent(0.05), n_steps=20,
    )  # fmt: skip


def spec_of(function="custom_functions:to_target"):
    losses = [lf.CustomLoss(function, (2, 3), row) for row in TARGETS]
    return lf.grid(
        training_of(function),
        {"data": lf.Axis(["a", "b", "c"], {"loss": losses}), "method.step_size": [0.05, 0.1]},
        derived="final_loss", replicates=4,
    )  # fmt: skip


@pytest.mark.parametrize("function", [own.to_target, "custom_functions:to_target_by_ctypes"])
def test_runs_of_several_parameters_are_trained_together(function):
    spec = spec_of(function)
    assert len(spec.groups) == 1
    whole = Batch.of_all(spec).train(spec, lf.Record.at([20], ("loss", "product")))
    for i, row in enumerate(TARGETS):
        apart = whole.product[i, ..., 0, :, :] - row.reshape(2, 3)
        assert_allclose(whole.loss[i, ..., 0], 0.5 * (apart**2).sum(axis=(-2, -1)), rtol=1e-12)
    found = lf.sweep(spec, progress=False)
    assert_array_equal(found.final_loss, whole.loss[..., 0])
    alone = spec.training.train(rng=0)
    assert alone.run_shape == ()
    arrays = {}
    assert decode(spec.encode(arrays), spec.derived, arrays).id == spec.id


def test_parameters_vary_by_their_path():
    spec = lf.grid(training_of(), {"loss.parameters": TARGETS.tolist()}, derived="final_loss")
    axis = lf.Axis(
        ["a", "b", "c"], {"loss": [lf.CustomLoss(own.to_target, (2, 3), row) for row in TARGETS]}
    )
    other = lf.grid(training_of(), {"data": axis}, derived="final_loss")
    assert_array_equal(
        lf.sweep(spec, progress=False).final_loss, lf.sweep(other, progress=False).final_loss
    )


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
def test_stores_and_processes(kind, tmp_path):
    expected = lf.sweep(spec_of(), progress=False)
    with ProcessPoolExecutor(2, mp_context=get_context(kind)) as pool:
        lf.sweep(spec_of(own.to_target), executor=pool, progress=False, chunk_runs=5)
        found = lf.sweep(spec_of(), tmp_path / "s.zarr", pool, progress=False, chunk_runs=5)
    assert_array_equal(found.final_loss, expected.final_loss)
    again = lf.sweep(spec_of(own.to_target), tmp_path / "s.zarr", progress=False)  # the same sweep
    assert_array_equal(again.final_loss, expected.final_loss)


def test_functions_that_cannot_be_named_are_refused():
    def nameless(products, parameters):
        return own.to_target(products, parameters)

    with pytest.raises(TypeError, match="a function must be at the top level of a module, or be"):
        lf.sweep(spec_of(nameless), progress=False)


def test_errors_of_functions_end_the_sweep():
    spec = lf.grid(training_of("custom_functions:raises", None), {"start.scale": [0.1, 0.2]})
    with pytest.raises(ZeroDivisionError) as caught:
        lf.sweep(spec, progress=False)
    assert "raised by the function of a CustomLoss" in "".join(caught.value.__notes__)


def test_a_file(make, tmp_path):
    table = {"kind": "CustomLoss", "function": "loss_of_sweep:squared", "shape": [1, 2]}
    loss = make(loss=table).spec.training.loss  # nothing is imported for that
    assert repr(loss) == "CustomLoss(loss_of_sweep:squared, shape=(1, 2), run_shape=())"
    (tmp_path / "loss_of_sweep.py").write_text(
        textwrap.dedent("""
            print("imported")
            def squared(products):
                return 0.5 * (products**2).sum(axis=(1, 2)), products
        """)
    )
    (tmp_path / "s.toml").write_text(
        textwrap.dedent("""
            n_steps = 20
            derived = ["final_loss"]
            [loss]
            kind = "CustomLoss"
            function = "loss_of_sweep:squared"
            shape = [1, 2]
            [network]
            hidden = 3
            n_layers = 2
            [start]
            kind = "gaussian"
            [method]
            step_size = 0.1
            [grid]
            start.scale = [0.1, 0.5]
        """)
    )

    def command(*options):
        return subprocess.run(
            [sys.executable, "-m", "linnet_fast", "sweep", "s.toml", "--out", "s.zarr", *options],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
            text=True, check=True, timeout=120,
        ).stdout  # fmt: skip

    assert "imported" in command("--dry-run")  # it times some steps
    assert "imported" in command()
    assert lf.open_sweep(tmp_path / "s.zarr").final_loss.shape == (2,)
