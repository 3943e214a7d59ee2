"""The plane of norm and angle: where the norm shrinks, runs of the core, and what starts at angle pi."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet_fast import plot
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import (
    log_lyapunov,
    log_small_norm_invariant,
    nullcline,
    passage_time,
    reduced_flow,
)
from linnet_fast.figures.lin2021.setting import (
    LAW,
    LOSS,
    OBSERVED,
    layers,
    network,
    start,
)
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_most, near
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.plot._style import entry, key, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_STARTS = ((2.8, 2.9), (1.0, 2.498091544796509), (1.6, 2.0), (0.4, 1.2), (0.15, 3.0))  # norm, angle
_SEEN = np.log(1e-6)


def portraits(settings: Settings) -> Figure:
    """Draw phase portraits of one, two and four layers, and runs of the core on them."""
    depths = (1, 2, 4)
    n_times = 300 if settings.quick else 1500
    norm, angle = np.array(_STARTS).T
    product = (norm * np.stack([np.sin(angle), np.cos(angle)])).T[:, None, :]
    figure, axes = panels(3, sharey=True)
    claims: list[Claim] = []
    data: dict[str, Any] = {"start_norm": norm, "start_angle": angle}
    for ax, n_layers in zip(axes, depths, strict=True):
        # Some pass by norm 0 in no time.
        times = np.append(np.linspace(0, 4, n_times), np.linspace(4, 40, n_times)[1:])
        run = train(
            network(n_layers),
            LOSS,
            start(n_layers, product),
            method=GradientFlow(1e-12),
            until=times[-1],
            record=Record.at_times(times, observables=OBSERVED),
            n_threads=settings.n_threads,
        )
        exact = reduced_flow(LAW, n_layers, angle=angle, norm=norm, time=times)
        name = layers(n_layers)
        # Below, the angle of a vector is no larger than the errors of its integration.
        seen = exact.log_tan_half_angle > _SEEN
        s_error = np.abs(run.log_tan_half_angle - exact.log_tan_half_angle)[seen].max()
        r_error = np.abs(np.log(run.norm) - exact.log_norm).max()
        claims += [
            at_most(
                f"{name}: runs of the core against the reduced flow, ln tan(angle / 2) and ln norm",
                float(max(s_error, r_error)),
                1e-5,
            ),
            *_claims(name, n_layers, run.norm, run.log_tan_half_angle),
        ]
        plot.phase_portrait(LAW, n_layers, ax, runs=run)
        ax.set_title(name)
        data |= {
            f"norm_{n_layers}": run.norm,
            f"log_tan_half_angle_{n_layers}": run.log_tan_half_angle,
        }
        if n_layers > 1:
            ax.set_ylabel("")
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    for height, word in ((1.25, "norm shrinks"), (0.42, "norm grows")):
        axes[0].text(2.93, height, word, ha="right", va="center", bbox=box)
    entry(axes[0], "training, from its start", marker="o", markevery=2, markersize=4)
    entry(axes[0], "flow", color="#b0b0b0", linewidth=0.6)
    key(figure, axes[0])
    claims += _from_behind()
    data |= {"norm": (grid := np.linspace(0, 3, 200)), "nullcline": nullcline(LAW, norm=grid)}
    return Figure(
        "portraits",
        About("inputs on the circle", "balanced layers", "gradient flow on the population"),
        "Norm and angle under gradient flow of one, two and four layers on the circle. Shaded: the norm shrinks; "
        "dashed: it stands still; coloured: balanced networks trained by the core, from the dots.",
        figure,
        data | {"times": times},
        claims,
    )


def _claims(name: str, n_layers: int, norm: FloatArray, s: FloatArray) -> list[Claim]:
    """Return what holds of every run: phases and the two monotone quantities."""
    shrinks = 2 * np.arctan(np.exp(s)) > nullcline(LAW, norm=norm)
    back = int(np.count_nonzero(shrinks[:, 1:] & ~shrinks[:, :-1]))
    falls = np.diff(norm, axis=-1) < 0
    both, neither = shrinks[:, 1:] & shrinks[:, :-1], ~shrinks[:, 1:] & ~shrinks[:, :-1]
    wrong = int(np.count_nonzero(both & ~falls) + np.count_nonzero(neither & falls))
    again = int(np.count_nonzero(falls[:, 1:] & ~falls[:, :-1]))
    seen = s[:, 1:] > _SEEN
    lyapunov = np.diff(log_lyapunov(n_layers, log_tan_half_angle=s, norm=norm), axis=-1)
    other = np.diff(log_small_norm_invariant(n_layers, log_tan_half_angle=s, norm=norm), axis=-1)
    return [
        at_most(f"{name}: records at which a growing norm shrinks again", again, 0),
        at_most(
            f"{name}: records at which the norm grows above the nullcline, or shrinks below",
            wrong,
            0,
        ),
        at_most(f"{name}: crossings of the nullcline from below", back, 0),
        at_most(
            f"{name}: r cos(angle / 2)^(2 N) never falls: largest fall of its logarithm",
            float(-lyapunov.min()),
            1e-9,
        ),
        at_most(
            f"{name}: r sin(angle)^N never rises: largest rise of its logarithm",
            float(other[seen].max()),
            1e-9,
        ),
    ]


def _from_behind() -> list[Claim]:
    """Return what becomes of starts at angle pi, where deep networks are stuck."""
    through = float(passage_time(LAW, norm=1.0))
    around = reduced_flow(LAW, 1, angle=np.pi, norm=1.0, time=[0.999 * through, 1.001 * through])
    small = 1e-4
    two = reduced_flow(LAW, 2, angle=np.pi, norm=small, time=np.array([0.0, 5.0]))
    four = reduced_flow(LAW, 4, angle=np.pi, norm=small, time=np.array([1e5, 1e6]))
    rate = float(np.log(two.norm[0] / two.norm[1]) / 5)
    power = float(np.log(four.norm[1] / four.norm[0]) / np.log(10))
    escape = reduced_flow(
        LAW, 2, log_tan_half_angle=np.log(2e6), norm=1.0, time=[np.log(2e6) / LAW.kappa]
    )
    return [
        at_most(
            "1 layer from angle pi: passes 0 at the predicted time; angle a thousandth before it is pi, difference",
            abs(float(around.angle[0]) - np.pi),
            1e-12,
        ),
        at_most("the same, angle a thousandth after it", float(around.angle[1]), 1e-12),
        near(
            "2 layers at angle pi: the norm falls exponentially for ever, rate 2 kappa",
            rate,
            2 * LAW.kappa,
            0.001,
        ),
        near("4 layers at angle pi: the norm falls as t^-2, exponent", power, -2.0, 0.01),
        near(
            "2 layers, 1e-6 off angle pi: angle after the time ln(2e6) / kappa",
            float(escape.angle[0]),
            np.pi / 2,
            1e-6,
        ),
    ]
