"""
Direction and depth
===================

Networks of one to four layers learn the direction of their labels, on Gaussian inputs. Each line is
the median angle to it of 32 random starts, under gradient flow: the deeper, the sooner.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

loss = lf.SphericalLogisticLoss(np.eye(10)[0], lf.laws.Gaussian(10))
time = np.linspace(0, 30, 121)

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for n_layers in (1, 2, 3, 4):
    network = lf.Dense((10, *[8] * (n_layers - 1), 1))
    run = lf.train(
        network,
        loss,
        lf.initialization.gaussian(network, rng=0, batch_shape=32),
        method=lf.GradientFlow(),
        until=time[-1],
        record=lf.Record.at_times(time, ("angle",)),
    )
    ax.semilogy(time, np.median(run.angle, axis=0), label=n_layers)
ax.set(title="Angle to the direction of the labels", xlabel="time", ylabel="angle (radians)")
ax.legend(title="layers", frameon=False)
