"""
Kernel and rich
===============

Diagonal networks learn a sparse teacher from fewer samples than inputs. From large starts (right)
they fit the samples and miss the teacher; from small ones they find it, deeper networks sooner, until
the start is so small that a deep one has not left it yet (left). Each line is the median over twenty
data sets.
"""

import matplotlib.pyplot as plt
import numpy as np

import linnet_fast as lf

teacher = lf.Teacher("sparse", n_inputs=30, n_nonzero=3, positive=True, n_samples=18, noise=0.05)
training = lf.Training(
    lf.Diagonal(30, n_layers=2),
    teacher,
    lf.Start("constant"),
    method=lf.GradientDescent(0.1),
    n_steps=1500,
    record=lf.Record.geomspace(2, ("loss",), evaluate={"risk": "population"}),
)
axes = {"start.scale": np.geomspace(0.05, 1.0, 16), "network.n_layers": [2, 3, 4]}
spec = lf.grid(training, axes, replicates=20, derived="final_loss_risk", keep_records=False)
data = lf.sweep(spec, progress=False)

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
lf.plot.curves(data, "final_loss_risk", x="scale", by="n_layers", ax=ax)
ax.set(title="Exact risk over the scale of the start")
