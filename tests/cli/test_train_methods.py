"""``linnet-fast train --method``: every method that takes steps, and what it is made with."""

from __future__ import annotations

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast.cli import main, train_method

SMALL = ("iris", "--steps", 40, "--records", 5, "--seeds", 2, "--scales", "0.5", "--hidden", 4)
NAMES = [name for name in train_method.names() if not name.startswith("stochastic")]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return main.main(["train", *map(str, (*SMALL, "--plot", "none", *arguments))])


@pytest.mark.parametrize("name", NAMES)
def test_every_method(name, capsys):
    assert train("--method", name) == 0
    shown = capsys.readouterr().out
    assert (f"method     {name}" in shown) == (name != "gradient-descent")
    assert ("1 / sharpness" in shown) == (name == "gradient-descent")
    run = lf.Trajectory.load("linnet_fast_iris.npz")
    assert type(run.method) is train_method.names()[name]
    assert (run.loss[..., -1] < run.loss[..., 0]).all()


def test_what_it_is_made_with(capsys):
    own = ("--method-option", "beta2=0.9", "--method-option", "decoupled=true")
    steps = ("--step-sizes", "1e-3,1e-2", "--weight-decay", 0.1)
    assert train("--method", "adam", *own, *steps) == 0
    assert "adam beta2=0.9 decoupled=True" in capsys.readouterr().out
    method = lf.Trajectory.load("linnet_fast_iris.npz").method
    assert method.beta2 == 0.9
    assert method.decoupled
    np.testing.assert_allclose(np.unique(method.step_size), [1e-3, 1e-2])


SCHEDULES = {
    "constant": ({"warmup_steps": 8}, lambda s: lf.StepRule.warmup(8, s)),
    "power": ({"exponent": -0.5}, lambda s: lf.StepRule.power(s, -0.5)),
    "geometric": ({"ratio": 0.99}, lambda s: lf.StepRule.geometric(s, 0.99)),
    "piecewise": (
        {"values": "1,0.1", "boundaries": 30},
        lambda s: lf.StepRule.piecewise([s, s / 10], [30]),
    ),
    "cosine": (
        {"warmup_steps": 10, "floor": 0.1},
        lambda s: lf.StepRule.warmup(10, lf.StepRule.cosine(s, 30, 0.1, 10)),
    ),
    "inverse-sqrt": ({"n_steps": 5}, lambda s: lf.StepRule.inverse_sqrt(s, 5)),
    "loss-normalized": ({}, lf.StepRule.loss_normalized),
    "norm-proportional": ({}, lf.StepRule.norm_proportional),
    "gradient-normalized": ({}, lf.StepRule.gradient_normalized),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, capsys):
    given, rule = SCHEDULES[name]
    options = [o for k, v in given.items() for o in ("--schedule-option", f"{k}={v}")]
    assert train("--schedule", name, *options, "--step-sizes", "1e-3,1e-2") == 0
    assert f"schedule   {name}" in capsys.readouterr().out
    run = lf.Trajectory.load("linnet_fast_iris.npz")
    for i, step in enumerate((1e-3, 1e-2)):
        start = [w[0, i] for w in run.start.weights]
        own = lf.train(
            run.network, run.loss_function, start, method=lf.GradientDescent(rule(step)), n_steps=40
        )
        for found, wanted in zip(run.final.weights, own.final.weights, strict=True):
            np.testing.assert_allclose(found[0, i], wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--schedule", "linear"), "invalid choice: 'linear'"),
        (("--schedule-option", "floor=0"), "--schedule-option floor: constant has warmup_steps"),
        (
            ("--schedule", "cosine", *("--schedule-option", "floor=1") * 2),
            "--schedule-option floor: given twice",
        ),
        (
            ("--schedule", "cosine", "--schedule-option", "floor=2"),
            "--schedule-option: floor must be <= 1, got 2",
        ),
        (("--schedule", "loss-normalized"), "--schedule loss-normalized needs --step-sizes"),
        (("--schedule", "piecewise"), "--schedule-option: values must be given for a rule"),
        (("--method", "newton"), "invalid choice: 'newton'"),
        (("--method-option", "momentum"), "'momentum' is not NAME=VALUE"),
        (("--method-option", "step-size=0.1"), "--method-option step_size: --step-size says it"),
        (("--method-option", "beta1=0.1"), "--method-option beta1: gradient-descent has layer_mul"),
        (("--method-option", "momentum=1.5"), "--method-option: momentum must be < 1, got 1.5"),
        (("--method", "rmsprop", "--method-option", "per=row"), "per must be one of entry, layer"),
    ],
)
def test_what_is_wrong_is_said(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(train(*arguments))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_curvature_is_recorded_of_what_is_held_out_and_of_methods_with_memory():
    given = ("--method", "adam", "--also", "preconditioned_sharpness,sharpness_test")
    assert train(*given, "--test", "0.3") == 0
    run = lf.Trajectory.load("linnet_fast_iris.npz")
    assert (run.preconditioned_sharpness[..., -1] > 0).all()
    assert run.sharpness_test.shape == run.loss.shape
    assert train(*given, "--force") == 2  # nothing is held out
