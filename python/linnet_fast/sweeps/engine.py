"""Who trains the chunks: the threads of this process, or the workers of an executor."""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import Lock
from typing import Any

from linnet_fast._base import machine
from linnet_fast._base.config import config
from linnet_fast.sweeps import parent
from linnet_fast.sweeps.batch import Arrays
from linnet_fast.sweeps.chunk import Block, run_block, shape_of
from linnet_fast.sweeps.derived import Derived
from linnet_fast.sweeps.form import SweepError
from linnet_fast.sweeps.layout import Layout
from linnet_fast.sweeps.spec import SweepSpec, decode
from linnet_fast.sweeps.store import Chunks, Counts, Store, counts_of

_TASK_SECONDS = 1.0  # tasks are made of chunks until they take about so long
_AHEAD = 2  # tasks handed out per worker


@dataclass(frozen=True)
class Job:
    """A sweep as its workers are told of it; small where there is a store to read the rest from."""

    path: Path | None
    spec: SweepSpec | None
    spec_id: str
    derived: tuple[Derived, ...]
    layout: Layout | None
    chunks: Chunks
    isa: str
    n_threads: int | None
    slots: dict[str, int]
    """Host -> tasks at a time there, where that is known."""
    total_slots: int


@dataclass(frozen=True)
class Done:
    """What a worker says of a chunk."""

    number: int
    counts: Counts
    seconds: float
    values: Arrays | None


@dataclass
class Hooks:
    """What the sweep wants to be told, and where results go."""

    trained: Callable[[Done], None]
    kept: Callable[[Done], None]
    """Once it is in the store, or where there is none in memory."""
    within: Callable[[int, float], None]
    """(runs of the chunk, the part of them that is done)"""


class Slots:
    """The workers of an executor: how many tasks at a time, and where."""

    def __init__(self, executor: Any) -> None:
        self.executor: Executor = executor
        self.by_host: dict[str, int] = {}
        self.total = 0
        client = _dask_client(executor)
        if client is not None:
            if executor is client:
                self.executor = client.get_executor()
            for address, n_threads in client.nthreads().items():  # such as tcp://10.0.0.1:8786
                host = str(address).rpartition("/")[2].rpartition(":")[0]
                self.by_host[host] = self.by_host.get(host, 0) + int(n_threads)
            self.total = sum(self.by_host.values())
        for name in ("num_workers", "_max_workers"):
            if not self.total:
                value = getattr(executor, name, 0)
                self.total = int(value) if isinstance(value, int) else 0
        self.total = self.total or machine.n_threads()
        if not hasattr(self.executor, "submit"):
            msg = (
                "executor must be a concurrent.futures.Executor or a dask.distributed.Client, got "
                f"{type(executor).__name__}"
            )
            raise TypeError(msg)


def _dask_client(executor: Any) -> Any:
    """Return the dask client behind an executor, or None; dask is not imported for it."""
    for candidate in (executor, getattr(executor, "_client", None)):
        if type(candidate).__module__.split(".")[0] == "distributed" and hasattr(
            candidate, "nthreads"
        ):
            return candidate
    return None


# -- in a worker -----------------------------------------------------------------------------------

_opened: dict[tuple[Path, str, Chunks], tuple[Store, SweepSpec, Layout]] = {}
_opening = Lock()  # a worker may be several threads


def _open(job: Job) -> tuple[Store | None, SweepSpec, Layout]:
    """Return store, spec and layout; read once per process."""
    if job.path is None:
        assert job.spec is not None
        assert job.layout is not None
        return None, job.spec, job.layout
    key = (job.path, job.spec_id, job.chunks)
    with _opening:
        if key not in _opened:
            store = Store.open(job.path)
            spec = decode(store.spec_data, job.derived, store.spec_arrays())
            if spec.id != job.spec_id or store.chunks != job.chunks:
                msg = f"{job.path} is another sweep's by now"
                raise SweepError(msg)
            _opened.clear()
            _opened[key] = store, spec, Layout(store.variables, {}, 0)
        return _opened[key]


def threads_of(job: Job) -> int:
    """Return how many threads a task may use: this worker's share of what its host offers."""
    if job.n_threads is not None:
        return job.n_threads
    available = machine.n_threads()
    tasks = job.total_slots
    if job.slots:
        names = {socket.gethostname(), *_addresses()}
        here = [n for host, n in job.slots.items() if host in names]
        tasks = here[0] if here else max(job.slots.values())
    elif "MPI_LOCALNRANKS" in os.environ or "OMPI_COMM_WORLD_LOCAL_SIZE" in os.environ:
        local = os.environ.get("MPI_LOCALNRANKS") or os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"]
        if available * int(local) <= (os.cpu_count() or 1):
            return available  # each rank is bound to processors of its own
        # One rank of all only hands out tasks.
        tasks = min(tasks, int(local))
    return max(1, available // max(1, tasks))


def _addresses() -> list[str]:
    try:
        addresses = socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        addresses = []
    return ["127.0.0.1", "localhost", *addresses]


def work(job: Job, numbers: tuple[int, ...]) -> list[Done]:
    """Train chunks in a worker, and write them if there is a store."""
    parent.end_with_parent()
    isa = str(config()["instruction_set"])
    if isa != job.isa:
        msg = (
            f"worker on {socket.gethostname()} has instruction set {isa}, and bits may differ from "
            f"{job.isa}: set LINNET_FAST_ISA to the least of all workers"
        )
        raise SweepError(msg)
    store, spec, layout = _open(job)
    result = []
    n_threads = threads_of(job)
    for number in numbers:
        begin = time.perf_counter()
        done = None if store is None else _found(store, number)
        if done is None:
            values = run_block(spec, layout, job.chunks.block(number), n_threads)
            if store is not None:
                with parent.writing():
                    store.write(number, values)
            seconds, counts = time.perf_counter() - begin, counts_of(values["status"])
            done = Done(number, counts, seconds, None if store is not None else values)
        result.append(done)
    return result


def _found(store: Store, number: int) -> Done | None:
    """Return what to say of a chunk that another process has done meanwhile."""
    if not store.is_done(number):
        return None
    return Done(number, counts_of(store.read(number, "status")), 0.0, None)


# -- in this process -------------------------------------------------------------------------------


def run_here(
    spec: SweepSpec,
    layout: Layout,
    chunks: Chunks,
    numbers: Iterable[int],
    store: Store | None,
    n_threads: int | None,
    hooks: Hooks,
) -> None:
    """Train chunks with the threads of this process; a chunk is written while the next is trained."""
    with ThreadPoolExecutor(1, thread_name_prefix="linnet-fast-writer") as writer:
        writing: Future[Done] | None = None
        has_writer, process = True, os.getpid()
        try:
            for number in numbers:
                found = None if store is None else _found(store, number)
                if found is not None:
                    hooks.trained(found)
                    hooks.kept(found)
                    continue
                values, seconds = _trained(spec, layout, chunks.block(number), n_threads, hooks)
                counts = counts_of(values["status"])
                done = Done(number, counts, seconds, values if store is None else None)
                hooks.trained(done)
                if store is None:
                    hooks.kept(done)
                    continue
                if writing is not None:
                    before, writing = writing, None
                    hooks.kept(before.result())
                if has_writer:
                    try:
                        writing = writer.submit(_write, store, done, values)
                        continue
                    except RuntimeError:  # the system gives no thread
                        has_writer = False
                hooks.kept(_write(store, done, values))
        finally:
            # However this ends: the chunk that is being trained is dropped, the one that is being
            # written is finished. A child that was forked meanwhile has no thread that writes.
            if writing is not None and os.getpid() == process:
                hooks.kept(writing.result())


def _trained(
    spec: SweepSpec, layout: Layout, block: Block, n_threads: int | None, hooks: Hooks
) -> tuple[Arrays, float]:
    n_runs = math.prod(shape_of(block))

    def tell(done: int, total: int) -> None:
        hooks.within(n_runs, done / max(total, 1))

    begin_time = time.perf_counter()
    values = run_block(spec, layout, block, n_threads, tell)
    return values, time.perf_counter() - begin_time


def _write(store: Store, done: Done, values: Arrays) -> Done:
    store.write(done.number, values)
    return done


# -- by an executor --------------------------------------------------------------------------------


def run_by(
    slots: Slots, job: Job, numbers: Iterable[int], group_of: Callable[[int], int], hooks: Hooks
) -> None:
    """Hand chunks out to the workers of an executor, packed to tasks by what they turn out to cost."""
    queue = deque(numbers)
    running: set[Future[list[Done]]] = set()
    cost: dict[int, float] = {}
    try:
        while queue or running:
            while queue and len(running) < _AHEAD * slots.total:
                task = _packed(queue, group_of, cost)
                running.add(slots.executor.submit(work, job, task))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                for done in future.result():
                    if done.seconds > 0:  # else it was there already, and says nothing
                        cost[group_of(done.number)] = done.seconds
                    hooks.trained(done)
                    hooks.kept(done)
    except (BrokenExecutor, CancelledError) as error:
        msg = f"a worker has died: {str(error) or type(error).__name__}"
        raise SweepError(msg) from error
    except BaseException as error:
        _check_pickled(job, error)
        if type(error).__name__ == "KilledWorker":
            msg = f"a worker has died again and again: {error}"
            raise SweepError(msg) from error
        raise
    finally:
        for future in running:
            future.cancel()


def _check_pickled(job: Job, error: BaseException) -> None:
    """Where a function cannot be sent to a worker, say which, and what to do."""
    if "pickle" not in f"{type(error).__name__} {error}".lower():
        return
    for d in job.derived:
        try:
            ForkingPickler.dumps(d.function)  # as pools send it
        except Exception as reason:
            msg = (
                f"derived[{d.name!r}] must be a function that can be sent to other processes, such as "
                f"one of a module, by name 'module:function'; got {d.function!r}"
            )
            raise TypeError(msg) from reason


def _packed(
    queue: deque[int], group_of: Callable[[int], int], cost: dict[int, float]
) -> tuple[int, ...]:
    """Take chunks off the queue for one task: one if its cost is unknown, else a second's worth."""
    task = [queue.popleft()]
    seconds = cost.get(group_of(task[0]), _TASK_SECONDS)
    while queue and seconds < _TASK_SECONDS:
        next_cost = cost.get(group_of(queue[0]))
        if next_cost is None or seconds + next_cost > 2 * _TASK_SECONDS:
            break
        task.append(queue.popleft())
        seconds += next_cost
    return tuple(task)
