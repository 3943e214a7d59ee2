"""Sharpness of dense networks along trainings: us, PyTorch and JAX."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.sections.base import competes, installed, over_best
from bench.timing import fastest, race, results_per_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

Way: TypeAlias = "Callable[[], Array]"
"""Returns the sharpness of all states, or of the next ones, from the first on."""
_RESIDUAL = 1e-5
"""Of an eigenvector, relative, at which rivals stop: its square, over the gap, is left of the eigenvalue."""
_MOST = 20_000
_PARTS = (256, 64)
"""How many states rivals take at once."""
_CHECKED = 64
"""How many states are compared."""
_RTOL = 1e-6


@dataclass(frozen=True, eq=False)
class CurvatureProblem:
    """Weights along trainings, and the moments of their loss."""

    widths: tuple[int, ...]
    states: tuple[Array, ...]
    """(n, rows, cols) per layer."""
    input_cov: Array
    cross_cov: Array
    output_power: float
    n_threads: int

    @property
    def flat(self) -> Array:
        """(n, weights): all weights of each state side by side."""
        return np.concatenate([layer.reshape(len(layer), -1) for layer in self.states], axis=1)

    @property
    def loss(self) -> lf.SquaredLoss:
        """The loss."""
        return lf.SquaredLoss(self.input_cov, self.cross_cov, self.output_power)


def make_curvature_problem(
    widths: tuple[int, ...], batch: int, n_records: int, n_threads: int
) -> CurvatureProblem:
    """Train from random starts to where the target is learned; the same on every call."""
    rng = np.random.default_rng(widths)
    x = rng.standard_normal((4 * widths[0], widths[0]))
    y = x @ rng.standard_normal((widths[0], widths[-1])) / np.sqrt(widths[0])
    loss = lf.SquaredLoss.from_data(x, y, form="moments")
    network = lf.Dense(widths)
    start = lf.initialization.gaussian(network, scale=0.5, rng=0, batch_shape=batch)
    record = lf.Record.geomspace(n_records, ("weights",))
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.02), n_steps=2000,
                   record=record, n_threads=n_threads)  # fmt: skip
    states = tuple(layer.reshape(-1, *layer.shape[-2:]) for layer in run.weights)
    return CurvatureProblem(
        widths, states, loss.input_cov, loss.cross_cov, float(loss.output_power), n_threads
    )


def ours(problem: CurvatureProblem) -> dict[str, Way]:
    """Return the observable."""
    network, loss = lf.Dense(problem.widths), problem.loss

    def way() -> Array:
        seen = lf.observe(
            network, loss, problem.states, ("sharpness",), n_threads=problem.n_threads
        )
        found: Array = seen["sharpness"]
        return found

    return {"observe": way}


def _loss_of(problem: CurvatureProblem, cov: Any, cross: Any) -> Callable[[Any], Any]:
    """Return the loss of flat weights but for a constant, as both rivals write it."""
    shapes = [(rows, cols) for cols, rows in pairwise(problem.widths)]

    def loss(flat: Any) -> Any:
        product, at = None, 0
        for rows, cols in shapes:
            layer = flat[at : at + rows * cols].reshape(rows, cols)
            product = layer if product is None else layer @ product
            at += rows * cols
        return ((product @ cov) * product).sum() / 2 - (product * cross).sum()

    return loss


def torch_ways(problem: CurvatureProblem) -> dict[str, Way]:
    """Return Lanczos' method, fully orthogonalised, on products by ``torch.func``, of parts of the states."""
    torch = import_module("torch")
    torch.set_num_threads(problem.n_threads)
    loss = _loss_of(
        problem, torch.from_numpy(problem.input_cov), torch.from_numpy(problem.cross_cov)
    )
    gradient, flat = torch.func.grad(loss), torch.from_numpy(problem.flat)
    multiply = torch.func.vmap(lambda at, v: torch.func.jvp(gradient, (at,), (v,))[1])

    def top(states: Any) -> Any:
        n, size = states.shape
        start = torch.from_numpy(np.random.default_rng(0).standard_normal(size))
        basis = [(start / start.norm()).expand(n, size)]
        diagonal: list[Any] = []
        beside: list[Any] = []
        while True:
            moved = multiply(states, basis[-1])
            diagonal.append((moved * basis[-1]).sum(dim=1))
            known = torch.stack(basis, dim=1)
            for _ in range(2):
                parts = known @ moved[:, :, None]
                moved = moved - (known.mT @ parts)[:, :, 0]
            beside.append(moved.norm(dim=1))
            done = len(diagonal)
            if done % 5 == 0 or done == size:
                small = torch.diag_embed(torch.stack(diagonal, dim=1))
                for offset in (1, -1):
                    off = torch.stack(beside[:-1], dim=1)
                    small = small + torch.diag_embed(off, offset=offset)
                values, vectors = torch.linalg.eigh(small)
                left = beside[-1] * vectors[:, -1, -1].abs()
                if done == size or bool((left <= _RESIDUAL * values[:, -1].abs()).all()):
                    return values[:, -1]
            basis.append(moved / beside[-1][:, None])

    def way(part: int) -> Way:
        parts = cycle(flat.split(part))
        return lambda: top(next(parts)).numpy()

    return {f"{part} states": way(part) for part in _PARTS if part <= len(flat)}


def jax_ways(problem: CurvatureProblem) -> dict[str, Way]:
    """Return power iteration, shifted by half of the norm, in one program, of parts of the states."""
    jax = import_module("jax")
    jnp = jax.numpy
    loss = _loss_of(problem, jnp.asarray(problem.input_cov), jnp.asarray(problem.cross_cov))
    gradient, flat = jax.grad(loss), problem.flat

    def top(state: Any) -> Any:
        def multiply(v: Any) -> Any:
            return jax.jvp(gradient, (state,), (v,))[1]

        def size(_: Any, v: Any) -> Any:
            moved = multiply(v)
            return moved / jnp.linalg.norm(moved)

        start = jnp.asarray(np.random.default_rng(0).standard_normal(flat.shape[1]))
        start = start / jnp.linalg.norm(start)
        shift = jnp.linalg.norm(multiply(jax.lax.fori_loop(0, 10, size, start))) / 2

        def goes_on(carry: Any) -> Any:
            n, _, value, left = carry
            return (left > _RESIDUAL * jnp.abs(value)) & (n < _MOST)

        def step(carry: Any) -> Any:
            n, v, _, _ = carry
            moved = multiply(v)
            value = v @ moved
            left = jnp.linalg.norm(moved - value * v)
            moved = moved + shift * v
            return n + 1, moved / jnp.linalg.norm(moved), value, left

        return jax.lax.while_loop(goes_on, step, (0, start, 0.0, 1.0))[2]

    program = jax.jit(jax.vmap(top))

    def way(part: int) -> Way:
        whole = len(flat) // part * part  # one shape, and so one compilation
        parts = cycle([jnp.asarray(flat[i : i + part]) for i in range(0, whole, part)])
        return lambda: np.asarray(program(next(parts)))

    return {f"{part} states": way(part) for part in _PARTS if part <= len(flat)}


CURVATURE_RIVALS = {"torch": torch_ways, "jax": jax_ways}


def sharpness(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Find the sharpness of states, beside the rivals."""
    widths = tuple(goal["layers"])
    problem = make_curvature_problem(widths, goal["batch"], goal["n_records"], settings.n_threads)
    ways, missing = {OURS: ours(problem)}, []
    for name, rival in CURVATURE_RIVALS.items():
        if competes(name, settings):
            ways[name] = rival(problem)
        elif name in settings.rivals and not installed(name):
            missing.append(name)
    expected = [ours(problem)["observe"]()[:_CHECKED]]
    entries = {
        name: fastest(
            name,
            own,
            lambda way: [way()[:_CHECKED]],
            expected,
            results_per_second,
            settings,
            rtol=_RTOL,
        )
        for name, own in ways.items()
    }
    result = race({name: entry.measure for name, entry in entries.items()}, settings)
    case: dict[str, int | str] = {
        "widths": "-".join(map(str, widths)), "batch": goal["batch"], "records": goal["n_records"]
    }  # fmt: skip
    beside = [name for name in entries if name != OURS]
    yield over_best(case, goal, result, entries, missing, beside=beside)
