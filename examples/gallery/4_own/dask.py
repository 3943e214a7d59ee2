"""
A sweep by dask
===============

The loss that is left after 200 steps over the step size, for three depths: trained by the workers
of a dask cluster, here one of two threads in this process. On a cluster ``Client`` takes the address
of its scheduler, and nothing else changes; results have the same bits.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from dask.distributed import Client

import linnet_fast as lf

training = lf.Training(
    lf.Dense((4, 8, 4)),
    lf.SquaredLoss(np.eye(4), np.diag([4.0, 3.0, 2.0, 1.0]), 30.0),
    lf.Start("gaussian", 0.3),
    method=lf.GradientDescent(0.1),
    n_steps=200,
)
axes = {"network.n_layers": [2, 3, 4], "method.step_size": np.geomspace(1e-3, 0.05, 40)}
spec = lf.grid(training, axes, replicates=20)

with (
    Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client,
    tempfile.TemporaryDirectory() as folder,
):
    data = lf.sweep(spec, f"{folder}/runs.zarr", client, progress=False).load()

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
lf.plot.curves(data, "final_loss", x="step_size", by="n_layers", ax=ax)
ax.set(title="Loss after 200 steps")
