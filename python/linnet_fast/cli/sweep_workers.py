"""Who trains the runs of ``linnet-fast sweep``: threads, workers, Dask or MPI; and how far they are."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet_fast._base import files, wording
from linnet_fast.sweeps import parent
from linnet_fast.sweeps.file.reader import SweepFile
from linnet_fast.sweeps.form import is_store
from linnet_fast.sweeps.store import Store
from linnet_fast.sweeps.sweep import SweepError, SweepProgress, open_sweep, sweep

if TYPE_CHECKING:
    from xarray import Dataset

_LINE_SECONDS = 10.0  # between lines of progress, where there is no terminal
_MOST_FAILURES = 3  # pools in a row whose workers die before they have done anything


class Live:
    """Tells how far a sweep is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, n_runs: int) -> None:
        self.state: SweepProgress | None = None
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            tqdm = files.optional("tqdm", "sweep").tqdm
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
            elif sys.stderr is not None and time.monotonic() - self._told >= _LINE_SECONDS:
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
    left = (
        "" if math.isinf(state.seconds_left) else f"{wording.duration(state.seconds_left)} left, "
    )
    return f"{rate}{left}{state.n_diverged:,} diverged"


def throughput(live: Live) -> str:
    """Return how fast the runs of this call were trained."""
    state = live.state
    if state is None or state.runs_per_second == 0:
        return "all runs were there already"
    return f"{state.runs_per_second:,.1f} runs per second, {wording.duration(state.seconds)}"


def train(
    file: SweepFile, store: Path | None, options: argparse.Namespace, live: Live | None
) -> Dataset:
    """Run the sweep by whom the options say; workers that die are replaced."""
    failures, before = 0, -1
    while True:
        try:
            with _executor(options) as executor:
                return sweep(
                    file.spec,
                    store,
                    executor,
                    live or False,
                    n_threads=options.threads,
                    shard=options.shard,
                    extend=options.extend,
                    note="; ".join(file.data),
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
def _executor(options: argparse.Namespace) -> Iterator[Any]:
    """Give the executor that the options name, None for the threads of this process."""
    made: Any = nullcontext()
    if options.workers:
        made = _pool(options.workers)
    elif options.dask is not None:
        made = _dask(options.dask)
    elif options.mpi:
        made = files.optional("mpi4py.futures", "mpi").MPIPoolExecutor()
    with made as executor:
        yield executor


@contextmanager
def _pool(n: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes, which are ended at once when something goes wrong."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin)
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


def _begin() -> None:
    """Prepare a worker: Ctrl-C is the business of the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent.end_with_parent()


@contextmanager
def _dask(address: str) -> Iterator[Any]:
    distributed = files.optional("distributed", "dask")
    with distributed.Client(address, timeout=10, set_as_default=False) as client:
        yield client


def n_there(store: Path) -> int:
    """Return how many runs are in a store."""
    return Store.open(store, growing=True).n_there()


def interrupted(store: Path | None) -> str:
    """Return what Ctrl-C, or another signal, has left."""
    if store is None:
        return "interrupted; nothing is kept, for there is no store"
    if not is_store(store):
        return "interrupted before anything was kept"
    data = open_sweep(store)
    kept = f"{n_there(store):,} of {data['status'].size:,} runs are kept in {store}"
    return f"interrupted; {kept}: the same command goes on from there"
