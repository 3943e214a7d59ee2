"""Trainings to make designs of, and what a design says of its runs."""

from __future__ import annotations

from support import make_loss

import linnet_fast as lf

LOSS = make_loss((3, 2))
TRAINING = lf.Training(
    lf.Dense((3, 4, 2)),
    LOSS,
    lf.Start("gaussian", 0.5),
    method=lf.GradientDescent(0.05),
    n_steps=20,
    stop=lf.Stop(1e-6, check_every=5),
)
SPHERICAL = lf.Training(
    lf.Dense((3, 4, 1)),
    lf.SphericalLogisticLoss([1.0, 0.0, 0.0], lf.laws.Gaussian(3)),
    lf.Start("gaussian", 0.5),
    method=lf.StochasticGradientDescent(lf.StepRule.power(0.1, -0.5), 4),
    n_steps=5,
)
FLOW = lf.Training(
    lf.Dense((3, 4, 2)), LOSS, lf.Start("balanced"), method=lf.GradientFlow(), until=2.0
)


def grid(parameters, training=TRAINING, **options):
    return lf.grid(training, parameters, **options)


def labels_of(spec, name):
    return spec.axes[name].labels.tolist()


def training_at(spec, *indices):
    return spec.training_at(indices)


def values_of(spec):
    return {column.path: list(column.values) for column in spec.axes["run"].columns}
