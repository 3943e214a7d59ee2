"""Two hidden neurons with opposite weights, which behave as one linear predictor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray

_MOST_SLOPE = 1e100


@dataclass(frozen=True)
class OppositePair:
    """The network f(x) = s(w.x) - s(-w.x) with s the leaky ReLU: s(z) = z or slope * z if z < 0.

    Two neurons f(x) = s(w1.x) - s(w2.x), with outer weights 1 and -1 that are not trained, keep
    ``w2 = -w1`` on data that are symmetric about 0 with odd labels: all spherically symmetric ones.
    Then f(x) = u.x with ``u = (1 + slope) w1``, and u is trained as a linear predictor is, only
    slower or faster: ``du/dt = -(1 + slope)^2 / 2 * gradient(u)``. So whatever is known of one
    linear layer holds of these two neurons, at times multiplied by `time_factor`.

    Parameters
    ----------
    slope : float, default 0
        Slope of the activation on the negative side, > -1 and at most 1e100: 0 for ReLU, 1 for a
        linear one.

    Raises
    ------
    TypeError
        If `slope` is not a real number.
    ValueError
        If it is not above -1, where f vanishes, or too large.

    Notes
    -----
    Of other starts than opposite ones nothing reduces to a linear predictor.

    Examples
    --------
    >>> pair = OppositePair()
    >>> pair.time_factor, pair.predictor([3.0, 4.0]).tolist(), float(pair.linear_time(time=10.0))
    (0.5, [3.0, 4.0], 5.0)
    """

    slope: float = 0.0

    def __post_init__(self) -> None:
        """Check the slope."""
        slope = validate.real("slope", self.slope)
        if not -1 < slope <= _MOST_SLOPE:
            expected = "> -1" if slope <= -1 else f"<= {_MOST_SLOPE:g}"
            msg = f"slope must be {expected}, got {slope:g}"
            raise ValueError(msg)
        object.__setattr__(self, "slope", slope)

    @property
    def time_factor(self) -> float:
        """Time of the linear predictor per time of the pair, (1 + slope)^2 / 2."""
        return (1 + self.slope) ** 2 / 2

    def output(self, weights: npt.ArrayLike, X: npt.ArrayLike) -> FloatArray:
        """Return the outputs of two neurons, opposite or not.

        Parameters
        ----------
        weights : array_like, shape (*run, 2, d)
            Rows w1 and w2.
        X : array_like, shape (*run, n, d)
            Inputs, one sample per row. Run axes broadcast.

        Returns
        -------
        ndarray of float64, shape (*run, n)
            ``s(w1.x) - s(w2.x)``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not made of real numbers or shapes do not match.

        Examples
        --------
        >>> OppositePair(0.5).output([[1.0, 0.0], [-1.0, 0.0]], [[2.0, 7.0]]).tolist()
        [3.0]
        """
        w = self._pair(weights)
        x = validate.real_array("X", X)
        if x.ndim < 2 or x.shape[-1] != w.shape[-1]:
            msg = f"X must have shape (*run, n, {w.shape[-1]}), got {x.shape}"
            raise ValueError(msg)
        validate.broadcast_runs(weights=w.shape[:-2], X=x.shape[:-2])
        with np.errstate(over="ignore", invalid="ignore"):
            z = x @ w.mT
            active = np.where(z > 0, z, self.slope * z)
            return np.asarray(active[..., 0] - active[..., 1])

    def start(self, predictor: npt.ArrayLike) -> FloatArray:
        """Return the opposite weights that act as a linear predictor.

        Parameters
        ----------
        predictor : array_like, shape (*run, d)
            Its weights u.

        Returns
        -------
        ndarray of float64, shape (*run, 2, d)
            ``u / (1 + slope)`` and its opposite.

        Raises
        ------
        TypeError, ValueError
            If the argument is not an array of finite real numbers with one axis or more.
        """
        u = validate.real_array("predictor", predictor)
        if not u.ndim:
            msg = "predictor must have shape (*run, d), got ()"
            raise ValueError(msg)
        with np.errstate(over="ignore"):
            w = u / (1 + self.slope)
        return np.stack([w, -w], axis=-2)

    def predictor(self, weights: npt.ArrayLike) -> FloatArray:
        """Return the linear predictor that opposite weights act as.

        Parameters
        ----------
        weights : array_like, shape (*run, 2, d) or (d,)
            Rows w1 and w2 = -w1 (to 1e-9 of the larger), or w1 alone.

        Returns
        -------
        ndarray of float64, shape (*run, d)
            ``(1 + slope) (w1 - w2) / 2``.

        Raises
        ------
        TypeError
            If the argument is not made of real numbers.
        ValueError
            If it has another shape, or the rows are not opposite.
        """
        w = validate.real_array("weights", weights)
        with np.errstate(over="ignore"):
            if w.ndim == 1:
                return np.asarray((1 + self.slope) * w)
            half = self._pair(w) / 2
            left = np.abs(half.sum(axis=-2)).max(axis=-1)
            odd = left <= 1e-9 * np.abs(half).max(axis=(-2, -1))
            validate.refuse("weights[..., 0, :] + weights[..., 1, :]", "0", 2 * left, ~odd)
            return np.asarray((1 + self.slope) * (half[..., 0, :] - half[..., 1, :]))

    def linear_time(self, *, time: npt.ArrayLike) -> FloatArray:
        """Return the time at which a linear predictor is where the pair is at `time`.

        Parameters
        ----------
        time : array_like
            Times, or step sizes: a step of gradient descent maps as well.

        Returns
        -------
        ndarray of float64

        Raises
        ------
        TypeError, ValueError
            If the argument is not made of finite real numbers.
        """
        at = validate.real_array("time", time)
        with np.errstate(over="ignore"):
            return np.asarray(self.time_factor * at)

    def time(self, *, linear_time: npt.ArrayLike) -> FloatArray:
        """Return the time of the pair: the inverse of `linear_time`.

        Parameters
        ----------
        linear_time : array_like
            Times or step sizes of a linear predictor.

        Returns
        -------
        ndarray of float64

        Raises
        ------
        TypeError, ValueError
            If the argument is not made of finite real numbers.
        """
        at = validate.real_array("linear_time", linear_time)
        with np.errstate(over="ignore"):
            return np.asarray(at / self.time_factor)

    @staticmethod
    def _pair(weights: npt.ArrayLike) -> FloatArray:
        w = validate.real_array("weights", weights)
        if w.ndim < 2 or w.shape[-2] != 2:
            msg = f"weights must have shape (*run, 2, d), got {w.shape}"
            raise ValueError(msg)
        return w
