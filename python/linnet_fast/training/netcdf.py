"""Arrays and a header in netCDF-4, with checksums.

Of chunks by HDF5, for all who read them; of arrays and the header in attributes, which stay when
other programs write the file anew; and of the whole file in a seal after its end, compared before
HDF5 sees it, which may loop for ever in a damaged one. Whoever changes the file in place removes the
seal: HDF5 ends a file where its own data end.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, npy

if TYPE_CHECKING:
    import xarray

HEADER = "linnet_fast"
_DIGEST = "linnet_fast_digest"
_MAGIC = b"\x89HDF\r\n\x1a\n"
_SEAL = b"linnet_fast seal"  # and then the SHA-256 of all before
_SEAL_SIZE = len(_SEAL) + hashlib.sha256().digest_size
_PIECE = 2**20


def write(path: Path, header: str, arrays: Mapping[str, Any], data: xarray.Dataset) -> None:
    """Write arrays beside those of a dataset that have the same names, and the header.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    for name, array in arrays.items():
        # What the dataset has with fewer axes is stored beside it as it is.
        stored = _stored(name)
        if stored not in data.variables:
            data[stored] = ([f"{stored}_{axis}" for axis in range(array.ndim)], array)
    data.attrs |= {HEADER: header, _DIGEST: _digest(header)}
    # Numbers along axes, that is in chunks: else there is nothing that a filter could be of.
    checked = {
        name: {"fletcher32": True}
        for name, variable in data.variables.items()
        if variable.ndim and variable.dtype.kind in "biuf"
    }
    _reserve(path, data.nbytes + len(header))
    try:
        data.to_netcdf(path, engine="netcdf4", format="NETCDF4", encoding=checked)
    except RuntimeError as error:
        raise OSError(errno.EIO, f"HDF5 cannot write it, is the disk full? ({error})") from error
    with path.open("r+b") as file:
        file.write(_seal(file, files.size_of(file)))


def _reserve(path: Path, n_bytes: int) -> None:
    """Ask for the room that a file needs at least; OSError where there is not so much.

    HDF5 finds out half-way, does not say why, and keeps what it cannot write open for good.
    """
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                    raise  # else the file system does not know


def _seal(file: BinaryIO, n_bytes: int) -> bytes:
    """Return the seal of so many bytes at the beginning of a file; it is at their end then."""
    file.seek(0)
    sha = hashlib.sha256()
    while piece := file.read(min(_PIECE, n_bytes - file.tell())):
        sha.update(piece)
    return _SEAL + sha.digest()


def _is_sealed(file: BinaryIO) -> bool:
    """Whether a file has a seal; one that is broken is refused."""
    n_bytes = files.size_of(file) - _SEAL_SIZE
    if n_bytes <= 0:
        return False
    file.seek(n_bytes)
    seal = file.read()
    if not seal.startswith(_SEAL):
        return False
    if seal != _seal(file, n_bytes):
        msg = "it is damaged: its checksum does not fit"
        raise ValueError(msg)
    return True


def _stored(name: str) -> str:
    return "plain_time" if name == "time" else name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def opened(path: Path, file: BinaryIO) -> Iterator[NetCDF]:
    """Give what is in a file, which is open already: it is no pipe, and no address of a server.

    Raises
    ------
    ValueError
        If it is of another kind, or damaged.
    """
    if file.read(len(_MAGIC)) != _MAGIC:
        msg = "it is no netCDF-4 file"
        raise ValueError(msg)
    is_sealed = _is_sealed(file)
    netcdf4 = files.optional("netCDF4", "xarray")
    with _damage("it is damaged"):
        data = netcdf4.Dataset(path, "r")
    try:
        data.set_auto_maskandscale(False)
        yield NetCDF(data, files.size_of(file), is_sealed)
    finally:
        data.close()


@contextmanager
def _damage(message: str) -> Iterator[None]:
    """Say what is wrong in words of our own: the library's OSError is not one of the system."""
    try:
        yield
    except (OSError, RuntimeError, AttributeError, KeyError, IndexError, UnicodeError) as error:
        msg = f"{message} ({error})"
        raise ValueError(msg) from error


class NetCDF:
    """An open file: its header, and what its arrays are before they are read."""

    def __init__(self, data: Any, file_size: int, is_sealed: bool) -> None:
        self._data = data
        self.file_size = file_size
        self.is_sealed = is_sealed
        with _damage("it is damaged"):
            self.signed = _DIGEST in data.ncattrs()

    def header(self) -> str:
        """Return the header; what its digest does not fit is refused."""
        with _damage("its description is damaged"):
            if HEADER not in self._data.ncattrs():
                msg = "it has no description of a trajectory"
                raise ValueError(msg)
            text = self._data.getncattr(HEADER)
            signed = self._data.getncattr(_DIGEST) if self.signed else None
        if not isinstance(text, str) or (self.signed and signed != _digest(text)):
            msg = "its description is damaged: it is not what was written"
            raise ValueError(msg)
        return text

    def forms(self) -> dict[str, npy.Form]:
        """Return what each array says it is; those that are no numbers are left out."""
        with _damage("it is damaged"):
            return {
                "time" if name == "plain_time" else name: npy.Form(self._dtype(variable), shape)
                for name, variable in self._data.variables.items()
                if isinstance(variable.dtype, np.dtype) and (name != "time" or not self._plain)
                for shape in [tuple(map(int, variable.shape))]
            }

    @property
    def _plain(self) -> bool:
        return "plain_time" in self._data.variables

    @staticmethod
    def _dtype(variable: Any) -> np.dtype[Any]:
        """Return the dtype of a variable; there are no truth values, xarray says which are."""
        is_bool = "dtype" in variable.ncattrs() and variable.getncattr("dtype") == "bool"
        return np.dtype(bool if is_bool else variable.dtype)

    def n_bytes(self, name: str) -> int:
        """Return the bytes that reading an array takes: of it, or of a chunk, if that is more."""
        with _damage(f"{name} is damaged"):
            variable = self._data.variables[_stored(name)]
            chunk = variable.chunking()
            n_items = max(
                math.prod(map(int, shape))
                for shape in (variable.shape, chunk)
                if not isinstance(shape, str) and shape is not None
            )
            return n_items * int(variable.dtype.itemsize)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an array."""
        with _damage(f"{name} is damaged"):
            variable = self._data.variables[_stored(name)]
            return np.asarray(variable[...]).astype(self._dtype(variable), copy=False)
