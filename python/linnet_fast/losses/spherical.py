"""The logistic loss under a spherically symmetric law of the inputs, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.laws.base import SphericalLaw
from linnet_fast.losses.base import KernelMoments, Words
from linnet_fast.losses.binary import BinaryLoss
from linnet_fast.losses.samples import LogisticLoss


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SphericalLogisticLoss(BinaryLoss):
    """Mean logistic loss over a spherically symmetric law of x, with labels sgn(v . x).

    It is known in closed form but for functions of the norm of w, so that a training step costs
    O(in) and has no sampling error::

        loss(w) = kappa (|w| - v . w) + H(|w|),   -dloss/dw = kappa v - q(|w|) w / |w|

    Parameters
    ----------
    direction : array_like, shape (*run, in)
        v, of any length but 0: it is divided by its norm.
    law : SphericalLaw
        Law of the inputs: one of `linnet_fast.laws`, with as many dimensions as v.
    label_noise : array_like, shape (*run), default 0
        How likely a label is the other one, 0 to 1.

    Attributes
    ----------
    direction : ndarray of float64, shape (*run, in)
        v, of norm 1.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, a direction is zero, a number is not finite or out of range, or run
        axes do not broadcast.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> from linnet_fast import laws
    >>> loss = SphericalLogisticLoss([0.0, 2.0], laws.Gaussian(2))
    >>> loss
    SphericalLogisticLoss(Gaussian(dim=2, scale=1.0), run_shape=())
    >>> loss.value([[0.0, 1.0]]).round(6).item()
    0.407117
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"direction": 1, "label_noise": 0})
    core: ClassVar[str] = "spherical"
    supports: ClassVar[frozenset[str]] = frozenset({"draws", "alignment", "curvature"})

    direction: FloatArray
    law: SphericalLaw
    label_noise: FloatArray

    def __init__(
        self, direction: npt.ArrayLike, law: SphericalLaw, label_noise: npt.ArrayLike = 0.0
    ) -> None:
        v = validate.real_array("direction", direction)
        given: object = law
        if not isinstance(given, SphericalLaw):
            msg = f"law must be one of linnet_fast.laws, got {type(given).__name__}"
            raise TypeError(msg)
        if v.ndim < 1 or v.shape[-1] != law.dim:
            msg = f"direction must have shape (*run, {law.dim}), as the law has, got {v.shape}"
            raise ValueError(msg)
        object.__setattr__(self, "direction", validate.unit_vectors("direction", v))
        object.__setattr__(self, "law", law)
        self._set_noise(label_noise)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _sizes(self) -> str:
        return repr(self.law)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.law.dim

    @property
    def target_direction(self) -> FloatArray:
        """The direction v."""
        return self.direction

    def turned(self, direction: FloatArray) -> SphericalLogisticLoss:
        """Return the loss in coordinates in which v is `direction`: a spherical law stays as it is."""
        return SphericalLogisticLoss(direction, self.law, self.label_noise)

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the law as a table, and the direction, as the core takes them."""
        return {
            "law": tuple(self.law.table),
            "direction": validate.over_runs(self.direction, runs, 1),
            "label_noise": self._core_noise(runs),
        }

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return the law as the core draws from it."""
        return self.law.core_draws()

    def drawn(self, n: int, words: Words) -> LogisticLoss:
        """Return the logistic loss on `n` fresh samples of the law."""
        x = self.law.drawn(n, words)
        return LogisticLoss(x, np.where(x @ self.direction < 0, -1, 1), self.label_noise)

    def alignment_step(self, norm: FloatArray) -> FloatArray:
        """Return the norm over q of the norm, at 0 its limit: the step after which one layer is aligned."""
        r = validate.real_array("norm", norm, at_least=0)
        q = self.law.q(r)
        is_long = q > 0
        with np.errstate(over="ignore", divide="ignore"):
            limit = np.divide(4.0, self.law.m2)
            return np.where(is_long, r / np.where(is_long, q, 1.0), limit)

    @property
    def n_outputs(self) -> int:
        """Number of outputs, 1."""
        return 1

    def _rows(self, product: npt.ArrayLike) -> FloatArray:
        """Return products (*batch, 1, in) as their rows (*batch, in)."""
        matrix = validate.products(product, (1, self.n_inputs), self.run_shape)
        return np.asarray(matrix[..., 0, :], np.float64)

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, 1, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)

        Raises
        ------
        TypeError
            If `product` is not made of real numbers.
        ValueError
            If its last two axes are not ``(1, in)`` or the others do not broadcast.
        """
        unit, size, r = self._polar(product)
        # r - v . w would cancel where w is nearly aligned.
        short_of = np.sum(np.square(unit - self.direction), axis=-1) / 2
        p = self.label_noise
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = self.law.kappa * size * (r * ((1 - 2 * p) * short_of + 2 * p))
            return np.asarray(total + self.law._radial.loss(size * r))

    def gradient(self, product: npt.ArrayLike) -> FloatArray:
        """Return the gradient of the loss by the end-to-end matrix.

        Parameters
        ----------
        product : array_like, shape (*batch, 1, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, 1, in)
        """
        unit, size, r = self._polar(product)
        with np.errstate(over="ignore"):
            r = (size * r)[..., None]
        target = (1 - 2 * self.label_noise)[..., None] * self.direction
        q, h, kappa = self.law._radial.q(r), self.law._radial.h(r), self.law.kappa
        small, large = q * unit - kappa * target, kappa * (unit - target) - h * unit
        return np.where(q < h, small, large)[..., None, :]

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:
        unit, size, r = self._polar(product)
        moved = self._rows(along)
        with np.errstate(over="ignore"):
            r = (size * r)[..., None]
        radial = self.law._radial
        # The gradient is q(r) w / r beside what is constant.
        slope = radial.q_slope(r)
        across = np.where(r > 0, radial.q(r) / np.where(r > 0, r, 1.0), slope)
        along = np.sum(unit * moved, axis=-1, keepdims=True)
        return np.asarray((slope - across) * along * unit + across * moved)[..., None, :]

    def kernel_moments(self) -> KernelMoments:
        """Return second moments of inputs and labels, of the population."""
        runs = self.run_shape
        cov = np.broadcast_to(self.law.m2 * np.eye(self.n_inputs), (*runs, *2 * (self.n_inputs,)))
        # E |x_1| is twice kappa.
        kept = (1 - 2 * self.label_noise)[..., None, None]
        cross = 2 * self.law.kappa * kept * self.direction[..., None, :]
        return KernelMoments(cov, cross, np.ones(runs))

    @property
    def target_matrix(self) -> FloatArray:
        """The direction, (*run, 1, in)."""
        return self.direction[..., None, :]

    def _polar(self, product: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return unit vectors, 0 of 0, and the norm in two factors, each within the doubles."""
        w = self._rows(product)
        with np.errstate(invalid="ignore"):  # of what is not finite
            size = np.abs(w).max(axis=-1)
            scaled = w / np.where(size > 0, size, 1.0)[..., None]
            r = np.linalg.norm(scaled, axis=-1)
            return scaled / np.where(r > 0, r, 1.0)[..., None], size, r
