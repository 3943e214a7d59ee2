"""Training a block of a sweep's runs: what shares a shape in one batch, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._sweep import canonical
from linnet_fast._sweep.derived import Derived
from linnet_fast._sweep.spec import SEED, SweepSpec
from linnet_fast._validate import Shape
from linnet_fast.loss import SquaredLoss
from linnet_fast.method import GradientDescent, StochasticGradientDescent
from linnet_fast.record import OBSERVABLES, Record, Stop
from linnet_fast.state import Status
from linnet_fast.train import train
from linnet_fast.training import Training
from linnet_fast.trajectory import Trajectory

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
Block: TypeAlias = tuple[tuple[int, int], ...]
"""(begin, end) along each dimension of a sweep."""
Progress: TypeAlias = Callable[[int, int], object]

PENDING = -1
"""Status of a run that is not there yet."""

_CURVE = 100  # records of a trajectory that functions are derived from, where none are asked for
_DEFAULT = ("loss", "singular_values")


def shape_of(block: Block) -> Shape:
    """Return the lengths of a block."""
    return tuple(end - begin for begin, end in block)


def indices_of(block: Block) -> list[npt.NDArray[np.intp]]:
    """Return the index along each dimension of the runs of a block, in C order."""
    axes = [np.arange(begin, end) for begin, end in block]
    return [part.ravel() for part in np.meshgrid(*axes, indexing="ij")]


@dataclass(frozen=True)
class Batch:
    """Runs of one group, as `train` takes them."""

    training: Training
    loss: Any
    method: Any
    stop: Stop | None
    start: Any
    streams: npt.NDArray[np.int64]

    @classmethod
    def of(cls, spec: SweepSpec, indices: list[npt.NDArray[np.intp]]) -> Batch:
        """Return the batch of runs of one group, given by their index along every dimension."""
        n_axes = len(spec.axes)
        training = spec.training_at([int(i[0]) for i in indices[:n_axes]])
        parts: dict[str, Any] = {
            name: getattr(training, name) for name in ("loss", "method", "stop", "start")
        }
        settings: dict[str, npt.NDArray[np.float64]] = {}
        for axis, index in zip(spec.axes.values(), indices, strict=False):
            for column in axis.columns:
                if column.numbers is not None:
                    settings[column.path] = column.numbers[index]
                elif column.kind == "stacked" and (index != index[0]).any():
                    parts["loss"] = _stacked(column.values, index)
        for path, numbers in sorted(settings.items(), key=lambda item: item[0].count(".")):
            root, *rest = path.split(".")
            parts[root] = canonical.replaced(root, parts[root], rest, numbers)
        streams = spec.streams_of(indices)
        method = parts["method"]
        if isinstance(method, StochasticGradientDescent):
            parts["method"] = canonical.replaced("method", method, ["streams"], streams)
        return cls(training=training, streams=streams, **parts)

    def train(
        self,
        spec: SweepSpec,
        record: Record,
        n_threads: int | None = None,
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> Trajectory:
        """Train the runs."""
        network, training = self.training.network, self.training
        weights = self.start.draw(
            network,
            self.loss,
            rng=spec.rng,
            batch_shape=len(self.streams),
            streams=self.streams,
            dtype=training.dtype,
        )
        return train(
            network,
            self.loss,
            weights,
            method=self.method,
            n_steps=training.n_steps,
            until=training.until,
            record=record,
            stop=self.stop if stop is None else stop,
            n_threads=n_threads,
            progress=progress or False,
        )


def _stacked(losses: Any, index: npt.NDArray[np.intp]) -> SquaredLoss:
    """Return one loss with the moments of a loss per run."""
    used, which = np.unique(index, return_inverse=True)
    names = ("input_cov", "cross_cov", "output_power")
    return SquaredLoss(
        *(np.stack([getattr(losses[i], name) for i in used])[which] for name in names)
    )


def recording(spec: SweepSpec, training: Training) -> Record:
    """Return what to record of a training so that all that is kept can be had."""
    if training.record is not None:
        return training.record
    curves = [d for d in spec.derived if not d.of_end]
    if curves:
        needs = [name for d in curves for name in d.needs]
        if any(not d.needs for d in curves):
            needs += _DEFAULT
        return Record.geomspace(_CURVE, tuple(dict.fromkeys(needs)))
    names = _end_needs(spec)
    if training.n_steps is not None:
        return Record.at([training.n_steps], names)
    return Record.at_times([training.until or 0.0], names)


def _end_needs(spec: SweepSpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for d in spec.derived if d.of_end for name in d.needs))


def train_group(
    spec: SweepSpec,
    indices: list[npt.NDArray[np.intp]],
    n_threads: int | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> tuple[Trajectory, Arrays]:
    """Train runs of one group; return the trajectory and, by name, what is kept of it."""
    batch = Batch.of(spec, indices)
    trajectory = batch.train(spec, recording(spec, batch.training), n_threads, progress, stop)
    kept: Arrays = {}
    if spec.keep_records:
        for name, values in trajectory.observables.items():
            if isinstance(values, tuple):
                kept |= {f"weights_{i}": part for i, part in enumerate(values)}
            else:
                kept[name] = values
    ends = _end_needs(spec)
    end = _end_of(spec, trajectory, indices, ends, n_threads) if ends else trajectory
    for d in spec.derived:
        kept[d.name] = _value(d, end if d.of_end else trajectory)
    kept["stopped_at"] = trajectory.stopped_at
    kept["status"] = trajectory.status
    return trajectory, kept


def _value(derived: Derived, trajectory: Trajectory) -> npt.NDArray[Any]:
    """Return what a function makes of a trajectory, checked."""
    n_runs = trajectory.run_shape[0]
    name = f"derived[{derived.name!r}]"
    try:
        value = np.asarray(derived.function(trajectory))
    except Exception as error:
        error.add_note(f"raised by {name}, for {n_runs} runs; records of runs that ended are NaN")
        raise
    if value.ndim == 0 or value.shape[0] != n_runs or value.dtype.kind not in "biuf":
        expected = f"numbers of shape (n_runs, ...), n_runs = {n_runs}"
        msg = f"{name} must return {expected}, got {value.dtype} of shape {value.shape}"
        raise ValueError(msg)
    kinds = {"b": np.int8, "i": np.int64, "u": np.int64, "f": np.float64}
    return value.astype(kinds[value.dtype.kind])


def _end_of(
    spec: SweepSpec,
    trajectory: Trajectory,
    indices: list[npt.NDArray[np.intp]],
    names: tuple[str, ...],
    n_threads: int | None,
) -> Trajectory:
    """Return a trajectory of one record: each run at its end, NaN of those that diverged."""
    steps, final = trajectory.steps, trajectory.final
    last = trajectory.time[-1:] if steps is None else steps[-1:]
    recorded = (
        len(last) > 0
        and last[0] == (final.time if steps is None else final.step)
        and set(names) <= set(trajectory.observables)
    )
    status = trajectory.status
    values: dict[str, Any] = {}
    early = (status == Status.CONVERGED) | (status == Status.EXHAUSTED)
    if recorded:
        values = {name: np.asarray(trajectory.observables[name])[:, -1:].copy() for name in names}
        missing = early
    else:
        missing = status != Status.DIVERGED
    where = np.flatnonzero(missing)
    if len(where):
        own = Batch.of(spec, [index[where] for index in indices])
        direction = None if own.training.record is None else own.training.record.direction
        seen = train(
            trajectory.network,
            own.loss,
            [array[where] for array in final.weights],
            # No step is taken; the gradient norm is that of the objective.
            method=GradientDescent(1.0, weight_decay=own.method.weight_decay),
            n_steps=0,
            record=Record.at([0], names, direction=direction),
            n_threads=n_threads,
        )
        for name in names:
            array = np.asarray(seen.observables[name])
            if name not in values:
                values[name] = np.full((len(status), *array.shape[1:]), np.nan)
            values[name][where] = array
    for name in names:
        if name not in values:  # all diverged, and nothing recorded
            values[name] = np.full((len(status), 1, *_shape_of_one(trajectory, name)), np.nan)
    end = final.time if steps is None else final.step
    return replace(
        trajectory,
        steps=None if steps is None else np.array([end], np.int64),
        time=np.array([end], np.float64) if steps is None else _end_time(trajectory, end),
        observables=values,
        provenance={},  # takes long to copy where there are many runs
    )


def _shape_of_one(trajectory: Trajectory, name: str) -> Shape:
    """Return the shape of one record of an observable."""
    return cast("Shape", OBSERVABLES[name](trajectory.network))


def _end_time(trajectory: Trajectory, end: Any) -> npt.NDArray[np.float64]:
    method: Any = trajectory.method
    if method.rule is None:
        return np.asarray(method.constant_step_size[..., None] * end)
    elapsed = trajectory.final.elapsed
    return np.asarray(elapsed)[..., None]


# -- the form of the result ------------------------------------------------------------------------


@dataclass(frozen=True)
class Variable:
    """A variable of the result: what follows the dimensions of the sweep."""

    name: str
    dims: tuple[str, ...]
    shape: Shape
    dtype: str

    @property
    def fill(self) -> float | int:
        """What stands where there is nothing, or not yet."""
        return np.nan if self.dtype.startswith("float") else PENDING

    @property
    def n_bytes(self) -> int:
        """Bytes of one run."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """The form of a sweep's result."""

    variables: tuple[Variable, ...]
    """The status is the last."""
    coords: Mapping[str, tuple[tuple[str, ...], npt.NDArray[Any]]]
    """Name -> dims and values, of the axis of records."""
    working_bytes: int
    """Of one run while it is trained: weights, and records whether kept or not."""

    @property
    def n_bytes(self) -> int:
        """Bytes of one run."""
        return sum(variable.n_bytes for variable in self.variables)


_INNER: Mapping[str, tuple[str, ...]] = {
    "singular_values": ("mode",),
    "product": ("out", "in"),
    "layer_norms": ("layer",),
    "layer_singular_ratio": ("layer",),
    "imbalance": ("layer_pair",),
    "layer_alignment": ("layer_pair",),
}


def layout_of(spec: SweepSpec) -> Layout:
    """Return the form of the result, from a training of one run of each group that ends at once."""
    found: dict[str, list[npt.NDArray[Any]]] = {}
    axes_of_records = []
    working = 0
    for group in spec.groups:
        index = [np.array([i]) for i in spec.first_of(group)]
        if spec.replicates is not None:
            index.append(np.array([0]))
        trajectory, kept = train_group(spec, index, 1, stop=Stop(loss=1e300))
        axes_of_records.append(trajectory.record_axis)
        parts = [*trajectory.observables.values(), 3 * trajectory.final.weights]
        arrays = [a for part in parts for a in (part if isinstance(part, tuple) else (part,))]
        working = max(working, sum(array.nbytes for array in arrays))
        for name, value in kept.items():
            found.setdefault(name, []).append(value)
    record_dim, record_coords = _record_axis(spec, axes_of_records)
    variables, sizes = [], dict[str, int]()
    # The status last: where it is written, the rest is.
    for name, values in sorted(found.items(), key=lambda item: item[0] == "status"):
        dims = _dims(spec, name, values[0].ndim - 1, record_dim)
        if any(value.ndim != values[0].ndim for value in values):
            msg = f"{name} must have equally many axes for all runs"
            raise ValueError(msg)
        for value in values:
            for dim, size in zip(dims, value.shape[1:], strict=True):
                sizes[dim] = max(sizes.get(dim, 0), size)
        variables.append((name, dims, np.result_type(*values)))
    if clash := (set(sizes) | set(found)) & set(spec.dims):
        msg = f"names of dimensions must not be those of results, got {', '.join(sorted(clash))}"
        raise ValueError(msg)
    _beside(spec, set(found))  # refuses names that are taken
    return Layout(
        tuple(
            Variable(name, dims, tuple(sizes[dim] for dim in dims), str(np.dtype(dtype)))
            for name, dims, dtype in variables
        ),
        record_coords,
        working,
    )


def _dims(spec: SweepSpec, name: str, n: int, record_dim: str) -> tuple[str, ...]:
    if name in ("status", "stopped_at"):
        return ()
    named = {d.name: d for d in spec.derived}
    if name in named:
        own = named[name].dims
        if own is None:
            observable = named[name].identity.removeprefix("final_")
            own = _INNER.get(observable) if named[name].of_end else None
        if own is None:
            own = tuple(f"{name}_{i}" for i in range(n))
        if len(own) != n:
            msg = f"derived[{name!r}] must have {n} names of axes, got {own}"
            raise ValueError(msg)
        return own
    inner = _INNER.get(name, tuple(f"{name}_{i}" for i in range(n - 1)))
    return (record_dim, *inner)


def _record_axis(
    spec: SweepSpec, axes: list[npt.NDArray[Any]]
) -> tuple[str, dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]]:
    """Return the name of the axis of records and its coordinate."""
    if not spec.keep_records:
        return "record", {}
    kinds = {"time" if axis.dtype.kind == "f" else "step" for axis in axes}
    if len(kinds) == 1 and all(np.array_equal(axis, axes[0]) for axis in axes):
        name = kinds.pop()
        return name, {name: ((name,), axes[0])}
    # Some axes change when is recorded: so does the coordinate.
    varied = [i for i, n in enumerate(spec.group_shape) if n > 1]
    lengths = [len(axis) if i in varied else 1 for i, axis in enumerate(spec.axes.values())]
    grids = np.meshgrid(*map(np.arange, lengths), indexing="ij")
    group = spec.groups_of([grid.ravel() for grid in grids])
    group = group.reshape([lengths[i] for i in varied])
    names = tuple(name for i, name in enumerate(spec.axes) if i in varied)
    most = max(map(len, axes))
    coords = {}
    for kind in sorted(kinds):
        table = np.full((len(axes), most), np.nan if kind == "time" else PENDING)
        for number, axis in enumerate(axes):
            if (axis.dtype.kind == "f") == (kind == "time"):
                table[number, : len(axis)] = axis
        dtype = np.float64 if kind == "time" else np.int64
        values = table[group].astype(dtype)
        dims = list(names)
        for name in names:
            # Not every choice changes when is recorded.
            first = np.take(values, [0], axis=dims.index(name))
            if np.array_equal(np.broadcast_to(first, values.shape), values, equal_nan=True):
                values = first[(slice(None),) * dims.index(name) + (0,)]
                dims.remove(name)
        coords[kind] = ((*dims, "record"), values)
    return "record", coords


def coordinates(
    spec: SweepSpec, layout: Layout
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]:
    """Return all coordinates of a result: dims and values by name."""
    coords: dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]] = {}
    for name, axis in spec.axes.items():
        coords[name] = ((name,), np.asarray(axis.labels))
    if spec.replicates is not None:
        coords[SEED] = ((SEED,), np.arange(spec.replicates))
    for name, (axis_name, values) in _beside(spec, {v.name for v in layout.variables}).items():
        coords[name] = ((axis_name,), values)
    return coords | dict(layout.coords)


def _beside(spec: SweepSpec, taken: set[str]) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    """Return what varies along an axis besides its labels: name -> axis and values."""
    columns = [
        (name, column, values)
        for name, axis in spec.axes.items()
        for column in axis.columns
        if (values := column.shown()) is not None
        and not (column.path.rpartition(".")[2] == name and np.array_equal(values, axis.labels))
    ]
    short = [column.path.rpartition(".")[2] for _, column, _ in columns]
    taken = taken | set(spec.dims) | set(_RECORD_DIMS)
    result: dict[str, tuple[str, npt.NDArray[Any]]] = {}
    for (axis_name, column, values), own in zip(columns, short, strict=True):
        name = own
        if own in taken or short.count(own) > 1:
            name = column.path.replace(".", "_")
        if name == axis_name:
            continue  # the labels are the names of its values
        if name in taken:
            msg = f"names of results must not be those of parameters, got {name}"
            raise ValueError(msg)
        result[name] = (axis_name, values)
    return result


_RECORD_DIMS = ("step", "time", "record")


def run_block(
    spec: SweepSpec,
    layout: Layout,
    block: Block,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Arrays:
    """Train the runs of a block.

    Parameters
    ----------
    spec : SweepSpec
    layout : Layout
    block : Block
    n_threads : int, optional
    progress : callable, optional
        Called as ``progress(done, total)``, in thousandths of runs.

    Returns
    -------
    dict of str to ndarray, shape (*block, *inner)
    """
    indices, shape = indices_of(block), shape_of(block)
    n_runs = int(np.prod(shape, dtype=np.int64))
    groups = spec.groups_of(indices) if indices else np.zeros(1, np.int64)
    result = {v.name: np.full((n_runs, *v.shape), v.fill, dtype=v.dtype) for v in layout.variables}
    before = 0
    for group in np.unique(groups):
        where = np.flatnonzero(groups == group)
        own = [index[where] for index in indices]
        tell = None
        if progress is not None:
            tell = _part(progress, before, len(where), n_runs)
        _, kept = train_group(spec, own, n_threads, tell)
        for name, value in kept.items():
            into = result[name]
            inner, most = value.shape[1:], into.shape[1:]
            fits = len(inner) == len(most) and all(n <= m for n, m in zip(inner, most, strict=True))
            if not fits or not np.can_cast(value.dtype, into.dtype):
                msg = (
                    f"derived[{name!r}] must return the same for runs that end early and for all "
                    f"others, {into.dtype} of shape {(n_runs, *most)}, got {value.dtype} of shape "
                    f"{(n_runs, *inner)}"
                )
                raise ValueError(msg)
            region: tuple[Any, ...] = (where, *map(slice, inner))
            into[region if inner != most else where] = value
        before += len(where)
    return {name: array.reshape((*shape, *array.shape[1:])) for name, array in result.items()}


def _part(progress: Progress, before: int, n_runs: int, all_runs: int) -> Progress:
    def tell(done: int, total: int) -> None:
        own = 1000 * n_runs * done // max(total, 1)
        progress(1000 * before + own, 1000 * all_runs)

    return tell
