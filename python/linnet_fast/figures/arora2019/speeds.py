"""How fast singular values move: depth makes large ones faster and small ones slower."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from linnet_fast import initialization
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.arora2019.completion import DEPTHS, make_task
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.losses.completion import MatrixCompletionLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_N_SHOWN = 4
_APART = 1e-4  # of the time between two records, for differences


def speeds(settings: Settings) -> Figure:
    """Follow singular values under the flow, from balanced starts; compare their speeds with the formula."""
    size, rank = (10, 2) if settings.quick else (20, 3)
    task = make_task(size, rank, size * size // 2, 1, seed=3)
    loss = MatrixCompletionLoss.from_matrix(task.matrices[0], task.seen[0].astype(bool))
    scale = 0.01
    ends = {1: 60.0, 2: 50.0, 3: 60.0, 4: 90.0}
    figure, axes = panels(len(DEPTHS), sharey=True)
    data: dict[str, FloatArray] = {}
    claims: list[Claim] = []
    gaps: list[float] = []
    for n_layers, ax in zip(DEPTHS, axes, strict=True):
        network = Dense((size,) * (n_layers + 1))
        start = initialization.orthogonal(network, scale=scale ** (1 / n_layers), rng=1)
        end = ends[n_layers] * loss.n_entries / size
        middle = np.linspace(0.02, 1, 120) * end
        apart = _APART * end
        time = (middle[:, None] + apart * np.array([-1, 0, 1])).ravel()
        run = train(
            network,
            loss,
            start,
            method=GradientFlow(1e-11),
            until=float(time[-1]),
            record=Record.at_times(time, observables=("product",)),
            n_threads=settings.n_threads,
        )
        u, s, v = np.linalg.svd(run.product)
        values, middle_values = s.reshape(-1, 3, size), s[1::3]
        measured = (values[:, 2] - values[:, 0]) / (2 * apart)
        slope = -np.einsum("tir,tij,trj->tr", u[1::3], loss.gradient(run.product[1::3]), v[1::3])
        expected = n_layers * middle_values ** (2 - 2 / n_layers) * slope
        # Where two of them are about to meet, differences in time mix them.
        distance = np.abs(np.diff(middle_values, axis=-1))
        room = np.minimum(
            np.pad(distance, ((0, 0), (1, 0)), constant_values=np.inf),
            np.pad(distance, ((0, 0), (0, 1)), constant_values=np.inf),
        )
        clear = (room > 0.02 * middle_values[:, :1]) & (np.arange(size) < rank)
        error = np.abs(measured - expected)[clear].max() / np.abs(expected).max()
        claims.append(
            at_most(
                f"{n_layers} layer{'s' if n_layers > 1 else ''}: speeds of singular values over the formula, largest "
                "difference over the largest speed",
                float(error),
                1e-3,
            )
        )
        shown = middle / end
        for mode, color in enumerate(colors(_N_SHOWN)):
            ax.plot(shown, middle_values[:, mode], color=color, label=str(mode + 1))
        title = f"{n_layers} layer{'s' if n_layers > 1 else ''}"
        ax.set(title=title, xlabel=f"time / {end:.0f}")
        gaps.append(middle_values[-1, rank] / middle_values[-1, rank - 1])
        data |= {f"time_{n_layers}": middle, f"singular_values_{n_layers}": middle_values}
        data |= {f"measured_{n_layers}": measured, f"expected_{n_layers}": expected}
    axes[0].set_ylabel("singular values")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, title="mode", loc="outside right center", frameon=False)
    claims += [
        at_most(
            f"singular value {rank + 1} over {rank} at the end: so much less with each layer, largest ratio",
            float(max(b / a for a, b in pairwise(gaps))),
            0.97,
        ),
        at_least("one layer: that ratio", float(gaps[0]), 0.1),
        at_most("four layers: that ratio", float(gaps[-1]), 0.02),
    ]
    return Figure(
        "speeds",
        About(
            f"half of the entries of a {size} x {size} matrix of rank {rank}",
            "balanced square layers",
            "gradient flow",
        ),
        f"Singular values of the end-to-end matrix under the flow, on half of the entries of a {size} x {size} matrix of rank "
        f"{rank}, from balanced starts. Each moves at L s^(2 - 2/L) times the slope along its singular vectors: the more layers, the "
        "more those that are large outrun those that are small, which stay behind.",
        figure,
        data,
        claims,
    )
