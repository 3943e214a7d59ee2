"""Gradient descent on samples that are drawn anew for every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule


@dataclass(frozen=True, eq=False, init=False, repr=False)
class StochasticGradientDescent(GradientDescent):
    """Gradient descent on samples that are drawn anew for every step.

    With `SphericalLogisticLoss` they are fresh samples of its law, with the losses on data samples
    of these, drawn with replacement: samples of a `LogisticLoss` or `ExponentialLoss`, entries of a
    `MatrixCompletionLoss`, measurements of a `MatrixSensingLoss`. What is recorded is the loss
    itself, not that of a batch.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        As of `GradientDescent`; a rule that looks at the loss or its gradient sees those of the
        batch.
    batch_size : int
        Samples per step, at least 1.
    seed : int, default 0
        0 to 2**64 - 1. With the stream of a run and the number of a step it decides the samples:
        they depend on nothing else, and a continued training goes on with those it would have had.
    streams : array_like of int, shape (*run), optional
        A number from 0 to 2**32 - 1 for each run; runs with the same one see the same samples. By
        default runs are numbered in C order.
    weight_decay, layer_multipliers, momentum, nesterov, dampening, layer_decays, noise
        As of `GradientDescent`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
    (Philox4x32-10, the generator).

    Examples
    --------
    >>> StochasticGradientDescent(1e-3, batch_size=1000, seed=7)
    StochasticGradientDescent(step_size=0.001, weight_decay=0, batch_size=1000, seed=7)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**GradientDescent.inner_axes, "streams": 0}
    )

    batch_size: int
    seed: int
    streams: npt.NDArray[np.int64] | None

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        batch_size: int,
        seed: int = 0,
        streams: npt.ArrayLike | None = None,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
        *,
        momentum: npt.ArrayLike = 0.0,
        nesterov: bool = False,
        dampening: npt.ArrayLike = 0.0,
        layer_decays: npt.ArrayLike | None = None,
        noise: GaussianNoise | None = None,
    ) -> None:
        size = validate.integer("batch_size", batch_size, low=1, high=2**31)
        drawn = Batches(size, seed, streams)
        for name, value in (
            ("batch_size", size),
            ("seed", drawn.seed),
            ("streams", drawn.streams),
        ):
            object.__setattr__(self, name, value)
        super().__init__(
            step_size,
            weight_decay,
            layer_multipliers,
            momentum=momentum,
            nesterov=nesterov,
            batches=drawn,
            dampening=dampening,
            layer_decays=layer_decays,
            noise=noise,
        )

    def _shown(self) -> dict[str, object]:
        parts = {name: part for name, part in super()._shown().items() if name != "batches"}
        return {**parts, "batch_size": self.batch_size, "seed": self.seed}

    def _with(self, changed: Mapping[str, object]) -> Self:
        drawn = changed.get("batches")
        if not isinstance(drawn, Batches):
            return super()._with(changed)
        others = {name: part for name, part in changed.items() if name != "batches"}
        return super()._with({**others, "streams": drawn.streams})
