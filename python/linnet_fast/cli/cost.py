"""What ``linnet-fast cost`` does: predictors from a file, their costs as a table and a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnet_fast import datasets
from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.induced import what_is
from linnet_fast.costs.representation_cost import RepresentationCost
from linnet_fast.networks.chain import Chain

_MOST_ROWS = 40


def read_predictors(network: Chain, file: Path) -> FloatArray:
    """Return the predictors in a file as the network takes them.

    Rows are predictors of a network with one output; of others the file is one end-to-end matrix,
    or an array of them (.npy, .npz). Raises OSError and ValueError.
    """
    array = datasets.read_array(file, "predictor")
    if array.dtype.kind not in "fiu":
        msg = f"{file} must be made of numbers, got dtype {array.dtype}"
        raise ValueError(msg)
    result = np.asarray(array, dtype=np.float64)
    is_column = result.ndim == 2 and result.shape[1] == 1 and file.suffix == ".csv"
    if is_column and network.n_outputs == 1 and network.n_inputs == len(result):
        result = result.T  # one number a line
    return result


def report(network: Chain, cost: RepresentationCost, *, limit: int = _MOST_ROWS) -> str:
    """Return network, method and a table of the costs."""
    known = what_is(network)
    formula = "no formula known" if known is None else str(known)
    if known is not None and known.regularizer is not None:
        formula = f"{formula} ({known.name})"
    value = cost.value.reshape(-1)
    lines = {
        "network": f"{network!r}: {network.n_inputs} -> {network.n_outputs}, "
        f"{network.n_weights:,} weights",
        "cost": formula,
        "method": cost.method,
        "predictors": f"{len(value):,}, {int(cost.exact.sum()):,} of them exact to 1e-8",
    }
    head = f"{'predictor':>9}  {'value':>16}  {'lower':>16}  {'upper':>16}  {'gap':>8}  exact"
    rows = [f"{name:11} {text}" for name, text in lines.items()] + ["", head, "-" * len(head)]
    lower, upper = cost.lower.reshape(-1), cost.upper.reshape(-1)
    for i, exact in enumerate(cost.exact.reshape(-1)[:limit]):
        with np.errstate(invalid="ignore"):
            gap = 0.0 if upper[i] == lower[i] else 1 - lower[i] / upper[i]
        rows.append(
            f"{i:9}  {value[i]:16.10g}  {lower[i]:16.10g}  {upper[i]:16.10g}  {gap:8.1e}  "
            f"{'yes' if exact else 'no'}"
        )
    if len(value) > limit:
        rows.append(f"... and {len(value) - limit:,} more; --out FILE has all of them")
    if np.isinf(value).any():
        rows += ["", "inf: no weights of this network give the predictor"]
        if "search" in cost.method:
            rows[-1] += " (none that the search found)"
    return "\n".join(rows)


def save(cost: RepresentationCost, file: Path) -> None:
    """Write values, bounds and weights to a .npz file, whole or not at all."""
    arrays = {f"weights_{k}": w for k, w in enumerate(cost.weights)}
    with files.replaced(file) as temporary, temporary.open("xb") as stream:
        np.savez_compressed(
            stream,
            architecture=np.array(cost.network.spec),
            method=np.array(cost.method),
            predictor=cost.predictor,
            value=cost.value,
            lower=cost.lower,
            upper=cost.upper,
            exact=cost.exact,
            violation=cost.violation,
            allow_pickle=False,
            **arrays,
        )
