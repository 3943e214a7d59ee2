"""What ``linnet-fast train`` says of its runs: a summary before, then a table and a picture."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from linnet_fast import plot
from linnet_fast._base import files, wording
from linnet_fast._base.config import config
from linnet_fast._base.validate import FloatArray
from linnet_fast.cli import outputs
from linnet_fast.cli.train_data import TrainData
from linnet_fast.cli.train_sweep import coords_of
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics import effective_rank, reduced_rank_regression
from linnet_fast.rank_dynamics.learned import learned_at
from linnet_fast.sweeps.sweep import SweepSpec
from linnet_fast.training.trajectory import Trajectory

_MOST_COLUMNS = 12
_LEGEND = """\
Learned: the singular value crosses half of the strength at which its mode in the data rests.
0: it is above from the start.  -: it is not within these steps."""
_ENDS = """\
rank: the effective rank of the end-to-end matrix, exp of the entropy of its singular values.
largest: the largest of these."""


def summary(options: argparse.Namespace, spec: SweepSpec, data: TrainData, n_threads: int) -> str:
    """Return what is going to be done."""
    names = ("scale", "step size", "seed")
    counts = (_plural(n, name) for n, name in zip(spec.shape, names, strict=True))
    steps = ", ".join(f"{step:g}" for step in coords_of(spec)["step_size"])
    network, loss = spec.training.network, spec.training.loss
    known = "modes" in loss.supports
    method = spec.training.how
    if options.step_sizes is None and method.usual_step_size is None:
        steps += f" (1 / sharpness, from the {'moments of the data' if known else 'loss'})"
    widths = " -> ".join(map(str, network.widths))
    init = " ".join([options.init, *(f"{k}={v}" for k, v in options.init_option)])
    text = f"{widths}, {init} start"
    if known:
        squared = cast("SquaredLoss", loss)
        of_rank = reduced_rank_regression(squared).losses[min(network.max_rank, loss.n_outputs)]
        text += f"; least loss {max(of_rank, squared.least_loss):.6g}"  # that of all is exact
    isa = config()["instruction_set"]
    lines = {
        "data": data.description,
        "loss": data.loss_name,
        "network": text,
        "runs": f"{spec.n_runs:,} = {' x '.join(counts)}, {spec.training.n_steps or 0:,} steps each",
        "method": " ".join([options.method, *(f"{k}={v}" for k, v in options.method_option)]),
        "step size": steps,
        "schedule": " ".join([options.schedule, *(f"{k}={v}" for k, v in options.schedule_option)]),
        "machine": f"{_plural(n_threads, 'thread')}, instruction set {isa}, {options.dtype}",
    }
    if data.loss_name == "squared":  # the kind that is meant where nothing is said
        del lines["loss"]
    if lines["method"] == "gradient-descent":
        del lines["method"]
    if lines["schedule"] == "constant":
        del lines["schedule"]
    return "\n".join(f"{name:10} {line}" for name, line in lines.items())


def _plural(n: int, name: str) -> str:
    return f"{n} {name}{'' if n == 1 else 's'}"


def table_of(trajectory: Trajectory) -> Callable[[Trajectory, Mapping[Hashable, Any]], str]:
    """Return the table that suits the loss."""
    return table if "modes" in trajectory.loss_function.supports else table_of_ends


def table_of_ends(trajectory: Trajectory, coords: Mapping[Hashable, Any]) -> str:
    """Return how runs end, as text: what each loss has, and the ranks of the end-to-end matrices.

    A line per scale and step size; medians over the seeds that did not diverge.
    """
    products = _products(trajectory)
    losses = {"final": trajectory.loss_function, **trajectory.evaluated}
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverged
        ends = {f"{name} loss": loss.value(products) for name, loss in losses.items()}
        for name, loss in losses.items():
            if "margin" in loss.supports:
                word = "accuracy" if name == "final" else f"{name} accuracy"
                ends[word] = (loss.margins(products) > 0).mean(axis=-1)
        values = np.zeros((*products.shape[:-2], min(products.shape[-2:])))
        ok = trajectory.ok
        values[ok] = np.linalg.svd(products[ok], compute_uv=False)
    ends["rank"] = effective_rank(values)
    ends["largest"] = values[..., 0]
    rows = [[*_head(coords), *ends, "diverged"]]
    for i, j, first in _lines(coords):
        ok = trajectory.ok[i, j]
        shown = (
            f"{np.median(end[i, j, ok]):.{3 if name in ('rank', 'largest') else 6}g}"
            for name, end in ends.items()
        )
        rows.append([*first, *(shown if ok.any() else "-" * len(ends)), f"{np.sum(~ok)}"])
    title = f"How runs end, median over {len(coords['seed'])} seeds"
    return f"{title}\n\n{_ruled(rows, coords)}\n\n{_ENDS}"


def _head(coords: Mapping[Hashable, Any]) -> list[str]:
    return ["scale", *(["step size"] if len(coords["step_size"]) > 1 else [])]


def _ruled(rows: Sequence[Sequence[str]], coords: Mapping[Hashable, Any]) -> str:
    return wording.ruled(rows, width=outputs.width(), labels=len(_head(coords)))


def _lines(coords: Mapping[Hashable, Any]) -> Iterator[tuple[int, int, list[str]]]:
    """Go through the lines of a table: indices of scale and step size, and what begins the line."""
    several = len(coords["step_size"]) > 1
    for i, scale in enumerate(coords["scale"]):
        for j, step in enumerate(coords["step_size"]):
            yield i, j, [wording.number(x, 3) for x in ([scale, step] if several else [scale])]


def table(trajectory: Trajectory, coords: Mapping[Hashable, Any]) -> str:
    """Return when each rank is learned, the final losses and how many diverged, as text.

    A line per scale and step size; medians over the seeds that did not diverge.
    """
    learned = learned_at(trajectory)
    n_modes = learned.shape[-1]
    n_columns = min(n_modes, _MOST_COLUMNS)
    losses = {"final": trajectory.loss_function, **trajectory.evaluated}
    products = _products(trajectory)
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverged
        final = {f"{name} loss": loss.value(products) for name, loss in losses.items()}
    rows = [[*_head(coords), *(f"rank {k + 1}" for k in range(n_columns)), *final, "diverged"]]
    for i, j, first in _lines(coords):
        ok = trajectory.ok[i, j]
        # A run that never learns a rank learns it after all others.
        times = np.nan_to_num(learned[i, j, ok, :n_columns], nan=np.inf)
        medians = np.median(times, axis=0) if ok.any() else np.full(n_columns, np.nan)
        rows.append(
            [
                *first,
                *(f"{time:.0f}" if math.isfinite(time) else "-" for time in medians),
                *(
                    f"{np.median(loss[i, j, ok]):.6g}" if ok.any() else "-"
                    for loss in final.values()
                ),
                str(np.count_nonzero(~ok)),
            ]
        )
    shown = "" if n_columns == n_modes else f" (the first {n_columns} of {n_modes})"
    title = f"Step at which each rank is learned{shown}, median over {len(coords['seed'])} seeds"
    return f"{title}\n\n{_ruled(rows, coords)}\n\n{_LEGEND}"


def _products(trajectory: Trajectory) -> FloatArray:
    """Return the end-to-end matrix at the end of each run; the last record may be before that."""
    product = np.eye(trajectory.network.n_inputs)
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverged
        for layer in trajectory.final.weights:
            product = layer @ product
    return product


def draw(file: Path, trajectory: Trajectory, coords: Mapping[Hashable, Any], name: str) -> None:
    """Draw how the rank climbs into a file, whole or not at all."""
    # One step size, the first with the fewest diverged runs: medians over several tell nothing.
    index = int(np.argmax(np.count_nonzero(trajectory.ok, axis=(0, 2))))
    widths = " → ".join(map(str, trajectory.network.widths))
    method = type(trajectory.method).__name__
    title = f"{name}; {widths}; {method}, step size {coords['step_size'][index]:g}"
    figure = plot.stages(trajectory, coords["scale"], run=index, title=title)
    with files.replaced(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
    files.optional("matplotlib.pyplot", "plot").close(figure)
