"""
An observable of your own
=========================

How much of the end-to-end matrix lies in the rows that the teacher does not use, along training from
several scales of the start: a function of the product, recorded like any other observable.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

rng = np.random.default_rng(0)
X = rng.standard_normal((15, 20))
teacher = np.zeros((4, 20))
teacher[0, :3] = 1
loss = lf.SquaredLoss.from_data(X, X @ teacher.T)


def unused(_weights, product):
    """Return the share of the squared norm in the rows of zeros."""
    return np.sum(product[..., 1:, :] ** 2, axis=(-2, -1)) / np.sum(product**2, axis=(-2, -1))


network = lf.Dense((20, 20, 4))
scales = np.array([1e-3, 1e-1, 1.0])
run = lf.train(
    network,
    loss,
    lf.initialization.gaussian(network, scale=scales, rng=0, batch_shape=3),
    method=lf.GradientDescent(0.03),
    n_steps=3000,
    record=lf.Record.geomspace(80, ("loss", lf.Observable("unused", unused))),
)

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for scale, values in zip(scales, run.unused, strict=True):
    ax.semilogx(run.steps[1:], values[1:], label=f"{scale:g}")
ax.set(title="Share of rows that the teacher does not use", xlabel="step", ylabel="share")
ax.legend(title="scale of the start", frameon=False)
