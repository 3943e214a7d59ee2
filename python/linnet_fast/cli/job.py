"""The work behind ``linnet-fast train``: a grid of scales, step sizes and seeds on one data set."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base import wording
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics.learned import learned_at, safe_step_size
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory

AXES = ("scale", "step_size", "seed")
"""Names of the run axes of a job's result."""

INITS = ("orthogonal", "gaussian", "balanced", "aligned")
"""Start weights to choose from, functions of `linnet_fast.initialization`."""

Init = Literal["orthogonal", "gaussian", "balanced", "aligned"]

_MOST_COLUMNS = 12
_LEGEND = """\
Learned: the singular value crosses half of the strength at which its mode in the data rests.
0: it is above from the start.  -: it is not within these steps."""


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A grid of runs on one data set: every scale with every step size and every seed.

    Parameters
    ----------
    network : Dense
        The architecture.
    loss : SquaredLoss
        Without run axes.
    init : str
        One of `INITS`.
    scales : ndarray of float64, shape (n,)
        Factors on each layer of the start; the end-to-end matrix starts ``scale**n_layers`` large.
    step_sizes : ndarray of float64, shape (m,), or None
        None: one, safe by the moments of the data.
    n_seeds : int
        Random starts. A seed is the same start at all scales, but for the scale.
    rng : int
        Seed of the seeds.
    dtype : dtype
        float64 or float32.
    weight_decay : float
        As for `GradientDescent`.
    """

    network: Dense
    loss: SquaredLoss
    init: Init
    scales: FloatArray
    step_sizes: FloatArray | None
    n_seeds: int
    rng: int
    dtype: npt.DTypeLike
    weight_decay: float

    def start(self) -> tuple[WeightArray, ...]:
        """Return start weights, shapes (n_scales, 1, n_seeds, out, in)."""
        shape = (1, 1, self.n_seeds)
        if self.init == "aligned":
            base = initialization.aligned(
                self.network, self.loss, 1.0, rng=self.rng, batch_shape=shape
            )
        else:
            draw = getattr(initialization, self.init)
            base = draw(self.network, rng=self.rng, batch_shape=shape)
        scales = self.scales[:, None, None, None, None]
        return tuple((scales * layer).astype(self.dtype) for layer in base)

    def with_step_sizes(self, start: Sequence[WeightArray]) -> Job:
        """Return the job with a safe step size where none was given."""
        if self.step_sizes is not None:
            return self
        step = safe_step_size(self.network, self.loss, start, self.weight_decay)
        return dataclasses.replace(self, step_sizes=np.array([step]))

    @property
    def coords(self) -> dict[Hashable, Any]:
        """Coordinates of the run axes of the result, by name."""
        return dict(zip(AXES, (self.scales, self.step_sizes, np.arange(self.n_seeds)), strict=True))

    @property
    def run_shape(self) -> tuple[int, int, int]:
        """Numbers of scales, step sizes and seeds."""
        n_steps = 1 if self.step_sizes is None else len(self.step_sizes)
        return len(self.scales), n_steps, self.n_seeds

    @property
    def n_runs(self) -> int:
        """Number of runs of the grid."""
        return math.prod(self.run_shape)


def default_scales(network: Dense) -> FloatArray:
    """Return scales of the start from 1 to so small that the ranks are learned one by one.

    Parameters
    ----------
    network : Dense
        The time to leave a start of scale e grows as log(1/e) with two layers, and as e^(2 - L)
        with L > 2.

    Returns
    -------
    ndarray of float64, shape (13,)
    """
    low = 1e-12 if network.n_layers <= 2 else 0.01 ** (1 / (network.n_layers - 2))
    return np.geomspace(low, 1, 13)


def run(
    job: Job,
    start: Sequence[WeightArray],
    *,
    n_steps: int,
    record: Record,
    stop: Stop | None,
    n_threads: int | None,
    progress: Callable[[int, int], object] | Literal[False],
    description: str,
) -> tuple[Trajectory, float]:
    """Train all runs of a job; return the result and the seconds it took.

    Parameters
    ----------
    job : Job
        With step sizes.
    start : tuple of ndarray
        What ``job.start()`` returns.
    n_steps, record, stop, n_threads, progress
        As for `linnet_fast.train`.
    description : str
        What the data are; goes into the provenance, as the run axes do.

    Returns
    -------
    trajectory : Trajectory
        With run axes `AXES`.
    seconds : float
        Wall time of the training.
    """
    steps = np.asarray(job.step_sizes)[:, None]
    begin = time.perf_counter()
    trajectory = train(
        job.network,
        job.loss,
        start,
        method=GradientDescent(steps, weight_decay=job.weight_decay),
        n_steps=n_steps,
        record=record,
        stop=stop,
        n_threads=n_threads,
        progress=progress,
    )
    seconds = time.perf_counter() - begin
    note = {"data": description, "init": job.init, "rng": job.rng, "run_axes": job.coords}
    provenance = {**trajectory.provenance, "job": note}
    return dataclasses.replace(trajectory, provenance=provenance), seconds


def table(job: Job, trajectory: Trajectory) -> str:
    """Return when each rank is learned, the final loss and how many diverged, as text.

    Parameters
    ----------
    job : Job
        What was run.
    trajectory : Trajectory
        Its result.

    Returns
    -------
    str
        A line per scale and step size; medians over the seeds that did not diverge.
    """
    learned = learned_at(trajectory)
    n_modes = learned.shape[-1]
    n_columns = min(n_modes, _MOST_COLUMNS)
    final = _final_loss(job, trajectory)
    steps = np.asarray(job.step_sizes)

    head = ["scale", *(["step size"] if len(steps) > 1 else [])]
    head += [f"rank {k + 1}" for k in range(n_columns)]
    rows = [[*head, "final loss", "diverged"]]
    for i, scale in enumerate(job.scales):
        for j, step in enumerate(steps):
            ok = trajectory.ok[i, j]
            row = [wording.number(x, 3) for x in ([scale, step] if len(steps) > 1 else [scale])]
            # A run that never learns a rank learns it after all others.
            row += [
                _whole(_median(np.nan_to_num(learned[i, j, ok, k], nan=np.inf)))
                for k in range(n_columns)
            ]
            row += [f"{_median(final[i, j, ok]):.6g}" if ok.any() else "-"]
            row += [str(np.count_nonzero(~ok))]
            rows.append(row)
    shown = "" if n_columns == n_modes else f" (the first {n_columns} of {n_modes})"
    title = f"Step at which each rank is learned{shown}, median over {job.n_seeds} seeds"
    return f"{title}\n\n{wording.ruled(rows)}\n\n{_LEGEND}"


def _final_loss(job: Job, trajectory: Trajectory) -> FloatArray:
    """Return the loss at the end of each run; the last record may be before that."""
    product = np.eye(job.network.n_inputs)
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverged
        for layer in trajectory.final.weights:
            product = layer @ product
        return job.loss.value(product)


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if values.size else math.nan


def _whole(step: float) -> str:
    return f"{step:.0f}" if math.isfinite(step) else "-"
