"""Arrays of NumPy's files, of whoever: what is asked for is checked before anything is unpacked."""

from __future__ import annotations

import errno
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files
from linnet_fast._base.validate import Shape

_FREE = 2**26  # bytes that every file may unpack to
_MOST_TIMES = 100  # its own size that any may; of numbers, none but the emptiest packs better
_PIECE = 2**20
_LONGEST_HEADER = 10_000  # bytes, as NumPy has it
_MOST_AXES = 32
_MOST_SHOWN = 60
_NPY, _ZIP = b"\x93NUMPY", b"PK"


_VERSIONS: dict[tuple[int, ...], tuple[int, Any]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
"""Version -> bytes of the length of the header, and what reads it."""


class Form(NamedTuple):
    """What an array says it is."""

    dtype: np.dtype[Any]
    shape: Shape

    @property
    def n_items(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of it in memory; empty texts count, too."""
        return self.n_items * max(self.dtype.itemsize, 1)


class _Stream(Protocol):
    def read(self, n: int = ..., /) -> bytes: ...
    def tell(self) -> int: ...


class Room:
    """How much a file may still unpack to: that which is small on the disk is no more than that."""

    def __init__(self, file_size: int) -> None:
        self._most = self._left = max(_FREE, _MOST_TIMES * file_size)

    def take(self, what: str, n_bytes: int) -> None:
        """Refuse what is too large, before it is read."""
        self._left -= n_bytes
        if self._left < 0:
            msg = (
                f"{what} would be unpacked to more than {self._most:,} bytes, {_MOST_TIMES} times the "
                "file; what is really so large has to be stored uncompressed"
            )
            raise ValueError(msg)


class Archive:
    """A ``.npz``.

    Raises
    ------
    ValueError
        If it is none, or a name asked for is not there, or not an array of numbers or texts, or
        damaged, or much larger than the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        begin = file.read(len(_NPY))
        if begin == _NPY:
            msg = "it is a single array, as a .npy file is, and no .npz archive"
            raise ValueError(msg)
        file.seek(0)
        with _damage("it is no .npz archive, or only a part of one"):
            self._zip = zipfile.ZipFile(file)
        self._members = {
            member.filename.removesuffix(".npy"): member for member in self._zip.infolist()
        }
        self._room = Room(files.size_of(file))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._members)

    def form(self, name: str) -> Form:
        """Return what an array says it is; it is not read."""
        with self._open(name) as (stream, size):
            return _form(name, stream, size)[0]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return an array."""
        with self._open(name) as (stream, size):
            form, fortran = _form(name, stream, size)
            self._room.take(name, form.n_bytes)
            return _filled(name, stream, form, fortran)

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[_Stream, int]]:
        if name not in self._members:
            msg = f"it has no array {name}"
            raise ValueError(msg)
        member = self._members[name]
        # Others unpack a block at once, however much it is.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            msg = f"{name} is packed in a way that NumPy does not use"
            raise ValueError(msg)
        if member.flag_bits & 0x1:
            msg = f"{name} is encrypted"
            raise ValueError(msg)
        with _damage(f"{name} is damaged"), self._zip.open(member) as stream:
            yield stream, member.file_size


def read(file: BinaryIO) -> npt.NDArray[Any]:
    """Return the array of a ``.npy``; ValueError as of an `Archive`."""
    if file.read(len(_ZIP)) == _ZIP:
        msg = "it is an archive of arrays: let its name end in .npz"
        raise ValueError(msg)
    file.seek(0)
    return _filled("it", file, *_form("it", file, files.size_of(file)))


_FAILURES = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError,
    OverflowError, UnicodeDecodeError,
)  # fmt: skip
"""What unpacking damaged files ends in."""


@contextmanager
def _damage(message: str) -> Iterator[None]:
    """Say what is wrong with a file in words of its own, not in those of what unpacks it."""
    try:
        yield
    except _FAILURES as error:
        raise ValueError(message) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the beginning of the file
            raise
        raise ValueError(message) from error


def _form(name: str, stream: _Stream, size: int) -> tuple[Form, bool]:
    """Return what the header at the beginning of a stream says, and whether it is in Fortran order.

    It must fit the bytes that there are after it.
    """
    begin = stream.read(len(_NPY) + 2)
    if begin[: len(_NPY)] != _NPY:
        msg = f"{name} is no array as NumPy writes them, or damaged"
        raise ValueError(msg)
    width, parse = _VERSIONS.get(tuple(begin[len(_NPY) :]), (0, None))
    if parse is None:
        msg = f"{name} is of a form that is not read here, as arrays with named fields are"
        raise ValueError(msg)
    length = stream.read(width)
    n_bytes = int.from_bytes(length, "little")
    if n_bytes > _LONGEST_HEADER:
        msg = f"{name} is damaged: its header would have {n_bytes:,} bytes"
        raise ValueError(msg)
    try:
        shape, fortran, dtype = parse(io.BytesIO(length + stream.read(n_bytes)))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        msg = f"{name} is damaged: its header says neither a shape nor a kind of number"
        raise ValueError(msg) from error
    if dtype.hasobject:
        msg = f"{name} holds Python objects, which are never unpickled"
        raise ValueError(msg)
    if dtype.kind not in "biufcSU":
        msg = f"{name} must be made of numbers or texts, got {dtype}"
        raise ValueError(msg)
    form = Form(dtype, shape)
    left = size - stream.tell()
    if (
        len(shape) > _MOST_AXES
        or min(shape, default=0) < 0
        or form.n_items * dtype.itemsize != left
    ):
        msg = f"{name} is damaged: shape {_short(shape)} of {dtype} does not fit its {left:,} bytes"
        raise ValueError(msg)
    return form, fortran


def _short(shape: Shape) -> str:
    shown = str(shape)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}...)"


def _filled(name: str, stream: _Stream, form: Form, fortran: bool) -> npt.NDArray[Any]:
    """Return the array of a stream that is past its header."""
    raw = np.empty(form.n_items * form.dtype.itemsize, np.uint8)
    begin = 0
    while begin < raw.size:
        piece = stream.read(min(_PIECE, raw.size - begin))
        if not piece:
            msg = f"{name} is damaged: it ends too early"
            raise ValueError(msg)
        raw[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
        begin += len(piece)
    stream.read(1)  # the end of a member of an archive, where its checksum is compared
    if form.dtype.itemsize == 0:
        return np.zeros(form.shape, form.dtype)
    array = raw.view(form.dtype)
    return array.reshape(form.shape[::-1]).T if fortran else array.reshape(form.shape)
