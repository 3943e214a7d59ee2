"""A step size at which gradient descent on any loss is tame, from gradients of the loss alone."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss

_TURNS = 50  # of the power method
_TRIES = 8  # random directions of rank one
_SMALL = 1e-4  # part of the way on which a loss changes
_WILD = 6  # times the curvature, of losses that grow faster than any square


def tame_step_size(loss: Loss, n_layers: int, norm: float, weight_decay: float = 0.0) -> float:
    """Return 1 / S, S being about the largest curvature that training meets, to two digits.

    S is the larger of bounds at the start, whose layers have spectral norms up to `norm`, and at
    balanced layers of a matrix as large as those that the loss asks for. Both are made of the gradient
    at the zero matrix and of the largest curvature there and down the slope from it; how large a matrix
    is asked for follows from the curvature along matrices of rank one. Where the curvature grows up the
    slope, as that of the exponential loss does, it is taken several times.

    Raises
    ------
    ValueError
        If there is nothing to learn from the zero matrix.
    OverflowError
        If no step size is.
    """
    shape = loss.n_outputs, loss.n_inputs
    at_zero = np.asarray(loss.gradient(np.zeros(shape)), np.float64)
    size = float(np.linalg.norm(at_zero))
    if size == 0:
        msg = "loss must have something to learn, got one without a slope at the zero matrix"
        raise ValueError(msg)
    step = _SMALL * float(loss.value(np.zeros(shape))) / size
    rng = np.random.default_rng(0)
    usual = 0.0
    for _ in range(_TRIES):
        pair = [rng.standard_normal(n) for n in shape]
        left, right = (vector / np.linalg.norm(vector) for vector in pair)
        changed = (loss.gradient(step * np.outer(left, right)) - at_zero) / step
        usual += float(left @ changed @ right) / _TRIES
    top = _curvature(loss, np.zeros(shape), step, rng)
    slope = float(np.linalg.norm(at_zero, 2))
    asked = slope / max(usual, 1e-6 * top)
    # Down the slope from the zero matrix: not every loss is as curved there as at zero.
    ahead = -asked * 2.0 ** -np.arange(8)[:, None, None] * at_zero / slope
    best = ahead[np.argmin(loss.value(ahead))]
    uphill = _curvature(loss, -best, step, rng)
    top = max(top, _curvature(loss, best, step, rng))
    if uphill > 2 * top:  # no bound: some sample is always uphill
        top *= _WILD
    at_end = asked ** (1 / n_layers)
    sharpness = max(
        _bound(top, slope + top * norm**n_layers, norm, n_layers),
        _bound(top, slope, at_end, n_layers),
    )
    inverse = 1 / (sharpness + weight_decay)
    digits = int(np.floor(np.log10(inverse))) - 1
    return float(f"{np.floor(inverse / 10.0**digits * (1 + 1e-9))}e{digits}")


def _curvature(loss: Loss, place: FloatArray, step: float, rng: np.random.Generator) -> float:
    """Return the largest curvature of the loss at a matrix, by the power method."""
    slope, top = loss.gradient(place), 0.0
    direction = rng.standard_normal(place.shape)
    for _ in range(_TURNS):
        moved = place + step * direction / np.linalg.norm(direction)
        direction = np.asarray((loss.gradient(moved) - slope) / step)
        top = float(np.linalg.norm(direction))
        if top == 0:
            break
    return top


def _bound(curvature: float, slope: float, norm: float, n_layers: int) -> float:
    """Return a bound on the curvature by weights, at layers of a spectral norm."""
    bound = n_layers * curvature * norm ** (2 * n_layers - 2)
    if n_layers > 1:
        bound += (n_layers - 1) * slope * norm ** (n_layers - 2)
    return bound
