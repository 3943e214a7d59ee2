"""What ``linnet-fast sweep`` and ``linnet-fast show`` do: run, watch, tabulate and draw sweeps."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast import _files, _plot_style, _sweep_plot, _validate
from linnet_fast._sweep.chunk import layout_of
from linnet_fast._sweep.spec import encode_training
from linnet_fast._sweep.store import is_store
from linnet_fast._sweep_file import SweepFile
from linnet_fast._validate import FloatArray
from linnet_fast.config import config
from linnet_fast.state import Status
from linnet_fast.sweep import SweepError, SweepProgress, estimate_sweep, open_sweep, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

Indices: TypeAlias = npt.NDArray[np.intp]
Place: TypeAlias = tuple[str, Indices]
"""Runs along a dim."""

_MOST_ROWS, _MOST_COLUMNS, _MOST_BEST = 15, 10, 10
_MOST_TABLES = 4
_MOST_SHAPES = 12
_MOST_LINES = 8  # of curves beside a heat map
_MOST_VALUES = 5  # of a parameter in a summary
_LINE_SECONDS = 10.0  # between lines of progress, where there is no terminal
_MOST_FAILURES = 3  # pools in a row whose workers die before they have done anything
_RECORDS = ("step", "time", "record")
_PENDING = -1


# -- before ----------------------------------------------------------------------------------------


def title_of(file: SweepFile) -> str:
    """Return a title: the data and, if it is the same for all runs, the network."""
    names = [text.partition(":")[0] for text in file.data if ":" in text]
    network = file.spec.training.network.spec
    if not any(
        "network" in axis.values or _inside(axis.values) for axis in file.spec.axes.values()
    ):
        names.append(_network_line(network, set()).replace("->", "→"))
    return ", ".join(names)


def _inside(paths: Iterable[str]) -> bool:
    return any(path.startswith("network.") for path in paths)


def summary(file: SweepFile, store: Path | None, n_threads: int) -> str:
    """Return what is going to be done."""
    spec = file.spec
    axes = {name: _Swept(list(axis.labels), axis.values) for name, axis in spec.axes.items()}
    lines = {
        "data": "; ".join(file.data),
        **_described(encode_training(spec.training), axes, spec.replicates),
        "machine": _count(n_threads, "thread") + f", instruction set {config()['instruction_set']}",
        "store": _store_line(file, store),
    }
    return _aligned(lines)


def _aligned(lines: Mapping[str, str]) -> str:
    width = max(10, *map(len, lines))
    return "\n".join(f"{name:{width}} {text}" for name, text in lines.items())


def _count(n: int, name: str) -> str:
    return f"{n:,} {name}{'' if n == 1 else 's'}"


def _store_line(file: SweepFile, store: Path | None) -> str:
    if store is None:
        return "none, results are kept in memory"
    if not is_store(store):
        return f"{store}, new"
    return f"{store}, {n_there(store):,} of {file.spec.n_runs:,} runs are there already"


def n_there(store: Path) -> int:
    """Return how many runs are in a store."""
    return int(np.count_nonzero(open_sweep(store)["status"].to_numpy() != _PENDING))


class _Swept(NamedTuple):
    """A dimension of a sweep, for the summary."""

    labels: Sequence[Any]
    values: Mapping[str, Sequence[Any]]
    """Parameter -> its values, none where they are not known."""


def _described(
    training: Mapping[str, Any], axes: Mapping[str, _Swept], replicates: int | None
) -> dict[str, str]:
    """Return what a sweep trains, given as plain data, and what it varies."""
    paths = {path for axis in axes.values() for path in axis.values}
    lines = {"network": _network_line(training["network"], paths)}
    for name in ("start", "method"):
        varied = " swept" if name in paths else ""
        lines[name] = f"{_object_line(name, training[name], paths)}{varied}"
    sizes = {name: len(axis.labels) for name, axis in axes.items()}
    if replicates is not None:
        sizes["seed"] = replicates
    product = " x ".join(f"{n} {name}" for name, n in sizes.items()) or "1"
    n_runs = math.prod(sizes.values())
    lines["runs"] = f"{n_runs:,} = {product}, {_length(training, paths)}"
    for name, axis in axes.items():
        lines |= {name: _some(axis.labels)} if name != "run" else _drawn_lines(axis)
    return lines


def _network_line(spec: str, paths: set[str]) -> str:
    widths = re.fullmatch(r"Dense\(widths=\(([\d, ]+)\)\)", spec)
    text = " -> ".join(widths[1].split(", ")) if widths else spec
    inner = sorted(path[8:] for path in paths if path.startswith("network."))
    if "network" in paths:
        return "swept"
    return f"{text}, with {' and '.join(inner)} swept" if inner else text


def _object_line(name: str, data: Mapping[str, Any], paths: set[str]) -> str:
    """Return a call: GradientDescent(step_size=swept)."""
    parts = []
    for key, value in data.items():
        path = f"{name}.{key}"
        if path in paths:
            parts.append(f"{key}=swept")
        elif isinstance(value, dict) and "kind" in value:
            parts.append(f"{key}={_object_line(path, value, paths)}")
        elif key != "kind" and isinstance(value, int | float | str) and value not in (0, False):
            parts.append(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}")
    kind = name if f"{name}.kind" in paths else data.get("kind", name)
    return f"{kind}({', '.join(parts)})" if parts else str(kind)


def _length(training: Mapping[str, Any], paths: set[str]) -> str:
    if "n_steps" in paths or "until" in paths:
        return "of swept length"
    if training["n_steps"] is None:
        return f"until time {training['until']:g}"
    return f"{training['n_steps']:,} steps each"


def _drawn_lines(axis: _Swept) -> dict[str, str]:
    """Return the ranges of what varies from run to run."""
    lines = {}
    for path, values in axis.values.items():
        short = path.rpartition(".")[2]
        if len(values) and all(isinstance(v, int | float) for v in values):
            lines[short] = f"{_number(float(min(values)))} to {_number(float(max(values)))}"
        elif len(values):
            texts = (v if isinstance(v, str) else getattr(v, "spec", repr(v)) for v in values)
            lines[short] = _some(list(dict.fromkeys(texts)))
    return lines


def _some(labels: Sequence[Any]) -> str:
    """Return the first labels and the last."""
    texts = [_label(label) for label in labels]
    if len(texts) > _MOST_VALUES:
        texts = [*texts[: _MOST_VALUES - 2], "...", texts[-1]]
    return ", ".join(texts)


def _label(value: object) -> str:
    if isinstance(value, float | np.floating):
        return _number(float(value))
    return str(value)


def _number(value: float) -> str:
    """Return a number as 0.155, 1e-6, 20000."""
    size = abs(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-2 <= size < 1e5:
        return f"{value:.0f}" if size >= 1e3 else f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def forecast(file: SweepFile, n_threads: int | None) -> str:
    """Return what a sweep will take: groups of shapes, time, bytes."""
    estimate = estimate_sweep(file.spec, n_threads=n_threads)
    rows = [["network", "runs", "time"]]
    shapes: dict[str, list[float]] = {}
    for group in estimate.groups:
        entry = shapes.setdefault(group.network, [0, 0.0])
        entry[0] += group.n_runs
        entry[1] += group.seconds
    for network, (n_runs, seconds) in list(shapes.items())[:_MOST_SHAPES]:
        rows.append([_network_line(network, set()), f"{int(n_runs):,}", _duration(seconds)])
    text = _ruled(rows, left=1)
    if len(shapes) > _MOST_SHAPES:
        text += f"\n... and {len(shapes) - _MOST_SHAPES:,} more"
    chunk = min(estimate.chunk_runs, estimate.n_runs)
    lines = {
        "time": f"about {_duration(estimate.seconds)} with {_count(estimate.n_threads, 'thread')}",
        "result": f"{_size(estimate.n_bytes)}, in chunks of about {_count(chunk, 'run')}",
    }
    return f"{text}\n\n{_aligned(lines)}\n\nThis was a dry run: nothing is written."


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def _size(n_bytes: int) -> str:
    if n_bytes < 10**6:
        return f"{n_bytes:,} bytes"
    for unit, factor in (("MB", 10**6), ("GB", 10**9), ("TB", 10**12)):
        if n_bytes < 1000 * factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes / 10**12:,.0f} TB"


def check_plot(file: SweepFile) -> None:
    """Refuse names in the table of the picture that the result will not have."""
    table = file.plot
    names = [key for key in ("of", "x", "y", "by", "select") if key in table]
    if not names:
        return
    layout = layout_of(file.spec)
    dims = {dim for variable in layout.variables for dim in variable.dims}
    known = dict.fromkeys((*file.spec.dims, *layout.coords, *sorted(dims)))
    try:
        names = [variable.name for variable in layout.variables if variable.name != "status"]
        for name in _several(table.get("of", [])):
            _validate.choice("plot.of", name, names)
        for key in ("x", "y", "by"):
            if key in table:
                _validate.choice(f"plot.{key}", table[key], known)
        for key in table.get("select", {}):
            _validate.choice("key of plot.select", key, known)
    except ValueError as error:
        msg = f"{file.path}: {error}"
        raise ValueError(msg) from error


# -- meanwhile -------------------------------------------------------------------------------------


class Live:
    """Tells how far a sweep is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, n_runs: int) -> None:
        self.state: SweepProgress | None = None
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            tqdm = _files.optional("tqdm", "sweep").tqdm
            form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} runs{postfix}"
            self._bar = tqdm(total=n_runs, bar_format=form, leave=False)

    def __call__(self, state: SweepProgress) -> None:
        """Take note of progress."""
        with self._lock:
            self.state = state
            if self._bar is not None:
                self._bar.total = state.n_runs
                self._bar.set_postfix_str(_how_far(state), refresh=False)
                self._bar.update(state.n_done - self._bar.n)
            elif time.monotonic() - self._told >= _LINE_SECONDS:
                self._told = time.monotonic()
                runs = f"{state.n_done:,} of {state.n_runs:,} runs"
                sys.stderr.write(f"{runs}, {_how_far(state)}\n")
                sys.stderr.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


def _how_far(state: SweepProgress) -> str:
    rate = f"{state.runs_per_second:,.1f} runs/s, " if state.runs_per_second > 0 else ""
    left = "" if math.isinf(state.seconds_left) else f"{_duration(state.seconds_left)} left, "
    return f"{rate}{left}{state.n_diverged:,} diverged"


def train(
    file: SweepFile, store: Path | None, options: argparse.Namespace, live: Live | None
) -> Dataset:
    """Run the sweep by whom the options say; workers that die are replaced."""
    failures, before = 0, -1
    while True:
        try:
            with _executor(options, file.module_folder) as executor:
                return sweep(
                    file.spec,
                    store,
                    executor,
                    live or False,
                    n_threads=options.threads,
                    shard=options.shard,
                    extend=options.extend,
                )
        except SweepError as error:
            if not options.workers or store is None or not _worker_died(error):
                raise
            there = n_there(store)
            failures = 1 if there > before else failures + 1
            if failures > _MOST_FAILURES:
                raise
            before = there


def _worker_died(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, BrokenExecutor):
            return True
        error = error.__cause__
    return False


@contextmanager
def _executor(options: argparse.Namespace, folder: Path | None) -> Iterator[Any]:
    """Give the executor that the options name, None for the threads of this process."""
    paths = [] if folder is None else [str(folder)]
    made: Any = nullcontext()
    if options.workers:
        made = _pool(options.workers, paths)
    elif options.dask is not None:
        made = _dask(options.dask, paths)
    elif options.mpi:
        made = _files.optional("mpi4py.futures", "mpi").MPIPoolExecutor(path=paths)
    with made as executor:
        yield executor


@contextmanager
def _pool(n: int, paths: list[str]) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes, which are ended at once when something goes wrong."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin, initargs=(paths,))
    try:
        yield pool
    except BaseException:
        # Nothing is lost but chunks that are half trained: files appear whole or not at all.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(paths: list[str]) -> None:
    """Prepare a worker: Ctrl-C is the business of the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _find_modules(paths)


def _find_modules(paths: list[str]) -> None:
    sys.path[:0] = [path for path in paths if path not in sys.path]


@contextmanager
def _dask(address: str, paths: list[str]) -> Iterator[Any]:
    distributed = _files.optional("distributed", "dask")
    with distributed.Client(address, timeout=10, set_as_default=False) as client:
        if paths:
            client.run_on_scheduler(_find_modules, paths)  # it reads what it hands on
            client.register_worker_callbacks(partial(_find_modules, paths))
        yield client


def interrupted(store: Path | None) -> str:
    """Return what Ctrl-C has left."""
    if store is None:
        return "interrupted; nothing is kept, for there is no store"
    if not is_store(store):
        return "interrupted before anything was kept"
    data = open_sweep(store)
    kept = f"{n_there(store):,} of {data['status'].size:,} runs are kept in {store}"
    return f"interrupted; {kept}: the same command goes on from there"


# -- afterwards ------------------------------------------------------------------------------------


def ending(data: Dataset) -> str:
    """Return how runs ended: "520 runs: 490 completed, 30 diverged"."""
    status = data["status"].to_numpy()
    names = {**{int(s): s.name.lower() for s in Status}, _PENDING: "pending"}
    counts = {name: int(np.count_nonzero(status == s)) for s, name in names.items()}
    shown = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
    return f"{_count(status.size, 'run')}: {shown}"


def size(data: Dataset) -> str:
    """Return how large a result is."""
    return _size(data.nbytes)


def of_table(plot: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table takes of the options of a picture."""
    chosen = {name: plot[name] for name in ("x", "y", "select") if name in plot}
    chosen["of"] = next(iter(_several(plot.get("of", []))), None)
    if "y" not in chosen and "by" in plot:
        chosen["y"] = plot["by"]
    return chosen


def variable_of(data: Dataset, of: str | None = None) -> str:
    """Return the variable to show: the final loss, or else the first over swept parameters alone."""
    names = [
        str(name)
        for name, variable in data.data_vars.items()
        if variable.dtype.kind in "iuf" and name != "status"
    ]
    if of is not None:
        return _validate.choice("of", of, names)
    swept = set(data["status"].dims)
    own = [name for name in names if name != "stopped_at"] or names
    scalar = [name for name in own if set(data[name].dims) <= swept]
    return next((n for n in ("final_loss", "loss") if n in (scalar or own)), (scalar or own)[0])


def _thinned(values: Sequence[Any], most: int) -> Indices:
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
    labels = np.array([len(_label(value)) for value in values])
    return np.arange(0, gaps + 1, min(strides, key=lambda s: float(labels[::s].mean())))


class _Parameter:
    """The different values of a parameter and where runs have them, some left out if many."""

    def __init__(self, data: Dataset, name: str, most: int) -> None:
        self.name = name
        self.dim = str(data[name].dims[0]) if name in data.coords else name
        if name in data.coords:
            labels = data[name].to_numpy().tolist()
        else:
            labels = list(range(data.sizes[name]))
        values = list(dict.fromkeys(labels))
        if self.dim != name:
            values.sort()
        self.n_values = len(values)
        values = [values[i] for i in _thinned(values, most)]
        self.labels = [_label(value) for value in values]
        places = np.array([values.index(v) if v in values else -1 for v in labels])
        self.members: list[Indices] = [np.flatnonzero(places == i) for i in range(len(values))]


class _Cells:
    """Values and status of runs, both over all swept dims and those of the variable."""

    def __init__(self, data: Dataset, of: str) -> None:
        values = data[of]
        records = [dim for dim in values.dims if dim in _RECORDS]
        array = values.to_numpy().astype(np.float64)
        dims = [str(dim) for dim in values.dims]
        for dim in records:
            array = _last(array, dims.index(str(dim)))
            dims.remove(str(dim))
        status = data["status"]
        for dim in [d for d in dims if d not in status.dims and data.sizes[d] == 1]:
            array = np.take(array, [0], dims.index(dim)).squeeze(dims.index(dim))
            dims.remove(dim)
        self.at_end = bool(records)
        self.extra = [dim for dim in dims if dim not in status.dims]
        self.dims = [*map(str, status.dims), *self.extra]
        array = np.transpose(array, [dims.index(dim) for dim in self.dims])
        ended = status.to_numpy().reshape((*status.shape, *(1,) * len(self.extra)))
        self.status = np.broadcast_to(ended, array.shape)
        gone = (self.status == _PENDING) | (self.status == Status.DIVERGED)
        self.values: FloatArray = np.where(gone, np.nan, array)

    def only(self, *places: Place) -> tuple[FloatArray, npt.NDArray[np.int8]]:
        """Return values and status of some runs; indices along one dim twice are what both have."""
        index: dict[str, Indices] = {}
        for dim, own in places:
            index[dim] = np.intersect1d(index[dim], own) if dim in index else own
        values, status = self.values, self.status
        for dim, own in index.items():
            axis = self.dims.index(dim)
            values, status = values.take(own, axis), status.take(own, axis)
        return values, status


def _last(array: FloatArray, axis: int) -> FloatArray:
    """Return the last entry along an axis that is not NaN."""
    moved = np.moveaxis(array, axis, -1)
    where = np.where(np.isnan(moved), 0, np.arange(moved.shape[-1])).max(axis=-1)
    return np.asarray(np.take_along_axis(moved, where[..., None], axis=-1)[..., 0])


def selected(data: Dataset, select: Mapping[str, Any]) -> Dataset:
    """Return the runs at which parameters have certain values."""
    for name, value in select.items():
        _validate.choice("select", name, dict.fromkeys(map(str, (*data.coords, *data.dims))))
        labels = data[name].to_numpy()
        same = np.array([bool(label == value) for label in labels.tolist()], bool)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and labels.dtype.kind in "iuf":
            same |= np.isclose(labels.astype(float), float(value), rtol=1e-3, atol=0)
        if not same.any():
            msg = f"select {name} must be one of {_some(labels.tolist())}; got {value!r}"
            raise ValueError(msg)
        if data[name].ndim != 1:
            msg = (
                f"select {name} must be a parameter along one dim, got one along {data[name].dims}"
            )
            raise ValueError(msg)
        data = data.isel({str(data[name].dims[0]): np.flatnonzero(same)})
    return data


def parameters_of(data: Dataset) -> list[str]:
    """Return the swept parameters but seeds: those of several values, the most of them first."""
    names = [str(dim) for dim in data["status"].dims if dim != "seed"]
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
    data = selected(data, select or {})
    of = variable_of(data, of)
    cells = _Cells(data, of)
    known = [*cells.dims, *map(str, data.coords)]
    for name, given in (("x", x), ("y", y)):
        if given is not None:
            _validate.choice(name, given, dict.fromkeys(known))
    names = parameters_of(data)
    if "run" in names and x is None and y is None and not cells.extra:
        return _best(data, of, cells)
    if x is None:
        x = next((name for name in names if name != y), None)
    if y is None:
        others = [*cells.extra, *(name for name in names if name != x)]
        y = next(iter(others), None)
    if x is not None and y is not None and {x, y} <= set(names):
        order = list(cells.dims)
        if x in order and y in order and order.index(x) > order.index(y):
            x, y = y, x
    title = f"{of}{' at the end' if cells.at_end else ''}"
    if x is None:
        return _single(title, cells)
    rows = _Parameter(data, x, _MOST_ROWS)
    columns = None if y is None else _Parameter(data, y, _MOST_COLUMNS)
    over = [dim for dim in cells.dims if dim not in (rows.dim, columns and columns.dim)]
    apart = [dim for dim in over if dim != "seed" and data.sizes[dim] > 1]
    if math.prod(data.sizes[dim] for dim in apart) > _MOST_TABLES:
        apart = []
    sizes = [_count(data.sizes[dim], dim) if dim == "seed" else dim for dim in over]
    sizes = [text for text, dim in zip(sizes, over, strict=True) if dim not in apart]
    if sizes:
        title += f", median over {' and '.join(sizes)}"
    texts = [title]
    pads = False
    for place in product(*(range(data.sizes[dim]) for dim in apart)):
        fixed = [(dim, np.array([i])) for dim, i in zip(apart, place, strict=True)]
        labels = [_label(data[dim].to_numpy()[i].item()) for dim, (i,) in fixed]
        if fixed:
            texts.append(", ".join(f"{d} {t}" for d, t in zip(apart, labels, strict=True)))
        if columns is None:
            texts.append(_listed(cells, rows, fixed))
        else:
            text, noted = _crossed(cells, rows, columns, fixed)
            texts.append(text)
            pads |= noted
    notes = ["(n): so many runs diverged, the median is of the others."] if pads else []
    notes += [
        f"{len(p.labels)} of {p.n_values:,} values of {p.name} are shown."
        for p in (rows, columns)
        if p is not None and len(p.labels) < p.n_values
    ]
    return "\n\n".join([*texts, *(["\n".join(notes)] if notes else [])])


def _median(values: FloatArray) -> str:
    there = values[~np.isnan(values)]
    if not there.size:
        return "-"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of inf - inf
        return _number(float(np.median(there)))


def _single(title: str, cells: _Cells) -> str:
    n = int(np.count_nonzero(cells.status == Status.DIVERGED))
    return f"{title}: {_median(cells.values)}, {n} diverged"


def _listed(cells: _Cells, rows: _Parameter, fixed: Sequence[Place]) -> str:
    """Return a row for each value of a parameter."""
    lines = [[rows.name, "median", "least", "greatest", "diverged"]]
    for label, members in zip(rows.labels, rows.members, strict=True):
        values, status = cells.only(*fixed, (rows.dim, members))
        there = values[~np.isnan(values)]
        ends = [_number(float(e(there))) if there.size else "-" for e in (np.min, np.max)]
        n_there = np.count_nonzero(status != _PENDING)
        diverged = f"{np.count_nonzero(status == Status.DIVERGED)}" if n_there else "pending"
        lines.append([label, _median(values), *ends, diverged])
    return _ruled(lines)


def _crossed(
    cells: _Cells, rows: _Parameter, columns: _Parameter, fixed: Sequence[Place]
) -> tuple[str, bool]:
    """Return a row for each value of one parameter, a column for each of another.

    And whether numbers of diverged runs are among them.
    """
    texts = []
    for row in rows.members:
        line = []
        for column in columns.members:
            values, status = cells.only(*fixed, (rows.dim, row), (columns.dim, column))
            there = int(np.count_nonzero(status != _PENDING))
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
    return _ruled(lines), any(pads)


def _best(data: Dataset, of: str, cells: _Cells) -> str:
    """Return the runs of the least values, with their parameters."""
    axis = cells.dims.index("run")
    moved = np.moveaxis(cells.values, axis, 0).reshape(data.sizes["run"], -1)
    ended = np.moveaxis(cells.status, axis, 0).reshape(data.sizes["run"], -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runs that all diverged
        medians = np.nanmedian(moved, axis=1)
    order = np.argsort(medians, kind="stable")[:_MOST_BEST]
    names = [str(n) for n, c in data.coords.items() if c.dims == ("run",) and n != "run"]
    lines = [["run", *names, of, "diverged"]]
    for run in order:
        own = [_label(data[name].to_numpy()[run].item()) for name in names]
        diverged = np.count_nonzero(ended[run] == Status.DIVERGED)
        text = "-" if np.isnan(medians[run]) else _number(float(medians[run]))
        lines.append([str(data["run"].to_numpy()[run]), *own, text, str(diverged)])
    over = f", median over {_count(data.sizes['seed'], 'seed')}" if "seed" in data.sizes else ""
    n = data.sizes["run"]
    title = f"{of}{over}, the {len(order)} least of {_count(n, 'run')}"
    return f"{title}\n\n{_ruled(lines)}"


def _ruled(rows: list[list[str]], left: int = 0) -> str:
    """Return rows as a table with a rule under the first, the first columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:]])


def draw(data: Dataset, options: Mapping[str, Any], title: str | None = None) -> Figure:
    """Return a picture: a heat map and curves where two parameters or more are swept, else curves.

    Parameters
    ----------
    data : xarray.Dataset
        A sweep.
    options : mapping
        kind, of, x, y, by, select, title: as the table ``[plot]`` of a file has them. Of several
        variables there is a panel for each, of curves if not of another kind.
    title : str, optional
        Above all, if the options have none.
    """
    variables = _several(options.get("of", [])) or [variable_of(data)]
    panels = [
        (of, kind)
        for of in variables
        for kind in _kinds(data, variable_of(data, of), options, alone=len(variables) == 1)
    ]
    pyplot = _files.optional("matplotlib.pyplot", "plot")
    with pyplot.rc_context(_plot_style.STYLE):
        figure: Figure
        figure, axes = _plot_style.panels(len(panels))
        # Heat maps have a colour bar, curves a legend beside them.
        figure.set_size_inches(0.8 + 4.1 * len(panels), 3.5)
        for ax, (of, kind) in zip(axes, panels, strict=True):
            _draw_panel(data, of, kind, options, ax, alone=len(panels) == 1)
        text = options.get("title", title)
        if text:
            figure.suptitle(text, fontsize=9)
    return figure


def _several(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _kinds(data: Dataset, of: str, options: Mapping[str, Any], *, alone: bool) -> list[str]:
    """Return the kinds of pictures of a variable."""
    if "kind" in options:
        return [options["kind"]]
    chosen = {**_selection(data, of, options), **dict.fromkeys(_drawn(options))}
    free = [name for name in parameters_of(data) if name not in _selection(data, of, options)]
    loose = [dim for dim in data[of].dims if dim not in (*data["status"].dims, *chosen)]
    two = "run" in free or len(free) > 1 or len(_drawn(options)) > 1
    return ["heatmap", "curves"] if alone and two and not loose else ["curves"]


def _drawn(options: Mapping[str, Any]) -> list[str]:
    return [options[key] for key in ("x", "y", "by") if key in options]


def _selection(data: Dataset, of: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is fixed: what the options say, and axes of a single entry."""
    select = dict(options.get("select") or {})
    inner = [str(dim) for dim in data[of].dims if dim not in (*data["status"].dims, *_RECORDS)]
    return {dim: 0 for dim in inner if data.sizes[dim] == 1} | select


def _draw_panel(
    data: Dataset, of: str, kind: str, options: Mapping[str, Any], ax: Any, *, alone: bool
) -> None:
    select = _selection(data, of, options)
    x, y, by = (options.get(key) for key in ("x", "y", "by"))
    if kind == "heatmap":
        _sweep_plot.heatmap(data, of, x=x, y=y, select=select, ax=ax)
    else:
        _curves(data, of, x, by or (None if alone else y), select, ax)


def _curves(
    data: Dataset, of: str, x: str | None, by: str | None, select: Mapping[str, Any], ax: Any
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
        data = data.isel({by: _thinned(data[by].to_numpy().tolist(), _MOST_LINES)})
    _sweep_plot.curves(data, of, x=x, by=by, select=select, ax=ax)


def save(data: Dataset, options: Mapping[str, Any], title: str | None, file: Path) -> None:
    """Draw a picture into a file, whole or not at all."""
    figure = draw(data, options, title)
    with _files.replaced(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
    _files.optional("matplotlib.pyplot", "plot").close(figure)


# -- show ------------------------------------------------------------------------------------------


def about(data: Dataset, store: Path) -> str:
    """Return what a store is and how far it has got."""
    spec = json.loads(data.attrs["spec"])
    made = json.loads(data.attrs["provenance"])
    status = data["status"].to_numpy()
    there = int(np.count_nonzero(status != _PENDING))
    by = f"linnet-fast {made.get('version')}, instruction set {made.get('isa')}"
    keeps = []
    for name, variable in data.data_vars.items():
        inner = [str(dim) for dim in variable.dims if dim not in data["status"].dims]
        keeps.append(f"{name}({', '.join(inner)})" if inner else str(name))
    axes = {}
    for axis in spec["axes"]:
        shorts = {path: path.rpartition(".")[2] for path in axis["values"]}
        values = {
            path: data[short].to_numpy().tolist() if short in data.coords else []
            for path, short in shorts.items()
        }
        axes[axis["name"]] = _Swept(data[axis["name"]].to_numpy().tolist(), values)
    lines = {
        "store": f"{store}, begun {made.get('created')} by {by}",
        "loss": str(spec["training"]["loss"]["kind"]),
        **_described(spec["training"], axes, spec["replicates"]),
        "keeps": ", ".join(keeps),
        "done": f"{there:,} of {status.size:,} runs ({100 * there / max(status.size, 1):.0f} %)",
    }
    return _aligned(lines)


def throughput(live: Live) -> str:
    """Return how fast the runs of this call were trained."""
    state = live.state
    if state is None or state.runs_per_second == 0:
        return "all runs were there already"
    return f"{state.runs_per_second:,.1f} runs per second, {_duration(state.seconds)}"
