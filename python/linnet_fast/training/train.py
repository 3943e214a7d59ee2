"""The front door: train a batch of networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import files, machine, validate
from linnet_fast._base.config import provenance
from linnet_fast._base.validate import Shape
from linnet_fast.losses.binary import Loss, checked_loss
from linnet_fast.methods.descent import (
    GradientDescent,
    GradientFlow,
    Method,
    StochasticGradientDescent,
    check_length,
)
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import MAX_STEP, OBSERVABLES, Record, Stop
from linnet_fast.training.compatible import check_method, check_observables
from linnet_fast.training.core_arguments import (
    draws_arguments,
    factors,
    limit,
    loss_arguments,
    over_runs,
    rule_arguments,
)
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import Trajectory

Progress: TypeAlias = bool | Callable[[int, int], object]

_MOST_BYTES = 2**62
_ALWAYS_FITS = 2**26
_SMALLEST = 1e-140  # squares of weights, and what is far below them, must not underflow


def train(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    *,
    method: Method,
    n_steps: int | None = None,
    until: float | None = None,
    record: Record | None = None,
    stop: Stop | None = None,
    n_threads: int | None = None,
    progress: Progress = False,
    dtype: npt.DTypeLike | None = None,
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
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        The loss; all but the squared one are for networks with one output.
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
    record : Record, optional
        What to record and when; by default loss and singular values at 100 geometrically spaced
        steps or times.
    stop : Stop, optional
        When to end a run before its last step.
    n_threads : int, optional
        Threads, at least 1. By default the least of OMP_NUM_THREADS, the processors this process is
        bound to and the quota of its control group.
    progress : bool or callable, default False
        True shows a bar (needs tqdm). A callable is called as ``progress(done, total)``, in steps
        of all runs together (of a flow, thousandths of their times), from the calling thread,
        about 20 times a second and at the end.
    dtype : dtype, optional
        float64 or float32: the type of the weights and of the arithmetic. By default that of
        `start`. Observables but the weights are computed in float64 in either case. A flow is
        always integrated in float64.

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
    >>> start = lf.initialization.aligned(network, loss, 1e-6)
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
    validate.instance("network", network, Chain)
    checked_loss(loss)
    check_length(method, n_steps, until)
    record = (
        Record.geomspace(100) if record is None else validate.instance("record", record, Record)
    )
    if stop is not None:
        validate.instance("stop", stop, Stop)
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        got = f"{loss.n_inputs} inputs and {loss.n_outputs} outputs"
        msg = f"loss must match the network's widths {network.widths}, got {got}"
        raise ValueError(msg)
    if isinstance(method, GradientDescent):
        method.check_layers(network.n_layers)
    check_method(network, loss, method)
    direction = check_observables(network, loss, record)
    begin, runs = _begin(network, loss, start, method, stop, dtype)
    if n_threads is None:
        threads = machine.n_threads()
    else:
        threads = validate.integer("n_threads", n_threads, low=1, high=2**15)
    problem: dict[str, Any] = {
        "factors": factors(network),
        "shapes": network.shapes,
        "run_shape": runs,
        "weights": [over_runs(w, runs, w.ndim - len(runs)) for w in begin.weights],
        **loss_arguments(loss, runs, begin.weights[0].dtype),
        "direction": None if direction is None else over_runs(direction, runs, 1),
        "weight_decay": over_runs(method.weight_decay, runs, 0),
        "stop_loss": None if stop is None else limit(stop.loss, runs),
        "stop_gradient_norm": None if stop is None else limit(stop.gradient_norm, runs),
        "ended": np.require(begin.status, requirements="C") if isinstance(start, State) else None,
        "observables": set(record.observables),
        "n_threads": threads,
    }
    going = begin.status == Status.COMPLETED
    steps = None
    result: Any
    if isinstance(method, GradientDescent):
        first = begin.step or 0
        n_steps = validate.integer("n_steps", n_steps, low=0, high=MAX_STEP - first)
        last = first + n_steps
        _check_memory(network, begin, record, record.n_records(first, last))
        steps = record.steps(first, last)
        rule, draws, before = None, None, np.zeros(runs)
        if method.rule is not None:
            before = np.zeros(runs) if begin.elapsed is None else begin.elapsed
            rule = rule_arguments(method.rule, before, runs)
        if isinstance(method, StochasticGradientDescent):
            draws = draws_arguments(loss, method, runs)
        with _reporter(progress, int(np.count_nonzero(going)) * n_steps) as report:
            result = _core.train(
                **problem,
                step_size=over_runs(method.layer_step_sizes(network.n_layers), runs, 1),
                rule=rule,
                draws=draws,
                check_every=1 if stop is None else stop.check_every,
                first_step=first,
                n_steps=n_steps,
                record_steps=steps.tolist(),
                progress=report,
            )
        elapsed = None
        if method.rule is None:
            time = method.constant_step_size[..., None] * steps
        else:
            time = result["time"]
            elapsed = np.where(going, result["elapsed"], before)
        stopped_at = np.where(going, result["stopped_at"], begin.stopped_at)
        taken = np.where(going, stopped_at - first, 0)
        ends: tuple[int | None, float | None] = (last, None)
    else:
        first_time = begin.time or 0.0
        end = validate.real("until", until, at_least=first_time)
        time = record.times(first_time, end)
        _check_memory(network, begin, record, len(time))
        atol = method.absolute_tolerance(begin.weights, len(runs))
        elapsed = None
        with _reporter(progress, 1000 * int(np.count_nonzero(going))) as report:
            result = _core.train_flow(
                **problem,
                rtol=over_runs(method.rtol, runs, 0),
                atol=over_runs(atol, runs, 0),
                log_time=method.log_time,
                begin=first_time,
                until=end,
                max_steps=method.max_steps,
                record_times=time.tolist(),
                progress=report,
            )
        stopped_at = np.where(going, result["stopped_at"], begin.stopped_at)
        taken = np.where(going, result["n_steps"], 0)
        ends = (None, end)
    status = np.where(going, result["status"], begin.status)
    final = State(result["weights"], ends[0], status, stopped_at, ends[1], elapsed)
    observables = {name: result["observables"][name] for name in record.observables}
    made = _provenance(network, method, record, stop, begin, final)
    return Trajectory(network, loss, method, begin, steps, time, observables, final, made, taken)


def _begin(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    method: Method,
    stop: Stop | None,
    dtype: npt.DTypeLike | None,
) -> tuple[State, Shape]:
    """Return the state to begin from, its weights views with all run axes, and the run axes."""
    shapes = {"loss": loss.run_shape, "method": method.run_shape}
    if stop is not None:
        shapes["stop"] = stop.run_shape
    is_flow = isinstance(method, GradientFlow)
    if not isinstance(start, State):
        weights = validate.weights("start", start, network.shapes, dtype=dtype)
        inner = network.shapes
        lead = (w.shape[: w.ndim - len(s)] for w, s in zip(weights, inner, strict=True))
        own = np.broadcast_shapes(*lead)
        runs = validate.broadcast_runs(start=own, **shapes)
        state = State(
            tuple(np.broadcast_to(w, (*runs, *s)) for w, s in zip(weights, inner, strict=True)),
            None if is_flow else 0,
            np.broadcast_to(np.int8(0), runs),
            np.broadcast_to(np.zeros((), np.float64 if is_flow else np.int64), runs),
            0.0 if is_flow else None,
        )
    else:
        state = start
        start.check_network(network)
        runs = start.status.shape
        if (start.time is None) == is_flow:
            was = "gradient descent" if is_flow else "gradient flow"
            msg = f"start must be weights, or a state of the same method, got one of {was}; "
            msg += "start anew from its weights: state.weights"
            raise ValueError(msg)
        kind = start.weights[0].dtype
        if dtype is not None and validate.float_dtype("dtype", dtype) != kind:
            msg = f"dtype must be {kind} to continue a training in {kind}, got {np.dtype(dtype)}"
            raise ValueError(msg)
        for name, shape in shapes.items():
            validate.fits_batch(name, shape, runs)
    if is_flow and state.weights[0].dtype != np.float64:
        msg = "start must be float64 for gradient flow, got float32; pass dtype=np.float64"
        raise ValueError(msg)
    if is_flow:
        for layer, array in enumerate(state.weights):
            axes = tuple(range(len(runs), array.ndim))
            size = np.abs(validate.unbroadcast(array, keep=len(axes))).max(axis=axes)
            going = np.broadcast_to(state.status == Status.COMPLETED, runs)
            outside = (size > 0) & ~((size > _SMALLEST) & (size < 1 / _SMALLEST)) & going
            expected = f"0 or between {_SMALLEST:g} and {1 / _SMALLEST:g} for gradient flow"
            validate.refuse(
                f"largest entry of start[{layer}]", expected, np.broadcast_to(size, runs), outside
            )
    return state, runs


def _check_memory(network: Chain, begin: State, record: Record, n_records: int) -> None:
    """Raise MemoryError, naming the bytes, if the result would not fit."""
    n_runs, dtype = begin.status.size, begin.weights[0].dtype
    per_record = 0
    for name in record.observables:
        if name == "weights":
            per_record += network.n_weights * dtype.itemsize
        else:
            per_record += math.prod(cast("Shape", OBSERVABLES[name](network))) * 8
    per_step = 64  # the step itself, on its way to the core and in the result
    needed = n_records * (n_runs * per_record + per_step)
    needed += n_runs * (network.n_weights * dtype.itemsize + 9)
    if needed <= _ALWAYS_FITS:  # asking the system takes as long as a small training
        return
    available = machine.available_memory()
    limit = _MOST_BYTES if available is None else min(available, _MOST_BYTES)
    if needed > limit:
        msg = (
            f"the result needs {needed:,} bytes ({n_runs:,} runs, {n_records:,} records of "
            f"{', '.join(record.observables)}) but {limit:,} are available; record less, or train "
            "fewer runs at a time"
        )
        raise MemoryError(msg)


@contextmanager
def _reporter(progress: object, total: int) -> Iterator[Callable[[int], object] | None]:
    """Give the function to call with the steps done so far, or None."""
    if progress is False:
        yield None
    elif callable(progress):
        yield lambda done: progress(done, total)
        progress(total, total)
    elif progress is True:
        tqdm = files.optional("tqdm.auto", "progress").tqdm
        with tqdm(total=total, unit="step", unit_scale=True, smoothing=0.1) as bar:
            yield lambda done: bar.update(done - bar.n)
            bar.update(total - bar.n)
    else:
        msg = f"progress must be a bool or a callable, got {type(progress).__name__}"
        raise TypeError(msg)


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
            **{field.name: getattr(method, field.name) for field in fields(method)},
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
