"""Matrix completion by square networks: beside rivals, and beside the chain without the loss."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.rivals.numpy import blas, parts_of, ways_by_parts
from bench.sections.base import enter_rivals, over_best, own_ratio
from bench.timing import CHECKED_STEPS, enter, race, rate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array, Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings
    from linnet_fast.losses.base import Loss

_STEP_SIZE = 0.1
_CUTS = (1, 2, 16)  # rivals take a batch whole, or so many parts of it


@dataclass(frozen=True, eq=False)
class CompletionProblem:
    """A batch of square networks on some entries of one matrix of rank 5."""

    weights: Weights
    """(batch, d, d)."""
    loss: lf.MatrixCompletionLoss
    n_threads: int

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(self.weights[0])

    @property
    def width(self) -> int:
        """The width d of every layer."""
        return self.loss.n_inputs

    @property
    def places(self) -> Array:
        """Places of the entries in a matrix whose rows stand one after the other."""
        return np.asarray(self.loss.rows * self.width + self.loss.cols)

    @property
    def speed(self) -> float:
        """What an error is multiplied by in a step."""
        return _STEP_SIZE / self.loss.n_entries


def make_completion_problem(
    width: int, n_layers: int, observed: float, batch: int, n_threads: int
) -> CompletionProblem:
    """Draw a problem, the same on every call."""
    rng = np.random.default_rng([width, n_layers])
    rank = min(5, width)
    matrix = rng.standard_normal((width, rank)) @ rng.standard_normal((rank, width)) / rank
    mask = np.zeros(width * width, bool)
    mask[rng.permutation(mask.size)[: round(observed * mask.size)]] = True
    loss = lf.MatrixCompletionLoss.from_matrix(matrix, mask.reshape(width, width))
    shape = (batch, width, width)
    weights = tuple(0.5 * rng.standard_normal(shape) / np.sqrt(width) for _ in range(n_layers))
    return CompletionProblem(weights, loss, n_threads)


def ours(problem: CompletionProblem, loss: Loss | None = None) -> Run:
    """Return the function that trains for some steps, on another loss if one is given."""
    network = lf.Dense((problem.width,) * (len(problem.weights) + 1))

    def run(n_steps: int) -> Weights:
        trajectory = lf.train(
            network,
            problem.loss if loss is None else loss,
            problem.weights,
            method=lf.GradientDescent(_STEP_SIZE),
            n_steps=n_steps,
            record=lf.Record.at([n_steps], observables=("loss",)),
            n_threads=problem.n_threads,
        )
        return trajectory.final.weights

    return run


def numpy_ways(problem: CompletionProblem) -> dict[str, Run]:
    """Return products into preallocated arrays, of all runs or of parts of them, on threads."""
    places, values, speed = problem.places, problem.loss.values, problem.speed

    def descend(weights: list[Array], n_steps: int, _first: int) -> None:
        first, rest = weights[0], weights[1:]
        multiply: Any = np.matmul if first.ndim == 3 else np.dot
        prefixes = [first, *(np.empty_like(first) for _ in rest)]
        residual = np.zeros_like(first)  # stays 0 but at the entries
        spare = np.empty_like(first), np.empty_like(first)
        gradient = np.empty_like(first)
        product = prefixes[-1].reshape(*first.shape[:-2], -1)
        errors = residual.reshape(product.shape)
        for _ in range(n_steps):
            for index, layer in enumerate(rest):
                multiply(layer, prefixes[index], out=prefixes[index + 1])
            errors[..., places] = speed * (product[..., places] - values)
            back = residual
            for index in range(len(rest) - 1, -1, -1):
                other = spare[index % 2]
                multiply(rest[index].swapaxes(-1, -2), back, out=other)
                multiply(back, prefixes[index].swapaxes(-1, -2), out=gradient)
                np.subtract(rest[index], gradient, out=rest[index])
                back = other
            np.subtract(first, back, out=first)

    return ways_by_parts(problem.weights, _CUTS, problem.n_threads, descend)


def jax_ways(problem: CompletionProblem) -> dict[str, Run]:
    """Return gradients by hand: errors put where they belong, or a mask times all of them."""
    jax = import_module("jax")  # here, so that its time is not that of others
    jnp = jax.numpy
    width, places = problem.width, jnp.asarray(problem.places)
    values, speed = jnp.asarray(problem.loss.values), problem.speed
    mask = jnp.zeros(width * width).at[places].set(speed).reshape(width, width)
    target = jnp.zeros(width * width).at[places].set(values).reshape(width, width)

    def put(product: Any) -> Any:
        flat = product.reshape(-1)
        errors = speed * (flat[places] - values)
        return jnp.zeros_like(flat).at[places].set(errors, unique_indices=True).reshape(width, -1)

    def masked(product: Any) -> Any:
        return mask * (product - target)

    def way(residual: Callable[[Any], Any], devices: Any) -> Run:
        def step(_: Any, weights: Any) -> Any:
            prefixes = [weights[0]]
            for layer in weights[1:]:
                prefixes.append(layer @ prefixes[-1])
            back, moved = residual(prefixes[-1]), []
            for layer, prefix in zip(weights[:0:-1], prefixes[-2::-1], strict=True):
                moved.append(layer - back @ prefix.T)
                back = layer.T @ back
            return (*reversed([*moved, weights[0] - back]),)

        def train(n_steps: Any, weights: Any) -> Any:
            return jax.lax.fori_loop(0, n_steps, step, weights)

        program = jax.jit(jax.vmap(train, (None, 0)))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start))))

    everywhere = len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0
    ways = {}
    for name, residual in (("scatter", put), ("mask", masked)):
        ways[name] = way(residual, jax.devices()[:1])
        if everywhere:
            ways[f"{name}, devices"] = way(residual, jax.devices())
    return ways


def torch_ways(problem: CompletionProblem) -> dict[str, Run]:
    """Return batched products by hand into preallocated tensors, of all runs or of a part."""
    torch = import_module("torch")
    torch.set_num_threads(problem.n_threads)
    places = torch.from_numpy(problem.places)
    values = torch.from_numpy(np.array(problem.loss.values))

    def descend(weights: list[Any], n_steps: int) -> None:
        first, rest = weights[0], weights[1:]
        prefixes = [first, *(torch.empty_like(first) for _ in rest)]
        residual = torch.zeros_like(first)
        spare = torch.empty_like(first), torch.empty_like(first)
        product = prefixes[-1].view(len(first), -1)
        errors = residual.view(product.shape)
        for _ in range(n_steps):
            for index, layer in enumerate(rest):
                torch.bmm(layer, prefixes[index], out=prefixes[index + 1])
            errors[:, places] = product[:, places].sub_(values)
            back = residual
            for index in range(len(rest) - 1, -1, -1):
                other = spare[index % 2]
                torch.bmm(rest[index].mT, back, out=other)
                rest[index].baddbmm_(back, prefixes[index].mT, alpha=-problem.speed)
                back = other
            first.sub_(back, alpha=problem.speed)

    def way(part: int) -> Run:
        def run(n_steps: int) -> Weights:
            trained = [torch.from_numpy(layer.copy()) for layer in problem.weights]
            with torch.no_grad():
                for begin in range(0, problem.batch, part):
                    descend([layer[begin : begin + part] for layer in trained], n_steps)
            return tuple(layer.numpy() for layer in trained)

        return run

    return {f"bmm, {part} runs": way(part) for part in parts_of(problem.batch, _CUTS)}


def numba_ways(problem: CompletionProblem) -> dict[str, Run]:
    """Return one compiled loop over the runs in parallel, with products by BLAS."""
    numba = import_module("numba")
    numba.set_num_threads(problem.n_threads)
    rows, cols, values = map(np.array, (problem.loss.rows, problem.loss.cols, problem.loss.values))
    speed, libraries = problem.speed, blas()

    def descend(stacked: Array, n_steps: int) -> None:
        n_layers, width = stacked.shape[1], stacked.shape[2]
        for run in numba.prange(stacked.shape[0]):
            prefixes = np.empty((n_layers, width, width))
            residual = np.zeros((width, width))
            backs = np.empty((2, width, width))
            gradient = np.empty((width, width))
            for _ in range(n_steps):
                prefixes[0] = stacked[run, 0]
                for layer in range(1, n_layers):
                    np.dot(stacked[run, layer], prefixes[layer - 1], prefixes[layer])
                for k in range(len(values)):
                    error = prefixes[n_layers - 1, rows[k], cols[k]] - values[k]
                    residual[rows[k], cols[k]] = speed * error
                back = residual
                for layer in range(n_layers - 1, 0, -1):
                    np.dot(stacked[run, layer].T, back, backs[layer % 2])
                    np.dot(back, prefixes[layer - 1].T, gradient)
                    stacked[run, layer] -= gradient
                    back = backs[layer % 2]
                stacked[run, 0] -= back

    compiled = numba.njit(parallel=True, fastmath=True)(descend)
    weights = np.stack(problem.weights, axis=1)

    def run(n_steps: int) -> Weights:
        trained = weights.copy()
        with libraries.limit(limits=1):
            compiled(trained, n_steps)
        return tuple(np.ascontiguousarray(layer) for layer in trained.swapaxes(0, 1))

    return {"np.dot": run}


COMPLETION_RIVALS: dict[str, Callable[[CompletionProblem], dict[str, Run]]] = {
    "jax": jax_ways,
    "torch": torch_ways,
    "numpy": numpy_ways,
    "numba": numba_ways,
}


def _problem_of(goal: Goal, settings: Settings) -> CompletionProblem:
    return make_completion_problem(
        goal["d"], goal["L"], goal["observed"], goal["batch"], settings.n_threads
    )


def completion(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Complete a matrix, beside the rivals."""
    problem = _problem_of(goal, settings)
    run, batch = ours(problem), problem.batch
    entries = {OURS: enter(OURS, {"train": run}, None, batch, settings)}
    expected = run(CHECKED_STEPS)
    others, missing = enter_rivals(COMPLETION_RIVALS, problem, expected, settings)
    entries |= others
    result = race({name: entry.measure for name, entry in entries.items()}, settings)
    case: dict[str, int | str] = {key: goal[key] for key in ("d", "L", "observed", "batch")}
    yield over_best(case, goal, result, entries, missing)


def completion_chain(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Complete a matrix, beside the same networks on the cheapest loss that there is."""
    problem = _problem_of(goal, settings)
    width = problem.width
    white = lf.SquaredLoss(np.eye(width), np.eye(width), width)
    measures = {
        "entries": rate_of(ours(problem), problem.batch, settings.seconds),
        "white inputs": rate_of(ours(problem, white), problem.batch, settings.seconds),
    }
    yield own_ratio(goal, race(measures, settings), "entries", "white inputs")
