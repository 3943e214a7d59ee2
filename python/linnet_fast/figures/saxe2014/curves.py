"""Modes that are learned one after another, at times that the spectrum of the data and the depth say."""

from __future__ import annotations

import numpy as np

from linnet_fast import rank_dynamics as rd
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.initialization.start import Start
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.records.record import Record
from linnet_fast.sweeps.designs import grid
from linnet_fast.sweeps.sweep import sweep
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.description import Training

_START = 1e-4
"""Strength of all modes of the end-to-end matrix."""


def curves(settings: Settings) -> Figure:
    """Follow flows from aligned starts over depths and power laws of the teacher's singular values."""
    exponents = [0.5, 1.0] if settings.quick else [0.5, 1.0, 2.0]
    depths = [2, 3] if settings.quick else [2, 3, 4]
    n_modes, n_seeds = (4, 2) if settings.quick else (6, 5)
    # As long as the last mode of the slowest combination takes.
    weakest = n_modes ** -exponents[-1]
    until = 1.5 * max(_wait(weakest, n) for n in depths)
    times = np.concatenate([[0.0], np.geomspace(0.1, until, 150)])
    training = Training(
        Dense((n_modes,) * 3),
        Teacher("power_law", n_inputs=n_modes, n_outputs=n_modes, exponent=1.0),
        Start("aligned", _START),
        GradientFlow(1e-10, method="auto"),
        until=until,
        record=Record.at_times(times, observables=("singular_values", "loss")),
    )
    spec = grid(
        training,
        {"network.n_layers": depths, "loss.exponent": exponents, "data_seed": range(n_seeds)},
    )
    data = sweep(spec, n_threads=settings.n_threads, progress=False)
    found = (
        data["singular_values"].transpose("n_layers", "exponent", "data_seed", "time", ...).values
    )
    loss = data["loss"].transpose("n_layers", "exponent", "data_seed", "time").values
    sigma = np.arange(1.0, n_modes + 1) ** -np.array(exponents)[:, None]
    closed = np.array(
        [
            rd.mode_flow(sigma[:, None], time=times[:, None], strength=_START, n_layers=n).strength
            for n in depths
        ]
    )
    closed_loss = ((sigma[:, None] - closed) ** 2).sum(axis=-1) / 2
    half = np.array(
        [[[_crossing(times, curve, s / 2) for curve, s in zip(found[i, j, 0].T, sigma[j], strict=True)]
          for j in range(len(exponents))] for i in range(len(depths))]
    )  # fmt: skip
    claims = [
        at_most(
            "singular values from their closed form, all depths, spectra and data, largest difference",
            float(np.abs(found - closed[:, :, None]).max()),
            1e-4,
        ),
        at_most(
            "losses from the sum of those of the modes, largest difference",
            float(np.abs(loss - closed_loss[:, :, None]).max()),
            1e-4,
        ),
        at_most(
            "two layers: time to half of a mode is log(strength / start) / (2 strength), largest relative difference",
            float(np.abs(half[0] * 2 * sigma / np.log(sigma / _START) - 1).max()),
            0.02,
        ),
        at_least(
            "each layer more waits longer at a small start, least ratio of times of the first mode",
            float((half[1:, :, 0] / half[:-1, :, 0]).min()),
            1.5,
        ),
        at_least(
            "the steeper the spectrum, the further apart in time the first two modes, least ratio of neighbours",
            float(np.min((half[:, 1:, 1] / half[:, 1:, 0]) / (half[:, :-1, 1] / half[:, :-1, 0]))),
            1.1,
        ),
    ]
    figure, axes = panels(len(exponents), len(depths), sharex="row", sharey="col")
    shades = colors(n_modes)
    for i, n in enumerate(depths):
        for j, exponent in enumerate(exponents):
            ax = axes[i, j]
            for k in range(n_modes):
                ax.plot(times[1:], found[i, j, :, 1:, k].T, color=shades[k], linewidth=2, alpha=0.6)
                ax.plot(times[1:], closed[i, j, 1:, k], "k", linewidth=0.7, linestyle=(0, (3, 3)))
            ax.set(xscale="log", xlim=(0.3, until))
            if i == 0:
                ax.set_title(f"$\\sigma_k = k^{{-{exponent:g}}}$")
            if j == 0:
                ax.set_ylabel(f"{n} layers\nsingular values")
            if i == len(depths) - 1:
                ax.set_xlabel("time")
    last = axes[-1, -1]
    for k, shade in enumerate(shades):
        entry(last, f"mode k = {k + 1}", color=shade, linewidth=2)
    entry(last, "closed form", color="k", linewidth=0.7, linestyle=(0, (3, 3)))
    figure.legend(
        *last.get_legend_handles_labels(),
        title=f"{n_seeds} data sets each",
        loc="outside right center",
        frameon=False,
    )
    return Figure(
        "curves",
        About(
            f"power-law teachers of {n_modes} inputs and outputs",
            f"layers of width {n_modes}, aligned at the start",
            "gradient flow",
        ),
        f"Singular values of the end-to-end matrix along the flow, from starts of strength {_START:g} along those of the data, for power laws (columns) and "
        "depths (rows). Dashed: closed form. Strong modes are learned first; the deeper the network, the longer the wait and the steeper the step.",
        figure,
        {
            "time": times,
            "singular_values": found,
            "closed_form": closed,
            "loss": loss,
            "half": half,
        },
        claims,
    )


def _wait(sigma: float, n_layers: int) -> float:
    """Return about when a mode is learned."""
    if n_layers == 2:
        return float(np.log(sigma / _START) / sigma)
    power = 1 - 2 / n_layers
    return float(_START**-power / ((n_layers - 2) * sigma))


def _crossing(times: FloatArray, values: FloatArray, level: float) -> float:
    """Return when a rising curve crosses a level, between records."""
    return float(np.exp(np.interp(level, values[1:], np.log(times[1:]))))
