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
    doubles = [np.asarray(w, np.float64) for w in weights]
    matrices = network.matrices(doubles)
    if network.n_outputs <= network.n_inputs:
        return np.asarray(reduce(algebra.product, matrices[::-1]))
    return np.asarray(reduce(lambda done, m: algebra.product(m, done), matrices))
