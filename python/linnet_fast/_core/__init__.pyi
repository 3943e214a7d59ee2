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
class Trained(TypedDict):
    observables: dict[str, Any]
    weights: tuple[npt.NDArray[np.floating[Any]], ...]
    status: npt.NDArray[np.int8]
    stopped_at: npt.NDArray[np.int64]

def train(
    *,
    widths: Sequence[int],
    run_shape: Sequence[int],
    weights: Sequence[npt.NDArray[np.floating[Any]]],
    input_cov: npt.NDArray[np.float64],
    cross_cov: npt.NDArray[np.float64],
    output_power: npt.NDArray[np.float64],
    step_size: npt.NDArray[np.float64],
    weight_decay: npt.NDArray[np.float64],
    stop_loss: npt.NDArray[np.float64] | None,
    stop_gradient_norm: npt.NDArray[np.float64] | None,
    check_every: int,
    first_step: int,
    n_steps: int,
    ended: npt.NDArray[np.int8] | None,
    record_steps: Sequence[int],
    observables: Collection[str],
    n_threads: int,
    progress: Callable[[int], object] | None,
) -> Trained: ...
def build_info() -> BuildInfo: ...
def default_threads() -> int: ...
def fma_peak(n_threads: int, seconds: float, dtype: Literal["float64", "float32"]) -> float: ...
def status_messages() -> dict[int, str]: ...

__all__ = ["build_info", "default_threads", "fma_peak", "status_messages", "train"]
