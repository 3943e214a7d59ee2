"""What is read of trajectories, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray


def time_of(trajectory: Any) -> FloatArray:
    """Return the times of the records; of a flow in logarithmic time from its log(1 + t).

    They are infinite where they are beyond the largest number.
    """
    return np.asarray(getattr(trajectory, "linear_time", trajectory.time), dtype=np.float64)


def depth_of(trajectory: Any) -> Any:
    """Return the number of layers, None where a trajectory does not say."""
    depth = getattr(trajectory, "n_layers", None)
    return getattr(getattr(trajectory, "network", None), "n_layers", depth)


def check_records(trajectory: object, names: Sequence[str]) -> None:
    """Refuse what does not have records of these names, arrays (*run, n_rec) of real numbers."""
    shapes = {}
    for name in names:
        if not hasattr(trajectory, name):
            msg = f"trajectory must have {name}, got a {type(trajectory).__name__} without"
            raise TypeError(msg)
        array = getattr(trajectory, name)
        check_record(f"trajectory.{name}", array)
        shapes[name] = array.shape
    validate.broadcast_runs(**shapes)


def check_record(name: str, array: object) -> None:
    """Refuse what is no array (*run, n_rec) of real numbers."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        msg = f"{name} must be a plain array, got {type(array).__name__}"
        raise TypeError(msg)
    if array.dtype.kind not in "fiu":
        msg = f"{name} must be an array of real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    if not array.ndim or not array.size:
        msg = f"{name} must have shape (*run, n_rec) and not be empty, got {array.shape}"
        raise ValueError(msg)
