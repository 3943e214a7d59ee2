"""Whoever trains the runs of a sweep, and however they are cut up: the result is the same."""

from __future__ import annotations

import importlib
import itertools
import logging
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sweep_problems as problems
from support import cover, few
from sweep_problems import (
    DESIGNS,
    Listener,
    assert_equal,
    assert_same_chunks,
    expected,
    spec_of,
    sweep,
)

import linnet_fast as lf
from linnet_fast._base import machine
from linnet_fast.sweeps import engine
from linnet_fast.training.state import Status

POOLS = ("spawn", "thread", "loky", "dask")
SIMILAR_POOLS = ("forkserver", "dask executor")
"""How they start or are called differs, what they do does not: a few designs will do."""
DESIGNS_OF_POOLS = [
    *itertools.product(POOLS[:1], DESIGNS),
    *itertools.product(POOLS[1:], few(DESIGNS, 3)),
    *itertools.product(SIMILAR_POOLS, few(("single", "records"), 1)),
]

MPIEXEC = Path(sys.executable).parent / "mpiexec"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return the store of a design in chunks of about 7 runs, made by one thread of this process."""
    path = tmp_path_factory.mktemp("kept")

    def of(design):
        store = path / f"{design}.zarr"
        if not store.exists():
            assert_equal(sweep(spec_of(design), store, n_threads=1, chunk_runs=7), expected(design))
        return store

    return of


def forks():
    """Return a context whose processes are children of one that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweep_problems", "linnet_fast.sweeps.engine"])
    return context


@pytest.fixture(scope="module")
def process_pools():
    pools = {
        "spawn": ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
        "forkserver": ProcessPoolExecutor(2, mp_context=forks()),
    }
    yield pools
    for pool in pools.values():
        pool.shutdown()


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip(
        "distributed"
    )  # which the sanitizers' environment does without
    calm = {  # what its processes do fifty times a second and more, however idle
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.worker.memory.monitor-interval": "2s",
    }
    with (
        importlib.import_module("dask.config").set(calm),
        distributed.LocalCluster(
            processes=True,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def executor(request):
    """Return the executor that the test's `pool` names."""
    name = request.getfixturevalue("pool")
    if name == "thread":
        with ThreadPoolExecutor(3) as pool:
            yield pool
    elif name == "loky":
        # which the sanitizers' environment does without
        yield pytest.importorskip("loky").get_reusable_executor(2, timeout=300)
    elif name.startswith("dask"):
        client = request.getfixturevalue("dask_client")
        yield client if name == "dask" else client.get_executor()
    else:
        yield request.getfixturevalue("process_pools")[name]


# -- the same result -------------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS)
def test_the_designs_have_what_they_are_for(design):
    """Else the comparisons below would compare little."""
    data = expected(design)
    status = set(np.unique(data.status).tolist())
    wanted = {
        "grid": {Status.COMPLETED, Status.DIVERGED},
        "records": {Status.COMPLETED, Status.DIVERGED},
        "stopped": {Status.COMPLETED, Status.CONVERGED, Status.DIVERGED},
        "flow": {Status.COMPLETED, Status.CONVERGED},
        "all diverge": {Status.DIVERGED},
    }.get(design, {Status.COMPLETED})
    assert status == wanted
    spec = spec_of(design)
    assert data.attrs["spec_id"] == spec.id
    for number in {0, spec.n_runs // 2, spec.n_runs - 1}:
        run, index = spec.run(number, n_threads=1), spec.index(number)
        assert data.status.values[index] == run.status
        assert data.stopped_at.values[index] == run.stopped_at


@pytest.mark.parametrize("design", DESIGNS)
def test_threads_and_chunks_of_this_process(design):
    for n_threads, chunk_runs in cover((1, 2, 3), (1, 7, 1000, None)):
        data = sweep(spec_of(design), n_threads=n_threads, chunk_runs=chunk_runs)
        assert_equal(data, expected(design))


@pytest.mark.parametrize("design", few(DESIGNS, 5))
def test_threads_of_this_process_write_the_same_store(design, kept, tmp_path):
    for n_threads in few((2, 3), 1):
        store = tmp_path / f"{n_threads}.zarr"
        assert_equal(
            sweep(spec_of(design), store, n_threads=n_threads, chunk_runs=7), expected(design)
        )
        assert_same_chunks(store, kept(design))
    for chunk_runs in few((1000, None), 1):
        store = tmp_path / f"{chunk_runs}.zarr"
        assert_equal(sweep(spec_of(design), store, chunk_runs=chunk_runs), expected(design))
        assert_equal(lf.open_sweep(store), expected(design))


@pytest.mark.parametrize("design", ["single", "all diverge", "losses", "paired"])
def test_chunks_of_one_run(design, tmp_path):
    spec = spec_of(design)
    assert_equal(sweep(spec, tmp_path / "s.zarr", chunk_runs=1), expected(design))
    names = [f for f in problems.chunk_files(tmp_path / "s.zarr") if f.startswith("status/")]
    assert len(names) == spec.n_runs


@pytest.mark.parametrize(("pool", "design"), DESIGNS_OF_POOLS)
def test_executors(pool, design, executor, kept, tmp_path):
    del pool
    spec, store = spec_of(design), tmp_path / "s.zarr"
    assert_equal(sweep(spec, executor=executor, chunk_runs=7), expected(design))
    assert_equal(sweep(spec, store, executor, chunk_runs=7), expected(design))
    assert_same_chunks(store, kept(design))


@pytest.mark.parametrize("pool", ["spawn", "thread", "dask"])
def test_executors_with_chunks_of_their_choice(pool, executor, tmp_path):
    del pool
    for design in ("grid", "flow"):
        assert_equal(sweep(spec_of(design), executor=executor), expected(design))
        assert_equal(sweep(spec_of(design), tmp_path / design, executor), expected(design))


@pytest.mark.parametrize("pool", ["spawn", "loky", "dask"])
def test_one_goes_on_where_another_was(pool, executor, kept, tmp_path):
    """Half of the chunks by this process, the rest by workers."""
    del pool
    store = tmp_path / "s.zarr"
    half = sweep(spec_of("grid"), store, shard=(1, 2), chunk_runs=7)
    assert 0 < int((half.status == -1).sum()) < spec_of("grid").n_runs
    assert_equal(sweep(spec_of("grid"), store, executor), expected("grid"))
    assert_same_chunks(store, kept("grid"))


@pytest.mark.parametrize("order", few(itertools.permutations((1, 2, 3)), 2))
def test_shards_in_any_order(order, kept, tmp_path):
    store, spec = tmp_path / "s.zarr", spec_of("grid")
    left = spec.n_runs
    for part in order:
        listener = Listener()
        data = sweep(spec, store, shard=(part, 3), chunk_runs=7, progress=listener).load()
        now = int((data.status == -1).sum())
        n_diverged = int((data.status == Status.DIVERGED).sum())
        own = listener.told[-1]
        assert own.n_runs == own.n_done == left - now > 0
        assert own.n_diverged <= n_diverged
        left = now
    assert left == 0
    assert_equal(data, expected("grid"))
    assert_same_chunks(store, kept("grid"))


def test_more_shards_than_chunks(kept, tmp_path):
    for part in range(1, 9):
        data = sweep(spec_of("paired"), tmp_path / "s.zarr", shard=(part, 8), chunk_runs=7)
    assert_equal(data, expected("paired"))
    assert_same_chunks(tmp_path / "s.zarr", kept("paired"))


@pytest.mark.parametrize("shards", [True, False], ids=["shards", "all do all"])
def test_three_processes_at_once_on_a_store_that_none_has_made(shards, kept, tmp_path):
    with ProcessPoolExecutor(3, mp_context=forks()) as pool:
        calls = [
            pool.submit(problems.sweep_when_told, tmp_path, {"shard": (part, 3)} if shards else {})
            for part in (1, 2, 3)
        ]
        while len(list(tmp_path.glob("waits *"))) < 3:
            assert not any(call.done() for call in calls)
            time.sleep(0.01)
        (tmp_path / "go").touch()
        assert {call.result(timeout=100) for call in calls} == {spec_of("grid").id}
    assert_equal(lf.open_sweep(tmp_path / "s.zarr"), expected("grid"))
    assert_same_chunks(tmp_path / "s.zarr", kept("grid"))
    others = {entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("waits")}
    assert others == {"s.zarr", "go"}


MPI = """
from __future__ import annotations
import sys
from mpi4py.futures import MPIPoolExecutor
import linnet_fast as lf
from sweep_problems import *

if __name__ == "__main__":
    with MPIPoolExecutor(initializer=pretend, initargs=("log",)) as pool:
        for design in ("grid", "records"):
            for store in (None, f"{design}.zarr"):
                data = lf.sweep(spec_of(design), store, pool, progress=False, chunk_runs=7)
                assert_equal(data, expected(design))
    print("done")
"""


@pytest.mark.skipif(not MPIEXEC.exists(), reason="no MPI")
def test_mpi(kept, tmp_path):
    pytest.importorskip("mpi4py")  # which the sanitizers' environment does without
    (tmp_path / "script.py").write_text(MPI)
    done = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(problems.HERE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    for design in ("grid", "records"):
        assert_same_chunks(tmp_path / f"{design}.zarr", kept(design))
    processes, threads = problems.told_threads(tmp_path / "log")
    assert len(processes) == 2
    assert threads == {problems.CORES // 2}


# -- who has a chance to go wrong ------------------------------------------------------------------


def test_threads_as_workers_read_the_store_at_the_same_time(tmp_path):
    spec = spec_of("all diverge")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for attempt in few(range(10), 3):
            with ThreadPoolExecutor(8) as pool:
                data = sweep(spec, tmp_path / f"{attempt}.zarr", pool, chunk_runs=1)
            assert_equal(data, expected("all diverge"))
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("pool", ["spawn", "thread", "loky"])
def test_workers_notice_that_a_store_was_made_anew(pool, executor, kept, tmp_path):
    del pool
    store, spec = tmp_path / "s.zarr", spec_of("records")
    for chunk_runs in (3, 24, 7):
        shutil.rmtree(store, ignore_errors=True)
        assert_equal(sweep(spec, store, executor, chunk_runs=chunk_runs), expected("records"))
    assert_same_chunks(store, kept("records"))


@pytest.mark.parametrize("pool", ["spawn", "thread"])
def test_workers_notice_that_a_store_has_grown(pool, executor, tmp_path):
    del pool
    store = tmp_path / "s.zarr"
    for replicates in (2, 5, 9):
        spec = problems.plain(replicates=replicates)
        data = sweep(spec, store, executor, extend=True, chunk_runs=4)
        assert_equal(data, sweep(spec))


@pytest.mark.parametrize("pool", ["spawn", "thread", "dask"])
def test_two_sweeps_share_an_executor(pool, executor, tmp_path):
    """At the same time, from two threads."""
    del pool
    designs = ("grid", "flow")
    with ThreadPoolExecutor(2) as callers:
        calls = [
            callers.submit(sweep, spec_of(d), tmp_path / d, executor, chunk_runs=7) for d in designs
        ]
        for design, call in zip(designs, calls, strict=True):
            assert_equal(call.result(), expected(design))


def test_a_worker_of_another_instruction_set_is_refused(tmp_path):
    options = {"mp_context": forks(), "initializer": problems.pretend_isa, "initargs": ("v0",)}
    with ProcessPoolExecutor(1, **options) as pool:
        for store in (None, tmp_path / "s.zarr"):
            with pytest.raises(lf.SweepError, match=r"instruction set v0.*LINNET_FAST_ISA"):
                sweep(spec_of("paired"), store, pool, chunk_runs=7)
    assert_equal(sweep(spec_of("paired"), store), expected("paired"))


def test_an_error_in_a_worker_comes_out_with_its_name_and_the_store_goes_on(
    process_pools, tmp_path
):
    store = tmp_path / "s.zarr"
    flag = tmp_path / "fail"
    spec = problems.plain(derived={"odd": problems.Failing(flag)})
    flag.touch()
    with pytest.raises(LookupError, match="asked to fail") as info:
        sweep(spec, store, process_pools["spawn"], chunk_runs=3)
    assert any("derived['odd']" in note for note in info.value.__notes__)
    flag.unlink()
    assert_equal(sweep(spec, store, process_pools["spawn"]), sweep(spec))


@pytest.mark.parametrize("with_store", [False, True])
@pytest.mark.parametrize("pool", ["spawn", "forkserver"])
def test_a_function_that_cannot_be_sent_is_named(pool, executor, with_store, kept, tmp_path):
    del pool
    spec = problems.plain(derived={"gap": lambda t: t.loss[:, 0]})
    store = tmp_path / "s.zarr" if with_store else None
    with pytest.raises((TypeError, ValueError), match=r"derived\['gap'\].*module:function"):
        sweep(spec, store, executor, chunk_runs=7)
    # And the executor is as good as before.
    assert_equal(sweep(spec_of("paired"), tmp_path / "t", executor, chunk_runs=7),
                 expected("paired"))  # fmt: skip
    assert_same_chunks(tmp_path / "t", kept("paired"))


@pytest.mark.parametrize("pool", ["thread", "loky", "dask"])
def test_a_function_without_a_name_goes_where_it_can(pool, executor, tmp_path):
    del pool
    spec = problems.plain(derived={"gap": lambda t: t.loss[:, 0] - t.loss[:, -1]})
    assert_equal(sweep(spec, executor=executor, chunk_runs=7), sweep(spec))
    assert_equal(sweep(spec, tmp_path / "s.zarr", executor, chunk_runs=7), sweep(spec))


# -- what workers are told and tell ----------------------------------------------------------------


class Watching(ThreadPoolExecutor):
    """Remembers what is sent and what comes back."""

    def __init__(self, *args):
        super().__init__(*args)
        self.sent, self.futures = [], []

    def submit(self, function, *args):
        self.sent.append((function, args))
        self.futures.append(super().submit(function, *args))
        return self.futures[-1]


def _wide():
    rng = np.random.default_rng(0)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((90, 80)), rng.standard_normal((90, 2)))
    training = problems.training(
        network=lf.Dense((80, 4, 2)),
        loss=loss,
        n_steps=4,
        record=lf.Record.every(1, ("loss", "product")),
    )
    return lf.grid(training, {"method.step_size": [0.01, 0.02, 0.03]}, replicates=8)


def test_with_a_store_neither_job_nor_answer_has_arrays(tmp_path):
    spec = _wide()
    with Watching(2) as pool:
        data = sweep(spec, tmp_path / "s.zarr", pool, chunk_runs=8)
        assert_equal(data, sweep(spec))
        assert data.nbytes > 100_000
        chunks = [done for future in pool.futures for done in future.result()]
        assert sorted(done.number for done in chunks) == [0, 1, 2]
        assert sum(int(done.counts.sum()) for done in chunks) == spec.n_runs
        assert all(done.values is None for done in chunks)
        assert len(pickle.dumps([future.result() for future in pool.futures])) < 2000
        assert all(len(pickle.dumps(sent)) < 5000 for sent in pool.sent)


def test_without_a_store_answers_are_the_arrays():
    with Watching(2) as pool:
        sweep(spec_of("grid"), executor=pool, chunk_runs=7)
        for future in pool.futures:
            for done in future.result():
                assert set(done.values) == set(expected("grid").data_vars)


def test_every_chunk_is_handed_out_once(tmp_path):
    for store in (None, tmp_path / "s.zarr"):
        with Watching(3) as pool:
            sweep(spec_of("stopped"), store, pool, chunk_runs=2)
            numbers = [n for _, (_, own) in pool.sent for n in own]
            assert sorted(numbers) == list(range(len(numbers)))
            assert len(numbers) > 10
    with Watching(3) as pool:
        assert_equal(sweep(spec_of("stopped"), store, pool), expected("stopped"))
        assert not pool.sent


def _job(**changes):
    values = {
        "path": None,
        "spec": None,
        "spec_id": "",
        "derived": (),
        "layout": None,
        "chunks": None,
        "isa": "",
        "n_threads": None,
        "slots": {},
        "total_slots": 1,
    }
    return engine.Job(**values | changes)


@pytest.mark.parametrize("available", [1, 2, 7, 64])
def test_a_worker_takes_its_share_of_the_cores(available, monkeypatch):
    monkeypatch.setattr(machine, "n_threads", lambda: available)
    monkeypatch.delenv("MPI_LOCALNRANKS", raising=False)
    monkeypatch.delenv("OMPI_COMM_WORLD_LOCAL_SIZE", raising=False)
    for total in (0, 1, 2, 3, 5, 64, 1000):
        share = max(1, available // max(total, 1))
        assert engine.threads_of(_job(total_slots=total)) == share
        here, elsewhere = {"127.0.0.1": total}, {"198.51.100.7": total}
        assert engine.threads_of(_job(total_slots=9 * total, slots=here)) == share
        assert engine.threads_of(_job(total_slots=9 * total, slots=elsewhere)) == share
        assert engine.threads_of(_job(total_slots=total, n_threads=5)) == 5
        monkeypatch.setenv("MPI_LOCALNRANKS", "4")
        least = max(1, available // max(1, min(total, 4)))
        assert engine.threads_of(_job(total_slots=total)) == least
        monkeypatch.delenv("MPI_LOCALNRANKS")


@pytest.mark.parametrize(
    ("workers", "n_threads", "told"), [(1, None, 8), (3, None, 2), (11, None, 1), (3, 5, 5)]
)
def test_what_threads_as_workers_tell_the_core(workers, n_threads, told, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_TASK_SECONDS", 0.0)
    problems.pretend(tmp_path / "log")
    try:
        with ThreadPoolExecutor(workers) as pool:
            sweep(spec_of("paired"), tmp_path / "s.zarr", pool, n_threads=n_threads, chunk_runs=3)
    finally:
        problems.stop_pretending()
    _, threads = problems.told_threads(tmp_path / "log")
    assert threads - {1} == {told} - {1}  # the layout is found with one


@pytest.mark.parametrize(
    ("pool", "n"),
    [("thread", 3), *((pool, 2) for pool in (*POOLS, *SIMILAR_POOLS) if pool != "thread")],
)
def test_how_many_workers_an_executor_has(pool, n, executor):
    del pool
    assert engine.Slots(executor).total == n


def _check_shares(log):
    processes, threads = problems.told_threads(log)
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
    assert threads == {problems.CORES // 2}


def test_what_processes_as_workers_tell_the_core(tmp_path):
    log = tmp_path / "log"
    options = {"mp_context": forks(), "initializer": problems.pretend, "initargs": (log,)}
    with ProcessPoolExecutor(2, **options) as pool:
        sweep(spec_of("stopped"), tmp_path / "s.zarr", pool, chunk_runs=3)
    _check_shares(log)


def test_what_workers_of_dask_tell_the_core(dask_client, tmp_path):
    log = tmp_path / "log"
    dask_client.run(problems.pretend, log)
    try:
        sweep(spec_of("stopped"), tmp_path / "s.zarr", dask_client, chunk_runs=3)
    finally:
        dask_client.run(problems.stop_pretending)
    _check_shares(log)


# -- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "design"),
    cover(
        ["here", "here with a store", "thread", "spawn"],
        ["grid", "stopped", "all diverge", "single"],
    ),
)
def test_progress_only_grows_and_ends_at_the_end(how, design, process_pools, tmp_path):
    spec = spec_of(design)
    n_diverged = int((expected(design).status == Status.DIVERGED).sum())
    store = None if how == "here" else tmp_path / "s.zarr"
    with ThreadPoolExecutor(3) as threads:
        pool = {"thread": threads, "spawn": process_pools["spawn"]}.get(how)
        for chunk_runs in (2, 1000):
            listener = Listener()
            sweep(spec, store, pool, progress=listener, chunk_runs=chunk_runs)
            listener.check(spec.n_runs, n_diverged)
            if store is not None:
                again = Listener()
                sweep(spec, store, pool, progress=again)
                again.check(spec.n_runs, n_diverged)
                shutil.rmtree(store)


class Enough(Exception):
    pass


@pytest.mark.parametrize(("how", "after"), cover(["here", "thread", "spawn"], [1, 20, 50]))
def test_progress_of_a_sweep_that_goes_on(how, after, process_pools, kept, tmp_path):
    spec, store = spec_of("grid"), tmp_path / "s.zarr"
    n_diverged = int((expected("grid").status == Status.DIVERGED).sum())

    def stop(progress):
        if progress.n_done >= after:
            raise Enough

    with ThreadPoolExecutor(3) as threads:
        pool = {"thread": threads, "spawn": process_pools["spawn"]}.get(how)
        with pytest.raises(Enough):
            sweep(spec, store, pool, progress=stop, chunk_runs=7)
        if pool is not None:  # what was handed out is still done
            wait([pool.submit(int) for _ in range(8)])
        there = int((lf.open_sweep(store).status != -1).sum())
        listener = Listener()
        assert_equal(sweep(spec, store, pool, progress=listener), expected("grid"))
    listener.check(spec.n_runs, n_diverged)
    assert listener.told[0].n_done >= there
    assert_same_chunks(store, kept("grid"))


def test_the_bar_of_a_terminal_is_no_trouble(capsys, tmp_path):
    assert_equal(lf.sweep(spec_of("grid"), tmp_path / "s.zarr", chunk_runs=7), expected("grid"))
    assert_equal(lf.sweep(spec_of("grid")), expected("grid"))
    assert capsys.readouterr() == ("", "")  # no terminal, no bar


def test_slots_of_what_is_no_executor():
    for other in (3, "pool", object(), [1]):
        with pytest.raises(TypeError, match="executor must be"):
            sweep(spec_of("single"), executor=other)


def test_a_job_is_refused_where_the_store_is_another_sweeps(tmp_path):
    store = tmp_path / "s.zarr"
    sweep(spec_of("paired"), store, chunk_runs=7)
    with Watching(1) as pool:
        sweep(spec_of("paired"), tmp_path / "t.zarr", pool, chunk_runs=7)
        function, (job, numbers) = pool.sent[0]
    for wrong in ({"spec_id": "0" * 64}, {"isa": "v0"}):
        with pytest.raises(lf.SweepError):
            function(replace(job, **wrong), numbers)
