"""What a small start will do: when each mode is learned, in which order, how close to the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import (
    JointDecomposition,
    checked_layers,
    joint_decomposition,
    require_commuting,
)
from linnet_fast.rank_dynamics.descent import learning_steps
from linnet_fast.rank_dynamics.modes import learning_time
from linnet_fast.rank_dynamics.regression import reduced_rank_regression

_EPS = float(np.finfo(np.float64).eps)
_NOTHING_LEFT = 1e-12  # residuals below this times cross_cov have no direction to grow
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
        never learned. Of an aligned start with entries a_i and b_i: ``(a_i + b_i)^2 / 4``.

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
    inputs), from the strengths without deflation to a few percent. Among modes of equal sigma, which are learned
    together, the split depends on the basis.

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
    return np.exp(_log_effective(joint_decomposition(loss), layers, deflate=deflate))


def predicted_times(
    loss: SquaredLoss,
    start: Sequence[npt.ArrayLike],
    *,
    step_size: npt.ArrayLike | None = None,
    fraction: float = 0.5,
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
    validate.real_array("fraction", fraction, above=0)
    if not float(fraction) < 1:
        msg = f"fraction must be < 1, got {fraction}"
        raise ValueError(msg)
    step = None if step_size is None else validate.real_array("step_size", step_size, above=0)
    runs = validate.broadcast_runs(
        loss=loss.run_shape,
        start=np.broadcast_shapes(*(w.shape[:-2] for w in layers)),
        step_size=() if step is None else step.shape,
    )
    data = joint_decomposition(loss)
    n_layers = len(layers)
    if n_layers == 2:
        log_strength = _log_effective(data, layers, deflate=True)
    else:
        log_strength = aligned_log_strengths(data, layers)
    sigma = data.sigma
    lam = data.lam[..., : sigma.shape[-1]]
    starts = np.isfinite(log_strength) | (n_layers == 1)
    learned = (sigma > 0) & (lam > 0) & starts
    # Modes that are never learned get numbers that no formula objects to.
    idle = np.ones(()) if step is None else 0.25 / step[..., None]
    s, power = np.where(learned, sigma, idle), np.where(learned, lam, idle)
    log_w = np.where(learned, log_strength, -50.0)
    begin = {"strength": np.exp(log_w)} if n_layers == 1 else {"log_strength": log_w}
    if step is None:
        times = learning_time(s, power, fraction=fraction, n_layers=n_layers, **begin)
    else:
        size = step[..., None]
        steps = learning_steps(size, s, power, fraction=fraction, n_layers=n_layers, **begin)
        times = size * steps
    return np.broadcast_to(np.where(learned, times, np.inf), (*runs, sigma.shape[-1]))


def sequential_limit(
    loss: SquaredLoss,
    tau: npt.ArrayLike,
    *,
    exponent: float = 2.0,
    step_size: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return the limit of the end-to-end matrix of two layers at rescaled times.

    Let the modes start at strength ``exp(-exponent * delta)`` and look at time ``delta * tau``: as
    delta grows, modes are learned one after the other, each at once, at ``tau = exponent / (2
    sigma_i)``.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; they have to commute.
    tau : array_like, any shape
        Rescaled times, >= 0.
    exponent : float, default 2.0
        2 if each of the layers starts at exp(-delta), 1 if the end-to-end matrix does; > 0.
    step_size : array_like, shape (*run), optional
        That of gradient descent, > 0 and < 1 / sigma_1; then `tau` counts steps per delta, and
        modes are learned at ``exponent / (2 log(1 + step_size * sigma_i))``. By default tau is
        that of gradient flow.

    Returns
    -------
    ndarray of float64, shape ``(*run, *tau.shape, out, in)``
        Sums of ``sigma_i / lam_i left_i right_i^T``. At exactly the time of a mode flow has
        ``sigma_i / (sigma_i + lam_i)`` of it; descent has no limit there, and the matrix is NaN.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    NonCommutingError
        If the data do not commute; use `greedy_path`.
    ValueError
        If a number is out of range or run axes do not broadcast.

    References
    ----------
    After G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient
    dynamics in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> [np.diag(p).round(9).tolist() for p in sequential_limit(loss, [0.3, 0.6, 1.2])]
    [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
    """
    validate.instance("loss", loss, SquaredLoss)
    times = validate.real_array("tau", tau, at_least=0)
    power = float(validate.real_array("exponent", exponent, above=0))
    step = None if step_size is None else validate.real_array("step_size", step_size, above=0)
    data = require_commuting(loss, "sequential_limit", "greedy_path")
    sigma, targets = data.sigma, data.targets
    lam = data.lam[..., : sigma.shape[-1]]
    if step is None:
        rate = sigma
        meeting = np.where(sigma > 0, sigma / np.where(sigma > 0, sigma + lam, 1.0), 0.0)
    else:
        validate.broadcast_runs(loss=loss.run_shape, step_size=step.shape)
        product = step[..., None] * sigma
        if (product >= 1).any():
            msg = (
                "step_size must be below 1 / sigma_1, for descent to pass the stages one by one, "
                f"got step_size * sigma_1 = {product.max():g}"
            )
            raise ValueError(msg)
        rate = np.log1p(product)
        meeting = np.full_like(sigma, np.nan)
    learned_at = np.where(rate > 0, power / (2 * np.where(rate > 0, rate, 1.0)), np.inf)

    def inner(array: FloatArray) -> FloatArray:
        """Put the axes of tau between the run axes and the modes."""
        return array.reshape(*array.shape[:-1], *(1,) * times.ndim, array.shape[-1])

    now = times[..., None]
    strengths = np.where(now > inner(learned_at), inner(targets), 0.0)
    strengths = np.where(now == inner(learned_at), inner(meeting), strengths)
    return _compose(data, strengths, times.ndim)


def stage_resolvability(loss: SquaredLoss, delta: npt.ArrayLike) -> FloatArray:
    """Return how clearly each stage of learning stands out from the next.

    The time between the learning of modes k and k + 1 is compared with the mean time that these two
    take from 10 % to 90 %: above 1 there is a visible plateau of rank k.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; only the singular values of `cross_cov` matter.
    delta : array_like, shape (*run)
        The start: modes have strength exp(-2 delta), each of the two layers exp(-delta); > 0.

    Returns
    -------
    ndarray of float64, shape (*run, min(out, in) - 1)
        ``delta (1 / sigma_{k+1} - 1 / sigma_k) / (log(9) / 2 * (1 / sigma_k + 1 / sigma_{k+1}))``;
        0 where sigma_k is 0.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `delta` is not positive or run axes do not broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.eye(3), np.diag([3.0, 1.0, 0.9]), 11.0)
    >>> stage_resolvability(loss, 5.0).round(2).tolist()
    [2.28, 0.24]
    """
    validate.instance("loss", loss, SquaredLoss)
    depth = validate.real_array("delta", delta, above=0)
    sigma = joint_decomposition(loss).sigma
    validate.broadcast_runs(loss=sigma.shape[:-1], delta=depth.shape)
    before, after = sigma[..., :-1], sigma[..., 1:]
    total = np.where(before > 0, before + after, 1.0)
    return np.asarray(depth[..., None] * (before - after) / (np.log(9) / 2 * total))


@dataclass(frozen=True, eq=False, repr=False)
class GreedyPath:
    """Stages of learning from a vanishing start, of any data: rank by rank, from saddle to saddle.

    Attributes
    ----------
    times : ndarray of float64, shape (*run, n_stages)
        When each stage begins, per delta: from layers of scale exp(-delta), the matrix of rank k
        comes at time ``delta * times[..., k - 1]``. inf where nothing is left to learn.
    products : ndarray of float64, shape (*run, n_stages + 1, out, in)
        The plateaus: the matrices of least loss of rank 0, 1, ..., n_stages.
    losses : ndarray of float64, shape (*run, n_stages + 1)
        Their losses.
    rates : ndarray of float64, shape (*run, n_stages)
        How fast the next mode grows on each plateau: the largest singular value of the residual
        there.
    merged : ndarray of bool, shape (*run, n_stages)
        Whether a stage begins together with the one before it (from a vanishing start), so that
        the plateau between them is not seen. From then on times are rough.

    See Also
    --------
    greedy_path : makes it.
    """

    times: FloatArray
    products: FloatArray
    losses: FloatArray
    rates: FloatArray
    merged: npt.NDArray[np.bool_]

    def __repr__(self) -> str:
        """Show sizes."""
        n_out, n_in = self.products.shape[-2:]
        return (
            f"GreedyPath(n_inputs={n_in}, n_outputs={n_out}, n_stages={self.times.shape[-1]}, "
            f"run_shape={self.times.shape[:-1]})"
        )


def greedy_path(loss: SquaredLoss, n_stages: int | None = None) -> GreedyPath:
    """Return the stages of learning of two layers from a vanishing generic start.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; they need not commute.
    n_stages : int, optional
        Stages to follow, from 1 to min(out, in), which is the default. No more than the narrowest
        hidden layer can be passed.

    Returns
    -------
    GreedyPath
        With all run axes of `loss`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `n_stages` is out of range.

    Notes
    -----
    With ``G_k = cross_cov - W_k input_cov`` the residual at the best matrix W_k of rank k, and s_j
    its singular values, ::

        T_{k+1} = T_k + [1 - sum over j < k of s_{k+1-j}(G_j) (T_{j+1} - T_j)] / s_1(G_k)

    On each plateau every escape direction grows at its own rate; stage k + 1 begins when the one
    ahead of all others reaches the scale of the data. If the bracket is 0 or negative, the stage is
    `merged` with the one before. For commuting data whose sigma_i and sigma_i^2 / lam_i both
    descend this is ``T_k = 1 / sigma_k``. It assumes that each plateau's largest rate is simple,
    and that plateaus last long enough to reach the best matrix of that rank.

    Rounding seeds directions anew at 1e-16 of the weights, so a training in float64 follows these
    times only while ``delta * (1 - sigma_{k+1} T_k)`` is below about 35.

    References
    ----------
    Z. Li, Y. Luo, K. Lyu, "Towards resolving the implicit bias of gradient descent for matrix
    factorization: greedy low-rank learning", ICLR 2021, prove the first stage. A. Jacot, F. Ged, B.
    Simsek, C. Hongler, F. Gabriel, "Saddle-to-saddle dynamics in deep linear networks", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> path = greedy_path(SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0))
    >>> path.times.tolist(), path.losses.tolist(), path.rates.tolist()
    ([0.5, 1.0], [2.5, 0.5, 0.0], [2.0, 1.0])
    """
    validate.instance("loss", loss, SquaredLoss)
    most = min(loss.n_inputs, loss.n_outputs)
    if n_stages is not None:
        n_stages = validate.integer("n_stages", n_stages, low=1, high=most)
    path = reduced_rank_regression(loss, rank=n_stages)
    n = path.n_ranks
    cross, cov = loss.cross_cov[..., None, :, :], loss.input_cov[..., None, :, :]
    residual = cross - path.products[..., :n, :, :] @ cov
    growth = np.linalg.svd(residual, compute_uv=False)  # (*run, plateau, direction)
    growth = np.where(growth > _NOTHING_LEFT * growth[..., :1, :1], growth, 0.0)
    rates = np.asarray(growth[..., 0], dtype=np.float64)
    shape = rates.shape[:-1]
    waits, merged = np.zeros((*shape, n)), np.zeros((*shape, n), dtype=bool)
    for k in range(n):
        grown = sum(
            (growth[..., j, k - j] * waits[..., j] for j in range(k)), start=np.zeros(shape)
        )
        rest = 1 - grown
        merged[..., k] = (rest <= _NOTHING_LEFT) & (rates[..., k] > 0)
        going = (rates[..., k] > 0) & ~merged[..., k]
        waits[..., k] = np.where(going, rest / np.where(going, rates[..., k], 1.0), 0.0)
    times = np.where(rates > 0, np.cumsum(waits, axis=-1), np.inf)
    return GreedyPath(times, path.products, path.losses, rates, merged)


def _two_layers(layers: Sequence[FloatArray]) -> None:
    if len(layers) != 2:
        msg = f"start must have two layers, got {len(layers)}"
        raise ValueError(msg)


def _log_effective(
    data: JointDecomposition, layers: Sequence[FloatArray], *, deflate: bool
) -> FloatArray:
    """Return the logarithm of the effective strengths, -inf where there are none."""
    k = data.sigma.shape[-1]
    first, second = layers
    right, left = data.right[..., :k], data.left[..., :k]
    vectors = (first @ right + second.mT @ left) / 2
    scale = np.abs(vectors).max(axis=(-2, -1), keepdims=True)
    unit = np.where(scale > 0, scale, 1.0)
    vectors = vectors / unit  # so that no square underflows
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
    with np.errstate(divide="ignore"):
        logs = 2 * (np.log(sizes) + np.log(scale[..., 0]))
    return np.where(data.sigma > 0, logs, -np.inf)


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


def _compose(data: JointDecomposition, strengths: FloatArray, n_extra: int) -> FloatArray:
    """Return left diag(strengths) right^T, with `n_extra` axes more than the run axes of data."""
    k = data.sigma.shape[-1]

    def spread(basis: FloatArray) -> FloatArray:
        shape: Shape = (*basis.shape[:-2], *(1,) * n_extra, *basis.shape[-2:])
        return basis.reshape(shape)

    left, right = spread(data.left[..., :k]), spread(data.right[..., :k])
    return (left * strengths[..., None, :]) @ right.mT
