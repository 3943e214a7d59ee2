"""Costs of one hidden layer whose units see some of the inputs."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import structure
from linnet_fast.costs.solvers.solution import ZEROS, Solution, divided, norms, without
from linnet_fast.networks.chain import Chain
from linnet_fast.regularizers.groups import latent_groups


def hidden_units(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Solve a masked layer and a dense top with one output: twice the latent group norm."""
    chain = structure.simplified(network)
    if chain.is_shared or len(chain.layers) != 2 or not structure.is_dense(chain.layers[1], 1):
        return None
    layer = chain.layers[0]
    groups = structure.sum_of_inputs(layer)
    if groups is None or structure.is_dense(layer):
        return None
    seen = [group for group in groups if group]
    found = latent_groups(p[:, 0], seen)
    parts = np.zeros((len(p), len(groups), network.n_inputs))
    parts[:, [j for j, group in enumerate(groups) if group]] = found.parts
    size = norms(np.nan_to_num(parts))
    top = np.sqrt(size)
    scaled = divided(np.nan_to_num(parts), top[..., None])
    pattern = layer.pattern
    first = np.zeros((len(p), pattern.n_weights))
    first[:, pattern.weight] = scaled[:, pattern.row, pattern.column]
    elsewhere = np.ones(network.n_inputs, bool)
    elsewhere[[i for group in seen for i in group]] = False
    bad = np.asarray((p[:, 0, elsewhere] != 0).any(axis=-1))
    return Solution(
        2 * found.lower,
        2 * found.upper,
        without((first, top[:, None]), bad),
        "twice the latent group norm",
        np.where(bad, ZEROS, "").astype(object),
    )
