"""
Sharpness-aware steps find flatter minima
=========================================

The sharpness of the minimum that training comes to, over the radius ``rho`` of sharpness-aware
steps, from starts whose layers are not balanced. Dashed is the least that any minimum has.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

loss = lf.SquaredLoss(np.eye(2), np.diag([1.0, 0.5]), 1.25)
network = lf.Dense((2, 8, 2))
rho = np.array([0.001, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3])
start = lf.initialization.gaussian(
    network, scale=1.0, layer_scales=(2, 0.5), rng=0, batch_shape=(20, 1)
)
run = lf.train(
    network,
    loss,
    start,
    method=lf.SharpnessAware(lf.GradientDescent(0.02), rho),
    n_steps=8000,
    record=lf.Record.at([8000], ("sharpness",)),
)

low, middle, high = np.quantile(run.sharpness[..., -1], (0.1, 0.5, 0.9), axis=0)
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(rho, middle, "o-", label="median of 20 starts")
ax.fill_between(rho, low, high, alpha=0.25, linewidth=0, label="middle 80 %")
ax.axhline(2, color="grey", linestyle="--", label="flattest minimum")
ax.set(title="Sharpness at the end", xlabel="rho", ylabel="sharpness", xscale="log")
ax.legend(frameon=False)
