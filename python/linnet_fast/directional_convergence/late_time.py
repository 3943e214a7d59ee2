"""Late times of balanced gradient flow: powers of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _growth, _polar
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law


@dataclass(frozen=True, eq=False, repr=False)
class LateTimeLaw:
    """Powers of time that balanced gradient flow approaches.

    Attributes
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers N of the network.
    norm_factor, norm_exponent : float
        The norm r is ``norm_factor * t^norm_exponent``, with exponent N / (N + 2).
    loss_factor, loss_exponent : float
        The same for the loss, with exponent -N / (N + 2).
    angle_factor, angle_exponent : float
        The same for -ln tan(theta / 2), with exponent 2 N / (N + 2).
    since : tuple of three ndarrays
        Time, norm and ln tan(theta / 2) from which it is continued; zeros for the bare powers.

    See Also
    --------
    late_time_law : makes it.
    """

    law: SphericalLaw
    n_layers: int
    norm_factor: float
    norm_exponent: float
    loss_factor: float
    loss_exponent: float
    angle_factor: float
    angle_exponent: float
    since: tuple[FloatArray, FloatArray, FloatArray]

    def __repr__(self) -> str:
        """Show the powers."""
        return (
            f"LateTimeLaw(norm ~ {self.norm_factor:.4g} t^{self.norm_exponent:.4g}, "
            f"loss ~ {self.loss_factor:.4g} t^{self.loss_exponent:.4g}, "
            f"ln tan(theta/2) ~ -{self.angle_factor:.4g} t^{self.angle_exponent:.4g})"
        )

    def norm(self, *, time: npt.ArrayLike) -> FloatArray:
        """Return the norm at times that are not before `since`; all broadcast."""
        r = self.since[1]
        new, power = self._growth(time)
        one = np.where(r > 0, r, 1.0)
        with np.errstate(over="ignore", under="ignore"):
            grown = np.logaddexp(0, new - power * np.log(one)) / power
            return np.where(r > 0, _growth.scaled(one, grown), np.exp(new / power))

    def loss(self, *, time: npt.ArrayLike) -> FloatArray:
        """Return the loss at times: a2 / norm, as the direction no longer matters."""
        with np.errstate(divide="ignore", under="ignore", over="ignore"):
            return np.asarray(self.law.a2 / self.norm(time=time))

    def log_tan_half_angle(self, *, time: npt.ArrayLike) -> FloatArray:
        """Return ln tan(theta / 2) at times."""
        _, r, s = self.since
        new, power = self._growth(time)
        slope = self.law.kappa / (2 * self.n_layers * self.law.a2)
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(s - slope * _gain(r, power, new, 2))

    def time_to(
        self,
        *,
        to_angle: npt.ArrayLike | None = None,
        to_log_tan_half_angle: npt.ArrayLike | None = None,
    ) -> FloatArray:
        """Return when an angle in (0, pi), or ln tan of its half, is reached."""
        start, r, s = self.since
        target = _polar.half_angle(to_angle, to_log_tan_half_angle, "to_", between=True)
        validate.broadcast_runs(since=np.broadcast(*self.since).shape, to_angle=target.shape)
        n, a2 = self.n_layers, self.law.a2
        with np.errstate(over="ignore", under="ignore"):
            fall = _growth.log(np.maximum(s - target, 0.0))
            square = fall + _growth.log(2 * n * a2) - _growth.log(self.law.kappa)
            return np.asarray(start + _gain(r, 2, square, (n + 2) / n) / ((n + 2) * a2))

    def _growth(self, time: npt.ArrayLike) -> tuple[FloatArray, float]:
        """Return what norm^power has gained at times, its logarithm, and the power."""
        start, r, _ = self.since
        t = validate.real_array("time", time, at_least=0)
        validate.broadcast_runs(since=np.broadcast(*self.since).shape, time=t.shape)
        validate.refuse("time", "not before since", *np.broadcast_arrays(t, t < start))
        n = self.n_layers
        new = _growth.log((n + 2) * self.law.a2) + _growth.log(t - start)
        return new + np.zeros(r.shape), (n + 2) / n


def _gain(r: FloatArray, power: float, log_new: FloatArray, to: float) -> FloatArray:
    """Return (r^power + new)^(to / power) - r^to, of the logarithm of new."""
    one = np.where(r > 0, r, 1.0)
    gained = _growth.power_gain(one, to, log_new - power * np.log(one), to / power)
    return np.where(r > 0, gained, np.exp(log_new * (to / power)))


def late_time_law(
    law: SphericalLaw,
    n_layers: int,
    *,
    time: npt.ArrayLike = 0.0,
    norm: npt.ArrayLike = 0.0,
    angle: npt.ArrayLike | None = None,
    log_tan_half_angle: npt.ArrayLike | None = None,
) -> LateTimeLaw:
    """Return how norm, loss and angle go at late times of balanced gradient flow.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int
        Layers, >= 1.
    time, norm : array_like, shape (*run), default 0
        Of a late state to continue from, which makes the law far more accurate; by default the bare
        powers. Both >= 0.
    angle, log_tan_half_angle : array_like, shape (*run), optional
        Of that state: in (0, pi), or ln tan of its half; by default pi / 2.

    Returns
    -------
    LateTimeLaw

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Notes
    -----
    ``dr/dt = N a2 r^(-2/N)`` and ``ds/dt = -kappa r^(1 - 2/N)`` with s = ln tan(theta / 2), which
    holds once r is large against the inverse scale of the inputs and theta against 1 / r.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> late_time_law(Gaussian(3), 1)
    LateTimeLaw(norm ~ 1.253 t^0.3333, loss ~ 0.5236 t^-0.3333, ln tan(theta/2) ~ -0.4775 t^0.6667)
    """
    checked_law(law)
    n = validate.integer("n_layers", n_layers, low=1, high=1000)
    start = validate.real_array("time", time, at_least=0)
    r = validate.real_array("norm", norm, at_least=0)
    if angle is None and log_tan_half_angle is None:
        log_tan_half_angle = 0.0
    s = _polar.half_angle(angle, log_tan_half_angle, between=True)
    validate.broadcast_runs(time=start.shape, norm=r.shape, log_tan_half_angle=s.shape)
    factor = float(((n + 2) * law.a2) ** (n / (n + 2)))
    power = n / (n + 2)
    slope = float(law.kappa / (2 * n * law.a2))
    return LateTimeLaw(
        law,
        n,
        factor,
        power,
        float(law.a2) / factor,
        -power,
        slope * factor**2,
        2 * power,
        (start, r, s),
    )
