"""
Unit balls of networks
======================

The predictors of two inputs that cost as much as ``(1, 0)``, where the cost is the least squared
norm of weights that give the predictor. Two diagonal layers have the diamond of the lasso, more of
them balls that are drawn in to the axes, a dense network the circle, a convolution a square.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

turn = np.linspace(0, 2 * np.pi, 401)
directions = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
networks = {
    "dense, 2 layers": (lf.Dense((2, 2, 1)), 2),
    "diagonal, 2 layers": (lf.Diagonal(2, n_layers=2), 2),
    "diagonal, 3 layers": (lf.Diagonal(2, n_layers=3), 3),
    "diagonal, 4 layers": (lf.Diagonal(2, n_layers=4), 4),
    "convolution, 2 layers": (lf.Convolution(2, kernel_size=2), 2),
}

figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
for name, (network, n_layers) in networks.items():
    cost = lf.representation_cost(network, directions).value
    unit = lf.representation_cost(network, [1.0, 0.0]).value
    # The cost of r times a predictor is r^(2 / layers) of its own.
    radius = (unit / cost) ** (n_layers / 2)
    ax.plot(*(radius[:, None] * directions).T, label=name)
ax.set(
    title="Predictors of equal cost", xlabel="first input", ylabel="second input", aspect="equal"
)
figure.legend(loc="outside right center", frameon=False)
