"""All sections by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.sections.binary import binary
from bench.sections.chain import chain
from bench.sections.completion import completion, completion_chain
from bench.sections.cost import cost, cost_depth
from bench.sections.curvature import sharpness
from bench.sections.flow import flow
from bench.sections.optimisers import optimisers
from bench.sections.reduced import nominal, reduced
from bench.sections.samples import classes, minibatch, samples
from bench.sections.sweep import sweep, sweep_layer, sweep_million, sweep_workers
from bench.sections.sweep_teachers import sweep_teachers
from bench.sections.training import (
    batched,
    depth,
    float32,
    methods,
    observed,
    peak,
    records,
    single,
    threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.sections.base import Goal, Row
    from bench.timing import Settings

MEASURES: dict[str, Callable[[Goal, Settings], Iterator[Row]]] = {
    "batched": batched,
    "single": single,
    "depth": depth,
    "float32": float32,
    "peak": peak,
    "records": records,
    "observed": observed,
    "sharpness": sharpness,
    "methods": methods,
    "optimisers": optimisers,
    "threads": threads,
    "flow": flow,
    "chain": chain,
    "binary": binary,
    "samples": samples,
    "minibatch": minibatch,
    "softmax": classes,
    "completion": completion,
    "completion_chain": completion_chain,
    "reduced": reduced,
    "nominal": nominal,
    "sweep": sweep,
    "sweep_layer": sweep_layer,
    "sweep_million": sweep_million,
    "sweep_workers": sweep_workers,
    "sweep_teachers": sweep_teachers,
    "cost": cost,
    "cost_depth": cost_depth,
}
