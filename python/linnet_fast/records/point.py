"""Where a training stands, as observables see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain


@dataclass(frozen=True, eq=False)
class Point:
    """Where a training stands, as observables see it: arrays have run axes in front.

    All is computed in the precision of the weights.

    Parameters
    ----------
    network : Chain
        What is trained.
    weights : tuple of ndarray, shapes (*run, *network.shapes[l])
        Its weights.
    loss : Loss
        On what.
    weight_decay : array_like, shape (*run, n_arrays), or one number
        That of each array of weights.
    direction : ndarray, shape (*run, in), or None
        What angles are measured to, of norm 1.
    evaluated : mapping of str to Loss
        Losses that are evaluated besides, by name.
    begin : tuple of ndarray, shapes (*run, *network.shapes[l]), optional
        Weights that distances are measured from.
    divisors : tuple of ndarray, shapes (*run, *network.shapes[l]), optional
        What the method divides gradients by.
    decoupled : bool
        Whether weight decay is not among these gradients.
    known_product : ndarray, shape (*run, out, in), optional
        The end-to-end matrix, where it need not be computed.
    """

    network: Chain
    weights: tuple[WeightArray, ...]
    loss: Loss
    weight_decay: npt.ArrayLike = 0.0
    direction: FloatArray | None = None
    evaluated: Mapping[str, Loss] = field(default_factory=dict)
    known_product: FloatArray | None = None
    begin: tuple[WeightArray, ...] | None = None
    divisors: tuple[WeightArray, ...] | None = None
    decoupled: bool = False

    @cached_property
    def product(self) -> WeightArray:
        """The end-to-end matrix, shape (*run, out, in)."""
        if self.known_product is not None:
            return self.known_product
        return np.asarray(self.network.product(self.weights))

    @cached_property
    def gradients(self) -> tuple[WeightArray, ...]:
        """Gradients of the objective by each array of weights."""
        dtype = self.weights[0].dtype
        by_product = self.loss.gradient(self.product).astype(dtype)
        own = self.network.gradients(self.weights, by_product)
        given = np.asarray(self.weight_decay, dtype)
        decays = np.broadcast_to(given, (*given.shape[:-1], len(own)))
        return tuple(
            decays[..., i].reshape(*decays.shape[:-1], *(1,) * len(shape)) * w + g
            for i, (w, g, shape) in enumerate(
                zip(self.weights, own, self.network.shapes, strict=True)
            )
        )

    @cached_property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """Parts of the end-to-end vector along and across the direction, the latter >= 0."""
        direction = self.loss.target_direction if self.direction is None else self.direction
        if direction is None:
            msg = "angles need a direction, got none"
            raise TypeError(msg)
        w = self.product[..., 0, :]
        along = np.sum(w * direction, axis=-1)
        return along, np.linalg.norm(w - along[..., None] * direction, axis=-1)
