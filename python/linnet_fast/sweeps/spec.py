"""A sweep as a value: which runs there are, by name, by number and by identity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import notebook, validate
from linnet_fast._base.validate import Shape
from linnet_fast.losses.registry import checked_problem
from linnet_fast.methods.batches import MOST_STREAMS
from linnet_fast.networks.named import Dense
from linnet_fast.sweeps.axes import Axis
from linnet_fast.sweeps.derived import Derived
from linnet_fast.training import plain
from linnet_fast.training.description import DATA_SEEDS, Training, seeds_of
from linnet_fast.training.trajectory import Trajectory

SEED = "seed"
"""Name of the dimension of replicates."""
SEEDS = (SEED, *DATA_SEEDS)
"""Dimensions over which pictures and tables take medians."""

_ROOTS = (
    "loss",
    "network",
    "start",
    "method",
    "n_steps",
    "until",
    "record",
    "stop",
    "dtype",
    "phases",
    *DATA_SEEDS,
)
NUMERICS = 4
"""Counts up with every change of the library that alters the bits of results."""

_MOST_RUNS = 2**48


@dataclass(frozen=True, eq=False, repr=False)
class SweepSpec:
    """The runs of a sweep. Make one by `grid`, `paired` or `sampled`.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    axes : mapping of str to Axis
        Name of the dimension -> axis. Dimensions that change the shape of networks, or anything
        else that cannot differ within one batch, come first.
    replicates : int or None
        Length of the dimension ``seed``; None for no such dimension.
    derived : tuple of Derived
        What to keep of each run besides records.
    rng : int
        Seed of all starts.
    common_seeds : bool
        Whether a seed is the same random stream wherever it appears, or each run has its own.
    keep_records : bool
        Whether the result has what `Training.record` names.
    """

    training: Training
    axes: Mapping[str, Axis]
    replicates: int | None
    derived: tuple[Derived, ...]
    rng: int
    common_seeds: bool
    keep_records: bool

    def __post_init__(self) -> None:
        """Check that all runs can be made, before any is."""
        validate.instance("training", self.training, Training)
        for name, axis in validate.mapping("axes", self.axes).items():
            validate.instance(f"axes[{name!r}]", axis, Axis)
        derived = validate.sequence("derived", self.derived, of="Derived")
        for i, one in enumerate(derived):
            validate.instance(f"derived[{i}]", one, Derived)
        object.__setattr__(self, "derived", derived)
        if self.replicates is not None:
            n = validate.integer("replicates", self.replicates, low=1, high=_MOST_RUNS)
            object.__setattr__(self, "replicates", n)
        rng = validate.integer("rng", self.rng, low=0, high=None)
        object.__setattr__(self, "rng", rng)
        for name in ("common_seeds", "keep_records"):
            object.__setattr__(self, name, validate.flag(name, getattr(self, name)))
        axes = dict(sorted(self.axes.items(), key=_place))
        object.__setattr__(self, "axes", axes)
        _check_paths(axes, self.training)
        _check_seeds(axes, self.training)
        if self.n_runs > _MOST_RUNS:
            msg = f"a sweep must have at most 2**48 runs, got {self.n_runs:,}"
            raise ValueError(msg)
        n_streams = (self.replicates or 1) if self.common_seeds else self.n_runs
        for group in self.groups:
            training = self.training_of(group)
            methods = [training.method, *(phase.method for phase in training.phases or ())]
            draws = any(m is not None and m.batches is not None for m in methods)
            if draws and n_streams > MOST_STREAMS:
                msg = (
                    f"stochastic gradient descent has 2**32 random streams, got {n_streams:,} runs"
                )
                raise ValueError(msg)

    def training_of(self, group: int) -> Training:
        """Return the training of a group with the numbers of its first run; refuse bad numbers."""
        training = self.training_at(self.first_of(group))
        for axis in self.axes.values():
            for column in axis.columns:
                if column.numbers is not None:
                    root, *path = column.path.split(".")
                    plain.replaced(root, getattr(training, root), path, column.numbers)
        return training

    def __repr__(self) -> str:
        """Show the sizes."""
        sizes = " x ".join(f"{n} {name}" for name, n in zip(self.dims, self.shape, strict=True))
        return f"<SweepSpec of {self.n_runs:,} runs{': ' + sizes if sizes else ''}>"

    def _repr_html_(self) -> str:
        training = self.training
        rows: dict[str, object] = {
            "network": repr(training.network),
            "loss": repr(training.loss),
            "start": repr(training.start),
            "method": repr(training.method),
        }
        for name, axis in self.axes.items():
            rows[f"axis {name}"] = (
                f"{len(axis)} values of {', '.join(c.path for c in axis.columns)}"
            )
        if self.replicates is not None:
            rows["replicates"] = self.replicates
        rows["derived"] = ", ".join(one.name for one in self.derived) or "nothing"
        return notebook.facts(f"SweepSpec of {self.n_runs:,} runs", rows)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return (*self.axes, *(() if self.replicates is None else (SEED,)))

    @property
    def shape(self) -> Shape:
        """Lengths of the dimensions."""
        lengths = tuple(len(axis) for axis in self.axes.values())
        return lengths if self.replicates is None else (*lengths, self.replicates)

    @cached_property
    def data_dims(self) -> frozenset[str]:
        """Names of the dimensions along which runs have other data."""
        recipe = self.training.loss.is_drawn

        def is_of_data(path: str) -> bool:
            return path in ("loss", "data_seed") or (recipe and path.startswith("loss."))

        paths = {name: [c.path for c in axis.columns] for name, axis in self.axes.items()}
        dims = {name for name, own in paths.items() if any(map(is_of_data, own))}
        tied = isinstance(self.training.data_seed, str) and not any(
            "data_seed" in own for own in paths.values()
        )
        if recipe and tied:  # to the seed
            dims |= {SEED} if self.common_seeds else set(self.dims)
        return frozenset(dims & set(self.dims))

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return math.prod(self.shape)

    # -- what runs can be trained together ---------------------------------------------------------

    @cached_property
    def _codes(self) -> tuple[npt.NDArray[np.int64], ...]:
        """For each axis: a number per label; labels with equal choices have equal ones."""
        result = []
        for axis in self.axes.values():
            table = np.stack([column.codes for column in axis.columns])
            result.append(np.unique(table, axis=1, return_inverse=True)[1].reshape(-1))
        return tuple(result)

    @cached_property
    def group_shape(self) -> Shape:
        """How many different choices each axis has; groups are numbered in C order of these."""
        return tuple(int(codes.max()) + 1 for codes in self._codes)

    def groups_of(self, indices: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.int64]:
        """Return the group of each of some runs, given by their index along every axis."""
        if not self.axes:
            return np.zeros(len(indices[0]) if indices else 1, np.int64)
        codes = [of_axis[index] for of_axis, index in zip(self._codes, indices, strict=False)]
        return np.ravel_multi_index(codes, self.group_shape)

    @property
    def groups(self) -> range:
        """Numbers of the groups: sets of runs that differ in numbers only."""
        return range(math.prod(self.group_shape))

    def group_sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of runs of each group."""
        sizes = np.ones(1, np.int64)
        for codes in self._codes:
            sizes = np.outer(sizes, np.bincount(codes)).ravel()
        return sizes * (self.replicates or 1)

    def first_of(self, group: int) -> tuple[int, ...]:
        """Return the index along each axis of the first run of a group."""
        codes = np.unravel_index(group, self.group_shape) if self.axes else ()
        return tuple(
            int(np.argmax(of_axis == code))
            for of_axis, code in zip(self._codes, codes, strict=True)
        )

    def training_at(self, indices: Sequence[int]) -> Training:
        """Return the training at an index along each axis."""
        indices = validate.integers("indices", indices, low=0, high=_MOST_RUNS)
        if len(indices) != len(self.axes):
            msg = f"indices must be {len(self.axes)}, one per axis, got {indices}"
            raise ValueError(msg)
        for i, (index, axis) in enumerate(zip(indices, self.axes.values(), strict=True)):
            validate.integer(f"indices[{i}]", index, low=0, high=len(axis) - 1)
        settings = {
            column.path: column.values[index]
            for axis, index in zip(self.axes.values(), indices, strict=True)
            for column in axis.columns
        }
        return apply(self.training, settings)

    def streams_of(self, indices: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.int64]:
        """Return the random stream of runs, given by their index along every dimension."""
        if self.common_seeds:
            if self.replicates is None:
                shapes = [index.shape for index in indices]
                return np.zeros(np.broadcast_shapes(*shapes) if shapes else 1, np.int64)
            return np.asarray(indices[-1], np.int64)
        if not indices:
            return np.zeros(1, np.int64)
        return np.asarray(np.ravel_multi_index(tuple(indices), self.shape), np.int64)

    # -- single runs -------------------------------------------------------------------------------

    def index(self, number: int) -> tuple[int, ...]:
        """Return where a run is along each dimension.

        Parameters
        ----------
        number : int
            0 to ``n_runs - 1``; runs are numbered in C order of `shape`.
        """
        number = validate.integer("number", number, low=0, high=self.n_runs - 1)
        return tuple(int(i) for i in np.unravel_index(number, self.shape)) if self.shape else ()

    def run(self, number: int, *, n_threads: int | None = None) -> Trajectory:
        """Train one run alone, with the records of `Training.record`.

        Parameters
        ----------
        number : int
            0 to ``n_runs - 1``, in C order of `shape`.
        n_threads : int, optional
            As of `train`.

        Returns
        -------
        Trajectory
            The same, bit for bit, as the sweep has it.
        """
        index, stream = self._at(number)
        training = self.training_at(index[: len(self.axes)])
        return training.train(rng=self.rng, stream=stream, n_threads=n_threads)

    def _at(self, number: int) -> tuple[tuple[int, ...], int]:
        index = self.index(number)
        stream = self.streams_of([np.array([i]) for i in index])
        return index, int(stream[0])

    def run_id(self, number: int) -> str:
        """Return the identity of a run: equal if and only if its results are.

        Parameters
        ----------
        number : int
            0 to ``n_runs - 1``, in C order of `shape`.

        Returns
        -------
        str
            SHA-256 of all that the results depend on, in hexadecimal: the training, its random
            stream, what is derived, and the version of the numerics.
        """
        index, stream = self._at(number)
        training = self.training_at(index[: len(self.axes)])
        data = {
            "numerics": NUMERICS,
            "training": encode_training(training),
            "rng": self.rng,
            "stream": stream,
            "derived": {d.name: d.identity for d in self.derived},
            "keep_records": self.keep_records,
        }
        return plain.digest(data)

    # -- identity of the whole ---------------------------------------------------------------------

    def encode(self, arrays: plain.Arrays | None = None) -> dict[str, Any]:
        """Return the spec as plain data, see `canonical`."""
        axes = [
            {
                "name": name,
                "labels": _encode_labels(axis, arrays),
                "values": {column.path: column.encoded(arrays) for column in axis.columns},
            }
            for name, axis in self.axes.items()
        ]
        return {
            "numerics": NUMERICS,
            "training": encode_training(self.training, arrays),
            "axes": axes,
            "replicates": self.replicates,
            "derived": [
                {
                    "name": d.name,
                    "function": d.identity,
                    "dims": None if d.dims is None else list(d.dims),
                }
                for d in self.derived
            ],
            "rng": self.rng,
            "common_seeds": self.common_seeds,
            # Where streams are numbered by the shape, other shapes are other runs.
            "shape": None if self.common_seeds else list(self.shape[1:]),
            "keep_records": self.keep_records,
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that the results depend on, in hexadecimal."""
        return plain.digest(self.encode())

    def cut(self, shape: Shape) -> SweepSpec:
        """Return the spec of the first ``shape`` labels along each dimension.

        Parameters
        ----------
        shape : tuple of int
            Lengths of the dimensions, from 1 up.
        """
        shape = validate.integers("shape", shape, low=1, high=_MOST_RUNS)
        if len(shape) != len(self.shape):
            msg = f"shape must have {len(self.shape)} lengths, one per dimension, got {shape}"
            raise ValueError(msg)
        for i, (n, most) in enumerate(zip(shape, self.shape, strict=True)):
            validate.integer(f"shape[{i}]", n, low=1, high=most)
        axes = {
            name: axis.cut(n) for (name, axis), n in zip(self.axes.items(), shape, strict=False)
        }
        replicates = None if self.replicates is None else shape[-1]
        return replace(self, axes=axes, replicates=replicates)


def decode(
    data: Mapping[str, Any],
    derived: tuple[Derived, ...],
    arrays: Mapping[str, npt.NDArray[Any]] | None = None,
) -> SweepSpec:
    """Return the spec that plain data stand for; functions are not among these."""
    parts = {key: plain.decode(key, value, arrays) for key, value in data["training"].items()}
    axes = {}
    for axis in data["axes"]:
        values = {
            path: _listed(column, arrays)
            if isinstance(column, Mapping)
            else [plain.decode(path, value, arrays) for value in column]
            for path, column in axis["values"].items()
        }
        labels = axis["labels"]
        if isinstance(labels, Mapping):
            labels = _listed(labels, arrays)
        axes[axis["name"]] = Axis(labels, values)
    return SweepSpec(
        training=Training(**parts),
        axes=axes,
        replicates=data["replicates"],
        derived=derived,
        rng=data["rng"],
        common_seeds=data["common_seeds"],
        keep_records=data["keep_records"],
    )


def _encode_labels(axis: Axis, arrays: plain.Arrays | None) -> Any:
    labels = np.asarray(axis.labels)
    return labels.tolist() if labels.dtype.kind == "U" else plain.encode(labels, arrays)


def _listed(data: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None) -> list[Any]:
    """Return the numbers of an array that is kept apart."""
    numbers: list[Any] = plain.decode("values", data, arrays).tolist()
    return numbers


def encode_training(training: Training, arrays: plain.Arrays | None = None) -> dict[str, Any]:
    """Return a training as plain data."""
    values = {field.name: getattr(training, field.name) for field in fields(training)}
    unsaid = training.unsaid
    return {
        name: plain.encode(value, arrays)
        for name, value in values.items()
        if name not in unsaid or value != unsaid[name]
    }


def apply(training: Training, settings: Mapping[str, Any]) -> Training:
    """Return a training with parameters replaced; outer ones before those inside them."""
    parts = {field.name: getattr(training, field.name) for field in fields(training)}
    by_root: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, value in settings.items():
        root, *rest = path.split(".")
        by_root.setdefault(root, {})[tuple(rest)] = value
    if "loss" in by_root:
        changes = by_root.pop("loss")
        parts["loss"] = loss = checked_problem(plain.replaced_all("loss", parts["loss"], changes))
        network = parts["network"]
        if () not in by_root.get("network", {}) and isinstance(network, Dense):
            # Data of other sizes change the ends of a dense network.
            widths = (loss.n_inputs, *network.widths[1:-1], loss.n_outputs)
            parts["network"] = network if widths == network.widths else Dense(widths)
    for root, changes in by_root.items():
        parts[root] = plain.replaced_all(root, parts[root], changes)
    return Training(**parts)


def _place(item: tuple[str, Axis]) -> int:
    """Return where an axis comes: first what changes the shape of networks, then numbers, then seeds."""
    name, axis = item
    if any(column.kind == "choices" for column in axis.columns):
        return 0
    return 2 if name in SEEDS else 1


def _check_paths(axes: Mapping[str, Axis], training: Training) -> None:
    """Refuse names that are unknown, taken, or given twice."""
    seen: set[str] = set()
    for name, axis in axes.items():
        if not name.isidentifier() or name in TAKEN:
            msg = (
                f"names of dimensions must be identifiers other than {', '.join(TAKEN)}, got "
                f"{name!r}: give an Axis under another name"
            )
            raise ValueError(msg)
        for column in axis.columns:
            root, *rest = column.path.split(".")
            validate.choice("parameter", root, _ROOTS)
            if column.path in seen:
                msg = f"each parameter must be varied once, got {column.path} twice"
                raise ValueError(msg)
            seen.add(column.path)
            outer = any(c.path == root for a in axes.values() for c in a.columns)
            if rest and not outer:
                plain.check_path(root, getattr(training, root), rest)


def _check_seeds(axes: Mapping[str, Axis], training: Training) -> None:
    """Refuse seeds that no data or batches have."""
    for axis in axes.values():
        for column in axis.columns:
            if column.path not in DATA_SEEDS:
                continue
            known: dict[str, Any] = dict.fromkeys(DATA_SEEDS, "seed")
            # They increase together, so that the ends say it of all.
            ends = [*column.values] if column.numbers is None else column.ends
            for value in ends:
                seeds_of(**known | {column.path: value})
                if column.path == "data_seed" and training.batch_seed == "data_seed":
                    seeds_of("seed", value)


TAKEN = (
    SEED,
    "step",
    "time",
    "record",
    "mode",
    "layer",
    "layer_pair",
    "in",
    "out",
    "status",
    "stopped_at",
)
