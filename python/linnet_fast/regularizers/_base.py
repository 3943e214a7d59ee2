"""What all regularizers share, and checks of their parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray

Groups = tuple[tuple[int, ...], ...]


class Regularizer(ABC):
    """A function of predictors, with a proximal operator; batched over leading axes.

    Attributes
    ----------
    is_norm : bool
        Whether it is a norm; `dual` is its dual norm then. Some norms are infinite off a subspace.
    is_convex : bool
        Whether it is convex.
    """

    is_norm: ClassVar[bool] = True
    is_convex: ClassVar[bool] = True
    _n_axes: ClassVar[int] = 1
    # The d with value(c x) = c^d value(x), of those that want entries near 1 so that no square
    # overflows; None of those that take entries as they are.
    _degree: ClassVar[float | None] = 1.0

    def value(self, x: npt.ArrayLike) -> FloatArray:
        """Return the value.

        Parameters
        ----------
        x : array_like, shape (*batch, D)
            Predictors; of regularizers of matrices, (*batch, out, in).

        Returns
        -------
        ndarray of float64, shape (*batch)
            At least 0; infinite if it is, or if it exceeds the largest number.

        Raises
        ------
        TypeError
            If `x` is not made of real numbers.
        ValueError
            If `x` is empty, not finite, or of a shape that the parameters do not fit.
        """
        array = self._checked("x", x)
        unit, exponent = self._scaled(array)
        with np.errstate(over="ignore"):
            return np.asarray(self._value(unit) * np.exp2((self._degree or 0) * exponent))

    def dual(self, z: npt.ArrayLike) -> FloatArray:
        """Return the dual norm, the largest <z, x> over predictors x of value 1.

        Parameters
        ----------
        z : array_like, shape as in `value`

        Returns
        -------
        ndarray of float64, shape (*batch)

        Raises
        ------
        TypeError
            If this is not a norm, or `z` is not made of real numbers.
        ValueError
            As in `value`.
        """
        if not self.is_norm:
            msg = f"{self!r} is not a norm, so it has no dual norm"
            raise TypeError(msg)
        unit, exponent = self._scaled(self._checked("z", z))
        with np.errstate(over="ignore"):
            return np.asarray(self._dual(unit) * np.exp2(1.0 * exponent))

    def prox(self, x: npt.ArrayLike, step: npt.ArrayLike) -> FloatArray:
        """Return the proximal operator, ``argmin_y |y - x|^2 / 2 + step value(y)``.

        Parameters
        ----------
        x : array_like, shape as in `value`
        step : array_like, shape (*batch)
            Positive; broadcasts to the batch.

        Returns
        -------
        ndarray of float64, shape of x
            Of functions that are not convex, a global minimiser.

        Raises
        ------
        TypeError
            If an argument is not made of real numbers.
        ValueError
            As in `value`; if a step is not positive, or steps do not fit the batch.
        """
        array = self._checked("x", x)
        size = validate.real_array("step", step, above=0)
        batch = array.shape[: array.ndim - self._n_axes]
        validate.fits_batch("step", size.shape, batch)
        flat = array.reshape(-1, *array.shape[len(batch) :])
        steps = np.broadcast_to(size, batch).reshape(-1)
        with np.errstate(over="ignore"):
            if self._degree is None:
                return np.asarray(self._prox(flat, steps).reshape(array.shape))
            unit, exponent = self._scaled(flat)
            # In units of c = 2^exponent, the step is step c^(d - 2).
            steps = np.ldexp(steps, -exponent) * np.exp2((self._degree - 1) * exponent)
            found = np.asarray(self._prox(unit, np.clip(steps, 1e-140, 1e290)))
            found = np.ldexp(found, _behind(exponent, found.ndim))
            return np.asarray(found.reshape(array.shape))

    @abstractmethod
    def _value(self, x: FloatArray) -> Any:
        """Return the value of checked predictors."""

    def _dual(self, z: FloatArray) -> Any:
        """Return the dual norm of checked predictors; only norms define it."""
        msg = f"{self!r} does not define its dual norm, at {z.shape}"
        raise TypeError(msg)

    @abstractmethod
    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        """Return the prox of predictors (n, ...) with steps (n,)."""

    def _check(self, name: str, shape: tuple[int, ...]) -> None:  # noqa: B027  (optional)
        """Refuse predictors of a size that the parameters do not fit."""

    def _span(self, size: int) -> FloatArray | None:  # noqa: ARG002
        """Return columns that span the vectors of finite value, or None if all are."""
        return None

    def _checked(self, name: str, value: npt.ArrayLike) -> FloatArray:
        array = validate.real_array(name, value)
        if array.ndim < self._n_axes:
            expected = "(*batch, D)" if self._n_axes == 1 else "(*batch, out, in)"
            msg = f"{name} must have shape {expected}, got {array.shape}"
            raise ValueError(msg)
        self._check(name, array.shape)
        return array

    def _scaled(self, array: FloatArray) -> tuple[FloatArray, Any]:
        """Return predictors with a largest entry from 1 to 2, and the powers of 2 taken out."""
        if self._degree is None:
            return array, 0
        exponent = np.frexp(np.abs(array).max(axis=tuple(range(-self._n_axes, 0))))[1] - 1
        return np.ldexp(array, -_behind(exponent, array.ndim)), exponent


def _behind(exponent: Any, ndim: int) -> Any:
    """Return numbers of a batch with axes of length 1 behind, `ndim` in all."""
    return np.reshape(exponent, exponent.shape + (1,) * (ndim - exponent.ndim))


def checked_groups(groups: object, *, disjoint: bool) -> Groups:
    """Return groups of coordinates as tuples; disjoint ones must be 0 ... D - 1 together."""
    if not isinstance(groups, (tuple, list)) or not groups:
        msg = f"groups must be a sequence of sequences of integers, got {groups!r}"
        raise TypeError(msg)
    lists = tuple(
        validate.integers(f"groups[{i}]", group, low=0, high=2**31 - 1)
        for i, group in enumerate(groups)
    )
    for i, group in enumerate(lists):
        if not group or len(set(group)) < len(group):
            msg = f"groups[{i}] must be different coordinates, at least one, got {group}"
            raise ValueError(msg)
    if disjoint:
        members = sorted(i for group in lists for i in group)
        if members != list(range(len(members))):
            msg = f"groups must be disjoint and together 0 ... D - 1, got {lists}"
            raise ValueError(msg)
    return lists


def positive(name: str, value: object) -> float:
    """Return a positive number."""
    number = validate.real(name, value)
    if number <= 0:
        msg = f"{name} must be > 0, got {number:g}"
        raise ValueError(msg)
    return number


def positive_numbers(name: str, values: npt.ArrayLike) -> tuple[float, ...]:
    """Return a vector of positive numbers as a tuple."""
    array = validate.real_array(name, values, above=0)
    if array.ndim != 1:
        msg = f"{name} must be a sequence of numbers, got shape {array.shape}"
        raise ValueError(msg)
    return tuple(array.tolist())


def check_size(name: str, shape: tuple[int, ...], size: int) -> None:
    """Refuse predictors that do not have `size` coordinates."""
    if shape[-1] != size:
        msg = f"{name} must have {size} coordinates on its last axis, got shape {shape}"
        raise ValueError(msg)
