"""The setting of the paper's first figure: points on a circle, their labels, and the start."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import ReducedTrajectory, reduced_flow
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import Sphere
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import Record
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory

LAW = Sphere(2)
DIRECTION = (0.0, 1.0)
LOSS = SphericalLogisticLoss(DIRECTION, LAW)
START = np.array([[0.6, -0.8]])  # the end-to-end vector: norm 1, cos(angle) = -0.8
LOG_TAN = float(np.log(3.0))  # ln tan(angle / 2) there
STEP_SIZE = 1e-3
BATCH_SIZE = 1000
OBSERVED = ("log_tan_half_angle", "norm", "loss")


def network(n_layers: int) -> Dense:
    """Return a network of two inputs; widths in between do not matter for balanced layers."""
    hidden = (5, 3, 4, 6, 2)[: n_layers - 1]
    return Dense((2, *hidden, 1))


def start(n_layers: int, product: FloatArray = START, rng: int = 0) -> tuple[Any, ...]:
    """Return balanced weights, all of rank one, of an end-to-end vector."""
    shape = product.shape[:-2]
    return initialization.balanced(network(n_layers), product=product, rng=rng, batch_shape=shape)


def flow(
    n_layers: int,
    times: FloatArray,
    *,
    law: SphericalLaw = LAW,
    norm: float = 1.0,
    log_tan_half_angle: float = LOG_TAN,
) -> ReducedTrajectory:
    """Return the gradient flow on the whole population, by default from the paper's start."""
    return reduced_flow(law, n_layers, log_tan_half_angle=log_tan_half_angle, norm=norm, time=times)


def sgd(n_layers: int, n_steps: int, *, every: int, n_threads: int | None) -> Trajectory:
    """Train as the paper does, by fresh batches."""
    return train(
        network(n_layers),
        LOSS,
        start(n_layers),
        method=StochasticGradientDescent(STEP_SIZE, BATCH_SIZE, seed=2021),
        n_steps=n_steps,
        record=Record.every(every, observables=OBSERVED),
        n_threads=n_threads,
    )


def layers(n_layers: int) -> str:
    """Return "1 layer" or "3 layers"."""
    return f"{n_layers} layer{'s' if n_layers > 1 else ''}"
