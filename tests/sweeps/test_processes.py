"""Parents that are killed, children that are forked meanwhile, and threads that cannot be had."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sweep_problems as problems
from support import cover, few, of_session, seconds_until_gone
from sweep_problems import assert_consistent, assert_equal, in_memory, sweep

import linnet_fast as lf

HAS_PROC = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PARENT = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
def pool():
    if KIND == "loky":
        from loky import ProcessPoolExecutor as Loky
        return Loky(2)
    return ProcessPoolExecutor(2, mp_context=get_context(KIND))
def main():
    with pool() as executor:
        lf.sweep(slow_spec(100), "s.zarr", executor, progress=False, chunk_runs=3)
if __name__ == "__main__":
    main()
"""


def there(store):
    return lf.open_sweep(store)["status"].values >= 0 if store.exists() else np.zeros(1, bool)


@HAS_PROC
@pytest.mark.parametrize("kind", few(["fork", "spawn", "loky", "forkserver"], 1))
def test_workers_end_after_their_parent(kind, tmp_path):
    if kind == "loky":
        pytest.importorskip("loky")
    store = tmp_path / "s.zarr"
    with problems.running(PARENT.replace("KIND", repr(kind)), cwd=tmp_path) as process:
        until = time.monotonic() + 60
        # So many that each worker has had a task: before that, it does not know of sweeps.
        while np.count_nonzero(there(store)) < 40:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        before = there(store)
        assert len(of_session(process.pid)) >= 3
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        seconds_until_gone(process.pid)
    spec = problems.slow_spec(100)
    kept = there(store)
    assert kept[before].all()
    assert not kept.all()
    assert not list(store.rglob("*.partial"))
    assert_consistent(lf.open_sweep(store), in_memory(spec))
    if kind in ("spawn", "forkserver"):
        assert_equal(sweep(spec, store), in_memory(spec))


WRITER = """
import multiprocessing, time
from linnet_fast.sweeps import parent
def work():
    parent.end_with_parent()
    with parent.writing():
        Path("begun").touch()
        time.sleep(3)
        Path("done").touch()
    time.sleep(60)
multiprocessing.get_context("fork").Process(target=work).start()
"""


@HAS_PROC
def test_what_is_being_written_is_finished(tmp_path):
    """The process ends only when the store has its chunk whole, as long as that takes."""
    with problems.running(WRITER, cwd=tmp_path) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        seconds_until_gone(process.pid)
    assert (tmp_path / "done").exists()


def test_a_process_that_nobody_made_is_left_alone():
    """Workers of a batch system lose their parents for good reasons."""
    out = problems.run(
        """
import threading, time
from linnet_fast.sweeps import parent
parent.end_with_parent()
print([t.name for t in threading.enumerate()])
"""
    )
    assert out == "['MainThread']\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_by_the_progress_function_does_not_hang(tmp_path):
    """It has neither the threads that train nor the one that writes, and leaves with an error."""
    cases = cover([1, 2], [None, "s.zarr"])
    out = problems.run(
        f"""
import shutil, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)
def progress(state):
    if not children and state.n_done > 20:
        children.append(os.fork())
        if children[0] == 0:
            signal.alarm(60)
spec = slow_spec(20)
for n_threads, store in {cases}:
    children = []
    code = 1
    shutil.rmtree("s.zarr", ignore_errors=True)
    try:
        data = lf.sweep(spec, store, progress=progress, chunk_runs=3, n_threads=n_threads)
    except RuntimeError as error:
        code = 5 if "forked within a" in str(error) else 6
    if children[0] == 0:
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
    assert_equal(data, in_memory(spec))
""",
        cwd=tmp_path,
    )
    assert out == len(cases) * "5\n"


def test_without_a_thread_that_writes_the_others_do(tmp_path, monkeypatch):
    class Refused(ThreadPoolExecutor):
        def submit(self, *_):
            msg = "can't start new thread"
            raise RuntimeError(msg)

    spec = problems.plain(replicates=4)
    monkeypatch.setattr("linnet_fast.sweeps.engine.ThreadPoolExecutor", Refused)
    assert_equal(sweep(spec, tmp_path / "s.zarr", chunk_runs=4), in_memory(spec))
