"""The population, finite samples and fresh batches side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast import initialization
from linnet_fast._base import memory, validate
from linnet_fast._base.seeds import Seed, generator
from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import _polar
from linnet_fast.directional_convergence.dynamics import reduced_flow
from linnet_fast.directional_convergence.max_margins import max_margin
from linnet_fast.directional_convergence.samples import sampling_floor, sgd_floor
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law
from linnet_fast.losses.samples import LogisticLoss
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_OBSERVABLES = ("angle", "norm", "margin")


@dataclass(frozen=True, eq=False, repr=False)
class ConvergenceTable:
    """Angles to v of the same start on three kinds of data; ``print`` shows them as a table.

    Attributes
    ----------
    time : ndarray of float64, shape (n_rec,)
    population_angle, population_norm : ndarray of float64, shape (n_rec,)
        Of the flow on the population, exact.
    sample_angle, sample_norm : ndarray of float64, shape (n_sets, n_rec)
        Of the flow on each set of samples.
    sgd_angle, sgd_norm : ndarray of float64, shape (n_sets, n_rec)
        Of gradient descent on fresh batches, at the same times.
    sampling_floor, sgd_floor : ndarray of float64, shape (n_rec,)
        Root mean square angles predicted at the norm of the population; they hold where the
        population's own angle is far below.
    max_margin_angle : ndarray of float64, shape (n_sets,)
        Angles of the max-margin directions to v: where flows on samples end.
    margin : ndarray of float64, shape (n_sets,)
        Their margins.
    """

    time: FloatArray
    population_angle: FloatArray
    population_norm: FloatArray
    sample_angle: FloatArray
    sample_norm: FloatArray
    sgd_angle: FloatArray
    sgd_norm: FloatArray
    sampling_floor: FloatArray
    sgd_floor: FloatArray
    max_margin_angle: FloatArray
    margin: FloatArray

    def __repr__(self) -> str:
        """Show sizes."""
        return f"<ConvergenceTable of {len(self.margin)} sets of samples, {len(self.time)} records>"

    def __str__(self) -> str:
        """Return the table, root mean squares over sets of samples."""
        head = "      time  population   samples   (floor)       SGD   (floor)      norm\n"
        columns = (
            self.time,
            self.population_angle,
            _mean_square(self.sample_angle),
            self.sampling_floor,
            _mean_square(self.sgd_angle),
            self.sgd_floor,
            self.population_norm,
        )
        rows = [
            f"{t:10.4g}  {p:10.3e} {s:9.3e} {sf:9.3e} {g:9.3e} {gf:9.3e} {r:9.4g}"
            for t, p, s, sf, g, gf, r in zip(*columns, strict=True)
        ]
        end = f"\nangle of the max-margin directions {_mean_square(self.max_margin_angle):.3e}"
        return head + "\n".join(rows) + end


def convergence_table(
    law: SphericalLaw,
    n_layers: int = 1,
    *,
    time: npt.ArrayLike,
    norm: float,
    angle: float | None = None,
    log_tan_half_angle: float | None = None,
    n_samples: int,
    batch_size: int,
    step_size: float,
    n_sets: int = 16,
    rng: Seed = None,
    n_threads: int | None = None,
) -> ConvergenceTable:
    """Train the same balanced start on the population, on samples and on fresh batches.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_layers : int, default 1
        Layers of the network; hidden ones have two units, and any other number would do the same.
    time : array_like, shape (n_rec,)
        Increasing times >= 0; those of stochastic gradient descent are rounded to whole steps.
    norm : float
        Of the end-to-end vector at the start, from 1e-100 to 1e100.
    angle, log_tan_half_angle : float
        Angle to v at the start, in (0, pi), or ln tan of its half: give one.
    n_samples : int
        Samples in a set.
    batch_size : int
        Fresh samples in a step of stochastic gradient descent.
    step_size : float
        Of stochastic gradient descent; positive.
    n_sets : int, default 16
        Sets of samples, and runs of stochastic gradient descent.
    rng : seed or Generator, optional
        Anything ``numpy.random.default_rng`` takes.
    n_threads : int, optional
        As of `linnet_fast.train`.

    Returns
    -------
    ConvergenceTable

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021. D. Soudry et al., "The Implicit Bias of Gradient
    Descent on Separable Data", JMLR 2018.

    Examples
    --------
    >>> from linnet_fast import laws
    >>> table = convergence_table(laws.Sphere(2), angle=2.5, norm=1.0, n_samples=200, batch_size=100,
    ...                           step_size=0.1, time=[0.0, 10.0, 100.0, 1000.0], n_sets=8, rng=0)
    >>> bool(table.population_angle[-1] < 1e-15), bool(table.sample_angle[:, -1].mean() > 1e-4)
    (True, True)
    """
    checked_law(law)
    n = _polar.depth(n_layers)
    at = validate.real_array("time", time, at_least=0)
    if at.ndim != 1 or (np.diff(at) <= 0).any():
        msg = f"time must be increasing, of shape (n_rec,), got {validate.brief(at)}"
        raise ValueError(msg)
    s = _polar.half_angle(angle, log_tan_half_angle, between=True)
    if s.ndim:
        msg = f"angle must be a single number, got an array of shape {s.shape}"
        raise TypeError(msg)
    theta = float(_polar.angle(s)) if angle is None else validate.real("angle", angle)
    size = validate.real("norm", norm, above=0)
    if not 1e-100 <= size <= 1e100:
        msg = f"norm must be from 1e-100 to 1e100, got {size:g}"
        raise ValueError(msg)
    step = validate.real("step_size", step_size, above=0)
    sets = validate.integer("n_sets", n_sets, low=1, high=2**31)
    count = validate.integer("n_samples", n_samples, low=1, high=2**31)
    draws = generator(rng)
    most_steps = 2**53
    validate.refuse("time", f"at most {most_steps} steps", at, at > most_steps * step)
    memory.check_room("n_samples", 24 * sets * count * law.dim)

    v, across = np.zeros((2, law.dim))
    v[0] = across[1] = 1.0
    start = size * (np.cos(theta) * v + np.sin(theta) * across)
    network = Dense((law.dim, *(2,) * (n - 1), 1))
    weights = initialization.balanced(network, product=start[None], rng=0, batch_shape=sets)
    population = reduced_flow(law, n, log_tan_half_angle=s, norm=size, time=at)
    x = law.sample(sets * count, draws).reshape(sets, count, law.dim)
    y = np.where(x[..., 0] < 0, -1, 1)
    best = max_margin(x, y)
    on_samples = train(
        network,
        LogisticLoss.from_data(x, y),
        weights,
        method=GradientFlow(),
        until=float(at[-1]),
        record=Record.at_times(at, _OBSERVABLES, direction=v),
        n_threads=n_threads,
    )
    steps = np.rint(at / step).astype(np.int64)
    recorded = np.unique(steps)
    fresh = train(
        network,
        SphericalLogisticLoss(v, law),
        weights,
        method=StochasticGradientDescent(step, batch_size, int(draws.integers(2**63))),
        n_steps=int(recorded[-1]),
        record=Record.at(recorded.tolist(), _OBSERVABLES[:2]),
        n_threads=n_threads,
    )
    where = np.searchsorted(recorded, steps)
    cosine = np.clip(best.direction @ v, -1, 1)
    sine = np.linalg.norm(best.direction - cosine[..., None] * v, axis=-1)
    return ConvergenceTable(
        at,
        population.angle,
        population.norm,
        on_samples.angle,
        on_samples.norm,
        fresh.angle[:, where],
        fresh.norm[:, where],
        sampling_floor(law, n_samples=count, norm=population.norm),
        sgd_floor(law, n, step_size=step, batch_size=batch_size, norm=population.norm),
        np.arctan2(sine, cosine),
        best.margin,
    )


def _mean_square(angles: FloatArray) -> FloatArray:
    """Return root mean squares over sets."""
    root: FloatArray = np.sqrt(np.mean(np.square(angles), axis=0))
    return root
