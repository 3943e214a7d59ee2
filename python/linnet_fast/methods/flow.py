"""Gradient flow: where gradient descent goes as its steps go to 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.base import Method

_MAX_STEPS = 100_000
KINDS = ("explicit", "auto", "stiff")
"""Ways to integrate; their places are the numbers by which the compiled core knows them."""

_LEAST_RTOL = 1e-13  # below this rounding, not the method, is the error of a step


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientFlow(Method):
    """Gradient flow, dW_l/dt = -(dloss/dW_l + weight_decay * W_l), integrated to a tolerance.

    It is where gradient descent goes as its step size goes to 0. The integrator is the explicit
    Runge-Kutta method of order 8 by Dormand and Prince, with dense output of order 7 for the
    records; for flows that are stiff, one of order 2 whose stages are stable for steps in proportion
    to the square of their number, with dense output of order 3. Every run has a step size of its own,
    so that a slow run holds no other back.

    Parameters
    ----------
    rtol : array_like, shape (*run), default 1e-8
        Error allowed in a step, relative to the norm of each layer; 1e-13 to 0.1. Steps are also so
        short that components far smaller than their layer grow with this relative accuracy, which
        is what decides when a mode escapes from a small start.
    atol : array_like, shape (*run), optional
        Positive: error allowed in a step in the root mean square entry of a layer, added to that of
        `rtol`. By default `rtol` times the least such entry of the layers at the start that are not
        zero: set by hand, it should be far below the scale of the start.
    max_steps : int, default 100000
        Steps a run may take in a training, refused ones included; a run that needs more ends as
        `EXHAUSTED`, and goes on from there where the training is continued.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: the objective is loss + c/2 times the sum of squares of all weights.
    log_time : bool, default False
        If True, every time of the training, of its records and of its end, is u = log(1 + t) in
        place of t (`Trajectory.linear_time` has t), and steps are taken in u: for flows that slow down for ever, such as to the
        maximum margin, which can go to u = 1000. There they take steps in proportion to u times the
        square of the largest norm of a sample over the margin: mind `max_steps`.
    method : {"explicit", "auto", "stiff"}, default "explicit"
        The method of order 8; that for stiff flows; or the first until its steps are kept short by
        nothing but stability, and the second as long as it takes longer ones, for each run by itself.
        A flow is stiff where most directions have long come to rest and others go on for thousands of
        times as long.

    Attributes
    ----------
    rtol, weight_decay : ndarray of float64, shape (*run)
    atol : ndarray of float64, shape (*run), or None

    Raises
    ------
    TypeError
        If an argument is not made of real numbers, or `max_steps` is not an integer.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    Notes
    -----
    "auto" asks every 1000 steps whether a run is stiff: runs of fewer steps have the bits of
    "explicit". In steps of the stiff method components far smaller than their layer grow by a factor
    e with a relative accuracy of about rtol^(1/3) / 6 rather than `rtol`; all else is as accurate as
    elsewhere. It knows no control of angles: where they are recorded, "auto" is "explicit", and
    "stiff" is refused.

    Where ``angle`` or ``log_tan_half_angle`` is recorded, steps are also so short that the part of
    the end-to-end vector across the direction has the relative accuracy `rtol` in each step,
    however small it is: angles are right to some 1e-6 of their size by default. Under a spherical
    law with a dense first layer the flow is followed in coordinates in which the direction is an
    axis, for the parts not to cancel. Angles of which nothing but rounding is left (as of layers
    that started with parts across that do not decay), or below 1e-280, are NaN, with a warning.
    What is continued begins at the angle that its weights have to their rounding.

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd edition,
    Springer 1993, sections II.5 and II.6 (DOP853). B. P. Sommeijer, L. F. Shampine, J. G. Verwer,
    "RKC: An explicit solver for parabolic PDEs", Journal of Computational and Applied Mathematics 88,
    1998 (the one for stiff flows).

    Examples
    --------
    >>> GradientFlow(rtol=1e-10)
    GradientFlow(rtol=1e-10, weight_decay=0)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"rtol": 0, "atol": 0, "weight_decay": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"method": KINDS[0]})
    counts_steps: ClassVar[bool] = False
    of_core: ClassVar[bool] = True

    rtol: FloatArray
    atol: FloatArray | None
    max_steps: int
    weight_decay: FloatArray
    log_time: bool
    method: str

    def __init__(
        self,
        rtol: npt.ArrayLike = 1e-8,
        atol: npt.ArrayLike | None = None,
        max_steps: int = _MAX_STEPS,
        weight_decay: npt.ArrayLike = 0.0,
        log_time: bool = False,
        method: str = KINDS[0],
    ) -> None:
        relative = validate.real_array("rtol", rtol, at_least=_LEAST_RTOL)
        if (relative > 0.1).any():
            msg = f"rtol must be <= 0.1, got {relative.max():g}"
            raise ValueError(msg)
        absolute = None if atol is None else validate.real_array("atol", atol, above=0)
        steps = validate.integer("max_steps", max_steps, low=1, high=2**62)
        decay = validate.real_array("weight_decay", weight_decay, at_least=0)
        object.__setattr__(self, "rtol", relative)
        object.__setattr__(self, "atol", absolute)
        object.__setattr__(self, "max_steps", steps)
        object.__setattr__(self, "log_time", validate.flag("log_time", log_time))
        object.__setattr__(self, "method", validate.choice("method", method, KINDS))
        object.__setattr__(self, "weight_decay", decay)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        parts: dict[str, object] = {"rtol": self.rtol}
        if self.atol is not None:
            parts["atol"] = self.atol
        if self.max_steps != _MAX_STEPS:
            parts["max_steps"] = self.max_steps
        parts["weight_decay"] = self.weight_decay
        if self.log_time:
            parts["log_time"] = True
        if self.method != KINDS[0]:
            parts["method"] = self.method
        return parts

    @property
    def is_equivariant(self) -> bool:
        """True."""
        return True

    @property
    def is_plain(self) -> bool:
        """True."""
        return True

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return what the core takes, but for the absolute tolerance: it depends on the start."""
        return {
            "rtol": validate.over_runs(self.rtol, runs, 0),
            "log_time": self.log_time,
            "kind": KINDS.index(self.method),
            "max_steps": self.max_steps,
        }

    @property
    def relative_error(self) -> float:
        """The largest `rtol`: a step is right to that."""
        return float(self.rtol.max())

    def absolute_tolerance(self, weights: tuple[WeightArray, ...], n_run_axes: int) -> FloatArray:
        """Return `atol`, or what it is by default for these start weights.

        Parameters
        ----------
        weights : tuple of ndarray, shapes (*run, ...)
            Start weights.
        n_run_axes : int
            Number of their run axes.

        Returns
        -------
        ndarray of float64, shape (*run) or one that broadcasts to it
            Positive.

        Examples
        --------
        >>> import numpy as np
        >>> start = (np.full((3, 2), 1e-6), np.full((2, 3), 1e-4))
        >>> float(GradientFlow(rtol=1e-8).absolute_tolerance(start, 0))
        1e-14
        """
        lead = validate.integer("n_run_axes", n_run_axes, low=0, high=30)
        arrays = validate.sequence("weights", weights, of="arrays")
        if self.atol is not None:
            return self.atol
        least = np.asarray(np.inf)
        for layer, given in enumerate(arrays):
            array = validate.floating(f"weights[{layer}]", given, ())
            if array.size == 0:
                msg = f"weights[{layer}] must not be empty, got shape {array.shape}"
                raise ValueError(msg)
            inner = tuple(range(lead, array.ndim))
            stored = validate.unbroadcast(array, keep=len(inner))
            with np.errstate(over="ignore"):  # of huge weights there is no tolerance that helps
                size = np.sqrt(np.mean(np.square(stored), axis=inner))
            try:
                least = np.minimum(least, np.where(size > 0, size, np.inf))
            except ValueError:
                msg = f"weights[{layer}] must have run axes that broadcast, got {array.shape}"
                raise ValueError(msg) from None
        # Nothing to be relative to: a start at zero has no scale.
        scale = np.where(np.isfinite(least), least, 1.0)
        return np.maximum(self.rtol * scale, np.finfo(np.float64).tiny)
