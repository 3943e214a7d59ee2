"""The objects of a sweep's training, made of the tables of a file: loss, network, start, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnet_fast import datasets
from linnet_fast._base import validate
from linnet_fast._base.value import arguments
from linnet_fast.datasets.kinds import Data
from linnet_fast.losses.base import Loss
from linnet_fast.losses.problem import Problem
from linnet_fast.losses.registry import LOSSES
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual
from linnet_fast.records.record import Record
from linnet_fast.sweeps.file.toml import Table, as_table, as_text, listed, refuse_unknown, shown
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training import plain
from linnet_fast.training.description import DATA_SEEDS, Training
from linnet_fast.training.phase import Phase

OBJECTS = ("loss", "network", "start", "method", "record", "stop")
SCALARS = ("n_steps", "until", "dtype", "reduce", *DATA_SEEDS)
PHASES = "phases"
"""Name of the tables of phases, of which there are several."""

NEEDED = ("network", "start", "method")
"""Tables that have to be there besides that of the loss, be they empty."""

_NETWORKS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Dense, Diagonal, Convolution, Residual, Grouped)
}
_DATA = ("data", *dict.fromkeys(name for names in datasets.OPTIONS.values() for name in names))
_OTHER_FILES = ("targets_file", "labels_from")
_SCHEDULES: Mapping[str, Callable[..., Record]] = {
    "geomspace": Record.geomspace,
    "every": Record.every,
    "at": Record.at,
    "at_times": Record.at_times,
}
_EVALUATE = "record.evaluate."
_READABLE = (".npz", ".npy", ".csv")


def parameters_of(root: str) -> tuple[str, ...]:
    """Return what can be varied inside an object, of whatever kind."""
    kinds = tuple(_NETWORKS.values()) if root == "network" else plain.kinds(root)
    more = {"loss": (*_DATA, *_options()), "network": ("hidden", "n_layers")}.get(root, ())
    return tuple(dict.fromkeys((*(n for kind in kinds for n in arguments(kind)), *more)))


def is_of_data(name: str) -> bool:
    """Whether a parameter is no argument of the loss, but of what makes it."""
    return name.startswith("loss.") and name[5:] in (*_DATA, *_options())


def _options() -> tuple[str, ...]:
    """Return what else losses are made with from data, and are not told directly."""
    names = {
        name
        for kind in LOSSES.values()
        for name in kind.dataset_options
        if name not in arguments(kind)
    }
    return tuple(sorted(names))


class Objects:
    """Makes objects of the tables of a file.

    Parameters
    ----------
    tree : dict
        All tables.
    folder : Path
        That of the file, to which files of data are relative.
    """

    def __init__(self, tree: Table, folder: Path) -> None:
        self._tree = tree
        self._folder = folder
        self._loaded: dict[str, Data] = {}
        self._ends = (0, 0)  # numbers of inputs and outputs, once the loss is known
        self.data: dict[str, None] = {}
        """Lines on the data, in order."""

    def training(self) -> Training:
        """Return what all runs have in common."""
        tree = self._tree
        missing = [name for name in ("loss", *NEEDED) if name not in tree]
        if PHASES in tree:
            missing = [name for name in missing if name != "method"]
        elif not {"n_steps", "until"} & set(tree):
            missing.append("n_steps (or until, for a flow), or phases")
        if missing:
            msg = f"it must have {', '.join(missing)}; got {', '.join(tree)}"
            raise ValueError(msg)
        loss = self._loss(as_table("loss", tree["loss"]))
        self._ends = loss.n_inputs, loss.n_outputs
        parts = {name: self.made(name, tree[name], name) for name in OBJECTS[1:] if name in tree}
        if PHASES in tree:
            parts[PHASES] = self._phases(tree[PHASES])
        return Training(loss=loss, **parts, **{n: tree[n] for n in SCALARS if n in tree})

    def _phases(self, tables: Any) -> tuple[Phase, ...]:
        if not isinstance(tables, list):
            msg = f"phases must be tables [[phases]], got {shown(tables)}"
            raise TypeError(msg)
        found = []
        for i, table in enumerate(tables):
            where = f"{PHASES}[{i}]"
            parts = dict(as_table(where, table))
            refuse_unknown(where, parts, arguments(Phase))
            table_of_loss = parts.pop("loss", None)
            phase: Phase = _decode(where, parts)
            if table_of_loss is not None:
                made = self._loss(as_table(f"{where}.loss", table_of_loss), f"{where}.loss")
                phase = replace(phase, loss=made)
            found.append(phase)
        return tuple(found)

    def made(self, name: str, value: Any, where: str | None = None) -> Any:
        """Return what a value of a parameter stands for."""
        if name in OBJECTS and not (name == "network" and isinstance(value, str)):
            as_table(where or f"values of {name}", value)
        if isinstance(value, dict):
            if name == "loss":
                return self._loss(value)
            if name.startswith(_EVALUATE):
                return self._evaluated(name, value)
            if name == "network":
                return self._network(value)
            if name == "record":
                return self._record(value)
        return _decode(name, value)

    def losses(self, varied: Mapping[str, list[Any]]) -> list[Problem]:
        """Return a loss for each of equally many values of what makes it."""
        table = as_table("loss", self._tree["loss"])
        names = [name[5:] for name in varied]
        return [
            self._loss(table | dict(zip(names, values, strict=True)))
            for values in zip(*varied.values(), strict=True)
        ]

    def _evaluated(self, name: str, value: Any) -> Problem | str:
        """Return a loss that is evaluated, by default of the kind of that of the training."""
        if isinstance(value, str):
            return value
        table = as_table(name, value)
        of_training = as_table("loss", self._tree["loss"]).get("kind", "SquaredLoss")
        return self._loss({"kind": of_training, **table}, name)

    def _loss(self, table: Table, where: str = "loss") -> Problem:
        chosen = validate.choice(
            f"{where}.kind", table.get("kind", "SquaredLoss"), (*LOSSES, *Teacher.kinds)
        )
        if chosen in Teacher.kinds:
            teacher: Teacher = _decode(where, table)
            self._tell(where, repr(teacher))
            return teacher
        return self._loss_of(LOSSES[chosen], table, where)

    def _loss_of(self, kind: type[Loss], table: Table, where: str) -> Loss:
        fields = arguments(kind)
        more = tuple(name for name in kind.dataset_options if name not in fields)
        options: tuple[str, ...] = ()
        if kind.data_kind is not None:
            options = ("data", *datasets.OPTIONS[kind.data_kind], *more)
        refuse_unknown(where, table, ("kind", *options, *fields))
        if "data" not in table:
            extra = [key for key in table if key in options]
            if extra:
                msg = f"{where} must have data for {', '.join(extra)}, got {', '.join(table)}"
                raise ValueError(msg)
            if options and not set(table) & set(fields):
                msg = f"{where} must have data (or {', '.join(fields)}), got {listed(table)}"
                raise ValueError(msg)
            loss: Loss = _decode(where, table)
            self._tell(where, repr(loss))
            return loss
        extra = [key for key in table if key in fields and key not in kind.dataset_options]
        if extra:
            msg = f"{where} must have either data or {', '.join(extra)}, got both"
            raise ValueError(msg)
        chosen = {key: table[key] for key in kind.dataset_options if key in table}
        data = self._dataset(kind.data_kind or "", table, where)
        made, line = kind.from_dataset(data, **chosen)
        self._tell(where, line)
        return made

    def _tell(self, where: str, line: str) -> None:
        self.data[f"{where.removeprefix(_EVALUATE)}: {line}" if where != "loss" else line] = None

    def _dataset(self, kind: str, table: Table, where: str) -> Data:
        for key in ("data", *_OTHER_FILES, "targets"):
            as_text(f"{where}.{key}", table.get(key, ""))
        validate.instance(f"{where}.standardize", table.get("standardize", False), bool)
        options = {key: table[key] for key in _DATA if key in table}
        key = repr((kind, options))
        if key not in self._loaded:
            source = options.pop("data")
            if source not in datasets.NAMES and Path(source).suffix in _READABLE:
                source = self._folder / source
            for name in _OTHER_FILES:
                if name in options and Path(options[name]).suffix in _READABLE:
                    options[name] = self._folder / options[name]
            self._loaded[key] = datasets.LOADERS[kind](source, **options)
        return self._loaded[key]

    def _network(self, table: Table) -> Chain:
        kind = _NETWORKS[
            validate.choice("network.kind", table.get("kind", "Dense"), list(_NETWORKS))
        ]
        known = arguments(kind)
        settings = {key: value for key, value in table.items() if key != "kind"}
        if kind is not Dense:
            refuse_unknown("network", settings, known)
            if "width" in known:
                settings.setdefault("width", self._ends[0])
            network: Chain = plain.call("network", kind, settings)
            return network
        refuse_unknown("network", settings, ("kind", *known, "hidden", "n_layers"))
        if "widths" in settings:
            if len(settings) > 1:
                msg = "network must have either widths or hidden and n_layers, got both"
                raise ValueError(msg)
            return Dense(settings["widths"])
        if settings.get("n_layers") == 1:
            settings.setdefault("hidden", 1)
        missing = [key for key in ("hidden", "n_layers") if key not in settings]
        if missing:
            msg = f"network must have {' and '.join(missing)}, or widths; got {listed(table)}"
            raise ValueError(msg)
        return Dense(plain.dense_widths(*self._ends, settings["hidden"], settings["n_layers"]))

    def _record(self, table: Table) -> Record:
        refuse_unknown("record", table, (*_SCHEDULES, "observables", "direction", "evaluate"))
        schedules = [key for key in _SCHEDULES if key in table]
        if len(schedules) != 1:
            got = " and ".join(schedules) or "none"
            msg = f"record must have one of {', '.join(_SCHEDULES)}, got {got}"
            raise ValueError(msg)
        options: dict[str, Any] = {
            key: table[key] for key in ("observables", "direction") if key in table
        }
        if "evaluate" in table:
            losses = as_table("record.evaluate", table["evaluate"])
            options["evaluate"] = {
                name: self._evaluated(f"{_EVALUATE}{name}", loss) for name, loss in losses.items()
            }
        return _SCHEDULES[schedules[0]](table[schedules[0]], **options)


def _decode(name: str, value: Any) -> Any:
    """Return what plain data stand for; arrays are never kept apart in a file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_digests(f"{name}.{key}", inner)
    return plain.decode(name, value)


def _refuse_digests(name: str, value: Any) -> None:
    if isinstance(value, dict):
        if set(value) in ({"array"}, {"float"}):
            msg = f"{name} must be a number or a list of numbers, got a table"
            raise TypeError(msg)
        for key, inner in value.items():
            _refuse_digests(f"{name}.{key}", inner)
