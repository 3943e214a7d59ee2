"""Problems on data that are kept as samples: what is trained, and by us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import linnet_fast as lf
from linnet_fast import datasets
from linnet_fast.reference import draws

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from bench.problem import Array, Run, Weights
    from linnet_fast.methods.base import Method

_TABLE = 32
"""Steps whose samples rivals are told, and then once more and so on: they draw nothing."""


@dataclass(frozen=True, eq=False)
class SampleProblem:
    """A batch of networks on one set of samples."""

    network: lf.Chain
    weights: Weights
    """(batch, ...)."""
    loss: lf.SampledSquaredLoss | lf.CrossEntropyLoss
    method: Method
    step_size: float
    n_threads: int
    places: npt.NDArray[np.int64] | None = None
    """(_TABLE, batch, size): which samples each run sees in a step; None: all."""

    @property
    def batch(self) -> int:
        """The number of runs."""
        return len(self.weights[0])

    @property
    def is_softmax(self) -> bool:
        """Whether residuals are those of the softmax."""
        return isinstance(self.loss, lf.CrossEntropyLoss)

    @property
    def is_diagonal(self) -> bool:
        """Whether layers are vectors."""
        return isinstance(self.network, lf.Diagonal)

    @property
    def targets(self) -> Array:
        """What outputs are compared with, (n, out)."""
        loss: Any = self.loss
        return np.array(loss.targets if self.is_softmax else loss.outputs)

    @property
    def flops(self) -> float:
        """Floating-point operations of a step of a run: products of samples and of two dense layers.

        An exponential, and a division by a sum, count as what the core spends on them.
        """
        n_in, n_out = self.loss.n_inputs, self.loss.n_outputs
        n = self.loss.n_samples if self.places is None else self.places.shape[-1]
        of_samples = 4 * n * n_in * n_out
        if self.is_softmax:
            of_samples += n * n_out * EXPONENTIAL
        if self.is_diagonal:
            return float(of_samples + 6 * n_in)
        hidden = self.weights[0].shape[-2]
        return float(of_samples + 6 * n_in * n_out * hidden)


EXPONENTIAL = 36
"""Operations of e^x to the last digits, and what belongs to it: 18 fused multiply-adds."""


def few_samples(d: int, n: int, batch: int, n_threads: int) -> SampleProblem:
    """Return diagonal networks of two layers on fewer samples than inputs."""
    rng = np.random.default_rng([d, n])
    x = rng.standard_normal((n, d))
    y = x[:, :3].sum(axis=1, keepdims=True)
    network, step = lf.Diagonal(d, 2), 1e-3
    weights = tuple(0.1 + 0.01 * rng.standard_normal((batch, *s)) for s in network.shapes)
    loss: Any = lf.SquaredLoss.from_data(x, y, form="samples")
    return SampleProblem(network, weights, loss, lf.GradientDescent(step), step, n_threads)


def minibatches(
    d: int, hidden: int, n: int, size: int, batch: int, n_threads: int
) -> SampleProblem:
    """Return dense networks of two layers and one output, by batches drawn with replacement."""
    rng = np.random.default_rng([d, n])
    x = rng.standard_normal((n, d))
    y = x @ rng.standard_normal((d, 1)) / np.sqrt(d) + 0.1 * rng.standard_normal((n, 1))
    network, step = lf.Dense((d, hidden, 1)), 0.02
    weights = lf.initialization.gaussian(network, scale=0.7, rng=0, batch_shape=batch)
    loss: Any = lf.SquaredLoss.from_data(x, y, form="samples")
    method = lf.StochasticGradientDescent(step, batch_size=size, seed=0, streams=np.arange(batch))
    places = np.empty((_TABLE, batch, size), np.int64)
    # The reference draws by the same rules; of a loss whose inputs are the numbers of the samples.
    numbers: Any = lf.SquaredLoss.from_data(np.arange(n)[:, None], np.zeros((n, 1)), form="samples")
    for t in range(_TABLE):
        for run in range(batch):
            drawn: Any = draws.draw(numbers, method, t, run, (run,), (batch,))
            places[t, run] = drawn.inputs[:, 0]
    return SampleProblem(network, tuple(weights), loss, method, step, n_threads, places)


def softmax(hidden: int, batch: int, n_threads: int, n: int | None = None) -> SampleProblem:
    """Return dense networks of two layers that tell digits apart."""
    data = datasets.load("digits")
    loss = lf.CrossEntropyLoss(data.X[:n], data.Y[:n])
    network, step = lf.Dense((loss.n_inputs, hidden, loss.n_outputs)), 0.05
    weights = lf.initialization.orthogonal(network, scale=0.5, rng=0, batch_shape=batch)
    return SampleProblem(network, tuple(weights), loss, lf.GradientDescent(step), step, n_threads)


def ours(problem: SampleProblem) -> Run:
    """Return the function that trains for some steps and returns the weights."""

    def run(n_steps: int) -> Weights:
        trajectory = lf.train(
            problem.network,
            problem.loss,
            problem.weights,
            method=problem.method,
            n_steps=n_steps,
            record=lf.Record.at([n_steps], observables=("norm",)),
            n_threads=problem.n_threads,
        )
        return trajectory.final.weights

    return run


def check_by_autograd(problem: SampleProblem) -> None:
    """Compare value and gradient of the loss with those of PyTorch, at end-to-end matrices of all sizes.

    Raises
    ------
    AssertionError
        If they differ by more than 1e-12, relative to the largest.
    """
    import torch  # noqa: PLC0415 - only where it is a rival

    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(np.array(a)) for a in (problem.loss.inputs, problem.targets))
    for scale in (0.0, 1e-3, 1.0, 1e3):
        product = scale * rng.standard_normal((problem.loss.n_outputs, problem.loss.n_inputs))
        leaf = torch.from_numpy(product.copy()).requires_grad_()
        z = x @ leaf.T
        value = (
            torch.nn.functional.cross_entropy(z, y)
            if problem.is_softmax
            else 0.5 * ((z - y) ** 2).sum() / len(x)
        )
        value.backward()
        gradient = leaf.grad.numpy()
        np.testing.assert_allclose(problem.loss.value(product), value.item(), rtol=1e-12)
        size = max(float(np.abs(gradient).max()), 1e-300)
        own = np.asarray(problem.loss.gradient(product))
        np.testing.assert_allclose(own, gradient, rtol=1e-11, atol=1e-12 * size)


MAKERS: dict[str, Callable[..., SampleProblem]] = {
    "few_samples": few_samples,
    "minibatches": minibatches,
    "softmax": softmax,
}
