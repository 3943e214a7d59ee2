"""JAX: jit of vmap of a loop over steps, in one XLA program."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rivals.base import Competitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Problem, Run, Weights

_WRITTEN_OUT = 16
"""Up to this width a product written as elementwise operations can beat XLA's matmul."""


class Jax(Competitor):
    """XLA for the CPU; with several threads also one device per thread, the runs dealt out."""

    name = "jax"

    def prepare(self, problem: Problem) -> dict[str, Run]:
        """Return loops over three ways to multiply, whole or dealt out over devices."""
        jax = import_module("jax")
        products: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
            "matmul": (jax.numpy.matmul, 1),
            "matmul, 4 steps a turn": (jax.numpy.matmul, 4),
        }
        if problem.width <= _WRITTEN_OUT:
            products |= {
                "outer products": (outer_products, 1),
                "broadcast and sum": (_broadcast_and_sum, 4),
            }
        # As many devices as threads: the environment of the process says so.
        several_devices = len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0
        ways = {}
        for name, (product, unroll) in products.items():
            ways[name] = _way(jax, problem, product, unroll, jax.devices()[:1])
            if several_devices:
                ways[f"{name}, devices"] = _way(jax, problem, product, unroll, jax.devices())
        return ways


def outer_products(a: Any, b: Any) -> Any:
    """Return a product of matrices as a sum over the columns of a, times the rows of b."""
    return reduce(add, (a[:, k, None] * b[None, k, :] for k in range(a.shape[1])))


def _broadcast_and_sum(a: Any, b: Any) -> Any:
    return (a[:, :, None] * b[None, :, :]).sum(1)


def _way(
    jax: Any, problem: Problem, product: Callable[[Any, Any], Any], unroll: int, devices: Any
) -> Run:
    def step(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        *weights, input_cov, cross_cov = state
        prefixes = [weights[0]]
        for layer in weights[1:]:
            prefixes.append(product(layer, prefixes[-1]))
        back = product(prefixes[-1], input_cov) - cross_cov
        new = []
        for layer, prefix in zip(weights[:0:-1], prefixes[-2::-1], strict=True):
            new.append(layer - problem.step_size * product(back, prefix.T))
            back = product(layer.T, back)
        new.append(weights[0] - problem.step_size * back)
        return (*reversed(new), input_cov, cross_cov)

    def several(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return reduce(lambda carry, _: step(None, carry), range(unroll), state)

    def train(n_steps: Any, weights: Any, input_cov: Any, cross_cov: Any) -> Any:
        state = (*weights, input_cov, cross_cov)
        state = jax.lax.fori_loop(0, n_steps // unroll, several, state)
        if unroll > 1:
            state = jax.lax.fori_loop(0, n_steps % unroll, step, state)
        return state[:-2]

    single = problem.batch == 1
    program = jax.jit(train if single else jax.vmap(train, (None, 0, None, None)))
    mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))

    def put(array: Any, *axes: str) -> Any:
        spec = jax.sharding.PartitionSpec(*axes)
        return jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))

    weights = [put(layer[0]) if single else put(layer, "runs") for layer in problem.weights]
    moments = put(problem.input_cov), put(problem.cross_cov)

    def run(n_steps: int) -> Weights:
        trained = jax.block_until_ready(program(n_steps, weights, *moments))
        return tuple(np.asarray(layer).reshape(problem.weights[0].shape) for layer in trained)

    return run
