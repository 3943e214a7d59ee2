"""What pictures of trainings share: axes, the choice of runs, lines with a spread."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.training.state import Status
from linnet_fast.training.trajectory import Trajectory, run_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK = "#333333"
GREY = "#707070"
PALE = "#b0b0b0"

MOST_LINES = 10_000
"""Of a picture."""

SPREAD = (0.1, 0.5, 0.9)
"""Quantiles: the median, and around it the middle 80 %."""


def check_axes(ax: object) -> None:
    """Refuse what is neither None nor Axes of matplotlib; if there are some, it is imported already."""
    axes = sys.modules.get("matplotlib.axes")
    if ax is not None and not (axes is not None and isinstance(ax, axes.Axes)):
        msg = f"ax must be Axes of matplotlib, got {validate.shown(ax)}"
        raise TypeError(msg)


def check(trajectory: Trajectory, ax: object, run: int | tuple[int, ...]) -> None:
    """Refuse what is no trajectory, no Axes, or no index of its runs."""
    run_index(trajectory, run)
    check_axes(ax)


def new_axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    pyplot = files.optional("matplotlib.pyplot", "plot")
    return pyplot.subplots(layout="constrained")[1]  # type: ignore[no-any-return]


def marked(name: str, values: object, *, at_least: float | None = None) -> FloatArray:
    """Return where lines are drawn, in one axis; none are fine, and what no picture can hold is not."""
    found = validate.numbers(name, values, empty=True)
    if found.size > MOST_LINES:
        msg = f"{name} must be at most {MOST_LINES:,}, got {found.size:,}"
        raise ValueError(msg)
    if found.size:
        found = validate.real_array(name, found, at_least=at_least)
    return np.asarray(found, np.float64).ravel()


def of_runs(
    trajectory: Trajectory, values: FloatArray, run: int | tuple[int, ...], n_inner: int
) -> FloatArray:
    """Return the values of the runs at an index, those that diverged left out, run axes as one."""
    index = run_index(trajectory, run)
    inner = values.shape[values.ndim - n_inner :]
    left: FloatArray = values[index].reshape(-1, *inner)[np.ravel(trajectory.ok[index])]
    return left


def until_the_end(trajectory: Trajectory, values: FloatArray) -> FloatArray:
    """Return values with the last record of each converged run repeated to the end.

    Parameters
    ----------
    trajectory : Trajectory
        What was recorded; a run that converged stays as it is, so its records do.
    values : ndarray of float64, shape (*run, n_rec, ...)
        NaN after the end of a run.

    Returns
    -------
    ndarray of float64, shape (*run, n_rec, ...)
        NaN only where a run diverged, or ran out of steps.
    """
    axis = trajectory.record_axis
    last = np.searchsorted(axis, trajectory.stopped_at, side="right") - 1
    ended = np.where(trajectory.status == Status.CONVERGED, last, axis.size)
    record = np.minimum(np.arange(axis.size), ended[..., None])
    index = record.reshape(*record.shape, *(1,) * (values.ndim - record.ndim))
    return np.take_along_axis(values, index, axis=record.ndim - 1)


def spread(values: FloatArray, *, step: bool = False) -> FloatArray:
    """Return the 10 %, 50 % and 90 % quantiles over the first axis, NaN left out."""
    if len(values) == 0:
        values = np.full((1, *values.shape[1:]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN at some record
        # Counts stay counts: no mean of the middle two.
        method = "inverted_cdf" if step else "linear"
        quantiles: FloatArray = np.nanquantile(values, SPREAD, axis=0, method=method)  # type: ignore[call-overload]
    return quantiles


def line(
    ax: Axes,
    x: npt.NDArray[np.int64] | FloatArray,
    values: FloatArray,
    *,
    color: Any,
    label: str | None = None,
    step: bool = False,
    style: str = "-",
) -> None:
    """Draw the median over the first axis and the spread around it."""
    low, middle, high = spread(values, step=step)
    if len(values) > 1:
        kind = "post" if step else None
        ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0, step=kind)  # type: ignore[arg-type]
    drawn = "steps-post" if step else "default"
    ax.plot(x, middle, color=color, linewidth=1.2, label=label, drawstyle=drawn, linestyle=style)


def step_axis(ax: Axes, trajectory: Trajectory) -> None:
    """Make the axis of steps, or of times, logarithmic, its 0 left out; of log(1 + t) linear."""
    begin = first_record(trajectory)
    # Limits first: a scale without them would look for positive records, and there may be none.
    if trajectory.method.log_time:
        ax.set_xlim(begin, max(trajectory.record_axis[-1], begin + 1e-3))
        ax.set_xlabel("ln(1 + time)")
        return
    ax.set_xlim(begin, max(trajectory.record_axis[-1], begin * 1.001))
    ax.set_xscale("log")
    ax.set_xlabel("time" if trajectory.steps is None else "step")


def first_record(trajectory: Trajectory) -> float:
    """Return the first record that the axis can show."""
    axis = trajectory.record_axis
    if trajectory.method.log_time:
        return float(axis[0])
    least = 1.0 if trajectory.steps is not None else float(axis[axis > 0].min(initial=axis[-1]))
    return max(least, float(axis[0])) or 1.0


def power(value: float) -> str:
    """Return a number as TeX: 10^-6, 2 x 10^-6, 0.5."""
    if not math.isfinite(value):
        return r"$\infty$" if value > 0 else f"{value:g}"
    if value == 0 or 1e-2 <= value < 1e4:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    text = f"10^{{{int(exponent)}}}"
    return f"${text}$" if mantissa == "1.0" else rf"${float(mantissa):g}\times{text}$"


def legend(
    ax: Axes,
    loc: Any,
    *,
    title: str | None = None,
    beside: tuple[float, float] | None = None,
    more: Sequence[Any] = (),
) -> None:
    """Draw a legend without a frame, in columns if long; none if nothing has a label.

    `more` are handles of what is not drawn itself.
    """
    handles = [*ax.get_legend_handles_labels()[0], *more]
    n_labels = len(handles)
    if n_labels == 0:
        return
    ax.legend(
        handles=handles,
        loc=loc,
        bbox_to_anchor=beside,
        title=title,
        frameon=False,
        handlelength=1.8,
        labelspacing=0.3,
        ncols=1 + (n_labels - 1) // 12,
        columnspacing=1.0,
        fontsize=8,
        title_fontsize=8,
    )
