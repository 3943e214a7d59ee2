"""Wide and thin chains of dense layers: ours as small as they are, rivals on the full networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.rivals.numpy import blas, parts_of, ways_by_parts
from bench.sections.base import enter_rivals, over_best_with_peak
from bench.sections.sweep_engines import seconds_of
from bench.timing import CHECKED_STEPS, enter, race, rate_of_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array, Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_STEP_SIZE = 1e-3
_CUTS = (1, 2, 8, 64)  # rivals take a batch whole, or so many parts of it


@dataclass(frozen=True, eq=False)
class WideProblem:
    """A batch of dense networks of at least as many inputs as outputs, on one data set."""

    weights: Weights
    """(batch, widths[l + 1], widths[l])."""
    X: Array
    Y: Array
    n_threads: int

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(self.weights[0])

    @cached_property
    def loss(self) -> lf.SquaredLoss:
        """On moments or samples, whichever is cheaper."""
        return lf.SquaredLoss.from_data(self.X, self.Y)

    @cached_property
    def flops_left(self) -> float:
        """Operations of a step of a run of the network that is trained, reduced or as it stands."""
        network = lf.Dense((self.X.shape[1], *(w.shape[1] for w in self.weights)))
        small = lf.reduced(network, self.loss, [w[:1] for w in self.weights])
        widths = network.widths
        n_in, n_out = widths[0], widths[-1]
        residual = 2 * len(self.X) * n_in * n_out if self.by_samples else n_in * n_in * n_out
        if _is_reduced(self):
            widths, n_in = small.network.widths, small.network.widths[0]
            residual = n_in * n_out
        layers = [below * above for below, above in pairwise(widths)]
        # Products go along the narrower end, and to, back and out of all layers but the one there.
        ends = layers[:-1] if n_out < n_in else layers[1:]
        return float(2 * (3 * min(n_in, n_out) * sum(ends) + residual))

    @property
    def by_samples(self) -> bool:
        """Whether rivals go through the samples, which is cheaper then."""
        return bool(2 * len(self.X) < self.X.shape[1])


def _is_reduced(problem: WideProblem) -> bool:
    network = lf.Dense((problem.X.shape[1], *(w.shape[1] for w in problem.weights)))
    made = lf.train(
        network,
        problem.loss,
        [w[:1] for w in problem.weights],
        method=lf.GradientDescent(_STEP_SIZE),
        n_steps=1,
    )
    return made.reduction is not None


def make_wide_problem(
    widths: tuple[int, ...], n_samples: int, start: str, batch: int, n_threads: int
) -> WideProblem:
    """Draw a problem, the same on every call."""
    rng = np.random.default_rng([*widths, n_samples])
    X = rng.standard_normal((n_samples, widths[0])) / np.sqrt(1 + np.arange(widths[0]))
    Y = X @ rng.standard_normal((widths[0], widths[-1])) + rng.standard_normal(
        (n_samples, widths[-1])
    )
    weights = []
    for below, above in pairwise(widths):
        drawn = rng.standard_normal((batch, above, below)) / np.sqrt(below)
        if start == "orthogonal":
            tall = drawn if above >= below else drawn.mT
            q = np.linalg.qr(tall)[0]
            drawn = q if above >= below else q.mT
        weights.append(np.ascontiguousarray(0.5 * drawn))
    return WideProblem(tuple(weights), X, Y, n_threads)


def ours(problem: WideProblem, *, reduce: bool = True) -> Run:
    """Return the function that trains for some steps."""
    network = lf.Dense((problem.X.shape[1], *(w.shape[1] for w in problem.weights)))
    loss = problem.loss

    def run(n_steps: int) -> Weights:
        trajectory = lf.train(
            network,
            loss,
            problem.weights,
            method=lf.GradientDescent(_STEP_SIZE),
            n_steps=n_steps,
            record=lf.Record.at([n_steps], observables=("loss",)),
            n_threads=problem.n_threads,
            reduce=reduce,
        )
        return trajectory.final.weights

    return run


def _gradient(problem: WideProblem, array: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the gradient by end-to-end matrices, times the step size, in any library."""
    X, Y, n = problem.X, problem.Y, len(problem.X)
    if problem.by_samples:
        x, back, y = array(X.T.copy()), array(_STEP_SIZE / n * X), array(Y.T.copy())
        return lambda p: (p @ x - y) @ back
    cov, cross = array(_STEP_SIZE / n * (X.T @ X)), array(_STEP_SIZE / n * (Y.T @ X))
    return lambda p: p @ cov - cross


def _moves(weights: Any, gradient: Callable[[Any], Any]) -> list[Any]:
    """Return what a step takes off the weights: products go along the outputs, which are few."""
    suffixes = [weights[-1]]
    for layer in weights[-2::-1]:
        suffixes.append(suffixes[-1] @ layer)
    *above, product = suffixes
    forward, found = gradient(product), []
    for layer, after in zip(weights, [*above[::-1], None], strict=True):
        if after is None:
            found.append(forward)
        else:
            found.append(after.mT @ forward)
            forward = forward @ layer.mT
    return found


def numpy_ways(problem: WideProblem) -> dict[str, Run]:
    """Return products of all runs or of parts of them, on threads."""
    gradient = _gradient(problem, np.ascontiguousarray)

    def descend(own: list[Array], n_steps: int, _first: int) -> None:
        for _ in range(n_steps):
            for layer, move in zip(own, _moves(own, gradient), strict=True):
                np.subtract(layer, move, out=layer)

    return ways_by_parts(problem.weights, _CUTS, problem.n_threads, descend)


def jax_ways(problem: WideProblem) -> dict[str, Run]:
    """Return gradients by hand, on one device or on all."""
    jax = import_module("jax")  # here, so that its time is not that of others
    gradient = _gradient(problem, jax.numpy.asarray)

    def step(_: Any, weights: Any) -> Any:
        moves = _moves(weights, gradient)
        return tuple(layer - move for layer, move in zip(weights, moves, strict=True))

    def way(devices: Any) -> Run:
        program = jax.jit(lambda n, weights: jax.lax.fori_loop(0, n, step, weights))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start))))

    ways = {"one device": way(jax.devices()[:1])}
    if len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0:
        ways["devices"] = way(jax.devices())
    return ways


def torch_ways(problem: WideProblem) -> dict[str, Run]:
    """Return batched products of all runs or of parts of them."""
    torch = import_module("torch")
    torch.set_num_threads(problem.n_threads)
    gradient = _gradient(problem, torch.from_numpy)

    def way(part: int) -> Run:
        def run(n_steps: int) -> Weights:
            trained = [torch.from_numpy(layer.copy()) for layer in problem.weights]
            with torch.no_grad():
                for begin in range(0, problem.batch, part):
                    own = [layer[begin : begin + part] for layer in trained]
                    for _ in range(n_steps):
                        for layer, move in zip(own, _moves(own, gradient), strict=True):
                            layer.sub_(move)
            return tuple(layer.numpy() for layer in trained)

        return run

    return {f"{part} runs": way(part) for part in parts_of(problem.batch, _CUTS)}


def numba_ways(problem: WideProblem) -> dict[str, Run]:
    """Return a compiled loop over the runs in parallel, with BLAS calls; each run has its own arrays."""
    numba = import_module("numba")
    numba.set_num_threads(problem.n_threads)
    libraries = blas()
    last = len(problem.weights) - 1
    X, Y, n = problem.X, problem.Y, len(problem.X)
    by_samples = problem.by_samples
    x = X.T.copy() if by_samples else _STEP_SIZE / n * (X.T @ X)
    back = _STEP_SIZE / n * X
    y = Y.T.copy() if by_samples else _STEP_SIZE / n * (Y.T @ X)

    def descend(weights: Any, n_steps: int) -> None:
        for run in numba.prange(len(weights[0])):
            layers = [w[run] for w in weights]
            products = [np.empty((y.shape[0], w.shape[2])) for w in weights]
            errors = [np.empty((y.shape[0], w.shape[2])) for w in weights]
            moves = [np.empty_like(w[run]) for w in weights]
            seen = np.empty((y.shape[0], x.shape[1]))
            products[last][:] = layers[last]
            for _ in range(n_steps):
                products[last][:] = layers[last]
                for k in range(last - 1, -1, -1):
                    np.dot(products[k + 1], layers[k], products[k])
                np.dot(products[0], x, seen)
                seen -= y
                if by_samples:
                    np.dot(seen, back, errors[0])
                else:
                    errors[0][:] = seen
                for k in range(last):
                    np.dot(errors[k], layers[k].T, errors[k + 1])
                    np.dot(products[k + 1].T, errors[k], moves[k])
                    layers[k] -= moves[k]
                layers[last] -= errors[last]

    compiled = numba.njit(parallel=True, fastmath=True)(descend)

    def run(n_steps: int) -> Weights:
        own = tuple(layer.copy() for layer in problem.weights)
        with libraries.limit(limits=1):
            compiled(own, n_steps)
        return own

    return {"np.dot": run}


REDUCED_RIVALS: dict[str, Callable[[WideProblem], dict[str, Run]]] = {
    "jax": jax_ways,
    "torch": torch_ways,
    "numpy": numpy_ways,
    "numba": numba_ways,
}


def reduced(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train a wide network, beside the rivals; and beside ourselves on the network as it stands."""
    problem = make_wide_problem(
        tuple(goal["widths"]), goal["n_samples"], goal["start"], goal["batch"], settings.n_threads
    )
    run, batch = ours(problem), problem.batch
    entries = {OURS: enter(OURS, {"reduced": run}, None, batch, settings)}
    expected = ours(problem, reduce=False)(CHECKED_STEPS)
    others, missing = enter_rivals(REDUCED_RIVALS, problem, expected, settings)
    entries |= others
    # What we say of the large weights must be what the others find.
    enter(OURS, {"reduced": run}, expected, batch, settings)
    # What is done before the first step and after the last belongs to so many.
    if "n_steps" in goal:
        timed = rate_of_steps(run, batch, goal["n_steps"])
        entries[OURS] = replace(entries[OURS], measure=timed)
    case: dict[str, int | str] = {
        "widths": "-".join(map(str, goal["widths"])),
        **{key: goal[key] for key in ("n_samples", "start", "batch")},
    }
    yield over_best_with_peak(case, goal, entries, missing, problem.flops_left, settings)


def nominal(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep over starts of a width that no machine holds, on digits: seconds, drawing included."""
    digits = lf.datasets.load("digits")
    loss = lf.SquaredLoss.from_data(digits.X, digits.Y)
    narrow = lf.Dense((loss.n_inputs, loss.n_inputs + loss.n_outputs, loss.n_outputs))
    start = lf.Start("gaussian", fan="none", width_exponent=0.5)
    training = lf.Training(
        narrow, loss, start, method=lf.GradientDescent(_STEP_SIZE), n_steps=goal["n_steps"]
    )
    scales = np.geomspace(1e-3, 1e-1, 10)
    spec = lf.grid(
        training,
        {"start.width": [goal["width"]], "start.scale": scales},
        replicates=goal["n_runs"] // len(scales),
    )

    def sweep() -> float:
        begin = perf_counter()
        data = lf.sweep(spec, n_threads=settings.n_threads, progress=False)
        elapsed = perf_counter() - begin
        if not np.isfinite(data["final_loss"]).all():
            msg = "training diverged: its time means nothing"
            raise FloatingPointError(msg)
        return spec.n_runs / elapsed

    result = race({"sweep": sweep}, replace(settings, rounds=1))
    yield seconds_of(goal, spec.n_runs, result)
