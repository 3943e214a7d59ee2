"""The front door: train a batch of networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import machine, validate
from linnet_fast._base.config import provenance
from linnet_fast._base.value import made_with
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method
from linnet_fast.methods.registry import checked_method, fitting_loss
from linnet_fast.networks.chain import Chain
from linnet_fast.records.observables import known
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.begin import begin_state
from linnet_fast.training.call import CoreCall, Outcome, Progress, Report, check_memory, reporter
from linnet_fast.training.compatible import check_core, check_training
from linnet_fast.training.descent import descend
from linnet_fast.training.flow import integrate
from linnet_fast.training.phase import Phase
from linnet_fast.training.phases import Planned, in_phases, planned
from linnet_fast.training.reduction import reduction_of
from linnet_fast.training.state import State
from linnet_fast.training.together import merged, parts_of
from linnet_fast.training.trajectory import Trajectory

if TYPE_CHECKING:
    from linnet_fast.methods.flow import GradientFlow
    from linnet_fast.methods.stepping import SteppingMethod


def train(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    *,
    method: Method | None = None,
    n_steps: int | None = None,
    until: float | None = None,
    phases: Iterable[Phase] | None = None,
    record: Record | None = None,
    stop: Stop | None = None,
    n_threads: int | None = None,
    progress: Progress = False,
    dtype: npt.DTypeLike | None = None,
    reduce: bool = True,
) -> Trajectory:
    """Train networks, as many at once as the leading run axes of the arguments say.

    Run axes of the start weights, of the loss and of the method broadcast against each other, as
    NumPy's do, without being copied; together they make the run axes of the result. The bits of a
    run do not depend on the other runs, on its place among them, or on the number of threads.

    Parameters
    ----------
    network : Chain
        The architecture: `Dense`, `Diagonal`, `Convolution`, `Residual`, ... or a `Chain` of your
        own layers.
    loss : Loss
        `SquaredLoss`, `CrossEntropyLoss`, `LogisticLoss`, `MatrixCompletionLoss` ..., of as many inputs
        and outputs as the network has.
    start : tuple of array_like, shapes (*run, *network.shapes[l]), or State
        Start weights, as `linnet_fast.initialization` makes them; or the ``final`` of an earlier
        trajectory, which is then continued: 400 steps and 600 more are 1000 steps, bit for bit. A
        flow that is continued agrees with one longer flow to its tolerance.
    method : GradientDescent, StochasticGradientDescent or GradientFlow
        How to go down: by steps, or along the flow.
    n_steps : int
        With gradient descent: steps to take, from 0 up.
    until : float
        With gradient flow: the absolute time at which to end.
    phases : sequence of Phase, optional
        In place of `n_steps` or `until`: trainings one after the other, each of so many steps, or until
        a time, with a method, a loss or a stop rule of its own; what a phase does not say is that of
        `train`. There is one axis of steps and one of time, `record` is of all of it, and what is
        recorded where a phase ends is of that phase.
    record : Record, optional
        What to record and when, and which losses to evaluate besides; by default loss and singular
        values at 100 geometrically spaced steps or times.
    stop : Stop, optional
        When to end a run before its last step.
    n_threads : int, optional
        Threads, at least 1. By default the least of OMP_NUM_THREADS, the processors this process is
        bound to and the quota of its control group.
    progress : bool or callable, default False
        True shows a bar in terminals and notebooks (needs tqdm). A callable is called as ``progress(done, total)``, in steps
        of all runs together (of a flow, thousandths of their times), from the calling thread,
        about 20 times a second and at the end.
    dtype : dtype, optional
        float64 or float32: the type of the weights and of the arithmetic. By default that of
        `start`. Observables but the weights are computed in float64 in either case. A flow is
        always integrated in float64.

    reduce : bool, default True
        Whether wide dense networks may be trained as the small ones that they are, where that saves
        work: turned into what the loss sees of the inputs and into the subspaces of the hidden spaces
        that weights can ever move in. All results are those of the network itself, to rounding, and
        `Trajectory.reduction` says what was done. False trains the network as it stands.

    Returns
    -------
    Trajectory
        Records, final state and status of every run. A run that diverges is not an error: its
        status says so, and ``raise_for_status()`` raises.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or value; before any work.
    MemoryError
        If the records would not fit into memory; before any work.
    KeyboardInterrupt
        On Ctrl-C, within a fraction of a second.
    ImportError
        If ``progress=True`` and tqdm is not installed.

    Notes
    -----
    A step of L dense layers of equal width costs about ``2 (3 L - 2)`` times width^3 operations,
    whatever the number of samples was; an `input_cov` that is exactly diagonal and shared by all
    runs saves one product of the ``3 L - 2``. Other layers cost about 6 operations per entry, for
    each input or each output of the network, whichever are fewer.

    Examples
    --------
    Two modes of strengths 2 and 1, learned one after the other from a small start:

    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> network = lf.Dense((2, 2, 2))
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.aligned(network, loss, 1e-6, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientDescent(0.05), n_steps=400,
    ...                record=lf.Record.at([0, 100, 400]))
    >>> run.singular_values.round(3)
    array([[0.   , 0.   ],
           [1.99 , 0.017],
           [2.   , 1.   ]])

    The same along the gradient flow:

    >>> run = lf.train(network, loss, start, method=lf.GradientFlow(), until=20.0,
    ...                record=lf.Record.at_times([0.0, 5.0, 20.0]))
    >>> run.singular_values.round(3)
    array([[0.   , 0.   ],
           [1.992, 0.022],
           [2.   , 1.   ]])
    """
    machine.check_rounding()
    record = Record.geomspace(100) if record is None else record
    if phases is not None:
        _refuse_lengths(n_steps, until)
        validate.instance("record", record, Record)
        plan = planned(network, loss, phases, method=method, record=record, stop=stop)
        for part in plan:
            check_core((part.loss, *record.evaluate.values()), part.method)
        with _Reports(progress, plan) as reports:
            return in_phases(
                partial(reports.train, n_threads=n_threads, reduce=reduce),
                network,
                loss,
                start,
                phases,
                method=method,
                record=record,
                stop=stop,
                dtype=dtype,
                check=check_memory,
            )
    method = checked_method(method, n_steps, until)
    loss = fitting_loss(loss, method)
    direction = check_training(network, loss, method, n_steps, until, record, stop)
    check_core((loss, *record.evaluate.values()), method)
    _refuse_taken_names(record)
    begin = begin_state(network, loss, start, method, stop, dtype, record.evaluate)
    call = CoreCall(network, loss, begin, method, record, stop, direction, n_threads)
    reduce = validate.flag("reduce", reduce)
    length, of_run = _length(call, n_steps, until)
    with reporter(progress, int(np.count_nonzero(call.going)) * of_run) as report:
        do = _Trained(length, of_run, report, reduce=reduce)
        outcome = do(call)
    made = _provenance(network, method, record, stop, begin, outcome.final)
    if do.texts:
        made["reduction"] = "; ".join(dict.fromkeys(do.texts))
    return Trajectory(
        network,
        loss,
        method,
        begin,
        outcome.steps,
        outcome.time,
        call.observed(outcome.result),
        outcome.final,
        made,
        outcome.n_steps,
        record.evaluate,
    )


def _refuse_lengths(n_steps: int | None, until: float | None) -> None:
    for name, value in (("n_steps", n_steps), ("until", until)):
        if value is not None:
            msg = f"{name} must be None with phases, which have their own, got {value!r}"
            raise ValueError(msg)


class _Reports:
    """Trains phases, and reports on them as on one training."""

    def __init__(self, progress: Progress, plan: Sequence[Planned]) -> None:
        self._progress, self._done = progress, 0
        self._of_run = [1000 if part.n_steps is None else part.n_steps for part in plan]
        self._open = ExitStack()
        self._report: Report = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def train(self, network: Chain, loss: Loss, start: State, **options: Any) -> Trajectory:
        """Train one phase."""
        n_runs = start.status.size
        if self._done == 0 and self._report is None:
            total = n_runs * sum(self._of_run)
            self._report = self._open.enter_context(reporter(self._progress, total))
        report, before = self._report, self._done
        own: Progress = False
        if report is not None:
            own = lambda done, _: report(before + done)
        self._done += n_runs * self._of_run.pop(0)
        return train(network, loss, start, progress=own, **options)


def _length(call: CoreCall, n_steps: int | None, until: float | None) -> tuple[float, int]:
    """Return steps to take, or the time at which to end, and what progress counts of a run; all checked."""
    begin, record = call.begin, call.record
    if call.method.counts_steps:
        first = begin.step or 0
        steps = validate.integer("n_steps", n_steps, low=0, high=MAX_STEP - first)
        call.check(record.n_records(first, first + steps))
        return steps, steps
    end = validate.real("until", until, at_least=begin.time or 0.0)
    call.check(len(record.times(begin.time or 0.0, end)))
    return end, 1000


class _Trained:
    """Trains what it is called with, as it stands or reduced, runs of several kinds one kind after the other."""

    def __init__(self, length: float, of_run: int, report: Report, *, reduce: bool) -> None:
        self._length, self._of_run, self._report = length, of_run, report
        self._reduce = reduce
        self._done = 0
        self.texts: list[str] = []

    def __call__(self, call: CoreCall) -> Outcome:
        reduction = reduction_of(call) if self._reduce else None
        if isinstance(reduction, np.ndarray):
            parts = parts_of(call, reduction)
            return merged(call, [(part.which, self(part.call)) for part in parts])
        if reduction is None:
            return self._by_core(call)
        self.texts.append(reduction.problem.text)
        return reduction.expanded(self._by_core(reduction.small))

    def _by_core(self, call: CoreCall) -> Outcome:
        method, report, before = call.method, self._report, self._done
        own = None if report is None else lambda done: report(before + done)
        if method.counts_steps:
            outcome = descend(call, cast("SteppingMethod", method), int(self._length), own)
        else:
            outcome = integrate(call, cast("GradientFlow", method), self._length, own)
        self._done += int(np.count_nonzero(call.going)) * self._of_run
        return outcome


def _refuse_taken_names(record: Record) -> None:
    """Refuse observables whose names a trajectory has for something else."""
    for name in record.rows:
        if known(name) is None and name in {
            *vars(Trajectory),
            *Trajectory.__dataclass_fields__,
        }:
            msg = f"observables must not have names of what a trajectory has, got {name!r}"
            raise ValueError(msg)


def _provenance(
    network: Chain,
    method: Method,
    record: Record,
    stop: Stop | None,
    begin: State,
    final: State,
) -> dict[str, Any]:
    return {
        **provenance(),
        "parameters": {
            "network": network.spec,
            "run_shape": final.status.shape,
            "dtype": str(final.weights[0].dtype),
            "method": type(method).__name__,
            **made_with(method),
            "record": repr(record),
            "stop": None if stop is None else repr(stop),
            **_extent(begin, final),
        },
    }


def _extent(begin: State, final: State) -> dict[str, float | int]:
    """Return where a training begins and how far it goes."""
    if begin.step is not None and final.step is not None:
        return {"first_step": begin.step, "n_steps": final.step - begin.step}
    return {"begin": begin.time or 0.0, "until": final.time or 0.0}
