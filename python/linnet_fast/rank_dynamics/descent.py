"""Single modes under gradient descent: exact recursions, bounds, step counts, step-size regimes."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics._wide import Wide, less_product
from linnet_fast.rank_dynamics.modes import (
    MOST_NUMBERS,
    ModePath,
    Start,
    broadcast,
    named_start,
    rates,
    start_of,
)
from linnet_fast.rank_dynamics.momentum import (
    checked_momentum,
    damped_from,
    largest_step_size,
)

_MOST_STEPS = 2**53
_MOST_WORK = 2**31  # steps of all modes together: a minute or two
_SMALL = 1e-20  # of the resting strength: below, growth is that of a small mode


def mode_descent(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    step_size: npt.ArrayLike,
    steps: npt.ArrayLike,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    n_layers: int = 2,
    momentum: npt.ArrayLike = 0.0,
    nesterov: bool = False,
) -> ModePath:
    """Return a balanced mode under gradient descent, by its exact recursion.

    Each layer's singular value a = w^(1/L) goes to a + step_size f with the force f = a^(L - 1) (sigma -
    lam a^L). With momentum it goes to a + step_size v, where v <- momentum v + f from v = 0, or, by
    Nesterov, to a + step_size (f + momentum v).

    Parameters
    ----------
    sigma, lam
        As for `mode_flow`.
    step_size : array_like
        Positive. It, `sigma`, `lam` and the start broadcast to shape (*modes).
    steps : array_like of int, shape (n_steps,) or ()
        Steps >= 0, in any order; at most 2^31 of all modes together, which take a minute or two
        (one layer has a formula: up to 2^53 steps).
    strength, log_strength, n_layers
        As for `mode_flow`.
    momentum : array_like, default 0
        0 <= momentum < 1; broadcasts with the others. With it a single layer has to have lam > 0.
    nesterov : bool, default False
        Whether to look ahead.

    Returns
    -------
    ModePath
        Arrays of shape (*modes, n_steps), or (*modes) for a single step. Steps that overshoot zero
        make an odd number of layers negative: the sign is that of `strength`. inf or NaN where the
        step size is so large that the mode diverges, and only there.

    Raises
    ------
    TypeError, ValueError
        As `mode_flow`.

    Notes
    -----
    It costs 30 to 100 ns a step and mode, in compiled code; one layer is a geometric sequence. Two
    layers below rest are iterated in logit(1 - lam w / sigma), others in the layer while it is far
    from rest and in what remains while it is near: so strength and what remains are relatively accurate
    at both ends, to about 1e-13 for every thousand steps at most. With momentum all layers are iterated,
    near rest in what remains.

    Examples
    --------
    >>> path = mode_descent(1.0, step_size=0.05, steps=[0, 200, 400], strength=1e-8)
    >>> path.strength.round(4).tolist()
    [0.0, 0.7687, 1.0]
    >>> path = mode_descent(1.0, step_size=0.005, momentum=0.9, steps=[0, 200, 400], strength=1e-8)
    >>> path.strength.round(4).tolist()
    [0.0, 0.0172, 0.9998]
    >>> mode_descent(1.0, step_size=1.5, steps=[0, 1, 2], strength=10.0, n_layers=1).strength.tolist()
    [10.0, -3.5, 3.25]
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    s, lm = rates(sigma, lam)
    eta = validate.real_array("step_size", step_size, above=0)
    at, scalar = checked_steps(steps)
    name, number = named_start(strength, log_strength)
    part, ahead = checked_momentum(momentum, nesterov)
    s, lm, eta, part, number = broadcast(
        sigma=s, lam=lm, step_size=eta, momentum=part, **{name: number}
    )
    modes, is_plain = s.shape, not part.any()
    can_be_done(modes, at, iterated=depth > 1 or not is_plain)
    s, lm, eta, part, number = (x.ravel() for x in (s, lm, eta, part, number))
    if depth == 1 and not is_plain:
        validate.refuse("lam", "> 0 of one layer with momentum", lm, lm == 0)
    unique, where = np.unique(at, return_inverse=True)
    with np.errstate(all="ignore"):
        start = start_of(name, number, s, lm)
        if not is_plain and depth > 1:
            part_of_rest = start.strength * Wide(lm) / Wide(s)
            too_far = np.isinf(part_of_rest.power(-1, depth).double())
            tiny = too_far & (s > 0) & (lm > 0) & (start.strength.mantissa > 0)
            expected = f"at least exp(-{709 * depth}) of rest with momentum"
            validate.refuse(name, expected, number, tiny)
        column = Start(_column(start.strength), start.log_strength[:, None], _column(start.gap))
        if not is_plain:
            w, left = _with_momentum(unique, eta, s, lm, start, depth, part, nesterov=ahead)
        elif depth == 1:
            w, left = _one_layer(unique, eta, s, lm, column)
        elif depth == 2:
            w, left = _two_layers(unique, eta, s, lm, start)
        else:
            w, left = _balanced(unique, eta, s, lm, start, depth)
        begins = unique == 0
        # At rest or at zero, of two layers and more, nothing moves.
        still = np.zeros((len(s), 1), dtype=bool)
        if depth > 1:
            still = (column.gap.mantissa == 0) | (column.strength.mantissa == 0)
        w = Wide.where(begins | still, column.strength, w)
        left = np.where(begins | still, column.gap.double(), left)
        left = np.where((s > 0)[:, None], left, np.nan)
        size = Wide(np.abs(w.mantissa), w.exponent)
        log_w = np.where(begins | still, column.log_strength, size.log())
        shape = modes if scalar else (*modes, at.size)
        return ModePath(*(x[:, where].reshape(shape) for x in (w.double(), log_w, left)))


def descent_bounds(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    step_size: npt.ArrayLike,
    steps: npt.ArrayLike,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return bounds below and above on a balanced mode of two layers under gradient descent.

    Parameters
    ----------
    sigma, lam, step_size, strength, log_strength
        As for `mode_descent`, with 0 < step_size * sigma <= 1/2 and a start not above rest.
    steps : array_like
        Steps >= 0. All arrays broadcast.

    Returns
    -------
    lower, upper : ndarray of float64

    Raises
    ------
    TypeError
        As `mode_flow`.
    ValueError
        If a number is out of range; outside the range of the bounds use `mode_descent`.

    Notes
    -----
    With r = (sigma - lam w) / w, each step multiplies r by a factor between 1 - 2 step_size sigma,
    which is attained near rest, and (1 + step_size sigma)^-2, attained near zero.

    Examples
    --------
    >>> lower, upper = descent_bounds(1.0, step_size=0.05, steps=200, strength=1e-8)
    >>> path = mode_descent(1.0, step_size=0.05, steps=200, strength=1e-8)
    >>> bool(lower < path.strength < upper)
    True
    """
    s, lm = rates(sigma, lam)
    eta = validate.real_array("step_size", step_size, above=0)
    at = validate.real_array("steps", steps, at_least=0)
    name, number = named_start(strength, log_strength)
    s, lm, eta, at, number = broadcast(sigma=s, lam=lm, step_size=eta, steps=at, **{name: number})
    with np.errstate(all="ignore"):
        x = np.asarray(eta * s)
        instead = "use mode_descent, which is exact for any step size"
        validate.refuse("step_size * sigma", f"in (0, 1/2] ({instead})", x, ~((s > 0) & (x <= 0.5)))
        start = start_of(name, number, s, lm)
        above = start.gap.mantissa < 0
        validate.refuse(name, "at most sigma / lam (above rest use mode_descent)", number, above)
        force, begun = Wide(s), start.strength
        # sigma / (lam + r), where r is sigma gap / w_0 times a power.
        bounds = []
        for log_rate in (-2 * np.log1p(x), np.log1p(-2 * x)):
            rest = Wide.exp(np.where(at == 0, 0.0, at * log_rate))
            below = Wide(lm) * begun + force * start.gap * rest
            bounds.append(np.where(begun.mantissa == 0, 0.0, (force * begun / below).double()))
        return bounds[0], bounds[1]


class StepSizeRegime(IntEnum):
    """What a balanced mode of two layers does under gradient descent, by step_size * sigma.

    Examples
    --------
    >>> StepSizeRegime(1).name
    'DAMPED'
    """

    MONOTONE = 0
    """Up to 1/2: rises to rest without overshooting."""
    DAMPED = 1
    """Below 1: oscillates about rest and settles."""
    PERIOD_TWO = 2
    """Below sqrt(5) - 1: goes between two values for ever."""
    CHAOTIC = 3
    """Up to 2: period doubling and chaos, but bounded."""
    DIVERGENT = 4
    """Above 2: goes to infinity from almost every start."""
    UNSTABLE = 5
    """With momentum, from `largest_step_size` on: does not settle at rest."""


def step_size_regime(
    sigma: npt.ArrayLike,
    *,
    step_size: npt.ArrayLike,
    momentum: npt.ArrayLike = 0.0,
    nesterov: bool = False,
) -> npt.NDArray[np.int8]:
    """Return the regime of a balanced mode of two layers.

    Parameters
    ----------
    sigma : array_like
        Singular values >= 0 of ``cross_cov``.
    step_size : array_like
        Positive; broadcasts with `sigma`.
    momentum, nesterov
        As for `mode_descent`. With momentum MONOTONE and DAMPED are of what remains near rest.

    Returns
    -------
    ndarray of int8
        A `StepSizeRegime` each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not made of real numbers or out of range.

    Notes
    -----
    With b = a sqrt(lam / sigma) and x = step_size sigma, a step is b <- b (1 + x (1 - b^2)). At rest the
    sharpness is 2 sigma.

    Examples
    --------
    >>> step_size_regime([3.0, 7.0, 11.0, 15.0, 25.0], step_size=0.1).tolist()
    [0, 1, 2, 3, 4]
    >>> step_size_regime([0.01, 7.0, 25.0], step_size=0.1, momentum=0.9).tolist()
    [0, 1, 5]
    """
    s = validate.real_array("sigma", sigma, at_least=0)
    eta = validate.real_array("step_size", step_size, above=0)
    part, ahead = checked_momentum(momentum, nesterov)
    s, eta, part = broadcast(sigma=s, step_size=eta, momentum=part)
    with np.errstate(all="ignore"):
        x = np.asarray(eta * s)
    regime = (x > 0.5).astype(np.int8) + (x >= 1) + (x >= np.sqrt(5) - 1) + (x > 2)
    swings = (2 * x > damped_from(part, nesterov=ahead)).astype(np.int8)
    is_stable = 2 * x < largest_step_size(1.0, momentum=part, nesterov=ahead)
    moving = np.where(is_stable, swings, StepSizeRegime.UNSTABLE)
    return np.asarray(np.where(part > 0, moving, regime), dtype=np.int8)


def checked_steps(steps: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], bool]:
    """Return steps as a vector, and whether a single one was given."""
    array = validate.integer_array("steps", steps, low=0, high=_MOST_STEPS)
    if array.ndim > 1:
        msg = f"steps must have shape (n_steps,), got {array.shape}"
        raise ValueError(msg)
    return np.atleast_1d(array), array.ndim == 0


def can_be_done(
    modes: tuple[int, ...], steps: npt.NDArray[np.int64], *, iterated: bool = True
) -> None:
    """Refuse more modes and steps than can be stored, or gone through in reasonable time."""
    n_modes = math.prod(modes)
    if n_modes * steps.size > MOST_NUMBERS:
        got = n_modes * steps.size
        msg = f"steps must ask for at most {MOST_NUMBERS} numbers of all modes, got {got}"
        raise ValueError(msg)
    work = n_modes * int(steps.max())
    if iterated and work > _MOST_WORK:
        msg = f"steps must be at most {_MOST_WORK} of all modes together, got {work}"
        raise ValueError(msg)


def _column(x: Wide) -> Wide:
    return Wide(x.mantissa[:, None], x.exponent[:, None])


def _pick(x: Wide, here: npt.NDArray[np.bool_]) -> Wide:
    return Wide(x.mantissa[here], x.exponent[here])


def _one_layer(
    steps: npt.NDArray[np.int64], eta: FloatArray, s: FloatArray, lm: FloatArray, start: Start
) -> tuple[Wide, FloatArray]:
    """Return the geometric sequence; `start` is a column."""
    size, brake = Wide(eta[:, None]), Wide(lm[:, None])
    x = (size * brake).double()
    base = less_product(Wide(1.0), size, brake)  # 1 - x
    log_size = np.where(x < 0.5, np.log1p(-x), Wide(np.abs(base.mantissa), base.exponent).log())
    moved = np.where(steps == 0, 0.0, steps * log_size)
    positive = (base.mantissa > 0) | (steps % 2 == 0)
    kept = Wide.exp(moved)
    kept = Wide.where(positive, kept, -kept)
    # 1 - kept over x, that does not cancel for small x; as many as there are steps for none.
    gone = Wide.where(positive, -Wide(np.expm1(moved)), Wide(1.0) - kept)
    gone = Wide.where(np.isinf(np.expm1(moved)), Wide(1.0) - kept, gone)
    grown = Wide.where(np.abs(moved) < 1e-300, size * steps.astype(np.float64), gone / brake)
    force, left = Wide(s[:, None]), kept * start.gap
    w = start.strength * kept + force * grown
    # Near rest that is the better reference, and with signs that alternate nothing is to cancel.
    learned = (s[:, None] > 0) & (lm[:, None] > 0) & ((left.exponent < 0) | ~positive)
    w = Wide.where(learned, force / brake * (Wide(1.0) - left), w)
    return w, left.double()


def _two_layers(
    steps: npt.NDArray[np.int64], eta: FloatArray, s: FloatArray, lm: FloatArray, start: Start
) -> tuple[Wide, FloatArray]:
    shape = (len(eta), len(steps))
    m, e, left = np.zeros(shape), np.zeros(shape), np.ones(shape)

    def put(here: npt.NDArray[np.bool_], w: Wide) -> None:
        m[here], e[here] = w.mantissa, w.exponent

    drive = Wide(eta) * s
    x = drive.double()
    below = (s > 0) & (lm > 0) & (start.gap.mantissa > 0) & (start.strength.mantissa > 0)
    by_logit, grows = below & (x < 0.5), lm == 0
    # Too small a start to be iterated to rest grows by a known factor first.
    part = start.strength * lm / s
    tiny = below & ~by_logit & (part.log() < -600)
    rest = ~by_logit & ~grows & ~tiny
    if by_logit.any():
        logit = (start.gap / part).log()[by_logit]
        z = _core.logit_descent(logit=logit, rate=x[by_logit], steps=steps.tolist())
        # From z, 1 - lam w / sigma = expit(z); of large z it is x = e^-z that is wanted.
        share = Wide.where(
            z > 0, Wide.exp(-z) / (Wide.exp(-z) + 1.0), Wide(scipy.special.expit(-z))
        )
        put(by_logit, _column(_pick(Wide(s) / lm, by_logit)) * share)
        left[by_logit] = scipy.special.expit(z)
    if grows.any():
        growth = _column(_pick(drive, grows).log1p()) * (2.0 * steps)
        put(grows, _column(_pick(start.strength, grows)) * Wide.exp(growth.double()))
    for i in np.flatnonzero(tiny):
        here = np.arange(len(eta)) == i
        rate = 2 * drive.log1p().double()[i]
        n_small = int((np.log(_SMALL) - part.log()[i]) / rate)
        grown = _pick(start.strength, here) * Wide.exp(np.atleast_1d(n_small * rate))
        force = Wide(s[here])
        later = Start(grown, grown.log(), less_product(force, Wide(lm[here]), grown) / force)
        early = _pick(start.strength, here) * Wide.exp(rate * steps.astype(np.float64))
        w, remaining = _balanced(
            np.maximum(steps - n_small, 0), eta[here], s[here], lm[here], later, 2
        )
        put(here, Wide.where(steps < n_small, early, w))
        left[i] = np.where(steps < n_small, 1.0, remaining[0])
    if rest.any():
        part_start = Start(
            _pick(start.strength, rest), start.log_strength[rest], _pick(start.gap, rest)
        )
        w, left[rest] = _balanced(steps, eta[rest], s[rest], lm[rest], part_start, 2)
        put(rest, w)
    return Wide(m, e), left


def _with_momentum(
    steps: npt.NDArray[np.int64],
    eta: FloatArray,
    s: FloatArray,
    lm: FloatArray,
    start: Start,
    depth: int,
    momentum: FloatArray,
    *,
    nesterov: bool,
) -> tuple[Wide, FloatArray]:
    """Return modes and what remains with velocities, by the recursion of a layer."""
    moving = momentum, nesterov
    if depth > 1:
        return _balanced(steps, eta, s, lm, start, depth, moving)
    # In units of rest: what remains is all there is.
    one, zero = np.ones(len(s)), np.zeros(len(s))
    _, left = _core.momentum_descent(
        drive=np.asarray(eta * lm),
        brake=zero,
        rest=one,
        gap=start.gap.double(),
        momentum=momentum,
        nesterov=nesterov,
        n_layers=1,
        steps=steps.tolist(),
    )
    return _column(Wide(s) / lm) * (Wide(1.0) - left), left


def _balanced(
    steps: npt.NDArray[np.int64],
    eta: FloatArray,
    s: FloatArray,
    lm: FloatArray,
    start: Start,
    depth: int,
    moving: tuple[FloatArray, bool] | None = None,
) -> tuple[Wide, FloatArray]:
    """Return modes and what remains by the recursion of a layer in units of its start.

    moving : (ndarray, bool), optional
        Momenta, and whether they are Nesterov's.
    """
    w, size, force, brake = start.strength, Wide(eta), Wide(s), Wide(lm)
    unit = w.power(depth - 2, depth) if depth > 2 else Wide(np.ones(len(s)))
    drive, stop = size * force * unit, size * brake * unit * w
    part = w * brake / force
    rest = np.where((s > 0) & (lm > 0), part.power(-1, depth).double(), np.where(s > 0, np.inf, 0))
    parts: dict[str, Any] = {
        "drive": drive.double(),
        "brake": stop.double(),
        "rest": rest,
        "gap": np.where((s > 0) & (lm > 0), start.gap.double(), np.inf),
        "n_layers": depth,
        "steps": steps.tolist(),
    }
    if moving is None:
        layer, left = _core.balanced_descent(**parts)
    else:
        layer, left = _core.momentum_descent(**parts, momentum=moving[0], nesterov=moving[1])
    near = ~np.isnan(left)
    grown = Wide(np.abs(layer)).power(depth)
    if depth % 2:
        grown = Wide.where(layer < 0, -grown, grown)
    grown = Wide.where(np.isnan(layer), Wide(np.nan), grown)
    left = np.where(near, left, (Wide(1.0) - _column(part) * grown).double())
    at_rest = _column(force / brake) * (Wide(1.0) - left)
    return Wide.where(near, at_rest, _column(w) * grown), left
