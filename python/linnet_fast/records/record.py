"""What to record of a training, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import elementary, spacing, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.problem import Problem, Seeding
from linnet_fast.records.named import Named
from linnet_fast.records.observables import (
    NO_LOSSES,
    Asked,
    checked,
    checked_problems,
    rows,
)
from linnet_fast.records.rows import AnyObservable

MAX_STEP = 2**62
"""Largest step a training may reach; far beyond any run, and safe in 64-bit arithmetic."""


_DEFAULT = ("loss", "singular_values")

Evaluated: TypeAlias = Problem | str
"""What can be evaluated: a loss, a recipe of one, or the population of what is trained on."""


@dataclass(frozen=True, repr=False)
class Record:
    """What to record, and when. Make one by `geomspace`, `every`, `at` or `at_times`.

    Steps, and times of a flow, are absolute: they count from the very start of training, also in a
    run that continues another.

    Parameters
    ----------
    schedule : {"geomspace", "every", "at", "at_times"}
        Name of the rule.
    numbers : tuple of int, or of float
        The argument of the rule: ``(n,)``, ``(k,)``, the steps or the times.
    observables : tuple of str, Observable or Measure
        Names out of `OBSERVABLES`, observables with parameters (`linnet_fast.observables`, or as text,
        ``"overlap(3)"``), or observables of your own; each once.
    direction : tuple of float, optional
        What ``angle`` and ``log_tan_half_angle`` are measured to, of any length but 0; by default the
        direction of a `SphericalLogisticLoss`.
    evaluate : mapping of str to Loss, optional
        Losses that are evaluated beside that of the training, at the same records: with ``{"test":
        loss}`` the result has ``loss_test``. In a `Training` on a `Teacher` also another `Teacher`, drawn by
        the same data seeds, or ``"population"``: that of the training with infinitely many samples, its
        exact risk. They are of any kind, with the inputs and outputs of the
        network; run axes of theirs broadcast with those of the training. What else is asked for of the
        training's loss, such as ``margin``, is recorded of those that have it (``margin_test``), and
        can be named in `observables` itself. They change nothing of the training, and cost nothing
        where nothing is recorded.

    Raises
    ------
    TypeError
        If a number is not an integer, `observables` is a single string, or `evaluate` is not made of
        losses.
    ValueError
        If a number is out of range, steps do not increase, or a name is unknown, given twice, or that
        of another result.

    Examples
    --------
    >>> record = Record.geomspace(6, observables=("loss",))
    >>> record
    Record.geomspace(6, observables=('loss',))
    >>> record.steps(0, 1000).tolist()
    [0, 1, 6, 32, 178, 1000]
    >>> Record.every(250).steps(0, 1000).tolist()
    [0, 250, 500, 750, 1000]
    >>> Record.at([0, 10, 1000]).steps(0, 1000).tolist()
    [0, 10, 1000]

    Train on half of the samples and evaluate the loss on the other half:

    >>> import linnet_fast as lf
    >>> rng = np.random.default_rng(4)
    >>> X = rng.standard_normal((40, 12))
    >>> Y = X[:, :1] + 0.7 * rng.standard_normal((40, 1))
    >>> half, other = (lf.SquaredLoss.from_data(X[i::2], Y[i::2]) for i in range(2))
    >>> network = lf.Dense((12, 1))
    >>> run = lf.train(network, half, [np.zeros((1, 12))], method=lf.GradientDescent(0.1), n_steps=1000,
    ...                record=Record.at([0, 10, 1000], ("loss",), evaluate={"test": other}))
    >>> run.loss.round(2).tolist(), run.loss_test.round(2).tolist()
    ([0.78, 0.25, 0.08], [0.5, 0.2, 0.7])
    """

    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"evaluate": {}})
    """Arguments that plain data leave out where they have these values."""

    schedule: str
    numbers: tuple[int, ...] | tuple[float, ...]
    observables: tuple[Asked, ...] = _DEFAULT
    direction: tuple[float, ...] | None = None
    evaluate: Mapping[str, Any] = NO_LOSSES

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.direction is not None:
            vector = validate.real_array("direction", self.direction)
            if vector.ndim != 1 or not vector.any():
                msg = f"direction must be a vector that is not zero, got {self.direction!r}"
                raise ValueError(msg)
            object.__setattr__(self, "direction", tuple(vector.tolist()))
        validate.choice("schedule", self.schedule, ("geomspace", "every", "at", "at_times"))
        numbers: tuple[int, ...] | tuple[float, ...]
        if self.schedule == "at_times":
            numbers = _times("numbers", self.numbers)
        elif self.schedule == "at":
            numbers = _steps("numbers", self.numbers)
        else:
            name, low = ("n", 2) if self.schedule == "geomspace" else ("k", 1)
            one = validate.sequence("numbers", self.numbers, of="one number")
            if len(one) != 1:
                got = validate.brief(self.numbers)
                msg = f"numbers must be a tuple ({name},) for {self.schedule}, got {got}"
                raise ValueError(msg)
            numbers = (validate.integer("numbers[0]", one[0], low=low, high=MAX_STEP),)
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "evaluate", checked_problems(self.evaluate))
        object.__setattr__(self, "observables", checked(self.observables, self.evaluate))

    @classmethod
    def geomspace(
        cls,
        n: int,
        observables: Iterable[Asked] = _DEFAULT,
        direction: npt.ArrayLike | None = None,
        evaluate: Mapping[str, Evaluated] = NO_LOSSES,
    ) -> Record:
        """Record at `n` steps in geometric progression, the first and the last step among them.

        The steps are distinct integers as near to geometric as such can be; while the progression
        would grow by less than one step at a time they are consecutive. A training of fewer than
        `n` steps records every step. Of a flow, records are at time 0 and at times in geometric
        progression from a thousandth of the end to the end.

        Parameters
        ----------
        n : int
            Number of records, at least 2. From step 0 the first record is 0 and the progression
            begins at 1.
        observables : iterable of str, Observable or Measure
            What to record, see `Record`.
        direction : array_like, shape (in,), optional
            What angles are measured to.
        evaluate : mapping of str to Loss, optional
            Losses to evaluate besides, see `Record`.

        Returns
        -------
        Record
        """
        number = validate.integer("n", n, low=2, high=MAX_STEP)
        return cls._made("geomspace", (number,), observables, direction, evaluate)

    @classmethod
    def every(
        cls,
        k: int,
        observables: Iterable[Asked] = _DEFAULT,
        direction: npt.ArrayLike | None = None,
        evaluate: Mapping[str, Evaluated] = NO_LOSSES,
    ) -> Record:
        """Record at all multiples of `k`, step 0 among them.

        Parameters
        ----------
        k : int
            At least 1. The last step is recorded only if it is a multiple.
        observables : iterable of str, Observable or Measure
            What to record, see `Record`.
        direction : array_like, shape (in,), optional
            What angles are measured to.
        evaluate : mapping of str to Loss, optional
            Losses to evaluate besides, see `Record`.

        Returns
        -------
        Record
        """
        number = validate.integer("k", k, low=1, high=MAX_STEP)
        return cls._made("every", (number,), observables, direction, evaluate)

    @classmethod
    def at(
        cls,
        steps: Iterable[int],
        observables: Iterable[Asked] = _DEFAULT,
        direction: npt.ArrayLike | None = None,
        evaluate: Mapping[str, Evaluated] = NO_LOSSES,
    ) -> Record:
        """Record at the given steps.

        Parameters
        ----------
        steps : iterable of int
            Absolute steps, strictly increasing, from 0. Steps a training does not reach are an
            error there.
        observables : iterable of str, Observable or Measure
            What to record, see `Record`.
        direction : array_like, shape (in,), optional
            What angles are measured to.
        evaluate : mapping of str to Loss, optional
            Losses to evaluate besides, see `Record`.

        Returns
        -------
        Record
        """
        return cls._made("at", _steps("steps", steps), observables, direction, evaluate)

    @classmethod
    def at_times(
        cls,
        time: npt.ArrayLike,
        observables: Iterable[Asked] = _DEFAULT,
        direction: npt.ArrayLike | None = None,
        evaluate: Mapping[str, Evaluated] = NO_LOSSES,
    ) -> Record:
        """Record a flow at the given times.

        Parameters
        ----------
        time : array_like, shape (n_rec,)
            Absolute times, strictly increasing, from 0. Times a training does not reach are an
            error there.
        observables : iterable of str, Observable or Measure
            What to record, see `Record`.
        direction : array_like, shape (in,), optional
            What angles are measured to.
        evaluate : mapping of str to Loss, optional
            Losses to evaluate besides, see `Record`.

        Returns
        -------
        Record

        Examples
        --------
        >>> Record.at_times([0.0, 0.5, 2.0]).times(0.0, 10.0).tolist()
        [0.0, 0.5, 2.0]
        """
        return cls._made("at_times", _times("time", time), observables, direction, evaluate)

    @classmethod
    def _made(
        cls,
        schedule: str,
        numbers: tuple[int, ...] | tuple[float, ...],
        observables: Iterable[Asked],
        direction: npt.ArrayLike | None,
        evaluate: Mapping[str, Evaluated],
    ) -> Record:
        # Names are made a tuple where they are checked.
        names = cast("tuple[Asked, ...]", observables)
        return cls(schedule, numbers, names, _vector(direction), evaluate)

    def __repr__(self) -> str:
        """Show the call that makes this record."""
        listed = self.schedule in ("at", "at_times")
        argument = list(self.numbers) if listed else self.numbers[0]
        direction = "" if self.direction is None else f", direction={list(self.direction)}"
        evaluate = f", evaluate={self.evaluate!r}" if self.evaluate else ""
        return f"Record.{self.schedule}({argument}, observables={self.observables}{direction}{evaluate})"

    @property
    def rows(self) -> dict[str, AnyObservable]:
        """The observables that are meant, by name."""
        return rows(self.observables, self.evaluate)

    def for_runs(self, seeding: Seeding, training: Problem) -> Record:
        """Return the record with what runs evaluate by their data seeds.

        Parameters
        ----------
        seeding : Seeding
            Whose numbers have the run axes.
        training : Loss or Teacher
            What is trained on.
        """
        made = {name: _drawn(name, one, seeding, training) for name, one in self.evaluate.items()}
        if all(made[name] is one for name, one in self.evaluate.items()):
            return self
        return replace(self, evaluate=Named(made))

    def n_records(self, first: int, last: int) -> int:
        """Return how many records a training from step `first` to step `last` makes.

        Parameters
        ----------
        first, last : int
            0 <= first <= last.

        Returns
        -------
        int
            ``len(steps(first, last))``, without making the steps.

        Raises
        ------
        ValueError
            As `steps`.

        Examples
        --------
        >>> Record.every(2).n_records(1, 10**15)
        500000000000000
        """
        first, last = _range(first, last)
        n = self._n_or_k()
        if self.schedule == "geomspace":
            return min(n, last - first + 1)
        if self.schedule == "every":
            return last // n - -(-first // n) + 1
        _refuse_outside("steps", self.numbers, first, last)
        return len(self.numbers)

    def _n_or_k(self) -> int:
        if self.schedule == "at_times":
            msg = "record must be by steps for gradient descent: use Record.at, not Record.at_times"
            raise ValueError(msg)
        return int(self.numbers[0])

    def steps(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return the steps at which a training from step `first` to step `last` is recorded.

        Parameters
        ----------
        first, last : int
            0 <= first <= last: the absolute steps at which the training begins and ends.

        Returns
        -------
        ndarray of int64, shape (n_records,)
            Strictly increasing, within [first, last]; empty if no multiple of ``k`` lies there.

        Raises
        ------
        TypeError
            If `first` or `last` is not an integer.
        ValueError
            If they are out of order or range, or a step of `at` lies outside.
        """
        n_records = self.n_records(first, last)
        if self.schedule == "geomspace":
            return _geometric_steps(int(first), int(last), n_records)
        if self.schedule == "every":
            k = self._n_or_k()
            return np.arange(n_records, dtype=np.int64) * k + -(-int(first) // k) * k
        return np.array(self.numbers, dtype=np.int64)

    def times(self, begin: float, until: float) -> FloatArray:
        """Return the times at which a flow from time `begin` to time `until` is recorded.

        Parameters
        ----------
        begin, until : float
            0 <= begin <= until: the absolute times at which the training begins and ends.

        Returns
        -------
        ndarray of float64, shape (n_rec,)
            Strictly increasing, within [begin, until].

        Raises
        ------
        ValueError
            If the rule counts steps, or a time of `at_times` lies outside.

        Examples
        --------
        >>> Record.geomspace(5).times(0.0, 1000.0).tolist()
        [0.0, 1.0, 10.0, 100.0, 1000.0]
        """
        begin = validate.real("begin", begin, at_least=0)
        until = validate.real("until", until, at_least=begin)
        if self.schedule == "at_times":
            _refuse_outside("times", self.numbers, begin, until)
            return np.array(self.numbers, dtype=np.float64)
        if self.schedule != "geomspace":
            msg = (
                "record must be by times for gradient flow: use Record.at_times or "
                f"Record.geomspace, not Record.{self.schedule}"
            )
            raise ValueError(msg)
        n = int(self.numbers[0])
        if begin == until:
            return np.array([begin])
        if begin > 0:
            times = np.array(spacing.geomspace(begin, until, n))
        else:
            # The smallest numbers have no thousandth.
            many = n > 2 and until / 1000 > 0
            times = np.append(0.0, spacing.geomspace(until / 1000, until, n - 1) if many else until)
        times[0], times[-1] = begin, until
        return np.unique(times)


def _drawn(name: str, one: Problem, seeding: Seeding, training: Problem) -> Problem:
    try:
        return one.for_runs(seeding, training)
    except (TypeError, ValueError) as error:
        msg = f"evaluate[{name!r}] must be of what is trained on: {error}"
        raise type(error)(msg) from error


def _vector(direction: npt.ArrayLike | None) -> tuple[float, ...] | None:
    if direction is None:
        return None
    return tuple(np.atleast_1d(validate.real_array("direction", direction)).tolist())


def _steps(name: str, steps: object) -> tuple[int, ...]:
    numbers = validate.integers(name, steps, low=0, high=MAX_STEP)
    if not numbers:
        msg = f"{name} must name at least one step, got none"
        raise ValueError(msg)
    for before, after in pairwise(numbers):
        if before >= after:
            msg = f"{name} must be strictly increasing, got {before} before {after}"
            raise ValueError(msg)
    return numbers


def _times(name: str, time: npt.ArrayLike) -> tuple[float, ...]:
    array = validate.real_array(name, time, at_least=0)
    if array.ndim != 1 or array.size > validate.MOST_ENTRIES:
        msg = f"{name} must have shape (n_rec,), got {array.shape}"
        raise ValueError(msg)
    if (np.diff(array) <= 0).any():
        where = int(np.argmax(np.diff(array) <= 0))
        msg = f"{name} must be strictly increasing, got {array[where]} before {array[where + 1]}"
        raise ValueError(msg)
    return tuple(array.tolist())


def _refuse_outside(name: str, numbers: Iterable[float], first: float, last: float) -> None:
    outside = [number for number in numbers if not first <= number <= last]
    if outside:
        shown = ", ".join(map(str, outside[:5])) + (", ..." if len(outside) > 5 else "")
        msg = f"{name} must lie within this training, {first} ... {last}, got {shown}"
        raise ValueError(msg)


def _range(first: int, last: int) -> tuple[int, int]:
    first = validate.integer("first", first, low=0, high=MAX_STEP)
    return first, validate.integer("last", last, low=first, high=MAX_STEP)


def _geometric_steps(first: int, last: int, n: int) -> npt.NDArray[np.int64]:
    """Return n <= last - first + 1 distinct integers from first to last, nearly geometric."""
    if n <= 2:
        return np.array([first, last][:n], dtype=np.int64)
    head = [0, 1] if first == 0 else [first]
    # Consecutive steps until the geometric progression from the newest step to the last grows by at
    # least one.
    while (rest := n - len(head)) > 0:
        base = head[-1]
        rate = float(elementary.log1p((last - base) / base)) / rest
        if base * float(elementary.expm1(rate)) >= 1:
            break
        head.append(base + 1)
    if rest == 0:
        return np.array(head, dtype=np.int64)
    # Beyond that its terms differ by at least one, so their nearest integers (halves upward) are
    # distinct. The offset from the base is what is rounded: it is exact where the steps themselves
    # exceed the integers of a float64.
    offsets = np.floor(base * elementary.expm1(rate * np.arange(1, rest + 1)) + 0.5).astype(
        np.int64
    )
    offsets[-1] = last - base
    ranks = np.arange(1, rest + 1)
    # Rounding errors in the terms may still make two meet: keep them apart, and below the last.
    offsets = np.maximum.accumulate(offsets - ranks) + ranks
    offsets = np.minimum(offsets, last - base - ranks[::-1] + 1)
    return np.concatenate([np.array(head, dtype=np.int64), base + offsets])
