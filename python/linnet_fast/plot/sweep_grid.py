"""Small multiples of sweeps: curves for every value of one or two more parameters.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast.plot._style import panels
from linnet_fast.plot._sweep_axis import Parameter
from linnet_fast.plot.sweep_curves import curves
from linnet_fast.sweeps.results import Sweep, n_values, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

_MOST_PANELS = 64


def grid(
    data: Dataset,
    of: str | None = None,
    *,
    columns: str,
    rows: str | None = None,
    x: str | None = None,
    by: str | None = None,
    select: Mapping[str, object] | None = None,
) -> Figure:
    """Draw `curves` of a sweep in panels, one for each value of one or two parameters.

    All panels have the same axes, so that they can be compared.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    of : str, optional
        The variable; by default as for `curves`.
    columns : str
        A parameter, or another dim of the variable, with a column of panels for each value.
    rows : str, optional
        Another one, with a row of panels for each value. At most 64 panels in all.
    x, by : str, optional
        As for `curves`; by default as there, of what is left.
    select : mapping of str to number or str, optional
        As for `curves`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If an argument is of a wrong type.
    ValueError
        If `data` is not of a sweep, a name or a value is not there, names are the same, or there are too
        many panels.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import xarray
    >>> runs = ("scale", "n_layers", "width", "seed")
    >>> data = xarray.Dataset(
    ...     {"final_loss": (runs, np.ones((4, 2, 3, 5))), "status": (runs, np.zeros((4, 2, 3, 5), "i1"))},
    ...     {"scale": [1e-6, 1e-4, 1e-2, 1.0], "n_layers": [2, 3], "width": [4, 8, 16]},
    ... )
    >>> figure = grid(data, columns="width", x="scale", by="n_layers")
    >>> [ax.get_title() for ax in figure.axes]
    ['width 4', 'width 8', 'width 16']
    """
    sweep = Sweep(data)
    validate.instance("columns", columns, str)
    of = sweep.variable(of, (x, by))
    names = {"columns": columns, "rows": rows, "x": x, "by": by}
    held = sweep.fixed(of, select, names)
    taken = [name for name in names.values() if name is not None]
    for place, name in names.items():
        if name is not None and taken.count(name) > 1:
            msg = f"{place} must be a parameter of its own, got {name!r} twice"
            raise ValueError(msg)
    shape = [1 if name is None else n_values(data, name) for name in (rows, columns)]
    if shape[0] * shape[1] > _MOST_PANELS:
        msg = f"columns must make at most {_MOST_PANELS} panels, got {shape[0]} x {shape[1]}"
        raise ValueError(msg)
    runs = sweep.runs(of, held)
    across = Parameter(runs, columns)
    up = None if rows is None else Parameter(runs, rows)
    figure: Figure
    figure, axes = panels(len(across.names), 1 if up is None else len(up.names))
    axes = np.asarray(axes).reshape(-1, len(across.names))
    first = {name: data[name].to_numpy() for name in (columns, rows) if name is not None}
    for i, j in product(*map(range, axes.shape)):
        fixed = dict(held)
        for name, parameter, k in ((columns, across, j), (rows, up, i)):
            if name is not None and parameter is not None:
                fixed[name] = first[name][parameter.members[k][0]].item()
        ax = curves(data, of, x=x, by=by, select=fixed, ax=axes[i, j])
        title = f"{across.label} {across.names[j]}"
        ax.set_title(title if i == 0 else "")
        beside = "" if up is None else f"{up.label} {up.names[i]}\n"
        ax.set_ylabel(f"{beside}{readable(data, of)}" if j == 0 else "")
        if i < axes.shape[0] - 1:
            ax.set_xlabel("")
        legend = ax.get_legend()
        if legend is not None and (i, j) != (0, axes.shape[1] - 1):
            legend.remove()
    _alike(axes)
    return figure


def _alike(axes: npt.NDArray[Any]) -> None:
    """Give all panels the same axes."""
    every = list(axes.flat)
    for which in ("x", "y"):
        ends = np.array([getattr(ax, f"get_{which}lim")() for ax in every])
        scales = {getattr(ax, f"get_{which}scale")() for ax in every}
        if len(scales) > 1:
            scale = "log" if ends.min() > 0 else "linear"
            for ax in every:
                ax.set(**{f"{which}scale": scale})
        for ax in every:
            ax.set(**{f"{which}lim": (ends[:, 0].min(), ends[:, 1].max())})
    for ax in axes[:, 1:].flat:
        ax.tick_params(labelleft=False)
    for ax in axes[:-1].flat:
        ax.tick_params(labelbottom=False)
