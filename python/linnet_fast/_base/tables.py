"""Tables of text: what is in a .csv file, as numbers or as labels."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

_DELIMITERS = ("\t", ";", ",", None)  # None: any white space
_MISSING = frozenset({"", "NA", "N/A", "na", "n/a"})
"""What stands for no number, besides nan in any spelling."""


class Table(NamedTuple):
    """Fields of equally long rows."""

    names: tuple[str, ...]
    """Of the columns; empty if the file gives none."""
    rows: list[list[str]]
    """At least one."""
    first_line: int
    """Number of the first row, for messages."""

    @property
    def n_columns(self) -> int:
        """How many columns there are."""
        return len(self.rows[0])

    def place(self, name: str) -> int:
        """Return where a column is, by its name, or else by its number from 1 on."""
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and 1 <= int(name) <= self.n_columns:
            return int(name) - 1
        known = f"{', '.join(self.names)} or " if self.names else ""
        msg = f"it has no column {name!r}, but {known}1 to {self.n_columns}"
        raise ValueError(msg)

    def split(self, places: Sequence[int]) -> tuple[Table, Table]:
        """Return the table without some columns, and a table of these, in the order they are given in."""
        others = [place for place in range(self.n_columns) if place not in places]
        return self._of(others), self._of(places)

    def _of(self, places: Sequence[int]) -> Table:
        names = tuple(self.names[i] for i in places) if self.names else ()
        return Table(names, [[row[i] for i in places] for row in self.rows], self.first_line)

    def array(self) -> npt.NDArray[Any]:
        """Return integers if all are, else floats, else the text of a single column."""
        for kind in (np.int64, np.float64):
            try:
                return np.array(self.rows, dtype=kind)
            except (ValueError, OverflowError):
                continue
        if self.n_columns == 1:
            return np.array([row[0] for row in self.rows])
        bad = next(
            (number, field)
            for number, row in enumerate(self.rows, start=self.first_line)
            for field in row
            if not _is_number(field)
        )
        msg = f"row {bad[0]} holds {bad[1]!r}, which is not a number"
        raise ValueError(msg)

    def with_gaps(self) -> npt.NDArray[Any]:
        """Return numbers, NaN where a field is empty or says that there is none."""
        rows = [["nan" if field in _MISSING else field for field in row] for row in self.rows]
        return np.asarray(Table(self.names, rows, self.first_line).array())


def read(file: BinaryIO) -> Table:
    """Return the table in a .csv file: a row per line; a first line of names is known as such."""
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"it must be UTF-8 text, got byte {error.object[error.start]:#x} at {error.start}"
        raise ValueError(msg) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        msg = "it is empty"
        raise ValueError(msg)
    ends = lines[0] + lines[-1]
    delimiter = next(d for d in _DELIMITERS if d is None or d in ends)
    if delimiter is None:
        rows = [line.split() for line in lines]
        if not all(map(_is_number, rows[-1])):
            rows = [[line.strip()] for line in lines]  # labels may have spaces inside
    else:
        rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter)]
    names: tuple[str, ...] = ()
    if _has_names(rows):
        names, rows = tuple(rows[0]), rows[1:]
    first_line = 2 if names else 1
    for number, row in enumerate(rows, start=first_line):
        if len(row) != len(rows[0]):
            msg = f"row {number} has {len(row)} columns, the first has {len(rows[0])}"
            raise ValueError(msg)
    return Table(names, rows, first_line)


def _has_names(rows: list[list[str]]) -> bool:
    """Return whether the first row holds the names of the columns."""
    first, *others = rows
    if not others or any(map(_is_number, first)) or _MISSING.issuperset(first):
        return False
    if len(first) > 1 or _is_number(others[0][0]):
        return True
    # One column of labels: a name is what occurs once where every label occurs more often.
    counts = Counter(row[0] for row in others)
    return first[0] not in counts and min(counts.values()) > 1


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which Python allows and NumPy does not
