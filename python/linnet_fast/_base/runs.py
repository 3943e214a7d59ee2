"""Some of the runs of what has run axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import Shape
from linnet_fast._base.value import made_with

_T = TypeVar("_T")


def taken(array: npt.NDArray[Any], n_inner: int, which: npt.NDArray[np.intp], runs: Shape) -> Any:
    """Return the arrays of some runs, (*which.shape, *inner), by their numbers in C order.

    One for all stays as it is, and what is the same along an axis has length 1 there: nothing is
    repeated in memory.
    """
    lead = array.shape[: array.ndim - n_inner]
    if not lead or not runs:
        return array
    every = zip(_places(which, runs)[len(runs) - len(lead) :], lead, strict=True)
    own = array[tuple(place if size > 1 else np.zeros((), np.intp) for place, size in every)]
    missing = which.ndim + n_inner - np.ndim(own)
    return np.asarray(own).reshape((1,) * missing + np.shape(own))


def _places(which: npt.NDArray[np.intp], runs: Shape) -> list[npt.NDArray[np.intp]]:
    """Return indices of run axes that broadcast to those of all runs that are chosen."""
    places = []
    for index in np.unravel_index(which, runs):
        place = np.asarray(index)
        for axis in range(place.ndim):
            first = place.take([0], axis)
            place = first if (place == first).all() else place
        places.append(place)
    return places


def noun_of(noun: _T, which: npt.NDArray[np.intp], runs: Shape) -> _T:
    """Return a noun as some runs see it: its arrays are those of its ``inner_axes``.

    Parameters
    ----------
    noun : Loss, Method, StepRule, Batches or Stop
        Made with what are its attributes.
    which : ndarray of int, shape (n,)
        Numbers of the runs, in C order.
    runs : tuple of int
        Shape of all run axes.
    """
    axes: Mapping[str, int] = getattr(noun, "inner_axes", {})
    values = {}
    for name, made in made_with(noun).items():
        value = made
        if isinstance(value, np.ndarray) and name in axes:
            value = taken(value, axes[name], which, runs)
        elif isinstance(value, Mapping):
            value = {
                key: taken(part, 0, which, runs)
                if isinstance(part, np.ndarray)
                else noun_of(part, which, runs)
                for key, part in value.items()
            }
        elif hasattr(value, "inner_axes"):
            value = noun_of(value, which, runs)
        values[name] = value
    return type(noun)(**values)
