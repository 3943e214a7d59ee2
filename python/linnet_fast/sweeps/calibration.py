"""How long runs of a group take, from training some of them: in full, or the beginning of long ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt

from linnet_fast._base.config import config
from linnet_fast.records.observables import NO_LOSSES
from linnet_fast.records.record import Record
from linnet_fast.sweeps.batch import Batch, train_group
from linnet_fast.sweeps.spec import SEED, SweepSpec
from linnet_fast.training.state import Status

_FIRST_STEPS = 32
_MOST_GROWTH = 16  # of a beginning that is trained anew
_BATCHES = 4  # runs of a sample for each place where runs are trained side by side
_MOST_SAMPLED = 4096
_STRETCHES = 12  # of a sample
_SURE = 2.0  # standard errors

Indices = list[npt.NDArray[np.intp]]


@dataclass(frozen=True)
class Cost:
    """What runs of a group cost, in seconds."""

    call: float
    """For each call, however few runs it has."""
    low: float
    high: float
    """For each run besides: at least and at most."""


def measured(spec: SweepSpec, group: int, n_threads: int, seconds: float) -> Cost:
    """Return what runs of a group cost, from about so many seconds of training.

    A sample of the runs, spread over the group, is trained in full, and if that is quick a larger one,
    which tells calls from runs. Of runs too long for that only the beginning is trained: what of them
    goes on then may go on to the end, or stop at once.
    """
    size = int(spec.group_sizes()[group])
    training = spec.training_at(spec.first_of(group))
    lanes = int(config()["float64_lanes"]) if training.counts_steps else 1
    n_runs = min(size, _BATCHES * n_threads * lanes)
    sample = _sample(spec, group, n_runs, size)
    if training.n_steps is not None:
        beginning = _beginning(spec, sample, n_threads, seconds)
        if beginning is not None:
            return beginning
    return _in_full(spec, group, n_threads, seconds, sample)


def _in_full(spec: SweepSpec, group: int, n_threads: int, seconds: float, sample: Indices) -> Cost:
    """Return what runs cost that are trained to their ends."""
    size, n_runs = int(spec.group_sizes()[group]), _n_of(sample)
    begin = perf_counter()
    first = _seconds(lambda: train_group(spec, sample, n_threads))
    if first < seconds / 4:  # a first call also wakes threads and fills caches
        first = min(first, _seconds(lambda: train_group(spec, sample, n_threads)))
    left = seconds - (perf_counter() - begin)
    most = min(size, _MOST_SAMPLED, int(n_runs * left / max(first, 1e-9)))
    if most < 2 * n_runs:
        spread = 0.0 if n_runs == size else 0.25  # of few runs nobody knows how much they differ
        each = first / n_runs
        return Cost(0.0, each * (1 - spread), each * (1 + spread))
    larger = _sample(spec, group, most, size)
    begin = perf_counter()
    kept = train_group(spec, larger, n_threads)
    second = perf_counter() - begin
    if 2 * second < left:
        second = min(second, _seconds(lambda: train_group(spec, larger, n_threads)))
    each = max((second - first) / (most - n_runs), second / most / 2)
    call = max(0.0, second - each * most)
    spread = 0.0 if most == size else _spread(kept["stopped_at"].astype(np.float64))
    return Cost(call, each * (1 - spread), each * (1 + spread))


def _beginning(spec: SweepSpec, sample: Indices, n_threads: int, seconds: float) -> Cost | None:
    """Return what runs cost that are too long to be trained in full; None if they are not."""
    batch = Batch.of(spec, sample)
    length, n_runs = batch.training.n_steps or 0, _n_of(sample)
    if length <= _FIRST_STEPS:
        return None
    begin = perf_counter()
    # A step costs little beside a call: what calls cost is taken off.
    call = min(_seconds(lambda: _cut(spec, batch, 1, n_threads)) for _ in range(2))
    n_steps = _FIRST_STEPS
    while True:
        once = perf_counter()
        stopped, going = _cut(spec, batch, n_steps, n_threads)
        took = perf_counter() - once
        if took < seconds / 4:  # others may have had the processors meanwhile
            took = min(took, _seconds(partial(_cut, spec, batch, n_steps, n_threads)))
        took = max(took - call, 1e-6)
        each = took / max(float(stopped.sum()), 1.0)  # a step of one run
        rest = each * float(going.sum()) * (length - n_steps)
        left = seconds - (perf_counter() - begin)
        is_clear = took > call
        if call + took + rest <= max(left, seconds / 3):
            return None
        growth = min(_MOST_GROWTH, 0.7 * left / took)
        more = min(length, int(n_steps * growth))
        if more < 2 * n_steps or (is_clear and took > seconds / 4):
            break
        n_steps = more
    ends = batch.stop is not None or not going.all()
    spread = _spread(np.where(going, length, stopped).astype(np.float64))
    high = (took + rest) / n_runs
    low = took / n_runs if ends else high
    return Cost(call, low * (1 - spread), high * (1 + spread))


def _cut(
    spec: SweepSpec, batch: Batch, n_steps: int, n_threads: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Train the first steps; return where each run stopped, and which would go on."""

    def last_of(own: Record | None) -> Record:
        evaluate = NO_LOSSES if own is None else own.evaluate  # a stop rule may ask for them
        return Record.at([n_steps], ("loss",), evaluate=evaluate)

    training = batch.training
    short = replace(
        batch, training=replace(training, n_steps=n_steps, record=last_of(training.record))
    )
    trajectory = short.train(spec, last_of(batch.record), n_threads)
    return np.asarray(trajectory.stopped_at), np.asarray(trajectory.status == Status.COMPLETED)


def _spread(lengths: npt.NDArray[np.float64]) -> float:
    """Return how far the mean of a sample may be from that of all, as a part of it."""
    mean = float(lengths.mean())
    if len(lengths) < 2 or mean <= 0:
        return 0.0
    return min(0.9, _SURE * float(lengths.std()) / mean / math.sqrt(len(lengths)))


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def _n_of(sample: Indices) -> int:
    return len(sample[0]) if sample else 1


def _sample(spec: SweepSpec, group: int, n_runs: int, size: int) -> Indices:
    """Return the index along every dimension of runs of a group, spread over it; or of all."""
    if not spec.dims:
        return []
    first = spec.first_of(group)
    candidates = []
    for name, length in zip(spec.dims, spec.shape, strict=True):
        places = np.arange(length)
        if name != SEED:
            axis = spec.dims.index(name)
            tried = [np.full(length, i) for i in first]
            tried[axis] = places
            places = places[spec.groups_of(tried) == group]
        candidates.append(places)
    if n_runs == size:
        return [part.ravel() for part in np.meshgrid(*candidates, indexing="ij")]
    # Stretches of neighbours, as in chunks: their random numbers are drawn together.
    rng = np.random.default_rng(0)
    length = min(len(candidates[-1]), -(-n_runs // _STRETCHES))
    n_stretches = -(-n_runs // length)
    within = np.tile(np.arange(length), n_stretches)[:n_runs]
    starts = [rng.choice(places, n_stretches) for places in candidates[:-1]]
    last = rng.integers(len(candidates[-1]) - length + 1, size=n_stretches)
    order = np.lexsort([last, *starts[::-1]])
    chosen = [np.repeat(start[order], length)[:n_runs] for start in starts]
    return [*chosen, candidates[-1][np.repeat(last[order], length)[:n_runs] + within]]
