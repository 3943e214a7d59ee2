"""Momentum, Adam and spectral descent on square networks, beside the rivals."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS, training
from bench.problem import make_problem
from bench.rivals.jax import outer_products
from bench.rivals.numba import by_row
from bench.rivals.numpy import blas, parts_of, ways_by_parts
from bench.sections.base import enter_rivals, over_best
from bench.timing import CHECKED_STEPS, enter, race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array, Problem, Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings
    from linnet_fast.methods.stepping import SteppingMethod

_CUTS = (1, 4, 16, 64)  # rivals take a batch whole, or so many parts of it
_STEP_SIZE = 1e-3
_MU, _BETA1, _BETA2, _EPS = 0.9, 0.9, 0.999, 1e-8
_WRITTEN_OUT = 16

OPTIMISERS: dict[str, Callable[[], SteppingMethod]] = {
    "momentum": lambda: lf.GradientDescent(_STEP_SIZE, momentum=_MU),
    "adam": lambda: lf.Adam(_STEP_SIZE, beta1=_BETA1, beta2=_BETA2, eps=_EPS),
    "spectral": lambda: lf.SpectralDescent(_STEP_SIZE),
}


@dataclass(frozen=True, eq=False)
class Case:
    """Two square layers on moments, and the optimiser."""

    problem: Problem
    optimiser: str

    @property
    def batch(self) -> int:
        """The number of runs."""
        return self.problem.batch


def _numpy_ways(case: Case) -> dict[str, Run]:
    """Return stacked products, and updates in place, of all runs or of parts of them."""
    problem = case.problem
    cov, cross = problem.input_cov, problem.cross_cov

    def move(name: str, w: Array, g: Array, kept: list[Array], n: int) -> None:
        if name == "momentum":
            np.multiply(kept[0], _MU, out=kept[0])
            np.add(kept[0], g, out=kept[0])
            np.multiply(kept[0], _STEP_SIZE, out=g)
        elif name == "adam":
            mean, square, spare = kept
            np.subtract(g, mean, out=spare)
            mean += np.multiply(spare, 1 - _BETA1, out=spare)
            square *= _BETA2
            np.multiply(g, g, out=g)
            square += np.multiply(g, 1 - _BETA2, out=g)
            np.sqrt(square, out=spare)
            spare *= (1 - _BETA2**n) ** -0.5
            spare += _EPS
            np.divide(mean, spare, out=g)
            g *= _STEP_SIZE / (1 - _BETA1**n)
        elif name == "spectral":
            u, _, vt = np.linalg.svd(g)
            np.matmul(u, vt, out=g)
            g *= _STEP_SIZE
        else:
            raise KeyError(name)
        np.subtract(w, g, out=w)

    def descend(own: list[Any], n_steps: int, _first: int) -> None:
        first, second = own
        product, error, moved = (np.empty_like(first) for _ in range(3))
        kept = [[np.zeros_like(first) for _ in range(3)] for _ in own]
        for n in range(1, n_steps + 1):
            np.matmul(second, first, out=product)
            np.matmul(product, cov, out=error)
            error -= cross
            np.matmul(error, first.swapaxes(-1, -2), out=product)
            np.matmul(second.swapaxes(-1, -2), error, out=moved)
            move(case.optimiser, first, moved, kept[0], n)
            move(case.optimiser, second, product, kept[1], n)

    return ways_by_parts(problem.weights, _CUTS, problem.n_threads, descend)


def _jax_ways(case: Case) -> dict[str, Run]:
    """Return updates by hand and by optax, in one XLA program for all runs."""
    jax = import_module("jax")
    jnp = jax.numpy
    problem = case.problem
    cov, cross = jnp.asarray(problem.input_cov), jnp.asarray(problem.cross_cov)

    def gradients(product: Callable[[Any, Any], Any], weights: Any) -> Any:
        first, second = weights
        error = product(product(second, first), cov) - cross
        return product(second.T, error), product(error, first.T)

    def momentum(n: Any, g: Any, kept: Any) -> Any:
        del n
        velocity = _MU * kept[0] + g
        return velocity, (velocity,)

    def adam(n: Any, g: Any, kept: Any) -> Any:
        mean = _BETA1 * kept[0] + (1 - _BETA1) * g
        square = _BETA2 * kept[1] + (1 - _BETA2) * g * g
        return (mean / (1 - _BETA1**n)) / (jnp.sqrt(square / (1 - _BETA2**n)) + _EPS), (
            mean,
            square,
        )

    def spectral(n: Any, g: Any, kept: Any) -> Any:
        del n
        u, _, vt = jnp.linalg.svd(g, full_matrices=False)
        return u @ vt, kept

    by_hand = {"momentum": (momentum, 1), "adam": (adam, 2), "spectral": (spectral, 0)}
    update, n_kept = by_hand[case.optimiser]

    def hand(product: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def train(n_steps: Any, weights: Any) -> Any:
            def step(n: Any, state: Any) -> Any:
                weights, kept = state
                moved = [
                    update(n + 1.0, g, known)
                    for g, known in zip(gradients(product, weights), kept, strict=True)
                ]
                moves = zip(weights, moved, strict=True)
                return tuple(w - _STEP_SIZE * m for w, (m, _) in moves), tuple(k for _, k in moved)

            kept = tuple((jnp.zeros_like(w),) * n_kept for w in weights)
            return jax.lax.fori_loop(0, n_steps, step, (weights, kept))[0]

        return train

    trainings = {"by hand": hand(jnp.matmul)}
    if problem.width <= _WRITTEN_OUT and n_kept:  # else nearly all is in the SVD
        trainings["by hand, outer products"] = hand(outer_products)
    if find_spec("optax") is not None and n_kept:
        optax = import_module("optax")
        rule = {
            "momentum": lambda: optax.sgd(_STEP_SIZE, momentum=_MU),
            "adam": lambda: optax.adam(_STEP_SIZE, _BETA1, _BETA2, _EPS),
        }[case.optimiser]()

        def by_optax(n_steps: Any, weights: Any) -> Any:
            def step(_: Any, state: Any) -> Any:
                weights, known = state
                moves, known = rule.update(gradients(jnp.matmul, weights), known)
                return optax.apply_updates(weights, moves), known

            return jax.lax.fori_loop(0, n_steps, step, (weights, rule.init(weights)))[0]

        trainings["optax"] = by_optax

    def way(train: Callable[[Any, Any], Any], devices: Any) -> Run:
        program = jax.jit(jax.vmap(train, (None, 0)))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start))))

    ways = {}
    for name, train in trainings.items():
        ways[name] = way(train, jax.devices()[:1])
        if len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0:
            ways[f"{name}, devices"] = way(train, jax.devices())
    return ways


def _torch_ways(case: Case) -> dict[str, Run]:
    """Return its own optimisers on stacked weights, fused where they can be, by parts of the runs."""
    torch = import_module("torch")
    problem = case.problem
    torch.set_num_threads(problem.n_threads)
    cov, cross = torch.from_numpy(problem.input_cov), torch.from_numpy(problem.cross_cov)

    def optimiser(weights: list[Any], options: dict[str, bool]) -> Any:
        if case.optimiser == "momentum":
            return torch.optim.SGD(weights, lr=_STEP_SIZE, momentum=_MU, **options)
        return torch.optim.Adam(weights, lr=_STEP_SIZE, betas=(_BETA1, _BETA2), eps=_EPS, **options)

    def way(part: int, options: dict[str, bool]) -> Run:
        def run(n_steps: int) -> Weights:
            trained = [torch.from_numpy(layer.copy()) for layer in problem.weights]
            for begin in range(0, problem.batch, part):
                first, second = (layer[begin : begin + part] for layer in trained)
                moves = [torch.empty_like(first), torch.empty_like(first)]
                product, error = torch.empty_like(first), torch.empty_like(first)
                own = None
                if case.optimiser != "spectral":
                    first.grad, second.grad = moves
                    own = optimiser([first, second], options)
                with torch.no_grad():
                    for _ in range(n_steps):
                        torch.bmm(second, first, out=product)
                        torch.matmul(product, cov, out=error)
                        error.sub_(cross)
                        torch.bmm(second.mT, error, out=moves[0])
                        torch.bmm(error, first.mT, out=moves[1])
                        if own is not None:
                            own.step()
                            continue
                        for w, g in zip((first, second), moves, strict=True):
                            u, _, vt = torch.linalg.svd(g)
                            w.baddbmm_(u, vt, alpha=-_STEP_SIZE)
            return tuple(layer.detach().numpy() for layer in trained)

        return run

    kinds = {"fused": {"fused": True}, "foreach": {"foreach": True}}
    if case.optimiser == "spectral":
        kinds = {"svd": {}}
    return {
        f"{name}, {part} runs": way(part, options)
        for name, options in kinds.items()
        for part in parts_of(problem.batch, (1, 4))
    }


def _numba_ways(case: Case) -> dict[str, Run]:
    """Return one compiled loop over the runs in parallel, products by BLAS or by rows."""
    numba = import_module("numba")
    problem = case.problem
    numba.set_num_threads(problem.n_threads)
    width, libraries = problem.width, blas()
    cov, cross = problem.input_cov, problem.cross_cov
    is_adam, is_spectral = case.optimiser == "adam", case.optimiser == "spectral"

    def inline(function: Callable[..., None]) -> Any:
        return numba.njit(inline="always", fastmath=True)(function)

    def by_dot(a: Array, b: Array, out: Array) -> None:
        np.dot(a, b, out)

    def way(multiply: Any) -> Run:
        def descend(firsts: Array, seconds: Array, n_steps: int) -> None:
            for run in numba.prange(firsts.shape[0]):
                shape = (width, width)
                product, error, turned = np.empty(shape), np.empty(shape), np.empty(shape)
                moves = np.empty((2, width, width))
                kept = np.zeros((4, width, width))
                weights = np.empty((2, width, width))
                weights[0], weights[1] = firsts[run], seconds[run]
                power1, power2 = 1.0, 1.0
                for _ in range(n_steps):
                    multiply(weights[1], weights[0], product)
                    multiply(product, cov, error)
                    for i in range(width):
                        for j in range(width):
                            error[i, j] -= cross[i, j]
                            turned[i, j] = weights[1, j, i]
                    multiply(turned, error, moves[0])
                    for i in range(width):
                        for j in range(width):
                            turned[i, j] = weights[0, j, i]
                    multiply(error, turned, moves[1])
                    power1 *= _BETA1
                    power2 *= _BETA2
                    for layer in range(2):
                        if is_spectral:
                            u, _, vt = np.linalg.svd(moves[layer])
                            multiply(u, vt, product)
                            for i in range(width):
                                for j in range(width):
                                    weights[layer, i, j] -= _STEP_SIZE * product[i, j]
                            continue
                        for i in range(width):
                            for j in range(width):
                                g = moves[layer, i, j]
                                if is_adam:
                                    mean = _BETA1 * kept[layer, i, j] + (1 - _BETA1) * g
                                    square = _BETA2 * kept[2 + layer, i, j] + (1 - _BETA2) * g * g
                                    kept[layer, i, j], kept[2 + layer, i, j] = mean, square
                                    root = np.sqrt(square / (1 - power2)) + _EPS
                                    weights[layer, i, j] -= (
                                        _STEP_SIZE * (mean / (1 - power1)) / root
                                    )
                                else:
                                    velocity = _MU * kept[layer, i, j] + g
                                    kept[layer, i, j] = velocity
                                    weights[layer, i, j] -= _STEP_SIZE * velocity
                firsts[run], seconds[run] = weights[0], weights[1]

        compiled = numba.njit(parallel=True, fastmath=True)(descend)

        def run(n_steps: int) -> Weights:
            first, second = (layer.copy() for layer in problem.weights)
            with libraries.limit(limits=1):
                compiled(first, second, n_steps)
            return first, second

        return run

    def rows_of(add: Any) -> Callable[..., None]:
        def by_rows(a: Array, b: Array, out: Array) -> None:
            for i in range(width):
                for j in range(width):
                    out[i, j] = 0.0
            add(a, b, out, a)

        return by_rows

    ways = {"np.dot": way(inline(by_dot))}
    for n_terms in (4, 8):
        if not width % n_terms and not is_spectral:
            multiply = rows_of(inline(by_row(numba, width, n_terms)))
            ways[f"rows, {n_terms} terms"] = way(inline(multiply))
    return ways


OPTIMISER_RIVALS: dict[str, Callable[[Case], dict[str, Run]]] = {
    "jax": _jax_ways,
    "torch": _torch_ways,
    "numpy": _numpy_ways,
    "numba": _numba_ways,
}


def optimisers(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train two square layers by an optimiser, beside the rivals."""
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    case = Case(problem, goal["optimiser"])
    run = training(problem, method=OPTIMISERS[case.optimiser]())
    entries = {OURS: enter(OURS, {"train": run}, None, problem.batch, settings)}
    others, missing = enter_rivals(OPTIMISER_RIVALS, case, run(CHECKED_STEPS), settings)
    entries |= others
    result = race({name: entry.measure for name, entry in entries.items()}, settings)
    shown: dict[str, int | str] = {key: goal[key] for key in goal if key != "goal"}
    yield over_best(shown, goal, result, entries, missing)
