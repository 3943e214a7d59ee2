"""Steps of length 1 by a norm come to the largest margin by that norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.muon.margins import (
    BALLS,
    Largest,
    differences,
    largest_margin,
    margins_of,
)
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.losses.cross_entropy import CrossEntropyLoss
from linnet_fast.methods.adaptive import Adam
from linnet_fast.methods.base import Method
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.normalized import SignDescent, SpectralDescent
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_N_CLASSES = 4
_DIM = 6
_N_SAMPLES = 24
_LENGTH = 180.0
"""How long ways are about, by their norms: margins of 100 and more, far before losses underflow."""


@dataclass(frozen=True)
class Task:
    """Sets of separable samples, and the largest margins by every norm.

    Attributes
    ----------
    loss : CrossEntropyLoss
        With run axes (n_sets,).
    differing : ndarray, shape (n_sets, m, K, d)
        As of `margins.differences`.
    best : mapping of str to Largest
        By norm.
    """

    loss: CrossEntropyLoss
    differing: FloatArray
    best: Mapping[str, Largest]


def make_task(n_sets: int, seed: int = 0) -> Task:
    """Draw samples around an orthogonal centre for each class."""
    rng = np.random.default_rng(seed)
    classes = np.arange(_N_SAMPLES) % _N_CLASSES
    centers = 2 * np.linalg.qr(rng.standard_normal((n_sets, _DIM, _N_CLASSES)))[0].mT
    x = centers[:, classes] + 0.6 * rng.standard_normal((n_sets, _N_SAMPLES, _DIM))
    targets = np.broadcast_to(np.eye(_N_CLASSES)[classes], (n_sets, _N_SAMPLES, _N_CLASSES))
    differing = differences(x, classes, _N_CLASSES)
    best = {name: largest_margin(differing, ball) for name, ball in BALLS.items()}
    return Task(CrossEntropyLoss(x, targets), differing, best)


@dataclass(frozen=True)
class Course:
    """What became of a training.

    Attributes
    ----------
    steps : ndarray of int64, shape (n_rec,)
    ratio : mapping of str to ndarray, shape (n_sets, n_rec)
        By norm: the margin of the matrix over its norm, over the largest there is.
    cosine : mapping of str to ndarray, shape (n_sets,)
        By norm: of the last matrix with that of the largest margin.
    """

    steps: npt.NDArray[np.int64]
    ratio: Mapping[str, FloatArray]
    cosine: Mapping[str, FloatArray]


def follow(task: Task, method: Method, n_steps: int, n_threads: int | None) -> Course:
    """Train one layer from 0."""
    n_sets = len(task.differing)
    run = train(
        Dense((_DIM, _N_CLASSES)),
        task.loss,
        (np.zeros((n_sets, _N_CLASSES, _DIM)),),
        method=method,
        n_steps=n_steps,
        record=Record.geomspace(60, ("product",)),
        n_threads=n_threads,
    )
    matrices = run.product[:, 1:]
    margins = margins_of(task.differing, matrices)
    last = matrices[:, -1] / np.linalg.norm(matrices[:, -1], axis=(-2, -1), keepdims=True)
    ratio, cosine = {}, {}
    for name, ball in BALLS.items():
        best = task.best[name]
        ratio[name] = margins / ball.norm(matrices) / best.most[:, None]
        size = np.linalg.norm(best.matrix, axis=(-2, -1))
        cosine[name] = (last * best.matrix).sum(axis=(-2, -1)) / size
    return Course(np.asarray(run.steps)[1:], ratio, cosine)


def falling(n_steps: int) -> StepRule:
    """Return step sizes that fall as one over the root of the step, with the sum `_LENGTH`."""
    return StepRule.power(_LENGTH / (2 * np.sqrt(n_steps)), -0.5)


def _task(settings: Settings) -> tuple[Task, int]:
    """Return samples, and how many steps to take."""
    return (make_task(3), 20_000) if settings.quick else (make_task(6), 50_000)


def norms(settings: Settings) -> Figure:
    """Take steps that are the steepest by the Frobenius, the largest-entry and the spectral norm."""
    task, n_steps = _task(settings)
    methods: dict[str, tuple[Method, str]] = {
        "gradient descent": (
            GradientDescent(StepRule.gradient_normalized(_LENGTH / n_steps)),
            "Frobenius",
        ),
        "sign descent": (SignDescent(falling(n_steps)), "entries"),
        "spectral descent": (SpectralDescent(falling(n_steps)), "spectral"),
    }
    runs = {
        name: follow(task, method, n_steps, settings.n_threads)
        for name, (method, _) in methods.items()
    }
    own = {name: norm for name, (_, norm) in methods.items()}
    claims = [
        at_most(
            f"largest margin by the {norm} norm: largest gap between its bounds, relative",
            float((1 - best.least / best.most).max()),
            2e-4,
        )
        for norm, best in task.best.items()
    ]
    claims += _claims(runs, own, 0.97)
    # Every method is beaten, by each of the other norms, by the one whose norm it is.
    for name, norm in own.items():
        lead = [
            runs[name].ratio[norm][:, -1] - runs[o].ratio[norm][:, -1] for o in own if o != name
        ]
        claims.append(
            at_least(
                f"by the {norm} norm no other of the three has the margin of {name}: least lead",
                float(np.min(lead)),
                0.01,
            )
        )
    return Figure(
        "norms",
        About(
            f"{_N_CLASSES} classes, {len(task.differing)} sets of {_N_SAMPLES} samples with {_DIM} inputs",
            "one layer from 0",
            "normalised gradient, sign and spectral descent",
        ),
        f"One layer from 0, cross-entropy of {_N_CLASSES} classes on {len(task.differing)} separable sets of {_N_SAMPLES} samples with {_DIM} inputs, {n_steps:,} steps. "
        "Margins of the matrix by three norms, over the largest margins there are: gradient descent with normalised steps, sign descent and spectral descent come to that of their own norm.",
        _draw(runs),
        _data(task, runs),
        claims,
    )


def memories(settings: Settings) -> Figure:
    """Take steps of methods that remember: momentum, Muon's iterations, Adam."""
    task, n_steps = _task(settings)
    rule = falling(n_steps)
    methods: dict[str, tuple[Method, str]] = {
        "sign, momentum 0.9": (SignDescent(rule, momentum=0.9), "entries"),
        "Adam, both betas 0.9": (Adam(rule, beta1=0.9, beta2=0.9, eps=0.0), "entries"),
        "spectral, momentum 0.9": (SpectralDescent(rule, momentum=0.9), "spectral"),
        "Muon (5 iterations)": (
            SpectralDescent(rule, momentum=0.9, nesterov=True, iterations=5),
            "spectral",
        ),
    }
    runs = {
        name: follow(task, method, n_steps, settings.n_threads)
        for name, (method, _) in methods.items()
    }
    # Singular values of Muon's steps lie about 1, not at 1: these are not the steepest ones of any norm.
    muon = runs["Muon (5 iterations)"].ratio["spectral"][:, -1]
    exact = {name: norm for name, (_, norm) in methods.items() if "Muon" not in name}
    claims = _claims({name: runs[name] for name in exact}, exact, 0.95)
    claims += [
        at_least(
            "Muon (5 iterations): margin by the spectral norm over the largest, least at the end",
            float(muon.min()),
            0.85,
        ),
        at_least(
            "spectral, momentum 0.9: that ratio less that of Muon's iterations, least",
            float((runs["spectral, momentum 0.9"].ratio["spectral"][:, -1] - muon).min()),
            0.0,
        ),
    ]
    return Figure(
        "memories",
        About(
            f"{_N_CLASSES} classes, {len(task.differing)} sets of {_N_SAMPLES} samples with {_DIM} inputs",
            "one layer from 0",
            "methods with memory",
        ),
        "The same with momentum, with Muon's iterations in place of the polar factor, and for Adam: memories change the way, not the norm. "
        "Muon's steps, whose singular values are about 1 only, come near the largest margin by the spectral norm and stay there.",
        _draw(runs),
        _data(task, runs),
        claims,
    )


def _claims(runs: Mapping[str, Course], own: Mapping[str, str], least: float) -> list[Claim]:
    """Return what holds of methods with norms of their own."""
    claims = []
    for name, run in runs.items():
        norm = own[name]
        ratio = {n: values[:, -1] for n, values in run.ratio.items()}
        claims.append(
            at_least(
                f"{name}: margin by the {norm} norm over the largest, least at the end",
                float(ratio[norm].min()),
                least,
            )
        )
        claims.append(
            at_most(f"{name}: which it does not exceed, most", float(ratio[norm].max()), 1.0)
        )
        others = [n for n in BALLS if n != norm]
        claims.append(
            at_least(
                f"{name}: that ratio less those by the other norms, least",
                float(min((ratio[norm] - ratio[n]).min() for n in others)),
                0.002,
            )
        )
        claims.append(
            at_least(
                f"{name}: the matrix of the largest margin by the {norm} norm is the nearest, least lead of cosines",
                float(min((run.cosine[norm] - run.cosine[n]).min() for n in others)),
                0.002,
            )
        )
    return claims


def _draw(runs: Mapping[str, Course]) -> Any:
    figure, axes = panels(3)
    titles = {
        "Frobenius": "Frobenius norm",
        "entries": "largest entry",
        "spectral": "spectral norm",
    }
    for ax, (norm, title) in zip(axes, titles.items(), strict=True):
        for (name, run), color in zip(runs.items(), colors(len(runs)), strict=True):
            ax.plot(run.steps, run.ratio[norm].T, color=color, linewidth=0.9)
            ax.lines[-1].set_label(name)
        ax.axhline(1, color="#606060", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        ax.lines[-1].set_label("the largest there is")
        ax.set(xscale="log", xlabel="step", title=title, ylim=(0.3, 1.03))
    axes[0].set(ylabel="margin over the largest")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _data(task: Task, runs: Mapping[str, Course]) -> dict[str, FloatArray]:
    data: dict[str, Any] = {}
    for norm, best in task.best.items():
        data |= {f"least_{norm}": best.least, f"most_{norm}": best.most}
        data[f"matrix_{norm}"] = best.matrix
    for name, run in runs.items():
        word = "_".join(part.strip("(),") for part in name.split())
        data[f"steps_{word}"] = run.steps
        for norm in BALLS:
            data[f"ratio_{norm}_{word}"] = run.ratio[norm]
            data[f"cosine_{norm}_{word}"] = run.cosine[norm]
    return data
