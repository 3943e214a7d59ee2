"""What a sweep's store looks like: its arrays, its note on itself, and the check that both are so."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files
from linnet_fast._base.validate import Shape
from linnet_fast.sweeps.layout import PENDING, Layout, Variable, coordinates
from linnet_fast.sweeps.spec import SEED, SweepSpec
from linnet_fast.training import plain
from linnet_fast.training.state import Status

SCHEMA = 1
"""Counts up with every change of what a store looks like."""

MARK = "linnet_fast_sweep"
SPEC = "spec"


class SweepError(RuntimeError):
    """A sweep that cannot begin or go on: what is done already is kept."""


def is_store(path: Path) -> bool:
    """Whether there is a sweep's store."""
    try:
        return MARK in _json(path).get("attributes", {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def write_group(
    path: Path, spec: SweepSpec, layout: Layout, chunk: Shape, isa: str, note: object
) -> None:
    """Write the metadata of a store: its sweep, its variables, its coordinates."""
    zarr = files.optional("zarr", "sweep")
    arrays: plain.Arrays = {}
    data = spec.encode(arrays)
    content = {
        "schema": SCHEMA,
        "spec": data,
        "spec_id": spec.id,
        "isa": isa,
        "shape": list(spec.shape),
        "chunk": list(chunk),
        "variables": noted(layout.variables),
        "coordinates": described(coordinates(spec, layout)),
    }
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    for variable in layout.variables:
        write_variable(group, spec, variable, chunk)
    for name, (dims, values) in coordinates(spec, layout).items():
        write_coordinate(group, name, dims, values)
    held = group.create_group(SPEC)
    for digest, array in arrays.items():
        write_plain(held, digest, array)
    group.attrs.update({MARK: signed(path, content), "provenance": files.to_json(note)})


def signed(path: Path, note: Mapping[str, Any]) -> dict[str, Any]:
    """Return a note with digests of the metadata of all arrays, and of itself."""
    names = [*(v["name"] for v in note["variables"]), *note["coordinates"], SPEC]
    held = sorted(f"{SPEC}/{file.parent.name}" for file in (path / SPEC).glob("*/zarr.json"))
    metadata = {name: _digest_of(path / name) for name in [*names, *held]}
    described = {**note, "metadata": metadata}
    described.pop("digest", None)
    return described | {"digest": plain.digest(described)}


def _digest_of(folder: Path) -> str:
    return hashlib.sha256(files.content(folder / "zarr.json")).hexdigest()


def _codecs(zarr: Any) -> dict[str, Any]:
    """Return how arrays are stored: plain numbers with a checksum, each chunk one file."""
    return {
        "compressors": [zarr.codecs.Crc32cCodec()],
        "filters": None,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }


def attributes_of(variable: Variable) -> dict[str, Any]:
    """Return what a variable says about itself."""
    if variable.name != "status":
        return {}
    return {
        "flag_values": [PENDING, *map(int, Status)],
        "flag_meanings": " ".join(["pending", *(status.name.lower() for status in Status)]),
    }


def noted(variables: Iterable[Variable]) -> list[dict[str, Any]]:
    """Return what the note of a store says of its variables."""
    return [
        {"name": v.name, "dims": list(v.dims), "shape": list(v.shape), "dtype": v.dtype}
        for v in variables
    ]


def write_variable(group: Any, spec: SweepSpec, variable: Variable, chunk: Shape) -> None:
    """Write the metadata of a variable; of its runs none is there yet."""
    group.create_array(
        variable.name,
        shape=(*spec.shape, *variable.shape),
        # A result without an entry still has a file.
        chunks=(*chunk, *(max(n, 1) for n in variable.shape)),
        dtype=variable.dtype,
        fill_value=variable.fill,
        dimension_names=(*spec.dims, *variable.dims),
        attributes=attributes_of(variable),
        overwrite=True,
        **_codecs(files.optional("zarr", "sweep")),
    )


def refuse_others(path: Path, name: str) -> None:
    """Refuse to make a variable where something else is; what was cut short before its first chunk is not."""
    folder = path / name
    begun = folder.is_dir() and not folder.is_symlink()
    if os.path.lexists(folder) and not (
        begun and {file.name for file in folder.iterdir()} <= {"zarr.json"}
    ):
        msg = f"{folder} must be free for what is added, got something else there: move it away"
        raise SweepError(msg)


def write_coordinate(group: Any, name: str, dims: tuple[str, ...], values: Any) -> None:
    """Write a coordinate of a store, text as such."""
    array = np.asarray(values)
    if array.dtype.kind == "U":
        array = array.astype(np.dtypes.StringDType())
    write_plain(group, name, array, dims)


def write_plain(
    group: Any, name: str, array: npt.NDArray[Any], dims: tuple[str, ...] | None = None
) -> None:
    """Write an array of a store in one chunk."""
    zarr = files.optional("zarr", "sweep")
    group.create_array(
        name, data=array, chunks=array.shape, dimension_names=dims, overwrite=True, **_codecs(zarr)
    )


def check_metadata(path: Path, growing: bool) -> None:
    """Refuse a store whose arrays are not what its note says they are.

    Files of others are not trusted: what they ask for beyond that is never done.
    """
    note = note_of(path)
    if note["schema"] != SCHEMA:
        msg = f"{path} must be of schema {SCHEMA}, got {note['schema']}: another version made it"
        raise SweepError(msg)
    if plain.digest({k: v for k, v in note.items() if k != "digest"}) != note["digest"]:
        msg = "its note on the sweep is not what was written"
        raise ValueError(msg)
    for name in (*(v["name"] for v in note["variables"]), *note["coordinates"]):
        if not name.isidentifier():  # else it may lead out of the store
            msg = f"{name!r} is no name of an array"
            raise ValueError(msg)
    dims = _dims_of(note)
    for v in note["variables"]:
        meta = _json(path / v["name"])
        expected = {
            "data_type": v["dtype"],
            "dimension_names": [*dims, *v["dims"]],
            "chunks": [*note["chunk"], *(max(n, 1) for n in v["shape"])],
            "codecs": ["bytes", "crc32c"],
            "fill_value": "NaN" if v["dtype"].startswith("float") else PENDING,
        }
        shape = [*note["shape"], *v["shape"]]
        _compare(v["name"], _of_metadata(meta), expected)
        if meta["shape"] == shape:
            continue
        if len(meta["shape"]) == len(shape) and all(
            n >= m for n, m in zip(meta["shape"], shape, strict=True)
        ):
            if growing:
                continue
            msg = f"{path} is being extended: where that was cut short, make the same call again"
            raise SweepError(msg)
        msg = f"{v['name']} must have shape {shape}, got {meta['shape']}"
        raise ValueError(msg)
    if growing:
        return
    for name, digest in note["metadata"].items():
        if _digest_of(path / name) != digest:
            msg = f"{name}/zarr.json is not what was written"
            raise ValueError(msg)
    for name, described in note["coordinates"].items():
        meta = _json(path / name)
        found = _of_metadata(meta)
        text = described["data_type"] == "string"
        codecs = ["vlen-utf8" if text else "bytes", "crc32c"]
        expected = {**described, "chunks": described["shape"], "codecs": codecs}
        _compare(
            name, found | {"shape": meta["shape"]}, {**expected, "fill_value": found["fill_value"]}
        )
        file = ".".join(["c", *("0" for _ in described["shape"])])
        if not (path / name / file).exists():
            msg = f"{name}/{file} is missing"
            raise ValueError(msg)


def refuse_links(path: Path, names: Iterable[str]) -> None:
    """Refuse a store parts of which are elsewhere: there, files would be written and deleted."""
    for name in names:
        if (path / name).is_symlink():
            msg = (
                f"{path / name} must be a folder of the store itself, got a symbolic link: put what "
                "it points to in its place"
            )
            raise SweepError(msg)


def note_of(path: Path) -> Any:
    """Return what a store says of its sweep."""
    return _json(path)["attributes"][MARK]


def _json(folder: Path) -> Any:
    return json.loads(files.content(folder / "zarr.json").decode())


def _dims_of(note: Mapping[str, Any]) -> list[str]:
    spec = note["spec"]
    names = [axis["name"] for axis in spec["axes"]]
    return names if spec["replicates"] is None else [*names, SEED]


def _of_metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of an array's metadata."""
    if meta.get("storage_transformers"):
        msg = f"storage_transformers must be none, got {meta['storage_transformers']}"
        raise ValueError(msg)
    return {
        "data_type": meta["data_type"],
        # Left out where there are none.
        "dimension_names": meta.get("dimension_names") or [],
        "chunks": meta["chunk_grid"]["configuration"]["chunk_shape"],
        "codecs": [codec["name"] for codec in meta["codecs"]],
        "fill_value": meta["fill_value"],
    }


def _compare(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        if found[key] != value:
            msg = f"{key} of {name} must be {value}, got {found[key]}"
            raise ValueError(msg)


def described(
    coords: Mapping[str, tuple[tuple[str, ...], npt.NDArray[Any]]],
) -> dict[str, dict[str, Any]]:
    """Return the form of coordinates, by which what is read is checked."""
    return {
        name: {
            "dimension_names": list(dims),
            "shape": list(values.shape),
            "data_type": "string" if values.dtype.kind == "U" else str(values.dtype),
        }
        for name, (dims, values) in coords.items()
    }


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Let one process at a time extend a store, and none open it meanwhile.

    A lock dies with its process. Where the system has none, two that extend at once may find a store
    that is being changed; neither loses what is there.
    """
    try:
        import fcntl  # noqa: PLC0415
    except ImportError:  # Windows
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def checked() -> Any:
    """Return the module that needs the packages of sweeps."""
    files.optional("google_crc32c", "sweep")
    from linnet_fast.sweeps import checked  # noqa: PLC0415

    return checked
