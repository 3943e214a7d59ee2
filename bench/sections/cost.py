"""Costs of convolutional networks: us, SciPy's BFGS and CVXPY one predictor after the other."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.sections.base import competes, over_rival, own_ratio
from bench.timing import fastest, race, results_per_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_GAP = 1e-8
_RIVAL_ERROR = 1e-4
_RIVAL_PREDICTORS = 3


@dataclass(frozen=True, eq=False)
class CostProblem:
    """Predictors of one convolutional network with circular kernels and a dense top."""

    network: lf.Chain
    kernel_size: int
    predictors: Array
    """(batch, width)."""
    n_threads: int

    @property
    def width(self) -> int:
        """Positions of the input."""
        return int(self.predictors.shape[1])

    @property
    def spectra(self) -> Array:
        """Squared moduli of the predictors' Fourier modes, each frequency once, (batch, n)."""
        spectra = np.abs(np.fft.rfft(self.predictors)) ** 2 / self.width
        spectra[:, 1 : (self.width + 1) // 2] *= 2
        return np.asarray(spectra)


def make_cost_problem(
    width: int, kernel_size: int, n_layers: int, batch: int, n_threads: int
) -> CostProblem:
    """Draw predictors, the same on every call."""
    predictors = np.random.default_rng([width, kernel_size]).standard_normal((batch, width))
    network = lf.Convolution(width, kernel_size, n_layers)
    return CostProblem(network, kernel_size, predictors, n_threads)


def ours(problem: CostProblem) -> Callable[[], Array]:
    """Return the call of ``linnet_fast.representation_cost``; it gives the values.

    Raises
    ------
    AssertionError
        When called, if the bounds of a cost do not meet.
    """

    def run() -> Array:
        cost = lf.representation_cost(
            problem.network, problem.predictors, n_threads=problem.n_threads
        )
        np.testing.assert_allclose(cost.lower, cost.upper, rtol=_GAP)
        return cost.value

    return run


def scipy_ways(problem: CostProblem) -> dict[str, Callable[[], Array]]:
    """Return BFGS over the kernel of two layers, whose top has been eliminated.

    From near one tap; from anywhere it often ends in local minima.
    """
    minimize = import_module("scipy.optimize").minimize  # here, so that its time is its own
    turns = np.outer(np.arange(problem.width // 2 + 1), np.arange(problem.kernel_size))
    waves = np.exp(-2j * np.pi * turns / problem.width)

    def cost(kernel: Array, spectrum: Array) -> tuple[float, Array]:
        modes = waves @ kernel
        power = np.abs(modes) ** 2
        terms = spectrum / power
        slope = 2 * kernel - 2 * np.real(np.conj(waves).T @ (terms * modes / power))
        return float(kernel @ kernel + terms.sum()), slope

    def run() -> Array:
        start = 0.1 * np.random.default_rng(0).standard_normal(problem.kernel_size)
        start[0] += 1
        found = [
            minimize(cost, start, (spectrum,), jac=True).fun
            for spectrum in problem.spectra[:_RIVAL_PREDICTORS]
        ]
        return np.array(found)

    return {"BFGS": run}


def cvxpy_ways(problem: CostProblem) -> dict[str, Callable[[], Array]]:
    """Return three convex problems for two layers, each compiled once, with the default solver."""
    cp = import_module("cvxpy")
    width, size = problem.width, problem.kernel_size
    places = (np.arange(width)[:, None] + np.arange(size)) % width

    beta = cp.Parameter(width)
    matrix = cp.Variable((width, size))
    sums = [sum(matrix[(j - t) % width, t] for t in range(size)) == beta[j] for j in range(width)]
    nuclear = cp.Problem(cp.Minimize(cp.normNuc(matrix)), sums)

    dual_variable = cp.Variable(width)
    shifted = cp.vstack([dual_variable[row] for row in places])
    dual = cp.Problem(cp.Maximize(beta @ dual_variable), [cp.sigma_max(shifted) <= 1])

    spectrum = cp.Parameter(width // 2 + 1, nonneg=True)
    gram = cp.Variable((size, size), PSD=True)
    sums_along = [cp.trace(gram)]
    sums_along += [sum(gram[i, i + t] for i in range(size - t)) for t in range(1, size)]
    turns = 2 * np.pi * np.outer(np.arange(width // 2 + 1), np.arange(size)) / width
    table = np.cos(turns) * np.where(np.arange(size) == 0, 1, 2)
    power = table @ cp.hstack(sums_along)
    polynomial = cp.Problem(cp.Minimize(spectrum @ cp.inv_pos(power)), [cp.trace(gram) == 1])

    def way(
        convex: Any, parameter: Any, values: Array, cost: Callable[[float], float]
    ) -> Callable[[], Array]:
        def run() -> Array:
            found = []
            for value in values[:_RIVAL_PREDICTORS]:
                parameter.value = value
                convex.solve()
                found.append(cost(convex.value))
            return np.array(found)

        return run

    return {
        "nuclear norm": way(nuclear, beta, problem.predictors, lambda value: 2 * value),
        "its dual": way(dual, beta, problem.predictors, lambda value: 2 * value),
        "trigonometric polynomials": way(
            polynomial, spectrum, problem.spectra, lambda value: 2 * value**0.5
        ),
    }


COST_RIVALS: dict[str, Callable[[CostProblem], dict[str, Callable[[], Array]]]] = {
    "scipy": scipy_ways,
    "cvxpy": cvxpy_ways,
}


def cost(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Compute costs for two layers, beside the rival that the goal names in its best way."""
    problem = make_cost_problem(goal["d"], goal["k"], 2, goal["batch"], settings.n_threads)
    rival, run = goal["rival"], ours(problem)
    measures, entries = {OURS: results_per_second(run, settings.seconds)}, {}
    if competes(rival, settings):
        entries[rival] = fastest(
            rival,
            COST_RIVALS[rival](problem),
            lambda way: (way(),),
            (run()[:_RIVAL_PREDICTORS],),
            results_per_second,
            settings,
            rtol=_RIVAL_ERROR,
        )
        measures[rival] = entries[rival].measure
    result = race(measures, settings)
    yield over_rival(
        {key: goal[key] for key in ("d", "k", "batch")}, goal, result, settings, entries
    )


def cost_depth(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Compute costs for two layers and for more."""
    measures = {}
    for n_layers in (2, goal["L"]):
        problem = make_cost_problem(
            goal["d"], goal["k"], n_layers, goal["batch"], settings.n_threads
        )
        measures[f"L = {n_layers}"] = results_per_second(ours(problem), settings.seconds)
    yield own_ratio(goal, race(measures, settings), "L = 2", f"L = {goal['L']}")
