"""Images and labels in IDX files, as MNIST has them."""

from __future__ import annotations

import gzip
import math
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, npy


def read(file: BinaryIO, *, packed: bool) -> npt.NDArray[np.uint8]:
    """Return the bytes of an IDX file, packed by gzip or not, in the shape that its header gives."""
    room = npy.Room(files.size_of(file))
    if packed:
        with gzip.open(file) as unpacked:
            return _array(unpacked, room)
    return _array(file, room)


def _array(stream: BinaryIO | gzip.GzipFile, room: npy.Room) -> npt.NDArray[np.uint8]:
    begin = stream.read(4)
    if begin[:3] != b"\x00\x00\x08" or not 1 <= begin[3] <= 3:
        msg = "it is no IDX file of unsigned bytes"
        raise ValueError(msg)
    sizes = stream.read(4 * begin[3])
    shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4)]
    n_bytes = math.prod(shape)
    room.take("the array in it", n_bytes)
    content = stream.read(n_bytes + 1)
    if len(sizes) != 4 * begin[3] or len(content) != n_bytes:
        msg = f"it is damaged: shape {tuple(shape)} does not fit its bytes"
        raise ValueError(msg)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
