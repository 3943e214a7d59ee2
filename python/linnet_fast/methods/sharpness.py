"""Sharpness-aware minimisation, around any method that takes steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.methods.around import MethodAround
from linnet_fast.methods.stepping import SteppingMethod


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SharpnessAware(MethodAround):
    """Sharpness-aware minimisation: the steps of a method, by gradients from higher up.

    With g the gradient of the loss by all weights w together, the method gets the gradient at ``w + rho *
    g / |g|``, on the same samples, in place of that at w; its weight decay is that of w. A step takes
    two gradients.

    Parameters
    ----------
    method : SteppingMethod
        Whose steps are taken, with its step size, decay, batches, noise and memory.
    rho : array_like, shape (*run), default 0.05
        At least 0: how far up.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `rho` is out of range or not finite, `method` is around another method itself, or run axes do not
        broadcast.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, "Sharpness-aware minimization for efficiently improving
    generalization", ICLR 2021.

    Examples
    --------
    >>> from linnet_fast import GradientDescent
    >>> SharpnessAware(GradientDescent(0.05, momentum=0.9), rho=0.1)
    SharpnessAware(method=GradientDescent(step_size=0.05, weight_decay=0, momentum=0.9), rho=0.1)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"rho": 0})

    rho: FloatArray

    def __init__(self, method: SteppingMethod, rho: npt.ArrayLike = 0.05) -> None:
        super().__init__(method)
        object.__setattr__(self, "rho", validate.real_array("rho", rho, at_least=0))
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _shown(self) -> dict[str, object]:
        return {"method": self.method, "rho": self.rho}

    @property
    def radius(self) -> FloatArray:
        """How far up the gradient gradients are taken, shape (*run)."""
        return self.rho

    @property
    def is_equivariant(self) -> bool:
        """Whether the method inside is."""
        return self.method.is_equivariant
