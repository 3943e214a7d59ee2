"""A sweep as one page of HTML, to be looked through in a browser.

It belongs to `linnet_fast.plot`, but needs plotly in place of matplotlib.
"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.sweeps.results import RECORDS, Sweep, readable, together
from linnet_fast.sweeps.spec import SEEDS
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from os import PathLike

    from xarray import Dataset

_MOST_NUMBERS = 400_000  # of all curves: some 4 MB of text
_MOST_RECORDS = 120
_MOST_CELLS = 2_000_000
_QUARTILES = (0.25, 0.5, 0.75)


def page(data: Dataset, file: str | PathLike[str], *, title: str | None = None) -> None:
    """Write a sweep as a page of HTML that explains itself, in one file that needs no network.

    It shows a variable of choice as colour over two dims of choice, with a slider for every dim, and beside it what
    was recorded in the cell that is clicked: the median over the seeds, and the quartiles. Medians leave out runs
    that diverged; cells where all did have a cross, those where some did a ring. Of a random or paired design each
    run is a point over two parameters.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    file : path
        Where to write, in place of what is there; ``.html``.
    title : str, optional
        Above all; by default the name of the file.

    Raises
    ------
    ImportError
        If plotly is not installed.
    OSError
        If the file cannot be written; then what was there stays.
    TypeError
        If an argument is of a wrong type.
    ValueError
        If `data` is not of a sweep or has more than two million cells, or `file` does not end in .html.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(
    ...     lf.Dense((2, 3, 2)), loss, lf.Start("gaussian"), method=lf.GradientDescent(0.1), n_steps=50
    ... )
    >>> grid = {"start.scale": [1e-3, 1.0], "method.step_size": [0.05, 0.1]}
    >>> data = lf.sweep(lf.grid(training, grid, derived=("final_loss",)), progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page(data, f"{folder}/sweep.html")
    ...     with open(f"{folder}/sweep.html", encoding="utf-8") as written:
    ...         written.readline().strip()
    '<!doctype html>'
    """
    target = Path(validate.path("file", file))
    if target.suffix != ".html":
        msg = f"file must end in .html, got {str(target)!r}"
        raise ValueError(msg)
    if title is not None:
        validate.instance("title", title, str)
    content = _content(Sweep(data), title or target.stem)
    library: str = files.optional("plotly.offline", "page").get_plotlyjs()
    template = (resources.files("linnet_fast.plot") / "sweep_page.html").read_text(encoding="utf-8")
    # In a script the text "</" would end it.
    numbers = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    for mark, text in (
        ("@TITLE@", html.escape(content["title"])),
        ("@DATA@", numbers),
        ("@PLOTLY@", library),
    ):
        template = template.replace(mark, text)
    with files.replaced(target) as temporary:
        Path(temporary).write_text(template, encoding="utf-8")


def _content(sweep: Sweep, title: str) -> dict[str, Any]:
    """Return all that a page shows, as plain numbers and text."""
    data = sweep.data
    swept = [dim for dim in sweep.swept if dim not in SEEDS]
    status = data["status"].transpose(*swept, ...).to_numpy()
    if status.size > _MOST_CELLS:
        msg = f"data must have at most {_MOST_CELLS:,} runs, got {status.size:,}"
        raise ValueError(msg)
    status = status.reshape(*(data.sizes[dim] for dim in swept), -1)
    over = {
        name: [dim for dim in dims if dim not in sweep.swept]
        for name, dims in sweep.variables.items()
    }
    curves = [name for name, inner in over.items() if set(inner) & set(RECORDS)]
    maps = [name for name in over if name not in curves]
    first = sweep.variable(None, ()) if maps else None
    maps.sort(key=lambda name: name != first)
    dims = dict.fromkeys(swept)
    dims |= dict.fromkeys(dim for name in maps for dim in over[name])
    return {
        "title": title,
        "dims": [_dim(data, dim) for dim in dims],
        "points": _points(data, swept),
        "n_seeds": status.shape[-1],
        "diverged": _texts((status == Status.DIVERGED).sum(-1)),
        "pending": _texts((status < 0).sum(-1)),
        "maps": [_map(sweep, name, swept, over[name]) for name in maps],
        "curves": _curves(sweep, swept, {name: over[name] for name in curves}),
    }


def _dim(data: Dataset, dim: str) -> dict[str, Any]:
    values = data[dim].to_numpy().tolist() if dim in data.coords else range(data.sizes[dim])
    return {
        "name": dim,
        "label": readable(data, dim) if dim in data.coords else dim.replace("_", " "),
        "values": _names(values),
    }


def _points(data: Dataset, swept: list[str]) -> list[dict[str, Any]] | None:
    """Return the parameters of a design without a grid; None of a grid."""
    names = together(data, swept[0]) if len(swept) == 1 else []
    if len(names) < 2:
        return None
    found = []
    for name in names:
        values = data[name].to_numpy()
        is_number = values.dtype.kind in "iuf"
        found.append(
            {
                "name": name,
                "label": readable(data, name),
                "values": values.tolist() if is_number else [str(v) for v in values.tolist()],
            }
        )
    return found


def _map(sweep: Sweep, name: str, swept: list[str], inner: list[str]) -> dict[str, Any]:
    """Return the medians of a variable over the seeds, over all other dims."""
    values = _values(sweep, name, [*swept, *inner])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of cells without any number
        medians = np.nanmedian(values, axis=-1)
    return {
        "name": name,
        "label": readable(sweep.data, name),
        "dims": [*swept, *inner],
        "values": _texts(medians),
    }


def _curves(sweep: Sweep, swept: list[str], over: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return quartiles over the seeds along the training; of many records some, of too many none."""
    found: list[dict[str, Any]] = []
    data = sweep.data
    room = _MOST_NUMBERS
    for name, inner in over.items():
        (record,) = set(inner) & set(RECORDS)
        others = [dim for dim in inner if dim != record]
        cells = int(np.prod([data.sizes[dim] for dim in (*swept, *others)]))
        most = min(_MOST_RECORDS, room // (3 * cells), data.sizes[record])
        if most < min(8, data.sizes[record]):
            continue
        room -= most * 3 * cells
        places = np.unique(np.linspace(0, data.sizes[record] - 1, most).round().astype(int))
        some = Sweep(data[[name, "status"]].isel({record: places}))
        values = _values(some, name, [*swept, *others, record])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            bands = np.nanquantile(values, _QUARTILES, axis=-1)
        found.append(
            {
                "name": name,
                "label": readable(data, name),
                "dims": [*swept, *others],
                "inner": [_dim(data, dim) for dim in others],
                "record": {
                    "label": readable(data, record),
                    "values": _texts(some.data[record].to_numpy()),
                },
                "bands": [_texts(band) for band in bands],
            }
        )
    return found


def _values(sweep: Sweep, name: str, dims: list[str]) -> FloatArray:
    """Return values over dims and then the seeds, if there are any; NaN of runs without one."""
    values = sweep.runs(name, {}).values.transpose(*dims, ...)
    return values.to_numpy().reshape(*(values.sizes[dim] for dim in dims), -1)


def _texts(array: npt.NDArray[Any]) -> list[float | None]:
    """Return numbers with as many digits as can be seen; None where there is none."""
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in array.astype(np.float64).ravel()]


def _names(values: Iterable[object]) -> list[str]:
    """Return values as short texts that differ."""
    values = list(values)
    short = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
    return short if len(set(short)) == len(values) else [str(v) for v in values]
