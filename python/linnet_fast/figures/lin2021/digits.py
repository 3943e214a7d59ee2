"""Figure 2 of the paper on a linear network: scaled data and weights on handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast import datasets
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.losses.samples import LogisticLoss
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_DEPTH = 5
_STEP_SIZES = np.array([0.1, 0.01, 0.005])
_EARLY = 100  # step at which errors are compared


@dataclass(frozen=True)
class _Scaled:
    """A line of the legend: by how much inputs and end-to-end weights are multiplied."""

    name: str
    data: float
    weights: float


_SCALED = (
    _Scaled("default", 1, 1),
    _Scaled(r"data $\times$ 10", 10, 1),
    _Scaled(r"weights $\times$ 10", 1, 10),
    _Scaled(r"weights $\times$ 100", 1, 100),
)


def _data() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return inputs and labels (1 for even digits) to train and to test on."""
    x, one_hot, _ = datasets.load("digits")
    y = np.where(one_hot.argmax(axis=1) % 2 == 0, 1.0, -1.0)
    order = np.random.default_rng(0).permutation(len(x))
    train_on, test_on = order[:1297], order[1297:]
    return x[train_on], y[train_on], x[test_on], y[test_on]


def digits(settings: Settings) -> Figure:
    """Train linear networks of five layers to tell even from odd digits."""
    width, n_steps, n_runs = (32, 1500, 2) if settings.quick else (100, 5000, 3)
    x, y, test_x, test_y = _data()
    network = Dense((x.shape[1], *(width,) * (_DEPTH - 1), 1))
    rng = np.random.default_rng(1)
    # As PyTorch starts linear layers.
    drawn = [rng.uniform(-1, 1, (n_runs, *shape)) / np.sqrt(shape[1]) for shape in network.shapes]
    # From a start that points the right way the norm has no reason to fall.
    away = -np.sign(network.product(drawn)[..., 0, :] @ (y @ x))
    drawn[-1] *= away[:, None, None]
    steps = np.unique(np.append(np.geomspace(1, n_steps, 120).round(), [0, _EARLY])).astype(int)
    norms, errors, losses = [], [], []
    for scaled in _SCALED:
        run = train(
            network,
            LogisticLoss.from_data(scaled.data * x, y),
            tuple(scaled.weights ** (1 / _DEPTH) * w for w in drawn),
            method=StochasticGradientDescent(_STEP_SIZES[:, None], batch_size=100, seed=4),
            n_steps=n_steps,
            record=Record.at(steps.tolist(), observables=("loss", "norm", "product")),
            n_threads=settings.n_threads,
        )
        outputs = run.product[..., 0, :] @ (test_y[:, None] * test_x).T
        norms.append(run.norm)
        # Large steps may be too large for large weights.
        errors.append(np.where(np.isnan(run.norm), np.nan, np.mean(outputs <= 0, axis=-1)))
        losses.append(run.loss)
    norm, error, loss = (np.stack(part) for part in (norms, errors, losses))
    claims = _claims(steps, norm, error)
    figure, axes = panels(len(_STEP_SIZES), rows=2, sharex=True, sharey="row")
    for column, step_size in enumerate(_STEP_SIZES):
        for k, color in enumerate(colors(len(_SCALED))):
            for ax, values in (
                (axes[0][column], 100 * error[k, column]),
                (axes[1][column], norm[k, column]),
            ):
                # Of runs that diverge nothing is drawn, the others go on.
                seen = np.isfinite(values[:, -1])
                if not seen.any():
                    continue
                ax.plot(
                    steps[1:],
                    values[seen].mean(axis=0)[1:],
                    color=color,
                    linewidth=1.3,
                    label=_SCALED[k].name,
                )
        # Step 0 has no place on this axis.
        for k, color in enumerate(colors(len(_SCALED))):
            axes[1][column].axhline(
                norm[k, column, :, 0].mean(), color=color, linewidth=0.7, linestyle=":"
            )
        axes[0][column].set_title(f"step size {step_size:g}")
        axes[1][column].set(xscale="log", yscale="log", xlabel="step", xlim=(1, n_steps))
    axes[0][0].set(ylabel="test error, %", ylim=(0, 60))
    axes[1][0].set_ylabel(r"norm $|w|$")
    axes[0][2].legend(frameon=False, loc="lower left")
    entry(axes[1][2], "at the start", linestyle=":", linewidth=0.7)
    axes[1][2].legend(handles=axes[1][2].lines[-1:], frameon=False, loc="center left")
    return Figure(
        "digits",
        About(
            "digits, even or odd", f"{_DEPTH} layers of width {width}", "SGD with batches of 100"
        ),
        f"Even or odd: linear networks of {_DEPTH} layers of width {width} on scikit-learn's digits, by SGD with "
        f"batches of 100 from PyTorch's default start, the sign of the last layer such that it points away from the "
        f"labels; means over {n_runs} starts, but for those that diverge. Dotted: the norm at the start.",
        figure,
        {
            "steps": steps,
            "step_sizes": _STEP_SIZES,
            "scales": np.array([(s.data, s.weights) for s in _SCALED]),
            "norm": norm,
            "test_error": error,
            "loss": loss,
        },
        claims,
    )


def _claims(steps: Any, norm: FloatArray, error: FloatArray) -> list[Claim]:
    """Return verdicts; arrays are (scaling, step size, run, record)."""
    early = int(np.flatnonzero(steps == _EARLY)[0])
    mean = error.mean(axis=2)
    faster = mean[1:3, :, early] / mean[0, :, early]
    fall = 1 - (norm.min(axis=-1) / norm[..., 0]).mean(axis=-1)  # (scaling, step size)
    turn = steps[norm[:3].argmin(axis=-1)].mean(axis=-1)
    rise = norm[..., -1] / norm.min(axis=-1)
    return [
        at_most(
            "data or weights times 10: test error after 100 steps over that of the default, largest",
            float(faster.max()),
            0.95,
        ),
        at_most(
            "but for weights times 100 all end at the same test error with step size 0.1: largest difference",
            float(np.ptp(mean[:3, 0, -1])),
            0.03,
        ),
        at_most("that test error, largest", float(mean[:3, 0, -1].max()), 0.12),
        at_most("default: part by which the norm falls, largest", float(fall[0].max()), 0.05),
        at_least(
            "weights times 100, small step sizes: part by which the norm falls, least",
            float(fall[3, 1:].min()),
            0.1,
        ),
        at_most(
            "the larger the weights the further the norm falls: small step sizes for which this is not so",
            float(np.count_nonzero(np.diff(fall[[0, 2, 3], 1:], axis=0) <= 0)),
            0,
        ),
        at_most(
            "the same for data times 10 against the default, all step sizes",
            float(np.count_nonzero(fall[1] <= fall[0])),
            0,
        ),
        at_least(
            "descent-ascent, small step sizes: norm at the end over the least norm, least",
            float(rise[:, 1:].min()),
            1.3,
        ),
        at_most(
            "with step size 0.1 descent is over before it is seen: mean step of the least norm, largest",
            float(turn[:, 0].max()),
            15,
        ),
        at_least(
            "with step size 0.005 it takes more steps: their ratio, least",
            float((turn[:, 2] / turn[:, 0]).min()),
            2,
        ),
    ]
