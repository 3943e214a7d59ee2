"""How fast directions converge: by the number of layers, and by the rule for the step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast import plot
from linnet_fast.directional_convergence import (
    ReducedTrajectory,
    classify_rate,
    descent_law,
    late_time_law,
    reduced_descent,
    step_size_advice,
    two_layer_direction,
)
from linnet_fast.figures.lin2021.setting import LAW, LOG_TAN, START, flow, layers
from linnet_fast.figures.report import (
    About,
    Claim,
    Figure,
    Settings,
    as_printed,
    at_least,
    at_most,
    near,
)
from linnet_fast.laws.spherical import Gaussian
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.plot._style import key as beside
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_DEPTHS = (1, 2, 3, 4, 5, 6)
_KINDS = {1: "stretched exponential", 2: "linear"}  # superlinear beyond


def rates(settings: Settings) -> Figure:
    """Fit the exponents of angle and norm for one to six layers."""
    n_times = 200 if settings.quick else 600
    until = 1e5
    early, late = np.linspace(0, 60, n_times), np.append(0, np.geomspace(1, until, n_times))
    figure, axes = panels(3)
    claims: list[Claim] = []
    data: dict[str, Any] = {"early": early, "late": late}
    wrong = 0
    for n_layers, color in zip(_DEPTHS, colors(len(_DEPTHS)), strict=True):
        law = late_time_law(LAW, n_layers)
        near_start, run = flow(n_layers, early), flow(n_layers, late)
        fit = classify_rate(run)
        wrong += str(fit.kind) != _KINDS.get(n_layers, "superlinear")
        # Slopes over the last factor of ten of time, where the norm has reached its power.
        last = late >= until / 10
        norm_slope = float(np.polyfit(np.log(late[last]), np.log(run.norm[last]), 1)[0])
        loss_slope = float(np.polyfit(np.log(late[last]), np.log(run.loss[last]), 1)[0])
        name = layers(n_layers)
        claims += [
            near(
                f"{name}: -ln tan(angle / 2) grows as a power of time, exponent 2 N / (N + 2)",
                float(fit.decay_exponent),
                2 * n_layers / (n_layers + 2),
                0.01,
            ),
            near(
                f"{name}: the norm grows as a power of time, exponent N / (N + 2)",
                norm_slope,
                n_layers / (n_layers + 2),
                0.01,
            ),
            near(
                f"{name}: the loss falls with the opposite exponent", -loss_slope, norm_slope, 0.01
            ),
            near(
                f"{name}: -ln tan(angle / 2) at time 100 000 over its leading power",
                float(run.log_tan_half_angle[-1] / law.log_tan_half_angle(time=until)),
                1.0,
                0.02,
            ),
        ]
        axes[0].plot(early, near_start.angle, color=color, label=str(n_layers))
        for ax, quantity in ((axes[1], "log_tan_half_angle"), (axes[2], "norm")):
            plot.direction(run, ax, quantity=quantity, expected=law, color=color)  # type: ignore[arg-type]
        data |= {
            f"early_angle_{n_layers}": near_start.angle,
            f"log_tan_half_angle_{n_layers}": run.log_tan_half_angle,
            f"norm_{n_layers}": run.norm,
            f"exponents_{n_layers}": np.array([fit.decay_exponent, norm_slope, loss_slope]),
        }
    claims.append(
        at_most("kinds of rates (stretched exponential, linear, superlinear) found wrong", wrong, 0)
    )
    exact = two_layer_direction(LAW, time=early, log_tan_half_angle=LOG_TAN)
    two = flow(2, early).log_tan_half_angle
    claims.append(
        at_most(
            "2 layers: tan(angle / 2) falls as exp(-kappa t) from the start, largest error of its logarithm",
            float(np.abs(two - exact).max()),
            1e-9,
        )
    )
    axes[0].set(
        yscale="log", ylim=(1e-12, 5), xlim=(0, 60), xlabel="time", ylabel=r"angle $\theta$"
    )
    axes[0].legend(title="layers", frameon=False, loc="lower left")
    axes[1].set(xlim=(1, until), ylim=(0.1, None))
    axes[2].set_xlim(1, until)
    for ax in axes[1:]:
        _only_dashes(ax)
    return Figure(
        "rates",
        About("inputs on the circle", "one to six layers", "gradient flow on the population"),
        "The flow from the start of Figure 1 for one to six layers: concave, straight and convex on a logarithmic "
        "axis of the angle (left); powers of time later (middle, right), with the leading powers dashed.",
        figure,
        data,
        claims,
    )


def _only_dashes(ax: Any) -> None:
    """Leave only the dashed line in a legend: colours are explained elsewhere."""
    handles, labels = ax.get_legend_handles_labels()
    at = labels.index("expected")
    ax.legend([handles[at]], ["leading power"], frameon=False, loc="upper left")


# --- step sizes


@dataclass(frozen=True)
class _Schedule:
    """A row of the comparison.

    Attributes
    ----------
    name : str
        As in the legend.
    rule : StepRule
    n_steps : int
        How far it is followed.
    """

    name: str
    rule: StepRule
    n_steps: int


_PLANE = Gaussian(2)
_SCHEDULES = (
    _Schedule("constant 1", StepRule.power(1.0, 0.0), 10**6),
    _Schedule(r"$n^{1/4}$", StepRule.power(1.0, 0.25), 10**6),
    _Schedule(r"$\sqrt{n}$", StepRule.power(1.0, 0.5), 10**5),
    _Schedule(r"$|w|$", StepRule.norm_proportional(1.0), 10**5),
    _Schedule("1 / loss", StepRule.loss_normalized(1.0), 10**5),
    _Schedule("1 / |gradient|", StepRule.gradient_normalized(1.0), 10**5),
    _Schedule(r"$1.1^{\,n}$", StepRule.geometric(1.0, 1.1), 4000),
)


def step_rules(settings: Settings) -> Figure:
    """Compare rules for the step size of gradient descent on one layer."""
    loss = SphericalLogisticLoss([0.0, 1.0], _PLANE)
    n_trained = 400
    figure, axes = panels(3)
    data: dict[str, Any] = {}
    claims: list[Claim] = []
    apart = 0.0
    for schedule, color in zip(_SCHEDULES, colors(len(_SCHEDULES)), strict=True):
        steps = np.unique(np.append(0, np.geomspace(1, schedule.n_steps, 300).round())).astype(int)
        if schedule.rule.kind == "geometric":  # it swings
            steps = np.arange(schedule.n_steps + 1)
        run = _descent(schedule.rule, steps)
        short = _descent(schedule.rule, np.arange(n_trained + 1))
        trained = train(
            Dense((2, 1)),
            loss,
            (START,),
            method=GradientDescent(schedule.rule),
            n_steps=n_trained,
            record=Record.every(1, observables=("log_tan_half_angle", "norm")),
            n_threads=settings.n_threads,
        )
        # Angles of vectors have no more digits than 1e-16.
        seen = short.log_tan_half_angle > np.log(1e-10)
        apart = max(
            apart,
            float(np.abs(trained.log_tan_half_angle - short.log_tan_half_angle)[seen].max()),
            float(np.abs(np.log(trained.norm / short.norm)).max()),
        )
        claims += _verdicts(schedule, run)
        dots = np.unique(np.geomspace(1, n_trained, 25).round().astype(int))
        style: dict[str, Any] = {"color": color, "markersize": 3, "linestyle": "none"}
        axes[0].plot(short.steps, short.angle, color=color)
        axes[1].plot(steps, -run.log_tan_half_angle, color=color)
        axes[2].plot(steps, run.norm, color=color, label=schedule.name)
        axes[2].plot(dots, trained.norm[dots], ".", **style)
        shown = seen[dots]
        axes[1].plot(dots[shown], -trained.log_tan_half_angle[dots[shown]], ".", **style)
        key = f"{schedule.rule.kind}_{float(schedule.rule.exponent):g}"
        data |= {
            f"steps_{key}": steps,
            f"log_tan_half_angle_{key}": run.log_tan_half_angle,
            f"norm_{key}": run.norm,
        }
    claims += [
        at_most(
            "training by the core against the exact recursion, largest difference", apart, 1e-5
        ),
        *_one_step(loss, settings),
        *_geometric(),
        *_monotone(),
    ]
    axes[0].set(
        yscale="log", xlim=(0, 60), ylim=(1e-14, 5), xlabel="step", ylabel=r"angle $\theta$"
    )
    axes[1].set(
        xscale="log",
        yscale="log",
        xlim=(1, 1e6),
        ylim=(0.1, 2e5),
        xlabel="step",
        ylabel=r"$-\ln\,\tan(\theta/2)$",
    )
    axes[2].set(
        xscale="log",
        yscale="log",
        xlim=(1, 1e6),
        ylim=(0.2, 2e3),
        xlabel="step",
        ylabel=r"norm $|w|$",
    )
    entry(axes[2], "exact recursion")
    entry(axes[2], "trained", marker=".", linestyle="", markersize=3)
    beside(figure, axes[2], "step size")
    return Figure(
        "step_rules",
        About("Gaussian inputs", "one layer", "gradient descent on the population"),
        "Gradient descent on one layer under several rules for the step size (Gaussian inputs): exact recursion "
        "(lines) and training by the core (dots).",
        figure,
        data,
        claims,
    )


def _descent(rule: StepRule, steps: Any) -> ReducedTrajectory:
    return reduced_descent(
        _PLANE, 1, log_tan_half_angle=LOG_TAN, norm=1.0, step_size=rule, steps=steps
    )


def _verdicts(schedule: _Schedule, run: ReducedTrajectory) -> list[Claim]:
    """Return what theory says of a rule, by its status."""
    rule = schedule.rule
    law = descent_law(_PLANE, rule)
    status = str(law.status)
    s, n = run.log_tan_half_angle, np.asarray(run.steps, float)
    name = {
        "power": f"step size n^{float(rule.exponent):g}",
        "norm_proportional": "step size |w|",
        "loss_normalized": "step size 1 / loss",
        "gradient_normalized": "step size 1 / |gradient|",
        "geometric": f"step size {float(rule.exponent):g}^n",
    }[rule.kind]
    claims = []
    if status != "does not converge":
        claims.append(
            near(
                f"{name}: norm at the end over its law",
                float(run.norm[-1] / law.norm(steps=n[-1])),
                1.0,
                0.02,
            )
        )
    if status == "stretched exponential":
        fit = classify_rate((n, s))
        claims.append(
            near(
                f"{name}: stretched exponential in the steps, exponent",
                float(fit.decay_exponent),
                float(law.exponent),
                0.01,
            )
        )
    elif status == "linear":
        half = int(np.searchsorted(n, n[-1] / 2))
        rate = -(s[-1] - s[half]) / (n[-1] - n[half])
        claims.append(
            near(f"{name}: linear in the steps, rate", float(rate), float(law.rate), 0.01)
        )
    elif status == "polynomial only":
        half = n >= n[-1] / 10
        slope = np.polyfit(np.log(n[half]), s[half], 1)[0]
        claims += [
            near(
                f"{name}: the angle falls as a power of the steps only, exponent", -slope, 0.5, 0.01
            ),
            near(
                f"{name}: the zig-zag is as wide as half a step, angle times norm",
                float((run.angle * run.norm)[-1]),
                0.5 * float(rule.scale),
                0.01,
            ),
        ]
    else:
        claims += [
            at_least(
                f"{name}: no convergence, ln tan(angle / 2) after all steps", float(s[-1]), -3
            ),
            near(
                f"{name}: that is the swing of constant angle",
                float(s[-1]),
                float(law.offset),
                0.01,
            ),
        ]
    return claims


def _one_step(loss: SphericalLogisticLoss, settings: Settings) -> list[Claim]:
    """Return the claim on the rule that aligns at once, from several starts."""
    starts = np.random.default_rng(0).standard_normal((20, 1, 2))
    run = train(
        Dense((2, 1)),
        loss,
        (starts,),
        method=GradientDescent(StepRule.alignment()),
        n_steps=1,
        record=Record.at([1], observables=("angle",)),
        n_threads=settings.n_threads,
    )
    return [
        at_most(
            "step size |w| / q(|w|): aligned after one step from 20 random starts, largest angle",
            float(run.angle.max()),
            1e-14,
        )
    ]


def _geometric() -> list[Claim]:
    """Return the claim on several ratios of geometric steps."""
    ends: list[float] = []
    for ratio, n_steps in ((1.02, 20_000), (1.05, 8000), (1.2, 3000), (1.5, 1500)):
        end = _descent(StepRule.geometric(1.0, ratio), [n_steps])
        ends.append(float(end.log_tan_half_angle[-1]))
    return [
        as_printed(
            "geometric steps, ratios 1.02 to 1.5: ln tan(angle / 2) at the end, least",
            min(ends),
            "-2.7",
        ),
        as_printed("the same, largest", max(ends), "-1.2"),
    ]


def _monotone() -> list[Claim]:
    """Return the claims on which steps keep the angle falling, from a grid of starts."""
    advice = step_size_advice(_PLANE, norm=1.0)
    s0, r0 = np.meshgrid(np.linspace(-8, 8, 33), np.geomspace(1e-3, 100, 26))

    def rise(step_size: float) -> float:
        run = reduced_descent(
            _PLANE, 1, log_tan_half_angle=s0, norm=r0, step_size=step_size, steps=range(60)
        )
        return float(np.diff(run.log_tan_half_angle, axis=-1).max())

    return [
        at_most(
            "step size 4 / m2: the angle never rises, from any of 858 starts; largest rise of ln tan(angle / 2)",
            rise(advice.monotone),
            1e-9,
        ),
        at_least("eight times that: it does from some start", rise(8 * advice.monotone), 0.1),
    ]
