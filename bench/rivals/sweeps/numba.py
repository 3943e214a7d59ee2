"""Numba: loops over runs in parallel, one by one or several side by side in vector registers."""

from __future__ import annotations

from importlib import import_module
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.numba import by_row, define
from bench.rivals.numpy import blas
from bench.rivals.sweeps.base import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Weights
    from bench.sections.sweep_problem import SweepProblem


def numba_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return loops over runs one by one, and over runs side by side in vector registers."""
    numba = import_module("numba")
    numba.set_num_threads(problem.n_threads)
    ways = {"runs one by one": _way(numba, problem, _rows(numba, problem.width), 1)}
    for lanes in (16, 32):
        step = define(numba, "step", _lanes_source(problem.width, lanes, gcd(problem.width, 4)))
        ways[f"{lanes} runs side by side"] = _way(numba, problem, step, lanes)
    return ways


def _rows(numba: Any, width: int) -> Callable[..., None]:
    """Return a step of one run: inner loops along rows, sums in full."""
    add_product = numba.njit(fastmath=True)(by_row(numba, width, width))

    def step(state: Array, input_cov: Array, cross_cov: Array, step_sizes: Array) -> None:
        first, second, product, residual = state.reshape((4, width, width))
        product[:] = 0
        add_product(second, first, product, product)
        residual[:] = 0
        add_product(product, input_cov, residual, residual)
        for i in range(width):
            for j in range(width):
                residual[i, j] = step_sizes[0] * (cross_cov[i, j] - residual[i, j])
                product[i, j] = first[j, i]
        add_product(second.T, residual, first, first)
        add_product(residual, product, second, second)

    return step


def _lanes_source(width: int, lanes: int, side: int) -> str:
    """Write out a step of runs side by side, an entry of all at a time, in tiles of products.

    One flat array with the offsets known, so that the compiler sees what does not overlap.
    """
    lines = ["def step(state, input_cov, cross_cov, step_sizes):"]

    def entry(matrix: int) -> Callable[[int, int], str]:
        return lambda i, j: f"state[{((matrix * width + i) * width + j) * lanes} + lane]"

    def transposed(of: Callable[[int, int], str]) -> Callable[[int, int], str]:
        return lambda i, j: of(j, i)

    def product(
        a: Callable[[int, int], str],
        b: Callable[[int, int], str],
        out: Callable[[int, int], str],
        value: Callable[[int, int], str],
    ) -> None:
        for top in range(0, width, side):
            for left in range(0, width, side):
                rows, columns = range(top, top + side), range(left, left + side)
                lines.append(f"    for lane in range({lanes}):")
                for k in range(width):
                    lines.extend(f"        a{i} = {a(i, k)}" for i in rows)
                    for j in columns:
                        lines.append(f"        b = {b(k, j)}")
                        lines.extend(
                            f"        t{i}_{j} {'+=' if k else '='} a{i} * b" for i in rows
                        )
                lines.extend(
                    f"        {out(i, j)} = {value(i, j).replace('T', f't{i}_{j}')}"
                    for i in rows
                    for j in columns
                )

    first, second, spare, residual = map(entry, range(4))
    product(second, first, spare, lambda _i, _j: "T")
    product(
        spare,
        lambda i, j: f"input_cov[{i}, {j}]",
        residual,
        lambda i, j: f"step_sizes[lane] * (cross_cov[{i}, {j}] - T)",
    )
    product(transposed(second), residual, spare, lambda i, j: f"{first(i, j)} + T")
    product(residual, transposed(first), second, lambda i, j: f"{second(i, j)} + T")
    size = width**2 * lanes
    lines += [
        f"    for entry in range({size}):",
        f"        state[entry] = state[{2 * size} + entry]",
    ]
    return "\n".join(lines)


def _way(numba: Any, problem: SweepProblem, step_of: Callable[..., None], lanes: int) -> Way:
    """Return a loop over blocks of runs side by side."""
    compiled = numba.njit(fastmath=True)
    step: Any = compiled(step_of)
    width, power, n_steps = problem.width, problem.output_power, problem.n_steps
    size = 2 * width**2

    @compiled  # type: ignore[untyped-decorator]
    def losses_of(state: Array, input_cov: Array, cross_cov: Array, losses: Array) -> None:
        entries = state.reshape((4, width, width, lanes))
        for lane in range(lanes):
            product = np.dot(
                np.ascontiguousarray(entries[1, :, :, lane]),
                np.ascontiguousarray(entries[0, :, :, lane]),
            )
            terms = (np.dot(product, input_cov) - 2 * cross_cov) * product
            losses[lane] = 0.5 * (terms.sum() + power)

    def train(
        given: Array, spreads: Array, step_sizes: Array, input_cov: Array, cross_cov: Array
    ) -> Array:
        losses = np.empty(step_sizes.shape)
        for block in numba.prange(len(step_sizes)):
            state = np.empty(2 * size * lanes)
            if len(given):
                state[: size * lanes] = given[block]
            else:
                np.random.seed(block)  # noqa: NPY002  (what Numba has on several threads)
                for entry in range(size):
                    for lane in range(lanes):
                        normal = np.random.standard_normal()  # noqa: NPY002
                        state[entry * lanes + lane] = spreads[block, lane] * normal
            own = step_sizes[block].copy()
            for _ in range(n_steps):
                step(state, input_cov, cross_cov, own)
            losses_of(state, input_cov, cross_cov, losses[block])
        return losses

    program, libraries = numba.njit(parallel=True, fastmath=True)(train), blas()

    def sweep(n_runs: int, starts: Weights | None) -> Array:
        n_blocks = -(-n_runs // lanes)
        whole = problem.first(n_blocks * lanes)
        given: Array = np.empty((0, 0))
        if starts is not None:
            runs = np.stack(starts, axis=1).reshape(len(starts[0]), size)
            runs = np.take(runs, np.arange(n_blocks * lanes), axis=0, mode="wrap")
            given = np.swapaxes(runs.reshape(n_blocks, lanes, size), 1, 2).reshape(n_blocks, -1)
        spreads, step_sizes = (
            a.reshape(n_blocks, lanes) for a in (whole.spreads, whole.step_sizes)
        )
        with libraries.limit(limits=1):
            losses = program(given, spreads, step_sizes, problem.input_cov, problem.cross_cov)
        return np.asarray(losses.reshape(-1)[:n_runs])

    return Way(sweep, 8 * lanes * problem.n_threads)
