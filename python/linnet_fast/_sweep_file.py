"""Sweeps described by a TOML file: what ``linnet-fast sweep`` reads."""

from __future__ import annotations

import importlib
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from linnet_fast import _validate, datasets
from linnet_fast._sweep import canonical
from linnet_fast.architecture import Chain, Convolution, Dense, Diagonal, Grouped, Residual
from linnet_fast.binary_loss import ExponentialLoss, LogisticLoss, Loss, SphericalLogisticLoss
from linnet_fast.loss import SquaredLoss
from linnet_fast.record import Record
from linnet_fast.sweep import Axis, SweepSpec, grid, paired, sampled
from linnet_fast.training import Training

DESIGNS = ("grid", "paired", "sampled")
"""Tables that say what varies; a file has one of them."""

PLOTS = ("heatmap", "curves")
"""Kinds of pictures."""

_OBJECTS = ("loss", "network", "start", "method", "record", "stop")
_SCALARS = ("n_steps", "until", "dtype")
_SWEEP = ("replicates", "rng", "derived", "common_seeds", "keep_records")
_INNER = ("method.step_size", "loss.law")  # objects within objects
_NEEDED = ("network", "start", "method")
_PLOT = ("kind", "of", "x", "y", "by", "select", "title")

_NETWORKS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Dense, Diagonal, Convolution, Residual, Grouped)
}
_LOSSES: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (SquaredLoss, LogisticLoss, ExponentialLoss, SphericalLogisticLoss)
}
_DATA = ("data", "targets_file", "targets", "standardize")
_SCHEDULES: Mapping[str, Callable[..., Record]] = {
    "geomspace": Record.geomspace,
    "every": Record.every,
    "at": Record.at,
    "at_times": Record.at_times,
}
_SPACED = ("geomspace", "linspace", "arange")
_DRAWN = ("uniform", "loguniform", "normal", "integers", "choice")
_MOST_VALUES = 10**6
_READABLE = (".npz", ".npy", ".csv")
_BARE = re.compile(r"[A-Za-z_./~]")  # how texts begin that need no quotes after --set

Table = dict[str, Any]


class SweepFileError(ValueError):
    """A file that does not describe a sweep; the message begins with its name."""


@dataclass(frozen=True)
class SweepFile:
    """What a file describes.

    Attributes
    ----------
    path : Path
    spec : SweepSpec
    data : tuple of str
        One line on each data set.
    plot : mapping
        The table ``[plot]``: kind, of, x, y, by, select, title.
    module_folder : Path or None
        Where modules are that the file names for what is derived, if it does.
    """

    path: Path
    spec: SweepSpec
    data: tuple[str, ...]
    plot: Mapping[str, Any]
    module_folder: Path | None


def read(path: Path, settings: Iterable[str] = ()) -> SweepFile:
    """Return the sweep that a file describes.

    Parameters
    ----------
    path : Path
        A TOML file, see the docs of the command line.
    settings : iterable of str
        ``"key=value"``: dotted paths into the file, with values as TOML has them. They are applied
        before anything is checked.

    Raises
    ------
    OSError
        If the file, or a file of data that it names, cannot be read.
    SweepFileError
        If something in it is unknown, with near matches, or missing, or does not go together.

    Examples
    --------
    >>> import tempfile
    >>> text = '''
    ... n_steps = 400
    ... replicates = 5
    ... loss = {input_cov = [[1, 0], [0, 1]], cross_cov = [[2, 0], [0, 1]], output_power = 5}
    ... network = {hidden = 4, n_layers = 2}
    ... start = {kind = "gaussian"}
    ... method = {step_size = 0.05}
    ... grid = {start.scale = {geomspace = [1e-3, 1, 4]}}
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sweep.toml")
    ...     _ = path.write_text(text)
    ...     read(path, ["network.n_layers=3"]).spec
    <SweepSpec of 20 runs: 4 scale x 5 seed>
    """
    try:
        return _Reader(path, _loaded(path, settings)).read()
    except SweepFileError:
        raise
    except KeyError as error:
        msg = f"{path}: there is no {error}"
        raise SweepFileError(msg) from error
    except RecursionError as error:
        msg = f"{path}: it is nested too deeply"
        raise SweepFileError(msg) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        msg = f"{path}: {error}"
        raise SweepFileError(msg) from error


def _loaded(path: Path, settings: Iterable[str]) -> Table:
    raw = path.read_bytes()
    try:
        tree = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        msg = f"{path}: it must be UTF-8 text, got byte {raw[error.start]:#x} at {error.start}"
        raise SweepFileError(msg) from error
    for text in settings:
        try:
            _assign(tree, *setting(text))
        except (TypeError, ValueError) as error:
            msg = f"--set {text}: {error}"
            raise SweepFileError(msg) from error
    return tree


def setting(text: str) -> tuple[list[str], Any]:
    """Return path and value of ``"key=value"``.

    The value is TOML; what begins with a letter and is no TOML is a text without quotes.

    Examples
    --------
    >>> setting('grid."start.scale" = [0.1, 0.2]')
    (['grid', 'start', 'scale'], [0.1, 0.2])
    >>> setting("start.kind=orthogonal")
    (['start', 'kind'], 'orthogonal')
    """
    for sign in re.finditer("=", text):
        key, value = text[: sign.start()], text[sign.end() :].strip()
        try:
            probe: Any = tomllib.loads(f"{key}=0")
        except tomllib.TOMLDecodeError:
            continue  # the sign is within a quoted key
        names = []
        while isinstance(probe, dict) and len(probe) == 1:
            ((name, probe),) = probe.items()
            names += name.split(".")
        if probe == 0:
            return names, _value(value)
    msg = "it must be key=value, such as start.scale=0.1"
    raise ValueError(msg)


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if _BARE.match(text) and "\n" not in text:
            return text
        msg = f"{text!r} is no value of TOML: {error}"
        raise ValueError(msg) from error
    if set(table) != {"value"}:
        msg = f"it must be one value, got {text!r}"
        raise ValueError(msg)
    return table["value"]


def _assign(table: Table, names: list[str], value: Any, where: tuple[str, ...] = ()) -> None:
    """Put a value where a path leads, through keys such as start.scale that have dots themselves."""
    for n in range(len(names), 0, -1):
        key = ".".join(names[:n])
        if key not in table:
            continue
        if n == len(names):
            table[key] = value
            return
        place = (*where, key)
        _assign(_table(".".join(place), table[key]), names[n:], value, place)
        return
    if len(names) == 1 or (where and where[0] in DESIGNS):
        table[".".join(names)] = value
        return
    table[names[0]] = {}
    _assign(table[names[0]], names[1:], value, (*where, names[0]))


def _shown(value: object) -> str:
    """Return what a value of TOML is, for messages."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _table(name: str, value: object) -> Table:
    if not isinstance(value, dict):
        must = "must be tables" if name.startswith("values") else "must be a table"
        msg = f"{name} {must}, got {_shown(value)}"
        raise TypeError(msg)
    return value


def _known(name: str, table: Table, keys: Iterable[str]) -> None:
    """Refuse unknown keys of a table."""
    listed = tuple(keys)
    for key in table:
        _validate.choice(f"key of {name}" if name else "key", key, listed)


class _Reader:
    """Makes a sweep of the tables of a file."""

    def __init__(self, path: Path, tree: Table) -> None:
        self.path = path
        self.folder = path.absolute().parent
        self.tree = tree
        self.loaded: dict[str, datasets.Dataset] = {}
        self.data: dict[str, None] = {}
        self.base: Loss | None = None
        self.module_folder: Path | None = None

    def read(self) -> SweepFile:
        """Return the sweep."""
        tree = self.tree
        _known("", tree, (*_OBJECTS, *_SCALARS, *_SWEEP, *DESIGNS, "plot"))
        design = self._design_name()
        table = dict(_table(design, tree[design]))
        drawn: Table = {}
        if design == "sampled":
            # A table under `method` is of the method of training.
            for key in ("n", "method"):
                if key in table and not isinstance(table[key], dict):
                    drawn[key] = table.pop(key)
            if "n" not in drawn:
                msg = f"sampled must have n, got {', '.join(table) or 'nothing'}"
                raise ValueError(msg)
        entries, axes = self._entries(design, table)
        values: dict[str, Any] = {}
        for name, given in entries.items():
            where = f"{design}.{name}"
            values[name] = (
                self._drawn(where, given) if design == "sampled" else self._spaced(where, given)
            )
        columns = {name: self._axis_values(design, name, given) for name, given in axes.items()}
        self._fill(values, columns)
        training = self._training()
        options: dict[str, Any] = {key: tree[key] for key in _SWEEP if key in tree}
        if "derived" in options:
            options["derived"] = self._derived(options["derived"])
        plot = self._plot()
        if design == "grid":
            spec = grid(training, self._grid(values, axes, columns), **options)
        elif design == "paired":
            spec = paired(training, self._paired(values), **options)
        else:
            spec = sampled(training, self._sampled(values), **drawn, **options)
        return SweepFile(self.path, spec, tuple(self.data), plot, self.module_folder)

    def _design_name(self) -> str:
        given = [name for name in DESIGNS if name in self.tree]
        if len(given) != 1:
            expected = "one of the tables [grid], [paired] and [sampled]"
            got = " and ".join(f"[{name}]" for name in given) or "none"
            msg = f"it must have {expected}, which say what varies, got {got}"
            raise ValueError(msg)
        return given[0]

    # -- what varies -------------------------------------------------------------------------------

    def _entries(self, design: str, table: Table) -> tuple[Table, dict[str, Table]]:
        """Return what is given of each parameter, and the tables of several parameters."""
        entries: Table = {}
        axes: dict[str, Table] = {}
        for key, given in table.items():
            if isinstance(given, dict) and "labels" in given and key not in _OBJECTS:
                if design != "grid":
                    msg = f"{design}.{key} must be values of a parameter, got a table with labels"
                    raise ValueError(msg)
                axes[key] = given
            else:
                self._flatten(design, key, given, entries)
        return entries, axes

    def _flatten(self, where: str, name: str, given: Any, into: Table) -> None:
        """Gather parameters: "start.scale" may be one key, or a table within a table."""
        root = name.partition(".")[0]
        if root not in (*_OBJECTS, *_SCALARS):
            if isinstance(given, dict):
                msg = f"{where}.{name} must have labels, got {', '.join(given) or 'nothing'}"
                if not any(key.split(".")[0] in (*_OBJECTS, *_SCALARS) for key in given):
                    _validate.choice(f"key of {where}", root, (*_OBJECTS, *_SCALARS))
                raise ValueError(msg)
            _validate.choice(f"key of {where}", root, (*_OBJECTS, *_SCALARS))
        if root in _OBJECTS and name != root:
            own = name.split(".")[1]
            _validate.choice(f"key of {where}.{root}", own, _arguments(root))
        inner = name in _OBJECTS or (
            name in _INNER
            and isinstance(given, dict)
            and not (len(given) == 1 and next(iter(given)) in (*_SPACED, *_DRAWN))
        )
        if isinstance(given, dict) and inner:
            for key, value in given.items():
                self._flatten(where, f"{name}.{key}", value, into)
            return
        if name in into:
            msg = f"each parameter must be given once, got {where}.{name} twice"
            raise ValueError(msg)
        into[name] = given

    def _axis_values(self, design: str, name: str, table: Table) -> dict[str, list[Any]]:
        """Return the values of each parameter of a table with labels, all equally many."""
        where = f"{design}.{name}"
        labels = table["labels"]
        if not isinstance(labels, list):
            msg = f"{where}.labels must be a list, got {_shown(labels)}"
            raise TypeError(msg)
        entries: Table = {}
        for key, given in table.items():
            if key != "labels":
                self._flatten(where, key, given, entries)
        if not entries:
            msg = f"{where} must have a parameter besides labels, got none"
            raise ValueError(msg)
        columns = {key: self._spaced(f"{where}.{key}", given) for key, given in entries.items()}
        for key, values in columns.items():
            if len(values) != len(labels):
                expected = f"{len(labels)} values, one per label"
                msg = f"{where}.{key} must have {expected}, got {len(values)}"
                raise ValueError(msg)
        return columns

    def _spaced(self, where: str, given: Any) -> list[Any]:
        """Return values: a list, or numbers from {geomspace = [low, high, n]} and such."""
        if isinstance(given, list):
            if not given:
                msg = f"{where} must have at least one value, got none"
                raise ValueError(msg)
            return given
        example = "{geomspace = [1e-6, 1.0, 13]}"
        if not isinstance(given, dict) or len(given) != 1:
            msg = f"{where} must be a list or a table such as {example}, got {_shown(given)}"
            raise TypeError(msg)
        ((how, numbers),) = given.items()
        if how in _DRAWN:
            msg = f"{where} must be a list or a table such as {example}, got {how}, for [sampled]"
            raise ValueError(msg)
        _validate.choice(f"key of {where}", how, _SPACED)
        name = f"{where}.{how}"
        if how == "arange":
            if isinstance(numbers, list) and len(numbers) == 2:
                numbers = [*numbers, 1]
            begin, end, step = _numbers(name, numbers, "[first, end, step]", 3)
            n = math.ceil((end - begin) / step) if step else 0
            _validate.integer(f"number of values of {name}", n, low=1, high=_MOST_VALUES)
            return [begin + i * step for i in range(n)]
        low, high, count = _numbers(name, numbers, "[low, high, n]", 3)
        n = _validate.integer(f"n of {name}", count, low=1, high=_MOST_VALUES)
        if how == "geomspace":
            _positive(name, low, high)
            return [float(x) for x in np.geomspace(low, high, n)]
        return [float(x) for x in np.linspace(low, high, n)]

    def _drawn(self, where: str, given: Any) -> Any:
        """Return values to choose from, or a distribution."""
        if isinstance(given, dict) and len(given) == 1 and next(iter(given)) in _SPACED:
            return self._spaced(where, given)
        if isinstance(given, dict) and set(given) == {"choice"}:
            return self._spaced(f"{where}.choice", given["choice"])
        if isinstance(given, list):
            return self._spaced(where, given)
        if not isinstance(given, dict) or len(given) != 1:
            example = "{loguniform = [1e-6, 1.0]}"
            msg = f"{where} must be a list or a table such as {example}, got {_shown(given)}"
            raise TypeError(msg)
        ((how, numbers),) = given.items()
        _validate.choice(f"key of {where}", how, (*_DRAWN, *_SPACED))
        return _distribution(f"{where}.{how}", how, numbers)

    def _fill(self, values: Mapping[str, Any], columns: Mapping[str, Table]) -> None:
        """Give what is missing in a table because it varies the first of its values."""
        varied = {name: _first(given) for name, given in values.items()}
        for axis in columns.values():
            varied |= {name: given[0] for name, given in axis.items()}
        # Outer objects before what is in them.
        for name in sorted(varied, key=lambda name: name.count(".")):
            *path, last = name.split(".")
            table: Any = self.tree
            if path and path[0] in _NEEDED and path[0] not in self.tree:
                continue  # these tables have to be there, be they empty
            for key in path:
                table = table.setdefault(key, {}) if isinstance(table, dict) else None
            if not isinstance(table, dict) or (name == "network.hidden" and "widths" in table):
                continue
            if name == "network.n_layers":
                self._fill_layers(table, varied[name], values, columns)
            else:
                table.setdefault(last, varied[name])

    def _fill_layers(
        self, table: Table, first: Any, values: Mapping[str, Any], columns: Mapping[str, Table]
    ) -> None:
        if "widths" in table:
            return
        if table.get("kind", "Dense") != "Dense":
            table.setdefault("n_layers", first)
            return
        # A single layer has no hidden width that networks with more of them could take.
        every = values.get("network.n_layers", [])
        for axis in columns.values():
            every = axis.get("network.n_layers", every)
        listed = every if isinstance(every, list) else [first]
        table["n_layers"] = next((n for n in listed if isinstance(n, int) and n > 1), 2)

    def _grid(
        self, values: Mapping[str, list[Any]], axes: Mapping[str, Table], columns: Mapping[str, Any]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        of_loss = [name for name in values if self._of_data(name)]
        of_loss += [f"{a}.{name}" for a in axes for name in columns[a] if self._of_data(name)]
        if len({name.split(".loss.")[0] for name in of_loss}) > 1:
            msg = (
                f"{' and '.join(of_loss)} must vary together, in a table [grid.NAME] with labels, "
                "for they make one loss"
            )
            raise ValueError(msg)
        for name, given in values.items():
            if self._of_data(name):
                own = name.rpartition(".")[2]
                labels = [str(v).lower() if isinstance(v, bool) else v for v in given]
                result[own] = Axis(labels, {"loss": self._losses({name: given})})
            else:
                result[name] = [self._decoded(name, value) for value in given]
        for name, table in axes.items():
            if name in result:
                msg = f"names of dimensions must be different, got {name} twice"
                raise ValueError(msg)
            result[name] = Axis(table["labels"], self._paired(columns[name]))
        return result

    def _paired(self, values: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        result = {
            name: [self._decoded(name, value) for value in given]
            for name, given in values.items()
            if not self._of_data(name)
        }
        of_data = {name: given for name, given in values.items() if self._of_data(name)}
        if of_data:
            if len({len(given) for given in of_data.values()}) > 1:
                msg = f"{' and '.join(of_data)} must have equally many values"
                raise ValueError(msg)
            result["loss"] = self._losses(of_data)
        return result

    def _sampled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        of_data = [name for name in values if self._of_data(name)]
        if len(of_data) > 1:
            msg = f"sampled must have one of what makes the loss, got {' and '.join(of_data)}"
            raise ValueError(msg)
        for name, given in values.items():
            if name in of_data:
                if not isinstance(given, list):
                    msg = f"sampled.{name} must be a list, got a distribution"
                    raise TypeError(msg)
                result["loss"] = self._losses({name: given})
            elif isinstance(given, list):
                result[name] = [self._decoded(name, value) for value in given]
            else:
                result[name] = given
        return result

    @staticmethod
    def _of_data(name: str) -> bool:
        """Whether a parameter is no argument of the loss, but of what makes it."""
        return name.startswith("loss.") and name[5:] in (*_DATA, "center")

    def _losses(self, varied: Mapping[str, list[Any]]) -> list[Loss]:
        table = _table("loss", self.tree["loss"])
        number = len(next(iter(varied.values())))
        return [
            self._loss(table | {name[5:]: given[i] for name, given in varied.items()})
            for i in range(number)
        ]

    def _decoded(self, name: str, value: Any) -> Any:
        """Return what a value of a parameter stands for."""
        if name in _OBJECTS and not (name == "network" and isinstance(value, str)):
            _table(f"values of {name}", value)
        if isinstance(value, dict):
            if name == "loss":
                return self._loss(value)
            if name == "network":
                return self._network(value)
            if name == "record":
                return self._record(value)
        return _decode(name, value)

    # -- what all runs have in common --------------------------------------------------------------

    def _training(self) -> Training:
        tree = self.tree
        missing = [name for name in ("loss", *_NEEDED) if name not in tree]
        if not {"n_steps", "until"} & set(tree):
            missing.append("n_steps (or until, for a flow)")
        if missing:
            msg = f"it must have {', '.join(missing)}; got {', '.join(tree)}"
            raise ValueError(msg)
        self.base = self._loss(_table("loss", tree["loss"]))
        parts: dict[str, Any] = {"loss": self.base}
        network = tree["network"]
        if isinstance(network, str):
            parts["network"] = _decode("network", network)
        else:
            parts["network"] = self._network(_table("network", network))
        for name in ("start", "method", "stop"):
            if name in tree:
                parts[name] = _decode(name, _table(name, tree[name]))
        if "record" in tree:
            parts["record"] = self._record(_table("record", tree["record"]))
        return Training(**parts, **{name: tree[name] for name in _SCALARS if name in tree})

    def _loss(self, table: Table) -> Loss:
        kind = _LOSSES[
            _validate.choice("loss.kind", table.get("kind", "SquaredLoss"), list(_LOSSES))
        ]
        own = canonical.arguments(kind)
        made_of_data = kind is not SphericalLogisticLoss
        options = (*_DATA, *(("center",) if kind is SquaredLoss else ())) if made_of_data else ()
        _known("loss", table, ("kind", *options, *own))
        if "data" not in table:
            extra = [key for key in table if key in options]
            if extra:
                msg = f"loss must have data for {', '.join(extra)}, got {', '.join(table)}"
                raise ValueError(msg)
            if made_of_data and not set(table) & set(own):
                msg = f"loss must have data (or {', '.join(own)}), got {_listed(table)}"
                raise ValueError(msg)
            loss: Loss = _decode("loss", table)
            self.data[repr(loss)] = None
            return loss
        allowed = ("label_noise",) if "label_noise" in own else ()
        extra = [key for key in table if key in own and key not in allowed]
        if extra:
            msg = f"loss must have either data or {', '.join(extra)}, got both"
            raise ValueError(msg)
        if kind is SquaredLoss:
            return self._squared(table)
        return self._binary(kind, table)

    def _squared(self, table: Table) -> Loss:
        center = _validate.instance("loss.center", table.get("center", False), bool)
        data = self._dataset(table)
        self.data[f"{data.description}, {'centred' if center else 'not centred'}"] = None
        return SquaredLoss.from_data(data.X, data.Y, center=center)

    def _binary(self, kind: Any, table: Table) -> Loss:
        data = self._dataset(table)
        labels = data.Y
        if labels.shape[1] == 2 and (labels.sum(axis=1) == 1).all():
            labels = labels[:, 1:] - labels[:, :1]  # the second class is 1, the first is -1
        if labels.shape[1] != 1:
            expected = "two classes or labels 1 and -1"
            msg = f"loss.data must have {expected} for {kind.__name__}, got {data.description}"
            raise ValueError(msg)
        self.data[f"{data.description}, labels 1 and -1"] = None
        noise = {key: table[key] for key in ("label_noise",) if key in table}
        loss: Loss = kind.from_data(data.X, labels[:, 0], **noise)
        return loss

    def _dataset(self, table: Table) -> datasets.Dataset:
        for key in ("data", "targets_file", "targets"):
            if key in table and not isinstance(table[key], str):
                msg = f"loss.{key} must be a text, got {_shown(table[key])}"
                raise TypeError(msg)
        _validate.instance("loss.standardize", table.get("standardize", False), bool)
        options = {key: table[key] for key in _DATA if key in table}
        key = repr(options)
        if key not in self.loaded:
            source = options.pop("data")
            if source not in datasets.NAMES and Path(source).suffix in _READABLE:
                source = self.folder / source
            if "targets_file" in options:
                options["targets_file"] = self.folder / options["targets_file"]
            self.loaded[key] = datasets.load(source, **options)
        return self.loaded[key]

    def _network(self, table: Table) -> Chain:
        assert self.base is not None
        ends = self.base.n_inputs, self.base.n_outputs
        kind = _NETWORKS[
            _validate.choice("network.kind", table.get("kind", "Dense"), list(_NETWORKS))
        ]
        known = canonical.arguments(kind)
        given = {key: value for key, value in table.items() if key != "kind"}
        if kind is not Dense:
            _known("network", given, known)
            if "width" in known:
                given.setdefault("width", ends[0])
            network: Chain = canonical.call("network", kind, given)
            return network
        _known("network", given, ("kind", *known, "hidden", "n_layers"))
        if "widths" in given:
            if len(given) > 1:
                msg = "network must have either widths or hidden and n_layers, got both"
                raise ValueError(msg)
            return Dense(given["widths"])
        if given.get("n_layers") == 1:
            given.setdefault("hidden", 1)
        missing = [key for key in ("hidden", "n_layers") if key not in given]
        if missing:
            msg = f"network must have {' and '.join(missing)}, or widths; got {_listed(table)}"
            raise ValueError(msg)
        return Dense(canonical.dense_widths(*ends, given["hidden"], given["n_layers"]))

    def _record(self, table: Table) -> Record:
        _known("record", table, (*_SCHEDULES, "observables", "direction"))
        given = [key for key in _SCHEDULES if key in table]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            msg = f"record must have one of {', '.join(_SCHEDULES)}, got {got}"
            raise ValueError(msg)
        options = {key: table[key] for key in ("observables", "direction") if key in table}
        return _SCHEDULES[given[0]](table[given[0]], **options)

    # -- what is kept, and drawn -------------------------------------------------------------------

    def _derived(self, given: Any) -> Any:
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list):
            for i, name in enumerate(given):
                if not isinstance(name, str):
                    msg = f"derived[{i}] must be a name, got {_shown(name)}"
                    raise TypeError(msg)
                if ":" in name:
                    example = '[derived] with gap = "mymodule:gap"'
                    msg = f"derived must be a table to name functions, such as {example}, got {name!r}"
                    raise ValueError(msg)
            return given
        if not isinstance(given, dict):
            msg = f"derived must be a list of names or a table, got {_shown(given)}"
            raise TypeError(msg)
        return {name: self._function(f"derived.{name}", value) for name, value in given.items()}

    def _function(self, where: str, given: Any) -> Any:
        dims: tuple[list[str], ...] = ()
        if isinstance(given, dict):
            _known(where, given, ("function", "dims"))
            if "function" not in given:
                msg = f"{where} must have function, got {_listed(given)}"
                raise ValueError(msg)
            if "dims" in given:
                dims = (given["dims"],)
            given = given["function"]
        if not isinstance(given, str):
            msg = f"{where} must be a name or 'module:function', got {_shown(given)}"
            raise TypeError(msg)
        module, sign, _ = given.partition(":")
        if sign:
            self._import(where, module)
        return (given, *dims) if dims else given

    def _import(self, where: str, module: str) -> None:
        """Import a module that the file names, also from the folder of the file."""
        self.module_folder = self.folder
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            msg = f"{where} cannot import {module!r}: {type(error).__name__}: {error}"
            raise ValueError(msg) from error

    def _plot(self) -> Table:
        table = _table("plot", self.tree.get("plot", {}))
        _known("plot", table, _PLOT)
        if "kind" in table:
            _validate.choice("plot.kind", table["kind"], PLOTS)
        of = table.get("of", "")
        if not isinstance(of, str) and not (
            isinstance(of, list) and of and all(isinstance(name, str) for name in of)
        ):
            msg = f"plot.of must be a text or a list of texts, got {_shown(of)}"
            raise TypeError(msg)
        for key in ("x", "y", "by", "title"):
            if key in table and not isinstance(table[key], str):
                msg = f"plot.{key} must be a text, got {_shown(table[key])}"
                raise TypeError(msg)
        _table("plot.select", table.get("select", {}))
        return table


def _arguments(root: str) -> tuple[str, ...]:
    """Return what can be varied inside an object, of whatever kind."""
    kinds = tuple(_NETWORKS.values()) if root == "network" else canonical.KINDS[root]
    names = dict.fromkeys(name for kind in kinds for name in canonical.arguments(kind))
    more = {"loss": (*_DATA, "center"), "network": ("hidden", "n_layers")}
    return (*names, *(name for name in more.get(root, ()) if name not in names))


def _decode(name: str, value: Any) -> Any:
    """Return what plain data stand for; arrays are never kept apart in a file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_digests(f"{name}.{key}", inner)
    return canonical.decode(name, value)


def _refuse_digests(name: str, value: Any) -> None:
    if isinstance(value, dict):
        if set(value) in ({"array"}, {"float"}):
            msg = f"{name} must be a number or a list of numbers, got a table"
            raise TypeError(msg)
        for key, inner in value.items():
            _refuse_digests(f"{name}.{key}", inner)


def _listed(table: Table) -> str:
    return ", ".join(table) or "nothing"


def _first(given: Any) -> Any:
    """Return the first of values, or the median of a distribution."""
    if isinstance(given, list):
        return given[0]
    median = float(given.median())
    return int(median) if hasattr(given.dist, "pmf") else median


def _numbers(name: str, value: Any, form: str, n: int) -> list[Any]:
    """Return n finite numbers."""
    if not isinstance(value, list):
        _refuse_form(name, form, _shown(value))
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    if len(value) != n or not numbers:
        _refuse_form(name, form, repr(value))
    if not all(math.isfinite(x) for x in value):
        _refuse_form(name, f"{form}, all finite", repr(value))
    return value


def _refuse_form(name: str, form: str, got: str) -> NoReturn:
    msg = f"{name} must be {form}, got {got}"
    raise ValueError(msg)


def _positive(name: str, *values: float) -> None:
    if min(values) <= 0:
        msg = f"{name} must be between positive numbers, got {min(values)}"
        raise ValueError(msg)


def _distribution(name: str, how: str, numbers: Any) -> Any:
    """Return a distribution of SciPy."""
    from scipy import stats  # noqa: PLC0415  (takes a while, and few need it)

    form = "[mean, deviation]" if how == "normal" else "[low, high]"
    low, high = _numbers(name, numbers, form, 2)
    if how == "normal":
        if high <= 0:
            _refuse_form(name, "[mean, deviation] with a positive deviation", repr(numbers))
        return stats.norm(low, high)
    if low >= high:
        _refuse_form(name, "[low, high] with low < high", repr(numbers))
    if how == "integers":
        for number in (low, high):
            _validate.integer(name, number, low=-(2**53), high=2**53)
        return stats.randint(low, high + 1)
    if how == "loguniform":
        _positive(name, low, high)
        return stats.loguniform(low, high)
    return stats.uniform(low, high - low)
