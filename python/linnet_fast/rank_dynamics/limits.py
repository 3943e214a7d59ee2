"""Limits of vanishing starts: which matrix is learned when, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import (
    JointDecomposition,
    joint_decomposition,
    require_commuting,
)
from linnet_fast.rank_dynamics.modes import MOST_NUMBERS
from linnet_fast.rank_dynamics.regression import reduced_rank_regression

_EPS = float(np.finfo(np.float64).eps)
_NOTHING_LEFT = 1e-12  # residuals below this times cross_cov have no direction to grow


def sequential_limit(
    loss: SquaredLoss,
    *,
    tau: npt.ArrayLike,
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
        Sums of ``sigma_i / lam_i left_i right_i^T``. At exactly the time of a mode (to rounding of
        its sigma) flow is on its way with the strength ``sigma_i / (sigma_i + lam_i)``, whatever
        `exponent` is; descent has no limit there, and the matrix is NaN.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    NonCommutingError
        If the data do not commute; use `greedy_path`.
    ValueError
        If a number is out of range, run axes do not broadcast, or `cross_cov` acts where `input_cov`
        vanishes (as moments of data never do): such modes grow for ever.

    References
    ----------
    After G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient
    dynamics in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> [np.diag(p).round(9).tolist() for p in sequential_limit(loss, tau=[0.3, 0.6, 1.2])]
    [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
    """
    validate.instance("loss", loss, SquaredLoss)
    times = validate.real_array("tau", tau, at_least=0)
    size = times.size * max(1, math.prod(loss.run_shape)) * loss.n_inputs * loss.n_outputs
    if size > MOST_NUMBERS:
        msg = f"tau must ask for at most {MOST_NUMBERS} numbers in all, got {size}"
        raise ValueError(msg)
    power = validate.real("exponent", exponent)
    validate.real_array("exponent", power, above=0)
    step = None if step_size is None else validate.real_array("step_size", step_size, above=0)
    data = require_commuting(loss, "sequential_limit", "greedy_path")
    sigma, targets = data.sigma, data.targets
    lam = data.lam[..., : sigma.shape[-1]]
    if not np.isfinite(targets).all():
        msg = (
            "loss must have cross_cov = 0 wherever input_cov = 0, as moments of data do, and sigma / "
            "lam within float64, got a mode without"
        )
        raise ValueError(msg)
    if step is None:
        rate = sigma
        there = np.where(sigma > 0, sigma, 1.0)
        meeting = np.where(sigma > 0, 1 / (1 + lam / there), 0.0)
    else:
        validate.broadcast_runs(loss=loss.run_shape, step_size=step.shape)
        with np.errstate(over="ignore"):
            product = step[..., None] * sigma
        if (product >= 1).any():
            msg = (
                "step_size must be below 1 / sigma_1, for descent to pass the stages one by one, "
                f"got step_size * sigma_1 = {product.max():g}"
            )
            raise ValueError(msg)
        rate = np.log1p(product)
        meeting = np.full_like(sigma, np.nan)
    with np.errstate(over="ignore"):
        learned_at = np.where(rate > 0, 0.5 * power / np.where(rate > 0, rate, 1.0), np.inf)
    # A singular value is known to rounding of the largest one.
    part = 4 * max(loss.n_inputs, loss.n_outputs) * _EPS
    noise = np.minimum(part * (sigma[..., :1] / np.where(sigma > 0, sigma, 1.0)), 1e-6)

    def inner(array: FloatArray) -> FloatArray:
        """Put the axes of tau between the run axes and the modes."""
        return array.reshape(*array.shape[:-1], *(1,) * times.ndim, array.shape[-1])

    now, then = times[..., None], inner(learned_at)
    strengths = np.where(now > then, inner(targets), 0.0)
    with np.errstate(invalid="ignore"):
        meets = np.abs(now - then) <= inner(noise) * then
    strengths = np.where(meets & np.isfinite(then), inner(meeting), strengths)
    return _compose(data, strengths, times.ndim)


def stage_resolvability(loss: SquaredLoss, *, delta: npt.ArrayLike) -> FloatArray:
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
    >>> stage_resolvability(loss, delta=5.0).round(2).tolist()
    [2.28, 0.24]
    """
    validate.instance("loss", loss, SquaredLoss)
    depth = validate.real_array("delta", delta, above=0)
    sigma = joint_decomposition(loss).sigma
    runs = validate.broadcast_runs(loss=sigma.shape[:-1], delta=depth.shape)
    if math.prod(runs) * sigma.shape[-1] > MOST_NUMBERS:
        msg = f"delta must broadcast to at most {MOST_NUMBERS} numbers in all, got runs {runs}"
        raise ValueError(msg)
    before, after = sigma[..., :-1], sigma[..., 1:]
    ratio = np.where(before > 0, after / np.where(before > 0, before, 1.0), 1.0)
    with np.errstate(over="ignore"):
        return np.asarray(depth[..., None] * ((1 - ratio) / (np.log(9) / 2 * (1 + ratio))))


@dataclass(frozen=True, eq=False, repr=False)
class GreedyPath:
    """Stages of learning from a vanishing start, of any data: rank by rank, from saddle to saddle.

    Attributes
    ----------
    time : ndarray of float64, shape (*run, n_stages)
        When each stage begins, per delta: from layers of scale exp(-delta), the matrix of rank k
        comes at time ``delta * time[..., k - 1]``. inf where nothing is left to learn.
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

    time: FloatArray
    products: FloatArray
    losses: FloatArray
    rates: FloatArray
    merged: npt.NDArray[np.bool_]

    def __repr__(self) -> str:
        """Show sizes."""
        n_out, n_in = self.products.shape[-2:]
        return (
            f"GreedyPath(n_inputs={n_in}, n_outputs={n_out}, n_stages={self.time.shape[-1]}, "
            f"run_shape={self.time.shape[:-1]})"
        )


def greedy_path(loss: SquaredLoss, *, n_stages: int | None = None) -> GreedyPath:
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
    >>> path.time.tolist(), path.losses.tolist(), path.rates.tolist()
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
        with np.errstate(over="ignore"):
            waits[..., k] = np.where(going, rest / np.where(going, rates[..., k], 1.0), 0.0)
    time = np.where(rates > 0, np.cumsum(waits, axis=-1), np.inf)
    return GreedyPath(time, path.products, path.losses, rates, merged)


def _compose(data: JointDecomposition, strengths: FloatArray, n_extra: int) -> FloatArray:
    """Return left diag(strengths) right^T, with `n_extra` axes more than the run axes of data."""
    k = data.sigma.shape[-1]

    def spread(basis: FloatArray) -> FloatArray:
        shape: Shape = (*basis.shape[:-2], *(1,) * n_extra, *basis.shape[-2:])
        return basis.reshape(shape)

    left, right = spread(data.left[..., :k]), spread(data.right[..., :k])
    return (left * strengths[..., None, :]) @ right.mT
