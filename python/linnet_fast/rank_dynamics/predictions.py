"""When a small start will learn each mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import (
    JointDecomposition,
    checked_layers,
    joint_decomposition,
)
from linnet_fast.rank_dynamics.modes import MOST_NUMBERS, learning_time
from linnet_fast.rank_dynamics.momentum import checked_momentum
from linnet_fast.rank_dynamics.step_counts import learning_steps

_EPS = float(np.finfo(np.float64).eps)
_ALIGNED = 1e-6  # what counts as an aligned and balanced start, relative


def effective_strengths(
    loss: SquaredLoss, start: Sequence[npt.ArrayLike], *, deflate: bool = True
) -> FloatArray:
    """Return the strength of the aligned start that each mode of a small two-layer start acts like.

    Mode i grows from the part of the start that lies along it, the hidden vector ``s_i = (W_1
    right_i + W_2^T left_i) / 2``. What s_i shares with the hidden directions of modes learned
    before is held back by these, so only the rest counts.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; they need not commute.
    start : tuple of two array_like, shapes (*run, hidden, in) and (*run, out, hidden)
        Start weights. Run axes broadcast with those of `loss`.
    deflate : bool, default True
        Whether to leave out the directions of modes before, in the order of descending sigma;
        otherwise ``|s_i|^2``.

    Returns
    -------
    ndarray of float64, shape (*run, min(out, in))
        0 where sigma is 0, and, if deflated, for modes beyond the number of hidden units: these are
        never learned; inf where it exceeds the largest number. Of an aligned start with entries a_i
        and b_i: ``(a_i + b_i)^2 / 4``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `start` has not two layers, shapes do not match, run axes do not broadcast, or a number
        is not finite.

    Notes
    -----
    Learning times of Gaussian starts of scale 1e-4 follow from these to about 1e-4 (whitened
    inputs), from the strengths without deflation to a few percent. Among modes of equal sigma, which
    are learned together, the split depends on the basis.

    References
    ----------
    The growing direction of an unaligned start: A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact
    solutions to the nonlinear dynamics of learning in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = np.array([[0.1, 0.1], [0.0, 0.1]]), np.array([[0.1, 0.0], [0.1, 0.1]])
    >>> effective_strengths(loss, start).round(6).tolist()
    [0.01, 0.01]
    >>> effective_strengths(loss, start, deflate=False).round(6).tolist()
    [0.01, 0.02]
    """
    layers = checked_layers("start", start, loss)
    _two_layers(layers)
    deflate = validate.flag("deflate", deflate)
    sizes, scale = _effective(joint_decomposition(loss), layers, deflate=deflate)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray((sizes * scale) ** 2)


def predicted_times(
    loss: SquaredLoss,
    start: Sequence[npt.ArrayLike],
    *,
    step_size: npt.ArrayLike | None = None,
    fraction: float = 0.5,
    momentum: npt.ArrayLike = 0.0,
    nesterov: bool = False,
) -> FloatArray:
    """Return when each mode of the data will be learned from a small start.

    Parameters
    ----------
    loss : SquaredLoss
        The moments. They need not commute; the less they do, the rougher the answer.
    start : tuple of array_like, shapes (*run, widths[l + 1], widths[l])
        Start weights: of two layers any; of another depth balanced and aligned with the data, as
        `linnet_fast.initialization.aligned` makes them.
    step_size : array_like, shape (*run), optional
        That of gradient descent, > 0, and with two layers below 1 / (2 sigma_1), where learning
        does not overshoot; by default time is that of gradient flow.
    fraction : float, default 0.5
        How much of ``sigma / lam`` counts as learned, between 0 and 1.
    momentum : array_like, shape (*run), default 0
        That of gradient descent, at least 0 and below 1; with it `step_size` may be of any size.
    nesterov : bool, default False
        Whether it looks ahead.

    Returns
    -------
    ndarray of float64, shape (*run, min(out, in))
        Time (``step_size * step``) in the order of descending sigma. 0 if a mode is learned from
        the start, inf if it never will be: where sigma or its part of the start is 0, or hidden
        units are used up by modes before.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, run axes do not broadcast, a number is out of range, or a start of
        another depth than two is not balanced and aligned.

    See Also
    --------
    effective_strengths : where a two-layer start begins.
    greedy_path : limit of vanishing starts, for data that do not commute.

    Notes
    -----
    Two layers: the time of a balanced mode that starts from its effective strength. Exact for
    balanced aligned starts and commuting data; otherwise the error vanishes with the scale of the
    start, slowly where modes are close.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(lf.Dense((2, 8, 2)), scale=1e-6, rng=0)
    >>> bool(np.all(np.diff(predicted_times(loss, start)) > 0))
    True
    """
    layers = checked_layers("start", start, loss)
    part = np.asarray(validate.real("fraction", fraction))
    validate.refuse("fraction", "> 0", part, part <= 0)
    validate.refuse("fraction", "< 1", part, part >= 1)
    step = None if step_size is None else validate.real_array("step_size", step_size, above=0)
    moving, ahead = checked_momentum(momentum, nesterov)
    if step is None:
        validate.refuse("momentum", "0 of gradient flow", moving, moving > 0)
    runs = validate.broadcast_runs(
        momentum=moving.shape,
        loss=loss.run_shape,
        start=np.broadcast_shapes(*(w.shape[:-2] for w in layers)),
        step_size=() if step is None else step.shape,
    )
    n_modes = min(loss.n_inputs, loss.n_outputs)
    if math.prod(runs) * n_modes > MOST_NUMBERS:
        msg = f"step_size must broadcast to at most {MOST_NUMBERS} numbers in all, got runs {runs}"
        raise ValueError(msg)
    data = joint_decomposition(loss)
    n_layers = len(layers)
    if n_layers == 2:
        sizes, scale = _effective(data, layers, deflate=True)
        with np.errstate(divide="ignore"):
            log_strength = 2 * (np.log(sizes) + np.log(scale))
    else:
        log_strength = aligned_log_strengths(data, layers)
    sigma = data.sigma
    lam = data.lam[..., : sigma.shape[-1]]
    starts = np.isfinite(log_strength) | (n_layers == 1)
    learned = (sigma > 0) & (lam > 0) & starts
    # Modes that are never learned get numbers that no formula objects to.
    with np.errstate(over="ignore"):
        rest = 0.25 if not moving.any() else 1e-4 * (1 - moving[..., None]) ** 2
        idle = np.ones(()) if step is None else np.minimum(rest / step[..., None], 1e300)
    s, power = np.where(learned, sigma, idle), np.where(learned, lam, idle)
    log_w = np.where(learned, log_strength, -50.0)
    begin = {"strength": np.exp(log_w)} if n_layers == 1 else {"log_strength": log_w}
    if step is None:
        times = learning_time(s, power, fraction=fraction, n_layers=n_layers, **begin)
    else:
        size = step[..., None]
        steps = learning_steps(
            s,
            power,
            step_size=size,
            fraction=fraction,
            n_layers=n_layers,
            momentum=moving[..., None],
            nesterov=ahead,
            **begin,
        )
        with np.errstate(over="ignore"):
            times = size * steps
        if (uncounted := np.isinf(steps)).any():  # of steps so short it is the time of the flow
            of_flow = learning_time(s, power, fraction=fraction, n_layers=n_layers, **begin)
            times = np.where(uncounted, of_flow, times)
    return np.broadcast_to(np.where(learned, times, np.inf), (*runs, sigma.shape[-1]))


def _two_layers(layers: Sequence[FloatArray]) -> None:
    if len(layers) != 2:
        msg = f"start must have two layers, got {len(layers)}"
        raise ValueError(msg)


def _effective(
    data: JointDecomposition, layers: Sequence[FloatArray], *, deflate: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the roots of the effective strengths as sizes and a scale; 0 where there are none."""
    k = data.sigma.shape[-1]
    right, left = data.right[..., :k], data.left[..., :k]
    # In units of the largest entry and then of the largest sum, so that nothing overflows and no
    # square underflows.
    largest = np.maximum(*(np.abs(w).max(axis=(-2, -1), keepdims=True) for w in layers))
    first, second = (w / np.where(largest > 0, largest, 1.0) for w in layers)
    vectors = (first @ right + second.mT @ left) / 2
    scale = np.abs(vectors).max(axis=(-2, -1), keepdims=True)
    unit = np.where(scale > 0, scale, 1.0)
    vectors = vectors / unit
    # What the sums may be wrong by; entry by entry, so that zeros of diagonal data stay exact.
    error = (np.abs(first) @ np.abs(right) + np.abs(second.mT) @ np.abs(left)) / unit
    noise = 4 * max(*first.shape[-2:], second.shape[-2]) * _EPS * np.linalg.norm(error, axis=-2)
    sizes = np.zeros((*vectors.shape[:-2], k))
    basis = np.zeros_like(vectors)
    for i in range(k):
        vector = vectors[..., :, i : i + 1]
        if deflate:
            before = basis[..., :, :i]
            for _ in range(2):  # once more, for what rounding left
                vector = vector - before @ (before.mT @ vector)
        rest = np.linalg.norm(vector, axis=(-2, -1))
        rest = np.where(rest > noise[..., i], rest, 0.0)
        sizes[..., i] = rest
        there = rest[..., None, None] > 0
        basis[..., :, i : i + 1] = np.where(
            there, vector / np.where(there, rest[..., None, None], 1.0), 0.0
        )
    return np.where(data.sigma > 0, sizes, 0.0), np.asarray(scale * largest)[..., 0]


def aligned_log_strengths(data: JointDecomposition, layers: Sequence[FloatArray]) -> FloatArray:
    """Return the logarithm of the strengths of a balanced aligned start of any depth."""
    k = data.sigma.shape[-1]
    scales = [np.abs(layer).max(axis=(-2, -1), keepdims=True) for layer in layers]
    # Balanced layers are of equal size: one scale for all keeps the ratios.
    scale = np.max(np.broadcast_arrays(*scales), axis=0)
    unit = [layer / np.where(scale > 0, scale, 1.0) for layer in layers]
    product = unit[0]
    uneven: FloatArray = np.zeros(())
    for below, above in pairwise(unit):
        gram = above.mT @ above
        gap = np.linalg.norm(gram - below @ below.mT, axis=(-2, -1))
        size = np.linalg.norm(gram, axis=(-2, -1))
        uneven = np.maximum(uneven, gap - _ALIGNED * size)
        product = above @ product
    inner = data.left.mT @ product @ data.right
    diagonal = np.diagonal(inner, axis1=-2, axis2=-1)
    # Where sigma is 0 the basis is no mode's, and nothing is learned.
    row, column = (np.arange(n) for n in inner.shape[-2:])
    learned = np.zeros((*data.sigma.shape[:-1], max(inner.shape[-2:])), dtype=bool)
    learned[..., :k] = data.sigma > 0
    counts = learned[..., row, None] | learned[..., None, column]
    rest = np.linalg.norm(inner * (counts & (row[:, None] != column)), axis=(-2, -1))
    size = np.linalg.norm(inner, axis=(-2, -1))
    negative = np.where(data.sigma > 0, diagonal, 0.0).min(axis=-1) < -_ALIGNED * size
    if (uneven > 0).any() or (rest > _ALIGNED * size).any() or negative.any():
        msg = (
            f"start of {len(layers)} layers must be balanced and aligned with the modes of the "
            "data, as initialization.aligned makes it, got another one; times of other starts are "
            "predicted for two layers only"
        )
        raise ValueError(msg)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(diagonal, 0)) + len(layers) * np.log(scale[..., 0]))
