"""Training methods: how the gradient moves the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.methods.step_rule import StepRule

_MAX_STEPS = 100_000
_LEAST_RTOL = 1e-13  # below this rounding, not the method, is the error of a step


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientDescent:
    """Full-batch gradient descent, every layer at once.

    One step takes ``g = dloss/dW_l + weight_decay * W_l`` of all layers at the old weights, then
    moves ``W_l -= step_size * layer_multipliers[l] * g``. Time is ``step_size * step``.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        Positive, finite; one number or one per run. Or a rule by which it changes from step to step.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: the objective is loss + c/2 times the sum of squares of all weights.
    layer_multipliers : array_like, shape (*run, n_layers), optional
        Factors >= 0 on the step size of each layer. A layer with factor 0 stays as it is.

    Attributes
    ----------
    step_size : ndarray of float64, shape (*run), or StepRule
    weight_decay : ndarray of float64, shape (*run)
    layer_multipliers : ndarray of float64, shape (*run, n_layers), or None
        Read-only views of the arguments.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    Examples
    --------
    >>> GradientDescent(step_size=0.05)
    GradientDescent(step_size=0.05, weight_decay=0)
    >>> GradientDescent(step_size=[0.1, 0.01], layer_multipliers=[1.0, 0.5]).run_shape
    (2,)
    """

    step_size: FloatArray | StepRule
    weight_decay: FloatArray
    layer_multipliers: FloatArray | None

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
    ) -> None:
        step = step_size
        if not isinstance(step, StepRule):
            step = validate.real_array("step_size", step, above=0)
        decay = validate.real_array("weight_decay", weight_decay, at_least=0)
        multipliers = None
        if layer_multipliers is not None:
            multipliers = validate.real_array("layer_multipliers", layer_multipliers, at_least=0)
            if multipliers.ndim == 0:
                msg = "layer_multipliers must have shape (*run, n_layers), got ()"
                raise ValueError(msg)
        object.__setattr__(self, "step_size", step)
        object.__setattr__(self, "weight_decay", decay)
        object.__setattr__(self, "layer_multipliers", multipliers)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts: dict[str, object] = {
            "step_size": self.step_size,
            "weight_decay": self.weight_decay,
        }
        if self.layer_multipliers is not None:
            parts["layer_multipliers"] = self.layer_multipliers
        return f"{type(self).__name__}({_shown(parts | self._extra())})"

    def _extra(self) -> dict[str, object]:
        """Return what a subclass shows besides."""
        return {}

    @property
    def rule(self) -> StepRule | None:
        """The rule for the step size; None where it is constant."""
        return self.step_size if isinstance(self.step_size, StepRule) else None

    @property
    def constant_step_size(self) -> FloatArray:
        """The step size, where it is constant, shape (*run); else a ValueError."""
        if isinstance(self.step_size, StepRule):
            msg = f"step_size must be constant for this, got {self.step_size}"
            raise ValueError(msg)  # noqa: TRY004  (a rule is a valid type, not a valid choice here)
        return self.step_size

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        step = self.step_size
        shapes = {
            "step_size": step.run_shape if isinstance(step, StepRule) else step.shape,
            "weight_decay": self.weight_decay.shape,
        }
        if self.layer_multipliers is not None:
            shapes["layer_multipliers"] = self.layer_multipliers.shape[:-1]
        return validate.broadcast_runs(**shapes)

    def check_layers(self, n_layers: int) -> None:
        """Raise ValueError unless `layer_multipliers` are absent or one per layer.

        Parameters
        ----------
        n_layers : int
            Number of layers of the network to train.

        Raises
        ------
        ValueError
            If there are more or fewer multipliers than layers.

        Examples
        --------
        >>> GradientDescent(0.1, layer_multipliers=[1.0, 2.0]).check_layers(3)
        Traceback (most recent call last):
            ...
        ValueError: layer_multipliers must have shape (*run, 3), one per layer, got (2,)
        """
        if self.layer_multipliers is not None and self.layer_multipliers.shape[-1] != n_layers:
            got = self.layer_multipliers.shape
            msg = f"layer_multipliers must have shape (*run, {n_layers}), one per layer, got {got}"
            raise ValueError(msg)

    def layer_step_sizes(self, n_layers: int) -> FloatArray:
        """Return ``step_size * layer_multipliers``, the step size of each layer.

        Parameters
        ----------
        n_layers : int
            Number of layers of the network.

        Returns
        -------
        ndarray of float64, shape (*run, n_layers)
            With a rule, what its step sizes are multiplied by.

        Raises
        ------
        ValueError
            If `layer_multipliers` are not one per layer.

        Examples
        --------
        >>> GradientDescent([0.5, 0.25], layer_multipliers=[1.0, 2.0]).layer_step_sizes(2).tolist()
        [[0.5, 1.0], [0.25, 0.5]]
        """
        self.check_layers(n_layers)
        step = np.ones(()) if isinstance(self.step_size, StepRule) else self.step_size
        if self.layer_multipliers is None:
            return step[..., None].repeat(n_layers, axis=-1)
        return step[..., None] * self.layer_multipliers


@dataclass(frozen=True, eq=False, init=False, repr=False)
class StochasticGradientDescent(GradientDescent):
    """Gradient descent on samples that are drawn anew for every step.

    With `SphericalLogisticLoss` they are fresh samples of its law, with a `LogisticLoss` or
    `ExponentialLoss` samples of the data, drawn with replacement. What is recorded is the loss
    itself, not that of a batch.

    Parameters
    ----------
    step_size : array_like, shape (*run), or StepRule
        As of `GradientDescent`; a rule that looks at the loss or its gradient sees those of the
        batch.
    batch_size : int
        Samples per step, at least 1.
    seed : int, default 0
        0 to 2**64 - 1. With the stream of a run and the number of a step it decides the samples:
        they depend on nothing else, and a continued training goes on with those it would have had.
    streams : array_like of int, shape (*run), optional
        A number from 0 to 2**32 - 1 for each run; runs with the same one see the same samples. By
        default runs are numbered in C order.
    weight_decay, layer_multipliers
        As of `GradientDescent`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
    (Philox4x32-10, the generator).

    Examples
    --------
    >>> StochasticGradientDescent(1e-3, batch_size=1000, seed=7)
    StochasticGradientDescent(step_size=0.001, weight_decay=0, batch_size=1000, seed=7)
    """

    batch_size: int
    seed: int
    streams: npt.NDArray[np.int64] | None

    def __init__(
        self,
        step_size: npt.ArrayLike | StepRule,
        batch_size: int,
        seed: int = 0,
        streams: npt.ArrayLike | None = None,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
    ) -> None:
        size = validate.integer("batch_size", batch_size, low=1, high=2**31)
        object.__setattr__(self, "batch_size", size)
        object.__setattr__(self, "seed", validate.integer("seed", seed, low=0, high=2**64 - 1))
        numbers = None
        if streams is not None:
            if np.asarray(streams).dtype.kind not in "iu":
                msg = f"streams must be integers, got dtype {np.asarray(streams).dtype}"
                raise TypeError(msg)
            numbers = validate.real_array("streams", streams, at_least=0, dtype=np.int64)
            validate.refuse("streams", "< 2**32", numbers, numbers >= 2**32)
        object.__setattr__(self, "streams", numbers)
        super().__init__(step_size, weight_decay, layer_multipliers)

    def _extra(self) -> dict[str, object]:
        return {"batch_size": self.batch_size, "seed": self.seed}

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        streams = () if self.streams is None else self.streams.shape
        return validate.broadcast_runs(parameters=super().run_shape, streams=streams)

    def streams_of(self, runs: Shape) -> npt.NDArray[np.int64]:
        """Return the stream of each run.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes.

        Returns
        -------
        ndarray of int64, shape (*runs)

        Raises
        ------
        ValueError
            If there are more than 2**32 runs.

        Examples
        --------
        >>> StochasticGradientDescent(1e-3, 10).streams_of((2, 2)).tolist()
        [[0, 1], [2, 3]]
        """
        if self.streams is not None:
            return np.broadcast_to(self.streams, runs)
        validate.integer("number of runs", math.prod(runs), low=0, high=2**32)
        return np.arange(math.prod(runs), dtype=np.int64).reshape(runs)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientFlow:
    """Gradient flow, dW_l/dt = -(dloss/dW_l + weight_decay * W_l), integrated to a tolerance.

    It is where gradient descent goes as its step size goes to 0. The integrator is the explicit
    Runge-Kutta method of order 8 by Dormand and Prince, with dense output of order 7 for the
    records. Every run has a step size of its own, so that a slow run holds no other back.

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
        Steps a run may take, refused ones included; a run that needs more ends as `EXHAUSTED`.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: the objective is loss + c/2 times the sum of squares of all weights.
    log_time : bool, default False
        If True, every time of the training, of its records and of its end, is u = log(1 + t) in
        place of t, and steps are taken in u: for flows that slow down for ever, such as to the
        maximum margin, which can go to u = 1000. There they take steps in proportion to u times the
        square of the largest norm of a sample over the margin: mind `max_steps`.

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

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd edition,
    Springer 1993, sections II.5 and II.6 (DOP853).

    Examples
    --------
    >>> GradientFlow(rtol=1e-10)
    GradientFlow(rtol=1e-10, weight_decay=0)
    """

    rtol: FloatArray
    atol: FloatArray | None
    max_steps: int
    weight_decay: FloatArray
    log_time: bool

    def __init__(
        self,
        rtol: npt.ArrayLike = 1e-8,
        atol: npt.ArrayLike | None = None,
        max_steps: int = _MAX_STEPS,
        weight_decay: npt.ArrayLike = 0.0,
        log_time: bool = False,
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
        object.__setattr__(self, "log_time", validate.instance("log_time", log_time, bool))
        object.__setattr__(self, "weight_decay", decay)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts: dict[str, object] = {"rtol": self.rtol}
        if self.atol is not None:
            parts["atol"] = self.atol
        if self.max_steps != _MAX_STEPS:
            parts["max_steps"] = self.max_steps
        parts["weight_decay"] = self.weight_decay
        if self.log_time:
            parts["log_time"] = True
        return f"GradientFlow({_shown(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        shapes = {"rtol": self.rtol.shape, "weight_decay": self.weight_decay.shape}
        if self.atol is not None:
            shapes["atol"] = self.atol.shape
        return validate.broadcast_runs(**shapes)

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
        if self.atol is not None:
            return self.atol
        least = np.asarray(np.inf)
        for array in weights:
            inner = tuple(range(n_run_axes, array.ndim))
            stored = validate.unbroadcast(array, keep=len(inner))
            size = np.sqrt(np.mean(np.square(stored), axis=inner))
            least = np.minimum(least, np.where(size > 0, size, np.inf))
        # Nothing to be relative to: a start at zero has no scale.
        scale = np.where(np.isfinite(least), least, 1.0)
        return np.maximum(self.rtol * scale, np.finfo(np.float64).tiny)


Method: TypeAlias = GradientDescent | GradientFlow


def check_length(method: object, n_steps: object, until: object) -> None:
    """Raise TypeError unless a method has its own measure of length, and only that.

    Parameters
    ----------
    method : GradientDescent or GradientFlow
        Measured in steps, or in time.
    n_steps, until : object
        What was given, None if nothing.

    Raises
    ------
    TypeError
        If `method` is neither, its measure is missing, or the other one is given.
    """
    if not isinstance(method, GradientDescent | GradientFlow):
        msg = f"method must be a GradientDescent or a GradientFlow, got {type(method).__name__}"
        raise TypeError(msg)
    if isinstance(method, GradientDescent):
        wanted, given, other = "n_steps", n_steps, until
    else:
        wanted, given, other = "until", until, n_steps
    if other is not None:
        length = "n_steps, the number of steps" if wanted == "n_steps" else "until, a time"
        name = "until" if wanted == "n_steps" else "n_steps"
        msg = f"{type(method).__name__} must be given {length}, and not {name}"
        raise TypeError(msg)
    if given is None:
        msg = f"{wanted} must be given with {type(method).__name__}"
        raise TypeError(msg)


def _shown(parts: Mapping[str, object]) -> str:
    """Return arguments as text: numbers, and only the shapes of arrays."""
    texts = []
    for name, part in parts.items():
        if isinstance(part, np.ndarray):
            texts.append(f"{name}=<array {part.shape}>" if part.ndim else f"{name}={part:g}")
        else:
            texts.append(f"{name}={part}")
    return ", ".join(texts)
