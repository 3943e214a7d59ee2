"""
Rank staircase
==============

From a small start a network of two layers learns one rank after another. Each line is the median
of ten random starts of the same scale, the band most of them; dotted is what theory says of a
start along the singular vectors of the data.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

loss = lf.SquaredLoss(np.eye(5), np.diag([5.0, 4.0, 3.0, 2.0, 1.0]), 55.0)
network = lf.Dense((5, 16, 5))
scales = np.array([1e-9, 1e-5, 1e-1])
start = lf.initialization.orthogonal(network, scale=scales[:, None], rng=0, batch_shape=(3, 10))
run = lf.train(
    network,
    loss,
    start,
    method=lf.GradientDescent(0.01),
    n_steps=4000,
    record=lf.Record.geomspace(400, ("singular_values",)),
)

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, scale, i in zip(axes, scales, range(3), strict=True):
    lf.plot.rank_staircase(run, ax, run=i)
    ax.set(title=f"scale of the start {scale:g}")
