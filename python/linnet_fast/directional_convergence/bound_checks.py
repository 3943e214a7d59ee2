"""Trajectories against the bounds that apply to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate, wording
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _growth
from linnet_fast.directional_convergence._records import check_records, depth_of, time_of
from linnet_fast.directional_convergence.bounds import (
    deep_flow_angle_bounds,
    flow_angle_bound,
    global_bounds,
    norm_bounds,
)
from linnet_fast.directional_convergence.descent_bounds import (
    checked_step_sizes,
    descent_angle_bound,
    descent_angle_bound_behind,
)
from linnet_fast.directional_convergence.phases import PhaseSwitch, falling_time_bound
from linnet_fast.directional_convergence.rates import DirectionTrajectory
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law
from linnet_fast.methods.base import Method

_LEAST = 1e-8  # tolerance of what is exact but for rounding

_Bound = tuple[str, str, bool, FloatArray]  # name, quantity, whether it is above, values


@dataclass(frozen=True)
class BoundCheck:
    """One bound against a trajectory; over all runs and records but that where it starts.

    Attributes
    ----------
    name : str
        Which bound.
    quantity : str
        What it bounds: ``log_tan_half_angle``, ``log_norm`` or ``time`` (of the smallest norm).
    n_checked, n_violations : int
        Records compared, and those beyond the bound by more than the tolerance.
    largest_excess : float
        How far the quantity goes beyond the bound, 0 if it never does.
    tightest_gap : float
        The least that it stays away from the bound (negative if it does not), inf if none.
    """

    name: str
    quantity: str
    n_checked: int
    n_violations: int
    largest_excess: float
    tightest_gap: float


@dataclass(frozen=True)
class BoundTable:
    """Checks of all bounds that apply to a trajectory; iterates over them, prints as a table.

    Attributes
    ----------
    rows : tuple of BoundCheck
        One for each bound.

    See Also
    --------
    check_bounds : makes it.
    """

    rows: tuple[BoundCheck, ...]

    def __iter__(self) -> Iterator[BoundCheck]:
        """Go over the checks."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of bounds."""
        return len(self.rows)

    @property
    def n_violations(self) -> int:
        """Of all bounds together."""
        return sum(row.n_violations for row in self.rows)

    def __str__(self) -> str:
        """Return a table with a line for each bound."""
        lines = [("bound", "on", "records", "violations", "excess", "gap")]
        lines += [
            (
                row.name,
                row.quantity,
                str(row.n_checked),
                str(row.n_violations),
                f"{row.largest_excess:.3g}",
                f"{row.tightest_gap:.3g}",
            )
            for row in self.rows
        ]
        return "\n".join(wording.columns(lines, left=2))


def check_bounds(
    trajectory: DirectionTrajectory,
    law: SphericalLaw | None = None,
    n_layers: int | None = None,
    *,
    start: int = 0,
    step_size: npt.ArrayLike | None = None,
    switch: PhaseSwitch | None = None,
    printed: bool = False,
    tolerance: float | None = None,
) -> BoundTable:
    """Compare a trajectory with every bound that applies to it.

    Parameters
    ----------
    trajectory : trajectory
        Its time, log_tan_half_angle and norm are used; they broadcast to (*run, n_rec). Records
        that are not finite are left out. Flows in logarithmic time are compared in time.
    law : SphericalLaw, optional
        Of the inputs; by default what the trajectory says.
    n_layers : int, optional
        Layers of the balanced network; by default what the trajectory says.
    start : int, default 0
        Record from which the bounds start.
    step_size : array_like, shape (*run, n_steps) or (*run, 1), optional
        Those of gradient descent on one layer from that record on, a single one if constant. Then
        its bounds are checked, otherwise those of gradient flow.
    switch : PhaseSwitch, optional
        Where the norm turns, with times since the start record and shapes that broadcast to (*run,
        1). By default the first record whose norm rises; records before it have the bounds of the
        falling norm.
    printed : bool, default False
        As for `deep_flow_angle_bounds`.
    tolerance : float, optional
        Excess that is no violation, relative to the quantity where that is above 1. By default
        what the method of the trajectory leaves open: 100 times the ``rtol`` of a gradient flow,
        the steps of a descent times the rounding of its weights, which counts for as much of the
        angle itself, and never less than 1e-8.

    Returns
    -------
    BoundTable

    Raises
    ------
    TypeError
        If an argument has the wrong type, or law or number of layers are not known.
    ValueError
        If shapes do not fit, a start record is not finite, labels are noisy, step sizes are given
        with more than one layer, or a training was neither plain descent nor flow.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from linnet_fast.laws import Gaussian
    >>> time = np.array([0.0, 10.0, 50.0])  # a flow of two layers, by its closed form
    >>> s = 1.10179710305 - Gaussian(3).kappa * time
    >>> run = SimpleNamespace(time=time, log_tan_half_angle=s, norm=np.array([2, 3.4485, 9.9483]))
    >>> table = check_bounds(run, Gaussian(3), 2)
    >>> table.n_violations, [row.name for row in table][:3]
    (0, ['global, above', 'global, below', 'norm, above'])
    """
    check_records(trajectory, ("time", "log_tan_half_angle", "norm"))
    loss = getattr(trajectory, "loss_function", None)
    known = law if law is not None else getattr(trajectory, "law", None)
    if known is None:
        known = getattr(loss, "law", None)
    law = checked_law(known)
    depth: Any = n_layers if n_layers is not None else depth_of(trajectory)
    depth = validate.integer("n_layers", depth, low=1, high=1000)
    if any(np.any(getattr(part, "label_noise", 0)) for part in (trajectory, loss)):
        msg = "trajectory must have no label_noise, which no bound allows for, got some"
        raise ValueError(msg)
    _check_method(trajectory)
    validate.flag("printed", printed)
    if switch is not None:
        validate.instance("switch", switch, PhaseSwitch)
    made: Any = getattr(trajectory, "method", None)
    if isinstance(made, Method) and not made.follows_loss:
        expected = "plain gradient descent or flow, without weight decay and layer multipliers"
        msg = f"trajectory must be of {expected}, got {made!r}"
        raise ValueError(msg)
    relative, rounding = _tolerances(trajectory, tolerance)
    t, s, r = np.broadcast_arrays(
        time_of(trajectory), trajectory.log_tan_half_angle, trajectory.norm
    )
    first = validate.integer("start", start, low=0, high=t.shape[-1] - 1)
    t, s, r = (x[..., first:] for x in (t, s, r))
    is_start = np.isfinite(t[..., 0]) & np.isfinite(s[..., 0]) & (r[..., 0] > 0)
    validate.refuse("start", "a record with a norm and an angle", s[..., 0], ~is_start)
    with np.errstate(invalid="ignore"):  # of times beyond the largest number
        t = t - t[..., :1]
    if step_size is not None:
        if depth != 1:
            msg = f"step_size must be given of 1 layer only, got n_layers {depth}"
            raise ValueError(msg)
        steps = getattr(trajectory, "steps", None)
        at = np.arange(t.shape[-1]) if steps is None else steps[first:] - steps[first]
        bounds = _of_descent(law, step_size, at, s, r)
    else:
        # What lies beyond the largest number is compared no more.
        t = np.where(np.isfinite(t), t, np.nan)
        turn = _turn_in_records(law, t, s, r) if switch is None else switch
        bounds = _of_flow(law, depth, t, r[..., :1], s[..., :1], turn, printed=printed)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = {"log_tan_half_angle": s, "log_norm": np.log(r), "time": t}
        # A change of tan(theta / 2), or of its inverse, by so much.
        hidden = np.minimum(rounding * 2 * np.cosh(s), 1.0) if rounding else np.zeros(s.shape)
        slack = {"log_tan_half_angle": -np.log1p(-hidden)}
    rows = tuple(
        _row(name, quantity, values[quantity], bound, t > 0, above, relative, slack.get(quantity))
        for name, quantity, above, bound in bounds
    )
    return BoundTable(rows)


def _check_method(trajectory: object) -> None:
    """Refuse a training by anything but plain descent or flow, which bounds are of."""
    method = getattr(trajectory, "method", None)
    in_phases = bool(getattr(trajectory, "phases", None))
    if isinstance(method, Method) and (in_phases or not method.is_plain):
        expected = "plain gradient descent, or gradient flow, in one phase"
        msg = f"trajectory must be one of {expected}, which bounds are of, got {method!r}"
        raise ValueError(msg)


def _tolerances(trajectory: object, tolerance: float | None) -> tuple[float, float]:
    """Return the relative tolerance, and the rounding of angles beside it."""
    if tolerance is not None:
        return validate.real("tolerance", tolerance, at_least=0), 0.0
    if not hasattr(trajectory, "method"):
        return _LEAST, 0.0
    made: Any = trajectory
    method = validate.instance("trajectory.method", made.method, Method)  # type: ignore[type-abstract]
    least = max(_LEAST, 100 * method.relative_error)
    if not method.counts_steps:
        return least, 0.0
    rounding = float(np.finfo(made.final.weights[0].dtype).eps) * (1 + int(made.steps[-1]))
    return max(least, rounding), rounding


def _of_flow(
    law: SphericalLaw,
    n: int,
    t: FloatArray,
    r: FloatArray,
    s: FloatArray,
    turn: PhaseSwitch,
    *,
    printed: bool,
) -> list[_Bound]:
    """Return all bounds on gradient flow, NaN where they say nothing."""
    angle, norm = "log_tan_half_angle", "log_norm"
    begin: dict[str, Any] = {"norm": r, "log_tan_half_angle": s}
    at = np.nan_to_num(t)
    lower, upper = global_bounds(law, n, time=at, **begin)
    restart = np.where(t == turn.time, np.nan, 0.0)  # there the theorems say nothing
    rows: list[_Bound] = [
        ("global, above", angle, True, upper),
        ("global, below", angle, False, lower),
    ]
    if n == 1:
        rows.append(
            (
                "angle by phases, above",
                angle,
                True,
                flow_angle_bound(law, time=at, **begin, switch=turn) + restart,
            )
        )
        upper = global_bounds(law, n, time=at, **begin, any_law=True)[1]
        rows.append(("global of any law", angle, True, upper))
    if n > 2:
        for name, flags in (("", {"printed": printed}), (", sharp", {"sharp": True})):
            lower, upper = deep_flow_angle_bounds(law, n, time=at, **begin, switch=turn, **flags)
            rows.append((f"angle by phases{name}, above", angle, True, upper + restart))
            rows.append((f"angle by phases{name}, below", angle, False, lower))
    for name, sharp in (("norm", False), ("norm, sharp", True)):
        lower, upper = norm_bounds(law, n, time=at, **begin, sharp=sharp)
        rows.append((f"{name}, above", norm, True, _growth.log(upper)))
        if sharp or n > 2:
            rows.append((f"{name}, below", norm, False, _growth.log(lower)))
    falling = np.where(t < turn.time, falling_time_bound(law, n, **begin), np.nan)
    rows.append(("falling norm", "time", True, falling))
    return rows


def _of_descent(
    law: SphericalLaw, step_size: npt.ArrayLike, at: npt.NDArray[Any], s: FloatArray, r: FloatArray
) -> list[_Bound]:
    """Return all bounds on gradient descent at the records, NaN where they say nothing."""
    eta = checked_step_sizes(step_size)
    n_steps = int(at[-1])
    if eta.shape[-1] not in (1, n_steps):
        msg = f"step_size must have {n_steps} steps, or 1 for all, got {eta.shape[-1]}"
        raise ValueError(msg)
    eta = np.broadcast_to(eta, (*eta.shape[:-1], n_steps))
    validate.fits_batch("step_size", eta.shape[:-1], s.shape[:-1])
    start = {"norm": r[..., 0], "log_tan_half_angle": s[..., 0]}
    grown = np.cumsum(2 * law.max_rh * eta + (2 * law.kappa * eta) ** 2, axis=-1)
    grown = np.concatenate([np.zeros((*eta.shape[:-1], 1)), grown], axis=-1)[..., at]
    norm = np.log(r[..., :1] ** 2 + grown) / 2
    rows: list[_Bound] = [("norm of descent", "log_norm", True, norm)]
    behind = s[..., 0] > 0
    if behind.any():
        begin = start | {"log_tan_half_angle": np.where(behind, s[..., 0], 1.0)}
        bound = descent_angle_bound_behind(law, step_size=eta, **begin)[..., at]
        # The record after the last one behind may come after the first step that is not.
        all_behind = np.logical_and.accumulate(s > 0, axis=-1)
        rows.append(
            (
                "angle of descent, behind",
                "log_tan_half_angle",
                True,
                np.where(all_behind, bound, np.nan),
            )
        )
    gentle = (eta <= 4 / law.m2).all(axis=-1)
    if n_steps == len(at) - 1:  # every step is recorded, so that overshooting would be seen
        size = np.broadcast_to(eta, (*s.shape[:-1], n_steps)) * law.q(np.nan_to_num(r[..., :-1]))
        gentle = gentle | ~(size > r[..., :-1]).any(axis=-1)
    if np.any(gentle):
        bound = descent_angle_bound(law, step_size=eta, **start)[..., at]
        bound = np.where(np.asarray(gentle)[..., None], bound, np.nan)
        rows.append(("angle of descent", "log_tan_half_angle", True, bound))
    return rows


def _row(
    name: str,
    quantity: str,
    value: FloatArray,
    bound: FloatArray,
    after: npt.NDArray[np.bool_],
    above: bool,
    tolerance: float,
    slack: FloatArray | None,
) -> BoundCheck:
    """Compare after the start, and where the bound is not NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        excess = value - bound if above else bound - value
        counted = ~np.isnan(excess) & after
        allowed = tolerance * np.maximum(1, np.abs(bound)) + (0.0 if slack is None else slack)
        beyond = counted & (excess > allowed)
    worst = float(excess[counted].max()) if counted.any() else -np.inf
    return BoundCheck(
        name,
        quantity,
        int(np.count_nonzero(counted)),
        int(np.count_nonzero(beyond)),
        max(worst, 0.0),
        -worst,
    )


def _turn_in_records(law: SphericalLaw, t: FloatArray, s: FloatArray, r: FloatArray) -> PhaseSwitch:
    """Return the first records whose norm rises; the bounds may be restarted from any of these."""
    rises = law.h(np.nan_to_num(r, nan=1.0)) >= 2 * law.kappa * scipy.special.expit(
        2 * s
    )  # not at NaN
    where = np.argmax(rises, axis=-1)[..., None]
    time, norm, angle = (np.take_along_axis(x, where, axis=-1) for x in (t, r, s))
    never = ~np.take_along_axis(rises, where, axis=-1)
    return PhaseSwitch(np.where(never, np.inf, time), norm, angle)
