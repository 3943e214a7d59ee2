"""What a training did, mode by mode and rank by rank; vectorised over run axes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.rank_dynamics.data import (
    JointDecomposition,
    joint_decomposition,
    require_commuting,
)
from linnet_fast.rank_dynamics.descent import mode_descent
from linnet_fast.rank_dynamics.factors import factor_descent, factor_flow
from linnet_fast.rank_dynamics.modes import mode_flow
from linnet_fast.rank_dynamics.predictions import aligned_log_strengths
from linnet_fast.training.end_to_end import end_to_end
from linnet_fast.training.trajectory import Trajectory

_ALIGNED = 1e-8  # of the largest factor: how far a start may be from aligned
_AT_REST = 1e-9  # nearer to rest than this, rounding decides how near


def mode_strengths(trajectory: Trajectory) -> FloatArray:
    """Return the strength of each mode of the data in the end-to-end matrix.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.

    Returns
    -------
    ndarray of float64, shape (*run, n_rec, min(out, in))
        u_i^T P v_i for the singular vectors of ``cross_cov``, in the order of descending sigma.

    Raises
    ------
    ValueError
        If neither was recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> network = lf.Dense((2, 2, 2))
    >>> start = lf.initialization.aligned(network, loss, 1e-3, rng=0)
    >>> run = lf.train(network, loss, start, method=lf.GradientFlow(), until=20.0,
    ...                record=lf.Record.at_times([0.0, 20.0], observables=("product",)))
    >>> mode_strengths(run).round(6).tolist()
    [[0.001, 0.001], [2.0, 1.0]]
    """
    return _strengths(products(trajectory), joint_decomposition(trajectory.squared_loss))


def mode_alignment(trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Return how well the singular vectors of the end-to-end matrix are aligned with the data's.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.

    Returns
    -------
    left, right : ndarray of float64, shape (*run, n_rec, min(out, in))
        Absolute inner product of its i-th singular vector and that of cross_cov, from 0 to 1; the own
        are in the order of descending singular values. Where singular values coincide they are
        arbitrary.

    Raises
    ------
    ValueError
        If neither was recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(lf.Dense((2, 4, 2)), scale=1e-3, rng=0)
    >>> run = lf.train(lf.Dense((2, 4, 2)), loss, start, method=lf.GradientFlow(), until=40.0,
    ...                record=lf.Record.at_times([40.0], observables=("product",)))
    >>> left, right = mode_alignment(run)
    >>> left.round(6).tolist()
    [[1.0, 1.0]]
    """
    product = products(trajectory)
    data = joint_decomposition(trajectory.squared_loss)
    finite = np.asarray(np.isfinite(product).all(axis=(-2, -1), keepdims=True))
    u, _, vt = np.linalg.svd(np.where(finite, product, 0.0), full_matrices=False)
    k = data.sigma.shape[-1]
    left = np.abs(np.sum(u * data.left[..., None, :, :k], axis=-2))
    right = np.abs(np.sum(vt.mT * data.right[..., None, :, :k], axis=-2))
    ended = ~finite[..., 0]
    return np.where(ended, np.nan, left), np.where(ended, np.nan, right)


def off_diagonal_energy(trajectory: Trajectory) -> FloatArray:
    """Return the share of the end-to-end matrix that is not in the modes of the data.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.

    Returns
    -------
    ndarray of float64, shape (*run, n_rec)
        ``1 - (sum of squared mode strengths) / |P|_F^2``; 0 for P = 0.

    Raises
    ------
    ValueError
        If neither was recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = (np.array([[3.0, 4.0], [0.0, 0.0]]),)
    >>> run = lf.train(lf.Dense((2, 2)), loss, start, method=lf.GradientFlow(), until=0.0,
    ...                record=lf.Record.geomspace(2, observables=("product",)))
    >>> off_diagonal_energy(run).round(6).tolist()
    [0.64]
    """
    product = products(trajectory)
    data = joint_decomposition(trajectory.squared_loss)
    k = data.sigma.shape[-1]
    # From what is off the diagonal: a difference of nearly equal numbers would be noise.
    with quiet():
        turned = data.left[..., None, :, :].mT @ product @ data.right[..., None, :, :]
        size = np.abs(turned).max(axis=(-2, -1), keepdims=True)
        turned = turned / np.where(size == 0, 1.0, size)  # so that no square under- or overflows
        total = np.sum(turned * turned, axis=(-2, -1))
        index = np.arange(k)
        turned[..., index, index] = 0
        rest = np.sum(turned * turned, axis=(-2, -1))
        return np.asarray(rest / np.where(total == 0, 1.0, total))


def learning_times(trajectory: Trajectory, *, fraction: float = 0.5) -> FloatArray:
    """Return the time at which each mode of the data is learned.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product``, ``weights`` or ``singular_values`` recorded.
    fraction : float, default 0.5
        Of the strength sigma / lam at which the mode rests, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (*run, k)
        Time t (step_size * step for descent) at which mode i, in the order of descending sigma, first
        crosses the fraction. The first record's time if it is above from there on, NaN where it never
        crosses. Between records it is interpolated linearly in the logit of what is learned, which is
        exact for balanced modes of two layers however far records are apart, as long as one after
        the crossing is not at rest to 1e-9 yet, or there are two before it. With other depths it is as
        good as records are dense.

    Raises
    ------
    TypeError, ValueError
        If nothing suitable was recorded, or `fraction` is out of range.

    Notes
    -----
    With nothing but singular values recorded, rank i is learned when the i-th largest crosses the
    fraction of the least of the first i resting strengths, for modes need not be learned in the order
    of their strengths.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.aligned(lf.Dense((2, 2, 2)), loss, 1e-6, rng=0)
    >>> run = lf.train(lf.Dense((2, 2, 2)), loss, start, method=lf.GradientFlow(1e-10), until=20.0,
    ...                record=lf.Record.geomspace(50, observables=("product",)))
    >>> learning_times(run).round(4).tolist()
    [3.6272, 6.9078]
    >>> lf.rank_dynamics.learning_time([2.0, 1.0], strength=1e-6).round(4).tolist()
    [3.6272, 6.9078]
    """
    validate.instance("trajectory", trajectory, Trajectory)
    q = validate.fraction("fraction", fraction)
    data = joint_decomposition(trajectory.squared_loss)
    rest = data.targets
    if {"product", "weights"} & set(trajectory.observables):
        values = _strengths(products(trajectory), data)
    elif "singular_values" in trajectory.observables:
        values = trajectory.singular_values
        rest = np.minimum.accumulate(np.where(rest > 0, rest, np.inf), axis=-1)
        rest = np.where(data.targets > 0, rest, 0.0)
    else:
        msg = "trajectory must have product, weights or singular_values recorded"
        raise ValueError(msg)
    with np.errstate(divide="ignore", invalid="ignore"):
        learned = values / np.where(rest > 0, rest, np.nan)[..., None, :]
    return _crossings(trajectory.linear_time, learned, q)


def closed_form_deviation(trajectory: Trajectory) -> FloatArray:
    """Return how far the modes of a training are from their closed form.

    Parameters
    ----------
    trajectory : Trajectory
        Of a chain of dense layers with weights of their own, with ``product`` or ``weights`` recorded; of
        data that commute, from an aligned start without weight decay: balanced, or of two layers with
        factors of any size and sign. A single layer may start anywhere.

    Returns
    -------
    ndarray of float64, shape (*run, n_rec)
        Largest difference over modes, relative to where each rests (absolute where sigma is 0): from
        the flow, or of gradient descent from its recursion.

    Raises
    ------
    NonCommutingError
        If the data do not commute; use `greedy_path` or `perturbation_bound`.
    ValueError
        If layers are not dense, the start is not aligned, or the method has weight decay or multipliers
        of layers.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.aligned(lf.Dense((2, 2, 2)), loss, 1e-6, rng=0)
    >>> run = lf.train(lf.Dense((2, 2, 2)), loss, start, method=lf.GradientDescent(0.1), n_steps=200,
    ...                record=lf.Record.every(20, observables=("product",)))
    >>> bool(closed_form_deviation(run).max() < 1e-12)
    True
    """
    product = products(trajectory)
    plain_method(trajectory, "closed_form_deviation")
    if not trajectory.network.is_dense:
        msg = (
            "closed_form_deviation needs a network of dense layers with weights of their own, got "
            f"{trajectory.network!r}; compare with path_distances"
        )
        raise ValueError(msg)
    data = require_commuting(
        trajectory.squared_loss,
        "closed_form_deviation",
        "path_distances for how a run follows the ranks, greedy_path or perturbation_bound",
    )
    k = data.sigma.shape[-1]
    sigma, lam = data.sigma, data.lam[..., :k]
    eta = trajectory.method.constant_step_size
    begin = trajectory.start
    if trajectory.network.n_layers == 2:
        first, second = _factors(begin.weights, data)
        if eta is not None and trajectory.steps is not None:
            steps = trajectory.steps - (begin.step or 0)
            a, b = factor_descent(sigma, lam, first, second, step_size=eta[..., None], steps=steps)
            exact = np.moveaxis(a * b, -1, -2)
        else:
            t = _since_start(trajectory)[:, None]
            parts = (x[..., None, :] for x in (sigma, lam, first, second))
            a, b = factor_flow(*parts, time=t)
            exact = a * b
    elif trajectory.network.n_layers == 1:
        exact = _one_layer(trajectory, sigma, lam, data)
    else:
        n_layers = trajectory.network.n_layers
        layers = [np.asarray(w, np.float64) for w in begin.weights]
        strength = np.exp(aligned_log_strengths(data, layers))
        if eta is not None and trajectory.steps is not None:
            steps = trajectory.steps - (begin.step or 0)
            path = mode_descent(
                sigma,
                lam,
                step_size=eta[..., None],
                steps=steps,
                strength=strength,
                n_layers=n_layers,
            )
            exact = np.moveaxis(path.strength, -1, -2)
        else:
            t = _since_start(trajectory)[:, None]
            exact = mode_flow(
                sigma[..., None, :],
                lam[..., None, :],
                time=t,
                strength=strength[..., None, :],
                n_layers=n_layers,
            ).strength
    rest = data.targets
    scale = np.where(rest > 0, rest, 1.0)[..., None, :]
    return np.asarray(np.max(np.abs(_strengths(product, data) - exact) / scale, axis=-1))


def _one_layer(
    trajectory: Trajectory, sigma: FloatArray, lam: FloatArray, data: JointDecomposition
) -> FloatArray:
    """Return the modes of a single layer, whose start need not be aligned, (*run, n_rec, K)."""
    start = np.asarray(trajectory.start.weights[0], np.float64)
    first = _strengths(start[..., None, :, :], data)
    sigma, lam = sigma[..., None, :], lam[..., None, :]
    time: FloatArray
    size = trajectory.method.constant_step_size
    if size is not None and trajectory.steps is not None:
        steps = (trajectory.steps - (trajectory.start.step or 0))[:, None]
        rate = size[..., None, None]
        time = rate * steps
        with quiet():
            left = np.power(1 - rate * lam, steps)
            done = 1 - left
    else:
        time = _since_start(trajectory)[:, None]
        left, done = np.exp(-lam * time), -np.expm1(-lam * time)
    grown = np.where(lam > 0, done / np.where(lam > 0, lam, 1.0), time)
    return np.asarray(left * first + grown * sigma)


def _since_start(trajectory: Trajectory) -> FloatArray:
    """Return the time t from the start of a flow to each record."""
    return trajectory.method.time_between(trajectory.start.time or 0.0, trajectory.time)


def products(trajectory: Trajectory) -> FloatArray:
    """Return the end-to-end matrices recorded, from weights if need be."""
    validate.instance("trajectory", trajectory, Trajectory)
    if "product" in trajectory.observables:
        found: FloatArray = trajectory.product
        return found
    if "weights" not in trajectory.observables:
        listed = ", ".join(trajectory.observables) or "nothing"
        msg = f"trajectory must have product or weights recorded, got {listed}"
        raise ValueError(msg)
    weights = [np.asarray(w, np.float64) for w in trajectory.weights]
    with quiet():
        return end_to_end(trajectory.network, weights)


def _strengths(product: FloatArray, data: JointDecomposition) -> FloatArray:
    k = data.sigma.shape[-1]
    left = data.left[..., None, :, :k]
    right = data.right[..., None, :, :k]
    with quiet():
        return np.asarray(np.sum(algebra.product(left.mT, product) * right.mT, axis=-1))


def quiet() -> np.errstate:
    """Return a context in which the last records of runs that diverge do not warn."""
    return np.errstate(over="ignore", invalid="ignore")


def _crossings(time: FloatArray, learned: FloatArray, q: float) -> FloatArray:
    """Return when each column of learned (*run, n_rec, k) first crosses q, by its logit."""
    above = learned >= q  # NaN, after the end of a run, is not
    after = np.argmax(above, axis=-2)
    before = np.maximum(after - 1, 0)
    axis = np.broadcast_to(time, learned.shape[:-1])

    def at(values: FloatArray, record: npt.NDArray[np.intp]) -> FloatArray:
        return np.take_along_axis(values, record[..., None, :], axis=-2)[..., 0, :]

    when = np.broadcast_to(axis[..., None], learned.shape)
    earlier = np.maximum(before - 1, 0)
    x0, x1, x2 = (at(learned, record) for record in (earlier, before, after))
    t0, t1, t2 = (at(when, record) for record in (earlier, before, after))
    goal = _logit(np.asarray(q))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z0, z1, z2 = (_logit(x) for x in (x0, x1, x2))
        at_rest = ~(x2 < 1 - _AT_REST)
        # From 0 or below there is no logarithm.
        share = np.where(
            x1 > 0, elementary.log(q / x1) / elementary.log(x2 / x1), (q - x1) / (x2 - x1)
        )
        share = np.where((x1 > 0) & ~at_rest, (goal - z1) / (z2 - z1), share)
        crossed = t1 + share * (t2 - t1)
        # How near to rest the record is tells nothing; the two before tell how fast the mode grew.
        line = t1 + (goal - z1) / (z1 - z0) * (t1 - t0)
        usable = at_rest & (x0 > 0) & (z1 > z0) & (line <= t2)
        crossed = np.where(after > 0, np.clip(np.where(usable, line, crossed), t1, t2), t2)
        crossed = np.where(np.isnan(crossed), t2, crossed)  # times that overflow
    return np.where(above.any(axis=-2), crossed, np.nan)


def _logit(x: FloatArray) -> FloatArray:
    return elementary.log(x) - elementary.log1p(-x)


def mode_method(trajectory: Trajectory, name: str) -> tuple[FloatArray, bool]:
    """Return momentum and whether it is Nesterov's; refuse a training whose modes have no theory."""
    method = trajectory.method
    multipliers = getattr(method, "layer_multipliers", None)
    scaled = multipliers is not None and np.any(multipliers != 1)
    decays = np.any(method.array_decays(trajectory.network.n_arrays))
    known = method.mode_momentum
    if trajectory.phases or known is None or decays or scaled:
        got = f"{len(trajectory.phases)} phases" if trajectory.phases else repr(method)
        expected = "the flow, or descent on all of the loss with or without momentum"
        msg = f"{name} predicts {expected}, without weight decay and layer multipliers, got {got}"
        raise ValueError(msg)
    return known


def plain_method(trajectory: Trajectory, name: str) -> None:
    """Refuse a training by anything but gradient descent or flow, the same for all layers."""
    validate.instance("trajectory", trajectory, Trajectory)
    if trajectory.phases:
        msg = f"{name} needs a training of one phase, got {len(trajectory.phases)}"
        raise ValueError(msg)
    if not trajectory.method.follows_loss:
        expected = "plain gradient descent or flow, without weight decay and layer multipliers"
        msg = f"{name} is for {expected}, got {trajectory.method!r}"
        raise ValueError(msg)


def _factors(
    weights: tuple[WeightArray, ...],
    data: JointDecomposition,
) -> tuple[FloatArray, FloatArray]:
    """Return the factors a_i, b_i of a start W_1 = Q diag(a) V^T, W_2 = U diag(b) Q^T."""
    k = data.sigma.shape[-1]
    below = np.asarray(weights[0], np.float64) @ data.right
    above = data.left.mT @ np.asarray(weights[1], np.float64)
    first = np.linalg.norm(below, axis=-2)
    scale = np.maximum(first.max(axis=-1), np.linalg.norm(above, axis=-1).max(axis=-1))
    # The direction of a hidden unit is that of whichever factor is larger.
    b_size = np.linalg.norm(above, axis=-1)
    use = first[..., :k] >= b_size[..., :k]
    hidden = np.where(use[..., None, :], below[..., :k], above[..., :k, :].mT)
    size = np.maximum(first[..., :k], b_size[..., :k])
    hidden = hidden / np.where(size == 0, 1.0, size)[..., None, :]
    scale = np.where(scale == 0, 1.0, scale)
    a = np.sum(below[..., :k] * hidden, axis=-2)
    b = np.sum(above[..., :k, :].mT * hidden, axis=-2)
    used = np.where(size > 0, 1.0, 0.0)
    gram = hidden.mT @ hidden - used[..., None, :] * np.eye(k)
    weight = size[..., None, :] * size[..., :, None]
    wrong = [
        np.linalg.norm(below[..., :k] - hidden * a[..., None, :], axis=(-2, -1)) / scale,
        np.linalg.norm(above[..., :k, :].mT - hidden * b[..., None, :], axis=(-2, -1)) / scale,
        np.abs(gram * weight).max(axis=(-2, -1)) / scale**2,
        np.linalg.norm(below[..., k:], axis=(-2, -1)) / scale,
        np.linalg.norm(above[..., k:, :], axis=(-2, -1)) / scale,
    ]
    worst = float(np.max(np.broadcast_arrays(*wrong)))
    if not worst <= _ALIGNED:
        msg = (
            "closed_form_deviation needs a start along the singular vectors of cross_cov, as "
            f"initialization.aligned makes it, got one that is off by {worst:.2g} of its size; compare "
            "with path_distances, or with isotropic_flow if the inputs are isotropic"
        )
        raise ValueError(msg)
    return a, b
