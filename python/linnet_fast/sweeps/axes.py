"""The dimensions of a sweep: labels, and the values of parameters that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast.networks.chain import Chain
from linnet_fast.training import plain
from linnet_fast.training.description import DATA_SEEDS

_MOST_STACKED = 2**17  # bytes of the moments of one run that are worth a copy for each run


class Column:
    """The values of one parameter along an axis.

    Attributes
    ----------
    kind : {"numbers", "stacked", "choices"}
        How a batch takes them: as an array, as moments with a run axis, or not within one batch.
    """

    def __init__(self, path: str, values: Sequence[Any]) -> None:
        self.path = path
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
        self.values: Sequence[Any] = values
        array = np.asarray(values) if _is_per_run(path) and _are_numbers(values) else None
        if path in DATA_SEEDS and array is not None and array.dtype.kind != "i":
            array = None  # refused where it is used
        self.numbers = None if array is None else array.astype(np.float64)
        if self.numbers is not None:
            self.kind = "numbers"
        elif is_of_loss(path) and _stack(self.values):
            self.kind = "stacked"
        else:
            self.kind = "choices"

    @property
    def ends(self) -> tuple[Any, Any]:
        """Least and largest of the values, of numbers."""
        return min(self.values), max(self.values)

    @cached_property
    def codes(self) -> npt.NDArray[np.int64]:
        """A number per value; equal values of a choice have equal ones."""
        if self.kind != "choices":
            return np.zeros(len(self.values), np.int64)
        texts = [plain.text(plain.encode(value)) for value in self.values]
        first = {text: number for number, text in reversed(list(enumerate(texts)))}
        return np.array([first[text] for text in texts])

    def shown(self) -> npt.NDArray[Any] | None:
        """Return the values as a coordinate, if they can be one."""
        if self.numbers is not None and self.path not in DATA_SEEDS:
            return self.numbers
        if all(isinstance(value, int | float | str) for value in self.values):
            return np.array(self.values)
        if all(isinstance(value, Chain) for value in self.values):
            return np.array([value.spec for value in self.values])
        return None

    def encoded(self, arrays: plain.Arrays | None = None) -> Any:
        """Return the values as plain data; many numbers as an array."""
        if self.numbers is not None and self.path not in DATA_SEEDS:
            return plain.encode(self.numbers, arrays)
        kinds = {type(value) for value in self.values}
        if kinds in ({int}, {float}):
            array = np.asarray(self.values)
            if array.tolist() == list(self.values):  # what is beyond 64 bits is not
                return plain.encode(array, arrays)
        return [plain.encode(value, arrays) for value in self.values]


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _is_per_run(path: str) -> bool:
    """Whether a batch takes this as an array of one number per run, so that such runs go together."""
    *owners, name = path.split(".")
    if path in DATA_SEEDS:
        return True
    if len(owners) == 2 and owners[0] == "stop" and owners[1] in ("evaluate", "below", "above"):
        return True
    kinds = plain.kinds(owners[-1]) if owners else ()
    return any(getattr(kind, "inner_axes", {}).get(name) == 0 for kind in kinds)


def is_of_loss(path: str) -> bool:
    """Whether a parameter is a loss: that of the training or of a phase, or one that is evaluated."""
    *owners, _ = path.split(".")
    of_phase = len(owners) == 2 and owners[0] == "phases" and path.endswith(".loss")
    return path == "loss" or owners == ["record", "evaluate"] or of_phase


def _stack(losses: Sequence[Any]) -> bool:
    """Whether losses can be trained in one batch, each run with its own."""
    first = losses[0]
    if not all(
        type(loss) is type(first)
        and "stacking" in getattr(loss, "supports", ())  # else it is refused where it is used
        and loss.run_shape == ()
        for loss in losses
    ):
        return False
    arrays = [[getattr(loss, name) for name in first.inner_axes] for loss in losses]
    shapes = {tuple(None if a is None else a.shape for a in of_loss) for of_loss in arrays}
    size = sum(0 if array is None else array.nbytes for array in arrays[0])
    return len(shapes) == 1 and size <= _MOST_STACKED


@dataclass(frozen=True, eq=False)
class Axis:
    """A named dimension of a sweep, and what its labels stand for.

    Use it where several parameters move together, or where values need names.

    Parameters
    ----------
    labels : sequence of float, int or str
        Coordinates of the dimension, all different.
    values : mapping of str to sequence
        Parameter -> its value at each label.

    Raises
    ------
    ValueError
        If labels repeat, or a parameter has not as many values as there are labels.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> Axis(["narrow", "wide"], {"network": [lf.Dense((4, 2, 4)), lf.Dense((4, 8, 4))]})
    Axis of 2: network
    """

    labels: Sequence[Any]
    values: Mapping[str, Sequence[Any]]
    columns: tuple[Column, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check the lengths."""
        labels = _labels(list(validate.parts("labels", self.labels, of="numbers or texts")))
        object.__setattr__(self, "labels", labels)
        if not validate.mapping("values", self.values):
            msg = "values of an Axis must name at least one parameter, got none"
            raise ValueError(msg)
        columns = []
        for path, values in self.values.items():
            entries = list(validate.parts(f"values of {path}", values, of="values"))
            if len(entries) != len(labels):
                msg = f"values of {path} must be {len(labels)}, one per label, got {len(entries)}"
                raise ValueError(msg)
            columns.append(Column(path, entries))
        object.__setattr__(self, "columns", tuple(columns))

    def __repr__(self) -> str:
        """Show the size and the parameters."""
        return f"Axis of {len(self.labels)}: {', '.join(self.values)}"

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.labels)

    def cut(self, length: int) -> Axis:
        """Return the axis of the first labels only.

        Parameters
        ----------
        length : int
            How many, from 1 to all.
        """
        length = validate.integer("length", length, low=1, high=len(self))
        values = {path: list(values)[:length] for path, values in self.values.items()}
        return Axis(list(self.labels)[:length], values)


def _labels(labels: list[Any]) -> npt.NDArray[Any]:
    """Return labels as an array of int64, float64 or text."""
    if not labels:
        msg = "labels must not be empty, got none"
        raise ValueError(msg)
    try:
        array = np.asarray(labels)
    except ValueError as error:
        msg = f"labels must be numbers or texts, got {labels[0]!r}"
        raise TypeError(msg) from error
    if any(isinstance(label, int) and abs(label) >= 2**63 for label in labels):
        msg = f"labels must be within 64 bits, got {max(labels, key=abs)}"
        raise ValueError(msg)
    if array.ndim != 1 or array.dtype.kind not in "iufU":
        msg = f"labels must be numbers or texts, got {labels[0]!r}"
        raise TypeError(msg)
    different, counts = np.unique(array, return_counts=True)
    if len(different) < len(array):
        msg = f"labels must be different, got {different[counts > 1][0]} twice"
        raise ValueError(msg)
    with np.errstate(over="ignore"):  # beyond float64: it is refused before
        wide = np.asarray(array, np.float64) if array.dtype.kind == "f" else array
    if array.dtype.kind == "f" and (np.isnan(wide) | (np.isinf(wide) & np.isfinite(array))).any():
        msg = f"labels must be numbers that float64 has, or inf, got {validate.brief(labels)}"
        raise ValueError(msg)
    return wide.astype({"i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind, "U"))
