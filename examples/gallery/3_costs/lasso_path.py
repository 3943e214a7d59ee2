"""
The lasso path by weight decay
==============================

Weight decay on the weights of ``u * v`` is the lasso on the predictor. Dots are networks with forty
decays, trained in one call on the diabetes data; lines are the path of scikit-learn.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import lasso_path

import linnet_fast as lf

X, Y, _ = lf.datasets.load("diabetes")
network = lf.Diagonal(width=10, n_layers=2)
decays = np.geomspace(1, 1e-2, 30)
run = lf.train(
    network,
    lf.SquaredLoss.from_data(X, Y),
    lf.initialization.gaussian(network, rng=0, batch_shape=30),
    method=lf.GradientDescent(step_size=0.2, weight_decay=decays),
    n_steps=30_000,
)
trained = network.product(run.final.weights)[:, 0]
alphas = np.geomspace(1, 1e-2, 121)
path = lasso_path(X, Y[:, 0], alphas=alphas)[1]

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for i, values in enumerate(path):
    (line,) = ax.semilogx(alphas, values, linewidth=1, label="lasso" if i == 0 else None)
    label = "networks" if i == 0 else None
    ax.plot(decays, trained[:, i], "o", color=line.get_color(), markersize=3, label=label)
ax.set(title="Lasso path of networks", xlabel="weight decay, alpha", ylabel="coefficient")
ax.invert_xaxis()
ax.legend(frameon=False)
