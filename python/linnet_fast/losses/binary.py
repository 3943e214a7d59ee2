"""What losses for labels 1 and -1 have in common: label noise."""

from __future__ import annotations

from abc import abstractmethod

import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.losses.base import Loss


class BinaryLoss(Loss):
    """What losses for labels 1 and -1 have in common."""

    label_noise: FloatArray

    def _set_noise(self, label_noise: npt.ArrayLike) -> None:
        noise = validate.real_array("label_noise", label_noise, at_least=0)
        validate.refuse("label_noise", "<= 1", noise, noise > 1)
        object.__setattr__(self, "label_noise", noise)

    def _core_noise(self, runs: Shape) -> FloatArray | None:
        """Return the label noise as the core takes it: None where there is none."""
        return validate.over_runs(self.label_noise, runs, 0) if self.label_noise.any() else None

    def __repr__(self) -> str:
        """Show sizes; the data themselves are too long to show."""
        noise = f", label_noise={self.label_noise:g}" if self.label_noise.ndim == 0 else ""
        return (
            f"{type(self).__name__}({self._sizes()}{'' if noise.endswith('=0') else noise}, "
            f"run_shape={self.run_shape})"
        )

    @abstractmethod
    def _sizes(self) -> str:
        """Return what tells the data apart, as text."""
