"""The larger the step size, the more noise there is in batches of one sample, and the sparser is the end."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.pesme2021.courses import SCALE, drawn, follow, task_of
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.plot._style import colors, panels

_SIZES = (0.01, 0.02, 0.03, 0.04, 0.05)
_BATCH: int | None = 1


def step_sizes(settings: Settings) -> Figure:
    """Train with several step sizes, on one sample a step and on all."""
    task, n_steps = task_of(settings)
    sizes = np.array(_SIZES)
    noisy = follow(task, drawn(sizes, _BATCH), n_steps, settings.n_threads)
    plain = follow(task, drawn(sizes, None), n_steps, settings.n_threads)
    error, without = noisy.error[..., -1], plain.error[..., -1]
    # Of one draw of samples neighbours may change places.
    mean = _mean(error)
    magnitudes = noisy.magnitudes[..., -1].mean(axis=0)
    claims = [
        at_most(
            "one sample a step: largest loss at the end", float(noisy.loss[..., -1].max()), 1e-9
        ),
        at_most("all samples: largest loss at the end", float(plain.loss[..., -1].max()), 1e-9),
        at_most(
            "one sample a step, largest step size: test error over that of all samples, largest",
            float((error[:, -1] / without[:, -1]).max()),
            0.5,
        ),
        at_most(
            "one sample a step, every step size: that ratio, largest",
            float((error / without).max()),
            0.97,
        ),
        at_least(
            "one sample a step: the larger the step size, the smaller the test error (mean of logarithms), least ratio of neighbours",
            float((mean[:-1] / mean[1:]).min()),
            1.05,
        ),
        at_least(
            "one sample a step: and the smaller the sum of magnitudes, least difference of neighbours",
            float(-np.diff(magnitudes).max()),
            0.02,
        ),
        at_most(
            "all samples: test error of the largest step size over that of the smallest, largest difference from 1",
            float(np.abs(without[:, -1] / without[:, 0] - 1).max()),
            0.08,
        ),
    ]
    figure, (left, right) = panels(2)
    dark = "#333333"
    left.plot(plain.steps[1:], _mean(plain.error)[-1, 1:], color=dark, linewidth=1.2)
    left.lines[-1].set_label("all samples")
    for i, (size, color) in enumerate(zip(sizes, colors(len(sizes)), strict=True)):
        left.plot(noisy.steps[1:], _mean(noisy.error)[i, 1:], color=color, linewidth=1.2)
        left.lines[-1].set_label(f"one sample, {size:g}")
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="test error", ylim=(0.1, 10))
    for run, shade, name in (
        (plain, dark, "all samples"),
        (noisy, colors(3)[1], "one sample a step"),
    ):
        right.plot(sizes, run.magnitudes[..., -1].T, "o-", color=shade, markersize=3, linewidth=1.0)
        right.lines[-1].set_label(name)
    right.axhline(task.n_ones, color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    right.lines[-1].set_label("of the target")
    right.set(xlabel="step size", ylabel="sum of magnitudes at the end")
    right.legend(frameon=False, loc=(0.03, 0.16))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "step_sizes",
        About(
            f"{task.n_ones} of {len(task.target)} inputs count, {task.n_samples} samples",
            f"predictors $u^2-v^2$ from u = v = {SCALE:g}",
            "SGD",
        ),
        f"Predictors u * u - v * v on {task.n_samples} samples with {len(task.target)} inputs, of which {task.n_ones} count, from u = v = {SCALE:g}. Steps on one sample each end "
        "at predictors that fit all samples, as steps on all do, but at sparser ones, the more so the larger the step size; on all samples it makes no difference. Left: means over data sets, of logarithms.",
        figure,
        {
            "step_size": sizes,
            "steps": noisy.steps,
            "error": noisy.error,
            "error_all_samples": plain.error,
            "magnitudes": noisy.magnitudes,
            "magnitudes_all_samples": plain.magnitudes,
        },
        claims,
    )


def _mean(error: FloatArray) -> FloatArray:
    """Return the geometric mean over data sets."""
    return np.asarray(np.exp(np.log(error).mean(axis=0)))
