"""
Double descent over samples
===========================

The exact risk of least squares on samples of a noisy teacher of 20 inputs, trained to the end and
stopped early. At as many samples as inputs it has a peak, which stopping early takes away. Each
point is the median of 40 teachers that are drawn anew.
"""

import matplotlib.pyplot as plt

import linnet_fast as lf

teacher = lf.Teacher("gaussian", n_inputs=20, n_outputs=1, noise=0.5, n_samples=10)
training = lf.Training(
    lf.Dense((20, 1)),
    teacher,
    lf.Start("constant", 0.0),
    method=lf.GradientDescent(0.2),
    n_steps=5000,
    record=lf.Record.at([0, 20, 5000], ("loss",), evaluate={"risk": "population"}),
)
samples = [5, 10, 14, 17, 19, 20, 21, 23, 26, 30, 40, 60, 80]
spec = lf.grid(training, {"loss.n_samples": samples}, replicates=40)
risk = lf.sweep(spec, progress=False)["loss_risk"].median("seed")

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(samples, risk.sel(step=5000), "o-", label="after 5,000 steps")
ax.plot(samples, risk.sel(step=20), "s--", label="after 20 steps")
ax.axvline(20, color="grey", linewidth=0.8, linestyle=":", label="as many as inputs")
ax.set(title="Risk over the number of samples", xlabel="samples", ylabel="exact risk", yscale="log")
ax.legend(frameon=False)
