"""Tables and pictures of sweeps: which dimensions they show, and how."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from linnet_fast._base import wording
from linnet_fast.cli import sweep_picture, sweep_table


def dataset(values, status=None, **coords):
    """Return a dataset like a sweep's."""
    values = np.asarray(values, float)
    dims = tuple(coords)
    status = np.zeros(values.shape[: len(dims)], np.int8) if status is None else status
    inner = tuple(f"inner_{i}" for i in range(values.ndim - len(dims)))
    kept = {k: v for k, v in coords.items() if v is not None}
    data = {"final_loss": ((*dims, *inner), values), "status": (dims, status)}
    return xr.Dataset(data, kept)


class TestTable:
    def test_two_parameters(self):
        values = np.arange(12.0).reshape(2, 3, 2)
        status = np.zeros(values.shape, np.int8)
        status[0, 0, 0] = status[1, 1] = 2
        status[1, 2] = -1
        data = dataset(values, status, a=[1, 2], b=[0.1, 0.2, 1e-7], seed=[0, 1])
        assert sweep_table.table(data).splitlines() == [
            "final_loss, median over 2 seeds",
            "",
            r"a \ b      0.1       0.2     1e-7",
            "---------------------------------",
            "    1    1 (1)       2.5      4.5",
            "    2  6.5      diverged  pending",
            "",
            "(n): so many runs diverged, the median is of the others.",
        ]

    def test_numbers_are_medians(self):
        rng = np.random.default_rng(0)
        values = rng.random((3, 4, 5))
        data = dataset(values, a=[1, 2, 3], b=list("wxyz"), seed=None)
        rows = [line.split() for line in sweep_table.table(data).splitlines()[4:7]]
        shown = np.array([[float(x) for x in row[1:]] for row in rows])
        np.testing.assert_allclose(shown, np.median(values, axis=-1), rtol=1e-3)

    def test_one_parameter(self):
        data = dataset([[1, 2, 3], [4, np.nan, 6]], [[0, 0, 0], [0, 2, 0]], a=[1, 2], seed=None)
        lines = sweep_table.table(data).splitlines()
        assert lines[2].split() == ["a", "median", "least", "greatest", "diverged"]
        assert [line.split() for line in lines[4:]] == [
            ["1", "2", "1", "3", "0"],
            ["2", "5", "4", "6", "1"],
        ]

    def test_no_parameter(self):
        text = sweep_table.table(dataset([1.0, 2.0, 4.0], seed=None))
        assert text == "final_loss: 2, 0 diverged"

    def test_long_ones_are_thinned(self):
        data = dataset(np.ones((40, 30, 1)), a=range(40), b=range(30), seed=[0])
        text = sweep_table.table(data)
        assert "14 of 40 values of a are shown.\n10 of 30 values of b are shown." in text
        lines = text.splitlines()
        assert lines[2].split()[3:] == ["0", "3", "6", "10", "13", "16", "19", "23", "26", "29"]
        assert [line.split()[0] for line in lines[4:18]] == [str(3 * i) for i in range(14)]
        scales = np.geomspace(1e-8, 10, 37)
        text = sweep_table.table(dataset(np.ones((37, 1)), a=scales, seed=[0]))
        rows = [line.split()[0] for line in text.splitlines()[4:14]]
        assert rows == [f"1e-{k}" for k in range(8, 2, -1)] + ["0.01", "0.1", "1", "10"]

    def test_other_parameters_get_tables_of_their_own(self):
        data = dataset(np.ones((5, 4, 2, 3)), a=range(5), b=range(4), c=[7, 8], seed=None)
        text = sweep_table.table(data)
        assert "c 7" in text
        assert "c 8" in text
        data = dataset(np.ones((7, 8, 6, 3)), a=range(7), b=range(8), c=range(6), seed=None)
        assert "median over c and 3 seeds" in sweep_table.table(data)

    def test_variables_with_axes(self):
        data = dataset(np.ones((5, 2, 3)), a=range(5), seed=None)
        assert r"a \ inner_0" in sweep_table.table(data)
        data = dataset(np.ones((5, 4, 2, 1)), a=range(5), b=range(4), seed=None)
        assert r"a \ b" in sweep_table.table(data)

    def test_records_are_shown_at_their_end(self):
        values = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
        data = dataset(values, a=[1, 2]).rename(inner_0="step")
        lines = sweep_table.table(data).splitlines()
        assert lines[0] == "final_loss at the end"
        assert [line.split()[1] for line in lines[4:]] == ["2", "5"]

    def test_random_designs_list_the_best(self):
        values = np.array([[3.0, 3.0], [1.0, 2.0], [np.nan, np.nan], [0.5, 1.0]])
        status = np.zeros((4, 2), np.int8)
        status[2] = 2
        data = dataset(values, status, run=range(4), seed=None)
        data = data.assign_coords(scale=("run", [0.1, 0.2, 0.3, 0.4]))
        lines = sweep_table.table(data).splitlines()
        assert lines[0] == "final_loss, median over 2 seeds, the 4 least of 4 runs"
        assert [line.split() for line in lines[4:]] == [
            ["3", "0.4", "0.75", "0"],
            ["1", "0.2", "1.5", "0"],
            ["0", "0.1", "3", "0"],
            ["2", "0.3", "-", "2"],
        ]
        assert sweep_table.table(data, x="scale").splitlines()[2].split()[0] == "scale"

    def test_an_axis_of_a_variable_is_drawn_once(self):
        data = dataset(np.ones((5, 2, 3)), a=range(5), seed=None)
        assert r"inner_0 \ a" in sweep_table.table(data, x="inner_0")

    def test_what_does_not_vary_with_seeds(self):
        assert sweep_table.table(dataset(1.0)) == "final_loss: 1, 0 diverged"

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.0, "0"), (0.155011, "0.155"), (1e-6, "1e-6"), (2.5e-7, "2.5e-7"), (20000.0, "20000"),
         (1e5, "1e5"), (-0.5, "-0.5"), (float("inf"), "inf"), (1234.5, "1234"), (-1e-9, "-1e-9")],
    )  # fmt: skip
    def test_numbers(self, value, text):
        assert wording.number(value) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.01, "under 0.1 s"), (5.04, "5.0 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h"),
         (1e6, "11.6 days"), (float("inf"), "?")],
    )  # fmt: skip
    def test_durations(self, seconds, text):
        assert wording.duration(seconds) == text


class TestFolding:
    ROWS = (["a", "bb", "cc"], ["1", "2", "3"], ["10", "", "4444"])

    def test_tables(self):
        bare = wording.ruled(self.ROWS)
        assert bare == wording.ruled(self.ROWS, width=12)
        assert bare.splitlines() == [" a  bb    cc", "------------", " 1   2     3", "10      4444"]
        parts = wording.ruled(self.ROWS, width=11).split("\n\n")
        assert [part.splitlines()[-1] for part in parts] == ["10", "10  4444"]
        # Columns that are too wide stand alone, beside what names the rows.
        assert wording.ruled(self.ROWS, width=1).count("\n\n") == 1
        assert wording.ruled(self.ROWS, width=1, labels=2) == bare
        assert wording.ruled([["a"], ["b"]], width=1) == "a\n-\nb"

    def test_lines(self):
        assert wording.folded("", 20) == ""
        assert wording.folded("a b\n\n  c  d e", 20) == "a b\n\n  c  d e"
        text = "step  0.1 (of the moments)"
        assert wording.folded(text, 16) == "step  0.1 (of\n      the\n      moments)"
        assert wording.folded("a-b " * 8, 20).split() == ["a-b"] * 8
        assert wording.folded("x" * 50, 20) == "x" * 50


class TestDraw:
    def test_panels(self):
        data = dataset(np.ones((5, 12, 2)), a=range(5), b=range(12), seed=None)
        figure = sweep_picture.draw(data, {})
        titles = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes[:2]]
        assert titles == [("a", "b"), ("a", "final loss")]
        assert len(figure.axes[1].lines) == 8, "of many lines some"
        assert len(sweep_picture.draw(data, {"kind": "curves"}).axes) == 1
        one = dataset(np.ones((5, 2)), a=range(5), seed=None)
        assert len(sweep_picture.draw(one, {}, "the title").axes) == 1

    def test_theory(self):
        data = dataset(np.geomspace(1, 1e-3, 10).reshape(5, 2), a=range(1, 6), b=[3, 4])
        theory = [
            {"label": "law", "y": "10 ** -(a - 1) * b"},
            {"label": "law", "y": "0.1 / a"},
            {"label": "edge", "x": "b + 0.5"},
            {"label": "far", "x": 100},
            {"label": "other", "y": 1, "of": "final_rank"},
        ]
        options = {"kind": "curves", "x": "a", "by": "b"}
        bare = sweep_picture.draw(data, options).axes[0]
        ax = sweep_picture.draw(data, options | {"theory": theory}).axes[0]
        assert (ax.get_xlim(), ax.get_ylim()) == (bare.get_xlim(), bare.get_ylim())
        measured, lines = ax.lines[:2], ax.lines[2:]
        shades = [tuple(line.get_color()) for line in measured]
        # A line for each curve in its colour, where it depends on what they differ by; else one.
        assert [tuple(line.get_color()) for line in lines[:2]] == shades
        assert [tuple(line.get_color()) for line in lines[3:5]] == shades
        assert len(lines) == 5, "what is not seen is not drawn"
        for line, b in zip(lines[:2], (3, 4), strict=True):
            x, y = line.get_data()
            np.testing.assert_allclose(y, 10.0 ** (1 - x) * b)
        assert list(lines[4].get_xdata()) == [4.5, 4.5]
        assert {line.get_linestyle() for line in lines} == {"--"}
        found = [text.get_text() for text in ax.get_legend().get_texts()]
        assert found == ["3", "4", "law", "edge"]

    def test_theory_of_a_single_curve(self):
        data = dataset(np.linspace(1, 2, 5), a=range(5))
        theory = [{"label": "law", "y": "1 + a / 4"}]
        ax = sweep_picture.draw(data, {"x": "a", "theory": theory}).axes[0]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["law"]

    def test_inner_axes(self):
        data = dataset(np.ones((5, 4, 2, 3)), a=range(5), b=range(4), seed=None)
        figure = sweep_picture.draw(data, {"select": {"inner_0": 1}})
        assert len(figure.axes) >= 3, "heat map, colour bar, curves"

    def test_numbers_mean_the_labels_that_they_are_shown_as(self):
        data = dataset(np.ones((3, 4, 2)), a=[1 / 3, 2 / 3, 1.0], b=range(4), seed=None)
        select = {"a": 0.3333}
        assert sweep_table.table(data, select=select).splitlines()[2].split()[0] == "b"
        assert len(sweep_picture.draw(data, {"select": select}).axes) == 1

    @pytest.fixture(autouse=True)
    def close(self):
        yield
        from matplotlib import pyplot as plt

        plt.close("all")
