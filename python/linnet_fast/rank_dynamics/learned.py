"""What the command line and the plots ask of a training: learned ranks by step, safe step sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import checked_network
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics import joint_decomposition, learning_times, minimum_sharpness
from linnet_fast.training.trajectory import Trajectory

_FLAT = 1e-6  # eigenvalues of input_cov below this times the largest are not learned in practice


def n_ranks(trajectory: Trajectory) -> int:
    """Return how many ranks there are to be learned.

    Parameters
    ----------
    trajectory : Trajectory
        Whose data have no run axes.

    Returns
    -------
    int
        The least of the rank of the data and the widths.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 0.0]), 5.0)
    >>> start = lf.initialization.aligned(Dense((2, 2, 2)), loss, 1e-6, rng=0)
    >>> n_ranks(lf.train(Dense((2, 2, 2)), loss, start, method=lf.GradientFlow(), until=1.0))
    1
    """
    validate.instance("trajectory", trajectory, Trajectory)
    sigma = joint_decomposition(trajectory.squared_loss).sigma
    return min(int(np.count_nonzero(sigma > 0)), trajectory.network.max_rank)


def learned_at(trajectory: Trajectory) -> FloatArray:
    """Return where on the axis of records each rank is learned: at which step, or time of a flow.

    Parameters
    ----------
    trajectory : Trajectory
        With singular values, products or weights recorded; data without run axes.

    Returns
    -------
    ndarray of float64, shape (*run, n_ranks)
        `learning_times` on the axis of records: over the step size; of flows in logarithmic time as
        log(1 + t).

    Examples
    --------
    >>> import linnet_fast as lf
    >>> loss = SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.aligned(Dense((2, 2, 2)), loss, 1e-6, rng=0)
    >>> run = lf.train(Dense((2, 2, 2)), loss, start, method=lf.GradientDescent(0.01), n_steps=1000)
    >>> learned_at(run).round().tolist()  # flow: ln(s / 1e-6) / (2 s 0.01)
    [366.0, 694.0]
    """
    times = learning_times(trajectory)[..., : n_ranks(trajectory)]
    if trajectory.steps is not None:
        return trajectory.step_at(times)
    return trajectory.method.own_time(times)


def safe_step_size(
    network: Dense, loss: SquaredLoss, start: Sequence[WeightArray], *, weight_decay: float = 0.0
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
    n_layers = checked_network(network, Dense).n_layers
    validate.instance("loss", loss, SquaredLoss)
    if loss.run_shape:
        msg = f"loss must be without run axes, got {loss.run_shape}"
        raise ValueError(msg)
    weights = validate.weights("start", start, network.shapes, dtype=np.float64)
    decay = validate.real("weight_decay", weight_decay, at_least=0)
    top = float(np.linalg.eigvalsh(loss.input_cov)[-1])
    if top <= 0 or not loss.cross_cov.any():
        msg = "loss must have something to learn, got no linear relation of inputs and targets"
        raise ValueError(msg)
    norm = max(float(np.linalg.norm(w, 2, axis=(-2, -1)).max()) for w in weights)
    residual = float(np.linalg.norm(loss.cross_cov, 2)) + top * norm**n_layers
    at_start = n_layers * top * norm ** (2 * n_layers - 2)
    if n_layers > 1:
        at_start += (n_layers - 1) * residual * norm ** (n_layers - 2)

    at_end = float(minimum_sharpness(loss, n_layers, rcond=_FLAT, rtol=1e-3))
    step = 1 / (max(at_start, at_end) + decay)
    digits = int(np.floor(np.log10(step))) - 1
    # Down to two digits; the nudge keeps 0.25 from becoming 0.24.
    return float(f"{np.floor(step / 10.0**digits * (1 + 1e-9))}e{digits}")
