"""The result of a training: records, final state, how each run ended; safe to save and load."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, notebook, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.base import Method
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.text import parse
from linnet_fast.records.measures import MAKERS
from linnet_fast.records.observables import (
    NO_LOSSES,
    OBSERVABLES,
    checked_losses,
    evaluated_rows,
    known,
)
from linnet_fast.training import labelled, plain, subset, trajectory_file
from linnet_fast.training.phase import Phase
from linnet_fast.training.state import State, Status

if TYPE_CHECKING:
    import xarray

Observable: TypeAlias = FloatArray | tuple[WeightArray, ...]


class DivergenceError(RuntimeError):
    """Raised by `Trajectory.raise_for_status` if a run diverged."""


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """What a training recorded, and how it ended.

    Made by `train`. Records of a run after its end are NaN.

    Parameters
    ----------
    network : Chain
        What was trained.
    loss_function : Loss
        On what; `loss` is what was recorded of it.
    method : Method
        How.
    start : State
        From where; weights and status are views with all run axes.
    steps : ndarray of int64, shape (n_rec,), or None
        Steps recorded, counted from the very start; None of a flow.
    time : ndarray of float64, shape (*step_size.shape, n_rec)
        ``step_size * steps``; broadcasts against the run axes. With a `StepRule`, and where a training
        goes on with another step size, the sums of the steps, (*run, n_rec). Of a flow the times recorded, (n_rec,); in logarithmic time these are
        log(1 + t), and `linear_time` has t.
    observables : mapping of str to ndarray, shape (*run, n_rec, ...)
        What was recorded, by name; ``weights`` are a tuple of one array per layer. Each is an
        attribute, too.
    final : State
        Weights and status at the end; `train` continues from it.
    provenance : mapping
        Versions, platform and parameters. Kept as what JSON can hold: arrays become lists.
    n_steps : ndarray of int64, shape (*run)
        Steps each run took in this training; of a flow those of the integrator, refused ones
        included.
    evaluated : mapping of str to Loss
        The losses that were evaluated besides, by name; what was recorded of ``"test"`` is
        ``loss_test``, and so on.
    phases : tuple of Phase
        Of a training of several phases, each with all that it has been done with; `method` and
        `loss_function` are those of the last, and losses recorded those of each.

    Raises
    ------
    TypeError
        If a part is not what it should be.
    ValueError
        If shapes or dtypes do not fit together, or steps or times do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import Dense, GradientDescent, Record, SquaredLoss, reference
    >>> loss = SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> run = reference.train(Dense((1, 1)), loss, (np.zeros((1, 1)),),
    ...                       method=GradientDescent(0.5), n_steps=2, record=Record.every(1))
    >>> run.steps.tolist(), run.time.tolist(), run.loss.tolist()
    ([0, 1, 2], [0.0, 0.5, 1.0], [2.0, 0.5, 0.125])
    >>> run.message
    '1 run: 1 completed'
    """

    network: Chain
    loss_function: Loss
    method: Method
    start: State
    steps: npt.NDArray[np.int64] | None
    time: FloatArray
    observables: Mapping[str, Observable]
    final: State
    provenance: Mapping[str, Any]
    n_steps: npt.NDArray[np.int64]
    evaluated: Mapping[str, Loss] = NO_LOSSES
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        checked_network(self.network, Chain)
        validate.one_of("loss_function", self.loss_function, Loss)
        validate.one_of("method", self.method, Method)
        for name in ("start", "final"):
            validate.instance(name, getattr(self, name), State).check_network(self.network)
        validate.plain_array("time", self.time)
        if self.time.ndim == 0:
            msg = "time must have an axis of records, got shape ()"
            raise ValueError(msg)
        runs, records = self.run_shape, self.time.shape[-1:]
        if self.start.status.shape != runs:
            msg = f"start must have run axes {runs} as final, got {self.start.status.shape}"
            raise ValueError(msg)
        validate.exact("n_steps", self.n_steps, runs, np.int64)
        if (self.steps is None) != (self.final.step is None):
            msg = "steps must be given if and only if the final state has a step"
            raise ValueError(msg)
        if self.steps is not None:
            validate.exact("steps", self.steps, records, np.int64)
        lead = self.time.shape[:-1] if self.steps is not None else ()
        validate.exact("time", self.time, (*lead, *records), np.float64)
        validate.fits_batch("time", lead, runs)
        self._check_time()
        when = self.time if self.steps is None else self.steps
        if not (np.isfinite(when).all() and (np.diff(when) > 0).all()):
            name = "time" if self.steps is None else "steps"
            msg = f"{name} must be finite and strictly increasing, got {when.tolist()}"
            raise ValueError(msg)
        object.__setattr__(self, "evaluated", checked_losses(self.evaluated, "evaluated"))
        for name, array in validate.mapping("observables", self.observables).items():
            self._check_observable(name, array)
        object.__setattr__(self, "observables", MappingProxyType(dict(self.observables)))
        provenance = files.json_safe(validate.mapping("provenance", self.provenance))
        object.__setattr__(self, "provenance", MappingProxyType(provenance))
        phases = validate.sequence("phases", self.phases, of="phases")
        for i, phase in enumerate(phases):
            validate.instance(f"phases[{i}]", phase, Phase)
        object.__setattr__(self, "phases", phases)

    def _check_time(self) -> None:
        """Refuse times that are negative, fall, or are missing before the end of a run."""
        stored = validate.unbroadcast(self.time, keep=1)
        gone = np.isnan(stored)  # after the end of a run by a rule
        if self.method.rule is None:
            validate.refuse("time", "finite", stored, gone)
        validate.refuse("time", ">= 0", stored, stored < 0)
        falls = (np.diff(stored) < 0) | (gone[..., :-1] & ~gone[..., 1:])
        validate.refuse("time", "rising", stored[..., 1:], falls)

    def __reduce__(self) -> tuple[Any, ...]:
        """Support copy and pickle, which read-only mappings do not."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"observables": dict(self.observables), "provenance": dict(self.provenance)}
        return Trajectory, tuple(values.values())

    def __repr__(self) -> str:
        """Show sizes and the outcome."""
        names = ", ".join(self.observables)
        return f"<Trajectory of {self._ends}; {self.time.shape[-1]} records of {names}>"

    def _repr_html_(self) -> str:
        records = f"{self.time.shape[-1]:,} of {', '.join(self.observables) or 'nothing'}"
        rows = {
            "network": repr(self.network),
            "loss": repr(self.loss_function),
            "method": repr(self.method),
            "run axes": self.run_shape,
            "records": records,
            "ended": self.message,
        }
        return notebook.facts("Trajectory", rows)

    def _check_observable(self, name: str, array: Observable) -> None:
        """Refuse an observable of another shape or dtype; of functions only the axes are known."""
        lead = (*self.run_shape, *self.time.shape[-1:])
        if name == "weights":
            validate.sequence("weights", array, of="arrays")
            if len(array) != self.network.n_arrays:
                msg = f"weights must have {self.network.n_arrays} arrays, got {len(array)}"
                raise ValueError(msg)
            dtype = self.final.weights[0].dtype
            for i, (part, inner) in enumerate(zip(array, self.network.shapes, strict=True)):
                validate.exact(f"weights[{i}]", part, (*lead, *inner), dtype)
            return
        validate.plain_array(name, array)
        values = np.asarray(array)
        row = known(name, self.evaluated) or evaluated_rows(self.evaluated).get(name)
        if row is None:
            if name.startswith("_") or not name.isidentifier() or name in _names_of_its_own():
                validate.choice("observables", name, OBSERVABLES)
            inner = values.shape[len(lead) :]
        else:
            inner = row.record_shape(self.network)
        validate.exact(name, values, (*lead, *inner), np.float64)

    def __getattr__(self, name: str) -> Any:
        """Return what was recorded under a name."""
        # Not before the fields are there, as when a copy is made.
        if not name.startswith("_") and name not in OBSERVABLES:
            name = self._full_name(name)
        if name.startswith("_") or name not in {
            *OBSERVABLES,
            *self.__dict__.get("observables", ()),
        }:
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        if name not in self.observables:
            listed = ", ".join(self.observables) or "nothing"
            msg = f"{name} was not recorded, only {listed}; name it in Record's observables"
            raise AttributeError(msg)
        return self.observables[name]

    def _full_name(self, name: str) -> str:
        """Return the name with parameters of the one observable that is called so without them."""
        recorded = self.__dict__.get("observables", ())
        if name in recorded or name not in MAKERS:
            return name
        full = [other for other in recorded if other.startswith(f"{name}_")]
        return full[0] if len(full) == 1 else name

    def __dir__(self) -> list[str]:
        """List what was recorded, too."""
        return [*super().__dir__(), *self.observables]

    def __getitem__(self, run: object) -> Trajectory:
        """Return the trajectory of some runs, by an index of the run axes as NumPy understands it."""
        return subset.subset(self, subset.by_index(self.run_shape, run))

    def isel(self, **axes: Any) -> Trajectory:
        """Return the trajectory of some runs, by an index along each of some run axes.

        It is saved, and goes on, as that of all runs is: ``train(run.network, loss, part.final,
        method=part.method, ...)`` takes the steps that these runs would have taken among the others,
        with the random numbers that they would have had.

        Parameters
        ----------
        **axes : int, slice or array_like of int or bool
            An index by the name of the axis, ``run_0``, ``run_1``, ... An axis that an integer is
            given for is gone. ``run[2:5]`` and ``run[run.ok]`` do the same by position.

        Returns
        -------
        Trajectory

        Raises
        ------
        IndexError
            If there is no such run.
        TypeError, ValueError
            If there is no such axis, or an index is something else.

        Examples
        --------
        >>> import linnet_fast as lf
        >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
        >>> method = lf.GradientDescent([0.1, 0.2, 0.5])
        >>> run = lf.train(lf.Dense((1, 1)), loss, [[[0.0]]], method=method, n_steps=4)
        >>> run.isel(run_0=2).loss[-1] == run[2].loss[-1] == run.loss[2, -1]
        np.True_
        >>> part = run[1:]
        >>> more = lf.train(part.network, loss, part.final, method=part.method, n_steps=4)
        >>> more.run_shape, more.final.step
        ((2,), 8)
        """
        return subset.subset(self, subset.by_axes(self.run_shape, axes))

    def sel(self, **labels: Any) -> Trajectory:
        """Return the trajectory of the runs that have these parameters.

        Parameters
        ----------
        **labels : number, array_like or slice
            Values by the name of a parameter of the method or of the loss that varies along one run
            axis, to nine digits; slices of values include both ends.

        Returns
        -------
        Trajectory
            As that of `isel`.

        Raises
        ------
        TypeError, ValueError
            If there is no such parameter or value, or the parameter varies along several axes.

        Examples
        --------
        >>> import linnet_fast as lf
        >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
        >>> method = lf.GradientDescent([0.1, 0.2, 0.5])
        >>> run = lf.train(lf.Dense((1, 1)), loss, [[[0.0]]], method=method, n_steps=4)
        >>> run.sel(step_size=0.2).run_shape, run.sel(step_size=slice(0.2, None)).run_shape
        ((), (2,))
        """
        return subset.subset(self, subset.by_labels(self, labels))

    @property
    def squared_loss(self) -> SquaredLoss:
        """The `loss_function`, where it is a `SquaredLoss`; else a TypeError."""
        return validate.instance("loss_function", self.loss_function, SquaredLoss)

    @property
    def record_axis(self) -> npt.NDArray[np.int64] | FloatArray:
        """When was recorded: `steps`, of a flow `time`; shape (n_rec,)."""
        return self.time if self.steps is None else self.steps

    @property
    def linear_time(self) -> FloatArray:
        """The time t of each record, in the shape of `time`.

        It is `time`, but of flows in logarithmic time exp(time) - 1, inf beyond float64.
        """
        return self.method.linear_time(self.time)

    def step_at(self, time: npt.ArrayLike) -> FloatArray:
        """Return at which step of a descent a time is reached, not rounded; NaN where it never is.

        Parameters
        ----------
        time : array_like, shape (*run, n)
            Times.

        Returns
        -------
        ndarray of float64, shape (*run, n)

        Raises
        ------
        ValueError
            If the trajectory is one of a flow.

        Examples
        --------
        >>> import linnet_fast as lf
        >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
        >>> run = lf.train(lf.Dense((1, 1)), loss, [[[0.0]]], method=lf.GradientDescent(0.5), n_steps=4)
        >>> run.step_at([0.75, 2.0]).tolist()
        [1.5, 4.0]
        """
        if self.steps is None:
            msg = "trajectory must be one of a method that takes steps, got a flow"
            raise ValueError(msg)
        wanted = np.asarray(validate.floating("time", time, ()), np.float64)
        if (
            wanted.ndim == 0
            or np.broadcast_shapes(wanted.shape[:-1], self.run_shape) != self.run_shape
        ):
            msg = (
                f"time must have shape (*run, n) with run axes {self.run_shape}, got {wanted.shape}"
            )
            raise ValueError(msg)
        clock = self.final.clock
        if clock is not None and not self.phases:
            with np.errstate(over="ignore"):  # inf steps away, then
                after = (wanted - clock.time[..., None]) / clock.step_size[..., None]
            return np.asarray(clock.step[..., None] + after)
        n = wanted.shape[-1]
        whole = np.broadcast_to(wanted, (*self.run_shape, n))
        known = np.broadcast_to(self.time, (*self.run_shape, self.steps.size))
        found = np.full(whole.shape, np.nan)
        for run in np.ndindex(self.run_shape):
            there = ~np.isnan(known[run])
            axis, steps = known[run][there], self.steps[there].astype(np.float64)
            if len(axis):
                found[run] = np.interp(whole[run], axis, steps, left=np.nan, right=np.nan)
        return found

    @property
    def reduction(self) -> str | None:
        """As which smaller network the network was trained; None: as it stands. See `train`."""
        text: str | None = self.provenance.get("reduction")
        return text

    @property
    def run_shape(self) -> Shape:
        """Shape of the run axes; () for a single run."""
        return self.final.status.shape

    @property
    def status(self) -> npt.NDArray[np.int8]:
        """A `Status` per run, shape (*run)."""
        return self.final.status

    @property
    def stopped_at(self) -> npt.NDArray[Any]:
        """Last step (of a flow, time) of each run, shape (*run); see `State`."""
        return self.final.stopped_at

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Whether each run did not diverge, shape (*run)."""
        return np.asarray(self.status != Status.DIVERGED)

    @property
    def message(self) -> str:
        """One line on how the runs ended; of exhausted ones, why that may be and what helps."""
        if not (self.status == Status.EXHAUSTED).any():
            return self._ends
        advice = "they go on where the training is continued, with more max_steps or a method for "
        advice += "stiff flows"
        asked = self.provenance.get("parameters", {}).get("stop")
        if asked is not None or any(phase.stop is not None for phase in self.phases):
            error = self.method.relative_error
            advice += f"; a stop rule below what rtol={error:g} can reach is never met"
        return f"{self._ends}; {advice}"

    @property
    def _ends(self) -> str:
        n_runs = self.status.size
        parts = []
        for status in Status:
            which = np.argwhere(self.status == status)
            if len(which) == 0:
                continue
            part = f"{len(which)} {status.name.lower()}"
            if status in (Status.DIVERGED, Status.EXHAUSTED):
                first = tuple(int(i) for i in which[0])
                place = f"first: run {first} at" if first else "at"
                flow = "ln(1 + time)" if self.method.log_time else "time"
                unit = flow if self.steps is None else "step"
                part += f" ({place} {unit} {self.stopped_at[first]}"
                if status == Status.EXHAUSTED:
                    part += f" of {self.final.time:g}, after {self.n_steps[first]} steps"
                part += ")"
            parts.append(part)
        return f"{n_runs} run{'s' if n_runs != 1 else ''}: {', '.join(parts)}"

    def raise_for_status(self) -> None:
        """Raise an error if a run diverged.

        Raises
        ------
        DivergenceError
            With `message` as its text.
        """
        if not self.ok.all():
            raise DivergenceError(self.message)

    def to_xarray(
        self, dims: Sequence[str] | None = None, coords: Mapping[Hashable, Any] | None = None
    ) -> xarray.Dataset:
        """Return the records as a labelled dataset.

        Parameters
        ----------
        dims : sequence of str, optional
            Names of the run axes; ``run_0, run_1, ...`` by default.
        coords : mapping, optional
            Coordinates of the run axes, in any form ``xarray.Dataset`` takes, such as ``{"scale":
            scales}``.

        Returns
        -------
        xarray.Dataset
            A variable per observable (weights as ``weights_0``, ...), ``status`` and
            ``stopped_at``; coordinates ``step`` and ``time`` along the dimension ``step``, of a
            flow ``time`` along ``time``; the provenance as JSON in ``attrs``.

        Raises
        ------
        ImportError
            If xarray is not installed.
        ValueError
            If `dims` are not one free name per run axis, or `coords` do not fit.
        """
        return labelled.dataset(self, dims, coords)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        dims: Sequence[str] | None = None,
        coords: Mapping[Hashable, Any] | None = None,
    ) -> None:
        """Save everything to a file, whole or not at all: a failed save leaves an older file alone.

        Parameters
        ----------
        path : path-like
            Ends in ``.npz`` (NumPy) or ``.nc`` (netCDF-4 through xarray, which other programs
            read).
        dims, coords : optional
            Names and coordinates of the run axes in a ``.nc``, as for `to_xarray`; a ``.npz`` has
            none.

        Raises
        ------
        ValueError
            If the suffix is another, or `dims` or `coords` do not fit.
        ImportError
            If a ``.nc`` is asked for without xarray and netCDF4.
        OSError
            If the file cannot be written.
        """
        path = validate.path("path", path)
        arrays = {name: array for name, (_, array) in labelled.variables(self, ()).items()}
        arrays["time"] = self.time
        if self.steps is not None:
            arrays["step"] = self.steps
        arrays["n_steps"] = self.n_steps
        nouns: plain.Arrays = {}
        header = {
            "network": self.network.spec,
            "loss_function": plain.encode(self.loss_function, nouns),
            "method": plain.encode(self.method, nouns),
            "evaluated": {name: plain.encode(loss, nouns) for name, loss in self.evaluated.items()},
            **({"phases": plain.encode(self.phases, nouns)} if self.phases else {}),
            "arrays": list(nouns),  # of all nouns
            "observables": list(self.observables),
            "start": trajectory_file.state_parts("start", self.start, arrays),
            "final": trajectory_file.state_parts("final", self.final, arrays),
            "provenance": dict(self.provenance),
        }
        arrays |= {f"array_{digest}": array for digest, array in nouns.items()}
        trajectory_file.write(path, header, arrays, lambda: self.to_xarray(dims, coords))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Load what `save` wrote. Nothing in the file is executed.

        Parameters
        ----------
        path : path-like
            Ends in ``.npz`` or ``.nc``.

        Returns
        -------
        Trajectory

        Raises
        ------
        ValueError
            If the suffix is another, or the file is damaged, foreign, of a newer version, or much
            larger than its size on the disk.
        ImportError
            If it is a ``.nc`` and netCDF4 is not installed.
        OSError
            If the file cannot be opened, or is a pipe, a device or a folder.

        Notes
        -----
        What the file says of itself is checked before an array is read. It may be unpacked to 64 MiB
        or 100 times its size, whichever is more; a network that is far larger than its weights is
        refused.
        """
        return trajectory_file.read(validate.path("path", path), cls._assembled)

    @classmethod
    def _assembled(
        cls, header: Mapping[str, Any], array: Callable[[str], npt.NDArray[Any]]
    ) -> Trajectory:
        """Build a trajectory from the header of a file and its arrays; constructors check them."""
        network = parse(header["network"])
        nouns = {digest: array(f"array_{digest}") for digest in header["arrays"]}
        method = plain.decode("method", header["method"], nouns)
        validate.one_of("method", method, Method)
        start, final = (
            trajectory_file.state_whole(name, header[name], array, network, method)
            for name in ("start", "final")
        )
        if final.memory:
            method = method.remembering(len(final.memory[0]))
        observables: dict[str, Observable] = {}
        for name in header["observables"]:
            if name == "weights":
                observables[name] = tuple(array(f"weights_{i}") for i in range(network.n_arrays))
            else:
                observables[name] = array(name)
        return cls(
            network,
            plain.decode("loss", header["loss_function"], nouns),
            method,
            start,
            None if final.step is None else array("step"),
            array("time"),
            observables,
            final,
            header["provenance"],
            array("n_steps"),
            plain.decode("evaluate", header.get("evaluated", {}), nouns),
            plain.decode("phases", header.get("phases", []), nouns),
        )


def run_index(trajectory: Trajectory, run: object, *, single: bool = False) -> tuple[int, ...]:
    """Return `run` as an index of the leading run axes, checked.

    Parameters
    ----------
    trajectory : Trajectory
        Of which runs are chosen.
    run : int or tuple of int
        The index; negative ones count from the end.
    single : bool
        Whether all run axes have to be given.

    Raises
    ------
    TypeError
        If `run` is something else.
    IndexError
        If there are more indices than run axes (or fewer, of a single run), or no such run.
    """
    shape = validate.instance("trajectory", trajectory, Trajectory).run_shape
    return validate.run_index("run", run, shape, single=single)


def _names_of_its_own() -> set[str]:
    """Return the names that a trajectory has whatever was recorded."""
    return {*vars(Trajectory), *(field.name for field in fields(Trajectory))}
