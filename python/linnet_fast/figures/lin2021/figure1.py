"""Figure 1 of the paper: one layer and four on the circle, with their bounds; and depths 1 to 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import (
    check_bounds,
    cosine,
    deep_flow_angle_bounds,
    flow_angle_bound,
    nullcline,
    one_minus_cosine,
    sgd_floor,
    time_to_angle,
)
from linnet_fast.figures.lin2021.setting import (
    BATCH_SIZE,
    LAW,
    LOG_TAN,
    STEP_SIZE,
    flow,
    layers,
    sgd,
)
from linnet_fast.figures.report import (
    About,
    Claim,
    Figure,
    Settings,
    as_printed,
    at_least,
    at_most,
)
from linnet_fast.plot._style import colors, entry, panels

_UNTIL = 40.0
_RED, _BLUE, _GREY = "#c05030", "#3060a0", "#a0a0a0"


@dataclass(frozen=True)
class _Panel:
    """One half of the figure.

    Attributes
    ----------
    name : str
    n_layers : int
    again : float
        Time at which bounds are started again.
    at_again : tuple of str
        Norm and cosine there.
    restarted : tuple of (str, str)
        1 - cos and its bound, at times 20, 25, 30.
    """

    name: str
    n_layers: int
    again: float
    at_again: tuple[str, str]
    restarted: tuple[tuple[str, str], ...]


_A = _Panel(
    "figure_1a",
    1,
    5.0,
    (".82372", ".918267"),
    (("3.36e-4", "6.64e-4"), ("1.11e-4", "2.56e-4"), ("4.08e-5", "1.10e-4")),
)
_B = _Panel(
    "figure_1b",
    4,
    18.0,
    (".66468", ".845645"),
    (("3.83e-2", "5.75e-2"), ("3.2e-5", "4.4e-3"), ("1.9e-9", "3.3e-4")),
)


def figure_1a(settings: Settings) -> Figure:
    """Draw the linear predictor, with the bounds of Theorem 1."""
    return _half(_A, settings)


def figure_1b(settings: Settings) -> Figure:
    """Draw the network of four layers, with the bounds of Theorem 5."""
    return _half(_B, settings)


def _above(n_layers: int, time: FloatArray, norm: float, s: float) -> FloatArray:
    """Return the theorem's bound above on s at times from a state, NaN before it."""
    since = np.maximum(time, 0.0)
    if n_layers == 1:
        bound = flow_angle_bound(LAW, time=since, norm=norm, log_tan_half_angle=s)
    else:
        bound = deep_flow_angle_bounds(LAW, n_layers, time=since, norm=norm, log_tan_half_angle=s)[
            1
        ]
    return np.where(time >= 0, bound, np.nan)


def _half(panel: _Panel, settings: Settings) -> Figure:
    n_layers = panel.n_layers
    every = 200 if settings.quick else 50
    run = sgd(n_layers, round(_UNTIL / STEP_SIZE), every=every, n_threads=settings.n_threads)
    time = STEP_SIZE * np.asarray(run.steps)
    exact = flow(n_layers, time)
    s, norm = exact.log_tan_half_angle, exact.norm
    begin = int(np.flatnonzero(time == panel.again)[0])
    from_0 = _above(n_layers, time, 1.0, LOG_TAN)
    later = _above(n_layers, time - panel.again, float(norm[begin]), float(s[begin]))
    floor = sgd_floor(
        LAW, n_layers, step_size=STEP_SIZE, batch_size=BATCH_SIZE, norm=np.maximum(norm, 1e-3)
    )
    # The noise of the batches hides what is below a few times its own size.
    seen = exact.angle > 10 * floor
    least = int(np.argmin(run.norm))
    turn = exact.turning_point()
    falling = np.diff(norm) < 0
    claims = [
        at_most(
            "SGD on fresh batches is on the flow of the population: cos(angle), largest difference",
            float(
                np.abs(
                    cosine(log_tan_half_angle=run.log_tan_half_angle) - cosine(log_tan_half_angle=s)
                ).max()
            ),
            0.02,
        ),
        at_most(
            "the same, norm: largest relative difference",
            float(np.abs(run.norm / norm - 1).max()),
            0.03,
        ),
        at_most(
            "the same, loss: largest relative difference",
            float(np.abs(run.loss / exact.loss - 1).max()),
            0.02,
        ),
        at_most(
            "descent-ascent: how often the flow's norm turns",
            float(np.count_nonzero(falling[1:] != falling[:-1])),
            1,
        ),
        at_most(
            "SGD has its smallest norm where the flow has it: difference in time",
            abs(float(time[least]) - float(turn.time)),
            0.25,
        ),
        *(
            at_most(
                f"flow from time {t0:g}: records beyond any bound",
                float(check_bounds(exact, start=at).n_violations),
                0,
            )
            for t0, at in ((0.0, 0), (panel.again, begin))
        ),
        *(
            at_most(
                f"SGD while seen: ln tan(angle / 2) above the theorem's bound from time {t0:g}, most",
                float(np.nanmax((run.log_tan_half_angle - bound)[seen & (time > t0)])),
                0.01,
            )
            for t0, bound in ((0.0, from_0), (panel.again, later))
        ),
        as_printed(f"flow: norm at time {panel.again:g}", float(norm[begin]), panel.at_again[0]),
        as_printed(
            f"flow: cos(angle) at time {panel.again:g}",
            1 - float(exact.one_minus_cos[begin]),
            panel.at_again[1],
        ),
    ]
    for t, (true, bound) in zip((20.0, 25.0, 30.0), panel.restarted, strict=True):
        at = int(np.flatnonzero(time == t)[0])
        claims += [
            as_printed(f"flow: 1 - cos(angle) at time {t:g}", float(exact.one_minus_cos[at]), true),
            as_printed(
                f"its bound started again at time {panel.again:g}, at time {t:g}",
                float(one_minus_cosine(log_tan_half_angle=later[at])),
                bound,
            ),
        ]
    lower = None
    if n_layers > 1:
        lower = deep_flow_angle_bounds(
            LAW, n_layers, time=time, norm=1.0, log_tan_half_angle=LOG_TAN
        )[0]
        claims += _of_four_layers(run.loss, run.log_tan_half_angle, lower, seen, time)
        at = int(np.flatnonzero(time == 30.0)[0])
        claims.append(
            at_least(
                "the bound is loose from time 20 on: its ratio to 1 - cos(angle) at time 30",
                float(one_minus_cosine(log_tan_half_angle=later[at]) / exact.one_minus_cos[at]),
                1e4,
            )
        )
    figure = _draw(panel, time, run, exact, (from_0, later, lower), floor)
    data: dict[str, Any] = {
        "time": time,
        "sgd_log_tan_half_angle": run.log_tan_half_angle,
        "sgd_norm": run.norm,
        "sgd_loss": run.loss,
        "flow_log_tan_half_angle": s,
        "flow_norm": norm,
        "flow_loss": exact.loss,
        "bound_from_0": from_0,
        "bound_started_again": later,
    }
    if lower is not None:
        data["lower_bound"] = lower
    theorem = "Theorem 1" if n_layers == 1 else "Theorem 5 (exponents as its proof gives them)"
    return Figure(
        panel.name,
        About(
            "inputs on the circle",
            layers(n_layers),
            f"SGD with fresh batches of {BATCH_SIZE}, step size {STEP_SIZE:g}",
        ),
        f"A linear network of {layers(n_layers)} on the circle by SGD with fresh batches of {BATCH_SIZE} and step "
        f"size {STEP_SIZE:g}: the angle to the direction of the labels, twice, loss and norm. Dashed: the exact "
        f"flow on the population. Bounds of {theorem} from time 0 and from time {panel.again:g}.",
        figure,
        data,
        claims,
    )


def _of_four_layers(
    loss: FloatArray, s: FloatArray, lower: FloatArray, seen: Any, time: FloatArray
) -> list[Claim]:
    plateau = (time >= 5) & (time <= 10)
    before = time <= 2
    fall = [float(1 - loss[part][-1] / loss[part][0]) for part in (before, plateau)]
    return [
        at_most("plateau of SGD from time 5 to 10: part by which the loss falls", fall[1], 0.03),
        at_least("the same from time 0 to 2, which is shorter", fall[0], 0.15),
        at_least(
            "meanwhile the direction moves on: gain of cos(angle) from time 5 to 10",
            float(
                cosine(log_tan_half_angle=s[plateau][-1]) - cosine(log_tan_half_angle=s[plateau][0])
            ),
            0.3,
        ),
        at_least(
            "SGD while seen: ln tan(angle / 2) above the lower bound, least",
            float((s - lower)[seen & (time > 0)].min()),
            -0.01,
        ),
    ]


def _draw(
    panel: _Panel,
    time: FloatArray,
    run: Any,
    exact: Any,
    bounds: tuple[FloatArray, FloatArray, FloatArray | None],
    floor: FloatArray,
) -> Any:
    figure, axes = panels(2, rows=2, sharex=True)
    (top, logs), (loss, norm) = axes
    from_0, later, lower = bounds
    theorem = "Theorem 1" if panel.n_layers == 1 else "Theorem 5"
    kinds: Sequence[tuple[Any, Callable[..., FloatArray]]] = (
        (top, cosine),
        (logs, one_minus_cosine),
    )
    for ax, of in kinds:
        ax.plot(
            time,
            of(log_tan_half_angle=run.log_tan_half_angle),
            color=_BLUE,
            linewidth=1.6,
            label="SGD",
        )
        ax.plot(
            time,
            of(log_tan_half_angle=exact.log_tan_half_angle),
            "--",
            color="#222222",
            linewidth=0.9,
            label="flow",
        )
        ax.plot(
            time,
            of(log_tan_half_angle=from_0),
            color=_RED,
            linewidth=0.9,
            label=f"{theorem} from 0",
        )
        ax.plot(
            time,
            of(log_tan_half_angle=later),
            ":",
            color=_RED,
            linewidth=1.5,
            label=f"{theorem} from {panel.again:g}",
        )
        if lower is not None:
            ax.plot(
                time,
                of(log_tan_half_angle=lower),
                "-.",
                color=_GREY,
                linewidth=1.0,
                label="other side, from 0",
            )
    noise = np.where(exact.angle < 3 * floor, floor**2 / 2, np.nan)
    if np.isfinite(noise).any():
        logs.plot(time, noise, color="#60a060", linewidth=2.2, alpha=0.6, label="noise of SGD")
        logs.legend(*_last(logs), frameon=False, loc="lower left")
    logs.set(yscale="log", ylabel=r"$1 - \cos\theta$")
    logs.set_ylim(1e-7 if panel.n_layers == 1 else 1e-10, 3)
    top.set(ylabel=r"$\cos\theta$", ylim=(-1.05, 1.08))
    top.legend(frameon=False, loc="lower right")
    for ax, values, true in ((loss, run.loss, exact.loss), (norm, run.norm, exact.norm)):
        ax.plot(time, values, color=_BLUE, linewidth=1.6)
        ax.plot(time, true, "--", color="#222222", linewidth=0.9)
        ax.set(xlabel=r"step size $\times$ step", ylim=(0, None))
    loss.set_ylabel("loss")
    norm.set_ylabel(r"norm $|w|$")
    if panel.n_layers > 1:  # the fall of the norm is a hundredth of its rise
        norm.set_ylim(0.05, 30)
        norm.set_yscale("log")
    for ax in axes.flat:
        ax.set_xlim(0, _UNTIL)
    return figure


def _last(ax: Any) -> tuple[list[Any], list[str]]:
    handles, labels = ax.get_legend_handles_labels()
    return handles[-1:], labels[-1:]


@dataclass(frozen=True)
class _Row:
    """What an independent integration of the flow gives, to the digits it was printed with."""

    turn: tuple[str, str, str]  # time of the least norm, that norm, the angle then
    one_minus_cos: tuple[str, ...]  # at 10, 20, 30, 40
    norms: tuple[str, str]  # at 20, 40
    losses: tuple[str, ...]  # at 0, where the norm is least, at 10, 20, 40
    behind: str  # time at which the angle is pi / 2


_TABLE = {
    1: _Row(
        ("2.449", ".45247", "1.3944"),
        ("6.22e-3", "3.36e-4", "4.08e-5", "6.88e-6"),
        ("2.685", "3.815"),
        ("1.0084", ".6806", ".3275", ".2156", ".1495"),
        "2.20",
    ),
    2: _Row(
        ("3.752", ".24422", "1.4751"),
        ("3.05e-2", "5.32e-5", "9.14e-8", "1.57e-10"),
        ("5.010", "8.449"),
        ("1.0084", ".6894", ".3555", ".1109", ".0632"),
        "3.45",
    ),
    3: _Row(
        ("5.703", ".14037", "1.5157"),
        ("3.20e-1", "8.42e-5", "2.20e-10", "1.1e-16"),
        ("6.064", "13.36"),
        ("1.0084", ".6919", ".6339", ".0901", ".0395"),
        "5.37",
    ),
    4: _Row(
        ("8.663", ".08294", "1.5382"),
        ("8.46e-1", "3.83e-2", "1.88e-9", "8.2e-20"),
        ("2.314", "16.85"),
        ("1.0084", ".6927", ".6894", ".2758", ".0312"),
        "8.31",
    ),
}


def depths(settings: Settings) -> Figure:
    """Draw the flow of one to four layers from the paper's start, and list its numbers."""
    time = np.linspace(0, _UNTIL, 401 if settings.quick else 1601)
    marks = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    figure, axes = panels(3)
    claims: list[Claim] = []
    data: dict[str, Any] = {"time": time}
    for (n_layers, row), color in zip(_TABLE.items(), colors(len(_TABLE)), strict=True):
        whole, at = flow(n_layers, time), flow(n_layers, marks)
        turn = at.turning_point()
        there = flow(n_layers, np.asarray(turn.time))
        halfway = time_to_angle(
            LAW, n_layers, norm=1.0, log_tan_half_angle=LOG_TAN, to_log_tan_half_angle=0.0
        )
        name = layers(n_layers)
        pairs = [
            ("time of the least norm", turn.time, row.turn[0]),
            ("least norm", turn.norm, row.turn[1]),
            ("angle there", there.angle, row.turn[2]),
            *(
                (f"1 - cos(angle) at time {t:g}", value, printed)
                for t, value, printed in zip(
                    marks[1:], at.one_minus_cos[1:], row.one_minus_cos, strict=True
                )
            ),
            ("norm at time 20", at.norm[2], row.norms[0]),
            ("norm at time 40", at.norm[4], row.norms[1]),
            *zip(
                (
                    "loss at time 0",
                    "loss where the norm is least",
                    "loss at time 10",
                    "loss at time 20",
                    "loss at time 40",
                ),
                (at.loss[0], there.loss, at.loss[1], at.loss[2], at.loss[4]),
                row.losses,
                strict=True,
            ),
            ("time of angle pi / 2", halfway, row.behind),
        ]
        claims += [
            as_printed(f"{name}: {what}", float(value), printed) for what, value, printed in pairs
        ]
        claims.append(
            at_most(
                f"{name}: the norm is least on the nullcline, difference of the angles",
                abs(float(nullcline(LAW, norm=turn.norm)) - float(there.angle)),
                1e-8,
            )
        )
        for ax, values in zip(axes, (whole.one_minus_cos, whole.norm, whole.loss), strict=True):
            ax.plot(time, values, color=color, label=str(n_layers))
        axes[1].plot(turn.time, turn.norm, "o", color=color, markersize=4)
        data |= {
            f"log_tan_half_angle_{n_layers}": whole.log_tan_half_angle,
            f"norm_{n_layers}": whole.norm,
            f"loss_{n_layers}": whole.loss,
            f"least_{n_layers}": np.array([turn.time, turn.norm, there.angle]),
        }
    axes[0].set(yscale="log", ylim=(1e-20, 5), ylabel=r"$1 - \cos\theta$")
    axes[1].set(yscale="log", ylabel=r"norm $|w|$")
    axes[2].set(ylim=(0, None), ylabel="loss")
    axes[0].legend(title="layers", frameon=False, loc="lower left")
    entry(axes[1], "least norm", marker="o", linestyle="", markersize=4)
    axes[1].legend(frameon=False, loc="upper left")
    for ax in axes:
        ax.set(xlim=(0, _UNTIL), xlabel="time")
    return Figure(
        "depths",
        About("inputs on the circle", "balanced layers", "gradient flow on the population"),
        "The exact flow from the start of the paper's Figure 1, for one to four layers; dots: the least norm. "
        "Expected values are those of an independent integration.",
        figure,
        data,
        claims,
    )
