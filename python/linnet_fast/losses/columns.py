"""Samples as the compiled core takes them: those of one feature side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape

_BLOCK = 16
"""The core takes samples in blocks of so many; the last one is filled up with zeros."""


def columns(rows: FloatArray) -> FloatArray:
    """Return (*run, n, k) as (*run, k, n), n filled up with zeros; copied once where runs repeat.

    Parameters
    ----------
    rows : ndarray of float64, shape (*run, n, k)
        A row per sample.
    """
    stored = validate.unbroadcast(rows, keep=2)
    n_samples = rows.shape[-2]
    stride = -(-n_samples // _BLOCK) * _BLOCK
    filled = np.zeros((*stored.shape[:-2], rows.shape[-1], stride))
    filled[..., :n_samples] = stored.mT
    return np.broadcast_to(filled, (*rows.shape[:-2], *filled.shape[-2:]))


def core_samples(
    inputs: FloatArray, targets: FloatArray, n_samples: int, runs: Shape, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """Return the fields of a loss on samples, in single precision besides where that is used.

    Parameters
    ----------
    inputs, targets : ndarray of float64
        As `columns` gives them.
    n_samples : int
        How many there are.
    runs : tuple of int
        Shape of the run axes.
    dtype : dtype
        Of the weights.
    """
    fields: dict[str, Any] = {"n_samples": n_samples}
    for name, array in (("inputs", inputs), ("targets", targets)):
        fields[name] = validate.over_runs(array, runs, 2)
        if dtype == np.float32:
            stored = validate.unbroadcast(array, keep=2)
            single = np.broadcast_to(stored.astype(np.float32), array.shape)
            fields[f"single_{name}"] = validate.over_runs(single, runs, 2)
    return fields
