"""Samples as they are given: inputs, outputs and labels of any library, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import foreign, validate
from linnet_fast._base.validate import FloatArray


def inputs_of(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return inputs of samples (*run, n, in) as a read-only view.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like
        A row per sample.
    """
    return _rows(name, foreign.data(name, value), "in")


def outputs_of(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return outputs of samples (*run, n, out) as a read-only view; those of one output may have one axis.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like
        A row per sample.
    """
    array = foreign.data(name, value)
    return array[:, None] if array.ndim == 1 else _rows(name, array, "out")


def _rows(name: str, array: FloatArray, columns: str) -> FloatArray:
    if array.ndim < 2:
        msg = f"{name} must have shape (*run, n, {columns}), got {array.shape}"
        if array.ndim == 1:
            msg += f"; make a single column of it with {name}[:, None]"
        raise ValueError(msg)
    return array


def signs_of(name: str, value: object, labels: Sequence[Any] | None = None) -> FloatArray:
    """Return labels as numbers; of truth values, and of two labels that are named, 1 and -1.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like
        Labels.
    labels : sequence of two, optional
        Those for -1 and for 1.
    """
    if labels is None:
        plain = foreign.untabled(name, value)
        if getattr(plain, "dtype", None) != np.bool_ and not _are_bools(plain):
            return validate.real_array(name, plain)
        return foreign.signs(name, plain, (False, True))
    two = validate.parts("labels", labels, of="labels")
    if len(two) != 2 or not all(
        isinstance(one, (bool, int, float, str, np.generic)) for one in two
    ):
        msg = f"labels must be two numbers, truth values or texts, got {validate.brief(labels)}"
        raise ValueError(msg)
    if two[0] == two[1]:
        msg = f"labels must differ, got {validate.brief(labels)}"
        raise ValueError(msg)
    return foreign.signs(name, value, (two[0], two[1]))


def _are_bools(value: object) -> bool:
    return (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(v, bool) for v in value)
    )
