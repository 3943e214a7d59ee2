"""Curves of sweeps: a variable over one swept parameter, or over training, as lines.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast._base import files
from linnet_fast.plot import _parts
from linnet_fast.plot._style import colors
from linnet_fast.plot._sweep_axis import Parameter, Pool, all_integers, integer_ticks, log_range
from linnet_fast.sweeps.results import RECORDS, Runs, Sweep, n_values, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from xarray import Dataset

_MAX_MARKERS = 30  # values of a parameter beyond are a line without points
_MAX_LINES = 12  # that are drawn unasked


def curves(
    data: Dataset,
    of: str | None = None,
    *,
    x: str | None = None,
    by: str | None = None,
    select: Mapping[str, object] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a variable of a sweep over one swept parameter, or over training, as lines.

    A line is the median over the seeds and over all other swept parameters that `select` does not
    fix, and the band around it is the middle 80 %. Runs that diverged are left out; a line has a
    gap where all did. Over training a run that converged stays as it is. Where several parameters
    vary together, as in a random design, neighbours are points and not joined to a line.

    Scales are logarithmic by the rules of `heatmap`; that of steps or times always is.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    of : str, optional
        The variable; by default ``final_loss``, or else the first over swept parameters alone, or
        the first over `x`.
    x : str, optional
        A parameter, or another dim of the variable; by default ``"step"`` or ``"time"`` if the
        variable has it, or else the parameter of the most values.
    by : str, optional
        One line for each value of this parameter; by default that of the most values after `x` if
        these are at most 12, or another dim of the variable, such as ``mode``.
    select : mapping of str to number or str, optional
        As for `heatmap`.
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
        If `data` is not of a sweep, or a name or a value is not there.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import xarray
    >>> runs = ("scale", "n_layers", "seed")
    >>> data = xarray.Dataset(
    ...     {"final_loss": (runs, np.ones((4, 2, 5))), "status": (runs, np.zeros((4, 2, 5), "i1"))},
    ...     {"scale": [1e-6, 1e-4, 1e-2, 1.0], "n_layers": [2, 3]},
    ... )
    >>> ax = curves(data)
    >>> ax.get_xlabel(), [line.get_label() for line in ax.lines]
    ('scale', ['2', '3'])
    """
    _parts.check_axes(ax)
    sweep = Sweep(data)
    of = sweep.variable(of, (x, by))
    fixed = sweep.fixed(of, select, {"x": x, "by": by})
    loose = sweep.loose(of, (x, by, *fixed))
    if x is None:
        records = [dim for dim in loose if dim in RECORDS]
        found = records or sweep.most_valued(1, (by, *fixed))
        if not found:
            msg = "data must have a swept parameter besides by and those of select, got none"
            raise ValueError(msg)
        x = found[0]
    if x == by:
        msg = f"by must be another parameter than x, got {by!r} for both"
        raise ValueError(msg)
    if by is None:
        found = sweep.loose(of, (x, *fixed)) or sweep.most_valued(1, (x, *fixed))
        by = found[0] if found and 1 < n_values(data, found[0]) <= _MAX_LINES else None
    sweep.refuse_loose(of, (x, by, *fixed))
    runs = sweep.runs(of, fixed)

    over = Parameter(runs, x)
    parts: dict[str | None, Runs] = {None: runs}
    if by is not None:
        groups = Parameter(runs, by)
        members = zip(groups.names, groups.members, strict=True)
        parts = {name: runs.only(groups.dim, index) for name, index in members}
    places = [Parameter(part, x) for part in parts.values()]
    pools = [Pool(part, at) for part, at in zip(parts.values(), places, strict=True)]
    medians = np.concatenate([pool.median for pool in pools])
    lows = np.concatenate([pool.low for pool in pools])
    least = float(lows[np.isfinite(lows)].min(initial=np.inf))
    decades = log_range(medians, least)
    if decades is not None and least <= 0:
        for pool in pools:  # what is zero but for rounding lies on the lower end of the axis
            pool.cut(decades[0] / 2)
    scattered = any(at.is_scattered for at in places)
    alpha = 0.25 if len(parts) <= 5 else 0.12
    ax = _parts.new_axes(ax)
    for name, at, pool, color in zip(parts, places, pools, colors(len(parts)), strict=True):
        label = name if name is None or np.isfinite(pool.median).any() else f"{name} (no value)"
        _line(ax, at, pool, scattered=scattered, alpha=alpha, color=color, label=label)
    over.dress(ax, "x")
    if decades is not None:
        ax.set_yscale("log")
        if least <= 0:
            ax.set_ylim(bottom=decades[0] / 2)
    elif all_integers(medians):
        integer_ticks(ax.yaxis)
    ax.set_ylabel(runs.label)
    if by is not None:
        title = readable(runs.data, by)
        more = []
        if not scattered and any((pool.high > pool.low).any() for pool in pools):
            look = {"facecolor": _parts.GREY, "alpha": 0.3, "label": "middle 80 %"}
            more = [files.optional("matplotlib.patches", "plot").Patch(**look)]
        _parts.legend(ax, loc="center left", title=title, beside=(1.01, 0.5), more=more)
    return ax


def _line(
    ax: Axes, at: Parameter, pool: Pool, *, scattered: bool, alpha: float, **look: Any
) -> None:
    """Draw the median of the runs at each place, and the spread around it."""
    there = np.isfinite(pool.low + pool.high)
    beside = np.convolve(there, [1, 0, 1])[1:-1] > 0
    alone = there if scattered else there & ~beside  # where a band would have no width
    color = look["color"]
    if pool.n_runs.max() > 1:
        if not scattered:
            ax.fill_between(at.places, pool.low, pool.high, color=color, alpha=alpha, linewidth=0)
        if alone.any():
            ends = pool.low[alone], pool.high[alone]
            width = 1.5 if scattered else 4
            ax.vlines(at.places[alone], *ends, color=color, alpha=alpha, linewidth=width)
    dotted = scattered or (not at.record and at.places.size <= _MAX_MARKERS)
    ax.plot(
        at.places,
        pool.median,
        linewidth=1.2,
        linestyle="none" if scattered else "-",
        marker="o" if dotted else None,
        markersize=3,
        **look,
    )
