"""Pictures of sweeps: medians, edges of cells, what diverged, and scales."""

from __future__ import annotations

import itertools
import sys

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.plot import _sweep_axis, curves, heatmap
from linnet_fast.plot import grid as small_multiples

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Patch
from sweep_pictures import (
    DIVERGED,
    PENDING,
    SCALES,
    STEP_SIZES,
    bar_of,
    cells_drawn_over,
    cells_of,
    contain,
    entries,
    grid,
    medians,
    mesh_of,
    random_design,
    sweep,
    training,
)


class TestHeatmap:
    def test_medians_over_the_seeds(self):
        data = grid()
        ax = heatmap(data)
        assert_allclose(
            mesh_of(ax).get_array(), medians(data.final_loss, ("step_size", "scale")), rtol=1e-14
        )
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "step size")
        assert bar_of(ax).ax.get_ylabel() == "final loss"
        assert ax.get_legend() is None

    def test_over_other_parameters_too(self):
        data = sweep({"n_layers": [2, 3], "scale": SCALES, "step_size": STEP_SIZES, "seed": [0, 1]})
        ax = heatmap(data)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "step size")
        expected = medians(data.final_loss, ("step_size", "scale"))
        assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)

    def test_select(self):
        data = sweep({"n_layers": [2, 3], "scale": SCALES, "step_size": STEP_SIZES, "seed": [0, 1]})
        ax = heatmap(data, select={"n_layers": 3, "step_size": 0.3}, y="seed")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "seed")
        expected = data.final_loss.sel(n_layers=3, step_size=0.3).transpose("seed", "scale")
        assert_allclose(mesh_of(ax).get_array(), expected)
        ax = heatmap(data, select={"n_layers": 3})
        expected = medians(data.final_loss.sel(n_layers=3), ("step_size", "scale"))
        assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)

    def test_selected_parameters_are_not_drawn_unasked(self):
        data = sweep({"n_layers": [2, 3], "scale": SCALES, "step_size": STEP_SIZES})
        ax = heatmap(data, select={"scale": SCALES[2]})
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of layers", "step size")

    def test_numbers_of_select_may_differ_by_rounding(self):
        data = sweep({"scale": [0.1 + 0.2, 0.3 + 1e-6], "width": [1, 2], "step_size": [3, 4]})
        ax = heatmap(data, select={"scale": 0.3})
        assert_allclose(mesh_of(ax).get_array(), data.final_loss[0].T)

    def test_choice_of_parameters(self):
        data = grid()
        ax = heatmap(data, x="step_size")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("step size", "scale")
        expected = medians(data.final_loss, ("scale", "step_size"))
        assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)
        ax = heatmap(data, y="scale")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("step size", "scale")

    def test_choice_of_variable(self):
        data = grid()
        ax = heatmap(data, "other")
        expected = medians(data.other, ("step_size", "scale"))
        assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)
        assert bar_of(ax).ax.get_ylabel() == "other"
        assert bar_of(heatmap(data.drop_vars("final_loss"))).ax.get_ylabel() == "other"

    def test_names_of_the_dataset(self):
        data = grid()
        data.final_loss.attrs["long_name"] = "loss at the end"
        data.scale.attrs["long_name"] = "size of the start"
        ax = heatmap(data)
        assert ax.get_xlabel() == "size of the start"
        assert bar_of(ax).ax.get_ylabel() == "loss at the end"

    def test_draws_into_the_axes_it_is_given(self):
        _, (left, right) = plt.subplots(1, 2)
        assert heatmap(grid(), ax=right) is right
        assert not left.collections
        assert len(plt.get_fignums()) == 1
        assert plt.gca() is not bar_of(right).ax

    def test_in_memory_or_not(self, tmp_path):
        grid().to_netcdf(tmp_path / "sweep.nc")
        with xr.open_dataset(tmp_path / "sweep.nc", engine="netcdf4") as lazy:
            ax = heatmap(lazy, select={"seed": 2})
            expected = grid().final_loss.sel(seed=2).T
            assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)


class TestCells:
    @pytest.mark.parametrize(
        ("places", "scale"),
        [
            (SCALES, "log"),
            ([1, 3, 10, 30, 100], "log"),
            ([1, 2, 4, 8], "log"),
            ([1e-3, 2e-3, 0.5, 1.0], "log"),
            ([0.001, 1.0], "log"),
            (STEP_SIZES, "linear"),
            ([0.0, 0.1, 1.0, 1000.0], "linear"),
            ([-1.0, 1.0, 10.0, 1000.0], "linear"),
            ([1, 2, 3, 7], "linear"),
            (np.arange(1, 201), "linear"),
            ([10, 20], "linear"),
            ([5], "linear"),
            ([0], "linear"),
            ([-3.0], "linear"),
        ],
    )
    def test_edges_contain_the_places(self, places, scale):
        places = np.asarray(places)
        data = sweep({"width": places, "b": [0, 1, 3]})
        ax = heatmap(data, x="width", y="b")
        assert (ax.get_xscale(), ax.get_yscale()) == (scale, "linear")
        x, y = cells_of(ax)
        assert contain(x, places)
        assert_allclose(y, [-0.5, 0.5, 2, 4])
        assert ax.get_xlim() == (x[0], x[-1])
        assert ax.get_ylim() == (y[0], y[-1])
        at, x = (np.log(places), np.log(x)) if scale == "log" else (places, x)
        assert_allclose(x[1:-1], (at[1:] + at[:-1]) / 2, atol=1e-12)

    def test_in_any_order(self):
        data = grid()
        expected = mesh_of(heatmap(data))
        for changed in (
            data.isel(scale=slice(None, None, -1)),
            data.isel(step_size=[3, 1, 0, 4, 2]),
            data.transpose("seed", "step_size", "scale"),
        ):
            mesh = mesh_of(heatmap(changed, x="scale", y="step_size"))
            assert_array_equal(mesh.get_array(), expected.get_array())
            assert_array_equal(mesh.get_coordinates(), expected.get_coordinates())

    def test_words(self):
        words = ["orthogonal", "gaussian", "balanced"]
        data = sweep({"init": words, "scale": SCALES, "seed": range(3)})
        ax = heatmap(data, x="init", y="scale")
        assert [text.get_text() for text in ax.get_xticklabels()] == words
        assert_array_equal(ax.get_xticks(), [0, 1, 2])
        assert_allclose(cells_of(ax)[0], [-0.5, 0.5, 1.5, 2.5])
        expected = medians(data.final_loss, ("scale", "init"))
        assert_allclose(mesh_of(ax).get_array(), expected, rtol=1e-14)

    def test_wide_words_are_turned(self):
        data = sweep({"init": [f"a very long word {i}" for i in range(6)], "scale": SCALES})
        assert {text.get_rotation() for text in heatmap(data, x="init").get_xticklabels()} == {30}

    def test_few_values_have_a_tick_each(self):
        data = sweep({"n_layers": [1, 2, 3, 8], "scale": [1e-6, 1e-4, 1e-2, 1.0]})
        ax = heatmap(data)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "3", "8"]
        labels = [text.get_text() for text in ax.get_yticklabels()]
        assert labels == ["$10^{-6}$", "$10^{-4}$", "0.01", "1"]

    @pytest.mark.parametrize(
        "places",
        [
            np.linspace(0.1111, 0.7777, 8),
            np.linspace(1.11, 1.18, 8),
            np.geomspace(2e-7, 8e3, 8),
            [1.2e-6, 3.4e-5, 5.6e-4, 7.8e-3],
            np.geomspace(0.11, 0.19, 9),
            np.geomspace(0.111, 0.444, 3),
        ],
    )
    def test_ticks_do_not_overlap(self, places):
        figure, ax = plt.subplots(figsize=(2.4, 2), layout="constrained")
        heatmap(sweep({"a": places, "b": [1, 2]}), ax=ax)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.get_xticklabels() if text.get_text()]
        assert len(boxes) > 1
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))

    def test_ticks_of_less_than_two_decades(self):
        ax = heatmap(sweep({"a": np.geomspace(0.02, 0.9, 12), "b": [1, 2]}))
        ticks = [tick for tick in ax.get_xticks() if 0.02 <= tick <= 0.9]
        assert_allclose(ticks, [0.02, 0.05, 0.1, 0.2, 0.5])

    def test_ticks_of_many_whole_numbers_are_whole(self):
        ax = heatmap(sweep({"a": np.arange(1, 12), "b": [1, 2]}))
        assert_array_equal(ax.get_xticks(), np.rint(ax.get_xticks()))

    def test_values_that_are_not_round_have_none(self):
        ax = heatmap(sweep({"a": np.geomspace(1e-4, 3, 8), "b": [1, 2]}))
        ticks = [tick for tick in ax.get_xticks() if 1e-4 <= tick <= 3]
        assert_allclose(ticks, [1e-4, 1e-3, 1e-2, 0.1, 1])

    def test_parameters_that_change_with_another(self):
        """Two depths of the same width: their runs share a cell."""
        data = sweep({"n_layers": [2, 3, 4], "scale": SCALES, "seed": range(3)})
        data = data.assign_coords(width=("n_layers", [10, 5, 10]))
        ax = heatmap(data, x="width", y="scale")
        expected = np.array(
            [np.median(data.final_loss[layers], axis=(0, 2)) for layers in ([1], [0, 2])]
        )
        assert_allclose(mesh_of(ax).get_array(), expected.T, rtol=1e-14)

    @pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1)])
    def test_one_row(self, shape):
        data = sweep({"a": range(shape[0]), "b": range(shape[1])})
        ax = heatmap(data)
        assert_allclose(mesh_of(ax).get_array(), data.final_loss.T)
        assert [len(edges) - 1 for edges in cells_of(ax)] == list(shape)


class TestColors:
    def test_logarithmic_over_decades(self):
        norm = mesh_of(heatmap(grid())).norm
        assert isinstance(norm, LogNorm)
        median = medians(grid().final_loss, ("scale", "step_size"))
        assert_allclose((norm.vmin, norm.vmax), (median.min(), median.max()))

    def test_linear_else(self):
        norm = mesh_of(heatmap(grid(low=0.5))).norm
        assert type(norm) is Normalize
        data = grid()
        data["final_loss"] -= 0.01
        assert type(mesh_of(heatmap(data)).norm) is Normalize

    def test_zero_but_for_rounding(self):
        data = sweep({"a": [1, 2], "b": [1, 2]})
        data["final_loss"].values = [[1.0, 1e-8], [0.0, -1e-18]]
        mesh = mesh_of(heatmap(data))
        assert isinstance(mesh.norm, LogNorm)
        assert (mesh.norm.vmin, mesh.norm.vmax) == (1e-8, 1)
        assert mesh.colorbar.extend == "min"
        assert (mesh.get_array()[:, 1] < 1e-8).all()
        assert not np.ma.getmaskarray(mesh.norm(mesh.get_array())).any()

    def test_noise_is_no_part_of_the_scale(self):
        data = sweep({"a": [1, 2], "b": [1, 2, 3]})
        data["final_loss"].values = [[1.0, 1e-8, 2e-17], [0.0, -3e-16, 4e-14]]
        norm = mesh_of(heatmap(data)).norm
        assert (norm.vmin, norm.vmax) == (4e-14, 1)
        data["final_loss"].values = [[1.0, 1e-8, 2e-17], [1.0, 3e-16, 4e-14]]
        assert mesh_of(heatmap(data)).norm.vmin == 2e-17  # none is zero: they may be right

    @pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-30])
    def test_all_equal(self, value):
        data = grid()
        data["final_loss"][:] = value
        mesh = mesh_of(heatmap(data))
        assert mesh.norm.vmin < value < mesh.norm.vmax
        assert_array_equal(mesh.colorbar.get_ticks(), [value])

    def test_counts_have_whole_ticks(self):
        data = grid()
        data["learned_rank"] = data.final_loss.dims, np.arange(7 * 5 * 4).reshape(7, 5, 4) // 40
        ticks = bar_of(heatmap(data, "learned_rank")).get_ticks()
        assert_array_equal(ticks, np.rint(ticks))


class TestDivergence:
    def test_cells(self):
        status = np.zeros((7, 5, 4))
        status[5:, 4], status[6, 3, :2], status[0, 0, 0] = DIVERGED, DIVERGED, DIVERGED
        data = grid(status=status)
        ax = heatmap(data)
        hatched = cells_drawn_over(ax, hatched=True)
        assert len(hatched) == 2
        x, y = cells_of(ax)
        for column, vertices in zip((5, 6), hatched, strict=True):
            assert_allclose(vertices.min(axis=0), (x[column], y[4]))
            assert_allclose(vertices.max(axis=0), (x[column + 1], y[5]))
        (dots,) = ax.lines
        assert_allclose(dots.get_xydata(), [(SCALES[0], 0.1), (SCALES[6], 0.4)])
        assert entries(ax) == ["all diverged", "some diverged"]
        patch = ax.get_legend().get_patches()[0]
        assert isinstance(patch, Patch)
        assert patch.get_hatch()
        masked = np.ma.getmaskarray(mesh_of(ax).get_array())
        assert_array_equal(np.argwhere(masked), [(4, 5), (4, 6)])
        assert mesh_of(ax).get_array()[3, 6] == pytest.approx(np.median(data.final_loss[6, 3, 2:]))

    def test_values_before_divergence_do_not_count(self):
        data = grid()
        expected = np.median(data.final_loss[2, 1, 1:])
        data["status"][2, 1, 0] = DIVERGED
        assert mesh_of(heatmap(data)).get_array()[1, 2] == pytest.approx(expected)

    def test_all(self):
        ax = heatmap(grid(status=np.full((7, 5, 4), DIVERGED)))
        assert len(cells_drawn_over(ax, hatched=True)) == 35
        assert np.ma.getmaskarray(mesh_of(ax).get_array()).all()
        assert mesh_of(ax).colorbar is None
        assert entries(ax) == ["all diverged"]

    def test_pending_cells_are_blank(self):
        status = np.zeros((7, 5, 4))
        status[3:] = PENDING
        status[2, :, 1:] = PENDING
        data = grid(status=status)
        ax = heatmap(data)
        assert not [c for c in ax.collections if isinstance(c, PolyCollection) and c.get_hatch()]
        assert len(cells_drawn_over(ax, hatched=False)) == 0
        assert not ax.lines
        array = mesh_of(ax).get_array()
        assert np.ma.getmaskarray(array)[:, 3:].all()
        assert_allclose(array[:, 2], data.final_loss[2, :, 0])
        assert ax.get_xlim()[1] > 1

    def test_pending_and_diverged(self):
        status = np.full((7, 5, 4), PENDING)
        status[0, 0, 0] = DIVERGED
        ax = heatmap(grid(status=status))
        assert entries(ax) == ["some diverged"]
        assert len(cells_drawn_over(ax, hatched=True)) == 0

    def test_no_value(self):
        """What most seeds never learn has no time; a median of finite ones would be wrong."""
        data = grid()
        data["time_learned"] = data.final_loss.copy()
        data["time_learned"][0, 0] = [1.0, np.inf, np.inf, np.inf]
        data["time_learned"][1, 0] = [1.0, 2.0, 3.0, np.inf]
        data["time_learned"][2, 0] = np.nan
        ax = heatmap(data, "time_learned")
        assert len(cells_drawn_over(ax, hatched=False)) == 2
        assert entries(ax) == ["no value"]
        assert mesh_of(ax).get_array()[0, 1] == 2.5

    @pytest.mark.parametrize("width", [2.5, 6.4])
    def test_legend_covers_nothing(self, width):
        status = np.zeros((7, 5, 4))
        status[5:, 4], status[0, 0, 0] = DIVERGED, DIVERGED
        figure, ax = plt.subplots(figsize=(width, 3), layout="constrained")
        heatmap(grid(status=status), ax=ax).set_title("a title")
        figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        assert legend.y1 <= ax.xaxis.get_tightbbox().y0
        assert legend.y0 >= 0
        assert not legend.overlaps(bar_of(ax).ax.get_tightbbox())


class TestRandomDesign:
    def test_points(self):
        data = random_design()
        ax = heatmap(data)
        (points,) = ax.collections
        assert_allclose(points.get_offsets(), np.stack([data.scale, data.step_size], axis=1))
        assert_allclose(points.get_array(), np.median(data.final_loss, axis=1), rtol=1e-14)
        assert isinstance(points.norm, LogNorm)
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "step size")
        assert points.colorbar.ax.get_ylabel() == "final loss"

    def test_how_runs_ended(self):
        status = np.zeros((30, 3))
        status[:2], status[2, 0], status[3:5] = DIVERGED, DIVERGED, PENDING
        data = random_design(status=status)
        ax = heatmap(data)
        assert len(ax.collections[0].get_offsets()) == 26
        crosses, rings = ax.lines
        at = np.stack([data.scale, data.step_size], axis=1)
        assert_allclose(crosses.get_xydata(), at[:2])
        assert_allclose(rings.get_xydata(), at[2:3])
        assert entries(ax) == ["all diverged", "some diverged"]
        low, high = ax.get_xlim()
        assert low < data.scale.min() <= data.scale.max() < high  # also of those pending

    def test_with_an_index(self):
        data = random_design().assign_coords(run=np.arange(30))
        assert len(heatmap(data).collections[0].get_offsets()) == 30

    def test_words_and_select(self):
        data = random_design()
        ax = heatmap(data, x="init")
        assert [text.get_text() for text in ax.get_xticklabels()] == ["gaussian", "balanced"]
        (points,) = ax.collections
        assert_array_equal(points.get_offsets()[:, 0], np.arange(30) % 2)
        (points,) = heatmap(data, select={"init": "balanced"}).collections
        assert_allclose(points.get_offsets()[:, 0], data.scale[1::2])

    def test_none_left(self):
        status = np.full((30, 3), DIVERGED)
        assert entries(heatmap(random_design(status=status))) == ["all diverged"]
        ax = heatmap(random_design(status=np.full((30, 3), PENDING)))
        assert ax.get_legend() is None

    def test_one_run(self):
        assert len(heatmap(random_design(1)).collections[0].get_offsets()) == 1

    def test_curves_are_points(self):
        data = random_design()
        ax = curves(data, select={"init": "gaussian"})
        (points,) = ax.lines
        assert points.get_linestyle() == "None"
        order = np.argsort(data.scale[::2].to_numpy())
        assert_allclose(points.get_xdata(), data.scale[::2][order])
        expected = np.median(data.final_loss[::2], axis=1)[order]
        assert_allclose(points.get_ydata(), expected, rtol=1e-14)
        (bars,) = ax.collections
        assert len(bars.get_segments()) == 15

    def test_curves_by_what_varies_too(self):
        data = random_design().drop_vars("step_size")
        ax = curves(data)
        assert entries(ax) == ["gaussian", "balanced", "middle 80 %"]
        for i, line in enumerate(ax.lines):
            order = np.argsort(data.scale[i::2].to_numpy())
            assert line.get_linestyle() == "-"  # scale alone varies along it
            assert_allclose(line.get_xdata(), data.scale[i::2][order])
            expected = np.median(data.final_loss[i::2], axis=1)[order]
            assert_allclose(line.get_ydata(), expected, rtol=1e-14)


class TestErrors:
    @pytest.mark.parametrize("draw", [heatmap, curves])
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"of": "final_los"}, ValueError, "of must be one of .*did you mean 'final_loss'"),
            ({"of": "status"}, ValueError, "of must be one of stopped_at, other, final_loss"),
            ({"of": 3}, TypeError, "of must be a string"),
            ({"x": "scal"}, ValueError, "x must be one of scale, .*; got 'scal'; did you mean"),
            ({"x": 3}, TypeError, "x must be a string, one of scale, step_size, seed; got int"),
            ({"select": {"sede": 1}}, ValueError, "select must be one of .* did you mean 'seed'"),
            ({"select": "seed"}, TypeError, "select must be a Mapping, got str"),
            ({"select": {"seed": 7}}, ValueError, r"select\['seed'\] must be one of 0, .*; got 7"),
            (
                {"select": {"step_size": 0.31}},
                ValueError,
                r"select\['step_size'\] must be one of 0.1, 0.2, 0.3, 0.4, 0.5; got 0.31",
            ),
            ({"select": {"scale": "1.0"}}, ValueError, r"select\['scale'\] .*; got '1.0'"),
            ({"select": {"seed": [1, 2]}}, TypeError, "must be a number or a string, got list"),
            (
                {"x": "scale", "select": {"scale": 1.0}},
                ValueError,
                "x must not be fixed by select, got 'scale' in both",
            ),
        ],
    )
    def test_arguments(self, draw, arguments, error, message):
        with pytest.raises(error, match=message):
            draw(grid(), **arguments)
        assert not plt.get_fignums()

    @pytest.mark.parametrize("draw", [heatmap, curves])
    def test_data(self, draw):
        with pytest.raises(TypeError, match="data must be a Dataset, got DataArray"):
            draw(grid().final_loss)
        with pytest.raises(ValueError, match=r"data must have the variable status, .* got .*other"):
            draw(grid().drop_vars("status"))
        with pytest.raises(ValueError, match=r"of must be given, .*swept parameters alone; one of"):
            draw(training()[["loss", "learning_times", "status"]])
        assert not plt.get_fignums()

    def test_heatmap_needs_two_parameters(self):
        data = sweep({"scale": SCALES, "seed": range(3)})
        with pytest.raises(ValueError, match=r"two swept parameters .* got scale; `curves` draws"):
            heatmap(data)
        with pytest.raises(ValueError, match=r"two swept parameters .* got none"):
            heatmap(data, select={"scale": 1.0})
        with pytest.raises(ValueError, match="y must be another parameter than x, got 'scale'"):
            heatmap(data, x="scale", y="scale")

    def test_curves_need_one(self):
        data = sweep({"scale": SCALES, "seed": range(3)})
        with pytest.raises(ValueError, match=r"data must have a swept parameter .* got none"):
            curves(data, by="scale")
        with pytest.raises(ValueError, match="by must be another parameter than x, got 'scale'"):
            curves(data, x="scale", by="scale")
        with pytest.raises(ValueError, match="by must be one of scale, seed; got 'sed'"):
            curves(data, by="sed")

    def test_dims_that_are_no_parameters_have_to_be_fixed(self):
        message = "select must fix 'mode' of learning_times, one of 0, 1, 2, 3"
        with pytest.raises(ValueError, match=message):
            heatmap(training(), "learning_times", y="seed")
        with pytest.raises(ValueError, match=message):
            curves(training(), "learning_times", by="seed")
        assert not plt.get_fignums()

    def test_long_lists_are_cut(self):
        data = sweep({"a": range(100), "b": [1, 2], "c": [1, 2]})
        message = r"select\['a'\] must be one of 0, 1, 2, 3, 4, 5, ..., 94, .*, 99; got 200"
        with pytest.raises(ValueError, match=message):
            heatmap(data, select={"a": 200})

    def test_needs_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        for draw in (heatmap, curves):
            with pytest.raises(ImportError, match="extra plot"):
                draw(grid())


def test_quantiles_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(9, 40))
    values[np.random.default_rng(1).uniform(size=values.shape) < 0.3] = np.nan
    expected = np.nanquantile(values, (0.1, 0.5, 0.9), axis=0)
    assert_allclose(_sweep_axis._quantiles(values), expected, rtol=1e-14)


class TestGrid:
    def test_panels_are_curves_of_each_value_on_the_same_axes(self):
        data = sweep(
            {
                "n_layers": [2, 3],
                "width": [4, 8, 16],
                "scale": SCALES,
                "kind": ["a", "b"],
                "seed": [0, 1],
            }
        )
        data["final_loss"][0, 0] *= 1e-3
        figure = small_multiples(data, columns="width", rows="n_layers", x="scale", by="kind")
        axes = np.array(figure.axes).reshape(2, 3)
        assert [ax.get_title() for ax in axes[0]] == ["width 4", "width 8", "width 16"]
        assert axes[1, 0].get_ylabel() == "number of layers 3\nfinal loss"
        for i, n_layers in enumerate([2, 3]):
            for j, width in enumerate([4, 8, 16]):
                chosen = data.final_loss.sel(n_layers=n_layers, width=width)
                for line, kind in zip(axes[i, j].lines, ["a", "b"], strict=True):
                    expected = medians(chosen.sel(kind=kind), ("scale",))
                    assert_allclose(line.get_ydata(), expected, rtol=1e-14)
        assert len({(ax.get_ylim(), ax.get_xlim(), ax.get_yscale()) for ax in axes.flat}) == 1
        legends = [ax.get_legend() is not None for ax in axes.flat]
        assert legends == [False, False, True, False, False, False]
        plt.close(figure)

    def test_select_and_records(self):
        data = training()
        figure = small_multiples(data, "loss", columns="scale", select={"seed": 0})
        assert [ax.get_xlabel() for ax in figure.axes] == ["step", "step"]
        plt.close(figure)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"columns": "depth"}, "^columns must be"),
            ({"columns": "scale", "rows": "scale"}, "a parameter of its own, got 'scale' twice"),
            ({"columns": "scale", "x": "scale"}, "a parameter of its own, got 'scale' twice"),
            ({"columns": "scale", "rows": "step_size"}, "^columns must make at most 64 panels"),
        ],
    )
    def test_what_is_wrong_is_said(self, options, message):
        data = sweep({"scale": np.geomspace(1e-3, 1, 13), "step_size": STEP_SIZES, "seed": [0]})
        with pytest.raises(ValueError, match=message):
            small_multiples(data, **options)


def test_integers_have_a_colour_each_and_no_others():
    data = grid()
    ranks = np.arange(data.final_loss.size).reshape(data.final_loss.shape) % 5
    data["rank"] = (data.final_loss.dims, ranks.astype(float))
    ax = heatmap(data, "rank", select={"seed": 0})
    bar = bar_of(ax)
    assert bar.get_ticks().tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(bar.cmap(bar.norm(np.arange(5))), axis=0)) == 5
    assert bar.norm.boundaries.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]


def test_a_curve_without_values_is_named_so():
    data = grid()
    data["final_loss"] = data.final_loss.copy()
    data.final_loss[{"step_size": 1}] = np.nan
    ax = curves(data, "final_loss", x="scale", by="step_size")
    names = entries(ax)
    assert [name for name in names if name.endswith("(no value)")] == [f"{names[1]}"]
