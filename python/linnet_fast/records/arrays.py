"""The arrays that records are written into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from linnet_fast._base import memory
from linnet_fast._base.validate import Shape
from linnet_fast.networks.chain import Chain
from linnet_fast.records.rows import AnyObservable


def record_bytes(
    observables: Mapping[str, AnyObservable], network: Chain, itemsize: int = 8
) -> int:
    """Return how many bytes a record of one run takes, with weights of so many bytes each.

    Parameters
    ----------
    observables : mapping
        As `rows` gives them.
    network : Chain
        What is trained.
    itemsize : int
        Of the weights.
    """
    return sum(
        network.n_weights * itemsize
        if name == "weights"
        else 8 * math.prod(row.record_shape(network))
        for name, row in observables.items()
    )


def empty_records(
    observables: Mapping[str, AnyObservable],
    network: Chain,
    lead: Shape,
    dtype: np.dtype[Any],
) -> dict[str, Any]:
    """Return arrays of NaN for records, by name.

    Parameters
    ----------
    observables : mapping
        As `rows` gives them.
    network : Chain
        What is trained.
    lead : tuple of int
        Run axes and the axis of records.
    dtype : dtype
        Of the weights.

    Raises
    ------
    ValueError
        If they do not fit into memory.
    """
    memory.check_room("record", math.prod(lead) * (8 + record_bytes(observables, network)))
    kept: dict[str, Any] = {}
    for name, row in observables.items():
        shape = row.record_shape(network)
        if name == "weights":
            kept[name] = tuple(np.full((*lead, *s), np.nan, dtype) for s in shape)
        else:
            kept[name] = np.full((*lead, *shape), np.nan)
    return kept
