"""How many steps of gradient descent a mode takes until it is learned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics._wide import Wide, less_product
from linnet_fast.rank_dynamics.modes import (
    Start,
    broadcast,
    checked_fraction,
    learning_times_of,
    named_start,
    rates,
    start_of,
)
from linnet_fast.rank_dynamics.momentum import checked_momentum, inertia, steps_to

_FINE = 1e-3  # step_size times the sharpness over (1 - momentum)^2: below, the flow tells


def learning_steps(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike = 1.0,
    *,
    step_size: npt.ArrayLike,
    strength: npt.ArrayLike | None = None,
    log_strength: npt.ArrayLike | None = None,
    fraction: npt.ArrayLike = 0.5,
    n_layers: int = 2,
    momentum: npt.ArrayLike = 0.0,
    nesterov: bool = False,
) -> FloatArray:
    """Predict the number of steps in which a balanced mode reaches a fraction of its rest.

    Parameters
    ----------
    sigma, lam, step_size, strength, log_strength, n_layers, momentum, nesterov
        As for `mode_descent`.
    fraction : array_like, default 0.5
        In (0, 1).

    Returns
    -------
    ndarray of float64
        A real number of steps. Two layers: within 0.6 of the exact count for step_size * sigma <=
        0.3. Other depths: up to terms of order step_size times the sharpness. With momentum: to some
        1e-6 of itself, of any depth, and for steps of any size; NaN where it never gets there. 0 and
        inf as in `learning_time`.

    Raises
    ------
    TypeError, ValueError
        As `learning_time`.

    Notes
    -----
    Backward error analysis: descent follows a flow with a force that is changed by terms of order
    step_size. Two layers have the exact rates at both ends, 2 ln(1 + x) and -ln(1 - 2 x) with x =
    step_size sigma < 1/2; a larger x overshoots, and has no such count (nor has one layer from
    step_size lam = 1 on): use `mode_descent`. Momentum makes a step as long as one of step_size / (1 -
    momentum), changes the force more, and loses momentum / (1 - momentum) steps at the start, or
    momentum^2 / (1 - momentum) by Nesterov. That is an expansion in step_size / (1 - momentum)^2: where
    that is not small, steps are counted by the recursion, which takes about as long as `mode_descent`.

    Examples
    --------
    >>> float(learning_steps(1.0, step_size=0.05, strength=1e-8).round(1))
    188.2
    >>> float(learning_steps(1.0, step_size=0.005, momentum=0.9, strength=1e-8).round(1))
    250.2
    """
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    s, lm = rates(sigma, lam)
    eta = validate.real_array("step_size", step_size, above=0)
    q = checked_fraction(fraction)
    name, number = named_start(strength, log_strength)
    part, ahead = checked_momentum(momentum, nesterov)
    s, lm, eta, q, part, number = broadcast(
        sigma=s, lam=lm, step_size=eta, fraction=q, momentum=part, **{name: number}
    )
    instead = "use mode_descent, which is exact for any step size"
    with np.errstate(all="ignore"):
        if part.any():
            start = start_of(name, number, s, lm)
            return _moving_steps(start, eta, s, lm, q, depth, part, nesterov=ahead)
        if depth == 1:
            rate = np.asarray(eta * lm)
            validate.refuse("step_size * lam", f"< 1 ({instead})", rate, rate >= 1)
        elif depth == 2:
            rate = np.asarray(eta * s)
            validate.refuse("step_size * sigma", f"< 1/2 ({instead})", rate, rate >= 0.5)
        start = start_of(name, number, s, lm)
        time = learning_times_of(s, lm, q, start, depth)
        size, force, brake = Wide(eta), Wide(s), Wide(lm)
        begun = start.strength * brake / force
        growth = less_product(Wide(q) * force, brake, start.strength) / force
        # ln of (sigma - lam w_0) / (sigma - lam w), and of w / w_0
        log_left = (growth / (Wide(1.0) - q)).log1p()
        log_grown = (growth / begun).log1p()
        if depth == 1:
            count = log_left / (-(-(size * brake)).log1p())
        elif depth == 2:
            x = size * force
            c = Wide(1.0) - x * 0.5
            k = x * 1.5
            change = (k * growth / (c + k * begun)).log1p() * 0.75 / (c * (x + 1.0))
            count = log_grown / (x.log1p() * 2.0) + log_left / (-(-(x * 2.0)).log1p()) - change
        else:
            count = time / size + (log_grown * (1 - 1 / depth) - log_left) * 0.5
        exact = (time.mantissa == 0) | np.isinf(time.mantissa)
        return Wide.where(exact, time, count).double()


def _moving_steps(
    start: Start,
    eta: FloatArray,
    s: FloatArray,
    lm: FloatArray,
    q: FloatArray,
    depth: int,
    momentum: FloatArray,
    *,
    nesterov: bool,
) -> FloatArray:
    """Return the count of steps with momentum: by the modified flow, or counted where steps are long."""
    how = inertia(momentum, nesterov=nesterov)
    force, brake = Wide(s), Wide(lm)
    begun = start.strength * brake / force
    time = learning_times_of(s, lm, q, start, depth)
    exact = (time.mantissa == 0) | np.isinf(time.mantissa)

    def by_flow(fraction: FloatArray) -> FloatArray:
        growth = less_product(Wide(fraction) * force, brake, start.strength) / force
        log_left = (growth / (Wide(1.0) - fraction)).log1p()
        log_grown = (growth / begun).log1p()
        bent = log_grown * (1 - 1 / depth) - log_left if depth > 1 else -log_left
        flow = learning_times_of(s, lm, fraction, start, depth)
        count = flow / (Wide(eta) * how.gain) + bent * how.change + how.delay
        return Wide.where(exact, time, count).double()

    count = np.array(by_flow(q))
    rest = force / brake
    at_rest = {1: brake, 2: force}.get(depth) or force * rest.power(depth - 2, depth)
    rate = (Wide(eta) * at_rest).double()
    coarse = rate * how.gain**2
    log_part = begun.log()
    # From where the modified flow is as good as it has to be on the way there.
    margin = np.log(coarse / _FINE)
    first = np.maximum(log_part, -margin * depth / (depth - 2)) if depth > 2 else log_part
    first = np.where(first < np.log(q), first, log_part)
    until = by_flow(np.exp(first))
    for mode in np.argwhere((coarse > _FINE) & ~exact):
        k = tuple(mode)
        count[k] = steps_to(
            float(first[k]), float(q[k]), float(rate[k]), depth, momentum=float(momentum[k]),
            nesterov=nesterov,
        )  # fmt: skip
        if first[k] > log_part[k]:
            count[k] += until[k] - how.delay[k]
    return np.asarray(count)
