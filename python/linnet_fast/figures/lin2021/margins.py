"""Finitely many samples, for a very long time: from the population's law to the maximum margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import (
    MaxMargin,
    ReducedTrajectory,
    crossover,
    expected_max_margin,
    expected_max_margin_angle,
    margin_law,
    max_margin,
)
from linnet_fast.figures.lin2021.setting import DIRECTION, LAW, START, flow, network
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most, near
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import Gaussian
from linnet_fast.losses.samples import LogisticLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_LOG_END = 1000.0  # ln of the last time
_LOSS_AT = 600.0  # ln of a time at which the loss is still a number


def _wide(n_sets: int, n: int, law: SphericalLaw) -> tuple[FloatArray, FloatArray]:
    """Return sets whose margin is not far below its mean: the flow takes steps as short as its square."""
    x, y = samples(10 * n_sets, n, 5, law)
    wide = np.flatnonzero(max_margin(x, y).margin > 2 / n)[:n_sets]
    return x[wide], y[wide]


@dataclass(frozen=True)
class _Kind:
    """Sets from one law."""

    law: SphericalLaw
    sets: slice
    population: ReducedTrajectory


def samples(
    n_sets: int, n: int, seed: int, law: SphericalLaw = LAW
) -> tuple[FloatArray, FloatArray]:
    """Return sets of points, by default on the circle, (n_sets, n, 2), and their labels."""
    x = law.sample(n_sets * n, np.random.default_rng(seed)).reshape(n_sets, n, law.dim)
    return x, np.where(x @ np.array(DIRECTION) > 0, 1.0, -1.0)


def angle_between(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the angles of vectors, accurate also if tiny."""
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    apart = np.linalg.norm(a - b, axis=-1)
    return np.asarray(2 * np.arctan2(apart, np.linalg.norm(a + b, axis=-1)))


def margins(settings: Settings) -> Figure:
    """Follow the flow on a few samples until ln t = 1000."""
    n_sets, n = (3, 60) if settings.quick else (6, 100)
    laws: tuple[SphericalLaw, ...] = (LAW, Gaussian(2))
    sets = [_wide(n_sets, n, law) for law in laws]
    x, y = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    best = max_margin(x, y)
    log_time = np.unique(np.append(np.geomspace(0.3, _LOG_END, 300), [_LOSS_AT, _LOG_END / 2]))
    run = train(
        network(1),
        LogisticLoss.from_data(x, y),
        (START,),
        method=GradientFlow(1e-11, log_time=True, max_steps=10**8),
        until=_LOG_END,
        record=Record.at_times(log_time, observables=("norm", "product", "loss", "margin")),
        n_threads=settings.n_threads,
    )
    w = run.product[..., 0, :]
    to_best = angle_between(w, best.direction[:, None])
    to_labels = angle_between(w, np.array(DIRECTION))
    seen = log_time < np.log(1e8)
    kinds = [
        _Kind(
            law,
            slice(k * n_sets, (k + 1) * n_sets),
            flow(1, np.expm1(log_time[seen]), law=law),
        )
        for k, law in enumerate(laws)
    ]
    claims = _claims(run, best, log_time, to_best, to_labels, kinds)
    figure, axes = panels(3)
    left, middle, right = axes
    for kind, color in zip(kinds, colors(3)[:2], strict=True):
        name = "circle" if kind.law == LAW else "Gaussian"
        right.plot(log_time, to_best[kind.sets].T, color=color, linewidth=1.1)
        right.lines[-1].set_label(name)
        for k in range(*kind.sets.indices(len(x))):
            left.plot(log_time, run.norm[k], color=color, linewidth=1.1)
            start = crossover(kind.law, margin=best.margin[k])
            left.plot(np.log1p(start.time), start.norm, "o", color=color, markersize=3.5)
            late = log_time > 1.5 * np.log1p(float(start.time))
            law = margin_law(best.margin[k]).norm(log_time=log_time[late])
            left.plot(log_time[late], law, ":", color="#222222", linewidth=1.2, zorder=3)
            middle.plot(log_time, to_labels[k], color=color, linewidth=1.1)
        shown = log_time[seen]
        left.plot(shown, kind.population.norm, "--", color="#c05030", linewidth=1.2)
        middle.plot(shown, kind.population.angle, "--", color="#c05030", linewidth=1.2)
    left.lines[-1].set_label("population")
    left.lines[2].set_label(r"$\ln t\, /\, \gamma^*$")
    left.set(yscale="log", ylabel=r"norm $|w|$", ylim=(0.3, None))
    entry(left, "crossover", marker="o", linestyle="", markersize=3.5)
    left.legend(frameon=False, loc="upper left")
    for ax, title in zip(axes, ("norm", "to the labels", "to the largest margin"), strict=True):
        ax.set_title(title)
    middle.set(yscale="log", ylabel="angle to the labels' direction", ylim=(1e-4, 4))
    grid = np.array([30.0, _LOG_END])
    guide = 3 * float(np.max(to_best[:, -1])) * _LOG_END / grid
    right.plot(grid, guide, "--", color="#606060", linewidth=0.9, label=r"$\propto 1 / \ln t$")
    right.set(yscale="log", ylabel="angle to the max-margin direction", ylim=(1e-9, 5))
    right.legend(frameon=False, loc="lower left")
    for ax in axes:
        ax.set(xscale="log", xlim=(0.3, _LOG_END), xlabel=r"$\ln(1 + t)$")
    return Figure(
        "margins",
        About(
            f"{n_sets} sets of {n} samples each of the circle and of the Gaussian law",
            "one layer",
            "gradient flow of the logistic loss",
        ),
        f"The flow of one layer on {n_sets} sets of {n} points of the circle and as many Gaussian ones, of margins > {2 / n:g}, until ln t = "
        "1000. The norm leaves the population's law (dashed) where it times the margin is about 4 (dots, left); "
        "the direction stays where that of the largest margin is. It comes there as slowly as 1 / ln t, but on the "
        "circle, whose two support vectors have equal weights, as a power of t (right).",
        figure,
        {
            "log_time": log_time,
            "norm": run.norm,
            "margin": run.margin,
            "max_margin": best.margin,
            "max_margin_direction": best.direction,
            "angle_to_max_margin": to_best,
            "angle_to_labels": to_labels,
            "population_norms": np.stack([kind.population.norm for kind in kinds]),
        },
        claims,
    )


def _claims(
    run: Any,
    best: MaxMargin,
    log_time: FloatArray,
    to_best: FloatArray,
    to_labels: FloatArray,
    kinds: Sequence[_Kind],
) -> list[Claim]:
    gamma = best.margin
    half = int(np.flatnonzero(log_time == _LOG_END / 2)[0])
    at = int(np.flatnonzero(log_time == _LOSS_AT)[0])
    law = margin_law(gamma)
    final = angle_between(best.direction, np.array(DIRECTION))
    n_seen = kinds[0].population.norm.size
    ratio = np.concatenate([run.norm[k.sets, :n_seen] / k.population.norm for k in kinds])
    reach = run.norm[:, :n_seen] * gamma[:, None]
    early = (reach < 1) & (log_time[:n_seen] > 3)
    behind = np.argmax((ratio < 0.8) & (reach > 1), axis=-1)
    reached = np.take_along_axis(reach, behind[:, None], axis=-1)
    circle, plane = (kind.sets for kind in kinds)
    return [
        near(
            "while norm x max margin < 1 the norm is the population's: mean ratio",
            float(ratio[early].mean()),
            1.0,
            0.1,
        ),
        near(
            "norm x max margin where the norm falls behind by 20 %, mean",
            float(np.mean(reached)),
            4.0,
            0.25,
        ),
        at_most(
            "norm at ln t = 1000 over ln t / max margin: largest difference from 1",
            float(np.abs(run.norm[:, -1] / law.norm(log_time=_LOG_END) - 1).max()),
            0.02,
        ),
        at_most(
            "the loss is 1 / (margin^2 t): largest difference of its logarithm at ln t = 600",
            float(np.abs(np.log(run.loss[:, at]) - law.log_loss(log_time=_LOSS_AT)).max()),
            0.1,
        ),
        at_most(
            "margin at ln t = 1000: largest relative difference from the maximum",
            float(np.abs(1 - run.margin[:, -1] / gamma).max()),
            0.01,
        ),
        near(
            "Gaussian: the angle to the max-margin direction falls as 1 / ln t; its ratio at 500 and 1000, median",
            float(np.median(to_best[plane, half] / to_best[plane, -1])),
            2.0,
            0.05,
        ),
        at_most(
            "circle: both support vectors have weight 1/2, largest difference",
            float(np.abs(best.coefficients[circle].max(axis=-1) - 0.5).max()),
            1e-9,
        ),
        at_most(
            "circle: hence a power of t; angle to the max-margin direction at ln t = 1000, largest",
            float(to_best[circle, -1].max()),
            1e-6,
        ),
        at_most(
            "so the angle to the labels' direction stays at that of the max-margin direction, largest difference",
            float(np.abs(to_labels[:, -1] - final).max()),
            0.01,
        ),
        at_least(
            "and is not the population's, 0: least angle at ln t = 1000",
            float(to_labels[:, -1].min()),
            1e-4,
        ),
    ]


def max_margin_directions(settings: Settings) -> tuple[list[Claim], dict[str, FloatArray]]:
    """Return the claims on the max-margin direction of random points, and its angles by their number."""
    n_sets = 1000 if settings.quick else 4000
    counts = np.array([30, 100, 300])
    angles, found = [], []
    for n in counts:
        x, y = samples(n_sets, int(n), 100 + int(n))
        best = max_margin(x, y)
        angles.append(angle_between(best.direction, np.array(DIRECTION)))
        found.append(best.margin)
    mean, margin = np.mean(angles, axis=-1), np.mean(found, axis=-1)
    claims = [
        at_most(
            f"max-margin direction of {counts.tolist()} points: mean angle over pi / (2 n), largest difference from 1",
            float(np.abs(mean / expected_max_margin_angle(n_samples=counts) - 1).max()),
            0.1,
        ),
        at_most(
            "mean margin over pi / n, largest difference from 1",
            float(np.abs(margin / expected_max_margin(LAW, n_samples=counts) - 1).max()),
            0.1,
        ),
    ]
    return claims, {"max_margin_counts": counts, "max_margin_angle": mean}
