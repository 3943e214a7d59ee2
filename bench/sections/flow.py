"""Gradient flow: us, SciPy's DOP853 one run after the other, diffrax's Dopri8 under vmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.sections.base import competes, over_rival
from bench.timing import race, results_per_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_SCALE, _HORIZON, _RTOL = 1e-6, 200.0, 1e-8
_ATOL = _RTOL * _SCALE
_SCIPY_RUNS = 3


@dataclass(frozen=True, eq=False)
class FlowProblem:
    """A batch of two-layer networks on isotropic inputs, from small random starts."""

    first: Array
    """(batch, m, m)."""
    second: Array
    """(batch, m, m)."""
    cross_cov: Array
    """(m, m): a spectrum from 1 to 0.2."""
    n_threads: int

    @property
    def width(self) -> int:
        """The width m of every layer."""
        return int(self.cross_cov.shape[0])

    @property
    def batch(self) -> int:
        """The number of runs."""
        return int(self.first.shape[0])


def make_flow_problem(width: int, batch: int, n_threads: int) -> FlowProblem:
    """Draw a problem, the same on every call."""
    rng = np.random.default_rng([width, batch])
    shape = (batch, width, width)
    spectrum = np.linspace(1, 0.2, width)
    return FlowProblem(
        _SCALE * rng.standard_normal(shape),
        _SCALE * rng.standard_normal(shape),
        np.diag(spectrum),
        n_threads,
    )


def ours(problem: FlowProblem) -> Callable[[], Array]:
    """Return the call of ``linnet_fast.train``; it gives the end-to-end matrices at the end."""
    m = problem.width
    network = lf.Dense((m, m, m))
    loss = lf.SquaredLoss(np.eye(m), problem.cross_cov, float(np.sum(problem.cross_cov**2)))
    record = lf.Record.at_times([_HORIZON], observables=("product",))

    def run() -> Array:
        trajectory = lf.train(
            network,
            loss,
            (problem.first, problem.second),
            method=lf.GradientFlow(_RTOL, _ATOL),
            until=_HORIZON,
            record=record,
            n_threads=problem.n_threads,
            reduce=False,  # as rivals do
        )
        products: Array = trajectory.product
        return products[:, 0]

    return run


def scipy_flow(problem: FlowProblem) -> Callable[[], Array]:
    """Return a loop over the first few runs."""
    from scipy.integrate import solve_ivp  # noqa: PLC0415  (its time must not be that of others)

    m = problem.width

    def slope(_time: float, flat: Array) -> Array:
        first, second = flat[: m * m].reshape(m, m), flat[m * m :].reshape(m, m)
        residual = problem.cross_cov - second @ first
        return np.concatenate([(second.T @ residual).ravel(), (residual @ first.T).ravel()])

    def run() -> Array:
        ends = []
        for first, second in list(zip(problem.first, problem.second, strict=True))[:_SCIPY_RUNS]:
            start = np.concatenate([first.ravel(), second.ravel()])
            solution = solve_ivp(
                slope, (0, _HORIZON), start, method="DOP853", rtol=_RTOL, atol=_ATOL
            )
            end = solution.y[:, -1]
            ends.append(end[m * m :].reshape(m, m) @ end[: m * m].reshape(m, m))
        return np.array(ends)

    return run


def diffrax_flow(problem: FlowProblem) -> Callable[[], Array]:
    """Return the whole batch, compiled; every run has a step size of its own, all wait for all."""
    import diffrax  # noqa: PLC0415
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    cross = jnp.asarray(problem.cross_cov)

    def slope(_time: Any, state: Any, _args: Any) -> Any:
        first, second = state
        residual = cross - second @ first
        return second.T @ residual, residual @ first.T

    def solve(first: Any, second: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri8(),
            0.0,
            _HORIZON,
            None,
            (first, second),
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=diffrax.PIDController(rtol=_RTOL, atol=_ATOL),
            max_steps=100_000,
        )
        return solution.ys[1][-1] @ solution.ys[0][-1]

    compiled = jax.jit(jax.vmap(solve))
    first, second = jnp.asarray(problem.first), jnp.asarray(problem.second)
    return lambda: np.asarray(compiled(first, second))


FLOW_RIVALS: dict[str, Callable[[FlowProblem], Callable[[], Array]]] = {
    "scipy": scipy_flow,
    "diffrax": diffrax_flow,
}


def flow(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Integrate a batch, beside the rival that the goal names; ends are compared to 1e-5."""
    rival = goal["rival"]
    problem = make_flow_problem(goal["m"], goal["batch"], settings.n_threads)
    runs = {OURS: ours(problem)}
    if competes(rival, settings):
        runs[rival] = FLOW_RIVALS[rival](problem)
    expected = runs[OURS]()
    for name, run in runs.items():
        product = run()
        np.testing.assert_allclose(product, expected[: len(product)], atol=1e-5, err_msg=name)
    result = race(
        {name: results_per_second(run, settings.seconds) for name, run in runs.items()},
        settings,
    )
    yield over_rival({"m": goal["m"], "batch": problem.batch}, goal, result, settings)
