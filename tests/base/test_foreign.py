"""Data as people have them: tables, series, truth values, tensors of other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import linnet_fast as lf
from linnet_fast import datasets, initialization
from linnet_fast.directional_convergence import max_margin

pd = pytest.importorskip("pandas")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3))
Y = X @ [1.0, -2.0, 0.5]
SIGNS = np.where(Y > 0, 1, -1)
FRAME = pd.DataFrame(X, columns=list("abc"))


def polars(values):
    return pytest.importorskip("polars").Series(values)


def test_one_output_may_have_one_axis():
    for y in (Y, Y.tolist(), pd.Series(Y), pd.Series(Y, dtype="Float64")):
        for form in ("auto", "samples"):
            loss = lf.SquaredLoss.from_data(FRAME, y, form=form)
            assert loss == lf.SquaredLoss.from_data(X, Y[:, None], form=form)
    assert lf.SampledSquaredLoss(X, Y) == lf.SampledSquaredLoss(X, Y[:, None])
    with pytest.raises(ValueError, match=r"^X must have shape \(\*run, n, in\), got \(12,\)"):
        lf.SquaredLoss.from_data(Y, Y)


def test_frames_of_numbers_and_truth_values():
    dummies = pd.get_dummies(FRAME.assign(kind=np.where(Y > 0, "u", "v")))
    assert dummies.to_numpy().dtype == object
    plain = np.column_stack([X, Y > 0, Y <= 0])
    assert lf.SquaredLoss.from_data(dummies, Y) == lf.SquaredLoss.from_data(plain, Y)
    with pytest.raises(
        TypeError, match=r"^X must be made of numbers, got 'u' in row 0 of the column 'k'"
    ):
        lf.SquaredLoss.from_data(FRAME.assign(k="u"), Y)
    with pytest.raises(TypeError, match=r"^Y must be made of numbers, got None in row 1"):
        lf.SquaredLoss.from_data(X[:2], pd.Series([1.0, None], dtype=object))


@pytest.mark.parametrize("kind", [lf.LogisticLoss, lf.ExponentialLoss])
def test_labels_of_every_kind(kind):
    expected = kind.from_data(X, SIGNS)
    for y in (SIGNS > 0, (SIGNS > 0).tolist(), pd.Series(SIGNS > 0), pd.Series(SIGNS)):
        assert kind.from_data(FRAME, y) == expected
        assert kind(X, y) == expected
    words = np.where(SIGNS > 0, "yes", "no")
    for y, labels in (
        ((SIGNS > 0) * 1, (0, 1)),
        (words, ["no", "yes"]),
        (pd.Series(words), ("no", "yes")),
    ):
        assert kind.from_data(FRAME, y, labels=labels) == expected
    table = np.column_stack([SIGNS, -SIGNS])
    assert kind.from_data(X, table > 0, labels=(False, True)) == kind.from_data(X, table)


@pytest.mark.parametrize(
    ("y", "labels", "error", "text"),
    [
        ((SIGNS > 0) * 1, None, ValueError, r"^y must be made of labels 1 and -1 \(labels=\(0, 1\)"),
        (SIGNS, (0, 1), ValueError, "^y must be made of labels 0 and 1, got"),
        (SIGNS, ("a", "b"), ValueError, "^y must be made of labels 'a' and 'b', got"),
        (SIGNS, (1, 1), ValueError, "^labels must differ"),
        (SIGNS, (1, 2, 3), ValueError, "^labels must be two"),
        (SIGNS, 3, TypeError, "^labels must be"),
        (np.ma.masked_array(SIGNS), (-1, 1), TypeError, "^y must be a plain array"),
        (SIGNS.astype(object), (-1, 1), TypeError, "^y must be made of numbers"),
    ],
)  # fmt: skip
def test_labels_that_are_refused(y, labels, error, text):
    with pytest.raises(error, match=text):
        lf.LogisticLoss.from_data(X, y, labels=labels)


def test_margins_and_classes_of_tables():
    assert_array_equal(
        max_margin(FRAME, pd.Series(SIGNS > 0)).direction, max_margin(X, SIGNS).direction
    )
    words = pd.Series(np.where(SIGNS > 0, "b", "a"))
    expected = lf.CrossEntropyLoss.from_data(X, (SIGNS > 0) * 1)
    assert lf.CrossEntropyLoss.from_data(FRAME, words) == expected
    assert lf.CrossEntropyLoss.from_data(FRAME, words.astype("category")) == expected


def test_polars():
    y = polars(Y)
    table = pytest.importorskip("polars").DataFrame({"a": X[:, 0], "b": Y > 0})
    plain = np.column_stack([X[:, 0], Y > 0])
    assert lf.SquaredLoss.from_data(table, y) == lf.SquaredLoss.from_data(plain, Y)
    assert lf.LogisticLoss.from_data(table, polars(Y > 0)) == lf.LogisticLoss.from_data(
        plain, SIGNS
    )
    words = polars(np.where(SIGNS > 0, "b", "a"))
    assert lf.CrossEntropyLoss.from_data(X, words).targets[:, 1].tolist() == (SIGNS > 0).tolist()


class Tensor:
    """As PyTorch's are: no array of those that have a gradient, and a dtype that NumPy does not know."""

    dtype = "torch.float32"

    def __init__(self, array, *, has_gradient=True):
        self.array, self.has_gradient = array, has_gradient

    def detach(self):
        return Tensor(self.array, has_gradient=False)

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        if self.has_gradient:
            msg = "Can't call numpy() on Tensor that requires grad."
            raise RuntimeError(msg)
        return self.array


Tensor.__module__ = "torch.nn.parameter"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_keep_their_kind_of_numbers(dtype):
    loss = lf.SquaredLoss.from_data(X, Y)
    start = [Tensor(np.ones(shape, dtype)) for shape in ((4, 3), (1, 4))]
    run = lf.train(lf.Dense((3, 4, 1)), loss, start, method=lf.GradientDescent(0.01), n_steps=2)
    assert run.final.weights[0].dtype == dtype


def test_scales_say_how_many_runs_there_are():
    network = lf.Dense((3, 4, 2))
    for make in (initialization.gaussian, initialization.orthogonal, initialization.balanced):
        own = make(network, scale=[[0.1], [1.0]], rng=0)
        for one, other in zip(
            own, make(network, scale=[[0.1], [1.0]], rng=0, batch_shape=(2, 1)), strict=True
        ):
            assert_array_equal(one, other)
    factors = initialization.constant(network, scale=[[1.0], [2.0]], layer_scales=np.ones((3, 2)))
    assert factors[0].shape == (2, 3, 4, 3)
    with pytest.raises(ValueError, match=r"^scale must have run axes that broadcast"):
        initialization.gaussian(network, scale=[0.1, 1.0], rng=0, batch_shape=())


def test_targets_are_columns_of_one_file(tmp_path):
    path = tmp_path / "houses.csv"
    path.write_text("a,price,b,rent\n1,2.5,3,4\n5,6,7,8\n9,1,2,3\n")
    for columns in ("rent,price", ["rent", "price"], "4, 2"):
        data = datasets.load(path, targets_from=columns)
        assert data.X.tolist() == [[1, 3], [5, 7], [9, 2]]
        assert data.Y.tolist() == [[4, 2.5], [8, 6], [3, 1]]
    refused = {
        "cost": "no column 'cost'",
        "a,a": "columns must be named once each",
        "1,2,3,4": "must have inputs beside the columns 1, 2, 3, 4",
    }
    for columns, text in refused.items():
        with pytest.raises(ValueError, match=text):
            datasets.load(path, targets_from=columns)
    with pytest.raises(ValueError, match=r"^targets_from must be left out of all but"):
        datasets.load("iris", targets_from="1")
    with pytest.raises(ValueError, match=r"^labels_from must be left out"):
        datasets.load(path, targets_from="a", labels_from="price")
    with pytest.raises(
        ValueError, match=r"^targets_from must be left out where there is a targets_file"
    ):
        datasets.load(path, path, targets_from="a")
