"""Sweeps: many trainings over a grid, a list or a random design, kept as one labelled dataset."""

from __future__ import annotations

import math
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast import _core, _files, _machine, _validate
from linnet_fast._sweep import derived as _derived
from linnet_fast._sweep import store as _store
from linnet_fast._sweep.chunk import Arrays, Layout, coordinates, layout_of, recording
from linnet_fast._sweep.cost import SweepEstimate
from linnet_fast._sweep.cost import estimate as _estimate
from linnet_fast._sweep.engine import Done, Hooks, Job, Slots, run_by, run_here
from linnet_fast._sweep.spec import TAKEN, Axis, SweepSpec
from linnet_fast._sweep.store import Chunks, Store, SweepError, chunk_shape
from linnet_fast.state import Status
from linnet_fast.training import Training

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray

__all__ = [
    "Axis",
    "SweepError",
    "SweepEstimate",
    "SweepProgress",
    "SweepSpec",
    "estimate_sweep",
    "grid",
    "open_sweep",
    "paired",
    "sampled",
    "sweep",
]

Values: TypeAlias = Sequence[Any] | npt.NDArray[Any] | Mapping[Any, Any] | Axis


def grid(
    training: Training,
    parameters: Mapping[str, Values],
    *,
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = True,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over every combination of values of parameters.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter -> its values. A parameter is an argument of `Training`, or one inside it:
        ``"n_steps"``, ``"start.scale"``, ``"method.step_size"``, ``"loss.label_noise"``, ``"network"``,
        ``"network.hidden"`` ... Values are a sequence; a mapping from labels to values, where these
        are objects; or an `Axis`, whose key is then the name of the dimension. A dimension is named
        by the last part of its parameter, of two alike by the whole: ``start_scale``.
    replicates : int, optional
        Runs of every combination, with different random numbers: the dimension ``seed``.
    derived : names or mapping
        What to keep of each run, besides how it ended:

        * names: ``final_loss`` or ``final_`` with any other observable, which is its value at the end
          of the run; ``learned_rank``, ``learning_times``, ``learning_steps``;
        * a mapping from names to functions from a `Trajectory` with one run axis (n,) to an array
          (n, ...), given as such, as ``"module:function"``, or as ``(function, names of its axes)``.
          Records of runs that ended early are NaN there.

        By default ``final_loss``, unless records are kept.
    rng : int, default 0
        Seed of all random numbers, from 0 up.
    common_seeds : bool, default True
        Whether a seed means the same random numbers at all combinations, so that these differ by
        the parameters alone; or every run has its own.
    keep_records : bool, optional
        Whether the result has the observables of ``training.record`` over all its steps; by default
        if that is given.

    Returns
    -------
    SweepSpec
        Dimensions that change the shape of networks come first: what is left is trained in one go.

    Raises
    ------
    TypeError, ValueError
        If a parameter is unknown (with near matches), a value is refused by what takes it, or
        parts of a training do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> spec = lf.grid(training, {"start.scale": [1e-3, 1e-2], "network.n_layers": [2, 3]},
    ...                replicates=5)
    >>> spec
    <SweepSpec of 20 runs: 2 n_layers x 2 scale x 5 seed>
    """
    _validate.instance("training", training, Training)
    _mapping(parameters, least=0)
    short = [key.rpartition(".")[2] for key in parameters]
    axes = {}
    for key, values in parameters.items():
        own = key.rpartition(".")[2]
        name = own if short.count(own) == 1 and own not in TAKEN else key.replace(".", "_")
        if name in axes:
            msg = f"parameters must give different names to dimensions, got {name} twice"
            raise ValueError(msg)
        axes[name] = _axis(key, values)
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def paired(
    training: Training,
    parameters: Mapping[str, Sequence[Any] | npt.NDArray[Any]],
    *,
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = False,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over a list of runs: the i-th has the i-th value of every parameter.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter, as of `grid`, -> its values, equally many of each.
    replicates, derived, rng, keep_records
        As of `grid`.
    common_seeds : bool, default False
        As of `grid`; by default every run has random numbers of its own.

    Returns
    -------
    SweepSpec
        With one dimension ``run``, along which the parameters are coordinates.

    Raises
    ------
    TypeError, ValueError
        As of `grid`.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> lf.paired(training, {"start.scale": [0.1, 0.2, 0.3], "n_steps": [30, 20, 10]})
    <SweepSpec of 3 runs: 3 run>
    """
    _validate.instance("training", training, Training)
    _mapping(parameters, least=1)
    lists = {key: _list(key, values) for key, values in parameters.items()}
    n_runs = len(next(iter(lists.values())))
    if n_runs == 0:
        msg = "parameters must have at least one value each, got none"
        raise ValueError(msg)
    axes = {"run": Axis(range(n_runs), lists)}
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def sampled(
    training: Training,
    parameters: Mapping[str, Any],
    n: int,
    *,
    method: Literal["random", "sobol"] = "random",
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = False,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over random values of parameters.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter, as of `grid`, -> a frozen distribution of SciPy, such as
        ``scipy.stats.loguniform(1e-6, 1)``, or a sequence of values that are equally likely.
    n : int
        Number of points. More points begin with those of fewer, so a store can be extended.
    method : {"random", "sobol"}
        Independent points, or those of a scrambled Sobol' sequence, which fill the space evenly.
    replicates, derived, rng, keep_records
        As of `grid`; `rng` is also the seed of the points.
    common_seeds : bool, default False
        As of `grid`; by default every run has random numbers of its own.

    Returns
    -------
    SweepSpec
        With one dimension ``run``, along which the parameters are coordinates.

    Raises
    ------
    TypeError, ValueError
        As of `grid`, or if something is no distribution.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.stats
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> lf.sampled(training, {"start.scale": scipy.stats.loguniform(1e-6, 1),
    ...                       "network.n_layers": [2, 3, 4]}, 100)
    <SweepSpec of 100 runs: 100 run>
    """
    _validate.instance("training", training, Training)
    n = _validate.integer("n", n, low=1, high=2**30)
    _validate.choice("method", method, ("random", "sobol"))
    seed = _validate.integer("rng", rng, low=0, high=2**63 - 1)
    _mapping(parameters, least=1)
    lists: dict[str, list[Any]] = {}
    for (key, of), points in zip(
        parameters.items(), _points(method, len(parameters), n, seed), strict=True
    ):
        if hasattr(of, "ppf"):
            values = of.ppf(points)
            whole = np.issubdtype(np.asarray(of.rvs(1, random_state=0)).dtype, np.integer)
            lists[key] = values.astype(np.int64 if whole else np.float64).tolist()
        elif isinstance(of, Sequence | np.ndarray) and not isinstance(of, str) and len(of):
            lists[key] = [of[int(i)] for i in np.minimum(points * len(of), len(of) - 1)]
        else:
            msg = (
                f"{key} must be a frozen distribution of SciPy or values to choose from, got {of!r}"
            )
            raise TypeError(msg)
    axes = {"run": Axis(range(n), lists)}
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def _points(method: str, n_parameters: int, n: int, seed: int) -> Iterable[npt.NDArray[np.float64]]:
    """Return numbers in (0, 1), those of fewer points first: an array (n,) per parameter."""
    if method == "sobol":
        from scipy.stats import qmc  # noqa: PLC0415  (takes a while, and few need it)

        unit = qmc.Sobol(n_parameters, rng=seed).random_base2(max(0, math.ceil(math.log2(n))))
        return list(np.clip(unit[:n].T, 2.0**-53, 1 - 2.0**-53))
    streams = np.random.SeedSequence(seed).spawn(n_parameters)
    return [np.maximum(np.random.default_rng(s).random(n), 2.0**-53) for s in streams]


def _mapping(parameters: object, least: int) -> None:
    if not isinstance(parameters, Mapping) or not all(isinstance(key, str) for key in parameters):
        msg = f"parameters must be a mapping from names to values, got {parameters!r}"
        raise TypeError(msg)
    if len(parameters) < least:
        msg = "parameters must name at least one, got none"
        raise ValueError(msg)


def _axis(key: str, values: Values) -> Axis:
    if isinstance(values, Axis):
        return values
    if isinstance(values, Mapping):
        return Axis(list(values), {key: list(values.values())})
    listed = _list(key, values)
    return Axis(_labels(listed), {key: listed})


def _list(key: str, values: object) -> list[Any]:
    if isinstance(values, str | Mapping | Axis) or not isinstance(values, Iterable):
        msg = f"values of {key} must be a sequence, got {type(values).__name__} {values!r}"
        raise TypeError(msg)
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _labels(values: list[Any]) -> list[Any]:
    """Return the labels of values: themselves, widths as text, what networks are called, or numbers."""
    if all(
        isinstance(v, int | float | str | np.generic) and not isinstance(v, bool) for v in values
    ):
        return values
    if all(isinstance(v, list | tuple) and all(isinstance(n, int) for n in v) for v in values):
        return ["-".join(map(str, value)) for value in values]
    if all(hasattr(value, "spec") for value in values):
        return [value.spec for value in values]
    return list(range(len(values)))


def _spec(
    training: Training,
    axes: Mapping[str, Axis],
    replicates: int | None,
    derived: str | Iterable[str] | Mapping[str, Any],
    rng: int,
    common_seeds: bool,
    keep_records: bool | None,
) -> SweepSpec:
    if replicates is not None:
        replicates = _validate.integer("replicates", replicates, low=1, high=2**48)
    _validate.integer("rng", rng, low=0, high=2**63 - 1)
    _validate.instance("common_seeds", common_seeds, bool)
    has_record = training.record is not None or any(
        column.path.split(".")[0] == "record" for axis in axes.values() for column in axis.columns
    )
    keep = has_record if keep_records is None else keep_records
    _validate.instance("keep_records", keep, bool)
    if keep and not has_record:
        msg = "training must have a record for records to be kept, got none"
        raise ValueError(msg)
    functions = _derived.resolve(derived)
    if not functions and not keep:
        functions = _derived.resolve("final_loss")
    spec = SweepSpec(training, axes, replicates, functions, int(rng), common_seeds, keep)
    for group in spec.groups:
        own = spec.training_at(spec.first_of(group))
        names = recording(spec, own).observables
        for d in functions:
            if not d.of_end and not set(d.needs) <= set(names):
                msg = f"record must have {', '.join(d.needs)} for {d.name}, got {', '.join(names)}"
                raise ValueError(msg)
    return spec


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
        From a calibration of some tenths of a second for each group of runs.

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
    _validate.instance("spec", spec, SweepSpec)
    return _estimate(spec, layout_of(spec), _threads(n_threads))


def _threads(n_threads: int | None) -> int:
    if n_threads is None:
        return _machine.n_threads()
    return _validate.integer("n_threads", n_threads, low=1, high=2**15)


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes
    ----------
    n_runs : int
        Runs of the sweep, of a shard of the shard.
    n_done : int
        Runs that are done, those found in the store included.
    n_diverged : int
        Runs among them that diverged.
    seconds : float
        Since the sweep began.
    runs_per_second : float
        Of this call; 0 at first.
    seconds_left : float
        At this rate; infinite at first.
    """

    n_runs: int
    n_done: int
    n_diverged: int
    seconds: float
    runs_per_second: float
    seconds_left: float


Progress: TypeAlias = bool | Callable[[SweepProgress], object]


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
        Whether a store may be of a smaller sweep, whose dimensions have grown at their ends since.
    chunk_runs : int, optional
        About how many runs make a chunk; by default so many as take a second or two. A store keeps
        the size it was made with.

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
    _validate.instance("spec", spec, SweepSpec)
    _files.optional("xarray", "sweep")
    if n_threads is not None:
        _threads(n_threads)
    if chunk_runs is not None:
        chunk_runs = _validate.integer("chunk_runs", chunk_runs, low=1, high=2**48)
    part, n_parts = _shard(shard, store)
    _check_progress(progress)
    slots = None if executor is None else Slots(executor)
    plan = _Plan(spec, slots, n_threads, chunk_runs)
    if store is None:
        if extend:
            msg = "extend must be False without a store, got True"
            raise ValueError(msg)
        return _in_memory(plan, progress)
    path = _store.path_of(store)
    kept = _opened(path, plan, extend)
    numbers = range(part - 1, len(kept.chunks), n_parts)
    _in_store(plan, kept, numbers, progress)
    return _store.open_dataset(path)


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
    return _store.open_dataset(_store.path_of(store))


# -- how it is done --------------------------------------------------------------------------------


class _Plan:
    """What a call of `sweep` has to do; calibrated only where that is needed."""

    def __init__(
        self, spec: SweepSpec, slots: Slots | None, n_threads: int | None, chunk_runs: int | None
    ) -> None:
        self.spec = spec
        self.slots = slots
        self.n_threads = n_threads
        self._chunk_runs = chunk_runs
        self.isa = str(_core.build_info()["isa"])
        self.layout: Layout = layout_of(spec)

    def chunk(self) -> tuple[int, ...]:
        """Return the shape of chunks for a new result."""
        if self._chunk_runs is None:
            workers = 1 if self.slots is None else self.slots.total
            threads = self.n_threads or max(1, _machine.n_threads() // workers)
            self._chunk_runs = _estimate(self.spec, self.layout, threads, workers).chunk_runs
        return chunk_shape(self.spec.shape, self._chunk_runs)

    def note(self) -> dict[str, Any]:
        """Return what made the result."""
        info = _core.build_info()
        return {
            "version": info["version"],
            "isa": info["isa"],
            "compiler": info["compiler"],
            "python": platform.python_version(),
            "numpy": np.__version__,
            "platform": platform.platform(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

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


def _check_progress(progress: object) -> None:
    if not (isinstance(progress, bool) or callable(progress)):
        msg = f"progress must be a bool or a callable, got {type(progress).__name__}"
        raise TypeError(msg)


def _shard(shard: object, store: object) -> tuple[int, int]:
    if shard is None:
        return 1, 1
    if not isinstance(shard, tuple) or len(shard) != 2:
        msg = f"shard must be a pair (i, n), got {shard!r}"
        raise TypeError(msg)
    n = _validate.integer("shard[1]", shard[1], low=1, high=2**31)
    if store is None:
        msg = "shard must have a store that all shards share, got none"
        raise ValueError(msg)
    return _validate.integer("shard[0]", shard[0], low=1, high=n), n


def _in_memory(plan: _Plan, progress: Progress) -> xarray.Dataset:
    xr = _files.optional("xarray", "sweep")
    spec, layout = plan.spec, plan.layout
    needed = spec.n_runs * layout.n_bytes
    available = _machine.available_memory()
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
    with _meter(progress, spec.n_runs) as meter:

        def kept(done: Done) -> None:
            region = tuple(slice(begin, end) for begin, end in chunks.block(done.number))
            for name, values in (done.values or {}).items():
                result[name][region] = values
            meter.kept(done)

        hooks = Hooks(meter.trained, kept, meter.within)
        plan.train(chunks, range(len(chunks)), None, hooks)
    variables = {
        v.name: ((*spec.dims, *v.dims), result[v.name], _store.attributes_of(v))
        for v in layout.variables
    }
    attrs = _store.attributes(spec.id, spec.encode(), _files.to_json(plan.note()))
    data: xarray.Dataset = xr.Dataset(variables, coordinates(spec, layout), attrs)
    return data


def _opened(path: Path, plan: _Plan, extend: bool) -> Store:
    """Return the store, made if there is none, which is then of this very sweep."""
    _files.optional("zarr", "sweep")
    try:
        if _store.is_free(path):
            _check_room(path, plan)
            kept = Store.create(path, plan.spec, plan.layout, plan.chunk(), plan.isa, plan.note())
        else:
            kept = Store.open(path)
        if extend and kept.spec_id != plan.spec.id:
            kept = kept.extend(plan.spec, plan.layout)
        kept.check(plan.spec, plan.isa)
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
    sizes = {k: math.prod(end - begin for begin, end in kept.chunks.block(k)) for k in listed}
    n_runs = sum(sizes.values())
    with _meter(progress, n_runs) as meter:
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
        except KeyboardInterrupt as error:
            error.add_note(_kept(kept, meter))
            raise
        except SweepError as error:
            msg = f"{str(error).rstrip('.')}. {_kept(kept, meter)}"
            raise SweepError(msg) from error
        except OSError as error:
            msg = f"{kept.path} cannot be written: {error.strerror or error}. {_kept(kept, meter)}"
            raise SweepError(msg) from error


def _kept(kept: Store, meter: _Meter) -> str:
    return (
        f"{meter.n_kept:,} of {meter.n_runs:,} runs are kept in {kept.path}: the same call goes on "
        "from there"
    )


class _Meter:
    """Counts runs and tells whoever wants to know."""

    def __init__(self, n_runs: int, tell: Callable[[SweepProgress], object] | None) -> None:
        self.n_runs = n_runs
        self.n_kept = 0
        self._n_done = 0
        self._n_diverged = 0
        self._n_found = 0
        self._tell = tell
        self._begin = time.monotonic()

    def found(self, counts: npt.NDArray[np.int64]) -> None:
        """Count a chunk that was there before."""
        self._n_found += int(counts.sum())
        self.n_kept += int(counts.sum())
        self._count(counts)

    def trained(self, done: Done) -> None:
        """Count a chunk that has been trained."""
        self._count(done.counts)
        self.report()

    def kept(self, done: Done) -> None:
        """Count a chunk that nothing can take away any more."""
        self.n_kept += int(done.counts.sum())

    def within(self, n_runs: int, part: float) -> None:
        """Tell how far a chunk is."""
        self.report(n_runs * min(part, 1.0))

    def _count(self, counts: npt.NDArray[np.int64]) -> None:
        self._n_done += int(counts.sum())
        self._n_diverged += int(counts[Status.DIVERGED])

    def report(self, more: float = 0.0) -> None:
        """Tell how far it is; `more`: runs of the chunk that is being trained."""
        if self._tell is None:
            return
        seconds = time.monotonic() - self._begin
        done = min(self._n_done + more, self.n_runs)
        rate = (done - self._n_found) / seconds if seconds > 0 else 0.0
        left = (self.n_runs - done) / rate if rate > 0 else math.inf
        self._tell(SweepProgress(self.n_runs, int(done), self._n_diverged, seconds, rate, left))


@contextmanager
def _meter(progress: Progress, n_runs: int) -> Iterator[_Meter]:
    if progress is False:
        yield _Meter(n_runs, None)
    elif progress is True:
        tqdm = _files.optional("tqdm.auto", "sweep").tqdm
        with tqdm(total=n_runs, unit="run", unit_scale=True, disable=None) as bar:

            def tell(state: SweepProgress) -> None:
                bar.set_postfix_str(f"{state.n_diverged:,} diverged", refresh=False)
                bar.update(state.n_done - bar.n)

            yield _Meter(n_runs, tell)
    else:
        yield _Meter(n_runs, progress)
