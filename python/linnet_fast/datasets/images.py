"""Images that are not handed out with any package, from their own files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, idx, validate
from linnet_fast.datasets.kinds import Dataset
from linnet_fast.datasets.reading import parsed
from linnet_fast.datasets.samples import classes_of


def load_mnist(folder: str | os.PathLike[str]) -> Dataset:
    """Load MNIST's training images from their IDX files.

    Parameters
    ----------
    folder : path-like
        Holds ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, also with ``.gz``, also
        with a dot in place of the last hyphen.

    Returns
    -------
    Dataset
        Pixels from 0 to 1, shape (60000, 784), and classes one-hot.

    Raises
    ------
    OSError
        If a file is missing.
    ValueError
        If a file is not what its header says.
    """
    where = validate.path("folder", folder)
    images = _read_idx(_find(where, "train-images", "idx3-ubyte"))
    labels = _read_idx(_find(where, "train-labels", "idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        msg = f"{folder} must hold images and as many labels, got {images.shape}, {labels.shape}"
        raise ValueError(msg)
    x = images.reshape(len(images), -1) / 255.0
    y, what = classes_of(labels)
    return Dataset(x, y, f"MNIST: {len(x):,} images, {x.shape[1]} pixels -> {what}")


def load_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """Load CIFAR-10's training images from its binary version.

    Parameters
    ----------
    folder : path-like
        Holds ``data_batch_1.bin`` ... ``data_batch_5.bin``. (The Python version is pickled, and not
        read.)

    Returns
    -------
    Dataset
        Pixels from 0 to 1, shape (50000, 3072), and classes one-hot.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a file is not made of whole records.
    """
    batches = sorted(validate.path("folder", folder).glob("data_batch_*.bin"))
    if not batches:
        msg = f"{folder} holds no data_batch_*.bin, the binary version of CIFAR-10"
        raise FileNotFoundError(msg)
    record = 1 + 3072
    parts = []
    for file in batches:
        raw = np.frombuffer(files.content(file), dtype=np.uint8)
        if raw.size == 0 or raw.size % record or raw[::record].max() > 9:
            msg = (
                f"{file} must be made of records of {record} bytes that begin with a class 0 ... 9"
            )
            raise ValueError(msg)
        parts.append(raw.reshape(-1, record))
    records = np.concatenate(parts)
    y, what = classes_of(records[:, 0])
    x = records[:, 1:] / 255.0
    return Dataset(x, y, f"CIFAR-10: {len(x):,} images, {x.shape[1]} pixels -> {what}")


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{sign}{kind}{end}" for sign in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    msg = f"{folder} holds none of {', '.join(names)}"
    raise FileNotFoundError(msg)


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    values: npt.NDArray[np.uint8] = parsed(
        path, lambda file: idx.read(file, packed=path.suffix == ".gz")
    )
    return values
