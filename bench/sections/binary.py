"""Logistic losses of deep networks with one output: us, our reference, JAX and PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.sections.base import race_of_trainings, reference_run
from linnet_fast import laws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array, Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_STEP_SIZE = 1e-2
_NODES = 64
"""Of the quadrature by which rivals evaluate the loss under the Gaussian law."""


@dataclass(frozen=True, eq=False)
class BinaryProblem:
    """A batch of networks on one set of samples, or under the Gaussian law."""

    network: lf.Dense
    weights: Weights
    """(batch, ...)."""
    loss: lf.LogisticLoss | lf.SphericalLogisticLoss
    n_threads: int

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(self.weights[0])

    def quadrature(self) -> tuple[Array, Array]:
        """Return nodes and weights for means over |x_1| under the Gaussian law."""
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        u = 4.5 * (nodes + 1)
        return u, 4.5 * weights * np.sqrt(2 / np.pi) * np.exp(-(u**2) / 2)


def make_binary_problem(
    width: int, hidden: int, depth: int, n_samples: int, batch: int, n_threads: int
) -> BinaryProblem:
    """Draw a problem, the same on every call; no samples: the loss is that of the Gaussian law."""
    network = lf.Dense((width,) + (hidden,) * (depth - 1) + (1,))
    rng = np.random.default_rng([width, depth])
    v = np.eye(width)[0]
    loss: lf.LogisticLoss | lf.SphericalLogisticLoss
    if n_samples:
        x = rng.standard_normal((n_samples, width))
        loss = lf.LogisticLoss.from_data(x, np.where(x @ v > 0, 1, -1))
    else:
        loss = lf.SphericalLogisticLoss(v, laws.Gaussian(width))
    weights = lf.initialization.gaussian(network, scale=0.4, rng=0, batch_shape=batch)
    return BinaryProblem(network, tuple(map(np.asarray, weights)), loss, n_threads)


def ours(problem: BinaryProblem) -> Run:
    """Return the function that trains for some steps and returns the weights."""

    def run(n_steps: int) -> Weights:
        trajectory = lf.train(
            problem.network,
            problem.loss,
            problem.weights,
            method=lf.GradientDescent(_STEP_SIZE),
            n_steps=n_steps,
            record=lf.Record.at([n_steps], observables=("norm",)),
            n_threads=problem.n_threads,
            reduce=False,  # as rivals do
        )
        return trajectory.final.weights

    return run


def chain_products(weights: Any) -> list[Any]:
    """Return the products W_L, W_L W_{L-1}, ..., of one run or of all, in any library."""
    rows = [weights[-1]]
    for layer in reversed(weights[:-1]):
        rows.append(rows[-1] @ layer)
    return rows


def chain_gradient(weights: Any, slope: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the gradients by all layers of all runs, from that by their end-to-end vectors."""
    rows = chain_products(weights)
    back = slope(rows[-1][:, 0])[:, None]
    moves = []
    for layer, row in zip(weights[:-1], reversed(rows[:-1]), strict=True):
        moves.append(row.mT @ back)
        back = back @ layer.mT
    return (*moves, back)


def jax_ways(problem: BinaryProblem) -> dict[str, Run]:
    """Return the ways to write the same in JAX: its own gradient, or ours by hand for all runs."""
    jax = import_module("jax")  # here, so that its time is not that of others
    jnp = jax.numpy

    loss = problem.loss
    if isinstance(loss, lf.LogisticLoss):
        z = jnp.asarray(loss.inputs * loss.labels[:, None])

        def value(w: Any) -> Any:
            return jnp.mean(jax.nn.softplus(-(z @ w)))

        def slope(w: Any) -> Any:  # of all runs, (batch, in)
            return -(jax.nn.sigmoid(-(w @ z.T)) @ z) / len(z)
    else:
        nodes, masses = map(jnp.asarray, problem.quadrature())
        v, kappa = jnp.asarray(loss.direction), loss.law.kappa

        def value(w: Any) -> Any:
            r = jnp.sqrt(w @ w)
            return kappa * (r - w @ v) + masses @ jax.nn.softplus(-r * nodes)

        def slope(w: Any) -> Any:
            r = jnp.sqrt(jnp.sum(w * w, axis=-1, keepdims=True))
            h = jnp.sum(masses * nodes * jax.nn.sigmoid(-r * nodes), axis=-1, keepdims=True)
            return (kappa - h) * w / r - kappa * v

    def own_gradient(weights: Any) -> Any:
        return jax.vmap(jax.grad(lambda own: value(chain_products(own)[-1][0])))(weights)

    def by_hand(weights: Any) -> Any:
        return chain_gradient(weights, slope)

    def way(gradient: Any, devices: Any) -> Run:
        def step(_: Any, weights: Any) -> Any:
            moves = gradient(weights)
            return tuple(w - _STEP_SIZE * g for w, g in zip(weights, moves, strict=True))

        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        program = jax.jit(lambda n, weights: jax.lax.fori_loop(0, n, step, weights))
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start))))

    ways = {}
    for name, gradient in (("its gradient", own_gradient), ("by hand", by_hand)):
        ways[name] = way(gradient, jax.devices()[:1])
        if len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0:
            ways[f"{name}, devices"] = way(gradient, jax.devices())
    return ways


def torch_ways(problem: BinaryProblem) -> dict[str, Run]:
    """Return the same in PyTorch for all runs at once: its own gradient, or ours by hand."""
    torch = import_module("torch")
    torch.set_num_threads(problem.n_threads)
    loss = problem.loss
    if isinstance(loss, lf.LogisticLoss):
        z = torch.from_numpy(loss.inputs * loss.labels[:, None])

        def value(w: Any) -> Any:
            return torch.nn.functional.softplus(-(w @ z.T)).mean(dim=-1)

        def slope(w: Any) -> Any:
            return -(torch.sigmoid(-(w @ z.T)) @ z) / len(z)
    else:
        nodes, masses = map(torch.from_numpy, problem.quadrature())
        v, kappa = torch.from_numpy(np.array(loss.direction)), loss.law.kappa

        def value(w: Any) -> Any:
            r = w.norm(dim=-1, keepdim=True)
            radial = torch.nn.functional.softplus(-r * nodes) @ masses
            return kappa * (r[:, 0] - w @ v) + radial

        def slope(w: Any) -> Any:
            r = w.norm(dim=-1, keepdim=True)
            h = (torch.sigmoid(-r * nodes) @ (masses * nodes))[:, None]
            return (kappa - h) * w / r - kappa * v

    def own_gradient(weights: Any) -> Any:
        leaves = [w.detach().requires_grad_() for w in weights]
        product = chain_products(leaves)[-1]
        return torch.autograd.grad(value(product[:, 0]).sum(), leaves)

    def by_hand(weights: Any) -> Any:
        return chain_gradient(weights, slope)

    def way(gradient: Any) -> Run:
        def run(n_steps: int) -> Weights:
            weights = [torch.from_numpy(np.array(w)) for w in problem.weights]
            for _ in range(n_steps):
                moves = gradient(weights)
                weights = [w.sub(g, alpha=_STEP_SIZE) for w, g in zip(weights, moves, strict=True)]
            return tuple(w.numpy() for w in weights)

        return run

    return {"its gradient": way(own_gradient), "by hand": way(by_hand)}


def reference_ways(problem: BinaryProblem) -> dict[str, Run]:
    """Return the library's reference, all runs at once in NumPy."""
    return {
        "matrices": reference_run(problem.network, problem.loss, problem.weights, _STEP_SIZE, 0.0)
    }


BINARY_RIVALS: dict[str, Callable[[BinaryProblem], dict[str, Run]]] = {
    "reference": reference_ways,
    "jax": jax_ways,
    "torch": torch_ways,
}


def binary(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train on a logistic loss, beside the rival that the goal names."""
    problem = make_binary_problem(
        goal["d"], goal["hidden"], goal["L"], goal["n"], goal["batch"], settings.n_threads
    )
    yield race_of_trainings(
        {key: goal[key] for key in ("d", "hidden", "L", "n", "batch")},
        goal,
        settings,
        problem.batch,
        ours(problem),
        lambda rival: BINARY_RIVALS[rival](problem),
    )
