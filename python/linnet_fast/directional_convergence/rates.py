"""How fast directions converge: exponents of recorded runs, and times to angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence._records import (
    check_record,
    check_records,
    depth_of,
    time_of,
)

_LEAST_RECORDS = 5  # in each of the two windows of a fit
_TOLERANCES = 0.02, 0.15  # how near an exponent must be to 0 or -1, by its uncertainty
_UNKNOWN = 0.25  # errors from which 0 and -1 cannot be told apart
_GRID = np.linspace(-5, 5, 81)  # exponents tried first


class DirectionTrajectory(Protocol):
    """What is needed of a trajectory: shapes (*run, n_rec), or such that broadcast to it."""

    @property
    def time(self) -> FloatArray:
        """Times of the records, rising."""

    @property
    def log_tan_half_angle(self) -> FloatArray:
        """Logarithm of tan(theta / 2), with theta the angle to the direction of the data."""

    @property
    def norm(self) -> FloatArray:
        """Norm of the end-to-end weights."""


@dataclass(frozen=True, eq=False, repr=False)
class RateFit:
    """How fast recorded directions converge at the end: nu = -ds/dt goes as t^exponent.

    Attributes
    ----------
    kind : ndarray of str, shape (*run)
        ``power`` (the angle falls as a power of time: exponent -1), ``stretched exponential``
        (between -1 and 0), ``linear`` (0), ``superlinear`` (> 0) or ``stagnation`` (< -1, or
        nothing beyond the noise); ``undetermined`` where too few records are finite or the
        uncertainty exceeds 0.25.
    exponent : ndarray of float64, shape (*run)
        -inf where nothing falls beyond the noise, NaN where undetermined.
    uncertainty : ndarray of float64, shape (*run)
        One standard error of the exponent: that of the last window, its residuals taken as
        correlated, and half of what the exponent still drifts between the windows.
    rate : ndarray of float64, shape (*run)
        nu at the end.
    end : ndarray of float64, shape (*run)
        Time of the last record used. Where the angle falls as t^-k, k is ``rate * end``.
    expected : float
        Exponent (N - 2) / (N + 2) of late gradient flow with N layers; NaN if N is not known.

    See Also
    --------
    classify_rate : makes it.
    """

    kind: npt.NDArray[np.str_]
    exponent: FloatArray
    uncertainty: FloatArray
    rate: FloatArray
    end: FloatArray
    expected: float

    @property
    def decay_exponent(self) -> FloatArray:
        """Power of time in ln theta, 1 + exponent; shape (*run)."""
        return np.asarray(1 + self.exponent)

    def __repr__(self) -> str:
        """Show a single run; of many only how often each kind occurs."""
        if self.kind.ndim == 0:
            return (
                f"RateFit({self.kind}, exponent={self.exponent:.4f} +- {self.uncertainty:.4f}, "
                f"rate={self.rate:.4g}, expected={self.expected:.4g})"
            )
        kinds, counts = np.unique(self.kind, return_counts=True)
        found = ", ".join(f"{k}: {n}" for k, n in zip(kinds, counts, strict=True))
        return f"RateFit(run_shape={self.kind.shape}, {found})"


def classify_rate(
    trajectory: DirectionTrajectory | tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    n_layers: int | None = None,
    window: float = 16.0,
) -> RateFit:
    """Find how fast the directions of a trajectory converge at its end.

    Parameters
    ----------
    trajectory : trajectory or tuple (time, log_tan_half_angle)
        Of a trajectory these two are used. They broadcast to shape (*run, n_rec); times rise.
        Count time in steps where step sizes change and rates per step are meant. Records that are
        not finite, or at time 0, are left out.
    n_layers : int, optional
        For `expected`; by default what the trajectory says.
    window : float, default 16
        > 1. The last ``[end / window, end]`` is used: two windows of equal ratio, each with at
        least 5 records.

    Returns
    -------
    RateFit

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not broadcast, times do not rise, or no run has enough records.

    Notes
    -----
    In each window s is fitted by ``c - rate * end / (1 + b) * ((t / end)^(1 + b) - 1)``, which
    needs no slopes and no origin of s, so it suits noise and any spacing. The exponent is that of
    the last window, moved on by a third of the drift since the window before (a correction of
    relative order 1 / t), unless the drift is noise. An exponent counts as 0 or -1 within twice its
    uncertainty, at least 0.02 and at most 0.15.

    Flows of Gaussian inputs of scale 1 from norm 2 and angle 2.5 reach the exponents (N - 2) / (N +
    2) of N = 1 to 6 layers within 1 % (of two layers within 0.01) by time 10 000; N = 3 to 5 do by
    time 1000. Angles computed from
    vectors end at some 1e-16 by rounding, which reads as stagnation.

    Examples
    --------
    >>> import numpy as np
    >>> time = np.geomspace(1, 1e4, 200)
    >>> classify_rate((time, 1 - 0.5 * time ** (2 / 3)), n_layers=1)
    RateFit(stretched exponential, exponent=-0.3333 +- 0.0000, rate=0.01547, expected=-0.3333)
    """
    time, s, depth = _records(trajectory, n_layers)
    ratio = validate.real("window", window, above=1)
    runs = s.shape[:-1]
    kind = np.full(runs, "undetermined", dtype="<U21")
    exponent, error, rate, end = (np.full(runs, np.nan) for _ in range(4))
    for run in np.ndindex(runs):
        t, value = time[run], s[run]
        keep = np.isfinite(t) & np.isfinite(value) & (t > 0)
        t, value = t[keep], value[keep]
        if not t.size:
            continue
        early = (t >= t[-1] / ratio * (1 - 1e-12)) & (t <= t[-1] / np.sqrt(ratio))
        late = t >= t[-1] / np.sqrt(ratio)
        if min(np.count_nonzero(early), np.count_nonzero(late)) < _LEAST_RECORDS:
            continue
        end[run] = t[-1]
        b, se, slope, clear = _fit(t[late], value[late])
        rate[run] = slope
        if not clear:
            kind[run], exponent[run] = "stagnation", -np.inf
            continue
        before, se_before, _, clear_before = _fit(t[early], value[early])
        if clear_before:
            drift, noise = b - before, np.hypot(se, se_before)
            b += drift / (np.sqrt(ratio) - 1) * drift**2 / (drift**2 + 9 * noise**2 + 1e-300)
            se = np.hypot(se, np.sqrt(max(drift**2 - noise**2, 0.0)) / 2)
        exponent[run], error[run] = b, se
        kind[run] = _kind(b, se)
    if not np.isfinite(end).any():
        msg = (
            f"trajectory must have {_LEAST_RECORDS} finite records in each half (by ratio) of the "
            f"last factor {ratio:g} of time, got {s.shape[-1]} records in all"
        )
        raise ValueError(msg)
    expected = np.nan if depth is None else (depth - 2) / (depth + 2)
    return RateFit(kind, exponent, error, rate, end, expected)


def _records(
    trajectory: DirectionTrajectory | tuple[npt.ArrayLike, npt.ArrayLike], n_layers: int | None
) -> tuple[FloatArray, FloatArray, int | None]:
    """Return times and s, broadcast, and the number of layers if it is known."""
    depth = n_layers
    if isinstance(trajectory, tuple):
        parts: tuple[npt.ArrayLike, ...] = trajectory
        if len(parts) != 2:
            msg = f"trajectory must be a tuple (time, log_tan_half_angle), got {len(parts)} parts"
            raise ValueError(msg)
        time, s = (_as_record(f"trajectory[{k}]", part) for k, part in enumerate(parts))
    else:
        check_records(trajectory, ("time", "log_tan_half_angle"))
        time, s = time_of(trajectory), np.asarray(trajectory.log_tan_half_angle)
        if depth is None:
            depth = depth_of(trajectory)
    if depth is not None:
        depth = validate.integer("n_layers", depth, low=1, high=1000)
    shape = validate.broadcast_runs(time=time.shape, log_tan_half_angle=s.shape)
    if (time[..., 1:] <= time[..., :-1])[np.isfinite(time[..., 1:])].any():
        msg = "trajectory must have times that rise, got an equal or earlier one"
        raise ValueError(msg)
    wide = (np.broadcast_to(np.asarray(part, dtype=np.float64), shape) for part in (time, s))
    return *wide, depth  # type: ignore[return-value]


def _as_record(name: str, part: npt.ArrayLike) -> FloatArray:
    """Return records given by hand, finite or not."""
    try:
        array = part if isinstance(part, np.ndarray) else np.asarray(part)
    except ValueError as error:
        msg = f"{name} must be a regular array of real numbers: {error}"
        raise ValueError(msg) from error
    check_record(name, array)
    return array


def _kind(exponent: float, error: float) -> str:
    within = float(np.clip(2 * error, *_TOLERANCES))
    if error > _UNKNOWN:
        return "undetermined"
    if abs(exponent) <= within:
        return "linear"
    if abs(exponent + 1) <= within:
        return "power"
    if exponent > 0:
        return "superlinear"
    return "stretched exponential" if exponent > -1 else "stagnation"


def _basis(log_x: FloatArray, power: npt.ArrayLike) -> FloatArray:
    """Return (x^power - 1) / power, ln x for power 0; one row for each power."""
    p = np.asarray(power, dtype=np.float64)[..., None]
    z = p * log_x
    small = np.abs(z) < 1e-8
    return np.asarray(log_x * np.where(small, 1 + z / 2, np.expm1(z) / np.where(small, 1.0, z)))


def _fit(t: FloatArray, s: FloatArray) -> tuple[float, float, float, bool]:
    """Return exponent, its error, the rate at the end, and whether the fall is beyond noise."""
    log_x = np.log(t / t[-1])
    centred = s - s.mean()

    def project(b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return slope and residuals of the fit with this exponent."""
        phi = _basis(log_x, 1 + np.asarray(b))
        phi = phi - phi.mean(axis=-1, keepdims=True)
        slope = np.sum(phi * centred, axis=-1) / np.sum(phi * phi, axis=-1)
        return slope, centred - slope[..., None] * phi

    misfit = np.sum(project(_GRID)[1] ** 2, axis=-1)
    best = int(np.argmin(misfit))
    bracket = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
    found = scipy.optimize.minimize_scalar(
        lambda b: float(np.sum(project(b)[1] ** 2)),
        bounds=bracket,
        method="bounded",
        options={"xatol": 1e-9},
    )
    b = float(found.x)
    slope, rest = project(b)
    # Residuals that resemble their neighbours tell less than their number says.
    n = len(s)
    power = float(np.sum(rest**2))
    echo = float(np.sum(rest[1:] * rest[:-1])) / power if power > 0 else 0.0
    echo = min(max(echo, 0.0), 1 - 3 / n)
    variance = power / max(n - 3, 1) * (1 + echo) / (1 - echo)
    step = 1e-4
    bend = (_basis(log_x, 1 + b + step) - _basis(log_x, 1 + b - step)) / (2 * step) * slope
    design = np.stack([np.ones(n), _basis(log_x, 1 + b), bend], axis=-1)
    covariance = variance * np.linalg.pinv(design.T @ design)
    error = float(np.sqrt(max(covariance[2, 2], 0.0)))
    fall = -float(_basis(log_x[:1], 1 + b)[0] * slope)
    spread = float(np.sqrt(12 * variance / n))
    clear = -fall > 4 * spread and abs(b) < 4.9
    return b, error, -float(slope) / t[-1], clear
