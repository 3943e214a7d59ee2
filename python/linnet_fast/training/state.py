"""Where a training stands: weights, and how each run is doing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import taken
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.records.record import MAX_STEP
from linnet_fast.training.clock import CLOCK, Clock


class Status(IntEnum):
    """How a run ended.

    Examples
    --------
    >>> Status(2).name
    'DIVERGED'
    """

    COMPLETED = 0
    """Took all its steps; a later training continues it."""
    CONVERGED = 1
    """Met the stop rule; stays as it is."""
    DIVERGED = 2
    """Weights overflowed or became NaN; stays ended."""
    EXHAUSTED = 3
    """A flow that took all the steps its method allows before the end; a later training goes on with
    it, from the time that it has reached, and may take as many steps again."""


def goes_on(status: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Return which runs have not ended for good.

    Parameters
    ----------
    status : ndarray of int8
        A `Status` each.
    """
    return np.asarray((status == Status.COMPLETED) | (status == Status.EXHAUSTED))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Inside:
    """A state of the small training in whose place a large one stands, see `reduction`."""

    origin: tuple[WeightArray, ...]
    """The large weights from which it was found."""
    weights: tuple[WeightArray, ...]
    memory: tuple[tuple[WeightArray, ...], ...]
    which: npt.NDArray[np.intp] | None = None
    """Numbers of the runs that it is of, in C order, if not of all."""

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Inside | None:
        """Return what is kept of some runs; None if nothing is.

        Parameters
        ----------
        which : ndarray of int
            Their numbers, in C order, in the shape of the new run axes.
        runs : tuple of int
            Shape of all run axes.
        """
        own, lead, now = which, runs, None
        if self.which is not None:
            there = np.isin(which.reshape(-1), self.which)
            if not there.any():
                return None
            own, lead = np.searchsorted(self.which, which.reshape(-1)[there]), self.which.shape
            own, now = (
                (own.reshape(which.shape), None) if there.all() else (own, there.nonzero()[0])
            )

        def some(array: npt.NDArray[Any]) -> Any:
            part = taken(validate.unbroadcast(array, keep=2), 2, own, lead)
            return np.broadcast_to(part, (*own.shape, *array.shape[-2:]))

        return Inside(
            tuple(map(some, self.origin)),
            tuple(map(some, self.weights)),
            tuple(tuple(map(some, kept)) for kept in self.memory),
            now,
        )


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """Where a training stands: give it to `train` in place of the start weights to continue.

    A continued descent equals one longer descent, bit for bit; a continued flow equals one longer
    flow to its tolerance. Runs that converged or diverged stay as they are.

    Parameters
    ----------
    weights : tuple of ndarray, shapes (*run, *shapes[l]) with the shapes of the network
        All float64 or all float32.
    step : int or None
        Of gradient descent: steps since the very start, those of runs that ended before included.
    status : ndarray of int8, shape (*run)
        A `Status` per run.
    stopped_at : ndarray of int64 (of a flow float64), shape (*run)
        Last step (time) of each run: `step` (`time`) where completed, else where it converged, or
        ran out of steps, or where its weights were first not finite.
    time : float, optional
        Of gradient flow: time since the very start; `step` is None then.
    elapsed : ndarray of float64, shape (*run), optional
        Of gradient descent with a `StepRule`: the sum of the steps of each run since the very start.
    memory : tuple of tuple of ndarray
        What the method remembers, such as velocities: for each array of weights a tuple of arrays of
        its shape and dtype; empty if it remembers nothing.
    clock : Clock, optional
        Of gradient descent with a constant step size: how time goes on, also with another.
    memory_from : int, default 0
        Of gradient descent: the step at which the memory was zero, from which methods count.
    memory_of : str, optional
        Whose memory it is, `Method.remembers`: methods of another name refuse to go on with it. None
        of no memory, or of one made by hand.
    inside : tuple of Inside
        Made by `train` where it trained a smaller network, so that it goes on with that one.

    Notes
    -----
    Its arrays are read-only: what changed in them would go unseen into what is trained on.

    Raises
    ------
    TypeError
        If `step` is not an integer or `time` not a number.
    ValueError
        If shapes, dtypes or values do not fit together.
    """

    weights: tuple[WeightArray, ...]
    step: int | None
    status: npt.NDArray[np.int8]
    stopped_at: npt.NDArray[Any]
    time: float | None = None
    elapsed: FloatArray | None = None
    memory: tuple[tuple[WeightArray, ...], ...] = ()
    inside: tuple[Inside, ...] = ()
    clock: Clock | None = None
    memory_from: int = 0
    memory_of: str | None = None

    def __repr__(self) -> str:
        """Say how many runs there are, how far they got and what the weights look like."""
        n_runs = self.status.size
        runs = f"{n_runs:,} run{'' if n_runs == 1 else 's'}"
        reached = f"step {self.step:,}" if self.time is None else f"time {self.time:g}"
        shapes = ", ".join(str(array.shape) for array in self.weights)
        return f"<State of {runs} at {reached}: weights of shape {shapes}, {self.weights[0].dtype}>"

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        object.__setattr__(self, "weights", validate.sequence("weights", self.weights, of="arrays"))
        if (self.step is None) == (self.time is None):
            got = f"step {validate.brief(self.step)} and time {validate.brief(self.time)}"
            msg = f"step or time must be given, one of them, got {got}"
            raise ValueError(msg)
        reached: float
        if self.time is None:
            reached = validate.integer("step", self.step, low=0, high=MAX_STEP)
            object.__setattr__(self, "step", reached)
        else:
            reached = validate.real("time", self.time, at_least=0)
            object.__setattr__(self, "time", reached)
        most = 0 if self.step is None else self.step
        begun = validate.integer("memory_from", self.memory_from, low=0, high=most)
        object.__setattr__(self, "memory_from", begun)
        if self.memory_of is not None:
            validate.one_of("memory_of", self.memory_of, str)
        if not self.weights:
            msg = "weights must have one array per layer, got none"
            raise ValueError(msg)
        for layer, array in enumerate(self.weights):
            validate.plain_array(f"weights[{layer}]", array)
        dtype = validate.float_dtype("dtype of weights", self.weights[0].dtype)
        validate.plain_array("status", self.status)
        runs = self.status.shape
        validate.exact("status", self.status, runs, np.int8)
        for layer, array in enumerate(self.weights):
            validate.exact(f"weights[{layer}]", array, (*runs, *array.shape[len(runs) :]), dtype)
        kind = np.int64 if self.time is None else np.float64
        validate.exact("stopped_at", self.stopped_at, runs, kind)
        if self.elapsed is not None:
            validate.exact("elapsed", self.elapsed, runs, np.float64)
        if self.clock is not None:
            clock = validate.instance("clock", self.clock, Clock)
            for name in CLOCK:
                part = getattr(clock, name)
                validate.plain_array(f"clock.{name}", part)
                kind = np.int64 if name == "step" else np.float64
                validate.exact(f"clock.{name}", part, part.shape, kind)
                validate.fits_batch(f"clock.{name}", part.shape, runs)
        memory = validate.sequence("memory", self.memory, of="tuples of arrays")
        held = tuple(
            validate.sequence(f"memory[{i}]", parts, of="arrays") for i, parts in enumerate(memory)
        )
        object.__setattr__(self, "memory", held)
        if self.memory and len(self.memory) != len(self.weights):
            msg = f"memory must be of {len(self.weights)} arrays of weights, got {len(self.memory)}"
            raise ValueError(msg)
        for i, part in enumerate(validate.sequence("inside", self.inside, of="small states")):
            validate.instance(f"inside[{i}]", part, Inside)
        for layer, (kept, array) in enumerate(zip(self.memory, self.weights, strict=False)):
            for k, part in enumerate(kept):
                validate.exact(f"memory[{layer}][{k}]", part, array.shape, dtype)
        # Runs that broadcasting repeats are looked at once.
        status = validate.unbroadcast(self.status)
        expected = f"made of {[int(s) for s in Status]}"
        validate.refuse("status", expected, status, ~np.isin(status, list(Status)))
        going = goes_on(status)
        for layer, array in enumerate(self.weights):
            inner = tuple(range(len(runs), array.ndim))
            finite = np.isfinite(validate.unbroadcast(array)).all(axis=inner)
            if not (finite | ~going).all():
                msg = f"weights[{layer}] must be finite in runs that go on, got inf or NaN"
                raise ValueError(msg)
        # Views: what was given stays as writable as it was.
        for name in ("status", "stopped_at"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))
        object.__setattr__(self, "weights", tuple(map(_read_only, self.weights)))
        own = tuple(tuple(map(_read_only, kept)) for kept in self.memory)
        object.__setattr__(self, "memory", own)
        stopped_at = validate.unbroadcast(self.stopped_at)
        inside = (stopped_at >= 0) & (stopped_at <= reached)
        validate.refuse("stopped_at", f"within 0 ... {reached}", stopped_at, ~inside)

    def of_runs(self, which: npt.NDArray[np.intp]) -> State:
        """Return the state of some runs.

        Parameters
        ----------
        which : ndarray of int
            Their numbers, in C order, in the shape of the new run axes.
        """
        runs = self.status.shape

        def some(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            n_inner = array.ndim - len(runs)
            own = taken(validate.unbroadcast(array, keep=n_inner), n_inner, which, runs)
            return np.broadcast_to(own, (*which.shape, *array.shape[len(runs) :]))

        return replace(
            self,
            weights=tuple(map(some, self.weights)),
            status=some(self.status),
            stopped_at=some(self.stopped_at),
            elapsed=None if self.elapsed is None else some(self.elapsed),
            memory=tuple(tuple(map(some, kept)) for kept in self.memory),
            inside=tuple(own for part in self.inside if (own := part.of_runs(which, runs))),
            clock=None if self.clock is None else self.clock.of_runs(which, runs),
        )

    @property
    def going(self) -> npt.NDArray[np.bool_]:
        """Which runs a later training goes on with, shape (*run)."""
        return goes_on(self.status)

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless the weights have the shapes of `network`.

        Parameters
        ----------
        network : Chain
            The network to continue with.

        Raises
        ------
        ValueError
            If the number of arrays of weights or the shape of one differs.
        """
        checked_network(network, Chain)
        got = tuple(array.shape[self.status.ndim :] for array in self.weights)
        if got != network.shapes:
            msg = f"state must have layers of shapes {network.shapes}, got {got}"
            raise ValueError(msg)
