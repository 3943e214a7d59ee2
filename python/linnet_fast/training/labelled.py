"""Trajectories as labelled datasets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast._base import files, validate
from linnet_fast.records.observables import dims_of
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    import xarray

    from linnet_fast.training.trajectory import Trajectory


def dataset(
    trajectory: Trajectory, dims: Sequence[str] | None, coords: Mapping[Hashable, Any] | None
) -> xarray.Dataset:
    """Return what `Trajectory.to_xarray` does.

    Parameters
    ----------
    trajectory : Trajectory
        Whose records.
    dims, coords
        As there.
    """
    xr = files.optional("xarray", "xarray")
    run_ndim = len(trajectory.run_shape)
    names = tuple(f"run_{i}" for i in range(run_ndim))
    if dims is not None:
        names = (dims,) if isinstance(dims, str) else validate.texts("dims", dims)
    if isinstance(dims, str) or len(names) != run_ndim or len(set(names)) != run_ndim:
        msg = f"dims must be {run_ndim} different names, one per run axis, got {names}"
        raise ValueError(msg)
    if coords is not None:
        validate.one_of("coords", coords, Mapping)
    found = variables(trajectory, names)
    inner = {dim for own, _ in found.values() for dim in own[run_ndim:]}
    if clash := set(names) & (inner | set(found) | {"step", "time"}):
        msg = f"dims must not be names the result uses itself, got {', '.join(sorted(clash))}"
        raise ValueError(msg)
    if clash := {"step", "time"} & set(coords or {}):
        msg = f"coords must name run axes, got {', '.join(sorted(clash))}"
        raise ValueError(msg)
    own_coords: dict[Hashable, Any] = {"time": ("time", trajectory.time)}
    if trajectory.steps is not None:
        # A step size that is the same along a run axis gives a time without that axis.
        lead = (1,) * (run_ndim + 1 - trajectory.time.ndim) + trajectory.time.shape[:-1]
        time_dims = [name for name, size in zip(names, lead, strict=True) if size > 1]
        time = trajectory.time.reshape(*(size for size in lead if size > 1), trajectory.steps.size)
        own_coords = {"step": ("step", trajectory.steps), "time": ((*time_dims, "step"), time)}
    attrs = {"network": trajectory.network.spec, "provenance": files.to_json(trajectory.provenance)}
    data: xarray.Dataset = xr.Dataset(found, dict(coords or {}) | own_coords, attrs)
    data["status"].attrs = {
        "flag_values": np.array(list(Status), dtype=np.int8),
        "flag_meanings": " ".join(status.name.lower() for status in Status),
    }
    return data


def variables(
    trajectory: Trajectory, names: tuple[str, ...]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return dims and array of each variable, by name.

    Parameters
    ----------
    trajectory : Trajectory
        Whose records.
    names : tuple of str
        Of the run axes.
    """
    hidden = (f"hidden_{i}" for i in range(1, trajectory.network.n_arrays))
    units = ("in", *hidden, "out")
    lead = (*names, "time" if trajectory.steps is None else "step")
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, array in trajectory.observables.items():
        if name == "weights":
            for i, part in enumerate(array):
                own: tuple[str, ...] = (units[i + 1], units[i])
                if not trajectory.network.is_dense:
                    own = tuple(
                        f"weights_{i}_{k}" for k in range(len(trajectory.network.shapes[i]))
                    )
                found[f"weights_{i}"] = ((*lead, *own), part)
        else:
            inner = np.ndim(array) - len(lead)
            dims = dims_of(name, trajectory.evaluated) or tuple(f"{name}_{i}" for i in range(inner))
            found[name] = ((*lead, *dims), array)
    found["status"] = (names, trajectory.status)
    found["stopped_at"] = (names, trajectory.stopped_at)
    return found
