"""Runs that are trained together: what shares all but numbers, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast.losses.problem import Seeding
from linnet_fast.records.observables import NO_LOSSES, rows
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.sweeps.derived import Derived
from linnet_fast.sweeps.spec import SweepSpec
from linnet_fast.training import plain
from linnet_fast.training.beginning import beginning
from linnet_fast.training.description import DATA_SEEDS, Training, streams_of
from linnet_fast.training.observe import observe
from linnet_fast.training.phase import Phase
from linnet_fast.training.phases import Planned, planned
from linnet_fast.training.state import Status
from linnet_fast.training.subset import subset
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
Progress: TypeAlias = Callable[[int, int], object]

_CURVE = 100  # records of a trajectory that functions are derived from, where none are asked for
_DEFAULT = ("loss", "singular_values")
_PARTS = ("loss", "method", "stop", "start", "record", "phases")


@dataclass(frozen=True)
class Batch:
    """Runs of one group, as `train` takes them."""

    training: Training
    record: Record | None
    """That of the training, with evaluated losses as the runs have them."""
    loss: Any
    """With the data that runs draw."""
    method: Any
    stop: Stop | None
    start: Any
    streams: npt.NDArray[np.int64]
    phases: tuple[Phase, ...] | None

    @classmethod
    def of(cls, spec: SweepSpec, indices: list[npt.NDArray[np.intp]]) -> Batch:
        """Return the batch of runs of one group, given by their index along every dimension.

        Indices broadcast against each other, to the run axes of the batch.
        """
        n_axes = len(spec.axes)
        training = spec.training_at([int(i.flat[0]) for i in indices[:n_axes]])
        parts: dict[str, Any] = {name: getattr(training, name) for name in (*_PARTS, *DATA_SEEDS)}
        settings: dict[str, npt.NDArray[np.float64]] = {}
        for axis, index in zip(spec.axes.values(), indices, strict=False):
            for column in axis.columns:
                if column.numbers is not None:
                    settings[column.path] = column.numbers[index]
                elif column.kind == "stacked" and (index != index.flat[0]).any():
                    root, *rest = column.path.split(".")
                    loss = type(column.values[0]).stacked(column.values, index)
                    parts[root] = plain.replaced(root, parts[root], rest, loss)
        for path, numbers in sorted(settings.items(), key=lambda item: item[0].count(".")):
            root, *rest = path.split(".")
            parts[root] = plain.replaced(root, parts[root], rest, numbers)
        streams = spec.streams_of(indices)
        seeds = (parts.pop(name) for name in DATA_SEEDS)
        data, batches = streams_of(streams, *(_whole(seed) for seed in seeds))
        seeding, problem = Seeding(spec.rng, data), parts["loss"]
        parts["loss"] = problem.for_runs(seeding, problem)
        if parts["record"] is not None:
            parts["record"] = parts["record"].for_runs(seeding, problem)
        parts["method"] = parts["method"].with_streams(batches)
        if parts["phases"] is not None:
            parts["phases"] = tuple(
                phase.for_runs(seeding, problem).with_streams(batches) for phase in parts["phases"]
            )
        return cls(training=training, streams=streams, **parts)

    @classmethod
    def of_all(cls, spec: SweepSpec) -> Batch:
        """Return the batch of all runs of a spec of one group: a run axis for each dimension."""
        if len(spec.groups) > 1:
            msg = f"spec must have one group of runs, got {len(spec.groups):,}"
            raise ValueError(msg)
        inner = range(len(spec.shape))[::-1]  # how many dimensions follow
        sizes = zip(spec.shape, inner, strict=True)
        return cls.of(spec, [np.arange(n).reshape(n, *(1,) * after) for n, after in sizes])

    def train(
        self,
        spec: SweepSpec,
        record: Record,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> Trajectory:
        """Train the runs."""
        training = self.training
        return train(
            training.network,
            self.loss,
            self._drawn(spec),
            method=self.method,
            n_steps=training.n_steps,
            until=training.until,
            phases=self.phases,
            record=record,
            stop=self.stop,
            n_threads=n_threads,
            progress=progress or False,
            reduce=training.reduce,
        )

    def beginning(self, spec: SweepSpec, record: Record) -> Trajectory:
        """Return the trajectory of the runs if they ended before their first step."""
        training, whole = self.training, self.training.length
        first = self._planned()[0]
        return beginning(
            training.network,
            first.loss,
            self._drawn(spec),
            method=first.method,
            n_steps=int(whole) if training.counts_steps else None,
            until=None if training.counts_steps else whole,
            record=record,
        )

    def _planned(self) -> tuple[Planned, ...]:
        """Return the phases; without, the training as the only one."""
        training = self.training
        whole = self.phases or (Phase(n_steps=training.n_steps, until=training.until),)
        return planned(
            training.network,
            self.loss,
            whole,
            method=self.method,
            record=self.record,
            stop=self.stop,
        )

    @property
    def last(self) -> Planned:
        """With which method and loss runs end."""
        return self._planned()[-1]

    def _drawn(self, spec: SweepSpec) -> tuple[npt.NDArray[Any], ...]:
        """Return the start weights."""
        runs = (self.start.run_shape, self.loss.run_shape, self.streams.shape)
        weights: tuple[npt.NDArray[Any], ...] = self.start.draw(
            self.training.network,
            self.loss,
            rng=spec.rng,
            batch_shape=np.broadcast_shapes(*runs),
            streams=self.streams,
            dtype=self.training.dtype,
        )
        return weights


def _whole(seed: Any) -> Any:
    """Return seeds of runs as integers; what is one for all as it is."""
    return seed.astype(np.int64) if isinstance(seed, np.ndarray) else seed


def recording(spec: SweepSpec, training: Training, record: Record | None) -> Record:
    """Return what to record of a training, whose own record is given, so that all that is kept can be had."""
    if record is not None:
        return record
    curves = [d for d in spec.derived if not d.of_end]
    if curves:
        needs = [name for d in curves for name in d.needs]
        if any(not d.needs for d in curves):
            needs += _DEFAULT
        return Record.geomspace(_CURVE, tuple(dict.fromkeys(needs)))
    names = _end_needs(spec)
    if training.counts_steps:
        return Record.at([int(training.length)], names)
    return Record.at_times([training.length], names)


def _end_needs(spec: SweepSpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for d in spec.derived if d.of_end for name in d.needs))


def train_group(
    spec: SweepSpec,
    indices: list[npt.NDArray[np.intp]],
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Arrays:
    """Train runs of one group, in C order; return, by name, what is kept of them."""
    mesh = _mesh(spec, indices)
    batch = Batch.of(spec, indices if mesh is None else mesh)
    if mesh is not None:
        whole = np.broadcast_shapes(*(index.shape for index in mesh))
        batch = replace(batch, streams=np.broadcast_to(batch.streams, whole))
    trajectory = batch.train(
        spec, recording(spec, batch.training, batch.record), n_threads, progress
    )
    if mesh is not None:
        trajectory = subset(trajectory, np.arange(len(indices[0])))
    return _kept(spec, trajectory, indices, n_threads)


def _mesh(
    spec: SweepSpec, indices: list[npt.NDArray[np.intp]]
) -> list[npt.NDArray[np.intp]] | None:
    """Return the indices of runs along axes of their own, if some share data that others do not.

    The core trains together what shares data; where all runs do, or none, one axis says as much. Runs of
    a group are a grid, for a group is a choice along each axis; those of a sample are not.
    """
    if not spec.data_dims:
        return None
    chosen = [np.unique(index) for index in indices]
    n_data = n_others = 1
    for name, some in zip(spec.dims, chosen, strict=True):
        if name in spec.data_dims:
            n_data *= len(some)
        else:
            n_others *= len(some)
    if min(n_data, n_others) == 1 or n_data * n_others != len(indices[0]):
        return None
    mesh = np.ix_(*chosen)
    flat = (part.ravel() for part in np.broadcast_arrays(*mesh))
    return list(mesh) if all(map(np.array_equal, flat, indices)) else None


def first_of_group(
    spec: SweepSpec, indices: list[npt.NDArray[np.intp]]
) -> tuple[Trajectory, Arrays]:
    """Return the trajectory of runs that end where they begin, and what would be kept of it."""
    batch = Batch.of(spec, indices)
    trajectory = batch.beginning(spec, recording(spec, batch.training, batch.record))
    return trajectory, _kept(spec, trajectory, indices, 1)


def _kept(
    spec: SweepSpec,
    trajectory: Trajectory,
    indices: list[npt.NDArray[np.intp]],
    n_threads: int | None,
) -> Arrays:
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
    return kept


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
        batch = Batch.of(spec, [index[where] for index in indices])
        record = batch.record
        last_part = batch.last
        seen = observe(
            trajectory.network,
            last_part.loss,
            [array[where] for array in final.weights],
            names,
            weight_decay=last_part.method.weight_decay,
            layer_decays=last_part.method.layer_decays,
            direction=None if record is None else record.direction,
            evaluate=NO_LOSSES if record is None else record.evaluate,
            start=[array[where] for array in trajectory.start.weights],
            n_threads=n_threads,
        )
        for name in names:
            array = np.asarray(seen[name])[:, None]
            if name not in values:
                values[name] = np.full((len(status), *array.shape[1:]), np.nan)
            values[name][where] = array
    for name, row in rows(names, trajectory.evaluated).items():
        if name in names and name not in values:  # all diverged, and nothing recorded
            shape = row.record_shape(trajectory.network)
            values[name] = np.full((len(status), 1, *shape), np.nan)
    end = final.time if steps is None else final.step
    return replace(
        trajectory,
        steps=None if steps is None else np.array([end], np.int64),
        time=np.array([end], np.float64) if steps is None else _end_time(trajectory, end),
        observables=values,
        provenance={},  # takes long to copy where there are many runs
    )


def _end_time(trajectory: Trajectory, end: Any) -> npt.NDArray[np.float64]:
    clock, elapsed = trajectory.final.clock, trajectory.final.elapsed
    return np.asarray(elapsed)[..., None] if clock is None else clock.at([end])
