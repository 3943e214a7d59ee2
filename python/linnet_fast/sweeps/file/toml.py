"""Tables of TOML: what ``--set`` puts into them, what they must be, how messages show them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from linnet_fast._base import validate, wording

Table = dict[str, Any]

DESIGNS = ("grid", "paired", "sampled")
"""Tables that say what varies; a file has one of them, and its keys have dots, as start.scale."""

_BARE = re.compile(r"[A-Za-z_./~]")  # how texts begin that need no quotes after --set


_MOST_DEPTH = 64
_LONGEST_KEY = 1000


def loads(text: str) -> Table:
    """Return the tables of a TOML text, which may be nested only so deeply."""
    validate.nested_text("values", text, most=_MOST_DEPTH)
    table = tomllib.loads(text)
    # Keys with dots nest without brackets.
    level: list[Any] = [table]
    for _ in range(_MOST_DEPTH):
        inner: list[Any] = []
        for x in level:
            inner += x.values() if isinstance(x, dict) else x
        level = [x for x in inner if isinstance(x, (dict, list))]
        if not level:
            return table
    msg = f"values must be nested at most {_MOST_DEPTH} deep, got more"
    raise ValueError(msg)


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
    for sign in re.finditer("=", text[:_LONGEST_KEY]):
        key, value = text[: sign.start()], text[sign.end() :].strip()
        try:
            probe: Any = loads(f"{key}=0")
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
        table = loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if _BARE.match(text) and "\n" not in text:
            return text
        msg = f"{wording.quoted(text)} is no value of TOML: {error}"
        raise ValueError(msg) from error
    if set(table) != {"value"}:
        msg = f"it must be one value, got {wording.quoted(text)}"
        raise ValueError(msg)
    return table["value"]


def assign(table: Table, names: list[str], value: Any, where: tuple[str, ...] = ()) -> None:
    """Put a value where a path leads, through keys such as start.scale that have dots themselves."""
    for n in range(len(names), 0, -1):
        key = ".".join(names[:n])
        if key not in table:
            continue
        if n == len(names):
            table[key] = value
            return
        place = (*where, key)
        assign(as_table(".".join(place), table[key]), names[n:], value, place)
        return
    if len(names) == 1 or (where and where[0] in DESIGNS):
        table[".".join(names)] = value
        return
    table[names[0]] = {}
    assign(table[names[0]], names[1:], value, (*where, names[0]))


def shown(value: object) -> str:
    """Return what a value of TOML is, for messages."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    return wording.quoted(value) if isinstance(value, str) else repr(value)


def as_table(name: str, value: object) -> Table:
    """Return a value that must be a table."""
    if not isinstance(value, dict):
        must = "must be tables" if name.startswith("values") else "must be a table"
        msg = f"{name} {must}, got {shown(value)}"
        raise TypeError(msg)
    return value


def as_text(name: str, value: object) -> str:
    """Return a value that must be a text."""
    if not isinstance(value, str):
        msg = f"{name} must be a text, got {shown(value)}"
        raise TypeError(msg)
    return value


def refuse_unknown(name: str, table: Table, keys: Iterable[str]) -> None:
    """Refuse unknown keys of a table."""
    allowed = tuple(keys)
    for key in table:
        validate.choice(f"key of {name}" if name else "key", key, allowed)


def listed(table: Table) -> str:
    """Return the keys of a table, for messages."""
    return ", ".join(table) or "nothing"
