"""The values of a sweep's runs, by the names and dims of its dataset alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.sweeps.spec import SEEDS
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

RECORDS = ("step", "time")
"""Dims along a training."""

ROUNDING = 1e-12
"""Relative difference of numbers meant to be equal."""

_MAX_LISTED = 12  # labels in a message


class Sweep:
    """The names in the dataset of a sweep, and what they can be used for."""

    def __init__(self, data: Dataset) -> None:
        dataset = files.optional("xarray", "xarray").Dataset
        self.data: Dataset = validate.instance("data", data, dataset)
        if "status" not in data.data_vars:
            names = ", ".join(map(str, data.data_vars)) or "no variables"
            msg = f"data must have the variable status, as a sweep has, got {names}"
            raise ValueError(msg)
        self.swept = tuple(map(str, data["status"].dims))

    @property
    def variables(self) -> dict[str, tuple[str, ...]]:
        """The dims of each variable of numbers but the status."""
        return {
            str(name): tuple(map(str, variable.dims))
            for name, variable in self.data.data_vars.items()
            if variable.dtype.kind in "iufb" and name != "status"
        }

    def variable(self, of: str | None, along: Sequence[str | None]) -> str:
        """Return the name of a variable of numbers, by default over all of `along`."""
        variables = self.variables
        if of is not None:
            return validate.choice("of", of, variables)
        inner = {self._dim(name) for name in along} - {None, *self.swept}
        found = [
            name
            for name, dims in variables.items()
            if (set(dims) - set(self.swept) == inner if inner else name != "stopped_at")
            and (inner or (dims and set(dims) <= set(self.swept)))
        ]
        if not found:
            names = ", ".join(variables)
            over = " and ".join(map(str, inner)) or "swept parameters alone"
            msg = f"of must be given, for no variable is over {over}; one of {names}"
            raise ValueError(msg)
        return next((name for name in ("final_loss", "loss") if name in found), found[0])

    def _dim(self, name: object) -> str | None:
        """Return the dim that a name runs along, if it does along one."""
        if not isinstance(name, str):
            return None
        if name in self.data.dims:
            return name
        dims = self.data[name].dims if name in self.data.coords else ()
        return str(dims[0]) if len(dims) == 1 else None

    def parameters(self, of: str) -> dict[str, str]:
        """Return the dims that each parameter and other dim of a variable runs along."""
        dims = dict.fromkeys((*self.swept, *map(str, self.data[of].dims)))
        along = {
            str(name): str(coord.dims[0])
            for name, coord in self.data.coords.items()
            if coord.ndim == 1 and coord.dims[0] in dims
        }
        return {dim: dim for dim in dims} | along

    def fixed(
        self, of: str, select: Mapping[str, object] | None, drawn: Mapping[str, str | None]
    ) -> dict[str, object]:
        """Return `select`, it and the names of the drawn parameters checked."""
        known = self.parameters(of)
        chosen = {} if select is None else validate.instance("select", select, Mapping)  # type: ignore[type-abstract]
        for key, label in chosen.items():
            _found(self.data, validate.choice("select", key, known), label)
        for argument, name in drawn.items():
            if name is not None:
                validate.choice(argument, name, known)
                if name in chosen:
                    msg = f"{argument} must not be fixed by select, got {name!r} in both"
                    raise ValueError(msg)
        return dict(chosen)

    def free(self, taken: Sequence[str | None] | Mapping[str, object]) -> list[str]:
        """Return the parameters that are not taken, seeds left out; one for each dim of a grid."""
        names = []
        for dim in self.swept:
            if dim in SEEDS or dim in taken:
                continue
            if along := together(self.data, dim):
                names += [name for name in along if name not in taken]
            elif all(self._dim(name) != dim for name in taken):
                names.append(dim)
        return names

    def most_valued(self, n: int, taken: Sequence[str | None]) -> list[str]:
        """Return the free parameters of the most values, in the order of the dataset."""
        names = self.free(taken)
        most = sorted(names, key=lambda name: -n_values(self.data, name))[:n]
        return [name for name in names if name in most]

    def loose(self, of: str, taken: Sequence[str | None]) -> list[str]:
        """Return the dims of a variable that are not swept, and neither drawn nor fixed."""
        parameters = self.parameters(of)
        held = {parameters[name] for name in taken if name is not None}
        return [str(dim) for dim in self.data[of].dims if dim not in self.swept and dim not in held]

    def refuse_loose(self, of: str, taken: Sequence[str | None]) -> None:
        """Refuse parameters that are neither shown nor fixed."""
        for dim in self.loose(of, taken):
            msg = f"select must fix {dim!r} of {of}, one of {_listed(self.data[dim].to_numpy())}"
            raise ValueError(msg)

    def runs(self, of: str, fixed: Mapping[str, object]) -> Runs:
        """Return the values of a variable for the parameters that are fixed."""
        data = self.data[list(dict.fromkeys((of, "status")))]
        parameters = self.parameters(of)
        for name in sorted(fixed, key=lambda name: parameters[name] not in self.swept):
            if parameters[name] in RECORDS:
                data = _held(data, of)  # before one of the records is picked
            data = data.isel({parameters[name]: _found(data, name, fixed[name])})
        return Runs(_held(data, of), of)


class Runs:
    """Values and status of runs, both over all dims."""

    def __init__(self, data: Dataset, of: str) -> None:
        self.data = data
        self.of = of
        status = data["status"].broadcast_like(data[of])
        values = data[of].broadcast_like(status).transpose(*status.dims)
        self.status: DataArray = status.astype(np.float64)
        gone = ~(self.status >= 0) | (self.status == Status.DIVERGED)
        self.values: DataArray = values.astype(np.float64).where(~gone)
        self.label = readable(data, of)

    def only(self, dim: str, index: npt.NDArray[np.int_]) -> Runs:
        """Return the runs at some places along a dimension."""
        return Runs(self.data.isel({dim: index}), self.of)


def _held(data: Dataset, of: str) -> Dataset:
    """Return the data with the last record of each converged run repeated to the end."""
    found = [dim for dim in data[of].dims if dim in RECORDS]
    if not found:
        return data
    values = data[of].astype(np.float64).transpose(..., found[0])
    held = values.copy(data=held_on(values.to_numpy()))
    return data.assign({of: values.where(data["status"] != Status.CONVERGED, held)})


def held_on(array: FloatArray) -> FloatArray:
    """Return an array with NaN replaced by what is before along the last axis, if anything is."""
    there = np.where(np.isnan(array), 0, np.arange(array.shape[-1]))
    return np.take_along_axis(array, np.maximum.accumulate(there, axis=-1), axis=-1)


def _found(data: Dataset, name: str, label: object) -> npt.NDArray[np.intp]:
    """Return where a parameter has a value."""
    if not isinstance(label, (str, bool, int, float, np.generic)):
        msg = f"select[{name!r}] must be a number or a string, got {type(label).__name__}"
        raise TypeError(msg)
    labels = data[name].to_numpy()
    same = matches(labels, label)
    if not same.any():
        got = label.item() if isinstance(label, np.generic) else label
        msg = f"select[{name!r}] must be one of {_listed(labels)}; got {got!r}"
        raise ValueError(msg)
    return np.flatnonzero(same)


def matches(
    labels: npt.NDArray[Any], value: object, rtol: float = ROUNDING
) -> npt.NDArray[np.bool_]:
    """Return which labels are a value; numbers are if none equals it, but these nearly do."""
    same = np.array([bool(label == value) for label in labels.tolist()], bool)
    number = isinstance(value, (int, float, np.number))
    if same.any() or not number or labels.dtype.kind != "f":
        return same
    return np.asarray(np.abs(labels - value) <= rtol * np.abs(labels))


def _listed(labels: npt.NDArray[Any]) -> str:
    """Return different values as text, the middle of many left out."""
    texts = list(dict.fromkeys(map(repr, labels.tolist())))
    if len(texts) > _MAX_LISTED:
        texts[_MAX_LISTED // 2 : -_MAX_LISTED // 2] = ["..."]
    return ", ".join(texts)


def together(data: Dataset, dim: str) -> list[str]:
    """Return the parameters that vary together along a dim with no meaning of its own, else none."""
    if dim != "run" and dim in data.coords:
        return []
    coords = data.coords.items()
    return [str(name) for name, coord in coords if coord.dims == (dim,) and name != dim]


def n_values(data: Dataset, name: str) -> int:
    """Return how many different values a parameter has."""
    return len(set(data[name].to_numpy().tolist()))


def readable(data: Dataset, name: str) -> str:
    """Return what to call a parameter or a variable in a picture."""
    return str(data[name].attrs.get("long_name") or _words(name))


def with_names(data: Dataset) -> Dataset:
    """Return a result whose arrays say what they are, where they are drawn: ``data.final_loss.plot()``."""
    for name, array in data.variables.items():
        array.attrs.setdefault("long_name", _words(str(name)))
    return data


def _words(name: str) -> str:
    return ("number of " + name[2:] if name.startswith("n_") else name).replace("_", " ")
