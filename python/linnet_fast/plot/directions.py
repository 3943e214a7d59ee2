"""Pictures of how the direction of a predictor converges: angle and norm over time, phase portraits.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import (
    DescentLaw,
    LateTimeLaw,
    ReducedTrajectory,
    nullcline,
    one_minus_cosine,
    phase_velocity,
)
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law
from linnet_fast.plot import _parts
from linnet_fast.plot._style import colors
from linnet_fast.training.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["angle", "one_minus_cos", "log_tan_half_angle", "norm"]
DirectionRun: TypeAlias = Trajectory | ReducedTrajectory

_LABELS: dict[str, str] = {
    "angle": r"angle $\theta$",
    "one_minus_cos": r"$1 - \cos\theta$",
    "log_tan_half_angle": r"$-\ln\,\tan(\theta/2)$",
    "norm": r"norm $|w|$",
}
_EXPECTED: dict[str, Any] = {
    "color": "#c05030",
    "linewidth": 0.9,
    "linestyle": (0, (4, 3)),
    "zorder": 3,
    "label": "expected",
}
_N_EXPECTED = 400  # points of an expected curve
_LARGEST_LOG = 700.0  # logarithms of times beyond are left out: the times would overflow
_LARGEST_NORM = 1e150
_N_FIELD = 41  # points of the field along each axis


def direction(
    trajectory: DirectionRun,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    quantity: Quantity = "angle",
    against: Literal["time", "steps"] | None = None,
    expected: LateTimeLaw | DescentLaw | None = None,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    """Draw the angle to the direction of the labels, or the norm, over time or steps.

    Parameters
    ----------
    trajectory : Trajectory or ReducedTrajectory
        Of a `Trajectory`, with ``angle`` or ``log_tan_half_angle``, or ``norm`` recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `linnet_fast.plot.singular_values`.
    quantity : {"angle", "one_minus_cos", "log_tan_half_angle", "norm"}
        The third is drawn as -ln tan(angle / 2), from where it is positive: powers of time are straight
        lines there. Angles that were recorded as ``log_tan_half_angle`` have no smallest number.
    against : {"time", "steps"}, optional
        By default steps of descent and time of a flow. Time of a flow in logarithmic time is drawn as
        it is recorded, ln(1 + t), along a linear axis; all other axes are logarithmic.
    expected : LateTimeLaw or DescentLaw, optional
        Drawn as a dashed line over the later half (by ratio): the first over time, the second over
        steps. `linnet_fast.directional_convergence` has them.
    color : color, optional
        Of the line.
    label : str, optional
        Of the line, for a legend.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    AttributeError
        If the quantity was not recorded.
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If `quantity` or `against` is none of these, a flow has no steps, the runs have different times,
        or `expected` is for the other axis or has run axes.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> loss = lf.SphericalLogisticLoss([0.0, 1.0], lf.laws.Gaussian(2))
    >>> run = lf.train(
    ...     lf.Dense((2, 1)), loss, ([[0.6, -0.8]],), method=lf.GradientDescent(1.0), n_steps=500,
    ...     record=lf.Record.geomspace(50, observables=("log_tan_half_angle",)))
    >>> ax = direction(run, quantity="one_minus_cos")
    >>> ax.get_xlabel(), ax.get_yscale()
    ('step', 'log')
    """
    validate.one_of("trajectory", trajectory, Trajectory, ReducedTrajectory)
    _parts.check_axes(ax)
    if expected is not None:
        validate.one_of("expected", expected, LateTimeLaw, DescentLaw)
    if label is not None:
        validate.instance("label", label, str)
    if color is not None and not files.optional("matplotlib.colors", "plot").is_color_like(color):
        msg = f"color must be a colour of matplotlib, got {validate.shown(color)}"
        raise ValueError(msg)
    validate.choice("quantity", quantity, tuple(_LABELS))
    if against is not None:
        validate.choice("against", against, ("time", "steps"))
    by_steps = trajectory.steps is not None if against is None else against == "steps"
    if by_steps and trajectory.steps is None:
        msg = "against must be 'time' for a flow, got 'steps'"
        raise ValueError(msg)
    values = _chosen(trajectory, _quantity(trajectory, quantity), run)
    axis = _axis(trajectory, run, by_steps=by_steps)
    in_log_time = isinstance(trajectory, Trajectory) and _is_log_time(trajectory)
    curve = None
    if expected is not None:
        curve = _expected(expected, quantity, axis, by_steps=by_steps, in_log_time=in_log_time)
    ax = _parts.new_axes(ax)
    if quantity == "log_tan_half_angle":
        values = np.where(values > 0, values, np.nan)
    _parts.line(ax, axis, values, color=colors(3)[1] if color is None else color, label=label)
    if curve is not None:
        known = ax.get_legend_handles_labels()[1]
        if label is None and "training" not in known:
            ax.lines[-1].set_label("training")
        again = {"label": None} if "expected" in known else {}
        ax.plot(*curve, **_EXPECTED | again)
    if curve is not None or label is not None:
        _parts.legend(ax, loc="best")
    _dress(ax, axis, by_steps=by_steps, in_log_time=in_log_time)
    ax.set_ylabel(_LABELS[quantity])
    if np.any(values > 0):
        ax.set_yscale("log")
    return ax


def phase_portrait(
    law: SphericalLaw,
    n_layers: int,
    ax: Axes | None = None,
    *,
    runs: DirectionRun | Sequence[DirectionRun] = (),
    largest_norm: float = 3.0,
    label_noise: float = 0.0,
) -> Axes:
    """Draw where gradient flow of balanced layers takes norm and angle.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number of layers, >= 1.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    runs : trajectory or sequence of trajectories, optional
        Drawn on it, all of their runs, each from a dot: with ``angle`` or ``log_tan_half_angle``, and
        ``norm``.
    largest_norm : float, default 3
        Right end of the axis of the norm, > 0.
    label_noise : float, default 0
        Probability in [0, 1/2) that a label is flipped.

    Returns
    -------
    matplotlib Axes
        Where the norm shrinks is shaded; the border, the same for any number of layers, is dashed.

    Raises
    ------
    AttributeError
        If a quantity was not recorded.
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from linnet_fast.laws import Gaussian
    >>> ax = phase_portrait(Gaussian(2), 3)
    >>> ax.get_xlabel(), [round(float(x), 2) for x in ax.get_ylim()]
    ('norm $|w|$', [0.0, 3.14])
    """
    checked_law(law)
    _parts.check_axes(ax)
    # Its square and its part that a grid has must not leave the range of numbers.
    right = validate.real("largest_norm", largest_norm, at_least=1e-150)
    if right > _LARGEST_NORM:
        msg = f"largest_norm must be <= {_LARGEST_NORM:g}, got {right:g}"
        raise ValueError(msg)
    drawn: tuple[DirectionRun, ...]
    if isinstance(runs, Trajectory | ReducedTrajectory):
        drawn = (runs,)
    else:
        drawn = validate.sequence("runs", runs, of="trajectories")
        for i, path in enumerate(drawn):
            validate.one_of(f"runs[{i}]", path, Trajectory, ReducedTrajectory)
    norm = np.linspace(0, right, _N_FIELD)
    angle = np.linspace(0, np.pi, _N_FIELD)
    # At norm 0 the field has no direction, with two layers and more.
    inside = np.maximum(norm, right / (4 * _N_FIELD))
    fields = phase_velocity(
        law, n_layers, norm=inside, angle=angle[:, None], label_noise=label_noise
    )
    border = nullcline(law, norm=(dense := np.linspace(0, right, 300)), label_noise=label_noise)
    paths = [
        (_chosen(path, _quantity(path, "norm"), ()), _chosen(path, _quantity(path, "angle"), ()))
        for path in drawn
    ]
    ax = _parts.new_axes(ax)
    ax.fill_between(dense, np.nan_to_num(border), np.pi, color="#eef1f4", linewidth=0, zorder=0)
    ax.streamplot(
        norm,
        angle,
        *fields,
        color=_parts.PALE,
        linewidth=0.6,
        arrowsize=0.6,
        density=0.9,
        zorder=1,
    )
    ax.plot(dense, border, **_EXPECTED | {"label": "norm stands still", "zorder": 2})
    lines = [pair for norms, angles in paths for pair in zip(norms, angles, strict=True)]
    for (r, theta), color in zip(lines, colors(len(lines)), strict=True):
        ax.plot(r, theta, color=color, linewidth=1.4, zorder=3)
        # A start on the border of the picture is seen whole.
        beyond = bool(r[0] > right)
        ax.plot(r[:1], theta[:1], "o", color=color, markersize=4, zorder=4, clip_on=beyond)
    ax.set_xlim(0, right)
    ax.set_ylim(0, np.pi)
    ax.set_yticks([0, np.pi / 2, np.pi], ["0", r"$\pi/2$", r"$\pi$"])
    ax.set_xlabel(_LABELS["norm"])
    ax.set_ylabel(_LABELS["angle"])
    return ax


def _quantity(trajectory: DirectionRun, quantity: str) -> FloatArray:
    """Return what is drawn, (*run, record), from whichever of the two forms of an angle is there."""
    if quantity == "norm":
        return np.asarray(trajectory.norm)
    recorded = trajectory.observables if isinstance(trajectory, Trajectory) else ()
    if isinstance(trajectory, Trajectory) and "log_tan_half_angle" not in recorded:
        angle = trajectory.angle
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.where(angle < np.pi, np.log(np.tan(angle / 2)), np.inf)
        s = np.where(np.isnan(angle), np.nan, s)
    else:
        s = trajectory.log_tan_half_angle
    if quantity == "log_tan_half_angle":
        return -s
    if quantity == "one_minus_cos":
        return one_minus_cosine(log_tan_half_angle=s)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(2 * np.arctan(np.exp(s)))


def _chosen(trajectory: DirectionRun, values: FloatArray, run: int | tuple[int, ...]) -> FloatArray:
    """Return the records of the runs at an index, run axes as one, without those that diverged."""
    if isinstance(trajectory, Trajectory):
        values = _parts.until_the_end(trajectory, values)
        return _parts.of_runs(trajectory, values, run, 1)
    index = validate.run_index("run", run, values.shape[:-1])
    picked: FloatArray = values[index].reshape(-1, values.shape[-1])
    return picked


def _axis(
    trajectory: DirectionRun, run: int | tuple[int, ...], *, by_steps: bool
) -> npt.NDArray[Any]:
    """Return steps or times of the records of the chosen runs, which must agree."""
    if by_steps and trajectory.steps is not None:
        return trajectory.steps
    if isinstance(trajectory, Trajectory):
        shape = (*trajectory.run_shape, trajectory.time.shape[-1])
        times = _parts.of_runs(trajectory, np.broadcast_to(trajectory.time, shape), run, 1)
    else:
        times = _chosen(trajectory, trajectory.time, run)
    if len(times) == 0:  # all diverged
        first: FloatArray = trajectory.time.reshape(-1, trajectory.time.shape[-1])[0]
        return first
    if (times != times[0]).any():
        msg = "run must pick runs with the same times, or be drawn against steps"
        raise ValueError(msg)
    return np.asarray(times[0])


def _is_log_time(trajectory: Trajectory) -> bool:
    return trajectory.method.log_time


def _expected(
    law: LateTimeLaw | DescentLaw,
    quantity: str,
    axis: npt.NDArray[Any],
    *,
    by_steps: bool,
    in_log_time: bool,
) -> tuple[FloatArray, FloatArray]:
    """Return the expected curve over the later half of the axis."""
    if isinstance(law, DescentLaw) != by_steps:
        name = type(law).__name__
        msg = f"expected must be a {'DescentLaw' if by_steps else 'LateTimeLaw'} here, got a {name}"
        raise ValueError(msg)
    runs = law.status.shape if isinstance(law, DescentLaw) else np.broadcast(*law.since).shape
    if runs:
        msg = f"expected must be of one run, got run axes {runs}"
        raise ValueError(msg)
    end = float(axis[-1])
    if in_log_time:
        x = np.linspace(end / 2, end, _N_EXPECTED)
        x = x[x < _LARGEST_LOG]
        at = np.expm1(x)
    else:
        begin = max(float(np.min(axis[axis > 0], initial=end)), 2.0 if by_steps else 0.0)
        x = np.geomspace(min(np.sqrt(begin * end), end), end, _N_EXPECTED) if end > 0 else axis[:0]
        at = x
    if isinstance(law, LateTimeLaw):
        since = float(law.since[0])
        x, at = x[at >= since], at[at >= since]
    along = {"steps" if isinstance(law, DescentLaw) else "time": at}
    y = law.norm(**along) if quantity == "norm" else -law.log_tan_half_angle(**along)
    if quantity == "angle":
        y = 2 * np.arctan(np.exp(-y))
    elif quantity == "one_minus_cos":
        y = one_minus_cosine(log_tan_half_angle=-y)
    return np.asarray(x, np.float64), y


def _dress(ax: Axes, axis: npt.NDArray[Any], *, by_steps: bool, in_log_time: bool) -> None:
    """Set limits, scale and label of the horizontal axis."""
    if in_log_time:
        ax.set_xlim(float(axis[0]), max(float(axis[-1]), 1e-300))
        ax.set_xlabel("ln(1 + time)")
        return
    positive = axis[axis > 0]
    begin = float(positive[0]) if positive.size else 1.0
    ax.set_xlim(begin, max(float(axis[-1]), begin * 1.001))
    ax.set_xscale("log")
    ax.set_xlabel("step" if by_steps else "time")
