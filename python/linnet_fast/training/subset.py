"""Some runs of a training: which ones are meant, and the trajectory of these alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import noun_of, taken
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import made_with
from linnet_fast.training.phase import Phase

if TYPE_CHECKING:
    from linnet_fast.training.trajectory import Trajectory

Which = npt.NDArray[np.intp]
_CLOSE = 1e-9  # labels are the numbers that were meant


def _numbered(runs: Shape) -> Which:
    """Return the number of each run, in C order."""
    return np.arange(math.prod(runs), dtype=np.intp).reshape(runs)


def by_index(runs: Shape, key: object) -> Which:
    """Return the numbers of the runs that an index chooses, in the shape that NumPy gives them.

    Parameters
    ----------
    runs : tuple of int
        Shape of all run axes.
    key : int, slice, Ellipsis, array_like of int or bool, or a tuple of these
        The index.
    """
    parts = key if isinstance(key, tuple) else (key,)
    return _picked("run", _numbered(runs), tuple(_part("run", part) for part in parts))


def by_axes(runs: Shape, axes: Mapping[str, object]) -> Which:
    """Return the numbers of the runs that an index along each named axis chooses.

    Parameters
    ----------
    runs : tuple of int
        Shape of all run axes.
    axes : mapping of str to int, slice or array_like
        By the names ``run_0``, ``run_1``, ...
    """
    names = [f"run_{axis}" for axis in range(len(runs))]
    for name in axes:
        validate.choice("axes", name, names)
    numbers = _numbered(runs)
    for axis, name in reversed(list(enumerate(names))):
        if name in axes:
            part = _part(name, axes[name])
            if np.ndim(np.empty(0) if isinstance(part, slice) else part) > 1:
                msg = f"{name} must be an index of one axis, got one of {np.ndim(part)}"
                raise ValueError(msg)
            numbers = _picked(name, numbers, (*(slice(None),) * axis, part))
    return numbers


def by_labels(trajectory: Trajectory, labels: Mapping[str, object]) -> Which:
    """Return the numbers of the runs that have these parameters.

    Parameters
    ----------
    trajectory : Trajectory
        Of all runs.
    labels : mapping of str to number, array_like or slice
        Values by the names of parameters; slices are of values, both ends included.
    """
    runs = trajectory.run_shape
    known = dict(_parameters(trajectory))
    axes: dict[str, Any] = {}
    for name, wanted in labels.items():
        values = known[validate.choice("labels", name, known)]
        vary = [axis for axis, size in enumerate(values.shape) if size > 1]
        if len(vary) > 1:
            shape = values.shape
            msg = f"{name} must vary along one run axis to be chosen by, got {shape}: give run[...] a mask"
            raise ValueError(msg)
        places = _places(name, values.reshape(-1), wanted)
        if vary:
            axis = f"run_{len(runs) - values.ndim + vary[0]}"
            if axis in axes:
                msg = f"{name} must vary along another run axis than the others, got {axis} twice"
                raise ValueError(msg)
            axes[axis] = places
    return by_axes(runs, axes)


def _places(name: str, values: FloatArray, wanted: object) -> Any:
    """Return where values are those that are wanted: a place, or some."""
    if isinstance(wanted, slice):
        if wanted.step is not None:
            msg = f"{name} must be a slice of values without a step, got {validate.brief(wanted)}"
            raise ValueError(msg)
        low = -np.inf if wanted.start is None else validate.real(name, wanted.start)
        high = np.inf if wanted.stop is None else validate.real(name, wanted.stop)
        places = np.flatnonzero((values >= low) & (values <= high))
        if not places.size:
            msg = f"{name} must be a range with values of {values.tolist()}, got {validate.brief(wanted)}"
            raise ValueError(msg)
        return places
    asked = validate.real_array(name, wanted)
    found = []
    for one in asked.reshape(-1):
        places = np.flatnonzero(np.isclose(values, one, rtol=_CLOSE, atol=0))
        if not places.size:
            msg = f"{name} must be one of {validate.brief(values.tolist())}, got {one:g}"
            raise ValueError(msg)
        found.append(places)
    return found[0][0] if asked.ndim == 0 and found[0].size == 1 else np.concatenate(found)


def _parameters(trajectory: Trajectory) -> Iterator[tuple[str, FloatArray]]:
    """Yield what may differ between runs in numbers, those of the method last: they are meant first."""
    for noun in (trajectory.loss_function, trajectory.method):
        yield from _numbers_of(noun)


def _numbers_of(noun: object) -> Iterator[tuple[str, FloatArray]]:
    axes: Mapping[str, int] = getattr(noun, "inner_axes", {})
    for name, value in made_with(noun).items():
        if isinstance(value, np.ndarray):
            if axes.get(name, 0) == 0:
                yield name, value
        elif isinstance(value, Mapping):
            yield from ((key, part) for key, part in value.items() if isinstance(part, np.ndarray))
        elif hasattr(value, "inner_axes"):
            yield from _numbers_of(value)


def _part(name: str, part: object) -> Any:
    """Return a part of an index, checked."""
    if part is Ellipsis:
        return part
    if isinstance(part, slice):
        for end in (part.start, part.stop, part.step):
            if end is not None:
                validate.integer(name, end, low=-(2**62), high=2**62)
        return part
    if isinstance(part, (list, np.ndarray)):
        array = np.asarray(part)
        if array.dtype.kind == "b":
            return array
        return validate.integer_array(name, part, low=-(2**62), high=2**62)
    return validate.integer(name, part, low=-(2**62), high=2**62)


def _picked(name: str, numbers: Which, key: tuple[Any, ...]) -> Which:
    try:
        found = np.asarray(numbers[key], dtype=np.intp)
    except (IndexError, ValueError) as error:
        msg = f"{name} must be an index of run axes {numbers.shape}, got one where {error}"
        raise IndexError(msg) from error
    if found.size == 0:
        msg = f"{name} must choose at least one run of {numbers.shape}, got an index of none"
        raise IndexError(msg)
    return found


def subset(trajectory: Trajectory, which: Which) -> Trajectory:
    """Return the trajectory of some runs, which goes on as they would have among the others.

    Parameters
    ----------
    trajectory : Trajectory
        Of all runs.
    which : ndarray of int
        Their numbers, in C order, in the shape of the new run axes.
    """
    runs = trajectory.run_shape
    places = np.unravel_index(which, runs) if runs else ()
    method = trajectory.method.of_runs(which, runs)
    provenance = dict(trajectory.provenance)
    known = provenance.get("parameters", {})
    now = {name: value for name, value in made_with(method).items() if name in known}
    provenance["parameters"] = known | now | {"run_shape": which.shape}

    def some(array: Any) -> Any:
        return tuple(map(some, array)) if isinstance(array, tuple) else np.asarray(array[places])

    time = trajectory.time
    return replace(
        trajectory,
        loss_function=noun_of(trajectory.loss_function, which, runs),
        method=method,
        start=trajectory.start.of_runs(which),
        time=time if trajectory.steps is None else np.array(taken(time, 1, which, runs)),
        observables={name: some(array) for name, array in trajectory.observables.items()},
        final=trajectory.final.of_runs(which),
        provenance=provenance,
        n_steps=some(trajectory.n_steps),
        evaluated={name: noun_of(one, which, runs) for name, one in trajectory.evaluated.items()},
        phases=tuple(_phase(phase, which, runs) for phase in trajectory.phases),
    )


def _phase(phase: Phase, which: Which, runs: Shape) -> Phase:
    batches = phase.batches
    if batches is not None:
        batches = noun_of(batches.with_streams(batches.streams_of(runs)), which, runs)
    return replace(
        phase,
        method=None if phase.method is None else phase.method.of_runs(which, runs),
        loss=None if phase.loss is None else noun_of(phase.loss, which, runs),
        batches=batches,
        stop=None if phase.stop is None else noun_of(phase.stop, which, runs),
    )
