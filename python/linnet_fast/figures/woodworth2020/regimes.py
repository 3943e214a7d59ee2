"""From small starts the sparse predictor, from large ones that of least norm; depth moves the border."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.figures.woodworth2020.setting import (
    DEPTHS,
    Task,
    dual,
    follow,
    least_magnitudes,
    least_norm,
    off_samples,
)
from linnet_fast.plot._style import colors, entry, panels


def _task(settings: Settings) -> Task:
    if settings.quick:
        return Task(30, 2, 15, 2, 5, (1e-3, 0.05, 0.12), 10_000)
    return Task(100, 5, 40, 6, 9, (1e-4, 0.02, 0.07), 60_000)


def regimes(settings: Settings) -> Figure:
    """Train from starts of many sizes, by networks of two to four layers, on several data sets."""
    task = _task(settings)
    samples = [task.samples(seed) for seed in range(task.n_seeds)]
    teachers = task.teacher.draw(range(task.n_seeds))[:, 0]
    kernel = np.array([least_norm(*of) for of in samples])
    rich = np.array([least_magnitudes(*of) for of in samples])
    kernel_error, rich_error = (((end - teachers) ** 2).sum(axis=-1) for end in (kernel, rich))
    size = np.abs(rich).sum(axis=-1)
    ends = {n_layers: follow(task, n_layers, settings.n_threads) for n_layers in DEPTHS}
    excess = {n: np.abs(end.predictor).sum(axis=-1) / size - 1 for n, end in ends.items()}
    off = max(
        off_samples(samples[seed][0], dual(end.predictor[i, seed], scale, n))
        for n, end in ends.items()
        for i, scale in enumerate(task.scales(n))
        for seed in range(task.n_seeds)
    )
    half = [_crossing(task.scales(n), ends[n].error / kernel_error) for n in DEPTHS]
    apart = [np.linalg.norm(end.predictor[-1] - kernel, axis=-1) for end in ends.values()]
    claims = [
        at_most("largest loss on the samples at the end", _most(end.loss for end in ends.values()), 1e-3),
        at_most(
            "largest start: distance to the predictor of least norm over that norm, largest",
            float((np.array(apart) / np.linalg.norm(kernel, axis=-1)).max()),
            1e-4,
        ),
        at_most(
            "smallest start: test error over that of least norm, largest",
            _most(end.error[0] / kernel_error for end in ends.values()),
            0.01,
        ),
        at_most(
            "smallest start: sum of magnitudes over the least one that fits, largest difference from 1",
            _most(np.abs(values[0]) for values in excess.values()),
            0.05,
        ),
        at_most("test error of the least sum of magnitudes, largest", float(rich_error.max()), 1e-12),
        at_least(
            "the larger the start, the larger the test error: least ratio of neighbours",
            min(float((end.error[1:] / end.error[:-1]).min()) for end in ends.values()),
            0.97,
        ),
        at_most(
            "what flow keeps: part of the predictor's dual that is no combination of samples, largest",
            off,
            0.01,
        ),
        at_least(
            "each layer more finds the sparse predictor from larger starts: size where half the error "
            "is left, least ratio of neighbours",
            min(float((after / before).min()) for before, after in pairwise(half)),
            1.2,
        ),
    ]  # fmt: skip
    figure, (left, right) = panels(2)
    for n, shade in zip(DEPTHS, colors(len(DEPTHS)), strict=True):
        for ax, values in ((left, ends[n].error), (right, excess[n])):
            ax.plot(task.scales(n), values, color=shade, linewidth=0.5, alpha=0.5)
            middle = np.median(values, axis=-1)
            ax.plot(task.scales(n), middle, "o-", color=shade, markersize=3, linewidth=1.2)
            ax.lines[-1].set_label(f"{n} layers")
            ax.set(xscale="log", xlabel="entries of u and v at the start")
    left.axhline(np.median(kernel_error), color="#606060", linewidth=0.9, linestyle=(0, (4, 3)))
    left.lines[-1].set_label("least norm")
    entry(left, "one data set", linewidth=0.5, alpha=0.5)
    entry(left, f"median of {task.n_seeds}", marker="o", markersize=3, linewidth=1.2)
    left.set(ylabel="test error", yscale="log")
    right.set(ylabel="sum of magnitudes over\nthe least that fits, minus 1")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "regimes",
        About(
            f"{task.n_nonzero} of {task.n_inputs} inputs count, {task.n_samples} samples",
            "predictors $u^L-v^L$",
            "gradient descent",
        ),
        f"Predictors $u^L - v^L$ on {task.n_samples} samples with {task.n_inputs} inputs, of which {task.n_nonzero} count, over the size of "
        f"the start; lines are {task.n_seeds} data sets and their median. Large starts end at the predictor of least norm (kernel regime), small ones at that "
        "with the least sum of magnitudes, which is the teacher (rich regime). Two layers need exponentially small starts for that, more layers do not.",
        figure,
        {
            "kernel_error": kernel_error,
            **{f"scales_{n}": task.scales(n) for n in DEPTHS},
            **{f"error_{n}": end.error for n, end in ends.items()},
            **{f"loss_{n}": end.loss for n, end in ends.items()},
            **{f"excess_{n}": values for n, values in excess.items()},
        },
        claims,
    )


def _most(parts: Iterable[FloatArray]) -> float:
    return max(float(part.max()) for part in parts)


def _crossing(scales: FloatArray, values: FloatArray) -> FloatArray:
    """Return the scale, between those there are, where each column first comes to one half."""
    columns = np.maximum.accumulate(values, axis=0).T
    return np.array([np.exp(np.interp(0.5, column, np.log(scales))) for column in columns])
