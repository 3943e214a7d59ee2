"""What notebooks show: short tables in place of text, and bars that logs do without."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linnet_fast._base import files

_MOST_ROWS = 30


def facts(title: str, rows: Mapping[str, object]) -> str:
    """Return a table of names and what they are, as HTML.

    Parameters
    ----------
    title : str
        What it is of.
    rows : mapping of str to object
        Shown by their text.
    """
    return _table(title, (), ((name, value) for name, value in rows.items()))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> str:
    """Return a table as HTML, cut where it is long.

    Parameters
    ----------
    title : str
        What it is of.
    head : sequence of str
        Names of the columns.
    rows : iterable of sequences
        Shown by their text.
    *notes : str
        Lines below.
    """
    below = "".join(f"<br>{html.escape(note)}" for note in notes)
    return _table(title, head, rows) + below


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    every = list(rows)
    lines = ["".join(f"<th>{html.escape(name)}</th>" for name in head)] if head else []
    for first, *others in every[:_MOST_ROWS]:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<th>{html.escape(str(first))}</th>{cells}")
    if len(every) > _MOST_ROWS:
        lines.append(f"<th>...</th><td>{len(every) - _MOST_ROWS:,} more</td>")
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<strong>{html.escape(title)}</strong><table>{body}</table>"


def bar(extra: str, **options: Any) -> Any:
    """Return a progress bar: none in logs, which notebooks are not.

    Parameters
    ----------
    extra : str
        What to install for it.
    **options
        Of tqdm.
    """
    tqdm = files.optional("tqdm.auto", extra).tqdm
    # To tqdm a notebook's output is no terminal, as a log is none.
    in_notebook = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
    return tqdm(unit_scale=True, disable=False if in_notebook else None, **options)
