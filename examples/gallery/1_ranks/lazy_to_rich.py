"""
From lazy to rich
=================

How the two layers share the work at the start, ``lambda``, is conserved by gradient flow. With
``lambda = 0`` modes are learned one after another; with a large one all at once, as a kernel method
would. Solid lines are the training, dots the exact solution.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf
from linnet_fast import rank_dynamics

modes = np.array([3.0, 2.0, 1.0])
loss = lf.SquaredLoss(np.eye(3), np.diag(modes), np.sum(modes**2))
network = lf.Dense((3, 3, 3))
time = np.linspace(0, 6, 121)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for ax, imbalance in zip(axes, (0.0, 5.0), strict=True):
    product = 1e-3 * np.eye(3)
    start = lf.initialization.lambda_balanced(network, imbalance=imbalance, product=product)
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientFlow(),
        until=time[-1],
        record=lf.Record.at_times(time, ("singular_values",)),
    )
    lines = ax.plot(time, run.singular_values)
    # Of one mode: w_2^2 - w_1^2 = lambda and w_2 w_1 = 1e-3.
    first = np.sqrt((np.sqrt(imbalance**2 + 4e-6) - imbalance) / 2)
    exact = rank_dynamics.factor_flow(modes, 1.0, first, 1e-3 / first, time=time[::6, None])
    strength = np.asarray(exact[0]) * np.asarray(exact[1])
    dots = ax.plot(time[::6], strength, ".k", markersize=4)
    ax.set(title=f"lambda = {imbalance:g}", xlabel="time")
axes[0].set_ylabel("singular values of the product")
axes[1].legend([lines[0], dots[0]], ["training", "exact"], frameon=False)
