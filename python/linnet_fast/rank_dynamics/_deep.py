"""Balanced modes of three and more layers: the implicit time and its inverse.

With x = lam w / sigma, dx/dtau = x^(2 - a) (1 - x), where a = 2 / L and tau = L sigma (sigma / lam)^(1 -
a) t. So tau is an integral of a rational function, an incomplete beta function. The unknown is z, with
expit(z) = x below the resting strength and 1/x above, or x itself while it is far from rest, where z
would lose digits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics._wide import Wide

_TERMS = 56  # of series in numbers up to 1/2
_FAR_BELOW = 1e4  # times L: x^(a - 1) from which on a fixed-point iteration finds x
_FAR_ABOVE = 1e-4  # x^(a - 2) up to which one does


def tau_of(x: Wide, gap: Wide, n_layers: int) -> Wide:
    """Return tau up to a constant at x < 1, with 1 - x given."""
    a = 2 / n_layers
    head = x.power(2 - n_layers, n_layers) * (1 / (1 - a))
    return Wide(_beta(x.log() - gap.log(), a, shifted=True)) - head


def advance_below(x: Wide, gap: Wide, lag: Wide, n_layers: int) -> tuple[Wide, FloatArray]:
    """Return x and 1 - x after tau has grown by `lag`, from x < 1."""
    a = 2 / n_layers
    # What x^(a - 1) would be but for the approach to rest: it falls linearly.
    left = (lag + tau_of(x, gap, n_layers)) * (a - 1)
    bound = _FAR_BELOW * n_layers
    far = (left - bound).mantissa > 0
    head = Wide.where(far, left, Wide(1.0))
    for _ in range(4):
        log_x = head.log() / (a - 1)
        logit = log_x - np.log1p(-np.exp(log_x))
        head = left + Wide(_beta(logit, a, shifted=True)) * (1 - a)
        head = Wide.where(far, head, Wide(1.0))
    early = head.power(-n_layers, n_layers - 2)
    target = np.minimum((-left * (1 / (1 - a))).double(), 1e300)
    target = np.where(far, 0.0, target)

    def slope(z: FloatArray) -> FloatArray:
        return np.exp((a - 1) * _log_expit(z))

    def tau(z: FloatArray) -> FloatArray:
        return _beta(z, a, shifted=True) - slope(z) / (1 - a)

    first = np.log(np.maximum((a - 1) * target, 1.5)) / (a - 1)
    guess = np.where(target < -1.5 / (1 - a), first - np.log(-np.expm1(first)), target)
    low = np.full(target.shape, np.log(bound + 4) / (a - 1) - 1)
    z = _solve(tau, slope, target, guess, low, np.maximum(target, 0.0) + 8)
    remaining = np.where(far, 1 - early.double(), scipy.special.expit(-z))
    return Wide.where(far, early, Wide(scipy.special.expit(z))), remaining


def advance_above(x: Wide, gap: Wide, lag: Wide, n_layers: int) -> tuple[Wide, FloatArray]:
    """Return x and 1 - x after tau has grown by `lag`, from x > 1; `gap` is 1 - x."""
    b = 2 - 2 / n_layers
    part = Wide(1.0) / x
    short = part.double()
    begun = part.power(2 * n_layers - 2, n_layers) * _series(np.minimum(short, 0.5), b)
    begun = Wide.where(short <= 0.5, begun, Wide(_beta(-(-gap).log(), b)))
    time = begun + lag
    far = ((time * b) - _FAR_ABOVE).mantissa < 0
    scaled = Wide.where(far, time, Wide(_FAR_ABOVE))
    part = Wide(0.0)
    for _ in range(9):
        part = (scaled / _series(part.double(), b)).power(n_layers, 2 * n_layers - 2)
    early = Wide(1.0) / part
    target = np.where(far, 1.0, np.minimum(time.double(), 1e300))

    def slope(z: FloatArray) -> FloatArray:
        return np.exp(b * _log_expit(z))

    def tau(z: FloatArray) -> FloatArray:
        return _beta(z, b)

    guess = np.where(target < 0.3, np.log(b * np.minimum(target, 0.3)) / b, target)
    z = _solve(tau, slope, target, guess, np.full(target.shape, -14.0), target + 2)
    more = np.exp(-z)
    remaining = np.where(far, (Wide(1.0) - early).double(), -more)
    return Wide.where(far, early, Wide(1 + more)), remaining


def _log_expit(z: FloatArray) -> FloatArray:
    return -np.logaddexp(0.0, -z)


def _series(s: FloatArray, a: float) -> FloatArray:
    """Return the sum of s^k / (k + a) for s up to 1/2."""
    total = np.zeros_like(s)
    for k in range(_TERMS, -1, -1):
        total = total * s + 1 / (k + a)
    return total


def _beta(z: FloatArray, a: float, *, shifted: bool = False) -> FloatArray:
    """Return the integral of r^(a - 1) / (1 - r) from 0 to expit(z), less 1 / a if `shifted`."""
    s, gap = np.minimum(scipy.special.expit(z), 0.5), np.minimum(scipy.special.expit(-z), 0.5)
    log_s = _log_expit(z)
    if shifted:  # of small a, 1 / a would cancel
        rest = s * _series(s, a + 1)
        below = np.exp(a * log_s) * rest + np.expm1(a * log_s) / a
        constant = scipy.special.digamma(a + 1) + np.euler_gamma
    else:
        below = np.exp(a * log_s) * _series(s, a)
        constant = scipy.special.digamma(a) + np.euler_gamma
    # Near 1, the logarithm and a series of the integral of (1 - r^(a - 1)) / (1 - r).
    factors = np.cumprod([a - 1, *((n - a) / n for n in range(2, _TERMS))])
    above = np.zeros_like(gap)
    for n in range(_TERMS - 1, 0, -1):
        above = (above + factors[n - 1] / n) * gap
    above = above - constant - _log_expit(-z)
    return np.asarray(np.where(z <= 0, below, above))


def _solve(
    function: Callable[[FloatArray], FloatArray],
    derivative: Callable[[FloatArray], FloatArray],
    target: FloatArray,
    guess: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Solve function(z) = target by Newton's method, kept within brackets by bisection."""
    z: FloatArray = np.clip(guess, low, high)
    done: npt.NDArray[np.bool_] = np.zeros(z.shape, dtype=bool)
    for _ in range(200):
        value = function(z) - target
        low = np.where(value <= 0, z, low)
        high = np.where(value >= 0, z, high)
        step = z - value / derivative(z)
        following = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        close = np.abs(following - z) <= 1e-15 * (1 + np.abs(z))
        z = np.where(done, z, following)
        done = done | close
        if done.all():
            break
    return z
