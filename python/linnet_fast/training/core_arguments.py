"""What the compiled core takes, from the objects that users make."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import laws, layers
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.binary import Loss, SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import StochasticGradientDescent
from linnet_fast.methods.step_rule import KINDS, StepRule
from linnet_fast.networks.chain import Chain


def over_runs(array: npt.NDArray[Any], runs: Shape, n_inner: int) -> npt.NDArray[Any]:
    """Return a view with all run axes and, at most copied, inner axes that lie side by side."""
    inner = array.shape[array.ndim - n_inner :]
    side_by_side = [array.itemsize * math.prod(inner[axis + 1 :]) for axis in range(n_inner)]
    fits = all(stride % array.itemsize == 0 for stride in array.strides) and all(
        extent == 1 or stride == wanted
        for extent, stride, wanted in zip(
            inner, array.strides[array.ndim - n_inner :], side_by_side, strict=True
        )
    )
    if not (fits and array.flags.aligned):
        array = validate.unbroadcast(array, keep=n_inner).copy(order="C")
    return np.broadcast_to(array, (*runs, *inner))


def factors(network: Chain) -> list[tuple[Any, ...]]:
    """Return the layers as the core takes them: dense ones as such, others by their entries."""
    result: list[tuple[Any, ...]] = []
    for layer, number in zip(network.layers, network.share, strict=True):
        array = -1 if number is None else number
        inner = layer.layer if isinstance(layer, layers.Residual) else layer
        if isinstance(inner, layers.Dense):
            scale = layer.scale if isinstance(layer, layers.Residual) else 1.0
            result.append((layer.n_outputs, layer.n_inputs, array, inner is not layer, scale))
        else:
            p = layer.pattern
            entries = (p.row, p.column, p.weight, p.coefficient)
            result.append((layer.n_outputs, layer.n_inputs, array, entries))
    return result


def limit(value: FloatArray | None, runs: Shape) -> FloatArray | None:
    """Return a threshold for every run, if there is one."""
    return None if value is None else over_runs(value, runs, 0)


def loss_arguments(loss: Loss, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the loss as the core takes it."""
    if isinstance(loss, SquaredLoss):
        return {
            "loss": None,
            "input_cov": over_runs(loss.input_cov, runs, 2),
            "cross_cov": over_runs(loss.cross_cov, runs, 2),
            "output_power": over_runs(loss.output_power, runs, 0),
        }
    noise = over_runs(loss.label_noise, runs, 0) if loss.label_noise.any() else None
    own: dict[str, Any] = {"label_noise": noise}
    if isinstance(loss, SphericalLogisticLoss):
        own |= {"kind": "spherical", "law": tuple(loss.law.table)}
        own["direction"] = over_runs(loss.direction, runs, 1)
    else:
        columns = loss.columns
        own |= {"kind": loss.kind, "n_samples": loss.n_samples, "single_inputs": None}
        own["inputs"] = over_runs(columns, runs, 2)
        if dtype == np.float32:
            stored = validate.unbroadcast(columns, keep=2)
            single = np.broadcast_to(stored.astype(np.float32), columns.shape)
            own["single_inputs"] = over_runs(single, runs, 2)
    return {"loss": own, "input_cov": None, "cross_cov": None, "output_power": None}


def draws_arguments(loss: Loss, method: StochasticGradientDescent, runs: Shape) -> tuple[Any, ...]:
    """Return what to draw for every step as the core takes it."""
    number, radii, cumulative = 0, [1.0], [1.0]
    if isinstance(loss, SphericalLogisticLoss):
        number, radii, cumulative = _law(loss.law)
    streams = over_runs(method.streams_of(runs), runs, 0)
    return (method.batch_size, method.seed, streams, number, radii, cumulative)


def rule_arguments(rule: StepRule, elapsed: FloatArray, runs: Shape) -> tuple[Any, ...]:
    """Return a step rule as the core takes it; elapsed: the sums of the steps so far."""
    parameters = (rule.scale, rule.exponent, elapsed)
    return (KINDS.index(rule.kind), *(over_runs(array, runs, 0) for array in parameters))


def _law(law: laws.SphericalLaw) -> tuple[int, list[float], list[float]]:
    """Return the number by which the core knows a law, its radii and their cumulative probabilities."""
    match law:
        case laws.Gaussian():
            return 0, [law.scale], [1.0]
        case laws.Sphere():
            return 1, [law.radius], [1.0]
        case laws.Ball():
            return 2, [law.radius], [1.0]
        case laws.RadialMixture():
            return 3, list(law.radii), list(accumulate(law.probabilities))
        case _:
            msg = f"law must be one of linnet_fast.laws to draw from, got {type(law).__name__}"
            raise TypeError(msg)
