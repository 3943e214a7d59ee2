"""Flows in coordinates in which the direction that angles are measured to is an axis.

A flow may end at angles far below the rounding of weights that are mixtures of both parts, along the
direction and across. A spherical law looks the same in all coordinates: in those of the direction
each part has entries, and digits, of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.training.call import CoreCall
from linnet_fast.training.end_to_end import end_to_end

ANGLES = ("angle", "log_tan_half_angle")
_KNOWN = 4e6 * np.finfo(np.float64).eps  # as the core: rounding is 1e-6 of what is left across


@dataclass(frozen=True, eq=False)
class Turn:
    """Reflections of the inputs, those of some runs, which take the direction to an axis.

    Parameters
    ----------
    normal : ndarray of float64, shape (*run, in)
        Of the mirror, of norm sqrt(2); 0 where nothing is turned.
    array : int
        Number of the array of weights that acts on the inputs.
    """

    normal: FloatArray
    array: int

    def columns(self, matrix: WeightArray) -> FloatArray:
        """Return matrices (*run, ..., in), with any axes between, in the other coordinates."""
        n_runs = self.normal.ndim - 1
        between = (1,) * (matrix.ndim - n_runs - 1)
        normal = self.normal.reshape(*self.normal.shape[:-1], *between, -1)
        with np.errstate(invalid="ignore"):  # of records that were not reached
            along = np.sum(matrix * normal, axis=-1, keepdims=True)
            return np.asarray(matrix - along * normal)

    def weights(self, arrays: tuple[WeightArray, ...]) -> tuple[WeightArray, ...]:
        """Return arrays of weights in the other coordinates."""
        first = self.columns(arrays[self.array])
        return (*arrays[: self.array], first, *arrays[self.array + 1 :])

    def back(self, result: Any, call: CoreCall) -> None:
        """Put what the core found into the coordinates of the call."""
        final = self.weights(tuple(result["weights"]))
        going = call.going
        result["weights"] = tuple(
            np.where(going.reshape(*going.shape, *(1,) * (new.ndim - going.ndim)), new, old)
            for new, old in zip(final, call.begin.weights, strict=True)
        )
        known = result["observables"]
        if "weights" in known:
            known["weights"] = self.weights(tuple(known["weights"]))
        if "product" in known:
            known["product"] = self.columns(known["product"])


def turned(call: CoreCall) -> tuple[CoreCall, Turn | None]:
    """Return a training in coordinates in which the direction is an axis, where that helps."""
    network, v, target = call.network, call.direction, call.loss.target_direction
    if not (
        v is not None
        and target is not None
        and any(name in call.record.rows for name in ANGLES)
        # These would have to be turned, too.
        and not any(row.is_measure for row in call.record.rows.values())
        and np.array_equal(v, target)
        and isinstance(network.layers[0], layers.Dense)
        and network.share.count(network.share[0]) == 1
    ):
        return call, None
    array = network.share[0]
    assert array is not None
    v = np.broadcast_to(v, (*call.runs, network.n_inputs))
    largest = np.abs(v).argmax(axis=-1)[..., None]
    sign = -np.sign(np.take_along_axis(v, largest, axis=-1))
    axis = np.where(np.arange(network.n_inputs) == largest, sign, 0.0)
    normal = v - axis
    normal = normal * np.sqrt(2) / np.linalg.norm(normal, axis=-1, keepdims=True)
    is_axis = np.asarray(np.count_nonzero(v, axis=-1) == 1)[..., None]
    turn = Turn(np.where(is_axis, 0.0, normal), array)
    stays = is_axis | ~_is_known(call, turn, axis)[..., None]
    if stays.all():
        return call, None
    turn = Turn(np.where(stays, 0.0, turn.normal), array)
    axis = np.where(stays, v, axis)
    other = call.loss.turned(axis)
    if other is None:
        return call, None
    begin = replace(call.begin, weights=turn.weights(call.begin.weights))
    return replace(call, loss=other, begin=begin, direction=axis, mirror=turn.normal), turn


def _is_known(call: CoreCall, turn: Turn, axis: FloatArray) -> npt.NDArray[np.bool_]:
    """Return for which runs the start says where it points to, beyond its own rounding."""
    network, weights = call.network, call.begin.weights
    with np.errstate(over="ignore", invalid="ignore"):  # of runs that had diverged
        product = end_to_end(network, turn.weights(weights))[..., 0, :]
        across = np.abs(np.where(axis == 0, product, 0.0)).max(axis=-1)
        # Of dense layers; others have entries of this order.
        most = np.abs(end_to_end(network, [np.abs(w) for w in weights])[..., 0, :]).sum(axis=-1)
        return np.asarray(across >= _KNOWN * most)
