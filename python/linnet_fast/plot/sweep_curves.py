"""Curves of sweeps: a variable over one swept parameter, or over training, as lines.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot import _parts
from linnet_fast.plot._style import colors
from linnet_fast.plot._sweep_axis import Parameter, Pool, all_integers, integer_ticks, log_range
from linnet_fast.sweeps.results import RECORDS, Runs, Sweep, n_values, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from xarray import Dataset

_MAX_MARKERS = 30  # values of a parameter beyond are a line without points
_MARGIN = 0.03  # of the axis
_MAX_LINES = 12  # that are drawn unasked


class Theory(NamedTuple):
    """A line that theory draws among curves, dashed.

    Attributes
    ----------
    label : str
    names : frozenset of str
        What it depends on: `x`, `by` and what `select` fixes. Where `by` is one of them there is a
        line for each curve, in its colour.
    value : callable
        Values of the names -> y along the axis of x, or where on that axis an upright line stands;
        there is none where it is not finite.
    upright : bool
    """

    label: str
    names: frozenset[str]
    value: Callable[[Mapping[str, Any]], FloatArray]
    upright: bool = False


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
    return curves_with_theory(data, of, (), x=x, by=by, select=select, ax=ax)


def curves_with_theory(
    data: Dataset,
    of: str | None,
    theory: Sequence[Theory],
    *,
    x: str | None,
    by: str | None,
    select: Mapping[str, object] | None,
    ax: Axes | None,
) -> Axes:
    """Draw as `curves` does, and lines of theory among them, which do not move the ends of the axes."""
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
            # Points on the lower end are seen whole.
            ax.set_ylim(bottom=decades[0] / 2 * (decades[0] / decades[1]) ** _MARGIN)
    elif all_integers(medians):
        integer_ticks(ax.yaxis)
    ax.set_ylabel(runs.label)
    more: list[Any] = []
    for line in theory:
        shades: list[tuple[dict[str, Any], Any]] = [(dict(fixed), _parts.DARK)]
        if by is not None and by in line.names:
            values = [runs.data[by].to_numpy()[index[0]] for index in groups.members]
            pairs = zip(values, colors(len(parts)), strict=True)
            shades = [({**fixed, by: value}, color) for value, color in pairs]
        more += _of_theory(ax, over, x, line, shades)
    more = list({handle.get_label(): handle for handle in more}.values())
    if by is not None or more:
        title = None if by is None else readable(runs.data, by)
        if not scattered and any((pool.high > pool.low).any() for pool in pools):
            look = {"facecolor": _parts.GREY, "alpha": 0.3, "label": "middle 80 %"}
            more.insert(0, files.optional("matplotlib.patches", "plot").Patch(**look))
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


_DASHED: Mapping[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 0.9}


def _of_theory(
    ax: Axes, over: Parameter, x: str, line: Theory, shades: Sequence[tuple[dict[str, Any], Any]]
) -> list[Any]:
    """Draw a line of theory, in each of these colours at these values; return its entry in the legend, if it is seen."""
    ends, sides = ax.get_ylim(), ax.get_xlim()
    spaced = np.geomspace if over.log else np.linspace
    at = np.asarray(spaced(over.places[0], over.places[-1], 300))
    seen = False
    for values, color in shades:
        found = np.asarray(line.value({**values, x: at}))
        if line.upright:
            place = float(np.ravel(found)[0])
            if sides[0] <= place <= sides[1]:
                ax.axvline(place, color=color, **_DASHED)
                seen = True
        else:
            y = np.where(np.isfinite(found), found, np.nan) + np.zeros(at.shape)
            ax.plot(at, y, color=color, label="_theory", **_DASHED)
            seen |= bool(((y >= ends[0]) & (y <= ends[1])).any())
    ax.set(ylim=ends, xlim=sides)
    if not seen:
        return []
    handle = files.optional("matplotlib.lines", "plot").Line2D
    return [handle([], [], color=_parts.GREY, label=line.label, **_DASHED)]
