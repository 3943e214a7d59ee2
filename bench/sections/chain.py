"""Chains that are not dense, with one output: us, our reference, JAX with its own gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.sections.base import race_of_trainings, reference_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_STEP_SIZE, _DECAY = 1e-3, 1e-3


@dataclass(frozen=True, eq=False)
class ChainProblem:
    """A batch of networks of one family on one set of moments."""

    family: str
    network: lf.Chain
    weights: Weights
    """(batch, ...)."""
    loss: lf.SquaredLoss
    n_threads: int

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(self.weights[0])


def make_chain_problem(
    family: str,
    width: int,
    depth: int,
    kernel_size: int,
    batch: int,
    n_threads: int,
    *,
    white: bool,
) -> ChainProblem:
    """Draw a problem, the same on every call; `depth` counts all layers of a chain.

    White inputs have a diagonal second moment, and the layers are all there is to compute.
    """
    networks: dict[str, Callable[[], lf.Chain]] = {
        "diagonal": lambda: lf.Diagonal(width, depth),
        "convolution": lambda: lf.Convolution(width, kernel_size, depth),
        "residual": lambda: lf.Residual(width, depth - 1),
    }
    network = networks[family]()
    rng = np.random.default_rng([width, depth])
    x = rng.standard_normal((3 * width, width))
    if white:
        cross = rng.standard_normal((1, width))
        loss = lf.SquaredLoss(np.diag(np.linspace(1, 0.5, width)), cross, float(np.sum(cross**2)))
    else:
        loss = lf.SquaredLoss.from_data(x, x @ rng.standard_normal((width, 1)))
    scale = 0.1 if family == "residual" else 0.5
    weights = lf.initialization.gaussian(network, scale=scale, rng=0, batch_shape=batch)
    return ChainProblem(family, network, tuple(map(np.asarray, weights)), loss, n_threads)


def ours(problem: ChainProblem) -> Run:
    """Return the function that trains for some steps and returns the weights."""
    method = lf.GradientDescent(_STEP_SIZE, _DECAY)

    def run(n_steps: int) -> Weights:
        trajectory = lf.train(
            problem.network,
            problem.loss,
            problem.weights,
            method=method,
            n_steps=n_steps,
            record=lf.Record.at([n_steps], observables=("loss",)),
            n_threads=problem.n_threads,
        )
        return trajectory.final.weights

    return run


def jax_ways(problem: ChainProblem) -> dict[str, Run]:
    """Return the ways to write the same in JAX: predictors, batching over devices, unrolling."""
    jax = import_module("jax")  # here, so that its time is not that of others
    jnp = jax.numpy

    width = problem.network.n_inputs

    def diagonal(weights: Any) -> Any:
        return reduce(lambda a, b: a * b.reshape(width), weights, jnp.ones(width))

    def rolls(weights: Any) -> Any:
        row = weights[-1].reshape(width)
        for kernel in reversed(weights[:-1]):
            taps = kernel.reshape(-1)
            row = sum(taps[t] * jnp.roll(row, t) for t in range(len(taps)))
        return row

    def fourier(weights: Any) -> Any:
        product = jnp.fft.rfft(weights[-1].reshape(width))
        for kernel in weights[:-1]:
            product *= jnp.fft.rfft(kernel.reshape(-1), n=width)
        return jnp.fft.irfft(product, n=width)

    def residual(weights: Any) -> Any:
        row = weights[-1].reshape(width)
        for block in reversed(weights[:-1]):
            row = row + row @ block
        return row

    predictors = {
        "diagonal": {"product": diagonal},
        "convolution": {"rolls": rolls, "fft": fourier},
        "residual": {"matvec": residual},
    }
    moment, cross = problem.loss.input_cov, jnp.asarray(problem.loss.cross_cov[0])
    white = not (moment - np.diag(np.diag(moment))).any()
    cov = jnp.asarray(np.diag(moment) if white else moment)

    def way(predictor: Any, unroll: int, devices: Any) -> Run:
        def objective(weights: Any) -> Any:
            beta = predictor(weights)
            squares = sum(jnp.sum(w * w) for w in weights)
            power = beta @ (beta * cov) if white else beta @ cov @ beta
            return 0.5 * power - beta @ cross + 0.5 * _DECAY * squares

        def step(_: Any, weights: Any) -> Any:
            moves = jax.grad(objective)(weights)
            return tuple(w - _STEP_SIZE * g for w, g in zip(weights, moves, strict=True))

        def several(_: Any, weights: Any) -> Any:
            return reduce(lambda state, _: step(None, state), range(unroll), weights)

        def train(n_steps: Any, weights: Any) -> Any:
            weights = jax.lax.fori_loop(0, n_steps // unroll, several, weights)
            return jax.lax.fori_loop(0, n_steps % unroll, step, weights)

        program = jax.jit(jax.vmap(train, (None, 0)))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start))))

    everywhere = len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0
    ways = {}
    for name, predictor in predictors[problem.family].items():
        for unroll in (1, 4):
            text = name if unroll == 1 else f"{name}, {unroll} steps a turn"
            ways[text] = way(predictor, unroll, jax.devices()[:1])
            if everywhere:
                ways[f"{text}, devices"] = way(predictor, unroll, jax.devices())
    return ways


def reference_ways(problem: ChainProblem) -> dict[str, Run]:
    """Return the library's reference, all runs at once in NumPy."""
    return {
        "matrices": reference_run(
            problem.network, problem.loss, problem.weights, _STEP_SIZE, _DECAY
        )
    }


CHAIN_RIVALS: dict[str, Callable[[ChainProblem], dict[str, Run]]] = {
    "reference": reference_ways,
    "jax": jax_ways,
}


def chain(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train a chain, beside the rival that the goal names."""
    problem = make_chain_problem(
        goal["family"],
        goal["d"],
        goal["L"],
        goal["k"],
        goal["batch"],
        settings.n_threads,
        white=goal["inputs"] == "white",
    )
    yield race_of_trainings(
        {key: goal[key] for key in ("family", "inputs", "d", "L", "k", "batch")},
        goal,
        settings,
        problem.batch,
        ours(problem),
        lambda rival: CHAIN_RIVALS[rival](problem),
    )
