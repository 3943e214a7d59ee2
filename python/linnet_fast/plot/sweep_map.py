"""Heat maps of sweeps: a variable as colour over two swept parameters, in cells or points.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot import _parts
from linnet_fast.plot._sweep_axis import ROOM, Parameter, Pool, all_integers, log_range
from linnet_fast.sweeps.results import ROUNDING, Runs, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from xarray import Dataset

_MOST_SHADES = 16  # of integers
_NO_VALUE = "#c8c8c8"
_LEGEND_SIZE = 8.0


def heatmap(
    data: Dataset,
    of: str | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    select: Mapping[str, object] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a variable of a sweep as colour over two swept parameters.

    The colour is the median over the seeds and over all other swept parameters that `select` does
    not fix; runs that diverged are left out. Cells of which every run diverged are hatched, cells of
    which some did have a dot, and cells without a finite median, such as learning times of what is
    never learned, are plain grey. Cells that are still pending stay blank. If both parameters vary
    together, as in a random design, each of its points is drawn instead, by the same rules: a cross
    where all diverged, a ring where some did.

    Positive parameters that are spaced like powers, or span more than two decades, have a
    logarithmic axis, and values over more than two decades a logarithmic colour, at whose lower end
    is what is zero but for rounding.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    of : str, optional
        The variable; by default ``final_loss``, or else the first over swept parameters alone.
    x, y : str, optional
        Two parameters, or other dims of the variable, as ``"step"``; by default the two parameters
        of the most values, in the order of the dataset.
    select : mapping of str to number or str, optional
        Values of other parameters to draw, such as ``{"n_layers": 2}``. Dims of a variable that
        are no parameters, such as ``mode``, have to be fixed so.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If an argument is of a wrong type.
    ValueError
        If `data` is not of a sweep, a name or a value is not there, or there are not two parameters.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import xarray
    >>> runs = ("scale", "step_size", "seed")
    >>> data = xarray.Dataset(
    ...     {"final_loss": (runs, np.ones((4, 3, 5))), "status": (runs, np.zeros((4, 3, 5), "i1"))},
    ...     {"scale": [1e-6, 1e-4, 1e-2, 1.0], "step_size": [0.1, 0.2, 0.3]},
    ... )
    >>> ax = heatmap(data)
    >>> ax.get_xlabel(), ax.get_xscale(), ax.get_ylabel(), ax.get_yscale()
    ('scale', 'log', 'step size', 'linear')
    """
    _parts.check_axes(ax)
    sweep = Sweep(data)
    of = sweep.variable(of, (x, y))
    fixed = sweep.fixed(of, select, {"x": x, "y": y})
    if x is None or y is None:
        found = iter(sweep.most_valued((x is None) + (y is None), (x, y, *fixed)))
        x = x or next(found, None)
        y = y or next(found, None)
    if x is None or y is None:
        msg = (
            f"data must have two swept parameters that select leaves free, "
            f"got {', '.join(sweep.free(fixed)) or 'none'}; `curves` draws over one"
        )
        raise ValueError(msg)
    if x == y:
        msg = f"y must be another parameter than x, got {y!r} for both"
        raise ValueError(msg)
    sweep.refuse_loose(of, (x, y, *fixed))
    runs = sweep.runs(of, fixed)
    if sweep.parameters(of)[x] == sweep.parameters(of)[y]:
        return _points(runs, x, y, ax)
    return _cells(runs, x, y, ax)


def _cells(runs: Runs, x: str, y: str, ax: Axes | None) -> Axes:
    """Draw a cell for each pair of values."""
    across, up = Parameter(runs, x), Parameter(runs, y)
    pool = Pool(runs, up, across)
    scale = _Colors(pool.median)
    borders = across.edges(), up.edges()
    ax = _parts.new_axes(ax)
    mesh = ax.pcolormesh(*borders, scale.shown, norm=scale.norm, cmap="viridis", rasterized=True)
    ax.set(xlim=borders[0][[0, -1]], ylim=borders[1][[0, -1]])
    collections = files.optional("matplotlib.collections", "plot")
    patches = files.optional("matplotlib.patches", "plot")
    handles = []
    kinds: tuple[tuple[str, npt.NDArray[np.bool_], dict[str, Any]], ...] = (
        (
            "all diverged",
            pool.all_diverged,
            {"facecolor": "#e4e4e4", "edgecolor": "#8c8c8c", "hatch": "/////"},
        ),
        ("no value", pool.no_value, {"facecolor": _NO_VALUE}),
    )
    for name, where, look in kinds:
        if where.any():
            style = {**look, "linewidth": 0}
            corners = [_corners(*borders, column, row) for row, column in np.argwhere(where)]
            ax.add_collection(collections.PolyCollection(corners, **style), autolim=False)
            handles.append(patches.Patch(label=name, **style))
    if pool.some_diverged.any():
        row, column = np.nonzero(pool.some_diverged)
        cell = min(ax.bbox.width / across.places.size, ax.bbox.height / up.places.size)
        size = float(np.clip(0.2 * cell * 72 / ax.figure.dpi, 1.2, 4.0))
        (dots,) = ax.plot(
            across.places[column],
            up.places[row],
            linestyle="none",
            marker="o",
            markersize=size,
            markerfacecolor="white",
            markeredgecolor="black",
            markeredgewidth=0.15 * size,
            label="some diverged",
        )
        handles.insert(1 if pool.all_diverged.any() else 0, dots)
    return _finish(ax, runs, across, up, scale, mesh, handles)


def _points(runs: Runs, x: str, y: str, ax: Axes | None) -> Axes:
    """Draw a point for each entry of the dim along which both parameters vary."""
    across, up = Parameter(runs, x), Parameter(runs, y)
    each = Parameter(runs, across.dim)
    pool = Pool(runs, each)
    scale = _Colors(pool.median)
    first = [member[0] for member in each.members]
    at = np.stack([across.at[first], up.at[first]])
    seen = np.isfinite(scale.shown)
    ax = _parts.new_axes(ax)
    for axis, parameter in (("x", across), ("y", up)):
        ax.set(**{f"{axis}scale": "log" if parameter.log else "linear"})
        ax.set(**{f"{axis}lim": _room(parameter)})
    drawn = ax.scatter(
        at[0, seen],
        at[1, seen],
        c=scale.shown[seen],
        norm=scale.norm,
        cmap="viridis",
        s=34,
        linewidths=0.4,
        edgecolors="white",
        zorder=2,
    )
    handles = []
    style: dict[str, Any] = {"linestyle": "none", "markersize": 5, "zorder": 1.5}
    kinds: tuple[tuple[str, npt.NDArray[np.bool_], dict[str, Any]], ...] = (
        ("all diverged", pool.all_diverged, {"marker": "x", "color": _parts.GREY}),
        (
            "some diverged",
            pool.some_diverged,
            {"marker": "o", "markersize": 8.5, "markerfacecolor": "none", "color": "black"},
        ),
        ("no value", pool.no_value, {"marker": "o", "color": _NO_VALUE}),
    )
    for name, where, look in kinds:
        if where.any():
            handles += ax.plot(*at[:, where], label=name, **{**style, **look})
    return _finish(ax, runs, across, up, scale, drawn, handles)


def _finish(
    ax: Axes,
    runs: Runs,
    across: Parameter,
    up: Parameter,
    scale: _Colors,
    drawn: Any,
    handles: list[Any],
) -> Axes:
    """Draw what is around a map: axes, colour bar, legend."""
    across.dress(ax, "x")
    up.dress(ax, "y")
    if scale.ticks is None or len(scale.ticks):
        bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, extend=scale.extend, ticks=scale.ticks)
        bar.set_label(runs.label, size=ax.yaxis.label.get_fontsize())
        bar.ax.tick_params(labelsize=ax.yaxis.get_ticklabels()[0].get_fontsize())
        bar.minorticks_off()
        bar.outline.set_visible(False)
        if all_integers(scale.shown) and scale.ticks is None and not scale.log:
            bar.locator = files.optional("matplotlib.ticker", "plot").MaxNLocator(8, integer=True)
            bar.update_ticks()
    if handles:
        # Below the label of the x axis: above is the place of a title.
        around = ax.xaxis.get_tightbbox()
        below = (ax.bbox.ymin - around.ymin) * 72 / ax.figure.dpi if around else 0.0
        for n_columns in (len(handles), 1):
            legend = ax.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, 0.0),
                borderaxespad=max(below, 0.0) / _LEGEND_SIZE + 0.5,
                ncols=n_columns,
                frameon=False,
                fontsize=_LEGEND_SIZE,
                handlelength=1.4,
                handletextpad=0.5,
                columnspacing=1.2,
                labelspacing=0.3,
            )
            if legend.get_window_extent().width < ROOM * ax.bbox.width:
                break
    return ax


class _Colors:
    """How values become colours; the scale is logarithmic if they span decades."""

    def __init__(self, values: FloatArray) -> None:
        look = files.optional("matplotlib.colors", "plot")
        finite = values[np.isfinite(values)]
        self.shown = np.where(np.isfinite(values), values, np.nan)
        self.extend = "neither"
        self.ticks: list[float] | None = None  # by default matplotlib's choice
        decades = log_range(values)
        self.log = decades is not None
        if decades is not None:
            self.norm = look.LogNorm(*decades)
            if (finite < decades[0]).any():  # zero but for rounding
                self.extend = "min"
                self.shown[self.shown < decades[0]] = decades[0] / 2
        elif not finite.size:
            self.norm, self.ticks = look.Normalize(0, 1), []
        elif np.ptp(finite) <= ROUNDING * np.abs(finite).max():
            value = float(finite[0])
            around = abs(value) / 2 or 0.5
            self.norm = look.Normalize(value - around, value + around)
            self.ticks = [value]
        elif all_integers(2 * values) and np.ptp(finite) < _MOST_SHADES:
            # A colour each and no others: a median between two integers has that of the upper one.
            steps = np.arange(np.floor(finite.min()), np.ceil(finite.max()) + 2)
            self.norm = look.BoundaryNorm(steps - 0.5, 256)
            self.ticks = steps[:-1].tolist()
        else:
            self.norm = look.Normalize(finite.min(), finite.max())


def _corners(x: FloatArray, y: FloatArray, column: int, row: int) -> list[tuple[float, float]]:
    left, right, low, high = x[column], x[column + 1], y[row], y[row + 1]
    return [(left, low), (right, low), (right, high), (left, high)]


def _room(parameter: Parameter) -> tuple[float, float]:
    """Return limits of an axis with some space beside the outer points."""
    at = np.log(parameter.places) if parameter.log else parameter.places
    space = 0.05 * (at[-1] - at[0]) or 0.5 * abs(at[0]) or 0.5
    ends = at[0] - space, at[-1] + space
    return (float(np.exp(ends[0])), float(np.exp(ends[1]))) if parameter.log else ends
