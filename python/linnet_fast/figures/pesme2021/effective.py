"""Smaller batches have more noise; where they lead is where a flow leads from a smaller start."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.pesme2021.courses import SCALE, Course, drawn, follow, task_of
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.plot._style import colors, panels

_STEP_SIZE = 0.03
_SMALL_STEP = 0.01
_BATCHES: tuple[int | None, ...] = (1, 2, 4, 8, None)


def batches(settings: Settings) -> Figure:
    """Train on batches of several sizes, and without noise from the starts that these come to."""
    task, n_steps = task_of(settings)
    runs: dict[str, Course] = {}
    for size in _BATCHES:
        name = "all" if size is None else f"{size}"
        runs[name] = follow(task, drawn([_STEP_SIZE], size), n_steps, settings.n_threads)
    error = np.stack([run.error[:, 0, -1] for run in runs.values()], axis=-1)
    start = np.stack([_mean(run) for run in runs.values()], axis=-1)
    noisiest, plain = next(iter(runs.values())), runs["all"]
    # From the start that the noise has made of it, without noise.
    effective = noisiest.effective
    again = follow(
        task,
        drawn([_SMALL_STEP], None),
        n_steps,
        settings.n_threads,
        np.concatenate([effective, effective], axis=-1),
    )
    moved = _apart(noisiest, plain)
    left_over = _apart(noisiest, again)
    mean = np.exp(np.log(error).mean(axis=0))
    claims = [
        at_most(
            "largest loss at the end",
            float(max(run.loss[..., -1].max() for run in (*runs.values(), again))),
            1e-7,
        ),
        at_least(
            "the smaller the batch, the smaller the test error (mean of logarithms), least ratio of neighbours",
            float((mean[1:] / mean[:-1]).min()),
            1.01,
        ),
        at_least(
            "the smaller the batch, the smaller the effective start, least ratio of neighbours",
            float((start[:, 1:] / start[:, :-1]).min()),
            1.01,
        ),
        at_least(
            "one sample: effective start over the start, least",
            float(start[:, 0].min()) / SCALE,
            0.1,
        ),
        at_most(
            "one sample: effective start over the start, most",
            float(start[:, 0].max()) / SCALE,
            0.85,
        ),
        at_least("all samples: that ratio, least", float(start[:, -1].min()) / SCALE, 0.95),
        at_most(
            "one sample: distance to where descent without noise comes from the effective start, over that from the start itself, largest",
            float((left_over / moved).max()),
            0.05,
        ),
    ]
    figure, (left, right) = panels(2)
    names = list(runs)
    places = np.arange(len(names))
    for ax, values, label in (
        (left, error, "test error at the end"),
        (right, start / SCALE, "effective start over the start"),
    ):
        ax.plot(places, values.T, "o-", color=colors(3)[1], markersize=3, linewidth=1.0)
        ax.set(xlabel="samples a step", ylabel=label, xticks=places, xticklabels=names)
    left.lines[-1].set_label("on batches")
    left.plot(
        np.zeros(len(error)),
        again.error[:, 0, -1],
        "x",
        color="#333333",
        markersize=6,
        label="without noise,\nfrom the effective start",
    )
    left.legend(frameon=False)
    left.set(yscale="log")
    return Figure(
        "batches",
        About(
            f"{task.n_ones} of {len(task.target)} inputs count, {task.n_samples} samples",
            f"predictors $u^2-v^2$ from u = v = {SCALE:g}",
            f"SGD, step size {_STEP_SIZE:g}",
        ),
        f"The same with step size {_STEP_SIZE:g} on batches. Every step multiplies the product u v of an input by 1 - 4 (step size times slope)^2, so that noise "
        "shrinks it; its root at the end is the effective start. Descent without noise from there (crosses) comes to the predictor that batches of one come to.",
        figure,
        {
            "batch_size": np.array([task.n_samples if b is None else b for b in _BATCHES]),
            "error": error,
            "effective_start": start,
            "error_from_effective_start": again.error[:, 0, -1],
            "moved": moved,
            "left_over": left_over,
        },
        claims,
    )


def _mean(run: Course) -> FloatArray:
    """Return the geometric mean of the effective start, (n_sets,)."""
    return np.asarray(np.exp(np.log(run.effective[:, 0]).mean(axis=-1)))


def _apart(run: Course, other: Course) -> FloatArray:
    """Return how far predictors are from each other, (n_sets,)."""
    return np.asarray(np.linalg.norm(run.predictor - other.predictor, axis=-1)[:, 0])
