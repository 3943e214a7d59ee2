"""The form of a sweep's result: variables, their dimensions, coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import Shape
from linnet_fast.records.observables import dims_of
from linnet_fast.sweeps.batch import first_of_group
from linnet_fast.sweeps.spec import SEED, SweepSpec

PENDING = -1
"""Status of a run that is not there yet."""


@dataclass(frozen=True)
class Variable:
    """A variable of the result: what follows the dimensions of the sweep."""

    name: str
    dims: tuple[str, ...]
    shape: Shape
    dtype: str

    @property
    def fill(self) -> float | int:
        """What stands where there is nothing, or not yet."""
        return np.nan if self.dtype.startswith("float") else PENDING

    @property
    def n_bytes(self) -> int:
        """Bytes of one run."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """The form of a sweep's result."""

    variables: tuple[Variable, ...]
    """The status is the last."""
    coords: Mapping[str, tuple[tuple[str, ...], npt.NDArray[Any]]]
    """Name -> dims and values, of the axis of records."""
    working_bytes: int
    """Of one run while it is trained: weights, and records whether kept or not."""

    @property
    def n_bytes(self) -> int:
        """Bytes of one run."""
        return sum(variable.n_bytes for variable in self.variables)


def layout_of(spec: SweepSpec) -> Layout:
    """Return the form of the result, from the start of one run of each group."""
    found: dict[str, list[npt.NDArray[Any]]] = {}
    axes_of_records = []
    working = 0
    for group in spec.groups:
        index = [np.array([i]) for i in spec.first_of(group)]
        if spec.replicates is not None:
            index.append(np.array([0]))
        trajectory, kept = first_of_group(spec, index)
        axes_of_records.append(trajectory.record_axis)
        parts = [*trajectory.observables.values(), 3 * trajectory.final.weights]
        arrays = [a for part in parts for a in (part if isinstance(part, tuple) else (part,))]
        working = max(working, sum(array.nbytes for array in arrays))
        for name, value in kept.items():
            found.setdefault(name, []).append(value)
    record_dim, record_coords = _record_axis(spec, axes_of_records)
    variables, sizes = [], dict[str, int]()
    # The status last: where it is written, the rest is.
    for name, values in sorted(found.items(), key=lambda item: item[0] == "status"):
        dims = _dims(spec, name, values[0].ndim - 1, record_dim)
        if any(value.ndim != values[0].ndim for value in values):
            msg = f"{name} must have equally many axes for all runs"
            raise ValueError(msg)
        for value in values:
            for dim, size in zip(dims, value.shape[1:], strict=True):
                sizes[dim] = max(sizes.get(dim, 0), size)
        variables.append((name, dims, np.result_type(*values)))
    if clash := (set(sizes) | set(found)) & set(spec.dims):
        msg = f"names of dimensions must not be those of results, got {', '.join(sorted(clash))}"
        raise ValueError(msg)
    _beside(spec, set(found))  # refuses names that are taken
    return Layout(
        tuple(
            Variable(name, dims, tuple(sizes[dim] for dim in dims), str(np.dtype(dtype)))
            for name, dims, dtype in variables
        ),
        record_coords,
        working,
    )


def _dims(spec: SweepSpec, name: str, n: int, record_dim: str) -> tuple[str, ...]:
    if name in ("status", "stopped_at"):
        return ()
    named = {d.name: d for d in spec.derived}
    if name in named:
        dims = named[name].dims
        if dims is None and named[name].of_end:  # the last record of an observable
            dims = dims_of(named[name].needs[0], _evaluated(spec))
        if dims is None:
            dims = tuple(f"{name}_{i}" for i in range(n))
        if len(dims) != n:
            msg = f"derived[{name!r}] must have {n} names of axes, got {dims}"
            raise ValueError(msg)
        return dims
    inner = dims_of(name, _evaluated(spec)) or tuple(f"{name}_{i}" for i in range(n - 1))
    return (record_dim, *inner)


def _evaluated(spec: SweepSpec) -> tuple[str, ...]:
    """Return the names of losses that trainings evaluate."""
    record = spec.training.record
    return () if record is None else tuple(record.evaluate)


def _record_axis(
    spec: SweepSpec, axes: list[npt.NDArray[Any]]
) -> tuple[str, dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]]:
    """Return the name of the axis of records and its coordinate."""
    if not spec.keep_records:
        return "record", {}
    kinds = {"time" if axis.dtype.kind == "f" else "step" for axis in axes}
    if len(kinds) == 1 and all(np.array_equal(axis, axes[0]) for axis in axes):
        name = kinds.pop()
        return name, {name: ((name,), axes[0])}
    # Some axes change when is recorded: so does the coordinate.
    varied = [i for i, n in enumerate(spec.group_shape) if n > 1]
    lengths = [len(axis) if i in varied else 1 for i, axis in enumerate(spec.axes.values())]
    grids = np.meshgrid(*map(np.arange, lengths), indexing="ij")
    group = spec.groups_of([grid.ravel() for grid in grids])
    group = group.reshape([lengths[i] for i in varied])
    names = tuple(name for i, name in enumerate(spec.axes) if i in varied)
    most = max(map(len, axes))
    coords = {}
    for kind in sorted(kinds):
        table = np.full((len(axes), most), np.nan if kind == "time" else PENDING)
        for number, axis in enumerate(axes):
            if (axis.dtype.kind == "f") == (kind == "time"):
                table[number, : len(axis)] = axis
        dtype = np.float64 if kind == "time" else np.int64
        values = table[group].astype(dtype)
        dims = list(names)
        for name in names:
            # Not every choice changes when is recorded.
            first = np.take(values, [0], axis=dims.index(name))
            if np.array_equal(np.broadcast_to(first, values.shape), values, equal_nan=True):
                values = first[(slice(None),) * dims.index(name) + (0,)]
                dims.remove(name)
        coords[kind] = ((*dims, "record"), values)
    return "record", coords


def coordinates(
    spec: SweepSpec, layout: Layout
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]:
    """Return all coordinates of a result: dims and values by name."""
    coords: dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]] = {}
    for name, axis in spec.axes.items():
        coords[name] = ((name,), _named(np.asarray(axis.labels)))
    if spec.replicates is not None:
        coords[SEED] = ((SEED,), np.arange(spec.replicates))
    for name, (axis_name, values) in _beside(spec, {v.name for v in layout.variables}).items():
        coords[name] = ((axis_name,), _named(values))
    return coords | dict(layout.coords)


def _named(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels by which people find them: 9.999999999999999e-06 is 1e-05.

    What is trained on is the value itself.
    """
    if values.dtype != np.float64:
        return values
    rounded = [float(f"{x:.15g}") for x in values.ravel().tolist()]
    pairs = zip(rounded, values.ravel().tolist(), strict=True)
    # Of a number drawn at random all digits count.
    short = [y if len(repr(y)) + 4 < len(repr(x)) else x for y, x in pairs]
    found = np.array(short).reshape(values.shape)
    return found if np.unique(found).size == np.unique(values).size else values


def _beside(spec: SweepSpec, taken: set[str]) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    """Return what varies along an axis besides its labels: name -> axis and values."""
    columns = [
        (name, column, values)
        for name, axis in spec.axes.items()
        for column in axis.columns
        if (values := column.shown()) is not None
        and not (column.path.rpartition(".")[2] == name and np.array_equal(values, axis.labels))
    ]
    short = [column.path.rpartition(".")[2] for _, column, _ in columns]
    taken = taken | set(spec.dims) | set(_RECORD_DIMS)
    result: dict[str, tuple[str, npt.NDArray[Any]]] = {}
    for (axis_name, column, values), last in zip(columns, short, strict=True):
        name = last
        if last in taken or short.count(last) > 1:
            name = column.path.replace(".", "_")
        if name == axis_name:
            continue  # the labels are the names of its values
        if name in taken:
            msg = f"names of results must not be those of parameters, got {name}"
            raise ValueError(msg)
        result[name] = (axis_name, values)
    return result


_RECORD_DIMS = ("step", "time", "record")
