"""Data to train on: scikit-learn's sets by name, or arrays from .npz, .npy and .csv files."""

from __future__ import annotations

import csv
import difflib
import gzip
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, npy, validate
from linnet_fast._base.validate import FloatArray

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "digits": "pixels divided by 16",
        "iris": "features standardised",
        "wine": "features standardised",
        "breast_cancer": "features standardised",
        "diabetes": "features and target standardised",
    }
)
"""Name of each scikit-learn set -> what `load` does to its numbers."""

TARGETS = ("auto", "classes", "values")
"""How targets can be read: decide, class labels, real numbers."""

_MAX_CLASSES = 1000
_DELIMITERS = ("\t", ";", ",", None)  # None: any white space


class Dataset(NamedTuple):
    """Inputs and targets, one sample per row, and one line on what they are."""

    X: FloatArray
    """Inputs, shape (n, in)."""
    Y: FloatArray
    """Targets, shape (n, out)."""
    description: str
    """One line on size and preparation."""


def load(
    source: str | os.PathLike[str],
    targets_file: str | os.PathLike[str] | None = None,
    *,
    targets: str = "auto",
    standardize: bool = False,
) -> Dataset:
    """Load inputs and targets.

    Parameters
    ----------
    source : str or path-like
        One of `NAMES`; a ``.npz`` file with arrays ``X`` and ``Y``; or, with `targets_file`, the
        ``.npy`` or ``.csv`` file of the inputs.
    targets_file : path-like, optional
        The ``.npy`` or ``.csv`` file of the targets, with as many rows.
    targets : {"auto", "classes", "values"}, default "auto"
        What a single column of targets is. Class labels become one column of 0 and 1 each, in
        sorted order ("one-hot"). By default text, truth values and integers are labels, unless
        there are more than 1000 or half as many as samples.
    standardize : bool, default False
        Whether to bring each input to mean 0 and variance 1. Constant inputs become 0.

    Returns
    -------
    Dataset
        X and Y of float64, and a description. Not centred otherwise: ``SquaredLoss.from_data`` does
        that.

    Raises
    ------
    ImportError
        If scikit-learn is needed and not installed.
    OSError
        If a file cannot be opened.
    ValueError
        If a name or suffix is unknown, or a file does not hold numbers of matching shapes.

    Notes
    -----
    A ``.csv`` file has one sample per line, separated by commas, semicolons, tabs or spaces; a first
    line of names is passed over. Only regular files are read. Files with pickled objects are refused,
    and so are those that would be unpacked to more than 64 MiB and 100 times their size.

    Examples
    --------
    >>> X, Y, description = load("iris")
    >>> X.shape, Y.shape
    ((150, 4), (150, 3))
    >>> description
    'iris: 150 samples, 4 inputs -> 3 classes (one-hot), features standardised'
    """
    path = validate.path("source", source)
    validate.choice("targets", targets, TARGETS)
    standardize = validate.flag("standardize", standardize)
    note = ""
    if targets_file is not None:
        of_targets = validate.path("targets_file", targets_file)
        x, y = _read(path, "source"), _read(of_targets, "targets_file")
        name = Path(source).name
    elif Path(source).suffix == ".npz":
        x, y = _read_npz(Path(source))
        name = Path(source).name
    elif str(source) in NAMES:
        name, note = str(source), NAMES[str(source)]
        x, y = _bundled(name)
    else:
        raise ValueError(_unknown(str(source)))

    inputs = _columns("X", x)
    outputs, kind = _targets(y, targets)
    if len(inputs) != len(outputs):
        msg = f"X and Y must have equally many rows, got {len(inputs)} and {len(outputs)}"
        raise ValueError(msg)
    if standardize and "features" not in note:
        inputs = _standardized(inputs)
        note = f"{note}, inputs standardised" if note else "inputs standardised"
    n_samples, n_inputs = inputs.shape
    parts = f"{name}: {n_samples:,} samples, {n_inputs} inputs -> {kind}"
    return Dataset(inputs, outputs, f"{parts}, {note}" if note else parts)


def split(data: Dataset, fraction: float, *, rng: int = 0) -> tuple[Dataset, Dataset]:
    """Split a data set into one to train on and one that is held out.

    Parameters
    ----------
    data : Dataset
        As `load` gives it. What it was standardised by is that of all samples.
    fraction : float
        Of the samples that are held out, between 0 and 1; rounded to whole samples, at least one on
        either side.
    rng : int, default 0
        Which samples are chosen, from 0 to 2**128 - 1: the same ones on every machine.

    Returns
    -------
    training, held_out : Dataset
        Samples are in the order they had.

    Raises
    ------
    TypeError
        If `data` is no data set, `fraction` no number or `rng` no integer.
    ValueError
        If `fraction` or `rng` is out of range, or there are fewer than two samples.

    Examples
    --------
    >>> training, held_out = split(load("iris"), 0.2)
    >>> training.X.shape, held_out.X.shape
    ((120, 4), (30, 4))
    """
    validate.instance("data", data, Dataset)
    share = validate.fraction("fraction", fraction)
    key = validate.integer("rng", rng, low=0, high=2**128 - 1)
    n = len(data.X)
    if n < 2:
        msg = f"data must have at least two samples to be split, got {n}"
        raise ValueError(msg)
    n_out = min(max(round(share * n), 1), n - 1)
    # Words of the generator itself: permutations may be others in a later version of NumPy.
    order = np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")
    is_out = np.zeros(n, bool)
    is_out[order[:n_out]] = True
    parts = (
        (~is_out, f"{data.description}, {n_out:,} of them held out"),
        (is_out, f"{n_out:,} samples held out of {data.description}"),
    )
    training, held_out = (Dataset(data.X[which], data.Y[which], text) for which, text in parts)
    return training, held_out


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
        return _read(path)

    def parse(file: BinaryIO) -> npt.NDArray[Any]:
        archive = npy.Archive(file)
        if name in archive.names or len(archive.names) == 1:
            return archive[name if name in archive.names else archive.names[0]]
        msg = f"it must hold an array {name}, got {', '.join(archive.names) or 'none'}"
        raise ValueError(msg)

    return np.asarray(_parsed(path, parse))


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
    y, what = _targets(labels.astype(np.int64), "classes")
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
    y, what = _targets(records[:, 0].astype(np.int64), "classes")
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
    """Return the bytes of an IDX file as an array of the shape that its header gives."""

    def parse(file: BinaryIO) -> npt.NDArray[np.uint8]:
        room = npy.Room(files.size_of(file))
        if path.suffix == ".gz":
            with gzip.open(file) as unpacked:
                return _idx(unpacked, room)
        return _idx(file, room)

    values: npt.NDArray[np.uint8] = _parsed(path, parse)
    return values


def _idx(stream: BinaryIO | gzip.GzipFile, room: npy.Room) -> npt.NDArray[np.uint8]:
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


def _unknown(source: str) -> str:
    near = difflib.get_close_matches(source, NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if Path(source).suffix in (".npy", ".csv"):
        hint = "; a .npy or .csv file of inputs needs another one of targets"
    return f"source must be one of {', '.join(NAMES)} or a .npz file, got {source!r}{hint}"


def _bundled(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return inputs and targets of a scikit-learn set, brought to numbers of order one."""
    sets = files.optional("sklearn.datasets", "data")
    x, y = getattr(sets, f"load_{name}")(return_X_y=True)
    if name == "digits":
        return x / 16.0, y.astype(np.int64)
    if name == "diabetes":
        return _standardized(x), _standardized(y[:, None])
    return _standardized(x), y.astype(np.int64)


def _standardized(x: FloatArray) -> FloatArray:
    x = np.ascontiguousarray(x)  # sums go along memory
    centred = x - x.mean(axis=0)
    deviation = np.sqrt(np.mean(centred**2, axis=0))
    # Rounding leaves a constant column with a deviation of about 1e-16 times its value.
    constant = deviation <= 1e-12 * np.abs(x).max(axis=0)
    scaled: FloatArray = np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))
    return scaled


def _columns(name: str, array: npt.NDArray[Any]) -> FloatArray:
    """Return finite numbers of shape (n, columns)."""
    if array.dtype.kind in "US":
        msg = f"{name} must be made of numbers, got text such as {str(array.flat[0])!r}"
        raise ValueError(msg)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        msg = f"{name} must have shape (n, columns), got {array.shape}; flatten each sample"
        raise ValueError(msg)
    try:
        return np.asarray(validate.real_array(name, array), dtype=np.float64)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _targets(array: npt.NDArray[Any], targets: str) -> tuple[FloatArray, str]:
    """Return targets of shape (n, out) and what they are."""
    single = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    if targets == "classes" and not single:
        msg = f"Y must be a single column to be class labels, got shape {array.shape}"
        raise ValueError(msg)
    if array.size > 0 and single and targets != "values":
        labels, index = np.unique(array.ravel(), return_inverse=True)
        few = len(labels) <= min(_MAX_CLASSES, max(2, len(index) // 2))
        discrete = array.dtype.kind in "USb" or (array.dtype.kind in "iu" and few)
        if targets == "classes" or discrete:
            if len(labels) > _MAX_CLASSES or len(labels) < 2:
                msg = f"Y must have 2 to {_MAX_CLASSES} classes, got {len(labels)}"
                raise ValueError(msg)
            return np.eye(len(labels))[index], f"{len(labels)} classes (one-hot)"
    values = _columns("Y", array)
    return values, f"{values.shape[1]} target{'s' if values.shape[1] != 1 else ''}"


def _parsed(path: Path, parse: Callable[[BinaryIO], Any]) -> Any:
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


def _read_npz(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    def parse(file: BinaryIO) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        archive = npy.Archive(file)
        for names in (("X", "Y"), ("X", "y"), ("x", "y")):
            if set(names) <= set(archive.names):
                return archive[names[0]], archive[names[1]]
        msg = f"it must hold arrays X and Y, got {', '.join(archive.names) or 'none'}"
        raise ValueError(msg)

    result: tuple[npt.NDArray[Any], npt.NDArray[Any]] = _parsed(path, parse)
    return result


def _read(path: Path, name: str = "file") -> npt.NDArray[Any]:
    if path.suffix == ".npy":
        return np.asarray(_parsed(path, npy.read))
    if path.suffix == ".csv":
        return np.asarray(_parsed(path, _read_csv))
    msg = f"{name} must end in .npy or .csv, got {str(path)!r}"
    raise ValueError(msg)


def _read_csv(file: BinaryIO) -> npt.NDArray[Any]:
    """Return integers if all are, else floats, else the text of a single column."""
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"it must be UTF-8 text, got byte {error.object[error.start]:#x} at {error.start}"
        raise ValueError(msg) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        msg = "it is empty"
        raise ValueError(msg)
    ends = lines[0] + lines[-1]
    delimiter = next(d for d in _DELIMITERS if d is None or d in ends)
    if delimiter is None:
        rows = [line.split() for line in lines]
        if not all(map(_is_number, rows[-1])):
            rows = [[line.strip()] for line in lines]  # labels may have spaces inside
    else:
        rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter)]
    first_line = 1
    if _has_names(rows):
        rows, first_line = rows[1:], 2
    for number, row in enumerate(rows, start=first_line):
        if len(row) != len(rows[0]):
            msg = f"row {number} has {len(row)} columns, the first has {len(rows[0])}"
            raise ValueError(msg)
    for kind in (np.int64, np.float64):
        try:
            return np.array(rows, dtype=kind)
        except (ValueError, OverflowError):
            continue
    if len(rows[0]) == 1:
        return np.array([row[0] for row in rows])
    bad = next(
        (number, field)
        for number, row in enumerate(rows, start=first_line)
        for field in row
        if not _is_number(field)
    )
    msg = f"row {bad[0]} holds {bad[1]!r}, which is not a number"
    raise ValueError(msg)


def _has_names(rows: list[list[str]]) -> bool:
    """Return whether the first row holds the names of the columns."""
    first, *others = rows
    if not others or any(map(_is_number, first)):
        return False
    if len(first) > 1 or _is_number(others[0][0]):
        return True
    # One column of labels: a name is what occurs once where every label occurs more often.
    counts = Counter(row[0] for row in others)
    return first[0] not in counts and min(counts.values()) > 1


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which Python allows and NumPy does not
