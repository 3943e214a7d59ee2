"""Training on samples that are kept: all of them, batches of them, classes; beside the rivals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.ours import OURS
from bench.rivals.numpy import blas, parts_of, ways_by_parts
from bench.sections.base import enter_rivals, over_best_with_peak
from bench.sections.sample_problem import (
    SampleProblem,
    check_by_autograd,
    few_samples,
    minibatches,
    ours,
    softmax,
)
from bench.timing import CHECKED_STEPS, enter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Run, Weights
    from bench.sections.base import Goal, Row
    from bench.timing import Settings

_CUTS = (1, 4, 16, 64)  # rivals take a batch whole, or so many parts of it


def spread(problem: SampleProblem, weights: Any, gradient: Any) -> tuple[Any, Any]:
    """Return the gradients by two layers of all runs, from that by their products, in any library."""
    first, second = weights
    if problem.is_diagonal:
        return gradient * second.reshape(gradient.shape), gradient * first.reshape(gradient.shape)
    return second.mT @ gradient, gradient @ first.mT


def product(problem: SampleProblem, weights: Any) -> Any:
    """Return the end-to-end matrices of all runs, (batch, out, in), in any library."""
    first, second = weights
    if problem.is_diagonal:
        return (first * second.reshape(first.shape)).reshape(len(first), 1, -1)
    return second @ first


def numpy_ways(problem: SampleProblem) -> dict[str, Run]:
    """Return products with all samples by BLAS, of all runs or of parts of them, on threads."""
    x, n = np.ascontiguousarray(problem.loss.inputs), problem.loss.n_samples
    across, targets = np.ascontiguousarray(x.T), np.ascontiguousarray(problem.targets.T)
    places = problem.places

    def all_samples(p: Any, out: Any, gradient: Any) -> None:
        n_in = p.shape[-1]
        np.dot(p.reshape(-1, n_in), across, out=out.reshape(-1, n))
        if problem.is_softmax:
            out -= out.max(axis=1, keepdims=True)
            np.exp(out, out=out)
            out /= out.sum(axis=1, keepdims=True)
        out -= targets
        np.dot(out.reshape(-1, n), x, out=gradient.reshape(-1, n_in))
        gradient *= problem.step_size / n

    def descend(own: list[Any], n_steps: int, begin: int) -> None:
        is_single = own[0].ndim < problem.weights[0].ndim
        weights = [layer[None] for layer in own] if is_single else own
        shape = product(problem, weights).shape
        out, gradient = np.empty((*shape[:2], n)), np.empty(shape)
        for t in range(n_steps):
            p = product(problem, weights)
            if places is None:
                all_samples(p, out, gradient)
            else:
                seen = places[t % len(places), begin : begin + len(p)]
                batch = x[seen]
                errors = p @ batch.mT - targets[:, seen].swapaxes(0, 1)
                gradient = (errors @ batch) * (problem.step_size / seen.shape[-1])
            for layer, move in zip(weights, spread(problem, weights, gradient), strict=True):
                np.subtract(layer, move.reshape(layer.shape), out=layer)

    return ways_by_parts(problem.weights, _CUTS, problem.n_threads, descend)


def jax_ways(problem: SampleProblem) -> dict[str, Run]:
    """Return its own gradient, or ours by hand for all runs at once, on one device or on all."""
    jax = import_module("jax")  # here, so that its time is not that of others
    jnp = jax.numpy
    x, targets = jnp.asarray(problem.loss.inputs), jnp.asarray(problem.targets)
    places = None if problem.places is None else jnp.asarray(problem.places.swapaxes(0, 1))

    def residual(z: Any, y: Any) -> Any:
        return (jax.nn.softmax(z, axis=-1) if problem.is_softmax else z) - y

    def value(p: Any, batch: Any, y: Any) -> Any:
        z = batch @ p.T
        if problem.is_softmax:
            return (jax.nn.logsumexp(z, axis=-1) - (z * y).sum(axis=-1)).mean()
        return 0.5 * ((z - y) ** 2).sum() / len(y)

    def seen(t: Any, own: Any) -> tuple[Any, Any]:
        if own is None:
            return x, targets
        which = own[:, t % own.shape[1]]
        return x[which], targets[which]

    def by_hand(t: Any, weights: Any, own: Any) -> Any:
        batch, y = seen(t, own)
        p = product(problem, weights)
        if own is None:
            z = jnp.einsum("roi,ni->rno", p, x)
            gradient = jnp.einsum("rno,ni->roi", residual(z, y), x) / len(x)
        else:
            slopes = p @ batch.mT - y.mT
            gradient = slopes @ batch / batch.shape[1]
        return spread(problem, weights, gradient)

    def own_gradient(t: Any, weights: Any, own: Any) -> Any:
        def objective(weights: Any, own: Any) -> Any:
            p = product(problem, tuple(w[None] for w in weights))[0]
            if own is None:
                return value(p, x, targets)
            which = own[t % own.shape[0]]
            return value(p, x[which], targets[which])

        return jax.vmap(jax.grad(objective), (0, None if own is None else 0))(weights, own)

    def way(gradient: Any, devices: Any) -> Run:
        def train(n: Any, weights: Any, own: Any) -> Any:
            def step(t: Any, weights: Any) -> Any:
                moves = gradient(t, weights, own)
                return tuple(
                    w - problem.step_size * g.reshape(w.shape)
                    for w, g in zip(weights, moves, strict=True)
                )

            return jax.lax.fori_loop(0, n, step, weights)

        mesh = jax.sharding.Mesh(np.asarray(devices), ("runs",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))
        start = tuple(jax.device_put(w, sharding) for w in problem.weights)
        own = None if places is None else jax.device_put(places, sharding)
        program = jax.jit(train)
        return lambda n: tuple(map(np.asarray, jax.block_until_ready(program(n, start, own))))

    ways = {}
    for name, gradient in (("its gradient", own_gradient), ("by hand", by_hand)):
        ways[name] = way(gradient, jax.devices()[:1])
        if len(jax.devices()) > 1 and problem.batch % len(jax.devices()) == 0:
            ways[f"{name}, devices"] = way(gradient, jax.devices())
    return ways


def torch_ways(problem: SampleProblem) -> dict[str, Run]:
    """Return the same in PyTorch: by hand, of all runs or of parts of them; or its own gradient."""
    torch = import_module("torch")
    torch.set_num_threads(problem.n_threads)
    check_by_autograd(problem)
    x, n = torch.from_numpy(np.array(problem.loss.inputs)), problem.loss.n_samples
    y = torch.from_numpy(problem.targets)
    targets, places = y.T.contiguous(), problem.places
    table = None if places is None else torch.from_numpy(places)

    def by_hand(weights: list[Any], t: int, begin: int) -> Any:
        p = product(problem, weights)
        if table is None:
            z = (p.reshape(-1, p.shape[-1]) @ x.T).view(*p.shape[:2], n)
            slopes = (torch.softmax(z, dim=1) if problem.is_softmax else z).sub_(targets)
            gradient = (slopes.view(-1, n) @ x).view(p.shape).mul_(1 / n)
        else:
            seen = table[t % len(table), begin : begin + len(p)]
            batch = x[seen]
            slopes = torch.bmm(p, batch.mT) - targets[:, seen].swapaxes(0, 1)
            gradient = torch.bmm(slopes, batch).mul_(1 / seen.shape[-1])
        return spread(problem, weights, gradient)

    def own_gradient(weights: list[Any], t: int, begin: int) -> Any:
        leaves = [w.detach().requires_grad_() for w in weights]
        p = product(problem, leaves)
        if table is None:
            batch, own = x, y
        else:
            seen = table[t % len(table), begin : begin + len(p)]
            batch, own = x[seen], y[seen]
        z = batch @ p.mT
        if problem.is_softmax:
            values = torch.logsumexp(z, dim=-1) - (z * own).sum(dim=-1)
        else:
            values = 0.5 * ((z - own) ** 2).sum(dim=-1)
        return torch.autograd.grad(values.mean(dim=-1).sum(), leaves)

    def way(gradient: Any, part: int) -> Run:
        def run(n_steps: int) -> Weights:
            trained = [torch.from_numpy(np.array(w)) for w in problem.weights]
            for begin in range(0, problem.batch, part):
                own = [w[begin : begin + part] for w in trained]
                for t in range(n_steps):
                    moves = gradient(own, t, begin)
                    with torch.no_grad():
                        for w, g in zip(own, moves, strict=True):
                            w.sub_(g.reshape(w.shape), alpha=problem.step_size)
            return tuple(w.numpy() for w in trained)

        return run

    ways = {f"by hand, {part} runs": way(by_hand, part) for part in parts_of(problem.batch, _CUTS)}
    return {"its gradient": way(own_gradient, problem.batch), **ways}


def numba_ways(problem: SampleProblem) -> dict[str, Run]:
    """Return one compiled loop over the runs in parallel, with products by BLAS."""
    numba = import_module("numba")
    numba.set_num_threads(problem.n_threads)
    x = np.ascontiguousarray(problem.loss.inputs)
    targets = np.ascontiguousarray(problem.targets)
    is_softmax, is_diagonal, step = problem.is_softmax, problem.is_diagonal, problem.step_size
    everything = np.arange(problem.loss.n_samples)[None, None]
    places = everything if problem.places is None else problem.places
    libraries, whole = blas(), problem.places is None

    def descend(first: Any, second: Any, n_steps: int) -> None:
        n_in, n_out, size = x.shape[1], targets.shape[1], places.shape[2]
        for run in numba.prange(first.shape[0]):
            p = np.empty((n_out, n_in))
            batch, own = x, targets
            if not whole:
                batch, own = np.empty((size, n_in)), np.empty((size, n_out))
            z, gradient = np.empty((size, n_out)), np.empty((n_out, n_in))
            for t in range(n_steps):
                if not whole:
                    for k in range(size):
                        place = places[t % places.shape[0], run, k]
                        for i in range(n_in):
                            batch[k, i] = x[place, i]
                        for i in range(n_out):
                            own[k, i] = targets[place, i]
                if is_diagonal:
                    p[0] = first[run, 0] * second[run, 0]
                else:
                    np.dot(second[run], first[run], p)
                np.dot(batch, p.T, z)
                if is_softmax:
                    for k in range(size):
                        top, total = z[k, 0], 0.0
                        for i in range(1, n_out):
                            top = max(top, z[k, i])
                        for i in range(n_out):
                            z[k, i] = np.exp(z[k, i] - top)
                            total += z[k, i]
                        for i in range(n_out):
                            z[k, i] = z[k, i] / total - own[k, i]
                else:
                    z -= own
                np.dot(z.T, batch, gradient)
                gradient *= step / size
                if is_diagonal:
                    for i in range(n_in):
                        u, v = first[run, 0, i], second[run, 0, i]
                        first[run, 0, i] -= gradient[0, i] * v
                        second[run, 0, i] -= gradient[0, i] * u
                else:
                    move = np.dot(second[run].T, gradient)
                    second[run] -= np.dot(gradient, first[run].T)
                    first[run] -= move

    compiled = numba.njit(parallel=True, fastmath=True)(descend)

    def run(n_steps: int) -> Weights:
        shapes = [layer.shape for layer in problem.weights]
        own = [layer.reshape(len(layer), -1, layer.shape[-1]).copy() for layer in problem.weights]
        with libraries.limit(limits=1):
            compiled(*own, n_steps)
        return tuple(layer.reshape(shape) for layer, shape in zip(own, shapes, strict=True))

    return {"np.dot": run}


SAMPLE_RIVALS: dict[str, Callable[[SampleProblem], dict[str, Run]]] = {
    "jax": jax_ways,
    "torch": torch_ways,
    "numpy": numpy_ways,
    "numba": numba_ways,
}


def _raced(problem: SampleProblem, goal: Goal, settings: Settings) -> Row:
    """Return the row of a problem beside all rivals, and our share of the peak of multiply-adds."""
    run, batch = ours(problem), problem.batch
    entries = {OURS: enter(OURS, {"train": run}, None, batch, settings)}
    expected = run(CHECKED_STEPS)
    others, missing = enter_rivals(SAMPLE_RIVALS, problem, expected, settings)
    entries |= others
    case: dict[str, int | str] = {key: goal[key] for key in goal if key != "goal"}
    return over_best_with_peak(case, goal, entries, missing, problem.flops, settings)


def samples(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train diagonal networks on fewer samples than inputs."""
    yield _raced(
        few_samples(goal["d"], goal["n"], goal["batch"], settings.n_threads), goal, settings
    )


def minibatch(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train by batches of samples; rivals are told which, and draw nothing."""
    problem = minibatches(
        goal["d"], goal["hidden"], goal["n"], goal["size"], goal["batch"], settings.n_threads
    )
    yield _raced(problem, goal, settings)


def classes(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train on the softmax of digits."""
    problem = softmax(goal["hidden"], goal["batch"], settings.n_threads, goal["n"])
    yield _raced(problem, goal, settings)
