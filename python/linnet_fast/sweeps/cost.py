"""What a sweep will take: seconds from trying some of its runs, bytes, and so the size of chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from linnet_fast._base.config import config
from linnet_fast._base.validate import FloatArray
from linnet_fast.sweeps.calibration import measured
from linnet_fast.sweeps.layout import Layout, layout_of
from linnet_fast.sweeps.spec import SweepSpec

_MOST_CALIBRATED = 24  # groups; the others are interpolated by their size
_LEAST_SECONDS = 0.05  # for a group
_QUICK = 0.6  # seconds of calibration for the size of chunks
_CAREFUL = 4.0  # and for an estimate
_UNSURE = 1.5  # times: clocks of processors, other processes
_AROUND = 0.01  # seconds around all runs: the result, labels
_STORE_RATE = 5e7  # bytes a second, into the files of a store
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
        Time with `n_threads`: the middle of the range, in proportion.
    seconds_range : (float, float)
        Between what times it should be, from training some of the runs. It is wide where these are too
        long to be trained to their ends and a stop rule, or divergence, may end them sooner.
        The upper end has time for the files of a store; neither has the start of workers.
    seconds_spent : float
        How long it took to find out.
    n_threads : int
    chunk_runs : int
        Runs per chunk that would be chosen.
    """

    n_runs: int
    groups: tuple[Group, ...]
    n_bytes: int
    seconds: float
    seconds_range: tuple[float, float]
    seconds_spent: float
    n_threads: int
    chunk_runs: int


@dataclass(frozen=True)
class _Costs:
    """What runs of each group cost: arrays, an entry per group."""

    call: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def middle(self) -> FloatArray:
        return np.asarray(np.sqrt(self.low * self.high), np.float64)


def estimate(spec: SweepSpec, n_threads: int) -> SweepEstimate:
    """Return what a sweep will take in this process."""
    begin = perf_counter()
    layout = layout_of(spec)
    laid_out = perf_counter() - begin
    begin_quick = perf_counter()
    chunk = chunk_runs(spec, layout, n_threads)
    found_chunk = perf_counter() - begin_quick
    costs = _costs(spec, n_threads, _CAREFUL)
    sizes = spec.group_sizes()
    calls = costs.call * np.maximum(1, np.ceil(sizes / chunk))
    around = laid_out + found_chunk + _AROUND
    low, middle, high = (sizes * each + calls for each in (costs.low, costs.middle, costs.high))
    groups = tuple(
        Group(spec.training_at(spec.first_of(g)).network.spec, int(n), float(s))
        for g, n, s in zip(spec.groups, sizes, middle, strict=True)
    )
    n_bytes = spec.n_runs * layout.n_bytes
    ends = (
        float(low.sum() + around) / _UNSURE,
        float(high.sum() + around) * _UNSURE + n_bytes / _STORE_RATE,
    )
    return SweepEstimate(
        n_runs=spec.n_runs,
        groups=groups,
        n_bytes=n_bytes,
        seconds=math.sqrt(ends[0] * ends[1]),
        seconds_range=ends,
        seconds_spent=perf_counter() - begin,
        n_threads=n_threads,
        chunk_runs=chunk,
    )


def chunk_runs(spec: SweepSpec, layout: Layout, n_threads: int, n_workers: int = 1) -> int:
    """Return runs per chunk: a second or two of work, within memory, enough chunks for all workers.

    Each of the workers has so many threads.
    """
    each = _costs(spec, n_threads, _QUICK).middle
    seconds, slowest = float((spec.group_sizes() * each).sum()), float(each.max())
    mean = max(seconds / spec.n_runs, 1e-9)
    runs = min(_CHUNK_SECONDS / mean, _LONGEST_CHUNK / max(slowest, 1e-9))
    lanes = n_threads * int(config()["float64_lanes"])
    if lanes * slowest <= _LONGEST_FULL:
        runs = max(runs, lanes)
    if n_workers > 1:
        runs = min(runs, max(spec.n_runs / (_LEAST_CHUNKS * n_workers), _SHORTEST_CHUNK / mean))
    per_run = layout.n_bytes + layout.working_bytes
    return max(1, math.floor(min(runs, _MOST_CHUNK_BYTES / per_run)))


def _costs(spec: SweepSpec, n_threads: int, seconds: float) -> _Costs:
    """Return what runs of each group cost, from about so many seconds of training."""
    n_groups = len(spec.groups)
    work = np.array([_work(spec, group) for group in spec.groups])
    order = np.argsort(work, kind="stable")
    places = np.unique(np.linspace(0, n_groups - 1, min(n_groups, _MOST_CALIBRATED)).round())
    chosen = order[places.astype(int)]
    share = max(_LEAST_SECONDS, seconds / max(len(chosen), 3))
    found = [measured(spec, int(group), n_threads, share) for group in chosen]

    def for_all(name: str) -> FloatArray:
        rates = np.array([getattr(cost, name) for cost in found]) / work[chosen]
        return np.asarray(np.interp(work, work[chosen], rates) * work, np.float64)

    return _Costs(for_all("call"), for_all("low"), for_all("high"))


def _work(spec: SweepSpec, group: int) -> float:
    """Return about how much a run of a group is, in no unit."""
    training = spec.training_at(spec.first_of(group))
    network = training.network
    least = min(network.n_inputs, network.n_outputs)
    return (1.0 + float(training.length)) * (16 + network.n_weights * least)
