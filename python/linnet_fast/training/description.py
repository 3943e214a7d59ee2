"""One training as a value: everything `train` takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.value import Value
from linnet_fast.initialization.start import Start
from linnet_fast.losses.problem import MOST_DATA_SEEDS, Problem, Seeding
from linnet_fast.losses.registry import checked_problem
from linnet_fast.methods.base import Method
from linnet_fast.methods.batches import MOST_STREAMS
from linnet_fast.methods.registry import checked_method, fitting_loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.stop import Stop
from linnet_fast.training import plain
from linnet_fast.training.compatible import check_training
from linnet_fast.training.phase import Phase
from linnet_fast.training.phases import planned
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import Trajectory

DATA_SEEDS = ("data_seed", "batch_seed")
"""Names of the seeds besides that of starts."""


@dataclass(frozen=True, eq=False)
class Training(Value):
    """What `train` takes, described: the same names, with a `Start` in place of start weights.

    Parameters
    ----------
    network : Chain
        The architecture.
    loss : Teacher or SquaredLoss, LogisticLoss, MatrixCompletionLoss, ...
        Without run axes, as all that follows. Of a `Teacher` each run draws its own data.
    start : Start
        How weights start.
    method : GradientDescent, StochasticGradientDescent or GradientFlow
        How to go down; by default that of the first of the phases.
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
    phases : sequence of Phase, optional
        As of `train`, in place of `n_steps` and `until`. Sweeps vary what they have by its place:
        ``"phases.0.n_steps"``.
    data_seed : int or "seed", default "seed"
        Which data a `Teacher` draws, from 0 up: by default those of the number of the run's start, the `seed`
        of a sweep.
    batch_seed : int, "seed" or "data_seed", default "seed"
        Which of its random streams each run draws batches and noise by, from 0 to 2**32 - 1.

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
    loss: Problem
    start: Start
    method: Method | None = None
    n_steps: int | None = None
    until: float | None = None
    record: Record | None = None
    stop: Stop | None = None
    dtype: str = "float64"
    reduce: bool = True
    phases: tuple[Phase, ...] | None = None
    data_seed: int | str = "seed"
    batch_seed: int | str = "seed"

    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"reduce": True, "phases": None, "data_seed": "seed", "batch_seed": "seed"}
    )
    """Arguments that plain data leave out where they have these values."""

    def __post_init__(self) -> None:
        """Check that the parts go together."""
        validate.instance("start", self.start, Start)
        if self.record is not None:
            validate.instance("record", self.record, Record)
        for name, value in seeds_of(self.data_seed, self.batch_seed).items():
            object.__setattr__(self, name, value)
        if self.phases is None:
            method = checked_method(self.method, self.n_steps, self.until)
            object.__setattr__(self, "loss", fitting_loss(checked_problem(self.loss), method))
            check_training(
                self.network,
                fitting_loss(self.loss.example, method),
                method,
                self.n_steps,
                self.until,
                self._example_record,
                self.stop,
            )
        else:
            self._set_phases(self.phases)
        parts = {name: getattr(self, name) for name in ("loss", "start", "method", "stop")}
        parts |= {f"phases[{i}]": phase for i, phase in enumerate(self.phases or ())}
        for name, value in parts.items():
            if value is not None and value.run_shape:
                msg = f"{name} must have no run axes, got {value.run_shape}; give what varies to the sweep"
                raise ValueError(msg)
        for name, loss in ({} if self.record is None else self.record.evaluate).items():
            if loss.run_shape:
                msg = f"evaluate[{name!r}] must have no run axes, got {loss.run_shape}; give what "
                msg += "varies to the sweep"
                raise ValueError(msg)
        self._check_length()
        self.start.check(self.network, self.loss.example)
        kind = validate.float_dtype("dtype", self.dtype)
        if not self.counts_steps and kind != np.float64:
            msg = "dtype must be float64 for gradient flow, got float32"
            raise ValueError(msg)
        object.__setattr__(self, "dtype", kind.name)
        validate.flag("reduce", self.reduce)

    @property
    def _example_record(self) -> Record | None:
        """A record by which to check the other parts."""
        return None if self.record is None else self.record.for_runs(Seeding(0, 0), self.loss)

    def _set_phases(self, phases: Iterable[Phase]) -> None:
        """Check phases, and that they are the only measure of length."""
        for name in ("n_steps", "until"):
            if (value := getattr(self, name)) is not None:
                msg = f"{name} must be None with phases, which have their own, got {value!r}"
                raise ValueError(msg)
        parts = validate.sequence("phases", phases, of="phases")
        object.__setattr__(self, "phases", parts)
        plan = planned(
            self.network,
            checked_problem(self.loss).example,
            [
                validate.instance(f"phases[{i}]", part, Phase).example
                for i, part in enumerate(parts)
            ],
            method=self.method,
            record=self._example_record,
            stop=self.stop,
        )
        if self.method is None:
            object.__setattr__(self, "method", plan[0].method)

    def _check_length(self) -> None:
        """Check the length, and that what is recorded lies within."""
        if self.phases is None:
            if self.counts_steps:
                n_steps = validate.integer("n_steps", self.n_steps, low=0, high=MAX_STEP)
                object.__setattr__(self, "n_steps", n_steps)
            else:
                object.__setattr__(self, "until", validate.real("until", self.until, at_least=0))
        length = self.length
        if self.counts_steps:
            validate.integer("n_steps of phases", length, low=0, high=MAX_STEP)
        if self.record is not None and self.counts_steps:
            self.record.steps(0, int(length))
        elif self.record is not None:
            self.record.times(0.0, length)

    @property
    def how(self) -> Method:
        """The method, that of the first phase if there are several."""
        if self.phases and self.phases[0].method is not None:
            return self.phases[0].method
        assert self.method is not None
        return self.method

    @property
    def counts_steps(self) -> bool:
        """Whether the training is measured in steps; else in time."""
        return self.how.counts_steps

    @property
    def length(self) -> float:
        """How many steps are taken, or the time at which it ends, of all phases."""
        if self.phases is None:
            return self.n_steps if self.n_steps is not None else self.until or 0.0
        if self.counts_steps:
            return sum(phase.n_steps or 0 for phase in self.phases)
        return self.phases[-1].until or 0.0

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
        data, batch = streams_of(number, self.data_seed, self.batch_seed)
        seeding = Seeding(rng, data)
        loss = self.loss.for_runs(seeding, self.loss)
        record = None if self.record is None else self.record.for_runs(seeding, self.loss)
        weights = self.start.draw(self.network, loss, rng=rng, streams=number, dtype=self.dtype)
        made = train(
            self.network,
            loss,
            weights,
            method=None if self.method is None else self.method.with_streams(batch),
            n_steps=self.n_steps,
            until=self.until,
            record=record,
            stop=self.stop,
            n_threads=n_threads,
            reduce=self.reduce,
            phases=self.phases
            and tuple(
                phase.for_runs(seeding, self.loss).with_streams(batch) for phase in self.phases
            ),
        )
        if loss is self.loss:
            return made
        drawn = {"from": plain.encode(self.loss), "data_seed": data, "rng": validate.brief(rng)}
        return replace(made, provenance={**made.provenance, "data": drawn})


def seeds_of(data_seed: object, batch_seed: object) -> dict[str, Any]:
    """Return the seeds of data and batches, checked.

    Parameters
    ----------
    data_seed, batch_seed : int or str
        As of `Training`.
    """
    known = {
        "data_seed": (data_seed, MOST_DATA_SEEDS, ("seed",)),
        "batch_seed": (batch_seed, MOST_STREAMS, ("seed", "data_seed")),
    }
    return {
        name: validate.choice(name, value, words)
        if isinstance(value, str)
        else validate.integer(name, value, low=0, high=most - 1)
        for name, (value, most, words) in known.items()
    }


def streams_of(seed: Any, data_seed: Any, batch_seed: Any) -> tuple[Any, Any]:
    """Return the numbers of data and of batches of runs, given those of their starts.

    Parameters
    ----------
    seed : int or ndarray of int
        Numbers of starts.
    data_seed, batch_seed : int, ndarray of int or str
        As of `Training`, or for each run.

    Examples
    --------
    >>> streams_of(3, "seed", "data_seed"), streams_of(3, 7, "data_seed"), streams_of(3, 7, "seed")
    ((3, 3), (7, 7), (7, 3))
    """
    data = seed if isinstance(data_seed, str) else data_seed
    words = {"seed": seed, "data_seed": data}
    return data, words[batch_seed] if isinstance(batch_seed, str) else batch_seed
