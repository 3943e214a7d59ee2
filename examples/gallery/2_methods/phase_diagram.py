"""
Phase diagram over scale and step size
======================================

The learned rank after 300 steps, over the scale of the start and the step size: bands where ranks
are learned one after another, hatched where steps are too large and training diverges.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

loss = lf.SquaredLoss(np.eye(5), np.diag([5.0, 4.0, 3.0, 2.0, 1.0]), 55.0)
training = lf.Training(
    lf.Dense((5, 8, 5)),
    loss,
    lf.Start("orthogonal"),
    method=lf.GradientDescent(0.1),
    n_steps=300,
)
axes = {
    "start.scale": np.geomspace(1e-8, 10, 28),
    "method.step_size": np.geomspace(0.002, 1, 28),
}
data = lf.sweep(lf.grid(training, axes, replicates=3, derived="learned_rank"), progress=False)

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
lf.plot.heatmap(data, "learned_rank", x="step_size", y="scale", ax=ax)
ax.set(title="Learned rank after 300 steps")
