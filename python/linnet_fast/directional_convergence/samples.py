"""Finitely many samples: floors of the angle, and when margins take over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law

_VARIANCE = float(np.log(2) - 0.5)  # integral of sigmoid(-u)^2 over u > 0


def sampling_floor(
    law: SphericalLaw, *, n_samples: npt.ArrayLike, norm: npt.ArrayLike
) -> FloatArray:
    """Return how far the direction of n samples is from that of the population, at a given norm.

    Until margins matter (`crossover`), a linear predictor trained by full batches of the same n
    samples is this far from v, once the population's angle is smaller.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_samples : array_like
        Number of samples, > 0; broadcasts with `norm`.
    norm : array_like
        Norm r of the weights, > 0.

    Returns
    -------
    ndarray of float64
        Root mean square of the angle over samples,
        ``sqrt(m_perp f0 (ln 2 - 1/2) / (n r)) / kappa``, to leading order in 1 / r.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> round(float(sampling_floor(Sphere(2), n_samples=300, norm=20.0)), 5)
    0.01422
    """
    checked_law(law)
    n = validate.real_array("n_samples", n_samples, above=0)
    r = validate.real_array("norm", norm, above=0)
    validate.broadcast_runs(n_samples=n.shape, norm=r.shape)
    spread = np.sqrt(law.m_perp * law.f0 * _VARIANCE) / law.kappa
    return np.asarray(spread / np.sqrt(n) / np.sqrt(r))


def sgd_floor(
    law: SphericalLaw,
    n_layers: int,
    *,
    step_size: npt.ArrayLike,
    batch_size: npt.ArrayLike,
    norm: npt.ArrayLike,
) -> FloatArray:
    """Return the angle at which the noise of stochastic gradient descent balances its pull.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs; each step draws new ones.
    n_layers : int
        Layers of the balanced network, >= 1.
    step_size, batch_size, norm : array_like
        Positive; they broadcast. `norm` is that of the end-to-end weights.

    Returns
    -------
    ndarray of float64
        Root mean square of the angle,
        ``sqrt(step_size m_perp f0 (ln 2 - 1/2) norm^(-2 / n_layers) / (2 kappa batch_size))``: to
        leading order in 1 / norm and in the step size.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> float(sgd_floor(Sphere(2), 1, step_size=1e-3, batch_size=1000, norm=1.0).round(6))
    0.000439
    """
    checked_law(law)
    depth = validate.integer("n_layers", n_layers, low=1, high=1000)
    eta = validate.real_array("step_size", step_size, above=0)
    batch = validate.real_array("batch_size", batch_size, above=0)
    r = validate.real_array("norm", norm, above=0)
    validate.broadcast_runs(step_size=eta.shape, batch_size=batch.shape, norm=r.shape)
    spread = np.sqrt(law.m_perp * law.f0 * _VARIANCE / (2 * law.kappa))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(spread * (np.sqrt(eta) / np.sqrt(batch)) * r ** (-1 / depth))


def expected_max_margin(law: SphericalLaw, *, n_samples: npt.ArrayLike) -> FloatArray:
    """Return the mean largest margin of n samples that are labelled by a direction.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_samples : array_like
        Number of samples, > 0.

    Returns
    -------
    ndarray of float64
        ``d / (n f0)``: on the circle, where it is pi / n times the radius, up to terms of order
        1 / n^2; of other laws within some 30 %.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Notes
    -----
    Near the boundary samples are a Poisson process with n f0 of them per unit of margin, so for
    every law the margin times n f0 has a limit, which depends on the dimension and on how far along
    the boundary the samples lie.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> float(expected_max_margin(Sphere(2), n_samples=100).round(6))
    0.031416
    """
    checked_law(law)
    n = validate.real_array("n_samples", n_samples, above=0)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(law.dim / n / law.f0)


def expected_max_margin_angle(*, n_samples: npt.ArrayLike) -> FloatArray:
    """Return the mean angle between the max-margin direction of n points on a circle and v.

    Parameters
    ----------
    n_samples : array_like
        Number of samples, > 0.

    Returns
    -------
    ndarray of float64
        ``pi / (2 n)``: half the difference of the two gaps beside the boundary, which are
        independent and exponential with mean pi / n; up to terms of order 1 / n^2.

    Raises
    ------
    TypeError, ValueError
        If the argument has the wrong type or is out of range.

    Examples
    --------
    >>> float(expected_max_margin_angle(n_samples=100).round(6))
    0.015708
    """
    n = validate.real_array("n_samples", n_samples, above=0)
    with np.errstate(over="ignore"):
        return np.asarray(np.pi / 2 / n)


@dataclass(frozen=True, eq=False)
class Crossover:
    """Where training on finitely many samples leaves the population's law.

    Attributes
    ----------
    norm : ndarray of float64, shape (*run)
        Norm of the weights there.
    time : ndarray of float64, shape (*run)
        Time of gradient flow of one layer.
    """

    norm: FloatArray
    time: FloatArray


def crossover(
    law: SphericalLaw,
    *,
    n_samples: npt.ArrayLike | None = None,
    margin: npt.ArrayLike | None = None,
    level: float = 4.0,
) -> Crossover:
    """Predict when a linear predictor starts to see the margin of its samples.

    Parameters
    ----------
    law : SphericalLaw
        Of the inputs.
    n_samples : array_like, shape (*run), optional
        Number of samples, > 0; the margin is then `expected_max_margin`.
    margin : array_like, shape (*run), optional
        Largest margin, > 0: give this or `n_samples`. `max_margin` finds it.
    level : float, default 4
        Norm times margin that counts as seen. The norm is 20 % below the population's at 3 to 5 for
        margins of the expected size or more, up to 8 for the smaller ones.

    Returns
    -------
    Crossover
        Norm ``level / margin`` and time ``norm^3 / (3 a2)``. Before it the norm grows as t^(1/3),
        later as `margin_law` says.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or not exactly one of `n_samples` and
        `margin` is given. Norms and times beyond the largest number are inf.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> start = crossover(Sphere(2), margin=0.01)
    >>> float(start.norm), f"{start.time:.2e}"
    (400.0, '4.07e+07')
    """
    checked_law(law)
    if (n_samples is None) == (margin is None):
        got = "neither" if margin is None else "both"
        msg = f"n_samples or margin must be given, got {got}"
        raise TypeError(msg)
    gamma = (
        expected_max_margin(law, n_samples=n_samples)
        if n_samples is not None
        else validate.real_array("margin", margin, above=0)
    )
    reached = validate.real("level", level)
    validate.refuse("level", "> 0", np.asarray(reached), np.asarray(reached <= 0))
    with np.errstate(over="ignore", under="ignore"):
        norm = np.asarray(reached / gamma)
        return Crossover(norm, np.asarray(norm / (3 * law.a2) * norm * norm))


@dataclass(frozen=True, eq=False, repr=False)
class MarginLaw:
    """Late gradient flow on separable samples, as functions of the logarithm of time.

    Attributes
    ----------
    margin : ndarray of float64, shape (*run)
        The largest margin of the samples.
    n_layers : int
        Layers of the network.

    See Also
    --------
    margin_law : makes it.
    """

    margin: FloatArray
    n_layers: int

    def __repr__(self) -> str:
        """Show sizes."""
        return f"MarginLaw(n_layers={self.n_layers}, run_shape={self.margin.shape})"

    def norm(self, *, log_time: npt.ArrayLike) -> FloatArray:
        """Return the norm of the end-to-end weights, ln t / margin.

        Parameters
        ----------
        log_time : array_like
            ln t > 0; broadcasts with the margin.

        Returns
        -------
        ndarray of float64
        """
        log_t = self._log_time(log_time)
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(log_t / self.margin)

    def log_loss(self, *, log_time: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the loss, 1 / (N margin^2 t norm^(2 - 2 / N)) for N layers.

        Parameters
        ----------
        log_time : array_like
            ln t > 0; broadcasts with the margin.

        Returns
        -------
        ndarray of float64
        """
        log_t = self._log_time(log_time)
        n = self.n_layers
        log_margin = np.log(self.margin)
        grown = (2 - 2 / n) * (np.log(log_t) - log_margin) + np.log(n)
        return np.asarray(-log_t - 2 * log_margin - grown)

    def _log_time(self, log_time: npt.ArrayLike) -> FloatArray:
        log_t: FloatArray = validate.real_array("log_time", log_time, above=0)
        validate.broadcast_runs(log_time=log_t.shape, margin=self.margin.shape)
        return log_t


def margin_law(margin: npt.ArrayLike, n_layers: int = 1) -> MarginLaw:
    """Return how norm and loss go on separable samples, long after the crossover.

    Parameters
    ----------
    margin : array_like, shape (*run)
        Largest margin of the samples, > 0.
    n_layers : int, default 1
        Layers of the balanced network, >= 1.

    Returns
    -------
    MarginLaw
        Leading order in ln t. Meanwhile the direction approaches that of the largest margin as
        1 / ln t: it stagnates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    References
    ----------
    D. Soudry et al., "The implicit bias of gradient descent on separable data", J. Machine Learning
    Research 19 (2018). K. Lyu, J. Li, "Gradient descent maximizes the margin of homogeneous neural
    networks", ICLR 2020.

    Examples
    --------
    >>> late = margin_law(0.5)
    >>> float(late.norm(log_time=100.0)), round(float(late.log_loss(log_time=100.0)), 3)
    (200.0, -98.614)
    """
    gamma = validate.real_array("margin", margin, above=0)
    return MarginLaw(gamma, validate.integer("n_layers", n_layers, low=1, high=1000))
