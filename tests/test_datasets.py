"""Data sets: what is loaded is what is in the file, and bad files are clear errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast import datasets

SIZES = {
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2),
    "diabetes": (442, 10, 1),
}
X = np.arange(12.0).reshape(6, 2)
HELD_OUT = {0: [0.0, 2.0, 9.0], 1: [2.0, 3.0, 5.0], 2: [0.0, 1.0, 4.0]}


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", datasets.NAMES)
class TestBundled:
    def test_sizes(self, name):
        data = datasets.load(name)
        n, n_in, n_out = SIZES[name]
        assert data.X.shape == (n, n_in)
        assert data.Y.shape == (n, n_out)
        assert data.X.dtype == data.Y.dtype == np.float64
        assert data.description.startswith(f"{name}: {n:,} samples, {n_in} inputs -> {n_out} ")

    def test_numbers_are_of_order_one(self, name):
        data = datasets.load(name)
        if name == "digits":
            assert data.X.min() == 0
            assert data.X.max() == 1
        else:
            assert_allclose(data.X.mean(axis=0), 0, atol=1e-12)
            assert_allclose(data.X.std(axis=0), 1, rtol=1e-12)
        if name != "diabetes":
            assert_array_equal(data.Y.sum(axis=1), 1)

    def test_needs_scikit_learn(self, name, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(ImportError, match=r"sklearn.*extra data"):
            datasets.load(name)


class TestFiles:
    @pytest.mark.parametrize("names", [("X", "Y"), ("X", "y"), ("x", "y")])
    def test_npz(self, tmp_path, names):
        y = X @ np.ones((2, 3))
        np.savez(tmp_path / "d.npz", **dict(zip(names, (X, y), strict=True)))
        data = datasets.load(tmp_path / "d.npz")
        assert_array_equal(data.X, X)
        assert_array_equal(data.Y, y)
        assert data.description == "d.npz: 6 samples, 2 inputs -> 3 targets"

    def test_npy(self, tmp_path):
        np.save(tmp_path / "x.npy", X.astype(np.float32))
        np.save(tmp_path / "y.npy", np.array([2, 0, 2, 0, 5, 5]))
        data = datasets.load(tmp_path / "x.npy", tmp_path / "y.npy")
        assert_array_equal(data.X, X)
        assert_array_equal(data.Y, np.eye(3)[[1, 0, 1, 0, 2, 2]])

    @pytest.mark.parametrize("sep", [",", ";", "\t", " ", ", ", "   "])
    @pytest.mark.parametrize("head", ["", "a{0}b\n", "﻿a{0}b\n"])
    def test_csv(self, tmp_path, sep, head):
        body = "".join(f"{a}{sep}{b}\n" for a, b in X)
        x = text(tmp_path / "x.csv", head.format(sep) + body + "\n")
        y = text(tmp_path / "y.csv", "t\n0.5\n-1e-3\n3\n4\n5\n6\n")
        data = datasets.load(x, y)
        assert_array_equal(data.X, X)
        assert_array_equal(data.Y[:, 0], [0.5, -1e-3, 3, 4, 5, 6])

    @pytest.mark.parametrize("head", ["", "species\n"])
    @pytest.mark.parametrize("labels", ["abbaab", ["a b", "c", "c", "a b", "a b", "c"], "100101"])
    def test_labels_of_a_csv(self, tmp_path, head, labels):
        x = text(tmp_path / "x.csv", "".join(f"{i}\n" for i in range(6)))
        y = text(tmp_path / "y.csv", head + "\n".join(labels))
        data = datasets.load(x, y)
        expected = [float(label == min(labels)) for label in labels]
        assert_array_equal(data.Y[:, 0], expected)
        assert_array_equal(data.Y[:, 1], 1 - data.Y[:, 0])


class TestTargets:
    @pytest.mark.parametrize(
        ("y", "targets", "n_out"),
        [
            ([0, 1, 0, 1, 0, 1], "auto", 2),
            ([0, 1, 0, 1, 0, 1], "values", 1),
            ([[0], [1], [2], [0], [1], [2]], "auto", 3),
            ([0, 1, 2, 3, 4, 5], "auto", 1),  # more labels than half the samples: numbers
            ([0, 1, 2, 3, 4, 5], "classes", 6),
            ([0.5, 1, 0.5, 1, 0.5, 1], "auto", 1),
            ([0.5, 1, 0.5, 1, 0.5, 1], "classes", 2),
            ([True, False, True, True, False, False], "auto", 2),
            (["p", "q", "p", "q", "r", "r"], "auto", 3),
        ],
    )
    def test_kind(self, tmp_path, y, targets, n_out):
        np.savez(tmp_path / "d.npz", X=X, Y=np.array(y))
        data = datasets.load(tmp_path / "d.npz", targets=targets)
        assert data.Y.shape == (6, n_out)


class TestStandardize:
    def test_inputs(self, tmp_path):
        x = np.column_stack([X, np.full(6, 0.1)])
        np.savez(tmp_path / "d.npz", X=x, Y=X)
        data = datasets.load(tmp_path / "d.npz", standardize=True)
        assert_allclose(data.X.std(axis=0), [1, 1, 0], rtol=1e-12)
        assert_array_equal(data.X[:, 2], 0)
        assert_array_equal(data.Y, X)
        assert data.description.endswith("inputs standardised")

    def test_does_nothing_twice(self):
        plain, twice = datasets.load("wine"), datasets.load("wine", standardize=True)
        assert_array_equal(plain.X, twice.X)
        assert plain.description == twice.description


BAD = {
    "unknown name": ("digit", None, "did you mean 'digits'"),
    "inputs alone": ("x.csv", None, "needs another one of targets"),
    "suffix": ("x.txt", "y.csv", r"must end in .npy or .csv, got '.*x.txt'"),
    "names of arrays": ("names.npz", None, r"must hold arrays X and Y, got a"),
    "no zip": ("broken.npz", None, r"broken.npz cannot be read"),
    "no npy": ("broken.npy", "y.csv", r"broken.npy cannot be read"),
    "objects": ("objects.npz", None, "objects.npz cannot be read: X holds Python objects"),
    "empty csv": ("empty.csv", "y.csv", "empty.csv cannot be read: it is empty"),
    "ragged csv": ("ragged.csv", "y.csv", "row 3 has 1 columns, the first has 2"),
    "text in a csv": ("text.csv", "y.csv", "row 3 holds 'x', which is not a number"),
    "rows": ("x.csv", "short.csv", "equally many rows, got 6 and 2"),
    "nan": ("nan.csv", "y.csv", r"X must be finite, got nan at index \(1, 0\)"),
    "three axes": ("three.npz", None, r"X must have shape \(n, columns\), got \(6, 2, 1\)"),
    "complex": ("complex.npz", None, "X must be a real number"),
    "text inputs": ("labels.csv", "y.csv", "X must be made of numbers, got text such as 'a'"),
    "one class": ("x.csv", "one.csv", "Y must have 2 to 1000 classes, got 1"),
}


@pytest.fixture
def files(tmp_path):
    for name, content in {
        "x.csv": "".join(f"{i},{i * i}\n" for i in range(6)),
        "y.csv": "1.5\n2\n3\n4\n5\n6\n",
        "x.txt": "1\n",
        "short.csv": "1\n2\n",
        "broken.npz": "PK no",
        "broken.npy": "no",
        "empty.csv": "\n",
        "ragged.csv": "1,2\n3,4\n5\n",
        "text.csv": "a,b\n3,4\n5,x\n6,7\n",
        "nan.csv": "1,2\nnan,4\n5,6\n7,8\n9,10\n11,12\n",
        "labels.csv": "a\na\nb\nb\na\nb\n",
        "one.csv": "a\na\na\na\na\na\n",
    }.items():
        text(tmp_path / name, content)
    np.savez(tmp_path / "names.npz", a=X)
    np.savez(tmp_path / "objects.npz", X=np.array([{}], dtype=object), Y=X)
    np.savez(tmp_path / "three.npz", X=X[..., None], Y=X)
    np.savez(tmp_path / "complex.npz", X=X * 1j, Y=X)
    return tmp_path


@pytest.mark.parametrize("case", BAD)
def test_bad_data(files, case):
    source, targets_file, message = BAD[case]
    source = source if "." not in source else files / source
    with pytest.raises(ValueError, match=message):
        datasets.load(source, None if targets_file is None else files / targets_file)


@pytest.mark.parametrize("name", ["missing.npz", "."])
def test_a_file_that_cannot_be_opened(tmp_path, name):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="npz"):
        datasets.load(tmp_path / ("folder.npz" if name == "." else name))


def test_options_are_checked(files):
    np.savez(files / "two.npz", X=X, Y=X)
    with pytest.raises(ValueError, match="single column to be class labels"):
        datasets.load(files / "two.npz", targets="classes")
    with pytest.raises(ValueError, match="targets must be one of auto, classes, values"):
        datasets.load(files / "two.npz", targets="class")


class TestSplit:
    def test_parts_are_the_whole(self):
        data = datasets.load("wine")
        training, held_out = datasets.split(data, 0.25, rng=3)
        assert (len(training.X), len(held_out.X)) == (134, 44)
        for k in range(2):
            rows = {tuple(row) for part in (training[k], held_out[k]) for row in part}
            assert rows == {tuple(row) for row in data[k]}
        # Inputs stay with their targets, in the order they had.
        place = {tuple(x): i for i, x in enumerate(data.X)}
        for part in (training, held_out):
            which = [place[tuple(x)] for x in part.X]
            assert which == sorted(which)
            assert_array_equal(part.Y, data.Y[which])
        assert training.description.endswith(", 44 of them held out")
        assert held_out.description.startswith("44 samples held out of wine: 178 samples")

    def test_which_samples_is_a_matter_of_the_seed(self):
        numbers = np.arange(10.0)[:, None]
        data = datasets.Dataset(numbers, numbers, "ten")
        held_out = {s: datasets.split(data, 0.3, rng=s)[1].X.ravel().tolist() for s in range(3)}
        # The same on every machine, and in every version.
        assert held_out == HELD_OUT
        assert datasets.split(data, 0.3)[1].X.ravel().tolist() == held_out[0]

    @pytest.mark.parametrize(("fraction", "n_out"), [(1e-9, 1), (0.5, 1), (1 - 1e-9, 2), (0.2, 1)])
    def test_there_is_a_sample_on_either_side(self, fraction, n_out):
        data = datasets.Dataset(np.eye(3), np.eye(3), "three")
        parts = datasets.split(data, fraction if fraction != 0.5 else 0.4)
        assert [len(part.X) for part in parts] == [3 - n_out, n_out]

    @pytest.mark.parametrize(
        ("arguments", "exception", "message"),
        [
            ((3, 0.5), TypeError, "data must be a Dataset, Entries or Measurements, got int"),
            (("iris", 0.5), TypeError, "data must be a Dataset, Entries or Measurements, got str"),
            ((None, 0.0), ValueError, "fraction must be in \\(0, 1\\), got 0"),
            ((None, 1.0), ValueError, "fraction must be in \\(0, 1\\), got 1"),
            ((None, np.nan), ValueError, "fraction must be finite"),
            ((None, "a"), TypeError, "fraction must be a real number"),
            ((None, [0.5]), TypeError, "fraction must be a single number"),
            ((None, 0.5, -1), ValueError, "rng must be >= 0"),
            ((None, 0.5, 0.5), TypeError, "rng must be an integer"),
            (
                (datasets.Dataset(np.eye(1), np.eye(1), "one"), 0.5),
                ValueError,
                "at least two samples",
            ),
        ],
    )
    def test_what_is_refused(self, arguments, exception, message):
        data, fraction, *rng = arguments
        data = datasets.Dataset(np.eye(3), np.eye(3), "three") if data is None else data
        with pytest.raises(exception, match=message):
            datasets.split(data, fraction, **({"rng": rng[0]} if rng else {}))
