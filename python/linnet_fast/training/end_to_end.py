"""The end-to-end matrix of weights, by the core's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from linnet_fast._base import algebra
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.networks.chain import Chain


def end_to_end(network: Chain, weights: Sequence[WeightArray]) -> FloatArray:
    """Return `Chain.product` with bits that are a function of the weights alone.

    Parameters
    ----------
    network : Chain
        The architecture.
    weights : sequence of ndarray, shapes (*batch, *network.shapes[l])
        Of either precision.

    Returns
    -------
    ndarray of float64, shape (*batch, out, in)
    """
    matrices = network.matrices([np.asarray(w, np.float64) for w in weights])
    if network.n_outputs <= network.n_inputs:
        matrices = matrices[::-1]
        return reduce(_times, matrices[1:], np.asarray(matrices[0], np.float64))
    return reduce(
        lambda done, m: _times(m, done), matrices[1:], np.asarray(matrices[0], np.float64)
    )


def _times(left: WeightArray, right: WeightArray) -> FloatArray:
    return algebra.product(np.asarray(left, np.float64), np.asarray(right, np.float64))
