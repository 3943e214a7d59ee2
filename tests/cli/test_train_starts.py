"""``linnet-fast train``: starts and what they are made with, and teachers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast.cli import main

SMALL = ("--steps", 20, "--records", 3, "--seeds", 2, "--scales", "0.5", "--hidden", 3)
SPARSE = (
    "--teacher",
    "sparse",
    "--teacher-option",
    "n_inputs=6",
    "--teacher-option",
    "n_nonzero=2",
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return main.main(["train", *map(str, (*SMALL, "--plot", "none", *arguments))])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("constant", {"layer_scales": (1, 0)}),
        ("identity", {}),
        ("spectral", {"singular_values": [2]}),
        ("lambda_balanced", {"imbalance": -0.5}),
        ("gaussian", {"layer_scales": (1, -2), "width_exponent": 0.5}),
    ],
)
def test_starts(name, given, capsys):
    options = []
    for key, value in given.items():
        text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value
        options += ["--init-option", f"{key}={text}"]
    assert train("iris", "--init", name, *options) == 0
    assert f"-> 3, {name}" in capsys.readouterr().out
    run = lf.Trajectory.load("linnet_fast_iris.npz")
    unit = lf.Start(name, **given).draw(run.network, rng=0, batch_shape=2)
    for found, wanted in zip(run.start.weights, unit, strict=True):
        np.testing.assert_array_equal(found[0, 0], 0.5 * wanted)


def test_a_teacher_is_that_of_its_seed(capsys):
    own = ("n_samples=20", "noise=0.1", "input_cov=power_law,0.5")
    options = [o for text in own for o in ("--teacher-option", text)]
    assert train(*SPARSE, *options, "--teacher-seed", 7) == 0
    shown = capsys.readouterr().out
    teacher = lf.Teacher(
        "sparse", n_inputs=6, n_nonzero=2, n_samples=20, noise=0.1, input_cov=("power_law", 0.5)
    )
    assert f"{teacher!r}, seed 7" in shown
    assert "risk loss" in shown
    run = lf.Trajectory.load("linnet_fast_sparse.npz")
    product = run.network.product([w[0, 0, 0] for w in run.final.weights])
    np.testing.assert_allclose(run.loss[0, 0, 0, -1], teacher.loss(7).value(product), rtol=1e-10)
    risk = teacher.population.loss(7).value(product)
    np.testing.assert_allclose(run.loss_risk[0, 0, 0, -1], risk, rtol=1e-10)


@pytest.mark.parametrize(("target", "word"), [("signs", "logistic"), ("classes", "cross-entropy")])
def test_the_loss_is_that_of_the_target(target, word, capsys):
    outputs = ("--teacher-option", "n_outputs=3") if target == "classes" else ()
    own = ("--teacher-option", f"target={target}", "--teacher-option", "n_samples=20", *outputs)
    assert train(*SPARSE, *own) == 0
    shown = capsys.readouterr().out
    assert f"loss       {word}" in shown
    assert "accuracy" in shown
    assert ("risk loss" in shown) == (target == "signs")


def test_populations_and_their_least_loss(capsys):
    assert train(*SPARSE) == 0
    shown = capsys.readouterr().out
    assert "least loss -" not in shown
    assert "risk" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("iris", *SPARSE), "DATA is for data, and --teacher draws its own"),
        ((*SPARSE, "--test", "0.2"), "--test is for data"),
        ((*SPARSE, "--loss", "logistic"), "--loss is for data"),
        (("--teacher", "gaussian"), "--teacher-option: n_inputs must be given"),
        ((*SPARSE, "--teacher-option", "kind=low_rank"), "--teacher-option kind: there are n_inputs"),
        ((*SPARSE, "--teacher-option", "n_inputs=3"), "--teacher-option n_inputs: given twice"),
        ((*SPARSE, "--teacher-option", "noise=0.1,0.2"), "numbers must be the same for all runs"),
        (("iris", "--teacher-seed", "1"), "--teacher-seed is for --teacher KIND"),
        (("iris", "--init", "given"), "invalid choice: 'given'"),
        (("iris", "--init", "spectral"), "--init-option: singular_values must be given"),
        (("iris", "--init-option", "imbalance=1"), "--init-option imbalance: orthogonal has layer_sc"),
        (("iris", "--init-option", "layer_scales=1"), "layer_scales must have shape (*run, 2)"),
        (
            ("iris", "--init", "lambda_balanced", "--init-option", "imbalance=1,2"),
            "numbers must be the same for all runs",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(train(*arguments))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
