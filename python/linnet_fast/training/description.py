"""One training as a value: everything `train` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.seeds import Seed
from linnet_fast.initialization.start import Start
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method
from linnet_fast.methods.registry import fitting_loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.compatible import check_training
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Training:
    """What `train` takes, described: the same names, with a `Start` in place of start weights.

    Parameters
    ----------
    network : Chain
        The architecture.
    loss : SquaredLoss, LogisticLoss, MatrixCompletionLoss, ...
        Without run axes, as all that follows.
    start : Start
        How weights start.
    method : GradientDescent, StochasticGradientDescent or GradientFlow
        How to go down.
    n_steps : int, optional
        Of gradient descent: steps to take.
    until : float, optional
        Of gradient flow: the time at which to end.
    record : Record, optional
        What to record and when. A sweep without it keeps nothing of the way, but how runs end.
    stop : Stop, optional
        When to end a run before its last step.
    dtype : {"float64", "float32"}
        Type of the weights and of the arithmetic.
    reduce : bool, default True
        As of `train`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, has run axes, or does not go with the others.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 2, 2)), loss, lf.Start("gaussian", scale=1e-3),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> training.train(rng=0).message
    '1 run: 1 completed'
    """

    network: Chain
    loss: Loss
    start: Start
    method: Method
    n_steps: int | None = None
    until: float | None = None
    record: Record | None = None
    stop: Stop | None = None
    dtype: str = "float64"
    reduce: bool = True

    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"reduce": True})
    """Arguments that plain data leave out where they have these values."""

    def __post_init__(self) -> None:
        """Check that the parts go together."""
        validate.instance("start", self.start, Start)
        object.__setattr__(self, "loss", fitting_loss(self.loss, self.method))
        check_training(
            self.network,
            self.loss,
            self.method,
            self.n_steps,
            self.until,
            self.record,
            self.stop,
        )
        for name in ("loss", "start", "method", "stop"):
            value = getattr(self, name)
            if value is not None and value.run_shape:
                msg = f"{name} must have no run axes, got {value.run_shape}; give what varies to the sweep"
                raise ValueError(msg)
        for name, loss in ({} if self.record is None else self.record.evaluate).items():
            if loss.run_shape:
                msg = f"evaluate[{name!r}] must have no run axes, got {loss.run_shape}; give what "
                msg += "varies to the sweep"
                raise ValueError(msg)
        if self.method.counts_steps:
            n_steps = validate.integer("n_steps", self.n_steps, low=0, high=MAX_STEP)
            object.__setattr__(self, "n_steps", n_steps)
            if self.record is not None:
                self.record.steps(0, n_steps)
        else:
            until = validate.real("until", self.until, at_least=0)
            object.__setattr__(self, "until", until)
            if self.record is not None:
                self.record.times(0.0, until)
        self.start.check(self.network, self.loss)
        kind = validate.float_dtype("dtype", self.dtype)
        if self.until is not None and kind != np.float64:
            msg = "dtype must be float64 for gradient flow, got float32"
            raise ValueError(msg)
        object.__setattr__(self, "dtype", kind.name)
        validate.flag("reduce", self.reduce)

    def train(
        self, *, rng: Seed = None, stream: int = 0, n_threads: int | None = None
    ) -> Trajectory:
        """Train one run.

        Parameters
        ----------
        rng : seed or Generator, optional
            For the start.
        stream : int, default 0
            Number of the random stream: which of the runs with this `rng`. Stochastic gradient
            descent takes it, too.
        n_threads : int, optional
            As of `train`.

        Returns
        -------
        Trajectory
        """
        number = validate.integer("stream", stream, low=0, high=2**60 - 1)
        weights = self.start.draw(
            self.network, self.loss, rng=rng, streams=number, dtype=self.dtype
        )
        return train(
            self.network,
            self.loss,
            weights,
            method=self.method.with_streams(number),
            n_steps=self.n_steps,
            until=self.until,
            record=self.record,
            stop=self.stop,
            n_threads=n_threads,
            reduce=self.reduce,
        )
