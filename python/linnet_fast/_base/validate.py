"""Checks of arguments, shared by every module: one place, one form of message.

Each function takes the argument's name first and either returns the converted value or raises
before any work is done: ``TypeError`` for a wrong type, ``ValueError`` for a wrong value, shape or
range. Messages read "argument, expected, got".
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
WeightArray: TypeAlias = npt.NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, ...]

_T = TypeVar("_T")


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """Return `value`, which must be an instance of `kind`."""
    if not isinstance(value, kind):
        msg = f"{name} must be a {kind.__name__}, got {type(value).__name__}"
        raise TypeError(msg)
    return value


def integer(name: str, value: object, *, low: int, high: int) -> int:
    """Return `value` as an int in [low, high]; bools, floats and strings are a TypeError."""
    msg = f"{name} must be an integer, got {type(value).__name__} {value!r}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(msg)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(msg) from None
    if not low <= number <= high:
        expected = f">= {low}" if number < low else f"<= {high}"
        msg = f"{name} must be {expected}, got {number}"
        raise ValueError(msg)
    return number


def real(
    name: str, value: object, *, above: float | None = None, at_least: float | None = None
) -> float:
    """Return `value`, a single finite real number, as a float."""
    array = real_array(name, value, above=above, at_least=at_least)  # type: ignore[arg-type]
    if array.ndim:
        msg = f"{name} must be a single number, got an array of shape {array.shape}"
        raise TypeError(msg)
    return float(array)


def fraction(name: str, value: object) -> float:
    """Return `value`, a single number in (0, 1), as a float."""
    number = real(name, value)
    if not 0 < number < 1:
        msg = f"{name} must be in (0, 1), got {number:g}"
        raise ValueError(msg)
    return number


def integers(name: str, values: object, *, low: int, high: int) -> tuple[int, ...]:
    """Return a sequence of integers as a tuple; a bare number or a string is a TypeError."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        msg = f"{name} must be a sequence of integers, got {type(values).__name__} {values!r}"
        raise TypeError(msg)
    return tuple(integer(f"{name}[{i}]", v, low=low, high=high) for i, v in enumerate(values))


def choice(name: str, value: object, known: Iterable[str]) -> str:
    """Return `value`, one of the `known` names; otherwise a ValueError with the near matches."""
    names = tuple(known)
    if not isinstance(value, str):
        msg = f"{name} must be a string, one of {', '.join(names)}; got {type(value).__name__}"
        raise TypeError(msg)
    if value not in names:
        near = difflib.get_close_matches(value, names, n=2)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        msg = f"{name} must be one of {', '.join(names)}; got {value!r}{hint}"
        raise ValueError(msg)
    return value


def nested_text(name: str, text: str, *, most: int = 64) -> None:
    """Refuse a text whose brackets are nested so deeply that parsers, which recurse, would fail."""
    depth = 0
    for sign in re.finditer(r"[\[({\])}]", text):
        depth = depth + 1 if sign[0] in "[({" else max(depth - 1, 0)
        if depth > most:
            msg = f"{name} must be nested at most {most} deep, got more"
            raise ValueError(msg)


def float_dtype(name: str, value: npt.DTypeLike | None) -> np.dtype[Any]:
    """Return the dtype float64 or float32; anything else is a ValueError."""
    dtype = np.dtype(value)
    if value is None or dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        msg = f"{name} must be float64 or float32, got {value!r}"
        raise ValueError(msg)
    return dtype


def unbroadcast(array: npt.NDArray[Any], *, keep: int = 0) -> npt.NDArray[Any]:
    """Return a view with each repeated (stride 0) axis but the last `keep` cut to length 1.

    That is what is really in memory, so work on it is not repeated.
    """
    lead = array.strides[: array.ndim - keep]
    return array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in lead)]


def real_array(
    name: str,
    value: npt.ArrayLike,
    *,
    above: float | None = None,
    at_least: float | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[Any]:
    """Return `value` as a read-only view of finite real numbers, not copied if need not be.

    This is where arrays are brought into one order, C's, aligned and of this machine's bytes: sums
    go along memory, and bits must not depend on how a caller keeps his numbers. Axes repeated by
    broadcasting stay repeated by strides, also when the dtype has to change. Arrays with an axis of
    length 0 are refused.
    """
    if isinstance(value, np.ma.MaskedArray):
        msg = f"{name} must be a plain array, got a masked array; fill or drop the masked entries"
        raise TypeError(msg)
    try:
        array = np.asarray(value)
    except ValueError as error:
        msg = f"{name} must be a real number or a regular array of them: {error}"
        raise ValueError(msg) from error
    if array.dtype.kind not in "fiu":
        got = f"dtype {array.dtype}" if array.dtype != object else type(value).__name__
        msg = f"{name} must be a real number or an array of them, got {got}"
        raise TypeError(msg)
    if array.size == 0:
        msg = f"{name} must not be empty, got shape {array.shape}"
        raise ValueError(msg)
    stored = unbroadcast(array)
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
        stored = np.require(stored, dtype, ["C", "A"])
    refuse(name, "finite", stored, ~np.isfinite(stored))
    if above is not None:
        refuse(name, f"> {above:g}", stored, ~(stored > above))
    if at_least is not None:
        refuse(name, f">= {at_least:g}", stored, ~(stored >= at_least))
    return np.broadcast_to(stored, array.shape)  # read-only, and no copy


def refuse(name: str, expected: str, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_]) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" at index {index}" if index else ""
        msg = f"{name} must be {expected}, got {array[index]}{where}"
        raise ValueError(msg)


def broadcast_runs(**shapes: Shape) -> Shape:
    """Return the common shape of the run axes of several arguments, given by name."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        msg = f"run axes must broadcast with each other, got {listed}"
        raise ValueError(msg) from None


def fits_batch(name: str, shape: Shape, batch_shape: Shape) -> None:
    """Refuse run axes that do not broadcast to `batch_shape`."""
    try:
        fits = np.broadcast_shapes(shape, batch_shape) == batch_shape
    except ValueError:
        fits = False
    if not fits:
        msg = f"{name} must have run axes that broadcast to batch_shape {batch_shape}, got {shape}"
        raise ValueError(msg)


def weights(
    name: str,
    values: object,
    shapes: Sequence[Shape],
    *,
    dtype: npt.DTypeLike | None = None,
) -> tuple[WeightArray, ...]:
    """Return one finite array per layer, read-only views of shapes ``(*run, *shapes[l])``.

    All get the same dtype: `dtype`, or when it is None float32 if every array is float32, else
    float64.
    """
    if not isinstance(values, (tuple, list)):
        msg = f"{name} must be a tuple of {len(shapes)} arrays, got {type(values).__name__}"
        raise TypeError(msg)
    if len(values) != len(shapes):
        msg = f"{name} must have {len(shapes)} arrays, one per layer, got {len(values)}"
        raise ValueError(msg)
    if dtype is None:
        single = all(getattr(value, "dtype", None) == np.float32 for value in values)
        dtype = np.float32 if single else np.float64
    arrays = tuple(
        real_array(f"{name}[{layer}]", value, dtype=float_dtype("dtype", dtype))
        for layer, value in enumerate(values)
    )
    for layer, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if array.shape[max(array.ndim - len(shape), 0) :] != shape:
            inner = ", ".join(map(str, shape))
            expected = str(shape) if array.ndim <= len(shape) else f"(*run, {inner})"
            msg = f"{name}[{layer}] must have shape {expected}, got {array.shape}"
            raise ValueError(msg)
    broadcast_runs(
        **{
            f"{name}[{i}]": array.shape[: array.ndim - len(shape)]
            for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
        }
    )
    return arrays


def labelled(X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return samples ``(*run, n, in)`` and their labels ``(*run, n)``, 1 and -1, as views."""
    x, labels = real_array("X", X), real_array("y", y)
    if x.ndim < 2:
        msg = f"X must have shape (*run, n, in), got {x.shape}"
        raise ValueError(msg)
    if labels.ndim < 1 or labels.shape[-1] != x.shape[-2]:
        msg = f"y must have shape (*run, {x.shape[-2]}), one label per row of X, got {labels.shape}"
        raise ValueError(msg)
    refuse("y", "made of labels 1 and -1", labels, np.abs(labels) != 1)
    return x, labels


def products(value: npt.ArrayLike, shape: Shape, runs: Shape) -> npt.NDArray[Any]:
    """Return end-to-end matrices of shape ``(*batch, *shape)``, finite or not; batch fits `runs`."""
    matrix = np.asarray(value)
    if matrix.dtype.kind not in "fiu":
        msg = f"product must be an array of real numbers, got dtype {matrix.dtype}"
        raise TypeError(msg)
    if matrix.shape[-2:] != shape:
        msg = f"product must have shape (*batch, {shape[0]}, {shape[1]}), got {matrix.shape}"
        raise ValueError(msg)
    broadcast_runs(product=matrix.shape[:-2], loss=runs)
    return matrix


def exact(name: str, array: npt.NDArray[Any], shape: Shape, dtype: npt.DTypeLike) -> None:
    """Refuse an array of another shape or dtype."""
    if array.shape != shape or array.dtype != dtype:
        expected = f"{np.dtype(dtype)} of shape {shape}"
        msg = f"{name} must be {expected}, got {array.dtype} of shape {array.shape}"
        raise ValueError(msg)


def unit_vectors(name: str, vectors: FloatArray) -> FloatArray:
    """Return vectors divided by their norms, which must not be 0."""
    size = np.abs(vectors).max(axis=-1, keepdims=True)
    refuse(f"largest entry of {name}", "> 0", size[..., 0], size[..., 0] == 0)
    scaled = vectors / size
    scale = np.linalg.norm(scaled, axis=-1, keepdims=True)
    # Once of norm 1 to rounding they stay as they are, also when a file is read.
    is_unit = np.abs(size * scale - 1) <= 4 * np.finfo(np.float64).eps
    unit: FloatArray = np.where(is_unit, vectors, scaled / scale)
    unit.flags.writeable = False
    return unit


def over_runs(array: npt.NDArray[Any], runs: Shape, n_inner: int) -> npt.NDArray[Any]:
    """Return a view with all run axes and, at most copied, inner axes that lie side by side."""
    inner = array.shape[array.ndim - n_inner :]
    side_by_side = [array.itemsize * math.prod(inner[axis + 1 :]) for axis in range(n_inner)]
    fits = all(stride % array.itemsize == 0 for stride in array.strides) and all(
        extent == 1 or stride == wanted
        for extent, stride, wanted in zip(
            inner, array.strides[array.ndim - n_inner :], side_by_side, strict=True
        )
    )
    if not (fits and array.flags.aligned):
        array = unbroadcast(array, keep=n_inner).copy(order="C")
    return np.broadcast_to(array, (*runs, *inner))
