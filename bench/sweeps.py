"""Sweeps that keep the last loss of many small runs: us, NumPy, joblib, JAX and Numba.

All rivals draw starts of their own, with their fastest generator, unless they are given some.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from math import gcd
from operator import add
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import linnet_fast as lf
from bench.rivals.numpy import blas
from bench.timing import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Weights

    Sweep: TypeAlias = Callable[[int, Weights | None], Array]
    """Trains the first so many runs, from these starts or its own; returns their last losses."""

_SCALES, _STEP_SIZES = np.geomspace(1e-3, 1, 10), np.geomspace(0.01, 0.05, 10)
_CHECKED_RUNS = 24
_TRIALS = 2


@dataclass(frozen=True, eq=False)
class SweepProblem:
    """Two square layers on one set of moments, from Gaussian starts of run x step size x scale.

    Standard deviations of weights are scale / sqrt(width). Competitors must not modify the arrays.
    """

    input_cov: Array
    """(m, m)."""
    cross_cov: Array
    """(m, m)."""
    output_power: float
    scales: Array
    """(n_runs,)."""
    step_sizes: Array
    """(n_runs,)."""
    n_steps: int
    n_threads: int

    @property
    def width(self) -> int:
        """The width m of every layer."""
        return int(self.input_cov.shape[0])

    @property
    def n_runs(self) -> int:
        """The number of runs."""
        return len(self.scales)

    @property
    def spreads(self) -> Array:
        """Standard deviations of the start weights, (n_runs,)."""
        return np.asarray(self.scales / np.sqrt(self.width))

    @property
    def loss(self) -> lf.SquaredLoss:
        """The loss of all runs."""
        return lf.SquaredLoss(self.input_cov, self.cross_cov, self.output_power)

    def first(self, n_runs: int) -> SweepProblem:
        """Return the sweep of the first runs; of more than there are, they begin again."""
        return replace(
            self,
            scales=np.resize(self.scales, n_runs),
            step_sizes=np.resize(self.step_sizes, n_runs),
        )

    def starts(self) -> Weights:
        """Return the weights that we start from, (n_runs, m, m) for each layer."""
        network = lf.Dense((self.width,) * 3)
        return lf.initialization.gaussian(
            network, scale=self.scales, rng=0, batch_shape=self.n_runs
        )


@dataclass(frozen=True)
class Way:
    """One way to write a sweep."""

    sweep: Sweep
    unit: int
    """Runs that it trains at a time; other numbers of runs waste some of it."""


def make_sweep_problem(width: int, n_runs: int, n_steps: int, n_threads: int) -> SweepProblem:
    """Draw a problem on which no run diverges, the same on every call.

    The least loss is far from 0, so that losses near it are known to full relative precision.
    """
    rng = np.random.default_rng(width)
    inputs = rng.standard_normal((4 * width, width))
    teacher = rng.standard_normal((width, width)) / np.sqrt(width)
    input_cov = inputs.T @ inputs / (4 * width)
    cross_cov = teacher @ input_cov
    run = np.arange(n_runs)
    return SweepProblem(
        input_cov=input_cov,
        cross_cov=cross_cov,
        output_power=float(np.sum(cross_cov * teacher)) + 0.1 * width,
        scales=_SCALES[run % len(_SCALES)],
        step_sizes=_STEP_SIZES[run // len(_SCALES) % len(_STEP_SIZES)],
        n_steps=n_steps,
        n_threads=n_threads,
    )


def spec_of(problem: SweepProblem) -> lf.SweepSpec:
    """Return the problem as a user writes it: a grid with random starts."""
    training = lf.Training(
        lf.Dense((problem.width,) * 3),
        problem.loss,
        lf.Start("gaussian"),
        method=lf.GradientDescent(0.01),
        n_steps=problem.n_steps,
    )
    grid = {"start.scale": _SCALES, "method.step_size": _STEP_SIZES}
    return lf.grid(training, grid, replicates=problem.n_runs // (len(_SCALES) * len(_STEP_SIZES)))


def ours(problem: SweepProblem) -> Callable[[], Array]:
    """Return the sweep by linnet_fast; it gives the last losses of all runs."""
    spec = spec_of(problem)

    def run() -> Array:
        data = lf.sweep(spec, progress=False, n_threads=problem.n_threads)
        return data["final_loss"].to_numpy().ravel()

    return run


def train_ours(problem: SweepProblem, starts: Weights) -> Array:
    """Return the last losses of the runs from given starts, by ``linnet_fast.train``."""
    trajectory = lf.train(
        lf.Dense((problem.width,) * 3),
        problem.loss,
        starts,
        method=lf.GradientDescent(problem.step_sizes),
        n_steps=problem.n_steps,
        record=lf.Record.at([problem.n_steps], observables=("loss",)),
        n_threads=problem.n_threads,
    )
    return np.asarray(trajectory.loss[:, 0])


# NumPy, in one process or in several.


def _drawn(problem: SweepProblem, seed: int) -> Weights:
    """Draw starts for all runs of a batch."""
    shape = (2, problem.n_runs, problem.width, problem.width)
    first, second = np.random.default_rng(seed).standard_normal(shape)
    spreads = problem.spreads[:, None, None]
    return first * spreads, second * spreads


def _train_matmul(problem: SweepProblem, seed: int, starts: Weights | None) -> Array:
    """Train a batch by products of stacked matrices; return its last losses."""
    first, second = _drawn(problem, seed) if starts is None else (w.copy() for w in starts)
    second_t = second.swapaxes(1, 2)
    product, residual, change = (np.empty_like(first) for _ in range(3))
    first_t, step_sizes = first.swapaxes(1, 2), problem.step_sizes[:, None, None]
    # All runs times the one input_cov is a single product.
    rows, residual_rows = (a.reshape(-1, problem.width) for a in (product, residual))
    for _ in range(problem.n_steps):
        np.matmul(second, first, out=product)
        np.dot(rows, problem.input_cov, out=residual_rows)
        np.subtract(problem.cross_cov, residual, out=residual)
        np.multiply(residual, step_sizes, out=residual)
        np.matmul(residual, first_t, out=change)
        np.matmul(second_t, residual, out=product)
        np.add(second, change, out=second)
        np.add(first, product, out=first)
    product = second @ first
    power = (product @ problem.input_cov - 2 * problem.cross_cov) * product
    return np.asarray(0.5 * (power.sum((1, 2)) + problem.output_power))


def _train_runs_last(problem: SweepProblem, seed: int, starts: Weights | None) -> Array:
    """Train a batch by elementwise operations along the runs; return its last losses."""
    weights = _drawn(problem, seed) if starts is None else starts
    first, second = (np.ascontiguousarray(np.moveaxis(w, 0, 2)) for w in weights)
    product, residual, change, term = (np.empty_like(first) for _ in range(4))
    cross_cov, width = problem.cross_cov[:, :, None], problem.width

    def multiply(a: Array, b: Array, out: Array) -> None:
        np.multiply(a[:, 0, None], b[None, 0], out=out)
        for k in range(1, width):
            np.multiply(a[:, k, None], b[None, k], out=term)
            np.add(out, term, out=out)

    for _ in range(problem.n_steps):
        multiply(second, first, product)
        np.matmul(problem.input_cov, product, out=residual)  # input_cov is symmetric
        np.subtract(cross_cov, residual, out=residual)
        np.multiply(residual, problem.step_sizes, out=residual)
        multiply(residual, first.swapaxes(0, 1), change)
        multiply(second.swapaxes(0, 1), residual, product)
        np.add(second, change, out=second)
        np.add(first, product, out=first)
    multiply(second, first, product)
    power = (np.matmul(problem.input_cov, product) - 2 * cross_cov) * product
    return np.asarray(0.5 * (power.sum((0, 1)) + problem.output_power))


_Batch: TypeAlias = "tuple[SweepProblem, int, Weights | None]"
_TRAININGS = {"matmul": _train_matmul, "runs last": _train_runs_last}
_BATCHES = (256, 1024)


def _batches(problem: SweepProblem, n_runs: int, size: int, starts: Weights | None) -> list[_Batch]:
    """Return parts of the first runs, with seeds and starts of their own."""
    whole = problem.first(n_runs)
    result: list[_Batch] = []
    for begin in range(0, n_runs, size):
        of = slice(begin, begin + size)
        part = replace(whole, scales=whole.scales[of], step_sizes=whole.step_sizes[of])
        own = None if starts is None else tuple(w[of] for w in starts)
        result.append((part, begin, own))
    return result


def numpy_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return loops over batches of several sizes, in one thread."""

    def way(form: str, size: int) -> Way:
        train, libraries = _TRAININGS[form], blas()

        def sweep(n_runs: int, starts: Weights | None) -> Array:
            with libraries.limit(limits=1):
                return np.concatenate(
                    [train(*batch) for batch in _batches(problem, n_runs, size, starts)]
                )

        return Way(sweep, size)

    return {f"{form}, {size} runs": way(form, size) for form in _TRAININGS for size in _BATCHES}


def joblib_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return the same batches over processes and over threads."""
    joblib = import_module("joblib")

    def way(form: str, size: int, backend: str) -> Way:
        train, libraries = joblib.delayed(_TRAININGS[form]), blas()
        options = {"inner_max_num_threads": 1} if backend == "loky" else {}

        def sweep(n_runs: int, starts: Weights | None) -> Array:
            batches = _batches(problem, n_runs, size, starts)
            with libraries.limit(limits=1), joblib.parallel_config(backend, **options):
                parallel = joblib.Parallel(n_jobs=problem.n_threads)
                return np.concatenate(parallel(train(*batch) for batch in batches))

        return Way(sweep, size * problem.n_threads)

    return {
        f"{form}, {size} runs, {backend}": way(form, size, backend)
        for form in _TRAININGS
        for size in _BATCHES
        for backend in ("loky", "threading")
    }


# JAX.


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

    def outer_products(a: Any, b: Any) -> Any:
        return reduce(add, (a[:, k, None] * b[None, k, :] for k in range(width)))

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


# Numba.


def numba_ways(problem: SweepProblem) -> dict[str, Way]:
    """Return loops over runs one by one, and over runs side by side in vector registers."""
    numba = import_module("numba")
    numba.set_num_threads(problem.n_threads)
    side = gcd(problem.width, 4)
    ways = {"runs one by one": _numba_way(numba, problem, _rows_source(problem.width), 1)}
    for lanes in (16, 32):
        source = _lanes_source(problem.width, lanes, side)
        ways[f"{lanes} runs side by side"] = _numba_way(numba, problem, source, lanes)
    return ways


def _rows_source(width: int) -> str:
    """Write out a step of one run: inner loops along rows, sums in full."""
    terms = range(width)
    coefficients = "; ".join(f"a{k} = a[i, {k}]" for k in terms)
    total = " + ".join(f"a{k} * b[{k}, j]" for k in terms)
    return f"""
def add_product(a, b, out):
    for i in range({width}):
        {coefficients}
        for j in range({width}):
            out[i, j] += {total}

def step(state, input_cov, cross_cov, step_sizes):
    first, second, product, residual = state.reshape((4, {width}, {width}))
    product[:] = 0
    add_product(second, first, product)
    residual[:] = 0
    add_product(product, input_cov, residual)
    for i in range({width}):
        for j in range({width}):
            residual[i, j] = step_sizes[0] * (cross_cov[i, j] - residual[i, j])
            product[i, j] = first[j, i]
    add_product(second.T, residual, first)
    add_product(residual, product, second)
"""


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


def _numba_way(numba: Any, problem: SweepProblem, source: str, lanes: int) -> Way:
    """Return a loop over blocks of runs side by side; the source has one step of a block."""
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102  (text written here, to unroll loops)
    compiled = numba.njit(fastmath=True)
    for name in ("add_product", "step"):
        if name in scope:
            scope[name] = compiled(scope[name])
    step: Any = scope["step"]
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


SWEEP_RIVALS: dict[str, Callable[[SweepProblem], dict[str, Way]]] = {
    "numpy": numpy_ways,
    "joblib": joblib_ways,
    "jax": jax_ways,
    "numba": numba_ways,
}


def available(rival: str) -> bool:
    """Whether a rival is installed."""
    return find_spec(rival) is not None


@dataclass(frozen=True)
class Entry:
    """A rival made ready for a sweep."""

    measure: Callable[[], float]
    """Trains for a while, and returns runs per second."""
    way: str
    first_call: float
    """Seconds of the first call of the way, which may compile."""
    tried: dict[str, float]
    """Runs per second of every way, in short trials."""


def enter(rival: str, problem: SweepProblem, seconds: float) -> Entry:
    """Compile and check a rival's ways, and take the one that is fastest in short trials.

    Raises
    ------
    AssertionError
        If last losses are not ours from the same starts, to rtol 1e-8.
    FloatingPointError
        If runs diverge from the rival's own starts.
    """
    few = problem.first(min(_CHECKED_RUNS, problem.n_runs))
    starts = few.starts()
    expected = train_ours(few, starts)
    ways, first_calls = SWEEP_RIVALS[rival](problem), {}
    for name, way in ways.items():
        begin = perf_counter()
        losses = way.sweep(few.n_runs, starts)
        first_calls[name] = perf_counter() - begin
        np.testing.assert_allclose(losses, expected, rtol=1e-8, err_msg=f"{rival}, {name}")
    trials = race(
        {name: runs_per_second(way, problem, seconds / 5) for name, way in ways.items()}, _TRIALS
    )
    tried = {name: max(rates) for name, rates in trials.rates.items()}
    best = max(tried, key=lambda name: tried[name])
    return Entry(runs_per_second(ways[best], problem, seconds), best, first_calls[best], tried)


def runs_per_second(way: Way, problem: SweepProblem, seconds: float) -> Callable[[], float]:
    """Return a function that trains for about `seconds`, starts included: runs per second.

    It trains as many runs as that takes, in whole units and of the problem at most.
    """

    def time(n_units: int) -> tuple[int, float]:
        n_runs = min(n_units * way.unit, problem.n_runs)
        begin = perf_counter()
        losses = way.sweep(n_runs, None)
        elapsed = perf_counter() - begin
        if not np.isfinite(losses).all():
            msg = "training diverged: its time means nothing"
            raise FloatingPointError(msg)
        return n_runs, elapsed

    most = -(-problem.n_runs // way.unit)
    time(1)  # what a first call has to compile or to start
    n_units, elapsed = 1, time(1)[1]
    while elapsed < seconds / 4 and n_units < most:
        n_units *= 2
        elapsed = time(n_units)[1]
    n_units = min(most, max(1, round(n_units * seconds / elapsed)))

    def measure() -> float:
        n_runs, elapsed = time(n_units)
        return n_runs / elapsed

    return measure
