"""
Edge of stability
=================

The largest curvature of the loss rises while a network of three layers learns, until it is
2 / step size (dashed, above which a minimum is left), and hovers there while the loss (grey) goes
on falling.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

# Directions of falling variance, each with as large a part of the targets.
rng = np.random.default_rng(0)
basis, _ = np.linalg.qr(rng.standard_normal((40, 10)))
std = np.arange(1, 11.0) ** -1.5
X = basis * np.sqrt(40) * std
loss = lf.SquaredLoss.from_data(X, X @ (rng.standard_normal((5, 10)) / np.sqrt(10) / std).T)

network = lf.Dense((10, 20, 20, 5))
run = lf.train(
    network,
    loss,
    lf.initialization.gaussian(network, scale=0.7, rng=0),
    method=lf.GradientDescent(0.04),
    n_steps=8000,
    record=lf.Record.every(20, ("loss", "sharpness")),
)

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
lf.plot.curvature(run, ax)
ax.set(title="Sharpness and loss of gradient descent")
