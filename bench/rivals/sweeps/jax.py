"""JAX: loops over batches of runs, each one XLA program, with the runs first or last."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.jax import outer_products
from bench.rivals.sweeps.base import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Weights
    from bench.sections.sweep_problem import SweepProblem


def jax_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return loops over batches: by its gradient or ours by hand, with the runs first or last."""
    jax = import_module("jax")  # here, so that its time is not that of others
    jnp = jax.numpy
    width = problem.width
    input_cov, cross_cov = jnp.asarray(problem.input_cov), jnp.asarray(problem.cross_cov)

    def loss(weights: Any) -> Any:  # of one run
        product = weights[1] @ weights[0]
        power = jnp.sum((product @ input_cov - 2 * cross_cov) * product)
        return 0.5 * (power + problem.output_power)

    def own_gradient(weights: Any, step_sizes: Any) -> Any:
        moves = jax.vmap(jax.grad(loss))(weights)
        return tuple(w - step_sizes[:, None, None] * g for w, g in zip(weights, moves, strict=True))

    def by_hand(multiply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def step(weights: Any, step_size: Any) -> Any:
            first, second = weights
            change = multiply(multiply(second, first), input_cov)
            residual = step_size * (cross_cov - change)
            return first + multiply(second.T, residual), second + multiply(residual, first.T)

        of_all: Callable[[Any, Any], Any] = jax.vmap(step)
        return of_all

    def along_runs(a: Any, b: Any) -> Any:  # (m, m, runs); XLA would compute what it fuses twice
        terms = (a[:, k, None] * b[None, k] for k in range(width))
        return jax.lax.optimization_barrier(reduce(add, terms))

    def runs_last(weights: Any, step_sizes: Any) -> Any:
        first, second = weights
        change = jnp.einsum("jk,ikr->ijr", input_cov, along_runs(second, first))
        residual = jax.lax.optimization_barrier(step_sizes * (cross_cov[:, :, None] - change))
        return (
            first + along_runs(second.swapaxes(0, 1), residual),
            second + along_runs(residual, first.swapaxes(0, 1)),
        )

    @jax.jit  # type: ignore[untyped-decorator]
    def draw(seeds: Any, spreads: Any) -> Any:
        key = jax.random.key(0)
        normal = jax.vmap(
            lambda seed: jax.random.normal(jax.random.fold_in(key, seed), (2, width, width))
        )(seeds)
        starts = normal * spreads[:, None, None, None]
        return starts[:, 0], starts[:, 1]

    def way(step: Callable[[Any, Any], Any], size: int, devices: Any) -> Way:
        @jax.jit  # type: ignore[untyped-decorator]
        def train(weights: Any, step_sizes: Any) -> Any:
            if step is runs_last:
                weights = tuple(jnp.moveaxis(w, 0, 2) for w in weights)
            weights = jax.lax.fori_loop(
                0, problem.n_steps, lambda _, state: step(state, step_sizes), weights
            )
            if step is runs_last:
                weights = tuple(jnp.moveaxis(w, 2, 0) for w in weights)
            return jax.vmap(loss)(weights)

        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        over_runs = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))

        def put(array: Array) -> Any:
            return jax.device_put(array, over_runs)

        def sweep(n_runs: int, starts: Weights | None) -> Array:
            whole = problem.first(-(-n_runs // size) * size)
            losses = []
            for begin in range(0, n_runs, size):
                of = np.arange(begin, begin + size)
                if starts is None:
                    weights = draw(jax.device_put(of, over_runs), put(whole.spreads[of]))
                else:
                    weights = tuple(put(np.take(w, of, axis=0, mode="wrap")) for w in starts)
                losses.append(train(weights, put(whole.step_sizes[of])))
            return np.concatenate([np.asarray(part) for part in losses])[:n_runs]

        return Way(sweep, size)

    steps = {
        "its gradient": own_gradient,
        "matmul": by_hand(jnp.matmul),
        "outer products": by_hand(outer_products),
        "runs last": runs_last,
    }
    ways = {}
    for name, step in steps.items():
        for size in (64, 512):
            ways[f"{name}, {size} runs"] = way(step, size, jax.devices()[:1])
            if len(jax.devices()) > 1 and size % len(jax.devices()) == 0:
                ways[f"{name}, {size} runs, devices"] = way(step, size, jax.devices())
    return ways
