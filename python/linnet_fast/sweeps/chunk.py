"""Training a block of a sweep's runs, group by group."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import Shape
from linnet_fast.sweeps.batch import Arrays, Progress, train_group
from linnet_fast.sweeps.layout import Layout
from linnet_fast.sweeps.spec import SweepSpec

Block: TypeAlias = tuple[tuple[int, int], ...]
"""(begin, end) along each dimension of a sweep."""


def shape_of(block: Block) -> Shape:
    """Return the lengths of a block."""
    return tuple(end - begin for begin, end in block)


def indices_of(block: Block) -> list[npt.NDArray[np.intp]]:
    """Return the index along each dimension of the runs of a block, in C order."""
    axes = [np.arange(begin, end) for begin, end in block]
    return [part.ravel() for part in np.meshgrid(*axes, indexing="ij")]


def run_block(
    spec: SweepSpec,
    layout: Layout,
    block: Block,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Arrays:
    """Train the runs of a block.

    Parameters
    ----------
    spec : SweepSpec
    layout : Layout
    block : Block
    n_threads : int, optional
    progress : callable, optional
        Called as ``progress(done, total)``, in thousandths of runs.

    Returns
    -------
    dict of str to ndarray, shape (*block, *inner)
    """
    indices, shape = indices_of(block), shape_of(block)
    n_runs = int(np.prod(shape, dtype=np.int64))
    groups = spec.groups_of(indices) if indices else np.zeros(1, np.int64)
    result = {v.name: np.full((n_runs, *v.shape), v.fill, dtype=v.dtype) for v in layout.variables}
    before = 0
    for group in np.unique(groups):
        where = np.flatnonzero(groups == group)
        members = [index[where] for index in indices]
        tell = None
        if progress is not None:
            tell = _part(progress, before, len(where), n_runs)
        kept = train_group(spec, members, n_threads, tell)
        for name, value in kept.items():
            into = result[name]
            inner, most = value.shape[1:], into.shape[1:]
            fits = len(inner) == len(most) and all(n <= m for n, m in zip(inner, most, strict=True))
            if not fits or not np.can_cast(value.dtype, into.dtype):
                msg = (
                    f"derived[{name!r}] must return the same for runs that end early and for all "
                    f"others, {into.dtype} of shape {(n_runs, *most)}, got {value.dtype} of shape "
                    f"{(n_runs, *inner)}"
                )
                raise ValueError(msg)
            region: tuple[Any, ...] = (where, *map(slice, inner))
            into[region if inner != most else where] = value
        before += len(where)
    return {name: array.reshape((*shape, *array.shape[1:])) for name, array in result.items()}


def _part(progress: Progress, before: int, n_runs: int, all_runs: int) -> Progress:
    def tell(done: int, total: int) -> None:
        share = 1000 * n_runs * done // max(total, 1)
        progress(1000 * before + share, 1000 * all_runs)

    return tell
