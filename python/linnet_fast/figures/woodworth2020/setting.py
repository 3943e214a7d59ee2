"""Sparse regression by predictors u^L - v^L: the sweep, and where its ends are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from linnet_fast import layers
from linnet_fast._base.spacing import geomspace
from linnet_fast._base.validate import FloatArray
from linnet_fast.initialization.start import Start
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.sweeps.axes import Axis
from linnet_fast.sweeps.designs import grid
from linnet_fast.sweeps.spec import SweepSpec
from linnet_fast.sweeps.sweep import sweep
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.description import Training

DEPTHS = (2, 3, 4)
LEAST_LOSS = 1e-12
"""Where runs end: samples are fitted."""


@dataclass(frozen=True)
class Task:
    """Samples of a sparse teacher, drawn anew for each data seed.

    Attributes
    ----------
    n_inputs, n_nonzero, n_samples : int
        Of the teacher.
    n_seeds : int
        How many data sets.
    n_scales : int
        How many sizes of the start.
    least_scales : tuple of float
        Of each of `DEPTHS`: deeper networks need longer for smaller starts, of which they have less need.
    n_steps : int
        At most.
    """

    n_inputs: int
    n_nonzero: int
    n_samples: int
    n_seeds: int
    n_scales: int
    least_scales: tuple[float, ...]
    n_steps: int

    def scales(self, n_layers: int) -> FloatArray:
        """Return entries of u and v at the start, down to where a network of this depth still leaves it in time."""
        least = self.least_scales[DEPTHS.index(n_layers)]
        return np.array(geomspace(least, 5.0, self.n_scales))

    @property
    def teacher(self) -> Teacher:
        """The recipe of the samples; the teacher has norm 1."""
        return Teacher(
            "sparse", n_inputs=self.n_inputs, n_nonzero=self.n_nonzero, n_samples=self.n_samples
        )

    def samples(self, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return an orthonormal basis (n, in) of what the samples of a data seed see, and the targets there (n,)."""
        loss = self.teacher.loss(seed)
        rows = np.eye(self.n_inputs)[:, None, :]
        # Gradients are affine: of the predictors e_i they are rows of the second moments.
        at_zero = loss.gradient(np.zeros(rows.shape))
        values, vectors = np.linalg.eigh((loss.gradient(rows) - at_zero)[:, 0])
        basis = vectors[:, -self.n_samples :].T
        return basis, -(basis @ at_zero[0, 0]) / values[-self.n_samples :]


def difference_of_powers(dim: int, n_layers: int) -> Chain:
    """Return the network of predictors u^L - v^L, whose one array of weights is u and then v."""
    signs = np.concatenate([np.eye(dim), -np.eye(dim)])
    weights = layers.Diagonal(2 * dim)
    return Chain(
        [layers.Fixed(signs), *(weights,) * n_layers, layers.Fixed(np.ones((1, 2 * dim)))],
        [None, *(0,) * n_layers, None],
    )


def spec_of(task: Task, n_layers: int) -> SweepSpec:
    """Return the sweep over scales of the start and data sets, for one depth."""
    largest = (1 + np.sqrt(task.n_inputs / task.n_samples)) ** 2  # variance of the samples
    scales = task.scales(n_layers)
    curvature = n_layers**2 * largest * (2 * scales ** (2 * n_layers - 2) + 1)
    training = Training(
        difference_of_powers(task.n_inputs, n_layers),
        task.teacher,
        Start("constant"),
        GradientDescent(0.1),
        n_steps=task.n_steps,
        record=Record.at([0], ("loss",), evaluate={"risk": "population"}),
        stop=Stop(loss=LEAST_LOSS),
    )
    scale = Axis(
        scales.tolist(),
        {"start.scale": scales.tolist(), "method.step_size": (0.4 / curvature).tolist()},
    )
    return grid(
        training,
        {"scale": scale, "data_seed": range(task.n_seeds)},
        derived=("final_loss", "final_loss_risk", "final_product"),
        keep_records=False,
    )


@dataclass(frozen=True)
class Ends:
    """Where trainings of one depth end.

    Attributes
    ----------
    loss, error : ndarray of float64, shape (n_scales, n_seeds)
        On the samples, and the squared distance to the teacher: the error on fresh samples.
    predictor : ndarray of float64, shape (n_scales, n_seeds, in)
    """

    loss: FloatArray
    error: FloatArray
    predictor: FloatArray


def follow(task: Task, n_layers: int, n_threads: int | None) -> Ends:
    """Train from all scales on all data sets."""
    data = sweep(spec_of(task, n_layers), n_threads=n_threads, progress=False)
    product = data["final_product"].values[..., 0, :]
    return Ends(data["final_loss"].values, 2 * data["final_loss_risk"].values, product)


def least_norm(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the predictor of least Euclidean norm that fits: where the kernel regime ends."""
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], np.float64)


def least_magnitudes(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the predictor with the least sum of magnitudes that fits: where the rich regime ends."""
    dim = x.shape[1]
    found = linprog(np.ones(2 * dim), A_eq=np.hstack([x, -x]), b_eq=y, bounds=(0, None))
    parts: FloatArray = found.x
    return parts[:dim] - parts[dim:]


def dual(predictor: FloatArray, scale: float, n_layers: int) -> FloatArray:
    """Return of which inputs' combination a predictor is, where flow from this scale leads.

    Flow moves u^(2 - L), of two layers log u, by twice as much as v the other way; what it moves by is a
    combination of samples. So the predictor is a function of that, entry by entry, and this its inverse.
    """
    beta = predictor / scale**n_layers
    if n_layers == 2:
        return np.asarray(np.arcsinh(beta / 2))
    power = n_layers / (n_layers - 2)
    low, high = np.full(beta.shape, -1.0), np.full(beta.shape, 1.0)
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore"):
            is_below = (1 - middle) ** -power - (1 + middle) ** -power < beta
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.asarray((low + high) / 2)


def off_samples(x: FloatArray, combination: FloatArray) -> float:
    """Return which part of a vector is no combination of samples."""
    rest = combination - x.T @ np.linalg.lstsq(x.T, combination, rcond=None)[0]
    return float(np.linalg.norm(rest) / np.linalg.norm(combination))
