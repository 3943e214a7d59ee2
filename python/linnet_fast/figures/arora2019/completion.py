"""Matrix completion by chains of 1 to 4 square layers, from starts of several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.arora2019.nuclear_norm import LeastNuclearNorm, least_nuclear_norm
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.losses.completion import MatrixCompletionLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.rank_dynamics import effective_rank
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.train import train

DEPTHS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Task:
    """Matrices of low rank, as large as their size by the Frobenius norm, of which some entries are seen."""

    matrices: FloatArray
    """(n_matrices, d, d)."""
    seen: FloatArray
    """Of the same shape, of bools."""
    loss: MatrixCompletionLoss
    """With run axes (n_matrices, 1)."""

    @property
    def size(self) -> int:
        """The number of rows, and of columns."""
        return int(self.matrices.shape[-1])


def make_task(size: int, rank: int, n_entries: int, n_matrices: int, seed: int = 1) -> Task:
    """Draw matrices and places."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((n_matrices, size, rank))
    matrices = left @ rng.standard_normal((n_matrices, rank, size))
    matrices *= size / np.linalg.norm(matrices, axis=(-2, -1), keepdims=True)
    seen = np.zeros((n_matrices, size * size), bool)
    for row in seen:
        row[rng.permutation(row.size)[:n_entries]] = True
    mask = seen.reshape(matrices.shape)
    loss = MatrixCompletionLoss.from_matrix(matrices[:, None], mask[:, None])
    return Task(matrices, mask, loss)


def step_size(task: Task, n_layers: int) -> float:
    """Return half of what a bound on the curvature at the matrices themselves makes safe.

    It is n / (L s^(2 - 2/L)) of the largest singular value s and n entries, whose loss has curvature 1/n.
    """
    largest = float(np.linalg.norm(task.matrices, 2, axis=(-2, -1)).max())
    largest_step = task.loss.n_entries / n_layers * largest ** (2 / n_layers - 2)
    return float((1.0 if n_layers == 1 else 0.5) * largest_step)


def _trained(
    task: Task, n_layers: int, scales: FloatArray, n_steps: int, settings: Settings
) -> Any:
    network = Dense((task.size,) * (n_layers + 1))
    start = initialization.orthogonal(
        network,
        scale=scales ** (1 / n_layers),
        rng=0,
        batch_shape=(len(task.matrices), len(scales)),
    )
    return train(
        network,
        task.loss,
        start,
        method=GradientDescent(step_size(task, n_layers)),
        n_steps=n_steps,
        stop=Stop(loss=1e-10),
        record=Record.geomspace(60, observables=("loss", "singular_values")),
        n_threads=settings.n_threads,
    )


def _product(run: Any) -> FloatArray:
    first, *rest = run.final.weights
    product = np.asarray(first)
    for layer in rest:
        product = layer @ product
    return product


def completion(settings: Settings) -> Figure:
    """Complete matrices by gradient descent; compare with the least nuclear norm."""
    task = make_task(30, 2, 270, 2) if settings.quick else make_task(100, 5, 2000, 2)
    scales = np.geomspace(1e-3, 1, 4)
    n_steps = {1: 2, 2: 4000, 3: 6000, 4: 16_000}
    if settings.quick:
        n_steps = {1: 2, 2: 3000, 3: 3000, 4: 6000}
    norm = np.linalg.norm(task.matrices, axis=(-2, -1))
    least = [
        least_nuclear_norm(
            MatrixCompletionLoss.from_matrix(matrix, seen), tolerance=1e-5, n_turns=3000
        )
        for matrix, seen in zip(task.matrices, task.seen, strict=True)
    ]
    errors, ranks, norms, losses, unseen = (np.empty((len(DEPTHS), *s)) for s in [(2, 4)] * 5)
    for i, n_layers in enumerate(DEPTHS):
        run = _trained(task, n_layers, scales, n_steps[n_layers], settings)
        product = _product(run)
        apart = product - task.matrices[:, None]
        errors[i] = np.linalg.norm(apart, axis=(-2, -1)) / norm[:, None]
        values = np.linalg.svd(product, compute_uv=False)
        ranks[i], norms[i] = effective_rank(values), values.sum(axis=-1)
        losses[i] = task.loss.value(product)
        first = run.start.weights[0] if n_layers == 1 else product
        moved = np.where(task.seen[:, None], 0, product - first)
        unseen[i] = np.abs(moved).max(axis=(-2, -1))
    own = effective_rank(np.linalg.svd(task.matrices, compute_uv=False))
    of_least = np.array(
        [effective_rank(np.linalg.svd(found.matrix, compute_uv=False)) for found in least]
    )
    error_of_least = np.array(
        [np.linalg.norm(f.matrix - m) for f, m in zip(least, task.matrices, strict=True)]
    )
    error_of_least /= norm
    figure, (left, middle, right) = panels(3)
    for i, color in enumerate(colors(len(DEPTHS))):
        label = f"{DEPTHS[i]} layer{'s' if i else ''}"
        for axes, values in ((left, errors), (middle, ranks), (right, norms)):
            scale = norms_of(least)[:, None] if axes is right else 1.0
            for row in values[i] / scale:
                axes.plot(scales, row, "o-", color=color, markersize=3, linewidth=1.1)
            axes.lines[-1].set_label(label)
    for axes, levels in ((left, error_of_least), (middle, of_least), (right, [1.0])):
        for level in levels:
            axes.axhline(level, color="#c05030", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        axes.lines[-1].set_label("least nuclear norm")
        axes.set(xscale="log", xlabel="singular values of the start")
    for level in own:
        middle.axhline(level, color="#909090", linewidth=0.9, linestyle=":", zorder=0)
    middle.lines[-1].set_label("the matrix itself")
    left.set(yscale="log", ylabel="reconstruction error, relative")
    middle.set(yscale="log", ylabel="effective rank")
    ticks = [tick for tick in (2, 5, 10, 20, 50) if tick <= task.size]
    middle.set_yticks(ticks, labels=[str(tick) for tick in ticks])
    right.set(ylabel="nuclear norm over the least one", ylim=(0.9, None))
    handles, labels = middle.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return Figure(
        "completion",
        About(
            f"{task.loss.n_entries:,} entries of {task.size} x {task.size} matrices of rank {round(float(own.max()))}",
            "square layers, orthogonal at the start",
            "gradient descent",
        ),
        f"Two {task.size} x {task.size} matrices of rank {round(float(own.max()))} are completed from "
        f"{task.loss.n_entries:,} entries each by gradient descent on 1 to 4 square layers, from orthogonal starts. The "
        "smaller the start and the deeper the network, the lower the rank. One layer never moves what is not seen. "
        "With so few entries the least nuclear norm (dashed) does not find the matrices.",
        figure,
        {
            "scales": scales,
            "depths": np.array(DEPTHS),
            "errors": errors,
            "effective_ranks": ranks,
            "nuclear_norms": norms,
            "losses": losses,
            "least_nuclear_norms": norms_of(least),
            "error_of_least_nuclear_norm": error_of_least,
            "effective_rank_of_least_nuclear_norm": of_least,
            "effective_rank_of_matrices": own,
        },
        _claims(errors, ranks, norms, losses, unseen, least, error_of_least, of_least, own),
    )


def norms_of(least: list[LeastNuclearNorm]) -> FloatArray:
    """Return the least nuclear norms."""
    return np.array([found.norm for found in least])


def _claims(
    errors: FloatArray,
    ranks: FloatArray,
    norms: FloatArray,
    losses: FloatArray,
    unseen: FloatArray,
    least: list[LeastNuclearNorm],
    error_of_least: FloatArray,
    of_least: FloatArray,
    own: FloatArray,
) -> list[Claim]:
    met = losses[1:] < 1e-6
    ratios = norms / norms_of(least)[:, None]
    return [
        at_most("one layer: an entry that is not seen moves by at most", float(unseen[0].max()), 0),
        at_most("one layer: largest loss after a step", float(losses[0].max()), 1e-20),
        at_most("two to four layers: largest loss at the end", float(losses[1:].max()), 1e-3),
        at_most(
            "least nuclear norm: it is certified, largest gap to the dual bound, relative",
            max(found.gap for found in least),
            1e-3,
        ),
        at_least(
            "least nuclear norm: so few entries are too few for it, least relative error",
            float(error_of_least.min()),
            0.1,
        ),
        at_least(
            "no network has less where it meets the entries: least nuclear norm over the least one",
            float(ratios[1:][met].min()),
            0.999,
        ),
        at_most(
            "two layers from the smallest start: nuclear norm over the least one",
            float(ratios[1, :, 0].max()),
            1.03,
        ),
        at_most(
            "three layers from the smallest start: relative error",
            float(errors[2, :, 0].max()),
            0.05,
        ),
        at_most(
            "which is so much of that of the least nuclear norm",
            float((errors[2, :, 0] / error_of_least).max()),
            0.3,
        ),
        at_most(
            "two and three layers: the smaller the start, the smaller the error; largest ratio of neighbours",
            float((errors[1:3, :, :-1] / errors[1:3, :, 1:]).max()),
            0.999,
        ),
        at_most(
            "three and four layers: effective rank over that of two layers from the same start, largest ratio",
            float((ranks[2:] / ranks[1]).max()),
            0.999,
        ),
        at_most(
            "three and four layers from the smallest start: effective rank over that of the matrix",
            float((ranks[2:, :, 0] / own[:, None].T).max()),
            1.1,
        ),
        at_least(
            "least nuclear norm: effective rank over that of the matrix",
            float((of_least / own).min()),
            1.2,
        ),
        at_most(
            "two to four layers from the smallest start: effective rank over that of one layer",
            float((ranks[1:, :, 0] / ranks[0, :, 0]).max()),
            0.5,
        ),
    ]
