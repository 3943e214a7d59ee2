"""Pictures of the theory of rank dynamics, which need no training: depth, step sizes.

They belong to `linnet_fast.plot`, and keep its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.plot import _parts
from linnet_fast.plot._parts import DARK, GREY, PALE
from linnet_fast.plot._style import colors
from linnet_fast.rank_dynamics import factor_descent, limit_time, mode_flow
from linnet_fast.rank_dynamics.data import require_commuting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST = 1e100
_MOST_SCALES = 100
_WIDE = 8.0  # learning times further apart than this factor need a logarithmic axis
_N_SETTLE, _N_ORBIT = 3000, 96  # steps to let pass, and to draw


def one_layer_against_two(
    loss: SquaredLoss,
    deltas: Sequence[float] | FloatArray = (2.0, 5.0, 10.0, 50.0),
    ax: Axes | None = None,
    *,
    exponent: float = 2.0,
    until: float | None = None,
) -> Axes:
    """Draw how one layer learns all modes at once and two layers one after the other.

    Drawn are the closed forms of the nuclear norm of the end-to-end matrix along the gradient flow,
    from ever smaller starts, over time divided by delta.

    Parameters
    ----------
    loss : SquaredLoss
        Without run axes; the data have to commute.
    deltas : sequence of float
        All modes start at strength ``exp(-exponent * delta)``; > 0.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    exponent : float, default 2.0
        2 if each of two layers starts at exp(-delta), 1 if the end-to-end matrix does; > 0.
    until : float, optional
        Rescaled time at the right end, > 0; by default somewhat after the last mode is learned.

    Returns
    -------
    matplotlib Axes
        Two layers solid, one layer dashed, the limit of two layers as delta grows a grey staircase.
        The axis of time is logarithmic if learning times are far apart.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    NonCommutingError
        If the data do not commute.
    TypeError
        If an argument has the wrong type.
    ValueError
        If `loss` has run axes or no mode to learn, or a number is out of range.

    References
    ----------
    After G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient
    dynamics in linear neural networks", NeurIPS 2019, figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from linnet_fast import SquaredLoss
    >>> ax = one_layer_against_two(SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0), [2.0, 10.0])
    >>> [text.get_text() for text in ax.get_legend().get_texts()][-2:]
    ['one layer', 'limit']
    """
    validate.instance("loss", loss, SquaredLoss)
    _parts.check_axes(ax)
    depths = np.atleast_1d(validate.real_array("deltas", deltas, above=0)).ravel()
    if depths.max() > _LARGEST:
        msg = f"deltas must be <= {_LARGEST:g}, got {depths.max():g}"
        raise ValueError(msg)
    if depths.size > _MOST_SCALES:
        msg = f"deltas must be at most {_MOST_SCALES}, got {depths.size:,}"
        raise ValueError(msg)
    power = validate.real("exponent", exponent, above=0)
    if power > _LARGEST:
        msg = f"exponent must be <= {_LARGEST:g}, got {power:g}"
        raise ValueError(msg)
    if loss.run_shape:
        msg = f"loss must have no run axes, got {loss.run_shape}"
        raise ValueError(msg)
    data = require_commuting(loss, "one_layer_against_two", "modes, of a training,")
    sigma = data.sigma[data.sigma > 0]
    lam = data.lam[: len(sigma)]
    if not len(sigma) or (lam <= 0).any():
        got = "one with lam = 0" if len(sigma) else "none"
        msg = f"loss must have modes, which come to rest, got {got}"
        raise ValueError(msg)
    jumps = power / 2 * limit_time(sigma)
    wide = jumps[-1] > _WIDE * jumps[0]
    end = (2.0 if wide else 1.35) * jumps[-1]
    if until is not None:
        end = validate.real("until", until, above=0)
        if end > _LARGEST:
            msg = f"until must be <= {_LARGEST:g}, got {end:g}"
            raise ValueError(msg)
    begin = min(jumps[0] / 20, end / 2)
    # Denser around the jumps, which grow steep.
    near = jumps[:, None] * (1 + np.linspace(-0.15, 0.15, 201))
    even = np.geomspace(begin, end, 600) if wide else np.linspace(0, end, 600)
    tau = np.unique(np.concatenate([even, near[(near > begin) & (near < end)].ravel()]))
    ax = _parts.new_axes(ax)
    rest = np.cumsum(sigma / lam)
    for color, delta in zip(colors(len(depths)), depths, strict=True):
        for n_layers in (2, 1):
            strengths = mode_flow(
                sigma,
                lam,
                time=(delta * tau)[:, None],
                log_strength=-power * delta,
                n_layers=n_layers,
            ).strength
            ax.plot(
                tau,
                strengths.sum(axis=-1),
                color=color,
                linewidth=1.2,
                linestyle="-" if n_layers == 2 else (0, (3, 2)),
                label=f"$\\delta$ = {_parts.power(delta)}" if n_layers == 2 else None,
            )
    ax.plot([], [], color=GREY, linewidth=1.2, linestyle=(0, (3, 2)), label="one layer")
    ax.plot(
        np.concatenate([[0.0], jumps, [max(end, jumps[-1])]]),
        np.concatenate([[0.0], rest, rest[-1:]]),
        color=PALE,
        linewidth=3,
        drawstyle="steps-post",
        zorder=0,
        label="limit",
    )
    if wide:
        ax.set_xscale("log")
    ax.set_xlim(begin if wide else 0.0, end)
    ax.set_ylim(0, 1.12 * rest[-1])
    ax.set_xlabel(r"time / $\delta$")
    ax.set_ylabel("nuclear norm")
    _parts.legend(ax, loc="lower right")
    return ax


def step_size_regimes(
    ax: Axes | None = None, *, marks: npt.ArrayLike = (), n_points: int = 700
) -> Axes:
    """Draw where a mode of two layers goes under gradient descent, by its step size.

    Parameters
    ----------
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.
    marks : array_like, shape (k,), optional
        Values of step_size * sigma to mark, as those of a training; >= 0.
    n_points : int, default 700
        How many step sizes, from 2 up to 100000.

    Returns
    -------
    matplotlib Axes
        Over step_size * sigma the values that the learned part lam w / sigma of a balanced mode
        keeps visiting, and the regimes of `linnet_fast.rank_dynamics.step_size_regime`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `marks` or `n_points` have a wrong type or are out of range.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> ax = step_size_regimes(marks=[0.1, 0.3], n_points=50)
    >>> [text.get_text().replace(chr(10), " ") for text in ax.texts]
    ['monotone', 'damped', 'period 2', 'chaotic', 'divergent']
    """
    _parts.check_axes(ax)
    at = _parts.marked("marks", marks, at_least=0)
    n_points = validate.integer("n_points", n_points, low=2, high=100_000)
    x = np.linspace(0, 2, n_points + 1)[1:]
    steps = np.arange(_N_SETTLE, _N_SETTLE + _N_ORBIT)
    # Small steps take longer to settle than to draw: begin near rest. Of large ones the last is 2,
    # beyond which orbits leave; rounding must not carry it over.
    a, b = factor_descent(1.0, 1.0, 0.8, 0.8, step_size=x, steps=steps)
    visited = a * b
    ax = _parts.new_axes(ax)
    borders = (0.0, 0.5, 1.0, float(np.sqrt(5) - 1), 2.0, 2.35)
    names = ("monotone", "damped", "period\n2", "chaotic", "divergent")
    for i, name in enumerate(names):
        begin, end = borders[i], borders[i + 1]
        ax.axvspan(begin, end, color=str(0.98 - 0.045 * i), linewidth=0, zorder=0)
        ax.annotate(
            name,
            ((begin + end) / 2, 1.015),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=6.5,
            color=GREY,
        )
    ax.plot(
        np.repeat(x, _N_ORBIT),
        visited.ravel(),
        linestyle="",
        marker=".",
        markersize=0.9,
        markeredgewidth=0,
        color=DARK,
        rasterized=True,
    )
    for mark in at:
        ax.axvline(mark, color=colors(3)[1], linewidth=1.0, zorder=1)
    ax.set_xlim(0, borders[-1])
    ax.set_ylim(0, 2.1)
    ax.set_xticks(borders[:-1], ["0", "½", "1", "\n$\\sqrt{5}-1$", "2"])
    ax.set_xlabel(r"step size $\cdot$ $\sigma$")
    ax.set_ylabel(r"part learned, $\lambda w / \sigma$")
    return ax
