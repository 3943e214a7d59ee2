"""Sweeps against ourselves: what the layer adds, how long a million runs take, other engines."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import linnet_fast as lf
from bench.sections.base import Row
from bench.sections.sweep_problem import make_sweep_problem, spec_of, train_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.sections.base import Goal
    from bench.sections.sweep_problem import SweepProblem
    from bench.timing import Race


def by_hand(problem: SweepProblem) -> Callable[[], float]:
    """Return a measure of runs per second of one call of ``train`` for all."""
    return _rate(problem, lambda: train_ours(problem, problem.starts()))


def in_memory(problem: SweepProblem) -> Callable[[], float]:
    """Return a measure of runs per second of a sweep that is kept in memory."""
    spec = spec_of(problem)
    return _rate(problem, lambda: lf.sweep(spec, progress=False, n_threads=problem.n_threads))


def to_store(problem: SweepProblem, folder: Path, executor: Any = None) -> Callable[[], float]:
    """Return a measure of runs per second of a sweep that is written to a new store."""
    spec = spec_of(problem)
    n_threads = problem.n_threads if executor is None else 1

    def run() -> None:
        store = folder / "runs.zarr"
        shutil.rmtree(store, ignore_errors=True)
        lf.sweep(spec, store, executor, progress=False, n_threads=n_threads)

    return _rate(problem, run)


def _rate(problem: SweepProblem, run: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        begin = perf_counter()
        run()
        return problem.n_runs / (perf_counter() - begin)

    return measure


def peak_gib() -> float:
    """Return the most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds_of(goal: Goal, n_runs: int, result: Race) -> Row:
    """Return a row about how long a whole sweep takes, and the memory of its process."""
    rates = result.rates["sweep"]
    return Row(
        case={key: goal[key] for key in goal if key != "goal"},
        goal=goal["goal"],
        rates=result.rates,
        value=n_runs / max(rates),
        median=n_runs / median(rates),
        others=result.others,
        beside={"GiB": peak_gib()},
    )


@contextmanager
def by_workers(engine: str, problem: SweepProblem, folder: Path) -> Iterator[Callable[[], float]]:
    """Give a measure of runs per second by as many workers as there are threads, of one each."""
    n = problem.n_threads
    if engine == "mpi":
        yield lambda: _under_mpi(problem, folder)
    elif engine == "dask":
        distributed = import_module("distributed")
        cluster = distributed.LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, dashboard_address=None
        )
        with cluster, distributed.Client(cluster) as client:
            yield to_store(problem, folder, client)
    else:
        with ProcessPoolExecutor(n, mp_context=get_context("forkserver")) as executor:
            yield to_store(problem, folder, executor)


def _under_mpi(problem: SweepProblem, folder: Path) -> float:
    """Return runs per second within an MPI job of its own, whose start does not count."""
    mpiexec = Path(sysconfig.get_path("scripts")) / "mpiexec"
    numbers = [problem.width, problem.n_runs, problem.n_steps, problem.n_threads, str(folder)]
    command = [sys.executable, "-m", "mpi4py.futures", "-m", "bench.sections.sweep_engines"]
    done = subprocess.run(
        [str(mpiexec), "-n", str(problem.n_threads + 1), *command, json.dumps(numbers)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,  # else mpiexec waits for what the measuring process reads
        stdout=subprocess.PIPE,
        timeout=600,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _main() -> None:
    """Measure in rank 0 of an MPI job; print runs per second."""
    *sizes, folder = json.loads(sys.argv[1])
    with import_module("mpi4py.futures").MPIPoolExecutor() as executor:
        problem = make_sweep_problem(*sizes)
        first = make_sweep_problem(sizes[0], 200, 10, sizes[3])
        with tempfile.TemporaryDirectory(dir=folder) as place:
            to_store(first, Path(place), executor)()  # workers import what they need
            rate = to_store(problem, Path(place), executor)()
    sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    _main()
