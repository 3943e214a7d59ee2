"""Finitely many samples: max margins, floors of the angle, and when margins take over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.laws.spherical import checked_law

_WORKING_SET = 400  # samples given to one NNLS; larger data are solved by adding violators
_SUPPORT = 1e-7  # samples this near the margin, relative, are support vectors
_SEPARABLE = 1e-13  # margins below this times the longest sample are rounding
_VARIANCE = float(np.log(2) - 0.5)  # integral of sigmoid(-u)^2 over u > 0


@dataclass(frozen=True, eq=False, repr=False)
class MaxMargin:
    """The direction of the largest margin of labelled samples.

    Attributes
    ----------
    direction : ndarray of float64, shape (*run, d)
        Unit vector u.
    margin : ndarray of float64, shape (*run)
        Smallest ``y_i u.x_i``, the largest that any direction has.
    coefficients : ndarray of float64, shape (*run, n)
        Not negative, of sum 1: the samples y_i x_i so weighted have the mean ``margin * u``.
    support : ndarray of intp, shape (*run, k)
        Indices of samples at the margin (to 1e-7), ascending; filled up with -1 where another run
        has more.

    See Also
    --------
    max_margin : makes it.
    """

    direction: FloatArray
    margin: FloatArray
    coefficients: FloatArray
    support: npt.NDArray[np.intp]

    def __repr__(self) -> str:
        """Show sizes."""
        return (
            f"MaxMargin(n_inputs={self.direction.shape[-1]}, "
            f"n_samples={self.coefficients.shape[-1]}, run_shape={self.margin.shape})"
        )


def max_margin(X: npt.ArrayLike, y: npt.ArrayLike) -> MaxMargin:
    """Return the direction whose smallest margin is the largest, through the origin.

    Parameters
    ----------
    X : array_like, shape (*run, n, d)
        Inputs, one sample per row.
    y : array_like, shape (*run, n)
        Labels 1 and -1. Run axes broadcast with those of `X`.

    Returns
    -------
    MaxMargin
        One for each run. Margins have a relative error of about 1e-12.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a label is neither 1 nor -1, or no direction has all samples of a
        run on its right side.

    Notes
    -----
    The point of the convex hull of y_i x_i that is nearest to the origin is ``margin * u``. It is
    found by non-negative least squares of ``|Z^T alpha|^2 + (sum alpha - 1)^2``, with Z the rows
    y_i x_i; from more than 400 samples by growing sets of those that matter.

    Examples
    --------
    >>> best = max_margin([[1.0, 3.0], [-1.0, -1.0], [5.0, 4.0]], [1, -1, 1])
    >>> best.direction.round(6).tolist(), round(float(best.margin), 6), best.support.tolist()
    ([0.707107, 0.707107], 1.414214, [1])
    """
    z = _signed(X, y)
    runs, (n, d) = z.shape[:-2], z.shape[-2:]
    direction, margin = np.empty((*runs, d)), np.empty(runs)
    coefficients, at_margin = np.zeros((*runs, n)), np.zeros((*runs, n), dtype=bool)
    for run in np.ndindex(runs):
        u, gamma, alpha = _one_max_margin(z[run], run)
        direction[run], margin[run], coefficients[run] = u, gamma, alpha
        at_margin[run] = z[run] @ u <= gamma * (1 + _SUPPORT)
    most = int(at_margin.sum(axis=-1).max())
    first = np.argsort(~at_margin, axis=-1, kind="stable")[..., :most]
    support = np.where(np.take_along_axis(at_margin, first, axis=-1), first, -1)
    return MaxMargin(direction, margin, coefficients, support)


def normalized_margin(weights: npt.ArrayLike, X: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
    """Return the smallest margin of samples under the direction of the weights.

    Parameters
    ----------
    weights : array_like, shape (*run, d)
        End-to-end weights, not 0.
    X : array_like, shape (*run, n, d)
        Inputs, one sample per row.
    y : array_like, shape (*run, n)
        Labels 1 and -1. All run axes broadcast; give records an axis of length 1 in `X` and `y`.

    Returns
    -------
    ndarray of float64, shape (*run)
        The smallest ``y_i w.x_i / |w|``; negative if a sample is misclassified.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a label is neither 1 nor -1, or weights are 0.

    Examples
    --------
    >>> float(normalized_margin([0.0, 2.0], [[1.0, 3.0], [-1.0, -1.0]], [1, -1]))
    1.0
    """
    z = _signed(X, y)
    w = validate.real_array("weights", weights)
    if w.ndim < 1 or w.shape[-1] != z.shape[-1]:
        msg = f"weights must have shape (*run, {z.shape[-1]}), got {w.shape}"
        raise ValueError(msg)
    validate.broadcast_runs(weights=w.shape[:-1], X=z.shape[:-2])
    size = np.linalg.norm(w, axis=-1, keepdims=True)
    validate.refuse("weights", "vectors other than 0", size, size == 0)
    return np.asarray((z @ (w / size)[..., None])[..., 0].min(axis=-1))


def sampling_floor(law: SphericalLaw, n_samples: npt.ArrayLike, norm: npt.ArrayLike) -> FloatArray:
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
    >>> round(float(sampling_floor(Sphere(2), 300, 20.0)), 5)
    0.01422
    """
    checked_law(law)
    n = validate.real_array("n_samples", n_samples, above=0)
    r = validate.real_array("norm", norm, above=0)
    return np.asarray(np.sqrt(law.m_perp * law.f0 * _VARIANCE / (n * r)) / law.kappa)


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
    square = eta * law.m_perp * law.f0 * _VARIANCE / (2 * law.kappa * batch)
    return np.asarray(np.sqrt(square) * r ** (-1 / depth))


def expected_max_margin(law: SphericalLaw, n_samples: npt.ArrayLike) -> FloatArray:
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
    >>> float(expected_max_margin(Sphere(2), 100).round(6))
    0.031416
    """
    checked_law(law)
    n = validate.real_array("n_samples", n_samples, above=0)
    return np.asarray(law.dim / (n * law.f0))


def expected_max_margin_angle(n_samples: npt.ArrayLike) -> FloatArray:
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
    >>> float(expected_max_margin_angle(100).round(6))
    0.015708
    """
    n = validate.real_array("n_samples", n_samples, above=0)
    return np.asarray(np.pi / (2 * n))


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
    n_samples: npt.ArrayLike | None = None,
    *,
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
        `margin` is given.

    Examples
    --------
    >>> from linnet_fast.laws import Sphere
    >>> start = crossover(Sphere(2), margin=0.01)
    >>> float(start.norm), f"{start.time:.2e}"
    (400.0, '4.07e+07')
    """
    checked_law(law)
    if (n_samples is None) == (margin is None):
        msg = (
            "crossover needs either n_samples or margin, got "
            f"{'neither' if margin is None else 'both'}"
        )
        raise ValueError(msg)
    gamma = (
        expected_max_margin(law, n_samples)
        if n_samples is not None
        else validate.real_array("margin", margin, above=0)
    )
    reached = float(validate.real_array("level", level, above=0))
    norm = np.asarray(reached / gamma)
    return Crossover(norm, np.asarray(norm**3 / (3 * law.a2)))


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

    def norm(self, log_time: npt.ArrayLike) -> FloatArray:
        """Return the norm of the end-to-end weights, ln t / margin.

        Parameters
        ----------
        log_time : array_like
            ln t > 0; broadcasts with the margin.

        Returns
        -------
        ndarray of float64
        """
        log_t = validate.real_array("log_time", log_time, above=0)
        return np.asarray(log_t / self.margin)

    def log_loss(self, log_time: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the loss, 1 / (N margin^2 t norm^(2 - 2 / N)) for N layers.

        Parameters
        ----------
        log_time : array_like
            ln t > 0; broadcasts with the margin.

        Returns
        -------
        ndarray of float64
        """
        log_t = validate.real_array("log_time", log_time, above=0)
        n = self.n_layers
        grown = (2 - 2 / n) * np.log(self.norm(log_t)) + np.log(n)
        return np.asarray(-log_t - 2 * np.log(self.margin) - grown)


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
    >>> float(late.norm(100.0)), round(float(late.log_loss(100.0)), 3)
    (200.0, -98.614)
    """
    gamma = validate.real_array("margin", margin, above=0)
    return MarginLaw(gamma, validate.integer("n_layers", n_layers, low=1, high=1000))


def _signed(X: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
    """Return the samples times their labels, with all run axes."""
    x = validate.real_array("X", X)
    labels = validate.real_array("y", y)
    if x.ndim < 2:
        msg = f"X must have shape (*run, n, d), got {x.shape}"
        raise ValueError(msg)
    if labels.ndim < 1 or labels.shape[-1] != x.shape[-2]:
        msg = f"y must have shape (*run, {x.shape[-2]}), got {labels.shape}"
        raise ValueError(msg)
    validate.refuse("y", "1 or -1", labels, np.abs(labels) != 1)
    validate.broadcast_runs(X=x.shape[:-2], y=labels.shape[:-1])
    return np.asarray(labels[..., None] * x)


def _one_max_margin(z: FloatArray, run: tuple[int, ...]) -> tuple[FloatArray, float, FloatArray]:
    """Return direction, margin and coefficients of one set of signed samples."""
    size = float(np.linalg.norm(z, axis=-1).max())
    scaled = z / size if size > 0 else z
    n, d = z.shape
    alpha = np.zeros(n)
    chosen = np.arange(n)
    if n > _WORKING_SET:
        chosen = np.argsort(scaled @ scaled.mean(axis=0))[:_WORKING_SET]
    u, gamma = np.zeros(d), 0.0
    while True:
        alpha[:] = 0
        alpha[chosen], u, gamma = _hull_point(scaled[chosen])
        margins = scaled @ u
        if gamma <= _SEPARABLE:  # part of the samples is enough to refute it
            where = f" of run {run}" if run else ""
            msg = (
                f"X and y{where} must be separable by a direction, got a largest margin of "
                f"{max(gamma, 0.0) * size:g}"
            )
            raise ValueError(msg)
        violators = np.flatnonzero(margins < gamma * (1 - 1e-12))
        violators = np.setdiff1d(violators, chosen)
        if not violators.size:
            return u, float(margins.min() * size), alpha / alpha.sum()
        worst = violators[np.argsort(margins[violators])[: _WORKING_SET // 2]]
        chosen = np.concatenate([chosen[alpha[chosen] > 0], worst])


def _hull_point(z: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return weights of the hull's point nearest to the origin, its direction, and its distance."""
    n, d = z.shape
    system = np.vstack([z.T, np.ones(n)])
    alpha, _ = nnls(system, np.eye(d + 1)[d], maxiter=100 * (n + d))
    point = z.T @ alpha
    if not np.linalg.norm(point) > 0:
        return alpha, point, 0.0
    u = point / np.linalg.norm(point)
    margin = float((z @ u).min())
    # Least norm with margin 1 on the active samples: the same point, without the loss of digits
    # that small margins bring to alpha.
    w = np.linalg.lstsq(z[alpha > 0], np.ones(np.count_nonzero(alpha > 0)), rcond=None)[0]
    polished = w / np.linalg.norm(w)
    better = float((z @ polished).min())
    return (alpha, polished, better) if better > margin else (alpha, u, margin)
