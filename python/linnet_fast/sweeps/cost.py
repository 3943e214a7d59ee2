"""What a sweep will take: seconds from a short calibration, bytes, and so the size of chunks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from linnet_fast._base.config import config
from linnet_fast._base.validate import FloatArray
from linnet_fast.records.observables import NO_LOSSES
from linnet_fast.records.record import Record
from linnet_fast.sweeps.batch import Batch, train_group
from linnet_fast.sweeps.layout import Layout
from linnet_fast.sweeps.spec import SEED, SweepSpec

_MOST_CALIBRATED = 24  # groups; the others are interpolated by their size
_FULL = 0.2  # seconds up to which a sample of runs is trained in full
_PART = 0.05  # seconds for which it is trained otherwise
_CHUNK_SECONDS = 1.5
_LONGEST_CHUNK = 5.0
_LONGEST_FULL = 20.0  # of as many runs as there are lanes, which cost as one of them does
_SHORTEST_CHUNK = 0.1
_LEAST_CHUNKS = 8  # per worker, so that all end at about the same time
_MOST_CHUNK_BYTES = 2**28


@dataclass(frozen=True)
class Group:
    """Runs that are trained together."""

    network: str
    """The architecture, as text."""
    n_runs: int
    seconds: float
    """For all of them."""


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep will take on this machine.

    Attributes
    ----------
    n_runs : int
    groups : tuple of Group
        Sets of runs that are trained together: network, number of runs, seconds.
    n_bytes : int
        Size of the result.
    seconds : float
        Time with `n_threads`, from a short calibration.
    n_threads : int
    chunk_runs : int
        Runs per chunk that would be chosen.
    """

    n_runs: int
    groups: tuple[Group, ...]
    n_bytes: int
    seconds: float
    n_threads: int
    chunk_runs: int


def estimate(spec: SweepSpec, layout: Layout, n_threads: int, n_workers: int = 1) -> SweepEstimate:
    """Return what a sweep will take if each of the workers has so many threads."""
    sizes = spec.group_sizes()
    each = _seconds_per_run(spec, n_threads)
    groups = tuple(
        Group(spec.training_at(spec.first_of(g)).network.spec, int(n), float(n * s))
        for g, n, s in zip(spec.groups, sizes, each, strict=True)
    )
    seconds = float((sizes * each).sum())
    lanes = n_threads * int(config()["float64_lanes"])
    chunk = _chunk_runs(spec.n_runs, seconds, float(each.max()), layout, lanes, n_workers)
    n_bytes = spec.n_runs * layout.n_bytes
    return SweepEstimate(spec.n_runs, groups, n_bytes, seconds / n_workers, n_threads, chunk)


def _chunk_runs(
    n_runs: int, seconds: float, slowest: float, layout: Layout, lanes: int, n_workers: int
) -> int:
    """Return runs per chunk: a second or two of work, within memory, enough chunks for all."""
    mean = max(seconds / n_runs, 1e-9)
    runs = min(_CHUNK_SECONDS / mean, _LONGEST_CHUNK / max(slowest, 1e-9))
    if lanes * slowest <= _LONGEST_FULL:
        runs = max(runs, lanes)
    if n_workers > 1:
        runs = min(runs, max(n_runs / (_LEAST_CHUNKS * n_workers), _SHORTEST_CHUNK / mean))
    per_run = layout.n_bytes + layout.working_bytes
    return max(1, math.floor(min(runs, _MOST_CHUNK_BYTES / per_run)))


def _seconds_per_run(spec: SweepSpec, n_threads: int) -> FloatArray:
    n_groups = len(spec.groups)
    work = np.array([_work(spec, group) for group in spec.groups])
    order = np.argsort(work, kind="stable")
    places = np.unique(np.linspace(0, n_groups - 1, min(n_groups, _MOST_CALIBRATED)).round())
    chosen = order[places.astype(int)]
    measured = np.array([_calibrated(spec, int(group), n_threads) for group in chosen])
    rates = np.interp(work, work[chosen], measured / work[chosen])
    return np.asarray(rates * work, np.float64)


def _work(spec: SweepSpec, group: int) -> float:
    """Return about how much a run of a group is, in no unit."""
    training = spec.training_at(spec.first_of(group))
    network = training.network
    least = min(network.n_inputs, network.n_outputs)
    return (1.0 + float(training.length)) * (16 + network.n_weights * least)


def _calibrated(spec: SweepSpec, group: int, n_threads: int) -> float:
    """Return seconds per run of a group."""
    training = spec.training_at(spec.first_of(group))
    n_runs = 4 * n_threads
    if training.counts_steps:
        n_runs *= int(config()["float64_lanes"])
    indices = _sample(spec, group, n_runs)
    n_runs = len(indices[0]) if indices else 1
    if training.n_steps is None:
        return _seconds(lambda: train_group(spec, indices, n_threads)) / n_runs
    n_steps = min(training.n_steps, 32)
    per_step = _steps_seconds(spec, indices, n_steps, n_threads) / max(n_steps, 1)
    if per_step * training.n_steps <= _FULL:
        return _seconds(lambda: train_group(spec, indices, n_threads)) / n_runs
    n_steps = max(n_steps, min(training.n_steps, math.ceil(_PART / per_step)))
    per_step = _steps_seconds(spec, indices, n_steps, n_threads) / n_steps
    return per_step * training.n_steps / n_runs


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def _steps_seconds(
    spec: SweepSpec, indices: list[npt.NDArray[np.intp]], n_steps: int, n_threads: int
) -> float:
    """Return how long the first steps take, the better of two measurements."""
    batch = Batch.of(spec, indices)

    def last_of(own: Record | None) -> Record:
        evaluate = NO_LOSSES if own is None else own.evaluate  # a stop rule may ask for them
        return Record.at([n_steps], ("loss",), evaluate=evaluate)

    training = batch.training
    short = replace(
        batch, training=replace(training, n_steps=n_steps, record=last_of(training.record))
    )
    record = last_of(batch.record)
    return min(_seconds(lambda: short.train(spec, record, n_threads)) for _ in range(2))


def _sample(spec: SweepSpec, group: int, n_runs: int) -> list[npt.NDArray[np.intp]]:
    """Return the index along every dimension of runs of a group, spread over it."""
    if not spec.dims:
        return []
    first = spec.first_of(group)
    rng = np.random.default_rng(0)
    columns = []
    for name, length in zip(spec.dims, spec.shape, strict=True):
        candidates = np.arange(length)
        if name != SEED:
            axis = spec.dims.index(name)
            tried = [np.full(length, i) for i in first]
            tried[axis] = candidates
            candidates = candidates[spec.groups_of(tried) == group]
        columns.append(rng.choice(candidates, n_runs))
    return columns
