"""NumPy: stacked matrix products (OpenBLAS) into preallocated arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.base import Competitor

if TYPE_CHECKING:
    from bench.problem import Array, Problem, Run, Weights


class Numpy(Competitor):
    """``np.matmul`` with ``out=``; with several threads also each with its own part of the runs."""

    name = "numpy"

    def prepare(self, problem: Problem) -> dict[str, Run]:
        """Return loops over the whole batch or over parts of it, in turn or on threads."""
        if problem.batch == 1:
            return {"dot": _way(problem, 1, 1)}
        whole, *parts = (max(1, problem.batch // cut) for cut in (1, 2, 4, 16))
        ways = {"matmul": _way(problem, whole, 1)}
        for part in sorted(set(parts), reverse=True):
            ways[f"matmul, {part} runs"] = _way(problem, part, 1)
            if problem.n_threads > 1:
                ways[f"matmul, {part} runs, threads"] = _way(problem, part, problem.n_threads)
        return ways


def blas() -> Any:
    """Return a handle on the threads of the loaded BLAS libraries, NumPy's and SciPy's.

    Where the runs already share the threads, each BLAS call must keep to its own.
    """
    import_module("scipy.linalg")
    return import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")


def _way(problem: Problem, part: int, n_threads: int) -> Run:
    libraries = blas()

    def run(n_steps: int) -> Weights:
        trained = tuple(layer.copy() for layer in problem.weights)

        def descend(first: int) -> None:
            weights = [layer[first : first + part] for layer in trained]
            if problem.batch == 1:
                weights = [layer[0] for layer in weights]
            _descend(weights, problem, n_steps)

        starts = range(0, problem.batch, part)
        if n_threads == 1:
            for start in starts:
                descend(start)
        else:
            with libraries.limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(descend, starts))
        return trained

    return run


def _descend(weights: list[Array], problem: Problem, n_steps: int) -> None:
    input_cov, cross_cov, step_size = problem.input_cov, problem.cross_cov, problem.step_size
    multiply: Any = np.matmul if weights[0].ndim == 3 else np.dot
    first, rest = weights[0], weights[1:]
    transposed = [layer.swapaxes(-1, -2) for layer in rest]
    prefixes = [first, *(np.empty_like(first) for _ in rest)]
    prefixes_transposed = [prefix.swapaxes(-1, -2) for prefix in prefixes]
    spare = np.empty_like(first), np.empty_like(first)
    gradient = np.empty_like(first)
    # All runs times the one input_cov is a single product.
    rows = prefixes[-1].reshape(-1, input_cov.shape[0])
    residual_rows = spare[0].reshape(rows.shape)
    for _ in range(n_steps):
        for index, layer in enumerate(rest):
            multiply(layer, prefixes[index], out=prefixes[index + 1])
        np.dot(rows, input_cov, out=residual_rows)
        back, other = spare
        np.subtract(back, cross_cov, out=back)
        np.multiply(back, step_size, out=back)
        for index in range(len(rest) - 1, -1, -1):
            multiply(transposed[index], back, out=other)
            multiply(back, prefixes_transposed[index], out=gradient)
            np.subtract(rest[index], gradient, out=rest[index])
            back, other = other, back
        np.subtract(first, back, out=first)
