"""
Optimisers compared
===================

The loss on handwritten digits along six methods, from one start and each with a step size that
suits it, less the least loss that a linear map has.
"""

import matplotlib.pyplot as plt

import linnet_fast as lf

X, Y, _ = lf.datasets.load("digits")
loss = lf.SquaredLoss.from_data(X, Y, center=True)
network = lf.Dense((64, 16, 10))
start = lf.initialization.gaussian(network, scale=0.3, rng=0)
methods = {
    "gradient descent": lf.GradientDescent(0.1),
    "heavy ball": lf.GradientDescent(0.1, momentum=0.9),
    "Adam": lf.Adam(0.003),
    "RMSProp": lf.RMSProp(0.001),
    "Lion": lf.SignDescent(0.0005, momentum=0.9, memory_momentum=0.99),
    "spectral descent": lf.SpectralDescent(0.005, momentum=0.9),
}
record = lf.Record.geomspace(80, ("loss",))

figure, ax = plt.subplots(figsize=(6.8, 3.8), layout="constrained")
for name, method in methods.items():
    run = lf.train(network, loss, start, method=method, n_steps=2000, record=record)
    ax.plot(run.steps[1:], run.loss[1:] - loss.least_loss, label=name)
ax.set(title="Methods on digits", xlabel="step", ylabel="loss above the least one")
ax.set(xscale="log", yscale="log")
figure.legend(loc="outside right center", frameon=False)
