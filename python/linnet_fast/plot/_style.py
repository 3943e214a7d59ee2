"""How pictures look."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from linnet_fast._base import files

STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 8,
}
"""Settings of matplotlib."""

_LETTERS = 15.5  # of a title in an inch, at most
_LINE = 0.17  # inches
_WORD = re.compile(r"(?:\$[^$]*\$|\S)+")


def panels(columns: int, rows: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure and an array of Axes, one per panel.

    Parameters
    ----------
    columns, rows : int
        How many panels.
    **options
        Of ``matplotlib.pyplot.subplots``.

    Returns
    -------
    matplotlib Figure, ndarray of Axes
        Of shape (columns,) for one row, else (rows, columns).
    """
    pyplot = files.optional("matplotlib.pyplot", "plot")
    with pyplot.rc_context(STYLE):
        size = (0.6 + 2.9 * columns, 0.4 + 2.3 * rows)
        figure, axes = pyplot.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False, **options
        )
    return figure, axes[0] if rows == 1 else axes


def _broken(text: str, longest: int) -> list[str]:
    """Return lines of so many letters at most, if no word is longer."""
    lines = [""]
    for word in _WORD.findall(text):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and len(longer) > longest:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def headline(figure: Any, text: str) -> None:
    """Put a title above all panels of a figure, which grows by its lines; panels stay as they are.

    Parameters
    ----------
    figure : matplotlib Figure
    text : str
        Broken between words where it is wider than the figure; a formula between $ is one word.
    """
    width, height = figure.get_size_inches()
    longest = int(_LETTERS * width)
    lines = _broken(text, longest)
    # As many lines as it takes, all about equally long.
    while longest > 1 and len(even := _broken(text, longest - 1)) == len(lines) > 1:
        lines, longest = even, longest - 1
    figure.suptitle("\n".join(lines), fontsize=STYLE["axes.titlesize"])
    figure.set_size_inches(width, height + _LINE * len(lines))


def entry(ax: Any, label: str, **options: Any) -> None:
    """Give a legend an entry that stands for all lines or dots of a style, whatever their colour.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose legend.
    label : str
        What such lines are.
    **options
        Of ``ax.plot``; grey by default.
    """
    ax.plot([], [], **{"color": "#606060", "label": label, **options})


def key(figure: Any, ax: Any, title: str | None = None) -> None:
    """Put the legend of a panel beside all panels of a figure.

    Parameters
    ----------
    figure : matplotlib Figure
    ax : matplotlib Axes
        Whose legend.
    title : str, optional
        What its entries are.
    """
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside right center", frameon=False)


def colors(n: int) -> list[Any]:
    """Return colours in order, told apart in grey and by the colour-blind; the yellow end left out.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    list of RGBA
    """
    matplotlib = files.optional("matplotlib", "plot")
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, n)))
