"""Test error over the number of samples: its peak where there are as many as inputs, and stopping early."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.double_descent.theory import course_error, least_norm_error, ridge_error
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.initialization.start import Start
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, panels
from linnet_fast.records.record import Record
from linnet_fast.sweeps.designs import grid
from linnet_fast.sweeps.spec import SweepSpec
from linnet_fast.sweeps.sweep import sweep
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.description import Training

_NOISE = 0.5
_STEP_SIZE = 0.1
_SMALL = 1e-4
"""Of starts of two layers."""
_BOUND = 1.22
"""By which factor stopping at the best time may be worse than the best penalty, Ali, Kolter, Tibshirani (2019)."""


@dataclass(frozen=True)
class Task:
    """What is swept: numbers of samples of Gaussian teachers, drawn anew for each data seed."""

    n_inputs: int
    n_samples: tuple[int, ...]
    n_seeds: int
    n_steps: int

    @property
    def teacher(self) -> Teacher:
        """The recipe of the samples; the teacher has norm 1 on average."""
        return Teacher("gaussian", n_inputs=self.n_inputs, n_samples=1, noise=_NOISE)

    def spec(self, widths: tuple[int, ...], start: Start) -> SweepSpec:
        """Return the sweep of networks of these widths."""
        training = Training(
            Dense(widths),
            self.teacher,
            start,
            GradientDescent(_STEP_SIZE),
            n_steps=self.n_steps,
            record=Record.geomspace(60, ("loss",), evaluate={"risk": "population"}),
        )
        return grid(training, {"loss.n_samples": self.n_samples, "data_seed": range(self.n_seeds)})

    def eigenvalues(self, n_samples: int) -> FloatArray:
        """Return those of the second moments of each data set, (n_seeds, in)."""
        teacher = Teacher("gaussian", n_inputs=self.n_inputs, n_samples=n_samples, noise=_NOISE)
        loss = teacher.loss(batch_shape=(1, self.n_seeds))
        rows = np.eye(self.n_inputs)[:, None, None, :]
        # Gradients are affine: of the predictors e_i they are rows of the second moments.
        moments = loss.gradient(rows) - loss.gradient(np.zeros(rows.shape))
        return np.asarray(np.linalg.eigvalsh(np.moveaxis(moments[..., 0, :], 0, 1)), np.float64)


def _task(settings: Settings) -> Task:
    if settings.quick:
        return Task(20, (5, 10, 20, 30, 60), 24, 2000)
    around = (34, 36, 38, 40, 42, 44, 46)
    return Task(40, (8, 12, 16, 20, 24, 28, 32, *around, 48, 56, 64, 80, 100, 120, 160), 100, 8000)


def samples(settings: Settings) -> Figure:
    """Train one and two layers on samples of noisy teachers, fewer and more than there are inputs."""
    task = _task(settings)
    d = task.n_inputs
    found, steps = {}, np.empty(0)
    kinds = {
        "one layer": ((d, 1), Start("constant", 0.0)),
        "two layers": ((d, 8, 1), Start("gaussian", _SMALL)),
    }
    for name, (widths, start) in kinds.items():
        data = sweep(task.spec(widths, start), n_threads=settings.n_threads, progress=False)
        # The risk is half of the squared distance, and of the noise that nobody can predict.
        found[name] = 2 * data["loss_risk"].values - _NOISE**2
        steps = data["step"].values
    n = np.array(task.n_samples)
    values = [task.eigenvalues(k) for k in task.n_samples]
    course = np.array(
        [
            course_error(own, k, _NOISE, steps, _STEP_SIZE).mean(axis=0)
            for k, own in zip(task.n_samples, values, strict=True)
        ]
    )
    ridge = np.array(
        [ridge_error(own, k, _NOISE).mean() for k, own in zip(task.n_samples, values, strict=True)]
    )
    formula = least_norm_error(n, d, _NOISE)
    mean = {name: error.mean(axis=1) for name, error in found.items()}
    spread = found["one layer"].std(axis=1) / np.sqrt(task.n_seeds)
    away = np.abs(n - d) > d // 8
    far = np.abs(n - d) >= d // 5  # nearer, two layers take longer
    ends, least = mean["one layer"][:, -1], mean["one layer"].min(axis=-1)
    at_peak = int(np.argmax(ends))
    claims = [
        at_most(
            "least norm, samples not near inputs: mean test error from its closed form, in standard errors, largest",
            float((np.abs(ends - formula)[away] / spread[away, -1]).max()),
            4.0,
        ),
        at_most(
            "along training: mean test error from its closed form, in standard errors, largest",
            float((np.abs(mean["one layer"] - course)[:, 1:] / spread[:, 1:]).max()),
            5.0,
        ),
        at_most("test error is largest where samples are as many as inputs: ratio, apart from 1", abs(n[at_peak] / d - 1), 0.06),
        at_least("there it is so many times that of the fewest samples", ends[at_peak] / ends[0], 2.0),
        at_most("stopped at the best step: more samples never hurt, largest ratio of neighbours", float((least[1:] / least[:-1]).max()), 1.03),
        at_most("stopped at the best step: test error over that of the best ridge penalty, largest", float((course.min(axis=-1) / ridge).max()), _BOUND),
        at_least("and never below it, least", float((course.min(axis=-1) / ridge).min()), 1.0),
        at_most(
            "two layers from a small start end where one does, samples far from inputs: difference of mean test errors, largest relative one",
            float((np.abs(mean["two layers"][:, -1] / ends - 1))[far].max()),
            0.05,
        ),
        at_most(
            "two layers, stopped at the best step: test error over that of one layer, largest",
            float((mean["two layers"].min(axis=-1) / least).max()),
            1.25,
        ),
    ]  # fmt: skip
    figure, (left, right) = panels(2)
    dark, shade = "#333333", colors(3)[1]
    fine = np.linspace(n[0], n[-1], 2000)
    left.plot(fine / d, least_norm_error(fine, d, _NOISE), color="#909090", linewidth=0.9, zorder=0)
    left.lines[-1].set_label("least norm, closed form")
    left.plot(n / d, ridge, color="#909090", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    left.lines[-1].set_label("best ridge penalty")
    for name, marker in (("one layer", "o"), ("two layers", "x")):
        left.plot(n / d, mean[name][:, -1], marker, color=dark, markersize=4)
        left.lines[-1].set_label(f"{name}, to the end")
        left.plot(n / d, mean[name].min(axis=-1), marker, color=shade, markersize=4)
        left.lines[-1].set_label(f"{name}, stopped early")
    left.set(xlabel="samples / inputs", ylabel="test error, without noise", yscale="log")
    left.set_ylim(least.min() / 2, 4 * ends.max())
    shown = [0, int(np.argmin(np.abs(n - d // 2))), at_peak, len(n) - 1]
    for k, own in zip(shown, colors(len(shown)), strict=True):
        right.plot(steps[1:], mean["one layer"][k, 1:], color=own, linewidth=1.6, alpha=0.6)
        right.lines[-1].set_label(f"{n[k] / d:g} d samples")
        right.plot(steps[1:], course[k, 1:], color="black", linewidth=0.6, linestyle=(0, (3, 3)))
    right.lines[-1].set_label("closed form")
    right.set(xlabel="step", xscale="log", yscale="log")
    figure.legend(loc="outside right center", frameon=False)
    return Figure(
        "samples",
        About(
            f"Gaussian teachers of d = {d} inputs, noise {_NOISE:g}",
            "one layer and two",
            "gradient descent",
        ),
        f"Mean squared distance to Gaussian teachers with {d} inputs of {task.n_seeds} data sets each, with noise of {_NOISE:g} on the targets. Trained to the end, networks "
        "are worst where they can just fit all samples; stopped at the best step they are better with every sample more, and nearly as good as the best "
        "that there is. Two layers from small starts do as one from zero.",
        figure,
        {"n_samples": n, "steps": steps, "formula": formula, "ridge": ridge, "course": course}
        | {f"error_{name.replace(' ', '_')}": error for name, error in found.items()},
        claims,
    )
