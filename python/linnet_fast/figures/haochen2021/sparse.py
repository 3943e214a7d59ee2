"""Sparse regression with predictors u * u - v * v, trained with noise of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization, layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import Record
from linnet_fast.training.phase import Phase
from linnet_fast.training.train import train

QUIETER = 5
"""Label noise is that many times smaller in the end, so that what is left of it is not measured."""
_LOUD = 0.85  # of the steps, before that


@dataclass(frozen=True)
class Task:
    """Samples of +-1 whose targets are sums of the first few inputs, fewer than there are inputs.

    Attributes
    ----------
    loss : Loss
        With run axes (n_sets, 1).
    target : ndarray of float64, shape (dim,)
    n_samples : int
        Of each set.
    """

    loss: Loss
    target: FloatArray
    n_samples: int

    @property
    def n_ones(self) -> int:
        """How many entries of the target are 1; the others are 0."""
        return int(self.target.sum())


def make_task(n_sets: int, n_samples: int, dim: int, n_ones: int, seed: int = 0) -> Task:
    """Draw inputs."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], (n_sets, 1, n_samples, dim))
    target = np.zeros(dim)
    target[:n_ones] = 1
    return Task(
        SquaredLoss.from_data(x, (x @ target)[..., None], form="samples"), target, n_samples
    )


def difference_of_squares(dim: int) -> Chain:
    """Return the network of predictors u * u - v * v, whose one array of weights is u and then v."""
    signs = np.concatenate([np.eye(dim), -np.eye(dim)])
    weights = layers.Diagonal(2 * dim)
    return Chain(
        [layers.Fixed(signs), weights, weights, layers.Fixed(np.ones((1, 2 * dim)))],
        [None, 0, 0, None],
    )


@dataclass(frozen=True)
class Course:
    """What became of trainings.

    Attributes
    ----------
    steps : ndarray of int64, shape (n_rec,)
    error : ndarray of float64, shape (n_sets, n_runs, n_rec)
        Mean squared error on fresh samples: the squared distance to the target.
    loss : ndarray of float64, of the same shape
        On the samples themselves.
    squares : ndarray of float64, of the same shape
        Sum of the squares of all weights, which is at least the sum of magnitudes of the predictor.
    """

    steps: npt.NDArray[np.int64]
    error: FloatArray
    loss: FloatArray
    squares: FloatArray


def label_noise(step_size: npt.ArrayLike, std: float, n_steps: int) -> list[Phase]:
    """Return gradient descent on all samples with noise on the labels, which is quieter in the end."""
    loud = int(_LOUD * n_steps)
    return [
        Phase(
            GradientDescent(step_size, batches=Batches("all", seed=1, label_noise_std=size)),
            n_steps=n,
        )
        for size, n in ((std, loud), (std / QUIETER, n_steps - loud))
    ]


def follow(
    task: Task, scales: npt.ArrayLike, phases: Sequence[Phase], n_threads: int | None
) -> Course:
    """Train from u = v = scale, for every set of samples and every scale, or run of the method."""
    network = difference_of_squares(len(task.target))
    shape = (task.loss.run_shape[0], np.size(scales))
    start = initialization.constant(network, scale=scales, batch_shape=shape)
    run: Any = train(
        network,
        task.loss,
        start,
        phases=phases,
        record=Record.geomspace(60, ("loss", "product", "layer_norms")),
        n_threads=n_threads,
    )
    apart = run.product[..., 0, :] - task.target
    squares = run.layer_norms[..., 0] ** 2
    return Course(run.record_axis, (apart**2).sum(axis=-1), run.loss, squares)
