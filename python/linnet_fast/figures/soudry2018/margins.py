"""Two classes and several: the direction comes to the largest margin like 1 / ln t."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import max_margin
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most, near
from linnet_fast.figures.soudry2018.separable import (
    APART,
    LOG_END,
    Approach,
    follow,
    several_classes,
    two_classes,
)
from linnet_fast.losses.cross_entropy import CrossEntropyLoss
from linnet_fast.losses.samples import ExponentialLoss, LogisticLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train


def two(settings: Settings) -> Figure:
    """Follow the flow of the logistic and of the exponential loss on separable data."""
    n_sets, n, dim = (2, 20, 4) if settings.quick else (4, 40, 6)
    x, y, best = two_classes(n_sets, n, dim, seed=2)
    logistic = LogisticLoss(x, y)
    losses = {"logistic": logistic, "exponential": ExponentialLoss(x, y)}
    runs = {name: follow(loss, best, settings.n_threads) for name, loss in losses.items()}
    descent = _descent(logistic, settings)
    claims = [c for name, run in runs.items() for c in _claims(name, run, _margins(run, x, y), n)]
    log_time, angle, steps = descent
    flow = np.array(
        [
            np.exp(np.interp(log_time, runs["logistic"].log_time, np.log(row)))
            for row in runs["logistic"].angle
        ]
    )
    claims.append(
        at_most(
            f"gradient descent of {steps:,} steps: its angle over that of the flow at the same time, largest difference from 1",
            float(np.abs(angle[:, -1] / flow[:, -1] - 1).max()),
            0.02,
        )
    )
    figure, axes = panels(3)
    for (name, run), color in zip(runs.items(), colors(3)[:2], strict=True):
        _draw(axes, run, color, name)
    axes[0].plot(log_time, angle.T, ".", color="#333333", markersize=3)
    axes[0].lines[-1].set_label("descent")
    _dress(axes)
    return Figure(
        "two_classes",
        About(
            f"{n_sets} separable sets of {n} samples with {dim} inputs",
            "one layer from 0",
            "gradient flow of two losses; dots: gradient descent",
        ),
        f"One layer from 0 on {n_sets} separable sets of {n} samples with {dim} inputs, until ln t = 1000; samples that are not at "
        f"the largest margin are {100 * APART:g} % beyond it at least. The angle to the "
        "direction of the largest margin and what the margin lacks fall like 1 / ln t; the norm grows as ln t over the margin "
        f"(dotted). Dots: gradient descent of {steps:,} steps.",
        figure,
        _data(runs) | {"descent_log_time": log_time, "descent_angle": angle},
        claims,
    )


def several(settings: Settings) -> Figure:
    """Follow the flow of the cross-entropy of several classes."""
    n_sets, n = (2, 12) if settings.quick else (3, 30)
    runs, claims = {}, []
    for n_classes in (3,) if settings.quick else (3, 5):
        x, labels, best = several_classes(n_sets, n, 6, n_classes, seed=n_classes)
        q = np.eye(n_classes)[labels]
        name = f"{n_classes} classes"
        runs[name] = follow(CrossEntropyLoss(x, q), best, settings.n_threads)
        outputs = np.einsum("...rkd,...nd->...rnk", runs[name].product, x)
        own = np.take_along_axis(outputs, labels[:, None, :, None], axis=-1)
        claims += _claims(name, runs[name], np.asarray(own - outputs), n)
        sums = np.abs(runs[name].product.sum(axis=-2)).max() / runs[name].norm.max()
        claims.append(
            at_most(
                f"{name}: outputs of all classes add up to 0, as at the start", float(sums), 1e-9
            )
        )
    figure, axes = panels(3)
    for (name, run), color in zip(runs.items(), colors(3)[:2], strict=False):
        _draw(axes, run, color, name)
    _dress(axes)
    return Figure(
        "several_classes",
        About(
            f"{n_sets} separable sets of {n} samples with 6 inputs",
            "one layer from 0",
            "gradient flow of the cross-entropy",
        ),
        f"The same for the cross-entropy of several classes, on {n_sets} sets of {n} samples with 6 inputs each: the direction is that "
        "of the hard-margin problem of all classes.",
        figure,
        _data(runs),
        claims,
    )


def unseen(settings: Settings) -> Figure:
    """Evaluate the loss on samples that are not trained on: it grows as ln t."""
    n_sets, n, dim = (2, 20, 4) if settings.quick else (4, 40, 6)
    x, y, best = two_classes(n_sets, n, dim, seed=2)
    rng = np.random.default_rng(7)
    # Others of the same kind, a tenth of their labels wrong.
    others = rng.standard_normal((n_sets, 500, dim))
    signs = np.where(np.einsum("snd,sd->sn", others, best.direction) > 0, 1.0, -1.0)
    signs *= np.where(rng.random(signs.shape) < 0.1, -1, 1)
    test = LogisticLoss(others, signs)
    log_time = np.unique(np.append(np.geomspace(0.1, LOG_END, 200), LOG_END / 2))
    run = train(
        Dense((dim, 1)),
        LogisticLoss(x, y),
        (np.zeros((n_sets, 1, dim)),),
        method=GradientFlow(1e-11, log_time=True, max_steps=10**8),
        until=LOG_END,
        record=Record.at_times(log_time, ("loss", "accuracy"), evaluate={"test": test}),
        n_threads=settings.n_threads,
    )
    size = (best.direction / best.margin[:, None])[:, None]
    expected = np.maximum(0, -signs * (others @ size.mT)[..., 0]).mean(axis=-1)
    accuracy = np.asarray(run.observables["accuracy_test"])
    half = int(np.flatnonzero(log_time == LOG_END / 2)[0])
    slope = (run.loss_test[:, -1] - run.loss_test[:, half]) / (LOG_END / 2)
    claims = [
        at_most("loss of the training at ln t = 1000", float(run.loss[:, -1].max()), 1e-300),
        at_most(
            "loss on other samples: growth by ln t over the mean of what they miss at margin 1, largest difference from 1",
            float(np.abs(slope / expected - 1).max()),
            0.01,
        ),
        at_least(
            "while their accuracy stays: least accuracy from ln t = 500 on",
            float(accuracy[:, half:].min()),
            0.75,
        ),
        at_most(
            "accuracy changes by at most, from ln t = 500 on",
            float(np.ptp(accuracy[:, half:], axis=-1).max()),
            0.01,
        ),
    ]
    figure, (left, right) = panels(2)
    color, dark = colors(3)[1], "#333333"
    left.plot(log_time, run.loss.T, color=dark, linewidth=1.1)
    left.lines[-1].set_label("training")
    left.plot(log_time, run.loss_test.T, color=color, linewidth=1.1)
    left.lines[-1].set_label("other samples")
    left.set(ylabel="loss", yscale="log", ylim=(1e-6, 300))
    right.plot(log_time, run.accuracy.T, color=dark, linewidth=1.1)
    right.plot(log_time, accuracy.T, color=color, linewidth=1.1)
    right.set(ylabel="accuracy", ylim=(0, 1.05))
    left.legend(frameon=False)
    for ax in (left, right):
        ax.set(xscale="log", xlim=(0.1, LOG_END), xlabel=r"$\ln(1 + t)$")
    return Figure(
        "unseen",
        About(
            f"{n_sets} separable sets of {n} samples with {dim} inputs",
            "one layer from 0",
            "gradient flow of the logistic loss",
        ),
        "The logistic loss on other samples, of which a tenth are labelled wrongly, grows as ln t although their accuracy "
        "hardly changes: that of a sample on the wrong side grows with the norm.",
        figure,
        {
            "log_time": log_time,
            "loss": run.loss,
            "loss_test": run.loss_test,
            "accuracy_test": accuracy,
            "expected_slope": expected,
        },
        claims,
    )


def _descent(loss: LogisticLoss, settings: Settings) -> tuple[FloatArray, FloatArray, int]:
    """Return ln(1 + t) of records of gradient descent, its angles, and its number of steps."""
    n_steps = 20_000 if settings.quick else 200_000
    best = max_margin(loss.inputs, loss.labels)
    largest = float(np.linalg.norm(loss.inputs, 2, axis=(-2, -1)).max()) ** 2 / loss.n_samples
    step = 0.5 * 4 / largest  # a half of 1 over the largest curvature
    run = train(
        Dense((loss.n_inputs, 1)),
        loss,
        (np.zeros((*best.margin.shape, 1, loss.n_inputs)),),
        method=GradientDescent(step),
        n_steps=n_steps,
        record=Record.geomspace(25, observables=("product",)),
        n_threads=settings.n_threads,
    )
    seen = run.record_axis >= 10
    w = run.product[:, seen, 0]
    w = w / np.linalg.norm(w, axis=-1, keepdims=True)
    target = best.direction[:, None]
    apart, together = np.linalg.norm(w - target, axis=-1), np.linalg.norm(w + target, axis=-1)
    angle = np.asarray(2 * np.arctan2(apart, together))
    return np.log1p(step * run.record_axis[seen]), angle, n_steps


def _margins(run: Approach, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the margins of all samples, (n_sets, n_rec, n, 1)."""
    margins = np.einsum("srd,snd->srn", run.product[..., 0, :], x * y[..., None])
    return np.asarray(margins[..., None])


def _claims(name: str, run: Approach, margins: FloatArray, n: int) -> list[Claim]:
    """Return what holds of any number of classes; margins by other class, (n_sets, n_rec, n, K)."""
    half, gamma = run.at(LOG_END / 2), run.best.margin
    coefficients = run.best.coefficients.reshape(*margins.shape[:1], *margins.shape[2:])
    # At the end every support vector has a share of the gradient that keeps the direction.
    held = coefficients > 1e-9
    share = coefficients / gamma[:, None, None] ** 2
    offsets = -np.log(n * np.where(held, share, 1.0))
    off = np.abs(margins[:, -1] - LOG_END - offsets)[held]
    return [
        near(
            f"{name}: the angle to the direction of the largest margin falls as 1 / ln t; its ratio at 500 and 1000, mean",
            float((run.angle[:, half] / run.angle[:, -1]).mean()),
            2.0,
            0.02,
        ),
        near(
            f"{name}: so does what the margin lacks, mean ratio",
            float((run.gap[:, half] / run.gap[:, -1]).mean()),
            2.0,
            0.02,
        ),
        at_most(f"{name}: relative lack at ln t = 1000", float(run.gap[:, -1].max()), 0.02),
        at_least(f"{name}: which is not 0, least", float(run.gap[:, -1].min()), 1e-5),
        at_most(
            f"{name}: norm times margin over ln t, largest difference from 1 at 1000",
            float(np.abs(run.norm[:, -1] * gamma / LOG_END - 1).max()),
            0.02,
        ),
        at_most(
            f"{name}: margins of support vectors are ln t - ln(n alpha), alpha those of the hard-margin problem; largest "
            "difference",
            float(off.max()),
            1e-3,
        ),
        at_most(
            f"{name}: the loss is 1 / (margin^2 t), largest difference of its logarithm at ln t = 500",
            float(np.abs(np.log(run.loss[:, half]) + LOG_END / 2 + 2 * np.log(gamma)).max()),
            1e-3,
        ),
    ]


def _draw(axes: Any, run: Approach, color: Any, name: str) -> None:
    left, middle, right = axes
    for ax, values in ((left, run.angle), (middle, run.gap), (right, run.norm)):
        ax.plot(run.log_time, values.T, color=color, linewidth=1.1)
        ax.lines[-1].set_label(name)
    late = run.log_time > 3
    for gamma in run.best.margin:
        law = run.log_time[late] / gamma
        right.plot(run.log_time[late], law, ":", color="#222222", linewidth=1.0, zorder=3)


def _dress(axes: Any) -> None:
    left, middle, right = axes
    grid = np.array([30.0, LOG_END])
    for ax in (left, middle):
        ends = [line.get_ydata()[-1] for line in ax.lines if line.get_xdata()[-1] == LOG_END]
        top = float(max(ends))
        guide = 2 * top * LOG_END / grid
        ax.plot(grid, guide, "--", color="#606060", linewidth=0.9, label=r"$\propto 1 / \ln t$")
    left.set(yscale="log", ylabel="angle to the largest margin")
    middle.set(yscale="log", ylabel="lack of margin, relative")
    right.set(yscale="log", ylabel="norm")
    left.legend(frameon=False, loc="lower left")
    right.plot([], [], ":", color="#222222", linewidth=1.0, label="ln t / margin")
    right.legend(handles=right.lines[-1:], frameon=False, loc="upper left")
    for ax in axes:
        ax.set(xscale="log", xlim=(0.1, LOG_END), xlabel=r"$\ln(1 + t)$")


def _data(runs: dict[str, Approach]) -> dict[str, FloatArray]:
    data: dict[str, FloatArray] = {}
    for name, run in runs.items():
        word = name.replace(" ", "_")
        data[f"log_time_{word}"] = run.log_time
        data |= {f"angle_{word}": run.angle, f"gap_{word}": run.gap, f"norm_{word}": run.norm}
        data |= {f"loss_{word}": run.loss, f"max_margin_{word}": run.best.margin}
    return data
