"""What a sweep keeps survives kills, full disks and damage; nothing is lost and nothing is double."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sweep_problems as problems
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_problems import (
    LOSS,
    Listener,
    assert_equal,
    assert_same_chunks,
    chunk_files,
    expected,
    plain,
    snapshot,
    spec_of,
    training,
)

import linnet_fast as lf
from linnet_fast import _core, layers
from linnet_fast._sweep import canonical
from linnet_fast._sweep import store as store_module
from linnet_fast.state import Status

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def sweep(spec, *args, **options):
    return lf.sweep(spec, *args, **{"progress": False} | options)


@functools.cache
def in_memory(spec):
    """Return the result of a sweep that lives as long as this module."""
    return sweep(spec, n_threads=1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Return a whole store of a design in chunks of so many runs; not to be changed."""
    path = tmp_path_factory.mktemp("clean")

    def of(design, chunk_runs):
        store = path / f"{design}-{chunk_runs}.zarr"
        if not store.exists():
            assert_equal(sweep(spec_of(design), store, chunk_runs=chunk_runs), expected(design))
        return store

    return of


@pytest.fixture
def copy(clean, tmp_path):
    """Return a copy of a whole store."""

    def of(design, chunk_runs):
        store = tmp_path / "s.zarr"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(clean(design, chunk_runs), store)
        return store

    return of


def assert_consistent(data, wanted):
    """Assert that runs which are there are right, and return how many these are."""
    data = data.load()
    there = data.status != -1
    for name in wanted.data_vars:
        ours = data[name].transpose(*wanted[name].dims).values
        which = there.values
        np.testing.assert_array_equal(ours[which], wanted[name].values[which], err_msg=name)
    return int(there.sum())


# -- kills -----------------------------------------------------------------------------------------

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
    [("grid", 2, 0, 12), ("records", 1, 0, 12), ("stopped", 1, 0, 8), ("grid", 2, 2, 8)],
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
        if died == 6:
            break
        if code == 0:
            assert_equal(lf.open_sweep(store), expected("grid"))
            shutil.rmtree(store)
    assert died == 6
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
    while kills < 4:
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
    spec = problems.slow_spec(40)
    wanted = in_memory(spec)
    code = """
lf.sweep(slow_spec(40), "s.zarr", progress=False, chunk_runs=2)
"""
    store, seen = tmp_path / "s.zarr", []
    with problems.running(code, cwd=tmp_path) as process:
        while process.poll() is None:
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


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_says_what_is_kept(workers, tmp_path):
    spec = problems.slow_spec(30)
    store = tmp_path / "s.zarr"
    code = INTERRUPTED.replace("WORKERS", str(workers))
    with problems.running(code, cwd=tmp_path) as process:
        while not (store / "status" / "c.0.3").exists():
            assert process.poll() is None
            time.sleep(0.005)
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
    for attempt in range(5):
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


# -- disks -----------------------------------------------------------------------------------------


def _mount(*args):
    done = subprocess.run(["mount", *map(str, args)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path):
    """Return a function that mounts a small disk; skip where that is not allowed."""
    mounted = []

    def make(options):
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        if (
            sys.platform != "linux"
            or os.geteuid()
            or not _mount("-t", "tmpfs", "-o", options, "none", path)
        ):
            pytest.skip("mounting a file system is not allowed here")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def _fill(path):
    """Take all room there is."""
    with (path / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("with_workers", [False, True])
def test_a_full_disk(with_workers, disk, tmp_path):
    path = disk("size=8m")
    spec, store = spec_of("records"), path / "s.zarr"
    calls = []

    def progress(_):
        calls.append(0)
        if len(calls) == 8:
            _fill(path)

    pool = ThreadPoolExecutor(2) if with_workers else None
    with pool or contextlib.nullcontext():
        with pytest.raises(
            lf.SweepError, match=r"No space left on device.*(\d+) of 24 runs are"
        ) as e:
            sweep(spec, store, pool, progress=progress, chunk_runs=2)
        kept = int(re.search(r"(\d+) of 24 runs are kept in (\S+): the same call", str(e.value))[1])
        there = assert_consistent(lf.open_sweep(store), expected("records"))
        assert 0 < kept <= there < 24
        with pytest.raises(lf.SweepError, match="No space left on device"):
            sweep(spec, store, pool)
        (path / "ballast").unlink()
        listener = Listener()
        assert_equal(sweep(spec, store, pool, progress=listener), expected("records"))
    listener.check(24, int((expected("records").status == Status.DIVERGED).sum()))
    sweep(spec, tmp_path / "whole.zarr", chunk_runs=2)
    assert_same_chunks(store, tmp_path / "whole.zarr")


def test_a_disk_that_is_out_of_files(disk):
    path = disk("size=8m,nr_inodes=90")
    spec, store = spec_of("records"), path / "s.zarr"
    with pytest.raises(lf.SweepError, match=r"No space left on device.*runs are kept"):
        sweep(spec, store, chunk_runs=1)
    assert assert_consistent(lf.open_sweep(store), expected("records")) < 24
    assert _mount("-o", "remount,nr_inodes=9000", path)
    assert_equal(sweep(spec, store), expected("records"))


@pytest.mark.parametrize("n_files", range(4, 28, 4))
def test_a_disk_too_full_to_make_a_store(n_files, disk):
    path = disk(f"size=8m,nr_inodes={n_files}")
    with pytest.raises(lf.SweepError, match="No space left on device"):
        sweep(spec_of("records"), path / "s.zarr", chunk_runs=1)
    assert not list(path.iterdir())


def test_too_little_room_is_told_before_any_work(disk):
    path = disk("size=64k")
    spec = plain(replicates=3000)
    listener = Listener()
    with pytest.raises(lf.SweepError, match=r"needs 2[\d,]+ bytes but [\d,]+ are free"):
        sweep(spec, path / "deep" / "s.zarr", progress=listener)
    assert not list(path.iterdir())
    assert not listener.told


def test_files_that_may_not_grow(tmp_path):
    """As a full disk, where none can be mounted: the system allows no large file."""
    problems.run(
        """
import os, resource
spec = plain(replicates=300)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
try:
    lf.sweep(spec, "s.zarr", progress=False, chunk_runs=1000)
except lf.SweepError as error:
    assert "File too large" in str(error) and "0 of 900 runs are kept" in str(error), error
else:
    raise AssertionError
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert_equal(lf.sweep(spec, "s.zarr", progress=False), lf.sweep(spec, progress=False))
""",
        cwd=tmp_path,
    )


READ_ONLY = r"Read-only|Permission denied"


@contextlib.contextmanager
def _read_only(path):
    """Make a directory read-only, also for root."""
    if os.geteuid():
        everything = [path, *(entry for entry in path.rglob("*") if entry.is_dir())]
        for entry in everything:
            entry.chmod(0o555)
        try:
            yield
        finally:
            for entry in everything:
                entry.chmod(0o755)
        return
    if not _mount("--bind", path, path):
        pytest.skip("mounting is not allowed here")
    try:
        assert _mount("-o", "remount,ro,bind", path)
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="directories have no such mode")
def test_a_read_only_store(tmp_path):
    spec, store = spec_of("paired"), tmp_path / "s.zarr"
    sweep(spec, store, shard=(1, 2), chunk_runs=3)
    before = snapshot(store)
    grown = lf.paired(
        spec.training,
        {"n_steps": [20, 60, 5, 40, 20, 9], "start.scale": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
        replicates=3,
        derived="final_loss",
    )
    with _read_only(store):
        with pytest.raises(lf.SweepError, match=rf"({READ_ONLY}).*runs are kept in"):
            sweep(spec, store)
        with ThreadPoolExecutor(2) as pool, pytest.raises(lf.SweepError, match=READ_ONLY):
            sweep(spec, store, pool)
        with pytest.raises(lf.SweepError, match=READ_ONLY):
            sweep(grown, store, extend=True)
        with pytest.raises(lf.SweepError, match=READ_ONLY):
            sweep(spec, store / "below" / "s.zarr")
        assert_consistent(lf.open_sweep(store), expected("paired"))
        assert snapshot(store) == before
    assert_equal(sweep(spec, store), expected("paired"))
    with _read_only(store):  # of a whole one there is nothing to write
        assert_equal(sweep(spec, store), expected("paired"))
        assert_equal(lf.open_sweep(store), expected("paired"))


# -- what is not a store ---------------------------------------------------------------------------


def _directory(path):
    path.mkdir()
    (path / "thesis.tex").write_text("\\section{Results}")


def _file(path):
    path.write_text("all my results")


def _zarr_group(path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(path, zarr_format=3, consolidated=False)


def _old_zarr_group(path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(path, zarr_format=2, consolidated=False)


def _zarr_array(path):
    zarr.create_array(path, data=np.arange(4))


def _no_json(path):
    path.mkdir()
    (path / "zarr.json").write_text("{")


def _list_json(path):
    path.mkdir()
    (path / "zarr.json").write_text("[1, 2]")


def _no_text(path):
    path.mkdir()
    (path / "zarr.json").write_bytes(b"\xff\xfe\x00")


def _marked(path):
    path.mkdir()
    note = {"linnet_fast_sweep": 3}
    text = json.dumps({"attributes": note, "zarr_format": 3, "node_type": "group"})
    (path / "zarr.json").write_text(text)


def _marked_list(path):
    path.mkdir()
    note = ["linnet_fast_sweep"]
    text = json.dumps({"attributes": note, "zarr_format": 3, "node_type": "group"})
    (path / "zarr.json").write_text(text)


def _link(path):
    target = path.with_name("target")
    target.mkdir()
    (target / "thesis.tex").write_text("\\section{Results}")
    path.symlink_to(target)


FOREIGN = (
    _directory,
    _file,
    _zarr_group,
    _old_zarr_group,
    _zarr_array,
    _no_json,
    _list_json,
    _no_text,
    _marked,
    _marked_list,
    _link,
)


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_is_not_ours_is_left_alone(make, tmp_path):
    path = tmp_path / "s.zarr"
    make(path)
    before = snapshot(tmp_path)
    for options in ({}, {"extend": True}, {"shard": (1, 2)}):
        with pytest.raises(lf.SweepError, match=r"s\.zarr"):
            sweep(spec_of("single"), path, **options)
    with pytest.raises(lf.SweepError, match=r"s\.zarr"):
        lf.open_sweep(path)
    assert snapshot(tmp_path) == before


def test_an_empty_directory_becomes_a_store(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    assert_equal(sweep(spec_of("paired"), tmp_path / "s.zarr"), expected("paired"))
    (tmp_path / "new").mkdir()
    assert_equal(sweep(spec_of("paired"), str(tmp_path / "new" / "a" / "b")), expected("paired"))


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(lf.SweepError, match=r"none\.zarr"):
        lf.open_sweep(tmp_path / "none.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(lf.SweepError, match="empty"):
        lf.open_sweep(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(lf.SweepError, match="file"):
        sweep(spec_of("single"), tmp_path / "file" / "s.zarr")


def test_a_link_to_a_store_is_a_store(copy, tmp_path):
    store = copy("paired", 3)
    (store / "status" / "c.0.0").unlink()
    (tmp_path / "link").symlink_to(store)
    assert_equal(sweep(spec_of("paired"), tmp_path / "link"), expected("paired"))
    assert_equal(lf.open_sweep(store), expected("paired"))


# -- damage ----------------------------------------------------------------------------------------

VARIABLES = ("final_loss", "final_product", "stopped_at", "status")
"""Of the design "stopped"."""


def _truncated(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def _emptied(file, _):
    file.write_bytes(b"")


def _longer(file, _):
    file.write_bytes(file.read_bytes() + b"\0")


def _flipped(file, rng):
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def _removed(file, _):
    file.unlink()


def _zeros(file, _):
    file.write_bytes(bytes(file.stat().st_size))


DAMAGE = (_truncated, _emptied, _longer, _flipped, _removed, _zeros)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_chunk_is_done_again_and_only_that(damage, variable, copy, clean):
    rng = random.Random(f"{damage.__name__} {variable}")
    store = copy("stopped", 3)
    files = sorted((store / variable).glob("c.*"))
    file = rng.choice(files)
    damage(file, rng)
    place = ".".join(file.name.split(".")[:4])  # of the chunk; what follows is within a result
    before = {name: state for name, state in snapshot(store).items() if f"/{place}" not in name}
    assert len(before) == len(snapshot(store)) - len(VARIABLES) + (damage is _removed)
    if damage in (_flipped, _zeros):
        with pytest.raises((lf.SweepError, ValueError)):
            lf.open_sweep(store).load()
    listener = Listener()
    assert_equal(sweep(spec_of("stopped"), store, progress=listener), expected("stopped"))
    after = snapshot(store)
    for name, state in before.items():
        if state[0] is not None:  # directories do change
            assert after[name] == state, name
    listener.check(27, 9)
    assert_same_chunks(store, clean("stopped", 3))


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_many_damaged_chunks_some_without_a_status(damage, copy, clean):
    rng = random.Random(damage.__name__)
    store = copy("stopped", 3)
    files = [store / name for name in chunk_files(store) if name.split("/")[0] in VARIABLES]
    for file in rng.sample(files, len(files) // 2):
        damage(file, rng)
    for file in rng.sample(sorted((store / "status").glob("c.*")), 5):
        file.unlink()
    assert_equal(sweep(spec_of("stopped"), store), expected("stopped"))
    assert_same_chunks(store, clean("stopped", 3))


def test_a_damaged_chunk_at_the_end_of_a_dimension(tmp_path):
    """There the chunk is larger than the sweep."""
    spec, store = plain(replicates=5), tmp_path / "s.zarr"
    whole = in_memory(spec)
    sweep(spec, store, chunk_runs=3)
    wanted = chunk_files(store)
    for damage in DAMAGE:
        for variable in ("final_loss", "stopped_at", "status"):
            rng = random.Random(variable)
            damage(store / variable / "c.1.1", rng)
            if variable != "status":
                (store / "status" / "c.1.1").unlink(missing_ok=True)
            assert_equal(sweep(spec, store), whole)
            assert chunk_files(store) == wanted


def test_a_damaged_chunk_by_workers(copy, clean):
    store = copy("stopped", 1)
    rng = random.Random(0)
    for variable in VARIABLES:
        for damage in DAMAGE:
            damage(rng.choice(sorted((store / variable).glob("c.*"))), rng)
    with ThreadPoolExecutor(3) as pool:
        assert_equal(sweep(spec_of("stopped"), store, pool), expected("stopped"))
    assert_same_chunks(store, clean("stopped", 1))


def _right(act, wanted, store):
    """Return whether an act gave what is right; else it must have been refused in words."""
    try:
        data = act()
    except lf.SweepError as error:
        refusal = str(error)
    else:
        assert_equal(data, wanted)
        return True
    assert str(store) in refusal
    return False


def _both_right(store, design):
    """Return whether a store can be gone on with and read, each being right or refused."""
    wanted = expected(design)
    return [
        _right(lambda: sweep(spec_of(design), store), wanted, store),
        _right(lambda: lf.open_sweep(store), wanted, store),
    ] == [True, True]


@pytest.mark.parametrize("name", ["zarr.json", "final_loss/zarr.json", "status/zarr.json",
                                  "scale/zarr.json", "spec/zarr.json"])  # fmt: skip
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damaged_metadata_are_refused_or_made_good(damage, name, copy):
    store = copy("grid", 72)
    damage(store / name, random.Random(name))
    _both_right(store, "grid")


def test_any_flipped_bit_of_metadata_is_refused_or_harmless(copy, clean):
    rng = random.Random(2)
    store = copy("sampled", 40)
    files = sorted(store.rglob("zarr.json"))
    refused = 0
    for _ in range(150):
        file = rng.choice(files)
        original = file.read_bytes()
        _flipped(file, rng)
        refused += not _both_right(store, "sampled")
        file.write_bytes(original)
    assert refused > 20
    assert _both_right(store, "sampled")
    assert_same_chunks(store, clean("sampled", 40))


@pytest.mark.parametrize("name", ["scale", "step_size", "hidden", "seed"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damaged_coordinates_are_refused_or_made_good(damage, name, copy):
    store = copy("grid", 72)
    damage(store / name / "c.0", random.Random(name))
    _both_right(store, "grid")


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("with_workers", [False, True])
def test_damaged_data_of_the_spec_never_train_another_sweep(damage, with_workers, copy):
    """Workers read the loss from the store, if it is large."""
    store = copy("sgd", 5)
    file = max(
        (store / "spec").rglob("c*"), key=lambda file: file.is_file() and file.stat().st_size
    )
    damage(file, random.Random(1))
    for chunk in (store / "status").glob("c.*.1.*"):
        chunk.unlink()
    with ThreadPoolExecutor(2) if with_workers else contextlib.nullcontext() as pool:
        _right(lambda: sweep(spec_of("sgd"), store, pool), expected("sgd"), store)


@pytest.mark.parametrize("with_workers", [False, True])
def test_a_spec_that_was_edited_never_trains_another_sweep(with_workers, copy):
    store = copy("paired", 3)
    (store / "status" / "c.1.0").unlink()
    text = (store / "zarr.json").read_text()
    edited = re.sub(r'"scale": 1\.0|"scale": 0\.1|"step_size": 0\.05', lambda m: m[0] + "1", text)
    assert edited != text
    (store / "zarr.json").write_text(edited)
    with ThreadPoolExecutor(2) if with_workers else contextlib.nullcontext() as pool:
        _right(lambda: sweep(spec_of("paired"), store, pool), expected("paired"), store)


# -- other sweeps ----------------------------------------------------------------------------------

OTHER = {
    "n_steps: 60, now 61": plain(n_steps=61),
    "rng: 0, now 4": plain(rng=4),
    "common_seeds: true, now false": plain(common_seeds=False),
    "scale: 0.1, now 0.2": plain(start=lf.Start("gaussian", scale=0.2)),
    "dtype": plain(dtype="float32"),
    "cross_cov": plain(loss=lf.SquaredLoss(np.eye(2), np.eye(2), 5.0)),
    "network": plain(network=lf.Dense((2, 3, 2))),
    "replicates: 8, now 7": plain(replicates=7),
    "step_size": plain([0.05, 0.1, 4.0]),
    "derived": plain(derived="final_loss"),
    "stop": plain(stop=lf.Stop(loss=1e-3)),
}


@pytest.mark.parametrize("difference", OTHER)
def test_a_store_of_another_sweep_is_refused_with_what_differs(difference, tmp_path):
    store = tmp_path / "s.zarr"
    sweep(plain(), store, chunk_runs=8)
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match=re.escape(difference)) as info:
        sweep(OTHER[difference], store)
    assert "now" in str(info.value)
    assert "another sweep" in str(info.value)
    assert snapshot(store) == before
    assert_equal(sweep(plain(), store), sweep(plain()))


@pytest.fixture
def other_isa(monkeypatch):
    """Return a context in which this process believes in another instruction set."""
    info = _core.build_info()

    @contextlib.contextmanager
    def pretend():
        with monkeypatch.context() as patch:
            patch.setattr(_core, "build_info", lambda: info | {"isa": "v0"})
            yield

    return pretend


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("replicates", [2, 4])
def test_a_store_of_another_instruction_set_is_refused(extend, replicates, other_isa, tmp_path):
    store, small = tmp_path / "s.zarr", plain(replicates=2)
    with other_isa():
        sweep(small, store, shard=(1, 2), chunk_runs=2)
        assert_consistent(sweep(small, store, shard=(1, 2)), sweep(small))
    before = snapshot(store)
    if extend or replicates == 2:
        with pytest.raises(lf.SweepError, match=r"v0.*LINNET_FAST_ISA=v0"):
            sweep(plain(replicates=replicates), store, extend=extend)
    assert snapshot(store) == before
    assert_consistent(lf.open_sweep(store), sweep(small))
    with other_isa():
        assert_equal(sweep(small, store), sweep(small))


def test_a_store_of_other_numerics_is_refused(monkeypatch, tmp_path):
    store = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(canonical, "NUMERICS", 0)
        spec = plain()
        sweep(spec, store)
        assert_equal(sweep(spec, store), lf.open_sweep(store))
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match=f"numerics: 0, now {canonical.NUMERICS}"):
        sweep(plain(), store)
    with pytest.raises(lf.SweepError, match="numerics"):
        sweep(plain(replicates=9), store, extend=True)
    assert snapshot(store) == before


def test_a_store_of_a_later_layout_is_refused(copy):
    store = copy("paired", 3)
    file = store / "zarr.json"
    data = json.loads(file.read_text())
    data["attributes"]["linnet_fast_sweep"]["schema"] += 1
    file.write_text(json.dumps(data))
    for act in (lambda: sweep(spec_of("paired"), store), lambda: lf.open_sweep(store)):
        with pytest.raises(lf.SweepError, match="version"):
            act()


# -- growing ---------------------------------------------------------------------------------------


def _wide(hidden, steps, replicates):
    return lf.grid(
        training(),
        {"network.hidden": hidden, "method.step_size": steps},
        replicates=replicates,
        derived=("final_loss", "final_singular_values"),
    )


def _list(n, **options):
    scales = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7][:n]
    return lf.paired(
        training(), {"start.scale": scales, "n_steps": [10, 20, 30, 10, 20, 30, 10][:n]}, **options
    )


def _drawn(n, method):
    scale = scipy.stats.loguniform(1e-3, 1)
    return lf.sampled(training(), {"start.scale": scale}, n, method=method)


def _texts(*names):
    widths = {"narrow": 1, "wide": 6, "in between, größer": 3}
    return lf.grid(training(), {"network.hidden": {name: widths[name] for name in names}})


GROWTH = {
    "step sizes": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3], [0.05, 0.1, 5.0, 0.02], 4)),
    "shapes": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3, 1], [0.05, 0.1], 4)),
    "replicates": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3], [0.05, 0.1], 9)),
    "all": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3, 1], [0.05, 0.1, 5.0], 7)),
    "a list": (_list(3), _list(7)),
    "a list with replicates": (_list(3, replicates=4), _list(5, replicates=4)),
    "random points": (_drawn(5, "random"), _drawn(23, "random")),
    "a sequence": (_drawn(5, "sobol"), _drawn(23, "sobol")),
    "texts": (_texts("narrow"), _texts("narrow", "wide", "in between, größer")),
    "nothing": (_wide([2], [0.1], 2), _wide([2], [0.1], 2)),
}


@pytest.mark.parametrize("case", GROWTH)
@pytest.mark.parametrize("chunk_runs", [1, 3, 1000])
def test_a_store_that_grows_is_that_of_the_larger_sweep(case, chunk_runs, tmp_path):
    small, large = GROWTH[case]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=chunk_runs)
    old = {name: state for name, state in snapshot(store).items() if "/c." in name}
    listener = Listener()
    grown = sweep(large, store, extend=True, progress=listener)
    assert_equal(grown, in_memory(large))
    assert_equal(lf.open_sweep(store), in_memory(large))
    # Chunks that are as they were are not done again: their files are the same files.
    new = snapshot(store)
    results = set(in_memory(large).data_vars)
    again = 0
    for name, (data, changed) in old.items():
        if name.split("/")[1] in results and new[name][0] == data:
            assert new[name][1] == changed, name
        elif name.split("/")[1] == "status":
            again += 1
    chunk = json.loads((store / "status" / "zarr.json").read_text())
    shape = chunk["chunk_grid"]["configuration"]["chunk_shape"]
    if all(n % c == 0 or n == m for n, c, m in zip(small.shape, shape, large.shape, strict=True)):
        assert again == 0
        assert listener.told[0].n_done >= small.n_runs or large.n_runs == small.n_runs
    listener.check(large.n_runs, int((in_memory(large).status == Status.DIVERGED).sum()))
    # And in the same place again: no work at all.
    before = snapshot(store)
    assert_equal(sweep(large, store, extend=True), in_memory(large))
    assert_equal(sweep(large, store), in_memory(large))
    assert snapshot(store) == before


def test_a_store_that_is_not_done_grows(tmp_path):
    small, large = GROWTH["all"]
    store = tmp_path / "s.zarr"
    sweep(small, store, shard=(2, 3), chunk_runs=3)
    assert_equal(sweep(large, store, extend=True), in_memory(large))


def test_a_store_that_grows_by_shards(tmp_path):
    small, large = GROWTH["all"]
    store = tmp_path / "s.zarr"
    for part in (1, 2, 3):
        sweep(small, store, shard=(part, 3), chunk_runs=3, extend=True)
    for part in (3, 1, 2):
        data = sweep(large, store, shard=(part, 3), extend=True)
    assert_equal(data, in_memory(large))


def test_extend_makes_a_store_where_there_is_none(tmp_path):
    small, _ = GROWTH["all"]
    assert_equal(sweep(small, tmp_path / "s.zarr", extend=True), in_memory(small))


NO_GROWTH = {
    "inserted": _wide([2, 3], [0.05, 0.07, 0.1], 4),
    "at the beginning": _wide([1, 2, 3], [0.05, 0.1], 4),
    "removed": _wide([2, 3], [0.05], 4),
    "removed and added": _wide([2, 3], [0.05], 9),
    "turned": _wide([3, 2], [0.05, 0.1, 0.2], 4),
    "fewer replicates": _wide([2, 3], [0.05, 0.1, 0.2], 3),
    "fewer dimensions": lf.grid(
        training(),
        {"method.step_size": [0.05, 0.1]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
    "other dimensions": lf.grid(
        training(),
        {"network.hidden": [2, 3], "start.scale": [0.05, 0.1, 0.2]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
    "no replicates": _wide([2, 3], [0.05, 0.1], None),
    "another training": lf.grid(
        training(n_steps=61),
        {"network.hidden": [2, 3], "method.step_size": [0.05, 0.1, 0.2]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
}


@pytest.mark.parametrize("case", NO_GROWTH)
def test_a_store_only_grows_at_the_ends(case, tmp_path):
    small, _ = GROWTH["all"]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=3)
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match=r"ends of its dimensions"):
        sweep(NO_GROWTH[case], store, extend=True)
    with pytest.raises(lf.SweepError, match=r"another sweep"):
        sweep(NO_GROWTH[case], store)
    assert snapshot(store) == before
    assert_equal(sweep(small, store), in_memory(small))


def test_a_store_with_random_numbers_by_place_keeps_these(tmp_path):
    """Where every run has its own numbers, more replicates would move those of others."""
    store = tmp_path / "s.zarr"
    sweep(plain(replicates=3, common_seeds=False), store)
    with pytest.raises(lf.SweepError, match="common_seeds"):
        sweep(plain(replicates=4, common_seeds=False), store, extend=True)
    more = plain([0.05, 0.1, 5.0, 0.02], replicates=3, common_seeds=False)
    assert_equal(sweep(more, store, extend=True), sweep(more))


def test_results_of_another_shape_cannot_be_added(tmp_path):
    def spec(hidden):
        record = lf.Record.every(30, ("weights",))
        return lf.grid(training(record=record), {"network.hidden": hidden})

    store = tmp_path / "s.zarr"
    sweep(spec([2]), store)
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match="other shapes"):
        sweep(spec([2, 3]), store, extend=True)
    assert snapshot(store) == before


N_STEPS = 4 + 3 + 1
"""By which the store below grows: resized arrays, coordinates, the note."""


class Cut(BaseException):
    """As a kill: nothing may catch it."""


@pytest.mark.parametrize("k", range(N_STEPS + 1))
def test_a_store_cut_short_while_it_grows(k, monkeypatch, tmp_path):
    small, large = GROWTH["all"]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=3)
    count = []

    def cut_after(function):
        def wrapped(*args, **options):
            if len(count) == k:
                raise Cut
            count.append(0)
            return function(*args, **options)

        return wrapped

    with monkeypatch.context() as patch, contextlib.suppress(Cut):
        for owner, name in (
            (zarr.Array, "resize"),
            (store_module, "write_coordinate"),
            (zarr.core.attributes.Attributes, "__setitem__"),
        ):
            patch.setattr(owner, name, cut_after(getattr(owner, name)))
        sweep(large, store, extend=True)
    assert len(count) == min(k, N_STEPS)
    # Whoever reads it now, or goes on with the smaller one, gets what is right or is told.
    for act in (lambda: lf.open_sweep(store).load(), lambda: sweep(small, store)):
        try:
            data = act()
        except lf.SweepError:
            continue
        assert_consistent(data, in_memory(small if data.sizes["seed"] == 4 else large))
    assert_equal(sweep(large, store, extend=True), in_memory(large))
    assert_equal(lf.open_sweep(store), in_memory(large))


# -- identities ------------------------------------------------------------------------------------

IDENTITIES = """
print(plain().id, plain().run_id(5), spec_of("flow").id, spec_of("flow").run_id(7))
"""
PINNED = [
    "9fe78446e12fd81002352ddeea8b729320426725dcb72ee937d20532c8e7a811",
    "be3466a2f3692a85913d12cd8b7866cc23c5de34c8f91de0c104cdacf65fae89",
    "e5d717d1a3f0d20a63413807c4c39296244978e969fbbe15d73ab54b547e9ba3",
    "21e5afec94c81b8e496771cd03c2655f9abc31a1702c2db37f999556bfb673f9",
]
"""If they change, so must `canonical.NUMERICS` or `store.SCHEMA`: old stores would be refused."""


def test_identities_are_those_of_all_versions():
    own = [plain().id, plain().run_id(5), spec_of("flow").id, spec_of("flow").run_id(7)]
    assert own == PINNED


@pytest.mark.parametrize("seed", ["1234", "random"])
def test_identities_are_those_of_other_processes(seed, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    own = [plain().id, plain().run_id(5), spec_of("flow").id, spec_of("flow").run_id(7)]
    assert problems.run(IDENTITIES).split() == own


def test_identities_do_not_depend_on_how_numbers_are_shown():
    def spec():
        fixed = np.linspace(0, 1, 4).reshape(2, 2) / 3
        network = lf.Chain([layers.Dense(2, 3), layers.Dense(3, 2), layers.Fixed(fixed)])
        loss = lf.SquaredLoss.from_data(
            np.random.default_rng(0).standard_normal((9, 2)), np.eye(9, 2)
        )
        return plain(network=network, loss=loss)

    before = spec()
    with np.printoptions(precision=2, threshold=1, floatmode="fixed", suppress=True):
        after = spec()
        assert after.id == before.id
        assert after.run_id(1) == before.run_id(1)


@pytest.mark.parametrize("where", ["network", "loss", "start", "step size"])
def test_the_last_bit_of_a_number_changes_the_identity(where):
    def spec(value):
        parts = {
            "network": {
                "network": lf.Chain([layers.Dense(2, 2), layers.Fixed([[value, 0], [0, 1]])])
            },
            "loss": {"loss": lf.SquaredLoss(np.eye(2), np.array([[value, 0], [0, 1]]), 5.0)},
            "start": {"start": lf.Start("gaussian", scale=value)},
            "step size": {"method": lf.GradientDescent(value)},
        }[where]
        return lf.grid(training(**parts), {}, replicates=2)

    value = 0.1
    near = float(np.nextafter(value, 1))
    assert spec(value).id == spec(value).id != spec(near).id
    assert spec(value).run_id(0) == spec(value).run_id(0) != spec(near).run_id(0)


FIELDS = st.fixed_dictionaries(
    {
        "hidden": st.integers(1, 3),
        "scale": st.sampled_from([0.1, 0.2, 1.0]),
        "kind": st.sampled_from(["gaussian", "orthogonal", "balanced"]),
        "power": st.sampled_from([5.0, 6.0]),
        "decay": st.sampled_from([0.0, 0.1]),
        "n_steps": st.integers(2, 4),
        "dtype": st.sampled_from(["float64", "float32"]),
        "stop": st.sampled_from([None, 0.0, 0.1]),
        "rng": st.integers(0, 2),
        "record": st.booleans(),
    }
)
SWEEPS = st.fixed_dictionaries(
    {
        "steps": st.sampled_from([(0.1,), (0.1, 0.2), (0.2, 0.1), (0.1, 0.3)]),
        "replicates": st.sampled_from([None, 1, 2]),
        "common_seeds": st.booleans(),
        "derived": st.sampled_from([(), ("final_loss",), ("final_loss", "learned_rank")]),
        "design": st.sampled_from(["grid", "paired"]),
    }
)


def _made(fields, sweep_fields):
    own = training(
        network=lf.Dense((2, fields["hidden"], 2)),
        loss=lf.SquaredLoss(np.eye(2), LOSS.cross_cov, fields["power"]),
        start=lf.Start(fields["kind"], scale=fields["scale"]),
        method=lf.GradientDescent(0.1, weight_decay=fields["decay"]),
        n_steps=fields["n_steps"],
        dtype=fields["dtype"],
        stop=None if fields["stop"] is None else lf.Stop(loss=fields["stop"]),
        record=lf.Record.at([0, 2], ("loss",)) if fields["record"] else None,
    )
    design = getattr(lf, sweep_fields["design"])
    return design(
        own,
        {"method.step_size": list(sweep_fields["steps"])},
        rng=fields["rng"],
        **{key: sweep_fields[key] for key in ("replicates", "common_seeds", "derived")},
    )


@settings(max_examples=60)
@given(fields=FIELDS, sweeps=SWEEPS, data=st.data())
def test_identities_are_equal_if_and_only_if_sweeps_are(fields, sweeps, data):
    spec = _made(fields, sweeps)
    assert _made(dict(fields), dict(sweeps)).id == spec.id
    key = data.draw(st.sampled_from(sorted({*fields, *sweeps})))
    other, others = dict(fields), dict(sweeps)
    if key in fields:
        other[key] = data.draw(FIELDS)[key]
    else:
        others[key] = data.draw(SWEEPS)[key]
    same = (other, others) == (fields, sweeps)
    # To keep the loss at the end is what is done if nothing is asked for.
    if key == "derived" and not fields["record"]:
        same = {sweeps[key], others[key]} in (
            {()},
            {("final_loss",)},
            {(), ("final_loss",)},
        ) or same
    changed = _made(other, others)
    assert (changed.id == spec.id) == same
    if key in fields:
        assert (changed.run_id(0) == spec.run_id(0)) == same


def _value(t, factor=1.0):
    return factor * np.asarray(t.loss)[:, -1]


def _closure(factor):
    return lambda t: factor * np.asarray(t.loss)[:, -1]


PAIRS = {
    "partials": lambda x: functools.partial(_value, factor=x),
    "defaults": lambda x: lambda t, x=x: x * np.asarray(t.loss)[:, -1],
    "closures": _closure,
}


@pytest.mark.parametrize("kind", PAIRS)
def test_functions_that_differ_are_told_apart_or_refused(kind, tmp_path):
    try:
        one, two = (plain(derived={"f": PAIRS[kind](x)}) for x in (1.0, 2.0))
    except (TypeError, ValueError) as error:
        assert "derived['f']" in str(error)  # noqa: PT017
        return
    assert plain(derived={"f": PAIRS[kind](1.0)}).id == one.id
    assert one.id != two.id
    sweep(one, tmp_path / "s.zarr")
    with pytest.raises(lf.SweepError, match="derived"):
        sweep(two, tmp_path / "s.zarr")


# -- trust and memory ------------------------------------------------------------------------------


def _refuse(*_, **__):
    msg = "something was unpickled"
    raise AssertionError(msg)


@pytest.mark.parametrize("design", ["grid", "sgd", "losses"])
def test_nothing_is_unpickled(design, copy, clean, monkeypatch):
    store = copy(design, 7)
    next((store / "status").glob("c.*")).unlink()
    next((store / "stopped_at").glob("c.*")).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    wanted, spec = expected(design), spec_of(design)
    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, _refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"N.")
    assert_equal(sweep(spec, store), wanted)
    assert_equal(lf.open_sweep(store), wanted)
    assert_same_chunks(store, clean(design, 7))


@pytest.mark.parametrize("name", ["final_loss", "status", "scale"])
@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "pickle"}]},
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": [{"name": "numcodecs.pickle"}, {"name": "bytes"}]},
        {"codecs": [{"name": "vlen-utf8"}]},
        {"data_type": "object"},
        {"data_type": "|O"},
        {"data_type": {"name": "numpy.object", "configuration": {}}},
        {"storage_transformers": [{"name": "pickle"}]},
    ],
    ids=str,
)
def test_a_store_that_asks_for_pickle_is_refused(change, name, copy, tmp_path):
    store = copy("grid", 72)
    file = store / name / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    command = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    payload = (
        b"cbuiltins\nexec\n(" + pickle.dumps(command, 0)[:-1].replace(b"\np0\n", b"\n") + b"tR."
    )
    for chunk in (store / name).glob("c.*"):
        chunk.write_bytes(payload)
    before = snapshot(store)
    for act in (lambda: sweep(spec_of("grid"), store), lambda: lf.open_sweep(store).load()):
        with pytest.raises(lf.SweepError, match=r"s\.zarr"):
            act()
    assert snapshot(store) == before
    assert not (tmp_path / "ran").exists()


def _peak(n_chunks, store, executor):
    record = lf.Record.every(1, ("product",))
    own = training(
        network=lf.Dense((16, 2, 16)),
        loss=lf.SquaredLoss(np.eye(16), np.eye(16), 16.0),
        n_steps=19,
        record=record,
    )
    spec = lf.grid(own, {"start.scale": np.linspace(0.1, 1.0, n_chunks)}, replicates=8)
    options = {"chunk_runs": 8, "n_threads": 1}
    tracemalloc.start()
    try:
        data = sweep(spec, store, executor, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (data.status != -1).all()
    assert len(list((Path(store) / "status").glob("c.*"))) == n_chunks
    one = json.loads((Path(store) / "product" / "zarr.json").read_text())
    size = 8 * int(np.prod(one["chunk_grid"]["configuration"]["chunk_shape"]))
    assert size == 8 * 8 * 20 * 16 * 16
    return peak, size


@pytest.mark.parametrize(("with_workers", "n_chunks"), [(False, 200), (True, 100)])
def test_memory_does_not_grow_with_the_number_of_chunks(with_workers, n_chunks, tmp_path):
    with ThreadPoolExecutor(1) if with_workers else contextlib.nullcontext() as pool:
        _peak(5, tmp_path / "warm", pool)
        few, size = _peak(n_chunks // 10, tmp_path / "few", pool)
        many, _ = _peak(n_chunks, tmp_path / "many", pool)
    assert size > 300_000
    # Besides a count per chunk: less than half a chunk for 90 or 180 more of them.
    assert many - few < size / 2, (few, many, size)
