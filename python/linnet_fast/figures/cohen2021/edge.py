"""Sharpness rises to where a step size is just stable, and hovers there while the loss falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.cohen2021.setting import (
    N_INPUTS,
    badly_conditioned,
    follow,
    follow_flow,
)
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most, near
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.rank_dynamics import largest_step_size

_N_OUTPUTS = 5
_POWER = 3.0
_BEYOND = (0.8, 1.25, 1.6, 2.0)  # step sizes over the largest that is stable where the flow ends
_LEVEL = 40.0  # sharpness at which all methods with momentum are at their edge
_METHODS = ((0.0, False), (0.3, False), (0.5, False), (0.5, True))


def _records(n_steps: int, every: int) -> npt.NDArray[np.int64]:
    return np.arange(0, n_steps + 1, every)


def first_above(ratio: FloatArray) -> int:
    """Return the first record at which sharpness is above the edge; the last one if there is none."""
    above = np.flatnonzero(ratio > 1)
    return int(above[0]) if above.size else len(ratio) - 1


def steps(settings: Settings) -> Figure:
    """Train with several step sizes from one start, beside the flow."""
    width, n_steps = (20, 5000) if settings.quick else (60, 10_000)
    loss = badly_conditioned(_N_OUTPUTS, _POWER)
    network = Dense((N_INPUTS, width, width, _N_OUTPUTS))
    start = initialization.gaussian(network, scale=0.7, rng=0)
    times = np.concatenate([[0], np.geomspace(0.3, 1000, 80)])
    flow, flow_loss = follow_flow(network, loss, start, times, settings.n_threads)
    step_size = np.array(_BEYOND) * largest_step_size(float(flow[-1]))
    seen = _records(n_steps, 20)
    sharpness, losses = follow(
        network, loss, start, GradientDescent(step_size), seen, settings.n_threads
    )
    edge = 2 / step_size
    ratio = sharpness / edge[:, None]
    claims = [
        at_least("gradient flow: sharpness rises, end over start", float(flow[-1] / flow[0]), 10.0),
        at_most(
            "step size below 2 / sharpness at the end of the flow: largest sharpness over the edge",
            float(ratio[0].max()),
            0.85,
        ),
        at_most("and the loss never rises, times", int((np.diff(losses[0]) > 0).sum()), 0),
    ]
    for i in range(1, len(_BEYOND)):
        claims += _claims(i, ratio[i], losses[i], seen, step_size[i], (times, flow))
    figure, (left, right) = panels(2)
    shades = colors(len(_BEYOND))
    for i, color in enumerate(shades):
        label = f"{step_size[i]:.3f}"
        left.plot(
            step_size[i] * seen[1:], sharpness[i, 1:], color=color, linewidth=1.0, label=label
        )
        left.axhline(edge[i], color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        right.plot(
            step_size[i] * np.arange(1, n_steps + 1), losses[i, 1:], color=color, linewidth=0.7
        )
    for ax, values in ((left, flow), (right, flow_loss)):
        ax.plot(times[1:], values[1:], ":", color="#222222", linewidth=1.2, label="flow", zorder=3)
        end = float(step_size[-1] * n_steps)
        ax.set(xscale="log", xlabel="time (step size times step)", xlim=(0.3, end))
    left.set(ylabel="sharpness", ylim=(0, 1.35 * float(flow.max())))
    right.set(ylabel="loss", yscale="log", ylim=(1e-7, 10))
    left.plot([], [], color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), label="2 / step size")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, title="step size", loc="outside right center", frameon=False)
    return Figure(
        "steps",
        About(
            "inputs of covariance $k^{-3}$", f"three layers of width {width}", "gradient descent"
        ),
        f"Three layers of width {width} on inputs of covariance k^-3, by gradient descent of several step sizes from one start. Sharpness "
        "rises along the flow (dotted) until it comes to 2 / step size (dashed), and hovers there while the loss falls, by "
        "fits and starts. The smallest step size is below 2 / sharpness for ever: it follows the flow to the end.",
        figure,
        {
            "step_sizes": step_size,
            "steps": seen,
            "sharpness": sharpness,
            "losses": losses,
            "flow_time": times,
            "flow_sharpness": flow,
            "flow_loss": flow_loss,
        },
        claims,
    )


def _claims(
    i: int,
    ratio: FloatArray,
    losses: FloatArray,
    seen: npt.NDArray[np.int64],
    step_size: float,
    flow: tuple[FloatArray, FloatArray],
) -> list[Claim]:
    """Return what holds of a step size with which the flow cannot be followed to its end."""
    name = f"{_BEYOND[i]:g} times the largest stable step size of the flow's end"
    first = first_above(ratio)
    reached, step = ratio[first:], int(seen[first])
    along = float(np.interp(step_size * step, *flow)) * step_size / 2
    moves = np.diff(losses)
    return [
        at_least(f"{name}: largest sharpness over 2 / step size", float(ratio.max()), 1.02),
        at_most(
            f"{name}: the loss rises before sharpness is there, times",
            int((moves[:step] > 0).sum()),
            0,
        ),
        near(
            f"{name}: until then sharpness is that of the flow, ratio",
            float(ratio[first] / along),
            1.0,
            0.05,
        ),
        at_least(f"{name}: the loss rises afterwards, times", int((moves[step:] > 0).sum()), 20),
        at_most(
            f"{name}: and falls all the same, end over the loss on arrival",
            float(losses[-1] / losses[step]),
            1e-2,
        ),
        near(
            f"{name}: sharpness from then on over 2 / step size, median",
            float(np.median(reached)),
            1.0,
            0.02,
        ),
        at_least(
            f"{name}: part of that time within 10 % of 2 / step size",
            float((np.abs(reached - 1) < 0.1).mean()),
            0.8,
        ),
    ]


def momentum(settings: Settings) -> Figure:
    """Train by heavy ball and by Nesterov's momentum with step sizes whose edge is at the same sharpness."""
    width, n_seeds, n_steps = (30, 2, 3000) if settings.quick else (30, 4, 6000)
    loss = badly_conditioned(_N_OUTPUTS, _POWER)
    network = Dense((N_INPUTS, width, width, _N_OUTPUTS))
    start = initialization.gaussian(network, scale=0.7, rng=0, batch_shape=n_seeds)
    claims: list[Claim] = []
    data: dict[str, npt.NDArray[Any]] = {}
    figure, (left, right) = panels(2)
    for (part, ahead), color in zip(_METHODS, colors(len(_METHODS)), strict=True):
        step_size = float(largest_step_size(_LEVEL, momentum=part, nesterov=ahead))
        seen = _records(int(n_steps * (1 - part)), 30)
        sharpness, losses = follow(
            network,
            loss,
            start,
            GradientDescent(step_size, momentum=part, nesterov=ahead),
            seen,
            settings.n_threads,
        )
        # In units of plain descent's 2 / step size, which momentum moves.
        expected = (1 + part) / ((1 + 2 * part) if ahead else 1)
        ratio = sharpness * step_size / 2
        hover = [float(np.median(row[first_above(row / expected) :])) for row in ratio]
        falls = [
            float(one[-1] / one[seen[first_above(row / expected)]])
            for one, row in zip(losses, ratio, strict=True)
        ]
        name = f"Nesterov's momentum {part:g}" if ahead else f"momentum {part:g}"
        formula = "(1 + mu) / (1 + 2 mu)" if ahead else "1 + mu"
        claims += [
            near(
                f"{name}: sharpness over 2 / step size is {formula}, mean",
                float(np.mean(hover)),
                expected,
                0.05,
            ),
            at_most(
                f"{name}: and of every run, largest difference, relative",
                float(np.abs(np.array(hover) / expected - 1).max()),
                0.1,
            ),
        ]
        claims.append(
            at_most(
                f"{name}: the loss falls meanwhile, largest end over that on arrival",
                max(falls),
                0.1,
            )
        )
        word = f"{'nesterov' if ahead else 'momentum'}_{part:g}"
        data |= {f"steps_{word}": seen, f"ratio_{word}": ratio, f"losses_{word}": losses}
        along = step_size / (1 - part) * seen[1:]
        left.plot(along, ratio[0, 1:], color=color, linewidth=1.0, label=name)
        left.axhline(expected, color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        steps_taken = np.arange(1, losses.shape[-1])
        right.plot(step_size / (1 - part) * steps_taken, losses[0, 1:], color=color, linewidth=0.7)
    left.set(ylabel="sharpness times step size / 2", ylim=(0, 2))
    right.set(ylabel="loss", yscale="log")
    for ax in (left, right):
        ax.set(xscale="log", xlabel="time / (1 - mu)", xlim=(1, None))
    entry(left, "edge of stability", linewidth=0.9, linestyle=(0, (4, 3)))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "momentum",
        About(
            "inputs of covariance $k^{-3}$",
            f"three layers of width {width}",
            "gradient descent with momentum",
        ),
        "Heavy ball and Nesterov's momentum. Sharpness hovers where each of them is just stable (dashed): at 2 (1 + mu) / step size and "
        "at 2 (1 + mu) / ((1 + 2 mu) step size), which is not the edge of plain descent.",
        figure,
        data,
        claims,
    )
