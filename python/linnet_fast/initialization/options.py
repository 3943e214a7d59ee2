"""What all starts take: run axes, scales, the kind of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import memory, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.networks.chain import Chain


class Options(NamedTuple):
    """Checked options of a start."""

    runs: Shape
    scale: FloatArray
    """Factor on all layers, broadcasts to the run axes."""
    layer_scales: FloatArray | None
    """Factors on each array of weights, (*run, n_arrays)."""
    dtype: np.dtype[Any]

    def check_room(self, network: Chain) -> None:
        """Refuse weights, and what they are made from, that memory has no room for."""
        n = math.prod(self.runs) * (1 + network.n_weights)
        memory.check_room("batch_shape", 2 * 8 * n)

    def scale_of(self, number: int) -> FloatArray:
        """Return the factor on an array of weights."""
        if self.layer_scales is None:
            return self.scale
        return np.asarray(self.scale * self.layer_scales[..., number])

    def finish(self, array: FloatArray, number: int, n_inner: int = 2) -> WeightArray:
        """Return an array of weights, times its scale, with all run axes, in memory of its own."""
        scale = self.scale_of(number)
        return self.whole(scale.reshape(*scale.shape, *(1,) * n_inner) * array, n_inner)

    def whole(self, array: FloatArray, n_inner: int = 2) -> WeightArray:
        """Return an array with all run axes, in memory of its own."""
        inner = array.shape[array.ndim - n_inner :]
        return np.array(np.broadcast_to(array, (*self.runs, *inner)), dtype=self.dtype, order="C")


def checked(
    scale: npt.ArrayLike,
    batch_shape: int | Sequence[int] | None,
    dtype: npt.DTypeLike,
    *,
    network: Chain | None = None,
    layer_scales: npt.ArrayLike | None = None,
) -> Options:
    """Return the options of a start.

    Parameters
    ----------
    scale : array_like
        Factor >= 0; broadcasts to `batch_shape`.
    batch_shape : int or sequence of int, optional
        Run axes; by default those of `scale` and `layer_scales`.
    dtype : dtype
        float64 or float32.
    network : Chain, optional
        Whose arrays of weights `layer_scales` are of.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Any finite numbers.

    Raises
    ------
    TypeError, ValueError
        If something is of a wrong type, out of range, or does not broadcast.
    """
    factor = validate.real_array("scale", scale, at_least=0)
    factors = None
    if network is not None and layer_scales is not None:
        factors = validate.real_array("layer_scales", layer_scales)
        if factors.shape[-1:] != (network.n_arrays,):
            msg = f"layer_scales must have shape (*run, {network.n_arrays}), one per array of weights, "
            msg += f"got {factors.shape}"
            raise ValueError(msg)
    shapes = {"scale": factor.shape, "layer_scales": () if factors is None else factors.shape[:-1]}
    runs = (
        validate.broadcast_runs(**shapes)
        if batch_shape is None
        else validate.batch_shape(batch_shape)
    )
    for name, shape in shapes.items():
        validate.fits_batch(name, shape, runs)
    return Options(runs, factor, factors, validate.float_dtype("dtype", dtype))
