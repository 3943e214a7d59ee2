from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypedDict, type_check_only

import numpy as np
import numpy.typing as npt

@type_check_only
class BuildInfo(TypedDict):
    version: str
    isa: str
    float64_lanes: int
    threads: str
    compiler: str
    eigen: str

@type_check_only
class Trained(TypedDict, total=False):
    observables: dict[str, Any]
    evaluated: dict[str, dict[str, Any]]
    weights: tuple[npt.NDArray[np.floating[Any]], ...]
    status: npt.NDArray[np.int8]
    stopped_at: npt.NDArray[np.int64]
    memory: tuple[tuple[npt.NDArray[np.floating[Any]], ...], ...]
    time: npt.NDArray[np.float64]
    elapsed: npt.NDArray[np.float64]

def train(
    *,
    factors: Sequence[tuple[Any, ...]],
    shapes: Sequence[Sequence[int]],
    run_shape: Sequence[int],
    weights: Sequence[npt.NDArray[np.floating[Any]]],
    loss: dict[str, Any],
    direction: npt.NDArray[np.float64] | None = None,
    step_size: npt.NDArray[np.float64],
    rule: tuple[Any, ...] | None = None,
    draws: tuple[Any, ...] | None = None,
    noise: dict[str, Any] | None = None,
    radius: npt.NDArray[np.float64] | None = None,
    update: dict[str, Any] = ...,
    memory: Sequence[Sequence[npt.NDArray[np.floating[Any]]]] = (),
    weight_decay: npt.NDArray[np.float64],
    stop_loss: npt.NDArray[np.float64] | None,
    stop_gradient_norm: npt.NDArray[np.float64] | None,
    check_every: int,
    first_step: int,
    n_steps: int,
    ended: npt.NDArray[np.int8] | None,
    record_steps: Sequence[int],
    observables: Collection[str],
    evaluate: dict[str, dict[str, Any]] = ...,
    measures: dict[str, dict[str, Any]] = ...,
    n_threads: int,
    progress: Callable[[int], object] | None,
) -> Trained: ...

@type_check_only
class TrainedFlow(TypedDict):
    observables: dict[str, Any]
    evaluated: dict[str, dict[str, Any]]
    weights: tuple[npt.NDArray[np.float64], ...]
    status: npt.NDArray[np.int8]
    stopped_at: npt.NDArray[np.float64]
    n_steps: npt.NDArray[np.int64]

def train_flow(
    *,
    factors: Sequence[tuple[Any, ...]],
    shapes: Sequence[Sequence[int]],
    run_shape: Sequence[int],
    weights: Sequence[npt.NDArray[np.float64]],
    loss: dict[str, Any],
    direction: npt.NDArray[np.float64] | None = None,
    rtol: npt.NDArray[np.float64],
    atol: npt.NDArray[np.float64],
    weight_decay: npt.NDArray[np.float64],
    stop_loss: npt.NDArray[np.float64] | None,
    stop_gradient_norm: npt.NDArray[np.float64] | None,
    kind: int = 0,
    log_time: bool = False,
    begin: float,
    since: npt.NDArray[np.float64] | None = None,
    until: float,
    max_steps: int,
    ended: npt.NDArray[np.int8] | None,
    record_times: Sequence[float],
    observables: Collection[str],
    evaluate: dict[str, dict[str, Any]] = ...,
    measures: dict[str, dict[str, Any]] = ...,
    mirror: npt.NDArray[np.float64] | None = None,
    n_threads: int,
    progress: Callable[[int], object] | None,
) -> TrainedFlow: ...

@type_check_only
class Observed(TypedDict):
    observables: dict[str, Any]
    evaluated: dict[str, dict[str, Any]]

def observe(
    *,
    factors: Sequence[tuple[Any, ...]],
    shapes: Sequence[Sequence[int]],
    run_shape: Sequence[int],
    weights: Sequence[npt.NDArray[np.floating[Any]]],
    loss: dict[str, Any],
    direction: npt.NDArray[np.float64] | None = None,
    weight_decay: npt.NDArray[np.float64],
    observables: Collection[str],
    evaluate: dict[str, dict[str, Any]] = ...,
    measures: dict[str, dict[str, Any]] = ...,
    n_threads: int,
) -> Observed: ...

@type_check_only
class Known(TypedDict):
    observables: list[str]
    measures: list[str]
    losses: list[str]
    updates: list[str]

def known() -> Known: ...
def logit_descent(
    *, logit: npt.NDArray[np.float64], rate: npt.NDArray[np.float64], steps: Sequence[int]
) -> npt.NDArray[np.float64]: ...
def factor_descent(
    *,
    first: npt.NDArray[np.float64],
    second: npt.NDArray[np.float64],
    step_size: npt.NDArray[np.float64],
    sigma: npt.NDArray[np.float64],
    lam: npt.NDArray[np.float64],
    steps: Sequence[int],
) -> npt.NDArray[np.float64]: ...
def balanced_descent(
    *,
    drive: npt.NDArray[np.float64],
    brake: npt.NDArray[np.float64],
    rest: npt.NDArray[np.float64],
    gap: npt.NDArray[np.float64],
    n_layers: int,
    steps: Sequence[int],
) -> npt.NDArray[np.float64]: ...
def momentum_descent(
    *,
    drive: npt.NDArray[np.float64],
    brake: npt.NDArray[np.float64],
    rest: npt.NDArray[np.float64],
    gap: npt.NDArray[np.float64],
    momentum: npt.NDArray[np.float64],
    nesterov: bool,
    n_layers: int,
    steps: Sequence[int],
) -> npt.NDArray[np.float64]: ...
def radial_functions(
    table: tuple[Any, ...], r: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def reduced_flow(
    *,
    table: tuple[Any, ...],
    n_layers: int,
    s: npt.NDArray[np.float64],
    norm: npt.NDArray[np.float64],
    label_noise: npt.NDArray[np.float64],
    rtol: float,
    times: npt.NDArray[np.float64],
    n_threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def reduced_flow_time(
    *,
    table: tuple[Any, ...],
    n_layers: int,
    s: npt.NDArray[np.float64],
    norm: npt.NDArray[np.float64],
    label_noise: npt.NDArray[np.float64],
    rtol: float,
    to_s: npt.NDArray[np.float64],
    n_threads: int,
) -> npt.NDArray[np.float64]: ...
def reduced_flow_turn(
    *,
    table: tuple[Any, ...],
    n_layers: int,
    s: npt.NDArray[np.float64],
    norm: npt.NDArray[np.float64],
    label_noise: npt.NDArray[np.float64],
    rtol: float,
    n_threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def reduced_descent(
    *,
    table: tuple[Any, ...],
    n_layers: int,
    s: npt.NDArray[np.float64],
    norm: npt.NDArray[np.float64],
    label_noise: npt.NDArray[np.float64],
    kind: int,
    scale: npt.NDArray[np.float64],
    parameters: npt.NDArray[np.float64],
    steps: npt.NDArray[np.int64],
    n_threads: int,
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]: ...
def kernel_cost(
    *,
    spectra: npt.NDArray[np.float64],
    extent: int,
    taps: Sequence[int],
    dilations: Sequence[int],
    multiplicities: Sequence[float],
    n_threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def cross_products(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], *, n_threads: int
) -> npt.NDArray[np.float64]: ...
def orthonormal_columns(
    matrix: npt.NDArray[np.float64], *, n_threads: int
) -> npt.NDArray[np.float64]: ...
def singular_vectors(
    matrix: npt.NDArray[np.float64], *, n_threads: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def pivoted_factor(
    matrix: npt.NDArray[np.float64], *, n_threads: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def factored_least_squares(
    factor: npt.NDArray[np.float64],
    pivots: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
    cross: npt.NDArray[np.float64],
    *,
    n_threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def subspaces(
    weights: Sequence[npt.NDArray[np.float64]],
    seen: npt.NDArray[np.float64] | None,
    *,
    most: int,
    run_shape: Sequence[int],
    n_threads: int,
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]: ...
def symmetric_eigenvectors(
    matrix: npt.NDArray[np.float64], *, n_threads: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def elementary(
    name: Literal["log", "log1p", "exp", "expm1", "normal_quantile"],
    values: npt.NDArray[np.float64],
    *,
    n_threads: int,
) -> npt.NDArray[np.float64]: ...
def rounds_to_nearest() -> bool: ...
def build_info() -> BuildInfo: ...
def default_threads() -> int: ...
def fma_peak(n_threads: int, seconds: float, dtype: Literal["float64", "float32"]) -> float: ...
def status_messages() -> dict[int, str]: ...

__all__ = [
    "balanced_descent",
    "build_info",
    "cross_products",
    "default_threads",
    "elementary",
    "factor_descent",
    "factored_least_squares",
    "fma_peak",
    "kernel_cost",
    "known",
    "logit_descent",
    "momentum_descent",
    "observe",
    "orthonormal_columns",
    "pivoted_factor",
    "radial_functions",
    "reduced_descent",
    "reduced_flow",
    "reduced_flow_time",
    "reduced_flow_turn",
    "rounds_to_nearest",
    "singular_vectors",
    "status_messages",
    "subspaces",
    "symmetric_eigenvectors",
    "train",
    "train_flow",
]
