"""Sweeps: many trainings over a grid, a list or a random design, kept as one labelled dataset."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast._base import files, machine, memory, validate
from linnet_fast._base.config import config, provenance
from linnet_fast.sweeps import store as _store
from linnet_fast.sweeps.axes import Axis
from linnet_fast.sweeps.batch import Arrays
from linnet_fast.sweeps.chunk import shape_of
from linnet_fast.sweeps.cost import SweepEstimate, chunk_runs, estimate
from linnet_fast.sweeps.dataset import attributes, open_dataset
from linnet_fast.sweeps.derived import is_built_in, resolve
from linnet_fast.sweeps.designs import grid, paired, sampled
from linnet_fast.sweeps.engine import Done, Hooks, Job, Slots, run_by, run_here
from linnet_fast.sweeps.form import SweepError, attributes_of
from linnet_fast.sweeps.layout import Layout, coordinates, layout_of
from linnet_fast.sweeps.meter import Meter, Progress, SweepProgress, check_progress, metered
from linnet_fast.sweeps.results import with_names
from linnet_fast.sweeps.spec import SweepSpec, decode
from linnet_fast.sweeps.store import Chunks, Store, chunk_shape

if TYPE_CHECKING:
    import xarray

__all__ = [
    "Axis",
    "SweepError",
    "SweepEstimate",
    "SweepProgress",
    "SweepSpec",
    "estimate_sweep",
    "grid",
    "open_spec",
    "open_sweep",
    "paired",
    "sampled",
    "sweep",
]


def estimate_sweep(spec: SweepSpec, *, n_threads: int | None = None) -> SweepEstimate:
    """Return how long a sweep will take on this machine and how large its result will be.

    Parameters
    ----------
    spec : SweepSpec
        See `grid`, `paired`, `sampled`.
    n_threads : int, optional
        As of `train`.

    Returns
    -------
    SweepEstimate
        From training some of the runs, which takes some seconds at most, if runs are not long flows or
        phases. `seconds_range` is where the time should be.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> estimate = lf.estimate_sweep(lf.grid(training, {"network.hidden": [2, 4]}, replicates=1000))
    >>> estimate.n_runs, estimate.n_bytes, [group.n_runs for group in estimate.groups]
    (2000, 34000, [1000, 1000])
    """
    validate.instance("spec", spec, SweepSpec)
    return estimate(spec, machine.checked_threads(n_threads))


def sweep(
    spec: SweepSpec,
    store: str | Path | None = None,
    executor: Any = None,
    progress: Progress = True,
    *,
    n_threads: int | None = None,
    shard: tuple[int, int] | None = None,
    extend: bool = False,
    chunk_runs: int | None = None,
    note: str | None = None,
) -> xarray.Dataset:
    """Train all runs of a sweep and return what is kept of them as one labelled dataset.

    With a store, a sweep that was cut short, by whatever, goes on where it was when the same call is
    made again, and gives the same bits.

    Parameters
    ----------
    spec : SweepSpec
        See `grid`, `paired`, `sampled`.
    store : path, optional
        A directory such as ``"runs.zarr"``, made if there is none. Chunks of runs appear there as they
        are done, each whole or not at all, and can be read meanwhile (`open_sweep`). By default
        results are kept in memory.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Who trains: a ``ProcessPoolExecutor``, one of loky, ``mpi4py.futures.MPIPoolExecutor``, a dask
        client or its ``get_executor()``. Workers write their chunks themselves, so the store must be
        on a file system they share; without a store they send results back. By default the threads
        of this process.
    progress : bool or callable, default True
        True shows a bar on a terminal. A callable is called with a `SweepProgress`.
    n_threads : int, optional
        Threads per task; by default all there are, with an executor each worker's share of them.
    shard : (int, int), optional
        ``(i, n)`` does the i-th of n parts, i from 1: for n jobs of a batch system on one store.
    extend : bool, default False
        Whether a store may be of a smaller sweep, whose dimensions have grown at their ends since, or
        that derives less. More `derived` trains the runs that are there again, checks that they are
        the same, and adds what is new, which is NaN meanwhile (-1 of integers). Where runs have random
        numbers of their own only the first dimension can grow, since the shape numbers them.
    chunk_runs : int, optional
        About how many runs make a chunk; by default so many as take a second or two, and of long runs
        as many as train side by side. A store keeps the size it was made with.
    note : str, optional
        A text of yours that is kept in ``attrs["provenance"]`` of the result, such as what the data
        are. It does not belong to the identity of the sweep.

    Returns
    -------
    xarray.Dataset
        Dimensions are named by the parameters; variables are what is derived and recorded,
        ``stopped_at`` and ``status`` (see `Status`; -1 of runs that are not there yet). With a store
        it is read when asked, also by ``open_sweep(store)`` while the sweep runs.

    Raises
    ------
    ImportError
        If xarray, or with a store Zarr, is not installed.
    TypeError, ValueError
        If an argument is wrong, before any work.
    MemoryError
        If the result does not fit into memory, before any work.
    SweepError
        If the store is of another sweep, foreign, damaged or cannot be written, or a worker died.
        What is done is kept.
    KeyboardInterrupt
        On Ctrl-C; chunks that are done are kept.

    Notes
    -----
    Results do not depend on the executor, on threads, chunks or shards, on whether the sweep was cut
    short, or on the other runs: run i is what ``spec.run(i)`` gives. A store remembers its instruction
    set, since bits may differ between these.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> spec = lf.grid(training, {"start.scale": [1e-3, 1e-2], "method.step_size": [0.05, 0.1, 5.0]},
    ...                replicates=5, derived=("final_loss", "learned_rank"))
    >>> data = lf.sweep(spec)
    >>> dict(data.sizes)
    {'scale': 2, 'step_size': 3, 'seed': 5}
    >>> data["learned_rank"].median("seed").values.tolist()  # -1: diverged
    [[2.0, 2.0, -1.0], [2.0, 2.0, -1.0]]
    """
    validate.instance("spec", spec, SweepSpec)
    files.optional("xarray", "sweep")
    if n_threads is not None:
        machine.checked_threads(n_threads)
    if chunk_runs is not None:
        chunk_runs = validate.integer("chunk_runs", chunk_runs, low=1, high=2**48)
    extend = validate.flag("extend", extend)
    if store is not None:
        validate.path("store", store)
    part, n_parts = _shard(shard, store)
    check_progress(progress)
    slots = None if executor is None else Slots(executor)
    if note is not None:
        validate.instance("note", note, str)
    plan = _Plan(spec, slots, n_threads, chunk_runs, note)
    if store is None:
        if extend:
            msg = "extend must be False without a store, got True"
            raise ValueError(msg)
        return _in_memory(plan, progress)
    path = _store.path_of(store)
    kept = _opened(path, plan, extend)
    numbers = range(part - 1, len(kept.chunks), n_parts)
    _in_store(plan, kept, numbers, progress)
    return open_dataset(path)


def open_sweep(store: str | Path) -> xarray.Dataset:
    """Return the result of a sweep in a store; of one that still runs, what there is.

    Parameters
    ----------
    store : path
        The store that `sweep` made.

    Returns
    -------
    xarray.Dataset
        Read when asked. Runs whose ``status`` is -1 are not there yet.

    Raises
    ------
    SweepError
        If there is no such store.
    ImportError
        If xarray or Zarr is not installed.
    """
    validate.path("store", store)
    return open_dataset(_store.path_of(store))


def open_spec(store: str | Path, *, derived: Mapping[str, Any] | None = None) -> SweepSpec:
    """Return the spec of the sweep that a store is of: to look at, to vary, to go on with.

    Parameters
    ----------
    store : path
        The store that `sweep` made.
    derived : mapping, optional
        What it keeps by functions of yours: name -> function, as it was given. Nothing is imported from
        a store; what comes with the library is known.

    Returns
    -------
    SweepSpec
        With the ``id`` of the store, if functions are what they were.

    Raises
    ------
    SweepError
        If there is no such store.
    TypeError, ValueError
        If functions are missing, or given that it does not keep.
    ImportError
        If Zarr is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 2, 2)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), n_steps=9)
    >>> spec = lf.grid(training, {"start.scale": [0.1, 0.2]}, replicates=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = lf.sweep(spec, f"{folder}/runs.zarr")
    ...     again = lf.open_spec(f"{folder}/runs.zarr")
    >>> again, again.id == spec.id
    (<SweepSpec of 6 runs: 2 scale x 3 seed>, True)
    """
    files.optional("zarr", "sweep")
    kept = Store.open(_store.path_of(store))
    own = {} if derived is None else validate.mapping("derived", derived)
    asked: dict[str, Any] = {}
    for one in kept.spec_data["derived"]:
        name, text, dims = one["name"], one["function"], one["dims"]
        is_own = not is_built_in(text)
        if is_own != (name in own):
            of = "given" if is_own else "left out of what is given"
            msg = f"derived must have {name!r} {of}: the store keeps it by {text}"
            raise ValueError(msg)
        function = own[name] if is_own else text
        is_pair = dims is None or isinstance(function, tuple)
        asked[name] = function if is_pair else (function, tuple(dims))
    for name in own:
        validate.choice("name in derived", name, asked)
    return decode(kept.spec_data, resolve(asked), kept.spec_arrays())


# -- how it is done --------------------------------------------------------------------------------


class _Plan:
    """What a call of `sweep` has to do; calibrated only where that is needed."""

    def __init__(
        self,
        spec: SweepSpec,
        slots: Slots | None,
        n_threads: int | None,
        chunk_runs: int | None,
        note: str | None,
    ) -> None:
        self.spec = spec
        self.slots = slots
        self.n_threads = n_threads
        self._note = note
        self._chunk_runs = chunk_runs
        self.isa = str(config()["instruction_set"])
        self.layout: Layout = layout_of(spec)

    def chunk(self) -> tuple[int, ...]:
        """Return the shape of chunks for a new result."""
        if self._chunk_runs is None:
            workers = 1 if self.slots is None else self.slots.total
            threads = self.n_threads or max(1, machine.n_threads() // workers)
            self._chunk_runs = chunk_runs(self.spec, self.layout, threads, workers)
        return chunk_shape(self.spec, self._chunk_runs)

    def note(self) -> dict[str, Any]:
        """Return what made the result."""
        return {**provenance(), "note": self._note}

    def train(
        self, chunks: Chunks, numbers: Iterable[int], kept: Store | None, hooks: Hooks
    ) -> None:
        """Train chunks, by whoever is there."""
        if self.slots is None:
            run_here(self.spec, self.layout, chunks, numbers, kept, self.n_threads, hooks)
            return
        job = Job(
            path=None if kept is None else kept.path.resolve(),
            spec=self.spec if kept is None else None,
            spec_id=self.spec.id,
            derived=self.spec.derived,
            layout=self.layout if kept is None else None,
            chunks=chunks,
            isa=self.isa,
            n_threads=self.n_threads,
            slots=self.slots.by_host,
            total_slots=self.slots.total,
        )

        def group_of(number: int) -> int:
            first = [np.array([begin]) for begin, _ in chunks.block(number)]
            return int(self.spec.groups_of(first)[0]) if first else 0

        run_by(self.slots, job, numbers, group_of, hooks)


def _shard(shard: object, store: object) -> tuple[int, int]:
    if shard is None:
        return 1, 1
    if not isinstance(shard, tuple) or len(shard) != 2:
        msg = f"shard must be a pair (i, n), got {shard!r}"
        raise TypeError(msg)
    n = validate.integer("shard[1]", shard[1], low=1, high=2**31)
    if store is None:
        msg = "shard must have a store that all shards share, got none"
        raise ValueError(msg)
    return validate.integer("shard[0]", shard[0], low=1, high=n), n


def _in_memory(plan: _Plan, progress: Progress) -> xarray.Dataset:
    xr = files.optional("xarray", "sweep")
    spec, layout = plan.spec, plan.layout
    needed = spec.n_runs * layout.n_bytes
    available = memory.available()
    if available is not None and needed > available:
        msg = (
            f"the result needs {needed:,} bytes but {available:,} are available; give a store, or "
            "keep less of each run"
        )
        raise MemoryError(msg)
    chunks = Chunks(spec.shape, plan.chunk())
    result: Arrays = {
        v.name: np.full((*spec.shape, *v.shape), v.fill, dtype=v.dtype) for v in layout.variables
    }
    with metered(progress, spec.n_runs) as meter:

        def kept(done: Done) -> None:
            region = tuple(slice(begin, end) for begin, end in chunks.block(done.number))
            for name, values in (done.values or {}).items():
                result[name][region] = values
            meter.kept(done)

        hooks = Hooks(meter.trained, kept, meter.within)
        plan.train(chunks, range(len(chunks)), None, hooks)
    variables = {
        v.name: ((*spec.dims, *v.dims), result[v.name], attributes_of(v)) for v in layout.variables
    }
    attrs = attributes(spec.id, spec.encode(), files.to_json(plan.note()))
    return with_names(xr.Dataset(variables, coordinates(spec, layout), attrs))


def _opened(path: Path, plan: _Plan, extend: bool) -> Store:
    """Return the store, made if there is none, which is then of this very sweep."""
    files.optional("zarr", "sweep")
    try:
        if _store.is_free(path):
            _check_room(path, plan)
            kept = Store.create(path, plan.spec, plan.layout, plan.chunk(), plan.isa, plan.note())
        else:
            kept = Store.open(path, growing=extend)
        kept.check_isa(plan.isa)
        if extend and kept.spec_id != plan.spec.id:
            kept = kept.extend(plan.spec, plan.layout)
        kept.check(plan.spec)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise SweepError(msg) from error
    return kept


def _check_room(path: Path, plan: _Plan) -> None:
    """Refuse a result for which the file system has no room."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    needed, free = plan.spec.n_runs * plan.layout.n_bytes, shutil.disk_usage(parent).free
    if needed > free:
        msg = f"{path} needs {needed:,} bytes but {free:,} are free; keep less of each run"
        raise SweepError(msg)


def _in_store(plan: _Plan, kept: Store, numbers: Iterable[int], progress: Progress) -> None:
    listed = list(numbers)
    there, damaged = kept.done(listed)
    n_runs = sum(math.prod(shape_of(kept.chunks.block(k))) for k in listed)
    with metered(progress, n_runs) as meter:
        for number in damaged:
            kept.discard(number)
        for number in listed:
            if number in there:
                meter.found(there[number])
        meter.report()
        left = [number for number in listed if number not in there]
        try:
            if left:
                plan.train(kept.chunks, left, kept, Hooks(meter.trained, meter.kept, meter.within))
            kept.settle()
        except KeyboardInterrupt as error:
            error.add_note(_kept(kept, meter))
            raise
        except SweepError as error:
            msg = f"{str(error).rstrip('.')}. {_kept(kept, meter)}"
            raise SweepError(msg) from error
        except OSError as error:
            msg = f"{kept.path} cannot be written: {error.strerror or error}. {_kept(kept, meter)}"
            raise SweepError(msg) from error


def _kept(kept: Store, meter: Meter) -> str:
    return (
        f"{meter.n_kept:,} of {meter.n_runs:,} runs are kept in {kept.path}: the same call goes on "
        "from there"
    )
