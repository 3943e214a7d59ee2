"""Whitened data, lambda-balanced starts along their modes, and what is known of the flow from there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics import factor_flow
from linnet_fast.records.record import Record
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory

SIGMA = np.array([4.0, 3.0, 2.0, 1.0])
WIDTH = len(SIGMA)
SMALL = 1e-3  # strength of every mode at the start


class Data(NamedTuple):
    """A target of given strengths on white inputs."""

    loss: SquaredLoss
    left: FloatArray
    right: FloatArray

    def along(self, strengths: FloatArray) -> FloatArray:
        """Return the matrix of these strengths along the modes."""
        return np.asarray((self.left * strengths) @ self.right.T)


def whitened() -> Data:
    """Return the data."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2))
    target = (left * SIGMA) @ right.T
    return Data(SquaredLoss(np.eye(WIDTH), target, float(np.sum(SIGMA**2))), left, right)


def follow(
    data: Data, imbalance: FloatArray, product: FloatArray, time: FloatArray, n_threads: int | None
) -> Trajectory:
    """Return the flow from lambda-balanced starts, one for each lambda, of given end-to-end matrices."""
    network = Dense((WIDTH, WIDTH, WIDTH))
    start = initialization.lambda_balanced(
        network, imbalance, product=product, rng=1, batch_shape=imbalance.shape
    )
    names = ("loss", f"overlap({WIDTH})", "kernel_distance", "kernel_alignment", "conserved")
    return train(
        network,
        data.loss,
        start,
        method=GradientFlow(1e-11),
        until=float(time[-1]),
        record=Record.at_times(time, observables=names),
        n_threads=n_threads,
    )


def exact(imbalance: FloatArray, time: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the factors of all modes, (lambdas, times, modes), from starts of strength `SMALL` along them."""
    lam = imbalance[:, None, None]
    larger = np.sqrt((np.abs(lam) + np.sqrt(lam**2 + 4 * SMALL**2)) / 2)
    first = np.where(lam > 0, SMALL / larger, larger)
    second = np.where(lam > 0, larger, SMALL / larger)
    return factor_flow(SIGMA, 1.0, first, second, time=time[:, None])


def kernels_of(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return distance to the first record and alignment of the tangent kernels of factors of all modes."""
    a, b = np.square(first), np.square(second)

    def inner(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> FloatArray:
        crossed = b.sum(axis=-1) * c.sum(axis=-1) + a.sum(axis=-1) * d.sum(axis=-1)
        return np.asarray(WIDTH * np.sum(b * d + a * c, axis=-1) + crossed)

    a0, b0 = a[:, :1], b[:, :1]
    norm = np.sqrt(inner(a, b, a, b))
    distance = 1 - inner(a, b, a0, b0) / (norm * np.sqrt(inner(a0, b0, a0, b0)))
    along = np.sum((a + b) * SIGMA**2, axis=-1)
    return distance, along / (norm * np.sum(SIGMA**2))
