"""Training of a linear network on spherically symmetric data, reduced to a norm and an angle.

The inputs x have a spherically symmetric law, the labels are sgn(v.x), the loss is logistic, and the layers
are balanced at the start. Then only two numbers move: the norm r of the end-to-end vector w and its angle to
v, whatever the widths and the dimension. With s = ln tan(angle / 2) and L layers, gradient flow is ::

    ds/dt = -kappa r^(1 - 2/L),    dr/dt = L r^(2 - 2/L) (h(r) - kappa (1 - cos(angle)))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import machine, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.directional_convergence import _polar
from linnet_fast.directional_convergence.closed_forms import passage_time
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law
from linnet_fast.methods.step_rule import KINDS, StepRule, rule_parts

_MOST_STEPS = 2**53 - 1


class TurningPoint(NamedTuple):
    """Where the norm of the end-to-end vector is the least.

    Attributes
    ----------
    time : ndarray of float64, shape (*run)
        0 where the norm never shrinks. Where it shrinks for ever, or as long as it was followed: inf along
        the flow, NaN along descent.
    norm : ndarray of float64, shape (*run)
        The least norm; along descent NaN where `time` is.
    log_tan_half_angle : ndarray of float64, shape (*run)
        There.
    step : ndarray of int64, shape (*run), or None
        Step of descent, -1 where there is none; None of the flow.
    """

    time: FloatArray
    norm: FloatArray
    log_tan_half_angle: FloatArray
    step: npt.NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class _Start:
    """Where the flow of runs starts."""

    shape: Shape
    runs: dict[str, Any]  # arguments of the core
    rtol: float


@dataclass(frozen=True, eq=False, repr=False)
class ReducedTrajectory:
    """Norm and angle of the end-to-end vector along training, at the records.

    Made by `reduced_flow` and `reduced_descent`. Arrays are (*run, record), or (*run) for a single time or step.

    Attributes
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number of layers.
    label_noise : ndarray of float64, shape (*run)
        Probability that a label is flipped.
    time : ndarray of float64
        Flow time; of descent the sum of the step sizes.
    steps : ndarray of int64, shape (record,) or (), or None
        Steps of descent; None of the flow.
    log_tan_half_angle : ndarray of float64
        s = ln tan(angle / 2): from +inf at angle pi to -inf at angle 0. Far below, the angle is 2 e^s.
    log_norm : ndarray of float64
        Natural logarithm of the norm.
    """

    law: SphericalLaw
    n_layers: int
    label_noise: FloatArray
    time: FloatArray
    steps: npt.NDArray[np.int64] | None
    log_tan_half_angle: FloatArray
    log_norm: FloatArray
    _turning: TurningPoint | _Start

    def __repr__(self) -> str:
        """Show what was followed, not the arrays."""
        kind = "flow" if self.steps is None else "descent"
        shape = self.log_norm.shape
        return f"<ReducedTrajectory of {kind}: {self.law}, n_layers={self.n_layers}, {shape=}>"

    @property
    def angle(self) -> FloatArray:
        """Angle to the direction of the labels, in [0, pi]; relatively accurate, 0 where it underflows."""
        return _polar.angle(self.log_tan_half_angle)

    @property
    def norm(self) -> FloatArray:
        """Norm of the end-to-end vector."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.log_norm)

    @property
    def one_minus_cos(self) -> FloatArray:
        """1 - cos(angle), without cancellation."""
        return _polar.one_minus_cos(self.log_tan_half_angle)

    @property
    def test_error(self) -> FloatArray:
        """Probability that the sign of w.x is not that of v.x: angle / pi, for every law."""
        return self.angle / np.pi

    @property
    def loss(self) -> FloatArray:
        """Logistic loss of the population, also relatively accurate for tiny angles."""
        return _polar.loss(*self._at())

    @property
    def radial_pull(self) -> FloatArray:
        """-gradient of the loss by the end-to-end vector, along that vector; norm times it is N(w)."""
        return _polar.radial_pull(*self._at())

    @property
    def radial_speed(self) -> FloatArray:
        """dr/dt of the flow of balanced layers from here: L r^(2 - 2/L) times `radial_pull`."""
        pace: FloatArray = np.exp((2 - 2 / self.n_layers) * self.log_norm)
        return self.n_layers * pace * self.radial_pull

    @property
    def is_shrinking(self) -> npt.NDArray[np.bool_]:
        """Whether the flow shrinks the norm: the first of the two phases."""
        return np.asarray(self.radial_pull < 0)

    @property
    def alignment_rate(self) -> FloatArray:
        """-ds/dt of the flow of balanced layers from here: (1 - 2 label_noise) kappa r^(1 - 2/L)."""
        pace: FloatArray = np.exp((1 - 2 / self.n_layers) * self.log_norm)
        return (1 - 2 * self._noise()) * self.law.kappa * pace

    def turning_point(self) -> TurningPoint:
        """Return where the norm is the least.

        Returns
        -------
        TurningPoint
            Of the flow to the accuracy of its integration, whatever the times of the records. Of descent
            the first step that does not shrink the norm starts there, if it is within the steps taken.

        Examples
        --------
        >>> from linnet_fast.laws import Sphere
        >>> run = reduced_flow(Sphere(2), 1, log_tan_half_angle=np.log(3), norm=1.0, time=10.0)
        >>> turn = run.turning_point()
        >>> round(float(turn.time), 3), round(float(turn.norm), 5)
        (2.449, 0.45247)
        """
        if isinstance(self._turning, TurningPoint):
            return self._turning
        start = self._turning
        time, s, log_norm = _core.reduced_flow_turn(**start.runs, rtol=start.rtol)
        return _turning_point(start.shape, time, log_norm, s, None)

    def _noise(self) -> FloatArray:
        return self.label_noise[(...,) + (None,) * (self.log_norm.ndim - self.label_noise.ndim)]

    def _at(self) -> tuple[SphericalLaw, FloatArray, FloatArray, FloatArray]:
        return self.law, self.log_tan_half_angle, self.norm, self._noise()


def reduced_flow(
    law: SphericalLaw,
    n_layers: int,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
    time: npt.ArrayLike,
    label_noise: npt.ArrayLike = 0.0,
    rtol: float = 1e-12,
    n_threads: int | None = None,
) -> ReducedTrajectory:
    """Follow norm and angle along the gradient flow of balanced layers.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Number of layers, >= 1.
    angle : array_like, shape (*run)
        Angle between the end-to-end vector and the direction of the labels at time 0, in [0, pi]. Either
        this or `log_tan_half_angle`. ``numpy.pi`` is taken for pi itself.
    log_tan_half_angle : array_like, shape (*run)
        ln tan(angle / 2), from -1e15 to 1e6; or inf at angle pi, -inf at angle 0.
    norm : array_like, shape (*run)
        Norm of the end-to-end vector at time 0, > 0; or 0 with a single layer.
    time : array_like, shape (n_times,) or ()
        Times >= 0, in any order.
    label_noise : array_like, shape (*run), default 0
        Probability in [0, 1/2) that a label is flipped.
    rtol : float, default 1e-12
        Of the norm, and of s = ln tan(angle / 2) where that is beyond 1, in each step of the integration. From
        1e-13 to 1e-2.
    n_threads : int, optional
        At most as many threads as runs are used. Default: as for `train`.

    Returns
    -------
    ReducedTrajectory
        Errors of s and of ln r are some 1e-11 at the default `rtol`, times the condition of the problem. s is
        -inf where it is beyond the range of floating point.

    Raises
    ------
    TypeError
        If an argument has a wrong type, or neither or both of the angles are given.
    ValueError
        If a number is out of range, or run axes do not broadcast.
    MemoryError
        If the result would not fit, naming the bytes; before any work.

    Notes
    -----
    The method is that of Dormand and Prince of order 8. A single layer is followed in time by its components
    along v and across (by the logarithm), which is smooth also where it passes through zero, as it does
    from angle pi; it is aligned from there on. With more layers angle pi stays for ever, and elsewhere s
    serves as the clock, so that it does not matter for how long the norm stays tiny; a time between two
    steps is found by Newton's method. Steps of the integrator get longer in proportion to time.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under Spherically
    Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> run = reduced_flow(Gaussian(2), 3, angle=2.5, norm=2.0, time=[0, 50, 1e4])
    >>> run.norm.round(4).tolist(), run.log_tan_half_angle.round(3).tolist()
    ([2.0, 17.9135, 511.9797], [1.102, -35.982, -26564.446])
    """
    at = validate.real_array("time", time, at_least=0)
    if at.ndim > 1:
        msg = f"time must have shape (n_times,), got {at.shape}"
        raise ValueError(msg)
    tolerance = validate.real("rtol", rtol, at_least=1e-13)
    validate.refuse("rtol", "<= 0.01", np.asarray(tolerance), np.asarray(tolerance > 0.01))
    runs, shape = _runs(
        law, n_layers, angle, log_tan_half_angle, norm, label_noise, n_threads, n_records=at.size
    )
    unique, where = np.unique(at, return_inverse=True)
    found = _core.reduced_flow(**runs, rtol=tolerance, times=unique)
    records = (*shape, *at.shape)
    s, log_norm = (x[:, where.ravel()].reshape(records) for x in found)
    return ReducedTrajectory(
        law=law,
        n_layers=runs["n_layers"],
        label_noise=runs["label_noise"].reshape(shape),
        time=np.broadcast_to(at, records),
        steps=None,
        log_tan_half_angle=s,
        log_norm=log_norm,
        _turning=_Start(shape, runs, tolerance),
    )


def reduced_descent(
    law: SphericalLaw,
    n_layers: int,
    *,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    norm: npt.ArrayLike,
    step_size: npt.ArrayLike | StepRule,
    steps: npt.ArrayLike,
    label_noise: npt.ArrayLike = 0.0,
    n_threads: int | None = None,
) -> ReducedTrajectory:
    """Follow norm and angle along gradient descent on the population, by the exact recursion.

    Parameters
    ----------
    law, n_layers, angle, log_tan_half_angle, norm, label_noise, n_threads
        As for `reduced_flow`.
    step_size : array_like, shape (*run), or StepRule
        Positive.
    steps : array_like of int, shape (n_steps,) or ()
        Steps >= 0 to record, in any order: ``range(n + 1)`` for all of the first n. A step takes
        some 0.1 microseconds a run, so 10^9 take some two minutes; Ctrl-C stops a call.

    Returns
    -------
    ReducedTrajectory
        inf or NaN where a run diverges.

    Raises
    ------
    TypeError
        If an argument has a wrong type, or neither or both of the angles are given.
    ValueError
        If a number is out of range, run axes do not broadcast, or the rule is `StepRule.alignment` and there
        are more layers than one.
    MemoryError
        If the result would not fit, naming the bytes; before any work.

    Notes
    -----
    A single layer goes to w + step_size (kappa v - q(r) w / r). Of balanced layers of any widths, all stay of
    rank one and all but the first keep a common norm a; the first has the vector w_1, and ::

        w_1 <- w_1 - step_size a^(L - 1) g,    a <- a - step_size a^(L - 2) w_1.g

    with g the gradient by the end-to-end vector a^(L - 1) w_1. Steps that overshoot are followed too. The
    component across v is kept with an exponent of its own, so the angle stays relatively accurate however
    small it is.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under Spherically
    Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> run = reduced_descent(
    ...     Gaussian(2), 1, angle=2.5, norm=2.0, step_size=1.0, steps=[0, 10, 10**6]
    ... )
    >>> run.norm.round(4).tolist(), run.log_tan_half_angle.round(3).tolist()
    ([2.0, 1.6499, 125.3042], [1.102, -3.211, -4798.748])
    """
    kind, scale, parameters = rule_parts(step_size)
    at = _steps(steps)
    runs, shape = _runs(
        law,
        n_layers,
        angle,
        log_tan_half_angle,
        norm,
        label_noise,
        n_threads,
        n_records=at.size,
        step_size=scale,
        rule=parameters[..., 0],
    )
    runs["scale"], size = runs.pop("step_size"), parameters.shape[-1]
    del runs["rule"]
    runs["parameters"] = np.ascontiguousarray(np.broadcast_to(parameters, (*shape, size))).reshape(
        -1, size
    )
    if kind == "alignment" and runs["n_layers"] > 1:
        msg = f"step_size must be another rule with more than one layer, got {step_size!r}"
        raise ValueError(msg)
    unique, where = np.unique(at, return_inverse=True)
    *records, step, turn_time, turn_s, turn_norm = _core.reduced_descent(
        **runs, kind=KINDS.index(kind), steps=unique.astype(np.int64)
    )
    s, log_norm, time = (x[:, where.ravel()].reshape((*shape, *at.shape)) for x in records)
    return ReducedTrajectory(
        law=law,
        n_layers=runs["n_layers"],
        label_noise=runs["label_noise"].reshape(shape),
        time=time,
        steps=at,
        log_tan_half_angle=s,
        log_norm=log_norm,
        _turning=_turning_point(shape, turn_time, turn_norm, turn_s, step),
    )


def time_to_angle(
    law: SphericalLaw,
    n_layers: int,
    *,
    norm: npt.ArrayLike,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
    to_angle: npt.ArrayLike | None = None,
    to_log_tan_half_angle: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> FloatArray:
    """Return the time that balanced gradient flow takes to an angle.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers, >= 1.
    norm : array_like, shape (*run)
        Norm of the end-to-end weights at the start, > 0.
    angle, log_tan_half_angle : array_like, shape (*run)
        Angle at the start in [0, pi], or ln tan of its half, as for `reduced_flow`: give one.
    to_angle, to_log_tan_half_angle : array_like, shape (*run)
        Angle to reach in (0, pi), or ln tan of its half, as small as you like: give one. All run
        axes broadcast.
    n_threads : int, optional
        As for `reduced_flow`.

    Returns
    -------
    ndarray of float64, shape (*run)
        To a relative accuracy of about 1e-9, whatever the norm and the angles. 0 if the angle is not larger
        at the start; inf from angle pi, except with one layer, whose weights pass through 0 and are then
        aligned; infinite or 0 also where it is beyond the range of floating point.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or not one form of an angle is given.
    ValueError
        If a number is out of range or run axes do not broadcast.
    MemoryError
        If the result would not fit, naming the bytes; before any work.

    See Also
    --------
    LateTimeLaw.time_to : a formula for late times.

    Notes
    -----
    As s = ln tan(theta / 2) falls steadily it serves as the clock, so no event has to be searched: ln r and
    the time are integrated along it. With two layers the time is the change of s over kappa.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> time = time_to_angle(Gaussian(3), 2, norm=2.0, angle=2.5, to_angle=1e-3)
    >>> float(time.round(3))
    21.814
    """
    checked_law(law)
    depth = _polar.depth(n_layers)
    r = validate.real_array("norm", norm, above=0)
    begin = _polar.start(angle, log_tan_half_angle)
    target = _polar.half_angle(to_angle, to_log_tan_half_angle, "to_", between=True)
    threads = machine.checked_threads(n_threads)
    shape = _polar.result_shape(norm=r.shape, angle=begin.shape, to_angle=target.shape)
    r, begin, target = (np.broadcast_to(x, shape) for x in (r, begin, target))
    time = np.zeros(shape)
    behind = np.isposinf(begin)
    if behind.any():
        time[behind] = passage_time(law, norm=r[behind]) if depth == 1 else np.inf
    moves = (begin > target) & ~behind
    if depth == 2:
        with np.errstate(over="ignore"):
            time[moves] = (begin[moves] - target[moves]) / law.kappa
    elif moves.any():
        time[moves] = _core.reduced_flow_time(
            table=law.table,
            n_layers=depth,
            s=begin[moves],
            norm=r[moves],
            label_noise=np.zeros(np.count_nonzero(moves)),
            rtol=1e-12,
            to_s=target[moves],
            n_threads=threads,
        )
    return time[()]


def _turning_point(
    shape: Shape,
    time: FloatArray,
    log_norm: FloatArray,
    s: FloatArray,
    step: npt.NDArray[np.int64] | None,
) -> TurningPoint:
    with np.errstate(under="ignore"):
        norm = np.exp(log_norm)
    time, norm, s = (x.reshape(shape)[()] for x in (time, norm, s))
    return TurningPoint(time, norm, s, None if step is None else step.reshape(shape)[()])


def _steps(steps: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return steps to record."""
    at = validate.integer_array("steps", steps, low=0, high=_MOST_STEPS)
    if at.ndim > 1:
        msg = f"steps must have shape (n_steps,), got {at.shape}"
        raise ValueError(msg)
    return at


def _runs(
    law: SphericalLaw,
    n_layers: int,
    angle: npt.ArrayLike | None,
    log_tan_half_angle: npt.ArrayLike | None,
    norm: npt.ArrayLike,
    label_noise: npt.ArrayLike,
    n_threads: int | None,
    *,
    n_records: int,
    **more: FloatArray,
) -> tuple[dict[str, Any], Shape]:
    """Return arguments that the functions of the core have in common, and the shape of the run axes."""
    checked_law(law)
    depth = _polar.depth(n_layers)
    arrays = {
        "s": _polar.start(angle, log_tan_half_angle),
        "norm": _polar.norms(norm, depth),
        "label_noise": _polar.noise(label_noise),
        **more,
    }
    threads = machine.checked_threads(n_threads)
    shapes = {"angle" if name == "s" else name: x.shape for name, x in arrays.items()}
    # Arguments and turning points; records, twice as they are put in the order asked for.
    shape = _polar.result_shape(per_entry=96 + 48 * n_records, **shapes)
    runs: dict[str, Any] = {
        name: np.ascontiguousarray(np.broadcast_to(x, shape)).ravel() for name, x in arrays.items()
    }
    return {**runs, "table": law.table, "n_layers": depth, "n_threads": threads}, shape
