"""A store's files as Zarr reads them: one that is damaged is named, with what to do about it."""

from __future__ import annotations

import math
import stat
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from zarr.storage import LocalStore

from linnet_fast.sweeps.form import SweepError, note_of

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

CRC = 4
"""Bytes of the checksum at the end of every file of a chunk."""


def is_whole(data: bytes, size: int | None = None) -> bool:
    """Whether the bytes of a chunk have their size and fit the checksum at their end."""
    if len(data) < CRC or (size is not None and len(data) != size):
        return False
    return int(google_crc32c.value(data[:-CRC])) == int.from_bytes(data[-CRC:], "little")


class CheckedStore(LocalStore):
    """A store for reading. A chunk that is not there yet is none; one whose status is there is lost."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return a file, or None; SweepError if it is damaged."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG((self.root / key).stat().st_mode):
                raise self._damage(key, "it is no regular file")
        data = await super().get(key, prototype, byte_range)
        if data is None and self._is_due(key):
            # It may have come in between: the status is written after all else.
            data = await super().get(key, prototype, byte_range)
        return self._checked(key, data)

    def _checked(self, key: str, data: Buffer | None) -> Buffer | None:
        array, _, name = key.rpartition("/")
        if name.partition(".")[0] != "c":
            return data
        if data is None:
            if self._is_due(key):
                raise self._damage(key, "it is missing")
            return None
        size = self._sizes.get(array)
        if not is_whole(data.to_bytes(), size):
            raise self._damage(key, "its checksum does not fit")
        return data

    def _damage(self, key: str, what: str) -> SweepError:
        remedy = f"move {self.root} away to begin anew"
        if key.rpartition("/")[0] in self._sizes:
            remedy = f"the same sweep into {self.root} trains the runs of this chunk anew"
        return SweepError(f"{self.root / key} is damaged: {what}; {remedy}")

    def _is_due(self, key: str) -> bool:
        """Whether a chunk of a variable must be there, for that of the status is."""
        array, _, name = key.rpartition("/")
        if array not in self._sizes or array in ("status", *self._note.get("added", ())):
            return False
        status = name.split(".")[: self._n_axes + 1]
        return (self.root / "status" / ".".join(status)).exists()

    @cached_property
    def _note(self) -> Any:
        return note_of(self.root)

    @cached_property
    def _n_axes(self) -> int:
        return len(self._note["chunk"])

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes of each file of a variable."""
        return {
            v["name"]: CRC
            + math.prod((*self._note["chunk"], *(max(n, 1) for n in v["shape"])))
            * np.dtype(v["dtype"]).itemsize
            for v in self._note["variables"]
        }
