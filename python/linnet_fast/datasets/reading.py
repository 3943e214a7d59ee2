"""Files of data: archives of arrays, single arrays, tables of text."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, npy, tables, validate

SUFFIXES = (".npy", ".csv")
"""What the name of a file of one array ends in."""


def read_array(file: str | os.PathLike[str], name: str) -> npt.NDArray[Any]:
    """Return the array in a .npy, .csv or .npz file.

    Parameters
    ----------
    file : path
    name : str
        Of the array in a .npz file that holds several.

    Returns
    -------
    ndarray
        Of .csv files, (rows, columns).

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged or of another kind, or holds no array of that name.
    """
    path = validate.path("file", file)
    validate.instance("name", name, str)
    if path.suffix != ".npz":
        return read(path)

    def parse(file: BinaryIO) -> npt.NDArray[Any]:
        archive = npy.Archive(file)
        if name in archive.names or len(archive.names) == 1:
            return archive[name if name in archive.names else archive.names[0]]
        msg = f"it must hold an array {name}, got {', '.join(archive.names) or 'none'}"
        raise ValueError(msg)

    return np.asarray(parsed(path, parse))


def parsed(path: Path, parse: Callable[[BinaryIO], Any]) -> Any:
    """Return what `parse` reads from an open file, or raise ValueError with the path."""
    with files.opened(path) as file:  # one that is missing, or no regular file, is an OSError
        try:
            return parse(file)
        except MemoryError:
            reason = "it takes more memory than there is"
        except (gzip.BadGzipFile, zlib.error, EOFError, csv.Error):
            reason = "it is damaged, or no such file at all"
        except ValueError as error:
            reason = str(error)
    msg = f"{path} cannot be read: {reason}"
    raise ValueError(msg)


def members(
    path: Path, sets: Sequence[tuple[str, ...]], *, optional: tuple[str, ...] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a .npz file by name: of the first set of names that it has."""

    def parse(file: BinaryIO) -> dict[str, npt.NDArray[Any]]:
        archive = npy.Archive(file)
        for names in sets:
            if set(names) <= set(archive.names):
                more = tuple(name for name in optional if name in archive.names)
                return {name: archive[name] for name in (*names, *more)}
        known = dict.fromkeys(" and ".join(names) for names in sets if names[0] != "x")
        known.pop("X and y", None)
        got = ", ".join(archive.names) or "none"
        msg = f"it must hold arrays {', or '.join(known)}, got {got}"
        raise ValueError(msg)

    result: dict[str, npt.NDArray[Any]] = parsed(path, parse)
    return result


def read(path: Path, name: str = "file") -> npt.NDArray[Any]:
    """Return the array in a .npy or .csv file; `name` is how a caller calls the path."""
    if path.suffix == ".npy":
        return np.asarray(parsed(path, npy.read))
    if path.suffix == ".csv":
        return np.asarray(parsed(path, lambda file: tables.read(file).array()))
    msg = f"{name} must end in .npy or .csv, got {str(path)!r}"
    raise ValueError(msg)
