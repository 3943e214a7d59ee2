"""What the moments of the data say about a training: its modes, when each is learned, safe steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import LinearOperator, eigsh

from linnet_fast._validate import FloatArray, WeightArray
from linnet_fast.architecture import Dense
from linnet_fast.loss import SquaredLoss
from linnet_fast.state import Status
from linnet_fast.trajectory import Trajectory

_NO_MODE = 1e-10  # singular values of cross_cov below this times the largest are rounding
_FLAT = 1e-6  # eigenvalues of input_cov below this times the largest are not learned in practice


def targets(loss: SquaredLoss) -> FloatArray:
    """Return the strength at which each mode of the data comes to rest.

    With U S V^T the singular value decomposition of cross_cov, mode i rests at ``s_i / (v_i^T
    input_cov v_i)``: exactly, if V diagonalises input_cov.

    Parameters
    ----------
    loss : SquaredLoss
        Without run axes.

    Returns
    -------
    ndarray of float64, shape (rank of cross_cov,)
        In the order in which modes are learned from a small start: descending s_i.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> targets(SquaredLoss(np.diag([1.0, 2.0]), np.diag([3.0, 1.0]), 10.0)).round(6).tolist()
    [3.0, 0.5]
    """
    _, s, vt = np.linalg.svd(loss.cross_cov, full_matrices=False)
    n_modes = int(np.count_nonzero(s > _NO_MODE * s[0]))
    vt = vt[:n_modes]
    power = np.sum((vt @ loss.input_cov) * vt, axis=-1)
    strengths: FloatArray = s[:n_modes] / power
    return strengths


def learning_steps(trajectory: Trajectory, strengths: FloatArray) -> FloatArray:
    """Return the step at which each rank is learned.

    Rank k is learned when the k-th largest singular value of the end-to-end matrix crosses half of
    the least of the first k `strengths` (the least, for modes need not be learned in the order of
    their strengths).

    Parameters
    ----------
    trajectory : Trajectory
        With singular values recorded.
    strengths : ndarray of float64, shape (k,)
        As `targets` returns.

    Returns
    -------
    ndarray of float64, shape (*run, min(k, max_rank))
        Between two records interpolated as an exponential growth. The first recorded step if the
        singular value is above at once; NaN where it never is.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.aligned(Dense((2, 2, 2)), loss, 1e-6)
    >>> run = lf.train(Dense((2, 2, 2)), loss, start, method=lf.GradientDescent(0.01), n_steps=1000)
    >>> learning_steps(run, targets(loss)).round().tolist()  # flow: ln(s / 1e-6) / (2 s 0.01)
    [366.0, 695.0]
    """
    n_modes = min(len(strengths), trajectory.network.max_rank)
    half = np.minimum.accumulate(strengths[:n_modes]) / 2
    values = trajectory.singular_values[..., :n_modes]
    above = values >= half  # NaN, after the end of a run, is not
    after = np.argmax(above, axis=-2)
    before = np.maximum(after - 1, 0)

    def at(record: npt.NDArray[np.intp]) -> FloatArray:
        value: FloatArray = np.take_along_axis(values, record[..., None, :], axis=-2)[..., 0, :]
        return np.log(np.maximum(value, np.finfo(np.float64).tiny))

    low, high = at(before), at(after)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(after > before, (np.log(half) - low) / (high - low), 0.0)
    axis = trajectory.record_axis
    steps = axis[before] + part * (axis[after] - axis[before])
    return np.where(above.any(axis=-2), steps, np.nan)


def until_the_end(trajectory: Trajectory, name: str) -> FloatArray:
    """Return an observable with the last record of each converged run repeated to the end.

    Parameters
    ----------
    trajectory : Trajectory
        What was recorded; a run that converged stays as it is, so its records do.
    name : str
        "loss" or another observable that is a single array.

    Returns
    -------
    ndarray of float64, shape (*run, n_rec, ...)
        NaN only where a run diverged.
    """
    values: FloatArray = getattr(trajectory, name)
    axis = trajectory.record_axis
    last = np.searchsorted(axis, trajectory.stopped_at, side="right") - 1
    ended = np.where(trajectory.status == Status.CONVERGED, last, axis.size)
    record = np.minimum(np.arange(axis.size), ended[..., None])
    inner = values.ndim - record.ndim
    index = record.reshape(*record.shape, *(1,) * inner)
    return np.take_along_axis(values, index, axis=record.ndim - 1)


def best_losses(loss: SquaredLoss) -> FloatArray:
    """Return the least loss of a matrix of rank 0, 1, 2, ...

    Parameters
    ----------
    loss : SquaredLoss
        Without run axes.

    Returns
    -------
    ndarray of float64, shape (min(in, out) + 1,)

    References
    ----------
    A. J. Izenman, "Reduced-rank regression for the multivariate linear model", J. Multivariate
    Analysis 5 (1975).

    Examples
    --------
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> best_losses(loss).round(9).tolist()
    [2.5, 0.5, 0.0]
    """
    eigenvalues, vectors = np.linalg.eigh(loss.input_cov)
    keep = eigenvalues > np.finfo(np.float64).eps * loss.n_inputs * eigenvalues[-1]
    explained = loss.cross_cov @ (vectors[:, keep] / np.sqrt(eigenvalues[keep]))
    s = np.zeros(min(loss.n_inputs, loss.n_outputs))
    found = np.linalg.svd(explained, compute_uv=False)
    s[: len(found)] = found
    return np.asarray(0.5 * (loss.output_power - np.concatenate([[0.0], np.cumsum(s**2)])))


def safe_step_size(
    network: Dense, loss: SquaredLoss, start: Sequence[WeightArray], weight_decay: float = 0.0
) -> float:
    """Return a step size at which gradient descent from `start` is stable.

    It is 1 / S, half of what is stable at sharpness S (the largest eigenvalue of the Hessian). S is
    the larger of the sharpness of the balanced least-squares solution, which is where a small start
    ends, and of a bound on that of the start.

    Parameters
    ----------
    network : Dense
        The architecture.
    loss : SquaredLoss
        Without run axes.
    start : tuple of ndarray, shapes (*run, widths[l + 1], widths[l])
        Start weights.
    weight_decay : float, default 0
        Adds to the sharpness.

    Returns
    -------
    float
        Rounded down to two digits.

    Notes
    -----
    Directions in which input_cov is below 1e-6 of its largest eigenvalue are left out: they are not
    learned within any usual number of steps, yet would make the solution large.

    Examples
    --------
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> network = Dense((2, 2, 2))
    >>> start = (np.zeros((2, 2)), np.zeros((2, 2)))
    >>> safe_step_size(network, loss, start)  # the sharpness is 2 s_1 = 4
    0.25
    """
    n_layers = network.n_layers
    eigenvalues, vectors = np.linalg.eigh(loss.input_cov)
    top = float(eigenvalues[-1])
    if top <= 0 or not loss.cross_cov.any():
        msg = "the data have no linear relation of inputs and targets to learn"
        raise ValueError(msg)
    norm = max(float(np.linalg.norm(w, 2, axis=(-2, -1)).max()) for w in start)
    residual = float(np.linalg.norm(loss.cross_cov, 2)) + top * norm**n_layers
    at_start = n_layers * top * norm ** (2 * n_layers - 2)
    if n_layers > 1:
        at_start += (n_layers - 1) * residual * norm ** (n_layers - 2)

    keep = eigenvalues > _FLAT * top
    inverse = (vectors[:, keep] / eigenvalues[keep]) @ vectors[:, keep].T
    at_end = _sharpness(loss, loss.cross_cov @ inverse, n_layers)
    step = 1 / (max(at_start, at_end) + weight_decay)
    digits = int(np.floor(np.log10(step))) - 1
    # Down to two digits; the nudge keeps 0.25 from becoming 0.24.
    return float(f"{np.floor(step / 10.0**digits * (1 + 1e-9))}e{digits}")


def _sharpness(loss: SquaredLoss, solution: FloatArray, n_layers: int) -> float:
    """Return the largest eigenvalue of the Hessian at the balanced factors of a least solution.

    With B_l the layers above layer l and A_l those below, it is that of Z -> sum over l of B_l B_l^T
    Z C A_l^T A_l C, where C is the square root of input_cov.
    """
    u, s, vt = np.linalg.svd(solution, full_matrices=False)
    eigenvalues, vectors = np.linalg.eigh(loss.input_cov)
    root = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
    right = vt @ root
    terms = []
    for layer in range(n_layers):
        above = None if layer == n_layers - 1 else s ** (2 * (n_layers - 1 - layer) / n_layers)
        below = None if layer == 0 else s ** (2 * layer / n_layers)
        left_factor = np.eye(len(u)) if above is None else (u * above) @ u.T
        right_factor = loss.input_cov if below is None else (right.T * below) @ right
        terms.append((left_factor, right_factor))
    shape = solution.shape

    def apply(flat: FloatArray) -> FloatArray:
        z = flat.reshape(shape)
        return np.asarray(sum(a @ z @ b for a, b in terms)).ravel()

    size = solution.size
    if size < 3:  # too small for the iteration
        return float(np.linalg.eigvalsh(np.array([apply(e) for e in np.eye(size)]))[-1])
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    begin = np.random.default_rng(0).standard_normal(size)
    (value,) = eigsh(operator, k=1, v0=begin, tol=1e-3, return_eigenvectors=False)
    return float(value)
