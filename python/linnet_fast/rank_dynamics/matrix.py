"""Closed forms of end-to-end matrices: one layer, aligned starts, isotropic inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import checked_layers, require_commuting
from linnet_fast.rank_dynamics.descent import checked_steps
from linnet_fast.rank_dynamics.modes import mode_flow

_ISOTROPIC = 1e-10  # of input_cov: how far from a multiple of the identity it may be
_BALANCED = 1e-8  # of the larger of the two Gram matrices of the start
_LONG = 1e300  # of time times rates: the flow has ended long before


def one_layer_flow(loss: SquaredLoss, start: npt.ArrayLike, *, time: npt.ArrayLike) -> FloatArray:
    """Return the gradient flow of a single layer, for any data.

    Parameters
    ----------
    loss : SquaredLoss
        Run axes broadcast with those of `start`.
    start : array_like, shape (*run, out, in)
        The matrix at time 0.
    time : array_like, shape (n_time,) or ()
        Times >= 0.

    Returns
    -------
    ndarray of float64, shape (*run, n_time, out, in), or (*run, out, in) for a single time

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or range.

    Notes
    -----
    Along each eigenvector of ``input_cov`` with eigenvalue lam, what is left to learn decays as
    exp(-lam t), from any scale of the start; where lam is 0, the matrix grows linearly along
    ``cross_cov`` (not at all for moments that data have). inf or NaN where that overflows.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.diag([1.0, 2.0]), np.array([[1.0, 1.0]]), 2.0)
    >>> one_layer_flow(loss, [[0.0, 0.0]], time=[0.0, 1.0, 100.0]).round(4).tolist()
    [[[0.0, 0.0]], [[0.6321, 0.4323]], [[1.0, 0.5]]]
    """
    t, scalar = _vector("time", time)
    lam, vectors, first, cross = _in_eigenbasis(loss, start)
    flat = lam == 0
    with np.errstate(over="ignore"):
        power = -lam[..., None, :] * t[:, None]
        rate = np.where(flat, 1.0, lam)[..., None, :]
        grown = np.where(flat[..., None, :], t[:, None], -np.expm1(power) / rate)
        decay = np.exp(power)
    return _back(decay, grown, vectors, first, cross, scalar)


def one_layer_descent(
    loss: SquaredLoss, start: npt.ArrayLike, *, step_size: npt.ArrayLike, steps: npt.ArrayLike
) -> FloatArray:
    """Return gradient descent of a single layer, for any data.

    Parameters
    ----------
    loss, start
        As for `one_layer_flow`.
    step_size : array_like, shape (*run)
        Positive; run axes broadcast.
    steps : array_like of int, shape (n_steps,) or ()
        Steps from 0 to 2**53.

    Returns
    -------
    ndarray of float64, shape (*run, n_steps, out, in), or (*run, out, in) for a single step
        inf or NaN where it overflows: step_size lam > 2 and the steps are many.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.diag([1.0, 2.0]), np.array([[1.0, 1.0]]), 2.0)
    >>> one_layer_descent(loss, [[0.0, 0.0]], step_size=0.5, steps=[1, 2]).tolist()
    [[[0.5, 0.5]], [[0.75, 0.5]]]
    """
    numbers, scalar = checked_steps(steps)
    eta = validate.real_array("step_size", step_size, above=0)
    lam, vectors, first, cross = _in_eigenbasis(loss, start)
    validate.broadcast_runs(step_size=eta.shape, loss_and_start=lam.shape[:-1])
    power = numbers.astype(np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = (eta[..., None] * lam)[..., None, :]
        # (1 - x)^k and the rest up to 1, accurate for small x, with the sign of odd powers for x > 1
        log_size = np.where(x < 1, np.log1p(-x), np.log(np.abs(1 - x)))
        moved = np.where(power == 0, 0.0, power * log_size)
        sign = np.where((x > 1) & (power % 2 == 1), -1.0, 1.0)
        kept = sign * np.exp(moved)
        rest = np.where(sign < 0, 1 + np.exp(moved), -np.expm1(moved))
        flat = (lam == 0)[..., None, :]
        grown = np.where(
            flat,
            eta[..., None, None] * power,
            rest / np.where(flat, 1.0, lam[..., None, :]),
        )
    return _back(kept, grown, vectors, first, cross, scalar)


def one_layer_limit(loss: SquaredLoss, start: npt.ArrayLike) -> FloatArray:
    """Return where a single layer ends, by the flow or by stable gradient descent.

    Parameters
    ----------
    loss, start
        As for `one_layer_flow`.

    Returns
    -------
    ndarray of float64, shape (*run, out, in)
        The least-squares solution nearest to the start in Frobenius norm; from 0, the one of least
        norm. Directions in which ``input_cov`` is rounding noise stay as they are.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or ``cross_cov`` acts where ``input_cov`` vanishes, so
        that the flow never ends.

    References
    ----------
    After G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient dynamics
    in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.diag([2.0, 0.0]), np.array([[1.0, 0.0]]), 2.0)
    >>> one_layer_limit(loss, [[5.0, 7.0]]).tolist()
    [[0.5, 7.0]]
    """
    lam, vectors, first, cross = _in_eigenbasis(loss, start)
    flat = (lam == 0)[..., None, :]
    end = np.where(flat, first, cross / np.where(flat, 1.0, lam[..., None, :]))
    return np.asarray(end @ vectors.mT)


def aligned_flow(
    loss: SquaredLoss, *, strength: npt.ArrayLike, time: npt.ArrayLike, n_layers: int = 2
) -> FloatArray:
    """Return the gradient flow from a balanced start along the data's singular vectors.

    Parameters
    ----------
    loss : SquaredLoss
        Whose data commute (see `joint_decomposition`).
    strength : array_like, shape (*run, k) or ()
        Strengths >= 0 of the k leading modes of the end-to-end matrix at time 0, as for
        `linnet_fast.initialization.aligned`; k is at most min(in, out). The others stay at 0.
    time : array_like, shape (n_time,) or ()
        Times >= 0.
    n_layers : int, default 2
        Number of layers, from 1 to 1000.

    Returns
    -------
    ndarray of float64, shape (*run, n_time, out, in), or (*run, out, in) for a single time

    Raises
    ------
    NonCommutingError
        If the data do not commute: there is no closed form then. Integrate by `GradientFlow`, predict
        by `greedy_path`, or bound the difference by `perturbation_bound`.
    TypeError, ValueError
        If an argument has a wrong type, shape or range.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014; after Gidel, Bach, Lacoste-Julien 2019.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.diag([1.0, 2.0]), np.diag([3.0, 1.0]), 10.0)
    >>> aligned_flow(loss, strength=1e-6, time=100.0).round(6).tolist()
    [[3.0, 0.0], [0.0, 0.5]]
    """
    validate.instance("loss", loss, SquaredLoss)
    t, scalar = _vector("time", time)
    start = validate.real_array("strength", strength, at_least=0)
    n_layers = validate.integer("n_layers", n_layers, low=1, high=1000)
    data = require_commuting(
        loss,
        "aligned_flow",
        "GradientFlow to integrate, greedy_path for the order of learning, or perturbation_bound",
    )
    n_modes = data.sigma.shape[-1]
    if start.ndim == 0:
        start = np.broadcast_to(start, (n_modes,))
    k = start.shape[-1]
    if k > n_modes:
        msg = f"strength must have at most {n_modes} modes, min(in, out), got {k}"
        raise ValueError(msg)
    validate.broadcast_runs(strength=start.shape[:-1], loss=data.sigma.shape[:-1])
    path = mode_flow(
        data.sigma[..., None, :k],
        data.lam[..., None, :k],
        time=t[:, None],
        strength=start[..., None, :],
        n_layers=n_layers,
    )
    left = data.left[..., None, :, :k]
    product = (left * path.strength[..., None, :]) @ data.right[..., None, :, :k].mT
    return np.asarray(product[..., 0, :, :] if scalar else product)


class IsotropicFlow(NamedTuple):
    """What is known in closed form of two layers on isotropic inputs.

    Attributes
    ----------
    product : ndarray of float64, shape (*run, n_time, out, in)
        The end-to-end matrix.
    gram : ndarray of float64, shape (*run, n_time, in + out, in + out)
        Q Q^T for Q = [W_1^T; W_2]: all inner products of the hidden units' weights. The weights
        themselves are known up to a turn of the hidden units.
    """

    product: FloatArray
    gram: FloatArray


def isotropic_flow(
    loss: SquaredLoss, start: Sequence[npt.ArrayLike], *, time: npt.ArrayLike
) -> IsotropicFlow:
    """Return the gradient flow of two layers on isotropic inputs, from any balanced start.

    Parameters
    ----------
    loss : SquaredLoss
        With ``input_cov`` = lam I, lam > 0. Run axes broadcast.
    start : tuple of array_like, shapes (*run, hidden, in) and (*run, out, hidden)
        W_1 and W_2 with W_1 W_1^T - W_2^T W_2 = kappa I for some number kappa, aligned with the data
        or not.
    time : array_like, shape (n_time,) or ()
        Times >= 0.

    Returns
    -------
    IsotropicFlow
        Without the axis of times for a single time.

    Raises
    ------
    ValueError
        If the inputs are not isotropic (use `aligned_flow` if the data commute, else `GradientFlow`),
        or the start is not balanced up to a multiple of the identity (use `GradientFlow`).
    TypeError
        If an argument has a wrong type.

    Notes
    -----
    Q Q^T solves a matrix Riccati equation. It is evaluated from an orthonormal basis that is found by
    pivoting on logarithms, which neither overflows nor loses small modes beside large ones; relative
    to its norm it is good to about 1e-12.

    References
    ----------
    K. Fukumizu, "Effect of batch learning in multilayer neural networks", ICONIP 1998. L. Braun, C.
    Domine, J. Fitzgerald, A. Saxe, "Exact learning dynamics of deep linear networks with prior
    knowledge", NeurIPS 2022. C. Domine et al., "From lazy to rich", 2024 (kappa not 0).

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.eye(2), [[2.0, 1.0], [0.0, 1.0]], 6.0)
    >>> w = 1e-3 * np.eye(2)
    >>> isotropic_flow(loss, (w, w), time=50.0).product.round(6).tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    t, scalar = _vector("time", time)
    layers = checked_layers("start", start, loss)
    if len(layers) != 2:
        msg = f"start must have two layers, got {len(layers)}; for other depths use aligned_flow"
        raise ValueError(msg)
    first, second = layers
    n_in, n_out = loss.n_inputs, loss.n_outputs
    lam = np.trace(loss.input_cov, axis1=-2, axis2=-1) / n_in
    uneven = np.abs(loss.input_cov - lam[..., None, None] * np.eye(n_in)).max(axis=(-2, -1))
    if not (uneven <= _ISOTROPIC * lam).all() or (lam == 0).any():
        worst = float(np.max(uneven / np.maximum(lam, 1e-300)))
        msg = (
            f"input_cov must be a positive multiple of the identity, got one that differs by {worst:.2g} "
            "of it; use aligned_flow for data that commute, else GradientFlow"
        )
        raise ValueError(msg)
    runs = np.broadcast_shapes(first.shape[:-2], second.shape[:-2], loss.run_shape)
    h = first.shape[-2]
    with np.errstate(over="ignore", invalid="ignore"):
        below, above = first @ first.mT, second.mT @ second
    for name, gram in (("start[0]", below), ("start[1]", above)):
        if not np.isfinite(gram).all():
            msg = f"{name} must have products of its entries within float64, got an overflow"
            raise ValueError(msg)
    excess = below - above
    kappa = np.trace(excess, axis1=-2, axis2=-1) / h
    off = np.abs(excess - kappa[..., None, None] * np.eye(h)).max(axis=(-2, -1))
    size = np.maximum(np.abs(below).max(axis=(-2, -1)), np.abs(above).max(axis=(-2, -1)))
    if not (off <= _BALANCED * size).all():
        msg = (
            "start must have W_1 W_1^T - W_2^T W_2 = kappa I, got one that differs by "
            f"{float(np.max(off / np.maximum(size, 1e-300))):.2g} of its size; use GradientFlow"
        )
        raise ValueError(msg)
    lam, kappa = np.broadcast_to(lam, runs), np.broadcast_to(kappa, runs)
    q = np.concatenate(
        [np.broadcast_to(first.mT, (*runs, n_in, h)), np.broadcast_to(second, (*runs, n_out, h))],
        axis=-2,
    )
    cross = np.broadcast_to(loss.cross_cov, (*runs, n_out, n_in))
    force = np.zeros((*runs, n_in + n_out, n_in + n_out))
    force[..., :n_in, :n_in] = (0.5 * lam * kappa)[..., None, None] * np.eye(n_in)
    force[..., n_in:, n_in:] = (-0.5 * lam * kappa)[..., None, None] * np.eye(n_out)
    force[..., :n_in, n_in:] = cross.mT
    force[..., n_in:, :n_in] = cross
    theta, basis = np.linalg.eigh(force)
    turned = basis.mT @ q
    gram = np.empty((*runs, t.size, n_in + n_out, n_in + n_out))
    for run in np.ndindex(*runs):
        for index, moment in enumerate(t):
            root = _riccati_root(theta[run], turned[run], float(lam[run]), float(moment))
            z = basis[run] @ root
            gram[(*run, index)] = z @ z.T
    product = gram[..., n_in:, :n_in]
    if scalar:
        return IsotropicFlow(product[..., 0, :, :], gram[..., 0, :, :])
    return IsotropicFlow(product, gram)


def _riccati_root(theta: FloatArray, turned: FloatArray, lam: float, time: float) -> FloatArray:
    """Return Z with Z Z^T the solution of the Riccati equation, in the eigenbasis of its force.

    With Y = diag(sqrt(lam s)) turned, s the integral of exp(2 theta t), stacked on the identity, and Q
    an orthonormal basis of its columns, Z is diag(sqrt(exp(2 theta t) / (lam s))) times the top of Q.
    """
    if time < np.finfo(np.float64).tiny:  # 0, or next to it
        return turned
    fastest = 2 * float(np.abs(theta).max())
    time = min(time, _LONG / fastest) if fastest > 0 else time
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = 2 * theta * time
        part = -np.expm1(-np.abs(power))  # 1 - exp(-|2 theta t|)
        still = part == 0
        log_integral = np.maximum(power, 0) + np.log(part / np.abs(2 * theta))
        log_integral = np.where(still, np.log(time), log_integral)
        over = np.abs(2 * theta) * np.exp(np.minimum(power, 0)) / part
        over = np.where(still, 1 / time, over)
    n_hidden = turned.shape[1]
    log_rows = np.concatenate([0.5 * (np.log(lam) + log_integral), np.zeros(n_hidden)])
    basis = _orthonormal_columns(log_rows, np.concatenate([turned, np.eye(n_hidden)]))
    return np.asarray(np.sqrt(over / lam)[:, None] * basis[: len(theta)])


def _orthonormal_columns(log_rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return an orthonormal basis of the columns of diag(exp(log_rows)) matrix, of full rank.

    Rows may be apart by more than floating point spans: columns are eliminated by complete pivoting on
    logarithms, after which nothing is larger than the pivots, which are scaled to 1.
    """
    matrix = matrix.copy()
    n = matrix.shape[1]
    scaled = np.zeros_like(matrix)
    left = np.ones(n, dtype=bool)
    for _ in range(n):
        with np.errstate(divide="ignore"):
            sizes = np.where(left, np.log(np.abs(matrix)) + log_rows[:, None], -np.inf)
        row, column = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
        pivot = matrix[row, column]
        left[column] = False
        # Below the smallest number there is nothing to be added to 1.
        shift = np.maximum(log_rows - log_rows[row], -700.0)
        scaled[:, column] = matrix[:, column] / pivot * np.exp(np.minimum(shift, 700.0))
        factors = np.where(left, matrix[row] / pivot, 0.0)
        matrix -= matrix[:, [column]] * factors
        matrix[row, left] = 0.0
    basis: FloatArray = np.linalg.qr(scaled)[0]
    return basis


def _vector(name: str, value: npt.ArrayLike) -> tuple[FloatArray, bool]:
    """Return times as a vector, and whether a single one was given."""
    array = validate.real_array(name, value, at_least=0)
    if array.ndim > 1:
        msg = f"{name} must be one number or have one axis, got shape {array.shape}"
        raise ValueError(msg)
    return np.atleast_1d(array), array.ndim == 0


def _in_eigenbasis(
    loss: SquaredLoss, start: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return eigenvalues (rounding noise made 0) and -vectors of input_cov; start, cross_cov in them."""
    validate.instance("loss", loss, SquaredLoss)
    (first,) = checked_layers("start", (start,), loss)
    lam, vectors = np.linalg.eigh(loss.input_cov)
    noise = np.finfo(np.float64).eps * loss.n_inputs * lam[..., -1:]
    lam = np.where(lam > noise, lam, 0.0)
    validate.broadcast_runs(start=first.shape[:-2], loss=loss.run_shape)
    runs = np.broadcast_shapes(first.shape[:-2], loss.run_shape)
    shape = (*runs, loss.n_outputs, loss.n_inputs)
    turned = np.broadcast_to(first @ vectors, shape)
    cross = loss.cross_cov @ vectors
    # Data have no correlation with what they do not show; what rounding makes of it would grow for ever.
    least = np.finfo(np.float64).eps * loss.n_inputs * np.abs(cross).max(axis=(-2, -1))
    seen = (lam > 0)[..., None, :] | (np.abs(cross) > least[..., None, None])
    cross = np.broadcast_to(np.where(seen, cross, 0.0), shape)
    return np.broadcast_to(lam, (*runs, loss.n_inputs)), vectors, turned, cross


def _back(
    kept: FloatArray,
    grown: FloatArray,
    vectors: FloatArray,
    first: FloatArray,
    cross: FloatArray,
    scalar: bool,
) -> FloatArray:
    """Return start * kept + cross * grown, turned back."""
    first, cross = first[..., None, :, :], cross[..., None, :, :]
    with np.errstate(over="ignore", invalid="ignore"):
        # Nothing is kept of 0, even where the factor is infinite.
        left = np.where(first == 0, 0.0, first * kept[..., None, :])
        moved = left + np.where(cross == 0, 0.0, cross * grown[..., None, :])
        result = moved @ vectors[..., None, :, :].mT
    return np.asarray(result[..., 0, :, :] if scalar else result)
