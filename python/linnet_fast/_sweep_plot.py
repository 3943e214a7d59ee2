"""Pictures of sweeps: a variable over two swept parameters, or over one as lines.

They belong to `linnet_fast.plot`, and keep its rules. Sweeps are known here only by the names and
dims of their datasets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast import _files, _plot_parts, _validate
from linnet_fast._plot_style import colors
from linnet_fast._validate import FloatArray
from linnet_fast.state import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from xarray import DataArray, Dataset

_RECORDS = ("step", "time")  # dims along a training
_MAX_MARKERS = 30  # values of a parameter beyond are a line without points
_MAX_LINES = 12  # that are drawn unasked
_MAX_TICKS = 8  # so many values get a tick each
_MAX_LISTED = 12  # labels in a message
_DECADES = 2.0  # positive numbers over more are drawn in a logarithmic scale
_ROUNDING = 1e-12  # relative difference of numbers meant to be equal
_SPREAD = (0.1, 0.5, 0.9)
_NOISE = 1e-15  # what differences leave of zero, relative to the largest
_HUGE = 1e300  # stands for infinity among quantiles
_DIVERGED: dict[str, Any] = {"facecolor": "#e4e4e4", "edgecolor": "#8c8c8c", "linewidth": 0}
_HATCH = "/////"
_NO_VALUE = "#c8c8c8"
_LEGEND_SIZE = 8.0
_ROOM = 0.75  # of the width of axes, before labels and a colour bar take theirs


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
    sweep = _Sweep(data)
    of = sweep.variable(of, (x, y))
    fixed = sweep.fixed(of, select, {"x": x, "y": y})
    if x is None or y is None:
        found = sweep.most_valued(2 - (x is not None) - (y is not None), (x, y, *fixed))
        if x is None:
            x = found.pop(0) if found else None
        if y is None:
            y = found.pop(0) if found else None
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
    sweep = _Sweep(data)
    of = sweep.variable(of, (x, by))
    fixed = sweep.fixed(of, select, {"x": x, "by": by})
    loose = sweep.loose(of, (x, by, *fixed))
    if x is None:
        records = [dim for dim in loose if dim in _RECORDS]
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
        by = found[0] if found and 1 < sweep.n_values(found[0]) <= _MAX_LINES else None
    sweep.refuse_loose(of, (x, by, *fixed))
    runs = sweep.runs(of, fixed)

    over = _Parameter(runs, x)
    parts: dict[str | None, _Runs] = {None: runs}
    if by is not None:
        groups = _Parameter(runs, by)
        members = zip(groups.names, groups.members, strict=True)
        parts = {name: runs.only(groups.dim, index) for name, index in members}
    places = [_Parameter(part, x) for part in parts.values()]
    pools = [part.over(at) for part, at in zip(parts.values(), places, strict=True)]
    medians = np.concatenate([pool.median for pool in pools])
    lows = np.concatenate([pool.low for pool in pools])
    least = float(lows[np.isfinite(lows)].min(initial=np.inf))
    decades = _log_range(medians, least)
    if decades is not None and least <= 0:
        for pool in pools:  # what is zero but for rounding lies on the lower end of the axis
            pool.cut(decades[0] / 2)
    scattered = any(at.is_scattered for at in places)
    alpha = 0.25 if len(parts) <= 5 else 0.12
    ax = _plot_parts.new_axes(ax)
    for name, at, pool, color in zip(parts, places, pools, colors(len(parts)), strict=True):
        _line(ax, at, pool, scattered=scattered, alpha=alpha, color=color, label=name)
    over.dress(ax, "x")
    if decades is not None:
        ax.set_yscale("log")
        if least <= 0:
            ax.set_ylim(bottom=decades[0] / 2)
    elif _whole(medians):
        _whole_ticks(ax.yaxis)
    ax.set_ylabel(runs.label)
    if by is not None:
        title = _readable(runs.data, by)
        _plot_parts.legend(ax, loc="center left", title=title, beside=(1.01, 0.5))
    return ax


class _Sweep:
    """The names in the dataset of a sweep, and what they can be used for."""

    def __init__(self, data: Dataset) -> None:
        dataset = _files.optional("xarray", "xarray").Dataset
        self.data: Dataset = _validate.instance("data", data, dataset)
        if "status" not in data.data_vars:
            names = ", ".join(map(str, data.data_vars)) or "no variables"
            msg = f"data must have the variable status, as a sweep has, got {names}"
            raise ValueError(msg)
        self.swept = tuple(map(str, data["status"].dims))

    def variable(self, of: str | None, along: Sequence[str | None]) -> str:
        """Return the name of a variable of numbers, by default over all of `along`."""
        variables = {
            str(name): tuple(map(str, variable.dims))
            for name, variable in self.data.data_vars.items()
            if variable.dtype.kind in "iufb" and name != "status"
        }
        if of is not None:
            return _validate.choice("of", of, variables)
        inner = {self._dim(name) for name in along} - {None, *self.swept}
        found = [
            name
            for name, dims in variables.items()
            if (set(dims) - set(self.swept) == inner if inner else name != "stopped_at")
            and (inner or (dims and set(dims) <= set(self.swept)))
        ]
        if not found:
            names = ", ".join(variables)
            over = " and ".join(map(str, inner)) or "swept parameters alone"
            msg = f"of must be given, for no variable is over {over}; one of {names}"
            raise ValueError(msg)
        return next((name for name in ("final_loss", "loss") if name in found), found[0])

    def _dim(self, name: object) -> str | None:
        """Return the dim that a name runs along, if it does along one."""
        if not isinstance(name, str):
            return None
        if name in self.data.dims:
            return name
        dims = self.data[name].dims if name in self.data.coords else ()
        return str(dims[0]) if len(dims) == 1 else None

    def parameters(self, of: str) -> dict[str, str]:
        """Return the dims that each parameter and other dim of a variable runs along."""
        dims = dict.fromkeys((*self.swept, *map(str, self.data[of].dims)))
        along = {
            str(name): str(coord.dims[0])
            for name, coord in self.data.coords.items()
            if coord.ndim == 1 and coord.dims[0] in dims
        }
        return {dim: dim for dim in dims} | along

    def fixed(
        self, of: str, select: Mapping[str, object] | None, drawn: Mapping[str, str | None]
    ) -> dict[str, object]:
        """Return `select`, it and the names of the drawn parameters checked."""
        known = self.parameters(of)
        chosen = {} if select is None else _validate.instance("select", select, Mapping)  # type: ignore[type-abstract]
        for key, label in chosen.items():
            _found(self.data, _validate.choice("select", key, known), label)
        for argument, name in drawn.items():
            if name is not None:
                _validate.choice(argument, name, known)
                if name in chosen:
                    msg = f"{argument} must not be fixed by select, got {name!r} in both"
                    raise ValueError(msg)
        return dict(chosen)

    def n_values(self, name: str) -> int:
        return len(set(_labels_along(self.data, name).tolist()))

    def free(self, taken: Sequence[str | None] | Mapping[str, object]) -> list[str]:
        """Return the parameters that are not taken, seeds left out; one for each dim of a grid."""
        names = []
        for dim in self.swept:
            if dim == "seed" or dim in taken:
                continue
            if along := _together(self.data, dim):
                names += [name for name in along if name not in taken]
            elif all(self._dim(name) != dim for name in taken):
                names.append(dim)
        return names

    def most_valued(self, n: int, taken: Sequence[str | None]) -> list[str]:
        """Return the free parameters of the most values, in the order of the dataset."""
        names = self.free(taken)
        most = sorted(names, key=lambda name: -self.n_values(name))[:n]
        return [name for name in names if name in most]

    def loose(self, of: str, taken: Sequence[str | None]) -> list[str]:
        """Return the dims of a variable that are not swept, and neither drawn nor fixed."""
        parameters = self.parameters(of)
        held = {parameters[name] for name in taken if name is not None}
        return [str(dim) for dim in self.data[of].dims if dim not in self.swept and dim not in held]

    def refuse_loose(self, of: str, taken: Sequence[str | None]) -> None:
        for dim in self.loose(of, taken):
            msg = (
                f"select must fix {dim!r} of {of}, one of {_listed(_labels_along(self.data, dim))}"
            )
            raise ValueError(msg)

    def runs(self, of: str, fixed: Mapping[str, object]) -> _Runs:
        """Return the values of a variable for the parameters that are fixed."""
        data = self.data[list(dict.fromkeys((of, "status")))]
        parameters = self.parameters(of)
        for name in sorted(fixed, key=lambda name: parameters[name] not in self.swept):
            if parameters[name] in _RECORDS:
                data = _held(data, of)  # before one of the records is picked
            data = data.isel({parameters[name]: _found(data, name, fixed[name])})
        return _Runs(_held(data, of), of)


class _Runs:
    """Values and status of runs, both over all dims."""

    def __init__(self, data: Dataset, of: str) -> None:
        self.data = data
        self.of = of
        status = data["status"].broadcast_like(data[of])
        values = data[of].broadcast_like(status).transpose(*status.dims)
        self.status: DataArray = status.astype(np.float64)
        gone = ~(self.status >= 0) | (self.status == Status.DIVERGED)
        self.values: DataArray = values.astype(np.float64).where(~gone)
        self.label = _readable(data, of)

    def only(self, dim: str, index: npt.NDArray[np.int_]) -> _Runs:
        return _Runs(self.data.isel({dim: index}), self.of)

    def over(self, *parameters: _Parameter) -> _Pool:
        """Return values and status, with all runs at a place along the first axis."""
        dims = [parameter.dim for parameter in parameters]
        arrays = []
        for variable in (self.values, self.status):
            array = variable.transpose(..., *dims).to_numpy()
            array = array.reshape(-1, *array.shape[array.ndim - len(dims) :])
            for axis, parameter in enumerate(parameters):
                array = parameter.pooled(array, axis + 1)
            arrays.append(array)
        return _Pool(*arrays)


class _Pool:
    """What is drawn at each place: quantiles of the values there, and how the runs ended.

    Made from values and status with the runs along the first axis, status NaN where a place has
    fewer runs than another.
    """

    def __init__(self, values: FloatArray, status: FloatArray) -> None:
        self.n_runs = np.isfinite(status).sum(axis=0)
        self.low, self.median, self.high = _quantiles(values)
        n_diverged = (status == Status.DIVERGED).sum(axis=0)
        self.all_diverged = (n_diverged == self.n_runs) & (n_diverged > 0)
        self.some_diverged = (n_diverged > 0) & ~self.all_diverged
        ended = ((status >= 0) & (status != Status.DIVERGED)).any(axis=0)
        self.no_value = ended & np.isnan(self.median)

    def cut(self, least: float) -> None:
        """Raise quantiles to the least that is drawn."""
        self.low, self.median, self.high = np.maximum([self.low, self.median, self.high], least)


class _Parameter:
    """The different values of a parameter: where they are drawn, which runs have them."""

    def __init__(self, runs: _Runs, name: str) -> None:
        self.label = _readable(runs.data, name)
        self.dim = str(runs.data[name].dims[0])
        self.record = name in _RECORDS
        self.is_scattered = _n_varying(runs.data, self.dim) > 1
        labels = _labels_along(runs.data, name)
        self.is_number = labels.dtype.kind in "iuf" and bool(np.isfinite(labels).all())
        if self.is_number:
            values, group = np.unique(labels, return_inverse=True)
            self.names = _short(values)
            self.places = values.astype(np.float64)
            self.log = _log_axis(self.places) or (self.record and bool((values > 0).any()))
        else:
            known = {label: i for i, label in enumerate(dict.fromkeys(map(str, labels)))}
            group = np.array([known[str(label)] for label in labels])
            self.names = list(known)
            self.places = np.arange(len(known), dtype=np.float64)
            self.log = False
        self.at = self.places[group]
        members = [np.flatnonzero(group == i) for i in range(len(self.names))]
        if self.log:  # there is no place for step 0
            seen = np.flatnonzero(self.places > 0)
            members = [members[i] for i in seen]
            self.names = [self.names[i] for i in seen]
            self.places = self.places[seen]
            self.at = np.where(self.at > 0, self.at, np.nan)
        self.members = members

    def pooled(self, array: FloatArray, axis: int) -> FloatArray:
        """Return an array over the places; what has the same place is added to the first axis."""
        most = max(len(member) for member in self.members)
        index = np.array([np.resize(member, most) for member in self.members]).T
        spare = np.arange(most)[:, None] >= [len(member) for member in self.members]
        moved = np.moveaxis(array, axis, -1)[..., index]  # (runs, others, most, places)
        moved = np.where(spare, np.nan, moved)
        moved = np.moveaxis(moved, -2, 1)
        moved = moved.reshape(-1, *moved.shape[2:])
        return np.moveaxis(moved, -1, axis)

    def edges(self) -> FloatArray:
        """Return the edges of cells around the places, halfway between them as they are drawn."""
        at = np.log(self.places) if self.log else self.places
        if at.size == 1:
            half = 0.5 * (abs(at[0]) if self.is_number and not self.log and at[0] else 1.0)
            ends = np.array([at[0] - half, at[0] + half])
        else:
            middle = (at[1:] + at[:-1]) / 2
            ends = np.concatenate([2 * at[:1] - middle[:1], middle, 2 * at[-1:] - middle[-1:]])
        return np.exp(ends) if self.log else ends

    def dress(self, ax: Axes, which: str) -> None:
        """Set scale, ticks and label of the "x" or "y" axis."""
        axis = ax.xaxis if which == "x" else ax.yaxis
        ticker = _files.optional("matplotlib.ticker", "plot")
        if self.log:
            ax.set(**{f"{which}scale": "log"})
        if not self.is_number or self._few():
            axis.set_ticks(self.places, self.names)
            axis.set_minor_locator(ticker.NullLocator())
            if which == "x":
                self._fit(ax)
        elif self.log and np.log10(self.places[-1] / self.places[0]) < _DECADES:
            few = ticker.MaxNLocator(3)
            axis.set_major_locator(few if self._narrow() else ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(
                ticker.FuncFormatter(lambda value, _: _plot_parts.power(value))
            )
            axis.set_minor_formatter(ticker.NullFormatter())
        elif not self.log and _whole(self.places):
            _whole_ticks(axis)
        ax.set(**{f"{which}label": self.label})

    def _few(self) -> bool:
        """Return whether each value can have a tick: few round numbers, none too close."""
        if self.places.size == 1:
            return True
        at = np.log(self.places) if self.log else self.places
        digits = 1 if self.log else 2  # after the first
        rounded = [float(f"{value:.{digits}e}") for value in self.places]
        round_enough = self._narrow() or np.allclose(rounded, self.places, rtol=1e-9, atol=0)
        gaps = np.diff(at)
        even = bool(gaps.min() > 0.4 * gaps.mean())
        return not self.record and at.size <= _MAX_TICKS and round_enough and even

    def _narrow(self) -> bool:
        """Return whether a logarithmic axis may have less than two of 1, 2, 5, 10, ..."""
        return self.log and bool(self.places[-1] < 5 * self.places[0])

    def _fit(self, ax: Axes) -> None:
        """Leave out numbers, or turn words, if they are too wide for the axis."""
        texts = ax.xaxis.get_ticklabels()
        widest = max(text.get_window_extent().width for text in texts)
        room = _ROOM * ax.bbox.width / (widest + 0.5 * texts[0].get_window_extent().height)
        if len(texts) <= room:
            return
        if self.is_number:
            every = int(np.ceil(len(texts) / max(room, 1)))
            ax.xaxis.set_ticks(self.places[::every], self.names[::every])
        else:
            for text in texts:
                text.set(rotation=30, ha="right", rotation_mode="anchor")


def _cells(runs: _Runs, x: str, y: str, ax: Axes | None) -> Axes:
    """Draw a cell for each pair of values."""
    across, up = _Parameter(runs, x), _Parameter(runs, y)
    pool = runs.over(up, across)
    scale = _Colors(pool.median)
    borders = across.edges(), up.edges()
    ax = _plot_parts.new_axes(ax)
    mesh = ax.pcolormesh(*borders, scale.shown, norm=scale.norm, cmap="viridis", rasterized=True)
    ax.set(xlim=borders[0][[0, -1]], ylim=borders[1][[0, -1]])
    collections = _files.optional("matplotlib.collections", "plot")
    patches = _files.optional("matplotlib.patches", "plot")
    handles = []
    kinds: tuple[tuple[str, npt.NDArray[np.bool_], dict[str, Any]], ...] = (
        ("all diverged", pool.all_diverged, {**_DIVERGED, "hatch": _HATCH}),
        ("no value", pool.no_value, {"facecolor": _NO_VALUE, "linewidth": 0}),
    )
    for name, where, style in kinds:
        if where.any():
            corners = [_corners(*borders, column, row) for row, column in np.argwhere(where)]
            ax.add_collection(collections.PolyCollection(corners, **style), autolim=False)
            handles.append(patches.Patch(label=name, **style))
    if pool.some_diverged.any():
        row, column = np.nonzero(pool.some_diverged)
        cell = min(ax.bbox.width / across.places.size, ax.bbox.height / up.places.size)
        size = float(np.clip(0.2 * cell * 72 / ax.figure.dpi, 1.2, 4.0))
        dots = _dots(ax, across.places[column], up.places[row], size)
        handles.insert(1 if pool.all_diverged.any() else 0, dots)
    return _finish(ax, runs, across, up, scale, mesh, handles)


def _points(runs: _Runs, x: str, y: str, ax: Axes | None) -> Axes:
    """Draw a point for each entry of the dim along which both parameters vary."""
    across, up = _Parameter(runs, x), _Parameter(runs, y)
    each = _Parameter(runs, across.dim)
    pool = runs.over(each)
    scale = _Colors(pool.median)
    first = [member[0] for member in each.members]
    at = np.stack([across.at[first], up.at[first]])
    seen = np.isfinite(scale.shown)
    ax = _plot_parts.new_axes(ax)
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
        ("all diverged", pool.all_diverged, {"marker": "x", "color": _plot_parts.GREY}),
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
    runs: _Runs,
    across: _Parameter,
    up: _Parameter,
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
        if _whole(scale.shown) and scale.ticks is None and not scale.log:
            bar.locator = _files.optional("matplotlib.ticker", "plot").MaxNLocator(8, integer=True)
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
            if legend.get_window_extent().width < _ROOM * ax.bbox.width:
                break
    return ax


class _Colors:
    """How values become colours; the scale is logarithmic if they span decades."""

    def __init__(self, values: FloatArray) -> None:
        look = _files.optional("matplotlib.colors", "plot")
        finite = values[np.isfinite(values)]
        self.shown = np.where(np.isfinite(values), values, np.nan)
        self.extend = "neither"
        self.ticks: list[float] | None = None  # by default matplotlib's choice
        decades = _log_range(values)
        self.log = decades is not None
        if decades is not None:
            self.norm = look.LogNorm(*decades)
            if (finite < decades[0]).any():  # zero but for rounding
                self.extend = "min"
                self.shown[self.shown < decades[0]] = decades[0] / 2
        elif not finite.size:
            self.norm, self.ticks = look.Normalize(0, 1), []
        elif np.ptp(finite) <= _ROUNDING * np.abs(finite).max():
            value = float(finite[0])
            around = abs(value) / 2 or 0.5
            self.norm = look.Normalize(value - around, value + around)
            self.ticks = [value]
        else:
            self.norm = look.Normalize(finite.min(), finite.max())


def _dots(ax: Axes, x: FloatArray, y: FloatArray, size: float) -> Any:
    """Mark centres of cells, to be seen on any colour."""
    return ax.plot(
        x,
        y,
        linestyle="none",
        marker="o",
        markersize=size,
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=0.15 * size,
        label="some diverged",
    )[0]


def _corners(x: FloatArray, y: FloatArray, column: int, row: int) -> list[tuple[float, float]]:
    left, right, low, high = x[column], x[column + 1], y[row], y[row + 1]
    return [(left, low), (right, low), (right, high), (left, high)]


def _room(parameter: _Parameter) -> tuple[float, float]:
    """Return limits of an axis with some space beside the outer points."""
    at = np.log(parameter.places) if parameter.log else parameter.places
    space = 0.05 * (at[-1] - at[0]) or 0.5 * abs(at[0]) or 0.5
    ends = at[0] - space, at[-1] + space
    return (float(np.exp(ends[0])), float(np.exp(ends[1]))) if parameter.log else ends


def _line(
    ax: Axes, at: _Parameter, pool: _Pool, *, scattered: bool, alpha: float, **look: Any
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


def _held(data: Dataset, of: str) -> Dataset:
    """Return the data with the last record of each converged run repeated to the end."""
    found = [dim for dim in data[of].dims if dim in _RECORDS]
    if not found:
        return data
    values = data[of].astype(np.float64).transpose(..., found[0])
    array = values.to_numpy()
    recorded = np.where(np.isnan(array), 0, np.arange(array.shape[-1]))
    last = np.take_along_axis(array, np.maximum.accumulate(recorded, axis=-1), axis=-1)
    return data.assign(
        {of: values.where(data["status"] != Status.CONVERGED, values.copy(data=last))}
    )


def _found(data: Dataset, name: str, label: object) -> npt.NDArray[np.int_]:
    """Return where a parameter has a value; numbers may differ by rounding, no more."""
    if not isinstance(label, (str, bool, int, float, np.generic)):
        msg = f"select[{name!r}] must be a number or a string, got {type(label).__name__}"
        raise TypeError(msg)
    labels = _labels_along(data, name)
    same = np.array([bool(value == label) for value in labels.tolist()], bool)
    if not same.any() and labels.dtype.kind == "f" and not isinstance(label, (str, np.str_)):
        same = np.abs(labels - label) <= _ROUNDING * np.abs(labels)
    if not same.any():
        got = label.item() if isinstance(label, np.generic) else label
        msg = f"select[{name!r}] must be one of {_listed(labels)}; got {got!r}"
        raise ValueError(msg)
    return np.flatnonzero(same)


def _listed(labels: npt.NDArray[Any]) -> str:
    """Return different values as text, the middle of many left out."""
    texts = list(dict.fromkeys(map(repr, labels.tolist())))
    if len(texts) > _MAX_LISTED:
        texts[_MAX_LISTED // 2 : -_MAX_LISTED // 2] = ["..."]
    return ", ".join(texts)


def _together(data: Dataset, dim: str) -> list[str]:
    """Return the parameters that vary together along a dim with no meaning of its own, else none."""
    if dim != "run" and dim in data.coords:
        return []
    coords = data.coords.items()
    return [str(name) for name, coord in coords if coord.dims == (dim,) and name != dim]


def _n_varying(data: Dataset, dim: str) -> int:
    names = _together(data, dim)
    return sum(len(set(_labels_along(data, name).tolist())) > 1 for name in names)


def _labels_along(data: Dataset, name: str) -> npt.NDArray[Any]:
    return data[name].to_numpy()


def _readable(data: Dataset, name: str) -> str:
    words = ("number of " + name[2:] if name.startswith("n_") else name).replace("_", " ")
    return str(data[name].attrs.get("long_name") or words)


def _short(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as short texts, different ones."""
    texts = [("-" if value < 0 else "") + _plot_parts.power(abs(value)) for value in values]
    return texts if len(set(texts)) == len(texts) else [f"{value:.12g}" for value in values]


def _quantiles(values: FloatArray) -> FloatArray:
    """Return the 10 %, 50 % and 90 % quantiles over the first axis, NaN where they are infinite.

    NaN are left out; infinite values are not.
    """
    ordered = np.sort(np.clip(values, -_HUGE, _HUGE), axis=0)  # NaN last
    last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    quantiles = np.empty((len(_SPREAD), *last.shape))
    for part, quantile in zip(_SPREAD, quantiles, strict=True):
        at = part * last
        low, high = (
            np.take_along_axis(ordered, end(at).astype(np.intp)[None], axis=0)[0]
            for end in (np.floor, np.ceil)
        )
        quantile[...] = low + (high - low) * (at - np.floor(at))
    quantiles[np.abs(quantiles) > _HUGE * _ROUNDING] = np.nan
    return quantiles


def _log_axis(places: FloatArray) -> bool:
    """Return whether increasing values of a parameter belong on a logarithmic axis."""
    if places.size < 2 or places[0] <= 0:
        return False
    if places.size > 2:
        gaps, ratios = np.diff(places), np.diff(np.log(places))
        uneven, unlike = gaps.max() / gaps.min(), ratios.max() / ratios.min()
        if uneven < 1 + 1e-6:
            return False
        if unlike < min(1.3, uneven):  # 1, 3, 10, 30, ... too
            return True
    return bool(np.log10(places[-1]) - np.log10(places[0]) > _DECADES)


def _log_range(values: FloatArray, least: float = np.inf) -> tuple[float, float] | None:
    """Return the least and the largest positive value if these span decades and none is negative.

    Some of them, or the least of what they stand for, may be zero but for rounding; then positive
    ones no larger than that do not count.
    """
    finite = values[np.isfinite(values)]
    high = float(finite.max(initial=0.0))
    least = min(least, float(finite.min(initial=np.inf)))
    if high <= 0 or least < -_ROUNDING * high:
        return None
    noise = 0.0 if least > 0 else max(-least, _NOISE * high)
    low = float(finite[finite > noise].min())
    return (low, high) if np.log10(high) - np.log10(low) > _DECADES else None


def _whole(values: FloatArray) -> bool:
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((finite == np.rint(finite)).all())


def _whole_ticks(axis: Any) -> None:
    ticker = _files.optional("matplotlib.ticker", "plot")
    axis.set_major_locator(ticker.MaxNLocator("auto", integer=True))
