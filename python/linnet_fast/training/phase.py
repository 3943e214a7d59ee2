"""A part of a training, with a method, a loss or a stop rule of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import Shape
from linnet_fast._base.value import Value
from linnet_fast.losses.problem import Problem, Seeding
from linnet_fast.methods.base import Method
from linnet_fast.methods.batches import Batches
from linnet_fast.records.record import MAX_STEP
from linnet_fast.records.stop import Stop


@dataclass(frozen=True, eq=False)
class Phase(Value):
    """A part of a training: what is given differs from what `train` is told, the rest does not.

    Give a sequence of them to `train` or `Training` as `phases`. They run one after another, on one
    axis of steps and one of time.

    Parameters
    ----------
    method : Method, optional
        How to go down.
    n_steps : int, optional
        Steps of the phase, of a method that takes steps.
    until : float, optional
        The time at which the phase ends, of a flow: counted from the very start.
    loss : Loss or Teacher, optional
        What is trained on: another task. In a `Training` it may be a `Teacher`, such as one of another `task`.
    batches : Batches, optional
        Which samples the steps of the method see.
    stop : Stop, optional
        When to end a run before.
    reset : bool, default False
        Whether the phase begins without a memory, such as velocities. It does so anyway where the
        memory of the method is of something else than the one there is: `State.memory_of`.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range, or not one of `n_steps` and `until` is
        given.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> run = lf.train(lf.Dense((1, 1)), loss, [[[0.0]]], method=lf.GradientDescent(0.05),
    ...                phases=[lf.Phase(n_steps=200), lf.Phase(n_steps=100, method=lf.GradientDescent(0.01))],
    ...                record=lf.Record.every(100))
    >>> run.steps.tolist(), run.time.round(12).tolist()
    ([0, 100, 200, 300], [0.0, 5.0, 10.0, 11.0])
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({})
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **dict.fromkeys(("method", "n_steps", "until", "loss", "batches", "stop")),
            "reset": False,
        }
    )

    method: Method | None = None
    n_steps: int | None = None
    until: float | None = None
    loss: Problem | None = None
    batches: Batches | None = None
    stop: Stop | None = None
    reset: bool = False

    def __post_init__(self) -> None:
        """Check the parts by themselves."""
        if (self.n_steps is None) == (self.until is None):
            got = f"n_steps {validate.brief(self.n_steps)} and until {validate.brief(self.until)}"
            msg = f"n_steps or until must be given, one of them, got {got}"
            raise ValueError(msg)
        if self.n_steps is not None:
            n_steps = validate.integer("n_steps", self.n_steps, low=0, high=MAX_STEP)
            object.__setattr__(self, "n_steps", n_steps)
        if self.until is not None:
            object.__setattr__(self, "until", validate.real("until", self.until, at_least=0))
        kinds: dict[str, type] = {
            "method": Method,
            "loss": Problem,
            "batches": Batches,
            "stop": Stop,
        }
        for name, kind in kinds.items():
            if (value := getattr(self, name)) is not None:
                validate.one_of(name, value, kind)
        validate.flag("reset", self.reset)
        _ = self.run_shape  # refuses run axes that do not broadcast

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parts."""
        parts = {name: getattr(self, name) for name in ("method", "loss", "batches", "stop")}
        shapes = {name: part.run_shape for name, part in parts.items() if part is not None}
        return validate.broadcast_runs(**shapes)

    @property
    def wakes(self) -> bool:
        """Whether runs that have converged go on: by another loss or stop rule."""
        return self.loss is not None or self.stop is not None

    @property
    def example(self) -> Phase:
        """The phase with a loss by which to check it, where data are to be drawn."""
        return self if self.loss is None else replace(self, loss=self.loss.example)

    def for_runs(self, seeding: Seeding, training: Problem) -> Phase:
        """Return the phase with the data of runs, where they draw some.

        Parameters
        ----------
        seeding : Seeding
            Whose numbers have the run axes.
        training : Loss or Teacher
            What is trained on in other phases.
        """
        if self.loss is None:
            return self
        return replace(self, loss=self.loss.for_runs(seeding, training))

    def with_streams(self, streams: npt.ArrayLike) -> Phase:
        """Return the phase with random streams of these numbers, where it has any.

        Parameters
        ----------
        streams : array_like of int, shape (*run)
            Number of the stream of each run.
        """
        method = None if self.method is None else self.method.with_streams(streams)
        batches = None if self.batches is None else self.batches.with_streams(streams)
        return replace(self, method=method, batches=batches)
