"""Numbers that the README and the documentation cite: one file has them, one command rewrites both.

Each row of ``measured.toml`` is a number of a section of the benchmark, or the seconds that a command
takes, with its date and machine, and the places of pages that cite it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("measured.toml")

_OURS = "linnet_fast"
_NAMES = {"jax": "JAX", "numba": "Numba", "numpy": "NumPy", "torch": "PyTorch"}
_DIGITS = 3  # of what is kept
_HEAD = """\
# Numbers that README.md and docs/ cite, each with its date and machine. Written by
#     python -m bench --update [--only SECTION ...]
#     python -m bench --update --commands
# which put them into the pages, too; tests/project/test_measured.py compares.
# `of`: value (what the goal of the row in goals.toml is about), best rival, rate NAME, over NAME, tried
# NAME: WAY (a way of a rival, in short trials), or a ratio that stands beside. In `cited` the braces are the
# number as it is printed, and … is other text of the same cell.
"""


def rows() -> list[dict[str, Any]]:
    """Return the rows of the file."""
    read: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["row"]
    return read


def citations(row: Mapping[str, Any]) -> Iterator[tuple[Path, re.Pattern[str], str]]:
    """Go through what cites a row: page, pattern whose group is the number, the number as text."""
    for page, text in row["cited"]:
        (form,) = re.findall(r"\{(.*?)\}", text)
        before, after = text.split("{" + form + "}")
        pattern = f"({_pattern(before)})([\\w.,]*[\\w])({_pattern(after)})"
        yield ROOT / page, re.compile(pattern, re.MULTILINE), f"{{{form}}}".format(row["value"])


def _pattern(text: str) -> str:
    return r"[^|\n]*".join(map(re.escape, text.split("…")))


def update(results: Mapping[str, Any]) -> list[str]:
    """Write rows of sections that were measured, and the pages; return a line for each row that changed."""
    kept, told = rows(), []
    for row in kept:
        section = results["sections"].get(row.get("section"))
        found = None if section is None else _found(section["rows"], row)
        if found is not None:
            machine = section["machine"]
            isa = machine["linnet_fast"]["isa"]
            where = f"{machine['processor']}, {machine['processors']} processors, {isa}"
            told += _put(row, found, machine["measured"][:10], where)
    _write(kept)
    return told


def update_commands() -> list[str]:
    """Run the commands of rows in an empty folder, write the seconds they take, and the pages."""
    kept, told = rows(), []
    for row in kept:
        if "command" in row:
            where = f"{os.cpu_count()} processors"
            told += _put(row, _seconds_of(row["command"]), f"{datetime.now(UTC):%Y-%m-%d}", where)
    _write(kept)
    return told


def _put(row: dict[str, Any], value: float | str, date: str, machine: str) -> list[str]:
    """Put a number into a row and into the pages."""
    before = row["value"]
    row |= {"value": value, "date": date, "machine": machine}
    for page, pattern, text in citations(row):
        old = page.read_text(encoding="utf-8")
        new = pattern.sub(lambda found, text=text: found[1] + text + found[3], old)  # type: ignore[misc]
        if new != old:
            page.write_text(new, encoding="utf-8")
    name = row.get("command") or f"{row['section']} {row['case']}"
    return [f"{name}, {row.get('of', 'seconds')}: {before} -> {value}"] if value != before else []


def _found(measured: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> float | str | None:
    """Return the number of a row among what was measured, None if it was not."""
    for one in measured:
        if row["case"].items() <= one["case"].items():
            found = _of(one, row["of"])
            return found if found is None or isinstance(found, str) else _rounded(found)
    return None


def _of(measured: Mapping[str, Any], of: str) -> float | str | None:
    rates = {name: max(values) for name, values in measured["rates"].items()}
    kind, _, name = of.partition(" ")
    found: float | str | None
    if of == "value":
        found = measured["value"]
    elif of == "best rival":
        best = measured["best_rival"]
        found = _NAMES.get(best, best)
    elif kind == "rate":
        found = rates.get(name)
    elif kind == "over":
        found = rates[_OURS] / rates[name] if name in rates else None
    elif kind == "tried":
        rival, _, way = name.partition(": ")
        tried = measured["entries"].get(rival, {}).get("tried", {})
        found = rates[_OURS] / tried[way] if way in tried else None
    else:
        found = measured["beside"].get(of)
    return found


def _rounded(number: float) -> float:
    if number == 0:
        return 0.0
    rounded = round(number, _DIGITS - 1 - floor(log10(abs(number))))
    return int(rounded) if rounded == int(rounded) and abs(rounded) >= 100 else float(rounded)


def _seconds_of(command: str) -> float:
    words = shlex.split(command)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words[1:]]
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "linnet_fast", *paths],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _rounded(time.perf_counter() - begin)


def _write(kept: Sequence[Mapping[str, Any]]) -> None:
    blocks = [
        _HEAD,
        *("[[row]]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in row.items()) for row in kept),
    ]
    FILE.write_text("\n".join(blocks), encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + "".join(f"  {_toml(item)},\n" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
