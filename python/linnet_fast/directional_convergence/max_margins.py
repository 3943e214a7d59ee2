"""The direction of the largest margin of labelled samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import foreign, memory, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.given import signs_of

_WORKING_SET = 400  # samples given to one NNLS; larger data are solved by adding violators
_SUPPORT = 1e-7  # samples this near the margin, relative, are support vectors
_SEPARABLE = 1e-13  # margins below this times the longest sample are rounding


@dataclass(frozen=True, eq=False, repr=False)
class MaxMargin:
    """The direction of the largest margin of labelled samples.

    Attributes
    ----------
    direction : ndarray of float64, shape (*run, d), or of K classes (*run, K, d)
        Unit vector u; a matrix of Frobenius norm 1.
    margin : ndarray of float64, shape (*run)
        Smallest ``y_i u.x_i``, the largest that any direction has. Of classes the smallest difference
        of the output of a sample's class and of another one.
    coefficients : ndarray of float64, shape (*run, n), or of K classes (*run, n, K)
        Not negative, of sum 1: the samples y_i x_i so weighted have the mean ``margin * u``. Of classes
        one for each other class of a sample, and 0 for its own.
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
            f"n_samples={self.coefficients.shape[self.margin.ndim]}, run_shape={self.margin.shape})"
        )


def max_margin(X: npt.ArrayLike, y: npt.ArrayLike, *, n_classes: int | None = None) -> MaxMargin:
    """Return the direction whose smallest margin is the largest, through the origin.

    It is where flows and descent on separable data end: of one layer with `LogisticLoss` or
    `ExponentialLoss`, and of one layer with `CrossEntropyLoss` that of several classes.

    Parameters
    ----------
    X : array_like, shape (*run, n, d)
        Inputs, one sample per row.
    y : array_like, shape (*run, n)
        Labels 1 and -1, or of classes integers from 0 up. Run axes broadcast with those of `X`.
    n_classes : int, optional
        Number K of classes, at least 2; by default there are labels 1 and -1.

    Returns
    -------
    MaxMargin
        One for each run. Margins have a relative error of about 1e-12.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, a label is neither 1 nor -1 or none of the classes, or no direction has
        all samples of a run on its right side, by more than 1e-13 of the longest sample: less is
        rounding.

    Notes
    -----
    The point of the convex hull of y_i x_i that is nearest to the origin is ``margin * u``. It is
    found by non-negative least squares of ``|Z^T alpha|^2 + (sum alpha - 1)^2``, with Z the rows
    y_i x_i; from more than 400 samples by growing sets of those that matter. K classes are K - 1 rows of
    K d numbers for each sample: its inputs for its own class, less those for another one.

    References
    ----------
    D. Soudry, E. Hoffer, M. S. Nacson, S. Gunasekar, N. Srebro, "The implicit bias of gradient descent
    on separable data", JMLR 2018.

    Examples
    --------
    >>> best = max_margin([[1.0, 3.0], [-1.0, -1.0], [5.0, 4.0]], [1, -1, 1])
    >>> best.direction.round(6).tolist(), round(float(best.margin), 6), best.support.tolist()
    ([0.707107, 0.707107], 1.414214, [1])
    >>> best = max_margin([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0, 1, 2], n_classes=3)
    >>> best.direction.shape, best.support.tolist()
    ((3, 2), [0, 1, 2])
    """
    if n_classes is not None:
        return _of_classes(X, y, n_classes)
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


def _of_classes(X: npt.ArrayLike, y: npt.ArrayLike, n_classes: int) -> MaxMargin:
    """Return the direction of several classes, by samples of the differences of their outputs."""
    x = validate.real_array("X", X)
    k = validate.integer("n_classes", n_classes, low=2, high=2**15)
    labels = validate.integer_array("y", y, low=0, high=k - 1)
    if x.ndim < 2 or labels.shape[-1:] != x.shape[-2:-1]:
        msg = f"y must have shape (*run, n), one label per row of X {x.shape}, got {labels.shape}"
        raise ValueError(msg)
    runs = validate.broadcast_runs(X=x.shape[:-2], y=labels.shape[:-1])
    n, d = x.shape[-2:]
    memory.check_room("n_classes", n * k * k * d * 8 * math.prod(runs))
    own = np.eye(k)[np.broadcast_to(labels, (*runs, n))]
    apart = own[..., None, :] - np.eye(k)  # (*runs, n, other class, class)
    z = apart[..., None] * np.broadcast_to(x, (*runs, n, d))[..., None, None, :]
    others = own == 0
    rows = z.reshape(*runs, n * k, k * d)[others.reshape(*runs, n * k)]
    found = max_margin(rows.reshape(*runs, n * (k - 1), k * d), np.ones(n * (k - 1)))
    coefficients = np.zeros((*runs, n, k))
    coefficients[others] = found.coefficients.ravel()
    direction = found.direction.reshape(*runs, k, d)
    margins = np.einsum("...ikcj,...cj->...ik", z, direction)
    least = np.where(others, margins, np.inf).min(axis=-1)
    at_margin = least <= found.margin[..., None] * (1 + _SUPPORT)
    most = int(at_margin.sum(axis=-1).max())
    first = np.argsort(~at_margin, axis=-1, kind="stable")[..., :most]
    support = np.where(np.take_along_axis(at_margin, first, axis=-1), first, -1)
    return MaxMargin(direction, found.margin, coefficients, support)


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
    size = np.abs(w).max(axis=-1, keepdims=True)
    validate.refuse("weights", "vectors other than 0", size, size == 0)
    unit = w / size
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    # Products are taken in the middle of the range of numbers.
    scale = np.abs(z).max(axis=(-2, -1), keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    least = ((z / scale) @ unit[..., None])[..., 0].min(axis=-1)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(least * scale[..., 0, 0])


def _signed(X: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
    """Return the samples times their labels, with all run axes."""
    x, labels = validate.labelled(foreign.data("X", X), signs_of("y", y))
    validate.broadcast_runs(X=x.shape[:-2], y=labels.shape[:-1])
    return np.asarray(labels[..., None] * x)


def _one_max_margin(z: FloatArray, run: tuple[int, ...]) -> tuple[FloatArray, float, FloatArray]:
    """Return direction, margin and coefficients of one set of signed samples."""
    largest = float(np.abs(z).max())
    scaled = z / largest if largest > 0 else z  # squares stay within the range of numbers
    longest = float(np.linalg.norm(scaled, axis=-1).max())
    if longest > 0:
        scaled = scaled / longest
    size = largest * longest
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
                f"{max(gamma, 0.0) * size:g}, that is nothing beside the longest sample"
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
    target = np.zeros(d + 1)
    target[d] = 1
    alpha, _ = scipy.optimize.nnls(system, target, maxiter=100 * (n + d))
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
