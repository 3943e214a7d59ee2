"""Files of trajectories: a JSON header and arrays, in ``.npz`` or netCDF. Nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, npy, validate
from linnet_fast._base.validate import Shape
from linnet_fast.methods.base import Method
from linnet_fast.networks.chain import Chain
from linnet_fast.training import file_header, netcdf
from linnet_fast.training.clock import CLOCK, Clock
from linnet_fast.training.state import Inside, State

if TYPE_CHECKING:
    import xarray

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_T = TypeVar("_T")

_LONGEST_REASON = 500  # characters


def state_parts(name: str, state: State, arrays: Arrays) -> dict[str, Any]:
    """Return a state for a header; its arrays go into `arrays`, repeated run axes cut."""
    n_runs = state.status.ndim
    stored: Arrays = {f"weights_{i}": array for i, array in enumerate(state.weights)}
    for i, kept in enumerate(state.memory):
        stored |= {f"memory_{i}_{k}": array for k, array in enumerate(kept)}
    inside = state.inside if name == "final" else ()
    for j, part in enumerate(inside):
        stored |= {f"inside_{j}_origin_{i}": array for i, array in enumerate(part.origin)}
        stored |= {f"inside_{j}_weights_{i}": array for i, array in enumerate(part.weights)}
        for i, kept in enumerate(part.memory):
            stored |= {f"inside_{j}_memory_{i}_{k}": array for k, array in enumerate(kept)}
        if part.which is not None:
            arrays[f"{name}_inside_{j}_which"] = part.which.astype(np.int64)
    for key, array in stored.items():
        keep = array.ndim - n_runs if key.count("inside") == 0 else 2
        arrays[f"{name}_{key}"] = validate.unbroadcast(array, keep=keep)
    clock = state.clock
    if clock is not None and clock.is_first and name == "final":
        clock = None  # it follows from the method
    if clock is not None:
        arrays |= {f"{name}_clock_{part}": getattr(clock, part) for part in CLOCK}
    for key in ("status", "stopped_at", "elapsed"):
        if (value := getattr(state, key)) is not None:
            arrays[_state_name(name, key)] = value
    return {
        "step": state.step,
        "time": state.time,
        "has_elapsed": state.elapsed is not None,
        "n_memories": len(state.memory[0]) if state.memory else 0,
        **({"memory_from": state.memory_from} if state.memory_from else {}),
        **({"memory_of": state.memory_of} if state.memory_of else {}),
        **_inside_header(inside),
        **({} if clock is None else {"has_clock": True}),
    }


def _inside_header(inside: tuple[Inside, ...]) -> dict[str, Any]:
    """Return what a header says of small states: files without have nothing."""
    if not inside:
        return {}
    return {"n_inside": len(inside), "has_parts": inside[0].which is not None}


def _state_name(name: str, key: str) -> str:
    """Return the name of an array of a state; how runs ended stands among the results."""
    return key if name == "final" and key in ("status", "stopped_at") else f"{name}_{key}"


def state_whole(
    name: str,
    header: Mapping[str, Any],
    array: Callable[[str], npt.NDArray[Any]],
    network: Chain,
    method: Method,
) -> State:
    """Return the state that `state_parts` took apart; only that at the end has no repeated axes."""
    status = array(_state_name(name, "status"))

    def full(key: str, shape: Shape) -> npt.NDArray[Any]:
        stored = array(f"{name}_{key}")
        if name == "final":
            return stored
        whole = (*status.shape, *shape)
        validate.fits_batch(f"{name}_{key}", stored.shape, whole)
        return np.broadcast_to(stored, whole)

    memory = tuple(
        tuple(full(f"memory_{i}_{k}", shape) for k in range(header["n_memories"]))
        for i, shape in enumerate(network.shapes)
    )
    n_inside = header.get("n_inside", 0) if name == "final" else 0
    n_inside = validate.integer("n_inside of final", n_inside, low=0, high=status.size)
    inside = tuple(_inside(j, header, array, network, status.shape) for j in range(n_inside))
    return State(
        tuple(full(f"weights_{i}", shape) for i, shape in enumerate(network.shapes)),
        header["step"],
        status,
        array(_state_name(name, "stopped_at")),
        header["time"],
        array(f"{name}_elapsed") if header["has_elapsed"] else None,
        memory if header["n_memories"] else (),
        inside,
        _clock(name, header, array, method),
        header.get("memory_from", 0),
        header.get("memory_of"),
    )


def _clock(
    name: str,
    header: Mapping[str, Any],
    array: Callable[[str], npt.NDArray[Any]],
    method: Method,
) -> Clock | None:
    """Return the clock of a state at the end: files have none of steps that have always had their size."""
    if header.get("has_clock"):
        step, time, size = (array(f"{name}_clock_{part}") for part in CLOCK)
        return Clock(step, time, size)
    constant = method.constant_step_size if method.rule is None else None
    if name != "final" or constant is None:
        return None
    return Clock(np.zeros((), np.int64), np.zeros(()), constant)


def _inside(
    number: int,
    header: Mapping[str, Any],
    array: Callable[[str], npt.NDArray[Any]],
    network: Chain,
    runs: Shape,
) -> Inside:
    """Return a small state of a file; whether it is that of the large one is seen by `train`."""
    name = f"final_inside_{number}"
    which = None
    if header.get("has_parts"):
        which = validate.integer_array(f"{name}_which", array(f"{name}_which"), low=0, high=2**62)
    lead = runs if which is None else which.shape

    def whole(key: str, shape: Shape | None = None) -> npt.NDArray[Any]:
        stored = array(f"{name}_{key}")
        inner = stored.shape[-2:] if shape is None else shape
        validate.fits_batch(f"{name}_{key}", stored.shape, (*lead, *inner))
        return np.broadcast_to(stored, (*lead, *inner))

    numbers, n_memories = range(network.n_arrays), range(header["n_memories"])
    memory = tuple(tuple(whole(f"memory_{i}_{k}") for k in n_memories) for i in numbers)
    return Inside(
        tuple(whole(f"origin_{i}", network.shapes[i]) for i in numbers),
        tuple(whole(f"weights_{i}") for i in numbers),
        memory if n_memories else (),
        which,
    )


def write(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    arrays: Arrays,
    dataset: Callable[[], xarray.Dataset],
) -> None:
    """Write a file, whole or not at all; `dataset` gives what a ``.nc`` shows with labels."""
    target = _supported(path)
    is_netcdf = target.suffix == ".nc"
    text = files.to_json(
        {
            "format": file_header.FORMAT,
            "schema_version": file_header.SCHEMA_VERSION,
            **header,
            "contents": file_header.contents(arrays, signed=is_netcdf),
        }
    )
    # What would be refused when it is read is not written.
    file_header.check_length(len(text))
    file_header.check_network(header["network"], {n: a.shape for n, a in arrays.items()})
    if is_netcdf:
        files.optional("netCDF4", "xarray")
    with files.replaced(target) as temporary:
        if is_netcdf:
            netcdf.write(temporary, text, arrays, dataset())
            return
        arrays = arrays | {netcdf.HEADER: np.frombuffer(text.encode(), dtype=np.uint8)}
        with temporary.open("xb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def read(
    path: str | os.PathLike[str],
    assemble: Callable[[Mapping[str, Any], Callable[[str], npt.NDArray[Any]]], _T],
) -> _T:
    """Return what `assemble` makes of the header of a file and a function from names to arrays.

    What the file says of itself is checked before an array is read: names, kinds of numbers, shapes,
    sizes beside that of the file, and that the network is one that its arrays can be of.
    """
    source = _supported(path)
    with files.opened(source) as file:  # a missing file is an OSError, not a damaged file
        if source.suffix == ".nc":
            files.optional("netCDF4", "xarray")
        try:
            if source.suffix == ".npz":
                return assemble(*_checked(_Npz(file)))
            with netcdf.opened(source, file) as content:
                return assemble(*_checked(content))
        except MemoryError:
            reason = "it takes more memory than there is"
        except RecursionError:
            reason = "its description is nested too deeply"
        except KeyError as error:
            reason = f"its description has no {error}"
        except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
            # What a file says fails in any of the ways of the checks of the constructors.
            reason = str(error)
    shown = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."
    msg = f"{source} is not a readable linnet_fast result: {shown}"
    raise ValueError(msg)


class _Npz:
    """A ``.npz`` as `netcdf.NetCDF` is one; the archive has checksums of its own."""

    signed = is_sealed = True

    def __init__(self, file: BinaryIO) -> None:
        self._archive = npy.Archive(file)
        self.file_size = files.size_of(file)

    def header(self) -> str:
        form = self._archive.form(netcdf.HEADER)
        if form.dtype != np.uint8:
            msg = "its description must be bytes of a text"
            raise ValueError(msg)
        file_header.check_length(form.n_items)
        try:
            return self._archive[netcdf.HEADER].tobytes().decode()
        except UnicodeDecodeError as error:
            msg = "its description is no text"
            raise ValueError(msg) from error

    def forms(self) -> dict[str, npy.Form]:
        names = (name for name in self._archive.names if name != netcdf.HEADER)
        return {name: self._archive.form(name) for name in names}

    def n_bytes(self, name: str) -> int:
        return self._archive.form(name).n_bytes

    def array(self, name: str) -> npt.NDArray[Any]:
        return self._archive[name]


def _checked(
    content: _Npz | netcdf.NetCDF,
) -> tuple[Mapping[str, Any], Callable[[str], npt.NDArray[Any]]]:
    """Return the header of a file, and its arrays by name, as files of this version have them."""
    header = file_header.parsed(content.header())
    names: Mapping[str, Mapping[str, Any]]
    is_new = header["schema_version"] == file_header.SCHEMA_VERSION
    if is_new and not content.signed:
        msg = "its description is damaged: the digest is missing"
        raise ValueError(msg)
    forms = content.forms()
    file_header.check_forms(header, forms)
    names = header["contents"] if is_new else {name: {} for name in forms}
    room = npy.Room(content.file_size)
    for name in names:
        room.take(name, content.n_bytes(name))

    def array(name: str) -> npt.NDArray[Any]:
        if name not in names:
            msg = f"it has no array {name}"
            raise ValueError(msg)
        values = content.array(name)
        said = names[name].get("digest")
        if not content.is_sealed and said and said != file_header.digest(values):
            msg = f"{name} is damaged: it is not what was written"
            raise ValueError(msg)
        return values

    whole = _of_4(header, array) if header["schema_version"] == 4 else (header, array)
    file_header.check_parts(whole[0])
    file_header.check_network(header["network"], {n: form.shape for n, form in forms.items()})
    return whole


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
