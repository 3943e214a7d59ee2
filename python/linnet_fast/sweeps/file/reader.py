"""Sweeps described by a TOML file: what ``linnet-fast sweep`` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet_fast._base import files, validate, wording
from linnet_fast.sweeps.derived import Derived
from linnet_fast.sweeps.file.formula import Formula
from linnet_fast.sweeps.file.modules import Beside, Unread
from linnet_fast.sweeps.file.objects import (
    NEEDED,
    OBJECTS,
    PHASES,
    SCALARS,
    Objects,
    is_of_data,
    parameters_of,
)
from linnet_fast.sweeps.file.toml import (
    DESIGNS,
    Table,
    as_table,
    as_text,
    assign,
    listed,
    loads,
    refuse_unknown,
    setting,
    shown,
)
from linnet_fast.sweeps.file.values import WAYS, drawn, first, spaced
from linnet_fast.sweeps.sweep import Axis, SweepSpec, grid, paired, sampled
from linnet_fast.training.description import DATA_SEEDS

PLOTS = ("heatmap", "curves")
"""Kinds of pictures."""

_SWEEP = ("replicates", "rng", "derived", "common_seeds", "keep_records")
_INNER = (  # within objects
    "method.step_size",
    "loss.law",
    "record.evaluate",
    "stop.evaluate",
    "stop.below",
    "stop.above",
)
_ROOTS = (*OBJECTS, *SCALARS, PHASES)
_PLOT = ("kind", "of", "x", "y", "by", "select", "title", "theory")
_THEORY = ("label", "x", "y", "of")


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
        The table ``[plot]``: kind, of, x, y, by, select, title, theory.
    functions : tuple of Beside
        What is derived by functions of modules beside the file. These are imported when they are
        first called, or by their `load`.
    """

    path: Path
    spec: SweepSpec
    data: tuple[str, ...]
    plot: Mapping[str, Any]
    functions: tuple[Beside, ...]


def read(path: Path, settings: Iterable[str] = (), *, to_train: bool = True) -> SweepFile:
    """Return the sweep that a file describes.

    Parameters
    ----------
    path : Path
        A TOML file, see the docs of the command line.
    settings : iterable of str
        ``"key=value"``: dotted paths into the file, with values as TOML has them. They are applied
        before anything is checked.
    to_train : bool, default True
        Whether the sweep will be trained; else functions of modules beside the file are never
        imported, and a number stands for what each derives.

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
        return _Reader(path, _loaded(path, settings), to_train=to_train).read()
    except SweepFileError:
        raise
    except KeyError as error:
        msg = f"{path}: there is no {error}"
        raise SweepFileError(msg) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        msg = f"{path}: {error}"
        raise SweepFileError(msg) from error


def _loaded(path: Path, settings: Iterable[str]) -> Table:
    raw = files.content(path)
    try:
        tree = loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        msg = f"{path}: it must be UTF-8 text, got byte {raw[error.start]:#x} at {error.start}"
        raise SweepFileError(msg) from error
    for text in settings:
        try:
            assign(tree, *setting(text))
        except (TypeError, ValueError) as error:
            told = text if len(text) <= 200 else wording.quoted(text)
            msg = f"--set {told}: {error}"
            raise SweepFileError(msg) from error
    return tree


class _Reader:
    """Makes a sweep of the tables of a file."""

    def __init__(self, path: Path, tree: Table, *, to_train: bool) -> None:
        self.path = path
        self.folder = path.absolute().parent
        self.tree = tree
        self.objects = Objects(tree, self.folder)
        self.to_train = to_train
        self.functions: list[Beside] = []

    def read(self) -> SweepFile:
        """Return the sweep."""
        tree = self.tree
        refuse_unknown("", tree, (*OBJECTS, *SCALARS, PHASES, *_SWEEP, *DESIGNS, "plot"))
        design = _design_of(tree)
        table = dict(as_table(design, tree[design]))
        draws: Table = {}
        if design == "sampled":
            # A table under `method` is of the method of training.
            for key in ("n", "method"):
                if key in table and not isinstance(table[key], dict):
                    draws[key] = table.pop(key)
            if "n" not in draws:
                msg = f"sampled must have n, got {listed(table)}"
                raise ValueError(msg)
        entries, axes = _entries(design, table)
        read = drawn if design == "sampled" else spaced
        values = {name: read(f"{design}.{name}", entry) for name, entry in entries.items()}
        columns = {name: _columns(f"{design}.{name}", axis) for name, axis in axes.items()}
        _fill(tree, values, columns)
        training = self.objects.training()
        options: dict[str, Any] = {key: tree[key] for key in _SWEEP if key in tree}
        if "derived" in options:
            options["derived"] = self._derived(options["derived"])
        plot = _plot(tree)
        if design == "grid":
            labels = {name: axis["labels"] for name, axis in axes.items()}
            spec = grid(training, self._grid(values, labels, columns), **options)
        elif design == "paired":
            spec = paired(training, self._paired(values), **options)
        else:
            spec = sampled(training, self._sampled(values), **draws, **options)
        return SweepFile(self.path, spec, tuple(self.objects.data), plot, tuple(self.functions))

    def _grid(
        self, values: Mapping[str, list[Any]], labels: Mapping[str, Any], columns: Mapping[str, Any]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        of_loss = [name for name in values if is_of_data(name)]
        of_loss += [f"{a}.{name}" for a in labels for name in columns[a] if is_of_data(name)]
        if len({name.split(".loss.")[0] for name in of_loss}) > 1:
            msg = (
                f"{' and '.join(of_loss)} must vary together, in a table [grid.NAME] with labels, "
                "for they make one loss"
            )
            raise ValueError(msg)
        for name, column in values.items():
            if is_of_data(name):
                last = name.rpartition(".")[2]
                texts = [str(v).lower() if isinstance(v, bool) else v for v in column]
                result[last] = Axis(texts, {"loss": self.objects.losses({name: column})})
            else:
                result[name] = [self.objects.made(name, value) for value in column]
        for name, axis_labels in labels.items():
            if name in result:
                msg = f"names of dimensions must be different, got {name} twice"
                raise ValueError(msg)
            result[name] = Axis(axis_labels, self._paired(columns[name]))
        return result

    def _paired(self, values: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        result = {
            name: [self.objects.made(name, value) for value in column]
            for name, column in values.items()
            if not is_of_data(name)
        }
        of_data = {name: column for name, column in values.items() if is_of_data(name)}
        if of_data:
            if len({len(column) for column in of_data.values()}) > 1:
                msg = f"{' and '.join(of_data)} must have equally many values"
                raise ValueError(msg)
            result["loss"] = self.objects.losses(of_data)
        return result

    def _sampled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        of_data = [name for name in values if is_of_data(name)]
        if len(of_data) > 1:
            msg = f"sampled must have one of what makes the loss, got {' and '.join(of_data)}"
            raise ValueError(msg)
        for name, domain in values.items():
            if name in of_data:
                if not isinstance(domain, list):
                    msg = f"sampled.{name} must be a list, got a distribution"
                    raise TypeError(msg)
                result["loss"] = self.objects.losses({name: domain})
            elif isinstance(domain, list):
                result[name] = [self.objects.made(name, value) for value in domain]
            else:
                result[name] = domain
        return result

    def _derived(self, derived: Any) -> Any:
        if isinstance(derived, str):
            derived = [derived]
        if isinstance(derived, list):
            for i, name in enumerate(derived):
                if not isinstance(name, str):
                    msg = f"derived[{i}] must be a name, got {shown(name)}"
                    raise TypeError(msg)
                if ":" in name:
                    example = '[derived] with gap = "mymodule:gap"'
                    msg = f"derived must be a table to name functions, such as {example}, got {name!r}"
                    raise ValueError(msg)
            return derived
        if not isinstance(derived, dict):
            msg = f"derived must be a list of names or a table, got {shown(derived)}"
            raise TypeError(msg)
        return {name: self._function(f"derived.{name}", value) for name, value in derived.items()}

    def _function(self, where: str, entry: Any) -> Any:
        dims: tuple[list[str], ...] = ()
        if isinstance(entry, dict):
            refuse_unknown(where, entry, ("function", "dims"))
            if "function" not in entry:
                msg = f"{where} must have function, got {listed(entry)}"
                raise ValueError(msg)
            if "dims" in entry:
                dims = (entry["dims"],)
            entry = entry["function"]
        if not isinstance(entry, str):
            msg = f"{where} must be a name or 'module:function', got {shown(entry)}"
            raise TypeError(msg)
        if ":" not in entry:
            return (entry, *dims) if dims else entry
        function = Beside(where, entry, self.folder)
        self.functions.append(function)
        name = where.rpartition(".")[2]
        known = tuple(dims[0]) if dims and isinstance(dims[0], list) else ()
        made = Derived(name, function if self.to_train else Unread(len(known)), entry)
        return (made, *dims) if dims else made


def _design_of(tree: Table) -> str:
    designs = [name for name in DESIGNS if name in tree]
    if len(designs) != 1:
        expected = "one of the tables [grid], [paired] and [sampled]"
        got = " and ".join(f"[{name}]" for name in designs) or "none"
        msg = f"it must have {expected}, which say what varies, got {got}"
        raise ValueError(msg)
    return designs[0]


def _entries(design: str, table: Table) -> tuple[Table, dict[str, Table]]:
    """Return what is given of each parameter, and the tables of several parameters."""
    entries: Table = {}
    axes: dict[str, Table] = {}
    for key, entry in table.items():
        if isinstance(entry, dict) and "labels" in entry and key not in OBJECTS:
            if design != "grid":
                msg = f"{design}.{key} must be values of a parameter, got a table with labels"
                raise ValueError(msg)
            axes[key] = entry
        else:
            _flatten(design, key, entry, entries)
    return entries, axes


def _flatten(where: str, name: str, entry: Any, into: Table) -> None:
    """Gather parameters: "start.scale" may be one key, or a table within a table."""
    root = name.partition(".")[0]
    if root not in _ROOTS:
        if isinstance(entry, dict):
            msg = f"{where}.{name} must have labels, got {listed(entry)}"
            if not any(key.split(".")[0] in _ROOTS for key in entry):
                validate.choice(f"key of {where}", root, _ROOTS)
            raise ValueError(msg)
        validate.choice(f"key of {where}", root, _ROOTS)
    if root in OBJECTS and name != root:
        argument = name.split(".")[1]
        validate.choice(f"key of {where}.{root}", argument, parameters_of(root))
    in_phases = root == PHASES and name.count(".") < 2  # their numbers, and what they have
    inner = (name in OBJECTS or in_phases) or (
        name in _INNER
        and isinstance(entry, dict)
        and not (len(entry) == 1 and next(iter(entry)) in WAYS)
    )
    if isinstance(entry, dict) and inner:
        for key, value in entry.items():
            _flatten(where, f"{name}.{key}", value, into)
        return
    if name in into:
        msg = f"each parameter must be given once, got {where}.{name} twice"
        raise ValueError(msg)
    into[name] = entry


def _columns(where: str, table: Table) -> dict[str, list[Any]]:
    """Return the values of each parameter of a table with labels, all equally many."""
    labels = table["labels"]
    if not isinstance(labels, list):
        msg = f"{where}.labels must be a list, got {shown(labels)}"
        raise TypeError(msg)
    entries: Table = {}
    for key, entry in table.items():
        if key != "labels":
            _flatten(where, key, entry, entries)
    if not entries:
        msg = f"{where} must have a parameter besides labels, got none"
        raise ValueError(msg)
    columns = {key: spaced(f"{where}.{key}", entry) for key, entry in entries.items()}
    for key, values in columns.items():
        if len(values) != len(labels):
            expected = f"{len(labels)} values, one per label"
            msg = f"{where}.{key} must have {expected}, got {len(values)}"
            raise ValueError(msg)
    return columns


def _fill(tree: Table, values: Mapping[str, Any], columns: Mapping[str, Table]) -> None:
    """Give what is missing in a table because it varies the first of its values."""
    varied = {name: first(domain) for name, domain in values.items()}
    for axis in columns.values():
        varied |= {name: column[0] for name, column in axis.items()}
    # Outer objects before what is in them.
    named = (name for name in varied if name not in DATA_SEEDS)  # these have a value that says more
    for name in sorted(named, key=lambda name: name.count(".")):
        *path, last = name.split(".")
        table: Any = tree
        if path and path[0] in NEEDED and path[0] not in tree:
            continue  # these tables have to be there, be they empty
        for key in path:
            if isinstance(table, list) and key.isdecimal() and int(key) < len(table):
                table = table[int(key)]
            else:
                table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict) or (name == "network.hidden" and "widths" in table):
            continue
        if name == "network.n_layers":
            every = [axis[name] for axis in (values, *columns.values()) if name in axis][-1]
            _fill_layers(table, varied[name], every)
        else:
            table.setdefault(last, varied[name])


def _fill_layers(table: Table, one: Any, every: Any) -> None:
    """Give the number of layers that is missing because it varies, or one that fits the others."""
    if "widths" in table:
        return
    if table.get("kind", "Dense") != "Dense":
        table.setdefault("n_layers", one)
        return
    # A single layer has no hidden width that networks with more of them could take.
    numbers = every if isinstance(every, list) else [one]
    table["n_layers"] = next((n for n in numbers if isinstance(n, int) and n > 1), 2)


def _plot(tree: Table) -> Table:
    table = as_table("plot", tree.get("plot", {}))
    refuse_unknown("plot", table, _PLOT)
    if "kind" in table:
        validate.choice("plot.kind", table["kind"], PLOTS)
    of = table.get("of", "")
    if not isinstance(of, str) and not (
        isinstance(of, list) and of and all(isinstance(name, str) for name in of)
    ):
        msg = f"plot.of must be a text or a list of texts, got {shown(of)}"
        raise TypeError(msg)
    for key in ("x", "y", "by", "title"):
        as_text(f"plot.{key}", table.get(key, ""))
    as_table("plot.select", table.get("select", {}))
    theory = table.get("theory", [])
    if not isinstance(theory, list):
        msg = f"plot.theory must be a list of tables [[plot.theory]], got {shown(theory)}"
        raise TypeError(msg)
    for i, entry in enumerate(theory):
        formula_of(f"plot.theory[{i}]", as_table(f"plot.theory[{i}]", entry))
    return table


def formula_of(where: str, entry: Mapping[str, Any]) -> Formula:
    """Return the formula of a line of theory, a table [[plot.theory]]; TypeError or ValueError if it has none."""
    refuse_unknown(where, dict(entry), _THEORY)
    if not as_text(f"{where}.label", entry.get("label")):
        msg = f"{where}.label must be a text that is not empty"
        raise ValueError(msg)
    as_text(f"{where}.of", entry.get("of", ""))
    axes = [axis for axis in ("x", "y") if axis in entry]
    if len(axes) != 1:
        msg = f"{where} must have one of x and y, got {' and '.join(axes) or 'none'}"
        raise ValueError(msg)
    value = entry[axes[0]]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = repr(value)
    return Formula(f"{where}.{axes[0]}", as_text(f"{where}.{axes[0]}", value))
