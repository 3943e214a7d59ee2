"""The problem of the sweeps: the last loss of many small runs, from random starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

import linnet_fast as lf

if TYPE_CHECKING:
    from bench.problem import Array, Weights

_SCALES, _STEP_SIZES = np.geomspace(1e-3, 1, 10), np.geomspace(0.01, 0.05, 10)


@dataclass(frozen=True, eq=False)
class SweepProblem:
    """Two square layers on one set of moments, from Gaussian starts of run x step size x scale.

    Standard deviations of weights are scale / sqrt(width). Competitors must not modify the arrays.
    """

    input_cov: Array
    """(m, m)."""
    cross_cov: Array
    """(m, m)."""
    output_power: float
    scales: Array
    """(n_runs,)."""
    step_sizes: Array
    """(n_runs,)."""
    n_steps: int
    n_threads: int

    @property
    def width(self) -> int:
        """The width m of every layer."""
        return int(self.input_cov.shape[0])

    @property
    def n_runs(self) -> int:
        """The number of runs."""
        return len(self.scales)

    @property
    def spreads(self) -> Array:
        """Standard deviations of the start weights, (n_runs,)."""
        return np.asarray(self.scales / np.sqrt(self.width))

    @property
    def loss(self) -> lf.SquaredLoss:
        """The loss of all runs."""
        return lf.SquaredLoss(self.input_cov, self.cross_cov, self.output_power)

    def first(self, n_runs: int) -> SweepProblem:
        """Return the sweep of the first runs; of more than there are, they begin again."""
        return replace(
            self,
            scales=np.resize(self.scales, n_runs),
            step_sizes=np.resize(self.step_sizes, n_runs),
        )

    def starts(self) -> Weights:
        """Return the weights that we start from, (n_runs, m, m) for each layer."""
        network = lf.Dense((self.width,) * 3)
        return lf.initialization.gaussian(
            network, scale=self.scales, rng=0, batch_shape=self.n_runs
        )


def make_sweep_problem(width: int, n_runs: int, n_steps: int, n_threads: int) -> SweepProblem:
    """Draw a problem on which no run diverges, the same on every call.

    The least loss is far from 0, so that losses near it are known to full relative precision.
    """
    rng = np.random.default_rng(width)
    inputs = rng.standard_normal((4 * width, width))
    teacher = rng.standard_normal((width, width)) / np.sqrt(width)
    input_cov = inputs.T @ inputs / (4 * width)
    cross_cov = teacher @ input_cov
    run = np.arange(n_runs)
    return SweepProblem(
        input_cov=input_cov,
        cross_cov=cross_cov,
        output_power=float(np.sum(cross_cov * teacher)) + 0.1 * width,
        scales=_SCALES[run % len(_SCALES)],
        step_sizes=_STEP_SIZES[run // len(_SCALES) % len(_STEP_SIZES)],
        n_steps=n_steps,
        n_threads=n_threads,
    )


def spec_of(problem: SweepProblem) -> lf.SweepSpec:
    """Return the problem as a user writes it: a grid with random starts."""
    training = lf.Training(
        lf.Dense((problem.width,) * 3),
        problem.loss,
        lf.Start("gaussian"),
        method=lf.GradientDescent(0.01),
        n_steps=problem.n_steps,
    )
    grid = {"start.scale": _SCALES, "method.step_size": _STEP_SIZES}
    # As for the rivals, a start of its own for every run: common seeds would be drawn once for all.
    return lf.grid(
        training,
        grid,
        replicates=problem.n_runs // (len(_SCALES) * len(_STEP_SIZES)),
        common_seeds=False,
    )


def train_ours(problem: SweepProblem, starts: Weights) -> Array:
    """Return the last losses of the runs from given starts, by ``linnet_fast.train``."""
    trajectory = lf.train(
        lf.Dense((problem.width,) * 3),
        problem.loss,
        starts,
        method=lf.GradientDescent(problem.step_sizes),
        n_steps=problem.n_steps,
        record=lf.Record.at([problem.n_steps], observables=("loss",)),
        n_threads=problem.n_threads,
    )
    return np.asarray(trajectory.loss[:, 0])
