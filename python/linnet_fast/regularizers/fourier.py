"""Regularizers of Fourier modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.regularizers._base import Regularizer, positive
from linnet_fast.regularizers._proximal import power_prox

_ROUNDING = 1e-12


@dataclass(frozen=True)
class FourierL1(Regularizer):
    """``(1 / D) sum_n |fft(x)_n|``; twice it is the cost of a full circular convolution.

    That network has two layers: kernels as wide as the input, and a dense one with one output.

    References
    ----------
    S. Gunasekar, J. D. Lee, D. Soudry, N. Srebro, "Implicit bias of gradient descent on linear
    convolutional networks", NeurIPS 2018.

    Examples
    --------
    >>> round(float(2 * FourierL1().value([1.0, 2.0, 3.0, 4.0])), 9)
    8.828427125
    """

    def _value(self, x: FloatArray) -> Any:
        return np.abs(np.fft.fft(x)).mean(axis=-1)

    def _dual(self, z: FloatArray) -> Any:
        return np.abs(np.fft.fft(z)).max(axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return _by_modes(x, step, 1.0)


@dataclass(frozen=True)
class FourierLp(Regularizer):
    """``(1 / D) sum_n |fft(x)_n|**p``; L times it, p = 2 / L, of L layers as in `FourierL1`.

    Modes below 1e-12 of the largest count as 0.

    Parameters
    ----------
    p : float
        Between 0 and 1; 1 is `FourierL1`.

    References
    ----------
    S. Gunasekar, J. D. Lee, D. Soudry, N. Srebro, "Implicit bias of gradient descent on linear
    convolutional networks", NeurIPS 2018.

    Examples
    --------
    >>> round(float(3 * FourierLp(2 / 3).value([1.0, 2.0, 3.0, 4.0])), 9)
    7.671742414
    """

    p: float
    is_norm: ClassVar[bool] = False
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the power."""
        power = positive("p", self.p)
        if power >= 1:
            msg = f"p must be between 0 and 1, got {power:g}"
            raise ValueError(msg)
        object.__setattr__(self, "p", power)
        object.__setattr__(self, "_degree", power)

    def _value(self, x: FloatArray) -> Any:
        sizes = np.abs(np.fft.fft(x))
        # Small powers would make much of rounding.
        real = sizes > _ROUNDING * sizes.max(axis=-1, keepdims=True)
        return np.mean(np.where(real, sizes, 0.0) ** self.p, axis=-1)

    def _prox(self, x: FloatArray, step: FloatArray) -> Any:
        return _by_modes(x, step, self.p)


def _by_modes(x: FloatArray, step: FloatArray, power: float) -> FloatArray:
    """Return the prox of ``(step / D) sum_n |fft(x)_n|**power``."""
    n = x.shape[-1]
    # Each modulus of the unitary transform, which keeps distances, by itself.
    modes = np.fft.fft(x, norm="ortho")
    size = np.abs(modes)
    less = power_prox(size, (step * n ** (power / 2 - 1))[:, None], power)
    factor = np.divide(less, size, out=np.zeros_like(size), where=size > 0)
    return np.asarray(np.fft.ifft(modes * factor, norm="ortho").real)
