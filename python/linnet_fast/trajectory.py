"""The result of a training: records, final state, how each run ended; safe to save and load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast import _files, _validate
from linnet_fast._validate import FloatArray, Shape, WeightArray
from linnet_fast.architecture import Dense
from linnet_fast.record import MAX_STEP, OBSERVABLES

if TYPE_CHECKING:
    import xarray

Observable: TypeAlias = FloatArray | tuple[WeightArray, ...]

_FORMAT = "linnet_fast.Trajectory"
_SCHEMA_VERSION = 1
_HEADER = "linnet_fast"  # the entry of a file that describes the others, as JSON


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


class DivergenceError(RuntimeError):
    """Raised by `Trajectory.raise_for_status` if a run diverged."""


@dataclass(frozen=True, eq=False)
class State:
    """Where a training stands: give it to `train` in place of the start weights to continue.

    A continued training equals one longer training. Runs that converged or diverged stay ended.

    Parameters
    ----------
    weights : tuple of ndarray, shapes (*run, widths[l + 1], widths[l])
        All float64 or all float32.
    step : int
        Steps since the very start, those of runs that ended before included.
    status : ndarray of int8, shape (*run)
        A `Status` per run.
    stopped_at : ndarray of int64, shape (*run)
        Last step of each run: `step` where completed, else the step at which it converged, or the
        first at which its weights were not finite.

    Raises
    ------
    TypeError
        If `step` is not an integer.
    ValueError
        If shapes, dtypes or values do not fit together.
    """

    weights: tuple[WeightArray, ...]
    step: int
    status: npt.NDArray[np.int8]
    stopped_at: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        object.__setattr__(self, "weights", tuple(self.weights))
        object.__setattr__(self, "step", _validate.integer("step", self.step, low=0, high=MAX_STEP))
        if not self.weights:
            msg = "weights must have one array per layer, got none"
            raise ValueError(msg)
        dtype = _validate.float_dtype("dtype of weights", self.weights[0].dtype)
        runs = self.weights[0].shape[:-2]
        for layer, array in enumerate(self.weights):
            _validate.exact(f"weights[{layer}]", array, (*runs, *array.shape[-2:]), dtype)
        _validate.exact("status", self.status, runs, np.int8)
        _validate.exact("stopped_at", self.stopped_at, runs, np.int64)
        if not np.isin(self.status, list(Status)).all():
            msg = f"status must be made of {[int(s) for s in Status]}, got {self.status.tolist()}"
            raise ValueError(msg)
        going = np.equal(self.status, Status.COMPLETED)
        for layer, array in enumerate(self.weights):
            if not (np.isfinite(array).all(axis=(-2, -1)) | ~going).all():
                msg = f"weights[{layer}] must be finite in runs that go on, got inf or NaN"
                raise ValueError(msg)
        if ((self.stopped_at < 0) | (self.stopped_at > self.step)).any():
            msg = f"stopped_at must lie within 0 ... {self.step}, got {self.stopped_at.tolist()}"
            raise ValueError(msg)

    def check_network(self, network: Dense) -> None:
        """Raise ValueError unless the weights have the shapes of `network`.

        Parameters
        ----------
        network : Dense
            The network to continue with.

        Raises
        ------
        ValueError
            If the number of layers or the shape of one differs.
        """
        got = tuple(array.shape[-2:] for array in self.weights)
        if got != network.shapes:
            msg = f"state must have layers of shapes {network.shapes}, got {got}"
            raise ValueError(msg)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """What a training recorded, and how it ended.

    Made by `train`. Records of a run after its end are NaN.

    Parameters
    ----------
    network : Dense
        What was trained.
    steps : ndarray of int64, shape (n_rec,)
        Steps recorded, counted from the very start.
    time : ndarray of float64, shape (*step_size.shape, n_rec)
        ``step_size * steps``; broadcasts against the run axes.
    observables : mapping of str to ndarray, shape (*run, n_rec, ...)
        What was recorded, by name; ``weights`` are a tuple of one array per layer. Each is an
        attribute, too.
    final : State
        Weights and status at the end; `train` continues from it.
    provenance : mapping
        Versions, platform and parameters. Kept as what JSON can hold: arrays become lists.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import reference
    >>> from linnet_fast.loss import SquaredLoss
    >>> from linnet_fast.method import GradientDescent
    >>> from linnet_fast.record import Record
    >>> loss = SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> run = reference.train(Dense((1, 1)), loss, (np.zeros((1, 1)),),
    ...                       method=GradientDescent(0.5), n_steps=2, record=Record.every(1))
    >>> run.steps.tolist(), run.time.tolist(), run.loss.tolist()
    ([0, 1, 2], [0.0, 0.5, 1.0], [2.0, 0.5, 0.125])
    >>> run.message
    '1 run: 1 completed'
    """

    network: Dense
    steps: npt.NDArray[np.int64]
    time: FloatArray
    observables: Mapping[str, Observable]
    final: State
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        self.final.check_network(self.network)
        runs, records = self.run_shape, self.steps.shape[:1]
        _validate.exact("steps", self.steps, records, np.int64)
        if (np.diff(self.steps) <= 0).any():
            msg = f"steps must be strictly increasing, got {self.steps.tolist()}"
            raise ValueError(msg)
        _validate.exact("time", self.time, (*self.time.shape[:-1], *records), np.float64)
        _validate.fits_batch("time", self.time.shape[:-1], runs)
        for name, array in self.observables.items():
            _validate.choice("observables", name, OBSERVABLES)
            lead, shape = (*runs, *records), OBSERVABLES[name](self.network)
            if name == "weights":
                if len(array) != self.network.n_layers:
                    msg = f"weights must have {self.network.n_layers} arrays, got {len(array)}"
                    raise ValueError(msg)
                for layer, (part, inner) in enumerate(zip(array, self.network.shapes, strict=True)):
                    _validate.exact(
                        f"weights[{layer}]", part, (*lead, *inner), self.final.weights[0].dtype
                    )
            else:
                _validate.exact(name, np.asarray(array), (*lead, *shape), np.float64)
        object.__setattr__(self, "observables", MappingProxyType(dict(self.observables)))
        provenance = _files.json_safe(self.provenance)
        object.__setattr__(self, "provenance", MappingProxyType(provenance))

    def __reduce__(self) -> tuple[Any, ...]:
        """Support copy and pickle, which read-only mappings do not."""
        parts = dict(self.observables), self.final, dict(self.provenance)
        return Trajectory, (self.network, self.steps, self.time, *parts)

    def __repr__(self) -> str:
        """Show sizes and the outcome."""
        names = ", ".join(self.observables)
        return f"<Trajectory of {self.message}; {self.steps.size} records of {names}>"

    def _observable(self, name: str) -> Any:
        if name not in self.observables:
            listed = ", ".join(self.observables) or "nothing"
            msg = f"{name} was not recorded, only {listed}; name it in Record's observables"
            raise AttributeError(msg)
        return self.observables[name]

    @property
    def loss(self) -> FloatArray:
        """Loss without weight decay, shape (*run, n_rec)."""
        return self._observable("loss")  # type: ignore[no-any-return]

    @property
    def singular_values(self) -> FloatArray:
        """Singular values of the product, descending, shape (*run, n_rec, min(in, out))."""
        return self._observable("singular_values")  # type: ignore[no-any-return]

    @property
    def product(self) -> FloatArray:
        """End-to-end matrix, shape (*run, n_rec, out, in)."""
        return self._observable("product")  # type: ignore[no-any-return]

    @property
    def weights(self) -> tuple[WeightArray, ...]:
        """Weights of each layer, shapes (*run, n_rec, widths[l + 1], widths[l])."""
        return self._observable("weights")  # type: ignore[no-any-return]

    @property
    def layer_norms(self) -> FloatArray:
        """Frobenius norm of each layer, shape (*run, n_rec, n_layers)."""
        return self._observable("layer_norms")  # type: ignore[no-any-return]

    @property
    def imbalance(self) -> FloatArray:
        """Frobenius norms of W_{l+1}^T W_{l+1} - W_l W_l^T, shape (*run, n_rec, n_layers - 1)."""
        return self._observable("imbalance")  # type: ignore[no-any-return]

    @property
    def gradient_norm(self) -> FloatArray:
        """Norm of the gradient of the objective, weight decay included, shape (*run, n_rec)."""
        return self._observable("gradient_norm")  # type: ignore[no-any-return]

    @property
    def run_shape(self) -> Shape:
        """Shape of the run axes; () for a single run."""
        return self.final.status.shape

    @property
    def status(self) -> npt.NDArray[np.int8]:
        """A `Status` per run, shape (*run)."""
        return self.final.status

    @property
    def stopped_at(self) -> npt.NDArray[np.int64]:
        """Last step of each run, shape (*run); see `State`."""
        return self.final.stopped_at

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Whether each run did not diverge, shape (*run)."""
        return np.asarray(self.status != Status.DIVERGED)

    @property
    def message(self) -> str:
        """One line on how the runs ended."""
        n_runs = self.status.size
        parts = []
        for status in Status:
            which = np.argwhere(self.status == status)
            if len(which) > 0:
                parts.append(f"{len(which)} {status.name.lower()}")
        if not self.ok.all():
            first = tuple(int(i) for i in which[0])
            where = f"first: run {first} at" if first else "at"
            parts[-1] += f" ({where} step {self.stopped_at[first]})"
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
            ``stopped_at``; coordinates ``step`` and ``time``; the provenance as JSON in ``attrs``.

        Raises
        ------
        ImportError
            If xarray is not installed.
        ValueError
            If `dims` are not one free name per run axis, or `coords` do not fit.
        """
        xr = _files.optional("xarray", "xarray")
        run_ndim = len(self.run_shape)
        names = tuple(f"run_{i}" for i in range(run_ndim)) if dims is None else tuple(dims)
        if isinstance(dims, str) or len(names) != run_ndim or len(set(names)) != run_ndim:
            msg = f"dims must be {run_ndim} different names, one per run axis, got {dims!r}"
            raise ValueError(msg)
        variables = self._labelled(names)
        inner = {dim for own, _ in variables.values() for dim in own[run_ndim:]}
        if clash := set(names) & (inner | set(variables) | {"step", "time"}):
            msg = f"dims must not be names the result uses itself, got {', '.join(sorted(clash))}"
            raise ValueError(msg)
        if clash := {"step", "time"} & set(coords or {}):
            msg = f"coords must name run axes, got {', '.join(sorted(clash))}"
            raise ValueError(msg)
        # A step size that is the same along a run axis gives a time without that axis.
        lead = (1,) * (run_ndim + 1 - self.time.ndim) + self.time.shape[:-1]
        time_dims = [name for name, size in zip(names, lead, strict=True) if size > 1]
        time = self.time.reshape(*(size for size in lead if size > 1), self.steps.size)
        own_coords: dict[Hashable, Any] = {
            "step": ("step", self.steps),
            "time": ((*time_dims, "step"), time),
        }
        attrs = {"widths": list(self.network.widths), "provenance": _files.to_json(self.provenance)}
        data: xarray.Dataset = xr.Dataset(variables, dict(coords or {}) | own_coords, attrs)
        data["status"].attrs = {
            "flag_values": np.array(list(Status), dtype=np.int8),
            "flag_meanings": " ".join(status.name.lower() for status in Status),
        }
        return data

    def _labelled(self, names: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return dims and array of each variable, by name."""
        hidden = (f"hidden_{i}" for i in range(1, self.network.n_layers))
        units = ("in", *hidden, "out")
        inner: dict[str, tuple[str, ...]] = {
            "singular_values": ("mode",),
            "product": ("out", "in"),
            "layer_norms": ("layer",),
            "imbalance": ("layer_pair",),
        }
        lead = (*names, "step")
        variables: dict[str, tuple[tuple[str, ...], Any]] = {}
        for name, array in self.observables.items():
            if name == "weights":
                for i, part in enumerate(array):
                    variables[f"weights_{i}"] = ((*lead, units[i + 1], units[i]), part)
            else:
                variables[name] = ((*lead, *inner.get(name, ())), array)
        variables["status"] = (names, self.status)
        variables["stopped_at"] = (names, self.stopped_at)
        return variables

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
        target = _supported(path)
        header = {
            "format": _FORMAT,
            "schema_version": _SCHEMA_VERSION,
            "widths": self.network.widths,
            "observables": list(self.observables),
            "step": self.final.step,
            "time_shape": self.time.shape,
            "provenance": dict(self.provenance),
        }
        final = {f"final_weights_{i}": array for i, array in enumerate(self.final.weights)}
        with _files.replaced(target) as temporary:
            if target.suffix == ".npz":
                arrays = {name: array for name, (_, array) in self._labelled(()).items()}
                arrays |= {"step": self.steps, "time": self.time, **final}
                arrays[_HEADER] = np.frombuffer(_files.to_json(header).encode(), dtype=np.uint8)
                with temporary.open("xb") as file:
                    np.savez(file, **arrays)
            else:
                _files.optional("netCDF4", "xarray")
                data = self.to_xarray(dims, coords)
                for i, (name, array) in enumerate(final.items()):
                    runs = data["status"].dims
                    data[name] = ((*runs, f"unit_{i + 1}", f"unit_{i}"), array)
                data.attrs[_HEADER] = _files.to_json(header)
                data.to_netcdf(temporary, engine="netcdf4", format="NETCDF4")

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
            If the suffix is another, or the file is damaged, foreign or of a newer version.
        ImportError
            If it is a ``.nc`` and xarray or netCDF4 is not installed.
        OSError
            If the file cannot be opened.
        """
        source = _supported(path)
        with source.open("rb"):  # a missing file is an OSError, not a damaged file
            pass
        if source.suffix == ".nc":
            _files.optional("netCDF4", "xarray")
            _files.optional("xarray", "xarray")
        try:
            return _read_npz(source) if source.suffix == ".npz" else _read_nc(source)
        except Exception as error:
            # A damaged file fails in any of the ways of zipfile, zlib, HDF5, json and the checks
            # above.
            msg = f"{source} is not a readable linnet_fast result: {type(error).__name__}: {error}"
            raise ValueError(msg) from error


def _supported(path: str | os.PathLike[str]) -> Path:
    result = Path(path)
    if result.suffix not in (".npz", ".nc"):
        msg = f"path must end in .npz or .nc, got {str(result)!r}"
        raise ValueError(msg)
    return result


def _read_npz(path: Path) -> Trajectory:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return _assemble(archive[_HEADER].tobytes().decode(), archive.__getitem__)


def _read_nc(path: Path) -> Trajectory:
    data = _files.optional("xarray", "xarray").load_dataset(path, engine="netcdf4", decode_cf=False)
    return _assemble(data.attrs[_HEADER], lambda name: data[name].values)


def _assemble(text: str, array: Callable[[str], npt.NDArray[Any]]) -> Trajectory:
    """Build a trajectory from the header of a file and its arrays; the constructors check them."""
    header = json.loads(text)
    if header["format"] != _FORMAT or header["schema_version"] != _SCHEMA_VERSION:
        found = f"{header['format']} {header['schema_version']}"
        msg = f"expected {_FORMAT} of schema_version {_SCHEMA_VERSION}, got {found}"
        raise ValueError(msg)
    network = Dense(header["widths"])
    layers = range(network.n_layers)
    final = State(
        tuple(array(f"final_weights_{i}") for i in layers),
        header["step"],
        array("status"),
        array("stopped_at"),
    )
    observables: dict[str, Observable] = {
        name: tuple(array(f"weights_{i}") for i in layers) if name == "weights" else array(name)
        for name in header["observables"]
    }
    time = array("time").reshape(header["time_shape"])
    return Trajectory(network, array("step"), time, observables, final, header["provenance"])
