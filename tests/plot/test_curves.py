"""Curves of sweeps: medians and bands over runs, and what was recorded over steps."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.plot import curves, heatmap

mpl.use("agg")
from matplotlib import pyplot as plt
from sweep_pictures import (
    DIVERGED,
    PENDING,
    SCALES,
    STEP_SIZES,
    cells_of,
    contain,
    entries,
    grid,
    mesh_of,
    sweep,
    training,
)


class TestCurves:
    def test_medians_and_bands(self):
        data = grid()
        ax = curves(data)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "final loss")
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert len(ax.lines) == len(ax.collections) == 5
        for i, (line, band) in enumerate(zip(ax.lines, ax.collections, strict=True)):
            low, middle, high = np.quantile(data.final_loss[:, i], (0.1, 0.5, 0.9), axis=-1)
            assert_allclose(line.get_xydata(), np.stack([SCALES, middle], axis=1), rtol=1e-13)
            corners = band.get_paths()[0].vertices
            for edge in (low, high):
                for corner in zip(SCALES, edge, strict=True):
                    assert np.isclose(corners, corner, rtol=1e-12, atol=0).all(axis=1).any()
            assert_allclose(
                (corners[:, 1].min(), corners[:, 1].max()), (low.min(), high.max()), rtol=1e-12
            )
        assert ax.get_legend().get_title().get_text() == "step size"
        assert entries(ax) == ["0.1", "0.2", "0.3", "0.4", "0.5", "middle 80 %"]

    def test_short_numbers(self):
        data = sweep({"a": range(6), "scale": [1e-6, 0.01, 2.0]})
        assert entries(curves(data)) == ["$10^{-6}$", "0.01", "2"]
        data = sweep({"a": range(6), "scale": [1.00001, 1.00002]})
        assert entries(curves(data)) == ["1.00001", "1.00002"]

    def test_infinite_values_of_a_parameter(self):
        data = sweep({"width": [10.0, 1e4, np.inf], "a": range(6)})
        assert entries(curves(data, by="width")) == ["10", "$10^{4}$", r"$\infty$"]
        ax = curves(data, x="width", by="a")
        texts = [text.get_text() for text in ax.get_xticklabels()]
        assert texts == ["10", "$10^{4}$", r"$\infty$"]

    def test_no_seeds_no_bands(self):
        ax = curves(grid().isel(seed=0))
        assert len(ax.lines) == 5
        assert not ax.collections
        assert not curves(grid().isel(seed=[2])).collections

    def test_many_values_are_no_lines_unasked(self):
        data = sweep({"a": range(20), "b": range(13), "seed": range(3)})
        ax = curves(data)
        assert len(ax.lines) == 1
        assert ax.get_legend() is None
        assert_allclose(ax.lines[0].get_ydata(), np.median(data.final_loss, axis=(1, 2)))
        assert len(curves(data, by="b").lines) == 13

    def test_one_parameter(self):
        data = sweep({"scale": SCALES, "seed": range(5)})
        ax = curves(data)
        assert len(ax.lines) == len(ax.collections) == 1
        assert_allclose(ax.lines[0].get_ydata(), np.median(data.final_loss, axis=1))

    def test_choice(self):
        data = sweep({"n_layers": [2, 3], "scale": SCALES, "step_size": STEP_SIZES, "seed": [0, 1]})
        ax = curves(data, "other", x="step_size", by="n_layers", select={"scale": 1.0})
        assert ax.get_xlabel() == "step size"
        assert ax.get_ylabel() == "other"
        assert entries(ax) == ["2", "3", "middle 80 %"]
        expected = data.other.sel(scale=1.0).mean("seed")  # the median of two
        for line, values in zip(ax.lines, expected, strict=True):
            assert_allclose(line.get_ydata(), values)
        pooled = curves(data, x="step_size", by="n_layers")
        assert_allclose(
            pooled.lines[1].get_ydata(), np.median(data.final_loss[1], axis=(0, 2)), rtol=1e-13
        )
        _, (left, right) = plt.subplots(1, 2)
        assert curves(data, ax=right) is right
        assert not left.lines

    def test_diverged_runs_are_left_out(self):
        status = np.zeros((7, 5, 4))
        status[2, 0], status[3, 0, :3], status[:, 4] = DIVERGED, DIVERGED, DIVERGED
        data = grid(status=status)
        ax = curves(data)
        assert_array_equal(np.flatnonzero(np.isnan(ax.lines[0].get_ydata())), [2])
        assert ax.lines[0].get_ydata()[3] == data.final_loss[3, 0, 3]
        assert len(ax.collections[0].get_paths()) == 2  # the band has a gap, too
        assert np.isnan(ax.lines[4].get_ydata()).all()

    def test_all_diverged_or_pending(self):
        for status in (DIVERGED, PENDING):
            ax = curves(grid(status=np.full((7, 5, 4), status)))
            assert all(np.isnan(line.get_ydata()).all() for line in ax.lines)

    def test_one_value(self):
        data = sweep({"scale": [0.1], "seed": range(5)})
        ax = curves(data)
        assert_allclose(ax.lines[0].get_xydata(), [(0.1, np.median(data.final_loss))])
        (segment,) = ax.collections[-1].get_segments()  # the band, which has no width
        assert_allclose(segment[:, 1], np.quantile(data.final_loss, (0.1, 0.9)))

    def test_words(self):
        data = sweep({"init": ["b", "c", "a"], "seed": range(3)})
        ax = curves(data)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["b", "c", "a"]
        assert_allclose(ax.lines[0].get_ydata(), np.median(data.final_loss, axis=1))

    def test_decreasing_values(self):
        data = grid()
        expected = curves(data).lines
        lines = curves(data.isel(scale=slice(None, None, -1))).lines
        for line, other in zip(lines, expected, strict=True):
            assert_array_equal(line.get_xydata(), other.get_xydata())

    def test_counts_have_whole_ticks(self):
        data = sweep({"scale": SCALES})
        data["learned_rank"] = "scale", np.arange(7) // 3
        ticks = curves(data, "learned_rank").get_yticks()
        assert_array_equal(ticks, np.rint(ticks))

    def test_zero_but_for_rounding_lies_on_the_axis(self):
        data = sweep({"scale": SCALES, "seed": range(3)})
        data["final_loss"].values[:] = np.geomspace(1, 1e-12, 7)[:, None]
        data["final_loss"].values[5:, :2] = [[0.0, 1e-17], [-1e-17, 1e-18]]
        data["final_loss"].values[4, 0] = 0.0
        ax = curves(data)
        assert ax.get_yscale() == "log"
        y = ax.lines[0].get_ydata()
        least = y[-1]
        assert least == pytest.approx(1e-8 / 2)
        # Just above the end of the axis, so that points are seen whole.
        ax.figure.canvas.draw()
        above = (ax.transData.transform((1, least)) - ax.bbox.min)[1]
        assert 3 < above < 0.05 * ax.bbox.height
        assert_allclose(y, [*np.geomspace(1, 1e-8, 5), least, least])
        assert ax.collections[0].get_paths()[0].vertices[:, 1].min() == least

    def test_infinite_values_are_gaps(self):
        data = sweep({"scale": SCALES, "seed": range(3)})
        data["time_learned"] = data.final_loss.copy()
        data["time_learned"][0], data["time_learned"][1, 0] = np.inf, np.inf
        y = curves(data, "time_learned").lines[0].get_ydata()
        assert_array_equal(np.isnan(y), [True, *[False] * 6])
        assert y[1] == data.final_loss[1, 1:].max()


class TestRecords:
    def test_over_training(self):
        data = training()
        ax = curves(data, "loss")
        assert ax.get_xlabel() == "step"
        assert ax.get_xscale() == "log"
        assert entries(ax) == ["0.1", "1", "middle 80 %"]
        held = data.loss[0].to_numpy().copy()
        held[1, 3:] = held[1, 2]  # it converged
        for line, values in zip(ax.lines, (held, data.loss[1, :2]), strict=True):
            assert_array_equal(line.get_xdata(), [1, 10, 100, 1000])
            assert_allclose(line.get_ydata(), np.median(values, axis=0)[1:])

    def test_default_variable_is_over_what_is_drawn(self):
        assert curves(training(), x="step").get_ylabel() == "loss"
        assert curves(training(), by="mode").get_ylabel() == "learning times"
        assert curves(training()).get_ylabel() == "final loss"

    def test_of_a_flow(self):
        data = training().drop_vars("learning_times").rename(step="time")
        data = data.assign_coords(time=[0.0, 0.1, 0.2, 0.3, 5.0])
        ax = curves(data, "loss")
        assert (ax.get_xlabel(), ax.get_xscale()) == ("time", "log")
        assert_array_equal(ax.lines[0].get_xdata(), [0.1, 0.2, 0.3, 5.0])

    def test_heatmap(self):
        ax = heatmap(training(), "loss", x="step")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "scale")
        assert mesh_of(ax).get_array().shape == (2, 4)
        assert contain(cells_of(ax)[0], np.array([1, 10, 100, 1000]))

    def test_one_record(self):
        data = training()
        ax = curves(data, "loss", select={"step": 1000}, by="seed")
        assert ax.get_xlabel() == "scale"
        assert_allclose(ax.lines[1].get_ydata(), [data.loss[0, 1, 2], data.loss[1, 1, 4]])

    def test_modes(self):
        data = training()
        ax = curves(data, "learning_times")
        assert ax.get_legend().get_title().get_text() == "mode"
        assert entries(ax) == ["0", "1", "2", "3", "middle 80 %"]
        assert_allclose(
            ax.lines[2].get_ydata(),
            [np.median(data.learning_times[0, :, 2]), np.median(data.learning_times[1, :2, 2])],
        )
        ax = heatmap(data, "learning_times", y="seed", select={"mode": 1})
        assert_allclose(mesh_of(ax).get_array()[:2], data.learning_times[:, :2, 1].T)
        ax = curves(data, "learning_times", x="mode", by="seed")
        assert ax.get_xlabel() == "mode"
