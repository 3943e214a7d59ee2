"""
Three norms of margin
=====================

On separable data weights grow without end, in a direction of large margin: gradient, sign and
spectral descent each by the norm of their own steps. A bar is the margin by a norm, over the largest
that one of the three found.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

rng = np.random.default_rng(0)
labels = np.arange(30) % 3
X = rng.standard_normal((30, 6)) + 3 * rng.standard_normal((3, 6))[labels]
loss = lf.CrossEntropyLoss.from_data(X, labels)
methods = {
    "gradient descent": lf.GradientDescent(lf.StepRule.gradient_normalized(0.003)),
    "sign descent": lf.SignDescent(lf.StepRule.inverse_sqrt(0.03)),
    "spectral descent": lf.SpectralDescent(lf.StepRule.inverse_sqrt(0.1)),
}
norms = {
    "Frobenius norm": np.linalg.norm,
    "largest entry": lambda matrix: np.abs(matrix).max(),
    "spectral norm": lambda matrix: np.linalg.norm(matrix, 2),
}

margins = np.zeros((3, 3))
for i, method in enumerate(methods.values()):
    run = lf.train(lf.Dense((6, 3)), loss, (np.zeros((3, 6)),), method=method, n_steps=20_000)
    outputs = X @ run.final.weights[0].T
    own = outputs[np.arange(30), labels].copy()
    outputs[np.arange(30), labels] = -np.inf
    margin = np.min(own - outputs.max(axis=1))
    margins[i] = [margin / norm(run.final.weights[0]) for norm in norms.values()]

figure, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
for i, name in enumerate(methods):
    ax.bar(np.arange(3) + 0.27 * (i - 1), margins[i] / margins.max(axis=0), 0.25, label=name)
ax.set(title="Margins by three norms", ylabel="margin over the largest of the three")
ax.set(xticks=range(3), xticklabels=norms, ylim=(0.5, 1.02))
figure.legend(loc="outside right center", frameon=False)
