"""The time of a descent: the sum of its step sizes, also where another training goes on with another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet_fast._base.runs import taken
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.methods.base import Method

if TYPE_CHECKING:
    from linnet_fast.training.state import State


CLOCK = ("step", "time", "step_size")
"""Names of the parts of a clock."""


@dataclass(frozen=True, eq=False)
class Clock:
    """Since when steps have had the size that they have.

    The time of a later step is ``time + step_size * (step - self.step)``: it is no matter how many
    trainings these steps are parts of.

    Parameters
    ----------
    step : ndarray of int64, broadcasts to (*run)
        From which step on.
    time : ndarray of float64, broadcasts to (*run)
        The time at that step.
    step_size : ndarray of float64, broadcasts to (*run)
        Constant since.
    """

    step: npt.NDArray[np.int64]
    time: FloatArray
    step_size: FloatArray

    @property
    def is_first(self) -> bool:
        """Whether steps have had this size from the very start."""
        return not (self.step.any() or self.time.any())

    def at(self, steps: npt.ArrayLike) -> FloatArray:
        """Return the times of steps, (..., n_steps), the run axes in front."""
        count = np.asarray(steps, np.int64) - self.step[..., None]
        return np.asarray(self.time[..., None] + self.step_size[..., None] * count)

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Clock:
        """Return the clock of some runs, by their numbers in C order."""
        return Clock(*(taken(getattr(self, name), 0, which, runs) for name in CLOCK))


def clock_of(state: State, method: Method) -> Clock | None:
    """Return the clock of a method that begins with a state; None of one that has no step size.

    Parameters
    ----------
    state : State
        At a step.
    method : Method
        What goes on with it.
    """
    size = method.constant_step_size if method.rule is None else None
    if size is None:
        return None
    known = state.clock
    if known is not None:
        # A run has the clock that it would have alone.
        same = known.step_size == size
        if same.all():
            return known
        here = state.step or 0
        now = known.at([here])[..., 0]
        step = np.where(same, known.step, here)
        return Clock(step, np.where(same, known.time, now), size)
    if state.elapsed is not None:
        return Clock(np.array(state.step, np.int64), state.elapsed, size)
    return Clock(np.zeros((), np.int64), np.zeros(()), size)


def time_of(state: State, method: Method) -> FloatArray:
    """Return the time of a state that a method begins with, (*run) or what broadcasts to it.

    Parameters
    ----------
    state : State
        At a step.
    method : Method
        What goes on with it.
    """
    if state.elapsed is not None:
        return state.elapsed
    clock = state.clock or clock_of(state, method)
    return np.zeros(()) if clock is None else clock.at([state.step or 0])[..., 0]
