"""linnet_fast itself, through its public interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import linnet_fast as lf

if TYPE_CHECKING:
    from bench.problem import Problem, Run, Weights
    from linnet_fast.methods.base import Method


OURS = "linnet_fast"
"""Our name among the competitors."""


def training(
    problem: Problem,
    n_records: int = 0,
    *,
    observables: tuple[str, ...] = ("loss", "singular_values"),
    method: Method | None = None,
) -> Run:
    """Return the training of a problem, by default by gradient descent.

    It records `observables` `n_records` times, or the last loss alone if that is 0. The networks are
    trained as they stand: it is the kernels that are measured.
    """
    network = lf.Dense((problem.width,) * (problem.n_layers + 1))
    loss = lf.SquaredLoss(problem.input_cov, problem.cross_cov, problem.output_power)
    how = lf.GradientDescent(step_size=problem.step_size) if method is None else method

    def run(n_steps: int) -> Weights:
        if n_records:
            record = lf.Record.geomspace(n_records, observables=observables)
        else:
            record = lf.Record.at([n_steps], observables=("loss",))
        trajectory = lf.train(
            network,
            loss,
            problem.weights,
            method=how,
            n_steps=n_steps,
            record=record,
            n_threads=problem.n_threads,
            reduce=False,
        )
        return trajectory.final.weights

    return run
