"""NumPy: stacked matrix products (OpenBLAS) into preallocated arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.base import Competitor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.problem import Array, Problem, Run, Weights


class Numpy(Competitor):
    """``np.matmul`` with ``out=``; with several threads also each with its own part of the runs."""

    name = "numpy"

    def prepare(self, problem: Problem) -> dict[str, Run]:
        """Return loops over the whole batch or over parts of it, in turn or on threads."""
        if problem.batch == 1:
            return {"dot": _way(problem, 1, 1)}
        ways = {"matmul": _way(problem, problem.batch, 1)}
        for part in parts_of(problem.batch, (2, 4, 16)):
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


def by_parts(
    weights: Weights, part: int, n_threads: int, descend: Callable[[list[Array], int, int], None]
) -> Run:
    """Return the training of so many runs at a time, in turn or on threads.

    ``descend(weights, n_steps, first)`` trains those of one part in place, from run `first` on; a single
    run has no axis for it.
    """
    libraries, batch = blas(), len(weights[0])

    def run(n_steps: int) -> Weights:
        trained = tuple(layer.copy() for layer in weights)

        def of_part(first: int) -> None:
            where = first if part == 1 else slice(first, first + part)
            descend([layer[where] for layer in trained], n_steps, first)

        starts = range(0, batch, part)
        if n_threads == 1:
            for first in starts:
                of_part(first)
        else:
            with libraries.limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(of_part, starts))
        return trained

    return run


def parts_of(batch: int, cuts: Sequence[int]) -> list[int]:
    """Return how many runs a part has if a batch is divided by each of `cuts`, the most first."""
    return sorted({max(1, batch // cut) for cut in cuts}, reverse=True)


def ways_by_parts(
    weights: Weights,
    cuts: Sequence[int],
    n_threads: int,
    descend: Callable[[list[Array], int, int], None],
) -> dict[str, Run]:
    """Return `by_parts` of the batch divided by each of `cuts`, in turn and on threads, by name."""
    ways = {}
    for part in parts_of(len(weights[0]), cuts):
        ways[f"{part} runs"] = by_parts(weights, part, 1, descend)
        if n_threads > 1:
            ways[f"{part} runs, threads"] = by_parts(weights, part, n_threads, descend)
    return ways


def _way(problem: Problem, part: int, n_threads: int) -> Run:
    return by_parts(
        problem.weights, part, n_threads, lambda own, n, _first: _descend(own, problem, n)
    )


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
