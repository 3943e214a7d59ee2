"""Results of a sweep as a table for other programs: a line per run, a column per number."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast._base import files
from linnet_fast.cli import sweep_table
from linnet_fast.cli.outputs import Failed
from linnet_fast.sweeps.layout import PENDING
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from xarray import Dataset

SUFFIXES = (".csv", ".parquet")

_MOST_COLUMNS = 10_000


def lines(data: Dataset, select: Mapping[str, Any]) -> Any:  # a DataFrame
    """Return one line per run, with its parameters, status and results.

    What has more axes has a column per entry, ``learning_times_0``, ``learning_times_1``, ...

    Parameters
    ----------
    data : Dataset
        Of a sweep.
    select : mapping
        Parameter -> the value whose runs are kept.

    Raises
    ------
    ValueError
        If a selection is none, or there would be more than 10,000 columns.
    """
    data = sweep_table.selected(data, select)
    dims = data["status"].dims
    columns: dict[str, Any] = {}
    for name, array in data.drop_vars("status").data_vars.items():
        inner = [dim for dim in array.dims if dim not in dims]
        if not inner:
            columns[str(name)] = (dims, array.transpose(*dims).to_numpy())
            continue
        flat = array.transpose(*dims, *inner).to_numpy().reshape(*data["status"].shape, -1)
        if len(columns) + flat.shape[-1] > _MOST_COLUMNS:
            msg = f"columns must be at most {_MOST_COLUMNS:,}, got {flat.shape[-1]:,} of {name}"
            raise ValueError(msg)
        columns |= {f"{name}_{i}": (dims, flat[..., i]) for i in range(flat.shape[-1])}
    names = {**{int(s): s.name.lower() for s in Status}, PENDING: "pending"}
    told = np.vectorize(names.get, otypes=[object])(data["status"].transpose(*dims).to_numpy())
    columns["status"] = (dims, told)
    kept = [name for name, coord in data.coords.items() if set(coord.dims) <= set(dims)]
    table = data[["status"]].drop_vars("status")[kept].assign(columns)
    if not dims:
        table = table.expand_dims("run")
        dims = ("run",)
    return table.to_dataframe(dim_order=list(dims)).reset_index()


def save(data: Dataset, select: Mapping[str, Any], file: Path) -> None:
    """Write the lines into a .csv or .parquet file, whole or not at all."""
    table = lines(data, select)
    if file.suffix == ".parquet":
        try:
            importlib.import_module("pyarrow")
        except ImportError:
            msg = f"{file} needs pyarrow: pip install pyarrow"
            raise Failed(msg) from None
    with files.replaced(file) as temporary:
        if file.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
