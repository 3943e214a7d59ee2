"""The seams are real: a loss, a method and an observable from outside the package work at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast._base import validate
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import LOSSES
from linnet_fast.methods.registry import METHODS
from linnet_fast.methods.stepping import SteppingMethod
from linnet_fast.training import plain

# --- a loss: its fields, its value, its gradient; one line registers it


@dataclass(frozen=True, eq=False)
class QuarticLoss(Loss):
    """A quarter of the sum of fourth powers of the distances to a target."""

    inner_axes: ClassVar[Mapping[str, int]] = {"target": 2}

    target: npt.ArrayLike

    def __post_init__(self):
        object.__setattr__(self, "target", validate.real_array("target", self.target))

    @property
    def n_inputs(self):
        return self.target.shape[-1]

    @property
    def n_outputs(self):
        return self.target.shape[-2]

    def value(self, product):
        return 0.25 * np.sum((np.asarray(product) - self.target) ** 4, axis=(-2, -1))

    def gradient(self, product):
        return (np.asarray(product) - self.target) ** 3


# --- a method with a memory: how a step is taken; one line registers it


@dataclass(frozen=True, eq=False, init=False, repr=False)
class AveragedSigns(SteppingMethod):
    """Steps along the sign of the mean of all gradients so far."""

    def __init__(self, step_size, weight_decay=0.0, layer_multipliers=None):
        super().__init__(step_size, weight_decay, layer_multipliers)

    @property
    def n_memories(self):
        return 1

    def update(self, weights, gradient, memory, at):
        total = memory[0] + gradient
        return weights - at.rate * np.sign(total), (total,)


@pytest.fixture(autouse=True, scope="module")
def registered():
    LOSSES.register(QuarticLoss)
    METHODS.register(AveragedSigns)
    yield
    LOSSES.forget("QuarticLoss")
    METHODS.forget("AveragedSigns")


NETWORK = lf.Dense((3, 4, 2))
TARGET = np.array([[1.0, -0.5, 0.0], [0.25, 2.0, -1.0]])
START = lf.initialization.gaussian(NETWORK, scale=0.3, rng=0, batch_shape=5)


def by_hand(n_steps, weights):
    """Take steps of AveragedSigns on QuarticLoss, one run, in a plain loop."""
    first, second = (w.copy() for w in weights)
    totals = [np.zeros_like(first), np.zeros_like(second)]
    for _ in range(n_steps):
        g = (second @ first - TARGET) ** 3
        totals = [totals[0] + second.T @ g, totals[1] + g @ first.T]
        first, second = first - 0.01 * np.sign(totals[0]), second - 0.01 * np.sign(totals[1])
    return first, second, totals


def train(n_steps, start=START, record=None):
    return reference.train(
        NETWORK, QuarticLoss(TARGET), start, method=AveragedSigns(0.01), n_steps=n_steps,
        record=record or lf.Record.every(10, ("loss", "gradient_norm", "singular_values")),
    )  # fmt: skip


def test_the_reference_trains_what_is_registered():
    run = train(30)
    for i in range(5):
        first, second, totals = by_hand(30, [w[i] for w in START])
        assert_allclose(run.final.weights[0][i], first, rtol=1e-12)
        assert_allclose(run.final.weights[1][i], second, rtol=1e-12)
        assert_allclose(run.final.memory[1][0][i], totals[1], rtol=1e-12, atol=1e-14)
        value = 0.25 * np.sum((second @ first - TARGET) ** 4)
        assert_allclose(run.loss[i, -1], value, rtol=1e-12)


def test_it_goes_on_with_its_memory():
    whole, half = train(30), train(12)
    rest = train(18, half.final)
    for a, b in zip(whole.final.weights, rest.final.weights, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(whole.final.memory[0][0], rest.final.memory[0][0])
    assert np.abs(train(18, START).final.weights[0] - rest.final.weights[0]).max() > 0.01


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_files_know_it(tmp_path, suffix):
    run = train(20)
    run.save(tmp_path / f"run{suffix}")
    again = lf.Trajectory.load(tmp_path / f"run{suffix}")
    assert isinstance(again.loss_function, QuarticLoss)
    assert_array_equal(again.loss_function.target, TARGET)
    assert repr(again.method) == repr(AveragedSigns(0.01))
    assert_array_equal(train(5, again.final).loss, train(5, run.final).loss)


def test_plain_data_know_it():
    data = plain.encode(QuarticLoss(TARGET))
    assert data == {"kind": "QuarticLoss", "target": TARGET.tolist()}
    assert_array_equal(plain.decode("loss", data).target, TARGET)
    method = plain.decode("method", {"kind": "AveragedSigns", "step_size": 0.5})
    assert method.step_size == 0.5


def test_the_core_says_that_it_does_not_know_it():
    problem: dict[str, Any] = {"n_steps": 3, "record": lf.Record.every(1)}
    with pytest.raises(TypeError, match=r"QuarticLoss is for linnet_fast\.reference\.train"):
        lf.train(NETWORK, QuarticLoss(TARGET), START, method=lf.GradientDescent(0.1), **problem)
    loss = lf.SquaredLoss(np.eye(3), TARGET, 10.0)
    with pytest.raises(TypeError, match=r"AveragedSigns is for linnet_fast\.reference\.train"):
        lf.train(NETWORK, loss, START, method=AveragedSigns(0.1), **problem)


def test_a_second_of_the_same_name_is_refused():
    class QuarticLoss(Loss):
        pass

    class AveragedSigns(SteppingMethod):
        pass

    for register, kind in ((LOSSES.register, QuarticLoss), (METHODS.register, AveragedSigns)):
        with pytest.raises(ValueError, match=f"name of its own, got a second {kind.__name__}"):
            register(kind)


# --- an observable: a Python function


def largest_entry(weights, product):
    assert weights[0].shape[0] == product.shape[0]
    return np.abs(product).max(axis=(-2, -1))


def spectra(weights, _product):
    return np.stack([np.linalg.norm(w, 2, axis=(-2, -1)) for w in weights], axis=-1)


LARGEST = lf.Observable("largest_entry", largest_entry)
SPECTRA = lf.Observable("spectra", spectra, shape=(2,), dims=("layer",))
LOSS = lf.SquaredLoss(np.eye(3), TARGET, 10.0)


@pytest.mark.parametrize(
    ("flow", "dtype"), [(False, np.float64), (False, np.float32), (True, np.float64)]
)
def test_functions_are_recorded(flow, dtype):
    length: dict[str, Any] = {"until": 2.0} if flow else {"n_steps": 40}
    method = lf.GradientFlow() if flow else lf.GradientDescent([[0.05], [5.0]])
    names = ("loss", LARGEST, SPECTRA, "product")
    run = lf.train(
        NETWORK, LOSS, START, method=method, record=lf.Record.geomspace(6, names), dtype=dtype, **length
    )  # fmt: skip
    assert list(run.observables) == ["loss", "largest_entry", "spectra", "product"]
    assert run.spectra.shape == (*run.product.shape[:-2], 2)
    with np.errstate(invalid="ignore"):
        rtol = 1e-12 if dtype == np.float64 else 1e-5
        assert_allclose(run.largest_entry, np.abs(run.product).max(axis=(-2, -1)), rtol=rtol)
    assert flow or np.isnan(run.largest_entry[1]).any()  # what diverged has no records
    if dtype == np.float64 and not flow:
        slow = reference.train(
            NETWORK, LOSS, START, method=method, record=lf.Record.geomspace(6, names), **length
        )
        assert_allclose(run.spectra, slow.spectra, rtol=1e-8)


def test_functions_in_datasets_and_files(tmp_path):
    run = lf.train(
        NETWORK, LOSS, START, method=lf.GradientDescent(0.05), n_steps=4,
        record=lf.Record.every(2, (LARGEST, SPECTRA)),
    )  # fmt: skip
    assert run.to_xarray(("seed",)).spectra.dims[:2] == ("seed", "step")
    for name in ("a.npz", "a.nc"):
        run.save(tmp_path / name)
        assert_array_equal(lf.Trajectory.load(tmp_path / name).spectra, run.spectra)
    assert "largest_entry" in dir(run)


def test_functions_are_observed_at_given_weights():
    seen = lf.observe(NETWORK, LOSS, START, (LARGEST, "loss"))
    assert_allclose(seen["largest_entry"], np.abs(START[1] @ START[0]).max(axis=(-2, -1)))
    assert_allclose(seen["loss"], LOSS.value(START[1] @ START[0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("function", "exception", "message"),
    [
        (lambda _w, p: p, ValueError, r"'mine' must return numbers of shape \(10,\), got float64"),
        (lambda _w, _p: np.array(["a"] * 10), ValueError, "'mine' must return numbers"),
        (lambda _w, _p: {}["x"], KeyError, "x"),
    ],
)
def test_functions_that_do_not_do(function, exception, message):
    record = lf.Record.every(2, (lf.Observable("mine", function),))
    with pytest.raises(exception, match=message) as caught:
        lf.train(NETWORK, LOSS, START, method=lf.GradientDescent(0.05), n_steps=2, record=record)
    if exception is KeyError:
        assert "raised by the observable 'mine', for 10 records" in caught.value.__notes__


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        (("loss", largest_entry), ValueError, "must not be that of another result, got 'loss'"),
        (("status", largest_entry), ValueError, "another result, got 'status'"),
        (("start_status", largest_entry), ValueError, "another result, got 'start_status'"),
        (("weights_0", largest_entry), ValueError, "another result, got 'weights_0'"),
        (("a b", largest_entry), ValueError, "name must be an identifier"),
        ((3, largest_entry), TypeError, "name must be a str"),
        (("mine", 3), TypeError, "function must be callable, got int"),
        (("mine", largest_entry, (0,)), ValueError, "shape"),
        (("mine", largest_entry, (2,), ("a", "b")), ValueError, "dims must be 1 names"),
    ],
)
def test_observables_refuse(arguments, exception, message):
    with pytest.raises(exception, match=message):
        lf.Observable(*arguments)


def test_names_of_a_trajectory_are_taken():
    record = lf.Record.every(2, (lf.Observable("message", largest_entry),))
    with pytest.raises(ValueError, match="must not have names of what a trajectory has"):
        lf.train(NETWORK, LOSS, START, method=lf.GradientDescent(0.05), n_steps=2, record=record)
    with pytest.raises(ValueError, match="must name each observable once, got 'largest_entry'"):
        lf.Record.every(1, (LARGEST, lf.Observable("largest_entry", spectra)))


def test_in_a_program_of_its_own():
    """What CONTRIBUTING promises, in a fresh process that imports nothing private."""
    code = """
        import numpy as np
        import linnet_fast as lf
        trace = lf.Observable("trace", lambda weights, product: np.trace(product, axis1=-2, axis2=-1))
        network = lf.Dense((2, 2))
        loss = lf.SquaredLoss(np.eye(2), np.eye(2), 2.0)
        run = lf.train(network, loss, [np.zeros((2, 2))], method=lf.GradientDescent(0.5), n_steps=2,
                       record=lf.Record.every(1, (trace,)))
        print(run.trace.tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0.0, 1.0, 1.5]"
