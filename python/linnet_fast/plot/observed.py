"""Pictures of curvature, of the spectra of layers, and of overlaps with a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot._parts import (
    DARK,
    GREY,
    PALE,
    check,
    legend,
    line,
    new_axes,
    of_runs,
    step_axis,
    until_the_end,
)
from linnet_fast.plot._style import colors, panels
from linnet_fast.training.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curvature(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
) -> Axes:
    """Draw recorded eigenvalues of the Hessian, where descent loses its stability, and the loss.

    The dashed line is 2 / step_size, with momentum mu ``2 (1 + mu) / step_size`` (of Nesterov's over
    1 + 2 mu), of methods with one constant step size for all layers: above it a minimum is left. The
    loss, if it was recorded, is grey, on an axis of its own on the right.

    Parameters
    ----------
    trajectory : Trajectory
        With ``sharpness`` or ``hessian_eigenvalues(k)`` recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        Which run, or index of the leading run axes: of the runs that remain the median is drawn,
        and as a band the middle 80 %. Diverged runs are left out.

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
        If no eigenvalues were recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((2, 2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(network, scale=0.1, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientDescent(0.05), n_steps=200,
    ...                record=lf.Record.geomspace(20, ("loss", "hessian_eigenvalues(2)")))
    >>> len(curvature(run).lines)  # two eigenvalues, and 2 / step_size
    3
    """
    check(trajectory, ax, run)
    shown = _eigenvalues(trajectory)
    ax = new_axes(ax)
    for (label, values), color in zip(shown, colors(len(shown)), strict=True):
        own = of_runs(trajectory, until_the_end(trajectory, values), run, 1)
        line(ax, trajectory.record_axis, own, color=color, label=label)
    limit = _limit(trajectory, run)
    if limit is not None:
        ax.axhline(limit, color=DARK, linewidth=0.8, linestyle="--", label="limit of stability")
    step_axis(ax, trajectory)
    ax.set_ylabel("eigenvalues of the Hessian")
    if "loss" in trajectory.observables:
        right = ax.twinx()
        own = of_runs(trajectory, until_the_end(trajectory, trajectory.loss), run, 1)
        line(right, trajectory.record_axis, own, color=PALE)
        right.set_yscale("log")
        right.set_ylabel("loss", color=GREY)
        right.tick_params(axis="y", colors=GREY)
        right.spines["right"].set_visible(True)
        right.set_zorder(ax.get_zorder() - 1)
        ax.patch.set_visible(False)
    legend(ax, "best")
    return ax


def _eigenvalues(trajectory: Trajectory) -> list[tuple[str, FloatArray]]:
    """Return labels and values (*run, n_rec) of what was recorded."""
    found: dict[str, FloatArray] = {}
    for name, values in trajectory.observables.items():
        if name.startswith("hessian_eigenvalues_"):
            array = np.asarray(values, np.float64)
            ends = (array[..., 0, :], array[..., 1, :]) if name.endswith("_both") else (array,)
            for sides, side in zip(("largest", "least"), ends, strict=False):
                for k in range(side.shape[-1]):
                    label = sides if k == 0 else f"{k + 1}. {sides}"
                    found.setdefault(label, side[..., k])
    if "sharpness" in trajectory.observables:
        found.setdefault("largest", np.asarray(trajectory.observables["sharpness"], np.float64))
    if not found:
        listed = ", ".join(trajectory.observables) or "nothing"
        msg = f"trajectory must have sharpness or hessian_eigenvalues(k) recorded, got {listed}"
        raise ValueError(msg)
    return list(found.items())


def _limit(trajectory: Trajectory, run: int | tuple[int, ...]) -> float | None:
    """Return the largest eigenvalue at which the chosen runs are stable; None if they differ."""
    method: Any = trajectory.method
    size = method.constant_step_size if method.counts_steps and method.rule is None else None
    if size is None or getattr(method, "layer_multipliers", None) is not None:
        return None
    momentum = np.asarray(getattr(method, "momentum", 0.0))
    limit = 2 * (1 + momentum) / size
    if getattr(method, "nesterov", False):
        limit = limit / (1 + 2 * momentum)
    index = run if isinstance(run, tuple) else (run,)
    own = np.unique(np.broadcast_to(limit, trajectory.run_shape)[index])
    return float(own[0]) if own.size == 1 else None


def spectra(trajectory: Trajectory, *, run: int | tuple[int, ...] = ()) -> Figure:
    """Draw the singular values of every layer, a panel each.

    Parameters
    ----------
    trajectory : Trajectory
        With ``layer_singular_values`` recorded.
    run : int or tuple of int, default ()
        As for `curvature`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    AttributeError
        If they were not recorded.
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If there are more than 64 layers.
    """
    check(trajectory, None, run)
    values = until_the_end(trajectory, np.asarray(trajectory.layer_singular_values))
    n_layers = values.shape[-2]
    if n_layers > 64:
        msg = f"trajectory must be of at most 64 layers, got {n_layers}"
        raise ValueError(msg)
    columns = min(n_layers, 4)
    shades = colors(values.shape[-1])
    figure, axes = panels(columns, -(-n_layers // columns), sharex=True, sharey=True)
    for layer, ax in enumerate(np.ravel(axes)):
        if layer >= n_layers:
            ax.set_axis_off()
            continue
        own = of_runs(trajectory, values[..., layer, :], run, 2)
        there = [k for k in range(own.shape[-1]) if np.isfinite(own[..., k]).any()]
        for k in there:
            line(ax, trajectory.record_axis, own[..., k], color=shades[k], label=str(k + 1))
        step_axis(ax, trajectory)
        ax.set_title(f"layer {layer + 1}")
        ax.set_ylim(bottom=0)
        if layer % columns == 0:
            ax.set_ylabel("singular values")
    legend(max(np.ravel(axes), key=lambda ax: len(ax.lines)), "best", title="mode")
    return figure  # type: ignore[no-any-return]


def overlaps(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    name: str | None = None,
) -> Axes:
    """Draw what the end-to-end matrix has of each mode of a target.

    Parameters
    ----------
    trajectory : Trajectory
        With ``overlap(k)`` recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `curvature`.
    name : str, optional
        Of the observable; by default the only one that begins with ``overlap``.

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
        If no overlaps were recorded, or several and none is named.
    """
    check(trajectory, ax, run)
    names = [one for one in trajectory.observables if one.startswith("overlap")]
    if name is not None:
        validate.choice("name", name, tuple(trajectory.observables))
        names = [name]
    if len(names) != 1:
        got = ", ".join(names) or ", ".join(trajectory.observables) or "nothing"
        msg = f"trajectory must have one overlap(k) recorded, or name must choose one, got {got}"
        raise ValueError(msg)
    values = np.asarray(trajectory.observables[names[0]], np.float64)
    if values.ndim != len(trajectory.run_shape) + 2:
        msg = f"name must be of numbers by mode, got {names[0]!r}"
        raise ValueError(msg)
    own = of_runs(trajectory, until_the_end(trajectory, values), run, 2)
    ax = new_axes(ax)
    ax.axhline(0, color=PALE, linewidth=0.6, zorder=0)
    for mode, color in enumerate(colors(own.shape[-1])):
        line(ax, trajectory.record_axis, own[..., mode], color=color, label=str(mode + 1))
    step_axis(ax, trajectory)
    ax.set_ylabel("overlap with the modes of the target")
    legend(ax, "best", title="mode")
    return ax
