"""Label noise finds the sparse vector from large starts, where other noise and no noise do not."""

from __future__ import annotations

import numpy as np

from linnet_fast.figures.haochen2021.sparse import (
    QUIETER,
    Course,
    Task,
    follow,
    label_noise,
    make_task,
)
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.plot._style import colors, panels
from linnet_fast.training.phase import Phase

_TEMPERATURES = (1e-5, 1e-4, 1e-3)
_SCALE = 1.0
_STD = 2.0


def _task(settings: Settings, n_sets: int) -> Task:
    return make_task(n_sets, 20, 50, 3) if settings.quick else make_task(n_sets, 40, 100, 5)


def _lengths(settings: Settings) -> tuple[float, int]:
    """Return a step size and how many such steps."""
    return (0.02, 100_000) if settings.quick else (0.01, 500_000)


def noises(settings: Settings) -> Figure:
    """Train from one large start without noise, on batches, and with noise on labels and on weights."""
    task = _task(settings, 2 if settings.quick else 4)
    step_size, n_steps = _lengths(settings)
    # What has no label noise is where it stays, or on its way out, after a fifth of the steps.
    fewer = n_steps // 5
    methods = {
        "full batch": GradientDescent(0.01),
        "batches of 8": GradientDescent(0.01, batches=Batches(8, seed=1)),
        "weight noise": GradientDescent(0.005, noise=GaussianNoise(_TEMPERATURES, seed=1)),
    }
    runs: dict[str, Course] = {}
    for name, method in methods.items():
        scales = np.full(len(_TEMPERATURES) if name == "weight noise" else 1, _SCALE)
        runs[name] = follow(task, scales, [Phase(method, n_steps=fewer)], settings.n_threads)
    phases = label_noise(step_size, _STD, n_steps)
    runs["label noise"] = follow(task, np.array([_SCALE]), phases, settings.n_threads)
    error = {name: run.error[..., -1] for name, run in runs.items()}
    magnitudes = float(task.target.sum())
    plain, noisy = runs["full batch"], runs["label noise"]
    hot = error["weight noise"]
    claims = [
        at_most("full batch: largest loss at the end", float(plain.loss[..., -1].max()), 1e-20),
        at_least("full batch: least test error at the end", float(error["full batch"].min()), 1.0),
        at_most(
            "label noise: largest test error at the end", float(error["label noise"].max()), 1e-2
        ),
        at_least(
            "full batch over label noise: least ratio of test errors on the same samples",
            float((error["full batch"] / error["label noise"]).min()),
            100,
        ),
        at_most(
            "batches of 8: their noise ends with the loss, largest loss at the end",
            float(runs["batches of 8"].loss[..., -1].max()),
            1e-20,
        ),
        at_least(
            "batches of 8: least test error over that of the full batch",
            float((error["batches of 8"] / error["full batch"]).min()),
            0.9,
        ),
        at_most(
            "label noise: sum of squares of the weights over the sum of magnitudes of the target, largest difference from 1",
            float(np.abs(noisy.squares[..., -1] / magnitudes - 1).max()),
            0.05,
        ),
        at_least(
            "full batch: that ratio at the end, least",
            float((plain.squares[..., -1] / magnitudes).min()),
            10,
        ),
        at_least(
            "weight noise: least test error over that of the full batch",
            float((hot / error["full batch"]).min()),
            0.9,
        ),
        at_least(
            "weight noise: the hotter, the larger the test error, least ratio of neighbours",
            float((hot[..., 1:] / hot[..., :-1]).min()),
            1.5,
        ),
    ]
    figure, (left, right) = panels(2)
    shades = dict(zip(runs, colors(len(runs)), strict=True))
    for name, run in runs.items():
        for ax, values in ((left, run.error), (right, run.squares)):
            lines = values[..., 1:].reshape(-1, values.shape[-1] - 1)
            above = {"linestyle": (0, (3, 3)), "zorder": 4} if name == "full batch" else {}
            ax.plot(run.steps[1:], lines.T, color=shades[name], linewidth=0.9, **above)
            ax.lines[-1].set_label(name)
    right.axhline(magnitudes, color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    right.lines[-1].set_label("sum of magnitudes\nof the target")
    left.set(ylabel="test error", ylim=(1e-4, 1e4))
    right.set(ylabel="sum of squares of all weights")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="step")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "noises",
        About(
            f"{task.n_ones} of {len(task.target)} inputs count, {task.n_samples} samples",
            "predictors $u^2-v^2$ from u = v = 1",
            "gradient descent with noise",
        ),
        f"Predictors u * u - v * v on {task.n_samples} samples with {len(task.target)} inputs, of which {task.n_ones} count, from u = v = 1. Without noise, and with that of "
        "batches, descent ends at the first predictor that fits. Noise on the labels lets the weights shrink until the predictor is the sparse "
        f"one (it is {QUIETER} times quieter at the end). Noise on the weights of temperature 1e-5, 1e-4 and 1e-3 drives them away.",
        figure,
        {
            f"{key}_{name.replace(' ', '_')}": getattr(run, key)
            for name, run in runs.items()
            for key in ("steps", "error", "loss", "squares")
        },
        claims,
    )


def starts(settings: Settings) -> Figure:
    """Train from starts of several sizes, with and without label noise."""
    task = _task(settings, 2)
    step_size, n_steps = _lengths(settings)
    scales = np.array([0.01, 0.1, 1.0]) if settings.quick else np.array([0.01, 0.03, 0.1, 0.3, 1.0])
    plain_phases = [Phase(GradientDescent(0.01), n_steps=60_000)]
    plain = follow(task, scales, plain_phases, settings.n_threads)
    noisy = follow(task, scales, label_noise(step_size, _STD, n_steps), settings.n_threads)
    without, with_it = plain.error[..., -1], noisy.error[..., -1]
    claims = [
        at_most("full batch, smallest start: largest test error", float(without[:, 0].max()), 0.1),
        at_least("full batch, largest start: least test error", float(without[:, -1].min()), 1.0),
        at_least(
            "full batch: the larger the start, the larger the test error, least ratio of neighbours",
            float((without[:, 1:] / without[:, :-1]).min()),
            1.05,
        ),
        at_most("label noise, all starts: largest test error", float(with_it.max()), 1e-2),
        at_most(
            "label noise: sum of squares of the weights at the end, largest over smallest of all starts",
            float(
                (noisy.squares[..., -1].max(axis=-1) / noisy.squares[..., -1].min(axis=-1)).max()
            ),
            1.05,
        ),
        at_least(
            "full batch: that ratio, least",
            float(
                (plain.squares[..., -1].max(axis=-1) / plain.squares[..., -1].min(axis=-1)).min()
            ),
            5,
        ),
    ]
    figure, (left, right) = panels(2)
    dark, color = "#333333", colors(3)[1]
    for ax, key in ((left, "error"), (right, "squares")):
        for run, shade, name in ((plain, dark, "full batch"), (noisy, color, "label noise")):
            ax.plot(
                scales, getattr(run, key)[..., -1].T, "o-", color=shade, markersize=3, linewidth=1.0
            )
            ax.lines[-1].set_label(name)
        ax.set(xscale="log", yscale="log", xlabel="entries of u and v at the start")
    left.set(ylabel="test error")
    right.set(ylabel="sum of squares of all weights")
    right.axhline(task.n_ones, color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    right.lines[-1].set_label("sum of magnitudes\nof the target")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "starts",
        About(
            f"{task.n_ones} of {len(task.target)} inputs count, {task.n_samples} samples",
            "predictors $u^2-v^2$",
            "gradient descent with noise",
        ),
        "Where training ends, over the size of the start. Descent without noise finds the sparse vector from small starts alone; with label "
        "noise all starts end at the same.",
        figure,
        {
            "scales": scales,
            "error_full_batch": without,
            "error_label_noise": with_it,
            "squares_full_batch": plain.squares[..., -1],
            "squares_label_noise": noisy.squares[..., -1],
        },
        claims,
    )
