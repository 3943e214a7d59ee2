"""Progressive sharpening: by how much sharpness rises, by depth, width and size of the start."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.cohen2021.setting import (
    N_INPUTS,
    badly_conditioned,
    follow_flow,
)
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_N_OUTPUTS = 5
_BEYOND = 1.5
_END = 300.0
_USUAL = (3, 30, 0.7)  # layers, width, scale of the start


def networks(settings: Settings) -> Figure:
    """Follow the flow of networks of several kinds; train each with a step too long for its end."""
    n_seeds = 2 if settings.quick else 4
    depths = (1, 2, 3) if settings.quick else (1, 2, 3, 4, 5)
    widths = (12, 30, 50) if settings.quick else (15, 30, 60, 120)
    scales = (0.3, 0.7, 1.2)
    layers, width, scale = _USUAL
    kinds = {
        "layers": [(n, width, scale) for n in depths],
        "width": [(layers, n, scale) for n in widths],
        "scale of the start": [(layers, width, x) for x in scales],
    }
    times = np.concatenate([[0], np.geomspace(0.1, _END, 20)])
    found: dict[tuple[int, int, float], tuple[FloatArray, FloatArray]] = {}
    for kind in [kind for row in kinds.values() for kind in row]:
        if kind not in found:
            found[kind] = _sharpness(kind, times, n_seeds, settings)
    figure, axes = panels(3)
    rises: dict[str, FloatArray] = {}
    for ax, (name, row) in zip(axes, kinds.items(), strict=True):
        own = [kind[list(kinds).index(name)] for kind in row]
        for kind, label, color in zip(row, own, colors(len(row)), strict=True):
            relative = found[kind][0] / found[kind][0][:, :1]
            ax.plot(times[1:], relative[:, 1:].T, color=color, linewidth=1.0)
            ax.lines[-1].set_label(f"{label:g}")
        ends = [found[kind][0] for kind in row]
        rises[name] = np.array([np.exp(np.log(s[:, -1] / s[:, 0]).mean()) for s in ends])
        ax.set(xscale="log", yscale="log", xlabel="time", ylim=(0.4, 60))
        ax.legend(title=name, frameon=False, loc="upper left")
    axes[0].set_ylabel("sharpness over that of the start")
    ended = np.array([ratio for kind, (_, ratio) in found.items() if kind[0] > 1])
    claims = [
        near(
            "one layer: sharpness at the end over the start", float(rises["layers"][0]), 1.0, 1e-9
        ),
        at_least(
            "each layer more lets it rise further, least ratio of neighbours",
            min(float(b / a) for a, b in pairwise(rises["layers"])),
            1.2,
        ),
        at_most(
            "the wider, the less it rises, largest ratio of neighbours",
            max(float(b / a) for a, b in pairwise(rises["width"])),
            0.97,
        ),
        at_most(
            "the larger the start, the less it rises, largest ratio of neighbours",
            max(float(b / a) for a, b in pairwise(rises["scale of the start"])),
            0.7,
        ),
        at_most(
            f"descent with {_BEYOND:g} times the step that is stable there ends at or below 2 / step size, largest ratio",
            float(ended.max()),
            1.005,
        ),
        at_least("but not far below, least ratio", float(ended.min()), 0.8),
        near("and mostly at 2 / step size, median of all runs", float(np.median(ended)), 1.0, 0.03),
    ]
    data = {f"rise_by_{name.replace(' ', '_')}": rise for name, rise in rises.items()}
    data |= {f"sharpness_{n}_{w}_{s:g}": flow for (n, w, s), (flow, _) in found.items()}
    return Figure(
        "networks",
        About(
            "inputs of covariance $k^{-2}$",
            f"{layers} layers of width {width} from scale {scale:g}, one of these varied",
            "gradient flow",
        ),
        f"Sharpness along the flow, over that of the start, of {n_seeds} starts each: it rises the more, the deeper the network, the "
        "narrower, and the smaller the start. With one layer it is a constant.",
        figure,
        data | {"time": times, "ends": ended},
        claims,
    )


def _sharpness(
    kind: tuple[int, int, float], times: FloatArray, n_seeds: int, settings: Settings
) -> tuple[FloatArray, FloatArray]:
    """Return sharpness of the flow (n_seeds, n_times), and that of descent at its end over 2 / step size."""
    n_layers, width, scale = kind
    loss = badly_conditioned(_N_OUTPUTS, 2.0)
    network = Dense((N_INPUTS, *(width,) * (n_layers - 1), _N_OUTPUTS))
    start = initialization.gaussian(network, scale=scale, rng=0, batch_shape=n_seeds)
    flow, _ = follow_flow(network, loss, start, times, settings.n_threads)
    step_size = _BEYOND * 2 / flow[:, -1]
    if n_layers == 1:
        return flow, np.full(n_seeds, np.nan)  # it diverges, of course
    run = train(
        network,
        loss,
        start,
        method=GradientDescent(step_size),
        n_steps=3000,
        record=Record.at([3000], ("sharpness",)),
        n_threads=settings.n_threads,
    )
    return flow, run.sharpness[:, -1] * step_size / 2
