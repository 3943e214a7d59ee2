"""Arrays and tables of other libraries, none of which is imported, as NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray

_TABLES = frozenset({"pandas", "polars"})
_NUMBERS = (bool, int, float, np.bool_, np.number)


def data(name: str, value: object) -> FloatArray:
    """Return data as `validate.real_array` does; columns of tables may differ in kind, and be of truth values.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like, or a table or column of pandas or polars
        Numbers or truth values.
    """
    array = untabled(name, value)
    if getattr(array, "dtype", None) == np.bool_:
        array = np.asarray(array, np.float64)
    return validate.real_array(name, array)


def untabled(name: str, value: object) -> Any:
    """Return what is in a table or a column of pandas or polars, other things as they are.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        Of anything.
    """
    if type(value).__module__.partition(".")[0] not in _TABLES:
        return value
    array = np.asarray(value)
    if array.dtype != object:
        return array
    entries = array.ravel().tolist()
    if all(isinstance(entry, str) for entry in entries):
        return array.astype(str)
    for place, entry in enumerate(entries):
        if not isinstance(entry, _NUMBERS):
            msg = f"{name} must be made of numbers, got {validate.brief(entry)}{_where(value, array, place)}"
            raise TypeError(msg)
    return array.astype(np.float64)


def _where(table: object, array: npt.NDArray[Any], place: int) -> str:
    columns = getattr(table, "columns", None)
    if columns is None:
        return f" in row {place}"
    row, column = np.unravel_index(place, array.shape)
    return f" in row {row} of the column {columns[int(column)]!r}"


def regular(name: str, value: object) -> npt.NDArray[Any]:
    """Return data of any kind as an array; refuse what is none.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like, or a table or column of pandas or polars
        Numbers, truth values, texts.
    """
    if isinstance(value, np.ma.MaskedArray):
        msg = f"{name} must be a plain array, got a masked array"
        raise TypeError(msg)
    try:
        return np.asarray(untabled(name, value))
    except (TypeError, ValueError, NotImplementedError, BufferError):
        msg = f"{name} must be a regular array, got {validate.shown(value)}"
        raise TypeError(msg) from None


def signs(name: str, value: object, labels: tuple[Any, Any]) -> FloatArray:
    """Return -1 where an entry is the first label, and 1 where it is the second.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like
        Numbers, truth values or texts.
    labels : tuple
        The two there are.
    """
    array = regular(name, value)
    if array.dtype.kind not in "iubfU":
        msg = f"{name} must be made of numbers, truth values or texts, got dtype {array.dtype}"
        raise TypeError(msg)
    is_first, is_second = (np.asarray(array == label) for label in labels)
    if is_first.shape != array.shape or is_second.shape != array.shape:
        # Of another kind: nothing is one of them.
        is_first = is_second = np.zeros(array.shape, bool)
    validate.refuse(
        name, f"made of labels {labels[0]!r} and {labels[1]!r}", array, ~(is_first ^ is_second)
    )
    return np.where(is_second, 1.0, -1.0)
