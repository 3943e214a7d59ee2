"""Samples with targets or classes: scikit-learn's sets by name, or arrays from files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, tables, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.datasets.kinds import Dataset
from linnet_fast.datasets.reading import SUFFIXES, members, parsed, read

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


def load(
    source: str | os.PathLike[str],
    targets_file: str | os.PathLike[str] | None = None,
    *,
    labels_from: str | os.PathLike[str] | None = None,
    targets_from: str | Sequence[str] | None = None,
    targets: str = "auto",
    standardize: bool = False,
) -> Dataset:
    """Load inputs and targets.

    Parameters
    ----------
    source : str or path-like
        One of `NAMES`; a ``.npz`` file with arrays ``X`` and ``Y``; or, with `targets_file` or
        `labels_from`, the ``.npy`` or ``.csv`` file of the inputs.
    targets_file : path-like, optional
        The ``.npy`` or ``.csv`` file of the targets, with as many rows.
    labels_from : str or path-like, optional
        In place of targets, where the class of each sample is: another ``.npy`` or ``.csv`` file;
        the name, or the number from 1 on, of a column of a ``.csv`` file, whose other columns are
        the inputs; or the name of an array of a ``.npz`` file.
    targets_from : str or sequence of str, optional
        Which columns of a ``.csv`` file are the targets, all others being the inputs: names, or numbers
        from 1 on; in one text separated by commas.
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
    if labels_from is not None and targets_from is not None:
        msg = "labels_from must be left out where targets_from is given, got both"
        raise ValueError(msg)
    if labels_from is not None and targets == "values":
        msg = "targets must be classes where labels_from is given, got 'values'"
        raise ValueError(msg)
    standardize = validate.flag("standardize", standardize)
    note = ""
    if labels_from is not None:
        name, targets = Path(source).name, "classes"
        x, y = _labelled(path, labels_from, targets_file)
    elif targets_from is not None:
        name = Path(source).name
        x, y = _columns_from(path, targets_from, targets_file)
    elif targets_file is not None:
        of_targets = validate.path("targets_file", targets_file)
        x, y = read(path, "source"), read(of_targets, "targets_file")
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


def _unknown(source: str) -> str:
    near = difflib.get_close_matches(source, NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if Path(source).suffix in (".npy", ".csv"):
        hint = (
            "; a .npy or .csv file of inputs needs another one of targets, labels_from (a column of "
            "a .csv, or a file) or targets_from (columns of a .csv)"
        )
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


def _read_npz(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    x, y = members(path, (("X", "Y"), ("X", "y"), ("x", "y"))).values()
    return x, y


def _labelled(
    path: Path, labels: str | os.PathLike[str], targets_file: object
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return inputs and the classes of samples, from wherever these are."""
    if targets_file is not None:
        msg = "labels_from must be left out where there is a targets_file, got both"
        raise ValueError(msg)
    file = validate.path("labels_from", labels)
    if file.suffix in SUFFIXES:
        return read(path, "source"), read(file, "labels_from")
    name = str(labels)
    if path.suffix == ".csv":
        return _split(path, [name])
    if path.suffix == ".npz":
        found = members(path, (("X", name), ("x", name)))
        return found[next(iter(found))], found[name]
    msg = (
        "labels_from must be a .npy or .csv file, or a column of a .csv or an array of a .npz source, "
        f"got {name!r} for {str(path)!r}"
    )
    raise ValueError(msg)


def _columns_from(
    path: Path, columns: object, targets_file: object
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return inputs and targets, which are columns of one file."""
    if targets_file is not None:
        msg = "targets_from must be left out where there is a targets_file, got both"
        raise ValueError(msg)
    if path.suffix != ".csv":
        msg = f"targets_from must be left out of all but .csv files, got {str(path)!r}"
        raise ValueError(msg)
    names = (
        columns.split(",") if isinstance(columns, str) else validate.texts("targets_from", columns)
    )
    return _split(path, [name.strip() for name in names])


def _split(path: Path, names: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return what is in the other columns of a .csv file, and in these."""

    def parse(file: BinaryIO) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        table = tables.read(file)
        places = [table.place(name) for name in names]
        if not places or len(set(places)) < len(places):
            msg = f"columns must be named once each, got {', '.join(names)}"
            raise ValueError(msg)
        if len(places) == table.n_columns:
            listed = f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"
            msg = f"it must have inputs beside the {listed}, got no other column"
            raise ValueError(msg)
        inputs, targets = table.split(places)
        return inputs.array(), targets.array()

    both: tuple[npt.NDArray[Any], npt.NDArray[Any]] = parsed(path, parse)
    return both


def classes_of(labels: npt.NDArray[np.uint8]) -> tuple[FloatArray, str]:
    """Return a column for each class, and what they are."""
    return _targets(labels.astype(np.int64), "classes")
