"""NumPy: batches of stacked matrices, or of entries along the runs; in one process, or by joblib."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bench.rivals.numpy import blas
from bench.rivals.sweeps.base import Way

if TYPE_CHECKING:
    from bench.problem import Array, Weights
    from bench.sections.sweep_problem import SweepProblem


def _drawn(problem: SweepProblem, seed: int) -> Weights:
    """Draw starts for all runs of a batch."""
    shape = (2, problem.n_runs, problem.width, problem.width)
    first, second = np.random.default_rng(seed).standard_normal(shape)
    spreads = problem.spreads[:, None, None]
    return first * spreads, second * spreads


def _train_matmul(problem: SweepProblem, seed: int, starts: Weights | None) -> Array:
    """Train a batch by products of stacked matrices; return its last losses."""
    first, second = _drawn(problem, seed) if starts is None else (w.copy() for w in starts)
    second_t = second.swapaxes(1, 2)
    product, residual, change = (np.empty_like(first) for _ in range(3))
    first_t, step_sizes = first.swapaxes(1, 2), problem.step_sizes[:, None, None]
    # All runs times the one input_cov is a single product.
    rows, residual_rows = (a.reshape(-1, problem.width) for a in (product, residual))
    for _ in range(problem.n_steps):
        np.matmul(second, first, out=product)
        np.dot(rows, problem.input_cov, out=residual_rows)
        np.subtract(problem.cross_cov, residual, out=residual)
        np.multiply(residual, step_sizes, out=residual)
        np.matmul(residual, first_t, out=change)
        np.matmul(second_t, residual, out=product)
        np.add(second, change, out=second)
        np.add(first, product, out=first)
    product = second @ first
    power = (product @ problem.input_cov - 2 * problem.cross_cov) * product
    return np.asarray(0.5 * (power.sum((1, 2)) + problem.output_power))


def _train_runs_last(problem: SweepProblem, seed: int, starts: Weights | None) -> Array:
    """Train a batch by elementwise operations along the runs; return its last losses."""
    weights = _drawn(problem, seed) if starts is None else starts
    first, second = (np.ascontiguousarray(np.moveaxis(w, 0, 2)) for w in weights)
    product, residual, change, term = (np.empty_like(first) for _ in range(4))
    cross_cov, width = problem.cross_cov[:, :, None], problem.width

    def multiply(a: Array, b: Array, out: Array) -> None:
        np.multiply(a[:, 0, None], b[None, 0], out=out)
        for k in range(1, width):
            np.multiply(a[:, k, None], b[None, k], out=term)
            np.add(out, term, out=out)

    for _ in range(problem.n_steps):
        multiply(second, first, product)
        np.matmul(problem.input_cov, product, out=residual)  # input_cov is symmetric
        np.subtract(cross_cov, residual, out=residual)
        np.multiply(residual, problem.step_sizes, out=residual)
        multiply(residual, first.swapaxes(0, 1), change)
        multiply(second.swapaxes(0, 1), residual, product)
        np.add(second, change, out=second)
        np.add(first, product, out=first)
    multiply(second, first, product)
    power = (np.matmul(problem.input_cov, product) - 2 * cross_cov) * product
    return np.asarray(0.5 * (power.sum((0, 1)) + problem.output_power))


_Batch: TypeAlias = "tuple[SweepProblem, int, Weights | None]"
_TRAININGS = {"matmul": _train_matmul, "runs last": _train_runs_last}
_BATCHES = (256, 1024)


def _batches(problem: SweepProblem, n_runs: int, size: int, starts: Weights | None) -> list[_Batch]:
    """Return parts of the first runs, with seeds and starts of their own."""
    whole = problem.first(n_runs)
    result: list[_Batch] = []
    for begin in range(0, n_runs, size):
        of = slice(begin, begin + size)
        part = replace(whole, scales=whole.scales[of], step_sizes=whole.step_sizes[of])
        own = None if starts is None else tuple(w[of] for w in starts)
        result.append((part, begin, own))
    return result


def numpy_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return loops over batches of several sizes, in one thread."""

    def way(form: str, size: int) -> Way:
        train, libraries = _TRAININGS[form], blas()

        def sweep(n_runs: int, starts: Weights | None) -> Array:
            with libraries.limit(limits=1):
                return np.concatenate(
                    [train(*batch) for batch in _batches(problem, n_runs, size, starts)]
                )

        return Way(sweep, size)

    return {f"{form}, {size} runs": way(form, size) for form in _TRAININGS for size in _BATCHES}


def joblib_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return the same batches over processes and over threads."""
    joblib = import_module("joblib")

    def way(form: str, size: int, backend: str) -> Way:
        train, libraries = joblib.delayed(_TRAININGS[form]), blas()
        options = {"inner_max_num_threads": 1} if backend == "loky" else {}

        def sweep(n_runs: int, starts: Weights | None) -> Array:
            batches = _batches(problem, n_runs, size, starts)
            with libraries.limit(limits=1), joblib.parallel_config(backend, **options):
                parallel = joblib.Parallel(n_jobs=problem.n_threads)
                return np.concatenate(parallel(train(*batch) for batch in batches))

        return Way(sweep, size * problem.n_threads)

    return {
        f"{form}, {size} runs, {backend}": way(form, size, backend)
        for form in _TRAININGS
        for size in _BATCHES
        for backend in ("loky", "threading")
    }
