"""Sweeps that are killed or interrupted go on; others may read and write the store meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sweep_problems as problems
import xarray as xr
from support import few
from sweep_problems import (
    assert_consistent,
    assert_equal,
    assert_same_chunks,
    expected,
    in_memory,
    plain,
    snapshot,
    spec_of,
    sweep,
)

import linnet_fast as lf
from linnet_fast.sweeps import store as store_module

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# -- kills -----------------------------------------------------------------------------------------

KILLS = few(range(12), 6)

ZYGOTE = """
import json, signal, warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
# Threads of BLAS are no reason not to fork: children use none of them.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def child(job):
    os.setpgrp()
    spec, workers = spec_of(job["design"]), job["workers"]
    options = {"chunk_runs": job["chunk_runs"], "extend": job.get("extend", False)}
    if not workers:
        lf.sweep(spec, job["store"], progress=False, n_threads=1, **options)
        return 0
    calls = []
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        def progress(_):
            calls.append(0)
            if len(calls) == job["kill_worker_after"]:
                os.kill(list(pool._processes)[len(calls) % workers], signal.SIGKILL)
        try:
            lf.sweep(spec, job["store"], pool, progress=progress, n_threads=1, **options)
        except lf.SweepError as error:
            assert "worker has died" in str(error) and "are kept in" in str(error), error
            return 3
    return 0

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = child(json.loads(line))
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print("pid", pid, flush=True)
    print("exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Zygote:
    """A process that sweeps in children: without the second that imports take."""

    def __init__(self, process):
        self.process = process

    def start(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self._read("pid")

    def end(self):
        return self._read("exit")

    def _read(self, word):
        """Read a number; what a test that failed left unread is passed over, never taken for a pid."""
        while line := self.process.stdout.readline():
            if line.startswith(f"{word} "):
                return int(line.split()[1])
        raise EOFError

    def killed(self, delay, **job):
        """Kill a sweep after a while; return whether it was still at work."""
        pid = self.start(**job)
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.kill(pid, signal.SIGKILL)
        code = self.end()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        assert code in (0, -signal.SIGKILL), code
        return code != 0


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    log = tmp_path_factory.mktemp("zygote") / "stderr"
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", problems.PREAMBLE + ZYGOTE],
            env=os.environ | {"PYTHONPATH": str(problems.HERE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
        yield Zygote(process)
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
    assert not log.read_text()


@HAS_FORK
@pytest.mark.parametrize(
    ("design", "chunk_runs", "workers", "n_kills"),
    few(
        [
            ("records", 1, 0, len(KILLS)),
            ("grid", 2, 0, len(KILLS)),
            ("stopped", 1, 0, len(KILLS)),
            ("grid", 2, 2, len(KILLS)),
        ],
        2,
    ),
)
def test_a_killed_sweep_goes_on(design, chunk_runs, workers, n_kills, zygote, clean, tmp_path):
    """Kill -9 at moments drawn at random; nothing is lost, nothing is wrong, at any time."""
    rng = random.Random(f"{design} {workers}")
    job = {"design": design, "chunk_runs": chunk_runs, "workers": workers, "kill_worker_after": 0}
    kills, number, most, longest = 0, 0, 0, 0.4
    for _ in range(4 * n_kills):
        store = tmp_path / f"{number}.zarr"
        hit = zygote.killed(rng.uniform(0.0, longest), store=str(store), **job)
        longest *= 1.0 if hit else 0.8  # on a fast machine it has ended sooner
        kills += hit
        if store.exists():
            there = assert_consistent(lf.open_sweep(store), expected(design))
            assert there >= most, "runs were lost"
            most = there
        if kills == n_kills:
            break
        if not hit:
            number, most = number + 1, 0
    assert kills == n_kills
    for again in range(number + 1):
        store = tmp_path / f"{again}.zarr"
        assert_equal(sweep(spec_of(design), store, chunk_runs=chunk_runs), expected(design))
        assert_equal(lf.open_sweep(store), expected(design))
        assert_same_chunks(store, clean(design, chunk_runs))


@HAS_FORK
def test_a_sweep_whose_worker_is_killed_goes_on(zygote, clean, tmp_path):
    rng = random.Random(4)
    store, died = tmp_path / "s.zarr", 0
    for _ in range(40):
        after = rng.randint(1, 9)
        zygote.start(
            design="grid", chunk_runs=2, workers=2, kill_worker_after=after, store=str(store)
        )
        code = zygote.end()
        assert code in (0, 3)
        died += code == 3
        assert_consistent(lf.open_sweep(store), expected("grid"))
        if died == len(few(range(6), 3)):
            break
        if code == 0:
            assert_equal(lf.open_sweep(store), expected("grid"))
            shutil.rmtree(store)
    assert died == len(few(range(6), 3))
    assert_equal(sweep(spec_of("grid"), store, chunk_runs=2), expected("grid"))
    assert_same_chunks(store, clean("grid", 2))


@HAS_FORK
def test_a_sweep_that_is_killed_while_its_store_grows_goes_on(zygote, clean, tmp_path):
    rng = random.Random(11)
    smaller = (1, 3, 3)
    seed = tmp_path / "seed.zarr"
    sweep(spec_of("stopped").cut(smaller), seed, chunk_runs=1)
    store, kills = tmp_path / "s.zarr", 0
    job = {"design": "stopped", "chunk_runs": 1, "workers": 0, "store": str(store), "extend": True}
    longest = 0.15
    while kills < len(few(range(4), 2)):
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(seed, store)
        hit = zygote.killed(rng.uniform(0.3 * longest, longest), **job)
        kills += hit
        longest *= 1.0 if hit else 0.8
        data = sweep(spec_of("stopped"), store, extend=True)
        assert_equal(data, expected("stopped"))
        assert_same_chunks(store, clean("stopped", 1))
        assert_equal(lf.open_sweep(store), expected("stopped"))


def test_what_a_killed_process_leaves_is_not_seen(copy, clean, tmp_path):
    store = copy("grid", 7)
    rubbish = "0123456789abcdef0123456789abcdef.partial"
    for name in ("zarr", "status/zarr", "status/c.0.0.0.0", "final_loss/c.1.1.0.0", "scale/c"):
        file = store / f"{name}.{rubbish}"
        file.write_bytes(b"{")
        os.utime(file, (0, 0))  # what is young may still be someone's
    (tmp_path / ".s.zarr.0123456789abcdef.tmp").mkdir()
    (store / "status" / "c.0.0.0.0.0").unlink()
    with warnings.catch_warnings(action="error"):
        assert_consistent(lf.open_sweep(store), expected("grid"))
        assert_equal(sweep(spec_of("grid"), store), expected("grid"))
        assert_equal(lf.open_sweep(store), expected("grid"))
        xr.open_zarr(store, consolidated=False)
    assert_same_chunks(store, clean("grid", 7))


# -- readers, interrupts, several writers ----------------------------------------------------------


def test_a_reader_sees_whole_chunks_or_none(tmp_path):
    spec = problems.slow_spec(20)
    wanted = in_memory(spec)
    code = """
lf.sweep(slow_spec(20), "s.zarr", progress=False, chunk_runs=2)
"""
    store, seen = tmp_path / "s.zarr", []
    with problems.running(code, cwd=tmp_path) as process:
        while process.poll() is None:
            time.sleep(random.uniform(0.0, 0.1))
            if store.exists():
                seen.append(assert_consistent(lf.open_sweep(store), wanted))
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, seen  # none, all, and something between
    assert_equal(lf.open_sweep(store), wanted)


def test_values_that_are_read_before_the_status_are_right(tmp_path):
    """A chunk that appears between two reads of one dataset is not half of it."""
    spec = plain(replicates=4)
    store = tmp_path / "s.zarr"
    sweep(spec, store, shard=(1, 2), chunk_runs=4)
    data = lf.open_sweep(store)
    before = data["final_loss"].values.copy()
    sweep(spec, store)
    there = data["status"].values != -1
    np.testing.assert_array_equal(before[there], in_memory(spec)["final_loss"].values[there])


INTERRUPTED = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
def main():
    pool = ProcessPoolExecutor(2, mp_context=get_context("spawn")) if WORKERS else None
    with pool or contextlib.nullcontext():
        try:
            lf.sweep(slow_spec(30), "s.zarr", pool, progress=False, chunk_runs=3)
        except KeyboardInterrupt as error:
            print(*error.__notes__)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("workers", few([2, 0], 1))
def test_ctrl_c_says_what_is_kept(workers, tmp_path):
    spec = problems.slow_spec(30)
    store = tmp_path / "s.zarr"
    code = INTERRUPTED.replace("WORKERS", str(workers))
    with problems.running(code, cwd=tmp_path) as process:
        while not (store / "status" / "c.0.3").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found = re.fullmatch(
        r"(\d+) of 90 runs are kept in s\.zarr: the same call goes on from there\n", out
    )
    assert found, (out, err)
    there = assert_consistent(lf.open_sweep(store), in_memory(spec))
    assert 3 <= int(found[1]) <= there
    assert int(found[1]) < 90
    if not workers:  # what was handed out to workers is still done
        assert int(found[1]) == there
    assert_equal(sweep(spec, store), in_memory(spec))
    if not workers:
        sweep(spec, tmp_path / "whole.zarr", chunk_runs=3)
        assert_same_chunks(store, tmp_path / "whole.zarr")


def test_two_writers_at_once(clean, tmp_path):
    """Two threads of this process do all of one sweep, in one store that neither has made."""
    spec, store = spec_of("grid"), tmp_path / "s.zarr"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(sweep, spec, store, chunk_runs=7) for _ in range(2)]
        for call in calls:
            assert_equal(call.result(), expected("grid"))
    assert_same_chunks(store, clean("grid", 7))


def test_two_writers_extend_at_once(tmp_path):
    for attempt in few(range(5), 2):
        store = tmp_path / f"{attempt}.zarr"
        sweep(plain([0.05, 0.1], replicates=4), store, chunk_runs=3)
        spec = plain([0.05, 0.1, 5.0, 0.03], replicates=7)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(sweep, spec, store, extend=True) for _ in range(2)]
            for call in calls:
                call.result()
        assert_equal(lf.open_sweep(store), sweep(spec))


def test_who_loses_the_race_to_make_a_store_checks_whose_it_is(monkeypatch, tmp_path):
    store = tmp_path / "s.zarr"
    sweep(spec_of("paired"), store)
    before = snapshot(store)
    monkeypatch.setattr(store_module, "is_free", lambda _: True)
    with pytest.raises(lf.SweepError, match="another sweep"):
        sweep(spec_of("stopped"), store)
    assert snapshot(store) == before
    assert_equal(sweep(spec_of("paired"), store), expected("paired"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]
