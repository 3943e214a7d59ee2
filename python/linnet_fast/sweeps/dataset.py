"""A sweep's result as a dataset: that of a store reads when asked."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linnet_fast._base import files
from linnet_fast.sweeps.form import MARK, SweepError, check_metadata, checked, is_store, locked
from linnet_fast.sweeps.results import with_names
from linnet_fast.training import plain

if TYPE_CHECKING:
    import xarray


def open_dataset(path: Path) -> xarray.Dataset:
    """Return a store as a Dataset that reads when asked."""
    xr = files.optional("xarray", "sweep")
    files.optional("zarr", "sweep")
    if not is_store(path):
        msg = f"{path} must be a sweep's store, got something else"
        raise SweepError(msg)
    try:
        with locked(path, shared=True), warnings.catch_warnings():
            check_metadata(path, growing=False)
            # What a process that was killed left behind, and files of others.
            warnings.filterwarnings("ignore", r"Object at .* is not recognized")
            data: xarray.Dataset = xr.open_zarr(
                checked().CheckedStore(path, read_only=True), chunks=None, consolidated=False
            )
        return _arranged(data)
    except (AttributeError, KeyError, ValueError, TypeError, OSError) as error:
        msg = f"{path} is damaged: {error}"
        raise SweepError(msg) from error


def _arranged(data: xarray.Dataset) -> xarray.Dataset:
    """Return what a store holds as the result that it is."""
    note = data.attrs[MARK]
    variables = {variable["name"] for variable in note["variables"]}
    data = data.set_coords([name for name in data.data_vars if name not in variables])
    # Texts as in results in memory; and everything in one order whatever the file system's.
    texts = {
        name: (array.dims, np.array(array.to_numpy().tolist()))
        for name, array in data.coords.items()
        if array.dtype.kind == "T"
    }
    data = data.assign_coords(texts)[[variable["name"] for variable in note["variables"]]]
    # Read before all else: what is read later is there wherever this says so.
    data["status"].load()
    data.attrs = attributes(note["spec_id"], note["spec"], data.attrs["provenance"])
    return with_names(data)


def attributes(spec_id: str, spec_data: object, provenance: str) -> dict[str, str]:
    """Return the attributes of a result: what was asked for, and by what it was made."""
    return {
        "spec_id": spec_id,
        "spec": plain.text(spec_data),
        "provenance": provenance,
    }
