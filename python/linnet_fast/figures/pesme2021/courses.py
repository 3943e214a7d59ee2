"""Sparse regression with predictors u * u - v * v, on samples drawn anew in every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.figures.haochen2021.sparse import Task, difference_of_squares, make_task
from linnet_fast.figures.report import Settings
from linnet_fast.methods.base import Method
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

SCALE = 0.1
"""Entries of u and v at the start."""


def task_of(settings: Settings) -> tuple[Task, int]:
    """Return samples, and how many steps to take."""
    n_sets, n_steps = (2, 20_000) if settings.quick else (6, 100_000)
    return make_task(n_sets, 40, 100, 5), n_steps


def drawn(step_size: npt.ArrayLike, batch_size: int | None) -> GradientDescent:
    """Return descent on so many samples a step, or on all."""
    batches = None if batch_size is None else Batches(batch_size, seed=1)
    return GradientDescent(step_size, batches=batches)


@dataclass(frozen=True)
class Course:
    """What became of trainings.

    Attributes
    ----------
    steps : ndarray of int64, shape (n_rec,)
    error : ndarray of float64, shape (n_sets, n_runs, n_rec)
        Squared distance of the predictor to the target.
    magnitudes : ndarray of float64, of the same shape
        Sum of the magnitudes of the predictor.
    loss : ndarray of float64, of the same shape
    predictor : ndarray of float64, shape (n_sets, n_runs, dim)
        At the end.
    weights : ndarray of float64, shape (n_sets, n_runs, 2 dim)
        At the end: u and then v.
    """

    steps: npt.NDArray[np.int64]
    error: FloatArray
    magnitudes: FloatArray
    loss: FloatArray
    predictor: FloatArray
    weights: FloatArray

    @property
    def effective(self) -> FloatArray:
        """sqrt(u v) at the end: the start from which a flow would keep it, shape (n_sets, n_runs, dim)."""
        u, v = np.split(self.weights, 2, axis=-1)
        return np.sqrt(np.abs(u * v))


def follow(
    task: Task,
    method: Method,
    n_steps: int,
    n_threads: int | None,
    start: WeightArray | None = None,
) -> Course:
    """Train from u = v = `SCALE`, or from other weights (n_sets, n_runs, 2 dim)."""
    network = difference_of_squares(len(task.target))
    shape = (task.loss.run_shape[0], *(method.run_shape or (1,)))
    begin = initialization.constant(network, scale=SCALE, batch_shape=shape)
    run = train(
        network,
        task.loss,
        begin if start is None else (start.reshape(*shape, *network.shapes[0]),),
        method=method,
        n_steps=n_steps,
        record=Record.geomspace(60, ("loss", "product")),
        n_threads=n_threads,
    )
    predictor = run.product[..., 0, :]
    return Course(
        np.asarray(run.steps),
        ((predictor - task.target) ** 2).sum(axis=-1),
        np.abs(predictor).sum(axis=-1),
        run.loss,
        predictor[..., -1, :],
        np.asarray(run.final.weights[0].reshape(*shape, -1), np.float64),
    )
