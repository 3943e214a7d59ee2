"""Datasets like those of sweeps, and what is read off pictures of them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

mpl.use("agg")
from matplotlib.collections import PolyCollection, QuadMesh

SCALES = np.geomspace(1e-6, 1.0, 7)
STEP_SIZES = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
PENDING, COMPLETED, CONVERGED, DIVERGED, EXHAUSTED = range(-1, 4)


def sweep(coords, *, low=1e-5, status=None, seed=0):
    """Return a sweep with the given coordinates and random losses, log-uniform in (low, 1)."""
    dims = tuple(coords)
    shape = tuple(len(values) for values in coords.values())
    loss = low ** np.random.default_rng(seed).uniform(size=shape)
    status = np.zeros(shape, np.int8) if status is None else np.array(status, np.int8)
    data = xr.Dataset(
        {
            "stopped_at": (dims, np.full(shape, 100)),
            "other": (dims, loss + 1),
            "final_loss": (dims, np.where(np.isin(status, (PENDING, DIVERGED)), np.nan, loss)),
            "status": (dims, status),
        },
        coords,
    )
    data.status.attrs = {
        "flag_values": [-1, 0, 1, 2, 3],
        "flag_meanings": "pending completed converged diverged exhausted",
    }
    return data


def grid(**options):
    return sweep({"scale": SCALES, "step_size": STEP_SIZES, "seed": range(4)}, **options)


def random_design(n_runs=30, **options):
    rng = np.random.default_rng(1)
    data = sweep({"run": range(n_runs), "seed": range(3)}, **options).drop_vars("run")
    return data.assign_coords(
        scale=("run", 10.0 ** rng.uniform(-6, 0, n_runs)),
        step_size=("run", rng.uniform(0.1, 0.5, n_runs)),
        init=("run", np.array(["gaussian", "balanced"])[np.arange(n_runs) % 2]),
    )


def training():
    """Two scales, three seeds, four modes; the second seed of the first scale converged early."""
    steps = np.array([0, 1, 10, 100, 1000])
    data = sweep({"scale": [0.1, 1.0], "seed": range(3)})
    data.status[0, 1], data.status[1, 2] = CONVERGED, DIVERGED
    loss = np.exp(-steps * np.arange(1, 7).reshape(2, 3, 1) / 500)
    loss[0, 1, 3:] = np.nan
    times = np.arange(24.0).reshape(2, 3, 4)
    return data.assign(
        loss=(("scale", "seed", "step"), loss),
        learning_times=(("scale", "seed", "mode"), times),
    ).assign_coords(step=steps)


def mesh_of(ax):
    (mesh,) = [artist for artist in ax.collections if isinstance(artist, QuadMesh)]
    return mesh


def cells_of(ax):
    """Return edges of the cells along x and y."""
    corners = mesh_of(ax).get_coordinates()
    return corners[0, :, 0], corners[:, 0, 1]


def cells_drawn_over(ax, *, hatched):
    """Return the corners of each cell with a patch of its own."""
    found = [c for c in ax.collections if isinstance(c, PolyCollection)]
    found = [c for c in found if (c.get_hatch() is not None) == hatched]
    return [path.vertices for collection in found for path in collection.get_paths()]


def entries(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def medians(variable, dims):
    rest = [dim for dim in variable.dims if dim not in dims]
    return np.nanmedian(variable.transpose(*rest, *dims), axis=tuple(range(len(rest))))


def contain(edges, places):
    edges = np.sort(edges)
    return (edges[:-1] < places).all() and (places < edges[1:]).all()


def bar_of(ax):
    return mesh_of(ax).colorbar
