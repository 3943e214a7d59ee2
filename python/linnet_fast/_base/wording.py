"""Numbers, counts, times and tables as text."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

import numpy as np

_MOST_LISTED = 5
_GAP = "  "
_NAMED = re.compile(r"\s*\S+(?: \S+)*? {2,}")


def number(value: float, digits: int = 4) -> str:
    """Return a number as 0.155, 1e-6, 20000."""
    size = abs(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-2 <= size < 1e5:
        return f"{value:.0f}" if size >= 1e3 else f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def label(value: object) -> str:
    """Return a value of a parameter."""
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)


def quoted(text: str, most: int = 200) -> str:
    """Return a text of somebody's in quotes, abridged where it is long."""
    if len(text) <= most:
        return repr(text)
    return f"{text[:most]!r}... ({len(text):,} characters)"


def some(values: Sequence[object]) -> str:
    """Return the first values and the last."""
    texts = [label(value) for value in values]
    if len(texts) > _MOST_LISTED:
        texts[_MOST_LISTED - 2 : -1] = ["..."]
    return ", ".join(texts)


def count(n: int, name: str) -> str:
    """Return "1 run", "1,200 runs"."""
    return f"{n:,} {name}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes, hours or days."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def columns(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Return rows as lines of aligned cells, those of the first columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def ruled(
    rows: Sequence[Sequence[str]], left: int = 0, *, width: int | None = None, labels: int = 1
) -> str:
    """Return rows as a table with a rule under the first.

    One that is wider than `width` is folded: the columns that do not fit are a table below, which
    begins with the first `labels` columns again.

    Examples
    --------
    >>> print(ruled([["scale", "rank 1", "rank 2"], ["0.1", "20", "35"]], width=16))
    scale  rank 1
    -------------
      0.1      20
    <BLANKLINE>
    scale  rank 2
    -------------
      0.1      35
    """
    widths = [max(map(len, column)) + len(_GAP) for column in zip(*rows, strict=True)]
    parts: list[list[int]] = [[]]
    room = math.inf if width is None else width + len(_GAP) - sum(widths[:labels])
    for i in range(labels, len(widths)):
        if parts[-1] and sum(widths[k] for k in (*parts[-1], i)) > room:
            parts.append([])
        parts[-1].append(i)
    texts = []
    for part in parts:
        head, *lines = columns([[row[i] for i in (*range(labels), *part)] for row in rows], left)
        rule = "-" * max(map(len, (head, *lines)))
        texts.append("\n".join([head, rule, *lines]))
    return "\n\n".join(texts)


def folded(text: str, width: int) -> str:
    """Return a text whose lines are no wider, but for words that are; what follows a name stays beside it.

    Examples
    --------
    >>> print(folded("data       digits: 1,797 samples, 64 inputs", 28))
    data       digits: 1,797
               samples, 64
               inputs
    """
    lines = []
    for line in text.split("\n"):
        named = _NAMED.match(line)
        indent = named.end() if named and named.end() <= width / 2 else 0
        wrapped = textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += wrapped if len(line) > width else [line]
    return "\n".join(lines)
