"""Entries of matrices with gaps, and inner products with given matrices."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import npy, tables, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.datasets.kinds import Entries, Measurements
from linnet_fast.datasets.reading import members, parsed
from linnet_fast.datasets.samples import NAMES


def load_entries(source: str | os.PathLike[str]) -> Entries:
    r"""Load some entries of a matrix.

    Parameters
    ----------
    source : path-like
        A ``.csv`` or ``.npy`` file of the matrix, with gaps: NaN, in text also empty fields and NA.
        Or a ``.npz`` file with such a ``matrix``, or with ``rows`` and ``cols``, from 0 on, and
        ``values``; its ``shape``, two integers, is by default as large as these need.

    Returns
    -------
    Entries

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it does not hold numbers of matching shapes, or no entry at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/ratings.csv", "w") as file:
    ...         _ = file.write("5,,3\n4,1,\n")
    ...     entries = load_entries(f"{folder}/ratings.csv")
    >>> entries.rows.tolist(), entries.cols.tolist(), entries.values.tolist()
    ([0, 0, 1, 1], [0, 2, 0, 1], [5.0, 3.0, 4.0, 1.0])
    >>> entries.description
    'ratings.csv: 4 entries of a 2 x 3 matrix'
    """
    path = validate.path("source", source)
    if path.suffix == ".npz":
        found = members(path, (("rows", "cols", "values"), ("matrix",)), optional=("shape",))
    elif path.suffix == ".npy":
        found = {"matrix": np.asarray(parsed(path, npy.read))}
    elif path.suffix == ".csv":
        found = {"matrix": parsed(path, lambda file: tables.read(file).with_gaps())}
    else:
        what = "a matrix with gaps (.csv, .npy, .npz)"
        msg = f"source must be a file of {what}, got {str(source)!r}{_of_samples(source)}"
        raise ValueError(msg)
    if "matrix" in found:
        matrix = found["matrix"]
        if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
            msg = f"matrix must be numbers of shape (out, in), got {matrix.dtype} of {matrix.shape}"
            raise ValueError(msg)
        rows, cols = np.nonzero(~np.isnan(matrix))
        values, shape = matrix[rows, cols], matrix.shape
    else:
        rows, cols = (_of_one_axis(name, found[name], "iu") for name in ("rows", "cols"))
        values = _of_one_axis("values", found["values"], "iuf")
        if not len(rows) == len(cols) == len(values):
            got = f"{len(rows)}, {len(cols)} and {len(values)}"
            msg = f"rows, cols and values must be equally many, got {got}"
            raise ValueError(msg)
        needed = tuple(int(place.max(initial=-1)) + 1 for place in (rows, cols))
        shape = tuple(np.atleast_1d(found.get("shape", needed)).tolist())
    if len(values) == 0:
        msg = f"{path} must hold at least one entry of the matrix, got none"
        raise ValueError(msg)
    numbers = validate.real_array("values", np.ascontiguousarray(values, np.float64))
    try:
        sizes = validate.integers("shape", shape, low=1, high=2**31 - 1)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if len(sizes) != 2:
        msg = f"shape must be two integers, got {sizes}"
        raise ValueError(msg)
    text = f"{path.name}: {len(numbers):,} entries of a {sizes[0]} x {sizes[1]} matrix"
    i, j = (np.asarray(place, np.int64) for place in (rows, cols))
    return Entries(i, j, numbers, (sizes[0], sizes[1]), text)


def load_measurements(source: str | os.PathLike[str]) -> Measurements:
    """Load inner products of an unknown matrix with known ones.

    Parameters
    ----------
    source : path-like
        A ``.npz`` file with ``measurements``, shape (n, out, in), and ``targets``, shape (n,); or, for
        measurements a b^T of rank one, with ``left``, shape (n, out), ``right``, shape (n, in), and
        ``targets``.

    Returns
    -------
    Measurements

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it does not hold numbers of matching shapes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/m.npz", measurements=np.ones((5, 2, 3)), targets=np.ones(5))
    ...     print(load_measurements(f"{folder}/m.npz").description)
    m.npz: 5 measurements of a 2 x 3 matrix
    """
    path = validate.path("source", source)
    if path.suffix != ".npz":
        what = "measurements (.npz)"
        msg = f"source must be a file of {what}, got {str(source)!r}{_of_samples(source)}"
        raise ValueError(msg)
    found = members(path, (("measurements", "targets"), ("left", "right", "targets")))
    targets = _numbers("targets", found.pop("targets"), 1)
    axes = 3 if "measurements" in found else 2
    matrices = tuple(_numbers(name, array, axes) for name, array in found.items())
    for name, array in zip(found, matrices, strict=True):
        if len(array) != len(targets):
            got = f"{len(array)} and {len(targets)}"
            msg = f"{name} and targets must be equally many, got {got}"
            raise ValueError(msg)
    n_out, n_in = matrices[0].shape[1], matrices[-1].shape[-1]
    kind = "measurements" if axes == 3 else "measurements of rank one"
    text = f"{path.name}: {len(targets):,} {kind} of a {n_out} x {n_in} matrix"
    return Measurements(matrices, targets, text)


def _numbers(name: str, array: npt.NDArray[Any], n_axes: int) -> FloatArray:
    """Return finite numbers with so many axes."""
    if array.ndim != n_axes or array.dtype.kind not in "iuf":
        msg = f"{name} must be numbers with {n_axes} axes, got {array.dtype} of {array.shape}"
        raise ValueError(msg)
    return validate.real_array(name, array.astype(np.float64, copy=False))


def _of_one_axis(name: str, array: npt.NDArray[Any], kinds: str) -> npt.NDArray[Any]:
    if array.ndim != 1 or array.dtype.kind not in kinds:
        what = "integers" if kinds == "iu" else "numbers"
        msg = f"{name} must be {what} of shape (n,), got {array.dtype} of {array.shape}"
        raise ValueError(msg)
    return array


def _of_samples(source: object) -> str:
    """Return what to say besides where a name is that of a set of samples."""
    return ", which is a set of samples" if str(source) in NAMES else ""
