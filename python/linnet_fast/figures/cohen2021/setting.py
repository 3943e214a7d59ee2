"""Data whose directions are learned one after another, and sharpness along trainings on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.base import Method
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

N_INPUTS = 10
_N_SAMPLES = 40


def badly_conditioned(n_outputs: int, power: float, *, size: float = 1.0) -> SquaredLoss:
    """Return the loss of data whose inputs have covariance 1, 2^-power, 3^-power, ...

    Every direction has as large a part of the targets, so that those that are learned last need the
    largest weights: sharpness goes on rising while they are learned.
    """
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((_N_SAMPLES, N_INPUTS)))
    std = np.arange(1, N_INPUTS + 1.0) ** (-power / 2)
    x = basis * np.sqrt(_N_SAMPLES) * std
    teacher = size * rng.standard_normal((n_outputs, N_INPUTS)) / np.sqrt(N_INPUTS) / std
    return SquaredLoss.from_data(x, x @ teacher.T)


def follow_flow(
    network: Chain, loss: SquaredLoss, start: Any, times: FloatArray, n_threads: int | None
) -> tuple[FloatArray, FloatArray]:
    """Return sharpness and loss of the flow at some times."""
    run = train(
        network,
        loss,
        start,
        method=GradientFlow(1e-9),
        until=float(times[-1]),
        record=Record.at_times(times, observables=("loss", "sharpness")),
        n_threads=n_threads,
    )
    return run.sharpness, run.loss


def follow(
    network: Chain,
    loss: SquaredLoss,
    start: Any,
    method: Method,
    steps: npt.NDArray[np.int64],
    n_threads: int | None,
) -> tuple[FloatArray, FloatArray]:
    """Return sharpness at some steps of a training, and the loss before and after every one."""
    whole, seen = (
        train(
            network,
            loss,
            start,
            method=method,
            n_steps=int(steps[-1]),
            record=record,
            n_threads=n_threads,
        )
        for record in (Record.every(1, ("loss",)), Record.at(steps.tolist(), ("sharpness",)))
    )
    return seen.sharpness, whole.loss
