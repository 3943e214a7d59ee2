"""Hostile values, which may stand for any argument, and other forms of right ones."""

from __future__ import annotations

import datetime as dt
import enum
import math
import types

import numpy as np


class Duck:
    """Stands for arrays of other libraries: all it knows is how to become one of NumPy's."""

    def __init__(self, array):
        self._array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


class Tensor:
    """Stands for tensors that are exchanged by DLPack and know nothing of NumPy."""

    def __init__(self, array):
        self._array = np.ascontiguousarray(array)

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Own(np.ndarray):
    """A subclass of arrays."""


class Number(enum.IntEnum):
    """An integer by another name."""

    ONE = 1


class Text(str):
    """A subclass of texts."""

    __slots__ = ()


def inside_itself():
    """Return a list that contains itself."""
    made = [1.0]
    made.append(made)
    return made


def matrix(array):
    """Return a np.matrix."""
    return np.asarray(array).view(np.matrix)


WRONG = {
    "None": lambda: None,
    "an object": object,
    "a text": lambda: "abc",
    "a number as text": lambda: "1",
    "an empty text": lambda: "",
    "bytes": lambda: b"abc",
    "a list inside itself": inside_itself,
    "a dict": lambda: {"a": 1},
    "an empty dict": dict,
    "a set": lambda: {1, 2},
    "a generator": lambda: (i for i in (1, 2, 3)),
    "a class": lambda: dict,
    "a module": lambda: math,
    "a function": lambda: lambda *_: 1,
    "a date": lambda: dt.date(2020, 1, 1),
    "a namespace": lambda: types.SimpleNamespace(shape=(2,), dtype=np.float64, ndim=1),
    "NotImplemented": lambda: NotImplemented,
    "Ellipsis": lambda: ...,
    "a slice": lambda: slice(1, 2),
    "a ragged list": lambda: [[1.0, 2.0], [3.0]],
    "a list of None": lambda: [None, None],
    "a list of texts": lambda: ["a", "b"],
    "a tuple of objects": lambda: (object(), object()),
    "an exception": lambda: ValueError("x"),
    "a range": lambda: range(3),
    "a memoryview": lambda: memoryview(b"abcd"),
}
"""What is of a wrong type nearly everywhere."""

NUMBERS = {
    "NaN": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "1e308": lambda: 1e308,
    "-1e308": lambda: -1e308,
    "5e-324": lambda: 5e-324,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "10**30": lambda: 10**30,
    "10**400": lambda: 10**400,
    "-1": lambda: -1,
    "-1.5": lambda: -1.5,
    "0": lambda: 0,
    "0.5": lambda: 0.5,
    "True": lambda: True,
    "complex": lambda: 1 + 2j,
    "complex without imaginary part": lambda: 1 + 0j,
    "a numpy bool": lambda: np.bool_(True),
    "a numpy NaN": lambda: np.float32("nan"),
    "a date of numpy": lambda: np.datetime64("2020-01-01"),
    "an array of no axes": lambda: np.array(1.0),
    "an IntEnum": lambda: Number.ONE,
    "an object array of no axes": lambda: np.array(None),
}
"""Single numbers, right or not."""

ARRAYS = {
    "empty": lambda: np.zeros(0),
    "an empty list": list,
    "an empty tuple": tuple,
    "rows of nothing": lambda: np.zeros((3, 0)),
    "NaN array": lambda: np.full((2, 2), np.nan),
    "inf array": lambda: np.array([1.0, np.inf]),
    "a NaN among numbers": lambda: np.array([1.0, np.nan, 0.5]),
    "huge array": lambda: np.full(3, 1e308),
    "negative array": lambda: -np.ones(3),
    "zeros": lambda: np.zeros((2, 3)),
    "object array": lambda: np.array([1.0, None], dtype=object),
    "object array of numbers": lambda: np.array([1.0, 2.0], dtype=object),
    "string array": lambda: np.array(["1", "2"]),
    "bytes array": lambda: np.array([b"1", b"2"]),
    "complex array": lambda: np.array([1.0 + 1j, 2.0]),
    "bool array": lambda: np.array([True, False]),
    "date array": lambda: np.array(["2020-01-01", "2021-01-01"], dtype="M8[D]"),
    "duration array": lambda: np.array([1, 2], dtype="m8[s]"),
    "structured array": lambda: np.zeros(3, dtype=[("a", float), ("b", int)]),
    "record array": lambda: np.zeros(3, dtype=[("a", float)]).view(np.recarray),
    "masked": lambda: np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False]),
    "masked matrix": lambda: np.ma.masked_array(np.eye(3), mask=np.eye(3, dtype=bool)),
    "masked constant": lambda: np.ma.masked,
    "np.matrix": lambda: matrix([[1.0, 2.0]]),
    "a column": lambda: np.ones((3, 1)),
    "ten axes": lambda: np.ones((1,) * 10 + (2,)),
    "sixty axes": lambda: np.ones((1,) * 60),
    "a long vector": lambda: np.linspace(0.1, 1, 997),
    "big-endian": lambda: np.array([1.0, 2.0], dtype=">f8"),
    "float16": lambda: np.array([0.5, 1.0], dtype=np.float16),
    "longdouble": lambda: np.array([0.5, 1.0], dtype=np.longdouble),
    "longdouble beyond float64": lambda: np.array([np.finfo(np.longdouble).max]),
    "uint64 array": lambda: np.array([2**64 - 1, 1], dtype=np.uint64),
    "huge repeated vector": lambda: np.broadcast_to(0.5, (10**12,)),
    "huge repeated integers": lambda: np.broadcast_to(np.int64(1), (10**12,)),
    "huge repeated runs": lambda: np.broadcast_to(np.eye(3), (10**12, 3, 3)),
    "huge repeated rows": lambda: np.broadcast_to(np.ones((2, 3)), (2**40, 2, 3)),
    "a duck": lambda: Duck([0.5, 1.0]),
    "a duck of texts": lambda: Duck(["a"]),
    "a tensor": lambda: Tensor([0.5, 1.0]),
    "a list of huge integers": lambda: [10**30, 1],
    "a list of bools": lambda: [True, False],
    "a list of lists of lists": lambda: [[[[1.0]]]],
    "a list of arrays": lambda: [np.ones((2, 2)), np.ones(3)],
    "equal numbers": lambda: [1, 1, 1],
    "numbers falling": lambda: [3, 2, 1],
    "a negative stride": lambda: np.arange(1.0, 4.0)[::-1],
    "not aligned": lambda: np.frombuffer(b"\0" * 25, dtype=np.uint8)[1:].view(np.float64),
}
"""Arrays, right or not."""


def bent(baseline):
    """Return forms of a right argument that may no longer be right, by name: wrong shapes and entries."""
    try:
        array = np.asarray(baseline, dtype=np.float64)
    except (TypeError, ValueError):
        return _bent_sequence(baseline)
    return {
        "with an axis in front": array[None].copy,
        "with an axis behind": array[..., None].copy,
        "without its first axis": lambda: array[0].copy() if array.ndim and len(array) else array,
        "transposed": array.T.copy,
        "twice": lambda: np.concatenate([np.atleast_1d(array)] * 2),
        "flat": array.ravel,
        "with a NaN": lambda: _with(array, np.nan),
        "with an inf": lambda: _with(array, np.inf),
        "with 1e308": lambda: _with(array, 1e308),
        "with a minus": lambda: -array,
        "times 1e-300": lambda: array * 1e-300,
        "times 1e150": lambda: array * 1e150,
        "complex of the same shape": lambda: array + 1j,
        "object of the same shape": lambda: array.astype(object),
        "texts of the same shape": lambda: array.astype(str),
        "bools of the same shape": lambda: array.astype(bool),
        "masked of the same shape": lambda: np.ma.masked_array(array, mask=_one_true(array)),
        "repeated for 10**12 runs": lambda: np.broadcast_to(array, (10**12, *array.shape)),
        "repeated for 7 runs": lambda: np.broadcast_to(array, (7, *array.shape)),
        "as texts in lists": lambda: array.astype(str).tolist(),
        "as a set": lambda: set(array.ravel().tolist()),
    }


def _bent_sequence(baseline):
    if type(baseline) not in (list, tuple) or not baseline:
        return {}
    kind = type(baseline)
    first, *rest = baseline
    forms = {
        "one less": lambda: kind(rest),
        "one more": lambda: kind([*baseline, first]),
        "with None in it": lambda: kind([None, *rest]),
        "with an object in it": lambda: kind([object(), *rest]),
        "with a text in it": lambda: kind(["abc", *rest]),
        "with itself in it": lambda: kind([baseline, *rest]),
        "as a generator": lambda: (part for part in baseline),
        "as a dict": lambda: dict(enumerate(baseline)),
        "backwards": lambda: kind(reversed(baseline)),
    }
    for name, make in bent(first).items():
        forms[f"first part {name}"] = lambda make=make: kind([make(), *rest])
    return forms


def _with(array, value):
    changed = np.array(array)
    if changed.size:
        changed.flat[0] = value
    return changed


def _one_true(array):
    mask = np.zeros(array.shape, dtype=bool)
    if mask.size:
        mask.flat[0] = True
    return mask


def same(baseline, *, singles):
    """Return (name, right argument, another form of it) for arrays, numbers, tuples of arrays.

    `singles`: whether float32 means the same as float64.
    """
    if isinstance(baseline, bool) or baseline is None:
        return
    if isinstance(baseline, int):
        yield "numpy integer", baseline, lambda: np.int64(baseline)
        yield "small numpy integer", baseline, lambda: np.int16(baseline)
        return
    if isinstance(baseline, str):
        yield "subclass of texts", baseline, lambda: Text(baseline)
        yield "numpy text", baseline, lambda: np.str_(baseline)
        return
    if isinstance(baseline, float | np.ndarray):
        array = np.asarray(baseline)
        if array.dtype.kind in "fiu":
            for name, make in forms_of(array, singles=singles):
                yield name, array, make
    elif type(baseline) in (list, tuple) and baseline:
        first, *rest = baseline
        kind = type(baseline)
        if isinstance(first, np.ndarray):
            for name, make in forms_of(first, singles=singles):
                yield name, baseline, lambda make=make: kind([make(), *rest])
        if kind is list:
            yield "tuple", baseline, lambda: tuple(baseline)
        else:
            yield "list", baseline, lambda: list(baseline)


def forms_of(array, *, singles):
    """Return (name, function that makes an array of the same numbers in another form)."""
    wide = np.repeat(array[..., None], 2, axis=-1)
    yield "Fortran order", lambda: np.array(array, order="F")
    yield "big-endian", lambda: array.astype(array.dtype.newbyteorder(">"))
    yield "strided", lambda: wide[..., 0]
    yield "read-only", lambda: _read_only(array)
    yield "lists", array.tolist
    yield "masked without masked entries", lambda: np.ma.masked_array(array)
    yield (
        "masked by an array without masked entries",
        lambda: np.ma.masked_array(array, np.zeros(array.shape, bool)),
    )
    yield "subclass", lambda: array.copy().view(Own)
    yield "duck", lambda: Duck(array)
    yield "longdouble", lambda: array.astype(np.longdouble)
    yield "not aligned", lambda: _misaligned(array)
    if array.ndim:
        yield "negative stride", lambda: array[::-1].copy()[::-1]
        yield "memoryview", lambda: memoryview(np.ascontiguousarray(array))
    if array.ndim == 2:
        yield "np.matrix", lambda: matrix(array)
    if (array == np.floor(array)).all():
        yield "int64", lambda: array.astype(np.int64)
    elif singles and array.dtype == np.float64:
        rounded = array.astype(np.float32)
        if (rounded == array).all():
            yield "float32", lambda: rounded


def _read_only(array):
    copied = array.copy()
    copied.flags.writeable = False
    return copied


def _misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    result = raw.view(array.dtype).reshape(array.shape)
    result[...] = array
    return result
