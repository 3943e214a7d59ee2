"""Train two-layer networks on handwritten digits from smaller and smaller starts; draw the ranks.

The same as ``linnet-fast train digits``, in Python. The smaller the start, the more clearly the
end-to-end matrix is learned one rank at a time.
"""

from __future__ import annotations

import numpy as np

import linnet_fast as lf
from linnet_fast import datasets, plot

N_SEEDS = 20
N_STEPS = 20_000


def main() -> None:
    """Train, print when training ended, save result and picture."""
    X, Y, description = datasets.load("digits")
    loss = lf.SquaredLoss.from_data(X, Y, center=True)
    network = lf.Dense(widths=(64, 32, 10))
    scales = np.geomspace(1e-12, 1, 13)
    start = lf.initialization.orthogonal(
        network, scale=scales[:, None], rng=0, batch_shape=(len(scales), N_SEEDS)
    )
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientDescent(step_size=0.12),
        n_steps=N_STEPS,
        record=lf.Record.geomspace(400),
        progress=True,
    )
    print(description)
    print(run.message)
    run.save("linnet_fast_digits_ranks.npz")
    plot.stages(run, scales).savefig("linnet_fast_digits_ranks.png", dpi=150)


if __name__ == "__main__":
    main()
