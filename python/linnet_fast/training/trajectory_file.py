"""Files of trajectories: a JSON header and arrays, in ``.npz`` or netCDF. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import Shape
from linnet_fast.networks.chain import Chain
from linnet_fast.training.state import State

if TYPE_CHECKING:
    import xarray

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_T = TypeVar("_T")

_FORMAT = "linnet_fast.Trajectory"
_SCHEMA_VERSION = 5
_HEADER = "linnet_fast"  # the entry of a file that describes the others, as JSON


def state_parts(name: str, state: State, arrays: Arrays) -> dict[str, Any]:
    """Return a state for a header; its arrays go into `arrays`, repeated run axes cut."""
    n_runs = state.status.ndim
    stored: Arrays = {f"weights_{i}": array for i, array in enumerate(state.weights)}
    for i, kept in enumerate(state.memory):
        stored |= {f"memory_{i}_{k}": array for k, array in enumerate(kept)}
    for key, array in stored.items():
        arrays[f"{name}_{key}"] = validate.unbroadcast(array, keep=array.ndim - n_runs)
    for key in ("status", "stopped_at", "elapsed"):
        if (value := getattr(state, key)) is not None:
            arrays[_state_name(name, key)] = value
    return {
        "step": state.step,
        "time": state.time,
        "has_elapsed": state.elapsed is not None,
        "n_memories": len(state.memory[0]) if state.memory else 0,
    }


def _state_name(name: str, key: str) -> str:
    """Return the name of an array of a state; how runs ended stands among the results."""
    return key if name == "final" and key in ("status", "stopped_at") else f"{name}_{key}"


def state_whole(
    name: str,
    header: Mapping[str, Any],
    array: Callable[[str], npt.NDArray[Any]],
    network: Chain,
) -> State:
    """Return the state that `state_parts` took apart; only that at the end has no repeated axes."""
    status = array(_state_name(name, "status"))

    def full(key: str, shape: Shape) -> npt.NDArray[Any]:
        stored = array(f"{name}_{key}")
        return stored if name == "final" else np.broadcast_to(stored, (*status.shape, *shape))

    memory = tuple(
        tuple(full(f"memory_{i}_{k}", shape) for k in range(header["n_memories"]))
        for i, shape in enumerate(network.shapes)
    )
    return State(
        tuple(full(f"weights_{i}", shape) for i, shape in enumerate(network.shapes)),
        header["step"],
        status,
        array(_state_name(name, "stopped_at")),
        header["time"],
        array(f"{name}_elapsed") if header["has_elapsed"] else None,
        memory if header["n_memories"] else (),
    )


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
                return assemble(*_checked(archive[_HEADER].tobytes().decode(), archive.__getitem__))
        xarray = files.optional("xarray", "xarray")
        data = xarray.load_dataset(source, engine="netcdf4", decode_cf=False)

        def array(name: str) -> npt.NDArray[Any]:
            values: npt.NDArray[Any] = data["plain_time" if name == "time" else name].values
            return values

        return assemble(*_checked(data.attrs[_HEADER], array))
    except Exception as error:
        # A damaged file fails in any of the ways of zipfile, zlib, HDF5, json and the checks of the
        # constructors.
        msg = f"{source} is not a readable linnet_fast result: {type(error).__name__}: {error}"
        raise ValueError(msg) from error


def _checked(
    text: str, array: Callable[[str], npt.NDArray[Any]]
) -> tuple[Mapping[str, Any], Callable[[str], npt.NDArray[Any]]]:
    """Return the header of a file, and its arrays by name, as files of this version have them."""
    header: Mapping[str, Any] = json.loads(text)
    known = header["format"] == _FORMAT and header["schema_version"] in (4, _SCHEMA_VERSION)
    if not known:
        found = f"{header['format']} {header['schema_version']}"
        msg = f"expected {_FORMAT} of schema_version {_SCHEMA_VERSION} or 4, got {found}"
        raise ValueError(msg)
    return (header, array) if header["schema_version"] == _SCHEMA_VERSION else _of_4(header, array)


def _of_4(
    header: Mapping[str, Any], array: Callable[[str], npt.NDArray[Any]]
) -> tuple[Mapping[str, Any], Callable[[str], npt.NDArray[Any]]]:
    """Return a header of schema 4 and its arrays as those of schema 5."""
    nouns: Arrays = {}

    def noun(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {"kind": part["class"], **part["values"]}
        for field in part["arrays"]:
            digest = f"{name}_{field}"
            nouns[digest] = array(digest)
            values[field] = {"array": digest}
        for field, inner in part["parts"].items():
            values[field] = noun(f"{name}_{field}", inner)
        return values

    def state(name: str, step: object, time: object) -> dict[str, Any]:
        return {
            "step": step,
            "time": time,
            "has_elapsed": name in header["elapsed"],
            "n_memories": 0,
        }

    def read(name: str) -> npt.NDArray[Any]:
        return nouns[name.removeprefix("array_")] if name.startswith("array_") else array(name)

    parts = {key: noun(key, header[key]) for key in ("loss_function", "method")}
    states = {
        "start": state("start", header["start_step"], header["start_time"]),
        "final": state("final", header["step"], header["final_time"]),
    }
    return {**header, **parts, **states, "arrays": list(nouns)}, read


def _supported(path: str | os.PathLike[str]) -> Path:
    result = Path(path)
    if result.suffix not in (".npz", ".nc"):
        msg = f"path must end in .npz or .nc, got {str(result)!r}"
        raise ValueError(msg)
    return result
