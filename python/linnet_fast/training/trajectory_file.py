"""Files of trajectories: a JSON header and arrays, in ``.npz`` or netCDF. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast import laws
from linnet_fast._base import files, validate
from linnet_fast.losses.binary import LOSSES
from linnet_fast.methods.descent import GradientDescent, GradientFlow, StochasticGradientDescent
from linnet_fast.methods.step_rule import StepRule

if TYPE_CHECKING:
    import xarray

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_T = TypeVar("_T")

_FORMAT = "linnet_fast.Trajectory"
_SCHEMA_VERSION = 4
_HEADER = "linnet_fast"  # the entry of a file that describes the others, as JSON
_CLASSES: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        *LOSSES,
        GradientDescent,
        StochasticGradientDescent,
        GradientFlow,
        StepRule,
        laws.Gaussian,
        laws.Sphere,
        laws.Ball,
        laws.RadialMixture,
    )
}
_INNER_AXES = {"input_cov": 2, "cross_cov": 2, "inputs": 2, "labels": 1, "direction": 1}


def parts(name: str, value: Any, arrays: Arrays) -> dict[str, Any]:
    """Return a dataclass for a header; its arrays go into `arrays`, repeated axes cut."""
    header: dict[str, Any] = {
        "class": type(value).__name__,
        "arrays": [],
        "values": {},
        "parts": {},
    }
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, np.ndarray):
            header["arrays"].append(field.name)
            keep = _INNER_AXES.get(field.name, 0)
            arrays[f"{name}_{field.name}"] = validate.unbroadcast(part, keep=keep)
        elif is_dataclass(part):
            header["parts"][field.name] = parts(f"{name}_{field.name}", part, arrays)
        else:
            header["values"][field.name] = part
    return header


def whole(name: str, header: Mapping[str, Any], array: Callable[[str], npt.NDArray[Any]]) -> Any:
    """Return the dataclass that `parts` took apart."""
    arguments: dict[str, Any] = {field: array(f"{name}_{field}") for field in header["arrays"]}
    for field, part in header["parts"].items():
        arguments[field] = whole(f"{name}_{field}", part, array)
    return _CLASSES[header["class"]](**arguments, **header["values"])


def write(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    arrays: Arrays,
    dataset: Callable[[], xarray.Dataset],
) -> None:
    """Write a file, whole or not at all; `dataset` gives what a ``.nc`` shows with labels."""
    target = _supported(path)
    text = files.to_json({"format": _FORMAT, "schema_version": _SCHEMA_VERSION, **header})
    with files.replaced(target) as temporary:
        if target.suffix == ".npz":
            arrays = arrays | {_HEADER: np.frombuffer(text.encode(), dtype=np.uint8)}
            with temporary.open("xb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            return
        files.optional("netCDF4", "xarray")
        data = dataset()
        for name, array in arrays.items():
            if name not in data.variables:
                dims = [f"{name}_{axis}" for axis in range(array.ndim)]
                data[name] = (dims, array)
        # What the dataset has with fewer axes is stored beside it as it is.
        data["plain_time"] = (
            [f"plain_time_{axis}" for axis in range(arrays["time"].ndim)],
            arrays["time"],
        )
        data.attrs[_HEADER] = text
        data.to_netcdf(temporary, engine="netcdf4", format="NETCDF4")


def read(
    path: str | os.PathLike[str],
    assemble: Callable[[Mapping[str, Any], Callable[[str], npt.NDArray[Any]]], _T],
) -> _T:
    """Return what `assemble` makes of the header of a file and a function from names to arrays."""
    source = _supported(path)
    with source.open("rb"):  # a missing file is an OSError, not a damaged file
        pass
    if source.suffix == ".nc":
        files.optional("netCDF4", "xarray")
        files.optional("xarray", "xarray")
    try:
        if source.suffix == ".npz":
            with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return assemble(_checked(archive[_HEADER].tobytes().decode()), archive.__getitem__)
        xarray = files.optional("xarray", "xarray")
        data = xarray.load_dataset(source, engine="netcdf4", decode_cf=False)

        def array(name: str) -> npt.NDArray[Any]:
            values: npt.NDArray[Any] = data["plain_time" if name == "time" else name].values
            return values

        return assemble(_checked(data.attrs[_HEADER]), array)
    except Exception as error:
        # A damaged file fails in any of the ways of zipfile, zlib, HDF5, json and the checks of the
        # constructors.
        msg = f"{source} is not a readable linnet_fast result: {type(error).__name__}: {error}"
        raise ValueError(msg) from error


def _checked(text: str) -> Mapping[str, Any]:
    header: Mapping[str, Any] = json.loads(text)
    if header["format"] != _FORMAT or header["schema_version"] != _SCHEMA_VERSION:
        found = f"{header['format']} {header['schema_version']}"
        msg = f"expected {_FORMAT} of schema_version {_SCHEMA_VERSION}, got {found}"
        raise ValueError(msg)
    return header


def _supported(path: str | os.PathLike[str]) -> Path:
    result = Path(path)
    if result.suffix not in (".npz", ".nc"):
        msg = f"path must end in .npz or .nc, got {str(result)!r}"
        raise ValueError(msg)
    return result
