"""The picture of a sweep that the options of a command, or the table ``[plot]`` of a file, ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast import plot
from linnet_fast._base import files, validate
from linnet_fast.cli.sweep_table import chosen, parameters_of, thinned, variable_of
from linnet_fast.plot import _style
from linnet_fast.plot.sweep_curves import Theory, curves_with_theory
from linnet_fast.sweeps.file import reader
from linnet_fast.sweeps.file.reader import SweepFile
from linnet_fast.sweeps.layout import layout_of
from linnet_fast.sweeps.results import RECORDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

_MOST_LINES = 8  # of curves beside a heat map


def check_plot(file: SweepFile) -> None:
    """Refuse names in the table of the picture that the result will not have."""
    table = file.plot
    if not {"of", "x", "y", "by", "select", "theory"} & set(table):
        return
    layout = layout_of(file.spec)
    dims = {dim for variable in layout.variables for dim in variable.dims}
    known = dict.fromkeys((*file.spec.dims, *layout.coords, *sorted(dims)))
    try:
        names = [variable.name for variable in layout.variables if variable.name != "status"]
        for name in _several(table.get("of", [])):
            validate.choice("plot.of", name, names)
        for key in ("x", "y", "by"):
            if key in table:
                validate.choice(f"plot.{key}", table[key], known)
        for key in table.get("select", {}):
            validate.choice("key of plot.select", key, known)
        for i in range(len(table.get("theory", []))):
            _check_theory(file, i, names)
    except ValueError as error:
        msg = f"{file.path}: {error}"
        raise ValueError(msg) from error


def _check_theory(file: SweepFile, i: int, variables: list[str]) -> None:
    """Refuse a line of theory that could not be drawn among the curves."""
    table, where = file.plot, f"plot.theory[{i}]"
    entry, select = table["theory"][i], table.get("select", {})
    formula = reader.formula_of(where, entry)
    if "of" in entry:
        validate.choice(f"{where}.of", entry["of"], variables)
    drawn = [table[key] for key in ("x", "by") if key in table] + list(select)
    for name in sorted(formula.names):
        if name not in drawn:
            expected = f"plot.x, plot.by and plot.select ({', '.join(drawn) or 'none'})"
            msg = f"{formula.where} must be of what is named in {expected}, got {name!r}"
            raise ValueError(msg)
        values = [select[name]] if name in select else _values(file, name)
        if not all(isinstance(value, int | float) for value in values):
            msg = f"{formula.where} must be of numbers, got {name!r}, whose values are others"
            raise ValueError(msg)
    if "x" in entry and table.get("x") in formula.names:
        msg = f"{formula.where} must be a place on the axis of {table['x']!r}, got a formula of it"
        raise ValueError(msg)


def _values(file: SweepFile, name: str) -> list[Any]:
    """Return the values of a swept parameter; none of what is not swept."""
    values: list[Any] = []
    for dim, axis in file.spec.axes.items():
        columns = [axis.values[path] for path in axis.values if path.split(".")[-1] == name]
        for column in ([axis.labels] if dim == name else []) + columns:
            values += np.asarray(column).tolist()
    return values


def of_table(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table takes of the options of a picture."""
    taken = {name: options[name] for name in ("x", "y", "select") if name in options}
    if "y" not in taken and "by" in options:
        taken["y"] = options["by"]
    return {"of": next(iter(_several(options.get("of", []))), None), **taken}


def draw(data: Dataset, options: Mapping[str, Any], title: str | None = None) -> Figure:
    """Return a picture: a heat map and curves where two parameters or more are swept, else curves.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    options : mapping
        kind, of, x, y, by, select, title, theory: as the table ``[plot]`` of a file has them. Of several
        variables there is a panel for each, of curves if not of another kind.
    title : str, optional
        Above all, if the options have none.
    """
    select = chosen(data, options.get("select") or {})
    variables = _several(options.get("of", [])) or [variable_of(data)]
    panels = []
    for of in variables:
        fixed = _single_entries(data, variable_of(data, of)) | select
        kinds = _kinds(data, of, options, fixed, alone=len(variables) == 1)
        panels += [(of, kind, fixed) for kind in kinds]
    x, y, by = (options.get(key) for key in ("x", "y", "by"))
    pyplot = files.optional("matplotlib.pyplot", "plot")
    with pyplot.rc_context(_style.STYLE):
        figure: Figure
        figure, axes = _style.panels(len(panels))
        # Heat maps have a colour bar, curves a legend beside them.
        figure.set_size_inches(0.8 + 4.1 * len(panels), 3.5)
        for ax, (of, kind, fixed) in zip(axes, panels, strict=True):
            if kind == "heatmap":
                plot.heatmap(data, of, x=x, y=y, select=fixed, ax=ax)
            else:
                lines = _theory(options, of)
                _curves(data, of, lines, x, by or (y if len(panels) > 1 else None), fixed, ax)
        text = options.get("title", title)
        if text:
            _style.headline(figure, text)
    return figure


def _several(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _single_entries(data: Dataset, of: str) -> dict[str, Any]:
    """Return the only labels of axes of a variable that are neither swept nor of records."""
    inner = [str(dim) for dim in data[of].dims if dim not in (*data["status"].dims, *RECORDS)]
    return {dim: data[dim].to_numpy().tolist()[0] for dim in inner if data.sizes[dim] == 1}


def _kinds(
    data: Dataset, of: str, options: Mapping[str, Any], fixed: Mapping[str, Any], *, alone: bool
) -> list[str]:
    """Return the kinds of pictures of a variable."""
    if "kind" in options:
        return [options["kind"]]
    drawn = [options[key] for key in ("x", "y", "by") if key in options]
    free = [name for name in parameters_of(data) if name not in fixed]
    loose = set(data[of].dims) - {*data["status"].dims, *fixed, *drawn}
    two = "run" in free or len(free) > 1 or len(drawn) > 1
    return ["heatmap", "curves"] if alone and two and not loose else ["curves"]


def _theory(options: Mapping[str, Any], of: str) -> list[Theory]:
    """Return the lines of theory among curves of a variable."""
    lines = []
    for i, entry in enumerate(options.get("theory", [])):
        if entry.get("of", of) == of:
            formula = reader.formula_of(f"plot.theory[{i}]", entry)
            lines.append(Theory(entry["label"], formula.names, formula, "x" in entry))
    return lines


def _curves(
    data: Dataset,
    of: str,
    theory: Sequence[Theory],
    x: str | None,
    by: str | None,
    select: Mapping[str, Any],
    ax: Any,
) -> None:
    """Draw curves; of many lines some."""
    swept = [str(dim) for dim in data["status"].dims]
    if x is None and set(data[of].dims) <= {*swept, *select} and "run" not in swept:
        # As in a heat map: over the first of the two parameters of the most values.
        most = [name for name in parameters_of(data) if name not in (by, *select)]
        pair = [name for name in swept if name in most[: 1 if by else 2]]
        x = next(iter(pair), None)
        by = by or next(iter(pair[1:]), None)
    if by is not None and by in data.dims and data.sizes[by] > _MOST_LINES:
        data = data.isel({by: thinned(data[by].to_numpy().tolist(), _MOST_LINES)})
    curves_with_theory(data, of, theory, x=x, by=by, select=select, ax=ax)


def save(data: Dataset, options: Mapping[str, Any], title: str | None, file: Path) -> None:
    """Draw a picture into a file, whole or not at all."""
    figure = draw(data, options, title)
    with files.replaced(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
    files.optional("matplotlib.pyplot", "plot").close(figure)
