"""Checks of arguments, shared by every module: one place, one form of message.

Each function takes the argument's name first and either returns the converted value or raises
before any work is done: ``TypeError`` for a wrong type, ``ValueError`` for a wrong value, shape or
range. Messages read "argument, expected, got".
"""

from __future__ import annotations

import difflib
import itertools
import math
import operator
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
WeightArray: TypeAlias = npt.NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, ...]

_T = TypeVar("_T")


MOST_ENTRIES = 2**24
"""Of a sequence of integers."""
MOST_REPEATS = 2**28
"""Times that an array may be repeated by broadcasting: far more runs than fit into memory."""
_MOST_AXES = 30

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = 8


def brief(value: object) -> str:
    """Return the text of a value, shortly, whatever it is."""
    try:
        return " ".join(_short.repr(value).split())
    except Exception:  # noqa: BLE001  (a repr may fail in any way, an integer may be too long for it)
        return "<no text>"


def shown(value: object) -> str:
    """Return type and text of what was got, shortly, whatever it is."""
    return f"{type(value).__name__} {brief(value)}"


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """Return `value`, which must be an instance of `kind`."""
    if not isinstance(value, kind):
        msg = f"{name} must be a {kind.__name__}, got {type(value).__name__}"
        raise TypeError(msg)
    return value


def one_of(name: str, value: object, *kinds: type) -> None:
    """Refuse what is an instance of none of these classes."""
    if not isinstance(value, kinds):
        names = " or a ".join(kind.__name__ for kind in kinds)
        msg = f"{name} must be a {names}, got {type(value).__name__}"
        raise TypeError(msg)


def function(name: str, value: object) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        msg = f"{name} must be callable, got {shown(value)}"
        raise TypeError(msg)


def flag(name: str, value: object) -> bool:
    """Return `value`, True or False; nothing else counts as either."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{name} must be a bool, got {shown(value)}"
        raise TypeError(msg)
    return bool(value)


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """Return `value`, which must be a mapping whose keys are texts."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        msg = f"{name} must be a mapping from names, got {shown(value)}"
        raise TypeError(msg)
    return value


def sequence(name: str, value: object, *, of: str) -> tuple[Any, ...]:
    """Return the parts of a tuple, a list, a range or an array of one axis; `of` says of what."""
    if isinstance(value, np.ma.MaskedArray) or not (
        isinstance(value, tuple | list | range) or (isinstance(value, np.ndarray) and value.ndim)
    ):
        msg = f"{name} must be a sequence of {of}, got {shown(value)}"
        raise TypeError(msg)
    if len(value) > MOST_ENTRIES:
        msg = f"{name} must have at most {MOST_ENTRIES:,} entries, got {len(value):,}"
        raise ValueError(msg)
    return tuple(value)


def parts(name: str, value: object, *, of: str) -> tuple[Any, ...]:
    """Return the parts of anything that has an end and goes in order, a generator, too."""
    if isinstance(value, Iterator):
        found = tuple(itertools.islice(value, MOST_ENTRIES + 1))
        return sequence(name, found, of=of)
    return sequence(name, value, of=of)


def texts(name: str, value: object) -> tuple[str, ...]:
    """Return a sequence of texts as a tuple; a single text is none."""
    if isinstance(value, str):
        msg = f"{name} must be a sequence of texts, got {shown(value)}"
        raise TypeError(msg)
    found = parts(name, value, of="texts")
    for i, part in enumerate(found):
        instance(f"{name}[{i}]", part, str)
    return found


def path(name: str, value: object) -> Path:
    """Return `value`, a text or a path-like object, as a path."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        msg = f"{name} must be a path, got {shown(value)}"
        raise TypeError(msg)
    text = os.fspath(value)
    if not text or "\0" in text:
        msg = f"{name} must be the name of a file or folder, got {text!r}"
        raise ValueError(msg)
    return Path(text)


def bools(name: str, value: object) -> npt.NDArray[np.bool_]:
    """Return `value` as an array of truth values; numbers do not count as such."""
    if isinstance(value, np.ma.MaskedArray):
        msg = f"{name} must be a plain array, got a masked array; fill or drop the masked entries"
        raise TypeError(msg)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, NotImplementedError):
        msg = f"{name} must be a regular array of bools, got {shown(value)}"
        raise TypeError(msg) from None
    if array.dtype != np.bool_:
        got = f"dtype {array.dtype}" if array.dtype != object else shown(value)
        msg = f"{name} must be an array of bools, got {got}"
        raise TypeError(msg)
    return array


def integer(name: str, value: object, *, low: int, high: int | None) -> int:
    """Return `value` as an int in [low, high]; bools, floats and strings are a TypeError."""
    try:
        if isinstance(value, bool | np.bool_ | np.ma.MaskedArray):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        msg = f"{name} must be an integer, got {shown(value)}"
        raise TypeError(msg) from None
    if number < low or (high is not None and number > high):
        expected = f">= {low}" if number < low else f"<= {high}"
        # Texts of longer numbers are refused by Python, or cost as much as it allows.
        got = str(number) if number.bit_length() < 400 else f"{number.bit_length()} binary digits"
        msg = f"{name} must be {expected}, got {got}"
        raise ValueError(msg)
    return number


def real(
    name: str, value: object, *, above: float | None = None, at_least: float | None = None
) -> float:
    """Return `value`, a single finite real number, as a float."""
    array = real_array(name, value, above=above, at_least=at_least)
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


def integers(
    name: str, values: object, *, low: int, high: int | None, most: int = MOST_ENTRIES
) -> tuple[int, ...]:
    """Return a sequence of at most so many integers as a tuple; a number or a string is a TypeError."""
    if (
        isinstance(values, str | bytes | Mapping | AbstractSet | np.ma.MaskedArray | type)
        or not isinstance(values, Iterable)
        or getattr(values, "ndim", 1) == 0
    ):
        msg = f"{name} must be a sequence of integers, got {shown(values)}"
        raise TypeError(msg)
    n = operator.length_hint(values)
    if n > most:
        msg = f"{name} must have at most {most:,} entries, got {n:,}"
        raise ValueError(msg)
    found = []
    for i, value in enumerate(values):  # what has no length may have no end
        if i == most:
            msg = f"{name} must have at most {most:,} entries, got more"
            raise ValueError(msg)
        found.append(integer(f"{name}[{i}]", value, low=low, high=high))
    return tuple(found)


def matrix_shape(name: str, value: object) -> tuple[int, int]:
    """Return the shape (out, in) of end-to-end matrices."""
    sizes = integers(name, value, low=1, high=2**31 - 1)
    if len(sizes) != 2:
        msg = f"{name} must be two integers, (out, in), got {sizes}"
        raise ValueError(msg)
    return sizes[0], sizes[1]


def run_index(name: str, value: object, shape: Shape, *, single: bool = False) -> tuple[int, ...]:
    """Return an index of leading run axes of a shape, of all of them if it is of a `single` run."""
    given = value if isinstance(value, tuple) else (value,)
    index = tuple(integer(name, i, low=-(2**62), high=2**62) for i in given[: len(shape) + 1])
    if len(given) > len(shape) or (single and len(given) != len(shape)):
        expected = (
            f"{len(shape)} indices, one per run axis {shape}"
            if single
            else f"at most {len(shape)} indices"
        )
        msg = f"{name} must have {expected}, got {brief(value)}"
        raise IndexError(msg)
    if not all(-size <= i < size for i, size in zip(index, shape, strict=False)):
        msg = f"{name} must be an index of run axes {shape}, got {index}"
        raise IndexError(msg)
    return index


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


def float_dtype(name: str, value: object) -> np.dtype[Any]:
    """Return the dtype float64 or float32; anything else is an error."""
    try:
        # An object with a dtype counts for NumPy as this.
        dtype = np.dtype(value) if isinstance(value, str | type | np.dtype) else None
    except TypeError:
        dtype = None
    # None would equal float64.
    if dtype is not None and dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        return dtype
    msg = f"{name} must be float64 or float32, got {brief(value)}"
    if dtype is None and value is not None:
        raise TypeError(msg)
    raise ValueError(msg)


def nested_text(name: str, text: str, *, most: int = 64) -> None:
    """Refuse a text whose brackets are nested so deeply that parsers, which recurse, would fail."""
    depth = 0
    for sign in re.finditer(r"[\[({\])}]", text):
        depth = depth + 1 if sign[0] in "[({" else max(depth - 1, 0)
        if depth > most:
            msg = f"{name} must be nested at most {most} deep, got more"
            raise ValueError(msg)


def unbroadcast(array: npt.NDArray[Any], *, keep: int = 0) -> npt.NDArray[Any]:
    """Return a view with each repeated (stride 0) axis but the last `keep` cut to length 1.

    That is what is really in memory, so work on it is not repeated.
    """
    lead = array.strides[: array.ndim - keep]
    return array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in lead)]


def numbers(
    name: str,
    value: object,
    *,
    of: str = "real numbers",
    repeats: int = MOST_REPEATS,
    empty: bool = False,
) -> npt.NDArray[Any]:
    """Return `value` as an array of real numbers, finite or not, or of integers, in the dtype it has.

    Masked, complex and bool arrays, those of objects or texts, and empty ones are refused, as are those
    that are repeated by broadcasting more often than any memory could hold.
    """
    if isinstance(value, np.ma.MaskedArray):
        msg = f"{name} must be a plain array, got a masked array; fill or drop the masked entries"
        raise TypeError(msg)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        value = _as_float(name, value)
    if type(value).__module__.partition(".")[0] == "torch":
        tensor: Any = value
        value = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
    try:
        array = np.asarray(value)
    except ValueError as error:
        msg = f"{name} must be a real number or a regular array of them: {error}"
        raise ValueError(msg) from error
    except (TypeError, NotImplementedError, BufferError):
        msg = f"{name} must be a real number or an array of them, got {shown(value)}"
        raise TypeError(msg) from None
    if array.dtype.kind not in ("iu" if of == "integers" else "fiu"):
        got = f"dtype {array.dtype}" if array.dtype != object else type(value).__name__
        expected = "a real number or an array of them" if of == "real numbers" else of
        msg = f"{name} must be {expected}, got {got}"
        raise TypeError(msg)
    if array.ndim > _MOST_AXES:
        msg = f"{name} must have at most {_MOST_AXES} axes, got {array.ndim}"
        raise ValueError(msg)
    if array.size == 0:
        if empty:
            return array
        msg = f"{name} must not be empty, got shape {array.shape}"
        raise ValueError(msg)
    if 0 in array.strides and array.size // unbroadcast(array).size > repeats:
        msg = f"{name} must be repeated at most {repeats:,} times, got shape {array.shape}"
        raise ValueError(msg)
    return array


def _as_float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        msg = f"{name} must be finite as a float64, got {value.bit_length()} binary digits"
        raise ValueError(msg) from None


def real_array(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    dtype: npt.DTypeLike = np.float64,
    repeats: int = MOST_REPEATS,
) -> npt.NDArray[Any]:
    """Return `value` as a read-only view of finite real numbers, not copied if need not be.

    This is where arrays are brought into one order, C's, aligned and of this machine's bytes: sums
    go along memory, and bits must not depend on how a caller keeps his numbers. Axes repeated by
    broadcasting stay repeated by strides, also when the dtype has to change. Arrays with an axis of
    length 0 are refused.
    """
    array = numbers(name, value, repeats=repeats)
    stored = unbroadcast(array)
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
        stored = np.require(stored, dtype, ["C", "A"])
    refuse(name, "finite", stored, ~np.isfinite(stored))
    if above is not None:
        refuse(name, f"> {above:g}", stored, ~(stored > above))
    if at_least is not None:
        refuse(name, f">= {at_least:g}", stored, ~(stored >= at_least))
    return np.broadcast_to(stored, array.shape)  # read-only, and no copy


def integer_array(name: str, value: object, *, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return `value` as a read-only view of int64 in [low, high]; floats are refused."""
    is_power = high >= 2**20 and (high + 1) & high == 0
    below = f"< 2**{high.bit_length()}" if is_power else f"<= {high}"
    if isinstance(value, int) and not low <= value <= high:
        msg = f"{name} must be {f'>= {low}' if value < low else below}, got {brief(value)}"
        raise ValueError(msg)
    array = numbers(name, value, of="integers")
    stored = unbroadcast(array)
    refuse(name, f">= {low}", stored, stored < low)
    refuse(name, below, stored, stored > high)
    return np.broadcast_to(stored.astype(np.int64, copy=False), array.shape)


def refuse(name: str, expected: str, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_]) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" at index {index}" if index else ""
        msg = f"{name} must be {expected}, got {array[index]}{where}"
        raise ValueError(msg)


def broadcast_runs(**shapes: Shape) -> Shape:
    """Return the common shape of the run axes of several arguments, given by name."""
    if len(different := set(shapes.values())) == 1:
        return different.pop()
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        msg = f"run axes must broadcast with each other, got {listed}"
        raise ValueError(msg) from None


def batch_shape(value: object) -> Shape:
    """Return the run axes that `batch_shape` gives as a number or as a sequence of numbers."""
    several = value if isinstance(value, Iterable) else (value,)
    return integers("batch_shape", several, low=1, high=2**62, most=_MOST_AXES)


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
    # The memory that a result takes is checked when all of it is known.
    given = [numbers(f"{name}[{i}]", value, repeats=2**62) for i, value in enumerate(values)]
    if dtype is None:
        dtype = np.float32 if all(array.dtype == np.float32 for array in given) else np.float64
    arrays = tuple(
        real_array(f"{name}[{layer}]", array, dtype=float_dtype("dtype", dtype), repeats=2**62)
        for layer, array in enumerate(given)
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


def labelled(
    X: object,
    y: object,
    n_outputs: int = 1,
    *,
    names: tuple[str, str] = ("X", "y"),
    remedy: str | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return samples ``(*run, n, in)`` and labels 1 and -1 as views: ``(*run, n)`` of one output.

    Of several outputs labels are ``(*run, n, n_outputs)``. The remedy is what to do with labels 0 and 1.
    """
    of_x, of_y = names
    x, labels = real_array(of_x, X), real_array(of_y, y)
    if x.ndim < 2:
        msg = f"{of_x} must have shape (*run, n, in), got {x.shape}"
        raise ValueError(msg)
    inner = (x.shape[-2],) if n_outputs == 1 else (x.shape[-2], n_outputs)
    if labels.shape[-len(inner) :] != inner:
        expected = f"(*run, {', '.join(map(str, inner))}), one label per row of {of_x}"
        msg = f"{of_y} must have shape {expected}, got {labels.shape}"
        raise ValueError(msg)
    stored = unbroadcast(labels)
    expected = "made of labels 1 and -1"
    if ((stored == 0) | (stored == 1)).all():
        expected += f" ({remedy or f'2 * {of_y} - 1'} of labels 0 and 1)"
    refuse(of_y, expected, stored, np.abs(stored) != 1)
    return x, labels


def floating(name: str, value: object, inner: Shape) -> WeightArray:
    """Return numbers of shape ``(*batch, *inner)``, finite or not, as float64, or float32 if they are."""
    array = numbers(name, value, empty=True)
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        with np.errstate(over="ignore"):
            array = np.broadcast_to(unbroadcast(array).astype(np.float64), array.shape)
    if array.shape[max(array.ndim - len(inner), 0) :] != inner:
        expected = ", ".join(map(str, ("*batch", *inner)))
        msg = f"{name} must have shape ({expected}), got {array.shape}"
        raise ValueError(msg)
    return array


def products(value: object, shape: Shape, runs: Shape, name: str = "product") -> npt.NDArray[Any]:
    """Return end-to-end matrices of shape ``(*batch, *shape)``, finite or not; batch fits `runs`.

    Their dtype is float32 or float64.
    """
    matrix = floating(name, value, shape)
    broadcast_runs(**{name: matrix.shape[:-2], "loss": runs})
    return matrix


def layer_arrays(name: str, values: object, shapes: Sequence[Shape]) -> tuple[WeightArray, ...]:
    """Return one array per layer of shapes ``(*batch, *shapes[l])``, finite or not, batches fitting."""
    arrays = sequence(name, values, of=f"{len(shapes)} arrays")
    if len(arrays) != len(shapes):
        msg = f"{name} must have {len(shapes)} arrays, one per layer, got {len(arrays)}"
        raise ValueError(msg)
    found = tuple(
        floating(f"{name}[{layer}]", array, shape)
        for layer, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
    )
    broadcast_runs(
        **{
            f"{name}[{i}]": array.shape[: array.ndim - len(shape)]
            for i, (array, shape) in enumerate(zip(found, shapes, strict=True))
        }
    )
    return found


def plain_array(name: str, array: object) -> None:
    """Refuse what is no array of NumPy, and subclasses, whose operations may be other ones."""
    if type(array) is not np.ndarray:
        msg = f"{name} must be an array, got {shown(array)}"
        raise TypeError(msg)


def exact(name: str, array: object, shape: Shape, dtype: npt.DTypeLike) -> None:
    """Refuse what is no array, or one of another shape or dtype."""
    plain_array(name, array)
    assert isinstance(array, np.ndarray)
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
