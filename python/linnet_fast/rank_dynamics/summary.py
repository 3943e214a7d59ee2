"""One table on a training: what was predicted of each rank, and what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnet_fast._base import notebook, validate, wording
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.analysis import learning_times, mode_method
from linnet_fast.rank_dynamics.data import joint_decomposition
from linnet_fast.rank_dynamics.paths import path_distances
from linnet_fast.rank_dynamics.predictions import predicted_times
from linnet_fast.training.clock import time_of
from linnet_fast.training.trajectory import Trajectory, run_index


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """What `summary` returns; its text is a table.

    Attributes
    ----------
    sigma, lam : ndarray of float64, shape (n_stages,)
        Of the modes, in the order of descending sigma.
    predicted, measured : ndarray of float64, shape (n_stages,)
        Learning times; NaN where there is no prediction, or the mode is not learned.
    reduced_rank, sigma_ordered : ndarray of float64, shape (n_stages,)
        How near the training comes to the matrix of rank k on each path, from when k modes are learned
        until the next is, relative to the size of the last; NaN without ``product`` or ``weights``
        recorded.
    resolvability : ndarray of float64, shape (n_stages - 1,)
        Time between one mode and the next, over the time that the two take: above 1, the plateau
        between them can be seen.
    notes : tuple of str
        On what holds for the data, and what could not be told.
    unit : str
        Of times.
    """

    sigma: FloatArray
    lam: FloatArray
    predicted: FloatArray
    measured: FloatArray
    reduced_rank: FloatArray
    sigma_ordered: FloatArray
    resolvability: FloatArray
    notes: tuple[str, ...]
    unit: str = "time"

    @property
    def relative_error(self) -> FloatArray:
        """Relative error, measured / predicted - 1, shape (n_stages,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.measured / self.predicted - 1)

    def __str__(self) -> str:
        """Return the table."""
        return "\n".join([wording.ruled(self._table()), "", *self.notes])

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        return notebook.table("Summary", head, rows, *self.notes)

    def _table(self) -> list[list[str]]:
        head = [
            "stage",
            "sigma",
            "lam",
            "predicted",
            "measured",
            "error",
            "to reduced-rank",
            "to sigma-order",
        ]
        rows = [
            [
                str(i + 1),
                _number(self.sigma[i]),
                _number(self.lam[i]),
                _number(self.predicted[i]),
                _number(self.measured[i]),
                _percent(self.relative_error[i]),
                _small(self.reduced_rank[i]),
                _small(self.sigma_ordered[i]),
            ]
            for i in range(len(self.sigma))
        ]
        return [head, *rows]

    def __repr__(self) -> str:
        """Return the table."""
        return str(self)


def summary(
    trajectory: Trajectory, *, run: int | tuple[int, ...] = (), fraction: float = 0.5
) -> Summary:
    """Return a table of the ranks of one run: predicted and measured, and how near to the paths.

    Parameters
    ----------
    trajectory : Trajectory
        From a small start; with ``product`` or ``weights`` recorded, or at least singular values.
    run : int or tuple of int
        Which run; () for a single one.
    fraction : float, default 0.5
        Of its resting strength at which a mode counts as learned.

    Returns
    -------
    Summary
        ``print(summary(run))`` shows it.

    Raises
    ------
    IndexError
        If there is no such run.
    TypeError, ValueError
        If nothing suitable was recorded, or an argument is out of range.

    Notes
    -----
    Times are t, also of flows in logarithmic time. Networks that are not chains of dense layers have no
    predictions.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> start = lf.initialization.gaussian(lf.Dense((2, 8, 2)), scale=1e-6, rng=0)
    >>> run = lf.train(lf.Dense((2, 8, 2)), loss, start, method=lf.GradientFlow(), until=20.0,
    ...                record=lf.Record.at_times(np.linspace(0, 20, 200), observables=("product",)))
    >>> print(summary(run))
    stage  sigma  lam  predicted  measured  error  to reduced-rank  to sigma-order
    ------------------------------------------------------------------------------
        1      2    1      7.025     7.025  0.00%          9.9e-05         9.9e-05
        2      1    1      13.75     13.75  0.00%          1.7e-06         1.7e-06
    <BLANKLINE>
    The orders of sigma and of sigma^2 / lam agree: both paths are the same.
    Gap to the next stage over the width of both: 4.082.
    """
    index = run_index(trajectory, run, single=True)
    fraction = validate.fraction("fraction", fraction)
    runs = trajectory.run_shape
    loss = _loss_of(trajectory.squared_loss, runs, index)
    data = joint_decomposition(loss)
    n_stages = int(np.count_nonzero(data.sigma > 0))
    n_stages = max(min(n_stages, trajectory.network.max_rank), 0)
    sigma = data.sigma[:n_stages]
    lam = data.lam[:n_stages]
    notes = []
    measured = np.broadcast_to(
        learning_times(trajectory, fraction=fraction), (*runs, data.sigma.shape[-1])
    )[index][:n_stages]
    method = trajectory.method
    weights = [w[index] for w in trajectory.start.weights]
    step_size = None
    begin = float(method.linear_time(trajectory.start.time or 0.0))
    if (size := method.constant_step_size) is not None:
        step_size = float(np.broadcast_to(size, runs)[index])
        begin = float(np.broadcast_to(time_of(trajectory.start, method), runs)[index])
    predicted = np.full(n_stages, np.nan)
    try:
        if not trajectory.network.is_dense:
            msg = f"predictions are of networks of dense layers, got {trajectory.network!r}"
            raise ValueError(msg)
        momentum, nesterov = mode_method(trajectory, "summary")
        times = predicted_times(
            loss,
            weights,
            step_size=step_size,
            fraction=fraction,
            momentum=float(np.broadcast_to(momentum, runs)[index]),
            nesterov=nesterov,
        )
        predicted = times[:n_stages] + begin
    except ValueError as error:
        notes.append(f"No prediction: {error}.")
    near = np.full((2, n_stages), np.nan)
    if {"product", "weights"} & set(trajectory.observables):
        distances = path_distances(trajectory)
        n_records = trajectory.time.shape[-1]
        time = np.broadcast_to(trajectory.linear_time, (*runs, n_records))[index]
        # Rank k lasts from the k-th time at which a mode is learned to the next.
        borders = np.append(np.sort(measured[np.isfinite(measured)]), np.inf)
        for which, array in enumerate((distances.reduced_rank, distances.sigma_ordered)):
            own_distances = np.broadcast_to(array, (*runs, *array.shape[-2:]))[index]
            for k in range(1, len(borders)):
                within = (time >= borders[k - 1]) & (time < borders[k])
                found = own_distances[within & np.isfinite(own_distances[:, k]), k]
                near[which, k - 1] = found.min() if found.size else np.nan
    else:
        notes.append("No distances: product and weights were not recorded.")
    strength = sigma**2 / np.where(lam > 0, lam, 1.0)
    if (np.diff(strength) <= 1e-9 * strength[:1].max(initial=0)).all():
        notes.append("The orders of sigma and of sigma^2 / lam agree: both paths are the same.")
        if data.defect_spectral > 1e-8:
            notes[-1] = (
                f"The data do not commute (defect {float(data.defect_spectral):.2g}): the paths differ, and "
                "predictions are rough."
            )
    else:
        notes.append("The orders of sigma and of sigma^2 / lam differ, and so do the paths.")
    expected = np.where(np.isfinite(predicted), predicted, measured)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = 0.5 * np.log(9) * (1 / sigma[:-1] + 1 / sigma[1:])
        resolvability = np.diff(expected) / width
    if len(resolvability):
        listed = ", ".join(_number(x) for x in resolvability)
        notes.append(f"Gap to the next stage over the width of both: {listed}.")
    return Summary(sigma, lam, predicted, measured, near[0], near[1], resolvability, tuple(notes))


def _loss_of(loss: SquaredLoss, runs: tuple[int, ...], index: tuple[int, ...]) -> SquaredLoss:
    return SquaredLoss(
        np.broadcast_to(loss.input_cov, (*runs, *loss.input_cov.shape[-2:]))[index],
        np.broadcast_to(loss.cross_cov, (*runs, *loss.cross_cov.shape[-2:]))[index],
        np.broadcast_to(loss.output_power, runs)[index],
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "-" if np.isnan(value) else "never"


def _percent(value: float) -> str:
    text = f"{100 * value:+.2f}%" if np.isfinite(value) else "-"
    return "0.00%" if text == "-0.00%" else text.replace("+0.00%", "0.00%")


def _small(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "-"
