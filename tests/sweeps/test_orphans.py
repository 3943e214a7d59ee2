"""Workers whose parent is killed end soon, and what they have done stays."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest
import sweep_problems as problems
from support import of_session, seconds_until_gone
from sweep_problems import assert_consistent, assert_equal, in_memory, sweep

import linnet_fast as lf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

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
        lf.sweep(slow_spec(400), "s.zarr", executor, progress=False, chunk_runs=3)
if __name__ == "__main__":
    main()
"""


def there(store):
    return lf.open_sweep(store)["status"].values >= 0 if store.exists() else np.zeros(1, bool)


@pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn", "loky"])
def test_workers_end_after_their_parent(kind, tmp_path):
    if kind == "loky":
        pytest.importorskip("loky")
    store = tmp_path / "s.zarr"
    with problems.running(PARENT.replace("KIND", repr(kind)), cwd=tmp_path) as process:
        until = time.monotonic() + 60
        while np.count_nonzero(there(store)) < 12:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        before = there(store)
        assert len(of_session(process.pid)) >= 3
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        seconds_until_gone(process.pid)
    spec = problems.slow_spec(400)
    kept = there(store)
    assert kept[before].all()
    assert not kept.all()
    assert not list(store.rglob("*.partial"))
    assert_consistent(lf.open_sweep(store), in_memory(spec))
    if kind == "spawn":
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
