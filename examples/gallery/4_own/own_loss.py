"""
A loss of your own
==================

A pseudo-Huber loss and the squared loss on data of which one in ten is far off. The function takes
the end-to-end matrices of many runs and returns values and gradients; everything else stays the same.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 4))
truth = np.array([[2.0, -1.0, 0.5, 0.0]])
Y = X @ truth.T + 0.1 * rng.standard_normal((200, 1))
Y[::10] += 15


def pseudo_huber(products):
    """Return values and gradients of the mean over samples."""
    residual = X @ products.mT - Y
    root = np.sqrt(1 + residual**2)
    gradients = (residual / root).mT @ X / len(X)
    return (root - 1).sum(axis=2).mean(axis=1), gradients


network = lf.Dense((4, 8, 1))
start = lf.initialization.gaussian(network, scale=0.1, rng=0, batch_shape=10)
losses = {
    "squared": lf.SquaredLoss.from_data(X, Y),
    "pseudo-Huber": lf.CustomLoss(pseudo_huber, shape=(1, 4)),
}
record = lf.Record.geomspace(60, ("product",))

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, loss in losses.items():
    run = lf.train(
        network, loss, start, method=lf.GradientDescent(0.05), n_steps=2000, record=record
    )
    distance = np.linalg.norm(run.product - truth, axis=(-2, -1))
    ax.loglog(run.steps[1:], np.median(distance, axis=0)[1:], label=name)
ax.set(title="Distance to the teacher", xlabel="step", ylabel="distance of the product")
ax.legend(title="loss", frameon=False)
