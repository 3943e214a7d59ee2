"""The flow on separable data in logarithmic time: where the direction goes, and how slowly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import MaxMargin, max_margin
from linnet_fast.losses.base import Loss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

LOG_END = 1000.0
"""ln(1 + t) at the end: t is far beyond any number of steps."""
APART = 0.03
"""How far from the margin other samples are at least: their part of the gradient falls as t^-APART."""
_HELD = 1e-9  # weights above are no rounding
_DRAWN = 40  # times as many sets as are taken


@dataclass(frozen=True)
class Approach:
    """A flow of one layer from 0, beside the direction of the largest margin.

    Attributes
    ----------
    log_time : ndarray of float64, shape (n_rec,)
        ln(1 + t).
    product : ndarray of float64, shape (n_sets, n_rec, K, d)
        The end-to-end matrix.
    loss : ndarray of float64, shape (n_sets, n_rec)
    gap : ndarray of float64, shape (n_sets, n_rec)
        The largest margin less that of the direction, over the former.
    angle : ndarray of float64, shape (n_sets, n_rec)
        To the direction of the largest margin.
    best : MaxMargin
    """

    log_time: FloatArray
    product: FloatArray
    loss: FloatArray
    gap: FloatArray
    angle: FloatArray
    best: MaxMargin

    @property
    def norm(self) -> FloatArray:
        """The Frobenius norm of the end-to-end matrix."""
        return np.asarray(np.linalg.norm(self.product, axis=(-2, -1)))

    def at(self, log_time: float) -> int:
        """Return the record at a time."""
        return int(np.flatnonzero(self.log_time == log_time)[0])


def times() -> FloatArray:
    """Return the records: in geometric progression, with halves of the end."""
    grid = np.append(np.geomspace(0.1, LOG_END, 200), LOG_END / 2)
    return np.unique(grid)


def follow(loss: Loss, best: MaxMargin, n_threads: int | None) -> Approach:
    """Follow the flow on sets of samples from 0."""
    network = Dense((loss.n_inputs, loss.n_outputs))
    log_time = times()
    run = train(
        network,
        loss,
        (np.zeros((*best.margin.shape, *network.shapes[0])),),
        method=GradientFlow(1e-11, log_time=True, max_steps=10**8),
        until=LOG_END,
        record=Record.at_times(log_time, observables=("product", "loss", "margin")),
        n_threads=n_threads,
    )
    target = best.direction.reshape(*best.margin.shape, 1, -1)
    own = run.product.reshape(*run.product.shape[:-2], -1)
    own = own / np.linalg.norm(own, axis=-1, keepdims=True)
    # Accurate also where it is tiny.
    apart = np.linalg.norm(own - target, axis=-1)
    angle = 2 * np.arctan2(apart, np.linalg.norm(own + target, axis=-1))
    gap = 1 - run.margin / best.margin[:, None]
    return Approach(log_time, run.product, run.loss, gap, np.asarray(angle), best)


def two_classes(
    n_sets: int, n: int, dim: int, seed: int
) -> tuple[FloatArray, FloatArray, MaxMargin]:
    """Return sets of Gaussian samples with labels by a direction, and their largest margins."""
    rng = np.random.default_rng(seed)
    drawn = _DRAWN * n_sets
    x = rng.standard_normal((drawn, n, dim))
    teacher = rng.standard_normal((drawn, dim, 1))
    labels = np.where((x @ teacher)[..., 0] > 0, 1.0, -1.0)
    # Away from the boundary, so that margins are not tiny.
    shift = 0.3 * labels[..., None] * (teacher / np.linalg.norm(teacher, axis=1, keepdims=True)).mT
    x = x + shift
    clear = _clear(x * labels[..., None], max_margin(x, labels))[:n_sets]
    return x[clear], labels[clear], max_margin(x[clear], labels[clear])


def several_classes(
    n_sets: int, n: int, dim: int, n_classes: int, seed: int
) -> tuple[FloatArray, npt.NDArray[np.int_], MaxMargin]:
    """Return sets of samples around a centre for each class, and their largest margins."""
    rng = np.random.default_rng(seed)
    drawn, classes = _DRAWN * n_sets, np.arange(n) % n_classes
    centers = 3 * np.linalg.qr(rng.standard_normal((drawn, dim, n_classes)))[0].mT
    x = centers[:, classes] + 0.5 * rng.standard_normal((drawn, n, dim))
    labels = np.broadcast_to(classes, (drawn, n))
    best = max_margin(x, labels, n_classes=n_classes)
    apart = np.eye(n_classes)[classes][:, None] - np.eye(n_classes)  # (n, other class, class)
    rows = np.einsum("nkc,snd->snkcd", apart, x).reshape(drawn, n * n_classes, -1)
    clear = _clear(rows, best)[:n_sets]
    return x[clear], labels[clear], max_margin(x[clear], labels[clear], n_classes=n_classes)


def _clear(rows: FloatArray, best: MaxMargin) -> npt.NDArray[np.intp]:
    """Return the sets in which it is clear what is at the margin, and is soon seen.

    Rows, (n_sets, n_rows, n_weights), are those whose products with the weights are margins; those of a
    class with itself are 0. In logarithmic time what is left of the way falls as the exponential of
    minus the least eigenvalue of the sum of alpha z z^T over rows z at the margin.
    """
    runs = len(best.margin)
    weights = best.coefficients.reshape(runs, -1)
    held = weights > _HELD
    margins = np.einsum("srw,sw->sr", rows, best.direction.reshape(runs, -1))
    other = ~held & rows.any(axis=-1)
    apart = np.where(other, margins, np.inf).min(axis=-1) / best.margin - 1
    found = []
    for run in np.flatnonzero(apart > APART):
        share = weights[run, held[run]] / best.margin[run] ** 2
        at_margin = np.sqrt(share)[:, None] * rows[run, held[run]]
        if np.linalg.svd(at_margin, compute_uv=False)[-1] ** 2 > APART:
            found.append(run)
    return np.array(found, np.intp)
