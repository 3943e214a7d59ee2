"""A sweep's result on disk: a Zarr group whose chunks appear whole or not at all."""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import Shape
from linnet_fast.sweeps import growth
from linnet_fast.sweeps.batch import Arrays
from linnet_fast.sweeps.chunk import Block
from linnet_fast.sweeps.form import (
    MARK,
    SPEC,
    SweepError,
    check_metadata,
    checked,
    described,
    is_store,
    locked,
    noted,
    refuse_links,
    refuse_others,
    signed,
    write_coordinate,
    write_group,
    write_plain,
    write_variable,
)
from linnet_fast.sweeps.layout import PENDING, Layout, Variable, coordinates
from linnet_fast.sweeps.spec import SweepSpec
from linnet_fast.training import plain
from linnet_fast.training.state import Status

_LEFTOVER_AGE = 3600.0  # seconds
_LEFTOVER = re.compile(r"(?P<stem>zarr|c(\.\d+)*)\.[0-9a-f]{32}\.partial")


Counts: TypeAlias = npt.NDArray[np.int64]
"""How many runs of a chunk ended with each status."""


@dataclass(frozen=True)
class Chunks:
    """How the runs of a sweep are cut into chunks: a regular grid over its dimensions."""

    shape: Shape
    """Of the sweep."""
    chunk: Shape
    """Of a chunk; those at the end of a dimension may be smaller."""

    @cached_property
    def counts(self) -> Shape:
        """Number of chunks along each dimension."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    def __len__(self) -> int:
        """Return the number of chunks."""
        return math.prod(self.counts)

    def place(self, number: int) -> Shape:
        """Return where a chunk is in the grid of chunks."""
        return tuple(int(i) for i in np.unravel_index(number, self.counts)) if self.counts else ()

    def block(self, number: int) -> Block:
        """Return the runs of a chunk."""
        return tuple(
            (i * c, min((i + 1) * c, n))
            for i, c, n in zip(self.place(number), self.chunk, self.shape, strict=True)
        )


def chunk_shape(spec: SweepSpec, n_runs: int) -> Shape:
    """Return the shape of chunks of about `n_runs` runs: whole trailing dimensions first.

    Where dimensions have data of their own, others before these, so that runs of a chunk share data.
    """
    shape = spec.shape
    chunk = [1] * len(shape)
    left = max(1, n_runs)
    axes = sorted(range(len(shape)), key=lambda k: (spec.dims[k] in spec.data_dims, -k))
    # Networks of another shape are trained apart: before these, runs of the same.
    n_groups = (*spec.group_shape, *(1 for _ in shape[len(spec.axes) :]))
    for axis in sorted(axes, key=lambda k: bool(spec.data_dims) and n_groups[k] > 1):
        # Rather a few runs more than the rest of them alone.
        whole = bool(spec.data_dims) and 2 * shape[axis] <= 3 * left
        chunk[axis] = shape[axis] if whole else min(shape[axis], left)
        left //= shape[axis]
        if left == 0:
            break
    return tuple(chunk)


def counts_of(status: npt.NDArray[np.int8]) -> Counts:
    """Return how many runs ended with each status."""
    return np.bincount(status.ravel(), minlength=len(Status))


class Store:
    """A sweep's store, open for reading and writing."""

    def __init__(self, path: Path, growing: bool) -> None:
        zarr = files.optional("zarr", "sweep")
        self.path = path
        check_metadata(path, growing)
        self._group: Any = zarr.open_group(path, mode="r+")
        self.attrs: Mapping[str, Any] = dict(self._group.attrs)
        note = self.attrs[MARK]
        self._added: tuple[str, ...] = tuple(note.get("added", ()))
        """Variables that came later: chunks may be there without them."""
        self._own_folders = (SPEC, *(v["name"] for v in note["variables"]), *note["coordinates"])
        refuse_links(path, self._own_folders)
        self.spec_data: Mapping[str, Any] = note["spec"]
        self.spec_id: str = note["spec_id"]
        self.isa: str = note["isa"]
        self.chunks = Chunks(tuple(note["shape"]), tuple(note["chunk"]))
        self.variables = tuple(
            Variable(v["name"], tuple(v["dims"]), tuple(v["shape"]), v["dtype"])
            for v in note["variables"]
        )
        # A chunk that holds nothing but what stands for "nothing" is a result, too.
        self._arrays: dict[str, Any] = {
            v.name: self._group[v.name].with_config({"write_empty_chunks": True})
            for v in self.variables
        }

    # -- making and opening ------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: Path, spec: SweepSpec, layout: Layout, chunk: Shape, isa: str, note: object
    ) -> Store:
        """Make a store, whole or not at all; if another process was faster, open that one's."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_group(temporary, spec, layout, chunk, isa, note)
            try:
                temporary.rename(path)
            except OSError:
                if not is_store(path):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(path)  # of another sweep, perhaps, if another process was faster

    @classmethod
    def open(cls, path: Path, growing: bool = False) -> Store:
        """Open a store that is there; `growing`: also one that another call began to extend.

        Raises
        ------
        SweepError
            If it is not a sweep's, or damaged.
        """
        if not is_store(path):
            msg = f"{path} must be a sweep's store, got something else; it is left as it is"
            raise SweepError(msg)
        with locked(path, shared=True):
            return cls._open(path, growing)

    @classmethod
    def _open(cls, path: Path, growing: bool) -> Store:
        try:
            return cls(path, growing)
        except (AttributeError, KeyError, ValueError, TypeError, OSError) as error:
            msg = f"{path} is damaged: {error}; move it away to begin anew"
            raise SweepError(msg) from error

    def spec_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the large arrays that the spec refers to."""
        try:
            group = self._group[SPEC]
            return {name: np.asarray(array[...]) for name, array in group.arrays()}
        except (KeyError, ValueError, TypeError, OSError) as error:
            msg = f"{self.path}/{SPEC} is damaged: {error}"
            raise SweepError(msg) from error

    def check(self, spec: SweepSpec, *, but: Collection[str] = ()) -> None:
        """Refuse a store of another sweep; one that differs in no more than some parts is let through."""
        begun, now = self.spec_data.get("numerics"), spec.encode()["numerics"]
        if begun != now:
            msg = (
                f"{self.path} was begun with numerics {begun} of the library, and has other bits than "
                f"those of this version, {now}: it opens (open_sweep), but is gone on with by the "
                "version that began it; or take another store"
            )
            raise SweepError(msg)
        if self.spec_id != spec.id:
            known, asked = dict(self.spec_data), dict(spec.encode())
            if but and all(
                known.get(name) == asked.get(name) for name in {*known, *asked} - {*but}
            ):
                return
            lines = plain.differences(known, asked)
            shown = "; ".join(lines[:5]) + ("; ..." if len(lines) > 5 else "")
            msg = (
                f"{self.path} holds another sweep: {shown or 'of another version of the library'}. "
                "Take another store; or, if dimensions have grown at their ends or more is derived, "
                "extend it (extend=True, --extend)"
            )
            raise SweepError(msg + growth.why_not(known, asked))

    def check_isa(self, isa: str) -> None:
        """Refuse a store of another instruction set."""
        if self.isa != isa:
            msg = (
                f"{self.path} was begun with instruction set {self.isa}, and bits may differ with "
                f"{isa}: set LINNET_FAST_ISA={self.isa} where that is possible, or begin anew"
            )
            raise SweepError(msg)

    # -- chunks ------------------------------------------------------------------------------------

    def write(self, number: int, values: Arrays) -> None:
        """Write a chunk; the status, by which it counts, after all else is on the disk.

        Of a chunk that is there but for variables that came later, these; the others must be the same.
        """
        region = self._region(number)
        if self._added and self._has_status(number):
            self._write_added(number, values)
            return
        for variable in self.variables:
            if variable.name == "status":
                for other in self.variables[:-1]:
                    for file in self._files(other, number):
                        _flush(file)
            self._arrays[variable.name][region] = values[variable.name]
        for file in self._files(self.variables[-1], number):
            _flush(file)
        _flush(self.path / "status")  # the directory: the file's name, too

    def _write_added(self, number: int, values: Arrays) -> None:
        """Write what came later of a chunk, if its runs are those that are there."""
        region = self._region(number)
        for variable in self.variables:
            there = variable.name not in self._added
            if there and not _same(self.read(number, variable.name), values[variable.name]):
                msg = (
                    f"{self.path} has another {variable.name} of some runs than they have now, with "
                    "the same description: what is there is left as it is; take another store"
                )
                raise SweepError(msg)
        for variable in self.variables:
            if variable.name in self._added:
                self._arrays[variable.name][region] = values[variable.name]
                for file in self._files(variable, number):
                    _flush(file)
                _flush(self.path / variable.name)

    def is_done(self, number: int) -> bool:
        """Whether a chunk is there, with what came later."""
        return self._has_added(number) and self._has_status(number)

    def n_there(self) -> int:
        """Return how many runs are there, with what came later."""
        there = np.asarray(self._arrays["status"][...]) != PENDING
        for number in range(len(self.chunks)) if self._added else ():
            if not self._has_added(number):
                there[self._region(number)] = False
        return int(np.count_nonzero(there))

    def _has_added(self, number: int) -> bool:
        later = (variable for variable in self.variables if variable.name in self._added)
        return all(file.exists() for variable in later for file in self._files(variable, number))

    def _has_status(self, number: int) -> bool:
        return all(file.exists() for file in self._files(self.variables[-1], number)) and bool(
            (self.read(number, "status") != PENDING).all()
        )

    def read(self, number: int, name: str) -> npt.NDArray[Any]:
        """Return a variable of the runs of a chunk."""
        return np.asarray(self._arrays[name][self._region(number)])

    def _region(self, number: int) -> tuple[slice, ...]:
        return tuple(slice(begin, end) for begin, end in self.chunks.block(number))

    def done(self, numbers: Iterable[int]) -> tuple[dict[int, Counts], list[int]]:
        """Return which chunks are there, with how their runs ended, and which are damaged.

        Every file of these chunks is read and its checksum compared.
        """
        there: dict[int, Counts] = {}
        damaged = []
        self._remove_leftovers()
        # The status first: another process may be writing, and writes it last.
        names = {v.name: _names(self.path / v.name) for v in reversed(self.variables)}
        for number in numbers:
            expected = {v.name: list(self._files(v, number, sizes=True)) for v in self.variables}
            present = [
                (file, size)
                for name, sized in expected.items()
                for file, size in sized
                if file.name in names[name]
            ]
            missing = {
                name
                for name, sized in expected.items()
                for file, _ in sized
                if file.name not in names[name]
            }
            counts = "status" not in missing
            lost = counts and not missing <= set(self._added)
            if lost or not all(_is_whole(f, n) for f, n in present):
                damaged.append(number)
                continue
            if missing:
                continue
            ended = self.read(number, "status")
            if (ended == PENDING).any():  # the store has grown since
                continue
            there[number] = counts_of(ended)
        return there, damaged

    def discard(self, number: int) -> None:
        """Remove the files of a damaged chunk; the status, by which it counts, first."""
        for variable in reversed(self.variables):
            for file in self._files(variable, number):
                file.unlink(missing_ok=True)

    def _files(self, variable: Variable, number: int, sizes: bool = False) -> Iterator[Any]:
        """Return the files of a chunk of a variable; `sizes`: with those they must have."""
        array = self._arrays[variable.name]
        extra = [
            range(-(-n // c))
            for n, c in zip(variable.shape, array.chunks[len(self.chunks.shape) :], strict=True)
        ]
        size = math.prod(array.chunks) * np.dtype(variable.dtype).itemsize + checked().CRC
        for rest in product(*extra):
            place = (*self.chunks.place(number), *rest)
            file = self.path / variable.name / ".".join(["c", *map(str, place)])
            yield (file, size) if sizes else file

    def _remove_leftovers(self) -> None:
        """Remove what processes that were killed were writing; what is young may be someone's still.

        It has the name of one of this store's own files, up to the last dot, and then one that Zarr
        draws; it is a file, neither a link nor beyond one. All else is someone else's.
        """
        own = {self.path: {"zarr"}, self.path / SPEC: {"zarr"}}
        for name in self._own_folders[1:]:
            n_axes = len(self._group[name].shape)
            own[self.path / name] = {"zarr", ".".join(["c", *["*"] * (n_axes - 1)])}
        for folder, stems in own.items():
            for entry in os.scandir(folder):
                found = _LEFTOVER.fullmatch(entry.name)
                if found is None or re.sub(r"\d+", "*", found["stem"]) not in stems:
                    continue
                with suppress(FileNotFoundError):
                    state = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(state.st_mode) and time.time() - state.st_mtime > _LEFTOVER_AGE:
                        os.unlink(entry.path)  # noqa: PTH108

    # -- growing -----------------------------------------------------------------------------------

    def extend(self, spec: SweepSpec, layout: Layout) -> Store:
        """Make room for a spec whose dimensions have grown at their ends, or that derives more.

        Raises
        ------
        SweepError
            If the spec is not such a one.
        """
        with locked(self.path):
            # Another process may have done it meanwhile, or not to the end.
            return Store._open(self.path, growing=True)._extended(spec, layout)

    def check_growth(self, spec: SweepSpec) -> None:
        """Refuse a spec that is neither this store's nor a larger form of it, see `growth.check`."""
        if self.spec_id != spec.id:
            growth.check(self.path, self.chunks.shape, self.spec_data, spec)

    def settle(self) -> None:
        """Once all chunks have what came later, note that they must."""
        if self._added and all(map(self._has_added, range(len(self.chunks)))):
            with locked(self.path):
                now = Store._open(self.path, growing=True)
                if now.spec_id == self.spec_id and now.n_there() == math.prod(self.chunks.shape):
                    note = {**now.attrs[MARK], "added": []}
                    now._group.attrs[MARK] = signed(self.path, note)

    def _extended(self, spec: SweepSpec, layout: Layout) -> Store:
        if self.spec_id == spec.id:
            return Store._open(self.path, growing=False)
        self.check_growth(spec)
        old = self.attrs[MARK]
        more = growth.added(self.path, self.variables, old["coordinates"], spec, layout)
        for variable in more:
            refuse_others(self.path, variable.name)
        arrays: plain.Arrays = {}
        data = spec.encode(arrays)
        # Arrays first, the note on the spec last: cut short, the same call does it again.
        for variable in self.variables:
            self._arrays[variable.name].resize((*spec.shape, *variable.shape))
        for variable in more:
            write_variable(self._group, spec, variable, self.chunks.chunk)
        for name, (dims, values) in coordinates(spec, layout).items():
            write_coordinate(self._group, name, dims, values)
        for digest, array in arrays.items():
            write_plain(self._group[SPEC], digest, array)
        note = dict(old) | {
            "spec": data,
            "spec_id": spec.id,
            "shape": list(spec.shape),
            "variables": noted(layout.variables),
            "added": [*self._added, *(variable.name for variable in more)],
            "coordinates": described(coordinates(spec, layout)),
        }
        self._group.attrs[MARK] = signed(self.path, note)
        return Store._open(self.path, growing=False)


def is_free(path: Path) -> bool:
    """Whether a store can be made there: nothing is, or an empty directory."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def _same(there: npt.NDArray[Any], now: npt.NDArray[Any]) -> bool:
    return bool(np.array_equal(there, now, equal_nan=there.dtype.kind == "f"))


def _flush(file: Path) -> None:
    """See to it that a file, or the names in a directory, are on the disk."""
    is_file = file.is_file()
    if os.name == "nt" and not is_file:
        return
    handle = os.open(file, os.O_RDWR if is_file else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_whole(file: Path, size: int) -> bool:
    """Whether a file has its size, and the checksum at its end fits what is before it."""
    try:
        with files.opened(file) as opened:
            if files.size_of(opened) != size:
                return False
            return bool(checked().is_whole(opened.read(), size))
    except OSError:
        return False


def path_of(store: object) -> Path:
    """Return where a store is; it must be on a file system."""
    path = validate.path("store", store)
    if "://" in str(store):
        msg = f"store must be on a file system that all workers see, got {validate.brief(store)}"
        raise ValueError(msg)
    return path
