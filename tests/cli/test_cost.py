"""The command `linnet-fast cost`: what it prints and writes, and how it fails."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.cli import main
from linnet_fast.networks.text import parse

PREDICTORS = np.array([[1.0, 2, 3, 4], [0, 0, 0, 0], [1, -1, 1, -1]])
KERNEL = "Convolution(width=4, kernel_size=2, n_layers=3)"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in an empty folder, with predictors of all kinds in it."""
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", PREDICTORS)
    np.savetxt("p.csv", PREDICTORS, delimiter=",", header="a,b,c,d", comments="")
    np.savetxt("column.csv", PREDICTORS[0])
    np.savez("p.npz", predictor=PREDICTORS, other=np.ones(2))
    np.savez("one.npz", anything=PREDICTORS)
    np.savez("two.npz", a=PREDICTORS, b=PREDICTORS)
    np.save("matrices.npy", np.stack([np.eye(3), np.zeros((3, 3))]))
    (tmp_path / "words.csv").write_text("a\nb\na\nb\n")
    (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
    return tmp_path


def cost(*arguments):
    return main.main(["cost", *map(str, arguments)])


def values(output):
    """Return the columns value, lower, upper and exact of the table."""
    lines = output.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    rows = [line.split() for line in lines[rule + 1 :] if line and line[:9].strip().isdigit()]
    numbers = np.array([[float(x) for x in row[1:4]] for row in rows])
    return numbers, [row[5] for row in rows]


@pytest.mark.parametrize("file", ["p.npy", "p.csv", "p.npz", "one.npz"])
def test_prints_values_bounds_and_method(file, capsys):
    assert cost(KERNEL, file) == 0
    output = capsys.readouterr().out
    assert "4 -> 1, 8 weights" in output
    assert "convex problem in trigonometric polynomials" in output
    assert "predictors  3, 3 of them exact to 1e-8" in output
    numbers, exact = values(output)
    expected = lf.representation_cost(lf.Convolution(4, 2, 3), PREDICTORS)
    assert_allclose(numbers[:, 0], expected.value, rtol=1e-9)
    assert_allclose(numbers[:, 1], expected.lower, rtol=1e-9)
    assert exact == ["yes"] * 3


def test_one_number_a_line_is_one_predictor(capsys):
    assert cost("Diagonal(4)", "column.csv") == 0
    assert values(capsys.readouterr().out)[0][:, 0].tolist() == [20.0]


def test_matrices_and_what_is_out_of_reach(capsys):
    assert cost("Dense((3, 1, 3))", "matrices.npy") == 0
    output = capsys.readouterr().out
    assert values(output)[0][:, 0].tolist() == [np.inf, 0.0]
    assert "rank up to 1" in output
    assert output.endswith("inf (1 of 2): impossible: its rank is above a hidden width\n")


def test_searches_when_it_must(capsys):
    text = "Convolution(width=4, kernel_size=2, n_layers=3, padding='zero')"
    assert cost(text, "p.npy", "--starts", 4, "--rng", 3, "--threads", 1) == 0
    first = capsys.readouterr().out
    assert "search from 4 starts" in first
    assert "no formula known" in first
    numbers, exact = values(first)
    assert exact == ["no", "yes", "no"]
    assert (numbers[:, 1] <= numbers[:, 2]).all()
    assert cost(text, "p.npy", "--starts", 4, "--rng", 3, "--threads", 2) == 0
    assert capsys.readouterr().out == first


def test_many_predictors_are_abridged(capsys):
    np.save("many.npy", np.ones((45, 4)))
    assert cost("Diagonal(4)", "many.npy") == 0
    output = capsys.readouterr().out
    assert len(values(output)[1]) == 40
    assert "... and 5 more; --out FILE has all of them" in output


def test_writes_everything(capsys):
    assert cost(KERNEL, "p.npy", "--out", "c.npz") == 0
    assert "wrote c.npz" in capsys.readouterr().out
    with np.load("c.npz", allow_pickle=False) as data:
        network = parse(str(data["architecture"]))
        assert network == lf.Convolution(4, 2, 3)
        weights = [data[f"weights_{k}"] for k in range(3)]
        assert_allclose(network.product(weights)[:, 0], PREDICTORS, atol=1e-13)
        assert_allclose(data["value"], lf.representation_cost(network, PREDICTORS).value)
        assert_array_equal(data["predictor"], PREDICTORS)
        assert data["exact"].all()
        assert (data["lower"] <= data["upper"]).all()
        assert data["violation"].max() < 1e-13


def test_nothing_is_left_of_a_file_that_cannot_be_written(folder, monkeypatch, capsys):
    (folder / "c.npz").write_text("old")

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    assert cost(KERNEL, "p.npy", "--out", "c.npz", "--force") == 1
    assert "cannot write c.npz: No space left on device" in capsys.readouterr().err
    assert (folder / "c.npz").read_text() == "old"
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["Diagnal(4)", "p.npy"], 2, "did you mean 'Diagonal'"),
        (["Diagonal(4", "p.npy"], 2, "architecture must be a text such as"),
        (["Diagonal(4).__class__", "p.npy"], 2, "architecture must consist of"),
        (["1+" * 10**5 + "1", "p.npy"], 2, "architecture must consist of"),
        (["[" * 10**5, "p.npy"], 2, "architecture must be nested at most 64 deep"),
        (["Diagonal(4)", "p.npy", "--rtol=" + "-" * 10**5 + "1"], 2, "characters) is not a number"),
        (["Diagonal(4)", "p.npy", "--starts=" + "9" * 10**5], 2, "is not a whole number"),
        (["Diagonal(3)", "p.npy"], 2, "predictor must have shape (*batch, 3), got (3, 4)"),
        (["Diagonal(4)", "nowhere.npy"], 2, "cannot read nowhere.npy: No such file"),
        (["Diagonal(4)", "words.csv"], 2, "must be made of numbers"),
        (["Diagonal(4)", "broken.npz"], 2, "broken.npz cannot be read"),
        (["Diagonal(4)", "two.npz"], 2, "must hold an array predictor, got a, b"),
        (["Diagonal(4)", "p.txt"], 2, "must end in .npy or .csv"),
        (["Diagonal(4)", "p.npy", "--out", "c.txt"], 2, "--out must end in .npz"),
        (["Diagonal(4)", "p.npy", "--out", "no/c.npz"], 1, "there is no directory no"),
        (["Diagonal(4)", "p.npy", "--starts", "0"], 2, "must be at least 1"),
        (["Diagonal(4)", "p.npy", "--rtol", "2"], 2, "rtol must be < 1"),
        (["Diagonal(4)", "p.npy", "--rtol", "-1"], 2, "not negative"),
        (["Diagonal(4)"], 2, "required: FILE"),
    ],
)
def test_bad_requests(arguments, code, message, capsys):
    assert cost(*arguments) == code
    assert message in capsys.readouterr().err


def test_help_shows_the_forms(capsys):
    assert cost("--help") == 0
    output = capsys.readouterr().out
    assert "Convolution(width=64, kernel_size=3, n_layers=2)" in output
    assert "--starts" in output
