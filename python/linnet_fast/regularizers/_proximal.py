"""Proxes of functions of one number, and solvers that proxes of vectors share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linnet_fast._base.validate import FloatArray

_SLACK = 1.5
IntArray = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


def soft(x: FloatArray, threshold: FloatArray) -> FloatArray:
    """Return x moved towards 0 by the threshold."""
    return np.asarray(x - np.clip(x, -threshold, threshold))


def power_prox(x: FloatArray, step: FloatArray, power: float) -> FloatArray:
    """Return the prox of ``step |x|**power``, 0 < power <= 1, number by number.

    Below a threshold it is 0. Above it is |x| times the larger root of `larger_root`.
    """
    if power == 1:
        return soft(x, step)
    size = np.abs(x)
    strength = power_strength(size, step, power)
    kept = strength < most_strength(power)
    y = larger_root(np.where(kept, strength, 0.0), power)
    return np.asarray(np.where(kept, x * y, 0.0))


def power_strength(size: FloatArray, step: FloatArray, power: float) -> FloatArray:
    """Return ``step size**(power - 2)``, the step in units of the size; inf at 0."""
    some = size > 0
    safe = np.where(some, size, 1.0)
    # In this order no factor overflows unless the product does.
    with np.errstate(over="ignore"):
        return np.where(some, step / safe * safe ** (power - 1), np.inf)


def most_strength(power: float) -> float:
    """Return the step from which on the prox of ``step |x|**power`` at x = 1 is 0, power < 1."""
    # There y = 2 (1 - power) / (2 - power) is as good as 0.
    return float((2 * (1 - power)) ** (1 - power) * (2 - power) ** (power - 2))


def larger_root(strength: FloatArray, power: float) -> FloatArray:
    """Return the larger root y of ``y + strength power y**(power - 1) = 1``, power <= 1.

    Newton's method reaches it from 1, as the left side is convex. The strength is at most
    `most_strength`.
    """
    y = np.ones_like(strength)
    for _ in range(60):
        slope = strength * power * y ** (power - 2)
        move = (y + slope * y - 1) / (1 + (power - 1) * slope)
        y = y - move
        if not (np.abs(move) > 4e-16).any():
            break
    return y


def shrink(x: FloatArray, step: FloatArray, power: float = 1.0) -> FloatArray:
    """Return the prox of ``step ||x||_2**power`` of vectors (n, D)."""
    scale = np.abs(x).max(axis=-1)
    safe = np.where(scale > 0, scale, 1.0)
    size = np.linalg.norm(x / safe[:, None], axis=-1)
    less = power_prox(size, power_strength(safe, step, power), power)
    ratio = np.divide(less, size, out=np.zeros_like(size), where=size > 0)
    return np.asarray(x * ratio[:, None])


def falling_root(
    f: Callable[[FloatArray, IntArray], FloatArray], low: FloatArray, high: FloatArray
) -> FloatArray:
    """Return where f falls through 0 between `low` and `high`, for many f at once.

    Chandrupatla's method: inverse quadratic interpolation where it is safe, else bisection.
    ``f(points, rows)`` gives the values of the functions numbered by `rows`, which are those not
    finished. Where f has one sign, the end nearer to a root is returned.

    T. R. Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a
    nonlinear function without using derivatives", Advances in Engineering Software 28, 1997.
    """
    rows = np.arange(len(low))
    f_low, f_high = f(low, rows), f(high, rows)
    result = np.where(f_high < 0, low, high)
    going = (f_low > 0) & (f_high < 0)
    rows = rows[going]
    a, b, fa, fb = np.stack([low, high, f_low, f_high])[:, going]
    share = np.full(len(rows), 0.5)
    while len(rows):
        x = a + share * (b - a)
        fx = f(x, rows)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        result[rows] = best
        least = 4e-16 * (np.abs(best) + 0.1) / np.abs(b - a)
        done = (least > 0.5) | (fa == 0)
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi) & ~done
        share = np.full(len(rows), 0.5)
        x1, x2, x3, f1, f2, f3 = np.stack([a, b, c, fa, fb, fc])[:, smooth]
        share[smooth] = (f1 / (f2 - f1)) * (f3 / (f2 - f3))
        share[smooth] += (x3 - x1) / (x2 - x1) * (f1 / (f3 - f1)) * (f2 / (f3 - f2))
        rows = rows[~done]
        a, b, fa, fb, share, least = np.stack([a, b, fa, fb, share, least])[:, ~done]
        share = np.clip(share, least, 1 - least)
    return result


def prox_by_square(
    x: FloatArray,
    step: FloatArray,
    value: Callable[[FloatArray], FloatArray],
    dual: Callable[[FloatArray], FloatArray],
    rest: Callable[[FloatArray, FloatArray, FloatArray], FloatArray],
) -> FloatArray:
    """Return the prox of a norm N by that of its square.

    The prox y of step N is that of (t / 2) N^2 with t N(y) = step. ``rest(x, step, r)`` is x less
    the prox for t = step / r. Its dual norm is t N(y), which falls through `step` as r grows.
    """
    result = np.zeros_like(x)
    rows = np.flatnonzero(dual(x) > step)
    x, step = x[rows], step[rows]

    def excess(log_r: FloatArray, at: IntArray) -> FloatArray:
        return np.asarray(np.log(dual(rest(x[at], step[at], np.exp(log_r))) / step[at]))

    # N(y) is at most N(x); below e^-45 N(x) it does not count.
    top = np.log(value(x))
    result[rows] = x - rest(x, step, np.exp(falling_root(excess, top - 45, top)))
    return result


def accelerated(
    move: Callable[[FloatArray, IntArray], FloatArray],
    start: FloatArray,
    *,
    tolerance: float,
    most_rounds: int,
) -> FloatArray:
    """Return fixed points u = move(u, rows) of nonexpansive maps of vectors (n, D).

    Anderson's acceleration, damped while its steps fail; where steps stay nearly the same, they are
    doubled again and again. A step that takes |move(u) - u| far above its least so far fails and is
    replaced by a plain one. Rows in which that is at most the tolerance, relative to 1 + |u|, are
    dropped.

    H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM Journal on
    Numerical Analysis 49, 2011.
    """
    result = start.copy()
    rows = np.arange(len(start))
    memory = min(start.shape[1] + 1, 10)
    u, image = start.copy(), move(start, rows)
    # Differences of successive points and of successive misses.
    points = np.zeros((len(start), memory, start.shape[1]))
    misses = np.zeros_like(points)
    factor = np.ones(len(start))
    best = np.full(len(start), np.inf)
    damping = np.ones(len(start))
    same = np.zeros(len(start), dtype=bool)
    for round_ in range(most_rounds):
        miss = image - u
        size = np.linalg.norm(miss, axis=-1)
        result[rows] = image
        # The longer it takes, the less is asked: drifts along entries that hardly count are long.
        limit = tolerance * (1 + (round_ / 100) ** 3)
        going = size > limit * (1 + np.linalg.norm(u, axis=-1))
        if not going.all():
            rows, u, image, miss, size = (v[going] for v in (rows, u, image, miss, size))
            points, misses, factor, same = (v[going] for v in (points, misses, factor, same))
            best, damping = best[going], damping[going]
            if not len(rows):
                break
        best = np.minimum(best, size)
        # Least squares by the pseudo-inverse, as differences become dependent near the end.
        weights = np.einsum("nd,ndm->nm", miss, np.linalg.pinv(misses, rcond=1e-10))
        guess = image - np.einsum("nm,nmd->nd", weights, points + misses)
        guess = image + damping[:, None] * (guess - image)
        factor = np.where(same, 2 * factor, factor)
        guess[same] = u[same] + factor[same, None] * miss[same]
        new = move(guess, rows)
        worse = np.linalg.norm(new - guess, axis=-1) > _SLACK * best
        if worse.any():
            guess[worse] = image[worse]
            new[worse] = move(guess[worse], rows[worse])
            factor[worse] = np.maximum(factor[worse] / 8, 1.0)
        tried = np.where(worse, damping / 4, np.minimum(2 * damping, 1.0))
        damping = np.where(same, damping, tried)
        slot = round_ % memory
        points[:, slot] = guess - u
        change = (new - guess) - miss
        # The pseudo-inverse of less than this would overflow.
        misses[:, slot] = np.where(np.abs(change) > 1e-100, change, 0.0)
        same = (np.linalg.norm(misses[:, slot], axis=-1) <= 0.1 * size) & ~worse
        u, image = guess, new
    return result
