"""What every call of the training core takes, and what it gives back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import machine, memory, notebook, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method
from linnet_fast.networks.chain import Chain, core_factors
from linnet_fast.records.arrays import record_bytes
from linnet_fast.records.measures import Measure
from linnet_fast.records.observables import (
    OBSERVABLES,
)
from linnet_fast.records.point import Point
from linnet_fast.records.record import Record
from linnet_fast.records.rows import AnyObservable, EvaluatedObservable
from linnet_fast.records.stop import Stop
from linnet_fast.training.state import State

Progress: TypeAlias = bool | Callable[[int, int], object]
Report: TypeAlias = Callable[[int], object] | None
"""Called with the steps that are done so far."""


class Outcome(NamedTuple):
    """What came of a training."""

    result: Any
    """As the core gives it."""
    steps: npt.NDArray[np.int64] | None
    time: FloatArray
    final: State
    n_steps: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CoreCall:
    """A training as the core takes it, but for what methods have of their own.

    Parameters
    ----------
    network, loss, begin, method, record, stop, direction, n_threads
        Checked already, but for the last.
    """

    network: Chain
    loss: Loss
    begin: State
    method: Method
    record: Record
    stop: Stop | None
    direction: FloatArray | None
    n_threads: int | None
    mirror: FloatArray | None = None
    """(*run, in): evaluated losses see the end-to-end matrices mirrored by these, of norm sqrt(2)."""

    @property
    def runs(self) -> Shape:
        """Shape of the run axes."""
        return self.begin.status.shape

    @property
    def going(self) -> npt.NDArray[np.bool_]:
        """Which runs have not ended before."""
        return self.begin.going

    def check(self, n_records: int) -> None:
        """Refuse a wrong number of threads; MemoryError, naming the bytes, if the result would not fit."""
        machine.checked_threads(self.n_threads)
        rows = [*self.record.rows.values()]
        rows += [row for row, _ in ({} if self.stop is None else self.stop.measures).values()]
        for row in rows:
            if row.needs_start and (self.begin.step or self.begin.time):
                msg = (
                    f"{row.name} must be given a state to measure from where a training is "
                    f"continued: lf.observables.{row.name}(state)"
                )
                raise ValueError(msg)
        check_memory(self.network, self.begin, self.method, self.record, n_records)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the core."""
        threads = machine.checked_threads(self.n_threads)
        runs, stop = self.runs, self.stop
        has_ended = not self.going.all()
        return {
            **core_problem(self.network, self.loss, self.begin.weights, runs),
            "direction": _over(self.direction, runs, 1),
            "weight_decay": validate.over_runs(
                self.method.array_decays(self.network.n_arrays), runs, 1
            ),
            "stop_loss": None if stop is None else _over(stop.loss, runs, 0),
            "stop_gradient_norm": None if stop is None else _over(stop.gradient_norm, runs, 0),
            "ended": np.require(~self.going, np.int8, "C") if has_ended else None,
            "observables": self._of_core(),
            "measures": self._measures(),
            "evaluate": core_evaluate(self.record.rows, self.record.evaluate, runs, self.stop),
            "n_threads": threads,
        }

    @property
    def needed(self) -> tuple[str, ...]:
        """What has to be recorded for functions besides what is asked for."""
        return _needed(self.record)

    def _of_core(self) -> set[str]:
        return core_names(self.record.rows) | set(self.needed)

    def _measures(self) -> dict[str, Any]:
        """Return measures as the core takes them: those that are recorded, and those that end runs."""
        own = core_measures(
            self.record.rows,
            self.network,
            self.loss,
            self.begin.weights,
            self.runs,
            self.record.evaluate,
        )
        for name, (row, limits) in ({} if self.stop is None else self.stop.measures).items():
            fields = own.setdefault(
                name,
                {
                    **row.core_fields(self.network, self.loss, self.begin.weights, self.runs),
                    "is_recorded": False,
                },
            )
            fields |= {side: _over(limit, self.runs, 0) for side, limit in limits.items()}
        return own

    def observed(self, result: Any) -> dict[str, Any]:
        """Return what was recorded, by name, functions of it included."""
        known = result["observables"]
        found: dict[str, Any] = {}
        for name, row in self.record.rows.items():
            found[name] = of_core(row, result) if row.of_core else self._computed(row, known)
        return found

    def _computed(self, row: AnyObservable, known: dict[str, Any]) -> FloatArray:
        """Return an observable that is a function, NaN where a run had ended."""
        runs = self.runs
        first = known["weights"][0]
        n_records = first.shape[len(runs)]
        lead = (*runs, n_records)
        is_there = ~np.isnan(first.reshape(*lead, -1)[..., 0])
        shape = row.record_shape(self.network)
        values = np.full((*lead, *shape), np.nan)
        if is_there.any():
            weights = tuple(np.asarray(w[is_there]) for w in known["weights"])
            product = known["product"][is_there]
            point = Point(self.network, weights, self.loss, known_product=product)
            values[is_there] = row.value(point)
        return values


def _needed(record: Record) -> tuple[str, ...]:
    """Return what has to be recorded for functions besides what is asked for."""
    if all(row.of_core for row in record.rows.values()):
        return ()
    return tuple(name for name in ("weights", "product") if name not in record.rows)


def core_names(rows: Mapping[str, AnyObservable]) -> set[str]:
    """Return which observables of the training the core computes."""
    return {
        name for name, row in rows.items() if row.of_core and row.of is None and not row.is_measure
    }


def core_measures(
    rows: Mapping[str, AnyObservable],
    network: Chain,
    loss: Loss,
    begin: Sequence[WeightArray] | None,
    runs: Shape,
    evaluate: Mapping[str, Loss],
) -> dict[str, Any]:
    """Return observables with parameters as the core takes them; begin: what is measured from."""
    return {
        name: cast("Measure", row).core_fields(
            network, loss if row.of is None else evaluate[row.of], begin, runs
        )
        for name, row in rows.items()
        if row.is_measure
    }


def core_evaluate(
    rows: Mapping[str, AnyObservable],
    evaluate: Mapping[str, Loss],
    runs: Shape,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Return evaluated losses as the core takes them, and which rows are wanted of each."""
    wanted = [
        cast("EvaluatedObservable", row)
        for row in rows.values()
        if row.of is not None and not row.is_measure
    ]
    thresholds = {} if stop is None else stop.evaluate
    return {
        name: {
            "loss": {"name": loss.core, **loss.core_fields(runs, np.dtype(np.float64))},
            "observables": {row.row.name for row in wanted if row.of == name},
            "stop": _over(thresholds.get(name), runs, 0),
        }
        for name, loss in evaluate.items()
    }


def of_core(row: AnyObservable, result: Any) -> Any:
    """Return an observable out of what the core gives."""
    if row.of is None or row.is_measure:
        return result["observables"][row.name]
    return result["evaluated"][row.of][cast("EvaluatedObservable", row).row.name]


def core_problem(
    network: Chain, loss: Loss, weights: tuple[npt.NDArray[Any], ...], runs: Shape
) -> dict[str, Any]:
    """Return network, weights and loss as the core takes them."""
    return {
        "factors": core_factors(network),
        "shapes": network.shapes,
        "run_shape": runs,
        "weights": [validate.over_runs(w, runs, w.ndim - len(runs)) for w in weights],
        "loss": {"name": loss.core, **loss.core_fields(runs, weights[0].dtype)},
    }


def _over(array: FloatArray | None, runs: Shape, n_inner: int) -> FloatArray | None:
    return None if array is None else validate.over_runs(array, runs, n_inner)


def check_memory(
    network: Chain, begin: State, method: Method, record: Record, n_records: int
) -> None:
    """Raise MemoryError, naming the bytes, if the result of so many records would not fit."""
    n_runs, dtype = begin.status.size, begin.weights[0].dtype
    own: Mapping[str, AnyObservable] = {name: OBSERVABLES[name] for name in _needed(record)}
    per_record = record_bytes({**own, **record.rows}, network, dtype.itemsize)
    per_step = 64  # the step itself, on its way to the core and in the result
    needed = n_records * (n_runs * per_record + per_step)
    kept = 1 + method.n_memories
    needed += n_runs * (kept * network.n_weights * dtype.itemsize + 9)
    if (limit := memory.exceeded(needed)) is not None:
        msg = (
            f"the result needs {needed:,} bytes ({n_runs:,} runs, {n_records:,} records of "
            f"{', '.join(record.rows)}) but {limit:,} are available; record less, or train "
            "fewer runs at a time"
        )
        raise MemoryError(msg)


@contextmanager
def reporter(progress: object, total: int) -> Iterator[Report]:
    """Give the function to call with the steps done so far, or None."""
    if progress is False or (progress is True and sys.stderr is None):  # as without a console
        yield None
    elif callable(progress):
        yield lambda done: progress(done, total)
        progress(total, total)
    elif progress is True:
        with notebook.bar("progress", total=total, unit="step", smoothing=0.1) as bar:
            yield lambda done: bar.update(done - bar.n)
            bar.update(total - bar.n)
    else:
        msg = f"progress must be a bool or a callable, got {type(progress).__name__}"
        raise TypeError(msg)
