"""What writing and reading result files needs: JSON, whole-or-nothing files, optional packages."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAX_LISTED = 2**16

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def json_safe(value: object) -> Any:
    """Return `value` with what JSON lacks replaced: arrays and tuples by lists, NaN by "nan".

    Arrays of more than 65,536 entries are replaced by their shape and dtype, so that a note about a
    result never outgrows the result. Anything else unknown is replaced by its ``repr``.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(float(value))
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size > _MAX_LISTED:
            return {"shape": list(value.shape), "dtype": str(value.dtype)}
        if value.dtype.kind in "iu" or (value.dtype.kind == "f" and np.isfinite(value).all()):
            return value.tolist()
        return json_safe(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [json_safe(item) for item in value]
    return repr(value)


def to_json(value: object) -> str:
    """Return `value` as JSON text, see `json_safe`."""
    return json.dumps(json_safe(value), allow_nan=False)


def optional(module: str, extra: str) -> Any:
    """Return an optional module, or raise ImportError naming the extra and what installs it.

    The command names packages, not the extra: it is the same in a clone, beside a wheel and for
    what an index has.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        packages = " ".join(f'"{package}"' for package in packages_of(extra))
        msg = f"this needs {module} (extra {extra}): pip install {packages}"
        raise ImportError(msg) from error


def packages_of(extra: str) -> list[str]:
    """Return the packages that an extra of this installation brings, as pip takes them."""
    packages = []
    for line in importlib.import_module("importlib.metadata").requires("linnet-fast"):
        package, _, marker = line.replace("'", '"').partition(";")
        if f'extra == "{extra}"' in marker:
            ours = re.fullmatch(r"linnet-fast\[(.*)\]", package.strip())
            packages += (
                [brought for inner in ours[1].split(",") for brought in packages_of(inner)]
                if ours
                else [package.strip()]
            )
    return packages


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Return a regular file, opened for reading.

    Whatever else may have the name is an OSError: a pipe would be waited for, a device never ends.
    """
    _check_regular(path, Path(path).stat().st_mode)
    # Should a pipe have come in between, it is not waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it must be a regular file, got {kind}", os.fspath(path))


def content(path: str | os.PathLike[str]) -> bytes:
    """Return what is in a regular file."""
    with opened(path) as file:
        return file.read()


def size_of(file: BinaryIO) -> int:
    """Return the bytes of an open file."""
    return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Give a new path beside `target`; what is written there takes its place on success only."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise
        # Whoever asked knows the file by this name; a full disk says none.
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
