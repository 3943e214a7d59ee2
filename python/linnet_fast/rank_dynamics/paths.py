"""How a training follows the paths of ranks: distances, and plateaus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics.analysis import products, quiet
from linnet_fast.rank_dynamics.regression import reduced_rank_regression, sigma_ordered_path
from linnet_fast.training.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class PathDistances:
    """How far a training is from the two paths of ranks, record by record.

    The reduced-rank path holds the best matrix of each rank; the sigma-ordered path adds modes of the
    data by descending sigma, as the dynamics of data that commute does. They differ where the orders of
    sigma and of sigma^2 / lam differ.

    Attributes
    ----------
    reduced_rank, sigma_ordered : ndarray of float64, shape (*run, n_rec, K + 1)
        ``|P - W_k|_F / |W_K|_F`` for k = 0 ... K = min(out, in).
    reduced_rank_prediction, sigma_ordered_prediction : ndarray of float64, shape (*run, n_rec, K + 1)
        ``|(P - W_k) input_cov^(1/2)|_F``: the root mean square difference of the predictions.
    """

    reduced_rank: FloatArray
    sigma_ordered: FloatArray
    reduced_rank_prediction: FloatArray
    sigma_ordered_prediction: FloatArray

    @property
    def nearest(self) -> npt.NDArray[np.intp]:
        """Rank of the nearest matrix of the reduced-rank path; -1 after a run's end."""
        return _nearest(self.reduced_rank_prediction)

    @property
    def nearest_sigma_ordered(self) -> npt.NDArray[np.intp]:
        """Rank of the nearest matrix of the sigma-ordered path; -1 after a run's end."""
        return _nearest(self.sigma_ordered_prediction)


def path_distances(trajectory: Trajectory) -> PathDistances:
    """Return how far a training is from the reduced-rank and from the sigma-ordered path.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded.

    Returns
    -------
    PathDistances

    Raises
    ------
    ValueError
        If neither was recorded, or the moments are such that modes never rest (sigma without lam).

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.diag([4.0, 1.0]), np.diag([2.0, 1.5]), 5.0)  # orders differ
    >>> start = lf.initialization.aligned(lf.Dense((2, 2, 2)), loss, 1e-24, rng=0)
    >>> run = lf.train(lf.Dense((2, 2, 2)), loss, start, method=lf.GradientFlow(), until=16.0,
    ...                record=lf.Record.at_times([16.0], observables=("product",)))
    >>> distances = path_distances(run)
    >>> distances.sigma_ordered[0].round(3).tolist(), distances.reduced_rank[0].round(3).tolist()
    ([0.316, 0.0, 0.948], [0.316, 1.0, 0.948])
    """
    product = products(trajectory)
    loss = trajectory.squared_loss
    paths = (reduced_rank_regression(loss).products, sigma_ordered_path(loss))
    n_ranks = paths[0].shape[-3]
    shape = (*product.shape[:-2], n_ranks)
    plain = [np.empty(shape), np.empty(shape)]
    predicted = [np.empty(shape), np.empty(shape)]
    size = np.linalg.norm(paths[0][..., -1, :, :], axis=(-2, -1))[..., None]
    size = np.where(size == 0, 1.0, size)
    cov = loss.input_cov[..., None, :, :]
    for which, path in enumerate(paths):
        for k in range(n_ranks):
            with quiet():
                gap = product - path[..., None, k, :, :]
                plain[which][..., k] = np.linalg.norm(gap, axis=(-2, -1)) / size
                square = np.sum((gap @ cov) * gap, axis=(-2, -1))
                predicted[which][..., k] = np.sqrt(np.maximum(square, 0.0))
    return PathDistances(plain[0], plain[1], predicted[0], predicted[1])


def stages(trajectory: Trajectory, *, flatness: float = 0.1) -> FloatArray:
    """Return when the training rests on each plateau.

    Parameters
    ----------
    trajectory : Trajectory
        With ``product`` or ``weights`` recorded, often enough to resolve the plateaus.
    flatness : float, default 0.1
        In (0, 1): on a plateau the logarithm of the loss above its end changes more slowly than this
        part of its fastest change in the run.

    Returns
    -------
    ndarray of float64, shape (*run, K + 1, 2)
        Times t of the first and of the last record on plateau k, where the end-to-end matrix is nearest
        to rank k of the reduced-rank or of the sigma-ordered path; NaN if there is none. On the last,
        K, the training rests for ever; it counts from when it is nearest to it.

    Raises
    ------
    TypeError, ValueError
        If neither was recorded, or `flatness` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 0.5]), 5.0)
    >>> start = lf.initialization.aligned(lf.Dense((2, 2, 2)), loss, 1e-6, rng=0)
    >>> run = lf.train(lf.Dense((2, 2, 2)), loss, start, method=lf.GradientFlow(), until=30.0,
    ...                record=lf.Record.at_times(np.arange(31.0), observables=("product",)))
    >>> stages(run).tolist()
    [[0.0, 3.0], [5.0, 11.0], [14.0, 30.0]]
    """
    limit = validate.fraction("flatness", flatness)
    product = products(trajectory)
    distances = path_distances(trajectory)
    rank, sigma_rank = distances.nearest, distances.nearest_sigma_ordered
    best = distances.reduced_rank_prediction.min(axis=-1)
    other = distances.sigma_ordered_prediction.min(axis=-1)
    index = np.where(best <= other, rank, sigma_rank)
    n_ranks = distances.reduced_rank.shape[-1]

    h = min(trajectory.network.widths)
    least = reduced_rank_regression(trajectory.squared_loss).losses[..., min(h, n_ranks - 1), None]
    with quiet():
        value = np.stack(
            [
                trajectory.squared_loss.value(product[..., i, :, :])
                for i in range(product.shape[-3])
            ],
            axis=-1,
        )
    # Rounding of the loss hides what is below; nothing is told of the last plateau from there.
    power = np.asarray(trajectory.squared_loss.output_power)[..., None]
    excess = np.maximum(value - least, 1e-13 * np.maximum(power, 1e-300))
    time = np.broadcast_to(trajectory.linear_time, value.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.abs(np.diff(np.log(excess), axis=-1) / np.diff(time, axis=-1))
    slow = rate <= limit * np.nanmax(
        np.where(np.isfinite(rate), rate, 0.0), axis=-1, keepdims=True, initial=0.0
    )
    flat = np.zeros(value.shape, dtype=bool)
    flat[..., :-1] |= slow
    flat[..., 1:] |= slow
    spans = np.full((*value.shape[:-1], n_ranks, 2), np.nan)
    for k in range(n_ranks):
        on = (index == k) & (flat | (k == min(h, n_ranks - 1))) & np.isfinite(value)
        seen = on.any(axis=-1)
        first = np.argmax(on, axis=-1)
        last = on.shape[-1] - 1 - np.argmax(on[..., ::-1], axis=-1)
        for side, record in enumerate((first, last)):
            at = np.take_along_axis(time, record[..., None], axis=-1)[..., 0]
            spans[..., k, side] = np.where(seen, at, np.nan)
    return spans


def _nearest(distances: FloatArray) -> npt.NDArray[np.intp]:
    ended = ~np.isfinite(distances).all(axis=-1)
    return np.where(ended, -1, np.argmin(np.where(np.isnan(distances), np.inf, distances), axis=-1))
