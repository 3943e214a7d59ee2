"""Gradient descent with momentum, heavy-ball or Nesterov's: what it does to rates, steps and stability."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics.modes import broadcast

_SMALL = -40.0  # ln of a part of rest: below, two layers grow as if there was none
_MOST_COUNTED = 2**24


def largest_step_size(
    sharpness: npt.ArrayLike, *, momentum: npt.ArrayLike = 0.0, nesterov: bool = False
) -> FloatArray:
    """Return the step size up to which descent is stable at a minimum: the edge of stability.

    Parameters
    ----------
    sharpness : array_like
        Largest eigenvalue of the Hessian, as `sharpness` and `minimum_sharpness` give it; > 0.
    momentum : array_like, default 0
        0 <= momentum < 1; broadcasts with `sharpness`.
    nesterov : bool, default False
        Whether it looks ahead.

    Returns
    -------
    ndarray of float64
        ``2 (1 + momentum) / sharpness``, and ``2 (1 + momentum) / ((1 + 2 momentum) sharpness)`` by
        Nesterov; inf beyond float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Notes
    -----
    Along an eigenvector of the Hessian, position and velocity go by a matrix of 2 x 2 whose
    determinant is momentum, or ``momentum (1 - x)`` by Nesterov with x = step_size sharpness: it is
    stable while its eigenvalue that comes first to -1 has not got there.

    References
    ----------
    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; J. Cohen,
    S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar, "Gradient descent on neural networks typically occurs
    at the edge of stability", ICLR 2021 (appendix B).

    Examples
    --------
    >>> largest_step_size(4.0, momentum=[0.0, 0.9]).tolist()
    [0.5, 0.95]
    """
    size = validate.real_array("sharpness", sharpness, above=0)
    part, ahead = checked_momentum(momentum, nesterov)
    size, part = broadcast(sharpness=size, momentum=part)
    with np.errstate(over="ignore"):
        return np.asarray(2 * (1 + part) / ((1 + 2 * part) if ahead else 1) / size)


def checked_momentum(momentum: npt.ArrayLike, nesterov: object) -> tuple[FloatArray, bool]:
    """Return a momentum and whether it is Nesterov's, checked."""
    part = validate.real_array("momentum", momentum, at_least=0)
    validate.refuse("momentum", "< 1", part, part >= 1)
    return part, validate.flag("nesterov", nesterov)


class Inertia(NamedTuple):
    """What momentum does to descent with small steps, to second order in them."""

    gain: FloatArray
    """A step goes as far as one of the flow that is the step size times this."""
    change: FloatArray
    """The force f of the modified flow is f - change h f' f, with h such a step; 1/2 of plain descent."""
    delay: FloatArray
    """Steps that a start without velocity loses."""


def inertia(momentum: FloatArray, *, nesterov: bool) -> Inertia:
    """Return what a momentum does.

    The recursion with w(t + h) for w(t) and (1 - momentum) h for the step size is, to second order,
    a flow with another force; and what a velocity of zero misses is a geometric series.
    """
    rest = 1 - momentum
    if nesterov:
        change = (rest + 2 * momentum**2) / (2 * rest)
        return Inertia(1 / rest, change, momentum**2 / rest)
    return Inertia(1 / rest, (1 + momentum) / (2 * rest), momentum / rest)


def log_growth(x: float, momentum: float, *, nesterov: bool) -> float:
    """Return by how much ln of a mode of two layers grows in a step, while it is small: half of that.

    It is that of its layers: the larger root of r^2 - (1 + momentum + x) r + momentum, or of r^2 - (1 +
    momentum) (1 + x) r + momentum (1 + x), with x = step_size sigma.
    """
    b = 1 - momentum - ((1 + momentum) * x if nesterov else x)
    root = math.hypot(b, 2 * math.sqrt(x))
    return math.log1p(2 * x / (b + root) if b > 0 else (root - b) / 2)


def steps_to(
    log_part: float,
    fraction: float,
    rate: float,
    n_layers: int,
    *,
    momentum: float,
    nesterov: bool,
) -> float:
    """Return in how many steps a mode without velocity first reaches a fraction of its rest; NaN: never.

    Parameters
    ----------
    log_part : float
        ln of where it begins, over rest.
    fraction : float
        Larger than that.
    rate : float
        step_size times sigma times the layer at rest to the power of n_layers - 2.
    n_layers : int
        Of one layer `rate` is step_size lam, and `log_part` may be -inf.
    momentum, nesterov
        Of the descent.
    """
    grown = 0.0
    if n_layers == 2 and log_part < _SMALL:
        grown = (_SMALL - log_part) / (2 * log_growth(rate, momentum, nesterov=nesterov))
        log_part = _SMALL
    layer = math.exp(log_part / n_layers) if n_layers > 1 else 1.0
    begun = math.exp(log_part)
    n = 256
    while n <= _MOST_COUNTED:
        size, left = _core.momentum_descent(
            drive=np.array([rate * layer ** (n_layers - 2) if n_layers > 1 else rate]),
            brake=np.zeros(1),
            rest=np.array([1 / layer]),
            gap=np.array([1 - begun]),
            momentum=np.array([momentum]),
            nesterov=nesterov,
            n_layers=n_layers,
            steps=list(range(n + 1)),
        )[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            reached = np.where(np.isnan(left), (size * layer) ** n_layers, 1 - left)
        if (reached >= fraction).any():
            after = int(np.argmax(reached >= fraction))
            before = reached[after - 1]
            return float(grown + after - 1 + (fraction - before) / (reached[after] - before))
        n *= 4
    return math.nan


def damped_from(momentum: FloatArray, *, nesterov: bool) -> FloatArray:
    """Return the step_size sharpness from which what remains swings about rest."""
    if nesterov:
        return np.asarray(((1 - momentum) / (1 + momentum)) ** 2)
    return np.asarray((1 - np.sqrt(momentum)) ** 2)
