"""Results of a sweep as text: medians over seeds, for the values of one parameter or of two."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate, wording
from linnet_fast._base.validate import FloatArray
from linnet_fast.cli import outputs
from linnet_fast.sweeps.layout import PENDING
from linnet_fast.sweeps.results import RECORDS, Runs, Sweep, held_on, matches, together
from linnet_fast.sweeps.spec import SEEDS
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from xarray import Dataset

Indices: TypeAlias = npt.NDArray[np.intp]

_Place: TypeAlias = tuple[str, Indices]
"""Runs along a dim."""

_MOST_ROWS, _MOST_COLUMNS, _MOST_BEST = 15, 10, 10
_MOST_TABLES = 4
_GIVEN = 1e-3  # relative difference of numbers that are meant, for labels are shown rounded


def variable_of(data: Dataset, of: str | None = None) -> str:
    """Return the variable to show: the final loss, or else the first over swept parameters alone."""
    sweep = Sweep(data)
    names = sweep.variables
    if of is not None:
        return validate.choice("of", of, names)
    candidates = [name for name in names if name != "stopped_at"] or list(names)
    scalar = [name for name in candidates if set(names[name]) <= set(sweep.swept)]
    return next(
        (n for n in ("final_loss", "loss") if n in (scalar or candidates)),
        (scalar or candidates)[0],
    )


def thinned(values: Sequence[Any], most: int) -> Indices:
    """Return which values to show: all or, of many, the ends and what is evenly between them.

    Of several ways the one with the shortest labels is taken: those are the round numbers.
    """
    gaps = len(values) - 1
    if gaps < most:
        return np.arange(len(values))
    least = gaps / (most - 1)
    strides = [s for s in range(math.ceil(least), int(2 * least) + 1) if gaps % s == 0]
    if not strides:
        return np.unique(np.linspace(0, gaps, most).round().astype(np.intp))
    labels = np.array([len(wording.label(value)) for value in values])
    return np.arange(0, gaps + 1, min(strides, key=lambda s: float(labels[::s].mean())))


class _Parameter:
    """The different values of a parameter and where runs have them, some left out if many."""

    def __init__(self, data: Dataset, name: str, most: int) -> None:
        self.name = name
        self.dim = str(data[name].dims[0])
        labels = data[name].to_numpy().tolist()
        values = list(dict.fromkeys(labels))
        if self.dim != name:
            values.sort()
        self.n_values = len(values)
        values = [values[i] for i in thinned(values, most)]
        self.labels = [wording.label(value) for value in values]
        places = np.array([values.index(v) if v in values else -1 for v in labels])
        self.members: list[Indices] = [np.flatnonzero(places == i) for i in range(len(values))]


class _Cells:
    """Values and status of runs, both over all swept dims and those of the variable."""

    def __init__(self, data: Dataset, of: str) -> None:
        swept = data["status"].dims
        self.at_end = False
        for dim in data[of].dims:
            if dim in RECORDS:
                self.at_end = True
                records = data[of].astype(np.float64).transpose(..., dim)
                last = records.copy(data=held_on(records.to_numpy())).isel({dim: -1})
                data = data.assign({of: last})
            elif dim not in swept and data.sizes[dim] == 1:
                data = data.isel({dim: 0})
        runs = Runs(data, of)
        self.dims = [str(dim) for dim in runs.status.dims]
        self.extra = [dim for dim in self.dims if dim not in swept]
        self.values: FloatArray = runs.values.to_numpy()
        self.status: FloatArray = runs.status.to_numpy()

    def only(self, *places: _Place) -> tuple[FloatArray, FloatArray]:
        """Return values and status of some runs; indices along one dim twice are what both have."""
        index: dict[str, Indices] = {}
        for dim, indices in places:
            index[dim] = np.intersect1d(index[dim], indices) if dim in index else indices
        values, status = self.values, self.status
        for dim, indices in index.items():
            axis = self.dims.index(dim)
            values, status = values.take(indices, axis), status.take(indices, axis)
        return values, status


def chosen(data: Dataset, select: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels of parameters that are meant by their values, numbers by three digits."""
    result = {}
    for name, value in select.items():
        validate.choice("select", name, dict.fromkeys(map(str, (*data.coords, *data.dims))))
        labels = data[name].to_numpy()
        same = np.flatnonzero(matches(labels, value, _GIVEN))
        if not same.size:
            msg = f"select {name} must be one of {wording.some(labels.tolist())}; got {value!r}"
            raise ValueError(msg)
        if labels.ndim != 1:
            msg = (
                f"select {name} must be a parameter along one dim, got one along {data[name].dims}"
            )
            raise ValueError(msg)
        result[name] = labels.tolist()[same[0]]
    return result


def selected(data: Dataset, select: Mapping[str, Any]) -> Dataset:
    """Return the runs that have values of parameters."""
    for name, label in chosen(data, select).items():
        there = np.flatnonzero(matches(data[name].to_numpy(), label))
        data = data.isel({data[name].dims[0]: there})
    return data


def parameters_of(data: Dataset) -> list[str]:
    """Return the swept parameters but seeds: those of several values, the most of them first."""
    names = [str(dim) for dim in data["status"].dims if dim not in SEEDS]
    several = [name for name in names if data.sizes[name] > 1] or names
    return sorted(several, key=lambda name: -data.sizes[name])


def table(
    data: Dataset,
    of: str | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    select: Mapping[str, Any] | None = None,
) -> str:
    """Return medians over seeds as text.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    of : str, optional
        The variable.
    x, y : str, optional
        Parameters of rows and columns; by default the two of the most values, of a random design
        the runs of the least values are listed.
    select : mapping, optional
        Values of other parameters.
    """
    given = chosen(data, select or {})
    data = selected(data, given)
    of = variable_of(data, of)
    cells = _Cells(data, of)
    known = dict.fromkeys((*cells.dims, *map(str, data.coords)))
    for name, parameter in (("x", x), ("y", y)):
        if parameter is not None:
            validate.choice(name, parameter, known)
    names = parameters_of(data)
    if "run" in names and x is None and y is None and not cells.extra:
        return _best(data, of, cells)
    x = x or next((name for name in names if name != y), None)
    y = y or next((name for name in (*cells.extra, *names) if name != x), None)
    title = f"{of}{' at the end' if cells.at_end else ''}"
    if given:
        title += f" for {', '.join(f'{n} {wording.label(value)}' for n, value in given.items())}"
    if x is None:
        n = np.count_nonzero(cells.status == Status.DIVERGED)
        return f"{title}: {_median(cells.values)}, {n} diverged"
    if x in names and y in names and cells.dims.index(x) > cells.dims.index(y):
        x, y = y, x
    rows = _Parameter(data, x, _MOST_ROWS)
    columns = None if y is None else _Parameter(data, y, _MOST_COLUMNS)
    return "\n\n".join(_tables(data, title, cells, rows, columns))


def _tables(
    data: Dataset, title: str, cells: _Cells, rows: _Parameter, columns: _Parameter | None
) -> Iterator[str]:
    """Give a title, a table for each value of a few other parameters, notes."""
    over = [dim for dim in cells.dims if dim not in (rows.dim, columns and columns.dim)]
    apart = [dim for dim in over if dim not in SEEDS and data.sizes[dim] > 1]
    if math.prod(data.sizes[dim] for dim in apart) > _MOST_TABLES:
        apart = []
    pooled = [
        wording.count(data.sizes[dim], dim) if dim in SEEDS else dim
        for dim in over
        if dim in SEEDS or (dim not in apart and data.sizes[dim] > 1)
    ]
    yield f"{title}, median over {' and '.join(pooled)}" if pooled else title
    notes = []
    for place in product(*(range(data.sizes[dim]) for dim in apart)):
        at = dict(zip(apart, place, strict=True))
        if at:
            labels = (f"{d} {wording.label(data[d].to_numpy().tolist()[i])}" for d, i in at.items())
            yield ", ".join(labels)
        fixed = [(dim, np.array([i])) for dim, i in at.items()]
        if columns is None:
            yield _listed(cells, rows, fixed)
        else:
            text, some_diverged = _crossed(cells, rows, columns, fixed)
            yield text
            if some_diverged:
                notes = ["(n): so many runs diverged, the median is of the others."]
    notes += [
        f"{len(p.labels)} of {p.n_values:,} values of {p.name} are shown."
        for p in (rows, columns)
        if p is not None and len(p.labels) < p.n_values
    ]
    if notes:
        yield "\n".join(notes)


def _median(values: FloatArray) -> str:
    there = values[~np.isnan(values)]
    if not there.size:
        return "-"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of inf - inf
        return wording.number(float(np.median(there)))


def _listed(cells: _Cells, rows: _Parameter, fixed: Sequence[_Place]) -> str:
    """Return a row for each value of a parameter."""
    lines = [[rows.name, "median", "least", "greatest", "diverged"]]
    for label, members in zip(rows.labels, rows.members, strict=True):
        values, status = cells.only(*fixed, (rows.dim, members))
        there = values[~np.isnan(values)]
        ends = [wording.number(float(e(there))) if there.size else "-" for e in (np.min, np.max)]
        n_there = np.count_nonzero(status != PENDING)
        diverged = f"{np.count_nonzero(status == Status.DIVERGED)}" if n_there else "pending"
        lines.append([label, _median(values), *ends, diverged])
    return wording.ruled(lines, width=outputs.width())


def _crossed(
    cells: _Cells, rows: _Parameter, columns: _Parameter, fixed: Sequence[_Place]
) -> tuple[str, bool]:
    """Return a row for each value of one parameter, a column for each of another.

    And whether numbers of diverged runs are among them.
    """
    texts = []
    for row in rows.members:
        line = []
        for column in columns.members:
            values, status = cells.only(*fixed, (rows.dim, row), (columns.dim, column))
            there = int(np.count_nonzero(status != PENDING))
            diverged = int(np.count_nonzero(status == Status.DIVERGED))
            if not there:
                line.append(("pending" if status.size else "", ""))
            elif diverged == there:
                line.append(("diverged", ""))
            else:
                line.append((_median(values), f" ({diverged})" if diverged else ""))
        texts.append(line)
    pads = [max(len(line[j][1]) for line in texts) for j in range(len(columns.labels))]
    lines = [[f"{rows.name} \\ {columns.name}", *columns.labels]]
    for label, line in zip(rows.labels, texts, strict=True):
        lines.append([label, *(v + n.ljust(pad) for (v, n), pad in zip(line, pads, strict=True))])
    return wording.ruled(lines, width=outputs.width()), any(pads)


def _best(data: Dataset, of: str, cells: _Cells) -> str:
    """Return the runs of the least values, with their parameters."""
    axis = cells.dims.index("run")
    moved = np.moveaxis(cells.values, axis, 0).reshape(data.sizes["run"], -1)
    ended = np.moveaxis(cells.status, axis, 0).reshape(data.sizes["run"], -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runs that all diverged
        medians = np.nanmedian(moved, axis=1)
    order = np.argsort(medians, kind="stable")[:_MOST_BEST]
    names = ["run", *together(data, "run")]
    labels = [data[name].to_numpy().tolist() for name in names]
    lines = [[*names, of, "diverged"]]
    for run in order:
        diverged = np.count_nonzero(ended[run] == Status.DIVERGED)
        row = [wording.label(of_runs[run]) for of_runs in labels]
        lines.append([*row, _median(medians[[run]]), str(diverged)])
    seeds = [wording.count(data.sizes[dim], dim) for dim in cells.dims if dim in SEEDS]
    over = f", median over {' and '.join(seeds)}" if seeds else ""
    title = f"{of}{over}, the {len(order)} least of {wording.count(data.sizes['run'], 'run')}"
    return f"{title}\n\n{wording.ruled(lines, width=outputs.width())}"
