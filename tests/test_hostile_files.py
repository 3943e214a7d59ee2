"""Files of whoever: what they ask for is checked before it is done, and only regular files are read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import socket
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from support import ROOT, few

import linnet_fast as lf
from linnet_fast import datasets
from linnet_fast.sweeps.file import reader

GOLDEN = ROOT / "tests" / "golden"
LOSS = lf.SquaredLoss(np.eye(3), np.eye(3)[:2], 5.0)

# Bounds for a process that has NumPy and SciPy loaded, and reads some MB; what was before was several
# GB and a minute.
MOST_MEMORY, MOST_SECONDS = 450e6, 20

READ = """
import json, sys, time
from pathlib import Path
import linnet_fast as lf
from linnet_fast import datasets

status = Path("/proc/self/status")  # what getrusage says was the parent's before
readers = {
    "trajectory": lf.Trajectory.load,
    "data": datasets.load,
    "inputs": lambda path: datasets.load(path, path),
    "mnist": lambda path: datasets.load_mnist(Path(path).parent),
}
for line in sys.stdin:
    path, how = json.loads(line)
    begin = time.perf_counter()
    try:
        readers[how](path)
    except ValueError as error:
        said = str(error)
    else:
        said = "it was read"
    peak = 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    print(json.dumps([said, peak, time.perf_counter() - begin]), flush=True)
"""


@pytest.fixture(scope="module")
def refusal():
    """Return a function that says why a file is refused.

    By one process for all, which must neither grow nor take long: one that has grown stays so.
    """
    command = [sys.executable, "-c", READ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:

        def ask(path, how):
            process.stdin.write(json.dumps([str(path), how]) + "\n")
            process.stdin.flush()
            message, peak, seconds = json.loads(process.stdout.readline())
            assert peak < MOST_MEMORY, f"{peak / 1e6:.0f} MB"
            assert seconds < MOST_SECONDS
            assert str(path) in message
            assert len(message) < 1000
            return message

        yield ask


def npy_header(shape, descr="<f8", version=1):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def zeros(n):
    """Give pieces of n zero bytes."""
    yield from (bytes(min(2**20, n - i)) for i in range(0, n, 2**20))


def add(archive, name, begin, n_zeros=0):
    """Write a member of an archive piece by piece."""
    with archive.open(name, "w", force_zip64=True) as file:
        file.write(begin)
        for piece in zeros(n_zeros):
            file.write(piece)


@pytest.fixture
def saved(tmp_path):
    def save(suffix):
        run = lf.train(
            lf.Dense((3, 2, 2)), LOSS, [np.ones((2, 3)), np.ones((2, 2))],
            method=lf.GradientDescent(0.01), n_steps=4, record=lf.Record.every(2, ("loss",)),
        )  # fmt: skip
        run.save(tmp_path / f"run{suffix}")
        return tmp_path / f"run{suffix}"

    return save


# -- trajectories ----------------------------------------------------------------------------------


def rewritten(path, header=None, without=(), packed=zipfile.ZIP_STORED, **members):
    """Write an archive anew with other members, and a header whose entries are replaced."""
    with zipfile.ZipFile(path) as archive:
        content = {info.filename[:-4]: archive.read(info) for info in archive.infolist()}
    raw = content.pop("linnet_fast")
    text = np.load(io.BytesIO(raw)).tobytes()
    text = json.dumps(json.loads(text) | (header or {})).encode()
    begin = npy_header(f"({len(text)},)", "|u1")
    with zipfile.ZipFile(path, "w", packed, compresslevel=1) as archive:
        archive.writestr("linnet_fast.npy", begin + text)
        for name, data in (content | members).items():
            if name not in without:
                add(archive, f"{name}.npy", *((data,) if isinstance(data, bytes) else data))
    return path


@pytest.mark.parametrize("schema", [6, 5])
def test_an_array_that_unpacks_to_gigabytes(schema, saved, refusal):
    path, n = saved(".npz"), 2**26
    with np.load(path) as archive:
        header = json.loads(archive["linnet_fast"].tobytes())
    header["contents"]["loss"] = {"dtype": "<f8", "shape": [n]}
    big = (npy_header(f"({n},)"), 8 * n)
    rewritten(path, header | {"schema_version": schema}, packed=zipfile.ZIP_DEFLATED, loss=big)
    assert path.stat().st_size < 3e6
    assert "loss would be unpacked to more than " in refusal(path, "trajectory")


def test_many_arrays_that_unpack_to_gigabytes_together(saved, refusal):
    path, n = saved(".npz"), 2**21
    with np.load(path) as archive:
        header = json.loads(archive["linnet_fast"].tobytes())
    names = [f"array_{i}" for i in range(35)]
    header["contents"] |= {name: {"dtype": "<f8", "shape": [n]} for name in names}
    big = dict.fromkeys(names, (npy_header(f"({n},)"), 8 * n))
    rewritten(path, header, packed=zipfile.ZIP_DEFLATED, **big)
    assert "would be unpacked to more than " in refusal(path, "trajectory")


def test_a_header_of_gigabytes(saved, refusal):
    path, n = saved(".npz"), 2**29
    with zipfile.ZipFile(path) as archive:
        content = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in content.items():
            if name == "linnet_fast.npy":
                add(archive, name, npy_header(f"({n},)", "|u1"), n)
            else:
                archive.writestr(name, data)
    assert "must have at most 16,777,216 characters" in refusal(path, "trajectory")


def test_a_member_whose_own_header_is_of_gigabytes(saved, refusal):
    path = saved(".npz")
    rewritten(path, packed=zipfile.ZIP_DEFLATED,
              loss=(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**29), 2**29))  # fmt: skip
    assert "its header would have 536,870,912 bytes" in refusal(path, "trajectory")


HUGE_NETWORKS = {
    "written out": "Dense((" + "1," * 10**6 + "))",
    "written out, elsewhere": "Dense (widths=(" + "1," * 10**5 + "))",
    "in a list": "(Dense((" + "1," * 10**5 + ")))",
    "a few characters": "Diagonal(width=3, n_layers=1000000)",
    "by place": "Diagonal(3, 1000000)",
    "of letters": "\U0001d403iagonal(3, 1000000)",  # which Python reads as D
    "in two lines": "Diagonal\\\n(3,\n1000000)",
    "twice": "Chain([Diagonal(3, 1000000)])",
    "not one": "[Diagonal(3, 1000000)]",
    "scalars": "Grouped(groups=((0, 1, 2),), n_diagonal=1, n_scalar=1000000)",
    "side by side": "parallel([Diagonal(3, 1000000), Diagonal(3, 1000000)])",
    "layers": "Chain([" + "layers.Dense(1, 1)," * 50_000 + "])",
    "nested": "Chain([" + "(" * 3000 + ")" * 3000 + "])",
}


@pytest.mark.parametrize("name", few(HUGE_NETWORKS, 5))
def test_a_network_that_is_larger_than_its_weights(name, saved, refusal):
    path = rewritten(saved(".npz"), {"network": HUGE_NETWORKS[name]})
    assert "network must be" in refusal(path, "trajectory")


def test_a_network_that_no_file_could_be_read_of_is_not_written(saved):
    run = lf.Trajectory.load(saved(".npz"))
    object.__setattr__(run, "provenance", {"text": "x" * 2**24})
    for suffix in (".npz", ".nc"):
        path = saved(".npz").with_name(f"new{suffix}")
        with pytest.raises(ValueError, match="at most 16,777,216 characters"):
            run.save(path)
        assert not path.exists()


@pytest.mark.parametrize("how", ["packed", "not there", "in one chunk"])
def test_a_small_netcdf_of_gigabytes(how, saved, refusal):
    netcdf4 = pytest.importorskip("netCDF4")  # which the sanitizers' environment does without
    path = saved(".nc")
    n = 2**26 if how == "packed" else 2**31
    with netcdf4.Dataset(path, "a") as data:
        text = data.getncattr("linnet_fast").replace('"schema_version": 6', '"schema_version": 5')
        assert '"schema_version": 5' in text
        data.setncattr("linnet_fast", text)
        data.delncattr("linnet_fast_digest")
        shape = 4 if how == "in one chunk" else n
        data.createDimension("many", None if how == "in one chunk" else shape)
        data.createVariable(
            "array_0", "f8", ("many",), zlib=how != "not there", complevel=1,
            chunksizes=None if how == "not there" else [2**20 if how == "packed" else 2**26],
        )  # fmt: skip
        if how == "packed":
            for i in range(0, n, 2**22):
                data["array_0"][i : i + 2**22] = 0.0
        elif how == "in one chunk":
            data["array_0"][:4] = 0.0
    assert path.stat().st_size < 5e6
    assert "array_0 would be unpacked to more than" in refusal(path, "trajectory")


def test_arrays_that_are_no_numbers_are_refused(saved):
    path = saved(".npz")
    rewritten(path, loss=npy_header("(1,)", "<U1") + b"a\0\0\0")
    with pytest.raises(ValueError, match="loss must be made of numbers, got <U1"):
        lf.Trajectory.load(path)


# -- data ------------------------------------------------------------------------------------------


def test_data_that_unpack_to_gigabytes(tmp_path, refusal):
    path, n = tmp_path / "data.npz", 2**26
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        add(archive, "X.npy", npy_header(f"({n}, 1)"), 8 * n)
        archive.writestr("Y.npy", npy_header("(1,)") + bytes(8))
    assert path.stat().st_size < 3e6
    assert "X would be unpacked to more than " in refusal(path, "data")


def test_what_is_emptier_than_a_tenth_is_read(tmp_path):
    """One-hot targets of 500 classes, and twice what is always allowed."""
    targets = np.eye(500)[np.arange(24_000) % 500]
    np.savez_compressed(
        tmp_path / "d.npz", X=np.random.default_rng(0).random((24_000, 8)), Y=targets
    )
    assert targets.nbytes > 2**26
    assert np.array_equal(datasets.load(tmp_path / "d.npz").Y, targets)


def test_a_packed_idx_of_gigabytes(tmp_path, refusal):
    images, n = tmp_path / "train-images-idx3-ubyte.gz", 2**30
    with gzip.open(images, "wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\x03" + struct.pack(">III", n // 2**20, 2**10, 2**10))
        for piece in zeros(2**29):
            file.write(piece)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x01\0")
    assert "would be unpacked to more than" in refusal(images, "mnist")


@pytest.mark.parametrize("declared", [2, 4])
def test_an_idx_that_is_not_as_long_as_it_says(declared, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x03abc")
    content = b"\0\0\x08\x03" + struct.pack(">III", declared, 2, 2) + bytes(12)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=rf"shape \({declared}, 2, 2\) does not fit its bytes"):
        datasets.load_mnist(tmp_path)
    path.write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(ValueError, match="it is damaged"):
        datasets.load_mnist(tmp_path)


X = np.arange(12.0).reshape(6, 2)


def packed(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def array(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def archive_of(member, packing=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("X.npy", member)
        archive.writestr("Y.npy", array(X))
    return file.getvalue()


def encrypted():
    data = bytearray(archive_of(array(X)))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


BAD = {
    "archive as array": ("x.npy", packed(X=X, Y=X), "it is an archive of arrays: .* end in .npz"),
    "array as archive": ("x.npz", array(X), "a single array, as a .npy file is"),
    "nothing": ("x.npy", b"", "it is no array as NumPy writes them"),
    "no zip": ("x.npz", b"X", "it is no .npz archive"),
    "half a zip": ("x.npz", packed(X=X, Y=X)[:300], "it is no .npz archive, or only a part of one"),
    "cut short": ("x.npy", array(X)[:-1], r"shape \(6, 2\) of float64 does not fit its 95 bytes"),
    "too long": ("x.npy", array(X) + b"\0", r"shape \(6, 2\) of float64 does not fit its 97 bytes"),
    "objects": ("x.npy", array(np.array([{}], object)), "Python objects, which are never unpickled"),
    "fields": ("x.npy", array(np.zeros(3, "f8,i4")), "must be made of numbers or texts"),
    "dates": ("x.npz", packed(X=np.zeros(3, "M8[s]"), Y=X), "X must be made of numbers or texts"),
    "unicode fields": ("x.npy", array(X)[:6] + b"\3" + array(X)[7:], "arrays with named fields"),
    "negative": ("x.npy", npy_header("(-6, -2)") + bytes(96), "does not fit its 96 bytes"),
    "endless": ("x.npy", npy_header("(2305843009213693952,)"), "does not fit its 0 bytes"),
    "empty, endless": ("x.npz", archive_of(npy_header(f"({2**50},)", "<U0")), "more than 67,108,864"),
    "axes": ("x.npy", npy_header("(1,) + " + "(1,)" * 9) + bytes(8), "neither a shape nor a kind"),
    "many axes": ("x.npy", npy_header("(" + "1," * 60 + ")") + bytes(8), "does not fit its 8 bytes"),
    "no kind": ("x.npy", npy_header("(1,)", "nonsense") + bytes(8), "neither a shape nor a kind"),
    "flipped": ("x.npz", archive_of(array(X), zipfile.ZIP_STORED).replace(
        X.tobytes()[40:60], bytes(20), 1), "X is damaged"),
    "bzip": ("x.npz", archive_of(array(X), zipfile.ZIP_BZIP2), "X is packed in a way that NumPy"),
    "lzma": ("x.npz", archive_of(array(X), zipfile.ZIP_LZMA), "X is packed in a way that NumPy"),
    "encrypted": ("x.npz", encrypted(), "X is encrypted"),
    "latin": ("x.csv", "ä\n1\n".encode("latin1"), "it must be UTF-8 text, got byte 0xe4 at 0"),
    "long field": ("x.csv", b"1,2\n" + b"1" * 200_000 + b",2\n", "it is damaged, or no such file"),
}  # fmt: skip

INNER_WORDS = ("allow_pickle", "magic string", "File is not a zip", "CRC-32", "Errno", "codec",
               "reshape", "EOF", "buffer", "max_header_size")  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_messages_say_what_is_wrong_with_a_file(case, tmp_path):
    name, content, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load(path, None if path.suffix == ".npz" else path)
    assert str(caught.value).startswith(f"{path} cannot be read: ")
    assert not [words for words in INNER_WORDS if words in str(caught.value)]
    if case not in ("bzip", "lzma", "encrypted"):
        with pytest.raises(ValueError, match="cannot be read"):
            datasets.read_array(path, "X")


def test_a_bomb_of_bzip2_is_not_unpacked(tmp_path, refusal):
    """A block of it is unpacked whole, however little of it is asked for."""
    path = tmp_path / "x.npz"
    packer, n = bz2.BZ2Compressor(9), 2**29
    parts = [packer.compress(npy_header(f"({n},)", "|u1")), *map(packer.compress, zeros(n))]
    data = b"".join([*parts, packer.flush()])
    crc = zlib.crc32(b"")
    head = struct.pack("<HHHHHIIIHH", 20, 0, 12, 0, 0, crc, len(data), 100, 5, 0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Y.npy", array(X))
    own = path.read_bytes()
    end = own.index(b"PK\x01\x02")
    central = b"PK\x01\x02" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, 0)
    local = b"PK\x03\x04" + head + b"X.npy" + data
    directory = central + b"X.npy" + own[end:].partition(b"PK\x05\x06")[0].replace(
        struct.pack("<I", 0) + b"Y.npy", struct.pack("<I", len(local)) + b"Y.npy")  # fmt: skip
    tail = struct.pack("<HHHHIIH", 0, 0, 2, 2, len(directory), len(local) + end, 0)
    path.write_bytes(local + own[:end] + directory + b"PK\x05\x06" + tail)
    assert len(data) < 10_000
    assert "X is packed in a way that NumPy does not use" in refusal(path, "data")


# -- what is no regular file -----------------------------------------------------------------------

READERS = {
    "run.npz": lf.Trajectory.load,
    "run.nc": lf.Trajectory.load,
    "data.npz": datasets.load,
    "data.npy": lambda path: datasets.load(path, path),
    "data.csv": lambda path: datasets.load(path, path),
    "array.npz": lambda path: datasets.read_array(path, "X"),
    "data_batch_1.bin": lambda path: datasets.load_cifar10(path.parent),
    "sweep.toml": reader.read,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_read(name, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(OSError, match=f"must be a regular file, got a pipe: .*{name}"):
        READERS[name](path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=f"must be a regular file, got a device: .*{name}"):
        READERS[name](path)
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=name):
        READERS[name](path)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=name):
        READERS[name](path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))
        with pytest.raises(OSError, match=f"must be a regular file, got a socket: .*{name}"):
            READERS[name](path)


@pytest.mark.parametrize("file", ["logistic_schema4.npz", "flow_schema4.nc"])
def test_a_link_to_a_regular_file_is_one(file, tmp_path):
    link = tmp_path / file
    link.symlink_to(GOLDEN / file)
    assert lf.Trajectory.load(link).loss.size
