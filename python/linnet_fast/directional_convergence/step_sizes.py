"""Step sizes of gradient descent: how large they may be, and what rules of them lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law
from linnet_fast.methods.step_rule import StepRule

_SMALL = 0.1  # part of the square of an angle that a law leaves out at `DescentLaw.since`


@dataclass(frozen=True, eq=False)
class StepSizeAdvice:
    """Step sizes of gradient descent on one layer; arrays have shape (*run), that of the norm.

    Attributes
    ----------
    monotone : float
        4 / m2: no larger step ever turns the direction away, from any start.
    eventual : ndarray of float64
        2 r / kappa: from a larger step the aligned direction is unstable.
    one_step : ndarray of float64
        r / q(r): the next step is aligned exactly; ``StepRule.alignment()``.
    sqrt_limit, norm_limit, loss_limit : float
        Scales c below which ``c sqrt(n)``, ``c |w|`` and ``c / loss`` converge linearly, for ever.
        Rules: ``StepRule.power(c, 0.5)``, ``norm_proportional(c)`` and ``loss_normalized(c)``;
        `descent_law` tells their rates.
    sqrt_best, norm_best, loss_best : float
        Scales whose rate has no bound: each step removes nearly all of the angle.

    See Also
    --------
    step_size_advice : makes it.
    """

    monotone: float
    eventual: FloatArray
    one_step: FloatArray
    sqrt_limit: float
    norm_limit: float
    loss_limit: float
    sqrt_best: float
    norm_best: float
    loss_best: float


def step_size_advice(law: SphericalLaw, *, norm: npt.ArrayLike) -> StepSizeAdvice:
    """Return which step sizes align a single layer, and which keep it aligned.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    norm : array_like, shape (*run)
        Norm r of the weights, > 0.

    Returns
    -------
    StepSizeAdvice

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Notes
    -----
    A step multiplies small angles by ``(r - step_size q(r)) / (r + step_size h(r))``.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> advice = step_size_advice(Gaussian(3), norm=2.0)
    >>> advice.monotone, float(advice.eventual.round(3)), float(advice.one_step.round(3))
    (4.0, 10.027, 6.604)
    """
    checked_law(law)
    r = validate.real_array("norm", norm, above=0)
    kappa, a2 = float(law.kappa), float(law.a2)
    sqrt_best = float(np.sqrt(2 * a2) * kappa**-1.5)
    # q goes as m2 / 4 times small norms, to all digits long before it leaves the range of numbers.
    usual = np.maximum(r, 1e-10 / np.sqrt(law.m2))
    with np.errstate(over="ignore"):
        eventual, one_step = np.asarray(2 * r / kappa), np.asarray(usual / law.q(usual))
    return StepSizeAdvice(
        4 / float(law.m2),
        eventual,
        one_step,
        sqrt_best * 2**1.5,
        2 / kappa,
        2 * a2 / kappa,
        sqrt_best,
        1 / kappa,
        a2 / kappa,
    )


@dataclass(frozen=True, eq=False, repr=False)
class DescentLaw:
    """What gradient descent on one layer comes to under a rule for its step size.

    With x = n, or ln n where the step size falls as 1 / n, the norm goes as ``norm_factor
    x^norm_exponent norm_ratio^n`` and ln tan(theta / 2) as ``offset - power ln n - rate
    x^exponent``.

    Attributes
    ----------
    status : ndarray of str, shape (*run)
        ``stretched exponential``, ``linear``, ``one step``, ``slow`` (faster than any power of ln
        n, slower than any of n), ``polynomial only`` or ``does not converge``.
    norm_factor, norm_exponent, norm_ratio : ndarray of float64, shape (*run)
        NaN where they depend on the start.
    rate, exponent, power, offset : ndarray of float64, shape (*run)
        `rate` is inf where each step removes more than any factor. `offset` is 0 where the rest
        falls faster than a power of n, as it then depends on the start.
    logarithmic : ndarray of bool, shape (*run)
        Whether x is ln n.
    since : ndarray of float64, shape (*run)
        Of steps c n^a with a > 1/2: the step from which the law is within a tenth of the mean
        square of the angle over many steps, ``(80 a2 / (kappa^3 c^2 a))^(1 / (2 a - 1))``, which is
        far away where a is near 1/2 (inf beyond the largest number). Single angles swing about it
        for much longer, the more the smaller they were before. NaN of other steps.

    See Also
    --------
    descent_law : makes it.
    """

    status: npt.NDArray[np.str_]
    norm_factor: FloatArray
    norm_exponent: FloatArray
    norm_ratio: FloatArray
    rate: FloatArray
    exponent: FloatArray
    power: FloatArray
    offset: FloatArray
    logarithmic: npt.NDArray[np.bool_]
    since: FloatArray

    def __repr__(self) -> str:
        """Show the status."""
        return f"DescentLaw({self.status.tolist()})"

    def norm(self, *, steps: npt.ArrayLike) -> FloatArray:
        """Return the norm after steps, which are > 1 and broadcast with the run axes."""
        n, x = self._counts(steps)
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            grown = self.norm_exponent * np.log(x) + n * np.log(self.norm_ratio)
            return np.asarray(self.norm_factor * np.exp(grown))

    def log_tan_half_angle(self, *, steps: npt.ArrayLike) -> FloatArray:
        """Return ln tan(theta / 2) after steps, which are > 1 and broadcast with the run axes."""
        n, x = self._counts(steps)
        with np.errstate(over="ignore"):
            return np.asarray(self.offset - self.power * np.log(n) - self.rate * x**self.exponent)

    def _counts(self, steps: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return steps, and what the powers are of."""
        n = validate.real_array("steps", steps, above=1)
        validate.broadcast_runs(steps=n.shape, law=self.status.shape)
        return n, np.where(self.logarithmic, np.log(n), n)


def descent_law(law: SphericalLaw, rule: StepRule) -> DescentLaw:
    """Predict norm and angle of gradient descent on one layer, after many steps.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    rule : StepRule
        Of the step sizes; ``StepRule.power(step_size, 0)`` is a constant one.

    Returns
    -------
    DescentLaw
        Leading order, with the run axes of the rule.

    Raises
    ------
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Step sizes c n^a with -1 <= a < 1/2 follow the flow at time ``c n^(a + 1) / (a + 1)``. At a =
    1/2, and with steps in proportion to the norm or to 1 / loss, each step removes a fixed part of
    the angle, if the scale is below its limit (`step_size_advice`). Steps too large for that, those
    of a > 1/2 and normalised gradients overshoot: weights swing about v so widely that the norm
    keeps up with the step size, and angles are those about which the size of the swing itself
    oscillates. With geometric steps, growing or falling, nothing converges; growing ones end in a
    swing of constant angle. A warm-up, and all but the last step size of a piecewise rule, are
    forgotten; a cosine that falls to 0 comes to rest before.

    References
    ----------
    After D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> from linnet_fast.laws import Gaussian
    >>> descent_law(Gaussian(3), StepRule.power(1.0, [0.0, 0.5, -2.0]))
    DescentLaw(['stretched exponential', 'linear', 'does not converge'])
    >>> float(descent_law(Gaussian(3), StepRule.loss_normalized(1.0)).rate.round(4))
    0.9363
    """
    checked_law(law)
    validate.instance("rule", rule, StepRule)
    runs = rule.run_shape
    rows = np.empty((8, *runs))
    status, logarithmic = np.empty(runs, dtype="<U21"), np.zeros(runs, dtype=bool)
    late = rule.late_power()
    kind, parts = rule.kind, (rule.scale, rule.exponent)
    if late is not None:
        kind, parts = "power", late
    scales, exponents = (np.broadcast_to(part, runs) for part in parts)
    for run in np.ndindex(runs):
        name, numbers = _descent(law, kind, float(scales[run]), float(exponents[run]))
        status[run], logarithmic[run] = name, name == "slow"
        rows[(slice(None), *run)] = *numbers, *[np.nan] * (8 - len(numbers))
    factor, growth, ratio, rate, exponent, power, offset, since = rows
    return DescentLaw(
        status, factor, growth, ratio, rate, exponent, power, offset, logarithmic, since
    )


def _descent(law: SphericalLaw, kind: str, c: float, a: float) -> tuple[str, tuple[float, ...]]:
    """Return the status of one run and the fields of `DescentLaw` from norm_factor on."""
    kappa, a2 = float(law.kappa), float(law.a2)
    nothing = "does not converge", (np.nan,) * 7
    if kind == "alignment":
        return "one step", (np.sqrt(2 * a2 / kappa), 0.5, 1.0, np.inf, 1.0, 0.0, 0.0)
    if kind == "geometric" and a != 1:
        if a < 1:  # the steps have a finite sum
            return nothing
        swing = 0.5 * _log((a - 1) / (3 * a + 1))
        return nothing[0], (c * kappa / (a + 1), 0.0, a, 0.0, 1.0, 0.0, swing)
    if kind == "norm_proportional":
        part = c * kappa
        if part < 2:
            return _linear(np.sqrt(2 * c * a2), part)
        swing = 0.5 * _log((part - 2) / (3 * part - 2))
        return nothing[0], (np.nan, 0.0, part - 1, 0.0, 1.0, 0.0, swing)
    if kind == "loss_normalized":
        part = c * kappa / a2
        if part < 2:
            return _linear(np.sqrt(2 * c), part)
        return _swing(np.sqrt(2 * c), 0.5, (part - 2) / (2 * part))
    if kind == "gradient_normalized":
        size = 4 * a2 / kappa + c**2 / 2
        return _swing(np.sqrt(size), 0.5, c**2 / (4 * size))
    a = 0.0 if kind == "geometric" else a
    if a < -1 or c == 0:
        return nothing
    if a < 0.5:
        scale = c if a == -1 else c / (a + 1)
        power = (1.0 if a == -1 else a + 1) / 3
        factor = np.cbrt(3 * a2 * scale)
        rate = kappa / (2 * a2) * factor**2
        name = "slow" if a == -1 else "stretched exponential"
        return name, (factor, power, 1.0, rate, 2 * power, 0.0, 0.0)
    if a == 0.5:
        factor = np.cbrt(2 * a2 * c)
        if kappa * c < 2 * factor:
            return _linear(factor, kappa * c / factor)
        return _swing(kappa * c / 2, 0.5, 0.5 - 8 * a2 / (kappa**3 * c**2))
    # The square of the angle is (a - taken n^(1 - 2 a)) / n.
    with np.errstate(over="ignore"):
        taken = np.exp(np.log(8 * a2) - 3 * np.log(kappa) - 2 * np.log(c))
        since = max(1.0, float(np.exp(np.log(taken / (_SMALL * a)) / (2 * a - 1))))
    return _swing(kappa * c / 2, a, a, since)


def _linear(factor: float, part: float) -> tuple[str, tuple[float, ...]]:
    """Return the law of steps of which each removes `part` of the angle."""
    rate = np.inf if part == 1 else -np.log(abs(1 - part))
    return "linear", (factor, 0.5, 1.0, rate, 1.0, 0.0, 0.0)


def _swing(
    factor: float, exponent: float, square: float, since: float = np.nan
) -> tuple[str, tuple[float, ...]]:
    """Return the law of steps that overshoot, with angles of square `square` / n."""
    offset = 0.5 * _log(square) - np.log(2)
    return "polynomial only", (factor, exponent, 1.0, 0.0, 1.0, 0.5, offset, since)


def _log(x: float) -> float:
    """Return the logarithm, NaN at the edge of two regimes, where the leading order vanishes."""
    return float(np.log(x)) if x > 0 else np.nan
