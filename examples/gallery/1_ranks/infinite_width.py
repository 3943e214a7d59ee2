"""
Infinite width
==============

Loss over training of networks of two layers in the mean-field scaling, from width 10 to infinity:
each width has twenty random starts, drawn exactly at the cost of a network of 11 units. At infinity
all starts are the same.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

rng = np.random.default_rng(0)
X = rng.standard_normal((100, 8))
loss = lf.SquaredLoss.from_data(X, X @ rng.standard_normal((8, 3)) / 3)
training = lf.Training(
    lf.Dense((8, 11, 3)),
    loss,
    lf.Start("gaussian", 0.5, fan="none", width_exponent=0.5),
    method=lf.GradientDescent(0.1),
    n_steps=300,
    record=lf.Record.geomspace(60, ("loss",)),
)
widths = [10, 100, 10**4, np.inf]
data = lf.sweep(lf.grid(training, {"start.width": widths}, replicates=20), progress=False)

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
lf.plot.curves(data, "loss", x="step", by="width", ax=ax)
ax.set(title="Loss by width, median and middle 80 % of starts")
