"""Numba: one compiled loop over the runs in parallel, each run with its own small arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.base import Competitor
from bench.rivals.numpy import blas

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Problem, Run, Weights


class Numba(Competitor):
    """``prange`` over runs with width and depth known to the compiler, and ``fastmath``."""

    name = "numba"

    def prepare(self, problem: Problem) -> dict[str, Run]:
        """Return loops over entries, over rows by several terms at a time, and over BLAS calls."""
        numba = import_module("numba")
        numba.set_num_threads(problem.n_threads)
        ways = {
            "entries": _way(numba, problem, _by_entry(problem.width)),
            "np.dot": _way(numba, problem, _by_blas),
        }
        for n_terms in (4, 8):
            if not problem.width % n_terms:
                add = by_row(numba, problem.width, n_terms)
                ways[f"rows, {n_terms} terms"] = _way(numba, problem, add)
        return ways


def _by_entry(width: int) -> Callable[..., None]:
    def add_product(a: Array, b: Array, out: Array, _: Array) -> None:
        for i in range(width):
            for j in range(width):
                total = out[i, j]
                for k in range(width):
                    total += a[i, k] * b[k, j]
                out[i, j] = total

    return add_product


def by_row(numba: Any, width: int, n_terms: int) -> Callable[..., None]:
    """Add several rows of b, times entries of a, to a row of out while it is at hand."""
    terms = range(n_terms)
    coefficients = "; ".join(f"a{t} = a[i, k + {t}]" for t in terms)
    total = " + ".join(f"a{t} * b[k + {t}, j]" for t in terms)
    return define(
        numba,
        "add_product",
        f"""
def add_product(a, b, out, _):
    for i in range({width}):
        for k in range(0, {width}, {n_terms}):
            {coefficients}
            for j in range({width}):
                out[i, j] += {total}
""",
    )


def _by_blas(a: Array, b: Array, out: Array, spare: Array) -> None:
    np.dot(a, b, spare)
    out += spare


def _training_loop(n_layers: int) -> str:
    """Write out the loop for this depth: a name for each array is faster than an index."""
    layers, inner = range(n_layers), range(n_layers - 1, 0, -1)
    prefix = ["w0", *(f"p{layer}" for layer in layers[1:])]
    arrays = [*prefix[1:], *(f"g{layer}" for layer in layers), "transposed", "spare"]
    before = [
        *(f"w{layer} = stacked[run, {layer}].copy()" for layer in layers),
        *(f"{array} = np.empty((width, width), stacked.dtype)" for array in arrays),
    ]
    step = [
        *(f"set_product(w{i}, {prefix[i - 1]}, {prefix[i]}, spare)" for i in layers[1:]),
        f"set_product({prefix[-1]}, input_cov, g{n_layers - 1}, spare)",
        f"to_residual(g{n_layers - 1}, cross_cov, step_size)",
    ]
    for layer in inner:
        # The inner loops run along rows of the second factor.
        step.append(f"transpose({prefix[layer - 1]}, transposed)")
        if layer > 1:
            step.append(f"set_product(w{layer}.T, g{layer}, g{layer - 1}, spare)")
        else:
            step.append("add_product(w1.T, g1, w0, spare)")
        step.append(f"add_product(g{layer}, transposed, w{layer}, spare)")
    if n_layers == 1:
        step.append("w0 += g0")
    after = [f"stacked[run, {layer}] = w{layer}" for layer in layers]
    lines = [
        "def descend(stacked, input_cov, cross_cov, step_size, n_steps):",
        "    for run in prange(stacked.shape[0]):",
        *(f"        {line}" for line in before),
        "        for _ in range(n_steps):",
        *(f"            {line}" for line in step),
        *(f"        {line}" for line in after),
    ]
    return "\n".join(lines)


def define(numba: Any, name: str, source: str, **names: object) -> Callable[..., None]:
    """Return a function of a source that may use names, those of NumPy and `prange` besides."""
    scope: dict[str, Any] = {"np": np, "prange": numba.prange, **names}
    exec(source, scope)  # noqa: S102  (text written here, to unroll loops)
    function: Callable[..., None] = scope[name]
    return function


def _way(numba: Any, problem: Problem, add: Callable[..., None]) -> Run:
    width = problem.width

    def inline(function: Callable[..., None]) -> Any:
        return numba.njit(inline="always", fastmath=True)(function)

    add_product = inline(add)

    def set_product(a: Array, b: Array, out: Array, spare: Array) -> None:
        for i in range(width):
            for j in range(width):
                out[i, j] = 0.0
        add_product(a, b, out, spare)

    def set_by_blas(a: Array, b: Array, out: Array, _: Array) -> None:
        np.dot(a, b, out)

    def to_residual(product: Array, target: Array, step_size: float) -> None:
        for i in range(width):
            for j in range(width):
                product[i, j] = step_size * (target[i, j] - product[i, j])

    def transpose(a: Array, out: Array) -> None:
        for i in range(width):
            for j in range(width):
                out[i, j] = a[j, i]

    descend = define(
        numba,
        "descend",
        _training_loop(problem.n_layers),
        width=width,
        add_product=add_product,
        set_product=inline(set_by_blas if add is _by_blas else set_product),
        to_residual=inline(to_residual),
        transpose=inline(transpose),
    )
    compiled = numba.njit(parallel=True, fastmath=True)(descend)
    weights, libraries = np.stack(problem.weights, axis=1), blas()

    def run(n_steps: int) -> Weights:
        trained = weights.copy()
        with libraries.limit(limits=1):
            compiled(trained, problem.input_cov, problem.cross_cov, problem.step_size, n_steps)
        return tuple(np.ascontiguousarray(layer) for layer in trained.swapaxes(0, 1))

    return run
