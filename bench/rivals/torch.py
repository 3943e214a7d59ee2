"""PyTorch: batched matrix products (MKL) into preallocated tensors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.rivals.base import Competitor

if TYPE_CHECKING:
    from bench.problem import Problem, Run, Weights


class Torch(Competitor):
    """``torch.bmm`` with ``out=`` and the update fused in ``baddbmm_``, without autograd."""

    name = "torch"

    def prepare(self, problem: Problem) -> dict[str, Run]:
        """Return loops over the whole batch or over parts of it that fit in a nearer cache."""
        torch = import_module("torch")
        torch.set_num_threads(problem.n_threads)
        if problem.batch == 1:
            return {"mm": _way(torch, problem, 1)}
        return {
            f"bmm, {part} runs": _way(torch, problem, part)
            for part in sorted({max(1, problem.batch // cut) for cut in (1, 2, 4)}, reverse=True)
        }


def _way(torch: Any, problem: Problem, part: int) -> Run:
    input_cov = torch.from_numpy(problem.input_cov)
    cross_cov = torch.from_numpy(problem.cross_cov)

    def run(n_steps: int) -> Weights:
        trained = [torch.from_numpy(layer.copy()) for layer in problem.weights]
        with torch.no_grad():
            for first in range(0, problem.batch, part):
                weights = [layer[first : first + part] for layer in trained]
                if problem.batch == 1:
                    weights = [layer[0] for layer in weights]
                _descend(torch, weights, input_cov, cross_cov, problem.step_size, n_steps)
        return tuple(layer.numpy() for layer in trained)

    return run


def _descend(
    torch: Any, weights: list[Any], input_cov: Any, cross_cov: Any, step_size: float, n_steps: int
) -> None:
    batched = weights[0].ndim == 3
    multiply = torch.bmm if batched else torch.mm
    first, rest = weights[0], weights[1:]
    add_product = [layer.baddbmm_ if batched else layer.addmm_ for layer in rest]
    transposed = [layer.mT for layer in rest]
    prefixes = [first, *(torch.empty_like(first) for _ in rest)]
    prefixes_transposed = [prefix.mT for prefix in prefixes]
    spare = torch.empty_like(first), torch.empty_like(first)
    # All runs times the one input_cov is a single product, which also subtracts cross_cov.
    rows = prefixes[-1].view(-1, input_cov.shape[0])
    residual_rows = spare[0].view(rows.shape)
    target = cross_cov.expand_as(first).reshape(rows.shape)
    for _ in range(n_steps):
        for index, layer in enumerate(rest):
            multiply(layer, prefixes[index], out=prefixes[index + 1])
        torch.addmm(target, rows, input_cov, beta=-1, out=residual_rows)
        back, other = spare
        for index in range(len(rest) - 1, -1, -1):
            multiply(transposed[index], back, out=other)
            add_product[index](back, prefixes_transposed[index], alpha=-step_size)
            back, other = other, back
        first.sub_(back, alpha=step_size)
