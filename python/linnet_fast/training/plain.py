"""Objects as plain data and back: for identities, for stores, for configuration files.

Plain data are what JSON has: an object becomes ``{"kind": its class, argument: value}``, a network
its `spec`, an array of more than 64 entries ``{"array": digest}`` with the array itself kept apart.
Reading never imports or runs anything: only the classes listed here are made.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import functions, validate
from linnet_fast._base.value import arguments
from linnet_fast.initialization.start import Start
from linnet_fast.laws.spherical import LAWS
from linnet_fast.losses.problem import Population
from linnet_fast.losses.registry import LOSSES
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.registry import METHODS
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.chain import MAX_LAYERS, Chain
from linnet_fast.networks.named import Dense
from linnet_fast.networks.text import parse
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.phase import Phase

_MOST_INLINE = 64
_MAPPINGS = ("evaluate", "below", "above")
"""Arguments that are mappings of names: of losses, of thresholds."""

Arrays = dict[str, npt.NDArray[Any]]
"""Digest -> array."""

_OTHERS: Mapping[str, tuple[type, ...]] = {
    "start": (Start,),
    "record": (Record,),
    "stop": (Stop,),
    "law": LAWS,
    "step_size": (StepRule,),
    "batches": (Batches,),
    "phases": (Phase,),
    "noise": (GaussianNoise,),
}


def kinds(name: str) -> tuple[type, ...]:
    """Return what objects a parameter of this name may hold; the first is meant where no kind is given."""
    if name == "loss":
        return (*LOSSES.values(), Teacher, Population)
    return tuple(METHODS.values()) if name == "method" else _OTHERS.get(name, ())


def _known() -> set[type]:
    return {kind for name in ("loss", "method", *_OTHERS) for kind in kinds(name)}


def encode(value: object, arrays: Arrays | None = None) -> Any:
    """Return a value as plain data; large arrays are put into `arrays`, if it is given."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"float": repr(number)}
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, Chain):
        return value.spec
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, (tuple, list)):
        return [encode(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item, arrays) for key, item in value.items()}
    kind: Any = type(value)
    if kind in _known():
        parts = {name: _stored(value, name) for name in arguments(kind)}
        unsaid = getattr(kind, "unsaid", {})
        said = {
            name: part
            for name, part in parts.items()
            if name not in unsaid or not _is(part, unsaid[name])
        }
        return {
            "kind": kind.__name__,
            **{name: encode(part, arrays) for name, part in said.items()},
        }
    if callable(value) and not isinstance(value, type):
        path = functions.path_of(value)
        if path is None:
            expected = "at the top level of a module, or be named, 'module:function'"
            msg = f"a function must be {expected}, to be written down, got {value!r}"
            raise TypeError(msg)
        return path
    msg = f"a parameter must be a number, a text or an object of linnet_fast, got {value!r}"
    raise TypeError(msg)


def _stored(value: Any, name: str) -> Any:
    """Return an argument of an object; of an array, run axes along which it repeats are cut."""
    part = getattr(value, name)
    inner = getattr(value, "inner_axes", {})
    if name in inner and isinstance(part, np.ndarray):
        return validate.unbroadcast(part, keep=inner[name])
    return part


def _is(part: object, value: object) -> bool:
    if part is None or value is None:
        return part is value
    if isinstance(value, Mapping):
        return bool(part == value)
    return np.ndim(part) == 0 and bool(part == value)  # type: ignore[arg-type]


def _encode_array(array: npt.NDArray[Any], arrays: Arrays | None) -> Any:
    if array.ndim == 0:
        return encode(array.item())
    if array.size <= _MOST_INLINE and (array.ndim == 1 or array.size):  # else the shape is lost
        return encode(array.tolist())
    stored = np.ascontiguousarray(array)
    little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    text = f"{little.dtype.str}{little.shape}".encode()
    digest = hashlib.sha256(text + little.tobytes()).hexdigest()
    if arrays is not None:
        arrays[digest] = stored
    return {"array": digest}


def decode(name: str, data: object, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Any:
    """Return what plain data stand for.

    Parameters
    ----------
    name : str
        Of the parameter, such as ``method``, or ``method.step_size``: for messages, and to know
        which kinds of objects it may be. What ``evaluate`` has may be losses.
    data : object
        As `encode` makes it, or as a configuration file has it.
    arrays : mapping, optional
        Digest -> array.

    Raises
    ------
    TypeError, ValueError
        If a kind or an argument is unknown, with near matches; or what the object raises.
    """
    *owners, own = name.split(".")
    own = own.partition("[")[0]  # of one in a list
    if own in _MAPPINGS and isinstance(data, Mapping):
        return {key: decode(f"{name}.{key}", value, arrays) for key, value in data.items()}
    if owners and owners[-1] == "evaluate":
        own = "loss"
    if own == "network" and isinstance(data, str):
        return parse(data)
    if isinstance(data, Mapping):
        if set(data) == {"array"}:
            return (arrays or {})[str(data["array"])]
        if set(data) == {"float"}:
            return float(data["float"])
        return _decode_object(name, own, data, arrays)
    if isinstance(data, list):
        return [decode(f"{name}[{i}]", item, arrays) for i, item in enumerate(data)]
    return data


def _decode_object(
    name: str, own: str, data: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None
) -> Any:
    known_kinds = {
        word: kind for kind in kinds(own) for word in getattr(kind, "kinds", (kind.__name__,))
    }
    if not known_kinds:
        msg = f"{name} must be a number, a text or a list, got a table"
        raise ValueError(msg)
    # A start's own kind is an argument of it, as is the rule of a record or of a step size.
    chosen = data.get("kind", next(iter(known_kinds)))
    only = next(iter(known_kinds.values()))
    if len(known_kinds) == 1 and "kind" in arguments(only) and chosen != only.__name__:
        made, given = only, dict(data)
    else:
        made = known_kinds[validate.choice(f"{name}.kind", chosen, known_kinds)]
        given = {key: value for key, value in data.items() if key != "kind"}
        if hasattr(made, "kinds"):
            given["kind"] = chosen
    known = arguments(made)
    for key in given:
        validate.choice(f"key of {name}", key, known)
    values = {key: decode(f"{name}.{key}", value, arrays) for key, value in given.items()}
    return call(name, made, values)


def call(name: str, made: Any, values: Mapping[str, Any]) -> Any:
    """Return ``made(**values)``; what is missing is an error that names the parameter."""
    missing = [
        key
        for key, parameter in inspect.signature(made).parameters.items()
        if parameter.default is parameter.empty and key not in values
    ]
    if missing:
        msg = f"{name} must have {' and '.join(missing)}, got {', '.join(values) or 'nothing'}"
        raise ValueError(msg)
    return made(**values)


def text(data: object) -> str:
    """Return plain data as JSON text that is the same wherever they are equal."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: object) -> str:
    """Return the SHA-256 of plain data, in hexadecimal."""
    return hashlib.sha256(text(data).encode()).hexdigest()


def differences(old: object, new: object, where: str = "") -> list[str]:
    """Return what differs between plain data, a line each: "method.step_size: 0.1, now 0.2"."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted({*old, *new}):
            lines += differences(
                old.get(key), new.get(key), f"{where}.{key}" if where else str(key)
            )
        return lines
    if old == new:
        return []
    return [f"{where}: {_short(old)}, now {_short(new)}"]


def _short(data: object, most: int = 60) -> str:
    shown = text(data)
    return shown if len(shown) <= most else f"{shown[: most - 12]} ... {shown[-8:]}"


def replaced(name: str, value: object, path: Sequence[str], new: object) -> Any:
    """Return a copy of an object with the argument at a path inside it replaced."""
    return replaced_all(name, value, {tuple(path): new})


def replaced_all(name: str, value: object, settings: Mapping[tuple[str, ...], object]) -> Any:
    """Return a copy of an object with arguments inside it replaced, those of one object at once.

    Parameters
    ----------
    name : str
        Of the object, for messages.
    value : object
        A network, loss, method, ... of linnet_fast.
    settings : mapping
        Names of arguments from outside in -> new value; of no names: of the whole object, in which
        the others are then replaced.

    Raises
    ------
    ValueError
        If there is no such argument, with near matches.
    """
    value = settings.get((), value)
    inner: dict[str, dict[tuple[str, ...], object]] = {}
    for path, new in settings.items():
        if path:
            inner.setdefault(path[0], {})[path[1:]] = new
    if not inner:
        return value
    known = parts_of(name, value, inner)
    if isinstance(value, (Mapping, tuple)):
        parts = {key: part_of(value, key) for key in known}
        changed = {key: replaced_all(f"{name}.{key}", parts[key], inner[key]) for key in inner}
        return (
            {**parts, **changed} if isinstance(value, Mapping) else (*(parts | changed).values(),)
        )
    follows = getattr(type(value), "follows", ())  # from the other arguments, unless it is said
    values = {key: getattr(value, key) for key in known if key in inner or key not in follows}
    for key, own in inner.items():
        if key in known:
            values[key] = replaced_all(f"{name}.{key}", values[key], own)
    kind: Any = type(value)
    result: Any = call(name, kind, values) if inner.keys() & set(known) else value
    if dense := {key: own[()] for key, own in inner.items() if key in _DENSE and key not in known}:
        return _with_dense(result, **dense)
    return result


def parts_of(name: str, value: object, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the names of an object's arguments; refuse wanted ones that it has not."""
    wanted = list(wanted)
    is_list = isinstance(value, tuple) and bool(value) and all(type(v) in _known() for v in value)
    plain_kinds = (bool, int, float, str, tuple, list, np.ndarray)
    if value is None or (isinstance(value, plain_kinds) and not is_list):
        got = "None" if value is None else f"a {type(value).__name__}"
        msg = f"{name} must be an object that has {wanted[0]!r}, got {got}"
        raise ValueError(msg)
    kind: Any = type(value)
    known = tuple(value) if isinstance(value, Mapping) else ()
    if isinstance(value, tuple):
        known = tuple(map(str, range(len(value))))
    known = known or arguments(kind)
    for key in wanted:
        validate.choice(f"parameter of {name}", key, (*known, *(_DENSE if kind is Dense else ())))
    return known


def part_of(value: Any, key: str) -> Any:
    """Return an argument of an object, or what a mapping has by a name."""
    if isinstance(value, tuple):
        return value[int(key)]
    return value[key] if isinstance(value, Mapping) else getattr(value, key)


def check_path(name: str, value: object, path: Sequence[str]) -> None:
    """Refuse a path to an argument that an object does not have."""
    for key in path:
        known = parts_of(name, value, [key])
        if key not in known:
            return
        name, value = f"{name}.{key}", part_of(value, key)


_DENSE = ("hidden", "n_layers")
"""What networks of dense layers can be told besides their widths."""


def dense_widths(n_inputs: int, n_outputs: int, hidden: object, n_layers: object) -> list[int]:
    """Return the widths of n_layers dense layers with `hidden` units between them."""
    n = validate.integer("network.n_layers", n_layers, low=1, high=MAX_LAYERS)
    width = validate.integer("network.hidden", hidden, low=1, high=2**31 - 1)
    return [n_inputs, *[width] * (n - 1), n_outputs]


def _with_dense(network: Dense, hidden: object = None, n_layers: object = None) -> Dense:
    """Return a dense network with another hidden width or number of layers."""
    inner = set(network.widths[1:-1])
    if hidden is None:
        if len(inner) != 1:
            got = " -> ".join(map(str, network.widths))
            msg = (
                f"network must have hidden layers of one width to vary network.n_layers, got {got}"
            )
            raise ValueError(msg)
        hidden = inner.pop()
    n = network.n_layers if n_layers is None else n_layers
    return Dense(dense_widths(network.n_inputs, network.n_outputs, hidden, n))
