"""Pictures of the rank dynamics of trainings: modes and ranks beside theory, distances to paths.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot import _parts
from linnet_fast.plot._style import colors
from linnet_fast.rank_dynamics import (
    effective_rank,
    effective_strengths,
    joint_decomposition,
    limit_time,
    mode_descent,
    mode_flow,
    mode_strengths,
    nuclear_norm,
    numerical_rank,
    participation_ratio,
    path_distances,
    reduced_rank_regression,
    stable_rank,
)
from linnet_fast.rank_dynamics.predictions import aligned_log_strengths
from linnet_fast.training.trajectory import Trajectory, run_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measure = Literal[
    "numerical_rank", "stable_rank", "effective_rank", "participation_ratio", "nuclear_norm"
]

_N_THEORY = 400  # points of a theory curve
_MEASURES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "stable_rank": stable_rank,
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "nuclear_norm": nuclear_norm,
}
_THEORY: dict[str, Any] = {
    "color": "#c05030",  # stands out from all colours of modes
    "linewidth": 0.9,
    "linestyle": (0, (4, 3)),
    "zorder": 3,
}
_NEAR = 1e-3  # relative distances below this are as dark as can be


def modes(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    n_modes: int | None = None,
    relative: bool = False,
    rescaled: bool = False,
    theory: bool = True,
) -> Axes:
    """Draw the strength of each mode of the data, and on top what theory says.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `linnet_fast.plot.singular_values`.
    n_modes : int, optional
        How many to draw, in the order of descending sigma; by default all with sigma > 0.
    relative : bool, default False
        Draw how much of a mode is learned, its strength over sigma / lam.
    rescaled : bool, default False
        Over time divided by delta, where the modes of the start have strength exp(-2 delta) in the
        geometric mean, two layers only; the limit 1 / sigma of each learning time is marked.
        By default over steps, or time of a flow, in logarithmic scale; of flows in logarithmic time over
        ln(1 + t).
    theory : bool, default True
        Draw closed forms as dashed lines: of two dense layers those of the `effective_strengths` of
        the start, of one layer from any start, of more from balanced aligned starts. They hold where
        the data commute; other networks and starts, weight decay and layer multipliers have none.

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
        If neither product nor weights were recorded, `n_modes` is out of range, or time cannot be
        rescaled: the network has not two dense layers, the start is not small, or step sizes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> network = lf.Dense((2, 4, 2))
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(network, scale=1e-4, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientFlow(), until=30.0,
    ...                record=lf.Record.geomspace(100, observables=("product",)))
    >>> len(modes(run).lines)  # two modes, and theory for each
    4
    """
    _parts.check(trajectory, ax, run)
    for name, flag in (("relative", relative), ("rescaled", rescaled), ("theory", theory)):
        validate.flag(name, flag)
    with np.errstate(over="ignore", invalid="ignore"):  # on the way to divergence
        values = _parts.until_the_end(trajectory, mode_strengths(trajectory))
    sigma, targets = _modes_of(trajectory, run)
    n_all = int(np.count_nonzero(sigma > 0))
    shown = n_all if n_modes is None else validate.integer("n_modes", n_modes, low=1, high=n_all)
    values = _parts.of_runs(trajectory, values, run, 2)
    scale = _parts.of_runs(trajectory, targets, run, 1)[:, None, :] if relative else 1.0
    axis = _Axis(trajectory, run, rescaled=rescaled)
    grid = axis.grid()
    expected = _theory(trajectory, run, grid) if theory else None
    ax = _parts.new_axes(ax)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = values / scale
        expected = None if expected is None else expected / scale
    for mode, color in enumerate(colors(shown)):
        label = str(mode + 1)
        _parts.line(ax, axis.records, values[..., mode], color=color, label=label)
        if rescaled and sigma[mode] > 0:
            mark = float(limit_time(sigma[mode]))
            ax.axvline(mark, color=color, linewidth=0.7, linestyle=":", zorder=0)
    if shown and expected is not None:
        for mode in range(shown):
            middle = _parts.spread(expected[..., mode])[1]
            ax.plot(axis.place(grid), middle, **_THEORY)
        ax.lines[-1].set_label("theory")
    axis.dress(ax)
    ax.set_ylabel("part learned" if relative else "mode strength")
    if shown:
        _parts.legend(ax, loc="center left", title="mode", beside=(1.01, 0.5))
    return ax


def rank_staircase(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    measure: Measure = "numerical_rank",
    rtol: float = 1e-2,
    rescaled: bool = False,
    theory: bool = True,
) -> Axes:
    """Draw how the rank of the end-to-end matrix climbs, by one of several measures.

    Parameters
    ----------
    trajectory : Trajectory
        With singular values recorded.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    run : int or tuple of int, default ()
        As for `linnet_fast.plot.singular_values`.
    measure : str, default "numerical_rank"
        Or "stable_rank", "effective_rank", "participation_ratio", "nuclear_norm": functions of
        `linnet_fast.rank_dynamics`. All but the first and the last do not depend on the size of
        the matrix, so they do not begin with 0.
    rtol : float, default 1e-2
        For the numerical rank: singular values count from this times the largest strength at which
        a mode rests; > 0.
    rescaled, theory
        As for `modes`; theory is the same measure of the strengths of the closed forms.

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
        If `measure` is none of these, `rtol` is not positive, or time cannot be rescaled.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> network = lf.Dense((2, 4, 2))
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(network, scale=1e-4, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientFlow(), until=30.0)
    >>> sorted(set(rank_staircase(run).lines[-2].get_ydata().tolist()))
    [0.0, 1.0, 2.0]
    """
    _parts.check(trajectory, ax, run)
    for name, flag in (("rescaled", rescaled), ("theory", theory)):
        validate.flag(name, flag)
    validate.choice("measure", measure, ("numerical_rank", *_MEASURES))
    part = validate.real("rtol", rtol)
    if part <= 0:
        msg = f"rtol must be > 0, got {part:g}"
        raise ValueError(msg)
    values = _parts.until_the_end(trajectory, trajectory.singular_values)
    values = _parts.of_runs(trajectory, values, run, 2)
    _, targets = _modes_of(trajectory, run)
    rest = _parts.of_runs(trajectory, targets, run, 1)
    largest = np.where(np.isfinite(rest), rest, 0.0).max(axis=-1, initial=0.0)[:, None]
    counts = measure == "numerical_rank"

    def measured(singular: FloatArray) -> FloatArray:
        if not len(singular):  # all runs diverged
            return np.zeros(singular.shape[:-1])
        if not counts:
            return _MEASURES[measure](singular)
        unit = singular / np.where(largest > 0, largest, 1.0)[..., None]
        return numerical_rank(unit, rtol=0.0, atol=part)

    axis = _Axis(trajectory, run, rescaled=rescaled)
    grid = axis.grid()
    expected = _theory(trajectory, run, grid) if theory else None
    ax = _parts.new_axes(ax)
    color = colors(3)[1]
    _parts.line(ax, axis.records, measured(values), color=color, step=counts, label="training")
    if expected is not None:
        # What diverges has no rank.
        sizes = np.where(np.isfinite(expected), np.abs(expected), np.nan)
        middle = _parts.spread(measured(sizes), step=counts)[1]
        drawstyle = "steps-post" if counts else "default"
        ax.plot(axis.place(grid), middle, label="theory", drawstyle=drawstyle, **_THEORY)
        _parts.legend(ax, loc="lower right")
    axis.dress(ax)
    ax.set_ylabel(measure.replace("_", " "))
    top = max((np.nanmax(line.get_ydata(), initial=0.0) for line in ax.lines), default=0.0)
    if measure != "nuclear_norm":
        n_ranks = values.shape[-1]
        ticker = files.optional("matplotlib.ticker", "plot")
        ax.yaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
        ax.set_ylim(-0.04 * n_ranks, 1.08 * n_ranks)
    elif top > 0:
        ax.set_ylim(-0.04 * top, 1.08 * top)
    return ax


def path_distance(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    run: int | tuple[int, ...] = (),
    path: Literal["reduced_rank", "sigma_ordered"] = "reduced_rank",
    norm: Literal["prediction", "frobenius"] = "prediction",
) -> Axes:
    """Draw as a map how far the end-to-end matrix is from the best matrix of each rank.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.
    ax : matplotlib Axes, optional
        Where to draw, with a colour bar beside it; by default a new figure.
    run : int or tuple of int, default ()
        As for `linnet_fast.plot.singular_values`; medians are drawn.
    path : {"reduced_rank", "sigma_ordered"}
        The matrices of least loss of each rank, or those of the first modes by descending sigma.
    norm : {"prediction", "frobenius"}
        Distance of the predictions, ``|(P - W_k) input_cov^(1/2)|_F``, or of the matrices. The
        latter is dominated by inputs of next to no power, if there are such.

    Returns
    -------
    matplotlib Axes
        Dark is near: distances are relative to the norm of the least-squares solution. The white
        line goes through the nearest rank.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such run.
    ValueError
        If neither product nor weights were recorded, or `path` or `norm` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import linnet_fast as lf
    >>> network = lf.Dense((2, 4, 2))
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(network, scale=1e-4, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientFlow(), until=30.0,
    ...                record=lf.Record.geomspace(100, observables=("product",)))
    >>> path_distance(run).get_ylabel()
    'rank k'
    """
    _parts.check(trajectory, ax, run)
    validate.choice("path", path, ("reduced_rank", "sigma_ordered"))
    validate.choice("norm", norm, ("prediction", "frobenius"))
    with np.errstate(over="ignore", invalid="ignore"):  # on the way to divergence
        distances = path_distances(trajectory)
    if norm == "frobenius":
        array: FloatArray = getattr(distances, path)
        label = r"$|P - W_k| \, / \, |W_K|$"
    else:
        size = np.linalg.norm(reduced_rank_regression(trajectory.squared_loss).strengths, axis=-1)
        size = np.where(size > 0, size, 1.0)[..., None, None]
        array = getattr(distances, f"{path}_prediction") / size
        label = r"$|(P - W_k)\, C^{1/2}| \, / \, |W_K C^{1/2}|$"
    values = _parts.of_runs(trajectory, _parts.until_the_end(trajectory, array), run, 2)
    if not len(values):
        values = np.full((1, *array.shape[-2:]), np.nan)
    middle = _parts.spread(values)[1]
    ax = _parts.new_axes(ax)
    begin = _parts.first_record(trajectory)
    seen = trajectory.record_axis >= begin
    if seen.any():
        x, middle = np.asarray(trajectory.record_axis[seen], np.float64), middle[seen]
    else:  # nothing but step 0, which a logarithmic axis has no place for
        x, middle = np.array([begin]), middle[-1:]
    n_ranks = middle.shape[-1]
    matplotlib = files.optional("matplotlib", "plot")
    borders = _borders(x, linear=trajectory.method.log_time)
    mesh = ax.pcolormesh(
        borders,
        np.arange(n_ranks + 1) - 0.5,
        np.clip(middle.T, _NEAR, 1.0),
        norm=matplotlib.colors.LogNorm(_NEAR, 1.0),
        cmap="viridis",
        rasterized=True,
    )
    known = np.isfinite(middle).all(axis=-1)
    nearest = np.where(known, np.argmin(np.where(known[:, None], middle, 0.0), axis=-1), np.nan)
    ax.plot(x, nearest, color="white", linewidth=1.2, drawstyle="steps-mid")
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    _parts.step_axis(ax, trajectory)
    ax.set_xlim(*borders[[0, -1]])
    ax.set_ylabel("rank k")
    ax.set_ylim(-0.5, n_ranks - 0.5)
    ax.yaxis.set_major_locator(
        files.optional("matplotlib.ticker", "plot").MaxNLocator(11, integer=True)
    )
    return ax


class _Axis:
    """The horizontal axis of a picture: steps or times, or rescaled time."""

    def __init__(
        self, trajectory: Trajectory, run: int | tuple[int, ...], *, rescaled: bool
    ) -> None:
        self.trajectory = trajectory
        self.unit = 1.0
        self.begin: float = (
            trajectory.start.time if trajectory.steps is None else trajectory.start.step
        ) or 0.0
        self.rescaled = rescaled
        if rescaled:
            if trajectory.phases:
                msg = (
                    f"trajectory must be of one phase to rescale time, got {len(trajectory.phases)}"
                )
                raise ValueError(msg)
            self.unit = _delta(trajectory, run)
            if (step := trajectory.method.constant_step_size) is not None:
                sizes = np.broadcast_to(step, trajectory.run_shape)
                sizes = np.unique(sizes[run_index(trajectory, run)])
                if len(sizes) > 1:
                    msg = f"run must pick runs of one step size to rescale time, got {sizes}"
                    raise ValueError(msg)
                self.unit /= sizes[0]
        self.records = self.place(trajectory.record_axis)

    def place(self, when: npt.NDArray[Any]) -> FloatArray:
        """Return where steps or times are drawn."""
        if not self.rescaled:
            return np.asarray(when, np.float64)
        linear = self.trajectory.method.linear_time
        return np.asarray((linear(when) - linear(self.begin)) / self.unit, np.float64)

    def grid(self) -> npt.NDArray[Any]:
        """Return steps or times for a theory curve: dense, from the start or the first seen."""
        axis, method = self.trajectory.record_axis, self.trajectory.method
        first, last = float(axis[0]), float(axis[-1])
        if self.rescaled:
            ends = method.time_between(0.0, [first, last])
            points = method.own_time(np.linspace(ends[0], ends[1], _N_THEORY))
        elif method.log_time:
            points = np.linspace(max(first, self.begin), last, _N_THEORY)
        else:
            first = min(max(_parts.first_record(self.trajectory), self.begin), last)
            points = np.geomspace(first, last, _N_THEORY) if first > 0 else np.array([last])
        if self.trajectory.steps is None:
            return np.clip(points, self.begin, last)  # rounding must not go before the start
        return np.unique(np.rint(points).astype(np.int64))

    def dress(self, ax: Axes) -> None:
        """Set the scale, limits and label."""
        if not self.rescaled:
            _parts.step_axis(ax, self.trajectory)
            return
        ax.set_xlim(0, max(float(self.records[-1]), 1e-300))
        ax.set_xlabel(r"time / $\delta$")


def _modes_of(trajectory: Trajectory, run: int | tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return sigma of the first run at the index, and the resting strengths of all runs."""
    data = joint_decomposition(trajectory.squared_loss)
    n_modes = data.sigma.shape[-1]
    full = (*trajectory.run_shape, n_modes)
    index = run_index(trajectory, run)
    sigma = np.broadcast_to(data.sigma, full)[index].reshape(-1, n_modes)[0]
    return sigma, np.broadcast_to(data.targets, full)


def _delta(trajectory: Trajectory, run: int | tuple[int, ...]) -> float:
    """Return delta of the chosen runs: their modes start at exp(-2 delta) in the geometric mean."""
    if not trajectory.network.is_dense or trajectory.network.n_layers != 2:
        msg = f"rescaled needs a network of two dense layers, got {trajectory.network!r}"
        raise ValueError(msg)
    start = effective_strengths(trajectory.squared_loss, trajectory.start.weights)
    picked = _parts.of_runs(trajectory, start, run, 1)
    picked = picked[picked > 0]
    delta = -0.5 * float(np.log(picked).mean()) if picked.size else 0.0
    if delta <= 0:
        msg = f"rescaled needs a small start, of delta > 0, got {delta:g}"
        raise ValueError(msg)
    return delta


def _theory(
    trajectory: Trajectory, run: int | tuple[int, ...], grid: npt.NDArray[Any]
) -> FloatArray | None:
    """Return the closed form of each mode, (chosen runs that did not diverge, n, K), or None."""
    method, n_layers = trajectory.method, trajectory.network.n_layers
    if trajectory.phases or not (method.follows_loss and trajectory.network.is_dense):
        return None
    data = joint_decomposition(trajectory.squared_loss)
    n_modes = data.sigma.shape[-1]
    lam = data.lam[..., :n_modes]
    layers = [
        np.asarray(validate.unbroadcast(w, keep=2), np.float64) for w in trajectory.start.weights
    ]
    if not all(np.isfinite(layer).all() for layer in layers) or (lam < 0).any():
        return None
    strength: FloatArray
    if n_layers == 1:
        strength = np.sum(
            (data.left.mT @ layers[0])[..., :n_modes, :] * data.right.mT[..., :n_modes, :], axis=-1
        )
    elif n_layers == 2:
        strength = effective_strengths(trajectory.squared_loss, layers)
    else:
        try:
            strength = np.exp(aligned_log_strengths(data, layers))
        except ValueError:  # not balanced and aligned: no closed form
            return None
    full = (*trajectory.run_shape, n_modes)
    sigma, lam, strength = (
        _parts.of_runs(trajectory, np.broadcast_to(array, full), run, 1)
        for array in (data.sigma, lam, strength)
    )
    if not len(sigma):
        return None
    if (size := method.constant_step_size) is not None:
        sizes = np.broadcast_to(size, trajectory.run_shape)
        step = _parts.of_runs(trajectory, sizes, run, 0)[:, None]
        steps = grid - (trajectory.start.step or 0)
        if n_layers == 1:
            kept = np.power(1 - (step * lam)[:, None, :], steps[:, None])
            return _relaxed(kept, (step * steps)[..., None], sigma, lam, strength)
        path = mode_descent(
            sigma, lam, step_size=step, steps=steps, strength=strength, n_layers=n_layers
        )
        return np.moveaxis(path.strength, -1, -2)
    time = method.time_between(trajectory.start.time or 0.0, grid)[:, None]
    if n_layers == 1:
        return _relaxed(np.exp(-lam[:, None, :] * time), time, sigma, lam, strength)
    return mode_flow(
        sigma[:, None, :],
        lam[:, None, :],
        time=time,
        strength=strength[:, None, :],
        n_layers=n_layers,
    ).strength


def _relaxed(
    kept: FloatArray, time: FloatArray, sigma: FloatArray, lam: FloatArray, strength: FloatArray
) -> FloatArray:
    """Return the modes of one layer, of which a part of the distance to rest is kept."""
    sigma, lam, strength = sigma[:, None, :], lam[:, None, :], strength[:, None, :]
    moved = np.where(lam > 0, (1 - kept) / np.where(lam > 0, lam, 1.0), time)
    return np.asarray(kept * strength + moved * sigma)


def _borders(x: FloatArray, *, linear: bool) -> FloatArray:
    """Return borders of cells around increasing points, halfway; unless linear in the logarithm."""
    if len(x) == 1:
        return np.array([x[0] - 0.1, x[0] + 0.1] if linear else [x[0] / 1.1, x[0] * 1.1])
    at = x if linear else np.log(x)
    middle = (at[1:] + at[:-1]) / 2
    ends = 2 * at[:1] - middle[:1], 2 * at[-1:] - middle[-1:]
    borders = np.concatenate([ends[0], middle, ends[1]])
    return np.asarray(borders if linear else np.exp(borders))
