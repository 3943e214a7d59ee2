"""Pictures of trainings: losses, singular values, ranks, stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot._parts import (
    DARK,
    PALE,
    check,
    first_record,
    legend,
    line,
    marked,
    new_axes,
    of_runs,
    power,
    step_axis,
    until_the_end,
)
from linnet_fast.plot._style import STYLE, colors
from linnet_fast.rank_dynamics import effective_rank, reduced_rank_regression
from linnet_fast.rank_dynamics.learned import learned_at, n_ranks
from linnet_fast.training.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_SHOWN = 10  # singular values of a matrix whose rank is not known


def singular_values(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    n_modes: int | None = None,
) -> Axes:
    """Draw the singular values of the end-to-end matrix over steps, or time of a flow.

    Parameters
    ----------
    trajectory : Trajectory
        With singular values recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        Which run, or index of the leading run axes: of the runs that remain the median is drawn,
        and as a band the middle 80 %. Diverged runs are left out.
    n_modes : int, optional
        How many of the largest to draw; by default all.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    AttributeError
        If singular values were not recorded.
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If `n_modes` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> network = lf.Dense((2, 2, 2))
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(network, scale=1e-3, rng=0, batch_shape=5)
    >>> run = lf.train(network, loss, start, method=lf.GradientDescent(0.05), n_steps=400)
    >>> len(singular_values(run).lines)
    2
    """
    check(trajectory, ax, run)
    values = of_runs(trajectory, until_the_end(trajectory, trajectory.singular_values), run, 2)
    n_all = values.shape[-1]
    shown = n_all if n_modes is None else validate.integer("n_modes", n_modes, low=1, high=n_all)
    ax = new_axes(ax)
    for mode, color in enumerate(colors(shown)):
        line(ax, trajectory.record_axis, values[..., mode], color=color, label=str(mode + 1))
    step_axis(ax, trajectory)
    ax.set_ylabel("singular values")
    ax.set_ylim(bottom=0)
    return ax


def rank(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
) -> Axes:
    """Draw how many modes of the data have been learned over steps, or time of a flow.

    Counted are the singular values of the end-to-end matrix above half of the strength at which the
    modes of the data come to rest.

    Parameters
    ----------
    trajectory : Trajectory
        With singular values recorded; its data have no run axes.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `singular_values`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If singular values were not recorded (nor products, nor weights).
    """
    check(trajectory, ax, run)
    learned = of_runs(trajectory, learned_at(trajectory), run, 1)
    n_modes = learned.shape[-1]
    ax = new_axes(ax)
    with np.errstate(invalid="ignore"):
        counts = (learned[..., None, :] <= trajectory.record_axis[:, None]).sum(axis=-1)
    line(ax, trajectory.record_axis, counts.astype(np.float64), color=DARK, step=True)
    step_axis(ax, trajectory)
    ax.set_ylabel("rank")
    ax.set_ylim(-0.04 * n_modes, 1.08 * n_modes)
    ax.set_yticks(np.unique(np.linspace(0, n_modes, min(n_modes, 3) + 1).round()))
    return ax


def _effective_rank(trajectory: Trajectory, ax: Axes, run: int | tuple[int, ...]) -> None:
    """Draw the effective rank of the end-to-end matrix, whatever it is trained on."""
    values = until_the_end(trajectory, effective_rank(trajectory.singular_values))
    line(ax, trajectory.record_axis, of_runs(trajectory, values, run, 1), color=DARK)
    step_axis(ax, trajectory)
    ax.set_ylabel("effective rank")
    ax.set_ylim(bottom=0)


def _accuracy(trajectory: Trajectory, ax: Axes, run: int | tuple[int, ...]) -> None:
    """Draw the accuracy, and dashed those on other data."""
    names = ["accuracy", *(f"accuracy_{name}" for name in trajectory.evaluated)]
    shades = [DARK, *colors(len(names) - 1)]
    for name, color in zip(names, shades, strict=True):
        if name in trajectory.observables:
            own = until_the_end(trajectory, np.asarray(trajectory.observables[name]))
            style = "-" if name == "accuracy" else "--"
            shown = of_runs(trajectory, own, run, 1)
            line(ax, trajectory.record_axis, shown, color=color, style=style)
    step_axis(ax, trajectory)
    ax.set_ylabel("accuracy")
    ax.set_ylim(-0.04, 1.08)


def loss(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    levels: npt.ArrayLike = (),
) -> Axes:
    """Draw the loss over steps, or time of a flow; losses that were evaluated besides in colours, dashed.

    Parameters
    ----------
    trajectory : Trajectory
        With the loss recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `singular_values`.
    levels : array_like, shape (k,), optional
        Losses to mark by horizontal lines.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    AttributeError
        If the loss was not recorded.
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    """
    check(trajectory, ax, run)
    marks = marked("levels", levels)
    values = of_runs(trajectory, until_the_end(trajectory, trajectory.loss), run, 1)
    ax = new_axes(ax)
    for level in marks:
        ax.axhline(level, color=PALE, linewidth=0.6, zorder=0)
    names = list(trajectory.evaluated)
    line(ax, trajectory.record_axis, values, color=DARK, label="training" if names else None)
    for name, color in zip(names, colors(len(names)), strict=True):
        own = until_the_end(trajectory, np.asarray(trajectory.observables[f"loss_{name}"]))
        shown = of_runs(trajectory, own, run, 1)
        line(ax, trajectory.record_axis, shown, color=color, label=name, style="--")
    step_axis(ax, trajectory)
    ax.set_ylabel("loss")
    if names:
        legend(ax, "best")
    return ax


def stages(
    trajectory: Trajectory,
    scales: Sequence[float] | FloatArray,
    *,
    run: int | tuple[int, ...] = (),
    n_columns: int = 4,
    title: str | None = None,
) -> Figure:
    """Draw how the rank climbs, for several scales of the start, one column each.

    From top to bottom: the singular values of the end-to-end matrix, how many modes have been
    learned, and the loss with the least losses of rank 0, 1, 2, ... as grey lines; losses that were
    evaluated besides are dashed. Other losses than the squared one have no such modes: the effective
    rank is drawn, the loss in logarithmic scale, and the accuracy where it was recorded. Lines are
    medians over the other run axes, bands the middle 80 %.

    Parameters
    ----------
    trajectory : Trajectory
        With loss and singular values recorded. Its first run axis is the scale; its data have none.
    scales : array_like, shape (run_shape[0],)
        The scales.
    run : int or tuple of int, default ()
        Index of the run axes that follow the scale; medians are over those that remain.
    n_columns : int, default 4
        Draw at most so many scales, evenly picked, the first and the last among them.
    title : str, optional
        Put above the picture.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    AttributeError
        If loss or singular values were not recorded.
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If `scales` are not one per index of the first run axis.
    """
    pyplot = files.optional("matplotlib.pyplot", "plot")
    validate.instance("trajectory", trajectory, Trajectory)
    values = validate.real_array("scales", scales)
    if not trajectory.run_shape:
        msg = "trajectory must have a run axis of scales, got a single run"
        raise ValueError(msg)
    own_run = validate.run_index("run", run, trajectory.run_shape[1:])
    if title is not None:
        validate.instance("title", title, str)
    if values.shape != trajectory.run_shape[:1]:
        msg = f"scales must have shape {trajectory.run_shape[:1]}, got {values.shape}"
        raise ValueError(msg)
    n_columns = validate.integer("n_columns", n_columns, low=1, high=100)
    picked = np.unique(np.linspace(0, len(values) - 1, n_columns).round().astype(int))
    picked = picked[np.argsort(-values[picked], kind="stable")]  # large scales first

    known = "modes" in trajectory.loss_function.supports
    n_modes = n_ranks(trajectory) if known else min(trajectory.network.max_rank, _MOST_SHOWN)
    levels = np.zeros(0)
    if known:
        levels = reduced_rank_regression(trajectory.squared_loss).losses[: n_modes + 1]
    heights = (3, 1.3, 1.7) if known else (3, 1.5, 1.7, 1.3)
    heights = heights if known or "accuracy" in trajectory.observables else heights[:3]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(heights),
            len(picked),
            figsize=(1.3 + 2.1 * len(picked), 0.8 * sum(heights)),
            sharex=True,
            sharey="row",
            squeeze=False,
            height_ratios=heights,
            layout="constrained",
        )
        for column, index in zip(axes.T, picked, strict=True):
            chosen = (int(index), *own_run)
            singular_values(trajectory, column[0], run=chosen, n_modes=n_modes)
            if known:
                rank(trajectory, column[1], run=chosen)
            else:
                _effective_rank(trajectory, column[1], chosen)
            loss(trajectory, column[2], run=chosen, levels=levels)
            if len(heights) > 3:
                _accuracy(trajectory, column[3], chosen)
            column[0].set_title(f"scale {power(values[index])}")
        for ax in axes.flat:
            ax.label_outer()
        if known:
            _limits(axes, trajectory, picked)
            _name_levels(axes[2, -1], levels, n_modes)
        else:
            axes[2, 0].set_yscale("log")
            for row in axes[:2]:
                tops = [line.get_ydata() for ax in row for line in ax.lines]
                row[0].set_ylim(0, 1.05 * max(np.nanmax(top, initial=1e-300) for top in tops))
        lines = axes[0, 0].get_lines()
        figure.legend(
            handles=lines,
            loc="outside right upper",
            title="mode",
            frameon=False,
            handlelength=1.2,
            labelspacing=0.3,
        )
        figure.align_ylabels(axes[:, 0])
        if title is not None:
            figure.suptitle(title, fontsize=9.5)
    return figure  # type: ignore[no-any-return]


def _name_levels(ax: Axes, levels: FloatArray, n_modes: int) -> None:
    for k in {0, n_modes}:
        ax.annotate(
            f"best of\nrank {k}",
            (1.02, levels[k]),
            xycoords=("axes fraction", "data"),
            fontsize=6.5,
            color="#707070",
            verticalalignment="center",
            annotation_clip=False,
        )


def _limits(axes: npt.NDArray[Any], trajectory: Trajectory, picked: npt.NDArray[np.int_]) -> None:
    """Begin where something happens in some column, and let a large start not squash the rest."""
    first = first_record(trajectory)
    learned = learned_at(trajectory)[picked]
    later = learned[learned > first]
    if later.size:
        before = 10.0 ** np.floor(np.log10(later.min() / 5))
        begin = max(first, 0.8 * later.min() if trajectory.method.log_time else before)
        axes[0, 0].set_xlim(left=begin)
    best = reduced_rank_regression(trajectory.squared_loss).losses
    room = best[0] - best[-1]
    if room > 0:
        low, high = best[-1] - 0.08 * room, best[0] + 0.25 * room
        for name in trajectory.evaluated:
            recorded = until_the_end(trajectory, np.asarray(trajectory.observables[f"loss_{name}"]))
            ends = recorded[picked][trajectory.ok[picked]][:, -1]
            if ends.size:
                low, high = (
                    min(low, ends.min() - 0.08 * room),
                    max(high, np.median(ends) + 0.08 * room),
                )
        axes[2, 0].set_ylim(low, high)
