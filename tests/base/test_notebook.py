"""What notebooks show: well-formed, escaped, of every noun; bars are silent in logs."""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast._base import notebook

NETWORK = lf.Dense((3, 4, 2))
LOSS = lf.SquaredLoss.from_data(np.eye(3), np.eye(3)[:, :2])
START = lf.initialization.gaussian(NETWORK, scale=[1e-3, 0.1], rng=0)


def trained(**options):
    return lf.train(NETWORK, LOSS, START, method=lf.GradientDescent(0.1), n_steps=300, **options)


NOUNS = {
    "trajectory": (trained, ["Dense(widths=(3, 4, 2))", "2 runs: 2 completed"]),
    "state": (lambda: trained()[0], ["()", "1 run: 1 completed"]),
    "cost": (
        lambda: lf.representation_cost(lf.Diagonal(2, 2), [[1.0, 2.0], [0.0, 1.0]]),
        ["yes", "2"],
    ),
    "summary": (lambda: lf.rank_dynamics.summary(trained(), run=0), ["stage", "predicted"]),
    "sweep": (
        lambda: lf.grid(
            lf.Training(NETWORK, LOSS, lf.Start("gaussian"), lf.GradientDescent(0.1), n_steps=5),
            {"start.scale": [1e-3, 1.0]},
            replicates=3,
        ),
        ["SweepSpec of 6 runs", "start.scale"],
    ),
    "network": (lambda: lf.Convolution(7, 3, 2), ["7 inputs -> ", "layer"]),
    "fixed": (
        lambda: lf.Chain([lf.layers.Dense(2, 2), lf.layers.Fixed(np.eye(2))]),
        ["none", "layer"],
    ),
    "loss": (lambda: LOSS, ["SquaredLoss", "array of shape (3, 3)"]),
    "labels": (lambda: lf.LogisticLoss(np.eye(2), [1, -1]), ["n_outputs", "LogisticLoss"]),
    "completion": (
        lambda: lf.MatrixCompletionLoss.from_matrix(
            [[1.0, 0.0], [2.0, 3.0]], [[True, False], [True, True]]
        ),
        ["MatrixCompletionLoss"],
    ),
    "law": (
        lambda: lf.SphericalLogisticLoss([1.0, 0.0], lf.laws.Gaussian(2)),
        ["SphericalLogisticLoss"],
    ),
}


@pytest.mark.parametrize("name", NOUNS)
def test_nouns_are_tables_in_notebooks(name):
    make, texts = NOUNS[name]
    shown = make()._repr_html_()
    tree = ET.fromstring(f"<div>{shown.replace('<br>', '<br/>')}</div>")
    text = " ".join(tree.itertext())
    assert all(part in text for part in texts)
    assert tree.find("table") is not None
    assert len(shown) < 5000


def test_text_is_escaped_and_long_tables_are_cut():
    shown = notebook.table("<b>", ("a&b", ""), ((i, "<script>") for i in range(100)), "x < y")
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "70 more" in shown
    assert shown.endswith("x &lt; y")


def test_bars_are_silent_in_logs(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    trained(progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trained(progress=True)
    assert "600" in capsys.readouterr().err
