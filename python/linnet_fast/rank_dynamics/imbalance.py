"""What gradient flow conserves between neighbouring layers, and how far descent moves it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet_fast import layers
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.layers.pattern import Layer
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.conserved import Balance, balances
from linnet_fast.rank_dynamics.analysis import plain_method, products, quiet
from linnet_fast.training.trajectory import Trajectory


def imbalance_drift(trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Return how far what gradient flow conserves between layers has moved, and a bound on it.

    Parameters
    ----------
    trajectory : Trajectory
        With ``weights`` recorded; without weight decay.

    Returns
    -------
    drift : ndarray of float64, shape (*run, n_rec, n_arrays - 1)
        Of neighbouring arrays of weights: nuclear norm of the change of what the flow conserves, see
        the notes, since the first record.
    bound : ndarray of float64, shape (*run, n_rec)
        Of gradient descent, for each pair and up to rounding: step_size (f_0 - f) / (1 - step_size S /
        2), with S a bound on the sharpness on the straight lines between the records up to there. A
        theorem where every step is recorded; else if no step between two records goes where it is
        sharper. inf if step_size S >= 2. Of gradient flow: 0.

    Raises
    ------
    ValueError
        If weights were not recorded, the method has weight decay or multipliers of layers, or nothing
        is conserved between two neighbours.

    Notes
    -----
    Of neighbouring layers with weights of their own it is, in matrices M of the layers:

    - dense ones: ``M_{l+1}^T M_{l+1} - M_l M_l^T``; the same of residual ones, ``M = I + s W`` with W
      dense, but each M over its s.
    - other patterns: of each hidden unit, or set of units that weights tie together as a convolution
      does those of a channel, the difference of the sums of the squares of the weights above and below;
      and inner products of such weights of two that have the same pattern. So the diagonal, blocks, or
      the Gram matrices of channels. A weight that stands beside a fixed number is counted with it, ``w +
      offset / coefficient``. Units that fixed entries belong to conserve nothing.

    With fixed layers between them, or with weights that are used n times, it is ``|w_{k+1}|^2 / n_{k+1} -
    |w_k|^2 / n_k``, if neither is in a layer with fixed entries.

    All of it follows from changes of the weights that leave the product as it is: if these are
    symmetric linear maps S, ``w^T S w`` is conserved. A step of descent changes it by step_size^2 ``g^T S
    g``, g the gradient.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, "On the optimization of deep networks: implicit acceleration by
    overparameterization", ICML 2018. S. S. Du, W. Hu, J. D. Lee, "Algorithmic regularization in learning
    deep homogeneous models: layers are automatically balanced", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(lf.Dense((2, 4, 2)), rng=0)
    >>> run = lf.train(lf.Dense((2, 4, 2)), loss, start, method=lf.GradientDescent(0.02), n_steps=500,
    ...                record=lf.Record.geomspace(20, observables=("weights",)))
    >>> drift, bound = imbalance_drift(run)
    >>> bool((drift[:, 0] <= bound).all())
    True
    """
    plain_method(trajectory, "imbalance_drift")
    if "weights" not in trajectory.observables:
        msg = "trajectory must have weights recorded, got " + ", ".join(trajectory.observables)
        raise ValueError(msg)
    network = trajectory.network
    runs, n_records = trajectory.run_shape, trajectory.time.shape[-1]
    conserved = balances(network, "imbalance_drift")
    eta = trajectory.method.constant_step_size
    loss = None if eta is None else trajectory.squared_loss
    weights = [np.asarray(w, np.float64) for w in trajectory.weights]
    flat = [w.reshape(*runs, n_records, -1) for w in weights]
    drift = np.zeros((*runs, n_records, network.n_arrays - 1))
    for pair, quantities in enumerate(conserved):
        for part in quantities:
            drift[..., pair] += _moved(part, flat[pair], flat[pair + 1])
    if eta is None or loss is None:
        return drift, np.zeros((*runs, n_records))
    product = products(trajectory)
    with quiet():
        value = np.stack([loss.value(product[..., i, :, :]) for i in range(n_records)], axis=-1)
        rate = eta[..., None]
        room = 1 - rate * _sharpness(network, loss, weights, product) / 2
        bound = rate * (value[..., :1] - value) / np.where(room > 0, room, 1.0)
        # A loss that rises, or is beyond float64, has taken steps that the sharpness did not allow.
        falls = value <= value[..., :1] * (1 + 1e-12)
        known = np.where((room > 0) & falls, np.maximum(bound, 0.0), np.inf)
        return drift, np.where(np.isnan(value), np.nan, known)


def _moved(part: Balance, below: FloatArray, above: FloatArray) -> FloatArray:
    """Return the nuclear norm of the change since the first record, (*run, n_rec)."""
    with quiet():
        gap = part.gaps(below, above)
        change = gap - gap[..., :1, :, :, :]
    finite = np.asarray(np.isfinite(change).all(axis=(-3, -2, -1)))
    values = np.linalg.eigvalsh(np.where(finite[..., None, None, None], change, 0.0))
    return np.where(finite, np.abs(values).sum(axis=(-2, -1)), np.nan)


def _sharpness(
    network: Chain, loss: SquaredLoss, weights: Sequence[WeightArray], product: FloatArray
) -> FloatArray:
    """Return a bound on the sharpness on the lines between the records up to each, (*run, n_rec)."""
    cov, cross = loss.input_cov[..., None, :, :], loss.cross_cov[..., None, :, :]
    top = np.linalg.norm(loss.input_cov, 2, axis=(-2, -1))[..., None]
    residual = _spectral(product @ cov - cross)
    lead = product.shape[:-2]
    norms, steps = [], []
    for matrix in network.matrices(weights):
        full = np.broadcast_to(np.asarray(matrix, np.float64), (*lead, *matrix.shape[-2:]))
        norms.append(_over_segments(_spectral(full)))
        step = np.zeros(lead)
        step[..., 1:] = _spectral(np.diff(full, axis=-3))
        steps.append(step)
    gain = [
        0.0 if number is None else _gain(layer)
        for layer, number in zip(network.layers, network.share, strict=True)
    ]
    n_layers = network.n_layers
    ones = np.ones(lead)
    above = [ones]
    for norm in norms[:0:-1]:
        above.append(above[-1] * norm)
    above.reverse()  # of the layers above each
    first = np.zeros((network.n_arrays, *lead))
    second = np.zeros((network.n_arrays, *lead))
    bend = np.zeros(lead)
    below = ones
    for i in range(n_layers):
        low = network.share[i]
        if low is not None:
            first[low] += gain[i] * below * above[i]
        between = below
        for j in range(i + 1, n_layers):
            others = between * above[j]
            high = network.share[j]
            if low is not None and high is not None:
                for array in (low, high):
                    second[array] += gain[i] * gain[j] * others
            bend = bend + 2 * steps[i] * steps[j] * others
            between = between * norms[j]
        below = below * norms[i]
    # The residual is within bend / 8 of the straight line between its ends.
    residual = _over_segments(residual) + top * bend / 8
    sharp = top * np.sum(first**2, axis=0) + residual * second.max(axis=0)
    return np.asarray(np.maximum.accumulate(sharp, axis=-1))


def _gain(layer: Layer) -> float:
    """Return a bound on the Frobenius norm of a change of the matrix, over that of the weights."""
    if isinstance(layer, layers.Dense):
        return 1.0
    pattern = layer.pattern
    free = pattern.weight >= 0
    size = np.abs(pattern.coefficient[free])
    by_weight, by_square = np.zeros(pattern.n_weights), np.zeros(pattern.n_weights)
    np.add.at(by_weight, pattern.weight[free], size)
    np.add.at(by_square, pattern.weight[free], size**2)
    place = pattern.row[free].astype(np.int64) * pattern.n_inputs + pattern.column[free]
    at, where = np.unique(place, return_inverse=True)
    if len(at) == len(place):
        return float(np.sqrt(by_square.max()))
    by_place = np.zeros(len(at))
    np.add.at(by_place, where, size)
    return float(np.sqrt(by_weight.max() * by_place.max()))


def _over_segments(values: FloatArray) -> FloatArray:
    """Return the larger of the values at both ends of each segment, which ends at its record."""
    result = values.copy()
    result[..., 1:] = np.maximum(values[..., 1:], values[..., :-1])
    return result


def _spectral(matrices: FloatArray) -> FloatArray:
    finite = np.asarray(np.isfinite(matrices).all(axis=(-2, -1)))
    norms = np.linalg.norm(np.where(finite[..., None, None], matrices, 0.0), 2, axis=(-2, -1))
    return np.where(finite, norms, np.nan)
