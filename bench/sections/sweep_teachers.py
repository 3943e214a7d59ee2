"""The sweep that people run: sparse regression over size of the start, depth and drawn data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from bench.ours import OURS
from bench.rivals.numpy import blas
from bench.sections.base import enter_rivals, over_best
from bench.timing import CHECKED_STEPS, race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Array, Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_DEPTHS = (2, 3, 4)
_STEP_SIZE = 0.01


@dataclass(frozen=True, eq=False)
class TeacherSweep:
    """Diagonal networks of three depths whose last layer starts at zero, the others at `scales`."""

    d: int
    n: int
    n_scales: int
    n_seeds: int
    n_threads: int

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(_DEPTHS) * self.n_scales * self.n_seeds

    @property
    def scales(self) -> Array:
        """Sizes of the start."""
        return np.geomspace(1e-3, 1.0, self.n_scales)

    @property
    def teacher(self) -> lf.Teacher:
        """Whose samples are drawn anew for every data seed."""
        return lf.Teacher(
            "sparse", n_inputs=self.d, n_nonzero=max(1, self.d // 20), n_samples=self.n
        )

    @cached_property
    def samples(self) -> tuple[Array, Array]:
        """Inputs (n_seeds, n, d) and targets (n_seeds, n) with the gradients of our samples."""
        inputs, targets = [], []
        for seed in range(self.n_seeds):
            loss = self.teacher.loss(seed)
            at_zero = loss.gradient(np.zeros((1, self.d)))[0]
            cov = loss.gradient(np.eye(self.d)[:, None, :])[:, 0] - at_zero
            values, vectors = (part[..., -min(self.n, self.d) :] for part in np.linalg.eigh(cov))
            inputs.append((vectors * np.sqrt(values)).T)
            targets.append(-(at_zero @ vectors) / np.sqrt(values))
        return np.stack(inputs), np.stack(targets)

    def starts(self, depth: int) -> list[Array]:
        """Return the layers of a depth, (n_seeds, n_scales, d) each."""
        lower = np.broadcast_to(self.scales[:, None], (self.n_seeds, self.n_scales, self.d))
        return [*(lower.copy() for _ in range(depth - 1)), np.zeros(lower.shape)]

    def spec(self, n_steps: int, derived: tuple[str, ...]) -> lf.SweepSpec:
        """Return the sweep as a user writes it."""
        training = lf.Training(
            lf.Diagonal(self.d, 2),
            self.teacher,
            lf.Start("constant"),
            lf.GradientDescent(_STEP_SIZE),
            n_steps=n_steps,
        )
        layer_scales = [[1.0] * (depth - 1) + [0.0] for depth in _DEPTHS]
        depth = lf.Axis(
            _DEPTHS, {"network.n_layers": list(_DEPTHS), "start.layer_scales": layer_scales}
        )
        axes: dict[str, Any] = {
            "start.scale": self.scales,
            "depth": depth,
            "data_seed": range(self.n_seeds),
        }
        return lf.grid(training, axes, derived=derived)

    def products(self, n_steps: int) -> tuple[Array, ...]:
        """Return our predictors after so many steps, (n_seeds, n_scales, d) for each depth."""
        data = lf.sweep(self.spec(n_steps, ("final_product",)), progress=False)
        found = data["final_product"].transpose("depth", "data_seed", "scale", "out", "in")
        return tuple(found.values[..., 0, :])


def _slope(product: Any, inputs: Any, targets: Any) -> Any:
    """Return the slopes of the losses by the predictors, in any library."""
    return (product @ inputs.mT - targets[:, None, :]) @ inputs


def _numpy_ways(problem: TeacherSweep) -> dict[str, Run]:
    """Return products over all seeds and scales, one depth after the other."""
    inputs, targets = problem.samples
    libraries = blas()

    def of_depth(depth: int, n_steps: int) -> Array:
        layers = problem.starts(depth)
        for _ in range(n_steps):
            below = [layers[0]]
            for layer in layers[1:]:
                below.append(below[-1] * layer)
            slope = _slope(below[-1], inputs, targets)
            slope *= _STEP_SIZE
            for place in range(depth - 1, 0, -1):
                move = slope * below[place - 1]
                slope *= layers[place]
                layers[place] -= move
            layers[0] -= slope
        product = layers[0]
        for layer in layers[1:]:
            product = product * layer
        return product

    def way(limit: int | None) -> Run:
        def run(n_steps: int) -> Weights:
            with libraries.limit(limits=limit):
                return tuple(of_depth(depth, n_steps) for depth in _DEPTHS)

        return run

    return {"matmul": way(None), "matmul, one thread": way(1)}


def _jax_ways(problem: TeacherSweep) -> dict[str, Run]:
    """Return jit of a loop over steps, by hand or by its own gradient, on one device or on all."""
    jax = import_module("jax")
    jnp = jax.numpy
    inputs, targets = (jnp.asarray(part) for part in problem.samples)

    def by_hand(layers: Any, inputs: Any, targets: Any) -> Any:
        below = [layers[0]]
        for layer in layers[1:]:
            below.append(below[-1] * layer)
        slope = _slope(below[-1], inputs, targets)
        new = []
        for place in range(len(layers) - 1, 0, -1):
            new.append(layers[place] - _STEP_SIZE * slope * below[place - 1])
            slope = slope * layers[place]
        return (layers[0] - _STEP_SIZE * slope, *reversed(new))

    def by_gradient(layers: Any, inputs: Any, targets: Any) -> Any:
        def objective(layers: Any) -> Any:
            product = jnp.prod(jnp.stack(layers), axis=0)
            return 0.5 * ((product @ inputs.mT - targets[:, None, :]) ** 2).sum()

        moves = jax.grad(objective)(layers)
        return tuple(w - _STEP_SIZE * g for w, g in zip(layers, moves, strict=True))

    def way(step: Callable[..., Any], devices: Any) -> Run:
        mesh = jax.sharding.Mesh(np.asarray(devices), ("seeds",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("seeds"))

        def train(n: Any, layers: Any, inputs: Any, targets: Any) -> Any:
            layers = jax.lax.fori_loop(0, n, lambda _, now: step(now, inputs, targets), layers)
            return jnp.prod(jnp.stack(layers), axis=0)

        program = jax.jit(train)
        data = [jax.device_put(part, sharding) for part in (inputs, targets)]
        starts = [
            tuple(jax.device_put(w, sharding) for w in problem.starts(depth)) for depth in _DEPTHS
        ]
        return lambda n: tuple(
            np.asarray(jax.block_until_ready(program(n, layers, *data))) for layers in starts
        )

    ways = {}
    for name, step in (("by hand", by_hand), ("its gradient", by_gradient)):
        ways[name] = way(step, jax.devices()[:1])
        if len(jax.devices()) > 1 and problem.n_seeds % len(jax.devices()) == 0:
            ways[f"{name}, devices"] = way(step, jax.devices())
    return ways


RIVALS: dict[str, Callable[[TeacherSweep], dict[str, Run]]] = {
    "jax": _jax_ways,
    "numpy": _numpy_ways,
}


def sweep_teachers(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep over drawn data; ours draws data and starts within its time, rivals are given both."""
    problem = TeacherSweep(
        goal["d"], goal["n"], goal["n_scales"], goal["n_seeds"], settings.n_threads
    )
    spec = problem.spec(goal["n_steps"], ("final_loss",))

    def ours() -> float:
        begin = perf_counter()
        lf.sweep(spec, n_threads=settings.n_threads, progress=False)
        return float(problem.batch * goal["n_steps"] / (perf_counter() - begin))

    expected = problem.products(CHECKED_STEPS)
    entries, missing = enter_rivals(RIVALS, problem, expected, settings)
    ours()
    measures = {OURS: ours} | {name: entry.measure for name, entry in entries.items()}
    case: dict[str, int | str] = {key: goal[key] for key in goal if key != "goal"}
    yield over_best(case, goal, race(measures, settings), entries, missing)
