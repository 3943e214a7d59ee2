"""Stores of sweeps on disks without room, of other sweeps, and of many chunks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sweep_problems as problems
from support import THOROUGH
from sweep_problems import (
    Listener,
    assert_consistent,
    assert_equal,
    assert_same_chunks,
    expected,
    plain,
    snapshot,
    spec_of,
    sweep,
    training,
)

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast.sweeps.spec import NUMERICS
from linnet_fast.training.state import Status

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


def test_a_store_of_another_sweep_is_refused_with_what_differs(tmp_path):
    store = tmp_path / "s.zarr"
    sweep(plain(), store, chunk_runs=8)
    before = snapshot(store)
    for difference, other in OTHER.items():
        with pytest.raises(lf.SweepError, match=re.escape(difference)) as info:
            sweep(other, store)
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
        patch.setattr("linnet_fast.sweeps.spec.NUMERICS", 0)
        spec = plain()
        sweep(spec, store)
        assert_equal(sweep(spec, store), lf.open_sweep(store))
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match=rf"numerics 0 of the library.* {NUMERICS}: it opens"):
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


# -- memory ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("with_workers", "n_chunks"),
    [(False, 200 if THOROUGH else 50), (True, 100 if THOROUGH else 40)],
)
def test_memory_does_not_grow_with_the_number_of_chunks(with_workers, n_chunks, tmp_path):
    with ThreadPoolExecutor(1) if with_workers else contextlib.nullcontext() as pool:
        _peak(5, tmp_path / "warm", pool)
        few, size = _peak(n_chunks // 10, tmp_path / "few", pool)
        many, _ = _peak(n_chunks, tmp_path / "many", pool)
    assert size > 300_000
    # Besides a count per chunk, and what waits for the collector: three chunks for 36 to 180 more.
    assert many - few < 3 * size, (few, many, size)
