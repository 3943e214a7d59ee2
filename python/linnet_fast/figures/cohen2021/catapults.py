"""Starts above the edge: the loss rises until sharpness has fallen below it."""

from __future__ import annotations

import numpy as np

from linnet_fast import initialization
from linnet_fast.figures.cohen2021.setting import (
    N_INPUTS,
    badly_conditioned,
    follow,
    follow_flow,
)
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, panels

_ABOVE = (0.5, 0.9, 1.2, 1.5, 1.8, 2.3)  # step size times sharpness of the start over 2


def catapults(settings: Settings) -> Figure:
    """Train two wide layers with step sizes below and above 2 over the sharpness of the start."""
    width, n_steps = (100, 300) if settings.quick else (300, 1000)
    loss = badly_conditioned(1, 2.0, size=0.3)
    network = Dense((N_INPUTS, width, 1))
    start = initialization.gaussian(network, rng=0)
    first, _ = follow_flow(network, loss, start, np.array([0.0, 1e-6]), settings.n_threads)
    step_size = 2 * np.array(_ABOVE) / first[0]
    seen = np.unique(np.concatenate([np.arange(41), np.geomspace(41, n_steps, 30).round()])).astype(
        int
    )
    sharpness, losses = follow(
        network, loss, start, GradientDescent(step_size), seen, settings.n_threads
    )
    ratio = sharpness * step_size[:, None] / 2
    below, between = slice(0, 2), slice(2, 5)
    claims = [
        at_most(
            "below the edge: the loss never exceeds that of the start, largest ratio",
            float((losses[below].max(axis=1) / losses[below, 0]).max()),
            1.0,
        ),
        at_least(
            "below the edge: sharpness stays, least end over start",
            float((ratio[below, -1] / ratio[below, 0]).min()),
            0.9,
        ),
        at_least(
            "1 to 2 times the edge: the loss rises at first, least of the largest losses over the start",
            float((losses[between].max(axis=1) / losses[between, 0]).min()),
            2.0,
        ),
        at_most(
            "1 to 2 times the edge: sharpness falls below the edge, largest at the end over 2 / step size",
            float(ratio[between, -1].max()),
            1.0,
        ),
        at_most(
            "1 to 2 times the edge: and the loss comes to 0, largest at the end over the start",
            float((losses[between, -1] / losses[between, 0]).max()),
            1e-6,
        ),
        at_least(
            "beyond twice the edge, 4 / sharpness, it diverges: runs that are not finite",
            int((~np.isfinite(losses[5:, -1])).sum()),
            1,
        ),
    ]
    figure, (left, right) = panels(2)
    for i, color in enumerate(colors(len(_ABOVE))):
        left.plot(seen, ratio[i], color=color, linewidth=1.0, label=f"{_ABOVE[i]:g}")
        right.plot(np.arange(n_steps + 1), losses[i] / losses[i, 0], color=color, linewidth=1.0)
    left.axhline(1, color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    left.set(ylabel="sharpness times step size / 2", ylim=(0, 2.6))
    right.set(ylabel="loss over that of the start", yscale="log", ylim=(1e-3, 1e5))
    for ax in (left, right):
        ax.set(xlabel="step", xlim=(0, 40))
    entry(left, "edge of stability", linewidth=0.9, linestyle=(0, (4, 3)))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title="step size times\nsharpness / 2\nat the start",
        loc="outside right center",
        frameon=False,
    )
    return Figure(
        "catapults",
        About(
            "inputs of covariance $k^{-2}$, one output",
            f"two layers of width {width}",
            "gradient descent",
        ),
        f"Two layers of width {width} and one output, with step sizes of which sharpness is above 2 / step size (dashed) at the start. The "
        "loss grows until the weights have shrunk to where sharpness is below, then falls to 0; above 4 / sharpness it diverges.",
        figure,
        {"step_sizes": step_size, "steps": seen, "sharpness": sharpness, "losses": losses},
        claims,
    )
