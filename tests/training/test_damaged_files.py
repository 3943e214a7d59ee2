"""A file that was damaged on the disk is refused, or what is read of it is what was written."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support import ROOT

import linnet_fast as lf
from linnet_fast.training.file_header import check_network

GOLDEN = ROOT / "tests" / "golden"
_PIECE = 64  # bytes, of what is lost at once

rng = np.random.default_rng(4)
NETWORK = lf.Dense((6, 8, 5))
LOSS = lf.SquaredLoss(np.diag(np.arange(1.0, 7.0)), rng.standard_normal((5, 6)), 9.0)
WEIGHTS = [rng.standard_normal((3, *shape)) * 0.3 for shape in NETWORK.shapes]


@pytest.fixture(scope="module")
def run():
    return lf.train(
        NETWORK, LOSS, WEIGHTS, method=lf.GradientDescent(0.01),
        n_steps=20, record=lf.Record.every(10, ("loss", "weights", "singular_values")),
    )  # fmt: skip


def arrays_of(run):
    """Return every array and every number of a trajectory, and its texts."""
    states = [
        state for s in (run.start, run.final) for state in (*s.weights, s.status, s.stopped_at)
    ]
    observables = [
        a for v in run.observables.values() for a in (v if isinstance(v, tuple) else [v])
    ]
    nouns = [run.loss_function.input_cov, run.loss_function.cross_cov, run.method.step_size]
    arrays = [run.time, run.steps, run.n_steps, *states, *observables, *nouns]
    texts = (run.network.spec, repr(run.loss_function), repr(run.method), dict(run.provenance))
    return [np.asarray(array) for array in arrays], (texts, run.start.step, run.final.step)


def damages(content, n, rng):
    """Give damaged copies: bits flipped, pieces of zeros, of something, and a piece lost."""
    for _ in range(n):
        place = rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        yield f"bit at {place}", bytes(flipped)
        place = rng.randrange(len(content) - _PIECE)
        before, after = content[:place], content[place + _PIECE :]
        yield f"zeros at {place}", before + bytes(_PIECE) + after
        yield f"noise at {place}", before + rng.randbytes(_PIECE) + after
        yield f"lost at {place}", before + after


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_damage_is_noticed_or_harmless(suffix, run, tmp_path):
    path = tmp_path / f"run{suffix}"
    run.save(path)
    content = path.read_bytes()
    arrays, rest = arrays_of(lf.Trajectory.load(path))
    assert_array_equal(arrays[0], run.time)
    refused = []
    for what, damaged in damages(content, 60, random.Random(suffix)):
        path.write_bytes(damaged)
        try:
            read = lf.Trajectory.load(path)
        except ValueError as error:
            refused.append(str(error))
        else:
            found, other = arrays_of(read)
            assert other == rest, what
            for a, b in zip(found, arrays, strict=True):
                assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), what
    assert len(refused) > 60
    assert all(f"{path} is not a readable linnet_fast result: " in text for text in refused)


def test_what_other_programs_change_in_place_is_noticed(run, tmp_path):
    """They remove the seal of the whole file, not the digests of what is in it."""
    netcdf4 = pytest.importorskip("netCDF4")  # which the sanitizers' environment does without
    path = tmp_path / "run.nc"
    run.save(path)
    assert b"linnet_fast seal" in path.read_bytes()[-48:]
    with netcdf4.Dataset(path, "a") as data:
        data.setncattr("comment", "mine")
    assert b"linnet_fast seal" not in path.read_bytes()
    assert_array_equal(lf.Trajectory.load(path).loss, run.loss)
    with netcdf4.Dataset(path, "a") as data:
        data["loss"][0, 0] = 5.0
    with pytest.raises(ValueError, match="loss is damaged: it is not what was written"):
        lf.Trajectory.load(path)


def test_what_other_programs_write_anew_is_read_and_checked(run, tmp_path):
    xr = pytest.importorskip("xarray")  # which the sanitizers' environment does without
    path = tmp_path / "run.nc"
    run.save(path)
    data = xr.load_dataset(path, decode_cf=False)
    data.to_netcdf(path)
    assert_array_equal(lf.Trajectory.load(path).weights[0], run.weights[0])
    data["final_weights_1"][1, 2, 3] += 1e-9
    data.to_netcdf(path)
    with pytest.raises(ValueError, match="final_weights_1 is damaged"):
        lf.Trajectory.load(path)
    data.attrs["linnet_fast"] = data.attrs["linnet_fast"].replace("0.01", "0.02")
    data.to_netcdf(path)
    with pytest.raises(ValueError, match="its description is damaged"):
        lf.Trajectory.load(path)
    del data.attrs["linnet_fast_digest"]
    data.to_netcdf(path)
    with pytest.raises(ValueError, match="the digest is missing"):
        lf.Trajectory.load(path)


def test_every_array_in_netcdf_has_a_checksum_of_hdf5(run, tmp_path):
    """For programs that know nothing of ours."""
    netcdf4 = pytest.importorskip("netCDF4")  # which the sanitizers' environment does without
    run.save(tmp_path / "run.nc", coords={"run_0": ["a", "b", "c"]})
    with netcdf4.Dataset(tmp_path / "run.nc") as data:
        for name, variable in data.variables.items():
            if variable.dtype is not str:
                assert variable.filters()["fletcher32"] == (variable.ndim > 0), name


@pytest.mark.parametrize("schema", [5, 6])
def test_files_of_schema_5_have_no_digests_and_stay_readable(schema):
    old = lf.Trajectory.load(GOLDEN / f"descent_schema{schema}.nc")
    archive = lf.Trajectory.load(GOLDEN / f"descent_schema{schema}.npz")
    seal = b"linnet_fast seal" in (GOLDEN / f"descent_schema{schema}.nc").read_bytes()
    assert seal == (schema > 5)
    for a, b in zip(*(arrays_of(run)[0] for run in (old, archive)), strict=True):
        assert_array_equal(a, b)
    assert (old.run_shape, old.method.momentum) == ((2, 3), 0.5)
    again = lf.train(
        old.network, old.loss_function, old.start.weights, method=old.method, n_steps=30,
        record=lf.Record.every(10, ("loss",)),
    )  # fmt: skip
    np.testing.assert_allclose(old.loss, again.loss, rtol=1e-12)


FULL = """
import os, resource, sys
import numpy as np
import linnet_fast as lf

network = lf.Dense((2, 40, 2))
weights = [np.random.default_rng(0).standard_normal((20, *shape)) for shape in network.shapes]
run = lf.train(network, lf.SquaredLoss(np.eye(2), np.eye(2), 5.0), weights, n_steps=200,
               method=lf.GradientDescent(1e-3), record=lf.Record.every(1, ("weights",)))
target = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
for _ in range(2):
    try:
        run.save(target)
    except OSError as error:
        assert error.errno == 27, error
        assert error.filename == target, error.filename
        assert str(error) == f"[Errno 27] File too large: {target!r}", error
    else:
        raise AssertionError
for handle in os.listdir("/proc/self/fd"):  # HDF5 cannot close what it cannot write
    link = f"/proc/self/fd/{handle}"
    if os.path.exists(link) or os.path.islink(link) and "deleted" in os.readlink(link):
        assert "run" not in os.readlink(link) or os.stat(link).st_size == 0, os.readlink(link)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and its limits")
@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_is_an_os_error_and_an_older_file_stays(suffix, there, run, tmp_path):
    path = tmp_path / f"run{suffix}"
    if there:
        run.save(path)
    before = path.read_bytes() if there else None
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if there else [])
    assert (path.read_bytes() if there else None) == before


HALFWAY = FULL.replace("import linnet_fast as lf\n", """import linnet_fast as lf
from linnet_fast.training import netcdf
netcdf._reserve = lambda *_: None
""").replace("errno == 27", "errno == 5").replace(
    '== f"[Errno 27] File too large: {target!r}"',
    '.startswith("[Errno 5] HDF5 cannot write it, is the disk full? (NetCDF: ")',
)  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits")
def test_a_disk_that_fills_while_hdf5_writes_is_an_os_error(tmp_path):
    assert HALFWAY.count("Errno 5") == HALFWAY.count("errno == 5") == 1
    path = tmp_path / "run.nc"
    done = subprocess.run(
        [sys.executable, "-c", HALFWAY.partition("for handle in")[0], str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1" + "+1" * 100_000, "-" * 100_000 + "1", "(" * 1000, "a\0"])
def test_what_cannot_be_read_as_a_network_is_refused(text):
    with pytest.raises(ValueError, match=r"^the network must be a "):
        check_network(text, {})
