"""How many steps networks of more and more layers need, at the best step size of each."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.initialization.start import Start
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.stop import Stop
from linnet_fast.sweeps.designs import grid
from linnet_fast.sweeps.sweep import sweep
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.description import Training
from linnet_fast.training.state import Status

_STARTS = ("orthogonal", "gaussian")
_LEARNED = 0.05
"""Of the loss of nothing learned."""


def _sizes(settings: Settings) -> tuple[list[int], int, int, FloatArray]:
    """Return depths, starts of each, steps at most, and step sizes."""
    if settings.quick:
        return [2, 4, 8, 16], 3, 400, np.geomspace(1e-3, 0.5, 12)
    return [2, 4, 8, 16, 32], 6, 3000, np.geomspace(1e-3, 0.5, 16)


def depth(settings: Settings) -> Figure:
    """Train networks of many depths with many step sizes, until most of the teacher is learned."""
    width = 8
    depths, n_seeds, n_steps, step_sizes = _sizes(settings)
    # Targets of as large a norm as that of an orthogonal end-to-end matrix.
    teacher = Teacher("gaussian", n_inputs=width, n_outputs=width)
    training = Training(
        Dense((width,) * 3),
        teacher,
        Start("orthogonal"),
        GradientDescent(0.1),
        n_steps=n_steps,
        stop=Stop(loss=_LEARNED * width / 2, check_every=1),
    )
    spec = grid(
        training,
        {"start.kind": _STARTS, "network.n_layers": depths, "method.step_size": step_sizes},
        replicates=n_seeds,
        derived=("final_loss",),
    )
    data = sweep(spec, n_threads=settings.n_threads, progress=False)
    order = ("kind", "n_layers", "step_size", "seed")
    done = data["status"].transpose(*order).values == Status.CONVERGED
    steps = np.where(done, data["stopped_at"].transpose(*order).values, np.inf)
    # Of one step size for all starts of a depth; in the middle of the starts.
    best = np.median(steps, axis=-1).min(axis=-1)
    orthogonal, gaussian = best
    claims = [
        at_most(
            "orthogonal starts: steps at the best step size, deepest networks over four layers",
            float(orthogonal[-1] / orthogonal[1]),
            3.0,
        ),
        at_least(
            "Gaussian starts: steps of the deepest networks over those of orthogonal ones, if they get there at all",
            float(gaussian[-1] / orthogonal[-1]),
            5.0,
        ),
        at_least(
            "Gaussian starts: the deeper, the more steps, least ratio of neighbours",
            float((gaussian[1:] / np.where(np.isfinite(gaussian[:-1]), gaussian[:-1], 1)).min()),
            2.0,
        ),
    ]
    figure, (left, right) = panels(2)
    shades = dict(zip(_STARTS, colors(3), strict=False))
    for i, kind in enumerate(_STARTS):
        shown = np.isfinite(best[i])
        left.plot(np.array(depths)[shown], best[i][shown], "o-", color=shades[kind], markersize=4)
        left.lines[-1].set_label(kind)
    left.set(xscale="log", yscale="log", xlabel="layers", ylabel="steps at the best step size")
    left.set_xticks(depths, [str(n) for n in depths])
    left.minorticks_off()
    left.legend(frameon=False)
    for k, (n, shade) in enumerate(zip(depths, colors(len(depths)), strict=True)):
        middle = np.median(steps[0, k], axis=-1)
        shown = np.isfinite(middle)
        right.plot(
            step_sizes[shown], middle[shown], color=shade, linewidth=1.2, label=f"{n} layers"
        )
    right.set(xscale="log", yscale="log", xlabel="step size", ylabel="steps, orthogonal starts")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return Figure(
        "depth",
        About(
            f"random teachers of {width} inputs and outputs",
            f"layers of width {width}",
            "gradient descent",
        ),
        f"Steps until {100 - 100 * _LEARNED:g} % of the power of a random teacher of width {width} are learned. From orthogonal starts, at the best step size of each depth, "
        "deep networks need hardly more steps than shallow ones; from Gaussian ones their signals are lost, and ever more steps are needed.",
        figure,
        {"depths": np.array(depths), "step_sizes": step_sizes, "steps": steps, "best": best},
        claims,
    )
