"""Train diagonal networks with weight decay on the diabetes data; draw them over the lasso path.

A predictor b = u * v takes weights of at least 2 ||b||_1 in squared norm, so weight decay on them
is the lasso. The networks of all decays are trained in one call.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import lasso_path

import linnet_fast as lf
from linnet_fast import datasets

N_DECAYS = 40


def main() -> None:
    """Train, print how near the two paths are, save the picture."""
    X, Y, description = datasets.load("diabetes")
    network = lf.Diagonal(width=10, n_layers=2)
    decays = np.geomspace(1, 1e-3, N_DECAYS)
    run = lf.train(
        network,
        lf.SquaredLoss.from_data(X, Y),
        lf.initialization.gaussian(network, rng=0, batch_shape=(N_DECAYS,)),
        method=lf.GradientDescent(step_size=0.2, weight_decay=decays),
        n_steps=200_000,
    )
    trained = network.product(run.final.weights)[:, 0]

    # Four times as many alphas, for lines that bend where the path does.
    alphas = np.geomspace(1, 1e-3, 4 * N_DECAYS - 3)
    path = lasso_path(X, Y[:, 0], alphas=alphas, tol=1e-13, max_iter=1_000_000)[1].T
    print(description)
    print(f"networks and lasso differ by {np.abs(trained - path[::4]).max():.0e} at most")

    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    names = load_diabetes().feature_names
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(names)))
    for i, color in zip(np.argsort(-path[-1]), shades, strict=True):
        axes.semilogx(alphas, path[:, i], color=color, linewidth=1, label=names[i])
        axes.plot(decays, trained[:, i], "o", color=color, markersize=3)
    axes.plot([], [], color="grey", linewidth=1, label="lasso")
    axes.plot([], [], "o", color="grey", markersize=3, label="networks")
    axes.set(
        title="Diabetes data; two diagonal layers; gradient descent with weight decay",
        xlabel="weight decay = alpha",
        ylabel="coefficient",
    )
    axes.invert_xaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    figure.savefig("linnet_fast_lasso_path.png", dpi=150)


if __name__ == "__main__":
    main()
