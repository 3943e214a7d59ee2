"""Tangent kernels: they turn to the targets at lambda = 0, and stay as they are far from it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from linnet_fast.figures.domine2024.setting import (
    SIGMA,
    SMALL,
    WIDTH,
    exact,
    follow,
    kernels_of,
    whitened,
)
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.plot._style import colors, entry, panels

_LAMBDAS = np.array([0.0, 1.0, 3.0, 10.0, 30.0])
_UNTIL = 20.0


def courses(settings: Settings) -> Figure:
    """Follow the kernel from starts along the modes, beside what the exact solution makes of it."""
    data = whitened()
    time = np.concatenate([[0], np.geomspace(1e-3, _UNTIL, 60 if settings.quick else 240)])
    run = follow(data, _LAMBDAS, data.along(np.full(WIDTH, SMALL)), time, settings.n_threads)
    distance, alignment = kernels_of(*exact(_LAMBDAS, time))
    ended, gained = (
        run.kernel_distance[:, -1],
        run.kernel_alignment[:, -1] / run.kernel_alignment[:, 0],
    )
    claims = [
        at_most(
            "the distance of the kernel to the start is that of the exact solution, largest difference",
            float(np.abs(run.kernel_distance - distance).max()),
            1e-7,
        ),
        at_most(
            "and so is its alignment with the targets, largest difference",
            float(np.abs(run.kernel_alignment - alignment).max()),
            1e-7,
        ),
        at_least(
            "the kernel turns away from the start at lambda = 0, times as far as at 30",
            float(ended[0] / ended[-1]),
            300.0,
        ),
        at_least(
            "towards the targets, alignment at the end over the start", float(gained[0]), 1.15
        ),
        at_most(
            "the larger lambda, the less it turns, largest ratio of neighbours",
            max(float(b / a) for a, b in pairwise(ended)),
            0.95,
        ),
        at_most("lambda = 30: it hardly moves", float(ended[-1]), 1e-3),
        near("nor does its alignment, end over start", float(gained[-1]), 1.0, 0.02),
    ]
    figure, (left, right) = panels(2)
    some = slice(1, None, 4 if settings.quick else 12)
    for i, color in enumerate(colors(len(_LAMBDAS))):
        for ax, found, known in (
            (left, run.kernel_distance, distance),
            (right, run.kernel_alignment, alignment),
        ):
            ax.plot(
                time[1:],
                known[i, 1:],
                color=color,
                linewidth=1.0,
                label=f"$\\lambda$ = {_LAMBDAS[i]:g}",
            )
            ax.plot(time[some], found[i, some], "o", color=color, markersize=2.5)
    left.set(ylabel="kernel distance to the start")
    right.set(ylabel="kernel alignment with targets")
    for ax in (left, right):
        ax.set(xscale="log", xlabel="time", xlim=(1e-3, _UNTIL))
    entry(left, "trained", marker="o", linestyle="", markersize=2.5)
    entry(left, "exact solution", linewidth=1.0)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "courses",
        About(f"white inputs, {WIDTH} modes", "two $\\lambda$-balanced layers", "gradient flow"),
        "Distance of the tangent kernel to the start and its alignment with the targets along the flow (dots), beside the exact solution (lines): "
        "rich at lambda = 0, lazy far from it.",
        figure,
        {
            "lambdas": _LAMBDAS,
            "time": time,
            "distance": run.kernel_distance,
            "alignment": run.kernel_alignment,
            "exact_distance": distance,
            "exact_alignment": alignment,
        },
        claims,
    )


def ends(settings: Settings) -> Figure:
    """Train from starts whose products are random, of both signs of lambda; where the kernel ends."""
    data = whitened()
    n_seeds = 3 if settings.quick else 10
    sizes = np.geomspace(0.1, 100, 7 if settings.quick else 19)
    lambdas = np.concatenate([-sizes[::-1], [0.0], sizes])
    rng = np.random.default_rng(5)
    products = 0.1 * rng.standard_normal((n_seeds, 1, WIDTH, WIDTH)) / np.sqrt(WIDTH)
    imbalance = np.broadcast_to(lambdas, (n_seeds, len(lambdas)))
    run = follow(data, imbalance, products, np.array([0.0, 60.0]), settings.n_threads)
    distance = run.kernel_distance[..., -1]
    alignment = run.kernel_alignment[..., -1]
    mean = np.exp(np.log(distance).mean(axis=0))
    middle = len(sizes)
    far = np.log(sizes) > np.log(25)
    slopes = [
        float(np.polyfit(np.log(sizes[far]), np.log(side[far]), 1)[0])
        for side in (mean[middle + 1 :], mean[:middle][::-1])
    ]
    claims = [
        at_most("all come to the target, largest loss", float(run.loss[..., -1].max()), 1e-12),
        at_most(
            "the kernel turns the most near lambda = 0, distance at the others over the largest within 1",
            float(mean[np.abs(lambdas) > 3].max() / mean[np.abs(lambdas) <= 1].max()),
            0.5,
        ),
        near("and ever less on the side of lambda > 0, as lambda^-4", slopes[0], -4.0, 0.05),
        near("as on that of lambda < 0", slopes[1], -4.0, 0.05),
        at_least(
            "alignment with the targets at the end is higher at 0 than at +-100, ratio",
            float(alignment[:, middle].mean() / alignment[:, [0, -1]].mean()),
            1.1,
        ),
    ]
    figure, (left, right) = panels(2)
    for ax, values, name in (
        (left, distance, "kernel distance to the start"),
        (right, alignment, "kernel alignment with targets"),
    ):
        ax.plot(lambdas, values.T, color=colors(2)[1], linewidth=0.8)
        ax.plot(lambdas, np.median(values, axis=0), color="#222222", linewidth=1.3)
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set(xlabel="$\\lambda$", ylabel=name, xticks=[-100, -1, 0, 1, 100])
        ax.set_xticklabels(["-100", "-1", "0", "1", "100"])
    left.set_yscale("log")
    entry(left, "one product", color=colors(2)[1], linewidth=0.8)
    entry(left, f"median of {n_seeds}", color="#222222", linewidth=1.3)
    left.legend(frameon=False, loc="lower center")
    return Figure(
        "ends",
        About(f"white inputs, {WIDTH} modes", "two $\\lambda$-balanced layers", "gradient flow"),
        f"The tangent kernel at the end of training from {n_seeds} random products each, over lambda; their median in black. The network is rich near "
        "lambda = 0, whichever layer is the larger beyond, and lazy as lambda^-4.",
        figure,
        {
            "lambdas": lambdas,
            "distance": distance,
            "alignment": alignment,
            "sigma": SIGMA,
        },
        claims,
    )
