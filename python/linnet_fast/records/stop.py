"""When a run stops before its last step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import Value
from linnet_fast.records.measures import PLAIN, Measure, measure_named
from linnet_fast.records.named import Named
from linnet_fast.records.observables import NO_LOSSES, checked_names
from linnet_fast.records.record import MAX_STEP


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Stop(Value):
    """When a run stops before its last step, as converged.

    A run stops at the first absolute step, a multiple of `check_every`, at which its loss, its
    gradient norm or an evaluated loss is at or below the threshold, or an observable with parameters
    at or beyond one; one of them suffices. A flow is checked after every step of its integrator.

    Parameters
    ----------
    loss : array_like, shape (*run), optional
        Threshold >= 0 on the loss, weight decay not included.
    gradient_norm : array_like, shape (*run), optional
        Threshold >= 0 on the norm of the gradient of the objective, weight decay included.
    check_every : int, default 100
        Steps between checks, at least 1; of no effect on a flow.
    evaluate : mapping of str to array_like, shape (*run), optional
        Thresholds >= 0 on losses that `Record` evaluates, by their names there.
    below, above : mapping of str to array_like, shape (*run), optional
        Thresholds on observables that are single numbers and computed by the core with parameters:
        ``sharpness``, ``preconditioned_sharpness``, ``hessian_trace``, ``gradient_noise``,
        ``gradient_noise_curvature``, ``weight_distance``, ``kernel_distance``,
        ``kernel_alignment``, ``nuclear_norm``, ``schatten_norm(p)``. They need not be recorded.

    Raises
    ------
    TypeError
        If a threshold is not made of real numbers, `check_every` is not an integer, or `evaluate` is
        not a mapping.
    ValueError
        If no threshold is given, a number is out of range, or run axes do not broadcast.

    Examples
    --------
    >>> Stop(loss=1e-3)
    Stop(loss=0.001, check_every=100)
    >>> Stop(loss=[1e-3, 1e-4], gradient_norm=1e-6).run_shape
    (2,)
    >>> Stop(evaluate={"test": 0.01}, check_every=10)
    Stop(evaluate={'test': 0.01}, check_every=10)
    >>> Stop(above={"sharpness": 20.0}, check_every=10)
    Stop(above={'sharpness': 20}, check_every=10)
    """

    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"evaluate": {}, "below": {}, "above": {}}
    )
    """Arguments that plain data leave out where they have these values."""
    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"loss": 0, "gradient_norm": 0})

    loss: FloatArray | None
    gradient_norm: FloatArray | None
    check_every: int
    evaluate: Mapping[str, FloatArray]
    below: Mapping[str, FloatArray]
    above: Mapping[str, FloatArray]

    def __init__(
        self,
        loss: npt.ArrayLike | None = None,
        gradient_norm: npt.ArrayLike | None = None,
        check_every: int = 100,
        evaluate: Mapping[str, npt.ArrayLike] = NO_LOSSES,
        below: Mapping[str, npt.ArrayLike] = NO_LOSSES,
        above: Mapping[str, npt.ArrayLike] = NO_LOSSES,
    ) -> None:
        evaluated = checked_names(evaluate)
        object.__setattr__(self, "below", _limits("below", below))
        object.__setattr__(self, "above", _limits("above", above))
        if loss is None and gradient_norm is None and not (evaluated or self.below or self.above):
            msg = "loss, gradient_norm, evaluate, below or above must be given, got none of them"
            raise ValueError(msg)
        for name, threshold in (("loss", loss), ("gradient_norm", gradient_norm)):
            array = None
            if threshold is not None:
                array = validate.real_array(name, threshold, at_least=0)
            object.__setattr__(self, name, array)
        arrays = {
            name: validate.real_array(f"evaluate[{name!r}]", threshold, at_least=0)
            for name, threshold in evaluated.items()
        }
        object.__setattr__(self, "evaluate", Named(arrays))
        every = validate.integer("check_every", check_every, low=1, high=MAX_STEP)
        object.__setattr__(self, "check_every", every)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts = [
            f"{name}={_shown(array)}"
            for name, array in (("loss", self.loss), ("gradient_norm", self.gradient_norm))
            if array is not None
        ]
        for argument, arrays in self._mappings.items():
            if arrays:
                of = (f"{name!r}: {_shown(array)}" for name, array in arrays.items())
                parts.append(f"{argument}={{{', '.join(of)}}}")
        return f"Stop({', '.join(parts)}, check_every={self.check_every})"

    @property
    def _mappings(self) -> dict[str, Mapping[str, FloatArray]]:
        return {"evaluate": self.evaluate, "below": self.below, "above": self.above}

    @property
    def measures(self) -> dict[str, tuple[Measure, dict[str, FloatArray]]]:
        """Observables with parameters that end runs, and their limits by side, by name."""
        found: dict[str, tuple[Measure, dict[str, FloatArray]]] = {}
        for side, limits in (("below", self.below), ("above", self.above)):
            for text, limit in limits.items():
                row = measure_named(text)
                assert row is not None
                found.setdefault(row.name, (row, {}))[1][side] = limit
        return found

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the thresholds."""
        shapes: dict[str, Any] = {}
        if self.loss is not None:
            shapes["loss"] = self.loss.shape
        if self.gradient_norm is not None:
            shapes["gradient_norm"] = self.gradient_norm.shape
        for argument, arrays in self._mappings.items():
            for name, array in arrays.items():
                shapes[f"{argument}[{name!r}]"] = array.shape
        return validate.broadcast_runs(**shapes)


def _limits(argument: str, limits: object) -> Named[FloatArray]:
    """Return thresholds on observables with parameters, checked."""
    found: dict[str, FloatArray] = {}
    scalars = [row.name for row in PLAIN if row.is_scalar]
    for name, limit in validate.mapping(argument, limits).items():
        row = measure_named(name, argument)
        if row is None or not row.is_scalar:
            validate.choice(f"name of {argument}", name, scalars)
        found[name] = validate.real_array(f"{argument}[{name!r}]", limit)
    return Named(found)


def _shown(array: FloatArray) -> str:
    return f"<array {array.shape}>" if array.ndim else f"{array:g}"
