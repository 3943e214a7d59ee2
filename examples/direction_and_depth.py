"""Networks of one to four layers find the direction of their labels; draw their angles to it.

Inputs are Gaussian and the loss is that of the population. Starts are random, so that neighbouring
layers are not balanced; the flow conserves their imbalance, and in the end the angle falls as a power
of time. The dashed lines are the exact dynamics of balanced starts with the same angles and norms.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf
from linnet_fast import directional_convergence as dc
from linnet_fast import laws

N_INPUTS, N_HIDDEN, N_SEEDS = 10, 8, 64


def main() -> None:
    """Train, print how the angles fall, save the picture."""
    law = laws.Gaussian(N_INPUTS)
    direction = np.eye(N_INPUTS)[0]
    loss = lf.SphericalLogisticLoss(direction, law)
    times = np.linspace(0, 60, 241)
    record = lf.Record.at_times(times, observables=("angle", "norm"))

    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for n_layers, color in zip(
        range(1, 5), plt.get_cmap("viridis")([0, 0.3, 0.6, 0.85]), strict=True
    ):
        network = lf.Dense((N_INPUTS, *[N_HIDDEN] * (n_layers - 1), 1))
        run = lf.train(
            network,
            loss,
            lf.initialization.gaussian(network, rng=0, batch_shape=N_SEEDS),
            method=lf.GradientFlow(),
            until=times[-1],
            record=record,
        )
        balanced = dc.reduced_flow(
            law, n_layers, angle=run.angle[:, 0], norm=run.norm[:, 0], time=times
        )
        median = np.median(run.angle, axis=0)
        below = times[np.argmax(median < 1e-3)]
        print(
            f"{n_layers} layers: median angle {median[-1]:.1e} at time 60, below 1e-3 at {below:.4g}"
        )
        axes.semilogy(times, median, color=color, label=f"{n_layers}")
        axes.semilogy(times, np.median(balanced.angle, axis=0), "--", color=color, linewidth=1)
    axes.set(xlabel="time", ylabel="angle to the direction", ylim=(1e-9, 4), xlim=(0, 60))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, title="layers")
    figure.savefig("linnet_fast_direction_and_depth.png", dpi=150)


if __name__ == "__main__":
    main()
