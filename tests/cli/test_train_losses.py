"""``linnet-fast train --loss``: every loss that data make, of every kind of file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import datasets
from linnet_fast.cli import main, tame_steps
from linnet_fast.losses.registry import LOSSES, of_data

RNG = np.random.default_rng(3)
X = RNG.standard_normal((40, 3))
WORDS = np.array(["ant", "bee", "cat"])[np.arange(40) % 3]
LOW_RANK = RNG.standard_normal((7, 2)) @ RNG.standard_normal((2, 5))
SEEN = RNG.permutation(35).reshape(7, 5) < 24
SMALL = ("--steps", 60, "--records", 8, "--seeds", 2, "--scales", "0.5", "--hidden", 4)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("words.npz", X=X, Y=WORDS, kind=np.arange(40) % 2)
    np.save("x.npy", X)
    lines = [",".join([*map(repr, map(float, x)), word]) for x, word in zip(X, WORDS, strict=True)]
    (tmp_path / "flowers.csv").write_text("a,b,c,species\n" + "\n".join(lines))
    (tmp_path / "labels.csv").write_text("\n".join(WORDS))
    gaps = np.where(SEEN, LOW_RANK, np.nan)
    fields = [["" if np.isnan(v) else repr(float(v)) for v in row] for row in gaps]
    (tmp_path / "gaps.csv").write_text("\n".join(map(",".join, fields)))
    np.save("gaps.npy", gaps)
    np.savez("gaps.npz", matrix=gaps)
    rows, cols = np.nonzero(SEEN)
    np.savez("entries.npz", rows=rows, cols=cols, values=LOW_RANK[SEEN], shape=[7, 5])
    m, a, b = (RNG.standard_normal((30, *shape)) for shape in ((7, 5), (7,), (5,)))
    np.savez("dense.npz", measurements=m, targets=np.einsum("nij,ij->n", m, LOW_RANK))
    np.savez("pairs.npz", left=a, right=b, targets=np.einsum("ni,ij,nj->n", a, LOW_RANK, b))
    return tmp_path


def train(*arguments):
    return main.main(["train", *map(str, arguments)])


SOURCES = {
    "squared": ("words.npz",),
    "logistic": ("words.npz",),
    "exponential": ("words.npz",),
    "cross-entropy": ("words.npz",),
    "completion": ("gaps.csv", "--test", 0.2),
    "sensing": ("dense.npz",),
}


@pytest.mark.parametrize("name", of_data())
def test_every_loss_of_data(name, capsys):
    assert set(SOURCES) == set(of_data())
    assert train(*SOURCES[name], "--loss", name, *SMALL, "--out", "a.npz") == 0
    run = lf.Trajectory.load("a.npz")
    assert type(run.loss_function) is of_data()[name]
    assert run.run_shape == (1, 1, 2)
    assert (run.loss[..., -1] < run.loss[..., 0]).all(), "the default step size is tame"
    assert ("accuracy" in run.observables) == ("margin" in run.loss_function.supports)
    shown = capsys.readouterr().out
    assert ("How runs end" in shown) == (name != "squared")
    assert (f"loss       {name}\n" in shown) == (name != "squared")
    assert Path("a.png").stat().st_size > 10_000


def test_what_is_not_made_of_data_is_said():
    others = {kind for kind in LOSSES.values() if kind.data_kind is None}
    assert others >= {lf.SphericalLogisticLoss, lf.SampledSquaredLoss, lf.RankOneSensingLoss}
    assert not others & set(of_data().values())


def test_help_has_every_loss_on_one_line(capsys):
    assert train("--help") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.strip().startswith("--loss "))
    assert line.strip() == f"--loss {{{','.join(of_data())}}}"


class TestData:
    @pytest.mark.parametrize(
        "source",
        [
            ("flowers.csv", "--labels", "species"),
            ("flowers.csv", "--labels", "4"),
            ("x.npy", "--labels", "labels.csv"),
            ("--x", "x.npy", "--labels", "labels.csv"),
            ("--x", "x.npy", "--y", "labels.csv"),
            ("words.npz", "--labels", "Y"),
            ("words.npz",),
        ],
    )
    def test_classes_wherever_they_are(self, source, capsys):
        arguments = ("--loss", "cross-entropy", *SMALL, "--out", "a.npz", "--plot", "none")
        assert train(*source, *arguments) == 0
        run = lf.Trajectory.load("a.npz")
        expected = lf.CrossEntropyLoss.from_data(X, WORDS)
        assert_array_equal(run.loss_function.targets, expected.targets)
        assert_allclose(run.loss_function.inputs, X, rtol=1e-15)
        product = run.final.weights[1] @ run.final.weights[0]
        right = (X @ product.mT).argmax(axis=-1) == expected.targets.argmax(axis=-1)
        assert_allclose(run.accuracy[..., -1], right.mean(axis=-1))
        median = re.search(r"0\.5 +([\d.]+) +([\d.]+) ", capsys.readouterr().out)
        assert_allclose(float(median[1]), np.median(expected.value(product)), rtol=1e-5)
        assert_allclose(float(median[2]), np.median(right.mean(axis=-1)), rtol=1e-5)

    def test_two_classes_are_one_output(self):
        arguments = ("--loss", "logistic", "--label-noise", 0.1, *SMALL, "--out", "a.npz")
        assert train("words.npz", "--labels", "kind", *arguments, "--plot", "none") == 0
        loss = lf.Trajectory.load("a.npz").loss_function
        assert_array_equal(loss.labels, 2 * (np.arange(40) % 2) - 1)
        assert loss.label_noise == 0.1

    @pytest.mark.parametrize("name", ["gaps.csv", "gaps.npy", "gaps.npz", "entries.npz"])
    def test_entries_of_a_matrix(self, name):
        assert train(name, "--loss", "completion", *SMALL, "--out", "a.npz", "--plot", "none") == 0
        loss = lf.Trajectory.load("a.npz").loss_function
        expected = lf.MatrixCompletionLoss.from_matrix(LOW_RANK, SEEN)
        for part in ("rows", "cols", "values"):
            assert_array_equal(getattr(loss, part), getattr(expected, part))
        assert loss.shape == (7, 5)

    def test_measurements_of_rank_one(self):
        arguments = ("--loss", "sensing", *SMALL, "--out", "a.npz", "--plot", "none")
        assert train("pairs.npz", *arguments) == 0
        run = lf.Trajectory.load("a.npz")
        assert type(run.loss_function) is lf.RankOneSensingLoss
        assert_allclose(run.loss_function.value(LOW_RANK), 0, atol=1e-25)

    @pytest.mark.parametrize("name", of_data())
    def test_held_out(self, name, capsys):
        source = SOURCES[name][:1]
        arguments = ("--loss", name, "--test", 0.25, *SMALL, "--out", "a.npz", "--plot", "none")
        assert train(*source, *arguments) == 0
        run = lf.Trajectory.load("a.npz")
        kind = of_data()[name]
        whole = datasets.LOADERS[kind.data_kind](source[0])
        training, held_out = datasets.split(whole, 0.25)
        assert training.n_samples + held_out.n_samples == whole.n_samples
        if name == "squared":
            held_out = held_out._replace(
                X=held_out.X - training.X.mean(axis=0), Y=held_out.Y - training.Y.mean(axis=0)
            )
        expected = kind.from_dataset(held_out)[0]
        product = run.final.weights[1] @ run.final.weights[0]
        assert_allclose(run.loss_test[..., -1], expected.value(product), rtol=1e-12)
        assert "test loss" in capsys.readouterr().out
        if "margin" in expected.supports:
            by_hand = (expected.margins(product) > 0).mean(axis=-1)
            assert_allclose(run.observables["accuracy_test"][..., -1], by_hand)

    def test_held_out_labels_are_those_given(self):
        arguments = ("--label-smoothing", 0.3, "--test", 0.5, *SMALL, "--out", "a.npz")
        assert train("words.npz", "--loss", "cross-entropy", *arguments, "--plot", "none") == 0
        run = lf.Trajectory.load("a.npz")
        assert_allclose(np.unique(run.loss_function.targets), [0.1, 0.8])
        assert np.unique(run.evaluated["test"].targets).tolist() == [0, 1]


REFUSED = {
    "loss": (["words.npz", "--loss", "hinge"], "invalid choice: 'hinge'"),
    "values": (["diabetes", "--loss", "logistic"], "must have classes or labels 1 and -1 for Log"),
    "no classes": (["diabetes", "--loss", "cross-entropy"], "must have classes for CrossEntropy"),
    "a set of samples": (["digits", "--loss", "completion"], "got 'digits', which is a set of sam"),
    "no measurements": (["gaps.csv", "--loss", "sensing"], "measurements (.npz), got 'gaps.csv'"),
    "other arrays": (["words.npz", "--loss", "sensing"], "measurements and targets, or left and"),
    "no matrix": (["words.npz", "--loss", "completion"], "rows and cols and values, or matrix, go"),
    "empty": (["empty.npy", "--loss", "completion"], "at least one entry of the matrix, got none"),
    "twice": (["twice.npz", "--loss", "completion"], "every entry once, got entry (0, 1) twice"),
    "outside": (["outside.npz", "--loss", "completion"], "rows must be <= 1, got 2 at index"),
    "labels": (["gaps.csv", "--loss", "completion", "--labels", "a"], "--labels is for samples"),
    "y": (["gaps.csv", "--loss", "completion", "--y", "a"], "--y is for samples, and --loss compl"),
    "scale": (["dense.npz", "--loss", "sensing", "--standardize"], "--standardize is for samples"),
    "nothing": (["--loss", "completion"], "give DATA, a file of entries for --loss completion"),
    "noise": (["iris", "--label-noise", "0.1"], "--label-noise is for --loss logistic and exponen"),
    "much noise": (
        ["words.npz", "--loss", "logistic", "--label-noise", "2"],
        "label_noise must be",
    ),
    "smooth": (["iris", "--label-smoothing", "0.1"], "is for --loss cross-entropy, got squared"),
    "center": (["iris", "--loss", "cross-entropy", "--no-center"], "is for --loss squared, got cr"),
    "aligned": (
        ["iris", "--loss", "logistic", "--init", "aligned"],
        "is for --loss squared, got l",
    ),
    "column": (["flowers.csv", "--labels", "kind"], "no column 'kind', but a, b, c, species or 1 "),
    "both": (["--x", "x.npy", "--y", "y.csv", "--labels", "l.csv"], "either --y or --labels, not"),
    "numbers": (["words.npz", "--labels", "Y", "--targets", "values"], "--labels are classes"),
    "named": (["iris", "--labels", "species"], "--labels must be a .npy or .csv file, or a column"),
    "alone": (["flowers.csv"], "needs another one of targets, --labels"),
    "zero": (["zero.npz", "--loss", "sensing"], "something to learn, got one without a slope"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_combinations_are_refused_by_name(case, folder, capsys):
    np.save("empty.npy", np.full((2, 2), np.nan))
    np.savez("twice.npz", rows=[0, 0], cols=[1, 1], values=[1.0, 2.0])
    np.savez("outside.npz", rows=[2], cols=[1], values=[1.0], shape=[2, 2])
    np.savez("zero.npz", measurements=np.ones((3, 2, 2)), targets=np.zeros(3))
    before = sorted(folder.iterdir())
    arguments, message = REFUSED[case]
    assert train(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert sorted(folder.iterdir()) == before


class TestStepSize:
    def test_of_a_square(self):
        # One layer: the curvature is that of the loss, 4 and 1; 1 / 4 is taken.
        loss = lf.MatrixSensingLoss([[[2.0, 0.0]], [[0.0, 1.0]]], [1.0, 1.0])
        assert tame_steps.tame_step_size(loss, 1, 0.0) == 0.5
        assert tame_steps.tame_step_size(loss, 1, 0.0, weight_decay=2.0) == 0.25

    def test_of_layers_at_the_start(self):
        # Two layers of norm 10 at curvature 1: 2 * 100 + 100 + the slope 1 at zero.
        loss = lf.MatrixSensingLoss([[[1.0]]], [1.0])
        assert tame_steps.tame_step_size(loss, 2, 10.0) == 0.0033

    @pytest.mark.parametrize("n_layers", [1, 2, 3])
    @pytest.mark.parametrize("name", ["logistic", "exponential", "cross-entropy"])
    @pytest.mark.parametrize("data", ["iris", "wine"])
    def test_training_is_tame(self, data, name, n_layers):
        loss, _ = of_data()[name].from_dataset(datasets.load(data))
        network = lf.Dense((loss.n_inputs, *[6] * (n_layers - 1), loss.n_outputs))
        start = lf.initialization.orthogonal(network, rng=0)
        size = tame_steps.tame_step_size(loss, n_layers, 1.0)
        run = lf.train(network, loss, start, method=lf.GradientDescent(size), n_steps=2000)
        assert (np.diff(run.loss[5:]) < 1e-12).all(), "the loss falls all the time"
