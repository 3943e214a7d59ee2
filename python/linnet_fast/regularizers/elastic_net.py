"""The elastic net, with the two ways to induce it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Regularizer, positive
from linnet_fast.regularizers._proximal import soft


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    """``l1 ||x||_1 + l2 ||x||_2^2``.

    No network that is polynomial in its weights has this cost, but the map `weights_to_predictor`
    does: among the weights it maps to a predictor, the least squared norm is this value. With data,
    `augment` turns the squared part into samples, for a diagonal network to add the other.

    Parameters
    ----------
    l1, l2 : float
        Positive.

    References
    ----------
    H. Zou, T. Hastie, "Regularization and variable selection via the elastic net", Journal of the
    Royal Statistical Society B 67, 2005.

    Examples
    --------
    >>> penalty = ElasticNet(2.0, 1.0)
    >>> w = penalty.predictor_to_weights([1.0, -3.0])
    >>> penalty.weights_to_predictor(w).round(12).tolist(), float(round(w @ w, 9))
    ([1.0, -3.0], 18.0)
    >>> float(penalty.value([1.0, -3.0]))
    18.0
    """

    l1: float
    l2: float
    is_norm: ClassVar[bool] = False
    _degree: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        """Check the factors."""
        for name in ("l1", "l2"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))

    def _value(self, x: FloatArray) -> Any:
        return self.l1 * np.abs(x).sum(axis=-1) + self.l2 * np.sum(x**2, axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return soft(x, self.l1 * step[:, None]) / (1 + 2 * self.l2 * step[:, None])

    def weights_to_predictor(self, weights: npt.ArrayLike) -> FloatArray:
        """Return ``sign(w) (sqrt(a^2 + l2 w^2) - a) / l2`` with a = l1 / 2, entry by entry.

        Parameters
        ----------
        weights : array_like
            Any shape.

        Returns
        -------
        ndarray
            The predictor, whose value is the squared norm of the weights.
        """
        w = validate.real_array("weights", weights)
        half = self.l1 / 2
        # The difference of root and a, without cancelling.
        root = np.hypot(half, np.sqrt(self.l2) * w)
        return np.asarray(w * (np.abs(w) / (root + half)))

    def predictor_to_weights(self, predictor: npt.ArrayLike) -> FloatArray:
        """Return the weights of a predictor, ``sign(b) sqrt(l1 |b| + l2 b^2)``.

        Parameters
        ----------
        predictor : array_like
            Any shape.

        Returns
        -------
        ndarray
        """
        b = validate.real_array("predictor", predictor)
        size = np.sqrt(np.abs(b))
        return np.asarray(np.sign(b) * size * np.hypot(np.sqrt(self.l1), np.sqrt(self.l2) * size))

    def augment(self, X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return data whose mean squared error contains the squared part.

        Parameters
        ----------
        X : array_like, shape (n, D)
        y : array_like, shape (n, k)

        Returns
        -------
        X, y : ndarray, shapes (n + D, D) and (n + D, k)
            With N = n + D rows, ``|y - X b|^2 / (2 N)`` is that of the data plus ``l2 |b|^2``.

        Raises
        ------
        ValueError
            If shapes do not match.
        """
        x, target = validate.real_array("X", X), validate.real_array("y", y)
        if x.ndim != 2 or target.ndim != 2 or len(x) != len(target):
            msg = f"X and y must have shapes (n, D) and (n, k), got {x.shape} and {target.shape}"
            raise ValueError(msg)
        n, d = x.shape
        grow = np.sqrt((n + d) / n)
        more = np.sqrt(2 * n * self.l2) * np.eye(d)
        return (
            grow * np.vstack([x, more]),
            grow * np.vstack([target, np.zeros((d, target.shape[1]))]),
        )
