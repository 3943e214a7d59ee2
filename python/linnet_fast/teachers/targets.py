"""What a teacher tells of its samples, and the loss of that: values, signs or classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from linnet_fast import laws
from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.cross_entropy import CrossEntropyLoss
from linnet_fast.losses.samples import LogisticLoss
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.losses.teacher import TeacherLoss
from linnet_fast.teachers import draws

if TYPE_CHECKING:
    from linnet_fast.teachers.rows import Rows
    from linnet_fast.teachers.teacher import Teacher


class Target(ABC):
    """What a network is to find."""

    @abstractmethod
    def check(self, teacher: Teacher) -> None:
        """Raise ValueError where a teacher has no such targets."""

    @abstractmethod
    def loss(self, teacher: Teacher, rows: Rows) -> Loss:
        """Return the loss of runs."""


class Values(Target):
    """P_0 x, with noise."""

    def check(self, teacher: Teacher) -> None:
        """All have values."""

    def loss(self, teacher: Teacher, rows: Rows) -> Loss:
        """Return the squared loss."""
        n = teacher.n_samples
        matrices, noise = teacher.matrices(rows), rows.parameter("noise")
        if n is None:
            return self._of_moments(teacher, rows, matrices, noise)
        x = rows.of(teacher.input_law(rows.numbers).drawn(rows.numbers, n))
        y = algebra.product(x, matrices.mT)
        if noise.any():
            xi = rows.numbers.normal(draws.NOISE, (n, teacher.n_outputs), n)
            with np.errstate(over="ignore", invalid="ignore"):
                y = y + noise[:, None, None] * rows.of(xi)
        _check_finite(y)
        return SquaredLoss.from_data(x, y).spread(rows.which, rows.runs)

    def _of_moments(
        self, teacher: Teacher, rows: Rows, matrices: FloatArray, noise: FloatArray
    ) -> Loss:
        is_isotropic = teacher.input_cov is None
        cov = teacher.input_law(rows.numbers).cov
        cov = cov if cov.ndim == 2 else rows.of(cov)
        with np.errstate(over="ignore", invalid="ignore"):
            cross = matrices if is_isotropic else algebra.product(matrices, cov)
            flat = (np.reshape(a, (rows.n, -1, 1)) for a in (matrices, cross))
            rest = teacher.n_outputs * noise * noise
            power = algebra.cross_products(*flat)[:, 0, 0] + rest
        _check_finite(power)
        made = SquaredLoss(cov, cross, power, rest)
        if is_isotropic:  # of independent inputs alone batches are fresh samples
            made = made.drawing(TeacherLoss(laws.Gaussian(teacher.n_inputs), matrices, noise))
        return made.spread(rows.which, rows.runs)


class Signs(Target):
    """Signs of P_0 x, of which some are wrong."""

    def check(self, teacher: Teacher) -> None:
        """Refuse populations without a closed form."""
        _check_labels(teacher)
        if teacher.n_samples is None and teacher.n_outputs > 1:
            msg = f"n_samples must be given for signs of several outputs, got {teacher.n_outputs}"
            raise ValueError(msg)
        if teacher.n_samples is None and teacher.input_cov is not None:
            msg = "n_samples must be given for signs of inputs with input_cov"
            raise ValueError(msg)

    def loss(self, teacher: Teacher, rows: Rows) -> Loss:
        """Return the logistic loss; that of infinitely many samples is a mean over the law of the inputs."""
        n, n_outputs = teacher.n_samples, teacher.n_outputs
        matrices, noise = teacher.matrices(rows), rows.parameter("noise")
        if n is None:
            direction, chance = rows.of_runs(matrices[:, 0]), rows.of_runs(noise)
            return SphericalLogisticLoss(direction, laws.Gaussian(teacher.n_inputs), chance)
        x = rows.of(teacher.input_law(rows.numbers).drawn(rows.numbers, n))
        signs = np.where(algebra.product(x, matrices.mT) < 0, -1.0, 1.0)
        if noise.any():
            uniform = rows.of(rows.numbers.uniform(draws.NOISE, (n, n_outputs), n))
            signs = np.where(uniform < noise[:, None, None], -signs, signs)
        labels = signs[..., 0] if n_outputs == 1 else signs
        return LogisticLoss(rows.of_runs(x), rows.of_runs(labels), n_outputs=n_outputs)


class Classes(Target):
    """Which entry of P_0 x is the largest; some are any class."""

    def check(self, teacher: Teacher) -> None:
        """Refuse a single class, and populations, which have no closed form."""
        _check_labels(teacher)
        validate.integer("n_outputs", teacher.n_outputs, low=2, high=None)
        if teacher.n_samples is None:
            msg = "n_samples must be given for classes, of which there is no exact population"
            raise ValueError(msg)

    def loss(self, teacher: Teacher, rows: Rows) -> Loss:
        """Return the cross-entropy."""
        n, n_outputs = teacher.n_samples or 1, teacher.n_outputs
        matrices, noise = teacher.matrices(rows), rows.parameter("noise")
        x = rows.of(teacher.input_law(rows.numbers).drawn(rows.numbers, n))
        classes = np.argmax(algebra.product(x, matrices.mT), axis=-1)
        if noise.any():
            uniform = rows.of(rows.numbers.uniform(draws.NOISE, (n,), n))
            chance = noise[:, None]
            # Below the chance it is uniform there, too.
            share = uniform / np.where(chance > 0, chance, 1.0)
            other = np.minimum((share * n_outputs).astype(np.int64), n_outputs - 1)
            classes = np.where(uniform < chance, other, classes)
        return CrossEntropyLoss(rows.of_runs(x), rows.of_runs(np.eye(n_outputs)[classes]))


TARGETS: Mapping[str, Target] = MappingProxyType(
    {"values": Values(), "signs": Signs(), "classes": Classes()}
)
"""What a network is to find, by name."""


def _check_labels(teacher: Teacher) -> None:
    noise, scale = teacher.noise, teacher.scale
    validate.refuse("noise", "from 0 to 1 for labels", noise, noise > 1)
    validate.refuse("scale", "1 for labels, which it does not change", scale, scale != 1)


def _check_finite(values: FloatArray) -> None:
    if not np.isfinite(values).all():
        msg = "scale must keep targets, with their noise, within float64, got an overflow"
        raise ValueError(msg)
