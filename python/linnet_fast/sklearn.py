"""Reduced-rank regression as a scikit-learn estimator. Needs scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, memory, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.rank_dynamics.regression import factors_of_data

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    files.optional("sklearn", "data")  # if it is missing, the error that names the extra
    raise

__all__ = ["ReducedRankRegression"]


_LARGEST = 1e140  # of whose squares sums are finite


class ReducedRankRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares for several targets with coefficients of limited rank.

    It minimises ``1/(2n) |y - X coef_^T - intercept_|^2 + ridge/2 |coef_|^2`` over all coefficients
    of rank at most `rank`: exactly, by a singular value decomposition. These are the stages that
    training of a two-layer linear network passes.

    Parameters
    ----------
    rank : int, optional
        Largest rank of the coefficients, from 0 to min(n_targets, n_features), which is the
        default.
    ridge : float, default 0.0
        Penalty, >= 0: added to the second moment of the inputs. It is ``alpha / n_samples`` of
        ``sklearn.linear_model.Ridge``.
    fit_intercept : bool, default True
        Whether to fit an intercept, by centring X and y.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (n_targets, n_features), or (n_features,) if y has one axis
        Of several solutions, the one of least norm.
    intercept_ : ndarray of float64, shape (n_targets,), or float if y has one axis
        0 without intercept.
    rank_ : int
        Rank of `coef_`: smaller than `rank` where more would not help.
    singular_values_ : ndarray of float64, shape (min(n_targets, n_features),)
        How much each rank explains, descending: the k-th lowers the objective by half its square.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str, shape (n_features,)
        Names of features, if X had any.

    See Also
    --------
    linnet_fast.rank_dynamics.reduced_rank_regression : the whole path, for many data sets at once.

    References
    ----------
    A. J. Izenman, "Reduced-rank regression for the multivariate linear model", J. Multivariate
    Analysis 5 (1975). A. Mukherjee, J. Zhu, "Reduced rank ridge regression and its kernel
    extensions", Statistical Analysis and Data Mining 4 (2011).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> model = ReducedRankRegression(rank=1).fit(X, 3 * X)
    >>> np.abs(model.coef_.round(9)).tolist(), model.rank_
    ([[3.0, 0.0], [0.0, 0.0]], 1)
    >>> round(model.score(X, 3 * X), 9)
    0.5
    """

    def __init__(
        self, rank: int | None = None, *, ridge: float = 0.0, fit_intercept: bool = True
    ) -> None:
        self.rank = rank
        self.ridge = ridge
        self.fit_intercept = fit_intercept

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> ReducedRankRegression:
        """Fit the coefficients.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            Inputs.
        y : array_like, shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        ReducedRankRegression
            Itself.

        Raises
        ------
        TypeError
            If a parameter has the wrong type.
        ValueError
            If X or y has a wrong shape or is not finite, `rank` is larger than min(n_targets,
            n_features), or `ridge` is negative.
        """
        for name, given in (("X", X), ("y", y)):
            memory.check_room(name, 8 * getattr(given, "size", 0))
        try:
            with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
                x, target = validate_data(
                    self, X, y, dtype=np.float64, multi_output=True, y_numeric=True
                )
        except OverflowError as error:
            msg = f"X and y must be finite as float64: {error}"
            raise ValueError(msg) from error
        target = np.asarray(target, dtype=np.float64)
        for name, array in (("X", x), ("y", target)):
            if (size := np.abs(array).max()) > _LARGEST:
                msg = f"{name} must be at most {_LARGEST:g} in size, got {size:g}"
                raise ValueError(msg)
        single = target.ndim == 1
        if single:
            target = target[:, None]
        most = min(target.shape[1], x.shape[1])
        rank = most
        if self.rank is not None:
            rank = validate.integer("rank", self.rank, low=0, high=2**62)
        if rank > most:
            msg = (
                f"rank must be at most {most}, min(n_targets, n_features) of {target.shape[1]} and "
                f"{x.shape[1]}, got {rank}"
            )
            raise ValueError(msg)
        ridge = validate.real("ridge", self.ridge, at_least=0)
        if self.fit_intercept:
            mean_x, mean_y = x.mean(axis=0), target.mean(axis=0)
            x, target = x - mean_x, target - mean_y
        else:
            mean_x, mean_y = np.zeros(x.shape[1]), np.zeros(target.shape[1])

        factors, _ = factors_of_data(x, target, ridge)
        coef = (factors.left * factors.strengths)[:, :rank] @ factors.right[:rank]
        intercept = mean_y - coef @ mean_x
        self.singular_values_ = factors.strengths
        self.rank_ = int(np.count_nonzero(factors.strengths[:rank]))
        self.coef_ = coef[0] if single else coef
        self.intercept_ = float(intercept[0]) if single else intercept
        return self

    def predict(self, X: npt.ArrayLike) -> FloatArray:
        """Return ``X coef_^T + intercept_``.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_targets), as y in `fit`

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If X has a wrong shape or is not finite.
        """
        check_is_fitted(self)
        memory.check_room("X", 8 * getattr(X, "size", 0))
        try:
            with np.errstate(over="ignore"):
                x = validate_data(self, X, dtype=np.float64, reset=False)
        except OverflowError as error:
            msg = f"X must be finite as float64: {error}"
            raise ValueError(msg) from error
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(x @ self.coef_.T + self.intercept_, dtype=np.float64)
