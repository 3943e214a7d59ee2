"""Methods as validated values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.registry import checked_method
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stochastic import StochasticGradientDescent


def test_defaults():
    method = GradientDescent(0.5)
    assert method.step_size == 0.5
    assert method.weight_decay == 0
    assert method.layer_multipliers is None
    assert method.run_shape == ()
    assert_array_equal(method.layer_step_sizes(3), [0.5, 0.5, 0.5])


def test_run_axes_broadcast():
    method = GradientDescent(
        step_size=[[0.5], [0.25]], weight_decay=[0.0, 1.0, 2.0], layer_multipliers=np.ones((3, 2))
    )
    assert method.run_shape == (2, 3)
    assert method.layer_step_sizes(2).shape == (2, 3, 2)
    assert repr(method) == (
        "GradientDescent(step_size=<array (2, 1)>, weight_decay=<array (3,)>, "
        "layer_multipliers=<array (3, 2)>)"
    )


def test_layer_step_sizes_are_products():
    method = GradientDescent([0.5, 0.25], layer_multipliers=[[1, 0], [2, 4]])
    assert_array_equal(method.layer_step_sizes(2), [[0.5, 0.0], [0.5, 1.0]])


def test_parameters_are_read_only_views():
    steps = np.array([0.1, 0.2])
    method = GradientDescent(steps)
    assert np.shares_memory(method.step_size, steps)
    with pytest.raises(ValueError, match="read-only"):
        method.step_size[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.step_size = steps


def test_replace_changes_one_parameter():
    method = dataclasses.replace(GradientDescent(0.5, weight_decay=0.25), step_size=1.0)
    assert (method.step_size, method.weight_decay) == (1.0, 0.25)


@pytest.mark.parametrize(
    ("argument", "value", "exception", "message"),
    [
        ("step_size", 0, ValueError, "step_size must be > 0, got 0.0"),
        ("step_size", -0.1, ValueError, "step_size must be > 0, got -0.1"),
        ("step_size", [0.1, 0.0], ValueError, r"step_size must be > 0, got 0.0 at index \(1,\)"),
        ("step_size", np.nan, ValueError, "step_size must be finite, got nan"),
        ("step_size", np.inf, ValueError, "step_size must be finite, got inf"),
        ("step_size", [], ValueError, r"step_size must not be empty, got shape \(0,\)"),
        ("step_size", None, TypeError, "step_size must be .* got NoneType"),
        ("step_size", "0.1", TypeError, "step_size must be .* got dtype <U3"),
        ("step_size", True, TypeError, "step_size must be .* got dtype bool"),
        ("step_size", 1j, TypeError, "step_size must be .* got dtype complex128"),
        ("step_size", {0.1}, TypeError, "step_size must be .* got set"),
        ("weight_decay", -1e-3, ValueError, "weight_decay must be >= 0, got -0.001"),
        ("weight_decay", np.inf, ValueError, "weight_decay must be finite"),
        ("weight_decay", None, TypeError, "weight_decay must be"),
        ("layer_multipliers", 1.0, ValueError, r"layer_multipliers must have shape .* got \(\)"),
        (
            "layer_multipliers",
            [1.0, -1.0],
            ValueError,
            r"layer_multipliers must be >= 0, got -1.0 at",
        ),
        ("layer_multipliers", [np.nan, 1.0], ValueError, "layer_multipliers must be finite"),
        ("layer_multipliers", "ab", TypeError, "layer_multipliers must be"),
        (
            "layer_multipliers",
            np.ones((4, 2)),
            ValueError,
            r"step_size \(3,\), layer_multipliers \(4,\)",
        ),
        ("weight_decay", np.ones(4), ValueError, r"got step_size \(3,\), weight_decay \(4,\)"),
    ],
)
def test_gradient_descent_refuses(argument, value, exception, message):
    with pytest.raises(exception, match=message):
        GradientDescent(**{"step_size": [0.1, 0.2, 0.3], argument: value})


def test_layer_multipliers_must_be_one_per_layer():
    method = GradientDescent(0.1, layer_multipliers=[1.0, 2.0])
    for check in (method.check_arrays, method.layer_step_sizes):
        with pytest.raises(ValueError, match=r"shape \(\*run, 3\), one per layer, got \(2,\)"):
            check(3)


def test_logarithmic_time_is_said_and_checked():
    assert not GradientFlow().log_time
    assert repr(GradientFlow(1e-6, log_time=True)).endswith("weight_decay=0, log_time=True)")
    for bad in (1, None, np.array([True]), "yes"):
        with pytest.raises(TypeError, match="log_time must be a bool, got"):
            GradientFlow(log_time=bad)


def test_a_rule_has_its_own_run_axes_and_only_multipliers_besides():
    method = GradientDescent(StepRule.power([[0.1], [0.2]], 1.0), 0.0, np.ones((3, 2)))
    assert method.run_shape == (2, 3)
    assert method.rule is method.step_size
    assert_array_equal(method.layer_step_sizes(2), np.ones((3, 2)))
    assert GradientDescent(0.1).rule is None
    assert GradientDescent(0.1).constant_step_size == 0.1


def test_stochastic_descent_is_measured_in_steps():
    method = StochasticGradientDescent(0.1, 5)
    checked_method(method, 3, None)
    with pytest.raises(TypeError, match="n_steps must be given with StochasticGradientDescent"):
        checked_method(method, None, None)
    with pytest.raises(
        TypeError, match=r"StochasticGradientDescent must be given n_steps.*not until"
    ):
        checked_method(method, 3, 1.0)
