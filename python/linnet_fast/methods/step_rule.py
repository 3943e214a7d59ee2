"""Step sizes of gradient descent that change from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape

KINDS = (
    "constant",
    "power",
    "geometric",
    "loss_normalized",
    "norm_proportional",
    "gradient_normalized",
    "alignment",
)
"""Kinds of rules; their places are the numbers by which the compiled core knows them."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class StepRule:
    """A rule for the step size eta_n of step n = 0, 1, ... of gradient descent.

    Make one by `power`, `geometric`, `loss_normalized`, `norm_proportional`, `gradient_normalized` or
    `alignment`, and give it to `GradientDescent` in place of a number. n counts from the very start
    of training, also in one that continues another.

    Parameters
    ----------
    kind : str
        Name of the rule.
    scale : array_like, shape (*run)
        Positive factor.
    exponent : array_like, shape (*run), default 0
        Exponent of a power, ratio of a geometric progression; of no effect on the others.

    Raises
    ------
    TypeError
        If a parameter is not made of real numbers.
    ValueError
        If `kind` is unknown, a parameter is out of range, or run axes do not broadcast.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> StepRule.power(0.1, 0.5)
    StepRule.power(0.1, 0.5)
    >>> StepRule.geometric([0.1, 0.2], 1.01).run_shape
    (2,)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"scale": 0, "exponent": 0})

    kind: str
    scale: FloatArray
    exponent: FloatArray

    def __init__(
        self, kind: str, scale: npt.ArrayLike = 1.0, exponent: npt.ArrayLike = 0.0
    ) -> None:
        object.__setattr__(self, "kind", validate.choice("kind", kind, KINDS[1:]))
        object.__setattr__(self, "scale", validate.real_array("scale", scale, above=0))
        above = 0.0 if kind == "geometric" else None
        name = "ratio" if kind == "geometric" else "exponent"
        object.__setattr__(self, "exponent", validate.real_array(name, exponent, above=above))
        _ = self.run_shape  # refuses run axes that do not broadcast

    @classmethod
    def power(cls, scale: npt.ArrayLike, exponent: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale (n + 1)^exponent.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive: the first step size.
        exponent : array_like, shape (*run)
            Any real number.

        Returns
        -------
        StepRule
        """
        return cls("power", scale, exponent)

    @classmethod
    def geometric(cls, scale: npt.ArrayLike, ratio: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale ratio^n.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive: the first step size.
        ratio : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("geometric", scale, ratio)

    @classmethod
    def loss_normalized(cls, scale: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale / loss, with the loss before the step.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("loss_normalized", scale)

    @classmethod
    def norm_proportional(cls, scale: npt.ArrayLike) -> StepRule:
        """Return ``eta_n = scale |P|``, with the Frobenius norm of the end-to-end matrix.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("norm_proportional", scale)

    @classmethod
    def gradient_normalized(cls, scale: npt.ArrayLike) -> StepRule:
        """Return ``eta_n = scale / |dloss/dP|``, with the gradient by the end-to-end matrix.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive; of a single layer it is how far each step goes.

        Returns
        -------
        StepRule
        """
        return cls("gradient_normalized", scale)

    @classmethod
    def alignment(cls) -> StepRule:
        """Return ``eta = |w| / q(|w|)``, by which a single layer is aligned in one step.

        At w = 0 it is the limit, 4 over the second moment of an input. The rule is for a single
        layer and `SphericalLogisticLoss`: what is left of the weights after such a step points in
        the direction of the data.

        Returns
        -------
        StepRule
        """
        return cls("alignment")

    def __repr__(self) -> str:
        """Show the call that makes this rule, with only the shapes of arrays."""
        parts = [
            f"<array {part.shape}>" if part.ndim else f"{part:g}"
            for part in (self.scale, self.exponent)
        ]
        if self.kind not in ("power", "geometric"):
            parts.pop()
        if self.kind == "alignment":
            parts.pop()
        return f"StepRule.{self.kind}({', '.join(parts)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        return validate.broadcast_runs(scale=self.scale.shape, exponent=self.exponent.shape)


def rule_parts(step_size: npt.ArrayLike | StepRule) -> tuple[str, FloatArray, FloatArray]:
    """Return kind, scale and exponent of a rule, or of a constant step size.

    Parameters
    ----------
    step_size : array_like or StepRule
        Numbers must be positive.

    Returns
    -------
    str, ndarray, ndarray
    """
    if isinstance(step_size, StepRule):
        return step_size.kind, step_size.scale, step_size.exponent
    return KINDS[0], validate.real_array("step_size", step_size, above=0), np.zeros(())
