"""
Matrix completion by depth
==========================

A matrix of rank 2 is completed from 45 % of its entries. One layer never moves what is not
observed. Three layers from a small start fill in a matrix of low rank, and so find the truth.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

rng = np.random.default_rng(1)
matrix = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 20))
observed = rng.random((20, 20)) < 0.45
loss = lf.MatrixCompletionLoss.from_matrix(matrix, observed=observed)

found = {}
for n_layers, n_steps in ((1, 20_000), (3, 20_000)):
    network = lf.Dense((20,) * (n_layers + 1))
    start = lf.initialization.orthogonal(network, scale=1e-3 ** (1 / n_layers), rng=0)
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientDescent(0.2),
        n_steps=n_steps,
        record=lf.Record.at([n_steps], ("product",)),
    )
    found[n_layers] = run.product[-1]

pictures = {
    "truth": matrix,
    "observed": np.where(observed, matrix, np.nan),
    "one layer": found[1],
    "three layers": found[3],
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), layout="constrained")
for ax, (title, values) in zip(axes, pictures.items(), strict=True):
    image = ax.imshow(values, cmap="RdBu", vmin=-4, vmax=4)
    ax.set(title=title, xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="entry")
