"""What ``linnet-fast sweep`` and ``linnet-fast show`` do and say; tables and pictures are made beside."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linnet_fast._base import wording
from linnet_fast._base.config import config
from linnet_fast.cli import outputs
from linnet_fast.cli.sweep_workers import n_there
from linnet_fast.losses.registry import LOSSES
from linnet_fast.sweeps.file.reader import SweepFile
from linnet_fast.sweeps.form import is_store
from linnet_fast.sweeps.layout import PENDING
from linnet_fast.sweeps.spec import encode_training
from linnet_fast.sweeps.store import Store
from linnet_fast.sweeps.sweep import estimate_sweep
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from xarray import Dataset

_MOST_SHAPES = 12


def title_of(data: Dataset) -> str:
    """Return a title of pictures: data, network and method."""
    spec = json.loads(data.attrs["spec"])
    training = spec["training"]
    kind = training["loss"]["kind"]
    note = json.loads(data.attrs["provenance"]).get("note") or kind
    # A recipe has the name of what it draws; a note begins with that of the data.
    name = re.split(r"[:(]", note)[0] if kind in LOSSES else f"{kind.replace('_', '-')} teacher"
    lines = _described(training, _axes_of(data, spec), spec["replicates"])
    return "; ".join([name, lines["network"].replace("->", "→"), lines["method"]])


def summary(file: SweepFile, store: Path | None, n_threads: int) -> str:
    """Return what is going to be done."""
    spec = file.spec
    axes = {name: _Swept(list(axis.labels), axis.values) for name, axis in spec.axes.items()}
    threads = wording.count(n_threads, "thread")
    lines = {
        "data": "; ".join(file.data),
        **_described(encode_training(spec.training), axes, spec.replicates),
        "machine": f"{threads}, instruction set {config()['instruction_set']}",
        "store": _store_line(file, store),
    }
    return _aligned(lines)


def _aligned(lines: Mapping[str, str]) -> str:
    width = max(10, *map(len, lines))
    return "\n".join(f"{name:{width}} {text}" for name, text in lines.items())


def _store_line(file: SweepFile, store: Path | None) -> str:
    if store is None:
        return "none, results are kept in memory"
    if not is_store(store):
        return f"{store}, new"
    known = {one["name"] for one in Store.open(store, growing=True).spec_data["derived"]}
    new = [one.name for one in file.spec.derived if one.name not in known]
    without = f" without {', '.join(new)}" if new else ""
    return f"{store}, {n_there(store):,} of {file.spec.n_runs:,} runs are there already{without}"


class _Swept(NamedTuple):
    """A dimension of a sweep, for the summary."""

    labels: Sequence[Any]
    values: Mapping[str, Sequence[Any]]
    """Parameter -> its values, none where they are not known."""


def _described(
    training: Mapping[str, Any], axes: Mapping[str, _Swept], replicates: int | None
) -> dict[str, str]:
    """Return what a sweep trains, given as plain data, and what it varies."""
    paths = {path for axis in axes.values() for path in axis.values}
    lines = {"network": _network_line(training["network"], paths)}
    for name in ("start", "method"):
        varied = " swept" if name in paths else ""
        lines[name] = f"{_object_line(name, training[name], paths)}{varied}"
    sizes = {name: len(axis.labels) for name, axis in axes.items()}
    if replicates is not None:
        sizes["seed"] = replicates
    product = " x ".join(f"{n} {name}" for name, n in sizes.items()) or "1"
    n_runs = math.prod(sizes.values())
    lines["runs"] = f"{n_runs:,} = {product}, {_length(training, paths)}"
    for name, axis in axes.items():
        lines |= {name: wording.some(axis.labels)} if name != "run" else _drawn_lines(axis)
    return lines


def _network_line(spec: str, paths: set[str]) -> str:
    widths = re.fullmatch(r"Dense\(widths=\(([\d, ]+)\)\)", spec)
    text = " -> ".join(widths[1].split(", ")) if widths else spec
    inner = sorted(path[8:] for path in paths if path.startswith("network."))
    if "network" in paths:
        return "swept"
    return f"{text}, with {' and '.join(inner)} swept" if inner else text


def _object_line(name: str, data: Mapping[str, Any], paths: set[str]) -> str:
    """Return a call: GradientDescent(step_size=swept)."""
    parts = []
    for key, value in data.items():
        path = f"{name}.{key}"
        if path in paths:
            parts.append(f"{key}=swept")
        elif isinstance(value, dict) and "kind" in value:
            parts.append(f"{key}={_object_line(path, value, paths)}")
        elif key != "kind" and isinstance(value, int | float | str) and value not in (0, False):
            parts.append(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}")
    kind = name if f"{name}.kind" in paths else data.get("kind", name)
    return f"{kind}({', '.join(parts)})" if parts else str(kind)


def _length(training: Mapping[str, Any], paths: set[str]) -> str:
    lengths = {"n_steps", "until"}
    if any(path.rpartition(".")[2] in lengths for path in paths) or "phases" in paths:
        return "of swept length"
    if phases := training.get("phases"):
        if "n_steps" in phases[0]:
            n_steps = sum(phase["n_steps"] for phase in phases)
            return f"{n_steps:,} steps each, in {len(phases)} phases"
        return f"until time {phases[-1]['until']:g}, in {len(phases)} phases"
    if training["n_steps"] is None:
        return f"until time {training['until']:g}"
    return f"{training['n_steps']:,} steps each"


def _drawn_lines(axis: _Swept) -> dict[str, str]:
    """Return the ranges of what varies from run to run."""
    lines = {}
    for path, values in axis.values.items():
        short = path.rpartition(".")[2]
        if len(values) and all(isinstance(v, int | float) for v in values):
            ends = (wording.number(float(end(values))) for end in (min, max))
            lines[short] = " to ".join(ends)
        elif len(values):
            texts = (v if isinstance(v, str) else getattr(v, "spec", repr(v)) for v in values)
            lines[short] = wording.some(list(dict.fromkeys(texts)))
    return lines


def forecast(file: SweepFile, n_threads: int | None) -> str:
    """Return what a sweep will take: groups of shapes, time, bytes."""
    estimate = estimate_sweep(file.spec, n_threads=n_threads)
    rows = [["network", "runs", "time"]]
    shapes: dict[str, list[float]] = {}
    for group in estimate.groups:
        entry = shapes.setdefault(group.network, [0, 0.0])
        entry[0] += group.n_runs
        entry[1] += group.seconds
    for network, (n_runs, seconds) in list(shapes.items())[:_MOST_SHAPES]:
        rows.append([_network_line(network, set()), f"{int(n_runs):,}", wording.duration(seconds)])
    text = wording.ruled(rows, left=1, width=outputs.width())
    if len(shapes) > _MOST_SHAPES:
        text += f"\n... and {len(shapes) - _MOST_SHAPES:,} more"
    chunk = min(estimate.chunk_runs, estimate.n_runs)
    threads = wording.count(estimate.n_threads, "thread")
    lines = {
        "time": f"{_between(*estimate.seconds_range)} with {threads}",
        "tried": f"some of the runs, for {wording.duration(estimate.seconds_spent)}",
        "result": f"{_size(estimate.n_bytes)}, in chunks of about {wording.count(chunk, 'run')}",
    }
    if file.functions:
        modules = ", ".join(dict.fromkeys(function.module for function in file.functions))
        lines["derived"] = f"nothing of {modules} is run now: a number per run stands for it"
    return f"{text}\n\n{_aligned(lines)}\n\nThis was a dry run: nothing is written."


def _between(low: float, high: float) -> str:
    """Return a range of time in words."""
    first, last = wording.duration(low), wording.duration(high)
    return first if first == last else f"{first} to {last}"


def _size(n_bytes: int) -> str:
    if n_bytes < 10**6:
        return f"{n_bytes:,} bytes"
    for unit, factor in (("MB", 10**6), ("GB", 10**9), ("TB", 10**12)):
        if n_bytes < 1000 * factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes / 10**12:,.0f} TB"


def about(data: Dataset, store: Path) -> str:
    """Return what a store is and how far it has got."""
    spec = json.loads(data.attrs["spec"])
    made = json.loads(data.attrs["provenance"])
    status = data["status"].to_numpy()
    there = int(np.count_nonzero(status != PENDING))
    by = f"linnet-fast {made.get('version')}, instruction set {made.get('isa')}"
    keeps = []
    for name, variable in data.data_vars.items():
        inner = [str(dim) for dim in variable.dims if dim not in data["status"].dims]
        keeps.append(f"{name}({', '.join(inner)})" if inner else str(name))
    lines = {
        "store": f"{store}, begun {made.get('created')} by {by}",
        "loss": _loss_line(spec["training"]["loss"]["kind"], made.get("note")),
        **_described(spec["training"], _axes_of(data, spec), spec["replicates"]),
        "keeps": ", ".join(keeps),
        "done": f"{there:,} of {status.size:,} runs ({100 * there / max(status.size, 1):.0f} %)",
    }
    return _aligned(lines)


def _axes_of(data: Dataset, spec: Mapping[str, Any]) -> dict[str, _Swept]:
    """Return the dimensions of a result, and of each its parameters."""
    axes = {}
    for axis in spec["axes"]:
        shorts = {path: path.rpartition(".")[2] for path in axis["values"]}
        values = {
            path: data[short].to_numpy().tolist() if short in data.coords else []
            for path, short in shorts.items()
        }
        axes[axis["name"]] = _Swept(data[axis["name"]].to_numpy().tolist(), values)
    return axes


def _loss_line(kind: str, note: str | None) -> str:
    """Return what is trained on: a loss of data, or a recipe, whose note says all."""
    if note is None:
        return kind
    return f"{kind} of {note}" if kind in LOSSES else note


def ending(data: Dataset) -> str:
    """Return how runs ended: "520 runs: 490 completed, 30 diverged"."""
    status = data["status"].to_numpy()
    names = {**{int(s): s.name.lower() for s in Status}, PENDING: "pending"}
    counts = {name: int(np.count_nonzero(status == s)) for s, name in names.items()}
    shown = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
    return f"{wording.count(status.size, 'run')}: {shown}"


def size(data: Dataset) -> str:
    """Return how large a result is."""
    return _size(data.nbytes)
