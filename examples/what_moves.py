"""What moves in a wide layer: nearly nothing, seen in the right coordinates.

A network of 64 inputs, 400 hidden units and 10 outputs learns digits. All of its 29,600 weights change, but
only inside a subspace of 71 dimensions of the hidden space: what the data and the outputs span at the
start. Turned into it, the layer has 71 rows that move and 329 that never do.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf
from linnet_fast import datasets


def main() -> None:
    """Train, turn the layer, save the picture of both."""
    data = datasets.load("digits")
    loss = lf.SquaredLoss.from_data(data.X / 16, data.Y, center=True)
    network = lf.Dense((64, 400, 10))
    start = lf.initialization.gaussian(network, scale=0.05, rng=0)
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.05), n_steps=20_000)
    print(run.reduction)

    small = lf.reduced(network, loss, start)
    inside = small.bases.hidden[0]  # orthonormal columns, (400, 71)
    outside = np.linalg.svd(inside)[0][:, inside.shape[1] :]
    moved = run.final.weights[0] - start[0]
    turned = np.concatenate([inside, outside], axis=1).T @ moved

    figure, axes = plt.subplots(1, 2, figsize=(7.2, 5.4), sharey=True, layout="constrained")
    most = np.log10(np.abs(moved).max())
    for ax, matrix, title in zip(axes, (moved, turned), ("as it stands", "turned"), strict=True):
        size = np.log10(np.maximum(np.abs(matrix), 1e-17))
        image = ax.imshow(size, aspect="auto", vmin=-17, vmax=most, interpolation="nearest")
        ax.set(title=f"first layer, {title}", xlabel="input")
    axes[0].set_ylabel("hidden unit")
    axes[1].set_ylabel("direction of the hidden space")
    axes[1].tick_params(labelleft=True)
    label = f"first {inside.shape[1]}"
    axes[1].axhline(inside.shape[1] - 0.5, color="white", lw=0.8, ls="--", label=label)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, 0.8), labelcolor="white", frameon=False)
    figure.suptitle("Digits; 64-400-10; gradient descent")
    ticks = np.arange(-16, 1, 4)
    bar = figure.colorbar(image, ax=axes, label="change of the weight in 20,000 steps", ticks=ticks)
    bar.ax.set_yticklabels([f"$10^{{{k}}}$" for k in ticks])
    figure.savefig("linnet_fast_what_moves.png", dpi=120)


if __name__ == "__main__":
    main()
