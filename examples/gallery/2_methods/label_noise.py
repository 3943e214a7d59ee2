"""
Label noise makes sparse
========================

Predictors ``u * u - v * v`` on 40 samples of 100 inputs, of which 5 count. Without noise training
ends at the first predictor that fits, far from the sparse one; noise on the labels moves it on along
the minima, to the sparse one.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf
from linnet_fast import layers

rng = np.random.default_rng(0)
X = rng.choice([-1.0, 1.0], (40, 100))
target = np.repeat([1.0, 0.0], (5, 95))
loss = lf.SquaredLoss.from_data(X, X @ target[:, None], form="samples")

signs = np.vstack([np.eye(100), -np.eye(100)])
both = layers.Diagonal(200)  # u and v, used twice
network = lf.Chain(
    [layers.Fixed(signs), both, both, layers.Fixed(np.ones((1, 200)))], [None, 0, 0, None]
)
record = lf.Record.geomspace(60, ("product",))
methods = {
    "all samples": lf.GradientDescent(0.01),
    "batches of 8": lf.GradientDescent(0.01, batches=lf.Batches(8, seed=0)),
    "noise on labels": lf.GradientDescent(0.02, batches=lf.Batches("all", label_noise_std=2.0)),
}

figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for name, method in methods.items():
    start = lf.initialization.constant(network, scale=1.0)
    run = lf.train(network, loss, start, method=method, n_steps=100_000, record=record)
    error = np.sum((run.product[:, 0] - target) ** 2, axis=-1)
    ax.plot(run.steps[1:], error[1:], label=name)
ax.set(title="Distance to the sparse teacher", xlabel="step", ylabel="squared distance")
ax.set(xscale="log", yscale="log")
ax.legend(frameon=False)
