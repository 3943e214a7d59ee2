"""Strengths of modes: sigmoids one after another at lambda = 0, exponentials at once far from it."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.domine2024.setting import SIGMA, SMALL, exact, follow, whitened
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.plot._style import colors, entry, panels

_LAMBDAS = np.array([0.0, 3.0, 100.0, -100.0])


def half_times(time: FloatArray, strengths: FloatArray) -> FloatArray:
    """Return when each mode has half of its strength, (..., modes); NaN where it never has."""
    parts = strengths / SIGMA
    lead = (*parts.shape[:-2], parts.shape[-1])
    found = np.full(lead, np.nan)
    for place in np.ndindex(lead):
        course = parts[(*place[:-1], slice(None), place[-1])]
        later = np.flatnonzero(course >= 0.5)
        if later.size and later[0] > 0:
            i = later[0]
            found[place] = np.interp(0.5, course[i - 1 : i + 1], time[i - 1 : i + 1])
    return found


def modes(settings: Settings) -> Figure:
    """Follow modes from starts along them, beside the exact solution."""
    data = whitened()
    time = np.concatenate([[0], np.geomspace(1e-4, 20, 120 if settings.quick else 400)])
    product = data.along(np.full(len(SIGMA), SMALL))
    run = follow(data, _LAMBDAS, product, time, settings.n_threads)
    strengths = np.abs(run.overlap)
    first, second = exact(_LAMBDAS, time)
    known = first * second
    half = half_times(time, strengths)
    size = np.abs(_LAMBDAS[2:, None, None])
    relaxed = SIGMA + (SMALL - SIGMA) * np.exp(-size * time[:, None])
    claims = [
        at_most(
            "strengths are those of the exact solution, largest difference",
            float(np.abs(strengths - known).max()),
            1e-7,
        ),
        at_most(
            "W_2^T W_2 - W_1 W_1^T is kept, largest relative change of its norm",
            float(
                np.abs(run.conserved[1:] / run.conserved[1:, :1] - 1).max(),
            ),
            1e-8,
        ),
        near(
            "lambda = 0: times to half go as ln(sigma / s_0 - 1) / (2 sigma), largest ratio",
            float((half[0] / (np.log(SIGMA / SMALL - 1) / (2 * SIGMA))).max()),
            1.0,
            0.01,
        ),
        at_least(
            "so that modes are learned one after another, last half time over the first",
            float(half[0, -1] / half[0, 0]),
            3.0,
        ),
        at_most(
            "lambda = +-100: all modes at once, last half time over the first",
            float((half[2:].max(axis=-1) / half[2:].min(axis=-1)).max()),
            1.01,
        ),
        near(
            "at ln 2 / |lambda|, mean half time over that",
            float((half[2:] * np.abs(_LAMBDAS[2:, None]) / np.log(2)).mean()),
            1.0,
            0.01,
        ),
        at_most(
            "by 1 - exp(-|lambda| t), largest difference over sigma",
            float((np.abs(strengths[2:] - relaxed) / SIGMA).max()),
            1e-3,
        ),
        at_most(
            "lambda and -lambda have the same strengths, largest difference",
            float(np.abs(strengths[3] - strengths[2]).max()),
            1e-7,
        ),
    ]
    figure, axes = panels(3)
    shades = colors(len(SIGMA))
    for ax, i in zip(axes, range(3), strict=True):
        for mode, color in enumerate(shades):
            label = f"{SIGMA[mode]:g} in the target"
            ax.plot(time[1:], known[i, 1:, mode], color=color, linewidth=1.0, label=label)
            some = slice(1, None, 6 if settings.quick else 20)
            ax.plot(time[some], strengths[i, some, mode], "o", color=color, markersize=2.5)
        ax.set(xscale="log", xlabel="time", xlim=(1e-3, 20), title=f"$\\lambda$ = {_LAMBDAS[i]:g}")
    axes[0].set_ylabel("strength of a mode")
    entry(axes[0], "trained", marker="o", linestyle="", markersize=2.5)
    entry(axes[0], "exact solution", linewidth=1.0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="mode", loc="outside right center", frameon=False)
    return Figure(
        "modes",
        About(
            f"white inputs, {len(SIGMA)} modes", "two $\\lambda$-balanced layers", "gradient flow"
        ),
        "Strengths of the modes along the flow (dots) from lambda-balanced starts of small product, beside the exact solution (lines). At lambda = "
        "0 they are sigmoids, the stronger the earlier; far from it all rise together, exponentially.",
        figure,
        {"lambdas": _LAMBDAS, "time": time, "strengths": strengths, "exact": known, "half": half},
        claims,
    )
